//! The answer to a compile on its way to the client: in memory while it is short or the slot is held, else
//! from files, so that whoever does not read holds neither memory nor a slot.

use super::job::Made;
use super::memory::Budget;
use super::scratch::JobFolder;
use super::stream::TimedStream;
use remote::protocol::response::{self, Spooled};
use remote::protocol::{Checksum, Dialect};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::TcpStream;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// The answer is sent while the slot is held, for so long: hardly any client reads so slowly.
const SLOT_HELD_MAX: Duration = Duration::from_secs(2);

/// For all of it to be read.
const ANSWER_MAX: Duration = Duration::from_secs(300);

/// An output of up to this length is dealt with in memory, under the slot.
const OUTPUT_IN_MEMORY_MAX: u64 = 4 << 20;

/// LZO1X streams are made in memory, whatever their length; so they have a bound.
const LZO_OUTPUT_MAX: u64 = 96 << 20;

/// Without a slot an answer keeps no more than this in memory.
const UNREAD_IN_MEMORY_MAX: usize = 64 << 10;

/// What is read from a file at a time.
const STEP_BYTES: usize = 64 << 10;

/// What is still to be sent.
#[derive(Default)]
pub struct Answer {
    parts: VecDeque<Part>,
    /// Of the part in front, what was read from its file.
    step: Vec<u8>,
    /// How much of `step` was sent.
    sent: usize,
}

enum Part {
    Bytes(Vec<u8>),
    File(File),
}

/// How far sending came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All of it.
    All,
    /// The slot's time is up; more is to be sent.
    Late,
    /// The client is gone.
    Gone,
}

impl Answer {
    /// All at once.
    pub fn of_bytes(bytes: Vec<u8>) -> Answer {
        Answer { parts: [Part::Bytes(bytes)].into(), ..Answer::default() }
    }

    /// What a compile gave; `first` goes before it.
    ///
    /// # Errors
    /// Those of its files; or it is too long for this dialect.
    pub fn of_compile(
        made: Made,
        dialect: Dialect,
        request: &Checksum,
        first: &[u8],
        folder: &JobFolder,
        budget: &Budget,
    ) -> io::Result<Answer> {
        let Made { mut reply, output } = made;
        let mut parts = VecDeque::from([Part::Bytes(first.to_vec())]);
        let length =
            output.as_ref().map_or(Ok(0), |file| file.metadata().map(|found| found.len()))?;
        match output {
            Some(file) if length > OUTPUT_IN_MEMORY_MAX && dialect != Dialect::Lzo => {
                let packed = folder.new_file("packed-output")?;
                let Spooled { before, output, after } =
                    response::encode_file(dialect, &reply, file, packed, request)?;
                parts.extend([Part::Bytes(before), Part::File(output), Part::Bytes(after)]);
            }
            output => {
                if length > LZO_OUTPUT_MAX {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                let large = length > OUTPUT_IN_MEMORY_MAX;
                let _portion = large.then(|| budget.take(2 * length as usize));
                if let Some(mut file) = output {
                    file.read_to_end(&mut reply.output)?;
                }
                let bytes = response::encode(dialect, &reply, request);
                drop(reply);
                parts.push_back(match large {
                    false => Part::Bytes(bytes),
                    true => Part::File(spool(&bytes, folder)?),
                });
            }
        }
        Ok(Answer { parts, ..Answer::default() })
    }

    /// Bytes of its files, besides those of the compile's own output.
    pub fn disk_bytes(&self) -> u64 {
        let lengths = self.parts.iter().map(|part| match part {
            Part::Bytes(_) => 0,
            Part::File(file) => file.metadata().map_or(0, |found| found.len()),
        });
        lengths.sum()
    }

    /// Sends what the client takes in the short time for which the slot is held.
    pub fn send_with_slot(&mut self, stream: &TcpStream, stop: BorrowedFd) -> (Sent, u64) {
        self.send(stream, stop, SLOT_HELD_MAX)
    }

    /// Sends the rest.
    pub fn send_rest(&mut self, stream: &TcpStream, stop: BorrowedFd) -> (Sent, u64) {
        self.send(stream, stop, ANSWER_MAX)
    }

    /// Puts what is in memory into a file.
    ///
    /// # Errors
    /// Those of the file.
    pub fn leave_memory(&mut self, folder: &JobFolder) -> io::Result<()> {
        for part in &mut self.parts {
            if let Part::Bytes(bytes) = part
                && bytes.len() > UNREAD_IN_MEMORY_MAX
            {
                *part = Part::File(spool(bytes, folder)?);
            }
        }
        Ok(())
    }

    fn send(&mut self, stream: &TcpStream, stop: BorrowedFd, limit: Duration) -> (Sent, u64) {
        let mut timed = TimedStream::new(stream, limit, stop);
        let sent = loop {
            match self.send_step(&mut timed) {
                Ok(true) => {}
                Ok(false) => break Sent::All,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => break Sent::Late,
                Err(_) => break Sent::Gone,
            }
        };
        (sent, timed.bytes)
    }

    /// Whether there was something to send.
    fn send_step(&mut self, timed: &mut TimedStream) -> io::Result<bool> {
        if self.sent < self.step.len() {
            self.sent += timed.write(&self.step[self.sent..])?;
            return Ok(true);
        }
        self.step.clear();
        self.sent = 0;
        match self.parts.front_mut() {
            None => return Ok(false),
            Some(Part::Bytes(bytes)) => {
                let rest = bytes.split_off(bytes.len().min(STEP_BYTES));
                self.step = std::mem::replace(bytes, rest);
            }
            Some(Part::File(file)) => {
                file.take(STEP_BYTES as u64).read_to_end(&mut self.step)?;
            }
        }
        if self.step.is_empty() {
            self.parts.pop_front();
        }
        Ok(true)
    }
}

/// A file with these bytes, which is gone when it is closed.
fn spool(bytes: &[u8], folder: &JobFolder) -> io::Result<File> {
    let mut file = folder.new_file("answer")?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use crate::stream::event;
    use remote::Reply;
    use remote::protocol::request;
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    /// What a client reads of an answer whose output has this length.
    fn read(dialect: Dialect, length: usize) -> Reply {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(parent.path()).unwrap();
        let folder = scratch.job_folder().unwrap();
        let (_, checksum) = request::encode(dialect, &remote::Job::default(), "");
        let output: Vec<u8> = (0..length).map(|at| (at * at / 7) as u8).collect();
        let path = folder.path().join("output.o");
        std::fs::write(&path, &output).unwrap();
        let reply = Reply { stderr: b"warning".into(), ..Reply::default() };
        let made = Made { reply, output: Some(File::open(path).unwrap()) };
        let first = if dialect == Dialect::Native { response::ALIVE } else { b"" };
        let budget = Budget::new(1 << 30);
        let mut answer =
            Answer::of_compile(made, dialect, &checksum, first, &folder, &budget).unwrap();
        answer.leave_memory(&folder).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            response::read(&mut stream, dialect, &checksum).unwrap()
        });
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let never = event().unwrap();
        assert_eq!(answer.send_rest(&stream, never.as_fd()).0, Sent::All);
        drop(stream);
        let reply = client.join().unwrap();
        assert!(reply.output == output, "{dialect:?} {length}");
        reply
    }

    #[test]
    fn answers_of_every_length_arrive() {
        for dialect in [Dialect::Plain, Dialect::Lzo, Dialect::Native] {
            for length in [0, 100, 300_000, OUTPUT_IN_MEMORY_MAX as usize + 1] {
                assert_eq!(read(dialect, length).stderr, b"warning");
            }
        }
    }

    #[test]
    fn who_does_not_read_is_late() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let never = event().unwrap();
        let mut answer = Answer::of_bytes(vec![0; 64 << 20]);
        let sent = answer.send(&stream, never.as_fd(), Duration::from_millis(50)).0;
        assert_eq!(sent, Sent::Late);
    }
}
