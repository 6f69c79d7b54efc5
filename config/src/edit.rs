//! Changes one setting in the user's settings file, and leaves every other line as it is.

use crate::environment::{Environment, Lookups};
use crate::keys::{Given, Key, Written};
use crate::{Config, KEYS, text_file};
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Writes `key = value` into the settings file of this environment (the one that `RCACHE_CONFIG` names,
/// else the user's), and returns its path. `value` is written as in an environment variable.
///
/// # Errors
/// A text for a person: no such key, a value that the key does not take, or a file that cannot be read or
/// written.
pub fn set(environment: &Environment, key: &str, value: &str) -> Result<PathBuf, String> {
    let value = as_written(environment, key, value)?;
    let path = crate::load::users_file(environment)?;
    let old = text_file::read(&path).map_err(|problem| problem.to_string())?.unwrap_or_default();
    let new =
        with_setting(&old, key, &value).map_err(|what| format!("{}: {what}", path.display()))?;
    replace(&path, &new).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

/// The value as a settings file holds it; `value` is written as in an environment variable.
///
/// # Errors
/// A text for a person: no such key, or a value that the key does not take.
pub fn as_written(environment: &Environment, key: &str, value: &str) -> Result<String, String> {
    let row = Key::of(key).ok_or_else(|| {
        match crate::error::nearest(key, KEYS.iter().map(|key| key.name)) {
            Some(nearest) => format!("no setting is named {key:?}; did you mean \"{nearest}\"?"),
            None => format!("no setting is named {key:?}; `rcache config` lists them"),
        }
    })?;
    let lookups = Lookups::new(environment);
    let written = Written::Variable(OsStr::new(value));
    let mut scratch = Config::defaults(&lookups);
    (row.set)(&mut scratch, &Given { written, lookups: &lookups })
        .map_err(|what| format!("{key}: {what}"))?;
    Ok(as_toml(row, value))
}

/// The kind of a key is that of its default.
fn as_toml(key: &Key, value: &str) -> String {
    let is_number = || key.default.parse::<f64>().is_ok() || key.name == "local_slots";
    match key.default {
        "true" | "false" => {
            let on = matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on");
            on.to_string()
        }
        "[]" => {
            let words: Vec<String> = value.split_whitespace().map(quoted).collect();
            format!("[{}]", words.join(", "))
        }
        _ if is_number() => value.trim().to_owned(),
        _ => quoted(value),
    }
}

/// Whether this is a value as a settings file may hold it.
pub fn is_toml_value(text: &str) -> bool {
    DeTable::parse(&format!("key = {text}\n")).is_ok()
}

/// A TOML string; a basic one escapes as JSON does.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

/// The text with the value of `key` replaced, or with a line for it at the end.
fn with_setting(text: &str, key: &str, value: &str) -> Result<String, String> {
    let table = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    let old = table.get_ref().iter().find(|(name, _)| name.get_ref() == key);
    match old {
        Some((_, old)) => {
            let span = old.span();
            Ok(format!("{}{value}{}", &text[..span.start], &text[span.end..]))
        }
        None => {
            let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            Ok(format!("{text}{newline}{key} = {value}\n"))
        }
    }
}

/// A compile that reads the file meanwhile sees the old text or the new one, never half of it. A symlink
/// stays one: what it leads to is replaced.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or(OsStr::new("rcache.toml")).to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let mut file = std::fs::File::create(&temporary)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let kept = std::fs::metadata(&path).map(|old| old.permissions());
    if let Ok(permissions) = kept {
        file.set_permissions(permissions)?;
    }
    let renamed = written.and_then(|()| std::fs::rename(&temporary, &path));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn only_the_value_changes() {
        let text = "# mine\nmax_size = \"5G\" # cap\nhosts = [\n  \"a/2\",\n]\n";
        let new = with_setting(text, "max_size", "\"9G\"").unwrap();
        assert_eq!(new, "# mine\nmax_size = \"9G\" # cap\nhosts = [\n  \"a/2\",\n]\n");
        let new = with_setting(text, "hosts", "[]").unwrap();
        assert_eq!(new, "# mine\nmax_size = \"5G\" # cap\nhosts = []\n");
        assert_eq!(with_setting("a = 1", "b", "2").unwrap(), "a = 1\nb = 2\n");
        assert!(with_setting("a = = 1", "b", "2").is_err(), "what cannot be read is left alone");
    }

    #[test]
    fn every_key_takes_back_what_is_written_for_it() {
        for key in KEYS {
            let value = match key.default {
                "true" | "false" => "yes",
                "[]" if key.name == "sloppiness" => "locale",
                "[]" if key.name == "hosts" => "a/2 b",
                "[]" => "a \"b",
                _ if key.name == "compiler_check" => "string:a\\b",
                _ if key.name == "log_level" => "info",
                _ if key.name == "max_size" => "7G",
                _ if key.name.ends_with("timeout") => "7s",
                _ if key.default.parse::<f64>().is_ok() || key.name == "local_slots" => "1",
                _ => "/a/b",
            };
            let text = format!("{} = {}\n", key.name, as_toml(key, value));
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("rcache.toml");
            std::fs::write(&file, &text).unwrap();
            let variables: Vec<(OsString, OsString)> =
                vec![("HOME".into(), "/h".into()), ("RCACHE_CONFIG".into(), file.into())];
            let loaded = Config::load(&Environment::new(&variables));
            assert_eq!(loaded.problems, [], "{text}");
        }
    }

    #[test]
    fn a_file_is_made_and_changed() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().as_os_str().to_owned();
        let variables = vec![("HOME".into(), home)];
        let environment = Environment::new(&variables);
        let path = set(&environment, "max_size", "7G").unwrap();
        assert_eq!(path, folder.path().join(".config/rcache/rcache.toml"));
        set(&environment, "max_files", "10").unwrap();
        set(&environment, "max_size", "8G").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "max_size = \"8G\"\nmax_files = 10\n");
        assert!(set(&environment, "max_size", "big").unwrap_err().contains("max_size"));
        assert!(set(&environment, "maxsize", "1G").unwrap_err().contains("max_size"));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
