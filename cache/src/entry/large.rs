//! Large outputs: from file to file, a piece at a time, so that memory does not grow with them.

use super::frames::{FRAME_CONTENT_BYTES, Packer};
use super::{
    CHECKSUM_SIZE_BYTES, COMPRESS_FROM_BYTES, Damage, ENTRY_SIZE_BYTES_MAX, Entry,
    HEADER_SIZE_BYTES_MAX, Header, PART_SIZE_BYTES, PARTS_MAX, PREFIX_SIZE_BYTES, PartHeader,
    PartKind, prefix,
};
use compiler::hasher::Digest;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// An output of at least this many bytes is not held in memory, nor is a blob.
pub const LARGE_FROM_BYTES: u64 = 2 << 20;

/// A large output, in a file that nobody else writes to.
#[derive(Debug)]
pub struct Spooled {
    /// What it is.
    pub kind: PartKind,
    /// From its beginning.
    pub file: File,
    /// In bytes.
    pub length: u64,
}

/// Content of one part.
enum Content<'a> {
    Bytes(&'a [u8]),
    File(&'a File),
}

impl Content<'_> {
    /// Reads the piece at an offset.
    fn piece<'p>(
        &'p self,
        offset: usize,
        length: usize,
        buffer: &'p mut Vec<u8>,
    ) -> io::Result<&'p [u8]> {
        match self {
            Content::Bytes(bytes) => Ok(&bytes[offset..offset + length]),
            Content::File(file) => {
                buffer.resize(length, 0);
                file.read_exact_at(buffer, offset as u64)?;
                Ok(buffer)
            }
        }
    }
}

/// Writes the blob of an entry and its large parts into an empty file; gives its length in bytes.
pub(crate) fn write_blob(
    file: &File,
    key: Digest,
    entry: &Entry,
    large: &[Spooled],
    compression: Option<i32>,
) -> io::Result<u64> {
    let small = entry
        .parts
        .iter()
        .map(|part| (part.kind, part.bytes.len() as u64, Content::Bytes(part.bytes.as_slice())));
    let large = large.iter().map(|part| (part.kind, part.length, Content::File(&part.file)));
    let parts: Vec<_> = large.chain(small).collect();
    let content: u64 = parts.iter().map(|(_, length, _)| length).sum();
    if content > ENTRY_SIZE_BYTES_MAX || parts.len() > PARTS_MAX {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let mut packer = compression.and_then(Packer::new);
    let mut at = (PREFIX_SIZE_BYTES + parts.len() * PART_SIZE_BYTES) as u64;
    let mut header = prefix(key, parts.len());
    for (kind, length, content) in &parts {
        let stored = write_part(file, at, content, *length as usize, packer.as_mut())?;
        at += stored.length;
        let part = PartHeader {
            kind: *kind,
            framed: stored.framed,
            length: *length as u32,
            stored_length: stored.length as u32,
        };
        part.write(&mut header);
    }
    // Attempts that were longer may have left something behind.
    file.set_len(at)?;
    file.write_all_at(&header, 0)?;
    file.write_all_at(checksum(file, at)?.as_bytes(), at)?;
    Ok(at + CHECKSUM_SIZE_BYTES as u64)
}

struct StoredAs {
    framed: bool,
    length: u64,
}

/// Writes one part, as frames where that is shorter.
fn write_part(
    file: &File,
    start: u64,
    content: &Content,
    length: usize,
    packer: Option<&mut Packer>,
) -> io::Result<StoredAs> {
    let mut buffer = Vec::new();
    let piece_at = |offset: usize| FRAME_CONTENT_BYTES.min(length - offset);
    let starts = || (0..length).step_by(FRAME_CONTENT_BYTES);
    if let Some(packer) = packer.filter(|_| length >= COMPRESS_FROM_BYTES) {
        let mut written = 0;
        for offset in starts() {
            let piece = content.piece(offset, piece_at(offset), &mut buffer)?;
            let frame = packer.pack_one(piece).ok_or(ErrorKind::OutOfMemory)?;
            file.write_all_at(&frame, start + written as u64)?;
            written += frame.len();
            if written >= length {
                break;
            }
        }
        if written < length {
            return Ok(StoredAs { framed: true, length: written as u64 });
        }
    }
    for offset in starts() {
        let piece = content.piece(offset, piece_at(offset), &mut buffer)?;
        file.write_all_at(piece, start + offset as u64)?;
    }
    Ok(StoredAs { framed: false, length: length as u64 })
}

fn checksum(file: &File, length: u64) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; FRAME_CONTENT_BYTES];
    let mut at = 0;
    while at < length {
        let piece = &mut buffer[..FRAME_CONTENT_BYTES.min((length - at) as usize)];
        file.read_exact_at(piece, at)?;
        hasher.update(piece);
        at += piece.len() as u64;
    }
    Ok(hasher.finalize())
}

/// The header of a blob in a file, whose checksum is right.
pub(super) fn checked_header(key: Digest, file: &File) -> Result<Header, Damage> {
    let unreadable = |_| Damage::Unreadable;
    let length = file.metadata().map_err(unreadable)?.len();
    let mut head = vec![0; HEADER_SIZE_BYTES_MAX.min(length as usize)];
    file.read_exact_at(&mut head, 0).map_err(unreadable)?;
    let header = Header::parse(key, &head)?;
    if header.blob_length != length {
        return Err(Damage::Length);
    }
    let covered = length - CHECKSUM_SIZE_BYTES as u64;
    let mut stored = [0; CHECKSUM_SIZE_BYTES];
    file.read_exact_at(&mut stored, covered).map_err(unreadable)?;
    match checksum(file, covered).map_err(unreadable)? == stored {
        true => Ok(header),
        false => Err(Damage::Checksum),
    }
}
