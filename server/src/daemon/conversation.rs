//! One connection, seen from the daemon: messages, and programs that the launcher runs for us.

use crate::launcher_protocol::{
    DESCRIPTORS_MAX, Run, ToDaemon, ToLauncher, WAITING_INTERVAL, read_frame,
};
use rustix::fs::MemfdFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::fs::File;
use std::io::{self, BufReader, IoSlice, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A launcher sends its request as one write; one that does not is no launcher.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Streams and dependency lists beyond this are not read into memory, and the result is not stored.
const CAPTURED_BYTES_MAX: u64 = 64 << 20;

/// The daemon's side of one connection.
pub struct Conversation {
    stream: UnixStream,
    last_sign: Instant,
}

/// A program that was run, and what it wrote.
pub struct Captured {
    /// As waitpid gives it.
    pub status: i32,
    /// From the order to the report.
    pub wall: Duration,
    stdout: File,
    stderr: File,
    extras: Vec<File>,
}

impl Captured {
    /// Whether it ended with status 0.
    pub fn succeeded(&self) -> bool {
        self.status == 0
    }

    /// What it wrote to standard output. An error where that is too much.
    pub fn stdout(&mut self) -> io::Result<Vec<u8>> {
        read_all(&mut self.stdout)
    }

    /// What it wrote to standard error.
    pub fn stderr(&mut self) -> io::Result<Vec<u8>> {
        read_all(&mut self.stderr)
    }

    /// What it wrote to extra descriptor `n`.
    pub fn extra(&mut self, n: usize) -> io::Result<Vec<u8>> {
        self.extras.get_mut(n).map_or(Ok(Vec::new()), read_all)
    }
}

/// What a program wrote to a file that it was given.
pub fn read_all(file: &mut File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    if length > CAPTURED_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // The descriptor shares its position with the program that wrote.
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Conversation {
    /// A conversation over an accepted connection.
    pub fn new(stream: UnixStream) -> Conversation {
        Conversation { stream, last_sign: Instant::now() }
    }

    /// The first message.
    pub fn request(&mut self) -> io::Result<ToDaemon> {
        self.stream.set_read_timeout(Some(REQUEST_MAX))?;
        // Length and body at once, most often. Nothing follows before the answer.
        let request = read_frame(&mut BufReader::new(&self.stream))?;
        let request = ToDaemon::decode(&request)?;
        self.last_sign = Instant::now();
        Ok(request)
    }

    /// Sends a message.
    pub fn send(&mut self, message: &ToLauncher) -> io::Result<()> {
        self.last_sign = Instant::now();
        self.stream.write_all(&message.encode())
    }

    /// To be called now and then while the launcher waits: shows that the daemon lives, and
    /// notices by the error when the launcher is gone.
    pub fn still_waiting(&mut self) -> io::Result<()> {
        if self.last_sign.elapsed() < WAITING_INTERVAL {
            return Ok(());
        }
        self.send(&ToLauncher::Waiting)
    }

    /// Lets the launcher run a program. `extras` more files can be written by it, under the paths
    /// that stand for their marks.
    pub fn run(&mut self, order: Run, extras: usize) -> io::Result<Captured> {
        let start = Instant::now();
        let memory_file = || -> io::Result<File> {
            Ok(File::from(rustix::fs::memfd_create("rcache", MemfdFlags::CLOEXEC)?))
        };
        let stdout = memory_file()?;
        let stderr = memory_file()?;
        let extras = (0..extras).map(|_| memory_file()).collect::<io::Result<Vec<_>>>()?;
        let descriptors: Vec<BorrowedFd> =
            [&stdout, &stderr].into_iter().chain(&extras).map(|file| file.as_fd()).collect();
        // The launcher may take as long as a compiler takes.
        self.stream.set_read_timeout(None)?;
        self.send_with(&ToLauncher::Run(order).encode(), &descriptors)?;
        match ToDaemon::decode(&read_frame(&mut self.stream)?)? {
            ToDaemon::Ran { status, .. } => {
                self.last_sign = Instant::now();
                Ok(Captured { status, wall: start.elapsed(), stdout, stderr, extras })
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Descriptors travel with the first byte; the rest follows as usual.
    fn send_with(&mut self, frame: &[u8], descriptors: &[BorrowedFd]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let sent = rustix::net::sendmsg(
            self.stream.as_fd(),
            &[IoSlice::new(frame)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )?;
        self.stream.write_all(&frame[sent..])
    }
}
