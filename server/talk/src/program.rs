//! Running a program for the daemon, in the caller's process: Ctrl-C, nice, ulimit, cgroups and the jobserver keep
//! their meaning.

use crate::inherited;
use crate::launcher_protocol::{Run, ToDaemon, descriptor_mark};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use rustix::termios::Winsize;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Programs that rcache starts see this, so that an rcache below them stands aside. It lists the
/// programs that were started on the way, as PATH lists folders.
pub const INSIDE_VARIABLE: &str = "_RCACHE_INSIDE";

/// The value of [`INSIDE_VARIABLE`] for a program that is about to be started.
pub fn inside(program: &OsStr) -> OsString {
    let mut list = std::env::var_os(INSIDE_VARIABLE).unwrap_or_default();
    if !list.is_empty() {
        list.push(":");
    }
    list.push(program);
    list
}

/// Between two looks whether a program has ended, where the kernel does not tell.
const END_LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// A terminal holds less than this. More comes from somebody who goes on printing after the end.
const LEFT_BYTES_MAX: usize = 256 << 10;

/// A program that was run for the daemon.
pub struct Ran {
    /// As waitpid gives it.
    pub status: i32,
    /// What it wrote to standard output.
    pub stdout: File,
    /// What it wrote to standard error.
    pub stderr: File,
    usage: libc::rusage,
}

impl Ran {
    /// What the daemon wants to know.
    pub fn report(&self) -> ToDaemon {
        ToDaemon::Ran {
            status: self.status,
            user_us: microseconds(self.usage.ru_utime),
            system_us: microseconds(self.usage.ru_stime),
        }
    }
}

fn microseconds(time: libc::timeval) -> u64 {
    time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64
}

/// Runs a program with the descriptors that the daemon handed over: stdout, stderr, and files
/// that arguments name by their marks.
///
/// # Errors
/// It could not be started, or nobody knows how it ended.
pub fn run(order: &Run, descriptors: Vec<OwnedFd>) -> io::Result<Ran> {
    let mut descriptors = descriptors.into_iter();
    let (Some(stdout), Some(stderr)) = (descriptors.next(), descriptors.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let (stdout, mut stderr) = (File::from(stdout), File::from(stderr));
    let extras: Vec<OwnedFd> = descriptors.collect();
    for extra in &extras {
        rustix::io::fcntl_setfd(extra, rustix::io::FdFlags::empty())?;
    }
    let size = || rustix::termios::tcgetwinsize(io::stderr()).ok();
    let pseudo_terminal = if order.terminal { Some(PseudoTerminal::open(size())?) } else { None };
    let mut command = Command::new(&order.program);
    command
        .args(order.arguments.iter().map(|argument| place_descriptors(argument, &extras)))
        .env(INSIDE_VARIABLE, inside(order.program.as_os_str()))
        .envs(order.environment.iter().filter_map(|variable| split_variable(variable)))
        .stdout(Stdio::from(stdout.as_fd().try_clone_to_owned()?))
        .stderr(match &pseudo_terminal {
            Some(pair) => Stdio::from(pair.program_side.try_clone()?),
            None => Stdio::from(stderr.as_fd().try_clone_to_owned()?),
        });
    // distcc and icecc as a prefix write their own noise here, so that it is not cached.
    let noise = io::stderr().as_fd().try_clone_to_owned()?;
    if order.compile {
        rustix::io::fcntl_setfd(&noise, rustix::io::FdFlags::empty())?;
        command.env("UNCACHED_ERR_FD", noise.as_raw_fd().to_string());
    } else {
        command.stdin(Stdio::null());
    }
    // SAFETY: prctl is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            Ok(())
        });
    }
    inherited::hand_on(&mut command);
    let child = command.spawn()?;
    drop(command);
    if let Some(pair) = pseudo_terminal {
        pair.copy_until_end(&End::of(&child), &mut stderr);
    }
    let (status, usage) = wait(child.id())?;
    Ok(Ran { status, stdout, stderr, usage })
}

fn split_variable(variable: &[u8]) -> Option<(&OsStr, &OsStr)> {
    let equals = variable.iter().position(|&byte| byte == b'=')?;
    Some((OsStr::from_bytes(&variable[..equals]), OsStr::from_bytes(&variable[equals + 1..])))
}

/// Replaces marks by the paths under which the program finds the descriptors.
fn place_descriptors(argument: &[u8], extras: &[OwnedFd]) -> OsString {
    let mut placed = argument.to_vec();
    for (n, extra) in extras.iter().enumerate() {
        let mark = descriptor_mark(n);
        if let Some(at) = placed.windows(mark.len()).position(|window| window == mark) {
            let path = format!("/proc/self/fd/{}", extra.as_raw_fd());
            placed.splice(at..at + mark.len(), path.into_bytes());
        }
    }
    OsString::from_vec(placed)
}

/// The status of a child; an error where somebody else has taken it.
fn wait(process: u32) -> io::Result<(i32, libc::rusage)> {
    let mut status = 0;
    loop {
        // SAFETY: rusage is plain data, and wait4 only writes to the two places it is given.
        let (ended, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(process as libc::pid_t, &mut status, 0, &mut usage), usage)
        };
        match ended {
            0.. => return Ok((status, usage)),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}

/// The end of a child, which is still to be waited for.
pub struct End {
    process: Pid,
    /// Readable from the end on; nothing where the kernel or a sandbox knows no such thing.
    descriptor: Option<OwnedFd>,
}

impl End {
    /// Follows this child.
    pub fn of(child: &Child) -> End {
        let process = Pid::from_child(child);
        let descriptor = rustix::process::pidfd_open(process, PidfdFlags::empty()).ok();
        End { process, descriptor }
    }

    /// Waits until there is something to read, or the end; whether it is the end.
    fn wait_beside(&self, source: &File) -> io::Result<bool> {
        let mut descriptors = vec![PollFd::new(source, PollFlags::IN)];
        descriptors.extend(self.descriptor.as_ref().map(|end| PollFd::new(end, PollFlags::IN)));
        let pause = self.descriptor.is_none().then_some(&END_LOOK);
        match poll(&mut descriptors, pause) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        match &descriptors[1..] {
            [end] => Ok(!end.revents().is_empty()),
            _ => Ok(self.has_come()),
        }
    }

    fn has_come(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(
            rustix::process::waitid(WaitId::Pid(self.process), options),
            Ok(None) | Err(Errno::INTR)
        )
    }
}

/// A terminal of the caller's width, so that the compiler prints colours, links and carets as it
/// would without rcache.
pub struct PseudoTerminal {
    our_side: File,
    /// What the program is to have as standard error.
    pub program_side: File,
}

impl PseudoTerminal {
    /// One of this size; `None` for what the kernel gives.
    pub fn open(size: Option<Winsize>) -> io::Result<PseudoTerminal> {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        use rustix::termios::{OutputModes, tcgetattr, tcsetattr, tcsetwinsize};
        let our_side = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&our_side)?;
        unlockpt(&our_side)?;
        let name = ptsname(&our_side, Vec::new())?;
        // Whoever leads a session without a terminal would get this one as its own, and end with it.
        let program_side = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(OsStr::from_bytes(name.as_bytes()))?;
        // No translation of line ends: the caller's terminal does that.
        let mut attributes = tcgetattr(&program_side)?;
        attributes.output_modes -= OutputModes::OPOST;
        tcsetattr(&program_side, rustix::termios::OptionalActions::Now, &attributes)?;
        if let Some(size) = size {
            tcsetwinsize(&program_side, size)?;
        }
        Ok(PseudoTerminal { our_side: File::from(our_side), program_side })
    }

    /// Copies what is printed until the end of the program. A process that it leaves behind may hold the
    /// terminal for long: nobody waits for that one without a terminal either.
    pub fn copy_until_end(mut self, end: &End, file: &mut File) {
        drop(self.program_side);
        if rustix::io::ioctl_fionbio(&self.our_side, true).is_err() {
            return;
        }
        let mut left = LEFT_BYTES_MAX;
        while let Ok(ended) = end.wait_beside(&self.our_side) {
            left = if ended { left } else { LEFT_BYTES_MAX };
            if !copy_what_is_there(&mut self.our_side, file, &mut left) || ended {
                return;
            }
        }
    }
}

/// At most `left` bytes, and one block; `false` where nothing can follow: the last process that held
/// the program's side has closed it (EIO), or the file takes nothing.
fn copy_what_is_there(source: &mut File, file: &mut File, left: &mut usize) -> bool {
    let mut block = [0; 16 << 10];
    while *left > 0 {
        let count = match source.read(&mut block) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        };
        if file.write_all(&block[..count]).is_err() {
            return false;
        }
        *left = left.saturating_sub(count);
    }
    true
}
