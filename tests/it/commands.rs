//! The subcommands as a user meets them.

use crate::support::{
    Cache, Call, LIMIT_CALL, Project, SYSTEM_PATH, check, have, rcache_binary, run,
};
use serde_json::Value;

/// Every counter that CONTRACT.md names, and those of verification.
const COUNTERS: &str = "direct_cache_hit preprocessed_cache_hit cache_miss direct_cache_miss \
    preprocessed_cache_miss called_for_link called_for_preprocessing multiple_source_files \
    no_input_file unsupported_source_language unsupported_compiler_option bad_compiler_arguments \
    could_not_use_precompiled_header could_not_use_modules compile_failed preprocessor_error \
    compiler_check_failed could_not_find_compiler output_to_stdout bad_output_file \
    missing_cache_file modified_input_file bad_input_file internal_error disabled recache \
    unsupported_environment_variable unsupported_code_directive autoconf_test \
    compiler_produced_no_output compiler_produced_stdout remote_compile remote_failed \
    local_compile passed_through verify_match verify_mismatch verify_unstable verify_skipped";

/// Every setting that CONTRACT.md names, and `verify_rate`.
const SETTINGS: &str = "cache_dir max_size max_files compression compression_level prefix_command \
    hosts direct_mode base_dir hash_dir sloppiness compiler_check namespace ignore_options \
    extra_files_to_hash disable read_only recache verify_rate local_slots remote_timeout idle_timeout log_file \
    log_level";

fn project() -> Project {
    Project::new(&[
        ("a.c", "#include \"x.h\"\nint f(void) { return X; }\n"),
        ("x.h", "#define X 3\n"),
        ("bad.c", "int f(void) { return undeclared; }\n"),
    ])
}

#[test]
fn stats_in_json_have_what_the_contract_names() {
    for used in [false, true] {
        let (project, cache) = (project(), Cache::new());
        if used {
            check(&project, &cache, "gcc -c a.c");
        }
        let stats = cache.stats();
        COUNTERS.split_whitespace().for_each(|name| assert!(stats.get(name) <= 1, "{name}"));
        for (name, wanted) in [("max_files", 0), ("evicted", 0), ("max_bytes", 5_000_000_000)] {
            assert_eq!(stats.store(name), wanted, "{name}");
        }
        assert!(stats.0["version"].is_string() && stats.0["hosts"].is_array(), "{stats:?}");
        assert_eq!(stats.store("files") > 0 && stats.store("bytes") > 0, used, "{stats:?}");
    }
}

#[test]
fn stats_for_people() {
    let (project, cache) = (project(), Cache::new());
    for line in ["gcc -c a.c", "gcc -c a.c", "gcc -c a.c -fplugin=none", "gcc -E a.c"] {
        cache.compile(&project, line);
    }
    let text = cache.rcache("stats").success().out();
    assert!(!text.contains('\x1b'), "no colour where the output is no terminal: {text}");
    for word in ["50", "hit", "miss", "5.0G"] {
        assert!(text.to_lowercase().contains(&word.to_lowercase()), "{word} in {text}");
    }
    assert!(text.contains("-fplugin"), "the option to blame is named: {text}");
}

#[test]
fn zero_clears_the_counters_and_keeps_the_results() {
    let (project, cache) = (project(), Cache::new());
    check(&project, &cache, "gcc -c a.c");
    cache.rcache("zero").success();
    assert_eq!(cache.stats().get("cache_miss"), 0);
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
    cache.stop();
    cache.rcache("zero").success();
    assert_eq!(cache.stats().get("direct_cache_hit"), 0, "also without a daemon");
}

#[test]
fn clear_removes_every_result() {
    for running in [true, false] {
        let (project, cache) = (project(), Cache::new());
        check(&project, &cache, "gcc -c a.c");
        if !running {
            cache.stop();
        }
        cache.rcache("clear").success();
        assert_eq!(cache.stats().store("files"), 0, "with a daemon: {running}");
        assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
        assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
    }
}

#[test]
fn trim_by_size_and_age() {
    let (project, cache) = (project(), Cache::new());
    for number in 0..10 {
        check(&project, &cache, format!("gcc -c a.c -DNUMBER={number}"));
    }
    assert_eq!(check(&project, &cache, "gcc -c a.c -DNUMBER=0"), "direct_cache_hit");
    cache.rcache("trim --older-than 1h").success();
    assert_eq!(check(&project, &cache, "gcc -c a.c -DNUMBER=1"), "direct_cache_hit");
    let bytes = cache.stats().store("bytes");
    cache.rcache(&format!("trim --max-size {}B", bytes / 2)).success();
    assert!(cache.stats().store("bytes") <= bytes / 2);
    assert_eq!(check(&project, &cache, "gcc -c a.c -DNUMBER=1"), "direct_cache_hit", "used last");
    cache.rcache("trim --older-than 0s").success();
    assert_eq!(check(&project, &cache, "gcc -c a.c -DNUMBER=1"), "cache_miss");
    assert!(!cache.rcache("trim --max-size nonsense").ok());
    assert!(!cache.rcache("trim --older-than nonsense").ok());
}

#[test]
fn config_shows_each_setting_and_its_origin() {
    let cache = Cache::new().with("RCACHE_MAX_SIZE", "7G");
    std::fs::create_dir_all(cache.root().join("config/rcache")).unwrap();
    let file = cache.root().join("config/rcache/rcache.toml");
    std::fs::write(&file, "max_files = 1234\n").unwrap();
    let text = cache.rcache("config").success().out();
    SETTINGS.split_whitespace().for_each(|name| assert!(text.contains(name), "{name}: {text}"));
    for word in ["7", "1234", "rcache.toml", "RCACHE_MAX_SIZE", "default"] {
        assert!(text.contains(word), "{word} in {text}");
    }
    let answer = cache.rcache("config --json").success();
    let value: Value = serde_json::from_slice(&answer.stdout).expect("JSON");
    let all = value.to_string();
    SETTINGS.split_whitespace().for_each(|name| assert!(all.contains(name), "{name}: {all}"));
}

#[test]
fn explain_says_how_a_call_would_end() {
    let (project, cache) = (project(), Cache::new());
    let explain = |line: &str| {
        let call = Call::from(format!("explain {line}"));
        let outcome = run(&mut cache.command(&project, &call), LIMIT_CALL);
        assert!(!project.exists("a.o"), "explain does not compile");
        outcome.success().out()
    };
    assert!(explain("gcc -c a.c").contains("miss"), "{}", explain("gcc -c a.c"));
    check(&project, &cache, "gcc -c a.c");
    let before = cache.stats();
    assert!(explain("gcc -c a.c").contains("hit"), "{}", explain("gcc -c a.c"));
    assert!(before.0["counters"] == cache.stats().0["counters"], "explain counts nothing");

    project.write("x.h", "#define X 4\n");
    let text = explain("gcc -c a.c");
    assert!(text.contains("miss") && text.contains("x.h"), "the header is named: {text}");
    project.write("x.h", "#define X 3\n");
    let text = explain("gcc -c a.c -O2");
    assert!(text.contains("miss") && text.contains("-O2"), "the option is named: {text}");
    let text = explain("gcc a.c -o program");
    assert!(text.contains("link"), "{text}");
    let text = explain("gcc -c a.c -fplugin=none");
    assert!(text.contains("-fplugin"), "{text}");
    let call = Call::from("explain gcc -c a.c").env("CPATH", "elsewhere");
    let text = run(&mut cache.command(&project, &call), LIMIT_CALL).success().out();
    assert!(text.contains("CPATH"), "the variable is named: {text}");
}

#[test]
fn explain_names_a_header_that_appeared() {
    let project = Project::new(&[
        ("a.c", "#include <x.h>\nint x = X;\n"),
        ("one/keep", ""),
        ("two/x.h", "#define X 1\n"),
    ]);
    let cache = Cache::new();
    check(&project, &cache, "gcc -c a.c -Ione -Itwo");
    project.write("one/x.h", "#define X 2\n");
    let call = Call::from("explain gcc -c a.c -Ione -Itwo");
    let text = run(&mut cache.command(&project, &call), LIMIT_CALL).success().out();
    assert!(text.contains("one"), "{text}");
}

#[test]
fn link_makes_the_links_of_this_machines_compilers() {
    let (project, cache) = (project(), Cache::new());
    let folder = cache.root().join("links");
    let words = format!("link {}", folder.display());
    cache.rcache(&words).success();
    cache.rcache(&words).success();
    for name in ["gcc", "g++", "cc", "c++"] {
        let link = folder.join(name);
        assert!(link.is_symlink(), "{name}");
        let target = link.canonicalize().unwrap();
        assert_eq!(target, rcache_binary().canonicalize().unwrap(), "{name}");
    }
    assert_eq!(folder.join("clang").is_symlink(), have("clang"));
    let path = format!("{}:{SYSTEM_PATH}", folder.display());
    let before = cache.stats();
    let call = Call::of(["/bin/sh", "-c", "gcc -c a.c && g++ --version"]).env("PATH", path);
    run(&mut cache.command_bare(&project, &call), LIMIT_CALL).success();
    assert_eq!(cache.endings_since(&before), "cache_miss no_input_file");
    // What is not ours stays as it is.
    std::fs::remove_file(folder.join("cc")).unwrap();
    std::fs::write(folder.join("cc"), "a user's own file").unwrap();
    cache.rcache(&words);
    assert_eq!(std::fs::read(folder.join("cc")).unwrap(), b"a user's own file");
}

#[test]
fn doctor_finds_a_healthy_and_a_sick_set_up() {
    let cache = Cache::new();
    let healthy = cache.rcache("doctor");
    assert!(healthy.ok() && healthy.out().contains("gcc"), "{healthy:?}");
    let sick = Cache::new().with("RCACHE_DIR", "/dev/null/cache");
    let told = sick.rcache("doctor");
    let text = told.out() + &told.err();
    assert!(!told.ok() && text.contains("/dev/null/cache"), "{told:?}");
}

#[test]
fn a_report_tells_all_but_secrets_and_names() {
    let cache = Cache::new()
        .with("RCACHE_HOSTS", "build-seven.example/4 127.0.0.1:9/2")
        .with("CI_JOB_TOKEN", "glpat-abcdef")
        .with("RCACHE_NAMESPACE", "glpat-abcdef");
    let file = cache.root().join("report.txt");
    let told = cache.rcache(&format!("doctor --report {}", file.display())).out();
    assert!(told.contains("Removed from it: ") && told.contains("report.txt"), "{told}");
    let report = std::fs::read_to_string(&file).unwrap();
    for word in ["== machine", "== settings", "max_size = 5.0G", "\"counters\"", "HOST"] {
        assert!(report.contains(word), "{word} in {report}");
    }
    for name in ["glpat-abcdef", "build-seven"] {
        assert!(!report.contains(name), "{name} in {report}");
    }
    let again = cache.rcache(&format!("doctor --report {}", file.display()));
    assert!(
        !again.ok() && again.err().contains("is not there"),
        "no file is overwritten: {again:?}"
    );
}

#[test]
fn version_help_and_wrong_words() {
    let cache = Cache::new();
    let version = cache.rcache("--version").success().out();
    assert!(version.starts_with("rcache ") && version.contains(env!("CARGO_PKG_VERSION")));
    assert!(version.contains("target: ") && version.contains("features: "), "{version}");
    assert_eq!(cache.rcache("-V").success().out().lines().count(), 1);
    let help = cache.rcache("--help").success().out();
    for word in [
        "stats", "zero", "clear", "trim", "verify", "config", "daemon", "explain", "link", "doctor",
    ] {
        assert!(help.contains(word), "{word} in {help}");
        assert!(cache.rcache(&format!("{word} --help")).ok(), "{word} --help");
    }
    assert_eq!(cache.rcache("--no-such-option").status, 2);
    assert_eq!(cache.rcache("stats --no-such-option").status, 2);
    assert_eq!(cache.rcache("daemon nonsense").status, 2);
    let nothing = cache.rcache("");
    assert!((nothing.out() + &nothing.err()).contains("stats"), "{nothing:?}");
}

#[test]
fn output_into_a_closed_pipe() {
    let cache = Cache::new();
    let script = format!("'{}' config | true; '{0}' --help | true", rcache_binary().display());
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", &script]).env_clear().env("PATH", SYSTEM_PATH);
    let outcome = run(cache.adopt(&mut shell), LIMIT_CALL);
    assert!(!outcome.err().contains("panic"), "{outcome:?}");
}

#[test]
fn completions_and_man_pages() {
    let cache = Cache::new();
    let help = cache.rcache("--help").success().out();
    for word in ["completions", "man"] {
        assert!(help.contains(word), "{word} in {help}");
    }
    let script = cache.rcache("completions bash").success().out();
    assert!(script.contains("complete"), "{script}");
}

#[test]
fn log_file_tells_each_calls_end() {
    let (project, cache) = (project(), Cache::new());
    let log = cache.root().join("log.txt");
    let cache = cache.with("RCACHE_LOG_FILE", &log).with("RCACHE_LOG_LEVEL", "debug");
    check(&project, &cache, "gcc -c a.c");
    check(&project, &cache, "gcc -E a.c");
    cache.stop();
    let text = std::fs::read_to_string(log).expect("a log file");
    for name in ["cache_miss", "called_for_preprocessing"] {
        assert!(text.contains(name), "{name} in {text}");
    }
}

#[test]
fn ccaches_words_do_the_same() {
    let (project, cache) = (project(), Cache::new());
    check(&project, &cache, "gcc -c a.c");
    assert!(cache.rcache("-s").success().out().contains("misses"));
    assert!(cache.rcache("-sv").success().out().contains("misses"));
    let raw = cache.rcache("--print-stats").success().out();
    assert!(raw.lines().any(|line| line == "cache_miss\t1"), "{raw}");
    cache.rcache("-zs").success();
    assert_eq!(cache.stats().get("cache_miss"), 0);
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "direct_cache_hit");
    cache.rcache("-M 7G").success();
    cache.rcache("-F77").success();
    cache.rcache("--set-config=compression=false").success();
    let file = cache.root().join("config/rcache/rcache.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, "max_size = \"7G\"\nmax_files = 77\ncompression = false\n");
    assert_eq!(cache.rcache("-k max_files").success().out(), "77\n");
    assert!(cache.rcache("-p").success().out().contains("7"));
    cache.rcache("-c").success();
    cache.rcache("-C").success();
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
    let told = cache.rcache("--recompress 3");
    assert!(!told.ok() && told.err().contains("compression_level"), "{told:?}");
    for wrong in ["-M", "-M big", "-o max_size", "-k nothing", "-sQ"] {
        assert!(!cache.rcache(wrong).ok(), "{wrong}");
    }
}

#[test]
fn a_ccache_conf_becomes_an_rcache_toml() {
    let cache = Cache::new();
    let conf = cache.root().join("ccache.conf");
    std::fs::write(&conf, "max_size = 9G\nhard_link = true\n").unwrap();
    let toml = cache.rcache(&format!("import-ccache {}", conf.display())).success().out();
    assert!(toml.contains("\nmax_size = \"9G\"\n# hard_link = true: "), "{toml}");
    std::fs::create_dir_all(cache.root().join("config/rcache")).unwrap();
    std::fs::write(cache.root().join("config/rcache/rcache.toml"), toml).unwrap();
    assert_eq!(cache.rcache("-k max_size").success().out(), "9.0G\n");
    assert!(!cache.rcache("import-ccache /no/such/file").ok());
}
