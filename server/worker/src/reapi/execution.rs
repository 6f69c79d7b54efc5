//! Actions on their way: equal ones run once, whoever asks, and go on while anybody waits.

use super::action::{self, Action, Failure};
use super::results;
use super::{Counts, Reapi};
use crate::caller::Caller;
use crate::child::Watch;
use crate::metrics::Outcome;
use crate::scratch::JobFolder;
use crate::serve::Worker;
use crate::slots::NoSlot;
use prost::Message;
use prost::bytes::Bytes;
use remote::reapi::digest::BlobName;
use remote::reapi::proto;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

/// Actions at one time, those that wait for a slot among them; each has a thread.
const IN_FLIGHT_MAX: usize = 4_096;

/// The stack of such a thread.
const STACK_BYTES: usize = 512 << 10;

/// Actions that have ended and can still be asked for by name.
const ENDED_MAX: usize = 256;

/// An action that nobody waits for goes on for so long: a connection may come back.
const UNWATCHED_MAX: Duration = Duration::from_secs(10);

/// An action waits this long for a slot.
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(300);

/// News that a slow client may still have to read.
const NEWS_MAX: usize = 4;

/// Those on their way, and those that have just ended.
#[derive(Default)]
pub struct Operations {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    by_name: HashMap<String, Arc<Operation>>,
    /// Those that others may join.
    by_action: HashMap<BlobName, Arc<Operation>>,
    ended: VecDeque<String>,
    in_flight: usize,
    next: u64,
}

/// One action on its way.
struct Operation {
    name: String,
    action: BlobName,
    progress: watch::Sender<Progress>,
    watchers: Mutex<Watchers>,
}

/// Who waits. When nobody does for long, the line is dropped, and the job hears that at its end of it.
struct Watchers {
    count: usize,
    line: Option<UnixStream>,
}

#[derive(Clone, Debug)]
enum Progress {
    Queued,
    Executing,
    Done(Arc<proto::ExecuteResponse>),
}

impl Operations {
    /// How many there are that have not ended.
    pub fn count(&self) -> usize {
        self.lock().in_flight
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// The one of this action that others may join, or a new one with the job's end of its line.
    fn join_or_begin(
        &self,
        action: BlobName,
        alone: bool,
    ) -> Result<(Arc<Operation>, Option<UnixStream>), Status> {
        let mut state = self.lock();
        if let Some(operation) = state.by_action.get(&action).filter(|_| !alone) {
            return Ok((Arc::clone(operation), None));
        }
        if state.in_flight >= IN_FLIGHT_MAX {
            return Err(Status::resource_exhausted("too many actions are on their way"));
        }
        let lines = UnixStream::pair();
        let (line, end) = lines.map_err(|error| Status::unavailable(error.to_string()))?;
        state.next += 1;
        let operation = Arc::new(Operation {
            name: format!("operations/{}-{}", std::process::id(), state.next),
            action,
            progress: watch::Sender::new(Progress::Queued),
            watchers: Mutex::new(Watchers { count: 0, line: Some(line) }),
        });
        state.in_flight += 1;
        state.by_name.insert(operation.name.clone(), Arc::clone(&operation));
        if !alone {
            state.by_action.insert(action, Arc::clone(&operation));
        }
        Ok((operation, Some(end)))
    }

    fn end(&self, operation: &Arc<Operation>, response: proto::ExecuteResponse) {
        let mut state = self.lock();
        state.in_flight -= 1;
        let joined = state.by_action.get(&operation.action);
        if joined.is_some_and(|joined| Arc::ptr_eq(joined, operation)) {
            state.by_action.remove(&operation.action);
        }
        state.ended.push_back(operation.name.clone());
        if state.ended.len() > ENDED_MAX
            && let Some(oldest) = state.ended.pop_front()
        {
            state.by_name.remove(&oldest);
        }
        drop(state);
        operation.progress.send_replace(Progress::Done(Arc::new(response)));
    }
}

/// One who waits for an operation.
struct Watcher(Arc<Operation>);

impl Watcher {
    /// `None`: it is being given up.
    fn new(operation: &Arc<Operation>) -> Option<Watcher> {
        let mut watchers = operation.lock();
        watchers.line.as_ref()?;
        watchers.count += 1;
        Some(Watcher(Arc::clone(operation)))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut watchers = self.0.lock();
        watchers.count -= 1;
        if watchers.count > 0 {
            return;
        }
        let operation = Arc::clone(&self.0);
        let give_up = move || {
            let mut watchers = operation.lock();
            if watchers.count == 0 {
                watchers.line = None;
            }
        };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(UNWATCHED_MAX).await;
                give_up();
            });
        } else {
            drop(watchers);
            give_up();
        }
    }
}

impl Operation {
    fn lock(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    fn message(&self, progress: &Progress, inline: &Inline, reapi: &Reapi) -> proto::Operation {
        let (stage, result) = match progress {
            Progress::Queued => (proto::ExecutionStage::Queued, None),
            Progress::Executing => (proto::ExecutionStage::Executing, None),
            Progress::Done(response) => {
                let mut response = proto::ExecuteResponse::clone(response);
                if let Some(result) = &mut response.result {
                    inline.fill(&reapi.workshop.cas, self.action.function, result);
                }
                let response = any(proto::type_url::EXECUTE_RESPONSE, &response);
                let response = proto::OperationResult::Response(response);
                (proto::ExecutionStage::Completed, Some(response))
            }
        };
        let metadata = proto::ExecuteOperationMetadata {
            stage: stage as i32,
            action_digest: Some(self.action.message()),
            digest_function: self.action.function.proto() as i32,
        };
        proto::Operation {
            name: self.name.clone(),
            metadata: Some(any(proto::type_url::EXECUTE_OPERATION_METADATA, &metadata)),
            done: result.is_some(),
            result,
        }
    }
}

fn any(type_url: &str, message: &impl Message) -> proto::Any {
    proto::Any { type_url: type_url.to_owned(), value: Bytes::from(message.encode_to_vec()) }
}

/// What is to come with a result.
pub use results::Inline;

/// News of an operation.
pub type News = ReceiverStream<Result<proto::Operation, Status>>;

/// Runs an action, or joins an equal one, or gives the result that is there.
pub fn execute(
    worker: &Arc<Worker>,
    reapi: &Arc<Reapi>,
    address: IpAddr,
    request: proto::ExecuteRequest,
) -> Result<News, Status> {
    if worker.is_draining() {
        return Err(Status::unavailable("the worker ends"));
    }
    let name = action::action_name(request.digest_function, request.action_digest.as_ref())?;
    let inline = Inline::of_execute(&request);
    let cas = &reapi.workshop.cas;
    if !request.skip_cache_lookup
        && let Some(result) = results::find(cas, &name)
    {
        Counts::add(&reapi.counts.cached);
        let response = proto::ExecuteResponse {
            result: Some(result),
            cached_result: true,
            ..Default::default()
        };
        return Ok(at_once(reapi, name, &inline, response));
    }
    if let Err(why) = &reapi.workshop.way {
        return Err(Status::failed_precondition(why.clone()));
    }
    // What is not there, or not well made, needs no thread.
    let action = match Action::read(cas, name) {
        Ok(action) => action,
        Err(failure) => return Ok(at_once(reapi, name, &inline, response_of(failure))),
    };
    let (operation, begun) = reapi.operations.join_or_begin(name, action.do_not_cache)?;
    let watcher = Watcher::new(&operation);
    match begun {
        Some(line) => begin(worker, reapi, &operation, action, line, address)?,
        None => Counts::add(&reapi.counts.joined),
    }
    match watcher {
        Some(watcher) => Ok(follow(Arc::clone(reapi), watcher, inline)),
        None => Err(Status::unavailable("an equal action is just being given up")),
    }
}

/// News of an operation that was begun before.
pub fn wait(reapi: &Arc<Reapi>, request: &proto::WaitExecutionRequest) -> Result<News, Status> {
    let operation = reapi.operations.lock().by_name.get(&request.name).cloned();
    let watcher = operation.as_ref().and_then(Watcher::new);
    let watcher = watcher.ok_or_else(|| Status::not_found("there is no such operation"))?;
    Ok(follow(Arc::clone(reapi), watcher, Inline::default()))
}

fn at_once(
    reapi: &Reapi,
    action: BlobName,
    inline: &Inline,
    response: proto::ExecuteResponse,
) -> News {
    let operation = Operation {
        name: "operations/done".to_owned(),
        action,
        progress: watch::Sender::new(Progress::Queued),
        watchers: Mutex::new(Watchers { count: 0, line: None }),
    };
    let message = operation.message(&Progress::Done(Arc::new(response)), inline, reapi);
    let (sender, receiver) = mpsc::channel(1);
    // There is room for one.
    let _ = sender.try_send(Ok(message));
    ReceiverStream::new(receiver)
}

fn follow(reapi: Arc<Reapi>, watcher: Watcher, inline: Inline) -> News {
    let (sender, receiver) = mpsc::channel(NEWS_MAX);
    let mut progress = watcher.0.progress.subscribe();
    tokio::spawn(async move {
        loop {
            let now = progress.borrow_and_update().clone();
            let done = matches!(now, Progress::Done(_));
            let message = tokio::task::block_in_place(|| watcher.0.message(&now, &inline, &reapi));
            if sender.send(Ok(message)).await.is_err() || done {
                return;
            }
            tokio::select! {
                changed = progress.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    ReceiverStream::new(receiver)
}

fn begin(
    worker: &Arc<Worker>,
    reapi: &Arc<Reapi>,
    operation: &Arc<Operation>,
    action: Action,
    line: UnixStream,
    address: IpAddr,
) -> Result<(), Status> {
    let job = Job {
        worker: Arc::clone(worker),
        reapi: Arc::clone(reapi),
        operation: Arc::clone(operation),
        address,
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let spawned = thread.spawn(move || job.run(&action, &line));
    spawned.map(drop).map_err(|error| {
        let failure = Failure::new(Code::Unavailable, format!("no thread for it: {error}"));
        reapi.operations.end(operation, response_of(failure));
        Status::unavailable("no thread for the action")
    })
}

/// An action in its thread.
struct Job {
    worker: Arc<Worker>,
    reapi: Arc<Reapi>,
    operation: Arc<Operation>,
    address: IpAddr,
}

impl Job {
    fn run(self, action: &Action, line: &UnixStream) {
        let start = Instant::now();
        let mut outcome = Outcome::Failed;
        // Its removal is not waited for.
        let mut folder = None;
        let response = match self.make(action, line, &mut folder) {
            Ok(response) => {
                let exit_code = response.result.as_ref().map_or(0, |result| result.exit_code);
                outcome = if exit_code == 0 { Outcome::Ok } else { Outcome::CompileError };
                response
            }
            Err(failure) => {
                Counts::add(&self.reapi.counts.failed);
                outcome = outcome_of(failure.code, outcome);
                response_of(failure)
            }
        };
        self.worker.metrics.count(outcome);
        let milliseconds = start.elapsed().as_millis();
        let why = response.status.as_ref().map(|status| format!(": {}", status.message));
        let (name, shown) = (outcome.name(), action.shown());
        let why = why.unwrap_or_default();
        tracing::info!("{} {name} {milliseconds} ms action {shown}{why}", self.address);
        self.reapi.operations.end(&self.operation, response);
        if let Some(folder) = folder {
            action::open_up(folder.path());
        }
    }

    fn make(
        &self,
        action: &Action,
        line: &UnixStream,
        folder: &mut Option<JobFolder>,
    ) -> Result<proto::ExecuteResponse, Failure> {
        let Job { worker, reapi, operation, address } = self;
        let workshop = &reapi.workshop;
        let queued = SystemTime::now();
        let own = reapi.own_files(worker);
        let mut caller = Caller::new(line.as_fd(), *address, false);
        let ending = worker.ending_event.as_fd();
        let slot = worker.slots.acquire(&mut caller, ending, QUEUE_WAIT_MAX);
        let _slot = slot.map_err(no_slot)?;
        operation.progress.send_replace(Progress::Executing);
        let begun = SystemTime::now();
        let deadline = Instant::now() + action.timeout(workshop);
        let folder = folder.insert(worker.scratch.job_folder()?);
        let mut watch = Watch { caller: Some(&mut caller), ending, deadline };
        let start = Instant::now();
        let made = action.run(workshop, &own, folder, &mut watch);
        worker.metrics.count_compile(start.elapsed());
        let mut result = made?;
        Counts::add(&reapi.counts.run);
        result.execution_metadata = Some(metadata(queued, begun));
        if result.exit_code == 0 && !action.do_not_cache {
            results::keep(&workshop.cas, &operation.action, &result)?;
        }
        Ok(proto::ExecuteResponse { result: Some(result), ..Default::default() })
    }
}

fn metadata(queued: SystemTime, begun: SystemTime) -> proto::ExecutedActionMetadata {
    let stamp = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(proto::Timestamp {
            seconds: since.as_secs() as i64,
            nanos: since.subsec_nanos() as i32,
        })
    };
    proto::ExecutedActionMetadata {
        worker: "rcache worker".to_owned(),
        queued_timestamp: stamp(queued),
        worker_start_timestamp: stamp(begun),
        worker_completed_timestamp: stamp(SystemTime::now()),
        ..Default::default()
    }
}

fn no_slot(why: NoSlot) -> Failure {
    match why {
        NoSlot::Full | NoSlot::TooLong => {
            Failure::new(Code::ResourceExhausted, "too many compiles wait already")
        }
        NoSlot::ClientGone => Failure::new(Code::Cancelled, "nobody waits for it"),
        NoSlot::Ending => Failure::new(Code::Unavailable, "the worker ends"),
        NoSlot::Failed(error) => error.into(),
    }
}

fn outcome_of(code: Code, other: Outcome) -> Outcome {
    match code {
        Code::DeadlineExceeded => Outcome::Timeout,
        Code::Cancelled => Outcome::ClientGone,
        Code::Unavailable => Outcome::TurnedAway,
        Code::FailedPrecondition => Outcome::Refused,
        Code::InvalidArgument => Outcome::BadRequest,
        _ => other,
    }
}

/// How a client is told that there is no result.
fn response_of(failure: Failure) -> proto::ExecuteResponse {
    let Failure { code, message, missing } = failure;
    let violations = missing.iter().map(|name| proto::Violation {
        r#type: proto::MISSING.to_owned(),
        subject: name.resource(),
        description: String::new(),
    });
    let precondition = proto::PreconditionFailure { violations: violations.collect() };
    let details = match missing.is_empty() {
        true => Vec::new(),
        false => vec![any(proto::type_url::PRECONDITION_FAILURE, &precondition)],
    };
    let status = proto::Status { code: code as i32, message, details };
    proto::ExecuteResponse { status: Some(status), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remote::reapi::digest::Function;

    #[test]
    fn equal_actions_meet_and_others_do_not() {
        let operations = Operations::default();
        let [one, other] = [b"one", b"two"].map(|text| Function::Sha256.name(text));
        let (first, line) = operations.join_or_begin(one, false).unwrap();
        assert!(line.is_some());
        let (second, line) = operations.join_or_begin(one, false).unwrap();
        assert!(Arc::ptr_eq(&first, &second) && line.is_none());
        let (alone, line) = operations.join_or_begin(one, true).unwrap();
        assert!(!Arc::ptr_eq(&first, &alone) && line.is_some());
        assert!(operations.join_or_begin(other, false).unwrap().1.is_some());
        assert_eq!(operations.count(), 3);
        operations.end(&alone, proto::ExecuteResponse::default());
        assert!(operations.join_or_begin(one, false).unwrap().1.is_none(), "the first goes on");
        operations.end(&first, proto::ExecuteResponse::default());
        assert!(operations.join_or_begin(one, false).unwrap().1.is_some());
        assert!(operations.lock().by_name.contains_key(&first.name));
    }

    #[test]
    fn ended_ones_are_forgotten_in_time() {
        let operations = Operations::default();
        for number in 0..ENDED_MAX + 10 {
            let name = Function::Sha256.name(&number.to_le_bytes());
            let (operation, _line) = operations.join_or_begin(name, false).unwrap();
            operations.end(&operation, proto::ExecuteResponse::default());
        }
        let state = operations.lock();
        assert_eq!((state.by_name.len(), state.in_flight), (ENDED_MAX, 0));
        assert!(state.by_action.is_empty());
    }

    #[test]
    fn who_is_the_last_to_leave_gives_it_up() {
        use std::io::Read;
        let operations = Operations::default();
        let name = Function::Sha256.name(b"action");
        let (operation, line) = operations.join_or_begin(name, false).unwrap();
        let mut line = line.unwrap();
        line.set_nonblocking(true).unwrap();
        let watchers = [Watcher::new(&operation).unwrap(), Watcher::new(&operation).unwrap()];
        let [one, other] = watchers;
        drop(one);
        assert!(line.read(&mut [0]).is_err(), "somebody is still there");
        drop(other);
        assert_eq!(line.read(&mut [0]).unwrap(), 0);
        assert!(Watcher::new(&operation).is_none());
    }

    #[test]
    fn missing_blobs_are_named() {
        let name = Function::Blake3.name(b"gone");
        let failure =
            Failure { code: Code::FailedPrecondition, message: String::new(), missing: vec![name] };
        let status = response_of(failure).status.unwrap();
        let details = proto::PreconditionFailure::decode(status.details[0].value.clone()).unwrap();
        assert_eq!(details.violations[0].subject, name.resource());
        assert_eq!(status.code, Code::FailedPrecondition as i32);
    }
}
