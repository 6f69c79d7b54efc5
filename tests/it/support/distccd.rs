//! `Distccd`: Debian's compile daemon on loopback, which ends with the test.

use super::{have, is_root, skip, wait_until};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A daemon listens within this time.
const START_MAX: Duration = Duration::from_secs(20);

/// A port of loopback that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().unwrap().port()
}

/// Waits until somebody listens on a port of loopback.
#[track_caller]
pub fn wait_for_port(port: u16) {
    wait_until("a daemon listens", START_MAX, || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    });
}

/// A stock distccd.
pub struct Distccd {
    child: Child,
    port: u16,
    log: PathBuf,
    _scratch: tempfile::TempDir,
}

impl Distccd {
    /// Starts one with so many jobs at a time; `None`, with a note, where it is not installed.
    pub fn start(jobs: usize, what: &str) -> Option<Distccd> {
        if !have("distccd") || !std::path::Path::new("/usr/lib/distcc/gcc").exists() {
            skip(what, "distccd, or its list of compilers, is not installed");
            return None;
        }
        let scratch = tempfile::Builder::new().prefix("dd").tempdir().unwrap();
        // Started by root, it becomes another user, who needs a place for its files.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(scratch.path(), open).unwrap();
        let (port, log) = (free_port(), scratch.path().join("log"));
        let mut command = Command::new("distccd");
        command
            .args(["--no-detach", "--daemon", "--allow", "127.0.0.1", "--listen", "127.0.0.1"])
            .args(["--port", &port.to_string(), "--jobs", &jobs.to_string()])
            .args(["--log-stderr", "--verbose"])
            .env_clear()
            .env("PATH", super::SYSTEM_PATH)
            .env("LANG", "C.UTF-8")
            .env("TMPDIR", scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap());
        if is_root() && !has_user("distccd") {
            command.args(["--user", "nobody"]);
        }
        let child = command.spawn().expect("start distccd");
        wait_for_port(port);
        Some(Distccd { child, port, log, _scratch: scratch })
    }

    /// As a word of a host list.
    pub fn host(&self, slots: usize) -> String {
        format!("127.0.0.1:{}/{slots}", self.port)
    }

    /// Compiles that it says it has done.
    pub fn compiled(&self) -> usize {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains("COMPILE_OK")).count()
    }
}

fn has_user(name: &str) -> bool {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    users.lines().any(|line| line.split(':').next() == Some(name))
}

impl Drop for Distccd {
    fn drop(&mut self) {
        // It ends its children when it is told to end.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
