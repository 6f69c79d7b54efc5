//! One program, watched: until it ends, its time is over, it prints too much, or nobody waits for it.
//!
//! It leads a process group of its own. When it has ended, whatever is left of the group is killed
//! and waited for: the worker is a subreaper, so that all descendants come back to it.

use super::caller::Caller;
use super::sandbox::Confinement;
use super::stream::timespec;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions};
use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A program to run.
pub struct Program<'a> {
    /// Its file.
    pub path: &'a Path,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// All its variables.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub folder: &'a Path,
    /// Added to the worker's niceness.
    pub nice: i32,
    /// What it may use.
    pub limits: Limits,
    /// What it may do; `None` for all that the worker may.
    pub confinement: Option<&'a Confinement>,
}

/// What a program may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Processor time of each process.
    pub cpu: Duration,
    /// Length of each file that it writes.
    pub file_bytes: u64,
    /// What it may print to each of the two streams.
    pub stream_bytes: usize,
    /// Address space of each process.
    pub memory_bytes: Option<u64>,
}

/// What ends a program before its time.
pub struct Watch<'w, 'c> {
    /// Who waits for it.
    pub caller: Option<&'w mut Caller<'c>>,
    /// The end of the worker.
    pub ending: BorrowedFd<'w>,
    /// When it must be done.
    pub deadline: Instant,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status as waitpid gives it.
    Exited(i32),
    /// It took too long.
    TimedOut,
    /// It printed too much.
    PrintedTooMuch,
    /// Nobody waits for it any more.
    ClientGone,
    /// The worker ends.
    WorkerEnds,
}

/// A program that was run.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub end: End,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// Runs a program to its end.
///
/// # Errors
/// It could not be started.
pub fn run(program: &Program, watch: &mut Watch) -> io::Result<Ran> {
    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    let mut command = Command::new(program.path);
    command
        .args(&program.arguments)
        .env_clear()
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(program.folder)
        .stdin(Stdio::null())
        .stdout(stdout_end)
        .stderr(stderr_end)
        .process_group(0);
    prepare(&mut command, program);
    let leader = command.spawn()?;
    // The pipes' other ends must be the program's alone.
    drop(command);
    let group = Group(Pid::from_child(&leader));
    let end = rustix::process::pidfd_open(group.0, PidfdFlags::empty())?;
    let mut streams = [Stream::new(stdout, &program.limits), Stream::new(stderr, &program.limits)];
    let cause = watch_over(&end, &mut streams, watch)?;
    let status = group.end(cause.is_some());
    for stream in &mut streams {
        stream.take_what_is_there();
    }
    let too_much = streams.iter().any(|stream| stream.overflows);
    let [stdout, stderr] = streams.map(|stream| stream.bytes);
    let end = match cause {
        Some(cause) => cause,
        None if too_much => End::PrintedTooMuch,
        None => End::Exited(status),
    };
    Ok(Ran { end, stdout, stderr })
}

/// A pipe that no other child inherits; our side does not block.
fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (ours, theirs) = io::pipe()?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

/// What happens between fork and exec. Nothing there may take a lock or memory.
fn prepare(command: &mut Command, program: &Program) {
    let nice = program.nice;
    let limits = resource_limits(&program.limits);
    let confinement = program.confinement.map(Confinement::entrance);
    let enter = move || {
        // SAFETY: these calls are async-signal-safe and get plain numbers or pointers to what this
        // closure owns.
        unsafe {
            let none: libc::sigset_t = std::mem::zeroed();
            libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            let current = libc::getpriority(libc::PRIO_PROCESS, 0);
            libc::setpriority(libc::PRIO_PROCESS, 0, (current + nice).min(NICE_MAX));
            for (resource, limit) in limits.iter().flatten() {
                if libc::setrlimit(*resource, limit) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
        }
        confinement.as_ref().map_or(Ok(()), |confinement| confinement.enter())
    };
    // SAFETY: see there; entering the confinement is system calls on prepared data.
    unsafe { command.pre_exec(enter) };
}

/// The kernel's highest niceness.
const NICE_MAX: i32 = 19;

type ResourceLimit = (libc::__rlimit_resource_t, libc::rlimit);

fn resource_limits(limits: &Limits) -> [Option<ResourceLimit>; 4] {
    let fixed = |most: u64| libc::rlimit { rlim_cur: most, rlim_max: most };
    // A fraction of a second more than the wall clock allows.
    let cpu = limits.cpu.as_secs().saturating_add(1);
    [
        Some((libc::RLIMIT_CPU, fixed(cpu))),
        Some((libc::RLIMIT_FSIZE, fixed(limits.file_bytes))),
        Some((libc::RLIMIT_CORE, fixed(0))),
        limits.memory_bytes.map(|most| (libc::RLIMIT_AS, fixed(most))),
    ]
}

/// One of the two output streams.
struct Stream {
    pipe: PipeReader,
    bytes: Vec<u8>,
    bytes_max: usize,
    closed: bool,
    overflows: bool,
}

/// How much is read at a time; a pipe holds this much.
const BLOCK_BYTES: usize = 64 << 10;

impl Stream {
    fn new(pipe: PipeReader, limits: &Limits) -> Stream {
        let bytes_max = limits.stream_bytes;
        Stream { pipe, bytes: Vec::new(), bytes_max, closed: false, overflows: false }
    }

    fn take_what_is_there(&mut self) {
        let mut block = [0; BLOCK_BYTES];
        while !self.closed && !self.overflows {
            match self.pipe.read(&mut block) {
                Ok(0) => self.closed = true,
                Ok(count) => {
                    let room = self.bytes_max - self.bytes.len();
                    self.bytes.extend_from_slice(&block[..count.min(room)]);
                    self.overflows = count > room;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.closed = true,
            }
        }
    }
}

/// Reads what it prints until it ends; the answer is why it is to be ended before.
fn watch_over(
    end: &OwnedFd,
    streams: &mut [Stream; 2],
    watch: &mut Watch,
) -> io::Result<Option<End>> {
    loop {
        let mut descriptors = vec![
            PollFd::new(end, PollFlags::IN),
            PollFd::from_borrowed_fd(watch.ending, PollFlags::IN),
        ];
        let caller = watch.caller.as_ref().map(|caller| caller.stream());
        let gone = Caller::gone_flags();
        descriptors.extend(caller.map(|stream| PollFd::from_borrowed_fd(stream, gone)));
        let first_stream = descriptors.len();
        let open = streams.iter().filter(|stream| !stream.closed);
        descriptors.extend(open.map(|stream| PollFd::new(&stream.pipe, PollFlags::IN)));
        let left = watch.deadline.saturating_duration_since(Instant::now());
        let wait = watch.caller.as_ref().map_or(left, |caller| caller.patience(left));
        match poll(&mut descriptors, Some(&timespec(wait))) {
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        let happened: Vec<bool> =
            descriptors.iter().map(|descriptor| !descriptor.revents().is_empty()).collect();
        if happened[0] {
            return Ok(None);
        }
        if happened[1] {
            return Ok(Some(End::WorkerEnds));
        }
        if watch.caller.is_some() && happened[2] {
            return Ok(Some(End::ClientGone));
        }
        if happened[first_stream..].contains(&true) {
            streams.iter_mut().for_each(Stream::take_what_is_there);
        }
        if streams.iter().any(|stream| stream.overflows) {
            return Ok(Some(End::PrintedTooMuch));
        }
        if Instant::now() >= watch.deadline {
            return Ok(Some(End::TimedOut));
        }
        if let Some(caller) = &mut watch.caller {
            caller.show_life();
        }
    }
}

/// The process group of a program. Nothing of it survives.
struct Group(Pid);

impl Group {
    /// Ends the group, at once where the leader still runs, and gives the leader's status.
    fn end(self, kill_leader: bool) -> i32 {
        let status = self.kill_and_reap(kill_leader);
        std::mem::forget(self);
        status
    }

    /// The leader stays a zombie until the group is killed: else its number could be another's.
    fn kill_and_reap(&self, kill_leader: bool) -> i32 {
        if kill_leader {
            let _ = rustix::process::kill_process_group(self.0, Signal::KILL);
        }
        let exited = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(rustix::process::waitid(WaitId::Pid(self.0), exited), Err(Errno::INTR)) {}
        let _ = rustix::process::kill_process_group(self.0, Signal::KILL);
        let mut leaders = libc::SIGKILL;
        loop {
            match rustix::process::waitpgid(self.0, WaitOptions::empty()) {
                Ok(Some((process, status))) if process == self.0 => leaders = status.as_raw(),
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return leaders,
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill_and_reap(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{event, raise};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    const LONG: Duration = Duration::from_secs(120);

    fn shell(script: &str, watch: &mut Watch) -> Ran {
        let program = Program {
            path: Path::new("/bin/sh"),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            folder: Path::new("/"),
            nice: 3,
            limits: Limits {
                cpu: LONG,
                file_bytes: 1 << 20,
                stream_bytes: 100_000,
                memory_bytes: None,
            },
            confinement: None,
        };
        run(&program, watch).unwrap()
    }

    fn patiently(script: &str) -> Ran {
        let ending = event().unwrap();
        let deadline = Instant::now() + LONG;
        shell(script, &mut Watch { caller: None, ending: ending.as_fd(), deadline })
    }

    #[test]
    fn a_program_that_ends_by_itself() {
        let ran = patiently("echo out; echo err >&2; pwd; exit 3");
        assert_eq!(ran.end, End::Exited(3 << 8));
        assert_eq!(
            (ran.stdout.as_slice(), ran.stderr.as_slice()),
            (&b"out\n/\n"[..], &b"err\n"[..])
        );
        assert_eq!(patiently("kill -SEGV $$").end, End::Exited(libc::SIGSEGV));
    }

    #[test]
    fn its_surroundings_are_those_that_were_given() {
        let ran = patiently("env | grep -v -e ^PWD= -e ^_= -e ^SHLVL=; ulimit -c; nice; cat");
        let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let expected = format!("PATH=/usr/bin:/bin\n0\n{}\n", nice + 3);
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), expected);
    }

    #[test]
    fn much_is_read_and_too_much_is_not() {
        assert_eq!(patiently("head -c 100000 /dev/zero").stdout.len(), 100_000);
        let endless = patiently("cat /dev/zero");
        assert_eq!((endless.end, endless.stdout.len()), (End::PrintedTooMuch, 100_000));
        assert_eq!(patiently("head -c 100001 /dev/zero >&2").end, End::PrintedTooMuch);
    }

    #[test]
    fn what_it_leaves_behind_is_killed() {
        let ran = patiently("sleep 1000 & echo $!");
        assert_eq!(ran.end, End::Exited(0));
        let left: i32 = String::from_utf8(ran.stdout).unwrap().trim().parse().unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{left}/stat")).unwrap_or_default();
        // It is init's to wait for where this process is no subreaper.
        while !state().is_empty() && !state().contains(") Z") {
            std::thread::yield_now();
        }
    }

    #[test]
    fn each_end_before_its_time() {
        let ending = event().unwrap();
        let mut watch = Watch { caller: None, ending: ending.as_fd(), deadline: Instant::now() };
        assert_eq!(shell("sleep 1000 & wait", &mut watch).end, End::TimedOut);

        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let deadline = Instant::now() + LONG;
        let mut caller = Caller::new(ours.as_fd(), [127, 0, 0, 1].into(), true);
        let caller = Some(&mut caller);
        let mut watch = Watch { caller, ending: ending.as_fd(), deadline };
        assert_eq!(shell("sleep 1000 | sleep 1000", &mut watch).end, End::ClientGone);

        raise(&ending);
        let mut watch = Watch { caller: None, ending: ending.as_fd(), deadline };
        assert_eq!(shell("sleep 1000", &mut watch).end, End::WorkerEnds);
    }

    #[test]
    fn what_cannot_be_run() {
        let ending = event().unwrap();
        let mut watch =
            Watch { caller: None, ending: ending.as_fd(), deadline: Instant::now() + LONG };
        let program = Program {
            path: Path::new("/nonexistent/gcc"),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: Path::new("/"),
            nice: 0,
            limits: Limits { cpu: LONG, file_bytes: 0, stream_bytes: 0, memory_bytes: None },
            confinement: None,
        };
        assert_eq!(run(&program, &mut watch).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
