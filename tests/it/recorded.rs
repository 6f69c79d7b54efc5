//! What is in an object besides the code: command lines, names of other outputs, lists that nobody named.

use crate::support::{Cache, Call, Project, have, same_as_compiler, skip};

const UNIT: &[(&str, &str)] = &[("a.c", "int f(int *p) { return *p; }\n")];

#[test]
fn a_recorded_command_line_is_the_calls_own() {
    if !have("clang") {
        return skip("a_recorded_command_line_is_the_calls_own", "no clang");
    }
    let (project, cache) = (Project::new(UNIT), Cache::new());
    std::fs::create_dir(project.path("d")).unwrap();
    for target in [
        "--target=x86_64-pc-windows-msvc -g",
        "--target=x86_64-pc-windows-msvc -gline-tables-only",
        "--target=aarch64-pc-windows-msvc -g -ffile-compilation-dir=x",
        "--target=x86_64-w64-mingw32 -g -gcodeview",
        "-target i686-pc-windows-msvc -g -gcodeview-ghash",
        "-frecord-command-line",
        "-g -grecord-command-line",
    ] {
        for names in [
            "-o one.o",
            "-o d/two.o",
            "-MD -MF one.d -o one.o",
            "-MMD -MF d/two.d -o one.o",
            "-MD -o d/two.o",
            "-MD -MT other -MF one.d -o one.o",
        ] {
            let line = format!("clang {target} -O1 -c a.c {names}");
            let endings = same_as_compiler(&project, &cache, line.as_str());
            assert_eq!(endings.1, "direct_cache_hit", "{line}");
        }
    }
}

#[test]
fn the_same_compiler_at_another_path_is_recorded_by_that_path() {
    if !have("clang") {
        return skip("the_same_compiler_at_another_path_is_recorded_by_that_path", "no clang");
    }
    let (project, cache) = (Project::new(UNIT), Cache::new());
    for name in ["here", "there"] {
        let link = format!("{name}/clang");
        std::fs::create_dir(project.path(name)).unwrap();
        project.symlink("/usr/bin/clang", &link);
        let line =
            format!("{name}/clang -no-canonical-prefixes -frecord-command-line -c a.c -o a.o");
        same_as_compiler(&project, &cache, line.as_str());
    }
}

#[test]
fn a_list_that_a_sanitizer_reads_unasked_counts_when_it_appears() {
    if !have("clang") {
        let what = "a_list_that_a_sanitizer_reads_unasked_counts_when_it_appears";
        return skip(what, "no clang");
    }
    let (project, cache) = (Project::new(UNIT), Cache::new());
    let resources = project.plain("clang -print-resource-dir").success().out();
    std::fs::create_dir_all(project.path("res/share")).unwrap();
    for part in ["include", "lib"] {
        project.symlink(&format!("{}/{part}", resources.trim()), &format!("res/{part}"));
    }
    let call = Call::from("clang -resource-dir=res -fsanitize=address -O1 -c a.c -o a.o");
    let lists = ["", "src:*\n", "src:b.c\n"];
    for list in lists.iter().chain(&lists) {
        match list.is_empty() {
            true => drop(std::fs::remove_file(project.path("res/share/asan_ignorelist.txt"))),
            false => project.write("res/share/asan_ignorelist.txt", list),
        }
        let endings = same_as_compiler(&project, &cache, &call);
        assert_eq!(endings.1, "direct_cache_hit", "{list:?}");
    }
}
