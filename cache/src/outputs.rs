//! Output files: reading what a compile wrote, and putting a stored result back in their place.

mod delivery;
mod leftovers;
mod temporary;

use crate::entry::{Entry, PartKind};
use compiler::file_memo::{Stamp, WorkingDirectory};
use rustix::fs::FileType;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temporary::Temporary;

pub use delivery::{Delivery, Work};
pub use leftovers::remove_leftovers;
pub(crate) use temporary::close;
pub use temporary::stamp_of_new;

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
    /// The group that it must have; `None` for that of any new file there.
    pub group: Option<u32>,
}

/// How a compiler makes an output when there is such a file already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It makes a new file in its place.
    Anew,
    /// It writes into the file, which keeps its permissions and its group.
    Within,
    /// Sometimes so and sometimes so.
    Either,
}

/// Permission bits, and the group where a new file might get another.
pub type Access = (u32, Option<u32>);

/// The permissions of what a compile leaves at `path`, where a stored result may take the place
/// of what is there now. `None` where the difference between truncating, unlinking and replacing
/// would show in another way: through links, into devices, over what cannot be written. The folder
/// must not have permissions of its own for new files ([`has_default_permissions`]).
pub fn access_after(
    here: &WorkingDirectory,
    path: &Path,
    umask: u32,
    manner: Manner,
) -> Option<Access> {
    let new = 0o666 & !umask;
    let stat = match here.stat_link(path) {
        Ok(stat) => stat,
        Err(error) => {
            let free = error.kind() == io::ErrorKind::NotFound && is_folder(here, path.parent());
            return free.then_some((new, None));
        }
    };
    let mode = stat.st_mode & 0o7777;
    // What takes the file's place leaves its other names alone, as the compiler does.
    let is_single = stat.st_nlink == 1 || manner == Manner::Anew;
    let is_ordinary = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && is_single
        && mode & !0o777 == 0
        && mode & 0o200 != 0
        && stat.st_uid == rustix::process::geteuid().as_raw();
    match manner {
        Manner::Anew => is_ordinary.then_some((new, None)),
        Manner::Within if !is_ordinary || has_attributes(here, path) => None,
        Manner::Within => Some((mode, Some(stat.st_gid))),
        Manner::Either => {
            let alike = is_ordinary && mode == new && stat.st_gid == group_of_new(here, path)?;
            (alike && !has_attributes(here, path)).then_some((new, None))
        }
    }
}

/// Whether a file has an access list or attributes of a user's own, which it would lose with its place.
fn has_attributes(here: &WorkingDirectory, path: &Path) -> bool {
    // The labels of security modules follow from the place.
    const LABELS: &[u8] = b"security.";
    let mut names = [0u8; 1024];
    match rustix::fs::llistxattr(through(here, path), &mut names) {
        Ok(length) => names[..length]
            .split(|byte| *byte == 0)
            .any(|name| !name.is_empty() && !name.starts_with(LABELS)),
        Err(rustix::io::Errno::RANGE) => true,
        Err(_) => false,
    }
}

/// The group of a new file beside `path`.
fn group_of_new(here: &WorkingDirectory, path: &Path) -> Option<u32> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let stat = here.stat(folder.unwrap_or(Path::new("."))).ok()?;
    let handed_down = stat.st_mode & 0o2000 != 0;
    Some(if handed_down { stat.st_gid } else { rustix::process::getegid().as_raw() })
}

/// A path for system calls that take no folder.
fn through(here: &WorkingDirectory, path: &Path) -> PathBuf {
    let descriptor = here.descriptor().as_fd().as_raw_fd();
    Path::new("/proc/self/fd").join(descriptor.to_string()).join(path)
}

/// Whether new files in the folder get their permissions from its access list, not from the umask.
pub fn has_default_permissions(here: &WorkingDirectory, folder: &Path) -> bool {
    rustix::fs::getxattr(through(here, folder), "system.posix_acl_default", &mut [0u8; 0]).is_ok()
}

fn is_folder(here: &WorkingDirectory, path: Option<&Path>) -> bool {
    // The working directory was opened as one.
    let Some(named) = path.filter(|path| !path.as_os_str().is_empty()) else { return true };
    here.open_folder(named).is_ok()
}

/// Writes the parts of a result beside their files.
pub fn prepare(
    here: &Arc<WorkingDirectory>,
    entry: &Entry,
    files: &[OutputFile],
) -> io::Result<Whole> {
    let mut temporaries = Vec::with_capacity(files.len());
    for output in files {
        let Some(bytes) = entry.part(output.kind) else { continue };
        let temporary = Temporary::create(here, output)?;
        temporary.file.write_all_at(bytes, 0)?;
        temporaries.push(temporary);
    }
    Whole::close(temporaries)
}

/// The files of a result, whole and closed, beside their places.
pub struct Whole(Vec<Temporary>);

impl Whole {
    fn close(temporaries: Vec<Temporary>) -> io::Result<Whole> {
        temporaries.iter().try_for_each(Temporary::close)?;
        Ok(Whole(temporaries))
    }

    /// Puts the files into their places, each at once.
    pub fn publish(self) -> io::Result<()> {
        self.0.into_iter().try_for_each(Temporary::publish)
    }
}

/// What a compile that began at `start` left at `path`.
#[derive(Debug)]
pub enum Written {
    /// A new regular file with this content.
    Bytes(Vec<u8>),
    /// The same, copied into a file of ours, and its length in bytes.
    Spooled(File, u64),
    /// Nothing, or something older than the compile.
    Nothing,
    /// Something that cannot be stored: no regular file, too large, or still changing.
    Unfit,
}

/// Reads one output. `is_old` says whether a file with this stamp is older than the compile. What has
/// `large_from` bytes or more is copied into a new file from `spool`.
pub fn read_written(
    here: &WorkingDirectory,
    path: &Path,
    is_old: impl FnOnce(&Stamp) -> bool,
    large_from: u64,
    spool: &dyn Fn() -> io::Result<File>,
) -> Written {
    let Ok(before) = here.stat_link(path) else { return Written::Nothing };
    let stamp = Stamp::of(&before);
    if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile
        || stamp.size > OUTPUT_BYTES_MAX
    {
        return Written::Unfit;
    }
    if is_old(&stamp) {
        return Written::Nothing;
    }
    let unchanged = || here.stat_link(path).is_ok_and(|after| Stamp::of(&after) == stamp);
    if stamp.size >= large_from {
        let copied = here.open_file(path).and_then(|mut file| {
            let mut copy = spool()?;
            Ok((io::copy(&mut file, &mut copy)?, copy))
        });
        return match copied {
            Ok((length, copy)) if length == stamp.size && unchanged() => {
                Written::Spooled(copy, length)
            }
            _ => Written::Unfit,
        };
    }
    let mut bytes = Vec::with_capacity(stamp.size as usize + 1);
    let read = here.open_file(path).and_then(|mut file| file.read_to_end(&mut bytes));
    if read.is_err() || !unchanged() || bytes.len() as u64 != stamp.size {
        return Written::Unfit;
    }
    Written::Bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Part, Stored};
    use compiler::hasher::Digest;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    const UMASK: u32 = 0o022;

    fn object(path: &str) -> Vec<OutputFile> {
        let (kind, path) = (PartKind::Object, path.into());
        vec![OutputFile { kind, path, mode: 0o644, group: None }]
    }

    fn is_replaceable(here: &WorkingDirectory, path: &Path) -> bool {
        access_after(here, path, UMASK, Manner::Anew) == Some((0o644, None))
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
            let whole = prepare(&here, &entry(content.as_bytes()), &object("a.o")).unwrap();
            whole.publish().unwrap();
            assert_eq!(fs::read(folder.path().join("a.o")).unwrap(), content.as_bytes());
        }
        let mode = fs::metadata(folder.path().join("a.o")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(prepare(&here, &entry(b"x"), &object("no/a.o")).is_err());
        drop(prepare(&here, &entry(b"x"), &object("b.o")).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
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
            delivery.finish().unwrap().publish().unwrap();
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
        let failed = delivery.finish().err().unwrap();
        assert_eq!(failed.kind(), io::ErrorKind::InvalidData);
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
        // A new file leaves the other name alone; written into, both would change.
        assert!(is_replaceable(&here, Path::new("hard")));
        assert_eq!(access_after(&here, Path::new("hard"), UMASK, Manner::Within), None);
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
        let access = |manner| access_after(&here, Path::new("a.d"), UMASK, manner);
        let mode = |manner| access(manner).map(|(mode, _)| mode);
        assert_eq!([mode(Manner::Anew), mode(Manner::Within)], [Some(0o644); 2]);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!([mode(Manner::Anew), mode(Manner::Within)], [Some(0o644), Some(0o600)]);
        assert_eq!(mode(Manner::Either), None);
        let group = fs::metadata(&path).unwrap().gid();
        assert_eq!(access(Manner::Within), Some((0o600, Some(group))));
        assert_eq!(access(Manner::Anew), Some((0o644, None)));
    }

    #[test]
    fn the_rule_of_another_call_is_put_into_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let here = Arc::new(WorkingDirectory::open(folder.path()).unwrap());
        let key = Digest::of(b"key");
        let blob = entry(b"stored and longer").encode(key, Some(1)).unwrap();
        let stored = Stored::open(key, blob).unwrap();
        let mut delivery = Delivery::begin(&here, stored, &object("a.o")).unwrap();
        delivery.replace(PartKind::Object, b"own".to_vec());
        delivery.finish().unwrap().publish().unwrap();
        assert_eq!(fs::read(folder.path().join("a.o")).unwrap(), b"own");
    }

    #[test]
    fn a_group_is_kept_where_the_compiler_keeps_it() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can give a file any group");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let here = Arc::new(WorkingDirectory::open(folder.path()).unwrap());
        let path = folder.path().join("a.o");
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::chown(&path, None, Some(12345)).unwrap();
        let (mode, group) = access_after(&here, Path::new("a.o"), UMASK, Manner::Within).unwrap();
        assert_eq!(access_after(&here, Path::new("a.o"), UMASK, Manner::Either), None);
        let output = OutputFile { kind: PartKind::Object, path: "a.o".into(), mode, group };
        prepare(&here, &entry(b"new"), &[output]).unwrap().publish().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().gid(), 12345);
        // A file with attributes of its own is left to the compiler.
        if rustix::fs::setxattr(&path, "user.x", b"1", rustix::fs::XattrFlags::empty()).is_ok() {
            assert_eq!(access_after(&here, Path::new("a.o"), UMASK, Manner::Within), None);
        }
    }

    #[test]
    fn an_old_file_is_not_an_output() {
        let folder = tempfile::tempdir().unwrap();
        let here = Arc::new(WorkingDirectory::open(folder.path()).unwrap());
        fs::write(folder.path().join("a.o"), "new").unwrap();
        let spool = || tempfile::tempfile();
        let read_from = |name, is_old, large_from| {
            read_written(&here, Path::new(name), |_| is_old, large_from, &spool)
        };
        assert!(matches!(read_from("a.o", false, 3), Written::Spooled(_, 3)));
        let read = |name, is_old| read_from(name, is_old, 4);
        assert!(matches!(read("a.o", false), Written::Bytes(bytes) if bytes == b"new"));
        assert!(matches!(read("a.o", true), Written::Nothing));
        assert!(matches!(read("b.o", false), Written::Nothing));
        assert!(matches!(read("/dev/null", false), Written::Unfit));
    }
}
