//! What clang's driver looks for on a machine before it knows where headers are.

use std::path::{Path, PathBuf};

/// Files by which it knows the distribution (clang `lib/Driver/Distro.cpp`).
const DISTRIBUTION: [&str; 8] = [
    "/etc/SuSE-release",
    "/etc/alpine-release",
    "/etc/debian_version",
    "/etc/exherbo-release",
    "/etc/gentoo-release",
    "/etc/lsb-release",
    "/etc/os-release",
    "/etc/redhat-release",
];

/// The second name of one of them.
const OS_RELEASE: &str = "/usr/lib/os-release";

/// Where gcc may be installed below a prefix (clang `lib/Driver/ToolChains/Gnu.cpp`).
const GCC_FOLDERS: [&str; 6] =
    ["lib/gcc", "lib/gcc-cross", "lib32/gcc", "lib64/gcc", "libx32/gcc", "lib/../lib64/gcc"];

/// What must be in the folder of a gcc, or of a variant below it.
const MARK: &str = "crtbegin.o";

/// Folders looked at in one folder; a machine has a handful of gcc.
const FOLDERS_MAX: usize = 64;

/// The files, and folders, by which clang finds gcc's headers; `prefixes` are where compilers are installed.
pub fn of_clang(prefixes: &[PathBuf]) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = DISTRIBUTION.iter().map(PathBuf::from).collect();
    paths.push(PathBuf::from(OS_RELEASE));
    for prefix in prefixes {
        for name in GCC_FOLDERS {
            let all = prefix.join(name);
            for version in folders(&all).iter().flat_map(|target| folders(target)) {
                paths.push(version.join(MARK));
                paths.extend(folders(&version).into_iter().map(|variant| variant.join(MARK)));
                paths.push(version);
            }
            paths.push(all);
        }
        paths.extend(["lib", "lib32", "lib64", "libx32"].map(|name| prefix.join(name)));
    }
    paths.extend(["/lib", "/lib64", "/lib32", "/usr/lib/x86_64-linux-gnu"].map(PathBuf::from));
    paths
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut folders: Vec<PathBuf> = paths.filter(|path| path.is_dir()).take(FOLDERS_MAX).collect();
    folders.sort();
    folders
}
