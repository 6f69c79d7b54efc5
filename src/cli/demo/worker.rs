//! The worker of the demo: this program as `rcache worker`, on loopback, for as long as the show lasts.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A worker listens within this time; it looks at its kernel and binds a port.
const START_MAX: Duration = Duration::from_secs(20);

/// A worker without jobs ends within this time.
const END_MAX: Duration = Duration::from_secs(5);

/// How often is looked whether it has come that far.
const LOOK_UP: Duration = Duration::from_millis(5);

/// What stands before the address in the worker's log.
const LISTENING: &str = " listening on ";

/// A running worker; it ends when dropped.
pub struct Worker {
    child: Child,
    /// Where it listens.
    pub address: String,
}

impl Worker {
    /// Starts `rcache worker` with its files below `folder`, for a compiler in `compilers`.
    pub fn start(
        rcache: &Path,
        folder: &Path,
        environment: &[(OsString, OsString)],
        compilers: &Path,
        jobs: usize,
    ) -> Result<Worker, String> {
        let scratch = folder.join("worker");
        let log = folder.join("worker.log");
        let file = |error: std::io::Error| format!("{}: {error}", folder.display());
        std::fs::create_dir(&scratch).map_err(file)?;
        let mut path = compilers.as_os_str().to_owned();
        path.push(":");
        path.push(::worker::COMPILER_PATH);
        let mut command = Command::new(rcache);
        command
            .args(["worker", "--listen", "127.0.0.1", "--port", "0", "--allow", "127.0.0.0/8"])
            .args(["--jobs", &jobs.to_string(), "--compiler-path"])
            .arg(path)
            .env_clear()
            .envs(environment.iter().filter(|(name, _)| name != "ALLOW" && name != "JOBS").cloned())
            .env("TMPDIR", &scratch)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).map_err(file)?)
            // Ctrl-C is for the show, which ends its worker.
            .process_group(0);
        // SAFETY: prctl is async-signal-safe and takes plain numbers.
        unsafe {
            command.pre_exec(|| {
                // Should the show be killed, its worker ends as well.
                match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().map_err(|error| format!("{}: {error}", rcache.display()))?;
        let mut worker = Worker { child, address: String::new() };
        worker.address = worker.wait_for_address(&log)?;
        Ok(worker)
    }

    fn wait_for_address(&mut self, log: &Path) -> Result<String, String> {
        let deadline = Instant::now() + START_MAX;
        loop {
            let ended = self.child.try_wait().map_err(|error| error.to_string())?;
            let text = std::fs::read_to_string(log).unwrap_or_default();
            if let Some(address) = address(&text) {
                return Ok(address.to_owned());
            }
            let last = text.lines().last().unwrap_or("it said nothing");
            if let Some(status) = ended {
                return Err(format!("it ended at once ({status}): {last}"));
            }
            if Instant::now() > deadline {
                return Err(format!("it does not listen: {last}"));
            }
            std::thread::sleep(LOOK_UP);
        }
    }
}

/// The address in a log, when its line is whole.
fn address(log: &str) -> Option<&str> {
    let lines = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    lines.filter_map(|line| line.split_once(LISTENING)).map(|(_, address)| address.trim()).next()
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + END_MAX;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(LOOK_UP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_off_a_whole_line() {
        let line = "2026-11-26T02:32:17.360048Z  INFO listening on 127.0.0.1:33853";
        assert_eq!(address(line), None);
        assert_eq!(address(&format!("first\n{line}\nmore")), Some("127.0.0.1:33853"));
        assert_eq!(address("nothing\n"), None);
    }

    #[test]
    fn a_worker_that_does_not_start_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let start = |program: &str| {
            let _ = std::fs::remove_dir(folder.path().join("worker"));
            let started =
                Worker::start(Path::new(program), folder.path(), &[], Path::new("/usr/bin"), 1);
            started.err().unwrap_or_default()
        };
        assert!(start("/bin/false").contains("ended at once"), "{}", start("/bin/false"));
        assert!(start("/not/there").contains("/not/there"), "{}", start("/not/there"));
    }
}
