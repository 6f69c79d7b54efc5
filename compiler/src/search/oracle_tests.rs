//! Compares the probes with what the compilers really look for, as strace shows it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use super::disk::{folder_of, plain_spelling};
use super::{Bounds, FileRead, Precompiled, Probes, SearchPath, absent_probes};
use crate::file_memo::Stamp;
use crate::{depfile, scan};

/// For each recorded probe that the compiler made, this many that it did not: a manifest must stay
/// short.
const EXTRA_PROBES_RATIO_MAX: f64 = 0.5;

struct Case {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    source: &'static str,
    arguments: &'static [&'static str],
    forced: &'static [&'static str],
}

const NESTED: &[(&str, &str)] = &[
    (
        "src/a.c",
        "#include \"one.h\"\n#include <two.h>\n#include \"sub/three.h\"\n#include \"k.h\"\n",
    ),
    ("i1/k.h", ""),
    ("i2/one.h", "#include \"inner.h\"\n#include <two.h>\n"),
    ("i2/inner.h", "#include \"../i3/two.h\"\n"),
    ("i3/two.h", "#pragma once\n#ifdef NOT\n#include <not/there.h>\n#endif\n"),
    ("q/sub/three.h", "#include \"four.h\"\n#include <sys/none.h>\n"),
    ("q/four.h", ""),
    ("s/sys/none.h", "#include <after.h>\n"),
    ("d/after.h", ""),
    ("i1/two.h/folder", ""),
];

const NEXT: &[(&str, &str)] = &[
    ("a.c", "#include <w.h>\n#include \"w2.h\"\n#include <limits.h>\n"),
    ("i1/w.h", "#include_next <w.h>\n"),
    ("i3/w.h", "#include_next <w.h>\n"),
    ("i4/w.h", ""),
    ("i2/k.h", ""),
    ("i1/w2.h", "#include_next \"w2.h\"\n"),
    ("i4/w2.h", ""),
];

const OPERATORS: &[(&str, &str)] = &[
    (
        "a.c",
        "#if __has_include(<gone.h>) || __has_include(\"here.h\")\n#include <x.h>\n#endif\n\
         #if defined(__has_include) && __has_include(\"sub/gone.h\")\n#endif\n\
         #define OTHER __has_include(<tbb/none.h>)\n#if OTHER\n#endif\n",
    ),
    ("i2/here.h", ""),
    ("i2/x.h", "#if __has_include_next(<x.h>)\n#include_next <x.h>\n#endif\n"),
    ("i1/k.h", ""),
    ("i3/k.h", ""),
];

const COMPUTED: &[(&str, &str)] = &[
    (
        "src/a.c",
        "#define H \"x.h\"\n#define S(x) <x.h>\n#include H\n#include S(y)\n#include \"z.h\"\n",
    ),
    ("i2/x.h", "#define T \"deep/t.h\"\n#include T\n"),
    ("i3/deep/t.h", ""),
    ("i3/y.h", "#include \"deep/u.h\"\n"),
    ("i3/deep/u.h", ""),
    ("i1/z.h", ""),
];

const FORCED: &[(&str, &str)] = &[
    ("src/a.c", "#include \"x.h\"\n"),
    ("i2/f.h", "#include \"inner.h\"\n"),
    ("i3/inner.h", ""),
    ("i1/x.h", ""),
    ("m.h", "#define M 1\n"),
];

const LIBRARY: &[(&str, &str)] = &[
    (
        "a.cc",
        "#include <vector>\n#include <map>\n#include <string>\n#include <iostream>\n#include <memory>\n\
     #include <algorithm>\n#include <thread>\n#include <functional>\n#include <regex>\n\
     #include <cmath>\n#include <cstdio>\n#include <sys/socket.h>\n#include \"x.h\"\n",
    ),
    ("i2/x.h", "#include <unistd.h>\n"),
    ("i1/k.h", ""),
];

const SYSTEM_C: &[(&str, &str)] = &[(
    "a.c",
    "#include <stdio.h>\n#include <stdlib.h>\n#include <sys/stat.h>\n#include <limits.h>\n\
     #include <stdint.h>\n#include <math.h>\n#include <stdatomic.h>\n",
)];

const CASES: &[Case] = &[
    Case {
        name: "nested and shadowed",
        files: NESTED,
        source: "src/a.c",
        arguments: &[
            "-Ii1",
            "-Inone",
            "-Ii2",
            "-isystem",
            "s",
            "-iquote",
            "q",
            "-idirafter",
            "d",
            "-Ii3",
        ],
        forced: &[],
    },
    Case {
        name: "include_next",
        files: NEXT,
        source: "a.c",
        arguments: &["-Ii1", "-Ii2", "-Ii3", "-isystem", "i4"],
        forced: &[],
    },
    Case {
        name: "has_include",
        files: OPERATORS,
        source: "a.c",
        arguments: &["-Ii1", "-Ii2", "-iquote", "i3"],
        forced: &[],
    },
    Case {
        name: "computed",
        files: COMPUTED,
        source: "src/a.c",
        arguments: &["-Ii1", "-Ii2", "-isystem", "i3"],
        forced: &[],
    },
    Case {
        name: "forced",
        files: FORCED,
        source: "src/a.c",
        arguments: &["-Ii1", "-Ii2", "-iquote", "i3", "-include", "f.h", "-imacros", "m.h"],
        forced: &["f.h", "m.h"],
    },
    Case {
        name: "C++ library",
        files: LIBRARY,
        source: "a.cc",
        arguments: &["-Ii1", "-Ii2"],
        forced: &[],
    },
    Case { name: "C library", files: SYSTEM_C, source: "a.c", arguments: &["-I."], forced: &[] },
];

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Whether tracing works here; says why not.
fn can_trace() -> bool {
    match Command::new("strace").args(["-f", "-e", "trace=file", "true"]).output() {
        Ok(run) if run.status.success() => true,
        Ok(run) => {
            println!("skipped: strace: {}", String::from_utf8_lossy(&run.stderr));
            false
        }
        Err(error) => {
            println!("skipped: strace: {error}");
            false
        }
    }
}

fn search_path(compiler: &str, case: &Case, root: &Path) -> SearchPath {
    let language = if case.source.ends_with(".cc") { "c++" } else { "c" };
    let plain: Vec<&str> = without_forced(case.arguments);
    let run = Command::new(compiler)
        .args(plain)
        .args(["-E", "-v", "-x", language, "/dev/null"])
        .env("LC_ALL", "C")
        .current_dir(root)
        .output()
        .unwrap();
    SearchPath::parse(&run.stderr).unwrap()
}

fn without_forced(arguments: &[&'static str]) -> Vec<&'static str> {
    let mut kept = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if matches!(*argument, "-include" | "-imacros") {
            rest.next();
        } else {
            kept.push(*argument);
        }
    }
    kept
}

/// The paths that some process looked for in vain, by any call but `readlink`, which tells nothing
/// of what the compiler would read.
fn failed_lookups(trace: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut paths = BTreeSet::new();
    for line in trace.split(|byte| *byte == b'\n') {
        let is_failure = memchr::memmem::find(line, b"= -1 ENO").is_some();
        if !is_failure || memchr::memmem::find(line, b"readlink(").is_some() {
            continue;
        }
        let mut parts = line.split(|byte| *byte == b'"');
        if let (Some(_), Some(path)) = (parts.next(), parts.next()) {
            paths.insert(plain_spelling(path));
        }
    }
    paths
}

fn run_traced(compiler: &str, case: &Case, root: &Path) -> BTreeSet<Vec<u8>> {
    let trace = root.join("trace");
    let run = Command::new("strace")
        .args(["-f", "-s", "4096", "-e", "trace=file", "-o"])
        .arg(&trace)
        .arg(compiler)
        .args(case.arguments)
        .args(["-c", case.source, "-o", "out.o", "-MD", "-MF", "out.d"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}: {}", case.name, String::from_utf8_lossy(&run.stderr));
    failed_lookups(&fs::read(&trace).unwrap())
}

fn files_read(root: &Path) -> Vec<FileRead> {
    let rule = fs::read(root.join("out.d")).unwrap();
    let read = |path: PathBuf| FileRead {
        scan: Arc::new(scan::scan(&fs::read(root.join(&path)).unwrap())),
        stamp: Stamp::of(&rustix::fs::stat(root.join(&path)).unwrap()),
        path,
    };
    depfile::inputs(&rule).unwrap().into_iter().map(read).collect()
}

/// Folders of the search itself, and those of the files read, by plain spelling.
fn searched_folders(search: &SearchPath, files: &[FileRead]) -> BTreeSet<Vec<u8>> {
    let listed = search.quote.iter().chain(&search.angle);
    let listed = listed.map(|path| plain_spelling(path.as_os_str().as_bytes()));
    let own = files.iter().map(|file| folder_of(file.path.as_os_str().as_bytes()).to_vec());
    listed.chain(own).collect()
}

fn is_below(path: &[u8], folders: &BTreeSet<Vec<u8>>) -> bool {
    let mut folder = folder_of(path);
    loop {
        if folders.contains(folder) {
            return true;
        }
        if folder.is_empty() || folder == b"/" {
            return false;
        }
        folder = folder_of(folder);
    }
}

/// Files that the compilers look for and that are no includes: of the driver, linker and loader.
fn is_tool_file(path: &[u8]) -> bool {
    !path.ends_with(b".h")
        && !path.ends_with(b".gch")
        && !path.ends_with(b".pch")
        && memchr::memmem::find(path, b"/c++/").is_none()
}

/// Returns the numbers of probes recorded and of those that the compiler did not make.
fn compare(compiler: &str, case: &Case) -> (usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    write(&root, case.files);
    let search = search_path(compiler, case, &root);
    let lookups = run_traced(compiler, case, &root);
    let files = files_read(&root);
    let forced: Vec<PathBuf> = case.forced.iter().map(PathBuf::from).collect();
    let probes = absent_probes(
        &files,
        &forced,
        &search,
        &root,
        Bounds::from(Instant::now()),
        Precompiled::Sought,
        &mut |path: &Path| rustix::fs::stat(root.join(path)).ok(),
    )
    .unwrap();
    let recorded = recorded_paths(&probes);
    let folders = searched_folders(&search, &files);
    for path in &lookups {
        if !is_below(path, &folders) || is_tool_file(path) {
            continue;
        }
        let mut part = path.as_slice();
        while !part.is_empty() && part != b"/" && !recorded.contains(part) {
            part = folder_of(part);
        }
        let shown = String::from_utf8_lossy(path);
        assert!(recorded.contains(part), "{compiler}, {}: {shown} is not recorded", case.name);
    }
    let made = |path: &&Vec<u8>| {
        let below = [path.as_slice(), b"/"].concat();
        lookups.contains(*path)
            || lookups.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below))
    };
    let extra: Vec<_> = recorded.iter().filter(|path| !made(path)).collect();
    for path in extra.iter().take(4) {
        println!("  {compiler}, {}: only recorded: {}", case.name, String::from_utf8_lossy(path));
    }
    (recorded.len(), extra.len())
}

fn recorded_paths(probes: &Probes) -> BTreeSet<Vec<u8>> {
    let paths = probes.absent_paths();
    paths.map(|path| plain_spelling(path.as_os_str().as_bytes())).collect()
}

#[test]
fn every_failed_lookup_of_the_compilers_is_recorded() {
    if !can_trace() {
        return;
    }
    let mut sum = (0, 0);
    for compiler in ["gcc", "clang"] {
        if Command::new(compiler).arg("--version").output().is_err() {
            println!("skipped: {compiler} is not there");
            continue;
        }
        for case in CASES {
            let (recorded, extra) = compare(compiler, case);
            println!("{compiler}, {}: {recorded} recorded, {extra} not made", case.name);
            sum = (sum.0 + recorded, sum.1 + extra);
        }
    }
    let ratio = sum.1 as f64 / (sum.0 - sum.1) as f64;
    println!("{} recorded, of which {} not made: {ratio:.2} for each that was", sum.0, sum.1);
    assert!(ratio <= EXTRA_PROBES_RATIO_MAX);
}
