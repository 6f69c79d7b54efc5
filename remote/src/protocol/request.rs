//! What a client asks of a compile daemon.

use super::packet::{
    WINDOW_LOG_MAX, put, put_bulk, put_plain, skip_body, take, take_any, take_body, take_bulk_body,
};
use super::{Checksum, Dialect, Malformed, PUMP_VERSION, WireError, limits};
use crate::Job;
use std::fs::File;
use std::io::{self, Read, Seek, Write};

/// A text is passed on in steps of this size.
const STEP_BYTES: usize = 64 << 10;

/// What a text takes to unpack, where its frame reaches back as far as it may.
const WINDOW_BYTES_MAX: usize = 1 << WINDOW_LOG_MAX;

/// No text that is worth having in memory unpacks to more than so many times its length: LZO1X cannot.
const EXPANSION_MAX: usize = 256;

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

/// What a request says before the text to compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// Compile the text that follows.
    Compile(Order),
    /// As [`Request::Identify`].
    Identify {
        /// The compiler's bare name and the options that choose the target.
        arguments: Vec<Vec<u8>>,
    },
    /// As [`Request::Pump`].
    Pump,
}

/// A compile whose text is still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// How the text is packed, and the answer is to be.
    pub dialect: Dialect,
    /// The command line.
    pub arguments: Vec<Vec<u8>>,
    /// The digest of the compiler that the client has, in hex; only an rcache client says it.
    pub compiler: Option<String>,
    /// Bytes of the text as it comes.
    packed_bytes: u32,
}

/// The text of an [`Order`] as it came, in a file.
#[derive(Debug)]
pub struct Packed {
    file: File,
    length: u64,
    /// What the client says that the checksum is.
    claimed: Option<String>,
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

/// Reads one request, with all that it says in memory.
///
/// # Errors
/// The stream's, or what is wrong with the request; the peer is then to be cut off.
pub fn read(stream: &mut impl Read) -> Result<Request, WireError> {
    let Order { dialect, arguments, compiler, packed_bytes } = match read_head(stream)? {
        Head::Compile(order) => order,
        Head::Identify { arguments } => return Ok(Request::Identify { arguments }),
        Head::Pump => return Ok(Request::Pump),
    };
    let source = take_bulk_body(stream, b"DOTI", packed_bytes, dialect, limits::SOURCE_BYTES_MAX)?;
    let job = Job { arguments, source };
    let checksum = Checksum::of_request(dialect, compiler.as_deref().unwrap_or_default(), &job);
    if let Some(claimed) = take_checksum(stream, dialect)? {
        checksum.check(&claimed)?;
    }
    Ok(Request::Compile { dialect, job, compiler, checksum })
}

/// Reads a request up to the text to compile, which [`Order::receive`] takes.
///
/// # Errors
/// As [`read`].
pub fn read_head(stream: &mut impl Read) -> Result<Head, WireError> {
    let version = take(stream, b"DIST")?;
    if version == PUMP_VERSION {
        return read_pump(stream).map(|()| Head::Pump);
    }
    match Dialect::of_version(version) {
        Some(Dialect::Native) => read_native(stream),
        Some(dialect) => {
            let arguments = take_arguments(stream)?;
            read_order(stream, dialect, arguments, None)
        }
        None => Err(Malformed::Version(version).into()),
    }
}

fn read_native(stream: &mut impl Read) -> Result<Head, WireError> {
    let (token, parameter) = take_any(stream)?;
    match &token {
        b"WANT" => {
            let compiler = take_hex(stream, b"WANT", parameter)?;
            let arguments = take_arguments(stream)?;
            read_order(stream, Dialect::Native, arguments, Some(compiler))
        }
        b"ARGC" => {
            let arguments = take_counted_arguments(stream, parameter)?;
            match take(stream, b"IDEN")? {
                0 => Ok(Head::Identify { arguments }),
                length => {
                    Err(Malformed::TooLong { token: *b"IDEN", length: length as usize }.into())
                }
            }
        }
        _ => Err(Malformed::Token { wanted: *b"WANT", found: token }.into()),
    }
}

fn read_order(
    stream: &mut impl Read,
    dialect: Dialect,
    arguments: Vec<Vec<u8>>,
    compiler: Option<String>,
) -> Result<Head, WireError> {
    let packed_bytes = take(stream, b"DOTI")?;
    let length = packed_bytes as usize;
    match length > limits::SOURCE_BYTES_MAX {
        true => Err(Malformed::TooLong { token: *b"DOTI", length }.into()),
        false => Ok(Head::Compile(Order { dialect, arguments, compiler, packed_bytes })),
    }
}

fn take_checksum(stream: &mut impl Read, dialect: Dialect) -> Result<Option<String>, WireError> {
    if dialect != Dialect::Native {
        return Ok(None);
    }
    let length = take(stream, b"CSUM")?;
    take_hex(stream, b"CSUM", length).map(Some)
}

impl Packed {
    /// What the client says that the checksum of its request is: for answers that say nothing of
    /// the text, which is not looked at then.
    pub fn claimed_checksum(&self) -> Checksum {
        self.claimed.as_deref().map_or(Checksum::NONE, Checksum::claimed)
    }
}

impl Order {
    /// Takes the text off the stream into a file, as it comes; `taken` hears of each step.
    ///
    /// # Errors
    /// As [`read`]; and those of the file and of `taken`.
    pub fn receive(
        &self,
        stream: &mut impl Read,
        mut file: File,
        mut taken: impl FnMut(usize) -> io::Result<()>,
    ) -> Result<Packed, WireError> {
        let mut step = [0; STEP_BYTES];
        let mut left = self.packed_bytes as usize;
        while left > 0 {
            let count = stream.read(&mut step[..left.min(STEP_BYTES)])?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            taken(count)?;
            file.write_all(&step[..count])?;
            left -= count;
        }
        let claimed = take_checksum(stream, self.dialect)?;
        Ok(Packed { file, length: self.packed_bytes.into(), claimed })
    }

    /// The most memory that [`Order::unpack`] takes, besides a few steps.
    pub fn unpack_bytes_max(&self) -> usize {
        let packed = self.packed_bytes as usize;
        match self.dialect {
            Dialect::Plain => 0,
            Dialect::Native => WINDOW_BYTES_MAX.min(packed.saturating_mul(EXPANSION_MAX)),
            Dialect::Lzo => {
                let plain = limits::SOURCE_BYTES_MAX.min(packed.saturating_mul(EXPANSION_MAX));
                packed + plain
            }
        }
    }

    /// Unpacks the text into another file, and gives the checksum on which the answer builds.
    ///
    /// # Errors
    /// As [`read`]; and those of the files.
    pub fn unpack(&self, packed: Packed, plain: &mut File) -> Result<Checksum, WireError> {
        let Packed { mut file, length, claimed } = packed;
        file.rewind()?;
        let broken = || WireError::from(Malformed::Compression(*b"DOTI"));
        match self.dialect {
            _ if length == 0 => {}
            Dialect::Plain => {
                io::copy(&mut file, plain)?;
            }
            Dialect::Lzo => {
                let mut bytes = Vec::with_capacity(length as usize);
                file.read_to_end(&mut bytes)?;
                let text = crate::lzo::decompress(&bytes, limits::SOURCE_BYTES_MAX);
                drop(bytes);
                plain.write_all(&text.map_err(|_| broken())?)?;
            }
            Dialect::Native => unpack_frame(file, plain)?,
        }
        let bytes = plain.stream_position()?;
        plain.rewind()?;
        let compiler = self.compiler.as_deref().unwrap_or_default();
        let checksum =
            Checksum::of_order(self.dialect, compiler, &self.arguments, bytes, &mut &*plain)?;
        match claimed {
            Some(claimed) => checksum.check(&claimed).map(|()| checksum).map_err(WireError::from),
            None => Ok(checksum),
        }
    }
}

/// One zstd frame, however little it claims to hold, and nothing after it.
fn unpack_frame(file: File, plain: &mut File) -> Result<(), WireError> {
    let broken = |_| WireError::from(Malformed::Compression(*b"DOTI"));
    let mut decoder = zstd::stream::read::Decoder::new(file)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    let mut step = vec![0; STEP_BYTES];
    let mut length = 0;
    loop {
        let count = decoder.read(&mut step).map_err(broken)?;
        length += count;
        if length > limits::SOURCE_BYTES_MAX {
            return Err(Malformed::Compression(*b"DOTI").into());
        }
        if count == 0 {
            break;
        }
        plain.write_all(&step[..count])?;
    }
    match decoder.finish().read(&mut [0])? {
        0 => Ok(()),
        _ => Err(Malformed::Compression(*b"DOTI").into()),
    }
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
fn read_pump(stream: &mut impl Read) -> Result<(), WireError> {
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
    Ok(())
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
