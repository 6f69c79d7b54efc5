//! `NotingCompiler`: a gcc that notes each of its runs, so that work can be counted where time must not.

use super::{Call, Project, SYSTEM_PATH};
use std::path::PathBuf;

/// A script in front of `gcc`, for one project.
pub struct NotingCompiler {
    folder: PathBuf,
}

impl NotingCompiler {
    /// Puts it beside the project.
    pub fn new(project: &Project) -> NotingCompiler {
        let folder = project.beside("noting");
        std::fs::create_dir(&folder).unwrap();
        let notes = folder.join("notes");
        // A worker's compilers may not write there.
        let text = format!(
            "#!/bin/sh\necho \" $* \" 2>/dev/null >>'{}'\nexec /usr/bin/gcc \"$@\"\n",
            notes.display()
        );
        project.script("../noting/gcc", &text);
        NotingCompiler { folder }
    }

    /// A `PATH` with this compiler.
    pub fn path(&self) -> String {
        format!("{}:{SYSTEM_PATH}", self.folder.display())
    }

    /// The call with this compiler.
    pub fn call(&self, line: &str) -> Call {
        Call::from(line).env("PATH", self.path())
    }

    /// How often it has preprocessed a source, and how often compiled it.
    pub fn runs(&self, source: &str) -> (usize, usize) {
        let notes = std::fs::read_to_string(self.folder.join("notes")).unwrap_or_default();
        let source = format!(" {source} ");
        let runs = notes.lines().filter(|line| line.contains(&source) && !line.contains(" -### "));
        let (texts, compiles): (Vec<_>, Vec<_>) = runs.partition(|line| line.contains(" -E "));
        (texts.len(), compiles.len())
    }
}
