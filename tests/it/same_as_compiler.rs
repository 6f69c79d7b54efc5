//! The golden check over combinations of options: cold, warm and verified, all that the compiler leaves.

use crate::support::{Cache, Call, Project, check, compilers, same_as_compiler};

const C: &str = r#"#include <stdio.h>
#include "a.h"
#ifdef WARN
static int unused_function(void) { int unused; return 3; }
#endif
static int helper(int x) { int buffer[16]; buffer[x & 15] = x; return buffer[0] + LOCAL; }
int entry(int argument) { if (argument > 3) printf("%d\n", helper(argument)); return LOCAL; }
"#;
const CXX: &str = r#"#include <string>
#include <vector>
#include "a.h"
namespace { struct Hidden { int x; virtual ~Hidden() {} }; }
template <class T> T twice(T value) { Hidden hidden; hidden.x = 1; return value + value + hidden.x; }
std::vector<std::string> words() { return {"one", "two"}; }
int entry(int argument) { return twice(argument) + LOCAL + __LINE__; }
"#;
const HEADER: &str = "#pragma once\n#include \"inc/deep.h\"\n#define LOCAL 4\n";
const ASSEMBLY: &str = "\t.text\n\t.globl f\nf:\n\tret\n";
const ASSEMBLY_CPP: &str =
    "#include \"asm.h\"\n\t.text\n\t.globl f\nf:\n\tmov $LOCAL, %eax\n\tret\n";

fn project() -> Project {
    let header = ("inc/deep.h", "#ifndef DEEP\n#define DEEP\nextern int deep;\n#endif\n");
    Project::new(&[
        ("a.c", C),
        ("a.cc", CXX),
        ("a.cpp", CXX),
        ("a.h", HEADER),
        header,
        ("bad.c", "int f(void) { return undeclared; }\n"),
        ("missing.c", "#include \"not_there.h\"\nint x;\n"),
        ("nohash.c", "int no_header;\n"),
        ("asm.s", ASSEMBLY),
        ("asm.S", ASSEMBLY_CPP),
        ("asm.h", "#define LOCAL 4\n"),
        ("sub/keep", ""),
        ("options.rsp", "-DFROM_RSP=1 -O1 \"-DQ=a b\"\n-Iinc"),
        ("nested.rsp", "@options.rsp -DNESTED"),
    ])
}

/// Each line behind both C compilers: right, cached, and a direct hit when warm.
#[track_caller]
fn cached(what: &str, lines: &[&str]) {
    let (project, cache) = (project(), Cache::verifying());
    for family in compilers(what) {
        for line in lines {
            let line = format!("{} {line}", family.c);
            let (cold, warm) = same_as_compiler(&project, &cache, line.as_str());
            assert_eq!(warm, "direct_cache_hit", "{line}");
            // An earlier line may have the same result.
            let stored = ["cache_miss", "preprocessed_cache_hit", "direct_cache_hit"];
            assert!(stored.contains(&cold.as_str()), "{line}: {cold}");
        }
    }
    let stats = cache.stats();
    let (verified, skipped) = (stats.get("verify_match"), stats.get("verify_skipped"));
    assert!(verified > 3 * skipped, "{what}: verified {verified}, skipped {skipped}: {stats:?}");
}

/// Each line behind both C compilers: right, however the call ends.
#[track_caller]
fn right(what: &str, lines: &[&str]) {
    let (project, cache) = (project(), Cache::verifying());
    for family in compilers(what) {
        for line in lines {
            same_as_compiler(&project, &cache, format!("{} {line}", family.c));
        }
    }
}

#[test]
fn dependency_options_in_all_combinations() {
    let (project, cache) = (project(), Cache::verifying());
    for family in compilers("dependency_options_in_all_combinations") {
        for mode in ["-MD", "-MMD"] {
            for bits in 0..16 {
                let mut line = format!("{} -c a.c -o sub/a.o {mode}", family.c);
                let options = ["-MF sub/dep.d", "-MT target", "-MQ $q(uoted)", "-MP"];
                for (bit, option) in options.iter().enumerate() {
                    if bits & (1 << bit) != 0 {
                        line = format!("{line} {option}");
                    }
                }
                let (_, warm) = same_as_compiler(&project, &cache, line.as_str());
                assert_eq!(warm, "direct_cache_hit", "{line}");
            }
        }
    }
}

#[test]
fn dependency_options_in_other_spellings() {
    cached(
        "dependency_options_in_other_spellings",
        &[
            "-c a.c -MMD -MFjoined.d",
            "-c a.c -MMD -MTjoined -MTsecond",
            "-c a.c -MD -MT one -MT two -MQ three",
            "-c a.c -MD -MT $(OUT)/a.o -MT #x",
            "-c a.c -MMD",
            "-c a.c -MD -MP -o x.y.o",
            "-c a.c -MD -o without_suffix",
            "-c a.c -MMD -MD",
            "-c a.c -MD -MMD",
            "-c a.c -Wp,-MMD,wp.d",
            "-c a.c -Wp,-MD,wp.d -MT target",
        ],
    );
    right(
        "dependency_options_in_other_spellings",
        &[
            "-c a.c -MF only.d",
            "-c a.c -MT only",
            "-c a.c -MP",
            "-c a.c -MD -MF /dev/null",
            "-c a.c -MD -MF -",
            "-c a.c -MD -MF /dev/stdout",
            "-c a.c -MD -MF missing/dir/a.d",
            "-c a.c -MD -MF",
            "-c a.c -MD -MG",
            "-c missing.c -MD -MG",
            "-c missing.c -MM -MG",
            "-c a.c -Wp,-MMD,wp.d,-MT,target",
            "-c a.c -Wp,-MMD,wp.d -MF other.d",
            "-c a.c -Wp,-MD,one.d,-MP -Wp,-DX",
            "-c a.c -M -MF x.d",
            "-c a.c -MD -MV",
            "-c a.c -MJ compile.json",
            "-S a.c -MD",
            "-fsyntax-only a.c -MD",
            "-E a.c -MD -o a.i",
        ],
    );
}

#[test]
fn debug_information() {
    cached(
        "debug_information",
        &[
            "-c a.c -g",
            "-c a.c -g0",
            "-c a.c -g1",
            "-c a.c -g3",
            "-c a.c -ggdb",
            "-c a.c -gdwarf-4",
            "-c a.c -gdwarf-5 -O2",
            "-c a.c -gz",
            "-c a.c -g -gno-column-info",
            "-c a.c -g -fno-omit-frame-pointer -O2",
            "-c a.c -g -fdebug-prefix-map=/tmp=/elsewhere",
            "-c a.c -g -ffile-prefix-map=.=there",
            "-c a.c -fmacro-prefix-map=.=there",
            "-c a.c -g -gstrict-dwarf",
        ],
    );
    right("debug_information", &["-c a.c -ggdb3", "-c a.c -gline-tables-only", "-c a.c -g4"]);
}

#[test]
fn split_debug_information() {
    right(
        "split_debug_information",
        &[
            "-c a.c -g -gsplit-dwarf",
            "-c a.c -g -gsplit-dwarf -o sub/other.o",
            "-c a.c -g -gsplit-dwarf -o sub/without_suffix",
            "-c a.c -gsplit-dwarf -g0",
            "-c a.c -g0 -gsplit-dwarf",
            "-c a.c -g -gno-split-dwarf",
            "-c a.c -g -gsplit-dwarf -MD -MF x.d",
            "-S a.c -g -gsplit-dwarf",
        ],
    );
}

#[test]
fn coverage_and_profiles() {
    right(
        "coverage_and_profiles",
        &[
            "-c a.c --coverage",
            "-c a.c --coverage -o sub/a.o",
            "-c a.c -fprofile-arcs",
            "-c a.c -ftest-coverage",
            "-c a.c -fprofile-arcs -ftest-coverage -o x.y.o",
            "-c a.c -ftest-coverage -o without_suffix",
            "-c a.c -fprofile-generate",
            "-c a.c -fprofile-generate=profiles",
            "-c a.c -fprofile-use",
            "-c a.c -fprofile-use=no_such.profdata",
            "-c a.c --coverage -fprofile-dir=profiles",
            "-c a.c --coverage -dumpbase other -dumpdir sub/",
            "-c a.c --coverage -fprofile-update=atomic",
            "-c a.c -fprofile-instr-generate -fcoverage-mapping",
        ],
    );
}

#[test]
fn link_time_optimisation_and_sanitizers() {
    cached(
        "link_time_optimisation_and_sanitizers",
        &[
            "-c a.c -fsanitize=address",
            "-c a.c -fsanitize=undefined -O1",
            "-c a.c -fsanitize=address,undefined -fno-sanitize-recover=all",
            "-c a.c -fsanitize=thread -O2 -g",
            "-c a.c -fstack-protector-strong -D_FORTIFY_SOURCE=2 -O2",
        ],
    );
    right(
        "link_time_optimisation_and_sanitizers",
        &[
            "-c a.c -flto",
            "-c a.c -flto -O2 -g",
            "-c a.c -flto=auto -ffat-lto-objects",
            "-c a.c -flto=thin",
            "-c a.c -flto -frandom-seed=3",
            "-c a.c -fno-lto",
        ],
    );
}

#[test]
fn files_beside_the_object() {
    right(
        "files_beside_the_object",
        &[
            "-c a.c -fstack-usage",
            "-c a.c -fstack-usage -o sub/x.o",
            "-c a.c -fcallgraph-info",
            "-c a.c -fcallgraph-info=su,da",
            "-c a.c -save-temps",
            "-c a.c -save-temps=obj -o sub/a.o",
            "-c a.c -fdump-tree-optimized -O2",
            "-c a.c -fdump-ipa-all -O2",
            "-c a.c -fdump-rtl-expand",
            "-c a.c -da",
            "-c a.c -O2 -fopt-info=opt.txt",
            "-c a.c -O2 -fopt-info-vec-all=opt.txt",
            "-c a.c -O2 -fsave-optimization-record",
            "-c a.c -O2 -foptimization-record-file=record.yaml",
            "-c a.c -aux-info prototypes.txt",
            "-c a.c -Wa,-a=listing.txt",
            "-c a.c -Wa,-ahls=listing.txt",
            "-c a.c -Wa,-MD,asm.d",
            "-c a.c -Wa,--MD,asm.d",
            "-c a.c -ftime-trace",
            "-c a.c -fdump-go-spec=spec.txt",
            "-c a.c --serialize-diagnostics diag.bin",
            "-c a.c -fprofile-note=note.gcno --coverage",
            "-c a.c -dumpdir sub/ -fstack-usage",
            "-c a.c -dD",
            "-c a.c -frecord-gcc-switches",
            "-c a.c -wrapper env",
            "-c a.c -Xclang -dependency-file -Xclang hidden.d -Xclang -MT -Xclang x",
            "-c a.c -specs=/dev/null",
            "-c a.c -emit-llvm",
        ],
    );
}

#[test]
fn kinds_of_output() {
    cached(
        "kinds_of_output",
        &["-S a.c", "-S a.c -o sub/a.s", "-c a.c -o sub/deep.o", "-c ./a.c -o ./sub/../x.o"],
    );
    right(
        "kinds_of_output",
        &[
            "-fsyntax-only a.c",
            "-c a.c -fsyntax-only",
            "-fsyntax-only bad.c",
            "-S a.c -o -",
            "-c a.c -o /dev/null",
            "-c a.c -o missing/dir/a.o",
            "-c a.c -o sub",
            "-c a.c -o a.c",
            "-c a.c -o",
            "-c a.c -o one.o -o two.o",
            "-c a.c nohash.c",
            "-c a.c nohash.c -o both.o",
            "-c a.c -oa.out",
            "-E a.c -o a.i",
            "-c -S a.c",
            "-S -c a.c",
        ],
    );
}

#[test]
fn languages() {
    let (project, cache) = (project(), Cache::verifying());
    project.write("objective.m", "int objective(void) { return 1; }\n");
    project.write("plain.txt", C);
    for family in compilers("languages") {
        project.plain(format!("{} -E a.c -o a.i", family.c)).success();
        project.plain(format!("{} -E a.cc -o a.ii", family.cxx)).success();
        for line in [
            "-c a.i",
            "-c a.i -g -O2",
            "-c asm.s",
            "-c asm.S",
            "-c asm.S -DX=1 -g",
            "-x c -c a.c",
            "-xc -c plain.txt",
            "-x c++ -c a.cc",
            "-x assembler -c asm.s",
            "-x assembler-with-cpp -c asm.S",
            "-x cpp-output -c a.i",
        ] {
            let line = format!("{} {line}", family.c);
            let (_, warm) = same_as_compiler(&project, &cache, line.as_str());
            assert_eq!(warm, "direct_cache_hit", "{line}");
        }
        for line in [
            "-c a.c -x none",
            "-x none -c a.c",
            "-x c -x c++ -c a.cc",
            "-c a.c -x c++",
            "-c objective.m",
            "-c plain.txt",
            "-x nonsense -c a.c",
            "-x c-header a.h",
            "-x c -c a.c -x c++",
            "-x c -c -x none a.c",
            "-std=c99 -c a.c",
            "-ansi -pedantic -c a.c",
        ] {
            same_as_compiler(&project, &cache, format!("{} {line}", family.c));
        }
        for line in ["-c a.cc", "-c a.cpp -std=c++17 -O2", "-c a.ii", "-x c++ -c a.c -fpermissive"]
        {
            same_as_compiler(&project, &cache, format!("{} {line}", family.cxx));
        }
    }
}

#[test]
fn warnings_and_errors() {
    cached(
        "warnings_and_errors",
        &[
            "-c a.c -DWARN -Wall -Wextra",
            "-c a.c -DWARN -Wall -fno-diagnostics-show-option",
            "-c a.c -DWARN -Wall -fdiagnostics-color=always",
            "-c a.c -DWARN -Wall -fdiagnostics-color=never",
            "-c a.c -DWARN -w",
            "-c a.c -DWARN -Wall -Werror -Wno-error=unused-variable -Wno-error=unused-function",
        ],
    );
    right(
        "warnings_and_errors",
        &[
            "-c a.c -DWARN -Wall -fno-diagnostics-show-caret",
            "-c a.c -DWARN -Wall -fno-caret-diagnostics -fmessage-length=40",
            "-c a.c -DWARN -Wall -Werror",
            "-c a.c -DWARN -Wall -Wfatal-errors -Werror=unused-function",
            "-c bad.c",
            "-c bad.c -MD",
            "-c bad.c -o sub/bad.o -MMD -MF sub/bad.d",
            "-c missing.c",
            "-c missing.c -MD -MF sub/m.d",
            "-c no-such-file.c",
            "-c a.c -Wno-such-warning",
            "-c a.c -fno-such-option",
            "-c a.c --no-such-option",
            "-c a.c -DWARN -Wall -fdiagnostics-format=json",
            "-c a.c -DWARN -Wall -fdiagnostics-parseable-fixits",
            "-c a.c -fmax-errors=1 -Wall",
            "-c a.c -c",
            "-c",
            "-c -o x.o",
            "-c sub",
            "-c -I",
            "-c a.c -I",
            "-c a.c -D",
            "-c a.c -include not_there.h",
        ],
    );
}

#[test]
fn search_paths_and_macros() {
    cached(
        "search_paths_and_macros",
        &[
            "-c a.c -I.",
            "-c a.c -I . -I inc -I missing_dir",
            "-c a.c -Iinc -iquote inc -isystem inc -idirafter inc",
            "-c a.c -include a.h",
            "-c a.c -include inc/deep.h -imacros a.h",
            "-c a.c -DX -UX -D Y=2 -U Y",
            "-c a.c -DX=\"quoted\" -O2",
            "-c a.c -nostdinc -isystem /usr/include -isystem /usr/include/x86_64-linux-gnu -isystem /usr/lib/gcc/x86_64-linux-gnu/12/include",
            "-c a.c -O0 -O3",
            "-c a.c -fPIC -fvisibility=hidden -pthread -pipe",
            "-c a.c -march=x86-64 -mtune=generic -msse4.2 -mno-avx",
            "-c a.c -funsigned-char -fno-strict-aliasing -ffast-math",
        ],
    );
    right(
        "search_paths_and_macros",
        &[
            "-c a.c -march=native -O2",
            "-c a.c -mtune=native -mcpu=native",
            "-c a.c -m32",
            "-c a.c -undef -Dlinux",
            "-c a.c --sysroot=/",
            "-c a.c --sysroot /",
            "-c a.c -B/usr/lib/gcc/x86_64-linux-gnu/12",
            "-c a.c -iprefix inc/ -iwithprefix x",
            "-c a.c -H",
            "-c a.c -P",
            "-c a.c -C",
            "-c a.c -traditional-cpp",
            "-c a.c -finput-charset=latin1",
            "-c a.c -pass-exit-codes",
            "-c a.c -L. -lm -Wl,-O1 -s",
        ],
    );
}

#[test]
fn forwarded_options() {
    right(
        "forwarded_options",
        &[
            "-c a.c -Wp,-DX=1",
            "-c a.c -Wp,-DX=1,-DY=2",
            "-c a.c -Wp,-D,X",
            "-c a.c -Wp,-P",
            "-c a.c -Wp,-UX,-Iinc",
            "-c a.c -Xpreprocessor -DX",
            "-c a.c -Wa,--noexecstack",
            "-c a.c -Wa,-I,inc",
            "-c a.c -Wa,--gdwarf-5,-g",
            "-c asm.s -Wa,-g",
            "-c asm.s -Wa,-defsym,X=1",
            "-c asm.s -Wa,-o,hijacked.o",
            "-c a.c -Xassembler --noexecstack",
            "-c a.c -Wl,--as-needed",
            "-c a.c -Xlinker -s",
            "-c a.c -Xclang -fno-pch-timestamp",
            "-c a.c -mllvm -inline-threshold=1",
            "-c a.c -Wp,-MD,hidden.d,-MT,x",
            "-c a.c --param max-inline-insns-single=10",
            "-c a.c --param=max-inline-insns-single=10",
        ],
    );
}

#[test]
fn long_and_double_dash_spellings() {
    right(
        "long_and_double_dash_spellings",
        &[
            "--compile a.c",
            "--compile a.c --output=x.o",
            "--compile a.c --output x.o",
            "--assemble a.c",
            "-c a.c --define-macro=X=1",
            "-c a.c --define-macro X=1",
            "-c a.c --include-directory=inc",
            "-c a.c --include-directory inc",
            "-c a.c --debug",
            "-c a.c --optimize",
            "-c a.c --optimize=2",
            "-c a.c --write-dependencies",
            "-c a.c --write-user-dependencies",
            "-c a.c --std=c99",
            "-c a.c --language=c",
            "--language c -c a.c",
            "-c a.c --save-temps",
            "-c a.c --include a.h",
            "-c -- a.c",
            "-c -o x.o -- a.c",
            "-c -- a.c -DX",
            "-c a.c --undefine-macro=linux",
            "-c a.c --coverage",
            "-c a.c --pedantic --all-warnings --extra-warnings",
        ],
    );
}

#[test]
fn response_files() {
    cached("response_files", &["-c a.c @options.rsp", "@options.rsp -c a.c -o x.o"]);
    right(
        "response_files",
        &[
            "-c a.c @nested.rsp",
            "-c a.c @no-such.rsp",
            "-c a.c @sub",
            "@all.rsp",
            "-c a.c @loop.rsp",
            "-c a.c @quotes.rsp",
        ],
    );
    let (project, cache) = (project(), Cache::verifying());
    project.write("all.rsp", "-c\na.c\t-o  'sub/from rsp.o' -MD\n");
    project.write("quotes.rsp", "-c a.c \"-DA=\\\"x\\\"\" '-DB=\"y z\"' -DC=\\ d -DE='f'g\"h\"");
    project.write("loop.rsp", "-c a.c @loop.rsp");
    project.write("empty.rsp", "");
    for family in compilers("response_files") {
        for line in
            ["@all.rsp", "@quotes.rsp", "@loop.rsp", "-c a.c @empty.rsp", "@all.rsp @nested.rsp"]
        {
            same_as_compiler(&project, &cache, format!("{} {line}", family.c));
        }
    }
}

#[test]
fn output_over_what_is_there() {
    for family in compilers("output_over_what_is_there") {
        for (what, prepare) in [
            ("a file", (|p: &Project| p.write("a.o", "old")) as fn(&Project)),
            ("a read-only file", |p| {
                p.write("a.o", "old");
                p.mode("a.o", 0o444);
            }),
            ("an executable file", |p| {
                p.write("a.o", "old");
                p.mode("a.o", 0o755);
            }),
            ("a symlink", |p| {
                p.write("sub/target", "old");
                p.symlink("sub/target", "a.o");
            }),
            ("a dangling symlink", |p| p.symlink("sub/new", "a.o")),
            ("a symlink to nowhere", |p| p.symlink("no/such/folder", "a.o")),
            ("a folder", |p| p.write("a.o/file", "")),
            ("old dependencies", |p| {
                p.write("a.d", "old");
                p.mode("a.d", 0o444);
            }),
            ("dependencies behind a symlink", |p| {
                p.write("sub/target.d", "old");
                p.symlink("sub/target.d", "a.d");
            }),
        ] {
            let (project, cache) = (project(), Cache::verifying());
            prepare(&project);
            same_as_compiler(&project, &cache, format!("{} -c a.c -MD", family.c));
            let errors = Call::from(format!("{} -c bad.c -o a.o -MD", family.c));
            same_as_compiler(&project, &cache, errors);
            println!("{what} with {}", family.c);
        }
    }
}

#[test]
fn hard_linked_output_is_not_written_through() {
    // gcc's assembler unlinks the old object; a hit must treat the other name as the compiler does.
    for family in compilers("hard_linked_output_is_not_written_through") {
        let (project, cache) = (project(), Cache::verifying());
        let call = Call::from(format!("{} -c a.c", family.c));
        let linked = |run: &dyn Fn()| {
            project.write("a.o", "old");
            std::fs::hard_link(project.path("a.o"), project.path("other.o")).unwrap();
            run();
            let other = project.read("other.o");
            project.remove("other.o");
            other
        };
        let wanted = linked(&|| drop(project.plain(&call).success()));
        for turn in ["cold", "warm"] {
            let got = linked(&|| drop(cache.compile(&project, &call).success()));
            assert!(got == wanted, "{turn} with {}: the other name's file differs", family.c);
        }
    }
}

#[test]
fn a_delivered_object_is_the_users_own() {
    // Writing into a delivered object must not reach the store.
    let (project, cache) = (project(), Cache::verifying());
    cache.compile(&project, "gcc -c a.c").success();
    cache.compile(&project, "gcc -c a.c").success();
    let wanted = project.read("a.o");
    project.write("a.o", vec![0; wanted.len()]);
    cache.compile(&project, "gcc -c a.c").success();
    assert!(project.read("a.o") == wanted);
}

#[test]
fn umask_counts_for_outputs() {
    for family in compilers("umask_counts_for_outputs") {
        let (project, cache) = (project(), Cache::verifying());
        for mask in [0o022, 0o077, 0o002, 0o000, 0o027] {
            let call = Call::from(format!("{} -c a.c -MD", family.c)).umask(mask);
            same_as_compiler(&project, &cache, call);
        }
    }
}

#[test]
fn cplusplus_of_many_standards() {
    let (project, cache) = (project(), Cache::verifying());
    for family in compilers("cplusplus_of_many_standards") {
        for line in [
            "-c a.cc",
            "-c a.cc -std=c++14 -O2 -fno-rtti -fno-exceptions -DNDEBUG -MD -MT a.o -MF a.d",
            "-c a.cc -std=gnu++20 -g -O1 -fvisibility-inlines-hidden -Wall -Wextra",
        ] {
            let line = format!("{} {line}", family.cxx);
            let (_, warm) = same_as_compiler(&project, &cache, line.as_str());
            assert_eq!(warm, "direct_cache_hit", "{line}");
        }
        for line in ["-c a.cc -std=c++20 -fmodules-ts", "-c a.cc -frepo", "-c a.cc -fconcepts"] {
            same_as_compiler(&project, &cache, format!("{} {line}", family.cxx));
        }
    }
}

#[test]
fn precompiled_headers_stay_right() {
    for family in compilers("precompiled_headers_stay_right") {
        let (project, cache) = (project(), Cache::verifying());
        same_as_compiler(&project, &cache, format!("{} -x c-header a.h -o a.h.gch", family.c));
        project.plain(format!("{} -x c-header a.h -o a.h.gch", family.c).as_str()).success();
        same_as_compiler(&project, &cache, format!("{} -c a.c -include a.h", family.c));
        same_as_compiler(&project, &cache, format!("{} -c a.c -Winvalid-pch", family.c));
    }
}

/// One source in two targets: make gets a rule for each, and the object is compiled once.
#[test]
fn another_target_of_the_rule_is_the_same_unit() {
    for family in compilers("another_target_of_the_rule_is_the_same_unit") {
        let long = "t".repeat(61);
        let deep = format!("build/{long}");
        let mut files: Vec<(String, String)> =
            (0..20).map(|number| (format!("header{number}.h"), String::new())).collect();
        let includes = (0..20).map(|number| format!("#include \"header{number}.h\"\n"));
        files.push(("a.c".into(), includes.collect::<String>() + "int x;\n"));
        files.extend(
            ["build/debug", "build/release", &deep].map(|f| (format!("{f}/keep"), "".into())),
        );
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let (project, cache) = (Project::new(&files), Cache::new());
        let compile = |words: &str| check(&project, &cache, format!("{} {words}", family.c));
        assert_eq!(compile("-g -c a.c -MD -o build/debug/a.o"), "cache_miss");
        let targets = [
            "-o build/release/a.o".to_owned(),
            format!("-o {deep}/a.o"),
            "-o b.o -MT one -MF d".to_owned(),
            format!("-o b.o -MQ {long} -MF d"),
            format!("-o {}", project.path("build/release/b.o").display()),
            "-o object".to_owned(),
            "-o build/debug/a.o".to_owned(),
        ];
        for words in targets {
            let ending = compile(&format!("-g -c a.c -MD {words}"));
            assert_eq!(ending, "direct_cache_hit", "{words}");
        }
        // Names that a rule spells in a way of its own, several targets, and objects that hold the name.
        for words in ["-o $x.o", "-MT one -MT two", "-o ./c.o -MQ 'a", "-o d.o -gsplit-dwarf"] {
            for _ in 0..2 {
                compile(&format!("-g -c a.c -MD {words}"));
            }
        }
        assert_eq!(compile("-g -c a.c -MD -gsplit-dwarf -o e.o"), "cache_miss");
    }
}
