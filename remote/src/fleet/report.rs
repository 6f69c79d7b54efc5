//! What is known of each host of a list, without asking it.

use super::acquaintance::REFUSES;
use super::{FailureKind, Fleet, HERE, label};
use config::host_list::{Host, HostList};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What keeps a host from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The list says that it is down.
    Down,
    /// Its name has no address.
    NoAddress,
    /// It cannot even be asked which compiler it has.
    Unreachable,
    /// It has another compiler.
    OtherCompiler,
    /// It hangs up on this machine, or on this compiler.
    Refuses,
    /// It is on this machine, and another user's.
    Untrusted,
    /// It could be asked, but then failed.
    Failing,
}

impl Trouble {
    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Trouble::Down => "down",
            Trouble::NoAddress => "no_address",
            Trouble::Unreachable => "unreachable",
            Trouble::OtherCompiler => "other_compiler",
            Trouble::Refuses => "refuses",
            Trouble::Untrusted => "untrusted",
            Trouble::Failing => "failing",
        }
    }
}

/// One host, or one address of a name with several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostState {
    /// As in the list, with its port; `localhost` for this machine.
    pub host: String,
    /// Its address, where one is known.
    pub address: Option<SocketAddr>,
    /// Compiles at one time.
    pub slots: usize,
    /// Compiles that it has now.
    pub in_flight: usize,
    /// Compiles that it did.
    pub completed: u64,
    /// Compiles that it failed.
    pub failed: u64,
    /// Why it is not used now.
    pub why_not: Option<String>,
    /// The same, of what kind it is.
    pub trouble: Option<Trouble>,
    /// What listens there, where that is known.
    pub kind: Option<String>,
    /// How long it took to say which compiler it has.
    pub round_trip: Option<Duration>,
    /// Whether it has a compiler of this machine; `None` while it was not asked.
    pub same_compiler: Option<bool>,
    /// Bytes of text that it compiles in a second, where that is known.
    pub speed: Option<f64>,
}

impl Fleet {
    /// The hosts of a list, in its order.
    pub fn report(&self, hosts: &HostList) -> Vec<HostState> {
        let mut states = Vec::new();
        for host in &hosts.hosts {
            match host {
                Host::Local { slots } => {
                    let named = HostState { host: host.to_string(), ..HostState::default() };
                    states.push(HostState { slots: *slots, ..self.state_at(HERE, named) });
                }
                Host::Grpc(_) => {}
                Host::Tcp { name, port, slots, down, .. } => {
                    let addresses = self.names.known(name, *port);
                    let mut named = HostState {
                        host: label(name, *port, None),
                        slots: *slots,
                        ..HostState::default()
                    };
                    if *down {
                        named.why_not = Some("marked as down in the list".to_owned());
                        named.trouble = Some(Trouble::Down);
                        states.push(named);
                    } else if addresses.is_empty() {
                        named.why_not = self.names.why_none(name, *port);
                        named.trouble = named.why_not.as_ref().map(|_| Trouble::NoAddress);
                        states.push(named);
                    } else {
                        let several = addresses.len() > 1;
                        states.extend(addresses.into_iter().map(|address| {
                            let host = label(name, *port, several.then_some(address));
                            self.state_at(address, HostState { host, ..named.clone() })
                        }));
                    }
                }
            }
        }
        states
    }

    fn state_at(&self, address: SocketAddr, named: HostState) -> HostState {
        let now = Instant::now();
        let state = self.lock();
        let reports = state.scheduler.reports(now);
        let report = reports.into_iter().find(|report| report.address == address);
        let entry = state.book.host(address);
        let backing_off = report.as_ref().and_then(|report| report.backing_off_for);
        let last = entry.last_failure;
        let unanswered = match (last.as_ref().map(|failure| failure.kind), &entry.kind) {
            (Some(FailureKind::Untrusted), _) => Trouble::Untrusted,
            (_, None) => Trouble::Unreachable,
            (_, Some(_)) => Trouble::Failing,
        };
        let last = last.map(|failure| failure.why);
        let why_not = match (state.book.why_other(address), backing_off) {
            (Some(REFUSES), _) => Some((Trouble::Refuses, REFUSES.to_owned())),
            (Some(why), _) => Some((Trouble::OtherCompiler, why.to_owned())),
            (None, Some(left)) => {
                let why = last.as_deref().unwrap_or("it failed");
                Some((unanswered, format!("{why}; tried again in {} s", left.as_secs() + 1)))
            }
            (None, None) if entry.kind.is_none() => last.map(|why| (unanswered, why)),
            (None, None) => None,
        };
        let (trouble, why_not) = why_not.unzip();
        HostState {
            address: (address != HERE).then_some(address),
            in_flight: report.as_ref().map_or(0, |report| report.in_flight),
            completed: report.as_ref().map_or(0, |report| report.completed),
            failed: report.as_ref().map_or(0, |report| report.failed),
            speed: report.as_ref().and_then(|report| report.speed),
            same_compiler: match (state.book.has_same(address), state.book.why_other(address)) {
                (_, Some(_)) => Some(false),
                (true, None) => Some(true),
                (false, None) => None,
            },
            kind: entry.kind.map(|kind| kind.describe()),
            round_trip: entry.round_trip,
            why_not,
            trouble,
            ..named
        }
    }

    /// Jobs that wait for a slot of a host.
    pub fn waiting(&self) -> usize {
        self.lock().queue.waiting()
    }
}
