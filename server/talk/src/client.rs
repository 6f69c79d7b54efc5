//! Reaching the daemon, and starting it where there is none: the side of the launcher and the subcommands.

use crate::launcher_protocol::{
    BUILD, Caller, DESCRIPTORS_MAX, FRAME_BYTES_MAX, MARK_AGE_MAX, MARK_ENDING, MARKED_SILENCE_MAX,
    Malformed, SILENCE_MAX, ToDaemon, ToLauncher,
};
use crate::place::{self, OtherPlace};
use crate::program;
use crate::questions::{Asked, Question, decode};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};
use serde::de::DeserializeOwned;
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
use std::time::{Duration, Instant, SystemTime};

/// A daemon must answer this soon after it was started. It opens its store without walking it.
const START_MAX: Duration = Duration::from_secs(5);

/// How often a launcher looks whether the one that starts the daemon is done.
const START_POLL: Duration = Duration::from_millis(3);

/// Read at one time. The answer to a hit is short, and each page of the stack that is touched costs
/// the launcher a fault.
const RECEIVED_BYTES: usize = 1 << 10;

/// Variables that the daemon itself looks at, besides those that decide on its cache and rcache's own.
const DAEMON_VARIABLES: [&str; 3] = ["PATH", "TMPDIR", config::environment::XDG_RUNTIME_DIR];

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
    /// The seat of the daemon.
    pub seat: u32,
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
        // Each daemon has a secret of its own; see `Connection::prove`.
        proof: 0,
        umask: umask.bits(),
        view: place::view()?,
        niceness: place::niceness(),
        working_directory_id: (here.dev(), here.ino()),
        working_directory,
        environment: std::env::vars_os().collect(),
    })
}

/// Where the daemon of this process listens: of its environment, its place and a seat. The folder is made
/// where it is missing.
pub fn make_socket_path(seat: u32) -> io::Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let folder = config::paths::make_runtime_folder(&variable, user)?;
    Ok(folder.join(config::paths::socket_name(BUILD, &variable, place::view()?.place(seat))))
}

/// The same where the folder is there; nothing in it was looked at yet.
fn socket_path(seat: u32) -> io::Result<Option<PathBuf>> {
    let Some(folder) = existing_folder() else { return Ok(None) };
    let name = config::paths::socket_name(BUILD, &variable, place::view()?.place(seat));
    Ok(Some(folder.join(name)))
}

pub(crate) fn existing_folder() -> Option<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let folder = config::paths::runtime_folder(&variable, user).filter(|folder| folder.exists())?;
    Some(folder.path)
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
    let Ok(Some(socket)) = socket_path(0) else { return };
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
    if let Ok(Some(socket)) = socket_path(0) {
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
    connect_from(0, start)
}

/// The same, for a process that the daemons of the seats before have turned away.
fn connect_from(seat: u32, start: bool) -> io::Result<Connection> {
    if seat >= place::SEATS_MAX {
        return Err(OtherPlace.into());
    }
    let connected = match socket_path(seat)? {
        Some(socket) => connect_to(&socket, SILENCE_MAX),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    let connection = match connected {
        Err(error) if start && is_absence(&error) => start_daemon(&make_socket_path(seat)?),
        connected => connected,
    };
    Ok(Connection { seat, ..connection? })
}

/// The same for a compile, which does not wait for what others have just waited for in vain.
pub fn connect_for_compile(seat: u32) -> io::Result<Connection> {
    if seat >= place::SEATS_MAX {
        return Err(OtherPlace.into());
    }
    let connected = match socket_path(seat)? {
        Some(socket) if is_marked(&silence_mark(&socket)) => {
            connect_to(&socket, MARKED_SILENCE_MAX)
        }
        Some(socket) => connect_to(&socket, SILENCE_MAX),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    let connection = match connected {
        Err(error) if is_absence(&error) => start_for_compile(seat)?,
        connected => connected?,
    };
    Ok(Connection { seat, ..connection })
}

fn start_for_compile(seat: u32) -> io::Result<Connection> {
    let socket = make_socket_path(seat)?;
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

/// Puts a question of a subcommand; the answer is of the type that [`Question`] names.
pub fn ask<A: DeserializeOwned>(question: &Question, start: bool) -> Result<A, AskError> {
    let question = Asked { question: question.clone(), from_elsewhere: false };
    let question = serde_json::to_vec(&question).map_err(unreadable)?;
    let mut caller = caller().map_err(AskError::Unreachable)?;
    let (mut seat, mut made_way) = (0, false);
    // Each turn ends, goes on to another seat, or is the one after a daemon has made way.
    loop {
        let mut connection = match connect_from(seat, start) {
            Ok(connection) => connection,
            Err(error) if !start && is_absence(&error) => return Err(AskError::NotRunning),
            Err(error) => return Err(AskError::Unreachable(error)),
        };
        caller.proof = connection.proof().map_err(AskError::Unreachable)?;
        let request = ToDaemon::Ask { caller: caller.clone(), question: question.clone() };
        connection.send(&request).map_err(AskError::Unreachable)?;
        match connection.answer().map_err(AskError::Unreachable)? {
            Answered::Answer(answer) => {
                return decode(&answer).map_err(unreadable)?.map_err(AskError::Refused);
            }
            Answered::OtherBuild(build) => return Err(AskError::OtherBuild(build)),
            Answered::OtherPlace => seat = connection.seat + 1,
            Answered::MadeWay if !start => return Err(AskError::NotRunning),
            Answered::MadeWay if made_way => {
                return Err(AskError::Unreachable(io::ErrorKind::TimedOut.into()));
            }
            Answered::MadeWay => made_way = true,
        }
    }
}

/// What a daemon says to a question.
pub(crate) enum Answered {
    Answer(Vec<u8>),
    OtherBuild(String),
    OtherPlace,
    MadeWay,
}

fn unreadable(error: serde_json::Error) -> AskError {
    AskError::Unreachable(error.into())
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
        Connection { stream, patience, seat: 0, received: Vec::new(), descriptors: Vec::new() }
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

    /// What the daemon at the other end wants to be told; see [`place::proof`].
    pub fn proof(&self) -> io::Result<u64> {
        match place::proof(place::peer(self.stream.as_fd())?) {
            // It turns this process away itself, unless the question is one that everybody may ask.
            Err(error) if place::is_other_place(&error) => Ok(0),
            proof => proof,
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
        self.wait_longer()?;
        Ok(message)
    }

    /// The next message that is not a sign of life.
    pub(crate) fn answer(&mut self) -> io::Result<Answered> {
        loop {
            match self.receive()? {
                ToLauncher::Answer(answer) => return Ok(Answered::Answer(answer)),
                ToLauncher::OtherBuild(build) => return Ok(Answered::OtherBuild(build)),
                ToLauncher::OtherPlace => return Ok(Answered::OtherPlace),
                ToLauncher::MadeWay => return Ok(Answered::MadeWay),
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

pub(crate) fn connect_to(socket: &Path, patience: Duration) -> io::Result<Connection> {
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
    let user = rustix::process::getuid().as_raw();
    if place::peer(descriptor.as_fd())?.user != user {
        let text = format!("{} is another user's", socket.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(Connection::new(descriptor, patience))
}

/// No daemon is there, as opposed to one that cannot be talked to.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Starts the daemon, or waits for the process that is already starting it: one wins the lock, and the
/// others find the daemon up. They do not need the lock for that: hundreds that take it one after the
/// other would take too long on a busy machine.
fn start_daemon(socket: &Path) -> io::Result<Connection> {
    if !place::has_room_for_daemon() {
        return Err(io::Error::other(
            "the limits of this process (ulimit -H -a) are too low for it",
        ));
    }
    let deadline = Instant::now() + START_MAX;
    let path = socket.with_extension("lock");
    let _lock = loop {
        let lock = lock(&path)?;
        match connect_to(socket, SILENCE_MAX) {
            Err(error) if is_absence(&error) => {}
            result => return result,
        }
        match lock {
            Some(lock) => break lock,
            None if Instant::now() > deadline => return Err(io::ErrorKind::TimedOut.into()),
            None => std::thread::sleep(START_POLL),
        }
    };
    let mut ready = spawn_daemon(socket)?;
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

/// A lock whose file goes when nobody needs it; `None` where somebody has it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = open_lock(path, true)?;
    // Whoever had it may have removed the file.
    let is_ours = try_lock(&file)? && is_in_place(&file, path);
    Ok(is_ours.then_some(file))
}

fn open_lock(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(create).append(true).mode(0o600).custom_flags(UNSURPRISED).open(path)
}

fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_in_place(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

/// Removes what is left beside a socket that is gone, unless a daemon is just being started there.
pub fn remove_traces(socket: &Path) {
    let path = socket.with_extension("lock");
    let lock = match open_lock(&path, false) {
        Ok(lock) => Some(lock),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => return,
    };
    if lock.as_ref().is_some_and(|lock| !try_lock(lock).unwrap_or(false)) {
        return;
    }
    for extension in ["passed", "taken", "hung", "unstarted", "lock"] {
        let _ = fs::remove_file(socket.with_extension(extension));
    }
}

/// Starts `rcache daemon run --detached`; the returned pipe gets a byte when it listens.
fn spawn_daemon(socket: &Path) -> io::Result<std::process::ChildStdout> {
    // What is meant for the build is not the daemon's business, and may be secret.
    let is_needed = |name: &OsString| {
        let name = name.to_string_lossy();
        config::paths::DECIDING.contains(&&*name)
            || name.starts_with(config::environment::PREFIX)
            || DAEMON_VARIABLES.contains(&&*name)
    };
    let mut child = Command::new(own_program()?)
        .arg0("rcache")
        .args(["daemon", "run", "--detached", "--socket"])
        .arg(socket)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_needed(name)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Out of the build's process group, so that Ctrl-C stops the build only.
        .process_group(0)
        .spawn()?;
    let ready = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    // A child of it is the daemon: this process may become the compiler, which waits for no child that it
    // does not know.
    let _ = child.wait();
    Ok(ready)
}

/// The program of this process; where /proc is not mounted, under the name with which it was started.
fn own_program() -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    std::env::current_exe().or_else(|_| {
        // SAFETY: the kernel gives a text that stays (getauxval(3)), or 0.
        let name = unsafe {
            let name = libc::getauxval(libc::AT_EXECFN) as *const libc::c_char;
            (!name.is_null()).then(|| std::ffi::CStr::from_ptr(name))
        };
        let name = name.ok_or(io::ErrorKind::NotFound)?;
        fs::canonicalize(std::ffi::OsStr::from_bytes(name.to_bytes()))
    })
}
