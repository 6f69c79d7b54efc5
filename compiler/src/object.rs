//! Looks at what a compile elsewhere gave, to tell a whole file from a damaged one.

use crate::options::Phase;

/// How LLVM bitcode starts.
const BITCODE: &[u8] = b"BC\xc0\xde";

/// How an ELF file starts (elf(5)).
const ELF: &[u8] = b"\x7fELF";

/// `e_type` of an object file.
const ET_REL: u64 = 1;

/// `sh_type` of a section without bytes in the file.
const SHT_NOBITS: u64 = 8;

/// Where the numbers of an ELF file stand (elf(5)).
struct Layout {
    big_endian: bool,
    /// Of an address or offset.
    number_bytes: usize,
    /// Of the header, which the section table comes after.
    header_bytes: u64,
    /// Of one entry of the section table.
    section_bytes: u64,
    /// In the header: `e_shoff`, `e_shentsize` and `e_shnum`.
    table_at: u64,
    section_bytes_at: u64,
    sections_at: u64,
    /// In an entry: `sh_offset` and `sh_size`.
    start_at: u64,
    size_at: u64,
}

/// Whether `bytes` are a whole output of a compile up to `phase`: assembly text that ends with a
/// line, or an object file all of whose sections are there.
pub fn is_whole(bytes: &[u8], phase: Phase) -> bool {
    match phase {
        Phase::Assembly => bytes.ends_with(b"\n") && !bytes.contains(&0),
        Phase::Object if bytes.starts_with(BITCODE) => bytes.len().is_multiple_of(4),
        Phase::Object => is_whole_elf(bytes).unwrap_or(false),
        Phase::Precompiled | Phase::SyntaxOnly => false,
    }
}

impl Layout {
    fn of(bytes: &[u8]) -> Option<Layout> {
        let [class, data] = bytes.strip_prefix(ELF)?.first_chunk::<2>()?;
        let big_endian = match data {
            1 => false,
            2 => true,
            _ => return None,
        };
        match class {
            1 => Some(Layout {
                big_endian,
                number_bytes: 4,
                header_bytes: 52,
                section_bytes: 40,
                table_at: 32,
                section_bytes_at: 46,
                sections_at: 48,
                start_at: 16,
                size_at: 20,
            }),
            2 => Some(Layout {
                big_endian,
                number_bytes: 8,
                header_bytes: 64,
                section_bytes: 64,
                table_at: 40,
                section_bytes_at: 58,
                sections_at: 60,
                start_at: 24,
                size_at: 32,
            }),
            _ => None,
        }
    }
}

/// `None` where it is no ELF file, or a number lies beyond its end.
fn is_whole_elf(bytes: &[u8]) -> Option<bool> {
    let layout = Layout::of(bytes)?;
    let number = |at: u64, length: usize| -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let found = bytes.get(at..at.checked_add(length)?)?.iter();
        let push = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(match layout.big_endian {
            true => found.fold(0, push),
            false => found.rev().fold(0, push),
        })
    };
    let long = |at: u64| number(at, layout.number_bytes);
    let length = bytes.len() as u64;
    let table = long(layout.table_at)?;
    let described = number(layout.section_bytes_at, 2)? == layout.section_bytes;
    if number(16, 2)? != ET_REL || table < layout.header_bytes || !described {
        return Some(false);
    }
    // With 0xff00 sections or more, the first entry of the table holds their number (elf(5)).
    let sections = match number(layout.sections_at, 2)? {
        0 => long(table.checked_add(layout.size_at)?)?,
        sections => sections,
    };
    let end = table.checked_add(sections.checked_mul(layout.section_bytes)?)?;
    if sections == 0 || end > length {
        return Some(false);
    }
    // The first entry describes no section.
    for section in 1..sections {
        let at = table + section * layout.section_bytes;
        let kind = number(at + 4, 4)?;
        let (start, size) = (long(at + layout.start_at)?, long(at + layout.size_at)?);
        if kind != SHT_NOBITS && start.checked_add(size)? > length {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn compiled(flags: &[&str]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("a.c");
        std::fs::write(&source, "int f(int a) { static int b[9]; return b[a]++; }\n").unwrap();
        let output = folder.path().join("a.out");
        let status = Command::new("gcc").args(flags).arg(&source).arg("-o").arg(&output).status();
        assert!(status.unwrap().success());
        std::fs::read(output).unwrap()
    }

    #[test]
    fn what_a_compiler_writes_is_whole_and_no_part_of_it_is() {
        let object = compiled(&["-c", "-g"]);
        assert!(is_whole(&object, Phase::Object));
        for length in 0..object.len() {
            assert!(!is_whole(&object[..length], Phase::Object), "{length}");
        }
        let text = compiled(&["-S"]);
        assert!(is_whole(&text, Phase::Assembly));
        assert!(!is_whole(&text[..text.len() - 1], Phase::Assembly));
        assert!(!is_whole(b"", Phase::Assembly));
        assert!(!is_whole(&text, Phase::Object));
    }

    #[test]
    fn objects_for_other_machines_are_whole_too() {
        for flags in [&["-c", "-m32"][..], &["-c", "-m32", "-g"], &["-c", "-mx32"]] {
            let object = compiled(flags);
            assert!(is_whole(&object, Phase::Object), "{flags:?}");
            for length in 0..object.len() {
                assert!(!is_whole(&object[..length], Phase::Object), "{flags:?} {length}");
            }
        }
        // A big-endian one: the same numbers the other way round.
        let mut object = vec![0; 64 + 64];
        object[..6].copy_from_slice(b"\x7fELF\x02\x02");
        for (at, value) in [(17, 1), (47, 64), (59, 64), (61, 1)] {
            object[at] = value;
        }
        assert!(is_whole(&object, Phase::Object));
        assert!(!is_whole(&object[..127], Phase::Object));
    }

    #[test]
    fn other_files_are_no_objects() {
        assert!(!is_whole(&compiled(&["-shared", "-fPIC"]), Phase::Object));
        assert!(!is_whole(b"!<arch>\n", Phase::Object));
        assert!(is_whole(b"BC\xc0\xde....", Phase::Object));
    }
}
