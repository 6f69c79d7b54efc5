//! Servers of shared caches on loopback, which end with the test: Redis, memcached, nginx and SeaweedFS.

use super::distccd::free_port;
use super::{SYSTEM_PATH, run, skip, wait_until};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A port that was free a moment ago may be taken by another test.
const ATTEMPTS: usize = 5;

/// A server listens within this time.
const START_MAX: Duration = Duration::from_secs(60);

/// A server that keeps objects.
pub struct Server {
    child: Child,
    port: u16,
    scratch: tempfile::TempDir,
    start: fn(u16, &Path) -> Command,
}

impl Server {
    /// Redis without persistence; `None`, with a note, where it is not installed.
    pub fn redis(what: &str) -> Option<Server> {
        Server::start(what, "redis-server", |port, scratch| {
            let mut command = command("redis-server");
            command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
            command.args(["--port", &port.to_string(), "--dir"]).arg(scratch);
            command
        })
    }

    /// memcached.
    pub fn memcached(what: &str) -> Option<Server> {
        Server::start(what, "memcached", |port, _| {
            let mut command = command("memcached");
            command.args(["-l", "127.0.0.1", "-U", "0", "-m", "64", "-u", "nobody"]);
            command.args(["-p", &port.to_string()]);
            command
        })
    }

    /// nginx, with nothing but its DAV module: GET, PUT and DELETE.
    pub fn nginx(what: &str) -> Option<Server> {
        Server::start(what, "nginx", |port, scratch| {
            for folder in ["root", "temp"] {
                std::fs::create_dir_all(scratch.join(folder)).unwrap();
            }
            let shown = scratch.display();
            let user = if super::is_root() { "user root;\n" } else { "" };
            let text = format!(
                "{user}daemon off;\nmaster_process off;\npid {shown}/pid;\nerror_log {shown}/errors;\n\
                 events {{}}\nhttp {{\n  access_log {shown}/access;\n  client_max_body_size 64m;\n  \
                 client_body_temp_path {shown}/temp;\n  proxy_temp_path {shown}/temp;\n  \
                 fastcgi_temp_path {shown}/temp;\n  uwsgi_temp_path {shown}/temp;\n  \
                 scgi_temp_path {shown}/temp;\n  server {{\n    listen 127.0.0.1:{port};\n    \
                 root {shown}/root;\n    location / {{\n      dav_methods PUT DELETE;\n      \
                 create_full_put_path on;\n    }}\n  }}\n}}\n"
            );
            std::fs::write(scratch.join("nginx.conf"), text).unwrap();
            let mut command = command("nginx");
            command.arg("-p").arg(scratch).arg("-c").arg(scratch.join("nginx.conf"));
            command.arg("-e").arg(scratch.join("errors"));
            command
        })
    }

    /// SeaweedFS with its S3 door, where `tests/run` has fetched it.
    pub fn s3(what: &str) -> Option<Server> {
        if weed().is_none() {
            skip(what, "SeaweedFS is not there; tests/run fetches it");
            return None;
        }
        Server::spawned(what, |port, scratch| {
            let mut command = Command::new(weed().unwrap_or_default());
            command.env_clear().env("PATH", SYSTEM_PATH).env("HOME", scratch);
            // Its other doors are on ports that nobody else has; a filer adds 10000 for gRPC.
            let others: Vec<u16> = (0..4).map(|_| free_port().clamp(1_024, 40_000)).collect();
            command.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]);
            command.arg(format!("-s3.port={port}")).arg(format!("-dir={}", scratch.display()));
            for (name, port) in ["master.port", "volume.port", "filer.port"].iter().zip(&others) {
                command.arg(format!("-{name}={port}"));
            }
            command.args(["-volume.max=8", "-master.volumeSizeLimitMB=64"]);
            command
        })
    }

    fn start(what: &str, program: &str, start: fn(u16, &Path) -> Command) -> Option<Server> {
        let folders = SYSTEM_PATH.split(':').chain(["/usr/sbin", "/sbin"]);
        if !folders.into_iter().any(|folder| Path::new(folder).join(program).exists()) {
            skip(what, &format!("{program} is not installed"));
            return None;
        }
        Server::spawned(what, start)
    }

    fn spawned(what: &str, start: fn(u16, &Path) -> Command) -> Option<Server> {
        for _ in 0..ATTEMPTS {
            let scratch = tempfile::Builder::new().prefix("sv").tempdir().unwrap();
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(scratch.path(), open).unwrap();
            let port = free_port();
            let child = spawn(start(port, scratch.path()), scratch.path());
            let mut server = Server { child, port, scratch, start };
            if server.listens() {
                return Some(server);
            }
        }
        panic!("{what}: the server does not start");
    }

    /// Whether it came up; not so where somebody else took the port.
    fn listens(&mut self) -> bool {
        let mut listens = false;
        wait_until("a server listens, or fails", START_MAX, || {
            listens = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok();
            listens || self.child.try_wait().unwrap().is_some()
        });
        listens && self.child.try_wait().unwrap().is_none()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it, and starts it again on the same port.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn((self.start)(self.port, self.scratch.path()), self.scratch.path());
        assert!(self.listens(), "the server does not start again");
    }

    /// Kills it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", format!("{SYSTEM_PATH}:/usr/sbin:/sbin"));
    command
}

fn spawn(mut command: Command, scratch: &Path) -> Child {
    let log = || std::fs::File::create(scratch.join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log()).stderr(log()).spawn().expect("start a server")
}

/// Where `tests/run` put SeaweedFS.
fn weed() -> Option<PathBuf> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/weed");
    let named = std::env::var_os("RCACHE_TEST_WEED").map(PathBuf::from);
    let weed = named.unwrap_or(fetched);
    let runs = weed.exists()
        && run(Command::new(&weed).arg("version").env_clear(), Duration::from_secs(30)).ok();
    runs.then_some(weed)
}
