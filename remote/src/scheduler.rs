//! Decides which host takes the next compile, seeing every build of a user; the clock is an argument.
//!
//! As long as nothing is known of the hosts it goes as in distcc: breadth-first by slot, in list order
//! inside a slot. Then it goes by the time that each host is expected to need:
//!
//! - Of the hosts with a free slot, the fastest; those that are `SIMILAR` to it as in distcc.
//! - A free slot of a slow host is left alone where waiting for a fast one is expected to end
//!   earlier, for this compile or for the last of those that wait behind it.
//! - Nobody knows how long a build goes on, but one that has been busy for a time `T` is likely
//!   to go on for as long again. So a slow slot is taken where it is needed for a small share of
//!   `T` only (`SLOW_SHARE`): whenever the build ends, its tail is then no longer than that.
//! - What is left on slow hosts at the end is cut short by a second run ([`Scheduler::repeat`]).
//!
//! A host that failed gets no compile until somebody who is not waited for has found it well again
//! ([`Scheduler::probes_due`]): no compile is the probe.

mod host;
mod speed;

use host::{Host, Run};
use speed::Speed;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The first back-off after a failure; each failed probe doubles it. distcc's 60 s lose most of a
/// build to a daemon that was restarted.
pub const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
/// So far it grows where a probe costs nothing, as a refused connection does.
pub const BACK_OFF_CHEAP: Duration = Duration::from_secs(5);
/// Where probes cost time, they may cost one part in this many of the time of the host.
pub const BACK_OFF_RATIO: u32 = 20;
/// It grows no further than this, so that a host that hangs is tried once a minute.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// Except where probes say that all is well, and compiles then wait in vain.
pub const BACK_OFF_RELAPSE_MAX: Duration = Duration::from_secs(3600);
/// Addresses that are remembered; those of a cluster come and go while the daemon lives.
pub const HOSTS_KEPT_MAX: usize = 4_096;
/// Up to this ratio of their times two hosts count as equally fast: estimates are no better.
const SIMILAR: f64 = 1.3;
/// From this ratio of its time to the fastest host's a host is slow, and may be passed over.
const SLOW: f64 = 1.6;
/// The share of the time since the fleet was last idle that a compile on a slow host may take.
const SLOW_SHARE: f64 = 0.3;
/// A second run has to be expected to end this many times earlier than the first one …
const REPEAT_GAIN: f64 = 2.0;
/// … and to save this much.
const REPEAT_SAVING: Duration = Duration::from_millis(500);
/// Who waits for a fast slot looks again no sooner than this …
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(20);
/// … and no later: what was expected may have turned out wrong.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(5);

/// An address that may compile, with the slots that the host list of the call gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it listens.
    pub address: SocketAddr,
    /// Compiles at one time; those of all builds count.
    pub slots: usize,
}

/// What to do with a compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it; the slot is taken, until [`Scheduler::released`] gets the ticket.
    Run {
        /// Of the candidate.
        index: usize,
        /// Stands for this run.
        ticket: Ticket,
    },
    /// Ask again after a release or a probe, or at this time if none comes before.
    Wait {
        /// `None`: one of them comes first.
        until: Option<Instant>,
    },
    /// No candidate is to be used now: compile here.
    Nobody,
}

/// One run on one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The host answered in full; also with a compile error.
    Completed,
    /// The host or the wire is to blame.
    HostFailed,
    /// The host was waited for in vain.
    HostHung,
    /// Nothing was learned of the host: the client left, another run was faster, or the unit is
    /// to blame.
    Cancelled,
}

/// What is known of an address.
#[derive(Clone, Debug, PartialEq)]
pub struct HostReport {
    /// Which.
    pub address: SocketAddr,
    /// Compiles that it has now.
    pub in_flight: usize,
    /// Compiles that it answered.
    pub completed: u64,
    /// Compiles that it failed.
    pub failed: u64,
    /// It is not used until a probe finds it well, and not probed for this long.
    pub backing_off_for: Option<Duration>,
    /// Bytes of text per second; `None` as long as nothing is known.
    pub speed: Option<f64>,
}

/// The state of all hosts.
#[derive(Default)]
pub struct Scheduler {
    hosts: HashMap<SocketAddr, Host>,
    /// Where each run is.
    running: HashMap<Ticket, SocketAddr>,
    tickets: u64,
    /// Of all hosts together: what a host is taken for as long as little is known of it.
    typical: Speed,
    /// Since when some host had a run at all times.
    busy_since: Option<Instant>,
}

/// A candidate that can be used now or soon.
struct Offer {
    index: usize,
    address: SocketAddr,
    in_flight: usize,
    free: bool,
    /// The time it is expected to need; the same for all while nothing is known.
    seconds: f64,
}

impl Scheduler {
    /// Decides about the compile that has waited longest. `cost` is the size of its text in bytes,
    /// `waiting` the number of compiles that wait for a slot, this one included.
    pub fn pick(
        &mut self,
        candidates: &[Candidate],
        cost: u64,
        excluded: &[SocketAddr],
        waiting: usize,
        now: Instant,
    ) -> Verdict {
        for candidate in candidates {
            self.want(candidate.address);
        }
        let offers = self.offers(candidates, cost, excluded, now);
        let Some(chosen) = best_free(&offers) else {
            return match offers.is_empty() {
                true => Verdict::Nobody,
                false => Verdict::Wait { until: None },
            };
        };
        if let Some(until) = self.better_to_wait(&offers, chosen, waiting, now) {
            return Verdict::Wait { until: Some(until) };
        }
        let (index, address) = (chosen.index, chosen.address);
        Verdict::Run { index, ticket: self.take(address, cost, now) }
    }

    /// Gives the slot of a run back. A ticket that was given back already means nothing.
    pub fn released(&mut self, ticket: Ticket, ended: Ended, now: Instant) {
        let Some(address) = self.running.remove(&ticket) else { return };
        if self.running.is_empty() {
            self.busy_since = None;
        }
        let Some(host) = self.hosts.get_mut(&address) else { return };
        let expected = host.seconds_of(ticket, &self.typical, now);
        let Some(run) = host.remove(ticket, now) else { return };
        let took = now.saturating_duration_since(run.started);
        match ended {
            Ended::Completed => {
                host.succeeded(now);
                host.speed.learn(run.cost, took, now);
                self.typical.learn(run.cost, took, now);
            }
            Ended::HostFailed => host.failed(run.started, false, now),
            Ended::HostHung => host.failed(run.started, true, now),
            // It would have taken longer than expected, nobody knows how much.
            Ended::Cancelled if expected.is_some_and(|expected| took.as_secs_f64() > expected) => {
                host.speed.learn(run.cost, took, now);
            }
            Ended::Cancelled => {}
        }
    }

    /// What an address did turns out to be wrong after its slot was given back.
    pub fn failed(&mut self, address: SocketAddr, now: Instant) {
        if let Some(host) = self.hosts.get_mut(&address) {
            host.failed(now, false, now);
        }
    }

    /// The runs that may be worth a second one, the latest first: to be asked for now and then, and
    /// whenever a slot becomes free, before that is handed out.
    ///
    /// While others wait a slot is worth more, so then it is only those that are expected to go on for
    /// longer than the fleet has been busy: the build would end up waiting for them.
    pub fn late(&self, waiting: usize, now: Instant) -> Vec<Ticket> {
        let speeds = self.hosts.values().filter_map(|host| host.speed_now(&self.typical, now));
        let fastest = speeds.fold(0.0, f64::max);
        let least = match waiting {
            0 => REPEAT_SAVING.as_secs_f64(),
            _ => self.busy_for(now),
        };
        let hosts = self.hosts.values();
        let runs = hosts.flat_map(|host| host.expected(&self.typical, now));
        let mut late: Vec<(f64, Ticket)> = runs
            .filter(|(run, remaining)| {
                *remaining > least && *remaining > REPEAT_GAIN * run.cost as f64 / fastest
            })
            .map(|(run, remaining)| (remaining, run.ticket))
            .collect();
        late.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        late.into_iter().map(|(_, ticket)| ticket).collect()
    }

    /// Starts a second run of a compile elsewhere where that is expected to end much earlier; the
    /// first answer counts, the other run ends as [`Ended::Cancelled`]. To be asked for the runs
    /// that are [`Scheduler::late`].
    pub fn repeat(
        &mut self,
        ticket: Ticket,
        candidates: &[Candidate],
        excluded: &[SocketAddr],
        now: Instant,
    ) -> Option<(usize, Ticket)> {
        let on = *self.running.get(&ticket)?;
        let host = self.hosts.get(&on)?;
        let remaining = host.remaining(ticket, &self.typical, now)?;
        let cost = host.cost(ticket)?;
        let offers = self.offers(candidates, cost, excluded, now);
        let elsewhere = offers.iter().filter(|offer| offer.free && offer.address != on);
        let best = elsewhere.min_by(|a, b| a.seconds.total_cmp(&b.seconds))?;
        let needed = (best.seconds * REPEAT_GAIN).max(best.seconds + REPEAT_SAVING.as_secs_f64());
        let (index, address) = (best.index, best.address);
        (needed < remaining).then(|| (index, self.take(address, cost, now)))
    }

    /// Whether an address is not to be used now because it failed.
    pub fn is_out(&self, address: SocketAddr) -> bool {
        self.hosts.get(&address).is_some_and(Host::is_out)
    }

    /// A compile would use this address; a host that nobody wants is not probed. Whether that is news.
    pub fn want(&mut self, address: SocketAddr) -> bool {
        self.hosts.get_mut(&address).is_some_and(Host::want)
    }

    /// Whether a run is lost, as its host hangs: to be asked for now and then.
    pub fn is_lost(&self, ticket: Ticket) -> bool {
        let host = self.running.get(&ticket).and_then(|address| self.hosts.get(address));
        host.is_some_and(|host| host.is_lost(ticket))
    }

    /// The hosts that are to be probed now, at most so many; [`Scheduler::probed`] is due for each.
    pub fn probes_due(&mut self, count_max: usize, now: Instant) -> Vec<SocketAddr> {
        let due = |host: &Host| host.probe_due().is_some_and(|due| due <= now);
        let due: Vec<_> =
            self.hosts.iter_mut().filter(|(_, host)| due(host)).take(count_max).collect();
        due.into_iter()
            .map(|(address, host)| {
                host.begin_probe();
                *address
            })
            .collect()
    }

    /// When the next one is due.
    pub fn next_probe(&self) -> Option<Instant> {
        self.hosts.values().filter_map(Host::probe_due).min()
    }

    /// What a probe found that began then.
    pub fn probed(&mut self, address: SocketAddr, started: Instant, is_well: bool, now: Instant) {
        if let Some(host) = self.hosts.get_mut(&address) {
            host.end_probe(started, is_well, now);
        }
    }

    /// Every address that was used, in order.
    pub fn reports(&self, now: Instant) -> Vec<HostReport> {
        let mut reports: Vec<HostReport> = self
            .hosts
            .iter()
            .map(|(address, host)| HostReport {
                address: *address,
                in_flight: host.in_flight(),
                completed: host.completed,
                failed: host.failed,
                backing_off_for: host.backing_off_for(now),
                speed: host.speed_now(&self.typical, now),
            })
            .collect();
        reports.sort_by_key(|report| report.address);
        reports
    }

    fn take(&mut self, address: SocketAddr, cost: u64, now: Instant) -> Ticket {
        self.forget_hosts();
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.busy_since.get_or_insert(now);
        self.running.insert(ticket, address);
        self.hosts.entry(address).or_default().add(Run { ticket, cost, started: now });
        ticket
    }

    /// Makes room for one more: the address goes that had nothing to do for the longest time.
    fn forget_hosts(&mut self) {
        if self.hosts.len() < HOSTS_KEPT_MAX {
            return;
        }
        let idle = self.hosts.iter().filter(|(_, host)| host.in_flight() == 0);
        let oldest = idle.min_by_key(|(_, host)| host.last_release).map(|(address, _)| *address);
        if let Some(address) = oldest {
            self.hosts.remove(&address);
        }
    }

    /// The candidates that are not excluded and not out, in list order.
    fn offers(
        &self,
        candidates: &[Candidate],
        cost: u64,
        excluded: &[SocketAddr],
        now: Instant,
    ) -> Vec<Offer> {
        let unknown = Host::default();
        let mut offers = Vec::with_capacity(candidates.len());
        for (index, Candidate { address, slots }) in candidates.iter().enumerate() {
            let host = self.hosts.get(address).unwrap_or(&unknown);
            if excluded.contains(address) || *slots == 0 || host.is_out() {
                continue;
            }
            let free = host.in_flight() < *slots;
            let seconds = host.seconds(cost, &self.typical, now).unwrap_or(1.0);
            let in_flight = host.in_flight();
            offers.push(Offer { index, address: *address, in_flight, free, seconds });
        }
        offers
    }

    /// When to look again, where the chosen slot is so slow that waiting for a fast one ends earlier.
    fn better_to_wait(
        &self,
        offers: &[Offer],
        chosen: &Offer,
        waiting: usize,
        now: Instant,
    ) -> Option<Instant> {
        let fastest = offers.iter().map(|offer| offer.seconds).fold(f64::INFINITY, f64::min);
        if chosen.seconds <= SLOW * fastest || chosen.seconds <= SLOW_SHARE * self.busy_for(now) {
            return None;
        }
        let faster = offers.iter().filter(|offer| offer.seconds * SLOW < chosen.seconds);
        let mut releases: Vec<f64> = faster
            .filter_map(|offer| self.hosts.get(&offer.address))
            .flat_map(|host| host.expected(&self.typical, now))
            .map(|(_, remaining)| remaining)
            .collect();
        releases.sort_by(f64::total_cmp);
        // Where more wait than fast slots there are, the last of them waits several rounds.
        let rounds = waiting.max(1).div_ceil(releases.len().max(1)) - 1;
        let position = (waiting.max(1) - 1) % releases.len().max(1);
        let wait = releases.get(position)? + rounds as f64 * fastest;
        let soon = releases[0].clamp(LOOK_AGAIN_MIN.as_secs_f64(), LOOK_AGAIN_MAX.as_secs_f64());
        let soon = Duration::from_secs_f64(soon);
        (wait + fastest < chosen.seconds).then(|| now + soon)
    }

    /// The seconds since the fleet was last idle.
    fn busy_for(&self, now: Instant) -> f64 {
        let busy = self.busy_since.map(|since| now.saturating_duration_since(since));
        busy.unwrap_or_default().as_secs_f64()
    }
}

/// Of the free ones the fastest, and of those like it the one with the fewest runs.
fn best_free(offers: &[Offer]) -> Option<&Offer> {
    let free = || offers.iter().filter(|offer| offer.free);
    let fastest = free().map(|offer| offer.seconds).fold(f64::INFINITY, f64::min);
    let similar = free().filter(|offer| offer.seconds <= SIMILAR * fastest);
    similar.min_by_key(|offer| (offer.in_flight, offer.index))
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
