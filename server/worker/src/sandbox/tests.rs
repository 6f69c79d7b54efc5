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
    let filter = seccomp::Filter::new();
    if filter.is_err() {
        return;
    }
    let sandbox = Sandbox { landlock: Err(String::new()), seccomp: filter.map(Arc::new) };
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
