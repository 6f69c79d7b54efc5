//! The names that scripts read, and the questions that travel.

use super::*;

/// What `rcache stats --json` prints of [`sample`]. Names may be added here, never changed or removed.
const GOLDEN: &str = include_str!("stats.json");

fn sample() -> Stats {
    Stats {
        version: "0.1.0+1".to_owned(),
        counters: [("direct_cache_hit".to_owned(), 3), ("cache_miss".to_owned(), 0)]
            .into_iter()
            .collect(),
        store: StoreSize { bytes: 1, files: 2, max_bytes: 3, max_files: 4, evicted: 5 },
        hosts: vec![HostRow {
            host: "k8vm0:3632".to_owned(),
            slots: 16,
            usable: true,
            worker: "rcache".to_owned(),
            ..HostRow::default()
        }],
        uncacheable: vec![Culprit {
            counter: "unsupported_compiler_option".to_owned(),
            detail: "-foo".to_owned(),
            count: 6,
        }],
        time_saved_ms: 7,
        compile_time_ms: 8,
        since: 9,
        daemon: DaemonRow {
            pid: 10,
            version: "0.1.0+1".to_owned(),
            uptime_s: 11,
            memory_bytes: 12,
        },
        cache_dir: "/c".to_owned(),
    }
}

#[test]
fn names_and_order_of_the_statistics_stay() {
    assert_eq!(serde_json::to_string_pretty(&sample()).unwrap() + "\n", GOLDEN);
    assert_eq!(serde_json::from_str::<Stats>(GOLDEN).unwrap(), sample());
}

#[test]
fn questions_travel_as_commands() {
    let asked = |text: &str| serde_json::from_str::<Asked>(text).unwrap();
    let trim = Question::Trim { max_size_bytes: Some(1), older_than_s: None };
    for (text, question, from_elsewhere) in [
        (r#"{"command":"stats"}"#, Question::Stats, false),
        (r#"{"command":"flush","from_elsewhere":true}"#, Question::Flush, true),
        (r#"{"command":"trim","max_size_bytes":1,"older_than_s":null}"#, trim, false),
    ] {
        let expected = Asked { question, from_elsewhere };
        assert_eq!(asked(text), expected);
        assert_eq!(serde_json::to_string(&expected).unwrap(), text);
    }
    for nonsense in
        ["", "{}", r#"{"command":"dance"}"#, r#"{"command":"trim","max_size_bytes":-1}"#]
    {
        assert!(serde_json::from_str::<Asked>(nonsense).is_err(), "{nonsense}");
    }
}

#[test]
fn an_answer_or_why_there_is_none() {
    let answer: Result<Removed, String> = Ok(Removed { removed_files: 1, removed_bytes: 2 });
    assert_eq!(decode::<Removed>(&encode(&answer)).unwrap(), answer);
    let refused: Result<Removed, String> = Err("the folder is gone".to_owned());
    assert_eq!(encode(&refused), br#"{"error":"the folder is gone"}"#);
    assert_eq!(decode::<Removed>(&encode(&refused)).unwrap(), refused);
    assert_eq!(decode::<Done>(&encode(&Ok(Done {}))).unwrap(), Ok(Done {}));
    assert!(decode::<Stats>(b"[").is_err());
}
