//! The cluster's compile daemon: it serves stock distcc clients and rcache.
//!
//! One thread accepts, one serves each connection of distcc's protocol: read the request, let `policy` judge it, wait
//! for
//! a slot, run the compiler in a private folder and a sandbox, answer. In reading order:

mod serve;

mod access;
mod caller;
mod crowd;
mod memory;
mod stream;

mod connection;
mod policy;
mod slots;
mod toolchain;

mod answer;
mod child;
mod job;
mod sandbox;
mod scratch;

mod reapi;

mod http;
mod metrics;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use access::Network;
pub use reapi::KeyFiles;
pub use reapi::tree as input_tree;
pub use serve::run;

/// Where compilers are looked for if nothing else is said.
pub const COMPILER_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What files and results of REAPI may take on disk if nothing else is said.
pub const CAS_SIZE: &str = "10G";

/// How a worker is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses to listen on; empty for all of the machine.
    pub listen: Vec<IpAddr>,
    /// The port; 0 for any that is free.
    pub port: u16,
    /// Compiles at one time.
    pub jobs: usize,
    /// Who may connect; empty for this machine, and in a container for private networks.
    pub allow: Vec<Network>,
    /// Added to the niceness of compilers.
    pub nice: i32,
    /// How long one compile may take.
    pub job_timeout: Duration,
    /// How long the arrival of one request may take.
    pub request_timeout: Duration,
    /// How long running compiles may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// Address space of each compiler process in bytes, 0 for no limit; `None` for what suits the
    /// machine.
    pub job_memory_bytes: Option<u64>,
    /// Where metrics and health are served; `None` for nowhere.
    pub metrics_port: Option<u16>,
    /// Whether compilers are confined, where the kernel can.
    pub sandbox: bool,
    /// Folders of compilers, as PATH has them.
    pub compiler_path: OsString,
    /// Who may use it over REAPI.
    pub keys: KeyFiles,
    /// Whether REAPI goes without keys, also for other machines.
    pub insecure_reapi: bool,
    /// Whether programs run that clients sent, besides this machine's own compilers.
    pub runs_what_was_sent: bool,
    /// Whether clients may bring results of actions.
    pub accepts_results: bool,
    /// Where blobs and results are kept; `None` for a folder that ends with the worker.
    pub cas_folder: Option<PathBuf>,
    /// What they may take on disk.
    pub cas_bytes_max: u64,
    /// Below it are the private folders of jobs.
    pub scratch: PathBuf,
    /// How much is logged.
    pub log_level: config::Level,
}
