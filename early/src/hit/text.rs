//! Words as the kernel hands them over, and bytes that are put together.

use super::syscalls::copy;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

/// Where the kernel starts a process: the count of the words, the words, a null pointer, the variables,
/// a null pointer (System V ABI, AMD64 supplement, 3.4.1; on aarch64 the same).
pub struct Stack<'s> {
    start: *const usize,
    lifetime: PhantomData<&'s [u8]>,
}

impl<'s> Stack<'s> {
    /// # Safety
    /// `start` points to such a stack, which lives for `'s`.
    pub unsafe fn new(start: *const usize) -> Stack<'s> {
        Stack { start, lifetime: PhantomData }
    }

    /// How many words there are.
    pub fn count(&self) -> usize {
        // SAFETY: the count is the first word of the stack.
        unsafe { *self.start }
    }

    /// One of the words; the first is the program's own name.
    pub fn word(&self, place: usize) -> Option<&'s [u8]> {
        // SAFETY: there are that many pointers to texts that end with a NUL.
        (place < self.count())
            .then(|| unsafe { until_nul(*self.start.add(1 + place) as *const u8) })
    }

    /// The variables.
    pub fn environment(&self) -> Environment<'s> {
        // SAFETY: a null pointer is between the words and the variables.
        let next = unsafe { self.start.add(2 + self.count()) };
        Environment { next, lifetime: PhantomData }
    }
}

/// The variables of a process, one after the other.
#[derive(Clone, Copy)]
pub struct Environment<'s> {
    next: *const usize,
    lifetime: PhantomData<&'s [u8]>,
}

impl<'s> Environment<'s> {
    /// The value of the first variable of this name, as `getenv` finds it.
    pub fn get(&self, name: &str) -> Option<&'s [u8]> {
        let mut next = self.next;
        loop {
            // SAFETY: a null pointer is at the end.
            let start = unsafe { *next as *const u8 };
            if start.is_null() {
                return None;
            }
            // SAFETY: as above.
            next = unsafe { next.add(1) };
            // SAFETY: the text ends with a NUL, which no name has.
            if let Some(value) = unsafe { value_of(start, name.as_bytes()) } {
                return Some(value);
            }
        }
    }
}

impl<'s> Iterator for Environment<'s> {
    type Item = &'s [u8];

    /// The next variable, as `NAME=value`.
    fn next(&mut self) -> Option<&'s [u8]> {
        // SAFETY: a null pointer is at the end, and it stays there.
        let start = unsafe { *self.next as *const u8 };
        if start.is_null() {
            return None;
        }
        // SAFETY: as above; the text ends with a NUL.
        unsafe {
            self.next = self.next.add(1);
            Some(until_nul(start))
        }
    }
}

/// # Safety
/// `start` points to a text with a NUL at its end.
unsafe fn value_of<'s>(start: *const u8, name: &[u8]) -> Option<&'s [u8]> {
    // SAFETY: it goes no further than the first byte that differs.
    unsafe {
        let mut at = start;
        for byte in name {
            if *at != *byte {
                return None;
            }
            at = at.add(1);
        }
        (*at == b'=').then(|| until_nul(at.add(1)))
    }
}

/// # Safety
/// `start` points to a text with a NUL at its end.
unsafe fn until_nul<'s>(start: *const u8) -> &'s [u8] {
    // SAFETY: it goes no further than the NUL.
    unsafe {
        let mut length = 0;
        while *start.add(length) != 0 {
            length += 1;
        }
        core::slice::from_raw_parts(start, length)
    }
}

/// FNV-1a, as `config::paths::NameHash`.
pub struct NameHash(u64);

impl NameHash {
    /// Of nothing yet.
    pub fn new() -> NameHash {
        NameHash(0xcbf2_9ce4_8422_2325)
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    /// Adds a number.
    pub fn add_u32(&mut self, number: u32) {
        self.add(&number.to_le_bytes());
    }

    /// Adds a number.
    pub fn add_u64(&mut self, number: u64) {
        self.add(&number.to_le_bytes());
    }

    /// Of all that was added.
    pub fn finish(&self) -> u64 {
        self.0
    }
}

/// Whether two texts are the same.
pub fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && begins_with(left, right)
}

/// Whether a text begins with another.
pub fn begins_with(text: &[u8], start: &[u8]) -> bool {
    text.len() >= start.len() && text.iter().zip(start).all(|(left, right)| left == right)
}

/// What follows the last slash.
pub fn file_name(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    path.get(slash.map_or(0, |slash| slash + 1)..).unwrap_or_default()
}

/// The same, where it names a file.
pub fn plain_file_name(path: &[u8]) -> Option<&[u8]> {
    let name = file_name(path);
    (!name.is_empty() && !same(name, b".") && !same(name, b"..")).then_some(name)
}

/// Whether there is a slash.
pub fn has_slash(path: &[u8]) -> bool {
    file_name(path).len() < path.len()
}

/// Bytes that grow within memory that is there.
pub struct Bytes<'m> {
    start: *mut u8,
    length: usize,
    room: usize,
    lifetime: PhantomData<&'m mut [u8]>,
}

impl<'m> Bytes<'m> {
    /// None yet.
    pub fn new<const N: usize>(memory: &'m mut MaybeUninit<[u8; N]>) -> Bytes<'m> {
        Bytes { start: memory.as_mut_ptr().cast(), length: 0, room: N, lifetime: PhantomData }
    }

    /// The first bytes of memory that a system call has written.
    ///
    /// # Safety
    /// It has written that many.
    pub unsafe fn written(memory: &'m mut crate::Path, length: usize) -> Bytes<'m> {
        Bytes { length, ..Bytes::new(memory) }
    }

    /// All of them.
    pub fn get(&self) -> &[u8] {
        // SAFETY: so many were written.
        unsafe { core::slice::from_raw_parts(self.start, self.length) }
    }

    /// All of them, for as long as the memory is there.
    pub fn finish(self) -> &'m [u8] {
        // SAFETY: so many were written.
        unsafe { core::slice::from_raw_parts(self.start, self.length) }
    }

    /// Keeps the first `length`.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// `None` where they do not fit.
    pub fn push(&mut self, bytes: &[u8]) -> Option<()> {
        if bytes.len() > self.room - self.length {
            return None;
        }
        // SAFETY: there is room, and the memory is nobody else's.
        unsafe { copy(bytes.as_ptr(), self.start.add(self.length), bytes.len()) };
        self.length += bytes.len();
        Some(())
    }

    /// Writes over four bytes that were pushed.
    pub fn set_u32(&mut self, place: usize, value: u32) {
        if place + 4 <= self.length {
            // SAFETY: the four bytes are within what was written.
            unsafe { self.start.add(place).cast::<u32>().write_unaligned(value.to_le()) };
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.length
    }
}
