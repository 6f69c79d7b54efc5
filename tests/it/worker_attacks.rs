//! Everything that is known to break distccd: refused by the worker, or harmless.

mod crowds;

use crate::support::{Project, Worker, compilers, skip};
use remote::Reply;
use std::io::{Read, Write};
use std::net::Shutdown;

/// The first line of a file that everybody may read, and that no compile has any business with.
const SECRET: &str = "root:x:0:0";

fn all(reply: &Reply) -> String {
    let bytes = [&reply.stderr[..], &reply.stdout, &reply.output].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[track_caller]
fn refused(worker: &Worker, words: &str, culprit: &str) {
    let reply = worker.compile_plain(words, b"int x;\n");
    let text = all(&reply);
    assert!(reply.status == 111 << 8 && reply.output.is_empty(), "{words}: {reply:?}");
    assert!(text.starts_with("rcache worker: ") && text.contains(culprit), "{words}: {text}");
}

#[test]
fn commands_that_reach_beyond_a_compile() {
    let worker = Worker::start("");
    let project = Project::new(&[]);
    let trace = project.path("trace").display().to_string();
    for (words, culprit) in [
        (format!("gcc -wrapper touch,{trace} -c t.c -o t.o"), "-wrapper"),
        (format!("gcc -B{trace} -c t.c -o t.o"), "-B"),
        (format!("gcc -specs={trace} -c t.c -o t.o"), "-specs="),
        (format!("gcc --specs={trace} -c t.c -o t.o"), "--specs="),
        (format!("gcc -fplugin={trace} -c t.c -o t.o"), "-fplugin="),
        (format!("gcc -c t.c -o t.o -fdump-tree-all={trace}"), "-fdump-"),
        (format!("gcc -c t.c -o t.o -MD -MF {trace}"), ""),
        ("gcc -c @/etc/passwd -o t.o".to_owned(), "@/etc/passwd"),
        ("gcc -c t.c -include /etc/passwd -o t.o".to_owned(), "-include"),
        ("/bin/sh -c t.c -o t.o".to_owned(), "/bin/sh"),
        ("../../bin/gcc -c t.c -o t.o".to_owned(), "../../bin/gcc"),
        (format!("{trace}/gcc -c t.c -o t.o"), "is not a compiler"),
        ("gcc -march=../../x -c t.c -o t.o".to_owned(), "-march="),
        ("gcc -mcpu=/x -c t.c -o t.o".to_owned(), "-mcpu="),
        ("gcc -mtune=.. -c t.c -o t.o".to_owned(), "-mtune="),
        ("gcc t.c -o t".to_owned(), "-c"),
        ("gcc -c t.c u.c".to_owned(), ""),
        ("gcc".to_owned(), ""),
    ] {
        refused(&worker, &words, culprit);
        assert!(!project.exists("trace"), "{words}");
    }
    assert_eq!(worker.ended("refused"), 18);
}

#[test]
fn outputs_stay_in_the_jobs_folder() {
    let worker = Worker::start("");
    let project = Project::new(&[("victim.o", "precious")]);
    let victim = project.path("victim.o").display().to_string();
    for output in [victim.as_str(), "../../../../victim.o", "/etc/victim.o"] {
        let reply = worker.compile_plain(&format!("gcc -c /etc/t.c -o {output}"), b"int x;\n");
        assert_eq!(reply.status, 0, "{reply:?}");
        assert!(reply.output.starts_with(b"\x7fELF"));
    }
    assert_eq!(project.read("victim.o"), b"precious");
    assert!(!std::path::Path::new("/etc/victim.o").exists());
}

/// Texts that ask for files of the worker.
const NOSY: [&str; 6] = [
    "__asm__(\".incbin \\\"/etc/passwd\\\"\");\n",
    "__asm__(\".inc\" \"bin \\\"/etc/passwd\\\"\");\n",
    "__asm__(\".include \\\"/etc/passwd\\\"\");\n",
    "#include \"/etc/passwd\"\nint x;\n",
    "#include </proc/self/environ>\nint x;\n",
    "# 1 \"/etc/passwd\"\nint f(void) { return undeclared; }\n",
];

fn is_nosy_in_vain(options: &str) {
    let worker = Worker::start(options);
    for family in compilers("files of the worker") {
        for text in NOSY {
            for words in ["-c t.c -o t.o", "-c -x c++ t.cc -o t.o", "-S t.c -o t.s"] {
                let words = format!("{} {words}", family.c);
                for reply in [
                    worker.compile_plain(&words, text.as_bytes()),
                    worker.compile(&words, text.as_bytes()),
                ] {
                    let told = all(&reply);
                    assert!(!told.contains(SECRET), "{words} {text}: {told}");
                    assert!(!told.contains("PATH="), "{words} {text}: {told}");
                }
            }
        }
    }
}

#[test]
fn files_of_the_worker_stay_there() {
    is_nosy_in_vain("");
}

#[test]
fn files_of_the_worker_stay_there_without_a_sandbox() {
    is_nosy_in_vain("--no-sandbox");
}

#[test]
fn incbin_fails_in_the_compilers_words() {
    let worker = Worker::start("");
    if !worker.log().contains("landlock: on") {
        skip("files hidden by landlock", "this kernel has none");
        return;
    }
    let reply = worker.compile_plain("gcc -c t.c -o t.o", NOSY[0].as_bytes());
    assert_eq!(reply.status, 1 << 8, "{reply:?}");
    assert!(all(&reply).contains("/etc/passwd"), "{reply:?}");
    assert_eq!(worker.ended("compile_error"), 1);
}

#[test]
fn what_is_no_request() {
    let worker = Worker::start("");
    let long = [b"DIST00000001ARGC00000001ARGV".as_slice(), b"7fffffff"].concat();
    for request in [
        &b"GET / HTTP/1.0\r\n\r\n"[..],
        b"DIST00000004ARGC00000001",
        b"DIST00000000ARGC00000001",
        b"DIST00000001ARGC00000000DOTI00000000",
        b"DIST00000001ARGCffffffff",
        b"DIST00000001ARGC-0000001",
        b"DIST00000001ARGC 0000001",
        b"DIST00000001NOPE00000001",
        b"DIST00000001ARGC00000001ARGV00000003g\0cDOTI00000000",
        b"DIST00000001ARGC00000001ARGV00000003gccDOTIffffffff",
        b"DIST00000002ARGC00000003ARGV00000003gccARGV00000002-cARGV00000003t.cDOTI00000004\xff\xff\xff\xff",
        b"DIST72630001WANT00000003abc",
        b"DIST72630001WANTffffffff",
        b"DIST00000003CDIR00000001/ARGC00000001ARGV00000003gccNFILffffffff",
        &long,
    ] {
        let answer = worker.say(request);
        assert_eq!(answer, b"", "{}", request.escape_ascii());
    }
    assert_eq!(worker.ended("bad_request"), 15);
    let reply = worker.compile_plain("gcc -c t.c -o t.o", b"int x;\n");
    assert_eq!(reply.status, 0, "it still serves: {reply:?}");
}

#[test]
fn a_request_that_never_comes_is_cut_off() {
    let worker = Worker::start("--request-timeout 300ms");
    let mut silent = worker.connect();
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    let mut partial = worker.connect();
    partial.write_all(b"DIST00000001ARGC00000002ARGV00000003gcc").unwrap();
    assert_eq!(partial.read(&mut [0; 1]).unwrap_or(0), 0);
    // One byte at a time: the time is for the whole request.
    let mut trickle = worker.connect();
    let request = b"DIST00000001ARGC00001000".iter().chain(std::iter::repeat(&b'A'));
    let mut sent = 0;
    for byte in request {
        if trickle.write_all(&[*byte]).is_err() {
            break;
        }
        sent += 1;
        assert!(sent < 10_000, "it is never cut off");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    worker.wait_for("connections", 0);
    // The silent one said nothing at all, as somebody who only looks does.
    assert_eq!((worker.ended("bad_request"), worker.ended("client_gone")), (2, 1));
}

#[test]
fn what_follows_a_request_means_nothing() {
    let worker = Worker::start("");
    let request =
        b"DIST00000001ARGC00000003ARGV00000003gccARGV00000002-cARGV00000003t.cDOTI00000007int x;\n";
    let mut stream = worker.connect();
    stream.write_all(request).unwrap();
    stream.write_all(&[request.as_slice(), b"trailing"].concat()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"DONE00000001STAT00000000SERR00000000"), "{answer:?}");
    assert_eq!(worker.ended("ok"), 1);
    // Who closes its side is gone, as for distccd.
    let mut stream = worker.connect();
    stream.write_all(&request[..40]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
}

#[test]
fn an_address_that_may_not_connect() {
    let worker = Worker::start("--allow 10.0.0.0/8,fd00::/8");
    assert_eq!(worker.say(b""), b"");
    worker.wait_for("requests_total{outcome=\"denied\"}", 1);
    let worker = Worker::start("--allow 10.0.0.0/8 --allow 127.0.0.1");
    assert_eq!(worker.compile_plain("gcc -c t.c -o t.o", b"").status, 0);
}

#[test]
fn compilers_are_confined() {
    // Something that the worker's own parent forgot to close.
    let forgetful = ["sh", "-c", "exec 9</etc/passwd; exec \"$@\"", "sh"];
    let worker = Worker::start_slow_through(&forgetful, "");
    if !worker.log().contains("landlock: on") || !worker.log().contains("seccomp: on") {
        skip("a confined compiler", "this kernel lacks landlock or seccomp");
        return;
    }
    // The script that stands for a compiler runs what it is told.
    let script = worker.root().join("bin/gcc");
    let trace = worker.root().join("trace");
    let attack = format!(
        "#!/bin/sh\necho x >{0}\ncase \"$*\" in *-###*) exec /usr/bin/gcc \"$@\";; esac\n\
         cat /etc/passwd; cat <&9; cat {1}/log; ls {1}; kill -0 {2} && echo signalled\n\
         exec /usr/bin/gcc \"$@\"\n",
        trace.display(),
        worker.root().display(),
        worker.pid()
    );
    std::fs::write(&script, attack).unwrap();
    let reply = worker.compile_plain("gcc -c t.c -o t.o", b"int x;\n");
    assert_eq!((reply.status, String::from_utf8_lossy(&reply.stdout).as_ref()), (0, ""));
    assert!(!trace.exists());
}

/// Where a worker has its files is nobody's business, and the client's folder has another name.
#[test]
fn answers_name_no_folder_of_the_worker() {
    let worker = Worker::start("");
    let root = worker.root().display().to_string();
    for family in compilers("what answers name") {
        let broken = b"# 1 \"t.c\"\nint f(void) { __asm__(\"no such instruction\"); return 0; }\n";
        let reply = worker.compile_plain(&format!("{} -c t.c -o t.o", family.c), broken);
        let text = all(&reply);
        assert_ne!(reply.status, 0, "{text}");
        assert!(!text.contains(&root) && !text.contains("rcache-worker"), "{text}");
        let words = format!("{} -g -c t.c -o t.o", family.c);
        let reply = worker.compile_plain(&words, b"# 1 \"t.c\"\nint x;\n");
        assert_eq!(reply.status, 0, "{reply:?}");
        assert!(!all(&reply).contains(&root), "{words}");
    }
}

#[test]
fn a_job_has_a_bound_of_memory_without_a_word() {
    let worker = Worker::start("");
    assert!(worker.log().contains("address space of each compiler process: "), "{}", worker.log());
    assert_eq!(worker.compile_plain("gcc -O2 -c t.c -o t.o", b"int x;\n").status, 0);
    let worker = Worker::start("--job-memory 0");
    assert!(!worker.log().contains("address space"), "{}", worker.log());
}
