//! Where the daemon's socket is. Only `std`, and no file is read: the launcher comes through here
//! on every call.

use crate::environment::{
    HOME, RCACHE_CACHE_DIR, RCACHE_CONFIG, RCACHE_DIR, XDG_CACHE_HOME, XDG_CONFIG_HOME,
    XDG_RUNTIME_DIR,
};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The longest path of a socket in bytes: `sun_path` has 104 bytes on the BSDs and 108 on Linux,
/// with the NUL at the end.
pub const SOCKET_PATH_BYTES_MAX: usize = 103;

/// The variables that decide which cache folder a call means, and so which daemon serves it.
pub const DECIDING: [&str; 6] =
    [RCACHE_CONFIG, RCACHE_DIR, RCACHE_CACHE_DIR, XDG_CONFIG_HOME, XDG_CACHE_HOME, HOME];

/// `/VVVVVVVVVVVVVVVV-PPPPPPPP.sock`
const FILE_NAME_BYTES: usize = 1 + 16 + 1 + 8 + 5;

/// The folder for sockets in the cache folder.
const IN_CACHE: &str = "run";

/// The name of the socket of the daemon that serves a call with these variables from a place, which the
/// number stands for. Each build of rcache has daemons of its own: two that are in use at the same time do
/// not take turns.
pub fn socket_name(build: &str, variable: &dyn Fn(&str) -> Option<OsString>, place: u32) -> String {
    file_name(deciding_hash(build, variable), place)
}

/// FNV-1a. It only names files, within a folder of one user.
#[derive(Clone, Copy, Debug)]
pub struct NameHash(u64);

impl Default for NameHash {
    fn default() -> NameHash {
        NameHash(0xcbf2_9ce4_8422_2325)
    }
}

impl NameHash {
    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    /// Of all that was added.
    pub fn finish(self) -> u64 {
        self.0
    }

    /// The same in half as many bits.
    pub fn folded(self) -> u32 {
        (self.0 >> 32) as u32 ^ self.0 as u32
    }
}

/// The folder of this user's sockets, or the one that is to be made; `None` where there is no safe one.
///
/// The first of these that can be used: `$XDG_RUNTIME_DIR/rcache` (`sudo` and containers hand on a
/// variable that names somebody else's folder, or nothing), `/tmp/rcache-UID`, and where another user
/// was there first, `/run/user/UID/rcache` and a folder in the cache folder.
pub fn runtime_folder(
    variable: &dyn Fn(&str) -> Option<OsString>,
    user: u32,
) -> Option<RuntimeFolder> {
    let mut folders = candidates(variable, user).into_iter().map(|path| look_at(path, user));
    folders.find(|folder| folder.state != State::Unsafe)
}

/// As [`runtime_folder`], after making it where it is missing. The error names each folder that cannot
/// be used, and why.
pub fn make_runtime_folder(
    variable: &dyn Fn(&str) -> Option<OsString>,
    user: u32,
) -> io::Result<PathBuf> {
    let mut refused = Vec::new();
    for path in candidates(variable, user) {
        match make_safe(&path, user) {
            Ok(()) => return Ok(path),
            Err(error) => refused.push(format!("{}: {error}", path.display())),
        }
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, refused.join("; ")))
}

/// The folders that go before the one in use and cannot be used, each with the reason.
pub fn refused_runtime_folders(
    variable: &dyn Fn(&str) -> Option<OsString>,
    user: u32,
) -> Vec<(PathBuf, String)> {
    let folders = candidates(variable, user).into_iter();
    let refused = folders.map_while(|path| match judge(&path, user) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Some((path, error.to_string())),
        _ => None,
    });
    refused.collect()
}

/// A folder of sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeFolder {
    /// Where it is.
    pub path: PathBuf,
    state: State,
}

impl RuntimeFolder {
    /// Whether it is there. Only then is anything in it worth a look.
    pub fn exists(&self) -> bool {
        self.state == State::Safe
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Safe,
    Missing,
    Unsafe,
}

fn look_at(path: PathBuf, user: u32) -> RuntimeFolder {
    let state = match judge(&path, user) {
        Ok(()) => State::Safe,
        Err(error) if error.kind() == io::ErrorKind::NotFound => State::Missing,
        Err(_) => State::Unsafe,
    };
    RuntimeFolder { path, state }
}

/// Where the folder of sockets can be, best first.
fn candidates(variable: &dyn Fn(&str) -> Option<OsString>, user: u32) -> Vec<PathBuf> {
    let mut folders = Vec::with_capacity(2);
    let given = variable(XDG_RUNTIME_DIR).map(PathBuf::from).unwrap_or_default();
    let below = given.join("rcache");
    if given.is_absolute() && (judge(&below, user).is_ok() || is_folder_of(&given, user)) {
        folders.push(below);
    }
    folders.push(PathBuf::from(format!("/tmp/rcache-{user}")));
    let of_login = PathBuf::from(format!("/run/user/{user}"));
    if is_folder_of(&of_login, user) {
        folders.push(of_login.join("rcache"));
    }
    let caches = [
        (RCACHE_CACHE_DIR, ""),
        (RCACHE_DIR, ""),
        (XDG_CACHE_HOME, "rcache"),
        (HOME, ".cache/rcache"),
    ];
    let of_cache = |(name, below): (&str, &str)| {
        let folder = variable(name).map(PathBuf::from).filter(|folder| folder.is_absolute())?;
        Some(folder.join(below).join(IN_CACHE))
    };
    folders.extend(caches.into_iter().find_map(of_cache));
    folders.retain(|folder| folder.as_os_str().len() + FILE_NAME_BYTES <= SOCKET_PATH_BYTES_MAX);
    folders
}

/// `VVVVVVVVVVVVVVVV-PPPPPPPP.sock`, without std's formatting: its code and tables would be the launcher's
/// only reason to fault three more pages in.
fn file_name(hash: u64, place: u32) -> String {
    let mut name = String::with_capacity(FILE_NAME_BYTES);
    push_digits(&mut name, hash, 16);
    name.push('-');
    push_digits(&mut name, place.into(), 8);
    name.push_str(".sock");
    name
}

fn push_digits(name: &mut String, number: u64, count: u32) {
    let digits = (0..count).rev().map(|digit| (number >> (4 * digit)) as u32 & 0xf);
    name.extend(digits.filter_map(|digit| char::from_digit(digit, 16)));
}

/// Makes a folder for sockets, or makes sure that the one that is there is safe.
fn make_safe(folder: &Path, user: u32) -> io::Result<()> {
    match judge(folder, user) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        judged => return judged,
    }
    // The cache folder may not be there yet. Nothing else that is missing is made: not /tmp.
    let is_in_cache = folder.ends_with(IN_CACHE);
    match std::fs::DirBuilder::new().mode(0o700).recursive(is_in_cache).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Another user may have been faster.
    judge(folder, user)
}

/// Whether a folder can hold sockets: a folder and no symlink, owned by `user`, and writable by nobody
/// else. In somebody else's folder, each file could be a link to one of ours, a pipe, or the socket of
/// a daemon that hands out wrong objects.
fn judge(folder: &Path, user: u32) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(folder)?;
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    match metadata {
        _ if !metadata.is_dir() => refuse("it is not a folder".to_owned()),
        _ if metadata.uid() != user => refuse(format!("it belongs to user {}", metadata.uid())),
        _ if metadata.mode() & 0o022 != 0 => {
            refuse(format!("others can write there (mode {:o})", metadata.mode() & 0o7777))
        }
        _ => Ok(()),
    }
}

fn is_folder_of(folder: &Path, user: u32) -> bool {
    std::fs::metadata(folder).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user)
}

fn deciding_hash(build: &str, variable: &dyn Fn(&str) -> Option<OsString>) -> u64 {
    let mut hash = NameHash::default();
    hash.add(build.as_bytes());
    hash.add(b"\0");
    for name in DECIDING {
        hash.add(name.as_bytes());
        // A NUL is in no value, so it can part them; an empty value is not the same as none.
        match variable(name) {
            Some(value) => {
                hash.add(b"=");
                hash.add(value.as_bytes());
                hash.add(b"\0");
            }
            None => hash.add(b"\0"),
        }
    }
    hash.finish()
}

/// The folder of the user's settings and keys; `None` where nothing says where it is.
pub fn settings_folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = folder(crate::environment::XDG_CONFIG_HOME);
    let config =
        config.or_else(|| folder(crate::environment::HOME).map(|home| home.join(".config")));
    config.map(|folder| folder.join("rcache"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn own_user() -> u32 {
        std::fs::metadata("/proc/self").unwrap().uid()
    }

    fn lookup<'v>(variables: &'v [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + 'v {
        |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        }
    }

    fn name(variables: &[(&str, &str)]) -> String {
        socket_name("1.0.0+0", &lookup(variables), 7)
    }

    fn folders(variables: &[(&str, &str)]) -> Vec<PathBuf> {
        candidates(&lookup(variables), own_user())
    }

    #[test]
    fn the_file_is_named_in_hexadecimal_digits() {
        for hash in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            let place = hash as u32;
            assert_eq!(file_name(hash, place), format!("{hash:016x}-{place:08x}.sock"));
        }
    }

    #[test]
    fn the_runtime_folder_is_used_where_it_can_be() {
        let folder = tempfile::Builder::new().prefix("r").tempdir_in("/tmp").unwrap();
        let text = folder.path().to_str().unwrap();
        assert_eq!(folders(&[("XDG_RUNTIME_DIR", text)])[0], folder.path().join("rcache"));
        let fallback = PathBuf::from(format!("/tmp/rcache-{}", own_user()));
        let long = format!("/tmp/{}", "long/".repeat(20));
        for unusable in ["", "relative", "/nowhere/at/all", "/dev/null", long.as_str()] {
            assert_eq!(folders(&[("XDG_RUNTIME_DIR", unusable)])[0], fallback, "{unusable}");
        }
        let other = |_: &str| Some(OsString::from(text));
        let fallback = PathBuf::from(format!("/tmp/rcache-{}", own_user() + 1));
        assert_eq!(candidates(&other, own_user() + 1)[0], fallback);
    }

    #[test]
    fn the_cache_folder_is_the_last_resort() {
        for (variables, last) in [
            (&[("HOME", "/h")][..], "/h/.cache/rcache/run"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/rcache/run"),
            (&[("HOME", "/h"), ("RCACHE_DIR", "/r"), ("XDG_CACHE_HOME", "/x")], "/r/run"),
            (&[("RCACHE_CACHE_DIR", "/c"), ("RCACHE_DIR", "/r")], "/c/run"),
            (&[("RCACHE_DIR", "relative"), ("HOME", "/h")], "/h/.cache/rcache/run"),
        ] {
            assert_eq!(folders(variables).last().unwrap(), Path::new(last));
        }
        assert!(folders(&[]).iter().all(|folder| !folder.ends_with("run")));
    }

    #[test]
    fn each_cache_folder_has_a_socket() {
        let mut seen = vec![name(&[])];
        for variable in DECIDING {
            for value in ["", "/a", "/b"] {
                let name = name(&[(variable, value)]);
                assert!(!seen.contains(&name), "{variable}={value}");
                assert!(name.len() < FILE_NAME_BYTES);
                seen.push(name);
            }
        }
        assert_eq!(name(&[("PATH", "/bin")]), name(&[]));
        assert_ne!(socket_name("1.0.0+1", &lookup(&[]), 7), name(&[]));
        assert_ne!(socket_name("1.0.0+0", &lookup(&[]), 8), name(&[]));
        assert_ne!(
            name(&[("RCACHE_CONFIG", "/a"), ("RCACHE_DIR", "")]),
            name(&[("RCACHE_CONFIG", "/a")])
        );
    }

    #[test]
    fn an_unsafe_folder_is_passed_over() {
        let scratch = tempfile::Builder::new().prefix("r").tempdir_in("/tmp").unwrap();
        let (folder, text) = (scratch.path().join("rcache"), scratch.path().to_str().unwrap());
        let variables = [("XDG_RUNTIME_DIR", text)];
        let variable = lookup(&variables);
        let found = || runtime_folder(&variable, own_user()).filter(|found| found.path == folder);
        let refused = || refused_runtime_folders(&variable, own_user());
        assert!(!found().unwrap().exists());
        assert_eq!(make_runtime_folder(&variable, own_user()).unwrap(), folder);
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(make_runtime_folder(&variable, own_user()).unwrap(), folder);
        assert!(found().unwrap().exists());
        assert_eq!(refused(), []);

        assert!(judge(&folder, own_user() + 1).unwrap_err().to_string().contains("belongs to"));
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o770)).unwrap();
        assert!(found().is_none());
        assert!(refused()[0].1.contains("mode 770"));
        std::fs::remove_dir(&folder).unwrap();
        std::os::unix::fs::symlink(scratch.path(), &folder).unwrap();
        assert!(found().is_none());
        assert!(refused()[0].1.contains("not a folder"));
    }
}
