//! A thousand hostile connections at once, of every kind: the worker stays small, serves an honest client
//! meanwhile, and has nothing left of them afterwards.

use crate::support::{Worker, wait_until};
use remote::Job;
use remote::protocol::{Dialect, request};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Connections that cost nothing, and connections for each of which the worker has something to do.
const MANY: usize = 1_000;
const SOME: usize = 40;

/// What a worker may ever have taken.
const MEMORY_MB_MAX: u64 = 512;

/// An honest client that is turned away comes again.
const PATIENCE: Duration = Duration::from_secs(300);

/// For one of them to be rid of what it says; it may have been hung up on.
const SAY_MAX: Duration = Duration::from_secs(2);

/// Where the attackers are; the honest client is at 127.0.0.1.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Connections, each of which has said the same.
fn connections(worker: &Worker, from: Ipv4Addr, count: usize, say: &[u8]) -> Vec<TcpStream> {
    (0..count).filter_map(|_| connection(worker, from, say)).collect()
}

fn connection(worker: &Worker, from: Ipv4Addr, say: &[u8]) -> Option<TcpStream> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).ok()?;
    bind(&socket, &SocketAddr::from((from, 0))).ok()?;
    let address: SocketAddr = worker.address.parse().unwrap();
    connect(&socket, &address).ok()?;
    let mut stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(SAY_MAX)).unwrap();
    let _ = stream.write_all(say);
    Some(stream)
}

fn memory_most_mb(worker: &Worker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() >> 10
}

/// An honest client gets its object while they are there, and they leave no trace.
#[track_caller]
fn survived(worker: &Worker, what: &str, hostile: Vec<TcpStream>) {
    let mut honest = None;
    wait_until(&format!("{what}: an honest client is served"), PATIENCE, || {
        honest = worker.try_compile_plain("gcc -O1 -c t.c -o t.o", b"int f(void) { return 1; }\n");
        honest.is_some()
    });
    let reply = honest.unwrap();
    assert!(reply.status == 0 && reply.output.starts_with(b"\x7fELF"), "{what}: {reply:?}");
    let most = memory_most_mb(worker);
    assert!(most < MEMORY_MB_MAX, "{what}: {most} MB");
    drop(hostile);
    worker.wait_for("connections", 0);
    assert_eq!(worker.job_folders(), [""; 0].map(std::path::PathBuf::from), "{what}");
    assert_eq!((worker.metric("running"), worker.metric("queued")), (0, 0), "{what}");
}

fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn worker() -> Worker {
    raise_descriptor_limit();
    Worker::start("--jobs 2 --allow 127.0.0.0/8 --nice 0")
}

fn job(source: &[u8]) -> Job {
    let words = ["gcc", "t.c", "-O1", "-c", "-o", "t.o"];
    Job { arguments: words.map(|word| word.as_bytes().to_vec()).into(), source: source.to_vec() }
}

/// Up to the text, which then is so long.
fn before_text(packed_bytes: u32) -> Vec<u8> {
    let (mut bytes, _) = request::encode(Dialect::Plain, &job(b""), "");
    bytes.truncate(bytes.len() - 8);
    bytes.extend(format!("{packed_bytes:08x}").bytes());
    bytes
}

#[test]
fn connections_that_say_little_or_nothing() {
    let worker = worker();
    let long_word = [b"DIST00000001ARGC00004000ARGV00020000".as_slice(), &[b'x'; 60_000]].concat();
    let many_words =
        [b"DIST00000001ARGC00004000".as_slice(), &b"ARGV00000000".repeat(5_000)].concat();
    for (what, say) in [
        ("silence", &b""[..]),
        ("one byte", b"D"),
        ("half a request", b"DIST00000001ARGC00000003ARGV00000003gcc"),
        ("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 GET / HTTP/1.1\r\n"),
        ("a command line that is long", &long_word),
        ("a command line of many words", &many_words),
        ("a huge length", &before_text(0x07ff_ffff)),
        ("a length beyond all", &before_text(u32::MAX)),
    ] {
        // The honest client may be one of their neighbours.
        for from in [ATTACKER, Ipv4Addr::LOCALHOST] {
            survived(&worker, what, connections(&worker, from, MANY, say));
        }
    }
}

#[test]
fn connections_that_trickle() {
    let worker = worker();
    let mut hostile = connections(&worker, Ipv4Addr::LOCALHOST, MANY, b"DIST0000");
    for byte in *b"0001ARGC" {
        hostile.retain_mut(|stream| stream.write_all(&[byte]).is_ok());
    }
    survived(&worker, "a trickle", hostile);
}

#[test]
fn texts_that_unpack_to_much() {
    let worker = worker();
    let zeros = job(&vec![0; remote::protocol::limits::SOURCE_BYTES_MAX]);
    for dialect in [Dialect::Native, Dialect::Lzo] {
        let (bytes, _) = request::encode(dialect, &zeros, &"0".repeat(64));
        // All but the end, of which nothing may be unpacked yet.
        let unfinished = &bytes[..bytes.len() - 1];
        let count = if dialect == Dialect::Native { MANY } else { SOME };
        let hostile = connections(&worker, ATTACKER, count, unfinished);
        survived(&worker, "a bomb whose end is missing", hostile);
        let hostile = connections(&worker, ATTACKER, SOME, &bytes);
        survived(&worker, "a bomb", hostile);
    }
}

#[test]
fn answers_that_nobody_reads() {
    let worker = worker();
    let source = b"__asm__(\".data\\n.skip 30000000,1\\n.text\");\n";
    for dialect in [Dialect::Plain, Dialect::Lzo] {
        let (bytes, _) = request::encode(dialect, &job(source), "");
        let hostile = connections(&worker, ATTACKER, SOME, &bytes);
        survived(&worker, "unread objects", hostile);
    }
    // What the compiler prints is an answer, too.
    let text = b"int f(void) { return undeclared; }\n".repeat(20_000);
    let (bytes, _) = request::encode(Dialect::Plain, &job(&text), "");
    survived(&worker, "unread errors", connections(&worker, ATTACKER, SOME, &bytes));
}

#[test]
fn questions_and_jobs_without_end() {
    let worker = worker();
    let mut hostile = Vec::new();
    for number in 0..2 * SOME {
        let words = ["gcc".to_owned(), format!("-mfentry-name=x{number}")];
        let words = words.map(String::into_bytes);
        let question = request::encode_identify(&words);
        hostile.extend(connection(&worker, ATTACKER, &question));
    }
    survived(&worker, "questions", hostile);
    let (bytes, _) = request::encode(Dialect::Plain, &job(b"int x;\n"), "");
    survived(&worker, "jobs", connections(&worker, ATTACKER, MANY / 2, &bytes));
}
