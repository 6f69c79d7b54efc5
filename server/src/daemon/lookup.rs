//! Finding a stored result: through the manifest, or by the preprocessed text.

use super::unit::Unit;
use super::{Cache, Daemon};
use cache::entry::{Entry, PartKind};
use cache::facts;
use cache::file_memo::FileMemo;
use cache::hasher::Digest;
use cache::key;
use cache::manifest::Manifest;
use cache::outputs;
use std::io;
use std::time::Duration;

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
    pub fn find(&self, memo: &FileMemo, cache: &Cache, unit: &Unit) -> Option<Entry> {
        let manifest = self.manifest();
        manifest
            .results
            .iter()
            .filter(|recorded| recorded.check(memo, &unit.here, unit.now).is_ok())
            .find_map(|recorded| load_result(cache, unit, recorded.key))
    }
}

/// A result, or the variant of it that printed something in the looks of this call.
pub fn load_result(cache: &Cache, unit: &Unit, key: Digest) -> Option<Entry> {
    cache.store.load(key).or_else(|| cache.store.load(key::look_key(key, unit.look)))
}

/// The time that a result took to compile.
pub fn compile_time(entry: &Entry) -> Duration {
    facts::decode_compile_time(entry.part(PartKind::Facts))
}

/// Puts the files of a result in their place.
pub fn deliver(unit: &Unit, entry: &Entry) -> io::Result<()> {
    outputs::deliver(&unit.here, entry, &unit.outputs)
}

/// The direct lookup.
pub fn direct(daemon: &Daemon, cache: &Cache, unit: &Unit) -> (Known, Option<Entry>) {
    let known = Known::load(cache, unit);
    let usable = unit.config.direct_mode && !known.needs_text;
    let found = if usable { known.find(&daemon.memo, cache, unit) } else { None };
    (known, found)
}
