//! The checks of `rcache doctor`.

use super::Finding;
use crate::cli::link;
use crate::cli::screen::{self, bytes};
use crate::find_compiler;
use cache::mismatch;
use config::{Config, Loaded, Origin};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};
use talk::others::OtherDaemon;
use talk::questions::{RemoteRow, Remotes, Stats, Status};
use talk::wrappers;

/// What is wrong with the settings, and those that switch the cache off.
pub fn settings(loaded: &Loaded) -> Vec<Finding> {
    let mut findings: Vec<Finding> = loaded
        .problems
        .iter()
        .map(|problem| {
            let remedy = "correct it; until then the default holds. `rcache config --help` has all";
            Finding::fail("settings", problem.to_string(), remedy)
        })
        .collect();
    if findings.is_empty() {
        let set = loaded.origins.iter().filter(|origin| **origin != Origin::Default).count();
        let seen = match set {
            0 => "all are the defaults".to_owned(),
            set => format!("{set} set, {} as the defaults", loaded.origins.len() - set),
        };
        findings.push(Finding::ok("settings", seen));
    }
    let config = &loaded.config;
    for (key, on, effect) in [
        ("disable", config.disable, "nothing is cached"),
        ("read_only", config.read_only, "nothing new is cached"),
        ("recache", config.recache, "nothing is served from the cache"),
    ] {
        if on && loaded.problems.is_empty() {
            let remedy = "`rcache config` shows where it is set";
            findings.push(Finding::warn("settings", format!("{key} is on: {effect}"), remedy));
        }
    }
    findings
}

/// Whether each remote of the shared cache answers, and who is trusted.
pub fn shared_cache(answer: &Result<Remotes, String>) -> Vec<Finding> {
    const SUBJECT: &str = "shared cache";
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => return vec![Finding::fail(SUBJECT, why, "correct the setting remote_storage")],
    };
    let remote = |row: &RemoteRow| match &row.error {
        Some(error) => {
            let remedy =
                "builds do without it until it answers; look at the server and the credentials";
            Finding::warn(SUBJECT, format!("{}: {error}", row.url), remedy)
        }
        None => {
            let took = row.took_us.unwrap_or(0) as f64 / 1_000.0;
            Finding::ok(SUBJECT, format!("{} answers in {took:.1} ms", row.url))
        }
    };
    let problem = |problem: &String| {
        Finding::warn(SUBJECT, problem, "docs/shared-cache.md says how it is set up")
    };
    answer.remotes.iter().map(remote).chain(answer.problems.iter().map(problem)).collect()
}

/// Whether the socket is in a safe place.
pub fn runtime_folder(made: io::Result<PathBuf>, refused: &[(PathBuf, String)]) -> Finding {
    const REMEDY: &str =
        "make it yours alone (mode 700), or set XDG_RUNTIME_DIR to a folder that is";
    match (made, refused) {
        (Ok(folder), []) => Finding::ok("runtime folder", folder.display().to_string()),
        (Ok(folder), refused) => {
            let refused = refused.iter().map(|(path, why)| format!("{}: {why}", path.display()));
            let seen = refused.collect::<Vec<_>>().join("; ");
            let seen = format!("{}, since {seen}", folder.display());
            Finding::warn("runtime folder", seen, REMEDY)
        }
        (Err(error), _) => Finding::fail("runtime folder", error.to_string(), REMEDY),
    }
}

/// Whether the daemon answers, and is of this version.
pub fn daemon(status: Result<Status, String>) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    match status {
        Ok(status) => {
            let version = &status.version;
            let seen = format!("pid {}, version {version}", status.pid);
            // The daemon may add what it was built from.
            match version.split('+').next() == Some(own) {
                true => Finding::ok("daemon", seen),
                false => {
                    let seen = format!("{seen}; this program is {own}");
                    Finding::warn("daemon", seen, "run `rcache daemon stop`")
                }
            }
        }
        Err(error) => Finding::fail(
            "daemon",
            error,
            "run `rcache daemon run` to see why; until it answers, the compiler runs without cache",
        ),
    }
}

/// Daemons of other builds, for other caches and for processes elsewhere. Each has its memory, and ends by itself.
pub fn other_daemons(others: &[OtherDaemon]) -> Option<Finding> {
    let of_this_build = others.iter().filter(|other| other.build.is_none()).count();
    let mut seen: Vec<String> = others.iter().filter_map(|other| other.build.clone()).collect();
    seen.sort();
    seen.dedup();
    if of_this_build > 0 {
        seen.push(format!("{of_this_build} of this build for other caches, containers or rights"));
    }
    let seen = format!("{} more: {}", others.len(), seen.join(", "));
    (!others.is_empty()).then(|| Finding::ok("other daemons", seen))
}

/// Less room than this is soon full.
const FREE_BYTES_MIN: u64 = 1_000_000_000;

/// The clock of the filesystem and of the machine may differ by this much (kernels stamp files
/// with the time of the last tick).
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(1);

/// Whether the cache folder can be written, how much room it has, on what it is, and whether its
/// clock is the machine's.
pub fn cache_folder(config: &Config) -> Vec<Finding> {
    let folder = &config.cache_dir;
    let shown = folder.display().to_string();
    if folder.as_os_str().is_empty() {
        return Vec::new();
    }
    if let Err(error) = cache::store::secure(folder)
        && error.kind() == io::ErrorKind::PermissionDenied
    {
        let seen = format!("{shown} is not used: {error}");
        let remedy = "others could put results into it: set cache_dir to a folder of your own";
        return vec![Finding::fail("cache folder", seen, remedy)];
    }
    let modified = match write_and_remove(folder) {
        Ok(modified) => modified,
        Err(error) => {
            let seen = format!("{shown} cannot be written: {error}");
            let remedy = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "make room, lower max_size or move cache_dir"
                }
                _ => "make it writable, or set cache_dir to another place",
            };
            return vec![Finding::fail("cache folder", seen, remedy)];
        }
    };
    let mut findings = Vec::new();
    match rustix::fs::statfs(folder) {
        Err(error) => findings.push(Finding::warn("cache folder", format!("{shown}: {error}"), "")),
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_bsize.unsigned_abs());
            findings.push(room(&shown, free, filesystem(found.f_type as u32)));
        }
    }
    findings.push(clock("the cache folder", modified, SystemTime::now()));
    findings
}

/// Whether the clock of the folder in which builds run is the machine's. One that cannot be written to
/// has nothing to say.
pub fn working_folder(folder: &Path) -> Option<Finding> {
    let modified = write_and_remove(folder).ok()?;
    Some(clock("this folder", modified, SystemTime::now()))
}

/// Files that are looked at for their owner.
const OWNERS_MAX: usize = 100_000;

/// Whether all files of the cache are this user's. What a build under sudo left there can be read, but
/// not always replaced or removed.
pub fn owners(config: &Config, user: u32) -> Option<Finding> {
    let mut folders = vec![config.cache_dir.clone()];
    let (mut seen, mut count, mut first) = (0, 0, None);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(about) = entry.metadata() else { continue };
            seen += 1;
            if about.uid() != user {
                count += 1;
                first.get_or_insert_with(|| entry.path());
            }
            if about.is_dir() && seen < OWNERS_MAX {
                folders.push(entry.path());
            }
        }
    }
    let first = first?;
    let seen = format!("{count} files belong to another user, as {}", first.display());
    let remedy = format!("chown -R {user} {}", config.cache_dir.display());
    Some(Finding::warn("owners", seen, remedy))
}

/// Whether hits that were compiled again were all the same.
pub fn verification(config: &Config, stats: Option<&Stats>) -> Option<Finding> {
    let count = |name: &str| stats.map_or(0, |stats| stats.counters.get(name));
    let (same, different) = (count("verify_match"), count("verify_mismatch"));
    match (different, same) {
        (0, 0) => None,
        (0, same) => Some(Finding::ok(
            "verification",
            format!("{} hits compiled again, all the same", screen::count(same)),
        )),
        (different, _) => {
            let folder = config.cache_dir.join(mismatch::FOLDER);
            let seen =
                format!("{} hits were not what the compiler makes", screen::count(different));
            let remedy = format!(
                "they are dropped; both sides are in {}: report them. `rcache zero` ends this warning",
                folder.display()
            );
            Some(Finding::warn("verification", seen, remedy))
        }
    }
}

/// The compilers that are there, and what a plain `gcc` in a build runs.
pub fn compilers(path: &OsStr) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in ["cc", "gcc", "clang", "c++", "g++", "clang++"] {
        if let Ok(compiler) = find_compiler::find(OsStr::new(name), path) {
            findings.push(match version(&compiler) {
                Ok(version) => {
                    Finding::ok("compiler", format!("{name}: {}, {version}", compiler.display()))
                }
                Err(error) => Finding::warn(
                    "compiler",
                    format!("{name}: {} does not tell its version: {error}", compiler.display()),
                    "reinstall it, or take it out of PATH",
                ),
            });
        }
    }
    if link::compilers_in(path).is_empty() {
        let seen = "no C or C++ compiler in PATH";
        return vec![Finding::fail("compiler", seen, "install gcc or clang, or correct PATH")];
    }
    findings.extend(plain_calls(path));
    findings
}

/// What a build runs that calls compilers by their bare names.
fn plain_calls(path: &OsStr) -> Vec<Finding> {
    let own = find_compiler::own_binary();
    let own_path = std::fs::canonicalize("/proc/self/exe").ok();
    let mut through: Vec<String> = Vec::new();
    let mut findings = Vec::new();
    for name in ["gcc", "g++", "clang", "clang++"] {
        let Some(first) = first_of(OsStr::new(name), path) else { continue };
        if !find_compiler::is_wrapper(&first, own.as_ref()) {
            continue;
        }
        let target = std::fs::canonicalize(&first).unwrap_or_else(|_| first.clone());
        if Some(&target) == own_path.as_ref() || is_rcache(&target) {
            through.push(name.to_owned());
        } else if find_compiler::find(OsStr::new(name), path).is_ok() {
            let seen = format!("{name} is {} ({})", first.display(), target.display());
            let remedy = "rcache skips it, but a plain call does not reach rcache: put the folder \
                          of `rcache link` before it, or call `rcache COMPILER`";
            findings.push(Finding::warn("plain calls", seen, remedy));
        }
    }
    findings.push(match through.is_empty() {
        true => Finding::ok(
            "plain calls",
            "run the compiler itself; `rcache COMPILER …` or `rcache link DIR` bring rcache in",
        ),
        false => Finding::ok("plain calls", format!("go through rcache: {}", through.join(", "))),
    });
    findings
}

/// Variables in which builds name their compilers, and the launchers before those.
const COMPILER_VARIABLES: [&str; 4] =
    ["CC", "CXX", "CMAKE_C_COMPILER_LAUNCHER", "CMAKE_CXX_COMPILER_LAUNCHER"];

/// Wrappers that the environment names besides rcache: those after it are left out.
pub fn left_out(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in COMPILER_VARIABLES {
        let value = variable(name).unwrap_or_default().to_string_lossy().into_owned();
        let words = value.split([' ', ';']).filter(|word| !word.is_empty());
        let others: Vec<&str> = words
            .filter(|word| wrappers::is_wrapper(OsStr::new(word)))
            .filter(|word| !is_rcache(Path::new(word)))
            .collect();
        if !others.is_empty() {
            let seen = format!("{name} names {}", others.join(", "));
            let remedy = "behind rcache it is left out, since rcache takes its place: take it out of \
                          the variable";
            findings.push(Finding::warn("plain calls", seen, remedy));
        }
    }
    findings
}

fn is_rcache(target: &Path) -> bool {
    target.file_name().is_some_and(find_compiler::is_own_name)
}

fn first_of(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .map(|folder| folder.join(name))
        .find(|candidate| find_compiler::is_program(candidate))
}

/// The first line of `--version`.
fn version(compiler: &Path) -> io::Result<String> {
    let output = Command::new(compiler)
        .arg("--version")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    let first = output.stdout.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match first.is_empty() || !output.status.success() {
        true => Err(io::Error::other(output.status.to_string())),
        false => Ok(String::from_utf8_lossy(first).trim().to_owned()),
    }
}

/// Makes the folder, writes one file there and removes it; when the filesystem says that was.
fn write_and_remove(folder: &Path) -> io::Result<SystemTime> {
    std::fs::create_dir_all(folder)?;
    let mut name = OsString::from(".doctor-");
    name.push(std::process::id().to_string());
    let file = folder.join(name);
    let written = std::fs::write(&file, b"x").and_then(|()| std::fs::metadata(&file)?.modified());
    std::fs::remove_file(&file)?;
    written
}

fn room(folder: &str, free: u64, filesystem: Filesystem) -> Finding {
    let seen = format!("{folder} can be written, {} free on {}", bytes(free), filesystem.name);
    match () {
        () if filesystem.is_shared => Finding::warn(
            "cache folder",
            seen,
            "other machines may write there too, and it is slow: set cache_dir to a local disk",
        ),
        () if free < FREE_BYTES_MIN => {
            Finding::warn("cache folder", seen, "make room, lower max_size or move cache_dir")
        }
        () => Finding::ok("cache folder", seen),
    }
}

fn clock(whose: &str, modified: SystemTime, now: SystemTime) -> Finding {
    let difference = now.duration_since(modified).unwrap_or_else(|earlier| earlier.duration());
    match difference > CLOCK_DIFFERENCE_MAX {
        false => Finding::ok("clock", format!("{whose}'s clock is this machine's")),
        true => Finding::warn(
            "clock",
            format!("{whose}'s clock is {:.1} s off", difference.as_secs_f64()),
            "what is read from there may not be stored at first: set the clocks, or use another disk",
        ),
    }
}

/// A kind of filesystem.
pub struct Filesystem {
    /// As people call it.
    pub name: &'static str,
    /// Other machines may write there.
    is_shared: bool,
}

/// The kind of a filesystem by its number (statfs(2), linux/magic.h).
pub fn filesystem(number: u32) -> Filesystem {
    let (name, is_shared) = match number {
        0xef53 => ("ext4", false),
        0x0102_1994 => ("tmpfs (gone after a restart)", false),
        0x9123_683e => ("btrfs", false),
        0x5846_5342 => ("xfs", false),
        0x794c_7630 => ("overlayfs", false),
        0x2fc1_2fc1 => ("zfs", false),
        0xf2f5_2010 => ("f2fs", false),
        0xca45_1a4e => ("bcachefs", false),
        0x6969 => ("nfs", true),
        0xff53_4d42 | 0xfe53_4d42 => ("smb", true),
        0x00c3_6400 => ("ceph", true),
        0x5346_414f => ("afs", true),
        0x0102_1997 => ("9p", true),
        0x6573_5546 => ("fuse", true),
        _ => ("another filesystem", false),
    };
    Filesystem { name, is_shared }
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;
    use serde_json::{Value, json};
    use std::os::unix::fs::symlink;

    #[test]
    fn the_daemon_is_of_this_version() {
        let own = env!("CARGO_PKG_VERSION");
        let grade = |version: &str| {
            daemon(Ok(Status { version: version.to_owned(), ..Status::default() })).grade
        };
        assert_eq!(grade(own), Grade::Ok);
        assert_eq!(grade(&format!("{own}+1234")), Grade::Ok);
        assert_eq!(grade("0.0.0"), Grade::Warn);
        assert_eq!(daemon(Err("gone".into())).grade, Grade::Fail);
    }

    #[test]
    fn hits_that_were_compiled_again() {
        let config = Config::load(&config::Environment::new(&[])).config;
        let find = |counters: Value| {
            let counters = serde_json::from_value(counters).unwrap();
            verification(&config, Some(&Stats { counters, ..Stats::default() }))
        };
        assert_eq!(verification(&config, None), None);
        assert_eq!(find(json!({ "verify_skipped": 3 })), None);
        assert_eq!(find(json!({ "verify_match": 3 })).unwrap().grade, Grade::Ok);
        let wrong = find(json!({ "verify_match": 3, "verify_mismatch": 1 })).unwrap();
        assert_eq!(wrong.grade, Grade::Warn);
        assert!(wrong.remedy.contains("verify-mismatch"), "{wrong:?}");
    }

    #[test]
    fn daemons_that_are_not_asked() {
        let other = |build: Option<&str>| OtherDaemon {
            socket: PathBuf::from("/run/x.sock"),
            build: build.map(str::to_owned),
        };
        assert_eq!(other_daemons(&[]), None);
        let found = other_daemons(&[other(Some("0.1.0+b")), other(None), other(Some("0.1.0+a"))]);
        let seen =
            "3 more: 0.1.0+a, 0.1.0+b, 1 of this build for other caches, containers or rights";
        assert_eq!(found.unwrap().seen, seen);
    }

    #[test]
    fn sockets_in_another_place() {
        let made = || Ok(PathBuf::from("/c/run"));
        assert_eq!(runtime_folder(made(), &[]).grade, Grade::Ok);
        let refused = [(PathBuf::from("/tmp/rcache-1"), "it belongs to user 2".to_owned())];
        let found = runtime_folder(made(), &refused);
        assert_eq!(found.grade, Grade::Warn);
        assert_eq!(found.seen, "/c/run, since /tmp/rcache-1: it belongs to user 2");
        assert_eq!(runtime_folder(Err(io::ErrorKind::Other.into()), &refused).grade, Grade::Fail);
    }

    #[test]
    fn room_and_filesystem() {
        let grade = |free, number| room("/c", free, filesystem(number)).grade;
        assert_eq!(grade(5_000_000_000, 0xef53), Grade::Ok);
        assert_eq!(grade(500_000_000, 0xef53), Grade::Warn);
        assert_eq!(grade(5_000_000_000, 0x6969), Grade::Warn);
        assert_eq!(
            room("/c", 5_000_000_000, filesystem(0x9123_683e)).seen,
            "/c can be written, 5.0G free on btrfs"
        );
    }

    #[test]
    fn files_of_others_are_reported() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(scratch.path().join("store/ab")).unwrap();
        std::fs::write(scratch.path().join("store/ab/blob"), "").unwrap();
        let variables = [("RCACHE_DIR".into(), scratch.path().into())];
        let config = Config::load(&config::Environment::new(&variables)).config;
        let own = rustix::process::getuid().as_raw();
        assert_eq!(owners(&config, own), None);
        let found = owners(&config, own + 1).unwrap();
        assert!(found.grade == Grade::Warn && found.seen.starts_with("3 files"), "{found:?}");
        assert!(found.remedy.starts_with(&format!("chown -R {} ", own + 1)), "{found:?}");
    }

    #[test]
    fn a_clock_that_is_off() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let off = |seconds| clock("x", now - Duration::from_secs(seconds), now).grade;
        assert_eq!((off(0), off(1), off(2)), (Grade::Ok, Grade::Ok, Grade::Warn));
        assert_eq!(clock("x", now + Duration::from_secs(9), now).grade, Grade::Warn);
    }

    #[test]
    fn a_cache_folder_that_is_a_file() {
        let scratch = tempfile::NamedTempFile::new().unwrap();
        let variables = [("RCACHE_DIR".into(), scratch.path().into())];
        let loaded = Config::load(&config::Environment::new(&variables));
        assert_eq!(cache_folder(&loaded.config)[0].grade, Grade::Fail);
    }

    #[test]
    fn wrappers_that_the_environment_names_are_told() {
        let told = |value: &str| {
            left_out(&|name| (name == "CXX").then(|| OsString::from(value)))
                .into_iter()
                .map(|finding| finding.seen)
                .collect::<Vec<_>>()
        };
        assert_eq!(told("rcache;/usr/bin/distcc"), ["CXX names /usr/bin/distcc"]);
        assert_eq!(told("ccache g++"), ["CXX names ccache"]);
        assert!(told("rcache g++ -Wall").is_empty() && told("").is_empty());
    }

    #[test]
    fn wrappers_before_the_compiler_are_named() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        for folder in ["wrapped", "real"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        for program in ["wrapped/ccache", "real/gcc"] {
            // Written by another process: what this one has open for writing, a process that another
            // test starts has, too, and then it cannot be run (ETXTBSY).
            let script = "printf '#!/bin/sh\\necho gcc 12\\n' >\"$0\" && chmod 755 \"$0\"";
            let wrote = Command::new("/bin/sh").args(["-c", script]).arg(at(program)).status();
            assert!(wrote.is_ok_and(|status| status.success()));
        }
        symlink(at("wrapped/ccache"), at("wrapped/gcc")).unwrap();
        let path = std::env::join_paths([at("wrapped"), at("real")]).unwrap();
        let findings = plain_calls(&path);
        assert_eq!(findings[0].grade, Grade::Warn);
        assert!(findings[0].seen.contains("ccache"), "{findings:?}");
        let path = std::env::join_paths([at("real")]).unwrap();
        assert_eq!(plain_calls(&path)[0].grade, Grade::Ok);
        assert_eq!(compilers(OsStr::new("/nowhere"))[0].grade, Grade::Fail);
        let found = compilers(&path);
        assert!(found[0].seen.ends_with("real/gcc, gcc 12"), "{found:?}");
    }
}
