//! What several calls need at the same time is made once: the second caller waits for the first, but not for one that
//! is stopped, and not for ever.

use compiler::hasher::Digest;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};
use talk::party::{Party, Process};

/// How often a waiting caller looks up, to show its launcher a sign of life.
const LOOK_UP: Duration = Duration::from_millis(500);

/// Whoever has waited for this long for somebody else makes it, too.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// All that is being made, and that others may wait for.
#[derive(Default)]
pub struct InFlight {
    tasks: Mutex<HashMap<Digest, Arc<Task>>>,
}

struct Task {
    state: Mutex<State>,
    ended: Condvar,
    /// Whose work it is.
    process: Process,
    begun: SystemTime,
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
    /// Somebody has just tried, without a result for others, or makes something else, or does not go
    /// on: make it, without others waiting in line for nothing.
    Alone,
}

/// The right to make it while others wait.
pub struct Ticket<'f> {
    in_flight: &'f InFlight,
    key: Digest,
    task: Arc<Task>,
}

impl InFlight {
    /// Takes the key, or waits for whoever has it, unless `differs` says that what is made since a
    /// moment is not what this caller needs.
    ///
    /// # Errors
    /// The caller is gone.
    pub fn join<P: Party + ?Sized>(
        &self,
        key: Digest,
        caller: &mut P,
        differs: impl FnOnce(SystemTime) -> bool,
    ) -> io::Result<Turn<'_>> {
        let task = {
            let mut tasks = lock(&self.tasks);
            match tasks.get(&key) {
                Some(task) => Arc::clone(task),
                None => {
                    let task = Arc::new(Task::of(caller.process()));
                    tasks.insert(key, Arc::clone(&task));
                    return Ok(Turn::First(Ticket { in_flight: self, key, task }));
                }
            }
        };
        if differs(task.begun) {
            return Ok(Turn::Alone);
        }
        let start = Instant::now();
        loop {
            if let Some(turn) = task.wait(LOOK_UP) {
                return Ok(turn);
            }
            caller.still_waiting()?;
            if start.elapsed() >= WAIT_MAX || task.process.is_held_up() {
                return Ok(Turn::Alone);
            }
        }
    }

    /// How many are being made.
    pub fn count(&self) -> usize {
        lock(&self.tasks).len()
    }
}

impl Task {
    fn of(process: Process) -> Task {
        Task { state: Mutex::default(), ended: Condvar::new(), process, begun: SystemTime::now() }
    }

    /// What to do when it has ended; `None` where it goes on.
    fn wait<'f>(&self, time_max: Duration) -> Option<Turn<'f>> {
        let is_running = |state: &mut State| *state == State::Running;
        let waited = self.ended.wait_timeout_while(lock(&self.state), time_max, is_running);
        let state = waited.map_or_else(|poison| *poison.into_inner().0, |(state, _)| *state);
        match state {
            State::Done => Some(Turn::LookAgain),
            State::Failed => Some(Turn::Alone),
            State::Running => None,
        }
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

    fn same(_: SystemTime) -> bool {
        false
    }

    fn second_turn(done: bool) -> &'static str {
        let in_flight = InFlight::default();
        let key = Digest::of(b"key");
        let Ok(Turn::First(ticket)) = in_flight.join(key, &mut caller(), same) else { panic!() };
        std::thread::scope(|scope| {
            let second = scope.spawn(|| match in_flight.join(key, &mut caller(), same).unwrap() {
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
        let _ticket = in_flight.join(key, &mut caller(), same).unwrap();
        let mut gone = Caller(Process::default(), false);
        assert!(in_flight.join(key, &mut gone, same).is_err());
        assert_eq!(in_flight.count(), 1);
    }

    #[test]
    fn what_somebody_makes_of_other_inputs_is_not_waited_for() {
        let in_flight = InFlight::default();
        let key = Digest::of(b"key");
        let before = SystemTime::now();
        let _ticket = in_flight.join(key, &mut caller(), same).unwrap();
        let turn = in_flight.join(key, &mut caller(), |begun| begun >= before).unwrap();
        assert!(matches!(turn, Turn::Alone));
    }

    #[test]
    fn who_is_stopped_is_not_waited_for() {
        use rustix::process::{Pid, Signal, kill_process};
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::new(child.id() as i32);
        let in_flight = InFlight::default();
        let key = Digest::of(b"key");
        let _ticket = in_flight.join(key, &mut Caller(process, true), same).unwrap();
        kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
        let turn = in_flight.join(key, &mut caller(), same).unwrap();
        assert!(matches!(turn, Turn::Alone));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
