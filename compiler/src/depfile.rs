//! Reads the make rules that gcc and clang write for `-MD`: which files a compile has read.

mod target;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

pub use target::{is_plain, retarget};

/// The prerequisites of the one rule in `bytes`, in the order in which the compiler wrote them.
///
/// Understands the quoting of gcc (`libcpp/mkdeps.cc`, `munge`) and of clang
/// (`lib/Frontend/DependencyFile.cpp`): `\ `, `\#`, `$$` and a backslash before the end of a
/// line; several targets; and the rules without prerequisites that `-MP` adds. `None` for anything
/// else, and for a rule that names no file. Targets may hold `$` and `#`: `-MT '$(OUT)/a.o'` is
/// written as it was given. Some names have no faithful spelling in a make rule (a blank after a
/// final backslash; clang writes `\` as `/`): they come back changed, so the caller must not store
/// a result of which an input does not exist.
pub fn inputs(bytes: &[u8]) -> Option<Vec<PathBuf>> {
    let mut words = Words { bytes, at: 0, part: Part::Targets };
    skip_targets(&mut words)?;
    words.part = Part::Prerequisites;
    let mut found = Vec::new();
    loop {
        match words.next()? {
            Word::Name(name) => found.push(PathBuf::from(OsString::from_vec(name))),
            Word::EndOfLine => break,
            Word::EndOfText => return some_if_any(found),
        }
    }
    skip_phony_rules(&mut words)?;
    some_if_any(found)
}

fn some_if_any(found: Vec<PathBuf>) -> Option<Vec<PathBuf>> {
    (!found.is_empty()).then_some(found)
}

/// Passes over `target…:`; the colon that ends the targets is the last byte of its word.
fn skip_targets(words: &mut Words) -> Option<()> {
    loop {
        match words.next()? {
            Word::Name(name) if name.last() == Some(&b':') => {
                return (name.len() > 1).then_some(());
            }
            Word::Name(_) => {}
            Word::EndOfLine | Word::EndOfText => return None,
        }
    }
}

/// Accepts only blank lines and `name:` lines: another rule with prerequisites is not of our form.
fn skip_phony_rules(words: &mut Words) -> Option<()> {
    loop {
        match words.next()? {
            Word::EndOfText => return Some(()),
            Word::EndOfLine => {}
            Word::Name(name) if name.last() == Some(&b':') => match words.next()? {
                Word::EndOfLine => {}
                Word::EndOfText => return Some(()),
                Word::Name(_) => return None,
            },
            Word::Name(_) => return None,
        }
    }
}

enum Word {
    Name(Vec<u8>),
    EndOfLine,
    EndOfText,
}

#[derive(PartialEq)]
enum Part {
    Targets,
    Prerequisites,
}

struct Words<'a> {
    bytes: &'a [u8],
    at: usize,
    part: Part,
}

impl Words<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    /// `None` where the text is not what a compiler writes.
    fn next(&mut self) -> Option<Word> {
        self.skip_blanks();
        match self.peek(0) {
            None => Some(Word::EndOfText),
            Some(b'\n') => {
                self.at += 1;
                Some(Word::EndOfLine)
            }
            Some(_) => self.name().map(Word::Name),
        }
    }

    fn skip_blanks(&mut self) {
        loop {
            match (self.peek(0), self.peek(1), self.peek(2)) {
                (Some(b' ' | b'\t' | b'\r'), ..) => self.at += 1,
                (Some(b'\\'), Some(b'\n'), _) => self.at += 2,
                (Some(b'\\'), Some(b'\r'), Some(b'\n')) => self.at += 3,
                _ => return,
            }
        }
    }

    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        while let Some(byte) = self.peek(0) {
            match byte {
                b' ' | b'\t' | b'\n' => break,
                b'\r' if self.peek(1) == Some(b'\n') => break,
                b'$' if self.peek(1) == Some(b'$') => self.take(2, b'$', &mut name),
                b'$' | b'#' if self.part == Part::Targets => self.take(1, byte, &mut name),
                // GNU as does not quote it; within a word it begins no comment for make either.
                b'#' if !name.is_empty() => self.take(1, byte, &mut name),
                b'$' | b'#' | 0 => return None,
                b'\\' if matches!(self.peek(1), Some(b'\n')) => break,
                // A quoted colon, or a backslash and a colon: nothing tells which.
                b'\\' if matches!(self.peek(1), Some(b':')) => return None,
                b'\\' => self.backslashes(&mut name),
                other => self.take(1, other, &mut name),
            }
        }
        Some(name)
    }

    fn take(&mut self, count: usize, byte: u8, name: &mut Vec<u8>) {
        self.at += count;
        name.push(byte);
    }

    /// A run of backslashes: doubled before a blank, single before `#`, else themselves.
    fn backslashes(&mut self, name: &mut Vec<u8>) {
        let rest = &self.bytes[self.at..];
        let count = rest.iter().take_while(|byte| **byte == b'\\').count();
        let (kept, quoted) = match rest.get(count) {
            Some(b' ' | b'\t') if count % 2 == 1 => (count / 2, true),
            Some(b'#') => (count - 1, true),
            Some(b'\n') => (count - 1, false),
            _ => (count, false),
        };
        name.extend(std::iter::repeat_n(b'\\', kept));
        self.at += if rest.get(count) == Some(&b'\n') { count - 1 } else { count };
        if quoted {
            name.push(rest[count]);
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests;
