//! Direct mode's memory: for one source key, what each result read, and what it looked for in vain.
//!
//! ```text
//! manifest = version:u8 paths paths inputs absents result*     little endian; results newest first
//! paths    = count:u32 (length:u16 octet*)*                    first paths, then plain names
//! inputs   = count:u32 (path:u32 digest:20)*
//! absents  = count:u32 (folder:u32 set:20 names)*
//! names    = 0:u8 count:u32 (name:u32)* | 1:u8 octet*          one bit for each of the plain names
//! result   = length:u32 key:20 list present:list directories:list
//!            same:u32 (path:u32 path:u32)* search:u32 (path:u32 first:u32)* list
//!            states:list
//!            days:u8 octet[11]* names:u8 octet[20]*
//! list     = count:u32 (index:u32)*                            of inputs, paths, absents, or inputs
//! ```
//! Results of one unit are nearly the same: what they share stands in the tables once. The newest result
//! can be looked at without reading the others.
//!
//! Paths are as the compiler spelled them: relative ones start at the caller's working directory,
//! so that a checkout in another place can use the same manifest.

mod bytes;
mod check;
mod names;

use bytes::{Reader, Tables};
use compiler::hasher::{Digest, KeyHasher, KeySink};
use names::StoredNames;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub use check::{Checks, Equivalent, Mismatch};
pub use names::Names;

/// Raised whenever the layout or the meaning changes; an older manifest is a miss.
const VERSION: u8 = 6;

/// A header that flips between a few states keeps all of them; older results fall off the end. A miss
/// compares with each.
pub const RESULTS_MAX: usize = 40;

/// `Mmm dd yyyy`.
const DAY_BYTES: usize = 11;

/// What a manifest may take, unless the newest result alone takes more: a hit reads the whole.
const BYTES_MAX: usize = 1 << 20;

/// All results of one source key.
#[derive(Clone, Debug, Default)]
pub struct Manifest<'a> {
    paths: Vec<&'a Path>,
    names: Arc<[&'a Path]>,
    inputs: Vec<(&'a Path, Digest)>,
    absents: Vec<StoredAbsent<'a>>,
    /// Newest first, as their bytes.
    results: Vec<&'a [u8]>,
}

/// Names that are absent from one folder.
#[derive(Clone, Debug)]
struct StoredAbsent<'a> {
    folder: &'a Path,
    set: Digest,
    names: StoredNames<'a>,
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
    /// Names of one and the same folder, or file.
    pub same_folders: Vec<(&'a Path, &'a Path)>,
    /// Folders of the search path, each with the index of the first that is the same folder.
    pub search_folders: Vec<(&'a Path, u32)>,
    /// What was looked for and is not there.
    pub absent: Vec<AbsentIn<'a>>,
    /// What counts of files and folders besides contents: see [`crate::file_memo::WorkingDirectory::state`].
    pub states: Vec<(&'a Path, Digest)>,
    /// The day that the result shows, as `__DATE__` spells it: it is no answer on another day.
    pub day: Option<[u8; DAY_BYTES]>,
    /// What prefix maps made of all names: it is an answer only where they become the same.
    pub names: Option<Digest>,
}

/// Plain names under which there is nothing in one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsentIn<'a> {
    /// The folder as spelled; empty for the working directory.
    pub folder: &'a Path,
    /// Identifies folder and names, for [`compiler::file_memo::FileMemo::all_absent`].
    pub set: Digest,
    /// The names.
    pub names: Names<'a>,
}

/// Brings together what is absent from the same folder.
pub fn group_absent<'a>(
    absent: impl Iterator<Item = (&'a Path, impl Iterator<Item = &'a Path>)>,
) -> Vec<AbsentIn<'a>> {
    let mut folders: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    for (folder, names) in absent {
        folders.entry(folder).or_default().extend(names);
    }
    let groups = folders.into_iter().map(|(folder, mut names)| {
        names.sort_unstable();
        names.dedup();
        let mut hasher = KeyHasher::new("absent names 1");
        hasher.field("folder", folder.as_os_str().as_encoded_bytes());
        for name in &names {
            hasher.field("name", name.as_os_str().as_encoded_bytes());
        }
        AbsentIn { folder, set: hasher.finish(), names: Names::Listed(names) }
    });
    groups.collect()
}

impl PartialEq for Manifest<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.results().eq(other.results())
    }
}

impl<'a> Manifest<'a> {
    /// The bytes of a manifest of these results, newest first. The oldest make way where they are too
    /// many or too large.
    pub fn encode(mut results: &[Recorded]) -> Vec<u8> {
        results = &results[..results.len().min(RESULTS_MAX)];
        loop {
            let mut bytes = vec![VERSION];
            Tables::of(results).write(results, &mut bytes);
            if bytes.len() <= BYTES_MAX || results.len() <= 1 {
                return bytes;
            }
            results = &results[..results.len() / 2];
        }
    }

    /// Whether bytes are a manifest of another version.
    pub fn is_of_other_version(bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|version| *version != VERSION)
    }

    /// What [`Manifest::encode`] wrote; `None` for anything else, as far as that shows without looking
    /// at each result.
    pub fn decode(bytes: &'a [u8]) -> Option<Manifest<'a>> {
        let mut reader = Reader(bytes);
        if reader.take(1)? != [VERSION] {
            return None;
        }
        let paths = reader.path_table()?;
        let names: Arc<[&Path]> = reader.path_table()?.into();
        let inputs = (0..reader.count(4 + Digest::LEN)?)
            .map(|_| Some((reader.path(&paths)?, reader.digest()?)))
            .collect::<Option<Vec<_>>>()?;
        let absents = (0..reader.count(4 + Digest::LEN)?)
            .map(|_| {
                let folder = reader.path(&paths)?;
                let (set, names) = (reader.digest()?, StoredNames::read(&mut reader, names.len())?);
                Some(StoredAbsent { folder, set, names })
            })
            .collect::<Option<Vec<_>>>()?;
        let mut results = Vec::new();
        while !reader.0.is_empty() {
            let length = reader.u32()? as usize;
            if results.len() == RESULTS_MAX {
                return None;
            }
            results.push(reader.take(length)?);
        }
        Some(Manifest { paths, names, inputs, absents, results })
    }

    /// The results, newest first, each read as it is wanted.
    pub fn results(&self) -> impl Iterator<Item = Recorded<'a>> + '_ {
        self.results.iter().map_while(|bytes| self.result(bytes))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// Whether each result can be read.
    pub fn is_sound(&self) -> bool {
        self.results().count() == self.results.len()
            && self.absents.iter().all(|absent| absent.names.are_below(self.names.len()))
    }

    fn result(&self, bytes: &'a [u8]) -> Option<Recorded<'a>> {
        let mut reader = Reader(bytes);
        let key = reader.digest()?;
        let files = reader.list(|index| self.inputs.get(index).copied())?;
        let path = |index: usize| self.paths.get(index).copied();
        let (present, directories) = (reader.list(path)?, reader.list(path)?);
        let same_folders = (0..reader.count(8)?)
            .map(|_| Some((reader.path(&self.paths)?, reader.path(&self.paths)?)))
            .collect::<Option<Vec<_>>>()?;
        let search_folders = (0..reader.count(8)?)
            .map(|_| Some((reader.path(&self.paths)?, reader.u32()?)))
            .collect::<Option<Vec<_>>>()?;
        let absent = reader.list(|index| {
            let StoredAbsent { folder, set, names } = self.absents.get(index)?;
            let names = Names::Stored(Arc::clone(&self.names), *names);
            Some(AbsentIn { folder, set: *set, names })
        })?;
        let states = reader.list(|index| self.inputs.get(index).copied())?;
        let day = match reader.take(1)? {
            [0] => None,
            _ => Some(reader.take(DAY_BYTES)?.try_into().ok()?),
        };
        let names = match reader.take(1)? {
            [0] => None,
            _ => Some(reader.digest()?),
        };
        let whole = Recorded {
            key,
            files,
            present,
            directories,
            same_folders,
            search_folders,
            absent,
            states,
            day,
            names,
        };
        reader.0.is_empty().then_some(whole)
    }
}

/// Puts a result before the others; an older one of the same name makes way.
pub fn with_newest<'a>(newest: Recorded<'a>, older: &Manifest<'a>) -> Vec<Recorded<'a>> {
    let key = newest.key;
    let older = older.results().filter(|old| old.key != key);
    std::iter::once(newest).chain(older).take(RESULTS_MAX).collect()
}

#[cfg(test)]
mod tests;
