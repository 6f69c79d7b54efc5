//! Reaching the daemon, and starting it where there is none: the side of the launcher and the subcommands.

use crate::launcher_protocol::{
    BUILD, Caller, DESCRIPTORS_MAX, FRAME_BYTES_MAX, MARK_AGE_MAX, MARK_ENDING, MARKED_SILENCE_MAX,
    Malformed, SILENCE_MAX, ToDaemon, ToLauncher, View,
};
use crate::program;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// A daemon must answer this soon after it was started. It opens its store without walking it.
const START_MAX: Duration = Duration::from_secs(5);

/// How often a launcher looks whether the one that starts the daemon is done.
const START_POLL: Duration = Duration::from_millis(3);

/// Another daemon that does not answer this soon is left out.
const OTHER_SILENCE_MAX: Duration = Duration::from_secs(1);

/// Files beside the socket that are looked at for others.
const OTHERS_MAX: usize = 1000;

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
    /// A daemon of another build listens there.
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
                write!(f, "the daemon there is of build {build}; this program is {BUILD}")
            }
            AskError::Refused(reason) => write!(f, "{reason}"),
        }
    }
}

impl std::error::Error for AskError {}

/// One conversation with the daemon.
pub struct Connection {
    stream: UnixStream,
    /// How long it waits for the daemon.
    patience: Duration,
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
    Ok(folder.join(config::paths::socket_name(BUILD, &variable)))
}

/// The same where the folder is there; nothing in it was looked at yet.
fn socket_path() -> Option<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let folder = config::paths::runtime_folder(&variable, user).filter(|folder| folder.exists())?;
    Some(folder.path.join(config::paths::socket_name(BUILD, &variable)))
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Where launchers leave a byte for each call that they could not bring to the daemon.
pub fn passed_through_path(socket: &Path) -> PathBuf {
    socket.with_extension("passed")
}

/// Why a call went past the daemon: what the byte says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassedThrough {
    /// The daemon cannot be reached.
    Unreachable,
    /// It says nothing.
    Silence,
    /// A limit of this process.
    TooManyFiles,
    /// A standard stream is closed.
    ClosedStream,
}

impl PassedThrough {
    const ALL: [PassedThrough; 4] = [
        PassedThrough::Unreachable,
        PassedThrough::Silence,
        PassedThrough::TooManyFiles,
        PassedThrough::ClosedStream,
    ];

    /// What an error of a conversation comes from.
    pub fn of(error: &io::Error) -> PassedThrough {
        let errno = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
        match errno {
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
                PassedThrough::TooManyFiles
            }
            _ if is_silence(error) => PassedThrough::Silence,
            _ => PassedThrough::Unreachable,
        }
    }

    fn byte(self) -> u8 {
        match self {
            PassedThrough::Unreachable => b'.',
            PassedThrough::Silence => b's',
            PassedThrough::TooManyFiles => b'f',
            PassedThrough::ClosedStream => b'c',
        }
    }

    /// The reason that a byte stands for.
    pub fn of_byte(byte: u8) -> PassedThrough {
        let found = PassedThrough::ALL.into_iter().find(|reason| reason.byte() == byte);
        found.unwrap_or(PassedThrough::Unreachable)
    }

    /// In words; empty where nothing is known.
    pub fn detail(self) -> &'static str {
        match self {
            PassedThrough::Unreachable => "",
            PassedThrough::Silence => "the daemon said nothing",
            PassedThrough::TooManyFiles => "the launcher has too many open files (ulimit -n)",
            PassedThrough::ClosedStream => "standard output or standard error is closed",
        }
    }
}

/// Leaves such a byte. Without the folder of the socket there is nobody to tell.
pub fn note_passed_through(why: PassedThrough) {
    let Some(socket) = socket_path() else { return };
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(UNSURPRISED)
        .open(passed_through_path(&socket));
    let _ = file.and_then(|mut file| file.write_all(&[why.byte()]));
}

/// Whether a wait was over before anything came.
pub fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Tells the launchers that come after this one that the daemon says nothing. While that holds, nobody
/// says it again: in the end one of them has to find out.
pub fn note_silence() {
    if let Some(socket) = socket_path() {
        leave_mark(&silence_mark(&socket));
    }
}

/// Where that is said of the daemon of a socket.
pub fn silence_mark(socket: &Path) -> PathBuf {
    socket.with_extension(MARK_ENDING.trim_start_matches('.'))
}

/// Where it is said that no daemon could be started.
fn start_mark(socket: &Path) -> PathBuf {
    socket.with_extension("unstarted")
}

fn leave_mark(mark: &Path) {
    if is_marked(mark) {
        return;
    }
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600).custom_flags(UNSURPRISED);
    // Without it everybody waits for as long as the first one.
    let _ = options.open(mark).and_then(|mut file| file.write_all(b"."));
}

/// Whether there is such a mark, and it still holds. It has the time of the file system, which may be
/// ahead by a little; a mark from a future beyond that says nothing.
fn is_marked(mark: &Path) -> bool {
    let modified = fs::symlink_metadata(mark).and_then(|found| found.modified());
    modified.is_ok_and(|at| match SystemTime::now().duration_since(at) {
        Ok(age) => age < MARK_AGE_MAX,
        Err(ahead) => ahead.duration() < Duration::from_secs(1),
    })
}

/// Opening a file in the folder of the socket never waits, and leads nowhere else.
pub const UNSURPRISED: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// Connects to the daemon, and starts it first where none answers and `start` is set.
pub fn connect(start: bool) -> io::Result<Connection> {
    let connected = match socket_path() {
        Some(socket) => connect_to(&socket, SILENCE_MAX),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    match connected {
        Err(error) if start && is_absence(&error) => start_daemon(&make_socket_path()?),
        connected => connected,
    }
}

/// The same for a compile, which does not wait for what others have just waited for in vain.
pub fn connect_for_compile() -> io::Result<Connection> {
    let connected = match socket_path() {
        Some(socket) if is_marked(&silence_mark(&socket)) => {
            connect_to(&socket, MARKED_SILENCE_MAX)
        }
        Some(socket) => connect_to(&socket, SILENCE_MAX),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    match connected {
        Err(error) if is_absence(&error) => {}
        connected => return connected,
    }
    let socket = make_socket_path()?;
    let mark = start_mark(&socket);
    if is_marked(&mark) {
        return Err(io::Error::other("no daemon could be started a moment ago"));
    }
    let started = start_daemon(&socket);
    if started.as_ref().is_err_and(is_silence) {
        leave_mark(&mark);
    }
    started
}

/// Puts a question of a subcommand.
pub fn ask(question: serde_json::Value, start: bool) -> Result<serde_json::Value, AskError> {
    let caller = caller().map_err(AskError::Unreachable)?;
    let request = ToDaemon::Ask { caller, question: question.to_string().into_bytes() };
    let mut connection = match connect(start) {
        Ok(connection) => connection,
        Err(error) if !start && is_absence(&error) => return Err(AskError::NotRunning),
        Err(error) => return Err(AskError::Unreachable(error)),
    };
    connection.send(&request).map_err(AskError::Unreachable)?;
    match connection.answer().map_err(AskError::Unreachable)? {
        Answered::Answer(answer) => unwrap_answer(&answer),
        Answered::OtherBuild(build) => Err(AskError::OtherBuild(build)),
    }
}

/// Another daemon of this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherDaemon {
    /// Where it listens.
    pub socket: PathBuf,
    /// Its build; `None` where it is the one of this program, for another cache.
    pub build: Option<String>,
}

/// The daemons whose sockets lie beside the one of this program. One that does not answer at once is
/// left out.
pub fn others() -> io::Result<Vec<OtherDaemon>> {
    let Some(own) = socket_path() else { return Ok(Vec::new()) };
    let request =
        ToDaemon::Ask { caller: caller()?, question: br#"{"command":"status"}"#.to_vec() };
    let ask = |socket: &Path| -> io::Result<Option<String>> {
        let mut connection = connect_to(socket, OTHER_SILENCE_MAX)?;
        connection.send(&request)?;
        match connection.answer()? {
            Answered::Answer(_) => Ok(None),
            Answered::OtherBuild(build) => Ok(Some(build)),
        }
    };
    let mut others = Vec::new();
    for entry in fs::read_dir(own.parent().unwrap_or(Path::new("/")))?.take(OTHERS_MAX).flatten() {
        let socket = entry.path();
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        if is_socket
            && socket != own
            && let Ok(build) = ask(&socket)
        {
            others.push(OtherDaemon { socket, build });
        }
    }
    Ok(others)
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
    /// The connection on which a request was sent before, and that the daemon has answered.
    pub fn adopt(socket: OwnedFd) -> io::Result<Connection> {
        let mut connection = Connection::new(socket, MARKED_SILENCE_MAX);
        connection.wait_longer()?;
        Ok(connection)
    }

    fn new(socket: OwnedFd, patience: Duration) -> Connection {
        let stream = UnixStream::from(socket);
        Connection { stream, patience, received: Vec::new(), descriptors: Vec::new() }
    }

    /// The daemon is there, whatever others have found.
    fn wait_longer(&mut self) -> io::Result<()> {
        if self.patience < SILENCE_MAX {
            self.stream.set_read_timeout(Some(SILENCE_MAX))?;
            self.stream.set_write_timeout(Some(SILENCE_MAX))?;
            self.patience = SILENCE_MAX;
        }
        Ok(())
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
        self.wait_longer()?;
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
                // The kernel drops descriptors for which this process has no room.
                Ok(message) if message.flags.contains(ReturnFlags::CTRUNC) => {
                    return Err(rustix::io::Errno::MFILE.into());
                }
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

fn connect_to(socket: &Path, patience: Duration) -> io::Result<Connection> {
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
    };
    let descriptor =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    for direction in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&descriptor, direction, Some(patience))?;
    }
    connect(&descriptor, &SocketAddrUnix::new(socket)?)?;
    // Whoever made the folder in /tmp first could hand out objects, and orders to run programs.
    let user = rustix::process::getuid();
    if rustix::net::sockopt::socket_peercred(&descriptor)?.uid != user {
        let text = format!("{} is another user's", socket.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(Connection::new(descriptor, patience))
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
    match connect_to(socket, SILENCE_MAX) {
        Err(error) if is_absence(&error) => {}
        result => return result,
    }
    let mut ready = spawn_daemon()?;
    // One byte when it listens; end of file when it could not.
    let mut byte = [0];
    let wait = rustix::event::Timespec { tv_sec: START_MAX.as_secs() as i64, tv_nsec: 0 };
    let mut descriptors = [rustix::event::PollFd::new(&ready, rustix::event::PollFlags::IN)];
    if rustix::event::poll(&mut descriptors, Some(&wait))? == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "the daemon did not start in time"));
    }
    if ready.read(&mut byte)? == 0 {
        return Err(io::Error::other("the daemon did not start"));
    }
    connect_to(socket, SILENCE_MAX)
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
