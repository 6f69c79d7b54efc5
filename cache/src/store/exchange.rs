//! Whole blobs, as they are: what one store gives away, and what another takes in.

use super::{SaveOptions, Store, StoreError};
use crate::entry::{Damage, Stored};
use compiler::hasher::Digest;

impl Store {
    /// The blob under a key, where it is there, sound, and no longer than `bytes_max`.
    pub fn blob(&self, key: Digest, bytes_max: u64) -> Option<Vec<u8>> {
        if self.blobs.room(key)? > bytes_max {
            return None;
        }
        let bytes = self.blobs.read(key, u64::MAX).ok()?.bytes;
        crate::entry::Entry::decode_parts(key, &bytes).ok()?;
        Some(bytes)
    }

    /// The bytes that the blob under a key takes, where there is one.
    pub fn room(&self, key: Digest) -> Option<u64> {
        self.blobs.room(key)
    }

    /// Takes in a blob that another store wrote, once it is known to be whole and of this key.
    pub fn save_blob(
        &self,
        key: Digest,
        blob: Vec<u8>,
        options: SaveOptions,
    ) -> Result<Result<Stored, Damage>, StoreError> {
        self.check_room()?;
        let stored = match Stored::open(key, blob.clone()) {
            Ok(stored) => stored,
            Err(damage) => return Ok(Err(damage)),
        };
        let failed = |source| StoreError::File { path: self.blobs.temp(), source };
        let temporary = self.blobs.write_temporary(&blob).map_err(failed)?;
        self.publish(key, &temporary, blob.len() as u64, options)?;
        Ok(Ok(stored))
    }
}

#[cfg(test)]
mod tests {
    use crate::entry::Entry;
    use crate::store::{EntryKind, SaveOptions, Store};
    use compiler::hasher::Digest;
    use compiler::part::PartKind;
    use std::time::Duration;

    #[test]
    fn a_blob_moves_from_store_to_store() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name| Store::open(&folder.path().join(name)).unwrap();
        let (one, other) = (open("one"), open("other"));
        let (key, compile_time) = (Digest::of(b"key"), Duration::from_secs(1));
        let options = SaveOptions { compression: Some(1), compile_time, kind: EntryKind::Result };
        let mut entry = Entry::default();
        entry.push(PartKind::Object, b"object".repeat(1_000));
        one.save(key, &entry, options).unwrap();
        assert_eq!(one.blob(key, 10), None, "it is larger");
        let blob = one.blob(key, 1 << 20).unwrap();
        other.save_blob(key, blob.clone(), options).unwrap().unwrap();
        assert_eq!(other.load(key), Some(entry));
        // Under another name, or with another byte, it is nothing.
        let wrong = Digest::of(b"other");
        assert!(other.save_blob(wrong, blob.clone(), options).unwrap().is_err());
        let mut changed = blob;
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        assert!(one.save_blob(key, changed, options).unwrap().is_err());
        assert!(!other.contains(wrong));
    }
}
