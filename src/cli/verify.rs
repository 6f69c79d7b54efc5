//! `rcache verify`: checks every stored result, and on request against the compiler.

pub mod calls;

use super::screen::{self, bytes, count};
use super::{Outcome, ask};
use cache::store::{Blob, Checker};
use compiler::hasher::Digest;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use talk::questions::{Confirmed, Question};

/// Damaged files that are named; the rest is only counted.
const NAMED_MAX: usize = 20;

/// Damaged files that the daemon is asked about at one time.
const ASKED_MAX: usize = 1_000;

/// Checks the store, and with `--all` the results.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    let folder = super::settings()?.config.cache_dir;
    if folder.as_os_str().is_empty() {
        return Err("no cache folder is set".to_owned());
    }
    // Before anything is read: a file that is not there is no reason to read the whole store first.
    let calls = match options.get_flag("all") {
        true => {
            let file = options.get_one::<PathBuf>("commands").ok_or("name a file")?;
            Some(calls::read(file)?)
        }
        false => None,
    };
    let store = check_store(&folder);
    let calls = calls.map(|calls| calls::compile_again(&calls)).transpose()?;
    let sound = store.is_sound() && calls.as_ref().is_none_or(|calls| calls.different.is_empty());
    match options.get_flag("json") {
        true => screen::print_json(&store.report(&folder, calls.as_ref())),
        false => {
            screen::print(&store.render());
            screen::print(&calls.map(|calls| calls.render()).unwrap_or_default());
        }
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A bar on standard error; none where that is no terminal.
fn progress(what: &'static str, length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    if let Ok(style) = ProgressStyle::with_template("{msg:10} {wide_bar} {pos}/{len}") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

/// What the check of the store found.
#[derive(Debug, Default)]
struct Found {
    entries: u64,
    bytes: u64,
    damaged: Vec<Damaged>,
    outdated: u64,
    removed: u64,
    lost: u64,
    /// Why the daemon did not look once more.
    unconfirmed: Option<String>,
}

#[derive(Debug, Serialize)]
struct Damaged {
    #[serde(serialize_with = "lossy")]
    file: PathBuf,
    why: String,
}

/// This process reads; the daemon, which knows what else goes on, looks once more at what seems to
/// be damaged, and removes it.
fn check_store(folder: &Path) -> Found {
    let checker = Checker::new(folder);
    let keys = checker.keys();
    let bar = progress("checking", keys.len());
    let mut found = Found::default();
    let mut suspects = Vec::new();
    for key in keys {
        match checker.check(key) {
            Blob::Gone => {}
            Blob::Sound { bytes } => found.count(bytes),
            Blob::Outdated { bytes } => {
                found.count(bytes);
                suspects.push((key, None));
            }
            Blob::Damaged { bytes, why } => {
                found.count(bytes);
                suspects.push((key, Some(why)));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Err(error) = found.confirm(&checker, &suspects) {
        found.unconfirmed = Some(error);
        found.outdated = suspects.iter().filter(|(_, why)| why.is_none()).count() as u64;
        let damaged = suspects.into_iter().filter_map(|(key, why)| Some((key, why?)));
        found.damaged =
            damaged.map(|(key, why)| Damaged { file: checker.path(key), why }).collect();
    }
    found
}

impl Found {
    fn count(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes += bytes;
    }

    fn confirm(
        &mut self,
        checker: &Checker,
        suspects: &[(Digest, Option<String>)],
    ) -> Result<(), String> {
        let keys: Vec<String> = suspects.iter().map(|(key, _)| key.to_string()).collect();
        let mut parts: Vec<&[String]> = keys.chunks(ASKED_MAX).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        let last = parts.len() - 1;
        for (index, part) in parts.into_iter().enumerate() {
            let question = Question::Verify { keys: part.to_vec(), lost: index == last };
            let answer: Confirmed = ask(&question, true)?;
            self.outdated += answer.outdated;
            self.removed += answer.removed;
            self.lost += answer.lost;
            for row in answer.damaged {
                let Some(key) = Digest::from_hex(&row.key) else { continue };
                self.damaged.push(Damaged { file: checker.path(key), why: row.why });
            }
        }
        Ok(())
    }

    fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.lost == 0
    }

    fn render(&self) -> String {
        let mut shown = format!(
            "checked {} {}, {}: ",
            count(self.entries),
            if self.entries == 1 { "entry" } else { "entries" },
            bytes(self.bytes)
        );
        let mut what = Vec::new();
        for (number, name) in [
            (self.damaged.len() as u64, "damaged"),
            (self.lost, "missing"),
            (self.outdated, "of another version"),
        ] {
            if number > 0 {
                what.push(format!("{} {name}", count(number)));
            }
        }
        if self.removed > 0 {
            what.push(format!("{} removed", count(self.removed)));
        }
        shown += &if what.is_empty() { "all sound".to_owned() } else { what.join(", ") };
        shown.push('\n');
        for Damaged { file, why } in self.damaged.iter().take(NAMED_MAX) {
            let _ = writeln!(shown, "  {}: {why}", file.display());
        }
        if let Some(more) = self.damaged.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
            let _ = writeln!(shown, "  and {} more", count(more as u64));
        }
        if let Some(why) = &self.unconfirmed {
            let _ = writeln!(shown, "nothing is removed without the daemon: {why}");
        }
        shown
    }

    fn report<'a>(&'a self, folder: &'a Path, calls: Option<&'a calls::Compared>) -> Report<'a> {
        Report {
            cache_dir: folder.to_string_lossy(),
            entries: self.entries,
            bytes: self.bytes,
            damaged: &self.damaged,
            missing: self.lost,
            outdated: self.outdated,
            removed: self.removed,
            calls: calls.map(calls::Compared::report),
        }
    }
}

/// A path as text, whatever its bytes are.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// What `rcache verify --json` prints.
#[derive(Serialize)]
struct Report<'a> {
    cache_dir: Cow<'a, str>,
    entries: u64,
    bytes: u64,
    damaged: &'a [Damaged],
    missing: u64,
    outdated: u64,
    removed: u64,
    calls: Option<calls::Report<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found() {
        let mut found = Found { entries: 1_234, bytes: 5_600_000, ..Found::default() };
        assert_eq!(found.render(), "checked 1 234 entries, 5.6M: all sound\n");
        assert!(found.is_sound());
        found.outdated = 3;
        assert!(found.is_sound(), "an upgrade is no damage");
        found.lost = 1;
        found.removed = 4;
        found
            .damaged
            .push(Damaged { file: "/c/store/ab/x".into(), why: "its length is wrong".into() });
        assert_eq!(
            found.render(),
            "\
checked 1 234 entries, 5.6M: 1 damaged, 1 missing, 3 of another version, 4 removed
  /c/store/ab/x: its length is wrong
"
        );
        assert!(!found.is_sound());
        let many = || Damaged { file: "/f".into(), why: "w".into() };
        found.damaged = (0..NAMED_MAX + 5).map(|_| many()).collect();
        assert!(found.render().ends_with("  and 5 more\n"));
    }
}
