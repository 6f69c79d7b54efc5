//! Precompiled headers and C++20 modules: as the compiler's, and counted under their own names.

use crate::support::{
    Cache, Call, Compilers, Outcome, Project, Trap, check, compilers, have, same_as_compiler, skip,
};

const PCH: &str = "could_not_use_precompiled_header";
const MODULES: &str = "could_not_use_modules";

const UNIT: &[(&str, &str)] = &[
    ("a.c", "#include \"pre.h\"\nint x = X;\n"),
    ("a.cc", "#include \"pre.h\"\nint x = X;\n"),
    ("forced.c", "int x = X;\n"),
    ("pre.h", "#define X 1\nstatic inline int f(int y) { return y + X; }\n"),
    ("sub/keep", ""),
];

/// Makes a precompiled header by the compiler alone.
#[track_caller]
fn make(project: &Project, family: Compilers, output: &str) {
    project.plain(format!("{} -x c-header pre.h -o {output}", family.c).as_str()).success();
}

#[track_caller]
fn counted(project: &Project, cache: &Cache, line: &str, counter: &str) {
    let endings = same_as_compiler(project, cache, line);
    assert_eq!(endings, (counter.to_owned(), counter.to_owned()), "{line}");
}

#[test]
fn making_a_precompiled_header() {
    for family in compilers("making_a_precompiled_header") {
        let (project, cache) = (Project::new(UNIT), Cache::new());
        project
            .plain(format!("{} -x c++-header pre.h -o sub/other.gch", family.cxx).as_str())
            .success();
        for line in [
            format!("{} pre.h", family.c),
            format!("{} -c pre.h", family.c),
            format!("{} pre.h -o sub/pre.h.gch", family.c),
            format!("{} -x c-header pre.h", family.c),
            format!("{} -x c-header pre.h -o pre.h.pch -MD", family.c),
            format!("{} -x c++-header pre.h", family.cxx),
            format!("{} -x c++-header pre.h -o pre.h.gch -g -O2", family.cxx),
        ] {
            // gcc and clang draw no random number here, but gcc's file is an image of its memory.
            let before = cache.stats();
            let wanted = project.plain(line.as_str());
            let got = cache.compile(&project, line.as_str());
            assert_eq!(got, wanted, "{line}");
            assert_eq!(cache.endings_since(&before), PCH, "{line}");
        }
        if family.c == "clang" {
            for line in [
                "clang -cc1 -emit-pch pre.h -o pre.pch",
                "clang -Xclang -emit-pch -c pre.h -o pre.pch",
                "clang -Xclang -emit-pch -x c-header pre.h -o pre.pch",
            ] {
                let before = cache.stats();
                let wanted = project.plain(line);
                assert_eq!(cache.compile(&project, line), wanted, "{line}");
                let ending = cache.endings_since(&before);
                assert!(!ending.contains("hit") && !ending.contains("miss"), "{line}: {ending}");
            }
        }
    }
}

/// The header's text in the precompiled file is not the header's own, so that a use of it shows.
fn unlike(project: &Project) {
    project.write("pre.h", "#define X 2\nstatic inline int f(int y) { return y + X; }\n");
}

#[test]
fn precompiled_header_taken_by_an_include() {
    // gcc takes `pre.h.gch` for `#include "pre.h"`, whether or not it is older than the header.
    for direct in ["true", "false"] {
        let project = Project::new(UNIT);
        let gcc = Compilers { c: "gcc", cxx: "g++" };
        if !have("gcc") {
            return skip("precompiled_header_taken_by_an_include", "gcc is not installed");
        }
        make(&project, gcc, "pre.h.gch");
        unlike(&project);
        let cache = Cache::new();
        for line in ["gcc -c a.c", "gcc -c a.c -Winvalid-pch", "gcc -c a.c -MD", "gcc -c a.c -g"] {
            let call = Call::from(line).env("RCACHE_DIRECT_MODE", direct);
            let endings = same_as_compiler(&project, &cache, call);
            assert_eq!(endings, (PCH.to_owned(), PCH.to_owned()), "{line}");
        }
        // One that does not fit the options is refused by gcc itself, with a warning at most.
        for line in ["gcc -c a.c -O2 -Winvalid-pch -DY", "g++ -c a.cc -Winvalid-pch"] {
            check(&project, &cache, Call::from(line).env("RCACHE_DIRECT_MODE", direct));
            check(&project, &cache, Call::from(line).env("RCACHE_DIRECT_MODE", direct));
        }
    }
}

#[test]
fn precompiled_header_appears_and_goes() {
    for family in compilers("precompiled_header_appears_and_goes") {
        for (line, names) in [
            ("-c a.c", &["pre.h.gch", "pre.h.gch/one", "sub/pre.h.gch"][..]),
            ("-c forced.c -include pre.h", &["pre.h.gch", "pre.h.pch"]),
            ("-c a.c -Winvalid-pch", &["pre.h.gch"]),
        ] {
            for name in names {
                let trap = Trap::new(UNIT, format!("{} {line} -Isub", family.c));
                trap.change(|project| {
                    project.write(&format!("{name}.keep"), "");
                    make(project, family, name);
                    unlike(project);
                });
                trap.change(|_| {});
                trap.change(|project| {
                    let _ = std::fs::remove_dir_all(project.path("pre.h.gch"));
                    let _ = std::fs::remove_file(project.path(name));
                });
                project_as_before(&trap, name);
            }
        }
    }
}

#[track_caller]
fn project_as_before(trap: &Trap, name: &str) {
    trap.project.write("pre.h", UNIT[3].1);
    for folder in ["pre.h.gch", "pre.h.pch"] {
        let _ = std::fs::remove_dir_all(trap.project.path(folder));
    }
    let _ = std::fs::remove_file(trap.project.path(&format!("{name}.keep")));
    assert_eq!(trap.check(), "direct_cache_hit", "{name} is gone: {:?}", trap.call);
}

#[test]
fn precompiled_header_edited_or_replaced() {
    for family in compilers("precompiled_header_edited_or_replaced") {
        let project = Project::new(UNIT);
        let file = if family.c == "gcc" { "pre.h.gch" } else { "pre.h.pch" };
        make(&project, family, file);
        let trap = Trap::prepared(project, format!("{} -c forced.c -include pre.h", family.c));
        assert_eq!(trap.check(), PCH);
        trap.change(unlike);
        trap.change(|project| make(project, family, file));
        assert_eq!(trap.check(), PCH);
        trap.change(|project| project.write(file, "no precompiled header"));
        trap.change(|project| project.remove(file));
    }
}

#[test]
fn folder_of_precompiled_headers() {
    // Of the files in `pre.h.gch/` gcc takes the first that fits.
    let gcc = Compilers { c: "gcc", cxx: "g++" };
    if !have("gcc") {
        return skip("folder_of_precompiled_headers", "gcc is not installed");
    }
    let project = Project::new(UNIT);
    project.write("pre.h.gch/keep", "");
    make(&project, gcc, "pre.h.gch/one");
    project.plain("gcc -O2 -x c-header pre.h -o pre.h.gch/two").success();
    unlike(&project);
    let cache = Cache::new();
    for line in ["gcc -c a.c", "gcc -O2 -c a.c", "gcc -c forced.c -include pre.h"] {
        counted(&project, &cache, line, PCH);
    }
    project.remove("pre.h.gch/one");
    counted(&project, &cache, "gcc -O2 -c a.c", PCH);
    check(&project, &cache, "gcc -c a.c");
}

#[test]
fn precompiled_header_by_option() {
    if !have("clang") {
        return skip("precompiled_header_by_option", "clang is not installed");
    }
    let project = Project::new(UNIT);
    make(&project, Compilers { c: "clang", cxx: "clang++" }, "pre.pch");
    let cache = Cache::new();
    for line in [
        "clang -c forced.c -include-pch pre.pch",
        "clang -c forced.c -include-pch pre.pch -MD",
        "clang -c forced.c -include-pch missing.pch",
        "clang -c forced.c -include-pch pre.pch -fno-pch-timestamp",
    ] {
        let (cold, warm) = same_as_compiler(&project, &cache, line);
        assert_eq!((cold.as_str(), warm.as_str()), (PCH, PCH), "{line}");
    }
    let line = "clang -c forced.c -Xclang -include-pch -Xclang pre.pch";
    let (_, warm) = same_as_compiler(&project, &cache, line);
    assert!(!warm.contains("hit"), "{warm}");
}

/// Compiles alone and through rcache; what is printed and the object must be the same. Files of
/// modules are not compared, since they hold the time. Returns how the call ended.
#[track_caller]
fn same_object(project: &Project, cache: &Cache, line: &str, object: &str) -> String {
    let leave = |outcome: Outcome| {
        let left = (outcome, std::fs::read(project.path(object)).ok());
        let _ = std::fs::remove_file(project.path(object));
        let _ = std::fs::remove_dir_all(project.path("gcm.cache"));
        left
    };
    let wanted = leave(project.plain(line));
    let before = cache.stats();
    let got = leave(cache.compile(project, line));
    assert!(got == wanted, "{line}: wanted {:?}, got {:?}", wanted.0, got.0);
    cache.endings_since(&before)
}

#[test]
fn options_for_modules() {
    let project = Project::new(UNIT);
    project.write("module.modulemap", "module pre { header \"pre.h\" }\n");
    let cache = Cache::new();
    for family in compilers("options_for_modules") {
        let lines: &[&str] = match family.c {
            "gcc" => &[
                "g++ -std=c++20 -fmodules-ts -c a.cc",
                "g++ -std=c++20 -fmodules-ts -c a.cc -MD",
                "g++ -std=c++20 -fmodules-ts -fmodule-mapper=none -c a.cc",
                "g++ -std=c++20 -fmodule-header -c a.cc",
                "g++ -std=c++20 -fmodules-ts -fmodule-only -c a.cc",
            ],
            _ => &[
                "clang -fmodules -fmodules-cache-path=cache -c a.c",
                "clang -fmodules -fmodules-cache-path=cache -c a.c -MD",
                "clang++ -std=c++20 -fprebuilt-module-path=. -c a.cc",
                "clang++ -std=c++20 -fmodule-file=none.pcm -c a.cc",
                "clang++ -std=c++20 -fmodule-file=name=none.pcm -c a.cc",
                "clang++ -std=c++20 -fmodules -fmodule-map-file=module.modulemap -fmodules-cache-path=cache -c a.cc",
                "clang++ -std=c++20 -fcxx-modules -c a.cc",
                "clang++ -std=c++20 -fmodules-ts -c a.cc",
                "clang++ -std=c++20 -fimplicit-modules -c a.cc",
            ],
        };
        for line in lines {
            for _ in 0..2 {
                let ending = same_object(&project, &cache, line, "a.o");
                assert_eq!(ending, MODULES, "{line}");
            }
        }
        // The negative of the option that is off anyway is no use of modules.
        let (_, warm) =
            same_as_compiler(&project, &cache, format!("{} -c a.cc -fno-modules-ts", family.cxx));
        assert!(warm == "direct_cache_hit" || family.c == "clang", "{warm}");
    }
}

/// Sources that make or use a module by their text alone.
const MODULE_TEXTS: &[&str] = &[
    "export module m;\nexport int f() { return 1; }\n",
    "module;\n#include \"pre.h\"\nexport module m;\nexport int g() { return X; }\n",
    "import m;\nint x;\n",
    "export import m;\nint x;\n",
    "import \"pre.h\";\nint x = X;\n",
    "import <pre.h>;\nint x = X;\n",
    "  import   m ;\nint x;\n",
    "/* why */ import m;\nint x;\n",
    "import \\\nm;\nint x;\n",
    "module m;\nint x;\n",
    "module m:part;\nint x;\n",
];

#[test]
fn modules_by_the_text_alone() {
    let cache = Cache::new();
    for family in compilers("modules_by_the_text_alone") {
        for options in ["-std=c++20", "-std=c++20 -fmodules-ts"] {
            for (number, text) in MODULE_TEXTS.iter().enumerate() {
                for in_header in [false, true] {
                    if in_header && number % 3 != 0 {
                        continue;
                    }
                    let project = Project::new(UNIT);
                    project.write("m.cc", if in_header { "#include \"text.h\"\n" } else { text });
                    project.write("text.h", text);
                    let line = format!("{} {options} -c m.cc", family.cxx);
                    for _ in 0..2 {
                        let ending = same_object(&project, &cache, &line, "m.o");
                        let known = [MODULES, "compile_failed"];
                        assert!(known.contains(&ending.as_str()), "{line}: {text}: {ending}");
                    }
                }
            }
        }
    }
}

#[test]
fn imported_header_unit_changes() {
    // gcc's header unit is another file than the header; neither may be taken for the other.
    if !have("g++") {
        return skip("imported_header_unit_changes", "g++ is not installed");
    }
    let project = Project::new(UNIT);
    project.write("m.cc", "import \"./pre.h\";\nint x = X;\n");
    let make = || project.plain("g++ -std=c++20 -fmodules-ts -x c++-header ./pre.h").success();
    make();
    let cache = Cache::new();
    let line = "g++ -std=c++20 -fmodules-ts -c m.cc";
    let compile = || {
        project.plain(line).success();
        let wanted = project.read("m.o");
        let before = cache.stats();
        cache.compile(&project, line).success();
        assert!(project.read("m.o") == wanted);
        assert_eq!(cache.endings_since(&before), MODULES);
    };
    compile();
    unlike(&project);
    make();
    compile();
}

#[test]
fn words_that_only_look_like_modules() {
    for family in compilers("words_that_only_look_like_modules") {
        let text = "int import(int module) { return module; }\nint exported = 1;\n";
        let trap = Trap::new(&[("a.c", text)], format!("{} -c a.c", family.c));
        trap.undo(|_| {});
    }
}
