//! Every option that the table lets out of this machine gives the same object from the text that is sent.

use crate::support::{Compilers, Project, compilers};
use compiler::invocation::{Context, Family, Invocation};
use compiler::options::{Effect, Shape, TABLE};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

const SOURCE: &str = r#"#include "local.h"
#define SQUARE(x) ((x) * (x))
static const char *names[] = { "one", "two", __FILE__ };
struct pair { int left; double right; };
static int inner(struct pair *pair, int n) {
    for (int i = 0; i < n; i++) pair->right += SQUARE(pair->left + i);
    return pair->left ? OFFSET : __LINE__;
}
int outer(int n) {
    struct pair pair = { n, 0.5 };
    int a = inner(&pair, n); int b = a << 3;
    return b > 9 ? names[n & 1][0] : (int)pair.right + (int)sizeof(long);
}
"#;

/// Operands with which options that take one are tried.
const OPERANDS: [&str; 4] = ["1", "none", "all", "default"];

#[test]
fn every_option_that_may_leave_gives_the_same_object() {
    for family in compilers("options elsewhere") {
        let project = Project::new(&[
            ("a.c", SOURCE),
            ("local.h", "#pragma once\n#define OFFSET 7\n"),
            ("away/keep", ""),
        ]);
        let words = words(family);
        assert!(words.len() > 300, "the table has many options: {}", words.len());
        let project = &project;
        let (next, sent) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let differing = std::thread::scope(|scope| {
            let walk = |number: usize| {
                let mut differing = Vec::new();
                while let Some(word) = words.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // The first operand that the compiler takes stands for all.
                    let mut tried =
                        word.iter().map(|word| (word, try_word(project, family, word, number)));
                    match tried.find(|(_, same)| same.is_some()) {
                        Some((_, Some(true))) => drop(sent.fetch_add(1, Ordering::Relaxed)),
                        Some((word, _)) => differing.push(word.clone()),
                        None => {}
                    }
                }
                differing
            };
            let walks: Vec<_> = (0..2).map(|number| scope.spawn(move || walk(number))).collect();
            walks.into_iter().flat_map(|walk| walk.join().unwrap()).collect::<Vec<_>>()
        });
        println!("{}: {} options give the same", family.c, sent.into_inner());
        assert!(differing.is_empty(), "{}: {differing:#?}", family.c);
    }
}

/// Each option, with the operands that it may take. Warnings are left out: a compile that printed
/// something is done here, and one that did not is not shaped by them.
fn words(family: Compilers) -> Vec<Vec<String>> {
    let known = if family.c == "gcc" { Family::Gcc } else { Family::Clang };
    let mut words = Vec::new();
    for row in TABLE.iter().filter(|row| row.remote()) {
        let other = matches!(
            row.effect,
            Effect::Warning
                | Effect::Output
                | Effect::Phase(_)
                | Effect::Language
                | Effect::Depfile(_)
                | Effect::ForcedInclude
                | Effect::ReadFile
                | Effect::Payload(_)
                | Effect::Side(_)
        );
        if other {
            continue;
        }
        let spelled: Vec<String> = match row.shape {
            Shape::Flag => vec![row.name.to_owned()],
            Shape::Joined => {
                let operands: Vec<&str> = match row.effect {
                    Effect::Values(values) => values.to_vec(),
                    _ => OPERANDS.to_vec(),
                };
                operands.iter().map(|operand| format!("{}{operand}", row.name)).collect()
            }
            Shape::JoinedOrSeparate | Shape::Separate => continue,
        };
        let known = |word: &String| compiler::options::lookup(word.as_bytes(), known).is_some();
        words.push(spelled.into_iter().filter(known).collect());
    }
    words
}

/// Whether the object is the same; `None` where the compiler does not take the word in silence, or
/// the unit would not be sent.
fn try_word(project: &Project, family: Compilers, word: &str, number: usize) -> Option<bool> {
    let clang = family.c == "clang";
    let arguments: Vec<OsString> = ["-O1", word, "-c", "a.c", "-o"]
        .iter()
        .map(OsString::from)
        .chain([format!("{number}.o").into()])
        .collect();
    let context = Context {
        family: if clang { Family::Clang } else { Family::Gcc },
        version_major: 14,
        cwd: project.root(),
        apparent_cwd: None,
        base_dir: std::path::Path::new(""),
        ignore_options: &[],
        sloppiness: Default::default(),
        cxx_driver: false,
    };
    let invocation = Invocation::parse(&arguments, &context).ok()?;
    // The record of the options differs there, and is looked at elsewhere.
    if !invocation.remote || invocation.debug_info {
        return None;
    }
    silent(project, "", family.c, &arguments)?;
    let object = std::fs::read(project.path(&format!("{number}.o"))).ok()?;
    let mut preprocess = invocation.preprocess_arguments();
    preprocess.push(if clang { "-frewrite-includes" } else { "-fdirectives-only" }.into());
    let mut text = silent(project, "", family.c, &preprocess)?;
    if clang {
        let mut list = invocation.remote_arguments(&[]);
        list.extend(["-E", "-dM", "-x", "c", "/dev/null"].map(OsString::from));
        text = with_macros(&text, &silent(project, "", family.c, &list)?)?;
    }
    std::fs::write(project.path(&format!("away/{number}.i")), text).unwrap();
    let mut compile: Vec<OsString> = vec![format!("{number}.i").into()];
    if !clang {
        compile.push("-fdirectives-only".into());
    }
    compile.extend(invocation.remote_arguments(&[]));
    compile.extend(["-c", "-o"].map(OsString::from));
    compile.push(format!("{number}.away").into());
    silent(project, "away", family.c, &compile)?;
    let away = std::fs::read(project.path(&format!("away/{number}.away"))).ok()?;
    if away == object {
        return Some(true);
    }
    // Some options draw a random number: two compiles here then differ as well.
    silent(project, "", family.c, &arguments)?;
    let again = std::fs::read(project.path(&format!("{number}.o"))).ok()?;
    (again == object).then_some(false)
}

/// `None` where an option shapes the text itself: such a unit is not sent.
fn with_macros(text: &[u8], macros: &[u8]) -> Option<Vec<u8>> {
    let rest = text.strip_prefix(b"# 1 \"<built-in>\"\n")?;
    Some([b"# 1 \"a.c\"\n# 1 \"<built-in>\" 1\n", macros, b"# 1 \"a.c\" 2\n", rest].concat())
}

/// Standard output of a compiler that succeeds in silence.
fn silent(project: &Project, folder: &str, compiler: &str, words: &[OsString]) -> Option<Vec<u8>> {
    let mut command = Command::new(compiler);
    let output = command
        .args(words)
        .current_dir(project.path(folder))
        .stdin(Stdio::null())
        .output()
        .expect("run the compiler");
    assert!(words.iter().all(|word| !word.as_bytes().contains(&0)));
    (output.status.success() && output.stderr.is_empty()).then_some(output.stdout)
}
