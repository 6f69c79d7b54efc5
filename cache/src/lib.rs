//! What a compilation is, its key, its manifest, and the store that remembers it.
//!
//! This crate owns files. It starts no process, opens no socket and is not asynchronous.
//! In reading order: what a call means, what it depends on, what is kept.

pub mod options;
pub mod response_file;

pub mod environment;
pub mod invocation;

pub mod compiler;

pub mod depfile;
pub mod plugin;
pub mod scan;
pub mod search;

pub mod file_memo;
pub mod hasher;
pub mod key;
pub mod manifest;

pub mod entry;
pub mod facts;
pub mod mismatch;
pub mod object;
pub mod outputs;
pub mod store;

pub mod outcome;
