//! Finds what gcc may warn of as misleading indentation: it opens the source again to measure columns,
//! and says nothing where the source is not there, as on another machine.

/// Lines that a statement without braces may have; a longer one counts as unsuspicious.
const STATEMENT_LINES_MAX: usize = 64;

/// gcc's default for `-ftabstop=`.
const TAB_COLUMNS: usize = 8;

const GUARDS: [&[u8]; 4] = [b"if", b"else", b"for", b"while"];

/// Whether a statement follows the one that a guard rules, and looks as if it were ruled as well.
/// Comments and macros are not understood: this may be said of more than gcc warns of.
pub(super) fn may_mislead(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line = without_comment(&rest[..end]);
        rest = &rest[end + 1..];
        let misleads = match line.last() {
            Some(b')' | b'e') => has_guard(line) && misleads_below(line, rest),
            Some(b';') => has_guard(line) && rules_one_of_two(line),
            _ => false,
        };
        if misleads {
            return true;
        }
    }
    false
}

fn has_guard(line: &[u8]) -> bool {
    line.split(|byte| !super::text::is_word(*byte)).any(|word| GUARDS.contains(&word))
}

/// `if (a) b; c;`
fn rules_one_of_two(line: &[u8]) -> bool {
    let mut depth = 0_i32;
    let mut ends = 0;
    for byte in line {
        match byte {
            b'(' | b'{' => depth += 1,
            b')' | b'}' => depth -= 1,
            b';' if depth <= 0 => ends += 1,
            _ => {}
        }
    }
    ends > 1
}

/// Whether the line after the ruled statement begins in the same column as that.
fn misleads_below(guard: &[u8], rest: &[u8]) -> bool {
    let lines = rest.split(|byte| *byte == b'\n').map(without_comment);
    let mut lines = lines.filter(|line| !line.trim_ascii().is_empty()).take(STATEMENT_LINES_MAX);
    let Some(mut last) = lines.next() else { return false };
    let column = column(last);
    if column <= self::column(guard) || last.trim_ascii_start().starts_with(b"{") {
        return false;
    }
    for line in lines {
        if last.ends_with(b";") {
            return self::column(line) == column && !line.trim_ascii_start().starts_with(b"}");
        }
        last = line;
    }
    false
}

/// Where a line's text begins.
fn column(line: &[u8]) -> usize {
    let blanks = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
    blanks.fold(0, |column, byte| match byte {
        b'\t' => (column / TAB_COLUMNS + 1) * TAB_COLUMNS,
        _ => column + 1,
    })
}

/// Without a comment and blanks at its end.
fn without_comment(line: &[u8]) -> &[u8] {
    let line = memchr::memmem::find(line, b"//").map_or(line, |at| &line[..at]).trim_ascii_end();
    match line.strip_suffix(b"*/").and_then(|line| memchr::memmem::rfind(line, b"/*")) {
        Some(at) => line[..at].trim_ascii_end(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::may_mislead;

    #[test]
    fn what_gcc_warns_of_is_found() {
        for text in [
            "int f(int i){if(i)\n  i++;\n  i--;\nreturn i;}\n",
            "if (a)\n\tb();\n        c();\n",
            "for (;;) // ever\n  b(1,\n    2); /* x */\n\n  c();\n",
            "else\n  b();\n  c();\n",
            "  if (a) b(); c();\n",
            "while (a)\n  if (b)\n    c();\n  d();\n",
        ] {
            assert!(may_mislead(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn ordinary_code_is_not() {
        for text in [
            "if (a)\n  b();\nc();\n",
            "if (a) {\n  b();\n  c();\n}\n",
            "if (a)\n  {\n    b();\n    c();\n  }\n",
            "if (a &&\n    b)\n    c();\nelse\n    d();\n",
            "for (int i = 0; i < 3; i++) b();\nc();\n",
            "for (;;)\n  if (b)\n    c();\nd();\n",
            "f(a)\n  b;\n  c;\n",
        ] {
            assert!(!may_mislead(text.as_bytes()), "{text}");
        }
    }
}
