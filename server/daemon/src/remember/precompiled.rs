//! Precompiled headers: what each was made of. That says what is in one, whose bytes show nothing, and that
//! another of the same recipe would do as well.

use crate::remember::changes::Changes;
use crate::remember::scan_unchanged;
use crate::understand::unit::Unit;
use crate::{Cache, Daemon};
use cache::entry::{Entry, Part, PartKind, Stored};
use cache::manifest::{Manifest, Recorded};
use cache::outputs::OutputFile;
use cache::store::{EntryKind, SaveOptions, Store};
use compiler::file_memo::is_regular;
use compiler::hasher::{Digest, KeyHasher, KeySink};
use compiler::invocation::{Family, Phase};
use compiler::outcome::{Counter, Uncacheable};
use compiler::search::{FileRead, Precompiled, Probes};
use rustix::fs::Stat;
use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How the files of each family begin; what begins otherwise is refused by its compilers.
const GCC_MAGIC: [u8; 4] = *b"gpch";
const CLANG_MAGIC: [u8; 4] = *b"CPCH";

/// One folder of precompiled headers has at most this many.
const FOLDER_FILES_MAX: usize = 64;

/// Under which name the recipe of a precompiled header is stored.
fn recipe_key(content: Digest) -> Digest {
    let mut hasher = KeyHasher::new("rcache recipe 1");
    hasher.field("precompiled header", &content.0);
    hasher.finish()
}

/// The recipe of the precompiled header with this content, where rcache has seen it made.
fn recipe_of(store: &Store, content: Digest) -> Option<Vec<u8>> {
    store.open_entry(recipe_key(content))?.part(PartKind::Recipe)?.content().ok()
}

/// What a file with this content stands for, where another of the same recipe would do.
pub fn stands_for(store: &Store, content: Digest) -> Option<Digest> {
    let bytes = recipe_of(store, content)?;
    let manifest = Manifest::decode(&bytes)?;
    let recipe = manifest.results().next()?;
    // clang compares the times in it with those of its inputs.
    recipe.states.is_empty().then_some(recipe.key)
}

/// Whether the unit makes a precompiled header.
pub fn is_made(unit: &Unit) -> bool {
    unit.invocation.phase == Phase::Precompiled
}

/// The part of a result that says what a precompiled header is made of: its content, and its recipe.
pub fn recipe_part(content: Digest, recorded: &Recorded, source: (&Path, Digest)) -> Part {
    let mut hasher = KeyHasher::new("rcache recipe 1");
    hasher.field("result", &recorded.key.0);
    let mut recipe = Recorded { key: hasher.finish(), ..recorded.clone() };
    recipe.files.insert(0, source);
    let bytes = [&content.0[..], &Manifest::encode(&[recipe])].concat();
    Part { kind: PartKind::Recipe, bytes }
}

/// Lets the users of a precompiled header, which may be compiled as soon as it is there, know its recipe.
pub fn save_recipe(cache: &Cache, part: &[u8]) {
    let Some((content, recipe)) = part.split_at_checked(Digest::LEN) else { return };
    let Ok(content) = content.try_into() else { return };
    let key = recipe_key(Digest(content));
    if cache.store.contains(key) {
        return;
    }
    let parts = vec![Part { kind: PartKind::Recipe, bytes: recipe.to_vec() }];
    let (compression, compile_time) = (None, Duration::ZERO);
    let options = SaveOptions { compression, compile_time, kind: EntryKind::Manifest };
    if let Err(error) = cache.store.save(key, &Entry { parts }, options) {
        tracing::warn!("cannot store a recipe: {error}");
    }
}

/// The same for one that comes from the store.
pub fn save_recipe_of(cache: &Cache, stored: &Stored) {
    if let Some(Ok(part)) = stored.part(PartKind::Recipe).map(|part| part.content()) {
        save_recipe(cache, &part);
    }
}

/// What stands behind the precompiled headers that a unit may have taken.
pub struct Behind {
    /// The files that they were made of.
    pub members: Vec<(FileRead, Digest)>,
    /// They themselves, by content or by recipe.
    pub headers: Vec<(PathBuf, Digest)>,
    /// What else counts.
    pub states: Vec<(PathBuf, Digest)>,
    /// The sizes of the members; `None` where they are not known.
    sizes: Option<HashSet<u64>>,
}

impl Behind {
    /// What that does to the search.
    pub fn search(&self) -> Precompiled<'_> {
        Precompiled::Holding(self.sizes.as_ref())
    }
}

/// Finds out what is behind the precompiled headers of a unit.
///
/// # Errors
/// One of them may be in the object, and nobody knows what is in it.
pub fn behind(
    daemon: &Daemon,
    cache: &Cache,
    unit: &Unit,
    probes: &Probes,
    changes: &Changes,
    now: SystemTime,
) -> Result<Option<Behind>, Uncacheable> {
    let mut files = unit.invocation.precompiled.clone();
    files.extend(probes.precompiled.iter().cloned());
    let folders = &probes.precompiled_folders;
    files.retain(|path| !unit.here.stat(path).is_ok_and(|stat| is_own_output(unit, &stat)));
    if files.is_empty() && folders.is_empty() {
        return Ok(None);
    }
    if is_made(unit) {
        return Err(refuse("one is made of another"));
    }
    let mut found = Behind {
        members: Vec::new(),
        headers: Vec::new(),
        states: Vec::new(),
        sizes: Some(HashSet::new()),
    };
    let here = &unit.here;
    for path in &files {
        match here.stat(path) {
            // clang looks for the first in a folder that fits, too.
            Ok(stat) if !is_regular(&stat) => {
                add_folder(unit, path, changes, &mut found.states, &mut found.headers)?;
            }
            _ => found.headers.push((path.clone(), Digest::of(&[]))),
        }
    }
    for folder in folders {
        add_folder(unit, folder, changes, &mut found.states, &mut found.headers)?;
    }
    for at in 0..found.headers.len() {
        let path = found.headers[at].0.clone();
        let unreadable = |_| Uncacheable::new(Counter::BadInputFile, path.to_string_lossy());
        let content = daemon.memo.content(here, &path, now).map_err(unreadable)?;
        changes.refuse(&path, &content)?;
        found.headers[at].1 = content.digest;
        if !begins_as_one(unit, &path) {
            continue;
        }
        match recipe_of(&cache.store, content.digest) {
            Some(recipe) => {
                let manifest = Manifest::decode(&recipe).unwrap_or_default();
                let recipe = manifest.results().next().ok_or_else(|| refuse("its recipe"))?;
                found.headers[at].1 =
                    found.add_recipe(daemon, unit, &recipe, content.digest, changes)?;
            }
            None if unit.config.sloppiness.pch_defines => found.sizes = None,
            None => {
                return Err(refuse(format!("{} was not made by rcache", path.display())));
            }
        }
    }
    Ok(Some(found))
}

impl Behind {
    /// Adds what one was made of; gives what it counts by.
    fn add_recipe(
        &mut self,
        daemon: &Daemon,
        unit: &Unit,
        recipe: &Recorded,
        content: Digest,
        changes: &Changes,
    ) -> Result<Digest, Uncacheable> {
        for (path, digest) in &recipe.files {
            // What is there now says what is in it only where that is the same.
            let stale = || refuse(format!("{} is not as it was made of it", path.display()));
            let now = SystemTime::now();
            let member = scan_unchanged(daemon, unit, path, changes, now).map_err(|_| stale())?;
            if member.1 != *digest {
                return Err(stale());
            }
            if let Some(sizes) = &mut self.sizes {
                sizes.insert(member.0.stamp.size);
            }
            self.members.push(member);
        }
        self.states.extend(recipe.states.iter().map(|(path, state)| (path.to_path_buf(), *state)));
        // clang looks at the times of the members, where it holds them.
        Ok(if recipe.states.is_empty() { recipe.key } else { content })
    }
}

/// A folder of which the compiler takes the first file that fits.
fn add_folder(
    unit: &Unit,
    folder: &Path,
    changes: &Changes,
    states: &mut Vec<(PathBuf, Digest)>,
    headers: &mut Vec<(PathBuf, Digest)>,
) -> Result<(), Uncacheable> {
    let unreadable = |_| Uncacheable::new(Counter::BadInputFile, folder.to_string_lossy());
    let state = unit.here.state(folder).map_err(unreadable)?;
    let names = unit.here.names(folder).map_err(unreadable)?;
    if names.len() > FOLDER_FILES_MAX {
        return Err(refuse(format!("{} has too many", folder.display())));
    }
    let files = names.iter().filter(|name| *name != "." && *name != "..");
    for path in files.map(|name| folder.join(name)) {
        match unit.here.stat(&path) {
            Ok(stat) if is_regular(&stat) => headers.push((path, Digest::of(&[]))),
            _ => return Err(refuse(format!("{} is no file", path.display()))),
        }
    }
    states.push((folder.to_owned(), state));
    let stat = unit.here.stat(folder).map_err(unreadable)?;
    changes.refuse_found(folder, &stat)
}

/// Whether a file is the precompiled header that the unit makes: its compiler does not look for it.
pub fn is_own_output(unit: &Unit, found: &Stat) -> bool {
    let is_same = |output: &OutputFile| {
        let own = unit.here.stat(&output.path);
        own.is_ok_and(|own| (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino))
    };
    is_made(unit) && unit.outputs.iter().any(is_same)
}

/// Whether a file is one that the unit's compiler could take; if not, it says so or is silent.
pub fn begins_as_one(unit: &Unit, path: &Path) -> bool {
    let magic = match unit.compiler.banner.family {
        Family::Gcc => GCC_MAGIC,
        Family::Clang => CLANG_MAGIC,
    };
    let mut start = [0; 4];
    let read = unit.here.open_file(path).and_then(|mut file| file.read_exact(&mut start));
    // What cannot be read is no precompiled header for the compiler either.
    read.is_ok() && start == magic
}

fn refuse(detail: impl Into<String>) -> Uncacheable {
    Uncacheable::new(Counter::CouldNotUsePrecompiledHeader, detail)
}
