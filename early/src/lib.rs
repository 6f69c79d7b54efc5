//! A hit without the C library: what the launcher does before `_start`.
//!
//! A static glibc takes as long to set itself up as the kernel takes for the rest of a process' life:
//! on virtual machines each of its 60 `cpuid` is an exit to the host. A hit needs none of it. So the
//! program's entry point asks the daemon first, with system calls alone. Where the answer is a hit that
//! printed nothing, the process ends there. Else `_start` gets the stack as the kernel made it, and the
//! launcher goes on with the connection on which the request was sent.
//!
//! Only the straight case is handled. Whatever is odd (a subcommand, a relative folder in PATH, a long
//! environment) is left to the launcher, before anything was done.
//!
//! Nothing here may call into the C library, not even `memcpy`, whose variant for this processor is
//! chosen by what has not run yet; nor use thread-local storage, allocate or panic. A test looks at the
//! machine code.

#![cfg_attr(not(test), no_std)]
// No loop becomes a call of `memcpy` or `strlen`.
#![no_builtins]

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod hit;

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use hit::{ask, request, socket_path};

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicI32, Ordering};

/// The longest request in bytes; a longer one is left to the launcher.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// The longest path in bytes, with the NUL at the end. Three of them and the start of a request share
/// one page: each page that is touched costs as much as a system call.
const PATH_BYTES_MAX: usize = 1024;

/// What the other crates know.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The build that the launcher tells the daemon.
    pub build: &'a str,
    /// First words that are no compilers.
    pub subcommands: &'a [&'a str],
    /// How the real names of programs begin that stand in for compilers.
    pub wrappers: &'a [&'a str],
    /// The variable that says that an outer rcache has this call.
    pub inside: &'a str,
    /// The variables that decide which daemon serves a call.
    pub deciding: &'a [&'a str],
    /// The variable that names the folder of the folder of the socket.
    pub runtime_folder: &'a str,
    /// Hard limits that tell daemons apart where they are between these two numbers.
    pub limits: &'a [(u32, u64, u64)],
    /// The longest path of a socket in bytes.
    pub socket_path_bytes_max: usize,
    /// The first bytes of the daemon's answer to a hit that printed nothing: all of it.
    pub silent_hit: &'a [u8],
    /// The launcher gives up on a daemon that says nothing for this long, in milliseconds.
    pub silence_max: u32,
    /// The same where somebody has just found that it says nothing.
    pub marked_silence_max: u32,
    /// How the name of the file ends that says so, in place of the socket's `.sock`.
    pub mark_ending: &'a str,
    /// How many seconds it counts.
    pub mark_age_max: i64,
}

/// Memory for paths and for a request.
#[repr(C, align(4096))]
pub struct Scratch {
    paths: Paths,
    request: MaybeUninit<[u8; REQUEST_BYTES_MAX]>,
}

type Path = MaybeUninit<[u8; PATH_BYTES_MAX]>;

/// A path, and two more to follow its symlinks.
#[repr(C)]
struct Paths {
    path: Path,
    link: Path,
    target: Path,
}

impl Scratch {
    /// Without content.
    pub const fn new() -> Scratch {
        let path = MaybeUninit::uninit();
        Scratch { paths: Paths { path, link: path, target: path }, request: MaybeUninit::uninit() }
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

/// What became of the call before the C library was set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing was done.
    No,
    /// The request was sent on this descriptor, and the answer is there to be read.
    Yes(i32),
    /// The request was sent, and the daemon hung up.
    InVain,
    /// The request was sent, and the daemon said nothing for as long as it is waited for.
    Silence,
}

static ASKED: AtomicI32 = AtomicI32::new(NOT_ASKED);
const NOT_ASKED: i32 = -1;
const ASKED_IN_VAIN: i32 = -2;
const ASKED_SILENCE: i32 = -3;

/// What became of the call. The descriptor belongs to whoever asks first.
pub fn take_asked() -> Asked {
    match ASKED.swap(NOT_ASKED, Ordering::Relaxed) {
        NOT_ASKED => Asked::No,
        ASKED_IN_VAIN => Asked::InVain,
        ASKED_SILENCE => Asked::Silence,
        descriptor => Asked::Yes(descriptor),
    }
}
