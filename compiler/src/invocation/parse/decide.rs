//! The decisions that need all words: source, phase, outputs, and which names count.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::super::language::{self, Told};
use super::super::{Depfile, Invocation, KeyPart, Language, PrefixMaps, Role, names};
use super::Call;
use crate::depfile;
use crate::options::{Family, LOCAL, OUTPUT_NAME, POSITION, Phase, RECORD};
use crate::outcome::{Counter, Uncacheable};

impl Call<'_> {
    /// The call as a whole.
    pub(super) fn decide(mut self) -> Result<Invocation, Uncacheable> {
        let (source, told) = self.decide_source()?;
        let phase = self.decide_phase(&source, told)?;
        let language = self.decide_refusals(told)?;
        self.check_language(language, phase)?;
        let own_output = self.rewrite_output(language);
        let mut output = self.decide_output(&source, phase)?;
        let mut depfile = self.decide_depfile(output.as_deref(), language, phase)?;
        if let Some(depfile) = &mut depfile {
            depfile.own_target = own_output.filter(|_| depfile.target_is_output);
            depfile.target = self.only_target(depfile, phase);
        }
        let mut side_outputs = self.decide_side_outputs(output.as_deref(), language, phase)?;
        side_outputs.extend(self.decide_listing(phase)?);
        side_outputs.extend(self.decide_temporaries(
            output.as_deref(),
            &source,
            language,
            phase,
        )?);
        side_outputs.append(&mut self.side_files);
        side_outputs.extend(self.decide_modules(
            output.as_deref(),
            depfile.as_ref(),
            language,
            phase,
        )?);
        if self.split && self.traits & RECORD != 0 {
            return Err(Uncacheable::new(Counter::BadCompilerArguments, "-Wp,-MD"));
        }
        let discards_output = output.take_if(|output| is_null(output)).is_some();
        if discards_output && depfile.as_ref().is_some_and(|depfile| depfile.target_is_output) {
            return Err(Uncacheable::new(Counter::BadCompilerArguments, "-MD -o /dev/null"));
        }
        if phase == Phase::SyntaxOnly {
            self.forget_other_phases();
        }
        self.count_names(depfile.as_ref(), language, discards_output);
        let prefix_maps = self.take_prefix_maps(language, phase, side_outputs.is_empty());
        let debug_info =
            self.debug.last_is_on || self.debug.detail || self.debug.split || self.debug.assembler;
        let has = |traits| self.traits & traits != 0;
        let debug_names_directory = debug_info && !self.has_compilation_directory;
        let remote_if_resolved = !has(LOCAL | RECORD)
            && side_outputs.is_empty()
            && !language.is_assembly()
            && !matches!(phase, Phase::SyntaxOnly | Phase::Precompiled);
        Ok(Invocation {
            rewritten: self.rewritten,
            language,
            phase,
            output,
            depfile,
            debug_info,
            uses_working_directory: self.names_directory || debug_names_directory,
            needs_only_tokens: !has(POSITION)
                && !debug_info
                && !self.may_warn_of_macros()
                && phase != Phase::Precompiled
                && self.modules.mapper.is_none(),
            native: self.native,
            names_output: has(OUTPUT_NAME | RECORD),
            records_command_line: has(RECORD),
            remote: remote_if_resolved && !self.native,
            remote_if_resolved,
            side_outputs,
            explicit_colour: self.explicit_colour,
            arguments: self.arguments,
            source,
            read_files: self.read_files,
            profiles: self.profiles,
            discards_output,
            forced_includes: self.forced_includes,
            module_map: self.modules.mapper,
            precompiled: self.precompiled,
            stamps_inputs: phase == Phase::Precompiled && !self.stamps_no_inputs,
            prefix_maps,
        })
    }

    /// Lets prefix maps count by what they do, where all that names the folder goes through them: outputs of
    /// coverage and the like name it in ways of their own, and a text or a precompiled header by itself.
    fn take_prefix_maps(
        &mut self,
        language: Language,
        phase: Phase,
        object_alone: bool,
    ) -> PrefixMaps {
        let through_maps = language.is_preprocessed_by_the_compiler()
            && !language.is_assembly()
            && object_alone
            && phase != Phase::Precompiled
            && !self.names_directory
            && !self.debug.assembler
            && self.traits & RECORD == 0;
        match through_maps {
            true => PrefixMaps::take(&mut self.arguments, self.context),
            false => PrefixMaps::default(),
        }
    }

    /// Some warnings that are on by default depend on whether a macro wrote the tokens: clang says
    /// nothing of an empty statement, say, that a macro made.
    fn may_warn_of_macros(&self) -> bool {
        self.context.family == Family::Clang && !self.no_warnings
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
        if !others.is_empty() && !self.phases.is_empty() {
            // Of an option that is not known, the operand looks like a source.
            let refusal = self.refusal.clone();
            let name = || others[0].0.to_string_lossy();
            return Err(
                refusal.unwrap_or_else(|| Uncacheable::new(Counter::MultipleSourceFiles, name()))
            );
        }
        Ok((source.clone(), told))
    }

    fn decide_phase(&self, source: &Path, told: Option<Told>) -> Result<Phase, Uncacheable> {
        if let Some(Told::Header(_)) = told {
            let is_plain = self.phases.iter().all(|&phase| phase == Phase::Object)
                && self.sources.len() == 1
                && self.side_kinds.is_empty()
                && self.side_files.is_empty()
                && self.save_temps.is_none()
                && !(self.lists_assembly || self.bitcode)
                // Which suffix clang takes, and from which version on, is not relied on.
                && (!self.outputs.is_empty() || self.context.family == Family::Gcc);
            return match is_plain {
                true => Ok(Phase::Precompiled),
                false => Err(precompiled(source.to_string_lossy())),
            };
        }
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
            Some(Told::Language(language))
                if self.says_preprocessed && language.is_preprocessed_by_the_compiler() =>
            {
                Err(Uncacheable::new(Counter::UnsupportedCompilerOption, "-fpreprocessed"))
            }
            Some(Told::Language(_)) if self.emits_precompiled => Err(precompiled("-emit-pch")),
            Some(Told::Header(_)) if self.says_preprocessed => Err(precompiled("-fpreprocessed")),
            Some(Told::Language(language) | Told::Header(language)) => Ok(language),
            _ => Err(Counter::UnsupportedSourceLanguage.into()),
        }
    }

    /// Refuses combinations whose outputs follow rules of their own.
    fn check_language(&self, language: Language, phase: Phase) -> Result<(), Uncacheable> {
        let is_assembly = language.is_assembly();
        let clang = self.context.family == Family::Clang;
        let culprit = if is_assembly && phase == Phase::SyntaxOnly {
            // gcc preprocesses to standard output, and still makes a `.dwo`.
            "-fsyntax-only"
        } else if is_assembly && phase == Phase::Assembly {
            "-S"
        } else if self.bitcode && is_assembly {
            "-emit-llvm"
        } else if self.debug.split && is_assembly && clang {
            "-gsplit-dwarf"
        } else if self.debug.assembler && !is_assembly {
            // The debug information would name gcc's temporary assembly file.
            "-Wa,-g"
        } else {
            return Ok(());
        };
        Err(Uncacheable::new(Counter::UnsupportedCompilerOption, culprit))
    }

    /// `base_dir` for the operand of `-o`; the operand as it was, where it has changed. Where a
    /// rule's target is to be this name, but cannot be put into a rule, it stays.
    fn rewrite_output(&mut self, language: Language) -> Option<OsString> {
        let [given] = &self.outputs[..] else { return None };
        let given = given.clone().into_os_string();
        let relative = self.base.relative(Path::new(&given))?;
        let writes_rule = language.is_preprocessed_by_the_compiler()
            && (self.depfile.all_headers
                || self.depfile.user_headers
                || self.depfile.through_preprocessor.is_some())
            && !self.depfile.target;
        let plain = |name: &OsStr| depfile::is_plain(name.as_bytes());
        let records = self.traits & RECORD != 0;
        if writes_rule && (records || !plain(&given) || !plain(relative.as_os_str())) {
            return None;
        }
        let named = self.arguments.iter_mut().find(|argument| argument.role == Role::Output)?;
        let word = named.words.last_mut()?;
        let option = word.as_bytes().strip_suffix(given.as_bytes())?.to_owned();
        *word = OsString::from_vec([&option, relative.as_os_str().as_bytes()].concat());
        self.outputs = vec![relative];
        self.rewritten = true;
        Some(given)
    }

    fn decide_output(&self, source: &Path, phase: Phase) -> Result<Option<PathBuf>, Uncacheable> {
        match &self.outputs[..] {
            [] if phase == Phase::SyntaxOnly => Ok(None),
            [] if phase == Phase::Precompiled => Ok(Some(
                [source.as_os_str(), OsStr::new(".gch")].into_iter().collect::<OsString>().into(),
            )),
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
        &mut self,
        output: Option<&Path>,
        language: Language,
        phase: Phase,
    ) -> Result<Option<Depfile>, Uncacheable> {
        let words = &self.depfile;
        let bad = |detail: &str| Err(Uncacheable::new(Counter::BadCompilerArguments, detail));
        let plain = words.all_headers || words.user_headers;
        let gcc = self.context.family == Family::Gcc;
        if words.through_preprocessor.is_some() && (words.file.is_some() || plain && !gcc) {
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
            // gcc takes the file of this one, and the style of the last.
            (Some((path, system_headers)), _) => {
                (path.clone(), *system_headers && !words.user_headers)
            }
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
        if is_null(&path) {
            return self.drop_depfile();
        }
        let words = &self.depfile;
        let plain = words.all_headers || words.user_headers;
        let handed_on = words.through_preprocessor.is_some() && gcc && !plain;
        Ok(Some(Depfile {
            path,
            system_headers,
            has_explicit_target: words.target,
            target_is_output: !(words.target || handed_on),
            own_target: None,
            target: None,
        }))
    }

    /// A rule that goes to `/dev/null` is none: the compile writes the one that rcache asks for instead.
    fn drop_depfile(&mut self) -> Result<Option<Depfile>, Uncacheable> {
        if self.traits & RECORD != 0 {
            return Err(Uncacheable::new(Counter::BadCompilerArguments, "-MF /dev/null"));
        }
        self.arguments.retain(|argument| argument.role != Role::Dependency);
        self.rewritten = true;
        Ok(None)
    }

    /// Nothing is written, whatever `-c` and `-S` say.
    fn forget_other_phases(&mut self) {
        for argument in &mut self.arguments {
            if argument.words[0] == "-c" || argument.words[0] == "-S" {
                argument.key = KeyPart::Nothing;
            }
        }
    }

    /// Makes names count where an output holds them.
    fn count_names(&mut self, depfile: Option<&Depfile>, language: Language, discards: bool) {
        let everything = self.traits & RECORD != 0;
        let is_any = depfile.is_some_and(|depfile| depfile.target.is_some());
        let rule_names_output =
            depfile.is_some_and(|depfile| !depfile.has_explicit_target) && !is_any;
        let output_counts = everything || rule_names_output || self.traits & OUTPUT_NAME != 0;
        let default_output = self.outputs.is_empty();
        let through_preprocessor = self.depfile.through_preprocessor.is_some();
        // clang's warning about an unused -MF names its file.
        let dependency_counts =
            everything || depfile.is_none() && !language.is_preprocessed_by_the_compiler();
        for argument in &mut self.arguments {
            let counts = match argument.role {
                Role::Output => output_counts || discards,
                Role::Source => {
                    output_counts && (default_output || through_preprocessor) || everything
                }
                Role::Dependency => dependency_counts,
                _ => everything,
            };
            if counts {
                argument.key = KeyPart::Words;
            } else if is_any && names_target(&argument.words[0]) {
                argument.key = KeyPart::Nothing;
            }
        }
    }

    /// The rule's target where nothing but the rule holds it, and any other could stand in its place.
    fn only_target(&self, depfile: &Depfile, phase: Phase) -> Option<OsString> {
        let target = match (&self.depfile.targets[..], &self.outputs[..]) {
            ([target], _) => target.as_os_str(),
            ([], [output]) if depfile.target_is_output => {
                depfile.own_target.as_deref().unwrap_or(output.as_os_str())
            }
            _ => return None,
        };
        let is_usual = matches!(phase, Phase::Object | Phase::Assembly)
            && self.depfile.through_preprocessor.is_none()
            && self.depfile.target != self.depfile.targets.is_empty()
            && self.traits & RECORD == 0;
        (is_usual && depfile::is_plain(target.as_bytes())).then(|| target.to_owned())
    }
}

fn precompiled(detail: impl Into<String>) -> Uncacheable {
    Uncacheable::new(Counter::CouldNotUsePrecompiledHeader, detail)
}

/// Whether an option gives the rule's target.
fn names_target(word: &OsStr) -> bool {
    [&b"-MT"[..], b"-MQ"].iter().any(|name| word.as_bytes().starts_with(name))
}

pub(super) fn is_null(output: &Path) -> bool {
    output == Path::new("/dev/null")
}
