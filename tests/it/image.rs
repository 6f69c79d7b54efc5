//! The worker's image: what is in it, what it is allowed, and that it serves stock distcc clients.

use crate::support::{
    Call, Container, LIMIT_CALL, Outcome, Project, docker, have, skip, wait_until, worker_image,
};
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long one question to the metrics port may take.
const HTTP_MAX: Duration = Duration::from_secs(20);

/// The options under which Kubernetes runs it (k8s/base/daemonset.yaml).
const CONFINED: [&str; 5] =
    ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs", "/tmp"];

#[test]
fn the_compilers_and_the_worker_are_in_it() {
    let Some(image) = worker_image("the worker's image") else { return };
    let script = "id -u; rcache -V | cut -d' ' -f1-2; for name in gcc g++ cc c++ clang clang++; do
        echo 'int f(void) { return 3; }' | $name -x c - -c -o /tmp/o || echo \"$name fails\"; done";
    let options = ["run", "--rm", "--network=none", "--entrypoint=/bin/sh"];
    let words = [&options[..], &CONFINED, &[image, "-c", script]].concat();
    let version = format!("3632\nrcache {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(docker(&words).success().out(), version);
}

#[test]
fn its_settings_are_those_that_the_manifests_count_on() {
    let Some(image) = worker_image("the settings of the worker's image") else { return };
    let about = docker(&["image", "inspect", image]).success();
    let about: Value = serde_json::from_slice(&about.stdout).expect("JSON");
    let config = &about[0]["Config"];
    assert_eq!(config["User"], "3632:3632");
    assert_eq!(config["Entrypoint"], serde_json::json!(["rcache", "worker"]));
    assert_eq!(config["StopSignal"], "SIGTERM");
    for port in ["3632/tcp", "3633/tcp"] {
        assert!(config["ExposedPorts"][port].is_object(), "{port}: {config}");
    }
}

#[test]
fn a_new_binary_is_a_small_layer_above_the_rest() {
    let Some(image) = worker_image("the layers of the worker's image") else { return };
    let words = ["history", "--no-trunc", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}"];
    let history = docker(&[&words[..], &[image]].concat());
    let history = history.success().out();
    let (size, made_by) = history.lines().next().unwrap().split_once(' ').unwrap();
    assert!(made_by.contains("/opt/rcache"), "{history}");
    // The binary alone, here one that is not optimised.
    assert!(size.parse::<u64>().unwrap() < 96 << 20, "{history}");
    assert!(history.lines().skip(1).all(|line| !line.contains("COPY")), "{history}");
}

/// A worker that is ready, with its address; `networks` may use it.
fn worker(image: &str, networks: &str) -> (Container, String) {
    let allow = format!("--env=ALLOW={networks}");
    let options = [&CONFINED[..], &[&allow, "--env=JOBS=2"]].concat();
    let worker = Container::start(&options, image, &arguments_in_kubernetes());
    let address = worker.address();
    let is_ready = || get(&address, "/readyz").is_ok_and(|answer| answer.contains(" 200 "));
    wait_until("the worker is ready", LIMIT_CALL, is_ready);
    (worker, address)
}

/// The `args` of the DaemonSet: what the manifests ask for, the worker must know.
fn arguments_in_kubernetes() -> Vec<&'static str> {
    let set = include_str!("../../k8s/base/daemonset.yaml");
    let lines = set.lines().map(str::trim).skip_while(|line| *line != "args:").skip(1);
    let arguments: Vec<&str> = lines.map_while(|line| line.strip_prefix("- ")).collect();
    assert!(arguments.contains(&"--metrics-port=3633"), "{arguments:?}");
    arguments
}

/// What the worker's HTTP port answers.
fn get(address: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((address, 3633))?;
    stream.set_read_timeout(Some(HTTP_MAX))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Compiles by Debian's distcc on that host alone.
fn distcc(project: &Project, address: &str, line: &str) -> Outcome {
    let call = Call::from(format!("distcc {line}"));
    let call = call.env("DISTCC_HOSTS", address).env("DISTCC_FALLBACK", "0");
    let folder = project.beside("distcc");
    std::fs::create_dir_all(&folder).unwrap();
    project.plain(call.env("DISTCC_DIR", folder))
}

#[test]
fn a_worker_in_a_container_serves_distcc() {
    let Some(image) = worker_image("a worker in a container") else { return };
    if !have("distcc") {
        return skip("a worker in a container", "distcc is not installed");
    }
    let (worker, address) = worker(image, "0.0.0.0/0");
    let project =
        Project::new(&[("a.c", "int f(int x) { return x * 3; }\n"), ("b.cc", "int g;\n")]);
    for line in ["gcc -O2 -c a.c -o a.o", "g++ -c b.cc -o b.o"] {
        let outcome = distcc(&project, &address, line);
        assert!(outcome.ok(), "{outcome:?}\n{:?}", worker.docker("logs"));
    }
    assert!(project.exists("a.o") && project.exists("b.o"));
    let metrics = get(&address, "/metrics").unwrap();
    assert!(metrics.contains("\nrcache_worker_slots 2\n"), "JOBS counts: {metrics}");
    worker.docker("stop").success();
    assert_eq!(worker.inspect()["State"]["ExitCode"], 0, "{:?}", worker.docker("logs"));
}

#[test]
fn a_worker_in_a_container_serves_only_the_networks_of_allow() {
    let Some(image) = worker_image("the networks of a worker in a container") else { return };
    if !have("distcc") {
        return skip("the networks of a worker in a container", "distcc is not installed");
    }
    // Those that documents use (RFC 5737): no machine is in them.
    let (_worker, address) = worker(image, "192.0.2.0/24 198.51.100.0/24");
    let project = Project::new(&[("a.c", "int f;\n")]);
    assert!(!distcc(&project, &address, "gcc -c a.c -o a.o").ok());
    assert!(!project.exists("a.o"));
    let metrics = get(&address, "/metrics").unwrap();
    assert!(
        metrics.contains("\nrcache_worker_requests_total{outcome=\"denied\"} 1\n"),
        "{metrics}"
    );
}
