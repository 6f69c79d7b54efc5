//! What may be handed through to the assembler, the preprocessor, clang's `-cc1` and LLVM.
//!
//! These are allow-lists too: each tool has options that write files.

mod frontend;
mod llvm;

use crate::options::Match;

pub(super) use frontend::frontend;
pub(super) use llvm::llvm;

/// What a payload word does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts.
    Counts,
    /// It counts, and the next payload word is its operand.
    CountsWithNext,
    /// It asks the assembler for a listing.
    Listing,
    /// It counts, and whether it means the same on another machine is not known.
    CountsHere,
    /// It counts, and the next payload word is an option of LLVM.
    LlvmNext,
    /// Both.
    CountsHereWithNext,
    /// It does what the driver's option of the same name does.
    AsRow(Match),
    /// It changes where includes are looked for, and the next payload word is its operand.
    SearchWithNext,
    /// It asks for debug information.
    Debug,
    /// It makes a precompiled header of the source.
    MakesPrecompiled,
    /// The next payload word is a file that is read before the source.
    FileNext {
        /// It is a precompiled header.
        precompiled: bool,
    },
    /// It defines or undefines a macro.
    Macro,
    /// It changes where included files are looked for.
    Search,
    /// Not known.
    Refused,
}

const ASSEMBLER_FLAGS: &[&str] = &[
    "--32",
    "--64",
    "--compress-debug-sections",
    "--divide",
    "--execstack",
    "--fatal-warnings",
    "--keep-locals",
    "--no-pad-sections",
    "--no-warn",
    "--nocompress-debug-sections",
    "--noexecstack",
    "--reduce-memory-overheads",
    "--strip-local-absolute",
    "--warn",
    "--x32",
    "-EB",
    "-EL",
    "-L",
    "-W",
    "-Z",
    "-f",
    "-mbig-obj",
    "-mbranches-within-32B-boundaries",
    "-mfp16-format=ieee",
    "-mno-arch-attr",
    "-mno-relax",
    "-mnaked-reg",
    "-mrelax",
    "-mthumb",
];

const ASSEMBLER_PREFIXES: &[&str] = &[
    "--compress-debug-sections=",
    "--elf-stt-common=",
    "--generate-missing-build-notes=",
    "--hash-size=",
    "--sectname-subst",
    "-mabi=",
    "-march=",
    "-mcpu=",
    "-mfloat-abi=",
    "-mfpu=",
    "-mimplicit-it=",
    "-mmnemonic=",
    "-moperand-check=",
    "-mrelax-relocations=",
    "-msse-check=",
    "-msse2avx",
    "-msyntax=",
    "-mtune=",
    "-mx86-used-note=",
];

const ASSEMBLER_DEBUG: &[&str] = &[
    "--gdwarf-2",
    "--gdwarf-3",
    "--gdwarf-4",
    "--gdwarf-5",
    "--gen-debug",
    "-g",
    "-gdwarf-2",
    "-gdwarf-3",
    "-gdwarf-4",
    "-gdwarf-5",
];

/// A word of `-Wa,…` or `-Xassembler`.
pub(super) fn assembler(word: &[u8]) -> Verdict {
    if contains(ASSEMBLER_DEBUG, word) {
        Verdict::Debug
    } else if word == b"--defsym" {
        Verdict::CountsWithNext
    } else if is_listing(word) {
        Verdict::Listing
    } else if word.starts_with(b"-I") && word.len() > 2 {
        Verdict::Search
    } else if contains(ASSEMBLER_FLAGS, word) || starts_with_one_of(ASSEMBLER_PREFIXES, word) {
        Verdict::Counts
    } else {
        Verdict::Refused
    }
}

/// `-a[LETTERS][=FILE]`. Not `g`, with which the listing holds the time.
fn is_listing(word: &[u8]) -> bool {
    let Some(rest) = word.strip_prefix(b"-a") else { return false };
    let letters = rest.iter().take_while(|&&byte| byte != b'=');
    letters.into_iter().all(|byte| b"cdhlmns".contains(byte)) && !rest.ends_with(b"=")
}

/// A word of `-Wp,…` or `-Xpreprocessor`, other than those that ask for a dependency file.
pub(super) fn preprocessor(word: &[u8]) -> Verdict {
    match word {
        [b'-', b'D' | b'U', _, ..] => Verdict::Macro,
        b"-fopenmp" => Verdict::Counts,
        _ => Verdict::Refused,
    }
}

fn contains(list: &[&str], word: &[u8]) -> bool {
    list.iter().any(|known| known.as_bytes() == word)
}

fn starts_with_one_of(list: &[&str], word: &[u8]) -> bool {
    list.iter().any(|prefix| word.starts_with(prefix.as_bytes()))
}
