//! The differential tester: random small projects, random changes to files, options, variables and
//! the daemon; after each, the compiler alone and the compiler through rcache must agree on status,
//! output and every file.
//!
//! A plain `cargo test --test differential` walks a few fixed seeds. Longer runs, by variables:
//!
//! | variable | meaning |
//! |---|---|
//! | `RCACHE_DIFFERENTIAL_SEED` | the first seed |
//! | `RCACHE_DIFFERENTIAL_WALKS` | how many seeds, counted up from it |
//! | `RCACHE_DIFFERENTIAL_STEPS` | steps for each seed |
//! | `RCACHE_DIFFERENTIAL_SECONDS` | ends the run after that time |
//! | `RCACHE_DIFFERENTIAL_COMPILER` | `gcc` or `clang` only |
//! | `RCACHE_DIFFERENTIAL_JOBS` | walks at one time |
//! | `RCACHE_DIFFERENTIAL_SUBJECT` | another compiler cache, such as `/usr/bin/ccache` |
//! | `RCACHE_DIFFERENTIAL_HOSTS` | `worker`: with a worker on loopback; else a host list |
//! | `RCACHE_DIFFERENTIAL_SHRINK_SECONDS` | how long a difference is made smaller |
//! | `RCACHE_DIFFERENTIAL_SCRIPTS` | a folder for the scripts that show differences |
//!
//! A difference ends its walk and prints a shell script that shows it with plain commands.

mod alike;
mod calls;
mod edits;
mod project;
mod random;
mod regressions;
mod reproduce;
mod setting;
mod stage;
mod subject;
mod tree;
mod walk;

use calls::Compiler;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use walk::{Figures, Walk};

/// The share of the opportunities that must be served, in percent.
const HIT_PERCENT_MIN: u64 = 95;

/// Too few opportunities to judge by.
const OPPORTUNITIES_MIN: u64 = 100;

/// Missed hits that are shown.
const EXAMPLES_MAX: usize = 12;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(format!("RCACHE_DIFFERENTIAL_{name}")).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("RCACHE_DIFFERENTIAL_{name}: {value}")))
}

/// The host list of walks that need not have one.
fn hosts() -> Option<String> {
    std::env::var("RCACHE_DIFFERENTIAL_HOSTS").ok()
}

fn walk_all(compiler: Compiler, hosts: Option<&str>, walks: u64, steps: u64) {
    let name = compiler.driver(false);
    let only = std::env::var("RCACHE_DIFFERENTIAL_COMPILER").ok();
    if only.is_some_and(|only| only != name) || !is_installed(name) {
        eprintln!("{name}: left out");
        return;
    }
    let first = number("SEED").unwrap_or(1);
    let walks = number("WALKS").unwrap_or(walks);
    let steps = number("STEPS").unwrap_or(steps);
    let deadline = number("SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let next = AtomicU64::new(first);
    let all = Mutex::new(Figures::default());
    std::thread::scope(|scope| {
        for _ in 0..number("JOBS").unwrap_or(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let late = deadline.is_some_and(|deadline| Instant::now() > deadline);
                    if seed >= first + walks || late {
                        break;
                    }
                    let mut walk = Walk::new(seed, compiler, hosts, true);
                    walk.run(steps, deadline);
                    let figures = std::mem::take(&mut walk.figures);
                    write_scripts(name, seed, &figures);
                    all.lock().unwrap().add(figures);
                }
            });
        }
    });
    report(name, &all.into_inner().unwrap());
}

fn is_installed(name: &str) -> bool {
    Path::new("/usr/bin").join(name).exists() || Path::new("/usr/local/bin").join(name).exists()
}

fn write_scripts(name: &str, seed: u64, figures: &Figures) {
    let Some(folder) = std::env::var_os("RCACHE_DIFFERENTIAL_SCRIPTS") else { return };
    for (number, script) in figures.differences.iter().enumerate() {
        let path = Path::new(&folder).join(format!("{name}-{seed}-{number}.sh"));
        std::fs::write(&path, script).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    if !figures.differences.is_empty() {
        eprintln!("{name}: seed {seed}: a difference at step {}", figures.steps);
    }
}

fn report(name: &str, figures: &Figures) {
    eprintln!(
        "{name}: {} steps ({} compiled elsewhere, {} refused by the compiler, {} unstable), {} \
         differences; {} of {} chances to hit taken",
        figures.steps,
        figures.elsewhere,
        figures.failed,
        figures.unstable,
        figures.differences.len(),
        figures.hits,
        figures.opportunities
    );
    eprintln!("{name}: started as {:?}", figures.settings);
    eprintln!("{name}: ended as {:?}", figures.endings);
    eprintln!("{name}: missed {:?}", figures.missed);
    for example in figures.examples.values() {
        eprintln!("  {example}");
    }
    for example in figures.missed_examples.iter().take(EXAMPLES_MAX) {
        eprintln!("  {example}");
    }
    let scripts = figures.differences.join("\n\n");
    assert!(figures.differences.is_empty(), "{name} differs:\n{scripts}");
    let enough = figures.hits * 100 >= figures.opportunities * HIT_PERCENT_MIN;
    assert!(enough || figures.opportunities < OPPORTUNITIES_MIN, "{name}: too many missed hits");
}

#[test]
fn gcc_agrees() {
    walk_all(Compiler::Gcc, hosts().as_deref(), 4, 150);
}

#[test]
fn clang_agrees() {
    walk_all(Compiler::Clang, hosts().as_deref(), 3, 100);
}

/// The same with a host, which compiles what may leave this machine.
#[test]
fn gcc_elsewhere_agrees() {
    walk_all(Compiler::Gcc, Some(subject::WORKER), 2, 120);
}

#[test]
fn clang_elsewhere_agrees() {
    walk_all(Compiler::Clang, Some(subject::WORKER), 2, 80);
}

/// The tester can fail: it finds what ccache is known to get wrong.
#[test]
fn the_tester_finds_holes_of_ccache() {
    let ccache = Path::new("/usr/bin/ccache");
    if !ccache.exists() {
        eprintln!("ccache is not installed: left out");
        return;
    }
    let tester = std::env::current_exe().expect("the path of this program");
    let output = Command::new(tester)
        .args(["gcc_agrees", "--exact", "--nocapture"])
        .env("RCACHE_DIFFERENTIAL_SUBJECT", ccache)
        .envs([("RCACHE_DIFFERENTIAL_SEED", "1"), ("RCACHE_DIFFERENTIAL_WALKS", "3")])
        .envs([("RCACHE_DIFFERENTIAL_STEPS", "100"), ("RCACHE_DIFFERENTIAL_COMPILER", "gcc")])
        .env("RCACHE_DIFFERENTIAL_SHRINK_SECONDS", "0")
        .env_remove("RCACHE_DIFFERENTIAL_HOSTS")
        .output()
        .expect("run the tester");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "no difference in three walks:\n{text}");
    assert!(text.contains("gcc differs:"), "{text}");
}
