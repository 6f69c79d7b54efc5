//! What may be handed to clang's `-cc1` by `-Xclang`.

use super::{Verdict, contains, starts_with_one_of};
use crate::options::{self, Effect, Family, PATH};

/// Flags that only `-cc1` has, whose object is the same from the text that is sent.
const FLAGS: &[&str] = &[
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

/// Flags that only `-cc1` has.
const FLAGS_HERE: &[&str] = &[
    "-cfguard",
    "-cfguard-no-checks",
    "-debug-forward-template-params",
    "-disable-free",
    "-disable-red-zone",
    "-discard-value-names",
    "-dwarf-explicit-import",
    "-dwarf-ext-refs",
    "-enable-noundef-analysis",
    "-fallow-pch-with-compiler-errors",
    "-fctor-dtor-return-this",
    "-fexperimental-omit-vtable-rtti",
    "-ffake-address-space-map",
    "-fforbid-guard-variables",
    "-fno-raw-string-literals",
    "-fno-signed-char",
    "-fno-signed-wchar",
    "-fno-skip-odr-check-in-gmf",
    "-fno-use-ctor-homing",
    "-fno-wchar",
    "-fraw-string-literals",
    "-fskip-odr-check-in-gmf",
    "-funknown-anytype",
    "-fuse-ctor-homing",
    "-fuse-register-sized-bitfield-access",
    "-ehcontguard",
    "-llvm-verify-each",
    "-massembler-fatal-warnings",
    "-massembler-no-warn",
    "-mincremental-linker-compatible",
    "-mnoexecstack",
    "-mno-type-check",
    "-mrelax-all",
    "-mreassociate",
    "-new-struct-path-tbaa",
    "-no-enable-noundef-analysis",
    "-no-implicit-float",
    "-no-opaque-pointers",
    "-no-struct-path-tbaa",
    "-opaque-pointers",
    "-pic-is-pie",
    "-pointer-tbaa",
    "-regcall4",
    "-relaxed-aliasing",
    "-static-define",
    "-fno-aligned-allocation",
    "-fno-pointer-tbaa",
];

/// The same with a value in the word, which names no file.
const PREFIXES_HERE: &[&str] = &[
    "-compress-debug-sections=",
    "-exception-model=",
    "-fdefault-calling-conv=",
    "-ftrapv-handler=",
    "-funwind-tables=",
    "-fwchar-type=",
    "-mframe-pointer=",
    "-mprintf-kind=",
    "-vtordisp-mode=",
];

/// The same with a value in the next word.
const WITH_NEXT: &[&str] = &["-target-cpu", "-target-feature", "-tune-cpu"];
const WITH_NEXT_HERE: &[&str] = &[
    "-aux-target-cpu",
    "-aux-target-feature",
    "-exception-model",
    "-function-alignment",
    "-main-file-name",
    "-mfloat-abi",
    "-mlimit-float-precision",
    "-mregparm",
    "-msmall-data-limit",
    "-mrelocation-model",
    "-pic-level",
    "-stack-protector",
    "-stack-protector-buffer-size",
    "-target-abi",
    "-target-linker-version",
];

/// What puts a folder on the search path; the folder may be in the next word.
const SEARCH: &[&str] = &[
    "-I",
    "-c-isystem",
    "-cxx-isystem",
    "-idirafter",
    "-internal-externc-isystem",
    "-internal-isystem",
    "-iquote",
    "-isystem",
    "-iwithsysroot",
];

/// A word of `-Xclang`.
pub(in super::super) fn frontend(word: &[u8]) -> Verdict {
    if contains(WITH_NEXT, word) {
        Verdict::CountsWithNext
    } else if contains(WITH_NEXT_HERE, word) {
        Verdict::CountsHereWithNext
    } else if word == b"-mllvm" {
        Verdict::LlvmNext
    } else if word == b"-emit-pch" {
        Verdict::MakesPrecompiled
    } else if word == b"-include" || word == b"-include-pch" {
        Verdict::FileNext { precompiled: word == b"-include-pch" }
    } else if contains(FLAGS, word) {
        Verdict::Counts
    } else if contains(SEARCH, word) {
        Verdict::SearchWithNext
    } else if starts_with_one_of(SEARCH, word) || word == b"-nostdsysteminc" {
        Verdict::Search
    } else if word.starts_with(b"-debug-info-kind=") {
        Verdict::Debug
    } else if is_macro(word) {
        Verdict::Macro
    } else if contains(FLAGS_HERE, word) || starts_with_one_of(PREFIXES_HERE, word) {
        Verdict::CountsHere
    } else if let Some(found) = of_both(word) {
        Verdict::AsRow(found)
    } else {
        Verdict::Refused
    }
}

fn is_macro(word: &[u8]) -> bool {
    matches!(word, [b'-', b'D' | b'U', _, ..])
}

/// The driver's option of the same name, where that only shapes the outputs.
fn of_both(word: &[u8]) -> Option<options::Match> {
    let group = word.get(1)?;
    let found = options::lookup(word, Family::Clang)?;
    let shapes = match found.row.effect {
        Effect::Counts | Effect::Target => !found.row.has(PATH | options::NATIVE),
        Effect::Values(_) | Effect::Warning | Effect::Debug(options::Debug::Detail) => true,
        _ => false,
    };
    (b"fmgW".contains(group) && shapes && !found.takes_next).then_some(found)
}
