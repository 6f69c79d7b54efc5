//! Every way to call rcache in a compiler's place, and that it steps aside as the shell would expect.

use crate::support::{
    Cache, Call, LIMIT_CALL, MASQUERADE_PATH, Project, SYSTEM_PATH, check, compilers, copy_program,
    have, rcache_binary, run, same_as_compiler, skip,
};
use std::os::unix::ffi::OsStrExt;

const HELLO: &[(&str, &str)] =
    &[("a.c", "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n")];

fn path_of(folders: &str) -> String {
    folders.replace("rcache", MASQUERADE_PATH).replace("system", SYSTEM_PATH)
}

/// Makes the call twice through a link; the object must be the compiler's, the second one a hit.
#[track_caller]
fn masqueraded(project: &Project, cache: &Cache, link: &std::path::Path, path: &str, line: &str) {
    let name = link.file_name().unwrap().to_str().unwrap();
    project.plain(format!("{name} {line}").as_str()).success();
    let wanted = project.read("a.o");
    for (turn, counter) in [("cold", "cache_miss"), ("warm", "direct_cache_hit")] {
        project.remove("a.o");
        let before = cache.stats();
        let words = std::iter::once(link.to_str().unwrap()).chain(line.split_whitespace());
        let call = Call::of(words).env("PATH", path);
        run(&mut cache.command_bare(project, &call), LIMIT_CALL).success();
        assert_eq!(project.read("a.o"), wanted, "{turn} through {}", link.display());
        assert_eq!(cache.endings_since(&before), counter, "{turn} through {}", link.display());
    }
    project.remove("a.o");
}

#[test]
fn prefix_form() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    for family in compilers("prefix_form") {
        let (cold, warm) = same_as_compiler(&project, &cache, format!("{} -c a.c", family.c));
        assert_eq!((cold.as_str(), warm.as_str()), ("cache_miss", "direct_cache_hit"));
    }
}

#[test]
fn prefix_form_with_a_path() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    let (_, warm) = same_as_compiler(&project, &cache, "/usr/bin/gcc -c a.c -o out.o");
    assert_eq!(warm, "direct_cache_hit");
    project.symlink("/usr/bin/gcc", "my-gcc");
    same_as_compiler(&project, &cache, "./my-gcc -c a.c");
}

#[test]
fn double_dash_form() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    cache.compile(&project, "-- gcc -c a.c -o through.o").success();
    project.plain("gcc -c a.c -o plain.o").success();
    assert_eq!(project.read("through.o"), project.read("plain.o"));
}

#[test]
fn compiler_named_like_a_subcommand() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    project.symlink("/usr/bin/gcc", "stats");
    let path = format!("{}:{SYSTEM_PATH}", project.root().display());
    let call = Call::from("-- stats -c a.c").env("PATH", path);
    cache.compile(&project, call).success();
    assert!(project.exists("a.o"));
}

#[test]
fn rcache_before_rcache() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    let binary = rcache_binary();
    let words = [binary.to_str().unwrap(), "gcc", "-c", "a.c"];
    check(&project, &cache, "gcc -c a.c");
    cache.compile(&project, Call::of(words)).success();
    assert!(project.exists("a.o"));
}

#[test]
fn masquerade_by_symlink() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    for family in compilers("masquerade_by_symlink") {
        let link = cache.link(family.c);
        masqueraded(&project, &cache, &link, &path_of("rcache:system"), "-c a.c");
    }
}

#[test]
fn masquerade_by_the_names_of_a_cross_toolchain() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    for name in ["cc", "x86_64-linux-gnu-gcc", "x86_64-linux-gnu-gcc-12", "gcc-12", "clang-14"] {
        if have(name) {
            let link = cache.link(name);
            masqueraded(&project, &cache, &link, &path_of("rcache:system"), "-c a.c");
        }
    }
}

#[test]
fn masquerade_by_hard_link_and_copy() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    let copy = cache.bin().join("gcc");
    copy_program(&rcache_binary(), &copy);
    masqueraded(&project, &cache, &copy, &path_of("rcache:system"), "-c a.c");
    let linked = cache.bin().join("g++");
    std::fs::hard_link(&copy, &linked).unwrap();
    masqueraded(&project, &cache, &linked, &path_of("rcache:system"), "-c a.c");
}

#[test]
fn masquerade_among_other_wrappers_in_any_order() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    if !have("ccache") || !have("distcc") {
        return skip("masquerade_among_other_wrappers_in_any_order", "no ccache or no distcc");
    }
    let link = cache.link("gcc");
    let (ccache, distcc) = ("/usr/lib/ccache", "/usr/lib/distcc");
    for path in [
        format!("rcache:{ccache}:{distcc}:system"),
        format!("{ccache}:rcache:{distcc}:system"),
        format!("{distcc}:{ccache}:rcache:system"),
        format!("rcache:rcache:{ccache}:system"),
        format!("system:{ccache}:rcache"),
        "rcache:.::/no/such/folder:system".to_owned(),
    ] {
        let own = Cache::new();
        std::os::unix::fs::symlink(&link, own.bin().join("gcc")).unwrap();
        let ccache_folder = own.root().join("ccache");
        let cache = own.with("CCACHE_DIR", ccache_folder);
        masqueraded(&project, &cache, &cache.bin().join("gcc"), &path_of(&path), "-c a.c");
    }
}

#[test]
fn masquerade_with_nothing_but_wrappers_in_the_path() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    let link = cache.link("gcc");
    let call = Call::of([link.to_str().unwrap(), "-c", "a.c"]).env("PATH", MASQUERADE_PATH);
    let outcome = run(&mut cache.command_bare(&project, &call), LIMIT_CALL);
    assert_eq!(
        outcome.status, 127,
        "as the shell says of a command that is not there: {outcome:?}"
    );
    assert!(outcome.err().contains("gcc"), "{outcome:?}");
}

#[test]
fn masquerade_does_not_recurse_through_a_script() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    let link = cache.link("gcc");
    // A script that is a masquerade of the user's own making: the next `gcc` in PATH is the script.
    let script = format!("#!/bin/sh\nexec '{}' gcc \"$@\"\n", rcache_binary().display());
    project.script("wrapper/gcc", &script);
    let path = format!("{MASQUERADE_PATH}:{}:{SYSTEM_PATH}", project.path("wrapper").display());
    let call = Call::of([link.to_str().unwrap(), "-c", "a.c"]).env("PATH", path);
    let outcome = run(&mut cache.command_bare(&project, &call), std::time::Duration::from_secs(30));
    assert!(outcome.ok() && project.exists("a.o"), "{outcome:?}");
}

#[test]
fn compiler_that_is_not_there() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    for name in ["no-such-compiler", "./no-such-compiler", "/no/such/compiler"] {
        let outcome = cache.compile(&project, format!("{name} -c a.c").as_str());
        assert_eq!(outcome.status, 127, "{name}: {outcome:?}");
        assert!(outcome.err().contains(name), "{name}: {outcome:?}");
    }
}

#[test]
fn compiler_that_may_not_be_run() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    project.write("gcc", "#!/bin/sh\n");
    project.mode("gcc", 0o644);
    let outcome = cache.compile(&project, "./gcc -c a.c");
    assert_eq!(outcome.status, 126, "as the shell says: {outcome:?}");
}

#[test]
fn words_of_any_bytes() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    let odd = std::ffi::OsStr::from_bytes(b"odd \xff\n'\"$`.c");
    std::fs::copy(project.path("a.c"), project.root().join(odd)).unwrap();
    let call = Call::from("gcc -c -o odd.o").word(odd);
    same_as_compiler(&project, &cache, call);
    let call = Call::from("gcc -c a.c").word("-DX=a b\t\\ \"c\"").word("-DY=\u{1F600}");
    same_as_compiler(&project, &cache, call);
    same_as_compiler(&project, &cache, Call::from("gcc -c a.c").word(""));
}

#[test]
fn a_long_command_line() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    let mut call = Call::from("gcc -c a.c");
    for number in 0..1000 {
        call = call.word(format!("-DMACRO_NUMBER_{number}=the_value_of_macro_{number}"));
    }
    let (_, warm) = same_as_compiler(&project, &cache, call);
    assert_eq!(warm, "direct_cache_hit");
}

#[test]
fn calls_that_are_not_compiles() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    for family in compilers("calls_that_are_not_compiles") {
        for (line, counter) in [
            ("--version", "no_input_file"),
            ("-dumpmachine", "no_input_file"),
            ("-print-search-dirs", "no_input_file"),
            ("a.c -o program", "called_for_link"),
            ("-E a.c", "called_for_preprocessing"),
            ("-M a.c", "called_for_preprocessing"),
            ("-MM a.c", "called_for_preprocessing"),
        ] {
            let (cold, warm) = same_as_compiler(&project, &cache, format!("{} {line}", family.c));
            assert_eq!((cold.as_str(), warm.as_str()), (counter, counter), "{line}");
        }
        same_as_compiler(&project, &cache, family.c);
        same_as_compiler(&project, &cache, format!("{} -c no-such.c", family.c));
    }
}

#[test]
fn source_from_standard_input() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    let script = format!("'{}' gcc -xc -c - -o a.o < a.c", rcache_binary().display());
    let mut command = cache.command_bare(&project, &Call::of(["/bin/sh", "-c", &script]));
    run(&mut command, LIMIT_CALL).success();
    let through = project.read("a.o");
    project.plain(Call::of(["/bin/sh", "-c", "gcc -xc -c - -o a.o < a.c"])).success();
    assert_eq!(project.read("a.o"), through);
}

#[test]
fn closed_standard_streams() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    for (line, closed) in [("gcc -c a.c", "<&- >&- 2>&-"), ("gcc -c a.c -DX", ">&-")] {
        let script = format!("'{}' {line} {closed}", rcache_binary().display());
        for _ in 0..2 {
            let mut command = cache.command_bare(&project, &Call::of(["/bin/sh", "-c", &script]));
            run(&mut command, LIMIT_CALL).success();
            project.plain(format!("{line} -o plain.o").as_str()).success();
            assert_eq!(project.read("a.o"), project.read("plain.o"), "{closed}");
            project.remove("a.o");
        }
    }
}

#[test]
fn the_launcher_keeps_no_pipe_open() {
    let (project, cache) = (Project::new(HELLO), Cache::new());
    // `cat` ends when the last writer closes the pipe; a daemon that inherited it would hang here.
    let script = format!("'{}' gcc -c a.c 2>&1 | cat", rcache_binary().display());
    let mut command = cache.command_bare(&project, &Call::of(["/bin/sh", "-c", &script]));
    run(&mut command, std::time::Duration::from_secs(30)).success();
    assert_eq!(cache.daemons().len(), 1);
}
