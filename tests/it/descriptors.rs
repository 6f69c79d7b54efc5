//! Limits of open files: a low one slows calls down and turns none away, and compilers keep theirs.

use crate::support::{Cache, Call, LIMIT_CALL, Project, run, start};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Calls that are made at the same time: more than have room, and fewer than are accepted. (Who is not
/// accepted hears nothing, and on a slow machine gives up.)
const CALLS: usize = 28;

/// With a limit of open files, for itself and for the daemon that it starts.
fn limit(command: &mut Command, soft: u64, hard: Option<u64>) -> &mut Command {
    // SAFETY: the calls are async-signal-safe, and write to plain data.
    unsafe {
        command.pre_exec(move || {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
            limit.rlim_cur = soft;
            limit.rlim_max = hard.unwrap_or(limit.rlim_max);
            match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        })
    }
}

#[test]
fn many_calls_with_few_descriptors() {
    let (project, cache) = (Project::new(&[]), Cache::new());
    // Slow enough for all of them to be there at the same time.
    project.script(
        "cc",
        "#!/bin/sh\ncase \"$*\" in *-###*) ;; *) sleep 0.2;; esac\nexec gcc \"$@\"\n",
    );
    for unit in 0..CALLS {
        project.write(&format!("u{unit}.c"), format!("int in_u{unit};\n"));
    }
    // The daemon, and with it the compiler's probes.
    let call = |unit: usize| Call::from(format!("./cc -c u{unit}.c"));
    run(limit(&mut cache.command(&project, &call(0)), 128, Some(128)), LIMIT_CALL).success();
    for wanted in ["cache_miss", "direct_cache_hit"] {
        let before = cache.stats();
        let first = usize::from(wanted == "cache_miss");
        let running: Vec<_> = (first..CALLS)
            .map(|unit| start(limit(&mut cache.command(&project, &call(unit)), 128, Some(128))))
            .collect();
        running.into_iter().for_each(|running| drop(running.finish(LIMIT_CALL).success()));
        assert_eq!(cache.endings_since(&before), format!("{wanted}*{}", CALLS - first));
    }
}

#[test]
fn the_daemon_takes_what_it_may_and_compilers_keep_their_limit() {
    let (project, cache) = (Project::new(&[("a.c", "int a;\n")]), Cache::verifying());
    project.script("cc", "#!/bin/sh\nulimit -Sn >> limits\nexec gcc \"$@\"\n");
    let call = Call::from("./cc -c a.c");
    for _ in 0..2 {
        run(limit(&mut cache.command(&project, &call), 200, None), LIMIT_CALL).success();
    }
    cache.settle();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", cache.daemon())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[0] == numbers[1] || numbers[0] >= 4096, "{line}");
    let seen = String::from_utf8(project.read("limits")).unwrap();
    assert!(seen.lines().all(|line| line == "200"), "{seen}");
    // Probes, a compile, and at least one that verifies the hit.
    assert!(seen.lines().count() > 2, "{seen}");
    assert_eq!(cache.stats().get("verify_mismatch"), 0);
}
