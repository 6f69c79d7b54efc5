//! What travels between a client and a compile daemon: bytes in, messages out, and back.
//!
//! ```text
//! packet   = token:4 octets, parameter:8 hex digits, [body of that many octets]
//! request  = DIST(version) ARGC(count) ARGV(length)* DOTI(length)          distcc 1 and 2
//! response = DONE(version) STAT(status) SERR(length) SOUT(length) DOTO(length)
//!
//! Between rcache and its own worker, version 72630001 (a stock distccd closes the connection):
//! hello    = DIST(72630001) ARGC(count) ARGV(length)* IDEN(0)
//! welcome  = DONE(72630001) IDEN(length)                                    see `identity`
//! request  = DIST(72630001) WANT(64) ARGC(count) ARGV(length)* DOTI(length) CSUM(64)
//! response = DONE(72630001) STAT(status) SERR(length) SOUT(length) DOTO(length) CSUM(64)
//! alive    = ALIV(0)                  now and then before a response or refusal: a job waits or runs
//! refusal  = DONE(72630001) STAT(status) SERR(length) SOUT(0) DOTO(0) CSUM(64)   status 6f00
//! ```
//!
//! Bodies of DOTI, SERR, SOUT and DOTO are plain in version 1, one LZO1X stream each in version 2, and
//! one zstd frame each in version 72630001; an empty one is a parameter of 0 without a body. WANT and
//! CSUM are 64 hex digits: the digest of the compiler that the client has, and BLAKE3 over everything
//! that the message says (see [`Checksum`]).

pub mod identity;
pub mod limits;
mod packet;
pub mod request;
pub mod response;

use crate::{Job, Reply};
use std::fmt;
use std::io::{self, Read};

/// distcc's pump mode.
pub(crate) const PUMP_VERSION: u32 = 3;

/// How the bulk of a message is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// distcc's protocol 1: not at all.
    Plain,
    /// distcc's protocol 2: LZO1X.
    Lzo,
    /// Between rcache and its own worker: zstd, and checksums.
    Native,
}

impl Dialect {
    /// The number that DIST and DONE carry. "rc" in ASCII, and 1.
    pub fn version(self) -> u32 {
        match self {
            Dialect::Plain => 1,
            Dialect::Lzo => 2,
            Dialect::Native => 0x7263_0001,
        }
    }

    /// The dialect of a number.
    pub fn of_version(version: u32) -> Option<Dialect> {
        let all = [Dialect::Plain, Dialect::Lzo, Dialect::Native];
        all.into_iter().find(|dialect| dialect.version() == version)
    }
}

/// BLAKE3 over everything that a message of [`Dialect::Native`] says, before compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(blake3::Hash);

impl Checksum {
    /// Hex digits of a checksum.
    pub const HEX_LEN: usize = 64;

    /// distcc's own dialects have no place for it, so nothing is hashed for them.
    const NONE: Checksum = Checksum(blake3::Hash::from_bytes([0; blake3::OUT_LEN]));

    /// As the peer says, unchecked.
    fn claimed(hex: &str) -> Checksum {
        blake3::Hash::from_hex(hex).map_or(Checksum::NONE, Checksum)
    }

    fn of_request(dialect: Dialect, compiler: &str, job: &Job) -> Checksum {
        if dialect != Dialect::Native {
            return Checksum::NONE;
        }
        let mut hasher = request_hasher(compiler, &job.arguments);
        field(&mut hasher, &job.source);
        Checksum(hasher.finalize())
    }

    /// The same, of a text that is read from somewhere.
    fn of_order(
        dialect: Dialect,
        compiler: &str,
        arguments: &[Vec<u8>],
        length: u64,
        source: &mut impl Read,
    ) -> io::Result<Checksum> {
        if dialect != Dialect::Native {
            return Ok(Checksum::NONE);
        }
        let mut hasher = request_hasher(compiler, arguments);
        hasher.update(&length.to_le_bytes());
        io::copy(source, &mut hasher)?;
        Ok(Checksum(hasher.finalize()))
    }

    fn of_reply(request: &Checksum, reply: &Reply) -> Checksum {
        let mut hasher = reply_hasher(request, reply);
        field(&mut hasher, &reply.output);
        Checksum(hasher.finalize())
    }

    fn to_hex(self) -> String {
        self.0.to_hex().to_string()
    }

    fn check(&self, hex: &str) -> Result<(), Malformed> {
        match self.to_hex() == hex {
            true => Ok(()),
            false => Err(Malformed::Checksum),
        }
    }
}

/// All of a request but its text.
fn request_hasher(compiler: &str, arguments: &[Vec<u8>]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_derive_key("rcache wire request 1");
    field(&mut hasher, compiler.as_bytes());
    hasher.update(&(arguments.len() as u64).to_le_bytes());
    arguments.iter().for_each(|argument| field(&mut hasher, argument));
    hasher
}

/// All of a reply but its output.
fn reply_hasher(request: &Checksum, reply: &Reply) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_derive_key("rcache wire reply 1");
    hasher.update(request.0.as_bytes());
    hasher.update(&reply.status.to_le_bytes());
    for body in [&reply.stderr, &reply.stdout] {
        field(&mut hasher, body);
    }
    hasher
}

fn field(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// Why no message could be read.
#[derive(Debug)]
pub enum WireError {
    /// The connection failed, or ended too early.
    Io(io::Error),
    /// The peer said something else.
    Malformed(Malformed),
}

/// What a peer got wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Another token was due.
    Token {
        /// What was due.
        wanted: [u8; 4],
        /// What came.
        found: [u8; 4],
    },
    /// The parameter after this token is not eight hex digits.
    Parameter([u8; 4]),
    /// A protocol that is not spoken here.
    Version(u32),
    /// A length or count beyond its limit, or no argument at all.
    TooLong {
        /// Whose.
        token: [u8; 4],
        /// What was claimed.
        length: usize,
    },
    /// A NUL within an argument.
    Nul,
    /// A body that cannot be unpacked, or unpacks to more than its limit.
    Compression([u8; 4]),
    /// Not 64 hex digits.
    Digest([u8; 4]),
    /// The message was changed on its way.
    Checksum,
    /// An identity that cannot be read.
    Identity,
    /// An output although the compile failed.
    OutputOfFailure,
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> WireError {
        WireError::Io(error)
    }
}

impl From<Malformed> for WireError {
    fn from(malformed: Malformed) -> WireError {
        WireError::Malformed(malformed)
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                write!(f, "the connection was closed")
            }
            WireError::Io(error) => write!(f, "{error}"),
            WireError::Malformed(malformed) => write!(f, "{malformed}"),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |token: &[u8; 4]| token.escape_ascii().to_string();
        match self {
            Malformed::Token { wanted, found } => {
                write!(f, "{} came in the place of {}", name(found), name(wanted))
            }
            Malformed::Parameter(token) => write!(f, "{} has no number", name(token)),
            Malformed::Version(version) => write!(f, "protocol {version} is not spoken here"),
            Malformed::TooLong { token, length } => {
                write!(f, "{} claims {length}, which is not allowed", name(token))
            }
            Malformed::Nul => write!(f, "an argument contains a NUL"),
            Malformed::Compression(token) => write!(f, "{} cannot be unpacked", name(token)),
            Malformed::Digest(token) => write!(f, "{} is not 64 hex digits", name(token)),
            Malformed::Checksum => write!(f, "the checksum is wrong"),
            Malformed::Identity => write!(f, "the worker's identity cannot be read"),
            Malformed::OutputOfFailure => write!(f, "an output came although the compile failed"),
        }
    }
}

impl std::error::Error for WireError {}
impl std::error::Error for Malformed {}

#[cfg(test)]
mod tests;
