//! Which moments a preprocessed text shows, and which day it is for a compiler.

use config::Environment;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A day as `__DATE__` spells it: `Mmm dd yyyy`.
pub type Day = [u8; 11];

/// No zone is further from UTC.
const OFFSET_MAX: Duration = Duration::from_secs(15 * 3600);

/// The offsets of zones differ by multiples of this.
const OFFSET_STEP_SECONDS: i64 = 15 * 60;

/// What clocks that count leap seconds may differ by.
const SLACK: Duration = Duration::from_secs(60);

/// Values of TZ that mean UTC to every C library.
const UTC: [&[u8]; 5] = [b"", b"UTC", b"UTC0", b"GMT", b"GMT0"];

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// What a text shows of the time in which it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Nothing that a macro could have become.
    Nothing,
    /// What may be the day, and nothing else.
    Day(Day),
    /// What may be a moment.
    Moment,
}

/// When a preprocessor ran, as far as that is known.
#[derive(Clone, Copy, Debug)]
pub enum Ran {
    /// Between the two.
    Between(SystemTime, SystemTime),
    /// It may have been told another time.
    Whenever,
}

/// What `text` shows in the form of `__DATE__` (`"Mmm dd yyyy"`), `__TIME__` (`hh:mm:ss`) or
/// `__TIMESTAMP__`, which is the time of a file and contains such a time (C11 6.10.8.1).
pub fn shown(text: &[u8], ran: Ran) -> Shown {
    if memchr::memchr_iter(b':', text).any(|colon| is_moment(text, colon, ran)) {
        return Shown::Moment;
    }
    let mut days: Vec<Day> = Vec::new();
    for quote in memchr::memchr_iter(b'"', text) {
        match day_at(text, quote + 1) {
            Some(day) if could_be_today(day, ran) && !days.contains(&day) => days.push(day),
            _ => {}
        }
    }
    match (days.as_slice(), ran) {
        ([], _) => Shown::Nothing,
        ([day], Ran::Between(..)) => Shown::Day(*day),
        // Which of them is the day is not known.
        _ => Shown::Moment,
    }
}

/// Whether the first colon of a time is at `colon`, and that may be the time of the preprocessor's run,
/// or of a file.
fn is_moment(text: &[u8], colon: usize, ran: Ran) -> bool {
    let number = |from: usize| {
        let digits = text.get(from..from + 2)?;
        let is_number = digits.iter().all(u8::is_ascii_digit);
        is_number.then(|| i64::from(digits[0] - b'0') * 10 + i64::from(digits[1] - b'0'))
    };
    let is_hour = colon.checked_sub(2).and_then(number).is_some();
    let (true, Some(minute), Some(b':')) = (is_hour, number(colon + 1), text.get(colon + 3)) else {
        return false;
    };
    let (Some(second), Ran::Between(from, to)) = (number(colon + 4), ran) else { return true };
    let before = &text[..colon - 2];
    if before.len() >= 7 && month_of(&before[before.len() - 7..]).is_some() {
        return true;
    }
    // Whatever the zone, this is what is left of the time.
    let (from, to) = (seconds_of(from - SLACK), seconds_of(to + SLACK));
    (minute * 60 + second - from).rem_euclid(OFFSET_STEP_SECONDS) <= to - from
}

fn month_of(text: &[u8]) -> Option<usize> {
    MONTHS.iter().position(|month| text.starts_with(*month) && text.get(3) == Some(&b' '))
}

fn day_at(text: &[u8], from: usize) -> Option<Day> {
    let day: Day = text.get(from..from + 11)?.try_into().ok()?;
    let is_number = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_digit);
    let is_day = month_of(&day).is_some()
        && (day[4] == b' ' || day[4].is_ascii_digit())
        && is_number(&day[5..6])
        && day[6] == b' '
        && is_number(&day[7..]);
    is_day.then_some(day)
}

fn could_be_today(day: Day, ran: Ran) -> bool {
    let Ran::Between(from, to) = ran else { return true };
    const DAY_SECONDS: i64 = 24 * 3600;
    let (from, to) = (seconds_of(from - OFFSET_MAX), seconds_of(to + OFFSET_MAX));
    (from.div_euclid(DAY_SECONDS)..=to.div_euclid(DAY_SECONDS))
        .any(|number| spelled(number * DAY_SECONDS) == day)
}

fn seconds_of(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs() as i64,
        Err(before) => -(before.duration().as_secs() as i64) - 1,
    }
}

/// The day of a moment, in the zone in which its seconds are counted.
fn spelled(seconds: i64) -> Day {
    // Days since the first of March of the year 0, in eras of 400 years.
    let days = seconds.div_euclid(24 * 3600) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 2, 0) } else { (month - 10, 1) };
    let year = era * 400 + year_of_era + later;
    let mut text: Day = *b"Mmm dd yyyy";
    text[..3].copy_from_slice(MONTHS[month as usize]);
    text[4..6].copy_from_slice(format!("{day:2}").as_bytes());
    text[7..].copy_from_slice(format!("{:04}", year.rem_euclid(10_000)).as_bytes());
    text
}

/// Whether compilers of this environment are told the time by the kernel alone.
pub fn has_plain_clock(environment: &Environment) -> bool {
    ["SOURCE_DATE_EPOCH", "LD_PRELOAD"].iter().all(|name| environment.get(name).is_none())
}

/// The day that `__DATE__` shows at a moment; `None` where the zone is not known here.
pub fn day(environment: &Environment, moment: SystemTime) -> Option<Day> {
    if !has_plain_clock(environment) {
        return None;
    }
    let seconds = seconds_of(moment);
    match environment.get("TZ") {
        None => Some(spelled(seconds + local_offset(seconds)?)),
        Some(zone) if UTC.contains(&zone.as_bytes()) => Some(spelled(seconds)),
        Some(_) => None,
    }
}

/// The offset of the machine's own zone: the daemon has no TZ of its own.
fn local_offset(seconds: i64) -> Option<i64> {
    // SAFETY: all zeros is a `tm`; `tzset` and `localtime_r` may be called by several threads, and
    // nobody here changes the environment after the start.
    let (filled, broken) = unsafe {
        let mut broken: libc::tm = std::mem::zeroed();
        tzset();
        (!libc::localtime_r(&seconds, &mut broken).is_null(), broken)
    };
    filled.then_some(broken.tm_gmtoff)
}

unsafe extern "C" {
    /// Reads the zone again where its file has changed.
    safe fn tzset();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nov 29 2026 08:31:05 UTC.
    const NOW: u64 = 1_795_941_065;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn days_are_spelled_as_compilers_do() {
        for (seconds, day) in [
            (0, b"Jan  1 1970"),
            (951_782_400, b"Feb 29 2000"),
            (1_709_251_199, b"Feb 29 2024"),
            (NOW as i64, b"Nov 29 2026"),
            (4_102_444_799, b"Dec 31 2099"),
        ] {
            assert_eq!(spelled(seconds), *day);
        }
    }

    #[test]
    fn only_the_present_counts() {
        let ran = Ran::Between(at(NOW), at(NOW + 2));
        let shown = |text: &str| shown(text.as_bytes(), ran);
        assert_eq!(shown(r#"char d[] = "Nov 29 2026";"#), Shown::Day(*b"Nov 29 2026"));
        assert_eq!(shown(r#"char d[] = "Nov 28 2026";"#), Shown::Day(*b"Nov 28 2026"));
        assert_eq!(shown(r#"char d[] = "Nov 28 2026" "Nov 29 2026";"#), Shown::Moment);
        for moment in ["08:31:06", "14:01:05", "\"Tue Nov 24 03:36:00 2026\""] {
            assert_eq!(shown(moment), Shown::Moment, "{moment}");
        }
        for other in ["00:00:00", "\"Jan  1 2020\"", "a ? 12:13;", "\"Nov 29", "x::y", ""] {
            assert_eq!(shown(other), Shown::Nothing, "{other}");
        }
    }

    #[test]
    fn where_the_clock_is_not_known_everything_counts() {
        for text in [r#""Jan  1 2020""#, r#""\"Jan  1 2020\"""#, "00:00:00", "12:13:"] {
            assert_eq!(shown(text.as_bytes(), Ran::Whenever), Shown::Moment, "{text}");
        }
        assert_eq!(shown(b"12:13", Ran::Whenever), Shown::Nothing);
    }

    #[test]
    fn a_zone_that_is_not_known_has_no_day() {
        let day = |variables: &[(&str, &str)]| {
            let variables: Vec<(std::ffi::OsString, std::ffi::OsString)> =
                variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
            day(&Environment::new(&variables), at(NOW))
        };
        assert_eq!(day(&[("TZ", "UTC")]), Some(*b"Nov 29 2026"));
        assert_eq!(day(&[("TZ", "Europe/Berlin")]), None);
        assert_eq!(day(&[("TZ", ""), ("SOURCE_DATE_EPOCH", "1")]), None);
        assert!(day(&[]).is_some());
    }
}
