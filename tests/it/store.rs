//! The store under damage and under pressure: a miss, never a wrong object, never an error.

use crate::support::{Cache, Project, Random, check, same_as_compiler};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const UNITS: usize = 6;

fn project() -> Project {
    let project = Project::new(&[("x.h", "#define X 3\n")]);
    for number in 0..UNITS {
        let text = format!(
            "#include \"x.h\"\nint unit_{number}(int y) {{ int unused; return y * X + {number}; }}\n"
        );
        project.write(&format!("u{number}.c"), text);
    }
    project
}

/// Compiles every unit under the golden check.
#[track_caller]
fn compile_all(project: &Project, cache: &Cache) -> Vec<String> {
    let line = |number| format!("gcc -Wall -g -MD -c u{number}.c");
    (0..UNITS).map(|number| check(project, cache, line(number))).collect()
}

/// Fills a cache, stops its daemon, harms every file of the store, and compiles everything again.
#[track_caller]
fn damaged(what: &str, harm: impl Fn(&Path)) {
    let project = project();
    let cache = Cache::new().unprivileged(&project);
    compile_all(&project, &cache);
    cache.stop();
    let files = cache.store_files();
    assert!(files.len() >= UNITS, "{what}: files below store/: {files:?}");
    files.iter().for_each(|file| harm(file));
    let endings = compile_all(&project, &cache);
    let counted = ["cache_miss", "direct_cache_hit", "preprocessed_cache_hit"];
    let fine = |ending: &String| counted.contains(&ending.as_str());
    assert!(endings.iter().all(fine), "{what}: {endings:?}");
    if what != "nothing" {
        assert_eq!(
            compile_all(&project, &cache),
            vec!["direct_cache_hit"; UNITS],
            "{what}, healed"
        );
    }
}

#[test]
fn undamaged_store_serves_everything() {
    let (project, cache) = (project(), Cache::new());
    assert_eq!(compile_all(&project, &cache), vec!["cache_miss"; UNITS]);
    cache.stop();
    assert_eq!(compile_all(&project, &cache), vec!["direct_cache_hit"; UNITS]);
}

#[test]
fn files_cut_short() {
    for keep in [0, 1, 2] {
        damaged("cut short", |file| {
            let length = fs::metadata(file).unwrap().len();
            let file = fs::File::options().write(true).open(file).unwrap();
            file.set_len(length * keep / 3).unwrap();
        });
    }
    damaged("one byte short", |file| {
        let length = fs::metadata(file).unwrap().len();
        let file = fs::File::options().write(true).open(file).unwrap();
        file.set_len(length.saturating_sub(1)).unwrap();
    });
}

#[test]
fn files_with_one_flipped_bit() {
    let random = std::cell::RefCell::new(Random::announced("files_with_one_flipped_bit"));
    for _ in 0..6 {
        damaged("flipped bit", |file| {
            let mut bytes = fs::read(file).unwrap();
            if !bytes.is_empty() {
                let at = random.borrow_mut().below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << random.borrow_mut().below(8);
                fs::write(file, bytes).unwrap();
            }
        });
    }
}

#[test]
fn files_with_more_at_their_end() {
    damaged("longer", |file| {
        let mut bytes = fs::read(file).unwrap();
        bytes.extend([0; 100]);
        fs::write(file, bytes).unwrap();
    });
}

#[test]
fn files_removed() {
    damaged("removed", |file| fs::remove_file(file).unwrap());
}

#[test]
fn files_unreadable() {
    damaged("unreadable", |file| {
        fs::set_permissions(file, fs::Permissions::from_mode(0o000)).unwrap();
    });
}

#[test]
fn files_of_another_entry() {
    // A blob under the wrong name has a right checksum and a wrong content.
    let (project, cache) = (project(), Cache::new());
    compile_all(&project, &cache);
    cache.stop();
    let files = cache.store_files();
    for pair in files.chunks_exact(2) {
        let (one, two) = (fs::read(&pair[0]).unwrap(), fs::read(&pair[1]).unwrap());
        fs::write(&pair[0], two).unwrap();
        fs::write(&pair[1], one).unwrap();
    }
    compile_all(&project, &cache);
    compile_all(&project, &cache);
}

#[test]
fn files_turned_into_folders() {
    let (project, cache) = (project(), Cache::new());
    compile_all(&project, &cache);
    cache.stop();
    for file in cache.store_files() {
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
    }
    compile_all(&project, &cache);
    compile_all(&project, &cache);
}

#[test]
fn every_file_of_the_cache_damaged_the_index_too() {
    for kind in ["empty", "garbage", "removed"] {
        let (project, cache) = (project(), Cache::new());
        compile_all(&project, &cache);
        cache.stop();
        for file in all_files(&cache.folder()) {
            match kind {
                "empty" => fs::write(file, "").unwrap(),
                "garbage" => fs::write(file, [0xa5; 9000]).unwrap(),
                _ => fs::remove_file(file).unwrap(),
            }
        }
        compile_all(&project, &cache);
        let again = compile_all(&project, &cache);
        assert_eq!(again, vec!["direct_cache_hit"; UNITS], "{kind}: the cache heals itself");
    }
}

fn all_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(all_files(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn damage_while_the_daemon_runs() {
    let (project, cache) = (project(), Cache::new());
    compile_all(&project, &cache);
    cache.stop();
    compile_all(&project, &cache);
    for file in cache.store_files() {
        fs::write(file, "damage").unwrap();
    }
    compile_all(&project, &cache);
    assert_eq!(compile_all(&project, &cache), vec!["direct_cache_hit"; UNITS]);
}

#[test]
fn store_stays_below_its_cap() {
    let project = Project::new(&[]);
    let cache = Cache::new().with("RCACHE_MAX_SIZE", "300k").with("RCACHE_COMPRESSION", "false");
    for number in 0..40 {
        let text = format!("char data_{number}[20000] = {{{number} + 1, 2, 3}};\n");
        project.write("a.c", text);
        check(&project, &cache, "gcc -c a.c");
    }
    let below_cap = || cache.stats().store("bytes") <= 300_000;
    crate::support::wait_until("eviction", std::time::Duration::from_secs(30), below_cap);
    let stats = cache.stats();
    assert!(stats.store("evicted") > 0 && stats.store("max_bytes") == 300_000, "{stats:?}");
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit", "the newest stays");
}

#[test]
fn number_of_results_stays_below_its_cap() {
    let project = Project::new(&[]);
    let cache = Cache::new().with("RCACHE_MAX_FILES", "10");
    for number in 0..40 {
        project.write("a.c", format!("int data_{number};\n"));
        check(&project, &cache, "gcc -c a.c");
    }
    let below_cap = || cache.stats().store("files") <= 10;
    crate::support::wait_until("eviction", std::time::Duration::from_secs(30), below_cap);
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
}

#[test]
fn what_is_used_stays() {
    let project = Project::new(&[("used.c", "char used[20000] = {1};\n")]);
    let cache = Cache::new().with("RCACHE_MAX_SIZE", "300k").with("RCACHE_COMPRESSION", "false");
    check(&project, &cache, "gcc -c used.c");
    for number in 0..40 {
        project.write("a.c", format!("char data_{number}[20000] = {{{number} + 1}};\n"));
        check(&project, &cache, "gcc -c a.c");
        assert_eq!(check(&project, &cache, "gcc -c used.c"), "direct_cache_hit", "turn {number}");
    }
}

#[test]
fn a_result_larger_than_the_cap() {
    let project = Project::new(&[("a.c", "char data[500000] = {1, 2, 3};\n")]);
    let cache = Cache::new().with("RCACHE_MAX_SIZE", "100k").with("RCACHE_COMPRESSION", "false");
    for _ in 0..3 {
        check(&project, &cache, "gcc -c a.c");
    }
}

#[test]
fn compression_can_be_changed_at_any_time() {
    let project = project();
    let cache = Cache::new();
    let line = "gcc -g -c u0.c";
    for (name, value) in [
        ("RCACHE_COMPRESSION", "false"),
        ("RCACHE_COMPRESSION_LEVEL", "19"),
        ("RCACHE_COMPRESSION_LEVEL", "-5"),
    ] {
        let call = crate::support::Call::from(line).env(name, value).env("RCACHE_NAMESPACE", value);
        same_as_compiler(&project, &cache, &call);
    }
    cache.stop();
    for value in ["false", "19", "-5"] {
        let call = crate::support::Call::from(line).env("RCACHE_NAMESPACE", value);
        assert_eq!(check(&project, &cache, &call), "direct_cache_hit", "{value}");
    }
}

#[test]
fn large_and_empty_outputs() {
    let project = Project::new(&[
        ("large.s", "\t.data\n\t.fill 30000000, 1, 7\n\t.byte 1\n"),
        ("empty.c", ""),
    ]);
    let cache = Cache::new();
    for line in ["gcc -c large.s", "gcc -c empty.c -MD", "gcc -S empty.c"] {
        let (_, warm) = same_as_compiler(&project, &cache, line);
        assert_eq!(warm, "direct_cache_hit", "{line}");
    }
}
