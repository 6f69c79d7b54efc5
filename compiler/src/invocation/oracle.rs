//! The table and the naming rules against the compilers themselves.

mod installed;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::options::{CLANG, Effect, GCC, LOCAL, Row, Shape, TABLE};

/// The same tokens on the same lines, in other columns and with other comments.
const UNIT: [&str; 2] = [
    "#define ADD(a, b) ((a) + (b))\n\
     struct Pair { int first, second; };\n\
     extern int other(struct Pair *);\n\
     static int count;\n\
     int total(int *list, int length) {\n\
     struct Pair pair = { list[0], length };\n\
     for (int at = 0; at < length; at++) count += ADD(list[at] / length, pair.first);\n\
     return other(&pair) + count; }\n",
    "#define ADD(a, b) ((a) + (b)) /* sum */\n\
     struct Pair { int first,     second; };\n\
     extern   int other(struct Pair *);\n\
     static  int  count;   // comment\n\
     int   total(int *list, int length) {\n\
     struct   Pair pair = { list[0],    length };\n\
     for   (int at = 0; at < length; at++)    count += ((list[at] / length) +    (pair.first));\n\
     return    other(&pair)   + count; }\n",
];

struct Oracle {
    family: Family,
    driver: &'static str,
    source: &'static str,
}

const ORACLES: [Oracle; 2] = [
    Oracle { family: Family::Gcc, driver: "g++", source: "unit.cpp" },
    Oracle { family: Family::Clang, driver: "clang++", source: "unit.cpp" },
];

/// The drivers for C.
const C_ORACLES: [Oracle; 2] = [
    Oracle { family: Family::Gcc, driver: "gcc", source: "unit.c" },
    Oracle { family: Family::Clang, driver: "clang", source: "unit.c" },
];

impl Oracle {
    fn is_here(&self) -> bool {
        let found = Command::new(self.driver).arg("--version").stdout(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    }

    fn is_cxx(&self) -> bool {
        self.driver.ends_with("++")
    }

    fn language(&self) -> &'static str {
        if self.is_cxx() { "c++" } else { "c" }
    }

    /// Whether the compiler accepts the words, run in `folder`.
    fn run(&self, words: &[&str], folder: &Path) -> bool {
        let status = Command::new(self.driver)
            .args(words)
            .current_dir(folder)
            .env("PWD", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.unwrap().success()
    }

    /// Whether the driver itself accepts the flag; cheaper than a compilation.
    fn knows(&self, flag: &str) -> bool {
        self.run(&["-###", flag, "-c", "-x", self.language(), "/dev/null"], Path::new("/"))
    }

    /// The same for an option with an operand.
    fn knows_all(&self, words: &[String]) -> bool {
        let mut all = vec!["-###"];
        all.extend(words.iter().map(String::as_str));
        all.extend(["-c", "-x", self.language(), "/dev/null"]);
        self.run(&all, Path::new("/"))
    }

    fn parse(&self, words: &[&str], folder: &Path) -> Result<Invocation, Uncacheable> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let context = Context { cxx_driver: self.is_cxx(), ..context(self.family, folder) };
        Invocation::parse(&words, &context)
    }
}

fn context(family: Family, cwd: &Path) -> Context<'_> {
    Context {
        family,
        version_major: 12,
        cwd,
        apparent_cwd: None,
        base_dir: Path::new(""),
        ignore_options: &[],
        sloppiness: Sloppiness::default(),
        cxx_driver: true,
    }
}

/// Every file below `folder`, relative to it.
fn listing(folder: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                files.insert(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    files
}

fn promised(invocation: &Invocation) -> BTreeSet<PathBuf> {
    let depfile = invocation.depfile.as_ref().map(|depfile| &depfile.path);
    let sides = invocation.side_outputs.iter().map(|(_, path)| path);
    let all = invocation.output.iter().chain(depfile).chain(sides);
    all.filter(|path| *path != Path::new("/dev/null")).cloned().collect()
}

/// Compiles the unit in a fresh folder, and checks which files appear. Where the compiler accepts the
/// call, gives its object.
fn object_of(
    oracle: &Oracle,
    flags: &[&str],
    place: &Path,
    unit: &str,
    output: &str,
) -> Option<Vec<u8>> {
    fs::create_dir_all(place).unwrap();
    fs::write(place.join("unit.cpp"), unit).unwrap();
    let words = [flags, &["-frandom-seed=1", "-c", "unit.cpp", "-o", output]].concat();
    let before = listing(place);
    let accepted = oracle.run(&words, place);
    let object = fs::read(place.join(output)).ok();
    let written: BTreeSet<PathBuf> = listing(place).difference(&before).cloned().collect();
    if accepted {
        let expected = promised(&oracle.parse(&words, place).unwrap());
        assert_eq!(written, expected, "{} {flags:?}", oracle.driver);
    }
    fs::remove_dir_all(place).unwrap();
    accepted.then_some(object).flatten()
}

/// What the flags make the object depend on, besides what their rows tell; `None` where the compiler
/// does not accept them.
fn faults(oracle: &Oracle, flags: &[&str], root: &Path) -> Option<Vec<String>> {
    let words = [flags, &["-frandom-seed=1", "-c", "unit.cpp", "-o", "one.o"]].concat();
    let invocation = oracle.parse(&words, root).ok()?;
    let compile = |folder: &str, unit: &str, output: &str| {
        object_of(oracle, flags, &root.join(folder), unit, output)
    };
    let reference = compile("one", UNIT[0], "one.o");
    reference.as_ref()?;
    let output_counts = invocation
        .arguments
        .iter()
        .any(|argument| argument.role == Role::Output && argument.key == KeyPart::Words);
    let positions_count = !invocation.needs_only_tokens;
    let directory_counts = invocation.uses_working_directory;
    let anything_counts = positions_count || directory_counts || output_counts;
    // One compilation with everything different settles most flags.
    if !anything_counts && compile("two", UNIT[1], "two.o") == reference {
        return Some(Vec::new());
    }
    let differs = |is_declared: bool, folder: &str, unit: &str, output: &str| {
        !is_declared && compile(folder, unit, output) != reference
    };
    let mut found = Vec::new();
    if differs(positions_count, "one", UNIT[1], "one.o") {
        found.push("positions");
    }
    if differs(directory_counts, "two", UNIT[0], "one.o") {
        found.push("the directory");
    }
    if differs(output_counts, "one", UNIT[0], "two.o") {
        found.push("its name");
    }
    let sentence = |what| format!("{} {flags:?}: the object depends on {what}", oracle.driver);
    Some(found.into_iter().map(sentence).collect())
}

/// As `faults`, for flags that are tried together where the compiler takes them together.
fn faults_of_all(oracle: &Oracle, flags: &[&str], root: &Path) -> Vec<String> {
    match (faults(oracle, flags, root), flags) {
        (Some(found), [_]) => found,
        (Some(found), _) if found.is_empty() => found,
        (None, [] | [_]) => Vec::new(),
        _ => {
            let (left, right) = flags.split_at(flags.len() / 2);
            let mut found = faults_of_all(oracle, left, root);
            found.extend(faults_of_all(oracle, right, root));
            found
        }
    }
}

/// Options with an operand, as they are met.
const SAMPLES: &[&str] = &[
    "-O0",
    "-O1",
    "-O2",
    "-O3",
    "-Os",
    "-Og",
    "-Ofast",
    "-std=c++17",
    "-std=gnu++20",
    "-Wno-unused",
    "-flto=auto",
    "-flto=thin",
    "-fvisibility=hidden",
    "-fcf-protection=full",
    "-fcf-protection=none",
    "-fstack-protector-strong",
    "-ftls-model=initial-exec",
    "-fsanitize=address",
    "-fsanitize=undefined",
    "-fsanitize=thread",
    "-fsanitize=leak",
    "-fsanitize=memory",
    "-fsanitize-coverage=trace-pc",
    "-fsanitize-recover=all",
    "-fprofile-update=atomic",
    "-fprofile-generate=data",
    "-fprofile-instr-generate=x.profraw",
    "-fcs-profile-generate=data",
    "-ffp-contract=off",
    "-ftrivial-auto-var-init=zero",
    "-fzero-call-used-regs=used",
    "-fpatchable-function-entry=2",
    "-fexec-charset=latin1",
    "-finput-charset=utf-8",
    "-fmessage-length=0",
    "-fdiagnostics-color=always",
    "-fdiagnostics-format=json",
    "-fdiagnostics-format=msvc",
    "-ferror-limit=5",
    "-fmax-errors=5",
    "-march=x86-64-v2",
    "-mtune=generic",
    "-mcmodel=large",
    "-masm=intel",
    "-mabi=ms",
    "-mfpmath=sse",
    "-mpreferred-stack-boundary=4",
    "-mstack-protector-guard=global",
    "-gz=zlib",
    "-Wa,--noexecstack",
    "-Wa,-mrelax-relocations=no",
    "-Wa,-g",
    "-Wa,--gdwarf-5",
    "-Wp,-DX=1",
    "-DX",
    "-DX=1",
    "-UX",
    "-I.",
    "--sysroot=/",
    "-B.",
    "-falign-functions=32",
    "-fbasic-block-sections=all",
    "-ffp-model=fast",
    "-fopenmp=libomp",
    "-fdebug-prefix-map=/=x",
    "-ffile-prefix-map=/=x",
    "-fmacro-prefix-map=/=x",
    "-fdebug-compilation-dir=.",
    "-ffile-compilation-dir=.",
    "-ftree-parallelize-loops=4",
    "-femit-struct-debug-detailed=all",
    "-fsimd-cost-model=cheap",
    "-fcallgraph-info=su,da",
    "--param=max-unroll-times=4",
    "-fxray-instruction-threshold=1",
    "-frandom-seed=2",
    "-fplugin-arg-x-y",
    "-Rpass=inline",
    "-fdenormal-fp-math=ieee",
    "-fveclib=none",
    "-flto-partition=none",
    "-fno-lto",
    "-fno-exceptions",
    "-fno-rtti",
    "-mno-sse3",
    "-fno-builtin-memcpy",
    "-ffixed-r12",
];

/// How many flags without any trait are tried together. With 1, one flag can never hide another.
const TOGETHER: usize = 24;

fn groups() -> Vec<Vec<&'static str>> {
    let inert =
        |row: &Row| matches!(row.effect, Effect::Refuse(_) | Effect::Phase(_) | Effect::Link);
    let is_plain = |row: &Row| {
        row.traits & !(GCC | CLANG | LOCAL) == 0
            && matches!(row.effect, Effect::Counts | Effect::Target)
    };
    let flags = TABLE.iter().filter(|row| row.shape == Shape::Flag && !inert(row));
    let (plain, special): (Vec<&Row>, Vec<&Row>) = flags.partition(|row| is_plain(row));
    let alone = special.iter().map(|row| vec![row.name]);
    let samples = SAMPLES.iter().map(|sample| vec![*sample]);
    let together = plain.chunks(TOGETHER).map(|rows| rows.iter().map(|row| row.name).collect());
    alone.chain(samples).chain(together).collect()
}

#[test]
fn no_flag_writes_a_file_or_leaks_a_name_that_its_row_does_not_tell() {
    let groups = groups();
    for oracle in ORACLES.iter().filter(|oracle| oracle.is_here()) {
        let next = AtomicUsize::new(0);
        let work = || {
            let root = tempfile::tempdir().unwrap();
            let mut found = Vec::new();
            while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                let fault = match faults(oracle, group, root.path()) {
                    Some(found) if found.is_empty() => continue,
                    Some(found) if group.len() == 1 => found,
                    _ => {
                        let known = group.iter().copied().filter(|flag| oracle.knows(flag));
                        faults_of_all(oracle, &known.collect::<Vec<_>>(), root.path())
                    }
                };
                found.extend(fault);
            }
            found
        };
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let found: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(found, [""; 0]);
    }
}

#[test]
fn the_oracle_can_tell() {
    for oracle in ORACLES.iter().filter(|oracle| oracle.is_here()) {
        let root = tempfile::tempdir().unwrap();
        let compile = |flag: &str, folder: &str, unit: &str, output: &str| {
            object_of(oracle, &[flag], &root.path().join(folder), unit, output)
        };
        let plain = compile("-O1", "one", UNIT[0], "one.o");
        assert!(plain.is_some() && plain == compile("-O1", "two", UNIT[1], "two.o"));
        let debug = compile("-g", "one", UNIT[0], "one.o");
        assert_ne!(debug, compile("-g", "one", UNIT[1], "one.o"), "{}", oracle.driver);
        assert_ne!(debug, compile("-g", "two", UNIT[0], "one.o"), "{}", oracle.driver);
    }
}

/// Inputs and outputs in every spelling whose names differ by a rule.
const PLACES: &[&[&str]] = &[
    &["-c", "src/unit.cpp"],
    &["-S", "src/unit.cpp", "-o", "dir/q.x.s"],
    &["-fsyntax-only", "unit.cpp"],
    &["-c", "plain.S", "-o", "dir/p.o"],
    &["-c", "text.ii"],
    &["-c", "unit.cpp"],
    &["-c", "a.b.cpp"],
    &["-c", "src/unit.cpp", "-o", "dir/unit.cpp.o"],
    &["-c", "src/unit.cpp", "-odir/x.y.o"],
    &["-c", "unit.cpp", "-o", "dir/unit"],
    &["-c", "unit.cpp", "-o", "unit"],
    &["-c", "unit.cpp", "-o", "dir/.o"],
    &["-c", "unit.cpp", "-o", "dir/.x"],
    &["-c", "unit.cpp", "-o", "dir/x."],
    &["-c", "unit.cpp", "-o", "dir.d/x"],
    &["-c", "unit.cpp", "-o", "./dir/../x.obj"],
    &["-c", "unit.cpp", "-o", "/dev/null"],
    &["-c", "-x", "c++", "bare"],
    &["-S", "src/unit.cpp"],
    &["-S", "unit.cpp", "-c"],
    &["-c", "unit.cpp", "-S", "-o", "dir/q"],
    &["-fsyntax-only", "unit.cpp", "-o", "dir/x.o"],
    &["-fsyntax-only", "-c", "unit.cpp", "-o", "dir/x.o"],
    &["-c", "text.i"],
    &["-c", "-x", "c++-cpp-output", "unit.cpp"],
    &["-c", "plain.s"],
    &["-c", "plain.S"],
    &["-c", "unit.c"],
    &["-c", "unit.m"],
];

/// Options that add outputs, alone and together.
const ADDITIONS: &[&[&str]] = &[
    &[],
    &["-MD"],
    &["--coverage"],
    &["-g", "-gsplit-dwarf"],
    &["-fstack-usage"],
    &["-MMD", "-MP"],
    &["-MD", "-MMD"],
    &["-MD", "-MF", "f.d"],
    &["-MD", "-MF", "f.d", "-MFdir/g.d"],
    &["-MMD", "-MT", "t", "-MQ", "$q"],
    &["-Wp,-MD,f.d"],
    &["-Wp,-MMD,dir/f.d", "-MT", "t"],
    &["-Wp,-MD,f.d", "-MD"],
    &["-Wp,-MD,f.d", "-MF", "g.d"],
    &["-MF", "f.d"],
    &["-MP"],
    &["-g"],
    &["-gsplit-dwarf"],
    &["-gsplit-dwarf", "-g2"],
    &["-g", "-gsplit-dwarf", "-g0"],
    &["-g0", "-gsplit-dwarf"],
    &["-gdwarf-4", "-gsplit-dwarf"],
    &["-gz", "-gsplit-dwarf"],
    &["-gpubnames", "-gsplit-dwarf"],
    &["-g", "-gsplit-dwarf", "-gno-split-dwarf"],
    &["-g", "-gsplit-dwarf", "-flto"],
    &["-gline-tables-only", "-gsplit-dwarf"],
    &["--coverage", "-MD", "-g", "-gsplit-dwarf"],
    &["--coverage", "-fno-test-coverage"],
    &["--coverage", "-fprofile-abs-path"],
    &["--coverage", "-fprofile-generate=data"],
    &["--coverage", "-flto"],
    &["-ftest-coverage"],
    &["-fprofile-arcs"],
    &["-fprofile-generate"],
    &["-fprofile-generate=data"],
    &["-fprofile-instr-generate", "-fcoverage-mapping"],
    &["-fstack-usage", "-flto"],
    &["-fstack-usage", "-fcallgraph-info"],
    &["-fcallgraph-info=su,da"],
    &["-emit-llvm"],
    &["-emit-llvm", "-MD"],
    &["-emit-llvm", "-fstack-usage"],
    &["-flto"],
];

fn fill(folder: &Path) {
    for name in ["src", "dir", "dir.d"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    let unit = "int f(int x) { return x; }\n";
    for name in
        ["unit.cpp", "src/unit.cpp", "a.b.cpp", "bare", "text.ii", "text.i", "unit.c", "unit.m"]
    {
        fs::write(folder.join(name), unit).unwrap();
    }
    fs::write(folder.join("plain.s"), "nop\n").unwrap();
    fs::write(folder.join("plain.S"), "nop\n").unwrap();
}

/// Runs the call and its preprocessing, and says what they wrote that was not foretold.
fn surprise(oracle: &Oracle, words: &[&str]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fill(folder);
    let before = listing(folder);
    let written =
        || -> BTreeSet<PathBuf> { listing(folder).difference(&before).cloned().collect() };
    let invocation = oracle.parse(words, folder).ok()?;
    let preprocess = invocation.preprocess_arguments();
    let preprocess: Vec<&str> = preprocess.iter().map(|word| word.to_str().unwrap()).collect();
    oracle.run(&preprocess, folder);
    if !written().is_empty() {
        return Some(format!("{} {preprocess:?} wrote {:?}", oracle.driver, written()));
    }
    if !oracle.run(words, folder) {
        return None;
    }
    let normal = |path: &PathBuf| PathBuf::from(path.to_string_lossy().replace("./dir/../", ""));
    let promised: BTreeSet<PathBuf> = promised(&invocation).iter().map(normal).collect();
    let written = written();
    (written != promised)
        .then(|| format!("{} {words:?} wrote {written:?}, not {promised:?}", oracle.driver))
}

/// Each place with the first additions, and each addition with the first places; all of them with
/// all where `RCACHE_TEST_EVERY_NAME` is set, which takes some minutes.
fn naming_calls() -> Vec<Vec<&'static str>> {
    const FEW: usize = 3;
    let everything = std::env::var_os("RCACHE_TEST_EVERY_NAME").is_some();
    let mut calls = Vec::new();
    for (at, place) in PLACES.iter().enumerate() {
        for (also_at, addition) in ADDITIONS.iter().enumerate() {
            if everything || at < FEW || also_at < FEW {
                calls.push([*addition, *place].concat());
            }
        }
    }
    calls
}

#[test]
fn files_have_the_names_that_the_compilers_give_them() {
    for oracle in ORACLES.iter().filter(|oracle| oracle.is_here()) {
        let calls = naming_calls();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut found = Vec::new();
            while let Some(words) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                found.extend(surprise(oracle, words));
            }
            found
        };
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let found: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
