//! Tests of the scan, on small texts and on the headers of the installed compilers.

use std::path::{Path, PathBuf};

use super::{DIRECTIVES_MAX, Form, Kind, Scan, scan, scan_definition};

fn names(scan: &Scan) -> Vec<String> {
    let show = |directive: &super::Directive| {
        let name = String::from_utf8_lossy(&directive.name).into_owned();
        let next = if directive.kind == Kind::Next { "next " } else { "" };
        match directive.form {
            Form::Quote => format!("{next}\"{name}\""),
            Form::Angle => format!("{next}<{name}>"),
        }
    };
    scan.includes.iter().map(show).collect()
}

#[test]
fn every_spelling_of_an_include_is_found() {
    for text in [
        "#include \"x.h\"",
        "\u{feff}#include \"x.h\"\n",
        " \t#\t include/**/\"x.h\" // more",
        "/* a\nb */ # /* c\nd */ include \"x.h\"\n",
        "#inc\\\nlude \"x.h\"\n",
        "#inc\\  \t\nlude \"x.h\"\n",
        "#inc\\\r\nlude \"x.h\"\r\n",
        "%:include \"x.h\"\n",
        "%\\\n:include \"x.h\"\n",
        "??=inc??/\nlude \"x.h\"\n",
        "int a;\r#include \"x.h\"\r",
        "#include\"x.h\"int b;\n",
        "#include \"x\\\n.h\"\n",
        "#import \"x.h\"\n",
        "#if 0\n#elif 1\n#include \"x.h\"\n#endif",
        "\u{b}#\u{c}include \"x.h\"\n",
    ] {
        let scan = scan(text.as_bytes());
        assert_eq!(names(&scan), ["\"x.h\""], "{text:?}");
        assert!(!scan.computed_include, "{text:?}");
    }
}

#[test]
fn names_forms_and_kinds_are_kept() {
    let text = b"#include <a//b.h>\n#include_next <c.h>\n#include \"d e.h\"\n#include <a//b.h>\n";
    assert_eq!(names(&scan(text)), ["<a//b.h>", "next <c.h>", "\"d e.h\""]);
}

#[test]
fn computed_includes_are_told_from_text() {
    for text in ["#define X <y>\n#include X\n", "#include_next M(1)\n", "#include", "#include <a\n"]
    {
        assert!(scan(text.as_bytes()).computed_include, "{text:?}");
    }
    for text in [
        "// see #include X\n",
        "/*\n #include's are many */",
        " * #include this\n",
        "a #include b\n",
        "x = \"#include Y\";",
        "/* to\n #include_next to find it. */",
    ] {
        assert!(!scan(text.as_bytes()).computed_include, "{text:?}");
    }
    assert!(scan(b"#define H \"../x.h\"\n").parent_folder_in_macro);
    assert!(!scan(b"#include \"../x.h\"\n").parent_folder_in_macro);
}

#[test]
fn has_include_operands_are_found() {
    let text =
        b"#if defined(__has_include) && __has_include(<a.h>) || __has_include ( \"b//c.h\" )\n\
        #elif !__has_include_next(<d.h>)\n#endif // __has_include\n\
        #if 1 /* x\n y */ && __has_include(<e.h>)\n#endif\n";
    let scan = scan(text);
    assert!(!scan.opaque_has_include && !scan.macro_has_include);
    let found: Vec<&[u8]> = scan.has_includes.iter().map(|one| one.name.as_slice()).collect();
    assert_eq!(found, [&b"a.h"[..], b"b//c.h", b"d.h", b"e.h"]);
    assert_eq!(scan.has_includes[2].kind, Kind::Next);
}

#[test]
fn plain_names_of_has_include_are_not_opaque() {
    for text in [
        "#ifdef __has_include\n",
        "#ifndef __has_include\n#define __has_include(x) 0\n#endif\n",
        "#if !defined __has_include\n",
        "#if defined ( __has_include )\n",
        "#if defined(__has_include_next)\n",
        "   __has_include argument (GCC PR 80005).  */\n",
        "#endif /* __has_include_next */\n",
        "#if 1 // __has_include(X)\n",
        "#define HAS(t) template<class T> struct __has_##t : false_type { };\n",
        "#define USE_TBB __has_include(<tbb/tbb.h>)\n",
        "#define HAS(t) has_##t\n#define G(x) f(x, has_)\n",
        "a##b(__has_, include)\n#define __has_inc 1\n",
        "#define MY(test_include) test_include##x\n#define I(my_include) my_include\n",
        "#if __has_feature(x) && __has_cpp_attribute(y)\n",
    ] {
        let scan = scan(text.as_bytes());
        assert!(!scan.opaque_has_include && !scan.macro_has_include, "{text:?}");
    }
}

#[test]
fn unreadable_uses_of_has_include_are_opaque() {
    for text in [
        "#if __has_include(X)\n",
        "#define HAVE(x) __has_include(x)\n",
        "#define HAVE __has_include(\"x.h\")\n",
        "#define HAVE __has_include(<linux/x.h>)\n",
        "#define HAVE __has_include(<X/y.h>)\n",
        "#define HAVE __has_include_next(<y.h>)\n",
        "#define HAVE(x) __has_##x\n",
        "#define HAVE(x) struct_ __has_##x\n",
        "#if __has_embed(\"x\")\n",
        "#if CAT(__has_, include)(<x.h>)\n",
        "#if CAT( __has_inc ,lude)(<x.h>)\n",
        "#define HAVE CAT(__has,_include)\n",
        "#define HAVE(x) __##has_include(x)\n",
        "#if CAT(__, has_include_next)(<x.h>)\n",
        "#if \\\n __has_inc\\\nlude(X)\n",
        "??=if __has_include(X)\n",
        "%:if __has_include(X)\n",
        "#if 1 /*\n*/ && __has_include(X)\n",
        "#define HAVE /*\n*/ __has_include(\"x.h\")\n",
        "#/*\n*/define HAVE __has_include(\"x.h\")\n",
        // What follows the comment is another line's.
        "#define /* __has_include\n*/ HAVE __has_include(\"x.h\")\n",
        "#if '\"' == 1 && __has_include(X) // \"\n",
    ] {
        let scan = scan(text.as_bytes());
        assert!(scan.opaque_has_include || scan.macro_has_include, "{text:?}");
    }
}

#[test]
fn time_macros_are_whole_words() {
    let scan_of = |text: &str| scan(text.as_bytes());
    assert!(scan_of("x = __DATE__;").date);
    assert!(scan_of("__TI\\\nME__").time);
    assert!(scan_of("f(__TIMESTAMP__)").timestamp);
    assert!(!scan_of("MY__TIME__ __TIME__S a__DATE__").any_time_macro());
    assert!(scan_definition(b"NOW=__TIME__").time);
    assert!(scan_definition(b"F(x)=__has_include(x)").macro_has_include);
}

/// As in glibc's `sys/socket.h`.
const UNDEFINED_AGAIN: &str = "# define F(type) type __##type##__;\nF(a)\n# undef F\n";

#[test]
fn pieces_of_time_macros_are_noticed() {
    for text in [
        "CAT(__TI, ME__)",
        "a##b(__DAT, E__)",
        "CAT(__TIMEST, AMP__)",
        "__ ## TIME ## __",
        "CAT3(__, TIME, __)",
        "CAT(__TIME_, _)",
        "x##_",
        "#define F(x) __##x##__\nF(TIME)\n#undef F\n",
    ] {
        assert!(scan(text.as_bytes()).may_build_time_macro, "{text:?}");
    }
    for text in
        ["SIZE_ TYPE__ a##b __CONCAT(__,function)", "_(\"text\")", "f(_1, _2)", UNDEFINED_AGAIN]
    {
        assert!(!scan(text.as_bytes()).may_build_time_macro, "{text:?}");
    }
}

#[test]
fn assembler_includes_are_noticed() {
    for text in [
        r#"asm(".incbin \"x\"");"#,
        r#"asm(".INCLUDE \"x\"");"#,
        r#"asm("nop\n\t.include \"x\"");"#,
        r#"asm(".inc" "bin \"x\"");"#,
        r#"asm("." "inc" "lude \"x\"");"#,
        r#"asm("." "include \"x\"");"#,
        r#"asm("\x2e" "in" "cbin");"#,
        r#"asm("\056in\143bin");"#,
        r#"asm(".i\x6e" "cbin \"x\"");"#,
        r#"asm(".macro m a b\n.\\a\\b \"x\"\n.endm\nm inc bin");"#,
        ".include \"x.s\"\n",
        "STR(.include \"x\")",
        "asm(R\"(\n// /* \n .incbin \"x\")\");",
        "#define N \"inc\"\nasm(\".\" N \"bin f\");",
        "asm(\".inc\\\nbin 'x'\");",
    ] {
        assert!(scan(text.as_bytes()).assembler.could_read(), "{text}");
    }
    for text in [
        r#"asm volatile("mov %0, %1" : "=r"(a) : "i"(b));"#,
        "set.include(x)",
        "v.in(3)",
        "// maybe have \\x{ddd}\n/* \\N{name}, `.include` directives, \".inc\" \"bin\" */",
        r#"char end[] = "\x0d\x0a\x2e\x0d\x0a", set[] = {'\055', '\056', '\057'};"#,
        "struct s a = { .include = {0}, .in = 1 };",
        r#"f("in", "end.", "a.include", ".includes");"#,
    ] {
        let pieces = scan(text.as_bytes()).assembler;
        assert!(!pieces.could_read(), "{text} {pieces:?}");
    }
    for text in ["STR(.inc ## bin)", "STR(.) STR(incbin)", "f(\".\" STR(in) STR(cbin))"] {
        assert!(scan(text.as_bytes()).assembler.might_read(), "{text}");
    }
}

#[test]
fn comments_say_nothing() {
    let comment = b"/* has info to\n#2 are\n#line X\nimport x;\n#pragma clang module import a\n\
        #pragma include_alias(<a>, <b>)\n#include <c.h>\n#define HERE \"../d.h\"\n\
        #if __has_include(X)\n __DATE__ */\n// #pragma GCC dependency \"x\"\nint a;\n";
    assert_eq!(scan(comment), Scan::default());
}

#[test]
fn what_hides_no_directive() {
    for text in [
        "char a[] = R\"(//)\"; /*\n*/\n#include \"x.h\"\n",
        "char a[] = R\"x(/* )\")x\";\n#include \"x.h\"\n",
        "#error it's \"\n#include \"x.h\"\n",
        "#if 0\nit's /* not\n#endif\n#include \"x.h\"\n",
        "char a = '\"'; // \"\n#include \"x.h\"\n",
        "int a = 1'000; /* ' */\n#include \"x.h\"\n",
        "// a /* b\n#include \"x.h\"\n",
        "a //* b\n#include \"x.h\"\n",
        "// ??/\n#include \"x.h\"\n",
        "int a; \r#include \"x.h\"\n/* b */",
        "#include <a/*.h>\n#include \"x.h\"\n",
    ] {
        let scan = scan(text.as_bytes());
        assert!(scan.includes.iter().any(|one| one.name == b"x.h"), "{text}");
    }
    for text in ["// a \\\n#include \"x.h\"\n", "f(R\"(\n#include \"x.h\"\n)\");/* */\n"] {
        let only_old = scan(text.as_bytes()).includes.is_empty();
        assert_eq!(only_old, !text.contains("R\""), "{text}");
    }
}

#[test]
fn other_marks_are_noticed() {
    assert!(scan(b"#embed \"x\"\n").embed);
    assert!(scan(b"#pragma GCC dependency \"x\"\n").pragma_dependency);
    assert!(scan(b"_Pragma(\"GCC dependency \\\"x\\\"\")\n").pragma_dependency);
    assert!(scan(b"DO(GCC, dependency \"x\")\n").pragma_dependency);
    assert!(scan(b"#pragma include_alias(<a>, <b>)\n").pragma_dependency);
    assert!(scan(b"_Pragma(\"include_alias(<a>, <b>)\")\n").pragma_dependency);
    assert!(scan(b"DO(include_alias(<a>, <b>))\n").pragma_dependency);
    for text in [
        "// a dependency of GCC\n",
        "add(\"include_alias\");\nadd(\"pch_preprocess\");\n",
        "warn(\"pragma include_alias\"); warn(\"expected include_alias (x)\");\n",
    ] {
        assert!(!scan(text.as_bytes()).pragma_dependency, "{text}");
    }
    assert!(scan(b"_Pragma(\"clang module import x\")\n").module_directives);
    assert!(!scan(b"f(\"no clang module here\", \"libclang module\");\n").module_directives);
    assert!(scan(b"#  pragma  once\n").once && scan(b"_Pragma(\"once\")").once);
    assert!(scan(b"/* ccache:disable */").disabled && scan(b"// rcache:disable").disabled);
    assert!(!scan(&[&[b' '; 5000][..], b"ccache:disable"].concat()).disabled);
    assert!(scan(b"int c = __builtin_COLUMN();").column_builtins);
    assert!(scan(b"#include <source_location>\n").column_builtins);
}

#[test]
fn module_directives_are_told_from_names() {
    for text in [
        "import foo;",
        "export import foo.bar;",
        "module;\nint a;",
        "export module m:p;",
        " import <vector>;",
        "@import UIKit;",
        "#pragma clang module import x\n",
        "imp\\\nort foo;",
    ] {
        assert!(scan(text.as_bytes()).module_directives, "{text:?}");
    }
    for text in
        ["int module;", "import = 3;", "module_init(x);", " * import foo\n", "module text\n"]
    {
        assert!(!scan(text.as_bytes()).module_directives, "{text:?}");
    }
}

#[test]
fn directives_are_bounded() {
    let text: String = (0..DIRECTIVES_MAX + 1).map(|n| format!("#include <{n}>\n")).collect();
    let scan = scan(text.as_bytes());
    assert!(scan.too_many_directives);
    assert_eq!(scan.includes.len(), DIRECTIVES_MAX);
}

fn headers_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in walkdir::WalkDir::new(folder).into_iter().flatten() {
        if entry.file_type().is_file() {
            found.push(entry.into_path());
        }
    }
}

/// The headers that nearly every unit reads must not end direct mode.
#[test]
fn headers_of_gcc_are_followed() {
    let mut headers = Vec::new();
    for folder in ["/usr/include/c++/12/bits", "/usr/include/x86_64-linux-gnu/bits"] {
        headers_below(Path::new(folder), &mut headers);
    }
    for folder in ["/usr/include/x86_64-linux-gnu/sys", "/usr/include/x86_64-linux-gnu/c++/12/bits"]
    {
        headers_below(Path::new(folder), &mut headers);
    }
    for name in
        ["vector", "string", "iostream", "map", "memory", "algorithm", "thread", "type_traits"]
    {
        headers.push(Path::new("/usr/include/c++/12").join(name));
    }
    for name in ["stdio.h", "stdlib.h", "string.h", "math.h", "unistd.h", "errno.h", "limits.h"] {
        headers.push(Path::new("/usr/include").join(name));
    }
    for header in headers {
        let Ok(bytes) = std::fs::read(&header) else { continue };
        let scan = scan(&bytes);
        let marks = [
            scan.computed_include,
            scan.opaque_has_include || scan.macro_has_include,
            scan.any_time_macro(),
            scan.embed,
            scan.pragma_dependency,
            scan.module_directives,
            scan.assembler.could_read(),
        ];
        assert!(!marks.contains(&true), "{}: {marks:?}", header.display());
        assert!(!scan.operand_words.iter().any(|word| scan.plain_macros.contains(word)));
    }
}

proptest::proptest! {
    /// Whatever stands before and after it, a line with an include is seen; but in a comment there is none.
    #[test]
    fn an_include_is_never_lost(
        before in "[-a-z#\"'/*()R \\t\\\\%<>?:.\n]{0,60}",
        after in "[-a-z#\"'/*()R \\t\\\\%<>?:.\n]{0,60}",
    ) {
        proptest::prop_assume!(!before.contains('*') || !after.contains('*'));
        let text = format!("{before}x\n#include \"wanted.h\"\n{after}");
        let scan = scan(text.as_bytes());
        proptest::prop_assert!(scan.includes.iter().any(|one| one.name == b"wanted.h"));
    }
}

#[test]
fn files_named_by_line() {
    let seen = |text: &str| {
        let scan = scan(text.as_bytes());
        let names = scan.line_files.iter().map(|name| String::from_utf8_lossy(name).into_owned());
        (names.collect::<Vec<_>>(), scan.opaque_line)
    };
    let named = |name: &str| (vec![name.to_owned()], false);
    assert_eq!(seen("#line 3 \"a.y\"\n"), named("a.y"));
    assert_eq!(seen(" # line 3 /* x */ \"a.y\"\n"), named("a.y"));
    assert_eq!(seen("# 3 \"a.y\" 1 3\n"), named("a.y"));
    assert_eq!(seen("#line 3\nint a;\n"), (Vec::new(), false));
    assert_eq!(seen("#line 3"), (Vec::new(), false));
    for opaque in ["#line LINE\n", "#line 3 NAME\n", "#line 3 \"a\\\\b\"\n", "#line 3 \"a\n"] {
        assert!(seen(opaque).1, "{opaque}");
    }
}

#[test]
fn pragmas_that_a_preprocessor_run_loses() {
    let seen = |text: &str| {
        let scan = scan(text.as_bytes());
        (scan.option_pragma, scan.expanded_pragma, scan.parallel_pragma)
    };
    assert_eq!(seen("#pragma GCC target(\"avx2\")\n"), (true, false, false));
    assert_eq!(seen("_Pragma(\"GCC push_options\")\n"), (true, false, false));
    assert_eq!(seen("DO(GCC /* x */ optimize 3)\n"), (true, false, false));
    assert_eq!(seen("#pragma GCC poison name\n"), (true, false, false));
    assert_eq!(seen(" # pragma message \"x\"\n"), (false, true, false));
    assert_eq!(seen("#pragma redefine_extname a b\n"), (false, true, false));
    assert_eq!(seen("#pragma omp parallel\n"), (false, false, true));
    for kept in
        ["#pragma once\n", "#pragma GCC diagnostic push\n", "NO_GCC target\n", "GCC targets\n"]
    {
        assert_eq!(seen(kept), (false, false, false), "{kept}");
    }
}

#[test]
fn macros_that_are_put_together() {
    for text in ["P(__BASE_, FILE__)", "P(__BASE_FILE, __)", "P(__INCLUDE_LEV, EL__)"] {
        assert!(scan(text.as_bytes()).macro_state, "{text}");
    }
    assert!(scan(b"P(__COUN, TER__)").counter);
    let plain = scan(b"f(__FILE__, SOME_FILE, A_LEVEL, A_COUNTER);");
    assert!(!plain.macro_state && !plain.counter);
}
