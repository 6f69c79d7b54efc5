//! Descriptors: as many as the system allows, and where those are few, no more calls at one time than they are enough
//! for.

use compiler::outcome::{Counter, Uncacheable};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Enough for all calls that are accepted.
const WANTED: u64 = 1 << 16;

/// Those of the daemon itself: log, sockets, stores, fetchers.
const OWN: u64 = 64;

/// Those of a call that is being served, besides its connection: streams and dependencies of the
/// compiler, an input, outputs on their way.
const OF_CALL: u64 = 8;

/// Few descriptors are shared by a few calls all the same.
const CALLS_MIN: usize = 2;

/// The soft limit that the daemon was started with.
static BEFORE: AtomicU64 = AtomicU64::new(NONE);
const NONE: u64 = u64::MAX;

/// Raises the soft limit, which shells set low for programs that cannot count beyond 1024, and returns
/// what is in force. Where that fails, the daemon makes do.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let before = limit.current.unwrap_or(NONE);
    BEFORE.store(before, Ordering::Relaxed);
    let wanted = limit.maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if before >= wanted {
        return before;
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_ok() { wanted } else { before }
}

/// A compiler that the daemon starts itself has the limit of before. Safe between fork and exec.
pub fn restore() {
    let before = BEFORE.load(Ordering::Relaxed);
    if before != NONE {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(before), maximum });
    }
}

/// How many calls there may be at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Connections that are accepted. More wait in the kernel's queue.
    pub connections: usize,
    /// Calls that are served; `None` for all that are accepted. More wait, and their launchers hear that
    /// the daemon lives.
    pub calls: Option<usize>,
}

impl Capacity {
    /// What so many descriptors are enough for, and no more than `connections_max` connections.
    pub fn of(descriptors: u64, connections_max: usize) -> Capacity {
        let free = descriptors.saturating_sub(OWN);
        let count = |descriptors: u64| usize::try_from(descriptors).unwrap_or(usize::MAX);
        let connections = count(free / 2).clamp(2 * CALLS_MIN, connections_max);
        let calls = count(free.saturating_sub(connections as u64) / OF_CALL).max(CALLS_MIN);
        Capacity { connections, calls: (calls < connections).then_some(calls) }
    }
}

/// What to say where an error means that there are no descriptors left.
pub fn shortage(error: &io::Error) -> Option<Uncacheable> {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error)?;
    [Errno::MFILE, Errno::NFILE].contains(&errno).then(|| {
        let detail = "the daemon has too many open files (ulimit -Hn)";
        Uncacheable::new(Counter::InternalError, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_descriptors_are_enough_for() {
        let capacity = |descriptors| Capacity::of(descriptors, 4096);
        assert_eq!(capacity(WANTED), Capacity { connections: 4096, calls: None });
        assert_eq!(capacity(u64::MAX), Capacity { connections: 4096, calls: None });
        assert_eq!(capacity(1024), Capacity { connections: 480, calls: Some(60) });
        assert_eq!(capacity(0), Capacity { connections: 4, calls: Some(2) });
        for descriptors in 100..20_000 {
            let Capacity { connections, calls } = capacity(descriptors);
            let used = connections as u64 + calls.unwrap_or(connections) as u64 * OF_CALL;
            assert!(descriptors < 150 || used + OWN <= descriptors, "{descriptors}: {used}");
        }
    }

    #[test]
    fn a_shortage_has_a_name() {
        assert!(shortage(&Errno::MFILE.into()).is_some());
        assert!(shortage(&Errno::NFILE.into()).is_some());
        assert!(shortage(&Errno::PIPE.into()).is_none());
        assert!(shortage(&io::ErrorKind::TimedOut.into()).is_none());
    }
}
