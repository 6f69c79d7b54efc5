//! `Call`: a compiler call as data; random ones, and random changes to one.

use crate::project::{HEADER_NAMES, Kind, SOURCES};
use crate::random::Random;
use crate::setting::Setting;
use crate::tree::ROOT;
use compiler::options::{Effect, Row, Shape, TABLE};

/// Which compilers are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// `gcc` and `g++`.
    Gcc,
    /// `clang` and `clang++`.
    Clang,
}

impl Compiler {
    /// The driver for C or C++.
    pub fn driver(self, cxx: bool) -> &'static str {
        match (self, cxx) {
            (Compiler::Gcc, false) => "gcc",
            (Compiler::Gcc, true) => "g++",
            (Compiler::Clang, false) => "clang",
            (Compiler::Clang, true) => "clang++",
        }
    }
}

/// One compiler call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// The driver.
    pub driver: &'static str,
    /// The words after it, in groups that belong together.
    pub groups: Vec<Vec<String>>,
    /// Further variables.
    pub variables: Vec<(String, String)>,
    /// The working directory below the project.
    pub folder: String,
    /// The shell's umask.
    pub umask: u32,
    /// How it is started.
    pub setting: Setting,
}

impl Call {
    /// The words after the driver.
    pub fn words(&self) -> impl Iterator<Item = &String> {
        self.groups.iter().flatten()
    }
}

/// What a call is made of, so that one part can be changed.
#[derive(Clone, Debug)]
pub struct Plan {
    compiler: Compiler,
    source: (&'static str, Kind),
    folder: &'static str,
    search: Vec<Vec<String>>,
    macros: Vec<Vec<String>>,
    flags: Vec<Vec<String>>,
    /// Rows of the product's own table.
    drawn: Vec<Vec<String>>,
    dependencies: Vec<String>,
    output: Vec<String>,
    phase: &'static str,
    variables: Vec<(String, String)>,
    umask: u32,
    setting: Setting,
    rotation: usize,
}

/// Folders from which calls are made.
const FOLDERS: [&str; 6] = ["w", "w", "w", "w/src", "v", "wlink"];

impl Plan {
    /// A random plan.
    pub fn new(compiler: Compiler, random: &mut Random) -> Plan {
        let mut plan = Plan {
            compiler,
            source: *random.pick(&SOURCES),
            folder: "w",
            search: Vec::new(),
            macros: Vec::new(),
            flags: Vec::new(),
            drawn: Vec::new(),
            dependencies: Vec::new(),
            output: vec!["-o".into(), "out/x.o".into()],
            phase: "-c",
            variables: Vec::new(),
            umask: 0o022,
            setting: Setting::Plain,
            rotation: 0,
        };
        for _ in 0..1 + random.below(4) {
            plan.search.push(search(random));
        }
        for _ in 0..random.below(3) {
            plan.macros.push(definition(random));
        }
        for _ in 0..random.below(4) {
            plan.flags.push(flag(compiler, random));
        }
        plan.dependencies = dependencies(random);
        plan.setting = Setting::random(compiler, random);
        plan
    }

    /// A plan that differs in one part.
    pub fn changed(&self, random: &mut Random) -> Plan {
        let mut plan = self.clone();
        match random.below(26) {
            22..=25 => plan.setting = Setting::random(plan.compiler, random),
            20 | 21 => plan.source = *random.pick(&SOURCES),
            0..=3 => change_list(&mut plan.search, 5, search(random), random),
            4 | 5 => change_list(&mut plan.macros, 3, definition(random), random),
            6..=8 => change_list(&mut plan.flags, 5, flag(plan.compiler, random), random),
            9 | 10 => change_list(&mut plan.drawn, 3, drawn(random), random),
            11 | 12 => plan.dependencies = dependencies(random),
            13 => plan.source = *random.pick(&SOURCES),
            14 => plan.folder = random.text(&FOLDERS),
            15 => plan.output = output(random),
            16 => plan.phase = random.text(&["-c", "-c", "-c", "-S", "-fsyntax-only"]),
            17 => change_variables(&mut plan.variables, random),
            18 => plan.rotation += 1,
            _ => plan.umask = *random.pick(&[0o022, 0o022, 0o077, 0o002]),
        }
        plan
    }

    /// The plan without words from the table, of which one was not understood.
    pub fn without_drawn(&self) -> Plan {
        Plan { drawn: Vec::new(), ..self.clone() }
    }

    /// The call.
    pub fn call(&self) -> Call {
        let cxx = self.source.1 == Kind::Cxx;
        let mut groups = vec![vec![self.phase.to_owned()]];
        groups.extend(self.flags.iter().cloned());
        groups.extend(self.drawn.iter().cloned());
        groups.extend(self.macros.iter().cloned());
        groups.extend(self.search.iter().cloned());
        let precompiles = self.source.1 == Kind::Header;
        let output = if precompiles { Vec::new() } else { self.output.clone() };
        groups.extend([self.dependencies.clone(), output, vec![self.source_word()]]);
        groups.retain(|group| !group.is_empty());
        let length = groups.len();
        groups.rotate_left(self.rotation % length);
        let mut variables = self.variables.clone();
        if self.folder == "wlink" {
            variables.push(("PWD".into(), format!("{ROOT}/wlink")));
        }
        Call {
            driver: self.compiler.driver(cxx),
            groups,
            variables,
            folder: self.folder.to_owned(),
            umask: self.umask,
            setting: self.setting,
        }
    }

    fn source_word(&self) -> String {
        let source = self.source.0;
        match (self.folder, self.rotation % 5) {
            ("w/src", _) => match source.strip_prefix("src/") {
                Some(below) => below.to_owned(),
                None => format!("../{source}"),
            },
            (_, 3) => format!("{ROOT}/w/{source}"),
            (_, 4) => format!("./{source}"),
            _ => source.to_owned(),
        }
    }
}

fn change_list<T>(list: &mut Vec<T>, length_max: usize, new: T, random: &mut Random) {
    let at = if list.is_empty() { 0 } else { random.below(list.len()) };
    match random.below(4) {
        0 if !list.is_empty() => drop(list.remove(at)),
        1 if !list.is_empty() => list[at] = new,
        2 if list.len() > 1 => list.swap(0, at),
        _ if list.len() < length_max => list.insert(at, new),
        _ => drop(list.pop()),
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// One option for the search of headers.
fn search(random: &mut Random) -> Vec<String> {
    const PLACES: [&str; 16] = [
        "inc1",
        "inc1",
        "inc2",
        "inc2",
        "inc3",
        "sys1",
        "quote",
        "after",
        "link1",
        "link2",
        "gen",
        "missing",
        "../v/inc1",
        "inc1/../inc2",
        "src",
        "@ROOT@/w/inc1",
    ];
    const OPTIONS: [&str; 10] = [
        "-I",
        "-I",
        "-I",
        "-I ",
        "-iquote",
        "-iquote ",
        "-isystem",
        "-isystem ",
        "-idirafter",
        "-I./",
    ];
    if random.chance(4) {
        return words(random.text(&[
            "-iprefix inc -iwithprefix 1",
            "-iprefix inc -iwithprefixbefore 2",
            "-I .",
            "-nostdinc",
            "-I inc1 -I inc1",
            "@plain.rsp",
            "-I src -I -",
        ]));
    }
    let (option, place) = (*random.pick(&OPTIONS), *random.pick(&PLACES));
    let place = if option.ends_with('/') {
        place.trim_start_matches(ROOT).trim_start_matches('/')
    } else {
        place
    };
    words(&format!("{option}{place}"))
}

fn definition(random: &mut Random) -> Vec<String> {
    let number = random.below(4);
    let name = HEADER_NAMES[random.below(HEADER_NAMES.len())];
    match random.below(16) {
        0..=2 => words(&format!("-DFLAG={number}")),
        3 => words("-DFLAG"),
        4 => words("-UFLAG"),
        5 => words(&format!("-D FLAG={number}")),
        6 => words(&format!("-DDEFINED=\"{name}\"")),
        7 => words("-DWHEN=__DATE__"),
        8 => words(random.text(&["-DWHEN=__TIME__", "-DWHEN=__TIMESTAMP__"])),
        9 => words("-DPLACE=__FILE__"),
        10..=12 => words(&format!("-include {name}")),
        13 => words(&format!("-imacros {name}")),
        14 => words("-include src/a.h"),
        _ => words("-DV0=7 -UV0"),
    }
}

/// Options that real builds use, and those known to have tripped caches.
fn flag(compiler: Compiler, random: &mut Random) -> Vec<String> {
    const BOTH: [&str; 66] = [
        "-g",
        "-g",
        "-g1",
        "-g3",
        "-ggdb",
        "-gdwarf-4",
        "-gz",
        "-g0",
        "-O0",
        "-O1",
        "-O2",
        "-Os",
        "-O3",
        "-Og",
        "-Wall",
        "-Wall -Wextra",
        "-Werror",
        "-Wextra",
        "-Wno-unused",
        "-w",
        "-pedantic",
        "-Wparentheses -Werror=parentheses",
        "-Wimplicit-fallthrough",
        "-Wunused-macros",
        "-Wdate-time",
        "-Winvalid-pch",
        "-fPIC",
        "-pipe",
        "-fno-exceptions",
        "-ffunction-sections",
        "-fdata-sections",
        "-fstack-protector-strong",
        "-std=gnu11",
        "-std=c99",
        "-std=c++17",
        "-std=c++20",
        "-trigraphs",
        "-fsanitize=undefined",
        "-fsanitize=address",
        "--coverage",
        "-ftest-coverage -fprofile-arcs",
        "-gsplit-dwarf",
        "-g -gsplit-dwarf",
        "-fdebug-prefix-map=@ROOT@/w=/base",
        "-ffile-prefix-map=@ROOT@=/base",
        "-fmacro-prefix-map=src=other",
        "-fstack-usage",
        "-march=native",
        "-x c",
        "-x c++",
        "-x none",
        "-fno-common",
        "-fvisibility=hidden",
        "-frandom-seed=1",
        "-fdiagnostics-color=always",
        "-fdiagnostics-color=never",
        "-fno-diagnostics-show-caret",
        "-save-temps",
        "-save-temps=obj",
        "-P",
        "-C",
        "-flto",
        "-ffat-lto-objects -flto",
        "-fopenmp",
        "-pthread",
        "-frecord-gcc-switches",
    ];
    const GCC: [&str; 20] = [
        "-fdump-tree-gimple",
        "-fopt-info",
        "-fopt-info-all=out/info",
        "-fdiagnostics-format=json",
        "-dA",
        "-fverbose-asm",
        "-Wa,-L",
        "-Wa,--gdwarf-5",
        "-Wa,-a=out/list",
        "-fworking-directory",
        "-fno-working-directory",
        "-aux-info out/aux",
        "-fcallgraph-info",
        "-fprofile-generate",
        "-fprofile-use",
        "-fpch-preprocess",
        "-fcanonical-system-headers",
        "-Wa,-I,src",
        "-fsave-optimization-record",
        "-ftrack-macro-expansion=0",
    ];
    const CLANG: [&str; 16] = [
        "-Weverything",
        "-fno-integrated-as",
        "-emit-llvm",
        "-ftime-trace",
        "-fmodules",
        "-Xclang -ast-dump",
        "-fcolor-diagnostics",
        "-gcodeview",
        "-fsave-optimization-record",
        "-Rpass=inline",
        "-fprofile-instr-generate",
        "-fcoverage-mapping -fprofile-instr-generate",
        "-fdebug-compilation-dir=/x",
        "-MJ out/x.json",
        "-serialize-diagnostics out/x.dia",
        "-mllvm -stats",
    ];
    let own: &[&str] = if compiler == Compiler::Gcc { &GCC } else { &CLANG };
    words(if random.chance(82) { random.text(&BOTH) } else { random.text(own) })
}

/// A row of the product's table, with some operand where it needs one.
fn drawn(random: &mut Random) -> Vec<String> {
    loop {
        let row: &Row = random.pick(TABLE);
        if is_unfit(row) {
            continue;
        }
        let operand = match row.effect {
            Effect::Values(values) => *random.pick(values),
            _ => *random.pick(&["0", "1", "2", "3", "all", "none", "fast", "default", "strict"]),
        };
        return match row.shape {
            Shape::Flag => vec![row.name.to_owned()],
            Shape::Joined | Shape::JoinedOrSeparate => vec![format!("{}{operand}", row.name)],
            Shape::Separate => vec![row.name.to_owned(), operand.to_owned()],
        };
    }
}

/// Rows that the other parts of a plan have, or that would wait for a person.
fn is_unfit(row: &Row) -> bool {
    let name = row.name;
    matches!(row.effect, Effect::Output | Effect::Phase(_) | Effect::Payload(_))
        || name.contains("wrapper")
        || name.contains("plugin")
        || name.starts_with("-fcrash")
        || name == "-Q"
        || name.starts_with("-ftime-report")
        || name.starts_with("-fmem-report")
        || name.contains("fdump")
}

fn dependencies(random: &mut Random) -> Vec<String> {
    words(random.text(&[
        "",
        "",
        "-MD",
        "-MMD",
        "-MD -MF out/x.d",
        "-MMD -MF out/x.d",
        "-MD -MT target -MF out/x.d",
        "-MMD -MP -MQ out/$x -MF out/x.d",
        "-MD -MP -MF dep.d",
        "-MD -MTone -MT two",
        "-Wp,-MD,out/x.d",
        "-Wp,-MMD,out/y.d",
        "-MF out/x.d -MMD",
        "-MD -MF out/x.d -MP",
    ]))
}

fn output(random: &mut Random) -> Vec<String> {
    words(random.text(&[
        "-o out/x.o",
        "-o out/x.o",
        "-oout/x.o",
        "",
        "-o x.o",
        "-o @ROOT@/w/out/x.o",
        "-o out/y.obj",
        "-o out/../x.o",
        "-o nowhere/x.o",
        "-o /dev/null",
    ]))
}

fn change_variables(variables: &mut Vec<(String, String)>, random: &mut Random) {
    const ALL: [(&str, &str); 22] = [
        ("CPATH", "inc3"),
        ("CPATH", "inc2:"),
        ("CPATH", "@ROOT@/w/inc1:sys1"),
        ("C_INCLUDE_PATH", "inc3:sys1"),
        ("CPLUS_INCLUDE_PATH", "inc3"),
        ("LANG", "C"),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C"),
        ("LC_ALL", "C.UTF-8"),
        ("LC_CTYPE", "C.UTF-8"),
        ("SOURCE_DATE_EPOCH", "0"),
        ("SOURCE_DATE_EPOCH", "1000000000"),
        ("SOURCE_DATE_EPOCH", "nonsense"),
        ("GCC_COLORS", ""),
        ("TERM", "dumb"),
        ("COLUMNS", "40"),
        ("DEPENDENCIES_OUTPUT", "out/deps"),
        ("CCC_OVERRIDE_OPTIONS", "+-O2"),
        ("PWD", "@ROOT@/wlink"),
        ("PWD", "nonsense"),
        ("UNRELATED", "1"),
        ("GCC_EXTRA_DIAGNOSTIC_OUTPUT", "fixits-v1"),
    ];
    if random.chance(45) {
        let at = random.below(variables.len() + 1);
        variables.truncate(at);
        return;
    }
    let (name, value) = random.pick(&ALL);
    variables.retain(|(known, _)| known != name);
    variables.push((name.to_string(), value.to_string()));
}
