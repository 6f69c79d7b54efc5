//! Makes projects: sources and headers of a few lines whose meaning hangs on what is found where.

use crate::random::Random;
use crate::setting::FED;
use crate::tree::{Node, ROOT, Tree, with_folders};
use std::fmt::Write;

/// Where headers are. The first ones are searched by `#include "…"` from the sources' own folder.
pub const HEADER_FOLDERS: [&str; 9] =
    ["src", "inc1", "inc2", "inc3", "sys1", "quote", "after", "inc1/sub", "gen"];

/// What headers are called. A header includes only names that come after its own.
pub const HEADER_NAMES: [&str; 8] =
    ["a.h", "b.h", "c.h", "sub/d.h", "e.h", "sub/f.h", "once.h", "limits.h"];

/// The two checkouts.
pub const CHECKOUTS: [&str; 2] = ["w", "v"];

/// The first modification time of all files: long ago.
pub const FIRST_TIME_NS: u64 = 1_500_000_000_000_000_000;

/// Sources, by language: each checkout has them all.
pub const SOURCES: [(&str, Kind); 8] = [
    ("src/one.c", Kind::C),
    ("src/two.c", Kind::C),
    ("three.c", Kind::C),
    ("src/four.cpp", Kind::Cxx),
    ("five.cc", Kind::Cxx),
    ("src/six.S", Kind::AssemblerWithCpp),
    ("seven.s", Kind::Assembler),
    ("src/a.h", Kind::Header),
];

/// What a source is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// C.
    C,
    /// C++.
    Cxx,
    /// Assembler with directives of the preprocessor.
    AssemblerWithCpp,
    /// Assembler.
    Assembler,
    /// A header, to be precompiled.
    Header,
}

/// A project: two checkouts that differ little.
pub fn tree(random: &mut Random) -> Tree {
    let mut tree = Tree::new();
    let mut add = |path: &str, text: String| {
        tree.insert(format!("w/{path}"), Node::file(text, FIRST_TIME_NS));
    };
    for (index, name) in HEADER_NAMES.iter().enumerate() {
        let copies = 1 + random.below(3);
        for _ in 0..copies {
            let folder = random.pick(&HEADER_FOLDERS[..8]);
            add(&format!("{folder}/{name}"), header(index, random));
        }
    }
    for (path, kind) in SOURCES {
        add(path, source(kind, random));
    }
    add("src/data.bin", format!("data {}", random.below(10)));
    add("src/text.inc", format!(".byte {}\n", random.below(10)));
    add("data.bin", format!("data {}", random.below(10)));
    add("text.inc", format!(".byte {}\n", random.below(10)));
    add("inc2/asm.h", format!("#define V0 {}\n", random.below(100)));
    add(FED, format!("#define FLAG {}\n", random.below(10)));
    add("plain.rsp", "-DFROM_RESPONSE=1 \"-Iinc3\"\n".to_owned());
    tree.insert("w/link1".to_owned(), Node::Link("inc2".to_owned()));
    tree.insert("w/link2".to_owned(), Node::Link(format!("{ROOT}/w/inc3")));
    tree.insert("w/out".to_owned(), Node::Folder);
    let copy: Vec<(String, Node)> =
        tree.iter().map(|(path, node)| (format!("v{}", &path[1..]), node.clone())).collect();
    tree.extend(copy);
    tree.insert("wlink".to_owned(), Node::Link("w".to_owned()));
    for checkout in CHECKOUTS {
        for folder in HEADER_FOLDERS.iter().take(7) {
            tree.insert(format!("{checkout}/{folder}"), Node::Folder);
        }
    }
    with_folders(tree)
}

/// A header's text.
pub fn header(index: usize, random: &mut Random) -> String {
    let mut text = String::new();
    if random.chance(6) {
        return text;
    }
    let guard = random.chance(30).then(|| random.below(3));
    if let Some(guard) = guard {
        let _ = writeln!(text, "#ifndef GUARD_{index}_{guard}\n#define GUARD_{index}_{guard}");
    }
    if guard.is_none() && (random.chance(12) || HEADER_NAMES[index] == "once.h") {
        text.push_str("#pragma once\n");
    }
    for _ in 0..1 + random.below(3) {
        text.push_str(&header_part(index, random));
    }
    if guard.is_some() {
        text.push_str("#endif\n");
    }
    text
}

fn header_part(index: usize, random: &mut Random) -> String {
    let number = random.below(100);
    let own = HEADER_NAMES[index];
    match random.below(26) {
        0..=7 => format!("#undef V{index}\n#define V{index} {number}\n"),
        8..=11 => include(index + 1, random),
        12 => format!("#if __has_include_next(<{own}>)\n#include_next <{own}>\n#endif\n"),
        13 => "#include <stddef.h>\n".to_owned(),
        14 => format!(
            "#ifndef INLINE{index}\n#define INLINE{index}\nstatic inline int inline{index}(int \
             x) {{ return x + {number}; }}\n#endif\n"
        ),
        15 => format!(
            "#ifndef UNUSED{number}\n#define UNUSED{number}\nstatic int unused{number};\n#endif\n"
        ),
        16 => format!("#undef PLACE\n#define PLACE __FILE__ /* {number} */\n"),
        17 => format!("/* comment {number} */ // more\n"),
        18 => time_part(random),
        19 => "#pragma GCC system_header\n".to_owned(),
        20 => format!("#line {number} \"line{index}.h\"\n"),
        21 => format!("extern  int  other{index}; /* x{number} */\n"),
        22 => format!("#ifdef FLAG\n#undef V{index}\n#define V{index} (FLAG + {number})\n#endif\n"),
        23 => rare_part(random),
        24 => format!("#define LATER{index} V{index}\n"),
        _ => format!(
            "#undef V{index}\n#if defined V{index} && V{index} > 3\n#define V{index} 3\n#else\n\
             #define V{index} {number}\n#endif\n"
        ),
    }
}

/// An include of a header with a number of at least `from`.
pub fn include(from: usize, random: &mut Random) -> String {
    if from >= HEADER_NAMES.len() {
        return "/* the last */\n".to_owned();
    }
    let index = from + random.below(HEADER_NAMES.len() - from);
    let name = HEADER_NAMES[index];
    let guarded =
        |line: String, form: String| format!("#if __has_include({form})\n{line}\n#endif\n");
    match random.below(16) {
        13..=15 => asked_by_macro(name, index, random),
        0..=2 => guarded(format!("#include \"{name}\""), format!("\"{name}\"")),
        3..=4 => guarded(format!("#include <{name}>"), format!("<{name}>")),
        5 => format!("#include \"{name}\"\n"),
        6 => format!("#include <{name}>\n"),
        7 => guarded(
            format!("#define HEADER \"{name}\"\n#include HEADER\n#undef HEADER"),
            format!("\"{name}\""),
        ),
        8 => guarded(
            format!(
                "#define TEXT(x) #x\n#define TEXT2(x) TEXT(x)\n#include TEXT2({name})\n#undef TEXT\n#undef TEXT2"
            ),
            format!("\"{name}\""),
        ),
        9 => {
            format!("#if __has_include(<{name}>)\n#undef V{index}\n#define V{index} 1000\n#endif\n")
        }
        10 => guarded(format!("#include \"../inc2/{name}\""), format!("\"../inc2/{name}\"")),
        11 => guarded(format!("#include \"./{name}\""), format!("\"./{name}\"")),
        _ => guarded(format!("#include \"sub/../{name}\""), format!("\"sub/../{name}\"")),
    }
}

/// Whether a header is there, asked in a way that names neither the question nor the header.
fn asked_by_macro(name: &str, index: usize, random: &mut Random) -> String {
    let (defines, question) = match random.below(7) {
        0 => ("#define ASK(x) __has_include(x)".to_owned(), format!("ASK(\"{name}\")")),
        1 => ("#define ASK __has_include".to_owned(), format!("ASK(<{name}>)")),
        2 => ("#define ASK __has_include_next".to_owned(), format!("ASK(<{name}>)")),
        3 => (format!("#define ASK \"{name}\""), "__has_include(ASK)".to_owned()),
        4 => ("#define ASK(x) <x>".to_owned(), format!("__has_include(ASK({name}))")),
        5 => (format!("#define ASK __has_include(<{name}>)"), "ASK".to_owned()),
        _ => (
            "#define ASK2(a, b) a##b\n#define ASK(x) ASK2(__has_, include)(x)".to_owned(),
            format!("ASK(\"{name}\")"),
        ),
    };
    format!(
        "{defines}\n#if {question}\n#undef V{index}\n#define V{index} 2000\n#endif\n#undef \
         ASK\n#undef ASK2\n"
    )
}

fn time_part(random: &mut Random) -> String {
    match random.below(7) {
        0 => "#undef WHEN\n#define WHEN __DATE__\n".to_owned(),
        1 => "#undef WHEN\n#define WHEN __TIME__\n".to_owned(),
        2 => "#undef WHEN\n#define WHEN __TIMESTAMP__\n".to_owned(),
        3 => "#undef WHEN\n#define PASTE(a, b) a##b\n#define WHEN PASTE(__TIME, STAMP__)\n"
            .to_owned(),
        _ => "/* nothing of time */\n".to_owned(),
    }
}

fn rare_part(random: &mut Random) -> String {
    match random.below(6) {
        0 => "#pragma GCC dependency \"a.h\"\n".to_owned(),
        1 => "#warning heed this\n".to_owned(),
        2 => "#pragma message \"said\"\n".to_owned(),
        3 => "#define SPLICED 1 + \\\n 2\n".to_owned(),
        4 => "??=define TRIGRAPH 1\n".to_owned(),
        _ => "#pragma GCC poison poisoned\n".to_owned(),
    }
}

/// A source's text.
pub fn source(kind: Kind, random: &mut Random) -> String {
    match kind {
        Kind::Assembler => assembler(false, random),
        Kind::AssemblerWithCpp => {
            let form = random.pick(&["\"asm.h\"", "<asm.h>"]);
            format!("#if __has_include({form})\n#include {form}\n#endif\n")
                + &assembler(true, random)
        }
        Kind::Header => header(0, random),
        Kind::C | Kind::Cxx => code(kind, random),
    }
}

fn assembler(cpp: bool, random: &mut Random) -> String {
    let mut text =
        format!("\t.text\n\t.globl first\nfirst:\n\tnop\n\t.data\n\t.byte {}\n", random.below(100));
    match random.below(6) {
        0 => text.push_str("\t.incbin \"data.bin\"\n"),
        1 => text.push_str("\t.include \"text.inc\"\n"),
        2 if cpp => text.push_str("#ifdef V0\n\t.byte V0\n#endif\n"),
        _ => {}
    }
    text
}

fn code(kind: Kind, random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..1 + random.below(4) {
        let from = random.below(3);
        text.push_str(&include(from, random));
    }
    if random.chance(5) {
        text.push_str("#include <limits.h>\n");
    }
    for index in 0..HEADER_NAMES.len() {
        if random.chance(60) {
            let _ = writeln!(text, "#ifdef V{index}\nint v{index} = V{index};\n#endif");
        }
    }
    for _ in 0..random.below(4) {
        text.push_str(&code_part(kind, random));
    }
    if random.chance(40) {
        text.push_str(&odd_part(kind, random));
    }
    text.push_str("int last(int argument)\n{\n  return argument;\n}\n");
    text
}

fn code_part(kind: Kind, random: &mut Random) -> String {
    let number = random.below(1000);
    let name = format!("part{number}");
    match random.below(20) {
        0 => format!("const char *{name} = __FILE__;\n"),
        1 => format!("#ifdef PLACE\nconst char *{name} = PLACE;\n#endif\n"),
        2 => format!("#ifdef WHEN\nconst char *{name} = WHEN;\n#endif\n"),
        3 => format!("int {name} = __LINE__;\n"),
        4 => format!("#ifdef FLAG\nint {name} = FLAG;\n#else\nint {name};\n#endif\n"),
        5 => format!("int {name}(int a, int b) {{ if (a = b) return a; return b; }}\n"),
        6 => format!(
            "int {name}(int a) {{ switch (a) {{ case 1: a++; /* fall through */ case 2: return a; \
             }} return 0; }}\n"
        ),
        7 => format!("static   int {name};\n"),
        8 => format!("#ifdef INLINE0\nint {name}(void) {{ return inline0({number}); }}\n#endif\n"),
        9 => format!("const char *{name}(void) {{ return __func__; }}\n"),
        10 if random.chance(30) => "__asm__(\".incbin \\\"src/data.bin\\\"\");\n".to_owned(),
        11 if random.chance(30) => "__asm__(\".include \\\"text.inc\\\"\");\n".to_owned(),
        12 => format!("#line {number} \"other.c\"\n"),
        13 => format!("int {name}(int a) {{ return a / 0; }}\n"),
        14 if random.chance(20) => format!("const char *{name} = __TIME__;\n"),
        15 if random.chance(20) => format!("const char *{name} = __DATE__ __TIMESTAMP__;\n"),
        16 => format!("int {name}(int *a, int b) {{ return a[b] + (b << 3); }}\n"),
        17 if kind == Kind::Cxx => format!(
            "int {name}(int line = __builtin_LINE(), const char *file = __builtin_FILE()) {{ \
             return line + *file; }}\nint call{name} =  {name}();\n"
        ),
        18 if kind == Kind::Cxx => format!(
            "template <class T> T {name}(T a) {{ return a + {number}; }}\nint use{name} = \
             {name}<int>(1);\n"
        ),
        19 => format!("#ifdef DEFINED\nint {name} = sizeof DEFINED;\n#endif\n"),
        _ => format!("int {name} = {number};\n"),
    }
}

/// What preprocessors take apart in several ways.
fn odd_part(kind: Kind, random: &mut Random) -> String {
    let number = random.below(1000);
    let name = format!("odd{number}");
    match random.below(20) {
        0 => format!("int {name} = 1 + \\\n {number};\n"),
        1 => format!("#pragma GCC target(\"avx2\")\n#ifdef __AVX2__\nint {name};\n#endif\n"),
        2 => format!("#pragma redefine_extname {name} other\nextern int {name};\n"),
        3 => format!(
            "#define ARGUMENT(x) x\nint {name} = ARGUMENT(\n#ifdef FLAG\n1\n#else\n2\n#endif\n);\n"
        ),
        4 => format!("int {name} = __COUNTER__;\nint other{name} = __COUNTER__;\n"),
        5 => format!(
            "#define PASTED(a, b) a##b\nint {name} = PASTED(__COUN, TER__);\nconst char *base{name} = \
             PASTED(__BASE_, FILE__);\n"
        ),
        6 => format!("#if 0\ndon't {number}\n#endif\n#define QUOTE \"{number}\nint {name};\n"),
        7 => format!("/*\n#define {name} 1\n*/ #define other{name} 4\nint {name} = other{name};\n"),
        8 => format!(
            "#pragma pack(push, 1)\nstruct {name} {{ char a; int b; }};\n#pragma pack(pop)\n"
        ),
        9 => format!(
            "_Pragma(\"GCC diagnostic push\") _Pragma(\"GCC diagnostic ignored \\\"-Wall\\\"\")\nint \
             {name};\n_Pragma(\"GCC diagnostic pop\")\n"
        ),
        10 => format!("#line {number} \"made from \\\"that\\\".c\"\nint {name} = __LINE__;\n"),
        11 => format!("#define LONG {}1\nint {name} = LONG;\n", "1 + ".repeat(2000)),
        12 => {
            format!("int {name};\r\n#define CRLF {number} \\\r\n + 1\r\nint crlf{name} = CRLF;\r\n")
        }
        13 => format!(
            "#undef __CHAR_BIT__\n#define __CHAR_BIT__ {number}\nint {name} = __CHAR_BIT__;\n"
        ),
        14 => format!("%:define DIGRAPH {number}\nint {name}<:3:>;\nint d{name} = DIGRAPH;\n"),
        15 => format!("#pragma omp simd\nint {name};\n"),
        16 => format!("# {number} \"marked.h\" 1 3\nint {name};\n# 7 \"back.c\" 2\n"),
        17 if kind == Kind::Cxx => format!(
            "const char *{name} = R\"x(\n#define NO {number}\n#include \"no.h\"\n)\" )x\";\nint \
             l{name} = __LINE__;\n"
        ),
        18 => format!("#ident \"{name}\"\n#pragma weak {name}\nextern int {name};\n"),
        _ => format!("const char *{name} = \"\u{e9}\u{202e}\"; // \u{feff}\n"),
    }
}
