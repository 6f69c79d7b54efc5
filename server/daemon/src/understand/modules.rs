//! What a unit has to do with C++20 modules: gcc's map of them, and the interface that the source is.

use crate::understand::compilers::Stop;
use compiler::file_memo::WorkingDirectory;
use compiler::hasher::Digest;
use compiler::invocation::Invocation;
use compiler::modules::{MAP_BYTES_MAX, ModuleMap};
use compiler::outcome::{Counter, Uncacheable};
use compiler::scan::Scan;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The modules that a unit may use.
pub struct Modules {
    /// Which files hold them.
    pub map: ModuleMap,
    /// The file of the map.
    pub map_file: PathBuf,
    /// What was read there.
    pub map_content: Digest,
    /// The module whose interface the source is.
    pub provides: Option<Vec<u8>>,
}

impl Modules {
    /// Of a call that may use modules.
    ///
    /// # Errors
    /// The map, or the source, is not understood.
    pub fn of(
        invocation: &Invocation,
        scan: &Scan,
        here: &WorkingDirectory,
    ) -> Result<Option<Modules>, Stop> {
        let Some(map_file) = &invocation.module_map else { return Ok(None) };
        let unreadable = |_| {
            Stop::Uncacheable(Uncacheable::new(Counter::BadInputFile, map_file.to_string_lossy()))
        };
        let mut bytes = Vec::new();
        let file = here.open_file(map_file).map_err(unreadable)?;
        file.take(MAP_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
        let map = ModuleMap::parse(&bytes).ok_or_else(|| refuse("the map of modules"))?;
        let provides = match &scan.module_interfaces[..] {
            _ if scan.opaque_modules => return Err(refuse("an imported header")),
            [] => None,
            [one] if map.file(one).is_some() => Some(one.clone()),
            [_] => return Err(refuse("a module that is not in the map")),
            _ => return Err(refuse("more than one module in the source")),
        };
        let (map_file, map_content) = (map_file.clone(), Digest::of(&bytes));
        Ok(Some(Modules { map, map_file, map_content, provides }))
    }

    /// The file that the unit writes as the interface of its module.
    pub fn interface(&self) -> Option<&Path> {
        self.map.file(self.provides.as_deref()?)
    }

    /// Whether a file counts by its content alone: no preprocessor reads it.
    pub fn holds(&self, path: &Path) -> bool {
        path == self.map_file || self.map.holds(path)
    }
}

fn refuse(detail: &str) -> Stop {
    Stop::Uncacheable(Uncacheable::new(Counter::CouldNotUseModules, detail))
}
