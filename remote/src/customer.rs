//! Whoever wants a job done: what the dispatch needs of it while it waits.

use crate::{Job, Reply};
use std::io;
use std::sync::Arc;

/// A job with a known answer, to try a stock distccd with.
#[derive(Debug, PartialEq, Eq)]
pub struct Trial {
    /// The job.
    pub job: Job,
    /// The output that the customer's own compiler gives.
    pub output: Vec<u8>,
}

/// The side that waits for a reply.
pub trait Customer {
    /// To be called now and then during every wait, at least twice a second. An error means that
    /// nobody waits any more, and ends everything.
    fn still_waiting(&mut self) -> io::Result<()>;

    /// The job that tells a host with the same compiler from others. An error means that nobody
    /// waits any more; `None`, that there is no such job.
    fn trial(&mut self) -> io::Result<Option<Arc<Trial>>>;

    /// The job goes to this host now, or to none and waits; said before each attempt.
    fn placed(&mut self, _host: Option<&str>) {}

    /// Whether a reply without a failure is whole. A host that sends anything else is not trusted.
    fn is_whole(&self, reply: &Reply) -> bool;
}
