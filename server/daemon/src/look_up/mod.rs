//! Finding a stored result, through the manifest or by the preprocessed text, and putting it in place.

pub mod ahead;
pub mod fetchers;
pub mod mapped;
pub mod publish;

use crate::look_up::ahead::Ahead;
use crate::make::start::CLOCK_TICKS_MAX;
use crate::remember::precompiled;
use crate::understand::unit::Unit;
use crate::{Cache, Daemon};
use cache::entry::{PartKind, Stored};
use cache::facts;
use cache::key;
use cache::manifest::{Checks, Manifest};
use cache::outputs::Delivery;
use compiler::file_memo::{Stamp, nanoseconds_of};
use compiler::hasher::Digest;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use talk::launcher_protocol::PRINTED_BYTES_MAX;

/// A result that read this many files is fetched while they are checked; fewer are checked sooner than
/// another thread could be told.
const AHEAD_FROM_FILES: usize = 64;

/// What is known under a source key.
#[derive(Default)]
pub struct Known {
    /// There is an entry.
    pub is_seen: bool,
    /// Why its units can only be told apart by their text.
    pub needs_text: Option<String>,
    manifest: Option<Vec<u8>>,
}

impl Known {
    /// Reads the entry of the manifest.
    pub fn load(cache: &Cache, unit: &Unit) -> Known {
        let Some(stored) = cache.store.open_entry(unit.key) else { return Known::default() };
        // What the key consists of is in there, too, but only `explain` wants to know that.
        let part = |kind| stored.part(kind)?.content().ok();
        let needs_text = facts::decode_needs_text(part(PartKind::Facts).as_deref());
        Known { is_seen: true, needs_text, manifest: part(PartKind::Manifest) }
    }

    /// The manifest; empty where there is none, or none that can be read.
    pub fn manifest(&self) -> Manifest<'_> {
        self.manifest.as_deref().and_then(Manifest::decode).unwrap_or_default()
    }

    /// Whether a file that such a unit read the last time was changed since: who compiles it since then
    /// may have read something else.
    pub fn changed_since(&self, unit: &Unit, begun: SystemTime) -> bool {
        // The clock of file systems goes in ticks, and is behind.
        let begun = nanoseconds_of(begun.checked_sub(CLOCK_TICKS_MAX).unwrap_or(begun));
        let manifest = self.manifest();
        manifest.results().next().is_some_and(|newest| {
            newest.files.iter().any(|(path, _)| {
                unit.here.stat(path).is_ok_and(|stat| Stamp::of(&stat).changed_ns >= begun)
            })
        })
    }

    /// The result whose inputs are all as they were.
    fn find(&self, daemon: &Daemon, cache: &Arc<Cache>, unit: &Unit) -> Option<Found> {
        let manifest = self.manifest();
        let same = |content| precompiled::stands_for(&cache.store, content);
        let mut checks = Checks::new(&daemon.memo, &unit.here, unit.now).with_equivalent(&same);
        manifest.results().enumerate().find_map(|(place, recorded)| {
            // The newest is most often the right one: a fetcher fetches it while this thread looks.
            let early = place == 0 && recorded.files.len() >= AHEAD_FROM_FILES;
            let ahead = early.then(|| Ahead::ask(daemon, cache, unit, recorded.key)).flatten();
            let unchanged = unit.is_of_today(recorded.day)
                && checks.check(&recorded).is_ok()
                && mapped::fits(unit, &recorded);
            match ahead {
                Some(ahead) if unchanged => ahead.take(),
                Some(ahead) => {
                    ahead.discard();
                    None
                }
                None if unchanged => load_result(daemon, cache, unit, recorded.key),
                None => None,
            }
        })
    }
}

/// A result on its way to its files, or why it cannot get there.
pub type Found = io::Result<Delivery>;

/// A result, or the variant of it that printed something in the looks of this call.
pub fn load_result(daemon: &Daemon, cache: &Cache, unit: &Unit, key: Digest) -> Option<Found> {
    let stored = open_result(cache, key, unit.look)?;
    let delivery = Delivery::begin(&unit.here, stored, &unit.outputs);
    if !daemon.is_crowded()
        && let Some(work) = delivery.as_ref().ok().and_then(Delivery::work_to_share)
    {
        daemon.fetchers.ask(work);
    }
    Some(delivery)
}

/// The same, of which nothing is unpacked.
pub fn open_result(cache: &Cache, key: Digest, look: Digest) -> Option<Stored> {
    let open = |key| cache.store.open_entry(key);
    open(key).or_else(|| open(key::look_key(key, look)))
}

/// What the daemon must know of a result besides its files.
pub struct Remarks {
    /// The time that it took to compile.
    pub compile_time: Duration,
    /// What the compiler wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// Reads them off a result.
pub fn remarks(stored: &Stored) -> io::Result<Remarks> {
    let part = |kind| stored.part(kind).map(|part| part.content()).transpose();
    let stdout = part(PartKind::Stdout)?.unwrap_or_default();
    let stderr = part(PartKind::Stderr)?.unwrap_or_default();
    if stdout.len() + stderr.len() > PRINTED_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let compile_time = facts::decode_compile_time(part(PartKind::Facts)?.as_deref());
    Ok(Remarks { compile_time, stdout, stderr })
}

/// The direct lookup.
pub fn direct(daemon: &Daemon, cache: &Arc<Cache>, unit: &Unit) -> (Known, Option<Found>) {
    daemon.memo.refresh();
    let known = Known::load(cache, unit);
    let usable = unit.config.direct_mode && known.needs_text.is_none();
    let found = if usable { known.find(daemon, cache, unit) } else { None };
    (known, found)
}
