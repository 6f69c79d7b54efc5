//! Preprocessed mode: the text of a unit, which files it came from, and the key that it makes.

use super::compilers::Stop;
use super::conversation::Conversation;
use super::remember::Start;
use super::unit::Unit;
use super::{Cache, Daemon};
use crate::launcher_protocol::Run;
use cache::file_memo::Content;
use cache::hasher::Digest;
use cache::outcome::{Counter, Uncacheable};
use cache::scan::Scan;
use cache::{key, linemarkers};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The preprocessed text of a unit.
pub struct Text {
    /// The name of the result.
    pub key: Digest,
    /// The files that it came from, besides the source.
    pub files: Vec<PathBuf>,
    /// Before the preprocessor ran.
    pub start: Start,
}

/// Preprocesses on the launcher's side, under a slot of this machine.
pub fn preprocess(
    daemon: &Daemon,
    conversation: &mut Conversation,
    cache: &Cache,
    unit: &Unit,
) -> Result<Text, Stop> {
    let limit = unit.config.local_slots;
    let slot = daemon.slots.acquire(limit, || conversation.still_waiting())?;
    let start = Start::now();
    let words = unit.invocation.preprocess_arguments();
    let order = Run {
        program: unit.call.compiler.clone(),
        arguments: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
        ..Run::default()
    };
    let mut captured = conversation.run(order, 0)?;
    drop(slot);
    cache.counts.add_compile_time(captured.wall);
    if !captured.succeeded() {
        return Err(Stop::Uncacheable(Counter::PreprocessorError.into()));
    }
    let text = captured.stdout()?;
    let warnings = captured.stderr()?;
    let mut files = linemarkers::inputs(&text).ok_or_else(|| refuse("unreadable line markers"))?;
    let key = text_key(daemon, unit, &text, &warnings, &files)?;
    files.retain(|path| *path != unit.invocation.source);
    Ok(Text { key, files, start })
}

fn refuse(why: &str) -> Stop {
    Stop::Uncacheable(Uncacheable::new(Counter::PreprocessorError, why))
}

/// What the preprocessor warns of counts as well: it is part of what the compile will print.
fn text_key(
    daemon: &Daemon,
    unit: &Unit,
    text: &[u8],
    warnings: &[u8],
    files: &[PathBuf],
) -> Result<Digest, Stop> {
    let mut all = Vec::with_capacity(files.len() + 1);
    let mut only_tokens = unit.invocation.needs_only_tokens && warnings.is_empty();
    for path in std::iter::once(&unit.invocation.source).chain(files) {
        let (content, scan): (Content, Arc<Scan>) = daemon
            .memo
            .scanned(&unit.here, path, unit.now)
            .map_err(|_| refuse("a line marker names no file"))?;
        only_tokens &= !scan.column_builtins;
        all.push((path.clone(), content.digest));
    }
    only_tokens &= !unit.definitions.iter().any(|scan| scan.column_builtins);
    let files = if only_tokens { None } else { Some(all.as_slice()) };
    let mut hashed = Digest::of(text).0.to_vec();
    hashed.extend_from_slice(&Digest::of(warnings).0);
    Ok(key::text_key(&unit.inputs(), Digest::of(&hashed), files))
}
