//! What is asked of a host, and what it answers, whatever the protocol.

/// One compile for another machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// The command line, the compiler's bare name first.
    pub arguments: Vec<Vec<u8>>,
    /// The text to compile; it needs no other file.
    pub source: Vec<u8>,
}

/// What the compiler of a host did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// As waitpid gives it: `exit << 8`, or a signal.
    pub status: i32,
    /// What it printed to standard error.
    pub stderr: Vec<u8>,
    /// What it printed to standard output.
    pub stdout: Vec<u8>,
    /// The output file; empty where it failed.
    pub output: Vec<u8>,
}
