//! What people ask of the shared cache: its state, what is on it, less of it, whether all is sound.

use super::tiers::wanted;
use crate::Daemon;
use crate::serve::conversation::Conversation;
use config::{Config, Environment};
use shared::Tier;
use shared::engine::Fault;
use shared::remote::Report;
use std::io;
use std::time::Duration;
use talk::party::Party;
use talk::questions::{
    RemoteContents, RemoteRow, RemoteState, RemoteTask, RemoteTrimmed, RemoteVerified, Remotes,
};

/// Between two looks whether the work is done.
const LOOK: Duration = Duration::from_millis(50);

/// Does a task on all remotes of these settings.
pub fn answer(
    daemon: &Daemon,
    conversation: &mut Conversation,
    config: &Config,
    environment: &Environment,
    task: RemoteTask,
) -> io::Result<Result<Remotes, String>> {
    let problems = wanted(config, environment).0.problems;
    let Some(kept) = daemon.tiers.find(&daemon.runtime, config, environment) else {
        let why = problems.first().cloned();
        return Ok(Err(why.unwrap_or_else(|| "remote_storage is not set".to_owned())));
    };
    let remotes = std::thread::scope(|scope| {
        let work = scope.spawn(|| look_after(&kept.tier, task));
        while !work.is_finished() {
            std::thread::sleep(LOOK);
            conversation.still_waiting()?;
        }
        work.join().map_err(|_| io::Error::other("a fault in rcache"))
    })?;
    let state = kept.tier.report().into_iter().map(state).collect();
    Ok(Ok(Remotes { remotes, state, problems, to_upload: kept.tier.waiting() as u64 }))
}

fn look_after(tier: &Tier, task: RemoteTask) -> Vec<RemoteRow> {
    match task {
        RemoteTask::Ping => rows(tier.ping(), |row, took| {
            row.took_us = Some(took.as_micros() as u64);
        }),
        RemoteTask::Stats => rows(tier.contents(), |row, found| {
            let (units, results, bytes) = (found.units, found.results, found.bytes);
            row.contents = Some(RemoteContents { units, results, bytes });
        }),
        RemoteTask::Trim { max_size_bytes, older_than_s } => {
            let trimmed = tier.trim(max_size_bytes, older_than_s.map(Duration::from_secs));
            rows(trimmed, |row, trimmed| {
                row.trimmed = Some(RemoteTrimmed {
                    removed_objects: trimmed.objects,
                    removed_bytes: trimmed.bytes,
                    left_bytes: trimmed.left_bytes,
                });
            })
        }
        RemoteTask::Verify { remove } => rows(tier.verify(remove), |row, found| {
            let (sound, untrusted, removed) = (found.sound, found.untrusted, found.removed);
            row.verified = Some(RemoteVerified { sound, untrusted, removed });
        }),
    }
}

fn rows<T>(
    done: Vec<(String, Result<T, Fault>)>,
    fill: impl Fn(&mut RemoteRow, T),
) -> Vec<RemoteRow> {
    let row = |(url, done)| {
        let mut row = RemoteRow { url, ..RemoteRow::default() };
        match done {
            Ok(done) => fill(&mut row, done),
            Err(fault) => row.error = Some(Fault::to_string(&fault)),
        }
        row
    };
    done.into_iter().map(row).collect()
}

fn state(report: Report) -> RemoteState {
    RemoteState {
        url: report.url,
        read_only: report.read_only,
        resting: report.resting,
        latency_us: report.usual.map(|usual| usual.as_micros() as u64),
        last_fault: report.last_fault,
        hits: report.hits,
        misses: report.misses,
        writes: report.writes,
        errors: report.errors,
        timeouts: report.timeouts,
        untrusted: report.untrusted,
        bytes_in: report.bytes_in,
        bytes_out: report.bytes_out,
    }
}
