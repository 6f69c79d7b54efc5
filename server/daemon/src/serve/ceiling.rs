//! The daemon's memory has an end, and the daemon ends before the user's programs where the machine's has.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;

/// Data and stacks of the whole daemon. What calls hold is bounded far below this; a fault in that must
/// not become the machine's. Each thread takes its stack's address space from it, used or not.
const DATA_BYTES_MAX: u64 = 4 << 30;

/// Among a user's programs the kernel ends first what has most: a build does without the daemon.
const OOM_SCORE_ADJ: i32 = 900;

const OOM_FILE: &str = "/proc/self/oom_score_adj";

/// Sets both. Where that fails, the daemon runs as before.
pub fn keep() {
    limit_data(DATA_BYTES_MAX);
    let now = fs::read_to_string(OOM_FILE).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if now.is_some_and(|now| now < OOM_SCORE_ADJ) {
        let _ = fs::write(OOM_FILE, OOM_SCORE_ADJ.to_string());
    }
}

/// A compiler that the daemon starts itself may take what it needs. Safe between fork and exec.
pub fn lift() {
    let maximum = getrlimit(Resource::Data).maximum;
    let _ = setrlimit(Resource::Data, Rlimit { current: maximum, maximum });
}

fn limit_data(bytes: u64) {
    let maximum = getrlimit(Resource::Data).maximum;
    let current = Some(maximum.map_or(bytes, |maximum| maximum.min(bytes)));
    let _ = setrlimit(Resource::Data, Rlimit { current, maximum });
}
