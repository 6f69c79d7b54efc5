//! `rcache zero`, `clear` and `trim`: what a user does to the counters and to the store.

use super::{Outcome, ask, screen};
use config::{ByteSize, Span};
use std::process::ExitCode;
use talk::client::AskError;
use talk::questions::{Done, Flushed, Question, Removed};

/// Sets the counters to 0.
pub fn zero() -> Outcome {
    // What other daemons still count was counted before.
    talk::others::flush_others();
    let Done {} = ask(&Question::Zero, true)?;
    screen::print("counters set to 0\n");
    Ok(ExitCode::SUCCESS)
}

/// Removes every result.
pub fn clear() -> Outcome {
    screen::print(&removed(ask(&Question::Clear, true)?));
    Ok(ExitCode::SUCCESS)
}

/// Removes the least recently used results, down to a size or to an age.
pub fn trim(options: &clap::ArgMatches) -> Outcome {
    let size = options.get_one::<ByteSize>("max-size").map(|size| size.0);
    let age = options.get_one::<Span>("older-than").map(|age| age.0.as_secs());
    trim_to(size, age)
}

/// Removes results down to a size in bytes, and those that were not used for `age` seconds.
pub fn trim_to(size: Option<u64>, age: Option<u64>) -> Outcome {
    // Without a limit of its own, it is the setting's that counts.
    let size = match (size, age) {
        (None, None) => Some(super::settings()?.config.max_size_bytes).filter(|size| *size > 0),
        _ => size,
    };
    let question = Question::Trim { max_size_bytes: size, older_than_s: age };
    screen::print(&removed(ask(&question, true)?));
    Ok(ExitCode::SUCCESS)
}

/// Waits until all that is to be stored or uploaded is.
pub fn flush(options: &clap::ArgMatches) -> Outcome {
    super::settings()?;
    let limit = options.get_one::<Span>("timeout").map_or(0, |limit| limit.0.as_secs().max(1));
    let question = Question::FlushUploads { seconds: limit };
    let Flushed { not_uploaded } = match talk::client::ask(&question, false) {
        Ok(flushed) => flushed,
        // Nobody has anything.
        Err(AskError::NotRunning) => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(super::describe(&error)),
    };
    match not_uploaded {
        0 => Ok(ExitCode::SUCCESS),
        left => Err(format!(
            "{left} results are not uploaded yet; `rcache doctor` says what is wrong with the shared cache"
        )),
    }
}

fn removed(removed: Removed) -> String {
    let noun = if removed.removed_files == 1 { "result" } else { "results" };
    let bytes = screen::bytes(removed.removed_bytes);
    format!("removed {} {noun}, {bytes}\n", screen::count(removed.removed_files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed() {
        let text = |files, bytes| removed(Removed { removed_files: files, removed_bytes: bytes });
        assert_eq!(text(0, 0), "removed 0 results, 0B\n");
        assert_eq!(text(1, 2_000), "removed 1 result, 2.0k\n");
        assert_eq!(text(1_234, 5_600_000_000), "removed 1 234 results, 5.6G\n");
    }
}
