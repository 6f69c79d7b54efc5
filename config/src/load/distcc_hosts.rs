//! Finds the host list where distcc would: the first place that has one counts, and alone. What a
//! package put there by itself is no list of anybody's.

use super::Origin;
use crate::HostList;
use crate::environment::{DISTCC_DIR, DISTCC_HOSTS, HOME, Lookups};
use crate::error::{Place, Problem};
use crate::text_file;
use std::path::{Path, PathBuf};

/// The machine's list; its path from the root.
const MACHINE_FILE: &str = "etc/distcc/hosts";

/// The list and where it came from; `None` where there is none.
pub(super) fn find(root: &Path, lookups: &Lookups) -> Result<Option<(HostList, Origin)>, Problem> {
    if let Some(text) = lookups.get(DISTCC_HOSTS) {
        let problem = |what| problem(Place::Variable(DISTCC_HOSTS.to_owned()), what);
        let text = text.to_str().ok_or_else(|| problem(format!("{text:?} is not UTF-8")))?;
        let list = HostList::parse(text).map_err(|error| problem(error.what))?;
        return Ok(Some((list, Origin::Environment { name: DISTCC_HOSTS.to_owned() })));
    }
    let folder = folder(lookups)?;
    for path in paths(root, folder) {
        let Some(text) = text_file::read_if_allowed(&path)? else { continue };
        let list = HostList::parse(&text).map_err(|error| {
            let place = Place::Line { path: path.clone(), line: error.line, column: error.column };
            problem(place, error.what)
        })?;
        // distcc's packages bring `127.0.0.1` to try it with. Nobody meant that: whoever listens there
        // would compile for everybody.
        if path == root.join(MACHINE_FILE) && list.is_plain_loopback() {
            continue;
        }
        return Ok(Some((list, Origin::File { path, line: None })));
    }
    Ok(None)
}

/// The files that [`find`] may read.
pub(super) fn files(root: &Path, lookups: &Lookups) -> Vec<PathBuf> {
    match lookups.get(DISTCC_HOSTS) {
        Some(_) => Vec::new(),
        None => folder(lookups).map_or_else(|_| Vec::new(), |folder| paths(root, folder)),
    }
}

/// Where distcc keeps what belongs to the user.
fn folder(lookups: &Lookups) -> Result<Option<PathBuf>, Problem> {
    match lookups.get(DISTCC_DIR).filter(|value| !value.is_empty()) {
        None => Ok(lookups.folder(HOME).map(|home| home.join(".distcc"))),
        Some(value) if Path::new(value).is_absolute() => Ok(Some(PathBuf::from(value))),
        Some(value) => Err(problem(
            Place::Variable(DISTCC_DIR.to_owned()),
            format!("{value:?} is not an absolute path"),
        )),
    }
}

fn paths(root: &Path, folder: Option<PathBuf>) -> Vec<PathBuf> {
    let users = folder.map(|folder| folder.join("hosts"));
    users.into_iter().chain([root.join(MACHINE_FILE)]).collect()
}

fn problem(place: Place, what: String) -> Problem {
    Problem { place, key: String::new(), what }
}
