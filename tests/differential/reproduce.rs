//! Makes a difference small, and writes a shell script that shows it.

use crate::calls::Call;
use crate::stage::{Stage, Verdict};
use crate::tree::{JUST_NOW, Node, ROOT, Tree};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Earlier states that are tried as the one that left the wrong result.
const PARTNERS_MAX: usize = 40;

/// How long the daemon has to store a result before the next step.
const AFTER_STEP: Duration = Duration::from_millis(20);

/// How long a difference is made smaller.
const TIME_MAX: Duration = Duration::from_secs(150);

/// One state and the call made in it.
type Step = (Tree, Call);

/// A script for the difference at the end of `history`.
pub fn reproduce(history: &[Step], hosts: Option<&str>) -> String {
    let time = crate::number("SHRINK_SECONDS").map_or(TIME_MAX, Duration::from_secs);
    let deadline = Instant::now() + time;
    let Some((last, earlier)) = history.split_last() else { return String::new() };
    let alone = vec![last.clone()];
    if let Some(kind) = differs(&alone, hosts) {
        return script(&smaller(alone, &kind, hosts, deadline));
    }
    // Most need one earlier state, and that is mostly a recent one.
    let mut seen: Vec<&Step> = Vec::new();
    for partner in earlier.iter().rev().filter(|partner| *partner != last) {
        if Instant::now() > deadline {
            break;
        }
        if seen.contains(&partner) || seen.len() > PARTNERS_MAX {
            continue;
        }
        seen.push(partner);
        let pair = vec![partner.clone(), last.clone()];
        if let Some(kind) = differs(&pair, hosts) {
            return script(&smaller(pair, &kind, hosts, deadline));
        }
    }
    if let Some(kind) = differs(history, hosts) {
        return script(&smaller(history.to_vec(), &kind, hosts, deadline));
    }
    let from = history.len().saturating_sub(3);
    let unexplained = "# a replay does not show it; the last steps:\n".to_owned();
    unexplained + &script(&history[from..])
}

/// In which outputs the last of the steps differs, in an empty cache.
fn differs(steps: &[Step], hosts: Option<&str>) -> Option<BTreeSet<String>> {
    let mut stage = Stage::new(hosts);
    for (number, (tree, call)) in steps.iter().enumerate() {
        stage.show(tree, number as u64);
        if number + 1 < steps.len() {
            // It takes a moment until a result is there.
            stage.start_cached(call).wait().expect("the cache");
            std::thread::sleep(AFTER_STEP);
        }
    }
    stage.clean();
    match stage.judge(&steps.last()?.1) {
        Verdict::Differs(what) => Some(kind(&what)),
        _ => None,
    }
}

/// Which outputs differ, without how.
fn kind(what: &str) -> BTreeSet<String> {
    let parts = what.lines().filter_map(|line| line.split_once(':'));
    let parts = parts.filter(|(part, _)| part.contains('/') || matches!(*part, "status"));
    parts.map(|(part, _)| part.rsplit('.').next().unwrap_or(part).to_owned()).collect()
}

/// The steps without what can be left out.
fn smaller(
    mut steps: Vec<Step>,
    kind: &BTreeSet<String>,
    hosts: Option<&str>,
    deadline: Instant,
) -> Vec<Step> {
    let attempt = |steps: &mut Vec<Step>, candidate: Vec<Step>| {
        let differs = candidate != *steps
            && Instant::now() < deadline
            && differs(&candidate, hosts).as_ref() == Some(kind);
        if differs {
            *steps = candidate;
        }
        differs
    };
    let mut length = steps.len() / 2;
    while length > 0 {
        let mut at = 0;
        while at + length < steps.len() {
            let candidate = [&steps[..at], &steps[at + length..]].concat();
            at += if attempt(&mut steps, candidate) { 0 } else { length };
        }
        length /= 2;
    }
    let paths: BTreeSet<String> = steps.iter().flat_map(|(tree, _)| tree.keys().cloned()).collect();
    // Whole folders first, and the second checkout before all.
    let whole = ["v", "w/inc1", "w/inc2", "w/inc3", "w/sys1"].map(str::to_owned);
    for path in whole.into_iter().chain(paths.into_iter().rev()) {
        let mut candidate = steps.clone();
        for (tree, _) in &mut candidate {
            let below = format!("{path}/");
            tree.retain(|other, _| *other != path && !other.starts_with(&below));
        }
        let has_folder = candidate
            .iter()
            .all(|(tree, call)| call.folder.is_empty() || tree.contains_key(&call.folder));
        if has_folder {
            attempt(&mut steps, candidate);
        }
    }
    let groups: BTreeSet<Vec<String>> =
        steps.iter().flat_map(|(_, call)| call.groups.iter().cloned()).collect();
    for group in groups {
        let mut candidate = steps.clone();
        for (_, call) in &mut candidate {
            call.groups.retain(|other| *other != group);
        }
        attempt(&mut steps, candidate);
    }
    let variables: BTreeSet<String> = steps
        .iter()
        .flat_map(|(_, call)| call.variables.iter().map(|pair| pair.0.clone()))
        .collect();
    for name in variables {
        let mut candidate = steps.clone();
        for (_, call) in &mut candidate {
            call.variables.retain(|(other, _)| *other != name);
        }
        attempt(&mut steps, candidate);
    }
    let lines: BTreeSet<String> =
        steps.iter().flat_map(|(tree, _)| tree.values().flat_map(lines_of)).collect();
    for line in lines {
        let mut candidate = steps.clone();
        for (tree, _) in &mut candidate {
            tree.values_mut().for_each(|node| leave_out(node, &line));
        }
        attempt(&mut steps, candidate);
    }
    steps
}

fn lines_of(node: &Node) -> Vec<String> {
    match node {
        Node::File { bytes, .. } => {
            String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

fn leave_out(node: &mut Node, line: &str) {
    let Node::File { bytes, modified_ns } = node else { return };
    let text = String::from_utf8_lossy(bytes).into_owned();
    if text.lines().any(|other| other == line) {
        let kept: String = text
            .split_inclusive('\n')
            .filter(|other| other.trim_end_matches('\n') != line)
            .collect();
        *node = Node::file(kept, *modified_ns);
    }
}

const HEAD: &str = r#"#!/bin/bash
set -u
cache=${1:-rcache}
top=$(mktemp -d)
export HOME=$top TMPDIR=$top XDG_RUNTIME_DIR=$top RCACHE_DIR=$top/cache CCACHE_DIR=$top/cache DISTCC_HOSTS=${2:-}
root=$top/p
file() { # content path time
  printf '%s' "$1" >"$root/$2"; touch -d "@$3" "$root/$2"
}
mkdir "$root"
"#;

/// The steps as a script. Its arguments are the cache under test, and its host list.
fn script(steps: &[Step]) -> String {
    let mut text = HEAD.to_owned();
    let mut old = Tree::new();
    for (number, (tree, call)) in steps.iter().enumerate() {
        let _ = writeln!(text, "\n# state {}", number + 1);
        tree_lines(&mut text, &old, tree);
        let _ = writeln!(text, "{}", call_line(call, "\"$cache\" "));
        old = tree.clone();
    }
    if let Some((_, call)) = steps.last() {
        text.push_str("cp -a \"$root\" \"$top/cached\"\n");
        let _ = writeln!(text, "{}", call_line(call, ""));
        text.push_str("diff -r \"$top/cached\" \"$root\" && echo same files\n");
        text.push_str("\"$cache\" daemon stop\nrm -r \"$top\"\n");
    }
    text
}

fn tree_lines(text: &mut String, old: &Tree, new: &Tree) {
    for path in old.keys().rev().filter(|path| !new.contains_key(*path)) {
        let _ = writeln!(text, "rm -r \"$root/{path}\"");
    }
    for (path, node) in new.iter().filter(|(path, node)| old.get(*path) != Some(*node)) {
        let _ = match node {
            Node::Folder => writeln!(text, "mkdir \"$root/{path}\""),
            Node::Link(target) => {
                writeln!(text, "ln -sfn \"{}\" \"$root/{path}\"", target.replace(ROOT, "$root"))
            }
            Node::File { bytes, modified_ns } => {
                let content = String::from_utf8_lossy(bytes).replace('\'', "'\\''");
                let time =
                    format!("{}.{:09}", modified_ns / 1_000_000_000, modified_ns % 1_000_000_000);
                let time = if *modified_ns == JUST_NOW { "$(date +%s.%N)" } else { &time };
                writeln!(text, "file '{content}' {path} {time}")
            }
        };
    }
}

fn call_line(call: &Call, cache: &str) -> String {
    let quoted = |word: &String| format!("\"{}\"", word.replace('$', "\\$").replace(ROOT, "$root"));
    let variables = call.variables.iter();
    let variables: String =
        variables.map(|(name, value)| format!("{name}={} ", quoted(value))).collect();
    let words: Vec<String> = call.words().map(quoted).collect();
    let wrapper = call.setting.wrapper().filter(|_| !cache.is_empty());
    let wrapper = wrapper.map(|word| format!("{word} ")).unwrap_or_default();
    format!(
        "(umask {:o}; cd \"$root/{}\" && set -- env {variables}{cache}{wrapper}{} {} && {}); echo status $?",
        call.umask,
        call.folder,
        call.driver,
        words.join(" "),
        call.setting.line().replace(ROOT, "$root")
    )
}
