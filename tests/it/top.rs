//! `rcache top`: a build as it runs, and a terminal that is as before when it ends.

use crate::support::{
    Cache, LIMIT_CALL, Project, SYSTEM_PATH, Worker, pseudo_terminal, rcache_binary, start,
    terminate, wait_until, write_program,
};
use rustix::termios::{LocalModes, Termios, tcgetattr};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// For anything that a program does by itself.
const PATIENCE: Duration = Duration::from_secs(60);

fn project() -> Project {
    Project::new(&[("a.c", "int a;\n"), ("slow.c", "int slow;\n")])
}

fn snapshot(cache: &Cache) -> Value {
    let answer = cache.rcache("top --json").success();
    serde_json::from_slice(&answer.stdout).expect("JSON")
}

#[test]
fn where_nothing_can_be_watched_it_prints_one_look_and_ends() {
    let (project, cache) = (project(), Cache::new());
    cache.compile(&project, "gcc -c a.c").success();
    cache.compile(&project, "gcc -c a.c").success();
    for words in ["top", "top --once"] {
        let text = cache.rcache(words).success().out();
        assert!(!text.contains('\x1b'), "{text}");
        for part in ["50.0 % of 2", "1 direct", "1 misses", "none under way"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
    let answer = snapshot(&cache);
    assert_eq!(answer["counters"]["cache_miss"], 1);
    assert_eq!(
        (&answer["units"], &answer["hosts"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
}

/// A gcc that waits for the file `release` beside it where a worker compiles with it.
fn slow_compiler(cache: &Cache) {
    let bin = cache.bin();
    let gcc = bin.join("gcc");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n*-###*) ;;\n*rcache.i*) \
         while [ ! -e {}/release ]; do sleep 0.02; done ;;\nesac\nexec /usr/bin/gcc \"$@\"\n",
        bin.display()
    );
    write_program(&gcc, script);
    // The worker may run as somebody else.
    std::fs::set_permissions(cache.root(), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_unit_in_flight_is_shown_with_its_host() {
    let (project, cache) = (project(), Cache::new());
    slow_compiler(&cache);
    let path = format!("{}:{SYSTEM_PATH}", cache.bin().display());
    let worker = Worker::start(&format!("--compiler-path {path}"));
    let cache = cache.with("RCACHE_HOSTS", format!("{}/1", worker.address)).with("PATH", &path);
    let compile = |unit: &str| {
        let mut command = Command::new(rcache_binary());
        command.args(["gcc", "-c", unit]).current_dir(project.root()).env_clear();
        start(cache.adopt(&mut command))
    };
    let first = compile("slow.c");
    let at_host = |answer: &Value| {
        let units = answer["units"].as_array().unwrap().iter();
        let mut there = units.filter(|unit| unit["stage"] == "host");
        there.next().map(|unit| (unit["source"].clone(), unit["host"].clone()))
    };
    let mut seen = None;
    wait_until("the host has the unit", PATIENCE, || {
        let answer = snapshot(&cache);
        // The host was asked which compiler it has, and has the job itself now.
        seen = at_host(&answer).filter(|_| worker.metric("running") == 1);
        seen.is_some()
    });
    assert_eq!(seen, Some(("slow.c".into(), worker.address.as_str().into())));

    let second = compile("a.c");
    wait_until("another unit waits", PATIENCE, || snapshot(&cache)["waiting"] == 1);
    let text = cache.rcache("top --once").success().out();
    for part in ["2 under way", "slow.c", "waits for a host", "1/1 busy", &worker.address] {
        assert!(text.contains(part), "{part} in {text}");
    }

    File::create(cache.bin().join("release")).unwrap();
    first.finish(LIMIT_CALL).success();
    second.finish(LIMIT_CALL).success();
    wait_until("no unit is under way", PATIENCE, || {
        snapshot(&cache)["units"] == serde_json::json!([])
    });
    assert_eq!(cache.stats().get("remote_compile"), 2);
}

/// `rcache top` on a terminal.
struct Watched {
    child: Child,
    terminal: OwnedFd,
    keyboard: File,
    shown: Arc<Mutex<Vec<u8>>>,
    before: Termios,
}

impl Watched {
    #[track_caller]
    fn start(cache: &Cache) -> Watched {
        let (main, terminal) = pseudo_terminal(60, 12);
        let before = tcgetattr(&terminal).unwrap();
        let mut command = cache.subcommand("top");
        let stream = || Stdio::from(terminal.try_clone().unwrap());
        command.env("TERM", "xterm").stdin(stream()).stdout(stream()).stderr(stream());
        let child = command.spawn().unwrap();
        let keyboard = File::from(main);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, kept) = (keyboard.try_clone().unwrap(), Arc::clone(&shown));
        // Ends with the terminal.
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut block) {
                kept.lock().unwrap().extend_from_slice(&block[..count]);
            }
        });
        let watched = Watched { child, terminal, keyboard, shown, before };
        wait_until("a frame", PATIENCE, || watched.shows("hit rate"));
        assert!(watched.shows("\x1b[?1049h"), "a screen of its own");
        let modes = tcgetattr(&watched.terminal).unwrap().local_modes;
        assert!(!modes.intersects(LocalModes::ECHO | LocalModes::ICANON), "keys one by one");
        watched
    }

    fn shows(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).contains(text)
    }

    /// Waits for the end; the terminal must be as it was.
    #[track_caller]
    fn end(mut self) -> i32 {
        let mut status = None;
        wait_until("top ends", PATIENCE, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        wait_until("the screen is put back", PATIENCE, || self.shows("\x1b[?25h\x1b[?1049l"));
        assert_eq!(
            format!("{:?}", tcgetattr(&self.terminal).unwrap()),
            format!("{:?}", self.before)
        );
        let status = status.unwrap();
        status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
    }
}

#[test]
fn the_terminal_is_put_back_however_it_ends() {
    let cache = Cache::new();
    for key in ["q", "\x03"] {
        let mut watched = Watched::start(&cache);
        watched.keyboard.write_all(b"other keys do nothing").unwrap();
        watched.keyboard.write_all(key.replace('q', "xq").as_bytes()).unwrap();
        assert_eq!(watched.end(), 0, "{key:?}");
    }
    let watched = Watched::start(&cache);
    terminate(watched.child.id());
    assert_eq!(watched.end(), 128 + 15);
}

#[test]
fn a_daemon_that_is_stopped_stays_stopped() {
    let cache = Cache::new();
    let mut watched = Watched::start(&cache);
    cache.stop();
    wait_until("it is said", PATIENCE, || watched.shows("not running"));
    assert!(cache.daemons().is_empty());
    watched.keyboard.write_all(b"q").unwrap();
    assert_eq!(watched.end(), 0);
}

#[test]
fn a_terminal_that_can_do_nothing_gets_plain_text() {
    let cache = Cache::new();
    let (main, terminal) = pseudo_terminal(80, 24);
    let mut command = cache.subcommand("top");
    let stream = || Stdio::from(terminal.try_clone().unwrap());
    command.env("TERM", "dumb").stdin(Stdio::null()).stdout(stream()).stderr(stream());
    let mut child = command.spawn().unwrap();
    drop(command);
    assert!(child.wait().unwrap().success());
    let mut block = [0; 4096];
    let count = File::from(main).read(&mut block).unwrap();
    let text = String::from_utf8_lossy(&block[..count]).into_owned();
    assert!(text.contains("hit rate") && !text.contains('\x1b'), "{text:?}");
}
