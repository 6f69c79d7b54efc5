//! What is at each place where a compiler may have looked, asked of the file system once.
//!
//! A folder is known by what it *is* (device and inode), not by its spelling: headers that include
//! one another through `../` spell the same few folders in ever longer ways. What holds of the first
//! spelling holds of the others, as long as both lead to the same folder; that is then part of what
//! a result depends on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::work::Work;
use super::{Bounds, FileRead, Opaque, Precompiled, Probes};
use crate::file_memo::{Stamp, is_folder};
use rustix::fs::Stat;

/// What one remembered thing takes, along with its place in a table.
const ITEM_BYTES: usize = 64;

/// What a compiler that looks at one place finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing: an index for [`Disk::need_absent`].
    Absent(u32),
    /// A folder, which is passed over.
    Folder,
    /// A file that was read.
    Read(usize),
    /// Another name of a file that was read, or a file that is equal to one read once only.
    Alias(usize),
    /// A file that was not read.
    Unread,
    /// The same, which was sought if it was in a precompiled header.
    Skipped,
}

/// A way to write a folder: an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Spelling(u32);

/// A folder: the index of the first spelling that led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place(u32);

/// A name: an index. Few names are sought in many folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name(u32);

struct Spelled {
    path: Vec<u8>,
    leads: Leads,
    /// The result depends on where it leads.
    needed: bool,
}

#[derive(Clone, Copy)]
enum Leads {
    To(Place),
    /// Nowhere: of what is missing, and the spelling of the folder that it is missing from.
    Nowhere(u32, Spelling),
}

struct Absent {
    folder: Place,
    name: Name,
    needed: bool,
}

/// Length and time of last change, in seconds: what gcc compares before it skips a file that is to be read
/// once only (`libcpp/files.cc`, `is_known_idempotent_file`; it then compares contents, too).
type Likeness = (u64, i128);

#[derive(Default)]
struct Identities {
    /// By device and inode.
    of_files: HashMap<(u64, u64), usize>,
    /// Of the files to be read once only.
    once: HashMap<Likeness, usize>,
}

/// The answers so far, and the probes that follow from them.
pub(super) struct Disk<'a> {
    files: &'a [FileRead],
    stat: &'a mut dyn FnMut(&Path) -> Option<Stat>,
    pub(super) work: Work,
    precompiled: Precompiled<'a>,
    names: HashMap<Arc<[u8]>, Name>,
    name_bytes: Vec<Arc<[u8]>>,
    /// A name with something put after it.
    suffixed: HashMap<(Name, &'static [u8]), Name>,
    spellings: HashMap<Vec<u8>, Spelling>,
    spelled: Vec<Spelled>,
    /// A folder's name, sought in another folder.
    below: HashMap<(Spelling, Name), Spelling>,
    /// By whether the spelling starts at the root, device and inode: a checkout in another place may
    /// have the same relative paths, and no others.
    places: HashMap<(bool, u64, u64), Place>,
    /// Where each file was read.
    spelling_of_file: Vec<Spelling>,
    /// The first that is at the same place.
    same_file: Vec<usize>,
    files_at: HashMap<(Place, Name), usize>,
    identities: Identities,
    found: HashMap<(Place, Name), Found>,
    absents: Vec<Absent>,
    seen: HashSet<(Need, Place, Name)>,
    probes: Probes,
}

#[derive(PartialEq, Eq, Hash)]
enum Need {
    Folder,
    Input,
    Present,
    Precompiled,
    PrecompiledFolder,
}

impl<'a> Disk<'a> {
    pub(super) fn new(
        files: &'a [FileRead],
        bounds: Bounds,
        precompiled: Precompiled<'a>,
        stat: &'a mut dyn FnMut(&Path) -> Option<Stat>,
    ) -> Disk<'a> {
        Disk {
            files,
            stat,
            work: Work::new(bounds),
            precompiled,
            names: HashMap::new(),
            name_bytes: Vec::new(),
            suffixed: HashMap::new(),
            spellings: HashMap::new(),
            spelled: Vec::new(),
            below: HashMap::new(),
            places: HashMap::new(),
            spelling_of_file: Vec::with_capacity(files.len()),
            same_file: Vec::with_capacity(files.len()),
            files_at: HashMap::with_capacity(files.len()),
            identities: Identities::default(),
            found: HashMap::new(),
            absents: Vec::new(),
            seen: HashSet::new(),
            probes: Probes::default(),
        }
    }

    /// Notes where the files are that were read; of one that was read twice, the first counts.
    pub(super) fn place_files(&mut self) -> Result<(), Opaque> {
        for (index, FileRead { path, stamp, scan }) in self.files.iter().enumerate() {
            let (folder, name) = split(path.as_os_str().as_bytes());
            let (spelling, name) = (self.spelling(folder)?, self.name(name)?);
            self.spelling_of_file.push(spelling);
            match self.spelled(spelling).leads {
                Leads::To(place) => {
                    let first = *self.files_at.entry((place, name)).or_insert(index);
                    self.same_file.push(first);
                }
                Leads::Nowhere(..) => return Err(Opaque::Changed(path.clone())),
            }
            let identities = &mut self.identities;
            identities.of_files.entry((stamp.device, stamp.inode)).or_insert(index);
            if scan.once {
                identities.once.entry(likeness(stamp)).or_insert(index);
            }
        }
        Ok(())
    }

    /// The folder of a file that was read.
    pub(super) fn folder_of_file(&self, index: usize) -> Spelling {
        self.spelling_of_file[index]
    }

    /// The first in the list that is the same file: another may have been read by another spelling.
    pub(super) fn same_file(&self, index: usize) -> usize {
        self.same_file[index]
    }

    /// As it was spelled first.
    pub(super) fn path_of(&self, folder: Spelling) -> &[u8] {
        &self.spelled(folder).path
    }

    fn spelled(&self, spelling: Spelling) -> &Spelled {
        &self.spelled[spelling.0 as usize]
    }

    /// The folder, where there is one, that what is sought there depends on from now on.
    pub(super) fn enter(&mut self, spelling: Spelling) -> Option<Place> {
        match self.spelled(spelling).leads {
            Leads::To(place) => {
                self.spelled[spelling.0 as usize].needed = true;
                Some(place)
            }
            Leads::Nowhere(..) => None,
        }
    }

    /// The first spelling of a folder.
    pub(super) fn first_spelling(&self, place: Place) -> Spelling {
        Spelling(place.0)
    }

    /// The number of a name.
    pub(super) fn name(&mut self, bytes: &[u8]) -> Result<Name, Opaque> {
        if let Some(name) = self.names.get(bytes) {
            return Ok(*name);
        }
        self.work.check_length(bytes)?;
        self.work.keep(bytes.len() + ITEM_BYTES)?;
        let name = Name(self.name_bytes.len() as u32);
        let bytes: Arc<[u8]> = bytes.into();
        self.name_bytes.push(Arc::clone(&bytes));
        self.names.insert(bytes, name);
        Ok(name)
    }

    /// The name of a precompiled form.
    pub(super) fn suffixed(&mut self, name: Name, suffix: &'static [u8]) -> Result<Name, Opaque> {
        if let Some(suffixed) = self.suffixed.get(&(name, suffix)) {
            return Ok(*suffixed);
        }
        let whole = [&*self.name_bytes[name.0 as usize], suffix].concat();
        let suffixed = self.name(&whole)?;
        self.suffixed.insert((name, suffix), suffixed);
        Ok(suffixed)
    }

    /// The folder `name` as sought from another; the same one for an empty name.
    pub(super) fn folder_in(&mut self, base: Spelling, name: Name) -> Result<Spelling, Opaque> {
        let bytes = &self.name_bytes[name.0 as usize];
        if bytes.is_empty() {
            return Ok(base);
        }
        if let Some(spelling) = self.below.get(&(base, name)) {
            return Ok(*spelling);
        }
        let path = spell(&self.spelled(base).path, bytes);
        let spelling = self.spelling(&path)?;
        self.work.keep(ITEM_BYTES)?;
        self.below.insert((base, name), spelling);
        Ok(spelling)
    }

    /// Where a spelling of a folder leads.
    pub(super) fn spelling(&mut self, path: &[u8]) -> Result<Spelling, Opaque> {
        let path = plain_spelling(path);
        if let Some(spelling) = self.spellings.get(&path) {
            return Ok(*spelling);
        }
        self.work.check_length(&path)?;
        if let Some(spelling) = self.existing(&path)? {
            return Ok(spelling);
        }
        // The shallowest missing folder stands for all that could be below it.
        let mut missing = path.as_slice();
        let (at, folder) = loop {
            let folder = folder_of(missing);
            match self.existing(folder)? {
                Some(at) => break (at, folder),
                // Even the working directory is gone.
                None if folder.len() == missing.len() || folder.is_empty() => {
                    return Err(Opaque::Changed(as_path(&path).to_path_buf()));
                }
                None => missing = folder,
            }
        };
        let name = missing[folder.len()..].strip_prefix(b"/").unwrap_or(&missing[folder.len()..]);
        let name = self.name(name)?;
        let Leads::To(place) = self.spelled(at).leads else {
            return Err(Opaque::Changed(as_path(&path).to_path_buf()));
        };
        let absent = match self.found.get(&(place, name)) {
            Some(Found::Absent(absent)) => *absent,
            _ => self.add_absent(place, name)?,
        };
        self.add_spelling(path, |_| Leads::Nowhere(absent, at))
    }

    /// A spelling that leads to something.
    fn existing(&mut self, path: &[u8]) -> Result<Option<Spelling>, Opaque> {
        if let Some(spelling) = self.spellings.get(path) {
            let leads = matches!(self.spelled(*spelling).leads, Leads::To(_));
            return Ok(leads.then_some(*spelling));
        }
        let Some(stat) = self.ask(path)? else { return Ok(None) };
        let key = (path.starts_with(b"/"), stat.st_dev, stat.st_ino);
        let place = self.places.get(&key).copied();
        // What is no folder has nothing below it, whatever else it is called.
        let place = place.filter(|_| is_folder(&stat));
        let spelling =
            self.add_spelling(path.to_vec(), |new| Leads::To(place.unwrap_or(Place(new.0))))?;
        if is_folder(&stat) {
            self.places.entry(key).or_insert(Place(spelling.0));
        }
        Ok(Some(spelling))
    }

    fn add_spelling(
        &mut self,
        path: Vec<u8>,
        leads: impl FnOnce(Spelling) -> Leads,
    ) -> Result<Spelling, Opaque> {
        self.work.keep(2 * path.len() + 2 * ITEM_BYTES)?;
        let spelling = Spelling(self.spelled.len() as u32);
        let leads = leads(spelling);
        self.spelled.push(Spelled { path: path.clone(), leads, needed: false });
        self.spellings.insert(path, spelling);
        Ok(spelling)
    }

    fn ask(&mut self, path: &[u8]) -> Result<Option<Stat>, Opaque> {
        self.work.look()?;
        self.work.check_length(path)?;
        let path = if path.is_empty() { b"." } else { path };
        Ok((self.stat)(as_path(path)))
    }

    /// What is at one name in a folder.
    pub(super) fn look(&mut self, folder: Spelling, name: Name) -> Result<Found, Opaque> {
        let place = match self.spelled(folder).leads {
            Leads::To(place) => place,
            Leads::Nowhere(absent, _) => return Ok(Found::Absent(absent)),
        };
        if let Some(index) = self.files_at.get(&(place, name)) {
            return Ok(Found::Read(*index));
        }
        if let Some(found) = self.found.get(&(place, name)) {
            self.work.look()?;
            return Ok(*found);
        }
        let path = self.path(place, name);
        let found = match self.ask(&path)? {
            None => Found::Absent(self.add_absent(place, name)?),
            Some(stat) if is_folder(&stat) => Found::Folder,
            Some(stat) => self.identify(&Stamp::of(&stat)),
        };
        if !matches!(found, Found::Absent(_)) {
            self.work.keep(ITEM_BYTES)?;
            self.found.insert((place, name), found);
        }
        Ok(found)
    }

    fn add_absent(&mut self, folder: Place, name: Name) -> Result<u32, Opaque> {
        self.work.keep(ITEM_BYTES)?;
        let index = self.absents.len() as u32;
        self.absents.push(Absent { folder, name, needed: false });
        self.found.insert((folder, name), Found::Absent(index));
        Ok(index)
    }

    /// What the existing file is, when it is none by its name.
    fn identify(&self, stamp: &Stamp) -> Found {
        let same = self.identities.of_files.get(&(stamp.device, stamp.inode));
        let alike = || self.identities.once.get(&likeness(stamp));
        match same.or_else(alike) {
            Some(index) => Found::Alias(*index),
            None if self.precompiled.may_hold(stamp.size) => Found::Skipped,
            None => Found::Unread,
        }
    }

    /// A name in a folder, by the folder's first spelling.
    fn path(&self, folder: Place, name: Name) -> Vec<u8> {
        spell(&self.spelled[folder.0 as usize].path, &self.name_bytes[name.0 as usize])
    }

    /// The result depends on what was found. `Some` where another name of a file that was read counts
    /// as an input from now on: the folder in which that name is.
    pub(super) fn need(
        &mut self,
        folder: Spelling,
        name: Name,
        found: Found,
    ) -> Option<(usize, Place)> {
        match found {
            Found::Absent(index) => {
                self.need_absent(folder, index);
                None
            }
            Found::Read(index) => {
                let own = self.spelling_of_file[index];
                if own != folder {
                    self.enter(own);
                    self.enter(folder);
                }
                None
            }
            Found::Folder => {
                self.note(Need::Folder, folder, name);
                None
            }
            Found::Alias(index) => {
                self.need_identity(folder, name, index);
                self.note(Need::Input, folder, name).map(|place| (index, place))
            }
            Found::Skipped => {
                self.note(Need::Input, folder, name);
                None
            }
            Found::Unread => None,
        }
    }

    /// The result depends on nothing being there.
    fn need_absent(&mut self, folder: Spelling, index: u32) {
        self.absents[index as usize].needed = true;
        let from = match self.spelled(folder).leads {
            Leads::To(_) => folder,
            Leads::Nowhere(_, from) => from,
        };
        self.spelled[from.0 as usize].needed = true;
    }

    /// The result depends on some file being there.
    pub(super) fn need_present(&mut self, folder: Spelling, name: Name) {
        self.note(Need::Present, folder, name);
    }

    /// The result depends on a precompiled header, or on a folder of such.
    pub(super) fn need_precompiled(&mut self, folder: Spelling, name: Name, is_folder: bool) {
        let need = if is_folder { Need::PrecompiledFolder } else { Need::Precompiled };
        self.note(need, folder, name);
    }

    /// How many there are.
    pub(super) fn precompiled_count(&self) -> usize {
        self.probes.precompiled.len() + self.probes.precompiled_folders.len()
    }

    /// A file that is read once only is so under all names that lead to it, and no longer when one of
    /// them becomes a file of its own with the same content.
    fn need_identity(&mut self, folder: Spelling, name: Name, index: usize) {
        let file = &self.files[index];
        let Leads::To(place) = self.spelled(folder).leads else { return };
        if file.scan.once && !self.seen.contains(&(Need::Input, place, name)) {
            let (path, file) = (self.path(place, name), file.path.as_os_str().as_bytes());
            let (one, other) = (self.ask(&path), self.ask(file));
            if let (Ok(Some(one)), Ok(Some(other))) = (one, other)
                && (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
            {
                self.need_same(as_path(&path), as_path(file));
            }
        }
    }

    /// Adds what is needed at one name to the probes, once; gives the folder where it is new.
    fn note(&mut self, need: Need, folder: Spelling, name: Name) -> Option<Place> {
        let place = self.enter(folder)?;
        let path = as_path(&self.path(place, name)).to_path_buf();
        let list = match need {
            Need::Folder => &mut self.probes.directories,
            Need::Input => &mut self.probes.inputs,
            Need::Present => &mut self.probes.present,
            Need::Precompiled => &mut self.probes.precompiled,
            Need::PrecompiledFolder => &mut self.probes.precompiled_folders,
        };
        let new = self.seen.insert((need, place, name));
        if new {
            list.push(path);
        }
        new.then_some(place)
    }

    /// The result depends on both naming the same folder, or the same file.
    pub(super) fn need_same(&mut self, one: &Path, other: &Path) {
        self.probes.same_folders.push((one.to_path_buf(), other.to_path_buf()));
    }

    /// The result depends on which folders of the search path are the same.
    pub(super) fn need_search_folders(&mut self, folders: Vec<(PathBuf, u32)>) {
        self.probes.search_folders = folders;
    }

    /// What was needed, in a fixed order.
    pub(super) fn into_probes(mut self) -> Probes {
        for (index, spelled) in self.spelled.iter().enumerate() {
            match spelled.leads {
                Leads::To(place) if spelled.needed && place.0 as usize != index => {
                    let first = &self.spelled[place.0 as usize].path;
                    let pair = [&spelled.path, first].map(|path| as_path(or_dot(path)).to_owned());
                    self.probes.same_folders.push(pair.into());
                }
                _ => {}
            }
        }
        let mut absent: BTreeMap<&[u8], Vec<Arc<[u8]>>> = BTreeMap::new();
        for Absent { folder, name, .. } in self.absents.iter().filter(|absent| absent.needed) {
            let names = absent.entry(&self.spelled[folder.0 as usize].path).or_default();
            names.push(Arc::clone(&self.name_bytes[name.0 as usize]));
        }
        for (folder, mut names) in absent {
            names.sort_unstable();
            self.probes.absent.push((as_path(folder).to_path_buf(), names));
        }
        self.probes
    }
}

fn likeness(stamp: &Stamp) -> Likeness {
    (stamp.size, stamp.modified_ns.div_euclid(1_000_000_000))
}

/// An empty spelling is the working directory.
fn or_dot(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

pub(super) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// The folder of a path as compilers take it: what stands before the last slash.
pub(super) fn folder_of(path: &[u8]) -> &[u8] {
    split(path).0
}

/// The folder of a path, and what comes after.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memrchr(b'/', path) {
        Some(0) => (b"/", &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// A name in a folder, as compilers spell it.
pub(super) fn spell(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(folder.len() + 1 + name.len());
    if !folder.is_empty() && !name.starts_with(b"/") {
        path.extend_from_slice(folder);
        if !folder.ends_with(b"/") {
            path.push(b'/');
        }
    }
    path.extend_from_slice(name);
    path
}

/// `path` without empty parts and `.` parts. `..` stays: with links it is not what it seems.
pub(super) fn plain_spelling(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    if path.starts_with(b"/") {
        plain.push(b'/');
    }
    let mut rest = path;
    while !rest.is_empty() {
        let end = memchr::memchr(b'/', rest).unwrap_or(rest.len());
        let part = &rest[..end];
        rest = &rest[(end + 1).min(rest.len())..];
        if part.is_empty() || part == b"." {
            continue;
        }
        if !matches!(plain.last(), None | Some(b'/')) {
            plain.push(b'/');
        }
        plain.extend_from_slice(part);
    }
    plain
}

/// `path` with each `..` taken to undo the part before it, as if there were no links.
pub(super) fn collapsed(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                parts.pop();
            }
            std::path::Component::CurDir => {}
            other => parts.push(other),
        }
    }
    parts
}
