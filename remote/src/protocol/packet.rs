//! One packet: a token of four letters, a parameter of eight hex digits, and maybe a body.

use super::{Dialect, Malformed, WireError};
use std::io::{self, Read, Write};

/// A token and its parameter.
pub(super) const HEADER_BYTES: usize = 12;

/// A body is read in steps, the first ones of this size and none larger than what came before it, so
/// that a length alone takes no memory.
const STEP_BYTES: usize = 16 << 10;

/// Four letters.
pub(super) type Token = &'static [u8; 4];

/// Writes a header.
pub(super) fn put(bytes: &mut Vec<u8>, token: Token, parameter: u32) {
    bytes.extend_from_slice(token);
    bytes.extend_from_slice(format!("{parameter:08x}").as_bytes());
}

/// Writes a header and its body as it is. What is longer than a parameter can say is beyond every
/// limit, and so is what is then said of it.
pub(super) fn put_plain(bytes: &mut Vec<u8>, token: Token, body: &[u8]) {
    put(bytes, token, u32::try_from(body.len()).unwrap_or(u32::MAX));
    bytes.extend_from_slice(body);
}

/// Writes a header and its body in the dialect's compression.
pub(super) fn put_bulk(bytes: &mut Vec<u8>, token: Token, body: &[u8], dialect: Dialect) {
    if body.is_empty() {
        return put(bytes, token, 0);
    }
    match dialect {
        Dialect::Plain => put_plain(bytes, token, body),
        Dialect::Lzo => put_plain(bytes, token, &crate::lzo::compress(body)),
        Dialect::Native => put_plain(bytes, token, &compress(body)),
    }
}

/// zstd's level for the wire: the faster ones save no time worth having, and send a tenth more.
const LEVEL: i32 = 1;

/// How far back a frame may reach, as a power of two: what its decoder takes besides the content.
/// Level 1 reaches back 512 KiB.
pub(super) const WINDOW_LOG_MAX: u32 = 23;

/// The encoder of a frame that is written as its content is read.
pub(super) fn encoder<W: Write>(packed: W) -> io::Result<zstd::stream::write::Encoder<'static, W>> {
    zstd::stream::write::Encoder::new(packed, LEVEL)
}

fn compress(body: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(body, LEVEL).expect("memory to memory, at a valid level")
}

/// Reads a header that must have this token.
pub(super) fn take(stream: &mut impl Read, token: Token) -> Result<u32, WireError> {
    let (found, parameter) = take_any(stream)?;
    if &found != token {
        return Err(Malformed::Token { wanted: *token, found }.into());
    }
    Ok(parameter)
}

/// Reads a header. Writers use lower case; some clients may not.
pub(super) fn take_any(stream: &mut impl Read) -> Result<([u8; 4], u32), WireError> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header)?;
    let (token, digits) = header.split_at(4);
    let token = [token[0], token[1], token[2], token[3]];
    let all_hex = digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| all_hex);
    let parameter = text.and_then(|text| u32::from_str_radix(text, 16).ok());
    parameter.map(|parameter| (token, parameter)).ok_or(Malformed::Parameter(token).into())
}

/// Reads a body of `length` bytes.
pub(super) fn take_body(
    stream: &mut impl Read,
    token: Token,
    length: u32,
    length_max: usize,
) -> Result<Vec<u8>, WireError> {
    let length = length as usize;
    if length > length_max {
        return Err(Malformed::TooLong { token: *token, length }.into());
    }
    let mut body = Vec::with_capacity(length.min(STEP_BYTES));
    while body.len() < length {
        let start = body.len();
        body.resize(length.min(start + start.max(STEP_BYTES)), 0);
        stream.read_exact(&mut body[start..])?;
    }
    Ok(body)
}

/// Reads a body of `length` bytes and keeps nothing of it.
pub(super) fn skip_body(stream: &mut impl Read, length: u32) -> Result<(), WireError> {
    let skipped = io::copy(&mut stream.take(length.into()), &mut io::sink())?;
    match skipped == u64::from(length) {
        true => Ok(()),
        false => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}

/// Reads a header with this token and its body, and undoes the dialect's compression.
pub(super) fn take_bulk(
    stream: &mut impl Read,
    token: Token,
    dialect: Dialect,
    length_max: usize,
) -> Result<Vec<u8>, WireError> {
    let length = take(stream, token)?;
    take_bulk_body(stream, token, length, dialect, length_max)
}

/// Reads the body of a header that was read.
pub(super) fn take_bulk_body(
    stream: &mut impl Read,
    token: Token,
    length: u32,
    dialect: Dialect,
    length_max: usize,
) -> Result<Vec<u8>, WireError> {
    let body = take_body(stream, token, length, length_max)?;
    if body.is_empty() {
        return Ok(body);
    }
    let broken = || WireError::from(Malformed::Compression(*token));
    match dialect {
        Dialect::Plain => Ok(body),
        Dialect::Lzo => crate::lzo::decompress(&body, length_max).map_err(|_| broken()),
        Dialect::Native => decompress(&body, length_max).map_err(|_| broken()),
    }
}

/// One zstd frame, however little it claims to hold, and nothing after it.
fn decompress(body: &[u8], length_max: usize) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    (&mut decoder).take(length_max as u64 + 1).read_to_end(&mut plain)?;
    let rest = decoder.finish();
    if plain.len() > length_max || !rest.is_empty() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(plain)
}
