//! One request to the daemon, and a look at its answer.

use super::socket::Address;
use super::syscalls;

/// The standard streams; a socket among them would be printed to.
const STREAMS: usize = 3;

/// An answer to a hit that printed nothing has so many bytes.
const ANSWER_BYTES: usize = 17;

/// A connection.
pub struct Daemon {
    socket: usize,
}

/// What the answer begins with, where it is not what it was compared with. (With one more, LLVM would
/// make a table of jumps.)
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Something that is still to be read.
    Other,
    /// The end.
    Nothing,
    /// Nothing came in time.
    Silence,
}

impl Daemon {
    /// A socket that is not connected yet.
    pub fn open(silence_max: u32) -> Option<Daemon> {
        let daemon = Daemon { socket: syscalls::unix_socket()? };
        if daemon.socket >= STREAMS && syscalls::set_timeouts(daemon.socket, silence_max) {
            return Some(daemon);
        }
        daemon.close();
        None
    }

    /// The descriptor.
    pub fn socket(&self) -> usize {
        self.socket
    }

    /// The process that listens; `None` where no daemon of this user answers.
    pub fn connect(&self, address: &Address) -> Option<u32> {
        if !syscalls::connect(self.socket, address.get()) {
            return None;
        }
        let (process, user) = syscalls::peer(self.socket)?;
        (user == syscalls::user()).then_some(process)
    }

    /// `None` where the daemon did not take it: then it has nothing that it could serve.
    pub fn send(&self, frame: &[u8]) -> Option<()> {
        syscalls::send(self.socket, frame).then_some(())
    }

    /// Waits for the answer, and ends the process where it is the expected one.
    pub fn first_bytes(&self, expected: &[u8]) -> First {
        let mut bytes = [0; ANSWER_BYTES];
        match syscalls::peek(self.socket, &mut bytes) {
            None => First::Silence,
            Some(0) => First::Nothing,
            Some(count) => match bytes.get(..count) {
                Some(came) if super::text::same(came, expected) => syscalls::exit(0),
                _ => First::Other,
            },
        }
    }

    /// Waits for up to so many milliseconds from now on. `None` where that cannot be.
    pub fn wait_longer(&self, silence_max: u32) -> Option<()> {
        syscalls::set_timeouts(self.socket, silence_max).then_some(())
    }

    /// The descriptor, for whoever goes on.
    pub fn keep(&self) -> i32 {
        self.socket as i32
    }

    /// Ends it.
    pub fn close(&self) {
        syscalls::close(self.socket);
    }
}
