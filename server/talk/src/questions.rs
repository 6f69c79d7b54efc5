//! What subcommands ask a daemon, and what it answers: JSON whose names are those of the fields here.
//!
//! Scripts read some of these answers (`--json`): fields may be added, but not renamed, and their order stays. A field
//! that is missing reads as 0, empty or unknown. A daemon that cannot answer sends a [`Refusal`].

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Question {
    /// How the daemon is: [`Status`].
    Status,
    /// It is to end: [`Done`].
    Stop,
    /// It is to write what it remembers to the index: [`Done`].
    Flush,
    /// An answer is wanted once all compiles that have ended are stored: [`Done`].
    Settle,
    /// The same, once all that is to be uploaded is: [`Flushed`].
    FlushUploads {
        /// The asker waits no longer.
        seconds: u64,
    },
    /// The shared cache is to be asked for these calls of the asker's folder: [`Prefetched`].
    Prefetch {
        /// Of each: the compiler, and the words after it.
        calls: Vec<Vec<String>>,
    },
    /// The shared cache is to be looked after: [`Remotes`].
    Remote {
        /// How.
        task: RemoteTask,
    },
    /// The build as it runs: [`Top`].
    Top,
    /// Counters, store and hosts: [`Stats`].
    Stats,
    /// The counters are to be 0: [`Done`].
    Zero,
    /// All results are to go: [`Removed`].
    Clear,
    /// The results that were not used for longest are to go: [`Removed`].
    Trim {
        /// Until the store is no larger.
        max_size_bytes: Option<u64>,
        /// Those that were not used for this long.
        older_than_s: Option<u64>,
    },
    /// Each host is to be asked: [`Hosts`].
    Hosts,
    /// Whether a call would hit: [`Foretold`].
    Explain {
        /// The compiler, and the words after it.
        arguments: Vec<String>,
    },
    /// A call that would hit is to be compiled again: [`Recompiled`].
    Recompile {
        /// The compiler, and the words after it.
        arguments: Vec<String>,
    },
    /// Blobs that seem to be damaged are to be looked at once more: [`Confirmed`].
    Verify {
        /// Their keys.
        keys: Vec<String>,
        /// Entries without a blob are to be looked for, too.
        lost: bool,
    },
}

/// What is to be done with the shared cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteTask {
    /// Say how long it takes to answer.
    Ping,
    /// Say what is there.
    Stats,
    /// Remove what is oldest.
    Trim {
        /// Until no more is there.
        max_size_bytes: Option<u64>,
        /// Those that were not used or written for this long.
        older_than_s: Option<u64>,
    },
    /// Read everything, and look who has signed it.
    Verify {
        /// Remove what nobody trusted has signed.
        remove: bool,
    },
}

/// A question as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What is asked.
    #[serde(flatten)]
    pub question: Question,
    /// The asker's own daemon is another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_elsewhere: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// In words for a person.
    pub error: String,
}

/// It is done, and there is nothing to say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// Answer to [`Question::Status`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The daemon's process.
    pub pid: u64,
    /// Its build.
    pub version: String,
    /// How long it has run, in seconds.
    pub uptime_s: u64,
    /// What it listens on.
    pub socket: String,
    /// The cache folder that it was started for.
    pub cache_dir: String,
    /// Device and inode of that folder: seen under another path, it is still this one.
    pub cache_folder_id: Option<(u64, u64)>,
    /// Resident memory.
    pub memory_bytes: u64,
    /// Calls that are being served.
    pub active: u64,
    /// Units that are being compiled, or looked for a second time.
    pub in_flight: u64,
    /// Hits that are being compiled again, or wait for that.
    pub verifying: u64,
    /// Compilers and preprocessors that run on this machine.
    pub slots_used: u64,
    /// Those that wait for a slot.
    pub slots_waiting: u64,
    /// The most that ever ran.
    pub slots_used_most: u64,
    /// Calls since the daemon started.
    pub calls: u64,
}

/// Answer to [`Question::Stats`], and what `rcache stats --json` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// The daemon's build.
    pub version: String,
    /// Since they were last set to 0.
    pub counters: Counters,
    /// What is stored.
    pub store: StoreSize,
    /// The hosts of the list.
    pub hosts: Vec<HostRow>,
    /// What is to blame for calls that were not cached, the most frequent first.
    pub uncacheable: Vec<Culprit>,
    /// What the hits took to compile.
    pub time_saved_ms: u64,
    /// What the compilers took.
    pub compile_time_ms: u64,
    /// When the counters were last set to 0, in seconds since 1970; 0 for never.
    pub since: u64,
    /// The daemon that answers.
    pub daemon: DaemonRow,
    /// The cache folder.
    pub cache_dir: String,
}

/// Part of [`Stats`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreSize {
    /// Bytes of all blobs.
    pub bytes: u64,
    /// Results.
    pub files: u64,
    /// The most bytes that are kept; 0 for no limit.
    pub max_bytes: u64,
    /// The most results that are kept; 0 for no limit.
    pub max_files: u64,
    /// Results that had to go since the counters were set to 0.
    pub evicted: u64,
}

/// Part of [`Stats`]: the option, variable or file that a counter is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Culprit {
    /// The counter.
    pub counter: String,
    /// What is to blame; may be empty.
    pub detail: String,
    /// How often.
    pub count: u64,
}

/// Part of [`Stats`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DaemonRow {
    /// Its process.
    pub pid: u64,
    /// Its build.
    pub version: String,
    /// How long it has run, in seconds.
    pub uptime_s: u64,
    /// Resident memory.
    pub memory_bytes: u64,
}

/// Answer to [`Question::Top`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Top {
    /// The daemon's build.
    pub version: String,
    /// Its process.
    pub pid: u64,
    /// How long it has run, in seconds.
    pub uptime_s: u64,
    /// The cache folder.
    pub cache_dir: String,
    /// Since the daemon started.
    pub counters: Counters,
    /// Units that are under way, the oldest first.
    pub units: Vec<UnitRow>,
    /// The hosts of the list.
    pub hosts: Vec<HostRow>,
    /// Units that wait for a host.
    pub waiting: u64,
    /// This machine.
    pub local: LocalRow,
}

/// Part of [`Top`]: a unit that the direct lookup has not found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitRow {
    /// Its source.
    pub source: String,
    /// Where it is.
    pub stage: String,
    /// The host that has it.
    pub host: Option<String>,
    /// Since it began.
    pub age_ms: u64,
    /// Since it came where it is.
    pub stage_ms: u64,
}

/// Answer to [`Question::Hosts`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hosts {
    /// The hosts of the list, with what they have said.
    pub hosts: Vec<HostRow>,
    /// Units that wait for a host.
    pub waiting: u64,
    /// This machine.
    pub local: LocalRow,
}

/// One host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostRow {
    /// Name and port.
    pub host: String,
    /// Its address, where that is known.
    pub address: Option<String>,
    /// Jobs that it takes at once.
    pub slots: u64,
    /// Jobs that it has.
    pub in_flight: u64,
    /// Jobs that it has done.
    pub completed: u64,
    /// Jobs that came to nothing there.
    pub failed: u64,
    /// Whether it gets jobs.
    pub usable: bool,
    /// Why not.
    pub why_not: Option<String>,
    /// The same as a word, for advice.
    pub trouble: Option<String>,
    /// Its compiler beside this machine's.
    pub compiler: Likeness,
    /// How long it takes to answer.
    pub round_trip_us: Option<u64>,
    /// What serves there.
    pub worker: String,
    /// The compilers that it was asked about, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compilers: Option<Vec<HostCompiler>>,
}

/// A compiler that a host was asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostCompiler {
    /// `gcc`, `clang++` …
    pub name: String,
    /// Whether it has the same.
    pub same: bool,
    /// What it has in its place.
    pub why_not: Option<String>,
}

/// Whether two compilers are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Likeness {
    /// To the byte.
    Same,
    /// They differ.
    Other,
    /// Nobody has asked yet.
    #[default]
    Unknown,
}

impl Likeness {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Likeness::Same => "same",
            Likeness::Other => "other",
            Likeness::Unknown => "unknown",
        }
    }
}

/// The slots of this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LocalRow {
    /// How many there are.
    pub slots: u64,
    /// How many are taken.
    pub in_flight: u64,
    /// How many wait for one.
    pub waiting: u64,
    /// The most that were ever taken.
    pub used_most: u64,
}

/// Answer to [`Question::Clear`] and [`Question::Trim`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Removed {
    /// Results, as in the statistics; manifests go along with them.
    pub removed_files: u64,
    /// Bytes of all blobs.
    pub removed_bytes: u64,
}

/// Answer to [`Question::FlushUploads`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flushed {
    /// Results that still wait.
    pub not_uploaded: u64,
}

/// Answer to [`Question::Prefetch`], and what `rcache prefetch --json` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prefetched {
    /// Calls whose result came.
    pub fetched: u64,
    /// Calls whose result was here.
    pub here: u64,
    /// Calls of which nothing that is right here is there.
    pub missing: u64,
    /// Calls that are not cached at all.
    pub not_cached: u64,
}

/// Answer to [`Question::Remote`], and what `rcache remote … --json` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remotes {
    /// What came of the task on each.
    pub remotes: Vec<RemoteRow>,
    /// What the daemon knows of each.
    pub state: Vec<RemoteState>,
    /// What is wrong with the settings of the shared cache, in words.
    pub problems: Vec<String>,
    /// Results that wait for their upload.
    pub to_upload: u64,
}

/// Part of [`Remotes`]; each task fills its own fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoteRow {
    /// The remote, without secrets.
    pub url: String,
    /// Why nothing came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
    /// What is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contents: Option<RemoteContents>,
    /// What was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trimmed: Option<RemoteTrimmed>,
    /// What is sound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<RemoteVerified>,
}

/// Part of [`RemoteRow`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoteContents {
    /// Units of which something is known.
    pub units: u64,
    /// Results that have objects of their own.
    pub results: u64,
    /// Bytes of all.
    pub bytes: u64,
}

/// Part of [`RemoteRow`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoteTrimmed {
    /// Objects that went.
    pub removed_objects: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// What is left.
    pub left_bytes: u64,
}

/// Part of [`RemoteRow`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoteVerified {
    /// Objects that are as a trusted key signed them.
    pub sound: u64,
    /// Objects that are not.
    pub untrusted: u64,
    /// Of these, how many were removed.
    pub removed: u64,
}

/// Part of [`Remotes`]: since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoteState {
    /// The remote, without secrets.
    pub url: String,
    /// Nothing is written there.
    pub read_only: bool,
    /// Builds do without it for now.
    pub resting: bool,
    /// What an answer usually takes; unknown before the first.
    pub latency_us: Option<u64>,
    /// What went wrong the last time.
    pub last_fault: Option<String>,
    /// Units that were found.
    pub hits: u64,
    /// Units that were not there.
    pub misses: u64,
    /// Results that were written.
    pub writes: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Answers that did not come in time.
    pub timeouts: u64,
    /// Entries that no trusted key has signed.
    pub untrusted: u64,
    /// Bytes that came.
    pub bytes_in: u64,
    /// Bytes that went.
    pub bytes_out: u64,
}

/// Answer to [`Question::Explain`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Foretold {
    /// The counter in which the call would end.
    pub verdict: String,
    /// Why.
    pub reasons: Vec<String>,
}

/// Answer to [`Question::Recompile`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recompiled {
    /// What came of it.
    pub verdict: RecompileVerdict,
    /// Why, or what differs.
    pub why: String,
}

/// What came of a hit that was compiled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecompileVerdict {
    /// The compiler makes what is stored.
    Same,
    /// It makes something else.
    Different,
    /// It makes something else each time.
    Unstable,
    /// What it makes cannot be compared.
    NotComparable,
    /// The call would not have been a hit.
    NotCached,
}

/// Answer to [`Question::Verify`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Confirmed {
    /// Blobs that are damaged indeed.
    pub damaged: Vec<DamagedRow>,
    /// Blobs of another version of the format.
    pub outdated: u64,
    /// Blobs that were removed.
    pub removed: u64,
    /// Entries that had no blob.
    pub lost: u64,
}

/// Part of [`Confirmed`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DamagedRow {
    /// The blob's key.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
    /// Whether it could be removed.
    pub removed: bool,
}

/// Numbers by name, in the order in which they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(Vec<(String, u64)>);

impl Counters {
    /// The number of this name; 0 where there is none.
    pub fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|(known, _)| known == name).map_or(0, |(_, count)| *count)
    }
}

impl FromIterator<(String, u64)> for Counters {
    fn from_iter<I: IntoIterator<Item = (String, u64)>>(counters: I) -> Counters {
        Counters(counters.into_iter().collect())
    }
}

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, count)| (name, count)))
    }
}

impl<'de> Deserialize<'de> for Counters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Counters, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Counters;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "numbers by name")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Counters, M::Error> {
                let mut counters = Vec::new();
                while let Some(counter) = map.next_entry()? {
                    counters.push(counter);
                }
                Ok(Counters(counters))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// An answer as it travels, or why there is none.
pub fn encode<A: Serialize>(answer: &Result<A, String>) -> Vec<u8> {
    let encoded = match answer {
        Ok(answer) => serde_json::to_vec(answer),
        Err(why) => serde_json::to_vec(&Refusal { error: why.clone() }),
    };
    // Only a map whose keys are no texts cannot be written.
    encoded.unwrap_or_default()
}

/// What [`encode`] wrote; the outer error where it is of another form.
pub fn decode<A: DeserializeOwned>(answer: &[u8]) -> serde_json::Result<Result<A, String>> {
    match serde_json::from_slice::<Refusal>(answer) {
        Ok(Refusal { error }) => Ok(Err(error)),
        Err(_) => serde_json::from_slice(answer).map(Ok),
    }
}

#[cfg(test)]
mod tests;
