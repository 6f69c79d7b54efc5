//! `base_dir`: absolute file names below it become relative to the working directory.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// `path` relative to `cwd`, where it is absolute, lexically below `base_dir`, and where the relative
/// name leads to the same file (with symbolic links, `..` can lead elsewhere).
pub(super) fn relative(path: &Path, base_dir: &Path, cwd: &Path) -> Option<PathBuf> {
    if base_dir.as_os_str().is_empty() || !path.is_absolute() || !cwd.is_absolute() {
        return None;
    }
    if has_dots(path) || has_dots(cwd) || !path.starts_with(base_dir) {
        return None;
    }
    let shared = path.components().zip(cwd.components()).take_while(|(a, b)| a == b).count();
    let mut relative: PathBuf =
        cwd.components().skip(shared).map(|_| Component::ParentDir).collect();
    relative.extend(path.components().skip(shared));
    if relative.as_os_str().is_empty() {
        relative.push(".");
    }
    let relative = keep_final_slash(path, relative);
    same_file(path, &cwd.join(&relative)).then_some(relative)
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
        assert_eq!(check("build/../src/x.c"), None);
        assert_eq!(relative(Path::new("/usr/include"), root, &cwd), None);
        assert_eq!(relative(Path::new("x.c"), root, &cwd), None);
        assert_eq!(relative(&root.join("src"), Path::new(""), &cwd), None);
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
