//! Random changes to a project.

use crate::project::{CHECKOUTS, HEADER_FOLDERS, HEADER_NAMES, Kind, SOURCES, header, source};
use crate::random::Random;
use crate::setting::FED;
use crate::tree::{JUST_NOW, Node, ROOT, Tree, with_folders};
use std::sync::Arc;

/// Where folder links may lead.
const LINK_TARGETS: [&str; 6] = ["inc1", "inc2", "inc3", "sys1", "missing", "@ROOT@/v/inc1"];

/// Files that are no C, and headers for assembler.
const DATA_FILES: [&str; 13] = [
    FED,
    FED,
    "other.c",
    "line1.h",
    "src/line2.h",
    "data.bin",
    "src/data.bin",
    "text.inc",
    "src/text.inc",
    "plain.rsp",
    "inc1/asm.h",
    "inc3/asm.h",
    "src/asm.h",
];

/// `tree` after one edit. `now_ns` is the modification time of what is written.
pub fn edited(tree: &Tree, now_ns: u64, random: &mut Random) -> Tree {
    let mut new = tree.clone();
    // As a generator's output, of which the clock cannot say whether it still changes.
    let now_ns = if random.chance(15) { JUST_NOW } else { now_ns };
    let checkout = if random.chance(88) { CHECKOUTS[0] } else { CHECKOUTS[1] };
    match random.below(20) {
        0..=4 => change_text(&mut new, checkout, now_ns, random),
        5..=8 => add_header(&mut new, checkout, now_ns, random),
        9..=11 => remove_header(&mut new, checkout, random),
        12 => rename_header(&mut new, checkout, random),
        13 => swap(&mut new, checkout, random),
        14 => link(&mut new, checkout, random),
        15 => odd_file(&mut new, checkout, now_ns, random),
        16 => change_data(&mut new, checkout, now_ns, random),
        17 => touch(&mut new, checkout, now_ns, random),
        _ => rewrite_source(&mut new, checkout, now_ns, random),
    }
    without_orphans(with_folders(new))
}

/// Leaves out what lies below something that is no folder.
fn without_orphans(mut tree: Tree) -> Tree {
    let paths: Vec<String> = tree.keys().cloned().collect();
    for path in paths {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        let is_orphan =
            above.into_iter().any(|folder| !matches!(tree.get(folder), Some(Node::Folder)));
        if is_orphan {
            tree.remove(&path);
        }
    }
    tree
}

fn headers(tree: &Tree, checkout: &str) -> Vec<String> {
    let in_checkout = |path: &&String| path.starts_with(checkout) && path.ends_with(".h");
    let files = tree.iter().filter(|(_, node)| !matches!(node, Node::Folder));
    let files = files.filter(|(path, _)| !path.ends_with("asm.h"));
    files.map(|(path, _)| path).filter(in_checkout).cloned().collect()
}

fn texts(tree: &Tree, checkout: &str) -> Vec<String> {
    let mut all = headers(tree, checkout);
    all.retain(|path| matches!(tree[path], Node::File { .. }));
    for (path, _) in SOURCES {
        let path = format!("{checkout}/{path}");
        if matches!(tree.get(&path), Some(Node::File { .. })) {
            all.push(path);
        }
    }
    all
}

/// Changes a text a little, or keeps its size and time.
fn change_text(tree: &mut Tree, checkout: &str, now_ns: u64, random: &mut Random) {
    let candidates = texts(tree, checkout);
    let Some(path) = random.pick_any(&candidates) else { return };
    let Some(Node::File { bytes, modified_ns }) = tree.get(path).cloned() else { return };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (text, time) = match random.below(6) {
        0 | 1 => (with_other_digit(&text, random), modified_ns),
        2 => (with_other_digit(&text, random), now_ns),
        3 => (with_insertion(&text, " ", random), now_ns),
        4 => (with_insertion(&text, " /* new comment */ ", random), now_ns),
        _ => (text + "\n", now_ns),
    };
    tree.insert(path.clone(), Node::file(text, time));
}

fn with_other_digit(text: &str, random: &mut Random) -> String {
    let digits: Vec<usize> = text
        .char_indices()
        .filter(|(at, letter)| {
            letter.is_ascii_digit() && text[..*at].ends_with([' ', '1', '2', '3', '4', '5'])
        })
        .map(|(at, _)| at)
        .collect();
    let Some(&at) = random.pick_any(&digits) else { return text.to_owned() };
    format!("{}{}{}", &text[..at], 1 + random.below(9), &text[at + 1..])
}

/// With something that means nothing, at some blank that is not in a line's first columns.
fn with_insertion(text: &str, what: &str, random: &mut Random) -> String {
    let blanks: Vec<usize> = text.match_indices(' ').map(|(at, _)| at).collect();
    match random.pick_any(&blanks) {
        Some(&at) => format!("{}{what}{}", &text[..at], &text[at..]),
        None => text.to_owned(),
    }
}

/// A header in some folder: perhaps before the one that was found so far, perhaps the same text.
fn add_header(tree: &mut Tree, checkout: &str, now_ns: u64, random: &mut Random) {
    let index = random.below(HEADER_NAMES.len());
    let folder = random.pick(&HEADER_FOLDERS);
    let existing = headers(tree, checkout);
    let same = existing.iter().filter(|path| path.ends_with(HEADER_NAMES[index]));
    let same: Vec<&String> = same.collect();
    let node = match random.pick_any(&same) {
        Some(path) if random.chance(25) => tree[*path].clone(),
        _ => Node::file(header(index, random), now_ns),
    };
    let checkout_folder =
        if random.chance(6) { checkout.to_owned() } else { format!("{checkout}/{folder}") };
    tree.insert(format!("{checkout_folder}/{}", HEADER_NAMES[index]), node);
}

fn remove_header(tree: &mut Tree, checkout: &str, random: &mut Random) {
    if random.chance(5) {
        let folder = format!("{checkout}/{}", random.pick(&HEADER_FOLDERS[1..]));
        tree.retain(|path, _| *path != folder && !path.starts_with(&format!("{folder}/")));
        return;
    }
    let candidates = headers(tree, checkout);
    if let Some(path) = random.pick_any(&candidates) {
        tree.remove(path);
    }
}

fn rename_header(tree: &mut Tree, checkout: &str, random: &mut Random) {
    let candidates = headers(tree, checkout);
    let Some(path) = random.pick_any(&candidates) else { return };
    let Some(node) = tree.remove(path) else { return };
    let folder = random.pick(&HEADER_FOLDERS);
    let name = random.pick(&HEADER_NAMES);
    tree.insert(format!("{checkout}/{folder}/{name}"), node);
}

fn swap(tree: &mut Tree, checkout: &str, random: &mut Random) {
    let candidates = headers(tree, checkout);
    let (Some(one), Some(other)) = (random.pick_any(&candidates), random.pick_any(&candidates))
    else {
        return;
    };
    let (first, second) = (tree[one].clone(), tree[other].clone());
    tree.insert(one.clone(), second);
    tree.insert(other.clone(), first);
}

/// Leads a link elsewhere, or puts a link in a header's place.
fn link(tree: &mut Tree, checkout: &str, random: &mut Random) {
    if random.chance(60) {
        let name = random.pick(&["link1", "link2"]);
        let target = random.pick(&LINK_TARGETS).to_string();
        tree.insert(format!("{checkout}/{name}"), Node::Link(target));
        return;
    }
    let candidates = headers(tree, checkout);
    let Some(target) = random.pick_any(&candidates) else { return };
    let folder = random.pick(&HEADER_FOLDERS);
    let path = format!("{checkout}/{folder}/{}", random.pick(&HEADER_NAMES));
    if path != *target {
        let target =
            if random.chance(10) { "nowhere".to_owned() } else { format!("{ROOT}/{target}") };
        tree.insert(path, Node::Link(target));
    }
}

/// Something unusual where a header is or could be.
fn odd_file(tree: &mut Tree, checkout: &str, now_ns: u64, random: &mut Random) {
    let folder = random.pick(&HEADER_FOLDERS);
    let name = random.pick(&HEADER_NAMES);
    let path = format!("{checkout}/{folder}/{name}");
    match random.below(4) {
        0 => {
            tree.insert(path, Node::Folder);
        }
        1 => {
            tree.insert(format!("{path}.gch"), Node::file("not a precompiled header", now_ns));
        }
        2 => {
            tree.retain(|path, _| !path.ends_with(".gch"));
        }
        _ => {
            tree.insert(path, Node::file("", now_ns));
        }
    }
}

fn change_data(tree: &mut Tree, checkout: &str, now_ns: u64, random: &mut Random) {
    let name = random.pick(&DATA_FILES);
    let number = random.below(10);
    let text = match *name {
        "plain.rsp" => format!("-DFROM_RESPONSE={number} -Iinc{}\n", 1 + random.below(3)),
        FED => format!("#undef V0\n#define V0 {number}\n#undef FLAG\n#define FLAG {number}\n"),
        name if name.ends_with("asm.h") => format!("#define V0 {number}\n"),
        // Named by `#line` only: the compiler quotes it below a diagnostic.
        "other.c" | "line1.h" | "src/line2.h" => format!("int quoted = {number};\n").repeat(1000),
        name if name.ends_with("inc") => format!(".byte {number}\n"),
        _ => format!("data {number}"),
    };
    let time = if random.chance(50) { now_ns } else { crate::project::FIRST_TIME_NS };
    tree.insert(format!("{checkout}/{name}"), Node::file(text, time));
}

fn touch(tree: &mut Tree, checkout: &str, now_ns: u64, random: &mut Random) {
    let candidates = texts(tree, checkout);
    let Some(path) = random.pick_any(&candidates) else { return };
    if let Some(Node::File { modified_ns, .. }) = tree.get_mut(path) {
        *modified_ns = now_ns;
    }
}

fn rewrite_source(tree: &mut Tree, checkout: &str, now_ns: u64, random: &mut Random) {
    let (path, kind): &(&str, Kind) = random.pick(&SOURCES);
    let text: Arc<[u8]> = source(*kind, random).into_bytes().into();
    tree.insert(format!("{checkout}/{path}"), Node::File { bytes: text, modified_ns: now_ns });
}
