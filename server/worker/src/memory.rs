//! Memory: what a job's processes may take by default, and one budget for what the worker itself
//! needs in large pieces.

use std::path::Path;
use std::sync::{Condvar, Mutex};

/// Where the kernel says how much the machine has.
const MACHINE: &str = "/proc/meminfo";

/// Where it says how much of that this control group may have (cgroup v2), in a container and without.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";
const OWN_CONTROL_GROUP: &str = "/proc/self/cgroup";

/// A compiler gets at least this much address space, of which it uses half or less: large units of C++
/// take a gigabyte or two.
const JOB_BYTES_MIN: u64 = 4 << 30;

/// Few jobs need as much as others at the same time.
const SHARES: u64 = 4;

/// The address space of each process of a job where nobody said otherwise: a few times its share of the
/// memory, and never so much that one takes the machine down.
pub fn of_job(memory_bytes: u64, slots: usize) -> u64 {
    let share = memory_bytes / slots.max(1) as u64;
    share.saturating_mul(SHARES).max(JOB_BYTES_MIN).min(memory_bytes / 4 * 3)
}

/// The memory that this process may use; `None` where the kernel does not say.
pub fn of_machine() -> Option<u64> {
    let machine = in_kilobytes(&std::fs::read_to_string(MACHINE).ok()?, "MemTotal:")?;
    let own = std::fs::read_to_string(OWN_CONTROL_GROUP).unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let root = Path::new(CONTROL_GROUPS);
    let own = root.join(own);
    let folders = own.ancestors().take_while(|folder| folder.starts_with(root));
    let limits = folders.filter_map(|folder| {
        let text = std::fs::read_to_string(folder.join("memory.max")).ok()?;
        text.trim().parse().ok()
    });
    Some(limits.fold(machine, u64::min))
}

fn in_kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1 << 10)
}

/// What is needed in one piece, now and then, for a moment: a text or an object that cannot be dealt
/// with in steps. Whoever holds some asks for no more, so all get theirs.
pub struct Budget {
    bytes: usize,
    left: Mutex<usize>,
    returned: Condvar,
}

/// A part of the budget, until it is dropped.
pub struct Portion<'b> {
    budget: &'b Budget,
    bytes: usize,
}

impl Budget {
    /// So much for all.
    pub fn new(bytes: usize) -> Budget {
        Budget { bytes, left: Mutex::new(bytes), returned: Condvar::new() }
    }

    /// Waits for so much; what is more than all there is gets all.
    pub fn take(&self, bytes: usize) -> Portion<'_> {
        let bytes = bytes.min(self.bytes);
        let left = self.left.lock().unwrap_or_else(|poison| poison.into_inner());
        let enough = self.returned.wait_while(left, |left| *left < bytes);
        *enough.unwrap_or_else(|poison| poison.into_inner()) -= bytes;
        Portion { budget: self, bytes }
    }
}

impl Drop for Portion<'_> {
    fn drop(&mut self) {
        *self.budget.left.lock().unwrap_or_else(|poison| poison.into_inner()) += self.bytes;
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_job_gets_its_share_several_times() {
        assert_eq!(of_job(64 * GIB, 16), 16 * GIB);
        assert_eq!(of_job(16 * GIB, 16), 4 * GIB);
        assert_eq!(of_job(64 * GIB, 1), 48 * GIB);
        assert_eq!(of_job(2 * GIB, 4), GIB + GIB / 2);
        assert!(of_machine().is_some_and(|bytes| bytes > 64 << 20));
        assert_eq!(in_kilobytes("MemTotal:  1024 kB\nMemFree: 1 kB", "MemTotal:"), Some(1 << 20));
    }

    #[test]
    fn no_more_is_out_than_there_is() {
        let budget = Budget::new(100);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for bytes in [30, 60, 100, 1_000, 1, 50, 50] {
                let (budget, now, most) = (&budget, &now, &most);
                scope.spawn(move || {
                    let portion = budget.take(bytes);
                    most.fetch_max(
                        now.fetch_add(portion.bytes, Ordering::SeqCst) + portion.bytes,
                        Ordering::SeqCst,
                    );
                    std::thread::yield_now();
                    now.fetch_sub(portion.bytes, Ordering::SeqCst);
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 100);
        assert_eq!(*budget.left.lock().unwrap(), 100);
    }
}
