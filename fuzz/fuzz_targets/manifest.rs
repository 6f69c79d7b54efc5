//! A manifest that was damaged; what is read can be written and read again.
#![no_main]
use cache::manifest::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(manifest) = Manifest::decode(bytes) {
        let results: Vec<_> = manifest.results().collect();
        let encoded = Manifest::encode(&results);
        let again = Manifest::decode(&encoded).map(|manifest| manifest.results().count());
        assert!(again.is_some_and(|count| count <= results.len()));
    }
});
