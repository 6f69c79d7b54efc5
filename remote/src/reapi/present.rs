//! Which blobs a server has, as far as this client knows, and which are just being brought by somebody.

use super::digest::BlobName;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};
use tokio::sync::watch;

/// Blobs remembered of one server, at some 60 bytes each; when full, all are asked for again.
const PRESENT_MAX: usize = 200_000;

/// What one server has.
pub(super) struct Present {
    state: Mutex<State>,
    /// Goes up whenever something was brought, or given up.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    there: HashSet<BlobName>,
    coming: HashSet<BlobName>,
}

/// Blobs that are this holder's to bring; given up when dropped.
pub(super) struct Claim<'p> {
    present: &'p Present,
    /// Those.
    pub names: Vec<BlobName>,
}

impl Default for Present {
    fn default() -> Present {
        Present { state: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Present {
    /// Takes what is neither there nor on its way; `true` where something else is on its way.
    pub(super) fn claim(&self, names: &[BlobName]) -> (Claim<'_>, bool) {
        let mut state = self.lock();
        let mut waits = false;
        let mut mine = Vec::new();
        for name in names {
            if state.there.contains(name) {
                continue;
            }
            match state.coming.insert(*name) {
                true => mine.push(*name),
                // One that is named twice is this claim's own.
                false => waits |= !mine.contains(name),
            }
        }
        (Claim { present: self, names: mine }, waits)
    }

    /// To be subscribed to before [`Present::claim`] is asked.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The server says that it has not got these.
    pub(super) fn forget(&self, names: &[BlobName]) {
        let mut state = self.lock();
        for name in names {
            state.there.remove(name);
        }
    }

    /// Nothing is known any more.
    pub(super) fn forget_all(&self) {
        self.lock().there.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Claim<'_> {
    /// All of them are there now.
    pub(super) fn brought(self) {
        let mut state = self.present.lock();
        if state.there.len() + self.names.len() > PRESENT_MAX {
            state.there.clear();
        }
        state.there.extend(&self.names);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.present.lock();
            for name in &self.names {
                state.coming.remove(name);
            }
        }
        self.present.changed.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::Function;
    use super::*;

    #[test]
    fn each_blob_is_brought_by_one() {
        let present = Present::default();
        let [a, b] = [&b"a"[..], b"b"].map(|content| Function::Sha256.name(content));
        let (first, waits) = present.claim(&[a, a]);
        assert_eq!((first.names.clone(), waits), (vec![a], false));
        let (second, waits) = present.claim(&[a, b]);
        assert_eq!((second.names.clone(), waits), (vec![b], true));
        drop(first);
        let (third, waits) = present.claim(&[a, b]);
        assert_eq!((third.names.clone(), waits), (vec![a], true));
        third.brought();
        second.brought();
        let (none, waits) = present.claim(&[a, b]);
        assert!(none.names.is_empty() && !waits);
        drop(none);
        present.forget(&[a]);
        assert_eq!(present.claim(&[a, b]).0.names, [a]);
    }
}
