//! The compiler of a unit as hosts are asked about it: who it is, and what it makes of a trial unit.

use crate::make::local_slots::Purpose;
use crate::make::sendable;
use crate::serve::conversation::Conversation;
use crate::understand::compilers::driver_name;
use crate::understand::unit::Unit;
use crate::{Cache, Daemon, lock};
use compiler::hasher::{Digest, KeyHasher, KeySink};
use compiler::identity::Compiler;
use compiler::invocation::Language;
use identify::wire_identity;
use remote::protocol::identity::CompilerIdentity;
use remote::{Job, Trial};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use talk::launcher_protocol::Run;
use talk::party::Process;

/// Compilers times target options.
const TRIALS_MAX: usize = 500;

/// A unit that shows what a compiler makes of it: arithmetic, loops, calls, strings, and nothing that
/// needs a header.
const TRIAL_TEXT: &str = include_str!("toolchain/trial.txt");

/// What this machine's compilers make of the trial unit.
pub type Trials = Mutex<HashMap<Digest, Arc<Trial>>>;

/// A compiler, and how it is called.
pub struct Toolchain<'t> {
    /// Its path.
    pub driver: &'t Path,
    /// What it is.
    pub compiler: &'t Compiler,
    /// Options that choose the target or the tools.
    pub target: Vec<OsString>,
    /// What it compiles.
    pub language: Language,
}

/// Where trials are made.
pub struct Here<'h> {
    /// Whose slots and memory.
    pub daemon: &'h Daemon,
    /// Whose folder.
    pub cache: &'h Cache,
    /// How many compile at one time.
    pub slots: Option<usize>,
}

impl<'t> Toolchain<'t> {
    /// That of a unit. What `native` means is no part of it: it goes along in words.
    pub fn of(unit: &'t Unit) -> Toolchain<'t> {
        Toolchain {
            driver: &unit.call.compiler,
            compiler: &unit.compiler,
            target: unit.invocation.remote_target_arguments(),
            language: unit.invocation.language,
        }
    }

    /// Who it is, for comparison.
    pub fn identity(&self) -> CompilerIdentity {
        wire_identity(self.compiler)
    }

    /// The words that make a worker look at its own.
    pub fn identify_words(&self) -> Vec<Vec<u8>> {
        let mut words = vec![driver_name(self.driver).to_owned()];
        words.extend(self.target.iter().cloned());
        words.extend(["-x".into(), self.language.name().into()]);
        words.into_iter().map(OsString::into_vec).collect()
    }

    /// What it makes of the trial unit; found out once. `None` where it cannot compile it in silence.
    pub fn trial(
        &self,
        here: &Here,
        conversation: &mut Conversation,
    ) -> io::Result<Option<Arc<Trial>>> {
        let words = self.trial_words();
        let mut hasher = KeyHasher::new("rcache trial 1");
        hasher.field("compiler", &self.compiler.digest.0);
        words.iter().for_each(|word| hasher.field("word", word.as_bytes()));
        let key = hasher.finish();
        let trials = &here.daemon.memory.trials;
        if let Some(known) = lock(trials).get(&key) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(output) = self.compile_trial(&words, here, conversation)? else { return Ok(None) };
        let arguments = words.into_iter().map(OsString::into_vec).collect();
        let job = Job { arguments, source: TRIAL_TEXT.as_bytes().to_vec() };
        let trial = Arc::new(Trial { job, output });
        let mut trials = lock(trials);
        if trials.len() >= TRIALS_MAX {
            trials.clear();
        }
        trials.insert(key, Arc::clone(&trial));
        Ok(Some(trial))
    }

    fn trial_words(&self) -> Vec<OsString> {
        let mut words = vec![driver_name(self.driver).to_owned()];
        words.push(sendable::file_name(self.language).into());
        words.extend(self.target.iter().cloned());
        words.extend(["-O2", "-c", "-o", "rcache.o"].map(OsString::from));
        words
    }

    /// Compiles it on the launcher's side, in a folder of the cache.
    fn compile_trial(
        &self,
        words: &[OsString],
        here: &Here,
        conversation: &mut Conversation,
    ) -> io::Result<Option<Vec<u8>>> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = here.cache.folder.join(format!("trial-{}-{number}", std::process::id()));
        let written = std::fs::create_dir(&folder)
            .and_then(|()| std::fs::write(folder.join(&words[1]), TRIAL_TEXT));
        if written.is_err() {
            return Ok(None);
        }
        let slots = &here.daemon.slots;
        let slot = slots.acquire(Purpose::Compile, here.slots, conversation)?;
        // Others may wait for what comes of it: who is stopped meanwhile is left alone.
        let mut look = |process: Process| match process.is_held_up() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(()),
        };
        let run = self.trial_run(words, &folder);
        let captured = conversation.run_beside(run, 0, Some(&mut look));
        drop(slot);
        let output = std::fs::read(folder.join("rcache.o"));
        // Nothing is lost with a folder that cannot be removed.
        let _ = std::fs::remove_dir_all(&folder);
        let mut captured = captured?;
        let silent = captured.succeeded() && captured.stderr().is_ok_and(|text| text.is_empty());
        Ok(output.ok().filter(|_| silent))
    }

    /// The same words, with the files in their folder.
    fn trial_run(&self, words: &[OsString], folder: &Path) -> Run {
        let place = |word: &OsString| match word.as_bytes().starts_with(b"rcache.") {
            true => folder.join(word).into_os_string(),
            false => word.clone(),
        };
        Run {
            program: self.driver.to_owned(),
            arguments: words[1..].iter().map(place).map(OsString::into_vec).collect(),
            ..Run::default()
        }
    }
}
