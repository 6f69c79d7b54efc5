//! Reaching the daemon, and starting it where there is none: the side of the launcher and the subcommands.

use crate::launcher_protocol::{
    BUILD, Caller, DESCRIPTORS_MAX, FRAME_BYTES_MAX, Malformed, SILENCE_MAX, ToDaemon, ToLauncher,
    View,
};
use crate::program;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A daemon must answer this soon after it was started. It opens its store without walking it.
const START_MAX: Duration = Duration::from_secs(5);

/// How often a launcher looks whether the one that starts the daemon is done.
const START_POLL: Duration = Duration::from_millis(3);

/// Read at one time. The answer to a hit is short, and each page of the stack that is touched costs
/// the launcher a fault.
const RECEIVED_BYTES: usize = 1 << 10;

/// Why a question of a subcommand got no answer.
#[derive(Debug)]
pub enum AskError {
    /// No daemon is up, and none was to be started.
    NotRunning,
    /// The daemon cannot be reached or started.
    Unreachable(io::Error),
    /// A daemon of another build is up, and it is newer than this program.
    OtherBuild(String),
    /// The daemon refused, with its reason.
    Refused(String),
}

impl std::fmt::Display for AskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AskError::NotRunning => write!(f, "the daemon is not running"),
            AskError::Unreachable(error) => write!(f, "cannot reach the daemon: {error}"),
            AskError::OtherBuild(build) => {
                write!(f, "a newer daemon ({build}) is running; this program is {BUILD}")
            }
            AskError::Refused(reason) => write!(f, "{reason}"),
        }
    }
}

impl std::error::Error for AskError {}

/// One conversation with the daemon.
pub struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
    /// Descriptors that came with the last messages, in order.
    pub descriptors: Vec<OwnedFd>,
}

/// What this process looks like to the daemon.
pub fn caller() -> io::Result<Caller> {
    let working_directory = std::env::current_dir()?;
    let here = fs::metadata(".")?;
    // There is no call that only reads the mask.
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    Ok(Caller {
        build: BUILD.to_owned(),
        umask: umask.bits(),
        view: view()?,
        working_directory_id: (here.dev(), here.ino()),
        working_directory,
        environment: std::env::vars_os().collect(),
    })
}

/// What paths mean to this process.
///
/// A mount belongs to one namespace, so that the number of the root's tells namespaces apart. A look
/// into /proc would cost each hit 10 µs; kernels before 5.8 need it.
pub fn view() -> io::Result<View> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    let group = rustix::process::getegid().as_raw();
    let asked = StatxFlags::INO | StatxFlags::MNT_ID;
    match statx(CWD, "/", AtFlags::empty(), asked) {
        Ok(root) if root.stx_mask & StatxFlags::MNT_ID.bits() != 0 => Ok(View {
            root: (makedev(root.stx_dev_major, root.stx_dev_minor), root.stx_ino),
            mount_namespace: root.stx_mnt_id,
            group,
        }),
        _ => {
            let root = fs::metadata("/")?;
            let mount_namespace = fs::metadata("/proc/self/ns/mnt").map_or(0, |found| found.ino());
            Ok(View { root: (root.dev(), root.ino()), mount_namespace, group })
        }
    }
}

/// Where the daemon of this process' environment listens. The folder is made where it is missing.
pub fn make_socket_path() -> io::Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let folder = config::paths::make_runtime_folder(&variable, user)?;
    Ok(folder.join(config::paths::socket_name(&variable)))
}

/// The same where the folder is there; nothing in it was looked at yet.
fn socket_path() -> Option<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let folder = config::paths::runtime_folder(&variable, user).filter(|folder| folder.exists())?;
    Some(folder.path.join(config::paths::socket_name(&variable)))
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Where launchers leave a byte for each call that they could not bring to the daemon.
pub fn passed_through_path(socket: &Path) -> PathBuf {
    socket.with_extension("passed")
}

/// Leaves such a byte. Without the folder of the socket there is nobody to tell.
pub fn note_passed_through() {
    let Some(socket) = socket_path() else { return };
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(UNSURPRISED)
        .open(passed_through_path(&socket));
    let _ = file.and_then(|mut file| file.write_all(b"."));
}

/// Opening a file in the folder of the socket never waits, and leads nowhere else.
const UNSURPRISED: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// Connects to the daemon, and starts it first where none answers and `start` is set.
pub fn connect(start: bool) -> io::Result<Connection> {
    let connected = match socket_path() {
        Some(socket) => connect_to(&socket),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    match connected {
        Err(error) if start && is_absence(&error) => start_daemon(&make_socket_path()?),
        connected => connected,
    }
}

/// Puts a question of a subcommand.
pub fn ask(question: serde_json::Value, start: bool) -> Result<serde_json::Value, AskError> {
    let caller = caller().map_err(AskError::Unreachable)?;
    let request = ToDaemon::Ask { caller, question: question.to_string().into_bytes() };
    // A daemon of an older build retires when it is asked; the second attempt starts a new one.
    for attempt in 0..2 {
        let mut connection = match connect(start) {
            Ok(connection) => connection,
            Err(error) if !start && is_absence(&error) => return Err(AskError::NotRunning),
            Err(error) => return Err(AskError::Unreachable(error)),
        };
        connection.send(&request).map_err(AskError::Unreachable)?;
        match connection.answer().map_err(AskError::Unreachable)? {
            Answered::Answer(answer) => return unwrap_answer(&answer),
            Answered::OtherBuild(build) if attempt == 1 || !makes_way(&build, BUILD) => {
                return Err(AskError::OtherBuild(build));
            }
            Answered::OtherBuild(_) if !start => return Err(AskError::NotRunning),
            Answered::OtherBuild(_) => {}
        }
    }
    unreachable!("the second attempt returns")
}

/// Whether a daemon of build `daemon` makes way for a caller of build `caller`: unless it is newer.
pub fn makes_way(daemon: &str, caller: &str) -> bool {
    version(daemon) <= version(caller)
}

/// The three numbers before the plus sign.
fn version(build: &str) -> Vec<u64> {
    let numbers = build.split('+').next().unwrap_or("");
    numbers.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

enum Answered {
    Answer(Vec<u8>),
    OtherBuild(String),
}

fn unwrap_answer(answer: &[u8]) -> Result<serde_json::Value, AskError> {
    let value: serde_json::Value = serde_json::from_slice(answer)
        .map_err(|error| AskError::Unreachable(io::Error::other(error)))?;
    match value.get("error").and_then(|error| error.as_str()) {
        Some(reason) => Err(AskError::Refused(reason.to_owned())),
        None => Ok(value),
    }
}

impl Connection {
    /// The connection on which a request was sent before.
    pub fn adopt(socket: OwnedFd) -> Connection {
        Connection {
            stream: UnixStream::from(socket),
            received: Vec::new(),
            descriptors: Vec::new(),
        }
    }

    /// Sends one message.
    pub fn send(&mut self, message: &ToDaemon) -> io::Result<()> {
        let frame = message.encode();
        if frame.len() > FRAME_BYTES_MAX {
            return Err(Malformed::Value.into());
        }
        self.stream.write_all(&frame)
    }

    /// The next message; an error where the daemon says nothing for [`SILENCE_MAX`].
    pub fn receive(&mut self) -> io::Result<ToLauncher> {
        self.fill(4)?;
        let length = u32::from_le_bytes(self.received[..4].try_into().expect("four bytes"));
        let end = 4 + length as usize;
        if length == 0 || end > FRAME_BYTES_MAX {
            return Err(Malformed::Value.into());
        }
        self.fill(end)?;
        let message = ToLauncher::decode(&self.received[4..end])?;
        self.received.drain(..end);
        Ok(message)
    }

    /// The next message that is not a sign of life.
    fn answer(&mut self) -> io::Result<Answered> {
        loop {
            match self.receive()? {
                ToLauncher::Answer(answer) => return Ok(Answered::Answer(answer)),
                ToLauncher::OtherBuild(build) => return Ok(Answered::OtherBuild(build)),
                ToLauncher::Waiting | ToLauncher::Warning(_) => {}
                ToLauncher::Run(order) => {
                    let ran = program::run(&order, std::mem::take(&mut self.descriptors))?;
                    self.send(&ran.report())?;
                }
                _ => return Err(Malformed::Value.into()),
            }
        }
    }

    /// Reads until `count` bytes are there, and keeps the descriptors that come along.
    fn fill(&mut self, count: usize) -> io::Result<()> {
        let mut block = [0; RECEIVED_BYTES];
        while self.received.len() < count {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let message = rustix::net::recvmsg(
                self.stream.as_fd(),
                &mut [IoSliceMut::new(&mut block)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            );
            let read = match message {
                Ok(message) => message.bytes,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for item in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = item {
                    self.descriptors.extend(descriptors);
                }
            }
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received.extend_from_slice(&block[..read]);
        }
        Ok(())
    }
}

fn connect_to(socket: &Path) -> io::Result<Connection> {
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
    };
    let descriptor =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    for direction in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&descriptor, direction, Some(SILENCE_MAX))?;
    }
    connect(&descriptor, &SocketAddrUnix::new(socket)?)?;
    // Whoever made the folder in /tmp first could hand out objects, and orders to run programs.
    let user = rustix::process::getuid();
    if rustix::net::sockopt::socket_peercred(&descriptor)?.uid != user {
        let text = format!("{} is another user's", socket.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(Connection::adopt(descriptor))
}

/// No daemon is there, as opposed to one that cannot be talked to.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Starts the daemon, or waits for the process that is already starting it: one wins the lock,
/// and whoever gets the lock next finds the daemon up.
fn start_daemon(socket: &Path) -> io::Result<Connection> {
    let deadline = Instant::now() + START_MAX;
    let _lock = lock(&socket.with_extension("lock"), deadline)?;
    match connect_to(socket) {
        Err(error) if is_absence(&error) => {}
        result => return result,
    }
    let mut ready = spawn_daemon()?;
    // One byte when it listens; end of file when it could not.
    let mut byte = [0];
    let wait = rustix::event::Timespec { tv_sec: START_MAX.as_secs() as i64, tv_nsec: 0 };
    let mut descriptors = [rustix::event::PollFd::new(&ready, rustix::event::PollFlags::IN)];
    if rustix::event::poll(&mut descriptors, Some(&wait))? == 0 || ready.read(&mut byte)? == 0 {
        return Err(io::Error::other("the daemon did not start"));
    }
    connect_to(socket)
}

fn lock(path: &Path, deadline: Instant) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).custom_flags(UNSURPRISED);
    let file = options.open(path)?;
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(START_POLL);
    }
}

/// Starts `rcache daemon run --detached`; the returned pipe gets a byte when it listens.
fn spawn_daemon() -> io::Result<std::process::ChildStdout> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg0("rcache")
        .args(["daemon", "run", "--detached"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Out of the build's process group, so that Ctrl-C stops the build only.
        .process_group(0)
        .spawn()?;
    child.stdout.take().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
}
