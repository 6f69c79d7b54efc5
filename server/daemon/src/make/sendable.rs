//! A text that another machine compiles into the same object: in which form, how it is made, and what
//! forbids it.
//!
//! Fully expanded text has lost columns, comments and macros, which debug information, warnings and
//! sanitizers depend on. So the includes alone are resolved here (gcc's `-fdirectives-only`, clang's
//! `-frewrite-includes`), which also costs less; macros are expanded where the unit is compiled.

use crate::make::local_slots::Purpose;
use crate::make::start::Start;
use crate::make::streams;
use crate::make::text::{Text, line_marks, precompiled_header};
use crate::serve::active::Stage;
use crate::serve::conversation::Conversation;
use crate::understand::compilers::{Stop, driver_name};
use crate::understand::unit::Unit;
use crate::{Compile, Daemon};
use compiler::depfile;
use compiler::invocation::{Family, Language, Role};
use compiler::scan::Scan;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use talk::launcher_protocol::{Run, descriptor_mark};

/// From gcc 11 on, raw strings and splices survive `-fdirectives-only` (gcc's PR 88475).
const GCC_SINCE: u32 = 11;

/// From gcc 13 on, pragmas whose operands are expanded survive `-fdirectives-only`.
const GCC_PRAGMAS_SINCE: u32 = 13;

/// From clang 13 on, `-fdebug-compilation-dir=` is an option of the driver.
const CLANG_SINCE: u32 = 13;

/// Variables that shape the compile itself, and do not travel.
const SHAPING_VARIABLES: [&str; 5] =
    ["CLANG_NO_DEFAULT_CONFIG", "GCC_ROOT", "GNUTARGET", "MACOSX_DEPLOYMENT_TARGET", "SDKROOT"];

/// How a text is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The source, which is preprocessed already.
    AsItIs,
    /// gcc's, with its macros in the text.
    DirectivesOnly,
    /// clang's, with its macros put before the text.
    RewrittenIncludes,
}

/// Why a unit is not sent, in words for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaysHere(pub String);

/// A text to be sent.
pub struct Sendable {
    /// The text; it needs no other file.
    pub text: Vec<u8>,
    /// Options that belong to its form.
    pub options: Vec<OsString>,
    /// The dependency file of the call, where it asks for one.
    pub rule: Option<Vec<u8>>,
    /// The files that it came from, besides the source.
    pub files: Vec<PathBuf>,
    /// Before any of them was read.
    pub start: Start,
}

/// The macros that clang defines by itself, for each set of options.
#[derive(Default)]
pub struct Predefined(Mutex<HashMap<Vec<OsString>, Arc<Vec<u8>>>>);

/// Sets of options; a large build has some hundreds.
const PREDEFINED_MAX: usize = 1_000;

/// What is known of the call alone to keep it here.
pub fn stays_here(unit: &Unit) -> Option<StaysHere> {
    let invocation = &unit.invocation;
    let stay = |why: &str| Some(StaysHere(why.to_owned()));
    let resolvable = unit.compiler.banner.family == Family::Gcc;
    if !(invocation.remote || invocation.remote_if_resolved && resolvable) {
        return stay("an option or the language ties it to this machine");
    }
    if let Some(name) = SHAPING_VARIABLES.iter().find(|name| unit.environment.get(name).is_some()) {
        return stay(name);
    }
    if !unit.config.prefix_command.is_empty() {
        return stay("prefix_command");
    }
    if unit.compiler.banner.family == Family::Clang && maps_macros(unit) {
        return stay("a map of paths for __FILE__, which clang ignores in a preprocessed text");
    }
    // Preprocessing settles where headers are, but not what the assembler searches.
    if invocation.arguments.iter().any(|argument| {
        argument.role == Role::Search && argument.words[0].as_bytes().starts_with(b"-Wa,")
    }) {
        return stay("-Wa,-I");
    }
    let c_language = matches!(invocation.language.preprocessed(), Language::CPreprocessed);
    if c_language && driver_name(&unit.call.compiler).as_bytes().ends_with(b"++") {
        return stay("C under a driver for C++");
    }
    // clang's text does not name the folder.
    let clang = unit.compiler.banner.family == Family::Clang;
    if clang && invocation.debug_info && unit.apparent_directory().is_none() {
        return stay("PWD means something to the compiler alone");
    }
    if form(unit).is_none() {
        return stay(
            "the compiler is too old to resolve includes alone, or has options for a preprocessor",
        );
    }
    let all = std::iter::once(unit.scan.as_ref()).chain(&unit.definitions);
    all.into_iter().find_map(|scan| unsendable(unit, scan)).and_then(stay)
}

fn maps_macros(unit: &Unit) -> bool {
    let mut words = unit.invocation.arguments.iter().flat_map(|argument| &argument.words);
    words.any(|word| {
        let word = word.as_bytes();
        word.starts_with(b"-fmacro-prefix-map") || word.starts_with(b"-ffile-prefix-map")
    })
}

fn form(unit: &Unit) -> Option<Form> {
    let banner = &unit.compiler.banner;
    let as_it_is = !unit.invocation.language.is_preprocessed_by_the_compiler();
    match banner.family {
        Family::Gcc if as_it_is => Some(Form::AsItIs),
        Family::Clang if as_it_is => {
            let known = banner.version_major >= CLANG_SINCE && !has_unused_options(unit);
            known.then_some(Form::AsItIs)
        }
        Family::Gcc => (banner.version_major >= GCC_SINCE).then_some(Form::DirectivesOnly),
        Family::Clang => (banner.version_major >= CLANG_SINCE).then_some(Form::RewrittenIncludes),
    }
}

/// What a file contains that would mean something else, or nothing, on another machine.
fn unsendable(unit: &Unit, scan: &Scan) -> Option<&'static str> {
    let clang = unit.compiler.banner.family == Family::Clang;
    if scan.assembler.could_read() {
        Some(".incbin or .include")
    } else if scan.any_time_macro() {
        Some("a macro of time")
    } else if scan.macro_state {
        Some("macros that are pushed, or that name the source")
    } else if scan.counter && clang {
        Some("__COUNTER__, which clang also counts in conditions")
    } else if !clang && loses_pragma(unit, scan) {
        Some("a pragma that gcc does not leave as it is")
    } else if !clang && scan.misleading && warns_of_indentation(unit) {
        Some("indentation that gcc may warn of, for which it looks at the source")
    } else if scan.embed || scan.pragma_dependency || scan.module_directives {
        Some("a directive that reads a file")
    } else {
        None
    }
}

fn loses_pragma(unit: &Unit, scan: &Scan) -> bool {
    let parallel = || {
        let mut words = unit.invocation.arguments.iter().flat_map(|argument| &argument.words);
        words.any(|word| {
            word.as_bytes().starts_with(b"-fopenmp") || word.as_bytes().starts_with(b"-fopenacc")
        })
    };
    let lost = scan.expanded_pragma || scan.parallel_pragma && parallel();
    scan.option_pragma || lost && unit.compiler.banner.version_major < GCC_PRAGMAS_SINCE
}

fn warns_of_indentation(unit: &Unit) -> bool {
    let mut words = unit.invocation.arguments.iter().flat_map(|argument| &argument.words);
    words.any(|word| {
        let word = word.as_bytes();
        matches!(word, b"-Wall" | b"--all-warnings")
            || word.starts_with(b"-Wmisleading")
            || word.starts_with(b"-Werror=misleading")
    })
}

/// gcc's own headers switch the target on for their own functions, and off again.
fn is_of_gcc(path: &Path) -> bool {
    let folders: Vec<&OsStr> = path.iter().rev().skip(1).take(4).collect();
    matches!(folders[..], [include, _, _, gcc] if include == "include" && gcc == "gcc")
}

/// Makes the text, in one preprocessor run; in none where the lookup has made one that will do.
pub fn make(
    compile: &mut Compile,
    text: Option<&mut Text>,
) -> Result<Result<Sendable, StaysHere>, Stop> {
    let Compile { daemon, conversation, cache, unit } = compile;
    if let Some(sendable) = text.and_then(from_lookup) {
        return Ok(Ok(sendable));
    }
    let form = form(unit).unwrap_or(Form::AsItIs);
    if form == Form::AsItIs {
        return Ok(as_it_is(unit));
    }
    streams::refuse(daemon, conversation, unit)?;
    let start = Start::before(unit);
    unit.progress.at(Stage::WaitingHere);
    let limit = unit.config.preprocess_slots();
    let slot = daemon.slots.acquire(Purpose::Preprocess, limit, *conversation)?;
    unit.progress.at(Stage::Preprocessing);
    let mut captured = conversation.run(order(unit, form), 1)?;
    drop(slot);
    daemon.memo.refresh();
    cache.counts.add_compile_time(captured.wall);
    let stay = |why: &str| Ok(Err(StaysHere(why.to_owned())));
    // The compiler says it again, in full, when the unit is compiled here.
    if !captured.succeeded() || !captured.stderr().is_ok_and(|text| text.is_empty()) {
        return stay("the preprocessor has something to say");
    }
    let (Ok(mut text), Ok(rule)) = (captured.stdout(), captured.extra(0)) else {
        return stay("the preprocessed text is too large");
    };
    if precompiled_header(unit, &text).is_some() {
        return stay("a precompiled header");
    }
    let Some(files) = files(unit, &text, &rule) else {
        return stay("what the preprocessor read cannot be told");
    };
    for path in &files {
        let Ok((_, scan)) = daemon.memo.scanned(&unit.here, path, unit.now) else {
            return stay("a file that was read is gone");
        };
        if let Some(why) = unsendable_file(unit, path, &scan) {
            return stay(why);
        }
    }
    if form == Form::RewrittenIncludes {
        let predefined = daemon.predefined.find(daemon, conversation, unit)?;
        match put_before(&unit.invocation.source, &predefined, &text) {
            Some(whole) => text = whole,
            None => return stay("the preprocessor's text has another form"),
        }
    }
    let rule = unit.invocation.depfile.is_some().then_some(rule);
    Ok(Ok(Sendable { text, options: options(unit, form), rule, files, start }))
}

fn unsendable_file(unit: &Unit, path: &Path, scan: &Scan) -> Option<&'static str> {
    // No compiler warns of what stands in a header of the system.
    let misleading = scan.misleading && !path.starts_with("/usr");
    let option_pragma = scan.option_pragma && !is_of_gcc(path);
    let forgiven;
    let mut scan = scan;
    if (misleading, option_pragma) != (scan.misleading, scan.option_pragma) {
        forgiven = Scan { misleading, option_pragma, ..scan.clone() };
        scan = &forgiven;
    }
    let named = !scan.line_files.is_empty() || scan.opaque_line;
    unsendable(unit, scan).or((named && lists_user_files(unit)).then_some("#line"))
}

/// The text of the lookup, where tokens alone decide.
fn from_lookup(text: &mut Text) -> Option<Sendable> {
    if !text.is_enough {
        return None;
    }
    Some(Sendable {
        text: std::mem::take(&mut text.bytes),
        options: Vec::new(),
        rule: text.rule.take(),
        files: text.files.clone(),
        start: text.start,
    })
}

/// A source that says whose text it is: else the object would name the file that is compiled.
fn as_it_is(unit: &Unit) -> Result<Sendable, StaysHere> {
    let gone = |_| StaysHere("the source is gone".to_owned());
    let start = Start::before(unit);
    let mut text = Vec::new();
    let mut file = unit.here.open_file(&unit.invocation.source).map_err(gone)?;
    file.read_to_end(&mut text).map_err(gone)?;
    let clang = unit.compiler.banner.family == Family::Clang;
    // gcc's text names the folder itself, or it would be the worker's.
    if unit.invocation.debug_info && !clang && !names_folder(&text) {
        return Err(StaysHere("a preprocessed source that does not name its folder".to_owned()));
    }
    if !text.starts_with(b"# ") {
        return Err(StaysHere("a preprocessed source without line marks".to_owned()));
    }
    if compiler::hasher::Digest::of(&text) != unit.source.digest {
        return Err(StaysHere("the source has just been changed".to_owned()));
    }
    let options = options(unit, Form::AsItIs);
    Ok(Sendable { text, options, rule: None, files: Vec::new(), start })
}

/// Whether the second line is gcc's mark for the working directory.
fn names_folder(text: &[u8]) -> bool {
    let second = text.split(|byte| *byte == b'\n').nth(1);
    second.is_some_and(|line| line.starts_with(b"# ") && line.ends_with(b"//\""))
}

/// clang warns of options that it does not use, as those for a preprocessor.
fn has_unused_options(unit: &Unit) -> bool {
    let unused =
        |role| matches!(role, Role::Dependency | Role::Macro | Role::Search | Role::ForcedInclude);
    unit.invocation.arguments.iter().any(|argument| unused(argument.role))
}

fn order(unit: &Unit, form: Form) -> Run {
    let rule = OsString::from_vec(descriptor_mark(0));
    let mut words = unit.invocation.depfile_arguments(&rule);
    match form {
        Form::DirectivesOnly => {
            words.extend(["-fdirectives-only", "-fpch-preprocess"].map(OsString::from));
        }
        Form::RewrittenIncludes => words.push("-frewrite-includes".into()),
        Form::AsItIs => {}
    }
    words.extend(unit.invocation.preprocess_arguments());
    Run {
        program: unit.call.compiler.clone(),
        arguments: words.into_iter().map(OsString::into_vec).collect(),
        ..Run::default()
    }
}

/// The options that the form needs where it is compiled.
fn options(unit: &Unit, form: Form) -> Vec<OsString> {
    let clang = unit.compiler.banner.family == Family::Clang;
    match form {
        Form::DirectivesOnly => vec!["-fdirectives-only".into()],
        // gcc's text names the folder itself.
        _ if clang && unit.invocation.debug_info => {
            let folder = unit.apparent_directory().unwrap_or(&unit.call.caller.working_directory);
            vec![[OsStr::new("-fdebug-compilation-dir="), folder.as_os_str()].into_iter().collect()]
        }
        _ => Vec::new(),
    }
}

/// Whether the dependency file leaves the system headers out.
fn lists_user_files(unit: &Unit) -> bool {
    unit.invocation.depfile.as_ref().is_some_and(|depfile| !depfile.system_headers)
}

/// The files that were read: as the dependency output names them; where that leaves some out, as
/// the line marks do, which are to be trusted only where no source writes such itself.
fn files(unit: &Unit, text: &[u8], rule: &[u8]) -> Option<Vec<PathBuf>> {
    let mut files = depfile::inputs(rule)?;
    if lists_user_files(unit) {
        files.extend(line_marks(text)?);
    }
    files.retain(|path| *path != unit.invocation.source);
    files.sort();
    files.dedup();
    Some(files)
}

/// Puts clang's own macros where gcc has them in its text: behind the mark that names the source.
/// clang's text begins with a mark that names no file. The first mark is also the unit's name in the
/// debug information, where clang leaves `./` out.
fn put_before(source: &Path, predefined: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let rest = text.strip_prefix(b"# 1 \"<built-in>\"\n")?;
    let name = source.as_os_str().as_bytes();
    if name.iter().any(|byte| matches!(byte, b'"' | b'\\' | b'\n') || !byte.is_ascii()) {
        return None;
    }
    let unit = name.strip_prefix(b"./").unwrap_or(name);
    let enter = [b"# 1 \"", unit, b"\"\n# 1 \"<built-in>\" 1\n"].concat();
    let leave = [b"# 1 \"", name, b"\" 2\n"].concat();
    Some([&enter, predefined, &leave, rest].concat())
}

impl Predefined {
    /// What `-E -dM` lists for the options of the unit, without its files.
    fn find(
        &self,
        daemon: &Daemon,
        conversation: &mut Conversation,
        unit: &Unit,
    ) -> Result<Arc<Vec<u8>>, Stop> {
        let kept = |role| matches!(role, Role::Key | Role::Target | Role::Macro);
        let arguments = unit.invocation.arguments.iter().filter(|argument| kept(argument.role));
        let mut words: Vec<OsString> =
            arguments.flat_map(|argument| argument.words.iter().cloned()).collect();
        words.push(unit.compiler.digest.to_string().into());
        words.push(unit.call.compiler.clone().into_os_string());
        words.extend(["-x".into(), unit.invocation.language.name().into()]);
        if let Some(known) = self.lock().get(&words) {
            return Ok(Arc::clone(known));
        }
        let own = words.len() - 4;
        let asked = words[..own].iter().chain(&words[own + 2..]).cloned();
        let rest = ["-E", "-dM", "/dev/null"].map(OsString::from);
        let order = Run {
            program: unit.call.compiler.clone(),
            arguments: asked.chain(rest).map(OsString::into_vec).collect(),
            ..Run::default()
        };
        let limit = unit.config.preprocess_slots();
        let slots = &daemon.slots;
        let slot = slots.acquire(Purpose::Preprocess, limit, conversation)?;
        // Whoever had the slot may have asked the same.
        if let Some(known) = self.lock().get(&words) {
            return Ok(Arc::clone(known));
        }
        let mut captured = conversation.run(order, 0)?;
        drop(slot);
        let found = Arc::new(captured.stdout()?);
        let mut known = self.lock();
        if known.len() >= PREDEFINED_MAX {
            known.clear();
        }
        known.insert(words, Arc::clone(&found));
        Ok(found)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<OsString>, Arc<Vec<u8>>>> {
        self.0.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

/// How a preprocessed text of this language is called where it is compiled.
pub fn file_name(language: Language) -> &'static str {
    match language.preprocessed() {
        Language::CPreprocessed => "rcache.i",
        Language::ObjCPreprocessed => "rcache.mi",
        Language::ObjCxxPreprocessed => "rcache.mii",
        _ => "rcache.ii",
    }
}
