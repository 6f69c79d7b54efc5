//! The options that fingers and scripts know from ccache and sccache, such as `-s` and `--max-size`.

use super::{Outcome, ask, settings, stats, store};
use compiler::outcome::Counter;
use config::{ByteSize, Environment, Span};
use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use talk::questions::{Question, Stats};

/// One of these options.
struct Word {
    /// The letter after one dash.
    short: Option<char>,
    /// The name after two dashes.
    long: &'static str,
    /// What it does here.
    meaning: Meaning,
}

/// What such an option does here.
#[derive(Clone, Copy)]
enum Meaning {
    /// Does this at once, as this call of ours does.
    Do(fn() -> Outcome, &'static str),
    /// Does this with the word that follows.
    With(fn(&str) -> Outcome),
    /// Sets a variable, for the options after it, to the word that follows.
    Variable(&'static str),
    /// Changes nothing here: it only makes ccache say more.
    Nothing,
    /// Has no counterpart; says why, or what to use.
    Instead(&'static str),
}

use Meaning::{Do, Instead, Nothing, Variable, With};

const fn word(short: Option<char>, long: &'static str, meaning: Meaning) -> Word {
    Word { short, long, meaning }
}

/// Every option of ccache 4 that is not a compiler's, and those of sccache that people type.
const WORDS: &[Word] = &[
    word(Some('s'), "show-stats", Do(stats::show, "rcache stats")),
    word(None, "print-stats", Do(print_stats, "rcache stats --json")),
    word(Some('z'), "zero-stats", Do(store::zero, "rcache zero")),
    word(Some('C'), "clear", Do(store::clear, "rcache clear")),
    word(Some('c'), "cleanup", Do(cleanup, "rcache trim")),
    word(None, "evict-older-than", With(evict_older_than)),
    word(Some('M'), "max-size", With(|size| set("max_size", size))),
    word(Some('F'), "max-files", With(|count| set("max_files", count))),
    word(Some('o'), "set-config", With(set_config)),
    word(Some('k'), "get-config", With(get_config)),
    word(Some('p'), "show-config", Do(settings::show, "rcache config")),
    word(Some('d'), "dir", Variable("RCACHE_DIR")),
    word(None, "config-path", Variable("RCACHE_CONFIG")),
    word(Some('v'), "verbose", Nothing),
    word(None, "start-server", Do(super::daemon::start, "rcache daemon start")),
    word(None, "stop-server", Do(super::daemon::stop, "rcache daemon stop")),
    word(Some('x'), "show-compression", Instead("`rcache stats` shows the size of the store")),
    word(Some('X'), "recompress", Instead("set compression_level; it holds for new results")),
    word(None, "recompress-threads", Instead("nothing is recompressed")),
    word(None, "show-log-stats", Instead("`rcache stats` counts since `rcache zero`")),
    word(None, "evict-namespace", Instead("`rcache trim --older-than AGE` removes results")),
    word(None, "trim-dir", Instead("`rcache trim --max-size SIZE` trims the store")),
    word(None, "trim-max-size", Instead("`rcache trim --max-size SIZE` trims the store")),
    word(None, "trim-method", Instead("the least recently used results go first")),
    word(None, "trim-recompress", Instead("nothing is recompressed")),
    word(None, "inspect", Instead("`rcache verify` checks every stored result")),
    word(None, "extract-result", Instead("`rcache verify` checks every stored result")),
    word(None, "hash-file", Instead("`rcache explain COMPILER ARG…` says what counts")),
    word(None, "checksum-file", Instead("`rcache explain COMPILER ARG…` says what counts")),
    word(None, "format", Instead("`rcache stats --json` prints JSON")),
    word(None, "dist-status", Instead("`rcache hosts` shows the cluster")),
    word(None, "show-adv-stats", Instead("`rcache stats` shows all there is")),
];

/// Whether `rcache WORD…` is spoken in ccache's words.
pub fn is_one(word: &OsStr) -> bool {
    let Some(text) = word.to_str() else { return false };
    match text.strip_prefix("--") {
        Some(long) => find_long(long).is_some(),
        None => text.strip_prefix('-').is_some_and(|letters| {
            letters.chars().next().is_some_and(|letter| find_short(letter).is_some())
        }),
    }
}

/// Does what each word says, in their order, as ccache does.
pub fn run(arguments: &[OsString]) -> Outcome {
    let mut rest = arguments.iter();
    let mut status = ExitCode::SUCCESS;
    while let Some(argument) = rest.next() {
        let text = argument.to_str().ok_or("an option is not UTF-8")?;
        for step in steps(text)? {
            let mut operand = || match step.operand {
                Some(operand) => Ok(operand.to_owned()),
                None => match rest.next().and_then(|word| word.to_str()) {
                    Some(word) => Ok(word.to_owned()),
                    None => Err(format!("{text} wants a word after it")),
                },
            };
            status = match step.word.meaning {
                Do(action, ours) => {
                    let status = action()?;
                    // On standard error: what a script reads stays as it is.
                    eprintln!("rcache: `{ours}` does the same");
                    status
                }
                With(action) => action(&operand()?)?,
                Variable(name) => set_variable(name, &operand()?)?,
                Nothing => status,
                Instead(hint) => return Err(format!("{text} has no counterpart here; {hint}")),
            };
        }
    }
    Ok(status)
}

/// One option, with an operand that stands in the same word.
struct Step<'a> {
    word: &'static Word,
    operand: Option<&'a str>,
}

/// `--max-size=2G` is one step, `-sz` are two, `-M2G` is one with its operand.
fn steps(text: &str) -> Result<Vec<Step<'_>>, String> {
    let unknown = || format!("{text} is not an option of rcache; `rcache --help` lists them");
    if let Some(long) = text.strip_prefix("--") {
        let word = find_long(long).ok_or_else(unknown)?;
        let operand = long.split_once('=').map(|(_, operand)| operand);
        return Ok(vec![Step { word, operand }]);
    }
    let letters = text.strip_prefix('-').ok_or_else(unknown)?;
    let mut steps = Vec::new();
    for (index, letter) in letters.char_indices() {
        let word = find_short(letter).ok_or_else(unknown)?;
        let rest = &letters[index + letter.len_utf8()..];
        if matches!(word.meaning, With(_) | Variable(_)) {
            steps.push(Step { word, operand: Some(rest).filter(|rest| !rest.is_empty()) });
            break;
        }
        steps.push(Step { word, operand: None });
    }
    Ok(steps)
}

fn find_long(text: &str) -> Option<&'static Word> {
    let name = text.split('=').next().unwrap_or(text);
    WORDS.iter().find(|word| word.long == name)
}

fn find_short(letter: char) -> Option<&'static Word> {
    WORDS.iter().find(|word| word.short == Some(letter))
}

/// What holds for the options after it.
fn set_variable(name: &str, value: &str) -> Outcome {
    // SAFETY: a subcommand has one thread here.
    unsafe { std::env::set_var(name, value) };
    Ok(ExitCode::SUCCESS)
}

/// `NAME<tab>VALUE` lines, as scripts read them.
fn print_stats() -> Outcome {
    let answer: Stats = ask(&Question::Stats, true)?;
    let mut shown = format!("stats_updated_timestamp\t{}\n", answer.since);
    for counter in Counter::ALL {
        let name = counter.name();
        shown += &format!("{name}\t{}\n", answer.counters.get(name));
    }
    shown += &format!("files_in_cache\t{}\n", answer.store.files);
    shown += &format!("cache_size_kibibyte\t{}\n", answer.store.bytes / 1024);
    super::screen::print(&shown);
    Ok(ExitCode::SUCCESS)
}

fn cleanup() -> Outcome {
    store::trim_to(None, None)
}

fn evict_older_than(age: &str) -> Outcome {
    let age = Span::parse(age)?;
    store::trim_to(None, Some(age.0.as_secs()))
}

fn set_config(assignment: &str) -> Outcome {
    let (key, value) = assignment.split_once('=').ok_or("write KEY=VALUE, such as max_size=10G")?;
    set(key.trim(), value.trim())
}

/// Writes the setting where it stays, and says where that is.
fn set(key: &str, value: &str) -> Outcome {
    // ccache's value: a number alone counts Gi, and 0 is no cap. Both are so here.
    if key == "max_size" {
        ByteSize::parse(value)?;
    }
    let path = config::edit::set(&Environment::of_this_process(), key, value)?;
    super::screen::print(&format!("{key} = {value} is in {}\n", path.display()));
    Ok(ExitCode::SUCCESS)
}

fn get_config(key: &str) -> Outcome {
    let rows = super::settings()?.rows();
    let row = rows.iter().find(|row| row.key == key);
    let row = row.ok_or_else(|| format!("no setting is named {key:?}"))?;
    super::screen::print(&format!("{}\n", row.value));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(&'static str, Option<&str>)> {
        let steps = steps(text).unwrap();
        steps.iter().map(|step| (step.word.long, step.operand)).collect()
    }

    #[test]
    fn words_are_told_from_compilers_and_subcommands() {
        for word in ["-s", "-sv", "-zs", "-M", "-M5G", "--max-size=5G", "--show-stats", "-C"] {
            assert!(is_one(OsStr::new(word)), "{word}");
        }
        for word in ["stats", "gcc", "--version", "-V", "--help", "-h", "-", "--", ""] {
            assert!(!is_one(OsStr::new(word)), "{word}");
        }
    }

    #[test]
    fn letters_can_be_joined_and_operands_be_in_the_same_word() {
        assert_eq!(names("-sz"), [("show-stats", None), ("zero-stats", None)]);
        assert_eq!(names("-M5G"), [("max-size", Some("5G"))]);
        assert_eq!(names("-zM"), [("zero-stats", None), ("max-size", None)]);
        assert_eq!(names("--max-size=5G"), [("max-size", Some("5G"))]);
        assert!(steps("-sQ").is_err() && steps("--show-stat").is_err());
    }

    #[test]
    fn no_letter_or_name_stands_twice() {
        for (index, word) in WORDS.iter().enumerate() {
            let same = |other: &Word| {
                other.long == word.long || other.short.is_some() && other.short == word.short
            };
            assert!(!WORDS[..index].iter().any(same), "{}", word.long);
        }
    }
}
