//! Hosts that get files: a unit whose tree can be made goes to one of them, without a preprocessor run.

use crate::look_up::publish;
use crate::make::compiled::Compiled;
use crate::make::elsewhere::{Doubt, Elsewhere, Instead};
use crate::make::sendable::{self, StaysHere};
use crate::make::start::Start;
use crate::make::tree::{self, Output, Prepared};
use crate::serve::active::Stage;
use crate::serve::conversation::Conversation;
use crate::serve::runtime::wait;
use crate::understand::compilers::Stop;
use crate::understand::unit::Unit;
use crate::{Cache, Daemon, lock};
use cache::entry::{Entry, Part};
use cache::facts::Maker;
use compiler::depfile;
use compiler::file_memo::Presence;
use compiler::invocation::{Phase, Way};
use compiler::object;
use compiler::outcome::Counter;
use compiler::part::PartKind;
use compiler::search::SearchPath;
use config::host_list::{Endpoint, Host};
use identify::wire_identity;
use remote::reapi::client::{Client, Credentials, Done, Trouble};
use remote::reapi::engines::{Lease, Turn, Wish};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use talk::launcher_protocol::PRINTED_BYTES_MAX;
use talk::party::Party;

/// Hosts that may fail one unit.
const ATTEMPTS_MAX: usize = 3;

/// A file with a certificate, a key or a token.
const CREDENTIAL_BYTES_MAX: u64 = 1 << 20;

/// How an rcache worker is called among the kinds of hosts.
const OUR_WORKER: &str = "rcache ";

/// A host that gets no files is asked once more after this long.
const ASKED_AGAIN: Duration = Duration::from_secs(300);

/// Hosts that are remembered; far more than any list names.
const UPGRADES_MAX: usize = 2_000;

/// How a locale without translations is called.
const PLAIN_LOCALES: [&str; 5] = ["", "C", "POSIX", "C.UTF-8", "C.utf8"];

/// What came of the attempt to send files.
pub enum Sent<'d> {
    /// It has a result, or is to be compiled here.
    Settled(Box<Elsewhere<'d>>),
    /// No host took it as files; it may go as text. Why it stays where it does not.
    NotAsFiles(Option<StaysHere>),
}

/// What is known of hosts in distcc's syntax: a worker of ours speaks REAPI on the same port.
#[derive(Default)]
pub struct Upgrades(Mutex<HashMap<(String, u16), Upgrade>>);

#[derive(Clone, Copy)]
enum Upgrade {
    /// It is being asked, or did not say so when it was.
    Asked(Instant),
    /// It does.
    Speaks,
}

impl Upgrades {
    /// Whether a host gets files; where that is not known, it is asked behind the builds' backs.
    fn speak(self: &Arc<Upgrades>, daemon: &Daemon, name: &str, port: u16) -> bool {
        let key = (name.to_owned(), port);
        match lock(&self.0).get(&key) {
            Some(Upgrade::Speaks) => return true,
            Some(Upgrade::Asked(at)) if at.elapsed() < ASKED_AGAIN => return false,
            _ => {}
        }
        let Ok(addresses) = daemon.fleet.known_addresses(name, port) else { return false };
        let (Some(place), Ok(handle)) = (addresses.first().copied(), daemon.runtime.handle())
        else {
            return false;
        };
        let mut known = lock(&self.0);
        if known.len() >= UPGRADES_MAX {
            known.clear();
        }
        known.insert(key.clone(), Upgrade::Asked(Instant::now()));
        drop(known);
        let upgrades = Arc::clone(self);
        let _entered = handle.enter();
        let endpoint = Endpoint::new(name, port);
        let Ok(client) = Client::new(&endpoint, place, &Credentials::default()) else {
            return false;
        };
        handle.spawn(async move {
            if client.ask_abilities().await.is_ok() {
                lock(&upgrades.0).insert(key, Upgrade::Speaks);
            }
        });
        false
    }
}

/// The hosts of a list that get files, but for those that are marked as down.
fn endpoints(daemon: &Daemon, unit: &Unit) -> Vec<Endpoint> {
    let hosts = &unit.config.hosts;
    let any_tcp = hosts.hosts.iter().any(|host| matches!(host, Host::Tcp { .. }));
    let known = if any_tcp { daemon.fleet.report(hosts) } else { Vec::new() };
    // Nothing else would ever ask a host of units that no text can stand for.
    let has_no_text = std::cell::OnceCell::new();
    let has_no_text = || *has_no_text.get_or_init(|| sendable::stays_here(unit).is_some());
    let is_ours = |name: &str| {
        known.iter().any(|state| {
            state.host.starts_with(name)
                && match state.kind.as_deref() {
                    Some(kind) => kind.starts_with(OUR_WORKER),
                    None => has_no_text(),
                }
        })
    };
    let found = hosts.hosts.iter().filter_map(|host| match host {
        Host::Grpc(endpoint) if !endpoint.down => Some(endpoint.as_ref().clone()),
        Host::Tcp { name, port, slots, down: false, .. }
            if is_ours(&host.to_string()) && daemon.upgrades.speak(daemon, name, *port) =>
        {
            Some(Endpoint { slots: *slots, ..Endpoint::new(name, *port) })
        }
        _ => None,
    });
    found.collect()
}

/// Each address of them, with what it asks for.
fn wishes(
    daemon: &Daemon,
    unit: &Unit,
    still_waiting: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<Vec<Wish>> {
    let mut wishes = Vec::new();
    for endpoint in endpoints(daemon, unit) {
        for place in daemon.fleet.addresses(&endpoint.name, endpoint.port, still_waiting)? {
            let credentials = credentials(unit, &endpoint);
            wishes.push(Wish { endpoint: endpoint.clone(), place, credentials });
        }
    }
    Ok(wishes)
}

/// Whether some of them could do a job now.
pub fn have_hope(daemon: &Daemon, unit: &Unit) -> bool {
    let compiler = &wire_identity(&unit.compiler).digest;
    endpoints(daemon, unit).into_iter().any(|endpoint| {
        let known = daemon.fleet.known_addresses(&endpoint.name, endpoint.port);
        let Ok(places) = known else { return false };
        let wishes = places.into_iter().map(|place| Wish {
            credentials: credentials(unit, &endpoint),
            endpoint: endpoint.clone(),
            place,
        });
        let wishes: Vec<Wish> = wishes.collect();
        wishes.is_empty() || daemon.engines.has_hope(&wishes, compiler)
    })
}

fn credentials(unit: &Unit, endpoint: &Endpoint) -> Result<Credentials, String> {
    let variable = |name: &str| unit.environment.get(name).and_then(|value| value.to_str());
    credentials_of(endpoint, &variable)
}

/// Reads what a server asks for; `variable` finds a variable of the caller.
pub fn credentials_of<'e>(
    endpoint: &Endpoint,
    variable: &dyn Fn(&str) -> Option<&'e str>,
) -> Result<Credentials, String> {
    let read = |path: &Option<PathBuf>| path.as_ref().map(read_credential).transpose();
    let identity = match (read(&endpoint.certificate)?, read(&endpoint.key)?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => None,
    };
    let token = match (&endpoint.token_env, read(&endpoint.token_file)?) {
        (Some(name), _) => Some(variable(name).ok_or_else(|| format!("{name} is not set"))?.into()),
        (None, Some(bytes)) => {
            Some(String::from_utf8(bytes).map_err(|_| "the token is no text".to_owned())?)
        }
        (None, None) => None,
    };
    let token = token.map(|token: String| token.trim().to_owned());
    Ok(Credentials { authorities: read(&endpoint.ca)?, identity, token })
}

fn read_credential(path: &PathBuf) -> Result<Vec<u8>, String> {
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    let length = std::fs::metadata(path).map_err(named)?.len();
    if length > CREDENTIAL_BYTES_MAX {
        return Err(format!("{} is too large", path.display()));
    }
    std::fs::read(path).map_err(named)
}

/// Sends a unit as files, which nothing that is known of the call forbids.
pub fn compile<'d>(
    daemon: &'d Daemon,
    conversation: &mut Conversation,
    cache: &Cache,
    unit: &Unit,
    search: Option<Arc<SearchPath>>,
) -> Result<Sent<'d>, Stop> {
    let start = Start::before(unit);
    let prepared = match tree::make(daemon, conversation, cache, unit, search.as_deref())? {
        Ok(prepared) => prepared,
        Err(why) => return Ok(Sent::NotAsFiles(Some(why))),
    };
    let job = Job { daemon, cache, unit, prepared: &prepared, start, search };
    job.run(conversation)
}

/// A unit that is compiled here after all.
fn here<'d>(doubt: Option<Doubt>) -> Sent<'d> {
    Sent::Settled(Box::new(Elsewhere::Here(Instead::doubting(doubt))))
}

/// What an action made.
struct Made {
    parts: Vec<Part>,
    /// That the compiler read, where they are listed.
    files: Option<Vec<PathBuf>>,
    /// That the assembler read or named.
    assembler_files: Vec<PathBuf>,
}

/// A unit that can be sent.
struct Job<'d, 'j> {
    daemon: &'d Daemon,
    cache: &'j Cache,
    unit: &'j Unit<'j>,
    prepared: &'j Prepared,
    start: Start,
    search: Option<Arc<SearchPath>>,
}

impl<'d> Job<'d, '_> {
    /// Tries one host after another.
    fn run(self, conversation: &mut Conversation) -> Result<Sent<'d>, Stop> {
        let handle = match self.daemon.runtime.handle() {
            Ok(handle) => handle,
            Err(why) => {
                tracing::error!("no runtime: {why}");
                return Ok(Sent::NotAsFiles(None));
            }
        };
        let _entered = handle.enter();
        let compiler = wire_identity(&self.unit.compiler).digest;
        let wishes = wishes(self.daemon, self.unit, &mut || conversation.still_waiting())?;
        let mut excluded = Vec::new();
        let mut reason = None;
        let started = Instant::now();
        while excluded.len() < ATTEMPTS_MAX {
            self.unit.progress.at(Stage::Waiting);
            let mut still_waiting = || conversation.still_waiting();
            let engines = &self.daemon.engines;
            let lease = match engines.take(&wishes, &compiler, &excluded, &mut still_waiting)? {
                Turn::Slot(lease) => lease,
                Turn::Nobody(why) => {
                    tracing::info!(why, "no host takes files");
                    break;
                }
            };
            excluded.push(lease.engine.place());
            self.unit.progress.at(Stage::Host(lease.engine.endpoint().to_string()));
            match self.attempt(conversation, &lease)? {
                Ok(Ok(done)) => return self.settle(conversation, lease, done, started),
                Ok(Err(why)) => reason = Some(why),
                Err(trouble) => {
                    tracing::warn!("{}: {trouble}", lease.engine.endpoint());
                    lease.failed(&trouble, &compiler);
                    if !matches!(trouble, Trouble::OtherCompiler) {
                        self.cache.counts.add(Counter::RemoteFailed);
                    }
                }
            }
        }
        Ok(Sent::NotAsFiles(reason))
    }

    /// One host.
    fn attempt(
        &self,
        conversation: &mut Conversation,
        lease: &Lease,
    ) -> Result<Result<Result<Done, StaysHere>, Trouble>, Stop> {
        let Ok(handle) = self.daemon.runtime.handle() else {
            return Ok(Err(Trouble::Failed("no runtime".to_owned())));
        };
        let mut still_waiting = || conversation.still_waiting();
        let engine = Arc::clone(&lease.engine);
        let asked = async move { engine.client.abilities().await };
        let abilities = match wait(handle, asked, &mut still_waiting)? {
            Ok(abilities) => abilities,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let endpoint = lease.engine.endpoint();
        let task = match self.prepared.task(self.daemon, self.unit, abilities, endpoint) {
            Ok(task) => task,
            Err(why) => return Ok(Ok(Err(why))),
        };
        let engine = Arc::clone(&lease.engine);
        let run = async move { engine.client.run(&task).await };
        Ok(wait(handle, run, &mut still_waiting)?.map(Ok))
    }

    /// A host has done it: what it gave counts, or it is compiled here.
    fn settle(
        self,
        conversation: &mut Conversation,
        lease: Lease,
        done: Done,
        started: Instant,
    ) -> Result<Sent<'d>, Stop> {
        if done.exit_code != 0 {
            // The compiler's own words come from a compile here.
            self.daemon.memory.note_failed_as_files(self.unit);
            self.cache.counts.add(Counter::RemoteFailed);
            let text = String::from_utf8_lossy(&done.stderr);
            let said = text.lines().next().unwrap_or_default().to_owned();
            tracing::info!(status = done.exit_code, said, "compiled again here");
            let doubt = Some(Doubt::OfEngine(Arc::clone(&lease.engine), said));
            return Ok(here(doubt));
        }
        let Some(Made { parts, files, assembler_files }) = self.made(&done) else {
            self.daemon.memory.note_failed_as_files(self.unit);
            self.cache.counts.add(Counter::RemoteFailed);
            tracing::info!("compiled again here: an output is missing, or what is printed differs");
            return Ok(here(None));
        };
        let entry = Entry { parts };
        let whole = publish::prepare(self.unit, &entry).map_err(publish::not_delivered)?;
        publish::publish(conversation, self.unit, whole)?;
        lease.succeeded();
        self.cache.counts.add(Counter::RemoteCompile);
        self.cache.counts.add(Counter::SentAsFiles);
        let wall = started.elapsed();
        self.cache.counts.add_compile_time(wall);
        let (source, sent_bytes) = (self.unit.invocation.source.display(), done.sent_bytes);
        tracing::info!(%source, sent_bytes, cached = done.cached, "compiled as files");
        Ok(Sent::Settled(Box::new(Elsewhere::Compiled(Compiled {
            parts: entry.parts,
            large: Vec::new(),
            wall,
            maker: Maker::Elsewhere,
            start: self.start,
            search: self.search,
            files,
            assembler_files,
        }))))
    }

    /// What the action made. `None` where something is missing, or would be printed or read in another way here.
    fn made(&self, done: &Done) -> Option<Made> {
        let unit = self.unit;
        let printed = done.stdout.len() + done.stderr.len();
        if printed > PRINTED_BYTES_MAX || printed > 0 && !self.prints_the_same() {
            return None;
        }
        let (mut parts, mut rule, mut assembler_files) = (Vec::new(), None, Vec::new());
        for (path, output) in self.prepared.outputs() {
            let bytes = done.outputs.get(path)?;
            match output {
                Output::Files => rule = Some(bytes.to_vec()),
                Output::Assembled => assembler_files = depfile::inputs(bytes)?,
                Output::Part(PartKind::Depfile) => {
                    let stored = unit.own_rule(bytes, Way::ToStore)?;
                    let depfile = unit.invocation.depfile.as_ref();
                    if depfile.is_some_and(|depfile| depfile.system_headers) {
                        rule = Some(stored.clone());
                    }
                    parts.push(Part { kind: PartKind::Depfile, bytes: stored });
                }
                Output::Part(kind) => parts.push(Part { kind: *kind, bytes: bytes.to_vec() }),
            }
        }
        let phase = unit.invocation.phase;
        let object = parts.iter().find(|part| part.kind == PartKind::Object);
        let is_whole = |part: &Part| object::is_whole(&part.bytes, phase);
        if phase == Phase::Object && !object.is_some_and(is_whole) {
            return None;
        }
        for (kind, bytes) in [(PartKind::Stdout, &done.stdout), (PartKind::Stderr, &done.stderr)] {
            if !bytes.is_empty() {
                parts.push(Part { kind, bytes: bytes.to_vec() });
            }
        }
        let mut files = match rule {
            Some(rule) => Some(depfile::inputs(&rule)?),
            None if !unit.invocation.language.is_preprocessed_by_the_compiler() => Some(Vec::new()),
            None => None,
        };
        if let Some(files) = &mut files {
            files.retain(|path| *path != unit.invocation.source);
        }
        let known = |path: &PathBuf| {
            *path == unit.invocation.source
                || files.as_ref().is_some_and(|files| files.contains(path))
        };
        let is_same = |path: &PathBuf| match unit.here.presence(path) {
            // The assembler's own input, or a mere name.
            Presence::Absent => true,
            _ => known(path) && self.is_found_first(path),
        };
        let same = assembler_files.iter().all(is_same);
        same.then_some(Made { parts, files, assembler_files })
    }

    /// Whether the assembler here would find no other file under a name that led it to this one.
    fn is_found_first(&self, path: &Path) -> bool {
        let folders = self.unit.invocation.assembler_folders();
        folders.iter().enumerate().all(|(index, folder)| {
            let Ok(name) = path.strip_prefix(folder) else { return true };
            let earlier = folders[..index].iter().map(|earlier| earlier.join(name));
            let mut earlier = earlier.chain([name.to_owned()]);
            earlier.all(|earlier| self.unit.here.presence(&earlier) == Presence::Absent)
        })
    }

    /// Whether diagnostics look as they would here: no terminal, no translation, and all that is quoted is in
    /// the tree.
    fn prints_the_same(&self) -> bool {
        let unit = self.unit;
        let is_plain = |name: &str| {
            let value = unit.environment.get(name).map(|value| value.to_string_lossy());
            value.is_none_or(|value| PLAIN_LOCALES.contains(&value.as_ref()))
        };
        let locale = ["LC_ALL", "LC_MESSAGES", "LC_CTYPE", "LANG"].into_iter().all(is_plain);
        locale
            && unit.environment.get("LANGUAGE").is_none()
            && !unit.call.terminal.stderr
            && !self.prepared.may_quote_unknown()
    }
}
