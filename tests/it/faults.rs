//! Hosts and wires that fail in every way: the compile succeeds with the right object and the compiler's
//! own output, and what failed is known for it.

use crate::support::{
    Cache, DeadPort, Distccd, Exchange, FakeHost, NotingCompiler, Project, Worker,
    same_as_compiler, wait_until,
};
use std::time::{Duration, Instant};

/// For one attempt of a job.
const REMOTE_TIMEOUT: &str = "2s";

/// A unit whose object has some length.
const SOURCE: &str = "\
#include \"a.h\"
static const int table[] = { 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, SIZE };
int sum(int n) { int total = 0; for (int i = 0; i < n; i++) total += table[i % 11]; return total; }
int product(int n) { int total = 1; for (int i = 0; i < n; i++) total *= table[i % 11]; return total; }
";

fn project() -> Project {
    Project::new(&[("a.c", SOURCE), ("a.h", "#define SIZE 144\n")])
}

fn cache(hosts: &str) -> Cache {
    let cache = Cache::new().with("RCACHE_HOSTS", hosts);
    let log = cache.root().join("log");
    cache.with("RCACHE_REMOTE_TIMEOUT", REMOTE_TIMEOUT).with("RCACHE_LOG_FILE", log)
}

/// What the daemon logged.
fn log(cache: &Cache) -> String {
    std::fs::read_to_string(cache.root().join("log")).unwrap_or_default()
}

const CALL: &str = "gcc -O2 -Wall -MD -MF a.d -c a.c -o a.o";

/// With that host alone the unit is compiled here, as by the compiler; the reason is said. All that it
/// costs is one run of the preprocessor and one attempt.
#[track_caller]
fn survived_alone(what: &str, host: &str, reason: &str) {
    let project = project();
    let compiler = NotingCompiler::new(&project);
    survived_with(&project, &compiler, what, host, reason);
}

#[track_caller]
fn survived_with(
    project: &Project,
    compiler: &NotingCompiler,
    what: &str,
    host: &str,
    reason: &str,
) {
    let cache = cache(host);
    let (_, warm) = same_as_compiler(project, &cache, compiler.call(CALL));
    let stats = cache.stats();
    assert_eq!(warm, "direct_cache_hit", "{what}");
    assert_eq!((stats.get("remote_compile"), stats.get("local_compile")), (0, 1), "{what}");
    assert_eq!(stats.get("remote_failed"), 1, "{what}");
    // One of the compiles is the control.
    assert_eq!(compiler.runs("a.c"), (1, 2), "{what}");
    assert!(log(&cache).contains(reason), "{what}: {}", log(&cache));
    let row = &stats.0["hosts"][0];
    assert_eq!(row["failed"], 1, "{what}: {row}");
    // It is tried again after a second.
    let why = row["why_not"].as_str().unwrap_or(reason).to_owned();
    assert!(why.contains(reason), "{what}: {row}");
}

/// With another host beside it, the unit is compiled there.
#[track_caller]
fn survived_with_another(what: &str, host: &str) {
    let worker = Worker::start("");
    let cache = cache(&format!("{host} {}/2", worker.address));
    same_as_compiler(&project(), &cache, CALL);
    let stats = cache.stats();
    assert_eq!((stats.get("remote_compile"), stats.get("local_compile")), (1, 0), "{what}");
    assert_eq!(stats.0["hosts"][1]["completed"], 1, "{what}: {}", stats.0["hosts"]);
}

/// A stock distccd with that deed, under both of its protocols.
#[track_caller]
fn distccd(what: &str, reason: &str, deed: impl Fn(&mut Exchange) + Send + Sync + 'static) {
    let host = FakeHost::distccd(deed);
    survived_alone(what, &host.host(2), reason);
    assert_eq!(host.jobs(), 1, "{what}");
    survived_with_another(what, &format!("{},lzo", host.host(2)));
    assert_eq!(host.jobs(), 2, "{what}");
}

/// A worker with that deed done to its answers.
#[track_caller]
fn worker(what: &str, reason: &str, deed: impl Fn(&mut Exchange) + Send + Sync + 'static) {
    let project = project();
    let compiler = NotingCompiler::new(&project);
    let worker = Worker::start(&format!("--compiler-path {}", compiler.path()));
    let host = FakeHost::before(&worker.address, deed);
    survived_with(&project, &compiler, what, &host.host(2), reason);
    assert_eq!(host.jobs(), 1, "{what}");
}

#[test]
fn honest_hosts_are_used() {
    let real = Worker::start("");
    for host in
        [FakeHost::distccd(Exchange::answer), FakeHost::before(&real.address, Exchange::answer)]
    {
        let cache = cache(&host.host(2));
        same_as_compiler(&project(), &cache, "gcc -O2 -c a.c -o a.o");
        assert_eq!((cache.stats().get("remote_compile"), host.jobs()), (1, 1));
    }
}

#[test]
fn connections_that_do_not_come_about_or_break() {
    let port = DeadPort::new();
    let nobody = format!("{}/2", port.address());
    survived_alone("nobody listens", &nobody, "cannot be reached");
    survived_with_another("nobody listens", &nobody);
    distccd("reset", "closed the connection", Exchange::reset);
    distccd("closed at once", "closed the connection", |_| {});
    for place in [1, 11, 12, 30, 70] {
        distccd("cut short", "closed the connection", move |exchange| {
            let bytes = exchange.honest();
            exchange.send(&bytes[..place]);
        });
    }
    for end in [1, 2, 100] {
        distccd("its end is missing", "closed the connection", move |exchange| {
            let bytes = exchange.honest();
            exchange.send(&bytes[..bytes.len() - end]);
        });
        worker("a worker's end is missing", "closed the connection", move |exchange| {
            let bytes = exchange.honest();
            exchange.send(&bytes[..bytes.len() - end]);
        });
    }
}

/// With -MMD the compiler does not name the headers of the system, but the text that was made for the
/// host knows them.
#[test]
fn a_fallback_preprocesses_no_second_time() {
    let host = FakeHost::distccd(|_| {});
    let project = Project::new(&[
        ("a.c", "#include <system.h>\nint size(void) { return SIZE; }\n"),
        ("system/system.h", "#define SIZE 144\n"),
    ]);
    let compiler = NotingCompiler::new(&project);
    let cache = cache(&host.host(2));
    let call = compiler.call("gcc -O2 -MMD -isystem system -c a.c");
    let (cold, warm) = same_as_compiler(&project, &cache, &call);
    assert_eq!((cold.as_str(), warm.as_str()), ("cache_miss", "direct_cache_hit"));
    assert_eq!((host.jobs(), compiler.runs("a.c")), (1, (1, 2)));
    project.write("system/system.h", "#define SIZE 155\n");
    let (cold, warm) = same_as_compiler(&project, &cache, &call);
    assert_eq!((cold.as_str(), warm.as_str()), ("cache_miss", "direct_cache_hit"));
}

#[test]
fn hosts_that_hang() {
    distccd("hangs", "no answer in time", Exchange::hang);
    distccd("hangs in the middle", "no answer in time", |exchange| {
        let bytes = exchange.honest();
        exchange.send(&bytes[..bytes.len() / 2]);
        exchange.hang();
    });
    distccd("a trickle", "no answer in time", |exchange| {
        for byte in exchange.honest() {
            if !exchange.send(&[byte]) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    worker("a worker hangs", "no answer in time", Exchange::hang);
}

/// The time-out of a job is not what ends this, but the silence.
#[test]
fn a_worker_without_signs_of_life_is_given_up() {
    let real = Worker::start("");
    let host = FakeHost::before(&real.address, Exchange::hang);
    let cache = cache(&host.host(2)).with("RCACHE_REMOTE_TIMEOUT", "10m");
    let started = Instant::now();
    same_as_compiler(&project(), &cache, "gcc -c a.c");
    assert!(started.elapsed() >= remote::protocol::limits::SILENCE_MAX);
    assert_eq!(cache.stats().get("local_compile"), 1);
    assert!(log(&cache).contains("no answer in time"), "{}", log(&cache));
}

/// Incompressible, and larger than what the kernel takes for somebody who does not read.
fn large_source() -> String {
    let mut random = 1_u64;
    let mut text = String::from("const unsigned long numbers[] = {\n");
    for _ in 0..400_000 {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        text += &format!("{:#x},\n", random >> 3);
    }
    text + "};\n"
}

#[test]
fn a_host_that_reads_nothing_is_given_up() {
    let host = FakeHost::unreading(Exchange::hang);
    let project = Project::new(&[("a.c", &large_source())]);
    let cache = cache(&host.host(2));
    let started = Instant::now();
    same_as_compiler(&project, &cache, "gcc -c a.c");
    assert!(started.elapsed() >= Duration::from_secs(2));
    assert_eq!(cache.stats().get("local_compile"), 1);
    assert!(log(&cache).contains("no answer in time"), "{}", log(&cache));
}

/// A stock distccd whose slots are all taken by others leaves a job in the kernel's queue.
#[test]
fn a_host_that_reads_late_is_waited_for() {
    // Longer than a worker may take before it counts as vanished.
    const LATE: Duration = Duration::from_secs(13);
    let host = FakeHost::unreading(|exchange| {
        std::thread::sleep(LATE);
        let request = remote::protocol::request::read(&mut exchange.stream);
        let Ok(remote::protocol::request::Request::Compile { job, .. }) = request else { return };
        exchange.job = job;
        exchange.answer();
    });
    let project = Project::new(&[("a.c", &large_source())]);
    let cache = cache(&host.host(2)).with("RCACHE_REMOTE_TIMEOUT", "100s");
    same_as_compiler(&project, &cache, "gcc -c a.c");
    assert_eq!(cache.stats().get("remote_compile"), 1, "{}", log(&cache));
}

#[test]
fn answers_that_are_none() {
    let raw = |what: &str, reason: &str, bytes: &'static [u8]| {
        distccd(what, reason, move |exchange| {
            exchange.send(bytes);
        });
    };
    raw("wrong token", "came in the place of DONE", b"HELO00000001STAT00000000");
    raw("wrong version", "protocol 7 is not spoken here", b"DONE00000007STAT00000000");
    raw("no number", "has no number", b"DONEzzzzzzzzSTAT00000000");
    distccd("absurd length", "which is not allowed", |exchange| {
        let version = exchange.dialect.version();
        let text = format!("DONE{version:08x}STAT00000000SERRffffffff");
        exchange.send(text.as_bytes());
    });
    distccd("absurd length of the object", "allowed", |exchange| {
        let version = exchange.dialect.version();
        let text = format!("DONE{version:08x}STAT00000000SERR00000000SOUT00000000DOTOffffffff");
        exchange.send(text.as_bytes());
    });
    distccd("a flood", "has no number", |exchange| while exchange.send(&[b'x'; 4096]) {});
    distccd("an endless object", "allowed", |exchange| {
        let version = exchange.dialect.version();
        let text = format!("DONE{version:08x}STAT00000000SERR00000000SOUT00000000DOTO7fffffff");
        exchange.send(text.as_bytes());
        while exchange.send(&[0; 4096]) {}
    });
}

#[test]
fn a_stream_that_unpacks_to_gigabytes() {
    let host = FakeHost::distccd(|exchange| {
        // One letter, then a match of some hundred MB (LZO1X).
        let mut stream = vec![18, b'A', 0x20];
        stream.resize(stream.len() + 1_000_000, 0);
        stream.extend([1, 0, 0, 0x11, 0, 0]);
        let mut bytes = b"DONE00000002STAT00000000SERR".to_vec();
        bytes.extend(format!("{:08x}", stream.len()).bytes());
        bytes.extend(stream);
        bytes.extend(b"SOUT00000000DOTO00000000");
        exchange.send(&bytes);
    });
    survived_alone("a bomb", &format!("{},lzo", host.host(2)), "cannot be unpacked");
}

#[test]
fn objects_that_are_none() {
    let changed = |what: &str, change: fn(&mut Vec<u8>)| {
        distccd(what, "not whole", move |exchange| {
            exchange.answer_changed(|reply| change(&mut reply.output));
        });
    };
    changed("empty", Vec::clear);
    changed("cut off", |object| object.truncate(object.len() - 1));
    changed("half", |object| object.truncate(object.len() / 2));
    changed("a program", |object| *object = std::fs::read("/proc/self/exe").unwrap());
    changed("text", |object| *object = b"no space left on device\n".to_vec());
}

#[test]
fn flipped_bits_between_rcache_and_its_worker() {
    for from_end in [200, 90, 10] {
        worker("a flipped bit", "", move |exchange| {
            let mut bytes = exchange.honest();
            let at = bytes.len() - from_end;
            bytes[at] ^= 0x04;
            exchange.send(&bytes);
        });
    }
}

#[test]
fn compilers_that_are_missing_or_die() {
    let failed = |what: &str, reason: &str, status: i32, text: &'static str| {
        distccd(what, reason, move |exchange| {
            exchange.answer_changed(|reply| {
                *reply = remote::Reply { status, stderr: text.into(), ..Default::default() };
            });
        });
    };
    failed("missing", "its daemon failed with 110", 110 << 8, "");
    failed("killed", "ended by signal 9", 9, "");
    failed("crashed", "ended by signal 11", 11 | 0x80, "gcc: internal compiler error\n");
    failed("silent", "did not say why", 1 << 8, "");
    failed("too long", "its daemon failed with 118", 118 << 8, "takes too long\n");
    let refusal = "gcc: refused\n";
    failed("refused in words", "its daemon failed with 111", 111 << 8, refusal);
}

/// A full disk, say: what the host calls an error is none on this machine.
#[test]
fn a_host_that_fails_what_this_machine_can_do() {
    let host = FakeHost::distccd(|exchange| {
        exchange.answer_changed(|reply| {
            let stderr = b"/tmp/cc.s: No space left on device\n".to_vec();
            *reply = remote::Reply { status: 1 << 8, stderr, ..Default::default() };
        });
    });
    let cache = cache(&host.host(2));
    same_as_compiler(&project(), &cache, "gcc -O2 -c a.c");
    let said = "its compile failed, and succeeded on this machine: /tmp/cc.s: No space left";
    assert!(log(&cache).contains(said), "{}", log(&cache));
    assert_eq!(cache.stats().0["hosts"][0]["failed"], 1);
}

#[test]
fn an_error_or_a_warning_is_not_the_hosts() {
    let Some(real) = Distccd::start(2, "errors are not the host's") else { return };
    let project = Project::new(&[
        ("bad.c", "int f(void) { return undeclared; }\n"),
        ("warn.c", "int f(void) { int unused; return 3; }\n"),
    ]);
    let cache = cache(&real.host(2));
    for line in ["gcc -c bad.c", "gcc -Wall -c warn.c", "gcc -Wall -Werror -c warn.c"] {
        same_as_compiler(&project, &cache, line);
    }
    let row = cache.stats().0["hosts"][0].clone();
    assert_eq!((row["failed"].as_u64(), row["usable"].as_bool()), (Some(0), Some(true)), "{row}");
}

#[test]
fn what_prints_is_sent_once_while_it_prints() {
    let host = FakeHost::distccd(Exchange::answer);
    let project = Project::new(&[("a.c", "int f(void) { int unused; return 3; }\n")]);
    let cache = cache(&host.host(2)).with("RCACHE_RECACHE", "true");
    for _ in 0..3 {
        cache.compile(&project, "gcc -Wall -c a.c").success();
    }
    assert_eq!((host.jobs(), cache.stats().get("local_compile")), (1, 3));
    // Its text prints no more, which a compile here finds out.
    project.write("a.c", "int f(void) { return 3; }\n");
    for _ in 0..2 {
        cache.compile(&project, "gcc -Wall -c a.c").success();
    }
    assert_eq!(host.jobs(), 2);
    wait_until("the host is free again", Duration::from_secs(20), || {
        cache.stats().0["hosts"][0]["in_flight"] == 0
    });
    assert!(host.running_most() <= 1);
}

/// A time-out is paid once. What looks after the host from then on is no compile.
#[test]
fn a_host_that_hangs_is_paid_for_once() {
    let host = FakeHost::unreading(Exchange::hang);
    let (project, cache) = (Project::new(&[]), cache(&host.host(4)));
    let mut compiled = 0;
    let mut compile = || {
        let name = format!("{compiled}.c");
        project.write(&name, format!("int x{compiled};\n"));
        cache.compile(&project, format!("gcc -c {name}").as_str()).success();
        compiled += 1;
    };
    (0..3).for_each(|_| compile());
    // It is probed after a second, if somebody wants it, and hangs again.
    wait_until("it is probed", Duration::from_secs(60), || {
        compile();
        host.jobs() > 1
    });
    (0..3).for_each(|_| compile());
    let stats = cache.stats();
    assert_eq!(
        (stats.get("remote_compile"), stats.get("remote_failed")),
        (0, 1),
        "{}",
        log(&cache)
    );
    assert_eq!(stats.get("local_compile"), compiled);
    assert_eq!(stats.0["hosts"][0]["failed"], 1, "{}", stats.0["hosts"]);
}

#[test]
fn a_host_that_is_well_again_is_used() {
    let failed = std::sync::atomic::AtomicBool::new(false);
    let host = FakeHost::distccd(move |exchange| {
        if failed.swap(true, std::sync::atomic::Ordering::Relaxed) {
            exchange.answer();
        }
    });
    let (project, cache) = (Project::new(&[]), cache(&host.host(4)));
    let mut number = 0;
    wait_until("it compiles again", Duration::from_secs(60), || {
        number += 1;
        let name = format!("{number}.c");
        project.write(&name, format!("int x{number};\n"));
        cache.compile(&project, format!("gcc -c {name}").as_str()).success();
        cache.stats().get("remote_compile") == 1
    });
    assert_eq!((cache.stats().get("remote_failed"), host.jobs()), (1, 2), "{}", log(&cache));
}

/// A stock distccd cannot say which compiler it has. What came of it counts only when a later trial says
/// that it still has the same.
#[test]
fn a_distccd_that_is_upgraded_amid_a_job() {
    let call = "gcc -O2 -c a.c -o a.o";
    let project = project();
    project.plain(call).success();
    let right = project.read("a.o");
    let host = FakeHost::distccd(|exchange| {
        exchange.upgrade();
        exchange.answer();
    });
    let cache = cache(&host.host(2)).with("RCACHE_REMOTE_TIMEOUT", "60s");
    for _ in 0..2 {
        project.remove("a.o");
        cache.compile(&project, call).success();
        assert!(project.read("a.o") == right, "{}", log(&cache));
    }
    assert_eq!((cache.stats().get("remote_compile"), host.jobs()), (0, 1));
    assert!(log(&cache).contains("its compiler was changed while it compiled"), "{}", log(&cache));
}
