//! Whether all is as it was when a result was made.

use super::{AbsentIn, Recorded};
use compiler::file_memo::{FileMemo, Folders, Presence, WorkingDirectory, is_folder};
use compiler::hasher::Digest;
use rustix::fs::Stat;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// Why a recorded result is not the answer now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch<'a> {
    /// A file that was read has another content.
    Changed(&'a Path),
    /// A file that was read, or was known to exist, is gone or cannot be read.
    Gone(&'a Path),
    /// A file that was looked for in vain may be there now, in this folder.
    Appeared(AbsentIn<'a>),
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let absent = match self {
            Mismatch::Changed(path) => return write!(f, "{} changed", path.display()),
            Mismatch::Gone(path) => {
                return write!(f, "{} is gone or unreadable", path.display());
            }
            Mismatch::Appeared(absent) => absent,
        };
        let mut names = absent.names.iter();
        match (names.next(), names.next()) {
            (Some(name), None) => write!(f, "{} appeared", absent.folder.join(name).display()),
            _ => write!(f, "a header appeared earlier in the search path, in {}", {
                let folder = absent.folder;
                if folder.as_os_str().is_empty() { Path::new(".") } else { folder }.display()
            }),
        }
    }
}

impl<'a> Recorded<'a> {
    /// Whether everything is as it was when the result was made.
    pub fn check(
        &self,
        memo: &'a FileMemo,
        here: &'a WorkingDirectory,
        now: SystemTime,
    ) -> Result<(), Mismatch<'a>> {
        Checks::new(memo, here, now).check(self)
    }
}

/// What a content stands for where other bytes would do as well: two precompiled headers of one recipe.
pub type Equivalent<'a> = dyn Fn(Digest) -> Option<Digest> + 'a;

/// Checks of the results of one unit. What the first has found is asked again, since the first is most
/// often the last; from then on each thing is asked once.
pub struct Checks<'a> {
    memo: &'a FileMemo,
    here: &'a WorkingDirectory,
    now: SystemTime,
    places: Places<'a>,
    is_first: bool,
    /// What else than the recorded content would do.
    same: Option<&'a Equivalent<'a>>,
    /// What files contain; `None` for those that cannot be read.
    contents: HashMap<&'a Path, Option<Digest>>,
    /// Whether a set of names is absent.
    absences: HashMap<Digest, bool>,
}

impl<'a> Checks<'a> {
    /// To be used at once: nothing that is found is looked at again.
    pub fn new(memo: &'a FileMemo, here: &'a WorkingDirectory, now: SystemTime) -> Checks<'a> {
        Checks {
            memo,
            here,
            now,
            places: Places::new(here),
            is_first: true,
            same: None,
            contents: HashMap::new(),
            absences: HashMap::new(),
        }
    }

    /// A content that is not the recorded one is asked for what it stands for.
    pub fn with_equivalent(self, same: &'a Equivalent<'a>) -> Checks<'a> {
        Checks { same: Some(same), ..self }
    }

    /// Whether everything is as it was when the result was made.
    pub fn check(&mut self, recorded: &Recorded<'a>) -> Result<(), Mismatch<'a>> {
        let checked = self.check_all(recorded);
        self.is_first = false;
        checked
    }

    fn check_all(&mut self, recorded: &Recorded<'a>) -> Result<(), Mismatch<'a>> {
        let mut folders = Folders::new(self.here, recorded.files.len());
        for (path, digest) in &recorded.files {
            match self.content(&mut folders, path) {
                Some(content) if content == *digest => {}
                Some(content) if self.stands_for(content) == Some(*digest) => {}
                Some(_) => return Err(Mismatch::Changed(path)),
                None => return Err(Mismatch::Gone(path)),
            }
        }
        for path in &recorded.present {
            if self.here.presence(path) != Presence::File {
                return Err(Mismatch::Gone(path));
            }
        }
        for path in &recorded.directories {
            if self.here.presence(path) != Presence::Folder {
                return Err(Mismatch::Gone(path));
            }
        }
        for (left, right) in &recorded.same_folders {
            match (self.places.id(left), self.places.id(right)) {
                (Some(left), Some(right)) if left == right => {}
                _ => return Err(Mismatch::Changed(left)),
            }
        }
        self.check_search_folders(recorded)?;
        for absent in &recorded.absent {
            if !self.is_absent(absent) {
                return Err(Mismatch::Appeared(absent.clone()));
            }
        }
        for (path, state) in &recorded.states {
            match self.here.state(path) {
                Ok(now) if now == *state => {}
                Ok(_) => return Err(Mismatch::Changed(path)),
                Err(_) => return Err(Mismatch::Gone(path)),
            }
        }
        Ok(())
    }

    fn stands_for(&self, content: Digest) -> Option<Digest> {
        self.same.and_then(|same| same(content))
    }

    fn content(&mut self, folders: &mut Folders<'a>, path: &'a Path) -> Option<Digest> {
        let (memo, here, now) = (self.memo, self.here, self.now);
        let mut ask = || {
            let stat = folders.stat(path).ok()?;
            Some(memo.content_of(&stat, here, path, now).ok()?.digest)
        };
        match self.is_first {
            true => ask(),
            false => *self.contents.entry(path).or_insert_with(ask),
        }
    }

    fn is_absent(&mut self, absent: &AbsentIn<'a>) -> bool {
        if let Some(known) = self.absences.get(&absent.set) {
            return *known;
        }
        let found = self.places.stat(absent.folder);
        let names = absent.names.iter();
        let is_absent =
            self.memo.all_absent(self.here, absent.folder, found, absent.set, names, self.now);
        if !self.is_first {
            self.absences.insert(absent.set, is_absent);
        }
        is_absent
    }

    /// Whether the same folders of the search path are the same, and no others.
    fn check_search_folders(&mut self, recorded: &Recorded<'a>) -> Result<(), Mismatch<'a>> {
        let mut firsts = HashMap::with_capacity(recorded.search_folders.len());
        for (index, (folder, first)) in recorded.search_folders.iter().enumerate() {
            let Ok(stat) = self.places.stat(folder) else { return Err(Mismatch::Gone(folder)) };
            let now_first = *firsts.entry((stat.st_dev, stat.st_ino)).or_insert(index);
            if now_first != *first as usize || !is_folder(stat) {
                return Err(Mismatch::Changed(folder));
            }
        }
        Ok(())
    }
}

/// What the folders of one check lead to: many are on the search path, and had something absent from
/// them, too.
struct Places<'a> {
    here: &'a WorkingDirectory,
    folders: HashMap<&'a Path, io::Result<Stat>>,
}

impl<'a> Places<'a> {
    fn new(here: &'a WorkingDirectory) -> Places<'a> {
        Places { here, folders: HashMap::new() }
    }

    /// Device and inode, where there is something.
    fn id(&mut self, folder: &'a Path) -> Option<(u64, u64)> {
        self.stat(folder).as_ref().ok().map(|stat| (stat.st_dev, stat.st_ino))
    }

    /// An empty path is the working directory.
    fn stat(&mut self, folder: &'a Path) -> &io::Result<Stat> {
        let path = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        self.folders.entry(folder).or_insert_with(|| self.here.stat(path))
    }
}
