//! How long a stock distccd is believed to have the same compiler: it cannot say, and may be upgraded at any time.
//!
//! A trial tells what it has: before its first job, and again after each job, before what came of that
//! counts. Jobs that end while a trial runs share the next one, so a host has at most one at a time.

use super::acquaintance::{Kind, Met, TRIAL, try_out};
use super::{Failed, Failure, Fleet, Origin, Target};
use crate::customer::Customer;
use crate::protocol::Dialect;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How often somebody who waits for a trial of another is asked whether it still waits.
const LOOK_UP: Duration = Duration::from_millis(400);

/// Why nothing that came is used.
const CHANGED: &str = "its compiler was changed while it compiled";

impl Fleet {
    /// Before a reply counts: waits for a trial that began after it came.
    pub(super) fn confirm(
        &self,
        origin: Origin,
        compiler: &str,
        customer: &mut dyn Customer,
    ) -> Result<(), Failed> {
        if origin.dialect == Dialect::Native {
            return Ok(());
        }
        let key = (origin.address, compiler.to_owned());
        let mut state = self.lock();
        loop {
            if state.book.tried(&key).is_some_and(|tried| tried >= origin.arrived) {
                return Ok(());
            }
            if state.trials.insert(key.clone()) {
                break;
            }
            state = match self.changed.wait_timeout(state, LOOK_UP) {
                Ok((state, _)) => state,
                Err(poison) => poison.into_inner().0,
            };
            drop(state);
            customer.still_waiting().map_err(Failed::Gone)?;
            state = self.lock();
        }
        drop(state);
        self.try_again(origin, key, customer)
    }

    fn try_again(
        &self,
        origin: Origin,
        key: (SocketAddr, String),
        customer: &mut dyn Customer,
    ) -> Result<(), Failed> {
        let target = Target {
            address: origin.address,
            slots: 1,
            lzo: origin.dialect == Dialect::Lzo,
            label: origin.address.to_string(),
        };
        let started = Instant::now();
        let tried = try_out(&target, TRIAL, customer);
        let round_trip = started.elapsed();
        let mut state = self.lock();
        state.trials.remove(&key);
        self.changed.notify_all();
        match tried {
            Ok(Ok(())) => {
                state.book.note_tried(&key, started);
                Ok(())
            }
            Ok(Err(why)) => {
                let met = Met { kind: Kind::Distccd, started, round_trip, same: Err(why) };
                let _ = state.book.end(key, Ok(met), Instant::now());
                Err(Failed::Host(Failure::other(CHANGED)))
            }
            Err(failed) => Err(failed),
        }
    }
}
