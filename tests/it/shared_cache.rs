//! The shared cache: what one machine uploads another serves, whatever the engine; and nothing else is served.

use crate::support::{
    Cache, Compilers, FaultProxy, Harm, Project, Random, Server, compilers, run, skip, wait_until,
};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A unit with a header of its own and one of the system.
const FILES: &[(&str, &str)] = &[
    (".git/HEAD", "ref: refs/heads/main\n"),
    ("a.c", "#include <stddef.h>\n#include \"x.h\"\nint x = X; size_t s = sizeof(long);\n"),
    ("inc/x.h", "#define X 1\n"),
];

/// Uploads are done within this time, on the slowest machine.
const LIMIT_UPLOAD: Duration = Duration::from_secs(120);

/// Machines that share a cache: one signs what it uploads, the others trust it.
struct Team {
    location: String,
    writer: Cache,
    key: String,
}

impl Team {
    fn new(location: &str) -> Team {
        let writer = Cache::new()
            .with("RCACHE_REMOTE_STORAGE", location)
            .with("RCACHE_REMOTE_WRITE", "true")
            .with("RCACHE_BASE_DIR", "auto");
        let made = writer.rcache("keys new");
        assert!(made.ok(), "{made:?}");
        let key = made.out().lines().next().unwrap().to_owned();
        assert!(key.starts_with("ed25519:"), "{key}");
        Team { location: location.to_owned(), writer, key }
    }

    /// Another machine, which reads only.
    fn reader(&self) -> Cache {
        self.stranger().with("RCACHE_TRUSTED_KEYS", &self.key)
    }

    /// One that trusts nobody.
    fn stranger(&self) -> Cache {
        Cache::new().with("RCACHE_REMOTE_STORAGE", &self.location).with("RCACHE_BASE_DIR", "auto")
    }

    /// Compiles by the writer, and waits for the upload.
    #[track_caller]
    fn upload(&self, project: &Project, line: &str) {
        assert_eq!(self.writer.ending(project, line), "cache_miss", "{}", self.location);
        self.flush();
    }

    #[track_caller]
    fn flush(&self) {
        let flushed = run(&mut self.writer.subcommand("flush --timeout 100s"), LIMIT_UPLOAD);
        assert!(flushed.ok(), "{flushed:?}");
    }
}

fn line(family: &Compilers) -> String {
    format!("{} -O1 -Iinc -MD -c a.c -o a.o", family.c)
}

/// Compiles, and compares all that is left with what the compiler leaves. Gives the endings.
#[track_caller]
fn checked(cache: &Cache, project: &Project, line: &str) -> String {
    let names = ["a.o", "a.d"];
    let read = || names.map(|name| std::fs::read(project.path(name)).unwrap_or_default());
    let clear = || names.map(|name| drop(std::fs::remove_file(project.path(name))));
    clear();
    assert!(project.plain(line).ok());
    let wanted = read();
    clear();
    let ending = cache.ending(project, line);
    assert!(read() == wanted, "{line}: {ending}");
    ending
}

/// A miss may come of a machine that is too busy to wait; what was in time hits.
#[track_caller]
fn hits(cache: &Cache, line: &str) {
    let deadline = Instant::now() + LIMIT_UPLOAD;
    loop {
        let project = Project::new(FILES);
        let before = cache.stats();
        let ending = checked(cache, &project, line);
        let after = cache.stats();
        let rose = |name: &str| after.get(name) - before.get(name);
        if ending == "direct_cache_hit" {
            assert_eq!(rose("remote_storage_hit"), 1, "{:?}", after.0);
            return;
        }
        assert!(rose("remote_storage_timeout") > 0, "{ending}: {:?}", after.0);
        assert!(Instant::now() < deadline, "{:?}", after.0);
        assert!(cache.rcache("clear").ok());
        cache.stop();
    }
}

/// Each case that must hold on every engine.
#[track_caller]
fn shares(location: &str) {
    for family in compilers(location) {
        let team = Team::new(location);
        let line = line(&family);
        let own = Project::new(FILES);
        team.upload(&own, &line);
        assert_eq!(team.writer.stats().get("remote_storage_write"), 1, "{location}");
        // Another checkout, another machine.
        let reader = team.reader();
        hits(&reader, &line);
        // From now on it is local.
        let other = Project::new(FILES);
        assert_eq!(checked(&reader, &other, &line), "direct_cache_hit");
        assert_eq!(reader.stats().get("remote_storage_hit"), 1);
        // With another header it is another result; both stay to be had.
        own.write("inc/x.h", "#define X 2\n");
        team.upload(&own, &line);
        other.write("inc/x.h", "#define X 2\n");
        let newer = team.reader();
        assert!(["direct_cache_hit", "cache_miss"].contains(&&*checked(&newer, &other, &line)));
        hits(&team.reader(), &line);
        // A third header is nobody's.
        other.write("inc/x.h", "#define X 3\n");
        assert_eq!(checked(&newer, &other, &line), "cache_miss");
        assert_eq!(newer.stats().get("remote_storage_write"), 0);
        assert_eq!(newer.stats().get("remote_storage_untrusted"), 0);
    }
}

/// A folder for a shared cache.
fn folder() -> (tempfile::TempDir, String) {
    let folder = tempfile::Builder::new().prefix("sh").tempdir().unwrap();
    let location = format!("file://{}", folder.path().display());
    (folder, location)
}

#[test]
fn a_folder_is_shared() {
    let (_folder, location) = folder();
    shares(&location);
}

#[test]
fn redis_is_shared() {
    let Some(server) = Server::redis("redis_is_shared") else { return };
    shares(&format!("redis://127.0.0.1:{}", server.port()));
}

/// How often each command was given to a Redis, as it says itself.
fn commands_of(port: u16) -> Vec<(String, u64)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(b"INFO commandstats\r\nQUIT\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// What is counted holds on every machine: no PING, no second look, no new connection.
#[test]
fn a_hit_is_one_command() {
    const UNITS: usize = 12;
    let Some(server) = Server::redis("a_hit_is_one_command") else { return };
    let family = &compilers("a_hit_is_one_command")[0];
    let team = Team::new(&format!("redis://127.0.0.1:{}", server.port()));
    let line = |unit: usize| format!("{} -DN={unit}", line(family));
    let project = Project::new(FILES);
    for unit in 0..UNITS {
        assert_eq!(team.writer.ending(&project, line(unit)), "cache_miss");
    }
    team.flush();
    let reader = team.reader();
    // The first has the connection made, on a machine that may be busy.
    hits(&reader, &line(0));
    let count = |name: &str| {
        let all = commands_of(server.port());
        all.into_iter().find(|(known, _)| known == name).map_or(0, |(_, count)| count)
    };
    let sum = || -> u64 {
        let all = commands_of(server.port()).into_iter();
        all.filter(|(name, _)| name != "info" && name != "quit").map(|(_, count)| count).sum()
    };
    let (before, all_before) = (count("getrange"), sum());
    let stats = reader.stats();
    for unit in 1..UNITS {
        checked(&reader, &project, &line(unit));
    }
    let after = reader.stats();
    let rose = |name: &str| after.get(name) - stats.get(name);
    // A machine that is too busy may not have waited, but has asked.
    let asked = rose("remote_storage_hit") + rose("remote_storage_timeout");
    assert!(asked == UNITS as u64 - 1 && rose("remote_storage_hit") > 0, "{:?}", after.0);
    wait_until("each request is there", LIMIT_UPLOAD, || count("getrange") - before >= asked);
    assert_eq!(count("getrange") - before, asked);
    assert_eq!(sum() - all_before, asked);
}

/// The names of the daemon's threads.
fn threads(cache: &Cache) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", cache.daemon())).unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks.filter_map(name).collect()
}

#[test]
fn who_shares_nothing_starts_nothing() {
    let (_folder, location) = folder();
    let family = &compilers("who_shares_nothing_starts_nothing")[0];
    let line = line(family);
    let project = Project::new(FILES);
    let is_shared = |cache: &Cache| threads(cache).iter().any(|name| name.starts_with("network"));
    let alone = Cache::new();
    assert_eq!(checked(&alone, &project, &line), "cache_miss");
    assert_eq!(checked(&alone, &project, &line), "direct_cache_hit");
    assert!(!is_shared(&alone));
    // A local hit needs no runtime either: only the first miss starts one.
    let team = Team::new(&location);
    team.upload(&project, &line);
    assert!(is_shared(&team.writer));
    team.writer.stop();
    assert_eq!(checked(&team.writer, &project, &line), "direct_cache_hit");
    assert!(!is_shared(&team.writer));
}

/// Whoever explains asks the shared cache as well, and says what differs there.
#[test]
fn the_shared_cache_is_explained() {
    let (_folder, location) = folder();
    let family = &compilers("the_shared_cache_is_explained")[0];
    let line = line(family);
    let team = Team::new(&location);
    let project = Project::new(FILES);
    team.upload(&project, &line);
    let reader = team.reader();
    let explained = || {
        let mut told = String::new();
        wait_until("an answer of the shared cache", LIMIT_UPLOAD, || {
            let mut command = reader.subcommand(&format!("explain {line}"));
            told = format!("{:?}", run(command.current_dir(project.root()), LIMIT_UPLOAD));
            !told.contains("does not answer")
        });
        told
    };
    let told = explained();
    assert!(told.contains("the shared cache has the result"), "{told}");
    project.write("inc/x.h", "#define X 9\n");
    let told = explained();
    assert!(told.contains("newest result of the shared cache: inc/x.h changed"), "{told}");
    assert_eq!(reader.stats().get("remote_storage_hit"), 0);
    let doctor = format!("{:?}", reader.rcache("doctor"));
    assert!(doctor.contains(&format!("{location} answers in")), "{doctor}");
}

#[test]
fn memcached_is_shared() {
    let Some(server) = Server::memcached("memcached_is_shared") else { return };
    shares(&format!("memcached://127.0.0.1:{}", server.port()));
}

#[test]
fn a_web_server_is_shared() {
    let Some(server) = Server::nginx("a_web_server_is_shared") else { return };
    for layout in ["subdirs", "flat", "bazel"] {
        shares(&format!("http://127.0.0.1:{}/{layout}|layout={layout}", server.port()));
    }
}

#[test]
fn s3_is_shared() {
    let Some(server) = Server::s3("s3_is_shared") else { return };
    let port = server.port();
    wait_until("a bucket", LIMIT_UPLOAD, || http(port, "PUT", "/bucket").contains(" 200 "));
    shares(&format!("s3://bucket/some/prefix|endpoint=http://127.0.0.1:{port}|region=us-east-1"));
}

fn http(port: u16, method: &str, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return String::new();
    };
    let _ = write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// The objects below a folder.
fn objects(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => folders.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_nobody_trusted_has_signed_is_never_served() {
    let (shared, location) = folder();
    let team = Team::new(&location);
    let family = &compilers("what_nobody_trusted_has_signed_is_never_served")[0];
    let line = line(family);
    team.upload(&Project::new(FILES), &line);
    let project = Project::new(FILES);
    // A stranger, one who trusts another key, and one who lets unsigned entries count.
    let other = Team::new(&location).key;
    for reader in [
        team.stranger(),
        team.stranger().with("RCACHE_TRUSTED_KEYS", &other),
        team.stranger().with("RCACHE_REMOTE_STORAGE", format!("{location}|unsigned")),
    ] {
        assert_eq!(checked(&reader, &project, &line), "cache_miss");
        let stats = reader.stats();
        assert_eq!(stats.get("remote_storage_hit"), 0);
        assert!(stats.get("remote_storage_untrusted") > 0, "{:?}", stats.0);
    }
    // An unsigned entry in its place.
    for object in objects(shared.path()) {
        std::fs::remove_file(object).unwrap();
    }
    let unsigned = format!("{location}|unsigned");
    let lax = Cache::new()
        .with("RCACHE_REMOTE_STORAGE", &unsigned)
        .with("RCACHE_REMOTE_WRITE", "1")
        .with("RCACHE_BASE_DIR", "auto");
    assert_eq!(checked(&lax, &project, &line), "cache_miss");
    assert!(lax.rcache("flush").ok());
    assert_eq!(lax.stats().get("remote_storage_write"), 1);
    let strict = team.reader();
    assert_eq!(checked(&strict, &project, &line), "cache_miss");
    assert!(strict.stats().get("remote_storage_untrusted") > 0);
    hits(&team.stranger().with("RCACHE_REMOTE_STORAGE", &unsigned), &line);
}

/// Objects that are changed in every way that a bad server or a bad disk can think of.
#[test]
fn a_changed_object_is_never_served() {
    let (shared, location) = folder();
    let team = Team::new(&location);
    let family = &compilers("a_changed_object_is_never_served")[0];
    let line = line(family);
    let project = Project::new(FILES);
    team.upload(&project, &line);
    // Another unit, whose entry is as well signed.
    let second = line.replace("-O1", "-O2");
    team.upload(&project, &second);
    let all = objects(shared.path());
    assert_eq!(all.len(), 2, "{all:?}");
    let contents: Vec<Vec<u8>> = all.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let mut random = Random::announced("a_changed_object_is_never_served");
    let reader = team.reader();
    for round in 0..36 {
        for (index, path) in all.iter().enumerate() {
            let mut bytes = contents[index].clone();
            let at = random.below(bytes.len() as u64) as usize;
            match round % 6 {
                0 | 1 => bytes[at] ^= 1 << random.below(8),
                2 => bytes.truncate(at),
                3 => bytes.extend([0; 9]),
                // The other's, and its own with a part of the other's.
                4 => bytes.clone_from(&contents[1 - index]),
                _ => {
                    let other = &contents[1 - index];
                    let end = (at + 40).min(bytes.len()).min(other.len());
                    let at = at.min(end);
                    bytes[at..end].copy_from_slice(&other[at..end]);
                }
            }
            if bytes == contents[index] {
                bytes.clear();
            }
            std::fs::write(path, bytes).unwrap();
        }
        assert!(reader.rcache("clear").ok());
        for line in [&line, &second] {
            assert_eq!(checked(&reader, &project, line), "cache_miss", "round {round}");
        }
    }
    let stats = reader.stats();
    assert_eq!(stats.get("remote_storage_hit"), 0);
    assert!(stats.get("remote_storage_untrusted") >= 72, "{:?}", stats.0);
    // As they were, they serve; a replayed old state leads to nothing that is wrong.
    for (path, bytes) in all.iter().zip(&contents) {
        std::fs::write(path, bytes).unwrap();
    }
    hits(&team.reader(), &line);
    project.write("inc/x.h", "#define X 2\n");
    assert_eq!(checked(&team.reader(), &project, &line), "cache_miss");
}

#[test]
fn a_dead_remote_costs_a_build_next_to_nothing() {
    let family = &compilers("a_dead_remote_costs_a_build_next_to_nothing")[0];
    let line = line(family);
    // Nobody answers there: a connection that is taken, and never served.
    let silent = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let team = Team::new(&format!("http://127.0.0.1:{port}|timeout=60s"));
    let reader = team.reader();
    for option in 0..20 {
        let line = format!("{line} -DN={option}");
        assert_eq!(checked(&reader, &Project::new(FILES), &line), "cache_miss");
    }
    let stats = reader.stats();
    // The first call waited, a probe may have gone out; all others did without.
    assert_eq!(stats.get("remote_storage_timeout"), 1, "{:?}", stats.0);
    assert_eq!(stats.get("cache_miss"), 20);
}

#[test]
fn a_server_that_has_too_much_to_do_gets_every_write_in_the_end() {
    let what = "a_server_that_has_too_much_to_do_gets_every_write_in_the_end";
    let Some(server) = Server::nginx(what) else { return };
    let family = &compilers(what)[0];
    for status in [429, 503] {
        let proxy = FaultProxy::before(server.port());
        let team = Team::new(&format!("http://127.0.0.1:{}/{status}", proxy.port()));
        proxy.set(Harm::RefuseHalfOfWrites(status));
        let project = Project::new(FILES);
        for option in 0..12 {
            let line = format!("{} -DN={option}", line(family));
            assert_eq!(team.writer.ending(&project, line.as_str()), "cache_miss");
        }
        team.flush();
        let stats = team.writer.stats();
        assert_eq!(stats.get("remote_storage_write"), 12, "{:?}", stats.0);
    }
}

#[test]
fn bytes_that_are_cut_or_changed_on_the_way_are_no_answer() {
    let what = "bytes_that_are_cut_or_changed_on_the_way_are_no_answer";
    let (Some(web), Some(redis)) = (Server::nginx(what), Server::redis(what)) else { return };
    let family = &compilers(what)[0];
    let line = line(family);
    for (scheme, port) in [("http", web.port()), ("redis", redis.port())] {
        let proxy = FaultProxy::before(port);
        let team = Team::new(&format!("{scheme}://127.0.0.1:{}", proxy.port()));
        team.upload(&Project::new(FILES), &line);
        for harm in [
            Harm::CutAfter(10),
            Harm::CutAfter(700),
            Harm::Flip(900),
            Harm::Flip(1_200),
            Harm::Silence,
            Harm::Refuse(403),
            Harm::Refuse(500),
        ] {
            proxy.set(harm);
            let reader = team.reader();
            let ending = checked(&reader, &Project::new(FILES), &line);
            assert_eq!(ending, "cache_miss", "{scheme} {harm:?}");
            assert_eq!(reader.stats().get("remote_storage_hit"), 0, "{scheme} {harm:?}");
        }
        proxy.set(Harm::None);
        hits(&team.reader(), &line);
    }
}

#[test]
fn a_server_that_is_killed_in_mid_build_gets_the_rest_when_it_is_back() {
    let what = "a_server_that_is_killed_in_mid_build_gets_the_rest_when_it_is_back";
    let Some(mut server) = Server::nginx(what) else { return };
    let family = &compilers(what)[0];
    let team = Team::new(&format!("http://127.0.0.1:{}", server.port()));
    let project = Project::new(FILES);
    for option in 0..6 {
        if option == 2 {
            server.kill();
        }
        if option == 4 {
            server.restart();
        }
        let line = format!("{} -DN={option}", line(family));
        assert_eq!(checked(&team.writer, &project, &line), "cache_miss");
    }
    team.flush();
    assert_eq!(team.writer.stats().get("remote_storage_write"), 6);
}

#[test]
fn results_that_show_the_time_are_not_shared() {
    let (shared, location) = folder();
    let team = Team::new(&location);
    for family in compilers("results_that_show_the_time_are_not_shared") {
        for text in [
            "const char *t = __TIME__;\n",
            "const char *d = __DATE__;\n",
            "#include \"date.h\"\nconst char *d = D;\n",
        ] {
            let files = [("a.c", text), ("date.h", "#define D __DATE__\n")];
            for lax in ["", "time_macros"] {
                let project = Project::new(&files);
                let line = format!("{} -c a.c", family.c);
                let call = crate::support::Call::from(line).env("RCACHE_SLOPPINESS", lax);
                assert!(team.writer.compile(&project, &call).ok());
            }
        }
    }
    team.flush();
    assert_eq!(objects(shared.path()), Vec::<PathBuf>::new());
}

/// What settings overlook is for those who overlook the same.
#[test]
fn lax_settings_are_kept_apart() {
    let (_shared, location) = folder();
    let team = Team::new(&location);
    let family = &compilers("lax_settings_are_kept_apart")[0];
    let line = format!("{} -DSECRET=1", line(family));
    let project = Project::new(FILES);
    let call = |settings: &[(&str, &str)]| {
        let call = crate::support::Call::from(line.as_str());
        settings.iter().fold(call, |call, (name, value)| call.env(name, value))
    };
    let lax = [("RCACHE_IGNORE_OPTIONS", "-DSECRET=1")];
    assert_eq!(team.writer.ending(&project, call(&lax)), "cache_miss");
    team.flush();
    let strict = team.reader();
    assert_eq!(strict.ending(&project, call(&[])), "cache_miss");
    assert_eq!(strict.stats().get("remote_storage_hit"), 0);
    let same = team.reader();
    assert_eq!(same.ending(&project, call(&lax)), "direct_cache_hit");
}

#[test]
fn a_whole_build_is_asked_for_at_once() {
    let (_shared, location) = folder();
    let team = Team::new(&location);
    let family = &compilers("a_whole_build_is_asked_for_at_once")[0];
    let line = |option: usize| format!("{} -DN={option}", line(family));
    let project = Project::new(FILES);
    for option in 0..5 {
        assert_eq!(team.writer.ending(&project, line(option)), "cache_miss");
    }
    team.flush();
    let other = Project::new(FILES);
    let calls = (0..7).map(|option| {
        serde_json::json!({
            "directory": other.root(), "file": "a.c", "command": line(option)
        })
    });
    let calls = serde_json::Value::Array(calls.collect());
    std::fs::create_dir(other.path("build")).unwrap();
    other.write("build/compile_commands.json", calls.to_string());
    let reader = team.reader();
    let asked = reader.rcache(&format!("prefetch -p {} --json", other.path("build").display()));
    assert!(asked.ok(), "{asked:?}");
    let counts: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!((&counts["fetched"], &counts["missing"]), (&5.into(), &2.into()), "{counts}");
    let before = reader.stats();
    for option in 0..5 {
        assert_eq!(checked(&reader, &other, &line(option)), "direct_cache_hit");
    }
    let after = reader.stats();
    assert_eq!(before.get("remote_storage_hit"), after.get("remote_storage_hit"));
    // What is known to be missing is not asked for again.
    assert_eq!(checked(&reader, &other, &line(5)), "cache_miss");
}

#[test]
fn the_local_cache_can_be_a_mere_stage() {
    let (shared, location) = folder();
    let team = Team::new(&location);
    let family = &compilers("the_local_cache_can_be_a_mere_stage")[0];
    let line = line(family);
    let project = Project::new(FILES);
    let only = || crate::support::Call::from(line.as_str()).env("RCACHE_REMOTE_ONLY", "1");
    team.upload(&project, &line);
    assert_eq!(team.writer.ending(&project, only()), "direct_cache_hit");
    for object in objects(shared.path()) {
        std::fs::remove_file(object).unwrap();
    }
    assert_eq!(team.writer.ending(&project, only()), "cache_miss");
    team.flush();
    assert_eq!(objects(shared.path()).len(), 1);
    // What hits here is shared again, where that is wanted.
    for object in objects(shared.path()) {
        std::fs::remove_file(object).unwrap();
    }
    let again = crate::support::Call::from(line.as_str()).env("RCACHE_RESHARE", "1");
    assert_eq!(team.writer.ending(&project, again), "direct_cache_hit");
    team.flush();
    assert_eq!(objects(shared.path()).len(), 1);
}

#[test]
fn a_remote_is_looked_after() {
    let (shared, location) = folder();
    let team = Team::new(&location);
    let family = &compilers("a_remote_is_looked_after")[0];
    team.upload(&Project::new(FILES), &line(family));
    let ask = |words: &str| {
        let answer = team.writer.rcache(&format!("remote {words} --json"));
        let value: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
        (answer.ok(), value["remotes"][0].clone())
    };
    assert_eq!(ask("stats").1["contents"]["units"], 1);
    let (fine, found) = ask("verify");
    assert_eq!((fine, &found["verified"]["sound"]), (true, &1.into()));
    std::fs::write(&objects(shared.path())[0], "nonsense").unwrap();
    let (fine, found) = ask("verify --remove");
    assert_eq!((fine, &found["verified"]["removed"]), (false, &1.into()));
    team.upload(&Project::new(FILES), &format!("{} -DN", line(family)));
    assert_eq!(ask("trim --max-size 0").1["trimmed"]["removed_objects"], 1);
    assert_eq!(objects(shared.path()), Vec::<PathBuf>::new());
}

#[test]
fn secrets_are_never_shown() {
    let secret = "hunter2hunter2";
    let location = format!("redis://me:{secret}@127.0.0.1:1|ttl=1d");
    let cache = Cache::new()
        .with("RCACHE_REMOTE_STORAGE", &location)
        .with("RCACHE_LOG_LEVEL", "trace")
        .with("AWS_SECRET_ACCESS_KEY", secret);
    let log = cache.root().join("log");
    let cache = cache.with("RCACHE_LOG_FILE", &log);
    let Some(family) = compilers("secrets_are_never_shown").into_iter().next() else {
        return skip("secrets_are_never_shown", "no compiler");
    };
    assert_eq!(checked(&cache, &Project::new(FILES), &line(&family)), "cache_miss");
    for words in ["config", "config --json", "stats --json", "remote stats --json", "doctor"] {
        let shown = cache.rcache(words);
        let text = format!("{shown:?}");
        assert!(!text.contains(secret), "{words}: {text}");
    }
    assert!(!std::fs::read_to_string(log).unwrap().contains(secret));
}

#[test]
fn only_protected_branches_of_a_build_service_write() {
    let (shared, location) = folder();
    let team = Team::new(&location);
    let family = &compilers("only_protected_branches_of_a_build_service_write")[0];
    let project = Project::new(FILES);
    let call = |number: usize, variables: &[(&str, &str)]| {
        let call = crate::support::Call::from(format!("{} -DN={number}", line(family)));
        let call = call.env("GITHUB_ACTIONS", "true").env("GITHUB_EVENT_NAME", "push");
        variables.iter().fold(call, |call, (name, value)| call.env(name, value))
    };
    assert_eq!(team.writer.ending(&project, call(1, &[])), "cache_miss");
    let pull = [("GITHUB_REF_PROTECTED", "true"), ("GITHUB_EVENT_NAME", "pull_request")];
    assert_eq!(team.writer.ending(&project, call(2, &pull)), "cache_miss");
    team.flush();
    assert_eq!(objects(shared.path()).len(), 0);
    let protected = [("GITHUB_REF_PROTECTED", "true")];
    assert_eq!(team.writer.ending(&project, call(3, &protected)), "cache_miss");
    team.flush();
    assert_eq!(objects(shared.path()).len(), 1);
}
