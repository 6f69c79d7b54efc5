//! The names of the files that a compilation writes, where the command line leaves them open.
//!
//! Rules from gcc's manual ("Overall Options", `-dumpdir` and `-dumpbase`) and clang's driver, and
//! checked against both by the tests.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::options::{Family, Phase};

/// The file that the compiler writes without `-o`, in the working directory.
pub(super) fn default_output(source: &Path, phase: Phase, bitcode: bool) -> Option<PathBuf> {
    let extension = match (phase, bitcode) {
        (Phase::Object, false) => ".o",
        (Phase::Object, true) => ".bc",
        (Phase::Assembly, false) => ".s",
        (Phase::Assembly, true) => ".ll",
        (Phase::Precompiled | Phase::SyntaxOnly, _) => return None,
    };
    let name = source.file_name()?.as_bytes();
    let stem = match name.iter().rposition(|&byte| byte == b'.') {
        Some(0) => return None,
        Some(dot) => &name[..dot],
        None => name,
    };
    Some(PathBuf::from(OsString::from_vec([stem, extension.as_bytes()].concat())))
}

/// The dependency file of `-MD` without `-MF`, next to the output.
pub(super) fn default_depfile(output: &Path) -> Option<PathBuf> {
    beside(output, ".d", true)
}

/// A side output such as `.dwo`, next to the output.
pub(super) fn side_output(output: &Path, extension: &str, family: Family) -> Option<PathBuf> {
    beside(output, extension, family == Family::Clang)
}

/// `output` with another extension. A dot that starts the name starts an extension only where
/// `leading_dot_counts`.
fn beside(output: &Path, extension: &str, leading_dot_counts: bool) -> Option<PathBuf> {
    let name = output.file_name()?.as_bytes();
    let whole = output.as_os_str().as_bytes();
    let folder = whole.strip_suffix(name)?;
    let stem = match name.iter().rposition(|&byte| byte == b'.') {
        Some(0) if !leading_dot_counts => name,
        Some(dot) => &name[..dot],
        None => name,
    };
    Some(PathBuf::from(OsString::from_vec([folder, stem, extension.as_bytes()].concat())))
}
