//! The cache folders in use: each is opened once, and nobody waits for long for one that does not open.

use crate::serve::counts::Counts;
use cache::store::{Limits, Store};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A cache folder that cannot be used is tried again after this long.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// A call waits this long while another one opens the folder. It takes longer only where the folder is on a
/// server that does not answer.
const OPEN_MAX: Duration = Duration::from_secs(1);

/// One cache folder.
pub struct Cache {
    /// Results and manifests.
    pub store: Store,
    /// What happened lately.
    pub counts: Counts,
    /// Those of the newest call.
    pub limits: Mutex<Limits>,
    /// Where it is.
    pub folder: PathBuf,
}

/// All cache folders: calls may name different ones.
#[derive(Default)]
pub struct Caches {
    folders: Mutex<HashMap<PathBuf, Opened>>,
    changed: Condvar,
}

enum Opened {
    Usable(Arc<Cache>),
    Unusable {
        since: Instant,
        why: String,
    },
    /// Somebody is at it.
    Opening,
}

impl Caches {
    /// The cache in a folder, opened by `open` where it is not open yet, or why it cannot be used now.
    pub fn find(
        &self,
        folder: &Path,
        limits: Limits,
        open: impl FnOnce(&Path) -> Result<Store, String>,
    ) -> Result<Arc<Cache>, String> {
        let deadline = Instant::now() + OPEN_MAX;
        let mut folders = self.lock();
        loop {
            match folders.get(folder) {
                Some(Opened::Usable(cache)) => {
                    *super::lock(&cache.limits) = limits;
                    return Ok(Arc::clone(cache));
                }
                Some(Opened::Unusable { since, why }) if since.elapsed() < RETRY_AFTER => {
                    return Err(why.clone());
                }
                Some(Opened::Opening) => {
                    let left = deadline.checked_duration_since(Instant::now());
                    let left = left.ok_or_else(|| not_usable(folder, "it does not open"))?;
                    folders = match self.changed.wait_timeout(folders, left) {
                        Ok((folders, _)) => folders,
                        Err(poison) => poison.into_inner().0,
                    };
                }
                _ => break,
            }
        }
        folders.insert(folder.to_owned(), Opened::Opening);
        drop(folders);
        // A file system that hangs must not hold up the calls that do not need it.
        let cache = match open(folder) {
            Ok(store) => {
                let (counts, limits) = (Counts::default(), Mutex::new(limits));
                Ok(Arc::new(Cache { store, counts, limits, folder: folder.to_owned() }))
            }
            Err(why) => Err(not_usable(folder, &why)),
        };
        let opened = match &cache {
            Ok(cache) => Opened::Usable(Arc::clone(cache)),
            Err(why) => Opened::Unusable { since: Instant::now(), why: why.clone() },
        };
        self.lock().insert(folder.to_owned(), opened);
        self.changed.notify_all();
        cache
    }

    /// Stops using a folder into which others can put results now.
    pub fn give_up(&self, folder: &Path, why: &str) {
        let why = not_usable(folder, why);
        tracing::error!("{why}");
        let given_up = Opened::Unusable { since: Instant::now(), why };
        let before = self.lock().insert(folder.to_owned(), given_up);
        // Outside of the lock: a store writes what waits when it goes.
        drop(before);
    }

    /// All that can be used.
    pub fn all(&self) -> Vec<Arc<Cache>> {
        let folders = self.lock();
        let usable = folders.values().filter_map(|opened| match opened {
            Opened::Usable(cache) => Some(Arc::clone(cache)),
            Opened::Unusable { .. } | Opened::Opening => None,
        });
        usable.collect()
    }

    /// Closes all of them.
    pub fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Opened>> {
        super::lock(&self.folders)
    }
}

fn not_usable(folder: &Path, why: &str) -> String {
    format!("the cache folder {} cannot be used: {why}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn open(folder: &Path) -> Result<Store, String> {
        Store::open(folder).map_err(|error| error.to_string())
    }

    #[test]
    fn a_folder_that_does_not_open_holds_up_no_other() {
        let scratch = tempfile::tempdir().unwrap();
        let (slow, quick) = (scratch.path().join("slow"), scratch.path().join("quick"));
        let caches = Caches::default();
        let limits = Limits::default();
        let ((begun, has_begun), (go_on, may_go_on)) = (channel(), channel());
        std::thread::scope(|scope| {
            let (caches, slow) = (&caches, &slow);
            let opening = scope.spawn(move || {
                let hang = |folder: &Path| {
                    begun.send(()).unwrap();
                    may_go_on.recv().unwrap();
                    open(folder)
                };
                caches.find(slow, limits, hang).is_ok()
            });
            has_begun.recv().unwrap();
            assert!(caches.find(&quick, limits, open).is_ok());
            assert_eq!(caches.all().len(), 1);
            assert!(caches.find(slow, limits, |_| panic!("it is being opened")).is_err());
            go_on.send(()).unwrap();
            assert!(opening.join().unwrap());
        });
        assert!(caches.find(&slow, limits, |_| panic!("it is open")).is_ok());
        assert_eq!(caches.all().len(), 2);
    }

    #[test]
    fn what_cannot_be_opened_is_left_alone_for_a_while() {
        let caches = Caches::default();
        let folder = Path::new("/dev/null/cache");
        let first = caches.find(folder, Limits::default(), open).err().unwrap();
        let second = caches.find(folder, Limits::default(), |_| panic!("too soon"));
        assert_eq!(second.err(), Some(first));
        caches.close();
        assert!(caches.all().is_empty());
    }
}
