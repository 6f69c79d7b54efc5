//! The habits of CONTRIBUTING.md ("How the code reads") that a program can look after.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders of Rust code.
const FOLDERS: [&str; 12] = [
    "benches",
    "cache",
    "compiler",
    "config",
    "early",
    "fuzz/fuzz_targets",
    "remote",
    "server",
    "shared",
    "src",
    "tests",
    "build.rs",
];

/// Columns of a comment; rustfmt looks after the code.
const COMMENT_COLUMNS_MAX: usize = 120;

/// Lines of a function: what fits a screen.
const FUNCTION_LINES_MAX: usize = 70;

/// Functions that are longer. The list only gets shorter.
const LONGER_FUNCTIONS: [(&str, &str); 9] = [
    ("compiler/src/invocation/parse/decide.rs", "decide"),
    ("config/src/load/tests.rs", "every_key_is_read_from_a_file"),
    ("config/src/load/tests.rs", "a_problem_names_file_line_key_and_remedy"),
    ("remote/src/reapi/client/tests.rs", "answer"),
    ("server/daemon/src/make/text.rs", "preprocess"),
    ("server/daemon/src/serve/mod.rs", "run"),
    ("server/daemon/src/understand/unit.rs", "understand"),
    ("tests/differential/calls.rs", "flag"),
    ("tests/differential/reproduce.rs", "smaller"),
];

/// Words that say nothing of what is in a file or a type.
const EMPTY_WORDS: [&str; 5] = ["util", "helper", "manager", "common", "misc"];

/// Each crate of ours, where it is, and which others it may use: those before it, and not all of them.
const CRATES: [(&str, &str, &[&str]); 11] = [
    ("early", "early", &[]),
    ("config", "config", &[]),
    ("compiler", "compiler", &[]),
    ("shared", "shared", &[]),
    ("cache", "cache", &["compiler"]),
    ("remote", "remote", &["config"]),
    ("talk", "server/talk", &["config"]),
    ("identify", "server/identify", &["compiler", "config", "remote", "talk"]),
    ("worker", "server/worker", &["compiler", "config", "identify", "remote", "talk"]),
    (
        "daemon",
        "server/daemon",
        &["cache", "compiler", "config", "identify", "remote", "shared", "talk"],
    ),
    (
        "rcache",
        ".",
        &["cache", "compiler", "config", "daemon", "early", "shared", "talk", "worker"],
    ),
];

/// Within the daemon, a step of a call knows nothing of what answers subcommands.
const ADMIN_IS_USED_BY: [&str; 2] = ["server/daemon/src/admin/", "server/daemon/src/serve/mod.rs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Each Rust file below the folders, by its path from the root, with its lines.
fn sources() -> Vec<(String, Vec<String>)> {
    let mut open: Vec<PathBuf> = FOLDERS.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            open.extend(entries.filter(|path| !path.ends_with("target")));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            found.push((name, text.lines().map(str::to_owned).collect()));
        }
    }
    found.sort();
    assert!(found.len() > 300, "{} files found", found.len());
    found
}

/// Fails with each complaint on a line of its own.
#[track_caller]
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn each_file_says_what_it_is_for() {
    let silent = sources().into_iter().filter(|(_, lines)| {
        !lines.first().is_some_and(|first| first.starts_with("//! ") && first.len() > 10)
    });
    none(silent.map(|(name, _)| format!("{name}: begin it with a sentence after `//!`")).collect());
}

#[test]
fn comments_are_not_too_wide() {
    let mut complaints = Vec::new();
    for (name, lines) in sources() {
        for (index, line) in lines.iter().enumerate() {
            let columns = line.chars().count();
            if line.trim_start().starts_with("//") && columns > COMMENT_COLUMNS_MAX {
                complaints.push(format!("{name}:{}: {columns} columns", index + 1));
            }
        }
    }
    none(complaints);
}

/// The name that a line declares.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.split(|byte: char| !byte.is_alphanumeric() && byte != '_');
    let kinds = ["fn", "struct", "enum", "trait", "mod", "type", "const", "static"];
    words.find(|word| kinds.contains(word))?;
    words.find(|word| !word.is_empty() && *word != "fn")
}

#[test]
fn names_say_something() {
    let empty = |name: &str| {
        let name = name.to_lowercase();
        EMPTY_WORDS.into_iter().find(|word| {
            name.split(['_', '/', '.']).any(|part| part == *word || *part == format!("{word}s"))
        })
    };
    let mut complaints = Vec::new();
    for (file, lines) in sources() {
        complaints.extend(empty(&file).map(|word| format!("{file}: {word}")));
        for (index, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            if code.starts_with("//") || line.contains('"') {
                continue;
            }
            let found = declared(code).and_then(empty);
            complaints.extend(found.map(|word| format!("{file}:{}: {word}", index + 1)));
        }
    }
    none(complaints);
}

/// Name and length of each function. rustfmt ends one where it began, in the same column.
fn functions(lines: &[String]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (begin, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let is_function = !code.starts_with("//")
            && (code.starts_with("fn ") || code.contains(" fn "))
            && !code.contains('"');
        let Some(name) = declared(code).filter(|_| is_function) else { continue };
        let end = format!("{}}}", " ".repeat(line.len() - code.len()));
        let is_short = code.ends_with(['}', ';']);
        let rest = lines[begin..].iter().position(|line| *line == end).filter(|_| !is_short);
        found.extend(rest.map(|lines| (name.to_owned(), lines + 1)));
    }
    found
}

#[test]
fn functions_fit_a_screen() {
    let mut longer = BTreeSet::new();
    let mut count = 0;
    for (file, lines) in sources() {
        let functions = functions(&lines);
        count += functions.len();
        let long = functions.into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
        longer.extend(long.map(|(name, _)| (file.clone(), name)));
    }
    assert!(count > 2_000, "{count} functions found");
    let known = LONGER_FUNCTIONS.map(|(file, name)| (file.to_owned(), name.to_owned()));
    let known = BTreeSet::from(known);
    let new = longer.difference(&known);
    let mut complaints: Vec<String> =
        new.map(|(file, name)| format!("{file}: {name} is longer than a screen")).collect();
    let gone = known.difference(&longer);
    complaints.extend(gone.map(|(file, name)| format!("{file}: {name} is short now: strike it")));
    none(complaints);
}

/// The crates of ours that a manifest names as dependencies of the program.
fn dependencies(manifest: &str) -> Vec<&str> {
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| CRATES.iter().any(|(known, ..)| known == name)).collect()
}

#[test]
fn crates_use_only_what_they_may() {
    let mut complaints = Vec::new();
    for (index, (name, folder, allowed)) in CRATES.iter().enumerate() {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        for used in dependencies(&manifest) {
            if !allowed.contains(&used) {
                complaints.push(format!("{name} must not use {used}"));
            }
        }
        let before = |used: &&str| CRATES[..index].iter().any(|(known, ..)| known == used);
        assert!(allowed.iter().all(before), "{name} may use what comes after it");
    }
    none(complaints);
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = workspace.lines().find(|line| line.starts_with("members = ")).unwrap();
    assert_eq!(members.matches('"').count() / 2, CRATES.len() - 1, "a crate is not listed here");
}

#[test]
fn each_crate_counts_in_the_build_and_goes_into_the_image() {
    let build = fs::read_to_string(root().join("server/talk/build.rs")).unwrap();
    let image = fs::read_to_string(root().join(".dockerignore")).unwrap();
    for (name, folder, _) in CRATES {
        let top = folder.split('/').next().unwrap().replace('.', "src");
        assert!(build.contains(&format!("\"../../{top}\"")), "{name}: server/talk/build.rs");
        assert!(image.lines().any(|line| line == format!("!{top}")), "{name}: .dockerignore");
    }
}

#[test]
fn no_step_of_a_call_knows_of_subcommands() {
    let daemon = sources().into_iter().filter(|(name, _)| name.starts_with("server/daemon/src/"));
    let others =
        daemon.filter(|(name, _)| !ADMIN_IS_USED_BY.iter().any(|room| name.starts_with(room)));
    let knows = |lines: &[String]| lines.iter().any(|line| line.contains("crate::admin"));
    let knowing = others.filter(|(_, lines)| knows(lines));
    none(knowing.map(|(name, _)| format!("{name} uses admin")).collect());
}
