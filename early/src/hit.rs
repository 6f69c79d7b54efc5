//! The hit itself, by the system calls of Linux on x86_64 and aarch64. Elsewhere nothing is ever asked early.

mod arch;
mod compiler;
mod daemon;
mod place;
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
    if !request::is_straight(stack, names) {
        return None;
    }
    // Most answers come sooner than this. Only where none does it is worth a look whether there is a mark.
    let daemon = daemon::Daemon::open(names.marked_silence_max)?;
    let asked = ask_through(&daemon, stack, names, scratch);
    if asked.is_none_or(|asked| asked < 0) {
        daemon.close();
    }
    asked
}

fn ask_through(
    daemon: &daemon::Daemon,
    stack: &Stack,
    names: &Names,
    scratch: &mut Scratch,
) -> Option<i32> {
    let place = place::Place::find(daemon.socket(), names)?;
    let mut frame = request::write(stack, names, scratch, &place)?;
    let address = socket::address(&stack.environment(), names, &place)?;
    frame.set_proof(syscalls::proof(daemon.connect(&address)?)?);
    daemon.send(frame.get())?;
    let mut first = daemon.first_bytes(names.silent_hit);
    if first == First::Silence && address.is_marked(names) != Some(true) {
        daemon.wait_longer(names.silence_max)?;
        first = daemon.first_bytes(names.silent_hit);
    }
    match first {
        First::Other => Some(daemon.keep()),
        First::Nothing => Some(ASKED_IN_VAIN),
        First::Silence => Some(ASKED_SILENCE),
    }
}
