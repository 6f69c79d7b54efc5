//! landlock(7): a process gives up the right to files and ports that no rule names.

use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

// linux/landlock.h
const CREATE_RULESET_VERSION: libc::c_uint = 1;
const RULE_PATH_BENEATH: libc::c_int = 1;
const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const NET_BIND_TCP: u64 = 1;
const NET_CONNECT_TCP: u64 = 1 << 1;
const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
const SCOPE_SIGNAL: u64 = 1 << 1;

/// `struct landlock_ruleset_attr`. Older kernels take the longer struct where its end is zero.
#[repr(C)]
struct RulesetAttributes {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneathAttributes {
    allowed_access: u64,
    parent_fd: i32,
}

/// What may be done with a file, or with all that is below a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Read and execute.
    Execute,
    /// Read, write, make and remove ordinary files and folders.
    Write,
}

impl Right {
    fn bits(self) -> u64 {
        match self {
            Right::Execute => EXECUTE | READ_FILE | READ_DIR,
            Right::Write => {
                let files = READ_FILE | WRITE_FILE | TRUNCATE | REMOVE_FILE | MAKE_REG;
                files | READ_DIR | MAKE_DIR | REMOVE_DIR | REFER
            }
        }
    }
}

/// Of all rights, those that a rule for something else than a folder may name.
const FILE_RIGHTS: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE;

/// The version of the interface; an error where there is none.
pub fn version() -> io::Result<u32> {
    // SAFETY: with this flag the kernel reads no memory.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<RulesetAttributes>(),
            0usize,
            CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).map_err(|_| io::Error::last_os_error())
}

/// All rights over files that a version knows.
fn handled_access_fs(version: u32) -> u64 {
    let rights = match version {
        0 | 1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    (1 << rights) - 1
}

/// Rules in the making: what none of them allows is forbidden.
pub struct Rules {
    ruleset: OwnedFd,
    handled: u64,
}

impl Rules {
    /// No rule yet.
    pub fn new(version: u32) -> io::Result<Rules> {
        let attributes = RulesetAttributes {
            handled_access_fs: handled_access_fs(version),
            handled_access_net: if version >= 4 { NET_BIND_TCP | NET_CONNECT_TCP } else { 0 },
            scoped: if version >= 6 { SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL } else { 0 },
        };
        // SAFETY: the struct is the kernel's, with its size; the result is a new descriptor.
        let ruleset = unsafe {
            let descriptor = libc::syscall(
                libc::SYS_landlock_create_ruleset,
                &raw const attributes,
                size_of::<RulesetAttributes>(),
                0,
            );
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(descriptor as i32)
        };
        Ok(Rules { ruleset, handled: attributes.handled_access_fs })
    }

    /// Allows `right` for a file or for all below a folder.
    pub fn allow(&mut self, path: &Path, right: Right) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let target = rustix::fs::open(path, flags, Mode::empty())?;
        let mode = rustix::fs::fstat(&target)?.st_mode;
        let is_folder =
            rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::Directory;
        let possible = if is_folder { self.handled } else { self.handled & FILE_RIGHTS };
        let attributes = PathBeneathAttributes {
            allowed_access: right.bits() & possible,
            parent_fd: target.as_raw_fd(),
        };
        // SAFETY: the struct is the kernel's; both descriptors are open.
        let added = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.ruleset.as_raw_fd(),
                RULE_PATH_BENEATH,
                &raw const attributes,
                0,
            )
        };
        if added < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The same, for what not every system has.
    pub fn allow_if_there(&mut self, path: &Path, right: Right) -> io::Result<()> {
        match self.allow(path, right) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// The rules, for [`restrict`].
    pub fn finish(self) -> OwnedFd {
        self.ruleset
    }
}

/// Puts this thread and all that it starts under the rules. Async-signal-safe.
pub fn restrict(ruleset: i32) -> io::Result<()> {
    // SAFETY: numbers only.
    let restricted = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) };
    if restricted < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
