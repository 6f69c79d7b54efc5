//! `rcache daemon start|stop|status|run`.

use super::{Outcome, describe, screen};
use ::daemon::Mode;
use config::Span;
use serde::Serialize;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use talk::client::{self, AskError};
use talk::others;
use talk::questions::{Done, Question, Status};

/// Runs one of the four.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    match options.subcommand() {
        Some(("start", _)) => start(),
        Some(("stop", options)) => end(options.get_flag("all")),
        Some(("status", options)) => status(options.get_flag("json")),
        Some((_, options)) => {
            serve(options.get_flag("detached"), options.get_one::<PathBuf>("socket").cloned())
        }
        None => Err("name one of start, stop, status and run".to_owned()),
    }
}

/// Starts it where it is not up.
pub fn start() -> Outcome {
    let answer = super::ask(&Question::Status, true)?;
    screen::print(&headline(&answer));
    Ok(ExitCode::SUCCESS)
}

/// A daemon that has nothing to do but write what it still remembers ends sooner than this.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Ends it, and waits until it has written what it remembers.
pub fn stop() -> Outcome {
    end(false)
}

/// Ends the daemon, and those that serve the same cache folder for processes elsewhere: whoever removes the
/// folder next must not find one that still writes there. `all` of this user where that is asked for.
fn end(all: bool) -> Outcome {
    let folder = super::settings()?.config.cache_dir;
    let own = std::fs::metadata(&folder).ok().map(|found| (found.dev(), found.ino()));
    let is_meant = |other: &Status| all || own.is_some() && other.cache_folder_id == own;
    let others = others::stop_others(is_meant);
    let others: Vec<u64> = others.iter().map(|other| other.pid).collect();
    let mut processes = others.clone();
    match client::ask::<Status>(&Question::Status, false) {
        Ok(status) => processes.push(status.pid),
        Err(AskError::NotRunning) if others.is_empty() => {
            screen::print("was not running\n");
            return Ok(ExitCode::SUCCESS);
        }
        // One of another build makes way when it is told to stop, but does not tell its number.
        Err(_) => {}
    }
    match client::ask::<Done>(&Question::Stop, false) {
        Ok(Done {}) | Err(AskError::NotRunning) => {}
        Err(error) => return Err(describe(&error)),
    }
    let deadline = Instant::now() + STOP_MAX;
    while client::connect(false).is_ok() || processes.iter().any(|process| is_alive(*process)) {
        if Instant::now() > deadline {
            processes.retain(|process| is_alive(*process));
            screen::print(&format!("stopping: {} serves its last compiles\n", named(&processes)));
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    match others.is_empty() {
        true => screen::print("stopped\n"),
        false => screen::print(&format!("stopped, also {}\n", named(&others))),
    }
    Ok(ExitCode::SUCCESS)
}

/// `pid 12, 13`.
fn named(processes: &[u64]) -> String {
    let processes: Vec<String> = processes.iter().map(u64::to_string).collect();
    format!("pid {}", processes.join(", "))
}

/// Whether a process is there and no zombie: not every container has an init that reaps. The
/// state follows the name, which is in parentheses (proc(5)).
fn is_alive(process: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}

/// What `rcache daemon status --json` prints.
#[derive(Serialize)]
struct Running {
    #[serde(flatten)]
    status: Option<Status>,
    running: bool,
}

fn status(as_json: bool) -> Outcome {
    super::settings()?;
    match client::ask::<Status>(&Question::Status, false) {
        Ok(status) if as_json => {
            screen::print_json(&Running { status: Some(status), running: true });
            Ok(ExitCode::SUCCESS)
        }
        Ok(answer) => {
            screen::print(&(headline(&answer) + &details(&answer) + &others()));
            Ok(ExitCode::SUCCESS)
        }
        Err(AskError::NotRunning) => {
            match as_json {
                true => screen::print_json(&Running { status: None, running: false }),
                false => screen::print(&format!("not running\n{}", others())),
            }
            Ok(ExitCode::from(super::definition::NOT_RUNNING_STATUS))
        }
        Err(error) => Err(describe(&error)),
    }
}

/// The line on the daemons of this user for other cache folders and other places.
fn others() -> String {
    let others: Vec<u64> = others::statuses().iter().map(|other| other.pid).collect();
    match others.is_empty() {
        true => String::new(),
        false => format!("others     {}\n", named(&others)),
    }
}

/// Serves until it is told to stop or has been idle for long enough.
fn serve(detached: bool, socket: Option<PathBuf>) -> Outcome {
    let mode = if detached { Mode::Detached } else { Mode::Foreground };
    // A compile has started this one: wrong settings are warned of there, and must not end it.
    if !detached {
        super::settings()?;
    }
    ::daemon::run(mode, socket).map_err(|error| format!("the daemon: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

fn headline(status: &Status) -> String {
    let up = Span(Duration::from_secs(status.uptime_s)).rounded();
    format!("running: pid {}, version {}, up {up}\n", status.pid, status.version)
}

fn details(status: &Status) -> String {
    format!(
        "socket     {}\ncache      {}\nmemory     {}\ncalls      {}\nin flight  {}\n",
        status.socket,
        status.cache_dir,
        screen::bytes(status.memory_bytes),
        screen::count(status.calls),
        screen::count(status.in_flight),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_are_there() {
        assert!(is_alive(std::process::id().into()));
        assert!(!is_alive(0));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        // Not yet waited for: it runs, and is then a zombie.
        while is_alive(child.id().into()) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn a_daemon_that_is_up() {
        let status = Status {
            pid: 42,
            version: "0.1.0".to_owned(),
            uptime_s: 90,
            socket: "/run/user/1/rcache/1.sock".into(),
            cache_dir: "/c".into(),
            memory_bytes: 20_000_000,
            in_flight: 2,
            calls: 1_234,
            ..Status::default()
        };
        assert_eq!(headline(&status), "running: pid 42, version 0.1.0, up 1 min 30 s\n");
        assert_eq!(
            details(&status),
            "\
socket     /run/user/1/rcache/1.sock
cache      /c
memory     20.0M
calls      1 234
in flight  2
"
        );
    }
}
