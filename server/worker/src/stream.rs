//! A connection on which nothing waits for ever: reads and writes have a deadline, and end with a drain.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// A peer that says nothing for this long is cut off. A stock distcc client connects before it has
/// preprocessed, which takes many seconds on a busy machine.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A non-blocking stream with a deadline for all that is read or written through it.
pub struct TimedStream<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
    /// Once it is readable, nothing more is read or written.
    stop: BorrowedFd<'a>,
    /// Bytes that came or went.
    pub bytes: u64,
}

impl<'a> TimedStream<'a> {
    /// The stream must be in non-blocking mode.
    pub fn new(stream: &'a TcpStream, limit: Duration, stop: BorrowedFd<'a>) -> TimedStream<'a> {
        TimedStream { stream, deadline: Instant::now() + limit, stop, bytes: 0 }
    }

    /// Waits for what comes next, and leaves it there. Nothing: the end.
    pub fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.peek(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN)?;
                }
                other => return other,
            }
        }
    }

    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = timespec(left.min(SILENCE_MAX));
        let mut descriptors =
            [PollFd::new(self.stream, flags), PollFd::from_borrowed_fd(self.stop, PollFlags::IN)];
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) if !descriptors[1].revents().is_empty() => {
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Read for TimedStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if Instant::now() > self.deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match (&mut &*self.stream).read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN)?;
                }
                Ok(count) => {
                    self.bytes += count as u64;
                    return Ok(count);
                }
                other => return other,
            }
        }
    }
}

impl Write for TimedStream<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        loop {
            if Instant::now() > self.deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match (&mut &*self.stream).write(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT)?;
                }
                Ok(count) => {
                    self.bytes += count as u64;
                    return Ok(count);
                }
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A span as poll wants it.
pub fn timespec(span: Duration) -> Timespec {
    Timespec { tv_sec: span.as_secs() as i64, tv_nsec: i64::from(span.subsec_nanos()) }
}

/// An event that stays once it has happened, for poll.
pub fn event() -> io::Result<std::os::fd::OwnedFd> {
    let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
    Ok(rustix::event::eventfd(0, flags)?)
}

/// Lets an event happen. It only fails where it has happened often.
pub fn raise(event: impl AsFd) {
    let _ = rustix::io::write(event, &1u64.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (client, server)
    }

    #[test]
    fn a_silent_peer_is_cut_off() {
        let (_client, server) = pair();
        let stop = event().unwrap();
        let mut timed = TimedStream::new(&server, Duration::from_millis(20), stop.as_fd());
        let error = timed.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_peer_that_does_not_read_is_cut_off() {
        let (_client, server) = pair();
        let stop = event().unwrap();
        let mut timed = TimedStream::new(&server, Duration::from_millis(50), stop.as_fd());
        let error = timed.write_all(&vec![0; 64 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_drain_ends_the_wait() {
        let (_client, server) = pair();
        let stop = event().unwrap();
        raise(&stop);
        let mut timed = TimedStream::new(&server, Duration::from_secs(60), stop.as_fd());
        let error = timed.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }

    #[test]
    fn bytes_come_and_are_counted() {
        let (mut client, server) = pair();
        let stop = event().unwrap();
        client.write_all(b"hello").unwrap();
        drop(client);
        let mut timed = TimedStream::new(&server, Duration::from_secs(60), stop.as_fd());
        let mut all = Vec::new();
        timed.read_to_end(&mut all).unwrap();
        assert_eq!((all.as_slice(), timed.bytes), (&b"hello"[..], 5));
    }
}
