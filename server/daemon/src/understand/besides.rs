//! What counts for a result besides the words of the call, the source and its headers.

use crate::understand::unit::Call;
use compiler::file_memo::{FileMemo, WorkingDirectory};
use compiler::hasher::{Digest, KeyHasher, KeySink};
use compiler::identity::Compiler;
use compiler::invocation::{Family, Invocation};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a recorded command line shows besides the words of the call: where the compiler is, and whether
/// it writes to a terminal.
pub fn recorded(call: &Call, compiler: &Compiler, look: Digest) -> Digest {
    let mut hasher = KeyHasher::new("rcache recorded besides 1");
    hasher.field("driver", call.compiler.as_os_str().as_bytes());
    for program in &compiler.banner.programs {
        hasher.field("program", program.as_os_str().as_bytes());
    }
    hasher.field("look", &look.0);
    hasher.finish()
}

/// The lists that clang's sanitizers read unasked, from the compiler's own folder: one that appears is
/// in no dependency output.
///
/// # Errors
/// One that cannot be read.
pub fn ignore_lists(
    invocation: &Invocation,
    compiler: &Compiler,
    memo: &FileMemo,
    here: &WorkingDirectory,
    now: SystemTime,
) -> Result<Vec<(PathBuf, Digest)>, PathBuf> {
    let mut words = invocation.arguments.iter().flat_map(|argument| &argument.words);
    let sanitizes = words.any(|word| word.as_bytes().starts_with(b"-fsanitize"));
    if !sanitizes || compiler.banner.family != Family::Clang {
        return Ok(Vec::new());
    }
    let options = &compiler.banner.options;
    let mut pairs = options.iter().zip(options.iter().skip(1));
    let resources = pairs.find(|(option, _)| *option == "-resource-dir").map(|(_, folder)| folder);
    let Some(resources) = resources else { return Ok(Vec::new()) };
    let folder = Path::new(resources).join("share");
    let mut lists = Vec::new();
    for name in here.names(&folder).unwrap_or_default() {
        // asan_ignorelist.txt, dfsan_abilist.txt; blacklist in old versions.
        if !name.as_bytes().ends_with(b"list.txt") {
            continue;
        }
        let path = folder.join(name);
        match memo.content(here, &path, now) {
            Ok(content) => lists.push((path, content.digest)),
            Err(_) => return Err(path),
        }
    }
    lists.sort();
    Ok(lists)
}
