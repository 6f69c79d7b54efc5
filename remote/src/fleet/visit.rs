//! Asks every host of a list which compilers it has, for a person who wants to know.

use super::acquaintance::meet;
use super::{Failed, Fleet, HERE, HostState, Order, Target};
use crate::customer::{Customer, Trial};
use crate::protocol::identity::CompilerIdentity;
use crate::{Job, Reply};
use config::host_list::HostList;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Hosts that are asked at one time.
const VISITORS_MAX: usize = 32;

/// How often whoever wants to know is asked whether that is still so.
const LOOK_UP: Duration = Duration::from_millis(100);

/// A compiler of this machine, and how hosts are asked about it.
#[derive(Clone)]
pub struct Question {
    /// For a person: the compiler's name.
    pub name: String,
    /// What it is here.
    pub compiler: CompilerIdentity,
    /// The words that make a worker look at its own.
    pub identify: Vec<Vec<u8>>,
    /// For a stock distccd.
    pub trial: Option<Arc<Trial>>,
}

/// What a host said.
#[derive(Clone, Debug)]
pub struct Visit {
    /// The host, with what it said taken into account.
    pub state: HostState,
    /// For each compiler whether it has the same; else why not.
    pub compilers: Vec<Said>,
}

/// A compiler's name, and why the host has another one.
pub type Said = (String, Result<(), String>);

impl Fleet {
    /// Asks all hosts of the list, several at one time.
    pub fn visit(
        &self,
        hosts: &HostList,
        questions: &[Question],
        still_waiting: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<Vec<Visit>> {
        let mut asker = Patient { still_waiting };
        let mut targets = self.targets(hosts, &mut asker)?;
        targets.retain(|target| target.address != HERE);
        let next = AtomicUsize::new(0);
        let visited = std::thread::scope(|scope| {
            let visitors: Vec<_> = (0..VISITORS_MAX.min(targets.len()))
                .map(|_| scope.spawn(|| self.visit_next(&next, &targets, questions)))
                .collect();
            let mut gone = Ok(());
            while visitors.iter().any(|visitor| !visitor.is_finished()) {
                std::thread::sleep(LOOK_UP);
                if gone.is_ok() {
                    gone = (asker.still_waiting)();
                }
                if gone.is_err() {
                    next.store(targets.len(), Ordering::Relaxed);
                }
            }
            let lists = visitors.into_iter().filter_map(|visitor| visitor.join().ok());
            gone.map(|()| lists.flatten().collect::<Vec<_>>())
        })?;
        let said = |state: &HostState| {
            let found = visited.iter().find(|(target, _)| Some(target.address) == state.address);
            found.map(|(_, compilers)| compilers.clone()).unwrap_or_default()
        };
        let states = self.report(hosts).into_iter();
        Ok(states.map(|state| Visit { compilers: said(&state), state }).collect())
    }

    fn visit_next<'t>(
        &self,
        next: &AtomicUsize,
        targets: &'t [Target],
        questions: &[Question],
    ) -> Vec<(&'t Target, Vec<Said>)> {
        let mut visited = Vec::new();
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut compilers = Vec::new();
            for question in questions {
                let said = self.ask(target, question);
                let unreachable = said.is_err() && compilers.is_empty();
                compilers.push((question.name.clone(), said.unwrap_or_else(Err)));
                if unreachable {
                    break;
                }
            }
            visited.push((target, compilers));
        }
        visited
    }

    /// The outer error: the host cannot be asked.
    fn ask(&self, target: &Target, question: &Question) -> Result<Result<(), String>, String> {
        let order = Order {
            hosts: &HostList::default(),
            job: &Job::default(),
            compiler: &question.compiler,
            identify: &question.identify,
            timeout: Duration::ZERO,
        };
        let mut visitor = Visitor { trial: question.trial.clone() };
        let met = meet(target, order, None, &mut visitor);
        let key = (target.address, question.compiler.digest.clone());
        let mut state = self.lock();
        match met {
            Ok(met) => {
                let same = met.same.clone();
                // If it failed before, it is time to see whether it is well.
                if state.scheduler.want(target.address) {
                    self.troubled.notify_one();
                }
                // What it says counts for the compiles that follow as well.
                let _ = state.book.end(key, Ok(met), Instant::now());
                Ok(same)
            }
            Err(Failed::Host(failure)) => {
                state.book.note_unreachable(target.address, failure.clone());
                Err(failure.why)
            }
            Err(_) => Err("it was not asked".to_owned()),
        }
    }
}

/// Waits for names.
struct Patient<'w> {
    still_waiting: &'w mut dyn FnMut() -> io::Result<()>,
}

impl Customer for Patient<'_> {
    fn still_waiting(&mut self) -> io::Result<()> {
        (self.still_waiting)()
    }

    fn trial(&mut self) -> io::Result<Option<Arc<Trial>>> {
        Ok(None)
    }

    fn is_whole(&self, _reply: &Reply) -> bool {
        true
    }
}

/// Asks one host; its waits are bounded.
struct Visitor {
    trial: Option<Arc<Trial>>,
}

impl Customer for Visitor {
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
