//! Finds the macros whose value is the moment of the compile, whole or in pieces to be pasted.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::Scan;
use super::text::{is_blank, is_word};

const NAMES: [&[u8]; 3] = [b"__DATE__", b"__TIME__", b"__TIMESTAMP__"];
const NAME_BYTES_MAX: usize = b"__TIMESTAMP__".len();

static DATE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"__DATE__"));
static TIME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"__TIME__"));
static TIMESTAMP: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"__TIMESTAMP__"));
static ENDS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new(b"E_"), Finder::new(b"P_")]);
static PASTE: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new(b"##"), Finder::new(b"%:%:")]);

/// Records in `scan` the time macros of `text` (without splices).
pub(super) fn find(text: &[u8], scan: &mut Scan) {
    scan.date |= has_word(text, &DATE);
    scan.time |= has_word(text, &TIME);
    scan.timestamp |= has_word(text, &TIMESTAMP);
    scan.may_build_time_macro = scan.may_build_time_macro
        || ENDS.iter().any(|end| end.find_iter(text).any(|at| is_last_piece(text, at)))
        || pastes_underscores(text);
}

fn has_word(text: &[u8], finder: &Finder) -> bool {
    let length = finder.needle().len();
    finder.find_iter(text).any(|at| {
        let before = at.checked_sub(1).map(|before| text[before]);
        let after = text.get(at + length).copied();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Whether the word around the `E_` or `P_` at `at` is a part of a name that can come last, or last
/// but for an underscore: every way to paste a name has one, or has underscores alone at its end.
fn is_last_piece(text: &[u8], at: usize) -> bool {
    let end = at + 1 + text[at + 1..].iter().take_while(|byte| **byte == b'_').count();
    if end - at > 3 || text.get(end).copied().is_some_and(is_word) {
        return false;
    }
    let letters = text[..at + 1].iter().rev().take(NAME_BYTES_MAX + 1);
    let start = at + 1 - letters.take_while(|byte| is_word(**byte)).count();
    let piece = &text[start..end];
    NAMES.iter().any(|name| {
        piece.len() < name.len()
            && (name.ends_with(piece) || name[..name.len() - 1].ends_with(piece))
    })
}

/// Whether a piece of one or two underscores is pasted to the end of something, next to `##` or as
/// the last argument of a macro.
fn pastes_underscores(text: &[u8]) -> bool {
    let after_paste = |at: usize, length: usize| {
        let from = skip(text, at + length);
        underscores(text, from).is_some()
    };
    if PASTE
        .iter()
        .any(|paste| paste.find_iter(text).any(|at| after_paste(at, paste.needle().len())))
    {
        return true;
    }
    memchr::memchr_iter(b',', text).any(|at| {
        let from = skip(text, at + 1);
        underscores(text, from).is_some_and(|end| text.get(skip(text, end)) == Some(&b')'))
    })
}

fn skip(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(|byte| is_blank(*byte)) {
        at += 1;
    }
    at
}

/// The end of the word at `from` if that is one or two underscores.
fn underscores(text: &[u8], from: usize) -> Option<usize> {
    let count = text.get(from..)?.iter().take(3).take_while(|byte| **byte == b'_').count();
    let end = from + count;
    (matches!(count, 1 | 2) && !text.get(end).copied().is_some_and(is_word)).then_some(end)
}
