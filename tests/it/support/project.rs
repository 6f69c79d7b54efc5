//! `Project`: a scratch folder with sources, and commands that run in it.

use super::cache::SYSTEM_PATH;
use super::program::{self, write_program};
use super::{Call, LIMIT_CALL, Outcome, run};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// A scratch folder that is removed at the end of the test.
pub struct Project {
    scratch: tempfile::TempDir,
    root: PathBuf,
}

impl Project {
    /// A project of these files (name, text).
    pub fn new(files: &[(&str, &str)]) -> Project {
        let scratch = tempfile::Builder::new().prefix("rc").tempdir().expect("a scratch folder");
        let root = scratch.path().join("p");
        fs::create_dir(&root).unwrap();
        let project = Project { scratch, root };
        for (name, text) in files {
            project.write(name, text);
        }
        project
    }

    /// The project's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder beside the project's, for what does not belong to it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// A file's path.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file in place, and the folders above it.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes a script that can be run.
    pub fn script(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_program(&path, text);
    }

    /// Puts another file of the same size and modification time in a file's place, by a rename.
    pub fn replace_unseen(&self, name: &str, text: &str) {
        let old = fs::metadata(self.path(name)).unwrap();
        assert_eq!(old.len(), text.len() as u64, "the case wants two texts of the same length");
        // It may be a program.
        write_program(&self.path("replacement"), text);
        self.mode("replacement", 0o644);
        self.set_modified("replacement", old.modified().unwrap());
        fs::rename(self.path("replacement"), self.path(name)).unwrap();
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Makes a symlink, in the place of the one that may be there.
    pub fn symlink(&self, target: &str, name: &str) {
        let _ = fs::remove_file(self.path(name));
        std::os::unix::fs::symlink(target, self.path(name)).unwrap();
    }

    /// Sets permission bits.
    pub fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Moves a file's modification time `seconds` away from the epoch.
    pub fn touch(&self, name: &str, seconds: u64) {
        self.set_modified(name, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    }

    fn set_modified(&self, name: &str, time: SystemTime) {
        program::set_modified(&self.path(name), time);
    }

    /// A file's bytes.
    #[track_caller]
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Whether a file is there.
    pub fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// A command in the project's folder with a clean environment.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env_clear();
        command.env("PATH", SYSTEM_PATH).env("LANG", "C.UTF-8").env("HOME", &self.root);
        command
    }

    /// The plain compiler.
    #[track_caller]
    pub fn plain(&self, call: impl Into<Call>) -> Outcome {
        let call = call.into();
        let mut command = self.command_for(&call, &[]);
        run(&mut command, LIMIT_CALL)
    }

    /// The command of a call, with `before` put before its words.
    pub fn command_for(&self, call: &Call, before: &[&Path]) -> Command {
        let mut words: Vec<std::ffi::OsString> = Vec::new();
        if let Some(mask) = call.umask {
            let script = format!("umask {mask:03o}; exec \"$@\"");
            words.extend(["/bin/sh", "-c", &script, "sh"].map(Into::into));
        }
        words.extend(before.iter().map(|word| word.as_os_str().to_owned()));
        words.extend(call.words.iter().cloned());
        let has_own_path = call.variables.iter().any(|(name, _)| name == "PATH");
        let found = if has_own_path { None } else { in_system_path(&words[0]) };
        let mut command = self.command(found.as_deref().unwrap_or(words[0].as_ref()));
        command.arg0(&words[0]);
        command.args(&words[1..]).current_dir(self.root.join(&call.folder));
        command.envs(call.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// The file that a bare name means. std forks for a name that it is to look up in another PATH than its own.
fn in_system_path(name: &OsStr) -> Option<PathBuf> {
    if name.as_encoded_bytes().contains(&b'/') {
        return None;
    }
    SYSTEM_PATH.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.exists())
}
