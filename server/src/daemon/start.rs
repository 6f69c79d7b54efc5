//! The moment before a compile: what is changed from then on may or may not be what the compiler read.

use cache::file_memo::{Stamp, nanoseconds_of};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that was moved by more than this during a compile makes all time stamps doubtful.
const CLOCK_STEP_MAX: Duration = Duration::from_millis(100);

/// Linux ticks 100 to 1000 times a second.
pub const CLOCK_TICKS_MAX: Duration = Duration::from_millis(20);

/// The moment before a compile, on the clock that file systems use for time stamps.
#[derive(Clone, Copy)]
pub struct Start {
    /// On the clock that file systems use.
    pub stamp_clock: SystemTime,
    monotonic: Instant,
}

impl Start {
    /// Now. A file that is changed from now on gets a stamp that is not earlier.
    pub fn now() -> Start {
        let coarse = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let since = Duration::new(coarse.tv_sec as u64, coarse.tv_nsec as u32);
        Start { stamp_clock: UNIX_EPOCH + since, monotonic: Instant::now() }
    }

    /// A moment whose stamps differ from that of `fresh`, a source that was edited just now: at
    /// most a few clock ticks away.
    pub fn after(fresh: &Stamp) -> Start {
        let deadline = Instant::now() + CLOCK_TICKS_MAX;
        loop {
            let start = Start::now();
            if !start.is_before(fresh) || Instant::now() > deadline {
                return start;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The earlier of the two.
    pub fn earlier(self, other: Start) -> Start {
        if other.monotonic < self.monotonic { other } else { self }
    }

    /// Whether this is the same moment as `other`, or an earlier one.
    pub fn is_not_after(&self, other: Start) -> bool {
        self.monotonic <= other.monotonic
    }

    /// Whether a file with this stamp was changed since.
    pub fn is_before(&self, stamp: &Stamp) -> bool {
        stamp.changed_ns >= nanoseconds_of(self.stamp_clock)
    }

    /// Whether the clock went on evenly until now.
    pub fn clock_is_even(&self) -> bool {
        let expected = self.stamp_clock + self.monotonic.elapsed();
        let now = SystemTime::now();
        let difference = match now.duration_since(expected) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        difference < CLOCK_STEP_MAX
    }
}
