//! A stored result or manifest: its parts, and the bytes of a blob.

/// What one part of an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum PartKind {
    /// The object file, or the assembly text of `-S`.
    Object = 1,
    /// The make rule of `-MD` and `-MMD`.
    Depfile = 2,
    /// `-gsplit-dwarf`.
    Dwo = 3,
    /// `-ftest-coverage`.
    Gcno = 4,
    /// `-fstack-usage`.
    StackUsage = 5,
    /// `-fcallgraph-info`.
    CallgraphInfo = 6,
    /// What the compiler wrote to standard output.
    Stdout = 16,
    /// What the compiler wrote to standard error.
    Stderr = 17,
    /// The facts about a result that the daemon needs besides its files (see `result.rs`).
    Facts = 18,
    /// A manifest (see `manifest.rs`).
    Manifest = 32,
}

/// One part of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The parts that are stored under one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// At most one of each kind, in the order in which they were added.
    pub parts: Vec<Part>,
}
