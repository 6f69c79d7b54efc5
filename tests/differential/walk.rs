//! `Walk`: one seed's way through edits, calls, returns to earlier states, and accidents.

use crate::calls::{Call, Compiler, Plan};
use crate::edits::edited;
use crate::project::{FIRST_TIME_NS, tree};
use crate::random::Random;
use crate::reproduce::reproduce;
use crate::setting::Setting;
use crate::stage::{Stage, Verdict};
use crate::subject::{HITS, Program};
use crate::tree::{JUST_NOW, Node, Tree, times_matter};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::Child;
use std::time::{Duration, Instant};

/// How long the daemon may take to count a call that has ended.
const COUNT_LIMIT: Duration = Duration::from_secs(5);

/// A call that ended too early may leave a write under way for that long.
const AFTER_END: Duration = Duration::from_millis(50);

/// How long what such a call started may take to end as well; dead ones that nobody collects count on.
const GROUP_LIMIT: Duration = Duration::from_secs(1);

/// Earlier states that may come back.
const STATES_MAX: usize = 60;

/// What a run found.
#[derive(Debug, Default)]
pub struct Figures {
    /// Calls compared.
    pub steps: u64,
    /// Compiled by a host, as far as the daemons that were asked know.
    pub elsewhere: u64,
    /// Of them, calls that the compiler refused.
    pub failed: u64,
    /// Calls whose results the compiler itself does not repeat.
    pub unstable: u64,
    /// How often calls were started in each way.
    pub settings: BTreeMap<String, u64>,
    /// Where calls ended.
    pub endings: BTreeMap<String, u64>,
    /// Steps back to a state of which there was a result.
    pub opportunities: u64,
    /// Of them, steps that were served.
    pub hits: u64,
    /// Where the others ended.
    pub missed: BTreeMap<String, u64>,
    /// The first missed ones.
    pub missed_examples: Vec<String>,
    /// The first call that ended in each way.
    pub examples: BTreeMap<String, String>,
    /// One script for each difference.
    pub differences: Vec<String>,
}

impl Figures {
    /// Adds another run's.
    pub fn add(&mut self, other: Figures) {
        self.steps += other.steps;
        self.elsewhere += other.elsewhere;
        self.failed += other.failed;
        self.unstable += other.unstable;
        self.opportunities += other.opportunities;
        self.hits += other.hits;
        for (name, count) in other.settings {
            *self.settings.entry(name).or_default() += count;
        }
        for (name, count) in other.endings {
            *self.endings.entry(name).or_default() += count;
        }
        for (name, count) in other.missed {
            *self.missed.entry(name).or_default() += count;
        }
        for (name, example) in other.examples {
            self.examples.entry(name).or_insert(example);
        }
        self.missed_examples.extend(other.missed_examples);
        self.differences.extend(other.differences);
    }
}

/// A state of everything that a compile depends on.
#[derive(Clone)]
struct State {
    tree: Tree,
    plan: Plan,
}

/// One seed's walk.
pub struct Walk {
    seed: u64,
    compiler: Compiler,
    random: Random,
    stage: Stage,
    state: State,
    states: Vec<State>,
    /// What was run, in order, since the cache was last empty.
    history: Vec<(Tree, Call)>,
    /// How each state ended when it was last seen.
    known: HashMap<u64, String>,
    /// The counters after the last call; `None` where they cannot be relied on.
    endings: Option<BTreeMap<String, u64>>,
    /// The last step took words from the table.
    drew: bool,
    /// The last step went to a new state.
    fresh: bool,
    /// The last call ended as one that is cached.
    cached: bool,
    clock_ns: u64,
    accidents: bool,
    /// A launcher that does not go on.
    stopped: Option<Child>,
    /// What was found.
    pub figures: Figures,
}

impl Walk {
    /// Makes the project; no call is made yet.
    pub fn new(seed: u64, compiler: Compiler, hosts: Option<&str>, accidents: bool) -> Walk {
        let mut random = Random::new(seed);
        let mut stage = Stage::new(hosts);
        let state = State { tree: tree(&mut random), plan: Plan::new(compiler, &mut random) };
        stage.show(&state.tree, random.next());
        Walk {
            seed,
            compiler,
            random,
            stage,
            states: vec![state.clone()],
            state,
            history: Vec::new(),
            known: HashMap::new(),
            endings: None,
            drew: false,
            fresh: false,
            cached: true,
            clock_ns: FIRST_TIME_NS,
            accidents,
            stopped: None,
            figures: Figures::default(),
        }
    }

    /// Makes up to `count` steps; stops at the first difference.
    pub fn run(&mut self, count: u64, deadline: Option<Instant>) {
        for _ in 0..count {
            if deadline.is_some_and(|deadline| Instant::now() > deadline) || !self.step() {
                break;
            }
        }
        self.figures.elsewhere = self.stage.subject.elsewhere();
    }

    /// One step; `false` after a difference.
    fn step(&mut self) -> bool {
        self.advance();
        let tree = self.state.tree.clone();
        self.stage.show(&tree, self.random.next());
        if self.random.chance(5) {
            self.stage.clean();
        }
        if self.accidents && self.random.chance(3) {
            self.accident();
        }
        let call = self.state.plan.call();
        self.history.push((tree, call.clone()));
        self.figures.steps += 1;
        let verdict = self.stage.judge(&call);
        self.end_stopped();
        match verdict {
            Verdict::Same { succeeded } => {
                self.figures.failed += u64::from(!succeeded);
                *self.figures.settings.entry(format!("{:?}", call.setting)).or_default() += 1;
                if call.setting.is_elsewhere() {
                    self.endings = None;
                } else {
                    self.count(&call);
                }
                self.judge_state(succeeded);
                true
            }
            Verdict::Unstable => {
                self.figures.unstable += 1;
                self.example("unstable", &call);
                self.endings = None;
                true
            }
            Verdict::Differs(what) => {
                let found = reproduce(&self.history, self.stage.subject.hosts());
                self.figures.differences.push(format!(
                    "# seed {} step {}\n{}\n{found}",
                    self.seed,
                    self.figures.steps,
                    what.lines().map(|line| format!("# {line}\n")).collect::<String>()
                ));
                false
            }
        }
    }

    /// States in which the compiler fails, or rcache does not cache, are worth few visits.
    fn judge_state(&mut self, succeeded: bool) {
        if !succeeded && self.drew {
            self.state.plan = self.state.plan.without_drawn();
        }
        let cached = self.cached;
        if !cached && self.states.len() < 3 {
            self.state.plan = Plan::new(self.compiler, &mut self.random);
            return;
        }
        if (!succeeded && self.random.chance(70)) || (!cached && self.random.chance(50)) {
            self.state = self.random.pick(&self.states).clone();
        } else if self.fresh {
            if self.states.len() >= STATES_MAX {
                let at = self.random.below(self.states.len());
                self.states.swap_remove(at);
            }
            self.states.push(self.state.clone());
        }
    }

    /// Goes to the next state: a new one, an old one, or a mixture.
    fn advance(&mut self) {
        let random = &mut self.random;
        self.clock_ns += 1_000_000_007;
        let earlier = random.pick(&self.states).clone();
        self.drew = false;
        self.fresh = false;
        match random.below(100) {
            0..=34 => self.state = earlier,
            35..=42 => self.state.plan = earlier.plan,
            43..=48 => self.state.tree = earlier.tree,
            other => {
                if other < 82 {
                    self.state.tree = edited(&self.state.tree, self.clock_ns, random);
                }
                if other >= 70 {
                    self.state.plan = self.state.plan.changed(random);
                    self.drew = true;
                }
                self.fresh = true;
            }
        }
    }

    /// Something happens to the daemon or the store.
    fn accident(&mut self) {
        if self.stage.subject.program != Program::Rcache {
            return;
        }
        match self.random.below(9) {
            6..=8 => self.interrupt(),
            0 => self.stage.subject.kill(),
            1 => self.stage.subject.stop(),
            2 => {
                let call = self.state.plan.call();
                let mut child = self.stage.start_cached(&call);
                std::thread::sleep(Duration::from_millis(self.random.below(30) as u64));
                self.stage.subject.kill();
                child.wait().expect("the launcher");
                self.stage.clean();
            }
            3 => {
                // The folder may be written to meanwhile: what stays is damage as well.
                let _ = std::fs::remove_dir_all(self.stage.subject.cache_folder());
            }
            _ => self.damage(),
        }
        self.known.clear();
        self.endings = None;
    }

    /// A call ends before its work is done, or is stopped until the next step is over.
    fn interrupt(&mut self) {
        let call = Call { setting: Setting::Plain, ..self.state.plan.call() };
        let mut child = self.stage.start_cached(&call);
        let all = [Signal::INT, Signal::TERM, Signal::KILL, Signal::STOP];
        let signal = *self.random.pick(&all);
        let moment_ms = self.random.below(40) as u64;
        std::thread::sleep(Duration::from_millis(moment_ms));
        let group = Pid::from_child(&child);
        // It may have ended by itself.
        let _ = kill_process_group(group, signal);
        if signal == Signal::STOP {
            self.stopped = Some(child);
        } else {
            child.wait().expect("the launcher");
            let start = Instant::now();
            while test_kill_process_group(group).is_ok() && start.elapsed() < GROUP_LIMIT {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        std::thread::sleep(AFTER_END);
        self.stage.clean();
    }

    /// Ends a launcher that was stopped.
    fn end_stopped(&mut self) {
        let Some(mut child) = self.stopped.take() else { return };
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        child.wait().expect("the launcher");
    }

    fn damage(&mut self) {
        let files = self.stage.subject.stored_files();
        let results: Vec<_> = files
            .into_iter()
            .filter(|path| path.components().any(|c| c.as_os_str() == "store"))
            .collect();
        let Some(path) = self.random.pick_any(&results) else { return };
        let Ok(mut bytes) = std::fs::read(path) else { return };
        if bytes.is_empty() {
            return;
        }
        let at = self.random.below(bytes.len());
        match self.random.below(3) {
            0 => bytes.truncate(at),
            _ => bytes[at] ^= 1 << self.random.below(8),
        }
        let _ = std::fs::write(path, bytes);
    }

    /// Learns how the call ended, and whether it should have been served.
    fn count(&mut self, call: &Call) {
        let Some(before) = self.endings.take() else {
            self.endings = self.settled_endings(None);
            return;
        };
        let Some(after) = self.settled_endings(Some(&before)) else { return };
        let rose = after.iter().filter(|(name, count)| before.get(*name) != Some(*count));
        let ending: Vec<String> = rose.map(|(name, _)| name.clone()).collect();
        let ending = ending.join(" ");
        self.endings = Some(after);
        *self.figures.endings.entry(ending.clone()).or_default() += 1;
        self.example(&ending, call);
        let cacheable = |ending: &str| HITS.contains(&ending) || ending == "cache_miss";
        self.cached = cacheable(&ending);
        let identity = identity(&self.state.tree, call);
        if self.stage.has_precompiled() || self.has_time(call) {
            return;
        }
        if self.known.get(&identity).is_some_and(|known| cacheable(known)) {
            self.figures.opportunities += 1;
            if HITS.contains(&ending.as_str()) {
                self.figures.hits += 1;
            } else {
                *self.figures.missed.entry(ending.clone()).or_default() += 1;
                let what = format!("{} -> {ending}", self.known[&identity]);
                let example = self.described(&what, call);
                self.figures.missed_examples.push(example);
            }
        }
        self.known.insert(identity, ending);
    }

    fn described(&self, what: &str, call: &Call) -> String {
        let words: Vec<&str> = call.words().map(String::as_str).collect();
        let Call { driver, folder, variables, umask, setting, .. } = call;
        format!(
            "seed {} step {}: {what}: {driver} {} in {folder} with {variables:?} {umask:o} {setting:?}",
            self.seed,
            self.figures.steps,
            words.join(" ")
        )
    }

    fn example(&mut self, what: &str, call: &Call) {
        if !self.figures.examples.contains_key(what) {
            let example = self.described(what, call);
            self.figures.examples.insert(what.to_owned(), example);
        }
    }

    /// Whether a result may rightly have aged.
    fn has_time(&self, call: &Call) -> bool {
        let is_fresh = |node: &Node| matches!(node, Node::File { modified_ns: JUST_NOW, .. });
        if times_matter(&self.state.tree) && self.state.tree.values().any(is_fresh) {
            return true;
        }
        let has = |text: &str| text.contains("__TIME__");
        call.words().any(|word| has(word))
            || self.state.tree.values().any(|node| match node {
                Node::File { bytes, .. } => has(&String::from_utf8_lossy(bytes)),
                _ => false,
            })
    }

    /// The counters once the last call is among them.
    fn settled_endings(
        &self,
        before: Option<&BTreeMap<String, u64>>,
    ) -> Option<BTreeMap<String, u64>> {
        let total = |endings: &BTreeMap<String, u64>| endings.values().sum::<u64>();
        let start = Instant::now();
        if before.is_none() {
            std::thread::sleep(Duration::from_millis(50));
        }
        loop {
            let now = self.stage.subject.endings()?;
            let Some(before) = before else { return Some(now) };
            // ccache counts before it ends, and not every call.
            if self.stage.subject.program != Program::Rcache || total(&now) > total(before) {
                return Some(now);
            }
            if start.elapsed() > COUNT_LIMIT {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What stands for a state: without times, where they cannot matter.
fn identity(tree: &Tree, call: &Call) -> u64 {
    let mut hasher = DefaultHasher::new();
    call.hash(&mut hasher);
    let times = times_matter(tree);
    for (path, node) in tree {
        path.hash(&mut hasher);
        match node {
            Node::File { bytes, modified_ns } => {
                bytes.hash(&mut hasher);
                if times {
                    modified_ns.hash(&mut hasher);
                }
            }
            other => other.hash(&mut hasher),
        }
    }
    hasher.finish()
}
