//! System calls on x86_64: numbers, the instruction, and two things that the C library would do.

use core::arch::asm;

/// The numbers of the calls (arch/x86/entry/syscalls/syscall_64.tbl).
pub mod number {
    pub const CLOSE: usize = 3;
    pub const IOCTL: usize = 16;
    pub const SOCKET: usize = 41;
    pub const CONNECT: usize = 42;
    pub const SENDTO: usize = 44;
    pub const RECVFROM: usize = 45;
    pub const SETSOCKOPT: usize = 54;
    pub const GETSOCKOPT: usize = 55;
    pub const GETCWD: usize = 79;
    pub const UMASK: usize = 95;
    pub const GETUID: usize = 102;
    pub const GETEGID: usize = 108;
    pub const GETGROUPS: usize = 115;
    pub const PRCTL: usize = 157;
    pub const CLOCK_GETTIME: usize = 228;
    pub const EXIT_GROUP: usize = 231;
    pub const READLINKAT: usize = 267;
    pub const GET_ROBUST_LIST: usize = 274;
    pub const PRLIMIT: usize = 302;
    pub const SCHED_GETATTR: usize = 315;
    pub const STATX: usize = 332;
}

/// # Safety
/// The arguments are what this call wants.
#[inline(always)]
pub unsafe fn syscall(number: usize, words: [usize; 6]) -> isize {
    let result;
    let [a, b, c, d, e, f] = words;
    // SAFETY: the kernel keeps all registers but these three.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Copies bytes without the C library.
///
/// # Safety
/// As for `core::ptr::copy_nonoverlapping`.
#[inline(always)]
pub unsafe fn copy(from: *const u8, to: *mut u8, count: usize) {
    // SAFETY: see the caller; the direction flag is clear by the ABI.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") count => _, inout("rsi") from => _, inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

/// Ends the process.
pub fn exit(status: usize) -> ! {
    // SAFETY: the call does not return.
    unsafe {
        asm!(
            "syscall",
            in("rax") number::EXIT_GROUP, in("rdi") status,
            options(noreturn, nostack),
        );
    }
}
