//! The long-running side of rcache: the local cache daemon, how it is spoken to, and the worker of a cluster.
//!
//! This crate owns time and connections. In reading order:

pub mod launcher_protocol;

pub mod client;
pub mod others;
pub mod place;
pub mod program;

pub mod compilers;
mod in_flight;
pub mod inherited;
mod log;
mod party;
pub mod wrappers;

pub mod daemon;
pub mod worker;
