//! How much the walk of one unit may take: what it reads decides, so each amount has a limit.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Opaque;

/// Places at which one unit may look. A unit of 1,500 headers in 40 folders takes 120,000.
const LOOKS_MAX: u64 = 4_000_000;

/// What may be remembered of them.
const BYTES_MAX: usize = 64 << 20;

/// The build waits for the walk: less than a launcher's patience with a silent daemon.
const TIME_MAX: Duration = Duration::from_secs(2);

/// The kernel follows no longer path (`PATH_MAX`).
pub(super) const PATH_BYTES_MAX: usize = 4096;

/// Looks between two looks at the clock.
const LOOKS_BETWEEN: u64 = 1024;

/// What one walk may take before it is given up.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Places to look at.
    pub looks: u64,
    /// Bytes to remember.
    pub bytes: usize,
    /// When it must have come to an end.
    pub until: Instant,
}

impl Bounds {
    /// For a walk that begins now.
    pub fn from(now: Instant) -> Bounds {
        Bounds { looks: LOOKS_MAX, bytes: BYTES_MAX, until: now + TIME_MAX }
    }
}

/// What is left of the bounds.
pub(super) struct Work {
    left: Bounds,
    /// The file whose includes are followed.
    pub(super) file: PathBuf,
}

impl Work {
    pub(super) fn new(bounds: Bounds) -> Work {
        Work { left: bounds, file: PathBuf::new() }
    }

    /// One more place is looked at.
    pub(super) fn look(&mut self) -> Result<(), Opaque> {
        self.left.looks = self.left.looks.checked_sub(1).ok_or_else(|| self.too_much("places"))?;
        let late = || Instant::now() >= self.left.until;
        match self.left.looks.is_multiple_of(LOOKS_BETWEEN) && late() {
            true => Err(self.too_much("time")),
            false => Ok(()),
        }
    }

    /// Something of this many bytes is remembered.
    pub(super) fn keep(&mut self, bytes: usize) -> Result<(), Opaque> {
        self.left.bytes =
            self.left.bytes.checked_sub(bytes).ok_or_else(|| self.too_much("memory"))?;
        Ok(())
    }

    /// A path that no system call takes.
    pub(super) fn check_length(&self, path: &[u8]) -> Result<(), Opaque> {
        match path.len() < PATH_BYTES_MAX {
            true => Ok(()),
            false => Err(self.too_much("longer paths")),
        }
    }

    fn too_much(&self, what: &'static str) -> Opaque {
        Opaque::TooMuchWork(Path::new(&self.file).to_owned(), what)
    }
}
