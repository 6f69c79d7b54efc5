//! Walks each include through the folders in which the compiler sought it.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::disk::{Disk, Found, as_path, collapsed, folder_of, plain_spelling, spell};
use super::{FileRead, Opaque, Probes, SearchPath};
use crate::scan::{Directive, Form, Kind, Scan};

/// gcc includes it before anything else, where it finds it (`gcc/c-family/c-opts.cc`).
const IMPLICIT_HEADER: &[u8] = b"stdc-predef.h";

/// What gcc puts after a header's name for its precompiled form, and clang for forced includes.
const PRECOMPILED: [&[u8]; 2] = [b".gch", b".pch"];

/// What must hold, besides the contents of `files`, for a compile that read exactly `files` to read
/// the same again.
///
/// `files[0]` is the main source; the order of the others does not matter. `forced_includes` are
/// the operands of `-include` and `-imacros`, as given. `exists` is asked with absolute paths and
/// says whether `stat` succeeds, whatever is there; where it does and the name is new, the file
/// system is asked for the kind and identity. All that is recorded holds at the time of this call:
/// the caller calls it after the compile, and stores nothing when a file read has changed since.
///
/// # Errors
/// [`Opaque`] when the sources do not show what the compiler looks for.
pub fn absent_probes(
    files: &[FileRead],
    forced_includes: &[PathBuf],
    search: &SearchPath,
    cwd: &Path,
    exists: &mut dyn FnMut(&Path) -> bool,
) -> Result<Probes, Opaque> {
    refuse_opaque(files)?;
    let bytes = |folders: &[PathBuf]| -> Vec<Vec<u8>> {
        folders.iter().map(|folder| folder.as_os_str().as_bytes().to_vec()).collect()
    };
    let mut walk = Walk {
        files,
        disk: Disk::new(files, cwd, exists),
        quote_count: search.quote.len(),
        chain: [bytes(&search.quote), bytes(&search.angle)].concat(),
        explained: vec![false; files.len()],
        first_level: vec![false; files.len()],
        walked: HashSet::new(),
        again: Vec::new(),
    };
    walk.check_folders(search, cwd)?;
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
            (scan.opaque_has_include, Opaque::HasInclude),
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
    chain: Vec<Vec<u8>>,
    quote_count: usize,
    /// By file: some include that was walked leads to it.
    explained: Vec<bool>,
    /// By file: what it includes may be the first include of all, for which gcc considers a
    /// precompiled header (`libcpp/files.cc`, `pch_open_file`).
    first_level: Vec<bool>,
    walked: HashSet<(Vec<u8>, Vec<u8>, u8)>,
    /// Files to look at once more, as if they were in another folder.
    again: Vec<(usize, Vec<u8>)>,
}

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
            match self.disk.absence(folder.as_os_str().as_bytes()) {
                Some(index) => self.disk.need_absent(index),
                None => return Err(Opaque::Changed(folder.clone())),
            }
        }
        let listed = search.quote.len() + search.angle.len();
        let all = search.quote.iter().chain(&search.angle).chain(&search.duplicates);
        let (mut reals, mut folders) = (Vec::new(), Vec::new());
        for (index, folder) in all.enumerate() {
            let changed = || Opaque::Changed(folder.clone());
            let whole = cwd.join(folder);
            let real = whole.canonicalize().map_err(|_| changed())?;
            if real != collapsed(&whole) {
                self.disk.need_same(folder, &real);
            }
            let first = reals.iter().position(|other| *other == real).unwrap_or(index);
            if first >= listed {
                return Err(changed());
            }
            folders.push((folder.clone(), first as u32));
            reals.push(real);
        }
        self.disk.need_search_folders(folders);
        Ok(())
    }

    /// The main source itself, and what the compiler includes before it.
    fn main_source(&mut self, forced_includes: &[PathBuf]) -> Result<(), Opaque> {
        let Some(main) = self.files.first() else { return Ok(()) };
        self.explained[0] = true;
        self.first_level[0] = true;
        self.refuse_precompiled(main.path.as_os_str().as_bytes(), &PRECOMPILED[..1])?;
        for forced in forced_includes {
            let name = forced.as_os_str().as_bytes();
            match self.walk(b"", name, Form::Quote, Purpose::Forced, true)? {
                Some(index) => self.first_level[index] = true,
                None => return Err(Opaque::ForcedInclude(forced.clone())),
            }
        }
        let implicit = self.walk(b"", IMPLICIT_HEADER, Form::Angle, Purpose::Implicit, true)?;
        if let Some(index) = implicit {
            self.first_level[index] = true;
        }
        Ok(())
    }

    fn directives(&mut self) -> Result<(), Opaque> {
        for (index, file) in self.files.iter().enumerate() {
            let folder = folder_of(file.path.as_os_str().as_bytes());
            self.directives_of(index, &file.scan, folder)?;
        }
        self.directives_again()
    }

    /// The compiler may take an included file to be where another of its names is (clang keeps one
    /// entry for each inode): its own quotes are then relative to that.
    fn directives_again(&mut self) -> Result<(), Opaque> {
        while let Some((index, folder)) = self.again.pop() {
            let scan = &self.files[index].scan;
            self.directives_of(index, scan, &folder)?;
        }
        Ok(())
    }

    fn directives_of(&mut self, index: usize, scan: &Scan, folder: &[u8]) -> Result<(), Opaque> {
        let first = self.first_level[index];
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
        includer_folder: &[u8],
        name: &[u8],
        form: Form,
        purpose: Purpose,
        first: bool,
    ) -> Result<Option<usize>, Opaque> {
        let from_includer = form == Form::Quote || purpose.starts_anywhere();
        let from = if from_includer { includer_folder } else { b"" };
        let forced = purpose == Purpose::Forced || purpose == Purpose::Implicit;
        let key = (from.to_vec(), name.to_vec(), key_of(form, purpose, first));
        if !forced && !self.walked.insert(key) {
            return Ok(None);
        }
        let steps = self.steps(from, name, from_includer, purpose)?;
        match purpose {
            Purpose::HasInclude | Purpose::HasIncludeNext => self.note_has_include(&steps, first),
            Purpose::Implicit => {
                let found_nowhere = |(_, found): &&(Vec<u8>, Found)| is_passed_over(*found);
                for (path, found) in steps.iter().take_while(found_nowhere) {
                    self.need(path, *found);
                }
                self.note_include(&steps, purpose, first)
            }
            _ => self.note_include(&steps, purpose, first),
        }
    }

    /// Each place in order, up to the first file; all places where the start is not known.
    fn steps(
        &mut self,
        from: &[u8],
        name: &[u8],
        from_includer: bool,
        purpose: Purpose,
    ) -> Result<Vec<(Vec<u8>, Found)>, Opaque> {
        let mut steps = Vec::new();
        if name.is_empty() {
            return Ok(steps);
        }
        let absolute = name.starts_with(b"/");
        let chain = if absolute { self.chain.len() } else { 0 };
        let skipped = if from_includer { chain } else { self.quote_count.max(chain) };
        let own = (absolute || from_includer).then(|| spell(from, name));
        let places =
            own.into_iter().chain(self.chain[skipped..].iter().map(|folder| spell(folder, name)));
        for path in places {
            let found = self.disk.look(&path)?;
            let ends = match found {
                Found::Absent(_) | Found::Folder => false,
                Found::Read(_) | Found::Alias(_) => !purpose.starts_anywhere(),
                // An include that is compiled would have read it; one that is not may still tell
                // of a name that another way of searching finds further on.
                Found::Unread => purpose == Purpose::HasInclude,
            };
            steps.push((path, found));
            if ends {
                break;
            }
        }
        Ok(steps)
    }

    /// An include counts when it may lead to a file that was read: then each earlier place counts.
    fn note_include(
        &mut self,
        steps: &[(Vec<u8>, Found)],
        purpose: Purpose,
        first: bool,
    ) -> Result<Option<usize>, Opaque> {
        let is_read =
            |(_, found): &(Vec<u8>, Found)| matches!(found, Found::Read(_) | Found::Alias(_));
        let Some(last) = steps.iter().rposition(is_read) else {
            // gcc does not name a header among the files read where it took the precompiled form.
            return if first { self.refuse_taken(steps) } else { Ok(None) };
        };
        let mut read = None;
        for (path, found) in &steps[..=last] {
            self.need(path, *found);
            if let Found::Read(index) | Found::Alias(index) = *found {
                self.explained[index] = true;
                read = Some(index);
            }
            if first {
                let suffixes =
                    if purpose == Purpose::Forced { &PRECOMPILED[..] } else { &PRECOMPILED[..1] };
                self.refuse_precompiled(path, suffixes)?;
            }
        }
        Ok(read)
    }

    /// An include that led to no file read: it was not compiled, or a precompiled header was taken.
    fn refuse_taken(&mut self, steps: &[(Vec<u8>, Found)]) -> Result<Option<usize>, Opaque> {
        for (path, _) in steps {
            let precompiled = [path, PRECOMPILED[0]].concat();
            if self.disk.absence(&precompiled).is_none() {
                return Err(Opaque::PrecompiledHeader(as_path(&precompiled).into()));
            }
        }
        Ok(None)
    }

    /// The operator's value depends on each place up to the first file.
    fn note_has_include(
        &mut self,
        steps: &[(Vec<u8>, Found)],
        first: bool,
    ) -> Result<Option<usize>, Opaque> {
        for (path, found) in steps {
            self.need(path, *found);
            if first {
                self.refuse_precompiled(path, &PRECOMPILED[..1])?;
            }
            if *found == Found::Unread {
                self.disk.need_present(path);
            }
        }
        Ok(None)
    }

    fn need(&mut self, path: &[u8], found: Found) {
        match found {
            Found::Absent(index) => self.disk.need_absent(index),
            Found::Folder => self.disk.need_folder(path),
            Found::Alias(index) => {
                let folder = folder_of(path);
                if self.disk.need_input(path) {
                    self.again.push((index, folder.to_vec()));
                }
            }
            Found::Read(_) | Found::Unread => {}
        }
    }

    fn refuse_precompiled(&mut self, path: &[u8], suffixes: &[&[u8]]) -> Result<(), Opaque> {
        for suffix in suffixes {
            let precompiled = [path, suffix].concat();
            match self.disk.absence(&precompiled) {
                Some(index) => self.disk.need_absent(index),
                None => return Err(Opaque::PrecompiledHeader(as_path(&precompiled).into())),
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
        let sought_in = [includers.clone(), self.chain.clone(), self.real_chain(cwd)].concat();
        for index in 1..self.files.len() {
            if self.explained[index] && computed.is_empty() {
                continue;
            }
            let file = &self.files[index];
            let names = names_below(file.path.as_os_str().as_bytes(), &sought_in);
            let literal = self.explained[index];
            if names.is_empty() && !computed.is_empty() && !literal && is_real(&file.path, cwd) {
                return Err(Opaque::ComputedInclude(file.path.clone()));
            }
            for name in names {
                // The working directory stands for what an assembler or an option reads.
                self.walk(b"", &name, Form::Quote, Purpose::Include, first)?;
                for includer in &includers {
                    self.walk(includer, &name, Form::Quote, Purpose::Include, first)?;
                }
            }
        }
        Ok(())
    }

    /// The folders of the chain by their real names, which gcc gives to files in system folders.
    fn real_chain(&self, cwd: &Path) -> Vec<Vec<u8>> {
        let real = |folder: &Vec<u8>| cwd.join(as_path(folder)).canonicalize().ok();
        let reals = self.chain.iter().filter_map(real);
        reals.map(|path| path.as_os_str().as_bytes().to_vec()).collect()
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

/// For each folder that `path` is in, the name from there on.
fn names_below(path: &[u8], folders: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let path = plain_spelling(path);
    let mut names = Vec::new();
    for folder in folders {
        let folder = plain_spelling(folder);
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
    names
}
