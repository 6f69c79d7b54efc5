//! All SQL of the store: what lies in it, when it was used, and what was counted.
//!
//! The index decides nothing about an answer: a hit is a blob with a right checksum. So a lost
//! transaction costs an age or a total, never a wrong result, and a damaged index is thrown away.
//!
//! WAL with synchronous=NORMAL: a commit does not wait for the disk, a power cut loses the last
//! transactions but leaves the file consistent. The cost is a sync at each checkpoint, which runs
//! in the background thread that flushes.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::config::DbConfig;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};

use super::EntryKind;
use super::pending::{Batch, Change};
use compiler::hasher::Digest;

/// The version of the tables; an index of another version is rebuilt from the blobs.
const SCHEMA_VERSION: i64 = 1;
/// Marks the file as ours (`PRAGMA application_id`), "rcch".
const APPLICATION_ID: i64 = 0x7263_6368;
/// How long to wait for another process that writes to the same index.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// The daemon's memory budget counts this cache; negative is KiB.
const PAGE_CACHE: i64 = -2048;
/// How many pairs of source and manifest are remembered, over all sources.
const SOURCES_MAX: i64 = 100_000;

const SCHEMA: &str = "
    CREATE TABLE entries(
        key BLOB PRIMARY KEY, kind INTEGER NOT NULL, bytes INTEGER NOT NULL,
        last_use INTEGER NOT NULL, compile_time_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX entries_by_use ON entries(last_use);
    CREATE TABLE totals(
        bytes INTEGER NOT NULL, files INTEGER NOT NULL, evicted INTEGER NOT NULL
    ) STRICT;
    INSERT INTO totals VALUES(0, 0, 0);
    CREATE TRIGGER entries_insert AFTER INSERT ON entries BEGIN
        UPDATE totals SET bytes = bytes + NEW.bytes, files = files + (NEW.kind = 0);
    END;
    CREATE TRIGGER entries_update AFTER UPDATE OF kind, bytes ON entries BEGIN
        UPDATE totals SET bytes = bytes + NEW.bytes - OLD.bytes,
            files = files + (NEW.kind = 0) - (OLD.kind = 0);
    END;
    CREATE TRIGGER entries_delete AFTER DELETE ON entries BEGIN
        UPDATE totals SET bytes = bytes - OLD.bytes, files = files - (OLD.kind = 0);
    END;
    CREATE TABLE counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE sources(
        id INTEGER PRIMARY KEY, source BLOB NOT NULL, manifest BLOB NOT NULL,
        UNIQUE(source, manifest)
    ) STRICT;
    CREATE TABLE facts(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// Set while nothing is queued in any process: all blobs have their rows.
const CLEAN: &str = "clean";
/// When blobs and rows were last compared in full; seconds since the epoch.
const WALKED_AT: &str = "walked_at";
/// When the counters were set to 0; seconds since the epoch.
const ZEROED_AT: &str = "zeroed_at";

/// One entry of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub key: Digest,
    pub kind: EntryKind,
    pub bytes: u64,
    /// Microseconds since the epoch; no two uses have the same.
    pub last_use: i64,
    pub compile_time_ms: u64,
}

/// What memory keeps of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub bytes: u64,
    pub files: u64,
    pub evicted: u64,
    pub counters: BTreeMap<String, u64>,
    pub zeroed_at: Option<SystemTime>,
}

/// An open index file.
pub(super) struct Index {
    connection: Connection,
    path: PathBuf,
    identity: Option<(u64, u64)>,
    last_stamp: i64,
    /// Changes with every commit of another process.
    data_version: i64,
}

/// Whether the file itself is to blame, so that only a new one helps.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    match error {
        Error::SqliteFailure(failure, _) | Error::SqlInputError { error: failure, .. } => matches!(
            failure.code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown
        ),
        Error::QueryReturnedNoRows
        | Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::InvalidColumnIndex(_) => true,
        _ => false,
    }
}

impl Index {
    /// Opens or makes the index. The time does not depend on how much is in it.
    pub fn open(path: &Path) -> rusqlite::Result<Index> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Closing must not remove by name a log that may belong to a newer index at this path.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.execute_batch(&format!(
            "PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = {PAGE_CACHE};"
        ))?;
        check_schema(&mut connection)?;
        let newest = "SELECT coalesce(max(last_use), 0) FROM entries";
        let last_stamp = connection.query_row(newest, [], |row| row.get(0))?;
        let data_version = data_version(&connection)?;
        let (path, identity) = (path.to_owned(), identity(path));
        Ok(Index { connection, path, identity, last_stamp, data_version })
    }

    /// Whether another process has written since the last time that this was asked.
    pub fn was_changed_by_others(&mut self) -> rusqlite::Result<bool> {
        let now = data_version(&self.connection)?;
        Ok(std::mem::replace(&mut self.data_version, now) != now)
    }

    /// Whether the path still leads to the open file.
    pub fn is_in_place(&self) -> bool {
        self.identity.is_some() && identity(&self.path) == self.identity
    }

    /// Totals and counters.
    pub fn summary(&self) -> rusqlite::Result<Summary> {
        let mut summary =
            self.connection.query_row("SELECT bytes, files, evicted FROM totals", [], |row| {
                let count = |column| row.get::<_, i64>(column).map(|value| value.max(0) as u64);
                Ok(Summary {
                    bytes: count(0)?,
                    files: count(1)?,
                    evicted: count(2)?,
                    ..Summary::default()
                })
            })?;
        let mut statement = self.connection.prepare_cached("SELECT name, value FROM counters")?;
        let counters = statement.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.max(0) as u64))
        })?;
        summary.counters = counters.collect::<rusqlite::Result<_>>()?;
        summary.zeroed_at = self.fact(ZEROED_AT)?.map(from_seconds);
        Ok(summary)
    }

    /// Puts totals that do not follow from the blobs, and the counters, into a new index.
    pub fn restore(&mut self, summary: &Summary) -> rusqlite::Result<()> {
        let transaction = begin(&mut self.connection)?;
        transaction.execute("UPDATE totals SET evicted = ?1", [summary.evicted as i64])?;
        for (name, value) in &summary.counters {
            add_to_counter(&transaction, name, *value as i64)?;
        }
        if let Some(at) = summary.zeroed_at {
            set_fact(&transaction, ZEROED_AT, to_seconds(at))?;
        }
        transaction.commit()
    }

    /// Writes what was queued, in one transaction.
    pub fn apply(&mut self, batch: &Batch, now: SystemTime) -> rusqlite::Result<Summary> {
        let mut stamp = self.next_stamp(now);
        let transaction = begin(&mut self.connection)?;
        for (key, change) in &batch.changes {
            if matches!(change, Change::Removed) {
                delete(&transaction, *key)?;
            }
        }
        for (key, change) in batch.in_order() {
            match change {
                Some(saved) => upsert(
                    &transaction,
                    &Row {
                        key,
                        kind: saved.kind,
                        bytes: saved.bytes,
                        last_use: stamp,
                        compile_time_ms: saved.compile_time_ms,
                    },
                )?,
                None => touch(&transaction, key, stamp)?,
            }
            stamp += 1;
        }
        remember_sources(&transaction, &batch.sources)?;
        if let Some(at) = batch.counters.zeroed_at {
            transaction.execute("DELETE FROM counters", [])?;
            transaction.execute("UPDATE totals SET evicted = 0", [])?;
            set_fact(&transaction, ZEROED_AT, to_seconds(at))?;
        }
        for (name, value) in &batch.counters.added {
            add_to_counter(&transaction, name, *value)?;
        }
        transaction.commit()?;
        self.last_stamp = stamp - 1;
        self.summary()
    }

    /// A last use that is later than every other.
    pub fn next_stamp(&self, now: SystemTime) -> i64 {
        to_microseconds(now).max(self.last_stamp + 1)
    }

    /// Up to `count` entries that were last used before `before`, in the order of their last use.
    pub fn oldest(&self, before: i64, count: usize) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT key, kind, bytes, last_use, compile_time_ms FROM entries
             WHERE last_use < ?1 ORDER BY last_use LIMIT ?2",
        )?;
        let rows = statement.query_map(params![before, count as i64], |row| {
            Ok(Row {
                key: Digest(row.get(0)?),
                kind: EntryKind::from_number(row.get(1)?)
                    .ok_or(rusqlite::Error::IntegralValueOutOfRange(1, 0))?,
                bytes: row.get::<_, i64>(2)?.max(0) as u64,
                last_use: row.get(3)?,
                compile_time_ms: row.get::<_, i64>(4)?.max(0) as u64,
            })
        })?;
        rows.collect()
    }

    /// Takes out entries whose blobs are gone, and moves those that stay to the end of the order.
    pub fn remove(
        &mut self,
        removed: &[Digest],
        kept: &[Digest],
        evicted: u64,
        now: SystemTime,
    ) -> rusqlite::Result<Summary> {
        let mut stamp = self.next_stamp(now);
        let transaction = begin(&mut self.connection)?;
        for &key in removed {
            delete(&transaction, key)?;
        }
        for &key in kept {
            touch(&transaction, key, stamp)?;
            stamp += 1;
        }
        transaction.execute("UPDATE totals SET evicted = evicted + ?1", [evicted as i64])?;
        transaction.commit()?;
        self.last_stamp = stamp - 1;
        self.summary()
    }

    /// The entries whose first byte is `shard`, in order, with their lengths in bytes.
    pub fn entries_of_shard(&self, shard: u8) -> rusqlite::Result<Vec<(Digest, u64)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT key, bytes FROM entries WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
        )?;
        let (mut first, mut last) = ([0x00; Digest::LEN], [0xff; Digest::LEN]);
        (first[0], last[0]) = (shard, shard);
        let entries = statement.query_map([first, last], |row| {
            Ok((Digest(row.get(0)?), row.get::<_, i64>(1)?.max(0) as u64))
        })?;
        entries.collect()
    }

    /// Puts in rows as the blobs have them, and drops rows that have no blob.
    pub fn reconcile(&mut self, adopted: &[Row], dropped: &[Digest]) -> rusqlite::Result<Summary> {
        let transaction = begin(&mut self.connection)?;
        for row in adopted {
            upsert(&transaction, row)?;
        }
        for &key in dropped {
            delete(&transaction, key)?;
        }
        transaction.commit()?;
        let newest = adopted.iter().map(|row| row.last_use).max();
        self.last_stamp = self.last_stamp.max(newest.unwrap_or(i64::MIN));
        self.summary()
    }

    /// The manifests of a source file, newest first.
    pub fn manifests_of(&self, source: Digest, count: usize) -> rusqlite::Result<Vec<Digest>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT manifest FROM sources WHERE source = ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        let rows =
            statement.query_map(params![source.0, count as i64], |row| row.get(0).map(Digest))?;
        rows.collect()
    }

    /// Whether every process that used the index ended in order.
    pub fn is_clean(&self) -> rusqlite::Result<bool> {
        Ok(self.fact(CLEAN)? == Some(1))
    }

    /// Notes whether everything that is stored has its row.
    pub fn set_clean(&mut self, clean: bool) -> rusqlite::Result<()> {
        let transaction = begin(&mut self.connection)?;
        set_fact(&transaction, CLEAN, i64::from(clean))?;
        transaction.commit()
    }

    /// When blobs and rows were last compared in full.
    pub fn walked_at(&self) -> rusqlite::Result<Option<SystemTime>> {
        Ok(self.fact(WALKED_AT)?.map(from_seconds))
    }

    /// Notes that blobs and rows were compared in full.
    pub fn set_walked_at(&mut self, now: SystemTime) -> rusqlite::Result<()> {
        let transaction = begin(&mut self.connection)?;
        set_fact(&transaction, WALKED_AT, to_seconds(now))?;
        transaction.commit()
    }

    fn fact(&self, name: &str) -> rusqlite::Result<Option<i64>> {
        let mut statement =
            self.connection.prepare_cached("SELECT value FROM facts WHERE name = ?1")?;
        statement.query_row([name], |row| row.get(0)).optional()
    }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// Makes the tables of an empty file; any other file without our tables is damage.
fn check_schema(connection: &mut Connection) -> rusqlite::Result<()> {
    let pragma = |connection: &Connection, name: &str| {
        connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
    };
    let is_ours = |connection: &Connection| {
        Ok::<_, rusqlite::Error>(
            pragma(connection, "application_id")? == APPLICATION_ID
                && pragma(connection, "user_version")? == SCHEMA_VERSION,
        )
    };
    if is_ours(connection)? {
        return Ok(());
    }
    let transaction = begin(connection)?;
    // Another process may have been first.
    if is_ours(&transaction)? {
        return transaction.commit();
    }
    let tables = "SELECT count(*) FROM sqlite_schema";
    if transaction.query_row(tables, [], |row| row.get::<_, i64>(0))? != 0 {
        let other = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
        return Err(rusqlite::Error::SqliteFailure(other, Some("other tables".to_owned())));
    }
    transaction.execute_batch(SCHEMA)?;
    transaction.execute_batch(&format!(
        "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
    ))?;
    transaction.commit()
}

/// Takes the write lock at the start, where waiting for it can be repeated.
fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn upsert(transaction: &Transaction, row: &Row) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO entries(key, kind, bytes, last_use, compile_time_ms)
         VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT(key) DO UPDATE SET kind = excluded.kind,
         bytes = excluded.bytes, last_use = excluded.last_use,
         compile_time_ms = excluded.compile_time_ms",
    )?;
    statement.execute(params![
        row.key.0,
        row.kind as i64,
        row.bytes as i64,
        row.last_use,
        row.compile_time_ms as i64
    ])?;
    Ok(())
}

fn touch(transaction: &Transaction, key: Digest, stamp: i64) -> rusqlite::Result<()> {
    let mut statement =
        transaction.prepare_cached("UPDATE entries SET last_use = ?2 WHERE key = ?1")?;
    statement.execute(params![key.0, stamp])?;
    Ok(())
}

fn delete(transaction: &Transaction, key: Digest) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM entries WHERE key = ?1")?.execute([key.0])?;
    Ok(())
}

fn remember_sources(
    transaction: &Transaction,
    sources: &HashMap<(Digest, Digest), u64>,
) -> rusqlite::Result<()> {
    if sources.is_empty() {
        return Ok(());
    }
    let mut pairs: Vec<_> = sources.iter().map(|(pair, tick)| (tick, pair)).collect();
    pairs.sort_unstable();
    let mut statement = transaction
        .prepare_cached("INSERT OR REPLACE INTO sources(source, manifest) VALUES(?1, ?2)")?;
    for (_, (source, manifest)) in pairs {
        statement.execute([source.0, manifest.0])?;
    }
    let forget = "DELETE FROM sources WHERE id <= (SELECT max(id) FROM sources) - ?1";
    transaction.execute(forget, [SOURCES_MAX])?;
    Ok(())
}

fn add_to_counter(transaction: &Transaction, name: &str, value: i64) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO counters(name, value) VALUES(?1, ?2)
         ON CONFLICT(name) DO UPDATE SET value = value + excluded.value",
    )?;
    statement.execute(params![name, value])?;
    Ok(())
}

fn set_fact(transaction: &Transaction, name: &str, value: i64) -> rusqlite::Result<()> {
    let mut statement =
        transaction.prepare_cached("INSERT OR REPLACE INTO facts(name, value) VALUES(?1, ?2)")?;
    statement.execute(params![name, value])?;
    Ok(())
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Microseconds since the epoch; a time before it counts as the epoch.
pub(super) fn to_microseconds(time: SystemTime) -> i64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX / 2)
}

fn to_seconds(time: SystemTime) -> i64 {
    to_microseconds(time) / 1_000_000
}

fn from_seconds(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.max(0) as u64)
}
