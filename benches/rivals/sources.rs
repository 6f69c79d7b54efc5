//! Generated sources: one unit of each size, and a project of many.

use super::Failure;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Headers of the generated library, in as many folders as a real one has.
pub const LIBRARY_HEADERS: usize = 260;
const LIBRARY_FOLDERS: usize = 12;

/// Functions of a C++ unit that is measured alone, and of one of a project.
const FUNCTIONS: usize = 24;
const PROJECT_FUNCTIONS: usize = 6;

/// The headers of the standard library that a C++ source of some size includes.
const STANDARD_HEADERS: [&str; 9] = [
    "algorithm",
    "functional",
    "iostream",
    "map",
    "memory",
    "regex",
    "sstream",
    "string",
    "vector",
];

/// A unit of the hit bench.
pub struct Unit {
    /// For the table.
    pub name: &'static str,
    /// Its compiler.
    pub compiler: &'static str,
    /// Its source, relative to the folder of the sources.
    pub source: &'static str,
}

/// Small C, medium C++, C++ with some hundred headers.
pub const UNITS: [Unit; 3] = [
    Unit { name: "small C", compiler: "gcc", source: "small.c" },
    Unit { name: "medium C++", compiler: "g++", source: "medium.cpp" },
    Unit { name: "header-heavy C++", compiler: "g++", source: "heavy.cpp" },
];

/// The options of all compiles, between the compiler and `-c`.
pub const OPTIONS: [&str; 5] = ["-O2", "-g", "-Iinclude", "-Ithird_party", "-Wall"];

/// Writes the three units and the library into `folder`.
pub fn write_units(folder: &Path) -> Result<(), Failure> {
    write_library(folder)?;
    std::fs::write(folder.join("small.c"), small())?;
    std::fs::write(
        folder.join("medium.cpp"),
        unit(0, &["string", "vector"], &[1, 2, 3], FUNCTIONS),
    )?;
    let all: Vec<usize> = (0..LIBRARY_HEADERS).collect();
    std::fs::write(folder.join("heavy.cpp"), unit(1, &STANDARD_HEADERS, &all, FUNCTIONS))?;
    Ok(())
}

/// Writes a project of `count` units, `unit0.cpp` and so on; each includes a part of the library.
pub fn write_project(folder: &Path, count: usize) -> Result<(), Failure> {
    write_library(folder)?;
    for number in 0..count {
        let part: Vec<usize> = (0..40).map(|n| (number * 7 + n * 3) % LIBRARY_HEADERS).collect();
        let text = unit(number, &["map", "string", "vector"], &part, PROJECT_FUNCTIONS);
        std::fs::write(folder.join(format!("unit{number}.cpp")), text)?;
    }
    Ok(())
}

/// Writes `count` units of one to two megabytes of preprocessed text, `unit0.cpp` and so on.
pub fn write_heavy(folder: &Path, count: usize) -> Result<(), Failure> {
    write_library(folder)?;
    for number in 0..count {
        let part: Vec<usize> = (0..120).map(|n| (number * 7 + n) % LIBRARY_HEADERS).collect();
        let text = unit(number, &STANDARD_HEADERS, &part, FUNCTIONS);
        std::fs::write(folder.join(format!("unit{number}.cpp")), text)?;
    }
    Ok(())
}

/// Writes `count` units with one header of the system.
pub fn write_light(folder: &Path, count: usize) -> Result<(), Failure> {
    for number in 0..count {
        let text = format!(
            "#include <stdlib.h>\nint light{number}(int x) {{ return abs(x) + {number}; }}\n"
        );
        std::fs::write(folder.join(format!("unit{number}.cpp")), text)?;
    }
    Ok(())
}

/// Waits until what was just written is old enough for its time stamps to prove something: from
/// then on no cache has to read it again at each hit.
pub fn settle(written: SystemTime) {
    let wait = compiler::file_memo::SETTLE + Duration::from_secs(2);
    let rest = wait.saturating_sub(written.elapsed().unwrap_or_default());
    println!("waiting {} s, so that no source is too young to be trusted", rest.as_secs());
    std::thread::sleep(rest);
}

fn small() -> String {
    let mut text = String::from("#include <stdio.h>\n#include <string.h>\n\n");
    for n in 0..12 {
        let _ = writeln!(
            text,
            "int print{n}(const char *s) {{ return printf(\"%zu %s {n}\\n\", strlen(s), s); }}"
        );
    }
    text
}

fn header_path(number: usize) -> String {
    format!("library/part{}/header{number}.hpp", number % LIBRARY_FOLDERS)
}

fn write_library(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder.join("include"))?;
    for part in 0..LIBRARY_FOLDERS {
        std::fs::create_dir_all(folder.join(format!("third_party/library/part{part}")))?;
    }
    for number in 0..LIBRARY_HEADERS {
        let mut text = format!("#ifndef LIBRARY_{number}\n#define LIBRARY_{number}\n");
        if number > 0 {
            let _ = writeln!(text, "#include <{}>", header_path(number / 2));
        }
        if let Some(beside) = number.checked_sub(LIBRARY_FOLDERS) {
            let _ = writeln!(text, "#include \"header{beside}.hpp\"");
        }
        for n in 0..10 {
            let _ = write!(
                text,
                "/** Adds {n} to each of the parts that it is given. */\n\
                 template <class T> struct part{number}_{n} {{\n  T first, second;\n  \
                 T sum() const {{ return first + second + {n}; }}\n}};\n"
            );
        }
        let _ = writeln!(text, "inline int library{number}(int x) {{ return x + {number}; }}");
        text.push_str("#endif\n");
        std::fs::write(folder.join("third_party").join(header_path(number)), text)?;
    }
    Ok(())
}

fn unit(number: usize, standard: &[&str], library: &[usize], functions: usize) -> String {
    let mut text = String::new();
    for header in standard {
        let _ = writeln!(text, "#include <{header}>");
    }
    for header in library {
        let _ = writeln!(text, "#include <{}>", header_path(*header));
    }
    let _ = writeln!(text, "namespace unit{number} {{");
    for n in 0..functions {
        let header = library[n % library.len()];
        let _ = write!(
            text,
            "std::string work{n}(const std::vector<std::string> &words, int x) {{\n  \
             part{header}_1<int> part{{x, {n}}};\n  std::string all;\n  \
             for (const auto &word : words) {{\n    \
             if (word.size() > {n}) all += word.substr({n});\n    else all.insert(0, word);\n  }}\n  \
             return all + std::to_string(part.sum() + library{header}(x));\n}}\n"
        );
    }
    text.push_str("}\n");
    text
}
