//! Real projects, built by the compiler alone, then cold and warm through rcache: every file the same.
//!
//! A few combinations of compiler, -j and build type stand for all; `RCACHE_TEST_MATRIX=full` runs
//! each. Sources are found in the folder `RCACHE_TEST_SOURCES`, which `tests/run` fills.

use crate::support::{
    Cache, Call, Compilers, LIMIT_BUILD, MASQUERADE_PATH, Outcome, Project, SYSTEM_PATH, Stats,
    Tree, compilers, have, rcache_binary, run, skip, write_program,
};
use std::path::{Path, PathBuf};

/// One way to build.
#[derive(Clone, Copy, Debug)]
struct Variant {
    family: Compilers,
    jobs: u32,
    release: bool,
}

impl Variant {
    fn flags(&self) -> &'static str {
        if self.release { "-O2 -DNDEBUG" } else { "-O0 -g" }
    }

    fn build_type(&self) -> &'static str {
        if self.release { "Release" } else { "Debug" }
    }
}

/// The variants to build: `few` (jobs, release) for gcc and clang in turn, or all there are.
fn variants(what: &str, few: &[(u32, bool)]) -> Vec<Variant> {
    let families = compilers(what);
    let full = std::env::var("RCACHE_TEST_MATRIX").is_ok_and(|value| value == "full");
    let all = [(1, false), (1, true), (2, false), (2, true), (40, false), (40, true)];
    let mut variants = Vec::new();
    for (index, &(jobs, release)) in (if full { &all } else { few }).iter().enumerate() {
        for (number, &family) in families.iter().enumerate() {
            if full || families.len() == 1 || number == index % families.len() {
                variants.push(Variant { family, jobs, release });
            }
        }
    }
    variants
}

/// The sources of a Debian source package, unpacked by `tests/run`.
fn debian_source(prefix: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sources");
    let folder = std::env::var_os("RCACHE_TEST_SOURCES").map_or(default, PathBuf::from);
    below(&folder, prefix)
}

/// The first folder below `folder` whose name starts with `prefix`.
fn below(folder: &Path, prefix: &str) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| {
        path.is_dir()
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    });
    found.sort();
    found.into_iter().next()
}

/// A crate's folder in cargo's registry.
fn crate_source(prefix: &str) -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let registries = std::fs::read_dir(home.join("registry/src")).ok()?;
    registries.flatten().find_map(|registry| below(&registry.path(), prefix))
}

fn copy_tree(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.is_ok_and(|status| status.success()), "cp -a {}", from.display());
}

/// A project that is built by a shell script in its own folder.
struct Recipe<'a> {
    /// Makes the sources in an empty folder.
    sources: &'a dyn Fn(&Project),
    /// The script; `$JOBS`, `$CC`, `$CXX`, `$FLAGS`, `$TYPE` and `$LAUNCHER` tell it how.
    script: &'a str,
    /// Calls go through masquerading links instead of a launcher.
    masquerade: bool,
    /// Files in which the build writes times, its own environment or the launcher's name.
    volatile: &'a [&'a str],
    /// Counters that the script's phase after `rcache zero` may raise besides hits.
    explained: &'a [&'a str],
}

struct Built {
    outcome: Outcome,
    tree: Tree,
}

impl Recipe<'_> {
    /// Builds three times at the same path and compares.
    #[track_caller]
    fn prove(&self, what: &str, variant: Variant) {
        let project = Project::new(&[]);
        let cache = Cache::new();
        let reference = self.build(&project, &cache, variant, false, 2);
        for turn in ["cold", "warm"] {
            let what = format!("{what}, {turn}, {variant:?}");
            cache.rcache("zero").success();
            let jobs = if turn == "cold" { variant.jobs } else { 41 - variant.jobs };
            let built = self.build(&project, &cache, variant, true, jobs);
            self.compare(&what, &reference, &built);
            let stats = cache.stats();
            self.check_counters(&what, &stats, turn == "warm", calls(&project));
        }
    }

    fn build(
        &self,
        project: &Project,
        cache: &Cache,
        variant: Variant,
        through: bool,
        jobs: u32,
    ) -> Built {
        Tree::default().restore(project.root());
        let _ = std::fs::remove_file(project.beside("calls"));
        (self.sources)(project);
        let rcache = if through { rcache_binary().display().to_string() } else { String::new() };
        let launcher = if through { self.prepare_launcher(project, cache, variant) } else { None };
        let compiler = |name: &str| match &launcher {
            Some(launcher) => format!("{launcher} {name}"),
            None => name.to_owned(),
        };
        let mut call = Call::of(["/bin/sh", "-e", "-c", self.script])
            .env("JOBS", jobs.to_string())
            .env("CC", compiler(variant.family.c))
            .env("CXX", compiler(variant.family.cxx))
            .env("PLAIN_CC", variant.family.c)
            .env("PLAIN_CXX", variant.family.cxx)
            .env("FLAGS", variant.flags())
            .env("TYPE", variant.build_type())
            .env("LAUNCHER", launcher.unwrap_or_default())
            .env("RCACHE", if rcache.is_empty() { ":" } else { &rcache });
        if through && self.masquerade {
            call = call.env("PATH", format!("{MASQUERADE_PATH}:{SYSTEM_PATH}"));
        }
        let outcome = run(&mut cache.command_bare(project, &call), LIMIT_BUILD).success();
        Built { outcome, tree: Tree::read(project.root()) }
    }

    /// The launcher counts the calls that it passes on, so that none can go unexplained.
    fn prepare_launcher(
        &self,
        project: &Project,
        cache: &Cache,
        variant: Variant,
    ) -> Option<String> {
        if self.masquerade {
            for name in [variant.family.c, variant.family.cxx] {
                if !cache.bin().join(name).is_symlink() {
                    cache.link(name);
                }
            }
            return None;
        }
        let shim = project.beside("launcher");
        let (calls, binary) = (project.beside("calls"), rcache_binary());
        let text = format!(
            "#!/bin/sh\necho call >> '{}'\nexec '{}' \"$@\"\n",
            calls.display(),
            binary.display()
        );
        write_program(&shim, text);
        Some(shim.display().to_string())
    }

    #[track_caller]
    fn compare(&self, what: &str, reference: &Built, built: &Built) {
        let volatile = |name: &Path| {
            let name = name.to_string_lossy();
            self.volatile.iter().any(|pattern| name.ends_with(pattern))
        };
        let mut differences = reference.tree.differences(&built.tree);
        differences.retain(|(name, _)| !volatile(name));
        assert!(differences.is_empty(), "{what}: {differences:#?}");
        assert_eq!(warnings(&built.outcome), warnings(&reference.outcome), "{what}");
    }

    #[track_caller]
    fn check_counters(&self, what: &str, stats: &Stats, warm: bool, calls: Option<u64>) {
        let zero = Stats(zeroed(stats));
        let endings = stats.endings_since(&zero);
        println!("{what}: {endings:?}, {calls:?} calls");
        let hits = ["direct_cache_hit", "preprocessed_cache_hit", "cache_miss"];
        for (name, times) in &endings {
            let known = self.explained.contains(&name.as_str()) || hits.contains(&name.as_str());
            assert!(known, "{what}: {times} calls ended as {name}: {endings:?}");
        }
        if warm {
            assert!(stats.get("direct_cache_hit") > 0, "{what}: {endings:?}");
            let missed = stats.get("cache_miss") + stats.get("preprocessed_cache_hit");
            assert_eq!(missed, 0, "{what}: all hits are direct when warm: {endings:?}");
        }
        if let Some(calls) = calls {
            let ended: u64 = endings.iter().map(|(_, times)| times).sum();
            assert_eq!(ended, calls, "{what}: each call is counted once: {endings:?}");
        }
    }
}

fn zeroed(stats: &Stats) -> serde_json::Value {
    let mut value = stats.0.clone();
    for counter in value["counters"].as_object_mut().unwrap().values_mut() {
        *counter = 0.into();
    }
    value
}

/// How many calls went through the counting launcher.
fn calls(project: &Project) -> Option<u64> {
    let text = std::fs::read_to_string(project.beside("calls")).ok()?;
    Some(text.lines().count() as u64)
}

/// What compilers said, in an order that does not depend on which unit was done first.
fn warnings(outcome: &Outcome) -> Vec<String> {
    let text = outcome.err();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // make's own remarks hold process ids and the depth of its children.
    lines.retain(|line| !line.starts_with("make"));
    lines.sort();
    lines
}

#[test]
fn lua_with_make() {
    let Some(source) = debian_source("lua") else {
        return skip("lua_with_make", "no sources of lua5.4 (tests/run fetches them)");
    };
    let recipe = Recipe {
        sources: &|project| copy_tree(&source.join("."), project.root()),
        script: "make -s -j$JOBS -Oline linux CC=\"$CC -std=gnu99\" MYCFLAGS=\"$FLAGS -Wextra\" 1>&2\n\
                 make -s install INSTALL_TOP=$PWD/installed 1>&2",
        masquerade: false,
        volatile: &[],
        explained: &["called_for_link"],
    };
    for variant in variants("lua_with_make", &[(2, true), (40, false), (1, false)]) {
        recipe.prove("lua", variant);
    }
}

#[test]
fn zstd_with_make() {
    let Some(source) = crate_source("zstd-sys-") else {
        return skip("zstd_with_make", "the crate zstd-sys is not in cargo's registry");
    };
    let recipe = Recipe {
        sources: &|project| {
            copy_tree(&source.join("zstd"), project.root());
            project.write("Makefile", include_str!("../projects/zstd/Makefile"));
        },
        script: "make -s -Oline -j$JOBS CC=\"$CC\" CFLAGS=\"$FLAGS\"",
        masquerade: false,
        volatile: &[],
        explained: &[],
    };
    for variant in variants("zstd_with_make", &[(40, false), (2, false)]) {
        recipe.prove("zstd", variant);
    }
}

#[test]
fn xz_with_autotools() {
    let Some(source) = debian_source("xz") else {
        return skip("xz_with_autotools", "no sources of xz-utils (tests/run fetches them)");
    };
    let recipe = Recipe {
        sources: &|project| copy_tree(&source.join("."), project.root()),
        // Probes end in many ways; the counters are looked at for what is built afterwards.
        script: "./configure -q --disable-nls --prefix=/usr CC=$PLAIN_CC CFLAGS=\"$FLAGS\" >&2\n\
                 $RCACHE stats --json > ../probes.json\n\
                 $RCACHE zero\n\
                 make -s -j$JOBS -Oline 1>&2\n\
                 make -s install DESTDIR=$PWD/installed >/dev/null 2>&1",
        masquerade: true,
        volatile: &["config.log"],
        explained: &["called_for_link"],
    };
    // Three times its configure script is minutes.
    for variant in variants("xz_with_autotools", &[(2, true)]) {
        recipe.prove("xz", variant);
    }
}

#[test]
fn many_units_with_cmake_and_ninja() {
    if !have("cmake") || !have("ninja") {
        return skip("many_units_with_cmake_and_ninja", "no cmake or no ninja");
    }
    let googletest = Path::new("/usr/src/googletest");
    if !googletest.exists() {
        skip("the googletest units of many_units_with_cmake_and_ninja", "no libgtest-dev");
    }
    let recipe = Recipe {
        sources: &|project| {
            crate::generated::cxx_project(project);
            if googletest.exists() {
                copy_tree(googletest, &project.path("googletest"));
            }
        },
        script: "launch=\n\
                 if [ -n \"$LAUNCHER\" ]; then launch=\"-DCMAKE_C_COMPILER_LAUNCHER=$LAUNCHER \
                 -DCMAKE_CXX_COMPILER_LAUNCHER=$LAUNCHER\"; fi\n\
                 CC=$PLAIN_CC CXX=$PLAIN_CXX cmake -G Ninja -S . -B build -DCMAKE_BUILD_TYPE=$TYPE \
                 $launch >/dev/null\n\
                 ninja --quiet -C build -j$JOBS -d keepdepfile >&2\n\
                 ./build/program > output.txt\n\
                 DESTDIR=$PWD/installed ninja -C build install >/dev/null",
        masquerade: false,
        volatile: &[
            ".ninja_log",
            ".ninja_deps",
            "build.ninja",
            "rules.ninja",
            "CMakeCache.txt",
            "CMakeOutput.log",
            "CMakeError.log",
            "compile_commands.json",
        ],
        explained: &["called_for_link"],
    };
    for variant in variants("many_units_with_cmake_and_ninja", &[(2, false), (40, true)]) {
        recipe.prove("many units", variant);
    }
}
