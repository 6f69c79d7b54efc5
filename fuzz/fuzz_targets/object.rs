//! An object of a hostile host: where all of it is there, less of it is not.
#![no_main]
use compiler::object::is_whole;
use compiler::options::Phase;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if bytes.starts_with(b"\x7fELF") && is_whole(bytes, Phase::Object) {
        assert!(bytes.len() >= 128 && !is_whole(&bytes[..127], Phase::Object));
    }
    is_whole(bytes, Phase::Assembly);
});
