//! The Remote Execution API, version 2: its messages, and how blobs are named.

pub mod digest;
pub mod proto;

pub use tonic_prost::ProstCodec as Codec;
