//! A build that is stopped (Ctrl-Z, SIGSTOP, `docker pause`) holds up no other one.

use crate::support::{Cache, Call, LIMIT_CALL, Project, Running, skip, start, wait_until};
use rustix::process::{Pid, Signal, kill_process_group};
use std::path::{Path, PathBuf};

/// A compiler that waits for what it compiles to be let go.
const SLOW: &str = "#!/bin/sh\ncase \"$*\" in *-###*|*' -v '*|*' -E '*) exec gcc \"$@\";; esac\n\
                    for word; do case $word in *.c) name=${word##*/};; esac; done\n\
                    touch started-$name\n\
                    while test -e hold-$name; do sleep 0.02; done\nexec gcc \"$@\"\n";

/// A project with that compiler, whose first units are held.
fn project(held: &[&str]) -> Project {
    let project = Project::new(&[("a.c", "int a;\n"), ("b.c", "int b;\n"), ("c.c", "int c;\n")]);
    project.script("slow", SLOW);
    held.iter().for_each(|name| project.write(&format!("hold-{name}"), ""));
    project
}

/// A build of one unit that is stopped amid its compile; it goes on and ends with the value.
struct Stopped<'p> {
    project: &'p Project,
    unit: &'static str,
    running: Option<Running>,
}

impl<'p> Stopped<'p> {
    fn start(project: &'p Project, cache: &Cache, unit: &'static str) -> Stopped<'p> {
        let line = format!("./slow -c {unit} -o stopped-{unit}.o");
        let running = start(&mut cache.command(project, &Call::from(line)));
        let started = format!("started-{unit}");
        wait_until("the compiler runs", LIMIT_CALL, || project.exists(&started));
        let stopped = Stopped { project, unit, running: Some(running) };
        stopped.send(Signal::STOP);
        stopped
    }

    fn send(&self, signal: Signal) {
        let pid = self.running.as_ref().unwrap().pid();
        kill_process_group(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
    }

    fn go_on(mut self) {
        self.let_go().unwrap().finish(LIMIT_CALL).success();
    }

    fn let_go(&mut self) -> Option<Running> {
        let _ = std::fs::remove_file(self.project.path(&format!("hold-{}", self.unit)));
        self.running.as_ref()?;
        self.send(Signal::CONT);
        self.running.take()
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[test]
fn without_hosts_and_limits_no_slots_are_needed() {
    // More compiles than this machine has cores, all of them at the same time.
    let units: Vec<String> = (0..12).map(|number| format!("u{number}.c")).collect();
    for prefix in ["", "env"] {
        let (project, cache) = (project(&[]), Cache::new().with("RCACHE_PREFIX_COMMAND", prefix));
        let running: Vec<_> = units
            .iter()
            .map(|unit| {
                project.write(unit, format!("int in_{};\n", &unit[..unit.len() - 2]));
                project.write(&format!("hold-{unit}"), "");
                start(&mut cache.command(&project, &Call::from(format!("./slow -c {unit}"))))
            })
            .collect();
        for unit in &units {
            let started = format!("started-{unit}");
            wait_until("all compilers run", LIMIT_CALL, || project.exists(&started));
        }
        units.iter().for_each(|unit| project.remove(&format!("hold-{unit}")));
        running.into_iter().for_each(|running| drop(running.finish(LIMIT_CALL).success()));
    }
}

#[test]
fn slots_of_a_stopped_build_are_free_for_others() {
    let project = project(&["a.c", "b.c"]);
    let cache = Cache::new().with("RCACHE_LOCAL_SLOTS", "2");
    let stopped = ["a.c", "b.c"].map(|unit| Stopped::start(&project, &cache, unit));
    // The limit itself is kept by those that run.
    for name in ["d.c", "e.c"] {
        project.write(name, format!("int {};\n", &name[..1]));
        cache.compile(&project, format!("gcc -c {name}").as_str()).success();
    }
    stopped.into_iter().for_each(Stopped::go_on);
}

#[test]
fn a_unit_of_a_stopped_build_is_compiled_by_another() {
    let (project, cache) = (project(&["a.c"]), Cache::new());
    let stopped = Stopped::start(&project, &cache, "a.c");
    project.remove("hold-a.c");
    cache.compile(&project, "./slow -c a.c -o other.o").success();
    stopped.go_on();
    assert_eq!(project.read("other.o"), project.read("stopped-a.c.o"));
}

#[test]
fn two_checkouts_do_not_wait_for_each_other() {
    let cache = Cache::new();
    let project = project(&[]);
    let source = "#include \"h.h\"\nint a = H;\n";
    for (folder, header) in [("one", "#define H 1\n"), ("two", "#define H 2\n")] {
        project.write(&format!("{folder}/a.c"), source);
        project.write(&format!("{folder}/h.h"), header);
    }
    project.write("one/hold-a.c", "");
    let call = |folder: &str| Call::from("../slow -c a.c").within(folder);
    let first = start(&mut cache.command(&project, &call("one")));
    wait_until("the compiler runs", LIMIT_CALL, || project.exists("one/started-a.c"));
    cache.compile(&project, call("two")).success();
    assert!(project.exists("one/hold-a.c"), "the first one is still at it");
    project.remove("one/hold-a.c");
    first.finish(LIMIT_CALL).success();
    assert_ne!(project.read("one/a.o"), project.read("two/a.o"));
}

#[test]
fn a_header_that_was_edited_since_is_not_waited_for() {
    let (project, cache) = (project(&[]), Cache::new());
    project.write("a.c", "#include \"h.h\"\nint a = H;\n");
    project.write("h.h", "#define H 1\n");
    // The header is known from now on.
    cache.compile(&project, "./slow -c a.c").success();
    project.write("h.h", "#define H 2\n");
    project.remove("started-a.c");
    project.write("hold-a.c", "");
    let first = start(&mut cache.command(&project, &Call::from("./slow -c a.c -o first.o")));
    wait_until("the compiler runs", LIMIT_CALL, || project.exists("started-a.c"));
    project.write("h.h", "#define H 3\n");
    project.remove("started-a.c");
    let second = start(&mut cache.command(&project, &Call::from("./slow -c a.c -o second.o")));
    wait_until("the second one runs as well", LIMIT_CALL, || project.exists("started-a.c"));
    project.remove("hold-a.c");
    first.finish(LIMIT_CALL).success();
    second.finish(LIMIT_CALL).success();
    project.plain("gcc -c a.c -o plain.o").success();
    assert_eq!(project.read("second.o"), project.read("plain.o"));
}

/// A control group whose processes can be frozen, as a container's by `docker pause`.
struct Freezer {
    folder: PathBuf,
    file: &'static str,
    words: [&'static str; 2],
}

impl Freezer {
    /// In the hierarchy at this place, where it can be used.
    fn make(place: &str) -> Option<Freezer> {
        let folder = Path::new(place).join(format!("rcache-test-{}", std::process::id()));
        std::fs::create_dir(&folder).ok()?;
        let forms = [("cgroup.freeze", ["1", "0"]), ("freezer.state", ["FROZEN", "THAWED"])];
        let form = forms.into_iter().find(|(file, _)| folder.join(file).exists());
        let Some((file, words)) = form else {
            std::fs::remove_dir(&folder).unwrap();
            return None;
        };
        Some(Freezer { folder, file, words })
    }

    fn freeze(&self, frozen: bool) {
        let word = self.words[usize::from(!frozen)];
        std::fs::write(self.folder.join(self.file), word).unwrap();
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.freeze(false);
        // Its processes end in a moment.
        wait_until("the group is empty", LIMIT_CALL, || std::fs::remove_dir(&self.folder).is_ok());
    }
}

#[test]
fn slots_and_units_of_a_frozen_container_are_free_for_others() {
    let places = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/freezer"];
    let freezers: Vec<Freezer> = places.into_iter().filter_map(Freezer::make).collect();
    if freezers.is_empty() {
        return skip("a frozen container", "no control group can be made and frozen here");
    }
    for freezer in freezers {
        let project = project(&["a.c"]);
        let cache = Cache::new().with("RCACHE_LOCAL_SLOTS", "1");
        let group = freezer.folder.join("cgroup.procs");
        let rcache = crate::support::rcache_binary();
        // The daemon is not in the container.
        cache.rcache("daemon start").success();
        let script =
            format!("echo $$ > '{}'; exec '{}' ./slow -c a.c", group.display(), rcache.display());
        let call = Call::of(["/bin/sh", "-c", &script]);
        let frozen = start(&mut cache.command_bare(&project, &call));
        wait_until("the compiler runs", LIMIT_CALL, || project.exists("started-a.c"));
        freezer.freeze(true);
        project.remove("hold-a.c");
        cache.compile(&project, "gcc -c b.c").success();
        cache.compile(&project, "./slow -c a.c -o other.o").success();
        freezer.freeze(false);
        frozen.finish(LIMIT_CALL).success();
        assert_eq!(project.read("other.o"), project.read("a.o"));
    }
}
