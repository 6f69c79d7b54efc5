//! The other daemons of this user: of other builds, for other cache folders, and for processes elsewhere.

use crate::client::{self, Answered, connect_to};
use crate::launcher_protocol::ToDaemon;
use crate::questions::{Asked, Done, Question, Status, decode};
use serde::de::DeserializeOwned;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More daemons of one user than this are not asked.
const OTHERS_MAX: usize = 64;

/// Another daemon is not waited for longer than this.
const SILENCE_MAX: Duration = Duration::from_secs(1);

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
    let sockets = other_sockets().into_iter();
    let others = sockets.filter_map(|socket| match ask_one(&socket, &Question::Status).ok()? {
        Answered::OtherBuild(build) => Some(OtherDaemon { socket, build: Some(build) }),
        _ => Some(OtherDaemon { socket, build: None }),
    });
    others.collect()
}

/// Has all other daemons of this build, wherever they stand, write what they remember to the index.
pub fn flush_others() {
    for socket in other_sockets() {
        let _: Option<Done> = answer_of(&socket, &Question::Flush);
    }
}

/// How all other daemons of this build are.
pub fn statuses() -> Vec<Status> {
    let sockets = other_sockets();
    sockets.iter().filter_map(|socket| answer_of(socket, &Question::Status)).collect()
}

/// Ends those of the other daemons whose status is as wanted; that status.
pub fn stop_others(is_meant: impl Fn(&Status) -> bool) -> Vec<Status> {
    let stop_one = |socket: &PathBuf| {
        let status = answer_of(socket, &Question::Status)?;
        if !is_meant(&status) {
            return None;
        }
        answer_of::<Done>(socket, &Question::Stop)?;
        Some(status)
    };
    other_sockets().iter().filter_map(stop_one).collect()
}

fn other_sockets() -> Vec<PathBuf> {
    let status: Result<Status, _> = client::ask(&Question::Status, false);
    let own = status.ok().map(|status| PathBuf::from(status.socket));
    let sockets = client::existing_folder().map(|folder| sockets_in(&folder)).unwrap_or_default();
    sockets.into_iter().filter(|socket| Some(socket) != own.as_ref()).take(OTHERS_MAX).collect()
}

fn answer_of<A: DeserializeOwned>(socket: &Path, question: &Question) -> Option<A> {
    match ask_one(socket, question).ok()? {
        Answered::Answer(answer) => decode(&answer).ok()?.ok(),
        _ => None,
    }
}

fn ask_one(socket: &Path, question: &Question) -> io::Result<Answered> {
    let mut caller = client::caller()?;
    let mut connection = connect_to(socket, SILENCE_MAX)?;
    caller.proof = connection.proof()?;
    let question = Asked { question: question.clone(), from_elsewhere: true };
    let question = serde_json::to_vec(&question)?;
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
