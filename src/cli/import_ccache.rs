//! `rcache import-ccache`: an rcache.toml from ccache.conf, with a reason for all that has no counterpart.

use super::Outcome;
use super::screen;
use config::{Environment, Key, Sloppiness, edit};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A ccache.conf is short; what is longer is another file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What becomes of a key of ccache.
enum Fate {
    /// The key of this name here means the same.
    Same,
    /// A list whose members ccache parts with this character.
    List(char),
    /// It needs no counterpart: rcache always does so.
    Always(&'static str),
    /// There is none, and the reason or the way that leads to the same.
    Dropped(&'static str),
}

use Fate::{Always, Dropped, List, Same};

/// Every key of ccache 4's manual. A key that is the same but that this rcache lacks is said to be so.
const KEYS: &[(&str, Fate)] = &[
    ("absolute_paths_in_stderr", Dropped("diagnostics are as the compiler gave them")),
    ("base_dir", Same),
    ("cache_dir", Dropped("the two formats differ, so rcache keeps a folder of its own")),
    ("compiler", Dropped("name the compiler in the call")),
    ("compiler_check", Same),
    ("compiler_type", Dropped("the compiler is asked")),
    ("compression", Same),
    ("compression_level", Same),
    ("cpp_extension", Dropped("the language of the preprocessed text is named to the compiler")),
    ("debug", Dropped("`rcache explain COMPILER ARG…` says what counts in a key")),
    ("debug_dir", Dropped("`rcache explain COMPILER ARG…` says what counts in a key")),
    ("debug_level", Dropped("`rcache explain COMPILER ARG…` says what counts in a key")),
    ("depend_mode", Always("a unit that was never seen is not preprocessed")),
    ("direct_mode", Same),
    ("disable", Same),
    ("extra_files_to_hash", List(':')),
    ("file_clone", Dropped("outputs are always files of their own")),
    ("hard_link", Dropped("a linked output that is changed would change the cache")),
    ("hash_dir", Same),
    ("ignore_headers_in_manifest", Dropped("a header that is not looked at gives wrong objects")),
    ("ignore_options", List(' ')),
    ("inode_cache", Always("the daemon remembers what it has read")),
    ("keep_comments_cpp", Always("comments count where they can change a result")),
    ("log_file", Same),
    ("max_files", Same),
    ("max_size", Same),
    ("msvc_dep_prefix", Dropped("MSVC is not served")),
    ("namespace", Same),
    ("path", Dropped("the compiler is the next file of that name in PATH")),
    ("pch_external_checksum", Dropped("precompiled headers count by their content")),
    ("prefix_command", Same),
    ("prefix_command_cpp", Dropped("the preprocessor runs without a prefix")),
    ("read_only", Same),
    ("read_only_direct", Dropped("read_only = true is the nearest")),
    ("recache", Same),
    ("remote_only", Same),
    ("remote_storage", List(' ')),
    ("reshare", Same),
    ("response_file_format", Dropped("response files are read as gcc and clang read them")),
    ("run_second_cpp", Always("the compiler gets the source itself")),
    ("safe_dirs", Dropped("no settings are read from the folder of a compile")),
    ("secondary_storage", Dropped("its name is remote_storage now")),
    ("sloppiness", List(',')),
    ("stats", Always("counters cost a call nothing")),
    ("stats_log", Same),
    ("temporary_dir", Dropped("temporary files lie beside their targets")),
    ("umask", Same),
];

/// Reads the file and prints what it becomes.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    let environment = Environment::of_this_process();
    let path = match options.get_one::<PathBuf>("file") {
        Some(path) => path.clone(),
        None => ccache_conf(&environment).ok_or("no ccache.conf was found; name it")?,
    };
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    if std::fs::metadata(&path).map_err(told)?.len() > FILE_BYTES_MAX {
        return Err(format!("{} is too long for a ccache.conf", path.display()));
    }
    let text = std::fs::read_to_string(&path).map_err(told)?;
    screen::print(&imported(&environment, &path, &text));
    Ok(ExitCode::SUCCESS)
}

/// The file that ccache would read (ccache's manual, "Configuration file location").
fn ccache_conf(environment: &Environment) -> Option<PathBuf> {
    let folder = |name: &str| environment.get(name).map(PathBuf::from);
    let home = folder("HOME");
    let candidates = [
        folder("CCACHE_CONFIGPATH"),
        folder("CCACHE_DIR").map(|dir| dir.join("ccache.conf")),
        home.as_ref().map(|home| home.join(".ccache/ccache.conf")),
        folder("XDG_CONFIG_HOME").map(|dir| dir.join("ccache/ccache.conf")),
        home.as_ref().map(|home| home.join(".config/ccache/ccache.conf")),
        Some(PathBuf::from("/etc/ccache.conf")),
    ];
    candidates.into_iter().flatten().find(|path| path.is_file())
}

fn imported(environment: &Environment, path: &Path, text: &str) -> String {
    let mut shown = format!("# made from {}\n", path.display());
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        shown += &match line.split_once('=') {
            Some((key, value)) => setting(environment, key.trim(), value.trim()),
            None => format!("# {line}: not a line KEY = VALUE\n"),
        };
    }
    shown
}

/// The line or lines that one setting becomes.
fn setting(environment: &Environment, key: &str, value: &str) -> String {
    let left_out = |why: &str| format!("# {key} = {value}: {why}\n");
    let Some((_, fate)) = KEYS.iter().find(|(name, _)| *name == key) else {
        return left_out("ccache's manual does not name this key");
    };
    match fate {
        Dropped(why) => left_out(why),
        Always(why) => left_out(why),
        Same | List(_) if Key::of(key).is_none() => left_out("this rcache has no such setting"),
        Same => line(environment, key, value).unwrap_or_else(|why| left_out(&why)),
        List(separator) => {
            let parted = |c: char| c == *separator || c.is_whitespace();
            let members = value.split(parted).filter(|member| !member.is_empty());
            let known = |member: &&str| {
                key != "sloppiness" || Sloppiness::NAMES.contains(member) || *member == "none"
            };
            let (kept, lost): (Vec<&str>, Vec<&str>) = members.partition(known);
            let mut shown: String = lost
                .iter()
                .map(|name| format!("# {key} {name}: there is no such sloppiness here\n"))
                .collect();
            let kept: Vec<&str> = kept.into_iter().filter(|member| *member != "none").collect();
            shown += &line(environment, key, &kept.join(" ")).unwrap_or_else(|why| left_out(&why));
            shown
        }
    }
}

fn line(environment: &Environment, key: &str, value: &str) -> Result<String, String> {
    edit::as_written(environment, key, value).map(|value| format!("{key} = {value}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_becomes_a_setting_or_a_reason() {
        let variables = vec![("HOME".into(), "/home/me".into())];
        let text = "\
# mine
max_size = 20G
compression=false
base_dir = /src
sloppiness = time_macros, locale,no_such_thing
extra_files_to_hash = /a:/b c
hard_link = true
no_such_key = 1
nonsense
max_files = many
";
        let toml = imported(&Environment::new(&variables), Path::new("/c.conf"), text);
        assert_eq!(
            toml,
            "\
# made from /c.conf
max_size = \"20G\"
compression = false
base_dir = \"/src\"
# sloppiness no_such_thing: there is no such sloppiness here
sloppiness = [\"time_macros\", \"locale\"]
extra_files_to_hash = [\"/a\", \"/b\", \"c\"]
# hard_link = true: a linked output that is changed would change the cache
# no_such_key = 1: ccache's manual does not name this key
# nonsense: not a line KEY = VALUE
# max_files = many: max_files: \"many\" is not a whole number from 0 up
"
        );
    }

    #[test]
    fn what_is_the_same_is_a_setting_here_or_said_to_be_none() {
        let environment = Environment::new(&[]);
        for (key, fate) in KEYS {
            let line = setting(&environment, key, "true");
            let commented = line.starts_with('#');
            assert!(commented || matches!(fate, Same | List(_)), "{line}");
        }
    }
}
