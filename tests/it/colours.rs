//! Diagnostics on a terminal: as coloured as the bare compiler's, and plain where it would be plain.

use crate::support::{Cache, Call, Project, compilers, pseudo_terminal, rcache_binary};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

const UNIT: &[(&str, &str)] = &[
    ("a.c", "int f(int x) { int unused; return x == 3 ? 1 : 2; }\n"),
    ("bad.c", "int f(void) { return undeclared; }\n"),
];

/// Runs a command with its standard output and error on a terminal of 80 columns; returns what it
/// wrote there.
fn on_terminal(command: Command, error_only: bool) -> Vec<u8> {
    with_input(command, error_only, Stdio::null())
}

fn with_input(mut command: Command, error_only: bool, input: Stdio) -> Vec<u8> {
    let (main, terminal) = pseudo_terminal(80, 24);
    let stdout = if error_only { Stdio::null() } else { clone(&terminal) };
    command.stdin(input).stdout(stdout).stderr(clone(&terminal));
    let mut child = command.spawn().unwrap();
    drop(command);
    let reader = std::thread::spawn(move || {
        let mut written = Vec::new();
        // Linux reports the end of the last writer as an I/O error.
        let _ = std::fs::File::from(main).read_to_end(&mut written);
        written
    });
    child.wait().unwrap();
    drop(terminal);
    reader.join().unwrap()
}

fn clone(terminal: &OwnedFd) -> Stdio {
    Stdio::from(terminal.try_clone().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn diagnostics_keep_their_colour() {
    for family in compilers("diagnostics_keep_their_colour") {
        for (line, coloured) in [
            ("-Wall -c a.c", true),
            ("-c bad.c", true),
            ("-Wall -c a.c -fdiagnostics-color=never", false),
            ("-Wall -c a.c -fdiagnostics-color=always", true),
        ] {
            let (project, cache) = (Project::new(UNIT), Cache::new());
            let call = Call::from(format!("{} {line}", family.c)).env("TERM", "xterm-256color");
            let mut plain = project.command_for(&call, &[]);
            cache.adopt(&mut plain);
            let wanted = text(&on_terminal(plain, false));
            assert_eq!(wanted.contains("\x1b["), coloured, "{line}: {wanted:?}");
            for turn in ["cold", "warm", "warm again"] {
                let got = text(&on_terminal(cache.command(&project, &call), false));
                assert_eq!(got, wanted, "{turn}: {} {line}", family.c);
            }
        }
    }
}

#[test]
fn terminal_and_pipe_take_turns() {
    for family in compilers("terminal_and_pipe_take_turns") {
        let (project, cache) = (Project::new(UNIT), Cache::new());
        let call = Call::from(format!("{} -Wall -c a.c", family.c)).env("TERM", "xterm");
        let wanted_terminal = text(&on_terminal(project.command_for(&call, &[]), false));
        let wanted_pipe = project.plain(&call);
        for turn in 0..3 {
            let got = text(&on_terminal(cache.command(&project, &call), false));
            assert_eq!(got, wanted_terminal, "turn {turn}");
            assert_eq!(cache.compile(&project, &call), wanted_pipe, "turn {turn}");
            let dumb = call.clone().env("TERM", "dumb");
            let wanted = text(&on_terminal(project.command_for(&dumb, &[]), false));
            let got = text(&on_terminal(cache.command(&project, &dumb), false));
            assert_eq!(got, wanted, "dumb, turn {turn}");
            let wanted = text(&on_terminal(project.command_for(&call, &[]), true));
            let got = text(&on_terminal(cache.command(&project, &call), true));
            assert_eq!(got, wanted, "only standard error is a terminal, turn {turn}");
        }
    }
}

#[test]
fn a_hit_still_happens_on_a_terminal() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    let call = Call::from("gcc -Wall -c a.c").env("TERM", "xterm");
    on_terminal(cache.command(&project, &call), false);
    let before = cache.stats();
    on_terminal(cache.command(&project, &call), false);
    assert_eq!(cache.endings_since(&before), "direct_cache_hit");
}

/// gcc cuts what it quotes by the width of standard input, and not at all where that is no terminal.
#[test]
fn quoted_lines_are_as_wide_as_the_compiler_has_them() {
    let long = format!("int f(int x) {{ x = {}1; int unused; return x; }}\n", "x + ".repeat(60));
    let project = Project::new(&[("a.c", &long)]);
    for family in compilers("quoted_lines_are_as_wide_as_the_compiler_has_them") {
        let cache = Cache::new();
        let call = Call::from(format!("{} -Wall -c a.c", family.c)).env("TERM", "xterm");
        let mut shown = Vec::new();
        for columns in [60, 0, 100, 60, 0, 100] {
            let (_main, terminal) = pseudo_terminal(columns, 24);
            let input = || if columns == 0 { Stdio::null() } else { clone(&terminal) };
            let wanted = text(&with_input(project.command_for(&call, &[]), false, input()));
            let got = text(&with_input(cache.command(&project, &call), false, input()));
            assert_eq!(got, wanted, "{}: {columns} columns", family.c);
            shown.push(wanted);
        }
        shown.sort();
        shown.dedup();
        assert_eq!(shown.len(), if family.c == "gcc" { 3 } else { 1 }, "{shown:?}");
        assert!(cache.stats().get("direct_cache_hit") >= 3);
    }
}

#[test]
fn stats_are_coloured_on_a_terminal_only() {
    let cache = Cache::new();
    let mut command = cache.subcommand("stats");
    command.env("TERM", "xterm-256color");
    let shown = text(&on_terminal(command, false));
    assert!(shown.contains("\x1b["), "{shown:?}");
    let mut command = cache.subcommand("stats");
    command.env("TERM", "xterm-256color").env("NO_COLOR", "1");
    let shown = text(&on_terminal(command, false));
    assert!(!shown.contains("\x1b["), "{shown:?}");
    assert!(rcache_binary().exists());
}
