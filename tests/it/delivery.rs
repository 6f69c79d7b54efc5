//! Results on their way into a build's folders: they are whole, they are wanted, and they carry the names
//! and owners that the compiler would have given.

use crate::support::{
    Cache, Call, LIMIT_CALL, Project, Share, compilers, is_root, kill, run, skip, start, wait_until,
};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::time::Duration;

/// Far above what anything here needs.
const PATIENCE: Duration = Duration::from_secs(100);

/// A compiler that waits once, amid the compile of `hold.c`, for the file `go`.
const HOLDING: &str = "#!/bin/sh\n\
    case \"$*\" in *hold.c*)\n\
    if mkdir held 2>/dev/null; then while [ ! -e go ]; do sleep 0.02; done; fi;;\n\
    esac\n\
    exec gcc \"$@\"\n";

/// Waits until the daemon serves no call.
#[track_caller]
fn settle(cache: &Cache) {
    wait_until("the daemon is at rest", PATIENCE, || {
        cache.rcache("daemon status --json").out().contains("\"active\": 0")
    });
}

/// A checkout below `root`, whose compile is described by absolute names.
fn checkout(project: &Project, root: &str) -> String {
    project.write(&format!("{root}/src/a.c"), "#include <x.h>\nint x = X;\n");
    project.write(&format!("{root}/inc/x.h"), "#define X 1\n");
    fs::create_dir_all(project.path(&format!("{root}/build"))).unwrap();
    project.path(root).display().to_string()
}

#[test]
fn the_rule_names_the_object_as_the_call_does() {
    for family in compilers("the_rule_names_the_object_as_the_call_does") {
        let project = Project::new(&[]);
        let cache = Cache::new().with("RCACHE_BASE_DIR", project.root());
        let mut endings = Vec::new();
        for root in ["one", "two", "three/with/a/name/so/long/that/the/rule/breaks/its/lines"] {
            let at = checkout(&project, root);
            let build = format!("{root}/build");
            let plain = |output: &str| {
                let target = format!("-MD -MQ {output} -MF a.d");
                let line = format!("{} -c ../src/a.c -I../inc -o a.o {target}", family.c);
                project.plain(Call::from(line).within(&build)).success();
                project.read(&format!("{build}/a.d"))
            };
            let rule = |line: String| {
                project.remove(&format!("{build}/a.d"));
                let ending = cache.ending(&project, Call::from(line).within(&build));
                (ending, project.read(&format!("{build}/a.d")))
            };
            for (output, sources) in [
                (format!("{at}/build/a.o"), at.as_str()),
                ("a.o".to_owned(), ".."),
                (format!("{at}/build/../build/a.o"), at.as_str()),
                (format!("{at}/build/a.o"), at.as_str()),
            ] {
                let wanted = plain(&output);
                let (ending, rule) = rule(format!(
                    "{} -c {sources}/src/a.c -I{sources}/inc -o {output} -MD -MF a.d",
                    family.c
                ));
                let text = |rule: &[u8]| String::from_utf8_lossy(rule).into_owned();
                assert_eq!(text(&rule), text(&wanted), "{output}: {ending}");
                endings.push(ending);
            }
        }
        let hits = endings.iter().filter(|ending| *ending == "direct_cache_hit").count();
        assert_eq!((endings.len(), hits), (12, 11), "{endings:?}");
    }
}

#[test]
fn make_sees_a_changed_header_under_base_dir() {
    let project = Project::new(&[]);
    let at = checkout(&project, "one");
    let rcache = crate::support::rcache_binary();
    project.write(
        "one/build/Makefile",
        format!(
            "{at}/build/a.o: {at}/src/a.c\n\t{} gcc -c {at}/src/a.c -I{at}/inc -o $@ -MD -MF a.d\n\
             -include a.d\n",
            rcache.display()
        ),
    );
    let cache = Cache::new().with("RCACHE_BASE_DIR", project.root());
    let make = || {
        let mut make = project.command("make");
        cache.adopt(make.arg("-s").current_dir(project.path("one/build")));
        run(&mut make, LIMIT_CALL).success();
        project.read("one/build/a.o")
    };
    let mut objects = Vec::new();
    for text in ["#define X 1\n", "#define X 2\n", "#define X 1\n", "#define X 2\n"] {
        project.write("one/inc/x.h", text);
        // make counts time stamps that are the same as "not newer".
        let soon = std::time::SystemTime::now() + Duration::from_secs(2 + objects.len() as u64);
        let header = fs::File::options().append(true).open(project.path("one/inc/x.h")).unwrap();
        header.set_modified(soon).unwrap();
        objects.push(make());
        if project.exists("one/build/a.o") {
            let object = fs::File::open(project.path("one/build/a.o")).unwrap();
            object.set_modified(soon).unwrap();
        }
    }
    assert!(objects[0] != objects[1], "the header has changed");
    assert!(objects[..2] == objects[2..]);
}

#[test]
fn base_dir_understands_dots_links_and_both_spellings() {
    for family in compilers("base_dir_understands_dots_links_and_both_spellings") {
        let project = Project::new(&[]);
        let (one, two) = (checkout(&project, "one"), checkout(&project, "two"));
        project.symlink("two", "link");
        let link = project.path("link").display().to_string();
        let cache = Cache::new().with("RCACHE_BASE_DIR", project.root());
        let ending = |build: &str, words: String, variables: &[(&str, &str)]| {
            let mut call = Call::from(format!("{} -c {words} -o a.o", family.c)).within(build);
            for (name, value) in variables {
                call = call.env(name, value);
            }
            cache.ending(&project, call)
        };
        let first = ending("one/build", format!("{one}/src/a.c -I{one}/inc"), &[]);
        assert_eq!(first, "cache_miss");
        for (root, words) in [
            ("one", format!("{one}/build/../src/a.c -I {one}/build/../inc")),
            ("two", format!("{two}/src/a.c -I {two}/inc")),
            ("two", format!("{two}/build/../src/a.c -I{two}/inc/../inc")),
            ("two", format!("{link}/src/a.c -I{link}/inc")),
            ("link", format!("{link}/src/a.c -I{two}/inc")),
            ("link", format!("{link}/build/../src/a.c -I{link}/build/../inc")),
        ] {
            let build = project.path(&format!("{root}/build")).display().to_string();
            let again = ending(&format!("{root}/build"), words.clone(), &[("PWD", &build)]);
            assert_eq!(again, "direct_cache_hit", "{words}");
        }
    }
}

#[test]
fn what_has_no_room_when_it_is_closed_is_no_result() {
    let what = "what_has_no_room_when_it_is_closed_is_no_result";
    let project = Project::new(&[("a.c", "int f(void) { return 1; }\n")]);
    let Some(share) = Share::mount(&project, "out", 0, what) else { return };
    let cache = Cache::new();
    let line = "gcc -MD -c a.c -o out/a.o";
    let both = || ["out/a.o", "out/a.d"].map(|name| project.read(name));
    cache.compile(&project, line).success();
    let wanted = both();
    for name in ["out/a.o", "out/a.d"] {
        project.remove(name);
    }
    assert_eq!(cache.ending(&project, line), "direct_cache_hit");
    assert!(both() == wanted);
    share.set_full(true);
    let plain = project.plain(line);
    let full = cache.compile(&project, line);
    assert!(!plain.ok(), "{plain:?}");
    assert_eq!((full.status, full.err()), (plain.status, plain.err()));
    share.set_full(false);
    assert_eq!(cache.ending(&project, line), "direct_cache_hit");
    assert!(both() == wanted);
    // The cache folder itself on such a disk: the build goes on without it.
    let cache = Cache::new().with("RCACHE_DIR", project.path("out/cache"));
    cache.compile(&project, line).success();
    assert!(both() == wanted);
}

#[test]
fn nothing_is_delivered_for_a_launcher_that_was_stopped() {
    let project = Project::new(&[("hold.c", "int x = 1;\n")]);
    project.script("slow/gcc", HOLDING);
    let cache = Cache::new();
    let call = |output: &str| {
        start(&mut cache.command(&project, &format!("slow/gcc -c hold.c -o {output}").into()))
    };
    let first = call("a.o");
    wait_until("the compile has begun", PATIENCE, || project.exists("held"));
    let second = call("b.o");
    wait_until("the second call is served", PATIENCE, || {
        cache.rcache("daemon status --json").out().contains("\"active\": 2")
    });
    kill(second.pid());
    second.finish(LIMIT_CALL);
    // The user has compiled again, by other means.
    project.write("b.o", "newer");
    project.write("go", "");
    first.finish(LIMIT_CALL).success();
    settle(&cache);
    assert_eq!(project.read("b.o"), b"newer");
}

#[test]
fn an_earlier_call_does_not_undo_what_a_later_one_made() {
    let project = Project::new(&[("hold.c", "#ifndef X\n#define X 1\n#endif\nint x = X;\n")]);
    project.script("slow/gcc", HOLDING);
    let cache = Cache::new();
    let command = |words: &str| cache.command(&project, &format!("slow/gcc -c {words}").into());
    let first = start(&mut command("hold.c -o a.o"));
    wait_until("the compile has begun", PATIENCE, || project.exists("held"));
    let second = start(&mut command("hold.c -o b.o"));
    wait_until("the second call is served", PATIENCE, || {
        cache.rcache("daemon status --json").out().contains("\"active\": 2")
    });
    let pid = rustix::process::Pid::from_raw(second.pid() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    run(&mut command("-DX=2 hold.c -o b.o"), LIMIT_CALL).success();
    let newer = project.read("b.o");
    project.write("go", "");
    first.finish(LIMIT_CALL).success();
    settle(&cache);
    assert!(project.read("b.o") == newer);
    assert!(project.read("a.o") != newer);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    second.finish(LIMIT_CALL).success();
    assert!(project.read("b.o") == project.read("a.o"), "it was the last to write");
}

#[test]
fn what_a_killed_daemon_left_goes_with_the_next_delivery() {
    let project = Project::new(&[("a.c", "int x;\n"), ("out/keep.tmp", "")]);
    let cache = Cache::new();
    let line = "gcc -MD -c a.c -o out/a.o";
    cache.compile(&project, line).success();
    cache.stop();
    // No process has so high a number.
    project.write("out/.rcache-4194305-7.tmp", "half an obj");
    project.write(".rcache-4194305-8.tmp", "of another folder");
    assert_eq!(cache.ending(&project, line), "direct_cache_hit");
    wait_until("the leftover goes", PATIENCE, || !project.exists("out/.rcache-4194305-7.tmp"));
    assert!(project.exists("out/keep.tmp") && project.exists(".rcache-4194305-8.tmp"));
}

#[test]
fn a_file_that_the_compiler_writes_into_keeps_its_group() {
    if !is_root() {
        skip("a_file_that_the_compiler_writes_into_keeps_its_group", "it needs root");
        return;
    }
    const GROUP: u32 = 12345;
    for family in compilers("a_file_that_the_compiler_writes_into_keeps_its_group") {
        let project = Project::new(&[("a.c", "int x;\n"), ("out/keep", "")]);
        std::os::unix::fs::chown(project.path("out"), None, Some(GROUP + 1)).unwrap();
        fs::set_permissions(project.path("out"), fs::Permissions::from_mode(0o2755)).unwrap();
        let cache = Cache::new();
        for line in ["-MD -c a.c -o out/a.o", "-S a.c -o out/a.s"] {
            let line = format!("{} {line}", family.c);
            let outputs = || {
                let names = ["out/a.o", "out/a.d", "out/a.s"].into_iter();
                names.filter(|name| project.exists(name)).collect::<Vec<_>>()
            };
            let groups_after = |compile: &dyn Fn()| {
                compile();
                for name in outputs() {
                    std::os::unix::fs::chown(project.path(name), None, Some(GROUP)).unwrap();
                }
                compile();
                let group = |name: &&str| fs::metadata(project.path(name)).unwrap().gid();
                let groups: Vec<u32> = outputs().iter().map(group).collect();
                outputs().into_iter().for_each(|name| project.remove(name));
                groups
            };
            let wanted = groups_after(&|| {
                project.plain(line.as_str()).success();
            });
            let found = groups_after(&|| {
                cache.compile(&project, line.as_str()).success();
            });
            assert_eq!(found, wanted, "{line}");
            // clang makes its main output anew, under -S as well.
            assert!(family.c == "clang" || wanted.contains(&GROUP), "{line}: {wanted:?}");
        }
    }
}

#[test]
fn an_access_list_of_a_file_stays() {
    let project = Project::new(&[("a.c", "int x;\n")]);
    let cache = Cache::new();
    let line = "gcc -MD -c a.c -o a.o";
    cache.compile(&project, line).success();
    let attribute = ["-n", "user.kept", "-v", "1", "a.d"];
    let set = Command::new("setfattr").args(attribute).current_dir(project.root()).status();
    if !set.is_ok_and(|status| status.success()) {
        skip("an_access_list_of_a_file_stays", "it needs setfattr and attributes of users");
        return;
    }
    cache.compile(&project, line).success();
    let mut get = Command::new("getfattr");
    get.args(["-n", "user.kept", "a.d"]).current_dir(project.root());
    run(&mut get, LIMIT_CALL).success();
}
