//! Tests that cannot run here say why; `tests/run` prints the list at its end.

use super::Compilers;
use std::io::Write;
use std::path::Path;

/// Notes that something was left out, and why. The file of `RCACHE_TEST_SKIPPED` collects the notes.
pub fn skip(what: &str, why: &str) {
    println!("skipped: {what}: {why}");
    let Some(list) = std::env::var_os("RCACHE_TEST_SKIPPED") else { return };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(list);
    // One write for each line: several tests append at the same time.
    let _ = file.and_then(|mut file| file.write_all(format!("{what}: {why}\n").as_bytes()));
}

/// Whether a program is installed.
pub fn have(program: &str) -> bool {
    super::SYSTEM_PATH.split(':').any(|folder| Path::new(folder).join(program).exists())
}

/// The compiler families of this machine; a missing one is noted as skipped for `what`.
pub fn compilers(what: &str) -> Vec<Compilers> {
    let all = [Compilers { c: "gcc", cxx: "g++" }, Compilers { c: "clang", cxx: "clang++" }];
    let (here, missing): (Vec<_>, Vec<_>) = all.into_iter().partition(|family| have(family.cxx));
    for family in missing {
        skip(&format!("{what} with {}", family.c), "the compiler is not installed");
    }
    here
}
