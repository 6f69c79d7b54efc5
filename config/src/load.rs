//! Puts the settings of one call together: defaults, files, environment, in rising order.

use crate::environment::{
    DISTCC_DIR, DISTCC_HOSTS, Environment, HOME, Lookups, PREFIX, RCACHE_CONFIG, RCACHE_DIR,
    XDG_CACHE_HOME, XDG_CONFIG_HOME,
};
use crate::error::{Place, Problem, nearest};
use crate::keys::{Given, KEYS, Key, Value, Written};
use crate::{Config, text_file, toml_file};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

mod distcc_hosts;

/// The machine's settings, below the user's; its path from the root.
const MACHINE_FILE: &str = "etc/rcache/rcache.toml";

/// The settings of one call, where each came from, and what was wrong.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// Where each key's value came from, in the order of [`KEYS`].
    pub origins: Vec<Origin>,
    /// What was wrong; the keys concerned have their defaults. A compile warns of these once, a
    /// subcommand fails with them.
    pub problems: Vec<Problem>,
    /// Every variable that was looked at, with what was found.
    variables: Vec<(OsString, Option<OsString>)>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was set.
    Default,
    /// A settings file, or a host list of distcc.
    File {
        /// The file.
        path: PathBuf,
        /// The line of the key, from 1; `None` where the whole file is the value.
        line: Option<usize>,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        name: String,
    },
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Origin::File { path, line: None } => path.display().fmt(f),
            Origin::Environment { name } => f.write_str(name),
        }
    }
}

/// One setting as `rcache config` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name of the key.
    pub key: &'static str,
    /// The value; its `Display` is the text.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

impl Config {
    /// Reads the settings of a call from its variables and files. It never fails: a bad key has
    /// its default, and is listed among the problems.
    pub fn load(environment: &Environment) -> Loaded {
        Config::load_below(Path::new("/"), environment)
    }

    /// With the machine's files below another folder.
    fn load_below(root: &Path, environment: &Environment) -> Loaded {
        let lookups = Lookups::new(environment);
        let mut loading = Loading {
            config: Config::defaults(&lookups),
            defaults: Config::defaults(&lookups),
            origins: vec![Origin::Default; KEYS.len()],
            problems: Vec::new(),
            lookups: &lookups,
            root,
        };
        loading.read_files();
        loading.read_variables();
        loading.read_distcc_hosts();
        loading.find_misspelt_variables(environment);
        loading.require_cache_dir();
        let Loading { mut config, origins, problems, .. } = loading;
        let slots = KEYS.iter().zip(&origins).find(|(key, _)| key.name == "local_slots");
        config.local_slots_set = slots.is_some_and(|(_, origin)| *origin != Origin::Default);
        Loaded { config, origins, problems, variables: lookups.into_found() }
    }

    /// The files that [`Config::load`] would read, whether they are there or not, the weakest
    /// first. Who keeps a [`Loaded`] reads it anew when one of these changes, appears or goes.
    pub fn files(environment: &Environment) -> Vec<PathBuf> {
        Config::files_below(Path::new("/"), environment)
    }

    fn files_below(root: &Path, environment: &Environment) -> Vec<PathBuf> {
        let lookups = Lookups::new(environment);
        let settings = files(root, &lookups).map_or_else(|_| Vec::new(), |files| files.paths);
        settings.into_iter().chain(distcc_hosts::files(root, &lookups)).collect()
    }
}

/// The settings file of this environment that a user may write: the one that is named, else the user's.
pub(crate) fn users_file(environment: &Environment) -> Result<PathBuf, String> {
    let lookups = Lookups::new(environment);
    let files = files(Path::new("/"), &lookups).map_err(|problem| problem.to_string())?;
    match files.paths.last() {
        Some(path) if files.named || files.paths.len() > 1 => Ok(path.clone()),
        _ => {
            Err("there is no place for settings; set HOME, XDG_CONFIG_HOME or RCACHE_CONFIG".into())
        }
    }
}

impl Loaded {
    /// Whether these settings hold for another call too, as far as its variables decide that.
    pub fn holds_for(&self, environment: &Environment) -> bool {
        self.variables.iter().all(|(name, value)| environment.get(name) == value.as_deref())
    }

    /// Each setting in force and where it came from.
    pub fn rows(&self) -> Vec<Row> {
        let rows = KEYS.iter().zip(&self.origins);
        rows.map(|(key, origin)| Row {
            key: key.name,
            value: (key.show)(&self.config),
            origin: origin.clone(),
        })
        .collect()
    }
}

/// The variables of a call that can decide its settings: `RCACHE_*`, `HOME`, the XDG folders and
/// distcc's ways to its host list.
/// A path in a settings file may name others; [`Loaded::holds_for`] knows those too.
pub fn relevant_variables<'e>(environment: &'e Environment) -> Vec<(&'e OsStr, &'e OsStr)> {
    let relevant = |name: &OsStr| {
        [HOME, XDG_CONFIG_HOME, XDG_CACHE_HOME, DISTCC_HOSTS, DISTCC_DIR]
            .iter()
            .any(|known| name == *known)
            || name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
    };
    environment.iter().filter(|(name, _)| relevant(name)).collect()
}

/// The settings while they are put together.
struct Loading<'a> {
    config: Config,
    defaults: Config,
    origins: Vec<Origin>,
    problems: Vec<Problem>,
    lookups: &'a Lookups<'a>,
    /// What the machine's files are below: `/`, except in tests.
    root: &'a Path,
}

/// The settings files of a call.
struct Files {
    paths: Vec<PathBuf>,
    /// Somebody named it, so it has to be there.
    named: bool,
}

fn files(root: &Path, lookups: &Lookups) -> Result<Files, Problem> {
    if let Some(named) = lookups.get(RCACHE_CONFIG).filter(|value| !value.is_empty()) {
        let path = lookups.expand(named).and_then(|path| match path.is_absolute() {
            true => Ok(path),
            false => Err(format!("{named:?} is not an absolute path; start it with / or ~/")),
        });
        let place = Place::Variable(RCACHE_CONFIG.to_owned());
        return path.map(|path| Files { paths: vec![path], named: true }).map_err(|what| Problem {
            place,
            key: String::new(),
            what,
        });
    }
    let settings = lookups
        .folder(XDG_CONFIG_HOME)
        .or_else(|| lookups.folder(HOME).map(|home| home.join(".config")));
    let users = settings.map(|folder| folder.join("rcache/rcache.toml"));
    let paths = std::iter::once(root.join(MACHINE_FILE)).chain(users).collect();
    Ok(Files { paths, named: false })
}

impl Loading<'_> {
    fn read_files(&mut self) {
        let files = match files(self.root, self.lookups) {
            Ok(files) => files,
            Err(problem) => return self.problems.push(problem),
        };
        for path in &files.paths {
            match text_file::read(path) {
                Ok(Some(text)) => self.read_file(path, &text),
                Ok(None) if files.named => self.problems.push(Problem {
                    place: Place::Variable(RCACHE_CONFIG.to_owned()),
                    key: String::new(),
                    what: format!("the file {} is not there", path.display()),
                }),
                Ok(None) => {}
                Err(problem) => self.problems.push(problem),
            }
        }
    }

    fn read_file(&mut self, path: &Path, text: &str) {
        let (entries, mut problems) = toml_file::parse(path, text);
        self.problems.append(&mut problems);
        for entry in entries {
            let index = KEYS.iter().position(|key| key.name == entry.key);
            let Some(index) = index else {
                let what = unknown_key(&entry.key, &entry.written);
                self.problems.push(Problem { place: entry.place, key: entry.key, what });
                continue;
            };
            let Place::Line { line, .. } = entry.place else { continue };
            let origin = Origin::File { path: path.to_owned(), line: Some(line) };
            self.set(index, entry.written, origin, entry.place);
        }
    }

    fn read_variables(&mut self) {
        for (index, key) in KEYS.iter().enumerate() {
            // The key's own name goes before ccache's way of naming it.
            let alias = (key.name == "cache_dir").then(|| RCACHE_DIR.to_owned());
            let names = [Some(key.variable()), alias];
            for name in names.into_iter().flatten() {
                let Some(value) = self.lookups.get(&name).filter(|value| !value.is_empty()) else {
                    continue;
                };
                let place = Place::Variable(name.clone());
                self.set(index, Written::Variable(value), Origin::Environment { name }, place);
                break;
            }
            self.read_empty_variable(index, key);
        }
    }

    /// `RCACHE_HOSTS=` empties a list or a text that a file has set; where empty is no value, as
    /// for a size, an empty variable counts as not set.
    fn read_empty_variable(&mut self, index: usize, key: &Key) {
        let name = key.variable();
        let can_be_empty = matches!(key.default, "\"\"" | "[]");
        if can_be_empty && self.lookups.get(&name).is_some_and(OsStr::is_empty) {
            let place = Place::Variable(name.clone());
            let written = Written::Variable(OsStr::new(""));
            self.set(index, written, Origin::Environment { name }, place);
        }
    }

    /// Where `hosts` says nothing, distcc's own list holds; where it says something wrong, none.
    fn read_distcc_hosts(&mut self) {
        let index = KEYS.iter().position(|key| key.name == "hosts");
        let wrong = self.problems.iter().any(|problem| problem.key == "hosts");
        let Some(index) = index.filter(|_| !wrong && self.config.hosts.is_empty()) else { return };
        match distcc_hosts::find(self.root, self.lookups) {
            Ok(Some((list, origin))) => {
                self.config.hosts = list;
                self.origins[index] = origin;
            }
            Ok(None) => {}
            Err(problem) => self.problems.push(problem),
        }
    }

    fn set(&mut self, index: usize, written: Written, origin: Origin, place: Place) {
        let key = &KEYS[index];
        // A setter may have changed nothing yet when it fails, so the default is put back by hand.
        match (key.set)(&mut self.config, &Given { written, lookups: self.lookups }) {
            Ok(()) => self.origins[index] = origin,
            Err(what) => {
                (key.reset)(&mut self.config, &self.defaults);
                self.origins[index] = Origin::Default;
                self.problems.push(Problem { place, key: key.name.to_owned(), what });
            }
        }
    }

    /// Only what is close to the name of a key: other programs may have `RCACHE_` variables.
    fn find_misspelt_variables(&mut self, environment: &Environment) {
        let bare = |name: &str| name.trim_start_matches(PREFIX).to_owned();
        let others = [RCACHE_CONFIG, RCACHE_DIR].map(bare);
        let known: Vec<String> =
            KEYS.iter().map(|key| key.name.to_uppercase()).chain(others).collect();
        for (name, _) in environment.iter() {
            let Some(written) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
                continue;
            };
            if known.iter().any(|known| known == written) {
                continue;
            }
            if let Some(nearest) = nearest(written, known.iter().map(String::as_str)) {
                self.problems.push(Problem {
                    place: Place::Variable(format!("{PREFIX}{written}")),
                    key: String::new(),
                    what: format!("no setting has this name; did you mean {PREFIX}{nearest}?"),
                });
            }
        }
    }

    fn require_cache_dir(&mut self) {
        if self.config.cache_dir.as_os_str().is_empty() {
            self.config.disable = true;
            self.problems.push(Problem {
                place: Place::Default,
                key: "cache_dir".to_owned(),
                what: "there is no place for the cache, so nothing is cached; set HOME, \
                       XDG_CACHE_HOME or RCACHE_DIR to an absolute path"
                    .to_owned(),
            });
        }
    }
}

fn unknown_key(key: &str, written: &Written) -> String {
    match nearest(key, KEYS.iter().map(|key| key.name)) {
        Some(nearest) => format!("no setting has this name; did you mean \"{nearest}\"?"),
        None if matches!(written, Written::Other("a table")) => {
            "the settings are not in sections; leave the [header] out".to_owned()
        }
        None => "no setting has this name; `rcache config` lists them".to_owned(),
    }
}

#[cfg(test)]
mod tests;
