//! What `rcache top` looks like.

use super::*;
use serde_json::{from_value, json};

fn answer() -> Top {
    let answer = json!({
        "pid": 7, "uptime_s": 200,
        "counters": { "direct_cache_hit": 1_100, "preprocessed_cache_hit": 62, "cache_miss": 168,
                      "remote_compile": 150, "remote_failed": 3, "local_compile": 18 },
        "units": [
            { "source": "src/slow.cpp", "stage": "host", "host": "k8vm0:3632",
              "age_ms": 13_000, "stage_ms": 12_345 },
            { "source": "src/a.cpp", "stage": "local", "host": null,
              "age_ms": 1_000, "stage_ms": 900 },
            { "source": "src/b.cpp", "stage": "preprocessing", "host": null,
              "age_ms": 50, "stage_ms": 50 },
            { "source": "src/c.cpp", "stage": "waiting", "host": null,
              "age_ms": 400, "stage_ms": 300 },
            { "source": "src/d.cpp", "stage": "waiting_here", "host": null,
              "age_ms": 10, "stage_ms": 10 },
        ],
        "hosts": [
            { "host": "k8vm0:3632", "slots": 16, "in_flight": 4, "completed": 1_200, "failed": 0,
              "usable": true, "why_not": null },
            { "host": "k8n0:3632", "slots": 12, "in_flight": 0, "completed": 3, "failed": 2,
              "usable": false, "why_not": "cannot be reached: Connection refused" },
        ],
        "waiting": 1,
        "local": { "slots": 2, "in_flight": 2, "waiting": 1, "used_most": 2 },
    });
    from_value(answer).unwrap()
}

fn frame<'a>(answer: &'a Top, before: &'a Counters) -> Frame<'a> {
    Frame { answer, before, watched: Some(Duration::from_millis(63_900)), style: Style::Plain }
}

#[test]
fn the_whole_build() {
    assert_eq!(
        frame(&answer(), &Counters::default()).lines(Size::UNLIMITED).join("\n"),
        "\
rcache top  1 min 3 s; q ends
hit rate  87.3 % of 1 330  1 100 direct, 62 preprocessed, 168 misses
compiled  150 on hosts (3 again here), 18 on this machine
here      2/2 busy, 1 waits
hosts     4/16 busy, 1 waits, 1 of 2 usable
  k8vm0:3632     4/16   1 200 done
  k8n0:3632      0/12       3 done  2 failed  cannot be reached: Connection refused
units     5 under way
    12.3 s  k8vm0:3632             src/slow.cpp
     0.9 s  this machine           src/a.cpp
     0.1 s  preprocessing          src/b.cpp
     0.3 s  waits for a host       src/c.cpp
     0.0 s  waits for a slot here  src/d.cpp"
    );
}

#[test]
fn without_hosts_and_without_units() {
    let answer = from_value(json!({ "uptime_s": 5, "local": { "slots": 2 } })).unwrap();
    let nothing = Counters::default();
    let single = Frame { watched: None, ..frame(&answer, &nothing) };
    assert_eq!(
        single.lines(Size::UNLIMITED).join("\n"),
        "\
rcache top  since the daemon started, 5.0 s ago
hit rate  no cacheable calls yet
compiled  0 on hosts, 0 on this machine
here      0/2 busy
units     none under way"
    );
    assert_eq!(frame(&Top::default(), &nothing).lines(Size::UNLIMITED).len(), 5);
}

#[test]
fn counts_begin_with_the_view() {
    let before = json!({ "direct_cache_hit": 1_098, "preprocessed_cache_hit": 62,
                         "cache_miss": 160, "remote_compile": 150, "local_compile": 18 });
    let before = from_value(before).unwrap();
    let lines = frame(&answer(), &before).lines(Size::UNLIMITED);
    assert!(lines[1].contains("20.0 % of 10  2 direct, 0 preprocessed, 8 misses"), "{lines:?}");
    assert_eq!(lines[2], "compiled  0 on hosts (3 again here), 0 on this machine");
}

#[test]
fn every_size_is_kept_to() {
    let mut answer = answer();
    let unit = answer.units[0].clone();
    answer.units = std::iter::repeat_n(unit, 90).collect();
    let host = answer.hosts[1].clone();
    answer.hosts = std::iter::repeat_n(host, 40).collect();
    for rows in 0..120 {
        for columns in [1, 2, 7, 20, 80, 300] {
            let lines = frame(&answer, &Counters::default()).lines(Size { columns, rows });
            assert!(lines.len() <= rows, "{rows}: {lines:?}");
            assert!(lines.iter().all(|line| width(line) <= columns), "{columns}: {lines:?}");
        }
    }
}

#[test]
fn where_not_all_fits_it_is_said_how_much_is_missing() {
    let mut answer = answer();
    let unit = answer.units[0].clone();
    answer.units = std::iter::repeat_n(unit, 30).collect();
    let lines = frame(&answer, &Counters::default()).lines(Size { columns: 80, rows: 12 });
    assert_eq!(lines.len(), 12, "{lines:?}");
    assert!(lines[6].contains("k8n0"), "{lines:?}");
    assert_eq!(lines[7], "units     30 under way");
    assert_eq!(lines[11], "  and 27 more");
    let lines = frame(&answer, &Counters::default()).lines(Size { columns: 80, rows: 6 });
    assert_eq!(
        (lines[4].as_str(), lines[5].as_str()),
        ("hosts     4/16 busy, 1 waits, 1 of 2 usable", "units     30 under way")
    );
}

#[test]
fn a_terminal_gets_bars() {
    let (answer, nothing) = (answer(), Counters::default());
    let frame = Frame { style: Style::Terminal, ..frame(&answer, &nothing) };
    let lines = frame.lines(Size { columns: 100, rows: 40 });
    let filled = |line: &str| line.matches('█').count();
    assert_eq!((filled(&lines[3]), filled(&lines[5]), filled(&lines[6])), (24, 3, 0), "{lines:?}");
    assert!(lines[6].contains("\x1b[31m  cannot be reached"), "{lines:?}");
}

#[test]
fn blocks_share_the_room() {
    assert_eq!(shares(30, [3, 10]), [3, 10]);
    assert_eq!(shares(10, [3, 40]), [3, 7]);
    assert_eq!(shares(10, [40, 40]), [5, 5]);
    assert_eq!(shares(10, [40, 2]), [8, 2]);
    assert_eq!(shares(0, [40, 2]), [0, 0]);
    assert_eq!(shares(1, [40, 2]), [0, 1]);
}
