//! The daemon on a full store: `cargo bench --bench daemon -- [ENTRIES]`.
//!
//! Prints how long it takes to answer calls that hit and that miss, what the subcommands take, and
//! the memory that it holds afterwards.

mod rivals;

use cache::entry::{Entry, PartKind};
use cache::store::{EntryKind, SaveOptions, Store};
use compiler::hasher::Digest;
use rivals::{Arena, Failure, Kind, Rival};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use talk::launcher_protocol::{
    BUILD, Caller, Terminal, ToDaemon, ToLauncher, read_frame, write_frame,
};

const ENTRIES: usize = 100_000;
const HITS: usize = 20_000;
const SUBCOMMAND_ROUNDS: usize = 20;
/// As the daemon would: entries saved between two flushes.
const SAVES_PER_FLUSH: usize = 2_000;
const COMPILER: &str = "/usr/bin/g++";
const WORDS: [&str; 10] = [
    "-O2",
    "-Iinclude",
    "-Ithird_party",
    "-MD",
    "-MF",
    "unit.o.d",
    "-c",
    "medium.cpp",
    "-o",
    "unit.o",
];

fn main() -> Result<(), Failure> {
    let entries = rivals::number_given(0).unwrap_or(ENTRIES);
    let arena = Arena::new()?;
    let folder = arena.path().join("sources");
    let written = SystemTime::now();
    std::fs::create_dir(&folder)?;
    rivals::sources::write_units(&folder)?;
    let rivals = arena.rivals(&[Kind::Rcache])?;
    let rcache = rivals.first().ok_or("no rcache")?;
    fill(&rcache.cache(), entries)?;
    rivals::sources::settle(written);

    let (started, ()) = timed(|| rcache.start())?;
    println!("{entries} entries");
    println!("daemon start          {started:>10.1?}");
    print_memory("after its start", rcache)?;
    let line = Line::to(rcache, &folder)?;
    // The first call lets the launcher probe the compiler.
    let words: Vec<&str> = [COMPILER].into_iter().chain(WORDS).collect();
    for _ in 0..3 {
        rivals::timed(rcache.command(&words).current_dir(&folder))?;
    }
    calls("hit, without launcher", HITS, |_| match line.call(&WORDS)? {
        ToLauncher::Finished { status: 0, .. } => Ok(()),
        other => Err(format!("no hit: {other:?}").into()),
    })?;
    print_memory("after the hits", rcache)?;
    calls("miss, to its answer", entries, |number| {
        let definition = format!("-DNUMBER={number}");
        let words: Vec<&str> = [definition.as_str()].into_iter().chain(WORDS).collect();
        match line.call(&words)? {
            ToLauncher::Run(_) => Ok(()),
            other => Err(format!("no miss: {other:?}").into()),
        }
    })?;
    print_memory("after the misses", rcache)?;
    for words in [&["stats"][..], &["stats", "--json"], &["trim", "--older-than", "1000d"]] {
        let mut times = Vec::new();
        for _ in 0..SUBCOMMAND_ROUNDS {
            times.push(timed(|| rcache.ask(words).map(drop))?.0);
        }
        print_times(&format!("rcache {}", words.join(" ")), times);
    }
    print_times("rcache clear", vec![timed(|| rcache.ask(&["clear"]).map(drop))?.0]);
    print_memory("after clear", rcache)
}

/// What a launcher says to the daemon, without the launcher.
struct Line {
    socket: PathBuf,
    caller: Caller,
}

impl Line {
    fn to(rcache: &Rival, folder: &Path) -> Result<Line, Failure> {
        let variables = rcache.variables();
        let environment: Vec<(OsString, OsString)> = std::env::vars_os()
            .filter(|(name, _)| variables.iter().all(|(own, _)| name != own))
            .chain(variables.iter().map(|(name, value)| (name.into(), value.clone())))
            .collect();
        let own = std::fs::metadata(folder)?;
        let variable = |name: &str| {
            environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        };
        let folder = config::paths::make_runtime_folder(&variable, own.uid())?;
        let view = talk::place::view()?;
        let name = config::paths::socket_name(BUILD, &variable, view.place(0));
        let socket = folder.join(name);
        let umask = rustix::process::umask(rustix::fs::Mode::empty());
        rustix::process::umask(umask);
        let caller = Caller {
            build: BUILD.to_owned(),
            umask: umask.bits(),
            proof: talk::place::proof(talk::place::peer(UnixStream::connect(&socket)?.as_fd())?)?,
            view,
            niceness: talk::place::niceness(),
            working_directory_id: (own.dev(), own.ino()),
            working_directory: folder.to_owned(),
            environment,
        };
        Ok(Line { socket, caller })
    }

    /// The first answer to a call; the connection is closed then.
    fn call(&self, words: &[&str]) -> Result<ToLauncher, Failure> {
        let request = ToDaemon::Compile {
            caller: self.caller.clone(),
            terminal: Terminal::default(),
            compiler: COMPILER.into(),
            arguments: words.iter().map(OsString::from).collect(),
        };
        let mut stream = UnixStream::connect(&self.socket)?;
        write_frame(&mut stream, &request.encode())?;
        Ok(ToLauncher::decode(&read_frame(&mut stream)?)?)
    }
}

fn fill(folder: &Path, entries: usize) -> Result<(), Failure> {
    let store = Store::open(folder)?;
    let options = SaveOptions {
        compression: Some(1),
        compile_time: Duration::from_millis(500),
        kind: EntryKind::Result,
    };
    for number in 0..entries {
        let mut entry = Entry::default();
        entry.push(PartKind::Object, number.to_le_bytes().repeat(64));
        store.save(Digest::of(&number.to_le_bytes()), &entry, options)?;
        if number % SAVES_PER_FLUSH == 0 {
            store.flush(SystemTime::now())?;
        }
    }
    Ok(store.flush(SystemTime::now())?)
}

fn calls(
    what: &str,
    count: usize,
    mut call: impl FnMut(usize) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        times.push(timed(|| call(number))?.0);
    }
    print_times(what, times);
    Ok(())
}

fn print_times(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{what:<29} {:>10.1?} p50, {:.1?} p99, {:.1?} at most", at(50), at(99), at(100));
}

fn timed<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<(Duration, T), Failure> {
    let start = Instant::now();
    let done = work()?;
    Ok((start.elapsed(), done))
}

/// What the kernel says of the daemon: resident now, resident at most, and how many threads.
fn print_memory(when: &str, rcache: &Rival) -> Result<(), Failure> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", rcache.daemon()?))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    println!(
        "memory {when:<18} {} (at most {}), {} threads",
        field("VmRSS:"),
        field("VmHWM:"),
        field("Threads:")
    );
    Ok(())
}
