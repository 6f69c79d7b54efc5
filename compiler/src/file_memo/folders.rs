//! Many files in a few folders: each folder is opened once, and its files are looked up from there.
//!
//! The kernel checks each folder of a path for each look-up. From the last folder on, a look-up
//! takes two thirds of the time.

use super::{WorkingDirectory, is_refusal};
use rustix::fs::{AtFlags, Stat};
use std::collections::hash_map::{Entry, HashMap};
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Below this many files, opening the folders costs more than it saves.
const FILES_MIN: usize = 64;

/// Descriptors that one check may hold; files of further folders are looked up by their whole path.
const FOLDERS_MAX: usize = 32;

/// The folders of one check. Not to be kept: a path may lead to another folder at any time.
pub struct Folders<'h> {
    here: &'h WorkingDirectory,
    open: HashMap<&'h [u8], OwnedFd>,
    folders_max: usize,
}

impl<'h> Folders<'h> {
    /// For a check of this many files.
    pub fn new(here: &'h WorkingDirectory, files: usize) -> Folders<'h> {
        let folders_max = if files < FILES_MIN { 0 } else { FOLDERS_MAX };
        Folders { here, open: HashMap::new(), folders_max }
    }

    /// As [`WorkingDirectory::stat`].
    pub fn stat(&mut self, path: &'h Path) -> io::Result<Stat> {
        let bytes = path.as_os_str().as_bytes();
        let (folder, name) = match memchr::memrchr(b'/', bytes) {
            // A slash at the end asks for a folder.
            Some(slash) if slash > 0 && slash + 1 < bytes.len() => bytes.split_at(slash),
            _ => return self.here.stat(path),
        };
        let is_full = self.open.len() >= self.folders_max;
        let opened = match self.open.entry(folder) {
            Entry::Occupied(opened) => opened.into_mut(),
            Entry::Vacant(_) if is_full => return self.here.stat(path),
            Entry::Vacant(place) => {
                match self.here.open_folder(Path::new(OsStr::from_bytes(folder))) {
                    Ok(opened) => place.insert(opened),
                    Err(error) if is_refusal(&error) => return Err(error),
                    // The whole path says why, or does without: descriptors may be short.
                    Err(_) => return self.here.stat(path),
                }
            }
        };
        let name = OsStr::from_bytes(&name[1..]);
        Ok(rustix::fs::statat(opened, name, AtFlags::empty())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_memo::Stamp;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn it_sees_what_a_whole_path_leads_to() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir_all(at("real/deep")).unwrap();
        fs::write(at("real/a.h"), "a").unwrap();
        fs::write(at("real/deep/b.h"), "b").unwrap();
        fs::write(at("c.h"), "c").unwrap();
        symlink("real/deep", at("link")).unwrap();
        symlink("../c.h", at("real/c.h")).unwrap();
        symlink("nowhere", at("real/dangling.h")).unwrap();
        let here = WorkingDirectory::open(scratch.path()).unwrap();
        let absolute = at("real/a.h");
        let paths = [
            "c.h",
            "./c.h",
            "real/a.h",
            "real//a.h",
            "real/c.h",
            "real/dangling.h",
            "real/missing.h",
            "real/deep/b.h",
            "real/deep/../a.h",
            "link/b.h",
            "link/../a.h",
            "real/deep",
            "real/deep/",
            "real/a.h/",
            "real/a.h/x",
            "real/..",
            "nowhere/x.h",
            "",
            "/",
            absolute.to_str().unwrap(),
        ];
        for files in [0, FILES_MIN] {
            let mut folders = Folders::new(&here, files);
            for path in paths.into_iter().chain(paths).map(Path::new) {
                let (whole, split) = (here.stat(path), folders.stat(path));
                match (&whole, &split) {
                    (Ok(whole), Ok(split)) => assert_eq!(Stamp::of(whole), Stamp::of(split)),
                    (Err(whole), Err(split)) => assert_eq!(whole.kind(), split.kind()),
                    _ => panic!("{}: {whole:?}, {split:?}", path.display()),
                }
            }
            assert_eq!(folders.open.is_empty(), files == 0);
        }
    }

    #[test]
    fn many_folders_do_not_take_many_descriptors() {
        let scratch = tempfile::tempdir().unwrap();
        let here = WorkingDirectory::open(scratch.path()).unwrap();
        let names: Vec<_> = (0..2 * FOLDERS_MAX).map(|n| format!("f{n}/a.h")).collect();
        let mut folders = Folders::new(&here, names.len());
        for name in &names {
            fs::create_dir(scratch.path().join(Path::new(name).parent().unwrap())).unwrap();
            fs::write(scratch.path().join(name), "").unwrap();
            assert!(folders.stat(Path::new(name)).is_ok());
        }
        assert_eq!(folders.open.len(), FOLDERS_MAX);
    }
}
