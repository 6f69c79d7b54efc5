//! The worker as its clients see it: stock distcc and rcache get what the compiler makes of their text.

use crate::support::{
    Call, LIMIT_CALL, Outcome, Project, Worker, compilers, have, run, skip, wait_until,
};
use remote::Reply;
use remote::protocol::{Dialect, request, response};
use std::io::Write;

const C_UNIT: &str = "\
#include <stdio.h>
#include <string.h>
#define GREETING \"hello\"
static int length(const char *text) { return (int)strlen(text); }
int main(void) { int unused; printf(\"%s %d\\n\", GREETING, length(GREETING)); return 0; }
";

const CXX_UNIT: &str = "\
#include <map>
#include <string>
#include <vector>
struct Table { std::map<std::string, std::vector<int>> rows; };
int sum(const Table &table) {
    int total = 0, unused;
    for (const auto &row : table.rows) for (int value : row.second) total += value;
    return total;
}
";

/// Stock distcc, which must not compile anything itself.
fn distcc(project: &Project, hosts: &str, call: &str) -> Outcome {
    let call = Call::from(format!("distcc {call}").as_str());
    let mut command = project.command_for(&call, &[]);
    command.env("DISTCC_HOSTS", hosts).env("DISTCC_FALLBACK", "0");
    // A compile that failed must not keep the next one from the worker.
    command.env("DISTCC_BACKOFF_PERIOD", "0");
    // Its locks and states.
    let folder = project.beside("distcc");
    std::fs::create_dir_all(&folder).unwrap();
    command.env("DISTCC_DIR", folder);
    run(&mut command, LIMIT_CALL)
}

/// The compiler's own object of the preprocessed text.
fn object_of_text(project: &Project, compiler: &str, options: &str, source: &str) -> Vec<u8> {
    let (text, suffix) = match source.ends_with(".cc") {
        true => (source.replace(".cc", ".ii"), "-x c++-cpp-output"),
        false => (source.replace(".c", ".i"), "-x cpp-output"),
    };
    project.plain(format!("{compiler} {options} -E {source} -o {text}").as_str()).success();
    let compile = format!("{compiler} {options} {suffix} -c {text} -o expected.o");
    project.plain(compile.as_str()).success();
    project.read("expected.o")
}

fn stock() -> bool {
    let there = have("distcc");
    if !there {
        skip("a stock client", "distcc is not installed");
    }
    there
}

#[test]
fn stock_clients_get_the_compilers_object() {
    if !stock() {
        return;
    }
    let project = Project::new(&[("sub/t.c", C_UNIT), ("sub/t.cc", CXX_UNIT)]);
    let worker = Worker::start("");
    for family in compilers("a stock client") {
        for (compiler, source) in [(family.c, "sub/t.c"), (family.cxx, "sub/t.cc")] {
            for protocol in ["", ",lzo"] {
                for options in ["-O2", "-O1 -fPIC -ffunction-sections"] {
                    let host = format!("{}{protocol}", worker.address);
                    let call = format!("{compiler} {options} -c {source} -o sub/t.o");
                    distcc(&project, &host, &call).success();
                    let expected = object_of_text(&project, compiler, options, source);
                    assert!(project.read("sub/t.o") == expected, "{host} {call}");
                }
            }
        }
    }
    assert_eq!(worker.ended("ok"), worker.metric("compile_seconds_count"));
    assert!(worker.metric("received_bytes_total") > worker.metric("sent_bytes_total"));
}

#[test]
fn debug_information_names_the_clients_folder() {
    if !stock() {
        return;
    }
    let project = Project::new(&[("t.cc", CXX_UNIT)]);
    let worker = Worker::start("");
    distcc(&project, &worker.address, "g++ -g -O1 -c t.cc -o t.o").success();
    let expected = object_of_text(&project, "g++", "-g -O1", "t.cc");
    assert!(project.read("t.o") == expected);
}

#[test]
fn warnings_and_errors_come_back() {
    if !stock() {
        return;
    }
    let project = Project::new(&[("w.c", C_UNIT), ("bad.c", "int f(void) { return nothing; }\n")]);
    let worker = Worker::start("");
    for family in compilers("a stock client") {
        for protocol in ["", ",lzo"] {
            let host = format!("{}{protocol}", worker.address);
            let call = |source: &str| format!("{} -Wall -c {source} -o t.o", family.c);
            let warned = distcc(&project, &host, &call("w.c")).success();
            assert!(warned.err().contains("unused variable"), "{warned:?}");
            let failed = distcc(&project, &host, &call("bad.c"));
            assert_eq!(failed.status, 1, "{failed:?}");
            assert!(failed.err().contains("bad.c:1:"), "{failed:?}");
            assert!(failed.err().contains("nothing"), "{failed:?}");
        }
    }
    assert_eq!(worker.ended("compile_error"), worker.ended("ok"));
}

#[test]
fn empty_and_huge_units() {
    if !stock() {
        return;
    }
    let huge = format!("const char text[] = \"{}\";\n", "0123456789abcdef".repeat(20 << 16));
    let project = Project::new(&[("empty.c", ""), ("huge.c", &huge)]);
    let worker = Worker::start("");
    for protocol in ["", ",lzo"] {
        let host = format!("{}{protocol}", worker.address);
        for source in ["empty.c", "huge.c"] {
            distcc(&project, &host, &format!("gcc -c {source} -o t.o")).success();
            let expected = object_of_text(&project, "gcc", "", source);
            assert!(project.read("t.o") == expected, "{source} {protocol}");
        }
    }
}

#[test]
fn pump_mode_is_refused_with_a_reason() {
    let worker = Worker::start("");
    let mut request =
        b"DIST00000003CDIR00000004/abcARGC00000002ARGV00000003gccARGV00000002-c".to_vec();
    request.extend(b"NFIL00000001NAME00000008/abc/t.cFILE00000003\x11\x00\x00");
    let answer = worker.say(&request);
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("DONE00000003STAT00006f00SERR"), "{text}");
    assert!(text.contains("SOUT00000000DOTO00000000") && text.contains("pump"), "{text}");
    assert_eq!(worker.ended("refused"), 1);
}

fn stderr(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.stderr).into_owned()
}

#[test]
fn rcache_clients_get_the_compilers_object() {
    let project = Project::new(&[("t.c", C_UNIT), ("t.cc", CXX_UNIT)]);
    let worker = Worker::start("");
    for family in compilers("an rcache client") {
        for (compiler, source, text) in
            [(family.c, "t.c", "rcache.i"), (family.cxx, "t.cc", "rcache.ii")]
        {
            let preprocess = format!("{compiler} -O2 -E {source} -o {text}");
            project.plain(preprocess.as_str()).success();
            let compile = format!("{compiler} {text} -O2 -c -o rcache.o");
            let reply = worker.compile(&compile, &project.read(text));
            assert_eq!((reply.status, stderr(&reply).as_str()), (0, ""), "{compile}");
            project.plain(compile.as_str()).success();
            assert!(reply.output == project.read("rcache.o"), "{compile}");
        }
    }
}

#[test]
fn texts_whose_includes_alone_are_resolved() {
    let project = Project::new(&[("t.c", C_UNIT)]);
    let worker = Worker::start("");
    let preprocess = "gcc -g -O2 -fdirectives-only -E t.c -o rcache.i";
    project.plain(preprocess).success();
    let compile = "gcc rcache.i -fdirectives-only -g -O2 -c -o rcache.o";
    let reply = worker.compile(compile, &project.read("rcache.i"));
    assert_eq!(reply.status, 0, "{}", stderr(&reply));
    project.plain(compile).success();
    assert!(reply.output == project.read("rcache.o"));
}

#[test]
fn the_same_text_gives_the_same_object() {
    let project = Project::new(&[("t.c", C_UNIT)]);
    let worker = Worker::start("");
    for family in compilers("the same object twice") {
        // Without line marks, nothing says where the text is from.
        project.plain(format!("{} -P -E t.c -o t.i", family.c).as_str()).success();
        let compile = format!("{} -g -O2 -c t.c -o t.o", family.c);
        let objects = [0, 1].map(|_| {
            let reply = worker.compile_plain(&compile, &project.read("t.i"));
            assert_eq!(reply.status, 0, "{}", stderr(&reply));
            reply.output
        });
        assert!(objects[0] == objects[1], "{compile}");
        let folder = worker.root().to_str().unwrap().as_bytes();
        let names_it = objects[0].windows(folder.len()).any(|window| window == folder);
        assert!(!names_it, "{compile}: the object names the worker's folder");
    }
}

#[test]
fn assembly_output() {
    let project = Project::new(&[("t.i", "int f(int x) { return x * 3; }\n")]);
    let worker = Worker::start("");
    let reply = worker.compile_plain("gcc -O2 -S t.c -o t.s", &project.read("t.i"));
    project.plain("gcc -O2 -S t.i -o t.s").success();
    assert_eq!(
        String::from_utf8_lossy(&reply.output),
        String::from_utf8_lossy(&project.read("t.s"))
    );
}

#[test]
fn a_compiler_is_known_by_its_content() {
    let worker = Worker::start("--jobs 3");
    let gcc = worker.identify("gcc -x c");
    assert_eq!(gcc.slots, 3);
    let compiler = gcc.compiler.expect("a compiler");
    assert!(compiler.banner.starts_with("gcc version "), "{compiler:?}");
    assert!(compiler.files.iter().any(|(name, _)| name == "cc1"), "{compiler:?}");
    assert_eq!(worker.identify("gcc -x c -m32").compiler.unwrap().digest, compiler.digest);
    assert_ne!(worker.identify("gcc -x c++").compiler.unwrap().digest, compiler.digest);
    for (words, why) in [
        ("gcc-77 -x c", "not installed"),
        ("sh -c id", "not a compiler"),
        ("gcc -B/tmp", "-B/tmp"),
        ("gcc t.c", "multiple source files"),
    ] {
        let refused = worker.identify(words).compiler.unwrap_err();
        assert!(refused.contains(why), "{words}: {refused}");
    }
    let other = "0".repeat(64);
    let reply = worker.ask(Dialect::Native, "gcc t.i -c", b"int x;\n", &other).answer();
    assert_eq!(reply.status, 111 << 8);
    assert!(stderr(&reply).contains("another compiler"), "{}", stderr(&reply));
    let reply = worker.ask(Dialect::Native, "gcc t.i -c", b"int x;\n", &compiler.digest).answer();
    assert_eq!(reply.status, 0, "{}", stderr(&reply));
}

#[test]
fn options_for_the_clients_processor_are_accepted_in_words() {
    let worker = Worker::start("");
    let project = Project::new(&[]);
    let said = project.plain("gcc -march=native -### -c -x c /dev/null").success();
    let line = said.err().lines().find(|line| line.contains("cc1 ")).unwrap().to_owned();
    let mut words = line.split_whitespace().map(|word| word.trim_matches('"'));
    let mut target = Vec::new();
    while let Some(word) = words.next() {
        if word.starts_with("-m") {
            target.push(word);
        } else if word == "--param" {
            target.extend([word, words.next().unwrap()]);
        }
    }
    let compile = format!("gcc t.i {} -c -o t.o", target.join(" "));
    let reply = worker.compile(&compile, b"int x;\n");
    assert_eq!(reply.status, 0, "{}", stderr(&reply));
}

#[test]
fn an_ordinary_user_is_enough() {
    let worker = Worker::start_unprivileged("");
    assert!(!worker.log().contains("root"), "{}", worker.log());
    for family in compilers("an ordinary user") {
        let compile = format!("{} -O2 -c t.cc -o t.o", family.cxx);
        let text =
            b"template<class T> T twice(T x) { return x + x; }\nint f() { return twice(4); }\n";
        let reply = worker.compile_plain(&compile, text);
        assert_eq!(reply.status, 0, "{}", stderr(&reply));
    }
}

#[test]
fn a_compiler_behind_a_link() {
    let worker = Worker::start_slow("");
    let bin = worker.root().join("bin");
    std::fs::create_dir(worker.root().join("opt")).unwrap();
    std::fs::rename(bin.join("gcc"), worker.root().join("opt/driver")).unwrap();
    std::os::unix::fs::symlink("../opt/driver", bin.join("gcc")).unwrap();
    let reply = worker.compile_plain("gcc -c t.c -o t.o", b"int x;\n");
    assert_eq!(reply.status, 0, "{}", stderr(&reply));
}

#[test]
fn memory_has_a_limit() {
    let worker = Worker::start("--job-memory 20M");
    let reply = worker.compile_plain("gcc -c t.c -o t.o", b"int x;\n");
    assert!(reply.status != 0 && reply.output.is_empty(), "{reply:?}");
    assert_eq!(worker.ended("ok"), 0);
}

#[test]
fn ipv6_clients_are_served() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        skip("a client over IPv6", "this machine has no IPv6");
        return;
    }
    let worker = Worker::start("--listen ::1 --allow ::1");
    let address = "listening on [::1]:";
    wait_until("it listens there", LIMIT_CALL, || worker.log().contains(address));
    let log = worker.log();
    let port = log.split_once(address).and_then(|(_, rest)| rest.lines().next()).unwrap();
    let mut stream = std::net::TcpStream::connect(format!("[::1]:{port}")).unwrap();
    stream.write_all(&request::encode_identify(&[b"gcc".to_vec()])).unwrap();
    assert!(response::read_identity(&mut stream).unwrap().compiler.is_ok());
    // This one is not allowed.
    assert_eq!(worker.say(b""), b"");
}
