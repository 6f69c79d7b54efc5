//! Macros as a set of all their definitions: what a few tokens could become, whichever definitions are in
//! force, none included.

use std::collections::HashMap;
use std::rc::Rc;

use super::text::{is_blank, is_word};

/// Replacements in one unit; more, and nothing is known.
const STEPS_MAX: usize = 20_000;

/// Different texts that one operand may become.
const RESULTS_MAX: usize = 128;

/// Tokens of one text.
const TOKENS_MAX: usize = 512;

/// Macros within macros.
const DEPTH_MAX: usize = 40;

/// A token of a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub text: Rc<[u8]>,
    /// Whether a blank is before it.
    pub blank: bool,
    /// Macros that it came from, which are not expanded in it again.
    hidden: Vec<Rc<[u8]>>,
}

impl Token {
    pub(super) fn is(&self, text: &[u8]) -> bool {
        *self.text == *text
    }

    pub(super) fn is_name(&self) -> bool {
        self.text.first().is_some_and(|byte| is_word(*byte) && !byte.is_ascii_digit())
    }
}

/// One definition of a macro.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    /// `None` for one without brackets.
    pub parameters: Option<Vec<Rc<[u8]>>>,
    pub body: Vec<Token>,
    /// Its last parameter takes any number of arguments.
    pub is_variadic: bool,
}

/// All definitions in the files of a unit, and on its command line.
#[derive(Default)]
pub(super) struct Definitions {
    by_name: HashMap<Rc<[u8]>, Vec<Definition>>,
    steps: usize,
}

impl Definitions {
    pub(super) fn add(&mut self, name: Rc<[u8]>, definition: Definition) {
        self.by_name.entry(name).or_default().push(definition);
    }

    pub(super) fn of(&self, name: &[u8]) -> &[Definition] {
        self.by_name.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Rc<[u8]>, &Definition)> {
        self.by_name.iter().flat_map(|(name, all)| all.iter().map(move |one| (name, one)))
    }

    /// Counts one replacement; `None` where there were too many.
    pub(super) fn step(&mut self, depth: usize) -> Option<()> {
        self.steps += 1;
        (self.steps <= STEPS_MAX && depth <= DEPTH_MAX).then_some(())
    }

    /// All that `tokens` may become; `None` where that cannot be told.
    pub(super) fn expand(&mut self, tokens: &[Token], depth: usize) -> Option<Vec<Vec<Token>>> {
        self.step(depth)?;
        let is_macro = |token: &Token| {
            token.is_name()
                && !token.hidden.contains(&token.text)
                && !self.of(&token.text).is_empty()
        };
        let Some(at) = tokens.iter().position(is_macro) else { return Some(vec![tokens.to_vec()]) };
        let (head, name) = (&tokens[..at], &tokens[at]);
        let mut results = Vec::new();
        // It may not be defined where this is used.
        for rest in self.expand(&tokens[at + 1..], depth + 1)? {
            add(&mut results, [head, std::slice::from_ref(name), &rest].concat())?;
        }
        for definition in self.of(&name.text).to_vec() {
            let Some((arguments, end)) = arguments(&definition, &tokens[at + 1..])? else {
                continue;
            };
            let mut choices = Vec::new();
            for argument in &arguments {
                choices.push(self.expand(argument, depth + 1)?);
            }
            for chosen in combinations(&choices)? {
                let mut replaced = substitute(&definition, &arguments, &chosen);
                for token in &mut replaced {
                    token.hidden.push(Rc::clone(&name.text));
                    token.hidden.extend_from_slice(&name.hidden);
                }
                if let Some(first) = replaced.first_mut() {
                    first.blank = name.blank;
                }
                replaced.extend_from_slice(&tokens[at + 1 + end..]);
                for rest in self.expand(&replaced, depth + 1)? {
                    add(&mut results, [head, &rest].concat())?;
                }
            }
        }
        Some(results)
    }
}

fn add(results: &mut Vec<Vec<Token>>, tokens: Vec<Token>) -> Option<()> {
    if tokens.len() > TOKENS_MAX {
        return None;
    }
    if !results.iter().any(|other| spelled(other) == spelled(&tokens)) {
        results.push(tokens);
    }
    (results.len() <= RESULTS_MAX).then_some(())
}

/// One choice for each place.
fn combinations(choices: &[Vec<Vec<Token>>]) -> Option<Vec<Vec<Vec<Token>>>> {
    let mut all = vec![Vec::new()];
    for place in choices {
        let longer = all.iter().flat_map(|chosen: &Vec<Vec<Token>>| {
            place.iter().map(move |one| [chosen.as_slice(), std::slice::from_ref(one)].concat())
        });
        all = longer.collect();
        if all.len() > RESULTS_MAX {
            return None;
        }
    }
    Some(all)
}

/// The arguments of a macro whose name was just before `rest`, and how many tokens they take; nothing
/// where it is not called. `None` where that cannot be told.
pub(super) fn arguments(
    definition: &Definition,
    rest: &[Token],
) -> Option<Option<(Vec<Vec<Token>>, usize)>> {
    let Some(parameters) = &definition.parameters else { return Some(Some((Vec::new(), 0))) };
    if !rest.first().is_some_and(|token| token.is(b"(")) {
        return Some(None);
    }
    if definition.is_variadic {
        return None;
    }
    let Some((mut arguments, end)) = in_brackets(rest) else { return Some(None) };
    if parameters.is_empty() && arguments.len() == 1 && arguments[0].is_empty() {
        arguments.clear();
    }
    // Another number of arguments is an error, wherever that definition is in force.
    Some((arguments.len() == parameters.len()).then_some((arguments, end)))
}

/// What is in the brackets that `tokens` begins with, split at its commas, and where they end.
pub(super) fn in_brackets(tokens: &[Token]) -> Option<(Vec<Vec<Token>>, usize)> {
    let mut depth = 0;
    let mut parts = vec![Vec::new()];
    for (at, token) in tokens.iter().enumerate() {
        match &*token.text {
            b"(" => depth += 1,
            b")" => depth -= 1,
            _ => {}
        }
        match (depth, &*token.text) {
            (0, _) => return Some((parts, at + 1)),
            (1, b"(") if at == 0 => {}
            (1, b",") => parts.push(Vec::new()),
            _ => parts.last_mut()?.push(token.clone()),
        }
    }
    None
}

/// The body of a macro with its arguments: as they were written next to `#` and `##`, else expanded.
pub(super) fn substitute(
    definition: &Definition,
    written: &[Vec<Token>],
    expanded: &[Vec<Token>],
) -> Vec<Token> {
    let parameters = definition.parameters.as_deref().unwrap_or_default();
    let body = &definition.body;
    let mut result: Vec<Token> = Vec::new();
    let mut is_pasting = false;
    let mut at = 0;
    while let Some(token) = body.get(at) {
        at += 1;
        if token.is(b"##") {
            is_pasting = true;
            continue;
        }
        let place = |token: &Token| parameters.iter().position(|name| *name == token.text);
        let next_place = body.get(at).and_then(place);
        let mut part = match (token.is(b"#"), next_place, place(token)) {
            (true, Some(place), _) => {
                at += 1;
                vec![made(&[b"\"", spelled(&written[place]).as_slice(), b"\""].concat(), token)]
            }
            (_, _, Some(place)) => {
                let pasted = is_pasting || body.get(at).is_some_and(|next| next.is(b"##"));
                if pasted { written[place].clone() } else { expanded[place].clone() }
            }
            _ => vec![token.clone()],
        };
        if let Some(first) = part.first_mut() {
            first.blank = token.blank;
        }
        if is_pasting && let (Some(last), false) = (result.last(), part.is_empty()) {
            let joined = made(&[&*last.text, &*part[0].text].concat(), last);
            result.pop();
            part[0] = joined;
        }
        is_pasting = false;
        result.append(&mut part);
    }
    result
}

fn made(text: &[u8], like: &Token) -> Token {
    Token { text: text.into(), blank: like.blank, hidden: like.hidden.clone() }
}

/// As the compiler spells tokens when it makes a name of them.
pub(super) fn spelled(tokens: &[Token]) -> Vec<u8> {
    let mut text = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.blank && at > 0 {
            text.push(b' ');
        }
        text.extend_from_slice(&token.text);
    }
    text
}

/// The tokens of a line without comments. Strings are one, all else that is no word is taken byte by byte.
pub(super) fn tokens(line: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut blank = false;
    while let Some(byte) = line.get(at) {
        if is_blank(*byte) || *byte == b'\r' {
            blank = true;
            at += 1;
            continue;
        }
        let end = match byte {
            byte if is_word(*byte) => {
                at + line[at..].iter().take_while(|byte| is_word(**byte)).count()
            }
            b'"' => {
                let (end, is_ended) = super::lexer::end_of_literal(line, at + 1, b'"');
                if is_ended { end + 1 } else { end }
            }
            b'#' if line.get(at + 1) == Some(&b'#') => at + 2,
            b'%' if line[at..].starts_with(b"%:%:") => at + 4,
            _ => at + 1,
        };
        let text: Rc<[u8]> =
            if line[at..end] == *b"%:%:" { b"##".as_slice().into() } else { line[at..end].into() };
        tokens.push(Token { text, blank, hidden: Vec::new() });
        blank = false;
        at = end;
    }
    tokens
}

/// What follows `#define`: the name and its definition.
pub(super) fn definition(line: &[u8]) -> Option<(Rc<[u8]>, Definition)> {
    let all = tokens(line);
    let (name, rest) = all.split_first()?;
    if !name.is_name() {
        return None;
    }
    let has_parameters = rest.first().is_some_and(|token| token.is(b"(") && !token.blank);
    if !has_parameters {
        let definition = Definition { parameters: None, body: rest.to_vec(), is_variadic: false };
        return Some((Rc::clone(&name.text), definition));
    }
    let (parts, end) = in_brackets(rest)?;
    let is_variadic = parts.iter().flatten().any(|token| token.is(b"."));
    let parameters = parts.iter().filter_map(|part| part.first()).map(|one| Rc::clone(&one.text));
    let parameters = Some(parameters.collect());
    let definition = Definition { parameters, body: rest[end..].to_vec(), is_variadic };
    Some((Rc::clone(&name.text), definition))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(lines: &[&str], text: &str) -> Option<Vec<String>> {
        let mut definitions = Definitions::default();
        for line in lines {
            let (name, definition) = definition(line.as_bytes()).unwrap();
            definitions.add(name, definition);
        }
        let all = definitions.expand(&tokens(text.as_bytes()), 0)?;
        Some(all.iter().map(|one| String::from_utf8_lossy(&spelled(one)).into_owned()).collect())
    }

    #[test]
    fn each_definition_counts() {
        assert_eq!(results(&["A 1", "A 2"], "A").unwrap(), ["A", "1", "2"]);
        assert_eq!(results(&["A B", "B A"], "A").unwrap(), ["A", "B"]);
        assert_eq!(results(&["F(x) <x>"], "F").unwrap(), ["F"]);
    }

    #[test]
    fn arguments_are_expanded_but_next_to_hashes() {
        let has = |lines: &[&str], text: &str, wanted: &str| {
            let all = results(lines, text).unwrap();
            assert!(all.iter().any(|one| one == wanted), "{all:?}");
        };
        has(&["W(x) <x>", "D /", "S(x) x", "H S(D)S(h.h)"], "W(H)", "</h.h>");
        has(&["T(x) #x", "S(x) T(x)", "H a.h"], "S(H)", "\"a.h\"");
        has(&["C(a,b) a##b", "AB <x>"], "C(A, B)", "<x>");
        has(&["G F", "F(x) <x>"], "G(a/b.h)", "<a/b.h>");
    }

    #[test]
    fn nothing_goes_on_for_ever() {
        let many: Vec<String> = (0..200).map(|n| format!("A {n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(results(&many, "A"), None);
        assert_eq!(results(&["F(x) F(x x)"], "F(1)").unwrap(), ["F(1)", "F(1 1)"]);
        let nested = format!("{}1{}", "(".repeat(300), ")".repeat(300));
        assert_eq!(results(&["A 1"], &nested).unwrap().len(), 1);
        assert_eq!(results(&["F(...) 1"], "F(2)"), None);
    }
}
