//! Every file that a compile could read, whatever its conditions say: what another machine needs for it.
//!
//! A compile that sees these files and no others, each at its own path, goes as here. It can differ only
//! where it opens a path that exists here and is not in the tree, for the tree holds nothing else than what
//! is here. So each name that a directive or an operand spells is followed through the places in which the
//! compiler seeks it, whether the line is compiled or not; the first file found counts, and all of them
//! where the start of the search is not known. Where a name cannot be read off the text, there is no tree.

mod disk;
pub mod surroundings;
mod walk;

#[cfg(test)]
mod tests;

use crate::file_memo::{Content, FileMemo, WorkingDirectory};
use crate::invocation::Family;
use crate::scan::Scan;
use crate::search::{Bounds, SearchPath};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use walk::input_tree;

/// What a tree is made for.
pub struct Wanted<'a> {
    /// The working directory.
    pub here: &'a WorkingDirectory,
    /// Its path, absolute and without links.
    pub cwd: &'a Path,
    /// Remembers contents and scans.
    pub memo: &'a FileMemo,
    /// Now.
    pub now: SystemTime,
    /// Whose manner of searching.
    pub family: Family,
    /// The source.
    pub source: &'a Path,
    /// The operands of `-include` and `-imacros`.
    pub forced_includes: &'a [PathBuf],
    /// Where headers are sought; `None` where nothing is included.
    pub search: Option<&'a SearchPath>,
    /// The operands of `-D`.
    pub definitions: &'a [Vec<u8>],
    /// What they can make the compiler look for.
    pub definition_scans: &'a [Scan],
    /// Whether `import` and `module` may begin directives.
    pub knows_modules: bool,
    /// Files and folders that are known by name: options name them, or they are the compiler's own. What
    /// is not there is not there.
    pub others: &'a [PathBuf],
    /// The same, where some source can show the time.
    pub clock: &'a [PathBuf],
    /// All files that a preprocessor run has read: then only they are followed, and no macro is for an include.
    pub listed: Option<&'a [PathBuf]>,
    /// What the walk may take.
    pub bounds: Bounds,
}

/// Files, folders and links by their absolute paths, in which no part is a link.
#[derive(Debug, Clone, Default)]
pub struct InputTree {
    /// What is at each path. Folders above a path are there without being listed.
    pub nodes: BTreeMap<PathBuf, Node>,
    /// What the tree's place must keep of its files besides their contents.
    pub needs: Needs,
    /// Whether some file can show the time.
    pub time: bool,
    /// Whether the compiler may quote a file below its diagnostics that is not known.
    pub opaque_line: bool,
    /// Whether strings of a source could make an assembler read a file.
    pub assembler_reads: bool,
    /// Whether a source could, were it assembler's.
    pub assembler_source: bool,
}

/// What of files' states decides beyond their content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Two files are equal: each must be a file of its own.
    pub own_inodes: bool,
    /// gcc compares the times of equal files that are to be read once only, or a macro shows them.
    pub times: bool,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A folder, perhaps with nothing in it.
    Folder,
    /// A link, with the text in it.
    Link(PathBuf),
    /// A file.
    File(FileNode),
}

/// A file of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileNode {
    /// What was read.
    pub content: Content,
    /// Whether it is a program.
    pub executable: bool,
}

/// Why no tree can be made that is sure to hold all that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unprovable {
    /// An operand of `__has_include` that the text does not show.
    #[error("{} asks for a file in a way that its text does not show", .0.display())]
    HasInclude(PathBuf),
    /// An include that macros make, and that they do not explain.
    #[error("a computed include in {}", .0.display())]
    ComputedInclude(PathBuf),
    /// A precompiled header is there.
    #[error("{} is there, a precompiled header", .0.display())]
    Precompiled(PathBuf),
    /// `#embed`.
    #[error("{} embeds a file", .0.display())]
    Embed(PathBuf),
    /// A pragma that looks at another file.
    #[error("a pragma in {} looks at another file", .0.display())]
    Pragma(PathBuf),
    /// A module directive.
    #[error("a module directive in {}", .0.display())]
    Modules(PathBuf),
    /// More than one unit may take.
    #[error("the includes of {} take more {} than a unit may", .0.display(), .1)]
    TooMuch(PathBuf, &'static str),
    /// Something that cannot be read, or is no file.
    #[error("{} cannot be read", .0.display())]
    Unreadable(PathBuf),
    /// What is there belongs to the process that looks.
    #[error("{} means something to the compiler alone", .0.display())]
    Private(PathBuf),
    /// A forced include that is not there.
    #[error("{}, which an option includes, is not found", .0.display())]
    Missing(PathBuf),
    /// Two paths of one folder, or of one file, that are no links.
    #[error("{} is also found under another name", .0.display())]
    TwoNames(PathBuf),
}

impl Unprovable {
    /// Whether a preprocessor run can tell what the text does not.
    pub fn is_told_by_preprocessor(&self) -> bool {
        matches!(self, Unprovable::ComputedInclude(_) | Unprovable::HasInclude(_))
    }
}
