//! Who writes which output file: of two calls that write one file, each may read what the other wrote.

use cache::file_memo::WorkingDirectory;
use cache::outputs::OutputFile;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A file by its folder (device and inode) and its name there.
type Place = ((u64, u64), OsString);

/// All outputs that are being written.
#[derive(Default)]
pub struct Writers {
    files: Mutex<HashMap<Place, Writing>>,
}

#[derive(Default)]
struct Writing {
    writers: usize,
    /// There was more than one at some moment since the first began.
    contested: bool,
}

/// One call's outputs, from before they are written until they were read.
pub struct Writer<'w> {
    writers: &'w Writers,
    places: Vec<Place>,
}

impl Writers {
    /// To be called before the first byte of any of the files is written.
    pub fn begin(&self, here: &WorkingDirectory, outputs: &[OutputFile]) -> Writer<'_> {
        let places: Vec<Place> =
            outputs.iter().filter_map(|output| place(here, &output.path)).collect();
        let mut files = self.lock();
        for place in &places {
            let file = files.entry(place.clone()).or_default();
            file.writers += 1;
            file.contested |= file.writers > 1;
        }
        drop(files);
        Writer { writers: self, places }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Writing>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer<'_> {
    /// Whether nobody else has written any of the files since the beginning.
    pub fn is_alone(&self) -> bool {
        let files = self.writers.lock();
        !self.places.iter().any(|place| files.get(place).is_some_and(|file| file.contested))
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let mut files = self.writers.lock();
        for place in &self.places {
            let Some(file) = files.get_mut(place) else { continue };
            file.writers -= 1;
            if file.writers == 0 {
                files.remove(place);
            }
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

    #[test]
    fn two_writers_of_one_file_know_of_each_other() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("sub")).unwrap();
        let here = WorkingDirectory::open(scratch.path()).unwrap();
        let output = |path: &str| {
            vec![OutputFile { kind: PartKind::Object, path: path.into(), mode: 0o644 }]
        };
        let writers = Writers::default();
        let first = writers.begin(&here, &output("a.o"));
        let other = writers.begin(&here, &output("b.o"));
        assert!(first.is_alone() && other.is_alone());
        let second = writers.begin(&here, &output("sub/../a.o"));
        assert!(!first.is_alone() && !second.is_alone() && other.is_alone());
        drop(second);
        assert!(!first.is_alone(), "it may have read what the other wrote");
        drop(first);
        assert!(writers.begin(&here, &output("a.o")).is_alone());
        drop(other);
        assert!(writers.lock().is_empty());
    }
}
