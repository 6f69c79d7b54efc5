//! One connection: one request, one answer.

use super::answer::{Answer, Sent};
use super::caller::Caller;
use super::child::Watch;
use super::crowd::Place;
use super::job::{Job, Made, Verdict, complaint};
use super::metrics::Outcome;
use super::policy::{self, Facts, Refusal};
use super::scratch::JobFolder;
use super::serve::Worker;
use super::slots::{NoSlot, Slot};
use super::stream::TimedStream;
use compiler::identity::Compiler;
use identify::wire_identity;
use remote::Reply;
use remote::protocol::identity::{CompilerIdentity, Identity};
use remote::protocol::request::{self, Head, Order, Packed};
use remote::protocol::response::{self, REFUSED_STATUS};
use remote::protocol::{Checksum, Dialect, WireError};
use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, Read, Seek};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request waits this long for a slot; its client has gone elsewhere by then.
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(300);

/// How much is read from a connection at a time; each connection has that.
const BUFFER_BYTES: usize = 16 << 10;

/// What a stock client with pump mode is told.
const NO_PUMP: &str =
    "rcache worker: pump mode is not served here; use the host without \",cpp\"\n";

/// Serves one connection to its end.
pub fn serve(worker: &Worker, stream: &TcpStream, peer: SocketAddr, place: &Arc<Place>) {
    let start = Instant::now();
    let mut what = String::new();
    let outcome = match set_up(stream).map(|()| first_byte(worker, stream)) {
        Ok(Some(first @ (HTTP2 | TLS))) => {
            match worker.door().and_then(|door| door.enter(stream, Arc::clone(place), first == TLS))
            {
                Ok(()) => return,
                Err(error) => {
                    what = format!(": {error}");
                    Outcome::BadRequest
                }
            }
        }
        Ok(_) => exchange(worker, stream, place, &mut what),
        Err(_) => Outcome::ClientGone,
    };
    worker.metrics.count(outcome);
    let wall = start.elapsed();
    tracing::info!("{peer} {} {} ms{what}", outcome.name(), wall.as_millis());
}

/// How HTTP/2 begins (`PRI * HTTP/2.0`), and a handshake of TLS; distcc's protocol begins with `DIST`.
const HTTP2: u8 = b'P';
const TLS: u8 = 0x16;

/// What a connection begins with; it is still to be read. `None`: it says nothing, which the reader will
/// notice, too.
fn first_byte(worker: &Worker, stream: &TcpStream) -> Option<u8> {
    let mut byte = [0];
    let limit = worker.options.request_timeout;
    let mut timed = TimedStream::new(stream, limit, worker.draining_event.as_fd());
    timed.peek(&mut byte).ok().filter(|count| *count == 1).map(|_| byte[0])
}

/// A client whose machine died is noticed after this long without a sign, and so many questions.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 3;

fn set_up(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_COUNT)?;
    Ok(())
}

/// Reads, decides, answers. `what` is for the log.
fn exchange(worker: &Worker, stream: &TcpStream, place: &Place, what: &mut String) -> Outcome {
    let limit = worker.options.request_timeout;
    let timed = TimedStream::new(stream, limit, worker.draining_event.as_fd());
    let mut arrival = Arrival { timed, place, is_command: true };
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, &mut arrival);
    let request = receive(worker, &mut reader, place);
    let bytes = arrival.timed.bytes;
    worker.metrics.count_bytes(bytes, 0);
    place.is_in_the_way(false);
    let address = place.address();
    match request {
        Err(error) => {
            *what = format!(": {}", in_words(&error));
            outcome_of(&error, bytes)
        }
        Ok(Received::Pump) => {
            let refusal = response::encode_pump_refusal(NO_PUMP.as_bytes());
            send(worker, stream, place, Outcome::Refused, Answer::of_bytes(refusal))
        }
        Ok(Received::Question(arguments)) => {
            *what = shown(&arguments);
            let mut caller = Caller::new(stream.as_fd(), address, true);
            let identity = response::encode_identity(&identity(worker, &arguments, &mut caller));
            let bytes = [caller.rest_of_sign(), &identity].concat();
            send(worker, stream, place, Outcome::Identified, Answer::of_bytes(bytes))
        }
        Ok(Received::Job(order, packed, folder)) => {
            *what = shown(&order.arguments);
            let native = order.dialect == Dialect::Native;
            let caller = Caller::new(stream.as_fd(), address, native);
            let mut client = Client { worker, stream, place, caller, order };
            match client.compile(packed, folder, what) {
                Ok(outcome) => outcome,
                // A request that turns out to be none.
                Err(error) => {
                    *what = format!(": {}", in_words(&error));
                    outcome_of(&error, bytes)
                }
            }
        }
    }
}

/// Sends a short answer.
fn send(
    worker: &Worker,
    stream: &TcpStream,
    place: &Place,
    outcome: Outcome,
    mut answer: Answer,
) -> Outcome {
    place.is_in_the_way(true);
    let (sent, bytes) = answer.send_rest(stream, worker.ending_event.as_fd());
    worker.metrics.count_bytes(0, bytes);
    if sent == Sent::All { outcome } else { Outcome::ClientGone }
}

/// A request, its text in a file.
enum Received {
    Pump,
    Question(Vec<Vec<u8>>),
    Job(Order, Packed, JobFolder),
}

fn receive(
    worker: &Worker,
    reader: &mut BufReader<&mut Arrival>,
    place: &Place,
) -> Result<Received, WireError> {
    let order = match request::read_head(reader)? {
        Head::Pump => return Ok(Received::Pump),
        Head::Identify { arguments } => return Ok(Received::Question(arguments)),
        Head::Compile(order) => order,
    };
    reader.get_mut().is_command = false;
    let folder = worker.scratch.job_folder()?;
    let file = folder.new_file("packed")?;
    let packed = order.receive(reader, file, |bytes| place.take_disk(bytes as u64))?;
    Ok(Received::Job(order, packed, folder))
}

/// A request on its way here: what its command line takes is counted.
struct Arrival<'a> {
    timed: TimedStream<'a>,
    place: &'a Place,
    is_command: bool,
}

impl Read for Arrival<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.timed.read(buffer)?;
        if self.is_command {
            self.place.take_memory(count)?;
        }
        Ok(count)
    }
}

/// How a connection ended of which so many bytes were no request.
fn outcome_of(error: &WireError, bytes: u64) -> Outcome {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error {
        // The worker ends.
        WireError::Io(error) if error.kind() == ConnectionAborted => Outcome::TurnedAway,
        // Somebody looked whether there is a worker.
        _ if bytes == 0 => Outcome::ClientGone,
        WireError::Io(error) => match error.kind() {
            UnexpectedEof | ConnectionReset | BrokenPipe => Outcome::ClientGone,
            _ => Outcome::BadRequest,
        },
        WireError::Malformed(_) => Outcome::BadRequest,
    }
}

fn in_words(error: &WireError) -> String {
    match error {
        WireError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            "the request takes too long".to_owned()
        }
        other => other.to_string(),
    }
}

/// Why a worker did not compile is in the log, too; what a compiler says is the client's business.
fn note_reason(outcome: Outcome, reply: &Reply, what: &mut String) {
    let own = [Outcome::Refused, Outcome::TurnedAway, Outcome::Failed, Outcome::Timeout];
    if own.contains(&outcome) {
        let reason = String::from_utf8_lossy(&reply.stderr);
        what.push_str(": ");
        what.push_str(reason.trim_end().trim_start_matches("rcache worker: "));
    }
}

/// How much of a command is logged.
const SHOWN_BYTES_MAX: usize = 200;

/// The compiler, and what of the command tells one compile from another: its last words.
fn shown(arguments: &[Vec<u8>]) -> String {
    let words: Vec<String> = arguments
        .iter()
        .map(|word| String::from_utf8_lossy(word).escape_debug().collect())
        .collect();
    let mut text = String::new();
    for word in words {
        if text.len() + word.len() > SHOWN_BYTES_MAX {
            text.push_str(" …");
            break;
        }
        text.push(' ');
        text.push_str(&word);
    }
    text
}

/// What a worker does not do, with the status that says so.
struct No(i32, String);

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> No {
        No(REFUSED_STATUS, refusal.0)
    }
}

/// Who asks for a compile.
struct Client<'a> {
    worker: &'a Worker,
    stream: &'a TcpStream,
    place: &'a Place,
    caller: Caller<'a>,
    order: Order,
}

impl Client<'_> {
    /// The error: the request was none, after all.
    fn compile(
        &mut self,
        packed: Packed,
        folder: JobFolder,
        what: &mut String,
    ) -> Result<Outcome, WireError> {
        let claimed = packed.claimed_checksum();
        let job = match self.prepare(folder) {
            Ok(job) => job,
            Err(No(status, why)) => {
                let reply = complaint(status, &why);
                return Ok(self.say_no(Outcome::Refused, &reply, &claimed, what));
            }
        };
        let worker = self.worker;
        let ending = worker.ending_event.as_fd();
        let slot = match worker.slots.acquire(&mut self.caller, ending, QUEUE_WAIT_MAX) {
            Ok(slot) => slot,
            Err(NoSlot::ClientGone) => return Ok(Outcome::ClientGone),
            Err(why) => {
                let text = match why {
                    NoSlot::Full | NoSlot::TooLong => "too many compiles wait already".to_owned(),
                    NoSlot::Failed(error) => error.to_string(),
                    NoSlot::Ending | NoSlot::ClientGone => "the worker ends".to_owned(),
                };
                let reply = complaint(REFUSED_STATUS, &text);
                return Ok(self.say_no(Outcome::TurnedAway, &reply, &claimed, what));
            }
        };
        let checksum = match self.unpack(packed, &job)? {
            Ok(checksum) => checksum,
            Err(No(status, why)) => {
                let reply = complaint(status, &why);
                return Ok(self.say_no(Outcome::Refused, &reply, &claimed, what));
            }
        };
        let (outcome, made) = self.run(&job);
        Ok(self.answer(outcome, made, &checksum, &job, slot, what))
    }

    /// Puts the text where the compiler finds it. The inner error: it is not compiled here.
    fn unpack(&self, packed: Packed, job: &Job) -> Result<Result<Checksum, No>, WireError> {
        let failed = |error: io::Error| No(REFUSED_STATUS, format!("no room for the job: {error}"));
        let mut input = match job.new_input() {
            Ok(input) => input,
            Err(error) => return Ok(Err(failed(error))),
        };
        let portion = self.worker.budget.take(self.order.unpack_bytes_max());
        let checksum = self.order.unpack(packed, &mut input)?;
        drop(portion);
        let length = input.metadata()?.len();
        if let Err(error) = self.place.take_disk(length) {
            return Ok(Err(failed(error)));
        }
        if !self.worker.conditions.sandbox.hides_files() {
            // All of it is looked at.
            let _portion = self.worker.budget.take(length as usize);
            let mut text = Vec::with_capacity(length as usize);
            input.rewind()?;
            input.read_to_end(&mut text)?;
            if job.preprocesses() || policy::reads_files(&text) {
                let why = "the text could read files, and nothing here keeps it from that";
                return Ok(Err(No(REFUSED_STATUS, why.to_owned())));
            }
        }
        Ok(Ok(checksum))
    }

    /// Runs the compiler.
    fn run(&mut self, job: &Job) -> (Outcome, Made) {
        let worker = self.worker;
        let start = Instant::now();
        let ending = worker.ending_event.as_fd();
        let deadline = start + worker.conditions.timeout;
        let mut watch = Watch { caller: Some(&mut self.caller), ending, deadline };
        let (verdict, made) = job.run(&worker.conditions, &mut watch);
        worker.metrics.count_compile(start.elapsed());
        let native = self.order.compiler.is_some();
        if native && !job.has_the_same_compiler(&worker.toolchain, &mut self.caller) {
            let text = "the compiler has been changed meanwhile";
            return (Outcome::Refused, complaint(REFUSED_STATUS, text).into());
        }
        let outcome = match verdict {
            Verdict::Compiled => Outcome::Ok,
            Verdict::CompileError => Outcome::CompileError,
            Verdict::TimedOut => Outcome::Timeout,
            Verdict::Failed => Outcome::Failed,
            Verdict::ClientGone => Outcome::ClientGone,
            Verdict::WorkerEnds => Outcome::TurnedAway,
        };
        (outcome, made)
    }

    /// Sends what a compile gave. The slot is held until that is done, or its short time is up.
    fn answer(
        &mut self,
        outcome: Outcome,
        made: Made,
        checksum: &Checksum,
        job: &Job,
        slot: Slot,
        what: &mut String,
    ) -> Outcome {
        if outcome == Outcome::ClientGone {
            return outcome;
        }
        note_reason(outcome, &made.reply, what);
        if !is_answered(outcome, self.order.dialect) {
            return outcome;
        }
        let (worker, dialect, folder) = (self.worker, self.order.dialect, job.folder());
        let length = made.output.as_ref().and_then(|file| file.metadata().ok());
        let disk = self.place.take_disk(length.map_or(0, |found| found.len()));
        let first = self.caller.rest_of_sign();
        let answer = disk.and_then(|()| {
            Answer::of_compile(made, dialect, checksum, first, folder, &worker.budget)
        });
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let reply = complaint(REFUSED_STATUS, &format!("no room for the answer: {error}"));
                return self.say_no(Outcome::Failed, &reply, checksum, what);
            }
        };
        let ending = worker.ending_event.as_fd();
        let (mut sent, mut bytes) = answer.send_with_slot(self.stream, ending);
        drop(slot);
        if sent == Sent::Late && answer.leave_memory(folder).is_ok() {
            self.place.is_in_the_way(true);
            if self.place.take_disk(answer.disk_bytes()).is_ok() {
                let (rest, more) = answer.send_rest(self.stream, ending);
                (sent, bytes) = (rest, bytes + more);
            }
        }
        worker.metrics.count_bytes(0, bytes);
        if sent == Sent::All { outcome } else { Outcome::ClientGone }
    }

    /// Sends that nothing was compiled.
    fn say_no(
        &mut self,
        outcome: Outcome,
        reply: &Reply,
        checksum: &Checksum,
        what: &mut String,
    ) -> Outcome {
        note_reason(outcome, reply, what);
        if !is_answered(outcome, self.order.dialect) {
            return outcome;
        }
        let mut bytes = self.caller.rest_of_sign().to_vec();
        bytes.extend(response::encode(self.order.dialect, reply, checksum));
        send(self.worker, self.stream, self.place, outcome, Answer::of_bytes(bytes))
    }

    /// Everything that needs no slot.
    fn prepare(&mut self, folder: JobFolder) -> Result<Job, No> {
        let worker = self.worker;
        let (driver, name) = find(worker, &self.order.arguments)?;
        let native = self.order.dialect == Dialect::Native;
        let facts = facts(worker, &driver, name, native, &mut self.caller)?;
        let task = policy::judge(&self.order.arguments[1..], &facts)?;
        let compiler = identify(worker, &driver, task.identity.clone(), &mut self.caller)?;
        let own = wire_identity(&compiler).digest;
        if let Some(wanted) = self.order.compiler.as_ref().filter(|wanted| **wanted != own) {
            let text = format!(
                "another compiler: {} is {} here ({own}), and {wanted} is wanted",
                name.display(),
                compiler.banner.version.trim(),
            );
            return Err(No(REFUSED_STATUS, text));
        }
        let failed = |error: io::Error| No(REFUSED_STATUS, format!("no room for the job: {error}"));
        Job::prepare(driver, compiler, task, folder).map_err(failed)
    }
}

/// A stock client takes a closed connection for a reason to try the next host, and an answer for a
/// reason to try no other.
fn is_answered(outcome: Outcome, dialect: Dialect) -> bool {
    outcome != Outcome::TurnedAway || dialect == Dialect::Native
}

/// distcc's status of a compiler that is not there: exit status 110.
const MISSING_STATUS: i32 = 110 << 8;

fn find<'a>(worker: &Worker, arguments: &'a [Vec<u8>]) -> Result<(PathBuf, &'a OsStr), No> {
    let name = policy::compiler_name(&arguments[0])?;
    match worker.toolchain.find(name) {
        Some(driver) => Ok((driver, name)),
        None => Err(No(MISSING_STATUS, format!("{} is not installed here", name.display()))),
    }
}

fn facts(
    worker: &Worker,
    driver: &Path,
    name: &OsStr,
    native: bool,
    caller: &mut Caller,
) -> Result<Facts, No> {
    let compiler = worker.toolchain.introduce(driver, caller);
    let compiler = compiler.map_err(|why| No(MISSING_STATUS, why))?;
    Ok(Facts {
        family: compiler.banner.family,
        version_major: compiler.banner.version_major,
        cxx_driver: policy::is_cxx_driver(name),
        native,
    })
}

fn identify(
    worker: &Worker,
    driver: &Path,
    words: Vec<OsString>,
    caller: &mut Caller,
) -> Result<Arc<Compiler>, No> {
    worker.toolchain.identify(driver, words, caller).map_err(|why| No(MISSING_STATUS, why))
}

/// The answer to the question which compiler a command runs.
fn identity(worker: &Worker, arguments: &[Vec<u8>], caller: &mut Caller) -> Identity {
    let mut compiler = || -> Result<CompilerIdentity, No> {
        let (driver, name) = find(worker, arguments)?;
        let facts = facts(worker, &driver, name, true, caller)?;
        let words = policy::judge_question(&arguments[1..], &facts)?;
        let compiler = identify(worker, &driver, words, caller)?;
        Ok(wire_identity(&compiler))
    };
    Identity {
        worker: env!("CARGO_PKG_VERSION").to_owned(),
        slots: worker.slots.count() as u32,
        compiler: compiler().map_err(|No(_, why)| why),
    }
}
