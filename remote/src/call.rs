//! One request to one host, and its answer: connecting, sending, receiving, each in bounded time.

use crate::customer::Customer;
use crate::listener::{self, Untrusted};
use crate::protocol::WireError;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// For a connection to stand, as in distcc. A host on the same network answers in milliseconds.
pub const CONNECT_MAX: Duration = Duration::from_secs(4);

/// How often the customer is asked whether it still waits.
const LOOK_UP: Duration = Duration::from_millis(400);

/// A host that has vanished from the network is noticed after about this long (tcp(7),
/// TCP_USER_TIMEOUT and keep-alives); one that merely computes answers for itself.
const VANISHED_AFTER: Duration = Duration::from_secs(10);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(4);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_COUNT: u32 = 3;

/// Why a call gave no answer.
#[derive(Debug)]
pub enum CallError {
    /// The customer does not wait any more.
    Gone(io::Error),
    /// No connection came about; in words for a person.
    Unreachable(String),
    /// It ends on this machine, at somebody who must not have the sources.
    Untrusted(Untrusted),
    /// It took too long.
    TimedOut,
    /// The host closed the connection where an answer was due: a stock distccd refuses so.
    Closed,
    /// The host is to blame in another way; in words for a person.
    Host(String),
}

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the whole call.
    pub whole: Duration,
    /// Between two signs of life while the answer is due; `None` for a host that gives none.
    pub silence: Option<Duration>,
}

/// Sends `request` to `address`, and lets `read` take the answer off the stream.
pub fn call<T>(
    address: SocketAddr,
    request: &[u8],
    patience: Patience,
    customer: &mut dyn Customer,
    read: impl FnOnce(&mut Connection) -> Result<T, WireError>,
) -> Result<T, CallError> {
    let deadline = Instant::now() + patience.whole;
    let mut connection = Connection {
        stream: open(address, patience)
            .map_err(|error| CallError::Unreachable(error.to_string()))?,
        deadline: deadline.min(Instant::now() + CONNECT_MAX),
        silence: None,
        last_heard: Instant::now(),
        looked_up: Instant::now(),
        customer,
        gone: None,
    };
    if let Err(error) = connection.finish_connecting() {
        return Err(connection.blame(CallError::Unreachable(error.to_string())));
    }
    connection.check_listener()?;
    connection.deadline = deadline;
    // A host may answer, or refuse, before it has read everything.
    let sent = connection.write_all(request);
    if let Err(error) = &sent
        && !is_closed(error)
    {
        let why = match error.kind() {
            io::ErrorKind::TimedOut => CallError::TimedOut,
            _ => CallError::Host(format!("send: {error}")),
        };
        return Err(connection.blame(why));
    }
    connection.silence = patience.silence;
    connection.last_heard = Instant::now();
    read(&mut connection).map_err(|error| {
        let why = match error {
            WireError::Io(error) if is_closed(&error) => CallError::Closed,
            WireError::Io(error) if error.kind() == io::ErrorKind::TimedOut => CallError::TimedOut,
            error => CallError::Host(error.to_string()),
        };
        connection.blame(why)
    })
}

fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn open(address: SocketAddr, patience: Patience) -> io::Result<TcpStream> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    // A stock distccd reads nothing of a job that waits for its turn, which looks the same.
    if patience.silence.is_some() {
        sockopt::set_tcp_user_timeout(&socket, VANISHED_AFTER.as_millis() as u32)?;
    }
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_COUNT)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

/// A connection whose waits are bounded, and end when the customer leaves.
pub struct Connection<'c> {
    stream: TcpStream,
    deadline: Instant,
    silence: Option<Duration>,
    last_heard: Instant,
    looked_up: Instant,
    customer: &'c mut dyn Customer,
    gone: Option<io::Error>,
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::Gone(error) => write!(f, "nobody waits any more: {error}"),
            CallError::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            CallError::Untrusted(why) => write!(f, "{why}"),
            CallError::TimedOut => write!(f, "no answer in time"),
            CallError::Closed => write!(f, "closed the connection without an answer"),
            CallError::Host(why) => f.write_str(why),
        }
    }
}

impl Connection<'_> {
    fn finish_connecting(&mut self) -> io::Result<()> {
        self.wait(PollFlags::OUT)?;
        match self.stream.take_error()? {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Before anything is sent.
    fn check_listener(&self) -> Result<(), CallError> {
        let ends = self.stream.peer_addr().and_then(|peer| Ok((peer, self.stream.local_addr()?)));
        // Who hung up already is nobody to be trusted or not.
        let (server, client) = ends.map_err(|_| CallError::Closed)?;
        listener::check(server, client).map_err(CallError::Untrusted)
    }

    /// Waits until the stream is ready.
    fn wait(&mut self, flags: PollFlags) -> io::Result<()> {
        loop {
            let now = Instant::now();
            let silent = self.silence.is_some_and(|silence| now > self.last_heard + silence);
            if silent {
                return Err(too_late());
            }
            self.check_deadline()?;
            let pause = LOOK_UP.min(self.deadline.saturating_duration_since(now));
            let pause = rustix::time::Timespec::try_from(pause).unwrap_or_default();
            let mut polled = [PollFd::from_borrowed_fd(self.stream.as_fd(), flags)];
            let ready = match poll(&mut polled, Some(&pause)) {
                Ok(count) => count > 0,
                Err(Errno::INTR) => false,
                Err(error) => return Err(error.into()),
            };
            // Also while an answer trickles in.
            if !ready || self.looked_up.elapsed() >= LOOK_UP {
                self.look_up()?;
            }
            if ready {
                return Ok(());
            }
        }
    }

    fn check_deadline(&self) -> io::Result<()> {
        match Instant::now() < self.deadline {
            true => Ok(()),
            false => Err(too_late()),
        }
    }

    fn look_up(&mut self) -> io::Result<()> {
        self.looked_up = Instant::now();
        self.customer.still_waiting().map_err(|error| {
            self.gone = Some(error);
            io::ErrorKind::ConnectionAborted.into()
        })
    }

    fn blame(&mut self, why: CallError) -> CallError {
        self.gone.take().map_or(why, CallError::Gone)
    }
}

impl Read for Connection<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // Also where there is always something to read, such as signs of life without end.
            self.check_deadline()?;
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN)?;
                }
                result => {
                    self.last_heard = Instant::now();
                    return result;
                }
            }
        }
    }
}

impl Write for Connection<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT)?;
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
