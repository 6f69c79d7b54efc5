//! Whatever breaks on rcache's side, the compile is the compiler's own: right, complete, in time.

use crate::support::{
    Cache, Call, LIMIT_CALL, Outcome, Project, is_root, kill, run, set_modified, skip, start,
    wait_until,
};
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a compile may take when the other side of the socket is silent.
const PATIENCE: Duration = Duration::from_secs(60);

const UNIT: &[(&str, &str)] = &[
    ("a.c", "#include \"x.h\"\nint f(void) { int unused; return X; }\n"),
    ("x.h", "#define X 3\n"),
    ("bad.c", "int f(void) { return undeclared; }\n"),
];

/// Compiles right and wrong code; streams, status and files must be the compiler's own.
#[track_caller]
fn compiles(project: &Project, cache: &Cache) {
    for line in ["gcc -Wall -MD -c a.c", "gcc -Wall -c bad.c", "gcc -Wall -MD -c a.c"] {
        let wanted = project.plain(line);
        let files = ["a.o", "a.d"].map(|name| project.read(name));
        let removed = ["a.o", "a.d"].map(|name| project.path(name));
        if line.contains("a.c") {
            removed.iter().for_each(|path| std::fs::remove_file(path).unwrap());
        }
        let got = within(project, cache, line);
        assert_eq!(got, wanted, "{line}");
        assert!(["a.o", "a.d"].map(|name| project.read(name)) == files, "{line}");
    }
}

#[track_caller]
fn within(project: &Project, cache: &Cache, line: &str) -> Outcome {
    let begin = Instant::now();
    let outcome = run(&mut cache.command(project, &Call::from(line)), LIMIT_CALL);
    assert!(begin.elapsed() < PATIENCE, "{line} took {:?}", begin.elapsed());
    outcome
}

/// Where this cache's daemon listens; found out by starting one.
fn socket_of(cache: &Cache) -> std::path::PathBuf {
    cache.rcache("daemon start").success();
    let sockets = cache.sockets();
    cache.stop();
    assert_eq!(sockets.len(), 1, "one socket: {sockets:?}");
    sockets.into_iter().next().unwrap()
}

#[test]
fn stale_socket_file() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    let socket = socket_of(&cache);
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    compiles(&project, &cache);
    assert_eq!(cache.daemons().len(), 1, "a daemon takes the stale socket's place");
}

#[test]
fn socket_left_by_a_killed_daemon() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    compiles(&project, &cache);
    kill(cache.daemon());
    wait_until("the daemon is gone", PATIENCE, || cache.daemons().is_empty());
    compiles(&project, &cache);
    assert_eq!(cache.daemons().len(), 1);
}

#[test]
fn socket_that_is_an_ordinary_file_or_folder() {
    for folder in [false, true] {
        let (project, cache) = (Project::new(UNIT), Cache::new());
        let socket = socket_of(&cache);
        let made = if folder {
            std::fs::create_dir_all(socket.join("inside"))
        } else {
            std::fs::write(&socket, "no socket")
        };
        made.unwrap();
        compiles(&project, &cache);
    }
}

/// Something else listens at the daemon's address and does `serve` with each connection.
fn impostor(cache: &Cache, serve: fn(std::os::unix::net::UnixStream)) {
    let listener = UnixListener::bind(socket_of(cache)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
}

#[test]
fn socket_that_says_nothing() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    impostor(&cache, |mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    within(&project, &cache, "gcc -c a.c").success();
    project.read("a.o");
}

#[test]
fn socket_that_is_never_accepted() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    let _listener = UnixListener::bind(socket_of(&cache)).unwrap();
    within(&project, &cache, "gcc -c a.c").success();
    project.read("a.o");
}

#[test]
fn socket_that_hangs_up() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    impostor(&cache, drop);
    compiles(&project, &cache);
}

#[test]
fn daemon_that_answers_garbage() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    impostor(&cache, |mut stream| {
        let mut start = [0; 64];
        let _ = stream.read(&mut start);
        let _ = stream.write_all(&[0xff; 4096]);
    });
    compiles(&project, &cache);
}

#[test]
fn daemon_that_answers_in_another_protocol() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    impostor(&cache, |mut stream| {
        let mut start = [0; 64];
        let _ = stream.read(&mut start);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    compiles(&project, &cache);
}

#[test]
fn unwritable_runtime_folder() {
    let project = Project::new(UNIT);
    let cache = Cache::new().unprivileged(&project);
    let run = cache.root().join("run");
    std::fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
    compiles(&project, &cache);
}

#[test]
fn runtime_folder_that_is_missing_or_unset() {
    let project = Project::new(UNIT);
    let cache = Cache::new().with("XDG_RUNTIME_DIR", "/no/such/folder");
    compiles(&project, &cache);
    let cache = Cache::new().with("XDG_RUNTIME_DIR", "");
    compiles(&project, &cache);
    let cache = Cache::new().with("XDG_RUNTIME_DIR", "relative/folder");
    compiles(&project, &cache);
}

#[test]
fn unwritable_cache_folder() {
    let project = Project::new(UNIT);
    let cache = Cache::new().unprivileged(&project);
    std::fs::create_dir(cache.folder()).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o500);
    std::fs::set_permissions(cache.folder(), mode).unwrap();
    compiles(&project, &cache);
}

#[test]
fn cache_folder_that_cannot_be() {
    let project = Project::new(UNIT);
    for folder in ["/dev/null/cache", "/proc/no/cache", ""] {
        compiles(&project, &Cache::new().with("RCACHE_DIR", folder));
    }
    let cache = Cache::new();
    std::fs::write(cache.folder(), "a file").unwrap();
    compiles(&project, &cache);
}

#[test]
fn no_home_and_no_folders_at_all() {
    let project = Project::new(UNIT);
    let wanted = project.plain("gcc -Wall -c a.c");
    let mut command = project.command(crate::support::rcache_binary());
    command.args(["gcc", "-Wall", "-c", "a.c"]).env_remove("HOME");
    let scratch = project.beside("cache");
    command.env("RCACHE_DIR", &scratch).env("RCACHE_IDLE_TIMEOUT", "1s");
    assert_eq!(run(&mut command, PATIENCE), wanted);
}

#[test]
fn socket_path_too_long() {
    let project = Project::new(UNIT);
    let cache = Cache::new();
    let mut long = cache.root().to_owned();
    for _ in 0..12 {
        long.push("a-folder-with-a-long-name");
    }
    std::fs::create_dir_all(&long).unwrap();
    let runtime = Cache::new().with("XDG_RUNTIME_DIR", &long);
    compiles(&project, &runtime);
    let folder = Cache::new().with("RCACHE_DIR", long.join("cache"));
    compiles(&project, &folder);
    let both = Cache::new().with("XDG_RUNTIME_DIR", &long).with("RCACHE_DIR", long.join("both"));
    compiles(&project, &both);
}

/// A small tmpfs that goes away with the value.
struct SmallDisk<'a>(&'a Path);

impl SmallDisk<'_> {
    fn mount<'a>(at: &'a Path, size: &str) -> Option<SmallDisk<'a>> {
        std::fs::create_dir_all(at).unwrap();
        let words = ["-t", "tmpfs", "-o", &format!("size={size}"), "rcache-test"];
        let status = std::process::Command::new("mount").args(words).arg(at).status();
        status.is_ok_and(|status| status.success()).then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn full_disk() {
    if !is_root() {
        return skip("full_disk", "a tmpfs can be mounted by root only");
    }
    let (project, cache) = (Project::new(UNIT), Cache::new());
    let folder = cache.folder();
    let Some(disk) = SmallDisk::mount(&folder, "1m") else {
        return skip("full_disk", "a tmpfs cannot be mounted here");
    };
    compiles(&project, &cache);
    let noise = "int a[] = {".to_owned() + &noise(20_000) + "};\n";
    for number in 0..12 {
        project.write("big.c", format!("int n = {number};\n{noise}"));
        project.plain("gcc -c big.c").success();
        let wanted = project.read("big.o");
        project.remove("big.o");
        for _ in 0..2 {
            within(&project, &cache, "gcc -c big.c").success();
            assert!(project.read("big.o") == wanted, "object {number} on a full disk");
        }
    }
    compiles(&project, &cache);
    std::fs::write(folder.join("fill"), vec![7; 2 << 20]).ok();
    compiles(&project, &cache);
    cache.rcache("daemon stop");
    compiles(&project, &cache);
    cache.rcache("daemon stop");
    drop(disk);
}

/// Numbers that do not compress well.
fn noise(count: u64) -> String {
    let numbers = (1..=count).map(|n| (n.wrapping_mul(2654435761) % 2147483647).to_string() + ",");
    numbers.collect()
}

#[test]
fn daemon_killed_in_the_middle_of_a_compile() {
    for signal_before_compiler in [false, true] {
        let (project, cache) = (Project::new(UNIT), Cache::new());
        let pause = "touch ready; while test -e ready; do sleep 0.01; done";
        let (before, after) = if signal_before_compiler { (pause, "") } else { ("", pause) };
        let script =
            format!("#!/bin/sh\n{before}\n/usr/bin/gcc \"$@\"\nstatus=$?\n{after}\nexit $status\n");
        project.script("cc", &script);
        let running = start(&mut cache.command(&project, &Call::from("./cc -Wall -MD -c a.c")));
        wait_until("the compiler runs", PATIENCE, || project.exists("ready"));
        kill(cache.daemon());
        wait_until("the daemon is gone", PATIENCE, || cache.daemons().is_empty());
        project.remove("ready");
        // A second run of the compiler would wait again: nobody may have to, but it would be right.
        let helper = project.path("ready");
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = stop.clone();
        let remover = std::thread::spawn(move || {
            while !seen.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = std::fs::remove_file(&helper);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let got = running.finish(PATIENCE);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        remover.join().unwrap();
        let files = ["a.o", "a.d"].map(|name| project.read(name));
        let wanted = project.plain("gcc -Wall -MD -c a.c");
        assert_eq!(got, wanted);
        assert!(files == ["a.o", "a.d"].map(|name| project.read(name)));
        compiles(&project, &cache);
    }
}

#[test]
fn stopped_daemon_does_not_hold_the_build_up() {
    // A daemon that hangs (here: stopped by a signal) is as good as none.
    let (project, cache) = (Project::new(UNIT), Cache::new());
    compiles(&project, &cache);
    let pid = rustix::process::Pid::from_raw(cache.daemon() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let outcome = within(&project, &cache, "gcc -c a.c");
    let mark = cache.sockets()[0].with_extension("hung");
    let was_marked = mark.exists();
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    outcome.success();
    assert!(was_marked);
    // It goes on, and says so as soon as it serves somebody: nobody has to wait until the mark is old.
    wait_until("the daemon is believed again", PATIENCE, || {
        within(&project, &cache, "gcc -c a.c").success();
        !mark.exists()
    });
}

#[test]
fn cache_folder_removed_while_the_daemon_runs() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    compiles(&project, &cache);
    for _ in 0..3 {
        // The daemon may be writing into it just now: as for `rm -rf`, the folder is not empty then.
        wait_until("the folder is gone", PATIENCE, || {
            let _ = std::fs::remove_dir_all(cache.folder());
            !cache.folder().exists()
        });
        compiles(&project, &cache);
    }
    let ending = cache.ending(&project, "gcc -Wall -MD -c a.c");
    assert_eq!(ending, "direct_cache_hit", "the cache works again after rm -rf");
}

#[test]
fn socket_removed_while_the_daemon_runs() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    compiles(&project, &cache);
    for socket in cache.sockets() {
        std::fs::remove_file(socket).unwrap();
    }
    compiles(&project, &cache);
}

#[test]
fn output_folder_vanishes_and_disk_of_the_project_is_full() {
    if !is_root() {
        return skip("output on a full disk", "a tmpfs can be mounted by root only");
    }
    let (project, cache) = (Project::new(UNIT), Cache::new());
    compiles(&project, &cache);
    project.write("out/keep", "");
    let at = project.path("out");
    let Some(disk) = SmallDisk::mount(&at, "64k") else {
        return skip("output on a full disk", "a tmpfs cannot be mounted here");
    };
    let noise = "int a[] = {".to_owned() + &noise(40_000) + "};\n";
    project.write("big.c", noise);
    cache.compile(&project, "gcc -c big.c -o big.o").success();
    cache.compile(&project, "gcc -c big.c -o big.o").success();
    let wanted = project.plain("gcc -c big.c -o out/big.o");
    assert!(!wanted.ok());
    let got = within(&project, &cache, "gcc -c big.c -o out/big.o");
    assert!(!got.ok(), "a half-written object is no success: {got:?}");
    drop(disk);
}

#[test]
fn what_printed_too_much_is_left_to_the_compiler() {
    let (project, cache) = (Project::new(&[("a.c", "int a;\n")]), Cache::new());
    project.script(
        "cc",
        "#!/bin/sh\ncase \"$*\" in *-###*) ;; *) yes | head -c 34000000 >&2;; esac\nexec gcc \"$@\"\n",
    );
    for _ in 0..2 {
        let before = cache.stats();
        let outcome = cache.compile(&project, "./cc -c a.c").success();
        assert_eq!(outcome.stderr.len(), 34_000_000);
        assert_eq!(cache.endings_since(&before), "internal_error");
    }
}

#[test]
fn a_daemon_that_hangs_is_waited_for_once() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    let socket = socket_of(&cache);
    let listener = UnixListener::bind(&socket).unwrap();
    let (tell, waits) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let begin = Instant::now();
            let _ = stream.read_to_end(&mut Vec::new());
            let _ = tell.send(begin.elapsed());
        }
    });
    let wait = || {
        within(&project, &cache, "gcc -c a.c").success();
        waits.recv_timeout(PATIENCE).unwrap()
    };
    // A machine may be slow to notice that time is over; it never notices too soon.
    let usual = Duration::from_millis(4900);
    let first = wait();
    assert!(first >= usual, "{first:?}");
    for _ in 0..3 {
        let later = wait();
        assert!(later < usual, "{later:?} after {first:?}");
    }
    // After a while somebody tries again.
    let mark = socket.with_extension("hung");
    set_modified(&mark, std::time::SystemTime::now() - Duration::from_secs(31));
    let again = wait();
    assert!(again >= usual, "{again:?}");
    assert!(wait() < usual);
    // A daemon of its own takes the place, and knows why nobody came.
    std::fs::remove_file(&socket).unwrap();
    compiles(&project, &cache);
    assert!(!mark.exists());
    let why = reasons(&cache, "passed_through");
    assert_eq!(why, [("the daemon said nothing".to_owned(), 6)]);
}

#[test]
fn a_daemon_that_does_not_start_is_waited_for_once() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    let socket = socket_of(&cache);
    // Whoever starts a daemon holds this.
    let lock = std::fs::File::create(socket.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    within(&project, &cache, "gcc -c a.c").success();
    let mark = socket.with_extension("unstarted");
    let marked = std::fs::metadata(&mark).unwrap().modified().unwrap();
    // Nobody asks for the lock, which is free by now.
    drop(lock);
    within(&project, &cache, "gcc -c a.c").success();
    assert!(!socket.exists());
    assert_eq!(std::fs::metadata(&mark).unwrap().modified().unwrap(), marked);
    set_modified(&mark, std::time::SystemTime::now() - Duration::from_secs(31));
    compiles(&project, &cache);
    assert_eq!(cache.daemons().len(), 1);
}

#[test]
fn a_launcher_without_room_for_descriptors() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    compiles(&project, &cache);
    // Enough for the compiler, too few for what the daemon hands over.
    let limited = |line: &str| {
        let rcache = crate::support::rcache_binary();
        let words = format!("ulimit -n 6; exec '{}' {line}", rcache.display());
        let call = Call::of(["/bin/sh", "-c", &words]);
        run(&mut cache.command_bare(&project, &call), LIMIT_CALL)
    };
    assert_eq!(limited("gcc -Wall -c a.c -DNEW"), project.plain("gcc -Wall -c a.c -DNEW"));
    let why = reasons(&cache, "passed_through");
    assert_eq!(why, [("the launcher has too many open files (ulimit -n)".to_owned(), 1)]);
}

/// The reasons that are counted under a name.
fn reasons(cache: &Cache, counter: &str) -> Vec<(String, i64)> {
    let stats = cache.stats().0;
    let rows = stats["uncacheable"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["counter"] == counter);
    rows.map(|row| (row["detail"].as_str().unwrap().to_owned(), row["count"].as_i64().unwrap()))
        .collect()
}
