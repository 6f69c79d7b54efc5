//! Tests of the linemarkers, written by hand and by the installed compilers.

use std::path::PathBuf;
use std::process::Command;

use super::inputs;

fn names(text: &str) -> Option<Vec<PathBuf>> {
    inputs(text.as_bytes())
}

#[test]
fn files_are_listed_once_in_order() {
    let text = "# 0 \"a.c\"\n# 1 \"/work//\"\n# 0 \"<built-in>\"\n# 0 \"<command-line>\"\n# 1 \"a.c\"\n\
        # 1 \"./x.h\" 1\nint a;\n# 1 \"/usr/include/y.h\" 1 3 4\n# 2 \"a.c\" 2\n#line 9 \"z\"\n";
    let expected = ["a.c", "./x.h", "/usr/include/y.h", "z"].map(PathBuf::from);
    assert_eq!(names(text).unwrap(), expected);
}

#[test]
fn escapes_are_undone() {
    let text = "# 1 \"a\\\\b\\\"c\\303\\251\\t\" 1\n";
    assert_eq!(names(text).unwrap(), [PathBuf::from("a\\b\"cé\t")]);
}

#[test]
fn other_texts_are_refused() {
    for text in ["", "int a;\n# 1 \"a.c\"\n", "# 1 \"a.c\n", "# 1 \"a\\q\"\n", "#pragma once\n"] {
        assert_eq!(names(text), None, "{text:?}");
    }
    assert_eq!(names("# 1 \"a.c\"\n#pragma GCC pch_preprocess \"a.gch\"\n"), None);
}

#[test]
fn compilers_names_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let odd = ["a b.h", "a\"b.h", "a\\b.h", "aé.h", "a\tb.h", "a#$'b.h"];
    let mut text = String::from("#line 7 \"user.y\"\nint a;\n");
    for name in odd {
        std::fs::write(folder.path().join(name), "int b;").unwrap();
        text.push_str(&format!("#include <{name}>\n"));
    }
    std::fs::write(folder.path().join("s.c"), text).unwrap();
    for compiler in ["gcc", "clang"] {
        let arguments = ["-w", "-g", "-E", "-I.", "s.c"];
        let run = Command::new(compiler).args(arguments).current_dir(folder.path()).output();
        let Ok(run) = run else {
            println!("skipped: {compiler} is not there");
            continue;
        };
        let found = inputs(&run.stdout).unwrap();
        for name in odd {
            assert!(found.contains(&PathBuf::from(format!("./{name}"))), "{compiler}: {found:?}");
        }
        assert!(found.contains(&PathBuf::from("user.y")) && found.contains(&PathBuf::from("s.c")));
        assert!(!found.iter().any(|path| path.is_dir()), "{found:?}");
    }
}
