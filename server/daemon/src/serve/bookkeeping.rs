//! What is off every call's path: flushing, eviction, repair, and noticing that nobody calls any more.

use crate::serve::home;
use crate::{Daemon, lock};
use cache::store::Standing;
use compiler::outcome::{Counter, Uncacheable};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use talk::client::{self, PassedThrough};

/// Counters and uses reach the index this often. A crash loses no more.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Between two steps of a repair.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// A build that pauses for this long has its memory given back to the system.
const TRIM_AFTER: Duration = Duration::from_secs(3);

/// Calls that went past the daemon, between two flushes; more are not counted.
const REASONS_MAX: u64 = 1 << 20;

/// The store is repaired in the background this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// Runs until the daemon retires, on the thread that [`Daemon::bookkeeper`] names. `own_socket` is the
/// inode of the socket.
pub fn run(daemon: &Daemon, own_socket: u64) {
    let mut flushed = Instant::now();
    let mut swept: Option<Instant> = None;
    let mut trimmed_at_call = 0;
    let mut has_swept_sockets = false;
    let mut pause = FLUSH_INTERVAL;
    while !daemon.activity.retiring.load(Ordering::SeqCst) {
        // Until whoever retires the daemon says so.
        std::thread::park_timeout(pause);
        if flushed.elapsed() >= FLUSH_INTERVAL {
            flushed = Instant::now();
            flush(daemon);
            evict(daemon);
            // A call that had to wait for long on a busy machine; others are served all the time.
            if lock(&daemon.activity.last).elapsed() < FLUSH_INTERVAL {
                let _ = std::fs::remove_file(client::silence_mark(&daemon.socket));
            }
            let calls = daemon.activity.calls.load(Ordering::Relaxed);
            if calls != trimmed_at_call && lock(&daemon.activity.last).elapsed() >= TRIM_AFTER {
                trimmed_at_call = calls;
                give_memory_back();
            }
            if is_idle(daemon) {
                daemon.retire();
            }
            look_after_folders(daemon);
            if !std::mem::replace(&mut has_swept_sockets, true) {
                home::sweep(&daemon.socket);
            }
            // Somebody removed the socket, or put another daemon in its place.
            let found = std::fs::metadata(&daemon.socket);
            if !found.is_ok_and(|found| found.ino() == own_socket) {
                daemon.activity.retiring.store(true, Ordering::SeqCst);
            }
        }
        let due = swept.is_none_or(|swept| swept.elapsed() >= SWEEP_INTERVAL);
        if due && daemon.started.elapsed() >= FLUSH_INTERVAL {
            // In bounded steps, until every cache says that it is done.
            let more = daemon.caches.all().iter().filter(|cache| cache.store.sweep()).count();
            swept = (more == 0).then(Instant::now);
        }
        let rest = FLUSH_INTERVAL.saturating_sub(flushed.elapsed());
        pause = if swept.is_none() { rest.min(SWEEP_PAUSE) } else { rest };
    }
}

/// A build that had a HOME of its own leaves a daemon that nobody will call again.
fn look_after_folders(daemon: &Daemon) {
    for cache in daemon.caches.all() {
        match cache.store.standing() {
            Standing::There => {}
            Standing::Refused(why) => daemon.caches.give_up(&cache.folder, &why),
            Standing::Gone => {
                let active = daemon.activity.active.load(Ordering::SeqCst);
                if cache.folder == daemon.home && active == 0 {
                    tracing::info!("{} was removed", cache.folder.display());
                    daemon.retire();
                }
            }
        }
    }
}

/// Writes counters and uses to the index.
pub fn flush(daemon: &Daemon) {
    count_passed_through(daemon);
    for cache in daemon.caches.all() {
        flush_cache(&cache);
    }
}

/// Counts the calls whose launchers could not reach a daemon, for the cache that they meant.
fn count_passed_through(daemon: &Daemon) {
    let noted = client::passed_through_path(&daemon.socket);
    let taken = noted.with_extension("taken");
    let reasons = std::fs::rename(&noted, &taken).and_then(|()| read_reasons(&taken));
    let reasons = reasons.unwrap_or_default();
    let home = daemon.caches.all().into_iter().find(|cache| cache.folder == daemon.home);
    if !reasons.is_empty()
        && let Some(cache) = home
    {
        let _ = std::fs::remove_file(&taken);
        for reason in reasons {
            let detail = PassedThrough::of_byte(reason).detail();
            cache.counts.add_uncacheable(&Uncacheable::new(Counter::PassedThrough, detail));
        }
    }
}

fn read_reasons(path: &Path) -> io::Result<Vec<u8>> {
    let mut reasons = Vec::new();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(client::UNSURPRISED);
    options.open(path)?.take(REASONS_MAX).read_to_end(&mut reasons)?;
    Ok(reasons)
}

/// Writes the counters and uses of one cache to its index.
pub fn flush_cache(cache: &crate::serve::caches::Cache) {
    let taken = cache.counts.take();
    let counts: Vec<(&str, i64)> =
        taken.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    if !counts.is_empty() {
        cache.store.add_counters(&counts);
    }
    if let Err(error) = cache.store.flush(SystemTime::now()) {
        tracing::warn!("{error}");
    }
}

fn evict(daemon: &Daemon) {
    for cache in daemon.caches.all() {
        let limits = *lock(&cache.limits);
        match cache.store.evict(limits, SystemTime::now()) {
            Ok(evicted) if evicted.entries > 0 => {
                tracing::info!("evicted {} entries, {} bytes", evicted.entries, evicted.bytes);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("{error}"),
        }
    }
}

/// glibc keeps what objects and texts took during a build.
fn give_memory_back() {
    // SAFETY: malloc_trim takes a number and touches only free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn is_idle(daemon: &Daemon) -> bool {
    let Some(timeout) = *lock(&daemon.activity.idle_timeout) else { return false };
    daemon.activity.active.load(Ordering::SeqCst) == 0
        && lock(&daemon.activity.last).elapsed() >= timeout
}
