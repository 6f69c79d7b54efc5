//! Results that are being stored after their launchers were released, for those who want to see them all.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use talk::party::Party;

/// During a build there is always something to wait for; a question is answered all the same.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// How often who waits without an end is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Those that are under way.
#[derive(Default)]
pub struct Finishing {
    state: Mutex<State>,
    fewer: Condvar,
}

#[derive(Default)]
struct State {
    /// The number of the next one.
    next: u64,
    open: BTreeSet<u64>,
}

/// One that is under way; it ends when dropped.
pub struct Under<'f> {
    finishing: &'f Finishing,
    number: u64,
}

impl Finishing {
    /// To be called before the launcher is released.
    pub fn begin(&self) -> Under<'_> {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.open.insert(number);
        Under { finishing: self, number }
    }

    /// Waits until nothing is under way, for a moment at most.
    pub fn wait(&self) {
        let deadline = Instant::now() + WAIT_MAX;
        let mut state = self.lock();
        while !state.open.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            state = self.wait_for_fewer(state, left);
        }
    }

    /// Waits until all that are under way now have ended, however long that takes. An error means that the
    /// asker is gone.
    pub fn settle(&self, asker: &mut impl Party) -> io::Result<()> {
        let next = self.lock().next;
        loop {
            let state = self.lock();
            if state.open.first().is_none_or(|oldest| *oldest >= next) {
                return Ok(());
            }
            drop(self.wait_for_fewer(state, LOOK));
            asker.still_waiting()?;
        }
    }

    fn wait_for_fewer<'s>(
        &self,
        state: MutexGuard<'s, State>,
        time: Duration,
    ) -> MutexGuard<'s, State> {
        match self.fewer.wait_timeout(state, time) {
            Ok((state, _)) => state,
            Err(poison) => poison.into_inner().0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.finishing.lock().open.remove(&self.number);
        self.finishing.fewer.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use talk::party::Process;

    /// Says each time that it was looked at.
    struct Asker(mpsc::Sender<()>);

    impl Party for Asker {
        fn process(&self) -> Process {
            Process::default()
        }

        fn still_waiting(&mut self) -> io::Result<()> {
            self.0.send(()).map_err(io::Error::other)
        }
    }

    #[test]
    fn whoever_waits_sees_the_end() {
        let finishing = Finishing::default();
        let under = finishing.begin();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| finishing.wait());
            drop(under);
            waiting.join().unwrap();
        });
        assert!(finishing.lock().open.is_empty());
    }

    #[test]
    fn what_began_before_the_question_is_waited_for_and_nothing_else() {
        let finishing = Finishing::default();
        let (sender, looks) = mpsc::channel();
        let before = finishing.begin();
        std::thread::scope(|scope| {
            let settling = scope.spawn(|| finishing.settle(&mut Asker(sender)));
            // It waits: longer than the other wait ever does.
            looks.recv().unwrap();
            let after = finishing.begin();
            assert!(!settling.is_finished());
            drop(before);
            settling.join().unwrap().unwrap();
            drop(after);
        });
    }

    #[test]
    fn whoever_goes_is_not_waited_for() {
        let finishing = Finishing::default();
        let _under = finishing.begin();
        let (sender, looks) = mpsc::channel();
        drop(looks);
        assert!(finishing.settle(&mut Asker(sender)).is_err());
    }
}
