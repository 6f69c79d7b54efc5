//! What a host that fails costs: `cargo bench --bench faults -- [--quick] [ROUNDS]`.
//!
//! Each fault is the only host of a cold compile of one unit, next to the same compile without hosts:
//! the two take turns, and ratios are of neighbours. The host and the daemon know each other already;
//! hosts that have an answer have it at once, so what a host takes until it fails comes on top. A host
//! that hangs costs its time-out.

// Half of it is for the tests.
#[allow(dead_code)]
#[path = "../tests/it/support/fake_host.rs"]
mod fake_host;
mod rivals;

use fake_host::{Exchange, FakeHost};
use remote::Reply;
use rivals::hosts::{Daemon, Host};
use rivals::sources::OPTIONS;
use rivals::table::{self, Pair};
use rivals::{Arena, Failure, Kind, Rival};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

/// Where this machine and its hosts find their compilers.
pub const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

const ROUNDS: usize = 7;

/// What no fault but a hanging host may cost.
const RATIO_MAX: f64 = 1.5;

/// For one attempt of a job.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(5);

/// The unit, and a small one that makes host and daemon know each other.
const UNIT: &str = "medium.cpp";
const GREETING: &str = "greeting.cpp";
const GREETING_TEXT: &str = "int greeting(int n) { return n; }\n";

fn main() -> Result<(), Failure> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let rounds = rivals::number_given(0).unwrap_or(if quick { 1 } else { ROUNDS });
    let arena = Arena::new()?;
    let sources = arena.path().join("sources");
    std::fs::create_dir(&sources)?;
    let written = SystemTime::now();
    rivals::sources::write_units(&sources)?;
    std::fs::write(sources.join(GREETING), GREETING_TEXT)?;
    rivals::sources::settle(written);
    let worker = Host::start(Daemon::Worker, 2, SYSTEM_PATH.into(), &arena.path().join("worker"))?;
    let mut course = Course::new(&arena, sources, &worker)?;

    let faults = faults();
    let mut pairs: Vec<Pair> = faults.iter().map(|fault| Pair::new(fault.name)).collect();
    for round in 0..rounds {
        for (fault, pair) in faults.iter().zip(&mut pairs) {
            let (local, faulty) = course.side_by_side(fault, round)?;
            println!(
                "{:<16} {:>7.3} s, local {:>7.3} s",
                fault.name,
                faulty.as_secs_f64(),
                local.as_secs_f64()
            );
            pair.push(faulty, local);
        }
    }
    table::print_pairs("a cold compile with one host that fails, ratios to none", "local", &pairs);
    let worst = pairs.iter().max_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    if let Some(worst) = worst {
        println!("worst: {}, {:.2} (at most {RATIO_MAX})", worst.name(), worst.ratio());
    }
    let hangs =
        Fault { name: "hangs", stands: Stands::Distccd, deed: |exchange, _| exchange.hang() };
    let (local, hanging) = course.side_by_side(&hangs, 0)?;
    println!(
        "a host that hangs: {:.3} s, where a time-out is {:.3} s and a local compile {:.3} s",
        hanging.as_secs_f64(),
        REMOTE_TIMEOUT.as_secs_f64(),
        local.as_secs_f64()
    );
    Ok(())
}

/// What a host does to a job; it has the right reply at hand.
struct Fault {
    name: &'static str,
    stands: Stands,
    deed: fn(&mut Exchange, &Reply),
}

/// As what the host stands in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Nobody,
    Distccd,
    DistccdWithLzo,
    Worker,
}

/// All faults but the one of a host that hangs.
fn faults() -> Vec<Fault> {
    let fault = |name, stands, deed| Fault { name, stands, deed };
    vec![
        fault("refused", Stands::Nobody, |_, _| {}),
        fault("reset", Stands::Distccd, |exchange, _| exchange.reset()),
        fault("closed at once", Stands::Distccd, |_, _| {}),
        fault("cut short", Stands::Distccd, |exchange, reply| {
            let bytes = exchange.encoded(reply);
            exchange.send(&bytes[..30]);
        }),
        fault("end missing", Stands::Distccd, send_but_the_end),
        fault("wrong token", Stands::Distccd, |exchange, _| {
            exchange.send(b"HELO00000001STAT00000000");
        }),
        fault("wrong version", Stands::Distccd, |exchange, _| {
            exchange.send(b"DONE00000007STAT00000000");
        }),
        fault("absurd length", Stands::Distccd, |exchange, _| {
            exchange.send(b"DONE00000001STAT00000000SERRffffffff");
        }),
        fault("a flood", Stands::Distccd, |exchange, _| while exchange.send(&[b'x'; 4096]) {}),
        fault("lzo bomb", Stands::DistccdWithLzo, |exchange, _| {
            // One letter, then a match of some hundred MB (LZO1X).
            let mut stream = vec![18, b'A', 0x20];
            stream.resize(stream.len() + 1_000_000, 0);
            stream.extend([1, 0, 0, 0x11, 0, 0]);
            let head = format!("DONE00000002STAT00000000SERR{:08x}", stream.len());
            exchange.send(head.as_bytes());
            exchange.send(&stream);
            exchange.send(b"SOUT00000000DOTO00000000");
        }),
        fault("empty object", Stands::Distccd, |exchange, reply| {
            send(exchange, &Reply { output: Vec::new(), ..reply.clone() });
        }),
        fault("cut object", Stands::Distccd, |exchange, reply| {
            let mut reply = reply.clone();
            reply.output.pop();
            send(exchange, &reply);
        }),
        fault("lzo, cut object", Stands::DistccdWithLzo, |exchange, reply| {
            let mut reply = reply.clone();
            reply.output.pop();
            send(exchange, &reply);
        }),
        fault("no compiler", Stands::Distccd, |exchange, _| fail(exchange, 110 << 8, "")),
        fault("killed", Stands::Distccd, |exchange, _| fail(exchange, 9, "")),
        fault("crashed", Stands::Distccd, |exchange, _| {
            fail(exchange, 11 | 0x80, "g++: internal compiler error\n");
        }),
        fault("silent failure", Stands::Distccd, |exchange, _| fail(exchange, 1 << 8, "")),
        fault("error of its own", Stands::Distccd, |exchange, _| {
            fail(exchange, 1 << 8, "/tmp/cc.s: No space left on device\n");
        }),
        fault("worker: closed", Stands::Worker, |_, _| {}),
        fault("worker: cut", Stands::Worker, send_but_the_end),
        fault("worker: bit", Stands::Worker, |exchange, reply| {
            let mut bytes = exchange.encoded(reply);
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x04;
            exchange.send(&bytes);
        }),
        fault("worker: refuses", Stands::Worker, |exchange, _| {
            let status = remote::protocol::response::REFUSED_STATUS;
            fail(exchange, status, "not now\n");
        }),
    ]
}

fn send(exchange: &mut Exchange, reply: &Reply) {
    let bytes = exchange.encoded(reply);
    exchange.send(&bytes);
}

fn send_but_the_end(exchange: &mut Exchange, reply: &Reply) {
    let bytes = exchange.encoded(reply);
    exchange.send(&bytes[..bytes.len() - 1]);
}

fn fail(exchange: &mut Exchange, status: i32, stderr: &str) {
    send(exchange, &Reply { status, stderr: stderr.into(), ..Reply::default() });
}

/// The unit and who compiles it.
struct Course<'c> {
    rcache: Rival,
    sources: PathBuf,
    worker: &'c Host,
    /// Of the unit.
    reply: Reply,
    samples: usize,
}

impl<'c> Course<'c> {
    /// With a daemon that has compiled the unit here and elsewhere.
    fn new(arena: &Arena, sources: PathBuf, worker: &'c Host) -> Result<Course<'c>, Failure> {
        let rcache = arena.rival(Kind::Rcache, "rcache")?.ok_or("no rcache")?;
        let mut course = Course { rcache, sources, worker, reply: Reply::default(), samples: 0 };
        course.rcache.start()?;
        course.compile(UNIT, "")?;
        let reply = Arc::new(OnceLock::new());
        let kept = Arc::clone(&reply);
        let honest = FakeHost::distccd(move |exchange| {
            let reply = kept.get_or_init(|| exchange.compiled());
            send(exchange, reply);
        });
        course.compile(UNIT, &honest.host(1))?;
        course.reply = reply.get().cloned().ok_or("the unit was not sent to a host")?;
        Ok(course)
    }

    /// The times of a compile without hosts and of one with that host alone.
    fn side_by_side(
        &mut self,
        fault: &Fault,
        round: usize,
    ) -> Result<(Duration, Duration), Failure> {
        if round.is_multiple_of(2) {
            let local = self.compile(UNIT, "")?;
            Ok((local, self.faulty(fault)?))
        } else {
            let faulty = self.faulty(fault)?;
            Ok((self.compile(UNIT, "")?, faulty))
        }
    }

    /// By a host with a port of its own, which nobody avoids yet.
    fn faulty(&mut self, fault: &Fault) -> Result<Duration, Failure> {
        if fault.stands == Stands::Nobody {
            let port = rivals::hosts::free_port()?;
            return self.expect_local(fault.name, &format!("127.0.0.1:{port}/1"));
        }
        let (deed, reply) = (fault.deed, self.reply.clone());
        let deed = move |exchange: &mut Exchange| {
            let length = GREETING_TEXT.len();
            let mut parts = exchange.job.source.windows(length);
            match parts.any(|part| part == GREETING_TEXT.as_bytes()) {
                true => exchange.answer(),
                false => deed(exchange, &reply),
            }
        };
        let host = match fault.stands {
            Stands::Worker => FakeHost::before(&self.worker.address(), deed),
            _ => FakeHost::distccd(deed),
        };
        let lzo = if fault.stands == Stands::DistccdWithLzo { ",lzo" } else { "" };
        let word = format!("{}{lzo}", host.host(1));
        let before = self.count("remote_compile")?;
        self.compile(GREETING, &word)?;
        if self.count("remote_compile")? != before + 1 {
            return Err(format!("{}: the host is not used", fault.name).into());
        }
        self.expect_local(fault.name, &word)
    }

    /// That host must fail, and this machine compile.
    fn expect_local(&mut self, name: &str, hosts: &str) -> Result<Duration, Failure> {
        let names = ["remote_failed", "local_compile", "remote_compile"];
        let count = |course: &Course| -> Result<Vec<u64>, Failure> {
            names.iter().map(|name| course.count(name)).collect()
        };
        let before = count(self)?;
        let took = self.compile(UNIT, hosts)?;
        let rose: Vec<u64> =
            count(self)?.iter().zip(before).map(|(now, before)| now - before).collect();
        match rose == [1, 1, 0] {
            true => Ok(took),
            false => Err(format!("{name}: {names:?} rose by {rose:?}").into()),
        }
    }

    /// One compile that was never seen before.
    fn compile(&mut self, source: &str, hosts: &str) -> Result<Duration, Failure> {
        self.samples += 1;
        let sample = format!("-DSAMPLE={}", self.samples);
        let mut words = vec!["g++", &sample];
        words.extend(OPTIONS);
        words.extend(["-MD", "-MF", "unit.d", "-c", source, "-o", "unit.o"]);
        let mut command: Command = self.rcache.command(&words);
        command.env("PATH", SYSTEM_PATH).env("RCACHE_HOSTS", hosts);
        command.env("RCACHE_REMOTE_TIMEOUT", format!("{}s", REMOTE_TIMEOUT.as_secs()));
        rivals::timed(command.current_dir(self.sources.as_path() as &Path))
    }

    fn count(&self, counter: &str) -> Result<u64, Failure> {
        let stats: serde_json::Value =
            serde_json::from_slice(&self.rcache.ask(&["stats", "--json"])?)?;
        stats["counters"][counter].as_u64().ok_or_else(|| format!("no counter {counter}").into())
    }
}
