//! `rcache keys`: makes the key that signs shared results, and keeps the list of those that are trusted.

use super::{Outcome, screen};
use config::Environment;
use serde_json::json;
use shared::keys::{PublicKey, SigningKey, Trusted};
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs one of its subcommands.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    match options.subcommand() {
        Some(("new", options)) => new(options.get_one::<PathBuf>("file")),
        Some(("trust", options)) => {
            let key = options.get_one::<String>("key").ok_or("name a key")?;
            let name: Vec<&str> = options
                .get_many::<String>("name")
                .into_iter()
                .flatten()
                .map(String::as_str)
                .collect();
            trust(key, &name.join(" "))
        }
        Some(("worker", options)) => super::keys_worker::run(options),
        Some((_, options)) => list(options.get_flag("json")),
        None => Err("name what to do".to_owned()),
    }
}

/// The files of keys: the one that signs, and the lists, the user's first.
fn files() -> Result<(PathBuf, Vec<PathBuf>), String> {
    let loaded = super::settings()?;
    let environment = Environment::of_this_process();
    let (signing, lists) = daemon::key_files(&loaded.config, &environment);
    let signing = signing.ok_or("neither HOME nor XDG_CONFIG_HOME says where keys are kept")?;
    Ok((signing, lists))
}

fn make_folder(file: &Path) -> Result<(), String> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| format!("{}: {error}", folder.display()))
}

fn new(file: Option<&PathBuf>) -> Outcome {
    let path = match file {
        Some(file) => file.clone(),
        None => files()?.0,
    };
    make_folder(&path)?;
    let key = SigningKey::generate().map_err(|error| error.to_string())?;
    key.write(&path).map_err(|error| error.to_string())?;
    let public = key.public();
    screen::print(&format!(
        "{public}\n\nThe secret is in {}: whoever has it can put objects into the builds of all who trust \
         it.\nOn each machine that is to use what it signs:\n  rcache keys trust {public} NAME\n",
        path.display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn trust(key: &str, name: &str) -> Outcome {
    let key = PublicKey::parse(key).map_err(|error| error.to_string())?;
    let (_, lists) = files()?;
    let path = lists.first().ok_or("there is no place for the list")?;
    let mut known = Trusted::default();
    known.add_file(path).map_err(|error| error.to_string())?;
    if known.holds(&key) {
        screen::print(&format!("{key} is trusted already\n"));
        return Ok(ExitCode::SUCCESS);
    }
    make_folder(path)?;
    let name: String =
        name.chars().filter(|letter| !letter.is_control() && *letter != '#').collect();
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut options = OpenOptions::new();
    let mut file = options.create(true).append(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(format!("{key} {name}\n").as_bytes()).map_err(failed)?;
    screen::print(&format!(
        "results that {key} has signed count from now on ({})\n",
        path.display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn list(as_json: bool) -> Outcome {
    let loaded = super::settings()?;
    let (signing, lists) = files()?;
    let own = SigningKey::read(&signing).ok().map(|key| key.public());
    let mut rows: Vec<(PublicKey, String, String)> = Vec::new();
    for path in &lists {
        let mut trusted = Trusted::default();
        trusted.add_file(path).map_err(|error| error.to_string())?;
        let from = path.display().to_string();
        rows.extend(trusted.iter().map(|(key, name)| (*key, name.to_owned(), from.clone())));
    }
    for key in &loaded.config.trusted_keys {
        let key = PublicKey::parse(key).map_err(|error| error.to_string())?;
        rows.push((key, String::new(), "trusted_keys".to_owned()));
    }
    if as_json {
        let row = |(key, name, from): &(PublicKey, String, String)| json!({ "key": key.to_string(), "name": name, "from": from });
        screen::print_json(&json!({
            "own": own.map(|key| key.to_string()),
            "trusted": rows.iter().map(row).collect::<Vec<_>>(),
        }));
        return Ok(ExitCode::SUCCESS);
    }
    let own = match own {
        Some(key) => format!("{key}  this user's own, in {}\n", signing.display()),
        None => String::new(),
    };
    let rows = rows.iter().map(|(key, name, from)| format!("{key}  {name}  ({from})\n"));
    let text = own + &rows.collect::<String>();
    screen::print(if text.is_empty() {
        "no key is trusted; `rcache keys trust KEY` adds one\n"
    } else {
        &text
    });
    Ok(ExitCode::SUCCESS)
}
