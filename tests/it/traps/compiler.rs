//! The compiler is another one, though its name, its size or its time are the same.

use crate::support::{
    Cache, Call, LIMIT_CALL, Project, SYSTEM_PATH, Trap, check, compilers, copy_program, have, run,
    skip,
};
use std::path::{Path, PathBuf};

const UNIT: &[(&str, &str)] = &[("a.c", "#ifndef X\n#define X 0\n#endif\nint x = X;\n")];

/// A program that runs a compiler with `-DX=digit`. All of them have the same size.
fn program_text(compiler: &str, digit: u32) -> String {
    format!(
        "#include <unistd.h>\n#include <string.h>\nint main(int count, char **words) {{\n\
         char *all[count + 2]; memcpy(all, words, count * sizeof *all);\n\
         all[0] = \"/usr/bin/{compiler}\"; all[count] = \"-DX={digit}\"; all[count + 1] = 0;\n\
         execv(all[0], all); return 1; }}\n"
    )
}

/// Makes the program `name` from that text.
fn make_program(project: &Project, name: &str, compiler: &str, digit: u32) {
    project.write("program.c", program_text(compiler, digit));
    let line = format!("gcc -O1 -Wl,--build-id=none program.c -o {name}");
    project.plain(line.as_str()).success();
    project.remove("program.c");
    project.touch(name, 1_500_000_000);
}

#[test]
fn compiler_with_the_same_size_and_time() {
    for family in compilers("compiler_with_the_same_size_and_time") {
        let project = Project::new(UNIT);
        make_program(&project, "cc", family.c, 1);
        let trap = Trap::prepared(project, "./cc -c a.c").sprung("direct_cache_hit");
        let size = |name: &str| std::fs::metadata(trap.project.path(name)).unwrap().len();
        let first = size("cc");
        trap.change(|project| {
            make_program(project, "other", family.c, 2);
            std::fs::rename(project.path("other"), project.path("cc")).unwrap();
        });
        assert_eq!(size("cc"), first);
        // In place: the inode is the same, too.
        trap.change(|project| {
            make_program(project, "other", family.c, 3);
            project.write("cc", project.read("other"));
            project.touch("cc", 1_500_000_000);
            project.remove("other");
        });
        trap.undo(|project| make_program(project, "cc", family.c, 1));
    }
}

#[test]
fn wrapper_script_around_each_compiler_edited() {
    for family in compilers("wrapper_script_around_each_compiler_edited") {
        let script = |digit: u32| format!("#!/bin/sh\nexec {} -DX={digit} \"$@\"\n", family.c);
        let project = Project::new(UNIT);
        project.script("cc", &script(1));
        let trap = Trap::prepared(project, "./cc -c a.c").sprung("direct_cache_hit");
        trap.change(|project| {
            project.replace_unseen("cc", &script(2));
            project.mode("cc", 0o755);
        });
        trap.undo(|project| project.script("cc", &script(1)));
    }
}

#[test]
fn wrapper_script_that_obeys_a_variable() {
    for family in compilers("wrapper_script_that_obeys_a_variable") {
        let project = Project::new(UNIT);
        project.script("cc", &format!("#!/bin/sh\nexec {} -DX=$NUMBER \"$@\"\n", family.c));
        let cache = Cache::new();
        let call = |number: &str| Call::from("./cc -c a.c").env("NUMBER", number);
        for number in ["1", "2", "1"] {
            check(&project, &cache, call(number));
        }
    }
}

#[test]
fn wrapper_script_whose_link_leads_to_another_compiler() {
    if !have("gcc") || !have("clang") {
        return skip("wrapper_script_whose_link_leads", "gcc and clang are not both installed");
    }
    let project = Project::new(&[("a.c", "int x = sizeof(long) + __GNUC__;\n")]);
    project.script("w/cc", "#!/bin/sh\nexec \"$(dirname \"$0\")/real\" \"$@\"\n");
    let cache = Cache::new();
    for compiler in ["gcc", "clang", "gcc", "clang", "gcc"] {
        let _ = std::fs::remove_file(project.path("w/real"));
        std::os::unix::fs::symlink(Path::new("/usr/bin").join(compiler), project.path("w/real"))
            .unwrap();
        check(&project, &cache, Call::from("w/cc -c a.c"));
    }
}

#[test]
fn specs_that_ask_for_a_variable() {
    if !have("gcc") {
        return skip("specs_that_ask_for_a_variable", "gcc is not installed");
    }
    let specs = "*cpp_unique_options:\n+ -DX=%:getenv(NUMBER 1)\n\n";
    let project = Project::new(&[("a.c", "int x = X;\n"), ("own.specs", specs)]);
    let cache = Cache::new();
    for number in ["1", "2", "1"] {
        check(&project, &cache, Call::from("gcc -specs=own.specs -c a.c").env("NUMBER", number));
    }
}

#[test]
fn specs_that_ask_for_a_file() {
    if !have("gcc") {
        return skip("specs_that_ask_for_a_file", "gcc is not installed");
    }
    let project = Project::new(&[("a.c", "#if X\nint x;\n#endif\n")]);
    // gcc looks for absolute names only.
    let there = project.path("there").display().to_string();
    let option = format!("%:if-exists-else({there} -DX=2)");
    project.write("own.specs", format!("*cpp_unique_options:\n+ {option}\n\n"));
    let cache = Cache::new();
    for _ in 0..2 {
        check(&project, &cache, "gcc -specs=own.specs -c a.c");
    }
    project.write("there", "");
    check(&project, &cache, "gcc -specs=own.specs -c a.c");
}

/// A copy of gcc with programs of its own in `tool`, and the folder of those.
fn own_gcc(project: &Project) -> PathBuf {
    let ask = |what: &str| {
        project.plain(format!("gcc {what}").as_str()).success().out().trim().to_owned()
    };
    let real = PathBuf::from(ask("-print-prog-name=cc1"));
    let version = real.parent().unwrap().file_name().unwrap().to_owned();
    let folder = project.path("tool/lib/gcc").join(ask("-dumpmachine")).join(version);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::create_dir_all(project.path("tool/bin")).unwrap();
    copy_program(Path::new("/usr/bin/gcc"), &project.path("tool/bin/gcc"));
    let text = format!("#!/bin/sh\nexec {} -DX=1 \"$@\"\n", real.display());
    let script = folder.join("cc1").strip_prefix(project.root()).unwrap().display().to_string();
    project.script(&script, &text);
    project.touch(&script, 1_500_000_000);
    folder.strip_prefix(project.root()).unwrap().to_owned()
}

#[test]
fn cc1_replaced_while_the_driver_stays() {
    if !have("gcc") {
        return skip("cc1_replaced_while_the_driver_stays", "gcc is not installed");
    }
    let project = Project::new(UNIT);
    let folder = own_gcc(&project);
    let cc1 = folder.join("cc1").display().to_string();
    let other = String::from_utf8(project.read(&cc1)).unwrap();
    let trap = Trap::prepared(project, "tool/bin/gcc -c a.c").sprung("direct_cache_hit");
    let plain = trap.project.plain(&trap.call).success();
    assert!(plain.stderr.is_empty(), "{plain:?}");
    trap.change(|project| {
        project.replace_unseen(&cc1, &other.replace("-DX=1", "-DX=2"));
        project.mode(&cc1, 0o755);
    });
    trap.change(|project| {
        project.script(&cc1, &other.replace("-DX=1", "-DX=3"));
        project.touch(&cc1, 1_500_000_000);
    });
    trap.undo(|project| project.script(&cc1, &other));
}

#[test]
fn specs_of_gcc_appear() {
    if !have("gcc") {
        return skip("specs_of_gcc_appear", "gcc is not installed");
    }
    let project = Project::new(UNIT);
    let specs = own_gcc(&project).join("specs").display().to_string();
    let trap = Trap::prepared(project, "tool/bin/gcc -c a.c").sprung("direct_cache_hit");
    trap.change(|project| project.write(&specs, "*cc1:\n+ -UX -DX=5 -g\n\n"));
    trap.change(|project| project.write(&specs, "*cc1:\n+ -UX -DX=6 -g\n\n"));
    trap.undo(|project| project.remove(&specs));
}

#[test]
fn assembler_of_another_path() {
    // gcc takes `as` from PATH.
    let project = Project::new(UNIT);
    project.script("tools/as", "#!/bin/sh\nexec /usr/bin/as --defsym n=1 \"$@\"\n");
    let cache = Cache::new();
    let path = |folder: &str| format!("{}:{SYSTEM_PATH}", project.path(folder).display());
    let call = |folder: &str| Call::from("/usr/bin/gcc -c a.c").env("PATH", path(folder));
    for folder in ["none", "tools", "none", "tools"] {
        check(&project, &cache, call(folder));
    }
    assert_eq!(check(&project, &cache, call("tools")), "direct_cache_hit");
    assert_eq!(check(&project, &cache, call("none")), "direct_cache_hit");
    // One appears in a folder of PATH that had none.
    project.script("none/as", "#!/bin/sh\nexec /usr/bin/as --defsym n=2 \"$@\"\n");
    check(&project, &cache, call("none"));
}

/// A library whose mere presence makes a compiler see other macros: it rewrites the search variables.
fn preloaded(folder: &str) -> String {
    format!(
        "#include <stdlib.h>\n__attribute__((constructor)) static void start(void) \
         {{ setenv(\"CPATH\", \"{folder}\", 1); }}\n"
    )
}

#[test]
fn library_preloaded_into_the_compiler() {
    for family in compilers("library_preloaded_into_the_compiler") {
        let project = Project::new(&[
            ("a.c", "#include <x.h>\nint x = X;\n"),
            ("one/x.h", "#define X 1\n"),
            ("two/x.h", "#define X 2\n"),
            ("one.c", &preloaded("one")),
            ("two.c", &preloaded("two")),
        ]);
        for name in ["one", "two"] {
            let line = format!("gcc -shared -fPIC {name}.c -o {name}.so");
            project.plain(line.as_str()).success();
        }
        let line = format!("{} -c a.c -I one", family.c);
        let line = line.strip_suffix(" -I one").unwrap();
        for relative in [false, true] {
            let cache = Cache::new();
            let call = |name: &str| {
                let file = match relative {
                    true => format!("./{name}").into(),
                    false => project.path(name),
                };
                Call::from(line).env("LD_PRELOAD", file)
            };
            let object = |name: &str| {
                // The launcher is static, so that it is the compiler alone that sees the library.
                run(&mut project.command_for(&call(name), &[]), LIMIT_CALL).success();
                let wanted = project.read("a.o");
                project.remove("a.o");
                cache.compile(&project, call(name)).success();
                assert!(project.read("a.o") == wanted, "{name} {relative} with {}", family.c);
                project.remove("a.o");
                wanted
            };
            assert!(object("one.so") != object("two.so"), "the case can tell");
            object("one.so");
            std::fs::copy(project.path("two.so"), project.path("three.so")).unwrap();
            object("three.so");
            project.write("three.so", project.read("one.so"));
            object("three.so");
        }
    }
}

#[test]
fn libraries_of_the_compiler_from_another_folder() {
    // LD_LIBRARY_PATH, as environment modules set it: another version of a library of the compiler.
    for family in compilers("libraries_of_the_compiler_from_another_folder") {
        let project = Project::new(UNIT);
        let program = project.plain(format!("{} -print-prog-name=cc1", family.c).as_str()).out();
        let program = match family.c {
            "gcc" => program.trim().to_owned(),
            _ => "/usr/bin/clang".to_owned(),
        };
        let list = project.plain(Call::of(["ldd", &program])).out();
        let library = list.lines().find_map(|line| {
            let (name, rest) = line.trim().split_once(" => ")?;
            name.starts_with("libz.")
                .then(|| (name.to_owned(), rest.split(' ').next().unwrap().to_owned()))
        });
        let Some((name, path)) = library else {
            skip("libraries_of_the_compiler_from_another_folder", "it does not use libz");
            continue;
        };
        project.write("lib/keep", "");
        let place = format!("lib/{name}");
        std::fs::copy(path, project.path(&place)).unwrap();
        let cache = Cache::new();
        let call = || Call::from(format!("{} -c a.c", family.c));
        let other = || call().env("LD_LIBRARY_PATH", project.path("lib"));
        assert_eq!(check(&project, &cache, call()), "cache_miss");
        // The same library in another place is the same compiler.
        assert_eq!(check(&project, &cache, other()), "direct_cache_hit");
        let mut bytes = project.read(&place);
        bytes.push(0);
        project.write(&place, bytes);
        assert_eq!(check(&project, &cache, other()), "cache_miss", "another library");
        assert_eq!(check(&project, &cache, other()), "direct_cache_hit");
        assert_eq!(check(&project, &cache, call()), "direct_cache_hit");
    }
}

#[test]
fn configuration_file_of_a_clang_appears() {
    if !have("clang") {
        return skip("configuration_file_of_a_clang_appears", "clang is not installed");
    }
    for name in ["own-clang", "x86_64-clang"] {
        let project = Project::new(UNIT);
        project.write("tool/keep", "");
        project.symlink("/usr/bin/clang", &format!("tool/{name}"));
        let line = format!("tool/{name} -c a.c");
        let trap = Trap::prepared(project, line).sprung("direct_cache_hit");
        for file in [format!("tool/{name}.cfg"), format!("tool/{}.cfg", name.replace("-clang", ""))]
        {
            trap.change(|project| project.write(&file, "-DX=7\n"));
            trap.change(|project| project.write(&file, "-DX=8\n"));
            trap.undo(|project| project.remove(&file));
        }
    }
}

#[test]
fn package_of_system_headers_upgraded() {
    // A package manager renames the new file into place, with the time of the package's build.
    for family in compilers("package_of_system_headers_upgraded") {
        let files = [("a.c", "#include <x.h>\nint x = X;\n"), ("usr/include/x.h", "#define X 1\n")];
        for options in ["-isystem usr/include", "-isystem usr/include -MMD", "--sysroot=."] {
            let project = Project::new(&files);
            project.touch("usr/include/x.h", 1_500_000_000);
            let line = format!("{} -c a.c {options}", family.c);
            let trap = Trap::prepared(project, line).sprung("direct_cache_hit");
            trap.change(|project| project.replace_unseen("usr/include/x.h", "#define X 2\n"));
            trap.change(|project| project.touch("usr/include/x.h", 1_400_000_000));
            trap.undo(|project| project.replace_unseen("usr/include/x.h", "#define X 1\n"));
        }
    }
}
