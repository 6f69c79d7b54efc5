//! The launcher: ask the daemon, do what it says; its only way out of trouble is to exec the compiler.

use crate::find_compiler;
use server::client;
use server::launcher_protocol::{BUILD, Terminal, ToDaemon, ToLauncher};
use server::program::{self, INSIDE_VARIABLE, Ran};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

/// What a shell answers when a command is not found.
const NOT_FOUND_STATUS: u8 = 127;

/// What a shell answers when a command cannot be executed.
const NOT_EXECUTABLE_STATUS: u8 = 126;

/// Compiles through the cache, and returns the exit status. `name` is the compiler as the user
/// wrote it.
pub fn compile(name: &OsStr, arguments: &[OsString]) -> u8 {
    let outer = std::env::var_os(INSIDE_VARIABLE);
    let started = outer.as_deref().unwrap_or_default();
    let compiler = match find_compiler::find_next(name, &find_compiler::search_path(), started) {
        Ok(compiler) => compiler,
        Err(error) => {
            eprintln!("rcache: {error}");
            return NOT_FOUND_STATUS;
        }
    };
    let call = Call { name, compiler, arguments };
    // The outer rcache has this call; waiting for a slot in here could wait forever.
    if outer.is_some() {
        return call.exec();
    }
    match call.converse() {
        Ending::Status(status, mut streams) => {
            streams.print();
            end_like(status)
        }
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
        match self.try_converse(&mut compiled) {
            Ok(ending) => ending,
            // The daemon is gone, but the compiler has already done its work.
            Err(_) => match compiled {
                Some(Ran { status, stdout, stderr, .. }) => {
                    Ending::Status(status, Streams::Files(stdout, stderr))
                }
                None => {
                    note_passed_through();
                    Ending::StepAside
                }
            },
        }
    }

    fn try_converse(&self, compiled: &mut Option<Ran>) -> io::Result<Ending> {
        let mut connection = client::connect(true)?;
        let request = ToDaemon::Compile {
            caller: client::caller()?,
            terminal: terminal(),
            compiler: self.compiler.clone(),
            arguments: self.arguments.to_vec(),
        };
        connection.send(&request)?;
        let mut may_replace = true;
        loop {
            match connection.receive()? {
                ToLauncher::Finished { status, stdout, stderr } => {
                    return Ok(Ending::Status(status, Streams::Bytes(stdout, stderr)));
                }
                ToLauncher::Run(order) => {
                    let ran = program::run(&order, std::mem::take(&mut connection.descriptors))?;
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
                // An older daemon retires when it says so: start our own, once.
                ToLauncher::OtherBuild(build)
                    if may_replace && client::makes_way(&build, BUILD) =>
                {
                    may_replace = false;
                    connection = client::connect(true)?;
                    connection.send(&request)?;
                }
                ToLauncher::StepAside => return Ok(Ending::StepAside),
                ToLauncher::OtherBuild(_) | ToLauncher::Answer(_) => {
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
        let error = Command::new(&self.compiler)
            .arg0(first_word)
            .args(self.arguments)
            .env(INSIDE_VARIABLE, program::inside(self.compiler.as_os_str()))
            .exec();
        eprintln!("rcache: {}: {error}", self.compiler.display());
        match error.kind() {
            io::ErrorKind::NotFound => NOT_FOUND_STATUS,
            _ => NOT_EXECUTABLE_STATUS,
        }
    }
}

impl Streams {
    /// Nobody can be told when a stream is closed; the status still says how the compile went.
    fn print(&mut self) {
        match self {
            // std's standard output sets up a buffer, which a silent hit need not pay for.
            Streams::Bytes(stdout, stderr) => {
                if !stdout.is_empty() {
                    let _ = io::stdout().write_all(stdout).and_then(|()| io::stdout().flush());
                }
                let _ = io::stderr().write_all(stderr);
            }
            Streams::Files(stdout, stderr) => {
                let _ = copy_from_start(stdout, &mut io::stdout());
                let _ = copy_from_start(stderr, &mut io::stderr());
            }
        }
    }
}

/// The daemon counts the bytes of this file when it is there again.
fn note_passed_through() {
    let path = client::passed_through_path(&client::socket_path());
    let file = File::options().create(true).append(true).open(path);
    // Without the folder of the socket there is nobody to tell.
    let _ = file.and_then(|mut file| file.write_all(b"."));
}

fn copy_from_start(file: &mut File, stream: &mut impl Write) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    io::copy(file, stream)?;
    stream.flush()
}

fn terminal() -> Terminal {
    use rustix::termios::{isatty, tcgetwinsize};
    let stderr = isatty(rustix::stdio::stderr());
    let columns = if stderr {
        tcgetwinsize(rustix::stdio::stderr()).map_or(0, |size| size.ws_col)
    } else {
        0
    };
    Terminal { stdout: isatty(rustix::stdio::stdout()), stderr, columns }
}

/// Ends with the status of another process; by its signal where it ended by one.
fn end_like(status: i32) -> u8 {
    let status = ExitStatus::from_raw(status);
    if let Some(signal) = status.signal() {
        // SAFETY: both calls take plain numbers.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
    status.code().unwrap_or(1) as u8
}
