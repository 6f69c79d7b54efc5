//! The daemon: started once by many, ended in each of its ways, harmless to the build around it.

use crate::support::{
    Cache, Call, LIMIT_CALL, MASQUERADE_PATH, Project, SYSTEM_PATH, check, children_named,
    is_alive, kill, process_group_interrupt, rcache_binary, run, start, wait_until, write_program,
};
use std::time::Duration;

/// Long enough for anything a daemon does by itself.
const PATIENCE: Duration = Duration::from_secs(30);

fn unit(number: usize) -> String {
    format!("int unit_{number}(int x) {{ return x * {number}; }}\n")
}

#[test]
fn sixty_four_launchers_and_no_daemon() {
    let project = Project::new(&[]);
    let cache = Cache::new();
    for number in 0..64 {
        project.write(&format!("u{number}.c"), unit(number));
    }
    let all: Vec<_> = (0..64)
        .map(|number| {
            let call = Call::from(format!("gcc -c u{number}.c"));
            start(&mut cache.command(&project, &call))
        })
        .collect();
    for one in all {
        one.finish(LIMIT_CALL).success();
    }
    let daemon = cache.daemon();
    let status = cache.rcache("daemon status");
    assert!(status.ok() && status.out().contains(&daemon.to_string()), "{daemon}: {status:?}");
    let stats = cache.stats();
    assert_eq!((stats.get("cache_miss"), stats.get("passed_through")), (64, 0), "{stats:?}");
    for number in 0..64 {
        let through = project.read(&format!("u{number}.o"));
        project.plain(format!("gcc -c u{number}.c").as_str()).success();
        assert!(project.read(&format!("u{number}.o")) == through, "unit {number}");
    }
}

#[test]
fn sixty_four_times_the_same_unit() {
    let (project, cache) = (Project::new(&[("a.c", &unit(7))]), Cache::new());
    let call = |number: usize| Call::from(format!("gcc -c a.c -o {number}.o"));
    let all: Vec<_> =
        (0..64).map(|number| start(&mut cache.command(&project, &call(number)))).collect();
    for one in all {
        one.finish(LIMIT_CALL).success();
    }
    assert_eq!(cache.daemons().len(), 1);
    project.plain("gcc -c a.c").success();
    for number in 0..64 {
        assert!(project.read(&format!("{number}.o")) == project.read("a.o"), "object {number}");
    }
}

#[test]
fn no_compile_no_daemon() {
    let cache = Cache::new();
    cache.rcache("--version").success();
    cache.rcache("config").success();
    let status = cache.rcache("daemon status");
    assert!(cache.daemons().is_empty(), "looking does not start a daemon: {status:?}");
}

#[test]
fn daemon_by_command() {
    let cache = Cache::new();
    cache.rcache("daemon start").success();
    let first = cache.daemon();
    cache.rcache("daemon start").success();
    assert_eq!(cache.daemon(), first, "a second start finds the first daemon");
    assert!(cache.rcache("daemon status").ok());
    cache.stop();
    assert!(!is_alive(first));
    assert!(cache.sockets().is_empty(), "the socket goes with the daemon: {:?}", cache.sockets());
    cache.rcache("daemon stop");
    assert!(cache.daemons().is_empty(), "stopping nothing starts nothing");
}

#[test]
fn daemon_in_the_foreground() {
    let (project, cache) = (Project::new(&[("a.c", &unit(1))]), Cache::new());
    let daemon = start(&mut cache.subcommand("daemon run"));
    wait_until("the daemon listens", PATIENCE, || !cache.sockets().is_empty());
    check(&project, &cache, "gcc -c a.c");
    assert_eq!(cache.daemon(), daemon.pid());
    cache.stop();
    assert!(daemon.finish(PATIENCE).ok());
}

#[test]
fn idle_daemon_ends_itself() {
    let (project, cache) = (Project::new(&[("a.c", &unit(1))]), Cache::new());
    let cache = cache.with("RCACHE_IDLE_TIMEOUT", "1s");
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
    wait_until("the idle daemon ends", PATIENCE, || cache.daemons().is_empty());
    assert_eq!(cache.stats().get("cache_miss"), 1, "counters outlive the daemon");
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
}

#[test]
fn daemon_on_sigterm() {
    let (project, cache) = (Project::new(&[("a.c", &unit(1))]), Cache::new());
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
    let pid = rustix::process::Pid::from_raw(cache.daemon() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    wait_until("the daemon ends", PATIENCE, || cache.daemons().is_empty());
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
}

#[test]
fn killed_between_two_compiles() {
    let (project, cache) = (Project::new(&[("a.c", &unit(1)), ("b.c", &unit(2))]), Cache::new());
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
    cache.stop();
    check(&project, &cache, "gcc -c b.c");
    kill(cache.daemon());
    wait_until("the daemon is gone", PATIENCE, || cache.daemons().is_empty());
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
    check(&project, &cache, "gcc -c b.c");
    assert_eq!(check(&project, &cache, "gcc -c b.c"), "direct_cache_hit");
}

#[test]
fn interrupt_stops_the_compilers_and_leaves_the_daemon() {
    let (project, cache) = (Project::new(&[("a.c", &unit(1))]), Cache::new());
    check(&project, &cache, "gcc -c a.c");
    let daemon = cache.daemon();
    project.script("cc", "#!/bin/sh\n: > started\nexec sleep 60\n");
    project.write("Makefile", "all: a.o b.o\n%.o: a.c\n\t$(RCACHE) ./cc -c $< -o $@\n");
    let make = Call::of(["make", "-j2", &format!("RCACHE={}", rcache_binary().display())]);
    let build = start(&mut cache.command_bare(&project, &make));
    wait_until("a compiler runs", PATIENCE, || project.exists("started"));
    process_group_interrupt(build.pid());
    let outcome = build.finish(PATIENCE);
    assert!(!outcome.ok(), "an interrupted build fails: {outcome:?}");
    let quiet = || children_named("sleep", project.root()).is_empty();
    wait_until("the compilers end with the build", PATIENCE, quiet);
    assert!(!project.exists("b.o"));
    assert_eq!(cache.daemon(), daemon, "Ctrl-C is the build's, not the daemon's");
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
}

#[test]
fn launcher_dies_by_the_compilers_signal() {
    let (project, cache) = (Project::new(&[("a.c", &unit(1))]), Cache::new());
    project.script("cc", "#!/bin/sh\nkill -9 $$\n");
    for _ in 0..2 {
        let outcome = cache.compile(&project, "./cc -c a.c");
        assert!([-9, 137].contains(&outcome.status), "as the shell sees it: {outcome:?}");
    }
    project.script("cc", "#!/bin/sh\nexit 42\n");
    assert_eq!(cache.compile(&project, "./cc -c a.c").status, 42);
}

#[test]
fn settings_are_those_of_each_call() {
    let (project, cache) = (Project::new(&[("a.c", &unit(1))]), Cache::new());
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
    let daemon = cache.daemon();
    let with = |name: &str, value: &str| {
        check(&project, &cache, Call::from("gcc -c a.c").env(name, value))
    };
    assert_eq!(with("RCACHE_DISABLE", "true"), "disabled");
    assert_eq!(with("RCACHE_NAMESPACE", "other"), "cache_miss");
    assert_eq!(with("RCACHE_NAMESPACE", "other"), "direct_cache_hit");
    assert!(with("RCACHE_RECACHE", "true").contains("recache"));
    assert_eq!(with("RCACHE_NAMESPACE", ""), "direct_cache_hit");
    let extra = project.path("a.c").display().to_string();
    assert_eq!(with("RCACHE_EXTRA_FILES_TO_HASH", &extra), "cache_miss");
    assert_eq!(with("RCACHE_READ_ONLY", "true"), "direct_cache_hit");
    let unseen = Call::from("gcc -c a.c -DNEW").env("RCACHE_READ_ONLY", "true");
    assert_eq!(check(&project, &cache, &unseen), "cache_miss");
    assert_eq!(check(&project, &cache, "gcc -c a.c -DNEW"), "cache_miss");
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
    assert_eq!(cache.daemon(), daemon);
}

#[test]
fn settings_come_from_each_calls_own_file() {
    let (project, cache) = (Project::new(&[("a.c", &unit(1))]), Cache::new());
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
    std::fs::create_dir_all(cache.root().join("config/rcache")).unwrap();
    let file = cache.root().join("config/rcache/rcache.toml");
    std::fs::write(&file, "namespace = \"file\"\n").unwrap();
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss", "the file counts at once");
    let own = project.beside("own.toml");
    std::fs::write(&own, "disable = true\n").unwrap();
    let call = Call::from("gcc -c a.c").env("RCACHE_CONFIG", &own);
    assert_eq!(check(&project, &cache, call), "disabled");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
}

#[test]
fn two_cache_folders_have_two_daemons() {
    let (project, cache) = (Project::new(&[("a.c", &unit(1))]), Cache::new());
    check(&project, &cache, "gcc -c a.c");
    let second = cache.root().join("second");
    let call = Call::from("gcc -c a.c").env("RCACHE_DIR", &second);
    cache.compile(&project, call).success();
    assert!(second.exists());
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
    for pid in cache.daemons() {
        kill(pid);
    }
}

#[test]
fn environment_reaches_the_compiler_untouched() {
    // Two variables are added: they keep distcc's remarks and an inner rcache out of the compile.
    let (project, cache) = (Project::new(&[("a.c", &unit(1))]), Cache::new());
    project.script("cc", "#!/bin/sh\nenv | grep -v -e ^_= -e ^SHLVL= -e ^_RCACHE_INSIDE= -e ^UNCACHED_ERR_FD= | sort > env.txt\nulimit -a >> env.txt\nnice >> env.txt\nexec gcc \"$@\"\n");
    let line = "ulimit -n 321; export ODD='a\nb'; exec nice -n 5 \"$@\"";
    let words = |binary: &[&str]| {
        let mut words = vec!["/bin/sh", "-c", line, "sh"];
        words.extend(binary);
        words.extend(["./cc", "-c", "a.c"]);
        Call::of(words)
    };
    run(&mut cache.command_bare(&project, &words(&[])), LIMIT_CALL).success();
    let wanted = project.read("env.txt");
    project.remove("env.txt");
    let binary = rcache_binary();
    let call = words(&[binary.to_str().unwrap()]);
    run(&mut cache.command_bare(&project, &call), LIMIT_CALL).success();
    let got = project.read("env.txt");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&got), text(&wanted));
}

#[test]
fn ninja_does_not_wait_for_the_daemon() {
    let (project, cache) = (Project::new(&[("a.c", &unit(1))]), Cache::new());
    let link = cache.link("gcc");
    project.write(
        "build.ninja",
        format!("rule cc\n  command = {} -c $in -o $out\nbuild a.o: cc a.c\n", link.display()),
    );
    let path = format!("{MASQUERADE_PATH}:{SYSTEM_PATH}");
    let ninja = Call::of(["ninja"]).env("PATH", path);
    run(&mut cache.command_bare(&project, &ninja), PATIENCE).success();
    assert_eq!(cache.daemons().len(), 1, "the daemon outlives the build");
}

#[test]
fn two_builds_have_two_daemons_and_one_cache() {
    let (project, cache) =
        (Project::new(&[("a.c", "int a;\n"), ("b.c", "int b;\n")]), Cache::new());
    cache.compile(&project, "gcc -c a.c").success();
    let daemon = cache.daemon();
    // Another build of the same version: the same program, under another name for itself.
    let version = cache.stats().0["version"].as_str().unwrap().to_owned();
    let (number, build) = version.split_once('+').unwrap();
    let mut program = std::fs::read(rcache_binary()).unwrap();
    // Where it is copied, parts of it may lie in the code.
    let at = memmem(&program, &version.as_bytes()[..8]);
    assert!(!at.is_empty());
    let changed = if build.starts_with('0') { b'1' } else { b'0' };
    at.iter().for_each(|at| program[at + number.len() + 1] = changed);
    let path = project.beside("rcache");
    write_program(&path, program);
    let other = |words: &str| {
        let call = Call::from(format!("{} {words}", path.display()));
        run(&mut cache.command_bare(&project, &call), LIMIT_CALL).success()
    };
    // The first is a hit for the other build, and each has a daemon that stays.
    for _ in 0..3 {
        other("gcc -c a.c");
        cache.compile(&project, "gcc -c b.c").success();
        assert_eq!(cache.daemon(), daemon);
    }
    let status = other("daemon status").out();
    assert!(!status.contains(&format!("pid {daemon},")) && !status.contains(build), "{status}");
    // Its counts are on the way for a moment.
    wait_until("both have counted", PATIENCE, || cache.stats().get("direct_cache_hit") == 5);
    let stats = cache.stats();
    assert_eq!((stats.get("cache_miss"), stats.get("passed_through")), (2, 0));
    let doctor = cache.rcache("doctor").out();
    assert!(doctor.contains("other daemons") && doctor.contains("1 more"), "{doctor}");
    // Each speaks of its own.
    other("daemon stop");
    assert_eq!(cache.daemon(), daemon);
    cache.compile(&project, "gcc -c a.c").success();
    assert_eq!(cache.stats().get("direct_cache_hit"), 6);
}

fn memmem(all: &[u8], wanted: &[u8]) -> Vec<usize> {
    let starts = all.windows(wanted.len()).enumerate();
    starts.filter(|(_, window)| *window == wanted).map(|(at, _)| at).collect()
}
