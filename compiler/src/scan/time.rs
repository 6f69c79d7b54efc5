//! Finds the macros whose value is the moment of the compile, whole or in pieces to be pasted; and
//! pieces of others that are lost in a text whose includes alone are resolved.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use super::Scan;
use super::text::{is_blank, is_word, line_start, word_at};

const NAMES: [&[u8]; 3] = [b"__DATE__", b"__TIME__", b"__TIMESTAMP__"];
const STATE_NAMES: [&[u8]; 2] = [b"__BASE_FILE__", b"__INCLUDE_LEVEL__"];
const COUNTER_NAMES: [&[u8]; 1] = [b"__COUNTER__"];
const NAME_BYTES_MAX: usize = b"__INCLUDE_LEVEL__".len();

static DATE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"__DATE__"));
static TIME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"__TIME__"));
static TIMESTAMP: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"__TIMESTAMP__"));
static ENDS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new(b"E_"), Finder::new(b"P_")]);
static STATE_ENDS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new(b"E_"), Finder::new(b"L_")]);
static COUNTER_ENDS: LazyLock<[Finder<'static>; 1]> = LazyLock::new(|| [Finder::new(b"R_")]);
static UNDEF: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"undef"));
static PASTE: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new(b"##"), Finder::new(b"%:%:")]);

/// Records in `scan` the time macros of `text` (without splices).
pub(super) fn find(text: &[u8], scan: &mut Scan) {
    scan.date |= has_word(text, &DATE);
    scan.time |= has_word(text, &TIME);
    scan.timestamp |= has_word(text, &TIMESTAMP);
    scan.may_build_time_macro = scan.may_build_time_macro
        || has_last_piece(text, &NAMES, &*ENDS)
        || pastes_underscores(text);
    scan.macro_state = scan.macro_state || has_last_piece(text, &STATE_NAMES, &*STATE_ENDS);
    scan.counter = scan.counter || has_last_piece(text, &COUNTER_NAMES, &*COUNTER_ENDS);
}

fn has_last_piece(text: &[u8], names: &[&[u8]], ends: &[Finder<'static>]) -> bool {
    ends.iter().any(|end| end.find_iter(text).any(|at| is_last_piece(text, at, names)))
}

fn has_word(text: &[u8], finder: &Finder) -> bool {
    let length = finder.needle().len();
    finder.find_iter(text).any(|at| {
        let before = at.checked_sub(1).map(|before| text[before]);
        let after = text.get(at + length).copied();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Whether the word around a letter and its underscore at `at` is a part of a name that can come last,
/// or last but for an underscore: every way to paste a name has one, or has underscores alone at its
/// end.
fn is_last_piece(text: &[u8], at: usize, names: &[&[u8]]) -> bool {
    let end = at + 1 + text[at + 1..].iter().take_while(|byte| **byte == b'_').count();
    if end - at > 3 || text.get(end).copied().is_some_and(is_word) {
        return false;
    }
    let letters = text[..at + 1].iter().rev().take(NAME_BYTES_MAX + 1);
    let start = at + 1 - letters.take_while(|byte| is_word(**byte)).count();
    let piece = &text[start..end];
    names.iter().any(|name| {
        piece.len() < name.len()
            && (name.ends_with(piece) || name[..name.len() - 1].ends_with(piece))
    })
}

/// Whether a piece of one or two underscores is pasted to the end of something, next to `##` or as
/// the last argument of a macro.
fn pastes_underscores(text: &[u8]) -> bool {
    let pasted = |at: &usize, length: usize| underscores(text, skip(text, at + length)).is_some();
    let mut pastes = PASTE.iter().flat_map(|paste| {
        let length = paste.needle().len();
        paste.find_iter(text).filter(move |at| pasted(at, length))
    });
    if pastes.any(|at| has_fragment(text) || !is_undefined_again(text, at)) {
        return true;
    }
    memchr::memchr_iter(b',', text).any(|at| {
        let from = skip(text, at + 1);
        underscores(text, from).is_some_and(|end| text.get(skip(text, end)) == Some(&b')'))
    })
}

/// Whether the macro whose definition holds `at` ends in this file, and so cannot be given pieces
/// by another one (as glibc's `sys/socket.h` does).
fn is_undefined_again(text: &[u8], at: usize) -> bool {
    let line = text[line_start(text, at)..at].trim_ascii_start();
    let Some(line) = line.strip_prefix(b"#") else { return false };
    let Some(rest) = line.trim_ascii_start().strip_prefix(b"define") else { return false };
    let name = word_at(rest, skip(rest, 0));
    !name.is_empty()
        && UNDEF.find_iter(&text[at..]).any(|offset| {
            let operand = skip(text, at + offset + UNDEF.needle().len());
            word_at(text, operand) == name
        })
}

/// Whether some word is a part, of two letters or more, of the names without underscores.
fn has_fragment(text: &[u8]) -> bool {
    text.split(|byte| !is_word(*byte)).any(|word| {
        word.len() >= 2
            && word.len() < NAME_BYTES_MAX
            && word[word.len() - 1].is_ascii_uppercase()
            && NAMES.iter().any(|name| memmem::find(name, word).is_some())
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
