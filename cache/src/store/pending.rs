//! What waits in memory for the index: new and removed entries, uses, counts.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use super::index::Summary;
use super::{EntryKind, Totals};
use compiler::hasher::Digest;

/// Entries that may wait; beyond this the index has been out of reach for long, and the store
/// takes nothing new that it could not account for.
pub(super) const CHANGES_MAX: usize = 100_000;
/// Uses that may wait; further ones are forgotten, which only ages an entry.
pub(super) const USES_MAX: usize = 100_000;
/// Pairs of source and manifest that may wait; further ones are forgotten.
pub(super) const SOURCES_MAX: usize = 10_000;

/// An entry whose blob is in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Saved {
    pub kind: EntryKind,
    pub bytes: u64,
    pub compile_time_ms: u64,
    /// Orders saves and uses.
    pub tick: u64,
}

/// What happened to a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Saved(Saved),
    Removed,
}

/// Changes of blobs, and the totals with them.
#[derive(Default)]
pub(super) struct Pending {
    pub changes: HashMap<Digest, Change>,
    pub sources: HashMap<(Digest, Digest), u64>,
    /// What the index says.
    indexed: Totals,
    /// What the waiting changes add to it.
    bytes: i64,
    files: i64,
}

impl Pending {
    pub fn saved(&mut self, key: Digest, saved: Saved, replaced_bytes: Option<u64>) {
        self.bytes += saved.bytes as i64 - replaced_bytes.unwrap_or(0) as i64;
        let is_new = replaced_bytes.is_none() && saved.kind == EntryKind::Result;
        self.files += i64::from(is_new);
        self.changes.insert(key, Change::Saved(saved));
    }

    /// The kind of what was removed is not known before the index is asked, except for a change
    /// that still waits.
    pub fn removed(&mut self, key: Digest, bytes: u64) {
        self.bytes -= bytes as i64;
        if let Some(Change::Saved(saved)) = self.changes.insert(key, Change::Removed) {
            self.files -= i64::from(saved.kind == EntryKind::Result);
        }
    }

    /// The entries that were saved and that the index does not know yet, in their order.
    pub fn oldest_saved(&self) -> Vec<Digest> {
        let saved = self.changes.iter().filter_map(|(key, change)| match change {
            Change::Saved(saved) => Some((saved.tick, *key)),
            Change::Removed => None,
        });
        let mut saved: Vec<(u64, Digest)> = saved.collect();
        saved.sort_unstable();
        saved.into_iter().map(|(_, key)| key).collect()
    }

    /// Whether anything waits for the index.
    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty() || !self.sources.is_empty()
    }

    pub fn totals(&self) -> Totals {
        Totals {
            bytes: self.indexed.bytes.saturating_add_signed(self.bytes),
            files: self.indexed.files.saturating_add_signed(self.files),
            ..self.indexed
        }
    }

    /// Takes over what the index says, without a change to what waits.
    pub fn set_indexed(&mut self, summary: &Summary) {
        self.indexed.bytes = summary.bytes;
        self.indexed.files = summary.files;
        self.indexed.evicted = summary.evicted;
    }

    /// After every blob is gone.
    pub fn forget_entries(&mut self) {
        *self = Pending {
            indexed: Totals { bytes: 0, files: 0, ..self.indexed },
            ..Pending::default()
        };
    }

    pub fn count_damaged(&mut self) {
        self.indexed.damaged += 1;
    }

    pub fn zero_evicted(&mut self) {
        self.indexed.evicted = 0;
    }
}

/// Counters: what the index says, and what came since.
#[derive(Default)]
pub(super) struct Counters {
    pub indexed: BTreeMap<String, u64>,
    pub waiting: CounterBatch,
    pub zeroed_at: Option<SystemTime>,
}

/// Counts on their way to the index; the setting to 0 comes first.
#[derive(Default)]
pub(super) struct CounterBatch {
    pub zeroed_at: Option<SystemTime>,
    pub added: BTreeMap<String, i64>,
}

impl Counters {
    /// Whether anything waits for the index.
    pub fn has_news(&self) -> bool {
        self.waiting.zeroed_at.is_some() || !self.waiting.added.is_empty()
    }

    pub fn add(&mut self, name: &str, value: i64) {
        match self.waiting.added.get_mut(name) {
            Some(sum) => *sum = sum.saturating_add(value),
            None => {
                self.waiting.added.insert(name.to_owned(), value);
            }
        }
    }

    pub fn zero(&mut self, now: SystemTime) {
        self.indexed.clear();
        self.waiting = CounterBatch { zeroed_at: Some(now), added: BTreeMap::new() };
        self.zeroed_at = Some(now);
    }

    pub fn values(&self) -> BTreeMap<String, u64> {
        let mut values = self.indexed.clone();
        for (name, &added) in &self.waiting.added {
            let value = values.entry(name.clone()).or_default();
            *value = value.saturating_add_signed(added);
        }
        values
    }

    pub fn set_indexed(&mut self, summary: &Summary) {
        if self.waiting.zeroed_at.is_none() {
            self.indexed = summary.counters.clone();
            self.zeroed_at = summary.zeroed_at;
        }
    }

    /// Puts back what could not be written.
    pub fn give_back(&mut self, batch: CounterBatch) {
        if self.waiting.zeroed_at.is_some() {
            return;
        }
        for (name, value) in &batch.added {
            self.add(name, *value);
        }
        self.waiting.zeroed_at = batch.zeroed_at;
    }
}

/// What one transaction writes.
#[derive(Default)]
pub(super) struct Batch {
    pub changes: HashMap<Digest, Change>,
    pub uses: HashMap<Digest, u64>,
    pub sources: HashMap<(Digest, Digest), u64>,
    pub counters: CounterBatch,
    bytes: i64,
    files: i64,
}

impl Batch {
    /// Takes everything that waits. The totals keep counting it until [`Batch::settle`].
    pub fn take(
        pending: &mut Pending,
        uses: &mut HashMap<Digest, u64>,
        counters: &mut Counters,
    ) -> Batch {
        Batch {
            changes: std::mem::take(&mut pending.changes),
            uses: std::mem::take(uses),
            sources: std::mem::take(&mut pending.sources),
            counters: std::mem::take(&mut counters.waiting),
            bytes: pending.bytes,
            files: pending.files,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.uses.is_empty()
            && self.sources.is_empty()
            && self.counters.added.is_empty()
            && self.counters.zeroed_at.is_none()
    }

    /// Saves (with what was saved) and uses (without), in the order in which they happened; one
    /// for each key, the latest.
    pub fn in_order(&self) -> Vec<(Digest, Option<&Saved>)> {
        let mut order = Vec::with_capacity(self.changes.len() + self.uses.len());
        for (&key, change) in &self.changes {
            if let Change::Saved(saved) = change {
                let used = self.uses.get(&key).copied().unwrap_or(0);
                order.push((saved.tick.max(used), key, Some(saved)));
            }
        }
        let only_used = self.uses.iter().filter(|(key, _)| !self.changes.contains_key(*key));
        order.extend(only_used.map(|(&key, &tick)| (tick, key, None)));
        order.sort_unstable_by_key(|&(tick, key, _)| (tick, key));
        order.into_iter().map(|(_, key, saved)| (key, saved)).collect()
    }

    /// After the transaction: the index now says what this batch added.
    pub fn settle(self, summary: &Summary, pending: &mut Pending, counters: &mut Counters) {
        pending.bytes -= self.bytes;
        pending.files -= self.files;
        pending.set_indexed(summary);
        counters.set_indexed(summary);
    }

    /// After a failed transaction: everything waits again, except where something newer does.
    pub fn give_back(
        self,
        pending: &mut Pending,
        uses: &mut HashMap<Digest, u64>,
        counters: &mut Counters,
    ) {
        for (key, change) in self.changes {
            pending.changes.entry(key).or_insert(change);
        }
        for (pair, tick) in self.sources {
            pending.sources.entry(pair).or_insert(tick);
        }
        for (key, tick) in self.uses {
            uses.entry(key).or_insert(tick);
        }
        counters.give_back(self.counters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saves_and_uses_are_in_one_order() {
        let key = |number: u8| Digest([number; Digest::LEN]);
        let saved = |tick| Saved { kind: EntryKind::Result, bytes: 1, compile_time_ms: 0, tick };
        let batch = Batch {
            changes: HashMap::from([
                (key(1), Change::Saved(saved(10))),
                (key(2), Change::Saved(saved(20))),
                (key(3), Change::Removed),
            ]),
            uses: HashMap::from([(key(1), 30), (key(3), 40), (key(4), 15)]),
            ..Batch::default()
        };
        let order: Vec<_> = batch.in_order().into_iter().map(|(key, _)| key.0[0]).collect();
        assert_eq!(order, [4, 2, 1]);
    }

    #[test]
    fn a_failed_write_loses_no_count() {
        let now = SystemTime::UNIX_EPOCH;
        let mut counters = Counters::default();
        counters.add("hit", 3);
        let failed = std::mem::take(&mut counters.waiting);
        counters.add("hit", 2);
        counters.give_back(failed);
        assert_eq!(counters.values()["hit"], 5);

        counters.zero(now);
        counters.add("hit", 1);
        let failed = std::mem::take(&mut counters.waiting);
        counters.add("hit", 2);
        counters.give_back(failed);
        assert_eq!(counters.waiting.zeroed_at, Some(now));
        assert_eq!(counters.values()["hit"], 3);
    }

    #[test]
    fn counters_stop_at_zero() {
        let mut counters = Counters::default();
        counters.add("hit", -3);
        assert_eq!(counters.values()["hit"], 0);
    }
}
