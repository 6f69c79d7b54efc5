//! Another target before a rule that a compiler wrote, with the line breaks that it would have made.

use crate::invocation::Family;

/// gcc breaks a line where a name would end beyond this column (`libcpp/mkdeps.cc`).
const GCC_COLUMNS_MAX: usize = 72;

/// clang's (`lib/Frontend/DependencyFile.cpp`), which leaves room for a blank and a backslash.
const CLANG_COLUMNS_MAX: usize = 75;

/// Whether a rule spells this name as it is, whatever the compiler.
pub fn is_plain(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._+-,=@^~".contains(byte);
    !name.is_empty() && !name.starts_with(b"./") && name.iter().all(plain)
}

/// The rule of `bytes`, whose target is `from`, for the target `to`; both are plain. `None` where
/// `from` is not its only target, or where lines are broken in an unknown way.
pub fn retarget(bytes: &[u8], from: &[u8], to: &[u8], family: Family) -> Option<Vec<u8>> {
    let rest = bytes.strip_prefix(from)?.strip_prefix(b":")?;
    if !is_plain(from) || !is_plain(to) || !rest.starts_with(b" ") {
        return None;
    }
    let end = end_of_rule(rest);
    let (names, others) = rest.split_at(end);
    let names = words(names);
    let as_written = |target: &[u8]| match family {
        Family::Gcc => gcc(target, &names),
        Family::Clang => clang(target, &names),
    };
    // How another compiler would break lines is not known.
    let is_as_written =
        as_written(from).strip_prefix(from).is_some_and(|text| text[1..] == rest[..end]);
    is_as_written.then(|| [as_written(to), others.to_vec()].concat())
}

/// The place of the line end that no backslash hides.
fn end_of_rule(rest: &[u8]) -> usize {
    let mut ends = memchr::memchr_iter(b'\n', rest);
    ends.find(|end| !rest[..*end].ends_with(b"\\")).unwrap_or(rest.len())
}

/// The names as they are spelled. A blank after a backslash belongs to the name.
fn words(text: &[u8]) -> Vec<&[u8]> {
    let mut words = Vec::new();
    let mut start = 0;
    for (at, byte) in text.iter().enumerate() {
        let hidden = at > start && text[at - 1] == b'\\';
        if (*byte == b' ' && !hidden) || *byte == b'\n' {
            words.push(&text[start..at]);
            start = at + 1;
        }
    }
    words.push(&text[start..]);
    words.retain(|word| !word.is_empty() && *word != b"\\");
    words
}

fn gcc(target: &[u8], names: &[&[u8]]) -> Vec<u8> {
    let mut rule = [target, b":"].concat();
    let mut column = rule.len();
    for name in names {
        if column + name.len() > GCC_COLUMNS_MAX {
            rule.extend_from_slice(b" \\\n");
            column = 0;
        }
        rule.push(b' ');
        rule.extend_from_slice(name);
        column += 1 + name.len();
    }
    rule
}

fn clang(target: &[u8], names: &[&[u8]]) -> Vec<u8> {
    let mut rule = [target, b":"].concat();
    let mut column = rule.len();
    for name in names {
        // It counts the name as it is, not as it is spelled.
        let is_quoted = |pair: &&[u8]| matches!(pair, [b'\\', b' ' | b'#'] | [b'$', b'$']);
        let quotes = name.windows(2).filter(is_quoted).count();
        let length = name.len() - quotes;
        if column + length + 3 > CLANG_COLUMNS_MAX {
            rule.extend_from_slice(b" \\\n ");
            column = 2;
        }
        rule.push(b' ');
        rule.extend_from_slice(name);
        column += 1 + length;
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn other_rules_are_left_alone() {
        let retarget = |rule: &[u8]| retarget(rule, b"a.o", b"b.o", Family::Gcc);
        assert_eq!(retarget(b"a.o: a.c\n").as_deref(), Some(&b"b.o: a.c\n"[..]));
        assert_eq!(retarget(b"a.o: a.c\n\nx.h:\n").as_deref(), Some(&b"b.o: a.c\n\nx.h:\n"[..]));
        for rule in
            ["a.o b.o: a.c\n", "a.o:  a.c \\\n\tx.h\n", "c.o: a.c\n", "a.o:\n", "", "a.o:x: a.c\n"]
        {
            assert_eq!(retarget(rule.as_bytes()), None, "{rule}");
        }
        assert!(!is_plain(b"a b") && !is_plain(b"$x") && !is_plain(b"./a") && !is_plain(b"a:b"));
    }

    /// Against what the compiler writes for either target, at all places where it may break a line.
    #[test]
    fn lines_break_where_the_compiler_breaks_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut source = String::new();
        for number in 0..40 {
            let name = format!("h{}{number} #.h", "x".repeat(number % 7));
            std::fs::write(folder.path().join(&name), "").unwrap();
            source.push_str(&format!("#include \"{name}\"\n"));
        }
        std::fs::write(folder.path().join("s.c"), source).unwrap();
        for (compiler, family) in [("gcc", Family::Gcc), ("clang", Family::Clang)] {
            let rule = |target: &str| {
                let words = ["-M", "-MP", "-MQ", target, "s.c"];
                let run = Command::new(compiler).args(words).current_dir(folder.path()).output();
                run.ok().map(|run| run.stdout)
            };
            let Some(first) = rule("x.o") else {
                println!("skipped: {compiler} is not there");
                continue;
            };
            for length in [1, 2, 3, 20, 30, 40, 57, 58, 59, 60, 61, 62, 63, 70, 71, 72, 73, 80] {
                let target = format!("/{}", "t".repeat(length));
                let wanted = rule(&target).unwrap();
                let text = |rule: &[u8]| String::from_utf8_lossy(rule).into_owned();
                let there = retarget(&first, b"x.o", target.as_bytes(), family).unwrap();
                assert_eq!(text(&there), text(&wanted));
                let back = retarget(&wanted, target.as_bytes(), b"x.o", family).unwrap();
                assert_eq!(text(&back), text(&first));
            }
        }
    }
}
