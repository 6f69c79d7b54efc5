//! What calls mean: each rule by an example.

use super::*;
use crate::outcome::Counter;
use proptest::prelude::*;

fn context<'a>(family: Family, cwd: &'a Path) -> Context<'a> {
    Context {
        family,
        version_major: 14,
        cwd,
        apparent_cwd: None,
        base_dir: Path::new(""),
        ignore_options: &[],
        sloppiness: Sloppiness::default(),
        cxx_driver: false,
    }
}

fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

fn parse_for(family: Family, text: &str) -> Result<Invocation, Uncacheable> {
    Invocation::parse(&words(text), &context(family, Path::new("/nowhere")))
}

fn gcc(text: &str) -> Invocation {
    parse_for(Family::Gcc, text).unwrap_or_else(|refusal| panic!("{text}: {refusal:?}"))
}

fn clang(text: &str) -> Invocation {
    parse_for(Family::Clang, text).unwrap_or_else(|refusal| panic!("{text}: {refusal:?}"))
}

fn refusal(text: &str) -> Counter {
    parse_for(Family::Gcc, text).unwrap_err().counter
}

fn key(invocation: &Invocation) -> String {
    let words: Vec<_> = invocation.key_words().map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

fn text(words: &[OsString]) -> String {
    words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_ordinary_call_is_understood() {
    let call = gcc("-DX=1 -I inc -O2 -Wall -fPIC -MD -MT x.o -MF dep/x.d -o out/x.o -c src/x.c");
    assert_eq!(call.source, Path::new("src/x.c"));
    assert_eq!(call.language, Language::C);
    assert_eq!(call.phase, Phase::Object);
    assert_eq!(call.output.as_deref(), Some(Path::new("out/x.o")));
    let depfile = call.depfile.as_ref().unwrap();
    assert_eq!(depfile.path, Path::new("dep/x.d"));
    assert!(depfile.system_headers && depfile.has_explicit_target);
    assert_eq!(key(&call), "-D X=1 -I inc -O2 -Wall -fPIC -MD -c");
    assert!(!call.debug_info && !call.uses_working_directory && !call.native);
    assert!(!call.needs_only_tokens, "-Wall");
    assert!(call.remote && !call.rewritten && !call.records_command_line);
    assert_eq!(text(&call.preprocess_arguments()), "-E -DX=1 -I inc -O2 -Wall -fPIC src/x.c");
    assert_eq!(text(&call.remote_arguments(&[])), "-O2 -Wall -fPIC");
    let depfile = text(&call.depfile_arguments("d".as_ref()));
    assert_eq!(depfile, "-MD -MT x.o -MF d");
    assert_eq!(text(&call.search_arguments()), "-I inc");
}

#[test]
fn the_order_of_options_counts() {
    assert_ne!(key(&gcc("-Wx -Werror -c x.c")), key(&gcc("-Werror -Wx -c x.c")));
}

#[test]
fn the_phase_counts_and_the_earliest_one_wins() {
    assert_ne!(key(&gcc("-c x.c")), key(&gcc("-S x.c")));
    assert_eq!(gcc("-c -S x.c").output, Some("x.s".into()));
    assert_eq!(gcc("-S -fsyntax-only x.c -o y").output, None);
}

#[test]
fn names_count_only_where_an_output_holds_them() {
    assert_eq!(key(&gcc("-c x.c -o a.o")), key(&gcc("-c x.c -o b.o")));
    // The rule is stored without its target.
    assert_eq!(key(&gcc("-MD -c x.c -o a.o")), key(&gcc("-MD -c x.c -o b.o")));
    for options in ["-g -gsplit-dwarf", "--coverage", "-fprofile-arcs", "-fstack-usage"] {
        let named = |name: &str| key(&gcc(&format!("{options} -c x.c -o {name}")));
        assert_ne!(named("a.o"), named("b.o"), "{options}");
        let unnamed = |name: &str| key(&gcc(&format!("{options} -c {name}")));
        assert_ne!(unnamed("a.c"), unnamed("b.c"), "{options}");
    }
    assert_eq!(key(&gcc("-MD -MF a -c x.c -o x.o")), key(&gcc("-MD -MF b -c x.c -o x.o")));
    assert_eq!(key(&gcc("-MD -MT t -c x.c -o a.o")), key(&gcc("-MD -MT t -c x.c -o b.o")));
    let kernel = |name: &str| key(&gcc(&format!("-Wp,-MMD,{name} -c x.c -o x.o")));
    assert_eq!(kernel("a.d"), kernel("b.d"));
}

#[test]
fn a_recorded_command_line_counts_in_full() {
    for option in ["-frecord-gcc-switches", "-fverbose-asm"] {
        let call = gcc(&format!("{option} -MD -MF x.d -c x.c -o x.o"));
        assert!(call.records_command_line);
        assert_eq!(key(&call), format!("{option} -MD -MF x.d -c x.c -o x.o"));
    }
}

#[test]
fn calls_that_do_not_compile_one_source_are_told_apart() {
    for (call, counter) in [
        ("", Counter::NoInputFile),
        ("--version", Counter::NoInputFile),
        ("-print-prog-name=as", Counter::NoInputFile),
        ("-E x.c", Counter::CalledForPreprocessing),
        ("-c -E x.c", Counter::CalledForPreprocessing),
        ("-MM x.c", Counter::CalledForPreprocessing),
        ("x.c", Counter::CalledForLink),
        ("a.o b.o -o prog -Wl,-rpath,x", Counter::CalledForLink),
        ("conftest.c -o conftest", Counter::AutoconfTest),
        ("-c a.c b.c", Counter::MultipleSourceFiles),
        ("-c x.c -o -", Counter::OutputToStdout),
        ("-c x.c -MD -MF -", Counter::OutputToStdout),
        ("-c -", Counter::NoInputFile),
        ("-c x.f90", Counter::UnsupportedSourceLanguage),
        ("-c x", Counter::UnsupportedSourceLanguage),
        ("-c -x cuda x.c", Counter::UnsupportedSourceLanguage),
        ("-c x.o", Counter::UnsupportedSourceLanguage),
        ("x.h -S", Counter::CouldNotUsePrecompiledHeader),
        ("-x c++-header -fsyntax-only x.c", Counter::CouldNotUsePrecompiledHeader),
        ("x.h y.h", Counter::CouldNotUsePrecompiledHeader),
        ("-include-pch x.pch -c x.c", Counter::CouldNotUsePrecompiledHeader),
        ("-fmodules -c x.c", Counter::CouldNotUseModules),
        ("-c x.c -o a -o b", Counter::BadCompilerArguments),
        ("-c x.c -I", Counter::BadCompilerArguments),
        ("-c x.c -MF x.d", Counter::BadCompilerArguments),
        ("-c x.c -Wp,-MD,a.d -MF b.d", Counter::BadCompilerArguments),
        ("-c x.c -o out/", Counter::BadOutputFile),
        ("@absent -c x.c", Counter::UnsupportedCompilerOption),
    ] {
        assert_eq!(refusal(call), counter, "{call}");
    }
}

#[test]
fn what_writes_or_reads_other_files_is_refused_by_name() {
    for option in [
        "-fnew-option",
        "-fdump-tree-all",
        "-da",
        "-fopt-info-vec=f",
        "-ftime-trace",
        "-fdeps-file=x",
        "-v",
        "-Wa,-a",
        "-Wa,-ag=x",
        "-Wa,-a=x -fdebug-prefix-map=a=b",
        "-fplugin-arg-x-y=./z",
        "-fpreprocessed",
        "-Wa,--MD,x",
        "-Wa,-MD,x",
        "-Xpreprocessor -MD,x",
        "-Wa,--noexecstack,-al",
        "-Xassembler -al",
        "-Wp,-P",
        "-wrapper x",
        "-dumpbase x",
        "-MJ x",
        "-C",
        "-Xlinker",
        "-fdiagnostics-format=sarif-file",
        "-Wp,-dD",
        "-Xpreprocessor -dD",
        "--coverage -flto -fno-test-coverage",
        "-MG -MD",
    ] {
        let refused = parse_for(Family::Gcc, &format!("{option} -c x.c"));
        assert!(refused.is_err(), "{option}");
    }
    for option in [
        "-Xclang -load -Xclang x.so",
        "-mllvm -time-passes",
        "-mllvm -enable-x=file",
        "-Xclang -emit-pch",
        "--analyze",
        "-gembed-source",
        "-fembed-bitcode",
        "-arch a -arch b",
        "-ivfsoverlay x",
        "-Xclang -target-feature",
        "-gsplit-dwarf=single",
    ] {
        let refused = parse_for(Family::Clang, &format!("{option} -c x.c"));
        assert!(refused.is_err(), "{option}");
    }
    let refused = parse_for(Family::Gcc, "-fnew-option -c x.c").unwrap_err();
    assert_eq!(refused, Uncacheable::new(Counter::UnsupportedCompilerOption, "-fnew-option"));
}

#[test]
fn tools_get_words_that_are_known() {
    gcc("-Wa,--noexecstack -Wa,--defsym,X=1 -Xassembler -mrelax-relocations=no -Wp,-DX -c x.c");
    clang("-Xclang -target-feature -Xclang +avx -mllvm -inline-threshold=500 -c x.c");
    assert!(clang("-c -- x.c").source == Path::new("x.c"));
}

#[test]
fn languages_follow_the_option_and_the_name() {
    for (call, language) in [
        ("-c x.c", Language::C),
        ("-c x.C", Language::Cxx),
        ("-c x.cpp", Language::Cxx),
        ("-c x.i", Language::CPreprocessed),
        ("-c x.S", Language::AssemblerWithCpp),
        ("-c x.mm", Language::ObjCxx),
        ("-c -x c++ x.c", Language::Cxx),
        ("-c -xc++ x", Language::Cxx),
        ("-c -x c++ -x none x.c", Language::C),
        ("-c x.c -x c++", Language::C),
    ] {
        assert_eq!(gcc(call).language, language, "{call}");
    }
    let driver = Context { cxx_driver: true, ..context(Family::Gcc, Path::new("/")) };
    let language = |text: &str| Invocation::parse(&words(text), &driver).unwrap().language;
    assert_eq!(language("-c x.c"), Language::Cxx);
    assert_eq!(language("-c x.i"), Language::CxxPreprocessed);
    assert_eq!(language("-c -x c x.c"), Language::C);
}

#[test]
fn debug_information_and_positions() {
    assert!(gcc("-O2 -fPIC -Wno-unused -c x.c").needs_only_tokens);
    for option in ["-g", "-ggdb3", "-gdwarf-4", "-gsplit-dwarf", "-g0 -g"] {
        let call = gcc(&format!("{option} -c x.c"));
        assert!(call.debug_info && call.uses_working_directory && !call.needs_only_tokens);
    }
    for option in ["-g0", "-g -g0", "-gz"] {
        let call = gcc(&format!("{option} -c x.c"));
        assert!(!call.debug_info && !call.uses_working_directory, "{option}");
    }
    assert!(!clang("-g -ffile-compilation-dir=. -c x.c").uses_working_directory);
    for option in ["-Wall", "-fsanitize=undefined", "-flto", "--coverage", "-fanalyzer"] {
        assert!(!gcc(&format!("{option} -c x.c")).needs_only_tokens, "{option}");
    }
    assert!(gcc("--coverage -c x.c").uses_working_directory);
}

#[test]
fn what_depends_on_this_machine_stays_here() {
    assert!(gcc("-march=native -c x.c").native);
    assert!(!gcc("-march=x86-64 -mtune=generic -c x.c").native);
    for option in ["-march=native", "-g3", "--coverage", "-fstack-usage", "-gsplit-dwarf", "-Bx"] {
        assert!(!gcc(&format!("{option} -c x.c")).remote, "{option}");
    }
    assert!(!gcc("-c x.S").remote && !gcc("-fsyntax-only x.c").remote);
}

#[test]
fn options_for_this_processor_are_resolved() {
    let call = gcc("-O2 -march=native -mno-avx -g -c x.c");
    assert!(!call.remote && call.remote_if_resolved);
    let native = ["-march=znver3".to_owned(), "-mno-avx".to_owned()];
    assert_eq!(text(&call.remote_arguments(&native)), "-march=znver3 -mno-avx -O2 -g");
    assert_eq!(text(&gcc("-m32 -c x.c").remote_arguments(&native)), "-m32");
    let call = gcc("-m32 --sysroot=/sdk -c x.c");
    assert_eq!(text(&call.remote_arguments(&[])), "-m32");
    assert_eq!(text(&call.remote_target_arguments()), "-m32");
}

#[test]
fn a_preprocessor_run_writes_the_dependency_file_of_the_compile() {
    let depfile = |call: &str| text(&gcc(call).depfile_arguments("d".as_ref()));
    assert_eq!(depfile("-c x.c"), "-MD -MF d");
    assert_eq!(depfile("-MMD -MP -c x.c -o o/x.o"), "-MMD -MP -MF d -MQ o/x.o");
    assert_eq!(depfile("-MD -MFx.d -MQ y -c x.c -o x.o"), "-MD -MQ y -MF d");
    assert_eq!(depfile("-MD -MF x.d -c s/x.c"), "-MD -MF d");
    assert_eq!(depfile("-MD -S s/x.c"), "-MD -MF d");
    assert_eq!(depfile("-MD -S s/x.c -o x.s"), "-MD -MF d -MQ x.s");
    assert_eq!(depfile("-Wp,-MMD,.x.d -c x.c -o o/x.o"), "-Wp,-MMD,d");
    let depfile = |call: &str| text(&clang(call).depfile_arguments("d".as_ref()));
    assert_eq!(depfile("-Wp,-MMD,.x.d -c x.c -o o/x.o"), "-Wp,-MMD,d -MQ o/x.o");
}

#[test]
fn sloppiness_leaves_out_what_it_names_and_nothing_else() {
    let sloppy = |text: &str| {
        let sloppiness = Sloppiness { random_seed: true, gcno_cwd: true };
        let context = Context { sloppiness, ..context(Family::Gcc, Path::new("/")) };
        Invocation::parse(&words(text), &context).unwrap()
    };
    assert_eq!(key(&sloppy("-frandom-seed=1 -c x.c")), "-c");
    assert_eq!(key(&gcc("-frandom-seed=1 -c x.c")), "-frandom-seed=1 -c");
    assert!(!sloppy("-ftest-coverage -c x.c").uses_working_directory);
    assert!(sloppy("--coverage -c x.c").uses_working_directory);
}

#[test]
fn ignored_options_do_not_count() {
    let ignored = ["-fmystery*".to_owned(), "-DDATE".to_owned()];
    let context = Context { ignore_options: &ignored, ..context(Family::Gcc, Path::new("/")) };
    let call = Invocation::parse(&words("-fmystery=1 -DDATE -DX -c x.c"), &context).unwrap();
    assert_eq!(key(&call), "-D X -c");
    assert!(!call.remote);
}

#[test]
fn files_that_count_are_told() {
    let call =
        clang("-fsanitize=address -fsanitize-ignorelist=a.txt -include f.h -imacros m.h -c x.c");
    assert_eq!(call.read_files, [Path::new("a.txt")]);
    assert_eq!(call.forced_includes, [Path::new("f.h"), Path::new("m.h")]);
}

#[test]
fn what_only_the_caller_can_open_is_refused() {
    for line in [
        "-c /dev/fd/63",
        "-c /proc/self/cwd/x.c",
        "-include /dev/fd/3 -c x.c",
        "-I/proc/self/cwd/inc -c x.c",
        "-isystem //proc/1/root/inc -c x.c",
        "--sysroot=/proc/self/cwd -c x.c",
        "-Wa,-I/proc/self/cwd -c x.c",
        "-c x.c -o /dev/fd/3",
        "-MD -MF /proc/self/fd/4 -c x.c",
    ] {
        let context = context(Family::Gcc, Path::new("/"));
        let refused = Invocation::parse(&words(line), &context).expect_err(line);
        let counters = [Counter::BadInputFile, Counter::BadOutputFile];
        assert!(counters.contains(&refused.counter), "{line}: {refused:?}");
    }
    let macros = gcc("-DMAPS=/proc/self/maps -fdebug-prefix-map=/proc/self/cwd=. -c x.c");
    assert_eq!(macros.source, Path::new("x.c"));
}

#[test]
fn diagnostics_for_machines_name_the_folder() {
    for format in ["json", "json-stderr", "sarif-stderr"] {
        let call = gcc(&format!("-fdiagnostics-format={format} -c x.c"));
        assert!(call.uses_working_directory, "{format}");
        assert_eq!(call.records_command_line, format.starts_with("sarif"), "{format}");
    }
    assert!(!gcc("-fdiagnostics-format=text -c x.c").uses_working_directory);
}

#[test]
fn codeview_is_for_windows() {
    let default = |triple: &str| ["-triple".to_owned(), triple.to_owned()];
    let linux = default("x86_64-pc-linux-gnu");
    assert!(clang("-g --target=x86_64-pc-windows-msvc -c x.c").has_codeview(&linux));
    assert!(clang("-g -c x.c").has_codeview(&default("x86_64-pc-windows-msvc19.20.0")));
    assert!(!clang("-g -c x.c").has_codeview(&linux));
    assert!(!clang("--target=x86_64-pc-windows-msvc -c x.c").has_codeview(&linux));
}

#[test]
fn old_compilers_with_side_outputs_are_refused() {
    let context = Context { version_major: 10, ..context(Family::Gcc, Path::new("/")) };
    assert!(Invocation::parse(&words("-c x.c"), &context).is_ok());
    assert!(Invocation::parse(&words("-fstack-usage -c x.c"), &context).is_err());
}

#[test]
fn base_dir_makes_paths_relative_everywhere() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for folder in ["src", "build", "inc"] {
        std::fs::create_dir(root.join(folder)).unwrap();
    }
    let cwd = root.join("build");
    let context = Context { base_dir: root, ..context(Family::Gcc, &cwd) };
    let at = root.display();
    let given = format!(
        "-I{at}/inc -isystem {at}/inc -I/usr/include -D{at} -c {at}/src/x.c -o {at}/build/x.o \
         -MD -MF {at}/build/x.d"
    );
    let call = Invocation::parse(&words(&given), &context).unwrap();
    assert!(call.rewritten);
    assert_eq!(
        text(&call.compile_arguments()),
        format!(
            "-MQ {at}/build/x.o -I../inc -isystem ../inc -I/usr/include -D{at} -c ../src/x.c \
             -o x.o -MD -MF x.d"
        )
    );
    assert_eq!(call.source, Path::new("../src/x.c"));
    assert_eq!(call.output.as_deref(), Some(Path::new("x.o")));
    let depfile = call.depfile.as_ref().unwrap();
    assert_eq!(depfile.path, Path::new("x.d"));
    // make knows the object by the call's own name.
    let (own, stored) = (format!("{at}/build/x.o: ../src/x.c\n"), b"object: ../src/x.c\n");
    let rule = |rule: &[u8], way| call.own_rule(rule, Family::Gcc, way);
    assert_eq!(rule(own.as_bytes(), Way::ToStore).as_deref(), Some(&stored[..]));
    assert_eq!(rule(stored, Way::ToCaller), Some(own.into_bytes()));
    assert_eq!(rule(b"y.o: ../src/x.c\n", Way::ToCaller), None);
    // Without a rule that names it, or with a target of its own, nothing is to be translated.
    for more in ["", " -MD -MT t"] {
        let given = words(&format!("-c {at}/src/x.c -o{at}/build/x.o{more}"));
        let call = Invocation::parse(&given, &context).unwrap();
        assert_eq!(call.output.as_deref(), Some(Path::new("x.o")));
        assert!(call.depfile.is_none_or(|depfile| depfile.own_target.is_none()));
        assert!(text(&call.arguments[2].words).starts_with("-ox.o"));
    }
    // A name that a rule spells in some other way stays as it is.
    let given = format!("-c {at}/src/x.c -o {at}/build/$x.o -MD");
    let call = Invocation::parse(&words(&given), &context).unwrap();
    assert_eq!(call.output, Some(root.join("build/$x.o")));
}

#[test]
fn an_operand_counts_the_same_in_the_word_and_after_it() {
    let same = |one: &str, other: &str| {
        assert_eq!(key(&gcc(one)), key(&gcc(other)));
        assert_ne!(text(&gcc(one).compile_arguments()), text(&gcc(other).compile_arguments()));
    };
    same("-Iinc -c x.c", "-I inc -c x.c");
    same("-DX=1 -UY -c x.c", "-D X=1 -U Y -c x.c");
    same("-isystem/i -includea.h -c x.c", "-isystem /i -include a.h -c x.c");
    // The command line is in the object.
    let recorded = |text: &str| key(&gcc(&format!("-frecord-gcc-switches {text} -c x.c")));
    assert_ne!(recorded("-Iinc"), recorded("-I inc"));
}

const POOL: &[&str] = &[
    "-c",
    "-S",
    "-o",
    "x.o",
    "-I",
    "-Ix",
    "x.c",
    "y.cpp",
    "-x",
    "c",
    "c++",
    "none",
    "-g",
    "-O2",
    "-MD",
    "-MF",
    "x.d",
    "-MT",
    "-Wp,-MD,x.d",
    "-Wa,--defsym",
    "-Xassembler",
    "-Xclang",
    "-target-feature",
    "-include",
    "--coverage",
    "-gsplit-dwarf",
    "-fsyntax-only",
    "-E",
    "--",
    "-",
    "",
    "-D",
    "-DX",
    "-fno-lto",
    "-flto",
    "-Wall",
    "--param",
    "-march=native",
    "-mllvm",
    "-pipe",
    "-frecord-gcc-switches",
    "-fno-",
    "-mno-",
    "-gno-",
    "-emit-llvm",
    "-arch",
];

fn any_word() -> impl Strategy<Value = OsString> {
    prop_oneof![
        8 => prop::sample::select(POOL).prop_map(OsString::from),
        2 => prop::sample::select(crate::options::TABLE).prop_map(|row| row.name.into()),
        1 => "-[a-zA-Z=,-]{0,8}".prop_map(OsString::from),
        1 => prop::collection::vec(1..=255_u8, 0..6).prop_map(|mut bytes| {
            use std::os::unix::ffi::OsStringExt;
            bytes.retain(|&byte| byte != b'@');
            OsString::from_vec(bytes)
        }),
    ]
}

proptest! {
    #[test]
    fn any_words_are_taken_and_none_is_lost(
        arguments in prop::collection::vec(any_word(), 0..10),
        is_clang in any::<bool>(),
    ) {
        let family = if is_clang { Family::Clang } else { Family::Gcc };
        let context = context(family, Path::new("/nowhere"));
        let _ = Invocation::parse(&arguments, &context);
        let compiling = [&arguments[..], &["-c".into(), "x.c".into()]].concat();
        if let Ok(call) = Invocation::parse(&compiling, &context) {
            prop_assert_eq!(call.compile_arguments(), compiling);
            prop_assert!(call.arguments.iter().all(|argument| !argument.words.is_empty()));
        }
    }
}

#[test]
fn a_redirected_call_differs_in_names_that_do_not_count() {
    let folder = Path::new("/s");
    for (line, words) in [
        ("-c x.c", "-o /s/main/x.o -c x.c"),
        ("-g -c src/x.c -o out/y", "-o /s/main/y -g -c src/x.c"),
        ("-MD -c x.c -o out/x.o", "-MF /s/depfile/x.d -o /s/main/x.o -MQ out/x.o -MD -c x.c"),
        ("-S x.c -MD", "-MF /s/depfile/x.d -o /s/main/x.s -MQ x.o -S x.c -MD"),
        ("-c x.c -MMD -MFout/d -MT one", "-MF /s/depfile/d -o /s/main/x.o -c x.c -MMD -MT one"),
        ("-c x.c -Wp,-MMD,d", "-o /s/main/x.o -c x.c -Wp,-MMD,/s/depfile/d"),
        ("-fsyntax-only x.c", "-fsyntax-only x.c"),
    ] {
        let redirected = gcc(line).redirected(folder).unwrap();
        assert_eq!(text(&redirected.words), words, "{line}");
        let again = gcc(words);
        assert!(again.output.iter().all(|path| path.starts_with(folder)), "{line}");
        assert!(again.depfile.iter().all(|depfile| depfile.path.starts_with(folder)), "{line}");
        assert_eq!(again.source, gcc(line).source);
        // Where the rule may name the output, its name counts; it is then given by -MQ.
        if again.depfile.iter().all(|depfile| depfile.has_explicit_target && !words.contains("-MQ"))
        {
            assert_eq!(key(&again), key(&gcc(line)), "{line}");
        }
    }
}

#[test]
fn what_names_its_output_cannot_be_redirected() {
    for line in
        ["--coverage", "-g -gsplit-dwarf", "-frecord-gcc-switches", "-fstack-usage", "-flto"]
    {
        let call = gcc(&format!("-c x.c {line}"));
        assert!(call.redirected(Path::new("/s")).is_err(), "{line}");
    }
    let handed_on = gcc("-c x.c -Wp,-MD,x.d");
    assert!(handed_on.redirected(Path::new("/a,b")).is_err());
}

#[test]
fn the_assembler_looks_where_the_call_says() {
    let invocation =
        gcc("-Ii1 -iquote q -I i2 -isystem s -Wa,--noexecstack,-Iw --include-directory=i3 \
         -Xassembler -Ix --include-directory i4 -c x.c");
    let folders = ["i1", "i2", "i3", "i4", "w", "x"].map(PathBuf::from);
    assert_eq!(invocation.assembler_folders(), folders);
}

#[test]
fn precompiled_headers_are_made_and_used() {
    let made = gcc("-x c++-header -include a.hxx -o a.hxx.gch -c stub.cxx");
    assert_eq!((made.phase, made.language), (Phase::Precompiled, Language::Cxx));
    assert_eq!(gcc("sub/x.h").output, Some(PathBuf::from("sub/x.h.gch")));
    assert!(parse_for(Family::Clang, "x.h").is_err());
    let words = "-Xclang -emit-pch -Xclang -include -Xclang a.hxx -x c++-header -o a.pch stub.cxx";
    let made = clang(words);
    assert_eq!(made.forced_includes, [PathBuf::from("a.hxx")]);
    assert!(made.stamps_inputs && !made.remote_if_resolved);
    assert!(!made.preprocess_arguments().contains(&"-emit-pch".into()));
    assert!(!clang(&format!("-Xclang -fno-pch-timestamp {words}")).stamps_inputs);
    let used = clang("-Xclang -include-pch -Xclang a.pch -include-pch b.pch -c x.c");
    assert_eq!(used.precompiled, ["a.pch", "b.pch"].map(PathBuf::from));
    assert!(!used.remote_if_resolved);
}
