//! `rcache explain`: whether a call would hit, miss or is not cached, and why.

use super::screen::{self, Paint, Style};
use super::{Outcome, ask, text};
use crate::find_compiler;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::process::ExitCode;
use talk::wrappers::{self, Behind};

/// Asks the daemon about a call, which is not made.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    let words: Vec<OsString> =
        options.get_many::<OsString>("call").into_iter().flatten().cloned().collect();
    let (first, rest) = words.split_first().ok_or("name a compiler")?;
    let Behind { name, arguments: call, left_out } = wrappers::behind(first, rest);
    for wrapper in left_out {
        let line = format!("{}: left out, since rcache takes its place\n", wrapper.display());
        screen::print(&line);
    }
    let compiler = find_compiler::find(name, &find_compiler::search_path())
        .map_err(|error| error.to_string())?;
    let mut arguments = Vec::new();
    for word in std::iter::once(compiler.as_os_str()).chain(call.iter().map(OsString::as_os_str)) {
        let word = word.to_str();
        arguments.push(word.ok_or("an argument is not UTF-8; rcache does not cache such a call")?);
    }
    let answer = ask(json!({ "command": "explain", "arguments": arguments }), true)?;
    screen::print(&render(&answer, Style::of_stdout()));
    Ok(ExitCode::SUCCESS)
}

/// The verdict, its reasons, and the files that decide it.
fn render(answer: &Value, style: Style) -> String {
    let verdict = text(answer, "/verdict");
    let (paint, headline) = match verdict {
        "direct_cache_hit" => (Paint::Green, "hit, without preprocessing"),
        "preprocessed_cache_hit" => (Paint::Green, "hit, after preprocessing"),
        "cache_miss" => (Paint::Yellow, "miss"),
        _ => (Paint::Red, "not cached"),
    };
    let mut shown = format!("{} ({verdict})\n", style.paint(paint, headline));
    for reason in list(answer, "/reasons") {
        shown.push_str(&format!("  {reason}\n"));
    }
    let inputs = list(answer, "/inputs");
    if !inputs.is_empty() {
        shown.push_str(&style.paint(Paint::Bold, "files that count"));
        shown.push('\n');
        shown.extend(inputs.iter().map(|input| format!("  {input}\n")));
    }
    shown
}

/// The texts of a list; a member that is no text is shown as JSON.
fn list(answer: &Value, pointer: &str) -> Vec<String> {
    let members = answer.pointer(pointer).and_then(Value::as_array);
    let shown = |member: &Value| match member.as_str() {
        Some(text) => text.to_owned(),
        None => member.to_string(),
    };
    members.into_iter().flatten().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_with_its_reason() {
        let answer = json!({
            "verdict": "cache_miss",
            "reasons": ["b.h has changed since the nearest result"],
            "inputs": ["a.c", "b.h"],
        });
        assert_eq!(
            render(&answer, Style::Plain),
            "\
miss (cache_miss)
  b.h has changed since the nearest result
files that count
  a.c
  b.h
"
        );
    }

    #[test]
    fn a_call_that_is_not_cached() {
        let answer = json!({ "verdict": "called_for_link", "reasons": ["the call links"] });
        assert_eq!(
            render(&answer, Style::Plain),
            "not cached (called_for_link)\n  the call links\n"
        );
        let hit = json!({ "verdict": "direct_cache_hit" });
        assert_eq!(
            render(&hit, Style::Terminal),
            "\x1b[32mhit, without preprocessing\x1b[0m (direct_cache_hit)\n"
        );
    }
}
