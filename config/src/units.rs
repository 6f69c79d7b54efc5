//! Sizes, spans of time and shares as people write them: `25.0G`, `10Gi`, `30m`, `0.001`.

use std::fmt;
use std::time::Duration;

/// A number of bytes. k, M, G, T count in thousands, Ki, Mi, Gi, Ti in 1024s; as in ccache, a
/// number without a unit counts Gi.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// The largest number without a unit that is taken as a number of Gi. Who writes more than ten
/// thousand means bytes, and is asked to say so.
const BARE_NUMBER_MAX: u128 = 9_999;

const DECIMAL: [(&str, u64); 4] =
    [("T", 1_000_000_000_000), ("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)];
const BINARY: [(&str, u64); 4] =
    [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];

impl ByteSize {
    /// Reads a size; the error says what is wrong and what would be right.
    pub fn parse(text: &str) -> Result<ByteSize, String> {
        let wrong = || {
            format!("\"{text}\" is not a size; write for example \"5.0G\", \"500M\" or \"10Gi\"")
        };
        let (number, unit) = split_number(text).ok_or_else(wrong)?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" if number.times(1) > BARE_NUMBER_MAX => {
                return Err(format!(
                    "{text} has no unit, and would count Gi; write \"{text}B\" for bytes"
                ));
            }
            "" => 1 << 30,
            "b" => 1,
            lower => {
                let prefix = lower.strip_suffix('b').unwrap_or(lower);
                let mut units = DECIMAL.iter().chain(&BINARY);
                units.find(|(name, _)| name.eq_ignore_ascii_case(prefix)).ok_or_else(wrong)?.1
            }
        };
        u64::try_from(number.times(factor))
            .map(ByteSize)
            .map_err(|_| format!("\"{text}\" is more than any disk holds; \"0\" means no cap"))
    }

    /// About how much it is, with one decimal: `25.0G`.
    pub fn rounded(self) -> String {
        if self.0 < 1_000 {
            return format!("{}B", self.0);
        }
        let mut shown = String::new();
        for (unit, factor) in DECIMAL.iter().rev() {
            let tenths = self.0.saturating_add(factor / 20) / (factor / 10);
            shown = format!("{}.{}{unit}", tenths / 10, tenths % 10);
            if tenths < 10_000 {
                break;
            }
        }
        shown
    }
}

/// Exactly, so that [`ByteSize::parse`] gives the same number again.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        if bytes == 0 {
            return f.write_str("0");
        }
        for (unit, factor) in DECIMAL {
            let tenth = factor / 10;
            if bytes >= factor && bytes.is_multiple_of(tenth) {
                return write!(f, "{}.{}{unit}", bytes / factor, bytes % factor / tenth);
            }
        }
        for (unit, factor) in BINARY {
            if bytes >= factor && bytes.is_multiple_of(factor) {
                return write!(f, "{}{unit}", bytes / factor);
            }
        }
        write!(f, "{bytes}B")
    }
}

/// A span of time: `500ms`, `300s`, `30m`, `12h`, `2d`, `1w`. A number without a unit counts
/// seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A hundred years: more is a slip of the pen, and would overflow sums with the clock.
const SPAN_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

const SPAN_UNITS: [(&str, u64); 6] = [
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl Span {
    /// Reads a span of time; the error says what is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Span, String> {
        let wrong = || {
            format!(
                "\"{text}\" is not a span of time; write for example \"300s\", \"30m\" or \"2d\""
            )
        };
        let (number, unit) = split_number(text).ok_or_else(wrong)?;
        let factor = match unit {
            "" => 1_000,
            unit => SPAN_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1,
        };
        let milliseconds = number.times(factor);
        if milliseconds > SPAN_MAX.as_millis() {
            return Err(format!("\"{text}\" is more than a hundred years"));
        }
        Ok(Span(Duration::from_millis(milliseconds as u64)))
    }

    /// About how long it is, with the two largest units: `3 h 25 min`, `4.2 s`.
    pub fn rounded(self) -> String {
        let seconds = self.0.as_secs();
        match seconds {
            0 if self.0.is_zero() => "0 s".to_owned(),
            0 => format!("{} ms", self.0.as_millis()),
            1..60 => format!("{:.1} s", (self.0.as_millis() as f64 / 1e3).min(59.9)),
            60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
            3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
            _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
        }
    }
}

/// Exactly to the millisecond, so that [`Span::parse`] gives the same span again.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis() as u64;
        if milliseconds == 0 {
            return f.write_str("0");
        }
        // Weeks are read but not written: `2d` and `300s` are what people expect to see.
        let mut units = SPAN_UNITS.iter().skip(1);
        let minutes_shown_as_seconds = |unit: &str| unit == "m" && milliseconds < 600_000;
        let fits = units.find(|(unit, factor)| {
            milliseconds.is_multiple_of(*factor) && !minutes_shown_as_seconds(unit)
        });
        let (unit, factor) = fits.unwrap_or(&("ms", 1));
        write!(f, "{}{unit}", milliseconds / factor)
    }
}

/// A share of all cases, from none to all, in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// No case.
    pub const NONE: Share = Share(0);
    /// Every case.
    pub const ALL: Share = Share(1_000_000_000);

    /// The share that a number from 0 to 1 stands for, to the billionth.
    pub fn of(number: f64) -> Option<Share> {
        let billionths = number * f64::from(Share::ALL.0);
        (0.0..=1.0).contains(&number).then(|| Share(billionths.round() as u32))
    }

    /// The number from 0 to 1.
    pub fn number(self) -> f64 {
        f64::from(self.0) / f64::from(Share::ALL.0)
    }

    /// Whether a case belongs to the share. `random` is a number of all 64 bits.
    pub fn takes(self, random: u64) -> bool {
        random % u64::from(Share::ALL.0) < u64::from(self.0)
    }
}

/// As [`Share::of`] takes it.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

/// A decimal number of zero or more, exactly.
struct Number {
    digits: u128,
    /// Ten to the power of the digits after the point.
    scale: u128,
}

/// So that neither `digits` nor a product with a unit can overflow.
const DIGITS_MAX: usize = 24;

impl Number {
    /// The product, rounded to a whole number.
    fn times(&self, factor: u64) -> u128 {
        (self.digits * u128::from(factor) + self.scale / 2) / self.scale
    }
}

/// A number and the letters after it, which blanks may part.
fn split_number(text: &str) -> Option<(Number, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.len() > DIGITS_MAX {
        return None;
    }
    let scale = 10_u128.pow(fraction.len() as u32);
    Some((Number { digits: digits.parse().ok()?, scale }, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(text: &str) -> Option<u64> {
        ByteSize::parse(text).ok().map(|size| size.0)
    }

    #[test]
    fn sizes_are_read() {
        for (text, expected) in [
            ("0", Some(0)),
            ("5.0G", Some(5_000_000_000)),
            ("25.0G", Some(25_000_000_000)),
            ("500M", Some(500_000_000)),
            ("10Gi", Some(10 << 30)),
            ("1k", Some(1_000)),
            ("1K", Some(1_000)),
            ("1Ki", Some(1_024)),
            ("1.5Ki", Some(1_536)),
            ("2TiB", Some(2 << 40)),
            ("3 GB", Some(3_000_000_000)),
            (" 7MiB ", Some(7 << 20)),
            ("12B", Some(12)),
            ("5", Some(5 << 30)),
            ("18446744073709551B", Some(18_446_744_073_709_551)),
            ("99999", None),
            ("5 parsecs", None),
            ("", None),
            (".", None),
            ("1.2.3G", None),
            ("-1G", None),
            ("1e3", None),
            ("inf", None),
            ("G", None),
            ("99999999T", None),
            ("5Gib it", None),
        ] {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_written() {
        for (size, exact, rounded) in [
            (0, "0", "0B"),
            (1, "1B", "1B"),
            (999, "999B", "999B"),
            (1_000, "1.0k", "1.0k"),
            (1_024, "1Ki", "1.0k"),
            (999_960, "999960B", "1.0M"),
            (5_000_000_000, "5.0G", "5.0G"),
            (10 << 30, "10Gi", "10.7G"),
            (12_345_678, "12345678B", "12.3M"),
            (25_000_000_000_000_000, "25000.0T", "25000.0T"),
        ] {
            assert_eq!(ByteSize(size).to_string(), exact);
            assert_eq!(ByteSize(size).rounded(), rounded, "{size}");
        }
    }

    #[test]
    fn spans_are_read_and_written() {
        for (text, milliseconds, written) in [
            ("0", 0, "0"),
            ("500ms", 500, "500ms"),
            ("300s", 300_000, "300s"),
            ("90", 90_000, "90s"),
            ("30m", 1_800_000, "30m"),
            ("1.5h", 5_400_000, "90m"),
            ("2d", 172_800_000, "2d"),
            ("1w", 604_800_000, "7d"),
        ] {
            let span = Span::parse(text).unwrap();
            assert_eq!(span.0.as_millis(), milliseconds, "{text}");
            assert_eq!(span.to_string(), written);
        }
        for text in ["", "m", "5 fortnights", "-1s", "101w1", "999999999d", "1M"] {
            assert!(Span::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn spans_are_rounded_for_people() {
        let rounded = |milliseconds| Span(Duration::from_millis(milliseconds)).rounded();
        assert_eq!(rounded(0), "0 s");
        assert_eq!(rounded(12), "12 ms");
        assert_eq!(rounded(4_240), "4.2 s");
        assert_eq!(rounded(59_999), "59.9 s");
        assert_eq!(rounded(61_000), "1 min 1 s");
        assert_eq!(rounded(12_300_000), "3 h 25 min");
        assert_eq!(rounded(90_000_000), "1 d 1 h");
    }

    #[test]
    fn shares_are_read_and_written() {
        for (number, written) in
            [(0.0, "0"), (0.001, "0.001"), (0.25, "0.25"), (1e-9, "0.000000001"), (1.0, "1")]
        {
            assert_eq!(Share::of(number).unwrap().to_string(), written);
        }
        for number in [-0.1, 1.000_1, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::of(number), None, "{number}");
        }
    }

    #[test]
    fn a_share_takes_as_many_as_it_says() {
        let taken = |share: Share| (0..1000).filter(|n| share.takes(n * 1_000_000)).count();
        assert_eq!(taken(Share::NONE), 0);
        assert_eq!(taken(Share::ALL), 1000);
        assert_eq!(taken(Share::of(0.25).unwrap()), 250);
        assert!(Share::of(0.001).unwrap().takes(0) && !Share::NONE.takes(0));
        assert!(Share::ALL.takes(u64::MAX));
    }

    proptest! {
        #[test]
        fn any_share_survives_writing(billionths in 0..=1_000_000_000u32) {
            let share = Share(billionths);
            prop_assert_eq!(Share::of(share.to_string().parse().unwrap()), Some(share));
        }

        #[test]
        fn any_size_survives_writing(size in any::<u64>()) {
            let size = size >> 1;
            prop_assert_eq!(bytes(&ByteSize(size).to_string()), Some(size));
        }

        #[test]
        fn any_span_survives_writing(milliseconds in 0..3_000_000_000_000u64) {
            let span = Span(Duration::from_millis(milliseconds));
            prop_assert_eq!(Span::parse(&span.to_string()), Ok(span));
        }

        #[test]
        fn no_text_panics(text in ".{0,20}") {
            let _ = ByteSize::parse(&text);
            let _ = Span::parse(&text);
            let _ = ByteSize::parse(&text).map(ByteSize::rounded);
        }
    }
}
