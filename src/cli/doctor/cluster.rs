//! The checks of `rcache doctor` that are about the cluster: the host list, each host, and `-j`.

use super::Finding;
use config::environment::DISTCC_HOSTS;
use config::{Environment, Loaded, Origin};
use talk::questions::{HostCompiler, HostRow, Hosts};

/// How to have a cluster at all.
const NO_HOSTS: &str = "to have some: hosts = [\"k8vm0/16\"] in rcache.toml, or DISTCC_HOSTS; \
                        `rcache hosts --from-kubectl` prints those of a Kubernetes cluster";

/// What to do about a host with another compiler.
const SAME_COMPILER: &str = "give it this machine's compiler, of the same package and version: an \
                             image with both, or the same updates (docs/cluster.md)";

/// What is wrong with the list, with each host, and how many jobs a build may have.
pub fn cluster(
    loaded: &Loaded,
    environment: &Environment,
    answer: Result<Hosts, String>,
) -> Vec<Finding> {
    let mut findings = vec![host_list(loaded, environment)];
    if loaded.config.hosts.hosts.is_empty() {
        return findings;
    }
    findings.extend(list_that_loses(loaded, environment));
    match answer {
        Ok(answer) => findings.extend(hosts(&answer.hosts)),
        Err(error) => {
            findings.push(Finding::fail("hosts", error, "see what is said of the daemon"))
        }
    }
    findings
}

/// The list in force, and where it came from.
fn host_list(loaded: &Loaded, environment: &Environment) -> Finding {
    let list = &loaded.config.hosts;
    let origin = origin(loaded);
    if list.hosts.is_empty() {
        let seen = match origin {
            // It also hides the lists in files.
            None if environment.get(DISTCC_HOSTS).is_some() => {
                "DISTCC_HOSTS is set and empty: all is compiled on this machine".to_owned()
            }
            None => "no hosts: all is compiled on this machine".to_owned(),
            Some(origin) => format!("no hosts in {origin}: all is compiled on this machine"),
        };
        return Finding { remedy: NO_HOSTS.to_owned(), ..Finding::ok("host list", seen) };
    }
    let number = list.hosts.len();
    let noun = if number == 1 { "host" } else { "hosts" };
    let origin = origin.map_or(String::new(), |origin| format!(" in {origin}"));
    Finding::ok("host list", format!("{number} {noun}{origin}"))
}

/// Whoever sets DISTCC_HOSTS expects it to count.
fn list_that_loses(loaded: &Loaded, environment: &Environment) -> Option<Finding> {
    let set = environment.get(DISTCC_HOSTS).is_some_and(|value| !value.is_empty());
    let winner = origin(loaded)?;
    let is_winner = matches!(&winner, Origin::Environment { name } if name == DISTCC_HOSTS);
    (set && !is_winner).then(|| {
        let seen = format!("DISTCC_HOSTS is set, but {winner} goes before it");
        Finding::warn("host list", seen, "take one of the two away")
    })
}

fn origin(loaded: &Loaded) -> Option<Origin> {
    let row = loaded.rows().into_iter().find(|row| row.key == "hosts")?;
    Some(row.origin).filter(|origin| *origin != Origin::Default)
}

/// A finding for each host of the daemon's answer, and one for all.
fn hosts(rows: &[HostRow]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = rows.iter().map(host).collect();
    let slots: u64 = rows.iter().filter(|row| row.usable).map(|row| row.slots).sum();
    findings.push(match slots {
        0 => Finding::fail(
            "jobs",
            "no host can be used: all is compiled on this machine",
            "put one of the hosts right; until then build with as many jobs as there are cores",
        ),
        slots => {
            Finding::ok("jobs", format!("build with -j{slots}: the slots of the usable hosts"))
        }
    });
    findings
}

fn host(row: &HostRow) -> Finding {
    let name = &row.host;
    if !row.usable {
        let why = row.why_not.as_deref().unwrap_or("not used");
        return Finding::warn("host", format!("{name}: {why}"), remedy(row));
    }
    let worker = match row.worker.as_str() {
        "" | "unknown" => String::new(),
        worker => format!(", {worker}"),
    };
    let slots = row.slots;
    let seen = format!("{name}: {slots} {}{worker}", if slots == 1 { "slot" } else { "slots" });
    let compilers = row.compilers.iter().flatten();
    let (same, other): (Vec<&HostCompiler>, Vec<&HostCompiler>) =
        compilers.partition(|compiler| compiler.same);
    let names = |of: &[&HostCompiler]| {
        of.iter().map(|compiler| compiler.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let seen = if same.is_empty() { seen } else { format!("{seen}, the same {}", names(&same)) };
    match other.first() {
        None => Finding::ok("host", seen),
        Some(first) => {
            let why_not = first.why_not.as_deref().unwrap_or_default();
            let seen = format!("{seen}; not {}: {why_not}", names(&other));
            Finding::warn("host", seen, SAME_COMPILER)
        }
    }
}

/// What to do about a host that is not used.
fn remedy(row: &HostRow) -> String {
    match row.trouble.as_deref().unwrap_or_default() {
        "down" => "take `,down` out of the list when it is back".to_owned(),
        "no_address" => {
            "correct the name in the list, or give its address; try `getent hosts NAME`".to_owned()
        }
        "unreachable" => {
            "is a worker running there, on this port? does a firewall let it through? its log, and \
             `rcache worker --help`, may say more"
                .to_owned()
        }
        "refuses" => "let it serve this machine: --allow (ALLOW) there must name this network; a \
                      stock distccd also needs the compiler in its list (update-distcc-symlinks)"
            .to_owned(),
        "untrusted" => {
            "any user can listen on this machine: take it out of the list, or have it run as \
                        root, as distccd's user or as yourself"
                .to_owned()
        }
        "other_compiler" => SAME_COMPILER.to_owned(),
        "failing" => {
            "it is tried again by itself; if that does not help, look at its log".to_owned()
        }
        _ => "`rcache hosts` shows how it goes on".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;
    use config::Config;
    use serde_json::{Value, from_value, json};
    use std::ffi::OsString;

    fn checked(variables: &[(&str, &str)], hosts: Vec<HostRow>) -> Vec<Finding> {
        let empty = tempfile::tempdir().unwrap();
        let empty = empty.path().to_string_lossy().into_owned();
        let mut all: Vec<(OsString, OsString)> = vec![
            ("HOME".into(), empty.clone().into()),
            ("DISTCC_DIR".into(), empty.clone().into()),
        ];
        // An empty list in a file stands before the one of this machine.
        std::fs::write(format!("{empty}/hosts"), "").unwrap();
        all.extend(variables.iter().map(|(name, value)| (name.into(), value.into())));
        let environment = Environment::new(&all);
        cluster(&Config::load(&environment), &environment, Ok(Hosts { hosts, ..Hosts::default() }))
    }

    #[test]
    fn without_hosts_it_says_how_to_have_some() {
        let findings = checked(&[("DISTCC_HOSTS", "")], Vec::new());
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].grade, Grade::Ok);
        assert!(findings[0].seen.contains("DISTCC_HOSTS"), "{findings:?}");
        assert!(findings[0].remedy.contains("--from-kubectl"), "{findings:?}");
    }

    #[test]
    fn the_list_that_counts_is_named() {
        let findings = checked(&[("DISTCC_HOSTS", "a/2 b")], Vec::new());
        assert_eq!(findings[0], Finding::ok("host list", "2 hosts in DISTCC_HOSTS"));
        let both = [("DISTCC_HOSTS", "a/2"), ("RCACHE_HOSTS", "b/4")];
        let findings = checked(&both, Vec::new());
        assert_eq!(findings[0].seen, "1 host in RCACHE_HOSTS");
        assert_eq!(findings[1].grade, Grade::Warn);
        assert!(findings[1].seen.contains("RCACHE_HOSTS goes before it"), "{findings:?}");
    }

    #[test]
    fn each_host_has_its_advice() {
        let host = |trouble: &str, why: &str| HostRow {
            host: "h:3632".to_owned(),
            slots: 4,
            why_not: Some(why.to_owned()),
            trouble: Some(trouble.to_owned()),
            ..HostRow::default()
        };
        for (trouble, part) in [
            ("down", ",down"),
            ("no_address", "getent"),
            ("unreachable", "firewall"),
            ("refuses", "--allow"),
            ("untrusted", "any user can listen"),
            ("other_compiler", "same package"),
            ("failing", "tried again"),
            ("what another version says", "rcache hosts"),
        ] {
            let findings = hosts(&[host(trouble, "its words")]);
            assert_eq!(findings[0].grade, Grade::Warn, "{trouble}");
            assert_eq!(findings[0].seen, "h:3632: its words");
            assert!(findings[0].remedy.contains(part), "{trouble}: {findings:?}");
            assert_eq!(findings[1].grade, Grade::Fail, "no host is left");
        }
    }

    #[test]
    fn usable_hosts_say_what_they_have_and_how_many_jobs_that_makes() {
        let answer: Value = json!([
            { "host": "a:3632", "slots": 16, "usable": true, "worker": "rcache 0.1.0",
              "compilers": [{ "name": "gcc", "same": true }, { "name": "g++", "same": true }] },
            { "host": "b:3632", "slots": 1, "usable": true, "worker": "distccd",
              "compilers": [{ "name": "gcc", "same": true },
                            { "name": "clang", "same": false, "why_not": "it has clang 15" }] },
            { "host": "c:3632", "slots": 12, "usable": false, "why_not": "x", "trouble": "down" },
        ]);
        let rows: Vec<HostRow> = from_value(answer).unwrap();
        let findings = hosts(&rows);
        assert_eq!(
            findings[0],
            Finding::ok("host", "a:3632: 16 slots, rcache 0.1.0, the same gcc, g++")
        );
        assert_eq!(findings[1].grade, Grade::Warn);
        assert_eq!(
            findings[1].seen,
            "b:3632: 1 slot, distccd, the same gcc; not clang: it has clang 15"
        );
        assert!(findings[3].seen.contains("-j17"), "{findings:?}");
    }
}
