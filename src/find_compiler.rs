//! Which file is the real compiler: the next of its name in PATH that is no wrapper.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use talk::wrappers;

/// The running binary; nothing where /proc is not mounted.
const OWN_BINARY: &str = "/proc/self/exe";

/// Symlinks that lead to one file; as many as the kernel follows.
const LINKS_MAX: usize = 40;

/// Whether a file name means rcache itself and not a compiler.
pub fn is_own_name(file_name: &OsStr) -> bool {
    file_name.as_bytes().starts_with(b"rcache")
}

/// The compiler that `name` means: a path is taken as it is, a bare name is looked up in `path`
/// (the value of PATH). What turns out to be a wrapper is skipped for the next file of that name.
pub fn find(name: &OsStr, path: &OsStr) -> io::Result<PathBuf> {
    find_next(name, path, OsStr::new(""))
}

/// The same, without the programs that an outer rcache has `started` (a list in PATH's form): a
/// script named like the compiler that calls rcache would never end.
pub fn find_next(name: &OsStr, path: &OsStr, started: &OsStr) -> io::Result<PathBuf> {
    let own = own_binary();
    if name.as_bytes().contains(&b'/') {
        let given = PathBuf::from(name);
        if !is_wrapper(&given, own.as_ref()) {
            return Ok(given);
        }
    }
    let file_name = Path::new(name).file_name().unwrap_or(name);
    std::env::split_paths(path)
        .map(|folder| folder.join(file_name))
        .filter(|candidate| !std::env::split_paths(started).any(|one| one == *candidate))
        .find(|candidate| {
            let found = fs::metadata(candidate).ok().filter(is_executable);
            found.is_some_and(|found| !stands_in(candidate, &found, own.as_ref()))
        })
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("{}: no such compiler in PATH", name.to_string_lossy()),
            )
        })
}

/// The file that a wrapper's own name means, which is not rcache itself.
pub fn find_wrapper(name: &OsStr, path: &OsStr) -> io::Result<PathBuf> {
    let own = own_binary();
    let is_other = |candidate: &PathBuf| {
        let id = |found: &Metadata| (found.dev(), found.ino());
        let found = fs::metadata(candidate).ok().filter(is_executable);
        found.is_some_and(|found| own.as_ref().is_none_or(|own| id(own) != id(&found)))
    };
    let folders = std::env::split_paths(path).map(|folder| folder.join(name));
    let mut places: Box<dyn Iterator<Item = PathBuf>> = match name.as_bytes().contains(&b'/') {
        true => Box::new(std::iter::once(PathBuf::from(name))),
        false => Box::new(folders),
    };
    places.find(is_other).ok_or_else(|| {
        let text = format!("{}: no such program", name.to_string_lossy());
        io::Error::new(io::ErrorKind::NotFound, text)
    })
}

/// Whether a shell would have started `compiler` for `name`: no wrapper is before it in PATH.
pub fn is_first(name: &OsStr, compiler: &Path) -> bool {
    let first = || {
        std::env::split_paths(&search_path())
            .map(|folder| folder.join(name))
            .find(|candidate| is_program(candidate))
    };
    !name.as_bytes().contains(&b'/') && first().as_deref() == Some(compiler)
}

/// Whether this is a file that can be executed.
pub fn is_program(candidate: &Path) -> bool {
    fs::metadata(candidate).is_ok_and(|found| is_executable(&found))
}

fn is_executable(found: &Metadata) -> bool {
    found.is_file() && found.permissions().mode() & 0o111 != 0
}

/// The running binary's metadata; `None` where /proc is not mounted.
pub fn own_binary() -> Option<Metadata> {
    fs::metadata(OWN_BINARY).ok()
}

/// Whether `candidate` is rcache (as a symlink, a hard link or a copy) or another wrapper.
pub fn is_wrapper(candidate: &Path, own: Option<&Metadata>) -> bool {
    fs::metadata(candidate).is_ok_and(|found| stands_in(candidate, &found, own))
}

/// `found` is what the candidate's path leads to.
fn stands_in(candidate: &Path, found: &Metadata, own: Option<&Metadata>) -> bool {
    if wrappers::stands_in(&real_name(candidate)) {
        return true;
    }
    let Some(own) = own else { return false };
    let same_file = (found.dev(), found.ino()) == (own.dev(), own.ino());
    same_file || (found.len() == own.len() && same_content(candidate, Path::new(OWN_BINARY)))
}

/// The file name at the end of a chain of symlinks. Folders on the way may be symlinks as well, but
/// those have no say in the name of the file.
fn real_name(path: &Path) -> OsString {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => break,
        }
    }
    path.file_name().unwrap_or_default().to_owned()
}

/// Only reached by a file of exactly our size, so it may read everything.
fn same_content(left: &Path, right: &Path) -> bool {
    const BLOCK_BYTES: usize = 1 << 16;
    let (Ok(mut left), Ok(mut right)) = (fs::File::open(left), fs::File::open(right)) else {
        return false;
    };
    let (mut left_block, mut right_block) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
    loop {
        let Ok(count) = left.read(&mut left_block) else { return false };
        if count == 0 {
            return true;
        }
        if right.read_exact(&mut right_block[..count]).is_err()
            || left_block[..count] != right_block[..count]
        {
            return false;
        }
    }
}

/// The value of PATH, or what a shell would use without one.
pub fn search_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn program(path: &Path, content: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn wrappers_are_skipped_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        program(&at("opt/ccache"), "x");
        program(&at("opt/distcc-3"), "x");
        program(&at("real/gcc"), "real");
        fs::create_dir_all(at("links")).unwrap();
        fs::create_dir_all(at("more")).unwrap();
        fs::create_dir_all(at("own")).unwrap();
        symlink(at("opt/ccache"), at("links/gcc")).unwrap();
        symlink(at("opt/distcc-3"), at("more/gcc")).unwrap();
        // The test binary plays rcache: a symlink, and a copy.
        let own = fs::canonicalize("/proc/self/exe").unwrap();
        symlink(&own, at("own/gcc")).unwrap();
        fs::create_dir_all(at("copy")).unwrap();
        fs::copy(&own, at("copy/gcc")).unwrap();

        let path =
            std::env::join_paths(["nowhere", "links", "own", "more", "copy", "real"].map(at))
                .unwrap();
        assert_eq!(find(OsStr::new("gcc"), &path).unwrap(), at("real/gcc"));
        assert_eq!(find(at("own/gcc").as_os_str(), &path).unwrap(), at("real/gcc"));
        assert_eq!(find(at("real/gcc").as_os_str(), &path).unwrap(), at("real/gcc"));
        let started = at("real/gcc");
        assert!(find_next(OsStr::new("gcc"), &path, started.as_os_str()).is_err());
        assert_eq!(find(OsStr::new("g++"), &path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
