//! Preprocessed mode: the text of a unit, which files it came from, and the key that it makes.

use crate::make::compiled::Compiled;
use crate::make::local_slots::Purpose;
use crate::make::start::Start;
use crate::make::streams;
use crate::remember::line_files;
use crate::remember::precompiled::is_made;
use crate::serve::active::Stage;
use crate::understand::compilers::Stop;
use crate::understand::day::{Ran, Shown, has_plain_clock, shown};
use crate::understand::unit::Unit;
use crate::{Compile, Daemon};
use cache::key;
use compiler::depfile;
use compiler::file_memo::{Content, Presence};
use compiler::hasher::Digest;
use compiler::invocation::Family;
use compiler::outcome::{Counter, Uncacheable};
use compiler::scan::{Scan, assembler_may_read, scan};
use memchr::memmem;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use talk::launcher_protocol::{Run, descriptor_mark};

/// The preprocessed text of a unit.
pub struct Text {
    /// The name of the result; `None` where the assembler may read files that no text shows.
    pub key: Option<Digest>,
    /// The name of a result that printed something: what is quoted in it is in the files alone. `None`
    /// where it is the same.
    pub exact_key: Option<Digest>,
    /// The files that it came from, besides the source.
    pub files: Vec<PathBuf>,
    /// Before the preprocessor ran.
    pub start: Start,
    /// What it contains that a time macro could have become.
    pub shown: Shown,
    /// As the assembler gets it, it reads a file, or could.
    pub assembler_reads: bool,
    /// A precompiled header that stands for text which is not there; then there are no keys.
    pub precompiled: Option<String>,
    /// It has what may be a directive of modules.
    pub has_modules: bool,
    /// The files that `#line` names, which a compiler quotes; `None` where that cannot be told.
    pub line_files: Option<BTreeSet<PathBuf>>,
    /// Compiled anywhere, it gives the same outputs: no option or source asks for more than tokens.
    pub is_enough: bool,
    /// The text itself, where it is enough.
    pub bytes: Vec<u8>,
    /// The dependency file of the call, where it asks for one that lists all files.
    pub rule: Option<Vec<u8>>,
}

impl Text {
    /// The name of what was compiled.
    pub fn key_of(&self, compiled: &Compiled) -> Option<Digest> {
        match compiled.printed() {
            true => self.exact_key.or(self.key),
            false => self.key,
        }
    }
}

/// Preprocesses on the launcher's side, under a slot of this machine.
pub fn preprocess(compile: &mut Compile) -> Result<Text, Stop> {
    let Compile { daemon, conversation, cache, unit } = compile;
    streams::refuse(daemon, conversation, unit)?;
    unit.progress.at(Stage::WaitingHere);
    let limit = unit.config.preprocess_slots();
    let slot = daemon.slots.acquire(Purpose::Preprocess, limit, *conversation)?;
    unit.progress.at(Stage::Preprocessing);
    let start = Start::before(unit);
    let words = unit.invocation.preprocess_arguments();
    let whole_rule = unit.invocation.depfile.as_ref().is_some_and(|depfile| depfile.system_headers);
    // The files are not taken from the line marks: `#line` can name any.
    let mut arguments = match whole_rule {
        true => {
            let rule = OsString::from_vec(descriptor_mark(0));
            let words = unit.invocation.depfile_arguments(&rule).into_iter();
            words.map(OsString::into_vec).collect()
        }
        false => vec![b"-MD".to_vec(), b"-MF".to_vec(), descriptor_mark(0)],
    };
    let is_gcc = unit.compiler.banner.family == Family::Gcc;
    if is_gcc && !unit.invocation.language.is_assembly() && !is_made(unit) {
        // Else gcc overlooks the precompiled headers that the compile takes, or stumbles over.
        arguments.push(b"-fpch-preprocess".to_vec());
    }
    arguments.extend(words.iter().map(|word| word.as_bytes().to_vec()));
    let order = Run { program: unit.call.compiler.clone(), arguments, ..Run::default() };
    let started = SystemTime::now();
    let mut captured = conversation.run(order, 1)?;
    drop(slot);
    daemon.memo.refresh();
    cache.counts.add_compile_time(captured.wall);
    if !captured.succeeded() {
        return Err(Stop::Uncacheable(Counter::PreprocessorError.into()));
    }
    let text = captured.stdout()?;
    let precompiled = precompiled_header(unit, &text);
    let warnings = captured.stderr()?;
    let rule = captured.extra(0)?;
    let mut files = depfile::inputs(&rule)
        .ok_or_else(|| refuse("unreadable dependency output of the preprocessor"))?;
    files.retain(|path| *path != unit.invocation.source);
    let mut keys = keys(daemon, unit, &text, &warnings, &files)?;
    // Nor does it show the modules that are read.
    if precompiled.is_some() || is_made(unit) || unit.modules.is_some() {
        keys = Keys { key: None, exact_key: None, only_tokens: false, ..keys };
    }
    let Keys { key, exact_key, only_tokens, assembler_reads, has_modules, line_files } = keys;
    let ran = match has_plain_clock(&unit.environment) {
        true => Ran::Between(started, SystemTime::now()),
        false => Ran::Whenever,
    };
    let shown = shown(&text, ran);
    let is_enough =
        only_tokens && key.is_some() && (whole_rule || unit.invocation.depfile.is_none());
    let rule = whole_rule.then_some(rule);
    let bytes = if is_enough { text } else { Vec::new() };
    Ok(Text {
        key,
        exact_key,
        files,
        start,
        shown,
        assembler_reads,
        precompiled,
        has_modules,
        line_files,
        is_enough,
        bytes,
        rule,
    })
}

/// The files that the line marks of a text name, besides the compiler's own; `None` where a name is
/// spelled in a way that is not understood.
pub fn line_marks(text: &[u8]) -> Option<BTreeSet<PathBuf>> {
    let mut names = BTreeSet::new();
    let starts = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text).map(|end| end + 1));
    for start in starts {
        let Some(line) = text[start..].strip_prefix(b"# ") else { continue };
        let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let Some(quoted) = line[digits..].strip_prefix(b" \"") else { continue };
        let name = &quoted[..memchr::memchr(b'"', quoted)?];
        if name.contains(&b'\\') || name.contains(&b'\n') {
            return None;
        }
        // `<built-in>` and the like, and the mark that names the working directory.
        if !name.starts_with(b"<") && !name.ends_with(b"//") {
            names.insert(PathBuf::from(OsStr::from_bytes(name)));
        }
    }
    Some(names)
}

/// A precompiled header stands for text that is not there: gcc leaves a pragma in its place; clang
/// takes one for a forced include only (`lib/Driver/ToolChains/Clang.cpp`), and leaves nothing.
pub fn precompiled_header(unit: &Unit, text: &[u8]) -> Option<String> {
    if memmem::find(text, b"#pragma GCC pch_preprocess").is_some() {
        return Some("#pragma GCC pch_preprocess".to_owned());
    }
    if let Some(path) = unit.invocation.precompiled.first() {
        return Some(path.to_string_lossy().into_owned());
    }
    let names = unit.invocation.precompiled_candidates();
    let mut there = names.filter(|path| unit.here.presence(path) != Presence::Absent);
    there.next().map(|path| path.to_string_lossy().into_owned())
}

fn refuse(why: &str) -> Stop {
    Stop::Uncacheable(Uncacheable::new(Counter::PreprocessorError, why))
}

/// See [`Text`].
struct Keys {
    key: Option<Digest>,
    exact_key: Option<Digest>,
    /// The tokens alone decide.
    only_tokens: bool,
    assembler_reads: bool,
    has_modules: bool,
    line_files: Option<BTreeSet<PathBuf>>,
}

/// What the preprocessor warns of counts as well: it is part of what the compile will print.
fn keys(
    daemon: &Daemon,
    unit: &Unit,
    text: &[u8],
    warnings: &[u8],
    files: &[PathBuf],
) -> Result<Keys, Stop> {
    let mut scans = Vec::with_capacity(files.len() + 1);
    let mut all = Vec::with_capacity(files.len() + 1);
    let mut only_tokens = unit.invocation.needs_only_tokens && warnings.is_empty();
    for path in std::iter::once(&unit.invocation.source).chain(files) {
        let (content, scan): (Content, Arc<Scan>) = daemon
            .memo
            .scanned(&unit.here, path, unit.now)
            .map_err(|_| refuse("a file that was read is gone"))?;
        only_tokens &= !scan.column_builtins;
        scans.push(scan);
        all.push((path.clone(), content.digest));
    }
    let scans = || scans.iter().map(Arc::as_ref);
    let line_files = match scans().any(|scan| scan.opaque_line) {
        true => marked_files(unit, text, files),
        false => Some(line_files(unit, scans())),
    };
    let assembler_reads = unit.assembles()
        && unit.might_assemble_files(scans())
        && assembler_may_read(text, unit.reach());
    let has_modules = scans().any(|scan| scan.module_directives) && scan(text).module_directives;
    if assembler_reads || line_files.is_none() {
        let (key, exact_key, only_tokens) = (None, None, false);
        return Ok(Keys { key, exact_key, only_tokens, assembler_reads, has_modules, line_files });
    }
    only_tokens &= !unit.definitions.iter().any(|scan| scan.column_builtins);
    let mut hashed = Digest::of(text).0.to_vec();
    hashed.extend_from_slice(&Digest::of(warnings).0);
    // clang's dependency file also names what a __has_include found, which leaves no trace in the
    // text.
    if unit.invocation.depfile.is_some() {
        for path in files {
            let path = path.as_os_str().as_bytes();
            hashed.extend_from_slice(&(path.len() as u64).to_le_bytes());
            hashed.extend_from_slice(path);
        }
    }
    for path in line_files.iter().flatten() {
        let content = daemon.memo.content(&unit.here, path, unit.now).ok();
        hashed.extend_from_slice(&content.map_or([0; Digest::LEN], |content| content.digest.0));
    }
    let key = |files| Some(key::text_key(&unit.inputs(), Digest::of(&hashed), files));
    let exact_key = key(Some(all.as_slice()));
    let (key, exact_key) = match only_tokens {
        true => (key(None), exact_key),
        false => (exact_key, None),
    };
    Ok(Keys { key, exact_key, only_tokens, assembler_reads, has_modules, line_files })
}

/// The files that the line marks of a text name, and that were not read: where a `#line` has a macro as
/// its operand, its text does not say which.
fn marked_files(unit: &Unit, text: &[u8], files: &[PathBuf]) -> Option<BTreeSet<PathBuf>> {
    if unit.invocation.language.is_assembly() {
        return Some(BTreeSet::new());
    }
    let mut names = line_marks(text)?;
    names.remove(&unit.invocation.source);
    files.iter().for_each(|path| {
        names.remove(path);
    });
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::line_marks;

    #[test]
    fn line_marks_name_files() {
        let text = b"# 0 \"a.c\"\n# 0 \"<built-in>\"\n# 1 \"/src//\"\n# 1 \"inc/b.h\" 1 3 4\nint x;\n#pragma x\n";
        let names: Vec<_> = line_marks(text).unwrap().into_iter().collect();
        assert_eq!(names, ["a.c", "inc/b.h"].map(std::path::PathBuf::from));
        assert!(line_marks(b"# 1 \"a\\\"b\"\n").is_none());
        assert!(line_marks(b"x\n# 1 \"a").is_none());
    }
}
