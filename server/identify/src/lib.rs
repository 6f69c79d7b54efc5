//! Learning which compiler a command means, by running a few probes the first time.

#![warn(unreachable_pub)]

pub mod in_flight;

use crate::in_flight::InFlight;
use compiler::environment;
use compiler::file_memo::{Content, FileMemo, Presence, WorkingDirectory};
use compiler::hasher::{Digest, KeyHasher, KeySink};
use compiler::identity::{self, Banner, Compiler};
use compiler::invocation::Family;
use compiler::outcome::{Counter, Uncacheable};
use compiler::search::SearchPath;
use config::Environment;
use remote::protocol::Checksum;
use remote::protocol::identity::CompilerIdentity;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::hash::Hash;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;
use talk::launcher_protocol::Run;
use talk::party::Party;

/// Compilers times languages times target options; far more than any build has.
const KNOWN_MAX: usize = 500;

/// Different sets of search options; a large build has some hundreds.
const SEARCH_PATHS_MAX: usize = 5_000;

/// Wrappers times sets of options times environments.
const COMMANDS_MAX: usize = 5_000;

/// A driver is some MB; more of one is not looked at.
const DRIVER_BYTES_MAX: u64 = 64 << 20;

/// Programs that are no compilers, as code generators under a launcher for all rules.
const STRANGERS_MAX: usize = 1_000;

/// Scripts around compilers are short; what comes after is not looked at.
const SCRIPT_BYTES_MAX: u64 = 64 << 10;

/// Programs that a script names; each costs a look at every call.
const SCRIPT_PROGRAMS_MAX: usize = 16;

/// Specs are some KB.
const SPECS_BYTES_MAX: u64 = 1 << 20;

/// How the functions of specs begin that look for a file (gcc/gcc.cc, `static_spec_functions`).
const ASKS_FOR_FILE: &[u8] = b"%:if-exists";

/// A plugin is smaller than the compiler.
const PLUGIN_BYTES_MAX: u64 = 256 << 20;

/// How much of a compiler's complaint is shown.
const COMPLAINT_CHARS_MAX: usize = 200;

/// Variables that change which programs a driver runs, and with which libraries.
const DECIDING: [&str; 6] =
    ["PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD"];

/// What a probe runs for: it must not depend on the caller's language.
const PLAIN_LOCALE: &[u8] = b"LC_ALL=C";

/// All compilers that were seen.
#[derive(Default)]
pub struct Compilers {
    known: Mutex<HashMap<Question, Arc<Compiler>>>,
    /// `None` where the compiler does not answer: more of the call's words must be asked.
    search_paths: Mutex<HashMap<SearchQuestion, Option<Arc<SearchPath>>>>,
    /// Contents of drivers, and whether each runs another driver.
    drivers: Mutex<HashMap<Digest, bool>>,
    /// What wrappers make of the words of calls.
    commands: Mutex<HashMap<Digest, Digest>>,
    /// Programs that are neither gcc nor clang, and why: they are asked once.
    strangers: Mutex<HashMap<Digest, Uncacheable>>,
    /// A build starts with many calls that ask the same.
    probing: InFlight,
}

/// What the answer of a driver depends on, besides the files.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Question {
    driver: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
}

/// What the include search depends on.
#[derive(PartialEq, Eq, Hash)]
struct SearchQuestion {
    compiler: Digest,
    arguments: Vec<OsString>,
    working_directory: (u64, u64),
    variables: Vec<(OsString, OsString)>,
}

/// Why a compiler is not known.
#[derive(Debug)]
pub enum Unidentified {
    /// No probe could be run.
    NoProbe(io::Error),
    /// What the probes said is not enough.
    Unusable(Uncacheable),
    /// The program is neither gcc nor clang.
    Stranger(Uncacheable),
}

impl From<io::Error> for Unidentified {
    fn from(error: io::Error) -> Unidentified {
        Unidentified::NoProbe(error)
    }
}

/// Runs the programs that say what a compiler is, where the compiler itself would run.
pub trait Prober: Party {
    /// Runs a program to its end, with an empty input and the variables of `order` besides those
    /// that are set there.
    fn probe(&mut self, order: Run) -> io::Result<Probed>;
}

/// A program that was run, and what it wrote.
pub struct Probed {
    /// As waitpid gives it.
    pub status: i32,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// Who asks, and with what to find out.
pub struct Asker<'a> {
    /// Runs the probes.
    pub prober: &'a mut dyn Prober,
    /// Of the caller.
    pub environment: &'a Environment<'a>,
    /// The caller's working directory.
    pub here: &'a WorkingDirectory,
    /// Remembers file contents.
    pub memo: &'a FileMemo,
    /// Now.
    pub now: SystemTime,
}

impl Compilers {
    /// The compiler behind `driver` when it is called with `arguments` (options that choose the
    /// target or the tools, and `-x LANGUAGE`).
    pub fn identify(
        &self,
        driver: &Path,
        arguments: Vec<OsString>,
        asker: &mut Asker,
    ) -> Result<Arc<Compiler>, Unidentified> {
        let content = asker.memo.content(asker.here, driver, asker.now).ok();
        let mut question = Question::new(driver, arguments, self.wraps(content), asker);
        if let Some(compiler) = self.find_known(&question, content, asker) {
            return Ok(compiler);
        }
        let turn = self.probing.join(question.digest(), asker.prober, |_| false)?;
        // Whoever probed it before it was our turn may just be done.
        if let Some(compiler) = self.find_known(&question, content, asker) {
            return Ok(compiler);
        }
        let compiler = Arc::new(probe(&question, content, asker)?);
        if let Some(content) = content {
            remember(&self.drivers, content.digest, compiler.wraps, KNOWN_MAX);
            question = Question::new(driver, question.arguments, compiler.wraps, asker);
        }
        remember(&self.known, question, Arc::clone(&compiler), KNOWN_MAX);
        turn.done();
        Ok(compiler)
    }

    /// Whether a driver is known to run another one. A script does.
    fn wraps(&self, driver: Option<Content>) -> bool {
        driver.is_some_and(|driver| {
            driver.script || lock(&self.drivers).get(&driver.digest) == Some(&true)
        })
    }

    /// What a wrapper makes of these words of a call, in the caller's environment: the command that the
    /// compiler's own driver runs in the end. `None` where the driver is no wrapper.
    pub fn command_behind(
        &self,
        driver: &Path,
        compiler: &Compiler,
        words: Vec<OsString>,
        asker: &mut Asker,
    ) -> Result<Option<Digest>, Unidentified> {
        if !compiler.wraps {
            return Ok(None);
        }
        let question = Question::new(driver, words, true, asker);
        let mut hasher = KeyHasher::new("rcache wrapped command 1");
        hasher.field("compiler", &compiler.digest.0);
        hasher.field("question", &question.digest().0);
        let key = hasher.finish();
        let find_known = || lock(&self.commands).get(&key).copied();
        if let Some(known) = find_known() {
            return Ok(Some(known));
        }
        let turn = self.probing.join(key, asker.prober, |_| false)?;
        if let Some(known) = find_known() {
            return Ok(Some(known));
        }
        let command = identity::effective_command(&ask(&question, asker)?);
        remember(&self.commands, key, command, COMMANDS_MAX);
        turn.done();
        Ok(Some(command))
    }

    /// The compiler, where nothing of it was changed since it was probed.
    fn find_known(
        &self,
        question: &Question,
        driver: Option<Content>,
        asker: &Asker,
    ) -> Option<Arc<Compiler>> {
        let known = lock(&self.known).get(question).cloned()?;
        known.is_current(driver?.digest, asker.memo, asker.here, asker.now).then_some(known)
    }

    /// Whether it is gcc or clang, and of which version: enough to read the options. Only the
    /// driver itself is looked at; the options then say which compiler it is in full.
    pub fn introduce(
        &self,
        driver: &Path,
        asker: &mut Asker,
    ) -> Result<Arc<Compiler>, Unidentified> {
        let arguments = vec!["-x".into(), "c".into()];
        let content = asker.memo.content(asker.here, driver, asker.now).ok();
        let question = Question::new(driver, arguments, self.wraps(content), asker);
        let known = lock(&self.known).get(&question).cloned();
        match (known, content) {
            (Some(compiler), Some(content)) if compiler.has_same_driver(content.digest) => {
                Ok(compiler)
            }
            // It could not be identified by its content, either.
            (_, None) => Err(cannot_probe(driver, "cannot be read")),
            (_, Some(content)) => {
                let name = stranger_name(driver, content, asker);
                if let Some(why) = lock(&self.strangers).get(&name) {
                    return Err(Unidentified::Stranger(why.clone()));
                }
                let found = self.identify(driver, question.arguments, asker);
                // A wrapper that once ran a compiler may do so again.
                let was_compiler = lock(&self.drivers).contains_key(&content.digest);
                if let Err(Unidentified::Stranger(why)) = &found
                    && !was_compiler
                {
                    remember(&self.strangers, name, why.clone(), STRANGERS_MAX);
                }
                found
            }
        }
    }

    /// Where the compiler searches for headers: the first of these sets of words that it takes decides.
    /// Few words are known for many calls; but some are an error without others (`-mcmodel=kernel`
    /// wants `-fno-pie`, `-fsanitize=cfi` wants `-flto`).
    pub fn search_path(
        &self,
        driver: &Path,
        compiler: Digest,
        sets_of_words: impl IntoIterator<Item = Vec<OsString>>,
        asker: &mut Asker,
    ) -> Result<Arc<SearchPath>, Unidentified> {
        let mut complaint = String::new();
        for words in sets_of_words {
            match self.ask_for_search_path(driver, compiler, words, asker)? {
                Answer::Found(search) => return Ok(search),
                Answer::None(why) => complaint = why,
            }
        }
        let why = format!("names no search path: {complaint}");
        Err(cannot_probe(driver, &why))
    }

    fn ask_for_search_path(
        &self,
        driver: &Path,
        compiler: Digest,
        arguments: Vec<OsString>,
        asker: &mut Asker,
    ) -> Result<Answer, Unidentified> {
        let mut all = Vec::new();
        for (name, value) in asker.environment.iter() {
            if environment::counts(name.as_bytes()) {
                all.push((name.to_owned(), value.to_owned()));
            }
        }
        let question = SearchQuestion {
            compiler,
            arguments,
            working_directory: asker.here.id,
            variables: all,
        };
        let find_known = || match lock(&self.search_paths).get(&question).cloned()? {
            Some(known) => known.is_current(asker.here).then_some(Answer::Found(known)),
            None => Some(Answer::None(String::new())),
        };
        if let Some(known) = find_known() {
            return Ok(known);
        }
        let turn = self.probing.join(question.digest(), asker.prober, |_| false)?;
        if let Some(known) = find_known() {
            return Ok(known);
        }
        let words = question.arguments.iter().map(|word| word.as_bytes().to_vec());
        let arguments = words.chain([b"-E".into(), b"-v".into(), b"/dev/null".into()]).collect();
        let probed = asker.prober.probe(probe_run(driver, arguments))?;
        let parsed = (probed.status == 0).then(|| SearchPath::parse(&probed.stderr)).flatten();
        let search = parsed.map(Arc::new);
        remember(&self.search_paths, question, search.clone(), SEARCH_PATHS_MAX);
        turn.done();
        Ok(search.map_or_else(|| Answer::None(complaint(&probed.stderr)), Answer::Found))
    }
}

/// A program by its content, name, and the variables without which it may not even start.
fn stranger_name(driver: &Path, content: Content, asker: &Asker) -> Digest {
    let mut hasher = KeyHasher::new("rcache stranger 1");
    hasher.field("content", &content.digest.0);
    hasher.field("name", driver_name(driver).as_bytes());
    hash_variables(&mut hasher, &Question::new(driver, Vec::new(), false, asker).variables);
    hasher.finish()
}

/// Why a program did not say which compiler it is: it complains of the call's words, or is none.
fn no_banner(stderr: &[u8]) -> String {
    match complaint(stderr) {
        said if said.contains("error") => format!("says: {said}"),
        _ => "is neither gcc nor clang".to_owned(),
    }
}

/// What a compiler says of its search path.
enum Answer {
    Found(Arc<SearchPath>),
    /// It complains of these words; empty where that was asked before.
    None(String),
}

/// The line of a compiler's output that says what is wrong.
fn complaint(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().find(|line| line.contains("error")).or_else(|| lines().next_back());
    line.unwrap_or_default().chars().take(COMPLAINT_CHARS_MAX).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

fn remember<K: Eq + Hash, V>(known: &Mutex<HashMap<K, V>>, key: K, value: V, count_max: usize) {
    let mut known = lock(known);
    if known.len() >= count_max {
        known.clear();
    }
    known.insert(key, value);
}

fn hash_variables(hasher: &mut KeyHasher, variables: &[(OsString, OsString)]) {
    for (name, value) in variables {
        hasher.field("variable", name.as_bytes());
        hasher.field("value", value.as_bytes());
    }
}

impl SearchQuestion {
    fn digest(&self) -> Digest {
        let mut hasher = KeyHasher::new("rcache search question 1");
        hasher.field("compiler", &self.compiler.0);
        self.arguments.iter().for_each(|word| hasher.field("argument", word.as_bytes()));
        let (device, inode) = self.working_directory;
        hasher.field("folder", &[device.to_le_bytes(), inode.to_le_bytes()].concat());
        hash_variables(&mut hasher, &self.variables);
        hasher.finish()
    }
}

impl Question {
    /// A wrapper may look at any variable, and so may specs that are given by name; another program only
    /// at those that gcc and clang know.
    fn new(driver: &Path, arguments: Vec<OsString>, wraps: bool, asker: &Asker) -> Question {
        let specs = arguments.iter().any(|word| specs_option(word).is_some());
        let all = asker.environment.iter();
        let variables = all
            .filter(|(name, _)| wraps || specs || DECIDING.iter().any(|deciding| name == deciding))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Question { driver: driver.to_owned(), arguments, variables }
    }

    fn digest(&self) -> Digest {
        let mut hasher = KeyHasher::new("rcache compiler question 1");
        hasher.field("driver", self.driver.as_os_str().as_bytes());
        self.arguments.iter().for_each(|word| hasher.field("argument", word.as_bytes()));
        hash_variables(&mut hasher, &self.variables);
        hasher.finish()
    }
}

/// The specs file that a word names; empty where the next word does.
fn specs_option(word: &OsStr) -> Option<&OsStr> {
    let name = word.as_bytes();
    let name = name.strip_prefix(b"-").filter(|rest| rest.starts_with(b"-")).unwrap_or(name);
    let operand = name.strip_prefix(b"-specs")?;
    Some(OsStr::from_bytes(operand.strip_prefix(b"=").unwrap_or(operand)))
}

/// Where specs that are given by name may come to be found before those that are used; gcc takes the
/// working directory last. It does not name folders that are not there.
fn specs_missed(question: &Question, banner: &Banner, here: &WorkingDirectory) -> Vec<PathBuf> {
    let listed = question.variables.iter().filter(|(name, _)| name == "LIBRARY_PATH");
    let listed = listed.flat_map(|(_, value)| std::env::split_paths(value));
    let folders: Vec<PathBuf> = listed.chain(banner.library_folders.iter().cloned()).collect();
    let mut absent = Vec::new();
    for pair in question.arguments.windows(2) {
        let Some(operand) = specs_option(&pair[0]) else { continue };
        let name = Path::new(if operand.is_empty() { pair[1].as_os_str() } else { operand });
        let candidates = folders.iter().filter(|_| name.is_relative());
        let candidates = candidates.map(|folder| folder.join(name));
        absent.extend(candidates.filter(|path| here.presence(path) == Presence::Absent));
    }
    absent
}

/// The variables that specs ask for (`%:getenv(NAME …)`), with their values: what comes of them shows in
/// none of the call's words. Specs that ask whether a file exists are not understood.
fn specs_variables(
    banner: &Banner,
    asker: &Asker,
) -> Result<Vec<(OsString, OsString)>, Unidentified> {
    let mut found = Vec::new();
    for path in banner.configuration.iter().filter(|_| banner.family == Family::Gcc) {
        let Ok(bytes) = read_head(asker.here, path, SPECS_BYTES_MAX) else { continue };
        if bytes.windows(ASKS_FOR_FILE.len()).any(|part| part == ASKS_FOR_FILE) {
            return Err(Unidentified::Unusable(Uncacheable::new(
                Counter::UnsupportedCompilerOption,
                format!("-specs: {} asks whether a file exists", path.display()),
            )));
        }
        for name in identity::variables_of_specs(&bytes) {
            let value = asker.environment.get(&name).unwrap_or_default().to_owned();
            found.push((name, value));
        }
    }
    Ok(found)
}

/// The programs that a script names, of which one may run the compiler: clang does not say by which name
/// it was called, and a link may come to lead to another compiler.
fn scripts_programs(script: &Path, path_variable: &OsStr, asker: &Asker) -> Vec<PathBuf> {
    let Ok(bytes) = read_head(asker.here, script, SCRIPT_BYTES_MAX) else { return Vec::new() };
    let folder = script.parent().unwrap_or(Path::new(""));
    let is_program = |path: &PathBuf| {
        let stat = asker.here.stat(path);
        stat.is_ok_and(|stat| {
            stat.st_mode & libc::S_IFMT == libc::S_IFREG && stat.st_mode & 0o111 != 0
        })
    };
    let mut found = Vec::new();
    for word in identity::words_of_script(&bytes) {
        let beside = folder.join(Path::new(word).strip_prefix("/").unwrap_or(Path::new(word)));
        let searched = identity::may_be_compiler(word)
            .then(|| identity::locate_program(asker.here, Path::new(word), &[], path_variable))
            .flatten()
            .map(|(path, _)| path);
        let absolute = Some(PathBuf::from(word)).filter(|path| path.is_absolute());
        for path in [Some(beside), absolute, searched].into_iter().flatten() {
            if found.len() < SCRIPT_PROGRAMS_MAX && !found.contains(&path) && is_program(&path) {
                found.push(path);
            }
        }
    }
    found
}

/// Plugins that may read more than the source are not understood.
fn check_plugins(banner: &Banner, asker: &Asker) -> Result<(), Unidentified> {
    for plugin in &banner.plugins {
        let mut bytes = Vec::new();
        let file = asker.here.open_file(plugin);
        let read = file.and_then(|file| file.take(PLUGIN_BYTES_MAX).read_to_end(&mut bytes));
        let name = plugin.display();
        let why = match read {
            Err(_) => format!("{name} cannot be read"),
            Ok(size) if size as u64 == PLUGIN_BYTES_MAX => format!("{name} is too large"),
            Ok(_) => match compiler::plugin::reaches_outside(&bytes) {
                Some(function) => format!("{name} calls {function}"),
                None => continue,
            },
        };
        return Err(Unidentified::Unusable(Uncacheable::new(
            Counter::UnsupportedCompilerOption,
            format!("-fplugin: {why}"),
        )));
    }
    Ok(())
}

fn head(here: &WorkingDirectory, path: &Path) -> io::Result<Vec<u8>> {
    read_head(here, path, identity::PROGRAM_HEAD_BYTES as u64)
}

fn read_head(here: &WorkingDirectory, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    here.open_file(path)?.take(bytes_max).read_to_end(&mut head)?;
    Ok(head)
}

/// What the compiler behind the driver says of itself.
fn ask(question: &Question, asker: &mut Asker) -> Result<Banner, Unidentified> {
    let driver = &question.driver;
    let words = question.arguments.iter().map(|word| word.as_bytes().to_vec());
    let rest = ["-###", "-c", "/dev/null", "-o", "/dev/null"];
    let arguments = words.chain(rest.map(|word| word.into())).collect();
    let probed = asker.prober.probe(probe_run(driver, arguments))?;
    Banner::parse(&probed.stderr).ok_or_else(|| {
        let why = refusal(driver, &no_banner(&probed.stderr));
        // Who was killed may have more to say the next time.
        match libc::WIFEXITED(probed.status) {
            true => Unidentified::Stranger(why),
            false => Unidentified::Unusable(why),
        }
    })
}

fn probe(
    question: &Question,
    content: Option<Content>,
    asker: &mut Asker,
) -> Result<Compiler, Unidentified> {
    let driver = &question.driver;
    let mut banner = ask(question, asker)?;
    banner.variables = specs_variables(&banner, asker)?;
    let mut files = vec![driver.clone()];
    let mut absent = Vec::new();
    let path_variable = asker.environment.get("PATH").unwrap_or_default().to_owned();
    for program in &banner.programs {
        let located =
            identity::locate_program(asker.here, program, &banner.program_folders, &path_variable);
        let Some((path, before)) = located else {
            return Err(cannot_probe(program, "is not to be found"));
        };
        files.push(path);
        absent.extend(before);
    }
    let script = content.is_none_or(|content| content.script);
    let wraps = script || !names_itself(&banner, driver, &files, asker);
    if let Some(behind) = banner.driver.as_ref().filter(|_| wraps) {
        let located = identity::locate_program(asker.here, behind, &[], &path_variable);
        let (path, before) = located.unwrap_or_default();
        files.extend(Some(path).filter(|path| !path.as_os_str().is_empty()));
        absent.extend(before);
    }
    if banner.family == Family::Gcc
        && let Some(folder) = files.get(1).and_then(|proper| proper.parent())
    {
        let specs = folder.join("specs");
        if !banner.configuration.contains(&specs) {
            absent.push(specs);
        }
    }
    absent.extend(specs_missed(question, &banner, asker.here));
    check_plugins(&banner, asker)?;
    files.extend(libraries(&files, asker)?);
    if script {
        files.extend(scripts_programs(driver, &path_variable, asker));
    }
    files.extend(banner.plugins.iter().cloned());
    files.extend(banner.configuration.iter().cloned());
    Compiler::identify(banner, files, absent, wraps, asker.memo, asker.here, asker.now)
        .map_err(|path| cannot_probe(&path, "cannot be read"))
}

/// Whether the driver is the compiler's own. clang names its file as the compiler proper; gcc the path
/// by which it was called, which a wrapper may hand on. `files` begin with driver and compiler proper.
fn names_itself(banner: &Banner, driver: &Path, files: &[PathBuf], asker: &Asker) -> bool {
    let id = |path: &Path| asker.here.stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino));
    match banner.family {
        Family::Clang => files.get(1).is_some_and(|proper| {
            let (driver, proper) = (id(driver), id(proper));
            driver.is_some() && driver == proper
        }),
        Family::Gcc => {
            let mut content = Vec::new();
            let opened = asker.here.open_file(driver);
            let read =
                opened.and_then(|file| file.take(DRIVER_BYTES_MAX).read_to_end(&mut content));
            banner.driver.as_deref() == Some(driver)
                && read.is_ok()
                && identity::is_drivers_content(&content)
        }
    }
}

/// The shared libraries of the programs, as their dynamic linkers list them. Nothing of the
/// programs themselves runs for that.
fn libraries(programs: &[PathBuf], asker: &mut Asker) -> Result<Vec<PathBuf>, Unidentified> {
    let mut libraries = Vec::new();
    let preload = asker.environment.get("LD_PRELOAD").map(counting_preloads);
    for program in programs {
        let Ok(head) = head(asker.here, program) else { continue };
        let Some(interpreter) = identity::interpreter(&head) else { continue };
        let arguments = vec![b"--list".to_vec(), program.as_os_str().as_bytes().to_vec()];
        let mut run = probe_run(&interpreter, arguments);
        run.environment.extend(preload.iter().cloned());
        let probed = asker.prober.probe(run)?;
        libraries.extend(identity::listed_libraries(&probed.stdout));
    }
    Ok(libraries)
}

/// Preloaded libraries under which a compiler makes what it makes without: they change who a file belongs
/// to, how output is buffered, whether it is flushed to the disk, and what goes over the network.
const HARMLESS_PRELOADS: [&str; 5] =
    ["libfakeroot", "libstdbuf", "libeatmydata", "libproxychains", "libtorsocks"];

/// LD_PRELOAD without those, as a variable of a probe.
fn counting_preloads(value: &OsStr) -> Vec<u8> {
    let names = value.as_bytes().split(|byte| b": ".contains(byte));
    let counts = |name: &&[u8]| {
        let file = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        !HARMLESS_PRELOADS.iter().any(|harmless| {
            let rest = file.strip_prefix(harmless.as_bytes());
            rest.is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_alphanumeric))
        })
    };
    let names: Vec<&[u8]> = names.filter(counts).collect();
    [b"LD_PRELOAD=".to_vec(), names.join(&b':')].concat()
}

fn probe_run(program: &Path, arguments: Vec<Vec<u8>>) -> Run {
    Run {
        program: program.to_owned(),
        arguments,
        environment: vec![PLAIN_LOCALE.to_vec()],
        terminal: false,
        compile: false,
    }
}

fn cannot_probe(program: &Path, why: &str) -> Unidentified {
    Unidentified::Unusable(refusal(program, why))
}

fn refusal(program: &Path, why: &str) -> Uncacheable {
    let detail = format!("{} {why}", program.display());
    Uncacheable::new(Counter::CompilerCheckFailed, detail)
}

/// Digits of the wire's digests (see `remote::protocol`); ours have fewer.
const WIRE_DIGITS: usize = Checksum::HEX_LEN;

/// Who a compiler is, in the words in which client and worker compare.
pub fn wire_identity(compiler: &Compiler) -> CompilerIdentity {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let files = compiler.files.iter();
    CompilerIdentity {
        digest: format!("{:0<WIRE_DIGITS$}", compiler.digest.to_string()),
        banner: compiler.banner.version.clone(),
        files: files.map(|(path, digest)| (name(path), digest.to_string())).collect(),
    }
}

/// The file name of a compiler, which decides between C and C++ for some drivers.
pub fn driver_name(driver: &Path) -> &OsStr {
    driver.file_name().unwrap_or_default()
}
