//! Translation phase 3 as far as the scan needs it: without comments, and with each literal on one line.
//!
//! Languages differ in a few spellings, and a scan does not know its language. Where that makes a
//! difference, the text is read in each way, and all that is found counts.

use memchr::{memchr, memchr2, memchr3, memmem, memrchr};

use super::assembler::Pieces;
use super::text::{is_word, line_end};

/// A raw string's delimiter is no longer (C++ [lex.string]).
const DELIMITER_BYTES_MAX: usize = 16;

/// Stands for what would look like the end of a literal or of a line, but is inside of a literal.
const COVERED: u8 = 1;

/// The spellings in which languages differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    /// `R"(…)"`: C++11, and GNU C99.
    pub raw_strings: bool,
    /// `// …`: all but ISO C90.
    pub line_comments: bool,
    /// `1'000`: C++14 and C23.
    pub separators: bool,
}

impl Dialect {
    /// The dialect of a number below 8; 0 is the newest, which has all of them.
    fn of_number(number: u8) -> Dialect {
        let has = |bit: u8| number & bit == 0;
        Dialect { raw_strings: has(1), line_comments: has(2), separators: has(4) }
    }

    /// Whether it differs from the newest in nothing but what `doubts` names.
    fn is_within(self, doubts: Dialect) -> bool {
        (self.raw_strings || doubts.raw_strings)
            && (self.line_comments || doubts.line_comments)
            && (self.separators || doubts.separators)
    }

    fn or(self, other: Dialect) -> Dialect {
        Dialect {
            raw_strings: self.raw_strings || other.raw_strings,
            line_comments: self.line_comments || other.line_comments,
            separators: self.separators || other.separators,
        }
    }
}

/// The text in each way in which a compiler may read it; `None` where compilers disagree about it in
/// ways that are not followed.
pub(super) fn readings(
    text: &[u8],
    splices: &[usize],
    pieces: &mut Pieces,
) -> Option<Vec<Vec<u8>>> {
    let mut doubts = Dialect { raw_strings: false, line_comments: false, separators: false };
    let mut readings = Vec::new();
    let mut is_read = [false; 8];
    // A way of reading may show doubts that another one hides.
    while let Some(number) = (0..8_u8).find(|number| {
        !is_read[usize::from(*number)] && Dialect::of_number(*number).is_within(doubts)
    }) {
        is_read[usize::from(number)] = true;
        let dialect = Dialect::of_number(number);
        let mut lexer = Lexer::new(text, splices, dialect, pieces);
        lexer.run();
        // What never ends is an error to every compiler, so that nobody reads the text in this way.
        if lexer.is_lost || lexer.is_endless && number == 0 {
            return None;
        }
        doubts = doubts.or(lexer.doubts);
        if !lexer.is_endless {
            readings.push(lexer.code);
        }
    }
    Some(readings)
}

struct Lexer<'t, 'p> {
    text: &'t [u8],
    /// Where splices were taken out of the text.
    splices: &'t [usize],
    dialect: Dialect,
    /// The spellings that were met and make a difference.
    doubts: Dialect,
    /// Compilers disagree.
    is_lost: bool,
    /// The text ends within a comment or a raw string.
    is_endless: bool,
    code: Vec<u8>,
    /// Up to where the text is in `code`.
    copied: usize,
    pieces: &'p mut Pieces,
}

impl<'t, 'p> Lexer<'t, 'p> {
    fn new(
        text: &'t [u8],
        splices: &'t [usize],
        dialect: Dialect,
        pieces: &'p mut Pieces,
    ) -> Lexer<'t, 'p> {
        Lexer {
            text,
            splices,
            dialect,
            doubts: Dialect { raw_strings: false, line_comments: false, separators: false },
            is_lost: false,
            is_endless: false,
            code: Vec::with_capacity(text.len()),
            copied: 0,
            pieces,
        }
    }

    fn run(&mut self) {
        let mut at = 0;
        while let Some(offset) = memchr3(b'/', b'"', b'\'', &self.text[at..]) {
            let here = at + offset;
            at = match self.text[here] {
                b'/' => self.slash(here),
                b'"' => self.quote(here),
                _ => self.apostrophe(here),
            };
            if self.is_lost || self.is_endless {
                return;
            }
        }
        self.copy_up_to(self.text.len());
    }

    /// Puts the code before `at` where it belongs.
    fn copy_up_to(&mut self, at: usize) {
        self.pieces.code(self.text, self.copied, at);
        self.code.extend_from_slice(&self.text[self.copied..at]);
        self.copied = at;
    }

    fn slash(&mut self, here: usize) -> usize {
        match self.text.get(here + 1) {
            Some(b'/') => self.line_comment(here),
            Some(b'*') => self.block_comment(here),
            _ => here + 1,
        }
    }

    fn line_comment(&mut self, here: usize) -> usize {
        let end = line_end(self.text, here);
        // Elsewhere it ends where the line does, too, unless a comment of several lines begins in it.
        if memmem::find(&self.text[here + 1..end], b"/*").is_some() {
            self.doubts.line_comments = true;
            if !self.dialect.line_comments {
                return here + 1;
            }
        }
        self.copy_up_to(here);
        self.is_lost |= self.is_in_header_name();
        self.copied = end;
        end
    }

    fn block_comment(&mut self, here: usize) -> usize {
        let Some(length) = memmem::find(&self.text[here + 2..], b"*/") else {
            self.is_endless = true;
            return self.text.len();
        };
        let end = here + 2 + length + 2;
        self.copy_up_to(here);
        let carries_over = || memchr2(b'\n', b'\r', &self.text[here..end]).is_some();
        self.is_lost |= self.is_in_header_name() || (self.is_free_text() && carries_over());
        self.code.push(b' ');
        self.copied = end;
        end
    }

    fn quote(&mut self, here: usize) -> usize {
        self.copy_up_to(here);
        if is_raw_prefix(last_word(&self.code)) {
            self.doubts.raw_strings = true;
            if self.dialect.raw_strings {
                return self.raw_string(here);
            }
        }
        self.literal(here, b'"')
    }

    fn apostrophe(&mut self, here: usize) -> usize {
        self.copy_up_to(here);
        if is_word(self.text.get(here + 1).copied().unwrap_or(0)) && ends_with_number(&self.code) {
            self.doubts.separators = true;
            if self.dialect.separators {
                self.copied = here + 1;
                return here + 1;
            }
        }
        self.literal(here, b'\'')
    }

    /// A literal ends with its line at the latest.
    fn literal(&mut self, here: usize, delimiter: u8) -> usize {
        let begin = here + 1;
        let (end, is_ended) = end_of_literal(self.text, begin, delimiter);
        let content = &self.text[begin..end];
        let line = self.line();
        // The name of a header has no escapes, but where the line is skipped it is a string.
        self.is_lost |= is_in_header_name(line) || (takes_header(line) && content.contains(&b'\\'));
        match (is_ended, delimiter) {
            (true, b'"') => {
                self.pieces.literal(content, false);
                self.code.extend_from_slice(&self.text[here..=end]);
            }
            (true, _) => self.code.extend_from_slice(b"''"),
            // Nobody expands macros in it, but it might as well be text.
            (false, _) => {
                self.code.push(COVERED);
                self.code.extend_from_slice(content);
            }
        }
        self.copied = if is_ended { end + 1 } else { end };
        self.copied
    }

    fn raw_string(&mut self, here: usize) -> usize {
        let Some((content, end)) = raw_content(self.text, here + 1) else {
            self.is_lost = true;
            return self.text.len();
        };
        let (from, to) = content;
        let bytes = &self.text[from..to];
        // gcc before 14 ends it with the line of a directive; and splices in it are none.
        let is_torn = memchr(b'\n', bytes).is_some() && is_directive(self.line());
        let first_splice = self.splices.partition_point(|splice| *splice < here);
        let is_spliced = self.splices.get(first_splice).is_some_and(|splice| *splice <= end);
        self.is_lost |= is_torn || is_spliced;
        self.pieces.literal(bytes, true);
        self.code.push(b'"');
        let covered = bytes.iter().map(|byte| match byte {
            b'\n' | b'\r' | b'"' | b'\\' => COVERED,
            other => *other,
        });
        self.code.extend(covered);
        self.code.push(b'"');
        self.copied = end;
        end
    }

    /// The code of this line so far.
    fn line(&self) -> &[u8] {
        let start = memrchr(b'\n', &self.code).map_or(0, |end| end + 1);
        &self.code[start..]
    }

    fn is_in_header_name(&self) -> bool {
        is_in_header_name(self.line())
    }

    /// Whether the line is a directive of which clang reads the rest without looking for comments.
    fn is_free_text(&self) -> bool {
        matches!(directive_name(self.line()), Some(b"error" | b"warning" | b"pragma"))
    }
}

/// The content of a raw string whose delimiter begins at `from`, and where the text goes on.
pub(super) fn raw_content(text: &[u8], from: usize) -> Option<((usize, usize), usize)> {
    let is_delimiter = |byte: &&u8| !matches!(**byte, b' ' | b')' | b'(' | b'\\' | b'"' | 9..=13);
    let rest = &text[from..];
    let length = rest.iter().take(DELIMITER_BYTES_MAX + 1).take_while(is_delimiter).count();
    if length > DELIMITER_BYTES_MAX || rest.get(length) != Some(&b'(') {
        return None;
    }
    let ending = [b")", &rest[..length], b"\""].concat();
    let begin = from + length + 1;
    let end = begin + memmem::find(&text[begin..], &ending)?;
    Some(((begin, end), end + ending.len()))
}

/// Where a literal's content ends, and whether a delimiter is there.
pub(super) fn end_of_literal(text: &[u8], from: usize, delimiter: u8) -> (usize, bool) {
    let mut at = from;
    while let Some(offset) = memchr3(delimiter, b'\\', b'\n', &text[at..]) {
        let end = at + offset;
        match text[end] {
            b'\n' => {
                let before = end.saturating_sub(1);
                let is_pair = before >= from && text[before] == b'\r';
                return (if is_pair { before } else { end }, false);
            }
            b'\\' => at = (end + 2).min(text.len()),
            _ => return (end, true),
        }
    }
    (text.len(), false)
}

fn is_raw_prefix(word: &[u8]) -> bool {
    matches!(word, b"R" | b"LR" | b"uR" | b"UR" | b"u8R")
}

fn last_word(code: &[u8]) -> &[u8] {
    let length = code.iter().rev().take_while(|byte| is_word(**byte)).count();
    &code[code.len() - length..]
}

/// Whether a number is just before the end.
fn ends_with_number(code: &[u8]) -> bool {
    let length = code.iter().rev().take_while(|byte| is_word(**byte) || **byte == b'.').count();
    match code[code.len() - length..] {
        [first, ..] if first.is_ascii_digit() => true,
        [b'.', second, ..] => second.is_ascii_digit(),
        _ => false,
    }
}

fn after_hash(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii_start();
    line.strip_prefix(b"#").or_else(|| line.strip_prefix(b"%:"))
}

fn is_directive(line: &[u8]) -> bool {
    after_hash(line).is_some()
}

fn directive_name(line: &[u8]) -> Option<&[u8]> {
    let rest = after_hash(line)?.trim_ascii_start();
    Some(&rest[..rest.iter().take_while(|byte| is_word(**byte)).count()])
}

/// Whether what follows on the line is the name of a header.
fn takes_header(line: &[u8]) -> bool {
    matches!(directive_name(line), Some(b"include" | b"include_next" | b"import" | b"embed"))
}

/// Whether the line ends in what may be a header's name in angle brackets: where the line is skipped,
/// comments and literals begin in it.
fn is_in_header_name(line: &[u8]) -> bool {
    let Some(rest) = after_hash(line) else { return false };
    let Some(at) = memrchr(b'<', rest) else { return false };
    let is_begun = takes_header(line) || rest[..at].trim_ascii_end().ends_with(b"(");
    is_begun && memchr(b'>', &rest[at..]).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The readings of a text without splices.
    fn read(text: &str) -> Option<Vec<String>> {
        let readings = readings(text.as_bytes(), &[], &mut Pieces::default())?;
        Some(readings.into_iter().map(|code| String::from_utf8_lossy(&code).into_owned()).collect())
    }

    fn only(text: &str) -> String {
        let mut all = read(text).unwrap();
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0)
    }

    #[test]
    fn comments_go_and_literals_stay() {
        assert_eq!(only("a // b\nc"), "a \nc");
        assert_eq!(only("a /* b\n*/ c /**/d"), "a   c  d");
        assert_eq!(only("\"/*\" + '\"' + \"//\\\"\""), "\"/*\" + '' + \"//\\\"\"");
        assert_eq!(only("f('\\''); /* ' */ g"), "f('');   g");
        assert_eq!(only("a / b /* \" */ \"c\""), "a / b   \"c\"");
    }

    #[test]
    fn an_odd_quote_ends_with_its_line() {
        assert_eq!(only("#error it's /* here\nnext"), "#error it\u{1}s /* here\nnext");
        assert_eq!(only("say \"this // and\r\nnext"), "say \u{1}this // and\r\nnext");
    }

    #[test]
    fn what_languages_differ_in_is_read_in_each_way() {
        let raw = read("f(R\"x(\" /* */ )x\"); g").unwrap();
        assert_eq!(raw[0], "f(R\"\u{1} /* */ \"); g");
        assert_eq!(raw[1], "f(R\"x(\"   )x\u{1}); g");
        assert_eq!(read("f(R\"x(\" /* )x\"); g").unwrap().len(), 1);
        assert!(read("f(R\"(a)\");").unwrap().len() == 2);
        assert!(read("f(xR\"(a)\");").unwrap().len() == 1);
        let separated = read("int a = 1'000; int b = 1'0;").unwrap();
        assert_eq!(separated[0], "int a = 1000; int b = 10;");
        assert_eq!(separated[1], "int a = 1''0;");
        let comment = read("a // x/*.c */\nb").unwrap();
        assert_eq!(comment, ["a \nb", "a // x \nb"]);
    }

    #[test]
    fn what_compilers_disagree_about_is_not_followed() {
        for text in [
            "a /* b",
            "#include <a/*.h>\n",
            "#include <it's.h> /* x\n*/",
            "#if __has_include(<a//b.h>)\n",
            "#include \"a\\b.h\"\n",
            "#error a /* b\n*/\n",
            "#define A R\"(a\nb)\"\n",
            "f(R\"a b(x)a b\");",
            "f(R\"(x);",
        ] {
            assert!(read(text).is_none(), "{text}");
        }
        for text in ["#if a < b /* c\n*/\n", "#error a /* b */\n", "#include <a.h> // it's\n"] {
            assert!(read(text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_splice_in_a_raw_string_is_none() {
        let text = b"f(R\"(ab)\"); g";
        let read = |splices: &[usize]| readings(text, splices, &mut Pieces::default());
        assert!(read(&[6]).is_none());
        assert!(read(&[1, 12]).is_some());
    }
}
