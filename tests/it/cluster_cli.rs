//! What people see of the cluster: `stats`, `hosts`, `doctor`, `top`, with hosts of every kind.

use crate::support::{
    Cache, DeadPort, Distccd, Outcome, Project, Worker, check, is_root, same_as_compiler, skip,
};
use serde_json::{Value, json};

fn project() -> Project {
    Project::new(&[("a.c", "int f(void) { return 3; }\n"), ("b.c", "int b;\n")])
}

fn parsed(answer: Outcome) -> Value {
    serde_json::from_slice(&answer.success().stdout).expect("JSON")
}

/// The values of a field, one for each host.
fn column(answer: &Value, name: &str) -> Value {
    answer["hosts"].as_array().expect("hosts").iter().map(|host| host[name].clone()).collect()
}

/// The line of a text that names this.
#[track_caller]
fn line_of<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {text}"))
}

#[test]
fn hosts_of_every_kind() {
    let (good, other) = (Worker::start("--jobs 3"), Worker::start_with_other_compilers(""));
    let nobody = DeadPort::new();
    let dead = nobody.address();
    let hosts = format!("{}/3 {dead}/2 {}/4 127.0.0.1:1/5,down", good.address, other.address);
    let (project, cache) = (project(), Cache::new().with("DISTCC_HOSTS", hosts));
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");

    let answer = parsed(cache.rcache("hosts --json"));
    assert_eq!(column(&answer, "usable"), json!([true, false, false, false]), "{answer:#}");
    let troubles = json!([null, "unreachable", "other_compiler", "down"]);
    assert_eq!(column(&answer, "trouble"), troubles, "{answer:#}");

    let stats = cache.stats();
    assert_eq!((stats.get("remote_compile"), stats.get("local_compile")), (1, 0), "{stats:?}");
    assert_eq!(column(&stats.0, "slots"), json!([3, 2, 4, 5]));
    assert_eq!(column(&stats.0, "completed"), json!([1, 0, 0, 0]));
    assert_eq!(column(&stats.0, "usable"), json!([true, false, false, false]));

    let text = cache.rcache("stats").success().out();
    assert!(line_of(&text, "remote compiles").contains(" 1"), "{text}");
    assert!(line_of(&text, "remote failed").ends_with(" 0"), "{text}");
    assert!(line_of(&text, "hosts ").contains("0 of 3 slots busy, 1 of 4 usable"), "{text}");
    for once in ["stats", "top --once"] {
        let text = cache.rcache(once).success().out();
        assert!(line_of(&text, &dead).contains("cannot be reached"), "{text}");
        assert!(line_of(&text, &other.address).contains("not the same"), "{text}");
        assert!(line_of(&text, "127.0.0.1:1 ").contains("down"), "{text}");
    }

    let text = cache.rcache("doctor").success().out();
    assert!(line_of(&text, "host list").contains("4 hosts in DISTCC_HOSTS"), "{text}");
    assert!(line_of(&text, &good.address).starts_with("ok"), "{text}");
    for (host, remedy) in [
        (&dead, "firewall"),
        (&other.address, "of the same package"),
        (&"127.0.0.1:1:".to_owned(), ",down"),
    ] {
        let found: Vec<&str> =
            text.lines().skip_while(|line| !line.contains(host.as_str())).take(2).collect();
        assert!(found[0].starts_with("warn") && found[1].contains(remedy), "{found:?}");
    }
    assert!(line_of(&text, "jobs").contains("-j3"), "{text}");
}

#[test]
fn a_cluster_that_cannot_be_used_is_a_failure_for_the_doctor_alone() {
    let nobody = DeadPort::new();
    let dead = format!("{}/2", nobody.address());
    let (project, cache) = (project(), Cache::new().with("RCACHE_HOSTS", dead));
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
    let told = cache.rcache("doctor");
    assert_eq!(told.status, 1, "{told:?}");
    assert!(line_of(&told.out(), "jobs").contains("no host can be used"), "{told:?}");
    let stats = cache.rcache("stats").success().out();
    assert!(line_of(&stats, "remote failed").contains("compiled again here"), "{stats}");
}

#[test]
fn whoever_may_not_connect_is_told_who_may() {
    let worker = Worker::start("--allow 10.0.0.0/8");
    let cache = Cache::new().with("RCACHE_HOSTS", format!("{}/2", worker.address));
    let answer = parsed(cache.rcache("hosts --json"));
    assert_eq!(column(&answer, "trouble"), json!(["refuses"]), "{answer:#}");
    let told = cache.rcache("doctor").out();
    assert!(told.contains("--allow (ALLOW) there must name"), "{told}");
}

#[test]
fn a_stock_distccd_is_shown_as_one() {
    let Some(distccd) = Distccd::start(2, "the doctor on distccd") else { return };
    let cache = Cache::new().with("RCACHE_HOSTS", distccd.host(2));
    let told = cache.rcache("doctor").success().out();
    assert!(line_of(&told, "127.0.0.1:").contains("2 slots, distccd, the same"), "{told}");
    assert!(line_of(&told, "jobs").contains("-j2"), "{told}");
}

#[test]
fn without_hosts_the_doctor_says_how_to_have_some() {
    let told = Cache::new().rcache("doctor").success().out();
    let found: Vec<&str> = told.lines().skip_while(|line| !line.contains("host list")).collect();
    assert!(found[0].starts_with("ok") && found[1].contains("--from-kubectl"), "{told}");
    assert!(!told.contains("jobs"), "{told}");
}

/// Any user can listen on loopback, and would get the sources and make the objects.
#[test]
fn a_server_of_another_user_on_this_machine_gets_nothing() {
    if !is_root() {
        skip("a server of another user", "only root can start one");
        return;
    }
    let worker = Worker::start_unprivileged("--jobs 3");
    let (project, cache) = (project(), Cache::new().with("RCACHE_HOSTS", &worker.address));
    let (cold, _) = same_as_compiler(&project, &cache, "gcc -c a.c");
    assert_eq!((cold.as_str(), cache.stats().get("remote_compile")), ("cache_miss", 0));
    let answer = parsed(cache.rcache("hosts --json"));
    assert_eq!(column(&answer, "trouble"), json!(["untrusted"]), "{answer:#}");
    let why = answer["hosts"][0]["why_not"].as_str().unwrap_or_default();
    assert!(why.contains("user 65534 listens there"), "{answer:#}");
    let text = cache.rcache("doctor").out();
    assert!(text.contains("user 65534 listens there"), "{text}");
    assert!(text.contains("run as root, as distccd's user or as yourself"), "{text}");
    assert_eq!(worker.metric("received_bytes_total"), 0);
    let own = Worker::start("--jobs 3");
    let cache = Cache::new().with("RCACHE_HOSTS", &own.address);
    assert_eq!(check(&project, &cache, "gcc -c a.c"), "cache_miss");
    assert_eq!(cache.stats().get("remote_compile"), 1);
}
