//! How many compilers and preprocessors run on this machine at one time, over all builds; first come, first served.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// How often a waiting caller looks up, to show its launcher a sign of life.
const LOOK_UP: Duration = Duration::from_millis(500);

/// The slots of this machine.
#[derive(Default)]
pub struct LocalSlots {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    used: usize,
    used_most: usize,
    next_number: u64,
    queue: VecDeque<u64>,
}

/// One slot; given back when dropped.
pub struct Slot<'s>(&'s LocalSlots);

impl LocalSlots {
    /// Waits for a slot while `limit` or more are in use. `still_waiting` is called now and then;
    /// its error (the caller is gone) ends the wait.
    pub fn acquire(
        &self,
        limit: usize,
        mut still_waiting: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Slot<'_>> {
        let mut state = self.lock();
        let number = state.next_number;
        state.next_number += 1;
        state.queue.push_back(number);
        while state.used >= limit.max(1) || state.queue.front() != Some(&number) {
            state = match self.freed.wait_timeout(state, LOOK_UP) {
                Ok((state, _)) => state,
                Err(poison) => poison.into_inner().0,
            };
            if let Err(error) = still_waiting() {
                state.queue.retain(|&waiting| waiting != number);
                self.freed.notify_all();
                return Err(error);
            }
        }
        state.queue.pop_front();
        state.used += 1;
        state.used_most = state.used_most.max(state.used);
        // The next in line may find a slot as well.
        self.freed.notify_all();
        Ok(Slot(self))
    }

    /// Slots in use, and callers in the queue.
    pub fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.used, state.queue.len())
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
        self.0.lock().used -= 1;
        self.0.freed.notify_all();
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
                    let _slot = slots.acquire(3, || Ok(())).unwrap();
                    assert!(slots.load().0 <= 3);
                    std::thread::yield_now();
                });
            }
        });
        assert_eq!(slots.load(), (0, 0));
        assert!(slots.used_most() <= 3);
    }

    #[test]
    fn a_caller_that_is_gone_leaves_the_queue() {
        let slots = LocalSlots::default();
        let slot = slots.acquire(1, || Ok(())).unwrap();
        assert!(slots.acquire(1, || Err(io::ErrorKind::BrokenPipe.into())).is_err());
        assert_eq!(slots.load(), (1, 0));
        drop(slot);
        assert!(slots.acquire(1, || Ok(())).is_ok());
    }
}
