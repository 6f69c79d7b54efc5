//! The addresses behind the names of a host list, looked up again over time and off the path.

use crate::resolve::resolve;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Addresses are looked up again after this long: nodes of a headless service come and go.
const FRESH_FOR: Duration = Duration::from_secs(20);

/// A name that could not be found is looked up again after this long.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// How often a customer that waits for a name is asked whether it still waits.
const LOOK_UP: Duration = Duration::from_millis(400);

/// Names of all lists in use; more than this is no cluster.
const NAMES_MAX: usize = 10_000;

/// What is known of all names.
#[derive(Default)]
pub(super) struct Names(Arc<Shared>);

#[derive(Default)]
struct Shared {
    known: Mutex<HashMap<(String, u16), Known>>,
    changed: Condvar,
}

#[derive(Clone, Default)]
struct Known {
    addresses: Vec<SocketAddr>,
    why_none: String,
    looked_up: Option<Instant>,
    is_looking: bool,
}

impl Known {
    fn is_due(&self) -> bool {
        let lasts = if self.addresses.is_empty() { RETRY_AFTER } else { FRESH_FOR };
        !self.is_looking && self.looked_up.is_none_or(|at| at.elapsed() >= lasts)
    }
}

impl Names {
    /// The addresses of a name; none where it cannot be found. Waits only the first time.
    pub(super) fn find(
        &self,
        name: &str,
        port: u16,
        mut still_waiting: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Vec<SocketAddr>> {
        // A number needs no look-up.
        if let Ok(address) = name.parse() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let key = (name.to_owned(), port);
        let mut known = self.lock();
        loop {
            let entry = self.refreshed(&mut known, &key);
            if entry.looked_up.is_some() || !entry.is_looking {
                return Ok(entry.addresses.clone());
            }
            known = match self.0.changed.wait_timeout(known, LOOK_UP) {
                Ok((known, _)) => known,
                Err(poison) => poison.into_inner().0,
            };
            still_waiting()?;
        }
    }

    /// The addresses that are known now; the name is looked up where that is due.
    pub(super) fn known(&self, name: &str, port: u16) -> Vec<SocketAddr> {
        if let Ok(address) = name.parse() {
            return vec![SocketAddr::new(address, port)];
        }
        self.refreshed(&mut self.lock(), &(name.to_owned(), port)).addresses.clone()
    }

    fn refreshed<'k>(
        &self,
        known: &'k mut HashMap<(String, u16), Known>,
        key: &(String, u16),
    ) -> &'k mut Known {
        if known.len() >= NAMES_MAX {
            known.retain(|_, known| known.is_looking);
        }
        let entry = known.entry(key.clone()).or_default();
        if entry.is_due() {
            entry.is_looking = self.look_up(key);
        }
        entry
    }

    /// Why a name has no address, in words for a person; `None` where it was not looked up.
    pub(super) fn why_none(&self, name: &str, port: u16) -> Option<String> {
        let known = self.lock();
        let known = known.get(&(name.to_owned(), port))?;
        known.looked_up.map(|_| known.why_none.clone())
    }

    /// Looks a name up on a thread of its own.
    fn look_up(&self, key: &(String, u16)) -> bool {
        let shared = Arc::clone(&self.0);
        let key = key.clone();
        let started = std::thread::Builder::new().spawn(move || {
            let found = resolve(&key.0, key.1);
            let mut known = shared.known.lock().unwrap_or_else(|poison| poison.into_inner());
            let entry = known.entry(key).or_default();
            entry.looked_up = Some(Instant::now());
            entry.is_looking = false;
            match found {
                Ok(addresses) => entry.addresses = addresses,
                Err(error) => {
                    entry.addresses.clear();
                    entry.why_none = error.to_string();
                }
            }
            shared.changed.notify_all();
        });
        started.is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, u16), Known>> {
        self.0.known.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}
