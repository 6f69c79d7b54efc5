//! `Worker`: a compile daemon on a free loopback port, which ends with the test.

use super::distccd::free_port;
use super::program::write_program;
use super::{SYSTEM_PATH, is_alive, is_root, kill, rcache_binary, terminate, wait_until};
use remote::protocol::identity::Identity;
use remote::protocol::{Dialect, request, response};
use remote::{Job, Reply};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Long enough for anything that a worker does by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// The user `nobody`.
const NOBODY: u32 = 65534;

/// Another process may take the free port first.
const ATTEMPTS: usize = 5;

/// A compiler that waits for a file `release` in its folder where the source is called `slow…`, and
/// is gcc otherwise.
const SLOW_GCC: &str = "#!/bin/sh
case \"$*\" in
*-###*) ;;
*\" slow\"*) while [ ! -e release ]; do sleep 0.02; done ;;
esac
exec /usr/bin/gcc \"$@\"
";

/// A running worker with a folder of its own.
pub struct Worker {
    scratch: tempfile::TempDir,
    child: Child,
    /// Where it listens, `127.0.0.1:PORT`.
    pub address: String,
    metrics_port: u16,
}

impl Worker {
    /// A worker with these options besides those that every test needs.
    #[track_caller]
    pub fn start(options: &str) -> Worker {
        Worker::start_as(options, &[], None)
    }

    /// A worker for a user to whom permission bits apply.
    #[track_caller]
    pub fn start_unprivileged(options: &str) -> Worker {
        Worker::start_as(options, &[], is_root().then_some(NOBODY))
    }

    /// A worker that is started through another program.
    #[track_caller]
    pub fn start_through(before: &[&str], options: &str) -> Worker {
        Worker::start_as(options, before, None)
    }

    /// A worker whose `gcc` waits to be [`Worker::release`]d where the source is called `slow…`.
    #[track_caller]
    pub fn start_slow(options: &str) -> Worker {
        Worker::start_slow_through(&[], options)
    }

    /// The same, started through another program.
    #[track_caller]
    pub fn start_slow_through(before: &[&str], options: &str) -> Worker {
        let scratch = scratch();
        let script = scratch.path().join("bin/gcc");
        write_program(&script, SLOW_GCC);
        let path = format!("--compiler-path {}/bin:{SYSTEM_PATH}", scratch.path().display());
        Worker::start_in(scratch, &format!("{path} {options}"), before, None)
    }

    /// A worker whose compilers are scripts that call this machine's: they do the same, but are not
    /// the same.
    #[track_caller]
    pub fn start_with_other_compilers(options: &str) -> Worker {
        let scratch = scratch();
        for name in ["gcc", "g++", "clang", "clang++"] {
            let script = scratch.path().join("bin").join(name);
            write_program(&script, format!("#!/bin/sh\nexec /usr/bin/{name} \"$@\"\n"));
        }
        let path = format!("--compiler-path {}/bin:{SYSTEM_PATH}", scratch.path().display());
        Worker::start_in(scratch, &format!("{path} {options}"), &[], None)
    }

    #[track_caller]
    fn start_as(options: &str, before: &[&str], user: Option<u32>) -> Worker {
        Worker::start_in(scratch(), options, before, user)
    }

    #[track_caller]
    fn start_in(
        scratch: tempfile::TempDir,
        options: &str,
        before: &[&str],
        user: Option<u32>,
    ) -> Worker {
        let mut log = String::new();
        for _ in 0..ATTEMPTS {
            let metrics_port = free_port();
            let mut child = spawn(scratch.path(), options, before, user, metrics_port);
            let log_path = scratch.path().join("log");
            wait_until("the worker listens, or fails", PATIENCE, || {
                log = fs::read_to_string(&log_path).unwrap_or_default();
                address(&log).is_some() || child.try_wait().unwrap().is_some()
            });
            if let Some(address) = address(&log) {
                return Worker { scratch, child, address, metrics_port };
            }
            let _ = child.wait();
        }
        panic!("the worker does not start: {log}");
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// The folder that everything of it is below.
    pub fn root(&self) -> &Path {
        self.scratch.path()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        terminate(self.child.id());
    }

    /// Its exit status, when it has ended by itself.
    #[track_caller]
    pub fn end(&mut self) -> Option<i32> {
        let pid = self.pid();
        let mut status = None;
        wait_until(&format!("worker {pid} ends"), PATIENCE, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// A connection.
    #[track_caller]
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("connect to the worker");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes and reads until the worker closes the connection.
    #[track_caller]
    pub fn say(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // It may close before it has read all.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// What it says of a compiler.
    #[track_caller]
    pub fn identify(&self, words: &str) -> Identity {
        let mut stream = self.connect();
        stream.write_all(&request::encode_identify(&self::words(words))).unwrap();
        response::read_identity(&mut stream).expect("an identity")
    }

    /// A compile as an rcache client asks for it, with the compiler that the worker has.
    #[track_caller]
    pub fn compile(&self, words: &str, source: &[u8]) -> Reply {
        let all = self::words(words);
        let target = all.iter().filter(|word| word.starts_with(b"-m"));
        let mut question = vec![all[0].clone()];
        question.extend(target.cloned());
        let cxx = words.contains("++");
        question.extend([b"-x".to_vec(), if cxx { b"c++".to_vec() } else { b"c".to_vec() }]);
        let question = question.iter().map(|word| String::from_utf8_lossy(word).into_owned());
        let identity = self.identify(&question.collect::<Vec<_>>().join(" "));
        let digest = identity.compiler.map_or("0".repeat(64), |compiler| compiler.digest);
        self.ask(Dialect::Native, words, source, &digest).answer()
    }

    /// A compile as a stock client asks for it.
    #[track_caller]
    pub fn compile_plain(&self, words: &str, source: &[u8]) -> Reply {
        self.ask(Dialect::Plain, words, source, "").answer()
    }

    /// The same, where the worker may hang up.
    pub fn try_compile_plain(&self, words: &str, source: &[u8]) -> Option<Reply> {
        let job = Job { arguments: self::words(words), source: source.to_vec() };
        let (bytes, checksum) = request::encode(Dialect::Plain, &job, "");
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(&bytes).ok()?;
        response::read(&mut stream, Dialect::Plain, &checksum).ok()
    }

    /// Sends a request to compile.
    #[track_caller]
    pub fn ask(&self, dialect: Dialect, words: &str, source: &[u8], digest: &str) -> Asked {
        let job = Job { arguments: self::words(words), source: source.to_vec() };
        let (bytes, checksum) = request::encode(dialect, &job, digest);
        let mut stream = self.connect();
        stream.write_all(&bytes).expect("send a request");
        Asked { stream, dialect, checksum }
    }

    /// A compile that waits to be released.
    #[track_caller]
    pub fn ask_slowly(&self) -> Asked {
        self.ask(Dialect::Plain, "gcc -c slow.c -o slow.o", b"int slow;\n", "")
    }

    /// The folders of the jobs that run or wait.
    pub fn job_folders(&self) -> Vec<PathBuf> {
        let below = |folder: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect()
        };
        let shared = below(&self.scratch.path().join("tmp"));
        let workers = shared.iter().flat_map(|folder| below(folder));
        let folders = workers.flat_map(|folder| below(&folder));
        let is_job = |folder: &PathBuf| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            name.bytes().all(|byte| byte.is_ascii_digit())
        };
        folders.filter(is_job).collect()
    }

    /// Lets the compiles that wait go on.
    pub fn release(&self) {
        for folder in self.job_folders() {
            // It may be gone by now.
            let _ = File::create(folder.join("release"));
        }
    }

    /// The answer of its HTTP port: status and body.
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics_port)).expect("metrics");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.unwrap_or_else(|| panic!("{answer}")), body.to_owned())
    }

    /// The value of a metric, such as `running` or `requests_total{outcome="ok"}`.
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").1;
        let line = text.lines().find_map(|line| {
            line.strip_prefix("rcache_worker_")?.strip_prefix(name)?.strip_prefix(' ')
        });
        line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
    }

    /// How many connections ended so, when none is left.
    #[track_caller]
    pub fn ended(&self, outcome: &str) -> u64 {
        self.wait_for("connections", 0);
        self.metric(&format!("requests_total{{outcome=\"{outcome}\"}}"))
    }

    /// Waits until a metric has a value.
    #[track_caller]
    pub fn wait_for(&self, name: &str, value: u64) {
        wait_until(&format!("{name} is {value}"), PATIENCE, || self.metric(name) == value);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if is_alive(self.child.id()) {
            kill(self.child.id());
        }
        let _ = self.child.wait();
    }
}

/// A request that was sent.
pub struct Asked {
    /// The connection.
    pub stream: TcpStream,
    dialect: Dialect,
    checksum: remote::protocol::Checksum,
}

impl Asked {
    /// Whether the worker closes the connection without an answer.
    pub fn turned_away(mut self) -> bool {
        self.stream.read(&mut [0; 1]).is_ok_and(|count| count == 0)
    }

    /// The answer.
    #[track_caller]
    pub fn answer(mut self) -> Reply {
        response::read(&mut self.stream, self.dialect, &self.checksum).expect("an answer")
    }
}

fn scratch() -> tempfile::TempDir {
    let scratch = tempfile::Builder::new().prefix("rw").tempdir().expect("a scratch folder");
    for folder in ["tmp", "bin"] {
        fs::create_dir(scratch.path().join(folder)).unwrap();
    }
    // For a worker of another user.
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let everybody = fs::Permissions::from_mode(0o1777);
    fs::set_permissions(scratch.path().join("tmp"), everybody).unwrap();
    scratch
}

fn spawn(
    scratch: &Path,
    options: &str,
    before: &[&str],
    user: Option<u32>,
    metrics_port: u16,
) -> Child {
    let log = File::create(scratch.join("log")).unwrap();
    let binary = rcache_binary();
    let mut words = before.iter().map(PathBuf::from).chain([binary]);
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .args(["worker", "--listen", "127.0.0.1", "--port", "0"])
        .args(["--metrics-port", &metrics_port.to_string()])
        .args(options.split_whitespace())
        .current_dir(scratch)
        .env_clear()
        .env("PATH", SYSTEM_PATH)
        .env("TMPDIR", scratch.join("tmp"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.spawn().expect("start the worker")
}

fn address(log: &str) -> Option<String> {
    let line = log.lines().find_map(|line| line.split_once(" listening on "));
    line.map(|(_, address)| address.trim().to_owned())
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}
