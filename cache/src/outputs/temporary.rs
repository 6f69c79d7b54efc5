//! A new file beside its target, which takes the target's place when it is whole.

use super::OutputFile;
use crate::entry::PartKind;
use compiler::file_memo::{Stamp, WorkingDirectory};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, RawMode};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How names begin and end that nothing but rcache gives.
pub(super) const NAME_START: &str = ".rcache-";
pub(super) const NAME_END: &str = ".tmp";

/// Whether a file without a name can get one here. Where that once failed (no /proc, a policy), it is
/// not tried again.
static NAMES_CAN_COME_LATER: AtomicBool = AtomicBool::new(true);

/// A new file; nothing is left of it where it is dropped before it was published.
pub(super) struct Temporary {
    here: Arc<WorkingDirectory>,
    target: PathBuf,
    /// To be written through.
    pub file: Arc<File>,
    /// The name that it has meanwhile. `None` where it has none: then nothing is left of it, either,
    /// where this process is killed.
    name: Option<PathBuf>,
}

impl Temporary {
    /// Mode and group are exact, whatever the daemon's own umask and the folder's group.
    pub fn create(here: &Arc<WorkingDirectory>, output: &OutputFile) -> io::Result<Temporary> {
        let target = output.path.clone();
        let mode = Mode::from_raw_mode(output.mode as RawMode);
        let (file, name) = match nameless(here, &target, mode) {
            Some(file) => (file, None),
            None => {
                let name = fresh_name(&target);
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let file = rustix::fs::openat(here.descriptor(), &name, flags, mode)?;
                (File::from(file), Some(name))
            }
        };
        let temporary = Temporary { here: Arc::clone(here), target, file: Arc::new(file), name };
        let file = &temporary.file;
        if let Some(group) = output.group
            && rustix::fs::fstat(file)?.st_gid != group
        {
            rustix::fs::fchown(file, None, Some(Gid::from_raw(group)))?;
        }
        rustix::fs::fchmod(file, mode)?;
        Ok(temporary)
    }

    /// To be called when all is written: some file systems (NFS, SMB, FUSE) say only when a file is
    /// closed that what was written has no room.
    pub fn close(&self) -> io::Result<()> {
        // Each descriptor's end asks the file system; others may still hold the file itself.
        let descriptor = self.file.try_clone()?.into_raw_fd();
        close(descriptor)
    }

    /// Takes the target's place.
    pub fn publish(mut self) -> io::Result<()> {
        if self.name.is_none() {
            match self.link(&self.target) {
                Err(Errno::EXIST) => {}
                linked => return Ok(linked?),
            }
            // Only a name can take another's place.
            let name = fresh_name(&self.target);
            self.link(&name)?;
            self.name = Some(name);
        }
        let here = self.here.descriptor();
        if let Some(name) = &self.name {
            rustix::fs::renameat(&here, name, &here, &self.target)?;
        }
        self.name = None;
        Ok(())
    }

    fn link(&self, name: &Path) -> Result<(), Errno> {
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let linked =
            rustix::fs::linkat(CWD, own, self.here.descriptor(), name, AtFlags::SYMLINK_FOLLOW);
        if linked.is_err_and(|error| error != Errno::EXIST) {
            NAMES_CAN_COME_LATER.store(false, Ordering::Relaxed);
        }
        linked
    }
}

/// The stamp of a new file in a folder, which tells what its file system takes for now.
pub fn stamp_of_new(here: &Arc<WorkingDirectory>, folder: &Path) -> io::Result<Stamp> {
    let (kind, path) = (PartKind::Object, folder.join("clock"));
    let output = OutputFile { kind, path, mode: 0o600, group: None };
    let temporary = Temporary::create(here, &output)?;
    Ok(Stamp::of(&rustix::fs::fstat(&temporary.file)?))
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Nothing more can be done about a file that cannot be removed.
            let _ = rustix::fs::unlinkat(self.here.descriptor(), name, AtFlags::empty());
        }
    }
}

/// A file without a name in the folder of `target`, where its file system has such.
fn nameless(here: &WorkingDirectory, target: &Path, mode: Mode) -> Option<File> {
    if !NAMES_CAN_COME_LATER.load(Ordering::Relaxed) {
        return None;
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    rustix::fs::openat(here.descriptor(), folder, flags, mode).ok().map(File::from)
}

fn fresh_name(target: &Path) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    target.with_file_name(format!("{NAME_START}{}-{number}{NAME_END}", std::process::id()))
}

/// std and rustix keep the answer of close(2) to themselves.
pub(crate) fn close(descriptor: std::os::fd::RawFd) -> io::Result<()> {
    // SAFETY: the callers give up the descriptor, which is closed whatever the answer.
    match unsafe { libc::close(descriptor) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
