//! What differs between processors: the numbers of system calls, the instruction that makes one.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::{copy, exit, number, syscall};
#[cfg(target_arch = "x86_64")]
pub use x86_64::{copy, exit, number, syscall};
