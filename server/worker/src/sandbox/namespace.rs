//! A root of its own for one job: user, mount, process, IPC, name and network namespaces, made between fork
//! and exec.
//!
//! Three processes come of it. The first stays outside and hands on how the job ended; the second is the first
//! process of the new process namespace, sets up the mounts and reaps; the third becomes the program. Nothing
//! here allocates after fork: all texts are made before.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};

/// Devices that programs expect.
const DEVICES: [&CStr; 4] = [c"null", c"zero", c"random", c"urandom"];

/// A status of a job that a signal ended: this and the number of the signal, as shells have it.
const SIGNAL_STATUS: i32 = 128;

/// How a namespace can be had here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// In a user namespace; without one, root only can.
    user: bool,
    /// Whether there is a /proc in it.
    proc: bool,
}

/// What there is in it besides the tree.
pub struct Room<'a> {
    /// The folder that becomes the root. It has the empty folders `dev`, `proc` and `tmp`.
    pub root: &'a Path,
    /// The working directory in it.
    pub working_directory: &'a Path,
    /// Files that may be run, and where in the root they are to be seen: relative, over files that are
    /// there.
    pub programs: Vec<(&'a Path, &'a Path)>,
    /// Whether everything in the tree may be run.
    pub all_may_run: bool,
}

/// All that is needed after fork.
pub struct Plan {
    way: Way,
    root: CString,
    working_directory: CString,
    user_map: Vec<u8>,
    group_map: Vec<u8>,
    /// From where to where.
    mounts: Vec<(CString, CString)>,
    all_may_run: bool,
}

impl Room<'_> {
    /// Names in the root that every tree may hold, but as nothing else than folders.
    pub const OWN_FOLDERS: [&'static str; 3] = ["dev", "proc", "tmp"];
}

impl Way {
    /// Tries what this kernel, and what is around this process, allow. The error says why there is no way.
    pub fn find(scratch: &Path) -> Result<Way, String> {
        let is_root = rustix::process::geteuid().is_root();
        let mut why = String::new();
        for user in [true, false] {
            // Without one of its own, the job would be root.
            for proc in [true, false] {
                if !user && !is_root {
                    continue;
                }
                let way = Way { user, proc };
                match way.works(scratch) {
                    Ok(()) => return Ok(way),
                    Err(error) if why.is_empty() => why = error.to_string(),
                    Err(_) => {}
                }
            }
        }
        Err(format!("no namespace can be made: {why}"))
    }

    fn works(self, scratch: &Path) -> io::Result<()> {
        for name in Room::OWN_FOLDERS {
            std::fs::create_dir_all(scratch.join(name))?;
        }
        make_devices(scratch)?;
        let room = Room {
            root: scratch,
            working_directory: Path::new("/tmp"),
            programs: Vec::new(),
            all_may_run: false,
        };
        let plan = Plan::new(self, &room)?;
        let (mut ours, theirs) = io::pipe()?;
        // SAFETY: what happens in the child is system calls on prepared data, and then its end.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let number =
                plan.enter().map_or_else(|error| error.raw_os_error().unwrap_or(1), |()| 0);
            let bytes = number.to_le_bytes();
            // SAFETY: the pipe is open, unless all descriptors were closed, and the bytes are there.
            unsafe {
                libc::write(std::os::fd::AsRawFd::as_raw_fd(&theirs), bytes.as_ptr().cast(), 4);
                libc::_exit(0);
            }
        }
        drop(theirs);
        if child < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut bytes = [0; 4];
        let read = io::Read::read_exact(&mut ours, &mut bytes);
        // SAFETY: it is our child; the status is not asked for.
        unsafe { libc::waitpid(child, null_mut(), 0) };
        read?;
        match i32::from_le_bytes(bytes) {
            0 => Ok(()),
            number => Err(io::Error::from_raw_os_error(number)),
        }
    }
}

/// Makes the files over which devices are seen.
pub fn make_devices(root: &Path) -> io::Result<()> {
    for device in DEVICES {
        let path = root.join("dev").join(std::ffi::OsStr::from_bytes(device.to_bytes()));
        std::fs::File::options().write(true).create(true).truncate(false).open(path)?;
    }
    Ok(())
}

impl Plan {
    /// Makes all texts.
    pub fn new(way: Way, room: &Room) -> io::Result<Plan> {
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
        let user = rustix::process::geteuid().as_raw();
        let group = rustix::process::getegid().as_raw();
        let mut mounts = Vec::with_capacity(DEVICES.len() + room.programs.len());
        for device in DEVICES {
            let name = Path::new(std::ffi::OsStr::from_bytes(device.to_bytes()));
            let from = Path::new("/dev").join(name);
            if from.exists() {
                mounts.push((text(&from)?, text(&room.root.join("dev").join(name))?));
            }
        }
        for (from, to) in &room.programs {
            mounts.push((text(from)?, text(&room.root.join(to))?));
        }
        Ok(Plan {
            way,
            root: text(room.root)?,
            working_directory: text(room.working_directory)?,
            user_map: format!("{user} {user} 1").into_bytes(),
            group_map: format!("{group} {group} 1").into_bytes(),
            mounts,
            all_may_run: room.all_may_run,
        })
    }

    /// Comes back in the process that is to become the program, within the namespace. In the two others it
    /// does not come back, unless with an error. Async-signal-safe.
    pub fn enter(&self) -> io::Result<()> {
        self.leave_namespaces()?;
        // SAFETY: fork, and system calls on plain numbers.
        unsafe {
            match libc::fork() {
                -1 => return Err(io::Error::last_os_error()),
                0 => {}
                child => hand_on(child),
            }
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
        self.set_up()?;
        // SAFETY: as above.
        unsafe {
            match libc::fork() {
                -1 => return Err(io::Error::last_os_error()),
                0 => {}
                child => hand_on(child),
            }
        }
        give_up_rights()
    }

    fn leave_namespaces(&self) -> io::Result<()> {
        let mut flags = libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWNET;
        if self.way.user {
            flags |= libc::CLONE_NEWUSER;
        }
        // SAFETY: numbers only.
        check(unsafe { libc::unshare(flags) })?;
        if self.way.user {
            write_file(c"/proc/self/setgroups", b"deny")?;
            write_file(c"/proc/self/uid_map", &self.user_map)?;
            write_file(c"/proc/self/gid_map", &self.group_map)?;
        }
        Ok(())
    }

    /// The mounts. In the end the root is all that there is.
    fn set_up(&self) -> io::Result<()> {
        let plain = libc::MS_NOSUID | libc::MS_NODEV;
        let no_programs = if self.all_may_run { 0 } else { libc::MS_NOEXEC };
        let root = self.root.as_ptr();
        // SAFETY: all texts end with a zero and live as long as `self`.
        unsafe {
            let private = libc::MS_REC | libc::MS_PRIVATE;
            check(libc::mount(null(), c"/".as_ptr(), null(), private, null()))?;
            // Before the root: what is mounted now keeps the right to be run.
            for (from, to) in &self.mounts {
                check(libc::mount(from.as_ptr(), to.as_ptr(), null(), libc::MS_BIND, null()))?;
            }
            let all = libc::MS_BIND | libc::MS_REC;
            check(libc::mount(root, root, null(), all, null()))?;
            let again = libc::MS_REMOUNT | libc::MS_BIND | plain | no_programs;
            check(libc::mount(null(), root, null(), again, null()))?;
            check(libc::chdir(root))?;
            if self.way.proc {
                let proc = c"proc".as_ptr();
                check(libc::mount(proc, proc, proc, plain | libc::MS_NOEXEC, null()))?;
            }
            let here = c".".as_ptr();
            check(libc::syscall(libc::SYS_pivot_root, here, here) as libc::c_int)?;
            check(libc::umount2(here, libc::MNT_DETACH))?;
            check(libc::chdir(c"/".as_ptr()))?;
            check(libc::chdir(self.working_directory.as_ptr()))
        }
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn write_file(path: &CStr, content: &[u8]) -> io::Result<()> {
    // SAFETY: the path ends with a zero; the content is as long as it says.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(file)?;
        let written = libc::write(file, content.as_ptr().cast(), content.len());
        let error = io::Error::last_os_error();
        libc::close(file);
        if written < 0 { Err(error) } else { Ok(()) }
    }
}

/// Waits for all children, and ends as that one did. What is open here would keep others waiting.
///
/// # Safety
/// Only in a process that is a fork.
unsafe fn hand_on(child: libc::pid_t) -> ! {
    // SAFETY: numbers only; and the status is a local.
    unsafe {
        libc::close_range(0, libc::c_uint::MAX, 0);
        loop {
            let mut status = 0;
            let ended = libc::waitpid(-1, &mut status, 0);
            if ended == child {
                libc::_exit(match libc::WIFEXITED(status) {
                    true => libc::WEXITSTATUS(status),
                    false => SIGNAL_STATUS + libc::WTERMSIG(status),
                });
            }
            if ended < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                libc::_exit(SIGNAL_STATUS);
            }
        }
    }
}

/// From linux/securebits.h: root is a user like others, and none of this can be undone.
const SECURE_BITS: libc::c_ulong = 0b1110_1111;

/// From linux/capability.h.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    process: libc::c_int,
}

/// Takes away what a new user namespace, or being root, gives.
fn give_up_rights() -> io::Result<()> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION, process: 0 };
    let none = [0_u32; 6];
    // SAFETY: the kernel reads the header and two sets of three numbers.
    unsafe {
        check(libc::prctl(libc::PR_SET_SECUREBITS, SECURE_BITS, 0, 0, 0))?;
        check(libc::syscall(libc::SYS_capset, &raw const header, &raw const none) as libc::c_int)
    }
}
