//! The system calls of a hit, as the kernel has them: a result, or nothing where they fail.

use super::arch::number::*;
use super::arch::syscall;
pub use super::arch::{copy, exit};
use crate::{PATH_BYTES_MAX, Path};
use core::mem::MaybeUninit;

const AT_FDCWD: usize = -100_isize as usize;
const AT_SYMLINK_NOFOLLOW: usize = 0x100;
const STATX_BASIC_STATS: u32 = 0x7ff;
const STATX_MNT_ID: u32 = 0x1000;
/// Where the seconds of `stx_mtime` are among the times.
const MODIFIED: usize = 6;
const S_IFMT: u16 = 0o170_000;
const S_IFDIR: u16 = 0o040_000;
const S_IFREG: u16 = 0o100_000;
const S_IWOTHERS: u16 = 0o022;

const AF_UNIX: usize = 1;
const SOCK_STREAM_CLOEXEC: usize = 1 | 0o2_000_000;
const SOL_SOCKET: usize = 1;
const SO_PEERCRED: usize = 17;
const SO_RCVTIMEO: usize = 20;
const SO_SNDTIMEO: usize = 21;
const SO_NETNS_COOKIE: usize = 71;
const PR_GET_SECCOMP: usize = 21;
const PR_GET_NO_NEW_PRIVS: usize = 39;
const SCHED_IDLE: u32 = 5;
/// As `talk::place` has it.
const IDLE_NICENESS: i32 = 20;
const MSG_NOSIGNAL: usize = 0x4000;
const MSG_PEEK: usize = 2;

const CLOCK_REALTIME: usize = 0;

const TIOCGWINSZ: usize = 0x5413;
const EINTR: isize = 4;
const EAGAIN: isize = 11;
const ENOTTY: isize = 25;

/// `struct statx` of linux/stat.h.
///
/// It is never copied: that would be a call of `memcpy`.
#[repr(C)]
pub struct Statx {
    mask: u32,
    block_bytes: u32,
    attributes: u64,
    links: u32,
    /// The owner.
    pub user: u32,
    group: u32,
    mode: u16,
    spare: u16,
    /// The inode.
    pub inode: u64,
    /// Its length in bytes.
    pub length: u64,
    blocks: u64,
    attributes_mask: u64,
    times: [u64; 8],
    special_device: [u32; 2],
    device: [u32; 2],
    /// The mount that the path is on; see [`Statx::has_mount`].
    pub mount: u64,
    rest: [u64; 13],
}

impl Statx {
    /// As the C library puts the two halves together.
    pub fn device(&self) -> u64 {
        let (major, minor) = (u64::from(self.device[0]), u64::from(self.device[1]));
        (major & 0xffff_f000) << 32
            | (major & 0xfff) << 8
            | (minor & 0xffff_ff00) << 12
            | (minor & 0xff)
    }

    /// When its content was last changed, in seconds since 1970.
    pub fn modified_seconds(&self) -> i64 {
        self.times[MODIFIED] as i64
    }

    /// Whether the kernel knows the mount (since Linux 5.8).
    pub fn has_mount(&self) -> bool {
        self.mask & STATX_MNT_ID != 0
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }

    /// Whether nobody else can put anything there.
    pub fn is_folder_of_only(&self, user: u32) -> bool {
        self.is_folder() && self.user == user && self.mode & S_IWOTHERS == 0
    }

    /// Whether it is a file that somebody may execute.
    pub fn is_program(&self) -> bool {
        self.mode & S_IFMT == S_IFREG && self.mode & 0o111 != 0
    }
}

/// What a path leads to. `path` ends with a NUL.
pub fn stat<'f>(path: &[u8], found: &'f mut MaybeUninit<Statx>) -> Option<&'f Statx> {
    statx(path, 0, found)
}

/// What a path is, without following it. `path` ends with a NUL.
pub fn lstat<'f>(path: &[u8], found: &'f mut MaybeUninit<Statx>) -> Option<&'f Statx> {
    statx(path, AT_SYMLINK_NOFOLLOW, found)
}

fn statx<'f>(path: &[u8], flags: usize, found: &'f mut MaybeUninit<Statx>) -> Option<&'f Statx> {
    let mask = (STATX_BASIC_STATS | STATX_MNT_ID) as usize;
    let words = [AT_FDCWD, path.as_ptr() as usize, flags, mask, found.as_mut_ptr() as usize, 0];
    // SAFETY: the path ends with a NUL, and the result has the kernel's form.
    let succeeded = unsafe { syscall(STATX, words) == 0 };
    // SAFETY: the kernel has written it where it says so.
    succeeded.then(|| unsafe { found.assume_init_ref() })
}

/// The target of a symlink, as many bytes as it has. `path` ends with a NUL.
pub fn read_link(path: &[u8], target: &mut Path) -> Option<usize> {
    let (start, room) = (target.as_mut_ptr() as usize, PATH_BYTES_MAX);
    let words = [AT_FDCWD, path.as_ptr() as usize, start, room, 0, 0];
    // SAFETY: the path ends with a NUL, and the room is there.
    let count = unsafe { syscall(READLINKAT, words) };
    usize::try_from(count).ok()
}

/// The working directory, with the NUL at its end counted.
pub fn working_directory(path: &mut Path) -> Option<usize> {
    let (start, room) = (path.as_mut_ptr() as usize, PATH_BYTES_MAX);
    // SAFETY: the room is there.
    let count = unsafe { syscall(GETCWD, [start, room, 0, 0, 0, 0]) };
    usize::try_from(count).ok()
}

/// The real user.
pub fn user() -> u32 {
    // SAFETY: it takes nothing.
    unsafe { syscall(GETUID, [0; 6]) as u32 }
}

/// The effective group.
pub fn group() -> u32 {
    // SAFETY: it takes nothing.
    unsafe { syscall(GETEGID, [0; 6]) as u32 }
}

/// The file mode creation mask. There is no call that only reads it.
pub fn umask() -> u32 {
    // SAFETY: it takes a number.
    unsafe {
        let mask = syscall(UMASK, [0; 6]);
        syscall(UMASK, [mask as usize, 0, 0, 0, 0, 0]);
        mask as u32
    }
}

/// The width in columns where a descriptor is a terminal, `Some(None)` where it is something else.
pub fn columns(descriptor: usize) -> Option<Option<u16>> {
    let mut size = [0_u16; 4];
    // SAFETY: the kernel writes four numbers of two bytes.
    match unsafe { syscall(IOCTL, [descriptor, TIOCGWINSZ, size.as_mut_ptr() as usize, 0, 0, 0]) } {
        0 => Some(Some(size[1])),
        error if error == -ENOTTY => Some(None),
        _ => None,
    }
}

/// A unix socket that is closed on exec.
pub fn unix_socket() -> Option<usize> {
    // SAFETY: it takes numbers.
    usize::try_from(unsafe { syscall(SOCKET, [AF_UNIX, SOCK_STREAM_CLOEXEC, 0, 0, 0, 0]) }).ok()
}

/// Closes a descriptor.
pub fn close(descriptor: usize) {
    // SAFETY: the caller owns it.
    unsafe { syscall(CLOSE, [descriptor, 0, 0, 0, 0, 0]) };
}

/// Seconds since 1970.
pub fn seconds() -> i64 {
    let mut now = [0_i64; 2];
    // SAFETY: the call fills a `struct timespec`.
    unsafe { syscall(CLOCK_GETTIME, [CLOCK_REALTIME, now.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    now[0]
}

/// How long a call on a socket waits for the other side, in both directions.
pub fn set_timeouts(socket: usize, milliseconds: u32) -> bool {
    let time = [i64::from(milliseconds / 1000), i64::from(milliseconds % 1000) * 1000];
    let set = |option| {
        let words = [socket, SOL_SOCKET, option, time.as_ptr() as usize, size_of_val(&time), 0];
        // SAFETY: the option takes a `struct timeval`.
        unsafe { syscall(SETSOCKOPT, words) == 0 }
    };
    set(SO_RCVTIMEO) && set(SO_SNDTIMEO)
}

/// `address` is a `struct sockaddr_un`.
pub fn connect(socket: usize, address: &[u8]) -> bool {
    let words = [socket, address.as_ptr() as usize, address.len(), 0, 0, 0];
    // SAFETY: the address is that long.
    unsafe { syscall(CONNECT, words) == 0 }
}

/// An option of a socket; whether it is known.
fn option<T: Copy, const N: usize>(socket: usize, name: usize, room: &mut [T; N]) -> bool {
    let mut length = size_of_val(room) as u32;
    let place = room.as_mut_ptr() as usize;
    let words = [socket, SOL_SOCKET, name, place, &raw mut length as usize, 0];
    // SAFETY: the room is as long as the call is told.
    unsafe { syscall(GETSOCKOPT, words) == 0 }
}

/// The process and the user at the other end.
pub fn peer(socket: usize) -> Option<(u32, u32)> {
    let mut credentials = [0_u32; 3];
    option(socket, SO_PEERCRED, &mut credentials).then_some((credentials[0], credentials[1]))
}

/// A number that only this network namespace has.
pub fn network_namespace(socket: usize) -> Option<u64> {
    let mut cookie = [0_u64; 1];
    option(socket, SO_NETNS_COOKIE, &mut cookie).then_some(cookie[0])
}

/// What the kernel lets this process see of a daemon.
pub fn proof(process: u32) -> Option<u64> {
    let (mut head, mut length) = (0_usize, 0_usize);
    let places = [&raw mut head as usize, &raw mut length as usize];
    let words = [process as usize, places[0], places[1], 0, 0, 0];
    // 0 would be this process itself.
    // SAFETY: the call fills two words.
    let seen = process != 0 && unsafe { syscall(GET_ROBUST_LIST, words) == 0 };
    seen.then_some(head as u64)
}

/// Whether programs can give this process more rights.
pub fn no_new_privileges() -> u8 {
    // SAFETY: it takes numbers.
    unsafe { syscall(PRCTL, [PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0, 0]).max(0) as u8 }
}

/// Whether system calls are filtered.
pub fn seccomp_mode() -> u8 {
    // SAFETY: it takes numbers.
    unsafe { syscall(PRCTL, [PR_GET_SECCOMP, 0, 0, 0, 0, 0]).max(0) as u8 }
}

/// The supplementary groups; `None` where there are more than fit.
pub fn groups<const N: usize>(room: &mut MaybeUninit<[u32; N]>) -> Option<&[u32]> {
    let place = room.as_mut_ptr() as usize;
    // SAFETY: there is room for so many.
    let count = unsafe { syscall(GETGROUPS, [N, place, 0, 0, 0, 0]) };
    let count = usize::try_from(count).ok()?;
    // SAFETY: the kernel has written so many.
    Some(unsafe { core::slice::from_raw_parts(room.as_ptr().cast(), count) })
}

/// A limit that this process cannot raise.
pub fn hard_limit(resource: u32) -> u64 {
    let mut limit = [u64::MAX; 2];
    let place = limit.as_mut_ptr() as usize;
    // SAFETY: the call fills two numbers.
    unsafe { syscall(PRLIMIT, [0, resource as usize, 0, place, 0, 0]) };
    limit[1]
}

/// How much this process stands back for others.
pub fn niceness() -> Option<i32> {
    // `struct sched_attr` of sched_setattr(2), its first version.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        times: [u64; 3],
    }
    let mut found = MaybeUninit::<Attributes>::uninit();
    let words = [0, found.as_mut_ptr() as usize, size_of::<Attributes>(), 0, 0, 0];
    // SAFETY: the room is as long as the call is told.
    if unsafe { syscall(SCHED_GETATTR, words) } != 0 {
        return None;
    }
    // SAFETY: the kernel has written it.
    let found = unsafe { found.assume_init_ref() };
    Some(if found.policy == SCHED_IDLE { IDLE_NICENESS } else { found.nice })
}

/// Whether all of `bytes` was sent.
pub fn send(socket: usize, bytes: &[u8]) -> bool {
    let words = [socket, bytes.as_ptr() as usize, bytes.len(), MSG_NOSIGNAL, 0, 0];
    // SAFETY: the bytes are there.
    unsafe { syscall(SENDTO, words) == bytes.len() as isize }
}

/// Waits for the first bytes, which stay to be read; how many came, 0 where nothing can come any more.
/// `None` where nothing came in time.
pub fn peek<const N: usize>(socket: usize, bytes: &mut [u8; N]) -> Option<usize> {
    let words = [socket, bytes.as_mut_ptr() as usize, N, MSG_PEEK, 0, 0];
    loop {
        // SAFETY: the room is there.
        let count = unsafe { syscall(RECVFROM, words) };
        // A process that was stopped and goes on (signal(7)).
        if count == -EAGAIN {
            return None;
        }
        if count != -EINTR {
            return Some(usize::try_from(count).unwrap_or(0));
        }
    }
}
