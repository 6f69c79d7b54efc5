//! `kill -9` of the daemon at any moment of a build: the build succeeds and the store stays sound.

use crate::generated::c_project;
use crate::support::{
    Cache, Call, LIMIT_BUILD, Outcome, Project, Random, Tree, kill, rcache_binary, run, start,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Units of the project.
const UNITS: usize = 48;
/// Builds with murders in them.
const ROUNDS: usize = 3;
/// The longest the daemon is left alone, in milliseconds.
const PEACE_MILLISECONDS_MAX: u64 = 400;

fn make(compiler: &str) -> Call {
    Call::of(["make", "-s", "-j8", &format!("CC={compiler}")])
}

fn fresh(project: &Project) {
    Tree::default().restore(project.root());
    c_project(project, UNITS);
}

/// Builds while another thread kills every daemon of the cache at random moments.
fn build_under_fire(project: &Project, cache: &Cache, random: &mut Random) -> (Outcome, usize) {
    let call = make(&format!("{} gcc", rcache_binary().display()));
    let pauses: Vec<u64> = (0..1000).map(|_| random.below(PEACE_MILLISECONDS_MAX)).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut killed = 0;
            for pause in pauses {
                std::thread::sleep(Duration::from_millis(pause));
                if done.load(Ordering::Relaxed) {
                    break;
                }
                for daemon in cache.daemons() {
                    kill(daemon);
                    killed += 1;
                }
            }
            killed
        });
        let outcome = start(&mut cache.command_bare(project, &call)).finish(LIMIT_BUILD);
        done.store(true, Ordering::Relaxed);
        (outcome, killed(killer))
    })
}

fn killed(thread: std::thread::ScopedJoinHandle<'_, usize>) -> usize {
    thread.join().expect("the killing thread")
}

#[test]
fn daemon_killed_at_random_moments_of_a_build() {
    let mut random = Random::announced("daemon_killed_at_random_moments_of_a_build");
    let (project, cache) = (Project::new(&[]), Cache::new());
    fresh(&project);
    let plain = run(&mut project.command_for(&make("gcc"), &[]), LIMIT_BUILD).success();
    let reference = Tree::read(project.root());
    let mut total = 0;
    for round in 0..ROUNDS {
        fresh(&project);
        let (outcome, killed) = build_under_fire(&project, &cache, &mut random);
        assert!(outcome.ok(), "round {round}, {killed} killed: {outcome:?}");
        assert_eq!(outcome.stderr, plain.stderr, "round {round}");
        let differences = reference.differences(&Tree::read(project.root()));
        assert!(differences.is_empty(), "round {round}, {killed} killed: {differences:#?}");
        total += killed;
    }
    assert!(total > 0, "the builds were over before a daemon could be killed");
    let call = make(&format!("{} gcc", rcache_binary().display()));
    for calm in ["first", "second"] {
        fresh(&project);
        cache.rcache("zero").success();
        run(&mut cache.command_bare(&project, &call), LIMIT_BUILD).success();
        let differences = reference.differences(&Tree::read(project.root()));
        assert!(differences.is_empty(), "{calm} calm build: {differences:#?}");
    }
    let stats = cache.stats();
    assert_eq!(stats.get("direct_cache_hit"), UNITS as u64, "{stats:?}");
    println!("{total} daemons were killed in {ROUNDS} builds");
}
