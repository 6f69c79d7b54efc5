//! Remembering a compile: what it wrote, what it read, what it looked for in vain; or why it cannot be remembered.

pub mod assembled;
pub mod changes;
pub mod macros;
pub mod precompiled;

use crate::look_up::{Known, mapped};
use crate::make::compiled::{Compiled, internal};
use crate::make::start::Start;
use crate::make::text::Text;
use crate::remember::assembled::Assembled;
use crate::remember::changes::{Changes, modified};
use crate::remember::macros::{follow_macros, is_traditional};
use crate::remember::precompiled::Behind;
use crate::serve::conversation::Conversation;
use crate::shared_tier::{self, Stored};
use crate::understand::compilers::{Asker, Stop};
use crate::understand::day::{Day, Shown, day};
use crate::understand::modules::Modules;
use crate::understand::unit::{ASSEMBLER_READS, Unit, unsupported_directive};
use crate::{Cache, Daemon};
use cache::entry::{Entry, Part, PartKind};
use cache::facts;
use cache::key;
use cache::manifest::{Manifest, Recorded, group_absent, with_newest};
use cache::store::{EntryKind, SaveOptions};
use compiler::file_memo::{Content, Presence, PrivatePaths, Stamp, is_refusal};
use compiler::hasher::Digest;
use compiler::invocation::{Family, Invocation};
use compiler::outcome::{Counter, Uncacheable};
use compiler::scan::Scan;
use compiler::search::{Bounds, FileRead, Opaque, Precompiled, Probes, SearchPath, absent_probes};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Where the unit's headers are searched for; `None` where nothing is included.
pub fn search_path(
    daemon: &Daemon,
    conversation: &mut Conversation,
    unit: &Unit,
) -> Result<Option<Arc<SearchPath>>, Stop> {
    let language = unit.invocation.language;
    if !language.is_preprocessed_by_the_compiler() {
        return Ok(None);
    }
    let mut asker = Asker {
        prober: conversation,
        environment: &unit.environment,
        here: &unit.here,
        memo: &daemon.memo,
        now: unit.now,
    };
    let words = [Invocation::search_arguments, Invocation::all_search_arguments]
        .map(|words| [words(&unit.invocation), vec!["-x".into(), language.name().into()]].concat());
    let driver = &unit.call.compiler;
    let compiler = match unit.command {
        Some(command) => Digest::of(&[unit.compiler.digest.0, command.0].concat()),
        None => unit.compiler.digest,
    };
    Ok(Some(daemon.compilers.search_path(driver, compiler, words, &mut asker)?))
}

/// Why the manifest cannot lead to a result.
enum Obstacle {
    /// The text must decide.
    NeedsText(NeedsText),
    /// Nothing can be stored.
    Uncacheable(Uncacheable),
}

/// Why the text must decide.
#[derive(Clone, Debug, Default)]
pub struct NeedsText {
    /// In words; empty where the usual ones will do.
    why: String,
    /// Whatever the text shows.
    pub is_final: bool,
}

impl From<Uncacheable> for Obstacle {
    fn from(reason: Uncacheable) -> Obstacle {
        Obstacle::Uncacheable(reason)
    }
}

/// What a compile read and looked for.
#[derive(Default)]
pub struct Reads {
    files: Vec<(PathBuf, Digest)>,
    probes: Probes,
    /// What counts besides contents.
    states: Vec<(PathBuf, Digest)>,
    /// The day that the result shows.
    day: Option<Day>,
    /// What prefix maps make of all names.
    names: Option<Digest>,
    /// There are names that no list of files shows: of a `#line`, or in a precompiled header.
    has_other_names: bool,
    /// A file that was read has a time macro that may show, whatever the settings overlook.
    holds_time: bool,
}

impl Reads {
    fn recorded(&self, key: Digest) -> Recorded<'_> {
        let pairs = self.probes.same_folders.iter();
        let folders = self.probes.search_folders.iter();
        Recorded {
            key,
            files: self.files.iter().map(|(path, digest)| (path.as_path(), *digest)).collect(),
            present: self.probes.present.iter().map(PathBuf::as_path).collect(),
            directories: self.probes.directories.iter().map(PathBuf::as_path).collect(),
            same_folders: pairs.map(|(left, right)| (left.as_path(), right.as_path())).collect(),
            search_folders: folders.map(|(folder, first)| (folder.as_path(), *first)).collect(),
            absent: group_absent(self.probes.absent.iter().map(|(folder, names)| {
                let names = names.iter().map(|name| Path::new(OsStr::from_bytes(name)));
                (folder.as_path(), names)
            })),
            states: self.states.iter().map(|(path, state)| (path.as_path(), *state)).collect(),
            day: self.day,
            names: self.names,
        }
    }
}

/// How the result of a compile can be found again.
pub enum Judged {
    /// Through the manifest.
    Direct(Box<Reads>),
    /// Only by the preprocessed text.
    ByText(NeedsText),
    /// Not at all.
    NotStored(Uncacheable),
}

/// Finds out what the compile read and looked for. To be done before the launcher is released
/// where the text may still have to be made.
pub fn judge(
    daemon: &Daemon,
    cache: &Cache,
    unit: &Unit,
    compiled: &Compiled,
    text: Option<&Text>,
) -> Judged {
    let files = match (&compiled.files, text) {
        (Some(files), _) => files.clone(),
        (None, Some(text)) => text.files.clone(),
        (None, None) => return Judged::NotStored(internal("no list of the files read")),
    };
    let inputs = Inputs {
        files: &files,
        assembler_files: &compiled.assembler_files,
        start: text.map_or(compiled.start, |text| compiled.start.earlier(text.start)),
        search: compiled.search.as_deref(),
        text,
    };
    if let Err(reason) = check_interface(unit, compiled) {
        return Judged::NotStored(reason);
    }
    match read_inputs(daemon, cache, unit, &inputs) {
        Ok(reads) if precompiled::is_made(unit) && reads.day.is_some() => {
            let counter = Counter::CouldNotUsePrecompiledHeader;
            Judged::NotStored(Uncacheable::new(counter, "it shows the day"))
        }
        Ok(reads) => Judged::Direct(Box::new(reads)),
        Err(Obstacle::NeedsText(needs)) => Judged::ByText(needs),
        Err(Obstacle::Uncacheable(reason)) => Judged::NotStored(reason),
    }
}

/// Whether the compile provided the module that its source seems to be the interface of, and no other.
fn check_interface(unit: &Unit, compiled: &Compiled) -> Result<(), Uncacheable> {
    let Some(modules) = &unit.modules else { return Ok(()) };
    let told = compiled.part(PartKind::ModuleDependencies).unwrap_or_default();
    match compiler::modules::tells(told, modules.provides.as_deref()) {
        true => Ok(()),
        false => {
            let what = "the source provides another module than it seems";
            Err(Uncacheable::new(Counter::CouldNotUseModules, what))
        }
    }
}

/// Stores the result of a compile, and what leads to it.
pub fn store(
    daemon: &Daemon,
    cache: &Arc<Cache>,
    unit: &Unit,
    (known, text): (&Known, Option<&Text>),
    compiled: Compiled,
    judged: Judged,
) -> Result<(), Uncacheable> {
    match (judged, text) {
        (Judged::NotStored(reason), _) => Err(reason),
        (Judged::Direct(reads), _) if precompiled::is_made(unit) => {
            let mut recorded = reads.recorded(Digest::of(&[]));
            recorded.key = key::result_key(unit.key, &recorded);
            let source = (unit.invocation.source.as_path(), unit.source.digest);
            let mut compiled = compiled;
            let content = compiled.content_of_object().map_err(|_| internal("a spooled output"))?;
            let recipe = precompiled::recipe_part(content, &recorded, source);
            precompiled::save_recipe(cache, &recipe.bytes);
            compiled.parts.push(recipe);
            save_result(cache, unit, recorded.key, compiled)?;
            save_manifest(cache, unit, known, Some(recorded), None)
        }
        (Judged::ByText(_), _) if precompiled::is_made(unit) => {
            let counter = Counter::CouldNotUsePrecompiledHeader;
            Err(Uncacheable::new(counter, "its files do not show what it depends on"))
        }
        (Judged::Direct(reads), text) => {
            let mut recorded = reads.recorded(Digest::of(&[]));
            if reads.has_other_names
                || recorded.names.is_some() && mapped::shows_folder(unit, &compiled)
            {
                recorded.names = recorded.names.map(|names| mapped::here_alone(unit, names));
            }
            let text_key = text.and_then(|text| text.key_of(&compiled));
            recorded.key = text_key.unwrap_or_else(|| key::result_key(unit.key, &recorded));
            let (maker, printed) = (compiled.maker, compiled.printed());
            let outputs = save_result(cache, unit, recorded.key, compiled)?;
            save_manifest(cache, unit, known, Some(recorded.clone()), None)?;
            let (recorded, holds_time) = (&recorded, reads.holds_time);
            let stored = Stored { recorded, outputs, printed, maker, holds_time };
            shared_tier::offer(daemon, cache, unit, &stored);
            Ok(())
        }
        // A text that was made after the compile may show a later time than the object.
        (Judged::ByText(needs), Some(text))
            if text.shown == Shown::Nothing || text.start.is_not_after(compiled.start) =>
        {
            let Some(key) = text.key_of(&compiled) else {
                if let Some(path) = &text.precompiled {
                    let counter = Counter::CouldNotUsePrecompiledHeader;
                    return Err(Uncacheable::new(counter, path));
                }
                let what = if text.assembler_reads { ASSEMBLER_READS } else { "#line" };
                return Err(Uncacheable::new(Counter::UnsupportedCodeDirective, what));
            };
            save_result(cache, unit, key, compiled)?;
            save_manifest(cache, unit, known, None, Some(&needs.why))
        }
        (Judged::ByText(needs), _) => save_manifest(cache, unit, known, None, Some(&needs.why)),
    }
}

/// Lets the manifest lead to a result that was found by its text.
pub fn link(
    daemon: &Daemon,
    cache: &Cache,
    unit: &Unit,
    text: &Text,
    key: Digest,
    search: &Option<Arc<SearchPath>>,
) {
    let known = Known::load(cache, unit);
    let inputs = Inputs {
        files: &text.files,
        assembler_files: &[],
        start: text.start,
        search: search.as_deref(),
        text: Some(text),
    };
    let saved = match read_inputs(daemon, cache, unit, &inputs) {
        Ok(reads) => {
            let mut recorded = reads.recorded(key);
            // Whether the result shows the folder was not looked at.
            recorded.names = recorded.names.map(|names| mapped::here_alone(unit, names));
            save_manifest(cache, unit, &known, Some(recorded), None)
        }
        Err(Obstacle::NeedsText(needs)) => {
            save_manifest(cache, unit, &known, None, Some(&needs.why))
        }
        Err(Obstacle::Uncacheable(reason)) => Err(reason),
    };
    if let Err(reason) = saved {
        tracing::info!(detail = reason.detail, "no manifest for a preprocessed hit");
    }
}

/// What is known of a compile when its inputs are to be read.
struct Inputs<'a> {
    files: &'a [PathBuf],
    assembler_files: &'a [PathBuf],
    start: Start,
    search: Option<&'a SearchPath>,
    /// The preprocessed text, where there is one.
    text: Option<&'a Text>,
}

impl Inputs<'_> {
    /// What the text shows of the time: at most a day where a result may be found again without it.
    fn shown(&self) -> Shown {
        self.text.map_or(Shown::Moment, |text| text.shown)
    }
}

fn read_inputs(
    daemon: &Daemon,
    cache: &Cache,
    unit: &Unit,
    inputs: &Inputs,
) -> Result<Reads, Obstacle> {
    if !inputs.start.clock_is_even() {
        return Err(modified("the clock was set").into());
    }
    if !unit.means_the_same() {
        return Err(modified("a response file").into());
    }
    daemon.memo.refresh();
    let now = SystemTime::now();
    let changes = Changes::since(inputs.start, &daemon.memo, &unit.here);
    if !unit.other_files_are_unchanged(&daemon.memo, &changes) {
        return Err(modified("a profile or another file of an option").into());
    }
    let mut reads = read_all(daemon, unit, inputs, &changes, now, None)?;
    let behind = precompiled::behind(daemon, cache, unit, &reads.probes, &changes, now)?;
    if let Some(behind) = behind {
        reads = read_all(daemon, unit, inputs, &changes, now, Some(&behind))?;
        reads.files.extend(behind.headers);
        reads.states.extend(behind.states);
        reads.has_other_names = true;
    }
    if let Some(modules) = &unit.modules {
        add_modules(daemon, unit, modules, inputs, (&changes, now), &mut reads)?;
    }
    if unit.invocation.stamps_inputs && unit.compiler.banner.family == Family::Clang {
        let source = std::iter::once(&unit.invocation.source);
        for path in reads.files.iter().map(|(path, _)| path).chain(source) {
            let unreadable = |_| Uncacheable::new(Counter::BadInputFile, path.to_string_lossy());
            reads.states.push((path.clone(), unit.here.state(path).map_err(unreadable)?));
        }
    }
    match private_path(unit, &reads) {
        Some(path) => Err(Uncacheable::new(Counter::BadInputFile, path.to_string_lossy()).into()),
        None => {
            reads.names = mapped::names(unit, reads.files.iter().map(|(path, _)| path.as_path()));
            Ok(reads)
        }
    }
}

/// The modules that were read count by their content. Before gcc includes a header, it looks for it in the
/// form of a module.
fn add_modules(
    daemon: &Daemon,
    unit: &Unit,
    modules: &Modules,
    inputs: &Inputs,
    (changes, now): (&Changes, SystemTime),
    reads: &mut Reads,
) -> Result<(), Uncacheable> {
    let mut headers: BTreeSet<(PathBuf, PathBuf)> = BTreeSet::new();
    for path in inputs.files {
        if !modules.holds(path) {
            headers.insert(modules.map.folder_of_unit(path));
            continue;
        }
        let unreadable = |_| Uncacheable::new(Counter::BadInputFile, path.to_string_lossy());
        let content = daemon.memo.content(&unit.here, path, now).map_err(unreadable)?;
        changes.refuse(path, &content)?;
        if *path != modules.map_file {
            reads.files.push((path.clone(), content.digest));
        }
    }
    let map = daemon.memo.content(&unit.here, &modules.map_file, now);
    match map {
        Ok(map) if map.digest == modules.map_content => changes.refuse(&modules.map_file, &map)?,
        _ => return Err(modified(modules.map_file.to_string_lossy())),
    }
    let folders = inputs.search.iter().flat_map(|search| search.quote.iter().chain(&search.angle));
    headers.extend(folders.map(|folder| modules.map.folder_of_unit(folder)));
    for (root, name) in headers {
        let place = root.join(&name);
        if unit.here.presence(&place) != Presence::Absent {
            let detail = format!("{} may hold headers in the form of modules", place.display());
            return Err(Uncacheable::new(Counter::CouldNotUseModules, detail));
        }
        reads.probes.absent.push((root, vec![name.as_os_str().as_bytes().into()]));
    }
    Ok(())
}

/// What the compile read, and what it looked for; `behind` is what precompiled headers added unseen.
fn read_all(
    daemon: &Daemon,
    unit: &Unit,
    inputs: &Inputs,
    changes: &Changes,
    now: SystemTime,
    behind: Option<&Behind>,
) -> Result<Reads, Obstacle> {
    let mut scanned = vec![scan_unchanged(daemon, unit, &unit.invocation.source, changes, now)?];
    if scanned[0].1 != unit.source.digest {
        return Err(modified(unit.invocation.source.to_string_lossy()).into());
    }
    // gcc names a file once for each way in which the search found it.
    let mut seen = HashSet::with_capacity(inputs.files.len());
    let is_text = |path: &&PathBuf| !unit.modules.as_ref().is_some_and(|all| all.holds(path));
    for path in inputs.files.iter().filter(|path| seen.insert(*path)).filter(is_text) {
        scanned.push(scan_unchanged(daemon, unit, path, changes, now)?);
    }
    let read_count = scanned.len();
    scanned.extend(behind.iter().flat_map(|behind| behind.members.iter().cloned()));
    // What is not there was only named, unless something could have read it.
    let follows = unit.might_assemble_files(scanned.iter().map(|(file, _)| file.scan.as_ref()));
    let listed = inputs.assembler_files.iter().filter(|path| !inputs.files.contains(path));
    let assembled = Assembled::of(daemon, unit, listed, follows, changes, now)?;
    let day = shown_day(unit, inputs, now);
    let holds_time = inputs.shown() != Shown::Nothing
        && scanned.iter().any(|(file, _)| unit.can_hold_time(&file.scan));
    let mut reads = Reads { files: assembled.files, day, holds_time, ..Reads::default() };
    match refuse_files(unit, &scanned, inputs, now, behind.is_some()) {
        Err(Obstacle::NeedsText(_)) if !reads.files.is_empty() && inputs.text.is_some() => {
            let path = reads.files[0].0.to_string_lossy();
            return Err(Uncacheable::new(Counter::UnsupportedCodeDirective, path).into());
        }
        result => result?,
    }
    forget_modules(unit, inputs, &mut scanned, behind.is_some())?;
    if inputs.search.is_some() && !follow_macros(unit, &mut scanned) {
        return Err(Obstacle::NeedsText(NeedsText::default()));
    }
    let mut once = Once::of(unit);
    if scanned[..read_count].iter().any(|(file, digest)| once.has_another(file, *digest)) {
        return Err(Obstacle::NeedsText(NeedsText::default()));
    }
    reads.has_other_names = scanned.iter().any(|(file, _)| names_by_line(&file.scan));
    let quoted = match inputs.text.and_then(|text| text.line_files.clone()) {
        Some(named) => named,
        None => line_files(unit, scanned.iter().map(|(file, _)| file.scan.as_ref())),
    };
    // clang looks at what its precompiled headers are made of; gcc does not.
    let counts = match unit.compiler.banner.family {
        Family::Gcc => read_count,
        Family::Clang => scanned.len(),
    };
    let listed = scanned[..counts].iter().skip(1);
    reads.files.extend(listed.map(|(file, digest)| (file.path.clone(), *digest)));
    scanned.truncate(read_count);
    if let Some(search) = inputs.search {
        let read: Vec<FileRead> = scanned.into_iter().map(|(file, _)| file).collect();
        let holding = precompiled_headers(unit, behind);
        let found = add_probes(daemon, unit, &read, search, (holding, changes, now), &mut reads)?;
        if found.iter().any(|(file, digest)| once.has_another(file, *digest)) {
            return Err(Obstacle::NeedsText(NeedsText::default()));
        }
    }
    for path in quoted {
        add_quoted(daemon, unit, path, changes, now, &mut reads)?;
    }
    reads.probes.absent.extend(assembled.absent);
    Ok(reads)
}

fn precompiled_headers<'b>(unit: &Unit, behind: Option<&'b Behind>) -> Precompiled<'b> {
    match behind {
        Some(behind) => behind.search(),
        None if precompiled::is_made(unit) && unit.compiler.banner.family == Family::Gcc => {
            Precompiled::NotSought
        }
        None => Precompiled::Sought,
    }
}

/// Whether a `#line` names a file with a folder; other names are mapped by nobody.
fn names_by_line(scan: &Scan) -> bool {
    scan.opaque_line || scan.line_files.iter().any(|name| name.contains(&b'/'))
}

/// A path that leads through /proc, where the daemon sees other files than the compiler: neither what is
/// there nor that nothing is there can be known. The folders of `absent` are looked at; a link in its
/// place is nothing absent.
fn private_path(unit: &Unit, reads: &Reads) -> Option<PathBuf> {
    let mut private = PrivatePaths::new(&unit.here);
    let probes = &reads.probes;
    let read = reads.files.iter().map(|(path, _)| path.as_path());
    let absent = probes.absent.iter().map(|(folder, _)| folder.as_path());
    let pairs = probes.same_folders.iter().flat_map(|(left, right)| [left, right]);
    let folders = probes.search_folders.iter().map(|(folder, _)| folder);
    let asked = probes.present.iter().chain(&probes.directories).chain(pairs).chain(folders);
    let mut all = read.chain(absent).chain(asked.map(PathBuf::as_path));
    all.find(|path| private.holds(path)).map(Path::to_owned)
}

/// The files with `#pragma once`, by their content: gcc reads the second of two equal ones only where
/// their times differ (`libcpp/files.cc`, `is_known_idempotent_file`). clang goes by the inode
/// (`clang/lib/Lex/HeaderSearch.cpp`), and names both among its files.
struct Once {
    by_content: bool,
    files: HashMap<Digest, (u64, u64)>,
}

impl Once {
    fn of(unit: &Unit) -> Once {
        let by_content = unit.compiler.banner.family == Family::Gcc;
        Once { by_content, files: HashMap::new() }
    }

    /// Whether another file is equal to this one, such that the compiler may take one for the other.
    fn has_another(&mut self, file: &FileRead, digest: Digest) -> bool {
        let id = (file.stamp.device, file.stamp.inode);
        self.by_content && file.scan.once && *self.files.entry(digest).or_insert(id) != id
    }
}

/// The files that the sources name by `#line`. The assembler does not quote its source, and comments
/// in it look like line marks.
pub fn line_files<'s>(unit: &Unit, scans: impl Iterator<Item = &'s Scan>) -> BTreeSet<PathBuf> {
    if unit.invocation.language.is_assembly() {
        return BTreeSet::new();
    }
    let names = scans.flat_map(|scan| &scan.line_files);
    names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect()
}

/// A file that the compiler may quote below a diagnostic counts by its content, or by its absence.
fn add_quoted(
    daemon: &Daemon,
    unit: &Unit,
    path: PathBuf,
    changes: &Changes,
    now: SystemTime,
    reads: &mut Reads,
) -> Result<(), Uncacheable> {
    match unit.here.presence(&path) {
        Presence::Absent => {
            if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
                reads.probes.absent.push((folder.to_owned(), vec![name.as_bytes().into()]));
            }
        }
        Presence::Folder => reads.probes.directories.push(path),
        Presence::File | Presence::Unknown => {
            let content = daemon
                .memo
                .content(&unit.here, &path, now)
                .map_err(|_| Uncacheable::new(Counter::BadInputFile, path.to_string_lossy()))?;
            changes.refuse(&path, &content)?;
            reads.files.push((path, content.digest));
        }
    }
    Ok(())
}

/// A file that was not changed since the start. What is read now is then what the compiler read.
pub fn scan_unchanged(
    daemon: &Daemon,
    unit: &Unit,
    path: &Path,
    changes: &Changes,
    now: SystemTime,
) -> Result<(FileRead, Digest), Uncacheable> {
    let (content, scan) = daemon
        .memo
        .scanned(&unit.here, path, now)
        .map_err(|error| Uncacheable::new(reason_of(&error), path.to_string_lossy()))?;
    let sloppy = unit.config.sloppiness;
    let overlooked = sloppy.include_file_ctime && sloppy.include_file_mtime;
    if !overlooked {
        // Without its change time, what a program says of the modification counts.
        let modified_ns = content.stamp.modified_ns;
        let stamp = match sloppy.include_file_ctime {
            true => Stamp { changed_ns: modified_ns, ..content.stamp },
            false => content.stamp,
        };
        changes.refuse(path, &Content { stamp, ..content })?;
    }
    let file = FileRead { path: path.to_owned(), scan, stamp: content.stamp };
    Ok((file, content.digest))
}

fn reason_of(error: &std::io::Error) -> Counter {
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ResourceBusy => {
            Counter::ModifiedInputFile
        }
        _ => Counter::BadInputFile,
    }
}

/// What the files that were read show to be beyond the manifest, or beyond rcache.
fn refuse_files(
    unit: &Unit,
    scanned: &[(FileRead, Digest)],
    inputs: &Inputs,
    now: SystemTime,
    behind: bool,
) -> Result<(), Obstacle> {
    let all = || scanned.iter().map(|(file, _)| file.scan.as_ref()).chain(&unit.definitions);
    if let Some(what) = all().find_map(unsupported_directive) {
        return Err(Uncacheable::new(Counter::UnsupportedCodeDirective, what).into());
    }
    if all().any(|scan| scan.opaque_line) && !unit.invocation.language.is_assembly() {
        // The text does not show what comes from a precompiled header.
        let is_told = |text: &Text| text.line_files.is_some() && !behind;
        ask_text(unit, inputs, is_told, "#line")?;
    }
    let files = scanned.iter().map(|(file, _)| file.scan.as_ref());
    if unit.assembles_unreported() && unit.might_assemble_files(files) {
        ask_text(unit, inputs, |text| !text.assembler_reads && !behind, ASSEMBLER_READS)?;
    }
    if !unit.invocation.language.is_preprocessed_by_the_compiler() {
        return Ok(());
    }
    // A macro of the command line can change the operand of a __has_include.
    let redefines = |scan: &Scan| {
        unit.definitions.iter().any(|definition| {
            definition.plain_macros.iter().any(|name| scan.operand_words.contains(name))
        })
    };
    let opaque = unit.definitions.iter().any(|scan| scan.opaque_has_include);
    let shows_time = inputs.shown() != Shown::Nothing && shown_day(unit, inputs, now).is_none();
    let depends_on_time = shows_time && all().any(|scan| unit.depends_on_time(scan));
    if opaque || is_traditional(unit) || depends_on_time || all().any(redefines) {
        return Err(Obstacle::NeedsText(NeedsText::default()));
    }
    Ok(())
}

/// Words that look like directives of modules, and are not compiled as such, do not count.
fn forget_modules(
    unit: &Unit,
    inputs: &Inputs,
    scanned: &mut [(FileRead, Digest)],
    behind: bool,
) -> Result<(), Obstacle> {
    let any = scanned.iter().any(|(file, _)| file.scan.module_directives);
    if inputs.search.is_none() || !any {
        return Ok(());
    }
    if unit.modules.is_some() && scanned[1..].iter().any(|(file, _)| file.scan.module_directives) {
        let what = "a module directive in a header";
        return Err(Uncacheable::new(Counter::CouldNotUseModules, what).into());
    }
    match inputs.text {
        _ if !unit.knows_modules() || unit.modules.is_some() => {}
        Some(text) if !text.has_modules && !behind => {}
        Some(_) => return Ok(()),
        None => return Err(Obstacle::NeedsText(NeedsText::default())),
    }
    for (file, _) in scanned.iter_mut().filter(|(file, _)| file.scan.module_directives) {
        file.scan = Arc::new(Scan { module_directives: false, ..file.scan.as_ref().clone() });
    }
    Ok(())
}

/// The day that the text shows, where that was the day from the start of the compile until now.
fn shown_day(unit: &Unit, inputs: &Inputs, now: SystemTime) -> Option<Day> {
    let Shown::Day(shown) = inputs.shown() else { return None };
    let is_day = |moment| day(&unit.environment, moment) == Some(shown);
    (is_day(inputs.start.stamp_clock) && is_day(now)).then_some(shown)
}

/// What the text decides once; where there is no text, it is to be made.
fn ask_text(
    unit: &Unit,
    inputs: &Inputs,
    is_fine: impl Fn(&Text) -> bool,
    what: &str,
) -> Result<(), Obstacle> {
    match inputs.text {
        Some(text) if is_fine(text) => Ok(()),
        None if unit.invocation.language.is_preprocessed_by_the_compiler() => {
            Err(Obstacle::NeedsText(NeedsText::default()))
        }
        _ => Err(Uncacheable::new(Counter::UnsupportedCodeDirective, what).into()),
    }
}

/// What the compiler looked for; gives the files that it knew by another name, or passed over.
fn add_probes(
    daemon: &Daemon,
    unit: &Unit,
    read: &[FileRead],
    search: &SearchPath,
    (precompiled, changes, now): (Precompiled, &Changes, SystemTime),
    reads: &mut Reads,
) -> Result<Vec<(FileRead, Digest)>, Obstacle> {
    let (appeared, private) = (RefCell::new(None), Cell::new(false));
    let mut look = |path: &Path| {
        let stat = match unit.here.stat(path) {
            Ok(stat) => stat,
            Err(error) => {
                private.set(private.get() | is_refusal(&error));
                return None;
            }
        };
        // A file that came while the compiler searched may have been missed or found.
        let folder =
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory;
        let is_new = || !precompiled::is_own_output(unit, &stat);
        if !folder
            && let Err(reason) = changes.refuse_found(path, &stat)
            && is_new()
        {
            appeared.borrow_mut().get_or_insert(reason);
        }
        Some(stat)
    };
    let cwd = &unit.call.caller.working_directory;
    let forced = &unit.invocation.forced_includes;
    let bounds = Bounds::from(Instant::now());
    let probes = absent_probes(read, forced, search, cwd, bounds, precompiled, &mut look);
    let probes = probes.map_err(obstacle)?;
    if private.get() {
        let what = "a header that only the compiler can look for";
        return Err(Uncacheable::new(Counter::BadInputFile, what).into());
    }
    if let Some(Uncacheable { detail, .. }) = appeared.take() {
        return Err(modified(format!("{detail} (it may have appeared meanwhile)")).into());
    }
    let mut inputs = Vec::new();
    for path in &probes.inputs {
        let (file, digest) = scan_unchanged(daemon, unit, path, changes, now)?;
        reads.files.push((path.clone(), digest));
        inputs.push((file, digest));
    }
    reads.probes = probes;
    Ok(inputs)
}

fn obstacle(opaque: Opaque) -> Obstacle {
    let path = opaque.path().to_string_lossy().into_owned();
    let (mut why, mut is_final) = (String::new(), false);
    let counter = match opaque {
        Opaque::HasInclude(_) | Opaque::ComputedInclude(_) => None,
        Opaque::ForcedInclude(_) => {
            why = format!("{path}, which an option includes, is not among the files read");
            None
        }
        Opaque::TooManyDirectives(_) => {
            why = format!("{path} has more directives than are followed");
            None
        }
        Opaque::TooMuchWork(_, what) => {
            why = format!("to follow the includes of {path} takes more {what} than a unit may");
            is_final = true;
            None
        }
        Opaque::Embed(_) | Opaque::PragmaDependency(_) => Some(Counter::UnsupportedCodeDirective),
        Opaque::Modules(_) => Some(Counter::CouldNotUseModules),
        Opaque::Changed(_) => Some(Counter::ModifiedInputFile),
    };
    match counter {
        Some(counter) => Obstacle::Uncacheable(Uncacheable::new(counter, path)),
        None => Obstacle::NeedsText(NeedsText { why, is_final }),
    }
}

fn save_options(unit: &Unit, kind: EntryKind, compile_time: Duration) -> SaveOptions {
    let compression = unit.config.compression.then_some(unit.config.compression_level);
    SaveOptions { compression, compile_time, kind }
}

fn save_result(
    cache: &Cache,
    unit: &Unit,
    key: Digest,
    compiled: Compiled,
) -> Result<Digest, Uncacheable> {
    let key = if compiled.printed() { key::look_key(key, unit.look) } else { key };
    let mut parts = compiled.parts;
    let facts = facts::encode_result(compiled.wall, compiled.maker);
    parts.push(Part { kind: PartKind::Facts, bytes: facts });
    let options = save_options(unit, EntryKind::Result, compiled.wall);
    let entry = Entry { parts };
    match compiled.large.is_empty() {
        true => cache.store.save(key, &entry, options),
        false => cache.store.save_large(key, &entry, &compiled.large, options),
    }
    .map_err(not_stored)?;
    Ok(key)
}

/// A build must not hear of it: the compile has succeeded.
fn not_stored(error: cache::store::StoreError) -> Uncacheable {
    tracing::warn!("cannot store a result: {error}");
    Uncacheable::new(Counter::InternalError, error.to_string())
}

fn save_manifest(
    cache: &Cache,
    unit: &Unit,
    known: &Known,
    recorded: Option<Recorded>,
    needs_text: Option<&str>,
) -> Result<(), Uncacheable> {
    let old = known.manifest();
    let results = match recorded {
        Some(newest) => with_newest(newest, &old),
        None => old.results().collect(),
    };
    write_manifest(cache, unit, &results, needs_text)?;
    cache.store.remember_source(unit.source_name(), unit.key);
    Ok(())
}

/// Lets the manifest lead to a result that came from elsewhere.
pub fn adopt(cache: &Cache, unit: &Unit, recorded: &Recorded) -> Result<(), Uncacheable> {
    save_manifest(cache, unit, &Known::load(cache, unit), Some(recorded.clone()), None)
}

/// Takes a result out of the unit's manifest.
pub fn forget(cache: &Cache, unit: &Unit, result: Digest) {
    let Some(entry) = cache.store.load(unit.key) else { return };
    let manifest = entry.part(PartKind::Manifest).and_then(Manifest::decode);
    let manifest = manifest.unwrap_or_default();
    let mut results: Vec<Recorded> = manifest.results().collect();
    let before = results.len();
    results.retain(|recorded| recorded.key != result);
    if results.is_empty() {
        cache.store.remove(unit.key, &entry);
    } else if results.len() < before {
        // Without it the manifest leads to nothing, which is a miss as well.
        let needs_text = facts::decode_needs_text(entry.part(PartKind::Facts));
        let _ = write_manifest(cache, unit, &results, needs_text.as_deref());
    }
}

fn write_manifest(
    cache: &Cache,
    unit: &Unit,
    results: &[Recorded],
    needs_text: Option<&str>,
) -> Result<(), Uncacheable> {
    let fields = unit.key_fields().0;
    let fields = fields.iter().map(|(label, value)| format!("{label}\t{value}\0"));
    let entry = Entry {
        parts: vec![
            Part { kind: PartKind::Manifest, bytes: Manifest::encode(results) },
            Part { kind: PartKind::Facts, bytes: facts::encode_needs_text(needs_text) },
            Part { kind: PartKind::KeyFields, bytes: fields.collect::<String>().into_bytes() },
        ],
    };
    let options = save_options(unit, EntryKind::Manifest, Duration::ZERO);
    cache.store.save(unit.key, &entry, options).map_err(not_stored)
}
