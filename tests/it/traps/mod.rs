//! Traps: what some compiler cache is known to answer wrongly. docs/soundness.md lists them all.

mod compiler;
mod environment;
mod files;
mod outputs;
mod place;
mod precompiled;
mod text;

use std::path::Path;

/// Where tests are that the document may name.
const FOLDERS: [&str; 6] = ["tests/it", "cache", "compiler", "server", "remote", "config"];

/// The text of each Rust file below `folder`, with its path.
fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path.to_string_lossy().into_owned(), text));
        }
    }
}

#[test]
fn each_test_that_the_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    FOLDERS.iter().for_each(|folder| sources(&root.join(folder), &mut files));
    let document = std::fs::read_to_string(root.join("docs/soundness.md")).unwrap();
    let rows = document.lines().filter(|line| line.starts_with("| ") && !line.contains("| Test |"));
    let mut named = 0;
    for row in rows {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            let (place, function) = match name.strip_prefix("unit: ") {
                Some(function) => (String::new(), function),
                None => {
                    let (module, function) = name.rsplit_once("::").expect("a module and a name");
                    (format!("tests/it/{}.rs", module.replace("::", "/")), function)
                }
            };
            let is_there = files.iter().any(|(path, text)| {
                path.ends_with(&place) && text.contains(&format!("fn {function}() {{"))
            });
            assert!(is_there, "no test of this name: {name}");
            named += 1;
        }
    }
    assert!(named > 80, "{named} tests named");
}
