//! A host list; what is understood can be written and understood again.
#![no_main]
use config::HostList;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(list) = HostList::parse(text) {
        assert_eq!(HostList::parse(&list.to_string()), Ok(list));
    }
});
