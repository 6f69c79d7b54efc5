//! The cache that a team shares: a tier behind the local store, on engines that exist, with signed entries.
//!
//! It stores and fetches bytes by name, and knows neither paths nor options. Everything that waits for a
//! network runs on the runtime that a [`Tier`] is given. In reading order:

pub mod bundle;
pub mod envelope;
pub mod keys;
pub mod location;
pub mod name;

pub mod breaker;
pub mod ci;
pub mod engine;
pub mod patience;
pub mod queue;

pub mod remote;
pub mod tier;

pub use location::{Location, LocationError};
pub use name::{Kind, Name};
pub use tier::{Answer, Count, Event, Offer, Opened, Settings, Tier};

use std::sync::{Mutex, MutexGuard};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}
