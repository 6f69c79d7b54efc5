//! Looks at processes through /proc, and ends one by its id.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a process with this id exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = state.rsplit(") ").next().unwrap_or("").to_owned();
    !state.is_empty() && !state.starts_with('Z') && !state.starts_with('X')
}

/// Sends SIGKILL to one process.
pub fn kill(pid: u32) {
    send(pid, rustix::process::Signal::KILL);
}

/// Sends SIGTERM to one process.
pub fn terminate(pid: u32) {
    send(pid, rustix::process::Signal::TERM);
}

/// Sends SIGINT to a process group, as a terminal does for Ctrl-C.
pub fn process_group_interrupt(group: u32) {
    if let Some(group) = rustix::process::Pid::from_raw(group as i32) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::INT);
    }
}

fn send(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// The ids of the daemons of `binary` that hold something open below `root`, or name it.
pub fn daemons_of(binary: &Path, root: &Path) -> Vec<u32> {
    every_pid()
        .filter(|&pid| {
            let proc = Path::new("/proc").join(pid.to_string());
            let runs_binary = fs::read_link(proc.join("exe")).is_ok_and(|exe| exe == binary);
            let words = fs::read(proc.join("cmdline")).unwrap_or_default();
            let is_daemon = words.split(|&byte| byte == 0).any(|word| word == b"daemon");
            runs_binary && is_daemon && is_alive(pid) && refers_to(&proc, root)
        })
        .collect()
}

/// The ids of live processes that run a program of this name with `root` in their arguments or as
/// their folder.
pub fn children_named(name: &str, root: &Path) -> Vec<u32> {
    every_pid()
        .filter(|&pid| {
            let proc = Path::new("/proc").join(pid.to_string());
            let comm = fs::read_to_string(proc.join("comm")).unwrap_or_default();
            let here = fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(root));
            comm.trim_end() == name && here && is_alive(pid)
        })
        .collect()
}

fn every_pid() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn refers_to(proc: &Path, root: &Path) -> bool {
    let needle = root.as_os_str().as_encoded_bytes();
    let mentions = |file: &str| {
        let text = fs::read(proc.join(file)).unwrap_or_default();
        text.windows(needle.len()).any(|window| window == needle)
    };
    let holds = || {
        let open = fs::read_dir(proc.join("fd")).into_iter().flatten().flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|at| at.starts_with(root))
    };
    mentions("environ") || mentions("cmdline") || holds()
}

/// Waits until `done` says so; fails the test, naming `what`, when `limit` is over.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < end, "waited {limit:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
