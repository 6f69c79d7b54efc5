//! The first translation phases (splices, trigraphs) and the small lexing that the others share.

use std::borrow::Cow;

use memchr::{memchr, memmem};

/// A comment longer than this within a directive counts as one that does not end: the search for
/// ends must not make the scan quadratic.
const COMMENT_BYTES_MAX: usize = 64 * 1024;

/// `bytes` with each backslash-newline taken out, borrowed when there is none, and where in the result
/// they were.
///
/// Blanks between the backslash and the end of the line do not matter (gcc: "backslash and newline
/// separated by space"). A carriage return alone ends a line too, as it does for clang.
pub(super) fn without_splices(bytes: &[u8]) -> (Cow<'_, [u8]>, Vec<usize>) {
    let mut places = Vec::new();
    let mut kept: Vec<u8> = Vec::new();
    let mut copied = 0;
    let mut from = 0;
    while let Some(at) = memchr(b'\\', &bytes[from..]).map(|offset| from + offset) {
        from = at + 1;
        if let Some(end) = end_of_splice(bytes, from) {
            if kept.capacity() == 0 {
                kept.reserve(bytes.len());
            }
            kept.extend_from_slice(&bytes[copied..at]);
            places.push(kept.len());
            copied = end;
            from = end;
        }
    }
    if copied == 0 {
        return (Cow::Borrowed(bytes), places);
    }
    kept.extend_from_slice(&bytes[copied..]);
    (Cow::Owned(kept), places)
}

/// Where the text goes on when only blanks stand between `from` and the end of the line.
fn end_of_splice(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while matches!(bytes.get(at), Some(b' ' | b'\t' | 0x0b | 0x0c | 0)) {
        at += 1;
    }
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\n'), _) => Some(at + 1),
        (Some(b'\r'), Some(b'\n')) => Some(at + 2),
        (Some(b'\r'), _) => Some(at + 1),
        _ => None,
    }
}

/// `bytes` with each trigraph replaced; `None` when there is none.
pub(super) fn without_trigraphs(bytes: &[u8]) -> Option<Vec<u8>> {
    memmem::find(bytes, b"??")?;
    let mut replaced = Vec::with_capacity(bytes.len());
    let mut any = false;
    let mut at = 0;
    while at < bytes.len() {
        let stands_for = match bytes[at..] {
            [b'?', b'?', third, ..] => trigraph(third),
            _ => None,
        };
        any |= stands_for.is_some();
        replaced.push(stands_for.unwrap_or(bytes[at]));
        at += if stands_for.is_some() { 3 } else { 1 };
    }
    any.then_some(replaced)
}

fn trigraph(third: u8) -> Option<u8> {
    Some(match third {
        b'=' => b'#',
        b'/' => b'\\',
        b'\'' => b'^',
        b'(' => b'[',
        b')' => b']',
        b'!' => b'|',
        b'<' => b'{',
        b'>' => b'}',
        b'-' => b'~',
        _ => return None,
    })
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

/// A blank within a line. Bytes beyond ASCII count: clang takes Unicode's blanks for blanks.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | 0 | 0x80..)
}

pub(super) fn is_line_end(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

/// The first place from `at` on that is neither a blank of the same line nor in a block comment.
pub(super) fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    loop {
        match text.get(at) {
            Some(byte) if is_blank(*byte) => at += 1,
            Some(b'/') if text.get(at + 1) == Some(&b'*') => {
                let window = &text[at + 2..(at + 2 + COMMENT_BYTES_MAX).min(text.len())];
                match memmem::find(window, b"*/") {
                    Some(length) => at += 2 + length + 2,
                    None => return text.len(),
                }
            }
            _ => return at,
        }
    }
}

/// The word at `at`, empty when there is none.
pub(super) fn word_at(text: &[u8], at: usize) -> &[u8] {
    let rest = text.get(at..).unwrap_or_default();
    &rest[..rest.iter().take_while(|byte| is_word(**byte)).count()]
}

/// Whether a directive could begin at `at`: only blanks, or the end of a comment, before it.
pub(super) fn begins_line(text: &[u8], at: usize) -> bool {
    let mut before = at;
    while before > 0 {
        let byte = text[before - 1];
        if is_line_end(byte) || byte >= 0x80 {
            return true;
        }
        if !is_blank(byte) {
            return byte == b'/' && before >= 2 && text[before - 2] == b'*';
        }
        before -= 1;
    }
    true
}

/// Whether a carriage return stands alone: a line ends there for clang, and for gcc it does not.
pub(super) fn has_lone_return(text: &[u8]) -> bool {
    memchr::memchr_iter(b'\r', text).any(|at| text.get(at + 1) != Some(&b'\n'))
}

/// The end of the line that `at` is in.
pub(super) fn line_end(text: &[u8], at: usize) -> usize {
    memchr::memchr2(b'\n', b'\r', &text[at..]).map_or(text.len(), |length| at + length)
}

/// The start of the line that `at` is in.
pub(super) fn line_start(text: &[u8], at: usize) -> usize {
    memchr::memrchr2(b'\n', b'\r', &text[..at]).map_or(0, |end| end + 1)
}

/// A header name in its delimiters at `at`: the name, whether in angle brackets, and its end.
pub(super) fn header_name(text: &[u8], at: usize) -> Option<(&[u8], bool, usize)> {
    let closing = match text.get(at)? {
        b'"' => b'"',
        b'<' => b'>',
        _ => return None,
    };
    let rest = &text[at + 1..];
    let length = memchr::memchr3(closing, b'\n', b'\r', rest)?;
    if rest[length] != closing {
        return None;
    }
    Some((&rest[..length], closing == b'>', at + 1 + length + 1))
}
