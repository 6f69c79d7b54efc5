//! Wrong results that walks have found, in their smallest form.

use crate::calls::Call;
use crate::setting::Setting;
use crate::stage::{Stage, Verdict};
use crate::tree::{Node, Tree, with_folders};

/// A moment between states: the daemon stores results after the call has ended.
const AFTER_STEP: std::time::Duration = std::time::Duration::from_millis(100);

/// What is at some paths from one state on: text, or nothing where it is empty.
type Changes<'c> = &'c [(&'c str, &'c str)];

/// Goes through states of one folder, with a call in each, and compares each time.
fn agree(states: &[(Changes, &'static str)]) {
    agree_with(&[0o022], states);
}

/// The same with these umasks in turn.
fn agree_with(umasks: &[u32], states: &[(Changes, &'static str)]) {
    let mut stage = Stage::new(None);
    let mut tree = Tree::new();
    for (number, (changes, command)) in states.iter().enumerate() {
        for (path, text) in *changes {
            match text.is_empty() {
                true => drop(tree.remove(*path)),
                false => drop(tree.insert((*path).to_owned(), Node::file(text, 1 << 60))),
            }
        }
        stage.show(&with_folders(tree.clone()), number as u64);
        let mut words = command.split_whitespace();
        let driver = words.next().unwrap_or_default();
        let words = words.map(str::to_owned).collect();
        let call = call(driver, words, "", umasks[number % umasks.len()]);
        let verdict = stage.judge(&call);
        assert!(matches!(verdict, Verdict::Same { .. }), "state {number}: {verdict:?}");
        std::thread::sleep(AFTER_STEP);
    }
}

fn call(driver: &'static str, words: Vec<String>, folder: &str, umask: u32) -> Call {
    Call {
        driver,
        groups: vec![words],
        variables: Vec::new(),
        folder: folder.to_owned(),
        umask,
        setting: Setting::Plain,
    }
}

/// Each way to start a call and to hand it a header, while that header changes and comes back.
#[test]
fn ways_to_start_a_call() {
    let source =
        "#ifdef FLAG\nint fed = FLAG;\n#endif\nint f(int a) { if (a = 1) return a; return 0; }\n";
    let fed = ["#define FLAG 1\n", "#define FLAG 2\n", "#define FLAG 1\n", "#error no\n"];
    for setting in Setting::all() {
        let mut stage = Stage::new(None);
        for (number, fed) in fed.into_iter().enumerate() {
            let files = [("w/a.c", source), ("w/a.s", ".data\n"), ("w/fed.h", fed)];
            let files = files.map(|(path, text)| (path.to_owned(), Node::file(text, 1 << 60)));
            stage.show(&with_folders(files.into()), number as u64);
            // Assembler reads no header.
            for source in ["a.c", "a.s"] {
                let words = ["-c", "-Wall", "-MMD", source].map(str::to_owned).to_vec();
                let call = Call { setting, ..call("gcc", words, "w", 0o022) };
                let verdict = stage.judge(&call);
                let agrees = matches!(verdict, Verdict::Same { .. });
                assert!(agrees, "{setting:?} {number} {source}: {verdict:?}");
            }
            std::thread::sleep(AFTER_STEP);
        }
    }
}

/// clang takes a child that it cannot wait for as crashed, and removes all that it was to write: also
/// the list of inputs that only rcache asked for.
#[test]
fn clang_cleans_up_after_a_crash() {
    let mut stage = Stage::new(None);
    let source = Node::file("#include \"missing.h\"\n", 1 << 60);
    stage.show(&Tree::from([("a.c".to_owned(), source)]), 0);
    for words in [["-c", "-fno-integrated-as", "a.c"], ["-c", "-save-temps", "a.c"]] {
        let words = words.map(str::to_owned).to_vec();
        let call = Call { setting: Setting::ChildrenIgnored, ..call("clang", words, "", 0o022) };
        let verdict = stage.judge(&call);
        assert!(matches!(verdict, Verdict::Same { .. }), "{verdict:?}");
    }
}

/// The second state's result was once stored under the preprocessed text, which says nothing of
/// what the assembler reads.
#[test]
fn assembler_data_is_in_no_text() {
    let source = "#include \"a.h\"\n.data\n.incbin \"data\"\n";
    agree(&[
        (&[("a.S", source), ("a.h", "#define A 1\n"), ("data", "one")], "gcc -c a.S"),
        (&[("a.h", "#define A 2\n")], "gcc -c a.S"),
        (&[("a.h", "#define A 3\n")], "gcc -c a.S"),
        (&[("data", "two")], "gcc -c a.S"),
        (&[("a.h", "#define A 4\n")], "gcc -c a.S"),
    ]);
}

/// gcc does more for assembler than check it: it preprocesses to standard output, and makes a
/// `.dwo`.
#[test]
fn assembler_without_an_object() {
    for command in ["gcc -fsyntax-only -gsplit-dwarf -o x.o a.s", "gcc -S a.s", "gcc -S a.S"] {
        let files = [("a.s", ".data\n"), ("a.S", "#define A\n.data\n")];
        agree(&[(&files, command), (&[], command), (&[("x.o-a.dwo", "")], command)]);
    }
}

/// The compiler quotes the file that `#line` names, which no dependency output lists.
#[test]
fn quoted_lines_of_a_file_named_by_line() {
    let source = "#line 1 \"other.c\"\nint f(int a) { if (a = 1) return a; return 0; }\n";
    for command in ["gcc -c -Wall a.c", "gcc -c -Wall -MMD a.c", "clang -c -Wall a.c"] {
        agree(&[
            (&[("a.c", source)], command),
            (&[("other.c", "one one one one one one one one\n")], command),
            (&[("other.c", "two two two two two two two two\n")], command),
            (&[("other.c", "")], command),
        ]);
    }
}

/// Which outputs keep the permissions of the file that was there differs by compiler and output.
#[test]
fn permissions_after_a_change_of_umask() {
    let files = [("a.c", "int f(int a) { return a; }\n"), ("a.s", ".data\n"), ("a.S", ".data\n")];
    for command in [
        "gcc -c -MD -g -gsplit-dwarf -fstack-usage -frandom-seed=1 --coverage a.c",
        "gcc -S a.c",
        "gcc -c a.s",
        "clang -c -MD -g -gsplit-dwarf -fstack-usage a.c",
        "clang -c -g -save-temps a.c",
        "clang -c -g -save-temps=obj -fno-integrated-as a.c",
        "clang -c -serialize-diagnostics a.dia a.c",
        "clang -S a.c",
        "clang -c a.s",
        "clang -c a.S",
        "clang -c -fno-integrated-as a.c",
    ] {
        let again: Changes = &[];
        agree_with(
            &[0o022, 0o077, 0o002],
            &[(&files, command), (again, command), (again, command), (again, command)],
        );
    }
}

/// A precompiled header, here a broken one, is not in a plain preprocessed text.
#[test]
fn precompiled_header_beside_a_text() {
    let source = "#include \"a.h\"\nint b = A;\n";
    agree(&[
        (&[("a.c", source), ("a.h", "#define A 1\n")], "gcc -c -MMD a.c"),
        (&[("a.h", "#define A 2\n")], "gcc -c -MMD a.c"),
        (&[("a.h.gch", "no precompiled header")], "gcc -c -MMD a.c"),
        (&[("a.h.gch", "")], "gcc -c -MMD a.c"),
        (&[("c.c", "int b = A;\n")], "clang -include a.h -c -MMD c.c"),
        (&[("a.h.pch", "no precompiled header")], "clang -include a.h -c -MMD c.c"),
    ]);
}
