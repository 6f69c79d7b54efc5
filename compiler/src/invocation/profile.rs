//! The profiles that a compile may read: every name under which it may look for one.
//!
//! gcc's rules are in `coverage_init` (gcc/coverage.cc), and have changed with its versions. A name too
//! many does no harm: it counts by its content, or by its absence.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::options::Family;

/// The file that clang seeks in a folder, or without a name.
const CLANG_DEFAULT: &str = "default.profdata";
/// The file that gcc's `-fauto-profile` reads without a name.
pub(super) const GCC_SAMPLES: &str = "fbdata.afdo";

/// What the words say of profiles that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profiles {
    /// Whether any is.
    pub used: bool,
    /// Operands of `-fprofile-use=` and `-fprofile-dir=`: folders or files.
    pub places: Vec<PathBuf>,
    /// The operand of `-fprofile-prefix-path=`.
    pub prefix: Option<PathBuf>,
}

impl Profiles {
    /// The candidates. `folders` are the names of the working directory.
    pub(super) fn candidates(
        &self,
        family: Family,
        output: Option<&Path>,
        source: &Path,
        folders: &[&Path],
    ) -> Vec<PathBuf> {
        if !self.used {
            return Vec::new();
        }
        let mut all: Vec<PathBuf> = self.places.clone();
        if family == Family::Clang {
            all.extend(self.places.iter().map(|place| place.join(CLANG_DEFAULT)));
            if self.places.is_empty() {
                all.push(CLANG_DEFAULT.into());
            }
        } else {
            for stem in stems(output, source) {
                self.add_names(&stem, folders, &mut all);
            }
        }
        let mut seen = std::collections::HashSet::new();
        all.retain(|path| seen.insert(path.clone()));
        all
    }

    fn add_names(&self, stem: &Path, folders: &[&Path], all: &mut Vec<PathBuf>) {
        let with_extension =
            |bytes: &[u8]| PathBuf::from(OsString::from_vec([bytes, b".gcda"].concat()));
        let bytes = stem.as_os_str().as_bytes();
        all.push(with_extension(bytes));
        for place in &self.places {
            let below =
                |name: &[u8]| with_extension(&[place.as_os_str().as_bytes(), b"/", name].concat());
            all.push(below(bytes));
            for folder in folders {
                let whole = folder.join(stem);
                all.push(below(&mangled(&whole)));
                let short = self.prefix.as_ref().and_then(|prefix| whole.strip_prefix(prefix).ok());
                all.extend(short.map(|short| below(&mangled(short))));
            }
        }
    }
}

/// What the profile may be named after.
fn stems(output: Option<&Path>, source: &Path) -> Vec<PathBuf> {
    let folder = output.and_then(Path::parent).unwrap_or(Path::new(""));
    let of_source = source.file_stem().unwrap_or_default();
    let mut stems = vec![folder.join(of_source)];
    if let Some(output) = output {
        let of_output = output.file_stem().unwrap_or_default();
        let both: OsString = [of_output, OsStr::new("-"), of_source].into_iter().collect();
        stems.extend([output.with_extension(""), output.to_owned(), folder.join(both)]);
    }
    stems
}

/// As gcc makes one name of a path (`mangle_path` in gcc/gcov-io.cc).
fn mangled(path: &Path) -> Vec<u8> {
    let parts = path.as_os_str().as_bytes().split(|&byte| byte == b'/');
    let parts = parts.filter(|part| part != b".");
    let parts = parts.map(|part| if part == b".." { b"^" } else { part });
    parts.collect::<Vec<&[u8]>>().join(&b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(profiles: &Profiles, output: &str) -> Vec<PathBuf> {
        let folders = [Path::new("/tmp/build")];
        profiles.candidates(Family::Gcc, Some(Path::new(output)), Path::new("../a.c"), &folders)
    }

    #[test]
    fn gcc_is_known_to_look_there() {
        let mut profiles = Profiles { used: true, ..Profiles::default() };
        assert!(names(&profiles, "sub/x.y.o").contains(&"sub/x.y.gcda".into()));
        assert!(names(&profiles, "/abs/x.o").contains(&"/abs/x.gcda".into()));
        profiles.places = vec!["prof".into()];
        for (output, name) in [
            ("sub/x.o", "prof/#tmp#build#sub#x.gcda"),
            ("./../x.o", "prof/#tmp#build#^#x.gcda"),
            ("/tmp/build/x.o", "prof//tmp/build/x.gcda"),
        ] {
            let found = names(&profiles, output);
            assert!(found.iter().any(|path| path.as_os_str() == name), "{name}: {found:?}");
        }
        profiles.prefix = Some("/tmp".into());
        assert!(names(&profiles, "x.o").contains(&"prof/build#x.gcda".into()));
    }

    #[test]
    fn nothing_is_read_where_nothing_asks() {
        assert_eq!(names(&Profiles::default(), "x.o"), Vec::<PathBuf>::new());
    }
}
