//! Takes the text of one `rcache.toml` apart, into rows of key, place and value.

use crate::error::{Place, Problem};
use crate::keys::Written;
use std::collections::BTreeSet;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// So many lines that cannot be read are told of in one file; the rest is of the same kind.
const BAD_LINES_MAX: usize = 100;

/// One line `key = value`.
pub(crate) struct Entry<'a> {
    pub key: String,
    pub place: Place,
    pub written: Written<'a>,
}

/// The entries of a settings file in their order, and what is wrong with the others.
pub(crate) fn parse<'a>(path: &Path, text: &'a str) -> (Vec<Entry<'a>>, Vec<Problem>) {
    let lines = Lines::new(text);
    let place = |line_of: usize, column_of: usize| Place::Line {
        path: path.to_owned(),
        line: lines.line(line_of),
        column: lines.column(column_of),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems = Vec::new();
    // The parser goes on after an error; what it made of that line is a guess.
    let mut bad_lines = BTreeSet::new();
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        if bad_lines.insert(lines.line(offset)) && bad_lines.len() <= BAD_LINES_MAX {
            let what =
                format!("{}; {}", error.message().replace('\n', ", "), hint(error.message()));
            problems.push(Problem { place: place(offset, offset), key: String::new(), what });
        }
    }
    let mut entries: Vec<(usize, Entry)> = Vec::new();
    for (key, value) in table.into_inner() {
        let start = key.span().start;
        if !bad_lines.contains(&lines.line(start)) {
            let place = place(start, value.span().start);
            let key = key.get_ref().to_string();
            entries.push((start, Entry { key, place, written: written(value.into_inner()) }));
        }
    }
    entries.sort_by_key(|(start, _)| *start);
    (entries.into_iter().map(|(_, entry)| entry).collect(), problems)
}

fn written(value: DeValue<'_>) -> Written<'_> {
    match value {
        DeValue::Boolean(value) => Written::Bool(value),
        DeValue::Integer(value) => {
            match i64::from_str_radix(&value.as_str().replace('_', ""), value.radix()) {
                Ok(value) => Written::Integer(value),
                Err(_) => Written::Other("a number of that size"),
            }
        }
        DeValue::String(value) => Written::Text(value),
        DeValue::Array(values) => {
            let texts = values.iter().map(|value| value.get_ref().as_str().map(str::to_owned));
            texts
                .collect::<Option<_>>()
                .map_or(Written::Other("a list that holds other things than texts"), Written::List)
        }
        DeValue::Float(value) => match value.as_str().parse::<f64>() {
            Ok(value) => Written::Fraction(value),
            Err(_) => Written::Other("a number of that form"),
        },
        DeValue::Datetime(_) => Written::Other("a date"),
        DeValue::Table(_) => Written::Other("a table"),
    }
}

/// The parser says what it did not like; this says what to do.
fn hint(message: &str) -> &'static str {
    match message {
        _ if message.contains("duplicate key") => "keep one of the two lines",
        _ => "each line is `key = value`, with texts between quotes",
    }
}

/// Where the lines of a text begin.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl Lines<'_> {
    fn new(text: &str) -> Lines<'_> {
        let after_newlines = text.match_indices('\n').map(|(newline, _)| newline + 1);
        Lines { text, starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// The line of an offset, from 1.
    fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// The column of an offset, from 1, in characters.
    fn column(&self, offset: usize) -> usize {
        let start = self.starts[self.line(offset) - 1];
        let before = &self.text.as_bytes()[start..offset.clamp(start, self.text.len())];
        String::from_utf8_lossy(before).chars().count() + 1
    }
}
