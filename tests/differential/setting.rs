//! `Setting`: how a call is started and what it is handed besides files, as a shell's line.

use crate::calls::Compiler;
use crate::random::Random;
use crate::tree::ROOT;
use std::fs;
use std::process::Command;
use std::sync::LazyLock;

/// The file whose content reaches compilers by other ways than its name.
pub const FED: &str = "fed.h";

/// One way to start a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Setting {
    /// As builds mostly do.
    #[default]
    Plain,
    /// With a header from a pipe, which can be read once.
    Substituted,
    /// With a header from a named pipe.
    NamedPipe,
    /// With a header that only a descriptor names.
    Descriptor,
    /// With a header from standard input.
    Fed,
    /// With a header named through the process itself.
    OwnFolder,
    /// As the leader of a session without a terminal.
    Session,
    /// SIGCHLD is ignored, as under some supervisors.
    ChildrenIgnored,
    /// Twice in another mount namespace, so that the second call may be served.
    Mounts,
    /// Without standard input.
    NoInput,
    /// Without standard output.
    NoOutput,
    /// Without standard error.
    NoErrors,
    /// The cache is asked for `ccache COMPILER`.
    Wrapped,
}

/// Each as often as it is here.
const ALL: [Setting; 20] = [
    Setting::Plain,
    Setting::Plain,
    Setting::Plain,
    Setting::Plain,
    Setting::Substituted,
    Setting::NamedPipe,
    Setting::Descriptor,
    Setting::Fed,
    Setting::OwnFolder,
    Setting::Session,
    Setting::Session,
    Setting::ChildrenIgnored,
    Setting::ChildrenIgnored,
    Setting::Mounts,
    Setting::NoInput,
    Setting::NoInput,
    Setting::NoOutput,
    Setting::NoErrors,
    Setting::Wrapped,
    Setting::Wrapped,
];

impl Setting {
    /// One that works on this machine, and with this compiler: clang cannot wait for children where
    /// SIGCHLD is ignored, and fails where it needs any; a result from the cache needs none.
    pub fn random(compiler: Compiler, random: &mut Random) -> Setting {
        match *random.pick(&ALL) {
            Setting::ChildrenIgnored if compiler == Compiler::Clang => Setting::Plain,
            setting if setting.is_possible() => setting,
            _ => Setting::Plain,
        }
    }

    /// All that work on this machine.
    pub fn all() -> impl Iterator<Item = Setting> {
        let repeated = |at: &usize| *at > 0 && ALL[*at] == ALL[*at - 1];
        let once = (0..ALL.len()).filter(move |at| !repeated(at)).map(|at| ALL[at]);
        once.filter(|setting| setting.is_possible())
    }

    fn is_possible(self) -> bool {
        match self {
            Setting::Mounts => *HAS_NAMESPACES,
            Setting::Wrapped => *HAS_CCACHE,
            _ => true,
        }
    }

    /// What the cache's words have before the compiler's.
    pub fn wrapper(self) -> Option<&'static str> {
        (self == Setting::Wrapped).then_some("ccache")
    }

    /// Whether each call has a daemon of its own, whose counters say nothing of the others.
    pub fn is_elsewhere(self) -> bool {
        self == Setting::Mounts
    }

    /// A line for bash that starts the call `"$@"`.
    pub fn line(self) -> String {
        let fed = format!("{ROOT}/w/{FED}");
        match self {
            Setting::Plain => r#"exec "$@""#.to_owned(),
            Setting::Substituted => format!(r#"exec "$@" -include <(cat "{fed}")"#),
            // Who opens the pipe once more, as compilers do to quote a line, finds nothing in it. Where
            // nobody opens it, the writer waits by itself, not in a child, and is ended.
            Setting::NamedPipe => format!(
                r#"pipe="$TMPDIR/pipe"; rm -f "$pipe"; mkfifo "$pipe"
text=$(cat "{fed}")
{{ printf '%s\n' "$text" >"$pipe"; while :; do : >"$pipe"; sleep 0.05; done; }} >/dev/null 2>&1 &
"$@" -include "$pipe"; status=$?; kill $!; exit $status"#
            ),
            Setting::Descriptor => format!(r#"exec "$@" -include /dev/fd/7 7<"{fed}""#),
            Setting::Fed => format!(r#"exec "$@" -include /dev/stdin <"{fed}""#),
            Setting::OwnFolder => {
                format!(r#"cd "{ROOT}/w" && exec "$@" -include /proc/self/cwd/{FED}"#)
            }
            Setting::Session => r#"exec setsid -w "$@""#.to_owned(),
            Setting::ChildrenIgnored => r#"exec env --ignore-signal=CHLD "$@""#.to_owned(),
            Setting::Mounts => {
                r#"exec unshare -m bash -c '"$@" >&2; exec "$@"' bash "$@""#.to_owned()
            }
            Setting::NoInput => r#"exec "$@" <&-"#.to_owned(),
            Setting::NoOutput => r#"exec "$@" >&-"#.to_owned(),
            Setting::NoErrors => r#"exec "$@" 2>&-"#.to_owned(),
            // ccache itself is not what is tested.
            Setting::Wrapped => r#"export CCACHE_DISABLE=1; exec "$@""#.to_owned(),
        }
    }
}

static HAS_NAMESPACES: LazyLock<bool> = LazyLock::new(|| {
    Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|it| it.status.success())
});

static HAS_CCACHE: LazyLock<bool> =
    LazyLock::new(|| fs::exists("/usr/bin/ccache").unwrap_or(false));
