//! The moment before a compile: what is changed from then on may or may not be what the compiler read.

use crate::understand::unit::Unit;
use cache::outputs;
use compiler::file_memo::{Stamp, System, nanoseconds_of};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that was moved by more than this during a compile makes all time stamps doubtful.
const CLOCK_STEP_MAX: Duration = Duration::from_millis(100);

/// Linux ticks 100 to 1000 times a second; a few ticks, for whoever waits for the next one.
pub const CLOCK_TICKS_MAX: Duration = Duration::from_millis(20);

/// A file whose stamp was seen this long ago has another one after each later change: file systems
/// count in two seconds at most.
const SEEN_MIN: Duration = Duration::from_secs(3);

/// Clocks of servers that one compile looks at: that of its outputs and that of its source.
const SERVERS_MAX: usize = 2;

/// The moment before a compile, on the clocks that file systems use for time stamps.
#[derive(Clone, Copy)]
pub struct Start {
    /// On the clock of this machine's file systems.
    pub stamp_clock: SystemTime,
    monotonic: Instant,
    /// On the clocks of others, by device.
    servers: [Option<(u64, i128)>; SERVERS_MAX],
}

/// Why a file may not be what the compiler read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It was changed since the start, or at the same tick.
    Changed,
    /// Nobody knows what its file system's clock said at the start.
    NoClock,
}

impl Start {
    /// Now. A file that is changed from now on gets a stamp that is not earlier, where this machine's
    /// clock makes it.
    pub fn now() -> Start {
        let coarse = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let since = Duration::new(coarse.tv_sec as u64, coarse.tv_nsec as u32);
        let servers = [None; SERVERS_MAX];
        Start { stamp_clock: UNIX_EPOCH + since, monotonic: Instant::now(), servers }
    }

    /// A moment whose stamps differ from those of the unit's inputs that were changed just now: at most
    /// a few clock ticks away.
    pub fn before(unit: &Unit) -> Start {
        let deadline = Instant::now() + CLOCK_TICKS_MAX;
        loop {
            let mut start = Start::now();
            let newest = match unit.source.system.has_machine_clock() {
                true => unit.newest_input.max(unit.source.stamp.changed_ns),
                false => unit.newest_input,
            };
            if newest >= nanoseconds_of(start.stamp_clock) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            start.ask_servers(unit);
            let source = &unit.source.stamp;
            let fresh = start.server_time(source.device).is_some_and(|at| source.changed_ns >= at);
            if !fresh || Instant::now() > deadline {
                return start;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Finds out what the servers of outputs and source take for now, by making a file there.
    fn ask_servers(&mut self, unit: &Unit) {
        let outputs = unit.outputs.first().map(|output| output.path.as_path());
        let paths = [outputs, Some(unit.invocation.source.as_path())];
        let mut servers = Vec::new();
        for path in paths.into_iter().flatten() {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            if unit.here.system(folder).has_machine_clock() {
                continue;
            }
            // One that cannot be written to has no clock for us.
            if let Ok(Stamp { device, changed_ns, .. }) = outputs::stamp_of_new(&unit.here, folder)
                && !servers.iter().any(|(known, _)| *known == device)
            {
                servers.push((device, changed_ns));
            }
        }
        servers.iter().zip(&mut self.servers).for_each(|(found, place)| *place = Some(*found));
    }

    fn server_time(&self, device: u64) -> Option<i128> {
        let found = self.servers.iter().flatten().find(|(known, _)| *known == device);
        found.map(|(_, now)| *now)
    }

    /// The earlier of the two.
    pub fn earlier(self, other: Start) -> Start {
        if other.monotonic < self.monotonic { other } else { self }
    }

    /// Whether this is the same moment as `other`, or an earlier one.
    pub fn is_not_after(&self, other: Start) -> bool {
        self.monotonic <= other.monotonic
    }

    /// Why a file with this stamp may have been changed since. `seen` is when that stamp was seen first.
    pub fn doubt(&self, stamp: &Stamp, system: System, seen: Option<Instant>) -> Option<Doubt> {
        if system.has_machine_clock() {
            let changed = stamp.changed_ns + stamp.tick().as_nanos() as i128;
            return (changed >= nanoseconds_of(self.stamp_clock)).then_some(Doubt::Changed);
        }
        if seen.is_some_and(|seen| seen + SEEN_MIN <= self.monotonic) {
            return None;
        }
        match self.server_time(stamp.device) {
            Some(now) if system == System::Server => {
                (stamp.changed_ns >= now).then_some(Doubt::Changed)
            }
            _ => Some(Doubt::NoClock),
        }
    }

    /// Whether an output with this stamp is older than the compile.
    pub fn is_after(&self, stamp: &Stamp) -> bool {
        let now = self.server_time(stamp.device);
        let now = now.unwrap_or_else(|| nanoseconds_of(self.stamp_clock));
        stamp.changed_ns + (stamp.tick().as_nanos() as i128) < now
    }

    /// Whether the clock went on evenly until now.
    pub fn clock_is_even(&self) -> bool {
        let expected = self.stamp_clock + self.monotonic.elapsed();
        let now = SystemTime::now();
        let difference = match now.duration_since(expected) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        difference < CLOCK_STEP_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: u64 = 7;
    const SECOND: i128 = 1_000_000_000;

    fn stamp(device: u64, changed_ns: i128) -> Stamp {
        Stamp { device, inode: 1, size: 1, modified_ns: changed_ns, changed_ns }
    }

    #[test]
    fn each_file_system_is_judged_by_its_own_clock() {
        let mut start = Start::now();
        let now = nanoseconds_of(start.stamp_clock) / 1000 * 1000 + 1;
        start.stamp_clock = UNIX_EPOCH + Duration::from_nanos(now as u64);
        start.servers[0] = Some((SERVER, now - 5 * SECOND));
        let doubt = |device, ago, system| start.doubt(&stamp(device, now - ago), system, None);
        for system in [System::Settling, System::Memory, System::Plain] {
            assert_eq!(doubt(1, 10, system), None);
            assert_eq!(doubt(1, 0, system), Some(Doubt::Changed));
        }
        // Behind by five seconds: what looks old was changed just now.
        assert_eq!(doubt(SERVER, 5 * SECOND + 10, System::Server), None);
        assert_eq!(doubt(SERVER, 5 * SECOND, System::Server), Some(Doubt::Changed));
        assert_eq!(doubt(SERVER, 4 * SECOND, System::Server), Some(Doubt::Changed));
        assert_eq!(doubt(SERVER, 9 * SECOND, System::Unknown), Some(Doubt::NoClock));
        assert_eq!(doubt(8, 9000 * SECOND, System::Server), Some(Doubt::NoClock));
        assert!(start.is_after(&stamp(SERVER, now - 6 * SECOND)));
        assert!(!start.is_after(&stamp(SERVER, now - 4 * SECOND)));
        assert!(start.is_after(&stamp(1, now - 4 * SECOND)));
    }

    #[test]
    fn a_stamp_that_was_seen_long_before_proves_itself() {
        let mut start = Start::now();
        let seen = start.monotonic;
        let old = stamp(8, nanoseconds_of(start.stamp_clock) + 100 * SECOND);
        let doubt = |start: &Start, seen| start.doubt(&old, System::Unknown, Some(seen));
        assert_eq!(doubt(&start, seen), Some(Doubt::NoClock));
        start.monotonic += SEEN_MIN;
        assert_eq!(doubt(&start, seen), None);
        let changed_clock = start.doubt(&old, System::Settling, Some(seen));
        assert_eq!(changed_clock, Some(Doubt::Changed), "the machine's own clock counts");
    }

    #[test]
    fn coarse_stamps_hide_what_came_after_them() {
        let mut start = Start::now();
        let seconds = 1_000_000 * SECOND;
        start.stamp_clock = UNIX_EPOCH + Duration::from_nanos((seconds + SECOND / 2) as u64);
        let doubt = |changed| start.doubt(&stamp(1, changed), System::Plain, None);
        assert_eq!(doubt(seconds), Some(Doubt::Changed), "it may be from half a second later");
        assert_eq!(doubt(seconds - 2 * SECOND), None);
        assert_eq!(doubt(seconds + SECOND / 2 - 1), None);
        assert_eq!(doubt(seconds + SECOND / 2 - 10_000_000), Some(Doubt::Changed));
    }
}
