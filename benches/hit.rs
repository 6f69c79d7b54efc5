//! One hit as a whole process, from its start to its end: `cargo bench --bench hit -- [ROUNDS]`.
//!
//! All contestants take turns within each round, so that they share whatever else the machine does.

mod rivals;

use rivals::sources::{OPTIONS, UNITS, Unit};
use rivals::table::{self, Samples};
use rivals::{Arena, Failure, Kind, Rival};
use std::collections::HashSet;
use std::path::Path;
use std::time::SystemTime;

const ROUNDS: usize = 300;
/// The compiler alone is slow; a few runs tell enough.
const COMPILER_ROUNDS: usize = 3;
const KINDS: [Kind; 6] =
    [Kind::Spawn, Kind::Copier, Kind::Rcache, Kind::Ccache, Kind::Sccache, Kind::Compiler];
const OBJECT: &str = "unit.o";
const DEPFILE: &str = "unit.o.d";

fn main() -> Result<(), Failure> {
    let rounds = rivals::number_given(0).unwrap_or(ROUNDS);
    let arena = Arena::new()?;
    let folder = arena.path().join("sources");
    let written = SystemTime::now();
    std::fs::create_dir(&folder)?;
    rivals::sources::write_units(&folder)?;
    let rivals = arena.rivals(&KINDS)?;
    rivals::sources::settle(written);
    for rival in &rivals {
        rival.start()?;
    }
    UNITS.iter().try_for_each(|unit| measure(unit, &rivals, &folder, rounds))
}

fn measure(unit: &Unit, rivals: &[Rival], folder: &Path, rounds: usize) -> Result<(), Failure> {
    let right = prepare(unit, rivals, folder)?;
    let mut samples: Vec<Samples> = rivals.iter().map(|rival| Samples::new(rival.name())).collect();
    let hits = hits(rivals)?;
    for round in 0..rounds {
        // Nobody always follows the same one.
        for turn in 0..rivals.len() {
            let at = (round + turn) % rivals.len();
            if rivals[at].kind != Kind::Compiler || round < COMPILER_ROUNDS {
                remove_outputs(folder)?;
                samples[at].push(rivals::timed(command(unit, &rivals[at]).current_dir(folder))?);
            }
        }
    }
    for ((rival, before), after) in rivals.iter().zip(hits).zip(self::hits(rivals)?) {
        let (Some(before), Some(after)) = (before, after) else { continue };
        if after - before != rounds as u64 {
            println!("{}: only {} of {rounds} were hits", rival.name(), after - before);
        }
    }
    // gcc names a file once for each way in which the search found it.
    let words = right.depfile.split_whitespace().skip(1).filter(|word| *word != "\\");
    let inputs = words.collect::<HashSet<_>>().len();
    let title = format!("{}: {inputs} inputs, object of {} bytes", unit.name, right.object.len());
    table::print(&title, &samples, "copier");
    Ok(())
}

/// What the compiler makes.
struct Right {
    object: Vec<u8>,
    depfile: String,
}

/// Fills each cache, and checks that each gives the right object afterwards.
fn prepare(unit: &Unit, rivals: &[Rival], folder: &Path) -> Result<Right, Failure> {
    let compiler = rivals.iter().find(|rival| rival.kind == Kind::Compiler).ok_or("no compiler")?;
    rivals::timed(command(unit, compiler).current_dir(folder))?;
    let right = Right {
        object: std::fs::read(folder.join(OBJECT))?,
        depfile: std::fs::read_to_string(folder.join(DEPFILE))?,
    };
    for rival in rivals {
        if rival.kind == Kind::Copier {
            std::fs::create_dir_all(rival.cache())?;
            std::fs::copy(folder.join(OBJECT), rival.cache().join(OBJECT))?;
            std::fs::copy(folder.join(DEPFILE), rival.cache().join(DEPFILE))?;
        }
        if matches!(rival.kind, Kind::Spawn | Kind::Compiler) {
            continue;
        }
        // The first fills the cache; the others let it remember what it can.
        for _ in 0..4 {
            remove_outputs(folder)?;
            rivals::timed(command(unit, rival).current_dir(folder))?;
        }
        let same = std::fs::read(folder.join(OBJECT))? == right.object
            && std::fs::read_to_string(folder.join(DEPFILE))? == right.depfile;
        if !same {
            return Err(format!("{}: not what the compiler makes", rival.name()).into());
        }
    }
    Ok(right)
}

fn command(unit: &Unit, rival: &Rival) -> std::process::Command {
    let mut words = vec![unit.compiler];
    words.extend(OPTIONS);
    words.extend(["-MD", "-MF", DEPFILE, "-c", unit.source, "-o", OBJECT]);
    rival.command(&words)
}

fn hits(rivals: &[Rival]) -> Result<Vec<Option<u64>>, Failure> {
    rivals.iter().map(Rival::hits).collect()
}

fn remove_outputs(folder: &Path) -> Result<(), Failure> {
    for name in [OBJECT, DEPFILE] {
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
