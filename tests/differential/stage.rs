//! `Stage`: two identical trees that take turns under one path; the compiler alone works in one of
//! them, the compiler cache in the other.

use crate::alike;
use crate::calls::Call;
use crate::setting::Setting;
use crate::subject::{SYSTEM_PATH, Subject};
use crate::tree::{ROOT, Seen, Tree, apply, remove_outputs, survey};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

/// How often a call is repeated that differs: its results may change by themselves, if rarely (`-gctf`).
const REPEATS_MAX: usize = 8;

/// What came of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All agrees.
    Same {
        /// Whether the compiler succeeded.
        succeeded: bool,
    },
    /// The compiler does not agree with itself.
    Unstable,
    /// What differs.
    Differs(String),
}

/// Status, output and files of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Result {
    /// The exit status.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// What the project's folder then holds.
    pub files: BTreeMap<String, Seen>,
}

/// The place of all runs.
pub struct Stage {
    scratch: tempfile::TempDir,
    /// The cache under test.
    pub subject: Subject,
    tree: Tree,
    own_umask: u32,
}

impl Stage {
    /// An empty stage, for a cache with these hosts.
    pub fn new(hosts: Option<&str>) -> Stage {
        let scratch = tempfile::Builder::new().prefix("rd").tempdir().expect("a scratch folder");
        for name in ["p", "q"] {
            std::fs::create_dir(scratch.path().join(name)).unwrap();
        }
        let subject = Subject::new(scratch.path(), hosts);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let own_umask = mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok());
        Stage { scratch, subject, tree: Tree::new(), own_umask: own_umask.unwrap_or(0) }
    }

    /// The path under which compilers see the project.
    pub fn shown(&self) -> PathBuf {
        self.scratch.path().join("p")
    }

    fn hidden(&self) -> PathBuf {
        self.scratch.path().join("q")
    }

    fn swap(&self) {
        renameat_with(CWD, self.shown(), CWD, self.hidden(), RenameFlags::EXCHANGE).unwrap();
    }

    /// Makes both trees look like `tree`.
    pub fn show(&mut self, tree: &Tree, seed: u64) {
        let shown = self.shown();
        let now = SystemTime::now();
        for root in [self.shown(), self.hidden()] {
            apply(&root, &shown, (&self.tree, tree), seed, now);
        }
        self.tree = tree.clone();
    }

    /// Removes what compilers wrote.
    pub fn clean(&self) {
        for root in [self.shown(), self.hidden()] {
            remove_outputs(&root, &self.tree);
        }
    }

    /// Whether a precompiled header that some call wrote lies about.
    pub fn has_precompiled(&self) -> bool {
        survey(&self.shown(), &self.tree).keys().any(|path| path.ends_with(".gch"))
    }

    /// Runs the call both ways and compares.
    pub fn judge(&self, call: &Call) -> Verdict {
        let alone = self.run_alone(call);
        let cached = self.run_cached(call);
        let succeeded = alone.status == Some(0);
        if alone == cached || self.subject.hosts().is_some() && alike::results(&alone, &cached) {
            return Verdict::Same { succeeded };
        }
        let mut again = alone.clone();
        let mut cached = cached;
        let mut is_stable = true;
        for _ in 0..REPEATS_MAX {
            again = self.run_alone(call);
            is_stable &= again == alone;
            if is_stable {
                continue;
            }
            cached = self.run_cached(call);
            if again == cached {
                return Verdict::Same { succeeded };
            }
        }
        if is_stable {
            return Verdict::Differs(difference(&alone, &cached));
        }
        let has_time = self.tree.values().any(|node| format!("{node:?}").contains("TIME"));
        let alike = again.status == cached.status
            && again.stderr == cached.stderr
            && again.files.keys().eq(cached.files.keys());
        if !alike || has_time {
            return Verdict::Differs(difference(&again, &cached));
        }
        self.level(&again, &cached);
        Verdict::Unstable
    }

    /// Puts what the compiler alone wrote where the cache works, too: a precompiled header, say.
    fn level(&self, alone: &Result, cached: &Result) {
        for path in alone.files.keys().filter(|path| alone.files[*path] != cached.files[*path]) {
            let _ = std::fs::copy(self.hidden().join(path), self.shown().join(path));
        }
    }

    fn run_alone(&self, call: &Call) -> Result {
        self.swap();
        let output = self.command(call, &[]).output().expect("the compiler");
        let result = self.result(call, output);
        self.swap();
        result
    }

    fn run_cached(&self, call: &Call) -> Result {
        let output = self.command(call, &[self.subject.command()]).output().expect("the cache");
        self.result(call, output)
    }

    /// Starts the call through the cache, for accidents while it runs: in a group, as shells do.
    pub fn start_cached(&self, call: &Call) -> std::process::Child {
        let mut command = self.command(call, &[self.subject.command()]);
        command
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the cache")
    }

    fn result(&self, call: &Call, output: Output) -> Result {
        let mut status = output.status.code();
        let mut stderr = without_random_names(output.stderr);
        // Compiler and assembler run at once: where both fail, either may speak first, and be the one
        // whose status it is.
        if status != Some(0) && call.words().any(|word| word == "-pipe") {
            let mut lines: Vec<&[u8]> = stderr.split(|byte| *byte == b'\n').collect();
            lines.sort_unstable();
            (status, stderr) = (Some(1), lines.join(&b'\n'));
        }
        let mut files = survey(&self.shown(), &self.tree);
        files.retain(|name, _| !is_left_by_clang(name));
        Result { status, stdout: without_random_names(output.stdout), stderr, files }
    }

    fn command(&self, call: &Call, before: &[&Path]) -> Command {
        let shown = self.shown().to_string_lossy().into_owned();
        let mut words: Vec<String> = before.iter().map(|word| word.display().to_string()).collect();
        if !before.is_empty() {
            words.extend(call.setting.wrapper().map(str::to_owned));
        }
        words.push(call.driver.to_owned());
        words.extend(call.words().map(|word| word.replace(ROOT, &shown)));
        if call.umask != self.own_umask || call.setting != Setting::Plain {
            let script = format!("umask {:o}; {}", call.umask, call.setting.line());
            let script = script.replace(ROOT, &shown);
            words.splice(0..0, ["bash".into(), "-c".into(), script, "bash".into()]);
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.shown().join(&call.folder)).env_clear();
        command.env("PATH", SYSTEM_PATH).envs(self.subject.variables()).stdin(Stdio::null());
        for (name, value) in &call.variables {
            command.env(name, value.replace(ROOT, &shown));
        }
        command
    }
}

/// Whether clang wrote its output under this name, and ended before it could be renamed or removed, as
/// for a value that only LLVM finds wrong (llvm::sys::fs::createUniqueFile, "%%%%%%%%").
fn is_left_by_clang(name: &str) -> bool {
    let stem = name.strip_suffix(".tmp").and_then(|name| name.rsplit_once('.'));
    let digits = stem.and_then(|(stem, _)| stem.rsplit_once('-')).map(|(_, digits)| digits);
    digits.is_some_and(|digits| {
        digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Without the temporary names of gcc (libiberty, make_temp_file) and clang, which the assembler's
/// messages and the report of a crash hold, and without the addresses in gcc's backtrace when it crashes.
fn without_random_names(mut text: Vec<u8>) -> Vec<u8> {
    for at in 0..text.len().saturating_sub(10) {
        let is_gccs_name = text[at..].starts_with(b"/cc")
            && text[at + 3..at + 9].iter().all(u8::is_ascii_alphanumeric)
            && text[at + 9] == b'.';
        if is_gccs_name {
            text[at + 3..at + 9].fill(b'X');
        }
        let is_clangs_name = text[at] == b'-'
            && text[at + 1..at + 7].iter().all(u8::is_ascii_hexdigit)
            && text[at + 7] == b'.';
        if is_clangs_name {
            text[at + 1..at + 7].fill(b'X');
        }
    }
    for line in text.split_mut(|byte| *byte == b'\n').filter(|line| line.starts_with(b"0x")) {
        let digits = line[2..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        line[2..2 + digits].fill(b'0');
    }
    text
}

fn difference(alone: &Result, cached: &Result) -> String {
    let mut text = String::new();
    if alone.status != cached.status {
        let _ = writeln!(text, "status: alone {:?}, cached {:?}", alone.status, cached.status);
    }
    for (what, alone, cached) in
        [("stdout", &alone.stdout, &cached.stdout), ("stderr", &alone.stderr, &cached.stderr)]
    {
        if alone != cached {
            let (alone, cached) = (String::from_utf8_lossy(alone), String::from_utf8_lossy(cached));
            let _ = writeln!(text, "{what} alone:\n{alone}{what} cached:\n{cached}");
        }
    }
    let names = alone.files.keys().chain(cached.files.keys());
    let names: std::collections::BTreeSet<&String> = names.collect();
    for name in names {
        let (alone, cached) = (alone.files.get(name), cached.files.get(name));
        if alone != cached {
            let _ = writeln!(text, "{name}: alone {}, cached {}", brief(alone), brief(cached));
        }
    }
    text
}

fn brief(seen: Option<&Seen>) -> String {
    match seen {
        None => "nothing".to_owned(),
        Some(Seen::File(mode, bytes)) => {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
            let text = if bytes.contains(&0) { "binary".into() } else { format!("{text:?}") };
            format!("file of mode {mode:o}, {} bytes, {text}", bytes.len())
        }
        Some(other) => format!("{other:?}"),
    }
}
