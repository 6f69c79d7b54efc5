//! Runs a command under a time limit and keeps all that a caller of it can see.

use std::fmt;
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

/// One compile or subcommand; far above what the slowest machine needs.
pub const LIMIT_CALL: Duration = Duration::from_secs(120);
/// One build of a real project.
pub const LIMIT_BUILD: Duration = Duration::from_secs(900);
/// Pause between two looks at a running child.
const POLL: Duration = Duration::from_millis(2);

/// A static program can start a command in a folder by `posix_spawn` only where something asks for this function;
/// otherwise std forks, and copies the page tables of all tests for each command.
#[used]
static WITHOUT_FORK: unsafe extern "C" fn(
    *mut libc::posix_spawn_file_actions_t,
    *const libc::c_char,
) -> libc::c_int = libc::posix_spawn_file_actions_addchdir_np;

/// What a command left behind for the one who called it.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exit status, or the negated signal.
    pub status: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Outcome {
    /// Whether the command succeeded.
    pub fn ok(&self) -> bool {
        self.status == 0
    }

    /// Itself, after a check that the command succeeded.
    #[track_caller]
    pub fn success(self) -> Outcome {
        assert!(self.ok(), "the command failed: {self:?}");
        self
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "status {}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            self.out(),
            self.err()
        )
    }
}

/// A command that has been started, in a process group of its own.
pub struct Running {
    child: Child,
    what: String,
    stdout: std::fs::File,
    stderr: std::fs::File,
}

/// Starts a command with its output in files: a daemon that kept them open could not hang the test.
#[track_caller]
pub fn start(command: &mut Command) -> Running {
    obey_interrupts();
    let what = format!("{command:?}");
    let stdout = tempfile::tempfile().expect("a scratch file");
    let stderr = tempfile::tempfile().expect("a scratch file");
    let child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone().unwrap())
        .stderr(stderr.try_clone().unwrap())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
    Running { child, what, stdout, stderr }
}

/// A shell without job control has what it starts in the background ignore Ctrl-C, and children inherit
/// that; builds at a terminal do not.
fn obey_interrupts() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        // SAFETY: no handler is involved.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    });
}

impl Running {
    /// The process id, which is also the id of its process group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end; kills the process group and fails the test when `limit` is over.
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> Outcome {
        let end = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            if Instant::now() > end {
                let group = rustix::process::Pid::from_child(&self.child);
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                let _ = self.child.wait();
                panic!("not done after {limit:?}: {}\nstderr: {}", self.what, text(self.stderr));
            }
            std::thread::sleep(POLL);
        };
        let status = status.code().unwrap_or_else(|| -status.signal().unwrap_or(0));
        Outcome { status, stdout: bytes(self.stdout), stderr: bytes(self.stderr) }
    }
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: &mut Command, limit: Duration) -> Outcome {
    start(command).finish(limit)
}

fn bytes(mut file: std::fs::File) -> Vec<u8> {
    let mut all = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut all)).expect("read a scratch file");
    all
}

fn text(file: std::fs::File) -> String {
    String::from_utf8_lossy(&bytes(file)).into_owned()
}
