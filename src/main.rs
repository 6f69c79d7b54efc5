//! The door: which role does this process play?

mod cli;
mod find_compiler;
mod launcher;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
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
            None => cli::run(words),
        },
        Some((first, arguments)) if !cli::is_subcommand(first) => {
            launcher::compile(first, arguments)
        }
        _ => cli::run(words),
    }
}
