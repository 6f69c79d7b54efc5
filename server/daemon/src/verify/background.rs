//! Compilers that the daemon runs itself, for hits whose launchers are gone: as the launcher would, at the lowest
//! priority.

use super::recompile::Recompiler;
use crate::serve::conversation::read_all;
use crate::serve::{ceiling, descriptors, signals};
use crate::understand::unit::{Call, Unit};
use compiler::file_memo::WorkingDirectory;
use identify::{Probed, Prober};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use rustix::termios::Winsize;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use talk::launcher_protocol::{Caller, Run, Terminal};
use talk::party::{Party, Process};
use talk::program::{End, INSIDE_VARIABLE, PseudoTerminal};

/// A program that takes longer is given up. Beside a busy build, little of the machine is left for it.
const RUN_MAX: Duration = Duration::from_secs(20 * 60);

/// Between two looks whether the program or the daemon has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A compiler that is told to end removes its temporary files; after this long it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// The kernel's highest niceness.
const NICE_MAX: i32 = 19;

/// `IOPRIO_WHO_PROCESS`, and the class `IOPRIO_CLASS_IDLE` in its place (linux/ioprio.h).
const PRIORITY_OF_PROCESS: libc::c_int = 1;
const IDLE_CLASS: libc::c_int = 3 << 13;

/// Where a call was made, and the end of the daemon.
pub struct Background<'a> {
    caller: &'a Caller,
    here: WorkingDirectory,
    ending: &'a AtomicBool,
}

impl<'a> Background<'a> {
    /// For programs with the surroundings of a call.
    ///
    /// # Errors
    /// Its working directory is no longer there.
    pub fn new(call: &'a Call, ending: &'a AtomicBool) -> io::Result<Background<'a>> {
        let here = WorkingDirectory::open(&call.caller.working_directory)?;
        if here.id != call.caller.working_directory_id {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Background { caller: &call.caller, here, ending })
    }

    /// With terminals as the call had them, where its standard error was one.
    fn run(&self, order: &Run, terminal: Terminal) -> io::Result<Probed> {
        let memory_file = || -> io::Result<File> {
            Ok(File::from(rustix::fs::memfd_create("rcache", MemfdFlags::CLOEXEC)?))
        };
        let (mut stdout, mut stderr) = (memory_file()?, memory_file()?);
        let open = |ws_col: u16| {
            PseudoTerminal::open(Some(Winsize { ws_row: 0, ws_col, ws_xpixel: 0, ws_ypixel: 0 }))
        };
        let wide = terminal.input_columns;
        let input = (terminal.stderr && wide > 0).then(|| open(wide)).transpose()?;
        let terminal = terminal.stderr.then(|| open(terminal.columns)).transpose()?;
        let mut command = self.command(order);
        if let Some(input) = &input {
            command.stdin(Stdio::from(input.program_side.try_clone()?));
        }
        command.stdout(Stdio::from(stdout.as_fd().try_clone_to_owned()?)).stderr(match &terminal {
            Some(terminal) => Stdio::from(terminal.program_side.try_clone()?),
            None => Stdio::from(stderr.as_fd().try_clone_to_owned()?),
        });
        let child = command.spawn()?;
        drop(command);
        let status = std::thread::scope(|scope| {
            if let Some(terminal) = terminal {
                let (end, stderr) = (End::of(&child), &mut stderr);
                scope.spawn(move || terminal.copy_until_end(&end, stderr));
            }
            self.watch(child)
        })?;
        Ok(Probed { status, stdout: read_all(&mut stdout)?, stderr: read_all(&mut stderr)? })
    }

    fn command(&self, order: &Run) -> Command {
        let mut command = Command::new(&order.program);
        let variables = self.caller.environment.iter().map(|(name, value)| (name, value));
        let more = order.environment.iter().filter_map(|variable| {
            let equals = variable.iter().position(|&byte| byte == b'=')?;
            let (name, value) = (&variable[..equals], &variable[equals + 1..]);
            Some((OsStr::from_bytes(name), OsStr::from_bytes(value)))
        });
        command
            .args(order.arguments.iter().map(|word| OsStr::from_bytes(word)))
            .env_clear()
            .envs(variables)
            .env(INSIDE_VARIABLE, &order.program)
            .envs(more)
            .stdin(Stdio::null());
        let folder = self.here.descriptor().as_fd().as_raw_fd();
        let umask = self.caller.umask;
        // SAFETY: the calls are async-signal-safe and get numbers and constant texts; the folder's
        // descriptor stays open until the program runs.
        unsafe { command.pre_exec(move || enter(folder, umask)) };
        command
    }

    /// Waits for the end. Nothing of the program's process group survives.
    fn watch(&self, child: Child) -> io::Result<i32> {
        let mut group = Group { leader: child, reaped: false };
        let deadline = Instant::now() + RUN_MAX;
        while !group.has_ended()? {
            let error = match () {
                () if self.ending.load(Ordering::SeqCst) => io::ErrorKind::Interrupted,
                () if Instant::now() > deadline => io::ErrorKind::TimedOut,
                () => {
                    std::thread::sleep(LOOK);
                    continue;
                }
            };
            group.ask_to_end();
            return Err(error.into());
        }
        group.end()
    }
}

/// Between fork and exec. The child leads a session, so that it has a process group and, where the
/// kernel shares the processor between sessions (sched(7), autogroup), a share of its own.
unsafe fn enter(folder: libc::c_int, umask: u32) -> io::Result<()> {
    // SAFETY: see the caller.
    unsafe {
        libc::setsid();
        ceiling::lift();
        signals::let_go();
        descriptors::restore();
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE_MAX);
        libc::syscall(libc::SYS_ioprio_set, PRIORITY_OF_PROCESS, 0, IDLE_CLASS);
        let autogroup = libc::open(c"/proc/self/autogroup".as_ptr(), libc::O_WRONLY);
        if autogroup >= 0 {
            libc::write(autogroup, c"19".as_ptr().cast(), 2);
            libc::close(autogroup);
        }
        libc::umask(umask as libc::mode_t);
        match libc::fchdir(folder) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// A program that leads a process group.
struct Group {
    leader: Child,
    reaped: bool,
}

impl Group {
    fn id(&self) -> Pid {
        Pid::from_child(&self.leader)
    }

    /// It stays a zombie, so that its number is no other's.
    fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        match rustix::process::waitid(WaitId::Pid(self.id()), options) {
            Ok(found) => Ok(found.is_some()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn ask_to_end(&self) {
        let _ = rustix::process::kill_process_group(self.id(), Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while self.has_ended().is_ok_and(|ended| !ended) && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
    }

    /// Ends what is left of it; the leader's status as waitpid gives it.
    fn end(&mut self) -> io::Result<i32> {
        let _ = rustix::process::kill_process_group(self.id(), Signal::KILL);
        self.reaped = true;
        Ok(self.leader.wait()?.into_raw())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        let _ = self.end();
        // What was killed is init's to wait for, and takes a moment to go: it has the lowest priority.
        let deadline = Instant::now() + GRACE;
        while rustix::process::test_kill_process_group(self.id()).is_ok()
            && Instant::now() < deadline
        {
            std::thread::sleep(LOOK);
        }
    }
}

impl Prober for Background<'_> {
    fn probe(&mut self, order: Run) -> io::Result<Probed> {
        self.run(&order, Terminal::default())
    }
}

impl Party for Background<'_> {
    /// The daemon's own.
    fn process(&self) -> Process {
        Process::default()
    }

    fn still_waiting(&mut self) -> io::Result<()> {
        match self.ending.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }
}

impl Recompiler for Background<'_> {
    fn recompile(&mut self, unit: &Unit, words: &[OsString]) -> io::Result<Probed> {
        self.run(&order(&unit.call.compiler, words), unit.call.terminal)
    }
}

/// The order to run a compiler with these words.
pub fn order(compiler: &Path, words: &[OsString]) -> Run {
    let arguments = words.iter().map(|word| word.clone().into_vec()).collect();
    Run { program: compiler.to_owned(), arguments, ..Run::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use talk::launcher_protocol::View;

    fn call(folder: &Path) -> Call {
        let found = std::fs::metadata(folder).unwrap();
        Call {
            caller: Caller {
                build: String::new(),
                proof: 0,
                umask: 0o027,
                view: View::default(),
                niceness: 0,
                working_directory_id: (found.dev(), found.ino()),
                working_directory: folder.to_owned(),
                environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            },
            terminal: Terminal::default(),
            compiler: "/bin/sh".into(),
            arguments: Vec::new(),
        }
    }

    fn shell(
        folder: &Path,
        script: &str,
        ending: &AtomicBool,
        columns: Option<u16>,
    ) -> io::Result<Probed> {
        let call = call(folder);
        let order = order(&call.compiler, &["-c".into(), script.into()]);
        let terminal = columns.map_or(Terminal::default(), |columns| Terminal {
            stderr: true,
            columns,
            input_columns: columns + 1,
            ..Terminal::default()
        });
        Background::new(&call, ending).unwrap().run(&order, terminal)
    }

    #[test]
    fn the_surroundings_are_the_callers() {
        let folder = tempfile::tempdir().unwrap();
        let ending = AtomicBool::new(false);
        let script =
            "umask; pwd -P; nice; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort; cat; exit 3";
        let ran = shell(folder.path(), script, &ending, None).unwrap();
        let here = folder.path().canonicalize().unwrap();
        let expected = format!(
            "0027\n{}\n{NICE_MAX}\nPATH=/usr/bin:/bin\n{INSIDE_VARIABLE}=/bin/sh\n",
            here.display()
        );
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), expected);
        assert_eq!((ran.status, ran.stderr), (3 << 8, Vec::new()));
    }

    #[test]
    fn a_terminal_of_the_callers_width() {
        let ending = AtomicBool::new(false);
        let script = "test -t 2 && stty size <&2 >&2 && stty size";
        let ran = shell(Path::new("/"), script, &ending, Some(77)).unwrap();
        let sizes = [ran.stderr, ran.stdout].map(|size| String::from_utf8(size).unwrap());
        assert_eq!((ran.status, sizes), (0, ["0 77\n", "0 78\n"].map(str::to_owned)));
    }

    #[test]
    fn nothing_is_left_at_the_end_of_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let (ending, started) = (AtomicBool::new(false), folder.path().join("started"));
        let result = std::thread::scope(|scope| {
            let script =
                "trap '' TERM; echo $$ > new; mv new started; sleep 1000 & wait; sleep 1000";
            let running = scope.spawn(|| shell(folder.path(), script, &ending, Some(80)));
            while !started.exists() {
                std::thread::yield_now();
            }
            ending.store(true, Ordering::SeqCst);
            running.join().unwrap()
        });
        assert!(result.is_err_and(|error| error.kind() == io::ErrorKind::Interrupted));
        let leader = std::fs::read_to_string(started).unwrap();
        assert!(!Path::new("/proc").join(leader.trim()).exists());
    }

    #[test]
    fn what_a_program_leaves_behind_is_killed() {
        let ending = AtomicBool::new(false);
        // It would hold the terminal open, and with it the end.
        let ran = shell(Path::new("/"), "sleep 1000 & exit 0", &ending, Some(80)).unwrap();
        assert_eq!(ran.status, 0);
    }
}
