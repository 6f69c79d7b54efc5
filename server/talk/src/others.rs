//! The other daemons of this user: of other builds, for other cache folders, and for processes elsewhere.

use crate::client::{self, Answered, connect_to};
use crate::launcher_protocol::ToDaemon;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More daemons of one user than this are not asked.
const OTHERS_MAX: usize = 64;

/// Another daemon is not waited for longer than this.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// In a question that any daemon may get: whether the asker's own daemon is another one.
pub const FROM_ELSEWHERE: &str = "from_elsewhere";

/// Another daemon of this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherDaemon {
    /// Where it listens.
    pub socket: PathBuf,
    /// Its build; `None` where it is the one of this program.
    pub build: Option<String>,
}

/// The daemons whose sockets lie beside the one of this program. One that does not answer at once is
/// left out.
pub fn others() -> Vec<OtherDaemon> {
    let question = json!({ "command": "status" });
    let sockets = other_sockets().into_iter();
    let others = sockets.filter_map(|socket| match ask_one(&socket, &question).ok()? {
        Answered::OtherBuild(build) => Some(OtherDaemon { socket, build: Some(build) }),
        _ => Some(OtherDaemon { socket, build: None }),
    });
    others.collect()
}

/// Puts a question to all other daemons of this build, wherever they stand; their answers.
pub fn ask_others(question: &Value) -> Vec<Value> {
    other_sockets().iter().filter_map(|socket| answer_of(socket, question)).collect()
}

/// Ends those of the other daemons whose status is as wanted; that status.
pub fn stop_others(is_meant: impl Fn(&Value) -> bool) -> Vec<Value> {
    let stop_one = |socket: &PathBuf| {
        let status = answer_of(socket, &json!({ "command": "status" }))?;
        if !is_meant(&status) {
            return None;
        }
        answer_of(socket, &json!({ "command": "stop" }))?;
        Some(status)
    };
    other_sockets().iter().filter_map(stop_one).collect()
}

fn other_sockets() -> Vec<PathBuf> {
    let status = client::ask(json!({ "command": "status" }), false).unwrap_or_default();
    let own = status["socket"].as_str().map(PathBuf::from);
    let sockets = client::existing_folder().map(|folder| sockets_in(&folder)).unwrap_or_default();
    sockets.into_iter().filter(|socket| Some(socket) != own.as_ref()).take(OTHERS_MAX).collect()
}

fn answer_of(socket: &Path, question: &Value) -> Option<Value> {
    match ask_one(socket, question).ok()? {
        Answered::Answer(answer) => serde_json::from_slice(&answer).ok(),
        _ => None,
    }
}

fn ask_one(socket: &Path, question: &Value) -> io::Result<Answered> {
    let mut caller = client::caller()?;
    let mut connection = connect_to(socket, SILENCE_MAX)?;
    caller.proof = connection.proof()?;
    let mut question = question.clone();
    question[FROM_ELSEWHERE] = true.into();
    let question = question.to_string().into_bytes();
    connection.send(&ToDaemon::Ask { caller, question })?;
    connection.answer()
}

/// The sockets in a folder, without the other names that some of them have.
fn sockets_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_socket = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_socket());
    let sockets = entries.filter(is_socket).map(|entry| entry.path());
    sockets.filter(|path| path.extension().is_some_and(|end| end == "sock")).collect()
}
