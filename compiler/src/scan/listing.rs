//! Says of a preprocessed text whether an assembler would be told to read another file.

use super::assembler::{Dot, dot, value};
use super::lexer::{end_of_literal, raw_content};
use super::text::{is_word, line_end, word_at};

/// Which strings of a source reach the assembler as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those of `asm` statements (clang with its own assembler).
    Statements,
    /// Names of sections, symbols and the like as well.
    AllStrings,
    /// The text is assembler source.
    Source,
}

/// Between a keyword and its text.
const QUALIFIERS: [&[u8]; 7] =
    [b"volatile", b"__volatile", b"__volatile__", b"goto", b"inline", b"__inline", b"__inline__"];

/// Whether a preprocessed text could make the assembler read a file: all macros are expanded, so that
/// what the assembler gets is known, but for operands and what its own macros make of it.
pub fn assembler_may_read(text: &[u8], reach: Reach) -> bool {
    let mut assembly = Assembly::default();
    if reach == Reach::Source {
        assembly.note(text);
        return assembly.may_read();
    }
    // `R"(` begins a raw string, or is a name and a string, as the language says.
    [true, false].into_iter().any(|raw| {
        Listing { text, raw, reach }.read(&mut assembly);
        assembly.may_read()
    })
}

/// What is known of the assembler text of a unit.
#[derive(Default)]
struct Assembly {
    reads: bool,
    /// A macro of the assembler's.
    builds: bool,
    /// Where a macro could complete a directive's name.
    completes: bool,
}

impl Assembly {
    fn may_read(&self) -> bool {
        self.reads || self.builds && self.completes
    }

    /// Takes in the template of a statement: operands and dialects of it may complete a name.
    fn note_template(&mut self, text: &[u8]) {
        self.reads |= memchr::memchr_iter(b'.', text)
            .any(|at| matches!(dot(text, at), Dot::Open(Some(b'%' | b'{' | b'|' | b'}'))));
        self.note(text);
    }

    /// Takes in text that the assembler reads in one piece.
    fn note(&mut self, text: &[u8]) {
        for at in memchr::memchr_iter(b'.', text) {
            match dot(text, at) {
                Dot::Plain => {}
                Dot::Reads => self.reads = true,
                Dot::Builds => {
                    self.builds = true;
                    // Its arguments need no mark to be replaced.
                    self.completes |= is_word_at(text, at + 1, b"altmacro");
                }
                Dot::Open(Some(b'\\' | b'$')) => self.completes = true,
                Dot::Open(_) => {
                    self.completes |= text.get(at + 1).is_some_and(|byte| is_word(*byte));
                }
            }
        }
        // An argument right behind another one.
        self.completes |= memchr::memchr_iter(b'\\', text).any(|at| {
            let length = word_at(text, at + 1).len();
            length > 0 && text.get(at + 1 + length) == Some(&b'\\')
        });
    }
}

fn is_word_at(text: &[u8], at: usize, word: &[u8]) -> bool {
    word_at(text, at).eq_ignore_ascii_case(word)
}

/// A text on its way through.
struct Listing<'t> {
    text: &'t [u8],
    raw: bool,
    reach: Reach,
}

impl Listing<'_> {
    fn read(&self, assembly: &mut Assembly) {
        let mut at = 0;
        while let Some(byte) = self.text.get(at).copied() {
            at = match byte {
                b'"' => self.strings(at, assembly),
                b'\'' => end_of_literal(self.text, at + 1, b'\'').0 + 1,
                b'#' if self.is_line_mark(at) => line_end(self.text, at),
                _ if is_word(byte) => self.word(at, assembly),
                _ => at + 1,
            };
        }
    }

    /// A line mark is the only directive that a preprocessor leaves where its strings are files.
    fn is_line_mark(&self, at: usize) -> bool {
        let begins = at == 0 || self.text[at - 1] == b'\n';
        begins && self.text.get(at + 1) == Some(&b' ') && self.digit_at(at + 2)
    }

    fn digit_at(&self, at: usize) -> bool {
        self.text.get(at).is_some_and(u8::is_ascii_digit)
    }

    fn word(&self, at: usize, assembly: &mut Assembly) -> usize {
        let word = word_at(self.text, at);
        let end = at + word.len();
        if word[0].is_ascii_digit() {
            return self.number(end);
        }
        match word {
            b"asm" | b"__asm" | b"__asm__" | b"_asm" => self.statement(end, assembly),
            b"R" | b"LR" | b"uR" | b"UR" | b"u8R" if self.text.get(end) == Some(&b'"') => {
                self.strings(at, assembly)
            }
            _ => end,
        }
    }

    /// The end of a number, which may be separated: `1'000`.
    fn number(&self, mut end: usize) -> usize {
        while self.text.get(end) == Some(&b'\'') {
            let more = word_at(self.text, end + 1).len();
            if more == 0 {
                break;
            }
            end += 1 + more;
        }
        end
    }

    /// What follows the keyword. Returns where to go on.
    fn statement(&self, after: usize, assembly: &mut Assembly) -> usize {
        let mut at = self.skip(after);
        while QUALIFIERS.contains(&word_at(self.text, at)) {
            at = self.skip(at + word_at(self.text, at).len());
        }
        match self.text.get(at) {
            Some(b'(') => {
                let inner = self.skip(at + 1);
                let Some((text, end)) = self.joined(inner) else {
                    // Not a string: made by a function, or no statement at all.
                    assembly.reads |= self.text.get(inner) == Some(&b'(');
                    return at + 1;
                };
                assembly.note_template(&text);
                end
            }
            // Microsoft's form: the text itself, in braces or up to the end of the line.
            Some(b'{') => {
                let length = memchr::memchr(b'}', &self.text[at..]);
                let end = length.map_or(self.text.len(), |length| at + length);
                assembly.note(&self.text[at..end]);
                end
            }
            Some(_) => {
                let end = line_end(self.text, at);
                assembly.note(&self.text[at..end]);
                at
            }
            None => at,
        }
    }

    /// Strings outside of statements.
    fn strings(&self, at: usize, assembly: &mut Assembly) -> usize {
        let Some((text, end)) = self.joined(at) else { return at + 1 };
        if self.reach == Reach::AllStrings {
            assembly.note(&text);
        }
        end
    }

    /// The value of the literals in a row from `at` on, and where they end.
    fn joined(&self, mut at: usize) -> Option<(Vec<u8>, usize)> {
        let mut joined = Vec::new();
        let mut any = false;
        loop {
            let prefix = word_at(self.text, at);
            let quote = at + prefix.len();
            if self.text.get(quote) != Some(&b'"') {
                return any.then_some((joined, at));
            }
            any = true;
            if self.raw
                && prefix.ends_with(b"R")
                && let Some(((from, to), end)) = raw_content(self.text, quote + 1)
            {
                joined.extend_from_slice(&self.text[from..to]);
                at = self.skip(end);
                continue;
            }
            let (end, _) = end_of_literal(self.text, quote + 1, b'"');
            joined.extend_from_slice(&value(&self.text[quote + 1..end]));
            at = self.skip((end + 1).min(self.text.len()));
        }
    }

    /// Over blanks, ends of lines and line marks.
    fn skip(&self, mut at: usize) -> usize {
        loop {
            match self.text.get(at) {
                Some(byte) if byte.is_ascii_whitespace() => at += 1,
                Some(b'#') if self.is_line_mark(at) => at = line_end(self.text, at),
                _ => return at,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(text: &str) -> bool {
        assembler_may_read(text.as_bytes(), Reach::Statements)
    }

    #[test]
    fn what_the_assembler_reads_is_seen() {
        for text in [
            r#"asm(".incbin \"x\"");"#,
            "__asm__ volatile (\"nop\\n\\t\"\n# 3 \"a.c\"\n \".inc\" \"bin \\\"x\\\"\" : : \"r\"(a));",
            r#"asm("." "in" "clude \"x\"");"#,
            r#"asm("\x2e\151ncbin \"x\"");"#,
            "asm(R\"(\n .include \"x\"\n)\");",
            r#"asm(".%c0 \"x\"" : : "i"(incbin));"#,
            r#"asm("{.i|.in}cbin \"x\"");"#,
            "__asm { .include \"x\" }",
            r#"int a = 1'000; asm(".incbin \"x\""); char c = 'x';"#,
            r#"asm(".macro m a b\n.\\a\\b \"x\"\n.endm\nm inc bin");"#,
            r#"asm(".macro m a b\n\\a\\b \"x\"\n.endm"); asm("m .inc, bin");"#,
            r#"asm(".irpc c,incbin\n.in\\c\n.endr");"#,
            r#"asm(".altmacro");"#,
            "asm((text()));",
        ] {
            assert!(statements(text), "{text}");
        }
    }

    #[test]
    fn what_it_does_not_read_is_not() {
        for text in [
            r#"f(".include"); g("." "incbin");"#,
            r#"asm("mov %1, %0" : "=r"(a) : "i"(b)); f(".incbin");"#,
            r#"int x asm("y.include");"#,
            r#"asm(".macro m a\n mov \\a, %eax\n .long 1f - .\n.endm\n m %ebx");"#,
            "# 1 \".include\"\nasm(\"nop\");",
            "struct s t = { .include = 1 };",
        ] {
            assert!(!statements(text), "{text}");
        }
        assert!(!assembler_may_read(br#"f(" .{}", " .%s");"#, Reach::AllStrings));
        let named = br#"int a __attribute__((section("s\n.include \"x\"")));"#;
        assert!(!assembler_may_read(named, Reach::Statements));
        assert!(assembler_may_read(named, Reach::AllStrings));
        assert!(assembler_may_read(b"nop\n .include \"x\"\n", Reach::Source));
        assert!(!assembler_may_read(b"nop # f\n .byte 1\n", Reach::Source));
    }
}
