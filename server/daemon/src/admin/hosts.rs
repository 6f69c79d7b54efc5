//! Answers about the cluster: what is known of each host, and what the hosts say when they are asked.

use crate::make::toolchain::{Here, Toolchain};
use crate::serve::conversation::Conversation;
use crate::understand::compilers::{Asker, Stop};
use crate::{Cache, Daemon};
use compiler::file_memo::WorkingDirectory;
use compiler::invocation::Language;
use config::{Config, Environment};
use remote::fleet::{HostState, Question, Trouble, Visit};
use serde_json::{Value, json};
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;
use talk::launcher_protocol::Caller;
use talk::party::Party;
use talk::wrappers;

/// The compilers that hosts are asked about, where this machine has them.
const ASKED_ABOUT: [(&str, Language); 4] = [
    ("gcc", Language::C),
    ("g++", Language::Cxx),
    ("clang", Language::C),
    ("clang++", Language::Cxx),
];

/// What is known of the hosts of a list.
pub fn known(daemon: &Daemon, config: &Config) -> Value {
    daemon.fleet.report(&config.hosts).iter().map(row).collect()
}

/// Asks each host.
pub fn ask(
    daemon: &Daemon,
    conversation: &mut Conversation,
    caller: &Caller,
    cache: &Cache,
    config: &Config,
) -> io::Result<Value> {
    let questions = questions(daemon, conversation, caller, cache, config)?;
    let visits =
        daemon.fleet.visit(&config.hosts, &questions, &mut || conversation.still_waiting())?;
    let rows: Vec<Value> = visits.iter().map(visited_row).collect();
    Ok(json!({
        "hosts": rows,
        "waiting": daemon.fleet.waiting(),
        "local": this_machine(daemon, config),
    }))
}

/// The slots of this machine.
pub fn this_machine(daemon: &Daemon, config: &Config) -> Value {
    let (slots_used, slots_waiting) = daemon.slots.load();
    json!({
        "slots": config.local_slots,
        "in_flight": slots_used,
        "waiting": slots_waiting,
        "used_most": daemon.slots.used_most(),
    })
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

fn row(state: &HostState) -> Value {
    json!({
        "host": state.host,
        "address": state.address.map(|address| address.ip().to_string()),
        "slots": state.slots,
        "in_flight": state.in_flight,
        "completed": state.completed,
        "failed": state.failed,
        "usable": state.why_not.is_none(),
        "why_not": state.why_not,
        "trouble": state.trouble.map(Trouble::name),
        "compiler": match state.same_compiler {
            Some(true) => "same",
            Some(false) => "other",
            None => "unknown",
        },
        "round_trip_us": state.round_trip.map(|time| time.as_micros() as u64),
        "worker": state.kind.as_deref().unwrap_or("unknown"),
    })
}

fn visited_row(visit: &Visit) -> Value {
    let mut row = row(&visit.state);
    let compilers = visit.compilers.iter().map(|(name, said)| {
        json!({ "name": name, "same": said.is_ok(), "why_not": said.as_ref().err() })
    });
    row["compilers"] = compilers.collect();
    // A host that has one of the compilers is of use, whatever the others are.
    if visit.compilers.iter().any(|(_, said)| said.is_ok()) {
        row["compiler"] = json!("same");
        if row["why_not"].is_string() && visit.state.same_compiler == Some(false) {
            row["usable"] = json!(true);
            row["why_not"] = Value::Null;
            row["trouble"] = Value::Null;
        }
    }
    row
}
