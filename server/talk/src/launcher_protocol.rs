//! What launcher and daemon say to each other over the unix socket (std only: the launcher uses it).
//!
//! ```text
//! frame    = length:u32 kind:u8 body            length counts kind and body, little endian
//! bytes    = length:u32 octet*
//! list     = count:u32 bytes*
//! caller   = build:bytes proof:u64 umask:u32 view niceness:i32 device:u64 inode:u64 cwd:bytes environment:list
//!            with "NAME=value" in the environment
//! view     = root_device:u64 root_inode:u64 mount_namespace:u64 group:u32 surroundings:u64
//! launcher -> daemon
//!   Compile = caller terminal:u8 columns:u16 compiler:bytes arguments:list
//!   Ask     = caller question:bytes             JSON, for the subcommands
//!   Ran     = status:i32 user_us:u64 system_us:u64
//! daemon -> launcher
//!   Finished  = status:i32 stdout:bytes stderr:bytes
//!   Run       = program:bytes arguments:list environment:list terminal:u8 compile:u8
//!               with descriptors: stdout, stderr, extra*
//!   PrintRan  = (empty)                         print what the last run wrote, end as it ended
//!   StepAside = (empty)                         exec the compiler
//!   Waiting   = (empty)                         still there; the launcher's time-out starts again
//!   Answer    = answer:bytes                    JSON
//!   OtherBuild = build:bytes                    the daemon is of this build
//!   Warning   = text:bytes                      for standard error, once
//!   MadeWay   = (empty)                         the daemon retires: it is nicer than the caller
//!   OtherPlace = (empty)                        the daemon serves others: the next seat may do
//! ```

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

/// The build that this binary is of: version, a plus sign, and a digest of its sources.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("RCACHE_BUILD_ID"));

/// A frame longer than this is refused. Linux caps argv and environment at about 6 MiB, and a
/// result that printed more than [`PRINTED_BYTES_MAX`] is not stored.
pub const FRAME_BYTES_MAX: usize = 32 << 20;

/// What a result may have printed to both streams together: it travels in one `Finished`.
pub const PRINTED_BYTES_MAX: usize = FRAME_BYTES_MAX - SILENT_HIT.len();

/// The launcher gives up on a daemon that says nothing for this long.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The launcher gives up this soon where another one has just found that the daemon says nothing.
pub const MARKED_SILENCE_MAX: Duration = Duration::from_millis(50);

/// For so long that holds. Then one launcher waits for [`SILENCE_MAX`] again.
pub const MARK_AGE_MAX: Duration = Duration::from_secs(30);

/// How the name of the mark ends of a daemon that says nothing, in place of the socket's `.sock`.
pub const MARK_ENDING: &str = ".hung";

/// The daemon says `Waiting` this often while it has nothing better to say.
pub const WAITING_INTERVAL: Duration = Duration::from_secs(1);

/// Descriptors that may travel with one `Run`: stdout, stderr, and two files for dependencies.
pub const DESCRIPTORS_MAX: usize = 4;

/// The whole answer to a hit that printed nothing: `Finished` with zeros.
pub const SILENT_HIT: [u8; 17] = [13, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Stands for the path of extra descriptor `n` in an argument of `Run`. A NUL cannot occur in a
/// real argument.
pub fn descriptor_mark(n: usize) -> Vec<u8> {
    format!("\0{n}\0").into_bytes()
}

/// Who calls: everything about the calling process that a compile can depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The launcher's [`BUILD`].
    pub build: String,
    /// What the kernel let it see of the daemon; see `place::proof`.
    pub proof: u64,
    /// The file mode creation mask.
    pub umask: u32,
    /// What paths mean to it, and what it may do.
    pub view: View,
    /// How much it stands back for others; see `place::niceness`.
    pub niceness: i32,
    /// Device and inode of the working directory: a daemon that sees another there must step aside.
    pub working_directory_id: (u64, u64),
    /// The working directory as the kernel names it.
    pub working_directory: PathBuf,
    /// All variables.
    pub environment: Vec<(OsString, OsString)>,
}

/// What paths mean to a process, and whose files it makes. In a container or a chroot the same path
/// can be another file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Device and inode of the root folder.
    pub root: (u64, u64),
    /// The inode of the mount namespace; 0 where /proc is not mounted.
    pub mount_namespace: u64,
    /// The effective group.
    pub group: u32,
    /// Of the network namespace, privileges, groups and hard limits.
    pub surroundings: u64,
}

/// Which of the caller's streams are terminals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Terminal {
    /// Standard output is a terminal.
    pub stdout: bool,
    /// Standard error is a terminal.
    pub stderr: bool,
    /// Width in columns, 0 when unknown.
    pub columns: u16,
    /// Width of the terminal that standard input is, 0 where it is none: gcc cuts the lines that it
    /// quotes on a terminal by that one.
    pub input_columns: u16,
}

/// From the launcher to the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToDaemon {
    /// A compiler call.
    Compile {
        /// Who calls.
        caller: Caller,
        /// Whether diagnostics go to a terminal.
        terminal: Terminal,
        /// Path of the compiler.
        compiler: PathBuf,
        /// The arguments after the compiler.
        arguments: Vec<OsString>,
    },
    /// A question of a subcommand, as JSON.
    Ask {
        /// Who asks.
        caller: Caller,
        /// The question.
        question: Vec<u8>,
    },
    /// The program of the last `Run` ended.
    Ran {
        /// The status as waitpid gives it.
        status: i32,
        /// CPU time in user mode, µs.
        user_us: u64,
        /// CPU time in the kernel, µs.
        system_us: u64,
    },
}

/// A program that the launcher is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Path of the program.
    pub program: PathBuf,
    /// Its arguments; may contain [`descriptor_mark`]s.
    pub arguments: Vec<Vec<u8>>,
    /// Variables to set besides the caller's own, as `NAME=value`.
    pub environment: Vec<Vec<u8>>,
    /// Give the program a terminal of the caller's looks as standard error, and write what it
    /// prints there to the descriptor.
    pub terminal: bool,
    /// This is the compile itself: after it, the launcher can end without the daemon.
    pub compile: bool,
}

/// From the daemon to the launcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToLauncher {
    /// The files are written; print this and end.
    Finished {
        /// The status as waitpid gives it.
        status: i32,
        /// For standard output.
        stdout: Vec<u8>,
        /// For standard error.
        stderr: Vec<u8>,
    },
    /// Run this program with the descriptors that came along, then say `Ran`.
    Run(Run),
    /// Print what the last run wrote, and end as it ended.
    PrintRan,
    /// Exec the compiler.
    StepAside,
    /// Still working.
    Waiting,
    /// The answer to `Ask`, as JSON.
    Answer(Vec<u8>),
    /// The daemon is another build.
    OtherBuild(String),
    /// Something for standard error.
    Warning(String),
    /// The daemon is nicer than the caller, and retires.
    MadeWay,
    /// The daemon serves processes with other rights.
    OtherPlace,
}

/// Bytes that are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The message ends too early.
    Truncated,
    /// Bytes are left over.
    Trailing,
    /// No such kind.
    Kind(u8),
    /// A number or name out of its range.
    Value,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Truncated => write!(f, "the message ends too early"),
            Malformed::Trailing => write!(f, "bytes are left over after the message"),
            Malformed::Kind(kind) => write!(f, "no message is of kind {kind}"),
            Malformed::Value => write!(f, "a value is out of its range"),
        }
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, malformed)
    }
}

/// Reads one frame's kind and body.
pub fn read_frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length == 0 || length > FRAME_BYTES_MAX {
        return Err(Malformed::Value.into());
    }
    // Grows with what really arrives, so that a length alone costs no memory.
    let mut frame = Vec::with_capacity(length.min(64 << 10));
    stream.take(length as u64).read_to_end(&mut frame)?;
    if frame.len() < length {
        return Err(Malformed::Truncated.into());
    }
    Ok(frame)
}

/// Writes a frame that [`ToDaemon::encode`] or [`ToLauncher::encode`] made.
pub fn write_frame(stream: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    stream.write_all(frame)
}

impl ToDaemon {
    /// The whole frame, length included.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            ToDaemon::Compile { caller, terminal, compiler, arguments } => {
                let mut frame = Writer::new(1);
                frame.caller(caller);
                frame.u8(u8::from(terminal.stdout) | u8::from(terminal.stderr) << 1);
                frame.u16(terminal.columns);
                frame.u16(terminal.input_columns);
                frame.bytes(compiler.as_os_str().as_bytes());
                frame.list(arguments.iter().map(|argument| argument.as_bytes()));
                frame.finish()
            }
            ToDaemon::Ask { caller, question } => {
                let mut frame = Writer::new(2);
                frame.caller(caller);
                frame.bytes(question);
                frame.finish()
            }
            ToDaemon::Ran { status, user_us, system_us } => {
                let mut frame = Writer::new(3);
                frame.u32(*status as u32);
                frame.u64(*user_us);
                frame.u64(*system_us);
                frame.finish()
            }
        }
    }

    /// Decodes what [`read_frame`] read.
    pub fn decode(frame: &[u8]) -> Result<ToDaemon, Malformed> {
        let mut reader = Reader(frame);
        let message = match reader.u8()? {
            1 => {
                let caller = reader.caller()?;
                let streams = reader.u8()?;
                let (columns, input_columns) = (reader.u16()?, reader.u16()?);
                let (stdout, stderr) = (streams & 1 != 0, streams & 2 != 0);
                let terminal = Terminal { stdout, stderr, columns, input_columns };
                let compiler = PathBuf::from(os(reader.bytes()?));
                let arguments = reader.list()?.into_iter().map(os).collect();
                ToDaemon::Compile { caller, terminal, compiler, arguments }
            }
            2 => ToDaemon::Ask { caller: reader.caller()?, question: reader.bytes()?.to_vec() },
            3 => ToDaemon::Ran {
                status: reader.u32()? as i32,
                user_us: reader.u64()?,
                system_us: reader.u64()?,
            },
            kind => return Err(Malformed::Kind(kind)),
        };
        reader.end().map(|()| message)
    }
}

impl ToLauncher {
    /// The whole frame, length included.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            ToLauncher::Finished { status, stdout, stderr } => {
                let mut frame = Writer::new(1);
                frame.u32(*status as u32);
                frame.bytes(stdout);
                frame.bytes(stderr);
                frame.finish()
            }
            ToLauncher::Run(run) => {
                let mut frame = Writer::new(2);
                frame.bytes(run.program.as_os_str().as_bytes());
                frame.list(run.arguments.iter().map(|argument| argument.as_slice()));
                frame.list(run.environment.iter().map(|variable| variable.as_slice()));
                frame.u8(u8::from(run.terminal));
                frame.u8(u8::from(run.compile));
                frame.finish()
            }
            ToLauncher::PrintRan => Writer::new(3).finish(),
            ToLauncher::StepAside => Writer::new(4).finish(),
            ToLauncher::Waiting => Writer::new(5).finish(),
            ToLauncher::Answer(answer) => text_frame(6, answer),
            ToLauncher::OtherBuild(build) => text_frame(7, build.as_bytes()),
            ToLauncher::Warning(text) => text_frame(8, text.as_bytes()),
            ToLauncher::MadeWay => Writer::new(9).finish(),
            ToLauncher::OtherPlace => Writer::new(10).finish(),
        }
    }

    /// Decodes what [`read_frame`] read.
    pub fn decode(frame: &[u8]) -> Result<ToLauncher, Malformed> {
        let mut reader = Reader(frame);
        let message = match reader.u8()? {
            1 => ToLauncher::Finished {
                status: reader.u32()? as i32,
                stdout: reader.bytes()?.to_vec(),
                stderr: reader.bytes()?.to_vec(),
            },
            2 => ToLauncher::Run(Run {
                program: PathBuf::from(os(reader.bytes()?)),
                arguments: reader.list()?.into_iter().map(<[u8]>::to_vec).collect(),
                environment: reader.list()?.into_iter().map(<[u8]>::to_vec).collect(),
                terminal: reader.u8()? != 0,
                compile: reader.u8()? != 0,
            }),
            3 => ToLauncher::PrintRan,
            4 => ToLauncher::StepAside,
            5 => ToLauncher::Waiting,
            6 => ToLauncher::Answer(reader.bytes()?.to_vec()),
            7 => ToLauncher::OtherBuild(reader.text()?),
            8 => ToLauncher::Warning(reader.text()?),
            9 => ToLauncher::MadeWay,
            10 => ToLauncher::OtherPlace,
            kind => return Err(Malformed::Kind(kind)),
        };
        reader.end().map(|()| message)
    }
}

fn text_frame(kind: u8, text: &[u8]) -> Vec<u8> {
    let mut frame = Writer::new(kind);
    frame.bytes(text);
    frame.finish()
}

fn os(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

/// Builds one frame; the length is filled in at the end.
struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u8) -> Writer {
        let mut frame = Vec::with_capacity(8 << 10);
        frame.extend_from_slice(&[0, 0, 0, 0, kind]);
        Writer(frame)
    }

    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, value: &[u8]) {
        self.u32(value.len() as u32);
        self.0.extend_from_slice(value);
    }

    fn list<'a>(&mut self, items: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.u32(items.len() as u32);
        items.for_each(|item| self.bytes(item));
    }

    fn caller(&mut self, caller: &Caller) {
        self.bytes(caller.build.as_bytes());
        self.u64(caller.proof);
        self.u32(caller.umask);
        self.u64(caller.view.root.0);
        self.u64(caller.view.root.1);
        self.u64(caller.view.mount_namespace);
        self.u32(caller.view.group);
        self.u64(caller.view.surroundings);
        self.u32(caller.niceness as u32);
        self.u64(caller.working_directory_id.0);
        self.u64(caller.working_directory_id.1);
        self.bytes(caller.working_directory.as_os_str().as_bytes());
        self.u32(caller.environment.len() as u32);
        for (name, value) in &caller.environment {
            self.u32((name.len() + 1 + value.len()) as u32);
            self.0.extend_from_slice(name.as_bytes());
            self.0.push(b'=');
            self.0.extend_from_slice(value.as_bytes());
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let length = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

/// A cursor over one frame.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Malformed::Value)
    }

    fn list(&mut self) -> Result<Vec<&'a [u8]>, Malformed> {
        let count = self.u32()? as usize;
        // Each item takes four bytes at least, so the frame's length bounds the count.
        if count > self.0.len() / 4 {
            return Err(Malformed::Truncated);
        }
        (0..count).map(|_| self.bytes()).collect()
    }

    fn caller(&mut self) -> Result<Caller, Malformed> {
        Ok(Caller {
            build: self.text()?,
            proof: self.u64()?,
            umask: self.u32()?,
            view: View {
                root: (self.u64()?, self.u64()?),
                mount_namespace: self.u64()?,
                group: self.u32()?,
                surroundings: self.u64()?,
            },
            niceness: self.u32()? as i32,
            working_directory_id: (self.u64()?, self.u64()?),
            working_directory: PathBuf::from(os(self.bytes()?)),
            environment: self
                .list()?
                .into_iter()
                .filter_map(|variable| {
                    // As in std: a leading "=" is part of the name.
                    let equals = variable.iter().skip(1).position(|&byte| byte == b'=')? + 1;
                    Some((os(&variable[..equals]), os(&variable[equals + 1..])))
                })
                .collect(),
        })
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}

impl Caller {
    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
    }
}

#[cfg(test)]
mod tests;
