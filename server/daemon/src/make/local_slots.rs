//! How many compilers and preprocessors run on this machine at one time, over all builds; preprocessors first, else
//! first come, first served.
//!
//! A slot is not counted while its holder is stopped, nor after a time in which a compiler should be
//! done: the number spares the machine, and is no reason for a build to stand still.

use std::io;
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use talk::party::{Party, Process};

/// How often a waiting caller looks up, to show its launcher a sign of life.
const LOOK_UP: Duration = Duration::from_millis(500);

/// A slot that was held for this long is looked at when somebody waits.
const HOLD_USUAL: Duration = Duration::from_millis(500);

/// A slot that was held for this long is not counted: its holder may be stopped in a way that cannot be
/// seen from here.
const HOLD_MAX: Duration = Duration::from_secs(600);

/// A caller with a lower limit than others have goes first after this long, and their limit holds for
/// it: while they are busy, its own would never be met.
const OVERTAKEN_MAX: Duration = Duration::from_secs(10);

/// The slots of this machine.
#[derive(Default)]
pub struct LocalSlots {
    state: Mutex<State>,
}

/// What a slot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A preprocessor run goes before every compile: it is short, and the cluster waits for it.
    Preprocess,
    /// A compile.
    Compile,
}

#[derive(Default)]
struct State {
    holders: Vec<Holder>,
    /// In the order in which they came.
    waiters: Vec<Waiter>,
    next_number: u64,
    used_most: usize,
    looked_at: Option<Instant>,
}

struct Holder {
    number: u64,
    process: Process,
    since: Instant,
    /// It does not go on, and others need not wait for it.
    is_held_up: bool,
}

struct Waiter {
    number: u64,
    purpose: Purpose,
    limit: usize,
    since: Instant,
    /// It is stopped, and would only hold what others can use.
    is_stopped: bool,
    thread: Thread,
}

impl State {
    fn used(&self) -> usize {
        self.holders.iter().filter(|holder| !holder.is_held_up).count()
    }

    /// Who gets the next slot, if anybody does. One without room holds up nobody who has some.
    fn next(&self, now: Instant) -> Option<&Waiter> {
        let used = self.used();
        let limit_most = self.waiters.iter().map(|waiter| waiter.limit).max()?;
        let find = |wanted: &dyn Fn(&Waiter) -> bool| {
            self.waiters.iter().find(|waiter| !waiter.is_stopped && wanted(waiter))
        };
        let is_overtaken = |waiter: &Waiter| {
            waiter.limit < limit_most && now.duration_since(waiter.since) >= OVERTAKEN_MAX
        };
        find(&|waiter| is_overtaken(waiter) && used < limit_most)
            .or_else(|| find(&|w| w.purpose == Purpose::Preprocess && used < w.limit))
            .or_else(|| find(&|waiter| used < waiter.limit))
    }

    fn is_turn_of(&self, number: u64) -> bool {
        self.next(Instant::now()).is_some_and(|next| next.number == number)
    }

    /// One alone: of all that wait in a wide build, the others would look up in vain.
    fn wake_next(&self) {
        if let Some(next) = self.next(Instant::now()) {
            next.thread.unpark();
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn leave(&mut self, number: u64) {
        self.waiters.retain(|waiter| waiter.number != number);
    }

    fn hold(&mut self, number: u64, process: Process) {
        self.holders.push(Holder { number, process, since: Instant::now(), is_held_up: false });
        self.used_most = self.used_most.max(self.used());
    }

    /// Holders of which to find out whether they go on; nobody else needs to for a while.
    fn doubtful(&mut self, now: Instant) -> Vec<(u64, Process, bool)> {
        if self.looked_at.is_some_and(|at| now.duration_since(at) < LOOK_UP) {
            return Vec::new();
        }
        self.looked_at = Some(now);
        let age = |holder: &Holder| now.duration_since(holder.since);
        let doubtful = self.holders.iter().filter(|holder| age(holder) >= HOLD_USUAL);
        doubtful.map(|holder| (holder.number, holder.process, age(holder) >= HOLD_MAX)).collect()
    }
}

/// One slot; given back when dropped.
pub struct Slot<'s> {
    slots: &'s LocalSlots,
    number: u64,
}

impl LocalSlots {
    /// Waits for a slot while `limit` or more are in use; without a limit there is always one.
    ///
    /// # Errors
    /// The caller is gone.
    pub fn acquire<P: Party>(
        &self,
        purpose: Purpose,
        limit: Option<usize>,
        caller: &mut P,
    ) -> io::Result<Slot<'_>> {
        let process = caller.process();
        let mut state = self.lock();
        let number = state.number();
        if let Some(limit) = limit {
            let (limit, since, thread) = (limit.max(1), Instant::now(), thread::current());
            let is_stopped = false;
            state.waiters.push(Waiter { number, purpose, limit, since, is_stopped, thread });
            while !state.is_turn_of(number) {
                drop(state);
                thread::park_timeout(LOOK_UP);
                let waiting = caller.still_waiting();
                self.look_at_holders();
                let is_stopped = process.is_stopped();
                state = self.lock();
                if let Err(error) = waiting {
                    state.leave(number);
                    state.wake_next();
                    return Err(error);
                }
                let mut waiters = state.waiters.iter_mut();
                if let Some(waiter) = waiters.find(|waiter| waiter.number == number) {
                    waiter.is_stopped = is_stopped;
                }
                // Whoever was woken for a slot and cannot take it lets the next one know.
                if is_stopped {
                    state.wake_next();
                }
            }
            state.leave(number);
        }
        state.hold(number, process);
        // The next in line may find a slot as well.
        state.wake_next();
        drop(state);
        Ok(Slot { slots: self, number })
    }

    /// Finds out which holders go on. /proc is read meanwhile, so nobody is kept from the state.
    fn look_at_holders(&self) {
        let now = Instant::now();
        let doubtful = self.lock().doubtful(now);
        let found: Vec<(u64, bool)> = doubtful
            .into_iter()
            .map(|(number, process, too_long)| (number, too_long || process.is_held_up()))
            .collect();
        let mut state = self.lock();
        for (number, is_held_up) in found {
            let mut holders = state.holders.iter_mut();
            if let Some(holder) = holders.find(|holder| holder.number == number) {
                holder.is_held_up = is_held_up;
            }
        }
        state.wake_next();
    }

    /// Slots in use, and callers in the queue.
    pub fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.used(), state.waiters.len())
    }

    /// The most slots that were ever in use at one time.
    pub fn used_most(&self) -> usize {
        self.lock().used_most
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        state.holders.retain(|holder| holder.number != self.number);
        state.wake_next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, Signal, kill_process};
    use std::process::{Child, Command};

    /// A caller with a process, which is there, or gone at the first look.
    struct Caller(Process, bool);

    impl Party for Caller {
        fn process(&self) -> Process {
            self.0
        }

        fn still_waiting(&mut self) -> io::Result<()> {
            if self.1 { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        }
    }

    fn caller() -> Caller {
        Caller(Process::default(), true)
    }

    /// A process that is stopped.
    struct Stopped(Child);

    impl Stopped {
        fn start() -> Stopped {
            let stopped = Stopped(Command::new("sleep").arg("1000").spawn().unwrap());
            kill_process(Pid::from_child(&stopped.0), Signal::STOP).unwrap();
            while !stopped.process().is_stopped() {
                std::thread::yield_now();
            }
            stopped
        }

        fn process(&self) -> Process {
            Process::new(self.0.id() as i32)
        }
    }

    impl Drop for Stopped {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn never_more_than_the_limit_run() {
        let slots = LocalSlots::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    let _slot = slots.acquire(Purpose::Compile, Some(3), &mut caller()).unwrap();
                    assert!(slots.load().0 <= 3);
                    std::thread::yield_now();
                });
            }
        });
        assert_eq!(slots.load(), (0, 0));
        assert!(slots.used_most() <= 3);
    }

    #[test]
    fn preprocessors_go_first() {
        let slots = LocalSlots::default();
        let order = Mutex::new(Vec::new());
        let held = slots.acquire(Purpose::Compile, Some(1), &mut caller()).unwrap();
        std::thread::scope(|scope| {
            for (waiting, purpose) in [(1, Purpose::Compile), (2, Purpose::Preprocess)] {
                let (slots, order) = (&slots, &order);
                scope.spawn(move || {
                    let _slot = slots.acquire(purpose, Some(1), &mut caller()).unwrap();
                    order.lock().unwrap().push(purpose);
                });
                while slots.load().1 < waiting {
                    std::thread::yield_now();
                }
            }
            drop(held);
        });
        assert_eq!(*order.lock().unwrap(), [Purpose::Preprocess, Purpose::Compile]);
    }

    #[test]
    fn a_caller_that_is_gone_leaves_the_queue() {
        let slots = LocalSlots::default();
        let slot = slots.acquire(Purpose::Compile, Some(1), &mut caller()).unwrap();
        let mut gone = Caller(Process::default(), false);
        assert!(slots.acquire(Purpose::Compile, Some(1), &mut gone).is_err());
        assert_eq!(slots.load(), (1, 0));
        drop(slot);
        assert!(slots.acquire(Purpose::Compile, Some(1), &mut caller()).is_ok());
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let slots = LocalSlots::default();
        let held: Vec<_> = (0..100)
            .map(|_| slots.acquire(Purpose::Compile, None, &mut caller()).unwrap())
            .collect();
        assert_eq!(slots.load(), (100, 0));
        drop(held);
        assert_eq!(slots.load(), (0, 0));
    }

    #[test]
    fn who_is_stopped_holds_up_nobody() {
        let (slots, stopped) = (LocalSlots::default(), Stopped::start());
        let mut holder = Caller(stopped.process(), true);
        let held = slots.acquire(Purpose::Compile, Some(1), &mut holder).unwrap();
        let slot = slots.acquire(Purpose::Compile, Some(1), &mut caller()).unwrap();
        assert_eq!(slots.load(), (1, 0));
        std::thread::scope(|scope| {
            // One that is stopped while it waits does not take the slot of one that comes later.
            let waiter = scope.spawn(|| {
                let mut waiter = Caller(stopped.process(), true);
                drop(slots.acquire(Purpose::Compile, Some(1), &mut waiter).unwrap());
            });
            while slots.load().1 < 1 {
                std::thread::yield_now();
            }
            let later = scope.spawn(|| {
                drop(slots.acquire(Purpose::Compile, Some(1), &mut caller()).unwrap());
            });
            while slots.load().1 < 2 {
                std::thread::yield_now();
            }
            drop(slot);
            later.join().unwrap();
            let process = Pid::from_child(&stopped.0);
            kill_process(process, Signal::CONT).unwrap();
            kill_process(process, Signal::KILL).unwrap();
            drop(held);
            waiter.join().unwrap();
        });
        assert_eq!(slots.load(), (0, 0));
    }

    fn waiter(number: u64, purpose: Purpose, limit: usize, since: Instant) -> Waiter {
        Waiter { number, purpose, limit, since, is_stopped: false, thread: thread::current() }
    }

    #[test]
    fn a_lower_limit_holds_up_nobody_and_is_not_forgotten() {
        let start = Instant::now();
        let mut state = State::default();
        (0..3).for_each(|number| state.hold(number, Process::default()));
        state.waiters.push(waiter(10, Purpose::Preprocess, 2, start));
        state.waiters.push(waiter(11, Purpose::Compile, 1, start));
        state.waiters.push(waiter(12, Purpose::Compile, 4, start));
        let next = |state: &State, now| state.next(now).map(|waiter| waiter.number);
        assert_eq!(next(&state, start), Some(12), "it alone has room");
        assert_eq!(next(&state, start + OVERTAKEN_MAX), Some(10), "it has waited for too long");
        state.hold(3, Process::default());
        assert_eq!(next(&state, start + OVERTAKEN_MAX), None);
        state.holders.truncate(1);
        assert_eq!(next(&state, start), Some(10));
        state.holders.clear();
        state.waiters[0].is_stopped = true;
        assert_eq!(next(&state, start), Some(11));
    }

    #[test]
    fn a_slot_is_not_held_without_end() {
        let mut state = State::default();
        state.hold(1, Process::default());
        let now = Instant::now();
        assert!(state.doubtful(now).is_empty());
        assert!(state.doubtful(now + LOOK_UP / 2).is_empty());
        let later = state.doubtful(now + LOOK_UP * 2);
        assert_eq!(later, [(1, Process::default(), false)]);
        let much_later = state.doubtful(now + HOLD_MAX + LOOK_UP);
        assert_eq!(much_later, [(1, Process::default(), true)]);
    }
}
