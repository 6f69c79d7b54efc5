//! A result that a fetcher fetches and unpacks while its inputs are still being checked.

use crate::look_up::fetchers::Help;
use crate::look_up::{self, Found};
use crate::understand::unit::Unit;
use crate::{Cache, Daemon, lock};
use cache::outputs::{Delivery, OutputFile};
use compiler::file_memo::WorkingDirectory;
use compiler::hasher::Digest;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// What is fetched ahead. Whoever asked for it takes or discards it: nothing of it is left when its
/// launcher is released.
pub struct Ahead {
    fetch: Arc<Fetch>,
}

/// What a fetcher needs to know.
struct Fetch {
    cache: Arc<Cache>,
    here: Arc<WorkingDirectory>,
    outputs: Arc<[OutputFile]>,
    key: Digest,
    look: Digest,
    state: Mutex<State>,
    fetched: Condvar,
}

enum State {
    /// Nobody has begun.
    Waiting,
    /// A fetcher is at it.
    Running,
    /// It is there, and being unpacked; `None` where it is not in the store.
    Fetched(Option<Found>),
    /// Whoever asked has it, or went without.
    Taken,
}

impl Ahead {
    /// Asks for a result. `None` where no fetcher is free.
    pub fn ask(daemon: &Daemon, cache: &Arc<Cache>, unit: &Unit, key: Digest) -> Option<Ahead> {
        if daemon.is_crowded() {
            return None;
        }
        let fetch = Arc::new(Fetch {
            cache: Arc::clone(cache),
            here: Arc::clone(&unit.here),
            outputs: Arc::clone(&unit.outputs),
            key,
            look: unit.look,
            state: Mutex::new(State::Waiting),
            fetched: Condvar::new(),
        });
        daemon.fetchers.ask_idle(fetch.clone()).then_some(Ahead { fetch })
    }

    /// The result. Where no fetcher has come yet, it is fetched now.
    pub fn take(self) -> Option<Found> {
        let mut state = lock(&self.fetch.state);
        loop {
            match std::mem::replace(&mut *state, State::Taken) {
                State::Fetched(found) => return found,
                State::Waiting => {
                    drop(state);
                    return self.fetch.fetch();
                }
                State::Running => {
                    *state = State::Running;
                    state = self.fetch.fetched.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                State::Taken => return None,
            }
        }
    }

    /// Goes without it.
    pub fn discard(self) {
        let mut state = lock(&self.fetch.state);
        if let State::Waiting = *state {
            *state = State::Taken;
            return;
        }
        drop(state);
        drop(self.take());
    }
}

impl Fetch {
    fn fetch(&self) -> Option<Found> {
        let stored = look_up::open_result(&self.cache, self.key, self.look)?;
        Some(Delivery::begin(&self.here, stored, &self.outputs))
    }
}

impl Help for Fetch {
    fn help(&self) {
        match &mut *lock(&self.state) {
            state @ State::Waiting => *state = State::Running,
            _ => return,
        }
        let mut ending = Ending { fetch: self, found: None };
        ending.found = self.fetch();
        let delivery = ending.found.as_ref().and_then(|found| found.as_ref().ok());
        let work = delivery.map(Delivery::work);
        drop(ending);
        if let Some(work) = work {
            work.run();
        }
    }
}

/// Hands over what was fetched, and nothing where the fetcher panics: somebody waits for it.
struct Ending<'f> {
    fetch: &'f Fetch,
    found: Option<Found>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        *lock(&self.fetch.state) = State::Fetched(self.found.take());
        self.fetch.fetched.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache::entry::{Entry, PartKind};
    use cache::store::{EntryKind, SaveOptions, Store};
    use std::path::Path;
    use std::thread;
    use std::time::Duration;

    const OBJECT: &[u8] = b"object";

    /// A store with one result, and a request for it in an empty folder.
    fn stored(folder: &Path) -> Arc<Fetch> {
        let key = Digest::of(b"key");
        let store = Store::open(&folder.join("cache")).unwrap();
        let mut entry = Entry::default();
        entry.push(PartKind::Object, OBJECT.to_vec());
        let (compression, compile_time) = (None, Duration::ZERO);
        let options = SaveOptions { compression, compile_time, kind: EntryKind::Result };
        store.save(key, &entry, options).unwrap();
        std::fs::create_dir(folder.join("build")).unwrap();
        let (kind, path) = (PartKind::Object, "a.o".into());
        let output = OutputFile { kind, path, mode: 0o644, group: None };
        Arc::new(Fetch {
            cache: Arc::new(Cache {
                store,
                counts: Default::default(),
                limits: Default::default(),
                folder: folder.join("cache"),
            }),
            here: Arc::new(WorkingDirectory::open(&folder.join("build")).unwrap()),
            outputs: [output].into(),
            key,
            look: Digest::of(b"look"),
            state: Mutex::new(State::Waiting),
            fetched: Condvar::new(),
        })
    }

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder.join("build")).unwrap().count()
    }

    /// With a fetcher that is done before, and with one that comes too late.
    fn each_way(judge: impl Fn(Ahead, &Fetch, &Path)) {
        for helped in [false, true] {
            let scratch = tempfile::tempdir().unwrap();
            let fetch = stored(scratch.path());
            if helped {
                fetch.help();
            }
            judge(Ahead { fetch: Arc::clone(&fetch) }, &fetch, scratch.path());
        }
    }

    #[test]
    fn it_is_the_same_whether_a_fetcher_comes_or_not() {
        each_way(|ahead, fetch, folder| {
            let found = ahead.take().unwrap();
            fetch.help();
            found.unwrap().finish().unwrap().publish().unwrap();
            assert_eq!(std::fs::read(folder.join("build/a.o")).unwrap(), OBJECT);
            assert_eq!(files(folder), 1);
        });
    }

    #[test]
    fn what_is_not_wanted_leaves_nothing() {
        each_way(|ahead, fetch, folder| {
            ahead.discard();
            fetch.help();
            assert_eq!(files(folder), 0);
        });
    }

    #[test]
    fn who_takes_it_waits_for_the_fetcher_that_has_begun() {
        let scratch = tempfile::tempdir().unwrap();
        let fetch = stored(scratch.path());
        *lock(&fetch.state) = State::Running;
        let ahead = Ahead { fetch: Arc::clone(&fetch) };
        let taker = thread::spawn(move || ahead.take().is_some());
        drop(Ending { fetch: &fetch, found: fetch.fetch() });
        assert!(taker.join().unwrap());
        // The fetcher had a fault: the result counts as missing.
        *lock(&fetch.state) = State::Running;
        let ahead = Ahead { fetch: Arc::clone(&fetch) };
        let taker = thread::spawn(move || ahead.take().is_some());
        drop(Ending { fetch: &fetch, found: None });
        assert!(!taker.join().unwrap());
    }
}
