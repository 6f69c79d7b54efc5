//! How the store fares with many entries: `cargo bench --bench store -- [ENTRIES]`.
//!
//! Prints the time to open it and to look up keys that are there and that are not, what eviction
//! and clearing take, and the memory that is in use.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use cache::entry::{Entry, PartKind};
use cache::store::{EntryKind, Limits, SaveOptions, Store};
use compiler::hasher::Digest;

const ENTRIES: u64 = 100_000;
const LOOKUPS: u64 = 20_000;
const OBJECT_SIZE_BYTES: usize = 300_000;
const LARGE_LOADS: usize = 200;
/// As the daemon would: entries saved between two flushes.
const SAVES_PER_FLUSH: u64 = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo bench` adds an option of its own.
    let entries = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let entries = entries.unwrap_or(ENTRIES);
    let folder = tempfile::tempdir()?;
    println!("{entries} entries in {}", folder.path().display());
    println!("memory at the start   {:>10}", memory()?);

    let store = Store::open(folder.path())?;
    let (filled, ()) = timed(|| fill(&store, entries))?;
    println!("save, each            {:>10.1?}", filled / entries as u32);
    println!("memory after filling  {:>10}", memory()?);
    drop(store);

    let (opened, store) = timed(|| Ok(Store::open(folder.path())?))?;
    println!("open                  {opened:>10.1?}");
    let (counted, totals) = timed(|| Ok(black_box(store.totals())))?;
    println!("totals                {counted:>10.1?}   {totals:?}");
    lookups("lookup, present", &store, entries, 0)?;
    lookups("lookup, absent", &store, entries, entries)?;
    let (flushed, ()) = timed(|| Ok(store.flush(SystemTime::now())?))?;
    println!("flush {LOOKUPS} uses     {flushed:>10.1?}");
    println!("memory after lookups  {:>10}", memory()?);

    large_object(&store)?;

    let limits = Limits { max_files: entries - 1, max_size_bytes: 0 };
    let (evicted, report) = timed(|| Ok(store.evict(limits, SystemTime::now())?))?;
    println!("evict {:<8}        {evicted:>10.1?}", report.entries);
    let (cleared, ()) = timed(|| Ok(store.clear()?))?;
    println!("clear                 {cleared:>10.1?}   {:?}", store.totals());
    let mut steps = Vec::new();
    while {
        let (step, more) = timed(|| Ok(store.sweep()))?;
        steps.push(step);
        more
    } {}
    let longest = steps.iter().max().copied().unwrap_or_default();
    println!(
        "sweep                 {:>10.1?}   {} steps, longest {longest:.1?}",
        steps.iter().sum::<Duration>(),
        steps.len()
    );
    println!("memory at the end     {:>10}", memory()?);
    Ok(())
}

fn fill(store: &Store, entries: u64) -> Result<(), Box<dyn Error>> {
    let options = SaveOptions {
        compression: Some(1),
        compile_time: Duration::from_millis(500),
        kind: EntryKind::Result,
    };
    for number in 0..entries {
        let mut entry = Entry::default();
        entry.push(PartKind::Object, number.to_le_bytes().repeat(64));
        store.save(key(number), &entry, options)?;
        if number % SAVES_PER_FLUSH == 0 {
            store.flush(SystemTime::now())?;
        }
    }
    Ok(store.flush(SystemTime::now())?)
}

/// Looks up random keys among `entries` ones from `first` on.
fn lookups(what: &str, store: &Store, entries: u64, first: u64) -> Result<(), Box<dyn Error>> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut times = Vec::new();
    for _ in 0..LOOKUPS {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let key = key(first + (state >> 33) % entries);
        let (time, found) = timed(|| Ok(store.load(key).is_some()))?;
        assert_eq!(found, first == 0, "{what}: {key}");
        times.push(time);
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{what:<21} {:>10.1?} p50, {:.1?} p99, {:.1?} at most", at(50), at(99), at(100));
    Ok(())
}

/// Saves and loads an object of ordinary size, made of this program's own code.
fn large_object(store: &Store) -> Result<(), Box<dyn Error>> {
    let mut code = std::fs::read(std::env::current_exe()?)?;
    code.drain(..code.len() / 2);
    code.truncate(OBJECT_SIZE_BYTES);
    let mut entry = Entry::default();
    entry.push(PartKind::Object, code);
    for (what, compression) in [("compressed", Some(1)), ("as it is", None)] {
        let options =
            SaveOptions { compression, compile_time: Duration::ZERO, kind: EntryKind::Result };
        let key = Digest::of(what.as_bytes());
        let (saved, ()) = timed(|| Ok(store.save(key, &entry, options)?))?;
        let mut times = Vec::new();
        for _ in 0..LARGE_LOADS {
            times.push(timed(|| Ok(black_box(store.load(key))))?.0);
        }
        times.sort_unstable();
        let median = times[LARGE_LOADS / 2];
        println!("{OBJECT_SIZE_BYTES} bytes, {what:<10} {saved:.1?} save, {median:.1?} load p50");
    }
    Ok(())
}

fn key(number: u64) -> Digest {
    Digest::of(&number.to_le_bytes())
}

fn timed<T>(
    work: impl FnOnce() -> Result<T, Box<dyn Error>>,
) -> Result<(Duration, T), Box<dyn Error>> {
    let start = Instant::now();
    let done = work()?;
    Ok((start.elapsed(), done))
}

/// The resident memory of this process, as the kernel prints it.
fn memory() -> Result<String, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.ok_or("no VmRSS in /proc/self/status")?.trim().to_owned())
}
