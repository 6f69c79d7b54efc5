//! What only the assembler read, and where it looked for that in vain: the preprocessed text shows neither.

use crate::Daemon;
use crate::remember::changes::Changes;
use crate::understand::unit::Unit;
use cache::entry::PartKind;
use cache::outputs::OutputFile;
use compiler::file_memo::{Presence, Stamp};
use compiler::hasher::Digest;
use compiler::outcome::{Counter, Uncacheable};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What GNU as read by `.include` and `.incbin`.
#[derive(Default)]
pub struct Assembled {
    pub files: Vec<(PathBuf, Digest)>,
    /// Folders, and names that it sought there before it found them further on.
    pub absent: Vec<(PathBuf, Vec<Arc<[u8]>>)>,
}

impl Assembled {
    /// `listed` is what as says (`--MD`), besides the files that the compiler read: also the names in
    /// `.file` directives. `follows`: something in the sources could make it read a file.
    pub fn of<'l>(
        daemon: &Daemon,
        unit: &Unit,
        listed: impl Iterator<Item = &'l PathBuf>,
        follows: bool,
        changes: &Changes,
        now: SystemTime,
    ) -> Result<Assembled, Uncacheable> {
        let mut assembled = Assembled::default();
        let folders = unit.invocation.assembler_folders();
        for path in listed {
            if is_only_named(unit, path, follows, changes) {
                continue;
            }
            let content = daemon
                .memo
                .content(&unit.here, path, now)
                .map_err(|_| Uncacheable::new(Counter::BadInputFile, path.to_string_lossy()))?;
            changes.refuse(path, &content)?;
            assembled.files.push((path.clone(), content.digest));
            for missed in missed_before(path, &folders) {
                assembled.miss(unit, &missed, changes)?;
            }
        }
        Ok(assembled)
    }

    /// Each place of one way to the file must be empty, or the way was not this one.
    fn miss(
        &mut self,
        unit: &Unit,
        places: &[PathBuf],
        changes: &Changes,
    ) -> Result<(), Uncacheable> {
        let mut absent = Vec::with_capacity(places.len());
        for place in places {
            match unit.here.stat(place) {
                // It would have been read in the other one's place.
                Ok(stat) => return changes.refuse_found(place, &stat),
                Err(_) if unit.here.presence(place) == Presence::Absent => {}
                Err(_) => {
                    return Err(Uncacheable::new(Counter::BadInputFile, place.to_string_lossy()));
                }
            }
            if let (Some(folder), Some(name)) = (place.parent(), place.file_name()) {
                absent.push((folder.to_owned(), vec![name.as_bytes().into()]));
            }
        }
        self.absent.append(&mut absent);
        Ok(())
    }
}

/// Whether no content is behind what as lists: the source itself, its own temporary text, and what a
/// `.file` directive names.
fn is_only_named(unit: &Unit, path: &Path, follows: bool, changes: &Changes) -> bool {
    let source = &unit.invocation.source;
    // Under -save-temps it reads what the compile wrote.
    let is_own =
        |output: &OutputFile| output.kind == PartKind::SavedAssembly && output.path == *path;
    if path == source || unit.outputs.iter().any(is_own) {
        return true;
    }
    // gcc names the source by its last component, wherever it is.
    let is_called_so = Some(path.as_os_str()) == source.file_name();
    match unit.here.stat(path) {
        Ok(stat) => {
            let (stamp, own) = (Stamp::of(&stat), &unit.source.stamp);
            let is_source = (stamp.device, stamp.inode) == (own.device, own.inode);
            is_source || (is_called_so && !follows)
        }
        Err(_) if unit.here.presence(path) != Presence::Absent => false,
        Err(_) => {
            !follows || is_called_so || is_temporary(path) || !could_have_gone(unit, path, changes)
        }
    }
}

/// Whether something may have been removed there since the start: the folder that is left would show it.
fn could_have_gone(unit: &Unit, path: &Path, changes: &Changes) -> bool {
    let above = path.ancestors().skip(1);
    let mut left = above.filter_map(|folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        Some((folder, unit.here.stat(folder).ok()?))
    });
    left.next().is_none_or(|(folder, stat)| changes.refuse_found(folder, &stat).is_err())
}

/// As gcc names its temporary assembly text (libiberty, make_temp_file), or a pipe.
fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let random = name.strip_prefix(b"cc").and_then(|rest| rest.strip_suffix(b".s"));
    random.is_some_and(|random| random.len() == 6 && random.iter().all(u8::is_ascii_alphanumeric))
        || name == b"{standard"
        || name == b"input}"
}

/// For each way in which as may have come to a file: where it looked before. It tries the name as it is,
/// in the working directory, and then each folder in order (gas/read.c, `search_and_open`).
fn missed_before(path: &Path, folders: &[PathBuf]) -> Vec<Vec<PathBuf>> {
    let path = path.as_os_str().as_bytes();
    let mut ways = Vec::new();
    for (at, folder) in folders.iter().enumerate() {
        let folder = folder.as_os_str().as_bytes();
        let name = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix(b"/"));
        let Some(name) = name.filter(|name| !name.is_empty()) else { continue };
        let name = Path::new(OsStr::from_bytes(name));
        let earlier = folders[..at].iter().map(|folder| spelled(folder, name));
        let way: Vec<PathBuf> = std::iter::once(name.to_owned()).chain(earlier).collect();
        ways.push(way);
    }
    ways
}

/// As as spells it: a name that begins with a slash stays below the folder.
fn spelled(folder: &Path, name: &Path) -> PathBuf {
    let mut path = folder.as_os_str().to_owned();
    path.push("/");
    path.push(name);
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_a_file_has_its_earlier_places() {
        let folders = ["i1", "i2", "i2/deep", "/abs"].map(PathBuf::from);
        let missed = |path: &str| -> Vec<Vec<String>> {
            let ways = missed_before(Path::new(path), &folders).into_iter();
            ways.map(|way| way.iter().map(|place| place.display().to_string()).collect()).collect()
        };
        assert_eq!(missed("blob"), [[""; 0]; 0]);
        assert_eq!(missed("i1/blob"), [["blob"]]);
        assert_eq!(missed("i2/blob"), [["blob", "i1/blob"]]);
        let two: [Vec<&str>; 2] = [vec!["deep/x", "i1/deep/x"], vec!["x", "i1/x", "i2/x"]];
        assert_eq!(missed("i2/deep/x"), two);
        assert_eq!(missed("/abs/x"), [["x", "i1/x", "i2/x", "i2/deep/x"]]);
    }

    #[test]
    fn temporary_names_of_gcc_are_known() {
        for (name, temporary) in
            [("/tmp/ccAb1x9Z.s", true), ("{standard", true), ("ccAb1x9Z.c", false), ("x.s", false)]
        {
            assert_eq!(is_temporary(Path::new(name)), temporary, "{name}");
        }
    }
}
