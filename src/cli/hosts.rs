//! `rcache hosts`: the cluster at a glance, or the setting `hosts` for a cluster of Kubernetes.

mod kubectl;

use super::screen::{self, Paint, Style, count};
use super::{Outcome, ask, number, text};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Shows each host as the daemon sees it; with `--from-kubectl`, the hosts of a cluster.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    if options.get_flag("from-kubectl") {
        return kubectl::run(options);
    }
    let answer = ask(json!({ "command": "hosts" }), true)?;
    match options.get_flag("json") {
        true => screen::print_json(&answer),
        false => screen::print(&render(&answer, Style::of_stdout())),
    }
    Ok(ExitCode::SUCCESS)
}

const NO_HOSTS: &str = "\
no hosts: units are compiled on this machine only
  -> name some: hosts = [\"k8vm0/16\", \"k8n0/12\"] in rcache.toml, or DISTCC_HOSTS
  -> `rcache hosts --from-kubectl` prints those of a Kubernetes cluster
";

fn render(answer: &Value, style: Style) -> String {
    let hosts = answer.get("hosts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if hosts.is_empty() {
        return NO_HOSTS.to_owned();
    }
    headline(hosts, style) + "\n" + &table(hosts, style)
}

/// How much of the cluster can be used, and how much of that is.
fn headline(hosts: &[Value], style: Style) -> String {
    let usable: Vec<&Value> = hosts.iter().filter(|host| is_usable(host)).collect();
    let sum = |pointer| usable.iter().map(|host| number(host, pointer)).sum::<u64>();
    let (slots, busy) = (sum("/slots"), sum("/in_flight"));
    let paint = match usable.len() {
        0 => Paint::Red,
        number if number == hosts.len() => Paint::Green,
        _ => Paint::Yellow,
    };
    let share = format!("{} of {} usable", usable.len(), hosts.len());
    format!(
        "{} {}, {}{} of {} slots busy\n",
        style.paint(Paint::Bold, "hosts"),
        style.paint(paint, &share),
        style.bar(busy, slots, Paint::Green),
        count(busy),
        count(slots)
    )
}

/// What stands above a column, and whether its cells are numbers.
const COLUMNS: [(&str, bool); 7] = [
    ("host", false),
    ("busy", true),
    ("done", true),
    ("failed", true),
    ("round trip", true),
    ("compiler", false),
    ("worker", false),
];

/// One line for each host; the last words say why it is not used.
fn table(hosts: &[Value], style: Style) -> String {
    let rows: Vec<[String; COLUMNS.len()]> = hosts.iter().map(cells).collect();
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([COLUMNS[column].0.len()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).zip(COLUMNS);
        let padded = padded.map(|((cell, width), (_, is_number))| match is_number {
            true => format!("{cell:>width$}"),
            false => format!("{cell:width$}"),
        });
        padded.collect::<Vec<_>>().join("  ")
    };

    let heading = line(COLUMNS.iter().map(|(name, _)| *name).collect()) + "  state";
    let mut shown = style.paint(Paint::Bold, &heading) + "\n";
    for (host, row) in hosts.iter().zip(&rows) {
        let state = match is_usable(host) {
            true => style.paint(Paint::Green, "usable"),
            false => style.paint(Paint::Red, why_not(host)),
        };
        let cells = line(row.iter().map(String::as_str).collect());
        shown.push_str(&format!("{cells}  {state}\n"));
    }
    shown
}

fn cells(host: &Value) -> [String; COLUMNS.len()] {
    let known = |pointer| match text(host, pointer) {
        "" | "unknown" => "-".to_owned(),
        known => known.to_owned(),
    };
    let round_trip = host.get("round_trip_us").and_then(Value::as_u64);
    [
        text(host, "/host").to_owned(),
        format!("{}/{}", number(host, "/in_flight"), number(host, "/slots")),
        count(number(host, "/completed")),
        count(number(host, "/failed")),
        round_trip.map_or("-".to_owned(), milliseconds),
        known("/compiler"),
        known("/worker"),
    ]
}

/// `0.12 ms` on a cable, `25.3 ms` far away.
fn milliseconds(microseconds: u64) -> String {
    match microseconds {
        0..10_000 => format!("{:.2} ms", microseconds as f64 / 1e3),
        _ => format!("{:.1} ms", microseconds as f64 / 1e3),
    }
}

fn is_usable(host: &Value) -> bool {
    host.get("usable").and_then(Value::as_bool).unwrap_or(false)
}

fn why_not(host: &Value) -> &str {
    match text(host, "/why_not") {
        "" => "not used",
        reason => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Value {
        json!({ "hosts": [
            { "host": "k8vm0:3632", "slots": 16, "in_flight": 3, "completed": 12_345, "failed": 0,
              "usable": true, "why_not": null, "compiler": "same", "round_trip_us": 123,
              "worker": "rcache 0.1.0" },
            { "host": "[fd00::2]:3640", "slots": 12, "in_flight": 0, "completed": 0, "failed": 2,
              "usable": false, "why_not": "its gcc is 13.2.0, this machine's is 12.2.0",
              "compiler": "other", "round_trip_us": 45_678, "worker": "distccd" },
            { "host": "k8n1:3632", "slots": 12, "in_flight": 0, "completed": 0, "failed": 1,
              "usable": false, "why_not": "connection refused; next try in 20 s",
              "compiler": "unknown", "round_trip_us": null, "worker": "unknown" },
        ] })
    }

    #[test]
    fn each_host_is_a_line_that_says_why_it_is_not_used() {
        assert_eq!(
            render(&answer(), Style::Plain),
            "\
hosts 1 of 3 usable, 3 of 16 slots busy

host            busy    done  failed  round trip  compiler  worker        state
k8vm0:3632      3/16  12 345       0     0.12 ms  same      rcache 0.1.0  usable
[fd00::2]:3640  0/12       0       2     45.7 ms  other     distccd       its gcc is 13.2.0, this machine's is 12.2.0
k8n1:3632       0/12       0       1           -  -         -             connection refused; next try in 20 s
"
        );
    }

    #[test]
    fn a_terminal_gets_colour_and_a_bar() {
        let shown = render(&answer(), Style::Terminal);
        for part in
            ["\x1b[33m1 of 3 usable\x1b[0m", "\x1b[32musable\x1b[0m", "█", "\x1b[31mits gcc"]
        {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        let mut answer = answer();
        let hosts = answer["hosts"].as_array_mut().unwrap();
        hosts.truncate(1);
        assert!(headline(hosts, Style::Terminal).contains("\x1b[32m1 of 1 usable"));
        hosts[0]["usable"] = json!(false);
        assert!(headline(hosts, Style::Terminal).contains("\x1b[31m0 of 1 usable"));
    }

    #[test]
    fn without_hosts_it_says_how_to_name_some() {
        for answer in [json!({ "hosts": [] }), json!({})] {
            assert_eq!(render(&answer, Style::Plain), NO_HOSTS);
        }
    }

    #[test]
    fn what_another_version_leaves_out_is_no_panic() {
        let shown = render(&json!({ "hosts": [{ "host": "a:1" }] }), Style::Plain);
        assert!(
            shown.ends_with("\na:1    0/0     0       0           -  -         -       not used\n")
        );
    }
}
