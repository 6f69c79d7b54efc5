//! Which hosts have the same compiler as this machine: asked before the first job, and again over time.

use super::{Failed, Failure, Order, Target};
use crate::call::{self, CallError, Patience};
use crate::customer::Customer;
use crate::protocol::identity::{CompilerIdentity, Identity};
use crate::protocol::{Dialect, limits, request, response};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// To say which compiler it has, a host may take this long: the first time it reads all of it.
const MEETING: Patience =
    Patience { whole: Duration::from_secs(20), silence: Some(limits::SILENCE_MAX) };

/// A trial job for a stock distccd may wait behind other jobs.
pub(super) const TRIAL: Patience = Patience { whole: Duration::from_secs(20), silence: None };

/// A host that had the same compiler is asked again after this long.
const SAME_FOR: Duration = Duration::from_secs(600);

/// A host that had another compiler is asked again after this long: it may have been updated.
const OTHER_FOR: Duration = Duration::from_secs(60);

/// Hosts times compilers; far more than any cluster has.
const KNOWN_MAX: usize = 20_000;

/// Files that are named as different; one says it all, a second one confirms it.
const FILES_NAMED_MAX: usize = 2;

/// Why a host is not used that hangs up when it is asked to compile.
pub(super) const REFUSES: &str = "it refuses to run this compiler";

/// What listens at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An rcache worker of this version.
    Worker(String),
    /// A stock distccd.
    Distccd,
}

impl Kind {
    /// How to speak to it.
    pub(super) fn dialect(&self, lzo: bool) -> Dialect {
        match self {
            Kind::Worker(_) => Dialect::Native,
            Kind::Distccd if lzo => Dialect::Lzo,
            Kind::Distccd => Dialect::Plain,
        }
    }

    /// For a person.
    pub fn describe(&self) -> String {
        match self {
            Kind::Worker(version) => format!("rcache {version}"),
            Kind::Distccd => "distccd".to_owned(),
        }
    }
}

/// What was found out about a host and a compiler.
pub(super) struct Met {
    pub kind: Kind,
    /// Before it was asked, or tried out.
    pub started: Instant,
    pub round_trip: Duration,
    /// Or in what the compilers differ.
    pub same: Result<(), String>,
}

/// All acquaintances.
#[derive(Default)]
pub(super) struct Book {
    compilers: HashMap<(SocketAddr, String), Entry>,
    hosts: HashMap<SocketAddr, HostEntry>,
}

enum Entry {
    Asking,
    /// `tried`: when the last trial that showed it began.
    Same {
        kind: Kind,
        since: Instant,
        tried: Instant,
    },
    Other {
        why: String,
        since: Instant,
    },
}

/// What is known of a host, whatever the compiler.
#[derive(Clone, Default)]
pub(super) struct HostEntry {
    pub kind: Option<Kind>,
    pub round_trip: Option<Duration>,
    pub last_failure: Option<Failure>,
}

/// Whether a host may get a job.
pub(super) enum Standing {
    Usable,
    Asking,
    Other(String),
}

/// What to do before a job is sent.
pub(super) enum Acquaintance {
    Same(Kind),
    NotNow,
    ToBeMade,
}

impl Book {
    pub(super) fn standing(&self, address: SocketAddr, compiler: &str, now: Instant) -> Standing {
        match self.compilers.get(&(address, compiler.to_owned())) {
            Some(Entry::Asking) => Standing::Asking,
            Some(Entry::Other { why, since }) if now < *since + OTHER_FOR => {
                Standing::Other(why.clone())
            }
            _ => Standing::Usable,
        }
    }

    /// Whoever gets [`Acquaintance::ToBeMade`] asks the host, and must call [`Book::end`].
    pub(super) fn begin(&mut self, key: &(SocketAddr, String), now: Instant) -> Acquaintance {
        match self.compilers.get(key) {
            Some(Entry::Same { kind, since, .. }) if now < *since + SAME_FOR => {
                return Acquaintance::Same(kind.clone());
            }
            Some(Entry::Other { since, .. }) if now < *since + OTHER_FOR => {
                return Acquaintance::NotNow;
            }
            Some(Entry::Asking) => return Acquaintance::NotNow,
            _ => {}
        }
        if self.compilers.len() >= KNOWN_MAX {
            self.compilers.retain(|_, entry| matches!(entry, Entry::Asking));
        }
        self.compilers.insert(key.clone(), Entry::Asking);
        Acquaintance::ToBeMade
    }

    pub(super) fn end(
        &mut self,
        key: (SocketAddr, String),
        met: Result<Met, Failed>,
        now: Instant,
    ) -> Result<Kind, Failed> {
        let met = match met {
            Ok(met) => met,
            Err(failed) => {
                self.compilers.remove(&key);
                return Err(failed);
            }
        };
        let host = self.hosts.entry(key.0).or_default();
        host.kind = Some(met.kind.clone());
        host.round_trip = Some(met.round_trip);
        match met.same {
            Ok(()) => {
                let (kind, tried) = (met.kind.clone(), met.started);
                self.compilers.insert(key, Entry::Same { kind, since: now, tried });
                Ok(met.kind)
            }
            Err(why) => {
                tracing::warn!("{}: {why}", key.0);
                self.compilers.insert(key, Entry::Other { why, since: now });
                Err(Failed::NotNow)
            }
        }
    }

    /// When the last trial began that showed the same compiler.
    pub(super) fn tried(&self, key: &(SocketAddr, String)) -> Option<Instant> {
        match self.compilers.get(key) {
            Some(Entry::Same { tried, .. }) => Some(*tried),
            _ => None,
        }
    }

    /// One that began then showed it again.
    pub(super) fn note_tried(&mut self, key: &(SocketAddr, String), at: Instant) {
        if let Some(Entry::Same { tried, .. }) = self.compilers.get_mut(key) {
            *tried = at.max(*tried);
        }
    }

    /// A host that failed may come back as another one.
    pub(super) fn note_failure(&mut self, address: SocketAddr, failure: Failure) {
        self.hosts.entry(address).or_default().last_failure = Some(failure);
        self.forget(address);
    }

    /// The next job asks the host again which compiler it has.
    pub(super) fn forget(&mut self, address: SocketAddr) {
        self.compilers.retain(|(known, _), entry| {
            *known != address || matches!(entry, Entry::Asking | Entry::Other { .. })
        });
    }

    /// A host that could not even be asked is not known to have any compiler.
    pub(super) fn note_unreachable(&mut self, address: SocketAddr, failure: Failure) {
        self.note_failure(address, failure);
        let host = self.hosts.entry(address).or_default();
        host.kind = None;
        host.round_trip = None;
    }

    /// What a host speaks that is known to have this compiler.
    pub(super) fn same(&self, address: SocketAddr, compiler: &str) -> Option<Kind> {
        match self.compilers.get(&(address, compiler.to_owned())) {
            Some(Entry::Same { kind, .. }) => Some(kind.clone()),
            _ => None,
        }
    }

    pub(super) fn host(&self, address: SocketAddr) -> HostEntry {
        self.hosts.get(&address).cloned().unwrap_or_default()
    }

    /// The reason why a host is not used for a compiler that it was asked about.
    pub(super) fn why_other(&self, address: SocketAddr) -> Option<&str> {
        let others = self.compilers.iter().filter_map(|((known, _), entry)| match entry {
            Entry::Other { why, since } if *known == address => Some((since, why.as_str())),
            _ => None,
        });
        // The newest, whatever the order of the map.
        others.max().map(|(_, why)| why)
    }

    /// Whether a host is known to have a compiler that was asked for.
    pub(super) fn has_same(&self, address: SocketAddr) -> bool {
        self.compilers
            .iter()
            .any(|((known, _), entry)| *known == address && matches!(entry, Entry::Same { .. }))
    }
}

/// Asks a host which compiler it has; one that does not understand the question is a stock distccd,
/// and is tried out. Each of the two takes at most `time`, where that is given.
pub(super) fn meet(
    target: &Target,
    order: Order,
    time: Option<Duration>,
    customer: &mut dyn Customer,
) -> Result<Met, Failed> {
    let within = |patience: Patience| Patience {
        whole: time.map_or(patience.whole, |time| time.min(patience.whole)),
        ..patience
    };
    let question = request::encode_identify(order.identify);
    let asked = Instant::now();
    let answer = call::call(target.address, &question, within(MEETING), customer, |stream| {
        response::read_identity(stream)
    });
    let round_trip = asked.elapsed();
    match answer {
        Ok(Identity { worker, compiler, .. }) => {
            let same = compiler.and_then(|theirs| compare(order.compiler, &theirs));
            Ok(Met { kind: Kind::Worker(worker), started: asked, round_trip, same })
        }
        Err(CallError::Closed) => {
            let started = Instant::now();
            let same = try_out(target, within(TRIAL), customer)?;
            Ok(Met { kind: Kind::Distccd, started, round_trip, same })
        }
        Err(error) => Err(error.into()),
    }
}

fn compare(ours: &CompilerIdentity, theirs: &CompilerIdentity) -> Result<(), String> {
    if ours.digest == theirs.digest {
        return Ok(());
    }
    if ours.banner != theirs.banner {
        return Err(format!("it has {}, this machine {}", theirs.banner, ours.banner));
    }
    // A file more on one side, such as a script in front of the driver, counts as well.
    let missing = ours.files.iter().filter(|file| !theirs.files.contains(file));
    let additional = theirs.files.iter().filter(|file| !ours.files.contains(file));
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in missing.chain(additional) {
        if !names.contains(&name.as_str()) && names.len() < FILES_NAMED_MAX {
            names.push(name);
        }
    }
    match names.is_empty() {
        true => Err("its compiler has the same parts in another order".to_owned()),
        false => Err(format!("its {} is not the same as this machine's", names.join(" and "))),
    }
}

pub(super) fn try_out(
    target: &Target,
    patience: Patience,
    customer: &mut dyn Customer,
) -> Result<Result<(), String>, Failed> {
    let Some(trial) = customer.trial().map_err(Failed::Gone)? else {
        return Ok(Err("there is no way to tell whether its compiler is the same".to_owned()));
    };
    let dialect = Kind::Distccd.dialect(target.lzo);
    let (bytes, checksum) = request::encode(dialect, &trial.job, "");
    let reply = call::call(target.address, &bytes, patience, customer, |stream| {
        response::read(stream, dialect, &checksum)
    });
    match reply {
        Ok(reply) if reply.status != 0 => {
            let text = String::from_utf8_lossy(&reply.stderr);
            let line = text.lines().next().unwrap_or("it cannot run the compiler").to_owned();
            Ok(Err(format!("the trial failed there: {line}")))
        }
        Ok(reply) if reply.output == trial.output => Ok(Ok(())),
        Ok(_) => Ok(Err("its compiler makes another object of the trial unit".to_owned())),
        Err(CallError::Closed) => Ok(Err(REFUSES.to_owned())),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(digest: &str, files: &[(&str, &str)]) -> CompilerIdentity {
        CompilerIdentity {
            digest: digest.to_owned(),
            banner: "gcc version 12".to_owned(),
            files: files
                .iter()
                .map(|(name, digest)| (name.to_string(), digest.to_string()))
                .collect(),
        }
    }

    #[test]
    fn what_differs_is_named() {
        let ours = compiler("1", &[("g++", "a"), ("cc1plus", "b"), ("as", "c")]);
        let why = |theirs: CompilerIdentity| compare(&ours, &theirs).unwrap_err();
        assert_eq!(compare(&ours, &compiler("1", &[])), Ok(()));
        let theirs = compiler("2", &[("g++", "a"), ("cc1plus", "x"), ("as", "c")]);
        assert_eq!(why(theirs), "its cc1plus is not the same as this machine's");
        let theirs = compiler("2", &[("g++", "s"), ("g++", "a"), ("cc1plus", "b"), ("as", "c")]);
        assert_eq!(why(theirs), "its g++ is not the same as this machine's");
        let theirs = CompilerIdentity { banner: "gcc version 14".to_owned(), ..ours.clone() };
        let theirs = CompilerIdentity { digest: "2".to_owned(), ..theirs };
        assert_eq!(why(theirs), "it has gcc version 14, this machine gcc version 12");
    }
}
