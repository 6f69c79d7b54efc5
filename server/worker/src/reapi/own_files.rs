//! The files of this worker's own compilers, by digest: they need not be uploaded, and they alone may run.
//!
//! A client that has the same compiler sends the same digests, wherever its files are. Drivers, compilers proper,
//! assemblers, their libraries and dynamic linkers are listed; headers are not, since a client's come as inputs.

use crate::caller::Caller;
use crate::toolchain::Toolchain;
use compiler::identity;
use remote::reapi::digest::{BlobName, Function};
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Drivers that are looked at; a machine has some ten names for a few compilers.
const DRIVERS_MAX: usize = 64;

/// A file of a compiler; LLVM's library is the largest by far.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// In how many words a driver can say what it runs.
const QUESTIONS: [&[&str]; 5] = [
    &["-x", "c"],
    &["-x", "c++"],
    &["-x", "assembler-with-cpp"],
    &["-x", "c", "-g", "-gsplit-dwarf"],
    &["-x", "c++", "-g", "-gsplit-dwarf"],
];

/// Programs beside the assembler that a driver runs now and then.
const BESIDE_ASSEMBLER: [&str; 1] = ["objcopy"];

/// What a file is told by to be still the same.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

/// All of them.
#[derive(Default)]
pub struct OwnFiles {
    by_name: HashMap<BlobName, PathBuf>,
    stamps: Vec<(PathBuf, Option<Stamp>)>,
}

impl OwnFiles {
    /// Looks for compilers and reads their files; that takes some seconds.
    pub fn find(toolchain: &Toolchain, folders: &OsStr) -> OwnFiles {
        let mut found = OwnFiles::default();
        for folder in std::env::split_paths(folders) {
            found.stamps.push((folder.clone(), stamp(&folder)));
        }
        for path in files(toolchain, folders) {
            let stamp = stamp(&path);
            if let Err(error) = found.read(&path) {
                tracing::warn!("{}: {error}", path.display());
            }
            found.stamps.push((path, stamp));
        }
        found
    }

    /// Whether it is one.
    pub fn has(&self, name: &BlobName) -> bool {
        self.by_name.contains_key(name)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_name.len() / Function::ALL.len()
    }

    /// Whether no file has been changed, and no driver has come or gone, since they were read.
    pub fn is_current(&self) -> bool {
        self.stamps.iter().all(|(path, seen)| stamp(path) == *seen)
    }

    /// One of them, to be read; the end of it is an error where it is no longer what it was.
    pub fn open(&self, name: &BlobName) -> Option<impl Read + use<>> {
        let file = File::open(self.by_name.get(name)?).ok()?;
        Some(Checked { file, name: *name, hasher: Some(name.function.hasher()), read: 0 })
    }

    fn read(&mut self, path: &Path) -> io::Result<()> {
        if fs::metadata(path)?.len() > FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        for function in Function::ALL {
            let name = function.name_of(&mut File::open(path)?)?;
            self.by_name.insert(name, path.to_owned());
        }
        Ok(())
    }
}

struct Checked {
    file: File,
    name: BlobName,
    hasher: Option<remote::reapi::digest::Hasher>,
    read: u64,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read += count as u64;
        match &mut self.hasher {
            Some(hasher) if count > 0 => hasher.update(&buffer[..count]),
            Some(_) if !buffer.is_empty() => {
                let made = self.hasher.take().map(|hasher| hasher.finish(self.read));
                if made != Some(self.name) {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "it was changed"));
                }
            }
            _ => {}
        }
        Ok(count)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    let changed = (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
    let (mtime, mtime_nanos, ctime, ctime_nanos) = changed;
    Some((found.dev(), found.ino(), found.len(), mtime, mtime_nanos, ctime, ctime_nanos))
}

/// The files of all compilers, each once.
fn files(toolchain: &Toolchain, folders: &OsStr) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let mut drivers = BTreeSet::new();
    for name in driver_names(folders) {
        let Some(driver) = toolchain.find(&name) else { continue };
        // Many names lead to one program, which is the same by each.
        let real = driver.canonicalize().unwrap_or_else(|_| driver.clone());
        if drivers.len() < DRIVERS_MAX && drivers.insert(real) {
            files.extend(files_of(toolchain, &driver));
        }
    }
    files
}

/// Names in these folders that look like those of compilers.
fn driver_names(folders: &OsStr) -> BTreeSet<OsString> {
    let entries = std::env::split_paths(folders)
        .filter(|folder| folder.is_absolute())
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten());
    entries.map(|entry| entry.file_name()).filter(|name| is_driver_name(name)).collect()
}

/// `gcc`, `x86_64-linux-gnu-g++-12`, `clang++-19`, `cc`; not `gcc-ar-12` nor `clang-format`.
fn is_driver_name(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let version = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let name = version.strip_suffix('-').unwrap_or(version);
    ["gcc", "g++", "clang", "clang++", "cc", "c++"]
        .iter()
        .any(|driver| name == *driver || name.ends_with(&format!("-{driver}")))
}

fn files_of(toolchain: &Toolchain, driver: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    // Nobody waits at the other end, and nobody goes away.
    let Ok((ours, _theirs)) = UnixStream::pair() else { return files };
    for words in QUESTIONS {
        let mut caller = Caller::new(ours.as_fd(), [127, 0, 0, 1].into(), false);
        let words = words.iter().map(OsString::from).collect();
        let Ok(compiler) = toolchain.identify(driver, words, &mut caller) else { continue };
        // A shell is what runs a script: with it, clients could run whatever they like.
        if compiler.wraps {
            continue;
        }
        for (path, _) in &compiler.files {
            files.extend(path.canonicalize());
        }
    }
    let assemblers = files.iter().filter(|path| path.to_string_lossy().ends_with("as"));
    let beside = assemblers.flat_map(|path| {
        let text = path.to_string_lossy().into_owned();
        BESIDE_ASSEMBLER.map(|name| PathBuf::from(format!("{}{name}", &text[..text.len() - 2])))
    });
    let beside: Vec<PathBuf> = beside.filter(|path| path.is_file()).collect();
    files.extend(beside);
    let interpreters: Vec<PathBuf> = files.iter().filter_map(|path| interpreter(path)).collect();
    files.extend(interpreters);
    files
}

/// The dynamic linker that a program asks for.
fn interpreter(program: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    let file = File::open(program).ok()?;
    file.take(identity::PROGRAM_HEAD_BYTES as u64).read_to_end(&mut head).ok()?;
    identity::interpreter(&head)?.canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_told_by_their_names() {
        let is_driver = |name: &str| is_driver_name(OsStr::new(name));
        for name in ["gcc", "g++-12", "clang++", "clang-19", "x86_64-linux-gnu-gcc-12", "cc", "c++"]
        {
            assert!(is_driver(name), "{name}");
        }
        for name in ["gcc-ar-12", "clang-format", "bcc2", "distcc", "gccgo", "cpp", "c99-gcc", "as"]
        {
            // The last but one is a script of Debian's, and a driver.
            assert_eq!(is_driver(name), name == "c99-gcc", "{name}");
        }
    }

    #[test]
    fn what_was_changed_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cc1");
        fs::write(&path, "one").unwrap();
        let mut own = OwnFiles::default();
        own.read(&path).unwrap();
        own.stamps.push((path.clone(), stamp(&path)));
        let name = Function::Sha256.name(b"one");
        assert!(own.has(&name) && own.is_current() && own.count() == 1);
        let mut read = Vec::new();
        own.open(&name).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, b"one");
        fs::write(&path, "two").unwrap();
        assert!(!own.is_current());
        assert!(own.open(&name).unwrap().read_to_end(&mut Vec::new()).is_err());
    }
}
