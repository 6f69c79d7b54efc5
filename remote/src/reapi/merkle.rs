//! An input tree as REAPI has it: one message for each folder, named by its digest, from the leaves up.

use super::digest::{BlobName, Function};
use super::proto;
use prost::Message;
use prost::bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A folder, perhaps with nothing in it.
    Folder,
    /// A link, and where it leads.
    Link(&'a Path),
    /// A file.
    File {
        /// What it holds.
        name: BlobName,
        /// Whether it may be run.
        executable: bool,
        /// When it was changed, in nanoseconds since 1970, where that counts.
        modified_ns: Option<i128>,
    },
}

/// A path or a link that cannot be sent, for messages hold text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is not UTF-8, or is two things at one time", .0.display())]
pub struct NotText(pub PathBuf);

/// The messages of a tree.
#[derive(Debug)]
pub struct Directories {
    /// The root's.
    pub root: BlobName,
    /// All of them.
    pub messages: HashMap<BlobName, Bytes>,
}

enum Node<'a> {
    Folder(BTreeMap<&'a str, Node<'a>>),
    Leaf(&'a Entry<'a>),
}

/// Makes the messages. The paths are absolute; `/` is the root.
///
/// # Errors
/// A name that is no text.
pub fn directories<'a>(
    function: Function,
    entries: impl Iterator<Item = (&'a Path, &'a Entry<'a>)>,
) -> Result<Directories, NotText> {
    let mut root = BTreeMap::new();
    for (path, entry) in entries {
        insert(&mut root, path, entry)?;
    }
    let mut messages = HashMap::new();
    let root = encode(function, &root, &mut messages)?;
    Ok(Directories { root, messages })
}

fn insert<'a>(
    root: &mut BTreeMap<&'a str, Node<'a>>,
    path: &'a Path,
    entry: &'a Entry<'a>,
) -> Result<(), NotText> {
    let bad = || NotText(path.to_owned());
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::RootDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or_else(bad)?),
            _ => return Err(bad()),
        }
    }
    let Some((last, above)) = names.split_last() else { return Ok(()) };
    let mut folder = root;
    for name in above {
        let below = folder.entry(name).or_insert_with(|| Node::Folder(BTreeMap::new()));
        let Node::Folder(below) = below else { return Err(bad()) };
        folder = below;
    }
    match (entry, folder.get(last)) {
        (Entry::Folder, Some(Node::Folder(_))) => {}
        (_, Some(_)) => return Err(bad()),
        (Entry::Folder, None) => {
            folder.insert(last, Node::Folder(BTreeMap::new()));
        }
        (_, None) => {
            folder.insert(last, Node::Leaf(entry));
        }
    }
    Ok(())
}

fn encode(
    function: Function,
    folder: &BTreeMap<&str, Node>,
    messages: &mut HashMap<BlobName, Bytes>,
) -> Result<BlobName, NotText> {
    let mut directory = proto::Directory::default();
    for (name, node) in folder {
        let name = (*name).to_owned();
        match node {
            Node::Folder(below) => {
                let digest = Some(encode(function, below, messages)?.message());
                directory.directories.push(proto::DirectoryNode { name, digest });
            }
            Node::Leaf(Entry::Folder) => {}
            Node::Leaf(Entry::Link(target)) => {
                let text = target.to_str().ok_or_else(|| NotText(target.to_path_buf()))?;
                directory.symlinks.push(proto::SymlinkNode {
                    name,
                    target: text.to_owned(),
                    node_properties: None,
                });
            }
            Node::Leaf(Entry::File { name: content, executable, modified_ns }) => {
                directory.files.push(proto::FileNode {
                    name,
                    digest: Some(content.message()),
                    is_executable: *executable,
                    node_properties: modified_ns.map(properties),
                });
            }
        }
    }
    let bytes = Bytes::from(directory.encode_to_vec());
    let name = function.name(&bytes);
    messages.insert(name, bytes);
    Ok(name)
}

fn properties(modified_ns: i128) -> proto::NodeProperties {
    const SECOND: i128 = 1_000_000_000;
    let mtime = proto::Timestamp {
        seconds: modified_ns.div_euclid(SECOND) as i64,
        nanos: modified_ns.rem_euclid(SECOND) as i32,
    };
    proto::NodeProperties { mtime: Some(mtime), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> Entry<'static> {
        let name = Function::Sha256.name(content);
        Entry::File { name, executable: false, modified_ns: None }
    }

    fn made(entries: &[(&str, Entry)]) -> Result<Directories, NotText> {
        let entries = entries.iter().map(|(path, entry)| (Path::new(path), entry));
        directories(Function::Sha256, entries)
    }

    #[test]
    fn folders_are_named_from_the_leaves_up() {
        let entries = [
            ("/a/b/x.h", file(b"x")),
            ("/a/empty", Entry::Folder),
            ("/a/b", Entry::Folder),
            ("/", Entry::Folder),
            ("/l", Entry::Link(Path::new("a/b"))),
        ];
        let tree = made(&entries).unwrap();
        assert_eq!(tree.messages.len(), 4);
        let message =
            |name: &BlobName| proto::Directory::decode(tree.messages[name].clone()).unwrap();
        let root = message(&tree.root);
        assert_eq!(root.symlinks[0].target, "a/b");
        let of = |node: &proto::DirectoryNode| {
            let digest = node.digest.as_ref().unwrap();
            message(&BlobName::of_message(Function::Sha256, digest).unwrap())
        };
        let a = of(&root.directories[0]);
        assert_eq!(of(&a.directories[0]).files[0].name, "x.h");
        assert_eq!(of(&a.directories[1]), proto::Directory::default());
    }

    #[test]
    fn a_path_is_one_thing() {
        assert!(made(&[("/a", file(b"")), ("/a/x", file(b""))]).is_err());
        assert!(made(&[("/a/../x", file(b""))]).is_err());
    }

    #[test]
    fn times_before_1970_go_forward_within_their_second() {
        let mtime = properties(-1).mtime.unwrap();
        assert_eq!((mtime.seconds, mtime.nanos), (-1, 999_999_999));
    }
}
