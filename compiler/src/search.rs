//! Says where a compile looked for its includes in vain, so that a file which appears there later
//! makes the result invalid.

mod disk;
mod parse;
mod walk;
mod work;

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::file_memo::{Presence, Stamp, WorkingDirectory};
use crate::scan::Scan;

pub use walk::absent_probes;
pub use work::Bounds;

/// The folders in which a compiler seeks includes, in its order, as it spells them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchPath {
    /// Between the includer's own folder and `angle`, for `#include "name"` (`-iquote`).
    pub quote: Vec<PathBuf>,
    /// For every include.
    pub angle: Vec<PathBuf>,
    /// Folders of the command line and of the compiler that do not exist; one that appears changes
    /// the order.
    pub missing: Vec<PathBuf>,
    /// Folders left out, or listed under another name, because they are at present the same as one that
    /// is listed.
    pub duplicates: Vec<PathBuf>,
}

impl SearchPath {
    /// Reads what `COMPILER ARGUMENTS -E -v -x LANGUAGE /dev/null` says on stderr under `LC_ALL=C`
    /// (gcc `incpath.cc`, clang `lib/Lex/InitHeaderSearch.cpp`).
    ///
    /// `None` where the list is not there, or holds what a plain search does not do: a framework
    /// folder, a header map, a file among the folders, a folder that may not be read.
    pub fn parse(stderr_of_v: &[u8]) -> Option<SearchPath> {
        parse::parse(stderr_of_v)
    }

    /// Whether the compiler would still say the same: no folder has come, gone, or become the same
    /// as another one.
    pub fn is_current(&self, here: &WorkingDirectory) -> bool {
        let identity = |folder: &PathBuf| {
            let stat = here.stat(folder).ok()?;
            Some((stat.st_dev, stat.st_ino))
        };
        let distinct = |folders: &[PathBuf]| {
            let mut seen = HashSet::with_capacity(folders.len());
            let all_new = folders
                .iter()
                .all(|folder| identity(folder).is_some_and(|id: (u64, u64)| seen.insert(id)));
            all_new.then_some(seen)
        };
        let (Some(quote), Some(angle)) = (distinct(&self.quote), distinct(&self.angle)) else {
            return false;
        };
        self.missing.iter().all(|folder| here.presence(folder) == Presence::Absent)
            && self.duplicates.iter().all(|folder| {
                identity(folder).is_some_and(|id| quote.contains(&id) || angle.contains(&id))
            })
    }
}

/// A file that a compile has read.
#[derive(Debug, Clone)]
pub struct FileRead {
    /// As the compiler spelled it in its dependency output.
    pub path: PathBuf,
    /// What its content can make the compiler look for.
    pub scan: Arc<Scan>,
    /// Its state when that was found out.
    pub stamp: Stamp,
}

/// What must still hold, besides the contents of the files read, for a result to be valid.
///
/// Relative paths are relative to the compile's working directory. "Is there" means that `stat`,
/// following links, succeeds, whatever it finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probes {
    /// Names under which nothing is, not even a folder, in an existing folder (or below a file, where
    /// there is none).
    pub absent: Vec<(PathBuf, Vec<Arc<[u8]>>)>,
    /// Something other than a folder is there; its content does not matter.
    pub present: Vec<PathBuf>,
    /// A folder is there (and passed over by the compiler, which sought a file).
    pub directories: Vec<PathBuf>,
    /// Other names of files that were read, or files skipped for being equal to one that was: each
    /// is an input, and counts by its content as those in the dependency output do.
    pub inputs: Vec<PathBuf>,
    /// The two name the same folder, or the same file (device and inode).
    pub same_folders: Vec<(PathBuf, PathBuf)>,
    /// The folders of the search path, those left out as duplicates too, each with the index of the first
    /// that is the same folder: what becomes the same as another one is left out, or counts as a
    /// system folder; what is no longer the same is searched.
    pub search_folders: Vec<(PathBuf, u32)>,
    /// Precompiled headers that the compiler may take instead of a header, or refuse: each counts by its
    /// content, whichever it does.
    pub precompiled: Vec<PathBuf>,
    /// Folders of such, of which the compiler takes the first that fits.
    pub precompiled_folders: Vec<PathBuf>,
}

impl Probes {
    /// Each path at which nothing must be.
    pub fn absent_paths(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.absent.iter().flat_map(|(folder, names)| {
            names.iter().map(|name| folder.join(std::ffi::OsStr::from_bytes(name)))
        })
    }
}

/// What precompiled headers do to the search of a compile.
#[derive(Debug, Clone, Copy)]
pub enum Precompiled<'a> {
    /// None is looked for: gcc makes one.
    NotSought,
    /// Each that is there may be taken.
    Sought,
    /// The same, and what they hold is sought, but not read; of these sizes in bytes, or of any.
    Holding(Option<&'a HashSet<u64>>),
}

impl Precompiled<'_> {
    /// Whether a file of this size may be left unread because of what is in them.
    fn may_hold(self, size_bytes: u64) -> bool {
        match self {
            Precompiled::NotSought | Precompiled::Sought => false,
            Precompiled::Holding(sizes) => sizes.is_none_or(|sizes| sizes.contains(&size_bytes)),
        }
    }
}

/// Why the search of a compile cannot be told from its sources: direct mode is not possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opaque {
    /// A file uses `__has_include` in a way that its text does not show.
    HasInclude(PathBuf),
    /// A file was read that only a computed include can explain, from where cannot be told.
    ComputedInclude(PathBuf),
    /// A forced include (`-include`, `-imacros`) is not among the files read.
    ForcedInclude(PathBuf),
    /// A file embeds another (`#embed`).
    Embed(PathBuf),
    /// A file has a pragma that makes the compiler look at another file.
    PragmaDependency(PathBuf),
    /// A file may import modules.
    Modules(PathBuf),
    /// A file has more directives than are followed.
    TooManyDirectives(PathBuf),
    /// A folder of the search path is no longer what the compiler said, or a file read is gone.
    Changed(PathBuf),
    /// Following the includes of this file would take more than the bounds allow, of this.
    TooMuchWork(PathBuf, &'static str),
}

impl Opaque {
    /// The path that the reason is about.
    pub fn path(&self) -> &Path {
        match self {
            Opaque::HasInclude(path)
            | Opaque::ComputedInclude(path)
            | Opaque::ForcedInclude(path)
            | Opaque::Embed(path)
            | Opaque::PragmaDependency(path)
            | Opaque::Modules(path)
            | Opaque::TooManyDirectives(path)
            | Opaque::TooMuchWork(path, _)
            | Opaque::Changed(path) => path,
        }
    }
}

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;
