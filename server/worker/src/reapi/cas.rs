//! Blobs by digest, and results by action, on disk: a size cap, the least recently used go first.
//!
//! A file is visible whole or not at all: it is written under a temporary name, checked, and renamed. Nothing
//! is flushed to the disk; what a crash of the machine leaves incomplete is found when it is read, since every
//! read is checked, too.

use prost::bytes::Bytes;
use remote::reapi::digest::{BlobName, Function, Hasher, hash_of_digits};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

/// The largest blob: the largest object, and room for libraries of compilers.
pub const BLOB_BYTES_MAX: u64 = 1 << 30;

/// What each file costs besides its bytes.
const FILE_COST_BYTES: u64 = 512;

/// Files in all; each costs some hundred bytes of memory.
const FILES_MAX: usize = 2_000_000;

/// Nobody else's business.
const PRIVATE_MODE: u32 = 0o700;

/// Where uploads are written.
const INCOMING: &str = "incoming";

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The blob itself.
    Blob,
    /// The result of the action of that name.
    Result,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::Blob, Kind::Result];

    fn folder(self) -> &'static str {
        match self {
            Kind::Blob => "blobs",
            Kind::Result => "results",
        }
    }
}

/// The folder of a function.
fn function_folder(function: Function) -> &'static str {
    match function {
        Function::Sha256 => "sha256",
        Function::Blake3 => "blake3",
    }
}

type Key = (Kind, BlobName);

/// Everything that is stored.
pub struct Cas {
    folder: PathBuf,
    bytes_max: u64,
    state: Mutex<State>,
    uploads: AtomicU64,
    /// Held as long as this lives, so that no other worker uses the folder.
    _lock: OwnedFd,
}

#[derive(Default)]
struct State {
    files: HashMap<Key, Entry>,
    /// The least recently used first.
    order: BTreeMap<u64, Key>,
    next: u64,
    /// Of all files, and of what is on its way.
    bytes: u64,
    evicted: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    cost: u64,
    used: u64,
}

/// Why a blob is not stored.
#[derive(Debug, thiserror::Error)]
pub enum NotStored {
    /// It is not what its name says.
    #[error("the blob is not what its digest says")]
    Wrong,
    /// It is larger than any blob may be, or than all that may be stored.
    #[error("the blob is larger than {0} bytes")]
    TooLarge(u64),
    /// All of the room is taken by what is on its way.
    #[error("there is no room for the blob")]
    NoRoom,
    /// The disk says no.
    #[error("the blob cannot be stored: {0}")]
    Disk(#[from] io::Error),
}

/// How full it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Bytes on disk.
    pub bytes: u64,
    /// The cap.
    pub bytes_max: u64,
    /// Files.
    pub files: usize,
    /// Files that went to make room.
    pub evicted: u64,
}

impl Cas {
    /// What is in the folder, which is made where it is not there.
    ///
    /// # Errors
    /// It is somebody else's, or another worker uses it.
    pub fn open(folder: &Path, bytes_max: u64) -> io::Result<Cas> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", folder.display()))
        };
        DirBuilder::new().mode(PRIVATE_MODE).recursive(true).create(folder).map_err(named)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock =
            rustix::fs::open(folder, flags, Mode::empty()).map_err(|error| named(error.into()))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            named(io::Error::new(io::ErrorKind::ResourceBusy, "another worker uses it"))
        })?;
        let incoming = folder.join(INCOMING);
        let _ = fs::remove_dir_all(&incoming);
        DirBuilder::new().mode(PRIVATE_MODE).create(&incoming).map_err(named)?;
        let mut state = State::default();
        for (key, cost, _) in found(folder).map_err(named)? {
            state.insert(key, cost);
        }
        let cas = Cas {
            folder: folder.to_owned(),
            bytes_max,
            state: Mutex::new(state),
            uploads: AtomicU64::new(0),
            _lock: lock,
        };
        cas.make_room(&mut cas.lock(), 0);
        Ok(cas)
    }

    /// How full it is.
    pub fn load(&self) -> Load {
        let state = self.lock();
        let (bytes, files) = (state.bytes, state.files.len());
        Load { bytes, bytes_max: self.bytes_max, files, evicted: state.evicted }
    }

    /// The largest blob that can be stored.
    pub fn blob_bytes_max(&self) -> u64 {
        BLOB_BYTES_MAX.min(self.bytes_max.saturating_sub(FILE_COST_BYTES))
    }

    /// Whether it is there; if so, it counts as used now.
    pub fn has(&self, kind: Kind, name: &BlobName) -> bool {
        is_empty_blob(kind, name) || self.lock().touch(&(kind, *name))
    }

    /// A place for a blob that is about to come, of which `bytes` will be written.
    pub fn begin(self: &Arc<Cas>, bytes: u64) -> Result<Incoming, NotStored> {
        let most = self.blob_bytes_max();
        if bytes > most {
            return Err(NotStored::TooLarge(most));
        }
        let cost = bytes + FILE_COST_BYTES;
        {
            let mut state = self.lock();
            if !self.make_room(&mut state, cost) {
                return Err(NotStored::NoRoom);
            }
            state.bytes += cost;
        }
        let number = self.uploads.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(INCOMING).join(number.to_string());
        // From here on it is given back.
        let mut incoming =
            Incoming { cas: Arc::clone(self), path, file: None, cost, left: bytes, hashers: None };
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o400);
        incoming.file = Some(options.open(&incoming.path)?);
        Ok(incoming)
    }

    /// Stores a blob that is in memory.
    pub fn put(self: &Arc<Cas>, name: &BlobName, content: &[u8]) -> Result<(), NotStored> {
        if name.bytes != content.len() as u64 || name.function.name(content) != *name {
            return Err(NotStored::Wrong);
        }
        if self.has(Kind::Blob, name) {
            return Ok(());
        }
        let mut incoming = self.begin(name.bytes)?;
        incoming.write_unchecked(content)?;
        incoming.keep((Kind::Blob, *name))
    }

    /// Stores the result of an action, with a checksum of its own.
    pub fn put_result(self: &Arc<Cas>, action: &BlobName, result: &[u8]) -> Result<(), NotStored> {
        let sum = blake3::hash(result);
        let mut incoming = self.begin(result.len() as u64 + RESULT_SUM_BYTES as u64)?;
        incoming.write_unchecked(sum.as_bytes())?;
        incoming.write_unchecked(result)?;
        incoming.keep((Kind::Result, *action))
    }

    /// The result of an action, where it is there and whole.
    pub fn result(&self, action: &BlobName) -> Option<Vec<u8>> {
        let key = (Kind::Result, *action);
        let file = self.open_file(&key)?;
        let mut bytes = Vec::new();
        let read = file.take(BLOB_BYTES_MAX).read_to_end(&mut bytes);
        let (sum, result) = bytes.split_at_checked(RESULT_SUM_BYTES).unwrap_or_default();
        if read.is_err() || *blake3::hash(result).as_bytes() != *sum {
            self.forget(&key);
            return None;
        }
        Some(bytes.split_off(RESULT_SUM_BYTES))
    }

    /// A blob, where it is there and whole.
    pub fn get(&self, name: &BlobName) -> Option<Bytes> {
        let mut reading = self.open_blob(name)?;
        let mut content = Vec::with_capacity(name.bytes as usize);
        reading.read_to_end(&mut content).ok()?;
        Some(content.into())
    }

    /// A blob, to be read in pieces. The end of it is an error where it was not whole.
    pub fn open_blob(self: &Cas, name: &BlobName) -> Option<Reading<'_>> {
        let hasher = Some(name.function.hasher());
        if is_empty_blob(Kind::Blob, name) {
            return Some(Reading { cas: self, name: *name, file: None, hasher, read: 0 });
        }
        let file = self.open_file(&(Kind::Blob, *name))?;
        Some(Reading { cas: self, name: *name, file: Some(file), hasher, read: 0 })
    }

    /// It is no longer there, or not to be used.
    pub fn forget(&self, key: &Key) {
        let mut state = self.lock();
        state.remove(key);
        let _ = fs::remove_file(self.path(key));
    }

    /// Removes what has not been used for longest, until there is so much room. Whether there is.
    fn make_room(&self, state: &mut State, bytes: u64) -> bool {
        while state.bytes + bytes > self.bytes_max || state.files.len() >= FILES_MAX {
            let Some(key) = state.order.first_key_value().map(|(_, key)| *key) else {
                return false;
            };
            state.remove(&key);
            state.evicted += 1;
            // Under the lock: else it could be a newer file of that name.
            let _ = fs::remove_file(self.path(&key));
        }
        true
    }

    fn open_file(&self, key: &Key) -> Option<File> {
        if !self.lock().touch(key) {
            return None;
        }
        match File::open(self.path(key)) {
            Ok(file) => Some(file),
            Err(_) => {
                self.forget(key);
                None
            }
        }
    }

    fn path(&self, (kind, name): &Key) -> PathBuf {
        let digits = name.digits();
        let mut path = self.folder.join(kind.folder());
        path.push(function_folder(name.function));
        path.push(&digits[..2]);
        path.push(format!("{digits}-{}", name.bytes));
        path
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

/// The checksum before a result.
const RESULT_SUM_BYTES: usize = 32;

/// It is always there, and nowhere.
fn is_empty_blob(kind: Kind, name: &BlobName) -> bool {
    kind == Kind::Blob && name.bytes == 0 && name.function.name(b"") == *name
}

impl State {
    fn insert(&mut self, key: Key, cost: u64) {
        self.remove(&key);
        let used = self.next;
        self.next += 1;
        self.order.insert(used, key);
        self.files.insert(key, Entry { cost, used });
        self.bytes += cost;
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.files.remove(key) {
            self.order.remove(&entry.used);
            self.bytes -= entry.cost;
        }
    }

    /// Whether it is there; if so, it is used now.
    fn touch(&mut self, key: &Key) -> bool {
        let next = self.next;
        let Some(entry) = self.files.get_mut(key) else { return false };
        self.order.remove(&entry.used);
        entry.used = next;
        self.order.insert(next, *key);
        self.next += 1;
        true
    }
}

/// The files of a folder, the oldest first.
fn found(folder: &Path) -> io::Result<Vec<(Key, u64, SystemTime)>> {
    let mut found = Vec::new();
    for kind in Kind::ALL {
        for function in Function::ALL {
            let parent = folder.join(kind.folder()).join(function_folder(function));
            for number in 0..=u8::MAX {
                let parent = parent.join(format!("{number:02x}"));
                DirBuilder::new().mode(PRIVATE_MODE).recursive(true).create(&parent)?;
                for entry in fs::read_dir(&parent)?.flatten() {
                    let Ok(stat) = entry.metadata() else { continue };
                    let name = entry.file_name();
                    match name_of_file(function, name.as_encoded_bytes()) {
                        Some(name) if stat.is_file() => {
                            let changed = stat.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                            found.push(((kind, name), stat.len() + FILE_COST_BYTES, changed));
                        }
                        // Nothing of ours.
                        _ => {}
                    }
                }
            }
        }
    }
    found.sort_by_key(|(_, _, changed)| *changed);
    Ok(found)
}

fn name_of_file(function: Function, name: &[u8]) -> Option<BlobName> {
    let text = std::str::from_utf8(name).ok()?;
    let (digits, bytes) = text.split_once('-')?;
    Some(BlobName {
        function,
        hash: hash_of_digits(digits.as_bytes())?,
        bytes: bytes.parse().ok()?,
    })
}

/// A blob on its way. Where it is dropped before it is kept, nothing of it is left.
pub struct Incoming {
    cas: Arc<Cas>,
    path: PathBuf,
    file: Option<File>,
    cost: u64,
    left: u64,
    hashers: Option<Hasher>,
}

impl Incoming {
    /// A blob that is to have this name when all of it has come.
    pub fn expect(mut self, function: Function) -> Incoming {
        self.hashers = Some(function.hasher());
        self
    }

    /// Ends it: it is there from now on, if it is what its name says.
    pub fn finish(mut self, name: &BlobName) -> Result<(), NotStored> {
        let made = self.hashers.take().map(|hasher| hasher.finish(name.bytes));
        if self.left != 0 || made != Some(*name) {
            return Err(NotStored::Wrong);
        }
        self.keep((Kind::Blob, *name))
    }

    /// Ends it under the name that was made of what was written.
    pub fn keep_as(self, name: &BlobName) -> Result<(), NotStored> {
        match self.left {
            0 => self.keep((Kind::Blob, *name)),
            _ => Err(NotStored::Wrong),
        }
    }

    fn write_unchecked(&mut self, content: &[u8]) -> io::Result<()> {
        let file = self.file.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        file.write_all(content)?;
        self.left = self.left.saturating_sub(content.len() as u64);
        Ok(())
    }

    fn keep(self, key: Key) -> Result<(), NotStored> {
        let path = self.cas.path(&key);
        let mut state = self.cas.lock();
        fs::rename(&self.path, &path)?;
        state.insert(key, self.cost);
        drop(state);
        Ok(())
    }
}

impl Write for Incoming {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        if content.len() as u64 > self.left {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more than its digest says"));
        }
        if let Some(hasher) = &mut self.hashers {
            hasher.update(content);
        }
        self.write_unchecked(content)?;
        Ok(content.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // After a rename there is nothing of that name.
        let _ = fs::remove_file(&self.path);
        self.cas.lock().bytes -= self.cost;
    }
}

/// A blob that is read in pieces and checked on the way.
pub struct Reading<'c> {
    cas: &'c Cas,
    name: BlobName,
    file: Option<File>,
    /// `None` once it was checked.
    hasher: Option<Hasher>,
    read: u64,
}

impl Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.file {
            Some(file) => file.read(buffer)?,
            None => 0,
        };
        self.read += count as u64;
        match &mut self.hasher {
            Some(hasher) if count > 0 => hasher.update(&buffer[..count]),
            Some(_) if !buffer.is_empty() => {
                let made = self.hasher.take().map(|hasher| hasher.finish(self.read));
                if made != Some(self.name) {
                    self.cas.forget(&(Kind::Blob, self.name));
                    let text = "a blob on this disk is damaged";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
            }
            _ => {}
        }
        Ok(count)
    }
}

#[cfg(test)]
#[path = "cas_tests.rs"]
mod tests;
