//! Who writes which output file: of two calls that write one file, each may read what the other wrote,
//! and the earlier one must not undo what the later one did.

use cache::outputs::OutputFile;
use compiler::file_memo::WorkingDirectory;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A file by its folder (device and inode) and its name there.
type Place = ((u64, u64), OsString);

/// All outputs of the calls that are being served.
#[derive(Default)]
pub struct Writers {
    files: Mutex<HashMap<Place, File>>,
    calls: AtomicU64,
}

#[derive(Default)]
struct File {
    /// Calls that may write it.
    claims: usize,
    /// Calls that write it now.
    writers: usize,
    /// There was more than one writer at some moment since the first began.
    contested: bool,
    /// The latest of the calls that have begun to write it.
    latest: u64,
}

/// One call's outputs, for as long as it is served.
#[derive(Default)]
pub struct Claim {
    writers: Arc<Writers>,
    /// Orders the calls as they came.
    number: u64,
    places: Vec<Place>,
}

/// One call's outputs, from before they are written until they were read.
pub struct Writer<'c>(&'c Claim);

impl Writers {
    /// To be called before anything is looked up or compiled.
    pub fn claim(self: &Arc<Self>, here: &WorkingDirectory, outputs: &[OutputFile]) -> Claim {
        let places: Vec<Place> =
            outputs.iter().filter_map(|output| place(here, &output.path)).collect();
        let mut files = self.lock();
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        for place in &places {
            files.entry(place.clone()).or_default().claims += 1;
        }
        drop(files);
        Claim { writers: Arc::clone(self), number, places }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, File>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// To be called before the first byte of any of the files is written.
    pub fn begin(&self) -> Writer<'_> {
        let mut files = self.writers.lock();
        for place in &self.places {
            let Some(file) = files.get_mut(place) else { continue };
            file.writers += 1;
            file.contested |= file.writers > 1;
            file.latest = file.latest.max(self.number);
        }
        Writer(self)
    }

    /// The same for files that are ready to be put into their places. `None` where a later call has
    /// begun to write one of them: what it writes is newer.
    pub fn begin_unless_overtaken(&self) -> Option<Writer<'_>> {
        let overtaken = {
            let files = self.writers.lock();
            let latest = |place| files.get(place).map_or(0, |file| file.latest);
            self.places.iter().any(|place| latest(place) > self.number)
        };
        (!overtaken).then(|| self.begin())
    }

    /// The launcher runs the compiler by itself: nobody knows when it writes.
    pub fn leave(&self) {
        drop(self.begin());
    }

    /// The folders of the files.
    pub fn folders(&self) -> impl Iterator<Item = (u64, u64)> {
        self.places.iter().map(|(folder, _)| *folder)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut files = self.writers.lock();
        for place in &self.places {
            let Some(file) = files.get_mut(place) else { continue };
            file.claims -= 1;
            if file.claims == 0 {
                files.remove(place);
            }
        }
    }
}

impl Writer<'_> {
    /// Whether nobody else has written any of the files since the beginning.
    pub fn is_alone(&self) -> bool {
        let files = self.0.writers.lock();
        !self.0.places.iter().any(|place| files.get(place).is_some_and(|file| file.contested))
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let mut files = self.0.writers.lock();
        for place in &self.0.places {
            let Some(file) = files.get_mut(place) else { continue };
            file.writers -= 1;
            file.contested &= file.writers > 0;
        }
    }
}

/// `None` where there is no such folder: then nothing is written there either.
fn place(here: &WorkingDirectory, path: &Path) -> Option<Place> {
    let name = path.file_name()?.to_owned();
    let folder = path.parent().unwrap_or(Path::new(""));
    if folder.as_os_str().is_empty() {
        return Some((here.id, name));
    }
    let stat = here.stat(folder).ok()?;
    Some(((stat.st_dev, stat.st_ino), name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache::entry::PartKind;

    fn output(path: &str) -> Vec<OutputFile> {
        let (kind, path) = (PartKind::Object, path.into());
        vec![OutputFile { kind, path, mode: 0o644, group: None }]
    }

    #[test]
    fn two_writers_of_one_file_know_of_each_other() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("sub")).unwrap();
        let here = WorkingDirectory::open(scratch.path()).unwrap();
        let writers = Arc::new(Writers::default());
        let claims = ["a.o", "b.o", "sub/../a.o"].map(|path| writers.claim(&here, &output(path)));
        let (first, other) = (claims[0].begin(), claims[1].begin());
        assert!(first.is_alone() && other.is_alone());
        let second = claims[2].begin();
        assert!(!first.is_alone() && !second.is_alone() && other.is_alone());
        drop(second);
        assert!(!first.is_alone(), "it may have read what the other wrote");
        drop(first);
        assert!(claims[0].begin().is_alone());
        drop(other);
        drop(claims);
        assert!(writers.lock().is_empty());
    }

    #[test]
    fn an_earlier_call_does_not_write_after_a_later_one() {
        let scratch = tempfile::tempdir().unwrap();
        let here = WorkingDirectory::open(scratch.path()).unwrap();
        let writers = Arc::new(Writers::default());
        let claim = |path| writers.claim(&here, &output(path));
        let (early, late, other) = (claim("a.o"), claim("a.o"), claim("b.o"));
        assert!(early.begin_unless_overtaken().is_some(), "the later one has not begun");
        drop(late.begin_unless_overtaken().unwrap());
        drop(late);
        assert!(early.begin_unless_overtaken().is_none(), "what is there is newer");
        assert!(other.begin_unless_overtaken().is_some());
        let last = claim("a.o");
        assert!(last.begin_unless_overtaken().is_some());
        other.leave();
        drop((early, last, other));
        assert!(writers.lock().is_empty());
        // A compiler that runs by itself counts as one that writes.
        let (early, late) = (claim("a.o"), claim("a.o"));
        late.leave();
        assert!(early.begin_unless_overtaken().is_none());
    }
}
