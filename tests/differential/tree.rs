//! `Tree`: the input files of a project as data, and how a folder is made to look like it.

use crate::random::Random;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Stands for the absolute path of the project in link targets, file contents, words and variables.
pub const ROOT: &str = "@ROOT@";

/// The modification time of what was written just now, whenever that is.
pub const JUST_NOW: u64 = 0;

/// Something at a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// A file.
    File {
        /// What is in it.
        bytes: Arc<[u8]>,
        /// Its modification time, in ns since 1970.
        modified_ns: u64,
    },
    /// A symbolic link.
    Link(String),
    /// A folder.
    Folder,
}

impl Node {
    /// A file.
    pub fn file(bytes: impl AsRef<[u8]>, modified_ns: u64) -> Node {
        Node::File { bytes: bytes.as_ref().into(), modified_ns }
    }
}

/// All inputs, by their path below the project; folders have their own entries.
pub type Tree = BTreeMap<String, Node>;

/// Whether the state of a tree can show in a compile only through more than names and contents.
pub fn times_matter(tree: &Tree) -> bool {
    tree.values().any(|node| match node {
        Node::File { bytes, .. } => {
            let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
            has(b"STAMP") || has(b"once") || has(b"import") || has(b"dependency")
        }
        _ => false,
    })
}

/// Adds the folders that the paths of `tree` need.
pub fn with_folders(mut tree: Tree) -> Tree {
    let paths: Vec<String> = tree.keys().cloned().collect();
    for path in paths {
        let mut rest = path.as_str();
        while let Some((folder, _)) = rest.rsplit_once('/') {
            tree.entry(folder.to_owned()).or_insert(Node::Folder);
            rest = folder;
        }
    }
    tree
}

/// Makes the folder `root`, which looks like `old` and may hold other files, look like `new`.
/// `seed` decides how files are replaced, so that two folders go the same way.
pub fn apply(root: &Path, shown_as: &Path, (old, new): (&Tree, &Tree), seed: u64, now: SystemTime) {
    let mut random = Random::new(seed);
    for (path, node) in old.iter().rev() {
        let stays = new.get(path).is_some_and(|other| node == other || same_kind(node, other));
        if !stays {
            remove(&root.join(path));
        }
    }
    for (path, node) in new {
        if old.get(path) != Some(node) {
            put(&root.join(path), shown_as, node, now, &mut random);
        }
    }
}

fn same_kind(one: &Node, other: &Node) -> bool {
    matches!((one, other), (Node::File { .. }, Node::File { .. }) | (Node::Folder, Node::Folder))
}

fn remove(path: &Path) {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|about| about.is_dir());
    // It may have gone with its folder.
    let _ = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

fn put(path: &Path, shown_as: &Path, node: &Node, now: SystemTime, random: &mut Random) {
    match node {
        Node::Folder => {
            if !path.is_dir() {
                remove(path);
                fs::create_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
        }
        Node::Link(target) => {
            remove(path);
            symlink(target.replace(ROOT, &shown_as.to_string_lossy()), path).unwrap();
        }
        Node::File { bytes, modified_ns } => {
            let replace = random.chance(50);
            if fs::symlink_metadata(path).is_ok_and(|about| about.is_dir()) {
                remove(path);
            }
            let written = if replace { path.with_extension("new~") } else { path.to_owned() };
            let modified = match *modified_ns {
                JUST_NOW => now,
                ns => UNIX_EPOCH + Duration::from_nanos(ns),
            };
            write(&written, &rendered(bytes, shown_as), modified);
            if replace {
                fs::rename(&written, path).unwrap();
            }
        }
    }
}

fn write(path: &Path, bytes: &[u8], modified: SystemTime) {
    let mut file =
        fs::File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.write_all(bytes).unwrap();
    file.set_modified(modified).unwrap();
}

fn rendered(bytes: &[u8], shown_as: &Path) -> Vec<u8> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.contains(ROOT) => {
            text.replace(ROOT, &shown_as.to_string_lossy()).into_bytes()
        }
        _ => bytes.to_vec(),
    }
}

/// What a user sees of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A regular file: permission bits and content.
    File(u32, Vec<u8>),
    /// A link and where it leads.
    Link(String),
    /// A folder.
    Folder,
    /// An input that is as it was put there.
    Untouched,
}

/// Everything below `root`; `inputs` need not be read where their size and time are unchanged.
pub fn survey(root: &Path, inputs: &Tree) -> BTreeMap<String, Seen> {
    let mut all = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(root.join(&folder)) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let Ok(about) = fs::symlink_metadata(entry.path()) else { continue };
            let seen = if about.is_dir() {
                folders.push(path.clone());
                Seen::Folder
            } else if about.is_symlink() {
                let target = fs::read_link(entry.path()).unwrap_or_default();
                Seen::Link(target.to_string_lossy().into_owned())
            } else if is_untouched(&about, inputs.get(&path)) {
                Seen::Untouched
            } else {
                let bytes = fs::read(entry.path()).unwrap_or_default();
                Seen::File(about.permissions().mode() & 0o7777, bytes)
            };
            all.insert(path, seen);
        }
    }
    all
}

fn is_untouched(about: &fs::Metadata, input: Option<&Node>) -> bool {
    let Some(Node::File { modified_ns, .. }) = input else { return false };
    about.mtime() as u64 * 1_000_000_000 + about.mtime_nsec() as u64 == *modified_ns
}

/// Removes from `root` every file that is no input.
pub fn remove_outputs(root: &Path, inputs: &Tree) {
    for (path, seen) in survey(root, inputs).iter().rev() {
        if !inputs.contains_key(path) && *seen != Seen::Untouched {
            remove(&root.join(path));
        }
    }
}
