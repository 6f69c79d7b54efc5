//! What is to be uploaded: how much of it may wait, how much memory it may take, when it is tried again.

use crate::lock;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Results that wait at one time; a name and a function each. More are not uploaded.
pub const WAITING_MAX: usize = 20_000;
/// Uploads of one remote that are under way at one time.
pub const UNDER_WAY_MAX: usize = 16;
/// What the results of these may take together, in steps.
pub const STEP_BYTES: usize = 64 << 10;
/// See [`STEP_BYTES`].
pub const STEPS_MAX: usize = 384;
/// A result is tried for this long.
pub const TRY_FOR: Duration = Duration::from_secs(300);
/// The first pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// The steps of memory that an upload takes.
pub fn steps(bytes: u64) -> u32 {
    // Its own bytes, the same sealed, and what is there already.
    let steps = (bytes.saturating_mul(2) / STEP_BYTES as u64).saturating_add(1);
    steps.min(STEPS_MAX as u64) as u32
}

/// The pause after so many failures; `chance` keeps many clients from coming back at once.
pub fn pause(failures: u32, chance: u8) -> Duration {
    let whole = PAUSES.0.saturating_mul(1 << failures.min(10)).min(PAUSES.1);
    whole / 2 + whole.mul_f64(f64::from(chance) / 512.0)
}

/// Counts what waits or is under way, for those who want to see the end.
#[derive(Default)]
pub struct Waiting {
    count: Mutex<usize>,
    fewer: Condvar,
}

/// One that waits; it is done when dropped.
pub struct One(Arc<Waiting>);

impl Waiting {
    /// Takes one more; `None` where too many wait already.
    pub fn begin(self: &Arc<Self>) -> Option<One> {
        let mut count = lock(&self.count);
        (*count < WAITING_MAX).then(|| {
            *count += 1;
            One(Arc::clone(self))
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        *lock(&self.count)
    }

    /// Waits until there is none, or for so long; gives how many are left.
    pub fn wait(&self, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        let mut count = lock(&self.count);
        while *count > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            count = match self.fewer.wait_timeout(count, left) {
                Ok((count, _)) => count,
                Err(poison) => PoisonError::into_inner(poison).0,
            };
        }
        *count
    }
}

impl Drop for One {
    fn drop(&mut self) {
        *lock(&self.0.count) -= 1;
        self.0.fewer.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_sees_the_end() {
        let waiting = Arc::new(Waiting::default());
        let one = waiting.begin().unwrap();
        assert_eq!(waiting.wait(Duration::ZERO), 1);
        std::thread::scope(|scope| {
            let end = scope.spawn(|| waiting.wait(Duration::from_secs(60)));
            drop(one);
            assert_eq!(end.join().unwrap(), 0);
        });
    }

    #[test]
    fn no_more_wait_than_may() {
        let waiting = Arc::new(Waiting::default());
        let all: Vec<One> = (0..WAITING_MAX).map(|_| waiting.begin().unwrap()).collect();
        assert!(waiting.begin().is_none());
        drop(all);
        assert!(waiting.begin().is_some());
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        assert!(pause(0, 0) < pause(3, 0));
        assert!(pause(3, 0) < pause(3, 255));
        assert!(pause(1_000, 255) <= PAUSES.1);
        assert_eq!(steps(0), 1);
        assert_eq!(steps(u64::MAX), STEPS_MAX as u32);
    }
}
