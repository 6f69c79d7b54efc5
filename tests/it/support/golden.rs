//! The golden check: through rcache, a call leaves exactly what the compiler alone leaves.

use super::{Cache, Call, LIMIT_CALL, Outcome, Project, Tree, run};
use std::path::Path;

/// What a call left: what it printed, its status, and the folder afterwards.
struct Settled {
    outcome: Outcome,
    tree: Tree,
}

/// Runs a call by the compiler alone and by rcache once, in the same folder; fails where they differ.
/// Returns how the call through rcache ended. The folder is afterwards what it was before.
#[track_caller]
pub fn check(project: &Project, cache: &Cache, call: impl Into<Call>) -> String {
    let call = call.into();
    let start = Tree::read(project.root());
    let wanted = plain(project, cache, &call, &start);
    let before = cache.stats();
    let got = through(project, cache, &call, &start);
    let ending = cache.endings_since(&before);
    compare(&wanted, &got, &[], &format!("{call:?} ({ending})"));
    ending
}

/// The golden check, cold and then warm. Returns how both calls ended.
#[track_caller]
pub fn same_as_compiler(
    project: &Project,
    cache: &Cache,
    call: impl Into<Call>,
) -> (String, String) {
    let call = call.into();
    let start = Tree::read(project.root());
    let wanted = plain(project, cache, &call, &start);
    let before = cache.stats();
    let cold = through(project, cache, &call, &start);
    let cold_ending = cache.endings_since(&before);
    let before = cache.stats();
    let warm = through(project, cache, &call, &start);
    let warm_ending = cache.endings_since(&before);
    let what = |when: &str, ending: &str| format!("{when}: {call:?} ({ending})");
    if cache.verifies() {
        let stats = cache.stats();
        assert_eq!(stats.get("verify_mismatch"), 0, "{}", what("verified", &warm_ending));
    }

    if wanted.tree.differences(&cold.tree).is_empty() {
        compare(&wanted, &cold, &[], &what("cold", &cold_ending));
        compare(&wanted, &warm, &[], &what("warm", &warm_ending));
        return (cold_ending, warm_ending);
    }
    // Some options make the compiler draw a random number; two runs of it alone show where.
    let again = plain(project, cache, &call, &start);
    let differences = wanted.tree.differences(&again.tree);
    let random: Vec<&Path> = differences.iter().map(|(name, _)| name.as_path()).collect();
    compare(&wanted, &cold, &random, &what("cold", &cold_ending));
    compare(&wanted, &warm, &random, &what("warm", &warm_ending));
    if warm_ending.contains("hit") {
        compare(&cold, &warm, &[], &what("warm against cold", &warm_ending));
    }
    (cold_ending, warm_ending)
}

/// Fails where what rcache left differs from what the compiler left; `random` files may differ.
#[track_caller]
fn compare(wanted: &Settled, got: &Settled, random: &[&Path], what: &str) {
    let same = wanted.outcome == got.outcome;
    assert!(same, "{what}\nwanted {:?}\n\ngot {:?}", wanted.outcome, got.outcome);
    let mut differences = wanted.tree.differences(&got.tree);
    differences.retain(|(name, how)| {
        !random.contains(&name.as_path())
            || !how.contains("first difference") && !how.contains("reads")
    });
    assert!(differences.is_empty(), "{what}\nfiles: {differences:#?}");
}

fn plain(project: &Project, cache: &Cache, call: &Call, start: &Tree) -> Settled {
    // The same variables and the same user, so that nothing but rcache is the difference.
    let mut command = project.command_for(call, &[]);
    cache.adopt(&mut command);
    command.envs(call.variables.iter().map(|(name, value)| (name, value)));
    settle(project, &mut command, start)
}

fn through(project: &Project, cache: &Cache, call: &Call, start: &Tree) -> Settled {
    let mut command = cache.command(project, call);
    // Before the folder changes: a hit is compiled again in the state in which it was served.
    settle_after(project, &mut command, start, || cache.settle())
}

fn settle(project: &Project, command: &mut std::process::Command, start: &Tree) -> Settled {
    settle_after(project, command, start, || ())
}

fn settle_after(
    project: &Project,
    command: &mut std::process::Command,
    start: &Tree,
    wait: impl FnOnce(),
) -> Settled {
    let outcome = run(command, LIMIT_CALL);
    wait();
    let tree = Tree::read(project.root());
    start.restore(project.root());
    Settled { outcome, tree }
}

/// A project with one call whose result must follow a change, and come back with the earlier state.
pub struct Trap {
    /// The project.
    pub project: Project,
    /// The cache.
    pub cache: Cache,
    /// The call.
    pub call: Call,
}

impl Trap {
    /// Compiles twice: a miss, then a direct hit.
    #[track_caller]
    pub fn new(files: &[(&str, &str)], call: impl Into<Call>) -> Trap {
        Trap::prepared(Project::new(files), call).sprung("direct_cache_hit")
    }

    /// As `new`, for what cannot be a direct hit: the second call must only be right.
    #[track_caller]
    pub fn undemanding(project: Project, call: impl Into<Call>) -> Trap {
        let trap = Trap::prepared(project, call);
        trap.check();
        trap.check();
        trap
    }

    /// A trap in a project that is ready; nothing is compiled yet.
    pub fn prepared(project: Project, call: impl Into<Call>) -> Trap {
        Trap { project, cache: Cache::new(), call: call.into() }
    }

    /// Compiles twice; the second call must end as `warm` says.
    #[track_caller]
    pub fn sprung(self, warm: &str) -> Trap {
        self.check();
        assert_eq!(self.check(), warm, "the second of two equal calls: {:?}", self.call);
        self
    }

    /// One golden check in the present state; returns how the call ended.
    #[track_caller]
    pub fn check(&self) -> String {
        check(&self.project, &self.cache, &self.call)
    }

    /// Changes something, and demands the compiler's own result for the new state.
    #[track_caller]
    pub fn change(&self, change: impl FnOnce(&Project)) -> String {
        change(&self.project);
        self.check()
    }

    /// Undoes the change, and demands a direct hit on the first state's result.
    #[track_caller]
    pub fn undo(&self, undo: impl FnOnce(&Project)) {
        undo(&self.project);
        assert_eq!(self.check(), "direct_cache_hit", "back in the earlier state: {:?}", self.call);
    }
}
