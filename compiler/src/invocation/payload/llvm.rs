//! What may be handed to LLVM by `-mllvm`.

use super::{Verdict, contains};

/// Options of passes and targets whose object is the same from the text that is sent.
const PREFIXES: &[&str] = &[
    "-aarch64-",
    "-arm-",
    "-asan-",
    "-enable-",
    "-disable-",
    "-force-vector-",
    "-hwasan-",
    "-inline",
    "-jump-",
    "-loop-",
    "-max-",
    "-min-",
    "-msan-",
    "-no-",
    "-ppc-",
    "-riscv-",
    "-slp-",
    "-tsan-",
    "-unroll-",
    "-vectorize-",
    "-x86-",
];

/// Parts of the names of options that write files, read files, run programs or print times: no other
/// option of LLVM 14 to 19 with a number, a truth value or no value does (`-mllvm --help-hidden`).
const PARTS_REFUSED: &[&str] = &[
    "abilist",
    "channel",
    "csv",
    "debug",
    "def",
    "dir",
    "directory",
    "dot",
    "dump",
    "exec",
    "executor",
    "export",
    "file",
    "filename",
    "help",
    "hints",
    "hidden",
    "import",
    "index",
    "interactive",
    "jscop",
    "load",
    "log",
    "memory",
    "output",
    "path",
    "plugin",
    "print",
    "read",
    "remarks",
    "replay",
    "report",
    "selector",
    "stats",
    "summary",
    "time",
    "timer",
    "timers",
    "training",
    "version",
    "view",
    "write",
];

/// Names in which the parts are not to be seen.
const NAMES_REFUSED: &[&str] =
    &["-basic-block-sections", "-info-output-file", "-thinlto-workload-def"];

/// Values besides numbers: no file has to have such a name.
const VALUES: &[&str] =
    &["true", "false", "always", "never", "all", "none", "default", "enable", "disable"];

/// A word of `-mllvm`: with a number or a truth value it cannot name a file, unless it expects one.
pub(in super::super) fn llvm(word: &[u8]) -> Verdict {
    let (name, value) = match word.iter().position(|&byte| byte == b'=') {
        None => (word, None),
        Some(at) => (&word[..at], Some(&word[at + 1..])),
    };
    // The value of the word before.
    if !word.starts_with(b"-") {
        return if is_number(word) { Verdict::CountsHere } else { Verdict::Refused };
    }
    let plain = value.is_none_or(|value| is_number(value) || contains(VALUES, value));
    let name = name.strip_prefix(b"-").filter(|rest| rest.starts_with(b"-")).unwrap_or(name);
    let mut parts = name.split(|byte| matches!(byte, b'-' | b'_' | b'.'));
    let loads = name.starts_with(b"-x86-lvi-load");
    let refused = contains(NAMES_REFUSED, name)
        || parts.any(|part| contains(PARTS_REFUSED, part) && !(loads && part == b"load"));
    if !plain || refused || name.len() < 2 {
        Verdict::Refused
    } else if super::starts_with_one_of(PREFIXES, name) {
        Verdict::Counts
    } else {
        Verdict::CountsHere
    }
}

/// Decimal, hexadecimal, or with a fraction.
fn is_number(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    if let Some(hexadecimal) = digits.strip_prefix(b"0x") {
        return !hexadecimal.is_empty() && hexadecimal.iter().all(u8::is_ascii_hexdigit);
    }
    digits.first().is_some_and(u8::is_ascii_digit)
        && digits.iter().all(|&byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_no_file() {
        for word in [
            "-asan-mapping-offset=0xdffffc0000000000",
            "-instcombine-lower-dbg-declare=0",
            "-combiner-global-alias-analysis=false",
            "-enable-emscripten-sjlj",
            "-disable-lsr",
            "--inline-threshold=500",
            "-hot-callsite-threshold=2.5",
            "-asan-instrument-writes",
            "-unroll-runtime",
            "-statepoint-limit=3",
        ] {
            assert_ne!(llvm(word.as_bytes()), Verdict::Refused, "{word}");
        }
    }

    #[test]
    fn what_writes_reads_or_prints_is_refused() {
        for word in [
            "-time-passes",
            "-stats",
            "-info-output-file=1",
            "-print-after-all",
            "-dot-cfg-only",
            "-view-edge-bundles",
            "-basic-block-sections=1",
            "-sample-profile-file=1",
            "-x86-lvi-load-dot",
            "-x86-lvi-load-opt-plugin=1",
            "-load=1",
            "-enable-x=name",
            "-summary-file=2",
            "-memprof-export-to-dot",
            "-help-hidden",
            "-version",
            "-",
            "name",
            "-enable-scc-inline-advisor-printing=file",
        ] {
            assert_eq!(llvm(word.as_bytes()), Verdict::Refused, "{word}");
        }
    }
}
