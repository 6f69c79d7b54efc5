//! Which nodes of a cluster are hosts, from what `kubectl get` says of pods and nodes.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// distcc's port, which a host list leaves out.
const PORT: u64 = 3632;

/// A worker that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The node's address.
    pub address: String,
    /// The port on the node.
    pub port: u64,
    /// How many units it compiles at a time.
    pub slots: u64,
    /// The node's name.
    pub node: String,
}

impl fmt::Display for Host {
    /// In distcc's syntax.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.contains(':') {
            true => write!(f, "[{}]", self.address)?,
            false => write!(f, "{}", self.address)?,
        }
        if self.port != PORT {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/{}", self.slots)
    }
}

/// A node that is no host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Its name.
    pub node: String,
    /// The reason.
    pub why: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.node, self.why)
    }
}

/// What a cluster has to offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The hosts, those with the most slots first.
    pub hosts: Vec<Host>,
    /// The nodes that are none.
    pub skipped: Vec<Skipped>,
    /// How many pods of workers there are.
    pub pods: usize,
}

impl Cluster {
    /// Reads the lists of the workers' pods and of all nodes.
    pub fn read(pods: &Value, nodes: &Value) -> Cluster {
        let nodes: BTreeMap<&str, &Value> =
            items(nodes).iter().map(|node| (text(node, "/metadata/name"), node)).collect();
        let mut cluster = Cluster { pods: items(pods).len(), ..Cluster::default() };
        let mut with_pod = BTreeSet::new();
        for pod in items(pods) {
            let name = match text(pod, "/spec/nodeName") {
                "" => intended_node(pod),
                name => name,
            };
            with_pod.insert(name);
            match host(pod, name, nodes.get(name).copied()) {
                Ok(host) => cluster.hosts.push(host),
                Err(why) => cluster.skipped.push(Skipped { node: name.to_owned(), why }),
            }
        }
        for (name, node) in nodes.iter().filter(|(name, _)| !with_pod.contains(*name)) {
            cluster.skipped.push(Skipped { node: (*name).to_owned(), why: without_pod(node) });
        }
        let rank = |host: &Host| (std::cmp::Reverse(host.slots), host.node.clone(), host.port);
        cluster.hosts.sort_by_key(rank);
        cluster.skipped.sort();
        // While a pod replaces another there are two for a while.
        cluster.hosts.dedup_by(|a, b| (&a.address, a.port) == (&b.address, b.port));
        let in_use: BTreeSet<&str> = cluster.hosts.iter().map(|host| &*host.node).collect();
        cluster.skipped.retain(|skipped| !in_use.contains(&*skipped.node));
        cluster
    }

    /// Lines for rcache.toml.
    pub fn render(&self) -> String {
        let slots: u64 = self.hosts.iter().map(|host| host.slots).sum();
        let mut shown = match self.hosts.len() {
            1 => "# 1 host".to_owned(),
            number => format!("# {number} hosts"),
        };
        shown.push_str(&format!(", {slots} slots\nhosts = [\n"));
        let entries: Vec<String> = self.hosts.iter().map(|host| format!("\"{host}\",")).collect();
        let width = entries.iter().map(String::len).max().unwrap_or(0);
        for (entry, host) in entries.iter().zip(&self.hosts) {
            shown.push_str(&format!("  {entry:width$}  # {}\n", host.node));
        }
        shown.push_str("]\n");
        shown.extend(self.skipped.iter().map(|skipped| format!("# skipped {skipped}\n")));
        shown
    }
}

/// The host that a pod makes of its node, or why it makes none.
fn host(pod: &Value, name: &str, node: Option<&Value>) -> Result<Host, String> {
    if name.is_empty() {
        return Err(format!("pod {} is on no node yet", text(pod, "/metadata/name")));
    }
    let node = node.ok_or("not in the list of nodes")?;
    if !has_condition(node, "Ready") {
        return Err("the node is not ready".to_owned());
    }
    if node.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        return Err("the node is cordoned".to_owned());
    }
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return Err("its worker is ending".to_owned());
    }
    if !has_condition(pod, "Ready") {
        return Err(format!("its worker is not ready{}", state(pod)));
    }
    let (container, port) = host_port(pod).ok_or("its worker has no hostPort")?;
    let address = text(pod, "/status/hostIP");
    if address.is_empty() {
        return Err("its address is not known".to_owned());
    }
    let slots = slots(container, node).ok_or("its number of cores is not known")?;
    Ok(Host { address: address.to_owned(), port, slots, node: name.to_owned() })
}

/// The container that listens on the node for distcc's protocol, and the port there.
fn host_port(pod: &Value) -> Option<(&Value, u64)> {
    let containers = pod.pointer("/spec/containers")?.as_array()?;
    let ports = containers.iter().flat_map(|container| {
        list(container, "/ports").iter().filter_map(move |port| {
            let on_node = port.get("hostPort").and_then(Value::as_u64).filter(|port| *port > 0)?;
            Some((container, port, on_node))
        })
    });
    let is_distcc = |port: &Value| {
        text(port, "/name") == "distcc" || port.get("containerPort") == Some(&PORT.into())
    };
    let mut ports = ports.filter(|(_, port, _)| is_distcc(port));
    ports.next().map(|(container, _, on_node)| (container, on_node))
}

/// As the worker counts them: JOBS if set, else the cores that it may use.
fn slots(container: &Value, node: &Value) -> Option<u64> {
    let jobs = list(container, "/env").iter().find(|variable| text(variable, "/name") == "JOBS");
    if let Some(jobs) = jobs.and_then(|jobs| text(jobs, "/value").trim().parse().ok())
        && jobs > 0
    {
        return Some(jobs);
    }
    let cores = cores(node.pointer("/status/capacity/cpu")?)?;
    let limit = container.pointer("/resources/limits/cpu").and_then(self::cores);
    Some(limit.map_or(cores, |limit| limit.min(cores)).max(1))
}

/// Whole cores of a quantity: `16`, `"16"`, `"7910m"`, `"2.5"`.
fn cores(quantity: &Value) -> Option<u64> {
    let quantity = match quantity {
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    match quantity.strip_suffix('m') {
        Some(thousandths) => thousandths.parse::<u64>().ok().map(|number| number / 1000),
        None => quantity.split('.').next()?.parse().ok(),
    }
}

/// Why a node may have no worker: the taints that keep it away.
fn without_pod(node: &Value) -> String {
    let taints = list(node, "/spec/taints")
        .iter()
        .filter(|taint| matches!(text(taint, "/effect"), "NoSchedule" | "NoExecute"));
    let taints: Vec<String> =
        taints.map(|taint| format!("{}:{}", text(taint, "/key"), text(taint, "/effect"))).collect();
    match taints.is_empty() {
        true => "no worker runs there".to_owned(),
        false => format!("no worker runs there (taint {})", taints.join(", ")),
    }
}

/// What a pod that is not ready waits for: ` (ImagePullBackOff)`.
fn state(pod: &Value) -> String {
    let containers = list(pod, "/status/containerStatuses").iter();
    let mut reasons = containers.filter_map(|container| {
        let reason = |pointer| Some(text(container, pointer)).filter(|reason| !reason.is_empty());
        reason("/state/waiting/reason").or_else(|| reason("/state/terminated/reason"))
    });
    match (reasons.next(), text(pod, "/status/phase")) {
        (Some(reason), _) => format!(" ({reason})"),
        (None, "" | "Running") => String::new(),
        (None, phase) => format!(" ({phase})"),
    }
}

/// A pod of a DaemonSet that waits for its node names it in its affinity.
fn intended_node(pod: &Value) -> &str {
    let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution\
                 /nodeSelectorTerms/0/matchFields/0/values/0";
    text(pod, terms)
}

fn has_condition(object: &Value, kind: &str) -> bool {
    let mut conditions = list(object, "/status/conditions").iter();
    conditions.any(|it| text(it, "/type") == kind && text(it, "/status") == "True")
}

fn items(value: &Value) -> &[Value] {
    list(value, "/items")
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}
