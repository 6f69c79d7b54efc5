//! Prefix maps (`-ffile-prefix-map=OLD=NEW` and its kin): which names they change counts, not the old prefix itself.
//!
//! Two folders can share a result where every name that an output can hold becomes the same in both. Names
//! that no map touches count as they are spelled: those of the source and of the headers in any case.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::{Argument, Context, KeyPart, Role};
use crate::hasher::{Digest, KeyHasher, KeySink};
use crate::options::Family;

/// The options, and whether each also maps the working directory in debug information.
const OPTIONS: [(&[u8], bool); 5] = [
    (b"-fcoverage-prefix-map=", false),
    (b"-fdebug-prefix-map=", true),
    (b"-ffile-prefix-map=", true),
    (b"-fmacro-prefix-map=", false),
    (b"-fprofile-prefix-map=", false),
];

/// The one version of gcc that resolves symbolic links whenever it maps (`gcc/file-prefix-map.cc`); later ones do
/// under `-fcanon-prefix-map`.
const GCC_RESOLVES_LINKS: u32 = 12;

/// The maps of a call, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixMaps {
    maps: Vec<Map>,
    /// Names without symbolic links are compared, too.
    pub resolves_links: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Map {
    old: Vec<u8>,
    /// It maps the working directory in debug information.
    for_debug: bool,
}

/// The old prefix in an operand `OLD=NEW`, and how long the option's name is; `None` for other options, and where
/// compilers disagree about what is old and what is new.
fn parts(word: &[u8]) -> Option<(usize, &[u8], bool)> {
    let (name, for_debug) = OPTIONS.into_iter().find(|(name, _)| word.starts_with(name))?;
    let operand = &word[name.len()..];
    let equals = memchr::memchr(b'=', operand)?;
    let is_only = memchr::memchr(b'=', &operand[equals + 1..]).is_none();
    (is_only && operand.starts_with(b"/")).then(|| (name.len(), &operand[..equals], for_debug))
}

impl PrefixMaps {
    /// Takes the old prefixes out of what counts.
    pub(super) fn take(arguments: &mut [Argument], context: &Context) -> PrefixMaps {
        let mut found = PrefixMaps {
            maps: Vec::new(),
            resolves_links: context.family == Family::Gcc
                && context.version_major == GCC_RESOLVES_LINKS,
        };
        for argument in arguments.iter_mut().filter(|argument| argument.key == KeyPart::Words) {
            let word = argument.words[0].as_bytes();
            found.resolves_links |= word == b"-fcanon-prefix-map";
            let Some((name, old, for_debug)) = parts(word) else { continue };
            let new = name + old.len() + 1;
            found.maps.push(Map { old: old.to_vec(), for_debug });
            argument.key = KeyPart::Without(name, new);
        }
        found
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.maps.is_empty()
    }

    /// The old prefixes.
    pub fn old(&self) -> impl Iterator<Item = &[u8]> {
        self.maps.iter().map(|map| map.old.as_slice())
    }

    /// What the maps make of a working directory where debug information names it; `None` where no map
    /// touches it.
    pub fn directory(&self, directory: &Path) -> Option<String> {
        let name = directory.as_os_str().as_bytes();
        let debug = self.maps.iter().filter(|map| map.for_debug);
        let is_mapped = debug.clone().any(|map| name.starts_with(&map.old));
        is_mapped.then(|| self.ends(name))
    }

    /// The words of the call that a map could touch, each with what it makes of it.
    pub(super) fn words<'w>(
        &'w self,
        arguments: &'w [Argument],
    ) -> impl Iterator<Item = String> + 'w {
        let named = arguments.iter().filter(|argument| {
            let is_map = matches!(argument.key, KeyPart::Without(..));
            !is_map && !matches!(argument.role, Role::Output | Role::Dependency)
        });
        let words = named.flat_map(|argument| &argument.words);
        words.filter_map(|word| {
            let word = word.as_bytes();
            let path = &word[memchr::memchr(b'/', word)?..];
            let ends = self.ends(path);
            (!ends.is_empty()).then_some(ends)
        })
    }

    /// For each map that fits: its number, and what follows the old prefix.
    fn ends(&self, name: &[u8]) -> String {
        let mut ends = String::new();
        for (number, map) in self.maps.iter().enumerate() {
            if let Some(end) = name.strip_prefix(map.old.as_slice()) {
                let is_whole = if map.old.ends_with(b"/") { "/" } else { "" };
                let end = end.escape_ascii();
                ends.push_str(&format!("{number}:{is_whole}:{end};"));
            }
        }
        ends
    }

    /// What the maps make of names in all the ways in which a compiler may spell them. `resolved` gives a name
    /// without symbolic links.
    pub fn names<'n>(
        &self,
        directories: &[&Path],
        names: impl Iterator<Item = &'n Path>,
        mut resolved: impl FnMut(&Path) -> Option<PathBuf>,
    ) -> Digest {
        let mut hasher = KeyHasher::new("rcache mapped names 1");
        for name in names {
            let mut spellings = vec![name.to_owned()];
            if name.is_relative() {
                spellings.extend(directories.iter().map(|directory| directory.join(name)));
            }
            let plain = spellings.iter().filter(|name| name.is_absolute()).map(|name| plain(name));
            let plain: Vec<PathBuf> = plain.collect();
            spellings.extend(plain);
            if self.resolves_links {
                spellings.extend(resolved(name));
            }
            for spelling in spellings {
                hasher.field("name", self.ends(spelling.as_os_str().as_bytes()).as_bytes());
            }
            hasher.field("next", &[]);
        }
        hasher.finish()
    }
}

/// A path without `.` and `..`, by its words.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// The text of a word that has lost the bytes between two places.
pub(super) fn without(word: &OsStr, from: usize, to: usize) -> [&OsStr; 2] {
    let bytes = word.as_bytes();
    [OsStr::from_bytes(&bytes[..from]), OsStr::from_bytes(&bytes[to..])]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(olds: &[(&str, bool)]) -> PrefixMaps {
        let map = |(old, for_debug): &(&str, bool)| Map {
            old: old.as_bytes().to_vec(),
            for_debug: *for_debug,
        };
        PrefixMaps { maps: olds.iter().map(map).collect(), resolves_links: false }
    }

    #[test]
    fn what_is_old_is_told_from_what_is_new() {
        let old = |word: &'static str| parts(word.as_bytes()).map(|(_, old, _)| old);
        assert_eq!(old("-ffile-prefix-map=/a/b=."), Some(&b"/a/b"[..]));
        assert_eq!(old("-fdebug-prefix-map=/a="), Some(&b"/a"[..]));
        for other in
            ["-ffile-prefix-map=/a", "-fmacro-prefix-map=a=b", "-fdebug-prefix-map=/a=b=c", "-O2"]
        {
            assert_eq!(old(other), None, "{other}");
        }
    }

    #[test]
    fn folders_are_alike_where_all_names_become_the_same() {
        let digest = |old: &str, here: &str, names: &[&str]| {
            let here = Path::new(here);
            maps(&[(old, true)]).names(&[here], names.iter().map(Path::new), |_| None)
        };
        let names = ["a.c", "inc/x.h", "/usr/include/y.h"];
        let one = digest("/one", "/one", &names);
        assert_eq!(one, digest("/two", "/two", &names));
        // The same prefix, or one that reaches less or more far.
        for (old, here) in [("/one", "/two"), ("/tw", "/two"), ("/", "/two"), ("/two/", "/two")] {
            assert_ne!(one, digest(old, here, &names), "{old} in {here}");
        }
        assert_ne!(one, digest("/usr/include", "/usr/include", &names));
        let up = ["../x.h"];
        assert_ne!(digest("/a", "/a/b", &up), digest("/a/b", "/a/b", &up));
    }

    #[test]
    fn a_directory_counts_by_what_becomes_of_it() {
        let of =
            |old: &str, for_debug, here: &str| maps(&[(old, for_debug)]).directory(Path::new(here));
        assert_eq!(of("/one", true, "/one/build"), of("/two", true, "/two/build"));
        assert_ne!(of("/one", true, "/one/build"), of("/two", true, "/two/debug"));
        assert_eq!(of("/one", true, "/three"), None);
        assert_eq!(of("/one", false, "/one"), None);
    }
}
