//! A question about one unit: it goes on by itself, and whoever asked waits only so long.

use super::{Count, Event, Shared, Tier};
use crate::breaker::Verdict;
use crate::lock;
use crate::name::Name;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is known of a name that was asked for.
pub(super) enum Asked {
    /// An answer is on its way.
    Pending(Arc<Slot>),
    /// It is on none of the remotes.
    Missing(Instant),
}

/// Where an answer comes to.
#[derive(Default)]
pub(super) struct Slot {
    answer: Mutex<Option<Answer>>,
    came: Condvar,
}

/// What was found of a unit: not believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub(super) remote: usize,
    pub(super) bytes: Vec<u8>,
}

impl Found {
    /// How much came.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing came, which is no answer either.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Something is there.
    Found(Found),
    /// It is on none of the remotes.
    Missing,
    /// No remote is worth asking now.
    Nobody,
    /// It did not come in time.
    Late,
    /// A remote failed.
    Failed,
}

/// A question that is under way.
pub struct Question {
    shared: Arc<Shared>,
    slot: Option<Arc<Slot>>,
    /// Known without asking.
    known: Answer,
    deadline: Instant,
    remotes: Vec<usize>,
    count: Count,
}

impl Tier {
    /// Asks all remotes for what is known of a unit. Nobody waits yet.
    pub fn ask(&self, unit: Name, count: &Count) -> Question {
        let now = Instant::now();
        let shared = &self.shared;
        let question = |slot, known, patience, remotes| Question {
            shared: Arc::clone(shared),
            slot,
            known,
            deadline: now + patience,
            remotes,
            count: Arc::clone(count),
        };
        if shared.is_missing(unit, now) {
            return question(None, Answer::Missing, Duration::ZERO, Vec::new());
        }
        let mut patience = Duration::ZERO;
        let (mut asked, mut waited_for) = (Vec::new(), Vec::new());
        for (index, remote) in shared.remotes.iter().enumerate() {
            let (verdict, wait) = remote.verdict();
            if verdict != Verdict::Rest {
                asked.push(index);
            }
            if verdict == Verdict::Ask {
                waited_for.push(index);
                patience = patience.max(wait);
            }
        }
        if asked.is_empty() {
            return question(None, Answer::Nobody, Duration::ZERO, Vec::new());
        }
        let slot = self.begin(unit, asked);
        match waited_for.is_empty() {
            true => question(None, Answer::Nobody, Duration::ZERO, Vec::new()),
            false => question(Some(slot), Answer::Late, patience, waited_for),
        }
    }

    /// Sends it, unless it is under way already.
    fn begin(&self, unit: Name, remotes: Vec<usize>) -> Arc<Slot> {
        let mut asked = lock(&self.shared.asked);
        if let Some(Asked::Pending(slot)) = asked.get(&unit) {
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot::default());
        asked.insert(unit, Asked::Pending(Arc::clone(&slot)));
        drop(asked);
        let (shared, own) = (Arc::clone(&self.shared), Arc::clone(&slot));
        self.runtime.spawn(async move {
            // Whatever becomes of the request, somebody may be waiting.
            let mut ending = Ending { shared, slot: own, unit, answer: Answer::Failed };
            ending.answer = ending.shared.look_up(unit, remotes).await;
        });
        slot
    }
}

struct Ending {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    unit: Name,
    answer: Answer,
}

impl Drop for Ending {
    fn drop(&mut self) {
        match self.answer {
            Answer::Missing => self.shared.note_missing(self.unit),
            _ => self.shared.forget(self.unit),
        }
        *lock(&self.slot.answer) = Some(self.answer.clone());
        self.slot.came.notify_all();
    }
}

impl Question {
    /// The answer, as soon as it comes or is no longer worth waiting for.
    pub fn wait(self) -> Answer {
        let answer = self.wait_for_slot();
        match answer {
            Answer::Late => {
                for index in &self.remotes {
                    self.shared.remotes[*index].was_late();
                }
                (self.count)(Event::Timeout);
            }
            Answer::Missing => (self.count)(Event::Miss),
            Answer::Failed => (self.count)(Event::Error),
            Answer::Found(_) | Answer::Nobody => {}
        }
        answer
    }

    fn wait_for_slot(&self) -> Answer {
        let Some(slot) = &self.slot else { return self.known.clone() };
        let mut answer = lock(&slot.answer);
        loop {
            if let Some(answer) = &*answer {
                return answer.clone();
            }
            let left = self.deadline.checked_duration_since(Instant::now());
            let Some(left) = left.filter(|left| !left.is_zero()) else { return Answer::Late };
            answer = match slot.came.wait_timeout(answer, left) {
                Ok((answer, _)) => answer,
                Err(poison) => PoisonError::into_inner(poison).0,
            };
        }
    }
}
