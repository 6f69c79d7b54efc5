//! The action that stands for a unit: every file that its compile could read, and the call itself.

use crate::make::local_slots::Purpose;
use crate::make::sendable::StaysHere;
use crate::remember::macros;
use crate::serve::conversation::Conversation;
use crate::understand::compilers::Stop;
use crate::understand::unit::{ASSEMBLER_READS, LOOK_VARIABLES, Unit};
use crate::{Cache, Daemon, lock};
use compiler::depfile;
use compiler::environment::VARIABLES;
use compiler::hasher::Digest;
use compiler::invocation::{Family, Phase, Role};
use compiler::part::PartKind;
use compiler::search::{Bounds, SearchPath};
use compiler::tree::{FileNode, InputTree, Node, Unprovable, Wanted, input_tree, surroundings};
use config::host_list::Endpoint;
use prost::Message;
use prost::bytes::Bytes;
use remote::reapi::client::{Abilities, Source, Task};
use remote::reapi::digest::{BlobName, Function};
use remote::reapi::merkle::{self, Entry};
use remote::reapi::proto;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;
use talk::launcher_protocol::{Run, descriptor_mark};

/// Where an action lists the files that it read, for a call that asks for no list.
pub const LISTING: &str = ".rcache-files.d";

/// Where the assembler lists what it read, where a source could make it read something.
pub const ASSEMBLER_LISTING: &str = ".rcache-assembled.d";

/// Contents whose names are remembered, at some 100 bytes each; then they are read again.
const NAMES_MAX: usize = 100_000;

/// Variables that lead to files which no tree holds.
const LEADING_VARIABLES: [&str; 12] = [
    "BINUTILS_ROOT",
    "COMPILER_PATH",
    "DEVELOPER_DIR",
    "GCC_EXEC_PREFIX",
    "GCC_ROOT",
    "G++_ROOT",
    "GCONV_PATH",
    "I_MPI_CC",
    "I_MPI_CXX",
    "LD_AUDIT",
    "LD_PRELOAD",
    "SDKROOT",
];

/// Variables besides those of compilers that an action gets.
const FURTHER_VARIABLES: [&str; 4] = ["LD_LIBRARY_PATH", "PATH", "PWD", "TZ"];

/// Options after which texts are converted by modules of the C library.
const CHARSETS: [&str; 3] = ["-finput-charset", "-fexec-charset", "-fwide-exec-charset"];

/// What clocks show is read from there.
const CLOCK: &str = "/etc/localtime";

/// The locale of Debian's and Fedora's default, without translations.
const PLAIN_LOCALE: &str = "/usr/lib/locale/C.utf8/LC_CTYPE";

/// What a split debug file is made with.
const OBJCOPY: &str = "objcopy";

/// The names of contents as blobs.
#[derive(Default)]
pub struct Names(Mutex<HashMap<(Function, Digest), BlobName>>);

/// What an action writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Output {
    /// An output of the call.
    Part(PartKind),
    /// The list of the files that the compiler read.
    Files,
    /// The list of the files that the assembler read.
    Assembled,
}

/// A unit as it could be sent.
pub struct Prepared {
    tree: InputTree,
    arguments: Vec<String>,
    variables: Vec<proto::EnvironmentVariable>,
    working_directory: String,
    /// Relative to the working directory, sorted; of what each is.
    outputs: Vec<(String, Output)>,
    /// Files that are the compiler's own.
    programs: HashSet<Digest>,
    clang: bool,
    may_be_cached: bool,
}

/// What is known of the call alone to keep it here.
pub fn stays_here(unit: &Unit) -> Option<StaysHere> {
    let invocation = &unit.invocation;
    let stay = |why: &str| Some(StaysHere(why.to_owned()));
    if !unit.config.prefix_command.is_empty() {
        return stay("prefix_command");
    }
    if unit.compiler.wraps {
        return stay("a script or a program before the compiler");
    }
    if !unit.compiler.banner.plugins.is_empty() {
        return stay("a plugin of the compiler");
    }
    if invocation.native && unit.compiler.banner.family == Family::Clang {
        return stay("code for this machine's processor, whatever that is");
    }
    if invocation.phase == Phase::Precompiled || !invocation.precompiled.is_empty() {
        return stay("a precompiled header");
    }
    if unit.outputs.is_empty() {
        return stay("nothing is written");
    }
    if unit.modules.is_some() {
        return stay("modules");
    }
    if let Some(name) = LEADING_VARIABLES.iter().find(|name| unit.environment.get(name).is_some()) {
        return stay(name);
    }
    if unit.apparent_directory().is_none() {
        return stay("PWD means something to the compiler alone");
    }
    let mut words = invocation.arguments.iter().flat_map(|argument| &argument.words);
    let is_charset =
        |word: &OsString| CHARSETS.iter().any(|name| word.as_bytes().starts_with(name.as_bytes()));
    if words.any(is_charset) {
        return stay("a conversion of character sets");
    }
    if macros::is_traditional(unit) {
        return stay("-traditional-cpp");
    }
    let all = std::iter::once(unit.scan.as_ref()).chain(&unit.definitions);
    let reads = all.into_iter().any(|scan| {
        scan.assembler.could_read() || invocation.language.is_assembly() && scan.assembler_source
    });
    if reads && !assembler_tells(unit) { stay(ASSEMBLER_READS) } else { None }
}

/// Whether the assembler can be asked which files it reads.
fn assembler_tells(unit: &Unit) -> bool {
    unit.compiler.banner.family == Family::Gcc
        && unit.invocation.phase == Phase::Object
        && !unit.invocation.records_command_line
}

/// Makes the tree; the compiler runs for it only where an include is computed.
pub fn make(
    daemon: &Daemon,
    conversation: &mut Conversation,
    cache: &Cache,
    unit: &Unit,
    search: Option<&SearchPath>,
) -> Result<Result<Prepared, StaysHere>, Stop> {
    let others = others(unit);
    let definitions = unit.definition_words();
    let clock = [PathBuf::from(CLOCK)];
    let wanted = |listed| Wanted {
        here: &unit.here,
        cwd: &unit.call.caller.working_directory,
        memo: &daemon.memo,
        now: unit.now,
        family: unit.compiler.banner.family,
        source: &unit.invocation.source,
        forced_includes: &unit.invocation.forced_includes,
        search,
        definitions: &definitions,
        definition_scans: &unit.definitions,
        knows_modules: unit.knows_modules(),
        others: &others,
        clock: &clock,
        listed,
        bounds: Bounds::from(Instant::now()),
    };
    let made = match input_tree(&wanted(None)) {
        Err(why) if why.is_told_by_preprocessor() => {
            match list_by_preprocessor(daemon, conversation, cache, unit)? {
                Some(listed) => input_tree(&wanted(Some(listed.as_slice()))),
                None => Err(why),
            }
        }
        made => made,
    };
    Ok(made.map_err(stays).and_then(|tree| prepare(unit, tree)))
}

fn stays(why: Unprovable) -> StaysHere {
    StaysHere(why.to_string())
}

/// Files that are known by name: the compiler's own, those of options, and the folders of outputs.
fn others(unit: &Unit) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        unit.compiler.files.iter().map(|(path, _)| path.clone()).collect();
    paths.push(unit.call.compiler.clone());
    paths.push(PathBuf::from(PLAIN_LOCALE));
    paths.extend(unit.other_paths().map(Path::to_owned));
    paths.extend(unit.apparent_directory().map(Path::to_owned));
    paths.extend(unit.outputs.iter().filter_map(|output| Some(output.path.parent()?.to_owned())));
    let splits = unit.outputs.iter().any(|output| output.kind == PartKind::Dwo);
    match unit.compiler.banner.family {
        Family::Gcc if splits => {
            let assemblers = paths.iter().filter(|path| path.ends_with("as"));
            let beside: Vec<PathBuf> =
                assemblers.map(|path| path.with_file_name(OBJCOPY)).collect();
            paths.extend(beside);
        }
        Family::Clang => paths.extend(surroundings::of_clang(&prefixes(unit))),
        Family::Gcc => {}
    }
    paths
}

/// Where clang looks for a gcc.
fn prefixes(unit: &Unit) -> Vec<PathBuf> {
    let mut prefixes = vec![PathBuf::from("/usr")];
    let words = unit.invocation.arguments.iter().flat_map(|argument| &argument.words);
    for word in words {
        let operand = |name: &str| word.as_bytes().strip_prefix(name.as_bytes());
        if let Some(path) = operand("--gcc-toolchain=").or_else(|| operand("--gcc-install-dir=")) {
            prefixes.push(PathBuf::from(OsStr::from_bytes(path)));
        } else if let Some(path) = operand("--sysroot=") {
            prefixes.push(Path::new(OsStr::from_bytes(path)).join("usr"));
        }
    }
    prefixes
}

/// The files that the compiler's own preprocessor reads; `None` where it fails.
fn list_by_preprocessor(
    daemon: &Daemon,
    conversation: &mut Conversation,
    cache: &Cache,
    unit: &Unit,
) -> Result<Option<Vec<PathBuf>>, Stop> {
    let limit = unit.config.preprocess_slots();
    let slot = daemon.slots.acquire(Purpose::Preprocess, limit, conversation)?;
    let mut arguments = vec![b"-M".to_vec(), b"-MF".to_vec(), descriptor_mark(0)];
    let words = unit.invocation.preprocess_arguments().into_iter();
    arguments.extend(words.map(OsString::into_vec));
    let order = Run { program: unit.call.compiler.clone(), arguments, ..Run::default() };
    let mut captured = conversation.run(order, 1)?;
    drop(slot);
    daemon.memo.refresh();
    cache.counts.add_compile_time(captured.wall);
    let Ok(rule) = captured.extra(0) else { return Ok(None) };
    Ok(depfile::inputs(&rule).filter(|_| captured.succeeded()))
}

fn prepare(unit: &Unit, tree: InputTree) -> Result<Prepared, StaysHere> {
    let is_assembly = unit.invocation.language.is_assembly();
    let may_read = tree.assembler_reads || is_assembly && tree.assembler_source;
    if may_read && !assembler_tells(unit) {
        return Err(StaysHere(ASSEMBLER_READS.to_owned()));
    }
    let text = |what: &OsStr| {
        what.to_str()
            .map(str::to_owned)
            .ok_or_else(|| StaysHere(format!("{} is not UTF-8", what.to_string_lossy())))
    };
    let arguments =
        arguments(unit, may_read).iter().map(|word| text(word)).collect::<Result<_, _>>()?;
    let mut variables = Vec::new();
    for (name, value) in variables_of(unit) {
        variables.push(proto::EnvironmentVariable { name: text(name)?, value: text(value)? });
    }
    variables.sort_by(|one, other| one.name.cmp(&other.name));
    variables.dedup_by(|next, first| next.name == first.name);
    let cwd = &unit.call.caller.working_directory;
    let mut outputs = Vec::new();
    for output in unit.outputs.iter() {
        let gone = || StaysHere(format!("{} has no folder", output.path.display()));
        let whole = cwd.join(&output.path);
        let folder = whole.parent().and_then(|folder| folder.canonicalize().ok());
        let name = whole.file_name().ok_or_else(gone)?;
        let path = relative(cwd, &folder.ok_or_else(gone)?.join(name));
        outputs.push((text(path.as_os_str())?, Output::Part(output.kind)));
    }
    if lists_files(unit) {
        outputs.push((LISTING.to_owned(), Output::Files));
    }
    if may_read {
        outputs.push((ASSEMBLER_LISTING.to_owned(), Output::Assembled));
    }
    outputs.sort();
    let working_directory = text(cwd.strip_prefix("/").unwrap_or(cwd).as_os_str())?;
    let programs = unit.compiler.files.iter().map(|(_, digest)| *digest).collect();
    Ok(Prepared {
        may_be_cached: !tree.time || unit.has_fixed_time(),
        clang: unit.compiler.banner.family == Family::Clang,
        tree,
        arguments,
        variables,
        working_directory,
        outputs,
        programs,
    })
}

/// Whether the action is to list the files that it reads, since the call does not ask for it.
fn lists_files(unit: &Unit) -> bool {
    let invocation = &unit.invocation;
    invocation.depfile.is_none()
        && !invocation.records_command_line
        && invocation.language.is_preprocessed_by_the_compiler()
}

fn arguments(unit: &Unit, may_read: bool) -> Vec<OsString> {
    let mut words = vec![unit.call.compiler.clone().into_os_string()];
    if lists_files(unit) {
        words.extend(["-MD", "-MF", LISTING].map(OsString::from));
    }
    if may_read {
        words.push(format!("-Wa,--MD,{ASSEMBLER_LISTING}").into());
    }
    if !unit.invocation.native {
        words.extend(unit.invocation.compile_arguments());
        return words;
    }
    // What stands for this machine's processor is sent as what it means here.
    words.extend(unit.compiler.banner.target_options.iter().map(OsString::from));
    let kept = unit.invocation.arguments.iter().filter(|argument| {
        let is_native = |word: &OsString| word.as_bytes().ends_with(b"=native");
        argument.role != Role::Target || !argument.words.iter().any(is_native)
    });
    words.extend(kept.flat_map(|argument| argument.words.iter().cloned()));
    words
}

/// The variables that can change what the compiler makes or prints.
fn variables_of<'u>(unit: &'u Unit) -> Vec<(&'u OsStr, &'u OsStr)> {
    let is_wanted = |name: &OsStr| {
        let known = VARIABLES.iter().map(|(known, _)| *known);
        known.chain(LOOK_VARIABLES).chain(FURTHER_VARIABLES).any(|known| name == known)
    };
    unit.environment.iter().filter(|(name, _)| is_wanted(name)).collect()
}

/// `path` from `folder` on; both are absolute, without links.
fn relative(folder: &Path, path: &Path) -> PathBuf {
    let parts = |path: &'_ Path| -> Vec<OsString> {
        let names = path.components().filter(|part| matches!(part, Component::Normal(_)));
        names.map(|part| part.as_os_str().to_owned()).collect()
    };
    let (from, to) = (parts(folder), parts(path));
    let same = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let up = from[same..].iter().map(|_| OsString::from(".."));
    up.chain(to[same..].iter().cloned()).collect()
}

impl Prepared {
    /// What each output is, by its name in the answer.
    pub fn outputs(&self) -> &[(String, Output)] {
        &self.outputs
    }

    /// Whether the compiler may have quoted a file that is not known.
    pub fn may_quote_unknown(&self) -> bool {
        self.tree.opaque_line
    }

    /// The action for a server.
    pub fn task(
        &self,
        daemon: &Daemon,
        unit: &Unit,
        abilities: Abilities,
        endpoint: &Endpoint,
    ) -> Result<Task, StaysHere> {
        let needs = self.tree.needs;
        // A server that keeps times is one of ours, which links no two files of a tree to one.
        if (needs.times || self.clang && needs.own_inodes) && !abilities.keeps_times {
            let why = "equal headers, whose times or inodes count, which this host does not keep";
            return Err(StaysHere(why.to_owned()));
        }
        let function = abilities.function;
        let mut blobs = HashMap::new();
        let mut programs = HashSet::new();
        let mut entries = Vec::with_capacity(self.tree.nodes.len());
        for (path, node) in &self.tree.nodes {
            let entry = match node {
                Node::Folder => Entry::Folder,
                Node::Link(target) => Entry::Link(target),
                Node::File(file) => {
                    let name = daemon.names.of(function, path, file, unit)?;
                    if self.programs.contains(&file.content.digest) {
                        programs.insert(name);
                    }
                    blobs.insert(name, Source::File(path.clone()));
                    let modified_ns = needs.times.then_some(file.content.stamp.modified_ns);
                    Entry::File { name, executable: file.executable, modified_ns }
                }
            };
            entries.push((path.as_path(), entry));
        }
        let entries = entries.iter().map(|(path, entry)| (*path, entry));
        let tree =
            merkle::directories(function, entries).map_err(|error| StaysHere(error.to_string()))?;
        blobs.extend(tree.messages.into_iter().map(|(name, bytes)| (name, Source::Bytes(bytes))));
        let mut keep = |message: Vec<u8>| {
            let name = function.name(&message);
            blobs.insert(name, Source::Bytes(Bytes::from(message)));
            name
        };
        let command = keep(self.command(endpoint).encode_to_vec());
        let action = proto::Action {
            command_digest: Some(command.message()),
            input_root_digest: Some(tree.root.message()),
            timeout: Some(proto::Duration {
                seconds: unit.config.remote_timeout.as_secs() as i64,
                nanos: unit.config.remote_timeout.subsec_nanos() as i32,
            }),
            do_not_cache: !self.may_be_cached,
            platform: platform(endpoint),
            ..Default::default()
        };
        let action = keep(action.encode_to_vec());
        Ok(Task {
            action,
            blobs,
            programs,
            sends_programs: endpoint.sends_toolchain,
            outputs: self.outputs.iter().map(|(path, _)| path.clone()).collect(),
            may_be_cached: self.may_be_cached,
            timeout: unit.config.remote_timeout,
        })
    }

    fn command(&self, endpoint: &Endpoint) -> proto::Command {
        proto::Command {
            arguments: self.arguments.clone(),
            environment_variables: self.variables.clone(),
            platform: platform(endpoint),
            working_directory: self.working_directory.clone(),
            output_paths: self.outputs.iter().map(|(path, _)| path.clone()).collect(),
            // For servers that know no paths of both kinds.
            output_files: Vec::new(),
            ..Default::default()
        }
    }
}

fn platform(endpoint: &Endpoint) -> Option<proto::Platform> {
    let mut properties: Vec<proto::Property> = endpoint
        .properties
        .iter()
        .map(|(name, value)| proto::Property { name: name.clone(), value: value.clone() })
        .collect();
    properties.sort_by(|one, other| (&one.name, &one.value).cmp(&(&other.name, &other.value)));
    (!properties.is_empty()).then_some(proto::Platform { properties })
}

impl Names {
    /// The name of a file's content, which is read where it is not known.
    fn of(
        &self,
        function: Function,
        path: &Path,
        file: &FileNode,
        unit: &Unit,
    ) -> Result<BlobName, StaysHere> {
        let key = (function, file.content.digest);
        if let Some(name) = lock(&self.0).get(&key) {
            return Ok(*name);
        }
        let changed = || StaysHere(format!("{} has just been changed", path.display()));
        let mut opened = unit.here.open_file(path).map_err(|_| changed())?;
        let mut bytes = Vec::with_capacity(file.content.stamp.size as usize);
        opened.read_to_end(&mut bytes).map_err(|_| changed())?;
        if Digest::of(&bytes) != file.content.digest {
            return Err(changed());
        }
        let name = function.name(&bytes);
        let mut names = lock(&self.0);
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(key, name);
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_up_as_far_as_it_must() {
        for (folder, path, wanted) in [
            ("/a/b", "/a/b/c/x.o", "c/x.o"),
            ("/a/b", "/a/x.o", "../x.o"),
            ("/a/b", "/c/x.o", "../../c/x.o"),
            ("/", "/x.o", "x.o"),
        ] {
            assert_eq!(relative(Path::new(folder), Path::new(path)), PathBuf::from(wanted));
        }
    }
}
