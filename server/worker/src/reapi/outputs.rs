//! What an action made: files, folders and links below its root, none of which leads out of it.

use super::action::Failure;
use super::cas::{Cas, NotStored};
use prost::Message;
use prost::bytes::Bytes;
use remote::reapi::digest::{BlobName, Function};
use remote::reapi::proto;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use tonic::Code;

/// All outputs of one action together.
const OUTPUT_BYTES_MAX: u64 = 2 << 30;

/// Files and folders in output folders, and folders within each other.
const NODES_MAX: usize = 20_000;
const DEPTH_MAX: usize = 60;

/// What was printed is in the result itself up to this length.
const STREAM_INLINE_BYTES_MAX: usize = 64 << 10;

/// How much is copied at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Where the outputs of one action are.
pub struct Outputs<'a> {
    /// Where they go.
    pub cas: &'a Arc<Cas>,
    /// How they are named.
    pub function: Function,
    /// The root of the tree.
    pub root: &'a Path,
    /// What asked for them.
    pub command: &'a proto::Command,
    /// Absolute, in the tree.
    pub working_directory: &'a Path,
}

/// All paths of outputs, as they are in the command.
pub fn paths(command: &proto::Command) -> impl Iterator<Item = &str> {
    let old = command.output_files.iter().chain(&command.output_directories);
    // Where there are both, the new ones count.
    let old = old.filter(|_| command.output_paths.is_empty());
    command.output_paths.iter().chain(old).map(String::as_str)
}

/// A path relative to a folder of the root, made relative to the root. `None` where it leads out.
pub fn within_root(folder: &str, path: &str) -> Option<String> {
    if path.contains('\0') || path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn too_much(what: &str) -> Failure {
    Failure::new(Code::ResourceExhausted, what)
}

impl From<NotStored> for Failure {
    fn from(error: NotStored) -> Failure {
        let code = match &error {
            NotStored::Wrong => Code::InvalidArgument,
            NotStored::TooLarge(_) | NotStored::NoRoom => Code::ResourceExhausted,
            NotStored::Disk(error) if error.kind() == io::ErrorKind::StorageFull => {
                Code::ResourceExhausted
            }
            NotStored::Disk(_) => Code::Internal,
        };
        Failure::new(code, error.to_string())
    }
}

impl Outputs<'_> {
    /// Stores all that is there; what is not there is no error.
    pub fn collect(&self) -> Result<proto::ActionResult, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(self.root, flags, Mode::empty()).map_err(io::Error::from)?;
        let mut result = proto::ActionResult::default();
        let mut collection = Collection { outputs: self, left: OUTPUT_BYTES_MAX, nodes: 0 };
        for path in paths(self.command) {
            let here = self.working_directory.join(path);
            collection.take(&root, path, &here, &mut result)?;
        }
        Ok(result)
    }

    /// Puts what was printed into the result, or beside it.
    pub fn keep_streams(
        &self,
        result: &mut proto::ActionResult,
        stdout: Vec<u8>,
        stderr: Vec<u8>,
    ) -> Result<(), Failure> {
        (result.stdout_raw, result.stdout_digest) = self.keep_stream(stdout)?;
        (result.stderr_raw, result.stderr_digest) = self.keep_stream(stderr)?;
        Ok(())
    }

    fn keep_stream(&self, text: Vec<u8>) -> Result<(Bytes, Option<proto::Digest>), Failure> {
        if text.len() <= STREAM_INLINE_BYTES_MAX {
            return Ok((text.into(), None));
        }
        let name = self.function.name(&text);
        self.cas.put(&name, &text)?;
        Ok((Bytes::new(), Some(name.message())))
    }
}

struct Collection<'a> {
    outputs: &'a Outputs<'a>,
    left: u64,
    nodes: usize,
}

impl Collection<'_> {
    fn take(
        &mut self,
        root: &OwnedFd,
        path: &str,
        here: &Path,
        result: &mut proto::ActionResult,
    ) -> Result<(), Failure> {
        // Links that the action made lead where they would have led it: within the root.
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let open = |flags| {
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat2(root, here, flags, Mode::empty(), inside)
        };
        let Ok(found) = open(OFlags::PATH) else { return Ok(()) };
        let stat = rustix::fs::fstat(&found).map_err(io::Error::from)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let file =
                    File::from(open(OFlags::RDONLY | OFlags::NONBLOCK).map_err(io::Error::from)?);
                let name = self.store(file)?;
                result.output_files.push(proto::OutputFile {
                    path: path.to_owned(),
                    digest: Some(name.message()),
                    is_executable: stat.st_mode & 0o100 != 0,
                    ..Default::default()
                });
            }
            FileType::Symlink => {
                let target = link_target(&found)?;
                let path = path.to_owned();
                result.output_symlinks.push(proto::OutputSymlink {
                    path,
                    target,
                    node_properties: None,
                });
            }
            FileType::Directory => {
                let folder = open(OFlags::RDONLY | OFlags::DIRECTORY).map_err(io::Error::from)?;
                result.output_directories.push(self.folder(path, folder)?);
            }
            // Nothing that could be handed on.
            _ => {}
        }
        Ok(())
    }

    fn store(&mut self, mut file: File) -> Result<BlobName, Failure> {
        let bytes = file.metadata()?.len();
        self.left =
            self.left.checked_sub(bytes).ok_or_else(|| too_much("its outputs are too large"))?;
        let function = self.outputs.function;
        let mut incoming = self.outputs.cas.begin(bytes)?;
        let mut hasher = function.hasher();
        let mut piece = vec![0; PIECE_BYTES.min(bytes as usize + 1)];
        loop {
            let count = file.read(&mut piece)?;
            if count == 0 {
                break;
            }
            hasher.update(&piece[..count]);
            incoming.write_all(&piece[..count])?;
        }
        let name = hasher.finish(bytes);
        incoming.keep_as(&name)?;
        Ok(name)
    }

    fn count_node(&mut self) -> Result<(), Failure> {
        self.nodes += 1;
        if self.nodes > NODES_MAX { Err(too_much("its outputs are too many")) } else { Ok(()) }
    }

    fn folder(&mut self, path: &str, folder: OwnedFd) -> Result<proto::OutputDirectory, Failure> {
        let mut children = Vec::new();
        let root = self.directory(&folder, 0, &mut children)?;
        // Those that were made last are nearest to the root.
        children.reverse();
        let root_name = self.outputs.function.name(&root.encode_to_vec());
        let tree = proto::Tree { root: Some(root.clone()), children };
        let bytes = tree.encode_to_vec();
        let name = self.outputs.function.name(&bytes);
        self.outputs.cas.put(&name, &bytes)?;
        let format = self.outputs.command.output_directory_format;
        let with_directories = format != proto::OutputDirectoryFormat::TreeOnly as i32;
        if with_directories {
            for directory in tree.children.iter().chain([&root]) {
                let bytes = directory.encode_to_vec();
                self.outputs.cas.put(&self.outputs.function.name(&bytes), &bytes)?;
            }
        }
        Ok(proto::OutputDirectory {
            path: path.to_owned(),
            tree_digest: Some(name.message()),
            is_topologically_sorted: false,
            root_directory_digest: with_directories.then(|| root_name.message()),
        })
    }

    fn directory(
        &mut self,
        folder: &OwnedFd,
        depth: usize,
        children: &mut Vec<proto::Directory>,
    ) -> Result<proto::Directory, Failure> {
        if depth > DEPTH_MAX {
            return Err(too_much("its output folders are too deep"));
        }
        let mut directory = proto::Directory::default();
        let entries = rustix::fs::Dir::read_from(folder).map_err(io::Error::from)?;
        for entry in entries {
            let entry = entry.map_err(io::Error::from)?;
            // Names that are no text cannot be sent.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            self.count_node()?;
            let name = name.to_owned();
            let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let open = |more| {
                rustix::fs::openat(folder, name.as_str(), flags | more, Mode::empty())
                    .map_err(io::Error::from)
            };
            let stat = rustix::fs::statat(folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW);
            let stat = stat.map_err(io::Error::from)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {
                    let content = self.store(File::from(open(OFlags::RDONLY)?))?;
                    directory.files.push(proto::FileNode {
                        digest: Some(content.message()),
                        is_executable: stat.st_mode & 0o100 != 0,
                        node_properties: None,
                        name,
                    });
                }
                FileType::Symlink => {
                    let target = link_target(&open(OFlags::PATH)?)?;
                    directory.symlinks.push(proto::SymlinkNode {
                        name,
                        target,
                        node_properties: None,
                    });
                }
                FileType::Directory => {
                    let below = open(OFlags::RDONLY | OFlags::DIRECTORY)?;
                    let child = self.directory(&below, depth + 1, children)?;
                    let digest = self.outputs.function.name(&child.encode_to_vec()).message();
                    if !children.contains(&child) {
                        children.push(child);
                    }
                    directory.directories.push(proto::DirectoryNode { name, digest: Some(digest) });
                }
                _ => {}
            }
        }
        directory.files.sort_by(|one, other| one.name.cmp(&other.name));
        directory.directories.sort_by(|one, other| one.name.cmp(&other.name));
        directory.symlinks.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(directory)
    }
}

fn link_target(link: &impl AsFd) -> Result<String, Failure> {
    let target = rustix::fs::readlinkat(link, "", Vec::new()).map_err(io::Error::from)?;
    target.into_string().map_err(|_| Failure::new(Code::Internal, "a link that leads to no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_within_the_root() {
        assert_eq!(within_root("a/b", "../c.o").unwrap(), "a/c.o");
        assert_eq!(within_root("", "./x//y/").unwrap(), "x/y");
        assert_eq!(within_root("a", "..").unwrap(), "");
        for (folder, path) in [("", ".."), ("a", "../../x"), ("a", "/etc"), ("", "a\0")] {
            assert_eq!(within_root(folder, path), None, "{path}");
        }
    }

    fn collected(
        folder: &Path,
        output_paths: &[&str],
    ) -> (Arc<Cas>, Result<proto::ActionResult, Failure>) {
        let cas = Arc::new(Cas::open(&folder.join("cas"), 1 << 20).unwrap());
        let output_paths = output_paths.iter().map(|path| (*path).to_owned()).collect();
        let command = proto::Command { output_paths, ..Default::default() };
        let root = folder.join("root");
        let outputs = Outputs {
            cas: &cas,
            function: Function::Sha256,
            root: &root,
            command: &command,
            working_directory: Path::new("/w"),
        };
        let result = outputs.collect();
        (cas, result)
    }

    #[test]
    fn links_do_not_lead_out() {
        let folder = tempfile::tempdir().unwrap();
        let work = folder.path().join("root/w");
        std::fs::create_dir_all(&work).unwrap();
        std::fs::write(folder.path().join("secret"), "secret").unwrap();
        std::fs::write(work.join("a.o"), "object").unwrap();
        std::os::unix::fs::symlink(folder.path(), work.join("out")).unwrap();
        std::os::unix::fs::symlink("../../secret", work.join("up")).unwrap();
        std::os::unix::fs::symlink("/w", work.join("here")).unwrap();
        let wanted = ["a.o", "out/secret", "up", "here/a.o", "absent.d"];
        let (cas, result) = collected(folder.path(), &wanted);
        let result = result.unwrap();
        let files: Vec<_> = result.output_files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(files, ["a.o", "here/a.o"]);
        let object = Function::Sha256.name(b"object");
        assert_eq!(result.output_files[0].digest, Some(object.message()));
        assert_eq!(cas.get(&object).unwrap(), "object");
        assert_eq!(result.output_symlinks[0].target, "../../secret");
        assert!(cas.get(&Function::Sha256.name(b"secret")).is_none());
    }

    #[test]
    fn a_folder_is_a_tree() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("root/w/out");
        std::fs::create_dir_all(out.join("b/c")).unwrap();
        std::fs::write(out.join("b/c/x"), "x").unwrap();
        std::fs::write(out.join("z"), "z").unwrap();
        std::fs::write(out.join("a"), "a").unwrap();
        std::os::unix::fs::symlink("z", out.join("link")).unwrap();
        let (cas, result) = collected(folder.path(), &["out"]);
        let tree = result.unwrap().output_directories[0].tree_digest.clone().unwrap();
        let tree = BlobName::of_message(Function::Sha256, &tree).unwrap();
        let tree = proto::Tree::decode(cas.get(&tree).unwrap()).unwrap();
        let root = tree.root.unwrap();
        let names: Vec<_> = root.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!((names.as_slice(), tree.children.len()), (&["a", "z"][..], 2));
        assert_eq!(root.symlinks[0].target, "z");
        let below = root.directories[0].digest.clone().unwrap();
        let child = tree.children.iter().find(|child| !child.directories.is_empty()).unwrap();
        assert_eq!(Function::Sha256.name(&child.encode_to_vec()).message(), below);
    }
}
