//! `rcache hosts --from-kubectl`: asks kubectl where the workers of a cluster run.

mod cluster;

use crate::cli::{Outcome, screen};
use cluster::Cluster;
use serde_json::{Value, json};
use std::io::{self, Read};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long kubectl may wait for the cluster's answer.
const REQUEST_SECONDS_MAX: u64 = 20;

/// How long kubectl may run: it may have to log in first.
const KUBECTL_MAX: Duration = Duration::from_secs(60);

/// The longest answer read; a node is described in about 10 KB.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Prints the setting `hosts` with the workers' nodes, and what was left out.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    let option = |name| options.get_one::<String>(name).map_or("", String::as_str);
    let (namespace, selector) = (option("namespace"), option("selector"));
    let kubectl = |words: &[&str]| -> Result<Value, Failure> {
        let mut command = Command::new("kubectl");
        if !option("context").is_empty() {
            command.args(["--context", option("context")]);
        }
        command.arg(format!("--request-timeout={REQUEST_SECONDS_MAX}s")).arg("get").args(words);
        let answer = answer_of(command.args(["--output", "json"]), KUBECTL_MAX)?;
        serde_json::from_slice(&answer).map_err(|error| Failure::Json(error.to_string()))
    };
    let pods = kubectl(&["pods", "--namespace", namespace, "--selector", selector]);
    let pods = pods.map_err(|failure| failure.with_remedy("pods", namespace))?;
    let nodes = kubectl(&["nodes"]).map_err(|failure| failure.with_remedy("nodes", namespace))?;

    let cluster = Cluster::read(&pods, &nodes);
    if cluster.hosts.is_empty() {
        return Err(nothing_usable(&cluster, namespace, selector));
    }
    match options.get_flag("json") {
        true => screen::print_json(&json!({
            "hosts": cluster.hosts.iter().map(|host| host.to_string()).collect::<Vec<_>>(),
            "skipped": cluster.skipped.iter()
                .map(|skipped| json!({ "node": skipped.node, "why": skipped.why }))
                .collect::<Vec<_>>(),
        })),
        false => screen::print(&cluster.render()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Why kubectl gave no answer.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    NotInstalled,
    NotStarted(String),
    TooLong,
    /// It failed, with this last line.
    Refused(String),
    Json(String),
}

impl Failure {
    fn with_remedy(self, what: &str, namespace: &str) -> String {
        match self {
            Failure::NotInstalled => "kubectl is not in PATH: install it, or write the addresses \
                of the nodes into `hosts` of rcache.toml yourself"
                .to_owned(),
            Failure::NotStarted(error) => format!("kubectl cannot be started: {error}"),
            Failure::TooLong => format!(
                "kubectl has not listed the {what} after {} s: does `kubectl get {what}` answer?",
                KUBECTL_MAX.as_secs()
            ),
            Failure::Refused(line) if line.contains("(Forbidden)") => format!(
                "kubectl: {line}\nrcache: needed are the rights to list pods in namespace \
                 {namespace} and nodes in the cluster"
            ),
            Failure::Refused(line) => format!(
                "kubectl: {line}\nrcache: `kubectl get {what}` must work first; --context and the \
                 variable KUBECONFIG choose the cluster"
            ),
            Failure::Json(error) => format!("kubectl's list of {what} is no JSON: {error}"),
        }
    }
}

fn nothing_usable(cluster: &Cluster, namespace: &str, selector: &str) -> String {
    if cluster.pods == 0 {
        return format!(
            "no pod with the label {selector} is in namespace {namespace}: `kubectl apply -k \
             k8s/overlays/…` starts the workers; --namespace, --selector and --context name others"
        );
    }
    let lines = cluster.skipped.iter().map(|skipped| format!("\nrcache:   {skipped}"));
    format!("no worker of namespace {namespace} can be used:{}", lines.collect::<String>())
}

/// Standard output of a command that succeeds within `limit`.
fn answer_of(command: &mut Command, limit: Duration) -> Result<Vec<u8>, Failure> {
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::NotInstalled,
        _ => Failure::NotStarted(error.to_string()),
    })?;
    let deadline = Instant::now() + limit;
    let stdout = read_aside(child.stdout.take());
    let stderr = read_aside(child.stderr.take());
    let read = [stdout, stderr]
        .map(|stream| stream.recv_timeout(deadline.saturating_duration_since(Instant::now())));
    let [Ok(stdout), Ok(stderr)] = read else {
        let _ = child.kill();
        let _ = child.wait();
        return match read.contains(&Err(RecvTimeoutError::Timeout)) {
            true => Err(Failure::TooLong),
            false => Err(Failure::NotStarted("its output cannot be read".to_owned())),
        };
    };
    // Both ends are closed, so that it has nothing left to do.
    let status = child.wait().map_err(|error| Failure::NotStarted(error.to_string()))?;
    match status.success() {
        true => Ok(stdout),
        false => Err(Failure::Refused(match last_line(&String::from_utf8_lossy(&stderr)) {
            "" => status.to_string(),
            line => line.to_owned(),
        })),
    }
}

/// Reads a stream in a thread of its own: one that is full must not block the other.
fn read_aside(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut content = Vec::new();
        let read = stream.map(|stream| stream.take(ANSWER_BYTES_MAX).read_to_end(&mut content));
        if let Some(Ok(_)) = read {
            let _ = sender.send(content);
        }
    });
    receiver
}

/// The message of kubectl; its log lines (`E1126 01:36:45.855890 …`) come before.
fn last_line(stderr: &str) -> &str {
    let line = stderr.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("");
    line.strip_prefix("error: ").unwrap_or(line)
}

#[cfg(test)]
mod tests;
