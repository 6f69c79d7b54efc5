//! What a client asks of a compile daemon.

use super::packet::{put, put_bulk, put_plain, skip_body, take, take_any, take_body, take_bulk};
use super::{Checksum, Dialect, Malformed, PUMP_VERSION, WireError, limits};
use crate::Job;
use std::io::Read;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Compile this.
    Compile {
        /// In which the answer is to be.
        dialect: Dialect,
        /// What to compile.
        job: Job,
        /// The digest of the compiler that the client has, in hex; only an rcache client says it.
        compiler: Option<String>,
        /// Over the request; the answer's checksum builds on it.
        checksum: Checksum,
    },
    /// Say which compiler this command would run.
    Identify {
        /// The compiler's bare name and the options that choose the target.
        arguments: Vec<Vec<u8>>,
    },
    /// distcc's protocol 3 (pump mode), read and thrown away: nothing answers it here.
    Pump,
}

/// Whether a job may be sent: a host would refuse what is beyond the limits.
///
/// # Errors
/// What is beyond them.
pub fn check(job: &Job) -> Result<(), Malformed> {
    check_arguments(&job.arguments)?;
    match job.source.len() > limits::SOURCE_BYTES_MAX {
        true => Err(Malformed::TooLong { token: *b"DOTI", length: job.source.len() }),
        false => Ok(()),
    }
}

/// A request to compile, and the checksum that its answer builds on. `compiler` is the digest of
/// the client's compiler, 64 hex digits, for [`Dialect::Native`]. The job must pass [`check`].
pub fn encode(dialect: Dialect, job: &Job, compiler: &str) -> (Vec<u8>, Checksum) {
    let checksum = Checksum::of_request(dialect, compiler, job);
    // Text shrinks to a third or less.
    let shrinks_to = if dialect == Dialect::Plain { 1 } else { 3 };
    let mut bytes = Vec::with_capacity(job.source.len() / shrinks_to + 1024);
    put(&mut bytes, b"DIST", dialect.version());
    if dialect == Dialect::Native {
        put_plain(&mut bytes, b"WANT", compiler.as_bytes());
    }
    put_arguments(&mut bytes, &job.arguments);
    put_bulk(&mut bytes, b"DOTI", &job.source, dialect);
    if dialect == Dialect::Native {
        put_plain(&mut bytes, b"CSUM", checksum.to_hex().as_bytes());
    }
    (bytes, checksum)
}

/// The question which compiler a command would run.
pub fn encode_identify(arguments: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, b"DIST", Dialect::Native.version());
    put_arguments(&mut bytes, arguments);
    put(&mut bytes, b"IDEN", 0);
    bytes
}

fn put_arguments(bytes: &mut Vec<u8>, arguments: &[Vec<u8>]) {
    put(bytes, b"ARGC", arguments.len() as u32);
    arguments.iter().for_each(|argument| put_plain(bytes, b"ARGV", argument));
}

/// Reads one request.
///
/// # Errors
/// The stream's, or what is wrong with the request; the peer is then to be cut off.
pub fn read(stream: &mut impl Read) -> Result<Request, WireError> {
    let version = take(stream, b"DIST")?;
    if version == PUMP_VERSION {
        return read_pump(stream);
    }
    match Dialect::of_version(version) {
        Some(Dialect::Native) => read_native(stream),
        Some(dialect) => {
            let arguments = take_arguments(stream)?;
            read_job(stream, dialect, arguments, "")
        }
        None => Err(Malformed::Version(version).into()),
    }
}

fn read_native(stream: &mut impl Read) -> Result<Request, WireError> {
    let (token, parameter) = take_any(stream)?;
    match &token {
        b"WANT" => {
            let compiler = take_hex(stream, b"WANT", parameter)?;
            let arguments = take_arguments(stream)?;
            read_job(stream, Dialect::Native, arguments, &compiler)
        }
        b"ARGC" => {
            let arguments = take_counted_arguments(stream, parameter)?;
            match take(stream, b"IDEN")? {
                0 => Ok(Request::Identify { arguments }),
                length => {
                    Err(Malformed::TooLong { token: *b"IDEN", length: length as usize }.into())
                }
            }
        }
        _ => Err(Malformed::Token { wanted: *b"WANT", found: token }.into()),
    }
}

fn read_job(
    stream: &mut impl Read,
    dialect: Dialect,
    arguments: Vec<Vec<u8>>,
    compiler: &str,
) -> Result<Request, WireError> {
    let source = take_bulk(stream, b"DOTI", dialect, limits::SOURCE_BYTES_MAX)?;
    let job = Job { arguments, source };
    let checksum = Checksum::of_request(dialect, compiler, &job);
    let native = dialect == Dialect::Native;
    if native {
        let length = take(stream, b"CSUM")?;
        checksum.check(&take_hex(stream, b"CSUM", length)?)?;
    }
    Ok(Request::Compile { dialect, job, compiler: native.then(|| compiler.to_owned()), checksum })
}

/// 64 hex digits.
pub(super) fn take_hex(
    stream: &mut impl Read,
    token: super::packet::Token,
    length: u32,
) -> Result<String, WireError> {
    let body = take_body(stream, token, length, Checksum::HEX_LEN)?;
    let text = String::from_utf8(body).unwrap_or_default();
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match text.len() == Checksum::HEX_LEN && text.bytes().all(hex) {
        true => Ok(text),
        false => Err(Malformed::Digest(*token).into()),
    }
}

fn take_arguments(stream: &mut impl Read) -> Result<Vec<Vec<u8>>, WireError> {
    let count = take(stream, b"ARGC")?;
    take_counted_arguments(stream, count)
}

fn take_counted_arguments(stream: &mut impl Read, count: u32) -> Result<Vec<Vec<u8>>, WireError> {
    check_count(count as usize)?;
    let mut arguments = Vec::new();
    let mut total = 0;
    for _ in 0..count {
        let length = take(stream, b"ARGV")?;
        let argument = take_body(stream, b"ARGV", length, limits::ARGUMENT_BYTES_MAX as usize)?;
        total += argument.len();
        if total > limits::COMMAND_BYTES_MAX {
            return Err(Malformed::TooLong { token: *b"ARGV", length: total }.into());
        }
        arguments.push(argument);
    }
    check_arguments(&arguments)?;
    Ok(arguments)
}

fn check_count(count: usize) -> Result<(), Malformed> {
    match count == 0 || count > limits::ARGUMENTS_MAX as usize {
        true => Err(Malformed::TooLong { token: *b"ARGC", length: count }),
        false => Ok(()),
    }
}

fn check_arguments(arguments: &[Vec<u8>]) -> Result<(), Malformed> {
    check_count(arguments.len())?;
    let total = arguments.iter().map(Vec::len).sum();
    let longest = arguments.iter().map(Vec::len).max().unwrap_or(0);
    if longest > limits::ARGUMENT_BYTES_MAX as usize || total > limits::COMMAND_BYTES_MAX {
        return Err(Malformed::TooLong { token: *b"ARGV", length: total });
    }
    match arguments.iter().any(|argument| argument.contains(&0)) {
        true => Err(Malformed::Nul),
        false => Ok(()),
    }
}

/// `CDIR ARGC ARGV* NFIL (NAME (FILE | LINK))*`, thrown away as it comes.
fn read_pump(stream: &mut impl Read) -> Result<Request, WireError> {
    let mut left = limits::PUMP_BYTES_MAX;
    let length = take(stream, b"CDIR")?;
    skip(stream, *b"CDIR", length, &mut left)?;
    take_arguments(stream)?;
    let count = take(stream, b"NFIL")?;
    if count > limits::PUMP_FILES_MAX {
        return Err(Malformed::TooLong { token: *b"NFIL", length: count as usize }.into());
    }
    for _ in 0..count {
        let length = take(stream, b"NAME")?;
        skip(stream, *b"NAME", length, &mut left)?;
        let (token, length) = take_any(stream)?;
        if &token != b"FILE" && &token != b"LINK" {
            return Err(Malformed::Token { wanted: *b"FILE", found: token }.into());
        }
        skip(stream, token, length, &mut left)?;
    }
    Ok(Request::Pump)
}

/// Passes over a body, as long as all of them together keep their limit.
fn skip(
    stream: &mut impl Read,
    token: [u8; 4],
    length: u32,
    left: &mut usize,
) -> Result<(), WireError> {
    let length_left = left.checked_sub(length as usize);
    *left = length_left.ok_or(Malformed::TooLong { token, length: length as usize })?;
    skip_body(stream, length)
}
