//! What plain preprocessed text forgets: columns, comments, macro names, quoted lines, files that only
//! a `#line` or a pragma names, and time macros that are not written out.

use crate::support::{Cache, Call, Project, Trap, check, compilers};
use std::time::Duration;

/// Longer than the second in which `__TIME__` counts.
const MORE_THAN_A_SECOND: Duration = Duration::from_millis(1100);

/// One unit whose header is edited from one text to the next and back. In direct mode the source key
/// is the same each time, without it only the text can tell.
#[track_caller]
fn header_texts(compiler: &str, options: &str, source: &str, headers: &[&str]) {
    for direct in ["true", "false"] {
        let cxx = compiler.ends_with("++");
        let name = if cxx { "a.cc" } else { "a.c" };
        let project = Project::new(&[(name, source), ("x.h", headers[0])]);
        let call =
            Call::from(format!("{compiler} {options} -c {name}")).env("RCACHE_DIRECT_MODE", direct);
        let trap = Trap::prepared(project, call);
        trap.check();
        let hit = trap.check();
        assert!(hit.ends_with("_cache_hit"), "{compiler} {options}: {hit}");
        for text in headers.iter().skip(1).chain(headers) {
            trap.change(|project| project.write("x.h", text));
        }
        let again = trap.check();
        assert!(again.ends_with("_cache_hit"), "{compiler} {options}: {again}");
    }
}

#[test]
fn columns_in_debug_information() {
    for family in compilers("columns_in_debug_information") {
        header_texts(
            family.c,
            "-g",
            "#include \"x.h\"\nint g(int x) { return f(x) + N; }\n",
            &[
                "#define N 3\nstatic int f(int x) { return x * x; }\n",
                "#define N 3\nstatic int f(int x) {   return x   *   x; }\n",
                "#define N 3\nstatic int f(int x) { /* why */ return x * x; }\n",
            ],
        );
    }
}

#[test]
fn columns_in_sanitizers() {
    for family in compilers("columns_in_sanitizers") {
        header_texts(
            family.c,
            "-fsanitize=undefined",
            "#include \"x.h\"\nint g(int x) { return f(x); }\n",
            &[
                "static int f(int x) { return 1 << x; }\n",
                "static int f(int x) {   return 1   <<   x; }\n",
                "static int f(int x) { /* why */ return 1 << x; }\n",
            ],
        );
    }
}

#[test]
fn columns_in_source_location() {
    for family in compilers("columns_in_source_location") {
        // clang 14 cannot use the source_location of gcc 12's library.
        let (column, options) = match family.c {
            "gcc" => ("(int)std::source_location::current().column()", "-std=c++20"),
            _ => ("__builtin_COLUMN()", "-std=c++17"),
        };
        let library = if family.c == "gcc" { "#include <source_location>\n" } else { "" };
        header_texts(
            family.cxx,
            options,
            &format!("{library}#include \"x.h\"\nint g() {{ return f(); }}\n"),
            &[
                &format!("inline int f() {{ return {column}; }}\n"),
                &format!("inline int f() {{   return   {column}; }}\n"),
                &format!("inline int f() {{ /* why */ return {column}; }}\n"),
            ],
        );
    }
}

#[test]
fn macro_definitions_in_debug_information() {
    for family in compilers("macro_definitions_in_debug_information") {
        header_texts(
            family.c,
            "-g3",
            "#include \"x.h\"\nint x = 1;\n",
            &["#define UNUSED 1\n", "#define UNUSED 2\n", "#define OTHERS 1\n", "/*        */\n"],
        );
    }
}

#[test]
fn comment_in_a_header_silences_a_warning() {
    for family in compilers("comment_in_a_header_silences_a_warning") {
        let with = |comment: &str| {
            format!(
                "static int f(int x) {{ switch (x) {{ case 1: x = 2; {comment} case 2: return x; }} \
                 return 0; }}\n"
            )
        };
        let texts = [with("/* fall through */"), with("/* no comment   */"), with("")];
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let source = "#include \"x.h\"\nint g(int x) { return f(x); }\n";
        for options in ["-Wextra", "-Wimplicit-fallthrough"] {
            header_texts(family.c, options, source, &texts);
        }
    }
}

#[test]
fn quoted_line_of_a_warning_that_is_on_by_default() {
    // No option asks for a warning, so that nothing but what it printed tells.
    for family in compilers("quoted_line_of_a_warning_that_is_on_by_default") {
        header_texts(
            family.c,
            "",
            "#include \"x.h\"\nint g(void) { return f() + N; }\n",
            &[
                "#define N 3\nstatic int f(void) { int *p = N; return *p; }\n",
                "#define N 3\nstatic int f(void) { int *p = 3; return *p; }\n",
                "#define N 3\nstatic int f(void) { int *p   =   N;   return *p; }\n",
                "#define N 3\nstatic int f(void) { int *p = /* why */ N; return *p; }\n",
            ],
        );
    }
}

#[test]
fn macro_that_silences_a_warning_that_is_on_by_default() {
    // clang says nothing of what a macro wrote; the preprocessed text is the same.
    for family in compilers("macro_that_silences_a_warning_that_is_on_by_default") {
        for headers in [
            [
                "#define NONE ;\nstatic int f(int x) { if (x) NONE return 3; }\n",
                "#define NONE ;\nstatic int f(int x) { if (x) ; return 3; }\n",
            ],
            [
                "#define SAME(x) ((x == 3))\nstatic int f(int x) { if SAME(x) return 1; return 2; }\n",
                "#define SAME(x) ((x == 3))\nstatic int f(int x) { if ((x == 3)) return 1; return 2; }\n",
            ],
            [
                "#define N 0\nstatic int f(int x) { x == N; return x; }\n",
                "#define N 0\nstatic int f(int x) { x == 0; return x; }\n",
            ],
        ] {
            header_texts(
                family.c,
                "",
                "#include \"x.h\"\nint g(int x) { return f(x); }\n",
                &headers,
            );
        }
    }
}

#[test]
fn file_named_by_a_line_directive() {
    // Below a diagnostic the compiler quotes the file that `#line` names.
    for family in compilers("file_named_by_a_line_directive") {
        for options in ["-Wall", ""] {
            let source = "#line 1 \"quoted.txt\"\nint *p = 5; static int unused;\n";
            let files = [("a.c", source), ("quoted.txt", "one line\n")];
            let trap = Trap::new(&files, format!("{} {options} -c a.c", family.c));
            trap.change(|project| project.write("quoted.txt", "two line\n"));
            trap.change(|project| project.remove("quoted.txt"));
            trap.undo(|project| project.write("quoted.txt", "one line\n"));
        }
    }
}

#[test]
fn pragma_once_compares_files() {
    // gcc skips a file that is equal to one with `#pragma once`, its time included.
    for family in compilers("pragma_once_compares_files") {
        let header = "#pragma once\n#ifdef SEEN\nint twice;\n#endif\n#define SEEN\n";
        let project = Project::new(&[
            ("a.c", "#include \"one/x.h\"\n#include \"two/x.h\"\nint once;\n"),
            ("one/x.h", header),
            ("two/x.h", header),
        ]);
        project.touch("one/x.h", 1_000_000_000);
        project.touch("two/x.h", 1_000_000_000);
        let trap = Trap::undemanding(project, format!("{} -c a.c", family.c));
        trap.change(|project| project.touch("two/x.h", 1_100_000_000));
        trap.change(|project| project.touch("two/x.h", 1_000_000_000));
        trap.change(|project| project.write("two/x.h", header.replace("twice", "thrice")));
    }
}

#[test]
fn pragma_that_compares_times_of_files() {
    // `#pragma GCC dependency` warns when the named file is newer than the one that holds it.
    for family in compilers("pragma_that_compares_times_of_files") {
        let source = "#pragma GCC dependency \"other.txt\"\nint x;\n";
        let project = Project::new(&[("a.c", source), ("other.txt", "")]);
        project.touch("a.c", 1_100_000_000);
        project.touch("other.txt", 1_000_000_000);
        let trap = Trap::undemanding(project, format!("{} -c a.c", family.c));
        assert_eq!(trap.check(), "unsupported_code_directive");
        trap.change(|project| project.touch("other.txt", 1_200_000_000));
    }
}

#[test]
fn system_header_pragma_appears() {
    for family in compilers("system_header_pragma_appears") {
        header_texts(
            family.c,
            "-Wall",
            "#include \"x.h\"\nint g(int x) { return f(x); }\n",
            &[
                "/* nothing       at all */\nstatic int f(int x) { int unused; return x; }\n",
                "#pragma GCC system_header\nstatic int f(int x) { int unused; return x; }\n",
            ],
        );
    }
}

/// Ways to the time that do not have `__TIME__` as a word of the source: extra options, then the text.
const HIDDEN_TIMES: &[(&str, &str)] = &[
    ("", "#define JOIN(a, b) a##b\nconst char when[] = JOIN(__TI, ME__);\n"),
    ("", "#define JOIN(a, b) a%:%:b\nconst char when[] = JOIN(__TI, ME__);\n"),
    ("", "#define JOIN(a, b) a ## b\n#define M(b) JOIN(__, b)\nconst char when[] = M(TIME__);\n"),
    ("", "#define JOIN(a,b,c,d) a##b##c##d\nconst char when[] = JOIN(_, _TI, ME_, _);\n"),
    ("", "const char when[] = __TI\\\nME__;\n"),
    ("", "const char when[] = __TI\\\r\nME__;\n"),
    ("-trigraphs", "const char when[] = __TI??/\nME__;\n"),
    ("-trigraphs", "#define JOIN(a, b) a??=??=b\nconst char when[] = JOIN(__TI, ME__);\n"),
    ("--define-macro=WHEN=__TIME__", "const char when[] = WHEN;\n"),
    ("--define-macro WHEN=__TIME__", "const char when[] = WHEN;\n"),
    ("-Wp,-DY,-DWHEN=__TIME__", "const char when[] = WHEN;\n"),
    ("-Xpreprocessor -DWHEN=__TIME__", "const char when[] = WHEN;\n"),
    ("-DWHEN=__TIME__", "const char when[] = WHEN;\n"),
    ("-D WHEN=__TIME__", "const char when[] = WHEN;\n"),
    (
        "-DA=__TI -DB=ME__",
        "#define J(a, b) a##b\n#define K(a, b) J(a, b)\nconst char when[] = K(A, B);\n",
    ),
    ("-DJ(a,b)=a##b", "const char when[] = J(__TI, ME__);\n"),
    ("-include when.h", "const char when[] = WHEN;\n"),
    ("-imacros when.h", "const char when[] = WHEN;\n"),
    ("@when.rsp", "const char when[] = WHEN;\n"),
    ("", "#include \"when.h\"\nconst char when[] = WHEN;\n"),
    ("", "#define FILE \"when.h\"\n#include FILE\nconst char when[] = WHEN;\n"),
    ("-Wp,-DWHEN=__TIME__", "const char when[] = WHEN;\n"),
    ("", "#define T __TIME__\n#define U T\nconst char when[] = U;\n"),
];

#[test]
fn time_macro_that_is_not_written_out() {
    for family in compilers("time_macro_that_is_not_written_out") {
        let project = Project::new(&[
            ("when.h", "#define WHEN __TIME__\n"),
            ("when.rsp", "-DWHEN=__TIME__\n"),
        ]);
        let cache = Cache::new();
        let lines: Vec<String> = HIDDEN_TIMES
            .iter()
            .enumerate()
            .map(|(number, (options, text))| {
                project.write(&format!("t{number}.c"), text);
                format!("{} -c {options} t{number}.c -o t{number}.o", family.c)
            })
            .collect();
        let objects = |turn: &str| {
            lines
                .iter()
                .enumerate()
                .map(|(number, line)| {
                    let outcome = cache.compile(&project, line.as_str());
                    assert!(outcome.ok(), "{turn}: {line}: {outcome:?}");
                    project.read(&format!("t{number}.o"))
                })
                .collect::<Vec<_>>()
        };
        let first = objects("first");
        std::thread::sleep(MORE_THAN_A_SECOND);
        for (number, later) in objects("later").into_iter().enumerate() {
            let what = format!("{}: the object holds an old time: {}", family.c, lines[number]);
            assert!(later != first[number], "{what}: {}", HIDDEN_TIMES[number].1);
        }
    }
}

#[test]
fn order_of_compile_only_and_preprocessor_options() {
    // `-Wx -Werror` and `-Werror -Wx` are the same to gcc, `-Wno-x -Wx` and the reverse are not; none
    // may share a result with another order of macros, search folders and warnings.
    for family in compilers("order_of_compile_only_and_preprocessor_options") {
        let source = "#include <x.h>\nint f(int x) { int unused; return x * N; }\n";
        let files = [("a.c", source), ("one/x.h", "#define N 1\n"), ("two/x.h", "#define N 2\n")];
        let (project, cache) = (Project::new(&files), Cache::new());
        for line in [
            "-Ione -Itwo -Wall -Werror",
            "-Werror -Wall -Itwo -Ione",
            "-Ione -Itwo -Wall -Werror -Wno-error=unused-variable",
            "-Ione -Itwo -Wall -Wno-error=unused-variable -Werror",
            "-Ione -Itwo -Wno-error -Wall",
            "-Ione -Itwo -Wall -Werror -Wno-error",
            "-Ione -Itwo -Wall -Wno-error -Werror",
            "-Itwo -Ione -Wunused-variable -Wno-unused-variable",
            "-Itwo -Ione -Wno-unused-variable -Wunused-variable",
            "-UN -Ione -Itwo -DN=3 -Wno-all",
            "-DN=3 -UN -Ione -Itwo",
        ] {
            check(&project, &cache, format!("{} -c a.c {line}", family.c));
        }
        for line in ["-Ione -Itwo -Wno-error -Wall", "-DN=3 -UN -Ione -Itwo"] {
            let again = check(&project, &cache, format!("{} -c a.c {line}", family.c));
            assert_eq!(again, "direct_cache_hit", "{line}");
        }
    }
}
