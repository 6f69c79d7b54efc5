//! The subcommands and their options: help, man pages and shell completions come from here.

use ::worker::{self, Network};
use clap::{Arg, ArgAction, Command, builder::PossibleValuesParser, value_parser};
use config::{ByteSize, Level, Span};
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

/// Every first word that is not a compiler; the launcher asks before it builds anything.
pub const SUBCOMMANDS: &[&str] = &[
    "stats",
    "zero",
    "clear",
    "trim",
    "verify",
    "flush",
    "prefetch",
    "remote",
    "keys",
    "config",
    "daemon",
    "worker",
    "hosts",
    "explain",
    "import-ccache",
    "link",
    "doctor",
    "top",
    "demo",
    "completions",
    "man",
    "help",
];

/// The exit status of `rcache daemon status` when none is up (that of init scripts, LSB 5.0).
pub const NOT_RUNNING_STATUS: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  rcache gcc -O2 -c hello.c               compile through the cache
  cmake -DCMAKE_C_COMPILER_LAUNCHER=rcache -DCMAKE_CXX_COMPILER_LAUNCHER=rcache …
  make CC=\"rcache gcc\" CXX=\"rcache g++\"
  rcache link ~/.local/lib/rcache         symlinks for PATH: no build file changes
  rcache stats                            how well it works
  rcache explain gcc -O2 -c hello.c       why that call would hit or miss
  rcache hosts                            the cluster, and why a host is not used
  rcache top                              watch a build
  rcache demo                             see it work on this machine, with figures

ccache's words work too: `rcache -s`, `-z`, `-C`, `-c`, `-p`, `-M SIZE`, `-F N`, `-o KEY=VALUE`, `-k KEY`.
rcache never fails a build that would have succeeded without it. `rcache -- COMPILER …` serves a
compiler whose name is a subcommand's. Settings: `rcache config --help`.";

/// The whole command line.
pub fn command() -> Command {
    Command::new("rcache")
        .version(super::version::LINE)
        .long_version(super::version::LONG)
        .about("A compiler cache for C and C++, with remote compiles on distcc hosts and its own workers")
        .override_usage("rcache COMPILER ARGUMENT…\n       rcache SUBCOMMAND [OPTIONS]")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([stats(), plain("zero", "Set the counters to 0; cached results stay")])
        .subcommands([plain("clear", "Remove every cached result"), trim(), verify()])
        .subcommands([flush(), prefetch(), remote(), keys()])
        .subcommands([settings(), daemon()])
        .subcommands([
            worker(),
            hosts(),
            explain(),
            import_ccache(),
            link(),
            doctor(),
            top(),
            demo(),
            completions(),
            man(),
        ])
}

fn plain(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about)
}

fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object")
}

fn stats() -> Command {
    plain("stats", "Hits, misses and what was not cached, since the last `rcache zero`")
        .arg(json())
        .arg(
            Arg::new("settled")
                .long("settled")
                .action(ArgAction::SetTrue)
                .help("Wait first until every compile that has ended is stored and counted"),
        )
        .after_help("Example:\n  rcache stats --json | jq .counters.direct_cache_hit")
}

fn trim() -> Command {
    plain("trim", "Remove the least recently used results now")
        .arg(
            Arg::new("max-size")
                .long("max-size")
                .value_name("SIZE")
                .value_parser(|text: &str| ByteSize::parse(text))
                .help(
                    "Trim down to this size, such as 2.5G or 500Mi [default: the setting max_size]",
                ),
        )
        .arg(
            Arg::new("older-than")
                .long("older-than")
                .value_name("AGE")
                .value_parser(|text: &str| Span::parse(text))
                .help("Remove what was not used for this long, such as 12h or 30d"),
        )
        .after_help("Example:\n  rcache trim --older-than 14d")
}

const VERIFY_NOTES: &str = "\
Every file of the store is read: its form, its checksum, all that is packed in it. What is damaged is
removed; it would not have been served. This may run beside builds.

With --all, each call of compile_commands.json whose result is cached is compiled again and compared, as
the setting verify_rate does it for a share of the hits of a build. A result that proves wrong is
dropped, and both sides are kept below verify-mismatch in the cache folder. Run it with the build's
variables; RCACHE_VERIFY_RATE=1 verifies the hits of a build that writes no such file.

The exit status is 1 when something was damaged, missing or different.

Examples:
  rcache verify
  cmake -B build -DCMAKE_EXPORT_COMPILE_COMMANDS=ON …
  rcache verify --all --commands build/compile_commands.json";

fn verify() -> Command {
    plain("verify", "Check every stored result, and on request against the compiler")
        .arg(
            Arg::new("all")
                .long("all")
                .action(ArgAction::SetTrue)
                .help("Also compile again what is cached, and compare"),
        )
        .arg(
            Arg::new("commands")
                .long("commands")
                .value_name("FILE")
                .default_value("compile_commands.json")
                .value_parser(value_parser!(PathBuf))
                .help("With --all: the calls, as CMake, ninja -t compdb and bear write them"),
        )
        .arg(json())
        .after_help(VERIFY_NOTES)
}

fn flush() -> Command {
    plain("flush", "Wait until all that is to be stored or uploaded is")
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("SPAN")
                .default_value("10m")
                .value_parser(some_time)
                .help("Wait no longer than this"),
        )
        .after_help(
            "For the end of a CI job, whose machine goes with it. The exit status is 1 when something \
             was not\nuploaded in time.\n\nExample:\n  ninja -C build && rcache flush",
        )
}

fn prefetch() -> Command {
    plain("prefetch", "Ask the shared cache for a whole build's results at once")
        .arg(
            Arg::new("build")
                .short('p')
                .long("build")
                .value_name("BUILD")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The folder of a compile_commands.json, or that file"),
        )
        .arg(json())
        .after_help(
            "Every call is asked for before the first answer is waited for; what is right here goes into \
             the local\ncache. Run it with the build's variables.\n\n\
             Example:\n  cmake -B build -DCMAKE_EXPORT_COMPILE_COMMANDS=ON && rcache prefetch -p build",
        )
}

fn remote() -> Command {
    let trim = plain("trim", "Remove what was written or used longest ago")
        .arg(
            Arg::new("max-size")
                .long("max-size")
                .value_name("SIZE")
                .value_parser(|text: &str| ByteSize::parse(text))
                .help("Trim down to this size, such as 200G"),
        )
        .arg(
            Arg::new("older-than")
                .long("older-than")
                .value_name("AGE")
                .value_parser(|text: &str| Span::parse(text))
                .help("Remove what is older than this, such as 30d"),
        )
        .group(
            clap::ArgGroup::new("what")
                .args(["max-size", "older-than"])
                .required(true)
                .multiple(true),
        )
        .arg(json());
    let verify = plain("verify", "Read every object and check who signed it")
        .arg(
            Arg::new("remove")
                .long("remove")
                .action(ArgAction::SetTrue)
                .help("Remove what is not as a trusted key signed it"),
        )
        .arg(json());
    plain("remote", "Look after the shared cache of the setting remote_storage")
        .subcommand_required(true)
        .subcommand(plain("stats", "Its state, and what is on it").arg(json()))
        .subcommand(trim)
        .subcommand(verify)
        .after_help(
            "Where the server has an expiry of its own (a bucket's lifecycle rule, Redis' maxmemory-policy, \
             the\nattribute ttl), use that; trim is for folders and servers that have none.",
        )
}

fn keys() -> Command {
    plain("keys", "Keys that sign shared results, those that are trusted, and certificates of workers")
        .subcommand_required(true)
        .subcommand(
            plain("new", "Make a key that signs what this user uploads").arg(
                Arg::new("file")
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help("Where it goes [default: signing.key beside the user's rcache.toml]"),
            ),
        )
        .subcommand(
            plain("trust", "Let the results count that a key has signed")
                .arg(
                    Arg::new("key")
                        .value_name("KEY")
                        .required(true)
                        .help("The public key, ed25519:…, as `rcache keys new` printed it"),
                )
                .arg(Arg::new("name").value_name("NAME").num_args(0..).help("Whose it is")),
        )
        .subcommand(plain("list", "This user's own key, and each that is trusted").arg(json()))
        .subcommand(super::keys_worker::definition())
        .after_help(
            "Whoever holds a trusted key can put objects into the builds of all who trust it: give one to the \
             CI of\nprotected branches, and let people read.\n\nExamples:\n  \
             rcache keys new                              on the CI machine\n  \
             rcache keys trust ed25519:3f… the build farm on each desk",
        )
}

fn settings() -> Command {
    let rows = config::KEYS
        .iter()
        .map(|key| format!("  {} = {}\n{}", key.name, key.default, indented(key.meaning)));
    let text = format!(
        "Settings are lines `key = value` of rcache.toml: of the file that RCACHE_CONFIG names, or \
         else of\n$XDG_CONFIG_HOME/rcache/rcache.toml (~/.config/rcache/rcache.toml) over \
         /etc/rcache/rcache.toml.\nThe variable RCACHE_KEY of a compile goes before both; lists \
         have blanks between there. In a path,\n~ and $NAME are expanded. The keys and their \
         defaults:\n\n{}",
        rows.collect::<Vec<_>>().join("\n")
    );
    plain("config", "Each setting in force and where it came from")
        .arg(json())
        .arg(
            Arg::new("template")
                .long("template")
                .action(ArgAction::SetTrue)
                .conflicts_with("json")
                .help("Print an rcache.toml with every key as a comment, and what it means"),
        )
        .after_help(text)
}

fn daemon() -> Command {
    plain("daemon", "The local cache daemon; a compile starts it by itself")
        .subcommand_required(true)
        .subcommand(plain("start", "Start the daemon if it is not up"))
        .subcommand(
            plain("stop", "End the daemon; the next compile starts another")
                .arg(
                    Arg::new("all")
                        .long("all")
                        .action(ArgAction::SetTrue)
                        .help("End all daemons of this user, whatever their cache folders"),
                )
                .after_help(
                    "A process in another container, network namespace or group, or with other limits \
                     or\nfewer rights, has a daemon of its own for the same cache folder. That ends, too.",
                ),
        )
        .subcommand(
            plain("status", "Whether the daemon is up, and what it is doing")
                .arg(json())
                .after_help("The exit status is 0 when it is up and 3 when it is not."),
        )
        .subcommand(
            plain("run", "Be the daemon, in the foreground")
                .arg(
                    Arg::new("detached")
                        .long("detached")
                        .action(ArgAction::SetTrue)
                        .hide(true)
                        .help("Started by a compile: tell it through standard output"),
                )
                .arg(
                    Arg::new("socket")
                        .long("socket")
                        .value_name("PATH")
                        .value_parser(value_parser!(PathBuf))
                        .hide(true)
                        .help("Where that compile looks for the daemon"),
                ),
        )
}

const WORKER_NOTES: &str = "\
A client is served if its address is in one of the networks of --allow and of the variable ALLOW;
if there are none, if it is this machine or in a private network. The variable JOBS goes before
the default of --jobs. Compilers and options are allow-lists: what is not known to be harmless is
refused, and the client compiles it itself. In distcc's protocol nothing is encrypted and nobody is
authenticated: keep the port within a network that you trust.

The same port serves the Remote Execution API (grpc://, grpcs://). Other machines need keys for that:
`rcache keys worker DIR` makes them.

SIGTERM ends the worker when its compiles are done; a second one ends it at once.

Examples:
  rcache worker --allow 10.0.0.0/8
  rcache worker --listen 127.0.0.1 --port 3633 --jobs 4 --metrics-port 9632
  rcache worker --tls-cert DIR/worker.pem --tls-key DIR/worker.key --client-ca DIR/ca.pem";

fn worker() -> Command {
    plain("worker", "Compile for others: a server for rcache and for stock distcc clients")
        .args(worker_connections())
        .args(worker_jobs())
        .args(worker_reapi())
        .after_help(WORKER_NOTES)
}

fn worker_connections() -> [Arg; 5] {
    let option =
        |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    [
        option("listen", "ADDRESS")
            .action(ArgAction::Append)
            .value_parser(value_parser!(IpAddr))
            .help("An address to listen on, once for each [default: all, IPv4 and IPv6]"),
        option("port", "PORT")
            .default_value("3632")
            .value_parser(value_parser!(u16))
            .help("The port; 0 for any that is free"),
        option("allow", "NETWORK")
            .action(ArgAction::Append)
            .value_parser(|text: &str| Network::parse_list(text))
            .help(
                "Who may connect, such as 10.0.0.0/8; more with commas or blanks between [default: \
                 this machine; in a container, private networks]",
            ),
        option("metrics-port", "PORT")
            .default_value("0")
            .value_parser(value_parser!(u16))
            .help("Serve /metrics (Prometheus), /healthz and /readyz there, to everybody; 0 = off"),
        option("request-timeout", "SPAN")
            .default_value("300s")
            .value_parser(some_time)
            .help("How long a request may take to arrive"),
    ]
}

fn worker_jobs() -> [Arg; 8] {
    let option =
        |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    [
        option("jobs", "N")
            .value_parser(value_parser!(u64).range(1..=super::worker::JOBS_MAX))
            .help("Compiles at one time; more wait [default: the cores that it may use]"),
        option("nice", "N")
            .default_value("5")
            .allow_negative_numbers(true)
            .value_parser(value_parser!(i32).range(0..=19))
            .help("How much compilers give way to other work"),
        option("job-timeout", "SPAN")
            .default_value("300s")
            .value_parser(some_time)
            .help("A compile that takes longer is killed, and its client told"),
        option("job-memory", "SIZE").value_parser(|text: &str| ByteSize::parse(text)).help(
            "Address space of each compiler process, such as 4Gi; 0 = no limit [default: four \
                 times its share of the memory, at least 4Gi]",
        ),
        option("drain-timeout", "SPAN")
            .default_value("60s")
            .value_parser(some_time)
            .help("How long compiles may go on after SIGTERM"),
        option("compiler-path", "PATH")
            .default_value(worker::COMPILER_PATH)
            .value_parser(value_parser!(OsString))
            .help("Folders of compilers, as in the variable PATH"),
        Arg::new("no-sandbox").long("no-sandbox").action(ArgAction::SetTrue).help(
            "Confine compilers no further than an ordinary process; texts that could read files \
             are then refused",
        ),
        option("log-level", "LEVEL")
            .default_value(Level::Info.name())
            .value_parser(PossibleValuesParser::new(Level::ALL.iter().map(|level| level.name())))
            .help("How much is written to standard error"),
    ]
}

fn worker_reapi() -> [Arg; 9] {
    let heading = "Remote Execution API";
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help_heading(heading)
            .help(help)
    };
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help_heading(heading).help(help)
    };
    [
        file("tls-cert", "The worker's certificate, PEM"),
        file("tls-key", "The key of that certificate, PEM"),
        file("client-ca", "Clients must have a certificate of this authority, PEM"),
        file("token-file", "Clients must have one of these bearer tokens, a line each"),
        flag("insecure-reapi", "Serve other machines without keys, too"),
        Arg::new("toolchains")
            .long("toolchains")
            .value_name("WHOSE")
            .default_value("own")
            .value_parser(["own", "sent"])
            .help_heading(heading)
            .help(
                "Which compilers run: this machine's own, or those that clients send as well (with \
                 --client-ca or --token-file)",
            ),
        flag("accept-results", "Take results of actions from clients, too"),
        Arg::new("cas-dir")
            .long("cas-dir")
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .help_heading(heading)
            .help("Where files and results are kept [default: a folder that ends with the worker]"),
        Arg::new("cas-size")
            .long("cas-size")
            .value_name("SIZE")
            .default_value(worker::CAS_SIZE)
            .value_parser(|text: &str| ByteSize::parse(text))
            .help_heading(heading)
            .help("What they may take on disk; the least recently used go first"),
    ]
}

/// A span of time that is more than none.
fn some_time(text: &str) -> Result<Span, String> {
    match Span::parse(text)? {
        span if span.0.is_zero() => Err("it must be more than 0".to_owned()),
        span => Ok(span),
    }
}

fn hosts() -> Command {
    let for_kubectl = |name: &'static str, value_name: &'static str| {
        Arg::new(name).long(name).value_name(value_name).requires("from-kubectl")
    };
    plain("hosts", "Each cluster host: slots, reachable, same compiler or not, round trip")
        .arg(json())
        .arg(
            Arg::new("from-kubectl")
                .long("from-kubectl")
                .action(ArgAction::SetTrue)
                .help("Print the setting `hosts` for a Kubernetes cluster: its workers' nodes"),
        )
        .arg(
            for_kubectl("namespace", "NAME")
                .default_value("devtools")
                .help("The namespace of the workers' pods"),
        )
        .arg(
            for_kubectl("selector", "LABELS")
                .default_value("app.kubernetes.io/name=rcache-worker")
                .help("The labels of the workers' pods"),
        )
        .arg(
            for_kubectl("context", "NAME")
                .help("The context of kubectl's configuration [default: the current one]"),
        )
        .after_help(
            "Examples:\n  rcache hosts\n  \
             rcache hosts --from-kubectl >> ~/.config/rcache/rcache.toml",
        )
}

fn explain() -> Command {
    plain("explain", "Say whether a call would hit, miss or is not cached, and why")
        .arg(
            Arg::new("call")
                .value_name("COMPILER ARG")
                .required(true)
                .num_args(1..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_parser(value_parser!(OsString))
                .help("The call, as the build makes it"),
        )
        .after_help(
            "Nothing is compiled.\n\nExample:\n  rcache explain g++ -O2 -c widget.cc -o widget.o",
        )
}

fn import_ccache() -> Command {
    plain("import-ccache", "Print an rcache.toml made from ccache.conf")
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("A ccache.conf [default: the one that ccache would read]"),
        )
        .after_help(
            "What has no counterpart stands there as a comment with the reason.\n\n\
             Example:\n  rcache import-ccache > ~/.config/rcache/rcache.toml",
        )
}

fn link() -> Command {
    plain("link", "Make symlinks named like the compilers of this machine")
        .arg(
            Arg::new("directory")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Where the symlinks go; it is made if it is not there"),
        )
        .after_help(
            "Example:\n  rcache link ~/.local/lib/rcache && PATH=~/.local/lib/rcache:$PATH make",
        )
}

fn doctor() -> Command {
    plain("doctor", "Check the set-up and say what to do about what is wrong")
        .arg(
            Arg::new("report")
                .long("report")
                .value_name("FILE")
                .num_args(0..=1)
                .value_parser(value_parser!(PathBuf))
                .help(
                    "Write one file to attach to a bug report, without secrets and names \
                     [default: rcache-report.txt]",
                ),
        )
        .after_help(
            "It asks each host which compilers it has. The exit status is 1 when something is wrong; what \
             works, but\nnot as well as it could, is a warning.",
        )
}

fn top() -> Command {
    plain("top", "Live view of the build: units in flight, hosts and slots, hit rate")
        .arg(
            Arg::new("once")
                .long("once")
                .action(ArgAction::SetTrue)
                .help("Print one look as plain text, as where standard output is no terminal"),
        )
        .arg(json())
        .after_help(
            "q or Ctrl-C ends it. Hit rate and counts are those since the view began; with --once \
             and --json,\nthose since the daemon started. Shown are the hosts of this shell's \
             settings.",
        )
}

fn demo() -> Command {
    plain("demo", "Build a small C++ project on a worker and from the cache, and show the figures")
        .after_help(
            "The worker is one of its own, on loopback. Everything is in a temporary folder with a cache \
             of its\nown, removed at the end; your settings, hosts and cached results are not touched.",
        )
}

fn completions() -> Command {
    plain("completions", "Print a completion script for a shell")
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(PossibleValuesParser::new(["bash", "elvish", "fish", "zsh"]))
                .help("The shell"),
        )
        .after_help(
            "Example:\n  rcache completions bash > ~/.local/share/bash-completion/completions/rcache",
        )
}

fn man() -> Command {
    plain("man", "Print the man page, or write one page for each subcommand")
        .arg(
            Arg::new("directory")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("Where the pages go; it is made if it is not there"),
        )
        .after_help("Example:\n  rcache man ~/.local/share/man/man1")
}

/// Wrapped to fit below its key.
fn indented(text: &str) -> String {
    wrapped(text, "      ")
}

/// Wrapped, each line behind `start`.
pub fn wrapped(text: &str, start: &str) -> String {
    const COLUMNS: usize = 88;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("one line at least");
        if !last.is_empty() && last.len() + word.len() >= COLUMNS {
            lines.push(word.to_owned());
        } else {
            last.extend([if last.is_empty() { "" } else { " " }, word]);
        }
    }
    lines.iter().map(|line| format!("{start}{line}\n")).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_subcommand_is_told_from_a_compiler() {
        let defined: Vec<String> =
            command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let mut listed = SUBCOMMANDS.to_vec();
        listed.retain(|name| *name != "help");
        assert_eq!(defined, listed);
    }

    #[test]
    fn every_setting_is_in_the_help() {
        let help = settings().render_long_help().to_string();
        for key in config::KEYS {
            assert!(help.contains(&format!("  {} = {}", key.name, key.default)), "{}", key.name);
        }
    }

    #[test]
    fn bad_sizes_and_ages_are_refused_with_a_remedy() {
        let error = |words: &[&str]| command().try_get_matches_from(words).unwrap_err().to_string();
        assert!(error(&["rcache", "trim", "--max-size", "big"]).contains("write for example"));
        assert!(error(&["rcache", "trim", "--older-than", "old"]).contains("write for example"));
    }

    #[test]
    fn a_call_to_explain_keeps_its_options() {
        let words = ["rcache", "explain", "gcc", "-c", "--help", "a.c", "--", "-V"];
        let matches = command().try_get_matches_from(words).unwrap();
        let (_, options) = matches.subcommand().unwrap();
        let call: Vec<&OsString> = options.get_many("call").unwrap().collect();
        assert_eq!(call, ["gcc", "-c", "--help", "a.c", "--", "-V"]);
    }
}
