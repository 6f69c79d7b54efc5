//! Near the end of a build a job that is late on one host gets a second run on another one; whatever
//! then becomes of either run, the object is the compiler's and nothing is done twice here.

use crate::support::{
    Cache, Call, Exchange, FakeHost, LIMIT_CALL, NotingCompiler, Outcome, Project, Worker,
    process_group_interrupt, start, wait_until,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Far above what anything here needs.
const PATIENCE: Duration = Duration::from_secs(100);

/// Nothing here may end by itself.
const REMOTE_TIMEOUT: &str = "10m";

/// Jobs that teach the scheduler how fast a host is.
const LESSONS: u64 = 3;

/// A second run that is not to come has this long to come; on a slow machine it may need longer, and
/// then the test only shows less.
const TEMPTATION: Duration = Duration::from_secs(4);

/// In this time every job is looked after that waits for an answer.
const LOOKED_AFTER: Duration = Duration::from_secs(1);

/// What the source of the job contains that will be late, and of one that is stuck.
const LATE: &str = "int late(int n)";
const STUCK: &str = "int stuck(int n)";

/// The line that compiles `late.c`.
const CALL: &str = "gcc -O2 -Wall -MD -MF late.d -c late.c -o late.o";

/// What the hosts and the test tell each other.
#[derive(Default)]
struct Stage {
    /// The hosts that got the late job, in this order.
    arrived: Mutex<Vec<usize>>,
    /// Connections of the late job that were closed by the other side.
    left: AtomicUsize,
    /// The test has seen what it waited for.
    go_on: AtomicBool,
}

impl Stage {
    fn arrived(&self) -> Vec<usize> {
        self.arrived.lock().unwrap().clone()
    }

    fn go_on(&self) {
        self.go_on.store(true, Ordering::Relaxed);
    }

    fn wait_to_go_on(&self) {
        wait_until("the test lets it go on", PATIENCE, || self.go_on.load(Ordering::Relaxed));
    }

    /// Does nothing until the other side has left.
    fn hang(&self, exchange: &mut Exchange) {
        exchange.hang();
        self.left.fetch_add(1, Ordering::Relaxed);
    }
}

/// Two hosts, and what they do to the late job when it comes for the first and for the second time.
/// Which of them comes first depends on their speeds, so the roles go by the order.
struct Race {
    hosts: Vec<FakeHost>,
    stage: Arc<Stage>,
    project: Project,
    compiler: NotingCompiler,
    cache: Cache,
}

impl Race {
    /// With so many slots on each host; both have shown how fast they are.
    #[track_caller]
    fn new(
        slots: usize,
        first: fn(&Stage, &mut Exchange),
        second: fn(&Stage, &mut Exchange),
    ) -> Race {
        let stage = Arc::new(Stage::default());
        let host = |number| {
            let stage = Arc::clone(&stage);
            FakeHost::distccd(move |exchange| {
                let contains = |text: &str| {
                    exchange.job.source.windows(text.len()).any(|part| part == text.as_bytes())
                };
                if contains(STUCK) {
                    stage.wait_to_go_on();
                }
                if !contains(LATE) {
                    return exchange.answer();
                }
                let mut arrived = stage.arrived.lock().unwrap();
                arrived.push(number);
                let turn = arrived.len();
                drop(arrived);
                if turn == 1 { first(&stage, exchange) } else { second(&stage, exchange) }
            })
        };
        let hosts = vec![host(0), host(1)];
        let project = Project::new(&[("late.c", &format!("{LATE} {{ return n + 1; }}\n"))]);
        let compiler = NotingCompiler::new(&project);
        let list: Vec<String> = hosts.iter().map(|host| host.host(slots)).collect();
        let cache = Cache::new().with("RCACHE_HOSTS", list.join(" "));
        let log = cache.root().join("log");
        let cache = cache
            .with("RCACHE_REMOTE_TIMEOUT", REMOTE_TIMEOUT)
            .with("RCACHE_LOG_FILE", log)
            .with("RCACHE_LOG_LEVEL", "info");
        let race = Race { hosts, stage, project, compiler, cache };
        race.teach();
        race
    }

    #[track_caller]
    fn teach(&self) {
        for (number, host) in self.hosts.iter().enumerate() {
            for lesson in 0..LESSONS {
                let name = format!("quick{number}_{lesson}.c");
                self.project
                    .write(&name, format!("int quick{lesson}(int n) {{ return n + {number}; }}\n"));
                let call = self.compiler.call(&format!("gcc -O2 -c {name}"));
                let call = call.env("RCACHE_HOSTS", host.host(1));
                self.cache.compile(&self.project, call).success();
            }
        }
        assert_eq!(self.compiled(), (2 * LESSONS, 0));
    }

    /// Compiles by hosts, and here.
    fn compiled(&self) -> (u64, u64) {
        let stats = self.cache.stats();
        (stats.get("remote_compile"), stats.get("local_compile"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.cache.root().join("log")).unwrap_or_default()
    }

    /// As a person knows the host that got the late job as the first one (0) or the second one (1).
    fn label(&self, turn: usize) -> String {
        let word = self.hosts[self.stage.arrived()[turn]].host(1);
        word.trim_end_matches("/1").to_owned()
    }

    /// Compiles that the host completed and that it failed, besides the lessons.
    fn tally(&self, turn: usize) -> (u64, u64) {
        let row = self.cache.stats().0["hosts"][self.stage.arrived()[turn]].clone();
        let count = |name: &str| row[name].as_u64().unwrap();
        (count("completed") - LESSONS, count("failed"))
    }

    /// Compiles the late unit while `meanwhile` happens. What comes of it must be the compiler's, and
    /// cost one preprocessor run here.
    #[track_caller]
    fn compile(&self, meanwhile: impl FnOnce()) {
        self.project.plain(CALL).success();
        let outputs = ["late.o", "late.d"];
        let wanted = outputs.map(|name| self.project.read(name));
        outputs.iter().for_each(|name| self.project.remove(name));
        let running = start(&mut self.cache.command(&self.project, &self.compiler.call(CALL)));
        meanwhile();
        let outcome = running.finish(LIMIT_CALL);
        let silent = Outcome { status: 0, stdout: Vec::new(), stderr: Vec::new() };
        assert_eq!(outcome, silent);
        assert!(wanted == outputs.map(|name| self.project.read(name)));
        assert_eq!(self.compiled(), (2 * LESSONS + 1, 0));
        assert_eq!(self.compiler.runs("late.c"), (1, 0));
    }

    /// The second run came, on the other host, and no third one.
    #[track_caller]
    fn was_repeated(&self) {
        let arrived = self.stage.arrived();
        assert!(arrived == [0, 1] || arrived == [1, 0], "{arrived:?}");
        let log = self.log();
        assert!(log.contains(&format!("a second run on {}", self.label(1))), "{log}");
        assert_eq!(log.matches("a second run on").count(), 1, "{log}");
    }

    /// Also when the answer was there long before.
    #[track_caller]
    fn nobody_is_at_work(&self) {
        wait_until("no slot is taken", PATIENCE, || {
            let stats = self.cache.stats();
            stats.0["hosts"].as_array().unwrap().iter().all(|row| row["in_flight"] == 0)
        });
    }
}

/// The first host answers too late, or never.
#[track_caller]
fn second_run_wins(first: fn(&Stage, &mut Exchange)) {
    let race = Race::new(2, first, |_, exchange| exchange.answer());
    race.compile(|| {});
    race.was_repeated();
    race.nobody_is_at_work();
    assert_eq!((race.tally(0), race.tally(1)), ((0, 0), (1, 0)));
    // It has not come to a time-out: the first run was given up.
    wait_until("the connection is closed", PATIENCE, || {
        race.stage.left.load(Ordering::Relaxed) == 1
    });
    assert!(!race.log().contains("no answer in time"), "{}", race.log());
}

#[test]
fn a_job_that_hangs_is_answered_by_a_second_host() {
    second_run_wins(Stage::hang);
}

/// Each byte is a sign of life, but that makes an answer no sooner.
#[test]
fn a_job_whose_answer_trickles_is_answered_by_a_second_host() {
    second_run_wins(|stage, exchange| {
        let bytes = exchange.honest();
        let mut places = 0..bytes.len();
        while places.next().is_some_and(|place| exchange.send(&bytes[place..=place])) {
            std::thread::sleep(Duration::from_millis(100));
        }
        stage.left.fetch_add(1, Ordering::Relaxed);
    });
}

/// The answer of the first run is then as good as if there had been no second one.
#[track_caller]
fn second_run_fails(reason: &str, second: fn(&Stage, &mut Exchange)) {
    let first = |stage: &Stage, exchange: &mut Exchange| {
        stage.wait_to_go_on();
        exchange.answer();
    };
    let race = Race::new(2, first, second);
    race.compile(|| {
        wait_until("the second run", PATIENCE, || race.stage.arrived().len() == 2);
        wait_until("it has failed", PATIENCE, || race.tally(1) == (0, 1));
        race.stage.go_on();
    });
    race.was_repeated();
    race.nobody_is_at_work();
    assert_eq!((race.tally(0), race.tally(1)), ((1, 0), (0, 1)));
    assert!(race.log().contains(&format!("{}: {reason}", race.label(1))), "{}", race.log());
}

#[test]
fn a_second_run_that_fails_takes_nothing_from_the_first() {
    second_run_fails("closed the connection", |_, _| {});
    second_run_fails("it sent an object that is not whole", |_, exchange| {
        exchange.answer_changed(|reply| reply.output.truncate(reply.output.len() - 1));
    });
    second_run_fails("its daemon failed with 110", |_, exchange| {
        exchange.answer_changed(|reply| {
            *reply = remote::Reply { status: 110 << 8, ..Default::default() };
        });
    });
}

/// Breaks the connection when there is a second run, and notices that the other side knows it.
fn break_off(stage: &Stage, exchange: &mut Exchange) {
    wait_until("the second run", PATIENCE, || stage.arrived().len() == 2);
    exchange.stream.shutdown(std::net::Shutdown::Write).unwrap();
    stage.hang(exchange);
}

fn wait_for_the_break(stage: &Stage) {
    wait_until("the first is given up", PATIENCE, || stage.left.load(Ordering::Relaxed) == 1);
}

#[test]
fn a_second_run_saves_the_job_of_a_host_that_breaks() {
    let race = Race::new(2, break_off, |stage, exchange| {
        wait_for_the_break(stage);
        exchange.answer();
    });
    race.compile(|| {});
    race.was_repeated();
    race.nobody_is_at_work();
    assert_eq!((race.tally(0), race.tally(1)), ((0, 1), (1, 0)));
    let said = format!("{}: closed the connection", race.label(0));
    assert!(race.log().contains(&said), "{}", race.log());
}

#[test]
fn where_both_runs_fail_the_unit_is_compiled_here() {
    let race = Race::new(2, break_off, |stage, _| wait_for_the_break(stage));
    let outcome = race.cache.compile(&race.project, race.compiler.call(CALL)).success();
    assert_eq!((outcome.out(), outcome.err()), (String::new(), String::new()));
    race.was_repeated();
    assert_eq!(race.compiled(), (2 * LESSONS, 1));
    assert_eq!((race.tally(0), race.tally(1)), ((0, 1), (0, 1)));
    assert_eq!(race.compiler.runs("late.c"), (1, 1));
}

/// A slot is worth more to a job that has none.
#[test]
fn no_second_run_while_others_wait() {
    let race = Race::new(1, Stage::hang, |_, exchange| exchange.answer());
    let (project, cache) = (&race.project, &race.cache);
    project.write("patient.c", "int patient;\n");
    race.compile(|| {
        wait_until("the first run", PATIENCE, || race.stage.arrived().len() == 1);
        // It may use that host only, whose slot is taken.
        let host = race.hosts[race.stage.arrived()[0]].host(1);
        let call = race.compiler.call("gcc -c patient.c").env("RCACHE_HOSTS", host);
        let patient = start(&mut cache.command(project, &call));
        wait_until("somebody waits", PATIENCE, || {
            let answer = cache.rcache("top --json").success();
            serde_json::from_slice::<serde_json::Value>(&answer.stdout).unwrap()["waiting"] == 1
        });
        std::thread::sleep(TEMPTATION);
        assert_eq!(race.stage.arrived().len(), 1);
        process_group_interrupt(patient.pid());
        assert_ne!(patient.finish(LIMIT_CALL).status, 0);
    });
    race.was_repeated();
}

/// A job that is late all the same shows when it was time for a second run.
#[test]
fn no_second_run_on_another_compiler() {
    let other = Worker::start_with_other_compilers("");
    let race = Race::new(2, Stage::hang, |_, exchange| {
        std::thread::sleep(LOOKED_AFTER);
        exchange.answer();
    });
    let (project, cache) = (&race.project, &race.cache);
    project.write("stuck.c", format!("{STUCK} {{ return n; }}\n"));
    project.write("asking.c", "int asking;\n");
    let with_other = |line: &str, hosts: &str| {
        let hosts = format!("{hosts} {}/2", other.address);
        race.compiler.call(line).env("RCACHE_HOSTS", hosts)
    };
    cache.compile(project, with_other("gcc -c asking.c", "")).success();
    assert_eq!(race.compiled(), (2 * LESSONS, 1));
    let call: Call = with_other("gcc -c stuck.c", &race.hosts[0].host(2));
    let stuck = start(&mut cache.command(project, &call));
    wait_until("it is there", PATIENCE, || race.hosts[0].jobs() as u64 == LESSONS + 1);
    let late = start(&mut cache.command(project, &race.compiler.call(CALL)));
    assert!(late.finish(LIMIT_CALL).ok());
    race.stage.go_on();
    assert!(stuck.finish(LIMIT_CALL).ok());
    race.was_repeated();
    race.nobody_is_at_work();
    assert_eq!(race.compiled(), (2 * LESSONS + 2, 1));
}
