//! Finds the uses of `__has_include` and its kin, which make the absence of a file count.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use super::directive::is_plain;
use super::text::{begins_line, header_name, is_word, line_end, line_start, skip_blanks, word_at};
use super::{Directive, Form, Kind, Scan};

static OPERATOR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"__has_"));

/// What is in some piece of the name of any operator that is pasted: the first, or where that is underscores
/// alone, the one after them.
static PIECES: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new(b"__has"), Finder::new(b"has_")]);

/// The operators whose operand is a file, which pieces may give.
const PASTED: [&[u8]; 3] = [b"__has_include", b"__has_include_next", b"__has_embed"];

/// Words of an operand that gcc's and clang's GNU modes predefine as macros.
const PREDEFINED_PLAIN: [&[u8]; 3] = [b"linux", b"unix", b"i386"];

/// Which directive a line holds, as far as the operators care.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// `#if`, `#elif`.
    Condition,
    /// `#define`.
    Definition,
    /// The rest of some directive after a comment over several lines.
    Rest,
    /// `#ifdef`, `#ifndef`, `#elifdef`, `#elifndef`, `#undef`: the operator is only a name there.
    Name,
    /// Any other directive, and ordinary text: the operators mean nothing there.
    Other,
}

/// Records in `scan` every operand of `__has_include` in `text` (without splices).
pub(super) fn find(text: &[u8], scan: &mut Scan) {
    let mut from = 0;
    while let Some(at) = OPERATOR.find(&text[from..]).map(|offset| from + offset) {
        let start = line_start(text, at);
        let end = line_end(text, at);
        let (line, body) = classify(text, start, at, end);
        match line {
            Line::Condition | Line::Definition | Line::Rest => {
                Operators { text, end, line, scan }.run(body);
            }
            Line::Name | Line::Other => {}
        }
        from = end.max(at + 1);
    }
    scan.opaque_has_include = scan.opaque_has_include || has_pieces(text);
}

/// Whether a condition or a macro's text has a piece of an operator's name where `##` may join it to
/// others: next to `##`, or alone as an argument.
fn has_pieces(text: &[u8]) -> bool {
    PIECES.iter().any(|finder| {
        finder.find_iter(text).any(|at| {
            let word_at_start = text[..at].iter().rposition(|byte| !is_word(*byte));
            let start = word_at_start.map_or(0, |before| before + 1);
            is_piece(word_at(text, start)) && is_joined(text, start) && {
                let (line, body) = classify(text, line_start(text, at), at, line_end(text, at));
                matches!(line, Line::Condition | Line::Definition | Line::Rest) && body <= start
            }
        })
    })
}

/// Whether a word begins such a name, or ends it after its underscores.
fn is_piece(word: &[u8]) -> bool {
    PASTED.iter().any(|name| {
        let begins = word.len() >= b"__has".len() && name.starts_with(word);
        let ends = word.starts_with(b"has_") || word.starts_with(b"_has_");
        word.len() < name.len() && (begins || ends && name.ends_with(word))
    }) && word != PASTED[0]
}

/// Whether the word at `start` stands next to `##`, or alone as an argument of something else than
/// `defined`. libstdc++ pastes the names of classes (`struct __has_##t`).
fn is_joined(text: &[u8], start: usize) -> bool {
    let before = text[..start].trim_ascii_end();
    let after = text[start + word_at(text, start).len()..].trim_ascii_start();
    let pastes = |rest: &[u8]| rest.starts_with(b"##") || rest.starts_with(b"%:%:");
    if before.ends_with(b"struct") {
        return false;
    }
    let is_first = before.strip_suffix(b"(").map(<[u8]>::trim_ascii_end);
    let is_argument = (before.ends_with(b",")
        || is_first.is_some_and(|rest| {
            rest.last().copied().is_some_and(is_word) && !rest.ends_with(b"defined")
        }))
        && (after.starts_with(b",") || after.starts_with(b")"));
    pastes(after) || before.ends_with(b"##") || before.ends_with(b"%:%:") || is_argument
}

/// What the line from `start` is, and where what follows its directive's name begins.
fn classify(text: &[u8], start: usize, at: usize, end: usize) -> (Line, usize) {
    let mut hash = skip_blanks(text, start);
    if hash > at {
        hash = start;
    }
    let after = match (text.get(hash), text.get(hash + 1)) {
        (Some(b'#'), _) => hash + 1,
        (Some(b'%'), Some(b':')) => hash + 2,
        // A comment of several lines may end on this line, within a directive.
        _ => match memmem::find(&text[start..end], b"*/") {
            Some(length) => return after_comment(text, start + length + 2, end),
            None => return (Line::Other, at),
        },
    };
    of_directive(text, after)
}

fn after_comment(text: &[u8], from: usize, end: usize) -> (Line, usize) {
    let hash = skip_blanks(text, from);
    if hash < end && text[hash] == b'#' && begins_line(text, hash) {
        return of_directive(text, hash + 1);
    }
    (Line::Rest, from)
}

fn of_directive(text: &[u8], after_hash: usize) -> (Line, usize) {
    let name_at = skip_blanks(text, after_hash);
    let name = word_at(text, name_at);
    let line = match name {
        b"if" | b"elif" => Line::Condition,
        b"define" => Line::Definition,
        b"ifdef" | b"ifndef" | b"elifdef" | b"elifndef" | b"undef" => Line::Name,
        // `#/*` may carry the directive's name to a later line.
        b"" => Line::Condition,
        _ => Line::Other,
    };
    (line, name_at + name.len())
}

/// One pass over one line.
struct Operators<'a, 'b> {
    text: &'a [u8],
    end: usize,
    line: Line,
    scan: &'b mut Scan,
}

impl<'a> Operators<'a, '_> {
    fn run(&mut self, from: usize) {
        let text = self.text;
        let mut at = from;
        if self.line == Line::Definition {
            // `#define __has_include(x) 0` defines the name, it does not use it.
            at = skip_blanks(text, at);
            let defined = word_at(text, at);
            at += defined.len();
        }
        while at < self.end {
            match text[at] {
                b'/' if text.get(at + 1) == Some(&b'/') => return,
                b'/' if text.get(at + 1) == Some(&b'*') => at = skip_blanks(text, at),
                quote @ (b'"' | b'\'') => at = self.after_literal(at, quote),
                byte if is_word(byte) => {
                    let word = word_at(text, at);
                    let after = at + word.len();
                    at = if word.starts_with(b"__has_") {
                        self.operator(word, at, after)
                    } else {
                        after
                    };
                }
                _ => at += 1,
            }
        }
    }

    /// The end of the literal at `at`, or the next byte when it does not end on this line.
    fn after_literal(&self, at: usize, quote: u8) -> usize {
        let mut end = at + 1;
        while end < self.end {
            match self.text[end] {
                b'\\' => end += 2,
                byte if byte == quote => return end + 1,
                _ => end += 1,
            }
        }
        at + 1
    }

    /// Reads one operator and returns where to go on.
    fn operator(&mut self, word: &[u8], at: usize, after: usize) -> usize {
        let kind = match word {
            // gcc 5 to 9 spell the operators so, below a macro.
            b"__has_include" | b"__has_include__" => Kind::Include,
            b"__has_include_next" | b"__has_include_next__" => Kind::Next,
            b"__has_embed" => {
                let counts = !self.is_only_named(at);
                match self.line {
                    Line::Definition => self.scan.macro_has_include |= counts,
                    _ => self.scan.opaque_has_include |= counts,
                }
                return after;
            }
            b"__has_" => {
                self.scan.opaque_has_include |= self.is_pasted(after) && !self.names_type(at);
                return after;
            }
            _ => return after,
        };
        if self.is_only_named(at) {
            return after;
        }
        match self.operand(after) {
            Some((name, form, end)) => {
                self.record(name, form, kind);
                end
            }
            None => {
                self.scan.macro_has_include = true;
                after
            }
        }
    }

    /// Whether the operator at `at` is the operand of `defined`.
    fn is_only_named(&self, at: usize) -> bool {
        let before = self.text[..at].trim_ascii_end();
        let before = before.strip_suffix(b"(").unwrap_or(before).trim_ascii_end();
        let Some(rest) = before.strip_suffix(b"defined") else { return false };
        !rest.last().copied().is_some_and(is_word)
    }

    fn is_pasted(&self, after: usize) -> bool {
        let rest = &self.text[skip_blanks(self.text, after)..];
        rest.starts_with(b"##") || rest.starts_with(b"%:%:")
    }

    /// Whether the word at `at` makes the name of a class, as in libstdc++'s `type_traits`: no
    /// condition has two words in a row.
    fn names_type(&self, at: usize) -> bool {
        let before = self.text[..at].trim_ascii_end();
        let Some(rest) = before.strip_suffix(b"struct") else { return false };
        before.len() < at && !rest.last().copied().is_some_and(is_word)
    }

    /// The literal in brackets after an operator.
    fn operand(&self, after: usize) -> Option<(&'a [u8], Form, usize)> {
        let text = self.text;
        let opening = skip_blanks(text, after);
        if text.get(opening) != Some(&b'(') {
            return None;
        }
        let (name, angle, end) = header_name(text, skip_blanks(text, opening + 1))?;
        let closing = skip_blanks(text, end);
        if text.get(closing) != Some(&b')') {
            return None;
        }
        Some((name, if angle { Form::Angle } else { Form::Quote }, closing + 1))
    }

    fn record(&mut self, name: &[u8], form: Form, kind: Kind) {
        if self.line == Line::Condition {
            self.scan.add_has_include(Directive { name: name.to_vec(), form, kind });
            return;
        }
        // In a macro's text the operand of a quote is sought from where the macro is used, and one
        // in angle brackets is tokens again, of which each can be a macro.
        let words = || name.split(|byte| !is_word(*byte)).filter(|word| !word.is_empty());
        let is_literal = |word: &[u8]| {
            (is_plain(word) && !PREDEFINED_PLAIN.contains(&word)) || word[0].is_ascii_digit()
        };
        if form == Form::Quote || kind == Kind::Next || !words().all(is_literal) {
            self.scan.macro_has_include = true;
            return;
        }
        for word in words() {
            self.scan.add_operand_word(word);
        }
        self.scan.add_has_include(Directive { name: name.to_vec(), form, kind });
    }
}
