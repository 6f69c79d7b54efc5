//! Says whether text could make an assembler read another file: `.incbin`, `.include`, or parts.

use std::sync::LazyLock;

use memchr::memchr_iter;
use memchr::memmem::Finder;

use super::text::is_word;

/// The directives of GNU as that read a file, and those that build text from pieces.
const READERS: [&[u8]; 2] = [b"incbin", b"include"];
const BUILDERS: [&[u8]; 4] = [b"macro", b"irp", b"irpc", b"altmacro"];

static INCBIN: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new(b"incbin"), Finder::new(b"INCBIN")]);

/// Whether `text` (without splices), as assembler source or in the strings of an `asm`, could read
/// a file. Case does not matter to the assembler; a directive may be split over several strings or
/// written with escapes.
pub(super) fn may_include(text: &[u8]) -> bool {
    INCBIN.iter().any(|finder| finder.find(text).is_some())
        || memchr_iter(b'.', text).any(|at| is_dot_suspect(text, at))
        || memchr_iter(b'\\', text).any(|at| is_escaped_dot(&text[at + 1..]))
        || (memchr_iter(b'"', text).any(|at| is_string_suspect(text, at))
            && memchr_iter(b'.', text).any(|at| ends_with_dot(text, at)))
}

/// Whether the dot ends a piece of text that another piece, or a macro, follows.
fn ends_with_dot(text: &[u8], at: usize) -> bool {
    let Some(rest) = text[at + 1..].strip_prefix(b"\"") else { return false };
    let next = rest.trim_ascii_start().first();
    next.is_some_and(|byte| is_word(*byte) || matches!(byte, b'"' | b'/' | b'#' | b'%'))
}

/// A dot before a directive's name, or before a start of one that ends where a piece ends.
fn is_dot_suspect(text: &[u8], at: usize) -> bool {
    let rest = &text[at + 1..];
    let length = rest.iter().take(9).take_while(|byte| is_word(**byte)).count();
    let word = &rest[..length];
    if READERS.iter().chain(&BUILDERS).any(|name| word.eq_ignore_ascii_case(name)) {
        return !is_member(text, at);
    }
    length > 0
        && READERS.iter().any(|name| starts(name, word))
        && ends_piece(&rest[length..])
        && !is_member(text, at)
}

/// Whether the dot belongs to a longer name, such as a call `set.include()`.
fn is_member(text: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1) else { return false };
    let escaped = before > 0 && text[before - 1] == b'\\';
    (is_word(text[before]) && !escaped) || matches!(text[before], b')' | b']')
}

fn starts(name: &[u8], word: &[u8]) -> bool {
    name.len() > word.len() && name[..word.len()].eq_ignore_ascii_case(word)
}

/// Whether a piece of a name ends here: a quote, an escape, a paste.
fn ends_piece(rest: &[u8]) -> bool {
    matches!(
        rest.trim_ascii_start(),
        [b'"' | b'\\', ..] | [b'#', b'#', ..] | [b'%', b':', ..] | [b'/', b'*', ..]
    )
}

/// A string that is only a start of a directive's name, as in `"." "inc" "bin"`.
fn is_string_suspect(text: &[u8], at: usize) -> bool {
    let rest = &text[at + 1..];
    let length = rest.iter().take(8).take_while(|byte| is_word(**byte)).count();
    length >= 2
        && rest.get(length) == Some(&b'"')
        && READERS.iter().any(|name| starts(name, &rest[..length]))
}

/// A dot written as an escape: `\x2e`, `\56`, `\056`, `\u002e`.
fn is_escaped_dot(after_backslash: &[u8]) -> bool {
    let value = |digits: &[u8], radix| {
        std::str::from_utf8(digits).ok().and_then(|text| u32::from_str_radix(text, radix).ok())
    };
    let run = |bytes: &[u8], is_digit: fn(&u8) -> bool, longest: usize| {
        bytes.iter().take(longest).take_while(|byte| is_digit(byte)).count()
    };
    let dot = Some(u32::from(b'.'));
    match after_backslash {
        [b'x', rest @ ..] => {
            let length = run(rest, u8::is_ascii_hexdigit, 8);
            value(&rest[..length], 16) == dot || rest.first() == Some(&b'{')
        }
        [b'u' | b'U', rest @ ..] => {
            let length = run(rest, u8::is_ascii_hexdigit, 8);
            value(&rest[..length.min(4)], 16) == dot || value(&rest[..length], 16) == dot
        }
        [b'0'..=b'7', ..] => {
            let length = run(after_backslash, |byte| (b'0'..=b'7').contains(byte), 3);
            value(&after_backslash[..length], 8) == dot
        }
        [b'o', b'{', ..] | [b'N', b'{', ..] => true,
        _ => false,
    }
}
