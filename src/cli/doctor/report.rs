//! `rcache doctor --report`: one file to attach to a bug report, without secrets and names.

use crate::cli::screen;
use config::{Environment, Host, Loaded};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use talk::questions::{Stats, Status};

/// As much of the end of the log goes into a report, in bytes.
const LOG_BYTES_MAX: u64 = 64 << 10;

/// What a report is made of.
pub struct Parts<'a> {
    /// What the checks found, as `rcache doctor` prints it.
    pub findings: String,
    /// The settings in force.
    pub loaded: &'a Loaded,
    /// What the daemon says of itself, or why it does not.
    pub status: Result<Status, String>,
    /// Its counters.
    pub stats: Result<Stats, String>,
}

/// Writes the report, and says where it is and what is not in it.
pub fn write(path: &Path, parts: &Parts, environment: &Environment) -> Result<String, String> {
    let removal = Removal::of(environment, parts);
    let text = format!(
        "rcache report. Removed: {}.\nRead it before you attach it.\n\n{}",
        removal.told(),
        removal.clean(&assemble(parts))
    );
    let mut options = fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file =
        options.write(true).create_new(true).open(path).map_err(|error| {
            format!("{}: {error}; name a file that is not there", path.display())
        })?;
    std::io::Write::write_all(&mut file, text.as_bytes())
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(format!(
        "{} is ready to be attached to a bug report.\nRemoved from it: {}.\n\
         Read it first: names of files of your project may stand in it.\n",
        path.display(),
        removal.told()
    ))
}

fn assemble(parts: &Parts) -> String {
    let mut text = String::new();
    let mut section = |title: &str, content: &str| {
        let _ = write!(text, "== {title}\n{}\n\n", content.trim_end());
    };
    section("rcache", &crate::cli::version::text());
    section("machine", &machine());
    section("doctor", &parts.findings);
    let rows = parts.loaded.rows();
    let rows: Vec<String> =
        rows.iter().map(|row| format!("{} = {}  ({})", row.key, row.value, row.origin)).collect();
    section("settings", &rows.join("\n"));
    section("daemon", &answer(&parts.status));
    section("stats", &answer(&parts.stats));
    let cache_dir = &parts.loaded.config.cache_dir;
    section("file systems", &mounts(&[cache_dir.as_path(), Path::new("/tmp"), Path::new(".")]));
    if let Some(log) = &parts.loaded.config.log_file {
        section("end of the log", &end_of(log).unwrap_or_else(|error| error.to_string()));
    }
    text
}

/// Kernel, distribution, processors and memory.
/// What the daemon said, or why it did not.
fn answer(answer: &Result<impl Serialize, String>) -> String {
    match answer {
        Ok(answer) => {
            serde_json::to_string_pretty(answer).unwrap_or_else(|error| error.to_string())
        }
        Err(why) => why.clone(),
    }
}

fn machine() -> String {
    let kernel = rustix::system::uname();
    let line_of = |file: &str, start: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{} {} {}\n{}\n{cores} processors may be used\n{}\n",
        kernel.sysname().to_string_lossy(),
        kernel.release().to_string_lossy(),
        kernel.machine().to_string_lossy(),
        line_of("/etc/os-release", "PRETTY_NAME="),
        line_of("/proc/meminfo", "MemTotal:"),
    )
}

/// On what kind of file system each folder is; its numbers tell the kinds apart (statfs(2)).
fn mounts(folders: &[&Path]) -> String {
    let line = |folder: &&Path| match rustix::fs::statfs(*folder) {
        Ok(found) => format!(
            "{}: {}, type {:#x}, {} free",
            folder.display(),
            super::checks::filesystem(found.f_type as u32).name,
            found.f_type,
            screen::bytes(found.f_bavail.saturating_mul(found.f_bsize.unsigned_abs()))
        ),
        Err(error) => format!("{}: {error}", folder.display()),
    };
    folders.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn end_of(log: &Path) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = fs::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What is taken out of a text, and what stands in its place.
struct Removal {
    /// The longest first, so that a name within a path does not break the path.
    words: Vec<(String, String)>,
}

impl Removal {
    fn of(environment: &Environment, parts: &Parts) -> Removal {
        let variable = |name: &str| environment.get(name).map(|v| v.to_string_lossy().into_owned());
        let mut words: Vec<(String, String)> = Vec::new();
        let mut remove = |word: Option<String>, place: &str| {
            // What is shorter stands in too many other words.
            if let Some(word) = word.filter(|word| word.len() > 2 && word != "root") {
                words.push((word, place.to_owned()));
            }
        };
        remove(variable("HOME").filter(|home| home != "/root"), "~");
        remove(variable("USER").or_else(|| variable("LOGNAME")), "USER");
        let here = std::env::current_dir().ok();
        remove(here.map(|here| here.to_string_lossy().into_owned()), "FOLDER");
        let kernel = rustix::system::uname();
        remove(kernel.nodename().to_str().ok().map(str::to_owned), "MACHINE");
        let hosts = parts.loaded.config.hosts.hosts.iter().filter_map(|host| match host {
            Host::Tcp { name, .. } => Some(name.clone()),
            Host::Local { .. } | Host::Grpc(_) => None,
        });
        for (index, host) in hosts.collect::<BTreeSet<_>>().into_iter().enumerate() {
            remove(Some(host), &format!("HOST{}", index + 1));
        }
        // Values that look like a secret, wherever they turn up.
        for (name, value) in environment.iter() {
            let name = name.to_string_lossy().to_ascii_uppercase();
            let is_secret =
                ["TOKEN", "SECRET", "PASSW", "API_KEY", "ACCESS_KEY", "CREDENTIAL", "PRIVATE_KEY"];
            if is_secret.iter().any(|part| name.contains(part)) {
                remove(Some(value.to_string_lossy().into_owned()), "SECRET");
            }
        }
        words.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        Removal { words }
    }

    fn told(&self) -> &'static str {
        "your home folder, user name, working folder, the names of this machine and of hosts, \
         IP addresses, user names and passwords in URLs, values of variables that are named like secrets"
    }

    fn clean(&self, text: &str) -> String {
        let mut text = without_credentials(text);
        for (word, place) in &self.words {
            text = text.replace(word, place);
        }
        without_addresses(&text)
    }
}

/// `scheme://user:password@host` without what is before the `@`.
fn without_credentials(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        clean.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/\"'`,".contains(c));
        let authority = &after[..end.unwrap_or(after.len())];
        rest = match authority.rfind('@') {
            Some(at) => {
                clean.push_str("SECRET");
                &after[at..]
            }
            None => after,
        };
    }
    clean + rest
}

/// IPv4 and IPv6 addresses become `ADDRESS`; loopback stays.
fn without_addresses(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        clean.push_str(before);
        let word = &from[..from.find(|c| !is_part(c)).unwrap_or(from.len())];
        rest = &from[word.len()..];
        let inner = word.trim_end_matches([':', '.']);
        // A port may stand behind an IPv4 address.
        let address = match inner.rsplit_once(':') {
            Some((address, _)) if !address.contains(':') => address,
            _ => inner,
        };
        match address.parse::<std::net::IpAddr>() {
            Ok(parsed) if !parsed.is_loopback() && !parsed.is_unspecified() => {
                clean.push_str("ADDRESS");
                clean.push_str(&word[address.len()..]);
            }
            _ => clean.push_str(word),
        }
    }
    clean + rest
}

/// Where a report goes if no file is named.
pub fn default_path() -> PathBuf {
    PathBuf::from("rcache-report.txt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_and_the_rest_stays() {
        let text = "10.1.2.3:3632 ok, 1.5 s, 12:34, fe80::1, [2001:db8::7]:4000, 127.0.0.1, ab.cd";
        let clean = "ADDRESS:3632 ok, 1.5 s, 12:34, ADDRESS, [ADDRESS]:4000, 127.0.0.1, ab.cd";
        assert_eq!(without_addresses(text), clean);
    }

    #[test]
    fn credentials_in_urls_go() {
        let text = "redis://me:pass@cache:6379/0 and https://host/a@b \"s3://key:s/x@y\"";
        let clean = "redis://SECRET@cache:6379/0 and https://host/a@b \"s3://key:s/x@y\"";
        assert_eq!(without_credentials(text), clean);
    }

    #[test]
    fn names_go_the_longest_first() {
        let words = vec![("/home/ann".to_owned(), "~".to_owned()), ("ann".into(), "USER".into())];
        let removal = Removal { words };
        assert_eq!(removal.clean("/home/ann/x of ann"), "~/x of USER");
    }
}
