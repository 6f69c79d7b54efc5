//! Where a shared cache is, as its user writes it: a URL and attributes, in ccache's manner.
//!
//! ```text
//! location  = url ("|" attribute)*
//! attribute = name | name "=" value
//! ```
//! Secrets come from the caller's variables, from profile files or from a file that an attribute names; what is
//! shown of a location never holds one.

use crate::name::Name;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How long one request may take where nothing is said; ccache's `operation-timeout`.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A file that holds a secret is not longer.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// The longest location.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// Why a location cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown}: {why}")]
pub struct LocationError {
    /// The location, without secrets.
    pub shown: String,
    /// What is wrong, and what would be right.
    pub why: String,
}

/// The engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Redis, Valkey and what speaks their protocol.
    Redis,
    /// Amazon's S3, and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azblob,
    /// memcached.
    Memcached,
    /// A web server that takes GET and PUT.
    Http,
    /// A folder.
    File,
    /// The cache of GitHub Actions.
    Ghac,
}

const SCHEMES: [(&str, Scheme); 14] = [
    ("redis", Scheme::Redis),
    ("rediss", Scheme::Redis),
    ("valkey", Scheme::Redis),
    ("valkeys", Scheme::Redis),
    ("redis+unix", Scheme::Redis),
    ("s3", Scheme::S3),
    ("gs", Scheme::Gcs),
    ("gcs", Scheme::Gcs),
    ("azblob", Scheme::Azblob),
    ("memcached", Scheme::Memcached),
    ("http", Scheme::Http),
    ("https", Scheme::Http),
    ("file", Scheme::File),
    ("ghac", Scheme::Ghac),
];

/// How names are laid out on a web server, as in ccache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `u/12/3456…`
    #[default]
    Subdirs,
    /// `123456…`
    Flat,
    /// `ac/123456…`, as Bazel's remote caches have it.
    Bazel,
    /// As `Subdirs`, and folders are made by MKCOL.
    Webdav,
}

/// A secret: it is never shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A shared cache and how it is to be used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// What may be shown of it.
    pub shown: String,
    /// Which engine.
    pub scheme: Scheme,
    /// The scheme's own name.
    pub scheme_name: String,
    /// What stands before the `@`.
    pub user: Option<String>,
    /// The password of the URL, or of a file.
    pub password: Option<Secret>,
    /// A token in place of user and password.
    pub token: Option<Secret>,
    /// Host and port; the bucket; the container.
    pub authority: String,
    /// What follows, from its slash on.
    pub path: String,
    /// It is never written to.
    pub read_only: bool,
    /// A build service writes from any branch.
    pub any_branch: bool,
    /// Entries that nobody has signed count.
    pub unsigned: bool,
    /// How long one request may take.
    pub timeout: Duration,
    /// How long the server keeps what it gets, where it can be told.
    pub ttl: Option<Duration>,
    /// Lower ones are preferred.
    pub priority: i32,
    /// How names are laid out.
    pub layout: Layout,
    /// Credentials of the machine itself may be asked for (a role of EC2, a service account of GCE).
    pub instance: bool,
    /// It is a cluster of Redis.
    pub cluster: bool,
    /// Attributes of single engines, by name.
    pub attributes: Vec<(String, String)>,
    /// What the caller's variables and files say of the engine, by name.
    pub secrets: Vec<(&'static str, Secret)>,
}

/// The caller's variables.
pub type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// Variables that engines look at.
const VARIABLES: [&str; 16] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_SHARED_CREDENTIALS_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "ACTIONS_RESULTS_URL",
    "ACTIONS_RUNTIME_TOKEN",
    "HOME",
];

/// Attributes that only some engines know.
const ENGINE_ATTRIBUTES: [&str; 7] =
    ["region", "endpoint", "profile", "account", "version", "prefix", "ca"];

impl Location {
    /// Reads a location; `variables` are those of the call that named it.
    pub fn parse(text: &str, variables: Lookup) -> Result<Location, LocationError> {
        let (url, attributes) = text.split_once('|').unwrap_or((text, ""));
        let shown = shown(url);
        let wrong = |why: &str| LocationError { shown: shown.clone(), why: why.to_owned() };
        if text.len() > TEXT_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let (scheme_name, rest) = match url.split_once(':') {
            Some((name, rest)) => (name, rest.strip_prefix("//").unwrap_or(rest)),
            None => return Err(wrong("it is no URL; write for example redis://host:6379")),
        };
        let scheme = SCHEMES.iter().find(|(name, _)| *name == scheme_name);
        let Some((_, scheme)) = scheme else {
            let known = SCHEMES.map(|(name, _)| name).join(", ");
            return Err(wrong(&format!("{scheme_name} is not known; known are {known}")));
        };
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let (login, authority) = match authority.rsplit_once('@') {
            Some((login, authority)) => (Some(login), authority),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, "")))
        {
            Some((user, password)) => (Some(decoded(user)), Some(decoded(password))),
            None => (None, None),
        };
        let is_there = |text: &String| !text.is_empty();
        let mut location = Location {
            shown: shown.clone(),
            scheme: *scheme,
            scheme_name: scheme_name.to_owned(),
            user: user.filter(is_there),
            password: password.filter(is_there).map(Secret),
            token: None,
            authority: authority.to_owned(),
            path: path.to_owned(),
            read_only: false,
            any_branch: false,
            unsigned: false,
            timeout: TIMEOUT,
            ttl: None,
            priority: 0,
            layout: Layout::default(),
            instance: false,
            cluster: false,
            attributes: Vec::new(),
            secrets: Vec::new(),
        };
        for attribute in attributes.split('|').filter(|attribute| !attribute.is_empty()) {
            location.set(attribute).map_err(|why| wrong(&why))?;
        }
        location.is_whole().map_err(|why| wrong(&why))?;
        for name in VARIABLES {
            let value = variables(name).filter(is_there).map(Secret);
            location.secrets.extend(value.map(|value| (name, value)));
        }
        Ok(location)
    }

    /// An attribute that only some engines know.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// What a variable of the caller said.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let found = self.secrets.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.reveal())
    }

    /// The name of an object on this engine.
    pub fn object(&self, name: Name) -> String {
        match self.layout {
            Layout::Subdirs | Layout::Webdav => name.path(),
            Layout::Flat => name.hex(),
            Layout::Bazel => format!("ac/{}", name.hex()),
        }
    }

    fn set(&mut self, attribute: &str) -> Result<(), String> {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, "true"));
        match name {
            "read-only" => self.read_only = truth(name, value)?,
            "any-branch" => self.any_branch = truth(name, value)?,
            "unsigned" => self.unsigned = truth(name, value)?,
            "instance" => self.instance = truth(name, value)?,
            "cluster" => self.cluster = truth(name, value)?,
            // Of ccache, where they mean the same; a request of ours makes its connection, too.
            "timeout" | "operation-timeout" | "connect-timeout" => {
                self.timeout = span(name, value)?
            }
            "ttl" => self.ttl = Some(span(name, value)?),
            "priority" => {
                let wrong = || format!("priority={value} is no number");
                self.priority = value.parse().map_err(|_| wrong())?;
            }
            "layout" => {
                self.layout = match value {
                    "subdirs" => Layout::Subdirs,
                    "flat" => Layout::Flat,
                    "bazel" => Layout::Bazel,
                    "webdav" => Layout::Webdav,
                    _ => return Err("layout is subdirs, flat, bazel or webdav".to_owned()),
                }
            }
            "password-file" => self.password = Some(secret_of_file(value)?),
            "token-file" => self.token = Some(secret_of_file(value)?),
            "bearer-token" => self.token = Some(Secret(value.to_owned())),
            name if ENGINE_ATTRIBUTES.contains(&name) => {
                self.attributes.push((name.to_owned(), value.to_owned()));
            }
            _ => return Err(format!("the attribute {name} is not known")),
        }
        Ok(())
    }

    fn is_whole(&self) -> Result<(), String> {
        let needs_path = self.scheme == Scheme::File || self.scheme_name == "redis+unix";
        if needs_path && (!self.authority.is_empty() || self.path.len() < 2) {
            return Err("write an absolute path, such as file:///srv/cache".to_owned());
        }
        if !needs_path && self.authority.is_empty() && self.scheme != Scheme::Ghac {
            return Err("the name of a host, a bucket or a container is missing".to_owned());
        }
        Ok(())
    }
}

fn truth(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err(format!("{name} is true or false")),
    }
}

/// Milliseconds, as in ccache, or a number with `ms`, `s`, `m`, `h` or `d`.
fn span(name: &str, value: &str) -> Result<Duration, String> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let milliseconds = match unit {
        "" | "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let number = number.parse::<u64>().ok().filter(|number| *number > 0);
    let whole = number.zip(milliseconds).and_then(|(number, unit)| number.checked_mul(unit));
    whole
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{name}={value} is no time, such as 10s"))
}

fn secret_of_file(path: &str) -> Result<Secret, String> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(PathBuf::from(path))
        .and_then(|file| file.take(SECRET_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(Secret(text.trim().to_owned())),
        Err(error) => Err(format!("{path}: {error}")),
    }
}

/// A URL without password, and without attributes.
pub fn shown(location: &str) -> String {
    let url = location.split('|').next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((login, host)) if login.contains(':') => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:(secret)@{host}{path}")
        }
        _ => url.to_owned(),
    }
}

/// Percent signs in user and password.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let digits = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Location, LocationError> {
        Location::parse(text, &|_| None)
    }

    #[test]
    fn locations_are_read() {
        let location =
            parse("redis://me:p%40ss@cache:6380/2|read-only|timeout=500|ttl=14d|priority=3")
                .unwrap();
        assert_eq!(location.scheme, Scheme::Redis);
        assert_eq!(location.authority, "cache:6380");
        assert_eq!(location.path, "/2");
        assert_eq!(location.user.as_deref(), Some("me"));
        assert_eq!(location.password.as_ref().unwrap().reveal(), "p@ss");
        assert_eq!(location.timeout, Duration::from_millis(500));
        assert_eq!(location.ttl, Some(Duration::from_secs(14 * 86_400)));
        assert!(location.read_only && !location.unsigned && location.priority == 3);
        let s3 = parse("s3://bucket/some/prefix|endpoint=http://127.0.0.1:8333|region=eu").unwrap();
        assert_eq!((s3.authority.as_str(), s3.path.as_str()), ("bucket", "/some/prefix"));
        assert_eq!(s3.attribute("region"), Some("eu"));
        assert_eq!(parse("file:///srv/cache").unwrap().path, "/srv/cache");
        assert_eq!(parse("file:/srv/cache").unwrap().path, "/srv/cache");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("cache", "it is no URL"),
            ("ftp://host", "ftp is not known"),
            ("redis://", "is missing"),
            ("file://host/x", "absolute path"),
            ("redis://host|speed=9", "speed is not known"),
            ("redis://host|timeout=soon", "timeout=soon is no time"),
            ("redis://host|read-only=perhaps", "true or false"),
            ("http://host|layout=round", "layout is"),
            ("redis://host|password-file=/nonexistent/x", "/nonexistent/x"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.why.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let secret = "hunter2";
        let variables = |name: &str| (name == "AWS_SECRET_ACCESS_KEY").then(|| secret.to_owned());
        for text in [
            format!("redis://me:{secret}@host/|ttl=1d"),
            format!("http://host/|bearer-token={secret}"),
            "s3://bucket|region=eu".to_owned(),
        ] {
            let location = Location::parse(&text, &variables).unwrap();
            assert!(!format!("{location:?}").contains(secret), "{location:?}");
            assert!(!location.shown.contains(secret));
        }
        let error = parse(&format!("redis://me:{secret}@host|x")).unwrap_err();
        assert!(!error.to_string().contains(secret), "{error}");
        assert_eq!(shown("http://u:p@h/x|bearer-token=t"), "http://u:(secret)@h/x");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z0-9:/@%|=.é-]{0,40}") {
            let _ = parse(&text);
            let _ = parse(&format!("redis://{text}"));
        }
    }
}
