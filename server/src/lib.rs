//! The long-running side of rcache: the local cache daemon, and how it is spoken to.
//!
//! This crate owns time and connections. In reading order:

pub mod launcher_protocol;

pub mod client;
pub mod program;

pub mod compilers;
pub mod daemon;
