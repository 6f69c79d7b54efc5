//! Answers to the subcommands: statistics, clearing, trimming, status, the end.

pub mod explain;
pub mod hosts;

use crate::serve::bookkeeping;
use crate::serve::conversation::Conversation;
use crate::serve::counts::{COMPILE_TIME, DETAIL_PREFIX, TIME_SAVED};
use crate::verify;
use crate::{Cache, Daemon, shared_tier};
use cache::store::{Blob, Store, StoreError};
use compiler::hasher::Digest;
use compiler::outcome::Counter;
use config::{Config, Environment};
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use talk::launcher_protocol::{BUILD, Caller, ToLauncher};
use talk::party::Party;
use talk::questions::{
    Asked, Confirmed, Counters, Culprit, DaemonRow, DamagedRow, Done, Flushed, Question, Removed,
    Stats, Status, StoreSize, Top, encode,
};

/// Nobody waits for uploads for longer.
const FLUSH_SECONDS_MAX: u64 = 24 * 3600;

/// Between two looks whether the asker is still there.
const FLUSH_LOOK: Duration = Duration::from_millis(500);

/// Whether every process of this user may ask that, whatever its rights: it shows nothing of the cache,
/// and changes nothing in it that would not change anyway.
pub fn is_for_everybody(question: &[u8]) -> bool {
    serde_json::from_slice::<Asked>(question).is_ok_and(|asked| {
        let harmless =
            matches!(asked.question, Question::Status | Question::Stop | Question::Flush);
        asked.from_elsewhere && harmless
    })
}

/// Answers one question. An error means that the asker is gone.
pub fn answer(
    daemon: &Daemon,
    conversation: &mut Conversation,
    caller: &Caller,
    question: &[u8],
) -> io::Result<()> {
    let answer = match serde_json::from_slice::<Asked>(question) {
        Ok(asked) => choose(daemon, conversation, caller, &asked.question)?,
        Err(error) => encode::<Done>(&Err(format!("the question cannot be read: {error}"))),
    };
    conversation.send(&ToLauncher::Answer(answer))
}

/// The questions that are about the daemon and not about the cache of the caller; its answer.
fn choose(
    daemon: &Daemon,
    conversation: &mut Conversation,
    caller: &Caller,
    question: &Question,
) -> io::Result<Vec<u8>> {
    match question {
        Question::Status => return Ok(encode(&Ok(status(daemon)))),
        Question::Stop => {
            daemon.retire();
            return Ok(encode(&Ok(Done {})));
        }
        Question::Settle => {
            daemon.finishing.settle(conversation)?;
            return Ok(encode(&Ok(Done {})));
        }
        Question::Flush => {
            daemon.finishing.wait();
            bookkeeping::flush(daemon);
            return Ok(encode(&Ok(Done {})));
        }
        Question::FlushUploads { seconds } => {
            daemon.finishing.wait();
            let not_uploaded = flush_uploads(daemon, conversation, *seconds)? as u64;
            bookkeeping::flush(daemon);
            return Ok(encode(&Ok(Flushed { not_uploaded })));
        }
        // It is asked twice a second, during builds.
        Question::Top => {}
        // Statistics right after a compile count that compile.
        _ => daemon.finishing.wait(),
    }
    match question {
        Question::Explain { arguments } => {
            Ok(encode(&explain::explain(daemon, conversation, caller, arguments)?))
        }
        Question::Prefetch { calls } => {
            let answer = shared_tier::ask_for_build::answer;
            Ok(encode(&answer(daemon, conversation, caller, calls)?))
        }
        Question::Recompile { arguments } => {
            Ok(encode(&verify::answer(daemon, conversation, caller, arguments)?))
        }
        _ => of_cache(daemon, conversation, caller, question),
    }
}

/// The questions about the cache of the caller.
fn of_cache(
    daemon: &Daemon,
    conversation: &mut Conversation,
    caller: &Caller,
    question: &Question,
) -> io::Result<Vec<u8>> {
    let found = daemon.settings.find(&Environment::new(&caller.environment));
    let config = &found.loaded.config;
    let cache = match daemon.cache(config) {
        Ok(cache) => cache,
        Err(why) => return Ok(encode::<Done>(&Err(why))),
    };
    Ok(match question {
        Question::Hosts => encode(&Ok(hosts::ask(daemon, conversation, caller, &cache, config)?)),
        Question::Remote { task } => {
            let environment = Environment::new(&caller.environment);
            let answer = shared_tier::upkeep::answer;
            encode(&answer(daemon, conversation, config, &environment, *task)?)
        }
        Question::Verify { keys, lost } => encode(&confirm(conversation, &cache, keys, *lost)?),
        Question::Top => encode(&Ok(top(daemon, &cache, config))),
        Question::Zero => {
            bookkeeping::flush_cache(&cache);
            cache.store.zero_counters(SystemTime::now());
            encode(&Ok(Done {}))
        }
        Question::Clear => encode(&clear(&cache).map_err(|error| error.to_string())),
        Question::Trim { max_size_bytes, older_than_s } => {
            let older_than = older_than_s.map(Duration::from_secs);
            let removed = trim(&cache, *max_size_bytes, older_than);
            encode(&removed.map_err(|error| error.to_string()))
        }
        // The others are answered before.
        _ => encode(&Ok(stats(daemon, &cache, config))),
    })
}

/// Waits for the uploads, for as long as the asker does.
fn flush_uploads(
    daemon: &Daemon,
    conversation: &mut Conversation,
    seconds: u64,
) -> io::Result<usize> {
    let deadline = Instant::now() + Duration::from_secs(seconds.min(FLUSH_SECONDS_MAX));
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let waiting = daemon.tiers.flush(left.min(FLUSH_LOOK));
        if waiting == 0 || left.is_zero() {
            return Ok(waiting);
        }
        conversation.still_waiting()?;
    }
}

fn status(daemon: &Daemon) -> Status {
    let (slots_used, slots_waiting) = daemon.slots.load();
    Status {
        pid: std::process::id().into(),
        version: BUILD.to_owned(),
        uptime_s: daemon.started.elapsed().as_secs(),
        socket: daemon.socket.to_string_lossy().into_owned(),
        cache_dir: daemon.home.to_string_lossy().into_owned(),
        cache_folder_id: folder_id(&daemon.home),
        memory_bytes: memory_bytes(),
        // The question itself is one of the active calls.
        active: daemon.activity.active.load(Ordering::SeqCst).saturating_sub(1) as u64,
        in_flight: daemon.in_flight.count() as u64,
        verifying: daemon.verifier.load() as u64,
        slots_used: slots_used as u64,
        slots_waiting: slots_waiting as u64,
        slots_used_most: daemon.slots.used_most() as u64,
        calls: daemon.activity.calls.load(Ordering::Relaxed) as u64,
    }
}

/// Device and inode; `None` where it is not there.
fn folder_id(folder: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(folder).ok().map(|found| (found.dev(), found.ino()))
}

/// Resident memory, from the second field of /proc/self/statm (proc(5)).
fn memory_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok().and_then(|text| {
        text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok())
    });
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

fn stats(daemon: &Daemon, cache: &Cache, config: &Config) -> Stats {
    bookkeeping::flush(daemon);
    let all: HashMap<String, u64> = cache.store.counters().into_iter().collect();
    let count = |name: &str| all.get(name).copied().unwrap_or(0);
    let totals = cache.store.totals();
    Stats {
        version: BUILD.to_owned(),
        counters: counters(|counter| count(counter.name())),
        store: StoreSize {
            bytes: totals.bytes,
            files: totals.files,
            max_bytes: config.max_size_bytes,
            max_files: config.max_files,
            evicted: totals.evicted,
        },
        hosts: hosts::known(daemon, config),
        uncacheable: details(&all),
        time_saved_ms: count(TIME_SAVED),
        compile_time_ms: count(COMPILE_TIME),
        since: cache.store.zeroed_at().map_or(0, unix_seconds),
        daemon: DaemonRow {
            pid: std::process::id().into(),
            version: BUILD.to_owned(),
            uptime_s: daemon.started.elapsed().as_secs(),
            memory_bytes: memory_bytes(),
        },
        cache_dir: cache.folder.to_string_lossy().into_owned(),
    }
}

fn counters(count: impl Fn(Counter) -> u64) -> Counters {
    Counter::ALL.iter().map(|counter| (counter.name().to_owned(), count(*counter))).collect()
}

/// The build as it runs; the counters are those since this daemon started. Nothing of it is read
/// from the disk.
fn top(daemon: &Daemon, cache: &Cache, config: &Config) -> Top {
    Top {
        version: BUILD.to_owned(),
        pid: std::process::id().into(),
        uptime_s: daemon.started.elapsed().as_secs(),
        cache_dir: cache.folder.to_string_lossy().into_owned(),
        counters: counters(|counter| cache.counts.since_start(counter)),
        units: daemon.active.report(Instant::now()),
        hosts: hosts::known(daemon, config),
        waiting: daemon.fleet.waiting() as u64,
        local: hosts::this_machine(daemon, config),
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Counters with their culprits, the most frequent first.
fn details(all: &HashMap<String, u64>) -> Vec<Culprit> {
    let mut details: Vec<(u64, &str, &str)> = all
        .iter()
        .filter_map(|(name, count)| {
            let (counter, detail) = name.strip_prefix(DETAIL_PREFIX)?.split_once(':')?;
            Some((*count, counter, detail))
        })
        .collect();
    details.sort_by(|left, right| right.0.cmp(&left.0).then(left.cmp(right)));
    details
        .into_iter()
        .map(|(count, counter, detail)| Culprit {
            counter: counter.to_owned(),
            detail: detail.to_owned(),
            count,
        })
        .collect()
}

fn clear(cache: &Cache) -> Result<Removed, StoreError> {
    let totals = cache.store.totals();
    cache.store.clear()?;
    Ok(Removed { removed_files: totals.files, removed_bytes: totals.bytes })
}

/// Looks once more at blobs that seemed to be damaged, removes those that are, and on request finds the
/// entries whose blobs are gone.
fn confirm(
    conversation: &mut Conversation,
    cache: &Cache,
    keys: &[String],
    lost: bool,
) -> io::Result<Result<Confirmed, String>> {
    let mut confirmed = Confirmed::default();
    for key in keys.iter().filter_map(|key| Digest::from_hex(key)) {
        let (blob, removed) = cache.store.recheck(key);
        confirmed.removed += u64::from(removed);
        match blob {
            Blob::Damaged { why, .. } => {
                confirmed.damaged.push(DamagedRow { key: key.to_string(), why, removed });
            }
            Blob::Outdated { .. } => confirmed.outdated += 1,
            Blob::Sound { .. } | Blob::Gone => {}
        }
        conversation.still_waiting()?;
    }
    // What waits in memory has no row yet.
    bookkeeping::flush_cache(cache);
    if lost {
        for shard in 0..Store::SHARDS {
            if let Err(error) = cache.store.find_lost(shard as u8) {
                return Ok(Err(error.to_string()));
            }
            conversation.still_waiting()?;
        }
        confirmed.lost = cache.store.take_lost();
    }
    Ok(Ok(confirmed))
}

fn trim(
    cache: &Cache,
    max_size: Option<u64>,
    older_than: Option<Duration>,
) -> Result<Removed, StoreError> {
    let before = cache.store.totals();
    cache.store.trim(max_size, older_than, SystemTime::now())?;
    let after = cache.store.totals();
    Ok(Removed {
        removed_files: before.files.saturating_sub(after.files),
        removed_bytes: before.bytes.saturating_sub(after.bytes),
    })
}
