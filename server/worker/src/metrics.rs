//! What the worker counts, and the text in which Prometheus reads it.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

macro_rules! outcomes {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// Where a connection ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Outcome { $($(#[$doc])* $variant,)* }

        impl Outcome {
            /// Every outcome.
            pub const ALL: &'static [Outcome] = &[$(Outcome::$variant,)*];

            /// Its name in the metrics and in the log.
            pub fn name(self) -> &'static str {
                match self { $(Outcome::$variant => $name,)* }
            }
        }
    };
}

outcomes! {
    /// Compiled.
    Ok "ok",
    /// The compiler complained.
    CompileError "compile_error",
    /// The policy said no.
    Refused "refused",
    /// Too many wait, or the worker ends: another host may do it.
    TurnedAway "turned_away",
    /// The compile took too long.
    Timeout "timeout",
    /// The client went away.
    ClientGone "client_gone",
    /// It was no request, or it did not arrive in time.
    BadRequest "bad_request",
    /// The address may not connect.
    Denied "denied",
    /// The worker could not do it.
    Failed "failed",
    /// A question about a compiler was answered.
    Identified "identified",
}

/// Upper ends of the histogram's buckets, in seconds.
const BUCKETS: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Everything that is counted since the start.
#[derive(Default)]
pub struct Metrics {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    seconds: Mutex<Histogram>,
}

#[derive(Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

/// What is so at this moment.
#[derive(Clone, Debug, Default)]
pub struct Now {
    /// Compiles at one time.
    pub slots: usize,
    /// Compiles that run.
    pub running: usize,
    /// Requests that wait for a slot.
    pub queued: usize,
    /// Open connections.
    pub connections: usize,
    /// Whether no new connection is taken.
    pub draining: bool,
    /// What REAPI did and holds: names, kinds, helps, values.
    pub reapi: Vec<Sample>,
}

/// One number with a name of its own.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Its name, without what all have in common.
    pub name: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// How much.
    pub value: u64,
}

impl Metrics {
    /// Counts the end of a connection.
    pub fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what came and went over a connection.
    pub fn count_bytes(&self, received: u64, sent: u64) {
        self.bytes_in.fetch_add(received, Ordering::Relaxed);
        self.bytes_out.fetch_add(sent, Ordering::Relaxed);
    }

    /// Counts the time of a compiler.
    pub fn count_compile(&self, wall: Duration) {
        let seconds = wall.as_secs_f64();
        let mut histogram = self.seconds.lock().unwrap_or_else(|poison| poison.into_inner());
        histogram.count += 1;
        histogram.sum += seconds;
        for (bucket, end) in histogram.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= end);
        }
    }

    /// Prometheus' text format, version 0.0.4.
    pub fn text(&self, now: &Now) -> String {
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, lines: &[(String, f64)]| {
            let _ = writeln!(text, "# HELP rcache_worker_{name} {help}");
            let _ = writeln!(text, "# TYPE rcache_worker_{name} {kind}");
            for (label, value) in lines {
                let _ = writeln!(text, "rcache_worker_{name}{label} {value}");
            }
        };
        let outcomes: Vec<_> = Outcome::ALL
            .iter()
            .map(|outcome| {
                let count = self.outcomes[*outcome as usize].load(Ordering::Relaxed);
                (format!("{{outcome=\"{}\"}}", outcome.name()), count as f64)
            })
            .collect();
        metric("requests_total", "counter", "Connections by how they ended.", &outcomes);
        let plain = |value: f64| [(String::new(), value)];
        let bytes = |counter: &AtomicU64| plain(counter.load(Ordering::Relaxed) as f64);
        metric("received_bytes_total", "counter", "Bytes from clients.", &bytes(&self.bytes_in));
        metric("sent_bytes_total", "counter", "Bytes to clients.", &bytes(&self.bytes_out));
        metric("slots", "gauge", "Compiles at one time.", &plain(now.slots as f64));
        metric("running", "gauge", "Compiles that run.", &plain(now.running as f64));
        metric("queued", "gauge", "Requests that wait for a slot.", &plain(now.queued as f64));
        metric("connections", "gauge", "Open connections.", &plain(now.connections as f64));
        let draining = f64::from(u8::from(now.draining));
        metric("draining", "gauge", "Whether it takes no new connection.", &plain(draining));
        for Sample { name, kind, help, value } in &now.reapi {
            metric(name, kind, help, &plain(*value as f64));
        }
        metric("compile_seconds", "histogram", "Wall time of compilers.", &self.histogram_lines());
        text
    }

    fn histogram_lines(&self) -> Vec<(String, f64)> {
        let histogram = self.seconds.lock().unwrap_or_else(|poison| poison.into_inner());
        let buckets = BUCKETS.iter().zip(histogram.buckets);
        let mut lines: Vec<_> = buckets
            .map(|(end, count)| (format!("_bucket{{le=\"{end}\"}}"), count as f64))
            .collect();
        let count = histogram.count as f64;
        lines.push(("_bucket{le=\"+Inf\"}".to_owned(), count));
        lines.push(("_sum".to_owned(), histogram.sum));
        lines.push(("_count".to_owned(), count));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_holds_what_was_counted() {
        let metrics = Metrics::default();
        metrics.count(Outcome::Ok);
        metrics.count(Outcome::Ok);
        metrics.count(Outcome::Denied);
        metrics.count_bytes(1000, 20);
        metrics.count_compile(Duration::from_millis(75));
        metrics.count_compile(Duration::from_secs(400));
        let now = Now {
            slots: 8,
            running: 1,
            queued: 3,
            connections: 5,
            draining: true,
            ..Now::default()
        };
        let text = metrics.text(&now);
        for line in [
            "# TYPE rcache_worker_requests_total counter",
            "rcache_worker_requests_total{outcome=\"ok\"} 2",
            "rcache_worker_requests_total{outcome=\"compile_error\"} 0",
            "rcache_worker_requests_total{outcome=\"denied\"} 1",
            "rcache_worker_received_bytes_total 1000",
            "rcache_worker_sent_bytes_total 20",
            "rcache_worker_slots 8",
            "rcache_worker_running 1",
            "rcache_worker_queued 3",
            "rcache_worker_connections 5",
            "rcache_worker_draining 1",
            "# TYPE rcache_worker_compile_seconds histogram",
            "rcache_worker_compile_seconds_bucket{le=\"0.05\"} 0",
            "rcache_worker_compile_seconds_bucket{le=\"0.1\"} 1",
            "rcache_worker_compile_seconds_bucket{le=\"300\"} 1",
            "rcache_worker_compile_seconds_bucket{le=\"+Inf\"} 2",
            "rcache_worker_compile_seconds_sum 400.075",
            "rcache_worker_compile_seconds_count 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn every_sample_has_a_type() {
        let text = Metrics::default().text(&Now::default());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name);
            assert!(text.contains(&format!("# TYPE {family} ")), "{line}");
        }
    }
}
