//! What this process got from its caller and changed for itself: each program that it starts in the caller's stead gets
//! it as it was.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Signals whose handling is changed, and whether the caller had them ignored.
static CHANGED: [(libc::c_int, libc::sighandler_t, AtomicBool); 2] = [
    // A closed pipe is an error to handle, not an end.
    (libc::SIGPIPE, libc::SIG_IGN, AtomicBool::new(false)),
    // The kernel keeps the status of no child whose parent ignores this one (wait(2)).
    (libc::SIGCHLD, libc::SIG_DFL, AtomicBool::new(false)),
];

/// Standard streams that were closed, one bit for each.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Makes of the surroundings what rcache needs, and remembers what they were. To be called once, before
/// any other thread is there.
pub fn take_over() {
    for (signal, own, ignored) in &CHANGED {
        // SAFETY: no handler of ours is involved.
        let before = unsafe { libc::signal(*signal, *own) };
        ignored.store(before == libc::SIG_IGN, Ordering::Relaxed);
    }
    let is_closed = |stream: &libc::c_int| {
        // SAFETY: it only asks for the flags of a descriptor, which may be closed.
        unsafe { libc::fcntl(*stream, libc::F_GETFD) < 0 }
    };
    // A stream that is closed must not become the socket. The lowest free number is taken, so they are
    // filled in order; programs that are started find them closed as they were.
    for stream in (0..=2).filter(is_closed) {
        CLOSED.fetch_or(1 << stream, Ordering::Relaxed);
        // SAFETY: the path is a C string.
        unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    }
}

/// Whether standard output or standard error was closed. What a compiler opens takes their place then,
/// and what it prints goes there: only the compiler itself can end in the same way.
pub fn lacks_output_stream() -> bool {
    CLOSED.load(Ordering::Relaxed) & 0b110 != 0
}

/// Handles signals as the caller would have it.
fn restore_signals() {
    for (signal, _, ignored) in &CHANGED {
        let ignored = ignored.load(Ordering::Relaxed);
        // SAFETY: no handler of ours is involved, and the call is async-signal-safe.
        unsafe { libc::signal(*signal, if ignored { libc::SIG_IGN } else { libc::SIG_DFL }) };
    }
}

/// Gives a program what the caller would have given it.
pub fn hand_on(command: &mut Command) {
    let enter = || -> io::Result<()> {
        restore_signals();
        Ok(())
    };
    // SAFETY: it makes async-signal-safe calls with plain numbers, and takes neither locks nor memory.
    unsafe { command.pre_exec(enter) };
}
