//! `Subject`: the compiler cache under test, with folders that nothing else shares.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where the real compilers are.
pub const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Counters of rcache that say how a lookup or a compile went, not where a call ended.
const NO_ENDINGS: [&str; 5] = [
    "direct_cache_miss",
    "preprocessed_cache_miss",
    "local_compile",
    "remote_compile",
    "remote_failed",
];

/// The counters of results that were served.
pub const HITS: [&str; 2] = ["direct_cache_hit", "preprocessed_cache_hit"];

/// Which program it is, as far as the tester cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// rcache: its daemon can have accidents, its counters are read.
    Rcache,
    /// ccache: its counters are read.
    Ccache,
    /// sccache: its server is ended.
    Sccache,
    /// Any other launcher.
    Other,
}

/// In the place of a host list: a worker that is started for it.
pub const WORKER: &str = "worker";

/// How long a worker may take until it listens.
const START_MAX: Duration = Duration::from_secs(60);

/// A compiler cache.
pub struct Subject {
    scratch: PathBuf,
    command: PathBuf,
    /// Which it is.
    pub program: Program,
    asked_hosts: Option<String>,
    hosts: String,
    worker: Option<Child>,
}

impl Subject {
    /// The program that is named by `RCACHE_DIFFERENTIAL_SUBJECT`, else the rcache that cargo
    /// built. `scratch` is for its files.
    pub fn new(scratch: &Path, hosts: Option<&str>) -> Subject {
        let other = std::env::var_os("RCACHE_DIFFERENTIAL_SUBJECT").map(PathBuf::from);
        let command = other.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_rcache")));
        let name = command.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let program = match name.as_str() {
            "rcache" => Program::Rcache,
            "ccache" => Program::Ccache,
            "sccache" => Program::Sccache,
            _ => Program::Other,
        };
        for folder in ["home", "run", "tmp"] {
            std::fs::create_dir_all(scratch.join(folder)).unwrap();
        }
        let mut subject = Subject {
            scratch: scratch.to_owned(),
            command,
            program,
            asked_hosts: hosts.map(str::to_owned),
            hosts: hosts.unwrap_or_default().to_owned(),
            worker: None,
        };
        if hosts == Some(WORKER) {
            subject.start_worker();
        }
        subject
    }

    fn start_worker(&mut self) {
        let log = self.scratch.join("worker.log");
        let words = ["worker", "--listen", "127.0.0.1", "--port", "0", "--jobs", "2"];
        let mut command = self.subcommand(&words);
        command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
        self.worker = Some(command.spawn().expect("start the worker"));
        let start = Instant::now();
        loop {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let line = text.lines().find_map(|line| line.split_once(" listening on "));
            if let Some((_, address)) = line {
                self.hosts = format!("{}/2", address.trim());
                return;
            }
            assert!(start.elapsed() < START_MAX, "the worker does not listen: {text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The host list that was asked for.
    pub fn hosts(&self) -> Option<&str> {
        self.asked_hosts.as_deref()
    }

    /// How many compiles a host did.
    pub fn elsewhere(&self) -> u64 {
        let answer = self.subcommand(&["stats", "--json"]).output().ok();
        let value = answer.and_then(|answer| serde_json::from_slice::<Value>(&answer.stdout).ok());
        value.and_then(|value| value["counters"]["remote_compile"].as_u64()).unwrap_or(0)
    }

    /// The folder of the cached results.
    pub fn cache_folder(&self) -> PathBuf {
        self.scratch.join("cache")
    }

    /// Its variables.
    pub fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        let below = |name: &str| self.scratch.join(name);
        vec![
            ("RCACHE_DIR", below("cache")),
            ("CCACHE_DIR", below("cache")),
            ("SCCACHE_DIR", below("cache")),
            ("SCCACHE_SERVER_UDS", below("run/sccache")),
            ("HOME", below("home")),
            ("XDG_RUNTIME_DIR", below("run")),
            ("XDG_CONFIG_HOME", below("home/.config")),
            ("XDG_CACHE_HOME", below("home/.cache")),
            ("TMPDIR", below("tmp")),
            ("RCACHE_IDLE_TIMEOUT", "5m".into()),
            ("DISTCC_HOSTS", self.hosts.clone().into()),
        ]
    }

    /// The program itself.
    pub fn command(&self) -> &Path {
        &self.command
    }

    fn subcommand(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.command);
        command.args(words).env_clear().env("PATH", SYSTEM_PATH).envs(self.variables());
        command.stdin(Stdio::null()).stderr(Stdio::null()).current_dir(&self.scratch);
        command
    }

    /// How often calls ended in each way; `None` where it does not say.
    pub fn endings(&self) -> Option<BTreeMap<String, u64>> {
        match self.program {
            Program::Rcache => {
                let answer = self.subcommand(&["stats", "--json"]).output().ok()?;
                let value: Value = serde_json::from_slice(&answer.stdout).ok()?;
                let counters = value["counters"].as_object()?;
                let endings =
                    counters.iter().filter(|(name, _)| !NO_ENDINGS.contains(&name.as_str()));
                Some(endings.map(|(name, n)| (name.clone(), n.as_u64().unwrap_or(0))).collect())
            }
            Program::Ccache => {
                let answer = self.subcommand(&["--print-stats"]).output().ok()?;
                let text = String::from_utf8_lossy(&answer.stdout).into_owned();
                let pairs = text.lines().filter_map(|line| line.split_once('\t'));
                let wanted = pairs.filter(|(name, _)| {
                    HITS.contains(name) || matches!(*name, "cache_miss" | "compile_failed")
                });
                Some(wanted.map(|(name, n)| (name.into(), n.parse().unwrap_or(0))).collect())
            }
            Program::Sccache | Program::Other => None,
        }
    }

    /// The id of rcache's daemon, if it is up.
    pub fn daemon(&self) -> Option<i32> {
        let answer = self.subcommand(&["daemon", "status", "--json"]).output().ok()?;
        let value: Value = serde_json::from_slice(&answer.stdout).ok()?;
        value["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
    }

    /// Ends the daemon in the orderly way.
    pub fn stop(&self) {
        let words: &[&str] = match self.program {
            Program::Rcache => &["daemon", "stop"],
            Program::Sccache => &["--stop-server"],
            Program::Ccache | Program::Other => return,
        };
        // Where it is not up there is nothing to stop.
        let _ = self.subcommand(words).stdout(Stdio::null()).status();
    }

    /// Ends the daemon at once.
    pub fn kill(&self) {
        if let Some(pid) = self.daemon().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    /// Files of the store that hold results.
    pub fn stored_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.cache_folder()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(kind) if kind.is_file() => files.push(entry.path()),
                    _ => {}
                }
            }
        }
        files.sort();
        files
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.stop();
        if let Some(mut worker) = self.worker.take() {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}
