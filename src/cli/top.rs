//! `rcache top`: the build as it runs: units in flight, hosts and slots, hit rate.

mod frame;
mod line;
mod terminal;

use super::Outcome;
use super::screen::{self, Style};
use frame::{Frame, Size};
use std::io::{PipeWriter, Read, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use talk::client::AskError;
use talk::questions::{Counters, Question, Top};
use terminal::{Event, Terminal};

/// How often the daemon is asked.
const REFRESH: Duration = Duration::from_millis(500);

/// Shows the build: on a terminal until it is told to end, elsewhere once.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    if options.get_flag("json") {
        screen::print_json(&super::ask::<Top>(&Question::Top, true)?);
        return Ok(ExitCode::SUCCESS);
    }
    let style = Style::of_stdout();
    if options.get_flag("once") || !terminal::is_capable() {
        let answer = super::ask(&Question::Top, true)?;
        let frame = Frame { answer: &answer, before: &Counters::default(), watched: None, style };
        screen::print(&(frame.lines(Size::UNLIMITED).join("\n") + "\n"));
        return Ok(ExitCode::SUCCESS);
    }
    super::settings()?;
    watch(style).map_err(|error| format!("the terminal: {error}"))
}

/// What the daemon said last.
#[derive(Default)]
struct Latest {
    answer: Option<Result<Top, String>>,
    /// The process of the daemon and its counters when it was first asked.
    before: Option<(u64, Counters)>,
}

fn watch(style: Style) -> std::io::Result<ExitCode> {
    let (mut news, teller) = std::io::pipe()?;
    let mut terminal = Terminal::enter()?;
    let latest = Arc::new(Mutex::new(Latest::default()));
    let started = Instant::now();
    std::thread::Builder::new().spawn({
        let latest = Arc::clone(&latest);
        move || keep_asking(&latest, teller)
    })?;
    loop {
        let lines = {
            let latest = latest.lock().unwrap_or_else(|poison| poison.into_inner());
            lines(&latest, started.elapsed(), terminal.size(), style)
        };
        terminal.show(&lines)?;
        match terminal.wait(&news)? {
            Event::News => {
                if news.read(&mut [0; 64])? == 0 {
                    return Err(std::io::Error::other("nobody asks the daemon any more"));
                }
            }
            Event::Resized => {}
            Event::End(status) => return Ok(ExitCode::from(status)),
        }
    }
}

fn lines(latest: &Latest, watched: Duration, size: Size, style: Style) -> Vec<String> {
    let nothing = Counters::default();
    let before = latest.before.as_ref().map_or(&nothing, |(_, counters)| counters);
    match &latest.answer {
        Some(Ok(answer)) => Frame { answer, before, watched: Some(watched), style }.lines(size),
        Some(Err(why)) => frame::notice(why, size, style),
        None => frame::notice("asking the daemon", size, style),
    }
}

/// Asks again and again, on a thread of its own: whoever has to wait for a daemon can still be told
/// to end. Ends with the process.
fn keep_asking(latest: &Mutex<Latest>, mut teller: PipeWriter) {
    // The first question starts a daemon; one that was stopped meanwhile is not to come back by this.
    let mut start = true;
    loop {
        let answer = talk::client::ask(&Question::Top, start);
        start = false;
        {
            let mut latest = latest.lock().unwrap_or_else(|poison| poison.into_inner());
            latest.note(answer);
        }
        if teller.write_all(b".").is_err() {
            return;
        }
        std::thread::sleep(REFRESH);
    }
}

impl Latest {
    fn note(&mut self, answer: Result<Top, AskError>) {
        if let Ok(answer) = &answer {
            let process = answer.pid;
            match &self.before {
                Some((before, _)) if *before == process => {}
                // All that another daemon counted came after the start.
                Some(_) => self.before = Some((process, Counters::default())),
                None => self.before = Some((process, answer.counters.clone())),
            }
        }
        self.answer = Some(answer.map_err(|error| match error {
            AskError::NotRunning => "the daemon is not running; a compile starts it".to_owned(),
            error => super::describe(&error),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misses(count: u64) -> Counters {
        Counters::from_iter([("cache_miss".to_owned(), count)])
    }

    fn answer(process: u64, count: u64) -> Result<Top, AskError> {
        Ok(Top { pid: process, counters: misses(count), ..Top::default() })
    }

    #[test]
    fn counts_are_those_since_the_start() {
        let mut latest = Latest::default();
        latest.note(answer(7, 100));
        latest.note(answer(7, 120));
        assert_eq!(latest.before, Some((7, misses(100))));
        let shown = lines(&latest, Duration::from_secs(9), Size::UNLIMITED, Style::Plain);
        assert!(shown[1].contains("20 misses"), "{shown:?}");
        latest.note(answer(8, 3));
        let shown = lines(&latest, Duration::from_secs(9), Size::UNLIMITED, Style::Plain);
        assert!(shown[1].contains("3 misses"), "{shown:?}");
    }

    #[test]
    fn a_daemon_that_is_gone_is_said_to_be() {
        let mut latest = Latest::default();
        let shown = |latest: &Latest| {
            lines(latest, Duration::ZERO, Size { columns: 80, rows: 24 }, Style::Plain).join("\n")
        };
        assert!(shown(&latest).contains("asking"));
        latest.note(Err(AskError::NotRunning));
        assert!(shown(&latest).contains("not running"));
    }
}
