//! One connection: one request, one answer.

use super::caller::Caller;
use super::child::Watch;
use super::job::{Job, Verdict, complaint};
use super::metrics::Outcome;
use super::policy::{self, Facts, Refusal};
use super::serve::Worker;
use super::slots::NoSlot;
use super::stream::TimedStream;
use crate::compilers::wire_identity;
use cache::compiler::Compiler;
use remote::protocol::identity::{CompilerIdentity, Identity};
use remote::protocol::request::{self, Request};
use remote::protocol::response::{self, REFUSED_STATUS};
use remote::protocol::{Dialect, WireError};
use remote::{Job as Order, Reply};
use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request waits this long for a slot; its client has gone elsewhere by then.
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(300);

/// For the answer to be read by the client.
const ANSWER_MAX: Duration = Duration::from_secs(300);

/// How much is read from a connection at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// What a stock client with pump mode is told.
const NO_PUMP: &str =
    "rcache worker: pump mode is not served here; use the host without \",cpp\"\n";

/// Serves one connection to its end.
pub fn serve(worker: &Worker, stream: &TcpStream, peer: SocketAddr) {
    let start = Instant::now();
    let mut what = String::new();
    let outcome = match set_up(stream) {
        Ok(()) => exchange(worker, stream, &mut what),
        Err(_) => Outcome::ClientGone,
    };
    worker.metrics.count(outcome);
    let wall = start.elapsed();
    tracing::info!("{peer} {} {} ms{what}", outcome.name(), wall.as_millis());
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
fn exchange(worker: &Worker, stream: &TcpStream, what: &mut String) -> Outcome {
    let limit = worker.options.request_timeout;
    let mut timed = TimedStream::new(stream, limit, worker.draining_event.as_fd());
    let request = request::read(&mut BufReader::with_capacity(BUFFER_BYTES, &mut timed));
    worker.metrics.count_bytes(timed.bytes, 0);
    let (outcome, answer) = match request {
        Err(error) => {
            *what = format!(": {}", in_words(&error));
            return outcome_of(&error, timed.bytes);
        }
        Ok(Request::Pump) => (Outcome::Refused, response::encode_pump_refusal(NO_PUMP.as_bytes())),
        Ok(Request::Identify { arguments }) => {
            *what = shown(&arguments);
            (Outcome::Identified, response::encode_identity(&identity(worker, &arguments)))
        }
        Ok(Request::Compile { dialect, job, compiler, checksum }) => {
            *what = shown(&job.arguments);
            let native = dialect == Dialect::Native;
            let mut client =
                Client { caller: Caller::new(stream.as_fd(), native), native, wanted: compiler };
            let (outcome, reply) = client.compile(worker, job);
            note_reason(outcome, &reply, what);
            // A stock client takes a closed connection for a reason to try the next host, and an
            // answer for a reason to try no other.
            if outcome == Outcome::TurnedAway && !native {
                return outcome;
            }
            let mut answer = client.caller.rest_of_sign().to_vec();
            answer.extend(response::encode(dialect, &reply, &checksum));
            (outcome, answer)
        }
    };
    if outcome == Outcome::ClientGone {
        return outcome;
    }
    let mut timed = TimedStream::new(stream, ANSWER_MAX, worker.ending_event.as_fd());
    let sent = timed.write_all(&answer);
    worker.metrics.count_bytes(0, timed.bytes);
    if sent.is_ok() { outcome } else { Outcome::ClientGone }
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
    caller: Caller<'a>,
    native: bool,
    wanted: Option<String>,
}

impl Client<'_> {
    fn compile(&mut self, worker: &Worker, order: Order) -> (Outcome, Reply) {
        let job = match self.prepare(worker, order) {
            Ok(job) => job,
            Err(No(status, why)) => return (Outcome::Refused, complaint(status, &why)),
        };
        let ending = worker.ending_event.as_fd();
        let slot = match worker.slots.acquire(&mut self.caller, ending, QUEUE_WAIT_MAX) {
            Ok(slot) => slot,
            Err(NoSlot::ClientGone) => return (Outcome::ClientGone, Reply::default()),
            Err(why) => {
                let text = match why {
                    NoSlot::Full | NoSlot::TooLong => "too many compiles wait already".to_owned(),
                    NoSlot::Failed(error) => error.to_string(),
                    NoSlot::Ending | NoSlot::ClientGone => "the worker ends".to_owned(),
                };
                return (Outcome::TurnedAway, complaint(REFUSED_STATUS, &text));
            }
        };
        let start = Instant::now();
        let deadline = start + worker.conditions.timeout;
        let mut watch = Watch { caller: Some(&mut self.caller), ending, deadline };
        let (verdict, reply) = job.run(&worker.conditions, &mut watch);
        drop(slot);
        worker.metrics.count_compile(start.elapsed());
        if self.wanted.is_some() && !job.has_the_same_compiler(&worker.toolchain) {
            let text = "the compiler has been changed meanwhile";
            return (Outcome::Refused, complaint(REFUSED_STATUS, text));
        }
        let outcome = match verdict {
            Verdict::Compiled => Outcome::Ok,
            Verdict::CompileError => Outcome::CompileError,
            Verdict::TimedOut => Outcome::Timeout,
            Verdict::Failed => Outcome::Failed,
            Verdict::ClientGone => Outcome::ClientGone,
            Verdict::WorkerEnds => Outcome::TurnedAway,
        };
        (outcome, reply)
    }

    /// Everything that needs no slot.
    fn prepare(&self, worker: &Worker, order: Order) -> Result<Job, No> {
        let (driver, name) = find(worker, &order.arguments)?;
        let facts = facts(worker, &driver, name, self.native)?;
        let task = policy::judge(&order.arguments[1..], &facts)?;
        let compiler = identify(worker, &driver, task.identity.clone())?;
        let own = wire_identity(&compiler).digest;
        if let Some(wanted) = self.wanted.as_ref().filter(|wanted| **wanted != own) {
            let text = format!(
                "another compiler: {} is {} here ({own}), and {wanted} is wanted",
                name.display(),
                compiler.banner.version.trim(),
            );
            return Err(No(REFUSED_STATUS, text));
        }
        let hidden = worker.conditions.sandbox.hides_files();
        let asks_for_files = || {
            task.language.is_preprocessed_by_the_compiler() || policy::reads_files(&order.source)
        };
        if !hidden && asks_for_files() {
            let text = "the text could read files, and nothing here keeps it from that";
            return Err(No(REFUSED_STATUS, text.to_owned()));
        }
        let failed = |error: io::Error| No(REFUSED_STATUS, format!("no room for the job: {error}"));
        let folder = worker.scratch.job_folder().map_err(failed)?;
        Job::prepare(driver, compiler, task, folder, &order.source).map_err(failed)
    }
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

fn facts(worker: &Worker, driver: &Path, name: &OsStr, native: bool) -> Result<Facts, No> {
    let compiler = worker.toolchain.introduce(driver).map_err(|why| No(MISSING_STATUS, why))?;
    Ok(Facts {
        family: compiler.banner.family,
        version_major: compiler.banner.version_major,
        cxx_driver: policy::is_cxx_driver(name),
        native,
    })
}

fn identify(worker: &Worker, driver: &Path, words: Vec<OsString>) -> Result<Arc<Compiler>, No> {
    worker.toolchain.identify(driver, words).map_err(|why| No(MISSING_STATUS, why))
}

/// The answer to the question which compiler a command runs.
fn identity(worker: &Worker, arguments: &[Vec<u8>]) -> Identity {
    let compiler = || -> Result<CompilerIdentity, No> {
        let (driver, name) = find(worker, arguments)?;
        let facts = facts(worker, &driver, name, true)?;
        let words = policy::judge_question(&arguments[1..], &facts)?;
        let compiler = identify(worker, &driver, words)?;
        Ok(wire_identity(&compiler))
    };
    Identity {
        worker: env!("CARGO_PKG_VERSION").to_owned(),
        slots: worker.slots.count() as u32,
        compiler: compiler().map_err(|No(_, why)| why),
    }
}
