//! Who may do what: other users of this machine get nothing into a build, and stop none.

use crate::support::{Cache, LIMIT_CALL, Project, check, is_root, run, skip};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

const UNIT: &[(&str, &str)] = &[("a.c", "int a(void) { return 1; }\n")];

/// A user that no other test and no other run has.
fn fresh_user() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    40_000_000 + std::process::id() % 1_000_000 * 16 + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A folder in /tmp, which goes with the value.
struct Squatted(PathBuf);

impl Squatted {
    /// As another user makes it, who lets everybody in.
    fn new(path: PathBuf, owner: u32) -> Squatted {
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        Squatted(path)
    }
}

impl Drop for Squatted {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").args(["-m", "666"]).arg(path).status().unwrap().success());
}

/// A socket on which nobody accepts, with no room left for one more to wait.
fn deaf_socket(path: &Path) -> (UnixListener, Vec<rustix::fd::OwnedFd>) {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let listener = UnixListener::bind(path).unwrap();
    // Listening again sets how many may wait.
    rustix::net::listen(&listener, 0).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    let address = SocketAddrUnix::new(path).unwrap();
    let mut waiting = Vec::new();
    loop {
        let flags = SocketFlags::NONBLOCK;
        let one = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let one = one.unwrap();
        if rustix::net::connect(&one, &address).is_err() {
            return (listener, waiting);
        }
        waiting.push(one);
    }
}

#[test]
fn another_user_was_first_in_tmp() {
    if !is_root() {
        return skip("another_user_was_first_in_tmp", "only root can be two users");
    }
    let (user, project) = (fresh_user(), Project::new(UNIT));
    let cache = Cache::new().with("XDG_RUNTIME_DIR", "").of_user(user, &project);
    let folder = PathBuf::from(format!("/tmp/rcache-{user}"));
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
    let socket = fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
    let socket = socket.into_iter().find(|path| path.extension().is_some_and(|e| e == "sock"));
    let socket = socket.expect("without XDG_RUNTIME_DIR the socket is in /tmp");
    cache.stop();
    fs::remove_dir_all(&folder).unwrap();

    let precious = cache.root().join("home/.bashrc");
    fs::write(&precious, "precious=1\n").unwrap();
    chown(&precious, Some(user), Some(user)).unwrap();
    type Trap<'t> = &'t dyn Fn(&Path);
    let traps: [(&str, Trap); 3] = [
        ("sock", &|path| UnixListener::bind(path).map(drop).unwrap()),
        ("passed", &|path| symlink(&precious, path).unwrap()),
        ("passed", &make_pipe),
    ];
    for (extension, trap) in traps.into_iter().chain([("lock", traps[1].1), ("lock", traps[2].1)]) {
        let squatted = Squatted::new(folder.clone(), user + 1_000_000);
        trap(&squatted.0.join(socket.with_extension(extension).file_name().unwrap()));
        assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
        cache.stop();
    }
    let squatted = Squatted::new(folder, user + 1_000_000);
    let _deaf = deaf_socket(&squatted.0.join(socket.file_name().unwrap()));
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
    let doctor = cache.rcache("doctor").out();
    assert!(doctor.contains(&format!("it belongs to user {}", user + 1_000_000)), "{doctor}");
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious=1\n");
}

#[test]
fn a_runtime_folder_that_others_can_write_to() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    let folder = cache.root().join("run/rcache");
    let elsewhere = cache.root().join("tmp");
    symlink(&elsewhere, &folder).unwrap();
    for _ in 0..2 {
        assert!(cache.compile(&project, "gcc -c a.c").ok());
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "a link is not followed");
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)).unwrap();
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is left in it");
    let doctor = cache.rcache("doctor").out();
    assert!(doctor.contains("others can write there (mode 777)"), "{doctor}");
    cache.stop();
    // Whatever is wrong with the place of the socket, the compiler runs.
    let nowhere = Cache::new().with("XDG_RUNTIME_DIR", &folder).with("RCACHE_DIR", "/dev/null/x");
    run(&mut nowhere.command(&project, &"gcc -c a.c".into()), LIMIT_CALL).success();
}

#[test]
fn a_cache_folder_of_another_user() {
    if !is_root() {
        return skip("a_cache_folder_of_another_user", "only root can be two users");
    }
    let project = Project::new(UNIT);
    let victim = fresh_user();
    let cache = Cache::new().of_user(victim, &project);
    let folder = cache.folder();
    let _squatted = Squatted::new(folder.clone(), victim + 1_000_000);
    for _ in 0..2 {
        cache.compile(&project, "gcc -c a.c").success();
    }
    let owner = format!("it belongs to user {}", victim + 1_000_000);
    let stats = cache.rcache("stats");
    assert!(!stats.ok() && stats.err().contains(&owner), "{stats:?}");
    let doctor = cache.rcache("doctor");
    assert!(!doctor.ok() && doctor.out().contains(&owner), "{doctor:?}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is written there");
}

#[test]
fn a_cache_folder_that_others_can_write_to() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    let folder = cache.folder();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    // As a umask of 002 or 000 makes it.
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)).unwrap();
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
    assert_eq!(mode(&folder), 0o755);
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
    // What was put there while others could is no answer.
    for blob in cache.store_files() {
        fs::set_permissions(&blob, PermissionsExt::from_mode(0o666)).unwrap();
    }
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
    cache.stop();
    // Somebody means to share it: no setting says so yet.
    fs::set_permissions(&folder, PermissionsExt::from_mode(0o2775)).unwrap();
    cache.compile(&project, "gcc -c a.c").success();
    let stats = cache.rcache("stats");
    assert!(stats.err().contains("others can write to it (mode 2775)"), "{stats:?}");
    assert_eq!(mode(&folder), 0o2775, "it is left as it is");
}

/// Confines what a command starts: it can write below `folders` only (landlock(7)). Whether the kernel can.
fn confine(command: &mut Command, folders: &[&Path]) -> bool {
    use std::os::fd::AsRawFd;
    use std::os::unix::process::CommandExt;
    // WRITE_FILE, and all from REMOVE_DIR to MAKE_SYM, REFER and TRUNCATE.
    const WRITE: u64 = 1 << 1 | 0x1ff << 4 | 1 << 13 | 1 << 14;
    const OF_FILES: u64 = 1 << 1 | 1 << 14;
    let handled = [WRITE, 0, 0];
    // SAFETY: the structures are there, and as long as the calls are told.
    unsafe {
        let rules = libc::syscall(libc::SYS_landlock_create_ruleset, handled.as_ptr(), 24, 0);
        if rules < 0 {
            return false;
        }
        for folder in folders.iter().chain([&Path::new("/dev")]) {
            let folder = fs::File::open(folder).unwrap();
            let is_folder = folder.metadata().unwrap().is_dir();
            let rights = if is_folder { WRITE } else { OF_FILES };
            let mut rule = [0_u8; 12];
            rule[..8].copy_from_slice(&rights.to_ne_bytes());
            rule[8..].copy_from_slice(&folder.as_raw_fd().to_ne_bytes());
            let added = libc::syscall(libc::SYS_landlock_add_rule, rules, 1, rule.as_ptr(), 0);
            assert_eq!(added, 0);
        }
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            match libc::syscall(libc::SYS_landlock_restrict_self, rules, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    true
}

#[test]
fn a_sandboxed_process_gets_no_more_than_it_may() {
    let (project, cache) = (Project::new(UNIT), Cache::new());
    project.write("box/a.c", "int a(void) { return 7; }\n");
    project.write("box/b.c", "int b(void) { return 7; }\n");
    project.write("other/target", "precious\n");
    check(&project, &cache, "gcc -c a.c");
    let inside = project.path("box");
    let call = |line: &str| crate::support::Call::from(line).within("box").env("TMPDIR", &inside);
    let into_other = call("gcc -S a.c -o ../other/target");
    let mut plain = project.command_for(&into_other, &[]);
    if !confine(&mut plain, &[&inside]) {
        return skip("a_sandboxed_process_gets_no_more_than_it_may", "no landlock");
    }
    let wanted = run(&mut plain, LIMIT_CALL);
    assert!(!wanted.ok());
    // The same result is in the cache, and the daemon could write it there.
    cache.compile(&project, call("gcc -S a.c -o a.s")).success();
    for _ in 0..2 {
        let mut confined = cache.command(&project, &into_other);
        confine(&mut confined, &[&inside]);
        assert_eq!(run(&mut confined, LIMIT_CALL), wanted);
        assert_eq!(project.read("other/target"), b"precious\n");
    }
    // One that may write to the cache has a daemon of its own, and its results are everybody's.
    let folders = [inside.as_path(), cache.root()];
    let confined = |line: &str| {
        let mut confined = cache.command(&project, &call(line));
        confine(&mut confined, &folders);
        let before = cache.stats();
        run(&mut confined, LIMIT_CALL).success();
        cache.endings_since(&before)
    };
    assert_eq!(confined("gcc -c b.c"), "cache_miss");
    // Each is a sandbox of its own, which has nothing to do with the others.
    for _ in 0..6 {
        assert_eq!(confined("gcc -c b.c"), "direct_cache_hit");
    }
    assert_eq!(check(&project, &cache, call("gcc -c b.c")), "direct_cache_hit");
    cache.rcache("daemon stop --all").success();
    assert_eq!(cache.daemons().len(), 0);
    // The other way round: a daemon that a sandbox has started is none for the others.
    assert_eq!(confined("gcc -c b.c -DX"), "cache_miss");
    assert_eq!(check(&project, &cache, "gcc -c a.c -DY"), "cache_miss");
    assert_eq!(check(&project, &cache, "gcc -c a.c -DY"), "direct_cache_hit");
    cache.rcache("daemon stop --all").success();
}

#[test]
fn a_process_with_fewer_groups_gets_no_more_than_it_may() {
    use std::os::unix::process::CommandExt;
    let name = "a_process_with_fewer_groups_gets_no_more_than_it_may";
    if !is_root() {
        return skip(name, "only root can choose its groups");
    }
    let (user, project) = (fresh_user(), Project::new(UNIT));
    let cache = Cache::new().of_user(user, &project);
    fs::create_dir(project.path("theirs")).unwrap();
    chown(project.path("theirs"), Some(0), Some(user + 1_000_000)).unwrap();
    project.mode("theirs", 0o770);
    let compile = |line: &str, groups: Vec<u32>, through: bool| {
        let call = line.into();
        let mut command = match through {
            true => cache.command(&project, &call),
            false => project.command_for(&call, &[]),
        };
        // SAFETY: both calls are system calls.
        unsafe {
            command.pre_exec(move || {
                let set = libc::setgroups(groups.len(), groups.as_ptr()) == 0
                    && libc::setgid(user) == 0
                    && libc::setuid(user) == 0;
                if set { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            });
        }
        // They are set above, after the groups.
        command.uid(0).gid(0);
        run(&mut command, LIMIT_CALL)
    };
    let member = vec![user + 1_000_000];
    compile("gcc -c a.c -o theirs/a.o", member.clone(), true).success();
    compile("gcc -c a.c -o theirs/a.o", member.clone(), true).success();
    fs::remove_file(project.path("theirs/a.o")).unwrap();
    let wanted = compile("gcc -c a.c -o theirs/a.o", vec![], false);
    assert!(!wanted.ok());
    assert_eq!(compile("gcc -c a.c -o theirs/a.o", vec![], true), wanted);
    assert!(!project.exists("theirs/a.o"));
    assert_eq!(cache.daemons().len(), 2, "a daemon for each set of groups");
    compile("gcc -c a.c -o a.o", vec![], true).success();
    let hits = || cache.stats().get("direct_cache_hit");
    let before = hits();
    compile("gcc -c a.c -o a.o", vec![], true).success();
    assert_eq!(hits(), before + 1);
    cache.rcache("daemon stop --all").success();
}

#[test]
fn whoever_cannot_look_into_the_daemon_is_not_served() {
    use std::io::Write;
    use talk::launcher_protocol::{ToDaemon, ToLauncher, read_frame};
    let (project, cache) = (Project::new(UNIT), Cache::new());
    check(&project, &cache, "gcc -c a.c");
    if !talk::place::can_prove() {
        return skip("whoever_cannot_look_into_the_daemon_is_not_served", "nobody can look here");
    }
    let ask = |command: &str, proof: u64| {
        let mut stream = std::os::unix::net::UnixStream::connect(&cache.sockets()[0]).unwrap();
        let question = format!("{{\"command\":\"{command}\",\"from_elsewhere\":true}}");
        let question = question.into_bytes();
        let mut caller = talk::client::caller().unwrap();
        caller.environment = cache.environment();
        caller.proof = proof;
        stream.write_all(&ToDaemon::Ask { caller, question }.encode()).unwrap();
        ToLauncher::decode(&read_frame(&mut stream).unwrap()).unwrap()
    };
    let secret = talk::place::robust_list(cache.daemon()).unwrap();
    for wrong in [0, secret ^ 1, u64::MAX] {
        assert_eq!(ask("clear", wrong), ToLauncher::OtherPlace);
    }
    assert!(matches!(ask("status", 0), ToLauncher::Answer(_)), "everybody may ask that");
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
    assert!(matches!(ask("clear", secret), ToLauncher::Answer(_)));
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
}
