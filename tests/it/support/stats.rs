//! The counters of `rcache stats --json`.

use serde_json::Value;

/// Counters that say how a lookup or a compile went, not where a call ended.
const NOT_AN_ENDING: [&str; 18] = [
    "direct_cache_miss",
    "preprocessed_cache_miss",
    "local_compile",
    "remote_compile",
    "remote_failed",
    "sent_as_files",
    "sent_as_text",
    "stayed_here",
    "verify_match",
    "verify_mismatch",
    "verify_unstable",
    "verify_skipped",
    "remote_storage_hit",
    "remote_storage_miss",
    "remote_storage_write",
    "remote_storage_error",
    "remote_storage_timeout",
    "remote_storage_untrusted",
];

/// One answer of `rcache stats --json`.
#[derive(Clone, Debug)]
pub struct Stats(pub Value);

impl Stats {
    /// One counter; the contract says that each is present.
    #[track_caller]
    pub fn get(&self, name: &str) -> u64 {
        let counter = self.0["counters"][name].as_u64();
        counter.unwrap_or_else(|| panic!("no counter {name} in {}", self.0))
    }

    /// A number of the `store` object.
    #[track_caller]
    pub fn store(&self, name: &str) -> u64 {
        let number = self.0["store"][name].as_u64();
        number.unwrap_or_else(|| panic!("no number store.{name} in {}", self.0))
    }

    /// Where calls ended since `before`: each counter that rose, with by how much.
    pub fn endings_since(&self, before: &Stats) -> Vec<(String, u64)> {
        let counters = self.0["counters"].as_object().expect("the object `counters`");
        let rose = counters.iter().filter_map(|(name, now)| {
            let rise = now.as_u64()?.checked_sub(before.0["counters"][name].as_u64()?)?;
            (rise > 0 && !NOT_AN_ENDING.contains(&name.as_str())).then(|| (name.clone(), rise))
        });
        rose.collect()
    }
}
