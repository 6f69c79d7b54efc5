//! Making a result: the preprocessed text, a host of the cluster, or a compiler on this machine.

pub mod compiled;
pub mod elsewhere;
pub mod engines;
pub mod local_slots;
pub mod sendable;
pub mod start;
pub mod streams;
pub mod text;
pub mod toolchain;
pub mod tree;
pub mod writers;
