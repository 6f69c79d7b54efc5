//! The settings of rcache: their names, files, environment variables and units.
//!
//! Nothing here asks the process for its environment except [`Environment::of_this_process`]:
//! the daemon reads the settings of a compile from that compile's variables. In reading order:

#![warn(unreachable_pub)]

pub mod error;
pub mod host_list;
pub mod units;
pub mod words;

pub mod environment;
pub mod keys;
mod text_file;
mod toml_file;

pub mod edit;
mod load;
pub mod paths;

use std::path::PathBuf;
use std::time::Duration;

pub use environment::Environment;
pub use error::{Place, Problem};
pub use host_list::{Host, HostList};
pub use keys::{KEYS, Key, Value};
pub use load::{Loaded, Origin, Row, relevant_variables};
pub use units::{ByteSize, Share, Span};

/// As `base_dir`: the root of the checkout in which a compile runs.
pub const BASE_DIR_AUTO: &str = "auto";

/// Every setting, as it is in force for one call. The field's name is the key's name, plus its unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the store is; absolute. Empty where no place could be found (then `disable` is set).
    pub cache_dir: PathBuf,
    /// Cap on the size of the store in bytes; 0 for none.
    pub max_size_bytes: u64,
    /// Cap on the number of results; 0 for none.
    pub max_files: u64,
    /// Whether stored results are compressed with zstd.
    pub compression: bool,
    /// zstd's level, -5 to 19.
    pub compression_level: i32,
    /// Words put before a compile that runs on this machine; empty for none.
    pub prefix_command: Vec<String>,
    /// The cluster; where the key says nothing, from where distcc keeps its list.
    pub hosts: HostList,
    /// The shared cache: locations with their attributes. They may hold secrets.
    pub remote_storage: Vec<String>,
    /// Whether results are uploaded to it.
    pub remote_write: bool,
    /// Whether the local cache answers nothing by itself.
    pub remote_only: bool,
    /// Whether results that hit in the local cache are uploaded, too.
    pub reshare: bool,
    /// The file of the key that signs uploads; `None` for the usual place.
    pub signing_key: Option<PathBuf>,
    /// Keys whose shared results count, besides those of the list of trusted keys.
    pub trusted_keys: Vec<String>,
    /// Whether results are looked up by source and include files before preprocessing.
    pub direct_mode: bool,
    /// Absolute paths below it are made relative before hashing; empty for none, [`BASE_DIR_AUTO`], or
    /// absolute.
    pub base_dir: PathBuf,
    /// Whether the working directory counts where debug information holds it.
    pub hash_dir: bool,
    /// What may be overlooked when a result is looked for.
    pub sloppiness: Sloppiness,
    /// How the compiler is identified.
    pub compiler_check: CompilerCheck,
    /// Counts in every key, and so keeps results apart.
    pub namespace: String,
    /// Options left out of the key; a `*` at the end stands for anything.
    pub ignore_options: Vec<String>,
    /// Files whose contents count in every key; relative ones belong to the compile's folder.
    pub extra_files_to_hash: Vec<PathBuf>,
    /// Only run the compiler.
    pub disable: bool,
    /// Never store.
    pub read_only: bool,
    /// Never serve from the cache, always store.
    pub recache: bool,
    /// The share of hits that are compiled again behind the build's back, and compared.
    pub verify_rate: Share,
    /// Compiles and preprocessor runs on this machine at one time, where there are hosts or somebody has
    /// set it; at least 1.
    pub local_slots: usize,
    /// Somebody has set `local_slots`.
    pub local_slots_set: bool,
    /// The time that one remote compile may take; more than zero.
    pub remote_timeout: Duration,
    /// The daemon ends itself after this long without a call; `None` for never.
    pub idle_timeout: Option<Duration>,
    /// Where the daemon writes its log; absolute.
    pub log_file: Option<PathBuf>,
    /// What the daemon writes to its log.
    pub log_level: Level,
}

impl Config {
    /// Compiles on this machine at one time: the smaller of `local_slots` and `--localslots` of the
    /// host list. `None` where nobody but the build itself has a say: without hosts its `-j` is meant
    /// for this machine, and a prefix command may well queue, or send the compile away.
    pub fn compile_slots(&self) -> Option<usize> {
        let listed = self.hosts.local_slots;
        let is_for_hosts = !self.hosts.is_empty() && self.prefix_command.is_empty();
        self.slots(listed, is_for_hosts)
    }

    /// Preprocessor runs on this machine at one time: as for compiles, with `--localslots_cpp`.
    pub fn preprocess_slots(&self) -> Option<usize> {
        self.slots(self.hosts.local_slots_cpp, !self.hosts.is_empty())
    }

    fn slots(&self, listed: Option<usize>, is_for_hosts: bool) -> Option<usize> {
        let bounded = self.local_slots_set || listed.is_some() || is_for_hosts;
        bounded.then(|| listed.unwrap_or(usize::MAX).min(self.local_slots))
    }
}

macro_rules! sloppiness {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What may be overlooked, at the user's own risk; the names and meanings are ccache's.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Sloppiness { $($(#[$doc])* pub $name: bool,)* }

        impl Sloppiness {
            /// Every name that the setting knows.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// Switches one on; `false` where the name is not known.
            pub fn set(&mut self, name: &str) -> bool {
                match name {
                    $(stringify!($name) => self.$name = true,)*
                    _ => return false,
                }
                true
            }

            /// The names that are on, in the order of [`Sloppiness::NAMES`].
            pub fn names(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$name { names.push(stringify!($name)); })*
                names
            }
        }
    };
}

sloppiness! {
    /// clang's `-index-store-path` and `-index-unit-output-path` do not count.
    clang_index_store,
    /// `__FILE__` does not count: an old name of ccache's.
    file_macro,
    /// A header with the recorded size and times is taken as unchanged, without reading it.
    file_stat_matches,
    /// With `file_stat_matches`: the time of the last status change may differ.
    file_stat_matches_ctime,
    /// The working directory does not count for `.gcno` files.
    gcno_cwd,
    /// `.incbin` in assembly text is not followed.
    incbin,
    /// A header whose status changed during the compile may be recorded.
    include_file_ctime,
    /// A header modified during the compile may be recorded.
    include_file_mtime,
    /// clang's `-ivfsoverlay` does not count.
    ivfsoverlay,
    /// `LANG` and `LC_*` do not count.
    locale,
    /// clang's `-fmodules` is cached.
    modules,
    /// Precompiled headers may be made through the cache, though macros are not all in the key.
    pch_defines,
    /// `-frandom-seed=` does not count.
    random_seed,
    /// System headers are not recorded.
    system_headers,
    /// `__DATE__`, `__TIME__` and `__TIMESTAMP__` do not count.
    time_macros,
}

impl Sloppiness {
    /// Names that are known and change nothing here, each with the reason.
    pub const WITHOUT_EFFECT: &'static [(&'static str, &'static str)] = &[
        ("clang_index_store", "the option is not cached; ignore_options can leave it out"),
        ("file_macro", "__FILE__ is known by the words of the call"),
        ("file_stat_matches", "a file that is as it was is not read anyway"),
        ("file_stat_matches_ctime", "a file that is as it was is not read anyway"),
        ("ivfsoverlay", "the option is not cached"),
        ("modules", "clang's -fmodules is not cached"),
        ("system_headers", "system headers count; one stat each"),
    ];

    /// Those that are on.
    pub fn without_effect(&self) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        let names = self.names();
        Self::WITHOUT_EFFECT.iter().filter(move |(name, _)| names.contains(name))
    }
}

/// How the compiler is identified, `compiler_check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompilerCheck {
    /// By the contents of the compiler's files.
    Content,
    /// By the size and modification time of the compiler's file.
    Mtime,
    /// Not at all.
    None,
    /// By this text.
    String(String),
    /// By what this shell command prints; `%compiler%` in it stands for the compiler.
    Command(String),
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What broke.
    Error,
    /// What may be wrong.
    Warn,
    /// What the daemon does.
    Info,
    /// What each call does.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// Every level, the quietest first.
    pub const ALL: &'static [Level] =
        &[Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];

    /// Its name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}
