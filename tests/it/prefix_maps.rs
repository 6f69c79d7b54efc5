//! Prefix maps: two folders share a result where the maps make the same of every name, and nowhere else.

use crate::support::{Cache, Call, Project, Random, check, compilers};
use std::path::Path;

/// A project with the same tree in several folders.
fn project(folders: &[&str]) -> Project {
    let project = Project::new(&[("shared.h", "#define SHARED 1\n")]);
    for folder in folders {
        let write = |name: &str, text: &str| project.write(&format!("{folder}/{name}"), text);
        write("src/a.c", SOURCE);
        write("inc/h.h", "#include \"deep/d.h\"\nstatic inline int h(int a) { return a + D; }\n");
        write("inc/deep/d.h", "#define D 3\n#define NAMES \"h\" __FILE__\nstruct d { int x; };\n");
        write("build/keep", "");
    }
    project
}

const SOURCE: &str = "#include \"h.h\"\n#include <stddef.h>\nconst char *names[] = \
    { __FILE__, __BASE_FILE__, NAMES, __builtin_FILE() };\nstruct d d;\n\
    int f(int a) { return h(a) + (int)sizeof(size_t); }\n";

/// A call in a folder, with `@` for that folder's absolute path.
fn call(project: &Project, folder: &str, within: &str, line: &str) -> Call {
    let path = project.path(folder).to_string_lossy().into_owned();
    Call::from(line.replace('@', &path)).within(&format!("{folder}{within}"))
}

fn shared(words: &str) -> Vec<String> {
    let mut endings = Vec::new();
    for family in compilers("prefix_maps::shared") {
        let (project, cache) = (project(&["one", "twotwo"]), Cache::new());
        let line = format!("{} {words}", family.c);
        for folder in ["one", "twotwo"] {
            endings.push(check(&project, &cache, call(&project, folder, "", &line)));
        }
    }
    endings
}

#[test]
fn a_map_that_hides_the_folder_shares_results() {
    for words in [
        "-g -ffile-prefix-map=@=. -Iinc -c src/a.c -o a.o",
        "-g -fdebug-prefix-map=@=/usr/src/debug -Iinc -c src/a.c -o a.o",
        "-fmacro-prefix-map=@=. -Iinc -c src/a.c -o a.o",
        "-g -O2 -Wall -ffile-prefix-map=@/=/src/ -ffile-prefix-map=@=/src -Iinc -MD -c src/a.c -o a.o",
        "-g3 -ffile-prefix-map=@=. -Iinc -c src/a.c -o a.o",
        "-g -S -ffile-prefix-map=@=. -Iinc src/a.c -o a.s",
    ] {
        let endings = shared(words);
        for pair in endings.chunks(2) {
            assert_eq!(pair, ["cache_miss", "direct_cache_hit"], "{words}");
        }
    }
}

#[test]
fn names_that_no_map_hides_are_not_shared() {
    for words in [
        "-g -ffile-prefix-map=@/inc=. -Iinc -c src/a.c -o a.o",
        "-g -fmacro-prefix-map=@=. -Iinc -c src/a.c -o a.o",
        "-g -ffile-prefix-map=@=. -I@/inc -c src/a.c -o a.o",
        "-g -ffile-prefix-map=@=. -Iinc -c @/src/a.c -o a.o",
        "-g -ffile-prefix-map=@=. -Iinc -Wa,-g -c src/a.c -o a.o",
        "-g -ffile-prefix-map=@=. -frecord-gcc-switches -Iinc -c src/a.c -o a.o",
    ] {
        let endings = shared(words);
        assert!(endings.iter().all(|ending| ending != "direct_cache_hit"), "{words}: {endings:?}");
    }
}

/// In the one folder the header is there, in the other a link leads to it: gcc 12 maps what it leads to.
#[test]
fn a_header_behind_a_link_is_named_by_what_it_leads_to() {
    for family in compilers("a_header_behind_a_link_is_named_by_what_it_leads_to") {
        let (project, cache) = (project(&["one", "two", "three"]), Cache::new());
        std::fs::rename(project.path("two/inc"), project.path("elsewhere")).unwrap();
        project.symlink("../elsewhere", "two/inc");
        project.write("three/real.h", project.read("three/inc/h.h"));
        project.symlink("../real.h", "three/inc/h.h");
        let line = format!("{} -g -ffile-prefix-map=@=/x -Iinc -c src/a.c -o a.o", family.c);
        for folder in ["one", "two", "three", "one"] {
            check(&project, &cache, call(&project, folder, "", &line));
        }
    }
}

#[test]
fn another_map_is_another_result() {
    for family in compilers("another_map_is_another_result") {
        let (project, cache) = (project(&["one", "on"]), Cache::new());
        let compile = |folder: &str, words: &str| {
            let line = format!("{} -g {words} -Iinc -c src/a.c -o a.o", family.c);
            check(&project, &cache, call(&project, folder, "", &line))
        };
        let root = project.root().display();
        for (folder, words) in [
            ("one", "-ffile-prefix-map=@=.".to_owned()),
            ("one", "-ffile-prefix-map=@=..".to_owned()),
            ("one", "-ffile-prefix-map=@=. -ffile-prefix-map=@=.".to_owned()),
            ("one", "-ffile-prefix-map=@=. -fdebug-prefix-map=@=/d".to_owned()),
            ("one", "-fdebug-prefix-map=@=/d -ffile-prefix-map=@=.".to_owned()),
            ("one", format!("-ffile-prefix-map={root}/on=.")),
            ("one", format!("-ffile-prefix-map={root}=.")),
        ] {
            assert_eq!(compile(folder, &words), "cache_miss", "{folder} {words}");
        }
        assert_eq!(compile("on", "-ffile-prefix-map=@=."), "direct_cache_hit");
        // There the prefix ends within a name.
        assert_eq!(compile("on", &format!("-ffile-prefix-map={root}/o=.")), "cache_miss");
    }
}

#[test]
fn a_line_directive_may_name_a_file_that_a_map_touches() {
    for family in compilers("a_line_directive_may_name_a_file_that_a_map_touches") {
        let (project, cache) = (project(&["one", "two"]), Cache::new());
        for folder in ["one", "two"] {
            let text = format!("#line 3 \"{}/one/gen.y\"\nint x;\n", project.root().display());
            project.write(
                &format!("{folder}/inc/deep/d.h"),
                text + "#define D 1\n#define NAMES \"\"\n",
            );
            let line = format!("{} -g -ffile-prefix-map=@=. -Iinc -c src/a.c -o a.o", family.c);
            check(&project, &cache, call(&project, folder, "", &line));
        }
    }
}

/// Random trees, folders, spellings and maps: whatever is a hit, the outputs are the compiler's own.
#[test]
fn what_folders_share_is_what_the_compiler_makes() {
    const ROUNDS: usize = 8;
    let mut random = Random::announced("what_folders_share_is_what_the_compiler_makes");
    for family in compilers("what_folders_share_is_what_the_compiler_makes") {
        let folders = ["a", "bb/sub", "a-b"];
        let (project, cache) = (project(&folders), Cache::new());
        arrange_links(&project, &mut random);
        let mut hits = 0;
        for _ in 0..ROUNDS {
            let line = random_line(&project, &mut random, family.c);
            let within = ["", "", "/build"][random.below(3) as usize];
            for folder in folders {
                let line = match within {
                    "" => line.clone(),
                    _ => line.replace("-Iinc", "-I../inc").replace(" src/", " ../src/"),
                };
                let mut call = call(&project, folder, within, &line);
                if random.below(3) == 0 {
                    call = call.env("PWD", project.path(&format!("{folder}{within}")));
                }
                let ending = check(&project, &cache, call);
                hits += usize::from(ending == "direct_cache_hit");
            }
        }
        println!("{}: {hits} hits in {} calls", family.c, ROUNDS * folders.len());
    }
}

fn arrange_links(project: &Project, random: &mut Random) {
    if random.below(2) == 0 {
        std::fs::rename(project.path("a/inc"), project.path("moved")).unwrap();
        project.symlink("../moved", "a/inc");
    }
    if random.below(2) == 0 {
        project.write("a-b/inc/real.h", project.read("a-b/inc/deep/d.h"));
        project.symlink("../real.h", "a-b/inc/deep/d.h");
    }
}

fn random_line(project: &Project, random: &mut Random, compiler: &str) -> String {
    let root = Path::new(project.root()).display().to_string();
    let mut pick =
        |choices: &[&str]| choices[random.below(choices.len() as u64) as usize].to_owned();
    let mut words = vec![compiler.to_owned()];
    for _ in 0..3 {
        words.push(pick(&[
            "",
            "-O1",
            "-g",
            "-g3",
            "-gdwarf-4",
            "-Wall",
            "-MD",
            "-fsanitize=undefined",
        ]));
    }
    words.push(pick(&["", "", "-gsplit-dwarf", "-fstack-usage", "-fdebug-compilation-dir=/x"]));
    if words.contains(&"-fdebug-compilation-dir=/x".to_owned()) && compiler == "gcc" {
        words.pop();
    }
    for _ in 0..=pick(&["", "x"]).len() {
        let option = pick(&["file", "file", "debug", "macro"]);
        let old =
            pick(&["@", "@", "@", "@/", "@/inc", &root, &format!("{root}/a"), "/", "inc", "@x"]);
        let new = pick(&[".", "", "/src", "x/", "@"]);
        words.push(format!("-f{option}-prefix-map={old}={new}"));
    }
    words.push(pick(&["-Iinc", "-Iinc", "-isystem inc -Iinc"]));
    words.push(pick(&[
        "-c src/a.c -o a.o",
        "-c src/a.c -o a.o",
        "-S src/a.c -o a.s",
        "-c @/src/a.c -o a.o",
    ]));
    words.join(" ")
}
