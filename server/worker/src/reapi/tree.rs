//! An input tree as it was sent, made into lists of folders, files and links that are safe to create.
//!
//! Names cannot lead anywhere: no slash, no `..`, none twice in a folder. So each path of the lists is reached
//! through folders of the lists only, whatever the links say. A folder may be in the tree many times; what
//! counts against the bounds is what would be created.

use prost::Message;
use prost::bytes::Bytes;
use remote::reapi::digest::{BlobName, Function};
use remote::reapi::proto;
use std::collections::HashSet;
use std::time::{Duration, SystemTime};

/// Folders, files and links of one tree. Compilers with all their headers have some ten thousand.
pub const NODES_MAX: usize = 100_000;

/// Folders within folders.
pub const DEPTH_MAX: usize = 100;

/// All files together.
pub const TREE_BYTES_MAX: u64 = 8 << 30;

/// One folder as a message.
pub const DIRECTORY_BYTES_MAX: u64 = 4 << 20;

/// One name (Linux's NAME_MAX), and one path (PATH_MAX without its end, and room for where the tree is).
const NAME_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 3_500;

/// All paths and targets together.
const TEXT_BYTES_MAX: usize = 32 << 20;

/// Blobs that are named as missing.
const MISSING_MAX: usize = 10_000;

/// What is to be created, each folder before what is in it. Paths are relative to the root of the tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Folders, without the root.
    pub folders: Vec<String>,
    /// Files.
    pub files: Vec<PlannedFile>,
    /// Symbolic links, and where they lead.
    pub links: Vec<(String, String)>,
    /// Folders whose blobs are not there.
    pub missing: Vec<BlobName>,
}

/// One file of a tree.
#[derive(Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Where it is.
    pub path: String,
    /// What it holds.
    pub content: BlobName,
    /// Whether it may be run.
    pub executable: bool,
    /// When it was changed, where that is said.
    pub changed: Option<SystemTime>,
}

/// Why a tree is not created.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTree {
    /// It is not well made.
    #[error("{0}")]
    Malformed(String),
    /// It is too much.
    #[error("the input tree has more than {0}")]
    TooMuch(&'static str),
}

/// Reads a tree whose folders `fetch` gives.
///
/// # Errors
/// It cannot be created, whatever is uploaded.
pub fn plan(
    function: Function,
    root: BlobName,
    fetch: &mut dyn FnMut(&BlobName) -> Option<Bytes>,
) -> Result<Plan, BadTree> {
    let mut walk =
        Walk { function, fetch, plan: Plan::default(), bytes: 0, nodes: 0, text_bytes: 0 };
    // Not by recursion: the depth is the client's.
    let mut ahead = vec![(String::new(), root, 0)];
    while let Some((path, name, depth)) = ahead.pop() {
        if depth > DEPTH_MAX {
            return Err(BadTree::TooMuch("100 folders within each other"));
        }
        walk.folder(&path, &name, depth, &mut ahead)?;
    }
    Ok(walk.plan)
}

struct Walk<'f> {
    function: Function,
    fetch: &'f mut dyn FnMut(&BlobName) -> Option<Bytes>,
    plan: Plan,
    bytes: u64,
    nodes: usize,
    text_bytes: usize,
}

impl Walk<'_> {
    fn folder(
        &mut self,
        path: &str,
        name: &BlobName,
        depth: usize,
        ahead: &mut Vec<(String, BlobName, usize)>,
    ) -> Result<(), BadTree> {
        if name.bytes > DIRECTORY_BYTES_MAX {
            return Err(BadTree::TooMuch("4 MiB in one folder's message"));
        }
        let Some(bytes) = (self.fetch)(name) else {
            if self.plan.missing.len() < MISSING_MAX && !self.plan.missing.contains(name) {
                self.plan.missing.push(*name);
            }
            return Ok(());
        };
        let directory = proto::Directory::decode(bytes)
            .map_err(|error| malformed(path, &format!("is no folder: {error}")))?;
        let mut names = HashSet::new();
        for file in &directory.files {
            let at = self.enter(path, &file.name, &mut names)?;
            let content = self.digest(&at, file.digest.as_ref())?;
            self.bytes = self.bytes.saturating_add(content.bytes);
            if self.bytes > TREE_BYTES_MAX {
                return Err(BadTree::TooMuch("8 GiB"));
            }
            let changed = changed(&at, file.node_properties.as_ref())?;
            let executable = file.is_executable;
            self.plan.files.push(PlannedFile { path: at, content, executable, changed });
        }
        for link in &directory.symlinks {
            let at = self.enter(path, &link.name, &mut names)?;
            let target = &link.target;
            if target.is_empty() || target.len() > PATH_BYTES_MAX || target.contains('\0') {
                return Err(malformed(&at, "is a link that leads nowhere"));
            }
            self.count_text(target.len())?;
            self.plan.links.push((at, target.clone()));
        }
        // The last is taken first: so they come in their own order.
        for folder in directory.directories.iter().rev() {
            let at = self.enter(path, &folder.name, &mut names)?;
            let content = self.digest(&at, folder.digest.as_ref())?;
            ahead.push((at, content, depth + 1));
        }
        if !path.is_empty() {
            self.plan.folders.push(path.to_owned());
        }
        Ok(())
    }

    /// The path of one more node.
    fn enter<'d>(
        &mut self,
        folder: &str,
        name: &'d str,
        names: &mut HashSet<&'d str>,
    ) -> Result<String, BadTree> {
        let is_bad = name.is_empty()
            || name == "."
            || name == ".."
            || name.len() > NAME_BYTES_MAX
            || name.bytes().any(|byte| byte == b'/' || byte == 0);
        if is_bad {
            return Err(malformed(folder, &format!("holds the name {name:?}")));
        }
        if !names.insert(name) {
            return Err(malformed(folder, &format!("holds the name {name:?} twice")));
        }
        let path = match folder {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        };
        if path.len() > PATH_BYTES_MAX {
            return Err(malformed(folder, "is too long a path"));
        }
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(BadTree::TooMuch("100,000 files and folders"));
        }
        self.count_text(path.len())?;
        Ok(path)
    }

    fn count_text(&mut self, bytes: usize) -> Result<(), BadTree> {
        self.text_bytes += bytes;
        match self.text_bytes > TEXT_BYTES_MAX {
            true => Err(BadTree::TooMuch("32 MiB of names")),
            false => Ok(()),
        }
    }

    fn digest(&self, path: &str, digest: Option<&proto::Digest>) -> Result<BlobName, BadTree> {
        digest
            .and_then(|digest| BlobName::of_message(self.function, digest))
            .ok_or_else(|| malformed(path, "has no good digest"))
    }
}

/// A second has so many nanoseconds.
const SECOND_NANOS: u32 = 1_000_000_000;

fn changed(
    path: &str,
    properties: Option<&proto::NodeProperties>,
) -> Result<Option<SystemTime>, BadTree> {
    let Some(mtime) = properties.and_then(|properties| properties.mtime) else { return Ok(None) };
    let nanos = u32::try_from(mtime.nanos).ok().filter(|nanos| *nanos < SECOND_NANOS);
    let nanos = Duration::from_nanos(u64::from(nanos.unwrap_or(SECOND_NANOS)));
    let seconds = Duration::from_secs(mtime.seconds.unsigned_abs());
    let whole = match mtime.seconds >= 0 {
        true => SystemTime::UNIX_EPOCH.checked_add(seconds),
        false => SystemTime::UNIX_EPOCH.checked_sub(seconds),
    };
    let changed =
        whole.filter(|_| nanos < Duration::from_secs(1)).and_then(|whole| whole.checked_add(nanos));
    match changed {
        Some(changed) => Ok(Some(changed)),
        None => Err(malformed(path, "has no good time")),
    }
}

fn malformed(path: &str, why: &str) -> BadTree {
    let shown: String = path.chars().take(SHOWN_CHARS_MAX).collect();
    BadTree::Malformed(format!("/{shown} {why}"))
}

/// How much of a path is shown.
const SHOWN_CHARS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const FUNCTION: Function = Function::Blake3;

    #[derive(Default)]
    struct Blobs(HashMap<BlobName, Bytes>);

    impl Blobs {
        fn put(&mut self, directory: proto::Directory) -> BlobName {
            let bytes = directory.encode_to_vec();
            let name = FUNCTION.name(&bytes);
            self.0.insert(name, bytes.into());
            name
        }

        fn plan(&self, root: BlobName) -> Result<Plan, BadTree> {
            plan(FUNCTION, root, &mut |name| self.0.get(name).cloned())
        }

        fn plan_of(&mut self, directory: proto::Directory) -> Result<Plan, BadTree> {
            let root = self.put(directory);
            self.plan(root)
        }
    }

    fn file(name: &str, bytes: i64) -> proto::FileNode {
        let digest = proto::Digest { hash: "0".repeat(64), size_bytes: bytes };
        proto::FileNode { name: name.to_owned(), digest: Some(digest), ..Default::default() }
    }

    fn folder(name: &str, content: BlobName) -> proto::DirectoryNode {
        proto::DirectoryNode { name: name.to_owned(), digest: Some(content.message()) }
    }

    fn link(name: &str, target: &str) -> proto::SymlinkNode {
        proto::SymlinkNode {
            name: name.to_owned(),
            target: target.to_owned(),
            ..Default::default()
        }
    }

    fn with_files(files: Vec<proto::FileNode>) -> proto::Directory {
        proto::Directory { files, ..Default::default() }
    }

    #[test]
    fn a_tree_becomes_lists() {
        let mut blobs = Blobs::default();
        let mut timed = file("a.h", 3);
        let mtime = Some(proto::Timestamp { seconds: -1, nanos: 500_000_000 });
        timed.node_properties = Some(proto::NodeProperties { mtime, ..Default::default() });
        timed.is_executable = true;
        let leaf = blobs.put(with_files(vec![timed]));
        let missing = FUNCTION.name(b"nowhere");
        let root = proto::Directory {
            directories: vec![folder("x", leaf), folder("y", leaf), folder("z", missing)],
            symlinks: vec![link("up", "../../etc"), link("away", "/etc/passwd")],
            ..Default::default()
        };
        let plan = blobs.plan_of(root).unwrap();
        assert_eq!(plan.folders, ["x", "y"]);
        let paths: Vec<_> = plan.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["x/a.h", "y/a.h"]);
        assert_eq!(plan.links[1], ("away".to_owned(), "/etc/passwd".to_owned()));
        assert_eq!(plan.missing, [missing]);
        let changed = SystemTime::UNIX_EPOCH - Duration::from_millis(500);
        assert_eq!((plan.files[0].changed, plan.files[0].executable), (Some(changed), true));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let long = "n".repeat(256);
        for name in ["", ".", "..", "a/b", "/etc", "nul\0", long.as_str()] {
            let mut blobs = Blobs::default();
            let empty = blobs.put(proto::Directory::default());
            let directories = vec![folder(name, empty)];
            let symlinks = vec![link(name, "x")];
            for directory in [
                with_files(vec![file(name, 0)]),
                proto::Directory { directories, ..Default::default() },
                proto::Directory { symlinks, ..Default::default() },
            ] {
                let error = blobs.plan_of(directory).unwrap_err();
                assert!(matches!(error, BadTree::Malformed(_)), "{name}: {error}");
            }
        }
    }

    #[test]
    fn one_name_is_one_thing() {
        let mut blobs = Blobs::default();
        let inner = blobs.put(with_files(vec![file("passwd", 0)]));
        // Through the link, the file would be written elsewhere.
        let directory = proto::Directory {
            directories: vec![folder("etc", inner)],
            symlinks: vec![link("etc", "/etc")],
            ..Default::default()
        };
        assert!(blobs.plan_of(directory).is_err());
        assert!(blobs.plan_of(with_files(vec![file("a", 1), file("a", 1)])).is_err());
        let nowhere = proto::Directory { symlinks: vec![link("a", "")], ..Default::default() };
        assert!(blobs.plan_of(nowhere).is_err());
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let mut blobs = Blobs::default();
        let mut deep = blobs.put(proto::Directory::default());
        for _ in 0..DEPTH_MAX {
            let directories = vec![folder("d", deep)];
            deep = blobs.put(proto::Directory { directories, ..Default::default() });
        }
        assert_eq!(blobs.plan(deep).unwrap().folders.len(), DEPTH_MAX);
        let directories = vec![folder("d", deep)];
        let deeper = blobs.put(proto::Directory { directories, ..Default::default() });
        assert!(matches!(blobs.plan(deeper), Err(BadTree::TooMuch(_))));
        // Each level holds the one below ten times.
        let mut wide = blobs.put(with_files(vec![file("f", 0)]));
        for _ in 0..12 {
            let directories = (0..10).map(|number| folder(&number.to_string(), wide)).collect();
            wide = blobs.put(proto::Directory { directories, ..Default::default() });
        }
        assert!(matches!(blobs.plan(wide), Err(BadTree::TooMuch(_))));
        let huge = blobs.plan_of(with_files(vec![file("a", i64::MAX), file("b", i64::MAX)]));
        assert!(matches!(huge, Err(BadTree::TooMuch(_))));
        assert!(matches!(
            blobs.plan_of(with_files(vec![file("a", -1)])),
            Err(BadTree::Malformed(_))
        ));
        let large = BlobName { bytes: DIRECTORY_BYTES_MAX + 1, ..wide };
        assert!(matches!(blobs.plan(large), Err(BadTree::TooMuch(_))));
    }

    #[test]
    fn nonsense_is_no_folder() {
        let mut blobs = Blobs::default();
        let name = FUNCTION.name(b"\xff\xff");
        blobs.0.insert(name, Bytes::from_static(b"\xff\xff"));
        assert!(matches!(blobs.plan(name), Err(BadTree::Malformed(_))));
        let mut timed = file("a.h", 3);
        let mtime = Some(proto::Timestamp { seconds: i64::MIN, nanos: -1 });
        timed.node_properties = Some(proto::NodeProperties { mtime, ..Default::default() });
        assert!(matches!(blobs.plan_of(with_files(vec![timed])), Err(BadTree::Malformed(_))));
    }
}
