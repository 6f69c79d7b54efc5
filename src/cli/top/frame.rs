//! What `rcache top` shows: the daemon's answer in, lines out.

use super::line::{Line, padded, width};
use crate::cli::screen::{Paint, Style, count, percent};
use config::Span;
use std::time::Duration;
use talk::questions::{Counters, HostRow, Top, UnitRow};

/// Room for lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns of each.
    pub columns: usize,
    /// How many.
    pub rows: usize,
}

impl Size {
    /// For what is no terminal.
    pub const UNLIMITED: Size = Size { columns: usize::MAX, rows: usize::MAX };
}

/// Columns of the labels of the first lines, and of their bars.
const LABEL: usize = 10;
const BAR: usize = 24;

/// Columns of a host's bar.
const HOST_BAR: usize = 12;

/// A place with a longer name is cut, so that the sources stay in sight.
const PLACE_MAX: usize = 32;

/// One look at the build.
pub struct Frame<'a> {
    /// The daemon's answer.
    pub answer: &'a Top,
    /// The counters when the view began; none for those since the daemon started.
    pub before: &'a Counters,
    /// How long that is ago; `None` for a single look.
    pub watched: Option<Duration>,
    /// How it is decorated.
    pub style: Style,
}

/// A few words in place of a frame.
pub fn notice(words: &str, size: Size, style: Style) -> Vec<String> {
    let line = Line::of(Some(Paint::Bold), "rcache top").and(None, format!("  {words}"));
    [line].iter().take(size.rows).map(|line| line.fitted(size.columns, style)).collect()
}

impl Frame<'_> {
    /// Its lines, no more and none longer than there is room for.
    pub fn lines(&self, size: Size) -> Vec<String> {
        let head = [self.title(), self.hits(), self.compiled(), self.this_machine()];
        let blocks = [self.hosts(), self.units()];
        let room = size.rows.saturating_sub(head.len());
        let mut lines = head.to_vec();
        for (block, rows) in blocks.iter().zip(shares(room, [blocks[0].len(), blocks[1].len()])) {
            lines.extend(shortened(block, rows));
        }
        lines.truncate(size.rows);
        // A character in the last column would have some terminals clear it with the rest of the row.
        let columns = size.columns.saturating_sub(1).max(1);
        lines.iter().map(|line| line.fitted(columns, self.style)).collect()
    }

    /// Events of a kind since the view began.
    fn counter(&self, name: &str) -> u64 {
        self.answer.counters.get(name).saturating_sub(self.before.get(name))
    }

    fn title(&self) -> Line {
        let span = |duration| Span(duration).rounded();
        let since = match self.watched {
            Some(watched) => format!("  {}; q ends", span(Duration::from_secs(watched.as_secs()))),
            None => {
                let up = Duration::from_secs(self.answer.uptime_s);
                format!("  since the daemon started, {} ago", span(up))
            }
        };
        Line::of(Some(Paint::Bold), "rcache top").and(Some(Paint::Dim), since)
    }

    fn hits(&self) -> Line {
        let direct = self.counter("direct_cache_hit");
        let preprocessed = self.counter("preprocessed_cache_hit");
        let misses = self.counter("cache_miss");
        let calls = direct + preprocessed + misses;
        let line = label("hit rate");
        if calls == 0 {
            return line.and(None, "no cacheable calls yet");
        }
        let rate = percent(direct + preprocessed, calls);
        line.and_bar(BAR, direct + preprocessed, calls, self.style)
            .and(Some(Paint::Bold), rate)
            .and(None, format!(" of {}", count(calls)))
            .and(
                Some(Paint::Dim),
                format!(
                    "  {} direct, {} preprocessed, {} misses",
                    count(direct),
                    count(preprocessed),
                    count(misses)
                ),
            )
    }

    fn compiled(&self) -> Line {
        let failed = self.counter("remote_failed");
        let mut words = format!("{} on hosts", count(self.counter("remote_compile")));
        if failed > 0 {
            words += &format!(" ({} again here)", count(failed));
        }
        words += &format!(", {} on this machine", count(self.counter("local_compile")));
        label("compiled").and(None, words)
    }

    fn this_machine(&self) -> Line {
        let local = &self.answer.local;
        let (busy, slots, waiting) = (local.in_flight, local.slots, local.waiting);
        let line = label("here").and_bar(BAR, busy, slots, self.style);
        line.and(None, format!("{busy}/{slots} busy{}", waits(waiting)))
    }

    /// A heading and a line for each host; nothing where there are none.
    fn hosts(&self) -> Vec<Line> {
        let hosts = &self.answer.hosts;
        if hosts.is_empty() {
            return Vec::new();
        }
        let usable = || hosts.iter().filter(|host| host.usable);
        let sum = |of: fn(&HostRow) -> u64| usable().map(of).sum::<u64>();
        let (busy, slots) = (sum(|host| host.in_flight), sum(|host| host.slots));
        let heading = Line::of(Some(Paint::Bold), padded("hosts", LABEL))
            .and_bar(BAR, busy, slots, self.style)
            .and(None, format!("{busy}/{slots} busy{}", waits(self.answer.waiting)))
            .and(Some(Paint::Dim), format!(", {} of {} usable", usable().count(), hosts.len()));
        let names = hosts.iter().map(|host| width(&host.host)).max().unwrap_or(0);
        let lines = hosts.iter().map(|host| self.host(host, names.min(PLACE_MAX)));
        std::iter::once(heading).chain(lines).collect()
    }

    fn host(&self, host: &HostRow, names: usize) -> Line {
        let (busy, slots) = (host.in_flight, host.slots);
        let line = Line::of(None, format!("  {}  ", padded(&host.host, names)))
            .and_bar(HOST_BAR, busy, slots, self.style)
            .and(None, format!("{:>7}", format!("{busy}/{slots}")))
            .and(None, format!("{:>8} done", count(host.completed)));
        let line = match host.failed {
            0 => line,
            failed => line.and(Some(Paint::Yellow), format!("  {} failed", count(failed))),
        };
        match host.usable {
            true => line,
            false => {
                let why_not = host.why_not.as_deref().unwrap_or_default();
                line.and(Some(Paint::Red), format!("  {why_not}"))
            }
        }
    }

    /// A heading and a line for each unit, the oldest first.
    fn units(&self) -> Vec<Line> {
        let units = &self.answer.units;
        let heading = Line::of(Some(Paint::Bold), padded("units", LABEL));
        let heading = match units.len() {
            0 => heading.and(None, "none under way"),
            number => heading.and(None, format!("{number} under way")),
        };
        let places: Vec<(Option<Paint>, String)> = units.iter().map(place).collect();
        let widest = places.iter().map(|(_, place)| width(place)).max().unwrap_or(0);
        let line = |unit: &UnitRow, (paint, place): &(Option<Paint>, String)| {
            let seconds = unit.stage_ms as f64 / 1e3;
            Line::of(None, format!("{seconds:>8.1} s  "))
                .and(*paint, padded(place, widest.min(PLACE_MAX)))
                .and(None, format!("  {}", unit.source))
        };
        let lines = units.iter().zip(&places).map(|(unit, place)| line(unit, place));
        std::iter::once(heading).chain(lines).collect()
    }
}

/// Where a unit is, in words, and in which colour.
fn place(unit: &UnitRow) -> (Option<Paint>, String) {
    match unit.stage.as_str() {
        "host" => (Some(Paint::Green), unit.host.clone().unwrap_or_default()),
        "local" => (None, "this machine".to_owned()),
        "preprocessing" => (Some(Paint::Dim), "preprocessing".to_owned()),
        "waiting" => (Some(Paint::Yellow), "waits for a host".to_owned()),
        "waiting_here" => (Some(Paint::Yellow), "waits for a slot here".to_owned()),
        "looking_up" => (Some(Paint::Dim), "lookup".to_owned()),
        "storing" => (Some(Paint::Dim), "storing".to_owned()),
        other => (None, other.to_owned()),
    }
}

fn label(text: &str) -> Line {
    Line::of(Some(Paint::Bold), padded(text, LABEL))
}

fn waits(waiting: u64) -> String {
    match waiting {
        0 => String::new(),
        1 => ", 1 waits".to_owned(),
        waiting => format!(", {waiting} wait"),
    }
}

/// Rows for each of two blocks. Where not all fit, the first gets what the second leaves, and at
/// least half.
fn shares(room: usize, [first, second]: [usize; 2]) -> [usize; 2] {
    let first = first.min(room.saturating_sub(second).max(room / 2));
    [first, second.min(room - first)]
}

/// The first lines of a block, and how many are left out.
fn shortened(block: &[Line], rows: usize) -> Vec<Line> {
    if block.len() <= rows {
        return block.to_vec();
    }
    let mut lines = block[..rows.saturating_sub(1)].to_vec();
    if rows > 1 {
        let more = block.len() - lines.len();
        lines.push(Line::of(Some(Paint::Dim), format!("  and {more} more")));
    } else {
        lines.extend(block.iter().take(rows).cloned());
    }
    lines
}

#[cfg(test)]
mod tests;
