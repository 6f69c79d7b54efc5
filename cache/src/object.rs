//! Looks at what a compile elsewhere gave, to tell a whole file from a damaged one.

use crate::options::Phase;

/// How LLVM bitcode starts.
const BITCODE: &[u8] = b"BC\xc0\xde";

/// How a 64-bit little-endian ELF file starts.
const ELF_64_LITTLE: &[u8] = b"\x7fELF\x02\x01";

/// `e_type` of an object file.
const ET_REL: u64 = 1;

/// `sh_type` of a section without bytes in the file.
const SHT_NOBITS: u64 = 8;

/// Bytes of an ELF header and of one entry of its section table (elf(5)).
const HEADER_BYTES: u64 = 64;
const SECTION_BYTES: u64 = 64;

/// Whether `bytes` are a whole output of a compile up to `phase`: assembly text that ends with a
/// line, or an object file all of whose sections are there.
pub fn is_whole(bytes: &[u8], phase: Phase) -> bool {
    match phase {
        Phase::Assembly => bytes.ends_with(b"\n") && !bytes.contains(&0),
        Phase::Object if bytes.starts_with(BITCODE) => bytes.len().is_multiple_of(4),
        Phase::Object => is_whole_elf(bytes).unwrap_or(false),
        Phase::SyntaxOnly => false,
    }
}

/// `None` where a number lies beyond the end.
fn is_whole_elf(bytes: &[u8]) -> Option<bool> {
    let number = |at: u64, length: usize| -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let mut value = [0; 8];
        value[..length].copy_from_slice(bytes.get(at..at.checked_add(length)?)?);
        Some(u64::from_le_bytes(value))
    };
    let length = bytes.len() as u64;
    if !bytes.starts_with(ELF_64_LITTLE) || number(16, 2)? != ET_REL {
        return Some(false);
    }
    let table = number(40, 8)?;
    if table < HEADER_BYTES || number(58, 2)? != SECTION_BYTES {
        return Some(false);
    }
    // With 0xff00 sections or more, the first entry of the table holds their number (elf(5)).
    let sections = match number(60, 2)? {
        0 => number(table.checked_add(32)?, 8)?,
        sections => sections,
    };
    let end = table.checked_add(sections.checked_mul(SECTION_BYTES)?)?;
    if sections == 0 || end > length {
        return Some(false);
    }
    // The first entry describes no section.
    for section in 1..sections {
        let at = table + section * SECTION_BYTES;
        let (kind, start, size) = (number(at + 4, 4)?, number(at + 24, 8)?, number(at + 32, 8)?);
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
    fn other_files_are_no_objects() {
        assert!(!is_whole(&compiled(&["-shared", "-fPIC"]), Phase::Object));
        assert!(!is_whole(b"!<arch>\n", Phase::Object));
        assert!(is_whole(b"BC\xc0\xde....", Phase::Object));
    }
}
