//! The life of the daemon: listening, accepting, and ending in order; below, what all calls share.

pub mod active;
pub mod bookkeeping;
pub mod caches;
pub mod ceiling;
pub mod conversation;
pub mod counts;
pub mod descriptors;
pub mod finishing;
pub mod guard;
pub mod home;
pub mod runtime;
pub mod signals;
pub mod surroundings;

use crate::admin;
use crate::compile;
use crate::look_up::fetchers::Fetchers;
use crate::make::local_slots::Purpose;
use crate::serve::conversation::Conversation;
use crate::serve::descriptors::Capacity;
use crate::serve::guard::Guard;
use crate::serve::home::Ownership;
use crate::understand::compilers::Compilers;
use crate::understand::unit::Call;
use crate::{Activity, Daemon, lock};
use compiler::file_memo::{FileMemo, Watches};
use config::{Config, Environment};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use talk::client;
use talk::launcher_protocol::{BUILD, Caller, ToDaemon, ToLauncher};
use talk::place;

/// Threads that wait for a connection. One more is started whenever the last one gets busy.
const WAITING_THREADS_MAX: usize = 4;

/// Calls at one time; more wait until they are accepted.
const CONNECTIONS_MAX: usize = 4096;

/// Between two looks whether there is room for one more.
const ROOM_LOOK: Duration = Duration::from_millis(5);

/// What keeps calls from being accepted is told of this often.
const COMPLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// A daemon that retires waits this long for the calls that it serves; a compile may take hours.
const RETIRE_MAX: Duration = Duration::from_secs(24 * 3600);

/// One that a signal ends waits this long: its launchers have their compilers, and go on without it.
const HURRY_MAX: Duration = Duration::from_secs(5);

/// What is to be uploaded is waited for at the end; `rcache flush` waits for longer.
const UPLOADS_MAX: Duration = Duration::from_secs(30);

/// The stack of a thread that serves a call; the scans and parsers do not recurse deeply.
const STACK_BYTES: usize = 1 << 20;

/// How the daemon was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By a person, who watches it.
    Foreground,
    /// By a launcher, which waits for one byte on standard output.
    Detached,
}

/// Runs the daemon until it retires. `socket` is where the launcher looks for it.
pub fn run(mode: Mode, socket: Option<PathBuf>) -> io::Result<()> {
    let environment = Environment::of_this_process();
    let config = Config::load(&environment).config;
    if mode == Mode::Detached {
        surroundings::detach();
        surroundings::undo();
    }
    signals::hold();
    start_log(&config, mode);
    share_memory_between_threads();
    forget_zone();
    ceiling::keep();
    // What the cache holds is nobody else's business. Output files get their mode on their own.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let socket = socket.map_or_else(|| client::make_socket_path(0), Ok)?;
    let home = match home::own(&config.cache_dir, &socket) {
        Ownership::Ours(home) => home,
        Ownership::Theirs(other) => {
            home::refer_to(&other, &socket)?;
            announce(mode);
            return Ok(());
        }
    };
    let guard = Guard::set_up()?;
    let listener = home::listen(&socket)?;
    let view = place::view()?;
    let daemon = Arc::new(Daemon {
        settings: Default::default(),
        memo: FileMemo::watching(watches()),
        compilers: Compilers::default(),
        active: Default::default(),
        in_flight: Default::default(),
        writers: Default::default(),
        searched: Default::default(),
        finishing: Default::default(),
        fetchers: Fetchers::start(),
        slots: Default::default(),
        serving: Default::default(),
        capacity: Capacity::of(descriptors::raise(), CONNECTIONS_MAX),
        fleet: Default::default(),
        engines: Default::default(),
        upgrades: Default::default(),
        names: Default::default(),
        runtime: Default::default(),
        memory: Default::default(),
        verifier: Default::default(),
        predefined: Default::default(),
        caches: Default::default(),
        tiers: Default::default(),
        home: config.cache_dir.clone(),
        seat: view.seat_of(&socket),
        view,
        niceness: place::niceness(),
        guard,
        started: Instant::now(),
        bookkeeper: std::thread::current(),
        activity: Activity {
            calls: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            retiring: AtomicBool::new(false),
            hurried: AtomicBool::new(false),
            idle_max: home.idle_max,
            last: Mutex::new(Instant::now()),
            idle_timeout: Mutex::new(config.idle_timeout),
        },
        socket,
    });
    let own_socket = std::fs::metadata(&daemon.socket)?.ino();
    // Where it cannot be used, each call asks again, and `stats` says why.
    let _ = daemon.cache(&config);
    tracing::info!("listening on {}", daemon.socket.display());
    signals::obey(&daemon);
    accept(&daemon, listener);
    look_after_hosts(&daemon)?;
    announce(mode);
    bookkeeping::run(&daemon, own_socket);
    end(&daemon);
    home.leave();
    home::clear_up(&daemon.socket);
    Ok(())
}

/// Leases tell their holder by SIGIO that somebody waits for their end.
fn watches() -> Option<Watches> {
    // SAFETY: no handler is involved.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
    Watches::new()
}

/// Whoever started the daemon may live in another zone than those whom it serves: the machine's own is
/// what a call without TZ means.
fn forget_zone() {
    // SAFETY: no other thread runs yet.
    unsafe {
        std::env::remove_var("TZ");
    }
}

/// glibc gives each thread an arena of its own, up to eight for each core, and each keeps what a
/// large object once took. A few do for threads that mostly wait.
fn share_memory_between_threads() {
    const ARENAS_MAX: libc::c_int = 4;
    // SAFETY: mallopt takes two numbers, and runs before any other thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX);
        // Freed small blocks are merged at once: collected, they are all merged whenever a large
        // one (an object, at each hit) is freed.
        libc::mallopt(libc::M_MXFAST, 0);
    }
}

fn start_log(config: &Config, mode: Mode) {
    let level = talk::log::level(config.log_level);
    let log = tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_target(false);
    let file = config.log_file.as_ref().and_then(|path| open_log(path).ok());
    match file {
        Some(file) => log.with_writer(Mutex::new(file)).init(),
        None if mode == Mode::Foreground => log.with_writer(io::stderr).init(),
        None => {}
    }
}

/// It may be a terminal, which is not to become the daemon's own, or a pipe that nobody reads.
fn open_log(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(flags).open(path)
}

/// Tells the launcher that waits, and lets go of its pipe.
fn announce(mode: Mode) {
    if mode == Mode::Detached {
        let _ = io::stdout().write_all(b"\n").and_then(|()| io::stdout().flush());
        if let Ok(null) = OpenOptions::new().write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdout(&null);
        }
    }
}

/// Starts the threads that accept. A thread that gets a call serves it itself: handing it to
/// another would cost a switch for each hit.
fn accept(daemon: &Arc<Daemon>, listener: UnixListener) {
    let listener = Arc::new(listener);
    let waiting = Arc::new(AtomicUsize::new(0));
    for _ in 0..WAITING_THREADS_MAX / 2 {
        spawn_acceptor(daemon, &listener, &waiting);
    }
}

fn spawn_acceptor(daemon: &Arc<Daemon>, listener: &Arc<UnixListener>, waiting: &Arc<AtomicUsize>) {
    let (daemon, listener, waiting) =
        (Arc::clone(daemon), Arc::clone(listener), Arc::clone(waiting));
    waiting.fetch_add(1, Ordering::SeqCst);
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let spawned = thread.spawn({
        let waiting = Arc::clone(&waiting);
        move || accept_calls(&daemon, &listener, &waiting)
    });
    if spawned.is_err() {
        waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

fn accept_calls(daemon: &Arc<Daemon>, listener: &Arc<UnixListener>, waiting: &Arc<AtomicUsize>) {
    let mut complained: Option<Instant> = None;
    loop {
        let is_full = || {
            let active = daemon.activity.active.load(Ordering::SeqCst);
            active >= daemon.capacity.connections
        };
        while is_full() {
            std::thread::sleep(ROOM_LOOK);
        }
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                if complained.is_none_or(|last| last.elapsed() >= COMPLAIN_INTERVAL) {
                    complained = Some(Instant::now());
                    tracing::warn!("accept: {error}");
                }
                std::thread::sleep(ROOM_LOOK);
                continue;
            }
        };
        // Counted as active before it stops counting as waiting, so that the end cannot miss it.
        daemon.activity.active.fetch_add(1, Ordering::SeqCst);
        if waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            spawn_acceptor(daemon, listener, waiting);
        }
        serve_guarded(daemon, stream);
        daemon.activity.active.fetch_sub(1, Ordering::SeqCst);
        *lock(&daemon.activity.last) = Instant::now();
        if waiting.fetch_add(1, Ordering::SeqCst) >= WAITING_THREADS_MAX {
            waiting.fetch_sub(1, Ordering::SeqCst);
            return;
        }
    }
}

/// A fault in serving one call must not end the others: its launcher sees the connection close,
/// and runs the compiler.
fn serve_guarded(daemon: &Arc<Daemon>, stream: UnixStream) {
    let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut conversation = Conversation::new(stream);
        match serve(daemon, &mut conversation) {
            Ok(()) => {}
            Err(error) => tracing::debug!("conversation ended: {error}"),
        }
    }));
    if served.is_err() {
        tracing::error!("a call could not be served because of a fault in rcache");
    }
}

fn serve(daemon: &Arc<Daemon>, conversation: &mut Conversation) -> io::Result<()> {
    daemon.activity.calls.fetch_add(1, Ordering::Relaxed);
    match conversation.request()? {
        ToDaemon::Compile { caller, terminal, compiler, arguments } => {
            if is_stranger(conversation, &caller)? || refuse(daemon, conversation, &caller)? {
                return Ok(());
            }
            let call = Call { caller, terminal, compiler, arguments };
            let limit = daemon.capacity.calls;
            let enter = |_| daemon.serving.acquire(Purpose::Compile, limit, conversation);
            let _room = limit.map(enter).transpose()?;
            compile::serve(daemon, conversation, &call)
        }
        ToDaemon::Ask { caller, question } => {
            let is_for_everybody = admin::is_for_everybody(&question);
            if is_stranger(conversation, &caller)?
                || !is_for_everybody && refuse(daemon, conversation, &caller)?
            {
                return Ok(());
            }
            admin::answer(daemon, conversation, &caller, &question)
        }
        ToDaemon::Ran { .. } => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A caller that stands elsewhere is sent on: it may have rights that this daemon lacks, or lack some that
/// the daemon has. One that is less nice finds the place free.
fn refuse(daemon: &Daemon, conversation: &mut Conversation, caller: &Caller) -> io::Result<bool> {
    if caller.view != daemon.view || !daemon.guard.admits(conversation.socket(), caller.proof) {
        // A sandbox for each command would soon have taken all seats.
        let last = lock(&daemon.activity.last).elapsed();
        let is_idle = daemon.activity.active.load(Ordering::SeqCst) <= 1;
        let makes_way = is_idle && place::is_left(daemon.seat, last);
        if makes_way {
            daemon.retire();
        }
        conversation.send(match makes_way {
            true => &ToLauncher::MadeWay,
            false => &ToLauncher::OtherPlace,
        })?;
        return Ok(true);
    }
    // The next one is as nice as its first caller at most, and no less nice than usual.
    if caller.niceness.max(0) < daemon.niceness {
        daemon.retire();
        conversation.send(&ToLauncher::MadeWay)?;
        return Ok(true);
    }
    Ok(false)
}

/// A caller of another build, which means the same by nothing that is said here, is told so.
fn is_stranger(conversation: &mut Conversation, caller: &Caller) -> io::Result<bool> {
    // Compared with what lies in the program: one in which that was changed is another build.
    let is_stranger = caller.build != std::hint::black_box(BUILD);
    if is_stranger {
        conversation.send(&ToLauncher::OtherBuild(BUILD.to_owned()))?;
    }
    Ok(is_stranger)
}

fn end(daemon: &Daemon) {
    bookkeeping::flush(daemon);
    let start = Instant::now();
    let patience = || match daemon.activity.hurried.load(Ordering::SeqCst) {
        true => HURRY_MAX,
        false => RETIRE_MAX,
    };
    while daemon.activity.active.load(Ordering::SeqCst) > 0 && start.elapsed() < patience() {
        std::thread::sleep(Duration::from_millis(5));
    }
    daemon.verifier.end();
    daemon.verifier.wait();
    let uploads =
        if daemon.activity.hurried.load(Ordering::SeqCst) { HURRY_MAX } else { UPLOADS_MAX };
    let left = daemon.tiers.flush(uploads);
    if left > 0 {
        tracing::warn!("{left} results were not uploaded before the end");
    }
    bookkeeping::flush(daemon);
    // The stores note that they were closed in order, and need no walk at the next start.
    daemon.caches.close();
}

/// Hosts that failed are probed behind the builds' backs.
fn look_after_hosts(daemon: &Arc<Daemon>) -> io::Result<()> {
    let daemon = Arc::clone(daemon);
    let prober = std::thread::Builder::new().name("prober".to_owned());
    prober.spawn(move || daemon.fleet.look_after_hosts())?;
    Ok(())
}
