//! Compiles on stock distccd hosts: right, complete, and counted; what cannot be sent stays here.

use crate::support::{Cache, Call, Distccd, Project, compilers, same_as_compiler};

const C: &str = r#"#include <stdio.h>
#include <assert.h>
#include "inc/a.h"
#define TWICE(x) ((x) + (x))
static int helper(int x) { int buffer[16] = { 0 }; buffer[x & 15] = TWICE(x); return buffer[0] + LOCAL; }
int entry(int argument)
{
    assert(argument > 0);
    switch (argument) {
    case 1: argument++; /* fall through */
    case 2: printf("%d %s\n", helper(argument), __FILE__); break;
    default: return __LINE__ + __COUNTER_FREE;
    }
    return LOCAL;
}
"#;
const CXX: &str = r#"#include <map>
#include <string>
#include <vector>
#include "inc/a.h"
namespace { struct Hidden { int x; virtual ~Hidden() {} }; }
template <class T> T twice(T value) { Hidden hidden; hidden.x = 1; return value + value + hidden.x; }
const char *raw = R"(#define NOT_A_DIRECTIVE
// and "quotes" \ )";
std::map<std::string, std::vector<int>> table;
int entry(int argument) { table["a"].push_back(argument); return twice(argument) + LOCAL + __LINE__; }
"#;
const HEADER: &str = "#pragma once\n#define LOCAL 4\n#define __COUNTER_FREE 1\nextern int deep;\n";

fn project() -> Project {
    Project::new(&[
        ("a.c", C),
        ("sub/a.cc", CXX),
        ("a.cpp", CXX),
        ("inc/a.h", HEADER),
        ("empty.c", ""),
        ("warn.c", "int f(void) { int unused; return 3; }\n"),
        ("nested.c", NESTED),
        (
            "inc/noisy.h",
            "static inline int noisy(int a) {\n\tint b; /* é */\n\treturn SQUARE(a = 3);\n}\n",
        ),
        ("bad.c", "int f(void) { return undeclared; }\n"),
        ("missing.c", "#include \"not_there.h\"\nint x;\n"),
        // As long at any time.
        ("time.c", "unsigned long when = sizeof __DATE__ __TIME__;\n"),
        ("blob.c", "__asm__(\".data\\n.incbin \\\"blob.bin\\\"\");\n"),
        ("blob.bin", "content"),
        ("pushed.c", PUSHED),
        ("base.c", "const char *base = __BASE_FILE__; int level = __INCLUDE_LEVEL__;\n"),
        ("counter.c", "#if __COUNTER__ == 0\n#endif\nint n = __COUNTER__;\n"),
        ("macro.c", "int level = LEVEL;\nconst char *name = NAME;\n"),
    ])
}

const NESTED: &str = "#include <stdio.h>\n#define SQUARE(x) ((x) * (x))\n#include \"inc/noisy.h\"\n\
    int f(unsigned u, int i)\n{\n\tif (u < i)\n\t\treturn SQUARE(i = 4) + noisy(i);\n\tprintf(\"%s\", i);\n\treturn LEVEL;\n}\n";

const PUSHED: &str = "#define N 1\n#pragma push_macro(\"N\")\n#undef N\n#define N 5\nint a = N;\n\
    #pragma pop_macro(\"N\")\nint b = N;\n";

/// Each line, cold and then warm: as the compiler alone, and compiled by the host iff `sent`.
#[track_caller]
fn golden(cache: &Cache, lines: &[&str], sent: bool) {
    let project = project();
    for line in lines {
        let before = cache.stats();
        let (cold, warm) = same_as_compiler(&project, cache, *line);
        let rise = |name: &str| cache.stats().get(name) - before.get(name);
        assert_eq!(rise("remote_compile") > 0, sent, "{line}: {cold} {:?}", cache.stats());
        if sent {
            assert_eq!(
                (cold.as_str(), warm.as_str()),
                ("cache_miss", "direct_cache_hit"),
                "{line}"
            );
            assert_eq!((rise("local_compile"), rise("remote_failed")), (0, 0), "{line}");
        }
    }
}

/// A cache whose only host is a stock distccd.
fn with_distccd(what: &str, options: &str) -> Option<(Cache, Distccd)> {
    let distccd = Distccd::start(4, what)?;
    let hosts = format!("{}{options}", distccd.host(4));
    Some((Cache::new().with("RCACHE_HOSTS", hosts), distccd))
}

#[test]
fn a_stock_distccd_makes_the_same_objects() {
    for options in ["", ",lzo"] {
        let Some((cache, distccd)) = with_distccd("rcache with distccd", options) else { return };
        for family in compilers("rcache with distccd") {
            let lines = [
                format!("{} -c a.c", family.c),
                format!(
                    "{} -O2 -Wall -Wextra -Iinc -I. -DX=1 -MD -MF a.d -c a.c -o sub/a.o",
                    family.c
                ),
                format!("{} -O1 -MMD -MP -MT target -c a.c -o sub/b.o", family.c),
                format!("{} -O2 -fPIC -fsanitize=undefined -c a.c", family.c),
                format!("{} -S -O1 a.c", family.c),
                format!("{} -c empty.c", family.c),
                format!("{} -include inc/a.h -DNAME=\"x\" -DLEVEL=3 -c macro.c", family.c),
                format!("{} -std=c++17 -O2 -I. -MD -c sub/a.cc -o sub/a.o", family.cxx),
                format!("{} -std=c++20 -O0 -fno-exceptions -c a.cpp", family.cxx),
            ];
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            golden(&cache, &lines, true);
        }
        assert!(distccd.compiled() > 0);
    }
}

#[test]
fn what_cannot_be_the_same_elsewhere_stays_here() {
    let Some((cache, _distccd)) = with_distccd("what stays here", "") else { return };
    for family in compilers("what stays here") {
        let lines = [
            format!("{} -c time.c -w", family.c),
            format!("{} -c blob.c", family.c),
            format!("{} -c base.c", family.c),
            format!("{} -c pushed.c", family.c),
            format!("{} --coverage -c a.c", family.c),
            format!("{} -g -gsplit-dwarf -c a.c", family.c),
            format!("{} -fstack-usage -c a.c", family.c),
            format!("{} -g3 -c a.c", family.c),
            format!("{} -c missing.c", family.c),
            format!("{} -fsyntax-only a.c", family.c),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        golden(&cache, &lines, false);
    }
    golden(&cache, &["gcc -c counter.c", "gcc -Wunused-macros -c a.c"], false);
}

#[test]
fn a_precompiled_header_stays_here() {
    let Some((cache, _distccd)) = with_distccd("precompiled headers", "") else { return };
    let project = project();
    project.plain("gcc -O1 inc/a.h -o inc/a.h.gch").success();
    project.write("pch.c", "int use(void) { return LOCAL; }\n");
    let before = cache.stats();
    same_as_compiler(&project, &cache, "gcc -O1 -include inc/a.h -c pch.c");
    assert_eq!(cache.stats().get("remote_compile"), before.get("remote_compile"));
}

/// The compiler's own text, with the lines that it quotes, comes from a compile here; and the next
/// time it is known before anything is sent.
#[test]
fn what_prints_is_the_compilers_own_text() {
    let Some((cache, distccd)) = with_distccd("diagnostics", "") else { return };
    let project = project();
    for family in compilers("diagnostics") {
        for line in [
            "-Wall -c warn.c",
            "-fdiagnostics-color=always -Wall -c warn.c",
            "-Wall -Wextra -DNAME=\"x\" -DLEVEL=3 -c nested.c",
            "-c bad.c",
        ] {
            let line = format!("{} {line}", family.c);
            let before = (cache.stats(), distccd.compiled());
            same_as_compiler(&project, &cache, line.as_str());
            let rise = |name: &str| cache.stats().get(name) - before.0.get(name);
            // clang quotes from the text that it was sent, and a warning is then its own.
            let there = family.c == "clang" && !line.contains("bad.c");
            assert_eq!(
                (rise("remote_compile") > 0, rise("local_compile") > 0),
                (there, !there),
                "{line}"
            );
        }
    }
    assert_eq!(cache.stats().0["hosts"][0]["failed"], 0, "a compile error is not the host's");
    assert_eq!(cache.stats().0["hosts"][0]["usable"], true);
}

/// Code, data, columns and paths are the same; what differs is the record of the options, which has
/// one more.
#[test]
fn debug_information_is_the_same_but_for_the_options_that_it_names() {
    let Some((cache, _distccd)) = with_distccd("debug information", "") else { return };
    let project = project();
    for family in compilers("debug information") {
        for options in ["-g -O2", "-g -O0", "-ggdb -O1 -gdwarf-4"] {
            let call = format!("{} {options} -c a.cpp -o a.o", family.cxx);
            let dump = |sections: &[&str]| {
                let object = project.path("a.o");
                let mut command = project.command("objdump");
                command.args(sections).arg("--no-show-raw-insn").arg(&object);
                crate::support::run(&mut command, crate::support::LIMIT_CALL).success().out()
            };
            let seen = || {
                [
                    dump(&["-d", "-r", "-s", "-j.text", "-j.rodata"]),
                    lines_of(&dump(&["--dwarf=decodedline"])),
                    dump(&["-t"]),
                ]
            };
            project.plain(call.as_str()).success();
            let wanted = seen();
            project.remove("a.o");
            let before = cache.stats();
            cache.compile(&project, call.as_str()).success();
            assert_eq!(
                cache.stats().get("remote_compile"),
                before.get("remote_compile") + 1,
                "{call}"
            );
            let got = seen();
            for (wanted, got) in wanted.iter().zip(&got) {
                assert_eq!(code_symbols(wanted), code_symbols(got), "{call}");
            }
        }
    }
}

/// Without the table of files, in which clang may name the source once more.
fn lines_of(decoded: &str) -> String {
    decoded.lines().filter(|line| line.contains("0x")).map(|line| format!("{line}\n")).collect()
}

/// Without sections of debug information, whose names and sizes stand among the symbols.
fn code_symbols(text: &str) -> String {
    text.lines().filter(|line| !line.contains(".debug")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn native_options_are_resolved_here() {
    let Some((cache, _distccd)) = with_distccd("-march=native", "") else { return };
    golden(&cache, &["gcc -O2 -march=native -c a.c", "gcc -O2 -mtune=native -c a.c -o b.o"], true);
}

#[test]
fn a_preprocessor_runs_once_for_a_unit_that_is_sent() {
    let Some((cache, _distccd)) = with_distccd("one preprocessor run", "") else { return };
    let project = project();
    if !crate::support::have("strace") {
        return crate::support::skip("one preprocessor run", "strace is not installed");
    }
    // Learn the compiler first.
    cache.compile(&project, "g++ -O1 -c a.cpp -o first.o").success();
    project.write("b.cpp", CXX.replace("argument", "other"));
    let log = project.path("trace");
    let mut command = cache.command(&project, &Call::from("g++ -O1 -c b.cpp"));
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut traced = std::process::Command::new("strace");
    traced.args(["-f", "-qq", "-s", "4096", "-e", "trace=execve", "-o"]).arg(&log).arg(program);
    traced.args(arguments).current_dir(project.root()).env_clear();
    traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env_clear();
    let before = cache.stats();
    crate::support::run(&mut traced, crate::support::LIMIT_CALL).success();
    assert_eq!(cache.stats().get("remote_compile"), before.get("remote_compile") + 1);
    let trace = std::fs::read_to_string(log).unwrap();
    let proper = trace.lines().filter(|line| line.contains("cc1plus") && line.contains("execve("));
    assert_eq!(proper.count(), 1, "{trace}");
}

#[test]
fn an_edit_and_its_undoing_hit_what_a_host_made() {
    let Some((cache, _distccd)) = with_distccd("hits after remote compiles", "") else { return };
    let project = project();
    let compile = || cache.ending(&project, "g++ -O2 -MD -c a.cpp");
    assert_eq!(compile(), "cache_miss");
    project.write("inc/a.h", HEADER.replace("LOCAL 4", "LOCAL 5"));
    assert!(compile().ends_with("miss"));
    project.write("inc/a.h", HEADER);
    assert_eq!(compile(), "direct_cache_hit");
    assert_eq!(cache.stats().get("local_compile"), 0);
}

#[test]
fn explain_says_where_a_miss_would_be_compiled() {
    let Some((cache, _distccd)) = with_distccd("explain and the cluster", "") else { return };
    let project = project();
    let explain = |line: &str| {
        let call = Call::from(format!("explain {line}"));
        let mut command = cache.subcommand("");
        command.args(&call.words).current_dir(project.root());
        crate::support::run(&mut command, crate::support::LIMIT_CALL).success().out()
    };
    assert!(explain("gcc -c a.c").contains("a host of the cluster would compile it"));
    assert!(explain("gcc --coverage -c a.c").contains("compiled on this machine: an option"));
    assert!(explain("gcc -c time.c").contains("compiled on this machine: a macro of time"));
}
