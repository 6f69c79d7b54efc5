//! How many compiles run at one time, and who is next: first come, first served.

use super::caller::Caller;
use super::stream::{event, raise, timespec};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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
    /// One event for each that waits, the first to come in front.
    waiting: VecDeque<Arc<OwnedFd>>,
}

/// Permission to run one compile, until it is dropped.
pub struct Slot<'a> {
    slots: &'a Slots,
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
        let granted = {
            let mut state = self.lock();
            if state.running < self.count {
                state.running += 1;
                return Ok(Slot { slots: self });
            }
            if state.waiting.len() >= self.count * WAITING_PER_SLOT_MAX {
                return Err(NoSlot::Full);
            }
            let granted = Arc::new(event().map_err(NoSlot::Failed)?);
            state.waiting.push_back(Arc::clone(&granted));
            granted
        };
        let verdict = wait(granted.as_fd(), caller, ending, Instant::now() + wait_max);
        let mut state = self.lock();
        let place = state.waiting.iter().position(|waiting| Arc::ptr_eq(waiting, &granted));
        match (place, verdict) {
            // Who is no longer in the queue has a slot, whatever else happened meanwhile.
            (None, Ok(())) => Ok(Slot { slots: self }),
            (None, Err(why)) => {
                drop(state);
                drop(Slot { slots: self });
                Err(why)
            }
            (Some(place), verdict) => {
                state.waiting.remove(place);
                Err(verdict.err().unwrap_or(NoSlot::ClientGone))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        match state.waiting.pop_front() {
            // The slot passes on.
            Some(next) => raise(&*next),
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
    use std::sync::atomic::{AtomicUsize, Ordering};

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
            let mut caller = Caller::new(self.ours.as_fd(), false);
            slots.acquire(&mut caller, self.ending.as_fd(), LONG)
        }
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
        let mut caller = Caller::new(peer.ours.as_fd(), true);
        let brief = slots.acquire(&mut caller, peer.ending.as_fd(), Duration::ZERO);
        assert!(matches!(brief.err().unwrap(), NoSlot::TooLong));
        let dummy = Arc::new(event().unwrap());
        for _ in 0..WAITING_PER_SLOT_MAX {
            slots.lock().waiting.push_back(Arc::clone(&dummy));
        }
        assert!(matches!(peer.acquire(&slots).err().unwrap(), NoSlot::Full));
        slots.lock().waiting.clear();
        raise(&peer.ending);
        assert!(matches!(peer.acquire(&slots).err().unwrap(), NoSlot::Ending));
    }
}
