//! Reads the search list that gcc and clang print for `-v`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::SearchPath;

const MISSING: &[u8] = b"ignoring nonexistent directory \"";
const DUPLICATE: &[u8] = b"ignoring duplicate directory \"";
const QUOTE_LIST: &[u8] = b"#include \"...\" search starts here:";
const ANGLE_LIST: &[u8] = b"#include <...> search starts here:";
const END: &[u8] = b"End of search list.";
/// What clang puts after a name that is no plain folder, and gcc's complaints about folders.
const NOT_PLAIN: [&[u8]; 4] =
    [b" (framework directory)", b" (headermap)", b": not a directory", b": Permission denied"];

#[derive(PartialEq, Eq)]
enum Part {
    Before,
    Quote,
    Angle,
}

pub(super) fn parse(stderr_of_v: &[u8]) -> Option<SearchPath> {
    let mut found = SearchPath::default();
    let mut part = Part::Before;
    for line in stderr_of_v.split(|byte| *byte == b'\n') {
        if NOT_PLAIN.iter().any(|mark| line.ends_with(mark)) {
            return None;
        }
        if line == END {
            return (part == Part::Angle).then_some(found);
        }
        match part {
            Part::Before if line == QUOTE_LIST => part = Part::Quote,
            Part::Before => {
                if let Some(folder) = quoted(line, MISSING) {
                    found.missing.push(folder);
                } else if let Some(folder) = quoted(line, DUPLICATE) {
                    found.duplicates.push(folder);
                } else if line.starts_with(b"ignoring ") {
                    return None;
                }
            }
            Part::Quote if line == ANGLE_LIST => part = Part::Angle,
            Part::Quote => found.quote.push(listed(line)?),
            Part::Angle => found.angle.push(listed(line)?),
        }
    }
    None
}

fn quoted(line: &[u8], start: &[u8]) -> Option<PathBuf> {
    line.strip_prefix(start)?.strip_suffix(b"\"").map(to_path)
}

fn listed(line: &[u8]) -> Option<PathBuf> {
    line.strip_prefix(b" ").map(to_path)
}

fn to_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
