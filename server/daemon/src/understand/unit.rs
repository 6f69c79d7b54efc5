//! One call, understood: settings, compiler, options, source, and the name of its manifest.

use crate::Daemon;
use crate::look_up::mapped;
use crate::make::writers::Claim;
use crate::remember::changes::Changes;
use crate::serve::active::Progress;
use crate::serve::descriptors;
use crate::understand::besides;
use crate::understand::compilers::{Asker, Prober, Stop, driver_name};
use crate::understand::day::{Day, day};
use crate::understand::modules::Modules;
use cache::entry::PartKind;
use cache::key::{self, Inputs};
use cache::outputs::{Manner, OutputFile, access_after, has_default_permissions};
use compiler::environment;
use compiler::file_memo::{
    Content, FileMemo, Presence, WorkingDirectory, is_folder, is_null_device, is_refusal,
    is_regular, is_spelled_privately,
};
use compiler::hasher::{Digest, KeyHasher, KeyRecorder, KeySink};
use compiler::identity::Compiler;
use compiler::invocation::{Argument, Context, Family, Invocation, Phase, Role, Sloppiness, Way};
use compiler::outcome::{Counter, Uncacheable};
use compiler::scan::{Pieces, Reach, Scan, scan_definition};
use config::{CompilerCheck, Config, Environment};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use talk::launcher_protocol::{Caller, Terminal};

/// Variables that shape how diagnostics look, besides the terminal.
pub const LOOK_VARIABLES: [&str; 12] = [
    "CLICOLOR_FORCE",
    "COLORTERM",
    "COLUMNS",
    "GCC_COLORS",
    "GCC_URLS",
    "KONSOLE_VERSION",
    "NO_COLOR",
    "TERM",
    "TERM_PROGRAM",
    "TERM_URLS",
    "VTE_VERSION",
    "WT_SESSION",
];

/// What is in the root of a checkout.
const CHECKOUT_MARKS: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

/// What a source is refused for whose assembler reads a file, and does not say so.
pub const ASSEMBLER_READS: &str = ".incbin or .include";

/// How clang is told to use GNU as, which reads names of sections and symbols as text.
const OTHER_ASSEMBLER: [&str; 2] = ["-fno-integrated-as", "-no-integrated-as"];

/// A compiler call as it arrived.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who calls.
    pub caller: Caller,
    /// Where diagnostics go.
    pub terminal: Terminal,
    /// Path of the compiler.
    pub compiler: PathBuf,
    /// The words after it.
    pub arguments: Vec<OsString>,
}

impl Call {
    /// The call that a subcommand asks about; `words` are its compiler and the words after it. `None` where no
    /// compiler is named.
    pub fn asked_about(caller: &Caller, words: &[String]) -> Option<Call> {
        let (compiler, arguments) = words.split_first()?;
        Some(Call {
            caller: caller.clone(),
            terminal: Terminal::default(),
            compiler: compiler.into(),
            arguments: arguments.iter().map(OsString::from).collect(),
        })
    }
}

/// A compiler call, understood.
pub struct Unit<'c> {
    /// The call.
    pub call: &'c Call,
    /// Its settings.
    pub config: &'c Config,
    /// Its variables.
    pub environment: Environment<'c>,
    /// Its working directory.
    pub here: Arc<WorkingDirectory>,
    /// When it arrived.
    pub now: SystemTime,
    /// Its compiler.
    pub compiler: Arc<Compiler>,
    /// Its options.
    pub invocation: Invocation,
    /// The files that it writes and that are kept.
    pub outputs: Arc<[OutputFile]>,
    /// The source.
    pub source: Content,
    /// What the source can make the compiler look for.
    pub scan: Arc<Scan>,
    /// The same for the macros of the command line.
    pub definitions: Vec<Scan>,
    /// How its diagnostics look.
    pub look: Digest,
    /// The name of its manifest.
    pub key: Digest,
    /// What a wrapper around the compiler makes of the options, where there is one.
    pub command: Option<Digest>,
    /// When the latest of its inputs that were changed just now was changed; 0 where that is not known.
    pub newest_input: i128,
    /// How far it is, where others may see it.
    pub progress: Progress,
    /// Its outputs, where it is to write them.
    pub claim: Claim,
    /// The modules that it may use.
    pub modules: Option<Modules>,
    identity: Vec<u8>,
    key_environment: Vec<(&'static str, &'c [u8])>,
    working_directories: Vec<&'c Path>,
    mapped_directories: Option<Vec<String>>,
    other_files: Vec<(PathBuf, Digest)>,
}

impl<'c> Unit<'c> {
    /// Understands a call; has probes run where the compiler is new.
    pub fn understand(
        daemon: &Daemon,
        prober: &mut dyn Prober,
        call: &'c Call,
        config: &'c Config,
    ) -> Result<Unit<'c>, Stop> {
        daemon.memo.refresh();
        let environment = Environment::new(&call.caller.environment);
        let here = Arc::new(working_directory(&call.caller)?);
        let now = SystemTime::now();
        let mut asker =
            Asker { prober, environment: &environment, here: &here, memo: &daemon.memo, now };
        let mut key_environment = key_environment(call, config)?;
        let (invocation, compiler) = identify(daemon, call, config, &mut asker)?;
        refuse_streams(&invocation, &here)?;
        let (source, scan) = daemon
            .memo
            .scanned(&here, &invocation.source, now)
            .map_err(|_| refuse(Counter::BadInputFile, invocation.source.to_string_lossy()))?;
        let modules = Modules::of(&invocation, &scan, &here)?;
        let interface = modules.as_ref().and_then(Modules::interface);
        let family = compiler.banner.family;
        let outputs = outputs(&invocation, interface, family, &here, call.caller.umask)?;
        refuse_overwriting(&outputs, &source, &here)?;
        refuse_source(&scan, &compiler, &invocation, config)?;
        let mut identity = identity(&compiler, call, config, &mut asker)?;
        let command = command_behind(daemon, call, &invocation, &compiler, &mut asker)?;
        identity.extend(command.iter().flat_map(|command| command.0));
        let look = look(call, &invocation);
        if invocation.records_command_line {
            identity.extend(besides::recorded(call, &compiler, look).0);
        }
        let definitions = definitions(&invocation);
        if !epoch_counts(&invocation, &scan, &definitions) {
            key_environment.retain(|(name, value)| {
                *name != environment::EPOCH || !environment::is_epoch(value)
            });
        }
        let mut other_files =
            other_files(&invocation, &compiler, call, config, &daemon.memo, &here, now)?;
        let lists = besides::ignore_lists(&invocation, &compiler, &daemon.memo, &here, now);
        other_files
            .extend(lists.map_err(|path| refuse(Counter::BadInputFile, path.to_string_lossy()))?);
        // A map counts by what it says.
        if let Some(Modules { map, map_file, .. }) = &modules {
            other_files.retain(|(path, _)| path != map_file);
            identity.extend(map.digest().0);
        }
        let working_directories = working_directories(&invocation, call, config, &here);
        let mapped_directories = mapped::directories(
            &invocation.prefix_maps,
            invocation.mapped_words(),
            &working_directories,
        );
        let mut unit = Unit {
            call,
            config,
            environment: environment.clone(),
            here,
            now,
            compiler,
            invocation,
            outputs: outputs.into(),
            source,
            scan,
            definitions,
            look,
            key: Digest::of(&[]),
            newest_input: 0,
            progress: Progress::default(),
            command,
            claim: Claim::default(),
            modules,
            identity,
            key_environment,
            working_directories,
            mapped_directories,
            other_files,
        };
        let mut hasher = key::source_hasher();
        key::source_key(&unit.inputs(), &mut hasher);
        unit.key = hasher.finish();
        Ok(unit)
    }

    /// What goes into the keys.
    pub fn inputs(&self) -> Inputs<'_> {
        Inputs {
            namespace: &self.config.namespace,
            compiler: &self.identity,
            driver_name: driver_name(&self.call.compiler),
            target_options: if self.invocation.native {
                &self.compiler.banner.target_options
            } else {
                &[]
            },
            invocation: &self.invocation,
            environment: &self.key_environment,
            working_directories: &self.working_directories,
            mapped_directories: self.mapped_directories.as_deref(),
            source: self.source.digest,
            other_files: &self.other_files,
        }
    }

    /// The source key's fields, readable.
    pub fn key_fields(&self) -> KeyRecorder {
        let mut recorder = KeyRecorder::default();
        key::source_key(&self.inputs(), &mut recorder);
        recorder
    }

    /// Identifies the source file over all calls, for `explain`.
    pub fn source_name(&self) -> Digest {
        let mut hasher = KeyHasher::new("rcache source name 1");
        let path = self.call.caller.working_directory.join(&self.invocation.source);
        hasher.field("path", path.as_os_str().as_bytes());
        hasher.finish()
    }

    /// What is compiled at this moment, as opposed to [`Unit::key`]: in another folder, or of another file
    /// with the same content, it may read other headers.
    pub fn task(&self) -> Digest {
        let mut hasher = KeyHasher::new("rcache task 1");
        hasher.field("key", &self.key.0);
        let source = (self.source.stamp.device, self.source.stamp.inode);
        for (name, (device, inode)) in [("folder", self.here.id), ("source", source)] {
            hasher.field(name, &[device.to_le_bytes(), inode.to_le_bytes()].concat());
        }
        hasher.finish()
    }

    /// Whether the command line still means the same: a response file may have changed while the
    /// compiler read it.
    pub fn means_the_same(&self) -> bool {
        let is_response_file = |word: &OsString| word.as_bytes().starts_with(b"@");
        !self.call.arguments.iter().any(is_response_file)
            || parse(self.call, self.config, &self.compiler, &self.here).as_ref()
                == Ok(&self.invocation)
    }

    /// [`Invocation::own_rule`] in the manner of its compiler.
    pub fn own_rule(&self, rule: &[u8], way: Way) -> Option<Vec<u8>> {
        self.invocation.own_rule(rule, self.compiler.banner.family, way)
    }

    /// Whether the rule that is stored is another than this call's.
    pub fn has_own_rule(&self) -> bool {
        self.invocation.depfile.as_ref().is_some_and(|depfile| depfile.target.is_some())
    }

    /// The working directory as the kernel and as PWD name it.
    pub fn directories(&self) -> Vec<&'c Path> {
        directories(self.call, &self.here)
    }

    /// The working directory as gcc and clang name it in debug information; `None` where only the
    /// compiler can tell.
    pub fn apparent_directory(&self) -> Option<&'c Path> {
        let real = self.call.caller.working_directory.as_path();
        match apparent_directory(self.call, &self.here) {
            Some(apparent) => self.here.stat(apparent).is_ok().then_some(apparent),
            None => Some(real),
        }
    }

    /// Whether the values of time macros are fixed by SOURCE_DATE_EPOCH (gcc 7 and later; clang
    /// only from 16 on, and it is not relied on there).
    pub fn has_fixed_time(&self) -> bool {
        self.compiler.banner.family == Family::Gcc
            && self.key_environment.iter().any(|(name, _)| *name == environment::EPOCH)
    }

    /// The files that no dependency list names, also where they are not there.
    pub fn other_paths(&self) -> impl Iterator<Item = &Path> {
        self.other_files.iter().map(|(path, _)| path.as_path())
    }

    /// Whether the files that no dependency list names are as they were, and were not touched since
    /// the compile's start.
    pub fn other_files_are_unchanged(&self, memo: &FileMemo, changes: &Changes) -> bool {
        self.other_files.iter().all(|(path, digest)| {
            other_content(memo, &self.here, path, SystemTime::now()).is_ok_and(|(now, content)| {
                now == *digest
                    && content.is_none_or(|content| changes.refuse(path, &content).is_ok())
            })
        })
    }

    /// Whether rcache may ask for a dependency file. gcc's precompiled headers hold what it would list.
    pub fn may_add_words(&self) -> bool {
        let family = self.compiler.banner.family;
        let is_precompiled = self.invocation.phase == Phase::Precompiled && family == Family::Gcc;
        !self.invocation.records_command_line && !is_precompiled
    }

    /// Whether an assembler runs, which may read files itself.
    pub fn assembles(&self) -> bool {
        assembles(&self.invocation)
    }

    /// Whether a result that shows a day, or none, is of today.
    pub fn is_of_today(&self, shown: Option<Day>) -> bool {
        shown.is_none_or(|shown| day(&self.environment, self.now) == Some(shown))
    }

    /// The macros of the command line: `NAME`, `NAME=text` or `NAME(parameters)=text`.
    pub fn definition_words(&self) -> Vec<Vec<u8>> {
        definition_words(&self.invocation).map(<[u8]>::to_vec).collect()
    }

    /// Whether `import` and `module` may begin directives.
    pub fn knows_modules(&self) -> bool {
        knows_modules(&self.compiler, &self.invocation)
    }

    /// Whether nobody says what the assembler reads.
    pub fn assembles_unreported(&self) -> bool {
        is_unreported(&self.compiler, &self.invocation, self.config)
    }

    /// What of the source is text for the assembler.
    pub fn reach(&self) -> Reach {
        let has_word = |wanted: &[&str]| {
            let mut words = self.invocation.arguments.iter().flat_map(|argument| &argument.words);
            words.any(|word| wanted.iter().any(|wanted| word == wanted))
        };
        if self.invocation.language.is_assembly() {
            Reach::Source
        } else if self.compiler.banner.family == Family::Clang && !has_word(&OTHER_ASSEMBLER) {
            Reach::Statements
        } else {
            Reach::AllStrings
        }
    }

    /// Whether sources with these traits could make the assembler read a file.
    pub fn might_assemble_files<'s>(&'s self, scans: impl Iterator<Item = &'s Scan>) -> bool {
        let (mut pieces, mut source) = (Pieces::default(), false);
        for scan in scans.chain(&self.definitions) {
            pieces = pieces | scan.assembler;
            source |= scan.assembler_source;
        }
        match self.invocation.language.is_assembly() {
            true => source || pieces.might_read(),
            false => pieces.might_read(),
        }
    }

    /// Whether the outputs of a file with these traits depend on when it is compiled.
    pub fn depends_on_time(&self, scan: &Scan) -> bool {
        self.can_hold_time(scan) && !self.config.sloppiness.time_macros
    }

    /// The same, whatever the settings overlook.
    pub fn can_hold_time(&self, scan: &Scan) -> bool {
        let fixed = self.has_fixed_time() && !scan.timestamp && !scan.may_build_time_macro;
        scan.any_time_macro() && !fixed
    }
}

fn refuse(counter: Counter, detail: impl Into<String>) -> Stop {
    Stop::Uncacheable(Uncacheable::new(counter, detail))
}

/// What can be read once only is left to the compiler: a FIFO, as a shell makes one of `<(…)`, or a device.
fn refuse_streams(invocation: &Invocation, here: &WorkingDirectory) -> Result<(), Stop> {
    let stream = invocation.forced_includes.iter().find(|path| is_stream(here, path));
    match stream {
        Some(path) => Err(refuse(Counter::BadInputFile, path.to_string_lossy())),
        None => Ok(()),
    }
}

/// Whether something is there that is neither a file nor a folder, or that only the caller can see.
fn is_stream(here: &WorkingDirectory, path: &Path) -> bool {
    match here.stat(path) {
        Ok(found) => !is_regular(&found) && !is_folder(&found) && !is_null_device(&found),
        Err(error) => is_refusal(&error),
    }
}

/// Paths must mean the same to the daemon as to the caller: not so across containers.
fn working_directory(caller: &Caller) -> Result<WorkingDirectory, Stop> {
    let elsewhere = || refuse(Counter::PassedThrough, "the daemon sees another working folder");
    let here = WorkingDirectory::open(&caller.working_directory);
    let here = here.map_err(|error| match descriptors::shortage(&error) {
        Some(shortage) => Stop::Uncacheable(shortage),
        None => elsewhere(),
    })?;
    if here.id == caller.working_directory_id { Ok(here) } else { Err(elsewhere()) }
}

fn key_environment<'c>(
    call: &'c Call,
    config: &Config,
) -> Result<Vec<(&'static str, &'c [u8])>, Stop> {
    let variables = call.caller.environment.iter();
    let variables = variables.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    environment::key_fields(variables, config.sloppiness.locale).map_err(Stop::Uncacheable)
}

/// The family decides how the options are read, and the options decide which tools run: so the
/// driver is asked twice where there are options of the second kind.
fn identify(
    daemon: &Daemon,
    call: &Call,
    config: &Config,
    asker: &mut Asker,
) -> Result<(Invocation, Arc<Compiler>), Stop> {
    let driver = daemon.compilers.introduce(&call.compiler, asker)?;
    let invocation = parse(call, config, &driver, asker.here).map_err(Stop::Uncacheable)?;
    let mut arguments = invocation.target_arguments();
    arguments.extend(["-x".into(), invocation.language.name().into()]);
    let compiler = daemon.compilers.identify(&call.compiler, arguments, asker)?;
    Ok((invocation, compiler))
}

/// A script or another program before the compiler may add options by variables and files of its own.
fn command_behind(
    daemon: &Daemon,
    call: &Call,
    invocation: &Invocation,
    compiler: &Compiler,
    asker: &mut Asker,
) -> Result<Option<Digest>, Stop> {
    if !compiler.wraps {
        return Ok(None);
    }
    let mut words = invocation.driver_words();
    words.extend(["-x".into(), invocation.language.name().into()]);
    Ok(daemon.compilers.command_behind(&call.compiler, compiler, words, asker)?)
}

/// `base_dir`, where `auto` stands for the nearest folder above that a version control calls its root; a
/// folder outside of any has none.
fn base_dir<'p>(config: &'p Config, working_directory: &'p Path) -> &'p Path {
    if config.base_dir.as_os_str() != config::BASE_DIR_AUTO {
        return &config.base_dir;
    }
    let is_root = |folder: &&Path| {
        CHECKOUT_MARKS.iter().any(|mark| folder.join(mark).symlink_metadata().is_ok())
    };
    working_directory.ancestors().find(is_root).unwrap_or(Path::new(""))
}

fn parse(
    call: &Call,
    config: &Config,
    driver: &Compiler,
    here: &WorkingDirectory,
) -> Result<Invocation, Uncacheable> {
    let name = driver_name(&call.compiler).as_bytes();
    let base_dir = base_dir(config, &call.caller.working_directory);
    let relative_names = !base_dir.as_os_str().is_empty();
    let apparent_cwd = relative_names.then(|| apparent_directory(call, here)).flatten();
    let context = Context {
        family: driver.banner.family,
        version_major: driver.banner.version_major,
        cwd: &call.caller.working_directory,
        apparent_cwd,
        base_dir,
        ignore_options: &config.ignore_options,
        sloppiness: Sloppiness {
            random_seed: config.sloppiness.random_seed,
            gcno_cwd: config.sloppiness.gcno_cwd,
        },
        cxx_driver: name.windows(2).any(|window| window == b"++"),
    };
    let mut invocation = Invocation::parse(&call.arguments, &context)?;
    let banner = &driver.banner;
    if banner.family == Family::Clang && invocation.has_codeview(&banner.target_options) {
        invocation.record_command_line();
    }
    Ok(invocation)
}

fn outputs(
    invocation: &Invocation,
    interface: Option<&Path>,
    family: Family,
    here: &WorkingDirectory,
    umask: u32,
) -> Result<Vec<OutputFile>, Stop> {
    let main = invocation.output.iter().map(|path| (PartKind::Object, path));
    let depfile = invocation.depfile.iter().map(|depfile| (PartKind::Depfile, &depfile.path));
    let sides = invocation.side_outputs.iter().map(|(kind, path)| (*kind, path));
    let interface = interface.map(Path::to_owned);
    let interface = interface.iter().map(|path| (PartKind::ModuleInterface, path));
    // Most often all are in one folder.
    let mut judged: Option<&Path> = None;
    main.chain(depfile)
        .chain(sides)
        .chain(interface)
        .map(|(kind, path)| {
            let folder = path.parent().unwrap_or(Path::new(""));
            if judged != Some(folder) && has_default_permissions(here, folder) {
                return Err(refuse(Counter::BadOutputFile, path.to_string_lossy()));
            }
            judged = Some(folder);
            let manner = manner(kind, invocation, family);
            match access_after(here, path, umask, manner) {
                Some((mode, group)) => Ok(OutputFile { kind, path: path.clone(), mode, group }),
                None => Err(refuse(Counter::BadOutputFile, path.to_string_lossy())),
            }
        })
        .collect()
}

/// GNU as and objcopy unlink (`unlink_if_ordinary` in libiberty), clang renames its main output into
/// place, except from its own assembler, and removes old diagnostics; all else is opened with `fopen`
/// or its like.
fn manner(kind: PartKind, invocation: &Invocation, family: Family) -> Manner {
    match (kind, family) {
        (PartKind::Object, Family::Clang) if is_assembled_apart(invocation) => Manner::Either,
        (PartKind::Diagnostics, Family::Clang) => Manner::Anew,
        (PartKind::ModuleInterface, Family::Gcc) => Manner::Anew,
        (PartKind::Object, Family::Clang) | (PartKind::Dwo, Family::Gcc) => Manner::Anew,
        (PartKind::SavedText | PartKind::SavedAssembly | PartKind::SavedBitcode, Family::Clang) => {
            Manner::Anew
        }
        (PartKind::Object, Family::Gcc) if invocation.phase == Phase::Object => Manner::Anew,
        _ => Manner::Within,
    }
}

/// Whether clang makes the object from assembly: the source's, or what `-save-temps` keeps.
fn is_assembled_apart(invocation: &Invocation) -> bool {
    let saved = |(kind, _): &(PartKind, PathBuf)| *kind == PartKind::SavedAssembly;
    invocation.language.is_assembly() || invocation.side_outputs.iter().any(saved)
}

/// A compiler refuses to write over its source.
fn refuse_overwriting(
    outputs: &[OutputFile],
    source: &Content,
    here: &WorkingDirectory,
) -> Result<(), Stop> {
    let is_source = |output: &&OutputFile| {
        here.stat_link(&output.path).is_ok_and(|stat| {
            (stat.st_dev, stat.st_ino) == (source.stamp.device, source.stamp.inode)
        })
    };
    match outputs.iter().find(is_source) {
        Some(output) => Err(refuse(Counter::BadOutputFile, output.path.to_string_lossy())),
        None => Ok(()),
    }
}

/// What is known from the source alone to be beyond rcache.
fn refuse_source(
    scan: &Scan,
    compiler: &Compiler,
    invocation: &Invocation,
    config: &Config,
) -> Result<(), Stop> {
    if scan.disabled {
        return Err(refuse(Counter::Disabled, "the source says so"));
    }
    // Of other sources the text decides.
    let is_text =
        invocation.language.is_assembly() && !invocation.language.is_preprocessed_by_the_compiler();
    if is_text && scan.assembler_source && is_unreported(compiler, invocation, config) {
        return Err(refuse(Counter::UnsupportedCodeDirective, ASSEMBLER_READS));
    }
    let preprocesses = invocation.language.is_preprocessed_by_the_compiler();
    let knows = || invocation.module_map.is_none() && knows_modules(compiler, invocation);
    if scan.module_directives && preprocesses && knows() {
        return Err(refuse(Counter::CouldNotUseModules, "module directive in the source"));
    }
    let mut names = scan.includes.iter().map(|include| Path::new(OsStr::from_bytes(&include.name)));
    if let Some(name) = names.find(|name| preprocesses && is_spelled_privately(name)) {
        return Err(refuse(Counter::BadInputFile, name.to_string_lossy()));
    }
    match unsupported_directive(scan) {
        Some(what) => Err(refuse(Counter::UnsupportedCodeDirective, what)),
        None => Ok(()),
    }
}

fn assembles(invocation: &Invocation) -> bool {
    invocation.phase == Phase::Object || invocation.language.is_assembly()
}

/// Whether `import` and `module` may begin directives: for gcc only where an option says so.
fn knows_modules(compiler: &Compiler, invocation: &Invocation) -> bool {
    let mut words = invocation.arguments.iter().flat_map(|argument| &argument.words);
    compiler.banner.family == Family::Clang
        || words.any(|word| word.as_bytes().starts_with(b"-fmodule"))
}

/// Whether an assembler runs that does not say what it reads: clang's, and any to which no word may be
/// added. Under -S nothing is assembled.
fn is_unreported(compiler: &Compiler, invocation: &Invocation, config: &Config) -> bool {
    let is_silent = compiler.banner.family == Family::Clang || invocation.records_command_line;
    is_silent && assembles(invocation) && !config.sloppiness.incbin
}

/// A directive that reads files which no dependency list names.
pub fn unsupported_directive(scan: &Scan) -> Option<&'static str> {
    if scan.embed {
        return Some("#embed");
    }
    scan.pragma_dependency.then_some("a pragma that reads a file")
}

/// What stands for the compiler in the keys, as `compiler_check` says.
fn identity(
    compiler: &Compiler,
    call: &Call,
    config: &Config,
    asker: &mut Asker,
) -> Result<Vec<u8>, Stop> {
    let version = compiler.banner.version.as_bytes();
    match &config.compiler_check {
        CompilerCheck::Content => Ok(compiler.digest.to_string().into_bytes()),
        CompilerCheck::Mtime => {
            let failed = |_| refuse(Counter::CompilerCheckFailed, "mtime");
            let stat = asker.here.stat(&call.compiler).map_err(failed)?;
            Ok(format!("{} {}.{}", stat.st_size, stat.st_mtime, stat.st_mtime_nsec).into_bytes())
        }
        CompilerCheck::None => Ok(version.to_vec()),
        CompilerCheck::String(text) => Ok([version, b" ", text.as_bytes()].concat()),
        CompilerCheck::Command(command) => {
            let compiler = call.compiler.to_string_lossy();
            let command = command.replace("%compiler%", &compiler);
            let order = talk::launcher_protocol::Run {
                program: "/bin/sh".into(),
                arguments: vec![b"-c".to_vec(), command.into_bytes()],
                ..Default::default()
            };
            let probed = asker.prober.probe(order)?;
            if probed.status != 0 {
                return Err(refuse(Counter::CompilerCheckFailed, "the command failed"));
            }
            Ok([probed.stdout, probed.stderr].concat())
        }
    }
}

/// Whether the value of SOURCE_DATE_EPOCH can show in what the source itself makes. Where only a header
/// shows the time, the preprocessed text decides, which holds it.
fn epoch_counts(invocation: &Invocation, source: &Scan, definitions: &[Scan]) -> bool {
    let modules = |argument: &Argument| argument.words[0].as_bytes().starts_with(b"-fmodules");
    source.any_time_macro()
        || definitions.iter().any(Scan::any_time_macro)
        || invocation.arguments.iter().any(modules)
}

/// What counts of a file that may be missing: its content; or that it is not there, or a folder.
fn other_content(
    memo: &FileMemo,
    here: &WorkingDirectory,
    path: &Path,
    now: SystemTime,
) -> io::Result<(Digest, Option<Content>)> {
    match here.presence(path) {
        Presence::Absent => Ok((Digest::of(b"rcache: nothing is there"), None)),
        Presence::Folder => Ok((Digest::of(b"rcache: a folder"), None)),
        Presence::File | Presence::Unknown => {
            memo.content(here, path, now).map(|content| (content.digest, Some(content)))
        }
    }
}

/// Files besides source and headers: profile data and the like, and `extra_files_to_hash`.
fn other_files(
    invocation: &Invocation,
    compiler: &Compiler,
    call: &Call,
    config: &Config,
    memo: &FileMemo,
    here: &WorkingDirectory,
    now: SystemTime,
) -> Result<Vec<(PathBuf, Digest)>, Stop> {
    let unreadable = |path: &Path| refuse(Counter::BadInputFile, path.to_string_lossy());
    let mut files = Vec::new();
    for path in invocation.read_files.iter().chain(&config.extra_files_to_hash) {
        let content = memo.content(here, path, now).map_err(|_| unreadable(path))?;
        files.push((path.clone(), content.digest));
    }
    if invocation.profiles.used {
        let folders = directories(call, here);
        for path in invocation.profile_candidates(compiler.banner.family, &folders) {
            let (digest, _) =
                other_content(memo, here, &path, now).map_err(|_| unreadable(&path))?;
            files.push((path, digest));
        }
    }
    Ok(files)
}

/// gcc and clang take PWD for the working directory where it is the same folder (getpwd in
/// libiberty, llvm::sys::fs::current_path).
fn working_directories<'c>(
    invocation: &Invocation,
    call: &'c Call,
    config: &Config,
    here: &WorkingDirectory,
) -> Vec<&'c Path> {
    if !invocation.uses_working_directory || !config.hash_dir {
        return Vec::new();
    }
    directories(call, here)
}

fn directories<'c>(call: &'c Call, here: &WorkingDirectory) -> Vec<&'c Path> {
    let real = call.caller.working_directory.as_path();
    [Some(real), apparent_directory(call, here)].into_iter().flatten().collect()
}

/// What PWD says, where that is the working directory, or may be: `/proc/self/cwd`, as Bazel has it,
/// only the caller can follow.
fn apparent_directory<'c>(call: &'c Call, here: &WorkingDirectory) -> Option<&'c Path> {
    call.caller.variable("PWD").map(Path::new).filter(|apparent| {
        let is_here = || match here.stat(apparent) {
            Ok(stat) => (stat.st_dev, stat.st_ino) == here.id,
            Err(_) => true,
        };
        apparent.is_absolute() && is_here()
    })
}

/// The macros of the command line are source text as well.
fn definitions(invocation: &Invocation) -> Vec<Scan> {
    definition_words(invocation).map(scan_definition).collect()
}

fn definition_words(invocation: &Invocation) -> impl Iterator<Item = &[u8]> {
    let arguments = invocation.arguments.iter().filter(|argument| argument.role == Role::Macro);
    let words = arguments.filter_map(|argument| argument.words.last());
    words.flat_map(|word| definitions_in(word.as_bytes()))
}

/// The definitions in the last word of an option for macros: `X=1`, `-DX=1`, `--define-macro=X=1` or
/// `-Wp,-DX=1,-DY=2`.
fn definitions_in(word: &[u8]) -> Vec<&[u8]> {
    let parts = match word.strip_prefix(b"-Wp,") {
        Some(list) => list.split(|byte| *byte == b',').collect(),
        None => vec![word],
    };
    let name = |part| {
        let names: [&[u8]; 2] = [b"-D", b"--define-macro="];
        names.iter().find_map(|name| <[u8]>::strip_prefix(part, *name)).unwrap_or(part)
    };
    parts.into_iter().map(name).collect()
}

/// Everything that shapes how diagnostics look.
fn look(call: &Call, invocation: &Invocation) -> Digest {
    let mut hasher = KeyHasher::new("rcache look of diagnostics 1");
    hasher.field("terminal", &[u8::from(call.terminal.stderr)]);
    hasher.field("columns", &call.terminal.columns.to_le_bytes());
    hasher.field("columns of the input", &call.terminal.input_columns.to_le_bytes());
    for name in LOOK_VARIABLES {
        if let Some(value) = call.caller.variable(name) {
            hasher.field("variable", name.as_bytes());
            hasher.field("value", value.as_bytes());
        }
    }
    let colours = invocation.arguments.iter().filter(|argument| argument.role == Role::Colour);
    for word in colours.flat_map(|argument| &argument.words) {
        hasher.field("colour", word.as_bytes());
    }
    hasher.finish()
}
