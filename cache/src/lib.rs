//! What a compilation is remembered by: its key, its manifest, and the store of results.
//!
//! This crate owns files. It starts no process, opens no socket and is not asynchronous.
//! In reading order: how a result is named, what it depends on, what is kept.

// The program keeps to clippy.toml; tests run compilers.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod key;
pub mod manifest;

pub mod entry;
pub mod facts;
pub mod mismatch;
pub mod outputs;
pub mod store;
