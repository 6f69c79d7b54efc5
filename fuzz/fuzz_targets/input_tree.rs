//! An input tree that a stranger sent: each blob is a folder's message, the first is the root.
#![no_main]
use libfuzzer_sys::fuzz_target;
use remote::reapi::digest::{BlobName, Function};
use std::collections::HashSet;
use worker::input_tree;

fuzz_target!(|bytes: &[u8]| {
    let blobs: Vec<&[u8]> = bytes.split(|byte| *byte == 0xff).collect();
    let root = Function::Blake3.name(blobs[0]);
    // Whatever is asked for is there, so that also what no digest could name is looked at.
    let mut fetch = |name: &BlobName| {
        let at = usize::from(name.hash[0]) % blobs.len();
        Some(blobs[at].to_vec().into())
    };
    let Ok(plan) = input_tree::plan(Function::Blake3, root, &mut fetch) else { return };
    let nodes = plan.folders.len() + plan.files.len() + plan.links.len();
    assert!(nodes <= input_tree::NODES_MAX);
    let files = plan.files.iter().map(|file| &file.path);
    let links = plan.links.iter().map(|(path, _)| path);
    let mut seen = HashSet::new();
    for path in plan.folders.iter().chain(files).chain(links) {
        assert!(seen.insert(path), "{path} is two things");
        let bad = |part: &str| part.is_empty() || part == "." || part == "..";
        assert!(!path.split('/').any(bad), "{path}");
    }
    for (link, _) in &plan.links {
        let below = format!("{link}/");
        assert!(!seen.iter().any(|path| path.starts_with(&below)), "{link} leads on");
    }
});
