//! Hosts of a simulated cluster: stock daemons and workers on loopback, whose compiler sleeps.

use super::{Arena, Failure, in_path};
use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A daemon listens within this time.
const START_MAX: Duration = Duration::from_secs(20);

/// Between two looks whether it does.
const LOOK_UP: Duration = Duration::from_millis(20);

/// The compiler that sleeps, in one folder for each pace.
pub struct Sleeper {
    folder: PathBuf,
    program: PathBuf,
}

impl Sleeper {
    /// Builds it in a folder of its own; `object` is what it will write.
    pub fn build(arena: &Arena, name: &str, object: &Path) -> Result<Sleeper, Failure> {
        let folder = arena.path().join(name);
        std::fs::create_dir(&folder)?;
        let program = folder.join("g++");
        let real = in_path("g++").ok_or("no g++ in PATH")?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/sleeper.c");
        let status = Command::new("gcc")
            .args(["-O2", "-static", "-o"])
            .arg(&program)
            .arg(format!("-DREAL=\"{}\"", real.display()))
            .arg(format!("-DOBJECT=\"\\\"{}\\\"\"", object.display()))
            .arg(source)
            .status()?;
        match status.success() {
            true => Ok(Sleeper { folder, program }),
            false => Err("gcc does not compile benches/sleeper.c".into()),
        }
    }

    /// The program itself.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A PATH in which compiles take this long.
    pub fn path(&self, pace: Duration) -> Result<OsString, Failure> {
        let folder = self.folder.join(format!("pace-{}", pace.as_millis()));
        if !folder.exists() {
            std::fs::create_dir(&folder)?;
            std::fs::hard_link(&self.program, folder.join("g++"))?;
        }
        Ok(std::env::join_paths([folder, "/usr/bin".into(), "/bin".into()])?)
    }
}

/// What serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// The stock one.
    Distccd,
    /// `rcache worker`.
    Worker,
}

/// One host.
pub struct Host {
    child: Child,
    port: u16,
    slots: usize,
}

impl Host {
    /// Starts it, with a folder of its own for its files.
    pub fn start(
        daemon: Daemon,
        slots: usize,
        compilers: OsString,
        folder: &Path,
    ) -> Result<Host, Failure> {
        let port = free_port()?;
        std::fs::create_dir_all(folder)?;
        // A distccd that root starts becomes another user.
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o777))?;
        let log = std::fs::File::create(folder.join("log"))?;
        let mut command = match daemon {
            Daemon::Distccd => {
                let mut command = Command::new("distccd");
                command.args(["--no-detach", "--daemon", "--allow", "127.0.0.1", "--log-stderr"]);
                command.args(["--log-level", "notice", "--enable-tcp-insecure"]);
                command.env_clear().env("PATH", compilers);
                command
            }
            Daemon::Worker => {
                let mut command = Command::new(super::rcache());
                command.args(["worker", "--allow", "127.0.0.1", "--compiler-path"]);
                command.arg(compilers).env_remove("ALLOW").env_remove("JOBS");
                command
            }
        };
        let child = command
            .args(["--listen", "127.0.0.1", "--port", &port.to_string()])
            .args(["--jobs", &slots.to_string()])
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{daemon:?}: {error}"))?;
        let host = Host { child, port, slots };
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if Instant::now() > deadline {
                return Err(format!("{daemon:?} does not listen").into());
            }
            std::thread::sleep(LOOK_UP);
        }
        Ok(host)
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// As a word of a host list.
    pub fn word(&self) -> String {
        format!("{}/{}", self.address(), self.slots)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It ends its children when it is told to end.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// A port of loopback that nobody listens on now.
pub fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
