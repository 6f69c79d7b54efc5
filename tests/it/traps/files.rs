//! Files that change while they are read, whose times say nothing, or whose names are odd.

use crate::support::{
    Cache, Call, LIMIT_CALL, Project, Trap, check, compilers, run, same_as_compiler,
};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

const UNIT: &[(&str, &str)] =
    &[("a.c", "#include \"x.h\"\nint x = X;\n"), ("x.h", "#define X 1\n")];

/// Whatever was remembered must be no answer for the other content of the header.
#[track_caller]
fn right_for_both_headers(project: &Project, cache: &Cache, call: &Call, what: &str) {
    for text in ["#define X 1\n", "#define X 2\n"] {
        project.write("x.h", text);
        project.plain(call).success();
        let wanted = project.read("a.o");
        project.remove("a.o");
        cache.compile(project, call).success();
        assert!(project.read("a.o") == wanted, "{what}: {text}");
    }
}

#[test]
fn file_edited_at_each_moment_of_a_compile() {
    let edit = "echo '#define X 2' > x.h";
    // Keeping size and time, by a rename and back, or openly.
    let edits = [
        edit.to_owned(),
        format!("cp -p x.h old.h; {edit}; touch -r old.h x.h"),
        "cp -p x.h new.h; echo '#define X 2' > new.h; touch -r x.h new.h; mv new.h x.h".to_owned(),
        format!("cp -p x.h old.h; {edit}; sleep 0.01; mv old.h x.h"),
    ];
    for family in compilers("file_edited_at_each_moment_of_a_compile") {
        for direct in ["true", "false"] {
            for edit in &edits {
                // Where the sources decide, nothing is preprocessed; with the text, two ways tell.
                if direct == "false" && edit != &edits[0] {
                    continue;
                }
                for (preprocessing, before) in
                    [(true, true), (true, false), (false, true), (false, false)]
                {
                    if preprocessing && direct == "true" {
                        continue;
                    }
                    let project = Project::new(UNIT);
                    let cache = Cache::new();
                    let when = if preprocessing { "*' -E '*" } else { "*' -c '*" };
                    let (first, last) =
                        if before { (edit.as_str(), ":") } else { (":", edit.as_str()) };
                    // The probes are none of these moments. `quiet` ends the edits.
                    let script = format!(
                        "#!/bin/sh\nwhen=no\ncase \" $* \" in *'/dev/null'*|*'-###'*) ;; {when}) when=yes ;; esac\n\
                         test -e quiet && when=no\n\
                         if test $when = yes; then {first}; fi\n\
                         /usr/bin/{} \"$@\"\nstatus=$?\nif test $when = yes; then {last}; fi\n\
                         exit $status\n",
                        family.c
                    );
                    project.script("cc", &script);
                    let call = Call::from("./cc -c a.c").env("RCACHE_DIRECT_MODE", direct);
                    cache.compile(&project, &call).success();
                    cache.compile(&project, &call).success();
                    project.write("quiet", "");
                    let what = format!("{} {direct} {when} {before} {edit}", family.c);
                    right_for_both_headers(&project, &cache, &call, &what);
                }
            }
        }
    }
}

#[test]
fn header_written_through_a_mapping() {
    // Stores into a shared mapping change the content at once, and the times at some later moment.
    let writer = r#"
#include <fcntl.h>
#include <sys/mman.h>
#include <stdlib.h>
#include <unistd.h>
int main(int count, char **words) {
    int file = open(words[1], O_RDWR);
    char *text = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (count != 3 || text == MAP_FAILED) return 1;
    text[10] = words[2][0];
    _exit(0);
}
"#;
    for family in compilers("header_written_through_a_mapping") {
        let project = Project::new(UNIT);
        project.write("writer.c", writer);
        project.plain("gcc writer.c -o writer").success();
        let trap =
            Trap::prepared(project, format!("{} -c a.c", family.c)).sprung("direct_cache_hit");
        for digit in ["2", "3", "4"] {
            let project = &trap.project;
            run(project.command(project.path("writer")).args(["x.h", digit]), LIMIT_CALL).success();
            // No golden check here: it would write all files again.
            project.plain(&trap.call).success();
            let wanted = project.read("a.o");
            trap.cache.compile(project, &trap.call).success();
            assert!(project.read("a.o") == wanted, "{} {digit}", family.c);
        }
    }
}

#[test]
fn times_in_the_past_and_the_future() {
    // A clock that is set back, an archive without times, a file system with coarse ones.
    for family in compilers("times_in_the_past_and_the_future") {
        for seconds in [0, 1, 1_500_000_000, 4_000_000_000] {
            let project = Project::new(UNIT);
            let (cache, line) = (Cache::new(), format!("{} -c a.c", family.c));
            let compile = |digit: u32| {
                project.write("x.h", format!("#define X {digit}\n"));
                project.touch("x.h", seconds);
                project.touch("a.c", seconds);
                project.plain(line.as_str()).success();
                let wanted = project.read("a.o");
                let ending = cache.ending(&project, line.as_str());
                assert!(project.read("a.o") == wanted, "{seconds} {digit}: {ending}");
                ending
            };
            for digit in [1, 2, 3] {
                compile(digit);
            }
            assert_eq!(compile(1), "direct_cache_hit", "{seconds}");
        }
    }
}

/// Names that a shell, make or a dependency file write in a special way.
const NAMES: &[&[u8]] = &[
    b"two words",
    b"tab\there",
    b"dollar$name",
    b"hash#name",
    b"colon:name",
    b"back\\slash",
    b"trailing\\",
    b"star*name?",
    b"-leading-dash",
    b"@leading-at",
    b"caf\xc3\xa9",
    b"bad\xff\xfe",
    b"a,b",
    b"new\nline",
    b"double\"quote",
];

fn named(before: &[u8], name: &[u8], after: &[u8]) -> std::ffi::OsString {
    OsStr::from_bytes(&[before, name, after].concat()).to_owned()
}

#[test]
fn header_with_an_odd_name() {
    for family in compilers("header_with_an_odd_name") {
        for (number, name) in NAMES.iter().enumerate() {
            let header = named(b"", name, b".h");
            let project = Project::new(&[]);
            // In angle brackets neither a quote nor a backslash has a meaning.
            let source = [b"#include <".as_slice(), name, b".h>\nint x = X;\n"].concat();
            project.write("a.c", source);
            let write = |text: &str| std::fs::write(project.root().join(&header), text).unwrap();
            write("#define X 1\n");
            let cache = Cache::new();
            for options in ["-MD", ["-MMD -MP", ""][number % 2]] {
                let call = Call::from(format!("{} -c a.c -I. {options}", family.c));
                write("#define X 1\n");
                let (_, warm) = same_as_compiler(&project, &cache, &call);
                let strange = b"\n\\\t".iter().any(|odd| name.contains(odd));
                let compiles = project.plain(&call).ok();
                assert!(
                    warm == "direct_cache_hit" || strange || !compiles,
                    "{header:?} {options}: {warm}"
                );
                for file in ["a.o", "a.d"] {
                    let _ = std::fs::remove_file(project.path(file));
                }
                write("#define X 2\n");
                check(&project, &cache, &call);
            }
        }
    }
}

#[test]
fn source_and_outputs_with_odd_names() {
    for family in compilers("source_and_outputs_with_odd_names") {
        let cache = Cache::new();
        for name in NAMES {
            let project = Project::new(&[("x.h", "#define X 1\n"), ("plain.c", UNIT[0].1)]);
            let source = named(b"", name, b".c");
            std::fs::write(project.root().join(&source), UNIT[0].1).unwrap();
            // A name that starts with a dash or an at sign is an option, but for its folder.
            let safe = named(b"./", name, b".c");
            let call = |words: &str| Call::from(format!("{} {words}", family.c));
            let file = |suffix: &[u8]| named(b"./", name, suffix);
            for call in [
                call("-MD -g -c").word(&safe),
                call("-MD -c plain.c -o").word(file(b".o")).word("-MF").word(file(b".d")),
                call("-MD -c plain.c -MT").word(named(b"", name, b"")),
                call("-MD -c plain.c -MQ")
                    .word(named(b"", name, b""))
                    .word(named(b"-D", name, b"")),
                call("-c").word(&source),
            ] {
                let (_, warm) = same_as_compiler(&project, &cache, &call);
                let plain = project.plain(&call);
                // No name that make could not read, or that is an option or a list of them.
                let strange = b"\n\t\\@-$#:".iter().any(|odd| name.contains(odd));
                assert!(
                    warm == "direct_cache_hit"
                        || strange
                        || !plain.ok()
                        || !plain.stderr.is_empty(),
                    "{call:?}: {warm}"
                );
                let _ = std::fs::remove_file(project.path("a.out"));
            }
        }
    }
}

#[test]
fn names_that_differ_in_case_alone() {
    for family in compilers("names_that_differ_in_case_alone") {
        let files = [("a.c", "#include \"X.h\"\nint x = X;\n"), ("inc/X.h", "#define X 1\n")];
        let trap = Trap::new(&files, format!("{} -c a.c -Iinc", family.c));
        trap.undo(|project| project.write("x.h", "#define X 2\n"));
        trap.change(|project| project.write("X.h", "#define X 3\n"));
        trap.undo(|project| project.remove("X.h"));
        trap.change(|project| {
            std::fs::rename(project.path("inc/X.h"), project.path("inc/x.h")).unwrap();
        });
    }
}

#[test]
fn header_that_may_no_longer_be_read() {
    for family in compilers("header_that_may_no_longer_be_read") {
        let files = [
            ("a.c", "#include <x.h>\nint x = X;\n"),
            ("one/x.h", "#define X 1\n"),
            ("two/x.h", "#define X 2\n"),
        ];
        let project = Project::new(&files);
        let cache = Cache::new().unprivileged(&project);
        let line = format!("{} -c a.c -Ione -Itwo", family.c);
        let plain = || {
            run(cache.adopt(&mut project.command_for(&Call::from(line.as_str()), &[])), LIMIT_CALL)
        };
        let through = || cache.compile(&project, line.as_str());
        through().success();
        assert_eq!(cache.ending(&project, line.as_str()), "direct_cache_hit");
        for (name, mode) in [("one/x.h", 0o000), ("one/x.h", 0o644), ("one", 0o000), ("one", 0o755)]
        {
            project.mode(name, mode);
            let wanted = plain();
            let object = wanted.ok().then(|| project.read("a.o"));
            assert_eq!(through(), wanted, "{name} with mode {mode:o}");
            assert!(object.is_none_or(|object| project.read("a.o") == object), "{name} {mode:o}");
        }
    }
}
