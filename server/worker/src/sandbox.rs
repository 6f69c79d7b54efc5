//! What a compiler may do: read toolchains, write its own folder, and nothing else, where the kernel can see to that.

mod landlock;
mod namespace;
mod seccomp;

pub use namespace::{Room, Way, make_devices};

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where toolchains are: programs, their libraries, and the dynamic linker's lists. Neither headers
/// nor anything else that a text could ask for.
const READABLE: [&str; 18] = [
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libx32",
    "/usr/libexec",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/libexec",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
];

/// What programs expect to be able to read and write.
const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];

/// What this kernel offers.
pub struct Sandbox {
    /// The version of landlock.
    landlock: Result<u32, String>,
    seccomp: Result<Arc<seccomp::Filter>, String>,
    /// For jobs whose files are also those of others.
    seccomp_in_room: Option<Arc<seccomp::Filter>>,
}

impl Sandbox {
    /// Asks the kernel.
    pub fn probe() -> Sandbox {
        let landlock = landlock::version().map_err(|error| match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EOPNOTSUPP) => "the kernel has none".to_owned(),
            _ => error.to_string(),
        });
        let seccomp = seccomp::Filter::new(&[]).map(Arc::new);
        let in_room = seccomp::Filter::new(&[libc::SYS_fchmod]).ok().map(Arc::new);
        Sandbox { landlock, seccomp, seccomp_in_room: in_room }
    }

    /// No sandbox.
    pub fn off() -> Sandbox {
        let why = || "switched off".to_owned();
        Sandbox { landlock: Err(why()), seccomp: Err(why()), seccomp_in_room: None }
    }

    /// Whether compilers cannot read files of others.
    pub fn hides_files(&self) -> bool {
        self.landlock.is_ok()
    }

    /// Whether a job in a root of its own cannot change the permissions of files.
    pub fn keeps_permissions(&self) -> bool {
        self.seccomp_in_room.is_some()
    }

    /// A confinement to toolchains, `programs` and `folder`.
    pub fn confine(&self, folder: &Path, programs: &[&Path]) -> io::Result<Confinement> {
        let ruleset = match self.landlock {
            Err(_) => None,
            Ok(version) => {
                let mut rules = landlock::Rules::new(version)?;
                for path in READABLE.iter().map(Path::new).chain(programs.iter().copied()) {
                    rules.allow_if_there(path, landlock::Right::Execute)?;
                }
                for path in DEVICES {
                    rules.allow_if_there(Path::new(path), landlock::Right::Write)?;
                }
                rules.allow(folder, landlock::Right::Write)?;
                Some(rules.finish())
            }
        };
        let filter = self.seccomp.as_ref().ok().map(Arc::clone);
        Ok(Confinement { ruleset, filter, room: None })
    }

    /// A confinement to a root of its own.
    pub fn enclose(&self, way: Way, room: &Room) -> io::Result<Confinement> {
        let room = Some(Arc::new(namespace::Plan::new(way, room)?));
        Ok(Confinement { ruleset: None, filter: self.seccomp_in_room.clone(), room })
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.landlock {
            Ok(version) => write!(f, "landlock: on (ABI {version})")?,
            Err(why) => write!(f, "landlock: off ({why})")?,
        }
        match &self.seccomp {
            Ok(_) => write!(f, "; seccomp: on"),
            Err(why) => write!(f, "; seccomp: off ({why})"),
        }
    }
}

/// What one compile may do.
pub struct Confinement {
    ruleset: Option<OwnedFd>,
    filter: Option<Arc<seccomp::Filter>>,
    room: Option<Arc<namespace::Plan>>,
}

impl Confinement {
    /// What a child needs to enter it; the confinement must live until then.
    pub fn entrance(&self) -> Entrance {
        use std::os::fd::AsRawFd;
        Entrance {
            ruleset: self.ruleset.as_ref().map(AsRawFd::as_raw_fd),
            filter: self.filter.as_ref().map(Arc::clone),
            room: self.room.as_ref().map(Arc::clone),
        }
    }
}

/// The way into a confinement.
pub struct Entrance {
    ruleset: Option<i32>,
    filter: Option<Arc<seccomp::Filter>>,
    room: Option<Arc<namespace::Plan>>,
}

impl Entrance {
    /// Confines this thread and all that it starts, for ever. Async-signal-safe.
    pub fn enter(&self) -> io::Result<()> {
        if let Some(room) = &self.room {
            room.enter()?;
        } else if self.ruleset.is_none() && self.filter.is_none() {
            return Ok(());
        }
        // SAFETY: prctl with numbers only.
        if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
        if let Some(ruleset) = self.ruleset {
            landlock::restrict(ruleset)?;
        }
        // Last: it forbids what the others need.
        self.filter.as_ref().map_or(Ok(()), |filter| filter.apply())
    }
}

/// The files of a compiler that are not where toolchains usually are, or only seem to be: behind links,
/// or by way of `..`.
pub fn programs(compiler: &compiler::identity::Compiler) -> Vec<PathBuf> {
    let all = compiler.files.iter().filter_map(|(path, _)| path.canonicalize().ok());
    all.filter(|path| !READABLE.iter().any(|known| path.starts_with(known))).collect()
}

#[cfg(test)]
mod tests;
