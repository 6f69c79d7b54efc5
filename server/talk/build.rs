//! Gives every build of rcache a name of its own, so that a launcher never talks to another build's daemon.

use std::fs;
use std::path::Path;

/// FNV-1a, 64 bits: enough to tell two builds apart, and in need of no crate.
struct Fnv(u64);

impl Fnv {
    fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn main() {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    for folder in [
        "../../early",
        "../../config",
        "../../compiler",
        "../../cache",
        "../../remote",
        "../../shared",
        "../../server",
        "../../src",
    ] {
        println!("cargo:rerun-if-changed={folder}");
        add_folder(&mut hash, Path::new(folder));
    }
    // What others wrote is part of the program, too.
    println!("cargo:rerun-if-changed=../../Cargo.lock");
    hash.update(&fs::read("../../Cargo.lock").unwrap_or_default());
    println!("cargo:rustc-env=RCACHE_BUILD_ID={:016x}", hash.0);
}

fn add_folder(hash: &mut Fnv, folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            add_folder(hash, &path);
        } else if let Ok(content) = fs::read(&path) {
            hash.update(&content);
        }
    }
}
