//! How long a compile waits for a remote: as long as answers take, and no longer. Pure.

use std::time::Duration;

/// Where nothing was measured yet. A remote that is dead costs a build this, once.
pub const FIRST: Duration = Duration::from_millis(250);
/// A moment that a machine with more compilers than cores may need by itself.
const MIN: Duration = Duration::from_millis(150);
/// As TCP does for its own time-out (RFC 6298, section 2): mean and deviation, by these shares.
const MEAN_SHARE: f64 = 1.0 / 8.0;
const DEVIATION_SHARE: f64 = 1.0 / 4.0;
const DEVIATIONS: f64 = 4.0;

/// What answers took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Patience {
    /// Seconds: the mean and the mean deviation.
    measured: Option<(f64, f64)>,
}

impl Patience {
    /// An answer took this long.
    pub fn measured(&mut self, taken: Duration) {
        let taken = taken.as_secs_f64();
        self.measured = Some(match self.measured {
            None => (taken, taken / 2.0),
            Some((mean, deviation)) => (
                mean + MEAN_SHARE * (taken - mean),
                deviation + DEVIATION_SHARE * ((taken - mean).abs() - deviation),
            ),
        });
    }

    /// How long to wait for the next one; `limit` is the user's.
    pub fn next(&self, limit: Duration) -> Duration {
        let wanted = match self.measured {
            None => FIRST,
            Some((mean, deviation)) => {
                Duration::from_secs_f64((mean + DEVIATIONS * deviation).clamp(0.0, 3_600.0))
                    .max(MIN)
            }
        };
        wanted.min(limit)
    }

    /// The usual time, for people.
    pub fn usual(&self) -> Option<Duration> {
        self.measured.map(|(mean, _)| Duration::from_secs_f64(mean.max(0.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn patience_follows_what_answers_take() {
        let mut patience = Patience::default();
        assert_eq!(patience.next(LIMIT), FIRST);
        for _ in 0..50 {
            patience.measured(Duration::from_millis(800));
        }
        let next = patience.next(LIMIT);
        assert!((800..1_200).contains(&next.as_millis()), "{next:?}");
        for _ in 0..100 {
            patience.measured(Duration::from_micros(200));
        }
        assert_eq!(patience.next(LIMIT), MIN);
        assert_eq!(patience.next(Duration::from_millis(5)), Duration::from_millis(5));
    }
}
