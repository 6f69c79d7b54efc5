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
//! - On network and unknown file systems another machine's write shows late in `stat`, but not in
//!   `open`; there the content is always read.

mod folders;
mod private;

pub use self::folders::Folders;
pub use self::private::{PrivatePaths, is_refusal, is_spelled_privately};
use crate::hasher::Digest;
use crate::scan::{self, Scan};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::collections::HashMap;
use std::fs::File;
use std::hash::Hash;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
        let tick = if self.changed_ns % 1_000_000_000 == 0 { COARSE_TICK } else { Duration::ZERO };
        self.changed_ns + ((settle + tick).as_nanos() as i128) < nanoseconds_of(now)
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

    /// For calls that work relative to the folder.
    pub fn descriptor(&self) -> impl AsFd + '_ {
        self.descriptor.as_fd()
    }
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
}

impl Content {
    fn of_null_device(stat: &rustix::fs::Stat) -> Content {
        let stamp = Stamp { modified_ns: 0, changed_ns: 0, ..Stamp::of(stat) };
        Content { stamp, digest: Digest::of(&[]), script: false }
    }
}

/// Remembers digests and scans. Shared by all calls.
pub struct FileMemo {
    files: RwLock<HashMap<(u64, u64), Content>>,
    scans: RwLock<HashMap<Digest, Arc<Scan>>>,
    /// Folders in which a set of names was absent: (device, inode, set) -> stamp.
    absences: RwLock<HashMap<(u64, u64, Digest), Stamp>>,
    /// Whether a device's stamps can be trusted.
    devices: Mutex<HashMap<u64, bool>>,
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
            devices: Mutex::default(),
        }
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
            && self.is_trusted(stamp.device, here, folder_or_here)
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
        let script = !starts_like_a_program(&file)?;
        let (digest, bytes) = if stamp.size <= WHOLE_BYTES_MAX {
            let mut bytes = Vec::with_capacity(stamp.size as usize + 1);
            file.read_to_end(&mut bytes)?;
            (Digest::of(&bytes), Some(bytes))
        } else {
            (Digest::of_reader(&mut file)?, None)
        };
        if Stamp::of(&rustix::fs::fstat(&file)?) != stamp {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "changed while it was read"));
        }
        let content = Content { stamp, digest, script };
        if stamp.is_settled(now, SETTLE) && self.is_trusted(stamp.device, here, path) {
            remember(&self.files, (stamp.device, stamp.inode), content, FILES_MAX);
        }
        Ok((content, bytes))
    }

    fn is_trusted(&self, device: u64, here: &WorkingDirectory, path: &Path) -> bool {
        let mut devices = self.devices.lock().unwrap_or_else(|poison| poison.into_inner());
        *devices.entry(device).or_insert_with(|| {
            let file = rustix::fs::openat(
                here.descriptor(),
                path,
                OFlags::PATH | OFlags::CLOEXEC,
                Mode::empty(),
            );
            file.and_then(rustix::fs::fstatfs)
                .is_ok_and(|system| LOCAL_FILE_SYSTEMS.contains(&(system.f_type as u32)))
        })
    }
}

/// Whether it is `/dev/null`, whatever its name: always empty, and never changed.
pub fn is_null_device(stat: &rustix::fs::Stat) -> bool {
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    kind == rustix::fs::FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3)
}

/// Leaves the position in the file where it is.
fn starts_like_a_program(file: &File) -> io::Result<bool> {
    let mut head = [0; 4];
    Ok(file.read_at(&mut head, 0)? == head.len() && head == *b"\x7fELF")
}

/// Magic numbers of file systems that this kernel alone writes (linux/magic.h).
const LOCAL_FILE_SYSTEMS: [u32; 12] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs
    0xf2f5_2010, // f2fs
    0x2fc1_2fc1, // zfs
    0xca45_1a4e, // bcachefs
    0x7371_7368, // squashfs
    0xe0f5_e1e2, // erofs
    0x9660,      // iso9660
];

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
        assert_eq!(first, Content { stamp, digest: Digest::of(b"one"), script: true });
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
