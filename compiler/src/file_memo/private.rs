//! Paths that mean something else to each process: those that lead through /proc.
//!
//! `/dev/fd/3`, `/dev/stdin`, `<(…)` of a shell and Bazel's `/proc/self/cwd` name what belongs to the
//! process that looks. The daemon, which looks for another one, must not take its own for the caller's.
//! Where it opens a file, the kernel refuses such links (`RESOLVE_NO_MAGICLINKS`); where it only asks, or
//! finds nothing, [`PrivatePaths`] goes through the folders of the path.

use super::WorkingDirectory;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Symlinks on one way; as many as the kernel follows.
const LINKS_MAX: usize = 40;

/// What is in /dev that a process finds its own things by.
const OWN_DEVICES: [&[u8]; 5] = [b"fd", b"stdin", b"stdout", b"stderr", b"tty"];

/// The type of /proc (linux/magic.h).
const PROC_MAGIC: u32 = 0x9fa0;

/// Linux has openat2 since 5.6, and some sandboxes forbid it.
static KERNEL_RESOLVES: AtomicBool = AtomicBool::new(true);

/// Whether a path is private by its words alone.
pub fn is_spelled_privately(path: &Path) -> bool {
    if !path.as_os_str().as_bytes().starts_with(b"/") {
        return false;
    }
    let mut names: Vec<&[u8]> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.as_bytes()),
            Component::ParentDir => {
                names.pop();
            }
            _ => {}
        }
        if matches!(names[..], [b"proc", _]) {
            return true;
        }
    }
    match names[..] {
        [b"proc"] => true,
        [b"dev", name, ..] => OWN_DEVICES.contains(&name),
        _ => false,
    }
}

/// What an operation on a private path fails with: nothing can be said of what is there.
pub(super) fn refusal() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "the path means something else to each process")
}

/// Whether an error is that one.
pub fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

/// Opens a path that is not private.
pub(super) fn open(here: &WorkingDirectory, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    if KERNEL_RESOLVES.load(Ordering::Relaxed) {
        let resolve = ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&here.descriptor, path, flags, Mode::empty(), resolve) {
            Ok(opened) => return Ok(opened),
            Err(Errno::LOOP) => {}
            Err(Errno::NOSYS | Errno::PERM) => KERNEL_RESOLVES.store(false, Ordering::Relaxed),
            Err(error) => return Err(error.into()),
        }
    }
    if PrivatePaths::new(here).holds(path) {
        return Err(refusal());
    }
    Ok(rustix::fs::openat(&here.descriptor, path, flags, Mode::empty())?)
}

/// The same, with a look at what was found: `/proc/self` is a link of the usual kind, to a folder that
/// the daemon has as well.
pub(super) fn open_outside_proc(
    here: &WorkingDirectory,
    path: &Path,
    flags: OFlags,
) -> io::Result<OwnedFd> {
    let opened = open(here, path, flags)?;
    match rustix::fs::fstatfs(&opened)?.f_type as u32 {
        PROC_MAGIC => Err(refusal()),
        _ => Ok(opened),
    }
}

/// Looks through the folders and links of paths, each of them once. Not to be kept: a link may lead to
/// another place at any time.
pub struct PrivatePaths<'h> {
    here: &'h WorkingDirectory,
    known: HashMap<PathBuf, bool>,
    /// Whether a device is a /proc.
    devices: HashMap<u64, bool>,
}

impl<'h> PrivatePaths<'h> {
    /// For paths as seen from `here`.
    pub fn new(here: &'h WorkingDirectory) -> PrivatePaths<'h> {
        PrivatePaths { here, known: HashMap::new(), devices: HashMap::new() }
    }

    /// Whether the path leads through /proc, be something there or not.
    pub fn holds(&mut self, path: &Path) -> bool {
        self.holds_within(path, LINKS_MAX)
    }

    fn holds_within(&mut self, path: &Path, links_left: usize) -> bool {
        if let Some(known) = self.known.get(path) {
            return *known;
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let holds = parent.is_some_and(|parent| self.holds_within(parent, links_left))
            || self.ends_in_proc(path, links_left);
        self.known.insert(path.to_owned(), holds);
        holds
    }

    /// Whether the last name of the path does, where all before it do not.
    fn ends_in_proc(&mut self, path: &Path, links_left: usize) -> bool {
        let Ok(stat) = self.here.stat_link(path) else { return false };
        if self.is_proc(stat.st_dev, path) {
            return true;
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return false;
        }
        let Ok(target) = rustix::fs::readlinkat(&self.here.descriptor, path, Vec::new()) else {
            return true;
        };
        let target = PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes()));
        let folder = path.parent().unwrap_or(Path::new(""));
        // Beyond that nobody gets anywhere.
        links_left > 0 && self.holds_within(&folder.join(target), links_left - 1)
    }

    fn is_proc(&mut self, device: u64, path: &Path) -> bool {
        let here = self.here;
        *self.devices.entry(device).or_insert_with(|| {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(&here.descriptor, path, flags, Mode::empty());
            let system = opened.and_then(rustix::fs::fstatfs);
            system.is_ok_and(|system| system.f_type as u32 == PROC_MAGIC)
        })
    }
}

/// Follows a link at the end of the path, unless that leads through /proc.
pub(super) fn follow(here: &WorkingDirectory, path: &Path) -> io::Result<rustix::fs::Stat> {
    match open_outside_proc(here, path, OFlags::PATH | OFlags::CLOEXEC) {
        Ok(opened) => Ok(rustix::fs::fstat(opened)?),
        Err(error) if is_refusal(&error) => Err(error),
        // A descriptor that the caller has and this process has not is not there, either.
        Err(_) if PrivatePaths::new(here).holds(path) => Err(refusal()),
        // It says why, or does without a descriptor.
        Err(_) => Ok(rustix::fs::statat(&here.descriptor, path, AtFlags::empty())?),
    }
}

/// Whether the path begins like one that is private, so that it has to be looked at.
pub(super) fn may_be_private(path: &Path) -> bool {
    let bytes: &OsStr = path.as_os_str();
    [&b"/proc"[..], b"/dev", b"//"].iter().any(|start| bytes.as_bytes().starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_memo::Presence;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn words_are_enough_for_most() {
        for path in [
            "/dev/fd/63",
            "/dev/stdin",
            "/proc/self/cwd/a.h",
            "//proc/self/fd/3",
            "/usr/../dev/./fd/0",
            "/proc/self/../1/cwd",
            "/proc",
            "/dev/tty",
        ] {
            assert!(is_spelled_privately(Path::new(path)), "{path}");
        }
        for path in
            ["/dev/null", "/dev/shm/a.c", "/processed/a.c", "proc/a.c", "/a/proc/b", "/devices", ""]
        {
            assert!(!is_spelled_privately(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn links_through_proc_lead_nowhere() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir(at("real")).unwrap();
        fs::write(at("real/a.h"), "a").unwrap();
        for (target, link) in [
            ("/proc/self/cwd", "cwd"),
            ("real", "plain"),
            ("/dev/fd/250", "descriptor"),
            ("/proc/self/status", "status"),
            ("cwd/Cargo.toml", "twice"),
            ("circle", "circle"),
            ("nowhere", "dangling"),
        ] {
            symlink(target, at(link)).unwrap();
        }
        let here = WorkingDirectory::open(scratch.path()).unwrap();
        let private = [
            "cwd",
            "cwd/Cargo.toml",
            "cwd/nothing/at/all",
            "descriptor",
            "descriptor/x.h",
            "status",
            "twice",
            "real/../cwd/Cargo.toml",
            "/proc/self/cwd/Cargo.toml",
            "/dev/fd/250",
        ];
        for resolves in [true, false] {
            KERNEL_RESOLVES.store(resolves, Ordering::Relaxed);
            for path in private.map(Path::new) {
                assert!(PrivatePaths::new(&here).holds(path), "{path:?}");
                assert!(here.open_file(path).is_err(), "{path:?}");
            }
            for path in ["real/a.h", "plain/a.h", "plain/../real/a.h", "real/none.h", "dangling"] {
                assert!(!PrivatePaths::new(&here).holds(Path::new(path)), "{path}");
            }
            assert!(here.open_file(Path::new("plain/a.h")).is_ok());
            assert!(here.open_file(Path::new("circle")).is_err());
        }
        KERNEL_RESOLVES.store(true, Ordering::Relaxed);
        for path in ["cwd", "descriptor", "status", "twice", "/proc/self/cwd"].map(Path::new) {
            assert!(is_refusal(&here.stat(path).unwrap_err()), "{path:?}");
            assert_eq!(here.presence(path), Presence::Unknown, "{path:?}");
        }
        assert_eq!(here.presence(Path::new("dangling")), Presence::Absent);
        assert_eq!(here.presence(Path::new("plain")), Presence::Folder);
    }
}
