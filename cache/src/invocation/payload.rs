//! What may be handed through to the assembler, the preprocessor, clang's `-cc1` and LLVM.
//!
//! These are allow-lists too: each tool has options that write files.

/// What a payload word does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts.
    Counts,
    /// It counts, and the next payload word is its operand.
    CountsWithNext,
    /// It asks the assembler for debug information.
    Debug,
    /// It defines or undefines a macro.
    Macro,
    /// It changes where the assembler looks for included files.
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
    } else if word.starts_with(b"-I") && word.len() > 2 {
        Verdict::Search
    } else if contains(ASSEMBLER_FLAGS, word) || starts_with_one_of(ASSEMBLER_PREFIXES, word) {
        Verdict::Counts
    } else {
        Verdict::Refused
    }
}

/// A word of `-Wp,…` or `-Xpreprocessor`, other than those that ask for a dependency file.
pub(super) fn preprocessor(word: &[u8]) -> Verdict {
    match word {
        [b'-', b'D' | b'U', _, ..] => Verdict::Macro,
        b"-fopenmp" => Verdict::Counts,
        _ => Verdict::Refused,
    }
}

const FRONTEND_FLAGS: &[&str] = &[
    "-disable-O0-optnone",
    "-disable-lifetime-markers",
    "-disable-llvm-passes",
    "-disable-llvm-verifier",
    "-fallow-half-arguments-and-returns",
    "-fdeclspec",
    "-fexperimental-strict-floating-point",
    "-finclude-default-header",
    "-fnative-half-type",
    "-fno-pch-timestamp",
    "-fopenmp",
    "-fsized-deallocation",
    "-fno-spell-checking",
    "-fno-validate-pch",
    "-mrelax-relocations=no",
    "-mno-constructor-aliases",
    "-mconstructor-aliases",
    "-menable-no-infs",
    "-menable-no-nans",
    "-vectorize-loops",
    "-vectorize-slp",
];

const FRONTEND_WITH_NEXT: &[&str] = &["-target-cpu", "-target-feature", "-tune-cpu"];

/// A word of `-Xclang`.
pub(super) fn frontend(word: &[u8]) -> Verdict {
    if contains(FRONTEND_WITH_NEXT, word) {
        Verdict::CountsWithNext
    } else if contains(FRONTEND_FLAGS, word) {
        Verdict::Counts
    } else {
        Verdict::Refused
    }
}

const LLVM_PREFIXES: &[&str] = &[
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

/// A word of `-mllvm`. Only options of passes and targets, and only with a number or a truth value:
/// that cannot name a file.
pub(super) fn llvm(word: &[u8]) -> Verdict {
    let value_is_plain = match word.iter().position(|&byte| byte == b'=') {
        None => true,
        Some(at) => is_plain_value(&word[at + 1..]),
    };
    if value_is_plain && starts_with_one_of(LLVM_PREFIXES, word) {
        Verdict::Counts
    } else {
        Verdict::Refused
    }
}

fn is_plain_value(value: &[u8]) -> bool {
    matches!(value, b"true" | b"false")
        || !value.is_empty() && value.iter().all(|&byte| byte.is_ascii_digit() || byte == b'-')
}

fn contains(list: &[&str], word: &[u8]) -> bool {
    list.iter().any(|known| known.as_bytes() == word)
}

fn starts_with_one_of(list: &[&str], word: &[u8]) -> bool {
    list.iter().any(|prefix| word.starts_with(prefix.as_bytes()))
}
