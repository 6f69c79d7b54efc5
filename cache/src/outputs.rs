//! Output files: reading what a compile wrote, and putting a stored result back in their place.

mod delivery;

use crate::entry::{Entry, PartKind};
use crate::file_memo::{Stamp, WorkingDirectory, nanoseconds_of};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

pub use delivery::{Delivery, Work};

/// A larger output is not stored; the blob format counts in 32 bits.
pub const OUTPUT_BYTES_MAX: u64 = u32::MAX as u64;

/// One file that a compile writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    /// Which part of the entry it is.
    pub kind: PartKind,
    /// As the compiler names it, relative to the caller's working directory.
    pub path: PathBuf,
    /// The permission bits that it will have.
    pub mode: u32,
}

/// How a compiler makes an output when there is such a file already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It makes a new file in its place.
    Anew,
    /// It writes into the file, which keeps its permissions.
    Within,
    /// Sometimes so and sometimes so.
    Either,
}

/// The permission bits of what a compile leaves at `path`, where a stored result may take the place
/// of what is there now. `None` where the difference between truncating, unlinking and replacing
/// would show in another way: through links, into devices, over what cannot be written. The folder
/// must not have permissions of its own for new files ([`has_default_permissions`]).
pub fn mode_after(here: &WorkingDirectory, path: &Path, umask: u32, manner: Manner) -> Option<u32> {
    let new = 0o666 & !umask;
    let stat = match here.stat_link(path) {
        Ok(stat) => stat,
        Err(error) => {
            let free = error.kind() == io::ErrorKind::NotFound && is_folder(here, path.parent());
            return free.then_some(new);
        }
    };
    let mode = stat.st_mode & 0o7777;
    let is_ordinary = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_nlink == 1
        && mode & !0o777 == 0
        && mode & 0o200 != 0
        && stat.st_uid == rustix::process::geteuid().as_raw();
    match manner {
        Manner::Anew => is_ordinary.then_some(new),
        Manner::Within => is_ordinary.then_some(mode),
        Manner::Either => (is_ordinary && mode == new).then_some(new),
    }
}

/// Whether new files in the folder get their permissions from its access list, not from the umask.
pub fn has_default_permissions(here: &WorkingDirectory, folder: &Path) -> bool {
    let descriptor = here.descriptor().as_fd().as_raw_fd();
    let folder = Path::new("/proc/self/fd").join(descriptor.to_string()).join(folder);
    rustix::fs::getxattr(folder, "system.posix_acl_default", &mut [0u8; 0]).is_ok()
}

fn is_folder(here: &WorkingDirectory, path: Option<&Path>) -> bool {
    // The working directory was opened as one.
    let Some(named) = path.filter(|path| !path.as_os_str().is_empty()) else { return true };
    here.open_folder(named).is_ok()
}

/// Writes the parts of a stored result to their files, each one whole or not at all.
pub fn deliver(
    here: &Arc<WorkingDirectory>,
    entry: &Entry,
    files: &[OutputFile],
) -> io::Result<()> {
    for file in files {
        if let Some(bytes) = entry.part(file.kind) {
            write_whole(here, &file.path, bytes, file.mode)?;
        }
    }
    Ok(())
}

/// Writes beside the target and renames.
fn write_whole(
    here: &Arc<WorkingDirectory>,
    path: &Path,
    bytes: &[u8],
    mode: u32,
) -> io::Result<()> {
    let (temporary, mut file) = Temporary::create(here, path, mode)?;
    file.write_all(bytes)?;
    temporary.rename()
}

/// A new file beside its target; it goes when it is dropped before it is renamed.
struct Temporary {
    here: Arc<WorkingDirectory>,
    target: PathBuf,
    /// `None` when it has taken the target's place.
    path: Option<PathBuf>,
}

impl Temporary {
    /// The mode is exact, whatever the daemon's own umask.
    fn create(
        here: &Arc<WorkingDirectory>,
        target: &Path,
        mode: u32,
    ) -> io::Result<(Temporary, File)> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let path = target.with_file_name(format!(
            ".rcache-{}-{}.tmp",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        ));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode as RawMode);
        let file = File::from(rustix::fs::openat(here.descriptor(), &path, flags, mode)?);
        let temporary =
            Temporary { here: here.clone(), target: target.to_owned(), path: Some(path) };
        rustix::fs::fchmod(&file, mode)?;
        Ok((temporary, file))
    }

    fn rename(mut self) -> io::Result<()> {
        let here = self.here.descriptor();
        if let Some(path) = &self.path {
            rustix::fs::renameat(&here, path, &here, &self.target)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Nothing more can be done about a file that cannot be removed.
            let _ = rustix::fs::unlinkat(self.here.descriptor(), path, AtFlags::empty());
        }
    }
}

/// What a compile that began at `start` left at `path`.
#[derive(Debug)]
pub enum Written {
    /// A new regular file with this content.
    Bytes(Vec<u8>),
    /// Nothing, or something older than the compile.
    Nothing,
    /// Something that cannot be stored: no regular file, too large, or still changing.
    Unfit,
}

/// Reads one output. `start` is the time of the file system's clock before the compile began.
pub fn read_written(here: &WorkingDirectory, path: &Path, start: SystemTime) -> Written {
    let Ok(before) = here.stat_link(path) else { return Written::Nothing };
    let stamp = Stamp::of(&before);
    if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile
        || stamp.size > OUTPUT_BYTES_MAX
    {
        return Written::Unfit;
    }
    if stamp.changed_ns < nanoseconds_of(start) {
        return Written::Nothing;
    }
    let mut bytes = Vec::with_capacity(stamp.size as usize + 1);
    let read = here.open_file(path).and_then(|mut file| file.read_to_end(&mut bytes));
    let unchanged = here.stat_link(path).is_ok_and(|after| Stamp::of(&after) == stamp);
    if read.is_err() || !unchanged || bytes.len() as u64 != stamp.size {
        return Written::Unfit;
    }
    Written::Bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Part, Stored};
    use crate::hasher::Digest;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::Duration;

    const UMASK: u32 = 0o022;

    fn object(path: &str) -> Vec<OutputFile> {
        vec![OutputFile { kind: PartKind::Object, path: path.into(), mode: 0o644 }]
    }

    fn is_replaceable(here: &WorkingDirectory, path: &Path) -> bool {
        mode_after(here, path, UMASK, Manner::Anew) == Some(0o644)
    }

    fn entry(bytes: &[u8]) -> Entry {
        Entry { parts: vec![Part { kind: PartKind::Object, bytes: bytes.to_vec() }] }
    }

    #[test]
    fn a_result_replaces_an_ordinary_file() {
        let folder = tempfile::tempdir().unwrap();
        let here = Arc::new(WorkingDirectory::open(folder.path()).unwrap());
        for content in ["one", "two"] {
            assert!(is_replaceable(&here, Path::new("a.o")));
            deliver(&here, &entry(content.as_bytes()), &object("a.o")).unwrap();
            assert_eq!(fs::read(folder.path().join("a.o")).unwrap(), content.as_bytes());
        }
        let mode = fs::metadata(folder.path().join("a.o")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(deliver(&here, &entry(b"x"), &object("no/a.o")).is_err());
    }

    #[test]
    fn several_threads_deliver_one_result() {
        let folder = tempfile::tempdir().unwrap();
        let here = Arc::new(WorkingDirectory::open(folder.path()).unwrap());
        let bytes: Vec<u8> = (0..500_000u32).flat_map(|n| (n / 5).to_le_bytes()).collect();
        let key = Digest::of(b"key");
        let begin = || {
            let blob = entry(&bytes).encode(key, Some(1)).unwrap();
            Delivery::begin(&here, Stored::open(key, blob).unwrap(), &object("a.o")).unwrap()
        };
        let delivery = begin();
        let work = delivery.work_to_share().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| work.run());
            delivery.finish().unwrap();
        });
        // Whoever comes late finds nothing to do.
        work.run();
        assert_eq!(fs::read(folder.path().join("a.o")).unwrap(), bytes);
        // One that is given up leaves nothing behind.
        let abandoned = begin();
        abandoned.work_to_share().unwrap().run();
        drop(abandoned);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lie_in_a_frame_is_no_output() {
        let folder = tempfile::tempdir().unwrap();
        let here = Arc::new(WorkingDirectory::open(folder.path()).unwrap());
        let key = Digest::of(b"key");
        let bytes: Vec<u8> = (0..5000u32).flat_map(|n| (n * n).to_le_bytes()).collect();
        let honest = entry(&bytes).encode(key, Some(1)).unwrap();
        let end = honest.len() - blake3::OUT_LEN;
        // Inside a block, where no header tells; with a checksum that fits.
        let lie = (0..end).rev().find_map(|at| {
            let mut blob = honest.clone();
            blob[at] ^= 0xff;
            let checksum = blake3::hash(&blob[..end]);
            blob[end..].copy_from_slice(checksum.as_bytes());
            let stored = Stored::open(key, blob).ok()?;
            let content = stored.part(PartKind::Object)?.content();
            content.is_err().then_some(stored)
        });
        let delivery = Delivery::begin(&here, lie.unwrap(), &object("a.o")).unwrap();
        assert_eq!(delivery.finish().unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn links_and_odd_files_are_left_to_the_compiler() {
        let folder = tempfile::tempdir().unwrap();
        let here = Arc::new(WorkingDirectory::open(folder.path()).unwrap());
        let at = |name: &str| folder.path().join(name);
        fs::write(at("real"), "").unwrap();
        fs::set_permissions(at("real"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(is_replaceable(&here, Path::new("real")));
        symlink(at("real"), at("link")).unwrap();
        assert!(!is_replaceable(&here, Path::new("link")));
        fs::hard_link(at("real"), at("hard")).unwrap();
        assert!(!is_replaceable(&here, Path::new("hard")));
        fs::write(at("odd"), "").unwrap();
        fs::set_permissions(at("odd"), fs::Permissions::from_mode(0o400)).unwrap();
        assert!(!is_replaceable(&here, Path::new("odd")));
        assert!(!is_replaceable(&here, Path::new("/dev/null")));
    }

    #[test]
    fn permissions_stay_where_the_compiler_writes_into_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let here = Arc::new(WorkingDirectory::open(folder.path()).unwrap());
        let path = folder.path().join("a.d");
        let mode = |manner| mode_after(&here, Path::new("a.d"), UMASK, manner);
        assert_eq!([mode(Manner::Anew), mode(Manner::Within)], [Some(0o644); 2]);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!([mode(Manner::Anew), mode(Manner::Within)], [Some(0o644), Some(0o600)]);
        assert_eq!(mode(Manner::Either), None);
    }

    #[test]
    fn an_old_file_is_not_an_output() {
        let folder = tempfile::tempdir().unwrap();
        let here = Arc::new(WorkingDirectory::open(folder.path()).unwrap());
        let start = SystemTime::now() - Duration::from_secs(1);
        fs::write(folder.path().join("a.o"), "new").unwrap();
        let read = |start| read_written(&here, Path::new("a.o"), start);
        assert!(matches!(read(start), Written::Bytes(bytes) if bytes == b"new"));
        assert!(matches!(read(start + Duration::from_secs(60)), Written::Nothing));
        let missing = read_written(&here, Path::new("b.o"), start);
        assert!(matches!(missing, Written::Nothing));
        assert!(matches!(read_written(&here, Path::new("/dev/null"), start), Written::Unfit));
    }
}
