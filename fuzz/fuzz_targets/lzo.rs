//! Streams that are none, and round trips.
#![no_main]
use libfuzzer_sys::fuzz_target;
use remote::lzo::{compress, decompress};

fuzz_target!(|bytes: &[u8]| {
    let plain = decompress(bytes, 1 << 20).unwrap_or_default();
    assert!(plain.len() <= 1 << 20);
    for plain in [&plain[..], bytes] {
        assert_eq!(decompress(&compress(plain), plain.len()).unwrap(), plain);
    }
});
