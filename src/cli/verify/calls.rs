//! The calls of a compilation database (clang.llvm.org/docs/JSONCompilationDatabase.html), compiled again and compared.

use super::progress;
use crate::cli::ask;
use crate::cli::screen::count;
use crate::find_compiler;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use talk::questions::{Question, RecompileVerdict, Recompiled};
use talk::wrappers;

/// Reasons why calls are not compared that are named.
const REASONS_MAX: usize = 8;

/// One call of a build.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    folder: PathBuf,
    words: Vec<String>,
}

/// A call as tools write it down: with its words, or with a line for a shell.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Row {
    directory: PathBuf,
    arguments: Option<Vec<String>>,
    command: String,
}

/// Reads the calls.
///
/// # Errors
/// What is wrong with the file, and what to do.
pub fn read(file: &Path) -> Result<Vec<Call>, String> {
    let name = file.display();
    let text = std::fs::read(file).map_err(|error| {
        format!(
            "{name}: {error}; --all needs the build's calls: CMake writes them with \
             -DCMAKE_EXPORT_COMPILE_COMMANDS=ON, ninja with -t compdb, and bear for any build"
        )
    })?;
    let rows: Vec<Row> = serde_json::from_slice(&text)
        .map_err(|error| format!("{name}: it is no list of calls: {error}"))?;
    let file = std::path::absolute(file).map_err(|error| format!("{name}: {error}"))?;
    let base = file.parent().unwrap_or(Path::new("/"));
    let call = |row| Call::read(row, base);
    let calls = rows.into_iter().enumerate();
    calls.map(|(at, row)| call(row).map_err(|why| format!("{name}: call {at}: {why}"))).collect()
}

impl Call {
    fn read(row: Row, base: &Path) -> Result<Call, String> {
        let mut words = match row.arguments {
            Some(words) => words,
            None => config::words::split(&row.command)?,
        };
        // Some generators write the launcher down as well.
        while words.len() > 1 && wrappers::is_wrapper(OsStr::new(&words[0])) {
            words.remove(0);
        }
        if words.is_empty() {
            return Err("it has neither `arguments` nor `command`".to_owned());
        }
        Ok(Call { folder: base.join(row.directory), words })
    }

    /// Where it was made.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the surroundings those of the call; returns its words with the compiler's path.
    pub fn enter(&self) -> Result<Vec<String>, String> {
        let failed = |error| format!("{}: {error}", self.folder.display());
        std::env::set_current_dir(&self.folder).map_err(failed)?;
        // SAFETY: no other thread of this process looks at the variables.
        unsafe { std::env::set_var("PWD", &self.folder) };
        let path = find_compiler::search_path();
        let compiler = find_compiler::find(OsStr::new(&self.words[0]), &path)
            .map_err(|error| error.to_string())?;
        let compiler = compiler.to_str().ok_or("the compiler's path is not UTF-8")?;
        Ok([&[compiler.to_owned()], &self.words[1..]].concat())
    }
}

/// What came of all calls.
#[derive(Debug, Default)]
pub struct Compared {
    same: u64,
    not_cached: u64,
    unstable: u64,
    /// Why, and how often.
    not_comparable: BTreeMap<String, u64>,
    /// The call, and in what.
    pub different: Vec<(String, String)>,
}

/// Compiles each call again whose result is cached: the daemon says with which words, and this
/// process runs the compiler.
pub fn compile_again(calls: &[Call]) -> Result<Compared, String> {
    let bar = progress("compiling", calls.len());
    let mut compared = Compared::default();
    for call in calls {
        match call.enter() {
            Ok(words) => {
                compared.add(call, ask(&Question::Recompile { arguments: words }, true)?);
            }
            Err(why) => *compared.not_comparable.entry(why).or_default() += 1,
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(compared)
}

impl Compared {
    fn add(&mut self, call: &Call, Recompiled { verdict, why }: Recompiled) {
        match verdict {
            RecompileVerdict::Same => self.same += 1,
            RecompileVerdict::Unstable => self.unstable += 1,
            RecompileVerdict::Different => {
                self.different.push((config::words::join(&call.words), why));
            }
            RecompileVerdict::NotComparable => *self.not_comparable.entry(why).or_default() += 1,
            RecompileVerdict::NotCached => self.not_cached += 1,
        }
    }

    /// For people.
    pub fn render(&self) -> String {
        let not_comparable: u64 = self.not_comparable.values().sum();
        let mut shown = format!("compiled again {}: ", count(self.compiled()));
        let mut what = vec![match (self.different.len(), self.same) {
            (0, same) => format!("{} the same", count(same)),
            (different, same) => {
                format!("{} DIFFERENT, {} the same", count(different as u64), count(same))
            }
        }];
        for (number, name) in [
            (self.unstable, "differ from one compile to the next"),
            (not_comparable, "cannot be compared"),
            (self.not_cached, "not cached"),
        ] {
            if number > 0 {
                what.push(format!("{} {name}", count(number)));
            }
        }
        shown += &what.join(", ");
        shown.push('\n');
        for (call, differences) in &self.different {
            let _ = writeln!(shown, "  {call}\n    {differences}");
        }
        let mut reasons: Vec<(&String, &u64)> = self.not_comparable.iter().collect();
        reasons.sort_by_key(|(_, number)| std::cmp::Reverse(**number));
        for (why, number) in reasons.into_iter().take(REASONS_MAX) {
            let _ = writeln!(shown, "  not compared: {why} ({})", count(*number));
        }
        shown
    }

    fn compiled(&self) -> u64 {
        self.same + self.unstable + self.different.len() as u64
    }

    /// For scripts.
    pub fn report(&self) -> Report<'_> {
        let different = self.different.iter();
        Report {
            same: self.same,
            different: different
                .map(|(call, differences)| Difference { call, differences })
                .collect(),
            unstable: self.unstable,
            not_comparable: &self.not_comparable,
            not_cached: self.not_cached,
        }
    }
}

/// The calls in what `rcache verify --json` prints.
#[derive(Serialize)]
pub struct Report<'a> {
    same: u64,
    different: Vec<Difference<'a>>,
    unstable: u64,
    not_comparable: &'a BTreeMap<String, u64>,
    not_cached: u64,
}

#[derive(Serialize)]
struct Difference<'a> {
    call: &'a str,
    differences: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn calls_in_both_forms() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("calls.json");
        let write = |value: Value| std::fs::write(&file, value.to_string()).unwrap();
        write(json!([
            { "directory": "/b", "file": "a.c", "command": "/usr/bin/rcache gcc '-DX=a b' -c a.c" },
            { "directory": "sub", "file": "a.c", "arguments": ["gcc", "-c", "a.c"] },
        ]));
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            read(&file).unwrap(),
            [
                Call { folder: "/b".into(), words: words(&["gcc", "-DX=a b", "-c", "a.c"]) },
                Call { folder: folder.path().join("sub"), words: words(&["gcc", "-c", "a.c"]) },
            ]
        );
        write(json!([{ "directory": "/b", "command": "gcc" }, { "directory": "/b" }]));
        assert!(read(&file).unwrap_err().contains("call 1: it has neither"));
        write(json!({}));
        assert!(read(&file).unwrap_err().contains("no list"));
        assert!(read(&folder.path().join("none")).unwrap_err().contains("compdb"));
    }

    #[test]
    fn what_was_compared() {
        let call = Call { folder: "/b".into(), words: vec!["gcc".into(), "a b".into()] };
        let mut compared = Compared::default();
        for (verdict, why) in [
            (RecompileVerdict::Same, ""),
            (RecompileVerdict::NotCached, "it is not cached"),
            (RecompileVerdict::NotComparable, "it can hold the time of its compile"),
        ] {
            compared.add(&call, Recompiled { verdict, why: why.to_owned() });
        }
        assert_eq!(
            compared.render(),
            "\
compiled again 1: 1 the same, 1 cannot be compared, 1 not cached
  not compared: it can hold the time of its compile (1)
"
        );
        let why = "object: stored …".to_owned();
        compared.add(&call, Recompiled { verdict: RecompileVerdict::Different, why });
        let shown = compared.render();
        assert!(shown.starts_with("compiled again 2: 1 DIFFERENT, 1 the same, "), "{shown}");
        assert!(shown.contains("\n  gcc 'a b'\n    object: stored …\n"), "{shown}");
    }
}
