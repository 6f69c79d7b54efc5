//! Listening, accepting, and ending in order.

use super::access::{self, Network};
use super::crowd::Crowd;
use super::http;
use super::job::Conditions;
use super::memory::{self, Budget};
use super::metrics::{Metrics, Now, Outcome};
use super::reapi::{self, Cas, Copies, Door, Keys, Reapi, Workshop};
use super::sandbox::{Sandbox, Way};
use super::scratch::Scratch;
use super::slots::Slots;
use super::stream::{event, raise, timespec};
use super::toolchain::{ProbeConditions, Toolchain};
use super::{Options, connection};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Texts and objects that cannot be dealt with in steps take no more memory together, or else one at a
/// time.
const BUDGET_BYTES: usize = 128 << 20;

/// Connections that are accepted in a row; then signals have their turn.
const ACCEPTED_MAX: usize = 64;

/// What the kernel keeps waiting.
const BACKLOG: i32 = 1024;

/// The stack of a thread that serves a connection; the parsers do not recurse deeply.
const STACK_BYTES: usize = 1 << 20;

/// Between two attempts to accept where that failed: out of descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Compiles that are told to end are killed, and their folders removed, in this time.
const END_MAX: Duration = Duration::from_secs(10);

/// Everything that a worker knows.
pub struct Worker {
    /// How it is to be.
    pub options: Options,
    /// What is the same for every job.
    pub conditions: Conditions,
    /// The compilers of this machine.
    pub toolchain: Toolchain,
    /// Compiles that run.
    pub slots: Slots,
    /// Folders of jobs.
    pub scratch: Arc<Scratch>,
    /// Memory for what cannot be dealt with in steps.
    pub budget: Budget,
    /// What happened.
    pub metrics: Metrics,
    /// No new request is read any more.
    pub draining_event: OwnedFd,
    /// Everything is to end at once.
    pub ending_event: OwnedFd,
    /// What it is for clients of REAPI.
    pub reapi: Arc<Reapi>,
    door: OnceLock<Door>,
    allow: Vec<Network>,
    draining: AtomicBool,
    crowd: Arc<Crowd>,
}

impl Worker {
    /// Whether it takes no new work.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Where connections of REAPI come in.
    pub fn door(&self) -> io::Result<&Door> {
        self.door.get().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl http::Source for Worker {
    fn now(&self) -> Now {
        let (running, queued) = self.slots.load();
        Now {
            slots: self.slots.count(),
            running,
            queued,
            connections: self.crowd.count(),
            draining: self.draining.load(Ordering::SeqCst),
            reapi: self.reapi.samples(),
        }
    }

    fn metrics(&self) -> String {
        self.metrics.text(&self.now())
    }
}

/// Serves until SIGTERM or SIGINT, then finishes what runs.
///
/// # Errors
/// It cannot listen, or has no place for its jobs.
pub fn run(options: Options) -> io::Result<()> {
    // Before the first thread, which would take the signals.
    let signals = signals()?;
    start_log(&options);
    keep_descriptors_to_ourselves();
    raise_descriptor_limit();
    // Whatever a compiler leaves behind comes back to be reaped.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let listeners = listen_all(&options.listen, options.port)?;
    let metrics_port = options.metrics_port;
    let worker = Arc::new(worker(options)?);
    let _ = worker.door.set(Door::open(&worker, &worker.reapi)?);
    if let Some(port) = metrics_port {
        for listener in listen_all(&worker.options.listen, port)? {
            listener.set_nonblocking(false)?;
            tracing::info!("metrics on {}", listener.local_addr()?);
            let source = Arc::clone(&worker);
            std::thread::Builder::new().spawn(move || http::serve(&listener, &source))?;
        }
    }
    announce(&worker, &listeners)?;
    accept_until_told(&worker, &listeners, &signals)?;
    drop(listeners);
    drain(&worker, &signals)
}

fn worker(options: Options) -> io::Result<Worker> {
    let ending_event = event()?;
    let sandbox = if options.sandbox { Sandbox::probe() } else { Sandbox::off() };
    let sandbox = Arc::new(sandbox);
    let allow = match options.allow.is_empty() {
        true => access::default_networks(access::is_container()),
        false => options.allow.clone(),
    };
    let memory_bytes = match options.job_memory_bytes {
        Some(0) => None,
        Some(bytes) => Some(bytes),
        None => memory::of_machine().map(|bytes| memory::of_job(bytes, options.jobs)),
    };
    let scratch = Arc::new(Scratch::new(&options.scratch)?);
    let probes = ProbeConditions {
        sandbox: Arc::clone(&sandbox),
        scratch: Arc::clone(&scratch),
        nice: options.nice,
        memory_bytes,
        ending: ending_event.try_clone()?,
    };
    let reapi = reapi(&options, &sandbox, &scratch, memory_bytes)?;
    Ok(Worker {
        reapi: Arc::new(reapi),
        door: OnceLock::new(),
        conditions: Conditions {
            sandbox,
            folders: options.compiler_path.clone(),
            nice: options.nice,
            timeout: options.job_timeout,
            memory_bytes,
        },
        toolchain: Toolchain::new(&options.compiler_path, probes)?,
        slots: Slots::new(options.jobs),
        crowd: Arc::new(Crowd::new(scratch.disk_bytes_max(), event()?)),
        scratch,
        budget: Budget::new(BUDGET_BYTES),
        metrics: Metrics::default(),
        draining_event: event()?,
        ending_event,
        allow,
        draining: AtomicBool::new(false),
        options,
    })
}

/// What REAPI needs: keys, a place for blobs, and to know how a namespace is made.
fn reapi(
    options: &Options,
    sandbox: &Arc<Sandbox>,
    scratch: &Scratch,
    memory_bytes: Option<u64>,
) -> io::Result<Reapi> {
    let keys = Keys::read(&options.keys, options.insecure_reapi)?;
    if options.runs_what_was_sent && !keys.authenticate() && !options.insecure_reapi {
        let text = "--toolchains sent needs --client-ca or --token-file: it runs what clients send";
        return Err(io::Error::other(text));
    }
    if options.accepts_results && !keys.authenticate() && !options.insecure_reapi {
        let text = "--accept-results needs --client-ca or --token-file";
        return Err(io::Error::other(text));
    }
    let own_folder = scratch.folder("cas")?;
    let cas_folder = options.cas_folder.as_ref().unwrap_or(&own_folder);
    // The folder of jobs may be small, or in memory.
    let room = scratch.disk_bytes_max() / 2;
    let cas_bytes = match options.cas_folder {
        Some(_) => options.cas_bytes_max,
        None => options.cas_bytes_max.min(room),
    };
    let cas = Cas::open(cas_folder, cas_bytes)?;
    let copies_bytes = room.min(reapi::COPIES_BYTES_MAX);
    let copies = Copies::new(scratch.folder("copies")?, copies_bytes, sandbox.keeps_permissions());
    let workshop = Workshop {
        cas: Arc::new(cas),
        copies: Arc::new(copies),
        sandbox: Arc::clone(sandbox),
        way: Way::find(&scratch.folder("probe")?),
        runs_what_was_sent: options.runs_what_was_sent,
        nice: options.nice,
        timeout: options.job_timeout,
        memory_bytes,
    };
    Ok(Reapi::new(workshop, keys, options.accepts_results))
}

fn start_log(options: &Options) {
    tracing_subscriber::fmt()
        .with_max_level(talk::log::level(options.log_level))
        .with_ansi(false)
        .with_target(false)
        .with_writer(io::stderr)
        .init();
}

/// SIGTERM and SIGINT, to be read. Children get them back in [`super::child`].
fn signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is plain data that sigemptyset fills; the result is a new descriptor.
    unsafe {
        // Ignored, as some parents leave it, it would take away the status of every child.
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::sigaddset(&mut set, libc::SIGINT);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            descriptor => Ok(OwnedFd::from_raw_fd(descriptor)),
        }
    }
}

/// What the parent left open by mistake must not reach a compiler: no sandbox takes it away.
fn keep_descriptors_to_ourselves() {
    const AFTER_STANDARD_STREAMS: libc::c_uint = 3;
    // SAFETY: it only sets flags, also of descriptors that others opened.
    unsafe {
        let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
        libc::close_range(AFTER_STANDARD_STREAMS, libc::c_uint::MAX, flags);
    }
}

/// Each running compile takes several descriptors.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// One socket for each address; for all addresses, one for each version of IP.
fn listen_all(addresses: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    let everywhere = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    let named = !addresses.is_empty();
    let mut listeners = Vec::new();
    for address in if named { addresses } else { &everywhere } {
        let address = SocketAddr::new(*address, port);
        match listen(address) {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6.
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if !named && address.is_ipv6() => {}
            Err(error) => {
                let text = format!("cannot listen on {address}: {}", io::Error::from(error));
                return Err(io::Error::new(io::Error::from(error).kind(), text));
            }
        }
    }
    Ok(listeners)
}

fn listen(address: SocketAddr) -> Result<TcpListener, Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Says at the start what is in force.
fn announce(worker: &Worker, listeners: &[TcpListener]) -> io::Result<()> {
    let sandbox = &worker.conditions.sandbox;
    if !sandbox.hides_files() {
        tracing::warn!("compilers can read every file that this user can");
    }
    tracing::info!("sandbox: {sandbox}");
    if rustix::process::geteuid().is_root() {
        tracing::warn!("runs as root, and so do the compilers: an ordinary user is enough");
    }
    if let Err(why) = &worker.reapi.workshop.way {
        tracing::warn!("REAPI: blobs only, no actions: {why}");
    }
    let allow: Vec<String> = worker.allow.iter().map(ToString::to_string).collect();
    if worker.options.allow.is_empty() {
        tracing::warn!(
            "--allow is not given: {} may connect",
            access::default_in_words(access::is_container())
        );
    }
    if let Some(bytes) = worker.conditions.memory_bytes {
        tracing::info!("address space of each compiler process: {} MB", bytes >> 20);
    }
    tracing::info!("{} slots, for {}", worker.slots.count(), allow.join(" "));
    for listener in listeners {
        tracing::info!("listening on {}", listener.local_addr()?);
    }
    Ok(())
}

/// Accepts until a signal comes.
fn accept_until_told(
    worker: &Arc<Worker>,
    listeners: &[TcpListener],
    signals: &OwnedFd,
) -> io::Result<()> {
    loop {
        let mut descriptors = vec![PollFd::new(signals, PollFlags::IN)];
        descriptors.extend(listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)));
        match poll(&mut descriptors, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let happened: Vec<bool> =
            descriptors.iter().map(|descriptor| !descriptor.revents().is_empty()).collect();
        if happened[0] {
            return Ok(());
        }
        for (listener, ready) in listeners.iter().zip(&happened[1..]) {
            let mut accepted = 0;
            while *ready && accepted < ACCEPTED_MAX && accept(worker, listener) {
                accepted += 1;
            }
        }
    }
}

/// Whether there was one.
fn accept(worker: &Arc<Worker>, listener: &TcpListener) -> bool {
    match listener.accept() {
        Ok((stream, peer)) => {
            admit(worker, stream, peer);
            true
        }
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => false,
            io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => true,
            _ => {
                tracing::error!("cannot accept a connection: {error}");
                std::thread::sleep(ACCEPT_PAUSE);
                false
            }
        },
    }
}

/// Serves the connection in a thread of its own, where its address may connect.
fn admit(worker: &Arc<Worker>, stream: TcpStream, peer: SocketAddr) {
    if !worker.allow.iter().any(|network| network.contains(peer.ip())) {
        worker.metrics.count(Outcome::Denied);
        tracing::warn!("{peer} {}", Outcome::Denied.name());
        return;
    }
    let stream = Arc::new(stream);
    let Some(place) = worker.crowd.enter(&stream, peer.ip()) else {
        worker.metrics.count(Outcome::TurnedAway);
        tracing::warn!("{peer} {}: too many connections", Outcome::TurnedAway.name());
        return;
    };
    let worker = Arc::clone(worker);
    let place = Arc::new(place);
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let spawned = thread.spawn(move || {
        connection::serve(&worker, &stream, peer, &place);
        // Before it is closed, nobody knows that there is room again.
        drop(stream);
        drop(worker);
        drop(place);
    });
    if let Err(error) = spawned {
        tracing::error!("no thread for {peer}: {error}");
    }
}

/// Lets running compiles come to their end; a second signal, or the time-out, ends them.
fn drain(worker: &Worker, signals: &OwnedFd) -> io::Result<()> {
    let _ = rustix::io::read(signals, &mut [0; size_of::<libc::signalfd_siginfo>()]);
    worker.draining.store(true, Ordering::SeqCst);
    raise(&worker.draining_event);
    if let Ok(door) = worker.door() {
        door.close();
    }
    let (running, queued) = worker.slots.load();
    tracing::info!("draining: {running} compiles run, {queued} wait");
    if !wait_for_end(worker, Some(signals), worker.options.drain_timeout)? {
        tracing::warn!("ending the compiles that still run");
        raise(&worker.ending_event);
        wait_for_end(worker, None, END_MAX)?;
    }
    worker.scratch.remove();
    tracing::info!("ended");
    Ok(())
}

/// Whether no connection is left before the time is over, or a signal comes.
fn wait_for_end(worker: &Worker, signals: Option<&OwnedFd>, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    while worker.crowd.count() > 0 {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut descriptors = vec![PollFd::new(&worker.crowd.changed, PollFlags::IN)];
        descriptors.extend(signals.map(|signals| PollFd::new(signals, PollFlags::IN)));
        match poll(&mut descriptors, Some(&timespec(left))) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let told = descriptors.get(1).is_some_and(|signals| !signals.revents().is_empty());
        if told {
            return Ok(false);
        }
        let _ = rustix::io::read(&worker.crowd.changed, &mut [0; 8]);
    }
    Ok(true)
}
