//! All remotes of one setting: questions that a compile waits for only so long, and uploads behind its back.

mod question;
mod upkeep;
mod upload;

use crate::breaker::Verdict;
use crate::bundle::{BUNDLE_BYTES_MAX, Bundle};
use crate::envelope::{BODY_BYTES_MAX, Envelope, Fault as EntryFault, HEADER_BYTES};
use crate::keys::{SigningKey, Trusted};
use crate::location::Location;
use crate::lock;
use crate::name::{Kind, Name};
use crate::queue::Waiting;
use crate::remote::{Remote, Report, add};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

pub use question::{Answer, Question};
pub use upkeep::{Contents, Trimmed, Verified};
pub use upload::Offer;

/// What is not there is not asked for again for this long.
const MISSING_FOR: Duration = Duration::from_secs(60);
/// Names that are remembered as missing; 50 bytes each.
const MISSING_MAX: usize = 100_000;
/// A result that is known to be right is worth this wait.
const FETCH_MAX: Duration = Duration::from_secs(5);

/// What happened, for the counters of the cache that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A result came from a remote.
    Hit,
    /// It is on none.
    Miss,
    /// A result was written.
    Write,
    /// A request failed for good.
    Error,
    /// An answer did not come in time.
    Timeout,
    /// An entry is of nobody who is trusted, or is not what was written.
    Untrusted,
}

/// Whom to tell.
pub type Count = Arc<dyn Fn(Event) + Send + Sync>;

/// What a tier is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the remotes are.
    pub locations: Vec<Location>,
    /// Whose entries count.
    pub trusted: Trusted,
    /// What signs new entries.
    pub signer: Option<SigningKey>,
    /// Whether anything is written at all.
    pub may_write: bool,
}

/// All remotes of one setting.
pub struct Tier {
    shared: Arc<Shared>,
    runtime: Handle,
}

struct Shared {
    remotes: Vec<Remote>,
    trusted: Trusted,
    signer: Option<SigningKey>,
    may_write: bool,
    asked: Mutex<HashMap<Name, question::Asked>>,
    waiting: Arc<Waiting>,
}

/// What is known under a source key, opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// What leads to results, newest first: the digest of the result's name, and what was recorded.
    pub records: Vec<([u8; Name::LEN], Vec<u8>)>,
    /// The newest result.
    pub newest: Option<(Name, Vec<u8>)>,
}

impl Tier {
    /// A tier of these settings, whose work is done on `runtime`. It asks nobody yet.
    pub fn new(settings: Settings, runtime: Handle) -> Tier {
        // One provider for all of rustls; another part of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut locations = settings.locations;
        locations.sort_by_key(|location| location.priority);
        let mut trusted = settings.trusted;
        if let Some(signer) = &settings.signer
            && !trusted.holds(&signer.public())
        {
            trusted.add(signer.public(), "this machine");
        }
        let shared = Shared {
            remotes: locations.into_iter().map(Remote::new).collect(),
            trusted,
            signer: settings.signer,
            may_write: settings.may_write,
            asked: Mutex::default(),
            waiting: Arc::default(),
        };
        Tier { shared: Arc::new(shared), runtime }
    }

    /// Whether anything that is offered may be written somewhere.
    pub fn writes(&self) -> bool {
        self.shared.remotes.iter().any(|remote| self.shared.may_write_to(remote))
    }

    /// Takes apart what was found of a unit. What nobody trusted has signed is left out, and counted.
    pub fn open(&self, found: &question::Found, unit: Name, count: &Count) -> Opened {
        let remote = &self.shared.remotes[found.remote];
        let trusted = self.shared.trusted_on(remote);
        let refuse = |fault: EntryFault| {
            tracing::warn!(remote = remote.location.shown, "an entry is no answer: {fault}");
            add(&remote.counts.untrusted, 1);
            count(Event::Untrusted);
        };
        let mut opened = Opened::default();
        let bundle = match Bundle::decode(&found.bytes) {
            Ok(bundle) => bundle,
            Err(fault) => {
                refuse(fault);
                return opened;
            }
        };
        for record in bundle.open(unit, &trusted) {
            match record {
                Ok((subject, body)) => opened.records.push((subject, body.to_vec())),
                Err(fault) => refuse(fault),
            }
        }
        if let Some(newest) = bundle.newest {
            let name = newest.name();
            match newest.open(name, &trusted) {
                Ok(body) if name.kind == Kind::Result => {
                    opened.newest = Some((name, body.to_vec()))
                }
                Ok(_) => refuse(EntryFault::Name),
                Err(fault) => refuse(fault),
            }
        }
        opened
    }

    /// A result that is known to be wanted, from the first remote that has it.
    pub fn fetch(&self, name: Name, count: &Count) -> Option<Vec<u8>> {
        let shared = Arc::clone(&self.shared);
        let told = Arc::clone(count);
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            let _ = send.send(shared.fetch(name, &told).await);
        });
        match receive.recv_timeout(FETCH_MAX) {
            Ok(found) => found,
            Err(_) => {
                count(Event::Timeout);
                None
            }
        }
    }

    /// Waits until nothing is to be uploaded any more, or for so long; gives what is left.
    pub fn flush(&self, limit: Duration) -> usize {
        self.shared.waiting.wait(limit)
    }

    /// What waits for its upload.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.count()
    }

    /// The state of each remote.
    pub fn report(&self) -> Vec<Report> {
        self.shared.remotes.iter().map(Remote::report).collect()
    }
}

impl Shared {
    fn trusted_on(&self, remote: &Remote) -> Trusted {
        self.trusted.clone().with_unsigned(remote.location.unsigned)
    }

    fn may_write_to(&self, remote: &Remote) -> bool {
        let can_sign = self.signer.is_some() || remote.location.unsigned;
        self.may_write && !remote.location.read_only && can_sign
    }

    async fn fetch(&self, name: Name, count: &Count) -> Option<Vec<u8>> {
        for remote in &self.remotes {
            if remote.verdict().0 == Verdict::Rest {
                continue;
            }
            let object = match remote.get(name, BODY_BYTES_MAX + HEADER_BYTES).await {
                Ok(Some(object)) => object,
                Ok(None) => continue,
                Err(_) => {
                    add(&remote.counts.errors, 1);
                    count(Event::Error);
                    continue;
                }
            };
            let trusted = self.trusted_on(remote);
            let opened = Envelope::parse(&object.bytes)
                .and_then(|envelope| envelope.open(name, &trusted).map(<[u8]>::to_vec));
            match opened {
                Ok(body) => return Some(body),
                Err(fault) => {
                    tracing::warn!(remote = remote.location.shown, "no answer: {fault}");
                    add(&remote.counts.untrusted, 1);
                    count(Event::Untrusted);
                }
            }
        }
        None
    }

    fn is_missing(&self, name: Name, now: Instant) -> bool {
        match lock(&self.asked).get(&name) {
            Some(question::Asked::Missing(since)) => now.duration_since(*since) < MISSING_FOR,
            _ => false,
        }
    }

    fn note_missing(&self, name: Name) {
        let mut asked = lock(&self.asked);
        if asked.len() >= MISSING_MAX {
            asked.retain(|_, asked| matches!(asked, question::Asked::Pending(_)));
        }
        asked.insert(name, question::Asked::Missing(Instant::now()));
    }

    fn forget(&self, name: Name) {
        lock(&self.asked).remove(&name);
    }

    async fn look_up(&self, unit: Name, remotes: Vec<usize>) -> Answer {
        use futures_util::StreamExt;
        let asked = remotes.into_iter().map(|index| async move {
            (index, self.remotes[index].get(unit, BUNDLE_BYTES_MAX).await)
        });
        let mut answers = asked.collect::<futures_util::stream::FuturesOrdered<_>>();
        let mut failed = false;
        while let Some((index, answer)) = answers.next().await {
            let counts = &self.remotes[index].counts;
            match answer {
                Ok(Some(object)) => {
                    add(&counts.hits, 1);
                    return Answer::Found(question::Found { remote: index, bytes: object.bytes });
                }
                Ok(None) => add(&counts.misses, 1),
                Err(_) => {
                    add(&counts.errors, 1);
                    failed = true;
                }
            }
        }
        if failed { Answer::Failed } else { Answer::Missing }
    }
}

#[cfg(test)]
mod tests;
