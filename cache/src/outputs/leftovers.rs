//! What a process that was killed amid a delivery has left in a build folder.

use super::temporary::{NAME_END, NAME_START};
use compiler::file_memo::{WorkingDirectory, nanoseconds_of};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A delivery does not take so long. The process with the number in the name may be another by now.
const AGE_MAX: Duration = Duration::from_secs(3600);

/// Folders with more than this are not searched to their end.
const NAMES_MAX: usize = 100_000;

/// Removes what nobody will put into its place any more. Somebody whose file goes all the same (one
/// whose number means another process here) cannot deliver it, and runs the compiler.
pub fn remove_leftovers(here: &WorkingDirectory, folder: &Path, now: SystemTime) {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(opened) = rustix::fs::openat(here.descriptor(), folder, flags, Mode::empty()) else {
        return;
    };
    let Ok(names) = rustix::fs::Dir::read_from(&opened) else { return };
    for entry in names.take(NAMES_MAX).flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().ok().and_then(writer_of) else { continue };
        let is_alive = || Path::new("/proc").join(process).exists();
        let is_old = || {
            let stat = rustix::fs::statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW);
            stat.is_ok_and(|stat| {
                let changed = compiler::file_memo::Stamp::of(&stat).changed_ns;
                changed + AGE_MAX.as_nanos() as i128 <= nanoseconds_of(now)
            })
        };
        if !is_alive() || is_old() {
            let _ = rustix::fs::unlinkat(&opened, name, AtFlags::empty());
        }
    }
}

/// The number of the process that gave a temporary name.
fn writer_of(name: &str) -> Option<&str> {
    let numbers = name.strip_prefix(NAME_START)?.strip_suffix(NAME_END)?;
    let (process, number) = numbers.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(process) && is_number(number)).then_some(process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_what_nobody_writes_any_more_goes() {
        let folder = tempfile::tempdir().unwrap();
        let here = WorkingDirectory::open(folder.path()).unwrap();
        // No process has so high a number.
        let dead = ".rcache-4194305-0.tmp".to_owned();
        let own = format!(".rcache-{}-3.tmp", std::process::id());
        let others = [".rcache-x-0.tmp", ".rcache-4194305-0.o", "a.tmp", ".rcache-4194305-.tmp"];
        for name in others.iter().map(|name| (*name).to_owned()).chain([dead, own.clone()]) {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let count = || fs::read_dir(folder.path()).unwrap().count();
        remove_leftovers(&here, Path::new(""), SystemTime::now());
        assert_eq!(count(), others.len() + 1);
        assert!(folder.path().join(&own).exists());
        remove_leftovers(&here, Path::new(""), SystemTime::now() + 2 * AGE_MAX);
        assert_eq!(count(), others.len());
    }
}
