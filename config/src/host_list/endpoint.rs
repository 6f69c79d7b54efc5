//! A host that speaks the Remote Execution API: `grpc://name:port/instance,slots=16,…`.

use super::{PORT, SLOTS, bracketed, name_of, port_of, slots_of, unknown};
use std::fmt;
use std::path::PathBuf;

/// How such hosts begin, and whether the connection is encrypted.
const SCHEMES: [(&str, bool); 2] = [("grpc://", false), ("grpcs://", true)];

/// What can follow the address, each with a value but for `down`.
const OPTIONS: [&str; 10] = [
    "slots",
    "down",
    "ca",
    "certificate",
    "key",
    "token-file",
    "token-env",
    "server-name",
    "property",
    "toolchain",
];

/// The longest name of an instance.
const INSTANCE_BYTES_MAX: usize = 1_000;

/// Where a server is, and how it is to be used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// TLS (`grpcs://`).
    pub encrypted: bool,
    /// A name or an address; of IPv6 without its brackets.
    pub name: String,
    /// Where it listens.
    pub port: u16,
    /// Which of the server's instances; mostly empty.
    pub instance: String,
    /// Compiles at one time; at least 1.
    pub slots: usize,
    /// In the list, but not to be used.
    pub down: bool,
    /// Certificates that the server's is checked with, in PEM.
    pub ca: Option<PathBuf>,
    /// The certificate that this machine shows, in PEM.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// A file with a bearer token.
    pub token_file: Option<PathBuf>,
    /// An environment variable with one.
    pub token_env: Option<String>,
    /// The name in the server's certificate, where that is another.
    pub server_name: Option<String>,
    /// What a worker must be like.
    pub properties: Vec<(String, String)>,
    /// `toolchain=sent`: the compiler's own files are sent along where the server has not got them.
    pub sends_toolchain: bool,
}

impl Endpoint {
    /// Whether a word is such a host.
    pub(super) fn is_meant(word: &str) -> bool {
        SCHEMES.iter().any(|(scheme, _)| word.starts_with(scheme))
    }

    /// Reads a word.
    pub(super) fn parse(word: &str) -> Result<Endpoint, String> {
        let scheme = SCHEMES.iter().find(|(scheme, _)| word.starts_with(scheme));
        let &(scheme, encrypted) = scheme.ok_or_else(|| format!("{word:?} has no scheme"))?;
        let mut parts = word[scheme.len()..].split(',');
        let place = parts.next().unwrap_or_default();
        let (place, instance) = place.split_once('/').unwrap_or((place, ""));
        let (name, rest) = name_of(place, word)?;
        let port = match rest.strip_prefix(':') {
            Some(number) => port_of(number, word)?,
            None if rest.is_empty() => PORT,
            None => return Err(format!("{word:?}: only :PORT can follow the name")),
        };
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b',';
        if instance.len() > INSTANCE_BYTES_MAX || !instance.bytes().all(fits) {
            return Err(format!("{word:?}: {instance:?} is no name of an instance"));
        }
        let mut endpoint = Endpoint::new(&name, port);
        endpoint.encrypted = encrypted;
        endpoint.instance = instance.trim_end_matches('/').to_owned();
        for option in parts {
            endpoint.set(option, word)?;
        }
        if endpoint.certificate.is_some() != endpoint.key.is_some() {
            return Err(format!("{word:?}: certificate= and key= belong together"));
        }
        let is_for_tls = endpoint.ca.is_some() || endpoint.certificate.is_some();
        if is_for_tls && !encrypted {
            return Err(format!("{word:?}: certificates are for grpcs://"));
        }
        Ok(endpoint)
    }

    /// One with nothing but an address.
    pub fn new(name: &str, port: u16) -> Endpoint {
        Endpoint {
            encrypted: false,
            name: name.to_owned(),
            port,
            instance: String::new(),
            slots: SLOTS,
            down: false,
            ca: None,
            certificate: None,
            key: None,
            token_file: None,
            token_env: None,
            server_name: None,
            properties: Vec::new(),
            sends_toolchain: false,
        }
    }

    fn set(&mut self, option: &str, word: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if name == "down" && value.is_empty() {
            self.down = true;
            return Ok(());
        }
        if !OPTIONS.contains(&name) {
            return Err(format!("{word:?}: {}", unknown("option", name, &OPTIONS)));
        }
        if value.is_empty() {
            return Err(format!("{word:?}: {name} needs a value, as in {name}=…"));
        }
        let path = || Some(PathBuf::from(value));
        match name {
            "slots" => self.slots = slots_of(value, word)?,
            "ca" => self.ca = path(),
            "certificate" => self.certificate = path(),
            "key" => self.key = path(),
            "token-file" => self.token_file = path(),
            "token-env" => self.token_env = Some(value.to_owned()),
            "server-name" => self.server_name = Some(value.to_owned()),
            "toolchain" if value == "sent" => self.sends_toolchain = true,
            "property" => {
                let (name, value) = value
                    .split_once('=')
                    .ok_or_else(|| format!("{word:?}: write property=NAME=VALUE"))?;
                self.properties.push((name.to_owned(), value.to_owned()));
            }
            _ => return Err(format!("{word:?}: {name} cannot be {value:?}")),
        }
        Ok(())
    }

    /// How it is written in a list, without what goes without saying.
    pub(super) fn word(&self) -> String {
        let mut word = self.to_string();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                word.push_str(&format!(",{name}={value}"));
            }
        };
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        add("slots", (self.slots != SLOTS).then(|| self.slots.to_string()));
        add("ca", path(&self.ca));
        add("certificate", path(&self.certificate));
        add("key", path(&self.key));
        add("token-file", path(&self.token_file));
        add("token-env", self.token_env.clone());
        add("server-name", self.server_name.clone());
        for (name, value) in &self.properties {
            add("property", Some(format!("{name}={value}")));
        }
        add("toolchain", self.sends_toolchain.then(|| "sent".to_owned()));
        if self.down {
            word.push_str(",down");
        }
        word
    }

    /// `name:port`.
    pub fn authority(&self) -> String {
        format!("{}:{}", bracketed(&self.name), self.port)
    }

    /// The name that the server's certificate must have.
    pub fn server_name(&self) -> &str {
        self.server_name.as_deref().unwrap_or(&self.name)
    }
}

/// Where it is: `grpc://name:port/instance`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "grpcs" } else { "grpc" };
        let slash = if self.instance.is_empty() { "" } else { "/" };
        write!(f, "{scheme}://{}{slash}{}", self.authority(), self.instance)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Host, HostList};
    use super::*;

    fn parsed(word: &str) -> Result<Endpoint, String> {
        match HostList::parse(word) {
            Ok(list) => match &list.hosts[..] {
                [Host::Grpc(endpoint)] => Ok(endpoint.as_ref().clone()),
                other => Err(format!("{other:?}")),
            },
            Err(error) => Err(error.what),
        }
    }

    #[test]
    fn a_word_says_all_and_is_written_again() {
        let word = "grpcs://build.example:443/team/a,slots=32,ca=/etc/ca.pem,certificate=/c.pem,\
                    key=/k.pem,token-file=/run/token,server-name=x.example,property=OSFamily=linux,\
                    property=image=debian:12,toolchain=sent,down";
        let endpoint = parsed(word).unwrap();
        assert!(endpoint.encrypted && endpoint.down && endpoint.sends_toolchain);
        assert_eq!((endpoint.name.as_str(), endpoint.port), ("build.example", 443));
        assert_eq!((endpoint.instance.as_str(), endpoint.slots), ("team/a", 32));
        assert_eq!(endpoint.properties[1], ("image".to_owned(), "debian:12".to_owned()));
        assert_eq!(endpoint.word(), word);
        assert_eq!(endpoint.server_name(), "x.example");
    }

    #[test]
    fn little_is_needed() {
        let endpoint = parsed("grpc://k8s0").unwrap();
        assert_eq!(endpoint, Endpoint::new("k8s0", PORT));
        assert_eq!(endpoint.word(), "grpc://k8s0:3632");
        assert_eq!(parsed("grpc://[::1]:8980,token-env=T").unwrap().name, "::1");
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (word, part) in [
            ("grpc://", "no name"),
            ("grpc://a:0", "not a port"),
            ("grpc://a,slot=3", "did you mean slots?"),
            ("grpc://a,slots=0", "number of slots"),
            ("grpc://a,ca=/x", "for grpcs://"),
            ("grpcs://a,key=/x", "belong together"),
            ("grpc://a,property=x", "NAME=VALUE"),
            ("grpc://a,token-file", "needs a value"),
            ("grpc://a,toolchain=here", "cannot be"),
        ] {
            let said = parsed(word).unwrap_err();
            assert!(said.contains(part), "{word}: {said}");
        }
    }
}
