//! The variables of one call, and the names of those that rcache itself looks at.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Names one settings file, in place of the user's and the machine's.
pub const RCACHE_CONFIG: &str = "RCACHE_CONFIG";
/// The cache folder, ccache's way of naming it; `RCACHE_CACHE_DIR` goes before it.
pub const RCACHE_DIR: &str = "RCACHE_DIR";
/// The cache folder, under the name of its key.
pub const RCACHE_CACHE_DIR: &str = "RCACHE_CACHE_DIR";
/// Where `~` is.
pub const HOME: &str = "HOME";
/// Where settings are kept (XDG Base Directory Specification); `~/.config` where it is not set.
pub const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// Where caches are kept (same source); `~/.cache` where it is not set.
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Where sockets are kept (same source).
pub const XDG_RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
/// The host list, distcc's way of giving it.
pub const DISTCC_HOSTS: &str = "DISTCC_HOSTS";
/// Where distcc keeps its host list, in place of `~/.distcc`.
pub const DISTCC_DIR: &str = "DISTCC_DIR";
/// Networks that may use a worker, in addition to those of its command line.
pub const ALLOW: &str = "ALLOW";
/// Compiles that a worker runs at one time, where its command line does not say.
pub const JOBS: &str = "JOBS";
/// Where temporary files are (POSIX); `/tmp` where it is not set.
pub const TMPDIR: &str = "TMPDIR";
/// What the variable of every key starts with.
pub const PREFIX: &str = "RCACHE_";

/// The environment variables of one call. Of two with the same name the first counts, as in
/// `getenv`.
#[derive(Clone, Debug)]
pub struct Environment<'a>(Cow<'a, [(OsString, OsString)]>);

impl<'a> Environment<'a> {
    /// The variables of a call that sent them.
    pub fn new(variables: &'a [(OsString, OsString)]) -> Environment<'a> {
        Environment(Cow::Borrowed(variables))
    }

    /// The variables of this process; for subcommands only.
    pub fn of_this_process() -> Environment<'static> {
        Environment(Cow::Owned(std::env::vars_os().collect()))
    }

    /// The value of a variable.
    pub fn get(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        let name = name.as_ref();
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
    }

    /// Every variable, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

/// Looks variables up and remembers what it found, so that settings can be kept for as long as
/// the same look-ups give the same values.
pub(crate) struct Lookups<'e> {
    environment: &'e Environment<'e>,
    found: RefCell<BTreeMap<OsString, Option<OsString>>>,
}

impl<'e> Lookups<'e> {
    pub(crate) fn new(environment: &'e Environment<'e>) -> Lookups<'e> {
        Lookups { environment, found: RefCell::default() }
    }

    /// The value of a variable; an empty one counts as set.
    pub(crate) fn get(&self, name: impl AsRef<OsStr>) -> Option<&'e OsStr> {
        let name = name.as_ref();
        let value = self.environment.get(name);
        self.found.borrow_mut().insert(name.to_owned(), value.map(OsStr::to_owned));
        value
    }

    /// The value of a variable that holds a folder; the XDG specification says that a relative
    /// path there is to be ignored.
    pub(crate) fn folder(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// A path with `~`, `$NAME`, `${NAME}` and `$$` expanded.
    pub(crate) fn expand(&self, text: &OsStr) -> Result<PathBuf, String> {
        let bytes = text.as_bytes();
        let mut path = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        if bytes == b"~" || bytes.starts_with(b"~/") {
            let home = self.folder(HOME).ok_or("~ has no meaning, as HOME is not set")?;
            path.extend(home.as_os_str().as_bytes());
            rest = &bytes[1..];
        }
        while let Some(dollar) = rest.iter().position(|byte| *byte == b'$') {
            path.extend(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix(b"$") {
                path.push(b'$');
                rest = after;
                continue;
            }
            let (name, after) = variable_name(rest)
                .ok_or_else(|| format!("{text:?} has a $ without a name; write $$ for a dollar"))?;
            let name = OsStr::from_bytes(name);
            let value = self.get(name).ok_or_else(|| {
                format!("{text:?} names the variable {}, which is not set", name.display())
            })?;
            path.extend(value.as_bytes());
            rest = after;
        }
        path.extend(rest);
        Ok(PathBuf::from(OsString::from_vec(path)))
    }

    /// Everything that was looked up, by name.
    pub(crate) fn into_found(self) -> Vec<(OsString, Option<OsString>)> {
        self.found.into_inner().into_iter().collect()
    }
}

/// The name after a `$`, with or without braces, and what follows it.
fn variable_name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let braced = text.strip_prefix(b"{");
    let inner = braced.unwrap_or(text);
    let length = inner.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_');
    let (name, after) = inner.split_at(length.count());
    let after = if braced.is_some() { after.strip_prefix(b"}")? } else { after };
    (!name.is_empty()).then_some((name, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expand(text: &str) -> Result<String, String> {
        let variables = [("HOME", "/home/u"), ("A", "x"), ("A_1", "y"), ("A", "second")]
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let environment = Environment::new(&variables);
        let lookups = Lookups::new(&environment);
        lookups.expand(OsStr::new(text)).map(|path| path.to_str().unwrap().to_owned())
    }

    #[test]
    fn paths_are_expanded() {
        for (text, expected) in [
            ("/plain", "/plain"),
            ("~", "/home/u"),
            ("~/c", "/home/u/c"),
            ("/a/~", "/a/~"),
            ("~other/c", "~other/c"),
            ("$A/$A_1/${A}b", "x/y/xb"),
            ("/$$A", "/$A"),
            ("", ""),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        }
        assert!(expand("/$NOPE").unwrap_err().contains("NOPE, which is not set"));
        assert!(expand("/${A").is_err());
        assert!(expand("/$").is_err());
        assert!(expand("/$/x").is_err());
    }

    #[test]
    fn every_look_up_is_remembered() {
        let variables = [(OsString::from("A"), OsString::from("1"))];
        let environment = Environment::new(&variables);
        let lookups = Lookups::new(&environment);
        lookups.get("A");
        lookups.get("B");
        let found = lookups.into_found();
        assert_eq!(found, [("A".into(), Some("1".into())), ("B".into(), None)]);
    }

    proptest! {
        #[test]
        fn no_path_panics(text in "[$~{}A_/é]{0,12}") {
            let _ = expand(&text);
        }
    }
}
