//! Files in memory, where stores through a mapping leave no trace: whether anybody has opened one since
//! it was read.
//!
//! Whoever stores through a mapping must have opened the file for writing. A lease that is granted says
//! that nobody has at that moment; the watch, which is older, tells of everybody who opens it afterwards.
//! The kernel puts that into the queue before the opener can go on (inotify(7), fcntl(2)).

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Device and inode.
pub type FileId = (u64, u64);

/// Of the watches that the kernel grants a user, this part: editors and build tools need theirs.
const SHARE: usize = 8;

/// More are not used in any case; the kernel takes about a kilobyte for each.
const WATCHES_MAX: usize = 32_768;

/// Room for the events that are read at once.
const BUFFER_BYTES: usize = 8 << 10;

/// Watches over files.
pub struct Watches {
    queue: OwnedFd,
    watches_max: usize,
    watched: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    /// By the kernel's number, which is never used twice.
    files: HashMap<i32, (FileId, u64)>,
    /// Counts the reads that were watched.
    reads: u64,
}

/// One read of a file that is being watched.
pub struct Watch {
    number: i32,
    read: u64,
}

impl Watches {
    /// None, where the kernel gives none. A process that takes leases must ignore SIGIO, which tells
    /// their holder that somebody waits for the end of one.
    pub fn new() -> Option<Watches> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        let granted = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok()?;
        let granted: usize = granted.trim().parse().ok()?;
        let watches_max = (granted / SHARE).min(WATCHES_MAX);
        Some(Watches { queue, watches_max, watched: Mutex::default() })
    }

    /// Begins to watch a file that is about to be read through `file`. `None` where that is not
    /// possible, or where somebody has it open for writing.
    pub fn watch(&self, file: &File, id: FileId) -> Option<Watch> {
        let watch = {
            let mut watched = self.lock();
            if watched.files.len() >= self.watches_max {
                return None;
            }
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            // It ends with the first event: a compile that opens all headers is heard once.
            let flags = WatchFlags::OPEN | WatchFlags::ONESHOT;
            let number = inotify::add_watch(&self.queue, path, flags).ok()?;
            watched.reads += 1;
            let read = watched.reads;
            watched.files.insert(number, (id, read));
            Watch { number, read }
        };
        is_open_for_writing(file).is_ok_and(|open| !open).then_some(watch)
    }

    /// Does something with what was read, unless the file was opened meanwhile. What is forgotten for
    /// that reason by another thread is forgotten before or after, not amid it.
    pub fn if_undisturbed(
        &self,
        watch: &Watch,
        forget: impl FnMut(FileId),
        remember: impl FnOnce(),
    ) {
        let mut watched = self.lock();
        self.take_events(&mut watched, forget);
        if watched.files.get(&watch.number).is_some_and(|(_, read)| *read == watch.read) {
            remember();
        }
    }

    /// Calls `forget` for each file that was opened since it was read.
    pub fn refresh(&self, forget: impl FnMut(FileId)) {
        let mut watched = self.lock();
        if !watched.files.is_empty() {
            self.take_events(&mut watched, forget);
        }
    }

    fn take_events(&self, watched: &mut Watched, mut forget: impl FnMut(FileId)) {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut events = Reader::new(&self.queue, &mut buffer);
        loop {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    watched.files.drain().for_each(|(_, (id, _))| forget(id));
                }
                Ok(event) => {
                    if let Some((id, _)) = watched.files.remove(&event.wd()) {
                        forget(id);
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                // Nothing is known any more.
                Err(_) => {
                    watched.files.drain().for_each(|(_, (id, _))| forget(id));
                    return;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks by a lease that is given back at once. Somebody who opens the file for writing at this very
/// moment waits for that.
fn is_open_for_writing(file: &File) -> io::Result<bool> {
    // SAFETY: the calls take a descriptor that is open, and numbers.
    let lease = |kind: libc::c_int| match unsafe {
        libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind)
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    match lease(libc::F_RDLCK) {
        Ok(()) => lease(libc::F_UNLCK).map(|()| false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::fs::OpenOptions;
    use std::path::{Path, PathBuf};

    const ID: FileId = (1, 2);

    struct Case {
        _folder: tempfile::TempDir,
        path: PathBuf,
        watches: Watches,
        forgotten: RefCell<Vec<FileId>>,
    }

    impl Case {
        fn new() -> Option<Case> {
            let shared = Path::new("/dev/shm");
            let folder =
                if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
            let folder = folder.unwrap();
            let path = folder.path().join("a.h");
            std::fs::write(&path, "a").unwrap();
            let Some(watches) = Watches::new() else {
                println!("skipped: no watches are granted");
                return None;
            };
            Some(Case { _folder: folder, path, watches, forgotten: RefCell::default() })
        }

        fn watch(&self) -> Option<Watch> {
            self.watches.watch(&File::open(&self.path).unwrap(), ID)
        }

        fn is_undisturbed(&self, watch: &Watch) -> bool {
            let mut undisturbed = false;
            let forget = |id| self.forgotten.borrow_mut().push(id);
            self.watches.if_undisturbed(watch, forget, || undisturbed = true);
            undisturbed
        }

        fn forgotten(&self) -> usize {
            self.watches.refresh(|id| self.forgotten.borrow_mut().push(id));
            self.forgotten.take().len()
        }
    }

    #[test]
    fn whoever_opens_a_file_is_noticed() {
        let Some(case) = Case::new() else { return };
        let watch = case.watch().unwrap();
        assert!(case.is_undisturbed(&watch));
        assert_eq!(case.forgotten(), 0);
        drop(OpenOptions::new().write(true).open(&case.path).unwrap());
        assert!(!case.is_undisturbed(&watch));
        assert_eq!(case.forgotten.take(), [ID]);
        // Once more: each read has its own watch.
        let watch = case.watch().unwrap();
        let second = case.watch().unwrap();
        assert!(!case.is_undisturbed(&watch) && case.is_undisturbed(&second));
        assert_eq!(case.forgotten.take(), [ID]);
        File::open(&case.path).unwrap();
        assert_eq!(case.forgotten(), 1);
        assert_eq!(case.forgotten(), 0);
    }

    #[test]
    fn whoever_has_a_file_open_for_writing_is_noticed() {
        let Some(case) = Case::new() else { return };
        let writer = OpenOptions::new().read(true).write(true).open(&case.path).unwrap();
        assert!(case.watch().is_none());
        // SAFETY: the mapping is as long as the file, and nobody else knows of it.
        let mapped = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), 1, access, libc::MAP_SHARED, writer.as_raw_fd(), 0)
        };
        assert_ne!(mapped, libc::MAP_FAILED);
        drop(writer);
        assert!(case.watch().is_none(), "a mapping is as good as a descriptor");
        // SAFETY: it was mapped above, and is not used any more.
        unsafe { libc::munmap(mapped, 1) };
        assert!(case.watch().is_some());
    }
}
