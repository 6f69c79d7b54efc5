//! How launchers, subcommands and daemons find each other, what they say, and how programs are run.
//!
//! The launcher links this crate and `config`, and little else: its start is most of a hit. In reading order:

#![warn(unreachable_pub)]

pub mod launcher_protocol;
pub mod questions;

pub mod client;
pub mod others;
pub mod place;

pub mod inherited;
pub mod party;
pub mod program;
pub mod wrappers;

pub mod log;
