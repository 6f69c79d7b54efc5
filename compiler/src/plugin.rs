//! What a compiler's plugin could do besides compiling, as far as the functions tell that it calls.

use memchr::memmem;

/// Ends of names of functions that open files, start programs, or ask for what no key holds. A name in
/// an ELF file ends with a zero byte, and may share its end with another one.
const FUNCTIONS: &[&str] = &[
    "open",
    "open64",
    "openat",
    "openat64",
    "creat",
    "opendir",
    "execv",
    "execve",
    "execvp",
    "execlp",
    "posix_spawn",
    "posix_spawnp",
    "system",
    "fork",
    "socket",
    "getenv",
    "gettimeofday",
    "clock_gettime",
];

/// Parts of names of classes of C++ and LLVM that do the same.
const CLASSES: &[&str] = &[
    "basic_filebuf",
    "basic_ifstream",
    "basic_ofstream",
    "basic_fstream",
    "raw_fd_ostream",
    "MemoryBuffer7getFile",
    "FileManager",
];

/// The first function that makes a plugin more than a function of source and options; `plugin` are
/// the bytes of its file.
pub fn reaches_outside(plugin: &[u8]) -> Option<&'static str> {
    let calls =
        |name: &&&str| memmem::find(plugin, [name.as_bytes(), b"\0"].concat().as_slice()).is_some();
    let names = |name: &&&str| memmem::find(plugin, name.as_bytes()).is_some();
    FUNCTIONS.iter().find(calls).or_else(|| CLASSES.iter().find(names)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_opens_files_is_found() {
        assert_eq!(reaches_outside(b"\x7fELF\0printf\0strlen\0"), None);
        assert_eq!(reaches_outside(b"\x7fELF\0fopen\0"), Some("open"));
        assert_eq!(reaches_outside(b"\0_ZNSt14basic_ifstreamIcE\0"), Some("basic_ifstream"));
    }
}
