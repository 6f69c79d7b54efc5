//! One compile: a private folder, the text under a name that is always the same, the compiler, its output.

use super::caller::Caller;
use super::child::{self, End, Limits, Program, Ran, Watch};
use super::policy::Task;
use super::sandbox::{self, Sandbox};
use super::scratch::JobFolder;
use super::toolchain::Toolchain;
use compiler::identity::Compiler;
use compiler::invocation::{Family, Phase};
use memchr::memmem;
use remote::Reply;
use remote::protocol::limits;
use remote::protocol::response::REFUSED_STATUS;
use rustix::fs::{Mode, OFlags};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStrExt;
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

/// What a compiler may print to each stream. Nobody reads that much; it is in memory for each job.
const PRINTED_BYTES_MAX: usize = 4 << 20;

/// The locale in which compilers speak: English, with the quotes of Unicode.
const LOCALE: &str = "C.UTF-8";

/// What is the same for every job of a worker.
pub struct Conditions {
    /// What compilers may do.
    pub sandbox: Arc<Sandbox>,
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
    /// A job for which [`Job::new_input`] has to make the text.
    pub fn prepare(
        driver: PathBuf,
        compiler: Arc<Compiler>,
        task: Task,
        folder: JobFolder,
    ) -> io::Result<Job> {
        std::fs::create_dir(folder.path().join(TEMPORARY))?;
        Ok(Job { driver, compiler, task, folder })
    }

    /// Where all of it is.
    pub fn folder(&self) -> &JobFolder {
        &self.folder
    }

    /// The file of the text, to be written.
    pub fn new_input(&self) -> io::Result<File> {
        let mut options = File::options();
        options.read(true).write(true).create_new(true).mode(0o600);
        options.open(self.folder.path().join(&self.task.input_name))
    }

    /// Whether the compiler itself preprocesses the text.
    pub fn preprocesses(&self) -> bool {
        self.task.language.is_preprocessed_by_the_compiler()
    }

    /// Whether the compiler that ran is the one that was there before: packages are updated also
    /// while compiles run.
    pub fn has_the_same_compiler(&self, toolchain: &Toolchain, caller: &mut Caller) -> bool {
        let now = toolchain.identify(&self.driver, self.task.identity.clone(), caller);
        now.is_ok_and(|now| now.digest == self.compiler.digest)
    }

    /// Runs the compiler.
    pub fn run(&self, conditions: &Conditions, watch: &mut Watch) -> (Verdict, Made) {
        let output = match self.task.phase {
            Phase::Assembly => OsStr::new("output.s"),
            _ => OsStr::new("output.o"),
        };
        match self.compile(conditions, watch, output) {
            Ok(ran) => self.answer(ran, output, conditions.timeout),
            Err(error) => {
                let text = format!("{} cannot be run: {error}", self.driver.display());
                (Verdict::Failed, complaint(MISSING_STATUS, &text).into())
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
                stream_bytes: PRINTED_BYTES_MAX,
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

    fn answer(&self, ran: Ran, output: &OsStr, timeout: Duration) -> (Verdict, Made) {
        let failed = |text: &str| (Verdict::Failed, complaint(REFUSED_STATUS, text).into());
        let Ran { end, stdout, stderr } = ran;
        let [stdout, stderr] = [stdout, stderr].map(|text| self.without_folder(text));
        match end {
            End::Exited(0) => {}
            End::Exited(status) => {
                let reply = Reply { status, stderr, stdout, output: Vec::new() };
                return (Verdict::CompileError, reply.into());
            }
            End::TimedOut => {
                let text = format!("the compile takes more than {timeout:?}");
                return (Verdict::TimedOut, complaint(TIMEOUT_STATUS, &text).into());
            }
            End::PrintedTooMuch => return failed("the compiler prints too much"),
            End::ClientGone => return (Verdict::ClientGone, Made::default()),
            End::WorkerEnds => {
                return (Verdict::WorkerEnds, complaint(REFUSED_STATUS, "the worker ends").into());
            }
        }
        let folder = self.folder.path();
        let opened = open_output(&folder.join(output));
        match opened.and_then(|mut file| Ok((has(&mut file, folder)?, file))) {
            // Each time it would be another, and what is here is nobody's business.
            Ok((true, _)) => failed("the output would name a folder of this worker"),
            Ok((false, file)) => {
                let reply = Reply { status: 0, stderr, stdout, output: Vec::new() };
                (Verdict::Compiled, Made { reply, output: Some(file) })
            }
            Err(error) => {
                let text = format!("the compiler's output cannot be read: {error}");
                (Verdict::Failed, complaint(IO_STATUS, &text).into())
            }
        }
    }

    /// What was printed, as if the compile had been in the client's own folder.
    fn without_folder(&self, text: Vec<u8>) -> Vec<u8> {
        let folder = self.folder.path().as_os_str().as_bytes();
        if memmem::find(&text, folder).is_none() {
            return text;
        }
        let temporary = [folder, b"/", TEMPORARY.as_bytes(), b"/"].concat();
        let text = replace(&text, &temporary, b"/tmp/");
        replace(&replace(&text, &[folder, b"/"].concat(), b""), folder, b".")
    }
}

/// What a compile gave.
#[derive(Debug, Default)]
pub struct Made {
    /// All but the output.
    pub reply: Reply,
    /// The output's file, at its start.
    pub output: Option<File>,
}

impl From<Reply> for Made {
    fn from(reply: Reply) -> Made {
        Made { reply, output: None }
    }
}

fn replace(text: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut from = 0;
    for at in memmem::find_iter(text, old) {
        replaced.extend_from_slice(&text[from..at]);
        replaced.extend_from_slice(new);
        from = at + old.len();
    }
    replaced.extend_from_slice(&text[from..]);
    replaced
}

/// Whether a file has this path in it; it is then at its start again.
fn has(file: &mut File, path: &Path) -> io::Result<bool> {
    let needle = path.as_os_str().as_bytes();
    let mut window = Vec::new();
    loop {
        let kept = window.len().min(needle.len().saturating_sub(1));
        window.drain(..window.len() - kept);
        if file.by_ref().take(SEARCHED_BYTES).read_to_end(&mut window)? == 0 {
            file.rewind()?;
            return Ok(false);
        }
        if memmem::find(&window, needle).is_some() {
            return Ok(true);
        }
    }
}

/// What is searched at a time.
const SEARCHED_BYTES: u64 = 256 << 10;

/// The folder of temporary files within that of the job.
const TEMPORARY: &str = "tmp";

/// A failure of the worker's own, which says who complains.
pub fn complaint(status: i32, text: &str) -> Reply {
    let stderr = format!("rcache worker: {text}\n").into_bytes();
    Reply { status, stderr, ..Reply::default() }
}

/// What the compiler wrote, and nothing that it may have put in its place.
fn open_output(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no ordinary file"));
    }
    match found.len() > FILE_BYTES_MAX {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(file),
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
        let mut file = open_output(&at("plain")).unwrap();
        assert!(has(&mut file, Path::new("bjec")).unwrap());
        assert!(!has(&mut file, Path::new("/none")).unwrap());
        assert_eq!(io::read_to_string(open_output(&at("plain")).unwrap()).unwrap(), "object");
        // Also where it lies across what is read at a time.
        let mut long = vec![b'.'; SEARCHED_BYTES as usize - 3];
        long.extend(b"/scratch/7");
        std::fs::write(at("long"), long).unwrap();
        assert!(has(&mut open_output(&at("long")).unwrap(), Path::new("/scratch/7")).unwrap());
        assert_eq!(replace(b"/s/1/a /s/1/b", b"/s/1/", b""), b"a b");
        std::os::unix::fs::symlink("/etc/passwd", at("symlink")).unwrap();
        std::fs::write(at("one"), "x").unwrap();
        std::fs::hard_link(at("one"), at("two")).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .unwrap();
        for name in ["symlink", "two", "folder", "fifo", "absent"] {
            assert!(open_output(&at(name)).is_err(), "{name}");
        }
    }
}
