//! The launcher: ask the daemon, do what it says; its only way out of trouble is to exec the compiler.

use crate::find_compiler;
use early::Asked;
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use talk::client::{self, Connection, PassedThrough};
use talk::inherited;
use talk::launcher_protocol::{self, BUILD, Caller, Terminal, ToDaemon, ToLauncher};
use talk::program::{self, INSIDE_VARIABLE, Ran};
use talk::wrappers;

/// What a shell answers when a command is not found.
const NOT_FOUND_STATUS: u8 = 127;

/// What a shell answers when a command cannot be executed.
const NOT_EXECUTABLE_STATUS: u8 = 126;

/// Of what a compiler printed, at one time.
const COPIED_BYTES: usize = 16 << 10;

/// What a request is made of, for those who make it before the C library is there.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
static NAMES: early::Names = early::Names {
    build: BUILD,
    subcommands: crate::cli::SUBCOMMANDS,
    wrappers: &wrappers::WRAPPERS,
    inside: INSIDE_VARIABLE,
    deciding: &config::paths::DECIDING,
    runtime_folder: config::environment::XDG_RUNTIME_DIR,
    limits: &talk::place::LIMITS,
    socket_path_bytes_max: config::paths::SOCKET_PATH_BYTES_MAX,
    silent_hit: &launcher_protocol::SILENT_HIT,
    silence_max: launcher_protocol::SILENCE_MAX.as_millis() as u32,
    marked_silence_max: launcher_protocol::MARKED_SILENCE_MAX.as_millis() as u32,
    mark_ending: launcher_protocol::MARK_ENDING,
    mark_age_max: launcher_protocol::MARK_AGE_MAX.as_secs() as i64,
};

/// Asks the daemon before the C library is there, and ends the process where a hit has printed nothing.
///
/// # Safety
/// `stack` is the stack pointer with which the kernel started the process.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[cfg_attr(test, expect(dead_code, reason = "a test has the entry point of its harness"))]
pub unsafe extern "C" fn ask_early(stack: *const usize) {
    static mut SCRATCH: early::Scratch = early::Scratch::new();
    let scratch = &raw mut SCRATCH;
    // SAFETY: there is one thread, and it comes here once.
    unsafe { early::ask(stack, &NAMES, &mut *scratch) }
}

/// Compiles through the cache, and returns the exit status. `name` is the compiler as the user
/// wrote it.
pub fn compile(name: &OsStr, arguments: &[OsString]) -> u8 {
    let outer = std::env::var_os(INSIDE_VARIABLE);
    let started = outer.as_deref().unwrap_or_default();
    let wrappers::Behind { name, arguments, .. } = wrappers::behind(name, arguments);
    let is_wrapper = wrappers::is_wrapper(name);
    let path = find_compiler::search_path();
    let found = match is_wrapper {
        true => find_compiler::find_wrapper(name, &path),
        false => find_compiler::find_next(name, &path, started),
    };
    let compiler = match found {
        Ok(compiler) => compiler,
        Err(error) => {
            eprintln!("rcache: {error}");
            return NOT_FOUND_STATUS;
        }
    };
    let call = Call { name, compiler, arguments };
    // The outer rcache has this call; waiting for a slot in here could wait forever.
    if outer.is_some() || is_wrapper {
        return call.exec();
    }
    if inherited::lacks_output_stream() {
        client::note_passed_through(PassedThrough::ClosedStream);
        return call.exec();
    }
    match call.converse() {
        Ending::Status(status, mut streams) => match streams.print() {
            Ok(()) => end_like(status),
            // A pipe that nobody reads, a full disk: each compiler has its own end for that.
            Err(_) => call.exec(),
        },
        Ending::StepAside => call.exec(),
    }
}

struct Call<'a> {
    name: &'a OsStr,
    compiler: PathBuf,
    arguments: &'a [OsString],
}

/// How the conversation ends.
enum Ending {
    /// End like this, after printing this.
    Status(i32, Streams),
    /// Exec the compiler.
    StepAside,
}

/// What goes to standard output and standard error.
enum Streams {
    Bytes(Vec<u8>, Vec<u8>),
    Files(File, File),
}

impl Call<'_> {
    fn converse(&self) -> Ending {
        let mut compiled = None;
        let error = match self.try_converse(&mut compiled) {
            Ok(ending) => return ending,
            Err(error) => error,
        };
        let why = PassedThrough::of(&error);
        if why == PassedThrough::Silence {
            client::note_silence();
        }
        match compiled {
            // The daemon is gone, but the compiler has already done its work.
            Some(Ran { status, stdout, stderr, .. }) => {
                Ending::Status(status, Streams::Files(stdout, stderr))
            }
            None => {
                client::note_passed_through(why);
                Ending::StepAside
            }
        }
    }

    /// The connection on which the daemon was asked, or is asked now.
    fn ask(&self) -> io::Result<Connection> {
        match early::take_asked() {
            Asked::Yes(descriptor) => {
                // SAFETY: the descriptor is handed over once, and nobody else has it.
                Connection::adopt(unsafe { OwnedFd::from_raw_fd(descriptor) })
            }
            Asked::InVain => Err(io::ErrorKind::ConnectionAborted.into()),
            Asked::Silence => Err(io::ErrorKind::TimedOut.into()),
            Asked::No => self.ask_anew(0),
        }
    }

    fn ask_anew(&self, seat: u32) -> io::Result<Connection> {
        let mut connection = client::connect_for_compile(seat)?;
        let caller = Caller { proof: connection.proof()?, ..client::caller()? };
        connection.send(&ToDaemon::Compile {
            caller,
            terminal: terminal(),
            compiler: self.compiler.clone(),
            arguments: self.arguments.to_vec(),
        })?;
        Ok(connection)
    }

    fn try_converse(&self, compiled: &mut Option<Ran>) -> io::Result<Ending> {
        let mut connection = self.ask()?;
        let mut may_replace = true;
        loop {
            match connection.receive()? {
                ToLauncher::Finished { status, stdout, stderr } => {
                    return Ok(Ending::Status(status, Streams::Bytes(stdout, stderr)));
                }
                ToLauncher::Run(order) => {
                    let ran = program::run(&order, std::mem::take(&mut connection.descriptors));
                    // A fork that fails for now is no silence of the daemon.
                    let ran = ran.map_err(|error| match client::is_silence(&error) {
                        true => io::Error::other(error),
                        false => error,
                    })?;
                    let report = ran.report();
                    if order.compile {
                        *compiled = Some(ran);
                    }
                    connection.send(&report)?;
                }
                ToLauncher::PrintRan => {
                    let Some(ran) = compiled.take() else { return Ok(Ending::StepAside) };
                    return Ok(Ending::Status(ran.status, Streams::Files(ran.stdout, ran.stderr)));
                }
                ToLauncher::Warning(text) => eprintln!("{text}"),
                ToLauncher::Waiting => {}
                ToLauncher::MadeWay if may_replace => {
                    may_replace = false;
                    connection = self.ask_anew(connection.seat)?;
                }
                // There are only so many seats.
                ToLauncher::OtherPlace => connection = self.ask_anew(connection.seat + 1)?,
                ToLauncher::StepAside => return Ok(Ending::StepAside),
                ToLauncher::OtherBuild(_) | ToLauncher::MadeWay | ToLauncher::Answer(_) => {
                    return Err(io::ErrorKind::Unsupported.into());
                }
            }
        }
    }

    /// Becomes the compiler.
    fn exec(&self) -> u8 {
        // A shell passes the word as it was typed, and gcc prints it. But compilers look a bare name
        // up in PATH to find what belongs to them: it must not lead them to a wrapper there.
        let typed = find_compiler::is_first(self.name, &self.compiler);
        let first_word = if typed { self.name } else { self.compiler.as_os_str() };
        let mut command = Command::new(&self.compiler);
        command
            .arg0(first_word)
            .args(self.arguments)
            .env(INSIDE_VARIABLE, program::inside(self.compiler.as_os_str()));
        inherited::hand_on(&mut command);
        let error = command.exec();
        eprintln!("rcache: {}: {error}", self.compiler.display());
        match error.kind() {
            io::ErrorKind::NotFound => NOT_FOUND_STATUS,
            _ => NOT_EXECUTABLE_STATUS,
        }
    }
}

impl Streams {
    /// std's standard output would set up a buffer.
    fn print(&mut self) -> io::Result<()> {
        let (to_stdout, to_stderr) = (rustix::stdio::stdout(), rustix::stdio::stderr());
        match self {
            Streams::Bytes(stdout, stderr) => {
                write_all(to_stdout, stdout)?;
                write_all(to_stderr, stderr)
            }
            Streams::Files(stdout, stderr) => {
                copy_from_start(stdout, to_stdout)?;
                copy_from_start(stderr, to_stderr)
            }
        }
    }
}

/// Others who have the same terminal or pipe may have told it not to block.
fn write_all(stream: BorrowedFd, mut bytes: &[u8]) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    while !bytes.is_empty() {
        match rustix::io::write(stream, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::from_borrowed_fd(stream, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_from_start(file: &mut File, stream: BorrowedFd) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut block = [0; COPIED_BYTES];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(()),
            count => write_all(stream, &block[..count])?,
        }
    }
}

fn terminal() -> Terminal {
    use rustix::termios::{isatty, tcgetwinsize};
    let stderr = isatty(rustix::stdio::stderr());
    let width = |stream| match stderr {
        true => tcgetwinsize(stream).map_or(0, |size| size.ws_col),
        false => 0,
    };
    Terminal {
        stdout: isatty(rustix::stdio::stdout()),
        stderr,
        columns: width(rustix::stdio::stderr()),
        input_columns: width(rustix::stdio::stdin()),
    }
}

/// Ends with the status of another process; by its signal where it ended by one.
fn end_like(status: i32) -> u8 {
    let status = ExitStatus::from_raw(status);
    if let Some(signal) = status.signal() {
        // SAFETY: the set is plain data that is filled before it is read; the others take numbers.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, signal);
            libc::signal(signal, libc::SIG_DFL);
            libc::sigprocmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
            libc::raise(signal);
        }
    }
    status.code().unwrap_or(1) as u8
}

#[cfg(all(test, target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    //! What is asked before the C library is there, against what is asked after it.

    use super::*;
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    /// A stack as the kernel lays it out.
    struct Stack {
        texts: Vec<CString>,
        words: usize,
    }

    impl Stack {
        fn new(words: &[&str], variables: &[&str]) -> Stack {
            let texts = words.iter().chain(variables).map(|text| CString::new(*text).unwrap());
            Stack { texts: texts.collect(), words: words.len() }
        }

        fn pointers(&self) -> Vec<usize> {
            let pointers: Vec<usize> = self.texts.iter().map(|t| t.as_ptr() as usize).collect();
            let (words, variables) = pointers.split_at(self.words);
            [&[self.words], words, &[0], variables, &[0]].concat()
        }

        fn request(&self) -> Option<Vec<u8>> {
            let mut scratch = Box::new(early::Scratch::new());
            // SAFETY: the pointers are laid out as the kernel does it.
            unsafe { early::request(self.pointers().as_ptr(), &NAMES, &mut scratch) }
                .map(<[u8]>::to_vec)
        }

        fn socket(&self) -> Option<PathBuf> {
            // SAFETY: as above.
            let address = unsafe { early::socket_path(self.pointers().as_ptr(), &NAMES) };
            address.map(|address| PathBuf::from(OsStr::from_bytes(address.path())))
        }
    }

    /// The compiler and its arguments, by the launcher's own way.
    fn later(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Vec<u8> {
        let path = variables.iter().find(|(name, _)| *name == "PATH").expect("PATH").1;
        let compiler =
            find_compiler::find_next(OsStr::new(name), OsStr::new(path), OsStr::new("")).unwrap();
        let mut caller = client::caller().unwrap();
        caller.environment =
            variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let arguments = arguments.iter().map(OsString::from).collect();
        ToDaemon::Compile { caller, terminal: terminal(), compiler, arguments }.encode()
    }

    fn program(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A PATH with wrappers, links and odd things before the compiler.
    fn search_path(folder: &Path) -> String {
        let at = |name: &str| folder.join(name);
        program(&at("opt/ccache-4"));
        program(&at("versions/gcc-12"));
        for name in ["ccache", "own", "real", "more"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        symlink("../opt/ccache-4", at("ccache/gcc")).unwrap();
        symlink("/proc/self/exe", at("own/gcc")).unwrap();
        std::fs::create_dir_all(at("folder/gcc")).unwrap();
        std::fs::create_dir(at("plain")).unwrap();
        std::fs::write(at("plain/gcc"), "not executable").unwrap();
        symlink(at("versions/gcc-12"), at("more/gcc")).unwrap();
        symlink("../more/gcc", at("real/gcc")).unwrap();
        ["nowhere", "ccache", "own/", "folder", "plain", "real/", "more"]
            .map(|name| folder.join(name).to_str().unwrap().to_owned())
            .join(":")
    }

    #[test]
    fn both_ways_ask_for_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = search_path(folder.path());
        let real = folder.path().join("real/gcc").to_str().unwrap().to_owned();
        let variables = [("A", ""), ("=B", "1=2"), ("PATH", path.as_str()), ("A", "again")];
        let texts = ["A=", "=B=1=2", "nothing", &format!("PATH={path}"), "", "A=again"];
        let arguments = ["-c", "", "a b.c"];
        for words in [vec!["rcache", "gcc"], vec!["/opt/rcache-1", &real], vec!["own/gcc"]] {
            let name = words.last().unwrap();
            let name = if words.len() == 1 { "gcc" } else { name };
            let early = Stack::new(&[&words[..], &arguments].concat(), &texts).request();
            assert_eq!(early, Some(later(name, &arguments, &variables)), "{words:?}");
        }
    }

    #[test]
    fn what_is_odd_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = format!("PATH={}", search_path(folder.path()));
        let plain = ["rcache", "gcc", "-c"];
        assert!(Stack::new(&plain, &[&path]).request().is_some());
        let odd: [&[&str]; 12] = [
            &[],
            &["rcache"],
            &["rcache", ""],
            &["rcache", "stats"],
            &["rcache", "--version"],
            &["rcache", "--", "gcc", "-c"],
            &["rcache", "rcache", "gcc"],
            &["rcache", "no-such-compiler"],
            &["rcache", "/no/such/compiler"],
            &["rcache", "own/gcc/"],
            &["..", "gcc"],
            &["/proc/self/exe/..", "gcc"],
        ];
        for words in odd {
            assert_eq!(Stack::new(words, &[&path]).request(), None, "{words:?}");
        }
        let long = format!("LONG={}", "x".repeat(1 << 16));
        let other_paths = ["PATH=", "PATH=:/usr/bin", "PATH=bin:/usr/bin", "NO_PATH=/usr/bin"];
        for path in other_paths {
            assert_eq!(Stack::new(&plain, &[path]).request(), None, "{path}");
        }
        for variable in [long.as_str(), "_RCACHE_INSIDE="] {
            assert_eq!(Stack::new(&plain, &[&path, variable]).request(), None);
        }
    }

    #[test]
    fn both_ways_ask_the_same_daemon() {
        let scratch = tempfile::Builder::new().prefix("r").tempdir_in("/tmp").unwrap();
        let text = scratch.path().to_str().unwrap();
        let below = |name: &str| format!("{text}/{name}");
        for name in ["safe", "open", "linked", "missing", "file"] {
            std::fs::create_dir(below(name)).unwrap();
        }
        for (name, mode) in [("safe", 0o755), ("open", 0o775)] {
            std::fs::create_dir(below(name) + "/rcache").unwrap();
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(below(name) + "/rcache", mode).unwrap();
        }
        symlink(below("safe/rcache"), below("linked/rcache")).unwrap();
        std::fs::write(below("file/rcache"), "").unwrap();
        let (slash, long) = (below("safe/"), format!("/tmp/{}", "long/".repeat(20)));
        let user = rustix::process::getuid().as_raw();
        let (mut found, folders) = (0, ["safe", "open", "linked", "missing", "file"].map(below));
        let others = [&slash, &long, "", "relative", "/nowhere/at/all", "/dev/null"];
        for folder in folders.iter().map(String::as_str).chain(others) {
            for (name, value) in [("RCACHE_DIR", "/a"), ("HOME", ""), ("B", "x")] {
                let variable = |asked: &str| match asked {
                    "XDG_RUNTIME_DIR" => Some(OsString::from(folder)),
                    _ => (asked == name).then(|| OsString::from(value)),
                };
                let variables = [format!("XDG_RUNTIME_DIR={folder}"), format!("{name}={value}")];
                let early = Stack::new(&[], &[&variables[0], &variables[1]]).socket();
                let later = config::paths::runtime_folder(&variable, user);
                let later = later.filter(|folder| folder.exists()).map(|folder| folder.path);
                let place = talk::place::view().unwrap().place(0);
                let name = config::paths::socket_name(BUILD, &variable, place);
                let later = later.map(|path| path.join(name));
                // Where the given folder cannot be used, the launcher decides.
                assert!(early.is_none() || early == later, "{variables:?}: {early:?}, {later:?}");
                let is_plain = ["safe", "safe/"].iter().any(|name| below(name) == folder);
                assert!(!is_plain || early.is_some(), "{variables:?}");
                found += usize::from(early.is_some());
            }
        }
        assert!(found >= 6, "{found}");
    }
}
