//! What a compile on another machine may make different: debug information records its options, and
//! clang's names the source once more.

use crate::stage::Result;
use crate::tree::Seen;
use std::collections::BTreeMap;
use std::process::Command;

/// Sections whose content the options are part of.
const DEBUG: &[u8] = b".section\t.debug_";

/// Whether two runs gave the same code, data, symbols, lines and names, and all else alike.
pub fn results(one: &Result, other: &Result) -> bool {
    let told = |result: &Result| (result.status, result.stdout.clone(), result.stderr.clone());
    told(one) == told(other)
        && one.files.keys().eq(other.files.keys())
        && one.files.iter().all(|(name, seen)| same_file(seen, &other.files[name]))
}

fn same_file(one: &Seen, other: &Seen) -> bool {
    if one == other {
        return true;
    }
    match (one, other) {
        (Seen::File(mode, one), Seen::File(other_mode, other)) if mode == other_mode => {
            same_object(one, other).unwrap_or(false) || same_text(one, other)
        }
        _ => false,
    }
}

/// Assembly text up to the debug information, without references to its table of files.
fn same_text(one: &[u8], other: &[u8]) -> bool {
    let code = |text: &[u8]| -> Option<String> {
        let end = text.windows(DEBUG.len()).position(|window| window == DEBUG)?;
        let text = String::from_utf8_lossy(&text[..end]).into_owned();
        let kept = text.lines().filter(|line| !line.starts_with("\t.file"));
        let lines = kept.map(|line| match line.strip_prefix("\t.loc") {
            Some(place) => place.split_whitespace().skip(1).collect::<Vec<_>>().join(" "),
            None => line.to_owned(),
        });
        Some(lines.collect::<Vec<_>>().join("\n"))
    };
    code(one).is_some_and(|one| code(other) == Some(one))
}

/// `None` where they are no objects with debug information.
fn same_object(one: &[u8], other: &[u8]) -> Option<bool> {
    let has_debug = one.windows(7).any(|window| window == b".debug_");
    if !one.starts_with(b"\x7fELF") || !other.starts_with(b"\x7fELF") || !has_debug {
        return None;
    }
    Some(Object::of(one)? == Object::of(other)?)
}

/// What counts of an object.
#[derive(PartialEq, Eq)]
struct Object {
    stripped: Vec<u8>,
    lines: Vec<String>,
    names: BTreeMap<String, usize>,
}

impl Object {
    fn of(bytes: &[u8]) -> Option<Object> {
        let folder = tempfile::tempdir().ok()?;
        let (whole, stripped) = (folder.path().join("whole.o"), folder.path().join("stripped.o"));
        std::fs::write(&whole, bytes).ok()?;
        let strip = Command::new("objcopy").arg("--strip-debug").args([&whole, &stripped]).status();
        strip.ok().filter(|status| status.success())?;
        let dump = |what: &str| {
            let output = Command::new("objdump").arg(what).arg(&whole).output().ok()?;
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let mut names = BTreeMap::new();
        for line in dump("--dwarf=info")?.lines().filter_map(named) {
            *names.entry(line).or_default() += 1;
        }
        let lines = dump("--dwarf=decodedline")?;
        let lines = lines.lines().filter(|line| line.contains("0x")).map(base_name);
        let lines = lines.collect();
        Some(Object { stripped: std::fs::read(stripped).ok()?, lines, names })
    }
}

/// A line of the table, with the last part of the file's name.
fn base_name(line: &str) -> String {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if let Some(first) = words.first_mut() {
        *first = first.rsplit('/').next().unwrap_or_default();
    }
    words.join(" ")
}

/// Names and places, without the offsets at which they stand.
fn named(line: &str) -> Option<String> {
    const KEPT: [&str; 6] = [
        "DW_AT_name",
        "DW_AT_comp_dir",
        "DW_AT_decl_line",
        "DW_AT_decl_column",
        "DW_AT_call_line",
        "DW_AT_linkage_name",
    ];
    let at = KEPT.iter().find_map(|name| line.find(name))?;
    let words = line[at..].split_whitespace().filter(|word| !word.contains("0x"));
    Some(words.collect::<Vec<_>>().join(" "))
}
