//! Traps for folders of the search path that are, become or cease to be the same folder.

use crate::support::{Cache, Call, Project, Trap, compilers, same_as_compiler};

#[test]
fn include_folder_is_a_symlink_that_is_retargeted() {
    for family in compilers("include_folder_is_a_symlink_that_is_retargeted") {
        let project = Project::new(&[
            ("a.c", "#include <x.h>\nint x = X;\n"),
            ("old/x.h", "#define X 1\n"),
            ("new/x.h", "#define X 2\n"),
        ]);
        project.symlink("old", "current");
        let line = format!("{} -c a.c -I current", family.c);
        let trap = Trap::prepared(project, line).sprung("direct_cache_hit");
        trap.change(|project| project.symlink("new", "current"));
        trap.undo(|project| project.symlink("old", "current"));
    }
}

/// clang calls a folder by the name under which it met it first, wherever it speaks of it.
#[test]
fn include_folder_named_twice_is_retargeted() {
    for family in compilers("include_folder_named_twice_is_retargeted") {
        for (one, two) in [
            ("-I old", "-I link"),
            ("-I link", "-I old"),
            ("-I old", "-isystem link"),
            ("-isystem old", "-I link"),
            ("-iquote link", "-I old"),
            ("-I old", "-iquote link"),
            ("-isystem old/", "-idirafter link/"),
            ("-I old", "--sysroot=/ -I=@/link"),
            ("-isystem =old -I =old -I old", "--sysroot=/ -isystem @/link"),
            ("-I old", "-iprefix li -iwithprefix nk"),
        ] {
            let source = "#if __has_include(\"x.h\")\nint x;\n#endif\nint y;\n";
            let project = Project::new(&[("a.c", source), ("old/y.h", ""), ("new/x.h", "")]);
            project.symlink("old", "link");
            let two = two.replace('@', &project.root().display().to_string());
            let line = format!("{} -c a.c {one} {two}", family.c);
            let trap = Trap::prepared(project, line).sprung("direct_cache_hit");
            trap.change(|project| project.symlink("new", "link"));
            trap.undo(|project| project.symlink("old", "link"));
        }
    }
}

/// Of two names of one folder, gcc and clang search one; where either is a system folder, that one.
#[test]
fn include_folders_become_one() {
    for family in compilers("include_folders_become_one") {
        for (one, two) in [
            ("-I one", "-I two"),
            ("-I one", "-isystem two"),
            ("-isystem two", "-I one"),
            ("-I two", "-idirafter one"),
            ("-iquote one", "-isystem two"),
            ("-iquote one", "-iquote two"),
        ] {
            let header = "#if __has_include_next(<x.h>)\nint next;\n#endif\nint x;\n";
            let project = Project::new(&[
                ("a.c", "#include \"x.h\"\n"),
                ("one/x.h", header),
                ("two/x.h", header),
            ]);
            let line = format!("{} -c a.c {one} {two} -MMD", family.c);
            let trap = Trap::prepared(project, line).sprung("direct_cache_hit");
            trap.change(|project| {
                std::fs::rename(project.path("two"), project.path("aside")).unwrap();
                project.symlink("one", "two");
            });
            trap.undo(|project| {
                project.remove("two");
                std::fs::rename(project.path("aside"), project.path("two")).unwrap();
            });
        }
    }
}

/// Relative and absolute names, or one that leads through the folder's parent, are the same in one
/// working directory only.
#[test]
fn include_folders_are_one_in_one_working_directory() {
    for family in compilers("include_folders_are_one_in_one_working_directory") {
        let (project, cache) = (Project::new(&[]), Cache::new());
        for folder in ["v", "w"] {
            project.write(&format!("{folder}/a.c"), "#include \"x.h\"\n");
        }
        project.write("v/inc/x.h", "int x;\n");
        project.write("w/inc/keep", "");
        let whole = format!("{}/v/inc", project.root().display());
        for name in ["../v/inc", &whole] {
            let line = format!("{} -c a.c -isystem inc -I {name} -MMD", family.c);
            for folder in ["w", "v", "w", "v"] {
                same_as_compiler(&project, &cache, Call::from(line.as_str()).within(folder));
            }
        }
    }
}
