//! Where a process stands: what decides, besides its variables, which daemon can serve it.
//!
//! A daemon keeps for ever what it started with: its namespaces, groups, hard limits and confinement. So
//! all that is in the name of its socket, and a process that stands elsewhere gets a daemon of its own.
//! What no name can tell (landlock, a profile of AppArmor or SELinux, capabilities) is found out by a
//! question to the kernel, see [`proof`]; who fails goes on to the next *seat*.

use crate::launcher_protocol::View;
use config::paths::NameHash;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

/// Daemons that may stand in places of the same name.
pub const SEATS_MAX: u32 = 4;

/// Hard limits under which a daemon could not serve everybody: the least with which it can run at all, and
/// what is enough for any. Enough counts as no limit; and so does too little, since a process that cannot
/// start a daemon of its own can still use that of others.
pub const LIMITS: [(u32, u64, u64); 6] = [
    (libc::RLIMIT_CPU, 60, 7 * 24 * 3600),
    (libc::RLIMIT_FSIZE, 256 << 10, 64 << 30),
    (libc::RLIMIT_DATA, 256 << 20, 64 << 30),
    (libc::RLIMIT_NPROC, 64, 4096),
    (libc::RLIMIT_NOFILE, 128, 4096),
    (libc::RLIMIT_AS, 1 << 30, 64 << 30),
];

/// A process with the policy SCHED_IDLE runs after all that are merely nice.
const IDLE_NICENESS: i32 = 20;

/// What `getsockopt` knows (asm-generic/socket.h); libc lacks the numbers on some systems.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// A daemon of a later seat makes way for a stranger when it has had no call for so long.
const LEFT_AFTER: Duration = Duration::from_secs(5);

impl View {
    /// The seat of the daemon with this socket.
    pub fn seat_of(&self, socket: &Path) -> u32 {
        let name = socket.file_name().unwrap_or_default().to_string_lossy();
        let is_in = |seat: &u32| name.contains(&format!("-{:08x}", self.place(*seat)));
        (0..SEATS_MAX).find(is_in).unwrap_or(0)
    }

    /// The number in the name of the socket.
    pub fn place(&self, seat: u32) -> u32 {
        let mut hash = NameHash::default();
        hash.add(&self.root.0.to_le_bytes());
        hash.add(&self.root.1.to_le_bytes());
        hash.add(&self.mount_namespace.to_le_bytes());
        hash.add(&self.group.to_le_bytes());
        hash.add(&self.surroundings.to_le_bytes());
        hash.add(&seat.to_le_bytes());
        hash.folded()
    }
}

/// Whether a daemon that nobody asks now is most likely not asked again. The first seat is that of those
/// who are there for good; the last one is for whoever comes.
pub fn is_left(seat: u32, last_call: Duration) -> bool {
    seat > 0 && (seat + 1 == SEATS_MAX || last_call >= LEFT_AFTER)
}

/// Where this process stands.
///
/// A mount belongs to one namespace, so that the number of the root's tells namespaces apart. A look
/// into /proc would cost each hit 10 µs; kernels before 5.8 need it.
pub fn view() -> io::Result<View> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    use std::os::unix::fs::MetadataExt;
    let group = rustix::process::getegid().as_raw();
    let surroundings = surroundings()?;
    let asked = StatxFlags::INO | StatxFlags::MNT_ID;
    match statx(CWD, "/", AtFlags::empty(), asked) {
        Ok(root) if root.stx_mask & StatxFlags::MNT_ID.bits() != 0 => Ok(View {
            root: (makedev(root.stx_dev_major, root.stx_dev_minor), root.stx_ino),
            mount_namespace: root.stx_mnt_id,
            group,
            surroundings,
        }),
        _ => {
            let root = std::fs::metadata("/")?;
            let mount_namespace = inode("/proc/self/ns/mnt");
            Ok(View { root: (root.dev(), root.ino()), mount_namespace, group, surroundings })
        }
    }
}

fn inode(path: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or(0, |found| found.ino())
}

/// Network namespace, privileges, groups and hard limits, as one number.
fn surroundings() -> io::Result<u64> {
    let own_group = rustix::process::getegid();
    let mut hash = NameHash::default();
    hash.add(&network_namespace()?.to_le_bytes());
    // SAFETY: both take numbers.
    let modes = unsafe {
        [libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), libc::prctl(libc::PR_GET_SECCOMP)]
    };
    modes.iter().for_each(|mode| hash.add(&[(*mode).max(0) as u8]));
    for group in rustix::process::getgroups()?.iter().filter(|group| **group != own_group) {
        hash.add(&group.as_raw().to_le_bytes());
    }
    for (resource, least, enough) in LIMITS {
        let hard = limit(resource).map_or(u64::MAX, |(_, hard)| hard);
        let counts = (least..enough).contains(&hard);
        hash.add(&(if counts { hard } else { u64::MAX }).to_le_bytes());
    }
    Ok(hash.finish())
}

/// Whether a daemon could run under the limits of this process.
pub fn has_room_for_daemon() -> bool {
    let is_enough = |(resource, least, _): &(u32, u64, u64)| {
        limit(*resource).map_or(true, |(_, hard)| hard >= *least)
    };
    LIMITS.iter().all(is_enough)
}

/// The soft and the hard limit.
pub fn limit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call fills the structure.
    match unsafe { libc::getrlimit(resource as _, &raw mut limit) } {
        0 => Ok((limit.rlim_cur, limit.rlim_max)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A number that only this network namespace has; kernels before 5.14 tell it in /proc only.
fn network_namespace() -> io::Result<u64> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let mut cookie = [0_u64; 1];
    match option(socket.as_fd(), SO_NETNS_COOKIE, &mut cookie) {
        Ok(_) => Ok(cookie[0]),
        Err(_) => Ok(inode("/proc/self/ns/net")),
    }
}

/// How much this process stands back for others: its nice value, and more where it runs only when nobody
/// else does.
pub fn niceness() -> i32 {
    // SAFETY: both take numbers.
    unsafe {
        match libc::sched_getscheduler(0) {
            libc::SCHED_IDLE => IDLE_NICENESS,
            _ => libc::getpriority(libc::PRIO_PROCESS, 0),
        }
    }
}

/// Who is at the other end of a socket: process (0 where it is not to be seen from here), user, group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The process that connected or listens.
    pub process: u32,
    /// Its user.
    pub user: u32,
    /// Its group.
    pub group: u32,
}

/// Who is at the other end.
pub fn peer(socket: BorrowedFd) -> io::Result<Peer> {
    let mut credentials = [0_u32; 3];
    option(socket, libc::SO_PEERCRED, &mut credentials)?;
    let [process, user, group] = credentials;
    Ok(Peer { process, user, group })
}

/// An option of a socket; how many bytes it has.
pub fn option<T: Copy>(socket: BorrowedFd, name: libc::c_int, room: &mut [T]) -> io::Result<usize> {
    let mut length = size_of_val(room) as libc::socklen_t;
    let place = room.as_mut_ptr().cast();
    // SAFETY: the room is as long as the call is told; `T` is a plain number.
    let got = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, place, &raw mut length)
    };
    if got == 0 { Ok(length as usize) } else { Err(io::Error::last_os_error()) }
}

/// What shows a daemon that this process could do by itself all that the daemon can.
///
/// The kernel lets a process look into another (ptrace(2), "Ptrace access mode checking") only where it
/// has the same user and group, no fewer capabilities, and neither a tighter landlock domain nor a tighter
/// profile. The daemon puts a secret where only such a look finds it (`daemon/guard.rs`), and serves
/// whoever tells it. The cheapest look is get_robust_list(2): one system call.
pub fn proof(daemon: Peer) -> io::Result<u64> {
    if daemon.process == 0 {
        return Err(OtherPlace.into());
    }
    match robust_list(daemon.process) {
        Ok(secret) => Ok(secret),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && can_prove() => {
            Err(OtherPlace.into())
        }
        // The daemon has none where nobody could tell it.
        Err(_) => Ok(0),
    }
}

/// Whether this process can look into its like: some sandboxes let nobody, and a program that its user may
/// not read is hidden from all.
pub fn can_prove() -> bool {
    // SAFETY: it takes numbers.
    robust_list(0).is_ok() && unsafe { libc::prctl(libc::PR_GET_DUMPABLE) } == 1
}

/// The number that the main thread of a process has put there.
pub fn robust_list(process: u32) -> io::Result<u64> {
    let (mut head, mut length) = (0_usize, 0_usize);
    // SAFETY: the call fills two words.
    let got = unsafe {
        libc::syscall(libc::SYS_get_robust_list, process, &raw mut head, &raw mut length)
    };
    if got == 0 { Ok(head as u64) } else { Err(io::Error::last_os_error()) }
}

/// The daemon that was found serves processes in another place.
#[derive(Clone, Copy, Debug)]
pub struct OtherPlace;

impl std::fmt::Display for OtherPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("every daemon that could be asked has other rights than this process")
    }
}

impl std::error::Error for OtherPlace {}

impl From<OtherPlace> for io::Error {
    fn from(other: OtherPlace) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, other)
    }
}

/// Whether another seat is to be tried.
pub fn is_other_place(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<OtherPlace>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn each_difference_makes_another_place() {
        let here = view().unwrap();
        assert_eq!(here, view().unwrap());
        let mut others = [here; 5];
        others[0].root.1 ^= 1;
        others[1].mount_namespace ^= 1;
        others[2].group ^= 1;
        others[3].surroundings ^= 1;
        for (number, other) in others.iter().take(4).enumerate() {
            assert_ne!(other.place(0), here.place(0), "{number}");
        }
        assert_ne!(here.place(1), here.place(0));
        for seat in 0..SEATS_MAX {
            let name = format!("0123456789abcdef-{:08x}.sock", here.place(seat));
            assert_eq!(here.seat_of(Path::new(&name)), seat);
        }
    }

    #[test]
    fn later_seats_are_left_to_others() {
        assert!(!is_left(0, LEFT_AFTER * 100));
        assert!(!is_left(1, LEFT_AFTER / 2) && is_left(1, LEFT_AFTER));
        assert!(is_left(SEATS_MAX - 1, Duration::ZERO));
    }

    #[test]
    fn this_process_can_look_into_itself() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = peer(one.as_fd()).unwrap();
        assert_eq!(peer.process, std::process::id());
        assert_eq!(peer.user, rustix::process::geteuid().as_raw());
        if can_prove() {
            assert_eq!(proof(peer).unwrap(), robust_list(std::process::id()).unwrap());
        }
        let hidden = proof(Peer { process: 0, ..peer }).unwrap_err();
        assert!(is_other_place(&hidden));
    }
}
