//! Options of kernels, firmware and big projects: the compiler's own result, and a direct hit when warm.

use crate::support::{Cache, Call, Project, Trap, check, have, same_as_compiler, skip};

const UNIT: &str =
    "#include \"a.h\"\nint one(int n) { int b[4] = { n }; return b[n & 3] + LOCAL; }\n";

fn project() -> Project {
    Project::new(&[
        ("a.c", UNIT),
        ("a.cc", UNIT),
        ("a#b.c", UNIT),
        ("a.h", "#define LOCAL 4\n"),
        ("inc/deep.h", "#define DEEP 1\n"),
    ])
}

/// Each line behind this compiler is a direct hit when warm. What the compiler does not take on this
/// machine is noted.
#[track_caller]
fn cached(compiler: &str, lines: &[&str]) {
    if !have(compiler) {
        skip(&format!("options of {compiler}"), "it is not installed");
        return;
    }
    let (project, cache) = (project(), Cache::new());
    for line in lines {
        let line = format!("{compiler} {line}");
        if !project.plain(line.as_str()).ok() {
            skip(&line, "the compiler refuses it");
            continue;
        }
        let (_, warm) = same_as_compiler(&project, &cache, line.as_str());
        assert_eq!(warm, "direct_cache_hit", "{line}");
    }
}

#[test]
fn options_that_the_search_path_cannot_be_asked_with_alone() {
    cached(
        "gcc",
        &[
            "-c a.c -fno-PIE -mcmodel=kernel -mno-red-zone",
            "-c a.c -nostdinc -fno-pie -mcmodel=kernel -include a.h",
            "-c a.c -nostdinc",
            "-c a.c -fno-pie -pg -mfentry -mrecord-mcount",
        ],
    );
    cached(
        "clang",
        &[
            "-c a.c -nostdinc",
            "-c a.c -nostdinc -iquote inc",
            "-c a.c -flto -fvisibility=hidden -fsanitize=cfi",
            "-c a.c --target=aarch64-linux-gnu -ffixed-x18 -fsanitize=shadow-call-stack",
            "-c a.c -fno-PIE -mcmodel=kernel -mno-red-zone",
        ],
    );
}

#[test]
fn explain_says_what_the_compiler_complains_of() {
    let (project, cache) = (project(), Cache::new());
    if !have("gcc") {
        return skip("explain", "gcc is not installed");
    }
    let mut command = cache.subcommand("explain gcc -mcmodel=nonsense -c a.c");
    command.current_dir(project.root());
    let said = crate::support::run(&mut command, crate::support::LIMIT_CALL);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("compiler_check_failed") && said.contains("nonsense"), "{said}");
}

#[test]
fn words_for_the_tools_of_clang() {
    cached(
        "clang",
        &[
            "-c a.c -mllvm -asan-mapping-offset=0xdffffc0000000000 -fsanitize=kernel-address",
            "-c a.c -mllvm -instcombine-lower-dbg-declare=0",
            "-c a.c -O2 -Xclang -mllvm -Xclang -unroll-runtime",
            "-c a.c -g2 -Xclang -debug-info-kind=constructor",
            "-c a.c -Xclang -fuse-ctor-homing",
            "-c a.c -Xclang -I -Xclang inc",
            "-c a.c -Xclang -isysteminc -Xclang -DFROM_XCLANG",
            "-c a.c -Xclang -mframe-pointer=all -Xclang -fno-wrapv",
            "-c a.c -fcrash-diagnostics-dir=reports",
        ],
    );
    cached("clang-19", &["-c a.c -mllvm=-unroll-runtime", "-c a.c -fassumptions -fno-assumptions"]);
}

#[test]
fn firmware() {
    cached(
        "arm-none-eabi-gcc",
        &[
            "--specs=nosys.specs -mcpu=cortex-m3 -mthumb -c a.c",
            "-specs=nosys.specs -mcpu=cortex-m3 -mthumb -c a.c -T link.ld -Wl,-Map,a.map",
            "-c a.c -mcpu=cortex-m4 -mthumb -Wa,-ahlms=build.lst",
        ],
    );
    cached("avr-gcc", &["-c a.c -mmcu=atmega328p -mcall-prologues -mshort-calls -mstrict-X"]);
    cached("xtensa-lx106-elf-gcc", &["-c a.c -mlongcalls -mtext-section-literals"]);
    cached("riscv64-unknown-elf-gcc", &["-c a.c -march=rv32imac -mabi=ilp32 -Tlink.ld"]);
    cached("gcc", &["-c a.c -T link.ld", "-c a.c -Ttext=0x1000", "-c a.c -Wa,-a,-ad,-alms=a.lst"]);
}

#[test]
fn outputs_that_go_to_the_null_device_and_sources_from_it() {
    for compiler in ["gcc", "clang"] {
        cached(
            compiler,
            &[
                "-Werror -c -x c /dev/null -o /dev/null",
                "-S -x c /dev/null -o probe.s",
                "-c a.c -o /dev/null",
                "-c a.c",
                "-c a.c -MD -MF /dev/null -o b.o",
                "-c a.c -include /dev/null",
                "-c a#b.c",
                "-H -c a.c",
                "-P -c a.c",
            ],
        );
    }
}

/// A trap without a first miss: the call must be a hit, the changed state the compiler's own.
fn sprung(files: &[(&str, &str)], line: &str) -> Trap {
    Trap::new(files, line)
}

#[test]
fn a_profile_that_appears_changes_or_goes() {
    if !have("gcc") {
        return skip("profiles of gcc", "gcc is not installed");
    }
    const LOOP: &str = "int f(int n) { int s = 0; for (int i = 0; i < n; i++) s += i & n; return s; }\n\
                        int main(int c, char **v) { return f(c * COUNT) == 7 && v; }\n";
    let forms = [("", "sub/p.gcda"), ("=prof", "")];
    for (operand, name) in forms {
        let line = format!(
            "gcc -O2 -DCOUNT=9 -fprofile-use{operand} -Wno-missing-profile -c p.c -o sub/p.o"
        );
        let trap = sprung(&[("p.c", LOOP), ("sub/keep", ""), ("prof/keep", "")], &line);
        let place = match name {
            "" => format!(
                "prof/{}#sub#p.gcda",
                trap.project.root().to_str().unwrap().replace('/', "#")
            ),
            name => name.to_owned(),
        };
        let profile = |project: &Project, count: u32| {
            let make = format!("gcc -O2 -DCOUNT={count} -fprofile-generate -c p.c -o train.o");
            project.plain(make.as_str()).success();
            project.plain("gcc -fprofile-generate train.o -o made").success();
            project.plain("./made");
            std::fs::rename(project.path("train.gcda"), project.path(&place)).unwrap();
            project.remove("train.o");
            project.remove("made");
        };
        trap.change(|project| profile(project, 9));
        assert_eq!(trap.check(), "direct_cache_hit", "{line}");
        trap.change(|project| profile(project, 900_000));
        trap.undo(|project| project.remove(&place));
    }
}

#[test]
fn specs_that_appear_and_change() {
    if !have("gcc") {
        return skip("specs", "gcc is not installed");
    }
    let file = ("my.specs", "*cc1_options:\n+ -DFROM_SPECS=1\n\n");
    let source = ("a.c", "#ifndef FROM_SPECS\n#define FROM_SPECS 0\n#endif\nint x = FROM_SPECS;\n");
    let trap = sprung(&[source, file], "gcc -specs=my.specs -c a.c");
    let other = file.1.replace('1', "2");
    trap.change(|project| project.write("my.specs", &other));
    trap.undo(|project| project.write("my.specs", file.1));
    // By LIBRARY_PATH gcc finds one of that name first.
    let trap = Trap { call: trap.call.env("LIBRARY_PATH", trap.project.path("lib")), ..trap };
    trap.check();
    trap.change(|project| project.write("lib/my.specs", &other));
}

#[test]
fn a_time_in_a_header_follows_the_epoch_and_silent_units_do_not() {
    for compiler in ["gcc", "clang"].into_iter().filter(|name| have(name)) {
        let project = Project::new(&[
            ("plain.c", "int twice(int n) { return 2 * n; }\n"),
            ("dated.c", "#include \"date.h\"\nconst char *when(void) { return NOW; }\n"),
            ("date.h", "#define NOW __DATE__\n"),
            ("own.c", "const char *when(void) { return __DATE__; }\n"),
        ]);
        let cache = Cache::new();
        let at = |source: &str, epoch: &str| {
            Call::from(format!("{compiler} -c {source}")).env("SOURCE_DATE_EPOCH", epoch)
        };
        check(&project, &cache, at("plain.c", "1700000000"));
        let again = check(&project, &cache, at("plain.c", "1800000000").env("LIBRARY_PATH", "/x"));
        assert_eq!(again, "direct_cache_hit", "{compiler}");
        for source in ["dated.c", "own.c"] {
            for epoch in ["1700000000", "1800000000", "1700000000", "1800000000"] {
                check(&project, &cache, at(source, epoch));
            }
        }
        // clang complains of it.
        check(&project, &cache, at("plain.c", "nonsense"));
    }
}

#[test]
fn a_plugin_counts_by_its_content() {
    let found = Project::new(&[]).plain("gcc -print-file-name=plugin").stdout;
    let headers = String::from_utf8_lossy(&found).trim().to_owned() + "/include";
    if !std::path::Path::new(&headers).join("gcc-plugin.h").exists() || !have("g++") {
        return skip("plugins of gcc", "their headers are not installed");
    }
    let text = |body: &str| {
        format!(
            "#include \"gcc-plugin.h\"\n#include <cstdio>\nint plugin_is_GPL_compatible;\n\
             int plugin_init(plugin_name_args *, plugin_gcc_version *) {{ {body} return 0; }}\n"
        )
    };
    let make = |project: &Project, body: &str| {
        project.write("plugin.cc", text(body));
        let line = format!("g++ -fno-rtti -shared -fPIC -I{headers} plugin.cc -o plugin.so");
        project.plain(line.as_str()).success();
    };
    let project = Project::new(&[("a.c", UNIT), ("a.h", "#define LOCAL 1\n")]);
    make(&project, "fprintf(stderr, \"one\\n\");");
    let call = "gcc -fplugin=./plugin.so -fplugin-arg-plugin-level=2 -c a.c";
    let trap = Trap::prepared(project, call).sprung("direct_cache_hit");
    trap.change(|project| make(project, "fprintf(stderr, \"two\\n\");"));
    // Who reads files is not understood.
    trap.change(|project| make(project, "fclose(fopen(\"a.h\", \"r\"));"));
    assert_eq!(trap.check(), "unsupported_compiler_option");
}

#[test]
fn words_for_the_preprocessor_about_the_rule() {
    cached(
        "gcc",
        &[
            "-Wp,-MMD,x.d,-MT,target -c a.c",
            "-Wp,-MD,x.d,-MT,target,-MP -c a.c",
            "-Wp,-MMD,x.d -Wp,-MQ,target -Wp,-DY=1 -c a.c",
            "-MMD -Wp,-MMD,x.d -c a.c",
            "-MMD -Wp,-MMD,x.d -c a.c -o inc/a.o",
            "-MD -Wp,-MD,x.d -MT target -c a.c",
        ],
    );
}

#[test]
fn files_beside_the_object_by_options_of_their_own() {
    cached(
        "gcc",
        &[
            "-save-temps -c a.c",
            "-save-temps -c a.c -o inc/a.o -MD",
            "-save-temps=obj -g -c a.c -o inc/x.y.o",
            "-save-temps -S a.c -o inc/a.s",
            "-save-temps -c a.cc -o inc/noext",
            "-save-temps -fstack-usage -c a.c -o inc/a.o",
            "-O2 -fsave-optimization-record -c a.c -o inc/x.y.o",
            "-O2 -fsave-optimization-record -c a.c",
            "-aux-info prototypes.txt -c a.c",
            "-flto -fstack-usage -c a.c",
            "-flto -fcallgraph-info -c a.c",
            "-flto --coverage -c a.c -o inc/a.o",
            "-flto -g -gsplit-dwarf -c a.c -o inc/a.o",
            "-flto -ffat-lto-objects -fstack-usage -c a.c",
            "-foffload=disable -c a.c",
        ],
    );
    for compiler in ["clang", "clang-16", "clang-19"] {
        cached(
            compiler,
            &[
                "-save-temps -c a.c -o inc/a.o",
                "-save-temps=obj -g -c a.c -o inc/x.y.o -MD",
                "-save-temps -S a.c",
                "-O2 -fsave-optimization-record -c a.c -o inc/x.y.o",
                "-O2 -foptimization-record-file=inc/r.yaml -c a.c",
                "--serialize-diagnostics inc/d.dia -c a.c",
                "-Wall --serialize-diagnostics inc/d.dia -fsyntax-only a.c",
                "-MJ inc/a.json -c a.c -MD -MF a.d",
                "-MJ inc/a.json -c a.c",
                "-ftime-trace -c a.c -o inc/x.y.o",
                "-flto -fstack-usage -c a.c",
                "-flto -g -gsplit-dwarf -c a.c",
                "-flto --coverage -c a.c",
                "-flto -O2 -c a.c",
            ],
        );
    }
}

#[test]
fn colours_count_where_something_is_printed() {
    let warns = "int f(void) { int unused; return 1; }\n";
    for compiler in ["gcc", "clang"].into_iter().filter(|name| have(name)) {
        let project =
            Project::new(&[("a.c", UNIT), ("a.h", "#define LOCAL 1\n"), ("warns.c", warns)]);
        let cache = Cache::new();
        for (source, ending) in [("a.c", "direct_cache_hit"), ("warns.c", "cache_miss")] {
            let line = |colour: &str| format!("{compiler} -g -O2 -Wall {colour} -c {source}");
            check(&project, &cache, line(""));
            for colour in ["-fdiagnostics-color=always", "-fdiagnostics-color=never"] {
                assert_eq!(check(&project, &cache, line(colour)), ending, "{compiler} {colour}");
                assert_eq!(check(&project, &cache, line(colour)), "direct_cache_hit");
            }
        }
    }
}

#[test]
fn a_check_of_the_syntax_is_the_same_with_and_without_a_phase() {
    for compiler in ["gcc", "clang"].into_iter().filter(|name| have(name)) {
        let (project, cache) = (project(), Cache::new());
        check(&project, &cache, format!("{compiler} -fsyntax-only -Wall a.c"));
        for phase in ["-c", "-S"] {
            let line = format!("{compiler} -fsyntax-only {phase} -Wall a.c");
            assert_eq!(check(&project, &cache, line.as_str()), "direct_cache_hit", "{line}");
        }
    }
}

#[test]
fn preloaded_libraries_that_change_no_result() {
    const LIBRARY: &str = "/usr/libexec/coreutils/libstdbuf.so";
    if !std::path::Path::new(LIBRARY).exists() || !have("gcc") {
        return skip("a preloaded library", "stdbuf's is not installed");
    }
    let (project, cache) = (project(), Cache::new());
    check(&project, &cache, "gcc -c a.c");
    let call = Call::from("gcc -c a.c").env("LD_PRELOAD", LIBRARY).env("_STDBUF_O", "L");
    assert_eq!(check(&project, &cache, &call), "direct_cache_hit");
    // Any other one is a part of the compiler.
    project.plain("gcc -shared -fPIC a.c -o other.so").success();
    let call = Call::from("gcc -c a.c").env("LD_PRELOAD", project.path("other.so"));
    assert_eq!(check(&project, &cache, &call), "cache_miss");
}
