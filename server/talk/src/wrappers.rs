//! Programs that are put before compilers, or stand in for them under their names: rcache and its like.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Their names, or how those begin (`ccache-4`).
pub const WRAPPERS: [&str; 10] = [
    "rcache",
    "ccache",
    "distcc",
    "sccache",
    "icecc",
    "buildcache",
    "cachepot",
    "zccache",
    "gomacc",
    "recc",
];

/// Whether a program whose file has this name (at the end of its symlinks) stands in for compilers.
pub fn stands_in(real_name: &OsStr) -> bool {
    WRAPPERS.iter().any(|wrapper| real_name.as_bytes().starts_with(wrapper.as_bytes()))
}

/// Whether a word names a wrapper: `ccache`, `/usr/bin/ccache` or `ccache-4.8`, but not `distccd`.
pub fn is_wrapper(word: &OsStr) -> bool {
    let name = Path::new(word).file_name().unwrap_or_default().as_bytes();
    WRAPPERS.iter().any(|wrapper| {
        let rest = name.strip_prefix(wrapper.as_bytes());
        rest.is_some_and(|rest| matches!(rest, [] | [b'-', b'0'..=b'9', ..]))
    })
}

/// A compiler's command line, and what was put before it.
#[derive(Debug, PartialEq, Eq)]
pub struct Behind<'w> {
    /// The compiler as the user wrote it; or a wrapper, where the words are for that one.
    pub name: &'w OsStr,
    /// The words after it.
    pub arguments: &'w [OsString],
    /// The wrappers whose place rcache takes.
    pub left_out: Vec<&'w OsStr>,
}

/// What `ccache gcc -c a.c` or `distcc g++ …` compiles with: rcache does what those do, so they are left
/// out. A wrapper with options of its own (`ccache --version`) stays what it is.
pub fn behind<'w>(name: &'w OsStr, arguments: &'w [OsString]) -> Behind<'w> {
    let mut behind = Behind { name, arguments, left_out: Vec::new() };
    while is_wrapper(behind.name) {
        // ccache takes settings before the compiler.
        let is_setting = |word: &&OsString| {
            let bytes = word.as_bytes();
            !bytes.starts_with(b"-") && bytes.contains(&b'=') && !bytes.contains(&b'/')
        };
        let settings = behind.arguments.iter().take_while(is_setting).count();
        match behind.arguments[settings..].split_first() {
            Some((compiler, rest))
                if !compiler.is_empty() && !compiler.as_bytes().starts_with(b"-") =>
            {
                behind.left_out.push(behind.name);
                (behind.name, behind.arguments) = (compiler, rest);
            }
            _ => break,
        }
    }
    behind
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wrappers that are left out, and what is left.
    fn split(line: &str) -> (String, String) {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let behind = behind(&words[0], &words[1..]);
        let left =
            std::iter::once(behind.name).chain(behind.arguments.iter().map(|w| w.as_os_str()));
        (join(behind.left_out.into_iter()), join(left))
    }

    fn join<'w>(words: impl Iterator<Item = &'w OsStr>) -> String {
        words.map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn wrappers_before_a_compiler_are_left_out() {
        for (line, left_out, left) in [
            ("gcc -c ccache.c", "", "gcc -c ccache.c"),
            ("ccache gcc -c a.c", "ccache", "gcc -c a.c"),
            (
                "/usr/bin/ccache-4.8 distcc /opt/g++ -c a.c",
                "/usr/bin/ccache-4.8 distcc",
                "/opt/g++ -c a.c",
            ),
            ("ccache debug=true sloppiness=locale gcc -c a.c", "ccache", "gcc -c a.c"),
            ("sccache rcache icecc clang", "sccache rcache icecc", "clang"),
            ("ccache --version", "", "ccache --version"),
            ("ccache", "", "ccache"),
            ("distcc -c a.c", "", "distcc -c a.c"),
            ("ccache distcc --help", "ccache", "distcc --help"),
            ("distccd --daemon", "", "distccd --daemon"),
        ] {
            assert_eq!(split(line), (left_out.to_owned(), left.to_owned()), "{line}");
        }
    }
}
