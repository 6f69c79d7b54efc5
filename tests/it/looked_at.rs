//! Text that is only looked at: what a compiler does not read as a directive costs no direct hit, and what
//! it does read so counts, however it is spelled.

use crate::support::{Cache, Call, Compilers, Project, Trap, check, compilers};

/// The unit is compiled from a build folder, as CMake does.
fn call(family: &Compilers, cxx: bool) -> Call {
    let compiler = if cxx { &family.cxx } else { &family.c };
    let suffix = if cxx { "cpp" } else { "c" };
    let line = format!("{compiler} -O1 -Wall -Wextra -MD -c ../unit.{suffix} -o unit.o");
    Call::from(line).within("build")
}

fn project(files: &[(&str, &str)]) -> Project {
    Project::new(&[files, &[("build/keep", "")]].concat())
}

/// A miss and a direct hit, with every compiler.
#[track_caller]
fn hits_directly(test: &str, cases: &[(bool, &[(&str, &str)])]) {
    for family in compilers(test) {
        for (cxx, files) in cases {
            let trap = Trap::prepared(project(files), call(&family, *cxx));
            let trap = trap.sprung("direct_cache_hit");
            assert_eq!(trap.cache.stats().get("preprocessed_cache_hit"), 0, "{files:?}");
        }
    }
}

#[test]
fn words_in_comments_and_strings_are_only_words() {
    let comment = "// maybe have \\x{ddd}\n/*\n * \\\\P{foo}, or \\\\N{name}.\n * Paths for `.include` \
        directives\n#2 are self contained\n# 1 \"x\nimport a;\n#pragma include_alias(a, b)\n clang \
        module\n#define UP ../x\n*/\nint a;\n";
    let strings = "const char *const all[] = {\"in\", \"is not before \" \".\" \"5\", \"\\x0d\\x2e\\x0d\", \
        \".i\", \"include_alias\", \"pch_preprocess\", \"\\056\", \".include\"};\nconst char c = '\\056';\n";
    let member = "struct s { int include, in; };\nstruct s a = { .include = 1, .in = 2 };\n";
    let raw = "const char *a = R\"(\n#line X\n.incbin \"x\"\n)\";\n";
    hits_directly(
        "words_in_comments_and_strings_are_only_words",
        &[
            (true, &[("unit.cpp", comment)]),
            (false, &[("unit.c", comment)]),
            (false, &[("unit.c", strings)]),
            (false, &[("unit.c", member)]),
            (true, &[("unit.cpp", raw)]),
            (false, &[("unit.c", "#define L __LINE__\n#line L \"other.y\"\nint a;\n")]),
            (false, &[("unit.c", "#if 0\nit's /* not a comment\n#line L\n#endif\nint a;\n")]),
            (
                false,
                &[
                    (
                        "unit.c",
                        "#define H \"sub/x.h\"\n#define UP \"../y\"\n#include H\nint x = X;\n",
                    ),
                    ("sub/x.h", "#define X 1\n"),
                ],
            ),
            (
                false,
                &[(
                    "unit.c",
                    "__asm__(\".macro m a\\n .byte \\\\a\\n.endm\\n .data\\n m 1\\n .text\");\nint a;\n",
                )],
            ),
        ],
    );
}

#[test]
fn has_include_behind_macros_hits_directly() {
    let fmt = "#define HAS(x) __has_include(x)\n#define NEXT(x) __has_include_next(x)\n";
    let msgpack = "#define ITS_HAS __has_include\n";
    hits_directly(
        "has_include_behind_macros_hits_directly",
        &[
            (
                true,
                &[
                    (
                        "unit.cpp",
                        "#include \"f.h\"\n#if HAS(<version>)\n#include <version>\n#endif\nint a;\n",
                    ),
                    ("f.h", fmt),
                ],
            ),
            (true, &[("unit.cpp", "#include \"f.h\"\nint a;\n"), ("f.h", fmt)]),
            (
                true,
                &[
                    ("unit.cpp", "#include \"m.h\"\n#include \"u.h\"\n"),
                    ("m.h", msgpack),
                    ("u.h", "#if ITS_HAS(<b.h>)\nint b;\n#endif\nint a;\n"),
                ],
            ),
            (
                true,
                &[(
                    "unit.cpp",
                    "#define W(x) <x>\n#define S(x) x\n#define D /\n#define H S(D)S(none.h)\n#if __has_include(W(H))\nint b;\n#endif\nint a;\n",
                )],
            ),
        ],
    );
}

/// A file appears that only a macro names.
#[test]
fn a_hidden_operand_is_found_to_be_there() {
    let fmt =
        "#ifdef __has_include\n#define HAS(x) __has_include(x)\n#else\n#define HAS(x) 0\n#endif\n";
    let value = "int a = 2;\n#else\nint a = 1;\n#endif\n";
    let cases: [(&str, &str); 9] = [
        ("#if HAS(\"later.h\")\n", ""),
        ("#if 1 && HAS(<later.h>)\n", ""),
        ("#define LATER <later.h>\n#if HAS(LATER)\n", ""),
        (
            "#define NAME later\n#define STR(x) #x\n#define NAMED(x) STR(x.h)\n#if HAS(NAMED(later))\n",
            "",
        ),
        ("#define MORE HAS(<later.h>)\n#if MORE\n", ""),
        ("#define OTHER HAS\n#if OTHER(<later.h>)\n", ""),
        ("#define THEN(f, x) f(x)\n#if THEN(HAS, <later.h>)\n", ""),
        ("#if GIVEN(<later.h>)\n", "-DGIVEN(x)=__has_include(x)"),
        ("#define GLUE(a, b) a##b\n#if GLUE(HA, S)(<later.h>)\n", ""),
    ];
    for family in compilers("a_hidden_operand_is_found_to_be_there") {
        for (text, word) in cases {
            let unit = format!("#include \"f.h\"\n{text}{value}");
            let files = [("unit.c", unit.as_str()), ("f.h", fmt), ("inc/keep", "")];
            let mut call = call(&family, false).word("-I../inc");
            if !word.is_empty() {
                call = call.word(word);
            }
            let trap = Trap::undemanding(project(&files), call);
            trap.change(|project| project.write("inc/later.h", ""));
            trap.change(|project| project.remove("inc/later.h"));
        }
    }
}

/// What hides a directive from a scan that knows comments and literals less well than a compiler.
#[test]
fn a_directive_that_is_read_counts() {
    let cases: [(&str, &str); 11] = [
        ("#define S \"/*\"\n#include \"x.h\"\n#define T \"*/\"\nint a = X;\n", ""),
        ("char s = '\"';\n#include \"x.h\"\nchar t = '\"';\nint a = X;\n", ""),
        ("#if 0\nit's \"\n#endif\n#include \"x.h\"\n#if 0\ndon't \"\n#endif\nint a = X;\n", ""),
        ("// a \\\n/* b\n#include \"x.h\"\n// */\nint a = X;\n", ""),
        ("// a ??/\n/* b\n#include \"x.h\"\n// */\nint a = X;\n", "-std=c99"),
        ("// a ??/\n/* b\n*/\n#include \"x.h\"\nint a = X;\n", "-std=gnu99"),
        ("#if 0\n// /*\n#endif\n#include \"x.h\"\n#if 0\n// */\n#endif\nint a = 1;\n", "-std=c90"),
        ("#if 0\n// /*\n#endif\n#include \"x.h\"\n#if 0\n// */\n#endif\nint a = X;\n", "-std=c99"),
        ("#define R\nconst char *s = R\"(/*)\";\n#include \"x.h\"\nint a = X; /* */\n", "-std=c99"),
        ("const char *s = R\"(/*)\";\n#include \"x.h\"\nint a = X; /* */\n", "-std=gnu99"),
        ("??=include \"x.h\"\nint a = X;\n", "-trigraphs"),
    ];
    for family in compilers("a_directive_that_is_read_counts") {
        for (text, word) in cases {
            // clang knows no raw strings in C.
            if family.c.contains("clang") && text.contains("R\"") && word == "-std=gnu99" {
                continue;
            }
            let files = [("unit.c", text), ("x.h", "#define X 1\n"), ("inc/x.h", "#define X 2\n")];
            let mut call = call(&family, false).word("-iquote../first").word("-iquote../inc");
            if !word.is_empty() {
                call = call.word(word);
            }
            let files = &[&files[..1], &files[2..]].concat();
            let trap = Trap::prepared(project(files), call).sprung("direct_cache_hit");
            trap.change(|project| project.write("x.h", "#define X 1\n"));
            trap.undo(|project| project.remove("x.h"));
        }
    }
}

/// The assembler of gcc says what it reads, wherever the compiler is started; clang's does not.
#[test]
fn what_the_assembler_reads_counts() {
    let cases = [
        "asm(\".data\\n.incbin \\\"data\\\"\\n.text\");\n",
        "#define STR(x) #x\n#define GLUE(a, b) STR(a##b)\nasm(\".data\\n.\" GLUE(inc, bin) \" \\\"data\\\"\\n.text\");\n",
        "asm(\".data\\n.\" \"in\" \"clude \\\"data\\\"\\n.text\");\n",
        "asm(R\"(\n.data\n.include \"data\"\n.text\n)\");\n",
        "asm(\".data\\n.\\x69ncbin \\\"data\\\"\\n.text\");\n",
        "asm(\".macro m a b\\n .\\\\a\\\\b \\\"data\\\"\\n.endm\\n.data\\n m inc bin\\n.text\");\n",
        "int x __attribute__((section(\"here,\\\"aw\\\"\\n.include \\\"data\\\"\\n#\"))) = 1;\n",
    ];
    for family in compilers("what_the_assembler_reads_counts") {
        let gcc = !family.c.contains("clang");
        for (number, text) in cases.iter().enumerate() {
            let files = [("unit.c", *text), ("build/data", "# 1 one\n")];
            let trap = Trap::prepared(project(&files), call(&family, false));
            trap.check();
            let second = trap.check();
            if gcc {
                assert_eq!(second, "direct_cache_hit", "{text}");
            } else {
                // clang knows no raw strings in C, and reads no names of sections as text.
                let expected = match number {
                    3 => "compile_failed",
                    6 => "direct_cache_hit",
                    _ => "unsupported_code_directive",
                };
                assert_eq!(second, expected, "{text}");
            }
            trap.change(|project| project.write("build/data", "\t.byte 2\n"));
            trap.change(|project| project.write("build/data", "# 1 one\n"));
        }
    }
}

/// gcc's `.file` names the source; the folder may have another file of that name.
#[test]
fn a_file_of_the_sources_name_is_no_input() {
    for family in compilers("a_file_of_the_sources_name_is_no_input") {
        let files = [("unit.c", "int a;\n"), ("build/unit.c", "int b;\n")];
        let trap = Trap::prepared(project(&files), call(&family, false)).sprung("direct_cache_hit");
        trap.project.write("build/unit.c", "int c;\n");
        assert_eq!(check(&trap.project, &trap.cache, &trap.call), "direct_cache_hit");
    }
}

#[test]
fn a_day_is_remembered_and_a_time_is_not() {
    for family in compilers("a_day_is_remembered_and_a_time_is_not") {
        let files = [
            ("unit.c", "#include \"d.h\"\nconst char *day = DAY;\n"),
            ("d.h", "#define DAY __DATE__\n"),
        ];
        let mut call = call(&family, false).env("TZ", "UTC");
        let day =
            || std::process::Command::new("date").args(["-u", "+%F"]).output().unwrap().stdout;
        // Not over midnight.
        while {
            let before = day();
            let trap = Trap::prepared(project(&files), call.clone());
            trap.check();
            let ending = trap.check();
            before != day() || {
                assert_eq!(ending, "direct_cache_hit", "{}", family.c);
                // Another day, or a zone that is not known: the date is the compiler's own.
                for zone in ["Nowhere+23:59", "Nowhere-23:59"] {
                    check(&trap.project, &trap.cache, call.clone().env("TZ", zone));
                }
                false
            }
        } {}
        call.words.push("-DWHEN".into());
        let files = [("unit.c", "const char *when = __TIME__;\n")];
        let (project, cache) = (project(&files), Cache::new());
        // Whatever they hold: two compiles are not of the same second for sure.
        cache.ending(&project, &call);
        assert_ne!(cache.ending(&project, &call), "direct_cache_hit");
    }
}

/// A text that only could show a time, and shows another one.
#[test]
fn a_time_in_a_string_is_no_time() {
    let glued = "#define DATE(x) DATE_##x\nint DATE(a);\n#define CAT(a, b) a##b\nint CAT(c, _);\n";
    let unit =
        format!("{glued}const char *at = \"Jan  1 2020 \";\nconst char *day = \"May  1 2001\";\n");
    hits_directly("a_time_in_a_string_is_no_time", &[(false, &[("unit.c", &unit)])]);
}

#[test]
fn equal_headers_that_are_read_once() {
    for family in compilers("equal_headers_that_are_read_once") {
        let once = "#pragma once\n";
        let files = [
            ("unit.c", "#include \"a/x.h\"\n#include \"b/x.h\"\nint a;\n"),
            ("a/x.h", once),
            ("b/x.h", once),
        ];
        let project = project(&files);
        // gcc takes one for the other where the seconds are the same.
        for (name, milliseconds) in [("a/x.h", 100), ("b/x.h", 900)] {
            let file = std::fs::File::options().write(true).open(project.path(name)).unwrap();
            let time = std::time::Duration::from_millis(1_600_000_000_000 + milliseconds);
            file.set_modified(std::time::UNIX_EPOCH + time).unwrap();
        }
        let trap = Trap::undemanding(project, call(&family, false));
        if family.c.contains("clang") {
            assert_eq!(trap.check(), "direct_cache_hit");
        }
        trap.change(|project| project.write("b/x.h", "#pragma once\nextern int b;\nint b = 1;\n"));
    }
}
