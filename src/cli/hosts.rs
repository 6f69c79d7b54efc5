//! `rcache hosts`: the cluster at a glance, or the setting `hosts` for a cluster of Kubernetes.

mod kubectl;

use super::screen::{self, Paint, Style, count};
use super::{Outcome, ask};
use std::process::ExitCode;
use talk::questions::{HostRow, Hosts, Likeness, Question};

/// Shows each host as the daemon sees it; with `--from-kubectl`, the hosts of a cluster.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    if options.get_flag("from-kubectl") {
        return kubectl::run(options);
    }
    let answer: Hosts = ask(&Question::Hosts, true)?;
    match options.get_flag("json") {
        true => screen::print_json(&answer),
        false => screen::print(&render(&answer.hosts, Style::of_stdout())),
    }
    Ok(ExitCode::SUCCESS)
}

const NO_HOSTS: &str = "\
no hosts: units are compiled on this machine only
  -> name some: hosts = [\"k8vm0/16\", \"k8n0/12\"] in rcache.toml, or DISTCC_HOSTS
  -> `rcache hosts --from-kubectl` prints those of a Kubernetes cluster
";

fn render(hosts: &[HostRow], style: Style) -> String {
    if hosts.is_empty() {
        return NO_HOSTS.to_owned();
    }
    headline(hosts, style) + "\n" + &table(hosts, style)
}

/// How much of the cluster can be used, and how much of that is.
fn headline(hosts: &[HostRow], style: Style) -> String {
    let usable: Vec<&HostRow> = hosts.iter().filter(|host| host.usable).collect();
    let sum = |of: fn(&HostRow) -> u64| usable.iter().map(|host| of(host)).sum::<u64>();
    let (slots, busy) = (sum(|host| host.slots), sum(|host| host.in_flight));
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
fn table(hosts: &[HostRow], style: Style) -> String {
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
        let state = match host.usable {
            true => style.paint(Paint::Green, "usable"),
            false => style.paint(Paint::Red, why_not(host)),
        };
        let cells = line(row.iter().map(String::as_str).collect());
        shown.push_str(&format!("{cells}  {state}\n"));
    }
    shown
}

fn cells(host: &HostRow) -> [String; COLUMNS.len()] {
    let unknown = || "-".to_owned();
    [
        host.host.clone(),
        format!("{}/{}", host.in_flight, host.slots),
        count(host.completed),
        count(host.failed),
        host.round_trip_us.map_or_else(unknown, milliseconds),
        match host.compiler {
            Likeness::Unknown => unknown(),
            known => known.name().to_owned(),
        },
        match host.worker.as_str() {
            "" | "unknown" => unknown(),
            known => known.to_owned(),
        },
    ]
}

/// `0.12 ms` on a cable, `25.3 ms` far away.
fn milliseconds(microseconds: u64) -> String {
    match microseconds {
        0..10_000 => format!("{:.2} ms", microseconds as f64 / 1e3),
        _ => format!("{:.1} ms", microseconds as f64 / 1e3),
    }
}

fn why_not(host: &HostRow) -> &str {
    host.why_not.as_deref().unwrap_or("not used")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    fn answer() -> Vec<HostRow> {
        let answer = json!([
            { "host": "k8vm0:3632", "slots": 16, "in_flight": 3, "completed": 12_345, "failed": 0,
              "usable": true, "why_not": null, "compiler": "same", "round_trip_us": 123,
              "worker": "rcache 0.1.0" },
            { "host": "[fd00::2]:3640", "slots": 12, "in_flight": 0, "completed": 0, "failed": 2,
              "usable": false, "why_not": "its gcc is 13.2.0, this machine's is 12.2.0",
              "compiler": "other", "round_trip_us": 45_678, "worker": "distccd" },
            { "host": "k8n1:3632", "slots": 12, "in_flight": 0, "completed": 0, "failed": 1,
              "usable": false, "why_not": "connection refused; next try in 20 s",
              "compiler": "unknown", "round_trip_us": null, "worker": "unknown" },
        ]);
        from_value(answer).unwrap()
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
        let mut hosts = answer();
        hosts.truncate(1);
        assert!(headline(&hosts, Style::Terminal).contains("\x1b[32m1 of 1 usable"));
        hosts[0].usable = false;
        assert!(headline(&hosts, Style::Terminal).contains("\x1b[31m0 of 1 usable"));
    }

    #[test]
    fn without_hosts_it_says_how_to_name_some() {
        assert_eq!(render(&[], Style::Plain), NO_HOSTS);
    }

    #[test]
    fn what_is_not_known_of_a_host_is_left_out() {
        let shown =
            render(&[HostRow { host: "a:1".to_owned(), ..HostRow::default() }], Style::Plain);
        assert!(
            shown.ends_with("\na:1    0/0     0       0           -  -         -       not used\n")
        );
    }
}
