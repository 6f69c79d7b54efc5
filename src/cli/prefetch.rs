//! `rcache prefetch`: asks the shared cache for a whole build before the build does.

use super::screen::{self, count};
use super::verify::calls::{self, Call};
use super::{Outcome, ask};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use talk::questions::{Prefetched, Question};

/// Calls that the daemon is told at one time; in one folder, since that is one process's.
const CALLS_MAX: usize = 2_000;

/// Asks for each call of the build.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    let build = options.get_one::<PathBuf>("build").ok_or("name a build")?;
    let file = if build.is_dir() { build.join("compile_commands.json") } else { build.clone() };
    let mut folders: BTreeMap<PathBuf, Vec<Call>> = BTreeMap::new();
    for call in calls::read(&file)? {
        folders.entry(call.folder().to_owned()).or_default().push(call);
    }
    let mut sum = Prefetched::default();
    for calls in folders.values().flat_map(|calls| calls.chunks(CALLS_MAX)) {
        let came = in_folder(calls)?;
        sum.fetched += came.fetched;
        sum.here += came.here;
        sum.missing += came.missing;
        sum.not_cached += came.not_cached;
    }
    match options.get_flag("json") {
        true => screen::print_json(&sum),
        false => screen::print(&format!(
            "{} fetched, {} were here, {} are not there, {} are not cached\n",
            count(sum.fetched),
            count(sum.here),
            count(sum.missing),
            count(sum.not_cached)
        )),
    }
    Ok(ExitCode::SUCCESS)
}

/// Calls of one folder, which becomes this process's own.
fn in_folder(calls: &[Call]) -> Result<Prefetched, String> {
    let words: Vec<Vec<String>> = calls.iter().filter_map(|call| call.enter().ok()).collect();
    // What has no compiler here is not cached either.
    let lost = (calls.len() - words.len()) as u64;
    let came = match words.is_empty() {
        true => Prefetched::default(),
        false => ask(&Question::Prefetch { calls: words }, true)?,
    };
    Ok(Prefetched { not_cached: came.not_cached + lost, ..came })
}
