//! System calls on aarch64: numbers, the instruction, and two things that the C library would do.

use core::arch::asm;

/// The numbers of the calls (include/uapi/asm-generic/unistd.h).
pub mod number {
    pub const GETCWD: usize = 17;
    pub const IOCTL: usize = 29;
    pub const CLOSE: usize = 57;
    pub const READLINKAT: usize = 78;
    pub const EXIT_GROUP: usize = 94;
    pub const GET_ROBUST_LIST: usize = 100;
    pub const CLOCK_GETTIME: usize = 113;
    pub const GETGROUPS: usize = 158;
    pub const UMASK: usize = 166;
    pub const PRCTL: usize = 167;
    pub const GETUID: usize = 174;
    pub const GETEGID: usize = 177;
    pub const SOCKET: usize = 198;
    pub const CONNECT: usize = 203;
    pub const SENDTO: usize = 206;
    pub const RECVFROM: usize = 207;
    pub const SETSOCKOPT: usize = 208;
    pub const GETSOCKOPT: usize = 209;
    pub const PRLIMIT: usize = 261;
    pub const SCHED_GETATTR: usize = 275;
    pub const STATX: usize = 291;
}

/// # Safety
/// The arguments are what this call wants.
#[inline(always)]
pub unsafe fn syscall(number: usize, words: [usize; 6]) -> isize {
    let result;
    let [a, b, c, d, e, f] = words;
    // SAFETY: the kernel keeps all registers but the one with the result.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    result
}

/// Copies bytes without the C library: sixteen at a time, then what is left.
///
/// # Safety
/// As for `core::ptr::copy_nonoverlapping`.
#[inline(always)]
pub unsafe fn copy(from: *const u8, to: *mut u8, count: usize) {
    // SAFETY: see the caller; it reads and writes `count` bytes.
    unsafe {
        asm!(
            "2:",
            "subs {count}, {count}, #16",
            "b.lo 3f",
            "ldp {low}, {high}, [{from}], #16",
            "stp {low}, {high}, [{to}], #16",
            "b 2b",
            "3:",
            "adds {count}, {count}, #16",
            "b.eq 5f",
            "4:",
            "ldrb {low:w}, [{from}], #1",
            "strb {low:w}, [{to}], #1",
            "subs {count}, {count}, #1",
            "b.ne 4b",
            "5:",
            count = inout(reg) count => _, from = inout(reg) from => _, to = inout(reg) to => _,
            low = out(reg) _, high = out(reg) _,
            options(nostack),
        );
    }
}

/// Ends the process.
pub fn exit(status: usize) -> ! {
    // SAFETY: the call does not return.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number::EXIT_GROUP, in("x0") status,
            options(noreturn, nostack),
        );
    }
}
