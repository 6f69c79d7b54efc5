//! The manifests below k8s/: they match the schemas of Kubernetes, render, and agree with the image.

use crate::support::{Cache, LIMIT_CALL, Outcome, SYSTEM_PATH, have, run, skip};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Kubernetes versions whose schemas are asked: an old one that clusters still run, and a new one.
const KUBERNETES_VERSIONS: [&str; 2] = ["1.28", "1.34"];

/// The first kubectl whose kustomize knows every field that the overlays use (1.27 has 5.0).
const KUBECTL_MINOR_MIN: u64 = 27;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    let path = repository().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn members(folder: &str) -> Vec<PathBuf> {
    let folder = repository().join(folder);
    let members = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut members: Vec<PathBuf> = members.map(|entry| entry.unwrap().path()).collect();
    members.sort();
    members
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// What follows `key` in each line that starts with it, or with `- ` and it.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches("- "));
    lines.filter_map(|line| line.strip_prefix(key)).map(str::trim).collect()
}

/// The program that has the schemas: `tests/run` puts it below target/.
fn validator(what: &str) -> Option<PathBuf> {
    let program = repository().join("target/kubernetes-validate/bin/kubernetes-validate");
    if !program.exists() {
        skip(what, "the Python package kubernetes-validate is not below target/ (see tests/run)");
        return None;
    }
    Some(program)
}

/// `kubectl kustomize` of each overlay, with its name.
fn rendered_overlays(what: &str) -> Vec<(String, String)> {
    if !have("kubectl") {
        skip(what, "kubectl is not installed");
        return Vec::new();
    }
    let kubectl = |words: &[&str]| {
        let mut command = Command::new("kubectl");
        run(command.args(words).env("PATH", SYSTEM_PATH), LIMIT_CALL).success()
    };
    let version = kubectl(&["version", "--client", "--output", "json"]);
    let version: Value = serde_json::from_slice(&version.stdout).expect("JSON");
    let minor = version["clientVersion"]["minor"].as_str().unwrap_or("").trim_end_matches('+');
    if minor.parse().is_ok_and(|minor: u64| minor < KUBECTL_MINOR_MIN) {
        skip(what, &format!("kubectl 1.{minor} is older than 1.{KUBECTL_MINOR_MIN}"));
        return Vec::new();
    }
    let overlays = members("k8s/overlays");
    assert!(overlays.len() >= 3, "{overlays:?}");
    let render = |overlay: &PathBuf| kubectl(&["kustomize", overlay.to_str().unwrap()]).out();
    overlays.iter().map(|overlay| (file_name(overlay), render(overlay))).collect()
}

#[test]
fn each_object_matches_the_schemas() {
    let Some(validator) = validator("manifests against the schemas") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let mut files = members("k8s/base");
    files.extend(members("k8s/valkey"));
    files.retain(|file| file_name(file) != "kustomization.yaml");
    for (name, text) in rendered_overlays("rendered manifests against the schemas") {
        let file = scratch.path().join(format!("{name}.yaml"));
        std::fs::write(&file, text).unwrap();
        files.push(file);
    }
    let validate = |files: &[PathBuf], version: &str| {
        let mut command = Command::new(&validator);
        command.args(["--strict", "--kubernetes-version", version]).args(files);
        run(&mut command, LIMIT_CALL)
    };
    for version in KUBERNETES_VERSIONS {
        validate(&files, version).success();
    }
    // A check that finds nothing wrong must be able to.
    for (right, wrong) in [("hostPort: 3632", "hostPort: many"), ("resources:", "resource:")] {
        let text = read("k8s/base/daemonset.yaml");
        assert!(text.contains(right), "{right}");
        let file = scratch.path().join("wrong.yaml");
        std::fs::write(&file, text.replace(right, wrong)).unwrap();
        assert!(!validate(&[file], KUBERNETES_VERSIONS[0]).ok(), "{wrong}");
    }
}

#[test]
fn each_overlay_is_the_base_with_an_image_of_its_own() {
    for (name, text) in rendered_overlays("overlays of the manifests") {
        let kinds = values(&text, "kind:");
        for kind in [
            "Namespace",
            "DaemonSet",
            "Service",
            "NetworkPolicy",
            "PodDisruptionBudget",
            "PriorityClass",
        ] {
            assert!(kinds.contains(&kind), "{kind} in {name}: {text}");
        }
        let image = format!("registry.example.com/rcache-worker:{name}");
        assert_eq!(values(&text, "image:"), [image.as_str()], "{name}");
        assert!(
            read(&format!("k8s/overlays/{name}/kustomization.yaml")).contains(&image),
            "{name}"
        );
        for namespace in values(&text, "namespace:") {
            assert_eq!(namespace, "devtools", "{name}");
        }
    }
}

#[test]
fn the_manifests_agree_with_the_image() {
    let (image, set) = (read("Dockerfile"), read("k8s/base/daemonset.yaml"));
    assert_eq!(values(&image, "EXPOSE"), ["3632 3633"]);
    assert_eq!(values(&set, "containerPort:"), ["3632", "3633"]);
    assert_eq!(values(&set, "hostPort:"), ["3632"], "only distcc's port is open on a node");
    assert_eq!(values(&set, "--metrics-port="), ["3633"]);
    for name in ["service", "networkpolicy"] {
        assert_eq!(values(&read(&format!("k8s/base/{name}.yaml")), "port:"), ["3632", "3633"]);
    }
    let user = values(&set, "runAsUser:")[0];
    assert_eq!(values(&image, "USER"), [format!("{user}:{user}")]);
    assert!(image.contains(&format!("--uid {user}")));
}

#[test]
fn the_networks_that_may_compile_are_the_same_twice() {
    let set = read("k8s/base/daemonset.yaml");
    let allowed = set.split("name: ALLOW").nth(1).expect("ALLOW is set");
    let allowed: Vec<&str> = values(allowed, "value:")[0].split(' ').collect();
    assert_eq!(values(&read("k8s/base/networkpolicy.yaml"), "cidr:"), allowed);
    assert!(!allowed.contains(&"0.0.0.0/0"));
}

#[test]
fn workers_reserve_nothing_and_have_few_rights() {
    let set = read("k8s/base/daemonset.yaml");
    assert_eq!(values(&set, "resources:"), ["{}"]);
    for line in [
        "runAsNonRoot: true",
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "automountServiceAccountToken: false",
        "type: RuntimeDefault",
        "- ALL",
    ] {
        assert!(set.lines().any(|it| it.trim() == line), "{line}");
    }
}

#[test]
fn kubectls_hosts_are_looked_for_where_the_manifests_put_them() {
    let help = Cache::new().rcache("hosts --help").success().out();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let set = read("k8s/base/daemonset.yaml");
    let namespace = values(&set, "namespace:")[0];
    assert!(help.contains(&format!("[default: {namespace}]")), "{help}");
    let (key, value) = ("app.kubernetes.io/name", "rcache-worker");
    assert_eq!(values(&set, &format!("{key}:")), [value; 3]);
    assert!(help.contains(&format!("[default: {key}={value}]")), "{help}");
}

/// What helm makes of the chart with these words after `template`.
fn chart(what: &str, words: &[&str]) -> Option<Outcome> {
    let helm = repository().join("target/tools/helm");
    if !helm.exists() {
        skip(what, "helm is not below target/ (see tests/run)");
        return None;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(helm);
    command.args(["template", "rcache-worker", "helm/rcache-worker", "--namespace", "devtools"]);
    command.args(words).current_dir(repository()).env("HOME", scratch.path());
    Some(run(&mut command, LIMIT_CALL))
}

#[test]
fn the_chart_matches_the_schemas() {
    let what = "the chart against the schemas";
    let (Some(validator), Some(rendered)) = (validator(what), chart(what, &[])) else { return };
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("chart.yaml");
    std::fs::write(&file, rendered.success().out()).unwrap();
    for version in KUBERNETES_VERSIONS {
        let mut command = Command::new(&validator);
        command.args(["--strict", "--kubernetes-version", version]).arg(&file);
        run(&mut command, LIMIT_CALL).success();
    }
    for wrong in ["nice=20", "port=0", "allow[0]=everybody", "jobs=some", "image.tag="] {
        let rendered = chart(what, &["--set", wrong]).unwrap();
        assert!(!rendered.ok(), "the values' schema refuses {wrong}");
    }
}

#[test]
fn the_chart_makes_the_same_worker_as_the_manifests() {
    let Some(rendered) = chart("the chart beside the manifests", &[]) else { return };
    let chart = rendered.success().out();
    let set = read("k8s/base/daemonset.yaml");
    for key in ["containerPort:", "hostPort:", "runAsUser:", "terminationGracePeriodSeconds:"] {
        assert_eq!(values(&chart, key), values(&set, key), "{key}");
    }
    for argument in ["--metrics-port=", "--nice=", "--drain-timeout="] {
        assert_eq!(values(&chart, argument), values(&set, argument), "{argument}");
    }
    assert!(chart.contains(&format!("value: \"{}\"", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16")));
    assert_eq!(values(&chart, "cidr:"), values(&read("k8s/base/networkpolicy.yaml"), "cidr:"));
    for kind in ["DaemonSet", "Service", "NetworkPolicy", "PodDisruptionBudget", "PriorityClass"] {
        assert!(values(&chart, "kind:").contains(&kind), "{kind}");
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(values(&read("helm/rcache-worker/Chart.yaml"), "appVersion:"), [version]);
}
