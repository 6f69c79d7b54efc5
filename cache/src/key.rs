//! Keys: exactly what goes into the name of a manifest and of a result.
//!
//! Two calls with the same source key read the same source with the same options, compiler and
//! environment; which result is right then depends on the other files, and those are in the
//! manifest. A result is named by the source key and the contents of those files, or by the
//! preprocessed text.

use crate::manifest::Recorded;
use compiler::hasher::{Digest, KeyHasher, KeySink};
use compiler::invocation::{Argument, Invocation, Role};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Everything that a key can depend on, found out by the daemon.
pub struct Inputs<'a> {
    /// `namespace` of the settings.
    pub namespace: &'a str,
    /// What identifies the compiler under `compiler_check`.
    pub compiler: &'a [u8],
    /// The file name of the driver: `gcc` and `g++` can be one file.
    pub driver_name: &'a OsStr,
    /// What `-march=native` means here; empty where that is not asked.
    pub target_options: &'a [String],
    /// The call.
    pub invocation: &'a Invocation,
    /// Variables that count, from `environment::key_fields`.
    pub environment: &'a [(&'static str, &'a [u8])],
    /// The working directory as the kernel and as PWD name it, where it counts.
    pub working_directories: &'a [&'a Path],
    /// What prefix maps make of them, and of names in the call, where they count so in a source key.
    pub mapped_directories: Option<&'a [String]>,
    /// The content of the source.
    pub source: Digest,
    /// Other files whose content counts: of the call and of the settings.
    pub other_files: &'a [(PathBuf, Digest)],
}

/// The name of the manifest; `sink` may also be a recorder, for `explain`.
pub fn source_key(inputs: &Inputs, sink: &mut impl KeySink) {
    shared_fields(inputs, sink);
    match inputs.mapped_directories {
        Some(mapped) => mapped.iter().for_each(|name| sink.field("mapped", name.as_bytes())),
        None => directories(inputs, sink),
    }
    for word in inputs.invocation.key_words() {
        sink.field("option", word.as_bytes());
    }
    sink.field("source", inputs.invocation.source.as_os_str().as_bytes());
    sink.field("source content", inputs.source.to_string().as_bytes());
}

/// A hasher for [`source_key`].
pub fn source_hasher() -> KeyHasher {
    KeyHasher::new("rcache source 1")
}

/// The name of a result that is found through its manifest.
pub fn result_key(source_key: Digest, recorded: &Recorded) -> Digest {
    let mut hasher = KeyHasher::new("rcache result 1");
    hasher.field("source key", &source_key.0);
    for (path, digest) in &recorded.files {
        hasher.field("file", path.as_os_str().as_bytes());
        hasher.field("content", &digest.0);
    }
    for path in &recorded.present {
        hasher.field("present", path.as_os_str().as_bytes());
    }
    // Two states that differ in these alone must not take each other's place in the manifest.
    for path in &recorded.directories {
        hasher.field("directory", path.as_os_str().as_bytes());
    }
    for (left, right) in &recorded.same_folders {
        hasher.field("same folder", left.as_os_str().as_bytes());
        hasher.field("as", right.as_os_str().as_bytes());
    }
    for (folder, first) in &recorded.search_folders {
        hasher.field("search folder", folder.as_os_str().as_bytes());
        hasher.field("first", &first.to_le_bytes());
    }
    for absent in &recorded.absent {
        hasher.field("absent", &absent.set.0);
    }
    for (path, state) in &recorded.states {
        hasher.field("state of", path.as_os_str().as_bytes());
        hasher.field("state", &state.0);
    }
    if let Some(names) = recorded.names {
        hasher.field("names", &names.0);
    }
    hasher.finish()
}

/// The name of a result that is found through the preprocessed text.
///
/// Where the tokens alone decide, options that only the preprocessor reads do not count. Where
/// more decides (columns, comments, macro names), the contents of all files that the text came
/// from count as well, and with the text that is all that a compiler can see.
pub fn text_key(inputs: &Inputs, text: Digest, files: Option<&[(PathBuf, Digest)]>) -> Digest {
    let mut hasher = KeyHasher::new("rcache text 2");
    shared_fields(inputs, &mut hasher);
    directories(inputs, &mut hasher);
    match files {
        None => {
            for word in token_words(inputs.invocation) {
                hasher.field("option", word.as_bytes());
            }
        }
        Some(files) => {
            for word in inputs.invocation.arguments.iter().flat_map(Argument::text_words) {
                hasher.field("option", word.as_bytes());
            }
            for (path, digest) in files {
                hasher.field("file", path.as_os_str().as_bytes());
                hasher.field("content", &digest.0);
            }
        }
    }
    hasher.field("source", inputs.invocation.source.as_os_str().as_bytes());
    hasher.field("text", &text.0);
    hasher.finish()
}

/// A result that printed something is kept apart for each look of the diagnostics (terminal,
/// width, colours).
pub fn look_key(result: Digest, look: Digest) -> Digest {
    let mut hasher = KeyHasher::new("rcache look 1");
    hasher.field("result", &result.0);
    hasher.field("look", &look.0);
    hasher.finish()
}

/// The words that still count when the preprocessed text is known.
fn token_words(invocation: &Invocation) -> impl Iterator<Item = &OsStr> {
    let preprocessing = |role| matches!(role, Role::Search | Role::Macro | Role::ForcedInclude);
    let arguments = invocation.arguments.iter();
    arguments.filter(move |argument| !preprocessing(argument.role)).flat_map(Argument::text_words)
}

fn shared_fields(inputs: &Inputs, sink: &mut impl KeySink) {
    sink.field("namespace", inputs.namespace.as_bytes());
    sink.field("compiler", inputs.compiler);
    sink.field("driver", inputs.driver_name.as_bytes());
    for option in inputs.target_options {
        sink.field("target option", option.as_bytes());
    }
    sink.field("language", inputs.invocation.language.name().as_bytes());
    for (name, value) in inputs.environment {
        sink.field("variable", name.as_bytes());
        sink.field("value", value);
    }
    for (path, digest) in inputs.other_files {
        sink.field("other file", path.as_os_str().as_bytes());
        sink.field("content", digest.to_string().as_bytes());
    }
}

fn directories(inputs: &Inputs, sink: &mut impl KeySink) {
    for path in inputs.working_directories {
        sink.field("working directory", path.as_os_str().as_bytes());
    }
}
