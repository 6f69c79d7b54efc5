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
    /// `None` where no daemon of this user answers.
    pub fn connect(address: &Address, silence_max: u32) -> Option<Daemon> {
        let socket = syscalls::unix_socket()?;
        let is_ours = |socket| syscalls::peer_user(socket) == Some(syscalls::user());
        let daemon = Daemon { socket };
        let connected = socket >= STREAMS
            && syscalls::set_timeouts(socket, silence_max)
            && syscalls::connect(socket, address.get())
            && is_ours(socket);
        if connected {
            return Some(daemon);
        }
        daemon.close()
    }

    /// `None` where the daemon did not take it: then it has nothing that it could serve.
    pub fn send(&self, frame: &[u8]) -> Option<()> {
        if syscalls::send(self.socket, frame) {
            return Some(());
        }
        self.close()
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
        if syscalls::set_timeouts(self.socket, silence_max) {
            return Some(());
        }
        self.close()
    }

    /// Hangs up, and says this.
    pub fn end(self, asked: i32) -> Option<i32> {
        self.close::<()>();
        Some(asked)
    }

    /// The descriptor, for whoever goes on.
    pub fn keep(self) -> i32 {
        self.socket as i32
    }

    fn close<T>(&self) -> Option<T> {
        syscalls::close(self.socket);
        None
    }
}
