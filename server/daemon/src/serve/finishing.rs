//! Results that are being stored after their launchers were released, for those who want to see them all.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// During a build there is always something to wait for; a question is answered all the same.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// How many are under way.
#[derive(Default)]
pub struct Finishing {
    count: Mutex<usize>,
    fewer: Condvar,
}

/// One that is under way; it ends when dropped.
pub struct Under<'f>(&'f Finishing);

impl Finishing {
    /// To be called before the launcher is released.
    pub fn begin(&self) -> Under<'_> {
        *self.lock() += 1;
        Under(self)
    }

    /// Waits until nothing is under way, for a moment at most.
    pub fn wait(&self) {
        let deadline = Instant::now() + WAIT_MAX;
        let mut count = self.lock();
        while *count > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            count = match self.fewer.wait_timeout(count, left) {
                Ok((count, _)) => count,
                Err(poison) => poison.into_inner().0,
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.fewer.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_sees_the_end() {
        let finishing = Finishing::default();
        let under = finishing.begin();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| finishing.wait());
            drop(under);
            waiting.join().unwrap();
        });
        assert_eq!(*finishing.lock(), 0);
    }
}
