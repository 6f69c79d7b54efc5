//! What a build has around it: the daemon keeps nothing of the first one, and builds elsewhere have their own.

use crate::support::{
    Cache, Call, LIMIT_CALL, Outcome, Project, check, have, is_alive, is_root, kill, rcache_binary,
    run, skip, terminate, wait_until,
};
use std::path::Path;
use std::time::Duration;

/// Long enough for anything a daemon does by itself.
const PATIENCE: Duration = Duration::from_secs(60);

const UNITS: &[(&str, &str)] =
    &[("a.c", "int a(void) { return 1; }\n"), ("b.c", "int b(void) { return 1; }\n")];

/// `PREFIX rcache LINE`, with the cache's variables.
fn under(project: &Project, cache: &Cache, prefix: &str, line: &str) -> Outcome {
    let rcache = rcache_binary();
    let words = format!("{prefix} {} {line}", rcache.display());
    let words: Vec<&str> = words.split_whitespace().collect();
    run(&mut cache.command_bare(project, &Call::of(words)), LIMIT_CALL)
}

/// As [`under`], a compile; how it ended.
#[track_caller]
fn ending_under(project: &Project, cache: &Cache, prefix: &str, line: &str) -> String {
    let before = cache.stats();
    under(project, cache, prefix, line).success();
    cache.endings_since(&before)
}

/// Whether a command can be run with this prefix.
fn can(what: &str, prefix: &str) -> bool {
    let mut words = prefix.split_whitespace();
    let program = words.next().unwrap();
    let can = have(program)
        && std::process::Command::new(program)
            .args(words)
            .arg("true")
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
    if !can {
        skip(what, &format!("{prefix} is not possible here"));
    }
    can
}

#[test]
fn another_mount_namespace_has_its_own_daemon() {
    let unshare = "unshare -m --propagation private";
    if !can("another_mount_namespace_has_its_own_daemon", unshare) {
        return;
    }
    let (project, cache) = (Project::new(UNITS), Cache::new());
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
    assert_eq!(ending_under(&project, &cache, unshare, "gcc -c a.c"), "direct_cache_hit");
    assert_eq!(ending_under(&project, &cache, unshare, "gcc -c b.c"), "cache_miss");
    assert_eq!(check(&project, &cache, "gcc -c b.c"), "direct_cache_hit");
    assert!(cache.daemons().len() > 1);
    assert_eq!(cache.stats().get("passed_through"), 0);
    let doctor = under(&project, &cache, unshare, "doctor").out();
    assert!(doctor.contains("of this build for other caches, containers or rights"), "{doctor}");
    cache.rcache("daemon stop --all").success();
    assert!(cache.daemons().is_empty());
}

#[test]
fn one_path_in_two_mount_namespaces() {
    if !can("one_path_in_two_mount_namespaces", "unshare -m") {
        return;
    }
    let (project, cache) = (Project::new(&[]), Cache::new());
    for tree in ["1", "2"] {
        project.write(&format!("{tree}/v.h"), format!("#define V {tree}\n"));
        project.write(&format!("{tree}/a.c"), "#include \"v.h\"\nint v = V;\n");
        for file in ["v.h", "a.c"] {
            project.touch(&format!("{tree}/{file}"), 1_000_000_000);
        }
    }
    std::fs::create_dir(project.path("src")).unwrap();
    let compiled = |tree: &str, command: &str| {
        let root = project.root().display();
        let script = format!("mount --bind {root}/{tree} {root}/src && cd {root}/src && {command}");
        let call = Call::of(["unshare", "-m", "sh", "-c", &script]);
        run(&mut cache.command_bare(&project, &call), LIMIT_CALL).success();
        project.read(&format!("{tree}/a.o"))
    };
    let through = format!("{} gcc -g -c a.c", rcache_binary().display());
    let wanted = ["1", "2"].map(|tree| compiled(tree, "gcc -g -c a.c"));
    for tree in ["1", "1", "2", "1", "2"] {
        let place = usize::from(tree == "2");
        assert!(compiled(tree, &through) == wanted[place], "tree {tree}");
    }
    assert!(cache.stats().get("direct_cache_hit") >= 3);
    cache.rcache("daemon stop --all").success();
}

#[test]
fn another_primary_group_has_its_own_daemon() {
    let setpriv = "setpriv --regid=100 --keep-groups";
    if !can("another_primary_group_has_its_own_daemon", setpriv) {
        return;
    }
    let (project, cache) = (Project::new(UNITS), Cache::new());
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
    for _ in 0..2 {
        assert_eq!(ending_under(&project, &cache, setpriv, "gcc -c a.c"), "direct_cache_hit");
    }
    let group = std::os::unix::fs::MetadataExt::gid(&project.path("a.o").metadata().unwrap());
    assert_eq!(group, 100, "the object is the caller's");
    assert_eq!(cache.daemons().len(), 2);
    cache.rcache("daemon stop --all").success();
}

#[test]
fn another_process_namespace() {
    let unshare = "unshare --pid --fork";
    if !can("another_process_namespace", unshare) {
        return;
    }
    let (project, cache) = (Project::new(UNITS), Cache::new());
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
    for _ in 0..2 {
        assert_eq!(ending_under(&project, &cache, unshare, "gcc -c a.c"), "direct_cache_hit");
    }
    // The daemon ends with the namespace, and so at the same moment as its launcher.
    assert_eq!(ending_under(&project, &cache, unshare, "gcc -c b.c"), "cache_miss");
    assert_eq!(ending_under(&project, &cache, unshare, "gcc -c b.c"), "direct_cache_hit");
    for line in ["stats", "daemon status", "config", "doctor"] {
        let outcome = under(&project, &cache, unshare, line);
        let said = outcome.out() + &outcome.err();
        assert!(!said.contains("os error 0"), "{line}: {said}");
        assert!(line == "daemon status" || outcome.ok(), "{line}: {said}");
    }
}

#[test]
fn another_network_namespace_has_its_own_daemon() {
    if !can("another_network_namespace_has_its_own_daemon", "unshare -n") {
        return;
    }
    let (project, cache) = (Project::new(UNITS), Cache::new());
    under(&project, &cache, "unshare -n", "gcc -c a.c").success();
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
    assert_eq!(cache.daemons().len(), 2, "a daemon without a network cannot ask hosts");
    cache.rcache("daemon stop --all").success();
}

/// A field of /proc/PID/status.
fn status_of(process: u32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_default().trim().to_owned()
}

/// Of /proc/PID/stat, counted from the state, which is the third (proc(5)).
fn number_of(process: u32, place: usize) -> i64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split_whitespace().nth(place - 3).unwrap().parse().unwrap()
}

#[test]
fn nothing_of_the_first_caller_stays() {
    let (project, cache) = (Project::new(UNITS), Cache::new());
    let script = "trap '' INT HUP TERM CHLD USR1; ulimit -S -f 1000; ulimit -S -t 1000; umask 0777; \
                  export SECRET=token; exec nice -n 5 taskset -c 0 \"$@\"";
    let rcache = rcache_binary();
    let words = ["sh", "-c", script, "sh", rcache.to_str().unwrap(), "daemon", "start"];
    run(&mut cache.command_bare(&project, &Call::of(words)), LIMIT_CALL).success();
    let daemon = cache.daemon();
    assert_eq!(status_of(daemon, "Cpus_allowed"), status_of(1, "Cpus_allowed"));
    // A closed pipe and a file that is too large are errors that it handles.
    let ignored = u64::from_str_radix(&status_of(daemon, "SigIgn"), 16).unwrap();
    let bit = |signal: libc::c_int| 1_u64 << (signal - 1);
    for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGTERM, libc::SIGCHLD, libc::SIGUSR1] {
        assert_eq!(ignored & bit(signal), 0, "{signal}");
    }
    assert_ne!(number_of(daemon, 6), number_of(std::process::id(), 6), "its session");
    assert_ne!(number_of(daemon, 6), i64::from(daemon), "it leads none, and gets no terminal");
    assert_eq!(number_of(daemon, 7), 0, "its terminal");
    assert_eq!(number_of(daemon, 19), if is_root() { 0 } else { 5 }, "its niceness");
    let limits = std::fs::read_to_string(format!("/proc/{daemon}/limits")).unwrap();
    for limit in ["Max file size", "Max cpu time"] {
        let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
        let mut values = line.trim_start_matches(limit).split_whitespace();
        assert_eq!(values.next(), values.next(), "{line}");
    }
    let link = |name: &str| std::fs::read_link(format!("/proc/{daemon}/{name}")).unwrap();
    assert_eq!(link("cwd"), Path::new("/"));
    let environment = std::fs::read(format!("/proc/{daemon}/environ")).unwrap();
    assert!(!environment.windows(6).any(|window| window == b"SECRET"));
    // It ends in order, though its first caller ignored that signal.
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
    terminate(daemon);
    wait_until("the daemon ends", PATIENCE, || !is_alive(daemon));
    assert_eq!(cache.stats().get("cache_miss"), 1);
}

#[test]
fn a_less_nice_build_retires_a_nicer_daemon() {
    let project = Project::new(UNITS);
    let cache = Cache::new().unprivileged(&project);
    let nice = |process: u32| number_of(process, 19);
    under(&project, &cache, "nice -n 19", "gcc -c a.c").success();
    let first = cache.daemon();
    assert_eq!(nice(first), 19, "who is nobody may not become less nice");
    under(&project, &cache, "nice -n 19", "gcc -c a.c").success();
    assert_eq!(cache.daemon(), first, "it serves its like");
    cache.compile(&project, "gcc -c a.c").success();
    wait_until("the nicer one ends", PATIENCE, || !is_alive(first));
    let second = cache.daemon();
    assert_eq!(nice(second), 0);
    under(&project, &cache, "nice -n 19", "gcc -c a.c").success();
    assert_eq!(cache.daemon(), second);
    let stats = cache.stats();
    assert_eq!(stats.get("direct_cache_hit"), 3, "{stats:?}");
}

#[test]
fn hard_limits_make_a_daemon_of_their_own() {
    let (project, cache) = (Project::new(UNITS), Cache::new());
    let numbers: Vec<String> = (0..300_000_u32).map(|n| (n * 7919 % 65521).to_string()).collect();
    project.write("big.c", format!("const unsigned a[] = {{ {} }};\n", numbers.join(",")));
    let script = "ulimit -f 1000; exec \"$@\"";
    let rcache = rcache_binary();
    let words = ["sh", "-c", script, "sh", rcache.to_str().unwrap(), "gcc", "-c", "a.c"];
    run(&mut cache.command_bare(&project, &Call::of(words)), LIMIT_CALL).success();
    assert_eq!(check(&project, &cache, "gcc -c big.c"), "cache_miss");
    assert_eq!(check(&project, &cache, "gcc -c big.c"), "direct_cache_hit");
    assert_eq!(cache.daemons().len(), 2);
    cache.rcache("daemon stop --all").success();
}

#[test]
fn a_removed_home_stays_removed_and_its_daemon_ends() {
    let (project, cache) = (Project::new(UNITS), Cache::new());
    let home = cache.root().join("home/of-this-build");
    let mut daemons = Vec::new();
    for _ in 0..3 {
        std::fs::create_dir(&home).unwrap();
        let call = Call::from("gcc -c a.c").env("RCACHE_DIR", home.join("cache"));
        run(&mut cache.command(&project, &call), LIMIT_CALL).success();
        daemons.extend(cache.daemons());
        // A result that is being stored may put a file into a folder that is just being emptied.
        wait_until("the folder goes", PATIENCE, || {
            let _ = std::fs::remove_dir_all(&home);
            !home.exists()
        });
    }
    wait_until("the daemons end", PATIENCE, || cache.daemons().is_empty());
    assert!(!home.exists());
    assert!(daemons.len() >= 3);
}

#[test]
fn nothing_is_left_in_the_runtime_folder() {
    let (project, cache) = (Project::new(UNITS), Cache::new());
    let folder = cache.root().join("run/rcache");
    let left = || -> Vec<_> {
        std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.file_name()).collect()
    };
    let with_home =
        |number: usize| Call::from("gcc -c a.c").env("HOME", cache.root().join(number.to_string()));
    for number in 0..3 {
        cache.compile(&project, with_home(number)).success();
    }
    assert_eq!(cache.daemons().len(), 1, "one cache folder, under three names");
    cache.rcache("daemon stop --all").success();
    assert_eq!(left(), [""; 0]);
    // What a killed one left goes when the next one has started.
    cache.compile(&project, "gcc -c a.c").success();
    kill(cache.daemon());
    let call = Call::from("gcc -c a.c").env("RCACHE_DIR", cache.root().join("other"));
    cache.compile(&project, call).success();
    let own = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".sock");
    wait_until("the rest goes", PATIENCE, || left().iter().filter(|name| own(name)).count() == 1);
    terminate(cache.daemon());
    wait_until("the daemon ends", PATIENCE, || cache.daemons().is_empty());
    wait_until("nothing is left", PATIENCE, || left().is_empty());
}
