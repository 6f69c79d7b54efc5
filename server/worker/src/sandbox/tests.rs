//! What a confined program can and cannot do, on a kernel that has landlock and seccomp.

use super::*;
use crate::child::{self, End, Limits, Program, Watch};
use crate::stream::event;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(120);

/// Runs a script in `folder`, confined to it; its status and what it printed.
fn confined(folder: &Path, script: &str) -> (End, String) {
    let sandbox = Sandbox::probe();
    let confinement = sandbox.confine(folder, &[]).unwrap();
    let program = Program {
        path: Path::new("/bin/sh"),
        arguments: vec!["-c".into(), script.into()],
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        folder,
        nice: 0,
        limits: Limits {
            cpu: LONG,
            file_bytes: 1 << 20,
            stream_bytes: 1 << 20,
            memory_bytes: None,
        },
        confinement: Some(&confinement),
    };
    let ending = event().unwrap();
    let deadline = Instant::now() + LONG;
    let mut watch = Watch { caller: None, ending: ending.as_fd(), deadline };
    let ran = child::run(&program, &mut watch).unwrap();
    let text = [ran.stdout, ran.stderr].concat();
    (ran.end, String::from_utf8_lossy(&text).into_owned())
}

fn has_landlock() -> bool {
    Sandbox::probe().hides_files()
}

#[test]
fn its_own_folder_and_programs_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo one >a && mkdir d && mv a d/b && cat d/b && rm d/b && rmdir d && \
        (exit 0) && ls -d . | cat && : >/dev/null && echo done";
    assert_eq!(confined(folder.path(), script), (End::Exited(0), "one\n.\ndone\n".into()));
}

#[test]
fn files_of_others_are_not() {
    if !has_landlock() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("secret"), "secret").unwrap();
    let other = other.path().display();
    for attempt in [
        "cat /etc/passwd".to_owned(),
        "ls /".to_owned(),
        "ls /etc".to_owned(),
        "cat /proc/self/environ".to_owned(),
        "head -c 1 /usr/share/common-licenses/GPL-3 /usr/include/stdio.h".to_owned(),
        format!("cat {other}/secret"),
        format!("cat $PWD/../{}/secret", other.to_string().rsplit('/').next().unwrap()),
        format!("ln -s {other}/secret link; cat link"),
        format!("ln {other}/secret hard"),
        format!("mv {other}/secret mine"),
        format!("rm {other}/secret"),
        format!("echo x >{other}/new"),
        format!("chmod 777 {other}/secret"),
        format!("touch {other}/secret"),
        "echo x >../new".to_owned(),
    ] {
        let (end, text) = confined(folder.path(), &attempt);
        assert_ne!(end, End::Exited(0), "{attempt}: {text}");
        assert!(!text.contains("root:"), "{attempt}: {text}");
    }
}

#[test]
fn calls_that_no_compiler_needs_are_refused() {
    let filter = seccomp::Filter::new(&[]);
    if filter.is_err() {
        return;
    }
    let seccomp = filter.map(Arc::new);
    let sandbox = Sandbox { landlock: Err(String::new()), seccomp, seccomp_in_room: None };
    let confinement = sandbox.confine(Path::new("/"), &[]).unwrap();
    let entrance = confinement.entrance();
    // A thread that is confined stays so; it ends with the test.
    let errors = std::thread::spawn(move || {
        entrance.enter().unwrap();
        let error = |result: libc::c_long| match result {
            -1 => io::Error::last_os_error().raw_os_error().unwrap(),
            _ => 0,
        };
        // SAFETY: calls that are refused, and one that is not; none gets a pointer that is used.
        unsafe {
            [
                error(libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0)),
                error(libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER)),
                error(libc::syscall(libc::SYS_ptrace, 0, 0, 0, 0)),
                error(libc::syscall(libc::SYS_setsid)),
                error(libc::syscall(libc::SYS_io_uring_setup, 0, 0)),
                error(libc::syscall(libc::SYS_clone, libc::CLONE_NEWUSER, 0, 0, 0, 0)),
                error(libc::syscall(libc::SYS_clone3, 0, 0)),
                error(libc::syscall(libc::SYS_prlimit64, 1, libc::RLIMIT_CORE, 0, 0)),
                error(libc::syscall(libc::SYS_prlimit64, 0, libc::RLIMIT_CORE, 0, 0)),
            ]
        }
    })
    .join()
    .unwrap();
    let mut expected = [libc::EPERM; 9];
    expected[6] = libc::ENOSYS;
    expected[8] = 0;
    assert_eq!(errors, expected);
}

#[test]
fn it_says_what_is_in_force() {
    let off = Sandbox::off();
    assert_eq!(off.to_string(), "landlock: off (switched off); seccomp: off (switched off)");
    assert!(!off.hides_files());
    if let Ok(version) = landlock::version() {
        let text = Sandbox::probe().to_string();
        assert!(text.starts_with(&format!("landlock: on (ABI {version}); seccomp: ")), "{text}");
    }
}

/// Runs a program of this machine in a root of its own, which holds a shell and what it needs.
fn enclosed(scratch: &Path, script: &str, all_may_run: bool) -> Option<(End, String)> {
    let way = match Way::find(&scratch.join("probe")) {
        Ok(way) => way,
        Err(why) => {
            println!("skipped: {why}");
            return None;
        }
    };
    let root = scratch.join("root");
    for folder in Room::OWN_FOLDERS.into_iter().chain(["bin", "work"]) {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    make_devices(&root).unwrap();
    let mut programs = Vec::new();
    let linked = std::process::Command::new("ldd").arg("/bin/sh").output().unwrap().stdout;
    let linked = String::from_utf8(linked).unwrap();
    let libraries = linked.split_whitespace().filter(|word| word.starts_with('/'));
    for path in libraries.map(Path::new).chain([Path::new("/bin/sh")]) {
        let to = path.strip_prefix("/").unwrap();
        std::fs::create_dir_all(root.join(to).parent().unwrap()).unwrap();
        std::fs::copy(path, root.join(to)).unwrap();
        programs.push((path, to));
    }
    std::fs::copy("/bin/true", root.join("work/sent")).unwrap();
    let working_directory = Path::new("/work");
    let room = Room { root: &root, working_directory, programs, all_may_run };
    let confinement = Sandbox::probe().enclose(way, &room).unwrap();
    let program = Program {
        path: Path::new("/bin/sh"),
        arguments: vec!["-c".into(), script.into()],
        environment: Vec::new(),
        folder: Path::new("/"),
        nice: 0,
        limits: Limits {
            cpu: LONG,
            file_bytes: 1 << 20,
            stream_bytes: 1 << 20,
            memory_bytes: None,
        },
        confinement: Some(&confinement),
    };
    let ending = event().unwrap();
    let deadline = Instant::now() + LONG;
    let ran = child::run(&program, &mut Watch { caller: None, ending: ending.as_fd(), deadline });
    let ran = ran.unwrap();
    let text = [ran.stdout, ran.stderr].concat();
    Some((ran.end, String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn a_root_of_its_own_holds_nothing_else() {
    let scratch = tempfile::tempdir().unwrap();
    let script =
        "pwd; echo /*; echo x >made; read line </dev/null; echo $$; echo /proc/[0-9]*; exit 7";
    let Some((end, text)) = enclosed(scratch.path(), script, false) else { return };
    assert_eq!(end, End::Exited(7 << 8), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "/work");
    let allowed = ["/bin", "/dev", "/lib", "/lib64", "/proc", "/tmp", "/work"];
    assert!(lines[1].split(' ').all(|name| allowed.contains(&name)), "{text}");
    // Its process numbers are its own: the first reaps, the second is the shell.
    assert_eq!(lines[2], "2");
    assert!(["/proc/1 /proc/2", "/proc/[0-9]*"].contains(&lines[3]), "{text}");
    assert_eq!(std::fs::read(scratch.path().join("root/work/made")).unwrap(), b"x\n");
}

#[test]
fn what_was_sent_runs_only_where_that_is_allowed() {
    let scratch = tempfile::tempdir().unwrap();
    let Some((end, text)) = enclosed(scratch.path(), "./sent", false) else { return };
    assert_eq!(end, End::Exited(126 << 8), "{text}");
    let loader = "for l in /lib64/ld-* /lib/ld-*; do [ -e $l ] && exec $l ./sent; done; exit 9";
    let (end, text) = enclosed(scratch.path(), loader, false).unwrap();
    assert_eq!(end, End::Exited(127 << 8), "{text}");
    let (end, text) = enclosed(scratch.path(), "./sent && echo ran", true).unwrap();
    assert_eq!((end, text.as_str()), (End::Exited(0), "ran\n"));
}

#[test]
fn a_signal_in_a_root_of_its_own_is_a_status() {
    let scratch = tempfile::tempdir().unwrap();
    let Some((end, _)) = enclosed(scratch.path(), "kill -SEGV $$", false) else { return };
    assert_eq!(end, End::Exited((128 + libc::SIGSEGV) << 8));
    // What is left behind ends with it.
    let (end, text) = enclosed(scratch.path(), "(while :; do :; done) & exit 3", false).unwrap();
    assert_eq!(end, End::Exited(3 << 8), "{text}");
    // No rights are left, as root neither.
    let (_, text) = enclosed(
        scratch.path(),
        "while read k v; do case $k in Cap[PEB]*) echo $v; esac; done </proc/self/status",
        false,
    )
    .unwrap();
    let rights: Vec<&str> = text.lines().collect();
    assert!(rights.iter().take(2).all(|rights| rights.trim_matches('0').is_empty()), "{text}");
}
