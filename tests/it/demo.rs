//! `rcache demo`: one command that shows everything, and leaves nothing behind.

use crate::support::{
    Cache, LIMIT_BUILD, LIMIT_CALL, is_alive, process_group_interrupt, start, wait_until,
};
use std::path::Path;
use std::time::Duration;

/// The ids of processes that work below a folder.
fn processes_below(folder: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let refers = |pid: &u32| {
        let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let needle = folder.as_os_str().as_encoded_bytes();
        is_alive(*pid) && variables.windows(needle.len()).any(|window| window == needle)
    };
    pids.filter(refers).collect()
}

/// The folder of the show.
fn stage(cache: &Cache) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(cache.root().join("tmp")).unwrap().flatten();
    entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("rcache-demo-"))
}

#[test]
fn the_show_is_cold_through_a_worker_cold_here_and_warm() {
    // What is set for the user has no part in it.
    let cache = Cache::new().with("RCACHE_HOSTS", "127.0.0.1:1").with("ALLOW", "10.0.0.0/8");
    let told = start(&mut cache.subcommand("demo")).finish(LIMIT_BUILD).success().out();
    let row = |name: &str| -> Vec<String> {
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        let line = line.unwrap_or_else(|| panic!("{name}: {told}"));
        line.split_whitespace().rev().take(3).map(str::to_owned).collect()
    };
    // The units that the worker compiled, misses, hits.
    assert_eq!(row("cold, through a worker "), ["25", "25", "0"], "{told}");
    assert_eq!(row("cold, on this machine "), ["0", "25", "0"], "{told}");
    assert_eq!(row("warm "), ["0", "0", "25"], "{told}");
    assert_eq!(row("one unit edited "), ["0", "1", "24"], "{told}");
    assert!(told.contains("are the same, byte for byte"), "{told}");
    assert_eq!(stage(&cache), None, "its folder is gone");
    assert!(
        cache.daemons().is_empty() && !cache.folder().exists(),
        "the user's cache is untouched"
    );
}

#[test]
fn an_interrupted_show_leaves_nothing_behind() {
    let cache = Cache::new();
    let show = start(&mut cache.subcommand("demo"));
    let mut folder = None;
    wait_until("the first build", Duration::from_secs(60), || {
        folder = stage(&cache).filter(|folder| folder.join("obj").exists());
        folder.is_some()
    });
    process_group_interrupt(show.pid());
    let folder = folder.unwrap();
    let outcome = show.finish(LIMIT_CALL);
    assert_eq!(outcome.status, 130, "{outcome:?}");
    assert!(!folder.exists());
    wait_until("all its processes end", Duration::from_secs(60), || {
        processes_below(&folder).is_empty()
    });
}
