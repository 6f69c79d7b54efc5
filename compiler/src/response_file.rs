//! `@file` in a command line: its words take its place, by the rules of gcc and of clang.
//!
//! Both follow libiberty's `expandargv`: blanks separate words, single and double quotes group, a
//! backslash takes the next byte as it is. A file that cannot be read leaves the word as it was.
//! Where versions differ (a backslash between single quotes or before a newline, an open quote at
//! the end) the file is not understood.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::file_memo::{WorkingDirectory, is_regular};
use crate::outcome::{Counter, Uncacheable};

/// How many files one command line may name, nested ones included (libiberty's own limit is 2000).
pub const FILES_MAX: usize = 2000;
/// How large one response file may be.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// Replaces each `@file` by the file's words. Relative names are relative to `cwd`, as the compilers
/// have it, also inside another response file.
///
/// # Errors
/// Where a file cannot be read (gcc would then take the word as it stands) or a limit is passed.
pub fn expand(arguments: &[OsString], cwd: &Path) -> Result<Vec<OsString>, Uncacheable> {
    let mut words = Vec::with_capacity(arguments.len());
    let mut waiting: VecDeque<OsString> = arguments.iter().cloned().collect();
    let mut files = 0;
    while let Some(word) = waiting.pop_front() {
        let Some(name) = word.as_bytes().strip_prefix(b"@") else {
            words.push(word);
            continue;
        };
        files += 1;
        let content = (files <= FILES_MAX).then(|| read(cwd, Path::new(OsStr::from_bytes(name))));
        let Some(Some(content)) = content else {
            return Err(unusable(&word));
        };
        let inner = split(&content).ok_or_else(|| unusable(&word))?;
        inner.into_iter().rev().for_each(|word| waiting.push_front(word));
    }
    Ok(words)
}

fn unusable(word: &OsStr) -> Uncacheable {
    Uncacheable::new(Counter::UnsupportedCompilerOption, word.to_string_lossy())
}

fn read(cwd: &Path, path: &Path) -> Option<Vec<u8>> {
    let here = WorkingDirectory::open(cwd).ok()?;
    if !is_regular(&here.stat(path).ok()?) {
        return None;
    }
    let mut content = Vec::new();
    here.open_file(path).ok()?.take(FILE_BYTES_MAX + 1).read_to_end(&mut content).ok()?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return None;
    }
    // A zero byte ends the text for gcc and not for clang.
    (!content.contains(&0)).then_some(content)
}

/// The words of a response file; `None` where compilers could disagree about them.
fn split(content: &[u8]) -> Option<Vec<OsString>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = content.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if quote == Some(b'\'') => return None,
            b'\\' => {
                let taken = bytes.next().filter(|byte| !matches!(byte, b'\n' | b'\r'))?;
                word.get_or_insert_default().push(taken);
            }
            _ if quote == Some(byte) => quote = None,
            b'"' | b'\'' if quote.is_none() => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            _ if quote.is_none() && is_blank(byte) => {
                words.extend(word.take().map(OsString::from_vec));
            }
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word.map(OsString::from_vec));
    quote.is_none().then_some(words)
}

/// C's `isspace` in the "C" locale, as libiberty has it.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(content: &str) -> Option<Vec<String>> {
        let words = split(content.as_bytes())?;
        Some(words.into_iter().map(|word| word.into_string().unwrap()).collect())
    }

    #[test]
    fn quotes_group_and_backslashes_protect() {
        assert_eq!(words("a  b\t\nc").unwrap(), ["a", "b", "c"]);
        assert_eq!(words(r#"-DX="a b" 'c d'e"#).unwrap(), ["-DX=a b", "c de"]);
        assert_eq!(words(r#"f\ g "h\"i""#).unwrap(), ["f g", "h\"i"]);
        assert_eq!(words(r#""" ''"#).unwrap(), ["", ""]);
        assert_eq!(words(" \n").unwrap(), [""; 0]);
    }

    #[test]
    fn what_compilers_could_disagree_about_is_not_understood() {
        for content in ["'a", "\"a", r"'a\b'", "a\\\nb", "a\\"] {
            assert_eq!(words(content), None, "{content:?}");
        }
    }

    #[test]
    fn files_nest_and_come_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("inner"), "-O2 -g").unwrap();
        std::fs::write(folder.path().join("outer"), "-c @inner x.c").unwrap();
        std::fs::write(folder.path().join("loop"), "-c @loop").unwrap();
        let expanded = |word: &str| expand(&[word.into(), "-w".into()], folder.path());
        assert_eq!(expanded("@outer").unwrap(), ["-c", "-O2", "-g", "x.c", "-w"]);
        for word in ["@loop", "@absent", "@"] {
            assert_eq!(
                expanded(word).unwrap_err().counter,
                Counter::UnsupportedCompilerOption,
                "{word}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_words_survive_quoting(words in prop::collection::vec("[ -~]{0,12}", 0..8)) {
            let quoted: Vec<String> = words
                .iter()
                .map(|word| format!("\"{}\"", word.replace('\\', r"\\").replace('"', "\\\"")))
                .collect();
            let read = split(quoted.join(" ").as_bytes()).unwrap();
            prop_assert_eq!(read, words.into_iter().map(OsString::from).collect::<Vec<_>>());
        }
    }
}
