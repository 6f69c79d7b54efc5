//! Tests of manifests and of their checks.

use super::*;
use compiler::file_memo::{FileMemo, WorkingDirectory};
use proptest::prelude::*;
use std::time::SystemTime;

fn absent(paths: &[&'static str]) -> Vec<AbsentIn<'static>> {
    group_absent(paths.iter().map(|path| {
        let path = Path::new(*path);
        (path.parent().unwrap(), std::iter::once(Path::new(path.file_name().unwrap())))
    }))
}

fn recorded(n: u8) -> Recorded<'static> {
    Recorded {
        key: Digest([n; 20]),
        files: vec![(Path::new("a.h"), Digest([n; 20])), (Path::new("/b.h"), Digest([1; 20]))],
        present: vec![Path::new("a.h")],
        directories: vec![Path::new("inc/d.h")],
        same_folders: vec![(Path::new("inc"), Path::new("/inc"))],
        search_folders: vec![(Path::new("inc"), 0), (Path::new("/inc"), 0)],
        absent: absent(&["x/a.h", "y.h", "x/c.h"]),
        states: vec![(Path::new("folder"), Digest([n; 20]))],
        day: n.is_multiple_of(2).then_some(*b"Nov 29 2026"),
        names: n.is_multiple_of(3).then_some(Digest([n; 20])),
    }
}

/// As a build with many headers in many folders makes it: names, each folder's share of them.
fn large(names: &[String], edited: u8) -> Recorded<'_> {
    let paths: Vec<&Path> = names.iter().map(Path::new).collect();
    let folders: Vec<String> = (0..40).map(|folder| format!("i{folder}")).collect();
    let folders: &'static [String] = folders.leak();
    let groups = folders.iter().enumerate().map(|(at, folder)| {
        (
            Path::new(folder),
            paths
                .iter()
                .copied()
                .enumerate()
                .filter_map(move |(index, path)| (index % 40 > at).then_some(path)),
        )
    });
    let mut files: Vec<_> = paths.iter().map(|path| (*path, Digest([7; 20]))).collect();
    files[1400].1 = Digest([edited; 20]);
    Recorded { key: Digest([edited; 20]), files, absent: group_absent(groups), ..recorded(edited) }
}

#[test]
fn a_manifest_survives_its_bytes() {
    let results = [recorded(2), recorded(1)];
    let bytes = Manifest::encode(&results);
    let manifest = Manifest::decode(&bytes).unwrap();
    assert!(manifest.results().eq(results) && manifest.is_sound());
    for end in 0..bytes.len() {
        let shorter = Manifest::decode(&bytes[..end]);
        assert!(shorter.is_none_or(|shorter| shorter.results().count() < 2));
    }
}

#[test]
fn the_newest_result_comes_first_and_the_oldest_falls_off() {
    let mut bytes = Manifest::encode(&[]);
    for n in (0..=RESULTS_MAX as u8).chain([5]) {
        let old = Manifest::decode(&bytes).unwrap();
        let all = with_newest(recorded(n), &old);
        bytes = Manifest::encode(&all);
    }
    let manifest = Manifest::decode(&bytes).unwrap();
    let keys: Vec<Digest> = manifest.results().map(|result| result.key).collect();
    assert_eq!(keys[0], Digest([5; 20]));
    assert_eq!(keys.len(), RESULTS_MAX);
    assert!(keys.iter().all(|key| *key != Digest([0; 20])));
}

#[test]
fn what_results_share_is_there_once() {
    let names: Vec<String> = (0..1500).map(|n| format!("h{n}.h")).collect();
    let one = Manifest::encode(&[large(&names, 0)]).len();
    let all: Vec<Recorded> = (0..RESULTS_MAX as u8).map(|n| large(&names, n)).collect();
    let bytes = Manifest::encode(&all);
    assert!(one < 100_000, "{one} bytes");
    assert!(bytes.len() < one + RESULTS_MAX * 7_000, "{} bytes, {one} for one", bytes.len());
    assert!(Manifest::decode(&bytes).unwrap().results().eq(all));
}

#[test]
fn the_bytes_of_a_manifest_have_an_end() {
    let long: Vec<String> = (0..1_000).map(|n| format!("{n}{}", "x".repeat(3_000))).collect();
    let result = |n: u8, names: &'static [String]| {
        let files = names.iter().map(|name| (Path::new(name), Digest([n; 20]))).collect();
        Recorded { files, ..recorded(n) }
    };
    let long: &'static [String] = long.leak();
    let results: Vec<Recorded> = (0..4).map(|n| result(n as u8, &long[n * 200..][..200])).collect();
    let bytes = Manifest::encode(&results);
    assert!(bytes.len() <= BYTES_MAX);
    assert!(Manifest::decode(&bytes).unwrap().results().eq(results[..1].iter().cloned()));
    let bytes = Manifest::encode(&[result(1, long), result(2, long)]);
    assert_eq!(Manifest::decode(&bytes).unwrap().results().count(), 1, "the newest is kept");
}

#[test]
fn absent_paths_are_grouped_by_folder() {
    let groups = absent(&["x/a.h", "y.h", "x/c.h", "x/a.h"]);
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[0].folder, Path::new(""));
    assert_eq!(groups[1].names, Names::Listed(vec![Path::new("a.h"), Path::new("c.h")]));
}

#[test]
fn each_kind_of_change_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.h"), "a").unwrap();
    let here = WorkingDirectory::open(folder.path()).unwrap();
    let memo = FileMemo::new();
    let recorded = Recorded {
        key: Digest([0; 20]),
        files: vec![(Path::new("a.h"), Digest::of(b"a"))],
        present: vec![],
        directories: vec![],
        same_folders: vec![],
        search_folders: vec![],
        absent: absent(&["inc/a.h"]),
        states: Vec::new(),
        day: None,
        names: None,
    };
    // As the first result that is checked, and as a later one, by what is known of the first.
    let check = || {
        let mut checks = Checks::new(&memo, &here, SystemTime::now());
        let first = checks.check(&recorded);
        assert_eq!((checks.check(&recorded), checks.check(&recorded)), (first.clone(), first));
        recorded.check(&memo, &here, SystemTime::now()).map_err(|mismatch| mismatch.to_string())
    };
    let says = |text: &str| Err(text.to_owned());
    assert_eq!(check(), Ok(()));
    std::fs::create_dir(folder.path().join("inc")).unwrap();
    std::fs::write(folder.path().join("inc/a.h"), "").unwrap();
    assert_eq!(check(), says("inc/a.h appeared"));
    std::fs::write(folder.path().join("a.h"), "b").unwrap();
    assert_eq!(check(), says("a.h changed"));
    std::fs::remove_file(folder.path().join("a.h")).unwrap();
    assert_eq!(check(), says("a.h is gone or unreadable"));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let framed = [&[VERSION], bytes.as_slice()].concat();
        for bytes in [bytes, framed] {
            if let Some(manifest) = Manifest::decode(&bytes) {
                manifest.is_sound();
                manifest.results().for_each(|result| {
                    let names = result.absent.iter().flat_map(|absent| absent.names.iter());
                    assert!(names.count() < usize::MAX);
                });
            }
        }
    }
}
