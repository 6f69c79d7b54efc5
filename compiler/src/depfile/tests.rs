//! Tests of the make rules, written by hand and by the installed compilers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::inputs;

fn names(rule: &str) -> Option<Vec<String>> {
    let paths = inputs(rule.as_bytes())?;
    Some(paths.into_iter().map(|path| path.to_str().unwrap().to_owned()).collect())
}

fn list(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn rules_of_compilers_are_read() {
    assert_eq!(names("a.o: a.c x.h \\\n y.h\n"), list(&["a.c", "x.h", "y.h"]));
    assert_eq!(names("a.o b.o: a.c\\\n\n\nx.h:\n\ny.h:\n"), list(&["a.c"]));
    assert_eq!(names("c:a.o: d:a.c"), list(&["d:a.c"]));
    assert_eq!(names("a.o:\\\n a.c\r\n"), list(&["a.c"]));
    assert_eq!(names("o\\ $$\\#:o.o: a\\ b\\#$$.c"), list(&["a b#$.c"]));
    assert_eq!(names("$(OUT)/a.o $@ a#b: a.c\n"), list(&["a.c"]));
    assert_eq!(names("a.o: a\\\\\\ b a\\\\#c a\\b"), list(&["a\\ b", "a\\#c", "a\\b"]));
}

#[test]
fn other_texts_are_refused() {
    for text in [
        "",
        "\n",
        "a.o",
        "a.o:\n",
        "a.c\n",
        ": a.c",
        "a.o: $(X)",
        "a.o: a.c # more",
        "a.o: #a.c",
        "a.o: a.c\nb.o: b.c\n",
        "a.o: a.c\nV = 1\n",
        "a.o: a\\:b.c",
        "a.o: a\0.c",
    ] {
        assert_eq!(names(text), None, "{text:?}");
    }
}

/// Compiles a unit that includes files of odd names, and compares.
fn check(compiler: &str, odd: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::new();
    let mut expected: BTreeSet<PathBuf> = [PathBuf::from("s $#.c")].into();
    for name in odd {
        std::fs::write(folder.path().join(name), "").unwrap();
        let quotes = if name.contains('"') { ('<', '>') } else { ('"', '"') };
        text.push_str(&format!("#include {}{name}{}\n", quotes.0, quotes.1));
        expected.insert(PathBuf::from(name));
    }
    std::fs::write(folder.path().join("s $#.c"), text).unwrap();
    let arguments = ["-w", "-I.", "-c", "s $#.c", "-o", "o $#:o.o", "-MD", "-MP", "-MF", "d"];
    let run = Command::new(compiler).args(arguments).current_dir(folder.path()).output();
    let Ok(run) = run else {
        println!("skipped: {compiler} is not there");
        return;
    };
    assert!(run.status.success(), "{compiler} {odd:?}: {}", String::from_utf8_lossy(&run.stderr));
    let rule = std::fs::read(folder.path().join("d")).unwrap();
    let found = inputs(&rule).unwrap_or_else(|| panic!("{compiler} {odd:?}"));
    let is_ours = |path: &Path| !path.is_absolute();
    let found: BTreeSet<PathBuf> = found.into_iter().filter(|path| is_ours(path)).collect();
    assert_eq!(found, expected, "{compiler}: {}", String::from_utf8_lossy(&rule));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(12))]
    #[test]
    fn gcc_names_come_back(odd in proptest::collection::btree_set(
        "[a-c][-a-c $#'\"é%=\\\\]{0,9}[a-c]", 1..12)) {
        check("gcc", &odd.into_iter().collect::<Vec<_>>());
    }

    /// clang writes a backslash as a slash, so that no reader can tell.
    #[test]
    fn clang_names_come_back(odd in proptest::collection::btree_set(
        "[a-c][-a-c $#'\"é%=]{0,9}[a-c]", 1..12)) {
        check("clang", &odd.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn any_text_is_survived(text in proptest::collection::vec(
        proptest::sample::select(b"a:\\\\ \t\r\n$#".to_vec()), 0..40)) {
        let _ = inputs(&text);
    }
}
