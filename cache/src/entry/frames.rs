//! A content as zstd frames that can be unpacked one by one: in bounded memory, by several threads.

use super::Damage;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

/// The content of each frame but the last, in bytes: it stays in a core's own cache from the
/// decompression to the write.
const FRAME_CONTENT_BYTES: usize = 256 << 10;

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
            frames.extend(self.0.compress(part).ok()?);
        }
        Some(frames)
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

/// The frames in a body whose content has this length.
pub(super) fn pieces(body: &[u8], length: usize) -> Result<Vec<Piece>, Damage> {
    let mut pieces = Vec::new();
    let (mut at, mut offset) = (0, 0);
    while at < body.len() {
        let rest = &body[at..];
        let frame = zstd_safe::find_frame_compressed_size(rest).map_err(|_| Damage::Frame)?;
        let content = match zstd_safe::get_frame_content_size(rest) {
            Ok(Some(content)) if content <= (length - offset) as u64 => content as usize,
            _ => return Err(Damage::Frame),
        };
        let body = at..at + frame;
        pieces.push(Piece { body, framed: true, offset: offset as u64, length: content });
        at += frame;
        offset += content;
    }
    if offset == length { Ok(pieces) } else { Err(Damage::Frame) }
}

/// Unpacks pieces, one after the other.
pub struct Unpacker(Option<Scratch>);

struct Scratch {
    decompressor: Decompressor<'static>,
    buffer: Vec<u8>,
}

impl Unpacker {
    /// One that is idle, or a new one.
    pub fn take() -> Result<Unpacker, Damage> {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let scratch = match idle {
            Some(scratch) => scratch,
            None => {
                let decompressor = Decompressor::new().map_err(|_| Damage::OutOfMemory)?;
                Scratch { decompressor, buffer: Vec::new() }
            }
        };
        Ok(Unpacker(Some(scratch)))
    }

    /// The content of one piece of a part with this body.
    pub(super) fn unpack<'u>(
        &'u mut self,
        body: &'u [u8],
        piece: &Piece,
    ) -> Result<&'u [u8], Damage> {
        let body = &body[piece.body.clone()];
        if !piece.framed {
            return Ok(body);
        }
        let scratch = self.0.as_mut().ok_or(Damage::OutOfMemory)?;
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
