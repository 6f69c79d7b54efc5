//! A settings file with anything in it: each problem has its text, each key a value.
#![no_main]
use config::{Config, Environment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file = std::env::temp_dir().join(format!("fuzz-rcache-{}.toml", std::process::id()));
    std::fs::write(&file, bytes).unwrap();
    let variables =
        [("RCACHE_CONFIG".into(), file.into_os_string()), ("HOME".into(), "/home/u".into())];
    let loaded = Config::load(&Environment::new(&variables));
    loaded.rows().iter().for_each(|row| drop(row.value.to_string()));
    loaded.problems.iter().for_each(|problem| assert!(!problem.to_string().is_empty()));
});
