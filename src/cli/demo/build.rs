//! Builds the project of the demo on all cores, with or without rcache.

use super::project;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// rcache in front of the compiler.
pub struct Launcher {
    /// The program.
    pub rcache: PathBuf,
    /// The host list; empty for this machine alone.
    pub hosts: String,
}

/// How the project is built.
pub struct Build<'a> {
    /// Where it is.
    pub folder: &'a Path,
    /// The compiler itself.
    pub compiler: &'a Path,
    /// The variables of every program that is run.
    pub environment: &'a [(OsString, OsString)],
    /// How many compiles run at one time.
    pub jobs: usize,
}

/// What a build made.
pub struct Built {
    /// The time that the compiles took.
    pub wall: Duration,
    /// Processor time of the compilers here, and of rcache in front of them. Unlike the wall time, it
    /// means something on a machine that is busy with other things.
    pub processor: Duration,
    /// Objects and dependency files by name, and what the program printed.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Built {
    /// The names of the files that are not the same as in another build.
    pub fn difference(&self, other: &Built) -> Vec<String> {
        let names = self.files.keys().chain(other.files.keys());
        let mut differing: Vec<String> =
            names.filter(|name| self.files.get(*name) != other.files.get(*name)).cloned().collect();
        differing.sort();
        differing.dedup();
        differing
    }
}

impl Build<'_> {
    /// Brings the compiler and the headers into memory, so that the first build is not the one
    /// that pays for it.
    pub fn warm_up(&self) -> Result<(), String> {
        let unit = project::unit_names().remove(0);
        let mut command = self.command(None);
        command.args(["-std=c++17", "-O2", "-fsyntax-only"]).arg(format!("{unit}.cpp"));
        succeed(command, &unit).map(|_| ())
    }

    /// Compiles every unit into an empty folder, links them, and runs the program.
    pub fn run(&self, name: &str, launcher: Option<&Launcher>) -> Result<Built, String> {
        let objects = self.folder.join("obj");
        let file = |error: std::io::Error| format!("{}: {error}", objects.display());
        if objects.exists() {
            std::fs::remove_dir_all(&objects).map_err(file)?;
        }
        std::fs::create_dir(&objects).map_err(file)?;

        let before = processor_time();
        let wall = self.compile_all(name, launcher)?;
        let processor = processor_time().saturating_sub(before);
        self.collect(wall, processor)
    }

    /// Compiles one unit without rcache; the others are as the last build left them.
    pub fn rebuild(&self, unit: &str) -> Result<Built, String> {
        let (start, before) = (Instant::now(), processor_time());
        self.compile(unit, None)?;
        self.collect(start.elapsed(), processor_time().saturating_sub(before))
    }

    /// Links and runs the program, and reads everything that the build made.
    fn collect(&self, wall: Duration, processor: Duration) -> Result<Built, String> {
        let objects = self.folder.join("obj");
        let file = |error: std::io::Error| format!("{}: {error}", objects.display());
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(&objects).map_err(file)?.flatten() {
            let content = std::fs::read(entry.path()).map_err(file)?;
            files.insert(entry.file_name().to_string_lossy().into_owned(), content);
        }
        files.insert("what the program prints".to_owned(), self.link_and_run()?);
        Ok(Built { wall, processor, files })
    }

    fn compile_all(&self, name: &str, launcher: Option<&Launcher>) -> Result<Duration, String> {
        let units = project::unit_names();
        let bar = ProgressBar::new(units.len() as u64);
        if let Ok(style) = ProgressStyle::with_template("{msg:26} {wide_bar} {pos}/{len}") {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = self.compile(unit, launcher) {
                            *failure.lock().unwrap_or_else(|poison| poison.into_inner()) =
                                Some(error);
                            return;
                        }
                        bar.inc(1);
                    }
                });
            }
        });
        let wall = start.elapsed();
        bar.finish_and_clear();
        let failure = failure.into_inner().unwrap_or_else(|poison| poison.into_inner());
        failure.map_or(Ok(wall), Err)
    }

    fn compile(&self, unit: &str, launcher: Option<&Launcher>) -> Result<(), String> {
        let mut command = self.command(launcher);
        // Without -g: debug information names the options of the compiler, which a worker gives others.
        command.args(["-std=c++17", "-O2", "-MMD", "-c"]);
        command.arg(format!("{unit}.cpp")).arg("-o").arg(format!("obj/{unit}.o"));
        succeed(command, unit).map(|_| ())
    }

    fn link_and_run(&self) -> Result<Vec<u8>, String> {
        let mut command = self.command(None);
        command.args(["-pthread", "-o", "demo"]);
        command.args(project::unit_names().iter().map(|unit| format!("obj/{unit}.o")));
        succeed(command, "the link")?;
        let mut program = Command::new(self.folder.join("demo"));
        program.current_dir(self.folder).stdin(Stdio::null());
        succeed(program, "the program")
    }

    /// The compiler, or rcache with the compiler as its first argument.
    fn command(&self, launcher: Option<&Launcher>) -> Command {
        let program = launcher.map_or(self.compiler, |launcher| &launcher.rcache);
        let mut command = Command::new(program);
        command.env_clear().envs(self.environment.iter().cloned());
        if let Some(launcher) = launcher {
            command.arg(self.compiler).env("RCACHE_HOSTS", &launcher.hosts);
        }
        command.current_dir(self.folder).stdin(Stdio::null());
        command
    }
}

/// User and system time of the children that have ended, with their children: fields 16 and 17
/// of /proc/self/stat (proc(5)), counted after the name, which may hold blanks.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields = after_name.split(' ').skip(13).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_secs(ticks) / rustix::param::clock_ticks_per_second().max(1) as u32
}

/// What a program printed, or why it failed.
fn succeed(mut command: Command, what: &str) -> Result<Vec<u8>, String> {
    let output = command.output().map_err(|error| format!("{what}: {error}"))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(format!(
            "{what}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_is_counted() {
        let before = processor_time();
        while processor_time() == before {
            let mut command = Command::new("sh");
            command.args(["-c", "i=0; while [ $i -lt 10000 ]; do i=$((i+1)); done"]);
            succeed(command, "sh").unwrap();
        }
        assert!(processor_time() > before);
    }

    #[test]
    fn differences_are_named() {
        let built = |files: &[(&str, &str)]| Built {
            wall: Duration::ZERO,
            processor: Duration::ZERO,
            files: files
                .iter()
                .map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_owned()))
                .collect(),
        };
        let one = built(&[("a.o", "1"), ("b.o", "2"), ("c.o", "3")]);
        let other = built(&[("a.o", "1"), ("b.o", "x"), ("d.o", "4")]);
        assert_eq!(one.difference(&one), [""; 0]);
        assert_eq!(one.difference(&other), ["b.o", "c.o", "d.o"]);
    }
}
