//! The worker's own place for the folders of its jobs. What a killed worker left behind is swept away
//! by the next one.

use rustix::fs::{FlockOperation, Mode, OFlags};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Nobody else's business.
const PRIVATE_MODE: u32 = 0o700;

/// Bounds of what texts and answers may take on disk, however much is free.
const DISK_BYTES_MIN: u64 = 256 << 20;
const DISK_BYTES_MAX: u64 = 16 << 30;

/// The worker's folder, removed when it is dropped.
pub struct Scratch {
    folder: PathBuf,
    jobs: AtomicU64,
    /// Held as long as the worker lives, so that others know.
    _lock: OwnedFd,
}

impl Scratch {
    /// Makes a folder below one that the workers of this user share, and removes those of workers
    /// that are no more.
    pub fn new(parent: &Path) -> io::Result<Scratch> {
        let user = rustix::process::geteuid().as_raw();
        let shared = parent.join(format!("rcache-worker-{user}"));
        make_private(&shared, user).map_err(|error| named(&shared, error))?;
        // One at a time: a folder that is not locked yet would look like one left behind.
        let shared_lock = lock(&shared, FlockOperation::LockExclusive)?;
        sweep(&shared);
        let folder = own_folder(&shared)?;
        let lock = lock(&folder, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| named(&folder, error))?;
        drop(shared_lock);
        Ok(Scratch { folder, jobs: AtomicU64::new(0), _lock: lock })
    }

    /// What the files of all jobs may take: half of what is free now.
    pub fn disk_bytes_max(&self) -> u64 {
        let free =
            rustix::fs::statvfs(&self.folder).map_or(0, |found| found.f_bavail * found.f_frsize);
        (free / 2).clamp(DISK_BYTES_MIN, DISK_BYTES_MAX)
    }

    /// Removes the folder with all that is in it.
    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// A folder of this name beside those of jobs.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        DirBuilder::new().mode(PRIVATE_MODE).recursive(true).create(&path)?;
        Ok(path)
    }

    /// A new folder for one job.
    pub fn job_folder(&self) -> io::Result<JobFolder> {
        let number = self.jobs.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(number.to_string());
        DirBuilder::new().mode(PRIVATE_MODE).create(&path)?;
        Ok(JobFolder { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The folder of one job, removed when it is dropped.
pub struct JobFolder {
    path: PathBuf,
}

impl JobFolder {
    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new file in it, under no name: no compiler sees it, and it is gone when it is closed.
    pub fn new_file(&self, name: &str) -> io::Result<File> {
        let path = self.path.join(name);
        let mut options = File::options();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    }
}

impl Drop for JobFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!("{}: {error}", self.path.display());
        }
    }
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// In a folder that everybody may write to, somebody else could have been there first.
fn make_private(folder: &Path, user: u32) -> io::Result<()> {
    match DirBuilder::new().mode(PRIVATE_MODE).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
        let text = "is not a private folder of this user; remove it, or set TMPDIR";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    Ok(())
}

/// Containers that share the place can have the same process numbers.
const NAMES_MAX: u32 = 1000;

fn own_folder(shared: &Path) -> io::Result<PathBuf> {
    let process = std::process::id();
    for number in 0..NAMES_MAX {
        let folder = shared.join(format!("{process}.{number}"));
        match DirBuilder::new().mode(PRIVATE_MODE).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(named(&folder, error)),
        }
    }
    Err(named(shared, io::ErrorKind::AlreadyExists.into()))
}

fn lock(folder: &Path, operation: FlockOperation) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open(folder, flags, Mode::empty())?;
    rustix::fs::flock(&descriptor, operation)?;
    Ok(descriptor)
}

/// Removes folders that nobody holds.
fn sweep(shared: &Path) {
    let entries = fs::read_dir(shared).into_iter().flatten().flatten();
    for folder in entries.map(|entry| entry.path()) {
        if lock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let removed = fs::remove_dir_all(&folder);
            tracing::info!("removed {}, left behind: {}", folder.display(), removed.is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn folders_come_and_go() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(parent.path()).unwrap();
        let (one, two) = (scratch.job_folder().unwrap(), scratch.job_folder().unwrap());
        assert_ne!(one.path(), two.path());
        assert_eq!(fs::metadata(one.path()).unwrap().permissions().mode() & 0o777, PRIVATE_MODE);
        let path = one.path().to_owned();
        fs::create_dir(path.join("tmp")).unwrap();
        drop(one);
        assert!(!path.exists());
        let folder = scratch.folder.clone();
        drop(two);
        drop(scratch);
        assert!(!folder.exists());
    }

    #[test]
    fn what_a_killed_worker_left_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        let user = rustix::process::geteuid().as_raw();
        let shared = parent.path().join(format!("rcache-worker-{user}"));
        DirBuilder::new().mode(PRIVATE_MODE).create(&shared).unwrap();
        let (dead, alive) = (shared.join("1"), shared.join("2"));
        fs::create_dir_all(dead.join("7/tmp")).unwrap();
        fs::create_dir(&alive).unwrap();
        let _held = lock(&alive, FlockOperation::NonBlockingLockExclusive).unwrap();
        let _scratch = Scratch::new(parent.path()).unwrap();
        assert!(!dead.exists() && alive.exists());
    }

    #[test]
    fn the_place_must_be_ours_alone() {
        let parent = tempfile::tempdir().unwrap();
        let user = rustix::process::geteuid().as_raw();
        let shared = parent.path().join(format!("rcache-worker-{user}"));
        std::os::unix::fs::symlink("/tmp", &shared).unwrap();
        assert!(Scratch::new(parent.path()).is_err());
        fs::remove_file(&shared).unwrap();
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Scratch::new(parent.path()).err().unwrap().to_string();
        assert!(error.contains(shared.to_str().unwrap()), "{error}");
    }
}
