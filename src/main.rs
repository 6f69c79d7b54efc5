//! The door: which role does this process play?

// The start that std adds to `main` takes a tenth of a hit: it reads /proc/self/maps to find the
// guard page of a stack that never grows deep.
#![cfg_attr(not(test), no_main)]

mod cli;
mod entry;
mod find_compiler;
mod launcher;

use std::ffi::{OsStr, OsString};
use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;

/// The exit status of a program that panicked, as std has it.
const PANICKED_STATUS: i32 = 101;

/// Where C starts a program. std has kept the words already (`.init_array`).
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn main(_count: libc::c_int, _words: *const *const libc::c_char) -> libc::c_int {
    talk::inherited::take_over();
    std::process::exit(catch_unwind(role).map_or(PANICKED_STATUS, i32::from))
}

#[cfg(test)]
fn main() {
    talk::inherited::take_over();
    std::process::exit(catch_unwind(role).map_or(PANICKED_STATUS, i32::from));
}

/// std does not give the number back.
fn status_of(code: ExitCode) -> u8 {
    (0..=u8::MAX).find(|status| ExitCode::from(*status) == code).unwrap_or(1)
}

fn role() -> u8 {
    let mut words = std::env::args_os();
    let own_name = words.next().unwrap_or_else(|| OsString::from("rcache"));
    let mut words: Vec<OsString> = words.collect();
    let file_name = Path::new(&own_name).file_name().unwrap_or(OsStr::new("rcache"));

    // Under a compiler's name, everything belongs to the compiler.
    if !find_compiler::is_own_name(file_name) {
        return launcher::compile(file_name, &words);
    }
    // `CC="rcache gcc"` under a launcher of rcache, too: once is enough.
    let is_own = |word: &OsString| Path::new(word).file_name().is_some_and(|n| n == "rcache");
    while words.first().is_some_and(is_own) {
        words.remove(0);
    }
    match words.split_first() {
        Some((first, rest)) if first == "--" => match rest.split_first() {
            Some((compiler, arguments)) => launcher::compile(compiler, arguments),
            None => status_of(cli::run(words)),
        },
        Some((first, arguments)) if !cli::is_subcommand(first) => {
            launcher::compile(first, arguments)
        }
        _ => status_of(cli::run(words)),
    }
}
