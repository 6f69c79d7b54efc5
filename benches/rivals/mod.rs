//! What the benches compare: a folder in memory for all of it, and each way to get an object.

// Each bench is a program of its own, and uses a part of this.
#![allow(dead_code)]

pub mod hosts;
pub mod sources;
pub mod table;

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whatever ends a bench.
pub type Failure = Box<dyn Error>;

/// Linux has had 100 ticks a second in /proc/PID/stat on every machine that rcache runs on.
const TICKS_PER_SECOND: u64 = 100;

/// A daemon that was told to end has this long.
const STOP_MAX: Duration = Duration::from_secs(1);

/// One way to get an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Starts `true`: what a process costs.
    Spawn,
    /// Copies the stored object and dependency file: the floor.
    Copier,
    /// This program.
    Rcache,
    /// The compiler cache of that name.
    Ccache,
    /// The compiler cache of that name.
    Sccache,
    /// The compiler alone.
    Compiler,
}

/// A folder for everything that is measured, in memory where that is possible.
pub struct Arena {
    scratch: tempfile::TempDir,
}

impl Arena {
    /// Makes the folder and says where it is.
    pub fn new() -> Result<Arena, Failure> {
        let builder = || {
            let mut builder = tempfile::Builder::new();
            builder.prefix("rcache-bench");
            builder
        };
        let scratch = builder().tempdir_in("/dev/shm").or_else(|_| builder().tempdir())?;
        println!("in {}", scratch.path().display());
        Ok(Arena { scratch })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Of `kinds`, those that are installed. The others are named, and left out.
    pub fn rivals(&self, kinds: &[Kind]) -> Result<Vec<Rival>, Failure> {
        let mut rivals = Vec::new();
        for kind in kinds {
            match Rival::find(*kind, self.path(), &format!("{kind:?}").to_lowercase())? {
                Some(rival) => {
                    println!("{:<10} {}", rival.name(), rival.version()?);
                    rivals.push(rival);
                }
                None => println!("{kind:?}: not installed"),
            }
        }
        Ok(rivals)
    }

    /// One of a kind, with a folder of this name, where it is installed.
    pub fn rival(&self, kind: Kind, name: &str) -> Result<Option<Rival>, Failure> {
        Rival::find(kind, self.path(), name)
    }
}

/// One contestant, with a cache folder and a daemon of its own.
pub struct Rival {
    /// What it is.
    pub kind: Kind,
    program: PathBuf,
    folder: PathBuf,
    caches_used: usize,
}

impl Rival {
    fn find(kind: Kind, arena: &Path, name: &str) -> Result<Option<Rival>, Failure> {
        let program = match kind {
            Kind::Spawn => in_path("true"),
            Kind::Ccache => in_path("ccache"),
            Kind::Sccache => in_path("sccache"),
            Kind::Compiler => in_path("g++"),
            Kind::Copier => Some(build_copier(arena)?),
            Kind::Rcache => Some(rcache()),
        };
        let folder = arena.join(name);
        std::fs::create_dir_all(folder.join("run"))?;
        Ok(program.map(|program| Rival { kind, program, folder, caches_used: 0 }))
    }

    /// For the tables.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Spawn => "true",
            Kind::Copier => "copier",
            Kind::Rcache => "rcache",
            Kind::Ccache => "ccache",
            Kind::Sccache => "sccache",
            Kind::Compiler => "no cache",
        }
    }

    fn version(&self) -> Result<String, Failure> {
        if matches!(self.kind, Kind::Copier) {
            return Ok("benches/copier.c, static".to_owned());
        }
        let answer = Command::new(&self.program).arg("--version").output()?;
        let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
        Ok(answer.lines().next().unwrap_or_default().to_owned())
    }

    /// What stands before the compiler on the command line; nothing for the compiler alone.
    pub fn launcher(&self) -> Option<&Path> {
        (self.kind != Kind::Compiler).then_some(self.program.as_path())
    }

    /// The variables that keep this contestant to its own folder.
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        let below = |name: &str| self.folder.join(name).into_os_string();
        match self.kind {
            Kind::Spawn | Kind::Compiler => Vec::new(),
            Kind::Copier => vec![("COPIER_STORE", self.cache().into())],
            Kind::Rcache => vec![
                ("RCACHE_DIR", self.cache().into()),
                ("XDG_CONFIG_HOME", below("config")),
                ("XDG_RUNTIME_DIR", below("run")),
                ("DISTCC_HOSTS", "".into()),
                // One hit in a thousand would have a compiler beside the next hundred. What that
                // costs in the end is a thousandth of the compile time that was saved.
                ("RCACHE_VERIFY_RATE", "0".into()),
            ],
            Kind::Ccache => vec![
                ("CCACHE_DIR", self.cache().into()),
                ("CCACHE_CONFIGPATH", below("ccache.conf")),
            ],
            Kind::Sccache => vec![
                ("SCCACHE_DIR", self.cache().into()),
                ("SCCACHE_CONF", below("sccache.toml")),
                ("SCCACHE_SERVER_UDS", below("run/socket")),
                ("SCCACHE_IDLE_TIMEOUT", "0".into()),
            ],
        }
    }

    /// Where it keeps its results: for the copier, where they are to be put.
    pub fn cache(&self) -> PathBuf {
        self.folder.join(format!("cache{}", self.caches_used))
    }

    /// A call of the compiler through this contestant.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = match self.launcher() {
            Some(launcher) => {
                let mut command = Command::new(launcher);
                command.args(words);
                command
            }
            None => {
                let mut command = Command::new(words[0]);
                command.args(&words[1..]);
                command
            }
        };
        command.envs(self.variables()).stdin(Stdio::null());
        command
    }

    /// Starts its daemon, where it has one.
    pub fn start(&self) -> Result<(), Failure> {
        match self.kind {
            Kind::Rcache => self.ask(&["daemon", "start"]).map(drop),
            Kind::Sccache => self.ask(&["--start-server"]).map(drop),
            _ => Ok(()),
        }
    }

    /// Stops its own daemon; one that is not there is no error.
    pub fn stop(&self) {
        let words: &[&str] = match self.kind {
            Kind::Rcache => &["daemon", "stop"],
            Kind::Sccache => &["--stop-server"],
            _ => return,
        };
        let server = self.sccache_server();
        // Not even started, if this fails.
        let _ = self.ask(words);
        // sccache's says goodbye, and may stay.
        let deadline = Instant::now() + STOP_MAX;
        while let Some(server) = server
            && rustix::process::test_kill_process(server).is_ok()
        {
            if Instant::now() > deadline {
                let _ = rustix::process::kill_process(server, rustix::process::Signal::KILL);
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The process that listens for sccache's clients.
    fn sccache_server(&self) -> Option<rustix::process::Pid> {
        if self.kind != Kind::Sccache {
            return None;
        }
        let stream = UnixStream::connect(self.folder.join("run/socket")).ok()?;
        rustix::net::sockopt::socket_peercred(&stream).ok().map(|peer| peer.pid)
    }

    /// From now on it knows nothing.
    pub fn forget(&mut self) -> Result<(), Failure> {
        self.stop();
        if self.cache().exists() {
            std::fs::remove_dir_all(self.cache())?;
        }
        self.caches_used += 1;
        Ok(())
    }

    /// The hits that it has counted, so that nothing but hits is called a hit.
    pub fn hits(&self) -> Result<Option<u64>, Failure> {
        let hits = match self.kind {
            Kind::Rcache => {
                let stats = self.ask(&["stats", "--json"])?;
                let stats: serde_json::Value = serde_json::from_slice(&stats)?;
                stats["counters"]["direct_cache_hit"].as_u64()
            }
            Kind::Ccache => {
                let stats = String::from_utf8(self.ask(&["--print-stats"])?)?;
                let line = stats.lines().find_map(|line| line.strip_prefix("direct_cache_hit\t"));
                line.and_then(|hits| hits.parse().ok())
            }
            Kind::Sccache => {
                let stats = self.ask(&["--show-stats", "--stats-format=json"])?;
                let stats: serde_json::Value = serde_json::from_slice(&stats)?;
                let counts = stats["stats"]["cache_hits"]["counts"].as_object();
                counts.map(|counts| counts.values().filter_map(|count| count.as_u64()).sum())
            }
            _ => return Ok(None),
        };
        Ok(Some(hits.ok_or("no number of hits")?))
    }

    /// The CPU time of rcache's daemon so far.
    pub fn daemon_cpu(&self) -> Result<Duration, Failure> {
        if self.kind != Kind::Rcache {
            return Ok(Duration::ZERO);
        }
        process_cpu(self.daemon()?)
    }

    /// The process id of rcache's daemon.
    pub fn daemon(&self) -> Result<u64, Failure> {
        let status: serde_json::Value =
            serde_json::from_slice(&self.ask(&["daemon", "status", "--json"])?)?;
        Ok(status["pid"].as_u64().ok_or("the daemon does not tell its process id")?)
    }

    /// What one of its own subcommands prints.
    pub fn ask(&self, words: &[&str]) -> Result<Vec<u8>, Failure> {
        let answer = Command::new(&self.program).args(words).envs(self.variables()).output()?;
        if !answer.status.success() {
            return Err(format!("{} {words:?}: {}", self.name(), answer.status).into());
        }
        Ok(answer.stdout)
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a command that must succeed, from its start to its end.
pub fn timed(command: &mut Command) -> Result<Duration, Failure> {
    let start = Instant::now();
    let status = command.stdout(Stdio::null()).status()?;
    let elapsed = start.elapsed();
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok(elapsed)
}

/// The rcache that is measured. Another build can be measured by naming it in the environment.
pub fn rcache() -> PathBuf {
    let other = std::env::var_os("RCACHE_TEST_BINARY").map(PathBuf::from);
    other.unwrap_or_else(|| env!("CARGO_BIN_EXE_rcache").into())
}

/// CPU time of all processes that were waited for.
pub fn children_cpu() -> Duration {
    // SAFETY: rusage is plain data, and getrusage only writes to it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

/// The CPU time of a process so far; its children are not counted.
pub fn process_cpu(process: u64) -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
    // utime and stime, fields 14 and 15 of proc(5); the name was the second.
    let fields = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The `n`th number on the command line; `cargo bench` adds an option of its own.
pub fn number_given(n: usize) -> Option<usize> {
    std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).nth(n)
}

/// The file of a program.
pub fn in_path(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name.as_ref()))
        .find(|file| file.is_file())
}

fn build_copier(arena: &Path) -> Result<PathBuf, Failure> {
    let program = arena.join("copy");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/copier.c");
    let status =
        Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(source).status()?;
    if !status.success() {
        return Err("gcc does not compile benches/copier.c".into());
    }
    Ok(program)
}
