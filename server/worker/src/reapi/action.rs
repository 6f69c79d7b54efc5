//! One action: its tree in a folder that becomes the root of a namespace, the command, what it made.
//!
//! Why strangers may do that: nothing of the worker is in the root but what the tree's digests name, there is no
//! network, and nothing in the tree may be run or mapped as code but files that the worker's own compilers consist
//! of, as their digests say (`noexec`, with those files mounted over it). So whatever the words of the command are,
//! they
//! can make these programs read what was sent, and write below the root, and no more.

use super::cas::{Cas, Kind};
use super::copies::{NotPlaced, SharedCopies};
use super::own_files::OwnFiles;
use super::tree::{self, BadTree, Plan};
use super::{outputs, outputs::Outputs};
use crate::child::{self, End, Limits, Program, Watch};
use crate::sandbox::{Room, Sandbox, Way, make_devices};
use crate::scratch::JobFolder;
use prost::Message;
use remote::reapi::digest::{BlobName, Function};
use remote::reapi::proto;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Code;

/// A command as a message.
const COMMAND_BYTES_MAX: u64 = 4 << 20;

/// An action as a message.
const ACTION_BYTES_MAX: u64 = 64 << 10;

/// Words and variables of one command, and paths of outputs.
const WORDS_MAX: usize = 16_384;

/// Files that may be run, of the worker's own: each is a mount.
const PROGRAMS_MAX: usize = 500;

/// Each file that a program writes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What a program may print to each stream.
const PRINTED_BYTES_MAX: usize = 16 << 20;

/// Files that are named as missing.
const MISSING_MAX: usize = 10_000;

/// Folders of a tree: their owner alone.
const FOLDER_MODE: u32 = 0o700;

/// What is the same for all actions.
pub struct Workshop {
    /// Blobs and results.
    pub cas: Arc<Cas>,
    /// Files to be linked.
    pub copies: SharedCopies,
    /// What programs may do.
    pub sandbox: Arc<Sandbox>,
    /// How a namespace is made; a text says why none can be.
    pub way: Result<Way, String>,
    /// Whether all that was sent may run.
    pub runs_what_was_sent: bool,
    /// Added to the worker's niceness.
    pub nice: i32,
    /// How long an action may take.
    pub timeout: Duration,
    /// Address space of each process.
    pub memory_bytes: Option<u64>,
}

/// Why an action has no result.
#[derive(Debug)]
pub struct Failure {
    /// gRPC's code.
    pub code: Code,
    /// For people.
    pub message: String,
    /// Blobs that have to be uploaded first.
    pub missing: Vec<BlobName>,
}

impl Failure {
    /// One without missing blobs.
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), missing: Vec::new() }
    }

    fn missing(missing: Vec<BlobName>) -> Failure {
        let message = format!("{} blobs are missing", missing.len());
        Failure { code: Code::FailedPrecondition, message, missing }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let code = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::ResourceExhausted,
            _ => Code::Internal,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<BadTree> for Failure {
    fn from(error: BadTree) -> Failure {
        let code = match error {
            BadTree::Malformed(_) => Code::InvalidArgument,
            BadTree::TooMuch(_) => Code::ResourceExhausted,
        };
        Failure::new(code, error.to_string())
    }
}

/// An action whose messages are all there.
pub struct Action {
    name: BlobName,
    command: proto::Command,
    root: BlobName,
    timeout: Option<Duration>,
    /// Its result is not for others.
    pub do_not_cache: bool,
}

/// How long each step took, for the log.
struct Steps {
    begun: Instant,
    text: String,
}

impl Steps {
    fn new() -> Steps {
        Steps { begun: Instant::now(), text: String::new() }
    }

    fn next(&mut self, name: &str) {
        let microseconds = self.begun.elapsed().as_micros();
        self.begun = Instant::now();
        self.text.push_str(&format!("{name} {microseconds} µs "));
    }
}

/// A failure that says that a request makes no sense.
fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidArgument, message)
}

fn message<M: Message + Default>(
    cas: &Cas,
    name: BlobName,
    bytes_max: u64,
    what: &str,
) -> Result<M, Failure> {
    if name.bytes > bytes_max {
        return Err(invalid(format!("the {what} has more than {bytes_max} bytes")));
    }
    let bytes = cas.get(&name).ok_or_else(|| Failure::missing(vec![name]))?;
    M::decode(bytes).map_err(|error| invalid(format!("the {what} is not well made: {error}")))
}

impl Action {
    /// Reads an action and its command.
    pub fn read(cas: &Cas, name: BlobName) -> Result<Action, Failure> {
        let action: proto::Action = message(cas, name, ACTION_BYTES_MAX, "action")?;
        let named = |digest: Option<&proto::Digest>, what: &str| {
            digest
                .and_then(|digest| BlobName::of_message(name.function, digest))
                .ok_or_else(|| invalid(format!("the action has no {what}")))
        };
        let command = named(action.command_digest.as_ref(), "command")?;
        let root = named(action.input_root_digest.as_ref(), "input root")?;
        let command: proto::Command = message(cas, command, COMMAND_BYTES_MAX, "command")?;
        let words = command.arguments.len() + command.environment_variables.len();
        let outputs = command.output_paths.len()
            + command.output_files.len()
            + command.output_directories.len();
        if command.arguments.is_empty() || words > WORDS_MAX || outputs > WORDS_MAX {
            return Err(invalid("the command has no words, or too many"));
        }
        let texts = command.arguments.iter().chain([&command.working_directory]);
        let variables = command.environment_variables.iter();
        let variables = variables.flat_map(|variable| [&variable.name, &variable.value]);
        if texts.chain(variables).any(|text| text.contains('\0')) {
            return Err(invalid("a word of the command holds a zero"));
        }
        for platform in [&action.platform, &command.platform].into_iter().flatten() {
            check_platform(platform)?;
        }
        let timeout = action.timeout.map(|span| {
            Duration::from_secs(span.seconds.max(0) as u64)
                + Duration::from_nanos(span.nanos.max(0) as u64)
        });
        let timeout = timeout.filter(|span| !span.is_zero());
        Ok(Action { name, command, root, timeout, do_not_cache: action.do_not_cache })
    }

    /// Its first words, for the log.
    pub fn shown(&self) -> String {
        const WORDS_SHOWN: usize = 1;
        self.command.arguments[..WORDS_SHOWN].join(" ")
    }

    /// How long it may take.
    pub fn timeout(&self, workshop: &Workshop) -> Duration {
        self.timeout.map_or(workshop.timeout, |asked| asked.min(workshop.timeout))
    }

    /// Runs it, in a folder of its own.
    pub fn run(
        &self,
        workshop: &Workshop,
        own: &OwnFiles,
        folder: &JobFolder,
        watch: &mut Watch,
    ) -> Result<proto::ActionResult, Failure> {
        let way = workshop.way.clone();
        let way = way.map_err(|why| Failure::new(Code::FailedPrecondition, why))?;
        let mut steps = Steps::new();
        let plan = self.plan(&workshop.cas, own)?;
        steps.next("plan");
        let root = folder.path().join("root");
        let places = Places::new(&self.command)?;
        let programs = build(workshop, own, &plan, &places, &root)?;
        steps.next("tree");
        let room = Room {
            root: &root,
            working_directory: &places.working_directory,
            programs: programs.iter().map(|path| (path.0.as_path(), path.1.as_path())).collect(),
            all_may_run: workshop.runs_what_was_sent,
        };
        let confinement = workshop.sandbox.enclose(way, &room)?;
        let ran = child::run(&self.program(workshop, &confinement), watch);
        let ran = ran.map_err(|error| self.cannot_run(workshop, &error))?;
        steps.next("command");
        let status = match ran.end {
            End::Exited(status) => exit_code(status),
            End::TimedOut => {
                let text = format!("it takes more than {:?}", self.timeout(workshop));
                return Err(Failure::new(Code::DeadlineExceeded, text));
            }
            End::PrintedTooMuch => {
                return Err(Failure::new(Code::ResourceExhausted, "it prints too much"));
            }
            End::ClientGone => return Err(Failure::new(Code::Cancelled, "nobody waits for it")),
            End::WorkerEnds => return Err(Failure::new(Code::Unavailable, "the worker ends")),
        };
        let outputs = Outputs {
            cas: &workshop.cas,
            function: self.name.function,
            root: &root,
            command: &self.command,
            working_directory: &places.working_directory,
        };
        let mut result = outputs.collect()?;
        result.exit_code = status;
        outputs.keep_streams(&mut result, ran.stdout, ran.stderr)?;
        steps.next("outputs");
        tracing::debug!("{} files, {} programs: {}", plan.files.len(), programs.len(), steps.text);
        Ok(result)
    }

    /// The lists of what is in the tree; all of it is here.
    fn plan(&self, cas: &Cas, own: &OwnFiles) -> Result<Plan, Failure> {
        let plan = tree::plan(self.name.function, self.root, &mut |name| cas.get(name))?;
        let mut missing = plan.missing.clone();
        let mut seen = HashSet::new();
        for file in &plan.files {
            let name = &file.content;
            if missing.len() < MISSING_MAX
                && seen.insert(name)
                && !cas.has(Kind::Blob, name)
                && !own.has(name)
            {
                missing.push(*name);
            }
        }
        if missing.is_empty() { Ok(plan) } else { Err(Failure::missing(missing)) }
    }

    fn program<'a>(
        &'a self,
        workshop: &Workshop,
        confinement: &'a crate::sandbox::Confinement,
    ) -> Program<'a> {
        let arguments = self.command.arguments[1..].iter().map(OsString::from).collect();
        let variables = self.command.environment_variables.iter();
        Program {
            path: Path::new(&self.command.arguments[0]),
            arguments,
            environment: variables
                .map(|variable| ((&variable.name).into(), (&variable.value).into()))
                .collect(),
            // In the namespace it is another.
            folder: Path::new("/"),
            nice: workshop.nice,
            limits: Limits {
                cpu: self.timeout(workshop),
                file_bytes: FILE_BYTES_MAX,
                stream_bytes: PRINTED_BYTES_MAX,
                memory_bytes: workshop.memory_bytes,
            },
            confinement: Some(confinement),
        }
    }

    fn cannot_run(&self, workshop: &Workshop, error: &io::Error) -> Failure {
        let program = &self.command.arguments[0];
        let why = match error.kind() {
            io::ErrorKind::PermissionDenied if !workshop.runs_what_was_sent => {
                return not_own(program);
            }
            io::ErrorKind::NotFound => format!("{program}, or what it needs, is not in the tree"),
            _ => format!("{program} cannot be run: {error}"),
        };
        Failure::new(Code::FailedPrecondition, why)
    }
}

fn not_own(path: &str) -> Failure {
    let text = format!(
        "/{} is not a file of a compiler of this worker, which runs no others (`--toolchains sent`)",
        path.trim_start_matches('/')
    );
    Failure::new(Code::FailedPrecondition, text)
}

/// Properties that every engine understands. Others are left to those who set them.
fn check_platform(platform: &proto::Platform) -> Result<(), Failure> {
    const ARCHITECTURES: [(&str, &str); 4] =
        [("x86-64", "x86_64"), ("x86_64", "x86_64"), ("amd64", "x86_64"), ("arm64", "aarch64")];
    for proto::Property { name, value } in &platform.properties {
        let lower = value.to_lowercase();
        let fits = match name.as_str() {
            "OSFamily" => lower == "linux",
            "ISA" | "Arch" => {
                let known = ARCHITECTURES.iter().find(|(other, _)| *other == lower);
                known.map_or(lower.as_str(), |(_, own)| own) == std::env::consts::ARCH
            }
            _ => true,
        };
        if !fits {
            let text = format!("this worker has not the property {name}={value}");
            return Err(Failure::new(Code::FailedPrecondition, text));
        }
    }
    Ok(())
}

/// A status as shells have it.
fn exit_code(status: i32) -> i32 {
    const SIGNAL_STATUS: i32 = 128;
    match libc::WIFEXITED(status) {
        true => libc::WEXITSTATUS(status),
        false => SIGNAL_STATUS + libc::WTERMSIG(status),
    }
}

/// Where the command runs, and which folders it expects.
struct Places {
    /// Absolute, in the namespace.
    working_directory: PathBuf,
    /// Folders that are made where the tree has none; relative to the root.
    folders: Vec<String>,
}

impl Places {
    fn new(command: &proto::Command) -> Result<Places, Failure> {
        let here = outputs::within_root("", &command.working_directory)
            .ok_or_else(|| invalid("the working directory is not within the input root"))?;
        let mut folders = vec![here.clone()];
        for path in outputs::paths(command) {
            let path = outputs::within_root(&here, path).ok_or_else(|| {
                invalid(format!("the output {path} is not within the input root"))
            })?;
            folders.extend(path.rsplit_once('/').map(|(parent, _)| parent.to_owned()));
        }
        Ok(Places { working_directory: Path::new("/").join(here), folders })
    }
}

/// Creates the tree. Gives the files that may run: where they are, and where they are to be seen.
fn build(
    workshop: &Workshop,
    own: &OwnFiles,
    plan: &Plan,
    places: &Places,
    root: &Path,
) -> Result<Vec<(PathBuf, PathBuf)>, Failure> {
    let mut builder = DirBuilder::new();
    builder.mode(FOLDER_MODE).create(root)?;
    let links: HashSet<&str> = plan.links.iter().map(|(path, _)| path.as_str()).collect();
    let files: HashSet<&str> = plan.files.iter().map(|file| file.path.as_str()).collect();
    for path in &plan.folders {
        builder.create(root.join(path))?;
    }
    for path in places.folders.iter().map(String::as_str).chain(Room::OWN_FOLDERS) {
        make_folders(root, path, &links, &files, &builder)?;
    }
    for name in Room::OWN_FOLDERS {
        if links.contains(name) || files.contains(name) {
            return Err(invalid(format!("/{name} of the input tree is no folder")));
        }
    }
    let mut placing = workshop.copies.for_job(&workshop.cas, own);
    let mut programs = Vec::new();
    for file in &plan.files {
        let to = root.join(&file.path);
        let placed = placing.place(file, &to).map_err(|error| match error {
            NotPlaced::Missing => Failure::missing(vec![file.content]),
            NotPlaced::Disk(error) => error.into(),
        })?;
        if workshop.runs_what_was_sent {
            continue;
        }
        if own.has(&file.content) {
            programs.push((to, PathBuf::from(&file.path)));
        } else if placed.is_program {
            return Err(not_own(&file.path));
        }
    }
    if programs.len() > PROGRAMS_MAX {
        return Err(Failure::new(Code::ResourceExhausted, "too many programs in the tree"));
    }
    for (path, target) in &plan.links {
        std::os::unix::fs::symlink(target, root.join(path))?;
    }
    make_devices(root)?;
    Ok(programs)
}

/// Makes the folders of a path that the tree has not, unless a link of the tree leads on.
fn make_folders(
    root: &Path,
    path: &str,
    links: &HashSet<&str>,
    files: &HashSet<&str>,
    builder: &DirBuilder,
) -> io::Result<()> {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    for end in ends {
        let prefix = &path[..end];
        if prefix.is_empty() {
            continue;
        }
        if links.contains(prefix) || files.contains(prefix) {
            return Ok(());
        }
        match builder.create(root.join(prefix)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The name of an action's message, where a request says it well.
pub fn action_name(
    function: i32,
    digest: Option<&proto::Digest>,
) -> Result<BlobName, tonic::Status> {
    let function = Function::of_message(function)
        .ok_or_else(|| tonic::Status::invalid_argument("this digest function is not known here"))?;
    digest
        .and_then(|digest| BlobName::of_message(function, digest))
        .ok_or_else(|| tonic::Status::invalid_argument("the action's digest is not well made"))
}

/// Gives back the rights to folders that a job took away: else what is in them could not be removed.
pub fn open_up(root: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mut ahead = vec![root.to_owned()];
    while let Some(folder) = ahead.pop() {
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(FOLDER_MODE));
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // Not through links.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                ahead.push(entry.path());
            }
        }
    }
}
