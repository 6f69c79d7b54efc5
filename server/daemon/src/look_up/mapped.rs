//! Results that several folders share under prefix maps: whether the maps make the same of all names here as there.

use crate::make::compiled::Compiled;
use crate::understand::unit::Unit;
use cache::manifest::Recorded;
use compiler::hasher::{Digest, KeyHasher, KeySink};
use compiler::invocation::PrefixMaps;
use memchr::memmem;
use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What counts of the working directories and of the call's own words; `None` where there are no maps.
pub fn directories(
    maps: &PrefixMaps,
    words: impl Iterator<Item = String>,
    directories: &[&Path],
) -> Option<Vec<String>> {
    if maps.is_empty() {
        return None;
    }
    let mut counted: Vec<String> = words.collect();
    for directory in directories {
        let unmapped = || format!("not {}", directory.as_os_str().as_bytes().escape_ascii());
        counted.push(maps.directory(directory).unwrap_or_else(unmapped));
        if maps.resolves_links {
            let real = fs::canonicalize(directory).ok();
            counted.extend(real.and_then(|real| maps.directory(&real)));
        }
    }
    Some(counted)
}

/// What the maps make of the source and of these files; `None` where there are no maps.
pub fn names<'n>(unit: &'n Unit, files: impl Iterator<Item = &'n Path>) -> Option<Digest> {
    let maps = &unit.invocation.prefix_maps;
    if maps.is_empty() {
        return None;
    }
    let mut links = Links { unit, folders: HashMap::new() };
    let names = std::iter::once(unit.invocation.source.as_path()).chain(files);
    Some(maps.names(&unit.directories(), names, |name| links.resolve(name)))
}

/// The same for this folder and these old prefixes alone.
pub fn here_alone(unit: &Unit, names: Digest) -> Digest {
    let mut hasher = KeyHasher::new("rcache names of one folder 1");
    hasher.field("names", &names.0);
    unit.directories().iter().for_each(|name| hasher.field("in", name.as_os_str().as_bytes()));
    unit.invocation.prefix_maps.old().for_each(|old| hasher.field("old", old));
    hasher.finish()
}

/// Whether a result that was made of these files is this call's, too, as far as names go.
pub fn fits(unit: &Unit, recorded: &Recorded) -> bool {
    let files = recorded.files.iter().map(|(path, _)| *path);
    match (names(unit, files), recorded.names) {
        (Some(names), Some(known)) => known == names || known == here_alone(unit, names),
        (None, None) => true,
        _ => false,
    }
}

/// Whether outputs hold a name that no map was to leave in them: of a compiler that does not map all.
pub fn shows_folder(unit: &Unit, compiled: &Compiled) -> bool {
    let directories = unit.directories();
    let folders = directories.iter().map(|directory| directory.as_os_str().as_bytes());
    let mut names = folders.chain(unit.invocation.prefix_maps.old());
    let holds = |name| {
        let finder = memmem::Finder::new(name);
        compiled.parts.iter().any(|part| finder.find(&part.bytes).is_some())
    };
    !compiled.large.is_empty() || names.any(holds)
}

/// Names without symbolic links; each folder is asked for once.
struct Links<'u, 'c> {
    unit: &'u Unit<'c>,
    folders: HashMap<PathBuf, Option<PathBuf>>,
}

impl Links<'_, '_> {
    fn resolve(&mut self, name: &Path) -> Option<PathBuf> {
        let here = &self.unit.call.caller.working_directory;
        let stat = self.unit.here.stat_link(name).ok()?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Symlink {
            return fs::canonicalize(here.join(name)).ok();
        }
        let folder = name.parent()?;
        if !self.folders.contains_key(folder) {
            self.folders.insert(folder.to_owned(), fs::canonicalize(here.join(folder)).ok());
        }
        let real = self.folders.get(folder)?.as_ref()?;
        Some(real.join(name.file_name()?))
    }
}
