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
    ("stub.cxx", "/* generated */\n"),
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

/// Makes one through rcache, which then knows what is in it.
#[track_caller]
fn make_known(project: &Project, cache: &Cache, line: &str) -> String {
    let before = cache.stats();
    cache.compile(project, line).success();
    cache.endings_since(&before)
}

const HIT: &str = "direct_cache_hit";

#[test]
fn making_a_precompiled_header() {
    for family in compilers("making_a_precompiled_header") {
        let (project, cache) = (Project::new(UNIT), Cache::new());
        for line in [
            format!("{} pre.h -o sub/pre.h.gch", family.c),
            format!("{} -c pre.h -o pre.pch", family.c),
            format!("{} -x c-header pre.h -o pre.h.pch -MD", family.c),
            format!("{} -x c-header pre.h -o pre.h.pch -MMD -MF a.d", family.c),
            format!("{} -x c++-header pre.h -o pre.h.gch -g -O2", family.cxx),
            format!("{} -x c++-header -include pre.h forced.c -o pre.h.gch", family.cxx),
        ] {
            let endings = same_as_compiler(&project, &cache, line.as_str());
            assert_eq!(endings, ("cache_miss".to_owned(), HIT.to_owned()), "{line}");
        }
        // gcc's file is an image of its memory, and differs from compile to compile.
        let refused = match family.c {
            "gcc" => &["gcc pre.h -S -o pre.s", "gcc pre.h -fsyntax-only", "gcc pre.h a.c"][..],
            _ => &[
                "clang pre.h",
                "clang -Xclang -emit-pch -c a.c -o a.pch",
                "clang -cc1 -emit-pch pre.h -o pre.pch",
            ],
        };
        for line in refused {
            let before = cache.stats();
            let wanted = project.plain(*line);
            assert_eq!(cache.compile(&project, *line), wanted, "{line}");
            let ending = cache.endings_since(&before);
            assert!(!ending.contains("hit") && !ending.contains("miss"), "{line}: {ending}");
        }
        if family.c == "gcc" {
            let endings = same_as_compiler(&project, &cache, "gcc -c sub/../pre.h");
            assert_eq!(endings.1, HIT);
        }
    }
}

#[test]
fn what_a_precompiled_header_is_made_of_changes() {
    for family in compilers("what_a_precompiled_header_is_made_of_changes") {
        let files = [UNIT, &[("all.h", "#include \"pre.h\"\n#include <stddef.h>\n")]].concat();
        let line = format!("{} -x c++-header all.h -o all.gch", family.cxx);
        let (project, cache) = (Project::new(&files), Cache::new());
        project.touch("pre.h", 2_000_000);
        make_known(&project, &cache, &line);
        assert_eq!(make_known(&project, &cache, &line), HIT);
        let first = project.read("all.gch");
        unlike(&project);
        assert_ne!(make_known(&project, &cache, &line), HIT);
        assert!(project.read("all.gch") != first);
        project.write("pre.h", UNIT[3].1);
        project.touch("pre.h", 2_000_000);
        assert_eq!(make_known(&project, &cache, &line), HIT);
        assert!(project.read("all.gch") == first);
        // clang compares the times of what it read; gcc does not.
        project.touch("pre.h", 1_000_000);
        assert_eq!(make_known(&project, &cache, &line) == HIT, family.c == "gcc");
    }
}

/// A unit that takes `pre.h` precompiled, and the call that precompiles it.
fn pairs(family: Compilers) -> Vec<(String, String)> {
    let (c, cxx) = (family.c, family.cxx);
    let cmake =
        "-Winvalid-pch -Xclang -include-pch -Xclang pre.h.pch -Xclang -include -Xclang pre.h";
    match c {
        "gcc" => vec![
            (format!("{c} pre.h -o pre.h.gch"), format!("{c} -c a.c")),
            (format!("{c} pre.h -o pre.h.gch"), format!("{c} -c a.c -Winvalid-pch -MD")),
            (format!("{c} pre.h -o pre.h.gch -g"), format!("{c} -c a.c -g -MMD")),
            (format!("{c} pre.h -o pre.h.gch"), format!("{c} -c forced.c -include pre.h")),
            (format!("{c} pre.h -o pre.h.gch/c"), format!("{c} -c forced.c -include pre.h -MD")),
            (
                format!("{cxx} -x c++-header -include pre.h -o pre.h.gch -c stub.cxx"),
                format!("{cxx} -Winvalid-pch -include pre.h -x c++ -c forced.c -MD"),
            ),
        ],
        _ => vec![
            (
                format!("{c} -Xclang -fno-pch-timestamp pre.h -o pre.h.pch"),
                format!("{c} -c forced.c -include-pch pre.h.pch"),
            ),
            (
                format!("{c} -Xclang -fno-pch-timestamp pre.h -o pre.h.pch"),
                format!("{c} -c forced.c -include pre.h -MMD"),
            ),
            (
                format!(
                    "{cxx} -Xclang -fno-pch-timestamp -Xclang -emit-pch -Xclang -include \
                     -Xclang pre.h -x c++-header -o pre.h.pch -c stub.cxx"
                ),
                format!("{cxx} {cmake} -x c++ -c forced.c -MD"),
            ),
        ],
    }
}

#[test]
fn precompiled_header_made_and_used() {
    for family in compilers("precompiled_header_made_and_used") {
        for (maker, user) in pairs(family) {
            let (project, cache) = (Project::new(UNIT), Cache::new());
            project.write("pre.h.gch.keep", "");
            if maker.contains("pre.h.gch/") {
                project.write("pre.h.gch/keep", "");
                project.remove("pre.h.gch/keep");
            }
            make_known(&project, &cache, &maker);
            let trap = Trap { project, cache, call: user.as_str().into() };
            let trap = trap.sprung(HIT);
            // Of the same recipe, with other bytes under gcc.
            let again = Call::from(maker.as_str()).env("RCACHE_RECACHE", "true");
            trap.cache.compile(&trap.project, again).success();
            assert_eq!(trap.check(), HIT, "{maker}, {user}");
            // gcc takes it nevertheless; clang notices what has another size.
            let ending = trap.change(|project| {
                project.write("pre.h", "#define X 12345\n");
            });
            let known = if family.c == "gcc" { PCH } else { "compile_failed" };
            assert_eq!(ending, known, "{maker}, {user}");
            // Of another recipe.
            make_known(&trap.project, &trap.cache, &maker);
            assert_ne!(trap.check(), HIT, "{maker}, {user}");
            assert_eq!(trap.check(), HIT, "{maker}, {user}");
            trap.project.write("pre.h", UNIT[3].1);
            make_known(&trap.project, &trap.cache, &maker);
            assert_eq!(trap.check(), HIT, "{maker}, {user}");
        }
    }
}

#[test]
fn what_a_precompiled_header_hides() {
    // Nothing of this is in the dependency output of gcc.
    let inner = "#pragma once\nstatic inline int g(void) { return 1; }\n";
    let pre = "#include \"inner.h\"\n#define HAS(x) __has_include(x)\n#define NOW __TIME__\n";
    let unit = "#include \"pre.h\"\n#include \"inner.h\"\n#if HAS(\"sub/opt.h\")\nint o;\n#endif\n";
    let files = [("a.c", unit), ("inner.h", inner), ("pre.h", pre), ("sub/keep", "")];
    for family in compilers("what_a_precompiled_header_hides") {
        let (project, cache) = (Project::new(&files), Cache::new());
        let (maker, user) = match family.c {
            "gcc" => ("gcc pre.h -o pre.h.gch", "gcc -c a.c -MD"),
            _ => (
                "clang -Xclang -fno-pch-timestamp pre.h -o pre.h.pch",
                "clang -include-pch pre.h.pch -c a.c -MD",
            ),
        };
        make_known(&project, &cache, maker);
        let trap = Trap { project, cache, call: user.into() };
        if family.c == "clang" {
            trap.project.write("a.c", unit.replace("#include \"pre.h\"\n", ""));
        }
        let trap = trap.sprung(HIT);
        assert_ne!(trap.change(|project| project.write("sub/opt.h", "")), HIT);
        trap.undo(|project| project.remove("sub/opt.h"));
        // gcc compares it with what it knows, and now includes it.
        let other = "#pragma once\nint other;\n#define NOTHING______________________\n";
        assert_ne!(trap.change(|project| project.write("inner.h", other)), HIT);
        trap.undo(|project| project.write("inner.h", inner));
        // A time that a macro of the header shows.
        trap.project.write("a.c", "#include \"pre.h\"\nconst char *now = NOW;\n");
        if family.c == "clang" {
            trap.project.write("a.c", "const char *now = NOW;\n");
        }
        for _ in 0..2 {
            let before = trap.cache.stats();
            trap.cache.compile(&trap.project, user).success();
            assert!(!trap.cache.endings_since(&before).contains("hit"), "{}", family.c);
        }
    }
}

#[test]
fn times_in_a_precompiled_header() {
    if !have("clang") {
        return skip("times_in_a_precompiled_header", "clang is not installed");
    }
    let (project, cache) = (Project::new(UNIT), Cache::new());
    project.touch("pre.h", 2_000_000);
    let maker = "clang pre.h -o pre.h.pch";
    make_known(&project, &cache, maker);
    assert_eq!(make_known(&project, &cache, maker), HIT);
    let trap = Trap { project, cache, call: "clang -include-pch pre.h.pch -c forced.c".into() };
    let trap = trap.sprung(HIT);
    assert_eq!(trap.change(|project| project.touch("pre.h", 1_000_000)), "compile_failed");
    assert_ne!(make_known(&trap.project, &trap.cache, maker), HIT);
    trap.check();
    assert_eq!(trap.check(), HIT);
    trap.project.touch("pre.h", 2_000_000);
    assert_eq!(trap.check(), "compile_failed");
    assert_eq!(make_known(&trap.project, &trap.cache, maker), HIT);
    assert_eq!(trap.check(), HIT);
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
    // Where it is known what is in them, they count one by one.
    project.remove("pre.h.gch/two");
    project.remove("pre.h.gch/keep");
    make_known(&project, &cache, "gcc -O2 pre.h -o pre.h.gch/two");
    let trap = Trap { project, cache, call: "gcc -O2 -c a.c".into() }.sprung(HIT);
    let one = "gcc -O1 pre.h -o pre.h.gch/one";
    assert_ne!(trap.change(|project| drop(make_known(project, &trap.cache, one))), HIT);
    assert_eq!(trap.check(), HIT);
    trap.undo(|project| project.remove("pre.h.gch/one"));
}

#[test]
fn precompiled_header_by_option() {
    if !have("clang") {
        return skip("precompiled_header_by_option", "clang is not installed");
    }
    let project = Project::new(UNIT);
    make(&project, Compilers { c: "clang", cxx: "clang++" }, "pre.pch");
    let cache = Cache::new();
    for line in
        ["clang -c forced.c -include-pch pre.pch", "clang -c forced.c -include-pch pre.pch -MD"]
    {
        let (cold, warm) = same_as_compiler(&project, &cache, line);
        assert_eq!((cold.as_str(), warm.as_str()), (PCH, PCH), "{line}");
    }
    counted(&project, &cache, "clang -c forced.c -Xclang -include-pch -Xclang pre.pch", PCH);
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
