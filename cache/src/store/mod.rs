//! The store: remembers entries by key, within limits, and survives whatever happens to its files.
//!
//! ```text
//! <cache folder>/
//!   CACHEDIR.TAG        tells backup programs to leave the folder out
//!   store/ab/<hex key>  one blob for each entry (see `entry.rs`), by the first byte of its key
//!   tmp/                blobs that are being written; renamed into store/ when whole; scratch folders
//!   trash/              what `clear` and repairs took out of sight; removed in the background
//!   users.lock          locked, together with others, by every process that has the store open
//!   index.sqlite        rows, totals and counters (see `index.rs`), with -wal and -shm
//! ```
//!
//! A lookup opens one file and asks no index: a blob with a right checksum is the answer, anything
//! else is a miss. Saving renames a whole file. What the index must learn of both waits in memory
//! (`pending.rs`) until [`Store::flush`]. The index is only needed for totals, counters and the
//! order of eviction (`evict.rs`); when it is lost, it is made again from the blobs (`repair.rs`).
//!
//! Locks are taken in the order walk, index, pending, uses, counters.

mod blobs;
mod check;
mod evict;
mod exchange;
mod index;
mod ownership;
mod pending;
mod repair;

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, OFlags, flock};

use self::blobs::{Blobs, Found, Temporary};
use self::evict::Goal;
use self::index::{Index, Row, to_microseconds};
use self::pending::{Batch, CHANGES_MAX, Counters, Pending, SOURCES_MAX, Saved, USES_MAX};
use self::repair::{WALK_PERIOD, Walk};
use crate::entry::{Damage, Entry, LARGE_FROM_BYTES, Spooled, Stored, write_blob};
use compiler::hasher::Digest;

pub use self::blobs::Scratch;
pub use self::check::{Blob, Checker};
pub use self::evict::LOW_WATER_PERCENT;
pub use self::ownership::secure;

/// How many manifests of one source [`Store::manifests_of_source`] names.
pub const MANIFESTS_OF_SOURCE_MAX: usize = 16;
/// See [`Store::users`].
const USERS_FILE: &str = "users.lock";
/// Entries that eviction removes before it lets others at the index.
const EVICT_STEP: usize = 256;
/// Blobs that cannot be removed before eviction gives up.
const EVICT_FAILURES_MAX: usize = 1_000;
/// On a full disk the index needs room, too.
const ROOM_BESIDES_BYTES: u64 = 64 << 10;

/// The cached entries below one folder, for use by many threads.
pub struct Store {
    blobs: Blobs,
    /// None while it cannot be opened; tried again at each flush.
    index: Mutex<Option<Index>>,
    pending: Mutex<Pending>,
    uses: Mutex<HashMap<Digest, u64>>,
    counters: Mutex<Counters>,
    walk: Mutex<Walk>,
    /// Blobs and index have to be compared from the start.
    walk_wanted: AtomicBool,
    /// Entries of the index whose blobs were not there.
    lost: AtomicU64,
    /// Orders saves and uses.
    ticks: AtomicU64,
    /// Locked by every process that has the store open; `None` where there is no such file.
    users: Option<File>,
}

/// What an entry is to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// The outputs of a compile. `max_files` limits their number.
    Result = 0,
    /// What leads from a source to results.
    Manifest = 1,
}

impl EntryKind {
    fn from_number(number: i64) -> Option<EntryKind> {
        match number {
            0 => Some(EntryKind::Result),
            1 => Some(EntryKind::Manifest),
            _ => None,
        }
    }
}

/// How an entry is to be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveOptions {
    /// zstd's level, -5 to 19; none stores everything as it is.
    pub compression: Option<i32>,
    /// What a hit will save.
    pub compile_time: Duration,
    /// What it is.
    pub kind: EntryKind,
}

/// What the store may hold; 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// In bytes, over all entries.
    pub max_size_bytes: u64,
    /// The number of results.
    pub max_files: u64,
}

/// What the store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The bytes of all blobs.
    pub bytes: u64,
    /// The number of results.
    pub files: u64,
    /// Entries removed by eviction since the counters were set to 0.
    pub evicted: u64,
    /// Damaged blobs found by lookups since the store was opened.
    pub damaged: u64,
}

/// What an eviction or a trim did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Entries removed.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What became of a cache folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is there.
    There,
    /// Somebody removed it.
    Gone,
    /// Others can put results into it.
    Refused(String),
}

/// Why the store could not do something. None of these concerns an answer.
#[derive(Debug)]
pub enum StoreError {
    /// A file or folder cannot be made, written or removed.
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The index cannot be used.
    Index {
        /// Its file.
        path: PathBuf,
        /// What SQLite said.
        message: String,
    },
    /// The index could not be written for so long that nothing more is taken.
    IndexBehind,
    /// The entry is beyond what a blob can hold.
    TooLarge,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::File { path, source } => write!(f, "{}: {source}", path.display()),
            StoreError::Index { path, message } => write!(f, "{}: {message}", path.display()),
            StoreError::IndexBehind => f.write_str("the index of the cache cannot be written"),
            StoreError::TooLarge => f.write_str("the result is too large for the cache"),
        }
    }
}

fn file_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::File { path: path.to_owned(), source }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

impl Store {
    /// Opens the store below a cache folder, which is made if it is missing. The time does not
    /// depend on how much is stored.
    ///
    /// The only errors are a cache folder that cannot be made, and one into which others can put
    /// results. A folder that cannot be written, or an index that cannot be opened, leaves a store
    /// that answers but takes nothing.
    pub fn open(folder: &Path) -> Result<Store, StoreError> {
        let blobs = Blobs::new(folder);
        blobs.create_folder().map_err(|source| file_error(folder, source))?;
        for (path, checked) in blobs.secure_folders() {
            checked.map_err(|source| file_error(&path, source))?;
        }
        let store = Store {
            blobs,
            index: Mutex::default(),
            pending: Mutex::default(),
            uses: Mutex::default(),
            counters: Mutex::default(),
            walk: Mutex::default(),
            walk_wanted: AtomicBool::new(true),
            lost: AtomicU64::new(0),
            ticks: AtomicU64::new(1),
            users: open_users(&folder.join(USERS_FILE)),
        };
        let is_alone = store.is_alone();
        if let Some(users) = &store.users {
            let _ = flock(users, FlockOperation::LockShared);
        }
        let opened = store.with_index(|index| {
            let was_clean = index.is_clean()?;
            if was_clean {
                index.set_clean(false)?;
            }
            Ok((was_clean, index.walked_at()?))
        });
        match opened {
            Ok((was_clean, walked_at)) => {
                let age = walked_at.and_then(|at| SystemTime::now().duration_since(at).ok());
                // While others have it open it is never clean; the first of them has looked.
                let is_due = !was_clean && is_alone || age.is_none_or(|age| age > WALK_PERIOD);
                store.walk_wanted.store(is_due, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!("the cache works without its index: {error}"),
        }
        Ok(store)
    }

    /// Makes the cache folder again where somebody removed it. For calls alone: what goes on behind
    /// them must not bring back what was removed.
    pub fn make_folder(&self) -> Result<(), StoreError> {
        match self.standing() {
            Standing::Gone => {
                self.blobs.create_folder().map_err(|source| file_error(self.blobs.folder(), source))
            }
            Standing::There | Standing::Refused(_) => Ok(()),
        }
    }

    /// Whether the cache folder is there and still nobody else's.
    pub fn standing(&self) -> Standing {
        match secure(self.blobs.folder()) {
            Ok(()) => Standing::There,
            Err(error) if error.kind() == ErrorKind::NotFound => Standing::Gone,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Standing::Refused(error.to_string())
            }
            // A disk that is out of reach for now.
            Err(_) => Standing::There,
        }
    }

    /// The entry under a key. One that is missing, unreadable or damaged is a miss; what is
    /// damaged is removed.
    pub fn load(&self, key: Digest) -> Option<Entry> {
        self.read(key, u64::MAX, |found| Entry::decode(key, &found.bytes))
    }

    /// As [`Store::load`], but nothing is decompressed yet.
    pub fn open_entry(&self, key: Digest) -> Option<Stored> {
        self.read(key, LARGE_FROM_BYTES, |found| match found.large.take() {
            Some(file) => Stored::open_file(key, file),
            None => Stored::open(key, std::mem::take(&mut found.bytes)),
        })
    }

    fn read<T>(
        &self,
        key: Digest,
        large_from: u64,
        parse: impl Fn(&mut Found) -> Result<T, Damage>,
    ) -> Option<T> {
        let mut found = match self.blobs.read(key, large_from) {
            Ok(found) => found,
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::debug!("cannot read entry {key}: {error}");
                }
                return None;
            }
        };
        match parse(&mut found) {
            Ok(entry) => {
                self.mark_use(key);
                Some(entry)
            }
            Err(damage @ Damage::Unreadable) => {
                tracing::debug!("entry {key}: {damage}");
                None
            }
            Err(damage) => {
                tracing::warn!("removed entry {key}: {damage}");
                let mut pending = lock(&self.pending);
                pending.count_damaged();
                if let Some(bytes) = self.blobs.remove_found(key, &found) {
                    pending.removed(key, bytes);
                }
                None
            }
        }
    }

    /// Whether there is a blob under a key, which may yet turn out to be damaged.
    pub fn contains(&self, key: Digest) -> bool {
        self.blobs.room(key).is_some()
    }

    /// Stores an entry in place of what the key had. It is visible whole or not at all.
    pub fn save(&self, key: Digest, entry: &Entry, options: SaveOptions) -> Result<(), StoreError> {
        self.check_room()?;
        let blob = entry.encode(key, options.compression).map_err(|_| StoreError::TooLarge)?;
        if blob.len() as u64 > crate::entry::ENTRY_SIZE_BYTES_MAX {
            return Err(StoreError::TooLarge);
        }
        let failed = |path: PathBuf| move |source| StoreError::File { path, source };
        let temporary = match self.blobs.write_temporary(&blob) {
            Err(error) if is_full(&error) => {
                self.make_room(blob.len() as u64);
                self.blobs.write_temporary(&blob)
            }
            written => written,
        };
        let temporary = temporary.map_err(failed(self.blobs.temp()))?;
        self.publish(key, &temporary, blob.len() as u64, options)
    }

    /// The same with parts that are too large to be held in memory.
    pub fn save_large(
        &self,
        key: Digest,
        entry: &Entry,
        large: &[Spooled],
        options: SaveOptions,
    ) -> Result<(), StoreError> {
        self.check_room()?;
        let failed = |source| StoreError::File { path: self.blobs.temp(), source };
        let write = || {
            let (file, temporary) = self.blobs.new_temporary()?;
            let bytes = write_blob(&file, key, entry, large, options.compression)?;
            self.blobs.finish(file)?;
            Ok((temporary, bytes))
        };
        let written = match write() {
            Err(error) if is_full(&error) => {
                self.make_room(large.iter().map(|part| part.length).sum());
                write()
            }
            written => written,
        };
        let (temporary, bytes) = written.map_err(failed)?;
        match bytes > crate::entry::ENTRY_SIZE_BYTES_MAX {
            true => Err(StoreError::TooLarge),
            false => self.publish(key, &temporary, bytes, options),
        }
    }

    /// An empty file beside the store that nobody else sees, for a large output.
    pub fn spool(&self) -> std::io::Result<File> {
        // Its name goes here; the file stays as long as it is open.
        self.blobs.new_temporary().map(|(file, _)| file)
    }

    fn check_room(&self) -> Result<(), StoreError> {
        match lock(&self.pending).changes.len() >= CHANGES_MAX {
            true => Err(StoreError::IndexBehind),
            false => Ok(()),
        }
    }

    fn publish(
        &self,
        key: Digest,
        temporary: &Temporary,
        bytes: u64,
        options: SaveOptions,
    ) -> Result<(), StoreError> {
        let failed = |path: PathBuf| move |source| StoreError::File { path, source };
        let saved = Saved {
            kind: options.kind,
            bytes: blobs::room(bytes),
            compile_time_ms: options.compile_time.as_millis().try_into().unwrap_or(u64::MAX),
            tick: self.tick(),
        };
        // Held, so that the change waits for the index from the moment at which it is visible.
        let mut pending = lock(&self.pending);
        let replaced_bytes = self.blobs.room(key);
        self.blobs.publish(key, temporary).map_err(failed(self.blobs.path(key)))?;
        pending.saved(key, saved, replaced_bytes);
        Ok(())
    }

    /// Brings what waits in memory (new entries, uses, counts) into the index, in one transaction, and
    /// what other daemons put there into memory. For a background thread, about once a second. What
    /// cannot be written waits on; a cache folder that was removed stays so.
    pub fn flush(&self, now: SystemTime) -> Result<(), StoreError> {
        // Somebody may be removing the folder, and finds no new files while that lasts.
        if self.index_is_lost() && !self.has_news() {
            return Ok(());
        }
        self.with_index(|index| {
            let batch = {
                let mut pending = lock(&self.pending);
                let mut uses = lock(&self.uses);
                Batch::take(&mut pending, &mut uses, &mut lock(&self.counters))
            };
            let applied = match batch.is_empty() {
                true if !index.was_changed_by_others()? => return Ok(()),
                true => index.summary(),
                false => index.apply(&batch, now),
            };
            let mut pending = lock(&self.pending);
            let mut uses = lock(&self.uses);
            let mut counters = lock(&self.counters);
            match &applied {
                Ok(summary) => batch.settle(summary, &mut pending, &mut counters),
                Err(_) => batch.give_back(&mut pending, &mut uses, &mut counters),
            }
            applied.map(drop)
        })
    }

    /// What the store holds, from memory.
    pub fn totals(&self) -> Totals {
        lock(&self.pending).totals()
    }

    /// Where a limit is passed, removes the least recently used entries down to
    /// [`LOW_WATER_PERCENT`] of it. For a background thread; lookups and saves go on meanwhile.
    pub fn evict(&self, limits: Limits, now: SystemTime) -> Result<Evicted, StoreError> {
        let totals = self.totals();
        if evict::goal(&totals, limits).is_none() {
            return Ok(Evicted::default());
        }
        self.flush(now)?;
        match evict::goal(&self.totals(), limits) {
            Some(goal) => self.remove_oldest(goal, true, now),
            None => Ok(Evicted::default()),
        }
    }

    /// Removes the least recently used entries until at most `max_size` bytes are left and none
    /// that was not used for `older_than`.
    pub fn trim(
        &self,
        max_size: Option<u64>,
        older_than: Option<Duration>,
        now: SystemTime,
    ) -> Result<Evicted, StoreError> {
        self.flush(now)?;
        let used_since = older_than.map(|age| now.checked_sub(age).map_or(0, to_microseconds));
        let goal = Goal {
            bytes: max_size.unwrap_or(u64::MAX),
            used_since: used_since.unwrap_or(i64::MIN),
            ..Goal::ANYTHING
        };
        self.remove_oldest(goal, false, now)
    }

    /// Where the disk is full, removes the least recently used entries until a blob of this length has
    /// room. The index cannot be written then, so that entries that it does not know yet have to go by
    /// what is in memory.
    fn make_room(&self, length: u64) {
        let wanted = 2 * blobs::room(length) + ROOM_BESIDES_BYTES;
        let before = self.totals().bytes;
        let goal = Goal { bytes: before.saturating_sub(wanted), ..Goal::ANYTHING };
        if let Err(error) = self.remove_oldest(goal, true, SystemTime::now()) {
            tracing::debug!("cannot make room by the index: {error}");
        }
        let mut pending = lock(&self.pending);
        for key in pending.oldest_saved() {
            if pending.totals().bytes <= goal.bytes {
                break;
            }
            if let Some(bytes) = self.blobs.room(key)
                && self.blobs.remove(key).is_ok()
            {
                pending.removed(key, bytes);
            }
        }
        let freed = before.saturating_sub(pending.totals().bytes);
        tracing::info!("the disk is full: removed {freed} bytes");
    }

    /// Removes every entry, at once: what was stored goes out of sight, and [`Store::sweep`]
    /// removes it. The counters stay.
    pub fn clear(&self) -> Result<(), StoreError> {
        self.make_folder()?;
        let mut slot = lock(&self.index);
        let summary = self.known_summary();
        {
            let mut pending = lock(&self.pending);
            self.blobs
                .discard()
                .map_err(|source| StoreError::File { path: self.blobs.store(), source })?;
            pending.forget_entries();
            lock(&self.uses).clear();
        }
        self.replace_index(&mut slot, &summary)
    }

    /// Adds to counters. A name that is new starts at 0.
    pub fn add_counters(&self, counts: &[(&str, i64)]) {
        let mut counters = lock(&self.counters);
        for (name, value) in counts {
            counters.add(name, *value);
        }
    }

    /// Every counter that was ever added to, by name.
    pub fn counters(&self) -> Vec<(String, u64)> {
        lock(&self.counters).values().into_iter().collect()
    }

    /// Sets every counter to 0, and the count of evicted entries.
    pub fn zero_counters(&self, now: SystemTime) {
        lock(&self.pending).zero_evicted();
        lock(&self.counters).zero(now);
    }

    /// When the counters were last set to 0, to the second.
    pub fn zeroed_at(&self) -> Option<SystemTime> {
        lock(&self.counters).zeroed_at
    }

    /// Notes that a source file has a manifest, for `rcache explain`.
    pub fn remember_source(&self, source: Digest, manifest: Digest) {
        let tick = self.tick();
        let mut pending = lock(&self.pending);
        if pending.sources.len() < SOURCES_MAX {
            pending.sources.insert((source, manifest), tick);
        }
    }

    /// The manifests that a source file was last seen with, newest first, at most
    /// [`MANIFESTS_OF_SOURCE_MAX`]. Some may be gone from the store.
    pub fn manifests_of_source(&self, source: Digest) -> Vec<Digest> {
        let mut waiting: Vec<(u64, Digest)> = lock(&self.pending)
            .sources
            .iter()
            .filter(|((of, _), _)| *of == source)
            .map(|((_, manifest), tick)| (*tick, *manifest))
            .collect();
        waiting.sort_unstable_by(|one, other| other.cmp(one));
        let mut manifests: Vec<Digest> =
            waiting.into_iter().map(|(_, manifest)| manifest).collect();
        let indexed = self.with_index(|index| index.manifests_of(source, MANIFESTS_OF_SOURCE_MAX));
        for manifest in indexed.unwrap_or_default() {
            if !manifests.contains(&manifest) {
                manifests.push(manifest);
            }
        }
        manifests.truncate(MANIFESTS_OF_SOURCE_MAX);
        manifests
    }

    /// Calls `visit` with the key of every blob, in order.
    pub fn for_each_key(&self, visit: impl FnMut(Digest)) {
        self.blobs.for_each_key(visit);
    }

    /// Removes the entry under a key, unless another has taken its place. Whether it was removed.
    pub fn remove(&self, key: Digest, entry: &Entry) -> bool {
        let Ok(found) = self.blobs.read(key, u64::MAX) else { return false };
        if Entry::decode(key, &found.bytes).as_ref() != Ok(entry) {
            return false;
        }
        let mut pending = lock(&self.pending);
        let removed = self.blobs.remove_found(key, &found);
        removed.inspect(|bytes| pending.removed(key, *bytes)).is_some()
    }

    /// A folder for files that belong to no entry, empty; it goes when it is dropped.
    pub fn scratch(&self) -> Result<Scratch, StoreError> {
        let made = self.blobs.create_scratch();
        made.map_err(|source| StoreError::File { path: self.blobs.temp(), source })
    }

    /// Whether no other process has the store open.
    fn is_alone(&self) -> bool {
        let users = self.users.as_ref();
        users.is_none_or(|users| flock(users, FlockOperation::NonBlockingLockExclusive).is_ok())
    }

    /// Lets go of the lock, also where a process that is just being started still has the file.
    fn leave(&self) {
        if let Some(users) = &self.users {
            let _ = flock(users, FlockOperation::Unlock);
        }
    }

    /// Whether the file of the open index is gone.
    pub(in crate::store) fn index_is_lost(&self) -> bool {
        lock(&self.index).as_ref().is_some_and(|index| !index.is_in_place())
    }

    fn has_news(&self) -> bool {
        let has_changes = lock(&self.pending).has_changes();
        let has_uses = !lock(&self.uses).is_empty();
        has_changes || has_uses || lock(&self.counters).has_news()
    }

    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::Relaxed)
    }

    fn mark_use(&self, key: Digest) {
        let tick = self.tick();
        let mut uses = lock(&self.uses);
        if uses.len() < USES_MAX || uses.contains_key(&key) {
            uses.insert(key, tick);
        }
    }

    /// Removes entries in the order of their last use, in steps, until the goal is reached.
    fn remove_oldest(
        &self,
        goal: Goal,
        is_eviction: bool,
        now: SystemTime,
    ) -> Result<Evicted, StoreError> {
        let mut evicted = Evicted::default();
        let mut failures = 0;
        // What is used or saved from now on is not looked at again, so that this comes to an end.
        let before = self.with_index(|index| Ok(index.next_stamp(now)))?;
        loop {
            let step = self.with_index(|index| {
                let mut rows = index.oldest(before, EVICT_STEP)?;
                rows.truncate(evict::victims(&rows, &self.totals(), goal));
                let step = self.remove_blobs(&rows);
                let count = if is_eviction { step.removed.len() as u64 } else { 0 };
                if !rows.is_empty() {
                    let summary = index.remove(&step.removed, &step.kept, count, now)?;
                    lock(&self.pending).set_indexed(&summary);
                }
                Ok(step)
            })?;
            evicted.entries += step.removed.len() as u64;
            evicted.bytes += step.bytes;
            if step.removed.is_empty() && step.kept.is_empty() {
                return Ok(evicted);
            }
            failures += step.failures;
            match step.failure {
                Some((key, source)) if failures >= EVICT_FAILURES_MAX => {
                    return Err(StoreError::File { path: self.blobs.path(key), source });
                }
                _ => {}
            }
        }
    }

    /// Removes the blobs of rows, but not those that were used or saved since.
    fn remove_blobs(&self, rows: &[Row]) -> Step {
        let mut step = Step::default();
        for row in rows {
            // Taken anew for each blob: lookups and saves wait for one removal at most.
            let pending = lock(&self.pending);
            let is_used = lock(&self.uses).contains_key(&row.key);
            if is_used || pending.changes.contains_key(&row.key) {
                step.kept.push(row.key);
                continue;
            }
            match self.blobs.remove(row.key) {
                Ok(()) => {
                    step.removed.push(row.key);
                    step.bytes += row.bytes;
                }
                Err(error) => {
                    step.kept.push(row.key);
                    step.failures += 1;
                    step.failure = Some((row.key, error));
                }
            }
        }
        step
    }
}

/// One step of an eviction.
#[derive(Default)]
struct Step {
    removed: Vec<Digest>,
    bytes: u64,
    kept: Vec<Digest>,
    failures: usize,
    failure: Option<(Digest, io::Error)>,
}

impl Drop for Store {
    /// Writes what waits, and notes that nothing is left to be found by a walk.
    fn drop(&mut self) {
        let flushed = self.flush(SystemTime::now());
        let is_walked =
            lock(&self.walk).next.is_none() && !self.walk_wanted.load(Ordering::Relaxed);
        // What others have in memory would be found by a walk only, if they crashed.
        if flushed.is_ok() && is_walked && self.is_alone() {
            let _ = self.with_index(|index| index.set_clean(true));
        }
        self.leave();
    }
}

fn open_users(path: &Path) -> Option<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(blobs::FILE_MODE);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32).open(path).ok()
}

/// A thread that panicked leaves counts and lists that are still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
