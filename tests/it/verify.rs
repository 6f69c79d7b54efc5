//! Verification: a wrong result is found and dropped, a right one is never reported, and the build feels nothing.

use crate::support::{
    Cache, Call, LIMIT_CALL, Project, Worker, children_named, compilers, pseudo_terminal, run,
    wait_until,
};
use cache::entry::{Entry, PartKind};
use compiler::hasher::Digest;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Long enough for anything that happens by itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// Counted are: the same, not the same, unstable, skipped.
fn verdicts(cache: &Cache) -> [u64; 4] {
    cache.settle();
    let stats = cache.stats();
    ["match", "mismatch", "unstable", "skipped"].map(|name| stats.get(&format!("verify_{name}")))
}

/// A project whose compiler looks at what no cache can see: the file `hole` beside the project. It
/// waits as long as there is a file `hold` there, and says in `started` that it does.
fn lying_project() -> Project {
    let project = Project::new(&[
        ("a.c", "#include \"a.h\"\nint lie = LIE + A;\n"),
        ("a.h", "#define A 100\n"),
    ]);
    let at = |name: &str| project.beside(name).display().to_string();
    project.script(
        "cc",
        &format!(
            "#!/bin/sh\nwhile test -e {hold}; do : > {started}; sleep 0.01; done\n\
             exec gcc -DLIE=`cat {hole}` \"$@\"\n",
            hold = at("hold"),
            started = at("started"),
            hole = at("hole")
        ),
    );
    write(&project, "hole", "1");
    project
}

fn write(project: &Project, beside: &str, text: &str) {
    fs::write(project.beside(beside), text).unwrap();
}

fn hold(project: &Project) {
    write(project, "hold", "");
}

fn release(project: &Project) {
    fs::remove_file(project.beside("hold")).unwrap();
}

fn wait_until_started(project: &Project) {
    wait_until("a hit is compiled again", PATIENCE, || project.beside("started").exists());
}

#[test]
fn a_wrong_hit_is_found_and_dropped() {
    let project = lying_project();
    let cache = Cache::verifying();
    let log = cache.root().join("log");
    let cache = cache.with("RCACHE_LOG_FILE", &log);
    let call = "./cc -c a.c -o a.o -MD";
    assert_eq!(cache.ending(&project, call), "cache_miss");
    let wrong = project.read("a.o");
    assert_eq!(cache.ending(&project, call), "direct_cache_hit");
    assert_eq!(verdicts(&cache), [1, 0, 0, 0]);

    write(&project, "hole", "2");
    assert_eq!(cache.ending(&project, call), "direct_cache_hit");
    assert!(project.read("a.o") == wrong, "nobody could know");
    assert_eq!(verdicts(&cache), [1, 1, 0, 0]);
    project.plain(call).success();
    let right = project.read("a.o");

    let text = fs::read_to_string(log).unwrap();
    for word in ["a hit was not what is compiled", "object: stored ", "./cc -c a.c -o a.o -MD"] {
        assert!(text.contains(word), "{word} in {text}");
    }
    let kept = kept(&cache);
    assert_eq!(kept.len(), 1);
    assert!(fs::read(kept[0].join("object.stored")).unwrap() == wrong);
    assert!(fs::read(kept[0].join("object.compiled")).unwrap() == right);
    let about = fs::read_to_string(kept[0].join("about.txt")).unwrap();
    assert!(about.contains("./cc -c a.c -o a.o -MD") && !about.contains("depfile:"), "{about}");
    let shown = cache.rcache("stats").success().out();
    assert!(shown.contains("not the same"), "{shown}");
    let doctor = cache.rcache("doctor").out();
    assert!(doctor.contains("verify-mismatch"), "{doctor}");

    assert_eq!(cache.ending(&project, call), "cache_miss", "the wrong result is gone");
    assert!(project.read("a.o") == right);
    assert_eq!(cache.ending(&project, call), "direct_cache_hit");
    assert!(project.read("a.o") == right);
    assert_eq!(verdicts(&cache), [2, 1, 0, 0]);
}

fn kept(cache: &Cache) -> Vec<PathBuf> {
    let folders = fs::read_dir(cache.folder().join("verify-mismatch")).into_iter().flatten();
    folders.map(|entry| entry.unwrap().path()).collect()
}

/// Puts another object, or other diagnostics, into each result, with a right checksum.
fn plant(cache: &Cache, kind: PartKind) {
    for file in cache.store_files() {
        let name = file.file_name().unwrap().to_str().unwrap();
        let key = Digest::from_hex(name).unwrap();
        let mut entry = Entry::decode(key, &fs::read(&file).unwrap()).unwrap();
        let Some(part) = entry.parts.iter_mut().find(|part| part.kind == kind) else { continue };
        let last = part.bytes.len() - 1;
        part.bytes[last] ^= 1;
        fs::write(file, entry.encode(key, Some(1)).unwrap()).unwrap();
    }
}

#[test]
fn a_planted_part_is_found() {
    for family in compilers("a_planted_part_is_found") {
        for kind in [PartKind::Object, PartKind::Depfile, PartKind::Stderr] {
            let text = "int f(void) { int unused; return 3; }\n";
            let (project, cache) = (Project::new(&[("a.c", text)]), Cache::verifying());
            let call = format!("{} -Wall -c a.c -MMD -MF deps -o x.o", family.c);
            assert_eq!(cache.ending(&project, call.as_str()), "cache_miss");
            let right = project.read("x.o");
            cache.stop();
            plant(&cache, kind);
            assert_eq!(cache.ending(&project, call.as_str()), "direct_cache_hit");
            assert_eq!(verdicts(&cache), [0, 1, 0, 0], "{kind:?} with {}", family.c);
            let again = cache.ending(&project, call.as_str());
            assert_ne!(again, "direct_cache_hit", "{kind:?} with {}", family.c);
            assert!(project.read("x.o") == right);
            assert_eq!(cache.ending(&project, call.as_str()), "direct_cache_hit");
            assert_eq!(verdicts(&cache), [1, 1, 0, 0], "{kind:?} with {}", family.c);
        }
    }
}

#[test]
fn a_compiler_that_differs_from_itself_is_no_mismatch() {
    let (project, cache) = (lying_project(), Cache::verifying());
    let hole = project.beside("hole").display().to_string();
    project.script(
        "cc",
        &format!("#!/bin/sh\nn=`cat {hole}`\necho $((n + 1)) > {hole}\nexec gcc -DLIE=$n \"$@\"\n"),
    );
    assert_eq!(cache.ending(&project, "./cc -c a.c"), "cache_miss");
    assert_eq!(cache.ending(&project, "./cc -c a.c"), "direct_cache_hit");
    assert_eq!(verdicts(&cache), [0, 0, 1, 0]);
    assert_eq!(cache.ending(&project, "./cc -c a.c"), "direct_cache_hit", "it is not dropped");
}

#[test]
fn inputs_that_change_meanwhile_are_no_mismatch() {
    type Edit = (&'static str, fn(&Project));
    let edits: [Edit; 3] = [
        ("a header is edited", |project| project.write("a.h", "#define A 200\n")),
        ("the source is edited", |project| project.write("a.c", "int other;\n")),
        ("a header is edited, and put back", |project| {
            project.write("a.h", "#define A 200\n");
            project.write("a.h", "#define A 100\n");
        }),
    ];
    for (what, edit) in edits {
        let (project, cache) = (lying_project(), Cache::verifying());
        assert_eq!(cache.ending(&project, "./cc -c a.c"), "cache_miss");
        // So that what is compiled is sure to differ.
        write(&project, "hole", "2");
        hold(&project);
        assert_eq!(cache.ending(&project, "./cc -c a.c"), "direct_cache_hit");
        wait_until_started(&project);
        edit(&project);
        release(&project);
        assert_eq!(verdicts(&cache), [0, 0, 0, 0], "{what}");
    }
}

#[test]
fn the_end_of_the_daemon_does_not_wait_for_a_compile() {
    let (project, cache) = (lying_project(), Cache::verifying());
    assert_eq!(cache.ending(&project, "./cc -c a.c"), "cache_miss");
    hold(&project);
    assert_eq!(cache.ending(&project, "./cc -c a.c"), "direct_cache_hit");
    wait_until_started(&project);
    assert_eq!(cache.ending(&project, "./cc -c a.c"), "direct_cache_hit");
    cache.stop();
    for name in ["cc", "sleep"] {
        assert_eq!(children_named(name, project.root()), [] as [u32; 0], "{name}");
    }
    assert_eq!(fs::read_dir(cache.folder().join("tmp")).unwrap().count(), 0, "no folder is left");
    release(&project);
    assert_eq!(verdicts(&cache), [0, 0, 0, 2], "neither is forgotten");
}

#[test]
fn what_finds_no_room_is_counted() {
    const WAITING_MAX: u64 = 64;
    const TOO_MANY: u64 = 3;
    let (project, cache) = (lying_project(), Cache::verifying());
    assert_eq!(cache.ending(&project, "./cc -c a.c"), "cache_miss");
    hold(&project);
    cache.compile(&project, "./cc -c a.c").success();
    wait_until_started(&project);
    for _ in 0..WAITING_MAX + TOO_MANY {
        cache.compile(&project, "./cc -c a.c").success();
    }
    let stats = cache.stats();
    assert_eq!(stats.get("verify_skipped"), TOO_MANY, "{stats:?}");
    assert_eq!(stats.get("direct_cache_hit"), WAITING_MAX + TOO_MANY + 1, "no hit waited");
    let why = stats.0["uncacheable"].to_string();
    assert!(why.contains("too many were waiting"), "{why}");
    cache.stop();
    release(&project);
}

#[test]
fn without_a_rate_nothing_is_compiled_again() {
    let (project, cache) = (lying_project(), Cache::new());
    assert_eq!(cache.ending(&project, "./cc -c a.c"), "cache_miss");
    hold(&project);
    for _ in 0..5 {
        assert_eq!(cache.ending(&project, "./cc -c a.c"), "direct_cache_hit");
    }
    assert!(!cache.is_verifying() && !project.beside("started").exists());
    assert_eq!(verdicts(&cache), [0, 0, 0, 0]);
    release(&project);
}

#[test]
fn what_holds_the_time_is_not_compared() {
    for family in compilers("what_holds_the_time_is_not_compared") {
        let text = "const char *when = __TIME__;\n";
        let (project, cache) = (Project::new(&[("a.c", text)]), Cache::verifying());
        let call =
            Call::from(format!("{} -c a.c", family.c)).env("RCACHE_SLOPPINESS", "time_macros");
        cache.compile(&project, &call).success();
        let seconds = project.read("a.o");
        // Until a compile shows another second.
        wait_until("the clock goes on", PATIENCE, || {
            project.plain(&call).success();
            project.read("a.o") != seconds
        });
        assert_eq!(cache.ending(&project, &call), "direct_cache_hit");
        assert_eq!(verdicts(&cache), [0, 0, 0, 1], "{}", family.c);
    }
}

#[test]
fn outputs_in_other_places() {
    let text = "#include \"a.h\"\nint f(int x) { int unused; return x * A; }\n";
    for family in compilers("outputs_in_other_places") {
        let project = Project::new(&[
            ("src/a.c", text),
            ("src/a.h", "#define A 3\n"),
            ("out/keep", ""),
            ("deep/er/keep", ""),
        ]);
        let cache = Cache::verifying();
        let root = project.root().display();
        let mut hits = 0;
        for words in [
            "-c src/a.c".to_owned(),
            "-c src/a.c -g -MD".to_owned(),
            "-S src/a.c -MD".to_owned(),
            "-Wall -c src/a.c -o out/x.o -MMD -MP".to_owned(),
            format!("-O2 -g -c {root}/src/a.c -o {root}/out/x.o -MD -MF deep/er/x.d"),
            "-c src/a.c -o ../p/out/y.o -MD -MT one -MQ $two".to_owned(),
            "-c src/a.c -oout/z -MMD -MFout/z.dep".to_owned(),
            "-c src/a.c -o out/w.o -Wp,-MMD,out/w.d".to_owned(),
            "-c src/a.c -Wp,-MD,out/w.d".to_owned(),
            "-Wall -fsyntax-only src/a.c".to_owned(),
        ] {
            let call = Call::from(format!("{} {words}", family.c));
            for umask in [0o022, 0o077] {
                let call = call.clone().umask(umask);
                cache.compile(&project, &call).success();
                assert_eq!(cache.ending(&project, &call), "direct_cache_hit", "{words}");
                hits += 1;
                // Under the second umask the first call is a hit as well.
                hits += u64::from(umask == 0o077);
                assert_eq!(verdicts(&cache), [hits, 0, 0, 0], "{words} with {}", family.c);
            }
        }
    }
}

#[test]
fn diagnostics_on_a_terminal() {
    let text = "int f(int x) { int unused; return x == 3 ? 1 : 2; }\n";
    for family in compilers("diagnostics_on_a_terminal") {
        let (project, cache) = (Project::new(&[("a.c", text)]), Cache::verifying());
        let call = Call::from(format!("{} -Wall -c a.c", family.c)).env("TERM", "xterm-256color");
        for _ in 0..2 {
            let (_main, terminal) = pseudo_terminal(80, 24);
            let mut command = cache.command(&project, &call);
            assert!(command.stderr(terminal).status().unwrap().success());
        }
        assert_eq!(cache.stats().get("direct_cache_hit"), 1);
        assert_eq!(verdicts(&cache), [1, 0, 0, 0], "{}", family.c);
    }
}

#[test]
fn objects_from_other_machines() {
    let worker = Worker::start("--jobs 2");
    let project = Project::new(&[("a.c", "int f(int x) { return x * 3; }\n")]);
    let cache = Cache::verifying().with("RCACHE_HOSTS", format!("{}/4", worker.address));
    for (words, verdict) in [("-O2 -c a.c", [1, 0, 0, 0]), ("-g -c a.c", [1, 0, 0, 1])] {
        let call = format!("gcc {words}");
        assert_eq!(cache.ending(&project, call.as_str()), "cache_miss");
        assert_eq!(cache.ending(&project, call.as_str()), "direct_cache_hit");
        assert_eq!(verdicts(&cache), verdict, "{words}");
    }
    assert_eq!(cache.stats().get("remote_compile"), 2);
}

fn filled() -> (Project, Cache) {
    let (project, cache) = (Project::new(&[]), Cache::new());
    for number in 0..4 {
        project.write(&format!("u{number}.c"), format!("int unit_{number} = {number};\n"));
        cache.compile(&project, format!("gcc -c u{number}.c")).success();
    }
    // Whoever asks for the statistics has waited until all is stored.
    cache.stats();
    (project, cache)
}

#[test]
fn a_sound_store_is_said_to_be() {
    for running in [true, false] {
        let (_project, cache) = filled();
        if !running {
            cache.stop();
        }
        let told = cache.rcache("verify").success().out();
        assert!(told.starts_with("checked 8 entries, ") && told.ends_with("all sound\n"), "{told}");
        let told = cache.rcache("verify --json").success();
        let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
        assert_eq!((&told["entries"], &told["missing"]), (&8.into(), &0.into()), "{told}");
    }
}

#[test]
fn damage_is_found_and_removed() {
    let flip = |file: &Path| {
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 16;
        fs::write(file, bytes).unwrap();
    };
    let cut = |file: &Path| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
    };
    type Harm<'h> = (&'h str, &'h dyn Fn(&Path));
    let harms: [Harm; 4] = [
        ("flipped", &flip),
        ("cut", &cut),
        ("emptied", &|file| fs::write(file, "").unwrap()),
        ("removed", &|file| fs::remove_file(file).unwrap()),
    ];
    for running in [true, false] {
        for (what, harm) in harms {
            let (project, cache) = filled();
            if !running {
                cache.stop();
            }
            let harmed = cache.store_files()[1].clone();
            harm(&harmed);
            let told = cache.rcache("verify");
            assert_eq!(told.status, 1, "{what}: {told:?}");
            let word = if what == "removed" { "1 missing" } else { "1 damaged, 1 removed" };
            assert!(told.out().contains(word), "{what}: {told:?}");
            let named = told.out().contains(&harmed.display().to_string());
            assert_eq!(named, what != "removed", "{told:?}");
            assert!(!harmed.exists(), "{what}");
            let told = cache.rcache("verify").success().out();
            assert!(told.starts_with("checked 7 entries"), "{what}: {told}");
            for number in 0..4 {
                cache.compile(&project, format!("gcc -c u{number}.c")).success();
            }
            assert!(cache.rcache("verify").ok(), "{what}: healed");
        }
    }
}

#[test]
fn a_check_beside_builds_finds_nothing() {
    let (project, cache) = filled();
    std::thread::scope(|scope| {
        let build = scope.spawn(|| {
            for number in 0..60 {
                project.write("v.c", format!("int v = {number};\n"));
                cache.compile(&project, "gcc -c v.c").success();
                match number % 20 {
                    9 => drop(cache.rcache("trim --max-size 2k").success()),
                    19 => drop(cache.rcache("clear").success()),
                    _ => {}
                }
            }
        });
        while !build.is_finished() {
            cache.rcache("verify").success();
        }
        build.join().unwrap();
    });
}

#[test]
fn the_calls_of_a_build_are_compiled_again() {
    let (project, cache) = filled();
    let row = |number: usize| {
        serde_json::json!({
            "directory": project.root(), "file": format!("u{number}.c"),
            "command": format!("gcc -c u{number}.c"),
        })
    };
    project.write("never.c", "int never;\n");
    let mut rows: Vec<_> = (0..4).map(row).collect();
    rows.push(serde_json::json!({
        "directory": project.root(), "file": "never.c", "arguments": ["gcc", "-c", "never.c"],
    }));
    project.write("compile_commands.json", serde_json::Value::from(rows).to_string());
    let verify = || {
        let mut command = cache.subcommand("verify --all");
        command.current_dir(project.root());
        run(&mut command, LIMIT_CALL)
    };
    let told = verify().success().out();
    assert!(told.contains("compiled again 4: 4 the same, 1 not cached\n"), "{told}");
    assert!(!project.exists("never.o"), "what is not cached is not compiled");

    cache.stop();
    plant(&cache, PartKind::Object);
    let told = verify();
    assert_eq!(told.status, 1, "{told:?}");
    assert!(told.out().contains("4 DIFFERENT") && told.out().contains("gcc -c u3.c"), "{told:?}");
    assert_eq!(kept(&cache).len(), 4);
    let told = verify().success().out();
    assert!(told.contains("compiled again 0: 0 the same, 5 not cached"), "{told}");

    let told = cache.rcache("verify --all --commands no_such.json");
    assert!(!told.ok() && told.err().contains("no_such.json"), "{told:?}");
}
