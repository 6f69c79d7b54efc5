//! `FakeHost`: a compile daemon on loopback that is honest about its compiler, and then does to each job
//! what the test says.

use super::SYSTEM_PATH;
use remote::protocol::request::{self, Request};
use remote::protocol::{Checksum, Dialect, response};
use remote::{Job, Reply};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How the text of the trial job begins.
const TRIAL: &[u8] = b"# 1 \"trial.c\"";

/// How often something that waits looks whether the test is over.
const LOOK_UP: Duration = Duration::from_millis(10);

/// No exchange lasts longer.
const EXCHANGE_MAX: Duration = Duration::from_secs(100);

/// What a test does with one job.
type Deed = dyn Fn(&mut Exchange) + Send + Sync;

/// A host that a test plays.
pub struct FakeHost {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    over: AtomicBool,
    jobs: AtomicUsize,
    running: AtomicUsize,
    running_most: AtomicUsize,
    upstream: Option<String>,
    reads_jobs: bool,
    /// Its compiler is another one by now.
    upgraded: AtomicBool,
    deed: Box<Deed>,
}

/// One job and its connection.
pub struct Exchange {
    /// The connection.
    pub stream: TcpStream,
    /// In which the answer is to be.
    pub dialect: Dialect,
    /// What is to be compiled.
    pub job: Job,
    compiler: String,
    checksum: Checksum,
    shared: Arc<Shared>,
    /// It is among those that run.
    runs: bool,
}

impl FakeHost {
    /// A stock distccd.
    pub fn distccd(deed: impl Fn(&mut Exchange) + Send + Sync + 'static) -> FakeHost {
        FakeHost::start(None, true, Box::new(deed))
    }

    /// One that does not even read its jobs before the deed is done.
    pub fn unreading(deed: impl Fn(&mut Exchange) + Send + Sync + 'static) -> FakeHost {
        FakeHost::start(None, false, Box::new(deed))
    }

    /// Stands before a worker, which listens at `address`.
    pub fn before(address: &str, deed: impl Fn(&mut Exchange) + Send + Sync + 'static) -> FakeHost {
        FakeHost::start(Some(address.to_owned()), true, Box::new(deed))
    }

    fn start(upstream: Option<String>, reads_jobs: bool, deed: Box<Deed>) -> FakeHost {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let count = AtomicUsize::default;
        let shared = Arc::new(Shared {
            over: AtomicBool::new(false),
            jobs: count(),
            running: count(),
            running_most: count(),
            upstream,
            reads_jobs,
            upgraded: AtomicBool::new(false),
            deed,
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            while !serving.over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let shared = Arc::clone(&serving);
                        std::thread::spawn(move || shared.serve(stream));
                    }
                    Err(_) => std::thread::sleep(LOOK_UP),
                }
            }
        });
        FakeHost { port, shared }
    }

    /// As a word of a host list.
    pub fn host(&self, slots: usize) -> String {
        format!("127.0.0.1:{}/{slots}", self.port)
    }

    /// Jobs that came, besides trials.
    pub fn jobs(&self) -> usize {
        self.shared.jobs.load(Ordering::Relaxed)
    }

    /// The most that it had at one time.
    pub fn running_most(&self) -> usize {
        self.shared.running_most.load(Ordering::Relaxed)
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn serve(self: &Arc<Shared>, mut stream: TcpStream) {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(EXCHANGE_MAX)).unwrap();
        stream.set_write_timeout(Some(EXCHANGE_MAX)).unwrap();
        let mut head = [0; 12];
        if stream.peek(&mut head).is_ok_and(|length| length < head.len()) {
            return;
        }
        let native = head.ends_with(format!("{:08x}", Dialect::Native.version()).as_bytes());
        if native && self.upstream.is_none() {
            return;
        }
        let met = self.jobs.load(Ordering::Relaxed) > 0 || !self.reads_jobs && self.is_met(&stream);
        if !self.reads_jobs && met {
            return self.perform(Exchange {
                stream,
                dialect: Dialect::Plain,
                job: Job::default(),
                compiler: String::new(),
                checksum: request::encode(Dialect::Plain, &Job::default(), "").1,
                shared: Arc::clone(self),
                runs: false,
            });
        }
        match request::read(&mut stream) {
            Ok(Request::Identify { arguments }) => {
                let answer = self.ask(&request::encode_identify(&arguments));
                let _ = stream.write_all(&answer);
            }
            Ok(Request::Compile { dialect, job, compiler, checksum }) => {
                let compiler = compiler.unwrap_or_default();
                let shared = Arc::clone(self);
                let trial = job.source.starts_with(TRIAL);
                let mut exchange =
                    Exchange { stream, dialect, job, compiler, checksum, shared, runs: false };
                match trial {
                    true if self.upgraded.load(Ordering::Relaxed) => {
                        exchange.answer_changed(|reply| reply.output.push(0));
                    }
                    true => exchange.answer(),
                    false => self.perform(exchange),
                }
            }
            _ => {}
        }
    }

    /// Whether the job that waits to be read is no trial.
    fn is_met(&self, stream: &TcpStream) -> bool {
        let mut start = vec![0; 64 << 10];
        std::thread::sleep(LOOK_UP);
        let length = stream.peek(&mut start).unwrap_or(0);
        !start[..length].windows(TRIAL.len()).any(|window| window == TRIAL)
    }

    fn perform(&self, mut exchange: Exchange) {
        self.jobs.fetch_add(1, Ordering::Relaxed);
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        self.running_most.fetch_max(running, Ordering::Relaxed);
        exchange.runs = true;
        (self.deed)(&mut exchange);
        exchange.stop();
    }

    /// What the worker behind says.
    fn ask(&self, request: &[u8]) -> Vec<u8> {
        let upstream = self.upstream.as_deref().expect("a worker behind");
        let mut stream = TcpStream::connect(upstream).expect("connect to the worker");
        stream.set_read_timeout(Some(EXCHANGE_MAX)).unwrap();
        stream.write_all(request).expect("send to the worker");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer of the worker");
        answer
    }
}

impl Exchange {
    /// What an honest host would send.
    pub fn honest(&self) -> Vec<u8> {
        if self.shared.upstream.is_some() {
            return self.shared.ask(&request::encode(self.dialect, &self.job, &self.compiler).0);
        }
        self.encoded(&self.compiled())
    }

    /// What the compiler makes of the job.
    pub fn compiled(&self) -> Reply {
        let folder = tempfile::tempdir().unwrap();
        let words: Vec<String> =
            self.job.arguments.iter().map(|word| String::from_utf8_lossy(word).into()).collect();
        std::fs::write(folder.path().join(&words[1]), &self.job.source).unwrap();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(folder.path()).env_clear().env("PATH", SYSTEM_PATH);
        let output = command.stdin(Stdio::null()).output().expect("run the compiler");
        let object = std::fs::read(folder.path().join(words.last().unwrap())).unwrap_or_default();
        Reply {
            status: output.status.into_raw(),
            stderr: output.stderr,
            stdout: output.stdout,
            output: object,
        }
    }

    /// Answers honestly.
    pub fn answer(&mut self) {
        let bytes = self.honest();
        self.send(&bytes);
    }

    /// Answers with what a change makes of the honest reply; only without a worker behind.
    pub fn answer_changed(&mut self, change: impl FnOnce(&mut Reply)) {
        let mut reply = self.compiled();
        change(&mut reply);
        let bytes = self.encoded(&reply);
        self.send(&bytes);
    }

    /// From now on its compiler is another one, which makes other objects.
    pub fn upgrade(&mut self) {
        self.shared.upgraded.store(true, Ordering::Relaxed);
        self.job.source = b"# 1 \"other.c\"\nint another_compiler_made_this;\n".to_vec();
    }

    /// A reply as it is sent.
    pub fn encoded(&self, reply: &Reply) -> Vec<u8> {
        response::encode(self.dialect, reply, &self.checksum)
    }

    /// It no longer runs. The other side, once it has the answer, may start its next job before this
    /// thread is heard of again: what is counted must be over before the answer is sent.
    fn stop(&mut self) {
        if std::mem::take(&mut self.runs) {
            self.shared.running.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Sends bytes; the other side may be gone.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stop();
        self.stream.write_all(bytes).is_ok()
    }

    /// Does nothing until the other side leaves, or the test ends.
    pub fn hang(&mut self) {
        self.stream.set_read_timeout(Some(LOOK_UP)).unwrap();
        let end = std::time::Instant::now() + EXCHANGE_MAX;
        while std::time::Instant::now() < end && !self.shared.over.load(Ordering::Relaxed) {
            match self.stream.peek(&mut [0]) {
                Ok(0) => return self.stop(),
                Ok(_) => std::thread::sleep(LOOK_UP),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return self.stop(),
            }
        }
    }

    /// Closes the connection with a reset.
    pub fn reset(&mut self) {
        let linger = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&self.stream, linger).unwrap();
    }
}
