//! Files of input trees, ready to be linked into the folders of jobs: a header is written once, not once for
//! each compile.
//!
//! A copy has the time and the permissions that the tree says; so one blob can have several. Jobs cannot change
//! it: it is read-only, its owner has no rights beyond that in a job, and a job's system calls cannot change
//! permissions. The store's own file is never linked.

use super::cas::Cas;
use super::own_files::OwnFiles;
use super::tree::PlannedFile;
use remote::reapi::digest::BlobName;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

/// What all copies may take on disk.
pub const COPIES_BYTES_MAX: u64 = 8 << 30;

/// Copies at one time; more than any project has headers.
const COPIES_MAX: usize = 500_000;

/// What each costs besides its bytes.
const FILE_COST_BYTES: u64 = 512;

/// When a file was changed of which the tree does not say it: the same for all.
const CHANGED_SECONDS: u64 = 1_000_000_000;

/// How much is copied at a time.
const PIECE_BYTES: usize = 256 << 10;

/// The head of a file that tells whether it is a program.
const HEAD_BYTES: usize = 18;

/// All copies.
pub struct Copies {
    folder: PathBuf,
    bytes_max: u64,
    /// Whether jobs cannot change permissions: else each gets files of its own.
    shared: bool,
    state: Mutex<State>,
    numbers: AtomicU64,
}

#[derive(Default)]
struct State {
    copies: HashMap<Look, Entry>,
    order: BTreeMap<u64, Look>,
    next: u64,
    bytes: u64,
}

/// What a copy looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Look {
    content: BlobName,
    executable: bool,
    changed: SystemTime,
}

struct Entry {
    number: u64,
    cost: u64,
    used: u64,
    is_program: bool,
}

/// A file that was put into a job's folder.
pub struct Placed {
    /// It holds machine code, or is a script that may be run.
    pub is_program: bool,
}

/// Why a file is not put there.
#[derive(Debug, thiserror::Error)]
pub enum NotPlaced {
    /// Its blob is not there, or no longer.
    #[error("a blob of the input tree is missing")]
    Missing,
    /// The disk says no.
    #[error("the input tree cannot be written: {0}")]
    Disk(#[from] io::Error),
}

impl Copies {
    /// None yet, in a folder that is there. They are `shared` where jobs cannot change permissions.
    pub fn new(folder: PathBuf, bytes_max: u64, shared: bool) -> Copies {
        let numbers = AtomicU64::new(0);
        Copies { folder, bytes_max, shared, state: Mutex::default(), numbers }
    }

    /// Puts files into the folders of one job.
    pub fn for_job<'c>(self: &'c Copies, cas: &'c Cas, own: &'c OwnFiles) -> Placing<'c> {
        Placing { copies: self, cas, own, contents: HashSet::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(number.to_string())
    }

    /// Links a copy that is there. `None`: there is none that can be linked.
    fn link(&self, look: &Look, to: &Path) -> Option<Placed> {
        let mut state = self.lock();
        let number = state.touch(look)?;
        if fs::hard_link(self.path(number), to).is_err() {
            // It has as many links as the file system allows, or is gone: the next one gets a new one.
            self.remove(&mut state, look);
            return None;
        }
        state.copies.get(look).map(|entry| Placed { is_program: entry.is_program })
    }

    fn keep(&self, look: Look, number: u64, is_program: bool) {
        let cost = look.content.bytes + FILE_COST_BYTES;
        let mut state = self.lock();
        self.remove(&mut state, &look);
        while state.bytes + cost > self.bytes_max || state.copies.len() >= COPIES_MAX {
            let Some(oldest) = state.order.first_key_value().map(|(_, look)| *look) else { break };
            self.remove(&mut state, &oldest);
        }
        let used = state.next;
        state.next += 1;
        state.order.insert(used, look);
        state.bytes += cost;
        state.copies.insert(look, Entry { number, cost, used, is_program });
    }

    fn remove(&self, state: &mut State, look: &Look) {
        if let Some(entry) = state.copies.remove(look) {
            state.order.remove(&entry.used);
            state.bytes -= entry.cost;
            let _ = fs::remove_file(self.path(entry.number));
        }
    }
}

impl State {
    fn touch(&mut self, look: &Look) -> Option<u64> {
        let next = self.next;
        let entry = self.copies.get_mut(look)?;
        self.order.remove(&entry.used);
        entry.used = next;
        self.order.insert(next, *look);
        self.next += 1;
        Some(entry.number)
    }
}

/// Puts the files of one job where they belong.
pub struct Placing<'c> {
    copies: &'c Copies,
    cas: &'c Cas,
    own: &'c OwnFiles,
    /// Contents that are in the job's folder already.
    contents: HashSet<BlobName>,
}

impl Placing<'_> {
    /// Puts one file there. Two files of one content are two files: clang's `#pragma once` goes by inode.
    pub fn place(&mut self, file: &PlannedFile, to: &Path) -> Result<Placed, NotPlaced> {
        let default = SystemTime::UNIX_EPOCH + Duration::from_secs(CHANGED_SECONDS);
        let PlannedFile { content, executable, changed, path: _ } = file;
        let changed = changed.unwrap_or(default);
        let look = Look { content: *content, executable: *executable, changed };
        if !self.contents.insert(*content) || !self.copies.shared {
            return self.write(&look, to);
        }
        if let Some(placed) = self.copies.link(&look, to) {
            return Ok(placed);
        }
        let number = self.copies.numbers.fetch_add(1, Ordering::Relaxed);
        let path = self.copies.path(number);
        let written = self.write(&look, &path);
        let placed = match written.and_then(|placed| Ok((fs::hard_link(&path, to)?, placed))) {
            Ok(((), placed)) => placed,
            Err(error) => {
                let _ = fs::remove_file(&path);
                return Err(error);
            }
        };
        self.copies.keep(look, number, placed.is_program);
        Ok(placed)
    }

    fn write(&self, look: &Look, to: &Path) -> Result<Placed, NotPlaced> {
        let mode = if look.executable { 0o555 } else { 0o444 };
        let mut options = File::options();
        let file = options.write(true).create_new(true).mode(mode).open(to)?;
        let head = match self.cas.open_blob(&look.content) {
            Some(mut blob) => copy(&mut blob, &file),
            None => match self.own.open(&look.content) {
                Some(mut own) => copy(&mut own, &file),
                None => return Err(NotPlaced::Missing),
            },
        };
        let head = head.map_err(|error| match error.kind() {
            // It was not what its name says.
            io::ErrorKind::InvalidData => NotPlaced::Missing,
            _ => NotPlaced::Disk(error),
        })?;
        file.set_modified(look.changed)?;
        Ok(Placed { is_program: is_program(&head, look.executable) })
    }
}

/// Copies all of it; gives its head.
fn copy(from: &mut dyn Read, mut to: &File) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut head = Vec::new();
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => return Ok(head),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let missing = HEAD_BYTES.saturating_sub(head.len());
        head.extend_from_slice(&piece[..count.min(missing)]);
        to.write_all(&piece[..count])?;
    }
}

/// Of an ELF file, which kind it is: 2 is a program, 3 a library or a program.
const ELF_KIND_AT: usize = 16;

fn is_program(head: &[u8], executable: bool) -> bool {
    let elf = head.starts_with(b"\x7fELF");
    let kind = head.get(ELF_KIND_AT..HEAD_BYTES);
    elf && kind.is_some_and(|kind| matches!(kind, [2 | 3, 0] | [0, 2 | 3]))
        || executable && head.starts_with(b"#!")
}

/// All copies, shared by jobs.
pub type SharedCopies = Arc<Copies>;

#[cfg(test)]
mod tests {
    use super::*;
    use remote::reapi::digest::Function;
    use std::os::unix::fs::MetadataExt;

    fn file(content: BlobName, changed: u64) -> PlannedFile {
        let changed = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(changed));
        PlannedFile { path: String::new(), content, executable: false, changed }
    }

    #[test]
    fn a_copy_is_shared_by_jobs_and_not_within_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let cas = Arc::new(Cas::open(&at("cas"), 1 << 20).unwrap());
        let name = Function::Sha256.name(b"header");
        cas.put(&name, b"header").unwrap();
        fs::create_dir(at("copies")).unwrap();
        let copies = Copies::new(at("copies"), 1 << 20, true);
        let own = OwnFiles::default();
        let mut one = copies.for_job(&cas, &own);
        one.place(&file(name, 7), &at("1a")).unwrap();
        one.place(&file(name, 7), &at("1b")).unwrap();
        one.place(&file(name, 8), &at("1c")).unwrap();
        let mut two = copies.for_job(&cas, &own);
        two.place(&file(name, 7), &at("2a")).unwrap();
        two.place(&file(name, 8), &at("2b")).unwrap();
        let stat = |name: &str| fs::metadata(at(name)).unwrap();
        let inode = |name: &str| stat(name).ino();
        assert_eq!(inode("1a"), inode("2a"));
        assert!(inode("1a") != inode("1b") && inode("1b") != inode("1c"));
        assert_eq!((stat("1a").mtime(), stat("1c").mtime(), stat("2b").mtime()), (7, 8, 8));
        assert_eq!(stat("1a").mode() & 0o777, 0o444);
        for name in ["1a", "1b", "1c", "2a", "2b"] {
            assert_eq!(fs::read(at(name)).unwrap(), b"header");
        }
        let alone = Copies::new(at("copies"), 1 << 20, false);
        alone.for_job(&cas, &own).place(&file(name, 7), &at("3a")).unwrap();
        alone.for_job(&cas, &own).place(&file(name, 7), &at("4a")).unwrap();
        assert_ne!(inode("3a"), inode("4a"));
    }

    #[test]
    fn a_cap_is_kept_and_what_is_missing_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let cas = Arc::new(Cas::open(&at("cas"), 1 << 20).unwrap());
        fs::create_dir(at("copies")).unwrap();
        let copies = Copies::new(at("copies"), 3 * FILE_COST_BYTES, true);
        let own = OwnFiles::default();
        for number in 0..10_u8 {
            let name = Function::Blake3.name(&[number]);
            cas.put(&name, &[number]).unwrap();
            let mut job = copies.for_job(&cas, &own);
            job.place(&file(name, 1), &at(&number.to_string())).unwrap();
        }
        assert!(copies.lock().bytes <= 3 * FILE_COST_BYTES);
        assert_eq!(fs::read_dir(at("copies")).unwrap().count(), 2);
        let missing = file(Function::Blake3.name(b"missing"), 1);
        let placed = copies.for_job(&cas, &own).place(&missing, &at("missing"));
        assert!(matches!(placed, Err(NotPlaced::Missing)));
        assert_eq!(fs::read_dir(at("copies")).unwrap().count(), 2);
    }

    #[test]
    fn programs_are_told_from_texts() {
        let elf = |kind: u8| [&b"\x7fELF\x02\x01\x01"[..], &[0; 9], &[kind, 0]].concat();
        assert!(is_program(&elf(2), false) && is_program(&elf(3), false));
        assert!(!is_program(&elf(1), false), "an object");
        assert!(is_program(b"#!/bin/sh", true) && !is_program(b"#!/bin/sh", false));
        assert!(!is_program(b"#pragma once", true) && !is_program(b"", true));
    }
}
