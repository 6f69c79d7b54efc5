//! The part of the file system that a walk has asked for, each thing once, by paths without links.

use super::{FileNode, InputTree, Node, Unprovable, Wanted};
use crate::file_memo::{Content, Stamp, is_folder, is_null_device, is_regular};
use crate::scan::Scan;
use rustix::fs::FileType;
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// The kernel follows no more links on one way (`MAXSYMLINKS`).
const LINKS_MAX: u32 = 40;

/// Bytes that one remembered thing takes besides its name.
const ITEM_BYTES: usize = 96;

/// Looks between two looks at the clock.
const LOOKS_BETWEEN: u64 = 1024;

/// Folders whose content belongs to the process that looks, or to the kernel.
const PRIVATE: [&[u8]; 3] = [b"/proc", b"/dev", b"/sys"];

/// A folder: an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Folder(pub u32);

/// A file: an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct File(pub u32);

/// The root.
const ROOT: Folder = Folder(0);

/// Where a path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leads {
    Folder(Folder),
    File(File),
    /// To `/dev/null`, which is everywhere.
    Null,
    Nowhere,
}

#[derive(Clone)]
enum Entry {
    Absent,
    Folder(Folder),
    Link(Rc<[u8]>),
    File(File),
    Null,
    Special,
}

struct FolderData {
    path: Vec<u8>,
    parent: Folder,
    entries: HashMap<Rc<[u8]>, Entry>,
    id: (u64, u64),
    kept: bool,
}

struct FileData {
    path: PathBuf,
    executable: bool,
    stamp: Stamp,
    content: Option<(Content, Option<Arc<Scan>>)>,
    kept: bool,
}

pub(super) struct Disk<'a> {
    wanted: &'a Wanted<'a>,
    folders: Vec<FolderData>,
    files: Vec<FileData>,
    links: HashMap<PathBuf, PathBuf>,
    looks_left: u64,
    bytes_left: usize,
    /// The file whose includes are followed.
    pub(super) about: PathBuf,
}

impl<'a> Disk<'a> {
    pub(super) fn new(wanted: &'a Wanted<'a>) -> Disk<'a> {
        let root = FolderData {
            path: Vec::new(),
            parent: ROOT,
            entries: HashMap::new(),
            id: (0, 0),
            kept: true,
        };
        Disk {
            wanted,
            folders: vec![root],
            files: Vec::new(),
            links: HashMap::new(),
            looks_left: wanted.bounds.looks,
            bytes_left: wanted.bounds.bytes,
            about: wanted.source.to_owned(),
        }
    }

    /// Where a path leads from a folder; what is on the way is kept where `keep` asks for it.
    pub(super) fn resolve(
        &mut self,
        from: Folder,
        path: &[u8],
        keep: bool,
    ) -> Result<Leads, Unprovable> {
        let mut links = 0;
        self.follow(from, path, keep, &mut links)
    }

    fn follow(
        &mut self,
        from: Folder,
        path: &[u8],
        keep: bool,
        links: &mut u32,
    ) -> Result<Leads, Unprovable> {
        let mut at = if path.starts_with(b"/") { ROOT } else { from };
        let mut rest = path;
        while !rest.is_empty() {
            let end = memchr::memchr(b'/', rest).unwrap_or(rest.len());
            let part = &rest[..end];
            rest = &rest[(end + 1).min(rest.len())..];
            let is_last = rest.iter().all(|byte| *byte == b'/') && end == part.len();
            match part {
                b"" | b"." => continue,
                b".." => {
                    // Whoever goes up must have been there.
                    self.folders[at.0 as usize].kept |= keep;
                    at = self.folder(at).parent;
                    continue;
                }
                _ => {}
            }
            let leads = match self.entry(at, part)? {
                Entry::Absent => return Ok(Leads::Nowhere),
                Entry::Folder(folder) => Leads::Folder(folder),
                Entry::File(file) => Leads::File(file),
                Entry::Null => Leads::Null,
                Entry::Special => return Err(Unprovable::Unreadable(self.path(at, part))),
                Entry::Link(target) => {
                    *links += 1;
                    if *links > LINKS_MAX {
                        return Err(Unprovable::Unreadable(self.path(at, part)));
                    }
                    if keep {
                        self.keep_link(at, part, &target)?;
                    }
                    self.follow(at, &target, keep, links)?
                }
            };
            match leads {
                Leads::Folder(folder) => at = folder,
                Leads::File(file) if is_last && !path.ends_with(b"/") => {
                    if keep {
                        self.files[file.0 as usize].kept = true;
                    }
                    return Ok(leads);
                }
                Leads::Null if is_last => return Ok(Leads::Null),
                _ => return Ok(Leads::Nowhere),
            }
        }
        if keep {
            self.folders[at.0 as usize].kept = true;
        }
        Ok(Leads::Folder(at))
    }

    fn keep_link(&mut self, at: Folder, name: &[u8], target: &[u8]) -> Result<(), Unprovable> {
        let path = self.path(at, name);
        if !self.links.contains_key(&path) {
            self.take(path.as_os_str().len() + target.len() + ITEM_BYTES)?;
            self.links.insert(path, PathBuf::from(OsStr::from_bytes(target)));
        }
        Ok(())
    }

    fn entry(&mut self, at: Folder, name: &[u8]) -> Result<Entry, Unprovable> {
        self.look()?;
        if let Some(entry) = self.folder(at).entries.get(name) {
            return Ok(entry.clone());
        }
        let path = self.path(at, name);
        self.take(2 * name.len() + ITEM_BYTES)?;
        let entry = match rustix::fs::lstat(&path) {
            Err(Errno::NOENT | Errno::NOTDIR) => Entry::Absent,
            Err(_) => return Err(Unprovable::Unreadable(path)),
            Ok(stat) if is_null_device(&stat) => Entry::Null,
            Ok(_) if is_private(&path) => return Err(Unprovable::Private(path)),
            Ok(stat) if is_folder(&stat) => {
                let id = (stat.st_dev, stat.st_ino);
                Entry::Folder(self.add_folder(at, path.as_os_str().as_bytes(), id)?)
            }
            Ok(stat) if is_regular(&stat) => Entry::File(self.add_file(path, &stat)?),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                let target = rustix::fs::readlink(&path, Vec::new())
                    .map_err(|_| Unprovable::Unreadable(path))?;
                Entry::Link(target.as_bytes().into())
            }
            Ok(_) => Entry::Special,
        };
        self.folders[at.0 as usize].entries.insert(name.into(), entry.clone());
        Ok(entry)
    }

    fn add_folder(
        &mut self,
        parent: Folder,
        path: &[u8],
        id: (u64, u64),
    ) -> Result<Folder, Unprovable> {
        self.take(path.len() + ITEM_BYTES)?;
        let index = self.folders.len() as u32;
        let entries = HashMap::new();
        self.folders.push(FolderData { path: path.to_vec(), parent, entries, id, kept: false });
        Ok(Folder(index))
    }

    fn add_file(&mut self, path: PathBuf, stat: &rustix::fs::Stat) -> Result<File, Unprovable> {
        self.take(path.as_os_str().len() + ITEM_BYTES)?;
        let index = self.files.len() as u32;
        let executable = stat.st_mode & 0o111 != 0;
        let stamp = Stamp::of(stat);
        self.files.push(FileData { path, executable, stamp, content: None, kept: false });
        Ok(File(index))
    }

    fn folder(&self, folder: Folder) -> &FolderData {
        &self.folders[folder.0 as usize]
    }

    /// The device and inode of a folder.
    pub(super) fn id(&self, folder: Folder) -> (u64, u64) {
        self.folder(folder).id
    }

    /// The path of a name in a folder.
    pub(super) fn path(&self, folder: Folder, name: &[u8]) -> PathBuf {
        let mut path = Vec::with_capacity(self.folder(folder).path.len() + 1 + name.len());
        path.extend_from_slice(&self.folder(folder).path);
        path.push(b'/');
        path.extend_from_slice(name);
        PathBuf::from(OsStr::from_bytes(&path))
    }

    /// The path of a file.
    pub(super) fn file_path(&self, file: File) -> &Path {
        &self.files[file.0 as usize].path
    }

    /// The digest of a file that was scanned.
    pub(super) fn content(&self, file: File) -> Option<Content> {
        self.files[file.0 as usize].content.as_ref().map(|(content, _)| *content)
    }

    /// What a file can make the compiler look for.
    pub(super) fn scan(&mut self, file: File) -> Result<Arc<Scan>, Unprovable> {
        let Wanted { here, memo, now, .. } = self.wanted;
        let data = &mut self.files[file.0 as usize];
        if let Some((_, Some(scan))) = &data.content {
            return Ok(Arc::clone(scan));
        }
        let (content, scan) = memo
            .scanned(here, &data.path, *now)
            .map_err(|_| Unprovable::Unreadable(data.path.clone()))?;
        data.content = Some((content, Some(Arc::clone(&scan))));
        Ok(scan)
    }

    /// One more place is looked at.
    fn look(&mut self) -> Result<(), Unprovable> {
        let too_much = |what| Unprovable::TooMuch(self.about.clone(), what);
        self.looks_left = self.looks_left.checked_sub(1).ok_or_else(|| too_much("places"))?;
        let late = || Instant::now() >= self.wanted.bounds.until;
        match self.looks_left.is_multiple_of(LOOKS_BETWEEN) && late() {
            true => Err(too_much("time")),
            false => Ok(()),
        }
    }

    /// Something of this many bytes is remembered.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Unprovable> {
        let too_much = || Unprovable::TooMuch(self.about.clone(), "memory");
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(too_much)?;
        Ok(())
    }

    /// All that was kept.
    pub(super) fn into_tree(self) -> Result<InputTree, Unprovable> {
        let mut tree = InputTree::default();
        let Wanted { here, memo, now, .. } = self.wanted;
        for folder in self.folders.iter().filter(|folder| folder.kept) {
            let path = PathBuf::from(OsStr::from_bytes(&folder.path));
            tree.nodes.insert(path, Node::Folder);
        }
        for (path, target) in self.links {
            tree.nodes.insert(path, Node::Link(target));
        }
        for file in self.files.into_iter().filter(|file| file.kept) {
            let content = match file.content {
                Some((content, _)) => content,
                None => memo
                    .content(here, &file.path, *now)
                    .map_err(|_| Unprovable::Unreadable(file.path.clone()))?,
            };
            // It was one file when it was found, and another one when it was read.
            if (content.stamp.device, content.stamp.inode) != (file.stamp.device, file.stamp.inode)
            {
                return Err(Unprovable::Unreadable(file.path));
            }
            let node = FileNode { content, executable: file.executable };
            tree.nodes.insert(file.path, Node::File(node));
        }
        Ok(tree)
    }
}

fn is_private(path: &Path) -> bool {
    PRIVATE.iter().any(|folder| path.starts_with(OsStr::from_bytes(folder)))
}
