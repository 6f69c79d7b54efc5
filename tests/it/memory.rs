//! What a unit reads decides how much the daemon does for it: that has an end, in time and in memory.

use crate::support::{Cache, Call, Project, Trap, compilers, skip, wait_until};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the daemon may take at its peak, whatever it is given here.
const PEAK_KB_MAX: u64 = 256 << 10;

/// The peak of the cache's daemon.
#[track_caller]
fn peak_kb(cache: &Cache) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", cache.daemon())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// `#pragma once`, and an include of each of the others by `../`.
fn leads_back(others: &[&str]) -> String {
    let includes = others.iter().map(|other| format!("#include \"../{other}\"\n"));
    format!("#pragma once\n{}", includes.collect::<String>())
}

#[test]
fn headers_that_include_one_another_by_parent_folders_are_direct() {
    for family in compilers("headers_that_include_one_another_by_parent_folders_are_direct") {
        let (ab, ba) = (leads_back(&["b/y.h", "b/w.h"]), leads_back(&["a/x.h", "a/z.h"]));
        let two_folders = Project::new(&[
            ("unit.c", "#include \"a/x.h\"\nint i;\n"),
            ("a/x.h", &ab),
            ("a/z.h", &format!("{ab}// not equal\n")),
            ("b/y.h", &ba),
            ("b/w.h", &format!("{ba}// not equal\n")),
        ]);
        let names = ["a/a.h", "b/b.h", "c/c.h", "d/d.h"];
        let texts = names.map(|own| {
            leads_back(&names.into_iter().filter(|name| *name != own).collect::<Vec<_>>())
        });
        let mut files: Vec<_> = names.into_iter().zip(texts.iter().map(String::as_str)).collect();
        files.push(("unit.c", "#include \"a/a.h\"\nint i;\n"));
        let four_folders = Project::new(&files);
        for project in [two_folders, four_folders] {
            let cache = Cache::new();
            let line = format!("{} -c unit.c", family.c);
            assert_eq!(cache.ending(&project, line.as_str()), "cache_miss");
            assert_eq!(cache.ending(&project, line.as_str()), "direct_cache_hit");
            assert!(peak_kb(&cache) < PEAK_KB_MAX, "{} kB", peak_kb(&cache));
        }
    }
}

/// The second spelling of a folder leads to another folder later, where a header says more.
#[test]
fn another_spelling_of_a_folder_becomes_another_folder() {
    for family in compilers("another_spelling_of_a_folder_becomes_another_folder") {
        let project = Project::new(&[
            ("unit.c", "#include \"a/x.h\"\n#include \"link/../b/y.h\"\nint i;\n"),
            ("a/x.h", "#pragma once\n#include \"../b/y.h\"\n"),
            ("b/y.h", "#pragma once\nint y;\n"),
            ("deep/one/k.h", ""),
            ("deep/other/y.h", "#pragma once\nint other;\n"),
        ]);
        project.symlink("deep/one", "link");
        project.symlink("../b", "deep/b");
        let line = format!("{} -c unit.c", family.c);
        let trap = Trap::prepared(project, line).sprung("direct_cache_hit");
        trap.change(|project| {
            project.remove("deep/b");
            project.symlink("other", "deep/b");
        });
        trap.undo(|project| {
            project.remove("deep/b");
            project.symlink("../b", "deep/b");
        });
    }
}

/// What was looked for in vain through a second spelling appears under the first.
#[test]
fn what_was_missed_under_another_spelling_appears() {
    for family in compilers("what_was_missed_under_another_spelling_appears") {
        let text = "#pragma once\n#include \"../b/y.h\"\n";
        let trap = Trap::new(
            &[
                ("unit.c", "#include \"a/x.h\"\n"),
                ("a/x.h", text),
                ("b/y.h", "#pragma once\n#include \"../a/x.h\"\n#include \"../a/z.h\"\n"),
                ("i/a/z.h", "int one;\n"),
                ("a/k.h", ""),
                ("i/k/k.h", ""),
            ],
            format!("{} -c unit.c -I i/k", family.c),
        );
        trap.change(|project| project.write("a/z.h", "int two;\n"));
        trap.undo(|project| project.remove("a/z.h"));
    }
}

#[test]
fn a_unit_that_asks_too_much_is_found_by_its_text_and_explained() {
    for family in compilers("a_unit_that_asks_too_much_is_found_by_its_text_and_explained") {
        let source = format!("#if 0\n#include \"{}x.h\"\n#endif\nint i;\n", "d/".repeat(3_000));
        let project = Project::new(&[("unit.c", &source)]);
        let cache = Cache::new();
        let line = format!("{} -c unit.c", family.c);
        assert!(cache.compile(&project, line.as_str()).ok());
        assert_eq!(cache.ending(&project, line.as_str()), "preprocessed_cache_hit");
        let explained = cache.compile(&project, Call::from(format!("explain {line}"))).out();
        let why = "to follow the includes of unit.c takes more";
        assert!(explained.contains(why), "{explained}");
    }
}

#[test]
fn the_daemon_goes_before_the_users_programs() {
    let (cache, project) = (Cache::new(), Project::new(&[("unit.c", "int i;\n")]));
    assert!(cache.compile(&project, "gcc -c unit.c").ok());
    let of = |process: &str| -> i32 {
        let text = fs::read_to_string(format!("/proc/{process}/oom_score_adj")).unwrap();
        text.trim().parse().unwrap()
    };
    let daemon = cache.daemon().to_string();
    assert!(of(&daemon) >= 900.max(of("self")));
    let limits = fs::read_to_string(format!("/proc/{daemon}/limits")).unwrap();
    let data = limits.lines().find_map(|line| line.strip_prefix("Max data size")).unwrap();
    assert_ne!(data.split_whitespace().next(), Some("unlimited"));
}

/// Main headers of one library, an even choice of them.
fn headers(folder: &str, sample: usize, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    all.retain(|path| path.is_file() && wanted(&path.file_name().unwrap().to_string_lossy()));
    all.sort();
    let step = all.len().div_ceil(sample).max(1);
    all.into_iter().step_by(step).collect()
}

fn is_hpp(name: &str) -> bool {
    name.ends_with(".hpp")
}

/// As Qt names its classes.
fn is_class(name: &str) -> bool {
    name.starts_with('Q') && !name.contains('.')
}

/// One unit for each main header, with the options that the library asks for.
#[test]
fn a_unit_for_each_main_header_stays_within_bounds() {
    let what = "a_unit_for_each_main_header_stays_within_bounds";
    let qt5 = "-fPIC -I/usr/include/x86_64-linux-gnu/qt5";
    let qt6 = "-fPIC -std=c++17 -I/usr/include/x86_64-linux-gnu/qt6";
    let libraries = [
        ("glm", 8, "/usr/include/glm", is_hpp as fn(&str) -> bool, "-DGLM_ENABLE_EXPERIMENTAL"),
        ("xsimd", 1, "/usr/include/xsimd", is_hpp, "-march=haswell"),
        ("boost", 40, "/usr/include/boost", is_hpp, "-w"),
        ("Qt 5 core", 5, "/usr/include/x86_64-linux-gnu/qt5/QtCore", is_class, qt5),
        ("Qt 5 gui", 3, "/usr/include/x86_64-linux-gnu/qt5/QtGui", is_class, qt5),
        ("Qt 6 core", 5, "/usr/include/x86_64-linux-gnu/qt6/QtCore", is_class, qt6),
        ("Qt 6 gui", 3, "/usr/include/x86_64-linux-gnu/qt6/QtGui", is_class, qt6),
    ];
    let families = compilers(what);
    let cache = Cache::new();
    for (name, sample, folder, wanted, options) in libraries {
        let headers = headers(folder, sample, wanted);
        if headers.is_empty() {
            skip(what, &format!("the headers of {name} are not installed"));
        }
        let (mut direct, mut by_text, mut others) = (0, 0, 0);
        for (at, header) in headers.iter().enumerate() {
            let Some(family) = families.get(at % families.len().max(1)) else { continue };
            match second_compile(&cache, family.cxx, header, options).as_deref() {
                Some("direct_cache_hit") => direct += 1,
                Some("preprocessed_cache_hit") => by_text += 1,
                Some(ending) => panic!("{}: {ending}", header.display()),
                None => others += 1,
            }
        }
        println!("{name}: {direct} direct, {by_text} by their text, {others} do not compile");
    }
    if cache.daemons().len() == 1 {
        assert!(peak_kb(&cache) < PEAK_KB_MAX, "{} kB", peak_kb(&cache));
    }
}

/// How the second compile of a unit with one header ends; `None` where it does not compile.
fn second_compile(cache: &Cache, cxx: &str, header: &Path, options: &str) -> Option<String> {
    let source = format!("#include <{}>\nint i;\n", header.display());
    let project = Project::new(&[("unit.cpp", &source)]);
    let folders = header.parent().unwrap().parent().unwrap().display().to_string();
    let inner = header.parent().unwrap().display();
    let line = format!("{cxx} -c unit.cpp {options} -I{folders} -I{inner}");
    cache.compile(&project, line.as_str()).ok().then(|| cache.ending(&project, line.as_str()))
}

/// Many headers in many folders, edited again and again: what results share is kept and read once.
#[test]
fn many_headers_in_many_folders_stay_small() {
    const HEADERS: usize = 400;
    const FOLDERS: usize = 20;
    const EDITS: usize = 12;
    let header = |n: usize| format!("i{}/h{n}.h", n % FOLDERS);
    let mut files: Vec<(String, String)> =
        (0..HEADERS).map(|n| (header(n), format!("#pragma once\nextern int v{n};\n"))).collect();
    let includes: String = (0..HEADERS).map(|n| format!("#include <h{n}.h>\n")).collect();
    for unit in 0..8 {
        files.push((format!("a{unit}.c"), format!("{includes}int z{unit};\n")));
    }
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let (project, cache) = (Project::new(&files), Cache::new());
    let folders: String = (0..FOLDERS).map(|n| format!(" -Ii{n}")).collect();
    let line = |unit: usize| format!("gcc -c a{unit}.c{folders}");
    for edit in 0..EDITS {
        project.write(&header(HEADERS - 1), format!("extern int edit{edit};\n"));
        std::thread::scope(|scope| {
            for unit in 0..if edit == 0 { 8 } else { 1 } {
                let (cache, project, line) = (&cache, &project, line(unit));
                scope.spawn(move || assert!(cache.compile(project, line.as_str()).ok()));
            }
        });
    }
    // Each earlier state is still known.
    project.write(&header(HEADERS - 1), "extern int edit0;\n");
    assert_eq!(cache.ending(&project, line(0).as_str()), "direct_cache_hit");
    assert!(peak_kb(&cache) < PEAK_KB_MAX, "{} kB", peak_kb(&cache));
    cache.stop();
    let largest = cache.store_files().iter().map(|file| fs::metadata(file).unwrap().len()).max();
    assert!(largest.unwrap() < 100_000, "a manifest of {} bytes", largest.unwrap());
}

/// Large objects go through files: neither storing nor fetching one holds it in memory.
#[test]
fn large_objects_are_not_held_in_memory() {
    const OBJECTS: usize = 4;
    const BYTES: usize = 48 << 20;
    let text = |n: usize| {
        format!("asm(\".section .rodata\\n.incbin \\\"blob\\\"\\n.text\");\nint x{n};\n")
    };
    let mut state = 1u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 32).to_le_bytes()
    });
    let noise: Vec<u8> = noise.take(BYTES / 8).flatten().collect();
    let project = Project::new(&[]);
    project.write("blob", &noise);
    (0..OBJECTS).for_each(|n| project.write(&format!("s{n}.c"), text(n)));
    let cache = Cache::new();
    let all_at_once = || {
        std::thread::scope(|scope| {
            for n in 0..OBJECTS {
                let (cache, project) = (&cache, &project);
                scope.spawn(move || {
                    let line = format!("gcc -c s{n}.c");
                    assert!(cache.compile(project, line.as_str()).ok());
                });
            }
        });
    };
    all_at_once();
    let compiled: Vec<_> = (0..OBJECTS).map(|n| project.read(&format!("s{n}.o"))).collect();
    // Each is stored after its launcher has ended.
    let all_stored = || cache.stats().0["counters"]["cache_miss"] == OBJECTS;
    wait_until("all objects are stored", Duration::from_secs(120), all_stored);
    let before = cache.stats();
    all_at_once();
    let endings = cache.endings_since(&before);
    assert_eq!(endings, format!("direct_cache_hit*{OBJECTS}"));
    for (n, object) in compiled.iter().enumerate() {
        assert!(project.read(&format!("s{n}.o")) == *object, "s{n}.o differs");
    }
    let most = (BYTES >> 10) as u64;
    assert!(peak_kb(&cache) < most, "{} kB", peak_kb(&cache));
}
