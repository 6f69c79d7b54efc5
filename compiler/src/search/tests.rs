//! Tests of the search list and of the probes, on small folders made for each test.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::{Bounds, FileRead, Opaque, Precompiled, Probes, SearchPath, absent_probes};
use crate::file_memo::Stamp;
use crate::scan;

/// A folder with files, and what a compile in it read.
struct Project {
    folder: tempfile::TempDir,
    search: SearchPath,
    forced: Vec<PathBuf>,
    bounds: Bounds,
    precompiled: Precompiled<'static>,
}

impl Project {
    fn new(files: &[(&str, &str)]) -> Project {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let bounds = Bounds::from(Instant::now());
        let (search, forced) = (SearchPath::default(), Vec::new());
        Project { folder, search, forced, bounds, precompiled: Precompiled::Sought }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    fn quote(mut self, folders: &[&str]) -> Project {
        self.search.quote = folders.iter().map(PathBuf::from).collect();
        self
    }

    fn angle(mut self, folders: &[&str]) -> Project {
        self.search.angle = folders.iter().map(PathBuf::from).collect();
        self
    }

    fn probes(&self, read: &[&str]) -> Result<Probes, Opaque> {
        let root = self.root();
        let files: Vec<FileRead> = read
            .iter()
            .map(|name| FileRead {
                path: PathBuf::from(name),
                scan: Arc::new(scan::scan(&fs::read(root.join(name)).unwrap())),
                stamp: Stamp::of(&rustix::fs::stat(root.join(name)).unwrap()),
            })
            .collect();
        let stat = &mut |path: &Path| rustix::fs::stat(root.join(path)).ok();
        let (forced, precompiled) = (&self.forced, self.precompiled);
        absent_probes(&files, forced, &self.search, &root, self.bounds, precompiled, stat)
    }

    fn absent(&self, read: &[&str]) -> Vec<String> {
        let probes = self.probes(read).unwrap();
        let mut paths: Vec<String> =
            probes.absent_paths().map(|path| path.to_str().unwrap().to_owned()).collect();
        paths.retain(|path| !path.contains("stdc-predef.h") && !path.ends_with(".gch"));
        paths.sort();
        paths
    }
}

#[test]
fn earlier_folders_of_an_include_are_recorded() {
    let project = Project::new(&[
        ("src/a.c", "#include \"x.h\"\n#include <y.h>\n#include <inactive.h>\n"),
        ("two/x.h", ""),
        ("two/y.h", ""),
        ("one/other.h", ""),
    ])
    .quote(&["q"])
    .angle(&["one", "two", "three"]);
    fs::create_dir_all(project.root().join("q")).unwrap();
    fs::create_dir_all(project.root().join("three")).unwrap();
    let absent = project.absent(&["src/a.c", "two/x.h", "two/y.h"]);
    assert_eq!(absent, ["one/x.h", "one/y.h", "q/x.h", "src/x.h"]);
}

#[test]
fn one_missing_folder_stands_for_all_names_below_it() {
    let project = Project::new(&[
        ("a.c", "#include <lib/x.h>\n#include <lib/y.h>\n#include <lib/sub/z.h>\n"),
        ("two/lib/x.h", ""),
        ("two/lib/y.h", ""),
        ("two/lib/sub/z.h", ""),
        ("one/k.h", ""),
    ])
    .angle(&["one", "two"]);
    let absent = project.absent(&["a.c", "two/lib/x.h", "two/lib/y.h", "two/lib/sub/z.h"]);
    assert_eq!(absent, ["one/lib"]);
}

#[test]
fn a_folder_of_the_name_is_passed_over_and_recorded() {
    let project = Project::new(&[("a.c", "#include <v>\n"), ("two/v", ""), ("one/v/k.h", "")])
        .angle(&["one", "two"]);
    let probes = project.probes(&["a.c", "two/v"]).unwrap();
    assert_eq!(probes.directories, [PathBuf::from("one/v")]);
}

#[test]
fn include_next_counts_every_place_up_to_the_last_file_read() {
    let project = Project::new(&[
        ("a.c", "#include <x.h>\n"),
        ("one/x.h", "#include_next <x.h>\n"),
        ("two/k.h", ""),
        ("three/x.h", ""),
    ])
    .angle(&["one", "two", "three"]);
    let absent = project.absent(&["a.c", "one/x.h", "three/x.h"]);
    assert!(absent.contains(&"two/x.h".to_owned()), "{absent:?}");
}

#[test]
fn has_include_records_absence_and_presence() {
    let text = "#if __has_include(<gone.h>)\n#endif\n#if __has_include(\"there.h\")\n#endif\n";
    let project =
        Project::new(&[("a.c", text), ("two/there.h", ""), ("one/k.h", "")]).angle(&["one", "two"]);
    let probes = project.probes(&["a.c"]).unwrap();
    assert_eq!(probes.present, [PathBuf::from("two/there.h")]);
    let absent = project.absent(&["a.c"]);
    assert_eq!(absent, ["one/gone.h", "one/there.h", "there.h", "two/gone.h"]);
}

#[test]
fn a_second_name_of_a_file_read_becomes_an_input() {
    let project = Project::new(&[
        ("a.c", "#include \"x.h\"\n#include \"alias/x.h\"\n"),
        ("x.h", "#ifndef X\n#define X\n#endif\n"),
        ("alias/k.h", ""),
    ]);
    std::os::unix::fs::symlink("../x.h", project.root().join("alias/x.h")).unwrap();
    let probes = project.probes(&["a.c", "x.h"]).unwrap();
    assert_eq!(probes.inputs, [PathBuf::from("alias/x.h")]);
}

#[test]
fn a_computed_include_counts_all_ways_to_each_file() {
    let project = Project::new(&[
        ("src/a.c", "#define H \"x.h\"\n#include H\n"),
        ("two/x.h", ""),
        ("one/k.h", ""),
    ])
    .angle(&["one", "two"]);
    let absent = project.absent(&["src/a.c", "two/x.h"]);
    assert!(absent.contains(&"src/x.h".to_owned()), "{absent:?}");
    assert!(absent.contains(&"one/x.h".to_owned()), "{absent:?}");
}

#[test]
fn forced_includes_are_sought_from_the_working_directory() {
    let mut project =
        Project::new(&[("src/a.c", ""), ("two/f.h", ""), ("one/k.h", "")]).angle(&["one", "two"]);
    project.forced = vec![PathBuf::from("f.h")];
    let probes = project.probes(&["src/a.c", "two/f.h"]).unwrap();
    let absent: Vec<PathBuf> = probes.absent_paths().collect();
    for expected in ["f.h", "f.h.gch", "f.h.pch", "one/f.h", "one/f.h.gch", "two/f.h.gch"] {
        assert!(absent.contains(&PathBuf::from(expected)), "{expected} in {absent:?}");
    }
    assert_eq!(project.probes(&["src/a.c"]), Err(Opaque::ForcedInclude(PathBuf::from("f.h"))));
}

#[test]
fn a_precompiled_header_counts() {
    let mut project = Project::new(&[
        ("a.c", "#include \"x.h\"\n#include \"y.h\"\n#include \"z.h\"\n"),
        ("x.h", ""),
        ("x.h.gch", "1"),
        ("y.h", "int y;\n"),
        ("inc/z.h", "12"),
        ("inc/z.h.gch/one", ""),
    ])
    .angle(&["inc"]);
    let probes = project.probes(&["a.c"]).unwrap();
    assert_eq!(probes.precompiled, [PathBuf::from("x.h.gch")]);
    assert_eq!(probes.precompiled_folders, [PathBuf::from("inc/z.h.gch")]);
    assert!(probes.inputs.is_empty());
    let absent: Vec<PathBuf> = probes.absent_paths().collect();
    assert!(absent.contains(&PathBuf::from("z.h")) && absent.contains(&PathBuf::from("z.h.gch")));
    assert_eq!(project.probes(&["a.c", "x.h"]).unwrap().precompiled, probes.precompiled);
    // What is in it is not read.
    for (sizes, known) in [(None, vec!["x.h", "y.h", "inc/z.h"]), (Some(7), vec!["y.h"])] {
        let sizes: Option<&'static HashSet<u64>> =
            sizes.map(|size| &*Box::leak(Box::new(HashSet::from([size]))));
        project.precompiled = Precompiled::Holding(sizes);
        let mut inputs = project.probes(&["a.c"]).unwrap().inputs;
        inputs.sort();
        let mut known: Vec<PathBuf> = known.iter().map(PathBuf::from).collect();
        known.sort();
        assert_eq!(inputs, known);
    }
    project.precompiled = Precompiled::NotSought;
    assert!(project.probes(&["a.c", "x.h"]).unwrap().precompiled.is_empty());
}

#[test]
fn opaque_sources_are_refused() {
    for text in [
        "#define HAVE(x) __has_include(x)\n",
        "#embed \"data\"\n",
        "#pragma GCC dependency \"y\"\n",
        "import foo;\n",
        "#define H \"../x.h\"\n#include H\n",
        "#define P __has_include(<tbb/tbb.h>)\n#define tbb other\n",
    ] {
        assert!(Project::new(&[("a.c", text)]).probes(&["a.c"]).is_err(), "{text}");
    }
}

#[test]
fn missing_and_duplicate_folders_are_recorded() {
    let mut project = Project::new(&[("a.c", ""), ("one/k.h", "")]).angle(&["one"]);
    std::os::unix::fs::symlink("one", project.root().join("copy")).unwrap();
    project.search.missing = vec![PathBuf::from("none/at/all")];
    project.search.duplicates = vec![PathBuf::from("copy"), PathBuf::from("one")];
    let probes = project.probes(&["a.c"]).unwrap();
    assert!(probes.absent_paths().any(|path| path == Path::new("none")));
    assert_eq!(probes.same_folders, [(PathBuf::from("copy"), project.root().join("one"))]);
    fs::create_dir_all(project.root().join("none/at/all")).unwrap();
    assert_eq!(project.probes(&["a.c"]), Err(Opaque::Changed(PathBuf::from("none/at/all"))));
}

#[test]
fn the_list_of_gcc_is_read() {
    let text = b"Using built-in specs.\n cc1 -E\nignoring nonexistent directory \"nope\"\n\
ignoring duplicate directory \"/usr/include\"\n\
  as it is a non-system directory that duplicates a system directory\n\
#include \"...\" search starts here:\n q\n#include <...> search starts here:\n .\n /usr/include\n\
End of search list.\nmore\n";
    let search = SearchPath::parse(text).unwrap();
    assert_eq!(search.quote, [PathBuf::from("q")]);
    assert_eq!(search.angle, [PathBuf::from("."), PathBuf::from("/usr/include")]);
    assert_eq!(search.missing, [PathBuf::from("nope")]);
    assert_eq!(search.duplicates, [PathBuf::from("/usr/include")]);
}

/// `-isystem link`, where `link` leads to `one`, is listed as `one`.
#[test]
fn what_clang_lists_under_another_name_is_a_duplicate() {
    let text = b"clang version 14\n (in-process)\n \"/usr/bin/clang\" -cc1 -E -v -resource-dir /r \
-iprefix p -iwithprefix q -I one -I \"a \\\"\\$b\" -isystem link -isystem =s -I=t -isysroot /root -Icpath \
-c-isystem c -cxx-isystem cxx -isystem =u \
-internal-isystem /usr/include -x c /dev/null\n\
ignoring nonexistent directory \"cpath\"\nignoring nonexistent directory \"=u\"\nignoring duplicate directory \"one\"\n\
#include \"...\" search starts here:\n#include <...> search starts here:\n one\n a \"$b\n /root/s\n\
\x20/usr/include\nEnd of search list.\n";
    let search = SearchPath::parse(text).unwrap();
    let listed = ["one", "a \"$b", "/root/s", "/usr/include"].map(PathBuf::from);
    assert_eq!(
        (search.angle, search.missing),
        (listed.to_vec(), ["cpath", "=u"].map(PathBuf::from).to_vec())
    );
    assert_eq!(search.duplicates, ["one", "pq", "link", "/root/t", "c"].map(PathBuf::from));
}

#[test]
fn unusual_lists_are_refused() {
    let list = |line: &str| {
        format!(
            "#include \"...\" search starts here:\n#include <...> search starts here:\n{line}\n\
             End of search list.\n"
        )
    };
    assert!(SearchPath::parse(list(" /usr/include").as_bytes()).is_some());
    assert!(SearchPath::parse(list(" /System (framework directory)").as_bytes()).is_none());
    assert!(SearchPath::parse(list("what").as_bytes()).is_none());
    let warned = format!("cc1: warning: x: not a directory\n{}", list(" /usr/include"));
    assert!(SearchPath::parse(warned.as_bytes()).is_none());
    assert!(SearchPath::parse(b"").is_none());
    assert!(SearchPath::parse(b"#include \"...\" search starts here:\n").is_none());
}

/// Headers of a few folders that include one another through `../`, `#pragma once` each.
fn ring(folders: &[&str]) -> (Vec<(String, String)>, Vec<String>) {
    let file = |folder: &str| format!("{folder}/{folder}.h");
    let text = |own: &str| {
        let others = folders.iter().filter(|other| **other != own);
        let includes = others.map(|other| format!("#include \"../{}\"\n", file(other)));
        format!("#pragma once\n{}", includes.collect::<String>())
    };
    let mut files: Vec<_> = folders.iter().map(|folder| (file(folder), text(folder))).collect();
    files.push(("unit.c".into(), format!("#include \"{}\"\n", file(folders[0]))));
    // As gcc names them: each by the way on which it was found first.
    let mut read = vec!["unit.c".to_owned()];
    let mut way = String::new();
    for folder in folders {
        read.push(format!("{way}{}", file(folder)));
        way += &format!("{folder}/../");
    }
    (files, read)
}

#[test]
fn headers_that_lead_back_are_walked_once_for_each_folder() {
    let (files, read) = ring(&["a", "b", "c", "d", "e", "f"]);
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let read: Vec<_> = read.iter().map(String::as_str).collect();
    let mut project = Project::new(&files);
    project.bounds.looks = 500;
    let probes = project.probes(&read).unwrap();
    assert!(probes.inputs.is_empty(), "{:?}", probes.inputs);
    assert!(probes.same_folders.len() <= 36, "{:?}", probes.same_folders);
    let root = project.root();
    for (one, other) in &probes.same_folders {
        assert_eq!(
            root.join(one).canonicalize().unwrap(),
            root.join(other).canonicalize().unwrap()
        );
    }
    let pair = (PathBuf::from("a/../b/../a"), PathBuf::from("a"));
    assert!(probes.same_folders.contains(&pair), "{:?}", probes.same_folders);
}

#[test]
fn what_is_absent_under_another_spelling_is_absent_under_the_first() {
    let text = "#include \"../b/y.h\"\n#if __has_include(\"../b/../a/gone.h\")\n#endif\n";
    let project = Project::new(&[
        ("unit.c", "#include \"a/x.h\"\n#include \"b/y.h\"\n"),
        ("a/x.h", text),
        ("b/y.h", "#include \"../b/../a/x.h\"\n"),
    ]);
    let read = ["unit.c", "a/x.h", "a/../b/y.h"];
    assert!(project.absent(&read).iter().any(|path| path.ends_with("gone.h")));
    let probes = project.probes(&read).unwrap();
    let spelled: Vec<_> = probes.same_folders.iter().flat_map(|(one, two)| [one, two]).collect();
    for spelling in ["a/../b", "a/../b/../a"] {
        assert!(spelled.iter().any(|path| **path == Path::new(spelling)), "{spelled:?}");
    }
}

/// A link leads to another folder, in which the same `../` means something else.
#[test]
fn a_file_is_walked_again_for_a_folder_that_is_another() {
    let project = Project::new(&[
        ("a.c", "#include \"one/x.h\"\n#include \"deep/two/x.h\"\n"),
        ("one/x.h", "#include \"../y.h\"\n"),
        ("y.h", ""),
        ("deep/two/k.h", ""),
    ]);
    std::os::unix::fs::symlink("../../one/x.h", project.root().join("deep/two/x.h")).unwrap();
    let read = ["a.c", "one/x.h", "y.h"];
    fs::write(project.root().join("deep/y.h"), "").unwrap();
    assert!(project.probes(&read).is_ok());
    fs::remove_file(project.root().join("deep/y.h")).unwrap();
    let probes = project.probes(&read).unwrap();
    assert_eq!(probes.inputs, [PathBuf::from("deep/two/x.h")]);
}

#[test]
fn a_link_to_a_file_read_once_stays_a_link() {
    let project =
        Project::new(&[("a.c", "#include \"x.h\"\n#include \"y.h\"\n"), ("x.h", "#pragma once\n")]);
    std::os::unix::fs::symlink("x.h", project.root().join("y.h")).unwrap();
    let probes = project.probes(&["a.c", "x.h"]).unwrap();
    assert_eq!(probes.inputs, [PathBuf::from("y.h")]);
    assert_eq!(probes.same_folders, [(PathBuf::from("y.h"), PathBuf::from("x.h"))]);
}

#[test]
fn a_walk_beyond_its_bounds_is_given_up_with_the_reason() {
    let mut project = Project::new(&[
        ("a.c", "#include <x.h>\n#include <y.h>\n#include <z.h>\n"),
        ("two/x.h", ""),
        ("one/k.h", ""),
    ])
    .angle(&["one", "two"]);
    let read = ["a.c", "two/x.h"];
    let whole = project.bounds;
    let too_much = |what| Err(Opaque::TooMuchWork(PathBuf::from("a.c"), what));
    project.bounds = Bounds { looks: 12, ..whole };
    assert_eq!(project.probes(&read), too_much("places"));
    project.bounds = Bounds { bytes: 2_000, ..whole };
    assert_eq!(project.probes(&read), too_much("memory"));
    let long = format!("#include \"{}\"\n", "d/".repeat(5_000));
    fs::write(project.root().join("a.c"), long).unwrap();
    project.bounds = whole;
    assert_eq!(project.probes(&["a.c"]), too_much("longer paths"));
}
