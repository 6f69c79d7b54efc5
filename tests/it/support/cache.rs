//! `Cache`: an rcache of its own, whose daemon ends with the test.

use super::processes::daemons_of;
use super::{Call, LIMIT_CALL, Outcome, Project, Stats, is_root, kill, run};
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where the real compilers are.
pub const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// The name that stands for "the folder of masquerading links" in a call's `PATH`.
pub const MASQUERADE_PATH: &str = "@masquerade@";
/// Hits are compiled again at the lowest priority, beside all other tests.
const LIMIT_VERIFICATION: Duration = Duration::from_secs(600);
/// The user and group `nobody`, for cases in which permission bits must count.
const NOBODY: u32 = 65534;

/// The program under test: `RCACHE_TEST_BINARY`, else the one that cargo built.
pub fn rcache_binary() -> PathBuf {
    let other = std::env::var_os("RCACHE_TEST_BINARY").map(PathBuf::from);
    other.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_rcache")))
}

/// An rcache with folders and settings that no other test shares.
pub struct Cache {
    scratch: tempfile::TempDir,
    settings: Vec<(OsString, OsString)>,
    user: Option<u32>,
}

impl Cache {
    /// A cache with default settings.
    pub fn new() -> Cache {
        let scratch = tempfile::Builder::new().prefix("rk").tempdir().expect("a scratch folder");
        for folder in ["home", "run", "config", "tmp", "bin", "distcc"] {
            std::fs::create_dir(scratch.path().join(folder)).unwrap();
        }
        // So that the cluster of this machine's /etc/distcc/hosts has no part in any test.
        std::fs::write(scratch.path().join("distcc/hosts"), "").unwrap();
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(scratch.path().join("run"), private).unwrap();
        Cache { scratch, settings: Vec::new(), user: None }
    }

    /// A cache whose hits are all compiled again.
    pub fn verifying() -> Cache {
        Cache::new().with("RCACHE_VERIFY_RATE", "1")
    }

    /// Whether hits are compiled again.
    pub fn verifies(&self) -> bool {
        self.settings.iter().any(|(name, _)| name == "RCACHE_VERIFY_RATE")
    }

    /// Waits until no hit waits to be compiled again.
    #[track_caller]
    pub fn settle(&self) {
        if self.verifies() {
            let settled = || !self.is_verifying();
            super::wait_until("verification", LIMIT_VERIFICATION, settled);
        }
    }

    /// Whether a hit is being compiled again, or waits for it.
    #[track_caller]
    pub fn is_verifying(&self) -> bool {
        let status = self.rcache("daemon status --json").out();
        status.contains("\"verifying\"") && !status.contains("\"verifying\": 0")
    }

    /// With a setting, by its variable.
    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Cache {
        self.settings.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// For a user to whom permission bits apply, together with the project; root gives up its rights.
    pub fn unprivileged(self, project: &Project) -> Cache {
        if is_root() { self.of_user(NOBODY, project) } else { self }
    }

    /// For another user, together with the project; needs root.
    pub fn of_user(mut self, user: u32, project: &Project) -> Cache {
        self.user = Some(user);
        give_away(self.scratch.path(), user);
        give_away(project.root().parent().unwrap(), user);
        self
    }

    /// The folder of everything that belongs to this cache.
    pub fn root(&self) -> &Path {
        self.scratch.path()
    }

    /// The cache folder.
    pub fn folder(&self) -> PathBuf {
        let set = self.settings.iter().rev().find(|(name, _)| name == "RCACHE_DIR");
        set.map_or_else(|| self.scratch.path().join("cache"), |(_, folder)| folder.into())
    }

    /// The folder of the masquerading links, for this cache alone.
    pub fn bin(&self) -> PathBuf {
        self.scratch.path().join("bin")
    }

    /// The variables of every command.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let below = |name: &str| self.scratch.path().join(name).into_os_string();
        let mut all: Vec<(OsString, OsString)> = vec![
            ("RCACHE_DIR".into(), below("cache")),
            ("HOME".into(), below("home")),
            ("XDG_RUNTIME_DIR".into(), below("run")),
            ("XDG_CONFIG_HOME".into(), below("config")),
            ("XDG_CACHE_HOME".into(), below("home/.cache")),
            ("TMPDIR".into(), below("tmp")),
            ("DISTCC_DIR".into(), below("distcc")),
        ];
        all.extend(self.settings.iter().cloned());
        all
    }

    /// Gives a command this cache's variables and user.
    pub fn adopt<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.envs(self.environment());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// The command `rcache COMPILER …` of a call; a `PATH` may name the folder of links.
    pub fn command(&self, project: &Project, call: &Call) -> Command {
        self.command_through(project, call, &[rcache_binary().as_path()])
    }

    /// A call as it is (its first word may be a link to rcache), with this cache's variables.
    pub fn command_bare(&self, project: &Project, call: &Call) -> Command {
        self.command_through(project, call, &[])
    }

    fn command_through(&self, project: &Project, call: &Call, before: &[&Path]) -> Command {
        let mut command = project.command_for(call, before);
        self.adopt(&mut command);
        for (name, value) in &call.variables {
            let value = value.to_string_lossy();
            let value = value.replace(MASQUERADE_PATH, &self.bin().to_string_lossy());
            command.env(name, value);
        }
        command
    }

    /// Runs `rcache COMPILER …`.
    #[track_caller]
    pub fn compile(&self, project: &Project, call: impl Into<Call>) -> Outcome {
        run(&mut self.command(project, &call.into()), LIMIT_CALL)
    }

    /// Compiles, and says how the call ended: the names of the counters that rose.
    #[track_caller]
    pub fn ending(&self, project: &Project, call: impl Into<Call>) -> String {
        let before = self.stats();
        let outcome = self.compile(project, call);
        assert!(outcome.ok(), "{outcome:?}");
        self.endings_since(&before)
    }

    /// The names of the counters that rose since `before`, with blanks between.
    #[track_caller]
    pub fn endings_since(&self, before: &Stats) -> String {
        let rose = self
            .stats()
            .endings_since(before)
            .into_iter()
            .map(|(name, times)| if times == 1 { name } else { format!("{name}*{times}") });
        rose.collect::<Vec<_>>().join(" ")
    }

    /// Runs a subcommand: `cache.rcache("stats --json")`.
    #[track_caller]
    pub fn rcache(&self, words: &str) -> Outcome {
        run(&mut self.subcommand(words), LIMIT_CALL)
    }

    /// The command of a subcommand.
    pub fn subcommand(&self, words: &str) -> Command {
        let mut command = Command::new(rcache_binary());
        command.args(words.split_whitespace()).current_dir(self.root()).env_clear();
        command.env("PATH", SYSTEM_PATH).env("LANG", "C.UTF-8");
        self.adopt(&mut command);
        command
    }

    /// The statistics.
    #[track_caller]
    pub fn stats(&self) -> Stats {
        let answer = self.rcache("stats --json --settled");
        assert!(answer.ok(), "stats: {answer:?}");
        let value = serde_json::from_slice(&answer.stdout);
        Stats(value.unwrap_or_else(|error| panic!("{error} in {answer:?}")))
    }

    /// The ids of this cache's daemons.
    pub fn daemons(&self) -> Vec<u32> {
        let binary = rcache_binary().canonicalize().expect("the program under test");
        daemons_of(&binary, self.root())
    }

    /// The id of the only daemon.
    #[track_caller]
    pub fn daemon(&self) -> u32 {
        let daemons = self.daemons();
        assert_eq!(daemons.len(), 1, "wanted one daemon, found {daemons:?}");
        daemons[0]
    }

    /// Ends the daemon; what it had in memory is on disk afterwards.
    #[track_caller]
    pub fn stop(&self) {
        let stopped = self.rcache("daemon stop");
        assert!(stopped.ok(), "daemon stop: {stopped:?}");
        let gone = || self.daemons().is_empty();
        super::wait_until("the daemon ends", Duration::from_secs(20), gone);
    }

    /// The sockets below this cache's folders.
    pub fn sockets(&self) -> Vec<PathBuf> {
        self.files_where(|about| about.file_type().is_socket())
    }

    /// Files of the store that hold results (everything but the index, its journals and locks).
    pub fn store_files(&self) -> Vec<PathBuf> {
        let mut files = self.files_where(|about| about.is_file());
        let store = self.folder().join("store");
        files.retain(|path| path.starts_with(&store));
        files
    }

    fn files_where(&self, wanted: impl Fn(&std::fs::Metadata) -> bool) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.root().to_owned(), self.folder()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let Ok(about) = std::fs::symlink_metadata(entry.path()) else { continue };
                if about.is_dir() {
                    folders.push(entry.path());
                } else if wanted(&about) {
                    found.push(entry.path());
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// Puts a symlink to rcache, named like a compiler, into the folder of links; returns its path.
    pub fn link(&self, name: &str) -> PathBuf {
        let link = self.bin().join(name);
        std::os::unix::fs::symlink(rcache_binary(), &link).expect("make a link");
        link
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let daemons = self.daemons();
        if daemons.is_empty() {
            return;
        }
        let _ = self.subcommand("daemon stop").output();
        for pid in daemons {
            kill(pid);
        }
    }
}

fn give_away(path: &Path, user: u32) {
    std::os::unix::fs::chown(path, Some(user), Some(user)).expect("chown as root");
    if std::fs::symlink_metadata(path).is_ok_and(|about| about.is_dir()) {
        for entry in std::fs::read_dir(path).unwrap().flatten() {
            give_away(&entry.path(), user);
        }
    }
}
