//! Outputs of unusual kinds, sizes and places, files beside the object, and two writers of one file.

use crate::support::{
    Cache, Call, LIMIT_CALL, Project, Trap, check, compilers, rcache_binary, run, same_as_compiler,
    start,
};

const UNIT: &[(&str, &str)] = &[
    ("a.c", "#include \"x.h\"\nint f(int y) { return y * X; }\n"),
    ("b.c", "#include \"x.h\"\nint g(int y) { return y + X; }\nint more[100] = {X};\n"),
    ("x.h", "#define X 3\n"),
    ("sub/keep", ""),
];

const HIT: &str = "direct_cache_hit";
const OPTION: &str = "unsupported_compiler_option";

#[test]
fn output_that_is_no_ordinary_file() {
    for family in compilers("output_that_is_no_ordinary_file") {
        let (project, cache) = (Project::new(UNIT), Cache::new());
        check(&project, &cache, format!("{} -c a.c", family.c));
        for (line, ending) in [
            ("-MD -MF /proc/self/fd/1 -c a.c", "bad_output_file"),
            ("-S a.c -o -", "output_to_stdout"),
            ("-c a.c -o sub", "bad_output_file"),
            ("-c a.c -o missing/a.o", "bad_output_file"),
            ("-c a.c -o sub/../missing/a.o", "bad_output_file"),
            ("-c a.c -MD -MF missing/a.d", "bad_output_file"),
            ("-c a.c -o a.c", "bad_output_file"),
            ("-c a.c -o ./a.c", "bad_output_file"),
        ] {
            let endings = same_as_compiler(&project, &cache, format!("{} {line}", family.c));
            assert_eq!(endings, (ending.to_owned(), ending.to_owned()), "{} {line}", family.c);
        }
    }
}

#[test]
fn output_over_a_link_or_a_read_only_file_is_the_compilers() {
    for family in compilers("output_over_a_link_or_a_read_only_file_is_the_compilers") {
        let line = format!("{} -c a.c -MD", family.c);
        for (what, prepare) in [
            (
                "a symlink",
                (|project| {
                    project.write("sub/target", "old");
                    project.symlink("sub/target", "a.o");
                }) as fn(&Project),
            ),
            ("dependencies through a symlink", |project| {
                project.write("sub/target", "old");
                project.symlink("sub/target", "a.d");
            }),
            ("a symlink to nowhere", |project| project.symlink("no/such", "a.o")),
            ("a read-only file", |project| {
                project.write("a.o", "old");
                project.mode("a.o", 0o400);
            }),
            ("read-only dependencies", |project| {
                project.write("a.d", "old");
                project.mode("a.d", 0o444);
            }),
            ("a source of the same folder as output", |project| project.symlink("a.c", "a.o")),
        ] {
            let (project, cache) = (Project::new(UNIT), Cache::new());
            check(&project, &cache, line.as_str());
            prepare(&project);
            let (cold, warm) = same_as_compiler(&project, &cache, line.as_str());
            let known = [HIT, "bad_output_file", "compile_failed"];
            assert!(known.contains(&warm.as_str()), "{what}: {cold}, {warm}");
        }
    }
}

#[test]
fn output_into_a_fifo() {
    for family in compilers("output_into_a_fifo") {
        let (project, cache) = (Project::new(UNIT), Cache::new());
        check(&project, &cache, format!("{} -S a.c", family.c));
        project.plain(format!("{} -S a.c -o wanted.s", family.c).as_str()).success();
        run(project.command("mkfifo").arg("pipe"), LIMIT_CALL).success();
        for _ in 0..2 {
            let binary = rcache_binary();
            let script = format!(
                "cat pipe > got.s & '{}' {} -S a.c -o pipe; status=$?; wait; exit $status",
                binary.display(),
                family.c
            );
            let before = cache.stats();
            let call = Call::of(["/bin/sh", "-c", &script]);
            run(&mut cache.command_bare(&project, &call), LIMIT_CALL).success();
            assert_eq!(cache.endings_since(&before), "bad_output_file");
            assert!(project.read("got.s") == project.read("wanted.s"), "{}", family.c);
        }
    }
}

#[test]
fn two_outputs_with_one_name() {
    for family in compilers("two_outputs_with_one_name") {
        let (project, cache) = (Project::new(UNIT), Cache::new());
        for line in [
            "-c a.c -MD -MF a.o",
            "-c a.c -MD -MF ./a.o",
            "-c a.c -o both -MD -MF sub/../both",
            "-c a.c -MD -MF x.h",
            "-c a.c -MD -MF a.c",
            "-c a.c -o x.h",
            "-S a.c -MD -MF a.s",
        ] {
            same_as_compiler(&project, &cache, format!("{} {line}", family.c));
        }
    }
}

#[test]
fn two_compiles_that_write_one_object() {
    for family in compilers("two_compiles_that_write_one_object") {
        let (project, cache) = (Project::new(UNIT), Cache::new());
        let line = |source: &str| format!("{} -O2 -c {source} -o both.o", family.c);
        let wanted = ["a.c", "b.c"].map(|source| {
            project.plain(line(source).as_str()).success();
            project.read("both.o")
        });
        project.remove("both.o");
        for turn in 0..10 {
            let running = ["a.c", "b.c", "a.c", "b.c"]
                .map(|source| start(&mut cache.command(&project, &Call::from(line(source)))));
            for one in running {
                one.finish(LIMIT_CALL).success();
            }
            // Compilers that remove the old object and open a new one at the same moment may well mix
            // theirs (gcc alone: 45 of 300 times). But neither may have been remembered for the other.
            for (source, wanted) in ["a.c", "b.c"].iter().zip(&wanted) {
                cache.compile(&project, line(source)).success();
                assert!(project.read("both.o") == *wanted, "turn {turn}: {source}");
            }
            // Results that are there already are not mixed.
            let running = ["a.c", "b.c", "a.c", "b.c"]
                .map(|source| start(&mut cache.command(&project, &Call::from(line(source)))));
            for one in running {
                one.finish(LIMIT_CALL).success();
            }
            let got = project.read("both.o");
            assert!(wanted.contains(&got), "turn {turn}: a mixture of two results");
            project.write("x.h", format!("#define X 3 /* {turn} */\n"));
        }
    }
}

#[test]
fn object_that_is_empty() {
    for family in compilers("object_that_is_empty") {
        let project = Project::new(UNIT);
        let script = format!(
            "#!/bin/sh\n/usr/bin/{} \"$@\" || exit\nif test -e a.o; then : > a.o; fi\n",
            family.c
        );
        project.script("cc", &script);
        let cache = Cache::new();
        let (_, warm) = same_as_compiler(&project, &cache, "./cc -c a.c");
        assert!([HIT, "compiler_produced_no_output"].contains(&warm.as_str()), "{warm}");
    }
}

/// Above what one output may have, without that the disk must hold it.
const SPARSE_BYTES: u64 = 5 << 30;

#[test]
fn object_of_five_gigabytes() {
    for family in compilers("object_of_five_gigabytes") {
        let project = Project::new(UNIT);
        let script = format!(
            "#!/bin/sh\n/usr/bin/{} \"$@\" || exit\nif test -e a.o; then truncate -s {SPARSE_BYTES} a.o; fi\n",
            family.c
        );
        project.script("cc", &script);
        let cache = Cache::new();
        for _ in 0..2 {
            let before = cache.stats();
            cache.compile(&project, "./cc -c a.c").success();
            assert_eq!(cache.endings_since(&before), "bad_output_file");
            assert_eq!(std::fs::metadata(project.path("a.o")).unwrap().len(), SPARSE_BYTES);
            project.remove("a.o");
        }
    }
}

#[test]
fn default_permissions_of_the_folder() {
    // A default access list of the folder takes the umask's place.
    let user_all_group_read: [u8; 28] = [
        2, 0, 0, 0, // version
        1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, // the user
        4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, // the group
        0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, // others
    ];
    for family in compilers("default_permissions_of_the_folder") {
        let (project, cache) = (Project::new(UNIT), Cache::new());
        let set = rustix::fs::setxattr(
            project.path("sub"),
            "system.posix_acl_default",
            &user_all_group_read,
            rustix::fs::XattrFlags::empty(),
        );
        if let Err(error) = set {
            return crate::support::skip("default_permissions_of_the_folder", &error.to_string());
        }
        let line = format!("{} -c a.c -o sub/a.o -MD", family.c);
        let mode = |name: &str| {
            use std::os::unix::fs::MetadataExt;
            let about = std::fs::metadata(project.path(name)).unwrap();
            std::fs::remove_file(project.path(name)).unwrap();
            about.mode()
        };
        let modes = || ["sub/a.o", "sub/a.d"].map(mode);
        project.plain(line.as_str()).success();
        let wanted = modes();
        for turn in ["cold", "warm"] {
            cache.compile(&project, line.as_str()).success();
            assert_eq!(modes(), wanted, "{turn} with {}", family.c);
        }
    }
}

/// Options that write files beside the object: those files come back with a hit, or the option is not
/// cached. `None` where the compiler does not know it.
const SIDE_OUTPUTS: &[(&str, Option<&str>, Option<&str>)] = &[
    ("-MD", Some(HIT), Some(HIT)),
    ("-g -gsplit-dwarf", Some(HIT), Some(HIT)),
    ("--coverage", Some(HIT), Some(HIT)),
    ("-ftest-coverage", Some(HIT), Some(HIT)),
    ("-fstack-usage", Some(HIT), Some(HIT)),
    ("-fcallgraph-info", Some(HIT), None),
    ("-fcallgraph-info=su,da", Some(HIT), None),
    ("-save-temps", Some(HIT), Some(HIT)),
    ("-save-temps=obj", Some(HIT), Some(HIT)),
    ("-fopt-info=opt.txt", Some(OPTION), None),
    ("-fopt-info-vec-missed=opt.txt", Some(OPTION), None),
    ("-fsave-optimization-record", Some(HIT), Some(HIT)),
    ("-foptimization-record-file=opt.yaml", None, Some(HIT)),
    ("-aux-info prototypes.txt", Some(HIT), None),
    ("-da", Some(OPTION), None),
    ("-dP", Some(OPTION), None),
    ("-fdump-tree-all", Some(OPTION), None),
    ("-fdump-ipa-clones", Some(OPTION), None),
    ("-fdump-final-insns=insns.txt", Some(OPTION), None),
    ("-fdump-go-spec=spec.txt", Some(OPTION), None),
    ("-Wa,-MD=asm.d", Some(OPTION), None),
    ("-Wa,--MD,asm.d", Some(OPTION), None),
    ("-Wa,-a=listing.txt", Some(HIT), None),
    ("-Wa,-ahlms=listing.txt", Some(HIT), None),
    ("-Wa,-ag=listing.txt", Some(OPTION), None),
    ("-Wa,-o,other.o", Some(OPTION), None),
    ("-ftime-trace", None, Some(HIT)),
    ("-MJ commands.json", None, Some(HIT)),
    ("--serialize-diagnostics diagnostics.bin", None, Some(HIT)),
    ("-fdiagnostics-format=sarif-file", None, None),
    ("-fdiagnostics-format=json-file", None, None),
    ("-dumpdir sub/ -fstack-usage", Some(OPTION), None),
    ("-dumpbase other -fstack-usage", Some(OPTION), None),
    ("-dumpbase-ext .x -fstack-usage", Some(OPTION), None),
    ("-fprofile-note=note.gcno -ftest-coverage", Some(OPTION), None),
    ("-Xclang -dependency-file -Xclang hidden.d -Xclang -MT -Xclang x", None, Some(OPTION)),
    ("-Xclang -header-include-file -Xclang headers.txt -H", None, Some(OPTION)),
    ("-mllvm -time-passes", None, Some(OPTION)),
    ("-mllvm -info-output-file=info.txt -mllvm -stats", None, Some(OPTION)),
    (
        "-Rpass=inline -foptimization-record-passes=inline -fsave-optimization-record",
        None,
        Some(OPTION),
    ),
    ("-wrapper env", Some(OPTION), None),
    ("-fplugin=none.so", None, None),
    ("-Wp,-MMD,pre.d", Some(HIT), Some(HIT)),
    ("-Wp,-dD", Some(OPTION), Some(OPTION)),
    ("-fembed-bitcode", None, Some(OPTION)),
    ("-emit-ast", None, Some(OPTION)),
    ("-fprofile-generate", Some(HIT), Some(HIT)),
    ("-fprofile-dir=data --coverage", Some(HIT), None),
];

#[test]
fn files_beside_the_object_come_back_or_the_option_is_refused() {
    for family in compilers("files_beside_the_object_come_back_or_the_option_is_refused") {
        let (project, cache) = (Project::new(UNIT), Cache::new());
        for (options, gcc, clang) in SIDE_OUTPUTS {
            let expected = if family.c == "gcc" { gcc } else { clang };
            let line = format!("{} -O1 -c a.c {options}", family.c);
            let (_, warm) = same_as_compiler(&project, &cache, line.as_str());
            let Some(expected) = expected else { continue };
            assert_eq!(warm, *expected, "{line}");
        }
    }
}

#[test]
fn only_one_of_two_outputs_is_asked_for_later() {
    // The same object with other files beside it: each call gets its own set.
    for family in compilers("only_one_of_two_outputs_is_asked_for_later") {
        let (project, cache) = (Project::new(UNIT), Cache::new());
        for options in [
            "",
            "-MD",
            "-MMD",
            "-MD -MF sub/a.d",
            "-MD -MT one",
            "-MD -MT two",
            "-MD -MQ two",
            "-MD -MT two -MP",
            "-fstack-usage",
            "-fstack-usage -MD",
            "",
        ] {
            check(&project, &cache, format!("{} -c a.c {options}", family.c));
        }
        for options in ["", "-MD", "-MMD", "-MD -MT one", "-MD -MT two", "-fstack-usage -MD"] {
            let again = check(&project, &cache, format!("{} -c a.c {options}", family.c));
            assert_eq!(again, HIT, "{options}");
        }
    }
}

#[test]
fn old_outputs_do_not_stand_for_new_ones() {
    // A compiler that succeeds and writes nothing: what lies there from before is no result.
    for family in compilers("old_outputs_do_not_stand_for_new_ones") {
        let project = Project::new(UNIT);
        let script = format!(
            "#!/bin/sh\ncase \" $* \" in *'-###'*|*/dev/null*) exec {0} \"$@\" ;; esac\n\
             test -e lazy && exit 0\nexec {0} \"$@\"\n",
            family.c
        );
        project.script("cc", &script);
        project.write("lazy", "");
        project.write("a.o", "an old object");
        let trap = Trap::prepared(project, "./cc -c a.c");
        assert_eq!(trap.check(), "compiler_produced_no_output");
        trap.change(|project| project.remove("a.o"));
        trap.change(|project| project.remove("lazy"));
        assert_eq!(trap.check(), HIT);
    }
}
