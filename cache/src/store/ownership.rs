//! Whose a cache folder is: who can put files into it decides what comes out as a hit.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Permission bits with which others than the owner can write.
const WRITE_OF_OTHERS: u32 = 0o022;
/// What is made in the folder gets the folder's group: somebody means to share it.
const SET_GROUP: u32 = 0o2000;

/// Makes sure that nobody else can put anything into a folder, which must be there.
///
/// It has to belong to this user, or to root, who could do anything anyway. Others that can write to
/// one of this user's own lose that right: most often nobody meant it (a umask of 002), and turning
/// the cache off would help nobody. Where the folder hands its group on, somebody did mean it, and it is
/// refused instead.
pub fn secure(folder: &Path) -> io::Result<()> {
    let user = rustix::process::geteuid().as_raw();
    let found = fs::metadata(folder)?;
    if !found.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    let is_own = found.uid() == user;
    let is_narrowed = is_own && is_open(found.mode()) && found.mode() & SET_GROUP == 0;
    if !is_narrowed {
        return judge(found.uid(), found.mode(), user).map_err(refused);
    }
    let mode = found.mode() & 0o7777 & !WRITE_OF_OTHERS;
    tracing::warn!("others could write to {}: its mode is {mode:o} now", folder.display());
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))?;
    // Some file systems have one mode for all, and take no other.
    let found = fs::metadata(folder)?;
    judge(found.uid(), found.mode(), user).map_err(refused)
}

/// Whether a file that was opened can only have been written by this user or by root.
pub(super) fn is_trusted(file: &fs::Metadata, user: u32) -> bool {
    judge(file.uid(), file.mode(), user).is_ok()
}

fn is_open(mode: u32) -> bool {
    mode & WRITE_OF_OTHERS != 0
}

fn judge(owner: u32, mode: u32, user: u32) -> Result<(), String> {
    match owner == user || owner == 0 {
        false => Err(format!("it belongs to user {owner}")),
        true if is_open(mode) => Err(format!("others can write to it (mode {:o})", mode & 0o7777)),
        true => Ok(()),
    }
}

fn refused(why: String) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_put_nothing_in() {
        assert_eq!(judge(5, 0o700, 5), Ok(()));
        assert_eq!(judge(0, 0o755, 5), Ok(()));
        for (owner, mode) in [(6, 0o700), (5, 0o770), (5, 0o702), (0, 0o1777), (5, 0o2775)] {
            assert!(judge(owner, mode, 5).is_err(), "{owner} {mode:o}");
        }
        assert!(judge(5, 0o700, 0).is_err(), "root does not trust a user's folder");
    }

    #[test]
    fn a_folder_of_our_own_is_made_so() {
        let scratch = tempfile::tempdir().unwrap();
        let with_mode = |mode| {
            fs::set_permissions(scratch.path(), fs::Permissions::from_mode(mode)).unwrap();
            let secured = secure(scratch.path());
            (secured.is_ok(), fs::metadata(scratch.path()).unwrap().mode() & 0o7777)
        };
        assert_eq!(with_mode(0o700), (true, 0o700));
        assert_eq!(with_mode(0o775), (true, 0o755));
        assert_eq!(with_mode(0o777), (true, 0o755));
        assert_eq!(with_mode(0o2775), (false, 0o2775));
        assert!(secure(&scratch.path().join("none")).is_err());
    }
}
