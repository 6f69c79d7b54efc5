//! Whole builds on clusters that exist in numbers only: how long they take with this scheduler, with
//! distcc's rule, and at best.
//!
//! A client preprocesses in order, at most [`Build::cores`] units at one time and with at most `-jN` of
//! them on their way; nothing sleeps. `cargo test -p remote simulation -- --nocapture` prints the ratios.

use super::{Candidate, Ended, Scheduler, Ticket, Verdict};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The time of a build, from its start.
type Time = Duration;

/// Never, for a build.
const NEVER: Time = Duration::from_secs(1_000_000);
/// A host that is not there says so after this.
const REFUSAL: Time = Duration::from_millis(2);
/// How often the runs at the tail are looked at, as by the fleet.
const TAIL_LOOK: Time = Duration::from_millis(250);
/// distcc looks for a free slot again after this (`DISTCC_PAUSE_TIME_MSEC`).
const DISTCC_PAUSE: Time = Duration::from_secs(1);
/// How long distcc drops a host that failed (`DISTCC_BACKOFF_PERIOD`).
const DISTCC_BACK_OFF: Time = Duration::from_secs(60);

/// One machine of the cluster.
#[derive(Clone, Copy)]
struct Node {
    slots: usize,
    speed: f64,
    /// It is there from then …
    from: Time,
    /// … until then; what it has under way is lost.
    until: Time,
}

/// One unit.
#[derive(Clone, Copy)]
struct Unit {
    preprocess: Time,
    /// On a node of speed 1.
    compile: f64,
    /// The bytes of its text, which tell its length roughly.
    cost: u64,
}

struct Build {
    nodes: Vec<Node>,
    units: Vec<Unit>,
    cores: usize,
    parallel: usize,
}

/// Numbers that look random (splitmix64), the same for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The exponential of a normal variable (Box and Muller's way).
    fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.next()).ln()).sqrt();
        median * (sigma * radius * (std::f64::consts::TAU * self.next()).cos()).exp()
    }
}

impl Build {
    /// A build with `-jN` for all slots and a few more. Compiles take about two seconds, one in a
    /// hundred several times as long; 0.06 to 0.1 s of preprocessing each.
    fn new(slots: &[usize], count: usize, cores: usize, seed: u64) -> Build {
        let mut random = Random(seed);
        let unit = |_| {
            let long = if random.next() < 0.01 { 4.0 } else { 1.0 };
            let compile = random.log_normal(2.0, 0.6).min(8.0) * long;
            let preprocess = Duration::from_secs_f64(0.06 + 0.04 * random.next());
            let cost = (compile * random.log_normal(300_000.0, 0.35)) as u64;
            Unit { preprocess, compile, cost }
        };
        let units = (0..count).map(unit).collect();
        let node =
            |slots: &usize| Node { slots: *slots, speed: 1.0, from: Time::ZERO, until: NEVER };
        let parallel = slots.iter().sum::<usize>() + cores;
        Build { nodes: slots.iter().map(node).collect(), units, cores, parallel }
    }

    /// When each unit is preprocessed at the earliest.
    fn arrivals(&self) -> Vec<Time> {
        let mut cores: BinaryHeap<Reverse<Time>> =
            (0..self.cores).map(|_| Reverse(Time::ZERO)).collect();
        let arrival = |unit: &Unit| {
            let Reverse(free) = cores.pop().expect("a core");
            cores.push(Reverse(free + unit.preprocess));
            free + unit.preprocess
        };
        self.units.iter().map(arrival).collect()
    }

    /// No scheduler is faster: not even one that cuts compiles into pieces and moves these about at
    /// will gets all work done sooner, as no more slots can be in use than units have arrived; and
    /// no unit ends sooner than alone on the fastest node.
    fn best(&self) -> f64 {
        let fastest = self.nodes.iter().map(|node| node.speed).fold(0.0, f64::max);
        let alone =
            |(unit, arrival): (&Unit, &Time)| arrival.as_secs_f64() + unit.compile / fastest;
        let mut arrivals = self.arrivals();
        let longest = self.units.iter().zip(&arrivals).map(alone).fold(0.0, f64::max);
        arrivals.sort();
        let edges = self.nodes.iter().flat_map(|node| [node.from, node.until]);
        let times: BTreeSet<Time> = arrivals.iter().copied().chain(edges).collect();
        let times: Vec<Time> = times.into_iter().collect();
        let mut left: f64 = self.units.iter().map(|unit| unit.compile).sum();
        for (start, end) in times.iter().zip(&times[1..]) {
            let arrived = arrivals.partition_point(|arrival| arrival <= start);
            let up = self.nodes.iter().filter(|node| node.from <= *start && *start < node.until);
            let mut speeds: Vec<f64> =
                up.flat_map(|node| std::iter::repeat_n(node.speed, node.slots)).collect();
            speeds.sort_by(|a, b| b.total_cmp(a));
            let speed: f64 = speeds.iter().take(arrived.min(self.parallel)).sum();
            let done = speed * (*end - *start).as_secs_f64();
            if done >= left {
                return (start.as_secs_f64() + left / speed).max(longest);
            }
            left -= done;
        }
        unreachable!("a node stays up")
    }
}

/// Who decides where a unit goes.
trait Rule {
    /// The host and the rule's own name for the run, or when to ask again.
    fn place(&mut self, unit: &Unit, waiting: usize, avoid: &[usize], now: Time) -> Place;
    fn ended(&mut self, run: u64, ended: Ended, now: Time);
    /// The runs that may be worth a second one.
    fn late(&self, _waiting: usize, _now: Time) -> Vec<u64> {
        Vec::new()
    }
    /// A second run of what a run does.
    fn repeat(&mut self, _run: u64, _now: Time) -> Option<(usize, u64)> {
        None
    }
    /// Waiters are served in order, and told of releases; else each looks by itself.
    const IN_ORDER: bool;
}

enum Place {
    Run(usize, u64),
    Wait(Option<Time>),
}

struct Ours {
    scheduler: Scheduler,
    candidates: Vec<Candidate>,
    nodes: Vec<Node>,
    start: Instant,
}

impl Ours {
    /// What goes on behind the build's back: hosts that are down refuse at once.
    fn probe(&mut self, now: Time) {
        let at = self.start + now;
        for address in self.scheduler.probes_due(usize::MAX, at) {
            let host = self.candidates.iter().position(|candidate| candidate.address == address);
            let node = host.map(|host| self.nodes[host]);
            let is_up = node.is_some_and(|node| node.from <= now && now < node.until);
            self.scheduler.probed(address, at, is_up, at);
        }
    }

    fn new(build: &Build) -> Ours {
        let address = |number: usize| SocketAddr::from(([127, 0, 1, number as u8], 3632));
        let candidate = |(number, node): (usize, &Node)| Candidate {
            address: address(number),
            slots: node.slots,
        };
        let candidates = build.nodes.iter().enumerate().map(candidate).collect();
        let start = Instant::now();
        let nodes = build.nodes.clone();
        Ours { scheduler: Scheduler::default(), candidates, nodes, start }
    }
}

impl Rule for Ours {
    const IN_ORDER: bool = true;

    fn place(&mut self, unit: &Unit, waiting: usize, avoid: &[usize], now: Time) -> Place {
        self.probe(now);
        let excluded: Vec<SocketAddr> =
            avoid.iter().map(|host| self.candidates[*host].address).collect();
        let now = self.start + now;
        match self.scheduler.pick(&self.candidates, unit.cost, &excluded, waiting, now) {
            Verdict::Run { index, ticket: Ticket(number) } => Place::Run(index, number),
            Verdict::Wait { until } => Place::Wait(until.map(|until| until - self.start)),
            Verdict::Nobody => panic!("some hosts are up"),
        }
    }

    fn ended(&mut self, run: u64, ended: Ended, now: Time) {
        self.scheduler.released(Ticket(run), ended, self.start + now);
    }

    fn late(&self, waiting: usize, now: Time) -> Vec<u64> {
        let late = self.scheduler.late(waiting, self.start + now);
        late.into_iter().map(|Ticket(number)| number).collect()
    }

    fn repeat(&mut self, run: u64, now: Time) -> Option<(usize, u64)> {
        let now = self.start + now;
        let second = self.scheduler.repeat(Ticket(run), &self.candidates, &[], now);
        second.map(|(index, Ticket(number))| (index, number))
    }
}

/// The lowest slot of the first host that has it free; a host that failed is dropped for a minute.
struct Distcc {
    /// Of each host, the run in each slot.
    slots: Vec<Vec<Option<u64>>>,
    dropped_until: Vec<Time>,
    runs: u64,
}

impl Rule for Distcc {
    const IN_ORDER: bool = false;

    fn place(&mut self, _: &Unit, _: usize, _: &[usize], now: Time) -> Place {
        let slots_max = self.slots.iter().map(Vec::len).max().unwrap_or(0);
        let places =
            (0..slots_max).flat_map(|slot| (0..self.slots.len()).map(move |host| (host, slot)));
        let free = |(host, slot): &(usize, usize)| {
            self.slots[*host].get(*slot) == Some(&None) && self.dropped_until[*host] <= now
        };
        let Some((host, slot)) = places.into_iter().find(free) else {
            return Place::Wait(Some(now + DISTCC_PAUSE));
        };
        self.runs += 1;
        self.slots[host][slot] = Some(self.runs);
        Place::Run(host, self.runs)
    }

    fn ended(&mut self, run: u64, ended: Ended, now: Time) {
        for (host, slots) in self.slots.iter_mut().enumerate() {
            if let Some(slot) = slots.iter_mut().find(|slot| **slot == Some(run)) {
                *slot = None;
                let failed = ended == Ended::HostFailed;
                self.dropped_until[host] = if failed { now + DISTCC_BACK_OFF } else { Time::ZERO };
            }
        }
    }
}

/// Knows every length, speed, death and birth, and when the build can end at best: it takes the
/// fastest free slot, and waits for a faster one where the end would be later otherwise.
struct Omniscient<'b> {
    build: &'b Build,
    end: f64,
    /// Of each host, the ends of its runs.
    ends: Vec<Vec<(u64, f64)>>,
    runs: u64,
}

impl<'b> Omniscient<'b> {
    fn new(build: &'b Build) -> Omniscient<'b> {
        let ends = vec![Vec::new(); build.nodes.len()];
        Omniscient { build, end: build.best(), ends, runs: 0 }
    }

    /// When the host has a slot at the earliest and when the unit would end there.
    fn offer(&self, unit: &Unit, host: usize, now: Time) -> (f64, f64) {
        let node = &self.build.nodes[host];
        let release = match self.ends[host].len() < node.slots {
            true => 0.0,
            false => self.ends[host].iter().map(|(_, end)| *end).fold(f64::INFINITY, f64::min),
        };
        let start = release.max(now.max(node.from).as_secs_f64());
        let end = start + unit.compile / node.speed;
        if end > node.until.as_secs_f64() { (start, f64::INFINITY) } else { (start, end) }
    }
}

impl Rule for Omniscient<'_> {
    const IN_ORDER: bool = true;

    fn place(&mut self, unit: &Unit, _: usize, _: &[usize], now: Time) -> Place {
        let offers = (0..self.ends.len()).map(|host| (host, self.offer(unit, host, now)));
        let offers: Vec<(usize, (f64, f64))> = offers.collect();
        let by_end = |a: &&(usize, (f64, f64)), b: &&(usize, (f64, f64))| a.1.1.total_cmp(&b.1.1);
        let (_, (start, earliest)) = *offers.iter().min_by(by_end).expect("a node");
        let free = offers.iter().filter(|(_, (start, _))| *start <= now.as_secs_f64());
        match free.min_by(by_end) {
            Some((host, (_, end))) if *end <= self.end.max(earliest) => {
                self.runs += 1;
                self.ends[*host].push((self.runs, *end));
                Place::Run(*host, self.runs)
            }
            _ => Place::Wait(Some(at(start).max(now + REFUSAL))),
        }
    }

    fn ended(&mut self, run: u64, _: Ended, _: Time) {
        self.ends.iter_mut().for_each(|ends| ends.retain(|(other, _)| *other != run));
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Preprocessed(usize),
    /// The run of this number ended.
    Ended(usize),
    Look,
    LookAtTail,
}

struct Run {
    unit: usize,
    host: usize,
    name: u64,
    answered: bool,
    over: bool,
}

/// A build under way.
struct Course<'b, R> {
    build: &'b Build,
    rule: R,
    now: Time,
    events: BinaryHeap<Reverse<(Time, usize, Event)>>,
    planned: usize,
    /// The times of the planned looks.
    looks: BTreeSet<Time>,
    next: usize,
    preprocessing: usize,
    on_their_way: usize,
    waiting: VecDeque<(usize, Time)>,
    runs: Vec<Run>,
    /// The runs by the names that the rule gave them.
    named: HashMap<u64, usize>,
    /// Of each unit, the runs that are not over.
    live: Vec<Vec<usize>>,
    /// Of each unit, where it failed.
    avoid: Vec<Vec<usize>>,
    left: usize,
    repeated: usize,
}

impl<R: Rule> Course<'_, R> {
    /// The time that the build takes.
    fn run(build: &Build, rule: R) -> (f64, usize) {
        let mut course = Course {
            build,
            rule,
            now: Time::ZERO,
            events: BinaryHeap::new(),
            planned: 0,
            looks: BTreeSet::new(),
            next: 0,
            preprocessing: 0,
            on_their_way: 0,
            waiting: VecDeque::new(),
            runs: Vec::new(),
            named: HashMap::new(),
            live: vec![Vec::new(); build.units.len()],
            avoid: vec![Vec::new(); build.units.len()],
            left: build.units.len(),
            repeated: 0,
        };
        course.plan(TAIL_LOOK, Event::LookAtTail);
        while course.left > 0 {
            course.preprocess();
            let Reverse((time, _, event)) = course.events.pop().expect("something goes on");
            assert!(time < NEVER, "the build never ends");
            course.now = time;
            course.happen(event);
        }
        (course.now.as_secs_f64(), course.repeated)
    }

    fn plan(&mut self, after: Time, event: Event) {
        self.planned += 1;
        self.events.push(Reverse((self.now + after, self.planned, event)));
    }

    fn preprocess(&mut self) {
        let build = self.build;
        while self.next < build.units.len()
            && self.preprocessing < build.cores
            && self.on_their_way < build.parallel
        {
            self.plan(build.units[self.next].preprocess, Event::Preprocessed(self.next));
            self.next += 1;
            self.preprocessing += 1;
            self.on_their_way += 1;
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Preprocessed(unit) => {
                self.preprocessing -= 1;
                self.waiting.push_back((unit, self.now));
                self.hand_out();
            }
            Event::Ended(run) if self.runs[run].over => {}
            Event::Ended(run) => {
                self.end(run);
                self.repeat();
                self.hand_out();
            }
            Event::Look => self.hand_out(),
            Event::LookAtTail => {
                self.repeat();
                self.plan(TAIL_LOOK, Event::LookAtTail);
            }
        }
    }

    fn end(&mut self, index: usize) {
        let Run { unit, host, name, answered, .. } = self.runs[index];
        self.runs[index].over = true;
        self.live[unit].retain(|run| *run != index);
        if !answered {
            self.rule.ended(name, Ended::HostFailed, self.now);
            self.avoid[unit].push(host);
            if self.live[unit].is_empty() {
                self.waiting.push_front((unit, self.now));
            }
            return;
        }
        self.rule.ended(name, Ended::Completed, self.now);
        for other in std::mem::take(&mut self.live[unit]) {
            self.runs[other].over = true;
            self.rule.ended(self.runs[other].name, Ended::Cancelled, self.now);
        }
        self.left -= 1;
        self.on_their_way -= 1;
    }

    fn hand_out(&mut self) {
        let mut position = 0;
        while position < self.waiting.len() {
            let (unit, look) = self.waiting[position];
            if look > self.now && !R::IN_ORDER {
                position += 1;
                continue;
            }
            let waiting = self.waiting.len();
            let place =
                self.rule.place(&self.build.units[unit], waiting, &self.avoid[unit], self.now);
            match place {
                Place::Run(host, name) => {
                    self.waiting.remove(position);
                    self.start(unit, host, name);
                }
                Place::Wait(until) => {
                    if let Some(until) = until {
                        self.waiting[position].1 = until;
                        if self.looks.insert(until) {
                            self.plan(until.saturating_sub(self.now), Event::Look);
                        }
                    }
                    if R::IN_ORDER {
                        return;
                    }
                    position += 1;
                }
            }
        }
    }

    fn start(&mut self, unit: usize, host: usize, name: u64) {
        let node = self.build.nodes[host];
        let end = self.now + Duration::from_secs_f64(self.build.units[unit].compile / node.speed);
        let up = node.from <= self.now && self.now < node.until;
        let answered = up && end <= node.until;
        let end = match (up, answered) {
            (false, _) => self.now + REFUSAL,
            (true, false) => node.until + REFUSAL,
            (true, true) => end,
        };
        self.plan(end - self.now, Event::Ended(self.runs.len()));
        self.live[unit].push(self.runs.len());
        self.named.insert(name, self.runs.len());
        self.runs.push(Run { unit, host, name, answered, over: false });
    }

    fn repeat(&mut self) {
        for name in self.rule.late(self.waiting.len(), self.now) {
            let unit = self.runs[self.named[&name]].unit;
            if self.live[unit].len() > 1 {
                continue;
            }
            if let Some((host, name)) = self.rule.repeat(name, self.now) {
                self.repeated += 1;
                self.start(unit, host, name);
            }
        }
    }
}

/// What a rule takes, in times of the scheduler that knows everything.
struct Ratios {
    ours: f64,
    distcc: f64,
}

/// The worst of several seeds.
fn worst(name: &str, make: impl Fn(u64) -> Build) -> Ratios {
    let mut worst = Ratios { ours: 0.0, distcc: 0.0 };
    for seed in 1..=SEEDS {
        let build = make(seed);
        let bound = build.best();
        let (best, _) = Course::run(&build, Omniscient::new(&build));
        assert!(best >= bound - 1e-6, "{best} {bound}");
        let (ours, repeated) = Course::run(&build, Ours::new(&build));
        let slots = build.nodes.iter().map(|node| vec![None; node.slots]).collect();
        let dropped_until = vec![Time::ZERO; build.nodes.len()];
        let (distcc, _) = Course::run(&build, Distcc { slots, dropped_until, runs: 0 });
        println!(
            "{name}, seed {seed}: {best:.1} s with all knowledge; ours {:.3} of it ({repeated} repeated), \
             distcc {:.3}; of the bound {:.3} and {:.3}",
            ours / best,
            distcc / best,
            ours / bound,
            distcc / bound
        );
        worst.ours = worst.ours.max(ours / best);
        worst.distcc = worst.distcc.max(distcc / best);
    }
    worst
}

/// Builds of each kind.
const SEEDS: u64 = 4;

/// The clusters: name, slots of the nodes, units, cores of the client.
fn clusters() -> [(&'static str, Vec<usize>, usize, usize); 5] {
    [
        ("40 slots, short build", vec![16, 12, 12], 300, 2),
        ("40 slots", vec![16, 12, 12], 1_000, 2),
        ("100 slots", vec![16, 16, 12, 12, 12, 8, 8, 8, 4, 4], 2_000, 2),
        ("400 slots", vec![20; 20], 3_000, 2),
        ("400 slots, large client", vec![20; 20], 8_000, 16),
    ]
}

fn at(seconds: f64) -> Time {
    Duration::from_secs_f64(seconds)
}

#[test]
fn equal_nodes() {
    for (name, slots, units, cores) in clusters() {
        let ratios = worst(name, |seed| Build::new(&slots, units, cores, seed));
        assert!(ratios.ours <= 1.05, "{name}: {}", ratios.ours);
    }
}

#[test]
fn one_node_five_times_slower() {
    for (name, slots, units, cores) in clusters() {
        for slow in [0, slots.len() - 1] {
            let name = format!("{name}, node {slow} five times slower");
            let ratios = worst(&name, |seed| {
                let mut build = Build::new(&slots, units, cores, seed);
                build.nodes[slow].speed = 0.2;
                build
            });
            assert!(ratios.ours <= 1.2, "{name}: {}", ratios.ours);
        }
    }
}

#[test]
fn one_node_dies() {
    for (name, slots, units, cores) in clusters() {
        let name = format!("{name}, the first node dies");
        let ratios = worst(&name, |seed| {
            let mut build = Build::new(&slots, units, cores, seed);
            build.nodes[0].until = at(build.best() / 2.0);
            build
        });
        assert!(ratios.ours <= 1.2, "{name}: {}", ratios.ours);
    }
}

#[test]
fn one_node_joins_late() {
    for (name, slots, units, cores) in clusters() {
        let name = format!("{name}, the first node joins late");
        let ratios = worst(&name, |seed| {
            let mut build = Build::new(&slots, units, cores, seed);
            build.nodes[0].from = at(build.best() / 3.0);
            build
        });
        assert!(ratios.ours <= 1.2, "{name}: {}", ratios.ours);
    }
}
