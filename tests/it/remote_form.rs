//! The text that is sent has another form than the source: what that could change, it does not.

use crate::support::{Cache, Call, Project, Worker, check, compilers};

const HEADER: &str = "#define A 4\n#define TWICE(x) ((x) + (x))\nextern int deep;\n";

/// Names of the cases, and their sources; `a.h` beside them holds [`HEADER`].
const SOURCES: [(&str, &str); 35] = [
    ("misleading", "int f(int i)\n{\n    if (i)\n        i++;\n        i--;\n    return i;\n}\n"),
    ("splices", "int f(void) { return 1 +\\\n2; }\n#def\\\nine Q 5\nint q = Q; // \\\nint gone;\n"),
    ("trigraphs", "??=define Q 3\nint q = Q; const char *s = \"??(\";\n"),
    ("digraphs", "%:define Q 3\nint q<:Q:>;\n"),
    ("line", "#line 100 \"other.c\"\nconst char *f = __FILE__; int l = __LINE__;\n"),
    ("computed", "#define H \"a.h\"\n#include H\nint a = A;\n"),
    (
        "redefined",
        "#include \"a.h\"\n#undef A\n#define A 9\nint a = A;\n#undef __x86_64__\n#ifdef __x86_64__\nint y;\n#endif\n",
    ),
    ("predefined", "#ifdef __linux__\nint l = 1;\n#else\nint l = 2;\n#endif\n"),
    ("poison", "#define G foo\n#pragma GCC poison foo\nint foo;\n"),
    (
        "options",
        "#pragma GCC push_options\n#pragma GCC optimize(\"O3\")\n#ifdef __OPTIMIZE__\nint o;\n#endif\n#pragma GCC pop_options\nint f(int *a) { return *a; }\n",
    ),
    ("target", "#pragma GCC target(\"avx2\")\n#ifdef __AVX2__\nint a = 1;\n#endif\nint b;\n"),
    (
        "target in a string",
        "_Pragma(\"GCC target(\\\"avx2\\\")\")\n#ifdef __AVX2__\nint a = 1;\n#endif\nint b;\n",
    ),
    ("message", "#pragma message \"said\"\nint x;\n"),
    (
        "another name",
        "#pragma redefine_extname old new\nextern int old(void);\nint f(void) { return old(); }\n",
    ),
    (
        "parallel",
        "#define N 4\nvoid g(int);\nvoid f(void) {\n#pragma omp parallel num_threads(N)\ng(1); }\n",
    ),
    (
        "parallel operator",
        "#define P _Pragma(\"omp parallel for\")\nvoid g(int);\nvoid f(void) {\nP\nfor (int i = 0; i < 9; i++) g(i); }\n",
    ),
    ("weak", "#pragma weak foo\nextern int foo(void);\nint f(void) { return foo ? foo() : 0; }\n"),
    (
        "packed",
        "#pragma pack(push, 1)\nstruct s { char a; int b; };\n#pragma pack(pop)\nint z = sizeof(struct s);\n",
    ),
    (
        "contraction",
        "#pragma STDC FP_CONTRACT OFF\ndouble f(double a, double b) { return a * b + a; }\n",
    ),
    (
        "ignored warning",
        "#pragma GCC diagnostic ignored \"-Wunused-variable\"\nint f(void) { int u; return 1; }\n",
    ),
    ("warning", "int f(void) { int unused; return A; }\n#include \"a.h\"\n"),
    ("unterminated", "#define T \"abc\n#if 0\ndon't\n#endif\nint x;\n"),
    ("counter", "int a = __COUNTER__; int b = __COUNTER__;\n"),
    (
        "pasted counter",
        "#define P(a, b) a##b\n#if P(__COUN, TER__) == 0\n#endif\nint h = P(__COUN, TER__);\n",
    ),
    ("pasted base", "#define P(a, b) a##b\nconst char *b = P(__BASE_, FILE__);\n"),
    ("pasted level", "#define P(a, b) a##b\nint l = P(__INCLUDE_, LEVEL__);\n"),
    ("has include", "#if __has_include(\"a.h\")\nint h = 1;\n#endif\n"),
    (
        "crlf",
        "#include \"a.h\"\r\n#define Q 3 \\\r\n + 4\r\nint f(void) { return Q + __LINE__; }\r\n",
    ),
    ("bytes", "\u{feff}const char *s = \"\u{e9}\\\n\u{e9}\"; // \u{202e}\n"),
    (
        "in a comment",
        "/*\n#define Z 3\n*/ #define Y 4\nint y = Y;\n/**/#/**/define/**/W 5\nint w = W;\n",
    ),
    (
        "in arguments",
        "#define F(x) x\nint y = F(\n#ifdef F\n3\n#else\n4\n#endif\n);\nint l = __LINE__;\n",
    ),
    ("across an include", "#define F(x) x\nint q = F\n#include \"b.h\"\n;\n"),
    ("builtin places", "const char *f = __builtin_FILE(); int l = __builtin_LINE();\n"),
    ("no newline", "#include \"a.h\"\nint z = A;"),
    ("nothing", ""),
];

const OPTIONS: [&str; 4] = ["-Wall", "-O1 -undef", "-fopenmp -trigraphs", "-S -O2 -MD"];

#[test]
fn sources_of_all_kinds() {
    let worker = Worker::start("");
    let cache = Cache::new().with("RCACHE_HOSTS", format!("{}/2", worker.address));
    let project = Project::new(&[("a.h", HEADER), ("b.h", "(3)\n")]);
    let sources: Vec<String> =
        SOURCES.iter().map(|(name, _)| name.replace(' ', "_") + ".c").collect();
    sources.iter().zip(SOURCES).for_each(|(name, (_, text))| project.write(name, text));
    for family in compilers("the form of a text") {
        for name in &sources {
            for options in OPTIONS {
                check(&project, &cache, format!("{} {options} -c {name}", family.c));
            }
        }
    }
    assert!(cache.stats().get("remote_compile") > 60, "{}", cache.stats().0);
    assert_eq!(cache.stats().0["hosts"][0]["failed"], 0);
}

/// The dependency file names the target as the compile does, whatever run made it.
#[test]
fn dependency_files_in_all_forms() {
    let worker = Worker::start("");
    let cache = Cache::new().with("RCACHE_HOSTS", format!("{}/2", worker.address));
    let source = "#include \"../inc/a.h\"\n#include <stddef.h>\nint f(void) { return A; }\n";
    let project = Project::new(&[("s/a.c", source), ("inc/a.h", HEADER), ("o/keep", "")]);
    for family in compilers("dependency files from hosts") {
        for depfile in [
            "-MD",
            "-MMD",
            "-MD -MF x.d",
            "-MMD -MF o/x.d -MP",
            "-MD -MT one -MT two",
            "-MD -MQ $x",
            "-MMD -MT a:b -MQ a#b",
            "-Wp,-MD,x.d",
            "-Wp,-MMD,x.d",
            "-MD -MMD",
        ] {
            for output in ["-c s/a.c", "-c s/a.c -o o/a.o", "-S s/a.c", "-S s/a.c -o o/a.b.s"] {
                check(&project, &cache, format!("{} {depfile} {output}", family.c));
            }
        }
    }
    assert!(cache.stats().get("remote_compile") > 40, "{}", cache.stats().0);
}

#[test]
fn names_that_are_written_in_a_special_way() {
    let worker = Worker::start("");
    let cache = Cache::new().with("RCACHE_HOSTS", format!("{}/2", worker.address));
    let project = Project::new(&[]);
    for name in ["a b.c", "a\"b.c", "a\\b.c", "\u{e9}.c", "a$b.c", "a'b.c", "a#b.c", "a;b.c"] {
        project.write(name, "const char *f = __FILE__; int l = __LINE__;\n");
        for family in compilers("special names from hosts") {
            for options in ["-MD", "-MMD -MP"] {
                let call = Call::from(format!("{} {options} -o o.o -c", family.c)).word(name);
                check(&project, &cache, call);
            }
        }
    }
}

/// Without debug information for clang's names; paths in `__FILE__` are the compile's.
#[test]
fn paths_and_preprocessed_sources() {
    let worker = Worker::start("");
    let cache = Cache::new().with("RCACHE_HOSTS", format!("{}/2", worker.address));
    let source = "#include \"a.h\"\nconst char *f = __FILE__; const char *h = H;\n";
    let project = Project::new(&[
        ("s/a.c", source),
        ("i/a.h", "#define H __FILE__\nstatic const char *own = __FILE__;\n"),
        ("p.i", "# 1 \"p.c\"\nint f(void) { return 1; }\n"),
        ("q.i", "int f(void) { return 1; }\n"),
    ]);
    project.symlink("s", "l");
    for family in compilers("paths from hosts") {
        for line in [
            "-Ii -ffile-prefix-map=s=other -c s/a.c",
            "-Ii -fmacro-prefix-map=i=other -c ./s/a.c",
            "-Ii -c ./l/a.c -MD",
            "-c p.i",
            "-c q.i",
            "-MD -c p.i",
            "-DX -I. -c p.i",
            "-O2 -m32 -c p.i",
        ] {
            check(&project, &cache, format!("{} {line}", family.c));
        }
    }
    assert_eq!(cache.stats().0["hosts"][0]["failed"], 0, "{}", cache.stats().0["hosts"]);
}

/// A preprocessed source does not say in which folder it was made.
#[test]
fn the_folder_of_a_preprocessed_source() {
    let worker = Worker::start("");
    let cache = Cache::new().with("RCACHE_HOSTS", format!("{}/2", worker.address));
    let project = Project::new(&[("p.i", "# 1 \"p.c\"\nint f(void) { return 1; }\n")]);
    for family in compilers("debug information of preprocessed sources") {
        cache.compile(&project, format!("{} -g -c p.i", family.c).as_str()).success();
        let mut dump = project.command("objdump");
        dump.args(["--dwarf=info", "p.o"]);
        let text = crate::support::run(&mut dump, crate::support::LIMIT_CALL).success().out();
        assert!(text.contains(&*project.root().to_string_lossy()), "{}: {text}", family.c);
    }
}
