//! Inputs that are changed while they are compiled, or just before, on file systems with clocks of their own.

use crate::support::{
    Cache, Call, LIMIT_CALL, Project, Share, check, compilers, start, wait_until,
};
use std::time::Duration;

/// Far above what anything here needs.
const PATIENCE: Duration = Duration::from_secs(100);

/// A compiler that has compiled `a.c`, and once waits for the file `go` before it ends.
const LINGERING: &str = "#!/bin/sh\n\
    gcc \"$@\"; status=$?\n\
    case \"$*\" in *-c*a.c*)\n\
    if mkdir compiled 2>/dev/null; then while [ ! -e go ]; do sleep 0.02; done; fi;;\n\
    esac\n\
    exit $status\n";

/// Compiles through rcache and by the compiler alone, and demands the same object. Says how the first
/// ended.
#[track_caller]
fn same(project: &Project, cache: &Cache, line: &str, object: &str) -> String {
    let ending = cache.ending(project, line);
    let found = project.read(object);
    project.plain(line).success();
    assert!(found == project.read(object), "{line}: {ending}");
    ending
}

#[test]
fn an_edit_during_the_compile_is_seen_on_any_clock() {
    let what = "an_edit_during_the_compile_is_seen_on_any_clock";
    for ahead in [-100, 0, 100] {
        let project = Project::new(&[]);
        let Some(_share) = Share::mount(&project, "share", ahead, what) else { return };
        project.script("slow/gcc", LINGERING);
        project.write("share/x.h", "#define X 1\n");
        project.write("share/a.c", "#include \"x.h\"\nint x = X;\n");
        let cache = Cache::new();
        let line = "slow/gcc -c share/a.c -o a.o";
        let first = start(&mut cache.command(&project, &Call::from(line)));
        wait_until("it is compiled", PATIENCE, || project.exists("compiled"));
        project.write("share/x.h", "#define X 2\n");
        project.write("go", "");
        first.finish(LIMIT_CALL).success();
        same(&project, &cache, line, "a.o");
        project.write("share/x.h", "#define X 1\n");
        same(&project, &cache, line, "a.o");
    }
}

#[test]
fn what_lies_on_a_server_is_cached_whatever_its_clock_says() {
    let what = "what_lies_on_a_server_is_cached_whatever_its_clock_says";
    for ahead in [-100, 0, 100] {
        let project = Project::new(&[]);
        let Some(_share) = Share::mount(&project, "share", ahead, what) else { return };
        project.write("share/x.h", "#define X 1\n");
        project.write("share/a.c", "#include \"x.h\"\nint x = X;\n");
        let cache = Cache::new();
        for (options, object) in [("-MD", "share/a.o"), ("-O1", "a.o")] {
            let line = format!("gcc {options} -c share/a.c -o {object}");
            for wanted in ["cache_miss", "direct_cache_hit"] {
                let ending = same(&project, &cache, &line, object);
                assert_eq!(ending, wanted, "{ahead}: {line}");
            }
        }
    }
}

#[test]
fn headers_that_were_made_just_before_are_cached() {
    for family in compilers("headers_that_were_made_just_before_are_cached") {
        let project = Project::new(&[("src/a.c", "#include <made.h>\nint x = MADE;\n")]);
        project.write("made/keep", "");
        let cache = Cache::new();
        let line = format!("{} -Imade -c src/a.c -o a.o", family.c);
        project.write("made/made.h", "#define MADE 0\n");
        cache.compile(&project, line.as_str()).success();
        for number in 1..12 {
            let text = format!("#define MADE {number}\n");
            match number % 3 {
                // In place, in its place, and anew.
                0 => project.write("made/made.h", text),
                1 => {
                    project.write("new.h", text);
                    std::fs::rename(project.path("new.h"), project.path("made/made.h")).unwrap();
                }
                _ => {
                    project.remove("made/made.h");
                    project.write("made/made.h", text);
                }
            }
            cache.compile(&project, line.as_str()).success();
            let again = check(&project, &cache, line.as_str());
            assert_eq!(again, "direct_cache_hit", "{}: {number}", family.c);
        }
    }
}
