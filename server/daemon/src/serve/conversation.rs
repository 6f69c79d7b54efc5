//! One connection, seen from the daemon: messages, and programs that the launcher runs for us.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::fs::File;
use std::io::{self, BufReader, IoSlice, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use talk::launcher_protocol::{
    DESCRIPTORS_MAX, Run, ToDaemon, ToLauncher, WAITING_INTERVAL, read_frame,
};
use talk::party::{Party, Process};

/// A launcher sends its request as one write; one that does not is no launcher.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Between two looks at a program that somebody may wait for.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

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

impl Party for Conversation {
    fn process(&self) -> Process {
        // rustix knows no peer without a number, as in another PID namespace.
        let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut length = size_of_val(&peer) as libc::socklen_t;
        let (socket, place) = (self.stream.as_raw_fd(), (&raw mut peer).cast());
        // SAFETY: the option is written to plain data of the length that is said.
        let failed = unsafe {
            libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, place, &mut length) < 0
        };
        Process::new(if failed { 0 } else { peer.pid })
    }

    /// Shows that the daemon lives, and notices by the error when the launcher is gone.
    fn still_waiting(&mut self) -> io::Result<()> {
        if self.last_sign.elapsed() < WAITING_INTERVAL {
            return Ok(());
        }
        self.send(&ToLauncher::Waiting)
    }
}

impl Conversation {
    /// A conversation over an accepted connection.
    pub fn new(stream: UnixStream) -> Conversation {
        Conversation { stream, last_sign: Instant::now() }
    }

    /// The connection, for whoever wants to know who is at the other end.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
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

    /// Whether the launcher has ended: it was stopped, since it never goes before it is released.
    pub fn is_gone(&self) -> bool {
        let mut descriptors = [PollFd::new(&self.stream, PollFlags::empty())];
        let ready = poll(&mut descriptors, Some(&Timespec::default()));
        let ends = PollFlags::HUP | PollFlags::ERR;
        ready.is_ok_and(|_| descriptors[0].revents().intersects(ends))
    }

    /// Lets the launcher run a program. `extras` more files can be written by it, under the paths
    /// that stand for their marks.
    pub fn run(&mut self, order: Run, extras: usize) -> io::Result<Captured> {
        self.run_beside(order, extras, None)
    }

    /// The same, while `look` looks now and then at whoever runs it. An error of that ends the call.
    pub fn run_beside(
        &mut self,
        order: Run,
        extras: usize,
        look: Option<&mut dyn FnMut(Process) -> io::Result<()>>,
    ) -> io::Result<Captured> {
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
        if let Some(look) = look {
            let process = self.process();
            while poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], Some(&LOOK))? == 0 {
                look(process)?;
            }
        }
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
