//! The hit itself, by the system calls of Linux on x86_64. Elsewhere nothing is ever asked early.

mod compiler;
mod daemon;
mod request;
mod socket;
mod syscalls;
mod text;

pub use request::request;
pub use socket::socket_path;

use crate::{ASKED, ASKED_IN_VAIN, ASKED_SILENCE, Names, Scratch};
use core::sync::atomic::Ordering;
use daemon::First;
use text::Stack;

/// Asks the daemon, and ends the process where the answer is a hit that printed nothing.
///
/// # Safety
/// `stack` is the stack pointer with which the kernel started the process.
pub unsafe fn ask(stack: *const usize, names: &Names, scratch: &mut Scratch) {
    // SAFETY: see the caller.
    let stack = unsafe { Stack::new(stack) };
    if let Some(asked) = try_ask(&stack, names, scratch) {
        ASKED.store(asked, Ordering::Relaxed);
    }
}

/// `None` where nothing was sent.
fn try_ask(stack: &Stack, names: &Names, scratch: &mut Scratch) -> Option<i32> {
    let frame = request::write(stack, names, scratch)?;
    let socket = socket::address(&stack.environment(), names)?;
    // Most answers come sooner than this. Only where none does it is worth a look whether there is a mark.
    let daemon = daemon::Daemon::connect(&socket, names.marked_silence_max)?;
    daemon.send(frame)?;
    let mut first = daemon.first_bytes(names.silent_hit);
    if first == First::Silence && socket.is_marked(names) != Some(true) {
        daemon.wait_longer(names.silence_max)?;
        first = daemon.first_bytes(names.silent_hit);
    }
    match first {
        First::Other => Some(daemon.keep()),
        First::Nothing => daemon.end(ASKED_IN_VAIN),
        First::Silence => daemon.end(ASKED_SILENCE),
    }
}
