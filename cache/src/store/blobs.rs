//! The files of the store: where a blob lies, how it becomes visible at once, how it goes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ownership::{is_trusted, secure};
use crate::entry::{ENTRY_SIZE_BYTES_MAX, HEADER_SIZE_BYTES_MAX};
use crate::outputs;
use compiler::hasher::Digest;

/// The folders that `store/` is split into, one for each first byte of a key.
pub(super) const SHARDS: u16 = 256;
/// A temporary file older than this belongs to nobody any more.
pub(super) const TEMP_AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// Backup programs leave out a folder with this file (bford.info/cachedir).
const CACHEDIR_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n";
/// What the cache holds was made from the user's sources: nobody else's business.
const FOLDER_MODE: u32 = 0o700;
pub(super) const FILE_MODE: u32 = 0o600;

/// File systems hand out room in blocks.
const BLOCK_BYTES: u64 = 4096;

/// What a file of this length takes of a disk.
pub(super) fn room(length: u64) -> u64 {
    length.div_ceil(BLOCK_BYTES) * BLOCK_BYTES
}

/// How bytes get into a file; a test puts a full disk here.
pub(super) type WriteBytes = fn(&mut File, &[u8]) -> io::Result<()>;

/// How a file is closed; a test puts a server without room here.
pub(super) type Close = fn(File) -> io::Result<()>;

/// The blob folders below one cache folder.
pub(super) struct Blobs {
    folder: PathBuf,
    user: u32,
    /// Keeps temporary names apart from those of other processes and of earlier ones.
    opened_nanoseconds: u128,
    names_given: AtomicU64,
    pub write_bytes: WriteBytes,
    pub close: Close,
}

/// A blob as it was read, and what tells whether the file under its name is still that one.
pub(super) struct Found {
    /// Empty where the blob stays in its file.
    pub bytes: Vec<u8>,
    /// A large blob, where it need not be read whole.
    pub large: Option<File>,
    identity: (u64, u64),
}

/// A file that is whole but has no name that anyone looks for.
pub(super) struct Temporary {
    path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A folder of its own; it goes when it is dropped.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}

impl Blobs {
    pub fn new(folder: &Path) -> Blobs {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Blobs {
            folder: folder.to_owned(),
            user: rustix::process::geteuid().as_raw(),
            opened_nanoseconds: since_epoch.as_nanos(),
            names_given: AtomicU64::new(0),
            write_bytes: |file, bytes| file.write_all(bytes),
            close: |file| outputs::close(file.into_raw_fd()),
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the cache folder and what belongs into it, where nobody else can write to it. Only a
    /// cache folder that is missing afterwards is an error: one that cannot be written can still be
    /// read.
    pub fn create_folder(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&self.folder)?;
        secure(&self.folder)?;
        self.create_subfolders()
    }

    /// Whether nobody else can put anything into the folders and the index, which may be missing.
    pub fn secure_folders(&self) -> Vec<(PathBuf, io::Result<()>)> {
        let folders = [self.store(), self.temp(), self.trash()].map(|path| {
            let secured = secure(&path);
            (path, secured)
        });
        let index = self.index();
        let is_trusted = match fs::metadata(&index) {
            Ok(found) if !is_trusted(&found, self.user) => {
                let why = format!("it belongs to user {}, or others can write to it", found.uid());
                Err(io::Error::new(ErrorKind::PermissionDenied, why))
            }
            _ => Ok(()),
        };
        let mut all = Vec::from(folders);
        all.push((index, is_trusted));
        // What cannot be looked at is not used either, and what is missing will be ours.
        all.retain(|(_, checked)| {
            checked.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
        });
        all
    }

    /// Makes what belongs into the cache folder, which must be there.
    pub fn create_subfolders(&self) -> io::Result<()> {
        fs::metadata(&self.folder)?;
        for folder in [self.store(), self.temp(), self.trash()] {
            if let Err(error) = create_subfolder(&folder) {
                tracing::debug!("cannot make {}: {error}", folder.display());
            }
        }
        let tag = self.folder.join("CACHEDIR.TAG");
        if let Ok(mut file) = OpenOptions::new().write(true).create_new(true).open(tag) {
            let _ = file.write_all(CACHEDIR_TAG);
        }
        Ok(())
    }

    pub fn path(&self, key: Digest) -> PathBuf {
        let name = key.to_string();
        let mut path = PathBuf::with_capacity(self.folder.as_os_str().len() + name.len() + 16);
        path.push(&self.folder);
        path.push("store");
        path.push(&name[..2]);
        path.push(name);
        path
    }

    /// The bytes under a key. `NotFound` is the ordinary miss. A blob of at least `large_from` bytes stays
    /// in its file.
    pub fn read(&self, key: Digest, large_from: u64) -> io::Result<Found> {
        let file = open_blob(&self.path(key))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > ENTRY_SIZE_BYTES_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        // It may have been put here while others could.
        if !is_trusted(&metadata, self.user) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let identity = (metadata.dev(), metadata.ino());
        let mut bytes = Vec::new();
        if metadata.len() >= large_from {
            return Ok(Found { bytes, large: Some(file), identity });
        }
        bytes.try_reserve_exact(metadata.len() as usize)?;
        // std would feel its way in blocks that grow from 8 KiB.
        while bytes.len() < metadata.len() as usize {
            match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes)) {
                Ok(0) => break,
                Err(rustix::io::Errno::INTR) | Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Found { bytes, large: None, identity })
    }

    /// The first bytes of a blob, as many as its header may have, and its metadata.
    pub fn read_header(&self, key: Digest) -> io::Result<(Vec<u8>, fs::Metadata)> {
        let file = open_blob(&self.path(key))?;
        let metadata = file.metadata()?;
        let mut bytes = Vec::with_capacity(HEADER_SIZE_BYTES_MAX);
        file.take(HEADER_SIZE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
        Ok((bytes, metadata))
    }

    /// The bytes that the blob under a key takes, if there is one.
    pub fn room(&self, key: Digest) -> Option<u64> {
        let metadata = fs::symlink_metadata(self.path(key)).ok()?;
        metadata.is_file().then(|| room(metadata.len()))
    }

    /// Writes bytes where nobody looks for them yet.
    pub fn write_temporary(&self, bytes: &[u8]) -> io::Result<Temporary> {
        let (mut file, temporary) = self.new_temporary()?;
        (self.write_bytes)(&mut file, bytes)?;
        self.finish(file)?;
        Ok(temporary)
    }

    /// Closes a file that was written: some file systems say only now that there is no room.
    pub fn finish(&self, file: File) -> io::Result<()> {
        (self.close)(file)
    }

    /// An empty file where nobody looks for it yet.
    pub fn new_temporary(&self) -> io::Result<(File, Temporary)> {
        match self.create_temporary() {
            // Someone removed folders under a running daemon.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.create_subfolders()?;
                self.create_temporary()
            }
            created => created,
        }
    }

    /// Puts a written file under its key, in place of what was there.
    pub fn publish(&self, key: Digest, temporary: &Temporary) -> io::Result<()> {
        let path = self.path(key);
        match fs::rename(&temporary.path, &path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create_subfolder(&self.store())?;
                create_subfolder(path.parent().unwrap_or(&self.folder))?;
                fs::rename(&temporary.path, &path)
            }
            renamed => renamed,
        }
    }

    /// Removes the blob under a key; one that is not there is no error.
    pub fn remove(&self, key: Digest) -> io::Result<()> {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a blob unless another has taken its place since it was read; the bytes that it took
    /// if it was removed.
    pub fn remove_found(&self, key: Digest, found: &Found) -> Option<u64> {
        let path = self.path(key);
        let metadata = fs::symlink_metadata(&path).ok()?;
        if (metadata.dev(), metadata.ino()) != found.identity {
            return None;
        }
        fs::remove_file(&path).ok().map(|()| room(metadata.len()))
    }

    /// The blobs below `store/` whose first byte is `shard`, in order, with the bytes that they take.
    pub fn blobs_of_shard(&self, shard: u8) -> io::Result<Vec<(Digest, u64)>> {
        let keys = self.keys_of_shard(shard)?;
        Ok(keys.into_iter().filter_map(|key| Some((key, self.room(key)?))).collect())
    }

    /// The keys below `store/` whose first byte is `shard`, in order.
    pub fn keys_of_shard(&self, shard: u8) -> io::Result<Vec<Digest>> {
        let folder = self.store().join(format!("{shard:02x}"));
        let files = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            files => files?,
        };
        let mut keys = Vec::new();
        for file in files {
            let name = file?.file_name();
            let key = name.to_str().and_then(Digest::from_hex);
            keys.extend(key.filter(|key| key.0[0] == shard));
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// Takes every blob out of sight at once.
    pub fn discard(&self) -> io::Result<()> {
        self.set_aside(&self.store())
    }

    /// Moves a file or folder into the trash; one that is not there is no error.
    pub fn set_aside(&self, path: &Path) -> io::Result<()> {
        create_subfolder(&self.trash())?;
        match fs::rename(path, self.trash().join(self.fresh_name())) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    pub fn temp(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    pub fn trash(&self) -> PathBuf {
        self.folder.join("trash")
    }

    pub fn index(&self) -> PathBuf {
        self.folder.join("index.sqlite")
    }

    pub fn create_scratch(&self) -> io::Result<Scratch> {
        create_subfolder(&self.temp())?;
        let path = self.temp().join(self.fresh_name());
        DirBuilder::new().mode(FOLDER_MODE).create(&path)?;
        Ok(Scratch { path })
    }

    fn create_temporary(&self) -> io::Result<(File, Temporary)> {
        let path = self.temp().join(self.fresh_name());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&path)?;
        Ok((file, Temporary { path }))
    }

    fn fresh_name(&self) -> String {
        let number = self.names_given.fetch_add(1, Ordering::Relaxed);
        format!("{}-{}-{number}", std::process::id(), self.opened_nanoseconds)
    }
}

/// Makes a folder below one that must be there: what was removed as a whole stays so.
fn create_subfolder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made,
    }
}

/// Never waits, even where someone put a named pipe under a blob's name.
fn open_blob(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)
}
