//! The settings of each call, read from its own variables and files, and kept while those stay the same.

use compiler::file_memo::Stamp;
use config::{Config, Environment, Loaded};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// Different environments in use at one time; more than a few are rare.
const KEPT_MAX: usize = 16;

/// Settings that were read lately.
#[derive(Default)]
pub struct Settings {
    kept: Mutex<Vec<Arc<Kept>>>,
}

struct Kept {
    loaded: Arc<Loaded>,
    files: Vec<(PathBuf, Option<Stamp>)>,
}

/// The settings of one call.
pub struct Found {
    /// What is in force.
    pub loaded: Arc<Loaded>,
    /// They were read just now: problems are to be shown.
    pub fresh: bool,
}

impl Settings {
    /// The settings of a call with this environment.
    ///
    /// No file is looked at under the lock: it may be on a server that does not answer.
    pub fn find(&self, environment: &Environment) -> Found {
        let for_call = |kept: &&Arc<Kept>| kept.loaded.holds_for(environment);
        let kept: Vec<Arc<Kept>> = self.lock().iter().filter(for_call).cloned().collect();
        let is_current =
            |kept: &&Arc<Kept>| kept.files.iter().all(|(path, stamp)| stamp_of(path) == *stamp);
        if let Some(kept) = kept.iter().find(is_current) {
            return Found { loaded: Arc::clone(&kept.loaded), fresh: false };
        }
        // Stamped before reading: a change in between is read again next time.
        let files = Config::files(environment)
            .into_iter()
            .map(|path| {
                let stamp = stamp_of(&path);
                (path, stamp)
            })
            .collect();
        let loaded = Arc::new(Config::load(environment));
        let mut kept = self.lock();
        if kept.len() == KEPT_MAX {
            kept.remove(0);
        }
        kept.push(Arc::new(Kept { loaded: Arc::clone(&loaded), files }));
        Found { loaded, fresh: true }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Kept>>> {
        self.kept.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

fn stamp_of(path: &std::path::Path) -> Option<Stamp> {
    rustix::fs::stat(path).ok().map(|stat| Stamp::of(&stat))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn settings_are_read_again_when_their_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rcache.toml");
        let variables: Vec<(OsString, OsString)> = vec![
            ("RCACHE_CONFIG".into(), file.clone().into()),
            ("RCACHE_DIR".into(), folder.path().into()),
        ];
        let environment = Environment::new(&variables);
        let settings = Settings::default();
        std::fs::write(&file, "max_files = 1\n").unwrap();
        assert!(settings.find(&environment).fresh);
        assert!(!settings.find(&environment).fresh);
        std::fs::write(&file, "max_files = 22\n").unwrap();
        let found = settings.find(&environment);
        assert!(found.fresh);
        assert_eq!(found.loaded.config.max_files, 22);
    }

    #[test]
    fn settings_are_read_again_when_the_hosts_of_distcc_change() {
        let folder = tempfile::tempdir().unwrap();
        let variables: Vec<(OsString, OsString)> =
            ["HOME", "DISTCC_DIR"].map(|name| (name.into(), folder.path().into())).into();
        let environment = Environment::new(&variables);
        let settings = Settings::default();
        let hosts = || settings.find(&environment).loaded.config.hosts.to_string();
        hosts();
        assert!(!settings.find(&environment).fresh);
        for list in ["a/1", "bb/22"] {
            std::fs::write(folder.path().join("hosts"), list).unwrap();
            assert_eq!(hosts(), list);
        }
        let other = [&variables[..], &[("DISTCC_HOSTS".into(), "c".into())]].concat();
        let found = settings.find(&Environment::new(&other));
        assert!(found.fresh);
        assert_eq!(found.loaded.config.hosts.to_string(), "c");
    }
}
