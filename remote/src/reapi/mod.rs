//! The Remote Execution API, version 2: its messages, how blobs and trees are named, and a client of it.

pub mod digest;
pub mod proto;

pub mod merkle;

pub mod client;
mod connector;
pub mod engines;
mod present;

pub use tonic_prost::ProstCodec as Codec;
