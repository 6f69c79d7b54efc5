//! Settings as people write them, and what they are told when something is wrong.

use super::*;
use crate::{CompilerCheck, HostList, Level, Share, Sloppiness};
use proptest::prelude::*;
use std::time::Duration;

/// A settings file and the variables of a call.
struct Settings {
    folder: tempfile::TempDir,
    variables: Vec<(OsString, OsString)>,
}

impl Settings {
    fn new(toml: &str) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rcache.toml");
        std::fs::write(&file, toml).unwrap();
        let variables = vec![(RCACHE_CONFIG.into(), file.into()), (HOME.into(), "/home/u".into())];
        Settings { folder, variables }
    }

    fn with(mut self, name: &str, value: &str) -> Settings {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn load(&self) -> Loaded {
        Config::load_below(self.folder.path(), &Environment::new(&self.variables))
    }

    /// Writes a file below the scratch folder, which stands for `/`.
    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The hosts in force and their origin, without the path of the scratch folder.
    fn hosts(&self) -> (String, String) {
        let loaded = self.load();
        let row = loaded.rows().into_iter().find(|row| row.key == "hosts").unwrap();
        let folder = format!("{}/", self.folder.path().display());
        (row.value.to_string(), row.origin.to_string().replace(&folder, ""))
    }

    fn config(&self) -> Config {
        let loaded = self.load();
        assert_eq!(loaded.problems, []);
        loaded.config
    }

    /// The problems, without the path of the scratch folder.
    fn problems(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        self.load()
            .problems
            .iter()
            .map(|problem| problem.to_string().replace(&folder, ""))
            .collect()
    }
}

fn problem(toml: &str) -> String {
    let problems = Settings::new(toml).problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].clone()
}

fn variable_problem(name: &str, value: &str) -> String {
    let problems = Settings::new("").with(name, value).problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].clone()
}

#[test]
fn every_key_is_read_from_a_file() {
    let config = Settings::new(
        r#"
        cache_dir = "~/c/$$x"
        max_size = "25.0G"
        max_files = 7
        compression = false
        compression_level = -5
        prefix_command = "nice -n '5 6'"
        hosts = ["k8vm0/16", "k8n0/12,lzo"]
        remote_storage = ["redis://h|ttl=1d", "file:///x"]
        remote_write = true
        remote_only = true
        reshare = true
        signing_key = "~/k"
        trusted_keys = ["ed25519:1"]
        direct_mode = false
        base_dir = "$HOME/src"
        hash_dir = false
        sloppiness = ["time_macros", "locale"]
        compiler_check = "string:gcc 12"
        namespace = "mine"
        ignore_options = ["-fdiag*"]
        extra_files_to_hash = ["~/a", "b"]
        disable = true
        read_only = true
        recache = true
        verify_rate = 0.001
        local_slots = 3
        remote_timeout = "1.5m"
        idle_timeout = 0
        log_file = "/tmp/log"
        log_level = "debug"
        "#,
    )
    .config();
    let expected = Config {
        cache_dir: "/home/u/c/$x".into(),
        max_size_bytes: 25_000_000_000,
        max_files: 7,
        compression: false,
        compression_level: -5,
        prefix_command: ["nice", "-n", "5 6"].map(String::from).into(),
        hosts: HostList::parse("k8vm0/16 k8n0/12,lzo").unwrap(),
        remote_storage: ["redis://h|ttl=1d", "file:///x"].map(String::from).into(),
        remote_write: true,
        remote_only: true,
        reshare: true,
        signing_key: Some("/home/u/k".into()),
        trusted_keys: vec!["ed25519:1".into()],
        direct_mode: false,
        base_dir: "/home/u/src".into(),
        hash_dir: false,
        sloppiness: Sloppiness { time_macros: true, locale: true, ..Default::default() },
        compiler_check: CompilerCheck::String("gcc 12".into()),
        namespace: "mine".into(),
        ignore_options: vec!["-fdiag*".into()],
        extra_files_to_hash: ["/home/u/a", "b"].map(PathBuf::from).into(),
        disable: true,
        read_only: true,
        recache: true,
        verify_rate: Share::of(0.001).unwrap(),
        local_slots: 3,
        local_slots_set: true,
        remote_timeout: Duration::from_secs(90),
        idle_timeout: None,
        log_file: Some("/tmp/log".into()),
        log_level: Level::Debug,
    };
    assert_eq!(config, expected);
}

#[test]
fn every_key_is_read_from_its_variable() {
    for (name, value, shown) in [
        ("CACHE_DIR", "~/c", "/home/u/c"),
        ("DIR", "/d", "/d"),
        ("MAX_SIZE", "10Gi", "10Gi"),
        ("MAX_FILES", "9", "9"),
        ("COMPRESSION", "no", "false"),
        ("COMPRESSION_LEVEL", "19", "19"),
        ("PREFIX_COMMAND", "ionice 'a b'", "ionice 'a b'"),
        ("HOSTS", " a/2   b ", "a/2 b"),
        ("DIRECT_MODE", "0", "false"),
        ("BASE_DIR", "/b", "/b"),
        ("BASE_DIR", "auto", "auto"),
        ("HASH_DIR", "OFF", "false"),
        (
            "REMOTE_STORAGE",
            "redis://me:pw@h/1|ttl=1d http://h|bearer-token=t file:///x",
            "redis://me:(secret)@h/1|ttl=1d http://h|bearer-token=(secret) file:///x",
        ),
        ("REMOTE_WRITE", "yes", "true"),
        ("REMOTE_ONLY", "1", "true"),
        ("RESHARE", "on", "true"),
        ("SIGNING_KEY", "~/k", "/home/u/k"),
        ("TRUSTED_KEYS", "ed25519:1 ed25519:2", "ed25519:1 ed25519:2"),
        ("SLOPPINESS", "locale,time_macros pch_defines", "locale pch_defines time_macros"),
        ("COMPILER_CHECK", "%compiler% -v", "%compiler% -v"),
        ("NAMESPACE", "n", "n"),
        ("IGNORE_OPTIONS", "-a -b", "-a -b"),
        ("EXTRA_FILES_TO_HASH", "/x ~/y", "/x /home/u/y"),
        ("DISABLE", "yes", "true"),
        ("READ_ONLY", "1", "true"),
        ("RECACHE", "true", "true"),
        ("VERIFY_RATE", " 1e-3 ", "0.001"),
        ("LOCAL_SLOTS", "12", "12"),
        ("REMOTE_TIMEOUT", "20", "20s"),
        ("IDLE_TIMEOUT", "2d", "2d"),
        ("LOG_FILE", "/l", "/l"),
        ("LOG_LEVEL", "trace", "trace"),
    ] {
        let name = format!("{PREFIX}{name}");
        let loaded = Settings::new("").with(&name, value).load();
        assert_eq!(loaded.problems, []);
        let origin = Origin::Environment { name: name.clone() };
        let row = loaded.rows().into_iter().find(|row| row.origin == origin).expect(&name);
        assert_eq!(row.value.to_string(), shown, "{name}");
    }
}

#[test]
fn the_default_column_is_what_the_defaults_are() {
    let loaded = Settings::new("").load();
    for (key, row) in KEYS.iter().zip(loaded.rows()) {
        assert_eq!(row.origin, Origin::Default);
        let written = format!("{} = {}", key.name, key.default);
        match key.name {
            "cache_dir" => assert_eq!(row.value.to_string(), "/home/u/.cache/rcache"),
            "local_slots" => assert_ne!(row.value, Value::Integer(0)),
            _ => assert_eq!(Settings::new(&written).load().config, loaded.config, "{written}"),
        }
    }
}

#[test]
fn a_problem_names_file_line_key_and_remedy() {
    for (toml, expected) in [
        (
            "\n\nmax_size = \"5 parsecs\"",
            "rcache.toml:3: max_size: \"5 parsecs\" is not a size; write for example \"5.0G\", \
             \"500M\" or \"10Gi\"",
        ),
        (
            "maxsize = 1",
            "rcache.toml:1: maxsize: no setting has this name; did you mean \"max_size\"?",
        ),
        (
            "remote_cache = 1",
            "rcache.toml:1: remote_cache: no setting has this name; `rcache config` lists them",
        ),
        (
            "[cache]\nx = 1",
            "rcache.toml:1: cache: the settings are not in sections; leave the [header] out",
        ),
        (
            "disable = \"yes\"",
            "rcache.toml:1: disable: \"yes\" is not a truth value; write true or false, without \
             quotes",
        ),
        (
            "hosts = [1]",
            "rcache.toml:1: hosts: a list that holds other things than texts is not a \
             list of texts; write for example [\"a\", \"b\"]",
        ),
        ("namespace = 5", "rcache.toml:1: namespace: 5 is not a text; write it between quotes"),
        (
            "compression_level = 20",
            "rcache.toml:1: compression_level: 20 is not a whole number from -5 to 19",
        ),
        (
            "verify_rate = 1.5",
            "rcache.toml:1: verify_rate: 1.5 is not a share; write a number from 0 to 1, such as \
             0.001",
        ),
        (
            "verify_rate = \"often\"",
            "rcache.toml:1: verify_rate: \"often\" is not a share; write a number from 0 to 1, \
             such as 0.001",
        ),
        ("max_files = 1.5", "rcache.toml:1: max_files: 1.5 is not a whole number from 0 up"),
        ("max_files = -1", "rcache.toml:1: max_files: -1 is not a whole number from 0 up"),
        ("local_slots = 0", "rcache.toml:1: local_slots: 0 is not a whole number from 1 to 10000"),
        (
            "max_files = 99999999999999999999",
            "rcache.toml:1: max_files: a number of that size is not \
             a whole number from 0 up",
        ),
        (
            "max_size = 5000000",
            "rcache.toml:1: max_size: 5000000 has no unit, and would count Gi; \
             write \"5000000B\" for bytes",
        ),
        (
            "cache_dir = \"c\"",
            "rcache.toml:1: cache_dir: \"c\" is not an absolute path; start it with \
             / or ~/",
        ),
        (
            "log_file = \"/$NOPE/l\"",
            "rcache.toml:1: log_file: \"/$NOPE/l\" names the variable NOPE, \
             which is not set",
        ),
        (
            "sloppiness = [\"time_macro\"]",
            "rcache.toml:1: sloppiness: \"time_macro\" is not known; did \
             you mean \"time_macros\"?",
        ),
        (
            "prefix_command = \"a 'b\"",
            "rcache.toml:1: prefix_command: a ' is not closed in \"a 'b\"",
        ),
        (
            "remote_timeout = 0",
            "rcache.toml:1: remote_timeout: a remote compile needs some time; \
             write for example \"300s\"",
        ),
        (
            "log_level = \"loud\"",
            "rcache.toml:1: log_level: \"loud\" is not a level; write error, \
             warn, info, debug or trace",
        ),
    ] {
        assert_eq!(problem(toml), expected);
    }
}

#[test]
fn a_syntax_error_costs_its_own_line_only() {
    let settings = Settings::new("namespace = \"a\"\nmax_size = 5 parsecs\nmax_files = 3\n");
    let loaded = settings.load();
    assert_eq!(loaded.config.namespace, "a");
    assert_eq!(loaded.config.max_size_bytes, 5_000_000_000);
    assert_eq!(loaded.config.max_files, 3);
    let problems = settings.problems();
    assert!(problems[0].starts_with("rcache.toml:2:"), "{problems:?}");
}

/// Each was quadratic in the length of the file once: minutes for one of this size.
#[test]
fn a_long_file_of_nonsense_is_told_of_in_short() {
    for nonsense in ["=\n", "[a]\n", "max_files = 1\n", "[[[", "\"\\q"] {
        let problems = Settings::new(&nonsense.repeat(500_000 / nonsense.len())).problems();
        assert!((1..=102).contains(&problems.len()), "{nonsense}: {}", problems.len());
    }
    let unknown: String = (0..20_000).map(|number| format!("key{number} = 1\n")).collect();
    assert_eq!(Settings::new(&unknown).problems().len(), 20_000);
}

#[test]
fn a_key_given_twice_is_a_problem() {
    let text = problem("max_files = 1\nmax_files = 2\n");
    assert!(text.starts_with("rcache.toml:2:1: duplicate key"), "{text}");
    assert!(text.ends_with("keep one of the two lines"), "{text}");
}

#[test]
fn a_problem_of_a_variable_names_it() {
    assert_eq!(
        variable_problem("RCACHE_DISABLE", "perhaps"),
        "RCACHE_DISABLE: \"perhaps\" is not a truth value; write 1, true, yes, on, 0, false, no \
         or off"
    );
    assert_eq!(
        variable_problem("RCACHE_MAXSIZE", "1G"),
        "RCACHE_MAXSIZE: no setting has this name; did you mean RCACHE_MAX_SIZE?"
    );
    assert_eq!(
        variable_problem("RCACHE_DIR", "here"),
        "RCACHE_DIR: \"here\" is not an absolute path; start it with / or ~/"
    );
    assert_eq!(Settings::new("").with("RCACHE_SOMETHING_ELSE", "1").problems(), [""; 0]);
}

#[test]
fn unreadable_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let problem = |path: &Path| {
        let variables = [(RCACHE_CONFIG.into(), path.into()), (HOME.into(), "/home/u".into())];
        let loaded = Config::load_below(Path::new("/nowhere"), &Environment::new(&variables));
        loaded.problems.iter().map(Problem::to_string).collect::<String>()
    };
    let shown = folder.path().display().to_string();
    assert_eq!(problem(folder.path()), format!("{shown}: cannot be read: it is not a file"));
    let missing = folder.path().join("none.toml");
    assert_eq!(
        problem(&missing),
        format!("RCACHE_CONFIG: the file {shown}/none.toml is not there")
    );
    let latin = folder.path().join("latin.toml");
    std::fs::write(&latin, b"a = 1\nnamespace = \"\xe9\"\n").unwrap();
    assert!(problem(&latin).ends_with("latin.toml: is not UTF-8 (line 2); save it as UTF-8"));
    let large = folder.path().join("large.toml");
    std::fs::write(&large, vec![b'\n'; (1 << 20) + 1]).unwrap();
    assert!(problem(&large).contains("is larger than"));
    assert!(problem(Path::new("relative.toml")).contains("is not an absolute path"));
    assert_eq!(problem(Path::new("/dev/null")), "");
}

#[test]
fn the_environment_goes_before_the_file() {
    let settings = Settings::new("max_files = 1\nnamespace = \"f\"").with("RCACHE_MAX_FILES", "2");
    let loaded = settings.load();
    assert_eq!((loaded.config.max_files, loaded.config.namespace.as_str()), (2, "f"));
    let origins: Vec<String> = loaded.origins.iter().map(Origin::to_string).collect();
    let origin = |name: &str| &origins[KEYS.iter().position(|key| key.name == name).unwrap()];
    assert_eq!(origin("max_files"), "RCACHE_MAX_FILES");
    assert!(origin("namespace").ends_with("rcache.toml:2"), "{origins:?}");

    let both = Settings::new("").with("RCACHE_DIR", "/a").with("RCACHE_CACHE_DIR", "/b");
    assert_eq!(both.config().cache_dir, Path::new("/b"));
}

#[test]
fn an_empty_variable_empties_a_text_and_nothing_else() {
    let settings = Settings::new("hosts = [\"a\"]\nmax_files = 4\ncompression = false")
        .with("RCACHE_HOSTS", "")
        .with("RCACHE_MAX_FILES", "")
        .with("RCACHE_COMPRESSION", "")
        .with("RCACHE_CACHE_DIR", "")
        .with("RCACHE_DIR", "");
    let config = settings.config();
    assert_eq!((config.hosts.words().len(), config.max_files, config.compression), (0, 4, false));
    assert_eq!(config.cache_dir, Path::new("/home/u/.cache/rcache"));
}

#[test]
fn a_bad_value_gives_the_default_and_not_the_value_below() {
    let loaded = Settings::new("max_files = 4").with("RCACHE_MAX_FILES", "many").load();
    assert_eq!(loaded.config.max_files, 0);
    assert_eq!(loaded.origins[2], Origin::Default);
}

#[test]
fn files_are_found_where_xdg_says() {
    let files = |variables: &[(&str, &str)]| {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let mut files = Config::files(&Environment::new(&variables));
        files.retain(|path| !path.ends_with("hosts"));
        files
    };
    let machine = Path::new("/etc/rcache/rcache.toml");
    assert_eq!(files(&[]), [machine]);
    assert_eq!(files(&[("HOME", "/h")]), [machine, Path::new("/h/.config/rcache/rcache.toml")]);
    assert_eq!(
        files(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]),
        [machine, Path::new("/x/rcache/rcache.toml")]
    );
    assert_eq!(
        files(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "relative")]),
        [machine, Path::new("/h/.config/rcache/rcache.toml")]
    );
    assert_eq!(files(&[("HOME", "/h"), ("RCACHE_CONFIG", "~/r")]), [Path::new("/h/r")]);
    assert!(files(&[("RCACHE_CONFIG", "r")]).is_empty());
}

#[test]
fn hosts_are_found_where_distcc_finds_them() {
    let mut settings = Settings::new("");
    settings.variables.retain(|(name, _)| name != HOME);
    let home = settings.folder.path().join("home");
    let settings = settings.with(HOME, home.to_str().unwrap());
    assert_eq!(settings.hosts(), (String::new(), "default".into()));
    settings.write("etc/distcc/hosts", "# ours\nmachine/3\n");
    assert_eq!(settings.hosts(), ("machine/3".into(), "etc/distcc/hosts".into()));
    settings.write("home/.distcc/hosts", "users/5");
    assert_eq!(settings.hosts(), ("users/5".into(), "home/.distcc/hosts".into()));

    let folder = settings.folder.path().join("other").display().to_string();
    let settings = settings.with("DISTCC_DIR", &folder);
    // DISTCC_DIR replaces ~/.distcc and is not searched along with it.
    assert_eq!(settings.hosts(), ("machine/3".into(), "etc/distcc/hosts".into()));
    // An empty file counts: nothing is merged.
    settings.write("other/hosts", "# nobody");
    assert_eq!(settings.hosts(), (String::new(), "other/hosts".into()));

    let settings = settings.with("DISTCC_HOSTS", "v/1 # w");
    assert_eq!(settings.hosts(), ("v/1".into(), "DISTCC_HOSTS".into()));
    let settings = settings.with("RCACHE_HOSTS", "ours");
    assert_eq!(settings.hosts(), ("ours".into(), "RCACHE_HOSTS".into()));
    assert_eq!(settings.problems(), [""; 0]);
}

/// Debian's package puts this there, and no user asked for it.
#[test]
fn the_list_that_a_package_brings_is_nobodys() {
    let settings = Settings::new("");
    let debian = "# --- /etc/distcc/hosts ---\n# man distcc\n#\n# By default, just test that it works \
                  in loopback mode.\n127.0.0.1\n";
    for text in [debian, "127.0.0.1", "localhost", "[::1] # to try it", "localhost\n127.0.0.1\n"] {
        settings.write("etc/distcc/hosts", text);
        assert_eq!(settings.hosts(), (String::new(), "default".into()), "{text}");
        assert_eq!(settings.problems(), [""; 0]);
    }
    // Somebody wrote these.
    for text in ["127.0.0.1/8", "127.0.0.1:4000", "127.0.0.1,lzo", "127.0.0.1 k8n0", "k8n0"] {
        settings.write("etc/distcc/hosts", text);
        assert_eq!(settings.hosts(), (text.into(), "etc/distcc/hosts".into()));
    }
    // A list of one's own counts, whatever is in it.
    settings.write("home/.distcc/hosts", "127.0.0.1");
    let mut settings = settings;
    settings.variables.retain(|(name, _)| name != HOME);
    let home = settings.folder.path().join("home").display().to_string();
    let settings = settings.with(HOME, &home);
    assert_eq!(settings.hosts(), ("127.0.0.1".into(), "home/.distcc/hosts".into()));
}

#[test]
fn an_empty_distcc_hosts_means_no_hosts() {
    let settings = Settings::new("").with("DISTCC_HOSTS", "");
    settings.write("etc/distcc/hosts", "machine/3");
    assert_eq!(settings.hosts(), (String::new(), "DISTCC_HOSTS".into()));
}

#[test]
fn an_empty_key_leaves_the_word_to_distcc() {
    let settings = Settings::new("hosts = [\"a\"]").with("RCACHE_HOSTS", "");
    settings.write("etc/distcc/hosts", "machine/3");
    assert_eq!(settings.hosts(), ("machine/3".into(), "etc/distcc/hosts".into()));
}

#[test]
fn a_mistake_in_the_hosts_has_a_place_and_means_no_hosts() {
    let settings = Settings::new("");
    settings.write("etc/distcc/hosts", "fine/3\n  me@host/4\n");
    let expected = "etc/distcc/hosts:2:3: \"me@host/4\" asks for hosts that are reached through \
                    ssh, which is not supported";
    assert_eq!(settings.problems(), [expected]);
    assert_eq!(settings.hosts(), (String::new(), "default".into()));

    let settings = Settings::new("").with("DISTCC_HOSTS", "a/0");
    let expected =
        "DISTCC_HOSTS: \"a/0\": \"0\" is not a number of slots, which goes from 1 to 10000";
    assert_eq!(settings.problems(), [expected]);

    // A mistake in the key does not bring the hosts of distcc into play.
    let settings = Settings::new("hosts = [\"a # x\", \"b,cpp\"]").with("DISTCC_HOSTS", "c");
    let expected = "rcache.toml:1: hosts: \"b,cpp\" asks for the pump mode of distcc (,cpp), which is \
                    not supported";
    assert_eq!(settings.problems(), [expected]);
    assert_eq!(settings.hosts(), (String::new(), "default".into()));

    let settings = Settings::new("").with("DISTCC_DIR", "here");
    assert_eq!(settings.problems(), ["DISTCC_DIR: \"here\" is not an absolute path"]);
    let settings = Settings::new("");
    settings.write("etc/distcc/hosts/file", "");
    assert_eq!(settings.problems(), ["etc/distcc/hosts: cannot be read: it is not a file"]);
}

#[test]
fn every_form_of_the_hosts_key() {
    for toml in [
        "hosts = [\"a/2\", \"# no\", \"--randomize b # c\"]",
        "hosts = \"a/2 --randomize b # c\"",
        "hosts = \"\"\"\n# first\na/2\nb --randomize\"\"\"",
    ] {
        assert_eq!(Settings::new(toml).hosts().0, "--randomize a/2 b", "{toml}");
    }
}

#[test]
fn the_files_of_the_hosts_count_where_they_may_be_read() {
    let files = |variables: &[(&str, &str)]| {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let mut files = Config::files(&Environment::new(&variables));
        files.retain(|path| path.ends_with("hosts"));
        files
    };
    let machine = Path::new("/etc/distcc/hosts");
    assert_eq!(files(&[]), [machine]);
    assert_eq!(files(&[("HOME", "/h")]), [Path::new("/h/.distcc/hosts"), machine]);
    let both = [("HOME", "/h"), ("DISTCC_DIR", "/d")];
    assert_eq!(files(&both), [Path::new("/d/hosts"), machine]);
    assert!(files(&[("HOME", "/h"), ("DISTCC_HOSTS", "")]).is_empty());
}

#[test]
fn without_a_home_nothing_is_cached() {
    let nowhere = Path::new("/nowhere");
    let loaded = Config::load_below(nowhere, &Environment::new(&[]));
    assert!(loaded.config.disable);
    assert!(loaded.problems[0].to_string().contains("no place for the cache"));
    let variables = [("XDG_CACHE_HOME".into(), "/x".into())];
    let loaded = Config::load_below(nowhere, &Environment::new(&variables));
    assert_eq!(loaded.config.cache_dir, Path::new("/x/rcache"));
    assert!(!loaded.config.disable);
}

#[test]
fn settings_hold_while_the_variables_they_read_are_the_same() {
    let settings = Settings::new("base_dir = \"/src/$PROJECT\"").with("PROJECT", "p");
    settings.write("etc/distcc/hosts", "a");
    let loaded = settings.load();
    let holds = |extra: &[(&str, &str)]| {
        let mut variables: Vec<(OsString, OsString)> =
            extra.iter().map(|(name, value)| (name.into(), value.into())).collect();
        variables.extend(settings.variables.iter().cloned());
        loaded.holds_for(&Environment::new(&variables))
    };
    assert!(holds(&[]));
    assert!(holds(&[("PATH", "/bin")]));
    for name in [
        "PROJECT",
        "HOME",
        "RCACHE_DIR",
        "RCACHE_MAX_SIZE",
        "XDG_CACHE_HOME",
        "DISTCC_HOSTS",
        "DISTCC_DIR",
    ] {
        assert!(!holds(&[(name, "other")]), "{name}");
    }
}

#[test]
fn relevant_variables_are_the_deciding_ones() {
    let variables = ["PATH", "RCACHE_X", "HOME", "XDG_RUNTIME_DIR", "DISTCC_HOSTS", "DISTCC_LOG"]
        .map(|name| (name.into(), "1".into()));
    let environment = Environment::new(&variables);
    let names: Vec<&OsStr> =
        relevant_variables(&environment).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["RCACHE_X", "HOME", "DISTCC_HOSTS"]);
}

proptest! {
    #[test]
    fn no_file_panics(toml in "([a-z_]{0,12} ?=? ?[\\[\"'0-9a-z.\\]\\\\é]{0,8}\n?){0,4}") {
        let settings = Settings::new(&toml);
        for problem in settings.load().problems {
            prop_assert!(!problem.to_string().is_empty());
        }
    }

    #[test]
    fn no_variable_panics(index in 0..KEYS.len(), value in ".{0,12}") {
        let loaded = Settings::new("").with(&KEYS[index].variable(), &value).load();
        prop_assert!(loaded.problems.len() <= 1);
    }
}
