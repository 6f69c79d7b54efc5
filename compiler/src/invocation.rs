//! A compiler call, understood: what it reads, what it writes, and which of its words count.
//!
//! After [`Invocation::parse`] nobody looks at the command line again. A call that is not understood
//! in full is not cached.

mod base_dir;
mod language;
mod names;
mod parse;
mod payload;
mod prefix_maps;
mod profile;
mod redirect;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::depfile;
use crate::outcome::Uncacheable;
use crate::part::PartKind;

pub use crate::options::{Family, Phase};
pub use language::Language;
pub use prefix_maps::PrefixMaps;
pub use profile::Profiles;
pub use redirect::Redirected;

/// What parsing needs to know besides the words.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Whose option syntax it is.
    pub family: Family,
    /// The compiler's major version.
    pub version_major: u32,
    /// The working directory of the call, absolute.
    pub cwd: &'a Path,
    /// The same as the caller names it, where that is another name.
    pub apparent_cwd: Option<&'a Path>,
    /// Absolute paths below it are made relative; empty for none.
    pub base_dir: &'a Path,
    /// Options that the user leaves out of the key, each exact or ending in `*`.
    pub ignore_options: &'a [String],
    /// What the user allows to be wrong.
    pub sloppiness: Sloppiness,
    /// Whether the driver is `g++` or `clang++`, for which `.c` is C++.
    pub cxx_driver: bool,
}

/// The kinds of sloppiness that concern the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sloppiness {
    /// The value of `-frandom-seed=` does not count.
    pub random_seed: bool,
    /// The working directory in coverage notes does not count.
    pub gcno_cwd: bool,
}

/// The dependency file that a compilation writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depfile {
    /// Its name, relative to the working directory or absolute.
    pub path: PathBuf,
    /// Whether it is sure to list system headers (`-MD`, not `-MMD`).
    pub system_headers: bool,
    /// Whether the rule's targets are given by `-MT` or `-MQ`; else they come from the output's name.
    pub has_explicit_target: bool,
    /// Whether the rule's target is the operand of `-o`, where there is one. gcc leaves that out of
    /// what it hands on with `-Wp,`.
    pub target_is_output: bool,
    /// The rule's target in the call's own words, where `base_dir` changed the operand of `-o`:
    /// make knows the file by that name alone.
    pub own_target: Option<OsString>,
    /// The rule's only target, as make knows it, where it can be any: then it does not count.
    pub target: Option<OsString>,
}

/// The target in a rule that is stored for all callers.
const STORED_TARGET: &[u8] = b"object";

/// Whose rule is made of whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From what is stored for all callers.
    ToCaller,
    /// From what the call's own compile wrote.
    ToStore,
}

/// What part an argument plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It shapes the outputs.
    Key,
    /// It changes nothing.
    Neutral,
    /// The source file.
    Source,
    /// `-o` with its file.
    Output,
    /// `-c`, `-S` or `-fsyntax-only`.
    Phase,
    /// `-x`.
    Language,
    /// Dependency output.
    Dependency,
    /// Where include files are looked for.
    Search,
    /// The target machine, or the tools that run.
    Target,
    /// A macro.
    Macro,
    /// `-include` and `-imacros`.
    ForcedInclude,
    /// It shapes linking.
    Link,
    /// Colour and links in diagnostics.
    Colour,
}

/// How an argument counts in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// Not at all.
    Nothing,
    /// All its words.
    Words,
    /// As an option's name of this length and its operand, which are one word: `-Idir` is `-I dir`.
    Joined(usize),
    /// As this text, without the file that it names.
    Text(&'static str),
    /// As what stands before and behind these two places of its one word.
    Without(usize, usize),
}

/// One option with its operand, or one operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// One or two words, after `base_dir`.
    pub words: Vec<OsString>,
    /// What part it plays.
    pub role: Role,
    /// How it counts.
    pub key: KeyPart,
}

impl Argument {
    /// Its words that count.
    pub fn key_words(&self) -> impl Iterator<Item = &OsStr> {
        let (words, texts) = match self.key {
            KeyPart::Nothing => (&[][..], [None; 2]),
            KeyPart::Words => (&self.words[..], [None; 2]),
            KeyPart::Joined(length) => {
                let (name, operand) = self.words[0].as_bytes().split_at(length);
                (&[][..], [Some(OsStr::from_bytes(name)), Some(OsStr::from_bytes(operand))])
            }
            KeyPart::Text(text) => (&[][..], [Some(OsStr::new(text)), None]),
            KeyPart::Without(from, to) => {
                (&[][..], prefix_maps::without(&self.words[0], from, to).map(Some))
            }
        };
        words.iter().map(OsString::as_os_str).chain(texts.into_iter().flatten())
    }

    /// The same where a text counts, which shows names as they are.
    pub fn text_words(&self) -> impl Iterator<Item = &OsStr> {
        let is_map = matches!(self.key, KeyPart::Without(..));
        let whole = self.words.iter().filter(move |_| is_map).map(OsString::as_os_str);
        self.key_words().filter(move |_| !is_map).chain(whole)
    }
}

/// A compiler call that can be cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The arguments in their order, response files expanded, after `base_dir`.
    pub arguments: Vec<Argument>,
    /// Whether `base_dir` changed a word. Then [`Invocation::compile_arguments`] must be run; else
    /// the words of the call.
    pub rewritten: bool,
    /// The source file, as named after `base_dir`.
    pub source: PathBuf,
    /// Its language.
    pub language: Language,
    /// How far it is compiled.
    pub phase: Phase,
    /// The main output, as named after `base_dir`, or under the compiler's default name. `None` for
    /// `-fsyntax-only`.
    pub output: Option<PathBuf>,
    /// The dependency file, if one is written.
    pub depfile: Option<Depfile>,
    /// The other files that are written.
    pub side_outputs: Vec<(PartKind, PathBuf)>,
    /// Files besides source and includes whose content counts. Where one is not a regular file,
    /// the call must not be cached.
    pub read_files: Vec<PathBuf>,
    /// The profiles that may be read, or missed.
    pub profiles: Profiles,
    /// Whether the main output goes to `/dev/null`.
    pub discards_output: bool,
    /// Whether there may be debug information.
    pub debug_info: bool,
    /// Whether an output can name the working directory. gcc takes `$PWD` for it where that is the
    /// same folder.
    pub uses_working_directory: bool,
    /// Whether the text of a plain `-E` determines all outputs: no option makes them depend on
    /// columns, comments or macro names. (The compiler's default warnings still can; a call that
    /// printed something needs the other text.)
    pub needs_only_tokens: bool,
    /// Whether the code is for this machine's processor, whatever that is.
    pub native: bool,
    /// Whether an output can hold the name of the main output.
    pub names_output: bool,
    /// Whether an output holds the command line, so that no option may be added.
    pub records_command_line: bool,
    /// Whether it may be compiled on another machine, as it is.
    pub remote: bool,
    /// The same, once the options for this machine's processor are replaced by what they mean here.
    pub remote_if_resolved: bool,
    /// Whether the user forces or forbids colour in diagnostics.
    pub explicit_colour: bool,
    /// The operands of `-include` and `-imacros`, in order.
    pub forced_includes: Vec<PathBuf>,
    /// The file of `-fmodule-mapper=`, where the source may use modules.
    pub module_map: Option<PathBuf>,
    /// The operands of `-include-pch`.
    pub precompiled: Vec<PathBuf>,
    /// Whether the precompiled header that it makes holds, under clang, the times of its inputs.
    pub stamps_inputs: bool,
    /// The prefix maps that count by what they do.
    pub prefix_maps: PrefixMaps,
}

impl Invocation {
    /// Understands a call. `arguments` are the words after the compiler's name.
    ///
    /// # Errors
    /// Why the call is not cached.
    pub fn parse(arguments: &[OsString], context: &Context) -> Result<Invocation, Uncacheable> {
        parse::parse(arguments, context)
    }

    /// The words that count, in their order. The language, the source's name and content, the
    /// compiler and, where [`Invocation::uses_working_directory`], the working directory count
    /// besides.
    pub fn key_words(&self) -> impl Iterator<Item = &OsStr> {
        self.arguments.iter().flat_map(Argument::key_words)
    }

    /// What the prefix maps make of names in the call's own words.
    pub fn mapped_words(&self) -> impl Iterator<Item = String> {
        self.prefix_maps.words(&self.arguments)
    }

    /// The words to compile with after `base_dir`.
    pub fn compile_arguments(&self) -> Vec<OsString> {
        let own_target = self.depfile.iter().filter_map(|depfile| depfile.own_target.clone());
        let target = own_target.flat_map(|target| ["-MQ".into(), target]);
        target.chain(self.words(|_| true)).collect()
    }

    /// The rule for this call, of one that is stored, and back. One whose lines are broken in an unknown way
    /// stays as it is, for calls of the same target.
    pub fn own_rule(&self, rule: &[u8], family: Family, way: Way) -> Option<Vec<u8>> {
        let own = self.depfile.as_ref().and_then(|depfile| depfile.target.as_ref());
        let Some(own) = own.map(|own| own.as_encoded_bytes()) else { return Some(rule.to_vec()) };
        let names_own = rule.strip_prefix(own).is_some_and(|rest| rest.starts_with(b":"));
        let unchanged = || names_own.then(|| rule.to_vec());
        match way {
            Way::ToCaller if own == STORED_TARGET => unchanged(),
            Way::ToCaller => depfile::retarget(rule, STORED_TARGET, own, family).or_else(unchanged),
            Way::ToStore => depfile::retarget(rule, own, STORED_TARGET, family).or_else(unchanged),
        }
    }

    /// The words that preprocess to standard output with the same macros and include files. Other
    /// options must be put in front, since `--` may be among the words.
    pub fn preprocess_arguments(&self) -> Vec<OsString> {
        let kept = |role| !matches!(role, Role::Output | Role::Dependency | Role::Phase);
        [vec![OsString::from("-E")], self.words(kept)].concat()
    }

    /// The words that decide where include files are looked for, to be followed by
    /// `-E -v -x LANGUAGE /dev/null`.
    pub fn search_arguments(&self) -> Vec<OsString> {
        let standard = self.words_where(|argument| is_standard(&argument.words[0]));
        [self.words(|role| matches!(role, Role::Search | Role::Target)), standard].concat()
    }

    /// The folders in which GNU as looks for `.include` and `.incbin`, in its order: the driver hands it the
    /// `-I` of the call, before those of `-Wa,…`.
    pub fn assembler_folders(&self) -> Vec<PathBuf> {
        let search = self.arguments.iter().filter(|argument| argument.role == Role::Search);
        let (mut folders, mut own) = (Vec::new(), Vec::new());
        for argument in search {
            let words: Vec<&[u8]> = argument.words.iter().map(|word| word.as_bytes()).collect();
            let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
            match words[..] {
                [b"-I" | b"--include-directory", folder] => folders.push(path(folder)),
                [word] if word.starts_with(b"-Wa,") => {
                    let parts = word.split(|byte| *byte == b',');
                    own.extend(parts.filter_map(|part| part.strip_prefix(b"-I")).map(path));
                }
                [b"-Xassembler", word] => own.extend(word.strip_prefix(b"-I").map(path)),
                [word] => {
                    let folder = word.strip_prefix(b"--include-directory=");
                    folders.extend(folder.or_else(|| word.strip_prefix(b"-I")).map(path));
                }
                _ => {}
            }
        }
        [folders, own].concat()
    }

    /// All words of the call that the question for the search path can hold, for compilers that do not
    /// take the few of [`Invocation::search_arguments`] alone.
    pub fn all_search_arguments(&self) -> Vec<OsString> {
        self.words(|role| matches!(role, Role::Search | Role::Target | Role::Key))
    }

    /// Every name under which a profile may be looked for; `folders` are the names of the working
    /// directory.
    pub fn profile_candidates(&self, family: Family, folders: &[&Path]) -> Vec<PathBuf> {
        self.profiles.candidates(family, self.output.as_deref(), &self.source, folders)
    }

    /// The precompiled forms that may be taken in place of a file that an option includes.
    pub fn precompiled_candidates(&self) -> impl Iterator<Item = PathBuf> {
        self.forced_includes.iter().flat_map(|path| {
            [".pch", ".gch"].map(|suffix| {
                [path.as_os_str(), OsStr::new(suffix)].into_iter().collect::<OsString>().into()
            })
        })
    }

    /// The words that decide which tools run and for which machine, to be followed by
    /// `-### -c -x LANGUAGE /dev/null`.
    pub fn target_arguments(&self) -> Vec<OsString> {
        self.words(|role| role == Role::Target)
    }

    /// For an output that holds the command line of the compiler proper, which names the working
    /// directory as well: all words count, and none may be added.
    pub fn record_command_line(&mut self) {
        self.arguments.iter_mut().for_each(|argument| argument.key = KeyPart::Words);
        self.prefix_maps = PrefixMaps::default();
        self.records_command_line = true;
        self.names_output = true;
        self.uses_working_directory = true;
        self.remote = false;
        self.remote_if_resolved = false;
    }

    /// Whether clang writes debug information as Windows has it, which holds the command line. `targets`
    /// are the words that say for which machine it compiles by default.
    pub fn has_codeview(&self, targets: &[String]) -> bool {
        let is_windows = |word: &[u8]| {
            let names: [&[u8]; 4] = [b"windows", b"msvc", b"win32", b"uefi"];
            names.iter().any(|name| memchr::memmem::find(word, name).is_some())
        };
        let words = self.arguments.iter().filter(|argument| argument.role == Role::Target);
        let mut words = words.flat_map(|argument| &argument.words);
        self.debug_info
            && (targets.iter().any(|word| is_windows(word.as_bytes()))
                || words.any(|word| is_windows(word.as_encoded_bytes())))
    }

    /// The words at which a wrapper may look before it runs the compiler, to be followed by
    /// `-### -c -x LANGUAGE /dev/null`.
    pub fn driver_words(&self) -> Vec<OsString> {
        let dropped =
            |role| matches!(role, Role::Source | Role::Output | Role::Dependency | Role::Phase);
        self.words_where(|argument| !dropped(argument.role) && argument.words[0] != "--")
    }

    /// The words for compiling the preprocessed source elsewhere, without input, output, phase and
    /// all that preprocessing has settled. `native` stands for the target options where the call
    /// asks for this machine's processor.
    pub fn remote_arguments(&self, native: &[String]) -> Vec<OsString> {
        // Words for the linker stay, since clang warns that it does not use them.
        let kept = |argument: &Argument| match argument.role {
            Role::Target => !self.native && !is_sysroot(&argument.words[0]),
            role => matches!(role, Role::Key | Role::Colour | Role::Link),
        };
        let native = native.iter().filter(|_| self.native).map(OsString::from);
        native.chain(self.words_where(kept)).collect()
    }

    /// The target words with which another machine finds the same tools.
    pub fn remote_target_arguments(&self) -> Vec<OsString> {
        self.words_where(|argument| {
            argument.role == Role::Target && !self.native && !is_sysroot(&argument.words[0])
        })
    }

    /// The words that make a preprocessor run write this call's dependency file to `file`; without
    /// one, those that list all files read.
    pub fn depfile_arguments(&self, file: &OsStr) -> Vec<OsString> {
        let Some(depfile) = &self.depfile else {
            return vec!["-MD".into(), "-MF".into(), file.to_owned()];
        };
        let mut words = Vec::new();
        let mut through_preprocessor = false;
        let dependency = self.arguments.iter().filter(|argument| argument.role == Role::Dependency);
        for argument in dependency {
            let first = argument.words[0].as_encoded_bytes();
            if first.starts_with(b"-MF") {
                continue;
            }
            if let Some(style) = ["-Wp,-MD,", "-Wp,-MMD,"]
                .into_iter()
                .find(|style| first.starts_with(style.as_bytes()))
            {
                through_preprocessor = true;
                words.push([OsStr::new(style), file].into_iter().collect());
                continue;
            }
            words.extend(argument.words.iter().cloned());
        }
        if !through_preprocessor {
            words.extend(["-MF".into(), file.to_owned()]);
        }
        // The driver does the same for a compile, but not for a preprocessor run; which, as a
        // compile without `-o`, names the object.
        let named = self.arguments.iter().any(|argument| argument.role == Role::Output);
        if named
            && depfile.target_is_output
            && let Some(output) = &self.output
        {
            let target = depfile.target.as_deref().unwrap_or(output.as_os_str());
            words.extend(["-MQ".into(), target.to_owned()]);
        }
        words
    }

    fn words(&self, kept: impl Fn(Role) -> bool) -> Vec<OsString> {
        self.words_where(|argument| kept(argument.role))
    }

    fn words_where(&self, kept: impl Fn(&Argument) -> bool) -> Vec<OsString> {
        let kept = self.arguments.iter().filter(|argument| kept(argument));
        kept.flat_map(|argument| argument.words.iter().cloned()).collect()
    }
}

/// Where headers and libraries are: preprocessing has settled that.
fn is_sysroot(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"--sysroot")
}

/// The options besides those of the search itself that change the include path: clang looks in other
/// folders for `-fopenmp`'s and the sanitizers' headers, and gcc for `-pthread`'s.
fn is_standard(word: &OsStr) -> bool {
    let word = word.as_encoded_bytes();
    [&b"-std="[..], b"--std=", b"-ansi", b"-pthread", b"-fopenmp", b"-fsanitize=", b"-fgnuc"]
        .iter()
        .any(|prefix| word.starts_with(prefix))
}
