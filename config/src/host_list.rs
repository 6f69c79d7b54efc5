//! The host list of distcc, in its whole grammar: who may compile for this machine, and how much at one time.

mod endpoint;

use crate::error::nearest;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

pub use endpoint::Endpoint;

/// The most hosts of one list. The scheduler looks at each for every compile.
pub const HOSTS_MAX: usize = 1_000;
/// The most slots of one host, or of this machine; more is a slip of the pen.
pub const SLOTS_MAX: usize = 10_000;
/// The longest name of a host in bytes, as in DNS.
pub const NAME_BYTES_MAX: usize = 253;
/// The port of a host that names none.
pub const PORT: u16 = 3632;
/// The slots of a host that names none.
pub const SLOTS: usize = 4;
/// The slots of a `localhost` that names none.
pub const LOCAL_SLOTS: usize = 2;

/// The word that stands for this machine without a daemon; only when it is nothing but this.
const LOCALHOST: &str = "localhost";
/// The options of a list.
const LIST_OPTIONS: [&str; 3] = ["--randomize", "--localslots", "--localslots_cpp"];
/// The options of a host.
const HOST_OPTIONS: [&str; 4] = ["lzo", "cpp", "down", "auth"];

/// A host list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostList {
    /// The hosts, the preferred ones first.
    pub hosts: Vec<Host>,
    /// `--randomize`: the order means nothing.
    pub randomize: bool,
    /// `--localslots`: compiles on this machine at one time.
    pub local_slots: Option<usize>,
    /// `--localslots_cpp`: preprocessor runs on this machine at one time.
    pub local_slots_cpp: Option<usize>,
}

/// One host of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `localhost`: this machine, without any connection.
    Local {
        /// Compiles at one time.
        slots: usize,
    },
    /// A daemon that is reached over TCP.
    Tcp {
        /// A name or an address; of IPv6 without its brackets.
        name: String,
        /// Where it listens.
        port: u16,
        /// Compiles at one time; at least 1.
        slots: usize,
        /// What is sent and received is packed.
        lzo: bool,
        /// In the list, but not to be used.
        down: bool,
    },
    /// A server of the Remote Execution API.
    Grpc(Box<Endpoint>),
}

/// What is wrong with a list, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostListError {
    /// Counts from 1.
    pub line: usize,
    /// Of the word, in characters, from 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl HostList {
    /// Reads a list; one mistake makes all of it invalid, as in distcc.
    pub fn parse(text: &str) -> Result<HostList, HostListError> {
        let mut list = HostList::default();
        for (index, line) in text.split('\n').enumerate() {
            for (offset, word) in words(line) {
                list.add(word).map_err(|what| HostListError {
                    line: index + 1,
                    column: line[..offset].chars().count() + 1,
                    what,
                })?;
            }
        }
        Ok(list)
    }

    /// Nothing was written in it.
    pub fn is_empty(&self) -> bool {
        *self == HostList::default()
    }

    /// Names this machine alone, and says nothing else: no slots, no port, no option. So it is in
    /// the list that distcc's packages bring along.
    pub fn is_plain_loopback(&self) -> bool {
        let options = self.randomize || self.local_slots.or(self.local_slots_cpp).is_some();
        !options && !self.hosts.is_empty() && self.hosts.iter().all(Host::is_plain_loopback)
    }

    /// The words that give this list again, the options first.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        words.extend(self.randomize.then(|| "--randomize".to_owned()));
        words.extend(self.local_slots.map(|slots| format!("--localslots={slots}")));
        words.extend(self.local_slots_cpp.map(|slots| format!("--localslots_cpp={slots}")));
        words.extend(self.hosts.iter().map(Host::word));
        words
    }

    fn add(&mut self, word: &str) -> Result<(), String> {
        if word.starts_with("--") {
            return self.add_option(word);
        }
        let host = Host::parse(word)?;
        if self.hosts.len() == HOSTS_MAX {
            return Err(format!("there are more than {HOSTS_MAX} hosts"));
        }
        self.hosts.push(host);
        Ok(())
    }

    fn add_option(&mut self, word: &str) -> Result<(), String> {
        let (name, number) = match word.find(['=', '/']) {
            Some(end) => (&word[..end], Some(&word[end + 1..])),
            None => (word, None),
        };
        let slots = || match number {
            Some(number) => slots_of(number, word),
            None => Err(format!("{word:?} needs a number; write for example {name}=4")),
        };
        match name {
            "--randomize" if number.is_none() => self.randomize = true,
            "--randomize" => return Err(format!("{word:?}: --randomize takes no value")),
            "--localslots" => self.local_slots = Some(slots()?),
            "--localslots_cpp" => self.local_slots_cpp = Some(slots()?),
            _ => return Err(unknown("option", name, &LIST_OPTIONS)),
        }
        Ok(())
    }
}

/// The words of [`HostList::words`], with blanks between them.
impl fmt::Display for HostList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}

impl Host {
    /// Compiles at one time.
    pub fn slots(&self) -> usize {
        match self {
            Host::Local { slots } | Host::Tcp { slots, .. } => *slots,
            Host::Grpc(endpoint) => endpoint.slots,
        }
    }

    /// How the host is written in a list, without what goes without saying.
    pub fn word(&self) -> String {
        let slash = |slots: usize, default| match slots == default {
            true => String::new(),
            false => format!("/{slots}"),
        };
        match self {
            Host::Local { slots } => format!("{LOCALHOST}{}", slash(*slots, LOCAL_SLOTS)),
            Host::Tcp { name, port, slots, lzo, down } => {
                // A bare `localhost` would be another host.
                let says_port = *port != PORT || name == LOCALHOST;
                let port = if says_port { format!(":{port}") } else { String::new() };
                let lzo = if *lzo { ",lzo" } else { "" };
                let down = if *down { ",down" } else { "" };
                format!("{}{port}{}{lzo}{down}", bracketed(name), slash(*slots, SLOTS))
            }
            Host::Grpc(endpoint) => endpoint.word(),
        }
    }

    fn is_plain_loopback(&self) -> bool {
        match self {
            Host::Local { slots } => *slots == LOCAL_SLOTS,
            Host::Tcp { name, port: PORT, slots: SLOTS, lzo: false, down: false } => {
                name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
            Host::Tcp { .. } | Host::Grpc(_) => false,
        }
    }

    fn parse(word: &str) -> Result<Host, String> {
        if Endpoint::is_meant(word) {
            return Ok(Host::Grpc(Box::new(Endpoint::parse(word)?)));
        }
        refuse_unsupported(word)?;
        if word == LOCALHOST {
            return Ok(Host::Local { slots: LOCAL_SLOTS });
        }
        if let Some(number) = word.strip_prefix("localhost/") {
            if number.contains([':', ',']) {
                return Err(format!(
                    "{word:?}: localhost is this machine and takes a number of slots only; write \
                     localhost:{PORT} or 127.0.0.1 for a daemon on it"
                ));
            }
            return Ok(Host::Local { slots: slots_of(number, word)? });
        }
        let (place, options) = match word.split_once(',') {
            Some((place, options)) => (place, Some(options)),
            None => (word, None),
        };
        let (name, rest) = name_of(place, word)?;
        let (slots, port) = slots_and_port(rest, word)?;
        let (mut lzo, mut down) = (false, false);
        for option in options.into_iter().flat_map(|options| options.split(',')) {
            match option {
                "lzo" => lzo = true,
                "down" => down = true,
                "cpp" => return Err(unsupported(word, "the pump mode of distcc (,cpp)")),
                _ if option == "auth" || option.starts_with("auth=") => {
                    return Err(unsupported(word, "authentication (,auth)"));
                }
                _ => return Err(format!("{word:?}: {}", unknown("option", option, &HOST_OPTIONS))),
            }
        }
        Ok(Host::Tcp { name, port, slots, lzo, down })
    }
}

/// Where it is: `name:port`, `[address]:port` or `localhost`.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Local { .. } => f.write_str(LOCALHOST),
            Host::Tcp { name, port, .. } => write!(f, "{}:{port}", bracketed(name)),
            Host::Grpc(endpoint) => endpoint.fmt(f),
        }
    }
}

impl fmt::Display for HostListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for HostListError {}

/// The words of a line with their offsets; `#` ends a word and the line.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let line = &line[..line.find('#').unwrap_or(line.len())];
    let blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\x0b' | '\x0c');
    let mut offset = 0;
    line.split(blank)
        .map(move |word| {
            let start = offset;
            offset += word.len() + 1;
            (start, word)
        })
        .filter(|(_, word)| !word.is_empty())
}

/// What distcc knows and rcache does not is said, and never ignored.
fn refuse_unsupported(word: &str) -> Result<(), String> {
    match word {
        "+zeroconf" => Err("+zeroconf is not supported; name the hosts".to_owned()),
        _ if word.contains('@') => Err(unsupported(word, "hosts that are reached through ssh")),
        _ if word.starts_with('-') => Err(unknown("option", word, &LIST_OPTIONS)),
        _ => Ok(()),
    }
}

fn unsupported(word: &str, what: &str) -> String {
    format!("{word:?} asks for {what}, which is not supported")
}

fn unknown(kind: &str, written: &str, names: &[&str]) -> String {
    match nearest(written, names.iter().copied()) {
        Some(nearest) => format!("{written:?} is no {kind}; did you mean {nearest}?"),
        None => format!("{written:?} is no {kind} of a host list"),
    }
}

/// The name at the start of a word, and what follows it.
fn name_of<'a>(place: &'a str, word: &str) -> Result<(String, &'a str), String> {
    if let Some(inner) = place.strip_prefix('[') {
        let (address, rest) =
            inner.split_once(']').ok_or_else(|| format!("{word:?} has a [ without its ]"))?;
        let (number, zone) = address.split_once('%').unwrap_or((address, "none"));
        let valid = number.parse::<Ipv6Addr>().is_ok() && is_name(zone);
        return match valid {
            true => Ok((address.to_owned(), rest)),
            false => Err(format!("{word:?}: {address:?} is not an IPv6 address")),
        };
    }
    let (name, rest) = place.split_at(place.find(['/', ':']).unwrap_or(place.len()));
    match name {
        _ if place.matches(':').count() > 1 => {
            Err(format!("{word:?}: an IPv6 address stands in brackets, as in [::1]:{PORT}"))
        }
        "" => Err(format!("{word:?} has no name of a host")),
        _ if !is_name(name) => Err(format!(
            "{word:?}: a name of a host has letters, digits, dots, hyphens and underscores, and at \
             most {NAME_BYTES_MAX} of them"
        )),
        _ => Ok((name.to_owned(), rest)),
    }
}

/// distcc takes the number of slots before and after the port; the last one counts.
fn slots_and_port(mut rest: &str, word: &str) -> Result<(usize, u16), String> {
    let (mut slots, mut port) = (SLOTS, None);
    while !rest.is_empty() {
        let after = rest
            .strip_prefix(['/', ':'])
            .ok_or_else(|| format!("{word:?}: only /SLOTS or :PORT can follow the address"))?;
        let (number, next) = after.split_at(after.find(['/', ':']).unwrap_or(after.len()));
        match rest.starts_with('/') {
            true => slots = slots_of(number, word)?,
            false if port.is_none() => port = Some(port_of(number, word)?),
            false => return Err(format!("{word:?} has two ports")),
        }
        rest = next;
    }
    Ok((slots, port.unwrap_or(PORT)))
}

fn slots_of(number: &str, word: &str) -> Result<usize, String> {
    let slots = digits(number).filter(|slots| (1..=SLOTS_MAX).contains(slots));
    slots.ok_or_else(|| {
        format!("{word:?}: {number:?} is not a number of slots, which goes from 1 to {SLOTS_MAX}")
    })
}

fn port_of(number: &str, word: &str) -> Result<u16, String> {
    let port = digits(number).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    port.ok_or_else(|| format!("{word:?}: {number:?} is not a port, which goes from 1 to 65535"))
}

/// A number without a sign, unlike what `parse` takes.
fn digits(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('-')
        && name.bytes().all(allowed)
}

fn bracketed(name: &str) -> String {
    if name.contains(':') { format!("[{name}]") } else { name.to_owned() }
}

#[cfg(test)]
mod tests;
