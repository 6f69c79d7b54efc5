//! The table as a whole: each row is found by its spelling, and means one thing.

use super::*;

fn name_of(word: &str, family: Family) -> Option<&'static str> {
    lookup(word.as_bytes(), family).map(|found| found.row.name)
}

#[test]
fn rows_are_sorted_and_unique() {
    for pair in TABLE.windows(2) {
        assert!(pair[0].name < pair[1].name, "{} before {}", pair[0].name, pair[1].name);
    }
}

#[test]
fn every_row_is_an_option_and_belongs_to_someone() {
    for row in TABLE {
        assert!(row.name.starts_with('-') && row.name.len() > 1, "{}", row.name);
        assert!(!row.name.contains([' ', '<']), "{}", row.name);
        assert!(!row.has(GCC) || !row.has(CLANG), "{}", row.name);
        let has_operand = row.shape != Shape::Flag;
        let wants_operand = row.has(PATH | NATIVE)
            || matches!(row.effect, Effect::Values(_) | Effect::Payload(_) | Effect::Output);
        assert!(has_operand || !wants_operand, "{}", row.name);
    }
}

#[test]
fn every_row_is_found_by_its_own_name() {
    for row in TABLE {
        let family = if row.has(CLANG) { Family::Clang } else { Family::Gcc };
        assert_eq!(name_of(row.name, family), Some(row.name));
    }
}

#[test]
fn operands_are_found_where_they_are() {
    let found = |word: &str| {
        let found = lookup(word.as_bytes(), Family::Gcc).unwrap();
        (found.row.name, found.operand_at, found.takes_next)
    };
    assert_eq!(found("-I"), ("-I", None, true));
    assert_eq!(found("-Ix"), ("-I", Some(2), false));
    assert_eq!(found("--param"), ("--param", None, true));
    assert_eq!(found("--param=a=1"), ("--param=", Some(8), false));
    assert_eq!(found("-std="), ("-std=", Some(5), false));
    assert_eq!(found("-O2"), ("-O", Some(2), false));
    assert_eq!(found("-c"), ("-c", None, false));
}

#[test]
fn the_longest_name_wins() {
    for (word, name) in [
        ("-Wall", "-W"),
        ("-Wa,--noexecstack", "-Wa,"),
        ("-Wp,-MD,x", "-Wp,"),
        ("-include-pch", "-include-pch"),
        ("-includefoo.h", "-include"),
        ("-isystem-after", "-isystem-after"),
        ("-fdump-tree-all", "-fdump-"),
        ("-fsanitize-ignorelist=x", "-fsanitize-ignorelist="),
        ("-objcmt-migrate-all", "-objcmt-"),
    ] {
        assert_eq!(name_of(word, Family::Clang), Some(name), "{word}");
    }
    // gcc has no such option: there it is a directory's name.
    assert_eq!(name_of("-isystem-after", Family::Gcc), Some("-isystem"));
}

#[test]
fn negatives_need_no_row() {
    for (word, name) in [
        ("-fno-exceptions", "-fexceptions"),
        ("-mno-sse2", "-msse2"),
        ("-gno-column-info", "-gcolumn-info"),
        ("-fno-sanitize=all", "-fsanitize="),
        ("-fno-modules", "-fmodules"),
    ] {
        let found = lookup(word.as_bytes(), Family::Gcc).unwrap();
        assert!(found.negated && found.row.name == name, "{word}");
    }
    let found = lookup(b"-fno-sanitize=all", Family::Gcc).unwrap();
    assert_eq!(found.operand_at, Some("-fno-sanitize=".len()));
    for word in ["-fno-", "-fno-no-exceptions", "-Ino-x-", "-mno-llvm"] {
        let found = lookup(word.as_bytes(), Family::Clang);
        assert!(found.is_none_or(|found| !found.negated), "{word}");
    }
}

#[test]
fn what_has_no_row_is_not_known() {
    for word in [
        "-fnew-option",
        "-mnew-option",
        "-v",
        "-###",
        "-C",
        "-E2",
        "-cx",
        "-emit-ast",
        "--analyze",
        "-time",
        "-Q",
        "-da",
        "-dM",
        "-fexceptionsx",
        "-gx",
        "--version",
        "-undefined",
    ] {
        let known = lookup(word.as_bytes(), Family::Gcc)
            .filter(|found| !matches!(found.row.effect, Effect::Refuse(_)));
        assert!(known.is_none(), "{word}: {known:?}");
    }
}

#[test]
fn a_family_does_not_know_the_other_ones_options() {
    assert_eq!(name_of("-Xclang", Family::Gcc), None);
    assert_eq!(name_of("-fanalyzer", Family::Clang), None);
    assert_eq!(name_of("-Rpass=x", Family::Gcc), None);
}

#[test]
fn local_options_are_not_remote() {
    for row in TABLE {
        if matches!(row.effect, Effect::Side(_) | Effect::ReadFile | Effect::Refuse(_)) {
            assert!(!row.remote(), "{}", row.name);
        }
    }
}
