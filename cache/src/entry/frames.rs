//! A content as zstd frames that can be unpacked one by one: in bounded memory, by several threads.

use super::{Body, Damage};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

/// The content of each frame but the last, in bytes: it stays in a core's own cache from the
/// decompression to the write.
pub(super) const FRAME_CONTENT_BYTES: usize = 256 << 10;

/// No frame of ours is longer: what cannot be compressed takes little more than its content.
const FRAME_BYTES_MAX: usize = FRAME_CONTENT_BYTES + (4 << 10);

/// zstd's levels that `compression_level` may ask for.
pub(super) const COMPRESSION_LEVELS: std::ops::RangeInclusive<i32> = -5..=19;

/// Unpackers that are kept for the next hit; setting one up costs more than a small frame.
const IDLE_MAX: usize = 4;

/// A larger buffer is given back to the system.
const IDLE_BUFFER_BYTES_MAX: usize = 1 << 20;

static IDLE: Mutex<Vec<Scratch>> = Mutex::new(Vec::new());

/// Makes frames.
pub(super) struct Packer(Compressor<'static>);

impl Packer {
    /// For a level of zstd; the nearest that there is.
    pub fn new(level: i32) -> Option<Packer> {
        let level = level.clamp(*COMPRESSION_LEVELS.start(), *COMPRESSION_LEVELS.end());
        Compressor::new(level).ok().map(Packer)
    }

    /// The frames of a content.
    pub fn pack(&mut self, content: &[u8]) -> Option<Vec<u8>> {
        let mut frames = Vec::new();
        for part in content.chunks(FRAME_CONTENT_BYTES) {
            frames.extend(self.pack_one(part)?);
        }
        Some(frames)
    }

    /// One frame.
    pub fn pack_one(&mut self, part: &[u8]) -> Option<Vec<u8>> {
        self.0.compress(part).ok()
    }
}

/// What can be unpacked on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it lies in the body of its part.
    body: Range<usize>,
    framed: bool,
    /// Where its content belongs in the content of the part.
    pub offset: u64,
    /// The length of its content in bytes.
    length: usize,
}

impl Piece {
    /// A body that is the content itself.
    pub(super) fn plain(length: usize) -> Piece {
        Piece { body: 0..length, framed: false, offset: 0, length }
    }
}

/// The frames in a body that lies in a file, of which one at a time is looked at.
pub(super) fn pieces_in_file(
    file: &File,
    start: u64,
    stored_length: usize,
    length: usize,
) -> Result<Vec<Piece>, Damage> {
    let mut all = Vec::new();
    let (mut at, mut offset) = (0, 0);
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    while at < stored_length {
        let window = &mut buffer[..FRAME_BYTES_MAX.min(stored_length - at)];
        file.read_exact_at(window, start + at as u64).map_err(|_| Damage::Unreadable)?;
        let (mut piece, frame) = next_piece(window, length - offset)?;
        piece.body = at..at + frame;
        piece.offset = offset as u64;
        at += frame;
        offset += piece.length;
        all.push(piece);
    }
    if offset == length { Ok(all) } else { Err(Damage::Frame) }
}

/// Pieces of a content that lies in a file as it is.
pub(super) fn plain_pieces(length: usize) -> Vec<Piece> {
    let starts = (0..length).step_by(FRAME_CONTENT_BYTES);
    let pieces = starts.map(|at| {
        let body = at..length.min(at + FRAME_CONTENT_BYTES);
        Piece { framed: false, offset: at as u64, length: body.len(), body }
    });
    pieces.collect()
}

/// The frame that `rest` begins with, and its length there; at most `left` bytes of content are missing.
fn next_piece(rest: &[u8], left: usize) -> Result<(Piece, usize), Damage> {
    let frame = zstd_safe::find_frame_compressed_size(rest).map_err(|_| Damage::Frame)?;
    match zstd_safe::get_frame_content_size(rest) {
        Ok(Some(content)) if content <= left as u64 => {
            let length = content as usize;
            Ok((Piece { body: 0..frame, framed: true, offset: 0, length }, frame))
        }
        _ => Err(Damage::Frame),
    }
}

/// The frames in a body whose content has this length.
pub(super) fn pieces(body: &[u8], length: usize) -> Result<Vec<Piece>, Damage> {
    let mut pieces = Vec::new();
    let (mut at, mut offset) = (0, 0);
    while at < body.len() {
        let (mut piece, frame) = next_piece(&body[at..], length - offset)?;
        piece.body = at..at + frame;
        piece.offset = offset as u64;
        at += frame;
        offset += piece.length;
        pieces.push(piece);
    }
    if offset == length { Ok(pieces) } else { Err(Damage::Frame) }
}

/// Unpacks pieces, one after the other.
pub struct Unpacker(Option<Scratch>);

struct Scratch {
    decompressor: Decompressor<'static>,
    buffer: Vec<u8>,
    /// What was read of a file.
    stored: Vec<u8>,
}

impl Unpacker {
    /// One that is idle, or a new one.
    pub fn take() -> Result<Unpacker, Damage> {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let scratch = match idle {
            Some(scratch) => scratch,
            None => {
                let decompressor = Decompressor::new().map_err(|_| Damage::OutOfMemory)?;
                Scratch { decompressor, buffer: Vec::new(), stored: Vec::new() }
            }
        };
        Ok(Unpacker(Some(scratch)))
    }

    /// The content of one piece of a part with this body.
    pub(super) fn unpack<'u>(
        &'u mut self,
        body: Body<'u>,
        piece: &Piece,
    ) -> Result<&'u [u8], Damage> {
        let scratch = self.0.as_mut().ok_or(Damage::OutOfMemory)?;
        let body = match body {
            Body::Bytes(body) => &body[piece.body.clone()],
            Body::File(file, start) => {
                scratch.stored.resize(piece.body.len(), 0);
                let at = start + piece.body.start as u64;
                file.read_exact_at(&mut scratch.stored, at).map_err(|_| Damage::Unreadable)?;
                &scratch.stored
            }
        };
        if !piece.framed {
            return Ok(body);
        }
        scratch.buffer.clear();
        scratch.buffer.try_reserve_exact(piece.length)?;
        let unpacked = scratch.decompressor.decompress_to_buffer(body, &mut scratch.buffer);
        match unpacked {
            Ok(length) if length == piece.length => Ok(&scratch.buffer),
            _ => Err(Damage::Frame),
        }
    }
}

impl Drop for Unpacker {
    fn drop(&mut self) {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let scratch = self.0.take();
        let small = |scratch: &Scratch| scratch.buffer.capacity() <= IDLE_BUFFER_BYTES_MAX;
        if idle.len() < IDLE_MAX {
            idle.extend(scratch.filter(small));
        }
    }
}
