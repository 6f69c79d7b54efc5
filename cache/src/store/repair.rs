//! Brings blobs and index together again after a crash, and removes what nobody needs, in steps.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use walkdir::WalkDir;

use super::blobs::{Blobs, SHARDS, TEMP_AGE_MAX, room};
use super::index::{Index, Row, Summary, is_damage, to_microseconds};
use super::{EntryKind, Store, StoreError, lock};
use crate::entry::{Header, PartKind};
use compiler::hasher::Digest;

/// Files that one step removes from the trash.
pub(super) const TRASH_FILES_PER_STEP: usize = 2_000;
/// Folders of `store/` that one step compares with the index.
const SHARDS_PER_STEP: u16 = 4;
/// Blobs and index are compared this often, even where nothing points to a difference.
pub(super) const WALK_PERIOD: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How far the comparison of blobs and index has come.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// The next folder to compare; none when all is done.
    pub next: Option<u16>,
}

/// Where blobs and rows differ.
#[derive(Debug, Default, PartialEq, Eq)]
struct Differences {
    /// Blobs without a row, or with one that has another length.
    unknown_blobs: Vec<Digest>,
    /// Rows without a blob.
    empty_rows: Vec<Digest>,
}

impl Store {
    /// One step of tidying; true if there is more to do at once. For a background thread.
    ///
    /// Removes trash and temporary files that nobody owns any more. After a crash, after the
    /// index was lost, and every week: adopts blobs that have no row, and drops rows that have no
    /// blob.
    pub fn sweep(&self) -> bool {
        let Ok(mut walk) = self.walk.try_lock() else {
            return false;
        };
        let trash_left = match remove_trash(&self.blobs.trash(), TRASH_FILES_PER_STEP) {
            Ok(removed) => removed == TRASH_FILES_PER_STEP,
            Err(error) => {
                tracing::debug!("cannot empty the trash: {error}");
                false
            }
        };
        if self.walk_wanted.swap(false, Ordering::Relaxed) {
            walk.next = Some(0);
        }
        if trash_left || walk.next.is_none() {
            return trash_left;
        }
        // It is made anew when there is something to put into it.
        if self.index_is_lost() {
            return false;
        }
        match self.walk_step(&mut walk, SystemTime::now()) {
            Ok(()) => walk.next.is_some() || self.walk_wanted.load(Ordering::Relaxed),
            Err(error) => {
                tracing::debug!("cannot compare the store with its index: {error}");
                false
            }
        }
    }

    /// Runs one piece of work on the index, which is opened where it is not, or where someone
    /// removed its file. One that proves damaged is replaced by a new one.
    pub(super) fn with_index<T>(
        &self,
        mut work: impl FnMut(&mut Index) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut slot = lock(&self.index);
        if slot.as_ref().is_none_or(|index| !index.is_in_place()) {
            self.open_index(&mut slot)?;
        }
        let index = slot.as_mut().ok_or(StoreError::IndexBehind)?;
        match work(index) {
            Err(error) if is_damage(&error) => {
                self.rebuild_index(&mut slot, &error)?;
                let index = slot.as_mut().ok_or(StoreError::IndexBehind)?;
                work(index).map_err(|error| self.index_error(&error))
            }
            done => done.map_err(|error| self.index_error(&error)),
        }
    }

    fn open_index(&self, slot: &mut Option<Index>) -> Result<(), StoreError> {
        *slot = None;
        let folders = self.blobs.create_subfolders();
        folders.map_err(|source| StoreError::File { path: self.blobs.store(), source })?;
        self.walk_wanted.store(true, Ordering::Relaxed);
        let opened = Index::open(&self.blobs.index())
            .and_then(|index| index.summary().map(|summary| (index, summary)));
        match opened {
            Ok((index, summary)) => {
                self.take_over(&summary);
                *slot = Some(index);
                Ok(())
            }
            Err(error) if is_damage(&error) => self.rebuild_index(slot, &error),
            Err(error) => Err(self.index_error(&error)),
        }
    }

    fn rebuild_index(
        &self,
        slot: &mut Option<Index>,
        error: &rusqlite::Error,
    ) -> Result<(), StoreError> {
        tracing::warn!("the index of the cache is made anew from its entries: {error}");
        self.walk_wanted.store(true, Ordering::Relaxed);
        self.replace_index(slot, &self.known_summary())
    }

    /// Starts an empty index that keeps the counters.
    pub(super) fn replace_index(
        &self,
        slot: &mut Option<Index>,
        summary: &Summary,
    ) -> Result<(), StoreError> {
        *slot = None;
        let path = self.blobs.index();
        // The file itself first: SQLite ignores the log of a file that is not there.
        for suffix in ["", "-wal", "-shm"] {
            let mut file = path.clone().into_os_string();
            file.push(suffix);
            let file = PathBuf::from(file);
            if let Err(source) = self.blobs.set_aside(&file) {
                return Err(StoreError::File { path: file, source });
            }
        }
        let opened = Index::open(&path).and_then(|mut index| {
            index.restore(summary)?;
            index.summary().map(|summary| (index, summary))
        });
        let (index, summary) = opened.map_err(|error| self.index_error(&error))?;
        self.take_over(&summary);
        *slot = Some(index);
        Ok(())
    }

    /// What memory knows of the counters in the index, for a new index.
    pub(super) fn known_summary(&self) -> Summary {
        let evicted = lock(&self.pending).totals().evicted;
        let counters = lock(&self.counters);
        Summary {
            evicted,
            counters: counters.indexed.clone(),
            zeroed_at: counters.zeroed_at,
            ..Summary::default()
        }
    }

    fn take_over(&self, summary: &Summary) {
        lock(&self.pending).set_indexed(summary);
        lock(&self.counters).set_indexed(summary);
    }

    fn index_error(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::Index { path: self.blobs.index(), message: error.to_string() }
    }

    fn walk_step(&self, walk: &mut Walk, now: SystemTime) -> Result<(), StoreError> {
        let start = walk.next.unwrap_or(0);
        if start == 0 {
            remove_stale(&self.blobs.temp(), now);
        }
        let end = (start + SHARDS_PER_STEP).min(SHARDS);
        for shard in start..end {
            self.reconcile_shard(shard as u8)?;
        }
        if end < SHARDS {
            walk.next = Some(end);
            return Ok(());
        }
        self.with_index(|index| index.set_walked_at(now))?;
        walk.next = None;
        Ok(())
    }

    pub(super) fn reconcile_shard(&self, shard: u8) -> Result<(), StoreError> {
        let summary = self.with_index(|index| {
            let rows = index.entries_of_shard(shard)?;
            let blobs = match self.blobs.blobs_of_shard(shard) {
                Ok(blobs) => blobs,
                Err(error) => {
                    tracing::debug!("cannot list folder {shard:02x} of the store: {error}");
                    return Ok(None);
                }
            };
            let Differences { unknown_blobs, empty_rows } = differences(&blobs, &rows);
            if unknown_blobs.is_empty() && empty_rows.is_empty() {
                return Ok(None);
            }
            let adopted: Vec<Row> =
                unknown_blobs.into_iter().filter_map(|key| self.adopt(key)).collect();
            let dropped: Vec<Digest> =
                empty_rows.into_iter().filter(|&key| self.is_lost(key)).collect();
            let summary = index.reconcile(&adopted, &dropped)?;
            self.lost.fetch_add(dropped.len() as u64, Ordering::Relaxed);
            Ok(Some(summary))
        })?;
        if let Some(summary) = summary {
            lock(&self.pending).set_indexed(&summary);
        }
        Ok(())
    }

    /// The row that a blob should have. A file that is no whole blob is removed.
    fn adopt(&self, key: Digest) -> Option<Row> {
        // Held, so that no save puts another blob there meanwhile.
        let pending = lock(&self.pending);
        if pending.changes.contains_key(&key) {
            return None;
        }
        let (bytes, metadata) = self.blobs.read_header(key).ok()?;
        match Header::parse(key, &bytes) {
            Ok(header) if header.blob_length == metadata.len() => Some(Row {
                key,
                kind: if header.has(PartKind::Manifest) {
                    EntryKind::Manifest
                } else {
                    EntryKind::Result
                },
                bytes: room(metadata.len()),
                last_use: to_microseconds(metadata.modified().ok()?),
                compile_time_ms: 0,
            }),
            _ => {
                let _ = self.blobs.remove(key);
                None
            }
        }
    }

    fn is_lost(&self, key: Digest) -> bool {
        let pending = lock(&self.pending);
        !pending.changes.contains_key(&key) && self.blobs.room(key).is_none()
    }
}

impl Blobs {
    /// Every key in `store/`, folder by folder; folders that cannot be read are left out.
    pub fn for_each_key(&self, mut visit: impl FnMut(Digest)) {
        for shard in 0..SHARDS {
            for key in self.keys_of_shard(shard as u8).unwrap_or_default() {
                visit(key);
            }
        }
    }
}

/// Compares blobs with rows: keys and lengths, both in the order of the keys.
fn differences(blobs: &[(Digest, u64)], rows: &[(Digest, u64)]) -> Differences {
    let has_key = |&(key, _): &(Digest, u64)| {
        blobs.binary_search_by_key(&key, |&(blob_key, _)| blob_key).is_ok()
    };
    let keys = |entries: Vec<&(Digest, u64)>| entries.into_iter().map(|&(key, _)| key).collect();
    Differences {
        unknown_blobs: keys(
            blobs.iter().filter(|blob| rows.binary_search(blob).is_err()).collect(),
        ),
        empty_rows: keys(rows.iter().filter(|row| !has_key(row)).collect()),
    }
}

/// Removes up to `count` files and folders below `trash`; how many went.
fn remove_trash(trash: &Path, count: usize) -> io::Result<usize> {
    let mut removed = 0;
    for found in WalkDir::new(trash).min_depth(1).contents_first(true).into_iter().take(count) {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                let error = io::Error::from(error);
                return if error.kind() == ErrorKind::NotFound { Ok(removed) } else { Err(error) };
            }
        };
        let outcome = if found.file_type().is_dir() {
            fs::remove_dir(found.path())
        } else {
            fs::remove_file(found.path())
        };
        match outcome {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => removed += 1,
        }
    }
    Ok(removed)
}

/// Removes temporary files and folders whose writers must be dead.
fn remove_stale(temp: &Path, now: SystemTime) {
    let Ok(files) = fs::read_dir(temp) else {
        return;
    };
    for file in files.flatten() {
        let modified = file.metadata().and_then(|metadata| metadata.modified());
        let age = modified.map(|modified| now.duration_since(modified).unwrap_or_default());
        if age.is_ok_and(|age| age > TEMP_AGE_MAX) {
            let is_folder = file.file_type().is_ok_and(|kind| kind.is_dir());
            let _ = match is_folder {
                true => fs::remove_dir_all(file.path()),
                false => fs::remove_file(file.path()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_go_both_ways() {
        let key = |number: u8| Digest([number; Digest::LEN]);
        let entries = |numbers: &[(u8, u64)]| -> Vec<(Digest, u64)> {
            numbers.iter().map(|&(number, length)| (key(number), length)).collect()
        };
        let same = entries(&[(1, 10), (2, 20)]);
        assert_eq!(differences(&same, &same), Differences::default());
        let blobs = entries(&[(1, 10), (2, 20), (4, 40), (5, 50)]);
        let rows = entries(&[(2, 20), (3, 30), (5, 51)]);
        let expected =
            Differences { unknown_blobs: vec![key(1), key(4), key(5)], empty_rows: vec![key(3)] };
        assert_eq!(differences(&blobs, &rows), expected);
    }

    #[test]
    fn trash_goes_in_steps() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/c"), "x").unwrap();
        fs::write(folder.path().join("d"), "x").unwrap();
        assert_eq!(remove_trash(folder.path(), 3).unwrap(), 3);
        assert_eq!(remove_trash(folder.path(), 3).unwrap(), 1);
        assert_eq!(remove_trash(folder.path(), 3).unwrap(), 0);
        assert!(folder.path().exists());
        assert_eq!(remove_trash(&folder.path().join("none"), 3).unwrap(), 0);
    }
}
