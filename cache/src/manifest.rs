//! Direct mode's memory: for one source key, what each result read, and what it looked for in vain.
//!
//! ```text
//! manifest = version:u8 path* 0xffff result*          little endian; results newest first
//! path     = length:u16 octet*
//! result   = key:20 files:u32 (path:u32 digest:20)* present:u32 (path:u32)*
//!            directories:u32 (path:u32)* same:u32 (path:u32 path:u32)*
//!            search:u32 (path:u32 first:u32)* folders:u32 absent*
//! absent   = folder:u32 set:20 names:u32 (name:u32)*
//! ```
//! Paths are as the compiler spelled them: relative ones start at the caller's working directory,
//! so that a checkout in another place can use the same manifest.

use crate::file_memo::{FileMemo, Folders, Presence, WorkingDirectory, is_folder};
use crate::hasher::{Digest, KeyHasher, KeySink};
use rustix::fs::Stat;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

/// Raised whenever the layout or the meaning changes; an older manifest is a miss.
const VERSION: u8 = 2;

/// A header that flips between a few states keeps all of them; older results fall off the end.
pub const RESULTS_MAX: usize = 40;

/// Ends the table of paths; no path is that long (PATH_MAX is 4096).
const END_OF_PATHS: u16 = 0xffff;

/// All results of one source key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest<'a> {
    /// Newest first.
    pub results: Vec<Recorded<'a>>,
}

/// What one compile read and looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded<'a> {
    /// The name of the result.
    pub key: Digest,
    /// Files read, besides the source.
    pub files: Vec<(&'a Path, Digest)>,
    /// Files whose existence was asked for and that are there.
    pub present: Vec<&'a Path>,
    /// Folders that are where a file was looked for.
    pub directories: Vec<&'a Path>,
    /// Names of one and the same folder.
    pub same_folders: Vec<(&'a Path, &'a Path)>,
    /// Folders of the search path, each with the index of the first that is the same folder.
    pub search_folders: Vec<(&'a Path, u32)>,
    /// What was looked for and is not there.
    pub absent: Vec<AbsentIn<'a>>,
}

/// Plain names under which there is nothing in one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsentIn<'a> {
    /// The folder as spelled; empty for the working directory.
    pub folder: &'a Path,
    /// Identifies folder and names, for [`FileMemo::all_absent`].
    pub set: Digest,
    /// The names.
    pub names: Vec<&'a Path>,
}

/// Why a recorded result is not the answer now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch<'a> {
    /// A file that was read has another content.
    Changed(&'a Path),
    /// A file that was read, or was known to exist, is gone or cannot be read.
    Gone(&'a Path),
    /// A file that was looked for in vain may be there now, in this folder.
    Appeared(&'a AbsentIn<'a>),
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Changed(path) => write!(f, "{} changed", path.display()),
            Mismatch::Gone(path) => write!(f, "{} is gone or unreadable", path.display()),
            Mismatch::Appeared(absent) => match absent.names.as_slice() {
                [name] => write!(f, "{} appeared", absent.folder.join(name).display()),
                _ => write!(f, "a header appeared earlier in the search path, in {}", {
                    let folder = absent.folder;
                    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }.display()
                }),
            },
        }
    }
}

/// Sorts absent paths by their folder.
pub fn group_absent<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<AbsentIn<'a>> {
    let mut folders: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    for path in paths {
        let Some(name) = path.file_name() else { continue };
        folders.entry(path.parent().unwrap_or(path)).or_default().push(Path::new(name));
    }
    folders
        .into_iter()
        .map(|(folder, mut names)| {
            names.sort_unstable();
            names.dedup();
            let mut hasher = KeyHasher::new("absent names 1");
            hasher.field("folder", folder.as_os_str().as_bytes());
            for name in &names {
                hasher.field("name", name.as_os_str().as_bytes());
            }
            AbsentIn { folder, set: hasher.finish(), names }
        })
        .collect()
}

impl<'a> Recorded<'a> {
    /// Whether everything is as it was when the result was made.
    pub fn check(
        &'a self,
        memo: &FileMemo,
        here: &'a WorkingDirectory,
        now: SystemTime,
    ) -> Result<(), Mismatch<'a>> {
        let mut folders = Folders::new(here, self.files.len());
        for (path, digest) in &self.files {
            let content =
                folders.stat(path).and_then(|stat| memo.content_of(&stat, here, path, now));
            match content {
                Ok(content) if content.digest == *digest => {}
                Ok(_) => return Err(Mismatch::Changed(path)),
                Err(_) => return Err(Mismatch::Gone(path)),
            }
        }
        for path in &self.present {
            if here.presence(path) != Presence::File {
                return Err(Mismatch::Gone(path));
            }
        }
        for path in &self.directories {
            if here.presence(path) != Presence::Folder {
                return Err(Mismatch::Gone(path));
            }
        }
        let mut places = Places::new(here);
        for (left, right) in &self.same_folders {
            match (places.id(left), places.id(right)) {
                (Some(left), Some(right)) if left == right => {}
                _ => return Err(Mismatch::Changed(left)),
            }
        }
        self.check_search_folders(&mut places)?;
        for absent in &self.absent {
            let names = absent.names.iter().copied();
            let found = places.stat(absent.folder);
            if !memo.all_absent(here, absent.folder, found, absent.set, names, now) {
                return Err(Mismatch::Appeared(absent));
            }
        }
        Ok(())
    }

    /// Whether the same folders of the search path are the same, and no others.
    fn check_search_folders(&'a self, places: &mut Places<'a>) -> Result<(), Mismatch<'a>> {
        let mut ids = Vec::with_capacity(self.search_folders.len());
        for (index, (folder, first)) in self.search_folders.iter().enumerate() {
            let Ok(stat) = places.stat(folder) else { return Err(Mismatch::Gone(folder)) };
            let id = (stat.st_dev, stat.st_ino);
            let now_first = ids.iter().position(|other| *other == id).unwrap_or(index);
            if now_first != *first as usize || !is_folder(stat) {
                return Err(Mismatch::Changed(folder));
            }
            ids.push(id);
        }
        Ok(())
    }
}

/// What the folders of one check lead to: many are on the search path, and had something absent from
/// them, too.
struct Places<'a> {
    here: &'a WorkingDirectory,
    folders: HashMap<&'a Path, io::Result<Stat>>,
}

impl<'a> Places<'a> {
    fn new(here: &'a WorkingDirectory) -> Places<'a> {
        Places { here, folders: HashMap::new() }
    }

    /// Device and inode, where there is something.
    fn id(&mut self, folder: &'a Path) -> Option<(u64, u64)> {
        self.stat(folder).as_ref().ok().map(|stat| (stat.st_dev, stat.st_ino))
    }

    /// An empty path is the working directory.
    fn stat(&mut self, folder: &'a Path) -> &io::Result<Stat> {
        let path = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        self.folders.entry(folder).or_insert_with(|| self.here.stat(path))
    }
}

impl<'a> Manifest<'a> {
    /// Puts a result first; an older one of the same name makes way.
    pub fn add(&mut self, recorded: Recorded<'a>) {
        self.results.retain(|old| old.key != recorded.key);
        self.results.insert(0, recorded);
        self.results.truncate(RESULTS_MAX);
    }

    /// The bytes of the manifest.
    pub fn encode(&self) -> Vec<u8> {
        let mut paths = PathTable::default();
        let mut body = Vec::new();
        for result in &self.results {
            body.extend_from_slice(&result.key.0);
            put_u32(&mut body, result.files.len() as u32);
            for (path, digest) in &result.files {
                put_u32(&mut body, paths.index(path));
                body.extend_from_slice(&digest.0);
            }
            for list in [&result.present, &result.directories] {
                put_u32(&mut body, list.len() as u32);
                for path in list {
                    put_u32(&mut body, paths.index(path));
                }
            }
            put_u32(&mut body, result.same_folders.len() as u32);
            for (left, right) in &result.same_folders {
                put_u32(&mut body, paths.index(left));
                put_u32(&mut body, paths.index(right));
            }
            put_u32(&mut body, result.search_folders.len() as u32);
            for (folder, first) in &result.search_folders {
                put_u32(&mut body, paths.index(folder));
                put_u32(&mut body, *first);
            }
            put_u32(&mut body, result.absent.len() as u32);
            for absent in &result.absent {
                put_u32(&mut body, paths.index(absent.folder));
                body.extend_from_slice(&absent.set.0);
                put_u32(&mut body, absent.names.len() as u32);
                for name in &absent.names {
                    put_u32(&mut body, paths.index(name));
                }
            }
        }
        let mut bytes = vec![VERSION];
        for path in paths.paths {
            bytes.extend_from_slice(&(path.as_os_str().len() as u16).to_le_bytes());
            bytes.extend_from_slice(path.as_os_str().as_bytes());
        }
        bytes.extend_from_slice(&END_OF_PATHS.to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Whether bytes are a manifest of another version.
    pub fn is_of_other_version(bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|version| *version != VERSION)
    }

    /// What [`Manifest::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &'a [u8]) -> Option<Manifest<'a>> {
        let mut reader = Reader(bytes);
        if reader.take(1)? != [VERSION] {
            return None;
        }
        let mut paths = Vec::new();
        loop {
            let length = u16::from_le_bytes(reader.take(2)?.try_into().ok()?);
            if length == END_OF_PATHS {
                break;
            }
            paths.push(Path::new(OsStr::from_bytes(reader.take(length.into())?)));
        }
        let mut results = Vec::new();
        while !reader.0.is_empty() {
            if results.len() == RESULTS_MAX {
                return None;
            }
            results.push(reader.result(&paths)?);
        }
        Some(Manifest { results })
    }
}

fn put_u32(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

/// Numbers paths in the order of their first use.
#[derive(Default)]
struct PathTable<'a> {
    paths: Vec<&'a Path>,
    numbers: HashMap<&'a Path, u32>,
}

impl<'a> PathTable<'a> {
    fn index(&mut self, path: &'a Path) -> u32 {
        *self.numbers.entry(path).or_insert_with(|| {
            self.paths.push(path);
            self.paths.len() as u32 - 1
        })
    }
}

/// A cursor over the bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A count of items that take at least `item_bytes` each: what is left bounds it.
    fn count(&mut self, item_bytes: usize) -> Option<usize> {
        let count = self.u32()? as usize;
        (count <= self.0.len() / item_bytes).then_some(count)
    }

    fn digest(&mut self) -> Option<Digest> {
        Some(Digest(self.take(Digest::LEN)?.try_into().ok()?))
    }

    fn path(&mut self, paths: &[&'a Path]) -> Option<&'a Path> {
        paths.get(self.u32()? as usize).copied()
    }

    fn result(&mut self, paths: &[&'a Path]) -> Option<Recorded<'a>> {
        let key = self.digest()?;
        let files = (0..self.count(4 + Digest::LEN)?)
            .map(|_| Some((self.path(paths)?, self.digest()?)))
            .collect::<Option<Vec<_>>>()?;
        let present = self.paths(paths)?;
        let directories = self.paths(paths)?;
        let same_folders = (0..self.count(8)?)
            .map(|_| Some((self.path(paths)?, self.path(paths)?)))
            .collect::<Option<Vec<_>>>()?;
        let search_folders = (0..self.count(8)?)
            .map(|_| Some((self.path(paths)?, self.u32()?)))
            .collect::<Option<Vec<_>>>()?;
        let absent = (0..self.count(8 + Digest::LEN)?)
            .map(|_| {
                Some(AbsentIn {
                    folder: self.path(paths)?,
                    set: self.digest()?,
                    names: self.paths(paths)?,
                })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Recorded { key, files, present, directories, same_folders, search_folders, absent })
    }

    fn paths(&mut self, paths: &[&'a Path]) -> Option<Vec<&'a Path>> {
        (0..self.count(4)?).map(|_| self.path(paths)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recorded(n: u8) -> Recorded<'static> {
        Recorded {
            key: Digest([n; 20]),
            files: vec![(Path::new("a.h"), Digest([n; 20])), (Path::new("/b.h"), Digest([1; 20]))],
            present: vec![Path::new("a.h")],
            directories: vec![Path::new("inc/d.h")],
            same_folders: vec![(Path::new("inc"), Path::new("/inc"))],
            search_folders: vec![(Path::new("inc"), 0), (Path::new("/inc"), 0)],
            absent: group_absent(["x/a.h", "y.h", "x/c.h"].map(Path::new).into_iter()),
        }
    }

    #[test]
    fn a_manifest_survives_its_bytes() {
        let mut manifest = Manifest::default();
        manifest.add(recorded(1));
        manifest.add(recorded(2));
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Some(manifest));
        for end in 0..bytes.len() {
            let shorter = Manifest::decode(&bytes[..end]);
            assert!(shorter.is_none_or(|shorter| shorter.results.len() < 2));
        }
    }

    #[test]
    fn the_newest_result_comes_first_and_the_oldest_falls_off() {
        let mut manifest = Manifest::default();
        for n in 0..=RESULTS_MAX as u8 {
            manifest.add(recorded(n));
        }
        manifest.add(recorded(5));
        assert_eq!(manifest.results[0].key, Digest([5; 20]));
        assert_eq!(manifest.results.len(), RESULTS_MAX);
        assert!(manifest.results.iter().all(|result| result.key != Digest([0; 20])));
    }

    #[test]
    fn absent_paths_are_grouped_by_folder() {
        let groups = group_absent(["x/a.h", "y.h", "x/c.h", "x/a.h"].map(Path::new).into_iter());
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].folder, Path::new(""));
        assert_eq!(groups[1].names, [Path::new("a.h"), Path::new("c.h")]);
    }

    #[test]
    fn each_kind_of_change_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.h"), "a").unwrap();
        let here = WorkingDirectory::open(folder.path()).unwrap();
        let memo = FileMemo::new();
        let now = SystemTime::now();
        let recorded = Recorded {
            key: Digest([0; 20]),
            files: vec![(Path::new("a.h"), Digest::of(b"a"))],
            present: vec![],
            directories: vec![],
            same_folders: vec![],
            search_folders: vec![],
            absent: group_absent([Path::new("inc/a.h")].into_iter()),
        };
        assert_eq!(recorded.check(&memo, &here, now), Ok(()));
        std::fs::create_dir(folder.path().join("inc")).unwrap();
        std::fs::write(folder.path().join("inc/a.h"), "").unwrap();
        assert_eq!(recorded.check(&memo, &here, now).unwrap_err().to_string(), "inc/a.h appeared");
        std::fs::write(folder.path().join("a.h"), "b").unwrap();
        assert_eq!(recorded.check(&memo, &here, now), Err(Mismatch::Changed(Path::new("a.h"))));
        std::fs::remove_file(folder.path().join("a.h")).unwrap();
        assert_eq!(recorded.check(&memo, &here, now), Err(Mismatch::Gone(Path::new("a.h"))));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Manifest::decode(&bytes);
        }
    }
}
