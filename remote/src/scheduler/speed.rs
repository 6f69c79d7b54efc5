//! How fast a host compiles: what its latest answers say, in the middle.

use std::time::{Duration, Instant};

/// The answers that count: older ones fade out.
const SAMPLES_MAX: f64 = 24.0;
/// What is known of all hosts counts as much as this many answers of one.
const SAMPLES_PRIOR: f64 = 4.0;
/// What is known fades by half in this time, so that a host that was slow gets another chance.
const HALF_LIFE: Duration = Duration::from_secs(600);
/// Below this a time says more of the wire than of the host.
const TOOK_MIN: Duration = Duration::from_millis(1);

/// A moving average of the logarithm of bytes per second. Of times that spread over two orders of
/// magnitude a plain average would follow the few long ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Speed {
    mean: f64,
    samples: f64,
    learned: Option<Instant>,
}

impl Speed {
    /// A compile of `cost` bytes took this long.
    pub(super) fn learn(&mut self, cost: u64, took: Duration, now: Instant) {
        let samples = (self.weight(now) + 1.0).min(SAMPLES_MAX);
        self.mean += (logarithm(cost, took) - self.mean) / samples;
        self.samples = samples;
        self.learned = Some(now);
    }

    /// Bytes per second, from the own answers, those of all hosts, and runs that take longer than
    /// they should; `None` where nothing is known at all.
    pub(super) fn estimate(
        &self,
        typical: &Speed,
        overdue: impl Iterator<Item = (u64, Duration)>,
        now: Instant,
    ) -> Option<f64> {
        let prior = if typical.samples > 0.0 { SAMPLES_PRIOR } else { 0.0 };
        let own = self.weight(now);
        let mut weight = prior + own;
        let mut sum = prior * typical.mean + own * self.mean;
        for (cost, age) in overdue {
            weight += 1.0;
            sum += logarithm(cost, age);
        }
        (weight > 0.0).then(|| (sum / weight).exp())
    }

    fn weight(&self, now: Instant) -> f64 {
        let age = self.learned.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.samples * 0.5_f64.powf(age.as_secs_f64() / HALF_LIFE.as_secs_f64())
    }
}

fn logarithm(cost: u64, took: Duration) -> f64 {
    (cost.max(1) as f64 / took.max(TOOK_MIN).as_secs_f64()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn estimate(speed: &Speed, typical: &Speed, now: Instant) -> f64 {
        speed.estimate(typical, std::iter::empty(), now).unwrap()
    }

    #[test]
    fn nothing_is_known_at_first() {
        let now = Instant::now();
        let unknown = Speed::default();
        assert_eq!(unknown.estimate(&unknown, std::iter::empty(), now), None);
    }

    #[test]
    fn few_answers_count_little() {
        let now = Instant::now();
        let (mut typical, mut speed) = (Speed::default(), Speed::default());
        (0..20).for_each(|_| typical.learn(1_000, SECOND, now));
        assert!((estimate(&speed, &typical, now) - 1_000.0).abs() < 1.0);
        speed.learn(100, SECOND, now);
        let one = estimate(&speed, &typical, now);
        assert!((500.0..900.0).contains(&one), "{one}");
        (0..30).for_each(|_| speed.learn(100, SECOND, now));
        let many = estimate(&speed, &typical, now);
        assert!((100.0..150.0).contains(&many), "{many}");
        let later = now + 5 * HALF_LIFE;
        assert!(estimate(&speed, &typical, later) > 300.0);
    }

    #[test]
    fn one_outlier_moves_little_and_overdue_runs_count() {
        let now = Instant::now();
        let mut speed = Speed::default();
        (0..30).for_each(|_| speed.learn(1_000, SECOND, now));
        speed.learn(1_000, 20 * SECOND, now);
        let typical = Speed::default();
        assert!(estimate(&speed, &typical, now) > 850.0);
        let overdue = std::iter::repeat_n((1_000, 10 * SECOND), 24);
        assert!(speed.estimate(&typical, overdue, now).unwrap() < 400.0);
    }

    #[test]
    fn extremes_stay_finite() {
        let now = Instant::now();
        let mut speed = Speed::default();
        for (cost, took) in [(0, Duration::ZERO), (u64::MAX, Duration::ZERO), (0, Duration::MAX)] {
            speed.learn(cost, took, now);
            assert!(estimate(&speed, &Speed::default(), now).is_finite());
        }
    }
}
