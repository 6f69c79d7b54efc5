//! What the scheduler knows of one address: its runs, its speed, its failures.

use super::speed::Speed;
use super::{BACK_OFF_CHEAP, BACK_OFF_FIRST, BACK_OFF_MAX, BACK_OFF_RATIO, Ticket};
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
    trouble: Option<Trouble>,
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
}

/// Whether a host may have another run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// As many as it has slots.
    Open,
    /// Not yet.
    BackedOff,
    /// One, to see whether it works again.
    Trial,
    /// That one is under way.
    OnTrial,
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

    pub(super) fn succeeded(&mut self) {
        self.completed += 1;
        self.trouble = None;
    }

    /// The runs of a host that dies fail together: one that started before the last failure is
    /// part of it, and tells nothing new.
    pub(super) fn failed(&mut self, started: Instant, now: Instant) {
        self.failed += 1;
        let back_off = match &self.trouble {
            Some(trouble) if started < trouble.since => return,
            Some(trouble) => {
                let lost =
                    BACK_OFF_RATIO * now.saturating_duration_since(started).min(BACK_OFF_MAX);
                (2 * trouble.back_off).min(lost.clamp(BACK_OFF_CHEAP, BACK_OFF_MAX))
            }
            None => BACK_OFF_FIRST,
        };
        self.trouble = Some(Trouble { since: now, back_off });
    }

    pub(super) fn access(&self, now: Instant) -> Access {
        match &self.trouble {
            None => Access::Open,
            Some(trouble) if now < trouble.since + trouble.back_off => Access::BackedOff,
            Some(trouble) if self.runs.iter().any(|run| run.started > trouble.since) => {
                Access::OnTrial
            }
            Some(_) => Access::Trial,
        }
    }

    pub(super) fn backing_off_until(&self, now: Instant) -> Option<Instant> {
        let until = self.trouble.as_ref().map(|trouble| trouble.since + trouble.back_off);
        until.filter(|until| *until > now)
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
