//! Walks each include through the folders in which the compiler sought it.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;

use super::disk::{
    Disk, Found, Name, Place, Spelling, as_path, collapsed, folder_of, plain_spelling, split,
};
use super::{Bounds, FileRead, Opaque, Precompiled, Probes, SearchPath};
use crate::scan::{Directive, Form, Kind};

/// gcc includes it before anything else, where it finds it (`gcc/c-family/c-opts.cc`).
const IMPLICIT_HEADER: &[u8] = b"stdc-predef.h";

/// What gcc puts after a header's name for its precompiled form, and clang for forced includes.
const PRECOMPILED: [&[u8]; 2] = [b".gch", b".pch"];

/// What must hold, besides the contents of `files`, for a compile that read exactly `files` to read
/// the same again.
///
/// `files[0]` is the main source; the order of the others does not matter. `forced_includes` are
/// the operands of `-include` and `-imacros`, as given. `stat` is asked with paths that are relative to
/// `cwd` or absolute, and follows links. All that is recorded holds at the time of this call: the
/// caller calls it after the compile, and stores nothing when a file read has changed since.
///
/// # Errors
/// [`Opaque`] when the sources do not show what the compiler looks for, or when finding out would take
/// more than `bounds`.
pub fn absent_probes(
    files: &[FileRead],
    forced_includes: &[PathBuf],
    search: &SearchPath,
    cwd: &Path,
    bounds: Bounds,
    precompiled: Precompiled,
    stat: &mut dyn FnMut(&Path) -> Option<Stat>,
) -> Result<Probes, Opaque> {
    refuse_opaque(files)?;
    let mut walk = Walk {
        files,
        disk: Disk::new(files, bounds, precompiled, stat),
        quote_count: search.quote.len(),
        chain: Vec::with_capacity(search.quote.len() + search.angle.len()),
        explained: vec![false; files.len()],
        first_level: vec![false; files.len()],
        walked: HashSet::new(),
        walked_from: HashSet::new(),
        again: Vec::new(),
        seeks_precompiled: !matches!(precompiled, Precompiled::NotSought),
    };
    walk.check_folders(search, cwd)?;
    for folder in search.quote.iter().chain(&search.angle) {
        let spelling = walk.disk.spelling(folder.as_os_str().as_bytes())?;
        walk.chain.push(spelling);
    }
    walk.disk.place_files()?;
    walk.main_source(forced_includes)?;
    walk.directives()?;
    walk.unexplained(cwd)?;
    walk.directives_again()?;
    Ok(walk.disk.into_probes())
}

/// Refuses sources of which some need cannot be read off their text.
fn refuse_opaque(files: &[FileRead]) -> Result<(), Opaque> {
    type Reason = fn(PathBuf) -> Opaque;
    for file in files {
        let scan = &file.scan;
        let reasons: [(bool, Reason); 5] = [
            (scan.opaque_has_include || scan.macro_has_include, Opaque::HasInclude),
            (scan.embed, Opaque::Embed),
            (scan.pragma_dependency, Opaque::PragmaDependency),
            (scan.module_directives, Opaque::Modules),
            (scan.too_many_directives, Opaque::TooManyDirectives),
        ];
        for (holds, reason) in reasons {
            if holds {
                return Err(reason(file.path.clone()));
            }
        }
    }
    refuse_changed_operands(files)
}

/// Refuses operands in macros of which a part is itself a macro.
fn refuse_changed_operands(files: &[FileRead]) -> Result<(), Opaque> {
    let words: HashSet<&Vec<u8>> = files.iter().flat_map(|file| &file.scan.operand_words).collect();
    for file in files {
        if words.iter().any(|word| file.scan.plain_macros.binary_search(word).is_ok()) {
            return Err(Opaque::HasInclude(file.path.clone()));
        }
    }
    Ok(())
}

struct Walk<'a> {
    files: &'a [FileRead],
    disk: Disk<'a>,
    /// The quote folders, then the angle folders.
    chain: Vec<Spelling>,
    quote_count: usize,
    /// By file: some include that was walked leads to it.
    explained: Vec<bool>,
    /// By file: what it includes may be the first include of all, for which gcc considers a
    /// precompiled header (`libcpp/files.cc`, `pch_open_file`).
    first_level: Vec<bool>,
    /// Names that were followed from a folder (or from the search path alone), by their purpose.
    walked: HashSet<(Option<Place>, Name, Name, u8)>,
    /// Files that were looked at as if they were in a folder.
    walked_from: HashSet<(usize, Place)>,
    /// Files to look at once more, as if they were in another folder.
    again: Vec<(usize, Place)>,
    /// Precompiled headers may be taken.
    seeks_precompiled: bool,
}

/// Places in order: a folder, a name, and what is there.
type Steps = Vec<(Spelling, Name, Found)>;

/// What a walk is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Include,
    IncludeNext,
    HasInclude,
    HasIncludeNext,
    Forced,
    Implicit,
}

impl Purpose {
    /// Whether the search begins at a place that the text does not show.
    fn starts_anywhere(self) -> bool {
        matches!(self, Purpose::IncludeNext | Purpose::HasIncludeNext)
    }
}

impl Walk<'_> {
    /// The folders of the search path must be what they were when the compiler listed them.
    fn check_folders(&mut self, search: &SearchPath, cwd: &Path) -> Result<(), Opaque> {
        for folder in &search.missing {
            let (above, name) = split(folder.as_os_str().as_bytes());
            let (above, name) = (self.disk.spelling(above)?, self.disk.name(name)?);
            match self.disk.look(above, name)? {
                found @ Found::Absent(_) => self.disk.need(above, name, found),
                _ => return Err(Opaque::Changed(folder.clone())),
            };
        }
        let listed = search.quote.len() + search.angle.len();
        let all = search.quote.iter().chain(&search.angle).chain(&search.duplicates);
        let (mut reals, mut folders) = (HashMap::new(), Vec::new());
        for (index, folder) in all.enumerate() {
            let changed = || Opaque::Changed(folder.clone());
            let whole = cwd.join(folder);
            let real = whole.canonicalize().map_err(|_| changed())?;
            if real != collapsed(&whole) {
                self.disk.need_same(folder, &real);
            }
            let first = *reals.entry(real).or_insert(index);
            if first >= listed {
                return Err(changed());
            }
            folders.push((folder.clone(), first as u32));
        }
        self.disk.need_search_folders(folders);
        Ok(())
    }

    /// The main source itself, and what the compiler includes before it.
    fn main_source(&mut self, forced_includes: &[PathBuf]) -> Result<(), Opaque> {
        let Some(main) = self.files.first() else { return Ok(()) };
        self.explained[0] = true;
        self.first_level[0] = true;
        let name = self.disk.name(split(main.path.as_os_str().as_bytes()).1)?;
        self.precompiled(self.disk.folder_of_file(0), name, &PRECOMPILED[..1])?;
        let here = self.disk.spelling(b"")?;
        for forced in forced_includes {
            let name = forced.as_os_str().as_bytes();
            let taken = self.disk.precompiled_count();
            match self.walk(here, name, Form::Quote, Purpose::Forced, true)? {
                Some(index) => self.first_level[index] = true,
                None if self.disk.precompiled_count() > taken => {}
                None => return Err(Opaque::ForcedInclude(forced.clone())),
            }
        }
        let implicit = self.walk(here, IMPLICIT_HEADER, Form::Angle, Purpose::Implicit, true)?;
        if let Some(index) = implicit {
            self.first_level[index] = true;
        }
        Ok(())
    }

    fn directives(&mut self) -> Result<(), Opaque> {
        for index in 0..self.files.len() {
            if let Some(place) = self.disk.enter(self.disk.folder_of_file(index)) {
                self.directives_of(index, place)?;
            }
        }
        self.directives_again()
    }

    /// The compiler may take an included file to be where another of its names is (clang keeps one
    /// entry for each inode): its own quotes are then relative to that.
    fn directives_again(&mut self) -> Result<(), Opaque> {
        while let Some((index, place)) = self.again.pop() {
            self.directives_of(index, place)?;
        }
        Ok(())
    }

    /// What a file asks for, once for each folder (not each spelling of it) that it may be in.
    fn directives_of(&mut self, index: usize, place: Place) -> Result<(), Opaque> {
        let index = self.disk.same_file(index);
        if !self.walked_from.insert((index, place)) {
            return Ok(());
        }
        let folder = self.disk.first_spelling(place);
        let first = self.first_level[index];
        let FileRead { scan, path, .. } = &self.files[index];
        self.disk.work.file.clone_from(path);
        for Directive { name, form, kind } in &scan.includes {
            let purpose = match kind {
                Kind::Next => Purpose::IncludeNext,
                Kind::Include | Kind::Import => Purpose::Include,
            };
            self.walk(folder, name, *form, purpose, first)?;
        }
        for Directive { name, form, kind } in &scan.has_includes {
            let purpose = match kind {
                Kind::Next => Purpose::HasIncludeNext,
                Kind::Include | Kind::Import => Purpose::HasInclude,
            };
            self.walk(folder, name, *form, purpose, first)?;
        }
        Ok(())
    }

    /// Follows one name through its places and notes what the outcome depends on. Returns the file
    /// read that it may lead to.
    fn walk(
        &mut self,
        includer_folder: Spelling,
        name: &[u8],
        form: Form,
        purpose: Purpose,
        first: bool,
    ) -> Result<Option<usize>, Opaque> {
        if name.is_empty() {
            return self.note_include(&Steps::new(), purpose, first);
        }
        let absolute = name.starts_with(b"/");
        let from_includer = absolute || form == Form::Quote || purpose.starts_anywhere();
        let from = match from_includer {
            true => self.disk.enter(includer_folder),
            false => None,
        };
        let (above, last) = split(name);
        let (above, last) = (self.disk.name(above)?, self.disk.name(last)?);
        let forced = purpose == Purpose::Forced || purpose == Purpose::Implicit;
        let key = (from, above, last, key_of(form, purpose, first));
        if !forced && !self.walked.insert(key) {
            return Ok(None);
        }
        let own = from_includer.then_some(includer_folder);
        let skipped = match (absolute, from_includer) {
            (true, _) => self.chain.len(),
            (false, true) => 0,
            (false, false) => self.quote_count,
        };
        let steps = self.steps(own, skipped, above, last, purpose)?;
        match purpose {
            Purpose::HasInclude | Purpose::HasIncludeNext => self.note_has_include(&steps, first),
            Purpose::Implicit => {
                for (folder, name, found) in
                    steps.iter().take_while(|(_, _, found)| is_passed_over(*found))
                {
                    self.need(*folder, *name, *found);
                }
                self.note_include(&steps, purpose, first)
            }
            _ => self.note_include(&steps, purpose, first),
        }
    }

    /// Each place in order, up to the first file; all places where the start is not known.
    fn steps(
        &mut self,
        own: Option<Spelling>,
        skipped: usize,
        above: Name,
        last: Name,
        purpose: Purpose,
    ) -> Result<Steps, Opaque> {
        let mut steps = Steps::new();
        let chain = (skipped..self.chain.len()).map(Some);
        for link in own.map(|_| None).into_iter().chain(chain) {
            let base = match (link, own) {
                (Some(index), _) => self.chain[index],
                (None, Some(own)) => own,
                (None, None) => continue,
            };
            let folder = self.disk.folder_in(base, above)?;
            let found = self.disk.look(folder, last)?;
            let ends = match found {
                Found::Absent(_) | Found::Folder => false,
                Found::Read(_) | Found::Alias(_) => !purpose.starts_anywhere(),
                // An include that is compiled would have read it; one that is not may still tell
                // of a name that another way of searching finds further on.
                Found::Unread | Found::Skipped => purpose == Purpose::HasInclude,
            };
            steps.push((folder, last, found));
            if ends {
                break;
            }
        }
        Ok(steps)
    }

    /// An include counts when it may lead to a file that was read: then each earlier place counts.
    fn note_include(
        &mut self,
        steps: &Steps,
        purpose: Purpose,
        first: bool,
    ) -> Result<Option<usize>, Opaque> {
        let is_read = |(_, _, found): &(Spelling, Name, Found)| {
            matches!(found, Found::Read(_) | Found::Alias(_))
        };
        let suffixes =
            if purpose == Purpose::Forced { &PRECOMPILED[..] } else { &PRECOMPILED[..1] };
        let mut read = None;
        let sought = (first && self.seeks_precompiled).then_some(suffixes);
        let Some(last) = self.last_step(steps, is_read, sought)? else {
            return Ok(None);
        };
        for (folder, name, found) in &steps[..=last] {
            self.need(*folder, *name, *found);
            if let Found::Read(index) | Found::Alias(index) = *found {
                self.explained[index] = true;
                read = Some(index);
            }
            if first {
                self.precompiled(*folder, *name, suffixes)?;
            }
        }
        Ok(read)
    }

    /// The last place that an include depends on: where a file was read, or where one is in a precompiled
    /// form. Where a unit may have taken such a form, gcc names neither the header, nor one that it knows
    /// from there and so does not read (`libcpp/files.cc`, `check_file_against_entries`).
    fn last_step(
        &mut self,
        steps: &Steps,
        is_read: impl Fn(&(Spelling, Name, Found)) -> bool,
        suffixes: Option<&[&'static [u8]]>,
    ) -> Result<Option<usize>, Opaque> {
        let mut last = steps.iter().rposition(is_read);
        for (at, (folder, name, found)) in steps.iter().enumerate() {
            let mut counts = *found == Found::Skipped;
            for suffix in suffixes.into_iter().flatten() {
                let precompiled = self.disk.suffixed(*name, suffix)?;
                counts |= !matches!(self.disk.look(*folder, precompiled)?, Found::Absent(_));
            }
            if counts {
                last = last.max(Some(at));
            }
        }
        Ok(last)
    }

    /// The operator's value depends on each place up to the first file.
    fn note_has_include(&mut self, steps: &Steps, first: bool) -> Result<Option<usize>, Opaque> {
        for (folder, name, found) in steps {
            self.need(*folder, *name, *found);
            if first {
                self.precompiled(*folder, *name, &PRECOMPILED[..1])?;
            }
            if matches!(found, Found::Unread | Found::Skipped) {
                self.disk.need_present(*folder, *name);
            }
        }
        Ok(None)
    }

    fn need(&mut self, folder: Spelling, name: Name, found: Found) {
        self.again.extend(self.disk.need(folder, name, found));
    }

    /// The precompiled forms of a header: each is absent, or counts by its content.
    fn precompiled(
        &mut self,
        folder: Spelling,
        name: Name,
        suffixes: &[&'static [u8]],
    ) -> Result<(), Opaque> {
        let suffixes = if self.seeks_precompiled { suffixes } else { &[] };
        for suffix in suffixes {
            let precompiled = self.disk.suffixed(name, suffix)?;
            match self.disk.look(folder, precompiled)? {
                found @ Found::Absent(_) => self.need(folder, precompiled, found),
                found => self.disk.need_precompiled(folder, precompiled, found == Found::Folder),
            }
        }
        Ok(())
    }

    /// Files to which no literal include leads, and all files when some include is computed: each
    /// name under which a search could have come to them.
    fn unexplained(&mut self, cwd: &Path) -> Result<(), Opaque> {
        let computed: Vec<usize> = (0..self.files.len())
            .filter(|index| self.files[*index].scan.computed_include)
            .collect();
        let parents = self.files.iter().any(|file| file.scan.parent_folder_in_macro);
        if let (Some(index), true) = (computed.first(), parents) {
            // gcc shortens `folder/../name` of system folders: the name sought is then lost.
            return Err(Opaque::ComputedInclude(self.files[*index].path.clone()));
        }
        let first = computed.iter().any(|index| self.first_level[*index]);
        let mut includers: Vec<Vec<u8>> = computed
            .iter()
            .map(|index| folder_of(self.files[*index].path.as_os_str().as_bytes()).to_vec())
            .collect();
        includers.sort();
        includers.dedup();
        let mut sought_in = [includers.clone(), self.chain_paths(), self.real_chain(cwd)].concat();
        sought_in.iter_mut().for_each(|folder| *folder = plain_spelling(folder));
        sought_in.sort();
        sought_in.dedup();
        let here = self.disk.spelling(b"")?;
        let mut from = vec![here];
        for includer in &includers {
            from.push(self.disk.spelling(includer)?);
        }
        for index in 1..self.files.len() {
            let literal = self.explained[self.disk.same_file(index)];
            if literal && computed.is_empty() {
                continue;
            }
            let file = &self.files[index];
            self.disk.work.file.clone_from(&file.path);
            let names = self.names_below(file.path.as_os_str().as_bytes(), &sought_in)?;
            if names.is_empty() && !computed.is_empty() && !literal && is_real(&file.path, cwd) {
                return Err(Opaque::ComputedInclude(file.path.clone()));
            }
            for name in names {
                // The working directory stands for what an assembler or an option reads.
                for folder in &from {
                    self.walk(*folder, &name, Form::Quote, Purpose::Include, first)?;
                }
            }
        }
        Ok(())
    }

    fn chain_paths(&self) -> Vec<Vec<u8>> {
        self.chain.iter().map(|folder| self.disk.path_of(*folder).to_vec()).collect()
    }

    /// The folders of the chain by their real names, which gcc gives to files in system folders.
    fn real_chain(&self, cwd: &Path) -> Vec<Vec<u8>> {
        let real = |folder: Vec<u8>| cwd.join(as_path(&folder)).canonicalize().ok();
        let reals = self.chain_paths().into_iter().filter_map(real);
        reals.map(|path| path.as_os_str().as_bytes().to_vec()).collect()
    }

    /// For each folder that `path` is in, the name from there on.
    fn names_below(&mut self, path: &[u8], folders: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Opaque> {
        let path = plain_spelling(path);
        let mut names = Vec::new();
        for folder in folders {
            self.disk.work.look()?;
            let name = match folder.as_slice() {
                b"" if !path.starts_with(b"/") => Some(path.as_slice()),
                b"" => None,
                b"/" => path.strip_prefix(b"/"),
                _ => path.strip_prefix(folder.as_slice()).and_then(|rest| rest.strip_prefix(b"/")),
            };
            names.extend(name.filter(|name| !name.is_empty()).map(<[u8]>::to_vec));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }
}

fn is_passed_over(found: Found) -> bool {
    matches!(found, Found::Absent(_) | Found::Folder)
}

fn key_of(form: Form, purpose: Purpose, first: bool) -> u8 {
    let purpose = match purpose {
        Purpose::Include => 0,
        Purpose::IncludeNext => 1,
        Purpose::HasInclude => 2,
        Purpose::HasIncludeNext => 3,
        Purpose::Forced => 4,
        Purpose::Implicit => 5,
    };
    purpose * 4 + u8::from(form == Form::Quote) * 2 + u8::from(first)
}

/// Whether the path has no links in it, so that it may be one that the compiler shortened.
fn is_real(path: &Path, cwd: &Path) -> bool {
    path.is_absolute() && cwd.join(path).canonicalize().is_ok_and(|real| real == path)
}
