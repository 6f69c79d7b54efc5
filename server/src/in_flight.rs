//! What several calls need at the same time is made once: the second caller waits for the first.

use cache::hasher::Digest;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// How often a waiting caller looks up, to show its launcher a sign of life.
const LOOK_UP: Duration = Duration::from_millis(500);

/// All that is being made, and that others may wait for.
#[derive(Default)]
pub struct InFlight {
    tasks: Mutex<HashMap<Digest, Arc<Task>>>,
}

#[derive(Default)]
struct Task {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Running,
    Done,
    Failed,
}

/// What a caller is to do.
pub enum Turn<'f> {
    /// Make it; others wait until the ticket is dropped.
    First(Ticket<'f>),
    /// Somebody has just made it: look it up again.
    LookAgain,
    /// Somebody has just tried, without a result for others: make it, without others waiting in
    /// line for nothing.
    Alone,
}

/// The right to make it while others wait.
pub struct Ticket<'f> {
    in_flight: &'f InFlight,
    key: Digest,
    task: Arc<Task>,
}

impl InFlight {
    /// Takes the key, or waits for whoever has it. `still_waiting` is called now and then; its
    /// error (the caller is gone) ends the wait.
    pub fn join(
        &self,
        key: Digest,
        mut still_waiting: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Turn<'_>> {
        let task = {
            let mut tasks = lock(&self.tasks);
            match tasks.get(&key) {
                Some(task) => Arc::clone(task),
                None => {
                    let task = Arc::new(Task::default());
                    tasks.insert(key, Arc::clone(&task));
                    return Ok(Turn::First(Ticket { in_flight: self, key, task }));
                }
            }
        };
        let mut state = lock(&task.state);
        loop {
            match *state {
                State::Done => return Ok(Turn::LookAgain),
                State::Failed => return Ok(Turn::Alone),
                State::Running => {}
            }
            state = match task.ended.wait_timeout(state, LOOK_UP) {
                Ok((state, _)) => state,
                Err(poison) => poison.into_inner().0,
            };
            still_waiting()?;
        }
    }

    /// How many are being made.
    pub fn count(&self) -> usize {
        lock(&self.tasks).len()
    }
}

impl Turn<'_> {
    /// What was made, if it was for this turn, can be looked up from now on.
    pub fn done(&self) {
        if let Turn::First(ticket) = self {
            ticket.done();
        }
    }
}

impl Ticket<'_> {
    /// What was made can be looked up from now on.
    pub fn done(&self) {
        *lock(&self.task.state) = State::Done;
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        lock(&self.in_flight.tasks).remove(&self.key);
        let mut state = lock(&self.task.state);
        if *state == State::Running {
            *state = State::Failed;
        }
        self.task.ended.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second_turn(done: bool) -> &'static str {
        let in_flight = InFlight::default();
        let key = Digest::of(b"key");
        let Ok(Turn::First(ticket)) = in_flight.join(key, || Ok(())) else { panic!() };
        std::thread::scope(|scope| {
            let second = scope.spawn(|| match in_flight.join(key, || Ok(())).unwrap() {
                Turn::First(_) => "first",
                Turn::LookAgain => "look again",
                Turn::Alone => "alone",
            });
            // Either the second waits already, or it comes late and gets a ticket of its own.
            while Arc::strong_count(&ticket.task) < 3 {
                std::thread::yield_now();
            }
            if done {
                ticket.done();
            }
            drop(ticket);
            second.join().unwrap()
        })
    }

    #[test]
    fn the_second_caller_waits_for_the_first() {
        assert_eq!(second_turn(true), "look again");
        assert_eq!(second_turn(false), "alone");
    }

    #[test]
    fn a_caller_that_is_gone_stops_waiting() {
        let in_flight = InFlight::default();
        let key = Digest::of(b"key");
        let _ticket = in_flight.join(key, || Ok(())).unwrap();
        let gone = in_flight.join(key, || Err(io::ErrorKind::BrokenPipe.into()));
        assert!(gone.is_err());
        assert_eq!(in_flight.count(), 1);
    }
}
