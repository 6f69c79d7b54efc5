//! `rcache link`: symlinks named like the compilers of this machine, for `PATH=DIR:$PATH`.

use super::{Outcome, screen};
use crate::find_compiler;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Makes the symlinks and prints what to do with them.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    super::settings()?;
    let folder = options.get_one::<PathBuf>("directory").ok_or("name a folder")?;
    let rcache = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let named = |error: io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(named)?;
    let folder = fs::canonicalize(folder).map_err(named)?;

    let names = compilers_in(&find_compiler::search_path());
    if names.is_empty() {
        return Err("no C or C++ compiler was found in PATH; install gcc or clang first".into());
    }
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    let mut status = ExitCode::SUCCESS;
    for name in &names {
        let line = match make_link(&folder.join(name), &rcache).map_err(named)? {
            Made::New => "linked",
            Made::AlreadyThere => "already linked",
            Made::LeftAlone => {
                status = ExitCode::FAILURE;
                "left alone: a file of this name is there that is no link to rcache"
            }
        };
        text.push_str(&format!("{name:width$}  {line}\n"));
    }
    let shown = folder.display().to_string();
    text.push_str(&format!(
        "\nPut it first in PATH:\n  export PATH={}:\"$PATH\"\n",
        quoted(&shown)
    ));
    screen::print(&text);
    Ok(status)
}

/// The names of C and C++ compilers in `path` (the value of PATH), without those that are only
/// wrappers.
pub fn compilers_in(path: &OsStr) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in std::env::split_paths(path) {
        let Ok(files) = fs::read_dir(&folder) else { continue };
        for name in files.flatten().filter_map(|file| file.file_name().into_string().ok()) {
            if is_compiler_name(&name) && find_compiler::find(OsStr::new(&name), path).is_ok() {
                names.insert(name);
            }
        }
    }
    names
}

/// Whether this is the name of a C or C++ compiler: `gcc`, `clang++-14`, `arm-none-eabi-g++`.
pub fn is_compiler_name(name: &str) -> bool {
    const BASES: [&str; 6] = ["gcc", "g++", "cc", "c++", "clang", "clang++"];
    // Shell scripts that start `gcc`, which is then linked itself.
    const SCRIPTS: [&str; 2] = ["c89-", "c99-"];
    let is_version =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let unversioned = match name.rsplit_once('-') {
        Some((front, version)) if is_version(version) => front,
        _ => name,
    };
    let is_base = |prefix_and_base: &str| {
        BASES.iter().any(|base| match prefix_and_base.strip_suffix(base) {
            Some("") => true,
            Some(prefix) => prefix.ends_with('-') && prefix.len() > 1,
            None => false,
        })
    };
    is_base(unversioned) && !SCRIPTS.iter().any(|script| name.starts_with(script))
}

#[derive(Debug, PartialEq, Eq)]
enum Made {
    New,
    AlreadyThere,
    LeftAlone,
}

/// A link of an rcache that has moved is replaced, anything else is not ours to touch.
fn make_link(link: &Path, rcache: &Path) -> io::Result<Made> {
    match fs::read_link(link) {
        Ok(target) if target == rcache => return Ok(Made::AlreadyThere),
        Ok(target) if find_compiler::is_own_name(target.file_name().unwrap_or_default()) => {}
        Ok(_) => return Ok(Made::LeftAlone),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(Made::LeftAlone),
        Err(error) => return Err(error),
    }
    // Under another name first: a compile that runs now finds the old link or the new one.
    let mut fresh: OsString = link.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    symlink(rcache, &fresh)?;
    fs::rename(&fresh, link)?;
    Ok(Made::New)
}

/// For a shell: between quotes where it holds more than plain characters.
fn quoted(text: &str) -> String {
    match text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c)) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn compiler_names() {
        for name in [
            "gcc",
            "g++",
            "cc",
            "c++",
            "clang",
            "clang++",
            "gcc-12",
            "g++-4.9",
            "clang++-14",
            "x86_64-linux-gnu-g++-12",
            "arm-none-eabi-gcc",
            "avr-gcc",
            "x86_64-w64-mingw32-c++",
        ] {
            assert!(is_compiler_name(name), "{name}");
        }
        for name in [
            "gcc-ar",
            "gcc-ar-12",
            "clang-format",
            "clang-cpp-14",
            "c99-gcc",
            "c89-gcc",
            "tcc",
            "distcc",
            "icecc",
            "gcc-",
            "-gcc",
            "g++-mapper-server",
            "gcc-12-",
            "cpp",
            "c++filt",
            "x86_64-linux-gnu-gcc-ranlib-12",
            "clang-apply-replacements-14",
            "",
        ] {
            assert!(!is_compiler_name(name), "{name}");
        }
    }

    #[test]
    fn wrappers_and_other_files_are_no_compilers() {
        let scratch = tempfile::tempdir().unwrap();
        let real = scratch.path().join("real");
        let wrapped = scratch.path().join("wrapped");
        fs::create_dir_all(&real).unwrap();
        fs::create_dir_all(&wrapped).unwrap();
        for (path, mode) in
            [(real.join("gcc"), 0o755), (real.join("g++"), 0o644), (wrapped.join("ccache"), 0o755)]
        {
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        for name in ["gcc", "clang"] {
            symlink(wrapped.join("ccache"), wrapped.join(name)).unwrap();
        }
        let path = std::env::join_paths([wrapped, real, "/nowhere".into()]).unwrap();
        assert_eq!(compilers_in(&path), BTreeSet::from(["gcc".to_owned()]));
    }

    #[test]
    fn only_own_links_are_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let rcache = at("rcache");
        assert_eq!(make_link(&at("gcc"), &rcache).unwrap(), Made::New);
        assert_eq!(make_link(&at("gcc"), &rcache).unwrap(), Made::AlreadyThere);
        assert_eq!(fs::read_link(at("gcc")).unwrap(), rcache);
        symlink("/elsewhere/rcache", at("cc")).unwrap();
        assert_eq!(make_link(&at("cc"), &rcache).unwrap(), Made::New);
        assert_eq!(fs::read_link(at("cc")).unwrap(), rcache);
        symlink("/usr/bin/ccache", at("g++")).unwrap();
        assert_eq!(make_link(&at("g++"), &rcache).unwrap(), Made::LeftAlone);
        fs::write(at("c++"), "").unwrap();
        assert_eq!(make_link(&at("c++"), &rcache).unwrap(), Made::LeftAlone);
    }

    #[test]
    fn folders_are_quoted_for_a_shell() {
        assert_eq!(quoted("/usr/lib/rcache"), "/usr/lib/rcache");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
