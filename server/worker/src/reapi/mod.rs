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
mod tree;

mod cas;
mod copies;
mod keys;
mod own_files;

pub use action::Workshop;
pub use cas::{Cas, Load};
pub use copies::{COPIES_BYTES_MAX, Copies};
pub use door::{Door, Opened};
pub use keys::{KeyFiles, Keys};

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
