//! Finds the directives that name files: includes, `#embed`, pragmas, and C++20's imports.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};
use memchr::{memchr, memchr2_iter};

use super::text::{begins_line, header_name, is_word, line_end, skip_blanks, word_at};
use super::{Directive, Form, Kind, Scan};

/// Records in `scan` what the directives of `text` (without splices) ask for.
pub(super) fn find(text: &[u8], scan: &mut Scan) {
    for at in memchr2_iter(b'#', b'%', text) {
        let after = match (text[at], text.get(at + 1)) {
            (b'#', _) => at + 1,
            (_, Some(b':')) => at + 2,
            _ => continue,
        };
        if begins_line(text, at) {
            directive(text, skip_blanks(text, after), scan);
        }
    }
    find_pragmas(text, scan);
    find_modules(text, scan);
}

/// Reads the directive whose name is at `at`.
fn directive(text: &[u8], at: usize, scan: &mut Scan) {
    if at == text.len() {
        // Nothing more, or a comment whose end was not found.
        scan.computed_include = true;
        return;
    }
    let name = word_at(text, at);
    let operand = at + name.len();
    match name {
        b"include" => include(text, operand, Kind::Include, scan),
        b"include_next" => include(text, operand, Kind::Next, scan),
        b"import" => include(text, operand, Kind::Import, scan),
        b"embed" => scan.embed = true,
        b"line" => line(text, skip_blanks(text, operand), scan),
        _ if name.first().is_some_and(u8::is_ascii_digit) => line(text, at, scan),
        b"define" => definition(text, operand, scan),
        b"pragma" => scan.once |= word_at(text, skip_blanks(text, operand)) == b"once",
        _ => {}
    }
}

/// Reads what follows `#line`, or the `#` of a line mark: a number and a file's name.
fn line(text: &[u8], number_at: usize, scan: &mut Scan) {
    let number = word_at(text, number_at);
    let name_at = skip_blanks(text, number_at + number.len());
    let is_number = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
    match (is_number, text.get(name_at)) {
        (true, None | Some(b'\n' | b'\r')) => {}
        (true, Some(b'"')) => match header_name(text, name_at) {
            Some((name, _, _)) if !name.contains(&b'\\') => scan.add_line_file(name),
            _ => scan.opaque_line = true,
        },
        _ => scan.opaque_line = true,
    }
}

fn include(text: &[u8], after_name: usize, kind: Kind, scan: &mut Scan) {
    scan.once |= kind == Kind::Import;
    let operand = skip_blanks(text, after_name);
    match header_name(text, operand) {
        Some((name, angle, _)) => {
            let form = if angle { Form::Angle } else { Form::Quote };
            scan.add_include(Directive { name: name.to_vec(), form, kind });
        }
        None if may_be_operand(text, operand) => {
            scan.computed_include |= !is_prose(text, after_name);
        }
        // Nothing else can become a file's name: an error, or text in a comment.
        None => {}
    }
}

/// Whether macros could make a file's name of what is at `operand`; where a header name was begun
/// and not ended, nobody knows.
fn may_be_operand(text: &[u8], operand: usize) -> bool {
    match text.get(operand) {
        Some(byte) => is_word(*byte) || matches!(byte, b'"' | b'<' | b'\\'),
        // The text ends, or a comment was too long to be passed over.
        None => true,
    }
}

/// Whether what follows the name of a directive is a sentence in a comment: words in a row, and the
/// ends of comments before and after it are such that it lies in one.
fn is_prose(text: &[u8], after_name: usize) -> bool {
    let first = skip_blanks(text, after_name);
    let gap = first + word_at(text, first).len();
    let second = skip_blanks(text, gap);
    if gap == first || second == gap || word_at(text, second).is_empty() {
        return false;
    }
    let begun = memmem::rfind(&text[..after_name], b"/*");
    let ended = memmem::rfind(&text[..after_name], b"*/");
    let begins = memmem::find(&text[second..], b"/*").unwrap_or(text.len());
    let ends = memmem::find(&text[second..], b"*/").unwrap_or(text.len());
    begun > ended && ends < begins
}

/// Notes of a macro what matters to computed operands elsewhere.
fn definition(text: &[u8], after_name: usize, scan: &mut Scan) {
    let at = skip_blanks(text, after_name);
    let name = word_at(text, at);
    if is_plain(name) {
        scan.add_plain_macro(name);
    }
    if !scan.parent_folder_in_macro {
        let body = &text[at..line_end(text, at).max(at)];
        scan.parent_folder_in_macro = memmem::find(body, b"../").is_some();
    }
}

/// Whether a word has only small letters and digits.
pub(super) fn is_plain(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Pragmas that name files, in either form: the text `#pragma` or a `_Pragma` string.
fn find_pragmas(text: &[u8], scan: &mut Scan) {
    let finders = &*PRAGMAS;
    let of_gcc = [&finders.dependency, &finders.pch_preprocess];
    scan.pragma_dependency |= of_gcc.into_iter().any(|finder| {
        let mut places = finder.find_iter(text);
        places.any(|at| follows_gcc(text, at) && takes_operand(text, at))
    });
    scan.pragma_dependency |= finders
        .include_alias
        .find_iter(text)
        .any(|at| begins_pragma(text, at) && takes_operand(text, at));
    scan.module_directives |= finders.clang.find_iter(text).any(|at| {
        let second = skip_blanks(text, at + b"clang".len());
        let second = if text.get(second) == Some(&b',') { second + 1 } else { second };
        word_at(text, skip_blanks(text, second)) == b"module" && begins_pragma(text, at)
    });
    // `_Pragma ("once")`, and a macro that makes such a string of its argument.
    scan.once |= finders.operator.find_iter(text).any(|at| {
        let rest = &text[at..line_end(text, at)];
        memmem::find(rest, b"once").is_some() || memchr(b'#', rest).is_some()
    });
}

/// Also where a macro puts the two together.
fn follows_gcc(text: &[u8], at: usize) -> bool {
    let before = text[..at].trim_ascii_end();
    let before = before.strip_suffix(b",").unwrap_or(before).trim_ascii_end();
    before.ends_with(b"GCC") || text[..at].ends_with(b"*/")
}

/// Whether a pragma could begin with the word at `at`: after `#pragma`, at the start of a string or of an
/// argument, but not after other words.
fn begins_pragma(text: &[u8], at: usize) -> bool {
    let before = text[..at].trim_ascii_end();
    let last = before.iter().rev().take_while(|byte| is_word(**byte)).count();
    before.len() < at && before[before.len() - last..].ends_with(b"pragma") || last == 0
}

/// Whether the word at `at` is not the last one of a string, and so could have an operand.
fn takes_operand(text: &[u8], at: usize) -> bool {
    text.get(at + word_at(text, at).len()) != Some(&b'"')
}

struct Pragmas {
    dependency: Finder<'static>,
    include_alias: Finder<'static>,
    pch_preprocess: Finder<'static>,
    clang: Finder<'static>,
    operator: Finder<'static>,
}

static PRAGMAS: LazyLock<Pragmas> = LazyLock::new(|| Pragmas {
    dependency: Finder::new(b"dependency"),
    include_alias: Finder::new(b"include_alias"),
    pch_preprocess: Finder::new(b"pch_preprocess"),
    clang: Finder::new(b"clang"),
    operator: Finder::new(b"_Pragma"),
});

/// One source is the interface of one module; more are looked at no further.
const MODULES_MAX: usize = 16;

static IMPORT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"import"));
static MODULE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"module"));

/// `import x;`, `export module x;`, `module;` where a line begins (C++20 [cpp.module],
/// [cpp.import]), and Objective-C's `@import x;`.
fn find_modules(text: &[u8], scan: &mut Scan) {
    for (finder, word) in [(&*IMPORT, &b"import"[..]), (&*MODULE, b"module")] {
        for at in finder.find_iter(text) {
            let end = at + word.len();
            if is_module_directive(text, at, end) {
                scan.module_directives = true;
                note_module(text, (at, end), word == b"import", scan);
            }
        }
    }
}

/// What one line says: `import m;` reads, `export module m;` and `module m:part;` provide.
fn note_module(text: &[u8], (at, end): (usize, usize), imports: bool, scan: &mut Scan) {
    let exports = text[..at].trim_ascii_end().ends_with(b"export");
    let line = &text[end..line_end(text, end)];
    let operand = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let name: Vec<u8> =
        operand.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let is_plain = name.iter().all(|byte| is_word(*byte) || matches!(byte, b'.' | b':'));
    let is_objective = at > 0 && text[at - 1] == b'@';
    let part = name.iter().position(|byte| *byte == b':');
    if !is_plain || is_objective || !line.contains(&b';') {
        scan.opaque_modules = true;
    } else if !imports && (exports || part.is_some_and(|at| at > 0)) {
        match scan.module_interfaces.len() < MODULES_MAX {
            true => scan.module_interfaces.push(name),
            false => scan.opaque_modules = true,
        }
    }
}

fn is_module_directive(text: &[u8], at: usize, end: usize) -> bool {
    if text.get(end).copied().is_some_and(is_word) {
        return false;
    }
    let begins = match text[..at].trim_ascii_end() {
        before if before.ends_with(b"export") => begins_line(text, before.len() - b"export".len()),
        _ if at > 0 && text[at - 1] == b'@' => begins_line(text, at - 1),
        _ => begins_line(text, at),
    };
    if !begins {
        return false;
    }
    let line = &text[end..line_end(text, end)];
    let operand = text.get(skip_blanks(text, end)).copied().unwrap_or(b'\n');
    let takes_part =
        matches!(operand, b'<' | b'"' | b':' | b';' | b'\n' | b'\r' | 0x80..) || is_word(operand);
    // The directive ends on its line, unless a comment carries it over.
    takes_part && (memchr(b';', line).is_some() || memmem::find(line, b"/*").is_some())
}
