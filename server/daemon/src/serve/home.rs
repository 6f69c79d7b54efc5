//! One daemon for one cache folder and place: its lock, its socket's names, and what dead ones left behind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use talk::client;
use talk::launcher_protocol::BUILD;

/// So many daemons of other places for the same cache folder are ordinary: containers that run for days.
/// More of them stand in sandboxes that were made for one command each.
const NEIGHBOURS_MAX: usize = 4;

/// One of too many ends this soon after its last call.
const IDLE_AMONG_MANY: Duration = Duration::from_secs(5);

/// A lock that nobody holds may be about to be taken; after this long it is not.
const STALE_AFTER: Duration = Duration::from_secs(60);

/// Names that are looked at for what dead daemons left.
const SWEPT_MAX: usize = 1000;

/// The daemon's hold on its cache folder.
#[derive(Default)]
pub struct Home {
    /// `None` where the folder cannot be used, or another daemon is just leaving.
    lock: Option<(File, PathBuf)>,
    /// The longest time without a call, where the settings do not ask for less.
    pub idle_max: Option<Duration>,
}

/// Whose a cache folder is.
pub enum Ownership {
    /// Ours.
    Ours(Home),
    /// A daemon of another environment in the same place has it, and listens there.
    Theirs(PathBuf),
}

/// One daemon for one cache folder and place, whatever environment it was started in.
pub fn own(folder: &Path, socket: &Path) -> Ownership {
    let path = folder.join(lock_name(socket));
    let Ok(mut file) = open(folder, &path) else { return Ownership::Ours(Home::default()) };
    let idle_max = (neighbours(folder, &path) > NEIGHBOURS_MAX).then_some(IDLE_AMONG_MANY);
    if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        let other = fs::read(&path).unwrap_or_default();
        let other = PathBuf::from(String::from_utf8_lossy(&other).into_owned());
        let alive = other != socket && UnixStream::connect(&other).is_ok();
        // A daemon that is just retiring still holds the lock, but serves nobody new.
        return match alive {
            true => Ownership::Theirs(other),
            false => Ownership::Ours(Home { lock: None, idle_max }),
        };
    }
    let written =
        file.set_len(0).and_then(|()| file.write_all(socket.as_os_str().as_encoded_bytes()));
    if written.is_err() {
        tracing::warn!("cannot write {}", path.display());
    }
    Ownership::Ours(Home { lock: Some((file, path)), idle_max })
}

impl Home {
    /// To be called at the end: the lock goes with the daemon.
    pub fn leave(self) {
        if let Some((_file, path)) = self.lock {
            let _ = fs::remove_file(path);
        }
    }
}

/// What of the socket's name stands for the place is in the lock's name, too: it is one for each build.
fn lock_name(socket: &Path) -> String {
    let name = socket.file_stem().unwrap_or_default().to_string_lossy();
    let place = name.split_once('-').map_or("", |(_, place)| place);
    let build = BUILD.split('+').next_back().unwrap_or_default();
    format!("daemon-{place}-{build}.lock")
}

fn open(folder: &Path, lock: &Path) -> io::Result<File> {
    if folder.as_os_str().is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    fs::create_dir_all(folder)?;
    cache::store::secure(folder)?;
    let mut options = OpenOptions::new();
    options.create(true).read(true).append(true).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(lock)
}

/// How many daemons of other places have the folder. Locks of dead ones go.
fn neighbours(folder: &Path, own: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let locks = entries.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("daemon-") && name.ends_with(".lock") && path != own
    });
    locks.filter(|path| is_held(path)).count()
}

fn is_held(lock: &Path) -> bool {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let Ok(file) = options.open(lock) else { return false };
    if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_err() {
        return true;
    }
    let modified = file.metadata().and_then(|about| about.modified());
    let age = modified.ok().and_then(|modified| modified.elapsed().ok());
    if age.is_some_and(|age| age > STALE_AFTER) {
        let _ = fs::remove_file(lock);
    }
    false
}

/// Makes the daemon that is there reachable under our name too.
pub fn refer_to(other: &Path, socket: &Path) -> io::Result<()> {
    let temporary = socket.with_extension(format!("{}.tmp", std::process::id()));
    std::os::unix::fs::symlink(other, &temporary)?;
    fs::rename(&temporary, socket)
}

/// Binds under a temporary name and renames: nobody ever sees a socket that does not listen.
pub fn listen(socket: &Path) -> io::Result<UnixListener> {
    let temporary = socket.with_extension(format!("{}.tmp", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))?;
    fs::rename(&temporary, socket)?;
    // What was said of the one before.
    let _ = fs::remove_file(client::silence_mark(socket));
    Ok(listener)
}

/// Removes what a daemon that is done leaves beside its socket, and the socket's other names. Nothing where
/// another daemon listens there already.
pub fn clear_up(socket: &Path) {
    if socket.exists() {
        return;
    }
    for name in names_of(socket) {
        let _ = fs::remove_file(&name);
        client::remove_traces(&name);
    }
    client::remove_traces(socket);
}

/// The links that lead to a socket.
fn names_of(socket: &Path) -> Vec<PathBuf> {
    let links = in_folder_of(socket);
    links.filter(|path| fs::read_link(path).is_ok_and(|target| target == socket)).collect()
}

fn in_folder_of(socket: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = socket.parent().map(fs::read_dir).into_iter().flatten().flatten().flatten();
    entries.map(|entry| entry.path()).take(SWEPT_MAX)
}

/// Removes the sockets and locks of daemons that were killed.
pub fn sweep(own: &Path) {
    for path in in_folder_of(own) {
        let extension = path.extension().unwrap_or_default().as_encoded_bytes();
        let socket = path.with_extension("sock");
        let is_left = match extension {
            b"sock" => is_dead(&path),
            b"lock" => fs::symlink_metadata(&socket).is_err(),
            _ => false,
        };
        if is_left && socket != own {
            if extension == b"sock" {
                let _ = fs::remove_file(&path);
            }
            client::remove_traces(&socket);
        }
    }
}

/// Whether nobody listens any more. Never waits for somebody who does.
fn is_dead(socket: &Path) -> bool {
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let one = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let (Ok(one), Ok(address)) = (one, SocketAddrUnix::new(socket)) else { return false };
    // A link that leads nowhere is gone as well.
    matches!(rustix::net::connect(&one, &address), Err(Errno::CONNREFUSED | Errno::NOENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket_in(folder: &Path, place: &str) -> PathBuf {
        folder.join(format!("0123456789abcdef-{place}.sock"))
    }

    #[test]
    fn one_daemon_for_one_place() {
        let scratch = tempfile::tempdir().unwrap();
        let (cache, run) = (scratch.path().join("cache"), scratch.path());
        let first = socket_in(run, "00000001");
        let _listener = listen(&first).unwrap();
        let Ownership::Ours(home) = own(&cache, &first) else { panic!("nobody else is there") };
        let same_place = run.join("fedcba9876543210-00000001.sock");
        assert!(matches!(own(&cache, &same_place), Ownership::Theirs(other) if other == first));
        let Ownership::Ours(other) = own(&cache, &socket_in(run, "00000002")) else {
            panic!("another place has a daemon of its own");
        };
        assert_eq!((home.idle_max, other.idle_max), (None, None));
        other.leave();
        home.leave();
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 0, "no lock is left");
    }

    #[test]
    fn one_of_many_ends_sooner() {
        let scratch = tempfile::tempdir().unwrap();
        let mut homes = Vec::new();
        for number in 0..NEIGHBOURS_MAX + 2 {
            let socket = socket_in(scratch.path(), &format!("{number:08x}"));
            let Ownership::Ours(home) = own(scratch.path(), &socket) else { panic!() };
            assert_eq!(home.idle_max.is_some(), number > NEIGHBOURS_MAX, "{number}");
            homes.push(home);
        }
    }

    #[test]
    fn what_dead_daemons_left_goes() {
        let scratch = tempfile::tempdir().unwrap();
        let own = socket_in(scratch.path(), "00000001");
        let alive = socket_in(scratch.path(), "00000002");
        let dead = socket_in(scratch.path(), "00000003");
        let _listeners = [listen(&own).unwrap(), listen(&alive).unwrap()];
        drop(listen(&dead).unwrap());
        std::os::unix::fs::symlink(scratch.path().join("nowhere"), scratch.path().join("x.sock"))
            .unwrap();
        for left in [&dead, &scratch.path().join("y.sock")] {
            fs::write(left.with_extension("lock"), "").unwrap();
        }
        refer_to(&own, &scratch.path().join("name.sock")).unwrap();
        sweep(&own);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 3);
        fs::remove_file(&own).unwrap();
        clear_up(&own);
        assert_eq!(in_folder_of(&own).collect::<Vec<_>>(), [alive]);
    }
}
