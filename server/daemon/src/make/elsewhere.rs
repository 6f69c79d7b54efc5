//! A unit that was not found is compiled by a host of the cluster, where that gives the same.

use crate::look_up::publish;
use crate::make::compiled::{Compiled, Listed};
use crate::make::engines::{self, Sent};
use crate::make::sendable::{self, Sendable, StaysHere};
use crate::make::text::Text;
use crate::make::toolchain::{Here, Toolchain, Trials};
use crate::make::tree;
use crate::serve::active::Stage;
use crate::serve::conversation::Conversation;
use crate::understand::compilers::{Stop, driver_name};
use crate::understand::unit::Unit;
use crate::{Cache, Compile, Daemon, lock};
use cache::entry::{Entry, Part, PartKind};
use cache::facts::Maker;
use compiler::hasher::{Digest, KeyHasher, KeySink};
use compiler::invocation::{Family, Phase, Way};
use compiler::object;
use compiler::outcome::{Counter, Uncacheable};
use compiler::search::SearchPath;
use config::host_list::Host;
use identify::wire_identity;
use remote::fleet::{Order, Origin, Outcome, Slot};
use remote::protocol::request;
use remote::reapi::engines::Engine;
use remote::{Customer, Job, Reply, Trial};
use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use talk::launcher_protocol::PRINTED_BYTES_MAX;
use talk::party::{Party, Process};

/// Units that are known to print something; one that is forgotten is compiled twice.
const CHATTY_MAX: usize = 50_000;

/// What the daemon remembers of compiles elsewhere, besides the hosts themselves.
#[derive(Default)]
pub struct Memory {
    /// Units, by source and compiler, whose compile printed something: their text has to come
    /// from a compile here, which can quote the source.
    chatty: Mutex<HashSet<Digest>>,
    /// Units that did not end as here when they were sent as files.
    failed_as_files: Mutex<HashSet<Digest>>,
    /// What this machine's compilers make of the trial unit.
    pub trials: Trials,
}

/// What came of the attempt to compile elsewhere.
pub enum Elsewhere<'f> {
    /// It is done; the files are in their places.
    Compiled(Compiled),
    /// It is to be compiled here.
    Here(Instead<'f>),
}

/// A host whose compile failed, and what it said.
pub enum Doubt {
    /// One that got a text.
    OfHost(Origin, String),
    /// One that got files.
    OfEngine(Arc<Engine>, String),
}

/// Why a unit is compiled here after all.
#[derive(Default)]
pub struct Instead<'f> {
    /// A slot of the host list (`localhost`), to be held meanwhile.
    slot: Option<Slot<'f>>,
    /// The host whose compile failed, and what it said.
    doubt: Option<Doubt>,
    /// From the text that was made for a host.
    pub listed: Option<Listed>,
}

impl Instead<'_> {
    /// A host failed, perhaps.
    pub fn doubting(doubt: Option<Doubt>) -> Instead<'static> {
        Instead { doubt, ..Instead::default() }
    }

    /// Gives its slot back where the launcher does not go on: others wait for it.
    pub fn look(&mut self, process: Process) {
        if self.slot.is_some() && process.is_held_up() {
            self.slot = None;
        }
    }

    /// The compile here succeeded.
    pub fn succeeded(self, daemon: &Daemon) {
        let Instead { slot, doubt, .. } = self;
        drop(slot);
        let why = |said| format!("its compile failed, and succeeded on this machine: {said}");
        match doubt {
            Some(Doubt::OfHost(origin, said)) => {
                tracing::warn!("{origin:?}: {}", why(&said));
                daemon.fleet.contradicted(origin, &why(&said));
            }
            Some(Doubt::OfEngine(engine, said)) => {
                tracing::warn!("{}: {}", engine.endpoint(), why(&said));
                engine.contradicted();
            }
            None => {}
        }
    }
}

/// Whether the unit can go to a host at all, as far as that is known before it is preprocessed.
pub fn may_leave(daemon: &Daemon, cache: &Cache, unit: &Unit) -> bool {
    if may_leave_as_files(daemon, unit) {
        return true;
    }
    let why = match has_hope(daemon, unit) {
        true => stays_here(daemon, unit),
        // Nobody takes text.
        false => match engines::have_hope(daemon, unit) {
            true => not_as_files(daemon, unit),
            false => return false,
        },
    };
    if let Some(why) = &why {
        note_stay(cache, unit, why);
    }
    why.is_none()
}

/// What keeps a unit from leaving as files, as far as that is known of the call alone.
fn not_as_files(daemon: &Daemon, unit: &Unit) -> Option<StaysHere> {
    match daemon.memory.failed_as_files(unit) {
        true => Some(StaysHere("as files it did not end as here the last time".to_owned())),
        false => tree::stays_here(unit),
    }
}

fn may_leave_as_files(daemon: &Daemon, unit: &Unit) -> bool {
    engines::have_hope(daemon, unit) && not_as_files(daemon, unit).is_none()
}

/// The same in words; `None` without hosts.
pub fn outlook(
    daemon: &Daemon,
    conversation: &mut Conversation,
    cache: &Cache,
    unit: &Unit,
    search: Option<&SearchPath>,
) -> Result<Option<String>, Stop> {
    let hosts = &unit.config.hosts.hosts;
    if !hosts.iter().any(|host| !matches!(host, Host::Local { .. })) {
        return Ok(None);
    }
    let mut kept = None;
    if engines::have_hope(daemon, unit) {
        let why = match not_as_files(daemon, unit) {
            None => tree::make(daemon, conversation, cache, unit, search)?.err(),
            why => why,
        };
        match why {
            None => return Ok(Some("a host of the cluster would compile it, as files".to_owned())),
            Some(StaysHere(why)) => kept = Some(why),
        }
    }
    let not_as_files = kept.as_ref().map(|why| format!(" (not as files: {why})"));
    let not_as_files = not_as_files.unwrap_or_default();
    Ok(Some(match (has_hope(daemon, unit), kept) {
        (true, _) => match stays_here(daemon, unit) {
            Some(StaysHere(why)) => {
                format!("it would be compiled on this machine: {why}{not_as_files}")
            }
            None => format!("a host of the cluster would compile it, as text{not_as_files}"),
        },
        (false, Some(why)) => format!("it would be compiled on this machine: {why}"),
        (false, None) => "no host of the cluster can be used now: see `rcache hosts`".to_owned(),
    }))
}

fn has_hope(daemon: &Daemon, unit: &Unit) -> bool {
    daemon.fleet.has_hope(&unit.config.hosts, &wire_identity(&unit.compiler).digest)
}

fn stays_here(daemon: &Daemon, unit: &Unit) -> Option<StaysHere> {
    match daemon.memory.is_chatty(unit) {
        true => Some(StaysHere("it printed something the last time".to_owned())),
        false => sendable::stays_here(unit),
    }
}

fn note_stay(cache: &Cache, unit: &Unit, StaysHere(why): &StaysHere) {
    tracing::info!(source = %unit.invocation.source.display(), why, "stays here");
    cache.counts.add_uncacheable(&Uncacheable::new(Counter::StayedHere, why));
}

/// Has a unit that may leave compiled by a host of its list: as files, else as text.
pub fn compile<'d>(
    compile: &mut Compile<'d, '_>,
    text: Option<&mut Text>,
    search: Option<Arc<SearchPath>>,
) -> Result<Elsewhere<'d>, Stop> {
    let mut why = None;
    {
        let Compile { daemon, conversation, cache, unit } = compile;
        if may_leave_as_files(daemon, unit) {
            match engines::compile(daemon, conversation, cache, unit, search.clone())? {
                Sent::Settled(place) => return Ok(*place),
                Sent::NotAsFiles(reason) => why = reason,
            }
        }
    }
    let Compile { daemon, cache, unit, .. } = compile;
    let stays = match has_hope(daemon, unit) {
        true => stays_here(daemon, unit),
        // There is nobody who takes text.
        false => match why {
            Some(why) => Some(why),
            None => return Ok(Elsewhere::Here(Instead::default())),
        },
    };
    if let Some(why) = stays {
        note_stay(cache, unit, &why);
        return Ok(Elsewhere::Here(Instead::default()));
    }
    compile_as_text(compile, text, search)
}

fn compile_as_text<'d>(
    compile: &mut Compile<'d, '_>,
    text: Option<&mut Text>,
    search: Option<Arc<SearchPath>>,
) -> Result<Elsewhere<'d>, Stop> {
    let made = sendable::make(compile, text)?;
    let Compile { daemon, conversation, cache, unit } = compile;
    let (daemon, cache, unit): (&'d Daemon, &Cache, &Unit) = (daemon, cache, unit);
    let hosts = &unit.config.hosts;
    let sendable = match made {
        Ok(sendable) => sendable,
        Err(why) => {
            note_stay(cache, unit, &why);
            return Ok(Elsewhere::Here(Instead::default()));
        }
    };
    let (job, sendable) = job(unit, sendable);
    if let Err(why) = request::check(&job) {
        note_stay(cache, unit, &StaysHere(why.to_string()));
        return Ok(Elsewhere::Here(Instead::default()));
    }
    let toolchain = Toolchain::of(unit);
    let (identity, identify) = (toolchain.identity(), toolchain.identify_words());
    let order = Order {
        hosts,
        job: &job,
        compiler: &identity,
        identify: &identify,
        timeout: unit.config.remote_timeout,
    };
    let started = Instant::now();
    let here = |slot, doubt, sendable: Sendable| {
        let Sendable { files, start, .. } = sendable;
        Elsewhere::Here(Instead { slot, doubt, listed: Some(Listed { files, start }) })
    };
    let mut customer = Waiting { daemon, conversation, cache, unit };
    match daemon.fleet.compile(order, &mut customer) {
        Outcome::Gone(error) => Err(Stop::Gone(error)),
        Outcome::Here(slot) => Ok(here(Some(slot), None, sendable)),
        Outcome::Nobody { why, attempts } => {
            tracing::info!(why, attempts, "no host compiled it");
            if attempts > 0 {
                cache.counts.add(Counter::RemoteFailed);
            }
            Ok(here(None, None, sendable))
        }
        Outcome::Replied(reply, origin) if !is_acceptable(unit, &reply) => {
            // The compiler's own words, with the lines that it quotes, come from a compile here.
            daemon.memory.note_chatty(unit);
            cache.counts.add(Counter::RemoteFailed);
            tracing::info!(status = reply.status, "compiled again here for what it prints");
            let text = String::from_utf8_lossy(&reply.stderr);
            let said = text.lines().next().unwrap_or_default().to_owned();
            let doubt = (reply.status != 0).then_some(Doubt::OfHost(origin, said));
            Ok(here(None, doubt, sendable))
        }
        Outcome::Replied(reply, _) => {
            let compiled = accept(customer.conversation, unit, reply, sendable, search, started)?;
            cache.counts.add(Counter::RemoteCompile);
            cache.counts.add(Counter::SentAsText);
            cache.counts.add_compile_time(compiled.wall);
            Ok(Elsewhere::Compiled(compiled))
        }
    }
}

/// Whether a reply is all that a compile here would give. gcc opens the source again to quote it,
/// and does not find it there. clang quotes from its text (`lib/Frontend/TextDiagnostic.cpp`), whose
/// lines are the source's, except for the macros that were put before it.
fn is_acceptable(unit: &Unit, reply: &Reply) -> bool {
    if reply.status != 0 || !reply.stdout.is_empty() || reply.stderr.len() > PRINTED_BYTES_MAX {
        return false;
    }
    let looks_the_same =
        !unit.call.terminal.stderr && unit.call.caller.variable("CLICOLOR_FORCE").is_none();
    let names_no_macro_of_ours = || {
        let names = [&b"<built-in>"[..], b"<command line>", b"rcache."];
        names.iter().all(|name| memchr::memmem::find(&reply.stderr, name).is_none())
    };
    reply.stderr.is_empty()
        || unit.compiler.banner.family == Family::Clang
            && looks_the_same
            && names_no_macro_of_ours()
}

/// Puts the files in their places.
fn accept(
    conversation: &Conversation,
    unit: &Unit,
    reply: Reply,
    sendable: Sendable,
    search: Option<Arc<SearchPath>>,
    started: Instant,
) -> Result<Compiled, Stop> {
    let mut parts = vec![Part { kind: PartKind::Object, bytes: reply.output }];
    if let Some(rule) = sendable.rule {
        let bytes = unit.own_rule(&rule, Way::ToStore);
        let bytes =
            bytes.ok_or_else(|| publish::not_delivered(io::ErrorKind::InvalidData.into()))?;
        parts.push(Part { kind: PartKind::Depfile, bytes });
    }
    if !reply.stderr.is_empty() {
        parts.push(Part { kind: PartKind::Stderr, bytes: reply.stderr });
    }
    let entry = Entry { parts };
    let whole = publish::prepare(unit, &entry).map_err(publish::not_delivered)?;
    publish::publish(conversation, unit, whole)?;
    Ok(Compiled {
        parts: entry.parts,
        large: Vec::new(),
        wall: started.elapsed(),
        maker: Maker::Elsewhere,
        start: sendable.start,
        search,
        files: Some(sendable.files),
        assembler_files: Vec::new(),
    })
}

/// The job; what is left of the text besides it comes back. The source stands first: a stock distccd
/// takes the first word with the end of a source's name for it.
fn job(unit: &Unit, mut sendable: Sendable) -> (Job, Sendable) {
    let invocation = &unit.invocation;
    let (phase, output) = match invocation.phase {
        Phase::Assembly => ("-S", "rcache.s"),
        _ => ("-c", "rcache.o"),
    };
    let mut words = vec![
        driver_name(&unit.call.compiler).to_owned(),
        sendable::file_name(invocation.language).into(),
    ];
    words.append(&mut sendable.options);
    words.extend(invocation.remote_arguments(&unit.compiler.banner.target_options));
    words.extend([phase, "-o", output].map(OsString::from));
    let arguments = words.into_iter().map(OsString::into_vec).collect();
    let source = std::mem::take(&mut sendable.text);
    (Job { arguments, source }, sendable)
}

/// The launcher that waits for a unit.
struct Waiting<'a> {
    daemon: &'a Daemon,
    conversation: &'a mut Conversation,
    cache: &'a Cache,
    unit: &'a Unit<'a>,
}

impl Customer for Waiting<'_> {
    fn still_waiting(&mut self) -> io::Result<()> {
        self.conversation.still_waiting()
    }

    fn trial(&mut self) -> io::Result<Option<Arc<Trial>>> {
        let unit = self.unit;
        let toolchain = Toolchain::of(unit);
        let here =
            Here { daemon: self.daemon, cache: self.cache, slots: unit.config.compile_slots() };
        toolchain.trial(&here, self.conversation)
    }

    fn placed(&mut self, host: Option<&str>) {
        let stage = host.map_or(Stage::Waiting, |host| Stage::Host(host.to_owned()));
        self.unit.progress.at(stage);
    }

    fn is_whole(&self, reply: &Reply) -> bool {
        object::is_whole(&reply.output, self.unit.invocation.phase)
    }
}

fn chatty_key(unit: &Unit) -> Digest {
    let mut hasher = KeyHasher::new("rcache chatty 1");
    hasher.field("source", &unit.source_name().0);
    hasher.field("compiler", &unit.compiler.digest.0);
    hasher.finish()
}

impl Memory {
    /// Whether the unit did not end as here when it was sent as files.
    pub fn failed_as_files(&self, unit: &Unit) -> bool {
        lock(&self.failed_as_files).contains(&chatty_key(unit))
    }

    /// The next time it stays, or goes as text.
    pub fn note_failed_as_files(&self, unit: &Unit) {
        let mut failed = lock(&self.failed_as_files);
        if failed.len() >= CHATTY_MAX {
            failed.clear();
        }
        failed.insert(chatty_key(unit));
    }

    fn is_chatty(&self, unit: &Unit) -> bool {
        lock(&self.chatty).contains(&chatty_key(unit))
    }

    fn note_chatty(&self, unit: &Unit) {
        let mut chatty = lock(&self.chatty);
        if chatty.len() >= CHATTY_MAX {
            chatty.clear();
        }
        chatty.insert(chatty_key(unit));
    }

    /// A compile here printed nothing: the next one may be elsewhere.
    pub fn note_silent(&self, unit: &Unit) {
        lock(&self.chatty).remove(&chatty_key(unit));
        lock(&self.failed_as_files).remove(&chatty_key(unit));
    }
}
