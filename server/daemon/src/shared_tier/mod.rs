//! The shared cache behind the local one: asked when a look-up has missed, offered what was stored.
//!
//! What comes from there goes into the local store if its inputs are here as they were recorded; the look-up
//! that follows serves it as any other hit. What is offered is portable: by content, without time, made by the
//! compiler of the call itself.

pub mod ask_for_build;
mod naming;
mod tiers;
pub mod upkeep;

use crate::look_up::{self, mapped};
use crate::understand::unit::Unit;
use crate::{Cache, Daemon, remember};
use cache::entry::{Entry, Part, PartKind};
use cache::facts::{self, Maker};
use cache::key;
use cache::manifest::{Manifest, Recorded};
use cache::store::{EntryKind, SaveOptions};
use compiler::hasher::Digest;
use compiler::outcome::Counter;
use shared::tier::Question;
use shared::{Answer, Count, Event, Name, Offer, Tier};
use std::sync::Arc;

pub use tiers::{Kept, Tiers, key_files};

/// What the record of a result may take once it is unpacked: a manifest of one result is far smaller.
const RECORD_BYTES_MAX: usize = 16 << 20;
/// Records travel well packed: they are packed once, and behind everybody's back.
const RECORD_LEVEL: i32 = 6;

/// A question about a unit that is under way.
pub struct Asked {
    kept: Arc<Kept>,
    question: Question,
    name: Name,
    count: Count,
}

/// Asks the shared cache for a unit, where there is one. Nobody waits yet.
pub fn ask(daemon: &Daemon, cache: &Arc<Cache>, unit: &Unit) -> Option<Asked> {
    let config = unit.config;
    if config.remote_storage.is_empty() || config.read_only || !config.direct_mode {
        return None;
    }
    let kept = daemon.tiers.find(&daemon.runtime, config, &unit.environment)?;
    let name = naming::unit_name(unit);
    let count = counting(cache);
    let question = kept.tier.ask(name, &count);
    Some(Asked { kept, question, name, count })
}

/// Waits for the answer, for no longer than it is worth. Whether the local store now has what is right here.
pub fn fetch(daemon: &Daemon, cache: &Arc<Cache>, unit: &Unit, asked: Asked) -> bool {
    let Asked { kept, question, name, count } = asked;
    let Answer::Found(found) = question.wait() else { return false };
    let opened = kept.tier.open(&found, name, &count);
    let mut newest = opened.newest;
    let taken = opened.records.iter().any(|(subject, record)| {
        let Some(record) = unpacked(unit.key, record) else {
            count(Event::Untrusted);
            return false;
        };
        let manifest = Manifest::decode(&record).unwrap_or_default();
        let recorded = manifest.results().next();
        recorded.is_some_and(|recorded| {
            naming::result_name(unit, recorded.key).digest == *subject
                && is_right_here(daemon, unit, &recorded)
                && take_in(cache, unit, &kept.tier, &count, &recorded, &mut newest)
        })
    });
    count(if taken { Event::Hit } else { Event::Miss });
    taken
}

/// What the shared cache has for a call that the local one lacks, in words; whether that is right here. Nothing
/// is fetched, and nothing counted.
pub fn outlook(daemon: &Daemon, unit: &Unit) -> Option<(bool, String)> {
    let config = unit.config;
    if config.remote_storage.is_empty() || config.read_only || !config.direct_mode {
        return None;
    }
    let kept = daemon.tiers.find(&daemon.runtime, config, &unit.environment)?;
    let (name, count): (Name, Count) = (naming::unit_name(unit), Arc::new(|_| {}));
    let found = match kept.tier.ask(name, &count).wait() {
        Answer::Found(found) => found,
        Answer::Missing => return Some((false, "the shared cache knows nothing of it".to_owned())),
        Answer::Nobody | Answer::Late | Answer::Failed => {
            let what = "the shared cache does not answer; `rcache doctor` says more";
            return Some((false, what.to_owned()));
        }
    };
    let opened = kept.tier.open(&found, name, &count);
    let mut nearest = None;
    for (_, record) in &opened.records {
        let Some(record) = unpacked(unit.key, record) else { continue };
        let manifest = Manifest::decode(&record).unwrap_or_default();
        let Some(recorded) = manifest.results().next() else { continue };
        match recorded.check(&daemon.memo, &unit.here, unit.now) {
            Ok(()) if is_portable(&recorded) && mapped::fits(unit, &recorded) => {
                return Some((true, "the shared cache has the result".to_owned()));
            }
            Err(mismatch) if nearest.is_none() => nearest = Some(mismatch.to_string()),
            _ => {}
        }
    }
    Some((
        false,
        match nearest {
            Some(nearest) => {
                format!("compared with the newest result of the shared cache: {nearest}")
            }
            None => "the shared cache has nothing of it that a trusted key has signed".to_owned(),
        },
    ))
}

/// Whether it names nothing that is only of one day, or of one machine's clock.
fn is_portable(recorded: &Recorded) -> bool {
    recorded.day.is_none() && recorded.states.is_empty()
}

/// Whether all that the result read and missed is here as it was, and it shows no time.
fn is_right_here(daemon: &Daemon, unit: &Unit, recorded: &Recorded) -> bool {
    is_portable(recorded)
        && mapped::fits(unit, recorded)
        && recorded.check(&daemon.memo, &unit.here, unit.now).is_ok()
}

/// The manifest in a record, whose size is looked at before it is unpacked.
fn unpacked(key: Digest, record: &[u8]) -> Option<Vec<u8>> {
    let parts = Entry::decode_parts(key, record).ok()?;
    let manifest = parts.iter().find(|part| part.kind == PartKind::Manifest)?;
    (manifest.length() <= RECORD_BYTES_MAX).then(|| manifest.content().ok())?
}

/// Puts a result into the local store, and what leads to it.
fn take_in(
    cache: &Arc<Cache>,
    unit: &Unit,
    tier: &Tier,
    count: &Count,
    recorded: &Recorded,
    newest: &mut Option<(Name, Vec<u8>)>,
) -> bool {
    let looks = [(recorded.key, false), (key::look_key(recorded.key, unit.look), true)];
    let names = looks.map(|(key, printed)| (key, naming::outputs_name(unit, key, printed)));
    let is_there = || names.iter().any(|(key, _)| cache.store.contains(*key));
    let is_newest = |name: &Name| newest.as_ref().is_some_and(|(newest, _)| newest == name);
    let outputs = match names.iter().find(|(_, name)| is_newest(name)) {
        _ if is_there() => None,
        Some((key, _)) => newest.take().map(|(_, blob)| (*key, blob)),
        None => names.iter().find_map(|(key, name)| Some((*key, tier.fetch(*name, count)?))),
    };
    let is_stored = match outputs {
        Some((key, blob)) => store_outputs(cache, key, blob, count),
        None => is_there(),
    };
    is_stored && remember::adopt(cache, unit, recorded).is_ok()
}

fn store_outputs(cache: &Cache, key: Digest, blob: Vec<u8>, count: &Count) -> bool {
    let compile_time = facts::decode_compile_time(facts_in(key, &blob).as_deref());
    let options = SaveOptions { compression: None, compile_time, kind: EntryKind::Result };
    match cache.store.save_blob(key, blob, options) {
        Ok(Ok(_)) => true,
        Ok(Err(damage)) => {
            tracing::warn!("a shared result is not whole: {damage}");
            count(Event::Untrusted);
            false
        }
        Err(error) => {
            tracing::warn!("cannot store a shared result: {error}");
            false
        }
    }
}

fn facts_in(key: Digest, blob: &[u8]) -> Option<Vec<u8>> {
    let parts = Entry::decode_parts(key, blob).ok()?;
    let facts = parts.iter().find(|part| part.kind == PartKind::Facts)?;
    (facts.length() <= RECORD_BYTES_MAX).then(|| facts.content().ok())?
}

/// A result that was just stored here.
pub struct Stored<'a> {
    /// What leads to it.
    pub recorded: &'a Recorded<'a>,
    /// The key of its outputs.
    pub outputs: Digest,
    /// The compiler printed something.
    pub printed: bool,
    /// Who made it.
    pub maker: Maker,
    /// A file that was read shows the time.
    pub holds_time: bool,
}

/// Offers a result to the others, where that is wanted and it means the same everywhere.
pub fn offer(daemon: &Daemon, cache: &Arc<Cache>, unit: &Unit, stored: &Stored) {
    let config = unit.config;
    if config.remote_storage.is_empty() || !config.remote_write {
        return;
    }
    let Stored { recorded, outputs, printed, maker, holds_time } = *stored;
    // What a host of the cluster or a prefix command made is for whoever trusts them.
    if !is_portable(recorded) || holds_time || maker != Maker::Here {
        return;
    }
    let Some(kept) = daemon.tiers.find(&daemon.runtime, config, &unit.environment) else { return };
    if !kept.tier.writes() {
        return;
    }
    let Some(record) = packed(unit.key, recorded) else { return };
    let (own, limit) = (Arc::clone(cache), shared::envelope::BODY_BYTES_MAX as u64);
    kept.tier.offer(Offer {
        unit: naming::unit_name(unit),
        record,
        result: naming::result_name(unit, recorded.key),
        outputs: naming::outputs_name(unit, outputs, printed),
        bytes: cache.store.room(outputs).unwrap_or(0),
        read: Arc::new(move || own.store.blob(outputs, limit)),
        count: counting(cache),
    });
}

/// Offers what hit in the local store.
pub fn reshare(daemon: &Daemon, cache: &Arc<Cache>, unit: &Unit) {
    if unit.config.remote_storage.is_empty() || !unit.config.reshare || !unit.config.remote_write {
        return;
    }
    let known = look_up::Known::load(cache, unit);
    let manifest = known.manifest();
    let hit = manifest.results().find(|recorded| is_right_here(daemon, unit, recorded));
    let Some(recorded) = hit else { return };
    let looks = [(recorded.key, false), (key::look_key(recorded.key, unit.look), true)];
    let found = looks.into_iter().find(|(key, _)| cache.store.contains(*key));
    let Some((outputs, printed)) = found else { return };
    let facts = cache
        .store
        .open_entry(outputs)
        .and_then(|stored| stored.part(PartKind::Facts).and_then(|facts| facts.content().ok()));
    let maker = facts::decode_maker(facts.as_deref());
    // Whether a header shows the time is not known any more where that is overlooked.
    let holds_time = unit.config.sloppiness.time_macros;
    let stored = Stored { recorded: &recorded, outputs, printed, maker, holds_time };
    offer(daemon, cache, unit, &stored);
}

fn packed(key: Digest, recorded: &Recorded) -> Option<Vec<u8>> {
    let manifest = Manifest::encode(std::slice::from_ref(recorded));
    let entry = Entry { parts: vec![Part { kind: PartKind::Manifest, bytes: manifest }] };
    entry.encode(key, Some(RECORD_LEVEL)).ok()
}

/// The counters of the cache that asked.
fn counting(cache: &Arc<Cache>) -> Count {
    let cache = Arc::clone(cache);
    Arc::new(move |event| {
        cache.counts.add(match event {
            Event::Hit => Counter::RemoteStorageHit,
            Event::Miss => Counter::RemoteStorageMiss,
            Event::Write => Counter::RemoteStorageWrite,
            Event::Error => Counter::RemoteStorageError,
            Event::Timeout => Counter::RemoteStorageTimeout,
            Event::Untrusted => Counter::RemoteStorageUntrusted,
        });
    })
}
