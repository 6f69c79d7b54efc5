//! What a compilation is, its key, its manifest, and the store that remembers it.
//!
//! This crate owns files. It starts no process, opens no socket and is not asynchronous.
//! In reading order:

pub mod compiler;
pub mod entry;
pub mod environment;
pub mod depfile;
pub mod file_memo;
pub mod hasher;
pub mod invocation;
pub mod key;
pub mod linemarkers;
pub mod manifest;
pub mod options;
pub mod outcome;
pub mod outputs;
pub mod response_file;
pub mod scan;
pub mod search;
pub mod store;
