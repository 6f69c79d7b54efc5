//! Finding a stored result: through the manifest, or by the preprocessed text.

use super::unit::Unit;
use super::{Cache, Daemon};
use cache::entry::{Entry, PartKind, Stored};
use cache::facts;
use cache::hasher::Digest;
use cache::key;
use cache::manifest::Manifest;
use cache::outputs::Delivery;
use std::io;
use std::time::Duration;

/// A result that read this many files is unpacked while they are checked; fewer are checked sooner
/// than another thread could be told.
const EARLY_FROM_FILES: usize = 64;

/// What is known under a source key.
#[derive(Default)]
pub struct Known {
    /// The entry of the manifest.
    pub entry: Option<Entry>,
    /// Its units can only be told apart by their text.
    pub needs_text: bool,
}

impl Known {
    /// Reads the manifest's entry.
    pub fn load(cache: &Cache, unit: &Unit) -> Known {
        let entry = cache.store.load(unit.key);
        let facts = entry.as_ref().and_then(|entry| entry.part(PartKind::Facts));
        Known { needs_text: facts::decode_needs_text(facts), entry }
    }

    /// The manifest; empty where there is none, or none that can be read.
    pub fn manifest(&self) -> Manifest<'_> {
        let bytes = self.entry.as_ref().and_then(|entry| entry.part(PartKind::Manifest));
        bytes.and_then(Manifest::decode).unwrap_or_default()
    }

    /// The result whose inputs are all as they were.
    fn find<'u>(&self, daemon: &Daemon, cache: &Cache, unit: &'u Unit) -> Option<Found<'u>> {
        let manifest = self.manifest();
        manifest.results.iter().enumerate().find_map(|(place, recorded)| {
            let unchanged = || recorded.check(&daemon.memo, &unit.here, unit.now).is_ok();
            // The newest is most often the right one: others unpack it while this thread looks.
            let early = place == 0 && recorded.files.len() >= EARLY_FROM_FILES;
            if !early && !unchanged() {
                return None;
            }
            let found = load_result(daemon, cache, unit, recorded.key)?;
            (!early || unchanged()).then_some(found)
        })
    }
}

/// A result on its way to its files, or why it cannot get there.
pub type Found<'u> = io::Result<Delivery<'u>>;

/// A result, or the variant of it that printed something in the looks of this call.
pub fn load_result<'u>(
    daemon: &Daemon,
    cache: &Cache,
    unit: &'u Unit,
    key: Digest,
) -> Option<Found<'u>> {
    let open = |key| cache.store.open_entry(key);
    let stored = open(key).or_else(|| open(key::look_key(key, unit.look)))?;
    let delivery = Delivery::begin(&unit.here, stored, &unit.outputs);
    if let Some(work) = delivery.as_ref().ok().and_then(Delivery::work_to_share) {
        daemon.helpers.ask(work);
    }
    Some(delivery)
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
    Ok(Remarks {
        compile_time: facts::decode_compile_time(part(PartKind::Facts)?.as_deref()),
        stdout: part(PartKind::Stdout)?.unwrap_or_default(),
        stderr: part(PartKind::Stderr)?.unwrap_or_default(),
    })
}

/// The direct lookup.
pub fn direct<'u>(daemon: &Daemon, cache: &Cache, unit: &'u Unit) -> (Known, Option<Found<'u>>) {
    let known = Known::load(cache, unit);
    let usable = unit.config.direct_mode && !known.needs_text;
    let found = if usable { known.find(daemon, cache, unit) } else { None };
    (known, found)
}
