//! The client while it waits for its answer: whether it is still there, and the signs of life that it gets.

use remote::protocol::{limits, response};
use rustix::event::PollFlags;
use rustix::net::SendFlags;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// Who waits for an answer.
pub struct Caller<'a> {
    stream: BorrowedFd<'a>,
    address: IpAddr,
    /// When the next sign is due; `None` for a client that would not understand it.
    next_sign: Option<Instant>,
    /// Of the last sign, what the connection did not take; it goes before all else.
    unsent: &'static [u8],
}

impl<'a> Caller<'a> {
    /// The client behind a connection from there. Only one of rcache understands signs of life.
    pub fn new(stream: BorrowedFd<'a>, address: IpAddr, understands_signs: bool) -> Caller<'a> {
        let next_sign = understands_signs.then(|| Instant::now() + limits::ALIVE_INTERVAL);
        Caller { stream, address: address.to_canonical(), next_sign, unsent: &[] }
    }

    /// Where it is.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Its connection, for poll.
    pub fn stream(&self) -> BorrowedFd<'a> {
        self.stream
    }

    /// What poll says when it closed its side, or is gone.
    pub fn gone_flags() -> PollFlags {
        PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR
    }

    /// How long of `span` may pass before the next sign is due.
    pub fn patience(&self, span: Duration) -> Duration {
        let now = Instant::now();
        self.next_sign.map_or(span, |next| span.min(next.saturating_duration_since(now)))
    }

    /// Gives a sign of life, if one is due. It waits for nothing: a client that does not read notices
    /// soon enough.
    pub fn show_life(&mut self) {
        let now = Instant::now();
        let Some(next) = self.next_sign.filter(|next| *next <= now) else { return };
        self.next_sign = Some(next.max(now) + limits::ALIVE_INTERVAL);
        if self.unsent.is_empty() {
            self.unsent = response::ALIVE;
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        if let Ok(sent) = rustix::net::send(self.stream, self.unsent, flags) {
            self.unsent = &self.unsent[sent..];
        }
    }

    /// What must be sent before the answer: a sign cannot end in its middle.
    pub fn rest_of_sign(&self) -> &'static [u8] {
        if self.unsent.len() < response::ALIVE.len() { self.unsent } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn signs_are_given_when_they_are_due() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut caller = Caller::new(ours.as_fd(), HERE, true);
        let long = Duration::from_secs(100);
        assert!(caller.patience(long) <= limits::ALIVE_INTERVAL);
        assert_eq!(caller.patience(Duration::ZERO), Duration::ZERO);
        caller.show_life();
        caller.next_sign = Some(Instant::now());
        caller.show_life();
        caller.show_life();
        assert_eq!(caller.rest_of_sign(), b"");
        drop(ours);
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).unwrap();
        assert_eq!(all, response::ALIVE);
    }

    #[test]
    fn stock_clients_get_none() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut caller = Caller::new(ours.as_fd(), HERE, false);
        let long = Duration::from_secs(100);
        assert_eq!(caller.patience(long), long);
        caller.show_life();
        drop(ours);
        assert_eq!(theirs.read(&mut [0; 12]).unwrap(), 0);
    }

    #[test]
    fn a_sign_is_sent_whole_or_not_at_all() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut caller = Caller::new(ours.as_fd(), HERE, true);
        caller.unsent = &response::ALIVE[5..];
        assert_eq!(caller.rest_of_sign(), &response::ALIVE[5..]);
        drop(theirs);
        caller.unsent = &[];
        caller.next_sign = Some(Instant::now());
        caller.show_life();
        assert_eq!(caller.rest_of_sign(), b"");
    }
}
