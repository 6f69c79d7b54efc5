//! Finds pragmas that a preprocessor run which leaves text alone loses, or does not obey.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::Scan;
use super::text::{is_word, skip_blanks, word_at};

/// Behind `GCC`: they change macros such as `__AVX2__`, or forbid a name.
const OPTION_PRAGMAS: [&[u8]; 6] =
    [b"target", b"optimize", b"push_options", b"pop_options", b"reset_options", b"poison"];

static GCC: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"GCC"));
static PRAGMA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"pragma"));

/// Records in `scan` the pragmas of `text` (without splices). Those of macros count also in strings,
/// where `_Pragma` takes them from; the others get through in that form.
pub(super) fn find(text: &[u8], scan: &mut Scan) {
    scan.option_pragma |= GCC.find_iter(text).any(|at| {
        let whole = at == 0 || !is_word(text[at - 1]);
        whole && OPTION_PRAGMAS.contains(&word_at(text, skip_blanks(text, at + GCC.needle().len())))
    });
    for at in PRAGMA.find_iter(text) {
        let word = word_at(text, skip_blanks(text, at + PRAGMA.needle().len()));
        scan.expanded_pragma |= matches!(word, b"message" | b"redefine_extname");
        scan.parallel_pragma |= matches!(word, b"omp" | b"acc");
    }
}
