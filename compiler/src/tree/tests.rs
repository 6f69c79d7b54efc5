//! Compiles in a root that holds the tree and nothing else, and compares with a compile here.

use super::{InputTree, Needs, Node, Unprovable, Wanted, input_tree, surroundings};
use crate::file_memo::{FileMemo, WorkingDirectory};
use crate::invocation::Family;
use crate::search::{Bounds, SearchPath};
use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime};

/// Random trees for each compiler.
const TREES: u64 = 24;

struct Compiler {
    name: &'static str,
    family: Family,
    files: Vec<PathBuf>,
}

/// The compilers that are here, with all that they consist of.
fn compilers() -> Vec<Compiler> {
    let all = [("g++", Family::Gcc), ("clang++", Family::Clang)];
    let found = all.into_iter().filter_map(|(name, family)| {
        let path = which(name)?;
        let mut files = vec![path.clone()];
        match family {
            Family::Gcc => {
                let parts = ["cc1", "cc1plus", "as"];
                files.extend(parts.iter().filter_map(|part| asked(&path, part)));
            }
            Family::Clang => {
                files.extend(fs::canonicalize(&path));
                files.extend(surroundings::of_clang(&[PathBuf::from("/usr")]));
            }
        }
        let programs = files.clone();
        files.extend(programs.iter().flat_map(|program| libraries(program)));
        Some(Compiler { name, family, files })
    });
    found.collect()
}

fn which(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn asked(driver: &Path, part: &str) -> Option<PathBuf> {
    let word = format!("-print-prog-name={part}");
    let run = Command::new(driver).arg(word).output().ok()?;
    let text = String::from_utf8(run.stdout).ok()?;
    let path = PathBuf::from(text.trim());
    if path.is_absolute() { Some(path) } else { which(part) }
}

fn libraries(program: &Path) -> Vec<PathBuf> {
    let Ok(run) = Command::new("ldd").arg(program).output() else { return Vec::new() };
    crate::identity::listed_libraries(&run.stdout)
}

/// Whether programs can be run in a root of their own; says why not.
fn can_isolate() -> bool {
    match Command::new("bwrap").args(["--ro-bind", "/", "/", "true"]).output() {
        Ok(run) if run.status.success() => true,
        Ok(run) => {
            println!("skipped: bwrap: {}", String::from_utf8_lossy(&run.stderr));
            false
        }
        Err(error) => {
            println!("skipped: bwrap: {error}");
            false
        }
    }
}

/// One compile: a folder, the words that search, and the source.
struct Case<'a> {
    compiler: &'a Compiler,
    cwd: PathBuf,
    words: Vec<String>,
    forced: Vec<PathBuf>,
    source: &'a str,
}

impl Case<'_> {
    fn tree(&self) -> Result<InputTree, Unprovable> {
        self.tree_of(None)
    }

    fn tree_of(&self, listed: Option<&[PathBuf]>) -> Result<InputTree, Unprovable> {
        let run = Command::new(self.compiler.name)
            .args(&self.words)
            .args(["-E", "-v", "-x", "c++", "/dev/null"])
            .env("LC_ALL", "C")
            .current_dir(&self.cwd)
            .output()
            .unwrap();
        let search = SearchPath::parse(&run.stderr).unwrap();
        let memo = FileMemo::new();
        let here = WorkingDirectory::open(&self.cwd).unwrap();
        input_tree(&Wanted {
            here: &here,
            cwd: &self.cwd,
            memo: &memo,
            now: SystemTime::now(),
            family: self.compiler.family,
            source: Path::new(self.source),
            forced_includes: &self.forced,
            search: Some(&search),
            definitions: &[],
            definition_scans: &[],
            knows_modules: false,
            others: &self.compiler.files,
            clock: &[],
            listed,
            bounds: Bounds::from(Instant::now()),
        })
    }

    fn arguments(&self) -> Vec<String> {
        let mut words = self.words.clone();
        for forced in &self.forced {
            words.extend(["-include".to_owned(), forced.display().to_string()]);
        }
        let rest = ["-g", "-Wall", "-MD", "-MF", "out.d", "-o", "out.o", "-c", self.source];
        words.extend(rest.map(str::to_owned));
        words
    }

    fn compile_here(&self) -> Made {
        let run = Command::new(which(self.compiler.name).unwrap())
            .args(self.arguments())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir(&self.cwd)
            .output()
            .unwrap();
        Made::collect(run, &self.cwd)
    }

    fn compile_in(&self, root: &Path) -> Made {
        let run = Command::new("bwrap")
            .arg("--bind")
            .arg(root)
            .args(["/", "--proc", "/proc", "--dev", "/dev", "--clearenv"])
            .args(["--setenv", "PATH", "/usr/bin:/bin", "--chdir"])
            .arg(&self.cwd)
            .arg("--")
            .arg(which(self.compiler.name).unwrap())
            .args(self.arguments())
            .output()
            .unwrap();
        Made::collect(run, &root.join(self.cwd.strip_prefix("/").unwrap()))
    }

    /// Compares a compile in a root of its own with one here; a failing one, too.
    fn check(&self, what: &str) -> bool {
        let tree = match self.tree() {
            Ok(tree) => tree,
            Err(why) => panic!("{what}: {why}"),
        };
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        materialise(&tree, root.path());
        let (here, there) = (self.compile_here(), self.compile_in(root.path()));
        assert_eq!(there.printed, here.printed, "{what}: {}", self.compiler.name);
        assert_eq!(there.success, here.success, "{what}: {}", self.compiler.name);
        assert_eq!(there.rule, here.rule, "{what}: {}", self.compiler.name);
        assert!(there.object == here.object, "{what}: {}: other object", self.compiler.name);
        here.success
    }
}

struct Made {
    success: bool,
    printed: String,
    object: Option<Vec<u8>>,
    rule: Option<String>,
}

impl Made {
    fn collect(run: Output, cwd: &Path) -> Made {
        Made {
            success: run.status.success(),
            printed: String::from_utf8_lossy(&run.stderr).into_owned(),
            object: fs::read(cwd.join("out.o")).ok(),
            rule: fs::read_to_string(cwd.join("out.d")).ok(),
        }
    }
}

fn materialise(tree: &InputTree, root: &Path) {
    for name in ["tmp", "proc", "dev"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    for (path, node) in &tree.nodes {
        let below = path.strip_prefix("/").unwrap_or(path);
        let to = root.join(below);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        match node {
            Node::Folder => fs::create_dir_all(&to).unwrap(),
            Node::Link(target) => symlink(target, &to).unwrap(),
            Node::File(file) => {
                fs::copy(path, &to).unwrap();
                let mode = if file.executable { 0o755 } else { 0o644 };
                fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
                let since = Duration::from_nanos(file.content.stamp.modified_ns as u64);
                let modified = SystemTime::UNIX_EPOCH + since;
                let times = FileTimes::new().set_modified(modified);
                File::options().write(true).open(&to).unwrap().set_times(times).unwrap();
            }
        }
    }
}

/// A small generator of its own, so that a tree can be made again from its number.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }

    fn of<'s>(&mut self, all: &[&'s str]) -> &'s str {
        all[self.below(all.len() as u64) as usize]
    }
}

const FOLDERS: [&str; 7] = ["a", "b", "c", "a/sub", "b/sub", "link", "c/up"];
const NAMES: [&str; 6] = ["x.h", "y.h", "z.h", "sub/x.h", "sub/y.h", "w.h"];

/// Headers that shadow one another, in folders some of which are links.
fn random_project(root: &Path, chance: &mut Chance) {
    for folder in ["a/sub", "b/sub", "c", "src"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    symlink("b", root.join("link")).unwrap();
    symlink("../a/sub", root.join("c/up")).unwrap();
    for folder in FOLDERS {
        for name in NAMES {
            let path = root.join(folder).join(name);
            let is_taken = fs::symlink_metadata(&path).is_ok();
            if chance.below(3) > 0 || is_taken || !path.parent().unwrap().is_dir() {
                continue;
            }
            match chance.below(8) {
                0 => symlink("../b/x.h", &path).unwrap(),
                1 => fs::create_dir(&path).unwrap(),
                _ => {
                    fs::write(&path, random_text(chance, 2)).unwrap();
                    let old = SystemTime::now() - Duration::from_secs(chance.below(2) * 1000 + 100);
                    let file = File::options().write(true).open(&path).unwrap();
                    file.set_times(FileTimes::new().set_modified(old)).unwrap();
                }
            }
        }
    }
    let text = random_text(chance, 4) + "int last = __LINE__;\n";
    fs::write(root.join("src/main.cc"), text).unwrap();
}

/// Lines that include, ask, and define; each text is one of few, so that equal files are frequent.
fn random_text(chance: &mut Chance, lines: u64) -> String {
    let mut text = String::new();
    if chance.below(2) == 0 {
        text.push_str("#pragma once\n");
    }
    text.push_str("#if __INCLUDE_LEVEL__ < 9\n");
    for _ in 0..lines {
        let name = chance.of(&NAMES);
        let up = chance.of(&["", "", "../", "sub/../", "../src/../a/"]);
        let name = match chance.below(3) {
            0 => format!("<{up}{name}>"),
            _ => format!("\"{up}{name}\""),
        };
        let next = if chance.below(4) == 0 { "_next" } else { "" };
        text.push_str(&match chance.below(6) {
            0 => format!("#if __has_include{next}({name})\nextern int has;\n#endif\n"),
            1 => format!("#ifdef NEVER\n#include {name}\n#endif\n"),
            _ => format!("#if __has_include{next}({name})\n#include{next} {name}\n#endif\n"),
        });
    }
    text.push_str("extern int here;\n#endif\n");
    text
}

fn random_words(chance: &mut Chance) -> Vec<String> {
    let mut words = Vec::new();
    let mut seen = BTreeSet::new();
    for _ in 0..chance.below(5) {
        let folder =
            chance.of(&["a", "b", "c", "link", "a/sub", "c/up", "b/../c", "c/up/..", "none"]);
        if seen.insert(folder) {
            words.push(format!(
                "{}{folder}",
                chance.of(&["-I", "-iquote", "-isystem", "-idirafter"])
            ));
        }
    }
    words
}

fn project() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn random_trees_are_compiled_as_here() {
    if !can_isolate() {
        return;
    }
    for compiler in &compilers() {
        let mut succeeded = 0;
        for number in 0..TREES {
            let mut chance = Chance(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let (_folder, root) = project();
            random_project(&root, &mut chance);
            let words = random_words(&mut chance);
            let case =
                Case { compiler, cwd: root, words, forced: Vec::new(), source: "src/main.cc" };
            succeeded += u64::from(case.check(&format!("tree {number}")));
        }
        assert!(succeeded * 3 > TREES, "{}: only {succeeded} compile at all", compiler.name);
    }
}

#[test]
fn headers_of_the_system_are_all_there() {
    if !can_isolate() {
        return;
    }
    for compiler in &compilers() {
        let (_folder, root) = project();
        let names = ["random", "regex", "thread", "iostream", "filesystem", "cmath", "sys/stat.h"];
        let text: String = names.iter().map(|name| format!("#include <{name}>\n")).collect();
        write(&root, "a.cc", &(text + "int main() { std::mt19937 x; return x() > 4; }\n"));
        let words = vec!["-std=c++17".to_owned(), "-O1".to_owned()];
        let case = Case { compiler, cwd: root, words, forced: Vec::new(), source: "a.cc" };
        assert!(case.check("system headers"));
    }
}

#[test]
fn forced_includes_and_computed_names_are_followed() {
    if !can_isolate() {
        return;
    }
    for compiler in &compilers() {
        let (_folder, root) = project();
        write(&root, "inc/forced.h", "#define NAME \"../other/deep.h\"\n#include \"beside.h\"\n");
        write(&root, "inc/beside.h", "extern int beside;\n");
        write(&root, "other/deep.h", "int deep() { return __LINE__; }\n");
        write(&root, "src/a.cc", "#include NAME\n#if __has_include(NAME)\nint has;\n#endif\n");
        let words = vec!["-Iinc".to_owned()];
        let forced = vec![PathBuf::from("forced.h")];
        let case = Case { compiler, cwd: root, words, forced, source: "src/a.cc" };
        assert!(case.check("forced"));
    }
}

#[test]
fn what_cannot_be_told_makes_no_tree() {
    let (_folder, root) = project();
    for compiler in &compilers() {
        let case = |source| Case {
            compiler,
            cwd: root.clone(),
            words: Vec::new(),
            forced: Vec::new(),
            source,
        };
        write(&root, "p.h", "");
        write(&root, "p.h.gch", "");
        write(&root, "a.cc", "#include \"p.h\"\n");
        assert!(matches!(case("a.cc").tree(), Err(Unprovable::Precompiled(_))));
        write(&root, "b.cc", "#embed \"x\"\n");
        assert!(matches!(case("b.cc").tree(), Err(Unprovable::Embed(_))));
        write(&root, "c.cc", "#include __FILE__\n");
        let told = case("c.cc").tree().err().map(|why| why.is_told_by_preprocessor());
        assert_eq!(told, Some(true));
        assert!(case("c.cc").tree_of(Some(&[])).is_ok());
        // What is not compiled hides nothing.
        write(&root, "e.h", "#if __has_include(__FILE__)\n#endif\n");
        write(&root, "e.cc", "#ifdef NEVER\n#include \"e.h\"\n#endif\n");
        assert!(matches!(case("e.cc").tree(), Err(Unprovable::HasInclude(_))));
        assert!(case("e.cc").tree_of(Some(&[PathBuf::from("e.cc")])).is_ok());
        let read = [PathBuf::from("e.cc"), PathBuf::from("e.h")];
        assert!(matches!(case("e.cc").tree_of(Some(&read)), Err(Unprovable::HasInclude(_))));
        write(&root, "d.cc", "#if __has_include(__FILE__)\n#endif\n");
        assert!(matches!(case("d.cc").tree(), Err(Unprovable::HasInclude(_))));
    }
}

#[test]
fn equal_files_need_inodes_and_times_of_their_own() {
    for compiler in &compilers() {
        let (_folder, root) = project();
        write(&root, "a/x.h", "#pragma once\n");
        write(&root, "b/y.h", "#pragma once\n");
        write(&root, "a.cc", "#include \"a/x.h\"\n#include \"b/y.h\"\n");
        let case = Case {
            compiler,
            cwd: root.clone(),
            words: Vec::new(),
            forced: Vec::new(),
            source: "a.cc",
        };
        let times = compiler.family == Family::Gcc;
        assert_eq!(case.tree().unwrap().needs, Needs { own_inodes: true, times });
        fs::remove_file(root.join("b/y.h")).unwrap();
        fs::hard_link(root.join("a/x.h"), root.join("b/y.h")).unwrap();
        match (case.tree(), compiler.family) {
            (Err(Unprovable::TwoNames(_)), Family::Clang) => {}
            (Ok(tree), Family::Gcc) => assert!(tree.needs.times),
            (other, _) => panic!("{other:?}"),
        }
    }
}
