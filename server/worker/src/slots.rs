//! How many run at one time, and who is next: the client that has the fewest, then first come, first served.

use super::caller::Caller;
use super::stream::{event, raise, timespec};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Requests that wait for each slot. More are turned away: their clients fare better elsewhere.
pub const WAITING_PER_SLOT_MAX: usize = 16;

/// The slots of this worker.
pub struct Slots {
    count: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    /// Of each address that has any.
    running_of: HashMap<IpAddr, usize>,
    /// The first to come in front.
    waiting: VecDeque<Arc<Waiter>>,
}

/// One that waits.
struct Waiter {
    address: IpAddr,
    /// It need not wait any longer: it has a slot, or lost its place in the queue.
    over: OwnedFd,
    turned_away: AtomicBool,
}

/// Permission to run, until it is dropped.
pub struct Slot<'a> {
    slots: &'a Slots,
    address: IpAddr,
}

/// Why there is no slot.
#[derive(Debug)]
pub enum NoSlot {
    /// Too many wait already.
    Full,
    /// The client went away.
    ClientGone,
    /// The worker ends.
    Ending,
    /// It took too long.
    TooLong,
    /// No descriptor was left to wait with.
    Failed(io::Error),
}

impl Slots {
    /// `count` slots.
    pub fn new(count: usize) -> Slots {
        Slots { count, state: Mutex::default() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many run and how many wait.
    pub fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.running, state.waiting.len())
    }

    /// Waits for a slot, as long as the caller is there and `ending` has not happened.
    pub fn acquire(
        &self,
        caller: &mut Caller,
        ending: BorrowedFd,
        wait_max: Duration,
    ) -> Result<Slot<'_>, NoSlot> {
        let address = caller.address();
        let waiter = {
            let mut state = self.lock();
            if state.running < self.count {
                state.running += 1;
                *state.running_of.entry(address).or_default() += 1;
                return Ok(Slot { slots: self, address });
            }
            if state.waiting.len() >= self.count * WAITING_PER_SLOT_MAX {
                state.make_room(address)?;
            }
            let over = event().map_err(NoSlot::Failed)?;
            let waiter = Arc::new(Waiter { address, over, turned_away: AtomicBool::new(false) });
            state.waiting.push_back(Arc::clone(&waiter));
            waiter
        };
        let verdict = wait(waiter.over.as_fd(), caller, ending, Instant::now() + wait_max);
        let mut state = self.lock();
        let place = state.waiting.iter().position(|other| Arc::ptr_eq(other, &waiter));
        // Who is no longer in the queue has a slot, whatever else happened meanwhile, or was turned away.
        match (place, verdict) {
            (Some(place), verdict) => {
                state.waiting.remove(place);
                Err(verdict.err().unwrap_or(NoSlot::ClientGone))
            }
            (None, _) if waiter.turned_away.load(Ordering::Relaxed) => Err(NoSlot::Full),
            (None, Ok(())) => Ok(Slot { slots: self, address }),
            (None, Err(why)) => {
                drop(state);
                drop(Slot { slots: self, address });
                Err(why)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl State {
    /// For one more from this address: the last one goes of the address that has the most, unless that
    /// is this one.
    fn make_room(&mut self, address: IpAddr) -> Result<(), NoSlot> {
        let waiting =
            |address| self.waiting.iter().filter(|waiter| waiter.address == address).count();
        let addresses = self.waiting.iter().map(|waiter| waiter.address);
        let Some(crowded) = addresses.max_by_key(|address| waiting(*address)) else {
            return Err(NoSlot::Full);
        };
        if waiting(crowded) <= waiting(address) + 1 {
            return Err(NoSlot::Full);
        }
        let last = self.waiting.iter().rposition(|waiter| waiter.address == crowded);
        if let Some(waiter) = last.and_then(|last| self.waiting.remove(last)) {
            waiter.turned_away.store(true, Ordering::Relaxed);
            raise(&waiter.over);
        }
        Ok(())
    }

    /// The first of those whose address has the fewest running.
    fn next(&mut self) -> Option<Arc<Waiter>> {
        let running = |waiter: &Arc<Waiter>| self.running_of.get(&waiter.address).copied();
        let (next, _) =
            self.waiting.iter().enumerate().min_by_key(|(_, waiter)| running(waiter))?;
        self.waiting.remove(next)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        if let Some(running) = state.running_of.get_mut(&self.address) {
            *running -= 1;
            if *running == 0 {
                state.running_of.remove(&self.address);
            }
        }
        match state.next() {
            // The slot passes on.
            Some(next) => {
                *state.running_of.entry(next.address).or_default() += 1;
                raise(&next.over);
            }
            None => state.running -= 1,
        }
    }
}

fn wait(
    granted: BorrowedFd,
    caller: &mut Caller,
    ending: BorrowedFd,
    deadline: Instant,
) -> Result<(), NoSlot> {
    loop {
        let mut descriptors = [
            PollFd::from_borrowed_fd(granted, PollFlags::IN),
            PollFd::from_borrowed_fd(caller.stream(), Caller::gone_flags()),
            PollFd::from_borrowed_fd(ending, PollFlags::IN),
        ];
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut descriptors, Some(&timespec(caller.patience(left)))) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(NoSlot::Failed(error.into())),
            Ok(0) if left.is_zero() => return Err(NoSlot::TooLong),
            Ok(0) => {
                caller.show_life();
                continue;
            }
            Ok(_) => {}
        }
        let happened = |at: usize| !descriptors[at].revents().is_empty();
        return match (happened(1), happened(2)) {
            (true, _) => Err(NoSlot::ClientGone),
            (_, true) => Err(NoSlot::Ending),
            _ => Ok(()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicUsize;

    const LONG: Duration = Duration::from_secs(60);

    struct Peer {
        ours: UnixStream,
        theirs: UnixStream,
        ending: OwnedFd,
    }

    impl Peer {
        fn new() -> Peer {
            let (ours, theirs) = UnixStream::pair().unwrap();
            Peer { ours, theirs, ending: event().unwrap() }
        }

        fn acquire<'a>(&self, slots: &'a Slots) -> Result<Slot<'a>, NoSlot> {
            self.acquire_at(slots, 1)
        }

        /// As a client of another address.
        fn acquire_at<'a>(&self, slots: &'a Slots, last: u8) -> Result<Slot<'a>, NoSlot> {
            let mut caller = Caller::new(self.ours.as_fd(), [10, 0, 0, last].into(), false);
            slots.acquire(&mut caller, self.ending.as_fd(), LONG)
        }
    }

    fn waiter(last: u8) -> Arc<Waiter> {
        let address = [10, 0, 0, last].into();
        Arc::new(Waiter { address, over: event().unwrap(), turned_away: AtomicBool::new(false) })
    }

    #[test]
    fn each_client_has_its_share() {
        let slots = Slots::new(2);
        let first = Peer::new();
        let held = [first.acquire(&slots).unwrap(), first.acquire(&slots).unwrap()];
        let [greedy, modest] = [1, 2].map(waiter);
        slots.lock().waiting.extend([Arc::clone(&greedy), Arc::clone(&modest)]);
        assert!(slots.lock().next().is_some_and(|next| Arc::ptr_eq(&next, &modest)));
        assert!(slots.lock().next().is_some_and(|next| Arc::ptr_eq(&next, &greedy)));
        // In a full queue the last of the one that has the most makes room for another.
        let many: Vec<_> = (0..2 * WAITING_PER_SLOT_MAX).map(|_| waiter(1)).collect();
        slots.lock().waiting.extend(many.iter().cloned());
        assert!(matches!(first.acquire(&slots).err().unwrap(), NoSlot::Full));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| Peer::new().acquire_at(&slots, 2).is_ok());
            let is_gone = |waiter: &Arc<Waiter>| waiter.turned_away.load(Ordering::Relaxed);
            while !is_gone(many.last().unwrap()) {
                std::thread::yield_now();
            }
            assert!(!is_gone(&many[0]));
            drop(held);
            assert!(other.join().unwrap());
        });
    }

    fn wait_for_queue(slots: &Slots, length: usize) {
        while slots.load().1 != length {
            std::thread::yield_now();
        }
    }

    #[test]
    fn first_come_first_served() {
        let slots = Slots::new(1);
        let order = Mutex::new(Vec::new());
        let first = Peer::new();
        let held = first.acquire(&slots).unwrap();
        std::thread::scope(|scope| {
            for number in 0..5 {
                let (slots, order) = (&slots, &order);
                scope.spawn(move || {
                    let peer = Peer::new();
                    let _slot = peer.acquire(slots).unwrap();
                    order.lock().unwrap().push(number);
                });
                wait_for_queue(slots, number + 1);
            }
            drop(held);
        });
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(slots.load(), (0, 0));
    }

    #[test]
    fn never_more_than_there_are() {
        let slots = Slots::new(3);
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..24 {
                scope.spawn(|| {
                    let peer = Peer::new();
                    let _slot = peer.acquire(&slots).unwrap();
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 3);
        assert_eq!(slots.load(), (0, 0));
    }

    #[test]
    fn who_leaves_makes_room() {
        let slots = Slots::new(1);
        let first = Peer::new();
        let held = first.acquire(&slots).unwrap();
        let gone = Peer::new();
        let patient = Peer::new();
        std::thread::scope(|scope| {
            let leaver = scope.spawn(|| gone.acquire(&slots).err().unwrap());
            wait_for_queue(&slots, 1);
            let stayer = scope.spawn(|| patient.acquire(&slots).is_ok());
            wait_for_queue(&slots, 2);
            gone.theirs.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(matches!(leaver.join().unwrap(), NoSlot::ClientGone));
            drop(held);
            assert!(stayer.join().unwrap());
        });
        assert_eq!(slots.load(), (0, 0));
    }

    #[test]
    fn the_queue_has_an_end_and_waits_do_too() {
        let slots = Slots::new(1);
        let peer = Peer::new();
        let _held = peer.acquire(&slots).unwrap();
        let mut caller = Caller::new(peer.ours.as_fd(), [10, 0, 0, 1].into(), true);
        let brief = slots.acquire(&mut caller, peer.ending.as_fd(), Duration::ZERO);
        assert!(matches!(brief.err().unwrap(), NoSlot::TooLong));
        for _ in 0..WAITING_PER_SLOT_MAX {
            slots.lock().waiting.push_back(waiter(1));
        }
        assert!(matches!(peer.acquire(&slots).err().unwrap(), NoSlot::Full));
        slots.lock().waiting.clear();
        raise(&peer.ending);
        assert!(matches!(peer.acquire(&slots).err().unwrap(), NoSlot::Ending));
    }
}
