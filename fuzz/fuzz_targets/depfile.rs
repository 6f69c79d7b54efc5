//! A make rule as compilers write it, or not.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(inputs) = compiler::depfile::inputs(bytes) {
        assert!(!inputs.is_empty() && inputs.len() <= bytes.len());
    }
});
