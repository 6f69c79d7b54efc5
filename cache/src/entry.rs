//! A stored result or manifest: its parts, and the bytes of a blob.
//!
//! ```text
//! blob     = header body* checksum
//! header   = magic version key count part*      integers are little-endian
//! magic    = 8 bytes, "\x89rcache\n"
//! version  = u16, FORMAT_VERSION
//! key      = 20 bytes; a blob under another name is not an answer
//! count    = u16, the number of parts, at most PARTS_MAX
//! part     = kind stored_as length stored_length
//! kind     = u8, a PartKind, each at most once
//! stored_as = u8, 0: the bytes themselves, 1: zstd frames, one after the other (see `frames.rs`)
//! length   = u32, of the content
//! stored_length = u32, of the body
//! body     = stored_length bytes, in the order of the parts
//! checksum = 32 bytes, BLAKE3 of everything before it
//! ```
//!
//! The checksum is over what is stored, so that nothing is decompressed before it is known to be
//! what was written.

mod frames;
mod large;

use std::collections::TryReserveError;
use std::fmt;
use std::fs::File;
use std::ops::Range;

use compiler::hasher::Digest;

pub use compiler::part::PartKind;

pub use self::frames::{Piece, Unpacker};
pub(crate) use self::large::write_blob;
pub use self::large::{LARGE_FROM_BYTES, Spooled};

/// The version of the blob format; a blob of another version is a miss.
pub const FORMAT_VERSION: u16 = 1;
/// The parts of one entry, at most.
pub const PARTS_MAX: usize = 32;
/// The parts of one entry together, in bytes, before and after compression.
pub const ENTRY_SIZE_BYTES_MAX: u64 = u32::MAX as u64;
/// The longest header, in bytes: what must be read of a blob to know what is in it.
pub const HEADER_SIZE_BYTES_MAX: usize = PREFIX_SIZE_BYTES + PARTS_MAX * PART_SIZE_BYTES;

const MAGIC: [u8; 8] = *b"\x89rcache\n";
const PREFIX_SIZE_BYTES: usize = MAGIC.len() + 2 + Digest::LEN + 2;
const PART_SIZE_BYTES: usize = 1 + 1 + 4 + 4;
const CHECKSUM_SIZE_BYTES: usize = blake3::OUT_LEN;
/// Below this a frame's own header eats what compression saves.
const COMPRESS_FROM_BYTES: usize = 128;
/// A blob of at most this length takes one block of the usual file systems, compressed or not, and
/// a small frame takes longer to set up than to unpack: a third of a small hit's instructions.
const BLOCK_SIZE_BYTES: usize = 4096;
/// A zstd block of at most 128 KiB takes at least 4 bytes (RFC 8878, section 3.1.1.2).
const EXPANSION_MAX: u64 = 32 * 1024;

/// One part of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The parts that are stored under one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// At most one of each kind, in the order in which they were added.
    pub parts: Vec<Part>,
}

/// Why bytes are not the entry that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The bytes do not start like a blob.
    NotAnEntry,
    /// Written by another version of the format.
    Version(u16),
    /// The blob belongs under another key.
    Key,
    /// The bytes end too early, or go on after the end.
    Length,
    /// The bytes are not those that were written.
    Checksum,
    /// A field has a value that is never written.
    Malformed(&'static str),
    /// A limit of the format is passed.
    TooLarge,
    /// There is no memory for the content.
    OutOfMemory,
    /// A zstd frame does not give the content that the header promises.
    Frame,
    /// Its file cannot be read.
    Unreadable,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::NotAnEntry => f.write_str("not a cache entry"),
            Damage::Version(version) => write!(f, "format version {version} is not known"),
            Damage::Key => f.write_str("it belongs under another key"),
            Damage::Length => f.write_str("its length is wrong"),
            Damage::Checksum => f.write_str("its checksum is wrong"),
            Damage::Malformed(what) => write!(f, "its {what} is wrong"),
            Damage::TooLarge => f.write_str("it is too large"),
            Damage::OutOfMemory => f.write_str("there is no memory for it"),
            Damage::Frame => f.write_str("a compressed part is wrong"),
            Damage::Unreadable => f.write_str("it cannot be read"),
        }
    }
}

impl std::error::Error for Damage {}

impl From<Damage> for std::io::Error {
    fn from(damage: Damage) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::InvalidData, damage)
    }
}

impl From<TryReserveError> for Damage {
    fn from(_: TryReserveError) -> Damage {
        Damage::OutOfMemory
    }
}

impl Entry {
    /// Adds a part; an entry has at most one of each kind.
    pub fn push(&mut self, kind: PartKind, bytes: Vec<u8>) {
        debug_assert!(self.part(kind).is_none(), "a second {kind:?}");
        self.parts.push(Part { kind, bytes });
    }

    /// The content of the part of this kind.
    pub fn part(&self, kind: PartKind) -> Option<&[u8]> {
        self.parts.iter().find(|part| part.kind == kind).map(|part| part.bytes.as_slice())
    }

    /// The bytes of the blob, with parts compressed at a zstd level, or not at all.
    ///
    /// Fails only with [`Damage::TooLarge`], for an entry beyond [`ENTRY_SIZE_BYTES_MAX`].
    pub fn encode(&self, key: Digest, compression: Option<i32>) -> Result<Vec<u8>, Damage> {
        let content: u64 = self.parts.iter().map(|part| part.bytes.len() as u64).sum();
        if content > ENTRY_SIZE_BYTES_MAX || self.parts.len() > PARTS_MAX {
            return Err(Damage::TooLarge);
        }
        let frames = self.compress(compression);
        let mut blob = prefix(key, self.parts.len());
        let bodies = || self.parts.iter().zip(&frames).map(|(part, frame)| (part, frame.as_ref()));
        for (part, frame) in bodies() {
            let header = PartHeader {
                kind: part.kind,
                framed: frame.is_some(),
                length: part.bytes.len() as u32,
                stored_length: frame.unwrap_or(&part.bytes).len() as u32,
            };
            header.write(&mut blob);
        }
        let stored: usize = bodies().map(|(part, frame)| frame.unwrap_or(&part.bytes).len()).sum();
        blob.try_reserve_exact(stored + CHECKSUM_SIZE_BYTES)?;
        for (part, frame) in bodies() {
            blob.extend_from_slice(frame.unwrap_or(&part.bytes));
        }
        let checksum = blake3::hash(&blob);
        blob.extend_from_slice(checksum.as_bytes());
        Ok(blob)
    }

    /// The entry in the bytes of a blob that was found under `key`.
    pub fn decode(key: Digest, blob: &[u8]) -> Result<Entry, Damage> {
        let parts = Entry::decode_parts(key, blob)?;
        let parts = parts.iter().map(|part| Ok(Part { kind: part.kind, bytes: part.content()? }));
        Ok(Entry { parts: parts.collect::<Result<_, Damage>>()? })
    }

    /// As [`Entry::decode`], but leaves the parts as they are stored, without a copy. The checksum
    /// has been compared.
    pub fn decode_parts(key: Digest, blob: &[u8]) -> Result<Vec<StoredPart<'_>>, Damage> {
        let parts = layout(key, blob)?;
        Ok(parts.iter().map(|(part, body)| part.with(&blob[body.clone()])).collect())
    }

    /// Frames for each part that is smaller in them.
    fn compress(&self, compression: Option<i32>) -> Vec<Option<Vec<u8>>> {
        let compression = compression.filter(|_| self.plain_size_bytes() > BLOCK_SIZE_BYTES);
        let Some(mut packer) = compression.and_then(frames::Packer::new) else {
            return vec![None; self.parts.len()];
        };
        let frames = self.parts.iter().map(|part| {
            if part.bytes.len() < COMPRESS_FROM_BYTES {
                return None;
            }
            packer.pack(&part.bytes).filter(|frames| frames.len() < part.bytes.len())
        });
        frames.collect()
    }

    /// The length of the blob when nothing in it is compressed.
    fn plain_size_bytes(&self) -> usize {
        let parts = self.parts.iter().map(|part| PART_SIZE_BYTES + part.bytes.len());
        PREFIX_SIZE_BYTES + parts.sum::<usize>() + CHECKSUM_SIZE_BYTES
    }
}

/// Where a part lies.
#[derive(Clone, Copy, Debug)]
enum Body<'a> {
    Bytes(&'a [u8]),
    /// In a file, from this offset on.
    File(&'a File, u64),
}

/// A part as it lies in a blob whose checksum was right.
#[derive(Clone, Copy, Debug)]
pub struct StoredPart<'a> {
    /// What it is.
    pub kind: PartKind,
    length: u32,
    stored_length: u32,
    framed: bool,
    body: Body<'a>,
}

impl<'a> StoredPart<'a> {
    /// The length of the content in bytes.
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// The content, where it is stored as it is.
    pub fn plain(&self) -> Option<&'a [u8]> {
        match self.body {
            Body::Bytes(body) if !self.framed => Some(body),
            _ => None,
        }
    }

    /// A copy of the content, decompressed.
    pub fn content(&self) -> Result<Vec<u8>, Damage> {
        let mut content = Vec::new();
        content.try_reserve_exact(self.length())?;
        if let Some(body) = self.plain() {
            content.extend_from_slice(body);
            return Ok(content);
        }
        let mut unpacker = Unpacker::take()?;
        for piece in self.pieces()? {
            content.extend_from_slice(unpacker.unpack(self.body, &piece)?);
        }
        Ok(content)
    }

    /// What the content is put together from.
    pub fn pieces(&self) -> Result<Vec<Piece>, Damage> {
        let (length, stored_length) = (self.length(), self.stored_length as usize);
        match (self.body, self.framed) {
            (Body::Bytes(body), true) => frames::pieces(body, length),
            (Body::Bytes(_), false) => Ok(vec![Piece::plain(length)]),
            (Body::File(file, at), true) => frames::pieces_in_file(file, at, stored_length, length),
            (Body::File(..), false) => Ok(frames::plain_pieces(length)),
        }
    }

    /// The content of one of its pieces.
    pub fn unpack<'u>(&self, piece: &Piece, unpacker: &'u mut Unpacker) -> Result<&'u [u8], Damage>
    where
        'a: 'u,
    {
        unpacker.unpack(self.body, piece)
    }
}

/// A blob whose checksum was right, and where its parts are in it.
#[derive(Debug)]
pub struct Stored {
    blob: Blob,
    parts: Vec<(PartHeader, Range<usize>)>,
}

impl Stored {
    /// The blob that was found under `key`. Nothing of it is decompressed yet, but every frame is
    /// known to promise the right length.
    pub fn open(key: Digest, blob: Vec<u8>) -> Result<Stored, Damage> {
        let parts = layout(key, &blob)?;
        let stored = Stored { blob: Blob::Bytes(blob), parts };
        stored.parts.iter().try_for_each(|part| stored.view(part).pieces().map(drop))?;
        Ok(stored)
    }

    /// The same of a large blob, which stays in its file: nothing but one piece at a time is held.
    pub fn open_file(key: Digest, file: File) -> Result<Stored, Damage> {
        let header = large::checked_header(key, &file)?;
        let parts = header.bodies();
        let stored = Stored { blob: Blob::File(file), parts };
        stored.parts.iter().try_for_each(|part| stored.view(part).pieces().map(drop))?;
        Ok(stored)
    }

    /// A part, as it is stored.
    pub fn part(&self, kind: PartKind) -> Option<StoredPart<'_>> {
        let part = self.parts.iter().find(|(header, _)| header.kind == kind)?;
        Some(self.view(part))
    }

    /// The length of all contents in bytes.
    pub fn length(&self) -> u64 {
        self.parts.iter().map(|(header, _)| u64::from(header.length)).sum()
    }

    /// A copy of all contents.
    pub fn entry(&self) -> Result<Entry, Damage> {
        let parts = self
            .parts
            .iter()
            .map(|part| Ok(Part { kind: part.0.kind, bytes: self.view(part).content()? }));
        Ok(Entry { parts: parts.collect::<Result<_, Damage>>()? })
    }

    fn view(&self, (header, body): &(PartHeader, Range<usize>)) -> StoredPart<'_> {
        match &self.blob {
            Blob::Bytes(blob) => header.with(&blob[body.clone()]),
            Blob::File(file) => header.at(Body::File(file, body.start as u64)),
        }
    }
}

#[derive(Debug)]
enum Blob {
    Bytes(Vec<u8>),
    File(File),
}

/// Where the parts lie in a whole blob. The checksum has been compared.
fn layout(key: Digest, blob: &[u8]) -> Result<Vec<(PartHeader, Range<usize>)>, Damage> {
    let header = Header::parse(key, blob)?;
    if blob.len() as u64 != header.blob_length {
        return Err(Damage::Length);
    }
    let (covered, checksum) = blob.split_at(blob.len() - CHECKSUM_SIZE_BYTES);
    if blake3::hash(covered) != *checksum {
        return Err(Damage::Checksum);
    }
    Ok(header.bodies())
}

/// What the beginning of a blob says, without a look at the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    parts: Vec<PartHeader>,
    length: usize,
    /// The length that the whole blob must have, in bytes.
    pub blob_length: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PartHeader {
    kind: PartKind,
    framed: bool,
    length: u32,
    stored_length: u32,
}

impl Header {
    /// Reads the header at the start of `blob`, which may be cut off after
    /// [`HEADER_SIZE_BYTES_MAX`] bytes.
    pub fn parse(key: Digest, blob: &[u8]) -> Result<Header, Damage> {
        let mut rest = blob;
        if !MAGIC.starts_with(&rest[..rest.len().min(MAGIC.len())]) {
            return Err(Damage::NotAnEntry);
        }
        take::<{ MAGIC.len() }>(&mut rest)?;
        let version = u16::from_le_bytes(take(&mut rest)?);
        if version != FORMAT_VERSION {
            return Err(Damage::Version(version));
        }
        if take::<{ Digest::LEN }>(&mut rest)? != key.0 {
            return Err(Damage::Key);
        }
        let count = usize::from(u16::from_le_bytes(take(&mut rest)?));
        if count > PARTS_MAX {
            return Err(Damage::TooLarge);
        }
        let mut parts: Vec<PartHeader> = Vec::with_capacity(count);
        for _ in 0..count {
            let part = PartHeader::parse(&mut rest)?;
            if parts.iter().any(|earlier| earlier.kind == part.kind) {
                return Err(Damage::Malformed("list of parts"));
            }
            parts.push(part);
        }
        let content: u64 = parts.iter().map(|part| u64::from(part.length)).sum();
        if content > ENTRY_SIZE_BYTES_MAX {
            return Err(Damage::TooLarge);
        }
        let stored: u64 = parts.iter().map(|part| u64::from(part.stored_length)).sum();
        let length = PREFIX_SIZE_BYTES + count * PART_SIZE_BYTES;
        let blob_length = length as u64 + stored + CHECKSUM_SIZE_BYTES as u64;
        Ok(Header { parts, length, blob_length })
    }

    /// Where each part lies.
    fn bodies(self) -> Vec<(PartHeader, Range<usize>)> {
        let mut at = self.length;
        let parts = self.parts.into_iter().map(|part| {
            let body = at..at + part.stored_length as usize;
            at = body.end;
            (part, body)
        });
        parts.collect()
    }

    /// Whether the blob has a part of this kind.
    pub fn has(&self, kind: PartKind) -> bool {
        self.parts.iter().any(|part| part.kind == kind)
    }
}

impl PartHeader {
    fn with<'a>(&self, body: &'a [u8]) -> StoredPart<'a> {
        self.at(Body::Bytes(body))
    }

    fn at<'a>(&self, body: Body<'a>) -> StoredPart<'a> {
        let PartHeader { kind, framed, length, stored_length } = *self;
        StoredPart { kind, length, stored_length, framed, body }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.kind as u8);
        bytes.push(self.framed as u8);
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend_from_slice(&self.stored_length.to_le_bytes());
    }

    fn parse(rest: &mut &[u8]) -> Result<PartHeader, Damage> {
        let [kind] = take(rest)?;
        let kind = PartKind::from_byte(kind).ok_or(Damage::Malformed("kind of part"))?;
        let framed = match take(rest)? {
            [0] => false,
            [1] => true,
            _ => return Err(Damage::Malformed("way of storing")),
        };
        let length = u32::from_le_bytes(take(rest)?);
        let stored_length = u32::from_le_bytes(take(rest)?);
        if !framed && length != stored_length {
            return Err(Damage::Malformed("length of a part"));
        }
        if framed && u64::from(length) > u64::from(stored_length) * EXPANSION_MAX {
            return Err(Damage::TooLarge);
        }
        Ok(PartHeader { kind, framed, length, stored_length })
    }
}

/// What a blob begins with, up to its list of parts.
fn prefix(key: Digest, parts: usize) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&key.0);
    bytes.extend_from_slice(&(parts as u16).to_le_bytes());
    bytes
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Damage> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(Damage::Length)?;
    *rest = after;
    Ok(*taken)
}

#[cfg(test)]
mod tests;
