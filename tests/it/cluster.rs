//! Whole builds on hosts: objects, hits, slots, queues, and accidents of those who take part.

use crate::support::{
    Cache, Call, Distccd, Exchange, FakeHost, LIMIT_CALL, Outcome, Project, SYSTEM_PATH, Worker,
    compilers, have, is_alive, kill, process_group_interrupt, run, same_as_compiler, skip, start,
    wait_until,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Far above what anything here needs.
const PATIENCE: Duration = Duration::from_secs(100);

const C: &str = "\
#include <stdio.h>
#include \"inc/a.h\"
int entry(int n) { printf(\"%d %s\\n\", n, __FILE__); return TWICE(n) + __LINE__; }
";
const CXX: &str = "\
#include <map>
#include <string>
#include \"inc/a.h\"
namespace { struct Hidden { virtual ~Hidden() {} }; }
std::map<std::string, int> table;
int entry(int n) { Hidden hidden; table[__FILE__] = n; return TWICE(n); }
";

fn project() -> Project {
    Project::new(&[
        ("a.c", C),
        ("sub/a.cc", CXX),
        ("inc/a.h", "#pragma once\n#define TWICE(x) ((x) + (x))\n"),
        ("empty.c", ""),
        ("warn.c", "int f(void) { int unused; return 3; }\n"),
        ("bad.c", "int f(void) { return undeclared; }\n"),
    ])
}

/// Lines that leave, and lines that print.
fn lines() -> Vec<(String, bool)> {
    let mut lines = Vec::new();
    for family in compilers("the units of a cluster") {
        let (c, cxx) = (family.c, family.cxx);
        lines.extend([
            (format!("{c} -c a.c"), true),
            (format!("{c} -O2 -Wall -fPIC -MD -MF a.d -c a.c -o sub/a.o"), true),
            (format!("{c} -O1 -MMD -MP -I. -c a.c -o sub/b.o"), true),
            (format!("{c} -S -O1 -MD a.c"), true),
            (format!("{c} -c empty.c"), true),
            (format!("{cxx} -std=c++17 -O2 -I. -MD -c sub/a.cc -o sub/a.o"), true),
            (format!("{c} -Wall -Werror -c warn.c"), false),
            (format!("{c} -c bad.c"), false),
        ]);
    }
    lines
}

#[track_caller]
fn golden(hosts: &str) {
    let cache = Cache::new().with("RCACHE_HOSTS", hosts);
    let project = project();
    for (line, sent) in lines() {
        let before = cache.stats();
        let (_, warm) = same_as_compiler(&project, &cache, line.as_str());
        let rise = |name: &str| cache.stats().get(name) - before.get(name);
        if sent {
            assert_eq!((rise("remote_compile"), rise("local_compile")), (1, 0), "{hosts} {line}");
            assert_eq!(warm, "direct_cache_hit", "{hosts} {line}");
        } else {
            assert_eq!(rise("remote_compile"), 0, "{hosts} {line}");
        }
    }
    let row = cache.stats().0["hosts"][0].clone();
    assert_eq!((row["failed"].as_u64(), row["usable"].as_bool()), (Some(0), Some(true)), "{row}");
}

#[test]
fn rcache_with_its_worker() {
    let worker = Worker::start("");
    golden(&format!("{}/2", worker.address));
    golden(&format!("{}/2,lzo", worker.address));
}

#[test]
fn rcache_with_a_stock_distccd() {
    let Some(distccd) = Distccd::start(2, "rcache with distccd") else { return };
    golden(&distccd.host(2));
    golden(&format!("{},lzo", distccd.host(2)));
}

/// The chain that rcache replaces, so that what the others are compared with is known to work here.
#[test]
fn ccache_with_distcc_as_control() {
    if !have("ccache") || !have("distcc") {
        return skip("ccache with distcc", "one of them is not installed");
    }
    let Some(distccd) = Distccd::start(2, "ccache with distcc") else { return };
    let project = project();
    std::fs::create_dir(project.beside("distcc")).unwrap();
    for (source, compiler) in [("a.c", "gcc"), ("sub/a.cc", "g++")] {
        for options in ["", ",lzo"] {
            let before = distccd.compiled();
            let call = Call::from(format!("ccache {compiler} -O2 -I. -c {source} -o out.o"))
                .env("CCACHE_PREFIX", "distcc")
                .env("CCACHE_DIR", project.beside(&format!("ccache{options}")))
                .env("DISTCC_DIR", project.beside("distcc"))
                .env("DISTCC_HOSTS", format!("{}{options}", distccd.host(2)));
            project.plain(&call).success();
            wait_until("distccd notes it", PATIENCE, || distccd.compiled() == before + 1);
            let object = project.read("out.o");
            project.plain(format!("{compiler} -O2 -I. -c {source} -o out.o")).success();
            assert!(object == project.read("out.o"), "{source} {options}");
        }
    }
}

#[test]
fn a_unit_of_20_megabytes() {
    let project = Project::new(&[("huge.c", "#include \"1.h\"\n#include \"2.h\"\n")]);
    let text = "0123456789abcdef".repeat(10 << 16);
    for number in 1..=2 {
        let line = format!("const char text{number}[] = \"{text}\";\n");
        project.write(&format!("{number}.h"), line);
    }
    let worker = Worker::start("");
    let cache = Cache::new().with("RCACHE_HOSTS", format!("{}/2", worker.address));
    same_as_compiler(&project, &cache, "gcc -c huge.c");
    let Some(distccd) = Distccd::start(2, "20 MB with distccd") else { return };
    let other = Cache::new().with("RCACHE_HOSTS", format!("{},lzo", distccd.host(2)));
    same_as_compiler(&project, &other, "gcc -c huge.c");
    let sent = (cache.stats().get("remote_compile"), other.stats().get("remote_compile"));
    assert_eq!(sent, (1, 1));
}

/// From whichever host it came, and in another folder where no output names it.
#[test]
fn the_second_build_is_all_hits() {
    let Some(distccd) = Distccd::start(2, "hits from all hosts") else { return };
    let worker = Worker::start("");
    let cache = Cache::new()
        .with("RCACHE_HOSTS", format!("{} {}/2", distccd.host(2), worker.address))
        .with("RCACHE_HASH_DIR", "true");
    let sources: Vec<(String, String)> = (0..12)
        .map(|n| {
            (format!("{n}.cc"), format!("#include \"a.h\"\nint f{n}() {{ return A + {n}; }}\n"))
        })
        .collect();
    let build = |options: &str| {
        let project = Project::new(&[("a.h", "#define A 3\n")]);
        sources.iter().for_each(|(name, text)| project.write(name, text));
        std::thread::scope(|scope| {
            for (name, _) in &sources {
                let (cache, project) = (&cache, &project);
                scope.spawn(move || {
                    let call = format!("g++ -O1 {options} -MD -c {name}");
                    cache.compile(project, call.as_str()).success();
                });
            }
        });
        let read = |(name, _): &(String, String)| project.read(&name.replace(".cc", ".o"));
        sources.iter().map(read).collect::<Vec<_>>()
    };
    let first = build("");
    let before = cache.stats();
    assert_eq!(before.get("remote_compile"), 12, "{}", before.0);
    assert!(build("") == first);
    assert_eq!(cache.endings_since(&before), "direct_cache_hit*12");
    // Debug information names the folder.
    let before = cache.stats();
    build("-g");
    build("-g");
    assert_eq!(cache.endings_since(&before), "cache_miss*24");
}

/// A compiler that notes when it works for a unit.
const COUNTING: &str = "#!/bin/sh
case \" $* \" in *' -### '*|*' -v '*|*' --version '*|*/dev/null*) exec /usr/bin/gcc \"$@\" ;; esac
echo + >>\"$COUNT\"
sleep 0.05
/usr/bin/gcc \"$@\"
status=$?
echo - >>\"$COUNT\"
exit $status
";

/// The most that were at work at one time.
fn most(log: &str) -> i32 {
    let mut now = 0;
    let steps = log.lines().map(|line| {
        now += if line == "+" { 1 } else { -1 };
        now
    });
    steps.max().unwrap_or(0)
}

#[test]
fn what_cannot_be_sent_does_not_crowd_this_machine() {
    const LOCAL_SLOTS: i32 = 3;
    let host = FakeHost::distccd(Exchange::answer);
    let project = Project::new(&[]);
    project.script("bin/gcc", COUNTING);
    let cache = Cache::new()
        .with("RCACHE_HOSTS", host.host(40))
        .with("RCACHE_LOCAL_SLOTS", LOCAL_SLOTS.to_string());
    let count = project.path("count");
    let path = format!("{}:{SYSTEM_PATH}", project.path("bin").display());
    std::thread::scope(|scope| {
        for number in 0..40 {
            let (cache, project) = (&cache, &project);
            let (count, path) = (count.clone(), path.clone());
            scope.spawn(move || {
                project.write(&format!("{number}.c"), format!("int f{number};\n"));
                // One in four can be sent: its preprocessor counts as well.
                let option = if number % 4 == 0 { "-O1" } else { "-fstack-usage" };
                let call = Call::from(format!("gcc {option} -MD -c {number}.c"));
                let call = call.env("COUNT", count).env("PATH", path);
                cache.compile(project, call).success();
            });
        }
    });
    let log = String::from_utf8(project.read("count")).unwrap();
    assert!(log.lines().count() >= 2 * 30, "{log}");
    assert!(most(&log) <= LOCAL_SLOTS, "{log}");
    let status = cache.rcache("daemon status --json").success();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let used = status["slots_used_most"].as_i64();
    assert!(used > Some(0) && used <= Some(i64::from(LOCAL_SLOTS)), "{status}");
    assert_eq!(cache.stats().get("local_compile"), 30);
}

/// Two builds of one user see the same slots.
#[test]
fn builds_share_the_slots_of_a_host() {
    const SLOTS: usize = 3;
    let host = FakeHost::distccd(|exchange| {
        std::thread::sleep(Duration::from_millis(100));
        exchange.answer();
    });
    let cache = Cache::new().with("RCACHE_HOSTS", host.host(SLOTS));
    let builds = [Project::new(&[]), Project::new(&[])];
    std::thread::scope(|scope| {
        for (build, project) in builds.iter().enumerate() {
            for number in 0..10 {
                let cache = &cache;
                scope.spawn(move || {
                    let name = format!("{number}.c");
                    project.write(&name, format!("int f{build}_{number};\n"));
                    cache.compile(project, format!("gcc -c {name}").as_str()).success();
                });
            }
        }
    });
    assert_eq!((host.jobs(), cache.stats().get("remote_compile")), (20, 20));
    assert!(host.running_most() <= SLOTS, "{}", host.running_most());
}

/// A host whose first job hangs, and whether its client left.
fn hanging_once() -> (FakeHost, Arc<AtomicBool>) {
    let left = Arc::new(AtomicBool::new(false));
    let jobs = AtomicUsize::new(0);
    let note = Arc::clone(&left);
    let host = FakeHost::distccd(move |exchange| {
        if jobs.fetch_add(1, Ordering::Relaxed) > 0 {
            return exchange.answer();
        }
        exchange.hang();
        note.store(true, Ordering::Relaxed);
    });
    (host, left)
}

#[test]
fn a_launcher_that_is_interrupted_takes_its_job_along() {
    let (host, left) = hanging_once();
    let project = project();
    let cache = Cache::new().with("RCACHE_HOSTS", host.host(1));
    let running = start(&mut cache.command(&project, &Call::from("gcc -c a.c")));
    wait_until("the job is there", PATIENCE, || host.jobs() == 1);
    process_group_interrupt(running.pid());
    assert_ne!(running.finish(LIMIT_CALL).status, 0);
    wait_until("the connection is closed", PATIENCE, || left.load(Ordering::Relaxed));
    // The only slot is free again, and nobody is to blame.
    cache.compile(&project, "gcc -c a.c").success();
    let stats = cache.stats();
    assert_eq!((stats.get("remote_compile"), stats.get("local_compile")), (1, 0));
    assert_eq!((stats.0["hosts"][0]["failed"].as_u64(), host.running_most()), (Some(0), 1));
}

#[test]
fn a_daemon_that_is_killed_costs_no_build() {
    let (host, left) = hanging_once();
    let project = project();
    project.plain("gcc -O1 -c a.c").success();
    let wanted = project.read("a.o");
    project.remove("a.o");
    let cache = Cache::new().with("RCACHE_HOSTS", host.host(1));
    let running = start(&mut cache.command(&project, &Call::from("gcc -O1 -c a.c")));
    wait_until("the job is there", PATIENCE, || host.jobs() == 1);
    let daemon = cache.daemon();
    kill(daemon);
    let outcome: Outcome = running.finish(LIMIT_CALL);
    assert_eq!((outcome.status, outcome.err().as_str()), (0, ""), "{outcome:?}");
    assert!(project.read("a.o") == wanted);
    wait_until("the connection is closed", PATIENCE, || left.load(Ordering::Relaxed));
    assert!(!is_alive(daemon));
    cache.compile(&project, "gcc -O1 -c a.c").success();
    assert!(project.read("a.o") == wanted);
    assert_eq!(cache.stats().get("remote_compile"), 1);
}

/// The silence of 12 s that ends a call is none while the worker says that the job waits.
#[test]
fn a_job_in_a_workers_queue_is_not_given_up() {
    const WAIT: Duration = Duration::from_secs(14);
    let worker = Worker::start_slow("--jobs 1");
    let other = worker.ask_slowly();
    worker.wait_for("running", 1);
    let project = Project::new(&[("a.c", C), ("inc/a.h", "#define TWICE(x) (x)\n")]);
    let caches =
        [(); 2].map(|()| Cache::new().with("RCACHE_HOSTS", format!("{}/4", worker.address)));
    let path = format!("{}/bin:{SYSTEM_PATH}", worker.root().display());
    let call =
        |output: &str| Call::from(format!("gcc -O1 -c a.c -o {output}")).env("PATH", path.clone());
    let running: Vec<_> = caches
        .iter()
        .zip(["1.o", "2.o"])
        .map(|(cache, output)| start(&mut cache.command(&project, &call(output))))
        .collect();
    worker.wait_for("queued", 2);
    std::thread::sleep(WAIT);
    assert_eq!(worker.metric("queued"), 2);
    worker.release();
    assert_eq!(other.answer().status, 0);
    for one in running {
        let outcome = one.finish(LIMIT_CALL);
        assert_eq!((outcome.status, outcome.err().as_str()), (0, ""), "{outcome:?}");
    }
    for cache in &caches {
        let stats = cache.stats();
        assert_eq!((stats.get("remote_compile"), stats.get("local_compile")), (1, 0));
    }
    run(&mut project.command_for(&call("0.o"), &[]), LIMIT_CALL).success();
    assert!(project.read("1.o") == project.read("0.o"));
    assert!(project.read("2.o") == project.read("0.o"));
}
