//! Threads that fetch and unpack results for those that serve the calls, where a core is free for them.

use cache::outputs::Work;
use rustix::process::Pid;
use rustix::thread::CpuSet;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

/// More than a few only wait for the same file.
const THREADS_MAX: usize = 3;

/// Results that wait for help. Beyond this everyone is busy, and whoever serves a call does it alone.
const WAITING_MAX: usize = 16;

/// Unpacking needs little; the buffers are on the heap.
const STACK_BYTES: usize = 256 << 10;

/// What a fetcher can do. Whoever asks does it all the same where nobody comes, or comes late.
pub trait Help: Send + Sync {
    /// Does what is left to do.
    fn help(&self);
}

impl Help for Work {
    fn help(&self) {
        self.run();
    }
}

/// The threads, and what they are asked for.
pub struct Fetchers {
    state: Mutex<State>,
    /// How many cores the daemon may use.
    pub cores: usize,
    /// The processors that the daemon may use; `None` where the kernel does not tell.
    processors: Option<CpuSet>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<dyn Help>>,
    idle: Vec<Fetcher>,
}

#[derive(Clone)]
struct Fetcher {
    id: Pid,
    thread: Thread,
}

impl Fetchers {
    /// Starts one less than there are cores.
    pub fn start() -> Arc<Fetchers> {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        let processors = rustix::thread::sched_getaffinity(None).ok();
        let fetchers = Arc::new(Fetchers { state: Mutex::default(), cores, processors });
        for _ in 0..(cores - 1).min(THREADS_MAX) {
            let fetchers = Arc::clone(&fetchers);
            let builder = thread::Builder::new().stack_size(STACK_BYTES);
            if let Err(error) = builder.spawn(move || fetchers.help()) {
                tracing::warn!("no thread to help: {error}");
            }
        }
        fetchers
    }

    /// Asks for help, now or soon.
    pub fn ask(&self, work: Arc<dyn Help>) {
        if self.cores == 1 {
            return;
        }
        let mut state = self.lock();
        if state.waiting.len() == WAITING_MAX {
            state.waiting.pop_front();
        }
        state.waiting.push_back(work);
        self.wake(state);
    }

    /// Asks for help where somebody is free; whether it is so.
    pub fn ask_idle(&self, work: Arc<dyn Help>) -> bool {
        let mut state = self.lock();
        let is_free = !state.idle.is_empty() && state.waiting.is_empty();
        if is_free {
            state.waiting.push_back(work);
            self.wake(state);
        }
        is_free
    }

    fn wake(&self, mut state: MutexGuard<State>) {
        let fetcher = state.idle.pop();
        drop(state);
        if let Some(fetcher) = fetcher {
            self.send_elsewhere(&fetcher);
            fetcher.thread.unpark();
        }
    }

    /// Keeps a fetcher from the processor of this thread. Left to itself, Linux often wakes it there, in
    /// this thread's place, also where another processor is idle (seen with 6.18).
    fn send_elsewhere(&self, fetcher: &Fetcher) {
        let Some(mut elsewhere) = self.processors else { return };
        let here = rustix::thread::sched_getcpu();
        if here < CpuSet::MAX_CPU {
            elsewhere.unset(here);
        }
        // It fails where no processor is left. Then the fetcher comes late, as it may.
        let _ = rustix::thread::sched_setaffinity(Some(fetcher.id), &elsewhere);
    }

    fn help(&self) {
        let own = Fetcher { id: rustix::thread::gettid(), thread: thread::current() };
        loop {
            let mut state = self.lock();
            // It may have woken without being asked.
            state.idle.retain(|fetcher| fetcher.id != own.id);
            match state.waiting.pop_front() {
                Some(work) => {
                    drop(state);
                    work.help();
                }
                None => {
                    state.idle.push(own.clone());
                    drop(state);
                    thread::park();
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    /// No wait of these tests comes near.
    const LONG: Duration = Duration::from_secs(60);

    /// Says when it begins, and ends when it is told to.
    struct Waits {
        begun: Mutex<Sender<()>>,
        end: Mutex<Receiver<()>>,
    }

    impl Help for Waits {
        fn help(&self) {
            self.begun.lock().unwrap().send(()).unwrap();
            self.end.lock().unwrap().recv_timeout(LONG).unwrap();
        }
    }

    /// With one thread, whatever the machine has.
    fn one_fetcher() -> Arc<Fetchers> {
        let processors = rustix::thread::sched_getaffinity(None).ok();
        let fetchers = Arc::new(Fetchers { state: Mutex::default(), cores: 2, processors });
        let own = Arc::clone(&fetchers);
        thread::spawn(move || own.help());
        while fetchers.lock().idle.is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        fetchers
    }

    #[test]
    fn who_is_busy_is_not_idle_and_comes_later() {
        let fetchers = one_fetcher();
        let (begun, has_begun) = channel();
        let work = || {
            let (end, ends) = channel();
            let work = Waits { begun: Mutex::new(begun.clone()), end: Mutex::new(ends) };
            (Arc::new(work), end)
        };
        let [(first, end_first), (second, end_second), (third, _)] = [work(), work(), work()];
        assert!(fetchers.ask_idle(first));
        has_begun.recv_timeout(LONG).unwrap();
        assert!(!fetchers.ask_idle(third));
        fetchers.ask(second);
        assert!(has_begun.try_recv().is_err());
        end_first.send(()).unwrap();
        has_begun.recv_timeout(LONG).unwrap();
        end_second.send(()).unwrap();
    }
}
