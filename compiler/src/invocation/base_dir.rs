//! `base_dir`: absolute file names below it become relative to the working directory.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use std::cell::OnceCell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The folders that matter to one call.
pub(super) struct Base<'a> {
    /// `base_dir`; empty for none.
    folder: &'a Path,
    /// The working directory, by its real name and by the one that the caller uses.
    here: [Option<&'a Path>; 2],
    /// `base_dir` without symbolic links.
    real: OnceCell<PathBuf>,
}

impl<'a> Base<'a> {
    /// `apparent` is what the caller takes for the name of the working directory `cwd`.
    pub fn new(folder: &'a Path, cwd: &'a Path, apparent: Option<&'a Path>) -> Base<'a> {
        let apparent = apparent.filter(|apparent| *apparent != cwd);
        let usable = |path: &&Path| path.is_absolute() && !has_dots(path);
        let here = [Some(cwd).filter(usable), apparent.filter(usable)];
        Base { folder, here, real: OnceCell::new() }
    }

    /// `path` relative to the working directory, where it is absolute, below the base, and where the
    /// relative name leads to the same file (with symbolic links, `..` can lead elsewhere). Of
    /// several such names it is the shortest: that one depends least on where the base is.
    pub fn relative(&self, path: &Path) -> Option<PathBuf> {
        if self.folder.as_os_str().is_empty() || !path.is_absolute() {
            return None;
        }
        let reduced = reduced(path);
        if !self.holds(&reduced) {
            return None;
        }
        let mut names = vec![reduced.clone()];
        names.extend(has_dots(path).then(|| path.to_owned()));
        names.extend(has_links(&reduced).then(|| real(&reduced)).flatten());
        self.shortest(path, &names)
    }

    /// Whether a path lies below the base, by its words or without the base's symbolic links.
    fn holds(&self, path: &Path) -> bool {
        path.starts_with(self.folder) || path.starts_with(self.real())
    }

    fn real(&self) -> &Path {
        self.real.get_or_init(|| {
            std::fs::canonicalize(self.folder).unwrap_or_else(|_| self.folder.to_owned())
        })
    }

    /// The shortest relative name of `path` that any of its absolute `names` gives.
    fn shortest(&self, path: &Path, names: &[PathBuf]) -> Option<PathBuf> {
        let here = self.here.iter().flatten();
        let pairs = here.flat_map(|here| names.iter().map(move |name| (here, name)));
        let mut candidates: Vec<PathBuf> =
            pairs.map(|(here, name)| keep_final_slash(path, between(here, name))).collect();
        candidates.sort_by_key(|relative| relative.components().count());
        let cwd = self.here.iter().flatten().next()?;
        candidates.into_iter().find(|relative| same_file(path, &cwd.join(relative)))
    }
}

/// What leads from one absolute path to another, by their words.
fn between(here: &Path, path: &Path) -> PathBuf {
    let shared = path.components().zip(here.components()).take_while(|(a, b)| a == b).count();
    let mut relative: PathBuf =
        here.components().skip(shared).map(|_| Component::ParentDir).collect();
    relative.extend(path.components().skip(shared));
    if relative.as_os_str().is_empty() {
        relative.push(".");
    }
    relative
}

/// The same without `..`, by its words.
fn reduced(path: &Path) -> PathBuf {
    let mut reduced = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                reduced.pop();
            }
            other => reduced.push(other),
        }
    }
    reduced
}

/// The name without symbolic links in its folder; the last word stays, since outputs may be absent.
fn real(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?;
    Some(std::fs::canonicalize(path.parent()?).ok()?.join(name))
}

/// Whether symbolic links are on the way, as far as the kernel tells at once.
fn has_links(path: &Path) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).is_err()
}

fn has_dots(path: &Path) -> bool {
    path.components().any(|component| component == Component::ParentDir)
}

/// `-B dir/` and `-iprefix dir/` are prefixes of names: the slash matters.
fn keep_final_slash(path: &Path, relative: PathBuf) -> PathBuf {
    if !path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return relative;
    }
    let mut bytes = relative.into_os_string().into_vec();
    bytes.push(b'/');
    PathBuf::from(OsString::from_vec(bytes))
}

/// Whether both names lead to one file, or, where there is none yet, to one folder.
fn same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    match (identity(one), identity(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => match (one.parent(), other.parent()) {
            (Some(one), Some(other)) => {
                identity(one).is_some_and(|folder| Some(folder) == identity(other))
            }
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn relative(path: &Path, base: &Path, cwd: &Path) -> Option<PathBuf> {
        Base::new(base, cwd, None).relative(path)
    }

    #[test]
    fn names_below_the_base_become_relative() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("build/sub")).unwrap();
        fs::create_dir_all(root.join("src")).unwrap();
        let cwd = root.join("build/sub");
        let check = |path: &str| relative(&root.join(path), root, &cwd);
        assert_eq!(check("src/x.c"), Some("../../src/x.c".into()));
        assert_eq!(check("build/sub/x.o"), Some("x.o".into()));
        assert_eq!(check("build/sub"), Some(".".into()));
        assert_eq!(check("build/sub/"), Some("./".into()));
        assert_eq!(check("src/"), Some("../../src/".into()));
        assert_eq!(check("absent/x.c"), None);
        assert_eq!(check("build/../src/x.c"), Some("../../src/x.c".into()));
        assert_eq!(check("build//./sub/../../src"), Some("../../src".into()));
        assert_eq!(check("../src/x.c"), None);
        assert_eq!(relative(Path::new("/usr/include"), root, &cwd), None);
        assert_eq!(relative(Path::new("x.c"), root, &cwd), None);
        assert_eq!(relative(&root.join("src"), Path::new(""), &cwd), None);
    }

    #[test]
    fn symbolic_links_are_seen_through() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for folder in ["real/build/deep", "real/src", "real/other/deep"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("real/src/x.c"), "").unwrap();
        let link = |to: &str, name: &str| {
            std::os::unix::fs::symlink(root.join(to), root.join(name)).unwrap();
        };
        link("real", "link");
        link("real/other/deep", "real/jump");
        let (linked, build) = (root.join("link"), root.join("real/build"));
        let source = |name: &str| root.join(name).join("src/x.c");
        let short = Some(PathBuf::from("../src/x.c"));
        // The base is a link, and the kernel names the working directory without it.
        assert_eq!(relative(&source("link"), &linked, &build), short);
        assert_eq!(relative(&source("real"), &linked, &build), short);
        let apparent = linked.join("build");
        let base = Base::new(&linked, &build, Some(&apparent));
        assert_eq!(base.relative(&source("link")), short);
        assert_eq!(base.relative(&apparent.join("x.o")), Some("x.o".into()));
        // Words lie: from `jump`, `..` leads to another folder.
        let jump = root.join("real/jump");
        let wrong = relative(&source("real"), &root.join("real"), &jump);
        assert_ne!(wrong, short);
        let dotted = jump.join("../x.c");
        fs::write(root.join("real/other/x.c"), "").unwrap();
        let found = relative(&dotted, &root.join("real"), &build).unwrap();
        assert_eq!(found, Path::new("../jump/../x.c"));
    }

    #[test]
    fn a_symbolic_link_on_the_way_up_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("elsewhere/deep")).unwrap();
        fs::create_dir_all(root.join("src")).unwrap();
        std::os::unix::fs::symlink(root.join("elsewhere/deep"), root.join("build")).unwrap();
        assert_eq!(relative(&root.join("src/x.c"), root, &root.join("build")), None);
    }
}
