//! Every variable that the compilers read: it counts, or the call is not cached, or it is harmless.

use crate::support::{Cache, Call, LIMIT_CALL, Project, check, compilers, run, same_as_compiler};
use compiler::environment::{Meaning, VARIABLES};
use std::collections::BTreeSet;

const REFUSED: &str = "unsupported_environment_variable";

#[test]
fn variables_that_add_outputs_or_options() {
    for family in compilers("variables_that_add_outputs_or_options") {
        let (project, cache) =
            (Project::new(&[("a.c", "int f(int x) { return x; }\n")]), Cache::new());
        let line = format!("{} -c a.c", family.c);
        check(&project, &cache, line.as_str());
        for (name, _) in VARIABLES.iter().filter(|(_, meaning)| *meaning == Meaning::Refused) {
            let value = match *name {
                "CCC_OVERRIDE_OPTIONS" => "# +-g",
                "CCC_ADD_ARGS" => "-g",
                "GCC_COMPARE_DEBUG" => "-g",
                "DEPENDENCIES_OUTPUT" | "SUNPRO_DEPENDENCIES" => "hidden.d target",
                _ if name.ends_with("_FILE") => "hidden.txt",
                _ => "1",
            };
            let call = Call::from(line.as_str()).env(name, value);
            // A crash has nothing to compare, and how long a compile took is never the same.
            if *name == "FORCE_CLANG_DIAGNOSTICS_CRASH" || name.contains("_STAT") {
                let before = cache.stats();
                cache.compile(&project, &call);
                assert_eq!(cache.endings_since(&before), REFUSED, "{name}");
                let _ = std::fs::remove_file(project.path("hidden.txt"));
                continue;
            }
            let endings = same_as_compiler(&project, &cache, call);
            assert_eq!(endings, (REFUSED.to_owned(), REFUSED.to_owned()), "{name}");
        }
        assert_eq!(check(&project, &cache, line.as_str()), "direct_cache_hit");
    }
}

#[test]
fn variables_that_count() {
    for family in compilers("variables_that_count") {
        let (project, cache) =
            (Project::new(&[("a.c", "int f(int x) { return x; }\n")]), Cache::new());
        let line = format!("{} -c a.c", family.c);
        check(&project, &cache, line.as_str());
        for (name, _) in VARIABLES.iter().filter(|(_, meaning)| *meaning != Meaning::Refused) {
            let value = match *name {
                "SOURCE_DATE_EPOCH" => "1000000000",
                "GNUTARGET" => "elf64-x86-64",
                _ if name.starts_with("LC_") || name.starts_with("LANG") => "C",
                _ => "/no/such/folder/",
            };
            let call = Call::from(line.as_str()).env(name, value);
            let (_, warm) = same_as_compiler(&project, &cache, &call);
            // A GCC_EXEC_PREFIX without a compiler in it leaves gcc without one.
            if project.plain(&call).ok() {
                assert_eq!(warm, "direct_cache_hit", "{name}");
            }
        }
        assert_eq!(check(&project, &cache, line.as_str()), "direct_cache_hit");
    }
}

#[test]
fn include_path_variables_of_each_language() {
    for family in compilers("include_path_variables_of_each_language") {
        let text = "#include <x.h>\nint x = X;\n";
        let project = Project::new(&[
            ("a.c", text),
            ("a.cc", text),
            ("a.S", "#include <x.h>\n\t.data\n\t.long X\n"),
            ("one/x.h", "#define X 1\n"),
            ("two/x.h", "#define X 2\n"),
        ]);
        let cache = Cache::new();
        for (variable, compiler, file) in [
            ("CPATH", family.c, "a.c"),
            ("CPATH", family.cxx, "a.cc"),
            ("CPATH", family.c, "a.S"),
            ("C_INCLUDE_PATH", family.c, "a.c"),
            ("C_INCLUDE_PATH", family.c, "a.S"),
            ("CPLUS_INCLUDE_PATH", family.cxx, "a.cc"),
        ] {
            let call = |folder: &str| {
                Call::from(format!("{compiler} -c {file} -o a.o -MD")).env(variable, folder)
            };
            for folder in ["one", "two", ":one", "."] {
                check(&project, &cache, call(folder));
            }
            let assembly = file == "a.S" && variable == "C_INCLUDE_PATH";
            if project.plain(call("one")).ok() || !assembly {
                assert_eq!(check(&project, &cache, call("one")), "direct_cache_hit", "{variable}");
            }
            // A header that appears earlier in the variable's folders.
            project.write("zero/keep", "");
            check(&project, &cache, call("zero:one"));
            project.write("zero/x.h", "#define X 3\n");
            check(&project, &cache, call("zero:one"));
            project.remove("zero/x.h");
        }
    }
}

#[test]
fn locale_of_the_diagnostics() {
    for family in compilers("locale_of_the_diagnostics") {
        let source = "const char *f(void) { int unused; return \"é\"; }\n";
        let (project, cache) = (Project::new(&[("a.c", source)]), Cache::new());
        let line = format!("{} -Wall -c a.c", family.c);
        for (name, value) in [
            ("LC_ALL", "C.UTF-8"),
            ("LC_ALL", "C"),
            ("LC_ALL", "POSIX"),
            ("LC_ALL", ""),
            ("LC_CTYPE", "C"),
            ("LC_MESSAGES", "C"),
            ("LANG", "C"),
            ("LANG", ""),
            ("LANGUAGE", "de:fr"),
        ] {
            let call = Call::from(line.as_str()).env(name, value);
            let (_, warm) = same_as_compiler(&project, &cache, call);
            assert_eq!(warm, "direct_cache_hit", "{name}={value}");
        }
    }
}

#[test]
fn source_date_epoch_with_both_compilers() {
    for family in compilers("source_date_epoch_with_both_compilers") {
        let files = [("a.c", "const char when[] = __DATE__;\n")];
        let (project, cache) = (Project::new(&files), Cache::new());
        let compile = |epoch: &str| {
            let line = format!("{} -c a.c", family.c);
            check(&project, &cache, Call::from(line).env("SOURCE_DATE_EPOCH", epoch))
        };
        for epoch in ["1000000000", "1100000000", "0", "1000000000"] {
            compile(epoch);
        }
        if family.c == "gcc" {
            assert_eq!(compile("1000000000"), "direct_cache_hit");
        }
        check(&project, &cache, format!("{} -c a.c", family.c));
    }
}

/// A library for LD_PRELOAD that notes which variables a program asks for.
const NOTES_VARIABLES: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void note(const char *name) {
    static int file = -1;
    extern char **environ;
    for (char **at = environ; file < 0 && *at; at++)
        if (!strncmp(*at, "NOTES=", 6))
            file = open(*at + 6, O_WRONLY | O_APPEND | O_CREAT, 0644);
    char line[200];
    size_t length = strlen(name);
    if (file < 0 || length + 1 > sizeof line) return;
    memcpy(line, name, length);
    line[length] = '\n';
    if (write(file, line, length + 1) < 0) return;
}
char *getenv(const char *name) {
    static char *(*next)(const char *);
    if (!next) next = (char *(*)(const char *))dlsym(RTLD_NEXT, "getenv");
    note(name);
    return next(name);
}
char *secure_getenv(const char *name) {
    static char *(*next)(const char *);
    if (!next) next = (char *(*)(const char *))dlsym(RTLD_NEXT, "secure_getenv");
    note(name);
    return next(name);
}
"#;

/// Variables that shape the looks of diagnostics: results that printed something are kept apart by them.
const LOOKS: &[&str] = &[
    "CLICOLOR_FORCE",
    "COLORTERM",
    "COLUMNS",
    "GCC_COLORS",
    "GCC_URLS",
    "KONSOLE_VERSION",
    "NO_COLOR",
    "TERM",
    "TERM_PROGRAM",
    "TERM_URLS",
    "VTE_VERSION",
    "WT_SESSION",
];

/// Variables that the compilers ask for and that change no output of a compile that succeeds.
const HARMLESS: &[&str] = &[
    // Where temporary files are.
    "TEMP",
    "TEMPDIR",
    "TMP",
    "TMPDIR",
    // Which tools run: step 1 of a call asks for them.
    "PATH",
    // The folder in debug information: it counts where that counts.
    "PWD",
    // For other languages than C and C++; and a name with which LLVM only makes the linker keep code.
    "ROCM_PATH",
    "bar",
    // For links alone.
    "LPATH",
    "MAKEFLAGS",
];

#[test]
fn the_compilers_ask_for_no_other_variables() {
    let project = Project::new(&[
        ("a.c", "#include <stdio.h>\nint f(int x) { int unused; return printf(\"%d\", x); }\n"),
        ("a.cc", "#include <string>\nstd::string f() { return __DATE__; }\n"),
        ("a.S", "\t.text\nf:\tret\n"),
        ("notes.c", NOTES_VARIABLES),
    ]);
    project.plain("gcc -shared -fPIC notes.c -o notes.so -ldl").success();
    for family in compilers("the_compilers_ask_for_no_other_variables") {
        for line in [
            format!("{} -Wall -g -O2 -c a.c -MD", family.c),
            format!("{} -Wall -c a.c -fdiagnostics-color -save-temps=obj", family.c),
            format!("{} -O2 -c a.c -flto --coverage", family.c),
            format!("{} -c a.c -march=native -fsanitize=address", family.c),
            format!("{} -Wall -g -c a.cc", family.cxx),
            format!("{} -g -c a.S", family.c),
            format!("{} -E a.c -o a.i", family.c),
        ] {
            let _ = std::fs::remove_file(project.path("notes.txt"));
            let mut command = project.command_for(&Call::from(line.as_str()), &[]);
            command.env("LD_PRELOAD", project.path("notes.so"));
            command.env("NOTES", project.path("notes.txt"));
            run(&mut command, LIMIT_CALL).success();
            let notes = String::from_utf8(project.read("notes.txt")).unwrap();
            let asked: BTreeSet<&str> = notes.lines().collect();
            assert!(!asked.is_empty(), "nothing was noted: {line}");
            let unknown: Vec<_> = asked
                .into_iter()
                .filter(|name| !VARIABLES.iter().any(|(known, _)| known == name))
                .filter(|name| !LOOKS.contains(name) && !HARMLESS.contains(name))
                .collect();
            assert!(unknown.is_empty(), "{line} asks for {unknown:?}");
        }
    }
}
