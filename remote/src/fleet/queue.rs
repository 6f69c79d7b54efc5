//! Jobs that wait for a slot: the oldest is served first, whoever can be served is served.

use super::acquaintance::{Book, Standing};
use super::{HERE, Target};
use crate::scheduler::{Scheduler, Ticket, Verdict};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Everybody who waits.
#[derive(Default)]
pub(super) struct Queue {
    waiters: VecDeque<Waiter>,
    next_number: u64,
}

/// Where a job goes.
pub(super) enum Place {
    /// There; the ticket gives the slot back.
    Host(Target, Ticket),
    /// To no host; with a reason where one is known.
    Nobody(Option<String>),
}

struct Waiter {
    number: u64,
    targets: Vec<Target>,
    compiler: String,
    cost: u64,
    excluded: Vec<SocketAddr>,
    place: Option<Place>,
    until: Option<Instant>,
}

impl Queue {
    pub(super) fn join(
        &mut self,
        targets: Vec<Target>,
        compiler: &str,
        cost: u64,
        excluded: &[SocketAddr],
    ) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.waiters.push_back(Waiter {
            number,
            targets,
            compiler: compiler.to_owned(),
            cost,
            excluded: excluded.to_vec(),
            place: None,
            until: None,
        });
        number
    }

    /// The place that was found, and the end of the wait.
    pub(super) fn take(&mut self, number: u64) -> Option<Place> {
        let found = self.waiters.iter().any(|w| w.number == number && w.place.is_some());
        if found { self.leave(number) } else { None }
    }

    /// Ends the wait; what was found is given back.
    pub(super) fn leave(&mut self, number: u64) -> Option<Place> {
        let at = self.waiters.iter().position(|waiter| waiter.number == number)?;
        self.waiters.remove(at)?.place
    }

    /// How long nothing will change for this one unless a slot is given back.
    pub(super) fn pause(&self, number: u64, now: Instant) -> Duration {
        let waiter = self.waiters.iter().find(|waiter| waiter.number == number);
        let until = waiter.and_then(|waiter| waiter.until);
        until.map_or(Duration::MAX, |until| until.saturating_duration_since(now))
    }

    /// How many wait for a slot.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.iter().filter(|waiter| waiter.place.is_none()).count()
    }

    pub(super) fn assign(&mut self, scheduler: &mut Scheduler, book: &Book, now: Instant) {
        let mut waiting = self.waiting();
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.place.is_none()) {
            waiter.assign(scheduler, book, waiting, now);
            waiting -= usize::from(waiter.place.is_some());
        }
    }
}

impl Waiter {
    fn assign(&mut self, scheduler: &mut Scheduler, book: &Book, waiting: usize, now: Instant) {
        let mut usable = Vec::new();
        let mut asking = false;
        let mut reason = None;
        for target in &self.targets {
            let standing = match target.address {
                HERE => Standing::Usable,
                address => book.standing(address, &self.compiler, now),
            };
            match standing {
                Standing::Usable => usable.push(target),
                // Somebody else is finding out; the host may be usable in a moment.
                Standing::Asking => asking = true,
                Standing::Other(why) => reason = Some(format!("{}: {why}", target.label)),
            }
        }
        let candidates: Vec<_> = usable.iter().map(|target| target.candidate()).collect();
        match scheduler.pick(&candidates, self.cost, &self.excluded, waiting, now) {
            Verdict::Run { index, ticket } => {
                self.place = Some(Place::Host(usable[index].clone(), ticket));
            }
            Verdict::Wait { until } => self.until = until,
            Verdict::Nobody if asking => self.until = None,
            Verdict::Nobody => self.place = Some(Place::Nobody(reason)),
        }
    }
}
