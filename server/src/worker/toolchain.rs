//! The compilers of this machine: where they are, and who they are.

use super::child::{self, Limits, Program, Watch};
use crate::compilers::{Asker, Compilers, Probed, Prober, Unidentified};
use crate::launcher_protocol::Run;
use crate::party::{Party, Process};
use crate::wrappers;
use cache::compiler::Compiler;
use cache::file_memo::{FileMemo, WorkingDirectory};
use config::Environment;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// A probe is a compiler that says something of itself; it has nothing to compile.
const PROBE_MAX: Duration = Duration::from_secs(20);

/// What a probe may print.
const PROBE_BYTES_MAX: usize = 4 << 20;

/// The compilers of this machine.
pub struct Toolchain {
    folders: OsString,
    variables: Vec<(OsString, OsString)>,
    compilers: Compilers,
    memo: FileMemo,
    root: WorkingDirectory,
    /// Many clients ask at once for a compiler that is not yet known; one finds out.
    asking: Mutex<()>,
    ending: OwnedFd,
}

impl Toolchain {
    /// Compilers in these folders (a list as in PATH). Probes end when `ending` happens.
    pub fn new(folders: &OsStr, ending: OwnedFd) -> io::Result<Toolchain> {
        Ok(Toolchain {
            folders: folders.to_owned(),
            variables: vec![("PATH".into(), folders.to_owned())],
            compilers: Compilers::default(),
            memo: FileMemo::new(),
            root: WorkingDirectory::open(Path::new("/"))?,
            asking: Mutex::default(),
            ending,
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
    pub fn introduce(&self, driver: &Path) -> Result<Arc<Compiler>, String> {
        self.ask(|compilers, asker| compilers.introduce(driver, asker))
    }

    /// Which compiler a command runs, by content.
    pub fn identify(&self, driver: &Path, words: Vec<OsString>) -> Result<Arc<Compiler>, String> {
        self.ask(|compilers, asker| compilers.identify(driver, words, asker))
    }

    fn ask(
        &self,
        question: impl FnOnce(&Compilers, &mut Asker) -> Result<Arc<Compiler>, Unidentified>,
    ) -> Result<Arc<Compiler>, String> {
        let _alone = self.asking.lock().unwrap_or_else(|poison| poison.into_inner());
        let environment = Environment::new(&self.variables);
        let mut asker = Asker {
            prober: &mut Here { toolchain: self },
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
struct Here<'a> {
    toolchain: &'a Toolchain,
}

impl Prober for Here<'_> {
    fn probe(&mut self, order: Run) -> io::Result<Probed> {
        let split = |variable: &Vec<u8>| {
            let equals = variable.iter().position(|&byte| byte == b'=')?;
            let (name, value) = (&variable[..equals], &variable[equals + 1..]);
            Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned()))
        };
        let set = order.environment.iter().filter_map(split);
        let program = Program {
            path: &order.program,
            arguments: order.arguments.into_iter().map(OsString::from_vec).collect(),
            environment: self.toolchain.variables.iter().cloned().chain(set).collect(),
            folder: Path::new("/"),
            nice: 0,
            limits: Limits {
                cpu: PROBE_MAX,
                file_bytes: PROBE_BYTES_MAX as u64,
                stream_bytes: PROBE_BYTES_MAX,
                memory_bytes: None,
            },
            confinement: None,
        };
        let mut watch = Watch {
            caller: None,
            ending: self.toolchain.ending.as_fd(),
            deadline: Instant::now() + PROBE_MAX,
        };
        let ran = child::run(&program, &mut watch)?;
        match ran.end {
            child::End::Exited(status) => {
                Ok(Probed { status, stdout: ran.stdout, stderr: ran.stderr })
            }
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Party for Here<'_> {
    /// The worker's own.
    fn process(&self) -> Process {
        Process::default()
    }

    /// The probes of a worker wait for each other elsewhere (`asking`).
    fn still_waiting(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(folders: &OsStr) -> Toolchain {
        Toolchain::new(folders, super::super::stream::event().unwrap()).unwrap()
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
        let toolchain = toolchain(&std::env::join_paths([&first, &second]).unwrap());
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
        let toolchain = toolchain(OsStr::new("/usr/bin:/bin"));
        let words = || vec!["-x".into(), "c".into()];
        let here = toolchain.identify(Path::new("/usr/bin/gcc"), words()).unwrap();
        let there = toolchain.identify(&elsewhere, words()).unwrap();
        assert_eq!(here.digest, there.digest);
        let cxx = toolchain.identify(&elsewhere, vec!["-x".into(), "c++".into()]).unwrap();
        assert_ne!(here.digest, cxx.digest);
        assert!(toolchain.identify(Path::new("/bin/sh"), words()).is_err());
    }
}
