//! What can be wrong with the settings, and how that is said.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong. The key concerned has its default instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// The key, or what was written in place of one; empty for a whole file.
    pub key: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// Where a [`Problem`] stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a settings file; lines and columns (in characters) count from 1.
    Line {
        /// The file.
        path: PathBuf,
        /// The line of the key.
        line: usize,
        /// The column of the value, or of what could not be read.
        column: usize,
    },
    /// A settings file as a whole.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// Nothing was written, and there is no default on this machine.
    Default,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Line { path, line, column } if self.key.is_empty() => {
                write!(f, "{}:{line}:{column}: {}", path.display(), self.what)
            }
            Place::Line { path, line, .. } => {
                write!(f, "{}:{line}: {}: {}", path.display(), self.key, self.what)
            }
            Place::File(path) => write!(f, "{}: {}", path.display(), self.what),
            Place::Variable(name) => write!(f, "{name}: {}", self.what),
            Place::Default => write!(f, "{}: {}", self.key, self.what),
        }
    }
}

impl std::error::Error for Problem {}

/// The name nearest to what was written, where one is near enough to be meant.
pub(crate) fn nearest<'a>(
    written: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', '.'], "");
    let written = plain(written);
    let allowed = (written.chars().count() / 3).clamp(1, 3);
    names
        .into_iter()
        .map(|name| (distance(&written, &plain(name)), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein's distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["max_size", "max_files", "base_dir", "hosts"];
        assert_eq!(nearest("maxsize", names), Some("max_size"));
        assert_eq!(nearest("max-file", names), Some("max_files"));
        assert_eq!(nearest("host", names), Some("hosts"));
        assert_eq!(nearest("remote_storage", names), None);
        assert_eq!(nearest("", names), None);
    }

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
