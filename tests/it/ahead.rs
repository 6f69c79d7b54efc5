//! Results that a fetcher fetches while their inputs, some hundreds, are checked.

use crate::support::{Cache, LIMIT_CALL, Project, Random, Trap, check, compilers, start};
use std::fs;

const HEADERS: usize = 90;

/// Numbers in the object that nothing compresses: more bytes than the manifest has.
const NOISE: u64 = 5000;

/// Calls at one time; many more than fetchers.
const CALLS: usize = 12;

/// A source with more headers than are checked alone, and an object of more than a megabyte.
fn project() -> Project {
    let project = Project::new(&[("later/keep", "")]);
    let mut source = String::new();
    for number in 0..HEADERS {
        let name = format!("part{}/h{number}.h", number % 7);
        project.write(&format!("inc/{name}"), format!("static const int h{number} = {number};\n"));
        source.push_str(&format!("#include <{name}>\n"));
    }
    source.push_str("int data[300000] = {");
    (0..HEADERS).for_each(|number| source.push_str(&format!("[{number} * 3000] = h{number},")));
    source.push_str("};\nunsigned noise[] = {");
    let mut random = Random::announced("ahead");
    (0..NOISE).for_each(|_| source.push_str(&format!("{}u,", random.below(1 << 31))));
    source.push_str("};\n");
    project.write("a.c", source);
    project
}

fn line(compiler: &str) -> String {
    format!("{compiler} -MD -c a.c -Ilater -Iinc")
}

/// What was fetched for nothing leaves nothing behind.
#[test]
fn one_of_many_headers_changes() {
    for family in compilers("one_of_many_headers_changes") {
        let trap = Trap::prepared(project(), line(family.c)).sprung("direct_cache_hit");
        let header = "inc/part4/h60.h";
        let before = trap.project.read(header);
        trap.change(|project| project.write(header, "static const int h60 = 7;\n"));
        trap.undo(|project| project.write(header, before));
        let earlier = "later/part4/h60.h";
        trap.change(|project| project.write(earlier, "static const int h60 = 8;\n"));
        trap.undo(|project| fs::remove_dir_all(project.path("later/part4")).unwrap());
    }
}

#[test]
fn the_result_is_damaged_or_gone() {
    let (project, cache) = (project(), Cache::new());
    let harms: [fn(&std::path::Path); 2] = [
        |file| fs::remove_file(file).unwrap(),
        |file| {
            let mut bytes = fs::read(file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(file, bytes).unwrap();
        },
    ];
    assert_eq!(check(&project, &cache, line("gcc")), "cache_miss");
    for harm in harms {
        assert_eq!(check(&project, &cache, line("gcc")), "direct_cache_hit");
        let length = |file: &std::path::PathBuf| fs::metadata(file).unwrap().len();
        let mut results = cache.store_files();
        results.retain(|file| length(file) > NOISE * 3);
        assert_eq!(results.len(), 1, "the manifest has no object in it");
        harm(&results[0]);
        let ending = check(&project, &cache, line("gcc"));
        assert!(!ending.contains("direct_cache_hit"), "{ending}");
    }
}

#[test]
fn more_hits_than_fetchers() {
    let (project, cache) = (project(), Cache::new());
    let lines: Vec<String> =
        (0..CALLS).map(|number| format!("{} -o {number}.o", line("gcc"))).collect();
    let compile_all = || {
        let before = cache.stats();
        let begin = |line: &String| start(&mut cache.command(&project, &line.as_str().into()));
        let calls: Vec<_> = lines.iter().map(begin).collect();
        for call in calls {
            call.finish(LIMIT_CALL).success();
        }
        cache.endings_since(&before)
    };
    compile_all();
    let wanted = project.read("0.o");
    for number in 0..CALLS {
        project.write(&format!("{number}.o"), "");
    }
    assert_eq!(compile_all(), format!("direct_cache_hit*{CALLS}"));
    for number in 0..CALLS {
        assert!(project.read(&format!("{number}.o")) == wanted, "object {number}");
    }
}
