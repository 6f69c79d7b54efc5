//! Which commands a worker runs: allow-lists of compilers and, through the one option table, of arguments.
//!
//! The command that runs is built anew from the words that were understood, so that nothing which was
//! overlooked here can reach a compiler.

use compiler::invocation::{
    Argument, Context, Family, Invocation, Language, Phase, Role, Sloppiness,
};
use compiler::options;
use compiler::outcome::{Counter, Uncacheable};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Compilers, under the names that distributions give them.
const COMPILERS: [&[u8]; 6] = [b"gcc", b"g++", b"cc", b"c++", b"clang", b"clang++"];

/// A name of a compiler is no longer than this.
const NAME_BYTES_MAX: usize = 100;

/// Where a stock client may say that the compiler is; ccache and others write it out.
const FOLDERS: [&[u8]; 2] = [b"/usr/bin/", b"/bin/"];

/// gcc's words for a text that went through `-E -fdirectives-only`. They make no sense where rcache
/// caches, so the option table refuses them; here they are harmless.
const PREPROCESSED_WORDS: [&[u8]; 2] = [b"-fpreprocessed", b"-fdirectives-only"];

/// What the file is called that the client's text is written to, without its suffix, if the client's
/// own name for it will not do.
const PLAIN_STEM: &str = "rcache";

/// Stands for the source in questions that have none.
const NO_SOURCE: &str = "rcache.ii";

/// Why a command is not run; for standard error of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known of the compiler and of the request besides its words.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// gcc or clang.
    pub family: Family,
    /// Its major version.
    pub version_major: u32,
    /// Whether it is `g++` or `clang++`, by its name.
    pub cxx_driver: bool,
    /// Whether an rcache client asks. A stock client names the source as it was before it was
    /// preprocessed.
    pub native: bool,
}

/// A compile that may be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The options of the compile, without language, phase, input and output.
    pub options: Vec<OsString>,
    /// What the text is written in.
    pub language: Language,
    /// Object or assembly text.
    pub phase: Phase,
    /// A file name for the text.
    pub input_name: OsString,
    /// The options that choose the compiler proper, and `-x`: what its identity depends on.
    pub identity: Vec<OsString>,
    /// Whether the output may name the working directory.
    pub names_folder: bool,
}

impl Task {
    /// All arguments of the compiler.
    pub fn arguments(&self, more: &[OsString], input: &OsStr, output: &OsStr) -> Vec<OsString> {
        let mut all = self.options.clone();
        all.extend_from_slice(more);
        let phase = if self.phase == Phase::Assembly { "-S" } else { "-c" };
        all.extend(["-x", self.language.name(), phase].map(OsString::from));
        all.extend([input.to_owned(), "-o".into(), output.to_owned()]);
        all
    }
}

/// The bare name of the compiler that a command asks for.
pub fn compiler_name(word: &[u8]) -> Result<&OsStr, Refusal> {
    let name = FOLDERS.iter().find_map(|folder| word.strip_prefix(*folder)).unwrap_or(word);
    if name.len() <= NAME_BYTES_MAX && is_compiler_name(name) {
        return Ok(OsStr::from_bytes(name));
    }
    Err(Refusal(format!("{} is not a compiler that is run here", shown(word))))
}

/// Whether the name of a driver makes `.c` C++.
pub fn is_cxx_driver(name: &OsStr) -> bool {
    name.as_bytes().windows(2).any(|pair| pair == b"++")
}

/// `[TRIPLE-]NAME[-VERSION]`.
fn is_compiler_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(byte);
    if !name.iter().all(plain) || name.starts_with(b"-") || name.starts_with(b".") {
        return false;
    }
    let is_version = |part: &[u8]| {
        part.first().is_some_and(u8::is_ascii_digit)
            && part.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
    };
    let without_version = match name.iter().rposition(|&byte| byte == b'-') {
        Some(hyphen) if is_version(&name[hyphen + 1..]) => &name[..hyphen],
        _ => name,
    };
    COMPILERS.iter().any(|compiler| {
        without_version
            .strip_suffix(*compiler)
            .is_some_and(|before| before.is_empty() || before.ends_with(b"-") && before.len() > 1)
    })
}

/// Judges the words after the compiler's name.
pub fn judge(words: &[Vec<u8>], facts: &Facts) -> Result<Task, Refusal> {
    let is_ours = |word: &&Vec<u8>| PREPROCESSED_WORDS.contains(&word.as_slice());
    let ours: Vec<&Vec<u8>> = words.iter().filter(is_ours).collect();
    let rest = words.iter().filter(|word| !is_ours(word));
    let invocation = understand(rest, facts)?;
    if invocation.phase == Phase::SyntaxOnly {
        return Err(not_accepted("-fsyntax-only"));
    }
    if invocation.depfile.is_some() || !invocation.side_outputs.is_empty() {
        return Err(files_besides());
    }
    let language = language_of_text(&invocation, facts)?;
    let mut options: Vec<OsString> =
        ours.into_iter().map(|word| OsString::from_vec(word.clone())).collect();
    let mut identity = Vec::new();
    for argument in &invocation.arguments {
        match fate(argument, language, facts)? {
            Fate::Kept => options.extend(argument.words.iter().cloned()),
            Fate::Dropped => continue,
        }
        if argument.role == Role::Target {
            identity.extend(argument.words.iter().cloned());
        }
    }
    identity.extend(["-x".into(), source_language(language).name().into()]);
    Ok(Task {
        options,
        language,
        phase: invocation.phase,
        input_name: input_name(&invocation.source, language),
        identity,
        names_folder: invocation.uses_working_directory && !invocation.records_command_line,
    })
}

/// Judges the question which compiler there is: options that choose the target or the tools, and
/// `-x`. The answer is what [`Task::identity`] is for a compile.
pub fn judge_question(words: &[Vec<u8>], facts: &Facts) -> Result<Vec<OsString>, Refusal> {
    let complete = [b"-c".to_vec(), NO_SOURCE.into()];
    let invocation = understand(words.iter().chain(&complete), facts)?;
    let mut identity = Vec::new();
    for argument in &invocation.arguments {
        match argument.role {
            Role::Target => {
                if fate(argument, invocation.language, facts)? == Fate::Kept {
                    identity.extend(argument.words.iter().cloned());
                }
            }
            Role::Language | Role::Phase | Role::Source => {}
            _ => return Err(not_accepted(argument.words[0].to_string_lossy())),
        }
    }
    let told = words.iter().any(|word| word.starts_with(b"-x"));
    let language = match (told, facts.cxx_driver) {
        (true, _) => source_language(invocation.language),
        (false, true) => Language::Cxx,
        (false, false) => Language::C,
    };
    identity.extend(["-x".into(), language.name().into()]);
    Ok(identity)
}

/// Whether a text could make the compiler read other files: the best that can be told where nothing
/// confines it.
pub fn reads_files(source: &[u8]) -> bool {
    let scan = compiler::scan::scan(source);
    let searches = !scan.includes.is_empty()
        || !scan.has_includes.is_empty()
        || scan.computed_include
        || scan.opaque_has_include
        || scan.macro_has_include;
    searches || scan.assembler.might_read() || scan.embed || scan.pragma_dependency
}

fn understand<'w>(
    words: impl Iterator<Item = &'w Vec<u8>>,
    facts: &Facts,
) -> Result<Invocation, Refusal> {
    let words: Vec<OsString> = words.map(|word| OsString::from_vec(word.clone())).collect();
    // Before anything could read the file.
    if let Some(word) = words.iter().find(|word| word.as_bytes().starts_with(b"@")) {
        return Err(Refusal(format!("{} is not accepted", shown(word.as_bytes()))));
    }
    let context = Context {
        family: facts.family,
        version_major: facts.version_major,
        cwd: Path::new("/"),
        apparent_cwd: None,
        base_dir: Path::new(""),
        ignore_options: &[],
        sloppiness: Sloppiness::default(),
        cxx_driver: facts.cxx_driver,
    };
    let invocation = Invocation::parse(&words, &context).map_err(|why| refusal(&why))?;
    if invocation.native {
        return Err(Refusal("code for this very processor is not made for others".into()));
    }
    if !invocation.remote || !invocation.read_files.is_empty() {
        return Err(why_local(&invocation, facts.family));
    }
    Ok(invocation)
}

fn refusal(why: &Uncacheable) -> Refusal {
    match why.counter {
        Counter::UnsupportedCompilerOption => not_accepted(&why.detail),
        Counter::CalledForLink => Refusal("neither -c nor -S is given".into()),
        Counter::CalledForPreprocessing => Refusal("nothing is preprocessed here".into()),
        counter => {
            let words = counter.name().replace('_', " ");
            let detail =
                if why.detail.is_empty() { String::new() } else { shown_text(&why.detail) };
            Refusal(format!("not accepted: {words} {detail}").trim_end().to_owned())
        }
    }
}

fn not_accepted(option: impl AsRef<str>) -> Refusal {
    Refusal(format!("the option {} is not accepted", shown_text(option.as_ref())))
}

fn files_besides() -> Refusal {
    Refusal("files besides the output are not made here".into())
}

/// Why a call is not for other machines.
fn why_local(invocation: &Invocation, family: Family) -> Refusal {
    let is_local = |argument: &&Argument| {
        let found = options::lookup(argument.words[0].as_bytes(), family);
        found.is_some_and(|found| !found.row.remote())
    };
    match invocation.arguments.iter().find(is_local) {
        Some(argument) => not_accepted(argument.words[0].to_string_lossy()),
        // A listing of the assembler's, which no option of the driver's own stands for.
        None if !invocation.side_outputs.is_empty() => files_besides(),
        None => not_accepted(format!("-x {}", invocation.language.name())),
    }
}

/// The language of the text that came. That of a stock client has been preprocessed, whatever its
/// options say.
fn language_of_text(invocation: &Invocation, facts: &Facts) -> Result<Language, Refusal> {
    let language = invocation.language;
    if language.is_assembly() {
        return Err(Refusal("assembly is not accepted".into()));
    }
    let told = invocation.arguments.iter().any(|argument| argument.role == Role::Language);
    Ok(if facts.native && told { language } else { language.preprocessed() })
}

/// The language before preprocessing.
fn source_language(language: Language) -> Language {
    match language {
        Language::CPreprocessed => Language::C,
        Language::CxxPreprocessed => Language::Cxx,
        Language::ObjCPreprocessed => Language::ObjC,
        Language::ObjCxxPreprocessed => Language::ObjCxx,
        other => other,
    }
}

/// Options whose operand is text for the output, and may look like a path; nothing is opened for it.
const TEXTS: [&[u8]; 12] = [
    b"-fdebug-prefix-map=",
    b"-ffile-prefix-map=",
    b"-fmacro-prefix-map=",
    b"-fcoverage-prefix-map=",
    b"-fprofile-prefix-map=",
    b"-fdebug-compilation-dir",
    b"-ffile-compilation-dir=",
    b"-fcoverage-compilation-dir=",
    b"-frandom-seed=",
    b"-Wa,--debug-prefix-map",
    b"-D",
    b"-U",
];

/// Whether an argument could lead the compiler to a file: `-target ../../x` has clang look there for the
/// tools of that target.
fn leads_somewhere(argument: &Argument) -> bool {
    let first = argument.words[0].as_bytes();
    if TEXTS.iter().any(|text| first.starts_with(text)) {
        return false;
    }
    let operand = first.iter().position(|byte| *byte == b'=').map(|equals| &first[equals + 1..]);
    let operands = argument.words[1..].iter().map(|word| word.as_bytes());
    let is_folder = |operand: &[u8]| operand == b"." || operand == b"..";
    argument.words.iter().any(|word| word.as_bytes().contains(&b'/'))
        || operand.into_iter().chain(operands).any(is_folder)
}

#[derive(PartialEq, Eq)]
enum Fate {
    Kept,
    Dropped,
}

/// What becomes of an argument in the command that is run.
fn fate(argument: &Argument, language: Language, facts: &Facts) -> Result<Fate, Refusal> {
    let word = argument.words[0].as_bytes();
    let takes_path =
        options::lookup(word, facts.family).is_some_and(|found| found.row.has(options::PATH));
    match argument.role {
        // They have done their work, or are given anew.
        Role::Source | Role::Output | Role::Phase | Role::Language => Ok(Fate::Dropped),
        // `-Wa,-Ifolder,--noexecstack`: the rest counts, and the folder is out of reach.
        Role::Search if word.starts_with(b"-Wa,") || word == b"-Xassembler" => Ok(Fate::Kept),
        Role::Search => Ok(Fate::Dropped),
        Role::Target if word.starts_with(b"--sysroot") => Ok(Fate::Dropped),
        Role::Macro if language.is_preprocessed_by_the_compiler() => Ok(Fate::Kept),
        Role::Macro => Ok(Fate::Dropped),
        Role::Neutral if word == b"--" => Ok(Fate::Dropped),
        // Nothing is linked here.
        Role::Link => Ok(Fate::Kept),
        Role::Neutral | Role::Colour if !leads_somewhere(argument) => Ok(Fate::Kept),
        Role::Key | Role::Target if !takes_path && !leads_somewhere(argument) => Ok(Fate::Kept),
        Role::Key
        | Role::Target
        | Role::Neutral
        | Role::Colour
        | Role::ForcedInclude
        | Role::Dependency => Err(not_accepted(String::from_utf8_lossy(word))),
    }
}

/// The client's name for the source with the suffix of its language. The name can end up in the
/// output, where the text does not say where it is from.
fn input_name(source: &Path, language: Language) -> OsString {
    let suffix = match language {
        Language::C => ".c",
        Language::Cxx => ".cc",
        Language::ObjC => ".m",
        Language::ObjCxx => ".mm",
        Language::CPreprocessed => ".i",
        Language::ObjCPreprocessed => ".mi",
        Language::ObjCxxPreprocessed => ".mii",
        _ => ".ii",
    };
    let stem = source.file_stem().unwrap_or_default().as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(byte);
    let is_plain = stem.iter().all(plain) && stem.len() <= NAME_BYTES_MAX;
    let may_start = stem.first().is_some_and(|byte| !b"-.".contains(byte));
    let stem = if is_plain && may_start { stem } else { PLAIN_STEM.as_bytes() };
    OsString::from_vec([stem, suffix.as_bytes()].concat())
}

/// How much of a word is repeated to the client.
const SHOWN_CHARACTERS_MAX: usize = 80;

fn shown(word: &[u8]) -> String {
    shown_text(&String::from_utf8_lossy(word))
}

/// On one line, and not too long.
fn shown_text(text: &str) -> String {
    let mut shown: String =
        text.chars().take(SHOWN_CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().count() > SHOWN_CHARACTERS_MAX {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
