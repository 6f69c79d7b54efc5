//! What the scheduler knows of one address: its runs, its speed, its failures.

use super::speed::Speed;
use super::{
    BACK_OFF_CHEAP, BACK_OFF_FIRST, BACK_OFF_MAX, BACK_OFF_RATIO, BACK_OFF_RELAPSE_MAX, Ticket,
};
use std::time::{Duration, Instant};

/// A run that is overdue is expected to go on for this share of its age: who is late stays late.
const OVERDUE_SHARE: f64 = 0.5;

/// One address.
#[derive(Default)]
pub(super) struct Host {
    runs: Vec<Run>,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) speed: Speed,
    pub(super) last_release: Option<Instant>,
    /// When it last answered a compile.
    completed_at: Option<Instant>,
    trouble: Option<Trouble>,
    /// The back-off of a trouble that a probe ended, as long as no compile was answered since.
    probation: Option<Duration>,
}

/// A compile that is under way.
pub(super) struct Run {
    pub(super) ticket: Ticket,
    pub(super) cost: u64,
    pub(super) started: Instant,
}

/// It failed, and has not answered since.
struct Trouble {
    since: Instant,
    back_off: Duration,
    /// It said nothing for too long.
    hangs: bool,
    /// A compile would have used it since.
    wanted: bool,
    /// A probe is under way.
    probed: bool,
}

impl Trouble {
    fn due(&self) -> Option<Instant> {
        (self.wanted && !self.probed).then_some(self.since + self.back_off)
    }
}

impl Host {
    pub(super) fn in_flight(&self) -> usize {
        self.runs.len()
    }

    pub(super) fn add(&mut self, run: Run) {
        self.runs.push(run);
    }

    pub(super) fn remove(&mut self, ticket: Ticket, now: Instant) -> Option<Run> {
        let position = self.runs.iter().position(|run| run.ticket == ticket)?;
        self.last_release = Some(now);
        Some(self.runs.swap_remove(position))
    }

    pub(super) fn succeeded(&mut self, now: Instant) {
        self.completed += 1;
        self.completed_at = Some(now);
        self.trouble = None;
        self.probation = None;
    }

    /// The runs of a host that dies fail together: one that started before the last failure is
    /// part of it, and tells nothing new.
    pub(super) fn failed(&mut self, started: Instant, hangs: bool, now: Instant) {
        self.failed += 1;
        if let Some(trouble) = &mut self.trouble
            && started < trouble.since
        {
            trouble.hangs |= hangs;
            return;
        }
        self.fall_ill(started, hangs, true, now);
    }

    fn fall_ill(&mut self, started: Instant, hangs: bool, wanted: bool, now: Instant) {
        let took = now.saturating_duration_since(started);
        let lost = BACK_OFF_RATIO * took.min(BACK_OFF_RELAPSE_MAX);
        let longer = |last: Duration, most: Duration| {
            (2 * last).min(lost.clamp(BACK_OFF_CHEAP, most)).max(BACK_OFF_FIRST)
        };
        let back_off = match (&self.trouble, self.probation) {
            (Some(trouble), _) => longer(trouble.back_off, BACK_OFF_MAX),
            // What a probe cannot see, a compile has paid for: that has its price.
            (None, Some(last)) if lost > BACK_OFF_CHEAP => {
                lost.clamp(last, BACK_OFF_RELAPSE_MAX.max(last))
            }
            (None, Some(last)) => longer(last, BACK_OFF_MAX),
            (None, None) => BACK_OFF_FIRST,
        };
        self.trouble = Some(Trouble { since: now, back_off, hangs, wanted, probed: false });
    }

    /// A compile would use it. Whether that is news for whoever probes.
    pub(super) fn want(&mut self) -> bool {
        let trouble = self.trouble.as_mut();
        trouble.is_some_and(|trouble| !std::mem::replace(&mut trouble.wanted, true))
    }

    /// When it may be probed.
    pub(super) fn probe_due(&self) -> Option<Instant> {
        self.trouble.as_ref().and_then(Trouble::due)
    }

    pub(super) fn begin_probe(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.probed = true;
        }
    }

    pub(super) fn end_probe(&mut self, started: Instant, is_well: bool, now: Instant) {
        let Some(trouble) = &self.trouble else { return };
        match is_well {
            true => {
                self.probation = Some(trouble.back_off);
                self.trouble = None;
            }
            false => self.fall_ill(started, trouble.hangs, false, now),
        }
    }

    /// It failed, and nobody knows that it is well again.
    pub(super) fn is_out(&self) -> bool {
        self.trouble.is_some()
    }

    /// Whether a run is lost: another one was waited for in vain, and none was answered meanwhile.
    pub(super) fn is_lost(&self, ticket: Ticket) -> bool {
        let Some(run) = self.runs.iter().find(|run| run.ticket == ticket) else { return false };
        let hangs = self.trouble.as_ref().filter(|trouble| trouble.hangs);
        hangs.is_some_and(|trouble| run.started <= trouble.since)
            && self.completed_at.is_none_or(|at| at < run.started)
    }

    /// How long it is not even asked.
    pub(super) fn backing_off_for(&self, now: Instant) -> Option<Duration> {
        let trouble = self.trouble.as_ref()?;
        Some((trouble.since + trouble.back_off).saturating_duration_since(now))
    }

    pub(super) fn speed_now(&self, typical: &Speed, now: Instant) -> Option<f64> {
        let before = self.speed.estimate(typical, std::iter::empty(), now)?;
        let overdue = self.runs.iter().filter_map(|run| {
            let age = now.saturating_duration_since(run.started);
            (age.as_secs_f64() > run.cost as f64 / before).then_some((run.cost, age))
        });
        self.speed.estimate(typical, overdue, now)
    }

    /// The time that a compile is expected to need here.
    pub(super) fn seconds(&self, cost: u64, typical: &Speed, now: Instant) -> Option<f64> {
        self.speed_now(typical, now).map(|speed| cost.max(1) as f64 / speed)
    }

    /// The same for a run, from its start.
    pub(super) fn seconds_of(&self, ticket: Ticket, typical: &Speed, now: Instant) -> Option<f64> {
        let before = self.speed.estimate(typical, std::iter::empty(), now)?;
        self.cost(ticket).map(|cost| cost as f64 / before)
    }

    pub(super) fn cost(&self, ticket: Ticket) -> Option<u64> {
        self.runs.iter().find(|run| run.ticket == ticket).map(|run| run.cost)
    }

    /// The seconds until a run is expected to end.
    pub(super) fn remaining(&self, ticket: Ticket, typical: &Speed, now: Instant) -> Option<f64> {
        let run = self.runs.iter().find(|run| run.ticket == ticket)?;
        self.speed_now(typical, now).map(|speed| remaining(run, speed, now))
    }

    /// The runs, each with the seconds until it is expected to end.
    pub(super) fn expected(&self, typical: &Speed, now: Instant) -> Vec<(&Run, f64)> {
        let Some(speed) = self.speed_now(typical, now) else { return Vec::new() };
        self.runs.iter().map(|run| (run, remaining(run, speed, now))).collect()
    }
}

fn remaining(run: &Run, speed: f64, now: Instant) -> f64 {
    let age = now.saturating_duration_since(run.started).as_secs_f64();
    (run.cost as f64 / speed - age).max(age * OVERDUE_SHARE)
}
