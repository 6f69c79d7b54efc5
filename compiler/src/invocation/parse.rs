//! One pass over the words: what each says, and the argument that it becomes.

mod decide;
mod sides;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::base_dir::Base;
use super::language::{self, Told};
use super::payload::{self, Verdict};
use super::profile::{self, Profiles};
use super::{Argument, Context, Invocation, KeyPart, Role};
use crate::file_memo::is_spelled_privately;
use crate::options::{
    self, DIRECTORY, Debug, DepfileOption, Effect, Family, LOCAL, Match, ModuleOption, NATIVE,
    OUTPUT_NAME, PATH, POSITION, Payload, Phase, Shape,
};
use crate::outcome::{Counter, Uncacheable};
use crate::part::PartKind;
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
        } else if let Some((rule, others)) = split_rule(&word, context.family) {
            call.split = true;
            call.rewritten = true;
            call.option(rule, &mut words);
            call.option(others, &mut words);
        } else {
            call.option(word, &mut words);
        }
    }
    call.decide()
}

/// gcc's `-Wp,-MMD,FILE,…`: the rule and the rest, each as a word.
fn split_rule(word: &OsStr, family: Family) -> Option<(OsString, OsString)> {
    let bytes = word.as_bytes();
    let operand = bytes.strip_prefix(b"-Wp,-MD,").or_else(|| bytes.strip_prefix(b"-Wp,-MMD,"))?;
    let file = operand.iter().position(|&byte| byte == b',').filter(|_| family == Family::Gcc)?;
    let at = bytes.len() - operand.len() + file;
    let rest = [b"-Wp", &bytes[at..]].concat();
    Some((OsString::from_vec(bytes[..at].to_vec()), OsString::from_vec(rest)))
}

/// What the words have said so far.
struct Call<'a> {
    context: &'a Context<'a>,
    base: Base<'a>,
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
    profiles: Profiles,
    /// `-fpreprocessed`.
    says_preprocessed: bool,
    /// Further outputs with names of their own.
    side_files: Vec<(PartKind, PathBuf)>,
    /// `-save-temps`, and whether in the folder of the output.
    save_temps: Option<bool>,
    /// `-fno-lto`.
    lto_taken_back: bool,
    /// One word of the call was taken for two.
    split: bool,
    /// `-Wa,-a…=FILE`.
    assembler_listing: Option<PathBuf>,
    /// `-Wa,-a…` in all: where one names no file, another must.
    lists_assembly: bool,
    /// The list quotes the sources under the names of the debug information.
    lists_sources: bool,
    forced_includes: Vec<PathBuf>,
    modules: ModuleWords,
    /// `-include-pch`.
    precompiled: Vec<PathBuf>,
    /// `-Xclang -emit-pch`.
    emits_precompiled: bool,
    /// `-fno-pch-timestamp`.
    stamps_no_inputs: bool,
    traits: options::Traits,
    names_directory: bool,
    has_compilation_directory: bool,
    architectures: usize,
    link_time: bool,
    bitcode: bool,
    native: bool,
    explicit_colour: bool,
    /// `-w`.
    no_warnings: bool,
    /// What the next `-Xclang` or `-Xassembler` holds, where it is the operand of the last one.
    pending_payload: Option<Pending>,
}

/// The operand that the last payload word wants.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Pending {
    tool: Payload,
    role: Role,
    what: Wanted,
}

/// What the operand is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// A value that counts as it is.
    Value,
    /// An option of LLVM.
    LlvmOption,
    /// A file that is included before the source.
    ForcedInclude,
    /// A precompiled header.
    Precompiled,
}

#[derive(Default)]
struct DepfileWords {
    all_headers: bool,
    user_headers: bool,
    file: Option<PathBuf>,
    /// `-Wp,-MD,FILE`: the file, and whether system headers are listed.
    through_preprocessor: Option<(PathBuf, bool)>,
    target: bool,
    /// Those that the driver is told.
    targets: Vec<PathBuf>,
    phony: bool,
}

#[derive(Default)]
struct ModuleWords {
    on: bool,
    mapper: Option<PathBuf>,
    /// `-fdeps-format=`.
    tells: bool,
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
            base: Base::new(context.base_dir, context.cwd, context.apparent_cwd),
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
            profiles: Profiles::default(),
            says_preprocessed: false,
            side_files: Vec::new(),
            save_temps: None,
            lto_taken_back: false,
            split: false,
            assembler_listing: None,
            lists_assembly: false,
            lists_sources: false,
            forced_includes: Vec::new(),
            modules: ModuleWords::default(),
            precompiled: Vec::new(),
            emits_precompiled: false,
            stamps_no_inputs: false,
            traits: 0,
            names_directory: false,
            has_compilation_directory: false,
            architectures: 0,
            link_time: false,
            bitcode: false,
            native: false,
            explicit_colour: false,
            no_warnings: false,
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
        self.refuse_private(&word, Counter::BadInputFile);
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
            self.names_directory |= found.row.has(DIRECTORY) && !self.is_forgiven(found.row.name);
        }
        let (role, key) = self.apply(&found, &spelled, operand.as_bytes());
        let key = match (key, found.operand_at) {
            (KeyPart::Words, _) if self.is_ignored(&spelled[0]) => KeyPart::Nothing,
            (KeyPart::Words, Some(length)) if is_also_separate(&found, role) => {
                KeyPart::Joined(length)
            }
            _ => key,
        };
        self.push(spelled, role, key);
    }

    /// The operand, after `base_dir` where it is a path; empty where there is none.
    fn operand_of(&mut self, spelled: &mut [OsString], found: &Match) -> OsString {
        let (at, start) = match found.operand_at {
            Some(start) => (0, start),
            None => (1, 0),
        };
        let Some(word) = spelled.get(at) else { return OsString::new() };
        let operand = OsStr::from_bytes(&word.as_bytes()[start..]).to_owned();
        // The output has to wait for the other words.
        if !found.row.has(PATH) || found.row.effect == Effect::Output {
            return operand;
        }
        let is_output = matches!(found.row.effect, Effect::Depfile(DepfileOption::File));
        let counter = if is_output { Counter::BadOutputFile } else { Counter::BadInputFile };
        self.refuse_private(&operand, counter);
        let Some(relative) = self.rewrite(&operand) else { return operand };
        let joined = [&word.as_bytes()[..start], relative.as_bytes()].concat();
        spelled[at] = OsString::from_vec(joined);
        relative
    }

    /// A descriptor of the caller, as `/dev/fd/3`, is nothing that the daemon could look at, and may be
    /// there to be read once.
    fn refuse_private(&mut self, path: &OsStr, counter: Counter) {
        if is_spelled_privately(Path::new(path)) {
            self.refuse(counter, path);
        }
    }

    fn rewrite(&mut self, path: &OsStr) -> Option<OsString> {
        let relative = self.base.relative(Path::new(path))?;
        self.rewritten = true;
        Some(relative.into_os_string())
    }

    /// Coverage notes hold the working directory; `--coverage` also puts it into the object.
    fn is_forgiven(&self, name: &str) -> bool {
        name == "-ftest-coverage" && self.context.sloppiness.gcno_cwd
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
        self.note(found, word, operand);
        self.no_warnings |= ["-w", "--no-warnings"].contains(&found.row.name);
        let role = match found.row.effect {
            Effect::Depfile(option) => return self.depfile_option(option, path(), word),
            Effect::Payload(tool) => return self.payload(tool, word, operand),
            Effect::Output => {
                self.output_option(path(), word);
                return (Role::Output, KeyPart::Nothing);
            }
            Effect::RandomSeed if self.context.sloppiness.random_seed => {
                return (Role::Key, KeyPart::Nothing);
            }
            Effect::Neutral => return (Role::Neutral, KeyPart::Nothing),
            // It counts where something was printed, with all that shapes the look of that.
            Effect::Colour if is_colour_alone(word) => return (Role::Colour, KeyPart::Nothing),
            Effect::Target | Effect::Arch => Role::Target,
            Effect::Search => Role::Search,
            Effect::Macro => Role::Macro,
            Effect::ForcedInclude | Effect::Precompiled => Role::ForcedInclude,
            Effect::Link => Role::Link,
            Effect::Colour => Role::Colour,
            // None shapes the text that a preprocessor run is to give, and some write files in it.
            Effect::Phase(_)
            | Effect::Module(ModuleOption::Format)
            | Effect::Listing
            | Effect::SideFile(_)
            | Effect::SaveTemps { .. }
            | Effect::Side(PartKind::TimeTrace | PartKind::OptimizationRecord) => Role::Phase,
            Effect::Language => Role::Language,
            _ => Role::Key,
        };
        (role, KeyPart::Words)
    }

    /// Remembers what the option says about the call as a whole.
    fn note(&mut self, found: &Match, word: &OsStr, operand: &[u8]) {
        let path = || PathBuf::from(OsStr::from_bytes(operand));
        match found.row.effect {
            Effect::Values(values) if !values.iter().any(|value| value.as_bytes() == operand) => {
                self.refuse(Counter::UnsupportedCompilerOption, word);
            }
            Effect::Warning if !operand.starts_with(b"no-") => self.traits |= POSITION,
            Effect::Target => {
                self.native |= found.row.has(NATIVE) && operand.starts_with(b"native");
            }
            Effect::Arch => self.architectures += 1,
            Effect::ForcedInclude => self.forced_includes.push(path()),
            Effect::Module(option) => self.module_option(option, found.negated, path(), word),
            Effect::Precompiled if self.context.family == Family::Clang => {
                self.precompiled.push(path());
            }
            Effect::Precompiled => self.refuse(Counter::CouldNotUsePrecompiledHeader, word),
            Effect::Colour => self.explicit_colour = true,
            Effect::Debug(debug) => self.debug_option(debug, found.negated),
            Effect::CompilationDirectory => self.has_compilation_directory = true,
            Effect::Side(kind) => self.side_output_option(kind, found.negated, word),
            Effect::SideFile(kind) => self.side_file_option(kind, path(), word),
            Effect::SaveTemps { beside_output } if !found.negated => {
                self.save_temps = Some(beside_output);
            }
            Effect::Lto => {
                self.link_time |= !found.negated;
                self.lto_taken_back |= found.negated;
            }
            Effect::Bitcode => self.bitcode = true,
            Effect::ReadFile => self.read_files.push(path()),
            Effect::Phase(phase) => self.phases.push(phase),
            Effect::Language => self.told = language::from_option(operand),
            Effect::Refuse(Counter::CalledForPreprocessing) => self.only_preprocesses = true,
            Effect::Profile if !found.negated => {
                self.profiles.used = true;
                self.profiles.places.extend((!operand.is_empty()).then(path));
                if found.row.name == "-fauto-profile" {
                    self.profiles.places.push(profile::GCC_SAMPLES.into());
                }
            }
            Effect::ProfileFolder => self.profiles.places.push(path()),
            Effect::ProfilePrefix => self.profiles.prefix = Some(path()),
            Effect::PluginArgument if names_a_file(operand) => {
                self.refuse(Counter::UnsupportedCompilerOption, word);
            }
            Effect::Preprocessed => self.says_preprocessed = !found.negated,
            Effect::Refuse(Counter::UnsupportedCompilerOption) if self.is_ignored(word) => {}
            Effect::Refuse(counter) if !found.negated => self.refuse(counter, word),
            _ => {}
        }
    }

    fn module_option(&mut self, option: ModuleOption, negated: bool, path: PathBuf, word: &OsStr) {
        let known = match option {
            ModuleOption::On if negated => {
                self.modules.on = false;
                return;
            }
            ModuleOption::On => {
                self.modules.on = true;
                true
            }
            ModuleOption::Mapper => self.modules.mapper.replace(path).is_none(),
            ModuleOption::Format => {
                self.modules.tells = true;
                path == Path::new("p1689r5")
            }
        };
        if !known || self.context.family == Family::Clang {
            self.refuse(Counter::CouldNotUseModules, word);
        }
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
        if negated && !self.side_kinds.contains(&kind) {
            return;
        }
        if negated {
            // Which of several such options it takes back differs between compilers.
            self.refuse(Counter::UnsupportedCompilerOption, word);
        } else if !self.side_kinds.contains(&kind) {
            self.side_kinds.push(kind);
        }
    }

    fn side_file_option(&mut self, kind: PartKind, path: PathBuf, word: &OsStr) {
        let twice = self.side_files.iter().any(|(known, _)| *known == kind);
        if twice || path.file_name().is_none() || path == Path::new("-") {
            self.refuse(Counter::UnsupportedCompilerOption, word);
        }
        self.side_files.push((kind, path));
    }

    fn output_option(&mut self, path: PathBuf, word: &OsStr) {
        self.refuse_private(path.as_os_str(), Counter::BadOutputFile);
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
            DepfileOption::Target => {
                self.depfile.target = true;
                self.depfile.targets.push(path);
            }
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

/// Whether an option for diagnostics is about their colour and nothing else.
fn is_colour_alone(word: &OsStr) -> bool {
    let word = word.as_bytes();
    let names: [&[u8]; 5] = [
        b"-fdiagnostics-color",
        b"-fno-diagnostics-color",
        b"-fcolor-diagnostics",
        b"-fno-color-diagnostics",
        b"-fansi-escape-codes",
    ];
    names.iter().any(|name| word.starts_with(name))
}

/// Whether a plugin's argument may name a file.
fn names_a_file(operand: &[u8]) -> bool {
    let value = operand.iter().position(|&byte| byte == b'=').map_or(&[][..], |at| &operand[at..]);
    value.contains(&b'/') || value.contains(&b'.')
}

/// Whether the option says the same where its operand is a word of its own. What the object may
/// record of it would differ for other options.
fn is_also_separate(found: &Match, role: Role) -> bool {
    found.row.shape == Shape::JoinedOrSeparate
        && matches!(role, Role::Search | Role::Macro | Role::ForcedInclude)
}

impl Call<'_> {
    fn payload(&mut self, tool: Payload, word: &OsStr, operand: &[u8]) -> (Role, KeyPart) {
        let is_for_preprocessor = word.as_bytes().starts_with(b"-Wp,");
        if is_for_preprocessor && let Some(answer) = self.depfile_through_preprocessor(operand) {
            return answer;
        }
        let is_list = matches!(word.as_bytes(), [b'-', b'W', ..]);
        let mut role = Role::Key;
        for part in operand.split(|&byte| is_list && byte == b',') {
            let pending = self.pending_payload.take().filter(|pending| pending.tool == tool);
            let verdict = match (tool, pending) {
                (_, Some(Pending { what: Wanted::LlvmOption, .. })) => payload::llvm(part),
                (_, Some(pending)) => {
                    role = pending.role;
                    self.payload_file(pending.what, part);
                    continue;
                }
                (Payload::Assembler, _) => payload::assembler(part),
                (Payload::Preprocessor, _) => payload::preprocessor(part),
                (Payload::Frontend, _) => payload::frontend(part),
                (Payload::Llvm, _) => payload::llvm(part),
            };
            if let Some(shown) = self.apply_payload(tool, verdict, word, part) {
                role = shown;
            }
        }
        (role, KeyPart::Words)
    }

    /// A file that one payload word announced, and the next one names.
    fn payload_file(&mut self, what: Wanted, part: &[u8]) {
        let path = PathBuf::from(OsStr::from_bytes(part));
        match what {
            Wanted::Value | Wanted::LlvmOption => return,
            Wanted::ForcedInclude => self.forced_includes.push(path),
            Wanted::Precompiled => self.precompiled.push(path),
        }
        self.refuse_private(OsStr::from_bytes(part), Counter::BadInputFile);
    }

    /// What one payload word does; its role, where that is a special one.
    fn apply_payload(
        &mut self,
        tool: Payload,
        verdict: Verdict,
        word: &OsStr,
        part: &[u8],
    ) -> Option<Role> {
        let mut wait = |role, what| self.pending_payload = Some(Pending { tool, role, what });
        match verdict {
            Verdict::Counts => self.stamps_no_inputs |= part == b"-fno-pch-timestamp",
            Verdict::MakesPrecompiled => {
                self.emits_precompiled = true;
                return Some(Role::Phase);
            }
            Verdict::FileNext { precompiled } => {
                let what = if precompiled { Wanted::Precompiled } else { Wanted::ForcedInclude };
                wait(Role::ForcedInclude, what);
                self.traits |= LOCAL;
                return Some(Role::ForcedInclude);
            }
            Verdict::CountsHere => self.traits |= LOCAL,
            Verdict::CountsWithNext => wait(Role::Key, Wanted::Value),
            Verdict::CountsHereWithNext => {
                wait(Role::Key, Wanted::Value);
                self.traits |= LOCAL;
            }
            Verdict::LlvmNext => {
                wait(Role::Key, Wanted::LlvmOption);
                self.traits |= LOCAL;
            }
            Verdict::AsRow(found) => {
                self.traits |= found.row.traits | LOCAL;
                self.names_directory |= found.row.has(DIRECTORY);
                let operand = found.operand_at.map_or(&[][..], |at| &part[at..]);
                self.note(&found, word, operand);
            }
            Verdict::Debug => {
                let words = &mut self.debug;
                match tool {
                    Payload::Assembler => words.assembler = true,
                    _ => words.detail = true,
                }
                self.traits |= if tool == Payload::Frontend { LOCAL } else { 0 };
            }
            Verdict::Listing => self.assembler_listing_option(part, word),
            Verdict::Macro => return Some(Role::Macro),
            Verdict::Search => {
                let folder = part.iter().position(|&byte| byte == b'/').unwrap_or(part.len());
                self.refuse_private(OsStr::from_bytes(&part[folder..]), Counter::BadInputFile);
                self.traits |= if tool == Payload::Frontend { LOCAL } else { 0 };
                return Some(Role::Search);
            }
            Verdict::SearchWithNext => {
                wait(Role::Search, Wanted::Value);
                self.traits |= LOCAL;
                return Some(Role::Search);
            }
            Verdict::Refused => {
                let detail = [word.as_bytes(), b" ", part].concat();
                self.refuse(Counter::UnsupportedCompilerOption, OsStr::from_bytes(&detail));
            }
        }
        None
    }

    /// `-a[LETTERS][=FILE]` of GNU as.
    fn assembler_listing_option(&mut self, part: &[u8], word: &OsStr) {
        let (letters, file) = match part.iter().position(|&byte| byte == b'=') {
            Some(at) => (&part[2..at], Some(PathBuf::from(OsStr::from_bytes(&part[at + 1..])))),
            None => (&part[2..], None),
        };
        let two = self.assembler_listing.is_some() && file.is_some();
        if two || self.context.family == Family::Clang {
            self.refuse(Counter::UnsupportedCompilerOption, word);
        }
        self.lists_assembly = true;
        self.lists_sources |= letters.is_empty() || letters.contains(&b'h');
        self.assembler_listing = file.or(self.assembler_listing.take());
        self.traits |= LOCAL | POSITION | OUTPUT_NAME;
    }

    /// `-Wp,-MT,TARGET`, `-Wp,-MQ,TARGET` and `-Wp,-MP`, alone or together.
    fn rule_words(&mut self, parts: &[&[u8]]) -> bool {
        let mut rest = parts;
        let (mut target, mut phony) = (false, false);
        while let [first, others @ ..] = rest {
            rest = match (*first, others) {
                (b"-MP", others) => {
                    phony = true;
                    others
                }
                (b"-MT" | b"-MQ", [_, others @ ..]) => {
                    target = true;
                    others
                }
                _ => return false,
            };
        }
        self.depfile.target |= target;
        self.depfile.phony |= phony;
        true
    }

    /// `-Wp,-MD,FILE` and `-Wp,-MMD,FILE`, as the Linux kernel writes them.
    fn depfile_through_preprocessor(&mut self, operand: &[u8]) -> Option<(Role, KeyPart)> {
        let parts: Vec<&[u8]> = operand.split(|&byte| byte == b',').collect();
        if self.context.family == Family::Gcc && self.rule_words(&parts) {
            return Some((Role::Dependency, KeyPart::Words));
        }
        let (style, system_headers, file) = match parts[..] {
            [b"-MD", file] => ("-Wp,-MD", true, file),
            [b"-MMD", file] => ("-Wp,-MMD", false, file),
            _ => return None,
        };
        let path = PathBuf::from(OsStr::from_bytes(file));
        self.refuse_private(path.as_os_str(), Counter::BadOutputFile);
        if path.file_name().is_none() || file == b"-" || self.depfile.through_preprocessor.is_some()
        {
            self.refuse(Counter::BadCompilerArguments, OsStr::from_bytes(operand));
        }
        self.depfile.through_preprocessor = Some((path, system_headers));
        Some((Role::Dependency, KeyPart::Text(style)))
    }
}
