//! What a compile daemon answers.

use super::identity::Identity;
use super::packet::{
    encoder, put, put_bulk, put_plain, take, take_any, take_body, take_bulk, take_bulk_body,
};
use super::request::take_hex;
use super::{Checksum, Dialect, Malformed, PUMP_VERSION, WireError, limits, reply_hasher};
use crate::Reply;
use std::fs::File;
use std::io::{self, Read, Seek, Write};

/// The status of a request that the worker does not serve: exit status 111, distcc's number for
/// what must not be done there.
pub const REFUSED_STATUS: i32 = 111 << 8;

/// What a worker sends now and then to an rcache client before the answer.
pub const ALIVE: &[u8] = b"ALIV00000000";

/// Whether a reply may be sent: a client would refuse what is beyond the limits, and an output of a
/// compile that failed.
///
/// # Errors
/// What is wrong with it.
pub fn check(reply: &Reply) -> Result<(), Malformed> {
    let bodies = [
        (*b"SERR", reply.stderr.len(), limits::STREAM_BYTES_MAX),
        (*b"SOUT", reply.stdout.len(), limits::STREAM_BYTES_MAX),
        (*b"DOTO", reply.output.len(), limits::OUTPUT_BYTES_MAX),
    ];
    for (token, length, length_max) in bodies {
        if length > length_max {
            return Err(Malformed::TooLong { token, length });
        }
    }
    match reply.status != 0 && !reply.output.is_empty() {
        true => Err(Malformed::OutputOfFailure),
        false => Ok(()),
    }
}

/// The answer to a request to compile, whose checksum `request` is. The reply must pass [`check`].
pub fn encode(dialect: Dialect, reply: &Reply, request: &Checksum) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(reply.output.len() / 2 + 1024);
    put_start(&mut bytes, dialect, reply);
    put_bulk(&mut bytes, b"DOTO", &reply.output, dialect);
    if dialect == Dialect::Native {
        let checksum = Checksum::of_reply(request, reply);
        put_plain(&mut bytes, b"CSUM", checksum.to_hex().as_bytes());
    }
    bytes
}

/// An answer whose output is sent from a file: what goes before and after it.
#[derive(Debug)]
pub struct Spooled {
    /// All before the output.
    pub before: Vec<u8>,
    /// The output as it is sent.
    pub output: File,
    /// All after it.
    pub after: Vec<u8>,
}

/// As [`encode`], for an output that is a file, and longer than what anybody wants to have in memory.
/// `packed` is an empty file. Not for [`Dialect::Lzo`], whose streams are made in memory.
///
/// # Errors
/// Those of the files.
pub fn encode_file(
    dialect: Dialect,
    reply: &Reply,
    mut output: File,
    packed: File,
    request: &Checksum,
) -> io::Result<Spooled> {
    let plain_bytes = output.metadata()?.len();
    output.rewind()?;
    let mut hasher = reply_hasher(request, reply);
    hasher.update(&plain_bytes.to_le_bytes());
    let mut after = Vec::new();
    let mut file = match dialect {
        Dialect::Native => {
            let mut encoder = encoder(packed)?;
            let copied = io::copy(&mut output, &mut Both(&mut encoder, &mut hasher))?;
            if copied != plain_bytes {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            put_plain(&mut after, b"CSUM", Checksum(hasher.finalize()).to_hex().as_bytes());
            encoder.finish()?
        }
        Dialect::Plain | Dialect::Lzo => output,
    };
    let length = file.seek(io::SeekFrom::End(0))?;
    file.rewind()?;
    let mut before = Vec::with_capacity(1024);
    put_start(&mut before, dialect, reply);
    let parameter = u32::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
    put(&mut before, b"DOTO", parameter);
    Ok(Spooled { before, output: file, after })
}

/// Writes to both.
struct Both<'b, A, B>(&'b mut A, &'b mut B);

impl<A: Write, B: Write> Write for Both<'_, A, B> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        self.1.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All before the output.
fn put_start(bytes: &mut Vec<u8>, dialect: Dialect, reply: &Reply) {
    put(bytes, b"DONE", dialect.version());
    put(bytes, b"STAT", reply.status as u32);
    put_bulk(bytes, b"SERR", &reply.stderr, dialect);
    put_bulk(bytes, b"SOUT", &reply.stdout, dialect);
}

/// The answer to a request of protocol 3: a failure that says why.
pub fn encode_pump_refusal(why: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, b"DONE", PUMP_VERSION);
    put(&mut bytes, b"STAT", REFUSED_STATUS as u32);
    put_bulk(&mut bytes, b"SERR", why, Dialect::Lzo);
    put(&mut bytes, b"SOUT", 0);
    put(&mut bytes, b"DOTO", 0);
    bytes
}

/// The answer to the question which compiler there is.
pub fn encode_identity(identity: &Identity) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, b"DONE", Dialect::Native.version());
    put_plain(&mut bytes, b"IDEN", &identity.encode());
    bytes
}

/// Reads the answer to a request to compile, whose checksum `request` is.
///
/// # Errors
/// The stream's, or what is wrong with the answer; nothing of it may then be used.
pub fn read(
    stream: &mut impl Read,
    dialect: Dialect,
    request: &Checksum,
) -> Result<Reply, WireError> {
    take_version(stream, dialect)?;
    let status = take(stream, b"STAT")? as i32;
    let stderr = take_bulk(stream, b"SERR", dialect, limits::STREAM_BYTES_MAX)?;
    let stdout = take_bulk(stream, b"SOUT", dialect, limits::STREAM_BYTES_MAX)?;
    let length = take(stream, b"DOTO")?;
    if status != 0 && length != 0 {
        return Err(Malformed::OutputOfFailure.into());
    }
    let output = take_bulk_body(stream, b"DOTO", length, dialect, limits::OUTPUT_BYTES_MAX)?;
    let reply = Reply { status, stderr, stdout, output };
    if dialect == Dialect::Native {
        let length = take(stream, b"CSUM")?;
        Checksum::of_reply(request, &reply).check(&take_hex(stream, b"CSUM", length)?)?;
    }
    Ok(reply)
}

/// Reads the answer to [`super::request::encode_identify`].
///
/// # Errors
/// As [`read`]. A stock distccd closes the connection without a byte.
pub fn read_identity(stream: &mut impl Read) -> Result<Identity, WireError> {
    take_version(stream, Dialect::Native)?;
    let length = take(stream, b"IDEN")?;
    let body = take_body(stream, b"IDEN", length, limits::IDENTITY_BYTES_MAX)?;
    Identity::decode(&body).ok_or(Malformed::Identity.into())
}

fn take_version(stream: &mut impl Read, dialect: Dialect) -> Result<(), WireError> {
    loop {
        match take_any(stream)? {
            (token, 0) if &token == b"ALIV" && dialect == Dialect::Native => {}
            (token, version) if &token == b"DONE" => {
                return match version == dialect.version() {
                    true => Ok(()),
                    false => Err(Malformed::Version(version).into()),
                };
            }
            (found, _) => return Err(Malformed::Token { wanted: *b"DONE", found }.into()),
        }
    }
}
