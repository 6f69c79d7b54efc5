//! The heart: one compile, step by step, from the call to the remembered result.

use crate::look_up::publish;
use crate::look_up::{self, Found, Known};
use crate::make::compiled::Compiled;
use crate::make::elsewhere::{self, Elsewhere, Instead};
use crate::make::local_slots::Purpose;
use crate::make::start::Start;
use crate::make::text::{self, Text};
use crate::remember::changes;
use crate::remember::precompiled;
use crate::remember::{self, Judged};
use crate::serve::active::Stage;
use crate::serve::conversation::{Captured, Conversation};
use crate::understand::compilers::Stop;
use crate::understand::day::Shown;
use crate::understand::unit::{Call, Unit};
use crate::{Cache, Compile, Daemon, shared_tier, verify};
use cache::entry::PartKind;
use cache::facts::Maker;
use compiler::hasher::Digest;
use compiler::invocation::{Family, Phase};
use compiler::outcome::{Counter, Uncacheable};
use compiler::search::SearchPath;
use config::{Config, Environment};
use identify::in_flight::{Ticket, Turn};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use talk::launcher_protocol::{Run, ToLauncher, descriptor_mark};

/// What the compiler complains about where it cannot open the descriptors that we gave it.
const DESCRIPTOR_FOLDER: &[u8] = b"/proc/self/fd/";

/// What clang adds where it removes its outputs after a crash, and one is a descriptor of ours.
const NOT_REMOVED: &[u8] = b"unable to remove file";

/// Serves one call. An error means that the launcher is gone.
pub fn serve(daemon: &Arc<Daemon>, conversation: &mut Conversation, call: &Call) -> io::Result<()> {
    let found = daemon.settings.find(&Environment::new(&call.caller.environment));
    let config = &found.loaded.config;
    if found.fresh {
        for problem in &found.loaded.problems {
            conversation.send(&ToLauncher::Warning(format!("rcache: {problem}")))?;
        }
        for (name, why) in config.sloppiness.without_effect() {
            tracing::warn!("sloppiness {name} changes nothing: {why}");
        }
    }
    let Ok(cache) = daemon.cache(config) else {
        return conversation.send(&ToLauncher::StepAside);
    };
    match steps(daemon, conversation, call, config, &cache) {
        Ok(Served::Compiled) => Ok(()),
        Ok(Served::FromStore) => {
            verify::consider(daemon, &cache, call, &found.loaded);
            Ok(())
        }
        Err(Stop::Gone(error)) => Err(error),
        Err(Stop::CompileFailed) => {
            cache.counts.add(Counter::CompileFailed);
            Ok(())
        }
        Err(Stop::Uncacheable(reason)) => {
            tracing::info!(counter = reason.counter.name(), detail = reason.detail, "step aside");
            cache.counts.add_uncacheable(&reason);
            conversation.send(&ToLauncher::StepAside)
        }
    }
}

/// How a call was served.
enum Served {
    FromStore,
    Compiled,
}

/// What the direct lookup found.
enum Direct<'a> {
    Hit(Found),
    /// What is known under the source key, and the right to compile the unit while others wait for it.
    Miss(Known, Option<Ticket<'a>>),
}

/// What a compile left behind, or why that is not stored, and the message that releases the launcher.
type Made = (Result<Compiled, Uncacheable>, ToLauncher);

fn steps(
    daemon: &Arc<Daemon>,
    conversation: &mut Conversation,
    call: &Call,
    config: &Config,
    cache: &Arc<Cache>,
) -> Result<Served, Stop> {
    if config.disable {
        return Err(Stop::Uncacheable(Counter::Disabled.into()));
    }
    // 1. What does the command mean, and which compiler is it?
    let mut unit = Unit::understand(daemon, conversation, call, config)?;
    unit.claim = daemon.writers.claim(&unit.here, &unit.outputs);
    let mut compile = Compile { daemon, conversation, cache, unit };
    let served = compile.steps();
    match &served {
        Ok(_) => publish::remove_leftovers(daemon, &compile.unit),
        Err(Stop::Uncacheable(_)) => compile.unit.claim.leave(),
        Err(_) => {}
    }
    served
}

impl<'a> Compile<'a, '_> {
    /// The steps after the first.
    fn steps(&mut self) -> Result<Served, Stop> {
        // 2. Are the source and all that it read, and all that it missed, as they were?
        // 3. Is somebody already compiling it?
        let (known, ticket) = match self.look_up()? {
            Direct::Hit(found) => {
                let served = self.serve_hit(found, Counter::DirectCacheHit)?;
                shared_tier::reshare(self.daemon, self.cache, &self.unit);
                return Ok(served);
            }
            Direct::Miss(known, ticket) => (known, ticket),
        };

        // 4. Has this text been compiled before?
        if let Err(error) = self.cache.store.make_folder() {
            tracing::debug!("{error}");
        }
        let search = remember::search_path(self.daemon, self.conversation, &self.unit)?;
        self.unit.newest_input = changes::newest_input(&self.unit, &known, search.as_deref());
        let may_leave = elsewhere::may_leave(self.daemon, self.cache, &self.unit);
        let mut text = None;
        if wants_text(&self.unit, &known) || is_silent(&self.unit) && !may_leave {
            let preprocessed = text::preprocess(self)?;
            if let Some(found) = self.look_up_text(&preprocessed) {
                return self.serve_text_hit(&preprocessed, found);
            }
            text = Some(preprocessed);
        }

        // 5. Compile, on a host of the cluster where that gives the same, else here.
        let place = match may_leave {
            true => elsewhere::compile(self, text.as_mut(), search.clone())?,
            false => Elsewhere::Here(Instead::default()),
        };
        let made = match place {
            Elsewhere::Compiled(compiled) => {
                let printed = |kind| compiled.part(kind).unwrap_or_default().to_vec();
                let (stdout, stderr) = (printed(PartKind::Stdout), printed(PartKind::Stderr));
                if compiled.files.is_none() && text.is_none() {
                    text = text::preprocess(self).ok();
                }
                (Ok(compiled), ToLauncher::Finished { status: 0, stdout, stderr })
            }
            Elsewhere::Here(instead) => self.compile_here(instead, &mut text, search)?,
        };

        // 6. Remember: judge before the launcher is released, store afterwards.
        self.remember(made, known, text, ticket)
    }

    /// Steps 2 and 3.
    fn look_up(&mut self) -> Result<Direct<'a>, Stop> {
        let active = &self.daemon.active;
        if self.unit.config.recache {
            self.unit.progress = active.enter(&self.unit.invocation.source);
            self.cache.counts.add(Counter::Recache);
            return Ok(Direct::Miss(Known::default(), None));
        }
        let is_local = !self.unit.config.remote_only;
        let mut first = Known::default();
        if is_local {
            let (known, found) = look_up::direct(self.daemon, self.cache, &self.unit);
            if let Some(found) = found {
                return Ok(Direct::Hit(found));
            }
            first = known;
        }
        let asked = shared_tier::ask(self.daemon, self.cache, &self.unit);
        self.unit.progress = active.enter(&self.unit.invocation.source);
        let differs = |begun| first.changed_since(&self.unit, begun);
        let turn = self.daemon.in_flight.join(self.unit.task(), self.conversation, differs)?;
        let ticket = match turn {
            Turn::First(taken) => Some(taken),
            Turn::LookAgain | Turn::Alone => None,
        };
        // Whoever compiled it before we had the ticket may just be done; or somebody elsewhere was.
        let fetch = |asked| shared_tier::fetch(self.daemon, self.cache, &self.unit, asked);
        let is_fetched = asked.is_some_and(fetch);
        let (second, found) = look_up::direct(self.daemon, self.cache, &self.unit);
        if let Some(found) = found.filter(|_| is_fetched || is_local) {
            return Ok(Direct::Hit(found));
        }
        self.cache.counts.add(Counter::DirectCacheMiss);
        let known = if second.is_seen { second } else { first };
        Ok(Direct::Miss(known, ticket))
    }

    /// The result of a text, with its name.
    fn look_up_text(&self, text: &Text) -> Option<(Digest, Found)> {
        if self.unit.config.recache {
            return None;
        }
        let load = |key| look_up::load_result(self.daemon, self.cache, &self.unit, key);
        let mut keys = [text.key, text.exact_key].into_iter().flatten();
        let found = keys.find_map(|key| Some((key, load(key)?)));
        if found.is_none() {
            self.cache.counts.add(Counter::PreprocessedCacheMiss);
        }
        found
    }

    /// Lets the launcher run the compiler.
    fn compile_here(
        &mut self,
        mut instead: Instead,
        text: &mut Option<Text>,
        search: Option<Arc<SearchPath>>,
    ) -> Result<Made, Stop> {
        let listed = instead.listed.take();
        if is_silent(&self.unit) && text.is_none() && listed.is_none() {
            *text = Some(text::preprocess(self)?);
        }
        let Compile { daemon, conversation, cache, unit } = self;
        let writer = unit.claim.begin();
        let start = Start::before(unit);
        let mut captured = run_compiler(daemon, conversation, cache, unit, &mut instead)?;
        if !captured.succeeded() {
            return Err(end_failed(conversation, &mut captured));
        }
        instead.succeeded(daemon);
        // All that the build may change as soon as the launcher is released.
        let store = &cache.store;
        let collected = Compiled::collect(unit, store, &mut captured, start, search, listed);
        let compiled = collected.and_then(|compiled| match writer.is_alone() {
            true => Ok(compiled),
            false => Err(Uncacheable::new(Counter::BadOutputFile, "written by two at once")),
        });
        Ok((compiled, ToLauncher::PrintRan))
    }

    /// Step 6.
    fn remember(
        &mut self,
        (compiled, ending): Made,
        known: Known,
        mut text: Option<Text>,
        ticket: Option<Ticket>,
    ) -> Result<Served, Stop> {
        self.unit.progress.at(Stage::Storing);
        let mut judged = judge(self.daemon, self.cache, &self.unit, &compiled, text.as_ref());
        if let Judged::ByText(needs) = &judged
            && text.is_none()
        {
            let is_final = needs.is_final;
            text = text::preprocess(self).ok();
            if !is_final {
                judged = judge(self.daemon, self.cache, &self.unit, &compiled, text.as_ref());
            }
        }
        let finishing = self.daemon.finishing.begin();
        // Who uses a precompiled header may be compiled as soon as it is there.
        if self.daemon.may_end_with_launcher() || precompiled::is_made(&self.unit) {
            self.finish(known, text, compiled, judged, ticket);
            drop(finishing);
            self.daemon.settle(self.cache);
            self.conversation.send(&ending)?;
            return Ok(Served::Compiled);
        }
        let released = self.conversation.send(&ending);
        self.finish(known, text, compiled, judged, ticket);
        drop(finishing);
        released?;
        Ok(Served::Compiled)
    }

    fn serve_hit(&mut self, found: Found, counter: Counter) -> Result<Served, Stop> {
        let unit = &self.unit;
        let ready = found.and_then(|mut delivery| {
            let remarks = look_up::remarks(delivery.stored())?;
            precompiled::save_recipe_of(self.cache, delivery.stored());
            publish::own_rule(unit, &mut delivery)?;
            Ok((delivery.finish()?, remarks))
        });
        let (whole, remarks) = ready.map_err(publish::not_delivered)?;
        publish::publish(self.conversation, unit, whole)?;
        self.cache.counts.add(counter);
        self.cache.counts.add_time_saved(remarks.compile_time);
        self.daemon.settle(self.cache);
        self.conversation.send(&ToLauncher::Finished {
            status: 0,
            stdout: remarks.stdout,
            stderr: remarks.stderr,
        })?;
        tracing::info!(
            counter = counter.name(),
            source = %unit.invocation.source.display(),
            "served"
        );
        Ok(Served::FromStore)
    }

    /// Next time, the manifest is to lead to this result without preprocessing.
    fn serve_text_hit(
        &mut self,
        text: &Text,
        (key, found): (Digest, Found),
    ) -> Result<Served, Stop> {
        let search = remember::search_path(self.daemon, self.conversation, &self.unit)?;
        let served = self.serve_hit(found, Counter::PreprocessedCacheHit)?;
        if !self.unit.config.read_only {
            remember::link(self.daemon, self.cache, &self.unit, text, key, &search);
        }
        Ok(served)
    }

    /// Stores what may be stored, and counts where the call ended.
    fn finish(
        &self,
        known: Known,
        text: Option<Text>,
        compiled: Result<Compiled, Uncacheable>,
        judged: Judged,
        ticket: Option<Ticket>,
    ) {
        let unit = &self.unit;
        let stored = compiled.and_then(|compiled| match unit.config.read_only {
            true => Ok(()),
            false => {
                let known = (&known, text.as_ref());
                remember::store(self.daemon, self.cache, unit, known, compiled, judged)
            }
        });
        let source = unit.invocation.source.display();
        match stored {
            Ok(()) => {
                self.cache.counts.add(Counter::CacheMiss);
                if let Some(ticket) = ticket {
                    ticket.done();
                }
                tracing::info!(counter = Counter::CacheMiss.name(), %source, "compiled");
            }
            Err(reason) => {
                let counter = reason.counter.name();
                tracing::info!(counter, detail = reason.detail, %source, "compiled, not stored");
                self.cache.counts.add_uncacheable(&reason);
            }
        }
    }
}

fn judge(
    daemon: &Daemon,
    cache: &Cache,
    unit: &Unit,
    compiled: &Result<Compiled, Uncacheable>,
    text: Option<&Text>,
) -> Judged {
    match compiled {
        // The clock of another machine.
        Ok(compiled) if compiled.maker == Maker::Elsewhere && shows_time(unit, text) => {
            let what = "a macro of time, compiled on another machine";
            Judged::NotStored(Uncacheable::new(Counter::UnsupportedCodeDirective, what))
        }
        Ok(compiled) => remember::judge(daemon, cache, unit, compiled, text),
        Err(reason) => Judged::NotStored(reason.clone()),
    }
}

fn shows_time(unit: &Unit, text: Option<&Text>) -> bool {
    !unit.has_fixed_time() && text.is_some_and(|text| text.shown != Shown::Nothing)
}

/// Whether the unit is to be preprocessed before it is compiled. For a unit that was never seen,
/// that would cost more than it could save: the compile itself says which files it read.
fn wants_text(unit: &Unit, known: &Known) -> bool {
    let invocation = &unit.invocation;
    if !invocation.language.is_preprocessed_by_the_compiler() {
        return false;
    }
    let depends_on_time = unit.depends_on_time(&unit.scan)
        || unit.definitions.iter().any(|scan| unit.depends_on_time(scan))
        || unit.definitions.iter().any(|scan| scan.opaque_has_include);
    let only_its_headers_changed = known.is_seen && invocation.needs_only_tokens;
    known.needs_text.is_some()
        || depends_on_time
        || only_its_headers_changed
        || !unit.config.direct_mode
}

/// Whether a compile here does not say by itself which files it reads.
fn is_silent(unit: &Unit) -> bool {
    if !unit.invocation.language.is_preprocessed_by_the_compiler() {
        return false;
    }
    match &unit.invocation.depfile {
        // -MMD does not name the system headers.
        Some(depfile) => !depfile.system_headers,
        None => !unit.may_add_words(),
    }
}

/// The order to compile. Dependencies that the call does not ask for itself go to a descriptor of
/// ours, in front of the call's own words, which may contain `--`. gcc and clang leave `-M…` and
/// `-Wa,…` out of what they record in the object (gcc/opts.cc, gen_producer_string).
fn order(unit: &Unit) -> Run {
    let invocation = &unit.invocation;
    let mut arguments: Vec<Vec<u8>> = Vec::new();
    let may_add = unit.may_add_words();
    if may_add
        && invocation.depfile.is_none()
        && invocation.language.is_preprocessed_by_the_compiler()
    {
        arguments.extend([b"-MD".to_vec(), b"-MF".to_vec(), descriptor_mark(0)]);
    }
    if may_add && unit.compiler.banner.family == Family::Gcc && invocation.phase == Phase::Object {
        arguments.push([b"-Wa,--MD,".to_vec(), descriptor_mark(1)].concat());
    }
    if invocation.rewritten {
        let words = invocation.compile_arguments();
        arguments.extend(words.iter().map(|word| word.as_bytes().to_vec()));
    } else {
        arguments.extend(unit.call.arguments.iter().map(|word| word.as_bytes().to_vec()));
    }
    let mut program = unit.call.compiler.clone();
    if let [prefix, rest @ ..] = unit.config.prefix_command.as_slice() {
        let own = std::mem::replace(&mut program, prefix.into());
        arguments.insert(0, own.as_os_str().as_bytes().to_vec());
        arguments.splice(0..0, rest.iter().map(|word| word.as_bytes().to_vec()));
    }
    Run {
        program,
        arguments,
        environment: Vec::new(),
        terminal: unit.call.terminal.stderr,
        compile: true,
    }
}

fn run_compiler(
    daemon: &Daemon,
    conversation: &mut Conversation,
    cache: &Cache,
    unit: &Unit,
    instead: &mut Instead,
) -> Result<Captured, Stop> {
    unit.progress.at(Stage::WaitingHere);
    let limit = unit.config.compile_slots();
    let slot = daemon.slots.acquire(Purpose::Compile, limit, conversation)?;
    unit.progress.at(Stage::Local);
    let mut look = |process| {
        instead.look(process);
        Ok(())
    };
    let mut captured = conversation.run_beside(order(unit), 2, Some(&mut look))?;
    drop(slot);
    if captured.stderr().is_ok_and(|text| text.is_empty()) {
        daemon.memory.note_silent(unit);
    }
    cache.counts.add(Counter::LocalCompile);
    cache.counts.add_compile_time(captured.wall);
    Ok(captured)
}

/// The compiler's own message is already with the launcher, unless it is about our descriptors.
fn end_failed(conversation: &mut Conversation, captured: &mut Captured) -> Stop {
    let text = captured.stderr().unwrap_or_default();
    let says = |what: &[u8]| text.windows(what.len()).any(|window| window == what);
    if says(DESCRIPTOR_FOLDER) || says(NOT_REMOVED) {
        let detail = "the compiler cannot write to a descriptor, or remove it";
        return Stop::Uncacheable(Uncacheable::new(Counter::InternalError, detail));
    }
    match conversation.send(&ToLauncher::PrintRan) {
        Ok(()) => Stop::CompileFailed,
        Err(error) => Stop::Gone(error),
    }
}
