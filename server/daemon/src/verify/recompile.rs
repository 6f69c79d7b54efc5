//! One verification: the unit is compiled again, in a folder of its own, and compared with what is stored.
//!
//! What is reported as different is different: the inputs are as recorded before and after each
//! compile, the compile is one that can be repeated elsewhere, and two compiles agree with each other.

use super::background::order;
use crate::look_up::{Known, mapped, publish};
use crate::make::start::Start;
use crate::remember::changes::Changes;
use crate::remember::precompiled;
use crate::serve::conversation::Conversation;
use crate::understand::compilers::Stop;
use crate::understand::unit::{Call, Unit};
use crate::{Cache, Daemon, remember};
use cache::entry::{Entry, PartKind, Stored};
use cache::facts::{self, Maker};
use cache::key;
use cache::manifest::{Checks, Recorded};
use cache::mismatch::{self, Difference};
use cache::outputs::OUTPUT_BYTES_MAX;
use compiler::hasher::Digest;
use config::{CompilerCheck, Config};
use identify::{Probed, Prober};
use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the stored and the compiled side of a comparison may have, each.
const COMPARED_BYTES_MAX: u64 = 64 << 20;

/// Runs the compiler of a unit once more.
pub trait Recompiler: Prober {
    /// With these words in place of the call's own.
    fn recompile(&mut self, unit: &Unit, words: &[OsString]) -> io::Result<Probed>;
}

impl Recompiler for Conversation {
    fn recompile(&mut self, unit: &Unit, words: &[OsString]) -> io::Result<Probed> {
        let terminal = unit.call.terminal.stderr;
        self.probe(talk::launcher_protocol::Run { terminal, ..order(&unit.call.compiler, words) })
    }
}

/// What came of a verification.
#[derive(Debug)]
pub enum Verdict {
    /// Every part is the same.
    Same,
    /// By now the unit is another, or its result is gone: there is nothing to compare.
    Stale(String),
    /// A difference would say nothing, or the compile failed.
    Incomparable(String),
    /// Two compiles differ from each other in these parts.
    Unstable(Vec<Difference>),
    /// The stored result is not what the compiler makes.
    Different {
        /// In these parts.
        differences: Vec<Difference>,
        /// Where both sides are.
        kept: Option<PathBuf>,
        /// Whether the result is gone from the store.
        removed: bool,
    },
}

impl Verdict {
    /// There is nothing to compare.
    pub fn stale(why: impl ToString) -> Verdict {
        Verdict::Stale(why.to_string())
    }
}

impl From<Stop> for Verdict {
    fn from(stop: Stop) -> Verdict {
        match stop {
            Stop::Gone(error) => Verdict::stale(error),
            Stop::CompileFailed => Verdict::stale("it no longer compiles"),
            Stop::Uncacheable(reason) => {
                Verdict::stale(format!("{} {}", reason.counter.name(), reason.detail).trim_end())
            }
        }
    }
}

/// Compiles again what a call would now get from the store, and compares. A result that proves wrong
/// is dropped, and both sides are kept.
pub fn verify(
    daemon: &Daemon,
    cache: &Cache,
    config: &Config,
    call: &Call,
    compiler: &mut dyn Recompiler,
) -> Verdict {
    let unit = match Unit::understand(daemon, compiler, call, config) {
        Ok(unit) => unit,
        Err(stop) => return stop.into(),
    };
    let known = Known::load(cache, &unit);
    let manifest = known.manifest();
    if known.needs_text.is_some() {
        return Verdict::Incomparable("it is found by its preprocessed text alone".to_owned());
    }
    let same = |content| precompiled::stands_for(&cache.store, content);
    let mut checks = Checks::new(&daemon.memo, &unit.here, unit.now).with_equivalent(&same);
    let mut current = manifest
        .results()
        .filter(|recorded| checks.check(recorded).is_ok() && mapped::fits(&unit, recorded));
    let found = current.find_map(|recorded| {
        let stored = stored(cache, &unit, recorded.key)?;
        Some((recorded, stored))
    });
    let Some((recorded, (key, stored))) = found else { return Verdict::stale("it is not cached") };
    if stored.length() > COMPARED_BYTES_MAX {
        return Verdict::Incomparable("it is too large to be compared".to_owned());
    }
    let Ok(stored) = stored.entry() else { return Verdict::stale("it cannot be read") };
    if let Some(why) = incomparable(daemon, &unit, &recorded, &stored) {
        return Verdict::Incomparable(why.to_owned());
    }
    let repeat = Repeat { daemon, cache, unit: &unit, recorded: &recorded };
    let first = match repeat.compile(compiler) {
        Ok(first) => first,
        Err(verdict) => return verdict,
    };
    let Ok(own) = publish::own_entry(&unit, &stored) else {
        return Verdict::Incomparable("the rule is of another target".to_owned());
    };
    let differences = mismatch::differences(&own, &first);
    if differences.is_empty() {
        return Verdict::Same;
    }
    let second = match repeat.compile(compiler) {
        Ok(second) => second,
        Err(verdict) => return verdict,
    };
    let unstable = mismatch::differences(&first, &second);
    if !unstable.is_empty() {
        return Verdict::Unstable(unstable);
    }
    if cache.store.load(key).as_ref() != Some(&stored) {
        return Verdict::stale("another result has taken its place");
    }
    let removed = cache.store.remove(key, &stored);
    remember::forget(cache, &unit, recorded.key);
    let kept = keep(cache, &unit, key, (&own, &first), &differences);
    Verdict::Different { differences, kept, removed }
}

/// The result of a name, or the variant of it that printed something in the looks of the call; and
/// the key of either.
fn stored(cache: &Cache, unit: &Unit, key: Digest) -> Option<(Digest, Stored)> {
    let load = |key| cache.store.open_entry(key).map(|stored| (key, stored));
    load(key).or_else(|| load(key::look_key(key, unit.look)))
}

/// Why a difference would say nothing.
fn incomparable(
    daemon: &Daemon,
    unit: &Unit,
    recorded: &Recorded,
    stored: &Entry,
) -> Option<&'static str> {
    if settings_allow_differences(unit) {
        return Some("the settings allow results to differ");
    }
    let paths = || recorded.files.iter().map(|(path, _)| *path);
    if precompiled::is_made(unit) || paths().any(|path| precompiled::begins_as_one(unit, path)) {
        return Some("a precompiled header differs from compile to compile");
    }
    match facts::decode_maker(stored.part(PartKind::Facts)) {
        Maker::Here => {}
        // The debug information also names the options of the form that was sent.
        Maker::Elsewhere if unit.invocation.debug_info => {
            return Some("debug information from another machine");
        }
        Maker::Elsewhere => {}
        Maker::Unknown => return Some("it is not known who made it"),
    }
    let files = recorded.files.iter().map(|(path, _)| *path);
    let mut files = files.chain([unit.invocation.source.as_path()]);
    let holds_time = files.any(|path| {
        let scanned = daemon.memo.scanned(&unit.here, path, unit.now);
        scanned.map_or(true, |(_, scan)| unit.can_hold_time(&scan))
    });
    let defined = unit.definitions.iter().any(|scan| unit.can_hold_time(scan));
    (holds_time || defined).then_some("it can hold the time of its compile")
}

fn settings_allow_differences(unit: &Unit) -> bool {
    let config = unit.config;
    let sloppiness = &config.sloppiness;
    let forgets_folder = !config.hash_dir && unit.invocation.uses_working_directory;
    let forgets_compiler =
        matches!(config.compiler_check, CompilerCheck::None | CompilerCheck::String(_));
    sloppiness.locale
        || sloppiness.incbin
        || sloppiness.random_seed
        || sloppiness.gcno_cwd
        || !config.ignore_options.is_empty()
        || forgets_folder
        || forgets_compiler
}

/// Compiles of one unit whose inputs are those of a recorded result.
struct Repeat<'r> {
    daemon: &'r Daemon,
    cache: &'r Cache,
    unit: &'r Unit<'r>,
    recorded: &'r Recorded<'r>,
}

impl Repeat<'_> {
    /// One compile, in a folder of another name each time: an output that holds it is not stable.
    fn compile(&self, compiler: &mut dyn Recompiler) -> Result<Entry, Verdict> {
        let unit = self.unit;
        let incomparable = |why: String| Verdict::Incomparable(why);
        let scratch = self.cache.store.scratch();
        let scratch = scratch.map_err(|error| incomparable(error.to_string()))?;
        let redirected = unit.invocation.redirected(scratch.path());
        let redirected = redirected.map_err(|why| incomparable(why.to_owned()))?;
        for folder in &redirected.folders {
            std::fs::create_dir(folder).map_err(|error| incomparable(error.to_string()))?;
        }
        let start = Start::before(unit);
        let ran = match compiler.recompile(unit, &redirected.words) {
            Ok(ran) => ran,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(incomparable("its compile took too long".to_owned()));
            }
            Err(error) => return Err(Verdict::stale(error)),
        };
        if !self.is_current(start, compiler) {
            return Err(Verdict::stale("an input changed"));
        }
        if ran.status != 0 {
            let said = String::from_utf8_lossy(&ran.stderr);
            let said = said.lines().next().unwrap_or_default();
            tracing::warn!(command = command(unit.call), said, "a hit does not compile");
            return Err(incomparable("its compile failed".to_owned()));
        }
        let mut compiled = Entry::default();
        for (kind, path) in redirected.outputs {
            let bytes = read_output(&path);
            let bytes = bytes.map_err(|error| incomparable(format!("no output: {error}")))?;
            compiled.push(kind, bytes);
        }
        for (kind, bytes) in [(PartKind::Stdout, ran.stdout), (PartKind::Stderr, ran.stderr)] {
            if !bytes.is_empty() {
                compiled.push(kind, bytes);
            }
        }
        Ok(compiled)
    }

    /// Whether the call still means the same, every input is as it was recorded, and none was
    /// touched since `start`.
    fn is_current(&self, start: Start, compiler: &mut dyn Recompiler) -> bool {
        let Unit { call, config, .. } = self.unit;
        let Ok(now) = Unit::understand(self.daemon, compiler, call, config) else { return false };
        let files = self.recorded.files.iter().map(|(path, _)| *path);
        let others = now.invocation.read_files.iter().map(PathBuf::as_path);
        let changes = Changes::since(start, &self.daemon.memo, &now.here);
        let mut inputs = files.chain(others).chain([now.invocation.source.as_path()]);
        now.key == self.unit.key
            && self.recorded.check(&self.daemon.memo, &now.here, now.now).is_ok()
            && start.clock_is_even()
            && inputs.all(|path| {
                now.here.stat(path).is_ok_and(|stat| changes.refuse_found(path, &stat).is_ok())
            })
    }
}

fn read_output(path: &Path) -> io::Result<Vec<u8>> {
    let found = std::fs::symlink_metadata(path)?;
    if !found.is_file() || found.len() > OUTPUT_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    std::fs::read(path)
}

/// Keeps both sides for whoever looks into it.
fn keep(
    cache: &Cache,
    unit: &Unit,
    key: Digest,
    (stored, compiled): (&Entry, &Entry),
    differences: &[Difference],
) -> Option<PathBuf> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut about = format!(
        "A hit was not what the compiler makes.\n\ncommand   {}\nfolder    {}\nrcache    {}\n\
         result    {key}\nmanifest  {}\n\n",
        command(unit.call),
        unit.call.caller.working_directory.display(),
        talk::launcher_protocol::BUILD,
        unit.key,
    );
    for difference in differences {
        let _ = writeln!(about, "{difference}");
    }
    let name = format!("{seconds}-{key}");
    match mismatch::keep(&cache.folder, &name, stored, compiled, differences, &about) {
        Ok(folder) => Some(folder),
        Err(error) => {
            tracing::warn!("cannot keep the two sides of a mismatch: {error}");
            None
        }
    }
}

/// The call as text.
pub fn command(call: &Call) -> String {
    let words = std::iter::once(call.compiler.as_os_str());
    let words = words.chain(call.arguments.iter().map(OsString::as_os_str));
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    config::words::join(&words)
}
