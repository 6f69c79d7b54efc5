//! `rcache explain`: whether a call would hit, miss or is not cached, and why.

use super::screen::{self, Paint, Style};
use super::{Outcome, ask};
use crate::find_compiler;
use std::ffi::OsString;
use std::process::ExitCode;
use talk::questions::{Foretold, Question};
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
        let word = word.ok_or("an argument is not UTF-8; rcache does not cache such a call")?;
        arguments.push(word.to_owned());
    }
    let answer = ask(&Question::Explain { arguments }, true)?;
    screen::print(&render(&answer, Style::of_stdout()));
    Ok(ExitCode::SUCCESS)
}

/// The verdict and its reasons.
fn render(answer: &Foretold, style: Style) -> String {
    let Foretold { verdict, reasons } = answer;
    let (paint, headline) = match verdict.as_str() {
        "direct_cache_hit" => (Paint::Green, "hit, without preprocessing"),
        "preprocessed_cache_hit" => (Paint::Green, "hit, after preprocessing"),
        "cache_miss" => (Paint::Yellow, "miss"),
        _ => (Paint::Red, "not cached"),
    };
    let mut shown = format!("{} ({verdict})\n", style.paint(paint, headline));
    for reason in reasons {
        shown.push_str(&format!("  {reason}\n"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foretold(verdict: &str, reasons: &[&str]) -> Foretold {
        let reasons = reasons.iter().map(ToString::to_string).collect();
        Foretold { verdict: verdict.to_owned(), reasons }
    }

    #[test]
    fn a_miss_with_its_reason() {
        let answer = foretold("cache_miss", &["b.h has changed since the nearest result"]);
        assert_eq!(
            render(&answer, Style::Plain),
            "miss (cache_miss)\n  b.h has changed since the nearest result\n"
        );
    }

    #[test]
    fn a_call_that_is_not_cached() {
        let answer = foretold("called_for_link", &["the call links"]);
        assert_eq!(
            render(&answer, Style::Plain),
            "not cached (called_for_link)\n  the call links\n"
        );
        assert_eq!(
            render(&foretold("direct_cache_hit", &[]), Style::Terminal),
            "\x1b[32mhit, without preprocessing\x1b[0m (direct_cache_hit)\n"
        );
    }
}
