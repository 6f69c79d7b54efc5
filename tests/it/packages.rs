//! The packages of packaging/build: what is in them, and that what they install works.

use crate::support::{
    Cache, LIMIT_BUILD, LIMIT_CALL, SYSTEM_PATH, docker, have, is_root, rcache_binary, run, skip,
    worker_image,
};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder with all packages of the program under test; they are made once.
fn packages() -> &'static Path {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        build(folder.path());
        folder
    })
    .path()
}

fn build(out: &Path) {
    let mut path = OsString::from(repository().join("target/tools"));
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new(repository().join("packaging/build"));
    command.arg("--binary").arg(rcache_binary()).arg(out).env("PATH", path);
    run(command.env("SOURCE_DATE_EPOCH", "1790000000"), LIMIT_BUILD).success();
}

/// The one package whose name ends like this.
fn package(end: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(packages()).unwrap().flatten().map(|entry| entry.path());
    let mut found = files.filter(|file| file.to_string_lossy().ends_with(end));
    let package = found.next();
    assert!(found.next().is_none(), "two packages end with {end}");
    package
}

/// A package that nfpm makes; `what` is noted as skipped without it.
fn distribution_package(what: &str, end: &str) -> Option<PathBuf> {
    let package = package(end);
    if package.is_none() {
        skip(what, "nfpm is not below target/ (see tests/run)");
    }
    package
}

fn shell(script: &str, folder: &Path) -> String {
    let mut command = Command::new("/bin/sh");
    command.args(["-ec", script]).current_dir(folder).env("PATH", SYSTEM_PATH);
    run(&mut command, LIMIT_CALL).success().out()
}

#[test]
fn the_tarball_has_all_that_a_user_needs() {
    let tarball = package("-linux.tar.xz").expect("a tarball");
    let listed = shell(&format!("tar -tf '{}'", tarball.display()), packages());
    for file in [
        "rcache",
        "rcache.cmake",
        "rcache.toml",
        "rcache-worker.service",
        "README.md",
        "CHANGELOG.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "man/man1/rcache.1.gz",
        "man/man1/rcache-worker.1.gz",
        "bash-completion/completions/rcache",
    ] {
        let there = listed.lines().any(|line| line.ends_with(&format!("-linux/{file}")));
        assert!(there, "{file} in {listed}");
    }
}

#[test]
fn the_binary_runs_in_an_empty_root() {
    if !is_root() {
        return skip("a root without a C library", "chroot needs root");
    }
    let root = tempfile::tempdir().unwrap();
    let tarball = package("-linux.tar.xz").expect("a tarball");
    shell(&format!("tar -xf '{}' --strip-components=1", tarball.display()), root.path());
    let version = format!("rcache {}", env!("CARGO_PKG_VERSION"));
    for words in ["-V", "config", "--help", "worker --help"] {
        let mut command = Command::new("/usr/sbin/chroot");
        command.arg(root.path()).arg("/rcache").args(words.split(' '));
        command.env_clear().env("PATH", SYSTEM_PATH).env("HOME", "/");
        let told = run(&mut command, LIMIT_CALL).success().out();
        assert!(words != "-V" || told.starts_with(&version), "{told}");
    }
}

#[test]
fn the_checksums_are_right_and_the_bytes_the_same_each_time() {
    let sums = shell("cat SHA256SUMS-*", packages());
    assert!(sums.lines().count() >= 3, "{sums}");
    shell("sha256sum --quiet -c SHA256SUMS-*", packages());
    let again = tempfile::tempdir().unwrap();
    build(again.path());
    assert_eq!(shell("cat SHA256SUMS-*", again.path()), sums, "two runs give the same bytes");
}

#[test]
fn the_wheel_brings_the_program() {
    let wheel = package(".whl").expect("a wheel");
    let folder = tempfile::tempdir().unwrap();
    let made =
        run(Command::new("python3").args(["-m", "venv", "v"]).current_dir(&folder), LIMIT_CALL);
    if !made.ok() {
        return skip("the wheel", "python3 -m venv does not work (python3-venv)");
    }
    let script =
        format!("v/bin/pip install --no-index --quiet '{}' && v/bin/rcache -V", wheel.display());
    assert!(shell(&script, folder.path()).starts_with("rcache "));
    assert_eq!(
        shell("v/bin/pip uninstall -y -q rcache; ls v/bin | grep -c rcache || true", folder.path()),
        "0\n"
    );
}

#[test]
fn the_parts_list_names_each_library_with_its_licence() {
    let list = package(".cdx.json").expect("a parts list");
    let list: serde_json::Value =
        serde_json::from_slice(&std::fs::read(list).unwrap()).expect("JSON");
    let parts = list["components"].as_array().unwrap();
    for name in ["blake3", "rusqlite", "zstd-sys"] {
        let part = parts.iter().find(|part| part["name"] == name);
        let part = part.unwrap_or_else(|| panic!("{name} in {list}"));
        assert!(part["licenses"][0]["expression"].is_string(), "{part}");
    }
    assert!(parts.iter().all(|part| part["name"] != "proptest"), "tests are no part of it");
}

#[test]
fn a_debian_package_installs_hits_and_goes() {
    let what = "the Debian package in a container";
    let Some(package) = distribution_package(what, "_amd64.deb") else { return };
    let Some(image) = worker_image(what) else { return };
    let script = "
        set -e
        rm /usr/local/bin/rcache
        dpkg -i --force-depends /p/*.deb >/dev/null
        test -L /usr/lib/rcache/gcc
        test -L /usr/lib/rcache/clang++
        rcache -V | cut -c 1-6
        cd /tmp; echo 'int f(void) { return 3; }' >a.c
        export PATH=/usr/lib/rcache:$PATH HOME=/tmp/home
        mkdir /tmp/home
        gcc -c a.c -o a.o; gcc -c a.c -o b.o; cmp a.o b.o
        rcache --print-stats | grep -E '^direct_cache_hit|^cache_miss'
        rcache daemon stop
        dpkg -r rcache >/dev/null
        ls -d /usr/lib/rcache /usr/bin/rcache 2>&1 | grep -vc 'No such' || true
        dpkg --purge rcache >/dev/null 2>&1
        ls -d /etc/rcache 2>&1 | grep -vc 'No such' || true";
    let mount = format!("{}:/p:ro", package.parent().unwrap().display());
    let words = ["run", "--rm", "--user=0", "--network=none", "--volume", &mount];
    let words = [&words[..], &["--entrypoint=/bin/sh", image, "-c", script]].concat();
    let told = docker(&words).success().out();
    assert_eq!(
        told, "rcache\ndirect_cache_hit\t1\ncache_miss\t1\nstopped\n0\n0\n",
        "installed, missed once, hit once, gone"
    );
}

#[test]
fn each_package_holds_the_same_files() {
    let what = "the files of the packages";
    let Some(deb) = distribution_package(what, "_amd64.deb") else { return };
    let folder = tempfile::tempdir().unwrap();
    let list = |package: &Path, command: &str| {
        let script = command.replace('%', &format!("'{}'", package.display()));
        let names = shell(&script, folder.path());
        let names = names.lines().map(|line| line.trim_start_matches(['.', '/']).to_owned());
        let ours = |name: &String| name.starts_with("usr/bin/") || name.starts_with("etc/rcache/");
        let mut names: Vec<String> = names.filter(ours).filter(|n| !n.ends_with('/')).collect();
        names.sort();
        names
    };
    let wanted = ["etc/rcache/rcache.toml", "usr/bin/rcache"];
    assert_eq!(list(&deb, "dpkg-deb --fsys-tarfile % | tar -tf -"), wanted);
    assert_eq!(list(&package(".apk").expect("an apk"), "tar -tzf %"), wanted);
    let arch = package(".pkg.tar.zst").expect("an Arch package");
    match have("zstd") {
        true => assert_eq!(list(&arch, "zstd -dcq % | tar -tf -"), wanted),
        false => skip("the Arch package", "zstd is not installed"),
    }
    let rpm = package(".rpm").expect("an rpm");
    match have("rpm") {
        true => {
            assert_eq!(list(&rpm, "rpm -qlp %"), wanted);
            shell(&format!("rpm -K --nosignature '{}'", rpm.display()), folder.path());
        }
        false => skip("the rpm", "rpm is not installed"),
    }
}

#[test]
fn cmake_gets_its_launchers_unless_they_are_set() {
    if !have("cmake") || !have("ninja") {
        return skip("rcache.cmake", "cmake or ninja is not installed");
    }
    let cache = Cache::new();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    file(
        "CMakeLists.txt",
        "cmake_minimum_required(VERSION 3.16)\nproject(p C)\nadd_library(a a.c)\n",
    );
    file("a.c", "int f(void) { return 3; }\n");
    let configure = |build: &str, more: &str| {
        let include = repository().join("cmake/rcache.cmake");
        let script = format!(
            "cmake -G Ninja -S . -B {build} -DCMAKE_PROJECT_INCLUDE_BEFORE='{}' -DRCACHE_PROGRAM='{}' {more}
             grep -o 'CMAKE_C_COMPILER_LAUNCHER:[A-Z]*=.*' {build}/CMakeCache.txt || true
             cmake --build {build} >/dev/null",
            include.display(),
            rcache_binary().display(),
        );
        let mut command = Command::new("/bin/sh");
        command
            .args(["-ec", &script])
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", SYSTEM_PATH);
        run(cache.adopt(&mut command), LIMIT_CALL).success().out()
    };
    let told = configure("one", "");
    assert!(told.contains(&format!("STRING={}", rcache_binary().display())), "{told}");
    assert_eq!(cache.stats().get("cache_miss"), 1);
    let told = configure("two", "-DCMAKE_C_COMPILER_LAUNCHER=env");
    assert!(told.contains("is set already") && told.contains("=env"), "{told}");
    let told = configure("three", "-DRCACHE_DISABLE=ON");
    assert!(!told.contains("COMPILER_LAUNCHER"), "{told}");
    assert_eq!(cache.stats().get("cache_miss"), 1, "neither went through rcache");
}

#[test]
fn the_scripts_are_in_order() {
    for script in ["after-install", "before-remove", "copyright", "debian-changelog"] {
        shell(&format!("sh -n packaging/{script}"), repository());
    }
    shell("bash -n packaging/build", repository());
    if !have("systemd-analyze") {
        return skip("the worker's systemd unit", "systemd-analyze is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let unit =
        std::fs::read_to_string(repository().join("packaging/rcache-worker.service")).unwrap();
    let unit = unit.replace("/usr/bin/rcache", &rcache_binary().display().to_string());
    std::fs::write(folder.path().join("rcache-worker.service"), unit).unwrap();
    shell("systemd-analyze verify --man=no ./rcache-worker.service", folder.path());
}
