//! Whether a remote is worth asking: one that fails is left alone for a while, then tried again behind the
//! builds' backs. Pure; the clock is an argument.

use std::time::{Duration, Instant};

/// After a success, this many failures in a row open it; one is enough where nothing ever succeeded.
const FAILURES_MAX: u32 = 3;
/// The first rest.
const REST_MIN: Duration = Duration::from_secs(1);
/// The longest.
const REST_MAX: Duration = Duration::from_secs(60);

/// What may be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ask, and wait for the answer.
    Ask,
    /// Ask, but let nobody wait.
    Probe,
    /// Leave it alone.
    Rest,
}

/// The state of one remote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    has_succeeded: bool,
    failures: u32,
    open: Option<Open>,
}

/// A remote that is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    until: Instant,
    rest: Duration,
    /// A probe is under way.
    probing: bool,
}

impl Breaker {
    /// What may be done now. A probe is given out once for each rest.
    pub fn ask(&mut self, now: Instant) -> Verdict {
        match &mut self.open {
            None => Verdict::Ask,
            Some(open) if now >= open.until => {
                open.until = now + open.rest;
                open.probing = true;
                Verdict::Probe
            }
            Some(_) => Verdict::Rest,
        }
    }

    /// An answer came: also the one that nothing is there.
    pub fn succeeded(&mut self) {
        *self = Breaker { has_succeeded: true, failures: 0, open: None };
    }

    /// None came, or none in time.
    pub fn failed(&mut self, now: Instant) {
        match &mut self.open {
            Some(open) if open.probing => {
                let rest = (open.rest * 2).min(REST_MAX);
                *open = Open { until: now + rest, rest, probing: false };
            }
            // It was under way when others failed.
            Some(_) => {}
            None => {
                self.failures += 1;
                if self.failures >= if self.has_succeeded { FAILURES_MAX } else { 1 } {
                    let until = now + REST_MIN;
                    self.open = Some(Open { until, rest: REST_MIN, probing: false });
                }
            }
        }
    }

    /// Whether builds do without it.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_that_never_answered_is_left_alone_at_once() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        assert_eq!(breaker.ask(now), Verdict::Ask);
        breaker.failed(now);
        assert_eq!(breaker.ask(now), Verdict::Rest);
        assert_eq!(breaker.ask(now + REST_MIN), Verdict::Probe);
        assert_eq!(breaker.ask(now + REST_MIN), Verdict::Rest, "one probe at a time");
        breaker.succeeded();
        assert_eq!(breaker.ask(now + REST_MIN), Verdict::Ask);
    }

    #[test]
    fn one_that_answered_may_fail_now_and_then() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        breaker.succeeded();
        for _ in 1..FAILURES_MAX {
            breaker.failed(now);
            assert_eq!(breaker.ask(now), Verdict::Ask);
        }
        breaker.failed(now);
        assert!(breaker.is_open());
        breaker.succeeded();
        assert!(!breaker.is_open());
    }

    #[test]
    fn rests_grow_to_a_limit() {
        let mut now = Instant::now();
        let mut breaker = Breaker::default();
        breaker.failed(now);
        let mut asked = 0;
        for _ in 0..3_600 {
            now += Duration::from_secs(1);
            if breaker.ask(now) == Verdict::Probe {
                asked += 1;
                breaker.failed(now);
            }
        }
        assert!((50..80).contains(&asked), "{asked} probes in an hour");
    }
}
