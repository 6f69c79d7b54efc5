//! Under which names a unit and its results are shared: the local keys, and all that these overlook.

use crate::understand::unit::Unit;
use compiler::hasher::{Digest, KeyHasher, KeySink};
use config::CompilerCheck;
use shared::{Kind, Name};
use std::path::Path;

/// Variables that choose the language of messages, the strongest first; and the one for lists of languages.
const LOCALE: [&str; 4] = ["LC_ALL", "LC_MESSAGES", "LC_CTYPE", "LANG"];
const LANGUAGE: &str = "LANGUAGE";
/// Where glibc and gettext keep what messages look like.
const LOCALES: &str = "/usr/lib/locale";
const CATALOGS: &str = "/usr/share/locale";
/// The locales that need no files.
const PLAIN: [&str; 3] = ["", "C", "POSIX"];
/// More entries of a folder are not looked at.
const ENTRIES_MAX: usize = 2_000;

/// The name of all that is known of a unit.
pub fn unit_name(unit: &Unit) -> Name {
    Name::of(Kind::Unit, &domain(unit), &unit.key.0)
}

/// The name of a result, whether it printed something or not.
pub fn result_name(unit: &Unit, key: Digest) -> Name {
    Name::of(Kind::Result, &domain(unit), &key.0)
}

/// The name of a result's outputs.
pub fn outputs_name(unit: &Unit, key: Digest, printed: bool) -> Name {
    match printed {
        false => result_name(unit, key),
        true => Name::of(Kind::Result, &[domain(unit), messages(unit)].concat(), &key.0),
    }
}

/// What the keys leave out because this user's settings say so. Who says something else does not get it.
fn domain(unit: &Unit) -> Vec<u8> {
    let config = unit.config;
    let mut hasher = KeyHasher::new("rcache shared domain 1");
    for name in config.sloppiness.names() {
        hasher.field("sloppiness", name.as_bytes());
    }
    for option in &config.ignore_options {
        hasher.field("ignored", option.as_bytes());
    }
    if config.compiler_check != CompilerCheck::Content {
        hasher.field("compiler check", config.compiler_check.to_string().as_bytes());
    }
    hasher.field("folder counts", &[u8::from(config.hash_dir)]);
    hasher.finish().0.to_vec()
}

/// What the look of messages depends on besides the variables, which are in the keys: the files of locales
/// and translations. Only sizes and names are looked at.
fn messages(unit: &Unit) -> Vec<u8> {
    let value = |name: &str| {
        let value = unit.environment.get(name)?.to_str()?;
        (!value.is_empty()).then(|| value.to_owned())
    };
    let chosen: Vec<String> = LOCALE.iter().filter_map(|name| value(name)).collect();
    if chosen.iter().all(|locale| PLAIN.contains(&locale.as_str())) {
        return Vec::new();
    }
    let mut hasher = KeyHasher::new("rcache messages 1");
    add_folder(&mut hasher, Path::new(LOCALES));
    let languages = value(LANGUAGE).unwrap_or_default();
    let languages = languages.split(':').map(str::to_owned).chain(chosen);
    for language in languages.flat_map(|locale| spellings(&locale)) {
        add_folder(&mut hasher, &Path::new(LOCALES).join(&language));
        add_folder(&mut hasher, &Path::new(CATALOGS).join(&language).join("LC_MESSAGES"));
    }
    hasher.finish().0.to_vec()
}

/// `de_DE.UTF-8`, `de_DE` and `de`: where gettext looks.
fn spellings(locale: &str) -> Vec<String> {
    let plain = locale.split(['.', '@']).next().unwrap_or_default();
    let short = plain.split('_').next().unwrap_or_default();
    let mut all = vec![locale.to_owned(), plain.to_owned(), short.to_owned()];
    all.retain(|name| !name.is_empty() && !name.contains('/'));
    all.dedup();
    all
}

fn add_folder(hasher: &mut KeyHasher, folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(ENTRIES_MAX);
    let mut entries: Vec<(Vec<u8>, u64)> = entries
        .map(|entry| {
            let size =
                entry.metadata().map_or(0, |found| if found.is_file() { found.len() } else { 0 });
            (entry.file_name().into_encoded_bytes(), size)
        })
        .collect();
    entries.sort();
    hasher.field("folder", folder.as_os_str().as_encoded_bytes());
    for (name, size) in entries {
        hasher.field("name", &name);
        hasher.field("size", &size.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_is_looked_for_under_each_of_its_names() {
        assert_eq!(spellings("de_DE.UTF-8"), ["de_DE.UTF-8", "de_DE", "de"]);
        assert_eq!(spellings("fr"), ["fr"]);
        assert!(spellings("../../etc").is_empty());
    }

    #[test]
    fn a_folder_counts_by_names_and_sizes() {
        let folder = tempfile::tempdir().unwrap();
        let digest = || {
            let mut hasher = KeyHasher::new("test");
            add_folder(&mut hasher, folder.path());
            hasher.finish()
        };
        let empty = digest();
        std::fs::write(folder.path().join("gcc.mo"), "1").unwrap();
        let one = digest();
        std::fs::write(folder.path().join("gcc.mo"), "22").unwrap();
        assert!(empty != one && one != digest());
    }
}
