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
