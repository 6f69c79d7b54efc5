//! What a launcher finds around it (signals, streams, sessions, terminals): the compiler gets it as it was, and ends as
//! it would.

use crate::support::{Cache, Call, LIMIT_CALL, Outcome, Project, pseudo_terminal, run, wait_until};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::Duration;

const UNIT: &[(&str, &str)] = &[
    ("a.c", "int f(void) { int unused; return 0; }\n"),
    ("bad.c", "int w\n"),
    (
        "probe.c",
        "#include <signal.h>\n#include <stdio.h>\n#include <string.h>\n#include <unistd.h>\n\
         #include <fcntl.h>\n\
         int main(int count, char **words) {\n\
           int asked = 0;\n\
           for (int i = 0; i < count; i++) asked |= !strcmp(words[i], \"-###\");\n\
           if (!asked) {\n\
             char open_streams[4] = \"---\";\n\
             for (int i = 0; i < 3; i++) if (fcntl(i, F_GETFD) >= 0) open_streams[i] = '0' + i;\n\
             FILE *seen = fopen(\"seen\", \"w\"), *status = fopen(\"/proc/self/status\", \"r\");\n\
             char line[500];\n\
             fprintf(seen, \"%s\\n\", open_streams);\n\
             while (fgets(line, sizeof line, status))\n\
               if (!strncmp(line, \"SigBlk\", 6) || !strncmp(line, \"SigIgn\", 6)) fputs(line, seen);\n\
             fclose(seen); fclose(status);\n\
           }\n\
           words[0] = \"gcc\"; execv(\"/usr/bin/gcc\", words); return 99;\n\
         }\n",
    ),
];

/// With a compiler that notes in `seen` what it was started with.
fn project() -> Project {
    let project = Project::new(UNIT);
    project.plain("gcc probe.c -o probe").success();
    project
}

/// Runs the line without rcache and twice with it, after `prepare`. It must end alike each time, and
/// what the compiler has seen, if it ran, must be alike.
#[track_caller]
fn alike(project: &Project, cache: &Cache, line: &str, prepare: fn()) -> Outcome {
    let call = Call::from(line);
    let prepared = |mut command: Command| {
        // SAFETY: what the tests prepare are calls that are async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                prepare();
                Ok(())
            })
        };
        run(&mut command, LIMIT_CALL)
    };
    let seen = || {
        let seen = project.exists("seen").then(|| project.read("seen"));
        let _ = std::fs::remove_file(project.path("seen"));
        seen.map(|seen| String::from_utf8(seen).unwrap())
    };
    let wanted = prepared(project.command_for(&call, &[]));
    let wanted_seen = seen();
    for turn in ["cold", "warm"] {
        let got = prepared(cache.command(project, &call));
        assert_eq!(got, wanted, "{turn}: {line}");
        let got_seen = seen();
        assert!(got_seen.is_none() || got_seen == wanted_seen, "{turn}: {line}: {got_seen:?}");
        assert!(turn == "warm" || got_seen.is_some() == wanted_seen.is_some(), "{line}");
    }
    wanted
}

fn handle(signal: libc::c_int, how: libc::sighandler_t) {
    // SAFETY: no handler is involved.
    unsafe { libc::signal(signal, how) };
}

fn block(signal: libc::c_int) {
    // SAFETY: the set is filled before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

#[test]
fn signals_that_the_caller_ignores_or_blocks() {
    let surroundings: [fn(); 5] = [
        || handle(libc::SIGCHLD, libc::SIG_IGN),
        || handle(libc::SIGPIPE, libc::SIG_IGN),
        || block(libc::SIGCHLD),
        || [libc::SIGCHLD, libc::SIGTERM, libc::SIGPIPE].into_iter().for_each(block),
        || {},
    ];
    for prepare in surroundings {
        let (project, cache) = (project(), Cache::new());
        assert!(!alike(&project, &cache, "gcc -c bad.c", prepare).ok());
        assert!(!alike(&project, &cache, "./probe -c bad.c", prepare).ok());
        assert!(alike(&project, &cache, "./probe -Wall -c a.c", prepare).ok());
        // What is not compiled is left to the compiler.
        assert!(alike(&project, &cache, "./probe -Wall -E a.c", prepare).ok());
        assert!(alike(&project, &cache, "gcc -Wall -c a.c", prepare).ok());
        assert!(cache.stats().get("direct_cache_hit") >= 1);
    }
}

#[test]
fn a_subcommand_under_ignored_signals() {
    let cache = Cache::new();
    let mut command = cache.subcommand("doctor");
    // SAFETY: the call is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            handle(libc::SIGCHLD, libc::SIG_IGN);
            Ok(())
        })
    };
    let wanted = cache.rcache("doctor");
    assert_eq!(run(&mut command, LIMIT_CALL).status, wanted.status);
}

#[test]
fn closed_streams_stay_closed_for_the_compiler() {
    let (project, cache) = (project(), Cache::new());
    let shell = |line: &str, before: &str| {
        let _ = std::fs::remove_file(project.path("seen"));
        let call = Call::of(["/bin/sh", "-c", &format!("exec {before} {line}")]);
        let outcome = run(&mut cache.command_bare(&project, &call), LIMIT_CALL);
        (outcome, project.exists("seen").then(|| project.read("seen")))
    };
    let rcache = crate::support::rcache_binary();
    let rcache = format!("'{}'", rcache.display());
    for closed in ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&-", "<&- >&- 2>&-"] {
        for line in ["./probe -E a.c", "./probe -Wall -c a.c", "./probe -c bad.c"] {
            let line = format!("{line} {closed}");
            assert_eq!(shell(&line, &rcache), shell(&line, ""), "{line}");
            project.write("a.c", UNIT[0].1.to_owned() + "/* " + &line + " */\n");
        }
    }
    // Nothing is read from standard input: that alone is no reason to give up.
    for wanted in ["cache_miss", "direct_cache_hit"] {
        let before = cache.stats();
        shell("gcc -c a.c <&-", &rcache).0.success();
        assert_eq!(cache.endings_since(&before), wanted);
    }
}

#[test]
fn diagnostics_that_nobody_can_read() {
    for prepare in [|| {}, || handle(libc::SIGPIPE, libc::SIG_IGN)] {
        let (project, cache) = (project(), Cache::new());
        let call = Call::from("gcc -Wall -c a.c");
        let status = |mut command: Command| {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            // SAFETY: the call is async-signal-safe.
            unsafe {
                command.pre_exec(move || {
                    prepare();
                    Ok(())
                })
            };
            let status = command.stderr(writer).status().unwrap();
            (status.code(), status.signal())
        };
        let wanted = status(project.command_for(&call, &[]));
        assert_eq!(status(cache.command(&project, &call)), wanted);
        cache.compile(&project, &call).success();
        assert_eq!(status(cache.command(&project, &call)), wanted, "a hit");
    }
}

#[test]
fn diagnostics_on_a_pipe_that_does_not_block() {
    let (project, cache) = (project(), Cache::new());
    let many: String = (0..2000).map(|n| format!("#warning number {n} of many\n")).collect();
    project.write("many.c", many);
    let wanted = project.plain("gcc -c many.c").err();
    for turn in ["cold", "warm"] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut command = cache.command(&project, &Call::from("gcc -c many.c"));
        let mut child = command.stderr(writer).spawn().unwrap();
        drop(command);
        let mut got = String::new();
        reader.read_to_string(&mut got).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(got == wanted, "{turn}: {} of {} bytes", got.len(), wanted.len());
    }
}

/// Runs a command as the leader of a session of its own, with a terminal as standard error that is not
/// the session's: its status, and what it wrote there.
fn in_own_session(mut command: Command) -> (std::process::ExitStatus, String) {
    let (main, terminal) = pseudo_terminal(80, 24);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(terminal);
    // SAFETY: the call is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        })
    };
    let mut child = command.spawn().unwrap();
    drop(command);
    let reader = std::thread::spawn(move || {
        let mut written = Vec::new();
        // Linux reports the end of the last writer as an I/O error.
        let _ = std::fs::File::from(main).read_to_end(&mut written);
        String::from_utf8_lossy(&written).into_owned()
    });
    (child.wait().unwrap(), reader.join().unwrap())
}

#[test]
fn a_session_leader_takes_no_terminal() {
    let (project, cache) = (project(), Cache::new());
    for line in ["gcc -Wall -c a.c", "gcc -c bad.c"] {
        let call = Call::from(line).env("TERM", "xterm");
        let wanted = in_own_session(project.command_for(&call, &[]));
        for turn in ["cold", "warm"] {
            assert_eq!(in_own_session(cache.command(&project, &call)), wanted, "{turn}: {line}");
        }
    }
}

#[test]
fn who_is_left_behind_with_the_terminal_is_not_waited_for() {
    let (project, cache) = (project(), Cache::new());
    project.script(
        "cc",
        "#!/bin/sh\ncase \"$*\" in *-###*) exec gcc \"$@\";; esac\n\
         (until test -e release; do sleep 0.02; done; touch released) >/dev/null </dev/null &\n\
         exec gcc \"$@\"\n",
    );
    let (main, terminal) = pseudo_terminal(80, 24);
    let mut command = cache.command(&project, &Call::from("./cc -Wall -c a.c"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(terminal);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut ended = None;
    wait_until("the launcher ends", LIMIT_CALL, || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    project.write("release", "");
    assert!(ended.unwrap().success());
    wait_until("the other one ends", Duration::from_secs(60), || project.exists("released"));
    let mut written = Vec::new();
    let _ = std::fs::File::from(main).read_to_end(&mut written);
    let written = String::from_utf8_lossy(&written).into_owned();
    assert!(written.contains("unused"), "{written}");
}
