//! Where a stored result and a compile of the same unit differ, and what is kept to show it.

use crate::entry::{Entry, PartKind};
use compiler::hasher::Digest;
use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Below the cache folder: one folder for each mismatch that is kept.
pub const FOLDER: &str = "verify-mismatch";

/// Mismatches that are kept; the oldest make way.
pub const KEPT_MAX: usize = 20;

/// A longer part is not kept: its size and digest are in the text.
pub const KEPT_PART_BYTES_MAX: usize = 64 << 20;

/// What does not come from the compiler.
const OURS: [PartKind; 3] = [PartKind::Facts, PartKind::Manifest, PartKind::KeyFields];

/// One part that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub kind: PartKind,
    /// In the stored result.
    pub stored: Option<Side>,
    /// From the compiler.
    pub compiled: Option<Side>,
}

/// The part on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Its length.
    pub bytes: usize,
    /// Of its content.
    pub digest: Digest,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, digest {}", self.bytes, self.digest)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: &Option<Side>| side.map_or("none".to_owned(), |side| side.to_string());
        let (stored, compiled) = (side(&self.stored), side(&self.compiled));
        write!(f, "{}: stored {stored}; compiled {compiled}", self.kind.name())
    }
}

/// The parts from the compiler in which two entries differ.
pub fn differences(stored: &Entry, compiled: &Entry) -> Vec<Difference> {
    let side = |bytes: Option<&[u8]>| bytes.map(|b| Side { bytes: b.len(), digest: Digest::of(b) });
    let kinds = PartKind::ALL.iter().filter(|kind| !OURS.contains(kind));
    kinds
        .filter(|kind| stored.part(**kind) != compiled.part(**kind))
        .map(|&kind| Difference {
            kind,
            stored: side(stored.part(kind)),
            compiled: side(compiled.part(kind)),
        })
        .collect()
}

/// Keeps both sides of each difference, and a text about them, in a folder of its own below the
/// cache folder; returns where. `name` begins with the time, so that names sort by age.
pub fn keep(
    cache_folder: &Path,
    name: &str,
    stored: &Entry,
    compiled: &Entry,
    differences: &[Difference],
    about: &str,
) -> io::Result<PathBuf> {
    let all = cache_folder.join(FOLDER);
    let folder = all.join(name);
    // A cache folder that was removed meanwhile stays so.
    for made in [&all, &folder] {
        match DirBuilder::new().mode(0o700).create(made) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    write_new(&folder.join("about.txt"), about.as_bytes())?;
    for difference in differences {
        for (side, entry) in [("stored", stored), ("compiled", compiled)] {
            let Some(bytes) = entry.part(difference.kind) else { continue };
            if bytes.len() <= KEPT_PART_BYTES_MAX {
                let file = format!("{}.{side}", difference.kind.name());
                write_new(&folder.join(file), bytes)?;
            }
        }
    }
    remove_oldest(&all)?;
    Ok(folder)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

fn remove_oldest(all: &Path) -> io::Result<()> {
    let mut kept =
        fs::read_dir(all)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    kept.sort_unstable();
    let surplus = kept.len().saturating_sub(KEPT_MAX);
    kept[..surplus].iter().try_for_each(fs::remove_dir_all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(parts: &[(PartKind, &str)]) -> Entry {
        let mut entry = Entry::default();
        parts.iter().for_each(|(kind, text)| entry.push(*kind, text.as_bytes().to_vec()));
        entry
    }

    #[test]
    fn what_the_compiler_made_is_compared() {
        let stored = entry(&[(PartKind::Object, "a"), (PartKind::Facts, "1")]);
        let same = entry(&[(PartKind::Facts, "2"), (PartKind::Object, "a")]);
        assert_eq!(differences(&stored, &same), []);
        let other = entry(&[(PartKind::Object, "bc"), (PartKind::Stderr, "warning")]);
        let found = differences(&stored, &other);
        assert_eq!(found.len(), 2);
        let digest = Digest::of;
        assert_eq!(
            found[0].to_string(),
            format!(
                "object: stored 1 bytes, digest {}; compiled 2 bytes, digest {}",
                digest(b"a"),
                digest(b"bc")
            )
        );
        assert!(found[1].to_string().starts_with("stderr: stored none; compiled 7 bytes"));
    }

    #[test]
    fn a_bounded_number_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (stored, compiled) = (entry(&[(PartKind::Object, "a")]), entry(&[]));
        let found = differences(&stored, &compiled);
        for number in 0..KEPT_MAX + 3 {
            let name = format!("{number:04}");
            let kept = keep(folder.path(), &name, &stored, &compiled, &found, "why").unwrap();
            assert_eq!(fs::read(kept.join("object.stored")).unwrap(), b"a");
            assert_eq!(fs::read(kept.join("about.txt")).unwrap(), b"why");
            assert!(!kept.join("object.compiled").exists());
        }
        let all = folder.path().join(FOLDER);
        assert_eq!(fs::read_dir(&all).unwrap().count(), KEPT_MAX);
        assert!(!all.join("0002").exists() && all.join("0003").exists());
    }
}
