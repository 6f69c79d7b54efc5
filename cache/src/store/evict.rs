//! Which entries go when the store is too large: pure decisions, least recently used first.

use super::index::Row;
use super::{EntryKind, Limits, Totals};

/// Eviction goes on down to this part of a limit, so that it does not start again at once.
pub const LOW_WATER_PERCENT: u64 = 90;

/// What the store may have left afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Goal {
    /// In bytes, over all entries.
    pub bytes: u64,
    /// The number of results.
    pub files: u64,
    /// Entries last used before this go in any case; microseconds since the epoch.
    pub used_since: i64,
}

impl Goal {
    /// Nothing has to go.
    pub const ANYTHING: Goal = Goal { bytes: u64::MAX, files: u64::MAX, used_since: i64::MIN };
}

/// The goal of an eviction, where a limit is passed.
pub(super) fn goal(totals: &Totals, limits: Limits) -> Option<Goal> {
    let over = |value: u64, limit: u64| limit != 0 && value > limit;
    let low_water = |value: u64, limit: u64| {
        if over(value, limit) {
            (u128::from(limit) * u128::from(LOW_WATER_PERCENT)).div_ceil(100) as u64
        } else {
            u64::MAX
        }
    };
    let goal = Goal {
        bytes: low_water(totals.bytes, limits.max_size_bytes),
        files: low_water(totals.files, limits.max_files),
        ..Goal::ANYTHING
    };
    (goal != Goal::ANYTHING).then_some(goal)
}

/// How many of `rows`, which are in the order of their last use and the oldest of the store, have
/// to go until the goal is reached.
pub(super) fn victims(rows: &[Row], totals: &Totals, goal: Goal) -> usize {
    let (mut bytes, mut files) = (totals.bytes, totals.files);
    for (count, row) in rows.iter().enumerate() {
        if bytes <= goal.bytes && files <= goal.files && row.last_use >= goal.used_since {
            return count;
        }
        bytes = bytes.saturating_sub(row.bytes);
        files = files.saturating_sub(u64::from(row.kind == EntryKind::Result));
    }
    rows.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use compiler::hasher::Digest;

    fn totals(bytes: u64, files: u64) -> Totals {
        Totals { bytes, files, ..Totals::default() }
    }

    fn limits(max_size_bytes: u64, max_files: u64) -> Limits {
        Limits { max_size_bytes, max_files }
    }

    /// Ten entries of 10 bytes, used at 0 to 9, every second one a manifest.
    fn rows() -> Vec<Row> {
        let row = |number: u8| Row {
            key: Digest::of(&[number]),
            kind: if number.is_multiple_of(2) { EntryKind::Result } else { EntryKind::Manifest },
            bytes: 10,
            last_use: i64::from(number),
            compile_time_ms: 0,
        };
        (0..10).map(row).collect()
    }

    #[test]
    fn a_goal_only_where_a_limit_is_passed() {
        assert_eq!(goal(&totals(100, 10), limits(0, 0)), None);
        assert_eq!(goal(&totals(100, 10), limits(100, 10)), None);
        let bytes = goal(&totals(101, 10), limits(100, 10));
        assert_eq!(bytes, Some(Goal { bytes: 90, ..Goal::ANYTHING }));
        let files = goal(&totals(100, 11), limits(100, 10));
        assert_eq!(files, Some(Goal { files: 9, ..Goal::ANYTHING }));
        assert_eq!(goal(&totals(0, 2), limits(0, 1)), Some(Goal { files: 1, ..Goal::ANYTHING }));
        let huge = goal(&totals(u64::MAX, 0), limits(u64::MAX - 1, 0)).unwrap();
        assert!(huge.bytes < u64::MAX / 100 * 91);
    }

    #[test]
    fn the_oldest_go_until_the_goal_is_reached() {
        let check = |goal: Goal, expected: usize| {
            assert_eq!(victims(&rows(), &totals(100, 5), goal), expected, "{goal:?}");
        };
        check(Goal::ANYTHING, 0);
        check(Goal { bytes: 100, ..Goal::ANYTHING }, 0);
        check(Goal { bytes: 99, ..Goal::ANYTHING }, 1);
        check(Goal { bytes: 71, ..Goal::ANYTHING }, 3);
        check(Goal { bytes: 0, ..Goal::ANYTHING }, 10);
        check(Goal { files: 4, ..Goal::ANYTHING }, 1);
        check(Goal { files: 3, ..Goal::ANYTHING }, 3);
        check(Goal { used_since: 4, ..Goal::ANYTHING }, 4);
        check(Goal { used_since: 4, bytes: 90, ..Goal::ANYTHING }, 4);
        check(Goal { used_since: 4, bytes: 50, ..Goal::ANYTHING }, 5);
    }
}
