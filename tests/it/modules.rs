//! C++20 modules as CMake compiles them with gcc: plain units, importers, and the interfaces themselves.

use crate::support::{Cache, Project, Trap, check, have, skip};

const MODULES: &str = "could_not_use_modules";
const HIT: &str = "direct_cache_hit";

const FILES: &[(&str, &str)] = &[
    ("plain.cc", "#include <cstddef>\n#include \"inc/z.h\"\nstd::size_t plain() { return z(); }\n"),
    ("inc/z.h", "inline int z() { return 1; }\n"),
    ("m.cc", "export module m;\nexport inline int f() { return 1; }\n"),
    ("b.cc", "export module b;\nimport m;\nexport inline int g() { return f(); }\n"),
    ("impl.cc", "module b;\nint hidden() { return g(); }\n"),
    ("use.cc", "import b;\nint u() { return g(); }\n"),
    ("all.modmap", "$root .\nm m.gcm\nb out/b.gcm\n"),
    ("empty.modmap", ""),
    ("out/keep", ""),
];

/// A g++ that writes what CMake asks for: 14 and later.
fn compiler(test: &str) -> Option<&'static str> {
    let found = ["g++-14", "g++-15", "g++-16"].into_iter().find(|name| have(name));
    if found.is_none() {
        skip(test, "g++ 14 or later is not installed");
    }
    found
}

fn line(compiler: &str, unit: &str, map: &str) -> String {
    format!(
        "{compiler} -std=gnu++20 -MD -MT {unit}.o -MF {unit}.o.d -fmodules-ts \
         -fmodule-mapper={map} -fdeps-format=p1689r5 -x c++ -o {unit}.o -c {unit}.cc"
    )
}

/// The interfaces hold the second of their compile, unless that is fixed.
fn project(compiler: &str, interfaces: &[&str]) -> (Project, Cache) {
    let project = Project::new(FILES);
    for unit in interfaces {
        project.plain(line(compiler, unit, "all.modmap").as_str()).success();
        project.remove(&format!("{unit}.o"));
    }
    (project, Cache::new())
}

#[test]
fn plain_units_of_a_project_with_modules() {
    let Some(compiler) = compiler("plain_units_of_a_project_with_modules") else { return };
    for map in ["all.modmap", "empty.modmap"] {
        let (project, cache) = project(compiler, &[]);
        let call = line(compiler, "plain", map);
        let trap = Trap { project, cache, call: call.as_str().into() }.sprung(HIT);
        let header = |project: &Project| project.write("inc/z.h", FILES[1].1);
        assert_ne!(trap.change(|project| project.write("inc/z.h", "long z();\n")), HIT);
        trap.undo(header);
        // gcc asks for `,/inc/z.h.gcm` before it includes the header.
        for folder in [",/inc/z.h.gcm", "usr/include/keep"] {
            assert_ne!(trap.change(|project| project.write(folder, "")), HIT, "{folder}");
            let top = folder.split('/').next().unwrap();
            trap.undo(|project| std::fs::remove_dir_all(project.path(top)).unwrap());
        }
        let moved = |project: &Project| project.write(map, "m other.gcm\n");
        assert_ne!(trap.change(moved), HIT);
    }
}

#[test]
fn what_imports_a_module_follows_it() {
    let Some(compiler) = compiler("what_imports_a_module_follows_it") else { return };
    for unit in ["use", "impl"] {
        let (project, cache) = project(compiler, &["m", "b"]);
        let call = line(compiler, unit, "all.modmap");
        let trap = Trap { project, cache, call: call.as_str().into() }.sprung(HIT);
        // The module behind the module that is imported.
        let (m, b) = (trap.project.read("m.gcm"), trap.project.read("out/b.gcm"));
        let remake = |project: &Project, text: &str| {
            project.write("m.cc", text);
            for interface in ["m", "b"] {
                project.plain(line(compiler, interface, "all.modmap").as_str()).success();
                project.remove(&format!("{interface}.o"));
            }
        };
        let other = "export module m;\nexport inline int f() { return 2; }\n";
        assert_ne!(trap.change(|project| remake(project, other)), HIT);
        trap.undo(|project| {
            project.write("m.gcm", &m);
            project.write("out/b.gcm", &b);
        });
        // CMake writes its lines in any order.
        trap.undo(|project| project.write("all.modmap", "$root .\nb out/b.gcm\nm m.gcm\n"));
        // Another file of the same name.
        let (old, new) = ("$root .\nm m.gcm\nb out/b.gcm\n", "$root .\nm n.gcm\nb out/b.gcm\n");
        assert_ne!(
            trap.change(|project| {
                project.write("all.modmap", new);
                project.write("n.gcm", &m);
            }),
            HIT
        );
        trap.undo(|project| project.write("all.modmap", old));
        assert_eq!(trap.change(|project| project.remove("m.gcm")), "compile_failed");
        trap.undo(|project| project.write("m.gcm", &m));
    }
}

#[test]
fn interfaces_are_outputs() {
    let Some(compiler) = compiler("interfaces_are_outputs") else { return };
    let epoch =
        |call: String| crate::support::Call::from(call.as_str()).env("SOURCE_DATE_EPOCH", "9");
    for (unit, file) in [("m", "m.gcm"), ("b", "out/b.gcm")] {
        let (project, cache) = project(compiler, &["m"]);
        let call = epoch(line(compiler, unit, "all.modmap"));
        assert_eq!(check(&project, &cache, call.clone()), "cache_miss");
        project.write(file, "stale");
        assert_eq!(check(&project, &cache, call.clone()), HIT);
        // An interface that a macro takes away.
        let text = "#ifdef NOT\nexport module m;\n#else\nexport module b;\n#endif\n";
        project.write(&format!("{unit}.cc"), text);
        for _ in 0..2 {
            assert_eq!(check(&project, &cache, call.clone()), MODULES);
        }
        let text = format!("#ifdef NOT\nexport module {unit};\n#endif\nint x;\n");
        project.write(&format!("{unit}.cc"), text);
        project.remove(file);
        for _ in 0..2 {
            assert!(!check(&project, &cache, call.clone()).contains("hit"));
        }
    }
}

#[test]
fn modules_that_are_not_understood() {
    let Some(compiler) = compiler("modules_that_are_not_understood") else { return };
    let (project, cache) = project(compiler, &["m"]);
    let options = "-std=gnu++20 -fmodules-ts -MD -fdeps-format=p1689r5 -x c++ -c";
    project.write("header.modmap", "$root .\n./inc/z.h z.gcm\n");
    project.write("unit.cc", "import \"inc/z.h\";\nint x = z();\n");
    for call in [
        format!("{compiler} {options} plain.cc"),
        format!("{compiler} {options} plain.cc -fmodule-mapper=header.modmap"),
        format!("{compiler} {options} unit.cc -fmodule-mapper=empty.modmap"),
        format!("{compiler} -std=gnu++20 -fmodules-ts -fmodule-mapper=all.modmap -MD -c m.cc"),
        format!("{compiler} {options} plain.cc -fmodule-mapper=|cat"),
    ] {
        for _ in 0..2 {
            let ending = check(&project, &cache, call.as_str());
            assert!([MODULES, "compile_failed"].contains(&ending.as_str()), "{call}: {ending}");
        }
    }
}
