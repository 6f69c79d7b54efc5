//! A cold build on a simulated cluster: `cargo bench --bench cluster -- [--quick] [ROUNDS]`.
//!
//! The hosts' compiler sleeps, so two cores can play forty slots. The contestants take turns, and
//! ratios are of builds of the same round. CPU time is the client's: launchers, preprocessors and
//! the daemon; that of the hosts does not count.
//!
//! icecream is not among them: its scheduler passes over a machine whose cores are busy, and here
//! the client keeps those of all hosts busy.

mod rivals;

use rivals::hosts::{Daemon, Host, Sleeper};
use rivals::sources::OPTIONS;
use rivals::table::{self, Samples};
use rivals::{Arena, Failure, Kind, Rival};
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

const SLOTS: usize = 40;
const UNITS: usize = 60;
const ROUNDS: usize = 5;
/// How long a heavy unit is compiled.
const PACE: Duration = Duration::from_millis(2000);

/// The cluster with a slow node: light units, so that the hosts decide and not the client.
const LIGHT_UNITS: usize = 200;
const LIGHT_PACE: Duration = Duration::from_millis(3000);
const SLOW_SLOTS: usize = 8;
const SLOWER: u32 = 5;

const QUICK_UNITS: usize = 20;
const QUICK_LIGHT_UNITS: usize = 80;

/// A daemon that did nothing for this long has stored what it had to store.
const QUIET: Duration = Duration::from_millis(200);
const QUIET_LOOKS_MAX: usize = 50;

/// Of a build that fails; the rest says the same.
const ERROR_LINES_MAX: usize = 12;

const PREPROCESSOR: &str = "g++ -E";
const DISTCC: &str = "distcc";
const CHAIN: &str = "ccache + distcc";

fn main() -> Result<(), Failure> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let rounds = rivals::number_given(0).unwrap_or(if quick { 1 } else { ROUNDS });
    let arena = Arena::new()?;
    // A distccd that root starts becomes another user.
    std::fs::set_permissions(arena.path(), PermissionsExt::from_mode(0o755))?;
    let (heavy, light) = (arena.path().join("heavy"), arena.path().join("light"));
    std::fs::create_dir(&heavy)?;
    std::fs::create_dir(&light)?;
    let written = SystemTime::now();
    rivals::sources::write_heavy(&heavy, UNITS)?;
    rivals::sources::write_light(&light, LIGHT_UNITS)?;
    let heavy = Course::new(&arena, "heavy", if quick { QUICK_UNITS } else { UNITS })?;
    let light = Course::new(&arena, "light", if quick { QUICK_LIGHT_UNITS } else { LIGHT_UNITS })?;
    rivals::sources::settle(written);
    even(&arena, &heavy, rounds)?;
    one_slow(&arena, &light, rounds.div_ceil(2))
}

/// What is built.
struct Course {
    folder: PathBuf,
    units: usize,
    /// The object of each unit.
    object: PathBuf,
    /// Writes that object.
    sleeper: Sleeper,
}

impl Course {
    /// The sources in a folder of the arena: the hosts answer with what the compiler makes of the first.
    fn new(arena: &Arena, name: &str, units: usize) -> Result<Course, Failure> {
        let folder = arena.path().join(name);
        let object = real_object(&folder)?;
        let sleeper = Sleeper::build(arena, &format!("compilers-{name}"), &object)?;
        Ok(Course { folder, units, object, sleeper })
    }
}

/// Heavy units on hosts that are all alike.
fn even(arena: &Arena, course: &Course, rounds: usize) -> Result<(), Failure> {
    let path = course.sleeper.path(PACE)?;
    let start = |daemon: Daemon| {
        Host::start(daemon, SLOTS, path.clone(), &arena.path().join(format!("{daemon:?}")))
    };
    let (distccd, worker) = (start(Daemon::Distccd)?, start(Daemon::Worker)?);
    let mut clients = clients(arena, &path, &distccd.word(), &worker.word(), "heavy")?;
    let mut wall: Vec<Samples> = clients.iter().map(|client| Samples::new(client.name)).collect();
    let mut cpu: Vec<Samples> = clients.iter().map(|client| Samples::new(client.name)).collect();
    take_turns(&mut clients, course, rounds, |at, took| {
        wall[at].push(took.wall);
        cpu[at].push(took.cpu / course.units as u32);
    })?;
    let title = format!(
        "cold build of {} units, -j{SLOTS}, {SLOTS} slots, {} ms each: wall time",
        course.units,
        PACE.as_millis()
    );
    table::print(&title, &wall, DISTCC);
    for base in [PREPROCESSOR, DISTCC, CHAIN] {
        table::print(&format!("client CPU for each unit, ratios to {base}"), &cpu, base);
    }
    Ok(())
}

/// Light units on hosts of which one is slow.
fn one_slow(arena: &Arena, course: &Course, rounds: usize) -> Result<(), Failure> {
    let path = course.sleeper.path(LIGHT_PACE)?;
    let slow_path = course.sleeper.path(LIGHT_PACE * SLOWER)?;
    let start = |daemon: Daemon| -> Result<(Host, Host), Failure> {
        let folder = |speed: &str| arena.path().join(format!("{daemon:?}-{speed}"));
        let slow = Host::start(daemon, SLOW_SLOTS, slow_path.clone(), &folder("slow"))?;
        let fast = Host::start(daemon, SLOTS - SLOW_SLOTS, path.clone(), &folder("fast"))?;
        Ok((slow, fast))
    };
    let (distccds, workers) = (start(Daemon::Distccd)?, start(Daemon::Worker)?);
    let list = |hosts: &(Host, Host)| format!("{} {}", hosts.0.word(), hosts.1.word());
    let mut clients = clients(arena, &path, &list(&distccds), &list(&workers), "light")?;
    clients.retain(|client| ![PREPROCESSOR, CHAIN].contains(&client.name));
    let mut wall: Vec<Samples> = clients.iter().map(|client| Samples::new(client.name)).collect();
    let mut ideal = Samples::new("ideal");
    take_turns(&mut clients, course, rounds, |at, took| wall[at].push(took.wall))?;
    (0..rounds).for_each(|_| ideal.push(ideal_makespan(course.units as u32)));
    wall.insert(0, ideal);
    let title = format!(
        "{} light units, -j{SLOTS}, {SLOTS} slots, {SLOW_SLOTS} of them {SLOWER} times slower: wall time",
        course.units
    );
    table::print(&title, &wall, "ideal");
    Ok(())
}

/// How long the units take where everything is known and the client costs nothing.
fn ideal_makespan(units: u32) -> Duration {
    let done =
        |rounds: u32| (SLOTS - SLOW_SLOTS) as u32 * rounds + SLOW_SLOTS as u32 * (rounds / SLOWER);
    let rounds = (1..).find(|rounds| done(*rounds) >= units).unwrap_or(units);
    LIGHT_PACE * rounds
}

/// One way to build.
struct Client {
    name: &'static str,
    /// Before the compiler.
    words: Vec<PathBuf>,
    phase: &'static str,
    rival: Option<Rival>,
    variables: Vec<(&'static str, OsString)>,
}

fn clients(
    arena: &Arena,
    path: &OsString,
    distccds: &str,
    workers: &str,
    name: &str,
) -> Result<Vec<Client>, Failure> {
    let distcc = arena.path().join(format!("distcc-{name}"));
    std::fs::create_dir_all(&distcc)?;
    let mut clients = Vec::new();
    let mut add = |client: &'static str, launcher: &[&str], kind: Option<Kind>, hosts: &str| {
        let mut words: Vec<PathBuf> = launcher.iter().map(PathBuf::from).collect();
        let mut variables: Vec<(&'static str, OsString)> = vec![
            ("PATH", path.clone()),
            // Part of the name of rcache's socket.
            ("HOME", std::env::var_os("HOME").unwrap_or_default()),
            ("DISTCC_DIR", distcc.clone().into()),
            ("DISTCC_FALLBACK", "0".into()),
            ("DISTCC_NO_REWRITE_CROSS", "1".into()),
            ("CCACHE_PREFIX", DISTCC.into()),
        ];
        let mut rival = None;
        if let Some(kind) = kind {
            let folder = format!("{name}-{}", client.replace(' ', "-").replace('>', ""));
            let Some(found) = arena.rival(kind, &folder)? else { return Ok::<(), Failure>(()) };
            words.extend(found.launcher().map(Path::to_owned));
            rival = Some(found);
        }
        variables.push(("DISTCC_HOSTS", hosts.into()));
        let phase = if client == PREPROCESSOR { "-E" } else { "-c" };
        clients.push(Client { name: client, words, phase, rival, variables });
        Ok(())
    };
    add(PREPROCESSOR, &[], None, "")?;
    add(DISTCC, &["distcc"], None, distccds)?;
    add(CHAIN, &[], Some(Kind::Ccache), distccds)?;
    add("rcache > distccd", &[], Some(Kind::Rcache), distccds)?;
    add("rcache > worker", &[], Some(Kind::Rcache), workers)?;
    Ok(clients)
}

/// What a build took.
struct Took {
    wall: Duration,
    cpu: Duration,
}

fn take_turns(
    clients: &mut [Client],
    course: &Course,
    rounds: usize,
    mut note: impl FnMut(usize, Took),
) -> Result<(), Failure> {
    let count = clients.len();
    for round in 0..rounds {
        for turn in 0..count {
            let at = (round + turn) % count;
            let took = clients[at].build(course)?;
            println!(
                "{:<16} {:>7.3} s, client CPU {:>7.3} s",
                clients[at].name,
                took.wall.as_secs_f64(),
                took.cpu.as_secs_f64()
            );
            note(at, took);
        }
    }
    Ok(())
}

impl Client {
    /// Builds everything with an empty cache, and by a daemon that is as new as the build.
    fn build(&mut self, course: &Course) -> Result<Took, Failure> {
        if let Some(rival) = &mut self.rival {
            rival.forget()?;
        }
        let out = course.folder.join("out");
        if out.exists() {
            std::fs::remove_dir_all(&out)?;
        }
        let ninja_file = course.folder.join("build.ninja");
        std::fs::write(&ninja_file, self.ninja_text(course.units))?;
        let children = rivals::children_cpu();
        let start = Instant::now();
        let output = Command::new("ninja")
            .arg(format!("-j{SLOTS}"))
            .env_clear()
            .envs(self.rival.iter().flat_map(Rival::variables))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&course.folder)
            .stdin(Stdio::null())
            .output()?;
        let wall = start.elapsed();
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout);
            let lines: Vec<&str> = text.lines().take(ERROR_LINES_MAX).collect();
            return Err(format!("{}: {}", self.name, lines.join("\n")).into());
        }
        let cpu = rivals::children_cpu() - children + self.daemon_cpu()?;
        self.expect_remote(course)?;
        Ok(Took { wall, cpu })
    }

    fn ninja_text(&self, units: usize) -> String {
        let words: String = self.words.iter().map(|word| format!("{} ", word.display())).collect();
        let mut text = format!(
            "builddir = out\nrule cxx\n  command = {words}g++ {} -MD -MF $out.d {} $in -o $out\n",
            OPTIONS.join(" "),
            self.phase
        );
        for number in 0..units {
            text.push_str(&format!("build out/unit{number}.o: cxx unit{number}.cpp\n"));
        }
        text
    }

    /// What rcache's daemon has used since its start, when it is done with what it does afterwards.
    fn daemon_cpu(&self) -> Result<Duration, Failure> {
        let Some(rival) = &self.rival else { return Ok(Duration::ZERO) };
        let mut before = rival.daemon_cpu()?;
        for _ in 0..QUIET_LOOKS_MAX {
            std::thread::sleep(QUIET);
            let now = rival.daemon_cpu()?;
            if now == before {
                break;
            }
            before = now;
        }
        Ok(before)
    }

    /// That every unit was compiled by a host.
    fn expect_remote(&self, course: &Course) -> Result<(), Failure> {
        if self.phase == "-E" {
            return Ok(());
        }
        let right = std::fs::read(&course.object)?;
        for number in 0..course.units {
            if std::fs::read(course.folder.join(format!("out/unit{number}.o")))? != right {
                return Err(format!("{}: unit{number}.o is not the object", self.name).into());
            }
        }
        if let Some(rival) = self.rival.as_ref().filter(|rival| rival.kind == Kind::Rcache) {
            let stats: serde_json::Value =
                serde_json::from_slice(&rival.ask(&["stats", "--json"])?)?;
            let remote = stats["counters"]["remote_compile"].as_u64();
            if remote != Some(course.units as u64) {
                println!("{}: {remote:?} of {} were compiled by hosts", self.name, course.units);
            }
        }
        Ok(())
    }
}

/// A unit as the real compiler makes it.
fn real_object(folder: &Path) -> Result<PathBuf, Failure> {
    let object = folder.join("real.o");
    let status = Command::new("g++")
        .args(OPTIONS)
        .args(["-c", "unit0.cpp", "-o"])
        .arg(&object)
        .current_dir(folder)
        .status()?;
    match status.success() {
        true => Ok(object),
        false => Err(format!("g++ does not compile {}", folder.display()).into()),
    }
}
