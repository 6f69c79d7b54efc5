//! Names of files that macros hide or make, followed over all files of a unit.

use crate::understand::unit::Unit;
use compiler::hasher::Digest;
use compiler::scan::{Scan, follow};
use compiler::search::FileRead;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// All files of a unit together; a larger one needs its text.
const UNIT_BYTES_MAX: usize = 256 << 20;

/// Options after which a text is read as compilers did before C90.
const TRADITIONAL: [&str; 4] =
    ["-traditional", "-traditional-cpp", "--traditional", "--traditional-cpp"];

/// Whether scans say nothing of how the unit is read.
pub fn is_traditional(unit: &Unit) -> bool {
    let mut words = unit.invocation.arguments.iter().flat_map(|argument| &argument.words);
    words.any(|word| TRADITIONAL.iter().any(|option| word == option))
}

/// Puts what macros ask for into the scans. `false` where that cannot be told.
pub fn follow_macros(unit: &Unit, scanned: &mut [(FileRead, Digest)]) -> bool {
    let any = |holds: fn(&Scan) -> bool| {
        let files = scanned.iter().map(|(file, _)| file.scan.as_ref());
        files.chain(&unit.definitions).any(holds)
    };
    // gcc shortens `folder/../x.h`, so that such an operand cannot be told from the file's name.
    let climbs = any(|scan| scan.computed_include) && any(|scan| scan.parent_folder_in_macro);
    if !climbs && !any(|scan| scan.macro_has_include) {
        return true;
    }
    let Some(texts) = texts(unit, scanned) else { return false };
    let Some(followed) = follow(&texts, &unit.definition_words(), climbs) else { return false };
    for ((file, _), followed) in scanned.iter_mut().zip(followed) {
        let scan = file.scan.as_ref();
        let is_new = !followed.has_includes.is_empty() || !followed.includes.is_empty();
        if is_new || scan.macro_has_include || climbs && scan.computed_include {
            file.scan = Arc::new(scan.with_followed(followed, climbs));
        }
    }
    true
}

/// The files as they were scanned.
fn texts(unit: &Unit, scanned: &[(FileRead, Digest)]) -> Option<Vec<Vec<u8>>> {
    let mut left = UNIT_BYTES_MAX;
    let read = |(file, digest): &(FileRead, Digest)| {
        let bytes = read(unit, &file.path)?;
        left = left.checked_sub(bytes.len())?;
        (Digest::of(&bytes) == *digest).then_some(bytes)
    };
    scanned.iter().map(read).collect()
}

fn read(unit: &Unit, path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    unit.here.open_file(path).ok()?.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
