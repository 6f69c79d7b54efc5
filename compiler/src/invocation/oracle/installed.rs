//! Every option that the installed compilers list in their help, tried on a small unit.

use super::*;

/// What gcc is asked to list.
const GCC_CLASSES: [&str; 7] = ["common", "optimizers", "target", "c", "c++", "warnings", "params"];

/// Fewer that only C has, and gcc's lists were not read as they are written.
const ONLY_C_MIN: usize = 10;

/// Operands for options that do not list theirs. A file of each name is there, so that an option that
/// reads its operand is seen to.
const OPERANDS: [&str; 4] = ["1", "none", "all", "default"];

/// How many options are tried together; with `RCACHE_TEST_EVERY_OPTION` each is tried alone, which
/// takes some minutes.
const AT_ONCE: usize = 16;

/// Fewer that are cached and accepted, and the lists were not read as they are written.
const TRIED_MIN: usize = 400;

/// Fewer that are refused, and the allow-list is none.
const REFUSED_MIN: usize = 60;

/// Why an option was not tried: the compiler does not take it, alone and for this language.
const REJECTED: &str = "rejected";

/// Names that the help lists without being options: examples, and headings.
const NO_OPTIONS: &[&str] = &["-###"];

/// One option, in each spelling that may be right.
type Spellings = Vec<Vec<String>>;

fn listed(oracle: &Oracle) -> Vec<Spellings> {
    match oracle.family {
        Family::Gcc => options_of(&GCC_CLASSES.map(|class| help_of_class(oracle, class)).concat()),
        Family::Clang => options_of(&help(oracle, "--help-hidden")),
    }
}

/// What gcc takes for C only; clang's list does not tell.
fn listed_for_c_only(oracle: &Oracle) -> Vec<Spellings> {
    if oracle.family == Family::Clang {
        return Vec::new();
    }
    let of_cxx = options_of(&help_of_class(oracle, "c++"));
    let mut of_c = options_of(&help_of_class(oracle, "c"));
    of_c.retain(|option| !of_cxx.contains(option));
    assert!(of_c.len() >= ONLY_C_MIN, "{of_c:?}");
    of_c
}

fn help_of_class(oracle: &Oracle, class: &str) -> String {
    help(oracle, &format!("--help={class}"))
}

fn help(oracle: &Oracle, question: &str) -> String {
    let output = Command::new(oracle.driver).arg(question).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Reads `  -option[=<operand>] [<operand>]  explanation`.
fn options_of(help: &str) -> Vec<Spellings> {
    let mut seen = BTreeSet::new();
    let lines = help.lines().filter_map(|line| line.strip_prefix("  "));
    let lines = lines.filter(|line| line.starts_with('-'));
    lines
        .filter_map(|line| {
            let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            (seen.insert(word.to_owned()) && !NO_OPTIONS.contains(&word))
                .then(|| spellings(word, rest))
        })
        .collect()
}

fn spellings(word: &str, rest: &str) -> Spellings {
    let name_end = word.find(['<', '[']).unwrap_or(word.len());
    let (name, operand) = word.split_at(name_end);
    let listed = operand.strip_prefix('[').and_then(|list| list.strip_suffix(']'));
    let range = operand.strip_prefix('<').and_then(|range| range.split_once(','));
    let operands: Vec<String> = match (listed, range) {
        (Some(list), _) => list.split('|').map(str::to_owned).collect(),
        (None, Some((least, _))) if least.parse::<i64>().is_ok() => vec![least.to_owned()],
        _ => OPERANDS.map(str::to_owned).to_vec(),
    };
    if name.ends_with('=') || !operand.is_empty() {
        operands.iter().map(|operand| vec![format!("{name}{operand}")]).collect()
    } else if rest.trim_start_matches(' ').starts_with('<') && rest.starts_with('<') {
        OPERANDS.iter().map(|operand| vec![name.to_owned(), (*operand).to_owned()]).collect()
    } else {
        vec![vec![name.to_owned()]]
    }
}

/// What a compile did.
struct Trial {
    object: Option<Vec<u8>>,
    written: BTreeSet<PathBuf>,
    /// It opened a file that has an operand's name.
    opened: BTreeSet<String>,
}

fn whole<'a>(oracle: &Oracle, words: &'a [String]) -> Vec<&'a str> {
    let rest = ["-frandom-seed=1", "-c", oracle.source, "-o", "one.o"];
    words.iter().map(String::as_str).chain(rest).collect()
}

/// `None` where the compiler does not accept the words.
fn trial(oracle: &Oracle, words: &[String], root: &Path) -> Option<Trial> {
    let place = root.join("place");
    let _ = fs::remove_dir_all(&place);
    fs::create_dir(&place).unwrap();
    fs::write(place.join(oracle.source), UNIT[0]).unwrap();
    for operand in OPERANDS {
        fs::write(place.join(operand), "").unwrap();
    }
    let before = listing(&place);
    let log = root.join("opened");
    let _ = fs::remove_file(&log);
    // Only who has an operand can read it.
    let mut command =
        match words.iter().any(|word| OPERANDS.iter().any(|name| word.ends_with(name))) {
            true => {
                let mut command = Command::new("strace");
                command
                    .args(["-f", "-qq", "-e", "trace=open,openat", "-o"])
                    .arg(&log)
                    .arg(oracle.driver);
                command
            }
            false => Command::new(oracle.driver),
        };
    command.args(whole(oracle, words)).current_dir(&place).env("PWD", &place);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if !command.status().unwrap().success() {
        return None;
    }
    let log = fs::read_to_string(log).unwrap_or_default();
    let is_open = |operand: &str| {
        let read = |line: &str| {
            let name =
                line.contains(&format!("\"{operand}\"")) || line.contains(&format!("/{operand}\""));
            name && !line.contains("= -1") && !line.contains("O_CREAT")
        };
        log.lines().any(read)
    };
    Some(Trial {
        object: fs::read(place.join("one.o")).ok(),
        written: listing(&place).difference(&before).cloned().collect(),
        opened: OPERANDS.into_iter().filter(|name| is_open(name)).map(str::to_owned).collect(),
    })
}

struct Findings<'a> {
    oracle: &'a Oracle,
    root: &'a Path,
    plain: Trial,
    plain_key: Vec<OsString>,
    tried: usize,
    skipped: Vec<(Vec<String>, &'static str)>,
    faults: Vec<String>,
}

impl<'a> Findings<'a> {
    /// Tries those that are cached.
    fn of(oracle: &'a Oracle, root: &'a Path, cached: Vec<Vec<String>>) -> Findings<'a> {
        let plain = oracle.parse(&whole(oracle, &[]), root).unwrap();
        let mut findings = Findings {
            oracle,
            root,
            plain: trial(oracle, &[], root).unwrap(),
            plain_key: Findings::key(&plain),
            tried: 0,
            skipped: Vec::new(),
            faults: Vec::new(),
        };
        // What does not count is tried alone, so that nothing else can be the difference.
        let (counting, neutral): (Vec<_>, Vec<_>) = cached.into_iter().partition(|words| {
            let invocation = oracle.parse(&whole(oracle, words), root).unwrap();
            Findings::key(&invocation) != findings.plain_key
        });
        neutral.iter().for_each(|words| findings.try_all(std::slice::from_ref(words)));
        let every = std::env::var_os("RCACHE_TEST_EVERY_OPTION").is_some();
        for group in counting.chunks(if every { 1 } else { AT_ONCE }) {
            findings.try_all(group);
        }
        println!("{}: {} tried, skipped: {:?}", oracle.driver, findings.tried, findings.skipped);
        assert!(findings.faults.is_empty(), "{:#?}", findings.faults);
        findings
    }

    fn key(invocation: &Invocation) -> Vec<OsString> {
        invocation.key_words().map(OsString::from).collect()
    }

    /// Tries options together, and by halves where that says nothing of each.
    fn try_all(&mut self, group: &[Vec<String>]) {
        let words: Vec<String> = group.concat();
        let Ok(invocation) =
            self.oracle.parse(&whole(self.oracle, &words), &self.root.join("place"))
        else {
            return self.try_halves(group, "refused together");
        };
        let Some(trial) = trial(self.oracle, &words, self.root) else {
            return self.try_halves(group, REJECTED);
        };
        let unlisted = |name: &String| {
            let path = Path::new(name);
            let listed = |all: &[PathBuf]| all.iter().any(|known| known == path);
            !listed(&invocation.read_files) && !listed(&invocation.forced_includes)
        };
        let reads = trial.opened.iter().any(unlisted);
        // A file of an operand's name was there before, and is not seen to be written.
        let is_new = |path: &PathBuf| !OPERANDS.iter().any(|name| path == Path::new(name));
        let promised: BTreeSet<PathBuf> =
            promised(&invocation).into_iter().filter(is_new).collect();
        let writes = trial.written != promised;
        let differs = Self::key(&invocation) == self.plain_key && trial.object != self.plain.object;
        if !(reads || writes || differs) {
            self.tried += group.len();
            return;
        }
        if group.len() > 1 {
            return self.try_halves(group, "");
        }
        self.tried += 1;
        let what = [
            (reads, format!("reads {:?}", trial.opened)),
            (writes, format!("writes {:?}", trial.written)),
            (differs, "changes the object, and does not count".to_owned()),
        ];
        let what = what.into_iter().filter(|(holds, _)| *holds).map(|(_, what)| what);
        for what in what {
            self.faults.push(format!("{} {words:?} {what}", self.oracle.driver));
        }
    }

    fn try_halves(&mut self, group: &[Vec<String>], why: &'static str) {
        if let [single] = group {
            self.skipped.push((single.clone(), why));
            return;
        }
        let (left, right) = group.split_at(group.len() / 2);
        self.try_all(left);
        self.try_all(right);
    }
}

/// Those that are cached, and how many are not. An option without a row must be among the latter.
fn cached(oracle: &Oracle, options: Vec<Spellings>, root: &Path) -> (Vec<Vec<String>>, usize) {
    let (mut cached, mut refused) = (Vec::new(), 0);
    for spellings in options {
        let mut is_cached = false;
        let only = spellings.len() == 1;
        for words in spellings {
            let parsed = oracle.parse(&whole(oracle, &words), root);
            let known = crate::options::lookup(words[0].as_bytes(), oracle.family).is_some();
            assert!(known || parsed.is_err(), "{words:?} has no row, and is cached");
            if parsed.is_ok() {
                is_cached = true;
                let taken = only || oracle.knows_all(&words);
                cached.push(words);
                // One operand that the driver takes stands for all.
                if taken {
                    break;
                }
            }
        }
        refused += usize::from(!is_cached);
    }
    (cached, refused)
}

fn has_strace() -> bool {
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    strace.is_ok_and(|status| status.success())
}

#[test]
fn a_trial_can_tell() {
    for oracle in ORACLES.iter().filter(|oracle| oracle.is_here() && has_strace()) {
        let root = tempfile::tempdir().unwrap();
        let trial = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            trial(oracle, &words, root.path()).unwrap()
        };
        let plain = trial(&[]);
        assert!(plain.opened.is_empty() && plain.written.len() == 1, "{}", oracle.driver);
        assert!(trial(&["-include", "1"]).opened.contains("1"));
        assert_eq!(trial(&["-MD"]).written.len(), 2);
        assert!(trial(&["-O2"]).object != plain.object);
        assert!(trial(&["-pipe"]).object == plain.object);
    }
}

#[test]
fn options_of_the_installed_compilers() {
    if !has_strace() {
        println!("strace is not installed: the options of the installed compilers are not tried");
        return;
    }
    for (oracle, c_oracle) in ORACLES.iter().zip(&C_ORACLES).filter(|(oracle, _)| oracle.is_here())
    {
        let root = tempfile::tempdir().unwrap();
        let options = listed(oracle);
        println!("{}: {} listed", oracle.driver, options.len());
        let (options, refused) = cached(oracle, options, root.path());
        let findings = Findings::of(oracle, root.path(), options);
        assert!(findings.tried >= TRIED_MIN, "{} options tried", findings.tried);
        assert!(refused >= REFUSED_MIN, "{refused} options refused");
        // C has nearly the same options; the rest is tried with C.
        let rejected = findings.skipped.into_iter().filter(|(_, why)| *why == REJECTED);
        let mut rest: Vec<Spellings> = rejected.map(|(words, _)| vec![words]).collect();
        rest.extend(listed_for_c_only(c_oracle));
        Findings::of(c_oracle, root.path(), cached(c_oracle, rest, root.path()).0);
    }
}
