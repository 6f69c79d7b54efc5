//! The program's first instructions: the daemon is asked, then the C library starts as it always does.
//!
//! `_start` finds the stack, and what the dynamic linker hands to it, as it would have found them.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

/// Where the kernel starts the program.
#[cfg(all(not(test), target_arch = "x86_64"))]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn rcache_start() -> ! {
    core::arch::naked_asm!(
        "xor ebp, ebp",
        // Kept in what a call preserves.
        "mov rbx, rsp",
        "mov r12, rdx",
        "mov rdi, rsp",
        "and rsp, -16",
        "call {ask}",
        "mov rsp, rbx",
        "mov rdx, r12",
        "jmp _start",
        ask = sym crate::launcher::ask_early,
    )
}

/// Where the kernel starts the program.
#[cfg(all(not(test), target_arch = "aarch64"))]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn rcache_start() -> ! {
    core::arch::naked_asm!(
        "mov x29, #0",
        "mov x30, #0",
        // Kept in what a call preserves. The stack is aligned as calls want it.
        "mov x19, x0",
        "mov x0, sp",
        "bl {ask}",
        "mov x0, x19",
        "mov x30, #0",
        "b _start",
        ask = sym crate::launcher::ask_early,
    )
}

/// A test harness has the same first instruction, and no daemon to ask.
#[cfg(test)]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn rcache_start() -> ! {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!("jmp _start");
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!("b _start");
}
