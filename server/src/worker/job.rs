//! One compile: a private folder, the text under a name that is always the same, the compiler, its output.

use super::child::{self, End, Limits, Program, Ran, Watch};
use super::policy::Task;
use super::sandbox::{self, Sandbox};
use super::scratch::JobFolder;
use super::toolchain::Toolchain;
use cache::compiler::Compiler;
use cache::invocation::{Family, Phase};
use remote::Reply;
use remote::protocol::limits;
use remote::protocol::response::REFUSED_STATUS;
use rustix::fs::{Mode, OFlags};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// distcc's status of a compiler that cannot be run: exit status 110.
const MISSING_STATUS: i32 = 110 << 8;

/// distcc's status of a compile that took too long: exit status 118.
const TIMEOUT_STATUS: i32 = 118 << 8;

/// distcc's status where reading or writing failed: exit status 107.
const IO_STATUS: i32 = 107 << 8;

/// A compiler's temporary files and its output are no longer than this.
const FILE_BYTES_MAX: u64 = limits::OUTPUT_BYTES_MAX as u64;

/// The locale in which compilers speak: English, with the quotes of Unicode.
const LOCALE: &str = "C.UTF-8";

/// What is the same for every job of a worker.
pub struct Conditions {
    /// What compilers may do.
    pub sandbox: Sandbox,
    /// PATH.
    pub folders: OsString,
    /// Added to the worker's niceness.
    pub nice: i32,
    /// How long a compile may take.
    pub timeout: Duration,
    /// Address space of each process.
    pub memory_bytes: Option<u64>,
}

/// A compile that is ready to run.
pub struct Job {
    driver: PathBuf,
    compiler: Arc<Compiler>,
    task: Task,
    folder: JobFolder,
}

/// How a compile ended, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// With an output.
    Compiled,
    /// With the compiler's own complaint.
    CompileError,
    /// It took too long.
    TimedOut,
    /// The worker could not do it.
    Failed,
    /// Nobody waits for the answer.
    ClientGone,
    /// The worker ends.
    WorkerEnds,
}

impl Job {
    /// Writes the text into the job's folder, so that a job that waits takes no memory.
    pub fn prepare(
        driver: PathBuf,
        compiler: Arc<Compiler>,
        task: Task,
        folder: JobFolder,
        source: &[u8],
    ) -> io::Result<Job> {
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600);
        options.open(folder.path().join(&task.input_name))?.write_all(source)?;
        std::fs::create_dir(folder.path().join(TEMPORARY))?;
        Ok(Job { driver, compiler, task, folder })
    }

    /// Whether the compiler that ran is the one that was there before: packages are updated also
    /// while compiles run.
    pub fn has_the_same_compiler(&self, toolchain: &Toolchain) -> bool {
        let now = toolchain.identify(&self.driver, self.task.identity.clone());
        now.is_ok_and(|now| now.digest == self.compiler.digest)
    }

    /// Runs the compiler.
    pub fn run(&self, conditions: &Conditions, watch: &mut Watch) -> (Verdict, Reply) {
        let output = match self.task.phase {
            Phase::Assembly => OsStr::new("output.s"),
            _ => OsStr::new("output.o"),
        };
        match self.compile(conditions, watch, output) {
            Ok(ran) => self.answer(ran, output, conditions.timeout),
            Err(error) => {
                let text = format!("{} cannot be run: {error}", self.driver.display());
                (Verdict::Failed, complaint(MISSING_STATUS, &text))
            }
        }
    }

    fn compile(
        &self,
        conditions: &Conditions,
        watch: &mut Watch,
        output: &OsStr,
    ) -> io::Result<Ran> {
        let folder = self.folder.path();
        let programs = sandbox::programs(&self.compiler);
        let programs: Vec<&Path> = programs.iter().map(PathBuf::as_path).collect();
        let confinement = conditions.sandbox.confine(folder, &programs)?;
        let more = self.own_options(conditions.sandbox.hides_files());
        let program = Program {
            path: &self.driver,
            arguments: self.task.arguments(&more, &self.task.input_name, output),
            environment: vec![
                ("PATH".into(), conditions.folders.clone()),
                ("LC_ALL".into(), LOCALE.into()),
                ("TMPDIR".into(), folder.join(TEMPORARY).into()),
            ],
            folder,
            nice: conditions.nice,
            limits: Limits {
                cpu: conditions.timeout,
                file_bytes: FILE_BYTES_MAX,
                stream_bytes: limits::STREAM_BYTES_MAX,
                memory_bytes: conditions.memory_bytes,
            },
            confinement: Some(&confinement),
        };
        child::run(&program, watch)
    }

    /// Options that the worker adds.
    fn own_options(&self, files_are_hidden: bool) -> Vec<OsString> {
        let mut options = Vec::new();
        if self.task.names_folder {
            // Else the same text would give another object each time.
            let mut map = OsString::from("-fdebug-prefix-map=");
            map.push(self.folder.path());
            map.push("=.");
            options.push(map);
        }
        if !files_are_hidden {
            // Below a diagnostic they quote whatever file the text says it is from.
            options.push(match self.compiler.banner.family {
                Family::Gcc => "-fno-diagnostics-show-caret".into(),
                Family::Clang => "-fno-caret-diagnostics".into(),
            });
        }
        options
    }

    fn answer(&self, ran: Ran, output: &OsStr, timeout: Duration) -> (Verdict, Reply) {
        match ran.end {
            End::Exited(0) => {}
            End::Exited(status) => {
                let Ran { stdout, stderr, .. } = ran;
                let reply = Reply { status, stderr, stdout, output: Vec::new() };
                return (Verdict::CompileError, reply);
            }
            End::TimedOut => {
                let text = format!("the compile takes more than {timeout:?}");
                return (Verdict::TimedOut, complaint(TIMEOUT_STATUS, &text));
            }
            End::PrintedTooMuch => {
                return (Verdict::Failed, complaint(IO_STATUS, "the compiler prints too much"));
            }
            End::ClientGone => return (Verdict::ClientGone, Reply::default()),
            End::WorkerEnds => {
                return (Verdict::WorkerEnds, complaint(REFUSED_STATUS, "the worker ends"));
            }
        }
        match read_output(&self.folder.path().join(output)) {
            Ok(output) => {
                let Ran { stdout, stderr, .. } = ran;
                (Verdict::Compiled, Reply { status: 0, stderr, stdout, output })
            }
            Err(error) => {
                let text = format!("the compiler's output cannot be read: {error}");
                (Verdict::Failed, complaint(IO_STATUS, &text))
            }
        }
    }
}

/// The folder of temporary files within that of the job.
const TEMPORARY: &str = "tmp";

/// A failure of the worker's own, which says who complains.
pub fn complaint(status: i32, text: &str) -> Reply {
    let stderr = format!("rcache worker: {text}\n").into_bytes();
    Reply { status, stderr, ..Reply::default() }
}

/// Reads what the compiler wrote, and nothing that it may have put in its place.
fn read_output(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no ordinary file"));
    }
    let mut bytes = Vec::with_capacity(found.len().min(FILE_BYTES_MAX) as usize);
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ordinary_file_of_its_own_is_an_output() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("plain"), "object").unwrap();
        assert_eq!(read_output(&at("plain")).unwrap(), b"object");
        std::os::unix::fs::symlink("/etc/passwd", at("symlink")).unwrap();
        std::fs::write(at("one"), "x").unwrap();
        std::fs::hard_link(at("one"), at("two")).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .unwrap();
        for name in ["symlink", "two", "folder", "fifo", "absent"] {
            assert!(read_output(&at(name)).is_err(), "{name}");
        }
    }
}
