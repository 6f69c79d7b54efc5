//! What the user types after `rcache` when it is not a compiler: the subcommands.

mod definition;
mod screen;

mod ccache_words;
mod completions;
mod daemon;
mod demo;
mod doctor;
mod explain;
mod hosts;
mod import_ccache;
mod keys;
mod keys_worker;
mod link;
mod prefetch;
mod remote;
mod settings;
mod signals;
mod stats;
mod store;
mod top;
mod verify;
mod version;
mod worker;

use config::{Config, Environment, Loaded};
use serde::de::DeserializeOwned;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use talk::client::AskError;
use talk::questions::Question;

pub use definition::SUBCOMMANDS;

/// What a subcommand ends with: its exit status, or a text for standard error and status 1.
type Outcome = Result<ExitCode, String>;

/// Whether the first word after `rcache` is for the subcommands and not a compiler.
pub fn is_subcommand(word: &OsStr) -> bool {
    word.as_bytes().starts_with(b"-") || SUBCOMMANDS.iter().any(|name| word == *name)
}

/// Runs a subcommand. `arguments` are the words after the program's name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    if arguments.first().is_some_and(|word| ccache_words::is_one(word)) {
        return end(ccache_words::run(&arguments));
    }
    let words = std::iter::once(OsString::from("rcache")).chain(arguments);
    let matches = match definition::command().try_get_matches_from(words) {
        Ok(matches) => matches,
        // A usage error, or the text of --help or --version.
        Err(error) => {
            let status = u8::try_from(error.exit_code()).unwrap_or(1);
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    let (name, options) = matches.subcommand().expect("a subcommand is required");
    let outcome = match name {
        "stats" => stats::run(options),
        "zero" => store::zero(),
        "clear" => store::clear(),
        "trim" => store::trim(options),
        "verify" => verify::run(options),
        "flush" => store::flush(options),
        "prefetch" => prefetch::run(options),
        "remote" => remote::run(options),
        "keys" => keys::run(options),
        "config" => settings::run(options),
        "daemon" => daemon::run(options),
        "worker" => worker::run(options),
        "hosts" => hosts::run(options),
        "explain" => explain::run(options),
        "import-ccache" => import_ccache::run(options),
        "link" => link::run(options),
        "doctor" => doctor::run(options),
        "top" => top::run(options),
        "demo" => demo::run(),
        "completions" => completions::completions(options),
        _ => completions::man(options),
    };
    end(outcome)
}

fn end(outcome: Outcome) -> ExitCode {
    outcome.unwrap_or_else(|text| {
        eprintln!("rcache: {text}");
        ExitCode::FAILURE
    })
}

/// The settings of this process. A subcommand does nothing with settings that are wrong.
fn settings() -> Result<Loaded, String> {
    let loaded = Config::load(&Environment::of_this_process());
    match loaded.problems.is_empty() {
        true => Ok(loaded),
        false => Err(problems(&loaded)),
    }
}

/// One line for each thing that is wrong with the settings.
fn problems(loaded: &Loaded) -> String {
    let lines: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    lines.join("\nrcache: ")
}

/// Asks the daemon, after making sure that the settings are right.
fn ask<A: DeserializeOwned>(question: &Question, start: bool) -> Result<A, String> {
    settings()?;
    talk::client::ask(question, start).map_err(|error| describe(&error))
}

fn describe(error: &AskError) -> String {
    match error {
        AskError::NotRunning => format!("{error}; `rcache daemon start` starts it"),
        AskError::Unreachable(_) => format!("{error}; `rcache doctor` looks for the cause"),
        AskError::OtherBuild(_) | AskError::Refused(_) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_told_from_subcommands() {
        for word in ["stats", "help", "--version", "-V", "demo", "man"] {
            assert!(is_subcommand(OsStr::new(word)), "{word}");
        }
        for word in ["gcc", "/usr/bin/stats", "clang++-14", "stat", ""] {
            assert!(!is_subcommand(OsStr::new(word)), "{word}");
        }
    }
}
