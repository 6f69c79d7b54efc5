//! Answers to the subcommands: statistics, clearing, trimming, status, the end.

pub mod explain;
pub mod hosts;

use crate::serve::bookkeeping;
use crate::serve::conversation::Conversation;
use crate::serve::counts::{COMPILE_TIME, DETAIL_PREFIX, TIME_SAVED};
use crate::verify;
use crate::{Cache, Daemon};
use cache::store::{Blob, Store};
use compiler::hasher::Digest;
use compiler::outcome::Counter;
use config::{Config, Environment};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use talk::launcher_protocol::{BUILD, Caller, ToLauncher};
use talk::others::FROM_ELSEWHERE;
use talk::party::Party;

/// Whether every process of this user may ask that, whatever its rights: it shows nothing of the cache,
/// and changes nothing in it that would not change anyway.
pub fn is_for_everybody(question: &[u8]) -> bool {
    let question = serde_json::from_slice::<Value>(question).unwrap_or_default();
    question[FROM_ELSEWHERE] == true
        && matches!(question["command"].as_str(), Some("status" | "stop" | "flush"))
}

/// Answers one question. An error means that the asker is gone.
pub fn answer(
    daemon: &Daemon,
    conversation: &mut Conversation,
    caller: &Caller,
    question: &[u8],
) -> io::Result<()> {
    let answer = match serde_json::from_slice::<Value>(question) {
        Ok(question) => choose(daemon, conversation, caller, &question)?,
        Err(error) => json!({ "error": format!("the question is no JSON: {error}") }),
    };
    conversation.send(&ToLauncher::Answer(answer.to_string().into_bytes()))
}

fn choose(
    daemon: &Daemon,
    conversation: &mut Conversation,
    caller: &Caller,
    question: &Value,
) -> io::Result<Value> {
    let command = question["command"].as_str().unwrap_or_default();
    match command {
        "status" => return Ok(status(daemon)),
        "stop" => {
            daemon.retire();
            return Ok(json!({}));
        }
        "flush" => {
            daemon.finishing.wait();
            bookkeeping::flush(daemon);
            return Ok(json!({}));
        }
        // It is asked twice a second, during builds.
        "top" => {}
        // Statistics right after a compile count that compile.
        _ => daemon.finishing.wait(),
    }
    match command {
        "explain" => return explain::explain(daemon, conversation, caller, question),
        "recompile" => return verify::answer(daemon, conversation, caller, question),
        _ => {}
    }
    let found = daemon.settings.find(&Environment::new(&caller.environment));
    let config = &found.loaded.config;
    let cache = match daemon.cache(config) {
        Ok(cache) => cache,
        Err(why) => return Ok(json!({ "error": why })),
    };
    match command {
        "hosts" => return hosts::ask(daemon, conversation, caller, &cache, config),
        "verify" => return confirm(conversation, &cache, question),
        _ => {}
    }
    let result = match command {
        "top" => Ok(top(daemon, &cache, config)),
        "stats" => Ok(stats(daemon, &cache, config)),
        "zero" => {
            bookkeeping::flush_cache(&cache);
            cache.store.zero_counters(SystemTime::now());
            Ok(json!({}))
        }
        "clear" => clear(&cache),
        "trim" => trim(&cache, question),
        _ => Ok(json!({ "error": format!("unknown command {command:?}") })),
    };
    Ok(result.unwrap_or_else(|error| json!({ "error": error.to_string() })))
}

fn status(daemon: &Daemon) -> Value {
    let (slots_used, slots_waiting) = daemon.slots.load();
    json!({
        "pid": std::process::id(),
        "version": BUILD,
        "uptime_s": daemon.started.elapsed().as_secs(),
        "socket": daemon.socket.to_string_lossy(),
        "cache_dir": daemon.home.to_string_lossy(),
        // Where it is seen under another path, it is still this one.
        "cache_folder_id": folder_id(&daemon.home),
        "memory_bytes": memory_bytes(),
        // The question itself is one of the active calls.
        "active": daemon.activity.active.load(Ordering::SeqCst).saturating_sub(1),
        "in_flight": daemon.in_flight.count(),
        "verifying": daemon.verifier.load(),
        "slots_used": slots_used,
        "slots_waiting": slots_waiting,
        "slots_used_most": daemon.slots.used_most(),
        "calls": daemon.activity.calls.load(Ordering::Relaxed),
    })
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

fn stats(daemon: &Daemon, cache: &Cache, config: &Config) -> Value {
    bookkeeping::flush(daemon);
    let all: HashMap<String, u64> = cache.store.counters().into_iter().collect();
    let count = |name: &str| all.get(name).copied().unwrap_or(0);
    let counters: Map<String, Value> = Counter::ALL
        .iter()
        .map(|counter| (counter.name().to_owned(), count(counter.name()).into()))
        .collect();
    let totals = cache.store.totals();
    json!({
        "version": BUILD,
        "counters": counters,
        "store": {
            "bytes": totals.bytes,
            "files": totals.files,
            "max_bytes": config.max_size_bytes,
            "max_files": config.max_files,
            "evicted": totals.evicted,
        },
        "hosts": hosts::known(daemon, config),
        "uncacheable": details(&all),
        "time_saved_ms": count(TIME_SAVED),
        "compile_time_ms": count(COMPILE_TIME),
        "since": cache.store.zeroed_at().map_or(0, unix_seconds),
        "daemon": {
            "pid": std::process::id(),
            "version": BUILD,
            "uptime_s": daemon.started.elapsed().as_secs(),
            "memory_bytes": memory_bytes(),
        },
        "cache_dir": cache.folder.to_string_lossy(),
    })
}

/// The build as it runs; the counters are those since this daemon started. Nothing of it is read
/// from the disk.
fn top(daemon: &Daemon, cache: &Cache, config: &Config) -> Value {
    let counters: Map<String, Value> = Counter::ALL
        .iter()
        .map(|counter| (counter.name().to_owned(), cache.counts.since_start(*counter).into()))
        .collect();
    json!({
        "version": BUILD,
        "pid": std::process::id(),
        "uptime_s": daemon.started.elapsed().as_secs(),
        "cache_dir": cache.folder.to_string_lossy(),
        "counters": counters,
        "units": daemon.active.report(Instant::now()),
        "hosts": hosts::known(daemon, config),
        "waiting": daemon.fleet.waiting(),
        "local": hosts::this_machine(daemon, config),
    })
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Counters with their culprits, the most frequent first.
fn details(all: &HashMap<String, u64>) -> Vec<Value> {
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
        .map(|(count, counter, detail)| {
            json!({ "counter": counter, "detail": detail, "count": count })
        })
        .collect()
}

fn clear(cache: &Cache) -> Result<Value, cache::store::StoreError> {
    let totals = cache.store.totals();
    cache.store.clear()?;
    Ok(json!({ "removed_files": totals.files, "removed_bytes": totals.bytes }))
}

/// Answers `{"command":"verify","keys":[key…],"lost":bool}`: looks once more at blobs that seemed to
/// be damaged, removes those that are, and on request finds the entries whose blobs are gone.
fn confirm(conversation: &mut Conversation, cache: &Cache, question: &Value) -> io::Result<Value> {
    let keys = question["keys"].as_array().into_iter().flatten();
    let keys = keys.filter_map(|key| key.as_str().and_then(Digest::from_hex));
    let (mut damaged, mut outdated, mut removed) = (Vec::new(), 0, 0);
    for key in keys {
        let (blob, is_removed) = cache.store.recheck(key);
        removed += u64::from(is_removed);
        match blob {
            Blob::Damaged { why, .. } => {
                damaged.push(json!({ "key": key.to_string(), "why": why, "removed": is_removed }));
            }
            Blob::Outdated { .. } => outdated += 1,
            Blob::Sound { .. } | Blob::Gone => {}
        }
        conversation.still_waiting()?;
    }
    let mut lost = 0;
    // What waits in memory has no row yet.
    bookkeeping::flush_cache(cache);
    if question["lost"].as_bool().unwrap_or(false) {
        for shard in 0..Store::SHARDS {
            if let Err(error) = cache.store.find_lost(shard as u8) {
                return Ok(json!({ "error": error.to_string() }));
            }
            conversation.still_waiting()?;
        }
        lost = cache.store.take_lost();
    }
    Ok(json!({ "damaged": damaged, "outdated": outdated, "removed": removed, "lost": lost }))
}

fn trim(cache: &Cache, question: &Value) -> Result<Value, cache::store::StoreError> {
    let max_size = question["max_size_bytes"].as_u64();
    let older_than = question["older_than_s"].as_u64().map(Duration::from_secs);
    let before = cache.store.totals();
    cache.store.trim(max_size, older_than, SystemTime::now())?;
    let after = cache.store.totals();
    Ok(json!({
        // Results, as in the statistics; manifests go along with them.
        "removed_files": before.files.saturating_sub(after.files),
        "removed_bytes": before.bytes.saturating_sub(after.bytes),
    }))
}
