//! What a hostile worker says of itself.
#![no_main]
use libfuzzer_sys::fuzz_target;
use remote::protocol::identity::Identity;

fuzz_target!(|bytes: &[u8]| {
    if let Some(identity) = Identity::decode(bytes) {
        assert_eq!(Identity::decode(&identity.encode()), Some(identity));
    }
});
