//! Reads a source file as text, to say what it can make the compiler look for beyond itself.
//!
//! Comments and literals are known (`lexer.rs`); where compilers disagree about them, the text counts as
//! it is. Nothing here decides whether a line is compiled: conditions are not understood, and what is
//! found below them counts. Too much makes a manifest longer or ends direct mode for one unit; too little
//! would be a wrong hit. Sources in an encoding that does not extend ASCII (`-finput-charset`), and what
//! is preprocessed in the way of before C90 (`-traditional`), cannot be scanned, and the caller must not
//! try.

mod assembler;
mod condition;
mod directive;
mod expansion;
mod indentation;
mod lexer;
mod listing;
mod macros;
mod pragma;
mod text;
mod time;

use std::sync::LazyLock;

use memchr::memmem::Finder;

pub use assembler::Pieces;
pub use listing::{Reach, assembler_may_read};
pub use macros::{Followed, follow};

/// More directives in one file than this, and the file counts as one that cannot be followed.
pub const DIRECTIVES_MAX: usize = 20_000;

/// How much of a file's start is searched for a comment that turns the cache off (as in ccache).
const DISABLE_WINDOW_BYTES: usize = 4096;

/// How the operand of an include is written, which decides where the search begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// `"name"`: the includer's folder first.
    Quote,
    /// `<name>`.
    Angle,
}

/// Which directive or operator names the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `#include`, `__has_include`.
    Include,
    /// `#include_next`, `__has_include_next`: the search begins after the includer's own folder.
    Next,
    /// `#import`: as `#include`, once only.
    Import,
}

/// One file that a source asks for by a literal name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Directive {
    /// The bytes between the delimiters.
    pub name: Vec<u8>,
    /// The delimiters.
    pub form: Form,
    /// The directive.
    pub kind: Kind,
}

/// What one file can make the compiler look for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Literal operands of `#include`, `#include_next` and `#import`, each once.
    pub includes: Vec<Directive>,
    /// Literal operands of `__has_include` and `__has_include_next`, each once.
    pub has_includes: Vec<Directive>,
    /// An include whose operand is made by macros.
    pub computed_include: bool,
    /// A macro is defined whose text contains `../`, which a computed include could use.
    pub parent_folder_in_macro: bool,
    /// A use of `__has_include` that no macro's text explains, or any of `__has_embed`.
    pub opaque_has_include: bool,
    /// `__has_include` in the text of a macro, or with an operand that macros make: see [`follow`].
    pub macro_has_include: bool,
    /// Words of `__has_include(<…>)` operands in macro definitions: a macro of that name changes
    /// the operand.
    pub operand_words: Vec<Vec<u8>>,
    /// Macros defined here whose name has only small letters and digits, as `operand_words` have.
    pub plain_macros: Vec<Vec<u8>>,
    /// `__DATE__`.
    pub date: bool,
    /// `__TIME__`.
    pub time: bool,
    /// `__TIMESTAMP__`.
    pub timestamp: bool,
    /// Pieces from which one of the three could be pasted.
    pub may_build_time_macro: bool,
    /// Files that `#line` or a line mark names, each once: the compiler quotes them below its
    /// diagnostics, and no dependency output lists them.
    pub line_files: Vec<Vec<u8>>,
    /// A `#line` whose file's name cannot be read off the text.
    pub opaque_line: bool,
    /// `#embed`.
    pub embed: bool,
    /// A pragma that makes the compiler look at another file (`GCC dependency`, `include_alias`,
    /// `GCC pch_preprocess`).
    pub pragma_dependency: bool,
    /// What the strings could become for an assembler.
    pub assembler: Pieces,
    /// As assembler source, the text could read a file (`.incbin`, `.include`), or builds text of pieces.
    pub assembler_source: bool,
    /// Builtins whose value is not in the preprocessed tokens (columns, functions).
    pub column_builtins: bool,
    /// `__BASE_FILE__`, `__INCLUDE_LEVEL__`, or the pragmas that push and pop macros: what they mean
    /// is lost in a text whose includes alone are resolved.
    pub macro_state: bool,
    /// `__COUNTER__`.
    pub counter: bool,
    /// gcc's pragmas that change which macros there are, or which names may stand in text: a
    /// preprocessor run that leaves text alone does not obey them.
    pub option_pragma: bool,
    /// gcc may warn of misleading indentation, which it measures in the source itself.
    pub misleading: bool,
    /// Pragmas in whose operands macros are expanded: `message` and `redefine_extname`.
    pub expanded_pragma: bool,
    /// The same for `omp` and `acc`.
    pub parallel_pragma: bool,
    /// Lines that could be C++20 module directives, or clang's pragmas for modules.
    pub module_directives: bool,
    /// The modules whose interface this file is, and the partitions.
    pub module_interfaces: Vec<Vec<u8>>,
    /// One of the lines imports a header, or is not read.
    pub opaque_modules: bool,
    /// `ccache:disable` or `rcache:disable` near the start.
    pub disabled: bool,
    /// `#pragma once` or `#import`: the compiler may skip another file that is equal to a read one.
    pub once: bool,
    /// More than [`DIRECTIVES_MAX`] directives: the lists are cut.
    pub too_many_directives: bool,
}

impl Scan {
    /// The same with what its macros ask for, once that is known.
    pub fn with_followed(&self, followed: Followed, with_includes: bool) -> Scan {
        let mut scan = Scan { macro_has_include: false, ..self.clone() };
        scan.computed_include &= !with_includes;
        followed.has_includes.into_iter().for_each(|one| scan.add_has_include(one));
        followed.includes.into_iter().for_each(|one| scan.add_include(one));
        scan.tidy();
        scan
    }

    /// Whether a time macro is used or could be built.
    pub fn any_time_macro(&self) -> bool {
        self.date || self.time || self.timestamp || self.may_build_time_macro
    }

    fn add_include(&mut self, directive: Directive) {
        push_bounded(&mut self.includes, directive, &mut self.too_many_directives);
    }

    fn add_has_include(&mut self, directive: Directive) {
        push_bounded(&mut self.has_includes, directive, &mut self.too_many_directives);
    }

    fn add_plain_macro(&mut self, name: &[u8]) {
        push_bounded(&mut self.plain_macros, name.to_vec(), &mut self.too_many_directives);
    }

    fn add_operand_word(&mut self, word: &[u8]) {
        push_bounded(&mut self.operand_words, word.to_vec(), &mut self.too_many_directives);
    }

    fn add_line_file(&mut self, name: &[u8]) {
        push_bounded(&mut self.line_files, name.to_vec(), &mut self.too_many_directives);
    }

    /// Each entry once, in a fixed order.
    fn tidy(&mut self) {
        sort_once(&mut self.includes);
        sort_once(&mut self.has_includes);
        sort_once(&mut self.plain_macros);
        sort_once(&mut self.operand_words);
        sort_once(&mut self.line_files);
        sort_once(&mut self.module_interfaces);
    }
}

fn push_bounded<T>(list: &mut Vec<T>, item: T, too_many: &mut bool) {
    if list.len() < DIRECTIVES_MAX {
        list.push(item);
    } else {
        *too_many = true;
    }
}

fn sort_once<T: Ord>(list: &mut Vec<T>) {
    list.sort_unstable();
    list.dedup();
}

/// Scans a source or header; linear in its size.
pub fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan::default();
    let head = &bytes[..bytes.len().min(DISABLE_WINDOW_BYTES)];
    scan.disabled =
        WORDS.ccache_disable.find(head).is_some() || WORDS.rcache_disable.find(head).is_some();
    scan_spelled(bytes, &mut scan);
    if let Some(replaced) = text::without_trigraphs(bytes) {
        scan_spelled(&replaced, &mut scan);
    }
    scan.tidy();
    scan
}

/// Scans the operand of a `-D`: `NAME`, `NAME=text` or `NAME(parameters)=text`.
pub fn scan_definition(definition: &[u8]) -> Scan {
    scan(&definition_line(definition))
}

/// The directive that the operand of a `-D` stands for.
fn definition_line(definition: &[u8]) -> Vec<u8> {
    let mut line = b"#define ".to_vec();
    match memchr::memchr(b'=', definition) {
        Some(at) => {
            line.extend_from_slice(&definition[..at]);
            line.push(b' ');
            line.extend_from_slice(&definition[at + 1..]);
        }
        None => line.extend_from_slice(definition),
    }
    line.push(b'\n');
    line
}

/// Scans a text in one spelling, with trigraphs replaced or not.
fn scan_spelled(bytes: &[u8], scan: &mut Scan) {
    let (text, splices) = text::without_splices(bytes);
    scan.misleading = scan.misleading || indentation::may_mislead(&text);
    scan.assembler_source |= assembler::may_read(&text);
    let readings = match text::has_lone_return(&text) {
        true => None,
        false => lexer::readings(&text, &splices, &mut scan.assembler),
    };
    match readings {
        Some(readings) => readings.iter().for_each(|code| scan_code(code, scan)),
        None => {
            scan.assembler = scan.assembler | Pieces { whole: true, open: true, part: true };
            scan_code(&text, scan);
        }
    }
}

/// Scans a text (without splices) whose comments are gone, or are not known.
fn scan_code(text: &[u8], scan: &mut Scan) {
    directive::find(text, scan);
    condition::find(text, scan);
    time::find(text, scan);
    pragma::find(text, scan);
    scan.column_builtins |= COLUMN_BUILTINS.iter().any(|word| word.find(text).is_some());
    scan.macro_state |= MACRO_STATE.iter().any(|word| word.find(text).is_some());
    scan.counter |= COUNTER.find(text).is_some();
}

struct Words {
    ccache_disable: Finder<'static>,
    rcache_disable: Finder<'static>,
}

static WORDS: LazyLock<Words> = LazyLock::new(|| Words {
    ccache_disable: Finder::new(b"ccache:disable"),
    rcache_disable: Finder::new(b"rcache:disable"),
});

/// Without their leading underscores, so that pasted forms are found as well.
static COLUMN_BUILTINS: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| {
    [
        Finder::new(b"builtin_COLUMN"),
        Finder::new(b"builtin_FUNCTION"),
        Finder::new(b"source_location"),
    ]
});

/// Without their leading underscores, for the same reason.
static MACRO_STATE: LazyLock<[Finder<'static>; 4]> = LazyLock::new(|| {
    [
        Finder::new(b"BASE_FILE"),
        Finder::new(b"INCLUDE_LEVEL"),
        Finder::new(b"push_macro"),
        Finder::new(b"pop_macro"),
    ]
});

static COUNTER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"COUNTER__"));

#[cfg(test)]
mod tests;
