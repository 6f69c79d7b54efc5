//! One row for each key: its default, what it means, how it is read and how it is shown.

use crate::environment::{Lookups, XDG_CACHE_HOME};
use crate::error::nearest;
use crate::units::{ByteSize, Share, Span};
use crate::{CompilerCheck, Config, HostList, Level, Sloppiness, words};
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One setting.
pub struct Key {
    /// Its name in `rcache.toml`; the variable is `RCACHE_` and this in capitals.
    pub name: &'static str,
    /// What it is when nothing is set: TOML, or words for what depends on the machine.
    pub default: &'static str,
    /// What it means, in a line or two.
    pub meaning: &'static str,
    /// Reads a value into its field; the error says what is wrong and what would be right.
    pub(crate) set: fn(&mut Config, &Given) -> Result<(), String>,
    /// Puts the default back.
    pub(crate) reset: fn(&mut Config, &Config),
    /// Shows the value that is in force.
    pub(crate) show: fn(&Config) -> Value,
}

impl Key {
    /// The environment variable that overrides it.
    pub fn variable(&self) -> String {
        format!("{}{}", crate::environment::PREFIX, self.name.to_uppercase())
    }

    /// The row of a name.
    pub fn of(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name)
    }
}

/// The value of a setting, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number from 0 to 1.
    Share(Share),
    /// Anything that is one text: sizes, spans of time, paths, names.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
}

/// A list shows its members with blanks between, as in an environment variable.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Bool(value) => value.fmt(f),
            Value::Integer(value) => value.fmt(f),
            Value::Share(value) => value.fmt(f),
            Value::Text(value) => value.fmt(f),
            Value::List(values) => values.join(" ").fmt(f),
        }
    }
}

/// What was written for a key, before it is known to fit.
pub(crate) struct Given<'a> {
    pub written: Written<'a>,
    pub lookups: &'a Lookups<'a>,
}

/// In what form it was written.
pub(crate) enum Written<'a> {
    /// In an environment variable, where everything is text.
    Variable(&'a OsStr),
    Bool(bool),
    Integer(i64),
    Fraction(f64),
    Text(Cow<'a, str>),
    List(Vec<String>),
    /// Something that no key takes, by the name of its kind.
    Other(&'static str),
}

macro_rules! key {
    ($name:literal, $default:literal, $meaning:literal, $field:ident, |$given:ident| $read:expr,
     |$value:ident| $show:expr) => {
        Key {
            name: $name,
            default: $default,
            meaning: $meaning,
            set: |config, $given| {
                config.$field = $read;
                Ok(())
            },
            reset: |config, defaults| config.$field = defaults.$field.clone(),
            show: |config| {
                let $value = &config.$field;
                $show
            },
        }
    };
}

/// Every setting, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    key!(
        "cache_dir",
        "$XDG_CACHE_HOME/rcache, or ~/.cache/rcache",
        "Where the store is. RCACHE_DIR sets it too.",
        cache_dir,
        |given| given.absolute_path()?,
        |value| Value::path(value)
    ),
    key!(
        "max_size",
        "\"5.0G\"",
        "Size cap of the store, such as 25.0G, 500M or 10Gi; 0 for none. k, M, G, T are decimal, \
         Ki, Mi, Gi, Ti binary; a number alone counts Gi.",
        max_size_bytes,
        |given| given.size()?,
        |value| Value::Text(ByteSize(*value).to_string())
    ),
    key!(
        "max_files",
        "0",
        "Cap on the number of results; 0 for none.",
        max_files,
        |given| given.integer(0..=i64::MAX)? as u64,
        |value| Value::Integer(*value as i64)
    ),
    key!(
        "compression",
        "true",
        "Whether stored results are compressed with zstd.",
        compression,
        |given| given.bool()?,
        |value| Value::Bool(*value)
    ),
    key!(
        "compression_level",
        "1",
        "zstd's level, -5 to 19.",
        compression_level,
        |given| given.integer(-5..=19)? as i32,
        |value| Value::Integer((*value).into())
    ),
    key!(
        "prefix_command",
        "\"\"",
        "A command put before a compile that runs on this machine; quoted as in a shell.",
        prefix_command,
        |given| given.command()?,
        |value| Value::Text(words::join(value))
    ),
    key!(
        "hosts",
        "[]",
        "The cluster in distcc's host syntax: NAME/SLOTS, NAME:PORT, ADDRESS, [IPV6], with ,lzo or \
         ,down, such as [\"k8vm0/16\", \"k8n0/12,lzo\"]; localhost/N, --localslots=N, \
         --localslots_cpp=N, --randomize and # comments as there. When empty: DISTCC_HOSTS (also \
         when that is empty), else hosts in DISTCC_DIR or ~/.distcc, else /etc/distcc/hosts, \
         unless it is just the package's 127.0.0.1.",
        hosts,
        |given| given.hosts()?,
        |value| Value::List(value.words())
    ),
    key!(
        "remote_storage",
        "[]",
        "The shared cache behind the local one: URLs, each with attributes as in ccache, such as \
         [\"redis://cache.lan|ttl=14d\", \"s3://bucket/prefix|region=eu-west-1|read-only\"]; also \
         rediss, gs, azblob, memcached, http, https, file and ghac.",
        remote_storage,
        |given| given.list()?,
        |value| Value::List(value.iter().map(|url| without_secrets(url)).collect())
    ),
    key!(
        "remote_write",
        "false",
        "Whether results are uploaded to the shared cache, signed by signing_key; on a known build \
         service only from protected branches.",
        remote_write,
        |given| given.bool()?,
        |value| Value::Bool(*value)
    ),
    key!(
        "remote_only",
        "false",
        "The local cache answers nothing by itself: what the shared cache lacks is a miss.",
        remote_only,
        |given| given.bool()?,
        |value| Value::Bool(*value)
    ),
    key!(
        "reshare",
        "false",
        "Results that hit in the local cache are uploaded, too.",
        reshare,
        |given| given.bool()?,
        |value| Value::Bool(*value)
    ),
    key!(
        "signing_key",
        "\"\"",
        "The file of the key that signs uploads; empty for signing.key beside the user's rcache.toml. \
         `rcache keys new` makes it.",
        signing_key,
        |given| given.optional_path()?,
        |value| Value::path(value.as_deref().unwrap_or(Path::new("")))
    ),
    key!(
        "trusted_keys",
        "[]",
        "Keys whose shared results count, as ed25519:… texts, besides those of `rcache keys trust`.",
        trusted_keys,
        |given| given.list()?,
        |value| Value::List(value.clone())
    ),
    key!(
        "direct_mode",
        "true",
        "Look results up by source and include files before preprocessing.",
        direct_mode,
        |given| given.bool()?,
        |value| Value::Bool(*value)
    ),
    key!(
        "base_dir",
        "\"\"",
        "Absolute paths below this folder are made relative before hashing; auto stands for the root of \
         the checkout in which the compile runs.",
        base_dir,
        |given| given.base_dir()?,
        |value| Value::path(value)
    ),
    key!(
        "hash_dir",
        "true",
        "The working directory counts where debug information holds it.",
        hash_dir,
        |given| given.bool()?,
        |value| Value::Bool(*value)
    ),
    key!(
        "sloppiness",
        "[]",
        "What may be overlooked, by ccache's names: clang_index_store, file_macro, \
         file_stat_matches, \
         file_stat_matches_ctime, gcno_cwd, incbin, include_file_ctime, include_file_mtime, \
         ivfsoverlay, locale, modules, pch_defines, random_seed, system_headers, time_macros.",
        sloppiness,
        |given| given.sloppiness()?,
        |value| Value::List(value.names().into_iter().map(str::to_owned).collect())
    ),
    key!(
        "compiler_check",
        "\"content\"",
        "How the compiler is identified: content, mtime, none, string:TEXT, or a command whose \
         output counts (%compiler% in it stands for the compiler).",
        compiler_check,
        |given| given.compiler_check()?,
        |value| Value::Text(value.to_string())
    ),
    key!(
        "namespace",
        "\"\"",
        "Counts in every key, and so keeps results apart.",
        namespace,
        |given| given.text()?.into_owned(),
        |value| Value::Text(value.clone())
    ),
    key!(
        "ignore_options",
        "[]",
        "Compiler options left out of the key; * at the end stands for anything.",
        ignore_options,
        |given| given.list()?,
        |value| Value::List(value.clone())
    ),
    key!(
        "extra_files_to_hash",
        "[]",
        "Files that count in every key.",
        extra_files_to_hash,
        |given| given.paths()?,
        |value| Value::List(value.iter().map(|path| shown(path)).collect())
    ),
    key!("disable", "false", "Only run the compiler.", disable, |given| given.bool()?, |value| {
        Value::Bool(*value)
    }),
    key!("read_only", "false", "Never store.", read_only, |given| given.bool()?, |value| {
        Value::Bool(*value)
    }),
    key!(
        "recache",
        "false",
        "Never serve from the cache, always store.",
        recache,
        |given| given.bool()?,
        |value| Value::Bool(*value)
    ),
    key!(
        "verify_rate",
        "0",
        "The share of hits, from 0 to 1, that the daemon compiles again behind the build's back, at \
         low priority, and compares; on a difference the result is dropped, logged and counted.",
        verify_rate,
        |given| given.share()?,
        |value| Value::Share(*value)
    ),
    key!(
        "local_slots",
        "the number of cores",
        "Compiles and preprocessor runs on this machine at one time, over all builds; without hosts only \
         where it is set.",
        local_slots,
        |given| given.integer(1..=LOCAL_SLOTS_MAX)? as usize,
        |value| Value::Integer(*value as i64)
    ),
    key!(
        "remote_timeout",
        "\"300s\"",
        "The time that one remote compile may take.",
        remote_timeout,
        |given| given
            .span()?
            .ok_or("a remote compile needs some time; write for example \"300s\"")?,
        |value| Value::Text(Span(*value).to_string())
    ),
    key!(
        "idle_timeout",
        "\"30m\"",
        "The daemon ends itself after this long without a call; 0 for never.",
        idle_timeout,
        |given| given.span()?,
        |value| Value::Text(Span(value.unwrap_or_default()).to_string())
    ),
    key!(
        "log_file",
        "\"\"",
        "Where the daemon writes its log; empty for nowhere.",
        log_file,
        |given| given.optional_path()?,
        |value| Value::path(value.as_deref().unwrap_or(Path::new("")))
    ),
    key!(
        "log_level",
        "\"warn\"",
        "How much is logged: error, warn, info, debug or trace.",
        log_level,
        |given| given.level()?,
        |value| Value::Text(value.name().to_owned())
    ),
];

/// More local compiles than this is a slip of the pen on any machine.
const LOCAL_SLOTS_MAX: i64 = 10_000;

impl Config {
    /// What holds when nothing is set: the `default` column of [`KEYS`], as a test checks.
    pub(crate) fn defaults(lookups: &Lookups) -> Config {
        let home = || lookups.folder(crate::environment::HOME);
        let caches =
            lookups.folder(XDG_CACHE_HOME).or_else(|| home().map(|home| home.join(".cache")));
        Config {
            cache_dir: caches.map(|folder| folder.join("rcache")).unwrap_or_default(),
            max_size_bytes: 5_000_000_000,
            max_files: 0,
            compression: true,
            compression_level: 1,
            prefix_command: Vec::new(),
            hosts: HostList::default(),
            remote_storage: Vec::new(),
            remote_write: false,
            remote_only: false,
            reshare: false,
            signing_key: None,
            trusted_keys: Vec::new(),
            direct_mode: true,
            base_dir: PathBuf::new(),
            hash_dir: true,
            sloppiness: Sloppiness::default(),
            compiler_check: CompilerCheck::Content,
            namespace: String::new(),
            ignore_options: Vec::new(),
            extra_files_to_hash: Vec::new(),
            disable: false,
            read_only: false,
            recache: false,
            verify_rate: Share::NONE,
            local_slots: std::thread::available_parallelism().map_or(1, usize::from),
            local_slots_set: false,
            remote_timeout: Duration::from_secs(300),
            idle_timeout: Some(Duration::from_secs(30 * 60)),
            log_file: None,
            log_level: Level::Warn,
        }
    }
}

impl Given<'_> {
    fn bool(&self) -> Result<bool, String> {
        let Written::Variable(_) = self.written else {
            return match self.written {
                Written::Bool(value) => Ok(value),
                _ => Err(self.not("a truth value; write true or false, without quotes")),
            };
        };
        match self.text()?.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err(self.not("a truth value; write 1, true, yes, on, 0, false, no or off")),
        }
    }

    fn integer(&self, range: RangeInclusive<i64>) -> Result<i64, String> {
        let value = match &self.written {
            Written::Integer(value) => Some(*value),
            Written::Variable(text) => text.to_str().and_then(|text| text.trim().parse().ok()),
            _ => None,
        };
        let wanted = match *range.end() {
            i64::MAX => format!("a whole number from {} up", range.start()),
            end => format!("a whole number from {} to {end}", range.start()),
        };
        value.filter(|value| range.contains(value)).ok_or_else(|| self.not(&wanted))
    }

    fn share(&self) -> Result<Share, String> {
        let number = match &self.written {
            Written::Integer(value) => Some(*value as f64),
            Written::Fraction(value) => Some(*value),
            Written::Variable(text) => text.to_str().and_then(|text| text.trim().parse().ok()),
            _ => None,
        };
        let share = number.and_then(Share::of);
        share.ok_or_else(|| self.not("a share; write a number from 0 to 1, such as 0.001"))
    }

    fn size(&self) -> Result<u64, String> {
        let text = match &self.written {
            Written::Integer(value) => value.to_string().into(),
            _ => self.text()?,
        };
        ByteSize::parse(&text).map(|size| size.0)
    }

    /// `None` for 0.
    fn span(&self) -> Result<Option<Duration>, String> {
        let text = match &self.written {
            Written::Integer(value) => value.to_string().into(),
            _ => self.text()?,
        };
        Span::parse(&text).map(|span| Some(span.0).filter(|duration| !duration.is_zero()))
    }

    fn text(&self) -> Result<Cow<'_, str>, String> {
        match &self.written {
            Written::Text(text) => Ok(Cow::Borrowed(text)),
            Written::Variable(text) => {
                text.to_str().map(Cow::Borrowed).ok_or_else(|| self.not("UTF-8"))
            }
            _ => Err(self.not("a text; write it between quotes")),
        }
    }

    fn list(&self) -> Result<Vec<String>, String> {
        match &self.written {
            Written::List(list) => Ok(list.clone()),
            Written::Text(_) | Written::Variable(_) => {
                Ok(self.text()?.split_whitespace().map(str::to_owned).collect())
            }
            _ => Err(self.not("a list of texts; write for example [\"a\", \"b\"]")),
        }
    }

    /// Each text of a list is a line of its own, so that a comment ends with it.
    fn hosts(&self) -> Result<HostList, String> {
        let text = match &self.written {
            Written::Text(_) | Written::Variable(_) => self.text()?.into_owned(),
            _ => self.list()?.join("\n"),
        };
        HostList::parse(&text).map_err(|error| error.what)
    }

    fn command(&self) -> Result<Vec<String>, String> {
        match &self.written {
            Written::List(list) => Ok(list.clone()),
            _ => words::split(&self.text()?),
        }
    }

    /// A variable may hold any bytes, a TOML text only UTF-8.
    fn path(&self) -> Result<PathBuf, String> {
        match &self.written {
            Written::Variable(text) => self.lookups.expand(text),
            _ => self.lookups.expand(OsStr::new(&*self.text()?)),
        }
    }

    fn paths(&self) -> Result<Vec<PathBuf>, String> {
        let expand = |text: String| self.lookups.expand(&OsString::from(text));
        self.list()?.into_iter().map(expand).collect()
    }

    fn absolute_path(&self) -> Result<PathBuf, String> {
        let path = self.path()?;
        match path.is_absolute() {
            true => Ok(path),
            false => Err(self.not("an absolute path; start it with / or ~/")),
        }
    }

    fn optional_path(&self) -> Result<Option<PathBuf>, String> {
        match self.path()?.as_os_str().is_empty() {
            true => Ok(None),
            false => self.absolute_path().map(Some),
        }
    }

    /// A folder, or the word that stands for one that each call has of its own.
    fn base_dir(&self) -> Result<PathBuf, String> {
        match &self.written {
            Written::Variable(text) if *text == crate::BASE_DIR_AUTO => {
                Ok(crate::BASE_DIR_AUTO.into())
            }
            Written::Text(text) if *text == crate::BASE_DIR_AUTO => Ok(crate::BASE_DIR_AUTO.into()),
            _ => Ok(self.optional_path()?.unwrap_or_default()),
        }
    }

    /// ccache parts these names with commas, so they may stay in a text that is carried over.
    fn sloppiness(&self) -> Result<Sloppiness, String> {
        let mut sloppiness = Sloppiness::default();
        for name in self.list()?.iter().flat_map(|names| names.split(',')) {
            if !name.is_empty() && !sloppiness.set(name) {
                let hint = match nearest(name, Sloppiness::NAMES.iter().copied()) {
                    Some(nearest) => format!("did you mean \"{nearest}\"?"),
                    None => format!("the names are {}", Sloppiness::NAMES.join(", ")),
                };
                return Err(format!("{name:?} is not known; {hint}"));
            }
        }
        Ok(sloppiness)
    }

    fn compiler_check(&self) -> Result<CompilerCheck, String> {
        let text = self.text()?;
        match text.trim() {
            "content" => Ok(CompilerCheck::Content),
            "mtime" => Ok(CompilerCheck::Mtime),
            "none" => Ok(CompilerCheck::None),
            "" => Err("it is empty; write content, mtime, none, string:TEXT or a command".into()),
            other => match other.strip_prefix("string:") {
                Some(text) => Ok(CompilerCheck::String(text.to_owned())),
                None => Ok(CompilerCheck::Command(other.to_owned())),
            },
        }
    }

    fn level(&self) -> Result<Level, String> {
        let text = self.text()?.to_ascii_lowercase();
        let level = Level::ALL.iter().find(|level| level.name() == text);
        level.copied().ok_or_else(|| self.not("a level; write error, warn, info, debug or trace"))
    }

    /// "VALUE is not WANTED".
    fn not(&self, wanted: &str) -> String {
        let value = match &self.written {
            Written::Variable(text) => format!("{text:?}"),
            Written::Bool(value) => value.to_string(),
            Written::Integer(value) => value.to_string(),
            Written::Fraction(value) => value.to_string(),
            Written::Text(text) => format!("{text:?}"),
            Written::List(list) => format!("{list:?}"),
            Written::Other(kind) => (*kind).to_owned(),
        };
        format!("{value} is not {wanted}")
    }
}

impl std::fmt::Display for CompilerCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CompilerCheck::Content => f.write_str("content"),
            CompilerCheck::Mtime => f.write_str("mtime"),
            CompilerCheck::None => f.write_str("none"),
            CompilerCheck::String(text) => write!(f, "string:{text}"),
            CompilerCheck::Command(command) => f.write_str(command),
        }
    }
}

impl Value {
    fn path(path: &Path) -> Value {
        Value::Text(shown(path))
    }
}

/// A location of the shared cache without passwords and tokens.
fn without_secrets(location: &str) -> String {
    let mut parts = location.split('|');
    let url = parts.next().unwrap_or_default();
    let mut shown = match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            match authority.rsplit_once('@') {
                Some((login, host)) if login.contains(':') => {
                    let user = login.split(':').next().unwrap_or_default();
                    format!("{scheme}://{user}:(secret)@{host}{path}")
                }
                _ => url.to_owned(),
            }
        }
        None => url.to_owned(),
    };
    for attribute in parts {
        shown.push('|');
        match attribute.split_once('=') {
            Some((name @ "bearer-token", _)) => shown.push_str(&format!("{name}=(secret)")),
            _ => shown.push_str(attribute),
        }
    }
    shown
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
