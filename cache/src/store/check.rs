//! Checks blobs one by one, for `rcache verify`: header, checksum, every frame, and what a manifest says.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::blobs::{Blobs, Found, SHARDS};
use super::{Store, lock};
use crate::entry::{Damage, Entry, PartKind};
use crate::manifest::Manifest;
use compiler::hasher::Digest;

/// What is to be found under the name of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blob {
    /// Nothing: it was evicted or removed meanwhile.
    Gone,
    /// A whole entry.
    Sound {
        /// The length of the file.
        bytes: u64,
    },
    /// Something that another version of rcache wrote.
    Outdated {
        /// The length of the file.
        bytes: u64,
    },
    /// Anything else.
    Damaged {
        /// The length of the file, where it can be read.
        bytes: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// Looks at the blobs of a cache folder, also beside a daemon at work, and changes nothing: a blob
/// becomes visible whole, and is never written to.
pub struct Checker {
    blobs: Blobs,
}

impl Checker {
    /// For the cache in a folder.
    pub fn new(folder: &Path) -> Checker {
        Checker { blobs: Blobs::new(folder) }
    }

    /// The keys of all blobs, in order.
    pub fn keys(&self) -> Vec<Digest> {
        let mut keys = Vec::new();
        self.blobs.for_each_key(|key| keys.push(key));
        keys
    }

    /// Reads one blob.
    pub fn check(&self, key: Digest) -> Blob {
        check(&self.blobs, key).0
    }

    /// The file of a blob.
    pub fn path(&self, key: Digest) -> PathBuf {
        self.blobs.path(key)
    }
}

impl Store {
    /// Reads one blob again, and removes it where it is no whole entry of this version. Whether the
    /// file is gone then is the second answer.
    pub fn recheck(&self, key: Digest) -> (Blob, bool) {
        match check(&self.blobs, key) {
            (blob @ (Blob::Gone | Blob::Sound { .. }), _) => (blob, false),
            (blob, None) => (blob, false),
            (blob, Some(found)) => {
                let mut pending = lock(&self.pending);
                let removed = self.blobs.remove_found(key, &found);
                removed.inspect(|bytes| pending.removed(key, *bytes));
                (blob, removed.is_some())
            }
        }
    }

    /// Compares the blobs of one of [`Store::SHARDS`] with the index.
    pub fn find_lost(&self, shard: u8) -> Result<(), super::StoreError> {
        self.reconcile_shard(shard)
    }

    /// The parts in which [`Store::find_lost`] goes through the store.
    pub const SHARDS: u16 = SHARDS;

    /// How many entries of the index turned out to have no blob, since this was last asked.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// What is there, and what was read of it.
fn check(blobs: &Blobs, key: Digest) -> (Blob, Option<Found>) {
    let found = match blobs.read(key, u64::MAX) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return (Blob::Gone, None);
        }
        Err(error) => {
            let why = match error.kind() {
                ErrorKind::InvalidData => "it is no file of a possible length".to_owned(),
                _ => format!("it cannot be read: {error}"),
            };
            return (Blob::Damaged { bytes: 0, why }, None);
        }
    };
    let bytes = found.bytes.len() as u64;
    let blob = match decode(key, &found.bytes) {
        Ok(()) => Blob::Sound { bytes },
        Err(Damage::Version(_)) => Blob::Outdated { bytes },
        // Nothing is known of the file.
        Err(damage @ Damage::OutOfMemory) => {
            return (Blob::Damaged { bytes, why: damage.to_string() }, None);
        }
        Err(damage) => Blob::Damaged { bytes, why: damage.to_string() },
    };
    (blob, Some(found))
}

fn decode(key: Digest, bytes: &[u8]) -> Result<(), Damage> {
    let entry = Entry::decode(key, bytes)?;
    match entry.part(PartKind::Manifest) {
        Some(manifest) if Manifest::is_of_other_version(manifest) => {
            Err(Damage::Version(crate::entry::FORMAT_VERSION))
        }
        Some(manifest) if !Manifest::decode(manifest).is_some_and(|found| found.is_sound()) => {
            Err(Damage::Malformed("manifest"))
        }
        _ => Ok(()),
    }
}
