//! `rcache demo`: a small C++ project built without rcache, cold through a worker, cold here, and warm.

mod build;
mod project;
mod stage;
mod worker;

use super::Outcome;
use super::screen::{self, Paint, Style};
use crate::find_compiler;
use build::{Build, Built};
use stage::Stage;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use talk::questions::Stats;

/// Builds the project in a temporary folder, with a cache and a daemon of its own.
pub fn run() -> Outcome {
    super::settings()?;
    let style = Style::of_stdout();
    let compiler = find_or_install_compiler()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let stage = Stage::set_up(compiler, cores)?;
    let build = Build {
        folder: stage.folder(),
        compiler: &stage.compiler,
        environment: &stage.environment,
        jobs: cores,
    };
    let version = first_line(&stage.compiler);
    screen::print(&format!("{} C++ units, {version}, {cores} at a time\n\n", project::UNITS));
    let acts = play(&build, &stage)?;
    screen::print(&render(&acts, style));
    drop(stage);
    let sound = acts.iter().all(|act| act.differing.is_empty());
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One build of the show.
struct Act {
    name: &'static str,
    wall: Duration,
    processor: Duration,
    /// Hits and misses; `None` without rcache.
    calls: Option<(u64, u64)>,
    /// Units that the worker compiled.
    sent: u64,
    /// Size and number of the results in the store.
    store: (u64, u64),
    /// How many files were compared with the build without rcache.
    compared: usize,
    /// Those that are not the same; there must be none.
    differing: Vec<String>,
}

fn play(build: &Build, stage: &Stage) -> Result<Vec<Act>, String> {
    build.warm_up()?;
    let bare = build.run("without rcache", None)?;
    let mut acts = vec![Act {
        name: "without rcache",
        wall: bare.wall,
        processor: bare.processor,
        calls: None,
        sent: 0,
        store: (0, 0),
        compared: 0,
        differing: Vec::new(),
    }];
    stage.rcache(&["daemon", "start"])?;
    if !stage.hosts.is_empty() {
        acts.push(act(build, stage, "cold, through a worker", &stage.hosts, &bare)?);
        stage.rcache(&["clear"])?;
    }
    for name in ["cold, on this machine", "warm"] {
        acts.push(act(build, stage, name, "", &bare)?);
    }
    let edited = project::edit_one_unit(stage.folder())?;
    let edited = build.rebuild(&edited)?;
    acts.push(act(build, stage, "one unit edited", "", &edited)?);
    Ok(acts)
}

/// A build with rcache, compared with one without.
fn act(
    build: &Build,
    stage: &Stage,
    name: &'static str,
    hosts: &str,
    bare: &Built,
) -> Result<Act, String> {
    stage.rcache(&["zero"])?;
    let built = build.run(name, Some(&stage.launcher(hosts)))?;
    let stats = stage.rcache(&["stats", "--json"])?;
    let stats: Stats = serde_json::from_slice(&stats).map_err(|error| error.to_string())?;
    let counter = |name: &str| stats.counters.get(name);
    let hits = counter("direct_cache_hit") + counter("preprocessed_cache_hit");
    Ok(Act {
        name,
        wall: built.wall,
        processor: built.processor,
        calls: Some((hits, counter("cache_miss"))),
        sent: counter("remote_compile"),
        store: (stats.store.bytes, stats.store.files),
        compared: bare.files.len(),
        differing: built.difference(bare),
    })
}

fn render(acts: &[Act], style: Style) -> String {
    let bare = acts.first().map_or(Duration::ZERO, |act| act.wall);
    let ratio = |act: &Act| act.wall.as_secs_f64() / bare.as_secs_f64().max(1e-9);
    let heading = format!(
        "{:26}{:>11}{:>8}{:>11}{:>7}{:>8}{:>8}",
        "build", "wall", "ratio", "processor", "hits", "misses", "worker"
    );
    let mut shown = style.paint(Paint::Bold, &heading) + "\n";
    for act in acts {
        let (hits, misses, sent) = match act.calls {
            Some((hits, misses)) => (hits.to_string(), misses.to_string(), act.sent.to_string()),
            None => ("-".to_owned(), "-".to_owned(), "-".to_owned()),
        };
        let wall = format!("{:.2} s", act.wall.as_secs_f64());
        let processor = format!("{:.2} s", act.processor.as_secs_f64());
        let ratio = ratio(act);
        let row = format!(
            "{:26}{wall:>11}{ratio:>8.3}{processor:>11}{hits:>7}{misses:>8}{sent:>8}",
            act.name
        );
        let bar = style.bar((ratio * 1e3) as u64, 1_000, Paint::Green);
        shown.push_str(&format!("{}\n", format!("{row}  {bar}").trim_end()));
    }
    shown.push('\n');
    let compared: usize = acts.iter().map(|act| act.compared).sum();
    let differing: Vec<&str> =
        acts.iter().flat_map(|act| &act.differing).map(String::as_str).collect();
    shown.push_str(&match differing.is_empty() {
        true => style.paint(
            Paint::Green,
            &format!("all {compared} files are the same, byte for byte, as without rcache"),
        ),
        false => style.paint(
            Paint::Red,
            &format!("NOT the same as without rcache: {}", differing.join(", ")),
        ),
    });
    shown.push('\n');
    if let Some(cold) = acts.iter().find(|act| act.sent > 0) {
        shown.push_str(&format!(
            "the worker compiled {} units; it shares this machine's cores, as those of a cluster do not\n",
            cold.sent
        ));
    }
    if let Some((size, results)) = acts.last().map(|act| act.store) {
        shown.push_str(&format!("store: {results} results, {}\n", screen::bytes(size)));
    }
    shown
}

/// A C++ compiler, and no wrapper around one.
fn find_or_install_compiler() -> Result<PathBuf, String> {
    if let Some(compiler) = find_compiler_for_demo() {
        return Ok(compiler);
    }
    let advice =
        "no C++ compiler was found in PATH; install g++ or clang++ (Debian: apt install g++)";
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || !Path::new("/usr/bin/apt-get").exists() {
        return Err(advice.to_owned());
    }
    screen::print("no C++ compiler was found; installing g++ with apt-get\n");
    for arguments in [&["update", "-qq"][..], &["install", "-y", "-qq", "g++"]] {
        let _ = Command::new("/usr/bin/apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
    }
    find_compiler_for_demo().ok_or_else(|| advice.to_owned())
}

fn find_compiler_for_demo() -> Option<PathBuf> {
    let path = find_compiler::search_path();
    let mut names = ["g++", "clang++", "c++"].iter();
    names.find_map(|name| find_compiler::find(OsStr::new(name), &path).ok())
}

fn first_line(compiler: &Path) -> String {
    let output = Command::new(compiler).arg("--version").stdin(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or("a compiler").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(name: &'static str, milliseconds: u64, calls: Option<(u64, u64)>) -> Act {
        Act {
            name,
            wall: Duration::from_millis(milliseconds),
            processor: Duration::from_millis(milliseconds * 2),
            calls,
            sent: 0,
            store: (1_200_000, 24),
            compared: if calls.is_some() { 51 } else { 0 },
            differing: Vec::new(),
        }
    }

    #[test]
    fn the_figures_in_a_table() {
        let mut acts = vec![
            act("without rcache", 12_340, None),
            Act { sent: 25, ..act("cold, through a worker", 12_500, Some((0, 25))) },
            act("warm", 80, Some((25, 0))),
        ];
        assert_eq!(
            render(&acts, Style::Plain),
            "\
build                            wall   ratio  processor   hits  misses  worker
without rcache                12.34 s   1.000    24.68 s      -       -       -
cold, through a worker        12.50 s   1.013    25.00 s      0      25      25
warm                           0.08 s   0.006     0.16 s     25       0       0

all 102 files are the same, byte for byte, as without rcache
the worker compiled 25 units; it shares this machine's cores, as those of a cluster do not
store: 24 results, 1.2M
"
        );
        acts[2].differing.push("unit_03.o".to_owned());
        assert!(render(&acts, Style::Plain).contains("NOT the same as without rcache: unit_03.o"));
    }
}
