//! The local cache daemon: one for each user and cache folder, started by the first launcher.

// The heart, and below it the rooms in the order in which a call goes through them.
mod compile;

mod understand;

mod look_up;
mod shared_tier;

mod make;

mod remember;

mod verify;

// Around it: connections and what ends, questions of subcommands.
mod admin;
mod serve;

use cache::store::{Limits, Store};
use compiler::file_memo::FileMemo;
use config::Config;
use identify::in_flight::InFlight;
use look_up::fetchers::Fetchers;
use make::local_slots::LocalSlots;
use make::sendable::Predefined;
use make::writers::Writers;
use remote::fleet::Fleet;
use serve::active::Active;
use serve::caches::{Cache, Caches};
use serve::conversation::Conversation;
use serve::descriptors::Capacity;
use serve::finishing::Finishing;
use serve::guard::Guard;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use talk::launcher_protocol::View;
use understand::compilers::Compilers;
use understand::settings::Settings;
use understand::unit::Unit;

pub use serve::{Mode, run};
pub use shared_tier::key_files;

/// A process namespace that has seen fewer processes than this is young.
const FRESH_PROCESSES: u32 = 300;

/// One that lasts for longer than this after the daemon's start was not made for one command.
const FRESH: Duration = Duration::from_secs(10);

/// Everything that the daemon knows.
pub struct Daemon {
    /// Settings of recent calls.
    settings: Settings,
    /// Contents of files.
    memo: FileMemo,
    /// Compilers and their search paths.
    compilers: Compilers,
    /// Units that are under way.
    active: Active,
    /// Compiles that others wait for.
    in_flight: InFlight,
    /// Outputs that are being written.
    writers: Arc<Writers>,
    /// Where leftovers were looked for.
    searched: look_up::publish::Searched,
    /// Results that are being stored after their launchers were released.
    finishing: Finishing,
    /// Threads that unpack results along with those that serve the calls.
    fetchers: Arc<Fetchers>,
    /// Compilers that run on this machine.
    slots: LocalSlots,
    /// Calls that are served, where descriptors are few.
    serving: LocalSlots,
    /// How many calls there may be at one time.
    capacity: Capacity,
    /// Hosts that compile for this machine.
    fleet: Fleet,
    /// Hosts that get files.
    engines: remote::reapi::engines::Engines,
    /// Hosts in distcc's syntax that do, too.
    upgrades: Arc<make::engines::Upgrades>,
    /// The names of files there.
    names: make::tree::Names,
    /// What drives connections to them.
    runtime: serve::runtime::Runtime,
    /// What is remembered of units that were to be sent there.
    memory: make::elsewhere::Memory,
    /// Hits that are compiled again.
    verifier: verify::Verifier,
    /// Macros that clang defines by itself.
    predefined: Predefined,
    /// The cache folders in use.
    caches: Caches,
    /// The shared caches behind them.
    tiers: shared_tier::Tiers,
    /// What it listens on.
    socket: PathBuf,
    /// The cache folder of the environment that it was started in.
    home: PathBuf,
    /// What paths mean to this process, and what it may do.
    view: View,
    /// Which of the places of this name it has.
    seat: u32,
    /// How much it stands back for others.
    niceness: i32,
    /// Who is served.
    guard: Guard,
    started: Instant,
    activity: Activity,
    /// The thread to wake when the daemon retires.
    bookkeeper: std::thread::Thread,
}

/// One call on its way through the steps, and what each of them needs.
struct Compile<'a, 'c> {
    daemon: &'a Arc<Daemon>,
    conversation: &'a mut Conversation,
    cache: &'a Arc<Cache>,
    unit: Unit<'c>,
}

/// Whether anything is going on.
struct Activity {
    calls: AtomicUsize,
    active: AtomicUsize,
    retiring: AtomicBool,
    /// A signal has told the daemon to end.
    hurried: AtomicBool,
    /// One of many daemons waits no longer for a call.
    idle_max: Option<Duration>,
    last: Mutex<Instant>,
    idle_timeout: Mutex<Option<Duration>>,
}

impl Daemon {
    /// The cache that a call means, or why its folder cannot be used, which is tried again after a
    /// while. The limits of the newest call hold.
    fn cache(&self, config: &Config) -> Result<Arc<Cache>, String> {
        let limits = Limits { max_size_bytes: config.max_size_bytes, max_files: config.max_files };
        let timeouts = [config.idle_timeout, self.activity.idle_max];
        *lock(&self.activity.idle_timeout) = timeouts.into_iter().flatten().min();
        // Neither HOME nor anything else says where it could be.
        if config.cache_dir.as_os_str().is_empty() {
            return Err("neither HOME nor a setting says where the cache folder is".to_owned());
        }
        self.caches.find(&config.cache_dir, limits, |folder| {
            Store::open(folder).map_err(|error| {
                tracing::error!("{error}");
                error.to_string()
            })
        })
    }

    /// Whether the end of the launcher may be the daemon's: so it is where a sandbox has a process
    /// namespace for each command. There, numbers of processes are low.
    fn may_end_with_launcher(&self) -> bool {
        std::process::id() < FRESH_PROCESSES && self.started.elapsed() < FRESH
    }

    /// Writes to the index what is known, where the launcher's end may be the daemon's.
    fn settle(&self, cache: &Cache) {
        if self.may_end_with_launcher() {
            serve::bookkeeping::flush_cache(cache);
        }
    }

    /// Whether each core has a call already: most likely it runs a compiler, and a fetcher there would be
    /// waited for.
    fn is_crowded(&self) -> bool {
        self.activity.active.load(Ordering::Relaxed) >= self.fetchers.cores
    }

    /// From now on nobody finds this daemon; it ends when its last call is served.
    fn retire(&self) {
        if self.activity.retiring.swap(true, Ordering::SeqCst) {
            return;
        }
        tracing::info!("retiring");
        let _ = std::fs::remove_file(&self.socket);
        self.verifier.end();
        self.bookkeeper.unpark();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}
