//! Says whether text could make an assembler read another file: `.incbin`, `.include`, or parts.
//!
//! The assembler of a C source gets its text from strings, each in pieces: several literals in a row,
//! macros that name one, arguments that a macro makes a string of. Whatever the pieces are, one of them
//! holds the dot: with the whole of a directive's name behind it, or with a part of the name at the
//! piece's end. That is what is looked for, by the values of literals, and in code.

use std::borrow::Cow;
use std::ops::BitOr;
use std::sync::LazyLock;

use memchr::memmem::{self, Finder};
use memchr::{memchr, memchr_iter};

use super::text::{is_blank, is_word};

/// The directives of GNU as that read a file.
pub(super) const READERS: [&[u8]; 2] = [b"incbin", b"include"];

/// Those that make text of pieces.
pub(super) const BUILDERS: [&[u8]; 4] = [b"macro", b"irp", b"irpc", b"altmacro"];

/// A shorter part of a name is taken for what else a string may be.
const PART_BYTES_MIN: usize = 2;

/// The same for names that do not read a file themselves.
const BUILDER_PART_BYTES_MIN: usize = 3;

static INCBIN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"incbin"));

/// What the strings of a source could become for an assembler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pieces {
    /// A directive that reads a file, or that makes text of pieces.
    pub whole: bool,
    /// A dot, perhaps with a part of such a directive's name, to which another piece could be put.
    pub open: bool,
    /// A part of such a directive's name without the dot.
    pub part: bool,
}

impl BitOr for Pieces {
    type Output = Pieces;

    fn bitor(self, other: Pieces) -> Pieces {
        Pieces {
            whole: self.whole || other.whole,
            open: self.open || other.open,
            part: self.part || other.part,
        }
    }
}

impl Pieces {
    /// Whether a file could be read where all strings are known.
    pub fn could_read(self) -> bool {
        self.whole || self.open && self.part
    }

    /// Whether a file could be read where any name can be made a string.
    pub fn might_read(self) -> bool {
        self.whole || self.open
    }

    /// Notes the content of a literal.
    pub(super) fn literal(&mut self, content: &[u8], raw: bool) {
        if content.is_empty() {
            return;
        }
        let value = if raw { Cow::Borrowed(content) } else { value(content) };
        let value = value.as_ref();
        for at in memchr_iter(b'.', value) {
            match dot(value, at) {
                Dot::Plain => {}
                Dot::Reads | Dot::Builds => self.whole = true,
                Dot::Open(next) => {
                    self.open |= matches!(next, None | Some(b'%' | b'{' | b'|' | b'}' | b'\\'));
                }
            }
        }
        self.part |= begins_with_part(value);
    }

    /// Notes the code from `from` to `to`, which macros could make a string of.
    pub(super) fn code(&mut self, text: &[u8], from: usize, to: usize) {
        for offset in memchr_iter(b'.', &text[from..to]) {
            let at = from + offset;
            let (found, end) = (dot(text, at), end_of_word(text, at + 1));
            let next = text[end..].iter().copied().find(|byte| !is_blank(*byte));
            match found {
                Dot::Plain => {}
                // `.include = …` initialises a member; to an assembler it assigns to a symbol.
                Dot::Reads | Dot::Builds => self.whole |= !is_assigned(&text[end..]),
                Dot::Open(_) => {
                    let ends =
                        matches!(next, Some(b')' | b',' | b'"' | b'\\' | b'#' | b'%' | b'/'));
                    self.open |= ends;
                }
            }
        }
        self.part |= INCBIN.find(&text[from..to]).is_some();
    }
}

/// Whether text for an assembler itself could read a file.
pub(super) fn may_read(text: &[u8]) -> bool {
    memchr_iter(b'.', text).any(|at| matches!(dot(text, at), Dot::Reads | Dot::Builds))
}

/// What a dot can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dot {
    /// Nothing that matters.
    Plain,
    /// A directive that reads a file.
    Reads,
    /// A directive that makes text of pieces.
    Builds,
    /// A name that could be completed, with what comes after it.
    Open(Option<u8>),
}

/// The dot at `at` with the word behind it. Case does not matter to the assembler.
pub(super) fn dot(text: &[u8], at: usize) -> Dot {
    // Part of a longer name, or of a number.
    let before = at.checked_sub(1).map(|before| text[before]);
    if before.is_some_and(|byte| is_word(byte) || matches!(byte, b'.' | b')' | b']')) {
        return Dot::Plain;
    }
    let end = end_of_word(text, at + 1);
    let word = &text[at + 1..end];
    let is = |name: &&[u8]| word.eq_ignore_ascii_case(name);
    let begins =
        |name: &&[u8]| name.len() > word.len() && name[..word.len()].eq_ignore_ascii_case(word);
    if READERS.iter().any(is) {
        Dot::Reads
    } else if BUILDERS.iter().any(is) {
        Dot::Builds
    } else if READERS.iter().chain(&BUILDERS).any(begins) {
        Dot::Open(text.get(end).copied())
    } else {
        Dot::Plain
    }
}

/// Longer words are the same as one that is just too long.
fn end_of_word(text: &[u8], from: usize) -> usize {
    from + text[from..].iter().take(10).take_while(|byte| is_word(**byte)).count()
}

fn is_assigned(rest: &[u8]) -> bool {
    let rest = rest.trim_ascii_start();
    rest.starts_with(b"=") && !rest.starts_with(b"==")
}

fn begins_with_part(value: &[u8]) -> bool {
    let length = end_of_word(value, 0);
    let word = &value[..length];
    if length < PART_BYTES_MIN || length > BUILDERS[3].len() {
        return false;
    }
    let mut lower = [0; 10];
    lower[..length].copy_from_slice(word);
    lower.make_ascii_lowercase();
    let is_part = |name: &&[u8]| memmem::find(name, &lower[..length]).is_some();
    READERS.iter().any(is_part) || length >= BUILDER_PART_BYTES_MIN && BUILDERS.iter().any(is_part)
}

/// What the escapes of a literal stand for. Where that is not known, it may be a dot.
pub(super) fn value(content: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr(b'\\', content) else { return Cow::Borrowed(content) };
    let mut value = content[..first].to_vec();
    let mut rest = &content[first..];
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            value.push(*byte);
            continue;
        }
        let (stands_for, length) = escape(rest);
        value.push(stands_for);
        rest = &rest[length.min(rest.len())..];
    }
    Cow::Owned(value)
}

/// The character of an escape, and its length without the backslash. What is beyond ASCII is no
/// character that matters.
fn escape(rest: &[u8]) -> (u8, usize) {
    const OTHER: u8 = 0xff;
    let digits = |from: usize, longest: usize, is_digit: fn(&u8) -> bool| {
        let rest = rest.get(from..).unwrap_or_default();
        rest.iter().take(longest).take_while(|byte| is_digit(byte)).count()
    };
    let number = |from: usize, length: usize, radix: u32| {
        let text = std::str::from_utf8(&rest[from..from + length]).unwrap_or_default();
        let value = u32::from_str_radix(text, radix).ok().map(|value| value & 0xff);
        value.and_then(|value| u8::try_from(value).ok()).unwrap_or(OTHER)
    };
    match rest.first().copied() {
        Some(b'n' | b'r' | b'v' | b'f') => (b'\n', 1),
        Some(b't') => (b'\t', 1),
        Some(b'a' | b'b' | b'e' | b'E') => (OTHER, 1),
        Some(b'0'..=b'7') => {
            let length = digits(0, 3, |byte| (b'0'..=b'7').contains(byte));
            (number(0, length, 8), length)
        }
        Some(b'x' | b'o' | b'N' | b'u') if rest.get(1) == Some(&b'{') => {
            (b'.', memchr(b'}', rest).map_or(2, |end| end + 1))
        }
        Some(b'x') => {
            let length = digits(1, 8, u8::is_ascii_hexdigit);
            (number(1, length, 16), 1 + length)
        }
        Some(letter @ (b'u' | b'U')) => {
            let length = digits(1, if letter == b'u' { 4 } else { 8 }, u8::is_ascii_hexdigit);
            let is_ascii = (number_of(&rest[1..1 + length]) < 0x80).then(|| number(1, length, 16));
            (is_ascii.unwrap_or(OTHER), 1 + length)
        }
        Some(other) => (other, 1),
        None => (b'\\', 0),
    }
}

fn number_of(digits: &[u8]) -> u32 {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    u32::from_str_radix(text, 16).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_have_values() {
        let value = |text: &str| String::from_utf8_lossy(&value(text.as_bytes())).into_owned();
        assert_eq!(value(r"\x2ei\056n\u002e\.\x{2e}\N{FULL STOP}z"), ".i.n....z");
        assert_eq!(value(r"a\nb\tc\\d\"), "a\nb\tc\\d\\");
        assert_eq!(value(r"\x2E\x0d\0561"), ".\r.1");
    }

    #[test]
    fn dots_and_what_is_behind_them() {
        let dot = |text: &str| dot(text.as_bytes(), text.find('.').unwrap());
        assert_eq!(dot("\t.incbin \"x\""), Dot::Reads);
        assert_eq!(dot(".INCLUDE"), Dot::Reads);
        assert_eq!(dot(" .macro m"), Dot::Builds);
        assert_eq!(dot(".inc"), Dot::Open(None));
        assert_eq!(dot("."), Dot::Open(None));
        assert_eq!(dot(".i%0"), Dot::Open(Some(b'%')));
        for plain in ["a.include", "x).include", ".includes", ".text", "1.i", ".x"] {
            assert_eq!(dot(plain), Dot::Plain, "{plain}");
        }
    }
}
