//! `rcache doctor`: checks the set-up, and says what to do about what is wrong.

mod checks;
mod cluster;
mod report;

use super::screen::{self, Paint, Style};
use super::{Outcome, describe};
use config::{Config, Environment};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use talk::questions::{Question, RemoteTask};

/// Runs every check; the exit status is 1 when one of them fails.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    let environment = Environment::of_this_process();
    let loaded = Config::load(&environment);
    let user = rustix::process::getuid().as_raw();
    let variable = |name: &str| std::env::var_os(name);

    let mut findings = checks::settings(&loaded);
    findings.push(checks::runtime_folder(
        config::paths::make_runtime_folder(&variable, user),
        &config::paths::refused_runtime_folders(&variable, user),
    ));
    let status = talk::client::ask(&Question::Status, true);
    let status = status.map_err(|error| describe(&error));
    findings.push(checks::daemon(status.clone()));
    findings.extend(checks::other_daemons(&talk::others::others()));
    findings.extend(checks::cache_folder(&loaded.config));
    findings.extend(checks::owners(&loaded.config, user));
    findings.extend(checks::working_folder(Path::new(".")));
    let stats = talk::client::ask(&Question::Stats, true);
    let stats = stats.map_err(|error| describe(&error));
    findings.extend(checks::verification(&loaded.config, stats.as_ref().ok()));
    findings.extend(checks::compilers(&crate::find_compiler::search_path()));
    findings.extend(checks::left_out(&|name| std::env::var_os(name)));

    findings.extend(shared_cache(&loaded.config));
    let asked = talk::client::ask(&Question::Hosts, true);
    let asked = asked.map_err(|error| describe(&error));
    findings.extend(cluster::cluster(&loaded, &environment, asked));

    screen::print(&render(&findings, Style::of_stdout()));
    if options.contains_id("report") {
        let named = options.get_one::<PathBuf>("report").cloned();
        let path = named.unwrap_or_else(report::default_path);
        let findings = render(&findings, Style::Plain);
        let parts = report::Parts { findings, loaded: &loaded, status, stats };
        screen::print(&report::write(&path, &parts, &environment)?);
    }
    match findings.iter().any(|finding| finding.grade == Grade::Fail) {
        true => Ok(ExitCode::FAILURE),
        false => Ok(ExitCode::SUCCESS),
    }
}

/// The remotes, where there are any.
fn shared_cache(config: &Config) -> Vec<Finding> {
    if config.remote_storage.is_empty() {
        return Vec::new();
    }
    let asked = talk::client::ask(&Question::Remote { task: RemoteTask::Ping }, true);
    checks::shared_cache(&asked.map_err(|error| describe(&error)))
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    grade: Grade,
    /// What was looked at.
    subject: &'static str,
    /// What was seen.
    seen: String,
    /// What to do; empty where nothing is to be done.
    remedy: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    Ok,
    /// It works, but not as well as it could.
    Warn,
    /// rcache can do nothing, or not what it was told to.
    Fail,
}

impl Finding {
    fn ok(subject: &'static str, seen: impl Into<String>) -> Finding {
        Finding { grade: Grade::Ok, subject, seen: seen.into(), remedy: String::new() }
    }

    fn warn(subject: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { grade: Grade::Warn, subject, seen: seen.into(), remedy: remedy.into() }
    }

    fn fail(subject: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { grade: Grade::Fail, subject, seen: seen.into(), remedy: remedy.into() }
    }
}

fn render(findings: &[Finding], style: Style) -> String {
    let mut shown = String::new();
    for finding in findings {
        let grade = match finding.grade {
            Grade::Ok => style.paint(Paint::Green, "ok  "),
            Grade::Warn => style.paint(Paint::Yellow, "warn"),
            Grade::Fail => style.paint(Paint::Red, "FAIL"),
        };
        shown.push_str(&format!("{grade}  {:15} {}\n", finding.subject, finding.seen));
        if !finding.remedy.is_empty() {
            shown.push_str(&format!("{:22}-> {}\n", "", finding.remedy));
        }
    }
    let number = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    shown.push_str(&match (number(Grade::Fail), number(Grade::Warn)) {
        (0, 0) => "\nall is well\n".to_owned(),
        (0, warnings) => format!("\nworks, with {warnings} to look at\n"),
        (failures, _) => format!("\n{failures} to be put right\n"),
    });
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_and_its_remedy_another() {
        let findings = [
            Finding::ok("settings", "defaults"),
            Finding::warn("clock", "5 s off", "set it"),
            Finding::fail("daemon", "does not start", "look at the log"),
        ];
        assert_eq!(
            render(&findings, Style::Plain),
            "\
ok    settings        defaults
warn  clock           5 s off
                      -> set it
FAIL  daemon          does not start
                      -> look at the log

1 to be put right
"
        );
        assert!(render(&findings[..2], Style::Plain).ends_with("\nworks, with 1 to look at\n"));
        assert!(render(&findings[..1], Style::Terminal).contains("\x1b[32mok  \x1b[0m"));
    }
}
