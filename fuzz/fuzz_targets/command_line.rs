//! The words of a call, one on each line; what is understood is understood again.
#![no_main]
use compiler::invocation::{Context, Family, Invocation, Sloppiness};
use libfuzzer_sys::fuzz_target;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let words: Vec<OsString> =
        bytes.split(|byte| *byte == b'\n').map(|word| OsStr::from_bytes(word).to_owned()).collect();
    for family in [Family::Gcc, Family::Clang] {
        let context = Context {
            family,
            version_major: 12,
            cwd: Path::new("/src/build"),
            apparent_cwd: None,
            base_dir: Path::new("/src"),
            ignore_options: &[],
            sloppiness: Sloppiness::default(),
            cxx_driver: false,
        };
        let Ok(call) = Invocation::parse(&words, &context) else { continue };
        let again = Invocation::parse(&call.compile_arguments(), &context).unwrap();
        assert!(call.key_words().eq(again.key_words()));
        assert_eq!((&call.source, &call.output), (&again.source, &again.output));
        drop((call.preprocess_arguments(), call.remote_arguments(&[]), call.search_arguments()));
    }
});
