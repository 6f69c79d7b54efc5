//! Signals as bytes of a pipe, for whoever has something to put back before this process ends.

use libc::c_int;
use std::io::{self, PipeReader};
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicI32, Ordering};

/// What asks a process to end: the terminal's key, its end, and kill(1).
pub const ENDING: [c_int; 3] = [libc::SIGINT, libc::SIGHUP, libc::SIGTERM];

/// Where the handler writes to.
static WRITER: AtomicI32 = AtomicI32::new(-1);

/// From now on each of the signals is a byte of this pipe, its number. Programs that are started get
/// them as usual. To be called once.
pub fn catch(signals: &[c_int]) -> io::Result<PipeReader> {
    let (reader, writer) = io::pipe()?;
    // The handler must never block.
    rustix::io::ioctl_fionbio(&writer, true)?;
    WRITER.store(writer.into_raw_fd(), Ordering::SeqCst);
    for signal in signals {
        // SAFETY: the action is plain data; the handler does nothing but write(2).
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as extern "C" fn(c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(*signal, &action, std::ptr::null_mut())
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(reader)
}

/// The status of a shell for what a signal ended.
pub fn status_of(signal: u8) -> u8 {
    128 + signal
}

extern "C" fn note(signal: c_int) {
    let byte = signal as u8;
    // SAFETY: write(2) is async-signal-safe, and what it says of errors is put back.
    unsafe {
        let error = *libc::__errno_location();
        libc::write(WRITER.load(Ordering::SeqCst), (&raw const byte).cast(), 1);
        *libc::__errno_location() = error;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_signal_is_a_byte() {
        let mut signals = catch(&[libc::SIGUSR2]).unwrap();
        // SAFETY: the signal has a handler.
        unsafe { libc::raise(libc::SIGUSR2) };
        let mut byte = [0];
        signals.read_exact(&mut byte).unwrap();
        assert_eq!(i32::from(byte[0]), libc::SIGUSR2);
        assert_eq!(status_of(15), 143);
    }
}
