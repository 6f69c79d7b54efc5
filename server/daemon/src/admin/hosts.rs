//! Answers about the cluster: what is known of each host, and what the hosts say when they are asked.

use crate::make::engines;
use crate::make::toolchain::{Here, Toolchain};
use crate::serve::conversation::Conversation;
use crate::serve::runtime;
use crate::understand::compilers::{Asker, Stop};
use crate::{Cache, Daemon};
use compiler::file_memo::WorkingDirectory;
use compiler::invocation::Language;
use config::host_list::{Endpoint, Host, HostList};
use config::{Config, Environment};
use remote::fleet::{HostState, Question, Trouble, Visit};
use remote::reapi::engines::{EngineState, Wish};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};
use talk::launcher_protocol::Caller;
use talk::party::Party;
use talk::questions::{HostCompiler, HostRow, Hosts, Likeness, LocalRow};
use talk::wrappers;

/// The compilers that hosts are asked about, where this machine has them.
const ASKED_ABOUT: [(&str, Language); 4] = [
    ("gcc", Language::C),
    ("g++", Language::Cxx),
    ("clang", Language::C),
    ("clang++", Language::Cxx),
];

/// What is known of the hosts of a list.
pub fn known(daemon: &Daemon, config: &Config) -> Vec<HostRow> {
    let fleet = daemon.fleet.report(&config.hosts);
    let states = daemon.engines.states();
    let engines = listed(&config.hosts).map(|endpoint| engine_row(endpoint, &states, None));
    fleet.iter().map(row).chain(engines).collect()
}

/// The hosts of a list that get files, also those that are marked as down.
fn listed(hosts: &HostList) -> impl Iterator<Item = &Endpoint> {
    hosts.hosts.iter().filter_map(|host| match host {
        Host::Grpc(endpoint) => Some(endpoint.as_ref()),
        _ => None,
    })
}

/// Asks each host that gets files whether it lives.
fn ask_engines(
    daemon: &Daemon,
    conversation: &mut Conversation,
    caller: &Caller,
    config: &Config,
) -> io::Result<Vec<HostRow>> {
    let environment = Environment::new(&caller.environment);
    let variable = |name: &str| environment.get(name).and_then(|value| value.to_str());
    let mut rows = Vec::new();
    for endpoint in listed(&config.hosts) {
        if endpoint.down {
            rows.push(engine_row(endpoint, &[], None));
            continue;
        }
        let mut still_waiting = || conversation.still_waiting();
        let (name, port) = (&endpoint.name, endpoint.port);
        let places = daemon.fleet.addresses(name, port, &mut still_waiting)?;
        let why = daemon.fleet.known_addresses(name, port).err();
        let mut asked = Err(why.unwrap_or_else(|| "it has no address".to_owned()));
        for place in places {
            let credentials = engines::credentials_of(endpoint, &variable);
            let wish = Wish { endpoint: endpoint.clone(), place, credentials };
            let answer = ask_engine(daemon, conversation, &wish)?;
            if asked.is_err() {
                asked = answer;
            }
        }
        rows.push(engine_row(endpoint, &daemon.engines.states(), Some(asked)));
    }
    Ok(rows)
}

/// How long a host takes to answer, or why it does not.
fn ask_engine(
    daemon: &Daemon,
    conversation: &mut Conversation,
    wish: &Wish,
) -> io::Result<Result<Duration, String>> {
    let handle = match daemon.runtime.handle() {
        Ok(handle) => handle,
        Err(why) => return Ok(Err(why.to_owned())),
    };
    let _entered = handle.enter();
    let engine = match daemon.engines.engine(wish) {
        Ok(engine) => engine,
        Err(trouble) => return Ok(Err(trouble.to_string())),
    };
    let work = async move {
        // The first answer takes a connection.
        engine.client.ask_abilities().await?;
        let started = Instant::now();
        engine.client.ask_abilities().await.map(|_| started.elapsed())
    };
    let asked = runtime::wait(handle, work, &mut || conversation.still_waiting())?;
    Ok(asked.map_err(|trouble| trouble.to_string()))
}

fn engine_row(
    endpoint: &Endpoint,
    states: &[EngineState],
    asked: Option<Result<Duration, String>>,
) -> HostRow {
    let label = endpoint.to_string();
    // One for each address.
    let own = || states.iter().filter(|state| state.label == label);
    let number = |of: fn(&EngineState) -> u64| own().map(of).sum::<u64>();
    let out = || match own().any(|state| state.out.is_none()) {
        true => None,
        false => own().find_map(|state| state.out.clone()),
    };
    let (round_trip, why_not) = match (asked, endpoint.down) {
        (_, true) => (None, Some("marked as down in the list".to_owned())),
        (Some(Ok(time)), _) => (Some(time), None),
        (Some(Err(why)), _) => (None, Some(why)),
        (None, _) => (None, out()),
    };
    let completed = number(|state| state.completed);
    HostRow {
        host: endpoint.to_string(),
        slots: endpoint.slots as u64,
        in_flight: number(|state| state.in_flight as u64),
        completed,
        failed: number(|state| state.failed),
        usable: why_not.is_none(),
        why_not,
        trouble: endpoint.down.then(|| Trouble::Down.name().to_owned()),
        compiler: if completed > 0 { Likeness::Same } else { Likeness::Unknown },
        round_trip_us: round_trip.map(|time| time.as_micros() as u64),
        worker: "reapi".to_owned(),
        ..HostRow::default()
    }
}

/// Asks each host.
pub fn ask(
    daemon: &Daemon,
    conversation: &mut Conversation,
    caller: &Caller,
    cache: &Cache,
    config: &Config,
) -> io::Result<Hosts> {
    let questions = questions(daemon, conversation, caller, cache, config)?;
    let visits =
        daemon.fleet.visit(&config.hosts, &questions, &mut || conversation.still_waiting())?;
    let mut rows: Vec<HostRow> = visits.iter().map(visited_row).collect();
    rows.extend(ask_engines(daemon, conversation, caller, config)?);
    Ok(Hosts {
        hosts: rows,
        waiting: daemon.fleet.waiting() as u64,
        local: this_machine(daemon, config),
    })
}

/// The slots of this machine.
pub fn this_machine(daemon: &Daemon, config: &Config) -> LocalRow {
    let (slots_used, slots_waiting) = daemon.slots.load();
    LocalRow {
        slots: config.local_slots as u64,
        in_flight: slots_used as u64,
        waiting: slots_waiting as u64,
        used_most: daemon.slots.used_most() as u64,
    }
}

/// The compilers of this machine; one that cannot be identified is left out.
fn questions(
    daemon: &Daemon,
    conversation: &mut Conversation,
    caller: &Caller,
    cache: &Cache,
    config: &Config,
) -> io::Result<Vec<Question>> {
    let here = WorkingDirectory::open(&caller.working_directory)?;
    let environment = Environment::new(&caller.environment);
    let mut questions: Vec<Question> = Vec::new();
    for (name, language) in ASKED_ABOUT {
        let Some(driver) = find_program(&environment, name) else { continue };
        let mut asker = Asker {
            prober: conversation,
            environment: &environment,
            here: &here,
            memo: &daemon.memo,
            now: SystemTime::now(),
        };
        let words = vec!["-x".into(), language.name().into()];
        let compiler = match daemon.compilers.identify(&driver, words, &mut asker) {
            Ok(compiler) => compiler,
            Err(unidentified) => match Stop::from(unidentified) {
                Stop::Gone(error) => return Err(error),
                _ => continue,
            },
        };
        let toolchain =
            Toolchain { driver: &driver, compiler: &compiler, target: Vec::new(), language };
        let trial = toolchain
            .trial(&Here { daemon, cache, slots: config.compile_slots() }, conversation)?;
        questions.push(Question {
            name: name.to_owned(),
            compiler: toolchain.identity(),
            identify: toolchain.identify_words(),
            trial,
        });
    }
    Ok(questions)
}

/// The first file of that name in the caller's PATH that is no wrapper of ours or another's.
fn find_program(environment: &Environment, name: &str) -> Option<PathBuf> {
    let folders = environment.get("PATH")?;
    std::env::split_paths(folders).map(|folder| folder.join(name)).find(|path| {
        let real = std::fs::canonicalize(path).unwrap_or_default();
        real.is_file() && !real.file_name().is_some_and(wrappers::stands_in)
    })
}

fn row(state: &HostState) -> HostRow {
    HostRow {
        host: state.host.clone(),
        address: state.address.map(|address| address.ip().to_string()),
        slots: state.slots as u64,
        in_flight: state.in_flight as u64,
        completed: state.completed,
        failed: state.failed,
        usable: state.why_not.is_none(),
        why_not: state.why_not.clone(),
        trouble: state.trouble.map(|trouble| trouble.name().to_owned()),
        compiler: match state.same_compiler {
            Some(true) => Likeness::Same,
            Some(false) => Likeness::Other,
            None => Likeness::Unknown,
        },
        round_trip_us: state.round_trip.map(|time| time.as_micros() as u64),
        worker: state.kind.clone().unwrap_or_else(|| "unknown".to_owned()),
        compilers: None,
    }
}

fn visited_row(visit: &Visit) -> HostRow {
    let mut row = row(&visit.state);
    let compilers = visit.compilers.iter().map(|(name, said)| HostCompiler {
        name: name.clone(),
        same: said.is_ok(),
        why_not: said.as_ref().err().cloned(),
    });
    row.compilers = Some(compilers.collect());
    // A host that has one of the compilers is of use, whatever the others are.
    if visit.compilers.iter().any(|(_, said)| said.is_ok()) {
        row.compiler = Likeness::Same;
        if row.why_not.is_some() && visit.state.same_compiler == Some(false) {
            row.usable = true;
            row.why_not = None;
            row.trouble = None;
        }
    }
    row
}
