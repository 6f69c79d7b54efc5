//! Follows names of files through the macros of a unit: the operands of `__has_include` that macros hide
//! or make, and of includes that are computed.
//!
//! Whether a line is compiled, and which definition of a macro is in force there, is not known: all
//! operands that any of them could give are found.

use std::collections::HashSet;
use std::rc::Rc;

use super::assembler::Pieces;
use super::expansion::{
    Definition, Definitions, Token, arguments, definition, in_brackets, spelled, substitute, tokens,
};
use super::text::{is_word, skip_blanks, word_at};
use super::{Directive, Form, Kind, lexer, text};

/// Shorter words are no pieces of a name that is joined of many.
const PIECE_BYTES_MIN: usize = 2;

/// The operators, with the kind of search that they ask about.
const OPERATORS: [(&[u8], Kind); 4] = [
    (b"__has_include", Kind::Include),
    (b"__has_include__", Kind::Include),
    (b"__has_include_next", Kind::Next),
    (b"__has_include_next__", Kind::Next),
];

/// An operator whose value no search for headers tells.
const EMBED: &[u8] = b"__has_embed";

/// Names without underscores that compilers define in their GNU modes, as 1.
const PREDEFINED: [&[u8]; 8] =
    [b"arm", b"i386", b"linux", b"mips", b"sparc", b"sun", b"unix", b"vax"];

/// What macros make one file ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Followed {
    /// Operands of its computed includes.
    pub includes: Vec<Directive>,
    /// Operands of `__has_include` and `__has_include_next` in its conditions.
    pub has_includes: Vec<Directive>,
}

/// Follows the macros of a unit. `definitions` are the operands of its `-D`; includes are followed only
/// where `with_includes` asks for it. `None` where an operand cannot be told.
pub fn follow(
    files: &[Vec<u8>],
    definitions: &[Vec<u8>],
    with_includes: bool,
) -> Option<Vec<Followed>> {
    let mut unit = Unit::default();
    for name in PREDEFINED {
        let body = tokens(b"1");
        unit.definitions
            .add(name.into(), Definition { parameters: None, body, is_variadic: false });
    }
    for (index, bytes) in files.iter().enumerate() {
        unit.read(index, bytes)?;
    }
    for line in definitions {
        unit.read(files.len(), &super::definition_line(line))?;
    }
    unit.find_operator_macros();
    if unit.could_paste_name() {
        return None;
    }
    let mut followed = vec![Followed::default(); files.len()];
    for (index, line) in std::mem::take(&mut unit.conditions) {
        for operand in unit.operands(&line)? {
            match unit.values(&operand.tokens, operand.kind) {
                Some(found) => followed.get_mut(index)?.has_includes.extend(found),
                // The scan has it as it stands.
                None if operand.is_written_out => {}
                None => return None,
            }
        }
    }
    if with_includes {
        for (index, kind, line) in std::mem::take(&mut unit.includes) {
            let found = unit.values(&line, kind)?;
            followed.get_mut(index)?.includes.extend(found);
        }
    }
    Some(followed)
}

/// What follows an operator.
struct Operand {
    kind: Kind,
    tokens: Vec<Token>,
    /// A name in a condition itself, which no macro changes.
    is_written_out: bool,
}

/// The directives of a unit that matter here.
#[derive(Default)]
struct Unit {
    definitions: Definitions,
    /// With the file that each is in.
    conditions: Vec<(usize, Vec<Token>)>,
    includes: Vec<(usize, Kind, Vec<Token>)>,
    /// Macros that lead to an operator.
    operator_macros: HashSet<Rc<[u8]>>,
}

impl Unit {
    fn read(&mut self, index: usize, bytes: &[u8]) -> Option<()> {
        self.read_spelled(index, bytes)?;
        match text::without_trigraphs(bytes) {
            Some(replaced) => self.read_spelled(index, &replaced),
            None => Some(()),
        }
    }

    fn read_spelled(&mut self, index: usize, bytes: &[u8]) -> Option<()> {
        let (text, splices) = text::without_splices(bytes);
        if text::has_lone_return(&text) {
            return None;
        }
        let readings = lexer::readings(&text, &splices, &mut Pieces::default())?;
        readings.iter().for_each(|code| self.read_lines(index, code));
        Some(())
    }

    fn read_lines(&mut self, index: usize, code: &[u8]) {
        for line in code.split(|byte| *byte == b'\n') {
            let from = skip_blanks(line, 0);
            let after = match line.get(from..from + 2) {
                Some(b"%:") => from + 2,
                _ if line.get(from) == Some(&b'#') => from + 1,
                _ => continue,
            };
            let at = skip_blanks(line, after);
            let name = word_at(line, at);
            let rest = &line[at + name.len()..];
            match name {
                b"if" | b"elif" => self.conditions.push((index, tokens(rest))),
                b"define" => {
                    if let Some((name, definition)) = definition(rest) {
                        self.definitions.add(name, definition);
                    }
                }
                b"include" | b"import" => self.read_include(index, Kind::Include, rest),
                b"include_next" => self.read_include(index, Kind::Next, rest),
                _ => {}
            }
        }
    }

    fn read_include(&mut self, index: usize, kind: Kind, rest: &[u8]) {
        let first = rest.get(skip_blanks(rest, 0));
        // The scan has those with a name.
        if first.is_some_and(|byte| is_word(*byte)) {
            self.includes.push((index, kind, tokens(rest)));
        }
    }

    /// All macros in whose text an operator stands, or another such macro.
    fn find_operator_macros(&mut self) {
        let is_operator = |token: &Token| kind_of(token).is_some() || token.is(EMBED);
        loop {
            let leads =
                |token: &Token| is_operator(token) || self.operator_macros.contains(&token.text);
            let found = self.definitions.iter().filter(|(name, definition)| {
                !self.operator_macros.contains(*name) && definition.body.iter().any(leads)
            });
            let found: Vec<Rc<[u8]>> = found.map(|(name, _)| Rc::clone(name)).collect();
            if found.is_empty() {
                return;
            }
            self.operator_macros.extend(found);
        }
    }

    /// Whether the name of such a macro could be put together of pieces.
    fn could_paste_name(&self) -> bool {
        let bodies = self.definitions.iter().map(|(_, definition)| definition.body.as_slice());
        let conditions = self.conditions.iter().map(|(_, line)| line.as_slice());
        let mut pieces = HashSet::new();
        bodies.chain(conditions).for_each(|line| add_pieces(line, &mut pieces));
        self.operator_macros.iter().any(|name| can_be_joined(name, &pieces))
    }

    /// What follows each operator that the line leads to.
    fn operands(&mut self, line: &[Token]) -> Option<Vec<Operand>> {
        let mut found = Vec::new();
        self.find_operands(line, line.len(), &mut Vec::new(), &mut found)?;
        Some(found)
    }

    /// Looks at the tokens before `end`; the others may only be arguments.
    fn find_operands(
        &mut self,
        line: &[Token],
        end: usize,
        within: &mut Vec<Rc<[u8]>>,
        found: &mut Vec<Operand>,
    ) -> Option<()> {
        for (at, token) in line[..end].iter().enumerate() {
            let is_operand = !is_only_named(line, at);
            if is_operand && token.is(EMBED) {
                return None;
            } else if let Some(kind) = kind_of(token).filter(|_| is_operand) {
                let (operand, length) = in_brackets(&line[at + 1..])?;
                // Commas belong to it.
                let inner = &line[at + 2..at + length];
                if operand.iter().any(|part| !part.is_empty()) {
                    let begins = |token: &Token| matches!(*token.text, [b'<' | b'"', ..]);
                    let is_written_out = within.is_empty() && inner.first().is_some_and(begins);
                    found.push(Operand { kind, tokens: inner.to_vec(), is_written_out });
                }
            } else if is_operand
                && self.operator_macros.contains(&token.text)
                && !within.contains(&token.text)
            {
                self.definitions.step(within.len())?;
                within.push(Rc::clone(&token.text));
                self.find_in_macro(&line[at..], within, found)?;
                within.pop();
            }
        }
        Some(())
    }

    /// The same for the macro that `line` begins with.
    fn find_in_macro(
        &mut self,
        line: &[Token],
        within: &mut Vec<Rc<[u8]>>,
        found: &mut Vec<Operand>,
    ) -> Option<()> {
        let (name, rest) = line.split_first()?;
        for definition in self.definitions.of(&name.text).to_vec() {
            let Some((arguments, taken)) = arguments(&definition, rest)? else {
                let is_called = rest.first().is_some_and(|token| token.is(b"("));
                // Its name alone may be an argument, and called by another macro.
                if is_called {
                    continue;
                }
                return None;
            };
            let mut body = substitute(&definition, &arguments, &arguments);
            let end = body.len();
            body.extend_from_slice(&rest[taken..]);
            self.find_operands(&body, end, within, found)?;
        }
        Some(())
    }

    /// The names that an operand may stand for.
    fn values(&mut self, operand: &[Token], kind: Kind) -> Option<Vec<Directive>> {
        let mut values = Vec::new();
        for result in self.definitions.expand(operand, 0)? {
            let text = spelled(&result);
            let (form, name) = match text.as_slice() {
                [b'"', name @ .., b'"'] if !name.contains(&b'"') => (Form::Quote, name),
                [b'<', name @ .., b'>'] => (Form::Angle, name),
                // What is left of a name is no operand: the compiler says so, and fails.
                _ if result.iter().any(is_reserved) => return None,
                _ => continue,
            };
            if form == Form::Angle && result.iter().any(is_reserved) || name.contains(&b'\\') {
                return None;
            }
            // Where blanks come from is followed only roughly.
            let dense: Vec<u8> = name.iter().copied().filter(|byte| *byte != b' ').collect();
            if form == Form::Angle && dense != name {
                values.push(Directive { name: dense, form, kind });
            }
            values.push(Directive { name: name.to_vec(), form, kind });
        }
        Some(values)
    }
}

fn kind_of(token: &Token) -> Option<Kind> {
    OPERATORS.iter().find(|(name, _)| token.is(name)).map(|(_, kind)| *kind)
}

/// Whether compilers may define such a name themselves.
fn is_reserved(token: &Token) -> bool {
    matches!(*token.text, [b'_', second, ..] if second == b'_' || second.is_ascii_uppercase())
}

/// Whether the token is the operand of `defined`.
fn is_only_named(line: &[Token], at: usize) -> bool {
    let before = |count: usize| at.checked_sub(count).map(|before| &line[before]);
    before(1).is_some_and(|token| token.is(b"defined"))
        || before(1).is_some_and(|token| token.is(b"("))
            && before(2).is_some_and(|token| token.is(b"defined"))
}

/// Adds the words of a line that `##` may join to others: next to it, or alone as an argument.
fn add_pieces(line: &[Token], pieces: &mut HashSet<Rc<[u8]>>) {
    let is = |at: Option<usize>, marks: &[&[u8]]| {
        let token = at.and_then(|at| line.get(at));
        token.is_some_and(|token| marks.iter().any(|mark| token.is(mark)))
    };
    for (at, token) in line.iter().enumerate() {
        let (before, after) = (at.checked_sub(1), Some(at + 1));
        let is_argument = is(before, &[b"(", b","]) && is(after, &[b",", b")"]);
        if is(before, &[b"##"]) || is(after, &[b"##"]) || is_argument {
            pieces.insert(Rc::clone(&token.text));
        }
    }
}

/// Whether several of the pieces, one after the other, are the name. Single letters, which are
/// everywhere, make a name of two pieces only.
fn can_be_joined(name: &[u8], pieces: &HashSet<Rc<[u8]>>) -> bool {
    let is_piece = |from: usize, to: usize| pieces.contains(&name[from..to]);
    if (1..name.len()).any(|at| is_piece(0, at) && is_piece(at, name.len())) {
        return true;
    }
    // By length: whether that much of the name can be joined.
    let mut joined = vec![false; name.len() + 1];
    joined[0] = true;
    for to in PIECE_BYTES_MIN..=name.len() {
        joined[to] = (0..=to - PIECE_BYTES_MIN)
            .any(|from| joined[from] && to - from < name.len() && is_piece(from, to));
    }
    joined[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the operators and includes of the last file may ask for.
    fn names(files: &[&str], definitions: &[&str]) -> Option<Vec<String>> {
        let bytes = |texts: &[&str]| -> Vec<Vec<u8>> {
            texts.iter().map(|text| text.as_bytes().to_vec()).collect()
        };
        let followed = follow(&bytes(files), &bytes(definitions), true)?.pop()?;
        let all = followed.has_includes.iter().chain(&followed.includes);
        let mut names: Vec<String> = all
            .map(|one| {
                let name = String::from_utf8_lossy(&one.name).into_owned();
                let next = if one.kind == Kind::Next { "next " } else { "" };
                match one.form {
                    Form::Quote => format!("{next}\"{name}\""),
                    Form::Angle => format!("{next}<{name}>"),
                }
            })
            .collect();
        names.sort();
        names.dedup();
        Some(names)
    }

    #[test]
    fn operands_are_followed_through_macros() {
        let fmt = "#define HAS(x) __has_include(x)\n#define NEXT(x) __has_include_next(x)\n";
        for (files, wanted) in [
            (vec![fmt, "#if HAS(<version>) && !HAS(\"a/b.h\")\n"], vec!["\"a/b.h\"", "<version>"]),
            (vec![fmt, "#if NEXT(<a.h>)\n"], vec!["next <a.h>"]),
            (vec!["#define HAS __has_include\n", "#if HAS(<a.h>)\n"], vec!["<a.h>"]),
            (vec![fmt, "#define X HAS(<a.h>)\n", "#if X\n"], vec!["<a.h>"]),
            (vec![fmt, "#define MORE(y) (1 && HAS(y))\n#if MORE(<a.h>)\n"], vec!["<a.h>"]),
            (
                vec![fmt, "#define H <a.h>\n#define H \"b.h\"\n#if HAS(H)\n"],
                vec!["\"b.h\"", "<a.h>"],
            ),
            (vec![fmt, "#define a b\n#if HAS(<a.h>)\n"], vec!["<a.h>", "<b.h>"]),
            (vec![fmt, "#if __has_include(<__x>) || HAS(<a.h>)\n"], vec!["<a.h>"]),
            (vec![fmt, "#if HAS(<linux/a.h>)\n"], vec!["<1/a.h>", "<linux/a.h>"]),
            (
                vec!["#define W(x) <x>\n#define H h.h\n#if __has_include(W(H))\n"],
                vec!["<H>", "<h.h>"],
            ),
            (vec![fmt, "#ifdef HAS\n#endif\n#if defined(HAS) || defined HAS\n"], vec![]),
            (vec![fmt, "int HAS;\n"], vec![]),
            (vec!["#define E(x) __has_embed(x)\n"], vec![]),
            (vec!["#define H \"x.h\"\n#define P \"../y\"\n#include H\n"], vec!["\"x.h\""]),
        ] {
            assert_eq!(names(&files, &[]).unwrap(), wanted, "{files:?}");
        }
        assert_eq!(names(&["#if F(<a.h>)\n"], &["F(x)=__has_include(x)"]).unwrap(), ["<a.h>"]);
    }

    #[test]
    fn what_cannot_be_told_is_nothing() {
        let fmt = "#define HAS(x) __has_include(x)\n";
        for text in [
            "#if CALL(HAS)\n",
            "#define C(x) HA##x\n#if C(S)(<a.h>)\n",
            "#if CAT3(OT, HER, _HAS)(<a.h>)\n#define OTHER_HAS(x) HAS(x)\n",
            "#if CAT(H, AS)(<a.h>)\n",
            "#if CAT(OTHER, _HAS)(<a.h>)\n#define OTHER_HAS(x) HAS(x)\n",
            "#if HAS(__FILE__)\n",
            "#define E(x) __has_embed(x)\n#if E(<a>)\n",
            "#define V(...) __has_include(__VA_ARGS__)\n#if V(<a.h>)\n",
            "#if HAS(<__x__.h>)\n",
            "#error a /* b\n*/\n",
        ] {
            assert_eq!(names(&[fmt, text], &[]), None, "{text}");
        }
        let no_piece = "#define C(x) HA##x\n#if C(T)\n";
        assert_eq!(names(&[fmt, no_piece], &[]), Some(vec![]));
    }
}
