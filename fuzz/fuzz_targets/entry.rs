//! A blob that lies under a right checksum; what is read can be written and read again.
#![no_main]
use cache::entry::Entry;
use compiler::hasher::Digest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let key = Digest([b'k'; Digest::LEN]);
    let sealed = [bytes, blake3::hash(bytes).as_bytes()].concat();
    if let Ok(entry) = Entry::decode(key, &sealed) {
        assert_eq!(Entry::decode(key, &entry.encode(key, Some(1)).unwrap()), Ok(entry));
    }
});
