//! What the launcher does before the C library is set up: for hits all of it, and nothing that needs more.

use crate::support::{Cache, LIMIT_CALL, Project, SYSTEM_PATH, have, rcache_binary, run, skip};
use std::process::Command;

const SOURCE: &[(&str, &str)] = &[("a.c", "int a;\n"), ("b.c", "#warning printed\nint b;\n")];

/// What glibc does first, to have thread-local storage.
const SET_UP: &str = "arch_prctl(ARCH_SET_FS";

/// The system calls of `COMMAND -c SOURCE`.
fn trace(project: &Project, cache: &Cache, command: &[&str], source: &str) -> String {
    let mut strace = project.command("strace");
    let words = ["-o", "trace", "-e", "trace=arch_prctl,connect,exit_group"];
    cache.adopt(strace.args(words).args(command).args(["-c", source]));
    run(&mut strace, LIMIT_CALL).success();
    String::from_utf8(project.read("trace")).unwrap()
}

/// Whether system calls can be seen here.
fn can_trace(what: &str) -> bool {
    let can = have("strace")
        && Command::new("strace").args(["-o", "/dev/null", "true"]).status().unwrap().success();
    if !can {
        skip(what, "strace is not installed, or may not trace");
    }
    can
}

#[test]
fn a_hit_ends_before_the_c_library_is_set_up() {
    if !can_trace("a_hit_ends_before_the_c_library_is_set_up") {
        return;
    }
    let (project, cache) = (Project::new(SOURCE), Cache::new());
    let binary = rcache_binary();
    let rcache = binary.to_str().unwrap();
    project.symlink(rcache, "gcc");
    let path = format!("PATH={}:{SYSTEM_PATH}", project.root().display());
    let commands: [&[&str]; 3] =
        [&[rcache, "gcc"], &[rcache, "/usr/bin/gcc"], &["env", &path, "gcc"]];
    for command in commands {
        // The first compile; later, the compiler is asked about itself with another PATH.
        let cold = trace(&project, &cache, command, "a.c");
        assert!(command[1] == "/usr/bin/gcc" || cold.contains(SET_UP), "{command:?}: {cold}");
        project.remove("a.o");
        let warm = trace(&project, &cache, command, "a.c");
        // `env` has a C library of its own.
        let own = usize::from(command[0] == "env");
        assert_eq!(warm.matches(SET_UP).count(), own, "{command:?}: {warm}");
        assert_eq!(warm.matches("connect(").count(), 1, "{command:?}: {warm}");
        assert!(project.exists("a.o"));
    }
}

#[test]
fn the_launcher_goes_on_with_the_same_connection() {
    if !can_trace("the_launcher_goes_on_with_the_same_connection") {
        return;
    }
    let (project, cache) = (Project::new(SOURCE), Cache::new());
    let binary = rcache_binary();
    let command = [binary.to_str().unwrap(), "gcc"];
    // The first one starts the daemon.
    trace(&project, &cache, &command, "a.c");
    for turn in ["a miss", "a hit that prints"] {
        let seen = trace(&project, &cache, &command, "b.c");
        assert_eq!(seen.matches("connect(").count(), 1, "{turn}: {seen}");
        assert!(seen.contains(SET_UP), "{turn}: {seen}");
    }
    assert_eq!(cache.stats().get("direct_cache_hit"), 1);
}

/// `memcpy` and its like are chosen for the processor while the C library is set up.
#[test]
fn the_early_code_calls_nothing_else() {
    let mut objdump = Command::new("objdump");
    objdump.args(["--disassemble", "--no-show-raw-insn"]).arg(rcache_binary());
    let listing = run(&mut objdump, LIMIT_CALL).success().out();
    let is_early = |line: &str| line.contains("5early") || line.contains("9ask_early");
    let (mut functions, mut inside) = (0, false);
    for line in listing.lines() {
        if line.ends_with(">:") {
            inside = is_early(line) && !line.contains("take_asked");
            functions += usize::from(inside);
        }
        let Some((_, instruction)) = line.split_once('\t').filter(|_| inside) else { continue };
        let leaves = instruction.starts_with("call") || instruction.starts_with("jmp");
        let unoptimised = line.contains("panic");
        assert!(!leaves || unoptimised || is_early(line), "{line}");
        assert!(!instruction.contains("%fs:"), "{line}");
    }
    assert!(functions > 5, "{functions} functions");
}
