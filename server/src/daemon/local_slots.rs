//! How many compilers and preprocessors run on this machine at one time, over all builds; preprocessors first, else first come, first served.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::Duration;

/// How often a waiting caller looks up, to show its launcher a sign of life.
const LOOK_UP: Duration = Duration::from_millis(500);

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
    used: usize,
    used_most: usize,
    next_number: u64,
    preprocess: VecDeque<Waiter>,
    compile: VecDeque<Waiter>,
}

struct Waiter {
    number: u64,
    limit: usize,
    thread: Thread,
}

impl State {
    fn queue(&mut self, purpose: Purpose) -> &mut VecDeque<Waiter> {
        match purpose {
            Purpose::Preprocess => &mut self.preprocess,
            Purpose::Compile => &mut self.compile,
        }
    }

    /// Who gets the next slot.
    fn next(&self) -> Option<&Waiter> {
        self.preprocess.front().or(self.compile.front())
    }

    fn is_turn_of(&self, number: u64) -> bool {
        self.next().is_some_and(|next| next.number == number && self.used < next.limit)
    }

    /// One alone: of all that wait in a wide build, the others would look up in vain.
    fn wake_next(&self) {
        if let Some(next) = self.next().filter(|next| self.used < next.limit) {
            next.thread.unpark();
        }
    }
}

/// One slot; given back when dropped.
pub struct Slot<'s>(&'s LocalSlots);

impl LocalSlots {
    /// Waits for a slot while `limit` or more are in use. `still_waiting` is called now and then;
    /// its error (the caller is gone) ends the wait.
    pub fn acquire(
        &self,
        purpose: Purpose,
        limit: usize,
        mut still_waiting: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Slot<'_>> {
        let mut state = self.lock();
        let number = state.next_number;
        state.next_number += 1;
        let limit = limit.max(1);
        state.queue(purpose).push_back(Waiter { number, limit, thread: thread::current() });
        while !state.is_turn_of(number) {
            drop(state);
            thread::park_timeout(LOOK_UP);
            let waiting = still_waiting();
            state = self.lock();
            if let Err(error) = waiting {
                state.queue(purpose).retain(|waiter| waiter.number != number);
                state.wake_next();
                return Err(error);
            }
        }
        state.queue(purpose).pop_front();
        state.used += 1;
        state.used_most = state.used_most.max(state.used);
        // The next in line may find a slot as well.
        state.wake_next();
        drop(state);
        Ok(Slot(self))
    }

    /// Slots in use, and callers in the queue.
    pub fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.used, state.preprocess.len() + state.compile.len())
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
        let mut state = self.0.lock();
        state.used -= 1;
        state.wake_next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_limit_run() {
        let slots = LocalSlots::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    let _slot = slots.acquire(Purpose::Compile, 3, || Ok(())).unwrap();
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
        let held = slots.acquire(Purpose::Compile, 1, || Ok(())).unwrap();
        std::thread::scope(|scope| {
            for (waiting, purpose) in [(1, Purpose::Compile), (2, Purpose::Preprocess)] {
                let (slots, order) = (&slots, &order);
                scope.spawn(move || {
                    let _slot = slots.acquire(purpose, 1, || Ok(())).unwrap();
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
        let slot = slots.acquire(Purpose::Compile, 1, || Ok(())).unwrap();
        assert!(
            slots.acquire(Purpose::Compile, 1, || Err(io::ErrorKind::BrokenPipe.into())).is_err()
        );
        assert_eq!(slots.load(), (1, 0));
        drop(slot);
        assert!(slots.acquire(Purpose::Compile, 1, || Ok(())).is_ok());
    }
}
