//! Being told to end: SIGTERM, and Ctrl-C for a daemon in the foreground.

use crate::Daemon;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What ends a daemon in order.
const ENDING: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// A shell's status for a process that a signal ended is this and the signal's number.
const SIGNALLED_STATUS: i32 = 128;

/// Keeps the signals for [`obey`]. To be called before any other thread is there.
pub fn hold() {
    let ending = ending();
    // SAFETY: the set is plain bits.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const ending, std::ptr::null_mut()) };
}

/// Lets them through to a compiler that the daemon starts itself. Safe between fork and exec.
pub fn let_go() {
    let ending = ending();
    // SAFETY: the set is plain bits, and the call is async-signal-safe.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const ending, std::ptr::null_mut()) };
}

/// Retires the daemon at the first signal; the second one ends it at once.
pub fn obey(daemon: &Arc<Daemon>) {
    let daemon = Arc::clone(daemon);
    let watch = move || {
        let ending = ending();
        loop {
            let mut signal = 0;
            // SAFETY: the set is plain bits, and every thread holds these signals.
            if unsafe { libc::sigwait(&raw const ending, &raw mut signal) } != 0 {
                return;
            }
            if daemon.activity.hurried.swap(true, Ordering::SeqCst) {
                std::process::exit(SIGNALLED_STATUS + signal);
            }
            tracing::info!("told to end by signal {signal}");
            daemon.retire();
        }
    };
    if let Err(error) = std::thread::Builder::new().spawn(watch) {
        tracing::warn!("signals are not obeyed: {error}");
    }
}

fn ending() -> libc::sigset_t {
    // SAFETY: the set is plain bits.
    unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        for signal in ENDING {
            libc::sigaddset(&raw mut signals, signal);
        }
        signals
    }
}
