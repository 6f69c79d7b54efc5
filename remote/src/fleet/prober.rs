//! Finds out behind the builds' backs whether a host that failed is well again: no compile is the probe.

use super::acquaintance::{Kind, meet};
use super::race::Sending;
use super::{Failed, Failure, Fleet, Order, Target};
use crate::call::Patience;
use crate::customer::{Customer, Trial};
use crate::protocol::identity::CompilerIdentity;
use crate::protocol::{limits, response};
use crate::{Job, Reply};
use config::host_list::HostList;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Hosts that are probed at one time.
const PROBES_MAX: usize = 16;

/// For one compile of a probe.
const PROBE_MAX: Duration = Duration::from_secs(20);

/// How a host is probed: as the compile went that it failed.
pub(super) struct Probe {
    target: Target,
    compiler: CompilerIdentity,
    identify: Vec<Vec<u8>>,
    trial: Option<Arc<Trial>>,
}

impl Probe {
    pub(super) fn new(target: &Target, order: Order, trial: Option<Arc<Trial>>) -> Probe {
        Probe {
            target: target.clone(),
            compiler: order.compiler.clone(),
            identify: order.identify.to_vec(),
            trial,
        }
    }

    pub(super) fn trial(&self) -> Option<Arc<Trial>> {
        self.trial.clone()
    }
}

impl Fleet {
    /// Probes the hosts that failed and are wanted, for as long as the process lives; to be called
    /// once, on a thread of its own.
    pub fn look_after_hosts(&self) {
        std::thread::scope(|scope| {
            let mut state = self.lock();
            loop {
                let now = Instant::now();
                let room = PROBES_MAX - state.probing.min(PROBES_MAX);
                for address in state.scheduler.probes_due(room, now) {
                    state.probing += 1;
                    let probe = state.probes.get(&address).map(Arc::clone);
                    let run = move || self.probe(address, probe.as_deref());
                    if std::thread::Builder::new().spawn_scoped(scope, run).is_err() {
                        state.probing -= 1;
                        state.scheduler.probed(address, now, false, now);
                    }
                }
                // With no room left, the end of a probe wakes it.
                let next = state.scheduler.next_probe().filter(|_| state.probing < PROBES_MAX);
                let pause = next.map(|next| next.saturating_duration_since(Instant::now()));
                let waited = match pause {
                    Some(pause) => self
                        .troubled
                        .wait_timeout(state, pause)
                        .map(|(state, _)| state)
                        .map_err(|poison| std::sync::PoisonError::new(poison.into_inner().0)),
                    None => self.troubled.wait(state),
                };
                state = waited.unwrap_or_else(|poison| poison.into_inner());
            }
        });
    }

    fn probe(&self, address: SocketAddr, probe: Option<&Probe>) {
        let started = Instant::now();
        let found = probe.map_or(Ok(()), |probe| self.run_probe(probe));
        let mut state = self.lock();
        let now = Instant::now();
        state.probing -= 1;
        state.scheduler.probed(address, started, found.is_ok(), now);
        match found {
            Ok(()) => tracing::info!("{address}: well again"),
            Err(failure) => state.book.note_failure(address, failure),
        }
        state.assign(now);
        self.changed.notify_all();
        self.troubled.notify_one();
    }

    /// It says which compiler it has, and compiles something.
    fn run_probe(&self, probe: &Probe) -> Result<(), Failure> {
        let mut prober = Prober { trial: probe.trial.clone() };
        let nothing = Job::default();
        let order = Order {
            hosts: &HostList::default(),
            job: probe.trial.as_ref().map_or(&nothing, |trial| &trial.job),
            compiler: &probe.compiler,
            identify: &probe.identify,
            timeout: PROBE_MAX,
        };
        let blame = |failed| match failed {
            Failed::Host(failure) => failure,
            Failed::Refused(why) => Failure::other(why),
            Failed::Gone(_) | Failed::NotNow => Failure::other("it was not asked"),
        };
        let met = meet(&probe.target, order, None, &mut prober).map_err(blame)?;
        let is_worker = matches!(met.kind, Kind::Worker(_));
        let is_same = met.same.is_ok();
        let key = (probe.target.address, probe.compiler.digest.clone());
        let kind = met.kind.clone();
        // A host that has another compiler by now is well, and known for it.
        let _ = self.lock().book.end(key, Ok(met), Instant::now());
        if is_worker && is_same && probe.trial.is_some() {
            let patience = Patience { whole: PROBE_MAX, silence: Some(limits::SILENCE_MAX) };
            let sending = Sending::new(&probe.target, &kind, order).with_patience(patience);
            let reply = sending.send(&mut prober).map_err(|error| blame(error.into()))?;
            if reply.status != 0 && reply.status != response::REFUSED_STATUS {
                return Err(Failure::other("it cannot compile the trial unit"));
            }
        }
        Ok(())
    }
}

/// Nobody waits for it.
pub(super) struct Prober {
    pub(super) trial: Option<Arc<Trial>>,
}

impl Customer for Prober {
    fn still_waiting(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn trial(&mut self) -> io::Result<Option<Arc<Trial>>> {
        Ok(self.trial.clone())
    }

    fn is_whole(&self, _reply: &Reply) -> bool {
        true
    }
}
