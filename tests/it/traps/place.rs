//! Where a compile happens: two folders or checkouts, their names in outputs, PWD against the real folder.

use crate::support::{Cache, Call, Compilers, Project, check, compilers, same_as_compiler};

const SOURCE: &str = "#include \"x.h\"\nint x = X; const char *name = __FILE__;\n\
                      int f(int y) { return y > X ? y : x; }\n";

/// The same project in two folders.
fn two_checkouts() -> Project {
    let project = Project::new(&[]);
    for folder in ["one", "two"] {
        project.write(&format!("{folder}/src/a.c"), SOURCE);
        project.write(&format!("{folder}/src/x.h"), "#define X 1\n");
    }
    project
}

/// Compiles in each checkout in turn, twice; `line` is given the checkout's absolute path. Each second
/// compile must be a direct hit.
#[track_caller]
fn right_in_both(project: &Project, cache: &Cache, line: impl Fn(&str) -> String) {
    for turn in 0..2 {
        for folder in ["one", "two"] {
            let absolute = project.path(folder).display().to_string();
            let call = Call::from(line(&absolute)).within(folder);
            let ending = check(project, cache, &call);
            assert!(turn == 0 || ending == "direct_cache_hit", "{call:?}: {ending}");
        }
    }
}

#[test]
fn prefix_maps_and_two_checkouts() {
    for family in compilers("prefix_maps_and_two_checkouts") {
        let (project, cache) = (two_checkouts(), Cache::new());
        for map in ["-fdebug-prefix-map", "-ffile-prefix-map", "-fmacro-prefix-map"] {
            right_in_both(&project, &cache, |root| {
                format!("{} -g -c src/a.c {map}={root}=/src", family.c)
            });
            right_in_both(&project, &cache, |root| {
                format!("{} -g -c {root}/src/a.c {map}={root}=/src", family.c)
            });
            // The first that fits is not the last that fits.
            for order in [[1, 2], [2, 1]] {
                right_in_both(&project, &cache, |root| {
                    let [first, second] = order.map(|number| format!("{map}={root}=/m{number}"));
                    format!("{} -g -c {root}/src/a.c {first} {second}", family.c)
                });
            }
        }
    }
}

#[test]
fn prefix_map_of_one_checkout_used_in_both() {
    // The option's words are the same in both, and so is the source; the folder is not.
    for family in compilers("prefix_map_of_one_checkout_used_in_both") {
        let (project, cache) = (two_checkouts(), Cache::new());
        let one = project.path("one").display().to_string();
        right_in_both(&project, &cache, |_| {
            format!("{} -g -c src/a.c -fdebug-prefix-map={one}=/src", family.c)
        });
    }
}

#[test]
fn compilation_directory_option() {
    let (project, cache) = (two_checkouts(), Cache::new());
    for family in compilers("compilation_directory_option") {
        if family.c == "clang" {
            for option in ["-fdebug-compilation-dir=/src", "-ffile-compilation-dir=/src"] {
                right_in_both(&project, &cache, |_| format!("clang -g -c src/a.c {option}"));
            }
            right_in_both(&project, &cache, |root| {
                format!("clang -g -c src/a.c -fdebug-compilation-dir={root}/src")
            });
        }
    }
}

/// gcc draws a random number for coverage data, unless it is given a seed.
fn seed(family: Compilers) -> &'static str {
    if family.c == "gcc" { "-frandom-seed=1" } else { "" }
}

#[test]
fn coverage_holds_folder_and_output() {
    for family in compilers("coverage_holds_folder_and_output") {
        let (project, cache) = (two_checkouts(), Cache::new());
        let seed = seed(family);
        for options in ["--coverage", "-fprofile-arcs", "-ftest-coverage", "-fprofile-generate"] {
            right_in_both(&project, &cache, |_| {
                format!("{} {seed} {options} -c src/a.c", family.c)
            });
            for output in ["src/b.o", "c.o"] {
                right_in_both(&project, &cache, |root| {
                    format!("{} {seed} {options} -c src/a.c -o {root}/{output}", family.c)
                });
            }
        }
        for options in ["--coverage -fprofile-dir=data", "--coverage -fprofile-update=atomic"] {
            for _ in 0..2 {
                for folder in ["one", "two"] {
                    let line = format!("{} {seed} {options} -c src/a.c", family.c);
                    check(&project, &cache, Call::from(line).within(folder));
                }
            }
        }
    }
}

#[test]
fn coverage_of_another_source_with_the_same_text() {
    for family in compilers("coverage_of_another_source_with_the_same_text") {
        let (project, cache) = (two_checkouts(), Cache::new());
        for direct in ["true", "false"] {
            for folder in ["one", "two", "one"] {
                let seed = seed(family);
                let line = format!("{} {seed} --coverage -c {folder}/src/a.c -o a.o", family.c);
                check(&project, &cache, Call::from(line).env("RCACHE_DIRECT_MODE", direct));
            }
        }
    }
}

#[test]
fn apparent_and_real_working_directory() {
    for family in compilers("apparent_and_real_working_directory") {
        for options in ["-g", "-g -O2", "--coverage", "-g -fdebug-prefix-map=/x=/y"] {
            let (project, cache) = (two_checkouts(), Cache::new());
            project.symlink("one", "link");
            let apparent = |name: &str| project.path(name).display().to_string();
            let line = format!("{} {} {options} -c src/a.c", family.c, seed(family));
            let call = |pwd: &str| Call::from(line.as_str()).within("one").env("PWD", pwd);
            // Through the symlink, as it is, not at all, of another folder, of nowhere, relative.
            for pwd in [&apparent("link"), &apparent("one"), "", &apparent("two"), "/no/such", "."]
            {
                same_as_compiler(&project, &cache, call(pwd));
            }
            for pwd in [apparent("link"), apparent("one")] {
                assert_eq!(check(&project, &cache, call(&pwd)), "direct_cache_hit", "{pwd}");
            }
            project.symlink("two", "link");
            check(&project, &cache, call(&apparent("link")));
        }
    }
}

/// Compiles in a checkout and returns how it ended, and the object.
#[track_caller]
fn object(project: &Project, cache: &Cache, family: Compilers, folder: &str) -> (String, Vec<u8>) {
    let line = format!("{} -g -c src/a.c", family.c);
    let ending = cache.ending(project, Call::from(line).within(folder));
    (ending, project.read(&format!("{folder}/a.o")))
}

#[test]
fn hash_dir_set_to_false_forgets_the_folder_and_nothing_else() {
    for family in compilers("hash_dir_set_to_false_forgets_the_folder_and_nothing_else") {
        let project = two_checkouts();
        let cache = Cache::new().with("RCACHE_HASH_DIR", "false");
        let (_, first) = object(&project, &cache, family, "one");
        let (ending, second) = object(&project, &cache, family, "two");
        assert_eq!(ending, "direct_cache_hit");
        assert!(first == second);
        // A header that differs is seen in whichever folder the compile is.
        project.write("two/src/x.h", "#define X 2\n");
        let (_, third) = object(&project, &cache, family, "two");
        project.plain(Call::from(format!("{} -g -c src/a.c", family.c)).within("two")).success();
        assert!(project.read("two/a.o") == third && third != first);
        assert_eq!(object(&project, &cache, family, "one"), ("direct_cache_hit".into(), first));
    }
}

#[test]
fn folder_counts_wherever_it_is_in_the_output() {
    // Without debug information, too: absolute names in __FILE__, assertions and the coverage data.
    for family in compilers("folder_counts_wherever_it_is_in_the_output") {
        let (project, cache) = (two_checkouts(), Cache::new());
        right_in_both(&project, &cache, |root| format!("{} -c {root}/src/a.c -o a.o", family.c));
        right_in_both(&project, &cache, |root| {
            format!("{} -c src/a.c -include {root}/src/x.h -MD -MF a.d", family.c)
        });
        right_in_both(&project, &cache, |root| {
            format!("{} -c src/a.c -I{root}/src -MD -MF {root}/a.d -MT {root}/a.o", family.c)
        });
    }
}

#[test]
fn base_dir_and_a_header_outside_of_it() {
    for family in compilers("base_dir_and_a_header_outside_of_it") {
        let project = two_checkouts();
        for name in ["one/out/keep", "two/out/keep"] {
            project.write(name, "");
        }
        project.write("common/y.h", "#define Y 1\n");
        let cache = Cache::new().with("RCACHE_BASE_DIR", project.path("one"));
        let compile = |folder: &str| {
            let root = project.path(folder).display().to_string();
            let common = project.path("common").display().to_string();
            let call = |root: &str| {
                let line = format!(
                    "{} -c {root}/src/a.c -include {common}/y.h -I{root}/src -o a.o -MD",
                    family.c
                );
                Call::from(line).within(&format!("{folder}/out"))
            };
            let files = ["a.o", "a.d"].map(|name| format!("{folder}/out/{name}"));
            // Below base_dir the compiler is given relative names; elsewhere the names as they are.
            project.plain(call(if folder == "one" { ".." } else { &root })).success();
            let wanted = files.clone().map(|name| project.read(&name));
            let ending = cache.ending(&project, call(&root));
            assert!(files.map(|name| project.read(&name)) == wanted, "{folder}: {ending}");
            ending
        };
        for text in ["#define Y 1\n", "#define Y 2\n"] {
            project.write("common/y.h", text);
            compile("one");
            compile("two");
            assert_eq!(compile("one"), "direct_cache_hit");
            assert_eq!(compile("two"), "direct_cache_hit");
        }
    }
}

#[test]
fn folder_is_replaced_by_another_of_the_same_name() {
    for family in compilers("folder_is_replaced_by_another_of_the_same_name") {
        let (project, cache) = (two_checkouts(), Cache::new());
        project.write("two/src/x.h", "#define X 2\n");
        let rename = |from: &str, to: &str| {
            std::fs::rename(project.path(from), project.path(to)).unwrap();
        };
        let line = format!("{} -g -c src/a.c -MD", family.c);
        let mut endings = Vec::new();
        for _ in 0..3 {
            endings.push(check(&project, &cache, Call::from(line.as_str()).within("one")));
            rename("one", "three");
            rename("two", "one");
            rename("three", "two");
        }
        assert_eq!(endings[2], "direct_cache_hit", "{endings:?}");
    }
}
