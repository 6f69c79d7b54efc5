//! Takes the text of one `rcache.toml` apart, into rows of key, place and value.

use crate::error::{Place, Problem};
use crate::keys::Written;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// One line `key = value`.
pub(crate) struct Entry<'a> {
    pub key: String,
    pub place: Place,
    pub written: Written<'a>,
}

/// The entries of a settings file in their order, and what is wrong with the others.
pub(crate) fn parse<'a>(path: &Path, text: &'a str) -> (Vec<Entry<'a>>, Vec<Problem>) {
    let place = |line_of: usize, column_of: usize| Place::Line {
        path: path.to_owned(),
        line: position(text, line_of).0,
        column: position(text, column_of).1,
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems = Vec::new();
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        let what = format!("{}; {}", error.message().replace('\n', ", "), hint(error.message()));
        problems.push(Problem { place: place(offset, offset), key: String::new(), what });
    }
    // The parser goes on after an error; what it made of that line is a guess.
    let bad_lines: Vec<usize> = problems.iter().filter_map(line).collect();
    let mut entries: Vec<(usize, Entry)> = Vec::new();
    for (key, value) in table.into_inner() {
        let start = key.span().start;
        if !bad_lines.contains(&position(text, start).0) {
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
            Ok(_) => Written::Other("a number with a point"),
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

fn line(problem: &Problem) -> Option<usize> {
    match problem.place {
        Place::Line { line, .. } => Some(line),
        _ => None,
    }
}

/// Line and column, both from 1, the column in characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = String::from_utf8_lossy(&text.as_bytes()[..offset.min(text.len())]);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}
