//! The worker as a server of the Remote Execution API, for any client: blobs, actions, and what must not be.

mod attacks;
mod blobs;
mod keys;

use crate::support::{InputTree, Project, Reapi, Worker, compilers, skip, wait_until};
use prost::bytes::Bytes;
use remote::reapi::digest::Function;
use remote::reapi::proto::{self, path};
use std::path::Path;

const SOURCE: &str = "\
#include \"inc/a.h\"
#include <stddef.h>
#include <vector>
#ifdef WARN
int unused(void) { int nothing; return 3; }
#endif
size_t entry(int n) { std::vector<int> v(n); return TWICE(v.size()) + __LINE__ + sizeof(__FILE__); }
";

/// Whether actions can be run here; if not, the test is skipped.
pub fn runs_actions(worker: &Worker, test: &str) -> bool {
    let answer = Reapi::connect(&worker.address)
        .ask::<_, proto::ServerCapabilities>(
            path::GET_CAPABILITIES,
            proto::GetCapabilitiesRequest::default(),
        )
        .unwrap();
    let enabled = answer.execution_capabilities.unwrap().exec_enabled;
    if !enabled {
        let log = worker.log();
        let why = log.lines().find(|line| line.contains("no namespace")).unwrap_or_default();
        skip(test, &format!("no namespace can be made here: {why}"));
    }
    enabled
}

/// Waits until all that jobs made was removed.
pub fn no_folder_is_left(worker: &Worker) {
    wait_until("the jobs' folders go", std::time::Duration::from_secs(60), || {
        worker.job_folders().is_empty()
    });
}

/// A command that runs in a folder.
pub fn command(words: &[&str], folder: &Path, outputs: &[&str]) -> proto::Command {
    let variable = |name: &str, value: &str| proto::EnvironmentVariable {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    proto::Command {
        arguments: words.iter().map(|word| (*word).to_owned()).collect(),
        environment_variables: vec![
            variable("LC_ALL", "C.UTF-8"),
            variable("PATH", "/usr/bin:/bin"),
        ],
        working_directory: folder.strip_prefix("/").unwrap().to_str().unwrap().to_owned(),
        output_paths: outputs.iter().map(|path| (*path).to_owned()).collect(),
        ..Default::default()
    }
}

/// A tree with a compiler, the files of a project, and all headers that one of them reads.
fn tree_of(project: &Project, driver: &str) -> InputTree {
    let mut tree = InputTree::default();
    tree.take_compiler(driver);
    let listed = std::process::Command::new(driver)
        .args(["-M", "a.cc"])
        .current_dir(project.root())
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for word in listed.split_whitespace().filter(|word| *word != "\\").skip(1) {
        tree.take(project.root().join(word));
    }
    tree
}

fn locally(project: &Project, words: &[&str]) -> std::process::Output {
    std::process::Command::new(words[0])
        .args(&words[1..])
        .env_clear()
        .envs([("LC_ALL", "C.UTF-8"), ("PATH", "/usr/bin:/bin")])
        .current_dir(project.root())
        .output()
        .unwrap()
}

#[test]
fn an_action_gives_what_the_compiler_gives() {
    let worker = Worker::start("");
    if !runs_actions(&worker, "an_action_gives_what_the_compiler_gives") {
        return;
    }
    let mut reapi = Reapi::connect(&worker.address);
    for family in compilers("actions") {
        let project =
            Project::new(&[("a.cc", SOURCE), ("inc/a.h", "#define TWICE(x) ((x) + (x))\n")]);
        let tree = tree_of(&project, family.cxx);
        for function in Function::ALL {
            reapi.function = function;
            let driver = format!("/usr/bin/{}", family.cxx);
            let flags = ["-g", "-O2", "-Wall", "-DWARN", "-fdiagnostics-color=always"];
            let words =
                [&[driver.as_str()][..], &flags, &["-MD", "-c", "a.cc", "-o", "a.o"]].concat();
            let upload =
                reapi.prepare(&tree, &command(&words, project.root(), &["a.d", "a.o", "none"]));
            let answer = reapi.execute(&upload.action).unwrap();
            let result =
                answer.result.unwrap_or_else(|| panic!("{:?} {}", answer.status, worker.log()));
            let local = locally(&project, &words);
            assert!(local.status.success() && !local.stderr.is_empty());
            assert_eq!(
                String::from_utf8_lossy(&result.stderr_raw),
                String::from_utf8_lossy(&local.stderr)
            );
            assert_eq!((result.exit_code, answer.cached_result), (0, false), "{result:?}");
            for file in ["a.o", "a.d"] {
                let here = std::fs::read(project.path(file)).unwrap();
                assert!(reapi.output(&result, file) == here, "{file} of {} differs", family.cxx);
            }
            assert_eq!(result.output_files.len(), 2);

            let again = reapi.execute_as(&upload.action, |request| {
                request.inline_output_files = vec!["a.o".to_owned()];
            });
            let again = again.unwrap();
            assert!(again.cached_result);
            let object =
                again.result.unwrap().output_files.into_iter().find(|file| file.path == "a.o");
            assert_eq!(object.unwrap().contents, std::fs::read(project.path("a.o")).unwrap());
        }
    }
    let counted = ["actions_run_total", "actions_cached_total"].map(|name| worker.metric(name));
    assert_eq!(counted[0], counted[1]);
    assert!(worker.metric("cas_bytes") > 0 && worker.metric("cas_files") > 0);
}

#[test]
fn an_ordinary_users_worker_does_the_same() {
    for options in ["", "--no-sandbox"] {
        let worker = Worker::start_unprivileged(options);
        if !runs_actions(&worker, "an_ordinary_users_worker_does_the_same") {
            return;
        }
        let reapi = Reapi::connect(&worker.address);
        let project =
            Project::new(&[("a.cc", SOURCE), ("inc/a.h", "#define TWICE(x) (2 * (x))\n")]);
        let tree = tree_of(&project, "g++");
        let words = ["/usr/bin/g++", "-g", "-gsplit-dwarf", "-c", "a.cc", "-o", "a.o"];
        let made = ["a.dwo", "a.o"];
        let upload = reapi.prepare(&tree, &command(&words, project.root(), &made));
        let answer = reapi.execute(&upload.action).unwrap();
        let result =
            answer.result.unwrap_or_else(|| panic!("{:?} {}", answer.status, worker.log()));
        assert_eq!(result.exit_code, 0, "{result:?}");
        assert!(locally(&project, &words).status.success());
        for file in made {
            let here = std::fs::read(project.path(file)).unwrap();
            assert!(reapi.output(&result, file) == here, "{options} {file}");
        }
        no_folder_is_left(&worker);
    }
}

#[test]
fn a_failure_is_the_compilers_own_and_is_not_kept() {
    let worker = Worker::start("");
    if !runs_actions(&worker, "a_failure_is_the_compilers_own_and_is_not_kept") {
        return;
    }
    let reapi = Reapi::connect(&worker.address);
    for family in compilers("failing actions") {
        let project = Project::new(&[("a.cc", "int f() { return undeclared; }\n")]);
        let tree = tree_of(&project, family.cxx);
        let driver = format!("/usr/bin/{}", family.cxx);
        let words = [driver.as_str(), "-c", "a.cc", "-o", "a.o"];
        let upload = reapi.prepare(&tree, &command(&words, project.root(), &["a.o"]));
        for _ in 0..2 {
            let answer = reapi.execute(&upload.action).unwrap();
            let result = answer.result.unwrap();
            let local = locally(&project, &words);
            assert_eq!(
                String::from_utf8_lossy(&result.stderr_raw),
                String::from_utf8_lossy(&local.stderr)
            );
            assert_eq!(
                (Some(result.exit_code), answer.cached_result),
                (local.status.code(), false)
            );
            assert!(result.output_files.is_empty());
        }
        let asked = proto::GetActionResultRequest {
            action_digest: Some(upload.action.message()),
            digest_function: reapi.function.proto() as i32,
            ..Default::default()
        };
        let found: Result<proto::ActionResult, _> = reapi.ask(path::GET_ACTION_RESULT, asked);
        assert_eq!(found.unwrap_err().code(), tonic::Code::NotFound);
    }
}

#[test]
fn own_compilers_need_not_be_sent() {
    let worker = Worker::start("");
    let mut reapi = Reapi::connect(&worker.address);
    for family in compilers("own compilers") {
        let mut tree = InputTree::default();
        tree.take_compiler(family.cxx);
        for function in Function::ALL {
            reapi.function = function;
            let upload = tree.upload(function);
            let names: Vec<_> = upload.blobs.keys().copied().collect();
            // Folders' messages are missing, and what is no program.
            let missing = reapi.missing(&names);
            let is_program = |name: &&remote::reapi::digest::BlobName| {
                let content = &upload.blobs[name];
                content.starts_with(b"\x7fELF") && content[16] != 1
            };
            assert_eq!(missing.iter().filter(is_program).count(), 0, "{}", family.cxx);
            assert!(missing.len() < names.len());
        }
    }
}

/// A tree with a shell, for a worker that runs what it is sent.
pub fn with_shell(script: &str) -> (InputTree, proto::Command) {
    let mut tree = InputTree::default();
    tree.take_program("/bin/sh");
    tree.file("/job/script", Bytes::copy_from_slice(script.as_bytes()), false);
    tree.folder("/job/out");
    (tree, command(&["/bin/sh", "script"], Path::new("/job"), &["made", "out"]))
}

#[test]
fn compilers_that_are_sent_run_only_where_that_is_allowed() {
    let worker = Worker::start("");
    if !runs_actions(&worker, "compilers_that_are_sent_run_only_where_that_is_allowed") {
        return;
    }
    let (tree, command) = with_shell("echo made >made; echo x >out/x; echo said; exit 0");
    let reapi = Reapi::connect(&worker.address);
    let upload = reapi.prepare(&tree, &command);
    let answer = reapi.execute(&upload.action).unwrap();
    let status = answer.status.unwrap();
    assert_eq!(status.code, tonic::Code::FailedPrecondition as i32);
    assert!(status.message.contains("is not a file of a compiler of this worker"), "{status:?}");

    let tokens = worker.root().join("tokens");
    std::fs::write(&tokens, "0123456789abcdef\n").unwrap();
    let worker = Worker::start(&format!("--toolchains sent --token-file {}", tokens.display()));
    let url = format!("http://{}", worker.address);
    let reapi = Reapi::connect_with(&url, None, Some("0123456789abcdef")).unwrap();
    let upload = reapi.prepare(&tree, &command);
    let result = reapi.execute(&upload.action).unwrap().result.unwrap();
    assert_eq!((result.exit_code, &result.stdout_raw[..]), (0, &b"said\n"[..]));
    assert_eq!(reapi.output(&result, "made"), b"made\n");
    assert_eq!(result.output_directories[0].path, "out");
}

#[test]
fn equal_actions_run_once() {
    let scratch = tempfile::tempdir().unwrap();
    let tokens = scratch.path().join("tokens");
    std::fs::write(&tokens, "0123456789abcdef\n").unwrap();
    let worker =
        Worker::start(&format!("--toolchains sent --token-file {} --jobs 1", tokens.display()));
    let url = format!("http://{}", worker.address);
    let connect = || Reapi::connect_with(&url, None, Some("0123456789abcdef")).unwrap();
    let reapi = connect();
    let capable: proto::ServerCapabilities =
        reapi.ask(path::GET_CAPABILITIES, proto::GetCapabilitiesRequest::default()).unwrap();
    if !capable.execution_capabilities.unwrap().exec_enabled {
        return skip("equal_actions_run_once", "no namespace can be made here");
    }
    // It ends when it is told to: each job's folder can be reached from outside.
    let (tree, command) = with_shell("until [ -e release ]; do :; done; echo made >made");
    let upload = reapi.prepare(&tree, &command);
    let mut alone = tree.upload(reapi.function);
    alone.action(&command, |action| action.do_not_cache = true);
    reapi.upload(&alone.blobs);
    let release = |count: usize| {
        wait_until("the jobs run", std::time::Duration::from_secs(60), || {
            let folders = worker.job_folders();
            let works: Vec<_> = folders.iter().map(|folder| folder.join("root/job")).collect();
            works.len() == count && works.iter().all(|work| work.join("script").exists())
        });
        for folder in worker.job_folders() {
            std::fs::write(folder.join("root/job/release"), "").unwrap();
        }
    };
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            (0..4).map(|_| scope.spawn(|| connect().execute(&upload.action).unwrap())).collect();
        worker.wait_for("actions_joined_total", 3);
        release(1);
        for answer in asked {
            let answer = answer.join().unwrap();
            assert_eq!((answer.result.unwrap().exit_code, answer.cached_result), (0, false));
        }
    });
    assert_eq!(worker.metric("actions_run_total"), 1);
    no_folder_is_left(&worker);
    // One whose result is not for others is run by itself, again and again.
    for _ in 0..2 {
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| connect().execute(&alone.action).unwrap());
            release(1);
            assert!(!asked.join().unwrap().cached_result);
        });
        no_folder_is_left(&worker);
    }
    assert_eq!(worker.metric("actions_run_total"), 3);
    // A client that goes away does not leave its job behind.
    std::thread::scope(|scope| {
        let other = connect();
        let (tree, command) = with_shell("while :; do :; done");
        let upload = other.prepare(&tree, &command);
        let asked = scope.spawn(move || {
            let brief = std::time::Duration::from_secs(1);
            other.execute_for(&upload.action, brief)
        });
        assert!(asked.join().unwrap().is_err());
        worker.wait_for("actions_in_flight", 0);
        worker.wait_for("running", 0);
    });
    no_folder_is_left(&worker);
}
