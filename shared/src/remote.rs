//! One remote: its engine, whether it is worth asking, how long its answers take, what it did.

use crate::breaker::{Breaker, Verdict};
use crate::engine::{Before, Engine, Fault, Object};
use crate::location::Location;
use crate::lock;
use crate::name::Name;
use crate::patience::Patience;
use crate::queue::{STEPS_MAX, UNDER_WAY_MAX};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// One remote.
pub struct Remote {
    /// Where it is.
    pub location: Location,
    engine: OnceLock<Result<Engine, String>>,
    breaker: Mutex<Breaker>,
    patience: Mutex<Patience>,
    /// Until when nothing is uploaded, since it has too much to do.
    paused: Mutex<Option<Instant>>,
    /// Uploads that may be under way.
    pub under_way: Semaphore,
    /// Memory that they may take.
    pub memory: Semaphore,
    /// What it did.
    pub counts: Counts,
    last_fault: Mutex<Option<String>>,
}

/// What a remote did since the daemon started.
#[derive(Debug, Default)]
pub struct Counts {
    /// Units that were found.
    pub hits: AtomicU64,
    /// Units that were not there.
    pub misses: AtomicU64,
    /// Results that were written.
    pub writes: AtomicU64,
    /// Requests that failed for good.
    pub errors: AtomicU64,
    /// Answers that nobody waited for any longer.
    pub timeouts: AtomicU64,
    /// Entries that no listed key has signed.
    pub untrusted: AtomicU64,
    /// Bytes that came.
    pub bytes_in: AtomicU64,
    /// Bytes that went.
    pub bytes_out: AtomicU64,
}

/// Adds to a count.
pub fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

impl Remote {
    /// A remote that nobody has asked yet.
    pub fn new(location: Location) -> Remote {
        Remote {
            location,
            engine: OnceLock::new(),
            breaker: Mutex::default(),
            patience: Mutex::default(),
            paused: Mutex::default(),
            under_way: Semaphore::new(UNDER_WAY_MAX),
            memory: Semaphore::new(STEPS_MAX),
            counts: Counts::default(),
            last_fault: Mutex::default(),
        }
    }

    fn engine(&self) -> Result<&Engine, Fault> {
        let engine = self.engine.get_or_init(|| Engine::new(&self.location));
        engine.as_ref().map_err(|why| Fault::Refused(why.clone()))
    }

    /// What may be done now, and how long an answer is worth waiting for.
    pub fn verdict(&self) -> (Verdict, Duration) {
        let verdict = lock(&self.breaker).ask(Instant::now());
        (verdict, lock(&self.patience).next(self.location.timeout))
    }

    /// Nobody waits for its answer any longer.
    pub fn was_late(&self) {
        add(&self.counts.timeouts, 1);
        lock(&self.breaker).failed(Instant::now());
        *lock(&self.last_fault) = Some(Fault::Timeout.to_string());
    }

    fn note<T>(&self, begun: Instant, answer: &Result<T, Fault>, is_small: bool) {
        match answer {
            Err(fault) if fault.is_of_remote() => {
                tracing::debug!(remote = self.location.shown, "{fault}");
                lock(&self.breaker).failed(Instant::now());
                *lock(&self.last_fault) = Some(fault.to_string());
            }
            _ => {
                lock(&self.breaker).succeeded();
                if is_small {
                    lock(&self.patience).measured(begun.elapsed());
                }
            }
        }
    }

    /// An object.
    pub async fn get(&self, name: Name, limit: usize) -> Result<Option<Object>, Fault> {
        let begun = Instant::now();
        let answer = match self.engine() {
            Ok(engine) => engine.get(&self.location, name, limit).await,
            Err(fault) => Err(fault),
        };
        self.note(begun, &answer, true);
        if let Ok(Some(object)) = &answer {
            add(&self.counts.bytes_in, object.bytes.len() as u64);
        }
        answer
    }

    /// Whether an object is there.
    pub async fn has(&self, name: Name) -> Result<bool, Fault> {
        self.engine()?.has(&self.location, name).await
    }

    /// Writes an object.
    pub async fn put(&self, name: Name, bytes: Vec<u8>, before: &Before) -> Result<(), Fault> {
        let length = bytes.len() as u64;
        let answer = self.engine()?.put(&self.location, name, bytes, before).await;
        if answer.is_ok() {
            add(&self.counts.bytes_out, length);
        }
        answer
    }

    /// The engine itself, for those who look after it.
    pub fn connected(&self) -> Result<&Engine, Fault> {
        self.engine()
    }

    /// Nothing more is uploaded for a moment.
    pub fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut paused = lock(&self.paused);
        *paused = Some(paused.map_or(until, |before| before.max(until)));
    }

    /// How long uploads still rest.
    pub fn rest(&self) -> Duration {
        let until = *lock(&self.paused);
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Its state, for people.
    pub fn report(&self) -> Report {
        let counts = &self.counts;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Report {
            url: self.location.shown.clone(),
            read_only: self.location.read_only,
            resting: lock(&self.breaker).is_open(),
            usual: lock(&self.patience).usual(),
            last_fault: lock(&self.last_fault).clone(),
            hits: count(&counts.hits),
            misses: count(&counts.misses),
            writes: count(&counts.writes),
            errors: count(&counts.errors),
            timeouts: count(&counts.timeouts),
            untrusted: count(&counts.untrusted),
            bytes_in: count(&counts.bytes_in),
            bytes_out: count(&counts.bytes_out),
        }
    }
}

/// The state of a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where it is, without secrets.
    pub url: String,
    /// Nothing is written there.
    pub read_only: bool,
    /// Builds do without it for now.
    pub resting: bool,
    /// What an answer usually takes.
    pub usual: Option<Duration>,
    /// What went wrong the last time.
    pub last_fault: Option<String>,
    /// See [`Counts`].
    pub hits: u64,
    /// See [`Counts`].
    pub misses: u64,
    /// See [`Counts`].
    pub writes: u64,
    /// See [`Counts`].
    pub errors: u64,
    /// See [`Counts`].
    pub timeouts: u64,
    /// See [`Counts`].
    pub untrusted: u64,
    /// See [`Counts`].
    pub bytes_in: u64,
    /// See [`Counts`].
    pub bytes_out: u64,
}
