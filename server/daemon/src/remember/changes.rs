//! Whether an input may have been changed while its compile read it.

use crate::look_up::Known;
use crate::make::start::{CLOCK_TICKS_MAX, Doubt, Start};
use crate::understand::unit::Unit;
use compiler::file_memo::{Content, FileMemo, Stamp, System, WorkingDirectory, nanoseconds_of};
use compiler::outcome::{Counter, Uncacheable};
use compiler::search::SearchPath;
use rustix::fs::Stat;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What happened to files since a compile began.
pub struct Changes<'a> {
    memo: &'a FileMemo,
    here: &'a WorkingDirectory,
    start: Start,
    /// By device: the files of one compile are on few.
    systems: RefCell<HashMap<u64, System>>,
}

impl<'a> Changes<'a> {
    /// Since `start`.
    pub fn since(start: Start, memo: &'a FileMemo, here: &'a WorkingDirectory) -> Changes<'a> {
        Changes { memo, here, start, systems: RefCell::default() }
    }

    /// Refuses a file that is not surely what the compiler read.
    pub fn refuse(&self, path: &Path, content: &Content) -> Result<(), Uncacheable> {
        self.judge(path, &content.stamp, content.system)
    }

    /// The same for a file of which only the state counts.
    pub fn refuse_found(&self, path: &Path, stat: &Stat) -> Result<(), Uncacheable> {
        let mut systems = self.systems.borrow_mut();
        let system = systems.entry(stat.st_dev).or_insert_with(|| self.here.system(path));
        self.judge(path, &Stamp::of(stat), *system)
    }

    fn judge(&self, path: &Path, stamp: &Stamp, system: System) -> Result<(), Uncacheable> {
        let seen = match system.has_machine_clock() {
            true => None,
            false => Some(self.memo.seen_since(stamp)),
        };
        let path = path.to_string_lossy();
        match self.start.doubt(stamp, system, seen) {
            None => Ok(()),
            Some(Doubt::Changed) => Err(modified(path)),
            Some(Doubt::NoClock) => {
                Err(modified(format!("{path}: its file system's clock is not known yet")))
            }
        }
    }
}

/// The reason not to store.
pub fn modified(what: impl Into<String>) -> Uncacheable {
    Uncacheable::new(Counter::ModifiedInputFile, what)
}

/// The latest change that this machine's clock saw just now among what the unit may read: its source, the
/// files that it read the last time, and the folders in which files may have appeared. A compile that
/// starts at the same tick could not be told from the change.
pub fn newest_input(unit: &Unit, known: &Known, search: Option<&SearchPath>) -> i128 {
    let now = nanoseconds_of(Start::now().stamp_clock);
    // What is further ahead was stamped by another clock.
    let soon = now..now + CLOCK_TICKS_MAX.as_nanos() as i128;
    let changed = |path: &Path| {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let stamp = unit.here.stat(path).ok().map(|stat| Stamp::of(&stat));
        stamp.map(|stamp| stamp.changed_ns).filter(|changed| soon.contains(changed))
    };
    let manifest = known.manifest();
    let newest = manifest.results().next();
    let read = newest.iter().flat_map(|result| &result.files);
    let folders = search.into_iter().flat_map(|search| search.quote.iter().chain(&search.angle));
    let source = unit.invocation.source.parent().unwrap_or(Path::new(""));
    let forced = unit.invocation.forced_includes.iter().chain(&unit.invocation.precompiled);
    let precompiled: Vec<PathBuf> = unit.invocation.precompiled_candidates().collect();
    read.map(|(path, _)| *path)
        .chain(folders.chain(forced).chain(&precompiled).map(|path| path.as_path()))
        .chain([source, unit.invocation.source.as_path()])
        .filter_map(changed)
        .max()
        .unwrap_or(0)
}
