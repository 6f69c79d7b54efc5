//! The same key asked for twice compiles once: the second caller waits for the first.

use cache::hasher::Digest;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// How often a waiting caller looks up, to show its launcher a sign of life.
const LOOK_UP: Duration = Duration::from_millis(500);

/// All compiles that others may wait for.
#[derive(Default)]
pub struct InFlight {
    compiles: Mutex<HashMap<Digest, Arc<Compile>>>,
}

#[derive(Default)]
struct Compile {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Running,
    Stored,
    NotStored,
}

/// What a caller is to do.
pub enum Turn<'f> {
    /// Compile; others wait until the ticket is dropped.
    Compile(Ticket<'f>),
    /// Somebody has just stored this key: look it up again.
    LookAgain,
    /// Somebody has just compiled this key without a result to store: compile, without others
    /// waiting in line for nothing.
    CompileAlone,
}

/// The right to compile a key while others wait.
pub struct Ticket<'f> {
    in_flight: &'f InFlight,
    key: Digest,
    compile: Arc<Compile>,
}

impl InFlight {
    /// Takes the key, or waits for whoever has it. `still_waiting` is called now and then; its
    /// error (the caller is gone) ends the wait.
    pub fn join(
        &self,
        key: Digest,
        mut still_waiting: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Turn<'_>> {
        let compile = {
            let mut compiles = lock(&self.compiles);
            match compiles.get(&key) {
                Some(compile) => Arc::clone(compile),
                None => {
                    let compile = Arc::new(Compile::default());
                    compiles.insert(key, Arc::clone(&compile));
                    return Ok(Turn::Compile(Ticket { in_flight: self, key, compile }));
                }
            }
        };
        let mut state = lock(&compile.state);
        loop {
            match *state {
                State::Stored => return Ok(Turn::LookAgain),
                State::NotStored => return Ok(Turn::CompileAlone),
                State::Running => {}
            }
            state = match compile.ended.wait_timeout(state, LOOK_UP) {
                Ok((state, _)) => state,
                Err(poison) => poison.into_inner().0,
            };
            still_waiting()?;
        }
    }

    /// How many keys are being compiled.
    pub fn count(&self) -> usize {
        lock(&self.compiles).len()
    }
}

impl Ticket<'_> {
    /// The result can be looked up from now on.
    pub fn stored(&self) {
        *lock(&self.compile.state) = State::Stored;
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        lock(&self.in_flight.compiles).remove(&self.key);
        let mut state = lock(&self.compile.state);
        if *state == State::Running {
            *state = State::NotStored;
        }
        self.compile.ended.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second_turn(store: bool) -> &'static str {
        let in_flight = InFlight::default();
        let key = Digest::of(b"key");
        let Ok(Turn::Compile(ticket)) = in_flight.join(key, || Ok(())) else { panic!() };
        std::thread::scope(|scope| {
            let second = scope.spawn(|| match in_flight.join(key, || Ok(())).unwrap() {
                Turn::Compile(_) => "compile",
                Turn::LookAgain => "look again",
                Turn::CompileAlone => "compile alone",
            });
            // Either the second waits already, or it comes late and gets a ticket of its own.
            while Arc::strong_count(&ticket.compile) < 3 {
                std::thread::yield_now();
            }
            if store {
                ticket.stored();
            }
            drop(ticket);
            second.join().unwrap()
        })
    }

    #[test]
    fn the_second_caller_waits_for_the_first() {
        assert_eq!(second_turn(true), "look again");
        assert_eq!(second_turn(false), "compile alone");
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
