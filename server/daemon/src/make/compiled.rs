//! What a compile left behind: read before its launcher is released, because the build may change it at once.

use crate::make::start::Start;
use crate::serve::conversation::Captured;
use crate::understand::unit::Unit;
use cache::entry::{LARGE_FROM_BYTES, Part, PartKind, Spooled};
use cache::facts::Maker;
use cache::outputs::{OutputFile, Written, read_written};
use cache::store::Store;
use compiler::depfile;
use compiler::hasher::Digest;
use compiler::invocation::Way;
use compiler::outcome::{Counter, Uncacheable};
use compiler::search::SearchPath;
use std::io::{Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use talk::launcher_protocol::PRINTED_BYTES_MAX;

/// What a compile that succeeded left behind.
pub struct Compiled {
    /// Outputs and streams.
    pub parts: Vec<Part>,
    /// Outputs that are too large to be held.
    pub large: Vec<Spooled>,
    /// How long it took.
    pub wall: Duration,
    /// Who made it.
    pub maker: Maker,
    /// Before it began.
    pub start: Start,
    /// Where its headers were searched for.
    pub search: Option<Arc<SearchPath>>,
    /// From the compiler's dependency output; `None` where it gave none.
    pub files: Option<Vec<PathBuf>>,
    /// What the assembler read.
    pub assembler_files: Vec<PathBuf>,
}

/// What a preprocessor read just before the compile.
pub struct Listed {
    /// Besides the source.
    pub files: Vec<PathBuf>,
    /// Before any of them was read.
    pub start: Start,
}

impl Compiled {
    /// Reads everything that the build may change as soon as the launcher ends. `listed` counts where
    /// the compiler itself does not say which files it reads.
    pub fn collect(
        unit: &Unit,
        store: &Store,
        captured: &mut Captured,
        start: Start,
        search: Option<Arc<SearchPath>>,
        listed: Option<Listed>,
    ) -> Result<Compiled, Uncacheable> {
        let (mut parts, mut large) = (Vec::new(), Vec::new());
        for output in unit.outputs.iter() {
            let OutputFile { kind, path, .. } = output;
            // What it says is looked at.
            let large_from = if *kind == PartKind::Depfile { u64::MAX } else { LARGE_FROM_BYTES };
            let is_old = |stamp: &_| start.is_after(stamp);
            match read_written(&unit.here, path, is_old, large_from, &|| store.spool()) {
                Written::Bytes(bytes) => {
                    parts.push(Part { kind: *kind, bytes: for_store(unit, output, bytes)? });
                }
                Written::Spooled(file, length) => {
                    large.push(Spooled { kind: *kind, file, length });
                }
                Written::Nothing => return Err(Counter::CompilerProducedNoOutput.into()),
                Written::Unfit => {
                    let path = path.to_string_lossy();
                    return Err(Uncacheable::new(Counter::BadOutputFile, path));
                }
            }
        }
        let streams =
            [(PartKind::Stdout, captured.stdout()), (PartKind::Stderr, captured.stderr())];
        let mut printed = 0;
        for (kind, bytes) in streams {
            let bytes = bytes.map_err(|_| internal("cannot read what the compiler printed"))?;
            printed += bytes.len();
            if !bytes.is_empty() {
                parts.push(Part { kind, bytes });
            }
        }
        if printed > PRINTED_BYTES_MAX {
            return Err(internal("the compiler printed too much"));
        }
        let (files, start) = match (dependencies(unit, captured, &parts)?, listed) {
            (None, Some(listed)) => (Some(listed.files), start.earlier(listed.start)),
            (files, _) => (files, start),
        };
        let assembler_files = assembler_files(captured)?;
        let maker = match unit.config.prefix_command.is_empty() {
            true => Maker::Here,
            false => Maker::Unknown,
        };
        let wall = captured.wall;
        Ok(Compiled { parts, large, wall, maker, start, search, files, assembler_files })
    }

    /// Whether the compiler said something.
    pub fn printed(&self) -> bool {
        self.part(PartKind::Stderr).or(self.part(PartKind::Stdout)).is_some()
    }

    /// The digest of the main output.
    pub fn content_of_object(&self) -> std::io::Result<Digest> {
        if let Some(bytes) = self.part(PartKind::Object) {
            return Ok(Digest::of(bytes));
        }
        let spooled = self.large.iter().find(|spooled| spooled.kind == PartKind::Object);
        let mut file = &spooled.ok_or(std::io::ErrorKind::NotFound)?.file;
        file.seek(SeekFrom::Start(0))?;
        let digest = Digest::of_reader(file);
        file.seek(SeekFrom::Start(0))?;
        digest
    }

    /// The bytes of a part.
    pub fn part(&self, kind: PartKind) -> Option<&[u8]> {
        self.parts.iter().find(|part| part.kind == kind).map(|part| part.bytes.as_slice())
    }
}

/// rcache's own fault.
pub fn internal(detail: &str) -> Uncacheable {
    Uncacheable::new(Counter::InternalError, detail)
}

/// A rule is stored as `base_dir` names its target: other callers of the same unit name it so.
fn for_store(unit: &Unit, output: &OutputFile, bytes: Vec<u8>) -> Result<Vec<u8>, Uncacheable> {
    if output.kind != PartKind::Depfile {
        return Ok(bytes);
    }
    let rule = unit.own_rule(&bytes, Way::ToStore);
    rule.ok_or_else(|| internal("unexpected target in the dependency output"))
}

fn dependencies(
    unit: &Unit,
    captured: &mut Captured,
    parts: &[Part],
) -> Result<Option<Vec<PathBuf>>, Uncacheable> {
    if !unit.invocation.language.is_preprocessed_by_the_compiler() {
        return Ok(Some(Vec::new()));
    }
    let unreadable = || internal("cannot read the compiler's dependency output");
    let rule = match &unit.invocation.depfile {
        Some(depfile) if depfile.system_headers => {
            let part = parts.iter().find(|part| part.kind == PartKind::Depfile);
            part.map(|part| part.bytes.clone()).unwrap_or_default()
        }
        Some(_) => return Ok(None),
        None if !unit.may_add_words() => return Ok(None),
        None => captured.extra(0).map_err(|_| unreadable())?,
    };
    let mut files = depfile::inputs(&rule).ok_or_else(unreadable)?;
    files.retain(|path| *path != unit.invocation.source);
    Ok(Some(files))
}

/// GNU as names, besides what `.include` and `.incbin` read, its main input (a temporary file, or
/// `{standard input}`) and the names in `.file` directives and line marks.
fn assembler_files(captured: &mut Captured) -> Result<Vec<PathBuf>, Uncacheable> {
    let unreadable = || internal("cannot read the assembler's dependency output");
    let rule = captured.extra(1).map_err(|_| unreadable())?;
    if rule.is_empty() {
        return Ok(Vec::new());
    }
    depfile::inputs(&rule).ok_or_else(unreadable)
}
