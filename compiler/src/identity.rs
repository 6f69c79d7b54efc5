//! Which compiler is this: what it says of itself, and by content everything that compiles for it.
//!
//! Nothing is run here. The daemon lets the launcher run the probes, and gives their output to the
//! parsers of this file.

use crate::file_memo::{FileMemo, Presence, WorkingDirectory};
use crate::hasher::{Digest, KeyHasher, KeySink};
use crate::invocation::Family;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What `COMPILER -### -c -x LANGUAGE /dev/null -o /dev/null` says (to standard error, LC_ALL=C).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banner {
    /// gcc or clang.
    pub family: Family,
    /// What gcc takes for its own path (`COLLECT_GCC`).
    pub driver: Option<PathBuf>,
    /// The line with the version.
    pub version: String,
    /// Its first number.
    pub version_major: u32,
    /// The programs that a compile runs, as spelled there.
    pub programs: Vec<PathBuf>,
    /// Where the driver looks for programs before PATH.
    pub program_folders: Vec<PathBuf>,
    /// Specs and configuration files that were read.
    pub configuration: Vec<PathBuf>,
    /// Where gcc looks for specs that are given by name.
    pub library_folders: Vec<PathBuf>,
    /// Plugins that the compiler proper loads.
    pub plugins: Vec<PathBuf>,
    /// What `-march=native` and its like mean here: the target options of the compiler proper.
    pub target_options: Vec<String>,
    /// The options of the compile, those included that a script adds; without what names the working
    /// directory or temporary files.
    pub options: Vec<String>,
    /// Variables that specs ask for, with their values; not in the text itself.
    pub variables: Vec<(OsString, OsString)>,
}

impl Banner {
    /// `None` where this is neither gcc's nor clang's banner.
    pub fn parse(text: &[u8]) -> Option<Banner> {
        let text = String::from_utf8_lossy(text);
        let (family, version) = text.lines().find_map(version_line)?;
        let number = version.split_whitespace().find(|word| word.starts_with(char::is_numeric))?;
        let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
        let mut banner = Banner {
            family,
            driver: None,
            version: version.to_owned(),
            version_major: digits.parse().ok()?,
            programs: Vec::new(),
            program_folders: Vec::new(),
            configuration: Vec::new(),
            library_folders: Vec::new(),
            plugins: Vec::new(),
            target_options: Vec::new(),
            options: Vec::new(),
            variables: Vec::new(),
        };
        for line in text.lines() {
            if let Some(folders) = line.strip_prefix("COMPILER_PATH=") {
                banner.program_folders = folders.split(':').map(PathBuf::from).collect();
            } else if let Some(driver) = line.strip_prefix("COLLECT_GCC=") {
                banner.driver = Some(PathBuf::from(driver));
            } else if let Some(folders) = line.strip_prefix("LIBRARY_PATH=") {
                banner.library_folders = folders.split(':').map(PathBuf::from).collect();
            } else if let Some(options) = line.strip_prefix("COLLECT_GCC_OPTIONS=") {
                banner.options = vec![options.to_owned()];
            } else if let Some(path) = line
                .strip_prefix("Reading specs from ")
                .or_else(|| line.strip_prefix("Configuration file: "))
            {
                banner.configuration.push(PathBuf::from(path));
            } else if line.starts_with(' ') {
                banner.add_command(&split_words(line));
            }
        }
        (!banner.programs.is_empty()).then_some(banner)
    }

    fn add_command(&mut self, words: &[String]) {
        let Some((program, arguments)) = words.split_first() else { return };
        // clang's remark that no process is started: ` (in-process)`.
        if program.starts_with('(') {
            return;
        }
        self.programs.push(PathBuf::from(program));
        if self.family == Family::Clang {
            let places = |word: &&String| word.contains("-compilation-dir=");
            self.options.extend(arguments.iter().filter(|word| !places(word)).cloned());
        }
        self.add_plugins(arguments);
        let mut arguments = arguments.iter();
        while let Some(word) = arguments.next() {
            let takes_next = word == "--param" || is_target_pair(word);
            if word.starts_with("-m") || takes_next {
                self.target_options.push(word.clone());
                if takes_next {
                    self.target_options.extend(arguments.next().cloned());
                }
            }
        }
    }
}

impl Banner {
    /// The plugins that a command of the compiler proper names: `-fplugin=FILE`, or a name in the folder
    /// of `-iplugindir=`; clang's `-load FILE`.
    fn add_plugins(&mut self, arguments: &[String]) {
        let folder = arguments.iter().find_map(|word| word.strip_prefix("-iplugindir="));
        for name in arguments.iter().filter_map(|word| word.strip_prefix("-fplugin=")) {
            self.plugins.push(match folder {
                Some(folder) if !name.contains('/') => Path::new(folder).join(format!("{name}.so")),
                _ => PathBuf::from(name),
            });
        }
        let pairs = arguments.windows(2).filter(|pair| pair[0] == "-load");
        self.plugins.extend(pairs.map(|pair| PathBuf::from(&pair[1])));
    }
}

/// clang's cc1 options that come in pairs.
fn is_target_pair(word: &str) -> bool {
    matches!(word, "-target-cpu" | "-target-feature" | "-tune-cpu" | "-target-abi" | "-triple")
}

fn version_line(line: &str) -> Option<(Family, &str)> {
    if line.starts_with("gcc version ") {
        return Some((Family::Gcc, line));
    }
    line.contains("clang version ").then_some((Family::Clang, line))
}

/// Splits a command line of the banner: blanks, double quotes, backslashes.
fn split_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut started) = (false, false);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = !quoted;
                started = true;
            }
            '\\' => word.extend(characters.next()),
            ' ' if !quoted => {
                if started || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            _ => word.push(character),
        }
    }
    if started || !word.is_empty() {
        words.push(word);
    }
    words
}

/// The dynamic linker that an ELF file asks for; `INTERPRETER --list FILE` names its libraries.
/// `None` for static programs and other formats (elf(5): e_phoff, e_phentsize, PT_INTERP).
pub fn interpreter(head: &[u8]) -> Option<PathBuf> {
    const PT_INTERP: u32 = 3;
    const CLASS_64_LITTLE: &[u8] = b"\x7fELF\x02\x01";
    if !head.starts_with(CLASS_64_LITTLE) {
        return None;
    }
    let number = |at: usize, length: usize| -> Option<u64> {
        let mut bytes = [0; 8];
        bytes[..length].copy_from_slice(head.get(at..at + length)?);
        Some(u64::from_le_bytes(bytes))
    };
    let table = number(32, 8)? as usize;
    let (entry_bytes, entries) = (number(54, 2)? as usize, number(56, 2)? as usize);
    for entry in 0..entries {
        let at = table.checked_add(entry.checked_mul(entry_bytes)?)?;
        if number(at, 4)? as u32 == PT_INTERP {
            let (start, length) = (number(at + 8, 8)? as usize, number(at + 32, 8)? as usize);
            let path = head.get(start..start.checked_add(length)?)?;
            let path = path.split(|&byte| byte == 0).next()?;
            return Some(PathBuf::from(OsStr::from_bytes(path)));
        }
    }
    None
}

/// How much of a program [`interpreter`] needs to see.
pub const PROGRAM_HEAD_BYTES: usize = 4096;

/// The paths in the output of `INTERPRETER --list FILE`.
pub fn listed_libraries(text: &[u8]) -> Vec<PathBuf> {
    String::from_utf8_lossy(text)
        .lines()
        .filter_map(|line| {
            let target = line.split_once("=>").map_or(line, |(_, target)| target).trim();
            let path = target.split_once(" (").map_or(target, |(path, _)| path);
            // LD_PRELOAD may name a file of the working directory.
            path.contains('/').then(|| PathBuf::from(path))
        })
        .collect()
}

/// The file that a bare program name means, and the places before it where it is not.
pub fn locate_program(
    here: &WorkingDirectory,
    program: &Path,
    program_folders: &[PathBuf],
    path_variable: &OsStr,
) -> Option<(PathBuf, Vec<PathBuf>)> {
    if program.as_os_str().as_bytes().contains(&b'/') {
        return Some((program.to_owned(), Vec::new()));
    }
    let mut absent = Vec::new();
    let folders = program_folders.iter().cloned().chain(std::env::split_paths(path_variable));
    for folder in folders {
        let candidate = folder.join(program);
        // gcc names its folders more than once, and so do some PATHs.
        if absent.contains(&candidate) {
            continue;
        }
        if here.presence(&candidate) == Presence::File {
            return Some((candidate, absent));
        }
        absent.push(candidate);
    }
    None
}

/// The names of variables that gcc's specs ask for: `%:getenv(NAME …)`.
pub fn variables_of_specs(bytes: &[u8]) -> Vec<OsString> {
    const CALL: &[u8] = b"getenv(";
    let uses = memchr::memmem::find_iter(bytes, CALL)
        .map(|at| bytes[at + CALL.len()..].trim_ascii_start());
    let names = uses.map(|rest| rest.split(|byte| byte.is_ascii_whitespace() || *byte == b')'));
    names
        .filter_map(|mut words| words.next())
        .map(|name| OsStr::from_bytes(name).to_owned())
        .collect()
}

/// The words of a script that may name programs.
pub fn words_of_script(bytes: &[u8]) -> impl Iterator<Item = &OsStr> {
    let parts =
        bytes.split(|byte| byte.is_ascii_whitespace() || b"\"'`$(){}[];|&<>=,:".contains(byte));
    parts.filter(|word| word.iter().any(u8::is_ascii_alphanumeric)).map(OsStr::from_bytes)
}

/// Whether a bare name may be that of a compiler, which is then sought in PATH.
pub fn may_be_compiler(word: &OsStr) -> bool {
    let name = word.as_bytes();
    let has = |part: &[u8]| memchr::memmem::find(name, part).is_some();
    !name.contains(&b'/') && (has(b"cc") || has(b"++") || has(b"clang") || has(b"cpp"))
}

/// A compiler whose every part is known by content.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// What it said.
    pub banner: Banner,
    /// Driver, compiler proper, assembler, their libraries, specs: with their content.
    pub files: Vec<(PathBuf, Digest)>,
    /// Where another assembler or specs file would come before those.
    pub absent: Vec<PathBuf>,
    /// Whether the driver is a script or a program that runs the compiler's own driver: it may look at
    /// any variable, and add words of its own.
    pub wraps: bool,
    /// Of all of it.
    pub digest: Digest,
}

/// A set of options, as the compiler's own driver has them in the end, with the programs that it runs.
pub fn effective_command(banner: &Banner) -> Digest {
    let mut hasher = KeyHasher::new("rcache effective command 1");
    hasher.field("version", banner.version.as_bytes());
    for program in &banner.programs {
        hasher.field("program", program.as_os_str().as_bytes());
    }
    banner.options.iter().for_each(|option| hasher.field("option", option.as_bytes()));
    hasher.finish()
}

/// Whether gcc's driver, with this content, is the program that was asked, and not one that it runs: that
/// names its path in a variable for the programs that it runs.
pub fn is_drivers_content(content: &[u8]) -> bool {
    // The name and what follows it may be moved in pieces of a few bytes each.
    memchr::memmem::find(content, b"COLLECT_GCC").is_some()
}

impl Compiler {
    /// Reads all the files. `Err` names the one that cannot be read.
    pub fn identify(
        banner: Banner,
        files: Vec<PathBuf>,
        absent: Vec<PathBuf>,
        wraps: bool,
        memo: &FileMemo,
        here: &WorkingDirectory,
        now: SystemTime,
    ) -> Result<Compiler, PathBuf> {
        let mut hasher = KeyHasher::new("compiler 1");
        hasher.field("version", banner.version.as_bytes());
        if wraps {
            banner.options.iter().for_each(|option| hasher.field("option", option.as_bytes()));
        }
        for (name, value) in &banner.variables {
            hasher.field("variable of specs", name.as_bytes());
            hasher.field("value", value.as_bytes());
        }
        let mut known: Vec<(PathBuf, Digest)> = Vec::new();
        for path in files {
            if known.iter().any(|(seen, _)| *seen == path) {
                continue;
            }
            let content = memo.content(here, &path, now).map_err(|_| path.clone())?;
            let name = path.file_name().unwrap_or_default().to_owned();
            // Where a file is does not count, so that the same compiler is known on any machine.
            let same = |(seen, digest): &(PathBuf, Digest)| {
                seen.file_name() == Some(&name) && *digest == content.digest
            };
            if !known.iter().any(same) {
                hasher.field("file", name.as_bytes());
                hasher.field("content", &content.digest.0);
            }
            known.push((path, content.digest));
        }
        Ok(Compiler { banner, files: known, absent, wraps, digest: hasher.finish() })
    }

    /// Whether the driver, the first of the files, is still the same. `driver` is its content now.
    pub fn has_same_driver(&self, driver: Digest) -> bool {
        self.files.first().is_some_and(|(_, digest)| *digest == driver)
    }

    /// Whether all its parts are still the same. `driver` is the content of the driver now.
    pub fn is_current(
        &self,
        driver: Digest,
        memo: &FileMemo,
        here: &WorkingDirectory,
        now: SystemTime,
    ) -> bool {
        let mut others = self.files.iter().skip(1);
        self.has_same_driver(driver)
            && others.all(|(path, digest)| {
                let content =
                    here.stat_known(path).and_then(|stat| memo.content_of(&stat, here, path, now));
                content.is_ok_and(|content| content.digest == *digest)
            })
            && self.absent.iter().all(|path| here.presence(path) == Presence::Absent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GCC: &str = "Using built-in specs.\n\
        COLLECT_GCC=gcc\n\
        Target: x86_64-linux-gnu\n\
        gcc version 12.2.0 (Debian 12.2.0-14+deb12u1) \n\
        COLLECT_GCC_OPTIONS='-c' '-o' '/dev/null'\n \
        /usr/lib/gcc/x86_64-linux-gnu/12/cc1 -quiet /dev/null \"-march=znver3\" -mavx --param \"l1-cache-size=32\" -o /tmp/cc1.s\n\
        COLLECT_GCC_OPTIONS='-c'\n \
        as --64 -o /dev/null /tmp/cc1.s\n\
        COMPILER_PATH=/usr/lib/gcc/x86_64-linux-gnu/12/:/usr/lib/gcc/\n";

    const CLANG: &str = "Debian clang version 14.0.6\n\
        Target: x86_64-pc-linux-gnu\n\
        InstalledDir: /usr/bin\n \
        (in-process)\n \
        \"/usr/lib/llvm-14/bin/clang\" \"-cc1\" \"-triple\" \"x86_64-pc-linux-gnu\" \"-target-cpu\" \"x86-64\" \"-o\" \"a b\"\n";

    #[test]
    fn gcc_introduces_itself() {
        let banner = Banner::parse(GCC.as_bytes()).unwrap();
        assert_eq!((banner.family, banner.version_major), (Family::Gcc, 12));
        let programs = ["/usr/lib/gcc/x86_64-linux-gnu/12/cc1", "as"].map(PathBuf::from);
        assert_eq!(banner.programs, programs);
        assert_eq!(
            banner.target_options,
            ["-march=znver3", "-mavx", "--param", "l1-cache-size=32"]
        );
        assert_eq!(banner.program_folders.len(), 2);
        assert_eq!(banner.driver, Some(PathBuf::from("gcc")));
    }

    #[test]
    fn clang_introduces_itself() {
        let banner = Banner::parse(CLANG.as_bytes()).unwrap();
        assert_eq!((banner.family, banner.version_major), (Family::Clang, 14));
        assert_eq!(banner.programs, [PathBuf::from("/usr/lib/llvm-14/bin/clang")]);
        let target = ["-triple", "x86_64-pc-linux-gnu", "-target-cpu", "x86-64"];
        assert_eq!(banner.target_options, target);
    }

    #[test]
    fn other_programs_do_not() {
        assert_eq!(Banner::parse(b"tcc version 0.9.27\n"), None);
        assert_eq!(Banner::parse(b""), None);
    }

    #[test]
    fn libraries_are_listed() {
        let text = b"\tlinux-vdso.so.1 (0x00007ffe)\n\
            \tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f)\n\
            \tlibgone.so => not found\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let paths = ["/lib/x86_64-linux-gnu/libz.so.1", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(listed_libraries(text), paths.map(PathBuf::from));
    }

    #[test]
    fn a_dynamic_program_names_its_interpreter() {
        let head = std::fs::read("/bin/sh").unwrap();
        let interpreter = interpreter(&head[..PROGRAM_HEAD_BYTES]).unwrap();
        assert!(interpreter.to_string_lossy().contains("ld"), "{interpreter:?}");
        assert_eq!(super::interpreter(b"#!/bin/sh\n"), None);
        assert_eq!(super::interpreter(&head[..70]), None);
    }
}
