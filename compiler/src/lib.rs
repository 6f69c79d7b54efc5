//! What rcache knows of compilers: what a call means, what a compile reads, and who a compiler is.
//!
//! This crate reads files. It starts no process, opens no socket, knows no store and is not asynchronous.
//! In reading order: what a call means, which compiler it calls, what the compile depends on.

// The program keeps to clippy.toml; tests run compilers.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod options;
pub mod response_file;

pub mod environment;
pub mod invocation;

pub mod identity;
pub mod modules;
pub mod plugin;

pub mod depfile;
pub mod scan;
pub mod search;
pub mod tree;

pub mod file_memo;
pub mod hasher;

pub mod object;
pub mod part;

pub mod outcome;
