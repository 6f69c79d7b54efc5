//! One job on one host; near the end of a build, on a second one as well where the first is late.

use super::acquaintance::Kind;
use super::{Failed, Failure, FailureKind, Fleet, HERE, Order, Origin, Slot, Target};
use crate::Reply;
use crate::call::{self, CallError, Patience};
use crate::customer::{Customer, Trial};
use crate::protocol::{Checksum, Dialect, limits, request, response};
use crate::scheduler::Ended;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

/// How often a rival that is waited for alone is asked.
const LOOK_UP: Duration = Duration::from_millis(400);

/// Exit codes of distcc's own (its `exitcode.h`), such as 110 where the compiler cannot be run.
const DAEMON_CODES: std::ops::RangeInclusive<i32> = 100..=120;

/// A job as one host gets it.
pub(super) struct Sending {
    address: SocketAddr,
    dialect: Dialect,
    bytes: Vec<u8>,
    checksum: Checksum,
    patience: Patience,
}

impl Sending {
    pub(super) fn new(target: &Target, kind: &Kind, order: Order) -> Sending {
        let dialect = kind.dialect(target.lzo);
        let silence = (dialect == Dialect::Native).then_some(limits::SILENCE_MAX);
        let patience = Patience { whole: order.timeout, silence };
        let (bytes, checksum) = request::encode(dialect, order.job, &order.compiler.digest);
        Sending { address: target.address, dialect, bytes, checksum, patience }
    }

    pub(super) fn with_patience(self, patience: Patience) -> Sending {
        Sending { patience, ..self }
    }

    pub(super) fn send(&self, customer: &mut dyn Customer) -> Result<Reply, CallError> {
        call::call(self.address, &self.bytes, self.patience, customer, |stream| {
            response::read(stream, self.dialect, &self.checksum)
        })
    }

    /// Whether a reply is to be believed.
    fn check(&self, reply: Reply, customer: &dyn Customer) -> Result<Reply, Failed> {
        if self.dialect == Dialect::Native && reply.status == response::REFUSED_STATUS {
            let why = String::from_utf8_lossy(&reply.stderr).trim().to_owned();
            return Err(Failed::Refused(why));
        }
        if let Some(why) = failure_of_host(&reply) {
            return Err(Failed::Host(Failure::other(why)));
        }
        if reply.status == 0 && !customer.is_whole(&reply) {
            return Err(Failed::Host(Failure::other("it sent an object that is not whole")));
        }
        Ok(reply)
    }
}

fn origin(address: SocketAddr, dialect: Dialect) -> Origin {
    Origin { address, dialect, arrived: Instant::now() }
}

fn ended(failure: &Failure) -> Ended {
    match failure.kind {
        FailureKind::TimedOut => Ended::HostHung,
        FailureKind::Untrusted | FailureKind::Other => Ended::HostFailed,
    }
}

/// Where it is not the compiler that found fault with the text: it was killed, could not be run, or
/// failed without a word.
fn failure_of_host(reply: &Reply) -> Option<String> {
    let signal = reply.status & 0x7f;
    let code = reply.status >> 8 & 0xff;
    let text = String::from_utf8_lossy(&reply.stderr);
    let line = text.lines().next().unwrap_or_default();
    if signal != 0 {
        Some(format!("its compiler was ended by signal {signal}"))
    } else if DAEMON_CODES.contains(&code) {
        Some(format!("its daemon failed with {code} {line}").trim_end().to_owned())
    } else if code != 0 && reply.stderr.is_empty() && reply.stdout.is_empty() {
        Some(format!("its compiler failed with {code}, and did not say why"))
    } else {
        None
    }
}

/// Has the job done there; `slot` then knows how it ended. The reply comes with the host that gave it:
/// this one, or the one of the second run.
pub(super) fn run<'f>(
    fleet: &'f Fleet,
    target: &Target,
    slot: &mut Slot<'f>,
    kind: Kind,
    order: Order,
    customer: &mut dyn Customer,
) -> Result<(Reply, Origin), Failed> {
    let sending = Sending::new(target, &kind, order);
    let mut race = Race {
        fleet,
        order,
        slot,
        customer,
        rival: None,
        won: None,
        may_repeat: true,
        is_lost: false,
    };
    let answer = sending.send(&mut race);
    let Race { slot, customer, rival, won, is_lost, .. } = race;
    if let Some(won) = won {
        return Ok(won);
    }
    let answer = match answer {
        _ if is_lost => {
            let why = "it hangs with other compiles, and with this one".to_owned();
            Err(Failed::Host(Failure { kind: FailureKind::TimedOut, why }))
        }
        Ok(reply) => sending.check(reply, customer),
        Err(error) => Err(Failed::from(error)),
    };
    match (answer, rival) {
        (Ok(reply), _) => {
            slot.ended = Ended::Completed;
            Ok((reply, origin(target.address, sending.dialect)))
        }
        // The second run may still save the job.
        (Err(Failed::Host(failure)), Some(mut rival)) => {
            let second = rival.wait(fleet, customer);
            if second.is_ok() {
                tracing::warn!("{}: {}", target.label, failure.why);
                fleet.lock().book.note_failure(target.address, failure.clone());
                slot.ended = ended(&failure);
                fleet.note_probe(target, order, customer).map_err(Failed::Gone)?;
                fleet.troubled.notify_one();
            }
            match second {
                Err(Failed::Host(_) | Failed::Refused(_)) => Err(Failed::Host(failure)),
                other => {
                    other.map(|reply| (reply, origin(rival.sending.address, rival.sending.dialect)))
                }
            }
        }
        (Err(failed), _) => Err(failed),
    }
}

/// The customer of the first run, which also looks after the second.
struct Race<'r, 'f> {
    fleet: &'f Fleet,
    order: Order<'r>,
    slot: &'r mut Slot<'f>,
    customer: &'r mut dyn Customer,
    rival: Option<Rival<'f>>,
    won: Option<(Reply, Origin)>,
    may_repeat: bool,
    is_lost: bool,
}

impl Customer for Race<'_, '_> {
    /// Fails when the second run has won, or the host hangs, so that the first is given up.
    fn still_waiting(&mut self) -> io::Result<()> {
        self.customer.still_waiting()?;
        // With a second run under way, that one may still save the job.
        if self.rival.is_none() && self.fleet.lock().scheduler.is_lost(self.slot.ticket) {
            self.is_lost = true;
            return Err(io::ErrorKind::TimedOut.into());
        }
        let Some(rival) = &mut self.rival else {
            if self.may_repeat {
                self.rival = self.repeat();
                self.may_repeat = self.rival.is_none();
            }
            return Ok(());
        };
        match rival.answers.try_recv() {
            Ok(answer) => match rival.judge(self.fleet, answer, self.customer) {
                Ok(reply) => {
                    let Sending { address, dialect, .. } = *rival.sending;
                    self.won = Some((reply, origin(address, dialect)));
                    Err(io::ErrorKind::Interrupted.into())
                }
                Err(_) => {
                    self.rival = None;
                    Ok(())
                }
            },
            Err(TryRecvError::Disconnected) => {
                self.rival = None;
                Ok(())
            }
            Err(TryRecvError::Empty) => Ok(()),
        }
    }

    fn trial(&mut self) -> io::Result<Option<Arc<Trial>>> {
        self.customer.trial()
    }

    fn is_whole(&self, reply: &Reply) -> bool {
        self.customer.is_whole(reply)
    }
}

impl<'f> Race<'_, 'f> {
    /// Starts a second run where the scheduler expects much of it.
    fn repeat(&mut self) -> Option<Rival<'f>> {
        let targets = self.fleet.targets(self.order.hosts, self.customer).ok()?;
        let mut state = self.fleet.lock();
        let (waiting, ticket) = (state.queue.waiting(), self.slot.ticket);
        if !state.scheduler.late(waiting, Instant::now()).contains(&ticket) {
            return None;
        }
        let compiler = &self.order.compiler.digest;
        let known: Vec<(Target, Kind)> = targets
            .into_iter()
            .filter(|target| target.address != HERE)
            .filter_map(|target| {
                let kind = state.book.same(target.address, compiler)?;
                Some((target, kind))
            })
            .collect();
        let candidates: Vec<_> = known.iter().map(|(target, _)| target.candidate()).collect();
        let (index, ticket) = state.scheduler.repeat(ticket, &candidates, &[], Instant::now())?;
        drop(state);
        let (target, kind) = &known[index];
        tracing::info!("a second run on {}", target.label);
        let slot = self.fleet.slot(ticket);
        Rival::start(Sending::new(target, kind, self.order), slot)
    }
}

/// The second run.
struct Rival<'f> {
    sending: Arc<Sending>,
    slot: Slot<'f>,
    stop: Arc<AtomicBool>,
    answers: Receiver<Result<Reply, CallError>>,
}

impl<'f> Rival<'f> {
    fn start(sending: Sending, slot: Slot<'f>) -> Option<Rival<'f>> {
        let sending = Arc::new(sending);
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, answers) = mpsc::channel();
        let started = std::thread::Builder::new().spawn({
            let (sending, stop) = (Arc::clone(&sending), Arc::clone(&stop));
            move || {
                // Nobody may wait for it any more.
                let _ = sender.send(sending.send(&mut Runner { stop }));
            }
        });
        started.ok().map(|_| Rival { sending, slot, stop, answers })
    }

    /// What its answer is worth; a host that fails is known for it.
    fn judge(
        &mut self,
        fleet: &Fleet,
        answer: Result<Reply, CallError>,
        customer: &dyn Customer,
    ) -> Result<Reply, Failed> {
        let checked = answer.map_err(Failed::from);
        let checked = checked.and_then(|reply| self.sending.check(reply, customer));
        match &checked {
            Ok(_) => self.slot.ended = Ended::Completed,
            Err(Failed::Host(failure)) => {
                tracing::warn!("{}: {}", self.sending.address, failure.why);
                self.slot.ended = ended(failure);
                fleet.lock().book.note_failure(self.sending.address, failure.clone());
            }
            Err(_) => {}
        }
        checked
    }

    /// Waits for it alone.
    fn wait(&mut self, fleet: &Fleet, customer: &mut dyn Customer) -> Result<Reply, Failed> {
        loop {
            match self.answers.recv_timeout(LOOK_UP) {
                Ok(answer) => return self.judge(fleet, answer, customer),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failed::Host(Failure::other("the second run was lost")));
                }
                Err(RecvTimeoutError::Timeout) => customer.still_waiting().map_err(Failed::Gone)?,
            }
        }
    }
}

impl Drop for Rival<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The customer of the second run.
struct Runner {
    stop: Arc<AtomicBool>,
}

impl Customer for Runner {
    fn still_waiting(&mut self) -> io::Result<()> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }

    fn trial(&mut self) -> io::Result<Option<Arc<Trial>>> {
        Ok(None)
    }

    /// The first run's customer looks at it.
    fn is_whole(&self, _reply: &Reply) -> bool {
        true
    }
}
