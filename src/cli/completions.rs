//! `rcache completions` and `rcache man`, from the same definition as the help.

use super::{Outcome, definition, screen};
use clap_complete::Shell;
use clap_mangen::Man;
use std::path::PathBuf;
use std::process::ExitCode;

/// Prints a completion script.
pub fn completions(options: &clap::ArgMatches) -> Outcome {
    let shell = options.get_one::<String>("shell").map_or("", String::as_str);
    let shell: Shell = shell.parse()?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition::command(), "rcache", &mut script);
    screen::print(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}

/// Prints the man page, or writes one page for each subcommand.
pub fn man(options: &clap::ArgMatches) -> Outcome {
    let Some(folder) = options.get_one::<PathBuf>("directory") else {
        let mut page = Vec::new();
        let rendered = Man::new(definition::command()).render(&mut page);
        rendered.map_err(|error| error.to_string())?;
        screen::print(&String::from_utf8_lossy(&page));
        return Ok(ExitCode::SUCCESS);
    };
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(definition::command(), folder))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_subcommand() {
        let folder = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(definition::command(), folder.path()).unwrap();
        for name in definition::SUBCOMMANDS.iter().filter(|name| **name != "help") {
            let page = folder.path().join(format!("rcache-{name}.1"));
            assert!(std::fs::read_to_string(&page).unwrap().contains(".TH"), "{name}");
        }
        assert!(folder.path().join("rcache.1").exists());
        assert!(folder.path().join("rcache-daemon-status.1").exists());
    }

    #[test]
    fn scripts_know_the_subcommands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut definition::command(), "rcache", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("older-than"), "{shell}");
        }
    }
}
