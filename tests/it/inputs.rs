//! Inputs that can be read once, and names that mean something else to each process: the compiler alone
//! reads them, and what it makes of them is not kept.

use crate::support::{Cache, Call, LIMIT_CALL, Outcome, Project, rcache_binary, run};
use std::path::Path;

const UNIT: &[(&str, &str)] = &[
    ("b.c", "#ifndef X\n#define X 0\n#endif\nint f(void) { return X; }\n"),
    ("nested.c", "#include \"outer.h\"\nint f(void) { return X; }\n"),
    ("outer.h", "#include \"pipe.h\"\n"),
    ("stdin.c", "#include \"/dev/stdin\"\nint f(void) { return X; }\n"),
];

/// Runs a line of bash in which `$CC` is the compiler, through rcache or not.
fn bash(project: &Project, cache: Option<&Cache>, line: &str) -> Outcome {
    let mut command = project.command("/bin/bash");
    let compiler = match cache {
        Some(cache) => {
            cache.adopt(&mut command);
            format!("{} gcc", rcache_binary().display())
        }
        None => "gcc".to_owned(),
    };
    command.args(["-c", line]).env("CC", compiler);
    run(&mut command, LIMIT_CALL)
}

/// The line gives the same object through rcache as without, again and again.
#[track_caller]
fn is_the_compilers(project: &Project, cache: &Cache, lines: &[&str]) {
    for line in [lines, lines].concat() {
        let wanted = bash(project, None, line);
        let object = project.read("x.o");
        project.remove("x.o");
        assert_eq!(bash(project, Some(cache), line), wanted, "{line}");
        assert!(project.read("x.o") == object, "{line}: another object");
        project.remove("x.o");
    }
    let stats = cache.stats();
    let hits = stats.get("direct_cache_hit") + stats.get("preprocessed_cache_hit");
    assert_eq!(hits, 0, "{lines:?}");
}

/// Settings in which rcache runs a preprocessor of its own, and those in which it does not.
fn caches() -> [Cache; 2] {
    [Cache::new(), Cache::new().with("RCACHE_DIRECT_MODE", "false")]
}

#[test]
fn a_pipe_in_the_call_is_the_compilers_alone() {
    for cache in caches() {
        let project = Project::new(UNIT);
        is_the_compilers(
            &project,
            &cache,
            &[
                "$CC -include <(echo '#define X 5') -c b.c -o x.o",
                "$CC -include <(echo '#define X 6') -c b.c -o x.o",
                "$CC -MMD -MF x.d -include <(echo '#define X 5') -c b.c -o x.o",
                "$CC -MD -MF x.d -imacros <(echo '#define X 5') -c b.c -o x.o",
                "$CC -x c -c <(echo 'int a;') -o x.o",
                "$CC -x c -c <(echo 'int b;') -o x.o",
                "$CC @<(echo '-DX=7') -c b.c -o x.o",
                "$CC -x c -c /dev/stdin -o x.o < b.c",
                "echo '#define X 9' | $CC -c stdin.c -o x.o",
                "exec 9< b.c; $CC -x c -c /dev/fd/9 -o x.o",
            ],
        );
    }
}

#[test]
fn a_fifo_is_the_compilers_alone() {
    for cache in caches() {
        let project = Project::new(UNIT);
        let made = std::process::Command::new("mkfifo")
            .args(["pipe.c", "pipe.h", "words", "dangling"])
            .current_dir(project.root())
            .status();
        assert!(made.expect("mkfifo").success());
        let lines = [
            "echo 'int a;' > pipe.c & $CC -c pipe.c -o x.o; wait",
            "echo 'int b;' > pipe.c & $CC -c pipe.c -o x.o; wait",
            "echo '#define X 3' > pipe.h & $CC -include pipe.h -c b.c -o x.o; wait",
            "echo '#define X 3' > pipe.h & $CC -MMD -MF x.d -c nested.c -o x.o; wait",
            "echo '#define X 4' > pipe.h & $CC -MMD -MF x.d -c nested.c -o x.o; wait",
            "echo '#define X 5' > pipe.h & $CC -I. -include outer.h -c b.c -o x.o; wait",
            "echo '-DX=8' > words & $CC @words -c b.c -o x.o; wait",
        ];
        is_the_compilers(&project, &cache, &lines);
    }
}

/// Two folders with other headers of the same names, and a header where the daemon would find one.
fn two_folders() -> Project {
    let source = "#include \"h.h\"\nint f(void) { return X; }\n";
    let project = Project::new(&[
        ("p1/a.c", source),
        ("p1/inc/h.h", "#define X 1\n"),
        ("p1/other/none", ""),
        ("p2/a.c", source),
        ("p2/inc/h.h", "#define X 2\n"),
        ("p2/other/h.h", "#define X 3\n"),
    ]);
    for folder in ["p1", "p2"] {
        project.symlink("/proc/self/cwd", &format!("{folder}/here"));
    }
    project
}

#[track_caller]
fn same_object(project: &Project, cache: &Cache, call: &Call) {
    let object = format!("{}/a.o", call.folder);
    project.plain(call).success();
    let wanted = project.read(&object);
    for _ in 0..2 {
        project.remove(&object);
        cache.compile(project, call).success();
        assert!(project.read(&object) == wanted, "{call:?}");
    }
}

#[test]
fn the_working_directory_through_proc_is_the_callers() {
    let (project, cache) = (two_folders(), Cache::new());
    for line in [
        "gcc -O1 -I/proc/self/cwd/inc -c a.c -o a.o",
        "gcc -O1 -I/proc/self/cwd/other -Iinc -c a.c -o a.o",
        "gcc -O1 -Ihere/other -Iinc -c a.c -o a.o",
        "gcc -O1 -Ihere/inc -c a.c -o a.o",
        "gcc -O1 -include here/inc/h.h -Iinc -c a.c -o a.o",
        "gcc -O1 -Iinc -c here/a.c -o a.o",
        "gcc -O1 -Iinc -c a.c -o here/a.o",
        "gcc -O1 -Iinc -c /proc/self/cwd/a.c -o a.o",
    ] {
        for folder in ["p1", "p2"] {
            same_object(&project, &cache, &Call::from(line).within(folder));
        }
    }
    assert!(!Path::new("/a.o").exists(), "an object in the daemon's folder");
}

#[test]
fn a_folder_that_becomes_a_link_through_proc_is_looked_into_by_the_compiler() {
    let (project, cache) = (two_folders(), Cache::new());
    std::fs::create_dir(project.path("p2/first")).unwrap();
    let call = Call::from("gcc -O1 -Ifirst -Iinc -c a.c -o a.o").within("p2");
    same_object(&project, &cache, &call);
    std::fs::remove_dir(project.path("p2/first")).unwrap();
    project.symlink("here/other", "p2/first");
    same_object(&project, &cache, &call);
}

#[test]
fn bazels_name_of_the_working_directory_counts_by_its_words() {
    let (project, cache) = (two_folders(), Cache::new());
    let call = |pwd: &str| Call::from("gcc -g -Iinc -c a.c -o a.o").within("p1").env("PWD", pwd);
    let real = project.path("p1");
    for pwd in ["/proc/self/cwd", real.to_str().unwrap(), "/proc/self/cwd/here", "/nowhere"] {
        same_object(&project, &cache, &call(pwd));
        assert_eq!(cache.ending(&project, call(pwd)), "direct_cache_hit", "{pwd}");
    }
}
