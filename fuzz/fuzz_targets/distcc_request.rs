//! A request from a hostile client; what is read can be written and read again.
#![no_main]
use libfuzzer_sys::fuzz_target;
use remote::protocol::request::{self, Request};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Request::Compile { dialect, job, compiler, checksum }) =
        request::read(&mut &bytes[..])
    {
        let (again, _) = request::encode(dialect, &job, compiler.as_deref().unwrap_or_default());
        let wanted = Request::Compile { dialect, job, compiler, checksum };
        assert_eq!(request::read(&mut &again[..]).unwrap(), wanted);
    }
});
