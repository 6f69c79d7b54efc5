//! A cluster of containers that suffers accidents in the middle of a build.

use crate::support::{
    Cache, Container, LIMIT_BUILD, LIMIT_CALL, Project, Worker, docker, have, rcache_binary, run,
    skip, start, wait_until, worker_image, write_program,
};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Units of the project; enough to keep 40 jobs busy while the accidents happen.
const UNITS: usize = 120;

/// The build with all its accidents. A call waits 12 s for a paused node and 10 s for one that is cut
/// off, and is then tried on two more hosts at most.
const BUILD_MAX: Duration = Duration::from_secs(300);

/// How long an accident waits until the build is so far.
const PROGRESS_MAX: Duration = Duration::from_secs(200);

const MAKEFILE: &str = "\
SOURCES := $(wildcard *.cc)
OBJECTS := $(SOURCES:.cc=.o)
all: $(OBJECTS)
%.o: %.cc
\t$(LAUNCHER) g++ -O1 -Wall -MMD -MF $*.d -c $< -o $@
";

const HEADER: &str = "\
#pragma once
#include <cstdio>
#include <cstring>
template <int N> struct Shape {
    int sides[N];
    int around() const { int sum = 0; for (int side : sides) sum += side; return sum; }
};
#define NAMED(n) std::printf(\"%s %d\\n\", __FILE__, n)
";

fn unit(number: usize) -> String {
    let sides = 3 + number % 9;
    format!(
        "#include \"shape.h\"\nint unit{number}(const Shape<{sides}> &shape)\n{{\n    \
         NAMED({number});\n    return shape.around() + (int)std::strlen(\"unit {number}\");\n}}\n"
    )
}

fn project() -> Project {
    let project = Project::new(&[("Makefile", MAKEFILE), ("shape.h", HEADER)]);
    (0..UNITS).for_each(|number| project.write(&format!("unit{number}.cc"), unit(number)));
    project
}

fn objects(project: &Project) -> Vec<Vec<u8>> {
    (0..UNITS).map(|number| project.read(&format!("unit{number}.o"))).collect()
}

/// A node that is ready, by its address.
fn node(image: &str) -> (Container, String) {
    let options = ["--tmpfs", "/tmp", "--env=ALLOW=0.0.0.0/0", "--env=JOBS=2"];
    let node = Container::start(&options, image, &["--metrics-port=3633"]);
    let address = node.address();
    wait_until("the node listens", LIMIT_CALL, || {
        std::net::TcpStream::connect((address.as_str(), 3632)).is_ok()
    });
    (node, address)
}

#[test]
fn a_build_survives_the_loss_of_its_nodes() {
    let what = "a build on containers";
    let Some(image) = worker_image(what) else { return };
    if !have("make") {
        return skip(what, "make is not installed");
    }
    let ((k8vm0, first), (k8n0, second), (k8n1, third)) = (node(image), node(image), node(image));
    // Its compiler is another one: a script.
    let other = Worker::start_slow("");
    let bin = other.root().join("bin");
    write_program(&bin.join("g++"), "#!/bin/sh\nexec /usr/bin/g++ \"$@\"\n");
    let hosts = format!("{first}/16 {second}/12 {third}/12 {}/4", other.address);
    let cache = Cache::new().with("RCACHE_HOSTS", &hosts).with("RCACHE_REMOTE_TIMEOUT", "60s");
    let project = project();
    let launcher = format!("LAUNCHER={}", rcache_binary().display());
    let mut make = project.command("make");
    cache.adopt(make.args(["-j40", &launcher]));
    let started = Instant::now();
    let build = start(&mut make);
    let progress = |count: u64| {
        wait_until("the build goes on", PROGRESS_MAX, || {
            let stats = cache.stats();
            stats.get("remote_compile") + stats.get("local_compile") >= count
        });
    };
    progress(10);
    k8n0.docker("kill").success();
    progress(25);
    k8n1.signal("STOP").success();
    progress(40);
    docker(&["network", "disconnect", "bridge", k8vm0.id()]).success();
    let outcome = build.finish(LIMIT_BUILD);
    assert_eq!((outcome.status, outcome.err().as_str()), (0, ""), "{outcome:?}");
    assert!(started.elapsed() < BUILD_MAX, "{:?}", started.elapsed());
    let built = objects(&project);
    tell_the_story(&cache, &[&first, &second, &third, &other.address]);

    let stats = cache.stats();
    assert!(stats.get("remote_compile") >= 10, "{}", stats.0);
    assert_eq!(stats.get("remote_compile") + stats.get("local_compile"), UNITS as u64);
    k8n1.signal("CONT").success();
    (0..UNITS).for_each(|number| project.remove(&format!("unit{number}.o")));
    run(project.command("make").args(["-j4", "LAUNCHER="]), LIMIT_BUILD).success();
    assert!(objects(&project) == built);
}

/// What `rcache hosts` says of each of them: three are lost, the last has another compiler.
fn tell_the_story(cache: &Cache, addresses: &[&str]) {
    let answer = cache.rcache("hosts --json");
    let rows: Value = serde_json::from_slice(&answer.stdout).expect("JSON");
    let rows = rows["hosts"].as_array().or(rows.as_array()).expect("rows").clone();
    for (row, address) in rows.iter().zip(addresses) {
        assert!(row["host"].as_str().is_some_and(|host| host.starts_with(address)), "{row}");
    }
    for row in &rows[..3] {
        assert_eq!(row["usable"], false, "{row}");
        assert!(row["why_not"].as_str().is_some_and(|why| !why.is_empty()), "{row}");
    }
    assert_eq!(rows[3]["completed"], 0, "{}", rows[3]);
    let compilers = rows[3]["compilers"].as_array().expect("compilers");
    let cxx = compilers.iter().find(|compiler| compiler["name"] == "g++").expect("g++");
    assert_eq!(cxx["same"], false, "{cxx}");
    assert!(cxx["why_not"].as_str().is_some_and(|why| why.contains("g++")), "{cxx}");
}
