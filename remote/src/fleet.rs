//! The dispatch: finds a host for a job, makes sure that it has the same compiler, and tries another
//! one when it fails.

mod acquaintance;
mod names;
mod prober;
mod queue;
mod race;
mod report;
mod trust;
mod visit;

use crate::call::CallError;
use crate::customer::Customer;
use crate::protocol::Dialect;
use crate::protocol::identity::CompilerIdentity;
use crate::scheduler::{Candidate, Ended, HOSTS_KEPT_MAX, Scheduler, Ticket};
use crate::{Job, Reply};
use acquaintance::{Acquaintance, Book, Kind, Standing};
use config::host_list::{Host, HostList};
use names::Names;
use prober::Probe;
use queue::{Place, Queue};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

pub use report::{HostState, Trouble};
pub use visit::{Question, Visit};

/// Hosts that may fail one job before it is compiled here.
const ATTEMPTS_MAX: usize = 3;

/// Hosts for which one job may wait in vain; then it is compiled here.
const TIMEOUTS_MAX: usize = 2;

/// To get acquainted with a host takes a job no longer than its own time-out, but so long at least; a
/// probe then has more patience.
const MEETING_MIN: Duration = Duration::from_secs(8);

/// How often a customer that waits for a slot is asked whether it still waits.
const LOOK_UP: Duration = Duration::from_millis(400);

/// Stands for this machine among the candidates, where the list names `localhost`.
const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// All hosts that the builds of this user know.
#[derive(Default)]
pub struct Fleet {
    state: Mutex<State>,
    changed: Condvar,
    /// A host may have to be probed.
    troubled: Condvar,
    names: Names,
}

#[derive(Default)]
struct State {
    scheduler: Scheduler,
    queue: Queue,
    book: Book,
    /// How hosts that failed are probed.
    probes: HashMap<SocketAddr, Arc<Probe>>,
    /// Probes that are under way.
    probing: usize,
    /// Trials of stock distccds that are under way, besides the first.
    trials: HashSet<(SocketAddr, String)>,
}

/// A job, and who may do it.
#[derive(Clone, Copy)]
pub struct Order<'o> {
    /// The host list of the call.
    pub hosts: &'o HostList,
    /// The job.
    pub job: &'o Job,
    /// The customer's compiler.
    pub compiler: &'o CompilerIdentity,
    /// The words that let a worker say which compiler it has.
    pub identify: &'o [Vec<u8>],
    /// For one attempt.
    pub timeout: Duration,
}

/// How a job ended.
pub enum Outcome<'f> {
    /// A host did it.
    Replied(Reply, Origin),
    /// It is this machine's turn (`localhost` in the list): to be compiled here while this is held.
    Here(Slot<'f>),
    /// No host did it: to be compiled here. In words for a person.
    Nobody {
        /// Why not.
        why: String,
        /// Hosts that took the job and failed.
        attempts: usize,
    },
    /// Nobody waits for it any more.
    Gone(io::Error),
}

/// Which host a reply came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    address: SocketAddr,
    /// In which it came.
    dialect: Dialect,
    /// When it had come.
    arrived: Instant,
}

/// A slot of a host; given back when dropped.
pub struct Slot<'f> {
    fleet: &'f Fleet,
    ticket: Ticket,
    ended: Ended,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.fleet.lock();
        state.scheduler.released(self.ticket, self.ended, now);
        state.assign(now);
        self.fleet.changed.notify_all();
    }
}

impl Fleet {
    /// Whether some host of the list could do a job for this compiler now; also where that was not
    /// found out yet.
    pub fn has_hope(&self, hosts: &HostList, compiler: &str) -> bool {
        let now = Instant::now();
        // One that failed is wanted, but not waited for.
        let is_usable = |address| {
            let mut state = self.lock();
            if state.scheduler.want(address) {
                self.troubled.notify_one();
            }
            !matches!(state.book.standing(address, compiler, now), Standing::Other(_))
                && !state.scheduler.is_out(address)
        };
        hosts.hosts.iter().any(|host| match host {
            Host::Tcp { name, port, down: false, .. } => {
                let addresses = self.names.known(name, *port);
                addresses.is_empty() && self.names.why_none(name, *port).is_none()
                    || addresses.into_iter().any(is_usable)
            }
            _ => false,
        })
    }

    /// The addresses of a name, as far as they are known.
    ///
    /// # Errors
    /// Why there is none.
    pub fn known_addresses(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        let known = self.names.known(name, port);
        match self.names.why_none(name, port).filter(|_| known.is_empty()) {
            Some(why) => Err(why),
            None => Ok(known),
        }
    }

    /// The addresses of a name, which is looked up where it has to be.
    ///
    /// # Errors
    /// That of `still_waiting`.
    pub fn addresses(
        &self,
        name: &str,
        port: u16,
        still_waiting: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<Vec<SocketAddr>> {
        self.names.find(name, port, still_waiting)
    }

    /// Has the job done by a host of the list; waits for a slot as long as it takes.
    pub fn compile(&self, order: Order, customer: &mut dyn Customer) -> Outcome<'_> {
        let mut excluded = Vec::new();
        let mut why = String::from("no host is in the list");
        let (mut attempts, mut timeouts) = (0, 0);
        loop {
            customer.placed(None);
            let place = match self.wait_for_place(order, &excluded, customer) {
                Ok(place) => place,
                Err(error) => return Outcome::Gone(error),
            };
            let (target, mut slot) = match place {
                Place::Host(target, ticket) => (target, self.slot(ticket)),
                Place::Nobody(reason) => {
                    why = reason.unwrap_or(why);
                    return Outcome::Nobody { why, attempts };
                }
            };
            if target.address == HERE {
                return Outcome::Here(slot);
            }
            customer.placed(Some(&target.label));
            let done = self
                .acquaint(&target, order, customer)
                .and_then(|kind| race::run(self, &target, &mut slot, kind, order, customer))
                .and_then(|(reply, origin)| {
                    // What failed is compiled again here.
                    if reply.status == 0 {
                        self.confirm(origin, &order.compiler.digest, customer)?;
                    }
                    Ok((reply, origin))
                });
            match done {
                Ok((reply, origin)) => return Outcome::Replied(reply, origin),
                Err(Failed::Gone(error)) => return Outcome::Gone(error),
                Err(Failed::NotNow) => {}
                Err(Failed::Refused(reason)) => {
                    tracing::warn!("{}: refused: {reason}", target.label);
                    why = format!("{}: refused: {reason}", target.label);
                    self.lock().book.forget(target.address);
                    excluded.push(target.address);
                    attempts += 1;
                }
                Err(Failed::Host(failure)) => {
                    why = format!("{}: {}", target.label, failure.why);
                    tracing::warn!("{why}");
                    let hangs = failure.kind == FailureKind::TimedOut;
                    slot.ended = if hangs { Ended::HostHung } else { Ended::HostFailed };
                    if let Err(error) = self.give_up(&target, failure, slot, order, customer) {
                        return Outcome::Gone(error);
                    }
                    excluded.push(target.address);
                    attempts += 1;
                    timeouts += usize::from(hangs);
                }
            }
            if attempts == ATTEMPTS_MAX || timeouts == TIMEOUTS_MAX {
                return Outcome::Nobody { why, attempts };
            }
        }
    }

    /// From now on the host gets no job, until a probe finds it well.
    fn give_up(
        &self,
        target: &Target,
        failure: Failure,
        slot: Slot,
        order: Order,
        customer: &mut dyn Customer,
    ) -> io::Result<()> {
        self.lock().book.note_failure(target.address, failure);
        // First, so that nobody else waits for it.
        drop(slot);
        self.note_probe(target, order, customer)?;
        self.troubled.notify_one();
        Ok(())
    }

    /// With a unit to compile, where there is none yet.
    fn note_probe(
        &self,
        target: &Target,
        order: Order,
        customer: &mut dyn Customer,
    ) -> io::Result<()> {
        let is_complete = |probe: &Arc<Probe>| probe.trial().is_some();
        if !self.lock().probes.get(&target.address).is_some_and(is_complete) {
            let probe = Probe::new(target, order, customer.trial()?);
            self.lock().note_probe(target.address, probe);
        }
        Ok(())
    }

    /// A host failed what this machine's own compiler then did: something is wrong with it.
    pub fn contradicted(&self, origin: Origin, why: &str) {
        let mut state = self.lock();
        state.scheduler.failed(origin.address, Instant::now());
        state.book.note_failure(origin.address, Failure::other(why));
        self.troubled.notify_one();
    }

    fn slot(&self, ticket: Ticket) -> Slot<'_> {
        Slot { fleet: self, ticket, ended: Ended::Cancelled }
    }

    /// Waits in line until a host has a free slot, which is then taken.
    fn wait_for_place(
        &self,
        order: Order,
        excluded: &[SocketAddr],
        customer: &mut dyn Customer,
    ) -> io::Result<Place> {
        let targets = self.targets(order.hosts, customer)?;
        let mut state = self.lock();
        let number = state.queue.join(targets, &order.compiler.digest, order.cost(), excluded);
        state.assign(Instant::now());
        let mut looked_up = Instant::now();
        loop {
            if let Some(place) = state.queue.take(number) {
                return Ok(place);
            }
            let pause = state.queue.pause(number, Instant::now()).min(LOOK_UP);
            state = match self.changed.wait_timeout(state, pause) {
                Ok((state, _)) => state,
                Err(poison) => poison.into_inner().0,
            };
            if looked_up.elapsed() >= LOOK_UP {
                looked_up = Instant::now();
                drop(state);
                let waiting = customer.still_waiting();
                state = self.lock();
                if let Err(error) = waiting {
                    self.leave(&mut state, number);
                    return Err(error);
                }
            }
            state.assign(Instant::now());
        }
    }

    /// Whoever leaves may just have been given a slot.
    fn leave(&self, state: &mut State, number: u64) {
        let now = Instant::now();
        if let Some(Place::Host(_, ticket)) = state.queue.leave(number) {
            state.scheduler.released(ticket, Ended::Cancelled, now);
        }
        state.assign(now);
        self.changed.notify_all();
    }

    /// The addresses behind a list, in its order.
    fn targets(&self, hosts: &HostList, customer: &mut dyn Customer) -> io::Result<Vec<Target>> {
        let mut targets = Vec::new();
        for host in &hosts.hosts {
            match host {
                Host::Local { slots } => targets.push(Target {
                    address: HERE,
                    slots: *slots,
                    lzo: false,
                    label: host.to_string(),
                }),
                // Those have a dispatch of their own.
                Host::Tcp { down: true, .. } | Host::Grpc(_) => {}
                Host::Tcp { name, port, slots, lzo, .. } => {
                    let addresses = self.names.find(name, *port, || customer.still_waiting())?;
                    let several = addresses.len() > 1;
                    targets.extend(addresses.into_iter().map(|address| Target {
                        address,
                        slots: *slots,
                        lzo: *lzo,
                        label: label(name, *port, several.then_some(address)),
                    }));
                }
            }
        }
        if hosts.randomize {
            shuffle(&mut targets);
        }
        Ok(targets)
    }

    /// Makes sure that the host has the same compiler, and learns what it speaks.
    fn acquaint(
        &self,
        target: &Target,
        order: Order,
        customer: &mut dyn Customer,
    ) -> Result<Kind, Failed> {
        let key = (target.address, order.compiler.digest.clone());
        match self.lock().book.begin(&key, Instant::now()) {
            Acquaintance::Same(kind) => return Ok(kind),
            Acquaintance::NotNow => return Err(Failed::NotNow),
            Acquaintance::ToBeMade => {}
        }
        let time = order.timeout.max(MEETING_MIN);
        let met = acquaintance::meet(target, order, Some(time), customer);
        let is_stock = met.as_ref().is_ok_and(|met| met.kind == Kind::Distccd);
        let trial = if is_stock { customer.trial().ok().flatten() } else { None };
        let mut state = self.lock();
        // Should it fail one day.
        if is_stock || !state.probes.contains_key(&target.address) {
            state.note_probe(target.address, Probe::new(target, order, trial));
        }
        let result = state.book.end(key, met, Instant::now());
        state.assign(Instant::now());
        self.changed.notify_all();
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl State {
    fn note_probe(&mut self, address: SocketAddr, probe: Probe) {
        let State { probes, scheduler, .. } = self;
        if probes.len() >= HOSTS_KEPT_MAX {
            probes.retain(|address, _| scheduler.is_out(*address));
        }
        probes.insert(address, Arc::new(probe));
    }

    /// Gives free slots to those who wait, the oldest first.
    fn assign(&mut self, now: Instant) {
        let State { scheduler, queue, book, .. } = self;
        queue.assign(scheduler, book, now);
    }
}

impl Order<'_> {
    fn cost(&self) -> u64 {
        self.job.source.len() as u64
    }
}

/// One address that may get a job.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    address: SocketAddr,
    slots: usize,
    lzo: bool,
    label: String,
}

impl Target {
    fn candidate(&self) -> Candidate {
        Candidate { address: self.address, slots: self.slots }
    }
}

/// What a host did wrong.
#[derive(Clone, Debug)]
struct Failure {
    kind: FailureKind,
    /// For a person.
    why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailureKind {
    /// It said nothing, or not all, for too long.
    TimedOut,
    /// On this machine, somebody else listens there.
    Untrusted,
    /// Anything else.
    Other,
}

impl Failure {
    fn other(why: impl Into<String>) -> Failure {
        Failure { kind: FailureKind::Other, why: why.into() }
    }
}

/// Why an attempt gave no reply.
enum Failed {
    Gone(io::Error),
    Host(Failure),
    /// It does not do this job, in its own words; others it may.
    Refused(String),
    /// It has another compiler, or somebody else is just finding out.
    NotNow,
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Failed {
        match error {
            CallError::Gone(error) => Failed::Gone(error),
            error => {
                let kind = match error {
                    CallError::TimedOut => FailureKind::TimedOut,
                    CallError::Untrusted(_) => FailureKind::Untrusted,
                    _ => FailureKind::Other,
                };
                Failed::Host(Failure { kind, why: error.to_string() })
            }
        }
    }
}

fn label(name: &str, port: u16, address: Option<SocketAddr>) -> String {
    let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    match address {
        Some(address) => format!("{name}:{port} ({})", address.ip()),
        None => format!("{name}:{port}"),
    }
}

/// `--randomize`: another order for each job, as distcc takes another for each process.
fn shuffle(targets: &mut [Target]) {
    use std::hash::{BuildHasher, RandomState};
    let seed = RandomState::new();
    targets.sort_by_cached_key(|target| seed.hash_one(target.address));
}
