//! Text for people: colour and bars on a terminal, plain text elsewhere.

use config::ByteSize;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How texts are decorated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// No colour, no bars.
    Plain,
    /// Colour and bars.
    Terminal,
}

/// A colour, by what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// A heading.
    Bold,
    /// Of little weight.
    Dim,
    /// Good.
    Green,
    /// To be looked at.
    Yellow,
    /// Bad.
    Red,
}

const BAR_COLUMNS: usize = 30;

impl Style {
    /// The style of standard output: decorated on a terminal, unless NO_COLOR is set
    /// (<https://no-color.org>) or the terminal can do nothing.
    pub fn of_stdout() -> Style {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb {
            true => Style::Terminal,
            false => Style::Plain,
        }
    }

    /// The text in a colour.
    pub fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            _ if self == Style::Plain || text.is_empty() => return text.to_owned(),
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Green => "32",
            Paint::Yellow => "33",
            Paint::Red => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A bar that is filled to `part` of `whole`, with a blank after it; nothing in plain text.
    pub fn bar(self, part: u64, whole: u64, paint: Paint) -> String {
        if self == Style::Plain || whole == 0 {
            return String::new();
        }
        let (filled, empty) = bar_pieces(BAR_COLUMNS, part, whole);
        format!("{}{} ", self.paint(paint, &filled), self.paint(Paint::Dim, &empty))
    }
}

/// The two pieces of a bar that is filled to `part` of `whole`, in eighths of a column.
pub fn bar_pieces(columns: usize, part: u64, whole: u64) -> (String, String) {
    let all = columns as u128 * 8;
    let eighths = (u128::from(part.min(whole)) * all / u128::from(whole.max(1))) as usize;
    let mut filled = "█".repeat(eighths / 8);
    if let Some(fraction) = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8) {
        filled.push_str(fraction);
    }
    let empty = "░".repeat(columns - filled.chars().count());
    (filled, empty)
}

/// Prints to standard output. A reader that has seen enough (`| head`) is no error.
pub fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    if let Err(error) = written
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        eprintln!("rcache: standard output: {error}");
    }
}

/// Prints JSON, one value with a newline.
pub fn print_json(value: &impl Serialize) {
    // Only a map whose keys are no texts cannot be written.
    print(&(serde_json::to_string_pretty(value).unwrap_or_default() + "\n"));
}

/// A count with its thousands apart: `1 234 567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `part` of `whole` in per cent, with one decimal that never rounds up to 100.
pub fn percent(part: u64, whole: u64) -> String {
    let tenths = u128::from(part) * 1_000 / u128::from(whole.max(1));
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// About how many bytes.
pub fn bytes(number: u64) -> String {
    ByteSize(number).rounded()
}

/// A moment in UTC: `2026-11-24 03:05 UTC`.
pub fn moment(unix_seconds: u64) -> String {
    let (year, month, day) = civil_date(unix_seconds / 86_400);
    let minutes = unix_seconds % 86_400 / 60;
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    let _ = write!(text, " {:02}:{:02} UTC", minutes / 60, minutes % 60);
    text
}

/// Seconds since 1970.
pub fn now_unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// Year, month and day of the Gregorian calendar, by counting years and months from 1970.
fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut days = days_since_1970;
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_has_no_decoration() {
        assert_eq!(Style::Plain.paint(Paint::Red, "x"), "x");
        assert_eq!(Style::Plain.bar(1, 2, Paint::Green), "");
        assert_eq!(Style::Terminal.paint(Paint::Red, "x"), "\x1b[31mx\x1b[0m");
    }

    #[test]
    fn bars_are_filled_in_proportion() {
        let bar = |part, whole| {
            let text = Style::Terminal.bar(part, whole, Paint::Green);
            text.chars().filter(|c| "█▏▎▍▌▋▊▉░".contains(*c)).collect::<String>()
        };
        assert_eq!(bar(0, 10), "░".repeat(30));
        assert_eq!(bar(10, 10), "█".repeat(30));
        assert_eq!(bar(99, 10), "█".repeat(30));
        assert_eq!(bar(1, 2), format!("{}{}", "█".repeat(15), "░".repeat(15)));
        assert_eq!(bar(1, 240), format!("▏{}", "░".repeat(29)));
        assert_eq!(bar(u64::MAX, u64::MAX), "█".repeat(30));
        assert_eq!(bar(1, 0), "");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(percent(0, 0), "0.0 %");
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(99_999, 100_000), "99.9 %");
        assert_eq!(percent(5, 5), "100.0 %");
    }

    #[test]
    fn moments_are_in_the_gregorian_calendar() {
        assert_eq!(moment(0), "1970-01-01 00:00 UTC");
        assert_eq!(moment(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(moment(1_795_490_000), "2026-11-24 03:13 UTC");
        assert_eq!(moment(4_107_542_400), "2100-03-01 00:00 UTC");
    }
}
