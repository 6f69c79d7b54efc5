//! The environment variables that gcc and clang read, and what each means for a cached result.
//!
//! Sources: gcc's manual ("Environment Variables Affecting GCC"), clang's driver and the glibc
//! manual for the locale. Variables for the looks of diagnostics (`TERM`, `GCC_COLORS`) are left out:
//! they are settled where diagnostics are.

use crate::outcome::{Counter, Uncacheable};

/// What a variable means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Its value counts.
    Counts,
    /// Its value counts, unless the user is sloppy about the locale.
    Locale,
    /// Its value counts where a source can show the time (see [`is_epoch`]).
    Epoch,
    /// Only linking uses it, and the search for specs files, which are known by content.
    Linking,
    /// It adds outputs or rewrites the command line: not cached.
    Refused,
}

/// Every variable that matters, sorted by name.
pub const VARIABLES: &[(&str, Meaning)] = &[
    ("AS_SECURE_LOG_FILE", Meaning::Refused),
    ("BINUTILS_ROOT", Meaning::Counts),
    ("CCC_ADD_ARGS", Meaning::Refused),
    ("CCC_OVERRIDE_OPTIONS", Meaning::Refused),
    ("CC_LOG_DIAGNOSTICS", Meaning::Refused),
    ("CC_LOG_DIAGNOSTICS_FILE", Meaning::Refused),
    ("CC_PRINT_HEADERS", Meaning::Refused),
    ("CC_PRINT_HEADERS_FILE", Meaning::Refused),
    ("CC_PRINT_INTERNAL_STAT", Meaning::Refused),
    ("CC_PRINT_OPTIONS", Meaning::Refused),
    ("CC_PRINT_OPTIONS_FILE", Meaning::Refused),
    ("CC_PRINT_PROC_STAT", Meaning::Refused),
    ("CC_PRINT_PROC_STAT_FILE", Meaning::Refused),
    ("CLANG_CONFIG_FILE_SYSTEM_DIR", Meaning::Refused),
    ("CLANG_CONFIG_FILE_USER_DIR", Meaning::Refused),
    ("CLANG_CRASH_DIAGNOSTICS_DIR", Meaning::Counts),
    ("CLANG_NO_DEFAULT_CONFIG", Meaning::Counts),
    ("COLLECT_AS_OPTIONS", Meaning::Counts),
    ("COMPILER_PATH", Meaning::Counts),
    ("CPATH", Meaning::Counts),
    ("CPLUS_INCLUDE_PATH", Meaning::Counts),
    ("C_INCLUDE_PATH", Meaning::Counts),
    ("DEPENDENCIES_OUTPUT", Meaning::Refused),
    ("DEVELOPER_DIR", Meaning::Counts),
    ("FORCE_CLANG_DIAGNOSTICS_CRASH", Meaning::Refused),
    ("G++_ROOT", Meaning::Counts),
    ("GCC_COMPARE_DEBUG", Meaning::Refused),
    ("GCC_EXEC_PREFIX", Meaning::Counts),
    ("GCC_EXTRA_DIAGNOSTIC_OUTPUT", Meaning::Counts),
    ("GCC_ROOT", Meaning::Counts),
    ("GCONV_PATH", Meaning::Counts),
    ("GNUTARGET", Meaning::Counts),
    ("I_MPI_CC", Meaning::Counts),
    ("I_MPI_CXX", Meaning::Counts),
    ("LANG", Meaning::Locale),
    ("LANGUAGE", Meaning::Locale),
    ("LC_ALL", Meaning::Locale),
    ("LC_CTYPE", Meaning::Locale),
    ("LC_MESSAGES", Meaning::Locale),
    ("LIBRARY_PATH", Meaning::Linking),
    ("LLVM_OVERRIDE_PRODUCER", Meaning::Counts),
    ("LOCALE_ARCHIVE", Meaning::Locale),
    ("LOCPATH", Meaning::Locale),
    ("MACOSX_DEPLOYMENT_TARGET", Meaning::Counts),
    ("NLSPATH", Meaning::Locale),
    ("OBJCPLUS_INCLUDE_PATH", Meaning::Counts),
    ("OBJC_INCLUDE_PATH", Meaning::Counts),
    ("OUTPUT_CHARSET", Meaning::Locale),
    ("QA_OVERRIDE_GCC3_OPTIONS", Meaning::Refused),
    ("RC_DEBUG_OPTIONS", Meaning::Refused),
    ("RC_DEBUG_PREFIX_MAP", Meaning::Refused),
    ("SDKROOT", Meaning::Counts),
    ("SOURCE_DATE_EPOCH", Meaning::Epoch),
    ("SUNPRO_DEPENDENCIES", Meaning::Refused),
];

/// Whether a variable of this name counts.
pub fn counts(name: &[u8]) -> bool {
    let found = VARIABLES.binary_search_by(|(known, _)| known.as_bytes().cmp(name));
    found.is_ok_and(|at| VARIABLES[at].1 == Meaning::Counts)
}

/// The time that the time macros give instead of the present one.
pub const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Fewer digits than the last time has that a compiler accepts (the end of the year 9999).
const EPOCH_DIGITS_MAX: usize = 11;

/// Whether compilers take this for a time. Of anything else clang complains in every unit.
pub fn is_epoch(value: &[u8]) -> bool {
    (1..=EPOCH_DIGITS_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_digit)
}

/// The fields that the environment adds to a key, in the table's order. An unset variable adds
/// nothing, an empty one adds an empty value.
///
/// # Errors
/// A variable that makes the call uncacheable.
pub fn key_fields<'e>(
    environment: impl Iterator<Item = (&'e [u8], &'e [u8])>,
    sloppy_locale: bool,
) -> Result<Vec<(&'static str, &'e [u8])>, Uncacheable> {
    let mut values = [None; VARIABLES.len()];
    for (name, value) in environment {
        let Ok(at) = VARIABLES.binary_search_by(|(known, _)| known.as_bytes().cmp(name)) else {
            continue;
        };
        // Of two settings of one name, getenv finds the first.
        values[at].get_or_insert(value);
    }
    let mut fields = Vec::new();
    for (&(name, meaning), value) in VARIABLES.iter().zip(values) {
        let Some(value) = value else { continue };
        match meaning {
            Meaning::Refused => {
                return Err(Uncacheable::new(Counter::UnsupportedEnvironmentVariable, name));
            }
            Meaning::Locale if sloppy_locale => {}
            Meaning::Linking => {}
            Meaning::Counts | Meaning::Locale | Meaning::Epoch => fields.push((name, value)),
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<'e>(
        environment: &'e [(&'e str, &'e str)],
        sloppy_locale: bool,
    ) -> Result<Vec<(&'static str, &'e [u8])>, Uncacheable> {
        let pairs = environment.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        key_fields(pairs, sloppy_locale)
    }

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(VARIABLES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn the_order_of_the_environment_does_not_matter() {
        let one = fields(&[("LANG", "C"), ("CPATH", "/a"), ("HOME", "/h")], false);
        let other = fields(&[("CPATH", "/a"), ("LANG", "C")], false);
        assert_eq!(one, other);
        assert_eq!(one.unwrap(), [("CPATH", &b"/a"[..]), ("LANG", b"C")]);
    }

    #[test]
    fn sloppy_locale_leaves_the_locale_out_and_nothing_else() {
        let environment = [("LC_ALL", "C"), ("CPATH", "/a"), ("LOCPATH", "/l"), ("NLSPATH", "/n")];
        assert_eq!(fields(&environment, false).unwrap().len(), 4);
        assert_eq!(fields(&environment, true).unwrap(), [("CPATH", &b"/a"[..])]);
    }

    #[test]
    fn variables_that_add_outputs_are_refused() {
        for name in ["DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES", "CCC_OVERRIDE_OPTIONS"] {
            let refusal = fields(&[(name, "x")], false).unwrap_err();
            assert_eq!(refusal.counter, Counter::UnsupportedEnvironmentVariable);
            assert_eq!(refusal.detail, name);
        }
    }

    #[test]
    fn what_only_linking_uses_adds_nothing() {
        assert_eq!(fields(&[("LIBRARY_PATH", "/a")], false), fields(&[], false));
        assert!(is_epoch(b"0") && is_epoch(b"253402300799"[..11].as_ref()));
        assert!(
            !is_epoch(b"") && !is_epoch(b"1x") && !is_epoch(b"-1") && !is_epoch(b"253402300799")
        );
    }

    #[test]
    fn empty_is_not_unset() {
        assert_ne!(fields(&[("CPATH", "")], false), fields(&[], false));
    }
}
