//! Follows each name through the places in which the compiler may seek it.

use super::disk::{Disk, File, Folder, Leads};
use super::{InputTree, Needs, Unprovable, Wanted};
use crate::invocation::Family;
use crate::scan::{Directive, Followed, Form, Kind, Scan, follow};
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// gcc includes it before anything else, where it finds it (`gcc/c-family/c-opts.cc`).
const IMPLICIT_HEADER: &[u8] = b"stdc-predef.h";

/// What gcc puts after a header's name for its precompiled form, and clang for forced includes.
const PRECOMPILED: [&[u8]; 2] = [b".gch", b".pch"];

/// All files of a unit together whose macros are followed.
const UNIT_BYTES_MAX: usize = 256 << 20;

/// Rounds of following macros: what they ask for may define others.
const ROUNDS_MAX: u32 = 16;

/// Makes the tree of a compile.
///
/// # Errors
/// Why it cannot be known what the compile may read.
pub fn input_tree(wanted: &Wanted) -> Result<InputTree, Unprovable> {
    let mut walk = Walk::new(wanted)?;
    walk.search_path()?;
    walk.listed()?;
    walk.main_source()?;
    walk.walk_all()?;
    walk.follow_macros()?;
    let needs = walk.needs()?;
    let mut tree = InputTree { needs, ..InputTree::default() };
    for scan in walk.scans() {
        tree.time |= scan.any_time_macro();
        tree.needs.times |= scan.timestamp || scan.may_build_time_macro;
        tree.opaque_line |= scan.opaque_line;
        tree.assembler_reads |= scan.assembler.could_read();
        tree.assembler_source |= scan.assembler_source;
    }
    tree.time |= wanted.definition_scans.iter().any(Scan::any_time_macro);
    walk.by_name(wanted.others)?;
    if tree.time {
        walk.by_name(wanted.clock)?;
    }
    tree.nodes = walk.disk.into_tree()?.nodes;
    Ok(tree)
}

/// A file as it was reached: its folder as the compiler takes it, which a link may lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Reached {
    file: File,
    folder: Folder,
    /// What it includes may be the first include of all, for which gcc considers a precompiled header.
    first: bool,
}

/// From which folder a name is sought, and how.
type Manner = (Option<Folder>, u8);

struct Walk<'a> {
    wanted: &'a Wanted<'a>,
    disk: Disk<'a>,
    cwd: Folder,
    /// The quote folders, then the angle folders.
    chain: Vec<Folder>,
    quote_count: usize,
    reached: HashSet<Reached>,
    to_walk: Vec<Reached>,
    /// The files that a preprocessor run has read: the directives of others are not compiled.
    read: Option<HashSet<File>>,
    /// The files whose directives count, in the order in which they were found.
    files: Vec<File>,
    is_known: HashSet<File>,
    /// Names sought so far, by the folder (or none) and the manner.
    sought: HashMap<Manner, HashSet<Rc<[u8]>>>,
}

impl<'a> Walk<'a> {
    fn new(wanted: &'a Wanted<'a>) -> Result<Walk<'a>, Unprovable> {
        let mut disk = Disk::new(wanted);
        let root = Folder(0);
        let Leads::Folder(cwd) = disk.resolve(root, wanted.cwd.as_os_str().as_bytes(), true)?
        else {
            return Err(Unprovable::Unreadable(wanted.cwd.to_owned()));
        };
        Ok(Walk {
            wanted,
            disk,
            cwd,
            chain: Vec::new(),
            quote_count: 0,
            reached: HashSet::new(),
            to_walk: Vec::new(),
            read: None,
            files: Vec::new(),
            is_known: HashSet::new(),
            sought: HashMap::new(),
        })
    }

    /// The folders in which headers are sought, under all names by which the compiler knows them.
    fn search_path(&mut self) -> Result<(), Unprovable> {
        let Some(search) = self.wanted.search else { return Ok(()) };
        let mut ids = HashMap::new();
        let listed = search.quote.iter().chain(&search.angle);
        for (index, path) in listed.chain(&search.duplicates).enumerate() {
            let leads = self.disk.resolve(self.cwd, path.as_os_str().as_bytes(), true)?;
            let Leads::Folder(folder) = leads else {
                return Err(Unprovable::Unreadable(path.clone()));
            };
            // The same folder mounted in two places would be two folders elsewhere.
            if *ids.entry(self.disk.id(folder)).or_insert(folder) != folder {
                return Err(Unprovable::TwoNames(path.clone()));
            }
            if index < search.quote.len() + search.angle.len() {
                self.chain.push(folder);
            }
        }
        self.quote_count = search.quote.len();
        // One that has come since the compiler was asked changes the order.
        for path in &search.missing {
            match self.disk.resolve(self.cwd, path.as_os_str().as_bytes(), false)? {
                Leads::Nowhere => {}
                _ => return Err(Unprovable::Unreadable(path.clone())),
            }
        }
        Ok(())
    }

    /// The source, and what is included before it.
    fn main_source(&mut self) -> Result<(), Unprovable> {
        let source = self.wanted.source.as_os_str().as_bytes();
        if self.reach(self.cwd, source, true)?.is_none() {
            return Err(Unprovable::Unreadable(self.wanted.source.to_owned()));
        }
        if self.wanted.search.is_none() {
            return Ok(());
        }
        self.refuse_precompiled(self.cwd, source)?;
        for forced in self.wanted.forced_includes {
            let name = forced.as_os_str().as_bytes();
            if !self.seek(Some(self.cwd), name, Form::Quote, Kind::Include, true)? {
                return Err(Unprovable::Missing(forced.clone()));
            }
        }
        self.seek(None, IMPLICIT_HEADER, Form::Angle, Kind::Include, true)?;
        Ok(())
    }

    /// What a preprocessor run has read.
    fn listed(&mut self) -> Result<(), Unprovable> {
        let Some(listed) = self.wanted.listed else { return Ok(()) };
        let mut read = HashSet::new();
        for path in listed.iter().map(PathBuf::as_path).chain([self.wanted.source]) {
            match self.disk.resolve(self.cwd, path.as_os_str().as_bytes(), false)? {
                Leads::File(file) => read.insert(file),
                Leads::Null => continue,
                _ => return Err(Unprovable::Unreadable(path.to_owned())),
            };
        }
        self.read = Some(read);
        for path in listed {
            self.reach(self.cwd, path.as_os_str().as_bytes(), true)?;
        }
        Ok(())
    }

    fn walk_all(&mut self) -> Result<(), Unprovable> {
        while let Some(reached) = self.to_walk.pop() {
            let scan = self.disk.scan(reached.file)?;
            if self.is_known.insert(reached.file) {
                self.files.push(reached.file);
                self.refuse(reached.file, &scan)?;
                self.line_files(&scan)?;
            }
            if self.wanted.search.is_some() {
                self.directives_of(reached, &scan)?;
            }
        }
        Ok(())
    }

    fn directives_of(&mut self, reached: Reached, scan: &Scan) -> Result<(), Unprovable> {
        for Directive { name, form, kind } in scan.includes.iter().chain(&scan.has_includes) {
            self.disk.about = self.disk.file_path(reached.file).to_owned();
            self.seek(Some(reached.folder), name, *form, *kind, reached.first)?;
        }
        Ok(())
    }

    /// What a file contains that leads to files which nothing here finds.
    fn refuse(&self, file: File, scan: &Scan) -> Result<(), Unprovable> {
        type Reason = fn(PathBuf) -> Unprovable;
        let sought = self.wanted.search.is_some();
        let reasons: [(bool, Reason); 4] = [
            (scan.opaque_has_include && sought, Unprovable::HasInclude),
            (scan.embed, Unprovable::Embed),
            (scan.pragma_dependency, Unprovable::Pragma),
            (scan.module_directives && self.wanted.knows_modules, Unprovable::Modules),
        ];
        let path = || self.disk.file_path(file).to_owned();
        if scan.too_many_directives {
            return Err(Unprovable::TooMuch(path(), "directives"));
        }
        match reasons.into_iter().find(|(holds, _)| *holds) {
            Some((_, reason)) => Err(reason(path())),
            None => Ok(()),
        }
    }

    /// Files that the compiler may quote below its diagnostics.
    fn line_files(&mut self, scan: &Scan) -> Result<(), Unprovable> {
        for name in &scan.line_files {
            self.disk.resolve(self.cwd, name, true)?;
        }
        Ok(())
    }

    /// Follows one name through its places; whether something was found.
    fn seek(
        &mut self,
        includer: Option<Folder>,
        name: &[u8],
        form: Form,
        kind: Kind,
        first: bool,
    ) -> Result<bool, Unprovable> {
        if name.is_empty() {
            return Ok(false);
        }
        let absolute = name.starts_with(b"/");
        // Where the search for the next one begins is not known.
        let anywhere = kind == Kind::Next;
        let from_includer = includer.filter(|_| absolute || form == Form::Quote || anywhere);
        let manner = u8::from(anywhere) | u8::from(first) << 1 | u8::from(form == Form::Quote) << 2;
        let known = self.sought.entry((from_includer, manner)).or_default();
        if known.contains(name) {
            return Ok(true);
        }
        known.insert(name.into());
        self.disk.take(name.len() + size_of::<Rc<[u8]>>())?;
        let skipped = match (absolute, form, anywhere) {
            (true, ..) => self.chain.len(),
            (_, Form::Quote, _) | (_, _, true) => 0,
            (_, Form::Angle, false) => self.quote_count,
        };
        let mut any = false;
        for at in 0..=self.chain.len() {
            let base = match at.checked_sub(1) {
                None => match from_includer {
                    Some(own) => own,
                    None if absolute => self.cwd,
                    None => continue,
                },
                Some(index) if index < skipped => continue,
                Some(index) => self.chain[index],
            };
            let found = self.reach(base, name, first)?;
            if first {
                self.refuse_precompiled(base, name)?;
            }
            any |= found.is_some();
            if found.is_some() && !anywhere {
                break;
            }
        }
        Ok(any)
    }

    /// The file that a name leads to, which then belongs to the tree.
    fn reach(&mut self, base: Folder, name: &[u8], first: bool) -> Result<Option<()>, Unprovable> {
        let (above, last) = split(name);
        let Leads::Folder(folder) = self.disk.resolve(base, above, false)? else {
            return Ok(None);
        };
        match self.disk.resolve(folder, last, false)? {
            Leads::File(file) => {
                self.disk.resolve(base, above, true)?;
                self.disk.resolve(folder, last, true)?;
                let reached = Reached { file, folder, first };
                let is_read = self.read.as_ref().is_none_or(|read| read.contains(&file));
                if is_read && self.reached.insert(reached) {
                    self.to_walk.push(reached);
                }
                Ok(Some(()))
            }
            Leads::Null => Ok(Some(())),
            Leads::Folder(_) | Leads::Nowhere => Ok(None),
        }
    }

    fn refuse_precompiled(&mut self, base: Folder, name: &[u8]) -> Result<(), Unprovable> {
        for suffix in PRECOMPILED {
            let name = [name, suffix].concat();
            if self.disk.resolve(base, &name, false)? != Leads::Nowhere {
                let path = self.disk.path(base, &name);
                return Err(Unprovable::Precompiled(path));
            }
        }
        Ok(())
    }

    /// Follows the macros that make or hide names, until nothing new is found.
    fn follow_macros(&mut self) -> Result<(), Unprovable> {
        if self.wanted.search.is_none() {
            return Ok(());
        }
        for _ in 0..ROUNDS_MAX {
            let scans = self.scans();
            let computed = scans.iter().position(|scan| scan.computed_include);
            let hidden = scans.iter().position(|scan| scan.macro_has_include);
            self.refuse_changed_operands(&scans)?;
            // What a preprocessor run has read is all that computed includes lead to.
            let includes = computed.is_some() && self.wanted.listed.is_none();
            if !includes && hidden.is_none() {
                return Ok(());
            }
            let texts = self.texts()?;
            let Some(followed) = follow(&texts, self.wanted.definitions, includes) else {
                let is_told = computed.is_some()
                    && includes
                    && follow(&texts, self.wanted.definitions, false).is_some();
                let at = if is_told { computed } else { hidden.or(computed) };
                let path = at.map(|at| self.disk.file_path(self.files[at]).to_owned());
                let path = path.unwrap_or_default();
                return Err(match is_told {
                    true => Unprovable::ComputedInclude(path),
                    false => Unprovable::HasInclude(path),
                });
            };
            let before = self.files.len();
            self.walk_followed(&scans, followed, includes)?;
            if self.files.len() == before {
                return Ok(());
            }
        }
        Err(Unprovable::TooMuch(self.wanted.source.to_owned(), "rounds"))
    }

    /// Walks what macros ask for, and all that it leads to.
    fn walk_followed(
        &mut self,
        scans: &[Arc<Scan>],
        followed: Vec<Followed>,
        includes: bool,
    ) -> Result<(), Unprovable> {
        let mut all: Vec<Reached> = self.reached.iter().copied().collect();
        all.sort_unstable_by_key(|reached| (reached.file, reached.folder, reached.first));
        let index: HashMap<File, usize> =
            self.files.iter().enumerate().map(|(index, file)| (*file, index)).collect();
        for reached in all {
            let Some(at) = index.get(&reached.file).copied() else { continue };
            let found = &followed[at];
            if found.includes.is_empty() && found.has_includes.is_empty() {
                continue;
            }
            let scan = scans[at].with_followed(found.clone(), includes);
            self.directives_of(reached, &scan)?;
        }
        self.walk_all()
    }

    /// Operands in macros of which a part is itself a macro.
    fn refuse_changed_operands(&self, scans: &[Arc<Scan>]) -> Result<(), Unprovable> {
        let words: HashSet<&Vec<u8>> = scans.iter().flat_map(|scan| &scan.operand_words).collect();
        if words.is_empty() {
            return Ok(());
        }
        let changes = |scan: &Scan| words.iter().any(|word| scan.plain_macros.contains(word));
        if let Some(at) = scans.iter().position(|scan| changes(scan)) {
            return Err(Unprovable::HasInclude(self.disk.file_path(self.files[at]).to_owned()));
        }
        if self.wanted.definition_scans.iter().any(changes) {
            return Err(Unprovable::HasInclude(self.wanted.source.to_owned()));
        }
        Ok(())
    }

    fn scans(&mut self) -> Vec<Arc<Scan>> {
        let files = self.files.clone();
        files.into_iter().filter_map(|file| self.disk.scan(file).ok()).collect()
    }

    fn texts(&mut self) -> Result<Vec<Vec<u8>>, Unprovable> {
        let mut left = UNIT_BYTES_MAX;
        let mut texts = Vec::with_capacity(self.files.len());
        for file in self.files.clone() {
            let path = self.disk.file_path(file).to_owned();
            let unreadable = |_| Unprovable::Unreadable(path.clone());
            let mut bytes = Vec::new();
            let mut opened = self.wanted.here.open_file(&path).map_err(unreadable)?;
            opened.read_to_end(&mut bytes).map_err(unreadable)?;
            let known = self.disk.content(file).map(|content| content.digest);
            if known != Some(crate::hasher::Digest::of(&bytes)) {
                return Err(Unprovable::Unreadable(path));
            }
            left = left
                .checked_sub(bytes.len())
                .ok_or_else(|| Unprovable::TooMuch(path.clone(), "bytes"))?;
            texts.push(bytes);
        }
        Ok(texts)
    }

    /// What is known by name.
    fn by_name(&mut self, paths: &[PathBuf]) -> Result<(), Unprovable> {
        for path in paths {
            self.disk.resolve(self.cwd, path.as_os_str().as_bytes(), true)?;
        }
        Ok(())
    }

    /// What of the files that are read as sources counts besides their contents.
    fn needs(&mut self) -> Result<Needs, Unprovable> {
        let mut needs = Needs::default();
        let (mut by_digest, mut by_inode) = (HashMap::new(), HashMap::new());
        for file in self.files.clone() {
            let once = self.disk.scan(file)?.once;
            let Some(content) = self.disk.content(file) else { continue };
            let inode = (content.stamp.device, content.stamp.inode);
            if by_inode.insert(inode, file).is_some() && self.wanted.family == Family::Clang {
                return Err(Unprovable::TwoNames(self.disk.file_path(file).to_owned()));
            }
            if by_digest.insert(content.digest, file).is_some() {
                needs.own_inodes = true;
                needs.times |= once && self.wanted.family == Family::Gcc;
            }
        }
        Ok(needs)
    }
}

/// The folder of a path, and what comes after.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memrchr(b'/', path) {
        Some(0) => (b"/", &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}
