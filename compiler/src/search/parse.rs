//! Reads the search list that gcc and clang print for `-v`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::SearchPath;

const MISSING: &[u8] = b"ignoring nonexistent directory \"";
const DUPLICATE: &[u8] = b"ignoring duplicate directory \"";
const QUOTE_LIST: &[u8] = b"#include \"...\" search starts here:";
const ANGLE_LIST: &[u8] = b"#include <...> search starts here:";
/// Begins the line with clang's own command, which has `-cc1` as its first option.
const COMMAND: &[u8] = b" \"";
const CC1: &[u8] = b"-cc1";
/// What puts a folder on the search path in that command (clang `include/clang/Driver/Options.td`).
const FOLDER_OPTIONS: [&[u8]; 6] = [
    b"-I",
    b"-iquote",
    b"-isystem",
    b"-idirafter",
    b"-internal-isystem",
    b"-internal-externc-isystem",
];
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
    let mut named = Vec::new();
    for line in stderr_of_v.split(|byte| *byte == b'\n') {
        if NOT_PLAIN.iter().any(|mark| line.ends_with(mark)) {
            return None;
        }
        if line == END {
            add_hidden(named, &mut found);
            // Where there is no folder at all, clang does not begin the second list.
            return (part != Part::Before).then_some(found);
        }
        match part {
            Part::Before if line == QUOTE_LIST => part = Part::Quote,
            Part::Before => {
                if line.starts_with(COMMAND) && named.is_empty() {
                    named = folders_named(&words(line));
                } else if let Some(folder) = quoted(line, MISSING) {
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

/// A folder of clang's command.
struct Named {
    spelled: PathBuf,
    /// With the folder of `--sysroot` where the spelled name asks for it; not all options obey.
    meant: PathBuf,
}

/// clang keeps one name for each folder, the one that it met first, and says only that: a folder of its
/// command that it does not mention is a duplicate under that name.
fn add_hidden(named: Vec<Named>, found: &mut SearchPath) {
    for folder in named {
        let lists = [&found.quote, &found.angle, &found.missing, &found.duplicates];
        // Not compared as paths: those take `a/.` for `a`.
        let is_known = lists.into_iter().flatten().any(|known| {
            let known = known.as_os_str();
            known == folder.spelled.as_os_str() || known == folder.meant.as_os_str()
        });
        if !is_known {
            found.duplicates.push(folder.meant);
        }
    }
}

/// The folders of clang's command that count for its language, in its order.
fn folders_named(command: &[Vec<u8>]) -> Vec<Named> {
    if command.get(1).is_none_or(|word| word != CC1) {
        return Vec::new();
    }
    let value_of = |option: &[u8]| {
        let at = command.iter().rposition(|word| word == option)?;
        command.get(at + 1).map(Vec::as_slice)
    };
    let sysroot = value_of(b"-isysroot").unwrap_or_default();
    let language = value_of(b"-x").unwrap_or_default();
    let named = |prefix: &[u8], name: &[u8]| {
        let spelled = to_path(&[prefix, name].concat());
        Named { meant: below(sysroot, name).unwrap_or_else(|| spelled.clone()), spelled }
    };
    let mut prefix: &[u8] = b"";
    let mut found = Vec::new();
    for pair in command.windows(2) {
        let (option, name) = (pair[0].as_slice(), pair[1].as_slice());
        match option {
            b"-iprefix" => prefix = name,
            b"-iwithprefix" | b"-iwithprefixbefore" => found.push(named(prefix, name)),
            b"-iwithsysroot" => found.push(named(sysroot, name)),
            _ if FOLDER_OPTIONS.contains(&option) || is_for(option, language) => {
                found.push(named(b"", name));
            }
            _ => found.extend(option.strip_prefix(b"-I").map(|name| named(b"", name))),
        }
    }
    found
}

/// Whether this is the option for the headers of one language, and of this one
/// (clang `lib/Lex/InitHeaderSearch.cpp`, `Realize`).
fn is_for(option: &[u8], language: &[u8]) -> bool {
    let is_objective = language.starts_with(b"objective-c");
    let is_cxx = memchr::memmem::find(language, b"c++").is_some();
    match option {
        b"-c-isystem" => !is_objective && !is_cxx,
        b"-cxx-isystem" => is_cxx,
        b"-objc-isystem" => is_objective && !is_cxx,
        b"-objcxx-isystem" => is_objective && is_cxx,
        _ => false,
    }
}

/// What `=name` stands for.
fn below(sysroot: &[u8], name: &[u8]) -> Option<PathBuf> {
    let rest = name.strip_prefix(b"=").filter(|_| !sysroot.is_empty())?;
    let root = sysroot.strip_suffix(b"/").unwrap_or(sysroot);
    Some(to_path(&[root, b"/", rest.strip_prefix(b"/").unwrap_or(rest)].concat()))
}

/// The words of a command as clang prints it: quoted where needed, with a backslash before quotes,
/// dollars and backslashes (`lib/Support/Program.cpp`, `printArg`).
fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut is_quoted = false;
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            b' ' if !is_quoted => all.extend(word.take()),
            b'\\' if is_quoted => word.get_or_insert_default().extend(bytes.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    all.extend(word);
    all
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
