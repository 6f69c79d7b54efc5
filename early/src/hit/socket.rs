//! Where the daemon listens, as `config::paths::socket_path` says it.

use super::place::Place;
use super::syscalls::{self, Statx, lstat, seconds, stat, user};
use super::text::{Bytes, Environment, NameHash, Stack};
use crate::Names;
use core::mem::MaybeUninit;

/// `struct sockaddr_un` of linux/un.h: the family, and a path of 108 bytes.
const ADDRESS_BYTES: usize = 2 + 108;

/// `/rcache/VVVVVVVVVVVVVVVV-PPPPPPPP.sock`
const WITHIN_RUNTIME_FOLDER_BYTES: usize = 7 + 1 + 16 + 1 + 8 + 5;

/// How the name of a socket ends.
const ENDING: &[u8] = b".sock";

/// A `struct sockaddr_un`, as long as it is used.
pub struct Address {
    bytes: MaybeUninit<[u8; ADDRESS_BYTES]>,
    length: usize,
}

impl Address {
    /// For the kernel.
    pub fn get(&self) -> &[u8] {
        // SAFETY: so many were written.
        unsafe { core::slice::from_raw_parts(self.bytes.as_ptr().cast(), self.length) }
    }

    /// Whether somebody has found a little while ago that nobody answers here.
    pub fn is_marked(&self, names: &Names) -> Option<bool> {
        let mut mark = MaybeUninit::<[u8; ADDRESS_BYTES]>::uninit();
        let mut mark = Bytes::new(&mut mark);
        let path = self.path();
        mark.push(path.get(..path.len().checked_sub(ENDING.len())?)?)?;
        mark.push(names.mark_ending.as_bytes())?;
        mark.push(b"\0")?;
        let mut found = MaybeUninit::<Statx>::uninit();
        let found = lstat(mark.get(), &mut found)?;
        let age = seconds().checked_sub(found.modified_seconds())?;
        Some((0..names.mark_age_max).contains(&age))
    }

    /// The path in it.
    pub fn path(&self) -> &[u8] {
        self.get().get(2..self.length - 1).unwrap_or_default()
    }
}

/// Where the daemon listens that a process with such a stack would ask.
///
/// # Safety
/// `stack` is laid out as the kernel does it.
pub unsafe fn socket_path(stack: *const usize, names: &Names) -> Option<Address> {
    let socket = syscalls::unix_socket()?;
    let place = Place::find(socket, names);
    syscalls::close(socket);
    // SAFETY: see the caller.
    address(&unsafe { Stack::new(stack) }.environment(), names, &place?)
}

/// The address of the daemon that serves a call with these variables from here; `None` where the launcher has to
/// make the folder, or to look elsewhere.
pub fn address(environment: &Environment, names: &Names, place: &Place) -> Option<Address> {
    let mut address = Address { bytes: MaybeUninit::uninit(), length: 0 };
    let mut bytes = Bytes::new(&mut address.bytes);
    bytes.push(&1_u16.to_ne_bytes())?;
    let user = user();
    let start = bytes.len();
    let given = environment.get(names.runtime_folder).unwrap_or_default();
    let is_given = push_given(&mut bytes, given, user, names.socket_path_bytes_max)?;
    if !is_given {
        bytes.truncate(start);
        bytes.push(b"/tmp/rcache-")?;
        push_decimal(&mut bytes, user)?;
        if !leads_to(&mut bytes, start, |path| is_safe(path, user))? {
            return None;
        }
    }
    bytes.push(b"/")?;
    push_hexadecimal(&mut bytes, deciding_hash(environment, names), 64)?;
    bytes.push(b"-")?;
    push_hexadecimal(&mut bytes, place.number().into(), 32)?;
    bytes.push(ENDING)?;
    bytes.push(b"\0")?;
    address.length = bytes.len();
    Some(address)
}

/// Pushes the folder in `$XDG_RUNTIME_DIR`. `Some(false)` where it has no part in it, `None` where the
/// launcher decides.
fn push_given(bytes: &mut Bytes, given: &[u8], user: u32, path_bytes_max: usize) -> Option<bool> {
    let fits = given.len() + WITHIN_RUNTIME_FOLDER_BYTES <= path_bytes_max;
    if given.first() != Some(&b'/') || !fits {
        return Some(false);
    }
    let start = bytes.len();
    bytes.push(given)?;
    if given.last() != Some(&b'/') {
        bytes.push(b"/")?;
    }
    bytes.push(b"rcache")?;
    if leads_to(bytes, start, |path| is_safe(path, user))? {
        return Some(true);
    }
    bytes.truncate(start + given.len());
    if leads_to(bytes, start, |path| is_folder_of(path, user))? { None } else { Some(false) }
}

/// Asks about the path that begins at `start`, which gets its NUL meanwhile.
fn leads_to(bytes: &mut Bytes, start: usize, ask: impl Fn(&[u8]) -> bool) -> Option<bool> {
    let length = bytes.len();
    bytes.push(b"\0")?;
    let answer = ask(bytes.get().get(start..)?);
    bytes.truncate(length);
    Some(answer)
}

fn is_folder_of(path: &[u8], user: u32) -> bool {
    let mut found = MaybeUninit::<Statx>::uninit();
    stat(path, &mut found).is_some_and(|found| found.is_folder() && found.user == user)
}

/// Nothing in a folder of others is worth a look: each file could be a pipe, or a link to one of ours.
fn is_safe(path: &[u8], user: u32) -> bool {
    let mut found = MaybeUninit::<Statx>::uninit();
    lstat(path, &mut found).is_some_and(|found| found.is_folder_of_only(user))
}

fn push_decimal(bytes: &mut Bytes, number: u32) -> Option<()> {
    let mut unit = 1_000_000_000;
    while unit > 1 && number / unit == 0 {
        unit /= 10;
    }
    while unit > 0 {
        bytes.push(&[b'0' + (number / unit % 10) as u8])?;
        unit /= 10;
    }
    Some(())
}

fn push_hexadecimal(bytes: &mut Bytes, number: u64, bits: u32) -> Option<()> {
    let mut shift = bits;
    while shift > 0 {
        shift -= 4;
        let digit = (number >> shift) as u8 & 0xf;
        bytes.push(&[if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }])?;
    }
    Some(())
}

fn deciding_hash(environment: &Environment, names: &Names) -> u64 {
    let mut hash = NameHash::new();
    hash.add(names.build.as_bytes());
    hash.add(b"\0");
    for name in names.deciding {
        hash.add(name.as_bytes());
        match environment.get(name) {
            Some(value) => {
                hash.add(b"=");
                hash.add(value);
                hash.add(b"\0");
            }
            None => hash.add(b"\0"),
        }
    }
    hash.finish()
}
