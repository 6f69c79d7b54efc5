//! `rcache worker`.

use super::Outcome;
use ::worker::{self, KeyFiles, Network, Options};
use clap::ArgMatches;
use config::{ByteSize, Environment, Level, Span, environment};
use std::ffi::OsString;
use std::net::IpAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Compiles at one time; no machine has so many cores.
pub const JOBS_MAX: u64 = 4096;

/// Serves until it is told to end.
pub fn run(matches: &ArgMatches) -> Outcome {
    let options = options(matches, &Environment::of_this_process())?;
    worker::run(options).map_err(|error| format!("the worker: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

fn options(matches: &ArgMatches, environment: &Environment) -> Result<Options, String> {
    let port = |name: &str| matches.get_one::<u16>(name).copied();
    let span = |name: &str| matches.get_one::<Span>(name).map_or(Duration::ZERO, |span| span.0);
    let file = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    let level = matches.get_one::<String>("log-level");
    let level = Level::ALL.iter().find(|one| level.is_some_and(|level| level == one.name()));
    let scratch = environment.get(environment::TMPDIR).map(PathBuf::from);
    let listen = matches.get_many::<IpAddr>("listen").into_iter().flatten();
    Ok(Options {
        listen: listen.copied().collect(),
        port: port("port").unwrap_or_default(),
        jobs: jobs(matches, environment)?,
        allow: allow(matches, environment)?,
        nice: matches.get_one::<i32>("nice").copied().unwrap_or_default(),
        job_timeout: span("job-timeout"),
        request_timeout: span("request-timeout"),
        drain_timeout: span("drain-timeout"),
        job_memory_bytes: matches.get_one::<ByteSize>("job-memory").map(|size| size.0),
        metrics_port: port("metrics-port").filter(|port| *port != 0),
        sandbox: !matches.get_flag("no-sandbox"),
        compiler_path: matches.get_one::<OsString>("compiler-path").cloned().unwrap_or_default(),
        keys: KeyFiles {
            certificate: file("tls-cert"),
            key: file("tls-key"),
            client_authority: file("client-ca"),
            tokens: file("token-file"),
        },
        insecure_reapi: matches.get_flag("insecure-reapi"),
        runs_what_was_sent: matches
            .get_one::<String>("toolchains")
            .is_some_and(|own| own == "sent"),
        accepts_results: matches.get_flag("accept-results"),
        cas_folder: file("cas-dir"),
        cas_bytes_max: matches.get_one::<ByteSize>("cas-size").map_or(0, |size| size.0),
        scratch: scratch.filter(|path| path.is_absolute()).unwrap_or_else(|| "/tmp".into()),
        log_level: level.copied().unwrap_or(Level::Info),
    })
}

/// The command line's, else the environment's, else one for each core that this process may use:
/// its affinity and the quota of its control group count.
fn jobs(matches: &ArgMatches, environment: &Environment) -> Result<usize, String> {
    if let Some(jobs) = matches.get_one::<u64>("jobs") {
        return Ok(*jobs as usize);
    }
    let text = environment.get(environment::JOBS).unwrap_or_default().to_string_lossy();
    if text.trim().is_empty() {
        return Ok(std::thread::available_parallelism().map_or(1, NonZero::get));
    }
    let jobs = text.trim().parse().ok().filter(|jobs| (1..=JOBS_MAX).contains(jobs));
    let jobs =
        jobs.ok_or_else(|| format!("JOBS: \"{text}\" is not a number from 1 to {JOBS_MAX}"))?;
    Ok(jobs as usize)
}

/// The command line's networks and the environment's.
fn allow(matches: &ArgMatches, environment: &Environment) -> Result<Vec<Network>, String> {
    let lists = matches.get_many::<Vec<Network>>("allow").into_iter().flatten();
    let mut networks: Vec<Network> = lists.flatten().copied().collect();
    let text = environment.get(environment::ALLOW).unwrap_or_default().to_string_lossy();
    networks.extend(Network::parse_list(&text).map_err(|error| format!("ALLOW: {error}"))?);
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parse(words: &[&str], variables: &[(&str, &str)]) -> Result<Options, String> {
        let words = ["rcache", "worker"].iter().chain(words);
        let matches = crate::cli::definition::command().try_get_matches_from(words);
        let matches = matches.map_err(|error| error.to_string())?;
        let variables: Vec<(OsString, OsString)> =
            variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        options(matches.subcommand().unwrap().1, &Environment::new(&variables))
    }

    #[test]
    fn defaults() {
        let options = parse(&[], &[]).unwrap();
        assert_eq!((options.port, options.nice, options.metrics_port), (3632, 5, None));
        assert_eq!(options.job_timeout, Duration::from_secs(300));
        assert!(options.listen.is_empty() && options.allow.is_empty() && options.sandbox);
        assert_eq!(options.jobs, std::thread::available_parallelism().unwrap().get());
        assert_eq!(options.compiler_path, worker::COMPILER_PATH);
        assert!(!options.runs_what_was_sent && !options.insecure_reapi && !options.accepts_results);
        assert_eq!((options.cas_bytes_max, options.cas_folder), (10_000_000_000, None));
        assert_eq!(
            (options.scratch.as_path(), options.log_level),
            (Path::new("/tmp"), Level::Info)
        );
    }

    #[test]
    fn command_line_and_environment() {
        let words = ["--allow", "10.0.0.0/8,fd00::/8", "--allow", "192.168.0.1", "--jobs", "7"];
        let variables = [("ALLOW", "172.16.0.0/12 10.1.0.0/16"), ("JOBS", "3"), ("TMPDIR", "/t")];
        let options = parse(&words, &variables).unwrap();
        let allow: Vec<String> = options.allow.iter().map(ToString::to_string).collect();
        let expected = ["10.0.0.0/8", "fd00::/8", "192.168.0.1/32", "172.16.0.0/12", "10.1.0.0/16"];
        assert_eq!((allow, options.jobs), (expected.map(String::from).to_vec(), 7));
        assert_eq!(options.scratch, Path::new("/t"));
        assert_eq!(parse(&[], &variables).unwrap().jobs, 3);
        let words = ["--listen", "127.0.0.1", "--listen", "::1", "--metrics-port", "9000"];
        let options = parse(&words, &[("ALLOW", ""), ("JOBS", "")]).unwrap();
        assert_eq!((options.listen.len(), options.metrics_port), (2, Some(9000)));
    }

    #[test]
    fn mistakes_name_their_place() {
        for (words, variables, part) in [
            (&[][..], &[("ALLOW", "10.0.0.0/40")][..], "ALLOW: \"10.0.0.0/40\""),
            (&[], &[("JOBS", "many")], "JOBS: \"many\""),
            (&[], &[("JOBS", "0")], "JOBS: \"0\""),
            (&["--jobs", "0"], &[], "--jobs"),
            (&["--allow", "x"], &[], "\"x\" is not a network"),
            (&["--nice", "20"], &[], "--nice"),
            (&["--job-timeout", "0"], &[], "--job-timeout"),
            (&["--listen", "k8vm0"], &[], "--listen"),
            (&["--log-level", "loud"], &[], "--log-level"),
            (&["--toolchains", "all"], &[], "--toolchains"),
            (&["--cas-size", "much"], &[], "--cas-size"),
        ] {
            let error = parse(words, variables).unwrap_err();
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
