//! gcc's map of C++20 modules: which file holds the interface of each.

use crate::hasher::{Digest, KeyHasher, KeySink};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A map of more bytes than this is not read.
pub const MAP_BYTES_MAX: u64 = 1 << 20;

/// What gcc puts in place of a leading `.` and of each `..` of a header's name (`gcc/cp/module.cc`,
/// `c++tools/resolver.cc`).
const RELATIVE: &str = ",";

/// A file of `-fmodule-mapper=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleMap {
    /// Where relative names start; empty for the working directory.
    root: PathBuf,
    entries: Vec<(Vec<u8>, PathBuf)>,
}

impl ModuleMap {
    /// Reads lines of a name and a file. `None` for anything else, and where a header stands for a module.
    pub fn parse(bytes: &[u8]) -> Option<ModuleMap> {
        let mut map = ModuleMap::default();
        let mut root = None;
        for line in bytes.split(|byte| *byte == b'\n') {
            let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
            let words: Vec<&[u8]> = line.split(blank).filter(|word| !word.is_empty()).collect();
            match words[..] {
                [] => {}
                [b"$root", folder] if root.is_none() && map.entries.is_empty() => {
                    root = Some(as_path(folder));
                }
                [name, file] if is_module(name) && map.file(name).is_none() && is_plain(file) => {
                    map.entries.push((name.to_vec(), as_path(file)));
                }
                _ => return None,
            }
        }
        // gcc leaves out a root that is the working directory.
        map.root = root.filter(|root| root.as_os_str() != ".").unwrap_or_default();
        map.entries.iter_mut().for_each(|(_, file)| *file = map.root.join(&*file));
        map.entries.sort_unstable();
        Some(map)
    }

    /// What the map says, in whichever order: CMake writes its lines now so and now so.
    pub fn digest(&self) -> Digest {
        let mut hasher = KeyHasher::new("rcache map of modules 1");
        hasher.field("root", self.root.as_os_str().as_bytes());
        for (name, file) in &self.entries {
            hasher.field("module", name);
            hasher.field("file", file.as_os_str().as_bytes());
        }
        hasher.finish()
    }

    /// The file of a module, as gcc spells it.
    pub fn file(&self, name: &[u8]) -> Option<&Path> {
        let found = self.entries.iter().find(|(known, _)| known == name);
        found.map(|(_, file)| file.as_path())
    }

    /// Whether a file is the interface of a module.
    pub fn holds(&self, path: &Path) -> bool {
        self.entries.iter().any(|(_, file)| file == path)
    }

    /// Where gcc looks for a header in the form of a module before it includes `header`: below this name.
    /// What is not there stands for all that could be in it.
    pub fn folder_of_unit(&self, header: &Path) -> (PathBuf, PathBuf) {
        let first = match header.components().find(|part| *part != Component::RootDir) {
            Some(part) if header.is_absolute() => PathBuf::from(part.as_os_str()),
            _ => PathBuf::from(RELATIVE),
        };
        (self.root.clone(), first)
    }
}

/// The name of a module or of a partition; a header's name starts otherwise.
fn is_module(name: &[u8]) -> bool {
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':');
    name.iter().all(is_of_word) && !name.starts_with(b".")
}

/// Names that mean nothing else to gcc or to make.
fn is_plain(file: &[u8]) -> bool {
    !file.iter().any(|byte| byte.is_ascii_control() || b"\\\"'$#?".contains(byte))
}

fn as_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Whether what `-fdeps-format=p1689r5` wrote agrees: the unit provides this module, or none.
pub fn tells(written: &[u8], provided: Option<&[u8]>) -> bool {
    let has = |what: &[u8]| memchr::memmem::find(written, what).is_some();
    match provided {
        None => !has(b"\"provides\""),
        Some(name) => has(b"\"provides\"") && has(&[b"\"logical-name\": \"", name, b"\""].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_name_files() {
        let map = ModuleMap::parse(b"$root .\nm CMakeFiles/a.dir/m.gcm\nm:part p.gcm\n").unwrap();
        assert_eq!(map.file(b"m"), Some(Path::new("CMakeFiles/a.dir/m.gcm")));
        assert!(map.holds(Path::new("p.gcm")) && map.file(b"none").is_none());
        let map = ModuleMap::parse(b"$root /b\nm m.gcm\nn /c/n.gcm").unwrap();
        assert_eq!(map.file(b"m"), Some(Path::new("/b/m.gcm")));
        assert_eq!(map.file(b"n"), Some(Path::new("/c/n.gcm")));
        let below = |header| map.folder_of_unit(Path::new(header));
        assert_eq!(below("/usr/include/a.h"), ("/b".into(), "usr".into()));
        assert_eq!(below("../a.h"), ("/b".into(), ",".into()));
        assert!(ModuleMap::parse(b"").is_some());
        let digest = |text: &[u8]| ModuleMap::parse(text).unwrap().digest();
        assert_eq!(digest(b"a x\nb y\n"), digest(b"b y\na x\n"));
        assert_ne!(digest(b"a x\nb y\n"), digest(b"a y\nb x\n"));
        assert_ne!(digest(b"a x\n"), digest(b"$root r\na x\n"));
    }

    #[test]
    fn other_maps_are_not_understood() {
        for text in [
            "m",
            "m a b\n",
            "./a.h a.gcm\n",
            "/usr/include/vector v.gcm\n",
            "m a\nm b\n",
            "m \"a\"\n",
            "m a\n$root b\n",
            "$root a\n$root b\n",
        ] {
            assert!(ModuleMap::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn what_gcc_tells_is_compared() {
        let provides = b"\"provides\": [\n{\n\"logical-name\": \"m\",\n";
        assert!(
            tells(provides, Some(b"m")) && !tells(provides, Some(b"n")) && !tells(provides, None)
        );
        assert!(tells(b"\"requires\": []", None) && !tells(b"\"requires\": []", Some(b"m")));
    }
}
