//! What the daemon inherits from the build that happens to start it, and lets go of: other builds follow.
//!
//! What cannot be undone is in the name of its socket (`talk::place`); a cgroup is neither.

use talk::place::{self, LIMITS};

/// Signals, with the real-time ones.
const SIGNALS: std::ops::RangeInclusive<libc::c_int> = 1..=64;

/// Leaves the session, the terminal, the process group and the parent: Ctrl-C, a hang-up and a wait for all
/// children are the build's. Lets go of all descriptors: ninja waits for a pipe to close, and a daemon that
/// holds it would hold the build.
///
/// To be called before any other thread is there.
pub fn detach() {
    // A leader of a process group cannot leave its session, so a child does; and a leader of a session
    // could get a terminal again, so a child of that goes on.
    go_on_as_child();
    let _ = rustix::process::setsid();
    go_on_as_child();
    let _ = rustix::process::chdir("/");
    // SAFETY: nothing of ours is open yet beyond the three standard streams.
    unsafe {
        libc::close_range(3, libc::c_uint::MAX, 0);
    }
}

/// Where there is no room for another process, this one goes on.
fn go_on_as_child() {
    // SAFETY: there is one thread, and the parent ends without running anything of ours.
    unsafe {
        if libc::fork() > 0 {
            libc::_exit(0);
        }
    }
}

/// Undoes what the first caller had set for itself and its children.
pub fn undo() {
    use_all_processors();
    be_ordinary();
    handle_signals_as_usual();
    lift_soft_limits();
    // numactl's choice of memory, and setarch's of a personality.
    // SAFETY: both take numbers, and no list of nodes.
    unsafe {
        libc::syscall(libc::SYS_set_mempolicy, 0, std::ptr::null::<libc::c_ulong>(), 0_usize);
        libc::personality(0);
    }
}

/// The kernel takes those out that are not there or not for this cgroup.
fn use_all_processors() {
    // SAFETY: the set is plain bits, all of which are set.
    unsafe {
        let mut all: libc::cpu_set_t = std::mem::zeroed();
        for processor in 0..libc::CPU_SETSIZE as usize {
            libc::CPU_SET(processor, &mut all);
        }
        libc::sched_setaffinity(0, size_of_val(&all), &raw const all);
    }
}

/// Neither nice nor idle, as far as this user may: a daemon that stays nicer than a later build is
/// retired by it.
fn be_ordinary() {
    /// `ioprio_set`: of one process; class and data 0 mean that the nice value decides.
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: the structure is plain numbers, and all else takes numbers.
    unsafe {
        let mut ordinary: libc::sched_param = std::mem::zeroed();
        ordinary.sched_priority = 0;
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const ordinary);
        libc::setpriority(libc::PRIO_PROCESS, 0, 0);
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0);
    }
}

/// `nohup` and shells have signals ignored, and some parents have them blocked.
fn handle_signals_as_usual() {
    // SAFETY: no handler of ours is involved, and the set is plain bits.
    unsafe {
        for signal in SIGNALS {
            let mut found: libc::sigaction = std::mem::zeroed();
            let known = libc::sigaction(signal, std::ptr::null(), &raw mut found) == 0;
            if known && found.sa_sigaction == libc::SIG_IGN {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        // A closed connection and a file that grows too large are errors to handle, not ends.
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Soft limits are the first caller's choice; the hard ones are anyone's in this place. How many
/// descriptors it needs, the daemon decides itself (`descriptors.rs`).
fn lift_soft_limits() {
    let resources = LIMITS.iter().map(|(resource, _, _)| *resource);
    for resource in resources.filter(|resource| *resource != libc::RLIMIT_NOFILE) {
        let Ok((_, hard)) = place::limit(resource) else { continue };
        let lifted = libc::rlimit { rlim_cur: hard, rlim_max: hard };
        // SAFETY: the structure is there.
        unsafe { libc::setrlimit(resource as _, &raw const lifted) };
    }
}
