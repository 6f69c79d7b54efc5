//! Splits a command into words as a POSIX shell would, without expanding anything.

/// The words of `text`; the error says what is wrong with it.
pub fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or_else(|| unclosed('\'', text))? {
                        '\'' => break,
                        inside => word.push(inside),
                    }
                }
            }
            '"' => double_quoted(&mut rest, word.get_or_insert_default(), text)?,
            '\\' => {
                let next = rest.next().ok_or_else(|| format!("{text:?} ends in a backslash"))?;
                word.get_or_insert_default().push(next);
            }
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Writes words so that [`split`] gives them back.
pub fn join(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%^".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Up to the closing quote; a backslash keeps its meaning before `$`, `` ` ``, `"` and `\`
/// (POSIX Shell Command Language, 2.2.3).
fn double_quoted(rest: &mut std::str::Chars, word: &mut String, text: &str) -> Result<(), String> {
    loop {
        match rest.next().ok_or_else(|| unclosed('"', text))? {
            '"' => return Ok(()),
            '\\' => match rest.next().ok_or_else(|| unclosed('"', text))? {
                escaped @ ('$' | '`' | '"' | '\\') => word.push(escaped),
                other => word.extend(['\\', other]),
            },
            inside => word.push(inside),
        }
    }
}

fn unclosed(quote: char, text: &str) -> String {
    format!("a {quote} is not closed in {text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_as_in_a_shell() {
        let check = |text, expected: &[&str]| assert_eq!(split(text).unwrap(), expected, "{text}");
        check("", &[]);
        check("  nice  -n 5 ", &["nice", "-n", "5"]);
        check("'a b'c \"d e\"", &["a bc", "d e"]);
        check(r#"a\ b "x\"y\z" '' "#, &["a b", "x\"y\\z", ""]);
        assert!(split("'open").unwrap_err().contains("not closed"));
        assert!(split("\"open").is_err());
        assert!(split("end\\").is_err());
    }

    proptest! {
        #[test]
        fn joined_words_split_again(words in proptest::collection::vec(".{0,8}", 0..5)) {
            prop_assert_eq!(split(&join(&words)), Ok(words));
        }
    }
}
