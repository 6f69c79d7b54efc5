//! An answer from a hostile host, in each dialect; what is read can be written and read again.
#![no_main]
use libfuzzer_sys::fuzz_target;
use remote::Job;
use remote::protocol::{Dialect, request, response};

fuzz_target!(|bytes: &[u8]| {
    for dialect in [Dialect::Plain, Dialect::Lzo, Dialect::Native] {
        let (_, sum) = request::encode(dialect, &Job::default(), "");
        if let Ok(reply) = response::read(&mut &bytes[..], dialect, &sum) {
            assert_eq!(response::check(&reply), Ok(()));
            let again = response::encode(dialect, &reply, &sum);
            assert_eq!(response::read(&mut &again[..], dialect, &sum).unwrap(), reply);
        }
    }
});
