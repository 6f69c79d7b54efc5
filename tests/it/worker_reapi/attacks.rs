//! Trees and commands that want to reach beyond their root, or to be too much.

use super::{command, no_folder_is_left, runs_actions, with_shell};
use crate::support::{InputTree, Project, Reapi, Upload, Worker};
use prost::Message;
use prost::bytes::Bytes;
use remote::reapi::digest::BlobName;
use remote::reapi::proto;
use std::path::Path;
use tonic::Code;

fn upload_of(reapi: &Reapi, directory: &proto::Directory, command: &proto::Command) -> Upload {
    let mut upload = InputTree::default().upload(reapi.function);
    upload.root = upload.put(directory.encode_to_vec());
    upload.action(command, |_| {});
    upload
}

fn file(name: &str, content: &BlobName) -> proto::FileNode {
    let digest = Some(content.message());
    proto::FileNode { name: name.to_owned(), digest, ..Default::default() }
}

fn code(answer: &proto::ExecuteResponse) -> Code {
    Code::from_i32(answer.status.as_ref().map_or(0, |status| status.code))
}

#[test]
fn trees_that_lead_elsewhere() {
    let worker = Worker::start("");
    if !runs_actions(&worker, "trees_that_lead_elsewhere") {
        return;
    }
    let reapi = Reapi::connect(&worker.address);
    let victim = worker.root().join("victim");
    let empty = reapi.function.name(b"");
    let compile = command(&["/usr/bin/gcc"], Path::new("/job"), &[]);
    let absolute = victim.to_str().unwrap();
    let folder = |name: &str, content: &BlobName| proto::DirectoryNode {
        name: name.to_owned(),
        digest: Some(content.message()),
    };
    let link = |name: &str| proto::SymlinkNode {
        name: name.to_owned(),
        target: absolute.to_owned(),
        node_properties: None,
    };
    let files = |files: Vec<proto::FileNode>| proto::Directory { files, ..Default::default() };
    let huge = BlobName { bytes: i64::MAX as u64, ..empty };
    for (what, directory, expected) in [
        ("up", files(vec![file("../victim", &empty)]), Code::InvalidArgument),
        ("dots", files(vec![file("..", &empty)]), Code::InvalidArgument),
        ("absolute", files(vec![file(absolute, &empty)]), Code::InvalidArgument),
        ("twice", files(vec![file("a", &empty), file("a", &empty)]), Code::InvalidArgument),
        ("a file that is no folder", files(vec![file("dev", &empty)]), Code::InvalidArgument),
        ("huge", files(vec![file("a", &huge), file("b", &huge)]), Code::ResourceExhausted),
        (
            "through a link",
            proto::Directory {
                directories: vec![folder("x", &empty)],
                symlinks: vec![link("x")],
                ..Default::default()
            },
            Code::InvalidArgument,
        ),
        (
            "a link in place of devices",
            proto::Directory { symlinks: vec![link("dev")], ..Default::default() },
            Code::InvalidArgument,
        ),
    ] {
        let upload = upload_of(&reapi, &directory, &compile);
        reapi.upload(&upload.blobs);
        let answer = reapi.execute(&upload.action).unwrap();
        assert_eq!(code(&answer), expected, "{what}: {answer:?}");
        assert!(!victim.exists(), "{what}");
    }
    no_folder_is_left(&worker);
}

#[test]
fn trees_without_end() {
    let worker = Worker::start("");
    if !runs_actions(&worker, "trees_without_end") {
        return;
    }
    let reapi = Reapi::connect(&worker.address);
    let compile = command(&["/usr/bin/gcc"], Path::new("/job"), &[]);
    let mut tree = InputTree::default();
    tree.folder("/d/".repeat(150));
    let mut upload = tree.upload(reapi.function);
    upload.action(&compile, |_| {});
    reapi.upload(&upload.blobs);
    assert_eq!(code(&reapi.execute(&upload.action).unwrap()), Code::ResourceExhausted);
    // Ten times ten times ten …
    let mut upload = InputTree::default().upload(reapi.function);
    for _ in 0..12 {
        let names = 0..10;
        let directories = names.map(|name| proto::DirectoryNode {
            name: name.to_string(),
            digest: Some(upload.root.message()),
        });
        let directory =
            proto::Directory { directories: directories.collect(), ..Default::default() };
        upload.root = upload.put(directory.encode_to_vec());
    }
    upload.action(&compile, |_| {});
    reapi.upload(&upload.blobs);
    assert_eq!(code(&reapi.execute(&upload.action).unwrap()), Code::ResourceExhausted);
    // A folder that is said to hold itself has another name than it has.
    let itself = reapi.function.name(b"itself");
    let directories =
        vec![proto::DirectoryNode { name: "d".to_owned(), digest: Some(itself.message()) }];
    let cycle = proto::Directory { directories, ..Default::default() };
    let stored = reapi.put(&[(itself, cycle.encode_to_vec().into())]).unwrap();
    assert_eq!(stored[0].code, Code::InvalidArgument as i32);
    let upload = upload_of(&reapi, &cycle, &compile);
    reapi.upload(&upload.blobs);
    let answer = reapi.execute(&upload.action).unwrap();
    assert_eq!(code(&answer), Code::FailedPrecondition);
    let details = &answer.status.unwrap().details[0];
    let details = proto::PreconditionFailure::decode(details.value.clone()).unwrap();
    assert_eq!(details.violations[0].subject, itself.resource());
}

#[test]
fn commands_that_make_no_sense() {
    let worker = Worker::start("");
    if !runs_actions(&worker, "commands_that_make_no_sense") {
        return;
    }
    let reapi = Reapi::connect(&worker.address);
    let work = Path::new("/job");
    let mut outside = command(&["/usr/bin/gcc"], work, &[]);
    outside.working_directory = "../..".to_owned();
    let mut elsewhere = command(&["/usr/bin/gcc"], work, &[]);
    elsewhere.platform = Some(proto::Platform {
        properties: vec![proto::Property { name: "OSFamily".into(), value: "windows".into() }],
    });
    for (command, expected) in [
        (command(&[], work, &[]), Code::InvalidArgument),
        (command(&["/usr/bin/gcc\0"], work, &[]), Code::InvalidArgument),
        (command(&["/usr/bin/gcc"], work, &["../../../etc/x"]), Code::InvalidArgument),
        (command(&["/usr/bin/gcc"], work, &["/etc/x"]), Code::InvalidArgument),
        (outside, Code::InvalidArgument),
        (elsewhere, Code::FailedPrecondition),
        (command(&["/usr/bin/gcc"], work, &[]), Code::FailedPrecondition),
    ] {
        let upload = reapi.prepare(&InputTree::default(), &command);
        let answer = reapi.execute(&upload.action).unwrap();
        assert_eq!(code(&answer), expected, "{command:?} {answer:?}");
    }
    let nowhere = reapi.function.name(b"nowhere");
    let answer = reapi.execute(&nowhere).unwrap();
    assert_eq!(code(&answer), Code::FailedPrecondition);
    // A blob that is no action.
    let nonsense = Bytes::from_static(b"\xff\xff\xff");
    let name = reapi.function.name(&nonsense);
    reapi.put(&[(name, nonsense)]).unwrap();
    assert_eq!(code(&reapi.execute(&name).unwrap()), Code::InvalidArgument);
}

#[test]
fn a_compiler_reaches_nothing_but_its_tree() {
    let worker = Worker::start("");
    if !runs_actions(&worker, "a_compiler_reaches_nothing_but_its_tree") {
        return;
    }
    let reapi = Reapi::connect(&worker.address);
    let project = Project::new(&[("plugin.c", "int plugin_is_GPL_compatible;\n")]);
    let plugin = project.path("plugin.so");
    let made = std::process::Command::new("gcc")
        .args(["-shared", "-fPIC", "plugin.c", "-o", "plugin.so"])
        .current_dir(project.root())
        .status();
    assert!(made.unwrap().success());
    let mut tree = InputTree::default();
    tree.take_compiler("gcc");
    tree.file("/job/a.c", "#include \"/etc/passwd\"\n", false);
    tree.file("/job/b.c", "int b;\n", false);
    tree.file("/job/own/as", "#!/usr/bin/gcc\n", true);
    let run = |tree: &InputTree, words: &[&str]| {
        let words = [&["/usr/bin/gcc"], words].concat();
        let upload = reapi.prepare(tree, &command(&words, Path::new("/job"), &["a.o"]));
        reapi.execute(&upload.action).unwrap()
    };
    assert_eq!(
        code(&run(&tree, &["-c", "b.c", "-o", "a.o"])),
        Code::FailedPrecondition,
        "a script"
    );
    let mut tree = InputTree::default();
    tree.take_compiler("gcc");
    tree.file("/job/a.c", "#include \"/etc/passwd\"\n", false);
    tree.file("/job/b.c", "int b;\n", false);
    tree.file("/job/c.c", "__asm__(\".incbin \\\"/proc/self/environ\\\"\");\n", false);
    let answer = run(&tree, &["-c", "a.c", "-o", "a.o"]).result.unwrap();
    let said = String::from_utf8_lossy(&answer.stderr_raw).into_owned();
    assert!(answer.exit_code == 1 && said.contains("No such file"), "{said}");
    let answer = run(&tree, &["-c", "b.c", "-o", "a.o"]).result.unwrap();
    assert_eq!(answer.exit_code, 0, "{answer:?}");
    // The worker's environment is not there, either: nothing of it is in the namespace.
    let answer = run(&tree, &["-c", "c.c", "-o", "a.o"]);
    if let Some(object) = answer.result.filter(|result| result.exit_code == 0) {
        let object = reapi.output(&object, "a.o");
        let marker = worker.root().to_str().unwrap().as_bytes();
        assert!(!object.windows(marker.len()).any(|window| window == marker));
    }
    // A library of the client's is not loaded, neither as what it is nor under another name.
    let library = std::fs::read(&plugin).unwrap();
    tree.file("/job/plugin.so", library, false);
    let answer = run(&tree, &["-fplugin=./plugin.so", "-c", "b.c", "-o", "a.o"]);
    assert_eq!(code(&answer), Code::FailedPrecondition, "{answer:?}");
    let said = answer.status.unwrap().message;
    assert!(said.contains("job/plugin.so") && said.contains("--toolchains sent"), "{said}");
    no_folder_is_left(&worker);
}

#[test]
fn what_takes_too_much_ends() {
    let scratch = tempfile::tempdir().unwrap();
    let tokens = scratch.path().join("tokens");
    std::fs::write(&tokens, "0123456789abcdef\n").unwrap();
    let options = format!("--toolchains sent --job-timeout 2s --token-file {}", tokens.display());
    let worker = Worker::start(&options);
    let url = format!("http://{}", worker.address);
    let reapi = Reapi::connect_with(&url, None, Some("0123456789abcdef")).unwrap();
    let run = |script: &str| {
        let (tree, command) = with_shell(script);
        let upload = reapi.prepare(&tree, &command);
        reapi.execute(&upload.action).unwrap()
    };
    let answer = run("while :; do :; done");
    if code(&answer) == Code::FailedPrecondition {
        return crate::support::skip("what_takes_too_much_ends", "no namespace can be made here");
    }
    assert_eq!(code(&answer), Code::DeadlineExceeded, "{answer:?}");
    let answer = run("while :; do echo a line that is repeated again and again without end; done");
    assert!(matches!(code(&answer), Code::ResourceExhausted | Code::DeadlineExceeded));
    // A folder that its owner may not enter goes, too; and what a link leads to stays.
    let answer = run("ln -s / out 2>/dev/null; umask 777; mkdir a; exit 4");
    assert_eq!(answer.result.unwrap().exit_code, 4);
    no_folder_is_left(&worker);
    assert!(Path::new("/bin/sh").exists());
}
