//! Who is served: only processes that could do by themselves all that the daemon does for them.

use std::io;
use std::os::fd::BorrowedFd;
use talk::place::{self, Peer};

/// More supplementary groups than this are not compared one by one: such a caller is turned away.
const GROUPS_MAX: usize = 1024;

/// No address of a process has the highest bit: the kernel, which takes the secret for one, finds nothing
/// there.
const NO_ADDRESS: u64 = 1 << 63;

/// What a caller has to show.
#[derive(Debug)]
pub struct Guard {
    /// Where only those find it who may look into this process; `None` where nobody can.
    secret: Option<u64>,
    user: u32,
    group: u32,
    /// Sorted.
    groups: Vec<u32>,
}

impl Guard {
    /// To be called on the main thread.
    pub fn set_up() -> io::Result<Guard> {
        let mut groups: Vec<u32> =
            rustix::process::getgroups()?.iter().map(|group| group.as_raw()).collect();
        groups.sort_unstable();
        Ok(Guard {
            secret: hide_secret(),
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
            groups,
        })
    }

    /// Whether whoever is at the other end may be served. `proof` is what it says of the secret.
    pub fn admits(&self, socket: BorrowedFd, proof: u64) -> bool {
        let Ok(peer) = place::peer(socket) else { return false };
        peer.user == self.user
            && peer.group == self.group
            && self.has_same_groups(socket)
            && self.is_convinced(peer, proof)
    }

    fn has_same_groups(&self, socket: BorrowedFd) -> bool {
        let mut groups = vec![0_u32; self.groups.len().clamp(32, GROUPS_MAX)];
        match place::option(socket, libc::SO_PEERGROUPS, &mut groups) {
            Ok(bytes) => {
                groups.truncate(bytes / size_of::<u32>());
                groups.sort_unstable();
                groups == self.groups
            }
            // Kernels before 4.13 do not tell. The name of the socket does.
            Err(error) => error.raw_os_error() == Some(libc::ENOPROTOOPT),
        }
    }

    /// The caller must have no fewer rights than this process, or it would get what it may not have; and
    /// no more, or this process could not do what it may.
    fn is_convinced(&self, peer: Peer, proof: u64) -> bool {
        let Some(secret) = self.secret else { return true };
        let is_hidden = || {
            let looked = place::robust_list(peer.process);
            looked.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
        };
        proof == secret && peer.process != 0 && !is_hidden()
    }
}

/// Puts a random number where [`place::proof`] looks.
fn hide_secret() -> Option<u64> {
    if !place::can_prove() {
        return None;
    }
    let mut random = [0; 8];
    // SAFETY: the room is there.
    let count = unsafe { libc::getrandom(random.as_mut_ptr().cast(), random.len(), 0) };
    let secret = u64::from_le_bytes(random) | NO_ADDRESS;
    // SAFETY: the kernel keeps the number; the robust futexes for which it is made are not used on this
    // thread, and at its end the kernel finds that it is no address. The length is that of
    // `struct robust_list_head`.
    let set = unsafe { libc::syscall(libc::SYS_set_robust_list, secret as usize, 24_usize) };
    let is_there = place::robust_list(std::process::id()).is_ok_and(|found| found == secret);
    (count == random.len() as isize && set == 0 && is_there).then_some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn only_those_who_know_the_secret() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut guard = Guard::set_up().unwrap();
        guard.secret = Some(7);
        assert!(guard.admits(one.as_fd(), 7));
        assert!(!guard.admits(one.as_fd(), 0));
        guard.groups.push(u32::MAX);
        assert!(!guard.admits(one.as_fd(), 7), "the caller has fewer groups");
        guard.groups.pop();
        guard.secret = None;
        assert!(guard.admits(one.as_fd(), 0), "nobody could tell it");
        guard.user += 1;
        assert!(!guard.admits(one.as_fd(), 0));
    }
}
