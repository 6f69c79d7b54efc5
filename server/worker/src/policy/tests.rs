//! What is run, what becomes of its words, and every attack on distccd that is known.

use super::*;
use proptest::prelude::*;

const GCC: Facts =
    Facts { family: Family::Gcc, version_major: 12, cxx_driver: false, native: false };
const GXX_NATIVE: Facts = Facts { cxx_driver: true, native: true, ..GCC };
const CLANG: Facts = Facts { family: Family::Clang, version_major: 14, ..GCC };

fn words(command: &str) -> Vec<Vec<u8>> {
    command.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

fn task(command: &str, facts: &Facts) -> Task {
    judge(&words(command), facts).unwrap_or_else(|why| panic!("{command}: {why}"))
}

fn refused(command: &str, facts: &Facts) -> String {
    match judge(&words(command), facts) {
        Ok(task) => panic!("{command}: {task:?}"),
        Err(why) => why.0,
    }
}

/// The command that is run for one, in one line.
fn runs(command: &str, facts: &Facts) -> String {
    let task = task(command, facts);
    let arguments = task.arguments(&[], &task.input_name, OsStr::new("OUT"));
    let texts: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
    texts.join(" ")
}

#[test]
fn names_of_compilers() {
    for name in [
        "gcc",
        "g++-12",
        "cc",
        "c++",
        "clang-14",
        "clang++",
        "x86_64-linux-gnu-gcc",
        "x86_64-linux-gnu-g++-12",
        "arm-none-eabi-gcc-10.3.1",
        "/usr/bin/gcc",
        "/bin/clang",
    ] {
        assert!(compiler_name(name.as_bytes()).is_ok(), "{name}");
    }
    assert_eq!(compiler_name(b"/usr/bin/gcc-12").unwrap(), "gcc-12");
    let long = "x".repeat(NAME_BYTES_MAX) + "-gcc";
    for name in [
        "",
        "sh",
        "/bin/sh",
        "id",
        "gcc-ar",
        "gcc-nm-12",
        "clang-format",
        "clang-tidy-14",
        "mygcc",
        "-gcc",
        ".-gcc",
        "gcc-",
        "gcc.sh",
        "../gcc",
        "./gcc",
        "/tmp/gcc",
        "/usr/bin/../../tmp/gcc",
        "/usr/bin//gcc",
        "/usr/local/bin/gcc",
        "/opt/gcc/bin/gcc",
        "x/../../tmp/gcc",
        "..-gcc/../../tmp/x-gcc",
        "gcc\n",
        "g cc",
        "gcc;id",
        "$(id)-gcc",
        &long,
    ] {
        assert!(compiler_name(name.as_bytes()).is_err(), "{name:?}");
    }
}

#[test]
fn what_stock_clients_send() {
    assert_eq!(runs("-O2 -c t.c -o t.o", &GCC), "-O2 -x cpp-output -c t.i -o OUT");
    assert_eq!(
        runs("-g -Wall -std=c++17 -c sub/t.cc -o sub/t.o", &GCC),
        "-g -Wall -std=c++17 -x c++-cpp-output -c t.ii -o OUT"
    );
    assert_eq!(runs("-S /abs/dir/t.cpp -o /abs/t.s", &CLANG), "-x c++-cpp-output -S t.ii -o OUT");
    assert_eq!(runs("-c t.m", &GCC), "-x objective-c-cpp-output -c t.mi -o OUT");
    assert_eq!(runs("-c t.mm", &CLANG), "-x objective-c++-cpp-output -c t.mii -o OUT");
    assert_eq!(runs("-c t.i -o t.o", &GCC), "-x cpp-output -c t.i -o OUT");
    let cxx = Facts { cxx_driver: true, ..GCC };
    assert_eq!(runs("-c t.c -o t.o", &cxx), "-x c++-cpp-output -c t.ii -o OUT");
    // The text has been preprocessed, although -x says otherwise.
    assert_eq!(runs("-x c t.txt -c -o t.o", &GCC), "-x cpp-output -c t.i -o OUT");
}

#[test]
fn what_rcache_sends() {
    assert_eq!(
        runs(
            "-O2 -g -fpreprocessed -fdirectives-only -x c++-cpp-output -c rcache.ii -o rcache.o",
            &GXX_NATIVE
        ),
        "-fpreprocessed -fdirectives-only -O2 -g -x c++-cpp-output -c rcache.ii -o OUT"
    );
    let clang = Facts { native: true, ..CLANG };
    assert_eq!(
        runs(
            "-g -fdebug-compilation-dir=/client/dir -ffile-prefix-map=/a=/b -x cpp-output -c \
             rcache.i -o rcache.o",
            &clang
        ),
        "-g -fdebug-compilation-dir=/client/dir -ffile-prefix-map=/a=/b -x cpp-output -c rcache.i \
         -o OUT"
    );
    // A text that keeps its macros is for the compiler to preprocess.
    assert_eq!(runs("-DA=1 -Iinc -x c++ -c x.cc", &clang), "-DA=1 -x c++ -c x.cc -o OUT");
}

#[test]
fn words_whose_work_is_done_are_dropped() {
    assert_eq!(
        runs(
            "-Iinc -I inc -isystem /usr/x -iquote q -isysroot /s --sysroot=/s -idirafter d -nostdinc \
             -DA -D B -UC -pipe -c t.c",
            &GCC
        ),
        "-pipe -x cpp-output -c t.i -o OUT"
    );
    assert_eq!(
        runs("-Wa,-Iinc,--noexecstack -Wa,--fatal-warnings -c t.c", &GCC),
        "-Wa,-Iinc,--noexecstack -Wa,--fatal-warnings -x cpp-output -c t.i -o OUT"
    );
    assert_eq!(runs("-c -- t.c", &CLANG), "-x cpp-output -c t.i -o OUT");
    assert_eq!(
        runs("-L/lib -lm -Wl,-z,now -c t.c", &CLANG),
        "-L/lib -lm -Wl,-z,now -x cpp-output -c t.i -o OUT"
    );
}

#[test]
fn options_that_run_programs_or_read_files() {
    for (options, culprit) in [
        ("-wrapper /bin/sh,-c,id", "-wrapper"),
        ("-B /tmp/evil", "-B"),
        ("-B/tmp/evil", "-B/tmp/evil"),
        ("-specs=/tmp/evil", "-specs="),
        ("-specs /tmp/evil", "-specs"),
        ("--specs=/tmp/evil", "--specs="),
        ("--specs /tmp/evil", "--specs"),
        ("-fplugin=/tmp/evil.so", "-fplugin="),
        ("-fplugin=evil", "-fplugin="),
        ("-fplugin-arg-evil-a=b", "-fplugin-arg"),
        ("-iplugindir=/tmp", "-iplugindir"),
        ("-no-canonical-prefixes -B.", "-B."),
        ("-include /etc/passwd", "-include"),
        ("-include/etc/passwd", "-include"),
        ("--include /etc/passwd", "--include"),
        ("-imacros /etc/passwd", "-imacros"),
        ("-include-pch /etc/passwd", ""),
        ("-fprofile-use=/etc/passwd", "-fprofile-use"),
        ("-fauto-profile=/etc/passwd", "-fauto-profile"),
        ("-fdump-tree-all", "-fdump-"),
        ("-fdump-passes=/tmp/x", "-fdump-"),
        ("-fopt-info-all=/tmp/x", "-fopt-info"),
        ("-save-temps", "-save-temps"),
        ("-save-temps=cwd", "-save-temps"),
        ("-dumpdir /tmp/x", "-dumpdir"),
        ("-dumpbase /tmp/x", "-dumpbase"),
        ("-aux-info /tmp/x", "-aux-info"),
        ("-fstack-usage", "-fstack-usage"),
        ("-fcallgraph-info", "-fcallgraph-info"),
        ("-gsplit-dwarf", "-gsplit-dwarf"),
        ("--coverage", "--coverage"),
        ("-ftest-coverage", "-ftest-coverage"),
        ("-fprofile-arcs", "-fprofile-arcs"),
        ("-fmodules-ts", ""),
        ("-fmodule-mapper=|id", ""),
        ("-fsyntax-only", "-fsyntax-only"),
        ("-fdiagnostics-format=sarif-file", "-fdiagnostics-format"),
        ("-fdiagnostics-add-output=sarif:file=/tmp/x", "-fdiagnostics-add-output"),
        ("-Wa,-a=/tmp/x", "files besides"),
        ("-Wa,--MD=/tmp/x", "-Wa"),
        ("-Wa,@/etc/passwd", "-Wa"),
        ("-Xassembler @/etc/passwd", ""),
        ("-Wp,-include,/etc/passwd", "-Wp"),
        ("-Wp,-MD,/tmp/x", ""),
        ("-Xpreprocessor -include", "-Xpreprocessor"),
        ("-MD -MF /tmp/x", ""),
        ("-o a -o b", ""),
        ("-unknown-option", "-unknown-option"),
        ("-v", "-v"),
        ("-###", "-###"),
        ("--help", "--help"),
        ("--version", "--version"),
        ("-march=native", ""),
        ("-mcpu=native", ""),
    ] {
        let text = refused(&format!("{options} -c t.c -o t.o"), &GCC);
        assert!(text.contains(culprit), "{options}: {text}");
    }
}

#[test]
fn options_of_clang_that_run_programs_or_read_files() {
    for options in [
        "-Xclang -load -Xclang /tmp/evil.so",
        "-Xclang -add-plugin",
        "-fplugin=/tmp/evil.so",
        "-fpass-plugin=/tmp/evil.so",
        "-mllvm -load=/tmp/evil.so",
        "-mllvm -print-module-scope",
        "-mllvm -dot-cfg-func-name=x",
        "--config /tmp/evil",
        "--config=/tmp/evil",
        "-config /tmp/evil",
        "--gcc-toolchain=/tmp/evil",
        "-gcc-toolchain /tmp/evil",
        "-resource-dir /tmp/evil",
        "-resource-dir=/tmp/evil",
        "-ivfsoverlay /tmp/evil",
        "-fmodules",
        "-fmodule-file=/etc/passwd",
        "-fsanitize-blacklist=/etc/passwd",
        "-fprofile-instr-use=/etc/passwd",
        "-fxray-attr-list=/etc/passwd",
        "-ftime-trace",
        "-ftime-trace=/tmp/x",
        "-serialize-diagnostics /tmp/x",
        "-MJ /tmp/x",
        "-fsave-optimization-record",
        "-foptimization-record-file=/tmp/x",
        "-working-directory /etc",
        "-fcrash-diagnostics-dir=/tmp/x",
        "-index-store-path /tmp/x",
        "-cc1",
        "-cc1as",
    ] {
        refused(&format!("{options} -c t.c -o t.o"), &CLANG);
    }
}

/// Every option that may go to a worker, with operands that lead elsewhere: what comes through is
/// text for the output, or for a linker that does not run.
#[test]
fn no_operand_leads_out_of_a_jobs_folder() {
    let texts = [
        "-fcoverage-compilation-dir=",
        "-fcoverage-prefix-map=",
        "-fdebug-compilation-dir",
        "-fdebug-compilation-dir=",
        "-fdebug-prefix-map=",
        "-ffile-compilation-dir=",
        "-ffile-prefix-map=",
        "-fmacro-prefix-map=",
        "-fprofile-prefix-map=",
        "-frandom-seed=",
    ];
    let mut kept = std::collections::BTreeSet::new();
    for row in options::TABLE.iter().filter(|row| row.shape != options::Shape::Flag) {
        for operand in ["../x", "../../x", "/x", "x/../../y", "..", "a=/x"] {
            // `-O..` names no folder; `-march=..` could.
            if operand == ".." && row.shape != options::Shape::Separate && !row.name.ends_with('=')
            {
                continue;
            }
            let joined = [format!("{}{operand}", row.name)].to_vec();
            let separate = [row.name.to_owned(), operand.to_owned()].to_vec();
            for words in [joined, separate] {
                let all = words.iter().map(String::as_str).chain(["-c", "t.c", "-o", "t.o"]);
                let all: Vec<Vec<u8>> = all.map(|word| word.as_bytes().to_vec()).collect();
                for facts in [GCC, CLANG, GXX_NATIVE, Facts { native: true, ..CLANG }] {
                    let is_kept = judge(&all, &facts).is_ok_and(|task| {
                        let mut options = task.options.iter();
                        options.any(|word| word.as_bytes().ends_with(operand.as_bytes()))
                    });
                    if is_kept && !matches!(row.effect, options::Effect::Link) {
                        kept.insert(row.name);
                    }
                }
            }
        }
    }
    let more: Vec<_> = kept.iter().filter(|name| !texts.contains(name)).collect();
    assert!(more.is_empty(), "{more:?}");
    for option in ["-target ../../x", "--target=../x", "-march=../x", "-mcpu=/x", "-stdlib=a/b"] {
        refused(&format!("{option} -c t.c"), &CLANG);
        assert!(judge_question(&words(option), &CLANG).is_err(), "{option}");
    }
    assert_eq!(
        runs("-target x86_64-linux-gnu -frandom-seed=a/b.o -c t.c", &CLANG),
        "-target x86_64-linux-gnu -frandom-seed=a/b.o -x cpp-output -c t.i -o OUT"
    );
}

#[test]
fn response_files_are_refused_unread() {
    for command in [
        "@/etc/passwd",
        "-c t.c @/etc/passwd",
        "-c t.c -o @/etc/passwd",
        "-D @/etc/passwd -c t.c",
        "-c @t.c",
    ] {
        let text = refused(command, &GCC);
        assert!(text.contains('@') && !text.contains("root"), "{command}: {text}");
    }
    let question = judge_question(&words("@/etc/passwd"), &GCC);
    assert!(question.unwrap_err().0.contains("@/etc/passwd"));
}

#[test]
fn more_or_less_than_one_compile() {
    for command in [
        "",
        "-c",
        "-c a.c b.c",
        "t.c -o t",
        "t.c",
        "-E t.c",
        "-M t.c",
        "-c t.s",
        "-c t.S",
        "-c t.h",
        "-c t.o",
        "-c t",
        "-c -",
        "-c t.c -o -",
        "-c t.c -o",
        "-c -x assembler t.c",
        "-c -x assembler-with-cpp t.c",
        "-c -x c-header t.c",
        "-c -x f77 t.c",
        "-c t.f90",
        "-c /etc/passwd",
        "-fsyntax-only t.c",
        "-x",
        "-D",
    ] {
        refused(command, &GCC);
    }
}

#[test]
fn no_path_of_a_client_reaches_the_compiler() {
    for source in ["/etc/t.c", "../../t.c", "a/../../t.c", "./t.c", "/../t.c", "//t.c"] {
        for output in ["/etc/passwd", "../../x.o", "a/b.o", "./-x.o"] {
            let line = runs(&format!("-c {source} -o {output}"), &GCC);
            assert_eq!(line, "-x cpp-output -c t.i -o OUT");
        }
    }
    let name = |source: &str| input_name(Path::new(source), Language::CxxPreprocessed);
    assert_eq!(name("dir/a.b.cc"), "a.b.ii");
    assert_eq!(name("dir/-evil.cc"), "rcache.ii");
    assert_eq!(name("dir/@evil.cc"), "rcache.ii");
    assert_eq!(name("dir/.hidden.cc"), "rcache.ii");
    assert_eq!(name("dir/a b.cc"), "rcache.ii");
    assert_eq!(name("dir/a\nb.cc"), "rcache.ii");
    assert_eq!(name("dir/.."), "rcache.ii");
    assert_eq!(name(&format!("{}.cc", "x".repeat(101))), "rcache.ii");
    assert_eq!(name("dir/ä.cc"), "rcache.ii");
}

/// `-o -fpreprocessed -wrapper x`: taking our words out must not shift another into view.
#[test]
fn words_that_are_taken_out_hide_nothing() {
    for command in [
        "-o -fpreprocessed -wrapper sh -c t.c",
        "-D -fpreprocessed -wrapper sh -c t.c",
        "-Xassembler -fpreprocessed --MD -c t.c",
        "-x -fdirectives-only assembler -c t.c",
    ] {
        refused(command, &GCC);
    }
    assert_eq!(
        runs("-D -fpreprocessed X -c t.c", &GCC),
        "-fpreprocessed -x cpp-output -c t.i -o OUT"
    );
}

#[test]
fn refusals_are_one_short_line() {
    let text = refused(&format!("-{} -c t.c", "x".repeat(1000)), &GCC);
    assert!(text.chars().count() < 150, "{text}");
    let bell = judge(&[b"-\x07\n\xff".to_vec(), b"-c".to_vec(), b"t.c".to_vec()], &GCC);
    let text = bell.unwrap_err().0;
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[test]
fn what_an_identity_depends_on() {
    let strings = |words: &[OsString]| {
        words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let of_task = |command: &str, facts: &Facts| strings(&task(command, facts).identity);
    let of_question = |command: &str, facts: &Facts| {
        strings(&judge_question(&words(command), facts).unwrap_or_else(|why| panic!("{why}")))
    };
    let same = [("-O2 -m32 -g -c t.c", "-m32"), ("-c t.c", ""), ("-c t.c -x c", "-x c")];
    for (command, question) in same {
        assert_eq!(of_task(command, &GCC), of_question(question, &GCC), "{command}");
    }
    assert_eq!(of_task("-m32 -x c++-cpp-output -c rcache.ii", &GXX_NATIVE), ["-m32", "-x", "c++"]);
    assert_eq!(of_question("-m32 -x c++", &GCC), ["-m32", "-x", "c++"]);
    assert_eq!(of_question("", &GXX_NATIVE), ["-x", "c++"]);
    for question in ["-B/tmp", "-wrapper x", "t.c", "-O2", "-o x", "-DX", "-specs=x", "-Lx"] {
        assert!(judge_question(&words(question), &GCC).is_err(), "{question}");
    }
    assert!(judge_question(&words("--gcc-toolchain=/tmp"), &CLANG).is_err());
}

#[test]
fn texts_that_could_read_files() {
    for text in [
        "asm(\".incbin \\\"/etc/passwd\\\"\");",
        "asm(\".inc\" \"bin \\\"/etc/passwd\\\"\");",
        "asm(\".include \\\"/etc/passwd\\\"\");",
        "#include \"/etc/passwd\"\n",
        "# include </etc/passwd>\n",
        "#if __has_include(\"/etc/passwd\")\n#endif\n",
        "char x[] = {\n#embed \"/etc/passwd\"\n};",
        "#pragma GCC dependency \"/etc/passwd\"\n",
    ] {
        assert!(reads_files(text.as_bytes()), "{text}");
    }
    let harmless = b"# 1 \"t.c\"\n# 1 \"/usr/include/stdio.h\" 1 3 4\nint f(void) { return 1; }\n";
    assert!(!reads_files(harmless));
}

proptest! {
    /// Whatever is asked: what runs has no path of the client's in an option that takes one, and
    /// ends in the words that the worker chose.
    #[test]
    fn nothing_slips_through(
        words in prop::collection::vec("(-[a-zA-Z]{1,4}|--?[a-z-]{1,12}=?)?[/@.a-z]{0,6}", 0..6)
    ) {
        let mut all: Vec<Vec<u8>> = words.into_iter().map(String::into_bytes).collect();
        all.extend([b"-c".to_vec(), b"t.c".to_vec()]);
        for facts in [GCC, CLANG, GXX_NATIVE] {
            let Ok(task) = judge(&all, &facts) else { continue };
            let arguments = task.arguments(&[], &task.input_name, OsStr::new("OUT"));
            prop_assert!(!arguments.iter().any(|word| word.as_bytes().starts_with(b"@")));
            let context = Context {
                family: facts.family,
                version_major: facts.version_major,
                cwd: Path::new("/"),
                apparent_cwd: None,
                base_dir: Path::new(""),
                ignore_options: &[],
                sloppiness: Sloppiness::default(),
                cxx_driver: facts.cxx_driver,
            };
            let is_ours = |word: &OsString| {
                PREPROCESSED_WORDS.contains(&word.as_bytes())
            };
            let rest: Vec<OsString> =
                arguments.into_iter().filter(|word| !is_ours(word)).collect();
            let again = Invocation::parse(&rest, &context);
            let again = again.map_err(|why| TestCaseError::fail(format!("{rest:?}: {why:?}")))?;
            prop_assert_eq!(&again.source, Path::new(&task.input_name));
            prop_assert_eq!(again.output.as_deref(), Some(Path::new("OUT")));
            prop_assert!(again.remote && again.forced_includes.is_empty());
            prop_assert!(again.depfile.is_none() && again.read_files.is_empty());
        }
    }
}
