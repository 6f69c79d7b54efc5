//! `rcache daemon start|stop|status|run`.

use super::{Outcome, describe, number, screen, text};
use config::Span;
use serde_json::{Value, json};
use server::client::{self, AskError};
use server::daemon::Mode;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs one of the four.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    match options.subcommand() {
        Some(("start", _)) => start(),
        Some(("stop", _)) => stop(),
        Some(("status", options)) => status(options.get_flag("json")),
        Some((_, options)) => serve(options.get_flag("detached")),
        None => Err("name one of start, stop, status and run".to_owned()),
    }
}

fn start() -> Outcome {
    let answer = super::ask(json!({ "command": "status" }), true)?;
    screen::print(&headline(&answer));
    Ok(ExitCode::SUCCESS)
}

/// A daemon that writes what it still remembers may need this long.
const STOP_MAX: Duration = Duration::from_secs(10);

fn stop() -> Outcome {
    super::settings()?;
    let shown = match client::ask(json!({ "command": "stop" }), false) {
        Ok(_) => {
            let deadline = Instant::now() + STOP_MAX;
            while client::connect(false).is_ok() {
                if Instant::now() > deadline {
                    return Err(format!(
                        "the daemon has not ended after {} s; it may be finishing compiles",
                        STOP_MAX.as_secs()
                    ));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            "stopped\n"
        }
        Err(AskError::NotRunning) => "was not running\n",
        Err(error) => return Err(describe(&error)),
    };
    screen::print(shown);
    Ok(ExitCode::SUCCESS)
}

fn status(as_json: bool) -> Outcome {
    super::settings()?;
    match client::ask(json!({ "command": "status" }), false) {
        Ok(answer) if as_json => {
            let mut answer = answer;
            answer["running"] = json!(true);
            screen::print_json(&answer);
            Ok(ExitCode::SUCCESS)
        }
        Ok(answer) => {
            screen::print(&(headline(&answer) + &details(&answer)));
            Ok(ExitCode::SUCCESS)
        }
        Err(AskError::NotRunning) => {
            match as_json {
                true => screen::print_json(&json!({ "running": false })),
                false => screen::print("not running\n"),
            }
            Ok(ExitCode::from(super::definition::NOT_RUNNING_STATUS))
        }
        Err(error) => Err(describe(&error)),
    }
}

/// Serves until it is told to stop or has been idle for long enough.
fn serve(detached: bool) -> Outcome {
    let mode = if detached { Mode::Detached } else { Mode::Foreground };
    // A compile has started this one: wrong settings are warned of there, and must not end it.
    if !detached {
        super::settings()?;
    }
    server::daemon::run(mode).map_err(|error| format!("the daemon: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

fn headline(status: &Value) -> String {
    let up = Span(Duration::from_secs(number(status, "/uptime_s"))).rounded();
    format!(
        "running: pid {}, version {}, up {up}\n",
        number(status, "/pid"),
        text(status, "/version")
    )
}

fn details(status: &Value) -> String {
    format!(
        "socket     {}\ncache      {}\nmemory     {}\ncalls      {}\nin flight  {}\n",
        text(status, "/socket"),
        text(status, "/cache_dir"),
        screen::bytes(number(status, "/memory_bytes")),
        screen::count(number(status, "/calls")),
        screen::count(number(status, "/in_flight")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_is_up() {
        let status = json!({
            "pid": 42, "version": "0.1.0", "uptime_s": 90, "socket": "/run/user/1/rcache/1.sock",
            "cache_dir": "/c", "memory_bytes": 20_000_000, "in_flight": 2, "calls": 1_234
        });
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
