//! Which files a compile writes beside its object, and under which names.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::{Argument, Depfile, Language, names};
use super::Call;
use super::decide::is_null;
use crate::options::{Family, Phase};
use crate::outcome::{Counter, Uncacheable};
use crate::part::PartKind;

/// The first versions whose rules for `.dwo`, `.gcno`, `.su` and `.ci` are those of [`names`] (gcc 11
/// reworked `-dumpbase`, clang 12 the meaning of `-gsplit-dwarf` without `-g`).
const GCC_SIDE_OUTPUTS_SINCE: u32 = 11;
const CLANG_SIDE_OUTPUTS_SINCE: u32 = 12;

impl Call<'_> {
    pub(super) fn decide_side_outputs(
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
        let refused = |detail: &str| Uncacheable::new(Counter::UnsupportedCompilerOption, detail);
        if self.link_time && !kinds.is_empty() {
            if self.lto_taken_back || self.has_word(b"-ffat-lto-objects") && family == Family::Clang
            {
                return Err(refused("side outputs with link-time optimisation and without"));
            }
            kinds.retain(|kind| is_written_without_code(*kind, family));
        }
        if kinds.is_empty() {
            return Ok(Vec::new());
        }
        if self.bitcode || self.link_time && kinds.contains(&PartKind::OptimizationRecord) {
            return Err(refused("side outputs with bitcode"));
        }
        let version_min = match family {
            Family::Gcc => GCC_SIDE_OUTPUTS_SINCE,
            Family::Clang => CLANG_SIDE_OUTPUTS_SINCE,
        };
        if self.context.version_major < version_min {
            return Err(refused("side outputs of an old compiler"));
        }
        let output = output
            .filter(|output| !is_null(output))
            .ok_or_else(|| refused("side outputs without an output"))?;
        kinds
            .into_iter()
            .map(|kind| {
                let extension = extension(kind, &self.sources[0].0, family);
                let path = names::side_output(output, &extension, family);
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

    fn has_word(&self, word: &[u8]) -> bool {
        self.arguments.iter().any(|argument| argument.words[0].as_bytes() == word)
    }

    /// The files of `-save-temps`.
    pub(super) fn decide_temporaries(
        &self,
        output: Option<&Path>,
        source: &Path,
        language: Language,
        phase: Phase,
    ) -> Result<Vec<(PartKind, PathBuf)>, Uncacheable> {
        let Some(beside_output) = self.save_temps else { return Ok(Vec::new()) };
        let gcc = self.context.family == Family::Gcc;
        let text = match language {
            Language::C => ".i",
            Language::Cxx => ".ii",
            _ => "",
        };
        let old = match gcc {
            true => self.context.version_major < GCC_SIDE_OUTPUTS_SINCE,
            false => self.context.version_major < CLANG_SIDE_OUTPUTS_SINCE,
        };
        let output = output.filter(|output| !is_null(output));
        let (Some(output), false) =
            (output, old || text.is_empty() || self.link_time || self.bitcode)
        else {
            return Err(Uncacheable::new(Counter::UnsupportedCompilerOption, "-save-temps"));
        };
        // gcc names them after the output, clang after the source.
        let stem = match (gcc, beside_output) {
            (true, _) => output.to_owned(),
            (false, true) => output.with_file_name(source.file_name().unwrap_or_default()),
            (false, false) => PathBuf::from(source.file_name().unwrap_or_default()),
        };
        let mut kinds = vec![(PartKind::SavedText, text)];
        if phase == Phase::Object {
            kinds.push((PartKind::SavedAssembly, ".s"));
        }
        if !gcc {
            kinds.push((PartKind::SavedBitcode, ".bc"));
        }
        let named = |(kind, extension)| {
            let path = names::side_output(&stem, extension, self.context.family);
            path.map(|path| (kind, path)).filter(|(_, path)| path != output && path != source)
        };
        let count = kinds.len();
        let files: Vec<_> = kinds.into_iter().filter_map(named).collect();
        match files.len() == count {
            true => Ok(files),
            false => Err(Uncacheable::new(Counter::UnsupportedCompilerOption, "-save-temps")),
        }
    }

    /// What `-fdeps-format=` writes beside the dependency file. gcc's modules are understood as CMake asks
    /// for them: a file maps names to files, and the dependency file names those that were read.
    pub(super) fn decide_modules(
        &mut self,
        output: Option<&Path>,
        depfile: Option<&Depfile>,
        language: Language,
        phase: Phase,
    ) -> Result<Option<(PartKind, PathBuf)>, Uncacheable> {
        let words = &self.modules;
        let refused = |detail: &str| Err(Uncacheable::new(Counter::CouldNotUseModules, detail));
        if !words.on {
            return match words.mapper.is_some() || words.tells {
                true => refused("options for modules without -fmodules-ts"),
                false => Ok(None),
            };
        }
        let Some(mapper) = &words.mapper else {
            return refused("-fmodules-ts without -fmodule-mapper");
        };
        // A socket, a program, descriptors, a host, or a part of a file.
        if mapper.as_os_str().as_bytes().iter().any(|byte| b"<>|=:?@".contains(byte)) {
            return refused("-fmodule-mapper with something else than a file");
        }
        if !words.tells || !depfile.is_some_and(|depfile| depfile.system_headers) {
            return refused("-fmodules-ts without -MD and -fdeps-format");
        }
        match output.filter(|output| !is_null(output)) {
            Some(output) if phase == Phase::Object && language == Language::Cxx => {
                self.read_files.push(mapper.clone());
                let path = names::side_output(output, ".ddi", self.context.family);
                Ok(path.map(|path| (PartKind::ModuleDependencies, path)))
            }
            _ => refused("-fmodules-ts for something else than an object"),
        }
    }

    /// The file of `-Wa,-a…=FILE`.
    pub(super) fn decide_listing(
        &self,
        phase: Phase,
    ) -> Result<Option<(PartKind, PathBuf)>, Uncacheable> {
        if !self.lists_assembly || phase != Phase::Object {
            return Ok(None);
        }
        let refused = |detail| Err(Uncacheable::new(Counter::UnsupportedCompilerOption, detail));
        let maps = |argument: &Argument| {
            let word = argument.words[0].as_encoded_bytes();
            [&b"-fdebug-prefix-map"[..], b"-ffile-prefix-map"]
                .iter()
                .any(|map| word.starts_with(map))
        };
        match &self.assembler_listing {
            // It shows the name of a temporary file.
            None => refused("-Wa,-a without a file"),
            // The assembler reads the sources under the mapped names.
            Some(_) if self.lists_sources && self.arguments.iter().any(maps) => {
                refused("-Wa,-ah with a prefix map")
            }
            Some(file) => Ok(Some((PartKind::Listing, file.clone()))),
        }
    }
}

/// What a compile writes that makes no machine code: gcc opens the files of `-fstack-usage` and
/// `-fcallgraph-info` only where it generates code alone (`toplev.cc`), and clang writes no `.dwo`.
fn is_written_without_code(kind: PartKind, family: Family) -> bool {
    match kind {
        PartKind::StackUsage | PartKind::CallgraphInfo => false,
        PartKind::Dwo => family == Family::Gcc,
        _ => true,
    }
}

fn extension(kind: PartKind, source: &Path, family: Family) -> String {
    let fixed = match kind {
        PartKind::Dwo => ".dwo",
        PartKind::Gcno => ".gcno",
        PartKind::StackUsage => ".su",
        PartKind::TimeTrace => ".json",
        PartKind::OptimizationRecord if family == Family::Clang => ".opt.yaml",
        PartKind::OptimizationRecord => {
            let source = source.extension().unwrap_or_default().to_string_lossy();
            return format!(".{source}.opt-record.json.gz");
        }
        _ => ".ci",
    };
    fixed.to_owned()
}
