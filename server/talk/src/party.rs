//! Who waits, or is waited for: a process that may be stopped (Ctrl-Z, SIGSTOP, a frozen container), and then holds up
//! nobody.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A compiler and what belongs to it; more are not looked at.
const PROCESSES_MAX: usize = 64;

/// Where control groups are, of either version (cgroups(7)).
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// Somebody who waits for others, or lets them wait.
pub trait Party {
    /// The process whose work it is.
    fn process(&self) -> Process;

    /// To be called now and then during each wait. An error ends it: nobody waits any more.
    fn still_waiting(&mut self) -> io::Result<()>;
}

/// A process by its number; none where it is in another PID namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process(Option<u32>);

impl Process {
    /// That of a number, which is no number where it is 0 or less (unix(7), SO_PEERCRED).
    pub fn new(number: i32) -> Process {
        Process(u32::try_from(number).ok().filter(|number| *number > 0))
    }

    /// Whether it is stopped itself.
    pub fn is_stopped(self) -> bool {
        self.0.is_some_and(|number| is_stopped(number) || is_frozen(number))
    }

    /// Whether it or what it has started is stopped: a compiler of which one part is stopped does not
    /// go on.
    pub fn is_held_up(self) -> bool {
        if self.is_stopped() {
            return true;
        }
        let mut processes: Vec<u32> = self.0.into_iter().collect();
        let mut seen = 0;
        while let Some(parent) = processes.get(seen).copied() {
            seen += 1;
            let children = children(parent);
            if children.iter().any(|child| is_stopped(*child)) {
                return true;
            }
            let room = PROCESSES_MAX.saturating_sub(processes.len());
            processes.extend(children.into_iter().take(room));
        }
        false
    }
}

/// By a signal, or by whoever traces it. The state follows the name, which is in parentheses (proc(5)).
fn is_stopped(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
}

/// What its first thread has started, as compilers have one. Kernels without
/// CONFIG_PROC_CHILDREN name none.
fn children(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Whether its control group is frozen, as by `docker pause`. Its state does not tell. A group that is
/// being frozen may stay so for as long: who waits for a frozen child in vfork(2) cannot be frozen.
fn is_frozen(process: u32) -> bool {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    let says = |(file, frozen): (PathBuf, &[&str])| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().any(|line| frozen.contains(&line.trim()))
    };
    groups.lines().flat_map(freezers).any(says)
}

/// The files that may tell of one of a process' groups whether it is frozen, and the lines that say so.
fn freezers(group: &str) -> Vec<(PathBuf, &'static [&'static str])> {
    let mut fields = group.splitn(3, ':');
    let (_, Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
        return Vec::new();
    };
    let at = |root: &str, file: &str| {
        Path::new(CONTROL_GROUPS).join(root).join(path.trim_matches('/')).join(file)
    };
    match controllers {
        // Beside the first version, the second one is a folder further down.
        "" => ["", "unified"]
            .into_iter()
            .flat_map(|root| {
                let (all, wanted): (&[&str], &[&str]) = (&["frozen 1"], &["1"]);
                [(at(root, "cgroup.events"), all), (at(root, "cgroup.freeze"), wanted)]
            })
            .collect(),
        "freezer" => vec![(at("freezer", "freezer.state"), &["FROZEN", "FREEZING"])],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, Signal, kill_process};
    use std::process::{Child, Command};

    fn send(child: &Child, signal: Signal) {
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    fn await_state(held_up: bool, of: impl Fn() -> bool) {
        while of() != held_up {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_process_that_is_stopped_and_goes_on() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::new(child.id() as i32);
        assert!(!process.is_stopped() && !process.is_held_up());
        send(&child, Signal::STOP);
        await_state(true, || process.is_stopped());
        assert!(process.is_held_up());
        send(&child, Signal::CONT);
        await_state(false, || process.is_stopped());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_held_up());
        assert!(!Process::new(0).is_stopped() && !Process::default().is_held_up());
    }

    #[test]
    fn a_process_whose_child_is_stopped() {
        let script = "sleep 1000 & kill -STOP $!; wait";
        let mut shell = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let process = Process::new(shell.id() as i32);
        let knows_children = Path::new("/proc/self/task").join(std::process::id().to_string());
        if knows_children.join("children").exists() {
            await_state(true, || process.is_held_up());
            assert!(!process.is_stopped());
        }
        for child in children(shell.id()) {
            kill_process(Pid::from_raw(child as i32).unwrap(), Signal::KILL).unwrap();
        }
        shell.wait().unwrap();
    }

    #[test]
    fn where_a_group_says_that_it_is_frozen() {
        let paths = |line| -> Vec<String> {
            let found = freezers(line).into_iter();
            found.map(|(path, _)| path.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(
            paths("0::/system.slice/docker-1.scope"),
            [
                "/sys/fs/cgroup/system.slice/docker-1.scope/cgroup.events",
                "/sys/fs/cgroup/system.slice/docker-1.scope/cgroup.freeze",
                "/sys/fs/cgroup/unified/system.slice/docker-1.scope/cgroup.events",
                "/sys/fs/cgroup/unified/system.slice/docker-1.scope/cgroup.freeze"
            ]
        );
        assert_eq!(paths("0::/")[0], "/sys/fs/cgroup/cgroup.events");
        assert_eq!(paths("7:freezer:/docker/1"), ["/sys/fs/cgroup/freezer/docker/1/freezer.state"]);
        assert!(paths("4:memory:/docker/1").is_empty());
        assert!(paths("nonsense").is_empty());
    }
}
