//! What is at each place where a compiler may have looked, asked of the file system once.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{FileRead, Opaque, Probes};
use crate::file_memo::Stamp;
use rustix::fs::FileType;

/// What a compiler that looks at one place finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing: an index for [`Disk::need_absent`].
    Absent(u32),
    /// A folder, which is passed over.
    Folder,
    /// A file that was read, by the name under which it was read.
    Read(usize),
    /// Another name of a file that was read, or a file that is equal to one read once only.
    Alias(usize),
    /// A file that was not read.
    Unread,
}

/// Length and time of last change: what gcc compares before it skips a file that is to be read
/// once only (`libcpp/files.cc`, `is_known_idempotent_file`; it then compares contents, too).
type Likeness = (u64, i128);

struct Identities {
    /// By device and inode.
    of_files: HashMap<(u64, u64), usize>,
    /// Of the files to be read once only.
    once: HashMap<Likeness, usize>,
}

/// The answers so far, and the probes that follow from them.
pub(super) struct Disk<'a> {
    files: &'a [FileRead],
    cwd: &'a Path,
    exists: &'a mut dyn FnMut(&Path) -> bool,
    by_name: HashMap<Vec<u8>, usize>,
    identities: Option<Identities>,
    found: HashMap<Vec<u8>, Found>,
    folder_exists: HashMap<Vec<u8>, bool>,
    folder_index: HashMap<Vec<u8>, u32>,
    absents: Vec<Absent>,
    absent_index: HashMap<Vec<u8>, u32>,
    seen: HashSet<Vec<u8>>,
    probes: Probes,
}

struct Absent {
    folder: Vec<u8>,
    name: Vec<u8>,
    needed: bool,
}

impl<'a> Disk<'a> {
    pub(super) fn new(
        files: &'a [FileRead],
        cwd: &'a Path,
        exists: &'a mut dyn FnMut(&Path) -> bool,
    ) -> Disk<'a> {
        let by_name = files
            .iter()
            .enumerate()
            .rev()
            .map(|(index, file)| (plain_spelling(file.path.as_os_str().as_bytes()), index))
            .collect();
        Disk {
            files,
            cwd,
            exists,
            by_name,
            identities: None,
            found: HashMap::new(),
            folder_exists: HashMap::new(),
            folder_index: HashMap::new(),
            absents: Vec::new(),
            absent_index: HashMap::new(),
            seen: HashSet::new(),
            probes: Probes::default(),
        }
    }

    /// What is at `path`, relative to the working directory.
    pub(super) fn look(&mut self, path: &[u8]) -> Result<Found, Opaque> {
        if let Some(found) = self.found.get(path) {
            return Ok(*found);
        }
        let found = match self.by_name.get(&plain_spelling(path)) {
            Some(index) => Found::Read(*index),
            None => match self.absence(path) {
                Some(absent) => Found::Absent(absent),
                None => self.identify(path)?,
            },
        };
        self.found.insert(path.to_vec(), found);
        Ok(found)
    }

    /// Where the first missing part of `path` is noted; `None` when something is there.
    pub(super) fn absence(&mut self, path: &[u8]) -> Option<u32> {
        let mut missing = path;
        if self.has_folder(folder_of(path)) {
            if (self.exists)(&self.cwd.join(as_path(path))) {
                return None;
            }
        } else {
            // The shallowest missing folder stands for all that could be below it.
            missing = folder_of(path);
            while !self.has_folder(folder_of(missing)) {
                missing = folder_of(missing);
            }
        }
        if let Some(index) = self.absent_index.get(missing) {
            return Some(*index);
        }
        let index = self.absents.len() as u32;
        let folder = folder_of(missing);
        let name = missing[folder.len()..].strip_prefix(b"/").unwrap_or(&missing[folder.len()..]);
        self.absents.push(Absent { folder: folder.to_vec(), name: name.to_vec(), needed: false });
        self.absent_index.insert(missing.to_vec(), index);
        Some(index)
    }

    fn has_folder(&mut self, folder: &[u8]) -> bool {
        if folder.is_empty() || folder == b"/" {
            return true;
        }
        if let Some(there) = self.folder_exists.get(folder) {
            return *there;
        }
        let there = (self.exists)(&self.cwd.join(as_path(folder)));
        self.folder_exists.insert(folder.to_vec(), there);
        there
    }

    /// What the existing thing at `path` is, when its name is not that of a file read.
    fn identify(&mut self, path: &[u8]) -> Result<Found, Opaque> {
        let changed = |_| Opaque::Changed(as_path(path).to_path_buf());
        let stat = rustix::fs::stat(self.cwd.join(as_path(path))).map_err(changed)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Ok(Found::Folder);
        }
        let stamp = Stamp::of(&stat);
        let identities = self.identities();
        let same = identities.of_files.get(&(stamp.device, stamp.inode));
        let alike = || identities.once.get(&likeness(&stamp));
        Ok(same.or_else(alike).map_or(Found::Unread, |index| Found::Alias(*index)))
    }

    /// By the stamps that came with the files: asking for them once more would be most of the work.
    fn identities(&mut self) -> &Identities {
        self.identities.get_or_insert_with(|| {
            let mut of_files = HashMap::with_capacity(self.files.len());
            let mut once = HashMap::new();
            for (index, FileRead { stamp, scan, .. }) in self.files.iter().enumerate() {
                of_files.entry((stamp.device, stamp.inode)).or_insert(index);
                if scan.once {
                    once.entry(likeness(stamp)).or_insert(index);
                }
            }
            Identities { of_files, once }
        })
    }

    /// The result depends on nothing being there.
    pub(super) fn need_absent(&mut self, index: u32) {
        self.absents[index as usize].needed = true;
    }

    /// The result depends on a folder, not a file, being at `path`.
    pub(super) fn need_folder(&mut self, path: &[u8]) {
        if self.seen.insert(path.to_vec()) {
            self.probes.directories.push(as_path(path).to_path_buf());
        }
    }

    /// The result depends on the content at `path`; whether that is new.
    pub(super) fn need_input(&mut self, path: &[u8]) -> bool {
        let new = self.seen.insert([b"input:", path].concat());
        if new {
            self.probes.inputs.push(as_path(path).to_path_buf());
        }
        new
    }

    /// The result depends on some file being at `path`.
    pub(super) fn need_present(&mut self, path: &[u8]) {
        if self.seen.insert([b"present:", path].concat()) {
            self.probes.present.push(as_path(path).to_path_buf());
        }
    }

    /// The result depends on both naming the same folder.
    pub(super) fn need_same(&mut self, one: &Path, other: &Path) {
        self.probes.same_folders.push((one.to_path_buf(), other.to_path_buf()));
    }

    /// The result depends on which folders of the search path are the same.
    pub(super) fn need_search_folders(&mut self, folders: Vec<(PathBuf, u32)>) {
        self.probes.search_folders = folders;
    }

    /// What was needed, in a fixed order.
    pub(super) fn into_probes(mut self) -> Probes {
        self.absents.retain(|absent| absent.needed);
        self.absents.sort_by(|a, b| (&a.folder, &a.name).cmp(&(&b.folder, &b.name)));
        for absent in std::mem::take(&mut self.absents) {
            let next = self.probes.folders.len() as u32;
            let index = *self.folder_index.entry(absent.folder.clone()).or_insert(next);
            if index == next {
                self.probes.folders.push(as_path(&absent.folder).to_path_buf());
            }
            self.probes.absent.push((index, absent.name));
        }
        self.probes
    }
}

fn likeness(stamp: &Stamp) -> Likeness {
    (stamp.size, stamp.modified_ns)
}

pub(super) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// The folder of a path as compilers take it: what stands before the last slash.
pub(super) fn folder_of(path: &[u8]) -> &[u8] {
    match memchr::memrchr(b'/', path) {
        Some(0) => b"/",
        Some(at) => &path[..at],
        None => b"",
    }
}

/// A name in a folder, as compilers spell it.
pub(super) fn spell(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(folder.len() + 1 + name.len() + 4);
    if !folder.is_empty() && !name.starts_with(b"/") {
        path.extend_from_slice(folder);
        if !folder.ends_with(b"/") {
            path.push(b'/');
        }
    }
    path.extend_from_slice(name);
    path
}

/// `path` without empty parts and `.` parts. `..` stays: with links it is not what it seems.
pub(super) fn plain_spelling(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    if path.starts_with(b"/") {
        plain.push(b'/');
    }
    let mut rest = path;
    while !rest.is_empty() {
        let end = memchr::memchr(b'/', rest).unwrap_or(rest.len());
        let part = &rest[..end];
        rest = &rest[(end + 1).min(rest.len())..];
        if part.is_empty() || part == b"." {
            continue;
        }
        if !matches!(plain.last(), None | Some(b'/')) {
            plain.push(b'/');
        }
        plain.extend_from_slice(part);
    }
    plain
}

/// `path` with each `..` taken to undo the part before it, as if there were no links.
pub(super) fn collapsed(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                parts.pop();
            }
            std::path::Component::CurDir => {}
            other => parts.push(other),
        }
    }
    parts
}
