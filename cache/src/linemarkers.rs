//! Reads the linemarkers of preprocessed text: which files a preprocessor run has entered.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use memchr::memchr;

/// Names in linemarkers that stand for no file (gcc `c-family/c-ppoutput.cc`, clang
/// `lib/Lex/Preprocessor.cpp`).
const NOT_FILES: [&[u8]; 5] =
    [b"<built-in>", b"<command-line>", b"<command line>", b"<stdin>", b"<scratch space>"];

/// Each name in the linemarkers of `text` once, in order of appearance.
///
/// Left out are the names that stand for no file and the marker of the working directory
/// (`"/folder//"`). A name that comes from the source's own `#line` is in the list, since nothing
/// tells it from a file: the caller must treat a listed name that is no file as an input that it
/// cannot follow. `None` where `text` does not begin with a linemarker, or where a linemarker is
/// malformed or loads a precompiled header.
pub fn inputs(text: &[u8]) -> Option<Vec<PathBuf>> {
    let mut seen: HashSet<Vec<u8>> = HashSet::new();
    let mut found = Vec::new();
    let mut rest = text;
    let mut any = false;
    while !rest.is_empty() {
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = &rest[(end + 1).min(rest.len())..];
        if line.first() != Some(&b'#') {
            if !any && !line.iter().all(u8::is_ascii_whitespace) {
                return None;
            }
            continue;
        }
        if line.starts_with(b"#pragma GCC pch_preprocess") {
            return None;
        }
        let Some(quoted) = marker_operand(line) else { continue };
        any = true;
        let name = unquote(quoted)?;
        let is_folder = name.ends_with(b"//");
        if !is_folder && !NOT_FILES.contains(&name.as_slice()) && !seen.contains(&name) {
            seen.insert(name.clone());
            found.push(PathBuf::from(OsString::from_vec(name)));
        }
    }
    any.then_some(found)
}

/// What follows the opening quote in `# 12 "name" 1 3` or `#line 12 "name"`.
fn marker_operand(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_prefix(b"#line ").or_else(|| line.strip_prefix(b"# "))?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    line[digits..].strip_prefix(b" \"")
}

/// Undoes the escapes up to the closing quote: `\\`, `\"`, clang's letters, three octal digits.
fn unquote(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(quoted.len());
    let mut at = 0;
    loop {
        match *quoted.get(at)? {
            b'"' => return Some(name),
            b'\\' => {
                let escaped = *quoted.get(at + 1)?;
                at += 2;
                match escaped {
                    b'\\' | b'"' | b'\'' | b'?' => name.push(escaped),
                    b'n' => name.push(b'\n'),
                    b't' => name.push(b'\t'),
                    b'r' => name.push(b'\r'),
                    b'a' => name.push(7),
                    b'b' => name.push(8),
                    b'v' => name.push(11),
                    b'f' => name.push(12),
                    b'0'..=b'7' => {
                        let digits = quoted.get(at - 1..at + 2)?;
                        let text = std::str::from_utf8(digits).ok()?;
                        name.push(u8::from_str_radix(text, 8).ok()?);
                        at += 2;
                    }
                    _ => return None,
                }
            }
            byte => {
                name.push(byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
