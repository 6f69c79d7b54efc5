//! Verification in the field: a share of the hits is compiled again behind the build's back, and compared.

mod background;
mod recompile;

use crate::serve::conversation::Conversation;
use crate::understand::unit::Call;
use crate::{Cache, Daemon, lock};
use background::Background;
use cache::mismatch::Difference;
use compiler::outcome::{Counter, Uncacheable};
use config::{Environment, Loaded, Share};
use recompile::Verdict;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use talk::launcher_protocol::Caller;
use talk::questions::{RecompileVerdict, Recompiled};

/// Hits that wait, each with its caller's variables. A warm build makes them faster than one compiler
/// works them off.
const WAITING_MAX: usize = 64;

/// The stack of the thread; the same scans and parsers as for a call.
const STACK_BYTES: usize = 1 << 20;

/// A compiler that is told to end does so sooner; the daemon's end does not wait for longer.
const END_MAX: Duration = Duration::from_secs(10);

/// Why a hit was not compiled again.
const DAEMON_ENDED: &str = "the daemon ended";

/// The step of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
const RANDOM_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hits that are to be compiled again, one after the other.
pub struct Verifier {
    state: Mutex<State>,
    idle: Condvar,
    ending: AtomicBool,
    random: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// A thread works them off.
    working: bool,
}

/// One hit. What it was is looked up again: by then the inputs may be others.
struct Job {
    call: Call,
    loaded: Arc<Loaded>,
    cache: Arc<Cache>,
}

impl Default for Verifier {
    fn default() -> Verifier {
        Verifier {
            state: Mutex::default(),
            idle: Condvar::new(),
            ending: AtomicBool::new(false),
            random: AtomicU64::new(RandomState::new().hash_one(std::process::id())),
        }
    }
}

/// To be called when a hit was served. Nothing is done for it where `verify_rate` is 0.
pub fn consider(daemon: &Arc<Daemon>, cache: &Arc<Cache>, call: &Call, loaded: &Arc<Loaded>) {
    let rate = loaded.config.verify_rate;
    if rate == Share::NONE || !rate.takes(daemon.verifier.random()) {
        return;
    }
    let job = Job { call: call.clone(), loaded: Arc::clone(loaded), cache: Arc::clone(cache) };
    let mut state = lock(&daemon.verifier.state);
    if daemon.verifier.is_ending() || state.waiting.len() >= WAITING_MAX {
        drop(state);
        return skip(cache, "too many were waiting");
    }
    state.waiting.push_back(job);
    if !state.working {
        let daemon = Arc::clone(daemon);
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        match thread.spawn(move || work(&daemon)) {
            Ok(_) => state.working = true,
            Err(error) => tracing::warn!("no thread to verify hits: {error}"),
        }
    }
}

fn skip(cache: &Cache, why: &str) {
    cache.counts.add_uncacheable(&Uncacheable::new(Counter::VerifySkipped, why));
}

impl Verifier {
    fn random(&self) -> u64 {
        let state = self.random.fetch_add(RANDOM_STEP, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// Hits that wait, and the one that is being compiled again.
    pub fn load(&self) -> usize {
        let state = lock(&self.state);
        state.waiting.len() + usize::from(state.working)
    }

    /// From now on nothing is compiled again, and what is just compiled is given up.
    pub fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
        let waiting = std::mem::take(&mut lock(&self.state).waiting);
        waiting.iter().for_each(|job| skip(&job.cache, DAEMON_ENDED));
    }

    /// Waits until the last compiler is gone.
    pub fn wait(&self) {
        let deadline = Instant::now() + END_MAX;
        let mut state = lock(&self.state);
        while state.working {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            state = match self.idle.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poison) => poison.into_inner().0,
            };
        }
    }
}

fn work(daemon: &Daemon) {
    loop {
        let mut state = lock(&daemon.verifier.state);
        let Some(job) = state.waiting.pop_front() else {
            state.working = false;
            daemon.verifier.idle.notify_all();
            return;
        };
        drop(state);
        let verified =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| verify(daemon, &job)));
        let verdict = match verified {
            Ok(Verdict::Stale(_)) if daemon.verifier.is_ending() => {
                Verdict::Incomparable(DAEMON_ENDED.to_owned())
            }
            Ok(verdict) => verdict,
            Err(_) => Verdict::Incomparable("a fault in rcache".to_owned()),
        };
        account(&job.cache, &job.call, &verdict);
    }
}

fn verify(daemon: &Daemon, job: &Job) -> Verdict {
    match Background::new(&job.call, &daemon.verifier.ending) {
        Ok(mut compiler) => {
            let config = &job.loaded.config;
            recompile::verify(daemon, &job.cache, config, &job.call, &mut compiler)
        }
        Err(error) => Verdict::stale(error),
    }
}

/// Counts and logs what came of one hit.
fn account(cache: &Cache, call: &Call, verdict: &Verdict) {
    let command = recompile::command(call);
    match verdict {
        Verdict::Same => {
            cache.counts.add(Counter::VerifyMatch);
            tracing::info!(command, "verified");
        }
        Verdict::Stale(why) => tracing::debug!(command, why, "not verified"),
        Verdict::Incomparable(why) => {
            tracing::info!(command, why, "cannot be verified");
            skip(cache, why);
        }
        Verdict::Unstable(differences) => {
            cache.counts.add(Counter::VerifyUnstable);
            let differences = listed(differences);
            tracing::warn!(command, differences, "two compiles of a hit differ from each other");
        }
        Verdict::Different { differences, kept, removed } => {
            cache.counts.add(Counter::VerifyMismatch);
            let differences = listed(differences);
            let kept = kept.as_deref().map(|folder| folder.display().to_string());
            let kept = kept.unwrap_or_default();
            tracing::error!(command, differences, kept, removed, "a hit was not what is compiled");
        }
    }
}

fn listed(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Compiles a call again that would hit: the asker runs the compiler. `words` are the compiler of the call and the
/// words after it.
pub fn answer(
    daemon: &Daemon,
    conversation: &mut Conversation,
    caller: &Caller,
    words: &[String],
) -> io::Result<Result<Recompiled, String>> {
    let Some(call) = Call::asked_about(caller, words) else {
        return Ok(Err("no compiler is named".to_owned()));
    };
    let found = daemon.settings.find(&Environment::new(&caller.environment));
    let config = &found.loaded.config;
    let cache = match daemon.cache(config) {
        Ok(cache) => cache,
        Err(why) => return Ok(Err(why)),
    };
    let verdict = recompile::verify(daemon, &cache, config, &call, conversation);
    account(&cache, &call, &verdict);
    let (verdict, why) = match verdict {
        Verdict::Same => (RecompileVerdict::Same, String::new()),
        Verdict::Stale(why) => (RecompileVerdict::NotCached, why),
        Verdict::Incomparable(why) => (RecompileVerdict::NotComparable, why),
        Verdict::Unstable(differences) => (RecompileVerdict::Unstable, listed(&differences)),
        Verdict::Different { differences, .. } => {
            (RecompileVerdict::Different, listed(&differences))
        }
    };
    Ok(Ok(Recompiled { verdict, why }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_spread() {
        let verifier = Verifier::default();
        let half = Share::of(0.5).unwrap();
        let taken = (0..1000).filter(|_| half.takes(verifier.random())).count();
        // A fair coin falls outside of this less than once in 10^20 runs.
        assert!((350..650).contains(&taken), "{taken}");
    }
}
