//! What `rcache stats` looks like.

use super::*;
use serde_json::{Value, from_value, json};
use talk::questions::Culprit;

/// Three hours and 25 minutes after the counters were set to 0.
const NOW: u64 = 1_795_502_300;

fn answer(counters: Value) -> Stats {
    let answer = json!({
        "version": "0.1.0",
        "counters": counters,
        "store": {
            "bytes": 1_250_000_000, "files": 3_456, "max_bytes": 5_000_000_000_u64,
            "max_files": 0, "evicted": 0
        },
        "hosts": [],
        "uncacheable": [],
        "time_saved_ms": 0, "compile_time_ms": 0,
        "since": 1_795_490_000,
        "cache_dir": "/home/u/.cache/rcache",
    });
    from_value(answer).unwrap()
}

#[test]
fn a_fresh_cache() {
    assert_eq!(
        render(&answer(json!({})), NOW, Style::Plain),
        "\
since 2026-11-24 03:13 UTC, 3 h 25 min ago

no cacheable calls yet

store 1.3G of 5.0G (25.0 %) in /home/u/.cache/rcache
  results                              3 456
"
    );
}

#[test]
fn a_busy_cache() {
    let mut answer = answer(json!({
        "direct_cache_hit": 1_100, "preprocessed_cache_hit": 62, "cache_miss": 72,
        "direct_cache_miss": 134, "preprocessed_cache_miss": 72,
        "called_for_link": 20, "unsupported_compiler_option": 3, "called_for_preprocessing": 41,
        "modified_input_file": 1,
        "local_compile": 70, "remote_compile": 2, "remote_failed": 1,
        "sent_as_files": 1, "sent_as_text": 1, "stayed_here": 2,
    }));
    answer.uncacheable = from_value(json!([
        { "counter": "unsupported_compiler_option", "detail": "-foo", "count": 1 },
        { "counter": "unsupported_compiler_option", "detail": "-fplugin=x", "count": 2 },
        { "counter": "called_for_link", "detail": "", "count": 20 },
        { "counter": "modified_input_file", "detail": "/src/a.h", "count": 1 },
        { "counter": "stayed_here", "detail": ".incbin or .include", "count": 2 },
    ]))
    .unwrap();
    answer.time_saved_ms = 12_300_000;
    answer.compile_time_ms = 61_000;
    answer.store.evicted = 12;
    answer.store.max_files = 10_000;
    answer.hosts = from_value(json!([
        { "host": "k8vm0:3632", "slots": 16, "in_flight": 3, "completed": 1_200, "failed": 0,
          "usable": true, "why_not": null, "compiler": "same" },
        { "host": "k8n1:3632", "slots": 12, "in_flight": 0, "completed": 0, "failed": 0,
          "usable": true, "why_not": null, "compiler": "unknown" },
        { "host": "k8n0:3632", "slots": 12, "in_flight": 0, "completed": 0, "failed": 2,
          "usable": false, "why_not": "gcc 13 there, gcc 12 here" },
    ]))
    .unwrap();
    assert_eq!(
        render(&answer, NOW, Style::Plain),
        "\
since 2026-11-24 03:13 UTC, 3 h 25 min ago

hit rate 94.1 % of 1 234 cacheable calls
  direct hits                          1 100   89.1 %
  preprocessed hits                       62   5.0 %
  misses                                  72   5.8 %

not cached                                64
  called for preprocessing                41
  called for link                         20
  unsupported compiler option              3   -fplugin=x (2), -foo

errors                                     1
  modified input file                      1   /src/a.h

compilers
  remote compiles                          2
  sent as files                            1
  sent as text                             1
  stayed here                              2   .incbin or .include (2)
  remote failed                            1   compiled again here
  local compiles                          70
  compile time saved               3 h 25 min
  compile time spent               1 min 1 s

store 1.3G of 5.0G (25.0 %) in /home/u/.cache/rcache
  results                              3 456   of 10 000
  evicted                                 12

hosts 3 of 28 slots busy, 2 of 3 usable
  k8vm0:3632                           1 200   0 failed, 3 of 16 slots busy, usable
  k8n1:3632                                0   0 failed, 0 of 12 slots busy, not asked yet
  k8n0:3632                                0   2 failed, 0 of 12 slots busy, gcc 13 there, gcc 12 here
"
    );
}

#[test]
fn hits_that_were_compiled_again() {
    let mut answer = answer(json!({
        "verify_match": 1_200, "verify_mismatch": 1, "verify_unstable": 2, "verify_skipped": 3,
    }));
    answer.uncacheable = from_value(json!([
        { "counter": "verify_skipped", "detail": "too many were waiting", "count": 3 },
    ]))
    .unwrap();
    let shown = render(&answer, NOW, Style::Plain);
    let section = "\
hits compiled again                    1 206
  not the same                             1   dropped; `rcache doctor` says where both are
  the same                             1 200
  unstable                                 2   two compiles differ from each other
  skipped                                  3   too many were waiting (3)

store";
    assert!(shown.contains(section), "{shown}");
}

#[test]
fn a_terminal_gets_bars() {
    let counters = json!({ "direct_cache_hit": 3, "cache_miss": 1 });
    let shown = render(&answer(counters), NOW, Style::Terminal);
    assert!(shown.contains("██████████████████████▌"), "{shown}");
    assert!(shown.contains("\x1b[32m75.0 %\x1b[0m of 4 cacheable calls"), "{shown}");
}

#[test]
fn many_culprits_are_cut_short() {
    let mut answer = answer(json!({ "unsupported_compiler_option": 9 }));
    let rows = (0..9).map(|index| Culprit {
        counter: "unsupported_compiler_option".to_owned(),
        detail: format!("-f{index}"),
        count: 1,
    });
    answer.uncacheable = rows.collect();
    let shown = render(&answer, NOW, Style::Plain);
    assert!(shown.contains("-f0, -f1, -f2, -f3, -f4, and 4 more"), "{shown}");
}

#[test]
fn an_empty_answer_is_shown_as_far_as_it_goes() {
    assert_eq!(
        render(&Stats::default(), NOW, Style::Plain),
        "no cacheable calls yet\n\nstore 0B\n  results                                  0\n"
    );
}
