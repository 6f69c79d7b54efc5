//! `rcache remote`: the state of the shared cache, and keeping it small and sound.

use super::screen::{self, bytes, count};
use super::{Outcome, ask};
use config::{ByteSize, Span};
use std::process::ExitCode;
use talk::questions::{Question, RemoteRow, RemoteState, RemoteTask, Remotes};

/// Runs one of its subcommands.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    let (what, options) = options.subcommand().ok_or("name what to do")?;
    let task = match what {
        "trim" => RemoteTask::Trim {
            max_size_bytes: options.get_one::<ByteSize>("max-size").map(|size| size.0),
            older_than_s: options.get_one::<Span>("older-than").map(|age| age.0.as_secs()),
        },
        "verify" => RemoteTask::Verify { remove: options.get_flag("remove") },
        _ => RemoteTask::Stats,
    };
    let answer: Remotes = ask(&Question::Remote { task }, true)?;
    match options.get_flag("json") {
        true => screen::print_json(&answer),
        false => {
            for row in &answer.remotes {
                let state = answer.state.iter().find(|state| state.url == row.url);
                screen::print(&line(row, state.filter(|_| task == RemoteTask::Stats)));
            }
        }
    }
    let is_fine = |row: &RemoteRow| {
        row.error.is_none() && row.verified.is_none_or(|verified| verified.untrusted == 0)
    };
    let fine = task == RemoteTask::Stats || answer.remotes.iter().all(is_fine);
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(row: &RemoteRow, state: Option<&RemoteState>) -> String {
    let mut shown = format!("{}:", row.url);
    if let Some(error) = &row.error {
        shown += &format!(" {error}");
    }
    if let Some(trimmed) = &row.trimmed {
        shown += &format!(
            " removed {} objects, {}; {} are left",
            count(trimmed.removed_objects),
            bytes(trimmed.removed_bytes),
            bytes(trimmed.left_bytes)
        );
    }
    if let Some(verified) = &row.verified {
        shown += &format!(
            " {} sound, {} not as a trusted key signed them, {} removed",
            count(verified.sound),
            count(verified.untrusted),
            count(verified.removed)
        );
    }
    if let Some(contents) = &row.contents {
        shown += &format!(
            " {} units, {} more results, {}",
            count(contents.units),
            count(contents.results),
            bytes(contents.bytes)
        );
    }
    shown.push('\n');
    if let Some(state) = state {
        shown += &since_start(state);
    }
    shown
}

fn since_start(state: &RemoteState) -> String {
    let latency = match state.latency_us {
        Some(latency) => format!("; {:.1} ms an answer", latency as f64 / 1_000.0),
        None => String::new(),
    };
    format!(
        "  since the daemon started: {} found, {} not, {} written, {} errors, {} late, {} untrusted; {} in, \
         {} out{latency}\n",
        count(state.hits),
        count(state.misses),
        count(state.writes),
        count(state.errors),
        count(state.timeouts),
        count(state.untrusted),
        bytes(state.bytes_in),
        bytes(state.bytes_out),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use talk::questions::RemoteTrimmed;

    #[test]
    fn a_line_for_each() {
        let url = "file:///x".to_owned();
        let trimmed = RemoteTrimmed { removed_objects: 2, removed_bytes: 3_000, left_bytes: 0 };
        let row = RemoteRow { url: url.clone(), trimmed: Some(trimmed), ..RemoteRow::default() };
        assert_eq!(line(&row, None), "file:///x: removed 2 objects, 3.0k; 0B are left\n");
        let error = Some("it cannot be reached".to_owned());
        let row = RemoteRow { url, error, ..RemoteRow::default() };
        assert_eq!(line(&row, None), "file:///x: it cannot be reached\n");
    }
}
