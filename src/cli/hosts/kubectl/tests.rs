//! The hosts of a cluster as `kubectl get --output json` describes it, and kubectl's failures.

use super::cluster::{Cluster, Host, Skipped};
use super::*;

/// A node as the API describes it, without what nobody asks for.
fn node(name: &str, address: &str, cpu: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": { "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux" },
        },
        "spec": { "podCIDR": "10.42.0.0/24", "providerID": format!("k3s://{name}") },
        "status": {
            "addresses": [
                { "address": address, "type": "InternalIP" },
                { "address": name, "type": "Hostname" },
            ],
            "allocatable": { "cpu": cpu, "memory": "32775364Ki", "pods": "110" },
            "capacity": { "cpu": cpu, "memory": "32877764Ki", "pods": "110" },
            "conditions": [
                { "type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory" },
                { "type": "Ready", "status": "True", "reason": "KubeletReady" },
            ],
            "nodeInfo": { "kubeletVersion": "v1.32.3", "operatingSystem": "linux" },
        },
    })
}

/// A worker's pod as the API describes it.
fn pod(node: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("rcache-worker-{node}"),
            "namespace": "devtools",
            "labels": { "app.kubernetes.io/name": "rcache-worker", "pod-template-generation": "1" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "rcache-worker" }],
        },
        "spec": {
            "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{ "matchFields": [
                    { "key": "metadata.name", "operator": "In", "values": [node] },
                ] }],
            } } },
            "containers": [{
                "name": "worker",
                "args": ["--metrics-port=3633"],
                "env": [{ "name": "ALLOW", "value": "10.0.0.0/8" }],
                "ports": [
                    { "name": "metrics", "containerPort": 3633, "protocol": "TCP" },
                    { "name": "distcc", "containerPort": 3632, "hostPort": 3632, "protocol": "TCP" },
                ],
                "resources": {},
            }],
            "nodeName": node,
        },
        "status": {
            "phase": "Running",
            "conditions": [
                { "type": "PodScheduled", "status": "True" },
                { "type": "Ready", "status": "True" },
            ],
            "containerStatuses": [{ "name": "worker", "ready": true, "state": { "running": {} } }],
            "hostIP": address,
            "podIP": "10.42.0.7",
        },
    })
}

fn items(members: &[Value]) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": members })
}

/// The cluster of one node and its pod, changed by `change`.
fn one(change: impl Fn(&mut Value, &mut Value)) -> Cluster {
    let (mut pod, mut node) = (pod("k8n0", "10.0.0.2"), node("k8n0", "10.0.0.2", "12"));
    change(&mut pod, &mut node);
    Cluster::read(&items(&[pod]), &items(&[node]))
}

fn skipped(node: &str, why: &str) -> Vec<Skipped> {
    vec![Skipped { node: node.to_owned(), why: why.to_owned() }]
}

#[test]
fn the_hosts_of_a_cluster_with_the_largest_first() {
    let mut control = node("k8s0", "10.0.0.9", "4");
    control["spec"]["taints"] =
        json!([{ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" }]);
    let nodes = [
        node("k8n0", "10.0.0.2", "12"),
        control,
        node("k8n1", "10.0.0.30", "12"),
        node("k8vm0", "10.0.0.1", "16"),
        node("spare", "10.0.0.4", "2"),
    ];
    let pods = [pod("k8n1", "10.0.0.30"), pod("k8n0", "10.0.0.2"), pod("k8vm0", "10.0.0.1")];
    let cluster = Cluster::read(&items(&pods), &items(&nodes));
    assert_eq!(
        cluster.render(),
        "\
# 3 hosts, 40 slots
hosts = [
  \"10.0.0.1/16\",   # k8vm0
  \"10.0.0.2/12\",   # k8n0
  \"10.0.0.30/12\",  # k8n1
]
# skipped k8s0: no worker runs there (taint node-role.kubernetes.io/control-plane:NoSchedule)
# skipped spare: no worker runs there
"
    );
}

#[test]
fn other_ports_and_address_families() {
    let cluster = one(|pod, _| {
        pod["status"]["hostIP"] = json!("fd00::2");
        pod["spec"]["containers"][0]["ports"][1]["hostPort"] = json!(3640);
    });
    assert_eq!(cluster.hosts[0].to_string(), "[fd00::2]:3640/12");
    // With the network of the host, the API fills in both ports.
    let cluster = one(|pod, _| {
        pod["spec"]["hostNetwork"] = json!(true);
        pod["spec"]["containers"][0]["ports"][0]["hostPort"] = json!(3633);
    });
    assert_eq!(cluster.hosts[0].to_string(), "10.0.0.2/12");
}

#[test]
fn slots_are_those_that_the_worker_counts() {
    let slots = |jobs: Value, limit: Value, cpu: Value| {
        let cluster = one(|pod, node| {
            let container = &mut pod["spec"]["containers"][0];
            container["env"] = json!([{ "name": "JOBS", "value": jobs }]);
            container["resources"] = json!({ "limits": { "cpu": limit } });
            node["status"]["capacity"]["cpu"] = cpu.clone();
        });
        cluster.hosts.first().map(|host| host.slots)
    };
    let none = Value::Null;
    assert_eq!(slots(none.clone(), none.clone(), json!("16")), Some(16));
    assert_eq!(slots(none.clone(), none.clone(), json!(16)), Some(16));
    assert_eq!(slots(none.clone(), none.clone(), json!("15890m")), Some(15));
    assert_eq!(slots(json!("20"), json!("4"), json!("16")), Some(20));
    assert_eq!(slots(json!(""), json!("4"), json!("16")), Some(4));
    assert_eq!(slots(json!("0"), json!("2500m"), json!("16")), Some(2));
    assert_eq!(slots(none.clone(), json!("0.5"), json!("16")), Some(1));
    assert_eq!(slots(none.clone(), json!("64"), json!("16")), Some(16));
    assert_eq!(slots(none.clone(), none.clone(), json!("many")), None);
    assert_eq!(slots(none.clone(), none.clone(), none), None);
}

#[test]
fn nodes_that_are_skipped_say_why() {
    type Change = fn(&mut Value, &mut Value);
    let cases: [(&str, Change); 8] = [
        ("the node is not ready", |_, node| {
            node["status"]["conditions"][1]["status"] = json!("Unknown");
        }),
        ("the node is cordoned", |_, node| node["spec"]["unschedulable"] = json!(true)),
        ("its worker is ending", |pod, _| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-11-26T01:00:00Z");
        }),
        ("its worker is not ready", |pod, _| {
            pod["status"]["conditions"][1]["status"] = json!("False");
        }),
        ("its worker is not ready (ImagePullBackOff)", |pod, _| {
            pod["status"]["conditions"][1]["status"] = json!("False");
            pod["status"]["containerStatuses"][0]["state"] =
                json!({ "waiting": { "reason": "ImagePullBackOff" } });
        }),
        ("its worker is not ready (Pending)", |pod, _| {
            pod["spec"]["nodeName"] = Value::Null;
            pod["status"] = json!({ "phase": "Pending" });
        }),
        ("its worker has no hostPort", |pod, _| {
            pod["spec"]["containers"][0]["ports"][1]["hostPort"] = Value::Null;
        }),
        ("its address is not known", |pod, _| pod["status"]["hostIP"] = Value::Null),
    ];
    for (why, change) in cases {
        let cluster = one(change);
        assert_eq!((cluster.hosts, cluster.skipped), (vec![], skipped("k8n0", why)), "{why}");
    }
}

#[test]
fn a_pod_on_a_node_that_left_is_no_host() {
    let cluster = Cluster::read(&items(&[pod("gone", "10.0.0.3")]), &items(&[]));
    assert_eq!(cluster.skipped, skipped("gone", "not in the list of nodes"));
}

#[test]
fn while_a_pod_replaces_another_the_node_counts_once() {
    let mut old = pod("k8n0", "10.0.0.2");
    old["metadata"]["deletionTimestamp"] = json!("2026-11-26T01:00:00Z");
    let new = pod("k8n0", "10.0.0.2");
    let nodes = items(&[node("k8n0", "10.0.0.2", "12")]);
    let host = Host { address: "10.0.0.2".into(), port: 3632, slots: 12, node: "k8n0".into() };
    for pods in [[old.clone(), new.clone()], [new.clone(), new]] {
        let cluster = Cluster::read(&items(&pods), &nodes);
        assert_eq!((cluster.hosts, cluster.skipped), (vec![host.clone()], vec![]));
    }
}

#[test]
fn json_of_another_shape_is_an_empty_cluster() {
    for value in [json!(null), json!([]), json!({ "items": 3 }), json!({ "items": [null, 3, {}] })]
    {
        assert_eq!(Cluster::read(&value, &value).hosts, vec![]);
    }
}

#[test]
fn a_cluster_without_hosts_says_what_to_do() {
    let text = nothing_usable(&Cluster::default(), "devtools", "app=x");
    assert!(text.contains("app=x") && text.contains("namespace devtools"), "{text}");
    assert!(text.contains("kubectl apply -k"), "{text}");
    let cluster = one(|_, node| node["spec"]["unschedulable"] = json!(true));
    let text = nothing_usable(&cluster, "devtools", "app=x");
    assert!(
        text.ends_with("devtools can be used:\nrcache:   k8n0: the node is cordoned"),
        "{text}"
    );
}

#[test]
fn failures_of_kubectl_come_with_a_remedy() {
    let shell = |script: &str| answer_of(Command::new("/bin/sh").args(["-c", script]), KUBECTL_MAX);
    assert_eq!(shell("echo '{}'"), Ok(b"{}\n".to_vec()));
    let refused =
        shell("echo 'E1126 01:36:45 memcache.go' >&2; echo 'error: no route' >&2; exit 1");
    assert_eq!(refused, Err(Failure::Refused("no route".to_owned())));
    let text = refused.unwrap_err().with_remedy("nodes", "devtools");
    assert!(text.contains("no route") && text.contains("--context"), "{text}");
    assert_eq!(shell("exit 3"), Err(Failure::Refused("exit status: 3".to_owned())));
    let forbidden = "Error from server (Forbidden): nodes is forbidden: User \"me\" cannot list";
    let text = Failure::Refused(forbidden.to_owned()).with_remedy("nodes", "devtools");
    assert!(text.contains(forbidden) && text.contains("rights to list pods"), "{text}");
    assert_eq!(
        answer_of(&mut Command::new("/nonexistent/kubectl"), KUBECTL_MAX),
        Err(Failure::NotInstalled)
    );
}

#[test]
fn a_kubectl_that_hangs_is_ended() {
    let mut hanging = Command::new("/bin/sleep");
    assert_eq!(answer_of(hanging.arg("1000"), Duration::from_millis(1)), Err(Failure::TooLong));
    let text = Failure::TooLong.with_remedy("nodes", "devtools");
    assert!(text.contains("kubectl get nodes"), "{text}");
}
