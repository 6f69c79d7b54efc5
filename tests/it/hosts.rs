//! `rcache hosts`: with a kubectl that a script plays, what it prints and how it fails.

use crate::support::{Cache, LIMIT_CALL, Outcome, SYSTEM_PATH, run, write_program};
use serde_json::Value;

/// What `kubectl get pods` answers: one worker that is ready, one whose image is not there.
const PODS: &str = r#"{ "apiVersion": "v1", "kind": "List", "items": [
  { "metadata": { "name": "rcache-worker-a" },
    "spec": { "nodeName": "k8vm0", "containers": [{ "name": "worker", "ports": [
      { "name": "distcc", "containerPort": 3632, "hostPort": 3632 } ] }] },
    "status": { "phase": "Running", "hostIP": "10.0.0.1",
      "conditions": [{ "type": "Ready", "status": "True" }] } },
  { "metadata": { "name": "rcache-worker-b" },
    "spec": { "nodeName": "k8n0", "containers": [{ "name": "worker", "ports": [
      { "name": "distcc", "containerPort": 3632, "hostPort": 3632 } ] }] },
    "status": { "phase": "Pending", "hostIP": "10.0.0.2",
      "conditions": [{ "type": "Ready", "status": "False" }],
      "containerStatuses": [{ "state": { "waiting": { "reason": "ImagePullBackOff" } } }] } } ] }"#;

/// What `kubectl get nodes` answers.
const NODES: &str = r#"{ "apiVersion": "v1", "kind": "List", "items": [
  { "metadata": { "name": "k8vm0" }, "spec": {},
    "status": { "capacity": { "cpu": "16" }, "conditions": [{ "type": "Ready", "status": "True" }] } },
  { "metadata": { "name": "k8n0" }, "spec": {},
    "status": { "capacity": { "cpu": "12" }, "conditions": [{ "type": "Ready", "status": "True" }] } } ] }"#;

/// Runs `rcache hosts --from-kubectl WORDS` where `kubectl` is this script; it also notes its words.
fn from_kubectl(cache: &Cache, script: &str, words: &str) -> Outcome {
    let kubectl = cache.bin().join("kubectl");
    std::fs::write(cache.bin().join("pods.json"), PODS).unwrap();
    std::fs::write(cache.bin().join("nodes.json"), NODES).unwrap();
    let text =
        format!("#!/bin/sh\ncd '{}'\necho \"$*\" >>words\n{script}\n", cache.bin().display());
    write_program(&kubectl, text);
    let mut command = cache.subcommand(&format!("hosts --from-kubectl {words}"));
    command.env("PATH", format!("{}:{SYSTEM_PATH}", cache.bin().display()));
    run(&mut command, LIMIT_CALL)
}

/// Answers by the kind that is asked for.
const ANSWERS: &str = "case \" $* \" in *' pods '*) cat pods.json ;; *) cat nodes.json ;; esac";

#[test]
fn the_hosts_of_a_cluster_can_go_into_the_settings() {
    let cache = Cache::new();
    let text = from_kubectl(&cache, ANSWERS, "").success().out();
    assert_eq!(
        text,
        "\
# 1 host, 16 slots
hosts = [
  \"10.0.0.1/16\",  # k8vm0
]
# skipped k8n0: its worker is not ready (ImagePullBackOff)
"
    );
    std::fs::create_dir_all(cache.root().join("config/rcache")).unwrap();
    std::fs::write(cache.root().join("config/rcache/rcache.toml"), text).unwrap();
    let settings = cache.rcache("config --json").success().out();
    assert!(settings.contains("10.0.0.1"), "{settings}");
}

#[test]
fn hosts_from_kubectl_in_json() {
    let answer = from_kubectl(&Cache::new(), ANSWERS, "--json").success();
    let answer: Value = serde_json::from_slice(&answer.stdout).expect("JSON");
    assert_eq!(answer["hosts"], serde_json::json!(["10.0.0.1/16"]));
    assert_eq!(answer["skipped"][0]["node"], "k8n0");
}

#[test]
fn kubectl_is_asked_for_the_named_cluster_and_pods() {
    let cache = Cache::new();
    let words = "--context prod --namespace builds --selector app=x";
    from_kubectl(&cache, ANSWERS, words).success();
    let asked = std::fs::read_to_string(cache.bin().join("words")).unwrap();
    let asked: Vec<&str> = asked.lines().collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked.iter().all(|words| words.starts_with("--context prod ")), "{asked:?}");
    assert!(asked[0].contains("get pods --namespace builds --selector app=x"), "{asked:?}");
    assert!(asked[1].contains("get nodes"), "{asked:?}");
}

#[test]
fn failures_of_kubectl_say_what_to_do() {
    let none_ready = ANSWERS.replace("cat pods.json", "sed s/True/False/ pods.json");
    let refused = "echo 'E1126 12:00:00 memcache.go' >&2; echo 'connection refused' >&2; exit 1";
    let cases = [
        (refused, "kubectl: connection refused", "--context"),
        ("echo '{\"items\": []}'", "no pod", "kubectl apply -k"),
        ("echo 'no JSON'", "no JSON", "kubectl"),
        (&none_ready, "can be used", "k8vm0: its worker is not ready"),
    ];
    for (script, what, remedy) in cases {
        let outcome = from_kubectl(&Cache::new(), script, "");
        let text = outcome.err();
        assert_eq!((outcome.status, outcome.out()), (1, String::new()), "{script}");
        assert!(text.contains(what) && text.contains(remedy), "{script}: {text}");
    }
}

#[test]
fn without_kubectl_it_is_asked_for() {
    let cache = Cache::new();
    let mut command = cache.subcommand("hosts --from-kubectl");
    command.env("PATH", cache.bin());
    let outcome = run(&mut command, LIMIT_CALL);
    assert_eq!(outcome.status, 1);
    assert!(outcome.err().contains("kubectl is not in PATH: install it"), "{outcome:?}");
}

#[test]
fn options_of_kubectl_need_it() {
    let cache = Cache::new();
    for words in ["hosts --context prod", "hosts --namespace x", "hosts --selector x"] {
        assert_eq!(cache.rcache(words).status, 2, "{words}");
    }
    cache.rcache("hosts --help").success();
}
