//! A source file of any bytes: what is found is in the text, each once.
#![no_main]
use compiler::scan::{scan, scan_definition};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let found = scan(bytes);
    assert!(found.includes.is_sorted() && found.has_includes.is_sorted());
    assert!(found.includes.iter().all(|include| include.name.len() < bytes.len()));
    drop(scan_definition(bytes));
});
