//! The compilers of this machine: where they are, and who they are.

use super::caller::Caller;
use super::child::{self, Limits, Program, Watch};
use super::sandbox::Sandbox;
use super::scratch::Scratch;
use super::slots::Slots;
use compiler::file_memo::{FileMemo, WorkingDirectory};
use compiler::identity::Compiler;
use config::Environment;
use identify::{Asker, Compilers, Probed, Prober, Unidentified};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use talk::launcher_protocol::Run;
use talk::party::{Party, Process};
use talk::wrappers;

/// A probe is a compiler that says something of itself; it has nothing to compile.
const PROBE_MAX: Duration = Duration::from_secs(20);

/// What a probe may print.
const PROBE_BYTES_MAX: usize = 4 << 20;

/// Programs that say something of compilers at one time.
const PROBES_MAX: usize = 4;

/// A probe waits so long for its turn.
const TURN_WAIT_MAX: Duration = Duration::from_secs(30);

/// The compilers of this machine.
pub struct Toolchain {
    folders: OsString,
    variables: Vec<(OsString, OsString)>,
    compilers: Compilers,
    memo: FileMemo,
    root: WorkingDirectory,
    conditions: ProbeConditions,
    turns: Slots,
}

/// In what surroundings compilers are asked: questions come from strangers as jobs do.
pub struct ProbeConditions {
    /// What they may do.
    pub sandbox: Arc<Sandbox>,
    /// Where their folders are.
    pub scratch: Arc<Scratch>,
    /// Added to the worker's niceness.
    pub nice: i32,
    /// Address space of each process.
    pub memory_bytes: Option<u64>,
    /// Once this happens, no probe goes on.
    pub ending: OwnedFd,
}

impl Toolchain {
    /// Compilers in these folders (a list as in PATH).
    pub fn new(folders: &OsStr, conditions: ProbeConditions) -> io::Result<Toolchain> {
        Ok(Toolchain {
            folders: folders.to_owned(),
            variables: vec![("PATH".into(), folders.to_owned())],
            compilers: Compilers::default(),
            memo: FileMemo::new(),
            root: WorkingDirectory::open(Path::new("/"))?,
            conditions,
            turns: Slots::new(PROBES_MAX),
        })
    }

    /// The file of a compiler's bare name.
    pub fn find(&self, name: &OsStr) -> Option<PathBuf> {
        std::env::split_paths(&self.folders)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|candidate| is_program(candidate) && !is_wrapper(candidate))
    }

    /// Whether it is gcc or clang, and which version: enough to read options.
    pub fn introduce(&self, driver: &Path, caller: &mut Caller) -> Result<Arc<Compiler>, String> {
        self.ask(driver, caller, |compilers, asker| compilers.introduce(driver, asker))
    }

    /// Which compiler a command runs, by content.
    pub fn identify(
        &self,
        driver: &Path,
        words: Vec<OsString>,
        caller: &mut Caller,
    ) -> Result<Arc<Compiler>, String> {
        self.ask(driver, caller, |compilers, asker| compilers.identify(driver, words, asker))
    }

    /// What is known is answered at once; for the rest the clients take turns.
    fn ask(
        &self,
        driver: &Path,
        caller: &mut Caller,
        question: impl FnOnce(&Compilers, &mut Asker) -> Result<Arc<Compiler>, Unidentified>,
    ) -> Result<Arc<Compiler>, String> {
        let environment = Environment::new(&self.variables);
        let mut asker = Asker {
            prober: &mut Here { toolchain: self, driver, caller },
            environment: &environment,
            here: &self.root,
            memo: &self.memo,
            now: SystemTime::now(),
        };
        question(&self.compilers, &mut asker).map_err(|why| match why {
            Unidentified::NoProbe(error) => format!("cannot ask the compiler: {error}"),
            Unidentified::Unusable(why) | Unidentified::Stranger(why) => why.detail,
        })
    }

    /// What a driver may read while it is asked: where it is installed. There is no text that could
    /// ask for anything.
    fn installation(&self, driver: &Path) -> Vec<PathBuf> {
        let real = driver.canonicalize().unwrap_or_default();
        let prefixes = [driver, &real].map(|path| path.parent().and_then(Path::parent));
        let prefixes = prefixes.into_iter().flatten().filter(|prefix| prefix.parent().is_some());
        let mut readable: Vec<PathBuf> = std::env::split_paths(&self.folders).collect();
        readable.extend(prefixes.map(Path::to_owned));
        readable.extend([driver.to_owned(), real]);
        readable.retain(|path| path.is_absolute());
        readable
    }
}

fn is_program(candidate: &Path) -> bool {
    std::fs::metadata(candidate)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// A link to a wrapper is one, too.
fn is_wrapper(candidate: &Path) -> bool {
    let real = candidate.canonicalize().unwrap_or_default();
    real.file_name().is_some_and(wrappers::stands_in)
}

/// Runs probes as children of the worker.
struct Here<'a, 'c> {
    toolchain: &'a Toolchain,
    driver: &'a Path,
    caller: &'a mut Caller<'c>,
}

impl Prober for Here<'_, '_> {
    fn probe(&mut self, order: Run) -> io::Result<Probed> {
        let split = |variable: &Vec<u8>| {
            let equals = variable.iter().position(|&byte| byte == b'=')?;
            let (name, value) = (&variable[..equals], &variable[equals + 1..]);
            Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned()))
        };
        let conditions = &self.toolchain.conditions;
        let ending = conditions.ending.as_fd();
        let turn = self.toolchain.turns.acquire(self.caller, ending, TURN_WAIT_MAX);
        let _turn = turn.map_err(|_| io::Error::other("too many questions wait already"))?;
        let folder = conditions.scratch.job_folder()?;
        let readable = self.toolchain.installation(self.driver);
        let readable: Vec<&Path> = readable.iter().map(PathBuf::as_path).collect();
        let confinement = conditions.sandbox.confine(folder.path(), &readable)?;
        let set = order.environment.iter().filter_map(split);
        let temporary = [("TMPDIR".into(), folder.path().into())];
        let program = Program {
            path: &order.program,
            arguments: order.arguments.into_iter().map(OsString::from_vec).collect(),
            environment: self
                .toolchain
                .variables
                .iter()
                .cloned()
                .chain(temporary)
                .chain(set)
                .collect(),
            folder: Path::new("/"),
            nice: conditions.nice,
            limits: Limits {
                cpu: PROBE_MAX,
                file_bytes: PROBE_BYTES_MAX as u64,
                stream_bytes: PROBE_BYTES_MAX,
                memory_bytes: conditions.memory_bytes,
            },
            confinement: Some(&confinement),
        };
        let deadline = Instant::now() + PROBE_MAX;
        let caller = Some(&mut *self.caller);
        let ran = child::run(&program, &mut Watch { caller, ending, deadline })?;
        match ran.end {
            child::End::Exited(status) => {
                Ok(Probed { status, stdout: ran.stdout, stderr: ran.stderr })
            }
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Party for Here<'_, '_> {
    /// The worker's own.
    fn process(&self) -> Process {
        Process::default()
    }

    /// Whoever asks the same is waited for, in bounded time; the client is told that we live.
    fn still_waiting(&mut self) -> io::Result<()> {
        self.caller.show_life();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(folders: &OsStr, scratch: &Path) -> Toolchain {
        let conditions = ProbeConditions {
            sandbox: Arc::new(Sandbox::probe()),
            scratch: Arc::new(Scratch::new(scratch).unwrap()),
            nice: 0,
            memory_bytes: None,
            ending: super::super::stream::event().unwrap(),
        };
        Toolchain::new(folders, conditions).unwrap()
    }

    #[test]
    fn compilers_are_found_and_wrappers_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let (first, second) = (scratch.path().join("1"), scratch.path().join("2"));
        let make = |path: &Path| {
            std::fs::write(path, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        for folder in [&first, &second] {
            std::fs::create_dir(folder).unwrap();
        }
        make(&scratch.path().join("ccache"));
        std::os::unix::fs::symlink("../ccache", first.join("gcc")).unwrap();
        std::fs::create_dir(first.join("clang")).unwrap();
        make(&second.join("gcc"));
        std::fs::write(second.join("g++"), "").unwrap();
        let folders = std::env::join_paths([&first, &second]).unwrap();
        let toolchain = toolchain(&folders, scratch.path());
        assert_eq!(toolchain.find(OsStr::new("gcc")), Some(second.join("gcc")));
        assert_eq!(toolchain.find(OsStr::new("clang")), None);
        assert_eq!(toolchain.find(OsStr::new("g++")), None);
    }

    #[test]
    fn the_same_compiler_elsewhere_is_the_same() {
        let Ok(gcc) = Path::new("/usr/bin/gcc").canonicalize() else { return };
        let scratch = tempfile::tempdir().unwrap();
        let elsewhere = scratch.path().join("gcc");
        std::os::unix::fs::symlink(gcc, &elsewhere).unwrap();
        let toolchain = toolchain(OsStr::new("/usr/bin:/bin"), scratch.path());
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut caller = Caller::new(ours.as_fd(), [127, 0, 0, 1].into(), false);
        let mut identify = |driver: &Path, words| toolchain.identify(driver, words, &mut caller);
        let words = || vec!["-x".into(), "c".into()];
        let here = identify(Path::new("/usr/bin/gcc"), words()).unwrap();
        let there = identify(&elsewhere, words()).unwrap();
        assert_eq!(here.digest, there.digest);
        let cxx = identify(&elsewhere, vec!["-x".into(), "c++".into()]).unwrap();
        assert_ne!(here.digest, cxx.digest);
        assert!(identify(Path::new("/bin/sh"), words()).is_err());
    }
}
