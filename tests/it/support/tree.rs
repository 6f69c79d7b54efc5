//! A folder's whole content in memory: taken, compared, put back at the same path.

use super::program::{set_modified, write_program};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Permission bits, without the file type.
const MODE_BITS: u32 = 0o7777;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Folder,
    File(Vec<u8>),
    Link(PathBuf),
    Other(&'static str),
}

#[derive(Clone, Debug)]
struct Node {
    content: Content,
    mode: u32,
    modified: SystemTime,
}

/// What a folder holds.
#[derive(Clone, Debug, Default)]
pub struct Tree(BTreeMap<PathBuf, Node>);

impl Tree {
    /// Reads everything below `root`.
    pub fn read(root: &Path) -> Tree {
        let mut tree = Tree::default();
        tree.read_folder(root, Path::new(""));
        tree
    }

    fn read_folder(&mut self, root: &Path, below: &Path) {
        let entries = fs::read_dir(root.join(below)).expect("read a folder of the project");
        for entry in entries {
            let name = below.join(entry.expect("a folder entry").file_name());
            let path = root.join(&name);
            let about = fs::symlink_metadata(&path).expect("look at a file of the project");
            let kind = about.file_type();
            let content = if kind.is_dir() {
                Content::Folder
            } else if kind.is_symlink() {
                Content::Link(fs::read_link(&path).unwrap())
            } else if kind.is_file() {
                Content::File(fs::read(&path).unwrap_or_else(|_| b"(unreadable)".to_vec()))
            } else if kind.is_fifo() {
                Content::Other("fifo")
            } else {
                Content::Other("special file")
            };
            let folder = content == Content::Folder;
            let (mode, modified) = (about.mode() & MODE_BITS, about.modified().unwrap());
            self.0.insert(name.clone(), Node { content, mode, modified });
            if folder {
                self.read_folder(root, &name);
            }
        }
    }

    /// Makes `root` hold this and nothing else; times and permission bits included.
    pub fn restore(&self, root: &Path) {
        for entry in fs::read_dir(root).expect("read the project's folder") {
            let path = entry.unwrap().path();
            let folder = fs::symlink_metadata(&path).unwrap().is_dir();
            let removed = if folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.unwrap_or_else(|error| panic!("cannot remove {}: {error}", path.display()));
        }
        for (name, node) in &self.0 {
            let path = root.join(name);
            match &node.content {
                Content::Folder => fs::create_dir(&path).unwrap(),
                Content::Link(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
                Content::File(bytes) => {
                    match node.mode & 0o111 {
                        0 => fs::write(&path, bytes).unwrap(),
                        _ => write_program(&path, bytes),
                    }
                    set_modified(&path, node.modified);
                }
                Content::Other(kind) => panic!("{kind} {} cannot be put back", path.display()),
            }
        }
        // Afterwards and inside out, since a read-only folder would refuse its files.
        for (name, node) in self.0.iter().rev() {
            if !matches!(node.content, Content::Link(_)) {
                let mode = fs::Permissions::from_mode(node.mode);
                fs::set_permissions(root.join(name), mode).unwrap();
            }
        }
    }

    /// In which names the two differ, and how; times apart.
    pub fn differences(&self, other: &Tree) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        for (name, node) in &self.0 {
            match other.0.get(name) {
                None => found.push((name.clone(), "is missing".to_owned())),
                Some(there) => {
                    if let Some(how) = node.difference(there) {
                        found.push((name.clone(), how));
                    }
                }
            }
        }
        let new = other.0.keys().filter(|name| !self.0.contains_key(*name));
        found.extend(new.map(|name| (name.clone(), "should not be there".to_owned())));
        found
    }
}

impl Node {
    fn difference(&self, there: &Node) -> Option<String> {
        if self.mode != there.mode && !matches!(self.content, Content::Link(_)) {
            return Some(format!("has mode {:o}, not {:o}", there.mode, self.mode));
        }
        match (&self.content, &there.content) {
            (here, there) if here == there => None,
            (Content::File(here), Content::File(there)) => Some(byte_difference(here, there)),
            (here, there) => Some(format!("is {there:?}, not {here:?}")),
        }
    }
}

fn byte_difference(wanted: &[u8], got: &[u8]) -> String {
    const SHOWN: usize = 600;
    let short = wanted.len() < SHOWN && got.len() < SHOWN;
    if let (true, Ok(wanted), Ok(got)) = (short, str::from_utf8(wanted), str::from_utf8(got)) {
        return format!("reads {got:?}, not {wanted:?}");
    }
    let first = wanted.iter().zip(got).position(|(a, b)| a != b);
    let first = first.unwrap_or(wanted.len().min(got.len()));
    format!("has {} bytes, not {}; first difference at {first}", got.len(), wanted.len())
}
