//! Units that leave as files, to a worker on loopback: every output is as here, whatever text would lose.

use crate::support::{Cache, Call, Project, Worker, check, compilers, same_as_compiler, skip};

const HEADER: &str =
    "#pragma once\n#define LOCAL 4\n#define TWICE(x) ((x) + (x))\nextern int deep;\n";

const C: &str = "#include <stdio.h>\n#include \"inc/a.h\"\n#include INCLUDED\n\
    int entry(int n)\n{\n    switch (n) {\n    case 1: n++; /* fall through */\n    \
    case 2: printf(\"%d %s\\n\", TWICE(n), __FILE__); break;\n    default: return __LINE__;\n    }\n    \
    return LOCAL + OTHER;\n}\n";

const CXX: &str = "#include <map>\n#include <string>\n#include <inc/a.h>\n\
    template <class T> T twice(T value) { return TWICE(value); }\n\
    std::map<std::string, int> table;\n\
    int entry(int n) { table[\"a\"] = n; return twice(n) + LOCAL; }\n";

/// What means something else, or nothing, in a text whose includes are resolved.
const LOST: &[(&str, &str)] = &[
    (
        "pushed.c",
        "#define N 1\n#pragma push_macro(\"N\")\n#undef N\n#define N 5\nint a = N;\n\
                  #pragma pop_macro(\"N\")\nint b = N;\n",
    ),
    (
        "pragma.c",
        "#pragma GCC push_options\n#pragma GCC optimize (\"O3\")\nint f(int n) { return n * 3; }\n\
                  #pragma GCC pop_options\n#pragma message \"m\" \"n\"\n",
    ),
    ("indent.c", "int f(int n) {\n  if (n)\n    n++;\n    return n;\n}\n"),
    ("base.c", "const char *base = __BASE_FILE__; int level = __INCLUDE_LEVEL__;\n"),
    ("counter.c", "#if __COUNTER__ == 0\n#endif\nint n = __COUNTER__;\n"),
    ("warn.c", "#include \"inc/a.h\"\nint f(unsigned u, int i) { if (u < i) return TWICE(i); }\n"),
];

fn project() -> Project {
    let mut files = vec![
        ("a.c", C),
        ("sub/a.cc", CXX),
        ("inc/a.h", HEADER),
        ("inc/other.h", "#define OTHER 7\n"),
        ("bad.c", "#include \"inc/a.h\"\nint f(void) { return undeclared; }\n"),
        ("time.c", "unsigned long when = sizeof __DATE__ __TIME__;\n"),
        ("blob.c", "__asm__(\".data\\n.incbin \\\"blob.bin\\\"\");\n"),
        ("dots.c", "const char *text = \".incomplete\"; const char *more = \".inc\";\n"),
        ("blob.bin", "content"),
    ];
    files.extend(LOST);
    Project::new(&files)
}

/// A cache whose only host is a worker that gets files. `None` where no actions can be run here.
fn with_worker(test: &str) -> Option<(Cache, Worker)> {
    let worker = Worker::start("--jobs 2");
    let cache = Cache::new().with("RCACHE_HOSTS", host(&worker));
    let answer = cache.rcache("hosts --json").stdout;
    let refused = String::from_utf8_lossy(&answer).contains("runs no actions");
    match refused {
        true => {
            skip(test, "no namespace can be made here");
            None
        }
        false => Some((cache, worker)),
    }
}

fn host(worker: &Worker) -> String {
    format!("grpc://{},slots=2", worker.address)
}

/// Cold and then warm as the compiler alone, and compiled by the worker.
#[track_caller]
fn sent(cache: &Cache, project: &Project, line: &str) {
    let before = cache.stats();
    let (cold, warm) = same_as_compiler(project, cache, line);
    let rise = |name: &str| cache.stats().get(name) - before.get(name);
    assert_eq!((rise("sent_as_files"), rise("local_compile")), (1, 0), "{line}: {cold}");
    assert_eq!(warm, "direct_cache_hit", "{line}");
}

#[test]
fn every_output_is_as_here() {
    let Some((cache, _worker)) = with_worker("every_output_is_as_here") else { return };
    let project = project();
    let variants = [
        "-c -o out.o",
        "-g -O2 -Wall -Wextra -MD -MF out.d -c -o sub/out.o",
        "-O0 --coverage -c -o out.o",
        "-g -gsplit-dwarf -c -o out.o",
        "-g3 -fstack-usage -c -o out.o",
        "-S -o out.s",
    ];
    for family in compilers("every_output_is_as_here") {
        for variant in variants {
            if family.c == "clang" && variant.contains("-fstack-usage") {
                continue;
            }
            let source = "-DINCLUDED=\"inc/other.h\" a.c";
            sent(&cache, &project, &format!("{} {variant} {source}", family.c));
            sent(&cache, &project, &format!("{} {variant} -I. sub/a.cc", family.cxx));
        }
    }
}

#[test]
fn what_a_text_loses_leaves_as_files() {
    let Some((cache, _worker)) = with_worker("what_a_text_loses_leaves_as_files") else { return };
    let project = project();
    for family in compilers("what_a_text_loses_leaves_as_files") {
        for (source, _) in LOST {
            sent(&cache, &project, &format!("{} -Wall -Wextra -c {source} -o out.o", family.c));
        }
    }
    sent(&cache, &project, "gcc -c dots.c -o out.o");
    // It is compiled elsewhere, but what shows the time is not kept.
    check(&project, &cache, "gcc -c time.c -o out.o");
    assert_eq!(cache.stats().get("stayed_here"), 0);
}

#[test]
fn an_edited_header_is_sent_and_another_of_its_name_comes_first() {
    let test = "an_edited_header_is_sent_and_another_of_its_name_comes_first";
    let Some((cache, _worker)) = with_worker(test) else { return };
    let project = Project::new(&[
        ("a.c", "#include <x.h>\nint x = X;\n"),
        ("second/x.h", "#define X 1\n"),
        ("first/none.h", ""),
    ]);
    let line = "gcc -Ifirst -Isecond -c a.c -o out.o";
    sent(&cache, &project, line);
    project.write("second/x.h", "#define X 2\n");
    sent(&cache, &project, line);
    project.write("first/x.h", "#define X 3\n");
    sent(&cache, &project, line);
    project.remove("first/x.h");
    project.symlink("../second/x.h", "first/x.h");
    sent(&cache, &project, line);
}

#[test]
fn what_fails_there_is_said_by_the_compiler_here() {
    let test = "what_fails_there_is_said_by_the_compiler_here";
    let Some((cache, _worker)) = with_worker(test) else { return };
    let project = project();
    assert_eq!(check(&project, &cache, "gcc -c bad.c -o out.o"), "compile_failed");
    // The assembler misses its file there; here it is found.
    check(&project, &cache, "gcc -c blob.c -o out.o");
    let stats = cache.stats();
    assert_eq!((stats.get("remote_failed"), stats.get("local_compile")), (2, 2));
    // The next time it is not even tried.
    check(&project, &cache, Call::from("gcc -c bad.c -o out.o"));
    assert_eq!(cache.stats().get("remote_failed"), 2);
}

#[test]
fn an_equal_action_is_not_run_twice() {
    let Some((one, worker)) = with_worker("an_equal_action_is_not_run_twice") else { return };
    let other = Cache::new().with("RCACHE_HOSTS", host(&worker));
    let project = project();
    let line = "gcc -g -c warn.c -o out.o";
    sent(&one, &project, line);
    let ran = worker.log().matches(" action ").count();
    sent(&other, &project, line);
    assert_eq!(worker.log().matches(" action ").count(), ran);
}

#[test]
fn a_worker_that_is_killed_costs_nothing_but_time() {
    let test = "a_worker_that_is_killed_costs_nothing_but_time";
    let Some((cache, worker)) = with_worker(test) else { return };
    let project = project();
    sent(&cache, &project, "gcc -c warn.c -o out.o");
    drop(worker);
    assert_eq!(check(&project, &cache, "gcc -O1 -c warn.c -o out.o"), "cache_miss");
    let stats = cache.stats();
    assert_eq!((stats.get("remote_failed"), stats.get("local_compile")), (1, 1));
    let said = cache.rcache("hosts").stdout;
    assert!(String::from_utf8_lossy(&said).contains("cannot be reached"), "{said:?}");
}

#[test]
fn a_wrong_token_is_said_and_the_build_goes_on() {
    let project = project();
    project.write("right", "a-token-that-nobody-guesses\n");
    project.write("wrong", "another-token-of-such-a-length\n");
    let path = |name: &str| project.path(name).display().to_string();
    let worker = Worker::start(&format!("--token-file {}", path("right")));
    let with = |token: &str| {
        let host = format!("grpc://{},token-file={}", worker.address, path(token));
        Cache::new().with("RCACHE_HOSTS", host)
    };
    let wrong = with("wrong");
    check(&project, &wrong, "gcc -c warn.c -o out.o");
    assert_eq!(wrong.stats().get("local_compile"), 1);
    let said = wrong.rcache("hosts").stdout;
    assert!(String::from_utf8_lossy(&said).contains("does not let us in"), "{said:?}");
    let right = with("right");
    let said = right.rcache("hosts").stdout;
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains("does not let us in"), "{said}");
}

#[test]
fn explain_says_how_a_unit_would_leave() {
    let Some((cache, _worker)) = with_worker("explain_says_how_a_unit_would_leave") else { return };
    let project = project();
    let explained = |line: &str| {
        let call = Call::from(line);
        let words: Vec<String> =
            call.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let mut command = cache.subcommand("explain");
        command.args(words).current_dir(project.root());
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    };
    let said = explained("gcc -c indent.c -o out.o");
    assert!(said.contains("would compile it, as files"), "{said}");
    project.write("embed.c", "#include \"deep.h\"\n");
    project.write("deep.h", "#embed \"blob.bin\"\n");
    let said = explained("gcc -c embed.c -o out.o");
    assert!(said.contains("on this machine") && said.contains("embeds a file"), "{said}");
}

#[test]
fn another_compiler_is_not_used() {
    let worker = Worker::start_with_other_compilers("");
    let cache = Cache::new().with("RCACHE_HOSTS", host(&worker));
    let project = project();
    let hosts = String::from_utf8_lossy(&cache.rcache("hosts --json").stdout).into_owned();
    if hosts.contains("runs no actions") {
        return skip("another_compiler_is_not_used", "no namespace can be made here");
    }
    check(&project, &cache, "gcc -c warn.c -o out.o");
    let stats = cache.stats();
    // The worker knows the compiler behind its script; what it answers is right in any case.
    assert_eq!(stats.get("local_compile") + stats.get("sent_as_files"), 1);
}
