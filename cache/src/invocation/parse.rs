//! One pass over the words, then the decisions that need all of them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::language::{self, Told};
use super::payload::{self, Verdict};
use super::{Argument, Context, Depfile, Invocation, KeyPart, Language, Role, base_dir, names};
use crate::entry::PartKind;
use crate::options::{
    self, DIRECTORY, Debug, DepfileOption, Effect, Family, LOCAL, Match, NATIVE, OUTPUT_NAME, PATH,
    POSITION, Payload, Phase, RECORD,
};
use crate::outcome::{Counter, Uncacheable};
use crate::response_file;

/// See [`Invocation::parse`].
pub(super) fn parse(arguments: &[OsString], context: &Context) -> Result<Invocation, Uncacheable> {
    let words = response_file::expand(arguments, context.cwd)?;
    let mut call = Call::new(context);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let is_option = word.as_bytes().starts_with(b"-") && word != "-";
        if call.only_operands || !is_option {
            call.operand(word);
        } else if word == "--" && context.family == Family::Clang {
            call.only_operands = true;
            call.push(vec![word], Role::Neutral, KeyPart::Nothing);
        } else {
            call.option(word, &mut words);
        }
    }
    call.decide()
}

/// What the words have said so far.
struct Call<'a> {
    context: &'a Context<'a>,
    arguments: Vec<Argument>,
    rewritten: bool,
    only_operands: bool,
    refusal: Option<Uncacheable>,
    only_preprocesses: bool,
    phases: Vec<Phase>,
    /// What the last `-x` said: `None` for an unknown language.
    told: Option<Told>,
    sources: Vec<(PathBuf, Option<Told>)>,
    outputs: Vec<PathBuf>,
    depfile: DepfileWords,
    debug: DebugWords,
    side_kinds: Vec<PartKind>,
    read_files: Vec<PathBuf>,
    forced_includes: Vec<PathBuf>,
    traits: options::Traits,
    has_compilation_directory: bool,
    architectures: usize,
    link_time: bool,
    bitcode: bool,
    native: bool,
    explicit_colour: bool,
    /// Whether the next `-Xclang` or `-Xassembler` holds the operand of the last one.
    pending_payload: Option<Payload>,
}

#[derive(Default)]
struct DepfileWords {
    all_headers: bool,
    user_headers: bool,
    file: Option<PathBuf>,
    /// `-Wp,-MD,FILE`: the file, and whether system headers are listed.
    through_preprocessor: Option<(PathBuf, bool)>,
    target: bool,
    phony: bool,
}

#[derive(Default)]
struct DebugWords {
    on: bool,
    off: bool,
    last_is_on: bool,
    detail: bool,
    split: bool,
    assembler: bool,
}

impl<'a> Call<'a> {
    fn new(context: &'a Context<'a>) -> Call<'a> {
        Call {
            context,
            arguments: Vec::new(),
            rewritten: false,
            only_operands: false,
            refusal: None,
            only_preprocesses: false,
            phases: Vec::new(),
            told: Some(Told::ByName),
            sources: Vec::new(),
            outputs: Vec::new(),
            depfile: DepfileWords::default(),
            debug: DebugWords::default(),
            side_kinds: Vec::new(),
            read_files: Vec::new(),
            forced_includes: Vec::new(),
            traits: 0,
            has_compilation_directory: false,
            architectures: 0,
            link_time: false,
            bitcode: false,
            native: false,
            explicit_colour: false,
            pending_payload: None,
        }
    }

    fn push(&mut self, words: Vec<OsString>, role: Role, key: KeyPart) {
        self.arguments.push(Argument { words, role, key });
    }

    /// Remembers the first reason not to cache.
    fn refuse(&mut self, counter: Counter, detail: &OsStr) {
        if self.refusal.is_none() {
            self.refusal = Some(Uncacheable::new(counter, detail.to_string_lossy()));
        }
    }

    fn operand(&mut self, word: OsString) {
        if word == "-" {
            self.refuse(Counter::NoInputFile, &word);
        }
        let word = self.rewrite(&word).unwrap_or(word);
        self.sources.push((PathBuf::from(&word), self.told));
        self.push(vec![word], Role::Source, KeyPart::Nothing);
    }

    fn option(&mut self, word: OsString, words: &mut impl Iterator<Item = OsString>) {
        let Some(found) = options::lookup(word.as_bytes(), self.context.family) else {
            if !self.is_ignored(&word) {
                self.refuse(Counter::UnsupportedCompilerOption, &word);
            }
            self.traits |= LOCAL;
            self.push(vec![word], Role::Key, KeyPart::Nothing);
            return;
        };
        let mut spelled = vec![word];
        if found.takes_next {
            match words.next() {
                Some(next) => spelled.push(next),
                None => self.refuse(Counter::BadCompilerArguments, &spelled[0].clone()),
            }
        }
        let operand = self.operand_of(&mut spelled, &found);
        if !found.negated {
            self.traits |= found.row.traits;
        }
        let (role, key) = self.apply(&found, &spelled, operand.as_bytes());
        let ignored = key == KeyPart::Words && self.is_ignored(&spelled[0]);
        self.push(spelled, role, if ignored { KeyPart::Nothing } else { key });
    }

    /// The operand, after `base_dir` where it is a path; empty where there is none.
    fn operand_of(&mut self, spelled: &mut [OsString], found: &Match) -> OsString {
        let (at, start) = match found.operand_at {
            Some(start) => (0, start),
            None => (1, 0),
        };
        let Some(word) = spelled.get(at) else { return OsString::new() };
        let operand = OsStr::from_bytes(&word.as_bytes()[start..]).to_owned();
        if !found.row.has(PATH) {
            return operand;
        }
        let Some(relative) = self.rewrite(&operand) else { return operand };
        let joined = [&word.as_bytes()[..start], relative.as_bytes()].concat();
        spelled[at] = OsString::from_vec(joined);
        relative
    }

    fn rewrite(&mut self, path: &OsStr) -> Option<OsString> {
        let relative =
            base_dir::relative(Path::new(path), self.context.base_dir, self.context.cwd)?;
        self.rewritten = true;
        Some(relative.into_os_string())
    }

    fn is_ignored(&self, word: &OsStr) -> bool {
        self.context.ignore_options.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => word.as_bytes().starts_with(prefix.as_bytes()),
            None => word == pattern.as_str(),
        })
    }

    fn apply(&mut self, found: &Match, spelled: &[OsString], operand: &[u8]) -> (Role, KeyPart) {
        let path = || PathBuf::from(OsStr::from_bytes(operand));
        let word = &spelled[0];
        match found.row.effect {
            Effect::Counts => {}
            Effect::Values(values) => {
                if !found.negated && !values.iter().any(|value| value.as_bytes() == operand) {
                    self.refuse(Counter::UnsupportedCompilerOption, word);
                }
            }
            Effect::Warning => {
                if !operand.starts_with(b"no-") {
                    self.traits |= POSITION;
                }
            }
            Effect::Target => {
                self.native |= found.row.has(NATIVE) && operand.starts_with(b"native");
                return (Role::Target, KeyPart::Words);
            }
            Effect::Arch => {
                self.architectures += 1;
                return (Role::Target, KeyPart::Words);
            }
            Effect::Search => return (Role::Search, KeyPart::Words),
            Effect::Macro => return (Role::Macro, KeyPart::Words),
            Effect::ForcedInclude => {
                self.forced_includes.push(path());
                return (Role::ForcedInclude, KeyPart::Words);
            }
            Effect::Link => return (Role::Link, KeyPart::Words),
            Effect::Neutral => return (Role::Neutral, KeyPart::Nothing),
            Effect::Colour => {
                self.explicit_colour = true;
                return (Role::Colour, KeyPart::Words);
            }
            Effect::Debug(debug) => self.debug_option(debug, found.negated),
            Effect::CompilationDirectory => self.has_compilation_directory = true,
            Effect::Side(kind) => self.side_output_option(kind, found.negated, word),
            Effect::Lto => self.link_time |= !found.negated,
            Effect::Bitcode => self.bitcode = true,
            Effect::ReadFile => self.read_files.push(path()),
            Effect::Depfile(option) => return self.depfile_option(option, path(), word),
            Effect::Phase(phase) => {
                self.phases.push(phase);
                return (Role::Phase, KeyPart::Words);
            }
            Effect::Output => {
                self.output_option(path(), word);
                return (Role::Output, KeyPart::Nothing);
            }
            Effect::Language => {
                self.told = language::from_option(operand);
                return (Role::Language, KeyPart::Words);
            }
            Effect::Payload(tool) => return self.payload(tool, word, operand),
            Effect::RandomSeed if self.context.sloppiness.random_seed => {
                return (Role::Key, KeyPart::Nothing);
            }
            Effect::RandomSeed => {}
            Effect::Refuse(Counter::CalledForPreprocessing) => self.only_preprocesses = true,
            Effect::Refuse(counter) if !found.negated => self.refuse(counter, word),
            Effect::Refuse(_) => {}
        }
        (Role::Key, KeyPart::Words)
    }

    fn debug_option(&mut self, debug: Debug, negated: bool) {
        match debug {
            Debug::On => {
                self.debug.on = true;
                self.debug.last_is_on = true;
            }
            Debug::Off => {
                self.debug.off = true;
                self.debug.last_is_on = false;
            }
            Debug::Detail => self.debug.detail |= !negated,
            Debug::Split => self.debug.split = !negated,
        }
    }

    fn side_output_option(&mut self, kind: PartKind, negated: bool, word: &OsStr) {
        if negated {
            // Which of several such options it takes back differs between compilers.
            self.refuse(Counter::UnsupportedCompilerOption, word);
        } else if !self.side_kinds.contains(&kind) {
            self.side_kinds.push(kind);
        }
    }

    fn output_option(&mut self, path: PathBuf, word: &OsStr) {
        if path == Path::new("-") {
            self.refuse(Counter::OutputToStdout, word);
        } else if path.file_name().is_none() || path.as_os_str().as_bytes().ends_with(b"/") {
            self.refuse(Counter::BadOutputFile, path.as_os_str());
        }
        self.outputs.push(path);
    }

    fn depfile_option(
        &mut self,
        option: DepfileOption,
        path: PathBuf,
        word: &OsStr,
    ) -> (Role, KeyPart) {
        let mut key = KeyPart::Words;
        match option {
            DepfileOption::AllHeaders => self.depfile.all_headers = true,
            DepfileOption::UserHeaders => self.depfile.user_headers = true,
            DepfileOption::Target => self.depfile.target = true,
            DepfileOption::PhonyTargets => self.depfile.phony = true,
            DepfileOption::File => {
                if path == Path::new("-") {
                    self.refuse(Counter::OutputToStdout, word);
                } else if path.file_name().is_none() {
                    self.refuse(Counter::BadCompilerArguments, word);
                }
                self.depfile.file = Some(path);
                key = KeyPart::Nothing;
            }
        }
        (Role::Dependency, key)
    }
}

impl Call<'_> {
    fn payload(&mut self, tool: Payload, word: &OsStr, operand: &[u8]) -> (Role, KeyPart) {
        if tool == Payload::Preprocessor && word.as_bytes().starts_with(b"-Wp,") {
            if let Some(answer) = self.depfile_through_preprocessor(operand) {
                return answer;
            }
        }
        let is_list = matches!(word.as_bytes(), [b'-', b'W', ..]);
        let mut role = Role::Key;
        for (at, part) in operand.split(|&byte| is_list && byte == b',').enumerate() {
            if at > 0 || !is_list {
                // `-Wa,a,b` and `-Xassembler a` may share an operand's halves.
            }
            if self.pending_payload.take() == Some(tool) {
                continue;
            }
            let verdict = match tool {
                Payload::Assembler => payload::assembler(part),
                Payload::Preprocessor => payload::preprocessor(part),
                Payload::Frontend => payload::frontend(part),
                Payload::Llvm => payload::llvm(part),
            };
            match verdict {
                Verdict::Counts => {}
                Verdict::CountsWithNext => self.pending_payload = Some(tool),
                Verdict::Debug => self.debug.assembler = true,
                Verdict::Macro => role = Role::Macro,
                Verdict::Search => role = Role::Search,
                Verdict::Refused => {
                    let detail = [word.as_bytes(), b" ", part].concat();
                    self.refuse(Counter::UnsupportedCompilerOption, OsStr::from_bytes(&detail));
                }
            }
        }
        (role, KeyPart::Words)
    }

    /// `-Wp,-MD,FILE` and `-Wp,-MMD,FILE`, as the Linux kernel writes them.
    fn depfile_through_preprocessor(&mut self, operand: &[u8]) -> Option<(Role, KeyPart)> {
        let parts: Vec<&[u8]> = operand.split(|&byte| byte == b',').collect();
        let (style, system_headers, file) = match parts[..] {
            [b"-MD", file] => ("-Wp,-MD", true, file),
            [b"-MMD", file] => ("-Wp,-MMD", false, file),
            _ => return None,
        };
        let path = PathBuf::from(OsStr::from_bytes(file));
        if path.file_name().is_none() || file == b"-" || self.depfile.through_preprocessor.is_some()
        {
            self.refuse(Counter::BadCompilerArguments, OsStr::from_bytes(operand));
        }
        self.depfile.through_preprocessor = Some((path, system_headers));
        Some((Role::Dependency, KeyPart::Text(style)))
    }
}

/// The decisions that need all words.
impl Call<'_> {
    fn decide(mut self) -> Result<Invocation, Uncacheable> {
        let (source, language) = self.decide_source()?;
        let phase = self.decide_phase(&source)?;
        let language = self.decide_refusals(language)?;
        let output = self.decide_output(&source, phase)?;
        let depfile = self.decide_depfile(output.as_deref(), language, phase)?;
        let side_outputs = self.decide_side_outputs(output.as_deref(), language, phase)?;
        self.count_names(depfile.as_ref(), language);
        let debug_info =
            self.debug.last_is_on || self.debug.detail || self.debug.split || self.debug.assembler;
        let has = |traits| self.traits & traits != 0;
        let names_directory = has(DIRECTORY)
            && !(self.context.sloppiness.gcno_cwd && self.side_kinds == [PartKind::Gcno]);
        let debug_names_directory = debug_info && !self.has_compilation_directory;
        let is_assembly = language.is_assembly();
        Ok(Invocation {
            rewritten: self.rewritten,
            language,
            phase,
            output,
            depfile,
            debug_info,
            uses_working_directory: names_directory || debug_names_directory,
            needs_only_tokens: !has(POSITION) && !debug_info,
            native: self.native,
            records_command_line: has(RECORD),
            remote: !has(LOCAL) && !self.native && side_outputs.is_empty() && !is_assembly,
            side_outputs,
            explicit_colour: self.explicit_colour,
            arguments: self.arguments,
            source,
            read_files: self.read_files,
            forced_includes: self.forced_includes,
        })
    }

    fn decide_source(&self) -> Result<(PathBuf, Option<Told>), Uncacheable> {
        let [(source, told), others @ ..] = &self.sources[..] else {
            return Err(Counter::NoInputFile.into());
        };
        if self.only_preprocesses {
            return Err(Counter::CalledForPreprocessing.into());
        }
        let told = match told {
            Some(Told::ByName) => {
                language::from_name(source, self.context.family, self.context.cxx_driver)
            }
            told => *told,
        };
        if told == Some(Told::Header) {
            return Err(Uncacheable::new(
                Counter::CouldNotUsePrecompiledHeader,
                source.to_string_lossy(),
            ));
        }
        if !others.is_empty() && !self.phases.is_empty() {
            return Err(Counter::MultipleSourceFiles.into());
        }
        Ok((source.clone(), told))
    }

    fn decide_phase(&self, source: &Path) -> Result<Phase, Uncacheable> {
        if let Some(&phase) = self.phases.iter().max() {
            return Ok(phase);
        }
        let name = source.file_name().unwrap_or_default();
        if name.as_bytes().starts_with(b"conftest.") {
            return Err(Counter::AutoconfTest.into());
        }
        Err(Counter::CalledForLink.into())
    }

    fn decide_refusals(&mut self, told: Option<Told>) -> Result<Language, Uncacheable> {
        if let Some(refusal) = self.refusal.take() {
            return Err(refusal);
        }
        if self.architectures > 1 || self.pending_payload.is_some() {
            return Err(Counter::BadCompilerArguments.into());
        }
        match told {
            Some(Told::Language(language)) => Ok(language),
            _ => Err(Counter::UnsupportedSourceLanguage.into()),
        }
    }

    fn decide_output(&self, source: &Path, phase: Phase) -> Result<Option<PathBuf>, Uncacheable> {
        match &self.outputs[..] {
            [] if phase == Phase::SyntaxOnly => Ok(None),
            [] => match names::default_output(source, phase, self.bitcode) {
                Some(output) => Ok(Some(output)),
                None => Err(Uncacheable::new(Counter::BadOutputFile, source.to_string_lossy())),
            },
            [_] if phase == Phase::SyntaxOnly => Ok(None),
            [output] => Ok(Some(output.clone())),
            _ => Err(Uncacheable::new(Counter::BadCompilerArguments, "-o")),
        }
    }

    fn decide_depfile(
        &self,
        output: Option<&Path>,
        language: Language,
        phase: Phase,
    ) -> Result<Option<Depfile>, Uncacheable> {
        let words = &self.depfile;
        let bad = |detail: &str| Err(Uncacheable::new(Counter::BadCompilerArguments, detail));
        let plain = words.all_headers || words.user_headers;
        if words.through_preprocessor.is_some() && (plain || words.file.is_some()) {
            return bad("-Wp,-MD");
        }
        if !plain && words.through_preprocessor.is_none() {
            let useless = words.file.is_some() || words.target || words.phony;
            return if useless { bad("-MF without -MD") } else { Ok(None) };
        }
        if !language.is_preprocessed_by_the_compiler() {
            return Ok(None);
        }
        let (path, system_headers) = match (&words.through_preprocessor, &words.file) {
            (Some((path, system_headers)), _) => (path.clone(), *system_headers),
            (None, Some(path)) => (path.clone(), !words.user_headers),
            (None, None) => match output {
                Some(output) if phase != Phase::SyntaxOnly && !is_null(output) => {
                    let Some(path) = names::default_depfile(output) else { return bad("-MD") };
                    (path, !words.user_headers)
                }
                // Where it goes then differs between compilers and their versions.
                _ => return bad("-MD without -MF"),
            },
        };
        Ok(Some(Depfile { path, system_headers, has_explicit_target: words.target }))
    }

    fn decide_side_outputs(
        &mut self,
        output: Option<&Path>,
        language: Language,
        phase: Phase,
    ) -> Result<Vec<(PartKind, PathBuf)>, Uncacheable> {
        let family = self.context.family;
        let mut kinds = self.side_kinds.clone();
        if language.is_assembly() {
            kinds.clear();
        }
        if self.debug.split && self.splits_debug_info(phase)? {
            kinds.push(PartKind::Dwo);
        }
        if kinds.is_empty() {
            return Ok(Vec::new());
        }
        let refused = |detail: &str| Uncacheable::new(Counter::UnsupportedCompilerOption, detail);
        if self.link_time || self.bitcode {
            return Err(refused("side outputs with link-time optimisation"));
        }
        let output = output
            .filter(|output| !is_null(output))
            .ok_or_else(|| refused("side outputs without an output"))?;
        kinds
            .into_iter()
            .map(|kind| {
                let path = names::side_output(output, extension(kind), family);
                path.map(|path| (kind, path)).ok_or_else(|| refused("side outputs"))
            })
            .collect()
    }

    /// Whether `-gsplit-dwarf` writes a file. gcc takes it as a request for debug information,
    /// clang only where another option asks for that.
    fn splits_debug_info(&self, phase: Phase) -> Result<bool, Uncacheable> {
        if self.context.family == Family::Gcc {
            return Ok(phase == Phase::Object);
        }
        match (self.debug.on, self.debug.off, phase) {
            (true, false, Phase::Object) => Ok(true),
            (false, _, _) if !self.debug.detail => Ok(false),
            _ => Err(Uncacheable::new(Counter::UnsupportedCompilerOption, "-gsplit-dwarf")),
        }
    }

    /// Makes names count where an output holds them.
    fn count_names(&mut self, depfile: Option<&Depfile>, language: Language) {
        let everything = self.traits & RECORD != 0;
        let rule_names_output = depfile.is_some_and(|depfile| !depfile.has_explicit_target);
        let output_counts = everything || rule_names_output || self.traits & OUTPUT_NAME != 0;
        let default_output = self.outputs.is_empty();
        let through_preprocessor = self.depfile.through_preprocessor.is_some();
        // clang's warning about an unused -MF names its file.
        let dependency_counts =
            everything || depfile.is_none() && !language.is_preprocessed_by_the_compiler();
        for argument in &mut self.arguments {
            let counts = match argument.role {
                Role::Output => output_counts,
                Role::Source => {
                    output_counts && (default_output || through_preprocessor) || everything
                }
                Role::Dependency => dependency_counts,
                _ => everything,
            };
            if counts {
                argument.key = KeyPart::Words;
            }
        }
    }
}

fn extension(kind: PartKind) -> &'static str {
    match kind {
        PartKind::Dwo => ".dwo",
        PartKind::Gcno => ".gcno",
        PartKind::StackUsage => ".su",
        _ => ".ci",
    }
}

fn is_null(output: &Path) -> bool {
    output == Path::new("/dev/null")
}
