//! What stands before the compiler: programs and scripts that run it, other caches and distributors, and
//! programs that are no compilers at all.

use crate::support::{Cache, Call, LIMIT_CALL, Project, SYSTEM_PATH, have, run, skip};

/// A driver as mpicc: it runs another compiler with words of its own, from variables and by what it is told.
const WRAPPER: &str = r#"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **words) {
    char *compiler = getenv("MY_CC"), *flags = getenv("MY_FLAGS"), *special = getenv("MY_SPECIAL");
    char **all = calloc(count + 4, sizeof *all);
    int n = 0;
    compiler = compiler ? compiler : "gcc";
#ifdef HANDS_ON
    all[n++] = words[0];
#else
    all[n++] = compiler;
#endif
    if (flags) all[n++] = flags;
    for (int i = 1; i < count; i++) {
        if (special && !strcmp(words[i], "-DSPECIAL")) all[n++] = special;
        all[n++] = words[i];
    }
    return execvp(compiler, all), 127;
}
"#;

const UNIT: &[(&str, &str)] = &[
    ("wrapper.c", WRAPPER),
    ("a.c", "#ifndef X\n#define X 1\n#endif\nint f(void) { return X; }\n"),
];

#[track_caller]
fn gives(project: &Project, cache: &Cache, call: &Call, ending: &str) {
    project.plain(call).success();
    let wanted = project.read("a.o");
    project.remove("a.o");
    assert_eq!(cache.ending(project, call), ending, "{call:?}");
    assert!(project.read("a.o") == wanted, "{call:?}: another object");
}

fn variables_count(project: &Project, cache: &Cache, line: &str) {
    let call = || Call::from(line);
    let mut calls = vec![call(), call().env("MY_FLAGS", "-DX=2"), call().env("MY_FLAGS", "-DX=3")];
    calls.push(call().word("-DSPECIAL"));
    calls.push(call().word("-DSPECIAL").env("MY_SPECIAL", "-DX=4"));
    if have("clang") {
        calls.push(call().env("MY_CC", "clang"));
        calls.push(call().env("MY_CC", "clang").env("MY_FLAGS", "-DX=2"));
    }
    for call in &calls {
        gives(project, cache, call, "cache_miss");
    }
    for call in &calls {
        gives(project, cache, call, "direct_cache_hit");
    }
}

#[test]
fn a_program_that_runs_the_compiler_counts_with_its_variables() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    project.plain("gcc -o mycc wrapper.c").success();
    variables_count(&project, &cache, "./mycc -O1 -c a.c -o a.o");
}

/// gcc would not find its parts; clang knows where it is.
#[test]
fn a_program_that_hands_its_name_on_is_no_compiler_either() {
    if !have("clang") {
        return skip("a_program_that_hands_its_name_on_is_no_compiler_either", "no clang");
    }
    let (project, cache) = (Project::new(UNIT), Cache::new());
    project.plain("gcc -DHANDS_ON -o mycc wrapper.c").success();
    let call = || Call::from("./mycc -O1 -c a.c -o a.o").env("MY_CC", "/usr/bin/clang");
    let calls = [call(), call().env("MY_FLAGS", "-DX=2"), call().env("MY_FLAGS", "-DX=3")];
    calls.iter().for_each(|call| gives(&project, &cache, call, "cache_miss"));
    calls.iter().for_each(|call| gives(&project, &cache, call, "direct_cache_hit"));
}

#[test]
fn a_script_counts_with_its_variables_whatever_its_first_line_is() {
    for first in ["#!/bin/sh\n", "", "# a compiler\n"] {
        let (project, cache) = (Project::new(UNIT), Cache::new());
        let body = "for word; do shift; case $word in -DSPECIAL) set -- \"$@\" $MY_SPECIAL;; esac; \
                    set -- \"$@\" \"$word\"; done\nexec ${MY_CC:-gcc} $MY_FLAGS \"$@\"\n";
        project.script("mycc", &format!("{first}{body}"));
        let line = match first.starts_with("#!") {
            true => "./mycc -O1 -c a.c -o a.o",
            // What a shell or execvp does with a script that the kernel does not know.
            false => "env ./mycc -O1 -c a.c -o a.o",
        };
        let through = line.trim_start_matches("env ");
        variables_count_by(&project, &cache, line, through);
    }
}

/// The same where the plain call must be spelled in another way.
fn variables_count_by(project: &Project, cache: &Cache, plain: &str, through: &str) {
    for value in ["-DX=2", "-DX=3", "-DX=2"] {
        project.plain(Call::from(plain).env("MY_FLAGS", value)).success();
        let wanted = project.read("a.o");
        project.remove("a.o");
        cache.compile(project, Call::from(through).env("MY_FLAGS", value)).success();
        assert!(project.read("a.o") == wanted, "{through} {value}");
        project.plain(Call::from(plain).word("-DSPECIAL").env("MY_SPECIAL", value)).success();
        let wanted = project.read("a.o");
        let call = Call::from(through).word("-DSPECIAL").env("MY_SPECIAL", value);
        cache.compile(project, call).success();
        assert!(project.read("a.o") == wanted, "{through} -DSPECIAL {value}");
    }
    let stats = cache.stats();
    assert_eq!((stats.get("direct_cache_hit"), stats.get("cache_miss")), (2, 4), "{through}");
}

#[test]
fn mpicc_is_cached_and_its_variables_count() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    if !have("mpicc") {
        return skip("mpicc_is_cached_and_its_variables_count", "no mpicc");
    }
    let call = || Call::from("mpicc -O1 -c a.c -o a.o");
    let mut calls = vec![call(), call().env("OMPI_CFLAGS", "-DX=2"), call().env("MPICH_CC", "gcc")];
    if have("clang") {
        calls.push(call().env("OMPI_CC", "clang").env("MPICH_CC", "clang"));
    }
    for _ in 0..2 {
        for call in &calls {
            project.plain(call).success();
            let wanted = project.read("a.o");
            cache.compile(&project, call).success();
            assert!(project.read("a.o") == wanted, "{call:?}");
        }
    }
    assert!(cache.stats().get("direct_cache_hit") >= calls.len() as u64);
}

#[test]
fn wrappers_before_the_compiler_are_left_out() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    project.plain("gcc -O1 -c a.c -o a.o").success();
    let wanted = project.read("a.o");
    for (at, wrappers) in
        ["ccache", "/nowhere/distcc", "sccache icecc", "distcc ccache", "ccache debug=false"]
            .iter()
            .enumerate()
    {
        project.remove("a.o");
        let ending = cache.ending(&project, format!("{wrappers} gcc -O1 -c a.c -o a.o"));
        assert_eq!(ending, if at == 0 { "cache_miss" } else { "direct_cache_hit" }, "{wrappers}");
        assert!(project.read("a.o") == wanted, "{wrappers}");
    }
    let explained = cache.compile(&project, "explain ccache gcc -O1 -c a.c -o a.o").success().out();
    assert!(explained.contains("ccache: left out"), "{explained}");
}

#[test]
fn a_wrapper_with_words_of_its_own_is_run_as_asked() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    project.script("bin/ccache", "#!/bin/sh\necho this is ccache \"$@\"\n");
    let path = format!("{}:{SYSTEM_PATH}", project.path("bin").display());
    let version = cache.compile(&project, Call::from("ccache --version").env("PATH", &path));
    assert_eq!(version.success().out(), "this is ccache --version\n");
    // A link of that name to rcache does what rcache does.
    cache.link("ccache");
    let path = format!("{}:{path}", cache.bin().display());
    let call = Call::from("ccache gcc -c a.c -o a.o").env("PATH", path);
    run(&mut cache.command_bare(&project, &call), LIMIT_CALL).success();
    assert_eq!(cache.stats().get("cache_miss"), 1);
}

#[test]
fn a_program_that_is_no_compiler_is_asked_once() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    let generator = "#!/bin/sh\necho run >> runs\necho \"$@\" > last\necho made > spec.out\n";
    project.script("generate", generator);
    for n in 0..4 {
        let call = Call::from("./generate -c spec.txt -o spec.o").env("ROUND", n.to_string());
        cache.compile(&project, call).success();
        assert_eq!(project.read("last"), b"-c spec.txt -o spec.o\n");
    }
    let runs = String::from_utf8(project.read("runs")).unwrap().lines().count();
    assert_eq!(runs, 5, "four calls, and one question");
}
