//! Programs that a test writes and runs at once.
//!
//! A process that another test is just starting has a copy of each descriptor of this one until it
//! execs, and what anybody may write to cannot be run (ETXTBSY). So the writing is left to a process
//! of its own, which is over before the program is run.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

/// Writes a program, in place where there is one.
#[track_caller]
pub fn write_program(path: &Path, content: impl AsRef<[u8]>) {
    let mut draft = tempfile::NamedTempFile::new().expect("a scratch file");
    draft.write_all(content.as_ref()).unwrap();
    copy_program(draft.path(), path);
}

/// Copies a program, in place where there is one.
#[track_caller]
pub fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").args([from, to]).status().expect("cp");
    assert!(copied.success(), "cp {} {}", from.display(), to.display());
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Sets a file's modification time without opening it.
#[track_caller]
pub fn set_modified(path: &Path, time: SystemTime) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
    let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("a time since 1970");
    let (tv_sec, tv_nsec) = (since.as_secs() as i64, since.subsec_nanos().into());
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec, tv_nsec },
    };
    utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
}
