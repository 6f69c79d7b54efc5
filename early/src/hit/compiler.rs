//! Which file is the compiler, in the straight case; `find_compiler` of the launcher knows the others.

use super::syscalls::{Statx, read_link, stat};
use super::text::{Bytes, Environment, begins_with, file_name, has_slash, plain_file_name};
use crate::{PATH_BYTES_MAX, Path, Paths};
use core::mem::MaybeUninit;

/// Symlinks that lead to one file; as many as the kernel follows.
const LINKS_MAX: usize = 40;

/// The compiler that `name` means: a path is taken as it is, a bare name is looked up in PATH, where
/// wrappers are skipped. `None` where that is not plain.
pub fn find<'m>(
    name: &[u8],
    environment: &Environment,
    wrappers: &[&str],
    paths: &'m mut Paths,
) -> Option<&'m [u8]> {
    let mut own = MaybeUninit::uninit();
    let own = stat(b"/proc/self/exe\0", &mut own)?;
    let mut found = MaybeUninit::uninit();
    let Paths { path, link, target } = paths;
    let mut path = Bytes::new(path);
    if has_slash(name) {
        path.push(name)?;
        let found = end_and_stat(&mut path, &mut found)?;
        let stands_in = stands_in(path.get(), found, own, wrappers, link, target)?;
        return (!stands_in).then(|| path.finish());
    }
    let mut folders = environment.get("PATH")?;
    loop {
        let (folder, rest) = until_colon(folders);
        if folder.first() != Some(&b'/') {
            return None;
        }
        path.truncate(0);
        path.push(folder)?;
        if folder.last() != Some(&b'/') {
            path.push(b"/")?;
        }
        path.push(name)?;
        if let Some(found) = end_and_stat(&mut path, &mut found)
            && found.is_program()
            && !stands_in(path.get(), found, own, wrappers, link, target)?
        {
            return Some(path.finish());
        }
        folders = rest?;
    }
}

/// The first folder of a list, and the list of the others.
fn until_colon(folders: &[u8]) -> (&[u8], Option<&[u8]>) {
    match folders.iter().position(|byte| *byte == b':') {
        Some(colon) => (folders.get(..colon).unwrap_or_default(), folders.get(colon + 1..)),
        None => (folders, None),
    }
}

fn end_and_stat<'f>(path: &mut Bytes, found: &'f mut MaybeUninit<Statx>) -> Option<&'f Statx> {
    let length = path.len();
    path.push(b"\0")?;
    let found = stat(path.get(), found);
    path.truncate(length);
    found
}

/// Whether the file is rcache or another wrapper. `None` where its content would have to be read.
fn stands_in(
    path: &[u8],
    found: &Statx,
    own: &Statx,
    wrappers: &[&str],
    link: &mut Path,
    target: &mut Path,
) -> Option<bool> {
    let mut link = Bytes::new(link);
    link.push(path)?;
    follow(&mut link, target)?;
    let name = plain_file_name(link.get())?;
    if wrappers.iter().any(|wrapper| begins_with(name, wrapper.as_bytes())) {
        return Some(true);
    }
    if (found.device(), found.inode) == (own.device(), own.inode) {
        return Some(true);
    }
    if found.length == own.length { None } else { Some(false) }
}

/// Goes to the end of a chain of symlinks.
fn follow(link: &mut Bytes, target: &mut Path) -> Option<()> {
    for _ in 0..LINKS_MAX {
        let length = link.len();
        link.push(b"\0")?;
        let count = read_link(link.get(), target);
        link.truncate(length);
        let Some(count) = count else { return Some(()) };
        if count >= PATH_BYTES_MAX {
            return None;
        }
        // SAFETY: the kernel has written so many.
        let target = unsafe { Bytes::written(target, count) };
        let folder = match target.get().first() {
            Some(b'/') => 0,
            _ => length - file_name(link.get()).len(),
        };
        link.truncate(folder);
        link.push(target.get())?;
    }
    Some(())
}
