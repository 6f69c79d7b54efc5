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

/// `/XXXXXXXXXXXXXXXX.sock`
const FILE_NAME_BYTES: usize = 1 + 16 + 5;

/// The socket of the daemon that serves a call with these variables, for this user.
///
/// It is in `$XDG_RUNTIME_DIR/rcache` where that is a folder of this user (`sudo` and containers
/// hand on a variable that names somebody else's, or nothing), else in `/tmp/rcache-UID`.
pub fn socket_path(variable: &dyn Fn(&str) -> Option<OsString>, user: u32) -> PathBuf {
    let name = file_name(deciding_hash(variable));
    let folder = variable(XDG_RUNTIME_DIR).map(PathBuf::from).filter(|folder| {
        let length = folder.as_os_str().len() + "/rcache".len() + FILE_NAME_BYTES;
        folder.is_absolute() && length <= SOCKET_PATH_BYTES_MAX && is_folder_of(folder, user)
    });
    let shared = || PathBuf::from(format!("/tmp/rcache-{user}"));
    folder.map_or_else(shared, |folder| folder.join("rcache")).join(name)
}

/// `XXXXXXXXXXXXXXXX.sock`, without std's formatting: its code and tables would be the launcher's only
/// reason to fault three more pages in.
fn file_name(hash: u64) -> String {
    let digits = (0..16).rev().map(|digit| (hash >> (4 * digit)) as u32 & 0xf);
    let mut name: String = digits.filter_map(|digit| char::from_digit(digit, 16)).collect();
    name.push_str(".sock");
    name
}

/// Makes the folder of the socket, or makes sure that the one that is there is safe: a folder and
/// no symlink, owned by `user`, and writable by nobody else. Somebody else's folder in `/tmp`
/// could hand out wrong objects.
pub fn prepare_runtime_folder(folder: &Path, user: u32) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = std::fs::symlink_metadata(folder)?;
    let refuse = |why: String| {
        let text = format!("{} {why}; remove it", folder.display());
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    };
    match metadata {
        _ if !metadata.is_dir() => refuse("is not a folder".to_owned()),
        _ if metadata.uid() != user => refuse(format!("belongs to user {}", metadata.uid())),
        _ if metadata.mode() & 0o022 != 0 => {
            refuse(format!("can be written by others (mode {:o})", metadata.mode() & 0o7777))
        }
        _ => Ok(()),
    }
}

fn is_folder_of(folder: &Path, user: u32) -> bool {
    std::fs::metadata(folder).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user)
}

/// FNV-1a over the names and values. It only names a file, within a folder of one user.
fn deciding_hash(variable: &dyn Fn(&str) -> Option<OsString>) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = OFFSET;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    };
    for name in DECIDING {
        add(name.as_bytes());
        // A NUL is in no value, so it can part them; an empty value is not the same as none.
        match variable(name) {
            Some(value) => {
                add(b"=");
                add(value.as_bytes());
                add(b"\0");
            }
            None => add(b"\0"),
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn own_user() -> u32 {
        std::fs::metadata("/proc/self").unwrap().uid()
    }

    fn path(variables: &[(&str, &str)]) -> PathBuf {
        let lookup = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        socket_path(&lookup, own_user())
    }

    #[test]
    fn the_file_is_named_in_hexadecimal_digits() {
        for hash in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(file_name(hash), format!("{hash:016x}.sock"));
        }
    }

    #[test]
    fn the_runtime_folder_is_used_where_it_can_be() {
        let folder = tempfile::Builder::new().prefix("r").tempdir_in("/tmp").unwrap();
        let text = folder.path().to_str().unwrap();
        assert!(path(&[("XDG_RUNTIME_DIR", text)]).starts_with(folder.path().join("rcache")));
        let fallback = format!("/tmp/rcache-{}", own_user());
        let long = format!("/tmp/{}", "long/".repeat(20));
        for unusable in ["", "relative", "/nowhere/at/all", "/dev/null", long.as_str()] {
            assert!(path(&[("XDG_RUNTIME_DIR", unusable)]).starts_with(&fallback), "{unusable}");
        }
        let other = |_: &str| Some(OsString::from(text));
        let fallback = format!("/tmp/rcache-{}", own_user() + 1);
        assert!(socket_path(&other, own_user() + 1).starts_with(fallback));
    }

    #[test]
    fn each_cache_folder_has_a_socket() {
        let mut seen = vec![path(&[])];
        for name in DECIDING {
            for value in ["", "/a", "/b"] {
                let path = path(&[(name, value)]);
                assert!(!seen.contains(&path), "{name}={value}");
                assert!(path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
                seen.push(path);
            }
        }
        assert_eq!(path(&[("PATH", "/bin")]), path(&[]));
        assert_ne!(
            path(&[("RCACHE_CONFIG", "/a"), ("RCACHE_DIR", "")]),
            path(&[("RCACHE_CONFIG", "/a")])
        );
    }

    #[test]
    fn an_unsafe_folder_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("rcache");
        prepare_runtime_folder(&folder, own_user()).unwrap();
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o7777, 0o700);
        prepare_runtime_folder(&folder, own_user()).unwrap();

        let refused =
            |folder: &Path, user| prepare_runtime_folder(folder, user).unwrap_err().to_string();
        assert!(refused(&folder, own_user() + 1).contains("belongs to user"));
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o770)).unwrap();
        assert!(refused(&folder, own_user()).contains("mode 770"));
        let link = scratch.path().join("link");
        std::os::unix::fs::symlink(scratch.path(), &link).unwrap();
        assert!(refused(&link, own_user()).contains("not a folder"));
        assert!(prepare_runtime_folder(&scratch.path().join("no/folder"), own_user()).is_err());
    }
}
