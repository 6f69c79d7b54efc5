//! The hosts that speak REAPI: which of them gets a job, and what is known of each.

use super::client::{Client, Credentials, Trouble};
use config::host_list::Endpoint;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

/// Servers that are remembered; far more than any list names.
const ENGINES_MAX: usize = 2_000;

/// Between two probes of a server that failed: at first, and at most.
const PROBE_FIRST: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_secs(60);

/// How long a server is not asked again whether it has a compiler.
const OTHER_COMPILER: Duration = Duration::from_secs(300);

/// Compilers that are remembered of one server.
const COMPILERS_MAX: usize = 1_000;

/// How often a job that waits for a slot asks whether anybody waits for it.
const LOOK_UP: Duration = Duration::from_millis(400);

/// All servers that the builds of this user know.
#[derive(Default)]
pub struct Engines {
    state: Mutex<HashMap<Key, Arc<Engine>>>,
    /// A slot is free, or a server is well again.
    changed: Arc<Condvar>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    /// Without what does not concern the connection.
    endpoint: Endpoint,
    place: SocketAddr,
    credentials: Credentials,
}

/// A server and its state.
pub struct Engine {
    /// Its side of the wire.
    pub client: Client,
    endpoint: Endpoint,
    place: SocketAddr,
    load: Mutex<Load>,
}

#[derive(Default)]
struct Load {
    slots: usize,
    in_flight: usize,
    completed: u64,
    failed: u64,
    /// Why it gets no jobs, until a probe finds it well.
    out: Option<String>,
    /// Compilers that it has not got, and until when that is believed.
    others: HashMap<String, Instant>,
}

/// What is known of a server.
#[derive(Clone, Debug)]
pub struct EngineState {
    /// As it is written in messages.
    pub label: String,
    /// Jobs at one time.
    pub slots: usize,
    /// Jobs that it has now.
    pub in_flight: usize,
    /// Jobs that it did.
    pub completed: u64,
    /// Jobs that it failed.
    pub failed: u64,
    /// Why it is not used.
    pub out: Option<String>,
}

/// A slot of a server; given back when dropped.
pub struct Lease {
    /// The server.
    pub engine: Arc<Engine>,
    changed: Arc<Condvar>,
}

/// What came of the wish for a slot.
pub enum Turn {
    /// Here is one.
    Slot(Lease),
    /// No server of the list can be used; why, in words.
    Nobody(String),
}

/// A server that a call may use: where it is, and how to be let in.
pub struct Wish {
    /// As the list has it.
    pub endpoint: Endpoint,
    /// One of the addresses of its name.
    pub place: SocketAddr,
    /// How; or why not.
    pub credentials: Result<Credentials, String>,
}

impl Engines {
    /// Whether some server of the list could do a job for this compiler now.
    pub fn has_hope(&self, wishes: &[Wish], compiler: &str) -> bool {
        wishes.iter().any(|wish| match self.known(wish) {
            Some(engine) => engine.standing(compiler).is_none(),
            None => wish.credentials.is_ok(),
        })
    }

    /// Waits for a slot of a server that is not among `excluded`. To be called within a runtime.
    ///
    /// # Errors
    /// That of `still_waiting`: nobody waits for the job any more.
    pub fn take(
        &self,
        wishes: &[Wish],
        compiler: &str,
        excluded: &[SocketAddr],
        still_waiting: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<Turn> {
        let mut why = String::from("no such host is in the list");
        let mut engines = Vec::new();
        for wish in wishes.iter().filter(|wish| !excluded.contains(&wish.place)) {
            match self.engine(wish) {
                Ok(engine) => engines.push(engine),
                Err(trouble) => why = format!("{}: {trouble}", wish.endpoint),
            }
        }
        let mut state = self.lock();
        loop {
            let mut usable = Vec::new();
            for engine in &engines {
                match engine.standing(compiler) {
                    Some(reason) => why = format!("{}: {reason}", engine.endpoint),
                    None => usable.push(engine),
                }
            }
            if usable.is_empty() {
                return Ok(Turn::Nobody(why));
            }
            // The first of the list among those with the most room.
            let free = usable.into_iter().filter_map(|engine| Some((engine.room()?, engine)));
            let best = free.reduce(|best, next| if next.0 > best.0 { next } else { best });
            if let Some((_, engine)) = best {
                engine.lock().in_flight += 1;
                let changed = Arc::clone(&self.changed);
                return Ok(Turn::Slot(Lease { engine: Arc::clone(engine), changed }));
            }
            state = match self.changed.wait_timeout(state, LOOK_UP) {
                Ok((state, _)) => state,
                Err(poison) => poison.into_inner().0,
            };
            drop(state);
            still_waiting()?;
            state = self.lock();
        }
    }

    /// What is known of the servers, by their labels.
    pub fn states(&self) -> Vec<EngineState> {
        let mut states: Vec<EngineState> =
            self.lock().values().map(|engine| engine.state()).collect();
        states.sort_by(|one, other| one.label.cmp(&other.label));
        states
    }

    /// The server behind a wish, with a connection that is made when it is needed. To be called within a
    /// runtime.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn engine(&self, wish: &Wish) -> Result<Arc<Engine>, Trouble> {
        let key = Key::of(wish).map_err(Trouble::Settings)?;
        let mut state = self.lock();
        let engine = match state.get(&key) {
            Some(engine) => Arc::clone(engine),
            None => {
                let client = Client::new(&key.endpoint, key.place, &key.credentials)?;
                let engine = Engine {
                    client,
                    endpoint: wish.endpoint.clone(),
                    place: wish.place,
                    load: Mutex::default(),
                };
                if state.len() >= ENGINES_MAX {
                    state.clear();
                }
                let engine = Arc::new(engine);
                state.insert(key, Arc::clone(&engine));
                engine
            }
        };
        engine.lock().slots = wish.endpoint.slots;
        Ok(engine)
    }

    fn known(&self, wish: &Wish) -> Option<Arc<Engine>> {
        self.lock().get(&Key::of(wish).ok()?).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Engine>>> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Key {
    fn of(wish: &Wish) -> Result<Key, String> {
        let credentials = wish.credentials.clone()?;
        let endpoint = Endpoint { slots: 1, properties: Vec::new(), ..wish.endpoint.clone() };
        Ok(Key { endpoint, place: wish.place, credentials })
    }
}

impl Engine {
    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its address.
    pub fn place(&self) -> SocketAddr {
        self.place
    }

    /// What is known of it.
    pub fn state(&self) -> EngineState {
        let load = self.lock();
        EngineState {
            label: self.endpoint.to_string(),
            slots: load.slots,
            in_flight: load.in_flight,
            completed: load.completed,
            failed: load.failed,
            out: load.out.clone(),
        }
    }

    /// It failed what this machine's own compiler then did.
    pub fn contradicted(&self) {
        self.lock().failed += 1;
    }

    /// Why it gets no job for this compiler.
    pub fn standing(&self, compiler: &str) -> Option<String> {
        let load = self.lock();
        let is_other = load.others.get(compiler).is_some_and(|until| *until > Instant::now());
        load.out.clone().or_else(|| is_other.then(|| Trouble::OtherCompiler.to_string()))
    }

    /// The share of its slots that is free; `None` where none is.
    fn room(&self) -> Option<f64> {
        let load = self.lock();
        let free = load.slots.saturating_sub(load.in_flight);
        (free > 0).then(|| free as f64 / load.slots as f64)
    }

    fn lock(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Lease {
    /// The job was done.
    pub fn succeeded(&self) {
        self.engine.lock().completed += 1;
    }

    /// The job was not done. A server at fault gets no other, until a probe finds it well, for which no job
    /// waits. To be called within a runtime.
    pub fn failed(&self, trouble: &Trouble, compiler: &str) {
        let mut load = self.engine.lock();
        if let Trouble::OtherCompiler = trouble {
            if load.others.len() >= COMPILERS_MAX {
                load.others.clear();
            }
            load.others.insert(compiler.to_owned(), Instant::now() + OTHER_COMPILER);
            return;
        }
        load.failed += 1;
        if !trouble.is_of_server() {
            return;
        }
        let is_new = load.out.replace(trouble.to_string()).is_none();
        drop(load);
        self.engine.client.forget();
        if is_new {
            let (engine, changed) = (Arc::downgrade(&self.engine), Arc::downgrade(&self.changed));
            tokio::spawn(probe(engine, changed));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.engine.lock().in_flight -= 1;
        self.changed.notify_all();
    }
}

/// Asks a server that failed until it answers.
async fn probe(engine: Weak<Engine>, changed: Weak<Condvar>) {
    let mut pause = PROBE_FIRST;
    loop {
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(PROBE_MAX);
        let Some(engine) = engine.upgrade() else { return };
        match engine.client.ask_abilities().await {
            Ok(_) => {
                engine.lock().out = None;
                if let Some(changed) = changed.upgrade() {
                    changed.notify_all();
                }
                return;
            }
            Err(trouble) => engine.lock().out = Some(trouble.to_string()),
        }
    }
}
