//! Where a call can end: one enum whose name is the counter, the log line and what `explain` prints.

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident $name:literal $kind:ident,)*) => {
        /// Everything that is counted, under ccache's id where the event is the same.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Counter { $($(#[$doc])* $variant,)* }

        impl Counter {
            /// Every counter, in the order in which they are shown.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)*];

            /// The name that scripts see in `rcache stats --json`.
            pub fn name(self) -> &'static str {
                match self { $(Counter::$variant => $name,)* }
            }

            /// What sort of event it is.
            pub fn kind(self) -> CounterKind {
                match self { $(Counter::$variant => CounterKind::$kind,)* }
            }
        }
    };
}

/// How `rcache stats` groups the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterKind {
    /// A result came from the cache.
    Hit,
    /// A result could have come from the cache, but was not there.
    Miss,
    /// The lookup part of a hit or miss.
    Lookup,
    /// rcache did not try, and says why.
    Uncacheable,
    /// Something went wrong; the compiler was run.
    Error,
    /// Where compilers ran.
    Work,
    /// What came of hits that were compiled again.
    Verification,
    /// What the shared cache did.
    Shared,
}

counters! {
    /// Answered from source and include files, without preprocessing.
    DirectCacheHit "direct_cache_hit" Hit,
    /// Answered from the preprocessed text.
    PreprocessedCacheHit "preprocessed_cache_hit" Hit,
    /// Compiled, and stored where that was allowed.
    CacheMiss "cache_miss" Miss,
    /// The direct lookup found nothing.
    DirectCacheMiss "direct_cache_miss" Lookup,
    /// The preprocessed lookup found nothing.
    PreprocessedCacheMiss "preprocessed_cache_miss" Lookup,
    /// The call links.
    CalledForLink "called_for_link" Uncacheable,
    /// The call only preprocesses.
    CalledForPreprocessing "called_for_preprocessing" Uncacheable,
    /// More than one input file.
    MultipleSourceFiles "multiple_source_files" Uncacheable,
    /// No input file, as in `gcc --version`.
    NoInputFile "no_input_file" Uncacheable,
    /// A language that rcache does not know.
    UnsupportedSourceLanguage "unsupported_source_language" Uncacheable,
    /// An option without a row in the option table, or one that cannot be cached.
    UnsupportedCompilerOption "unsupported_compiler_option" Uncacheable,
    /// A command line that the compiler will not like either.
    BadCompilerArguments "bad_compiler_arguments" Uncacheable,
    /// A precompiled header is made or used.
    CouldNotUsePrecompiledHeader "could_not_use_precompiled_header" Uncacheable,
    /// C++20 or clang modules are made or used.
    CouldNotUseModules "could_not_use_modules" Uncacheable,
    /// The compiler failed; failures are not stored.
    CompileFailed "compile_failed" Uncacheable,
    /// The preprocessor failed; the compiler was run to say so.
    PreprocessorError "preprocessor_error" Uncacheable,
    /// `compiler_check` could not be carried out.
    CompilerCheckFailed "compiler_check_failed" Error,
    /// The compiler is not there or cannot be read.
    CouldNotFindCompiler "could_not_find_compiler" Error,
    /// The output goes to standard output.
    OutputToStdout "output_to_stdout" Uncacheable,
    /// The output is not an ordinary file, or its folder is missing.
    BadOutputFile "bad_output_file" Uncacheable,
    /// A file of the cache vanished while it was used.
    MissingCacheFile "missing_cache_file" Error,
    /// A source or header changed during the compile.
    ModifiedInputFile "modified_input_file" Error,
    /// A source or header cannot be read.
    BadInputFile "bad_input_file" Error,
    /// rcache's own fault.
    InternalError "internal_error" Error,
    /// `disable` is set, or the source says so.
    Disabled "disabled" Uncacheable,
    /// `recache` is set: compiled and stored anew.
    Recache "recache" Uncacheable,
    /// A variable such as DEPENDENCIES_OUTPUT adds outputs.
    UnsupportedEnvironmentVariable "unsupported_environment_variable" Uncacheable,
    /// The source contains something that cannot be followed, such as `.incbin` under clang.
    UnsupportedCodeDirective "unsupported_code_directive" Uncacheable,
    /// A link of a configure script's probe.
    AutoconfTest "autoconf_test" Uncacheable,
    /// The compiler succeeded without an output file.
    CompilerProducedNoOutput "compiler_produced_no_output" Uncacheable,
    /// The compiler wrote to standard output.
    CompilerProducedStdout "compiler_produced_stdout" Uncacheable,
    /// Compiled on a cluster host.
    RemoteCompile "remote_compile" Work,
    /// Sent to a host as a tree of files.
    SentAsFiles "sent_as_files" Work,
    /// Sent to a host as a text.
    SentAsText "sent_as_text" Work,
    /// Kept from the hosts of the list, by what it is.
    StayedHere "stayed_here" Work,
    /// A cluster host failed; the unit was then compiled locally.
    RemoteFailed "remote_failed" Work,
    /// Compiled on this machine.
    LocalCompile "local_compile" Work,
    /// rcache stood aside, for example because the daemon could not be reached.
    PassedThrough "passed_through" Work,
    /// A result came from the shared cache.
    RemoteStorageHit "remote_storage_hit" Shared,
    /// The shared cache was asked, and has nothing that is right here.
    RemoteStorageMiss "remote_storage_miss" Shared,
    /// A result was uploaded.
    RemoteStorageWrite "remote_storage_write" Shared,
    /// A request to the shared cache failed.
    RemoteStorageError "remote_storage_error" Shared,
    /// The shared cache did not answer in time.
    RemoteStorageTimeout "remote_storage_timeout" Shared,
    /// An entry of the shared cache is not signed by a trusted key, or is not what was written.
    RemoteStorageUntrusted "remote_storage_untrusted" Shared,
    /// A hit was compiled again, and was the same.
    VerifyMatch "verify_match" Verification,
    /// A hit was compiled again, and was not the same: the result is dropped.
    VerifyMismatch "verify_mismatch" Verification,
    /// Two compiles of a hit differ from each other.
    VerifyUnstable "verify_unstable" Verification,
    /// A hit was to be compiled again, but there was no room, or it cannot be compared.
    VerifySkipped "verify_skipped" Verification,
}

/// Why a call is not cached: the counter, and the option, file or variable that is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncacheable {
    /// The counter.
    pub counter: Counter,
    /// What is to blame, in a few words; empty where the counter says it all.
    pub detail: String,
}

impl Uncacheable {
    /// A reason with its culprit.
    pub fn new(counter: Counter, detail: impl Into<String>) -> Uncacheable {
        Uncacheable { counter, detail: detail.into() }
    }
}

impl From<Counter> for Uncacheable {
    fn from(counter: Counter) -> Uncacheable {
        Uncacheable { counter, detail: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique() {
        let names: HashSet<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        assert_eq!(names.len(), Counter::ALL.len());
    }
    /// Scripts read these; there may be more.
    const PROMISED: &str = "\
        direct_cache_hit preprocessed_cache_hit cache_miss direct_cache_miss \
        preprocessed_cache_miss called_for_link called_for_preprocessing multiple_source_files \
        no_input_file unsupported_source_language unsupported_compiler_option \
        bad_compiler_arguments could_not_use_precompiled_header could_not_use_modules \
        compile_failed preprocessor_error compiler_check_failed could_not_find_compiler \
        output_to_stdout bad_output_file missing_cache_file modified_input_file bad_input_file \
        internal_error disabled recache unsupported_environment_variable \
        unsupported_code_directive autoconf_test compiler_produced_no_output \
        compiler_produced_stdout remote_compile remote_failed local_compile passed_through";

    #[test]
    fn promised_names_stay() {
        let names: HashSet<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        for promised in PROMISED.split_whitespace() {
            assert!(names.contains(promised), "{promised}");
        }
    }
}
