//! The wire to the cluster, and who is there: protocols, hosts, the scheduler, the dispatch.
//!
//! This crate knows no compiler option and no cache. A [`Job`] is words and a text; a [`Reply`] is
//! what a compiler made of them. In reading order:

pub mod job;
pub mod lzo;
pub mod protocol;

pub mod call;
pub mod customer;
mod listener;
pub mod reapi;
pub mod resolve;
pub mod scheduler;

pub mod fleet;

pub use customer::{Customer, Trial};
pub use job::{Job, Reply};
