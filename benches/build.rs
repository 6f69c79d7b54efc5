//! A whole build under ninja, cold and warm: `cargo bench --bench build -- [PAIRS [WARM_ROUNDS]]`.
//!
//! The contestants take turns, and ratios are of builds of the same round.

mod rivals;

use rivals::sources::OPTIONS;
use rivals::table::{self, Samples};
use rivals::{Arena, Failure, Kind, Rival};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

const UNITS: usize = 48;
const PAIRS: usize = 5;
const WARM_ROUNDS: usize = 15;
/// The whole build without a cache is slow; a few runs tell enough.
const COMPILER_ROUNDS: usize = 1;
const JOBS: &str = "-j2";
const KINDS: [Kind; 5] = [Kind::Copier, Kind::Rcache, Kind::Ccache, Kind::Sccache, Kind::Compiler];

fn main() -> Result<(), Failure> {
    let pairs = rivals::number_given(0).unwrap_or(PAIRS);
    let warm_rounds = rivals::number_given(1).unwrap_or(WARM_ROUNDS);
    let arena = Arena::new()?;
    let folder = arena.path().join("sources");
    let written = SystemTime::now();
    std::fs::create_dir(&folder)?;
    rivals::sources::write_project(&folder, UNITS)?;
    let mut rivals = arena.rivals(&KINDS)?;
    for rival in &rivals {
        std::fs::write(ninja_file(&folder, rival), build_text(rival))?;
    }
    let right = reference(&folder, &rivals)?;
    rivals::sources::settle(written);
    cold(&folder, &mut rivals, pairs, &right)?;
    warm(&folder, &rivals, warm_rounds, &right)
}

/// A build by the compiler alone, which also fills the copier's folder.
fn reference(folder: &Path, rivals: &[Rival]) -> Result<Vec<Vec<u8>>, Failure> {
    let find = |kind| rivals.iter().find(|rival| rival.kind == kind).ok_or("a contestant is gone");
    let (copier, compiler) = (find(Kind::Copier)?, find(Kind::Compiler)?);
    build(folder, compiler)?;
    std::fs::create_dir_all(copier.cache())?;
    for file in std::fs::read_dir(folder.join("out"))? {
        let file = file?;
        std::fs::copy(file.path(), copier.cache().join(file.file_name()))?;
    }
    objects(folder)
}

fn cold(
    folder: &Path,
    rivals: &mut [Rival],
    pairs: usize,
    right: &[Vec<u8>],
) -> Result<(), Failure> {
    let mut samples: Vec<Samples> = rivals.iter().map(|rival| Samples::new(rival.name())).collect();
    let mut cpu: Vec<Samples> = rivals.iter().map(|rival| Samples::new(rival.name())).collect();
    let count = rivals.len();
    for round in 0..pairs {
        for turn in 0..count {
            let at = (round + turn) % count;
            let rival = &mut rivals[at];
            // sccache's daemon is started as rcache's is: by the first compile.
            if rival.kind == Kind::Copier {
                continue;
            }
            rival.forget()?;
            let before = rivals::children_cpu();
            samples[at].push(build(folder, rival)?);
            // The daemon is as new as the build.
            cpu[at].push(rivals::children_cpu() - before + rival.daemon_cpu()?);
            expect_same(folder, rival, right)?;
        }
    }
    let drop_copier = |samples: Vec<Samples>| -> Vec<Samples> {
        samples.into_iter().filter(|samples| samples.count() > 0).collect()
    };
    let title =
        format!("cold build of {UNITS} units, {JOBS}, empty cache, no daemon up: wall time");
    table::print(&title, &drop_copier(samples), "no cache");
    let title = "cold build: CPU time (without sccache's daemon)";
    table::print(title, &drop_copier(cpu), "no cache");
    Ok(())
}

fn warm(folder: &Path, rivals: &[Rival], rounds: usize, right: &[Vec<u8>]) -> Result<(), Failure> {
    // Once more, for the caches to see sources that have settled.
    for rival in rivals.iter().filter(|rival| rival.kind != Kind::Compiler) {
        build(folder, rival)?;
        build(folder, rival)?;
        expect_same(folder, rival, right)?;
    }
    let mut samples: Vec<Samples> = rivals.iter().map(|rival| Samples::new(rival.name())).collect();
    for round in 0..rounds {
        for turn in 0..rivals.len() {
            let at = (round + turn) % rivals.len();
            let rival = &rivals[at];
            if rival.kind == Kind::Compiler && round >= COMPILER_ROUNDS {
                continue;
            }
            let before = rival.hits()?;
            samples[at].push(build(folder, rival)?);
            if let (Some(before), Some(after)) = (before, rival.hits()?)
                && after - before != UNITS as u64
            {
                println!("{}: only {} of {UNITS} were hits", rival.name(), after - before);
            }
        }
    }
    let title = format!("warm build of {UNITS} units, {JOBS}");
    table::print(&title, &samples, "copier");
    Ok(())
}

fn ninja_file(folder: &Path, rival: &Rival) -> PathBuf {
    folder.join(format!("{:?}.ninja", rival.kind))
}

fn build_text(rival: &Rival) -> String {
    let launcher = rival.launcher().map(|launcher| format!("{} ", launcher.display()));
    let mut text = format!(
        "builddir = out\nrule cxx\n  command = {}g++ {} -MD -MF $out.d -c $in -o $out\n  \
         depfile = $out.d\n  deps = gcc\n",
        launcher.unwrap_or_default(),
        OPTIONS.join(" ")
    );
    for number in 0..UNITS {
        text.push_str(&format!("build out/unit{number}.o: cxx unit{number}.cpp\n"));
    }
    text
}

/// Builds everything anew, and says how long it took.
fn build(folder: &Path, rival: &Rival) -> Result<Duration, Failure> {
    let out = folder.join("out");
    if out.exists() {
        std::fs::remove_dir_all(out)?;
    }
    let start = Instant::now();
    let output = Command::new("ninja")
        .args(["-d", "keepdepfile", JOBS, "-f"])
        .arg(ninja_file(folder, rival))
        .envs(rival.variables())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()?;
    let wall = start.elapsed();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stdout).into_owned().into());
    }
    Ok(wall)
}

/// The objects of all units.
fn objects(folder: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let read = |number| std::fs::read(folder.join(format!("out/unit{number}.o")));
    Ok((0..UNITS).map(read).collect::<Result<_, _>>()?)
}

fn expect_same(folder: &Path, rival: &Rival, right: &[Vec<u8>]) -> Result<(), Failure> {
    if objects(folder)? != right {
        return Err(format!("{}: not what the compiler makes", rival.name()).into());
    }
    Ok(())
}
