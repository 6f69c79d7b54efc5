//! `Distccd`: Debian's compile daemon on loopback, which ends with the test.

use super::{have, is_root, skip, wait_until};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A port that was free a moment ago may be taken by another test.
const ATTEMPTS: usize = 5;

/// A daemon listens within this time.
const START_MAX: Duration = Duration::from_secs(20);

/// A port of loopback that nobody listens on now.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().unwrap().port()
}

/// A port of loopback that is taken, so that no other test gets it, and on which nobody listens.
pub struct DeadPort(OwnedFd);

impl DeadPort {
    /// Takes one.
    pub fn new() -> DeadPort {
        use rustix::net::{AddressFamily, SocketType, bind, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        DeadPort(socket)
    }

    /// Where nobody listens.
    pub fn address(&self) -> String {
        let address = rustix::net::getsockname(&self.0).expect("its address");
        SocketAddr::try_from(address).expect("an address of IPv4").to_string()
    }
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
        let log = scratch.path().join("log");
        for _ in 0..ATTEMPTS {
            let port = free_port();
            let mut child = spawn(port, jobs, scratch.path(), &log);
            let mut listens = false;
            wait_until("distccd listens, or fails", START_MAX, || {
                listens = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
                listens || child.try_wait().unwrap().is_some()
            });
            // Somebody else may just have taken the port: then it has ended.
            if listens && child.try_wait().unwrap().is_none() {
                return Some(Distccd { child, port, log, _scratch: scratch });
            }
        }
        panic!("distccd does not start: {}", std::fs::read_to_string(log).unwrap_or_default());
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

fn spawn(port: u16, jobs: usize, scratch: &Path, log: &Path) -> Child {
    let mut command = Command::new("distccd");
    command
        .args(["--no-detach", "--daemon", "--allow", "127.0.0.1", "--listen", "127.0.0.1"])
        .args(["--port", &port.to_string(), "--jobs", &jobs.to_string()])
        .args(["--log-stderr", "--verbose"])
        .env_clear()
        .env("PATH", super::SYSTEM_PATH)
        .env("LANG", "C.UTF-8")
        .env("TMPDIR", scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(log).unwrap());
    if is_root() && !has_user("distccd") {
        command.args(["--user", "nobody"]);
    }
    command.spawn().expect("start distccd")
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
