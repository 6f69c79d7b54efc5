//! What GNU as reads and looks for by itself: `.incbin` and `.include` through the folders of `-I`.

use crate::support::{Cache, Project, Trap, have, skip};

const BLOB: &str = "asm(\".section .rodata\\n.incbin \\\"blob\\\"\\n.text\");\n";

/// The first folder has nothing yet, is missing, or is named to the assembler alone.
#[test]
fn a_file_that_appears_earlier_in_the_search_of_incbin() {
    if !have("gcc") {
        return skip("a_file_that_appears_earlier_in_the_search_of_incbin", "gcc is not installed");
    }
    for (options, earlier) in [
        ("-Ii1 -Ii2", "i1/blob"),
        ("-I i1 -I i2", "i1/blob"),
        ("-Inew -Ii2", "new/blob"),
        ("-Ii1 -Ii2", "blob"),
        ("--include-directory=i1 -Ii2", "i1/blob"),
        ("-Ii1 -Wa,-Ii2", "i1/blob"),
        ("-Wa,-Ii1 -Xassembler -Ii2", "i1/blob"),
    ] {
        for (source, text) in [
            ("src/a.c", BLOB),
            ("src/a.S", "\t.data\n\t.incbin \"blob\"\n"),
            ("src/a.s", "\t.data\n\t.include \"blob\"\n"),
        ] {
            let files = [(source, text), ("i1/k", ""), ("i2/blob", "# one\n.byte 1\n")];
            let trap = Trap::new(&files, format!("gcc -c {source} {options}"));
            trap.change(|project| project.write(earlier, "# two\n.byte 2\n"));
            trap.undo(|project| {
                project.remove(earlier);
                let _ = std::fs::remove_dir(project.path("new"));
            });
            trap.change(|project| project.write("i2/blob", "# three\n.byte 3\n"));
        }
    }
}

/// gcc names the source by its last component to as, which says it with what it read.
#[test]
fn a_source_elsewhere_that_reads_a_file_by_incbin_is_cached() {
    if !have("gcc") {
        let what = "a_source_elsewhere_that_reads_a_file_by_incbin_is_cached";
        return skip(what, "gcc is not installed");
    }
    let project = Project::new(&[("src/a.c", BLOB), ("src/b.c", "int b;\n"), ("blob", "one")]);
    let source = project.path("src/a.c");
    let (source, root) = (source.display(), project.root().display());
    for line in [
        "gcc -c src/a.c -o out.o".to_owned(),
        format!("gcc -g -c {source} -o out.o"),
        format!("gcc -g -c {source} -o out.o -ffile-prefix-map={root}=/other"),
    ] {
        let cache = Cache::new();
        assert_eq!(cache.ending(&project, line.as_str()), "cache_miss", "{line}");
        assert_eq!(cache.ending(&project, line.as_str()), "direct_cache_hit", "{line}");
    }
}
