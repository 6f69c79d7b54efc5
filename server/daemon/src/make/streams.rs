//! Headers that can be read once only: what reads one must not be preprocessed by rcache before it is compiled.

use crate::Daemon;
use crate::remember;
use crate::serve::conversation::Conversation;
use crate::understand::compilers::Stop;
use crate::understand::unit::Unit;
use compiler::file_memo::{is_folder, is_refusal, is_regular, is_spelled_privately};
use compiler::outcome::{Counter, Uncacheable};
use compiler::scan::{Directive, Form, Kind, Scan};
use compiler::search::SearchPath;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Headers that are looked through; what includes more is trusted in the rest.
const FILES_MAX: usize = 2_000;

/// Nobody puts a pipe where the system's headers are.
const SYSTEM: &str = "/usr";

/// Follows the include directives, whatever their conditions, as far as they name plain files.
pub fn refuse(daemon: &Daemon, conversation: &mut Conversation, unit: &Unit) -> Result<(), Stop> {
    let Some(search) = remember::search_path(daemon, conversation, unit)? else { return Ok(()) };
    let mut walk = Walk { daemon, unit, search: &search, seen: HashSet::new(), open: Vec::new() };
    match walk.find() {
        Some(path) => {
            let detail = path.to_string_lossy();
            Err(Stop::Uncacheable(Uncacheable::new(Counter::BadInputFile, detail)))
        }
        None => Ok(()),
    }
}

struct Walk<'a> {
    daemon: &'a Daemon,
    unit: &'a Unit<'a>,
    search: &'a SearchPath,
    seen: HashSet<PathBuf>,
    /// Files whose directives are to be followed.
    open: Vec<(PathBuf, Arc<Scan>)>,
}

impl Walk<'_> {
    /// The first header that is no file.
    fn find(&mut self) -> Option<PathBuf> {
        self.open.push((self.unit.invocation.source.clone(), Arc::clone(&self.unit.scan)));
        for path in &self.unit.invocation.forced_includes {
            let name = path.as_os_str().as_bytes().to_vec();
            let forced = Directive { name, form: Form::Quote, kind: Kind::Include };
            // The search for it begins in the working directory.
            if let Some(stream) = self.follow(Path::new(""), &forced) {
                return Some(stream);
            }
        }
        while let Some((path, scan)) = self.open.pop() {
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            for include in &scan.includes {
                if let Some(stream) = self.follow(&folder, include) {
                    return Some(stream);
                }
            }
        }
        None
    }

    /// Looks where the directive leads; gives the place where there is no file.
    fn follow(&mut self, folder: &Path, include: &Directive) -> Option<PathBuf> {
        let name = Path::new(OsStr::from_bytes(&include.name));
        if is_spelled_privately(name) {
            return Some(name.to_owned());
        }
        let own = (include.form == Form::Quote).then_some(folder);
        let quote = self.search.quote.iter().filter(|_| include.form == Form::Quote);
        let folders = quote.chain(&self.search.angle).map(PathBuf::as_path);
        for place in own.into_iter().chain(folders) {
            let path = place.join(name);
            match self.unit.here.stat(&path) {
                Ok(found) if is_regular(&found) => self.enter(path),
                Ok(found) if is_folder(&found) => continue,
                Err(error) if !is_refusal(&error) => continue,
                _ => return Some(path),
            }
            if include.kind != Kind::Next {
                break;
            }
        }
        None
    }

    fn enter(&mut self, path: PathBuf) {
        if path.starts_with(SYSTEM) || self.seen.len() >= FILES_MAX || self.seen.contains(&path) {
            return;
        }
        if let Ok((_, scan)) = self.daemon.memo.scanned(&self.unit.here, &path, self.unit.now) {
            self.open.push((path.clone(), scan));
        }
        self.seen.insert(path);
    }
}
