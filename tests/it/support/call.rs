//! One command line with the surroundings that belong to it.

use std::ffi::{OsStr, OsString};

/// A compiler call: words, variables, folder and umask; made from a line with blanks between words.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The compiler and its arguments.
    pub words: Vec<OsString>,
    /// Variables that are set on top of the clean environment.
    pub variables: Vec<(OsString, OsString)>,
    /// The folder below the project's in which the call is made.
    pub folder: String,
    /// The umask, where the case is about it.
    pub umask: Option<u32>,
}

impl Call {
    /// A call of exactly these words.
    pub fn of<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Call {
        let words = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        Call { words, ..Call::default() }
    }

    /// With a variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Call {
        self.variables.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// With one more word, blanks and all.
    pub fn word(mut self, word: impl AsRef<OsStr>) -> Call {
        self.words.push(word.as_ref().to_owned());
        self
    }

    /// In a folder of the project.
    pub fn within(mut self, folder: &str) -> Call {
        self.folder = folder.to_owned();
        self
    }

    /// Under a umask.
    pub fn umask(mut self, mask: u32) -> Call {
        self.umask = Some(mask);
        self
    }
}

impl From<&str> for Call {
    fn from(line: &str) -> Call {
        Call::of(line.split_whitespace())
    }
}

impl From<String> for Call {
    fn from(line: String) -> Call {
        Call::from(line.as_str())
    }
}

impl From<&Call> for Call {
    fn from(call: &Call) -> Call {
        call.clone()
    }
}
