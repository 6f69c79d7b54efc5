//! The request, byte for byte as `talk::launcher_protocol` encodes it.

use super::compiler;
use super::place::Place;
use super::syscalls::{self, Statx, columns, niceness, stat, umask, working_directory};
use super::text::{Bytes, Environment, Stack, begins_with, plain_file_name, same};
use crate::{Names, Path, Scratch};
use core::mem::MaybeUninit;

/// The kind of a frame that asks for a compile.
const COMPILE: u8 = 1;

/// The request that this process would send with such a stack, but for the proof; `None` where the
/// launcher decides.
///
/// # Safety
/// `stack` is laid out as the kernel does it.
pub unsafe fn request<'m>(
    stack: *const usize,
    names: &Names,
    scratch: &'m mut Scratch,
) -> Option<&'m [u8]> {
    // SAFETY: see the caller.
    let stack = unsafe { Stack::new(stack) };
    if !is_straight(&stack, names) {
        return None;
    }
    let socket = syscalls::unix_socket()?;
    let place = Place::find(socket, names);
    syscalls::close(socket);
    Some(write(&stack, names, scratch, &place?)?.bytes.finish())
}

/// Whether there is something to ask, and nobody else has asked it.
pub fn is_straight(stack: &Stack, names: &Names) -> bool {
    stack.environment().get(names.inside).is_none() && compile(stack, names).is_some()
}

/// A request, whose proof is known only when the daemon is.
pub struct Frame<'m> {
    bytes: Bytes<'m>,
    proof: usize,
}

impl Frame<'_> {
    /// Says what the kernel let this process see of the daemon.
    pub fn set_proof(&mut self, proof: u64) {
        self.bytes.set_u32(self.proof, proof as u32);
        self.bytes.set_u32(self.proof + 4, (proof >> 32) as u32);
    }

    /// All of it.
    pub fn get(&self) -> &[u8] {
        self.bytes.get()
    }
}

pub(crate) fn write<'m>(
    stack: &Stack,
    names: &Names,
    scratch: &'m mut Scratch,
    place: &Place,
) -> Option<Frame<'m>> {
    let environment = stack.environment();
    let (name, arguments) = compile(stack, names)?;
    let Scratch { paths, request } = scratch;
    let mut frame = Bytes::new(request);
    frame.push(&[0; 4])?;
    frame.push(&[COMPILE])?;
    push_bytes(&mut frame, names.build.as_bytes())?;
    let proof = frame.len();
    frame.push(&[0; 8])?;
    push_caller(&mut frame, place, environment, &mut paths.path)?;
    push_terminal(&mut frame)?;
    let compiler = compiler::find(name, &environment, names.wrappers, paths)?;
    push_bytes(&mut frame, compiler)?;
    frame.push(&((stack.count() - arguments) as u32).to_le_bytes())?;
    for place in arguments..stack.count() {
        push_bytes(&mut frame, stack.word(place)?)?;
    }
    let length = frame.len() as u32 - 4;
    frame.set_u32(0, length);
    Some(Frame { bytes: frame, proof })
}

/// The name of the compiler, and the place of the first word after it.
fn compile<'s>(stack: &Stack<'s>, names: &Names) -> Option<(&'s [u8], usize)> {
    let own_name = plain_file_name(stack.word(0)?)?;
    // The names with which `find_compiler` lets rcache itself be called.
    if !begins_with(own_name, b"rcache") {
        return Some((own_name, 1));
    }
    let name = stack.word(1)?;
    let is_itself = same(plain_file_name(name)?, b"rcache");
    let is_subcommand = names.subcommands.iter().any(|word| same(name, word.as_bytes()));
    let is_option = name.first() == Some(&b'-');
    (!is_itself && !is_subcommand && !is_option).then_some((name, 2))
}

fn push_bytes(frame: &mut Bytes, bytes: &[u8]) -> Option<()> {
    frame.push(&(bytes.len() as u32).to_le_bytes())?;
    frame.push(bytes)
}

fn push_caller(
    frame: &mut Bytes,
    place: &Place,
    environment: Environment,
    path: &mut Path,
) -> Option<()> {
    frame.push(&umask().to_le_bytes())?;
    frame.push(&place.root.0.to_le_bytes())?;
    frame.push(&place.root.1.to_le_bytes())?;
    frame.push(&place.mount.to_le_bytes())?;
    frame.push(&place.group.to_le_bytes())?;
    frame.push(&place.surroundings.to_le_bytes())?;
    frame.push(&niceness()?.to_le_bytes())?;
    let mut found = MaybeUninit::<Statx>::uninit();
    let here = stat(b".\0", &mut found)?;
    frame.push(&here.device().to_le_bytes())?;
    frame.push(&here.inode.to_le_bytes())?;
    let length = working_directory(path)?;
    // SAFETY: the kernel has written so many.
    let mut path = unsafe { Bytes::written(path, length) };
    path.truncate(length - 1);
    if path.get().first() != Some(&b'/') {
        return None;
    }
    push_bytes(frame, path.get())?;
    push_environment(frame, environment)
}

fn push_environment(frame: &mut Bytes, environment: Environment) -> Option<()> {
    let (place, mut count) = (frame.len(), 0);
    frame.push(&[0; 4])?;
    for variable in environment {
        // As in std: a leading "=" is part of the name, and what has no "=" is no variable.
        if variable.iter().skip(1).any(|byte| *byte == b'=') {
            push_bytes(frame, variable)?;
            count += 1;
        }
    }
    frame.set_u32(place, count);
    Some(())
}

fn push_terminal(frame: &mut Bytes) -> Option<()> {
    let (stdout, stderr) = (columns(1)?, columns(2)?);
    frame.push(&[u8::from(stdout.is_some()) | u8::from(stderr.is_some()) << 1])?;
    frame.push(&stderr.unwrap_or(0).to_le_bytes())?;
    // Of interest to a compiler that quotes lines on a terminal.
    let input = match stderr {
        Some(_) => columns(0)?,
        None => None,
    };
    frame.push(&input.unwrap_or(0).to_le_bytes())
}
