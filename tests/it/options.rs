//! Options of kernels, firmware and big projects: the compiler's own result, and a direct hit when warm.

use crate::support::{Cache, Project, have, same_as_compiler, skip};

const UNIT: &str =
    "#include \"a.h\"\nint one(int n) { int b[4] = { n }; return b[n & 3] + LOCAL; }\n";

fn project() -> Project {
    Project::new(&[
        ("a.c", UNIT),
        ("a.cc", UNIT),
        ("a.h", "#define LOCAL 4\n"),
        ("inc/deep.h", "#define DEEP 1\n"),
    ])
}

/// Each line behind this compiler is a direct hit when warm. What the compiler does not take on this
/// machine is noted.
#[track_caller]
fn cached(compiler: &str, lines: &[&str]) {
    if !have(compiler) {
        skip(&format!("options of {compiler}"), "it is not installed");
        return;
    }
    let (project, cache) = (project(), Cache::new());
    for line in lines {
        let line = format!("{compiler} {line}");
        if !project.plain(line.as_str()).ok() {
            skip(&line, "the compiler refuses it");
            continue;
        }
        let (_, warm) = same_as_compiler(&project, &cache, line.as_str());
        assert_eq!(warm, "direct_cache_hit", "{line}");
    }
}

#[test]
fn options_that_the_search_path_cannot_be_asked_with_alone() {
    cached(
        "gcc",
        &[
            "-c a.c -fno-PIE -mcmodel=kernel -mno-red-zone",
            "-c a.c -nostdinc -fno-pie -mcmodel=kernel -include a.h",
            "-c a.c -nostdinc",
            "-c a.c -fno-pie -pg -mfentry -mrecord-mcount",
        ],
    );
    cached(
        "clang",
        &[
            "-c a.c -nostdinc",
            "-c a.c -nostdinc -iquote inc",
            "-c a.c -flto -fvisibility=hidden -fsanitize=cfi",
            "-c a.c --target=aarch64-linux-gnu -ffixed-x18 -fsanitize=shadow-call-stack",
            "-c a.c -fno-PIE -mcmodel=kernel -mno-red-zone",
        ],
    );
}

#[test]
fn explain_says_what_the_compiler_complains_of() {
    let (project, cache) = (project(), Cache::new());
    if !have("gcc") {
        return skip("explain", "gcc is not installed");
    }
    let mut command = cache.subcommand("explain gcc -mcmodel=nonsense -c a.c");
    command.current_dir(project.root());
    let said = crate::support::run(&mut command, crate::support::LIMIT_CALL);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("compiler_check_failed") && said.contains("nonsense"), "{said}");
}
