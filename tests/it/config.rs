//! A bad configuration: a compile warns once and goes on, a subcommand names file, line and key.

use crate::support::{Cache, Call, Project};
use std::fs;

const UNIT: &[(&str, &str)] = &[("a.c", "int x;\n")];

/// A cache whose `rcache.toml` holds these bytes.
fn configured(text: &[u8]) -> (Cache, std::path::PathBuf) {
    let cache = Cache::new();
    let folder = cache.root().join("config/rcache");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("rcache.toml");
    fs::write(&file, text).unwrap();
    (cache, file)
}

/// The first compile succeeds with one warning, the next one without; each subcommand fails; warning
/// and error name all of `words`.
#[track_caller]
fn bad(text: &[u8], words: &[&str]) {
    let project = Project::new(UNIT);
    let (cache, file) = configured(text);
    project.plain("gcc -c a.c").success();
    let wanted = project.read("a.o");
    for turn in 0..2 {
        project.remove("a.o");
        let compile = cache.compile(&project, "gcc -c a.c").success();
        assert!(project.read("a.o") == wanted);
        let warnings = compile.err();
        if turn == 1 && warnings.is_empty() {
            break;
        }
        assert!(compile.stdout.is_empty() && warnings.lines().count() == 1, "{compile:?}");
        assert!(warnings.starts_with("rcache: "), "{compile:?}");
        for word in words {
            assert!(warnings.contains(word), "{word} in {warnings}");
        }
        assert!(warnings.contains(&file.display().to_string()), "{warnings}");
    }
    for subcommand in ["stats", "stats --json", "zero", "clear", "trim", "config", "daemon status"]
    {
        let outcome = cache.rcache(subcommand);
        assert!(!outcome.ok(), "{subcommand} with {}: {outcome:?}", String::from_utf8_lossy(text));
        let told = outcome.err();
        assert!(told.contains(&file.display().to_string()), "{subcommand}: {told}");
        for word in words {
            assert!(told.contains(word), "{subcommand}: {word} in {told}");
        }
    }
    fs::remove_file(file).unwrap();
}

#[test]
fn unknown_key() {
    bad(b"# a comment\nmax_size = \"1G\"\nmax_sise = \"2G\"\n", &["max_sise", "3"]);
}

#[test]
fn wrong_type() {
    bad(b"\n\nmax_files = \"many\"\n", &["max_files", "3"]);
    bad(b"compression = 1\n", &["compression", "1"]);
    bad(b"\nverify_rate = 1.5\n", &["verify_rate", "2", "1.5", "0.001"]);
    bad(b"hosts = \"one\\ttwo\"\nsloppiness = 4\n", &["sloppiness", "2"]);
}

#[test]
fn bad_size_and_bad_span() {
    bad(b"max_size = \"5 bananas\"\n", &["max_size", "1", "bananas"]);
    bad(b"idle_timeout = \"soon\"\n", &["idle_timeout", "1", "soon"]);
    bad(b"max_size = \"-1G\"\n", &["max_size", "1"]);
}

#[test]
fn bad_value_of_a_list() {
    bad(b"sloppiness = [\"time_macros\", \"everything\"]\n", &["sloppiness", "everything"]);
}

#[test]
fn not_toml() {
    bad(b"max_size = \"1G\"\nthis is no TOML\n", &["2"]);
    bad(b"max_size = \"unclosed\n", &["1"]);
}

#[test]
fn not_utf8() {
    bad(b"namespace = \"\xff\xfe\"\n", &["UTF-8"]);
}

#[test]
fn a_folder_in_the_files_place() {
    let project = Project::new(UNIT);
    let (cache, file) = configured(b"");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let compile = cache.compile(&project, "gcc -c a.c").success();
    assert_eq!(compile.err().lines().count(), 1, "{compile:?}");
    let told = cache.rcache("config");
    assert!(!told.ok() && told.err().contains("rcache.toml"), "{told:?}");
}

#[test]
fn unreadable() {
    let project = Project::new(UNIT);
    let (cache, file) = configured(b"max_size = \"1G\"\n");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let cache = cache.unprivileged(&project);
    let compile = cache.compile(&project, "gcc -c a.c").success();
    assert_eq!(compile.err().lines().count(), 1, "{compile:?}");
    let told = cache.rcache("config");
    assert!(!told.ok() && told.err().contains("rcache.toml"), "{told:?}");
}

#[test]
fn the_file_that_rcache_config_names() {
    let project = Project::new(UNIT);
    let cache = Cache::new().with("RCACHE_CONFIG", "/no/such/file.toml");
    let told = cache.rcache("config");
    assert!(!told.ok() && told.err().contains("/no/such/file.toml"), "{told:?}");
    let compile = cache.compile(&project, "gcc -c a.c").success();
    assert!(compile.err().contains("/no/such/file.toml"), "{compile:?}");
}

#[test]
fn bad_variable() {
    let project = Project::new(UNIT);
    let cache = Cache::new();
    let call = Call::from("gcc -c a.c").env("RCACHE_MAX_SIZE", "bananas");
    let compile = cache.compile(&project, call).success();
    assert_eq!(compile.err().lines().count(), 1, "{compile:?}");
    assert!(compile.err().contains("RCACHE_MAX_SIZE"), "{compile:?}");
    let cache = cache.with("RCACHE_DIRECT_MODE", "perhaps");
    let told = cache.rcache("config");
    assert!(!told.ok() && told.err().contains("RCACHE_DIRECT_MODE"), "{told:?}");
}

#[test]
fn the_hosts_of_distcc_are_shown_with_their_place() {
    let cache = Cache::new();
    let file = cache.root().join("distcc/hosts");
    let hosts = |cache: &Cache| {
        let shown = cache.rcache("config --json").success().out();
        serde_json::from_str::<serde_json::Value>(&shown).unwrap()["hosts"].clone()
    };
    fs::write(&file, "# the cluster\nk8vm0/16 [::1]:4000,lzo\n").unwrap();
    let shown = hosts(&cache);
    assert_eq!(shown["value"], serde_json::json!(["k8vm0/16", "[::1]:4000,lzo"]));
    assert_eq!((&shown["origin"], &shown["file"]), (&"file".into(), &file.to_str().into()));
    let cache = cache.with("DISTCC_HOSTS", "other");
    let shown = hosts(&cache);
    assert_eq!(shown["value"], serde_json::json!(["other"]));
    assert_eq!(
        (&shown["origin"], &shown["variable"]),
        (&"environment".into(), &"DISTCC_HOSTS".into())
    );
}

#[test]
fn a_mistake_in_the_hosts_of_distcc() {
    let project = Project::new(UNIT);
    let cache = Cache::new();
    let file = cache.root().join("distcc/hosts");
    fs::write(&file, "\nme@host\n").unwrap();
    let wanted = format!("{}:2:1: \"me@host\"", file.display());
    let compile = cache.compile(&project, "gcc -c a.c").success();
    assert!(compile.err().contains(&wanted) && compile.err().lines().count() == 1, "{compile:?}");
    let told = cache.rcache("stats");
    assert!(!told.ok() && told.err().contains(&wanted), "{told:?}");
    // The daemon reads it again when it changes.
    fs::write(&file, "--nonsense\n").unwrap();
    let compile = cache.compile(&project, "gcc -c a.c").success();
    assert!(compile.err().contains("--nonsense"), "{compile:?}");
}

#[test]
fn hosts_that_may_not_be_read_are_none() {
    let project = Project::new(UNIT);
    let cache = Cache::new();
    let file = cache.root().join("distcc/hosts");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let cache = cache.unprivileged(&project);
    let shown = cache.rcache("config").success().out();
    assert!(!shown.contains(&file.display().to_string()), "{shown}");
}

#[test]
fn a_bad_key_leaves_the_others_in_force() {
    let project = Project::new(UNIT);
    let (cache, _) = configured(b"max_size = \"bananas\"\ndisable = true\n");
    cache.compile(&project, "gcc -c a.c").success();
    cache.compile(&project, "gcc -c a.c").success();
    fs::remove_file(cache.root().join("config/rcache/rcache.toml")).unwrap();
    assert_eq!(cache.stats().get("cache_miss"), 0);
}

#[test]
fn every_spelling_of_a_size() {
    for (text, bytes) in [
        ("25.0G", 25_000_000_000),
        ("500M", 500_000_000),
        ("10Gi", 10 << 30),
        ("1k", 1000),
        ("2Ki", 2048),
        ("1.5T", 1_500_000_000_000),
        ("0", 0),
    ] {
        let cache = Cache::new().with("RCACHE_MAX_SIZE", text);
        assert_eq!(cache.stats().store("max_bytes"), bytes, "{text}");
    }
}
