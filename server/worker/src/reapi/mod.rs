//! The Remote Execution API, version 2, on the worker's port: any of its clients may use the worker.
//!
//! A connection that begins as HTTP/2 or TLS comes here; what is waited for is tokio's, what runs is a thread of
//! its own, under the same slots as distcc's jobs. In reading order:

mod door;
mod routing;

mod blobs;
mod byte_stream;
mod capabilities;
mod execution;
mod results;

mod action;
mod outputs;
pub mod tree;

mod cas;
mod copies;
mod keys;
mod own_files;

pub use action::Workshop;
pub use cas::Cas;
pub use copies::{COPIES_BYTES_MAX, Copies};
pub use door::Door;
pub use keys::{KeyFiles, Keys};

use crate::metrics::Sample;
use crate::serve::Worker;
use execution::Operations;
use own_files::OwnFiles;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// The longest message that is read or sent; gRPC's own default.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Blobs of one batch together: some of a message is not blobs.
pub const BATCH_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (64 << 10);

/// Messages that carry blobs, or lists of them, and are in memory at one time.
const LARGE_MESSAGES_MAX: usize = 48;

/// What REAPI knows, besides the worker.
pub struct Reapi {
    /// What actions need.
    pub workshop: Workshop,
    /// Actions on their way.
    pub operations: Operations,
    /// Who may come in.
    pub keys: Keys,
    /// Whether clients may bring results of actions.
    pub accepts_results: bool,
    /// What was counted.
    pub counts: Counts,
    large_messages: Arc<Semaphore>,
    own: Mutex<Option<Arc<OwnFiles>>>,
}

/// Counted since the start.
#[derive(Default)]
pub struct Counts {
    /// Actions that were run.
    pub run: AtomicU64,
    /// Actions that were answered from the results that are there.
    pub cached: AtomicU64,
    /// Actions that joined an equal one on its way.
    pub joined: AtomicU64,
    /// Actions without a result.
    pub failed: AtomicU64,
    /// Requests without a right key.
    pub denied: AtomicU64,
}

impl Counts {
    /// One more.
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Reapi {
    /// Nothing on its way yet.
    pub fn new(workshop: Workshop, keys: Keys, accepts_results: bool) -> Reapi {
        Reapi {
            workshop,
            operations: Operations::default(),
            keys,
            accepts_results,
            counts: Counts::default(),
            large_messages: Arc::new(Semaphore::new(LARGE_MESSAGES_MAX)),
            own: Mutex::default(),
        }
    }

    /// What is to be seen from outside.
    pub fn samples(&self) -> Vec<Sample> {
        let load = self.workshop.cas.load();
        let counts = &self.counts;
        let sample = |name, kind, help, value| Sample { name, kind, help, value };
        let counter = |name, help, counter: &AtomicU64| {
            sample(name, "counter", help, counter.load(Ordering::Relaxed))
        };
        vec![
            counter("actions_run_total", "Actions of REAPI that were run.", &counts.run),
            counter("actions_cached_total", "Actions whose result was there.", &counts.cached),
            counter("actions_joined_total", "Actions that joined an equal one.", &counts.joined),
            counter("actions_failed_total", "Actions without a result.", &counts.failed),
            counter("reapi_denied_total", "Requests without a right key.", &counts.denied),
            sample(
                "cas_evicted_total",
                "counter",
                "Blobs and results that made room.",
                load.evicted,
            ),
            sample("cas_bytes", "gauge", "Blobs and results on disk.", load.bytes),
            sample("cas_max_bytes", "gauge", "What they may take.", load.bytes_max),
            sample("cas_files", "gauge", "Their number.", load.files as u64),
            sample(
                "actions_in_flight",
                "gauge",
                "Actions that run or wait for a slot.",
                self.operations.count() as u64,
            ),
        ]
    }

    /// The files of the worker's own compilers, as they are now. The first question takes some seconds; who
    /// asks meanwhile waits.
    fn own_files(&self, worker: &Worker) -> Arc<OwnFiles> {
        let mut own = self.own.lock().unwrap_or_else(|poison| poison.into_inner());
        match own.as_ref().filter(|own| own.is_current()) {
            Some(own) => Arc::clone(own),
            None => {
                let found = OwnFiles::find(&worker.toolchain, &worker.options.compiler_path);
                tracing::info!("{} files belong to compilers of this worker", found.count());
                Arc::clone(own.insert(Arc::new(found)))
            }
        }
    }
}
