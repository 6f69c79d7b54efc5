//! Everybody who is connected: how many, what their requests take, and who gives way when it is too much.
//!
//! A worker serves strangers. Whoever is in the middle of a request, or does not read the answer, holds
//! something that others could use; when there is no more of it, the one goes that has been at it for
//! longest. An honest client is done in a moment, so it is hardly ever the one.

use super::stream::raise;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// Connections at one time; the kernel keeps more waiting.
const CONNECTIONS_MAX: usize = 1024;

/// Connections of one address, which may be that of many machines behind a router: a build has a few
/// hundred jobs at most.
const CONNECTIONS_OF_ADDRESS_MAX: usize = 512;

/// Those who were told to go are gone in a moment; more than this are not waited for.
const GOING_MAX: usize = 256;

/// What the command lines of all requests may take in memory.
const MEMORY_BYTES_MAX: usize = 32 << 20;

/// What the rest of a word takes: where it is, and how long.
const WORD_COST: usize = 4;

/// Everybody.
pub struct Crowd {
    state: Mutex<State>,
    /// What texts and answers of all connections may take on disk.
    disk_bytes_max: u64,
    /// There is room again, or nobody is left.
    pub changed: OwnedFd,
}

#[derive(Default)]
struct State {
    members: BTreeMap<u64, Member>,
    next: u64,
    memory_bytes: usize,
    disk_bytes: u64,
}

struct Member {
    address: IpAddr,
    stream: Arc<TcpStream>,
    /// Since when it has not given way, or not been waited for.
    since: Instant,
    /// Its request is not complete, or its answer not read: it can be told to go.
    in_the_way: bool,
    going: bool,
    memory_bytes: usize,
    disk_bytes: u64,
}

/// One connection, until it is dropped.
pub struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
    number: u64,
}

/// What there can be too much of.
#[derive(Clone, Copy)]
enum Scarce {
    Memory,
    Disk,
}

impl Crowd {
    /// Nobody yet. Their files may take so much.
    pub fn new(disk_bytes_max: u64, changed: OwnedFd) -> Crowd {
        Crowd { state: Mutex::default(), disk_bytes_max, changed }
    }

    /// How many are connected.
    pub fn count(&self) -> usize {
        self.lock().members.len()
    }

    /// One more; `None` where there is no room, and nobody gives way.
    pub fn enter(self: &Arc<Crowd>, stream: &Arc<TcpStream>, address: IpAddr) -> Option<Place> {
        let mut state = self.lock();
        state.make_room(address)?;
        let number = state.next;
        state.next += 1;
        let member = Member {
            address: address.to_canonical(),
            stream: Arc::clone(stream),
            since: Instant::now(),
            in_the_way: true,
            going: false,
            memory_bytes: 0,
            disk_bytes: 0,
        };
        state.members.insert(number, member);
        drop(state);
        Some(Place { crowd: Arc::clone(self), address, number })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Place {
    /// Where the client is.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// So much more of the command line has come.
    pub fn take_memory(&self, bytes: usize) -> io::Result<()> {
        self.take(Scarce::Memory, (bytes.saturating_mul(WORD_COST)) as u64)
    }

    /// So much more is on disk.
    pub fn take_disk(&self, bytes: u64) -> io::Result<()> {
        self.take(Scarce::Disk, bytes)
    }

    /// Whether others may need what it has: while its request is not there in full, and again when
    /// its answer is not read at once.
    pub fn is_in_the_way(&self, in_the_way: bool) {
        if let Some(member) = self.crowd.lock().members.get_mut(&self.number) {
            member.in_the_way = in_the_way;
            member.since = Instant::now();
        }
    }

    /// Ends the connection: it holds something for too long.
    pub fn leave(&self) {
        self.crowd.lock().send_away(self.number);
    }

    /// Where nobody gives way, it is this one that goes.
    fn take(&self, what: Scarce, bytes: u64) -> io::Result<()> {
        let mut state = self.crowd.lock();
        let bytes_max = match what {
            Scarce::Memory => MEMORY_BYTES_MAX as u64,
            Scarce::Disk => self.crowd.disk_bytes_max,
        };
        while state.taken(what) + bytes > bytes_max {
            let others = |number: &u64, member: &Member| {
                *number != self.number && member.taken(what) > 0 && member.in_the_way
            };
            let Some(longest) = state.longest(others) else {
                return Err(io::Error::new(io::ErrorKind::OutOfMemory, "there is no room"));
            };
            state.send_away(longest);
        }
        // Whoever is going holds nothing that counts.
        let Some(member) = state.members.get_mut(&self.number).filter(|member| !member.going)
        else {
            return Err(io::ErrorKind::ConnectionAborted.into());
        };
        match what {
            Scarce::Memory => {
                member.memory_bytes += bytes as usize;
                state.memory_bytes += bytes as usize;
            }
            Scarce::Disk => {
                member.disk_bytes += bytes;
                state.disk_bytes += bytes;
            }
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.crowd.lock();
        state.forget(self.number);
        state.members.remove(&self.number);
        drop(state);
        raise(&self.crowd.changed);
    }
}

impl Member {
    fn taken(&self, what: Scarce) -> u64 {
        match what {
            Scarce::Memory => self.memory_bytes as u64,
            Scarce::Disk => self.disk_bytes,
        }
    }
}

impl State {
    fn taken(&self, what: Scarce) -> u64 {
        match what {
            Scarce::Memory => self.memory_bytes as u64,
            Scarce::Disk => self.disk_bytes,
        }
    }

    /// For one more from this address.
    fn make_room(&mut self, address: IpAddr) -> Option<()> {
        let address = address.to_canonical();
        let staying = || self.members.values().filter(|member| !member.going);
        let count = staying().count();
        let of_address = |address| staying().filter(|member| member.address == address).count();
        let crowded = match (of_address(address), count) {
            (CONNECTIONS_OF_ADDRESS_MAX.., _) => address,
            (_, CONNECTIONS_MAX..) => {
                let addresses = staying().map(|member| member.address);
                addresses.max_by_key(|address| of_address(*address))?
            }
            _ => return Some(()),
        };
        if self.members.len() - count >= GOING_MAX {
            return None;
        }
        let longest = self.longest(|_, member| member.address == crowded && member.in_the_way)?;
        self.send_away(longest);
        Some(())
    }

    /// The one of these that has been at it for longest.
    fn longest(&self, these: impl Fn(&u64, &Member) -> bool) -> Option<u64> {
        let staying = self.members.iter().filter(|(_, member)| !member.going);
        let these = staying.filter(|(number, member)| these(number, member));
        these.min_by_key(|(_, member)| member.since).map(|(number, _)| *number)
    }

    fn send_away(&mut self, number: u64) {
        self.forget(number);
        if let Some(member) = self.members.get_mut(&number) {
            member.going = true;
            // Its thread hears of it at its next read or write.
            let _ = member.stream.shutdown(Shutdown::Both);
        }
    }

    /// What it took counts no more.
    fn forget(&mut self, number: u64) {
        if let Some(member) = self.members.get_mut(&number) {
            self.memory_bytes -= std::mem::take(&mut member.memory_bytes);
            self.disk_bytes -= std::mem::take(&mut member.disk_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::event;
    use std::io::Read;
    use std::net::TcpListener;

    const DISK: u64 = 1_000;

    struct Hall {
        crowd: Arc<Crowd>,
        listener: TcpListener,
    }

    impl Hall {
        fn new() -> Hall {
            let crowd = Arc::new(Crowd::new(DISK, event().unwrap()));
            Hall { crowd, listener: TcpListener::bind("127.0.0.1:0").unwrap() }
        }

        /// The client's end, and the place.
        fn enter(&self, last: u8) -> Option<(TcpStream, Place)> {
            let theirs = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
            let ours = Arc::new(self.listener.accept().unwrap().0);
            let place = self.crowd.enter(&ours, [10, 0, 0, last].into())?;
            Some((theirs, place))
        }
    }

    fn was_sent_away(client: &mut TcpStream) -> bool {
        client.set_nonblocking(true).unwrap();
        client.read(&mut [0]).is_ok_and(|count| count == 0)
    }

    #[test]
    fn who_fills_the_disk_longest_gives_way() {
        let hall = Hall::new();
        let mut clients: Vec<_> = (0..3).map(|last| hall.enter(last).unwrap()).collect();
        for (_, place) in &clients[..2] {
            place.take_disk(DISK / 2).unwrap();
        }
        clients[2].1.take_disk(1).unwrap();
        let gone: Vec<bool> = clients.iter_mut().map(|(client, _)| was_sent_away(client)).collect();
        assert_eq!(gone, [true, false, false]);
        // It is told so, should it go on.
        let error = clients[0].1.take_disk(1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        // Whoever waits for its compile stays, and then it is the newcomer that goes.
        clients[1].1.is_in_the_way(false);
        let error = clients[2].1.take_disk(DISK).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        drop(clients);
        let (_client, place) = hall.enter(0).unwrap();
        place.take_disk(DISK).unwrap();
        assert_eq!(hall.crowd.count(), 1);
    }

    #[test]
    fn command_lines_have_a_bound_together() {
        let hall = Hall::new();
        let (mut first, one) = hall.enter(0).unwrap();
        let (_second, two) = hall.enter(0).unwrap();
        one.take_memory(MEMORY_BYTES_MAX / WORD_COST).unwrap();
        two.take_memory(1).unwrap();
        assert!(was_sent_away(&mut first));
    }

    #[test]
    fn an_address_has_a_bound_and_its_oldest_gives_way() {
        let hall = Hall::new();
        let mut many: Vec<_> =
            (0..CONNECTIONS_OF_ADDRESS_MAX).map(|_| hall.enter(1).unwrap()).collect();
        let other = hall.enter(2).unwrap();
        // One that waits for its compile does not give way.
        many[0].1.is_in_the_way(false);
        let one_more = hall.enter(1).unwrap();
        assert!(!was_sent_away(&mut many[0].0) && was_sent_away(&mut many[1].0));
        assert!(!was_sent_away(&mut many[2].0));
        for (_, place) in many.iter().chain([&one_more]) {
            place.is_in_the_way(false);
        }
        assert!(hall.enter(1).is_none(), "nobody gives way");
        assert!(hall.enter(2).is_some());
        drop((many, other, one_more));
        assert_eq!(hall.crowd.count(), 0);
    }
}
