//! Threads that unpack results along with those that serve the calls, where a core is free for them.

use cache::outputs::Work;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// More than a few only wait for the same file.
const THREADS_MAX: usize = 3;

/// Results that wait for help. Beyond this everyone is busy, and whoever serves a call does it alone.
const WAITING_MAX: usize = 16;

/// Unpacking needs little; the buffers are on the heap.
const STACK_BYTES: usize = 256 << 10;

/// The threads, and what they are asked for.
pub struct Helpers {
    waiting: Mutex<VecDeque<Arc<Work>>>,
    more: Condvar,
    threads: usize,
}

impl Helpers {
    /// Starts one less than there are cores.
    pub fn start() -> Arc<Helpers> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let threads = (cores - 1).min(THREADS_MAX);
        let helpers =
            Arc::new(Helpers { waiting: Mutex::default(), more: Condvar::new(), threads });
        for _ in 0..threads {
            let helpers = Arc::clone(&helpers);
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
            if let Err(error) = thread.spawn(move || helpers.help()) {
                tracing::warn!("no thread to help: {error}");
            }
        }
        helpers
    }

    /// Asks for help. Whoever asks does the work all the same: nobody may come, or come late.
    pub fn ask(&self, work: Arc<Work>) {
        if self.threads == 0 {
            return;
        }
        let mut waiting = self.lock();
        if waiting.len() == WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back(work);
        drop(waiting);
        self.more.notify_one();
    }

    fn help(&self) {
        let mut waiting = self.lock();
        loop {
            match waiting.pop_front() {
                Some(work) => {
                    drop(waiting);
                    work.run();
                    drop(work);
                    waiting = self.lock();
                }
                None => {
                    waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Work>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
