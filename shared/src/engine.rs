//! One engine: get, put, remove and list objects, with limits on sizes and on time.

mod object_store;
mod redis_server;

use crate::bundle::CHECK_BYTES;
use crate::location::{Location, Scheme};
use crate::name::Name;
use std::time::{Duration, SystemTime};

/// What memcached takes for one value as it comes (`-I`), less what it needs itself.
const MEMCACHED_BYTES_MAX: usize = (1 << 20) - 2_048;

/// What a list of objects is cut at: a bucket of more is to be kept small by its own rules.
pub const LISTED_MAX: usize = 4_000_000;

/// Why an engine did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It did not answer in time.
    #[error("it did not answer in time")]
    Timeout,
    /// It has too much to do: 429, 503.
    #[error("it has too much to do ({0})")]
    Busy(String),
    /// It cannot be reached, or broke off.
    #[error("{0}")]
    Unreachable(String),
    /// It does not want to.
    #[error("{0}")]
    Refused(String),
    /// Somebody else wrote the object meanwhile.
    #[error("somebody else wrote it meanwhile")]
    Overtaken,
    /// The object is larger than it may be.
    #[error("the object is too large")]
    TooLarge,
}

impl Fault {
    /// Whether the same may succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Fault::Timeout | Fault::Busy(_) | Fault::Unreachable(_))
    }

    /// Whether it says that the remote as a whole is of no use now.
    pub fn is_of_remote(&self) -> bool {
        !matches!(self, Fault::Overtaken | Fault::TooLarge)
    }
}

/// An object as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What the engine calls this state of it.
    pub tag: Option<String>,
}

/// What must hold for an object to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Anything.
    Whatever,
    /// It was not there.
    Nothing,
    /// It was in this state.
    State {
        /// Of a bundle.
        check: Option<[u8; CHECK_BYTES]>,
        /// See [`Object::tag`].
        tag: Option<String>,
    },
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: Name,
    /// Its length, where the engine says so.
    pub bytes: u64,
    /// When it was written, or used where the engine knows that.
    pub used: Option<SystemTime>,
}

/// A connected engine.
pub enum Engine {
    /// By way of opendal.
    Store(object_store::ObjectStore),
    /// Redis: one connection for all requests, each of which goes out at once.
    Redis(Box<redis_server::RedisServer>),
}

impl Engine {
    /// Sets an engine up; nothing is sent yet.
    pub fn new(location: &Location) -> Result<Engine, String> {
        match location.scheme {
            Scheme::Redis => {
                let server = redis_server::RedisServer::new(location);
                server.map(|server| Engine::Redis(Box::new(server)))
            }
            _ => object_store::ObjectStore::new(location).map(Engine::Store),
        }
    }

    /// The largest object that it takes.
    pub fn bytes_max(location: &Location) -> usize {
        match location.scheme {
            Scheme::Memcached => MEMCACHED_BYTES_MAX,
            _ => usize::MAX,
        }
    }

    /// An object of at most `limit` bytes; `None` where there is none.
    pub async fn get(
        &self,
        location: &Location,
        name: Name,
        limit: usize,
    ) -> Result<Option<Object>, Fault> {
        let object = location.object(name);
        in_time(location.timeout, async {
            match self {
                Engine::Store(store) => store.get(&object, limit).await,
                Engine::Redis(server) => server.get(&object, limit).await,
            }
        })
        .await
    }

    /// Whether there is an object.
    pub async fn has(&self, location: &Location, name: Name) -> Result<bool, Fault> {
        let object = location.object(name);
        in_time(location.timeout, async {
            match self {
                Engine::Store(store) => store.has(&object).await,
                Engine::Redis(server) => server.has(&object).await,
            }
        })
        .await
    }

    /// Puts an object in place of what was there before.
    pub async fn put(
        &self,
        location: &Location,
        name: Name,
        bytes: Vec<u8>,
        before: &Before,
    ) -> Result<(), Fault> {
        if bytes.len() > Engine::bytes_max(location) {
            return Err(Fault::TooLarge);
        }
        let object = location.object(name);
        in_time(location.timeout, async {
            match self {
                Engine::Store(store) => store.put(&object, bytes, before).await,
                Engine::Redis(server) => server.put(&object, bytes, before).await,
            }
        })
        .await
    }

    /// Removes an object; one that is not there is no fault.
    pub async fn remove(&self, location: &Location, name: Name) -> Result<(), Fault> {
        let object = location.object(name);
        in_time(location.timeout, async {
            match self {
                Engine::Store(store) => store.remove(&object).await,
                Engine::Redis(server) => server.remove(&object).await,
            }
        })
        .await
    }

    /// All objects; `Refused` where the engine cannot list any.
    pub async fn list(&self) -> Result<Vec<Listed>, Fault> {
        match self {
            Engine::Store(store) => store.list().await,
            Engine::Redis(server) => server.list().await,
        }
    }
}

async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(Fault::Timeout))
}
