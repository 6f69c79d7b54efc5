//! What files contain, remembered by device, inode, size and times, and only where those prove it.
//!
//! A remembered digest is used only when the file's stamp is the same as when it was read **and**
//! the stamp was old enough then that any later write must have changed it:
//!
//! - The change time cannot be set by a program, and a write in the same clock tick leaves it as
//!   it is. So a file whose change time is not older than [`SETTLE`] is read again each time.
//! - [`SETTLE`] also covers stores through `mmap`: they touch the times only when a clean page is
//!   first written, and Linux cleans a dirty page after 30 s, looking every 5 s
//!   (`vm.dirty_expire_centisecs`, `vm.dirty_writeback_centisecs`).
//! - tmpfs and ramfs never write back, so that such stores leave no trace at all: there a digest is
//!   remembered for as long as nobody has opened the file ([`Watches`]). Where that cannot be known,
//!   the content is read each time, unless it is a program's (see [`PROGRAM_BYTES_MIN`]).
//! - On network and unknown file systems another machine's write shows late in `stat`, but not in
//!   `open`; there the content is always read.

mod folders;
mod private;
mod systems;
mod watches;

pub use self::folders::Folders;
pub use self::private::{PrivatePaths, is_refusal, is_spelled_privately};
pub use self::systems::System;
pub use self::watches::Watches;
use crate::hasher::{Digest, KeyHasher, KeySink};
use crate::scan::{self, Scan};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::Hash;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A stamp younger than this, when its file was read, proves nothing.
pub const SETTLE: Duration = Duration::from_secs(40);

/// For folders only the clock tick counts (at most 10 ms in Linux): there is no mmap of a folder.
const FOLDER_SETTLE: Duration = Duration::from_millis(50);

/// Time stamps without a fraction come from file systems that count in (two) seconds.
const COARSE_TICK: Duration = Duration::from_secs(2);

/// Remembered files; at about 100 bytes each. When full, the memory starts again from nothing.
const FILES_MAX: usize = 100_000;

/// Remembered scans; at some hundred bytes each.
const SCANS_MAX: usize = 20_000;

/// In memory, what is as large is a compiler or a library of one, and not read again for each call:
/// programs are written by linkers and copied, and nobody stores into them afterwards.
const PROGRAM_BYTES_MIN: u64 = 1 << 20;

/// Larger files are hashed in blocks; nothing that is scanned comes near.
const WHOLE_BYTES_MAX: u64 = 16 << 20;

/// What identifies a state of a file as far as the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The file system.
    pub device: u64,
    /// The file.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// Modification time in ns since 1970; programs can set it.
    pub modified_ns: i128,
    /// Change time in ns since 1970; only the kernel sets it.
    pub changed_ns: i128,
}

impl Stamp {
    /// The stamp in a stat result.
    pub fn of(stat: &rustix::fs::Stat) -> Stamp {
        let nanoseconds = |seconds: i64, fraction: i64| {
            i128::from(seconds) * 1_000_000_000 + i128::from(fraction)
        };
        Stamp {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size as u64,
            modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64),
            changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }

    /// Whether the last change is surely more than `settle` before `now`.
    pub fn is_settled(&self, now: SystemTime, settle: Duration) -> bool {
        self.changed_ns + ((settle + self.tick()).as_nanos() as i128) < nanoseconds_of(now)
    }

    /// How much later than its stamp says the last change may have been.
    pub fn tick(&self) -> Duration {
        const FINE_TICKS: [Duration; 3] =
            [Duration::from_millis(10), Duration::from_millis(1), Duration::from_micros(1)];
        let counts_in = |tick: &Duration| self.changed_ns % tick.as_nanos() as i128 == 0;
        match counts_in(&Duration::from_secs(1)) {
            true => COARSE_TICK,
            false => FINE_TICKS.into_iter().find(counts_in).unwrap_or_default(),
        }
    }
}

/// Nanoseconds since 1970.
pub fn nanoseconds_of(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

/// The caller's working directory: relative paths of a call start here.
pub struct WorkingDirectory {
    descriptor: OwnedFd,
    /// Device and inode.
    pub id: (u64, u64),
}

/// Whether a path names a file, for the checks of absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Something that a compiler would open as a file.
    File,
    /// A folder: a compiler that seeks a file goes on searching.
    Folder,
    /// Nothing.
    Absent,
    /// It cannot be told (no permission, an I/O error).
    Unknown,
}

impl WorkingDirectory {
    /// Opens the folder, for lookups only.
    pub fn open(path: &Path) -> io::Result<WorkingDirectory> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&descriptor)?;
        Ok(WorkingDirectory { descriptor, id: (stat.st_dev, stat.st_ino) })
    }

    /// Follows symlinks, but not to what belongs to this process (see [`PrivatePaths`]).
    pub fn stat(&self, path: &Path) -> io::Result<rustix::fs::Stat> {
        let found = self.stat_link(path);
        let is_link = found.as_ref().is_ok_and(is_link);
        if is_link || private::may_be_private(path) { private::follow(self, path) } else { found }
    }

    /// Follows symlinks wherever they lead: for a path that was seen to be nobody's own when its file was
    /// opened. Half of a compiler's files are found through links, and four calls for each would be felt.
    pub fn stat_known(&self, path: &Path) -> io::Result<rustix::fs::Stat> {
        match private::may_be_private(path) {
            true => self.stat(path),
            false => Ok(rustix::fs::statat(&self.descriptor, path, AtFlags::empty())?),
        }
    }

    /// Does not follow a symlink at the end of the path.
    pub fn stat_link(&self, path: &Path) -> io::Result<rustix::fs::Stat> {
        Ok(rustix::fs::statat(&self.descriptor, path, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Opens for reading. Never blocks on a FIFO, but only who has seen that there is none should open:
    /// a writer that waits for its reader would take this process for one.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(File::from(private::open_outside_proc(self, path, flags)?))
    }

    /// Opens a folder, for lookups only.
    pub fn open_folder(&self, path: &Path) -> io::Result<OwnedFd> {
        private::open(self, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)
    }

    /// The names in a folder.
    pub fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let entries = rustix::fs::Dir::new(private::open(self, folder, flags)?)?;
        let name = |entry: rustix::io::Result<rustix::fs::DirEntry>| {
            Ok(OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned())
        };
        entries.map(name).collect()
    }

    /// What counts of a path besides content: of a folder the names in it, in their order, and of a file
    /// when it was modified, in seconds.
    pub fn state(&self, path: &Path) -> io::Result<Digest> {
        let stat = self.stat(path)?;
        let mut hasher = KeyHasher::new("rcache state 1");
        match is_folder(&stat) {
            true => {
                let names = self.names(path)?;
                names.iter().for_each(|name| hasher.field("name", name.as_bytes()));
            }
            false => hasher.field("modified", &stat.st_mtime.to_le_bytes()),
        }
        Ok(hasher.finish())
    }

    /// Whether a compiler that searches would find a file here.
    pub fn presence(&self, path: &Path) -> Presence {
        use rustix::io::Errno;
        match self.stat(path) {
            Ok(stat) if is_folder(&stat) => Presence::Folder,
            Ok(_) => Presence::File,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Presence::Absent,
                _ => Presence::Unknown,
            },
        }
    }

    /// The kind of file system on which something lies.
    pub fn system(&self, path: &Path) -> System {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.descriptor, path, flags, Mode::empty());
        opened.map_or(System::Unknown, |opened| system_of(&opened))
    }

    /// For calls that work relative to the folder.
    pub fn descriptor(&self) -> impl AsFd + '_ {
        self.descriptor.as_fd()
    }
}

fn system_of(opened: &impl AsFd) -> System {
    let found = rustix::fs::fstatfs(opened);
    found.map_or(System::Unknown, |found| System::of_magic(found.f_type as u32))
}

/// Whether that is a folder.
pub fn is_folder(stat: &rustix::fs::Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
}

/// Whether that can be read more than once, and does not wait for a writer.
pub fn is_regular(stat: &rustix::fs::Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile
}

fn is_link(stat: &rustix::fs::Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Symlink
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

/// Whether nothing was there to ask about.
fn is_nothing(asked: &io::Result<rustix::fs::Stat>) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(asked, Err(error) if matches!(error.kind(), NotFound | NotADirectory))
}

/// A file as it was just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// The state that was read.
    pub stamp: Stamp,
    /// Of all its bytes.
    pub digest: Digest,
    /// Whether it is no ELF file; as a program it is a script then, whatever its first line says.
    pub script: bool,
    /// Where it lies.
    pub system: System,
}

impl Content {
    fn of_null_device(stat: &rustix::fs::Stat) -> Content {
        let stamp = Stamp { modified_ns: 0, changed_ns: 0, ..Stamp::of(stat) };
        Content { stamp, digest: Digest::of(&[]), script: false, system: System::Memory }
    }
}

/// Remembers digests and scans. Shared by all calls.
pub struct FileMemo {
    files: RwLock<HashMap<(u64, u64), Content>>,
    scans: RwLock<HashMap<Digest, Arc<Scan>>>,
    /// Folders in which a set of names was absent: (device, inode, set) -> stamp.
    absences: RwLock<HashMap<(u64, u64, Digest), Stamp>>,
    /// Files whose stamps another clock made: the stamp, and when it was first seen.
    seen: Mutex<HashMap<(u64, u64), (Stamp, Instant)>>,
    /// Who opens files in memory.
    watches: Option<Watches>,
}

impl Default for FileMemo {
    fn default() -> FileMemo {
        FileMemo::new()
    }
}

impl FileMemo {
    /// An empty memory.
    pub fn new() -> FileMemo {
        FileMemo {
            files: RwLock::default(),
            scans: RwLock::default(),
            absences: RwLock::default(),
            seen: Mutex::default(),
            watches: None,
        }
    }

    /// An empty memory that also remembers files in memory, for as long as they are watched.
    pub fn watching(watches: Option<Watches>) -> FileMemo {
        FileMemo { watches, ..FileMemo::new() }
    }

    /// Forgets the files in memory that somebody has opened. To be called whenever a call begins to
    /// look at files, and when a program has run meanwhile.
    pub fn refresh(&self) {
        if let Some(watches) = &self.watches {
            watches.refresh(|id| self.forget(id));
        }
    }

    fn forget(&self, id: (u64, u64)) {
        self.files.write().unwrap_or_else(|poison| poison.into_inner()).remove(&id);
    }

    /// The content of a regular file. An error where it is none or cannot be read.
    pub fn content(
        &self,
        here: &WorkingDirectory,
        path: &Path,
        now: SystemTime,
    ) -> io::Result<Content> {
        self.content_of(&here.stat(path)?, here, path, now)
    }

    /// The same for a file whose state was just asked for.
    pub fn content_of(
        &self,
        stat: &rustix::fs::Stat,
        here: &WorkingDirectory,
        path: &Path,
        now: SystemTime,
    ) -> io::Result<Content> {
        if is_null_device(stat) {
            return Ok(Content::of_null_device(stat));
        }
        if !is_regular(stat) {
            return Err(not_regular());
        }
        let stamp = Stamp::of(stat);
        if let Some(known) = read(&self.files).get(&(stamp.device, stamp.inode))
            && known.stamp == stamp
        {
            return Ok(*known);
        }
        self.read(here, path, now).map(|(content, _)| content)
    }

    /// When this stamp was first seen; now, where it was not.
    pub fn seen_since(&self, stamp: &Stamp) -> Instant {
        let mut seen = self.seen.lock().unwrap_or_else(|poison| poison.into_inner());
        let place = (stamp.device, stamp.inode);
        match seen.get(&place) {
            Some((known, since)) if known == stamp => *since,
            _ => {
                if seen.len() >= FILES_MAX {
                    seen.clear();
                }
                let now = Instant::now();
                seen.insert(place, (*stamp, now));
                now
            }
        }
    }

    /// The content and what a scan of it says.
    pub fn scanned(
        &self,
        here: &WorkingDirectory,
        path: &Path,
        now: SystemTime,
    ) -> io::Result<(Content, Arc<Scan>)> {
        let content = self.content(here, path, now)?;
        if let Some(scan) = read(&self.scans).get(&content.digest) {
            return Ok((content, Arc::clone(scan)));
        }
        let (content, bytes) = self.read(here, path, now)?;
        // A source of this size is generated data; a scan of its start would prove nothing.
        let bytes = bytes.ok_or(io::ErrorKind::FileTooLarge)?;
        let scan = Arc::new(scan::scan(&bytes));
        remember(&self.scans, content.digest, Arc::clone(&scan), SCANS_MAX);
        Ok((content, scan))
    }

    /// Whether there is nothing under any of `names` in `folder`, of which `found` was just asked. `set`
    /// identifies folder and names.
    /// Asks only the folder's stamp where that proves that nothing changed.
    pub fn all_absent<'n>(
        &self,
        here: &WorkingDirectory,
        folder: &Path,
        found: &io::Result<rustix::fs::Stat>,
        set: Digest,
        names: impl Iterator<Item = &'n Path>,
        now: SystemTime,
    ) -> bool {
        let folder_or_here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let stamp = match found {
            Ok(stat) if is_folder(stat) => Stamp::of(stat),
            Ok(_) => return true,
            // What is nowhere for this process may be somewhere for the caller.
            failed => return is_nothing(failed) && !PrivatePaths::new(here).holds(folder),
        };
        let place = (stamp.device, stamp.inode, set);
        if read(&self.absences).get(&place) == Some(&stamp) {
            return true;
        }
        let mut lasting = true;
        for name in names {
            let path = folder.join(name);
            let found = here.stat_link(&path);
            if is_nothing(&found) {
                continue;
            }
            // A dangling symlink can come to life without a trace in this folder.
            lasting &= found.is_err();
            if here.presence(&path) != Presence::Absent {
                return false;
            }
        }
        if lasting
            && stamp.is_settled(now, FOLDER_SETTLE)
            && here.system(folder_or_here).folders_settle()
        {
            remember(&self.absences, place, stamp, FILES_MAX);
        }
        true
    }

    /// Reads the file, and remembers what it says where that is safe. The bytes come along where
    /// the file is small enough.
    fn read(
        &self,
        here: &WorkingDirectory,
        path: &Path,
        now: SystemTime,
    ) -> io::Result<(Content, Option<Vec<u8>>)> {
        let mut file = here.open_file(path)?;
        let stat = rustix::fs::fstat(&file)?;
        if is_null_device(&stat) {
            return Ok((Content::of_null_device(&stat), Some(Vec::new())));
        }
        if !is_regular(&stat) {
            return Err(not_regular());
        }
        let stamp = Stamp::of(&stat);
        let system = system_of(&file);
        let id = (stamp.device, stamp.inode);
        let watches = self.watches.as_ref().filter(|_| system == System::Memory);
        let watch = watches.and_then(|watches| Some((watches, watches.watch(&file, id)?)));
        let (digest, script, bytes) = if stamp.size <= WHOLE_BYTES_MAX {
            let bytes = read_whole(&file, stamp.size as usize)?;
            (Digest::of(&bytes), !bytes.starts_with(PROGRAM_START), Some(bytes))
        } else {
            let script = !starts_like_a_program(&file)?;
            (Digest::of_reader(&mut file)?, script, None)
        };
        if Stamp::of(&rustix::fs::fstat(&file)?) != stamp {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "changed while it was read"));
        }
        let content = Content { stamp, digest, script, system };
        let lasts = match system {
            System::Settling => true,
            System::Memory => stamp.size >= PROGRAM_BYTES_MIN,
            _ => false,
        };
        let keep = || remember(&self.files, id, content, FILES_MAX);
        match watch {
            Some((watches, watch)) => {
                watches.if_undisturbed(&watch, |opened| self.forget(opened), keep);
            }
            None if lasts && stamp.is_settled(now, SETTLE) => keep(),
            None => {}
        }
        Ok((content, bytes))
    }
}

/// Whether it is `/dev/null`, whatever its name: always empty, and never changed.
pub fn is_null_device(stat: &rustix::fs::Stat) -> bool {
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    kind == rustix::fs::FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3)
}

/// How ELF files start.
const PROGRAM_START: &[u8; 4] = b"\x7fELF";

/// Leaves the position in the file where it is.
fn starts_like_a_program(file: &File) -> io::Result<bool> {
    let mut head = [0; 4];
    Ok(file.read_at(&mut head, 0)? == head.len() && head == *PROGRAM_START)
}

/// All bytes of a file of this size. What grows meanwhile shows in the stamp; std would ask for the
/// size and for the end once more.
fn read_whole(file: &File, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        match rustix::io::read(file, rustix::buffer::spare_capacity(&mut bytes)) {
            Ok(0) => break,
            Err(rustix::io::Errno::INTR) | Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(|poison| poison.into_inner())
}

fn remember<K: Eq + Hash, V>(lock: &RwLock<HashMap<K, V>>, key: K, value: V, count_max: usize) {
    let mut map = lock.write().unwrap_or_else(|poison| poison.into_inner());
    if map.len() >= count_max {
        map.clear();
    }
    map.insert(key, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Case {
        folder: tempfile::TempDir,
        here: WorkingDirectory,
        memo: FileMemo,
    }

    fn case() -> Case {
        let folder = tempfile::tempdir().unwrap();
        let here = WorkingDirectory::open(folder.path()).unwrap();
        Case { folder, here, memo: FileMemo::new() }
    }

    fn later(seconds: u64) -> SystemTime {
        SystemTime::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_fresh_file_is_read_each_time() {
        let case = case();
        let path = case.folder.path().join("a.h");
        fs::write(&path, "one").unwrap();
        let stamp = Stamp::of(&case.here.stat(Path::new("a.h")).unwrap());
        let first = case.memo.content(&case.here, Path::new("a.h"), SystemTime::now()).unwrap();
        let system = case.here.system(Path::new("a.h"));
        assert_eq!(first, Content { stamp, digest: Digest::of(b"one"), script: true, system });
        assert!(read(&case.memo.files).is_empty());
    }

    #[test]
    fn what_is_no_elf_file_is_a_script() {
        let case = case();
        let texts = [("#!/bin/sh\n", true), ("exec gcc", true), ("", true), ("\x7fELF\x02", false)];
        for (text, script) in texts {
            fs::write(case.folder.path().join("s"), text).unwrap();
            let content = case.memo.content(&case.here, Path::new("s"), SystemTime::now()).unwrap();
            assert_eq!((content.script, content.digest), (script, Digest::of(text.as_bytes())));
        }
    }

    #[test]
    fn a_settled_file_is_read_once_and_again_when_it_changed() {
        let case = case();
        let path = case.folder.path().join("a.h");
        fs::write(&path, "one").unwrap();
        case.memo.content(&case.here, Path::new("a.h"), later(100)).unwrap();
        assert_eq!(read(&case.memo.files).len(), 1);
        fs::write(case.folder.path().join("new"), "two").unwrap();
        fs::rename(case.folder.path().join("new"), &path).unwrap();
        let content = case.memo.content(&case.here, Path::new("a.h"), later(100)).unwrap();
        assert_eq!(content.digest, Digest::of(b"two"));
    }

    #[test]
    fn the_null_device_is_an_empty_file_that_never_changes() {
        let case = case();
        let content = case.memo.content(&case.here, Path::new("/dev/null"), later(0)).unwrap();
        assert_eq!((content.digest, content.stamp.changed_ns), (Digest::of(b""), 0));
        assert!(case.memo.content(&case.here, Path::new("/dev/zero"), later(0)).is_err());
    }

    #[test]
    fn stores_that_leave_no_trace_are_seen() {
        let Ok(folder) = tempfile::tempdir_in("/dev/shm") else {
            println!("skipped: /dev/shm is not there");
            return;
        };
        let here = WorkingDirectory::open(folder.path()).unwrap();
        let memo = FileMemo::new();
        if here.system(Path::new(".")) != System::Memory {
            println!("skipped: /dev/shm is no tmpfs");
            return;
        }
        let path = folder.path().join("a.h");
        fs::write(&path, "one").unwrap();
        let program = vec![0; PROGRAM_BYTES_MIN as usize];
        fs::write(folder.path().join("cc1"), &program).unwrap();
        for name in ["a.h", "cc1"] {
            let content = memo.content(&here, Path::new(name), later(100)).unwrap();
            assert_eq!(content.system, System::Memory);
        }
        assert_eq!(read(&memo.files).len(), 1, "the program alone");
        let Some(watches) = Watches::new() else { return };
        let memo = FileMemo::watching(Some(watches));
        let digest = || {
            memo.refresh();
            memo.content(&here, Path::new("a.h"), SystemTime::now()).unwrap().digest
        };
        assert_eq!(digest(), Digest::of(b"one"));
        assert_eq!(read(&memo.files).len(), 1, "nobody has it open");
        store_through_a_mapping(&path, b't');
        assert_eq!(digest(), Digest::of(b"tne"));
    }

    fn store_through_a_mapping(path: &Path, byte: u8) {
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        // SAFETY: the mapping is no longer than the file, and nobody else knows of it.
        unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let (file, none) = (std::os::fd::AsRawFd::as_raw_fd(&file), std::ptr::null_mut());
            let mapped = libc::mmap(none, 1, access, libc::MAP_SHARED, file, 0);
            assert_ne!(mapped, libc::MAP_FAILED);
            mapped.cast::<u8>().write(byte);
            libc::munmap(mapped, 1);
        }
    }

    #[test]
    fn a_stamp_is_known_from_its_first_sight() {
        let memo = FileMemo::new();
        let stamp = Stamp { device: 1, inode: 2, size: 3, modified_ns: 4, changed_ns: 5 };
        let first = memo.seen_since(&stamp);
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(memo.seen_since(&stamp), first);
        let changed = memo.seen_since(&Stamp { changed_ns: 6, ..stamp });
        assert!(changed > first);
        assert!(memo.seen_since(&stamp) >= changed, "it may have been changed back");
    }

    #[test]
    fn a_stamp_is_as_fine_as_its_last_digit() {
        let tick = |changed_ns| {
            Stamp { device: 1, inode: 2, size: 3, modified_ns: 4, changed_ns }.tick().as_micros()
        };
        let second = 1_000_000_000;
        let ticks = [7, 7 * second, 10_000_000, 7_000_000, 7_000].map(tick);
        assert_eq!(ticks, [0, 2_000_000, 10_000, 1_000, 1]);
    }

    #[test]
    fn folders_and_fifos_are_no_files() {
        let case = case();
        fs::create_dir(case.folder.path().join("d")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, case.folder.path().join("f"), Mode::RWXU).unwrap();
        for name in ["d", "f", "missing"] {
            assert!(case.memo.content(&case.here, Path::new(name), SystemTime::now()).is_err());
        }
    }

    #[test]
    fn absence_is_noticed_to_end() {
        let case = case();
        let set = Digest::of(b"set");
        let absent = |now| {
            let names = [Path::new("x.h"), Path::new("y.h")];
            let folder = case.here.stat(Path::new("."));
            case.memo.all_absent(&case.here, Path::new(""), &folder, set, names.into_iter(), now)
        };
        assert!(absent(later(100)));
        assert_eq!(read(&case.memo.absences).len(), 1);
        assert!(absent(later(100)));
        std::os::unix::fs::symlink("nowhere", case.folder.path().join("x.h")).unwrap();
        assert!(absent(later(100)), "a dangling link is nothing");
        assert_eq!(read(&case.memo.absences).len(), 1);
        fs::write(case.folder.path().join("y.h"), "").unwrap();
        assert!(!absent(later(100)));
    }
}
