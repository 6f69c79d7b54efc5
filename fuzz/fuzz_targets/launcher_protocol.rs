//! Frames between launcher and daemon; what is read can be written and read again.
#![no_main]
use libfuzzer_sys::fuzz_target;
use talk::launcher_protocol::{ToDaemon, ToLauncher, read_frame};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = ToDaemon::decode(bytes) {
        let frame = read_frame(&mut &message.encode()[..]).unwrap();
        assert_eq!(ToDaemon::decode(&frame), Ok(message));
    }
    if let Ok(message) = ToLauncher::decode(bytes) {
        let frame = read_frame(&mut &message.encode()[..]).unwrap();
        assert_eq!(ToLauncher::decode(&frame), Ok(message));
    }
});
