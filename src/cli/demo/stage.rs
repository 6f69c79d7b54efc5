//! The stage of the demo: a temporary folder, and a cache, daemon and worker that nobody else uses.

use super::build::Launcher;
use super::project;
use super::worker::Worker;
use crate::cli::{screen, signals};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

/// The stage; cleared when dropped, and when the process is told to end.
pub struct Stage {
    /// The compiler itself.
    pub compiler: PathBuf,
    /// The variables of every program of the show.
    pub environment: Vec<(OsString, OsString)>,
    /// The worker's word in a host list; empty without one.
    pub hosts: String,
    props: Arc<Props>,
}

impl Stage {
    /// Sets it up; where no worker can be started, it says so.
    pub fn set_up(compiler: PathBuf, cores: usize) -> Result<Stage, String> {
        let rcache = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
        let folder = tempfile::Builder::new()
            .prefix("rcache-demo-")
            .tempdir()
            .map_err(|error| format!("no temporary folder: {error}"))?;
        project::write(folder.path())?;
        let environment = environment(folder.path())?;
        let props = Arc::new(Props {
            rcache,
            folder,
            environment: environment.clone(),
            worker: Mutex::new(None),
            clearing: Mutex::new(()),
        });
        clear_when_told_to_end(&props)?;
        let mut stage = Stage { compiler, environment, hosts: String::new(), props };
        match stage.start_worker(cores) {
            Ok(hosts) => stage.hosts = hosts,
            Err(error) => screen::print(&format!("no worker can be started: {error}\n")),
        }
        Ok(stage)
    }

    fn start_worker(&self, cores: usize) -> Result<String, String> {
        let Props { rcache, folder, environment, worker, .. } = self.props.as_ref();
        let compilers = self.compiler.parent().unwrap_or(Path::new("/usr/bin"));
        let started = Worker::start(rcache, folder.path(), environment, compilers, cores)?;
        let hosts = format!("{}/{cores}", started.address);
        *lock(worker) = Some(started);
        Ok(hosts)
    }

    /// The temporary folder.
    pub fn folder(&self) -> &Path {
        self.props.folder.path()
    }

    /// rcache as the launcher of a build, with the worker or without.
    pub fn launcher(&self, hosts: &str) -> Launcher {
        Launcher { rcache: self.props.rcache.clone(), hosts: hosts.to_owned() }
    }

    /// Runs a subcommand; what it printed.
    pub fn rcache(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        self.props.rcache(arguments)
    }
}

/// All that has to go at the end.
struct Props {
    rcache: PathBuf,
    folder: tempfile::TempDir,
    environment: Vec<(OsString, OsString)>,
    worker: Mutex<Option<Worker>>,
    /// Held by whoever clears the stage.
    clearing: Mutex<()>,
}

/// The variables of every program of the show: nothing of the user's settings, hosts and cache.
fn environment(folder: &Path) -> Result<Vec<(OsString, OsString)>, String> {
    let runtime = folder.join("run");
    std::fs::create_dir(&runtime).map_err(|error| format!("{}: {error}", runtime.display()))?;
    let is_others = |name: &OsString| {
        let name = name.as_encoded_bytes();
        name.starts_with(b"RCACHE_") || name.starts_with(b"DISTCC_") || name == b"XDG_RUNTIME_DIR"
    };
    let mut environment: Vec<(OsString, OsString)> =
        std::env::vars_os().filter(|(name, _)| !is_others(name)).collect();
    let own: [(&str, &OsStr); 5] = [
        ("RCACHE_CONFIG", OsStr::new("/dev/null")),
        ("RCACHE_DIR", &folder.join("cache").into_os_string()),
        ("XDG_RUNTIME_DIR", runtime.as_os_str()),
        // Set, even if empty, it stands before the lists in files.
        ("DISTCC_HOSTS", OsStr::new("")),
        // Should the demo be killed, its daemon ends by itself.
        ("RCACHE_IDLE_TIMEOUT", OsStr::new("2m")),
    ];
    environment.extend(own.map(|(name, value)| (name.into(), value.into())));
    Ok(environment)
}

impl Props {
    fn rcache(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let output = Command::new(&self.rcache)
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            // Ctrl-C must not end what clears the stage.
            .process_group(0)
            .output()
            .map_err(|error| format!("{}: {error}", self.rcache.display()))?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(format!(
                "rcache {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim_end()
            )),
        }
    }

    /// The daemon and the worker end before their folder goes.
    fn clear(&self) {
        let _ = self.rcache(&["daemon", "stop"]);
        drop(lock(&self.worker).take());
        let _ = std::fs::remove_dir_all(self.folder.path());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _clearing = lock(&self.props.clearing);
        self.props.clear();
    }
}

/// Ctrl-C and the like end the show, and clear the stage first.
fn clear_when_told_to_end(props: &Arc<Props>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("signals: {error}");
    let mut told = signals::catch(&signals::ENDING).map_err(failed)?;
    let props = Arc::clone(props);
    let clear = move || {
        let mut signal = [0];
        if told.read_exact(&mut signal).is_ok() {
            // Never given back: the show waits here for its end, and says nothing more.
            let _clearing = lock(&props.clearing);
            props.clear();
            std::process::exit(signals::status_of(signal[0]).into());
        }
    };
    std::thread::Builder::new().spawn(clear).map(|_| ()).map_err(failed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}
