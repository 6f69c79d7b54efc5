//! What happened since the last flush: counters in memory, off the path of every call.

use compiler::outcome::{Counter, Uncacheable};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Before the colon in the name of a counter with its culprit, as in `why:called_for_link:`.
pub const DETAIL_PREFIX: &str = "why:";

/// Milliseconds of compile time that hits saved.
pub const TIME_SAVED: &str = "time_saved_ms";

/// Milliseconds that compiles took.
pub const COMPILE_TIME: &str = "compile_time_ms";

/// Different culprits between two flushes; more say nothing that a person could read.
const DETAILS_MAX: usize = 1000;

/// A culprit longer than this is cut.
const DETAIL_BYTES_MAX: usize = 120;

/// Counters, and how much of them is not yet in the index.
pub struct Counts {
    /// Since the daemon started.
    counters: Vec<AtomicU64>,
    /// The part that was taken.
    taken: Mutex<Vec<u64>>,
    time_saved_us: AtomicU64,
    compile_time_us: AtomicU64,
    details: Mutex<HashMap<(Counter, String), u64>>,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            counters: Counter::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            taken: Mutex::new(vec![0; Counter::ALL.len()]),
            time_saved_us: AtomicU64::new(0),
            compile_time_us: AtomicU64::new(0),
            details: Mutex::default(),
        }
    }
}

impl Counts {
    /// Counts one event.
    pub fn add(&self, counter: Counter) {
        self.counters[counter as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that is not cached, with its culprit.
    pub fn add_uncacheable(&self, reason: &Uncacheable) {
        self.add(reason.counter);
        if reason.detail.is_empty() {
            return;
        }
        let mut details = self.details.lock().unwrap_or_else(|poison| poison.into_inner());
        if details.len() < DETAILS_MAX {
            let mut detail = reason.detail.clone();
            detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
            *details.entry((reason.counter, detail)).or_default() += 1;
        }
    }

    /// A hit saved this much compile time.
    pub fn add_time_saved(&self, saved: Duration) {
        self.time_saved_us.fetch_add(saved.as_micros() as u64, Ordering::Relaxed);
    }

    /// A compile took this long.
    pub fn add_compile_time(&self, taken: Duration) {
        self.compile_time_us.fetch_add(taken.as_micros() as u64, Ordering::Relaxed);
    }

    /// The events of a kind since the daemon started.
    pub fn since_start(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Ordering::Relaxed)
    }

    /// Takes everything out that is new, as names and numbers for the index.
    pub fn take(&self) -> Vec<(String, i64)> {
        let mut taken = Vec::new();
        let mut before = self.taken.lock().unwrap_or_else(|poison| poison.into_inner());
        for (counter, before) in Counter::ALL.iter().zip(before.iter_mut()) {
            let now = self.since_start(*counter);
            taken.push((counter.name().to_owned(), (now - *before) as i64));
            *before = now;
        }
        drop(before);
        // Less than a millisecond stays for the next time.
        for (name, microseconds) in
            [(TIME_SAVED, &self.time_saved_us), (COMPILE_TIME, &self.compile_time_us)]
        {
            let whole = microseconds.load(Ordering::Relaxed) / 1000;
            microseconds.fetch_sub(whole * 1000, Ordering::Relaxed);
            taken.push((name.to_owned(), whole as i64));
        }
        let mut details = self.details.lock().unwrap_or_else(|poison| poison.into_inner());
        for ((counter, detail), count) in details.drain() {
            taken.push((format!("{DETAIL_PREFIX}{}:{detail}", counter.name()), count as i64));
        }
        taken.retain(|(_, count)| *count != 0);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_taken_once() {
        let counts = Counts::default();
        counts.add(Counter::CacheMiss);
        counts.add_uncacheable(&Uncacheable::new(Counter::UnsupportedCompilerOption, "-fx"));
        counts.add_uncacheable(&Uncacheable::new(Counter::UnsupportedCompilerOption, "-fx"));
        counts.add_time_saved(Duration::from_micros(2500));
        let mut taken = counts.take();
        taken.sort();
        let expected = [
            ("cache_miss", 1),
            ("time_saved_ms", 2),
            ("unsupported_compiler_option", 2),
            ("why:unsupported_compiler_option:-fx", 2),
        ];
        assert_eq!(taken, expected.map(|(name, count)| (name.to_owned(), count)));
        assert!(counts.take().is_empty());
        assert_eq!(counts.since_start(Counter::UnsupportedCompilerOption), 2);
        counts.add_time_saved(Duration::from_micros(500));
        assert_eq!(counts.take(), [("time_saved_ms".to_owned(), 1)]);
    }
}
