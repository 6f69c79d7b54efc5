//! `rcache stats`: how well the cache works, at a glance.

use super::screen::{self, Paint, Style, bytes, count, percent};
use super::{Outcome, ask};
use compiler::outcome::{Counter, CounterKind};
use config::Span;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;
use talk::questions::{Done, HostRow, Likeness, Question, Stats};

/// Shows the counters since the last `rcache zero`, as `options` say.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    if options.get_flag("settled") {
        let Done {} = ask(&Question::Settle, true)?;
    }
    if !options.get_flag("json") {
        return show();
    }
    screen::print_json(&of_all_daemons()?);
    Ok(ExitCode::SUCCESS)
}

/// Shows them for a person.
pub fn show() -> Outcome {
    let answer = of_all_daemons()?;
    let now = screen::now_unix_seconds();
    screen::print(&render(&answer, now, Style::of_stdout()));
    Ok(ExitCode::SUCCESS)
}

/// The counters of the cache folder. Daemons in other namespaces, groups or limits serve it, too; what
/// they know is in the index once they have written it.
fn of_all_daemons() -> Result<Stats, String> {
    talk::others::flush_others();
    ask(&Question::Stats, true)
}

/// How many culprits are named behind one counter.
const CULPRITS_MAX: usize = 5;

/// Columns of the labels, and of the numbers after them.
const LABEL: usize = 33;
const NUMBER: usize = 9;

fn render(stats: &Stats, now: u64, style: Style) -> String {
    let screen = Screen { stats, style };
    let mut shown = String::new();
    for section in [
        screen.since(now),
        screen.calls(),
        screen.of_kind(CounterKind::Uncacheable, "not cached", Paint::Bold),
        screen.of_kind(CounterKind::Error, "errors", Paint::Red),
        screen.work(),
        screen.verification(),
        screen.of_kind(CounterKind::Shared, "shared cache", Paint::Bold),
        screen.store(),
        screen.hosts(),
    ] {
        if !section.is_empty() && !shown.is_empty() {
            shown.push('\n');
        }
        shown.push_str(&section);
    }
    shown
}

struct Screen<'a> {
    stats: &'a Stats,
    style: Style,
}

impl Screen<'_> {
    fn counter(&self, counter: Counter) -> u64 {
        self.stats.counters.get(counter.name())
    }

    fn sum(&self, kind: CounterKind) -> u64 {
        let counters = Counter::ALL.iter().filter(|counter| counter.kind() == kind);
        counters.map(|counter| self.counter(*counter)).sum()
    }

    /// A label and a number, in columns; `rest` is what is said about it.
    fn line(&self, label: &str, value: u64, rest: &str) -> String {
        let value = count(value);
        format!("{}\n", format!("  {label:LABEL$}{value:>NUMBER$}   {rest}").trim_end())
    }

    fn heading(&self, label: &str, value: u64, paint: Paint) -> String {
        let value = count(value);
        format!("{}\n", self.style.paint(paint, &format!("{label:<0$}{value:>NUMBER$}", LABEL + 2)))
    }

    fn since(&self, now: u64) -> String {
        match self.stats.since {
            0 => String::new(),
            since => {
                let age = Span(Duration::from_secs(now.saturating_sub(since))).rounded();
                let line = format!("since {}, {age} ago", screen::moment(since));
                self.style.paint(Paint::Dim, &line) + "\n"
            }
        }
    }

    /// The headline: hits of what could be cached.
    fn calls(&self) -> String {
        let direct = self.counter(Counter::DirectCacheHit);
        let preprocessed = self.counter(Counter::PreprocessedCacheHit);
        let misses = self.counter(Counter::CacheMiss);
        let hits = direct + preprocessed;
        let calls = hits + misses;
        if calls == 0 {
            return "no cacheable calls yet\n".to_owned();
        }
        let paint = match hits * 2 >= calls {
            true => Paint::Green,
            false => Paint::Yellow,
        };
        let bar = self.style.bar(hits, calls, paint);
        let rate = self.style.paint(paint, &percent(hits, calls));
        let mut shown = format!(
            "{} {bar}{rate} of {} cacheable {}\n",
            self.style.paint(Paint::Bold, "hit rate"),
            count(calls),
            if calls == 1 { "call" } else { "calls" },
        );
        shown += &self.line("direct hits", direct, &percent(direct, calls));
        shown += &self.line("preprocessed hits", preprocessed, &percent(preprocessed, calls));
        shown += &self.line("misses", misses, &percent(misses, calls));
        shown
    }

    /// The counters of a kind that are not 0, the largest first, each with what is to blame.
    fn of_kind(&self, kind: CounterKind, heading: &str, paint: Paint) -> String {
        let sum = self.sum(kind);
        if sum == 0 {
            return String::new();
        }
        let counters = Counter::ALL.iter().filter(|counter| counter.kind() == kind);
        let mut counters: Vec<(&str, u64)> = counters
            .map(|counter| (counter.name(), self.counter(*counter)))
            .filter(|(_, value)| *value > 0)
            .collect();
        counters.sort_by_key(|(_, value)| std::cmp::Reverse(*value));
        let mut shown = self.heading(heading, sum, paint);
        for (name, value) in counters {
            let line = self.line(&name.replace('_', " "), value, &self.culprits(name));
            shown.push_str(&line);
        }
        shown
    }

    /// `-fplugin=x (2), -foo`, the most frequent first.
    fn culprits(&self, counter: &str) -> String {
        let mut culprits: Vec<(&str, u64)> = self
            .stats
            .uncacheable
            .iter()
            .filter(|row| row.counter == counter && !row.detail.is_empty())
            .map(|row| (row.detail.as_str(), row.count))
            .collect();
        culprits.sort_by_key(|(detail, count)| (std::cmp::Reverse(*count), *detail));
        let more = culprits.len().saturating_sub(CULPRITS_MAX);
        let mut shown: Vec<String> = Vec::new();
        for (detail, count) in culprits.iter().take(CULPRITS_MAX) {
            shown.push(match count {
                0 | 1 => (*detail).to_owned(),
                more => format!("{detail} ({})", screen::count(*more)),
            });
        }
        if more > 0 {
            shown.push(format!("and {more} more"));
        }
        shown.join(", ")
    }

    /// Where compilers ran, and what the cache saved.
    fn work(&self) -> String {
        let counters = Counter::ALL.iter().filter(|counter| counter.kind() == CounterKind::Work);
        let has_hosts = !self.stats.hosts.is_empty();
        let counters: Vec<(Counter, u64)> = counters
            .map(|counter| (*counter, self.counter(*counter)))
            .filter(|(counter, value)| {
                *value > 0 || has_hosts && *counter != Counter::PassedThrough
            })
            .collect();
        let saved = Duration::from_millis(self.stats.time_saved_ms);
        let spent = Duration::from_millis(self.stats.compile_time_ms);
        if counters.is_empty() && saved.is_zero() {
            return String::new();
        }
        let mut shown = format!("{}\n", self.style.paint(Paint::Bold, "compilers"));
        // The daemon was reached and stood aside, or there was none.
        let passed_through = match self.culprits(Counter::PassedThrough.name()) {
            culprits if culprits.is_empty() => "without the daemon".to_owned(),
            culprits => culprits,
        };
        let kept = self.culprits(Counter::StayedHere.name());
        for (counter, value) in counters {
            let (label, rest) = match counter {
                Counter::SentAsFiles => ("sent as files", ""),
                Counter::SentAsText => ("sent as text", ""),
                Counter::StayedHere => ("stayed here", kept.as_str()),
                Counter::RemoteCompile => ("remote compiles", ""),
                Counter::RemoteFailed => ("remote failed", "compiled again here"),
                Counter::LocalCompile => ("local compiles", ""),
                _ => ("passed through", passed_through.as_str()),
            };
            shown += &self.line(label, value, if value > 0 { rest } else { "" });
        }
        for (label, time) in [("compile time saved", saved), ("compile time spent", spent)] {
            if !time.is_zero() {
                let _ = writeln!(shown, "  {label:LABEL$}{:>NUMBER$}", Span(time).rounded());
            }
        }
        shown
    }

    /// What came of the hits that were compiled again.
    fn verification(&self) -> String {
        let mismatches = self.counter(Counter::VerifyMismatch);
        let paint = if mismatches > 0 { Paint::Red } else { Paint::Bold };
        let sum = self.sum(CounterKind::Verification);
        if sum == 0 {
            return String::new();
        }
        let mut shown = self.heading("hits compiled again", sum, paint);
        let skipped = self.culprits(Counter::VerifySkipped.name());
        for (counter, label, rest) in [
            (
                Counter::VerifyMismatch,
                "not the same",
                "dropped; `rcache doctor` says where both are",
            ),
            (Counter::VerifyMatch, "the same", ""),
            (Counter::VerifyUnstable, "unstable", "two compiles differ from each other"),
            (Counter::VerifySkipped, "skipped", skipped.as_str()),
        ] {
            if self.counter(counter) > 0 {
                shown += &self.line(label, self.counter(counter), rest);
            }
        }
        shown
    }

    fn store(&self) -> String {
        let store = &self.stats.store;
        let (size, cap) = (store.bytes, store.max_bytes);
        let bar = self.style.bar(size, cap, Paint::Green);
        let of_cap = match cap {
            0 => String::new(),
            cap => format!(" of {} ({})", bytes(cap), percent(size, cap)),
        };
        let folder = match self.stats.cache_dir.as_str() {
            "" => String::new(),
            folder => format!(" in {folder}"),
        };
        let heading = self.style.paint(Paint::Bold, "store");
        let mut shown = format!("{heading} {bar}{}{of_cap}{folder}\n", bytes(size));
        let of_cap = match store.max_files {
            0 => String::new(),
            cap => format!("of {}", count(cap)),
        };
        shown += &self.line("results", store.files, &of_cap);
        if store.evicted > 0 {
            shown += &self.line("evicted", store.evicted, "");
        }
        shown
    }

    fn hosts(&self) -> String {
        let hosts = &self.stats.hosts;
        if hosts.is_empty() {
            return String::new();
        }
        let usable = || hosts.iter().filter(|host| host.usable);
        let sum = |of: fn(&HostRow) -> u64| usable().map(of).sum::<u64>();
        let (busy, slots) = (sum(|host| host.in_flight), sum(|host| host.slots));
        let bar = self.style.bar(busy, slots, Paint::Green);
        let mut shown = format!(
            "{} {bar}{busy} of {slots} slots busy, {} of {} usable\n",
            self.style.paint(Paint::Bold, "hosts"),
            usable().count(),
            hosts.len()
        );
        for host in hosts {
            let state = match (host.usable, host.compiler) {
                (true, Likeness::Unknown) => self.style.paint(Paint::Dim, "not asked yet"),
                (true, _) => self.style.paint(Paint::Green, "usable"),
                (false, _) => {
                    self.style.paint(Paint::Red, host.why_not.as_deref().unwrap_or_default())
                }
            };
            let _ = writeln!(
                shown,
                "  {:LABEL$}{:>NUMBER$}   {} failed, {} of {} slots busy, {state}",
                host.host,
                count(host.completed),
                count(host.failed),
                host.in_flight,
                host.slots,
            );
        }
        shown
    }
}

#[cfg(test)]
mod tests;
