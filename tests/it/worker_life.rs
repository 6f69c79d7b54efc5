//! The worker over time: its queue, clients that leave, time-outs, and the end.

use crate::support::{Worker, children_named, have, skip, wait_until, write_program};
use remote::protocol::Dialect;
use std::io::Read;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn more_requests_than_slots_wait_their_turn() {
    let worker = Worker::start_slow("--jobs 2");
    let asked: Vec<_> = (0..6).map(|_| worker.ask_slowly()).collect();
    worker.wait_for("queued", 4);
    assert_eq!((worker.metric("running"), worker.metric("slots")), (2, 2));
    assert_eq!(worker.job_folders().len(), 6);
    worker.release();
    for one in asked {
        let reply = one.answer();
        assert!(reply.status == 0 && reply.output.starts_with(b"\x7fELF"), "{reply:?}");
    }
    worker.wait_for("running", 0);
    assert_eq!(worker.ended("ok"), 6);
    assert_eq!(worker.job_folders().len(), 0);
}

#[test]
fn the_queue_has_an_end() {
    // As many wait for each slot as the worker keeps, and no more.
    const WAITING_MAX: usize = 16;
    let worker = Worker::start_slow("--jobs 1");
    let digest = worker.identify("gcc -x c").compiler.unwrap().digest;
    let asked: Vec<_> = (0..=WAITING_MAX).map(|_| worker.ask_slowly()).collect();
    worker.wait_for("queued", WAITING_MAX as u64);
    assert!(worker.ask_slowly().turned_away());
    let words = "gcc slow.i -c -o slow.o";
    let reply = worker.ask(Dialect::Native, words, b"int x;\n", &digest).answer();
    assert_eq!(reply.status, 111 << 8, "{reply:?}");
    assert!(String::from_utf8_lossy(&reply.stderr).contains("too many"), "{reply:?}");
    worker.wait_for("requests_total{outcome=\"turned_away\"}", 2);
    drop(asked);
    worker.wait_for("running", 0);
}

#[test]
fn a_compiler_that_changes_meanwhile_is_noticed() {
    let worker = Worker::start_slow("");
    let digest = worker.identify("gcc -x c").compiler.unwrap().digest;
    let words = "gcc slow.i -c -o slow.o";
    let asked = worker.ask(Dialect::Native, words, b"int x;\n", &digest);
    worker.wait_for("running", 1);
    let script = worker.root().join("bin/gcc");
    let updated = [std::fs::read(&script).unwrap(), b"# 2\n".to_vec()].concat();
    let fresh = worker.root().join("bin/new");
    write_program(&fresh, updated);
    std::fs::rename(&fresh, &script).unwrap();
    worker.release();
    let reply = asked.answer();
    assert_eq!(reply.status, 111 << 8, "{reply:?}");
    assert!(String::from_utf8_lossy(&reply.stderr).contains("changed"), "{reply:?}");
}

#[test]
fn a_client_that_leaves_takes_its_compiler_along() {
    let worker = Worker::start_slow("--jobs 1");
    let running = worker.ask_slowly();
    worker.wait_for("running", 1);
    let compilers = || children_named("gcc", worker.root()).len();
    wait_until("the compiler runs", PATIENCE, || compilers() == 1);
    let waiting = worker.ask_slowly();
    worker.wait_for("queued", 1);
    drop(waiting);
    worker.wait_for("queued", 0);
    // The script is seen twice whenever it forks.
    wait_until("one compiler runs", PATIENCE, || compilers() == 1);
    assert_eq!(worker.metric("running"), 1);
    drop(running);
    worker.wait_for("running", 0);
    assert_eq!(compilers() + children_named("sleep", worker.root()).len(), 0);
    worker.wait_for("requests_total{outcome=\"client_gone\"}", 2);
    assert_eq!(worker.job_folders().len(), 0);
}

#[test]
fn a_compile_that_takes_too_long_is_killed() {
    let worker = Worker::start_slow("--job-timeout 500ms");
    let reply = worker.ask_slowly().answer();
    assert_eq!(reply.status, 0x7600, "{reply:?}");
    assert!(String::from_utf8_lossy(&reply.stderr).contains("takes more than"), "{reply:?}");
    assert_eq!(worker.ended("timeout"), 1);
    assert_eq!(children_named("gcc", worker.root()).len(), 0);
}

#[test]
fn rcache_clients_see_that_it_lives() {
    let worker = Worker::start_slow("--jobs 1");
    let running = worker.ask_slowly();
    worker.wait_for("running", 1);
    let digest = worker.identify("gcc -x c").compiler.unwrap().digest;
    let mut asked = worker.ask(Dialect::Native, "gcc slow.i -c -o slow.o", b"int x;\n", &digest);
    let mut sign = [0; 12];
    asked.stream.read_exact(&mut sign).unwrap();
    assert_eq!(&sign, b"ALIV00000000");
    drop(running);
    worker.wait_for("queued", 0);
    asked.stream.read_exact(&mut sign).unwrap();
    assert_eq!(&sign, b"ALIV00000000");
    worker.release();
    assert_eq!(asked.answer().status, 0);
}

#[test]
fn sigterm_lets_compiles_finish() {
    let mut worker = Worker::start_slow("--jobs 1");
    let (running, waiting) = (worker.ask_slowly(), worker.ask_slowly());
    worker.wait_for("queued", 1);
    let mut unfinished = worker.connect();
    worker.wait_for("connections", 3);
    assert_eq!((worker.get("/healthz").0, worker.get("/readyz").0), (200, 200));
    worker.terminate();
    wait_until("it drains", PATIENCE, || worker.get("/readyz").0 == 503);
    assert_eq!((worker.get("/healthz").0, worker.metric("draining")), (200, 1));
    // Whoever has not asked yet is cut off; new ones are not even accepted.
    assert_eq!(unfinished.read(&mut [0; 1]).unwrap_or(0), 0);
    wait_until("it no longer listens", PATIENCE, || {
        std::net::TcpStream::connect(&worker.address).is_err()
    });
    worker.release();
    assert_eq!((running.answer().status, waiting.answer().status), (0, 0));
    assert_eq!(worker.end(), Some(0));
    assert_eq!(worker.job_folders().len(), 0, "{}", worker.log());
}

#[test]
fn a_second_sigterm_ends_it_at_once() {
    let mut worker = Worker::start_slow("");
    let asked = worker.ask_slowly();
    worker.wait_for("running", 1);
    worker.terminate();
    wait_until("it drains", PATIENCE, || worker.get("/readyz").0 == 503);
    worker.terminate();
    assert!(asked.turned_away());
    assert_eq!(worker.end(), Some(0));
    assert_eq!(children_named("gcc", worker.root()).len(), 0);
}

#[test]
fn a_drain_has_an_end() {
    let mut worker = Worker::start_slow("--drain-timeout 300ms");
    let asked = worker.ask_slowly();
    worker.wait_for("running", 1);
    worker.terminate();
    assert!(asked.turned_away());
    assert_eq!(worker.end(), Some(0));
}

#[test]
fn what_is_in_force_is_said_at_the_start() {
    let worker = Worker::start("--jobs 5 --allow 127.0.0.0/8");
    let log = worker.log();
    assert!(log.contains("sandbox: landlock: ") && log.contains("; seccomp: "), "{log}");
    assert!(log.contains("5 slots, for 127.0.0.0/8") && !log.contains("--allow"), "{log}");
    let log = Worker::start("--no-sandbox").log();
    assert!(log.contains("landlock: off (switched off)"), "{log}");
    assert!(log.contains("--allow is not given"), "{log}");
}

#[test]
fn slots_are_the_cores_that_it_may_use() {
    if !have("taskset") {
        skip("a worker on one core", "taskset is not installed");
        return;
    }
    let worker = Worker::start_through(&["taskset", "-c", "0"], "");
    assert_eq!(worker.metric("slots"), 1);
}

#[test]
fn what_a_killed_worker_left_is_swept_by_the_next() {
    let mut worker = Worker::start_slow("");
    let _asked = worker.ask_slowly();
    worker.wait_for("running", 1);
    let left = worker.job_folders();
    assert_eq!(left.len(), 1);
    let tmp = worker.root().join("tmp");
    crate::support::kill(worker.pid());
    assert_eq!(worker.end(), None);
    let next = Worker::start_through(&["env", &format!("TMPDIR={}", tmp.display())], "");
    assert!(!left[0].exists(), "{}", next.log());
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_it() {
    let worker = Worker::start("");
    let port = worker.address.rsplit(':').next().unwrap();
    let mut command = std::process::Command::new(crate::support::rcache_binary());
    command.args(["worker", "--listen", "127.0.0.1", "--port", port]);
    let outcome = crate::support::run(&mut command, crate::support::LIMIT_CALL);
    assert_eq!(outcome.status, 1);
    assert!(outcome.err().contains(&worker.address), "{outcome:?}");
}
