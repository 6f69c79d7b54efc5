//! Traps for a lookup without preprocessing: each changes what the compiler would see in a way that
//! some cache has missed, demands the new result, and demands a hit again in the earlier state.

use crate::support::{
    Cache, Call, LIMIT_CALL, Project, Trap, check, compilers, have, run, same_as_compiler, skip,
    start, wait_until,
};
use std::time::Duration;

/// A file with one include, found in the second of two folders.
const TWO_FOLDERS: &[(&str, &str)] =
    &[("a.c", "#include <x.h>\nint x = X;\n"), ("first/keep", ""), ("second/x.h", "#define X 1\n")];

#[test]
fn header_appears_earlier_in_the_search_path() {
    for family in compilers("header_appears_earlier_in_the_search_path") {
        for option in ["-I", "-isystem", "-iquote", "-idirafter"] {
            let text = TWO_FOLDERS[0].1.replace(['<', '>'], "\"");
            let mut files = TWO_FOLDERS.to_vec();
            files[0].1 = &text;
            let line = format!("{} -c a.c {option} first {option} second", family.c);
            let trap = Trap::new(&files, line);
            trap.change(|project| project.write("first/x.h", "#define X 2\n"));
            trap.undo(|project| project.remove("first/x.h"));
            // Beside the source comes before every folder of the search path.
            trap.change(|project| project.write("x.h", "#define X 3\n"));
            trap.undo(|project| project.remove("x.h"));
        }
    }
}

#[test]
fn search_folder_appears() {
    for family in compilers("search_folder_appears") {
        let line = format!("{} -c a.c -I third -I second", family.c);
        let trap = Trap::new(TWO_FOLDERS, line);
        trap.change(|project| project.write("third/x.h", "#define X 2\n"));
        trap.undo(|project| std::fs::remove_dir_all(project.path("third")).unwrap());
    }
}

#[test]
fn header_appears_for_a_nested_include() {
    for family in compilers("header_appears_for_a_nested_include") {
        let files = [
            ("a.c", "#include \"sub/outer.h\"\nint x = X;\n"),
            ("sub/outer.h", "#include \"inner.h\"\n"),
            ("inc/inner.h", "#define X 1\n"),
        ];
        let trap = Trap::new(&files, format!("{} -c a.c -I inc", family.c));
        trap.change(|project| project.write("sub/inner.h", "#define X 2\n"));
        trap.undo(|project| project.remove("sub/inner.h"));
    }
}

#[test]
fn header_appears_for_include_next() {
    for family in compilers("header_appears_for_include_next") {
        let files = [
            ("a.c", "#include <x.h>\nint x = X;\n"),
            ("one/x.h", "#include_next <x.h>\n"),
            ("two/keep", ""),
            ("three/x.h", "#define X 1\n"),
        ];
        let trap = Trap::new(&files, format!("{} -c a.c -Ione -Itwo -Ithree", family.c));
        trap.change(|project| project.write("two/x.h", "#define X 2\n"));
        trap.undo(|project| project.remove("two/x.h"));
    }
}

#[test]
fn has_include_becomes_true() {
    let sources = [
        "#if __has_include(\"later.h\")\n#include \"later.h\"\n#else\n#define X 1\n#endif\nint x = X;\n",
        "#if __has_include(<later.h>)\nint x = 2;\n#else\nint x = 1;\n#endif\n",
        "#define NAME <later.h>\n#if __has_include(NAME)\nint x = 2;\n#else\nint x = 1;\n#endif\n",
        "#define HAVE __has_include\n#if defined __has_include && HAVE(\"later.h\")\nint x = 2;\n#endif\n",
        "#if __has_include( /* why */ \"sub/../later.h\" )\nint x = 2;\n#endif\n",
        "#if __has_\\\ninclude(\"later.h\")\nint x = 2;\n#endif\n",
        "#define CAT(a, b) a##b\n#if CAT(__has_, include)(\"later.h\")\nint x = 2;\n#endif\n",
        "#if 0\n#elif __has_include(\"later.h\")\nint x = 2;\n#endif\n",
    ];
    for family in compilers("has_include_becomes_true") {
        for source in sources {
            let files = [("a.c", source), ("sub/keep", "")];
            let project = Project::new(&files);
            let trap = Trap::undemanding(project, format!("{} -c a.c -I.", family.c));
            trap.change(|project| project.write("later.h", "#define X 2\n"));
            trap.change(|project| project.remove("later.h"));
        }
    }
}

#[test]
fn has_include_next_becomes_true() {
    for family in compilers("has_include_next_becomes_true") {
        let files = [
            ("a.c", "#include <x.h>\nint x = X;\n"),
            ("one/x.h", "#if __has_include_next(<x.h>)\n#define X 2\n#else\n#define X 1\n#endif\n"),
            ("two/keep", ""),
        ];
        let project = Project::new(&files);
        let trap = Trap::undemanding(project, format!("{} -c a.c -Ione -Itwo", family.c));
        trap.change(|project| project.write("two/x.h", ""));
        trap.change(|project| project.remove("two/x.h"));
    }
}

#[test]
fn header_is_a_symlink_that_is_retargeted() {
    for family in compilers("header_is_a_symlink_that_is_retargeted") {
        let project = Project::new(&[
            ("a.c", "#include \"x.h\"\nint x = X + Y;\n"),
            ("old/real.h", "#define X 1\n#include \"y.h\"\n"),
            ("new/real.h", "#define X 1\n#include \"y.h\"\n"),
            ("old/y.h", "#define Y 1\n"),
            ("new/y.h", "#define Y 2\n"),
            ("y.h", "#define Y 3\n"),
        ]);
        project.symlink("old/real.h", "x.h");
        let line = format!("{} -c a.c", family.c);
        let trap = Trap::prepared(project, line).sprung("direct_cache_hit");
        trap.change(|project| project.symlink("new/real.h", "x.h"));
        trap.undo(|project| project.symlink("old/real.h", "x.h"));
        trap.change(|project| project.write("y.h", "#define Y 4\n"));
        trap.undo(|project| project.write("y.h", "#define Y 3\n"));
    }
}

#[test]
fn source_is_a_symlink_that_is_retargeted() {
    for family in compilers("source_is_a_symlink_that_is_retargeted") {
        let project = Project::new(&[
            ("old/a.c", "#include \"x.h\"\nint x = X;\n"),
            ("new/a.c", "#include \"x.h\"\nint x = X;\n"),
            ("old/x.h", "#define X 1\n"),
            ("new/x.h", "#define X 2\n"),
            ("x.h", "#define X 3\n"),
        ]);
        project.symlink("old/a.c", "a.c");
        let line = format!("{} -c a.c", family.c);
        let trap = Trap::prepared(project, line).sprung("direct_cache_hit");
        trap.change(|project| project.symlink("new/a.c", "a.c"));
        trap.change(|project| project.remove("x.h"));
    }
}

/// Compiles through rcache and returns the object, without touching any other file.
fn object(project: &Project, cache: &Cache, line: &str) -> Vec<u8> {
    cache.compile(project, line).success();
    let object = project.read("a.o");
    project.remove("a.o");
    object
}

fn plain_object(project: &Project, line: &str) -> Vec<u8> {
    project.plain(line).success();
    let object = project.read("a.o");
    project.remove("a.o");
    object
}

#[test]
fn header_replaced_unseen() {
    // Same size, same modification time: in place, and by a rename (rsync, tar, a package manager).
    for family in compilers("header_replaced_unseen") {
        let project =
            Project::new(&[("a.c", "#include \"x.h\"\nint x = X;\n"), ("x.h", "#define X 1\n")]);
        let (cache, line) = (Cache::new(), format!("{} -c a.c", family.c));
        let one = plain_object(&project, &line);
        project.touch("x.h", 1_500_000_000);
        assert!(object(&project, &cache, &line) == one);
        for digit in 2..9 {
            let text = format!("#define X {digit}\n");
            project.replace_unseen("x.h", &text);
            let wanted = plain_object(&project, &line);
            assert!(object(&project, &cache, &line) == wanted, "renamed, {digit}");
            let text = format!("#define X {}\n", digit - 1);
            project.write("x.h", text);
            project.touch("x.h", 1_500_000_000);
            let wanted = plain_object(&project, &line);
            assert!(object(&project, &cache, &line) == wanted, "in place, {digit}");
        }
        project.replace_unseen("x.h", "#define X 1\n");
        assert_eq!(cache.ending(&project, line.as_str()), "direct_cache_hit");
        assert!(project.read("a.o") == one);
    }
}

#[test]
fn header_edited_and_compiled_at_once() {
    let project =
        Project::new(&[("a.c", "#include \"x.h\"\nint x = X;\n"), ("x.h", "#define X 100\n")]);
    let cache = Cache::new();
    for number in 100..130 {
        project.write("x.h", format!("#define X {number}\n"));
        let through = object(&project, &cache, "gcc -c a.c");
        assert!(through == plain_object(&project, "gcc -c a.c"), "X = {number}");
    }
}

#[test]
fn source_edited_and_compiled_at_once() {
    let project = Project::new(&[("a.c", "")]);
    let cache = Cache::new();
    for number in 100..130 {
        project.write("a.c", format!("int x = {number};\n"));
        let through = object(&project, &cache, "gcc -c a.c");
        assert!(through == plain_object(&project, "gcc -c a.c"), "x = {number}");
    }
}

#[test]
fn header_removed() {
    for family in compilers("header_removed") {
        let files = [("a.c", "#include \"x.h\"\nint x = X;\n"), ("x.h", "#define X 1\n")];
        let trap = Trap::new(&files, format!("{} -c a.c", family.c));
        trap.change(|project| project.remove("x.h"));
        trap.undo(|project| project.write("x.h", "#define X 1\n"));
    }
}

#[test]
fn date_and_time_macros() {
    for family in compilers("date_and_time_macros") {
        for (macros, header) in [("__DATE__", false), ("__TIME__", false), ("__TIME__", true)] {
            let text = format!("const char when[] = {macros};\n");
            let source = if header { "#include \"x.h\"\n" } else { text.as_str() };
            let project = Project::new(&[("a.c", source), ("x.h", &text)]);
            let cache = Cache::new();
            let (line, second) = (format!("{} -c a.c", family.c), Duration::from_millis(1100));
            // The object of a given moment cannot be asked for twice, so the text in it is compared.
            let first = object(&project, &cache, &line);
            std::thread::sleep(second);
            let later = object(&project, &cache, &line);
            if macros == "__TIME__" {
                assert!(first != later, "{macros}: the object holds an old time");
            }
        }
    }
}

#[test]
fn source_date_epoch() {
    // gcc only: clang knows the variable from its version 16 on.
    let files = [("a.c", "const char when[] = __DATE__ __TIME__;\n")];
    let (project, cache) = (Project::new(&files), Cache::new());
    for epoch in ["1000000000", "1100000000", "1100000001", "1000000000"] {
        let call = Call::from("gcc -c a.c").env("SOURCE_DATE_EPOCH", epoch);
        same_as_compiler(&project, &cache, call);
    }
}

#[test]
fn timestamp_macro_follows_the_files_time() {
    for family in compilers("timestamp_macro_follows_the_files_time") {
        let project = Project::new(&[
            ("a.c", "#include \"x.h\"\nconst char when[] = WHEN __TIMESTAMP__;\n"),
            ("x.h", "#define WHEN __TIMESTAMP__\n"),
        ]);
        project.touch("a.c", 1_000_000_000);
        project.touch("x.h", 1_000_000_000);
        let trap = Trap::undemanding(project, format!("{} -c a.c", family.c));
        trap.change(|project| project.touch("a.c", 1_100_000_000));
        trap.change(|project| project.touch("x.h", 1_200_000_000));
        trap.change(|project| project.touch("a.c", 1_000_000_000));
    }
}

#[test]
fn file_included_by_the_assembler() {
    let cases: [(&str, &str, &str); 8] = [
        ("a.s", "\t.data\n\t.incbin \"data\"\n", "-c a.s"),
        ("a.S", "\t.data\n\t.incbin \"data\"\n", "-c a.S"),
        ("a.s", "\t.include \"data\"\n", "-c a.s"),
        ("a.c", "asm(\".data\\n.incbin \\\"data\\\"\\n\");\n", "-c a.c"),
        ("a.c", "asm(\".include \\\"data\\\"\");\n", "-c a.c"),
        ("a.c", "asm(\".inc\" \"bin \\\"data\\\"\");\n", "-c a.c"),
        ("a.c", "#define BIN \".incbin \"\nasm(BIN \"\\\"data\\\"\");\n", "-c a.c -O2"),
        ("a.s", "\t.macro m x y\n\t.inc\\x \"\\y\"\n\t.endm\n\t.data\n\tm bin data\n", "-c a.s"),
    ];
    for family in compilers("file_included_by_the_assembler") {
        for (name, text, line) in cases {
            let project = Project::new(&[(name, text), ("data", "# 1 one\n")]);
            let trap = Trap::undemanding(project, format!("{} {line}", family.c));
            trap.change(|project| project.write("data", "\t.byte 2\n"));
            trap.change(|project| project.write("data", "# 1 one\n"));
        }
    }
}

#[test]
fn assembler_include_folder() {
    for family in compilers("assembler_include_folder") {
        let files =
            [("a.s", "\t.include \"data\"\n"), ("one/keep", ""), ("two/data", "\t.byte 1\n")];
        let line = format!("{} -c a.s -Wa,-I,one -Wa,-I,two", family.c);
        let trap = Trap::undemanding(Project::new(&files), line);
        trap.change(|project| project.write("one/data", "\t.byte 2\n"));
    }
}

#[test]
fn embedded_file() {
    // Compilers without #embed report an error, and that must not be remembered either.
    for family in compilers("embedded_file") {
        let files = [("a.c", "const char data[] = {\n#embed \"data\"\n};\n"), ("data", "one")];
        let line = format!("{} -c a.c", family.c);
        let trap = Trap::undemanding(Project::new(&files), line);
        trap.change(|project| project.write("data", "two"));
    }
}

/// A compiler script that runs `before`, the real compiler, and `after`.
fn wrapper(before: &str, after: &str) -> String {
    format!("#!/bin/sh\n{before}\n/usr/bin/gcc \"$@\"\nstatus=$?\n{after}\nexit $status\n")
}

#[test]
fn header_changes_during_the_compile() {
    for (before, after) in [
        ("echo '#define X 2' > x.h", ""),
        ("", "echo '#define X 2' > x.h"),
        ("cp -p x.h y.h; echo '#define X 2' > x.h", "mv y.h x.h"),
        ("", "cp -p x.h y.h; echo '#define X 2' > x.h; touch -r y.h x.h"),
    ] {
        let project =
            Project::new(&[("a.c", "#include \"x.h\"\nint x = X;\n"), ("x.h", "#define X 1\n")]);
        let cache = Cache::new();
        project.script("cc", &wrapper(before, after));
        cache.compile(&project, "./cc -c a.c").success();
        // Whatever was remembered then must not be an answer for either content of the header.
        for text in ["#define X 1\n", "#define X 2\n"] {
            project.write("x.h", text);
            let wanted = {
                project.plain("gcc -c a.c").success();
                project.read("a.o")
            };
            for compiler in ["gcc", "./quiet"] {
                project.script("quiet", &wrapper("", ""));
                cache.compile(&project, format!("{compiler} -c a.c").as_str()).success();
                assert!(project.read("a.o") == wanted, "{before} / {after}: {text}");
            }
        }
    }
}

#[test]
fn header_edited_while_a_slow_compiler_runs() {
    let project =
        Project::new(&[("a.c", "#include \"x.h\"\nint x = X;\n"), ("x.h", "#define X 1\n")]);
    let cache = Cache::new();
    project.script(
        "cc",
        &wrapper(
            "",
            "test -e go || { touch ready; while test -e ready; do sleep 0.01; done; touch go; }",
        ),
    );
    let running = start(&mut cache.command(&project, &Call::from("./cc -c a.c")));
    wait_until("the compiler runs", LIMIT_CALL, || project.exists("ready"));
    project.write("x.h", "#define X 2\n");
    project.remove("ready");
    running.finish(LIMIT_CALL).success();
    check(&project, &cache, "./cc -c a.c");
    assert_eq!(check(&project, &cache, "./cc -c a.c"), "direct_cache_hit");
    project.write("x.h", "#define X 1\n");
    check(&project, &cache, "./cc -c a.c");
}

#[test]
fn compiler_wrapper_edited() {
    let project = Project::new(&[("a.c", "#ifndef X\n#define X 1\n#endif\nint x = X;\n")]);
    project.script("cc", "#!/bin/sh\nexec gcc -DX=1 \"$@\"\n");
    let trap = Trap::prepared(project, "./cc -c a.c").sprung("direct_cache_hit");
    trap.change(|project| project.script("cc", "#!/bin/sh\nexec gcc -DX=2 \"$@\"\n"));
    trap.undo(|project| project.script("cc", "#!/bin/sh\nexec gcc -DX=1 \"$@\"\n"));
    trap.change(|project| {
        project.replace_unseen("cc", "#!/bin/sh\nexec gcc -DX=3 \"$@\"\n");
        project.mode("cc", 0o755);
    });
}

#[test]
fn compiler_replaced() {
    if !have("clang") {
        return skip("compiler_replaced", "clang is not installed");
    }
    // A link named `cc` that is one compiler, then the other.
    let project = Project::new(&[("a.c", "int x;\n")]);
    project.symlink("/usr/bin/gcc", "cc");
    let trap = Trap::prepared(project, "./cc -c a.c").sprung("direct_cache_hit");
    trap.change(|project| project.symlink("/usr/bin/clang", "cc"));
    trap.undo(|project| project.symlink("/usr/bin/gcc", "cc"));
}

#[test]
fn assembler_replaced_through_b_option() {
    // gcc takes `as` from a -B folder: the driver is the same, what compiles is not.
    let project = Project::new(&[("a.c", "int x = 1;\n")]);
    project.script("tools/as", "#!/bin/sh\nexec /usr/bin/as \"$@\"\n");
    let trap = Trap::undemanding(project, "gcc -c a.c -Btools");
    trap.change(|project| {
        project.script("tools/as", "#!/bin/sh\nexec /usr/bin/as --defsym n=1 \"$@\"\n")
    });
    trap.change(|project| project.remove("tools/as"));
    let trap = Trap::undemanding(
        Project::new(&[("a.c", "int x;\n"), ("t/x", "")]),
        Call::from("gcc -c a.c").env("COMPILER_PATH", "t"),
    );
    trap.change(|project| {
        project.script("t/as", "#!/bin/sh\nexec /usr/bin/as --defsym n=1 \"$@\"\n")
    });
}

#[test]
fn environment_of_the_compiler() {
    for family in compilers("environment_of_the_compiler") {
        let project = Project::new(&[
            ("a.c", "#include <x.h>\nint x = X;\n"),
            ("one/x.h", "#define X 1\n"),
            ("two/x.h", "#define X 2\n"),
        ]);
        let cache = Cache::new();
        for variable in ["CPATH", "C_INCLUDE_PATH"] {
            for (folder, ending) in [
                ("one", "cache_miss"),
                ("two", "cache_miss"),
                ("one", "direct_cache_hit"),
                ("two:one", ""),
                ("", ""),
                (":two", ""),
            ] {
                let call = Call::from(format!("{} -c a.c", family.c)).env(variable, folder);
                let got = check(&project, &cache, call);
                let differ = !ending.is_empty() && got != ending && variable == "CPATH";
                assert!(!differ, "{variable}={folder}: {got}");
            }
        }
        check(&project, &cache, format!("{} -c a.c", family.c));
    }
}

#[test]
fn header_appears_in_a_folder_of_cpath() {
    for family in compilers("header_appears_in_a_folder_of_cpath") {
        let call = Call::from(format!("{} -c a.c", family.c)).env("CPATH", "first:second");
        let trap = Trap::new(TWO_FOLDERS, call);
        trap.change(|project| project.write("first/x.h", "#define X 2\n"));
        trap.undo(|project| project.remove("first/x.h"));
    }
}

#[test]
fn variables_that_change_what_the_compiler_does() {
    let project = Project::new(&[("a.c", "int f(int x) { int unused; return x * 7; }\n")]);
    let cache = Cache::new();
    for family in compilers("variables_that_change_what_the_compiler_does") {
        let line = format!("{} -c a.c -O1 -Wall -fdiagnostics-color", family.c);
        check(&project, &cache, line.as_str());
        for (name, value) in [
            ("CCC_OVERRIDE_OPTIONS", "# O0 x-Wall"),
            ("CCC_ADD_ARGS", "-O0,-DX"),
            ("GCC_COLORS", "error=01;35:warning=01;31"),
            ("GCC_COLORS", ""),
            ("GCC_EXTRA_DIAGNOSTIC_OUTPUT", "fixits-v1"),
            ("GCC_URLS", "st"),
            ("TERM_URLS", "bel"),
            ("GCC_EXEC_PREFIX", "/no/such/folder/"),
            ("GCC_COMPARE_DEBUG", "-gtoggle"),
            ("DEPENDENCIES_OUTPUT", "hidden.d"),
            ("SUNPRO_DEPENDENCIES", "hidden.d target"),
            ("CC_PRINT_OPTIONS", "1"),
            ("CC_LOG_DIAGNOSTICS", "1"),
            ("COLUMNS", "40"),
            ("LC_ALL", "C"),
            ("LC_ALL", "de_DE.UTF-8"),
            ("LANG", "C"),
            ("LANGUAGE", "de"),
            ("LC_MESSAGES", "C"),
            ("LC_CTYPE", "C"),
            ("TMPDIR", "/no/such/folder"),
            ("CLICOLOR_FORCE", "1"),
            ("NO_COLOR", "1"),
            ("TERM", "dumb"),
            ("PWD", "/elsewhere"),
            ("POSIXLY_CORRECT", "1"),
        ] {
            let call = Call::from(line.as_str()).env(name, value);
            same_as_compiler(&project, &cache, &call);
            check(&project, &cache, line.as_str());
        }
    }
}

#[test]
fn only_the_target_of_the_dependencies_changes() {
    for family in compilers("only_the_target_of_the_dependencies_changes") {
        let project =
            Project::new(&[("a.c", "#include \"x.h\"\nint x = X;\n"), ("x.h", "#define X 1\n")]);
        let cache = Cache::new();
        let line = format!("{} -c a.c -MMD", family.c);
        for suffix in ["-MT one", "-MT two", "-MQ one", "-MF f.d", "-MP", "-o b.o", "-MT one"] {
            check(&project, &cache, format!("{line} {suffix}"));
        }
        assert_eq!(check(&project, &cache, format!("{line} -MT two")), "direct_cache_hit");
    }
}

#[test]
fn system_headers_in_dependencies() {
    // -MMD leaves system headers out of the file; they count all the same.
    for family in compilers("system_headers_in_dependencies") {
        let files = [("a.c", "#include <x.h>\nint x = X;\n"), ("sys/x.h", "#define X 1\n")];
        let trap = Trap::new(&files, format!("{} -c a.c -MMD -isystem sys", family.c));
        trap.change(|project| project.write("sys/x.h", "#define X 2\n"));
        trap.undo(|project| project.write("sys/x.h", "#define X 1\n"));
    }
}

#[test]
fn folder_counts_with_debug_information() {
    for family in compilers("folder_counts_with_debug_information") {
        let source = "#include \"x.h\"\nint x = X; const char *name = __FILE__;\n";
        let project = Project::new(&[
            ("one/a.c", source),
            ("one/x.h", "#define X 1\n"),
            ("two/a.c", source),
            ("two/x.h", "#define X 1\n"),
        ]);
        let cache = Cache::new();
        let line = format!("{} -g -c a.c", family.c);
        for folder in ["one", "two", "one", "two"] {
            check(&project, &cache, Call::from(line.as_str()).within(folder));
        }
        let again = check(&project, &cache, Call::from(line.as_str()).within("one"));
        assert_eq!(again, "direct_cache_hit");
        project.write("two/x.h", "#define X 2\n");
        check(&project, &cache, Call::from(line.as_str()).within("two"));
    }
}

#[test]
fn two_checkouts_with_base_dir() {
    for family in compilers("two_checkouts_with_base_dir") {
        let project = Project::new(&[]);
        let checkouts = ["first/checkout", "second/checkout"];
        for root in checkouts {
            project.write(&format!("{root}/src/a.c"), "#include <x.h>\nint x = X;\n");
            project.write(&format!("{root}/inc/x.h"), "#define X 1\n");
            project.write(&format!("{root}/build/keep"), "");
        }
        let cache = Cache::new().with("RCACHE_BASE_DIR", project.root());
        // The compiler itself with relative paths is what base_dir promises.
        let check_in = |root: &str| {
            let build = format!("{root}/build");
            let line =
                |root: &str| format!("{} -c {root}/src/a.c -I{root}/inc -o a.o -MD", family.c);
            project.plain(Call::from(line("..")).within(&build)).success();
            let files = ["a.o", "a.d"].map(|name| format!("{build}/{name}"));
            let wanted = files.clone().map(|name| project.read(&name));
            files.iter().for_each(|name| project.remove(name));
            let absolute = project.path(root).display().to_string();
            let ending = cache.ending(&project, Call::from(line(&absolute)).within(&build));
            assert!(files.map(|name| project.read(&name)) == wanted, "{root}: {ending}");
            ending
        };
        check_in(checkouts[0]);
        check_in(checkouts[1]);
        project.write("second/checkout/inc/x.h", "#define X 2\n");
        check_in(checkouts[1]);
        assert_eq!(check_in(checkouts[0]), "direct_cache_hit");
        assert_eq!(check_in(checkouts[1]), "direct_cache_hit");
    }
}

#[test]
fn file_macro_and_assert_hold_the_path() {
    for family in compilers("file_macro_and_assert_hold_the_path") {
        let source = "const char *name = __FILE__ __BASE_FILE__;\n";
        let project = Project::new(&[("a.c", source), ("b.c", source), ("sub/a.c", source)]);
        let cache = Cache::new();
        for file in ["a.c", "./a.c", "b.c", "sub/a.c", "sub/../a.c"] {
            check(&project, &cache, format!("{} -c {file} -o x.o", family.c));
        }
        let absolute = project.path("a.c");
        check(&project, &cache, Call::from(format!("{} -c -o x.o", family.c)).word(absolute));
        let again = check(&project, &cache, format!("{} -c a.c -o x.o", family.c));
        assert_eq!(again, "direct_cache_hit");
    }
}

#[test]
fn response_file_edited() {
    for family in compilers("response_file_edited") {
        let files = [("a.c", "int x = X;\n"), ("o.rsp", "-DX=1")];
        let trap = Trap::new(&files, format!("{} -c a.c @o.rsp", family.c));
        trap.change(|project| project.write("o.rsp", "-DX=2"));
        trap.undo(|project| project.write("o.rsp", "-DX=1"));
    }
}

#[test]
fn files_named_by_options_edited() {
    let cases = [
        ("gcc", "-specs=x", "*cc1_options:\n+ -DX=1\n", "*cc1_options:\n+ -DX=2\n"),
        ("clang", "-fsanitize=address -fsanitize-ignorelist=x", "fun:f\n", "fun:g\n"),
        ("clang", "--config ./x", "-DX=1\n", "-DX=2\n"),
        ("gcc", "-imacros x", "#define X 1\n", "#define X 2\n"),
        ("clang", "-include x", "#define X 1\n", "#define X 2\n"),
    ];
    for (compiler, option, first, second) in cases {
        let source = "#ifndef X\n#define X 0\n#endif\nint x = X; int f(int *p) { return *p; }\n";
        let files = [("a.c", source), ("x", first)];
        let trap = Trap::undemanding(Project::new(&files), format!("{compiler} -c a.c {option}"));
        trap.change(|project| project.write("x", second));
        trap.change(|project| project.write("x", first));
    }
}

#[test]
fn profile_data_appears() {
    let source = "int f(int x) { return x > 3 ? x * 7 : x; }\nint main(void) { int s = 0; for (int i = 0; i < 100; i++) s += f(i); return s & 1; }\n";
    let project = Project::new(&[("a.c", source)]);
    let cache = Cache::new();
    let call = Call::from("gcc -O2 -c a.c -fprofile-use -Wno-missing-profile");
    check(&project, &cache, &call);
    project.plain("gcc -O2 -fprofile-generate -c a.c").success();
    project.plain("gcc -fprofile-generate a.o -o program").success();
    project.plain("./program");
    assert!(project.exists("a.gcda"));
    check(&project, &cache, &call);
    project.plain("./program");
    check(&project, &cache, &call);
    project.remove("a.gcda");
    check(&project, &cache, &call);
}

#[test]
fn order_of_options_counts() {
    let project = Project::new(&[("a.c", "int f(int x) { int unused; return x * X; }\n")]);
    let cache = Cache::new();
    for family in compilers("order_of_options_counts") {
        for line in [
            "-DX=1 -UX -DX=2",
            "-DX=2 -UX -DX=1",
            "-DX=1 -O2 -O0",
            "-DX=1 -O0 -O2",
            "-DX=1 -Wall -w",
            "-DX=1 -w -Wall",
            "-DX=1 -Wall -Wno-unused-variable",
            "-DX=1 -Wno-unused-variable -Wall",
        ] {
            check(&project, &cache, format!("{} -c a.c {line}", family.c));
        }
    }
}

#[test]
fn disabled_by_a_comment_in_the_source() {
    let files = [("a.c", "// rcache:disable is for rcache, ccache:disable for both\nint x;\n")];
    let (project, cache) = (Project::new(&files), Cache::new());
    same_as_compiler(&project, &cache, "gcc -c a.c");
}

#[test]
fn comments_that_warnings_look_at() {
    // The preprocessed text of the two is the same; the warnings are not.
    let with = "int f(int x) { switch (x) { case 1: x = 2; /* fall through */ case 2: return x; } return 0; }\n";
    let without = "int f(int x) { switch (x) { case 1: x = 2; /* no comment   */ case 2: return x; } return 0; }\n";
    for family in compilers("comments_that_warnings_look_at") {
        for mode in ["true", "false"] {
            let trap = Trap::prepared(
                Project::new(&[("a.c", with)]),
                Call::from(format!("{} -Wextra -Wimplicit-fallthrough -c a.c", family.c))
                    .env("RCACHE_DIRECT_MODE", mode),
            );
            trap.check();
            trap.change(|project| project.write("a.c", without));
            trap.change(|project| project.write("a.c", with));
        }
    }
}

#[test]
fn columns_and_quoted_lines() {
    // Blanks and macros that vanish in preprocessed text show in diagnostics and debug information.
    for family in compilers("columns_and_quoted_lines") {
        for options in ["-Wall", "-g", "-fsanitize=undefined", "-g3"] {
            let trap = Trap::prepared(
                Project::new(&[("a.c", "int f(int x) { int unused; return x / X; }\n")]),
                Call::from(format!("{} {options} -DX=3 -c a.c", family.c)),
            );
            trap.check();
            for text in [
                "int f(int x) {   int unused; return   x / X; }\n",
                "int f(int x) { int unused; /* 3 */ return x / X; }\n",
                "int f(int x) { int unused; return x / 3; }\n",
                "#define UNUSED_MACRO 1\nint f(int x) { int unused; return x / X; }\n",
            ] {
                trap.change(|project| project.write("a.c", text));
            }
        }
    }
}

#[test]
fn preprocessed_mode_serves_what_direct_mode_cannot() {
    for family in compilers("preprocessed_mode_serves_what_direct_mode_cannot") {
        let files = [("a.c", "#include \"x.h\"\nint x = X;\n"), ("x.h", "#define X 1\n")];
        let trap = Trap::new(&files, format!("{} -c a.c", family.c));
        trap.project.write("x.h", "#define X 1 /* only a comment */\n");
        let ending = trap.check();
        assert!(["preprocessed_cache_hit", "cache_miss"].contains(&ending.as_str()), "{ending}");
        let call =
            Call::from(format!("{} -c a.c -O1", family.c)).env("RCACHE_DIRECT_MODE", "false");
        assert_eq!(check(&trap.project, &trap.cache, &call), "cache_miss");
        assert_eq!(check(&trap.project, &trap.cache, &call), "preprocessed_cache_hit");
    }
}

#[test]
fn memory_of_the_daemon_is_not_needed() {
    let project =
        Project::new(&[("a.c", "#include \"x.h\"\nint x = X;\n"), ("x.h", "#define X 1\n")]);
    let cache = Cache::new();
    assert_eq!(check(&project, &cache, "gcc -c a.c -MD"), "cache_miss");
    cache.stop();
    assert_eq!(check(&project, &cache, "gcc -c a.c -MD"), "direct_cache_hit");
    cache.stop();
    project.write("x.h", "#define X 2\n");
    assert_eq!(check(&project, &cache, "gcc -c a.c -MD"), "cache_miss");
}

#[test]
fn same_call_twice_at_once_compiles_once() {
    let project = Project::new(&[("a.c", "int x;\n")]);
    let cache = Cache::new();
    project.script(
        "cc",
        &wrapper(
            "case \" $* \" in *\" -E \"* | *-###*) ;; *) echo run >> runs.txt; sleep 0.3 ;; esac",
            "",
        ),
    );
    let call = |name: &str| Call::from(format!("./cc -c a.c -o {name}"));
    cache.compile(&project, "gcc -c a.c").success();
    let running: Vec<_> = ["1.o", "2.o", "3.o", "4.o"]
        .map(|name| start(&mut cache.command(&project, &call(name))))
        .into_iter()
        .collect();
    for one in running {
        one.finish(LIMIT_CALL).success();
    }
    for name in ["2.o", "3.o", "4.o"] {
        assert!(project.read(name) == project.read("1.o"));
    }
    let path = project.path("runs.txt");
    let runs = std::fs::read_to_string(path).unwrap_or_default().lines().count();
    assert!((1..4).contains(&runs), "{runs} runs of the compiler for four equal calls");
    let mut direct = cache.command(&project, &call("5.o"));
    run(&mut direct, LIMIT_CALL).success();
}
