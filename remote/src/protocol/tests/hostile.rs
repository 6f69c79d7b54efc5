//! What a hostile peer may send, case by case.

use super::*;
use std::io::Read;

#[test]
fn an_output_of_a_failure_is_refused_unread() {
    let (_, sum) = request::encode(Dialect::Plain, &job(), "");
    let head = [("DONE", 1, &b""[..]), ("STAT", 256, b""), ("SERR", 0, b""), ("SOUT", 0, b"")];
    let bytes = [message(&head), message(&[("DOTO", u32::MAX, b"")])].concat();
    let result = read_reply(Dialect::Plain, &bytes, &sum);
    assert_eq!(malformed(result), Some(Malformed::OutputOfFailure));
    let reply = Reply { status: 256, ..reply() };
    assert_eq!(response::check(&reply), Err(Malformed::OutputOfFailure));
}

#[test]
fn numbers_are_eight_hex_digits_of_either_case() {
    let request = |digits: &str| {
        let head = [&start(1)[..], b"DOTI", digits.as_bytes()].concat();
        read_request(&[&head[..], &[b' '; 0xab]].concat())
    };
    for digits in ["000000ab", "000000AB", "000000aB"] {
        let Ok(Request::Compile { job, .. }) = request(digits) else { panic!("{digits}") };
        assert_eq!(job.source.len(), 0xab);
    }
    for digits in
        ["+00000ab", " 00000ab", "-00000ab", "0x0000ab", "000000a ", "0000 0ab", "000000a\0"]
    {
        assert_eq!(malformed(request(digits)), Some(Malformed::Parameter(*b"DOTI")), "{digits}");
    }
}

#[test]
fn versions_that_are_not_spoken_are_refused() {
    for version in [0, 4, u32::MAX, 0x7263_0000, 0x7263_0002] {
        let result = read_request(&start(version));
        assert_eq!(malformed(result), Some(Malformed::Version(version)));
    }
}

#[test]
fn wrong_tokens_are_named() {
    let result = read_request(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(malformed(result), Some(Malformed::Parameter(*b"GET ")));
    let result = read_request(&message(&[("DIST", 1, b""), ("ARGV", 1, b"x")]));
    let wanted = Malformed::Token { wanted: *b"ARGC", found: *b"ARGV" };
    assert_eq!(wanted.to_string(), "ARGV came in the place of ARGC");
    assert_eq!(malformed(result), Some(wanted));
    let error = read_request(b"\x1b[2J00000000").unwrap_err();
    assert_eq!(error.to_string(), "\\x1b[2J came in the place of DIST");
    let tokens = [
        message(&[("DIST", 0x7263_0001, b""), ("DOTI", 0, b"")]),
        [start(0x7263_0001), message(&[("DOTI", 0, b"")])].concat(),
        [start(1), message(&[("ARGV", 0, b"")])].concat(),
    ];
    for bytes in tokens {
        assert!(matches!(malformed(read_request(&bytes)), Some(Malformed::Token { .. })));
    }
}

#[test]
fn the_number_of_arguments_has_limits() {
    for count in [0, limits::ARGUMENTS_MAX + 1, u32::MAX] {
        let result = read_request(&message(&[("DIST", 1, b""), ("ARGC", count, b"")]));
        let wanted = Malformed::TooLong { token: *b"ARGC", length: count as usize };
        assert_eq!(malformed(result), Some(wanted));
    }
    let full = Job { arguments: vec![b"a".to_vec(); limits::ARGUMENTS_MAX as usize], ..job() };
    assert_eq!(request::check(&full), Ok(()));
    let (bytes, _) = request::encode(Dialect::Plain, &full, "");
    assert!(read_request(&bytes).is_ok());
    for count in [0, limits::ARGUMENTS_MAX as usize + 1] {
        let job = Job { arguments: vec![b"a".to_vec(); count], ..job() };
        let (bytes, _) = request::encode(Dialect::Plain, &job, "");
        assert_eq!(malformed(read_request(&bytes)), request::check(&job).err());
    }
}

#[test]
fn arguments_have_limits() {
    let word = limits::ARGUMENT_BYTES_MAX as usize;
    let fits = limits::COMMAND_BYTES_MAX / word;
    let refused = [
        vec![vec![b'a'; word + 1]],
        vec![vec![b'a'; word]; fits + 1],
        vec![b"gcc".to_vec(), b"-DX=\0".to_vec()],
    ];
    for arguments in refused {
        let job = Job { arguments, ..job() };
        assert!(request::check(&job).is_err());
        let (bytes, _) = request::encode(Dialect::Plain, &job, "");
        assert!(malformed(read_request(&bytes)).is_some());
    }
    let job = Job { arguments: vec![vec![b'a'; word]; fits], ..job() };
    assert_eq!(request::check(&job), Ok(()));
    assert!(read_request(&request::encode(Dialect::Plain, &job, "").0).is_ok());
}

/// Notes the longest buffer that anybody wanted filled.
struct Wanting<'a> {
    bytes: &'a [u8],
    longest: usize,
}

impl Read for Wanting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.longest = self.longest.max(buffer.len());
        self.bytes.read(buffer)
    }
}

#[test]
fn a_length_alone_takes_no_memory() {
    let longest_buffer = 300 << 10;
    let allowed = limits::SOURCE_BYTES_MAX as u32;
    for length in [allowed, allowed + 1, u32::MAX] {
        for version in [1, 2] {
            let bytes = [start(version), message(&[("DOTI", length, b"x")])].concat();
            let mut stream = Wanting { bytes: &bytes, longest: 0 };
            assert!(request::read(&mut stream).is_err());
            assert!(stream.longest < longest_buffer);
        }
        for token in ["CDIR", "NFIL"] {
            let mut packets = vec![("DIST", 3, &b""[..]), (token, length, b"x")];
            if token == "NFIL" {
                packets.splice(1..1, [("CDIR", 1, &b"/"[..]), ("ARGC", 1, b""), ("ARGV", 1, b"x")]);
            }
            let bytes = message(&packets);
            let mut stream = Wanting { bytes: &bytes, longest: 0 };
            assert!(request::read(&mut stream).is_err());
            assert!(stream.longest < longest_buffer);
        }
        let head = [("DONE", 1, &b""[..]), ("STAT", 0, b""), ("SERR", 0, b""), ("SOUT", 0, b"")];
        let bytes = [message(&head), message(&[("DOTO", length, b"x")])].concat();
        let mut stream = Wanting { bytes: &bytes, longest: 0 };
        let (_, sum) = request::encode(Dialect::Plain, &job(), "");
        assert!(response::read(&mut stream, Dialect::Plain, &sum).is_err());
        assert!(stream.longest < longest_buffer);
    }
}

/// The source of a request, packed by hand.
fn read_source(dialect: Dialect, packed: &[u8]) -> Result<Vec<u8>, Option<Malformed>> {
    let bytes = message(&[("DOTI", packed.len() as u32, packed)]);
    let source = packet::take_bulk(&mut &bytes[..], b"DOTI", dialect, 1 << 20);
    source.map_err(|error| malformed::<()>(Err(error)))
}

#[test]
fn bodies_that_unpack_to_more_than_the_limit_are_refused() {
    let refused = Err(Some(Malformed::Compression(*b"DOTI")));
    let fits = vec![b'x'; 1 << 20];
    let bomb = vec![b'x'; (1 << 20) + 1];
    let zstd = |plain: &[u8]| zstd::bulk::compress(plain, 19).unwrap();
    assert_eq!(read_source(Dialect::Lzo, &crate::lzo::compress(&fits)), Ok(fits.clone()));
    assert_eq!(read_source(Dialect::Lzo, &crate::lzo::compress(&bomb)), refused);
    assert_eq!(read_source(Dialect::Native, &zstd(&fits)), Ok(fits));
    assert_eq!(read_source(Dialect::Native, &zstd(&bomb)), refused);
    // A frame that does not say how much it holds.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    io::Write::write_all(&mut encoder, &bomb).unwrap();
    assert_eq!(read_source(Dialect::Native, &encoder.finish().unwrap()), refused);
}

#[test]
fn one_body_is_one_stream() {
    let refused = Err(Some(Malformed::Compression(*b"DOTI")));
    let text = job().source;
    let lzo = crate::lzo::compress(&text);
    let frame = zstd::bulk::compress(&text, 1).unwrap();
    let skipped = b"\x50\x2a\x4d\x18\x01\0\0\0x";
    for tail in [&b"x"[..], b"\0", &lzo, &frame, skipped] {
        assert_eq!(read_source(Dialect::Lzo, &[&lzo, tail].concat()), refused);
        assert_eq!(read_source(Dialect::Native, &[&frame, tail].concat()), refused);
    }
    assert_eq!(read_source(Dialect::Native, &[&skipped[..], &frame].concat()), refused);
    assert_eq!(read_source(Dialect::Lzo, b"\x11\0\0"), Ok(Vec::new()));
    for body in [&b"x"[..], &lzo[..lzo.len() - 1], &frame[..frame.len() - 1]] {
        assert_eq!(read_source(Dialect::Lzo, body), refused);
        assert_eq!(read_source(Dialect::Native, body), refused);
    }
}

#[test]
fn a_frame_that_lies_about_its_content_is_refused() {
    let text = job().source;
    let honest = zstd::bulk::compress(&text, 1).unwrap();
    assert_eq!(honest[4], 0x60, "one segment, a content size of two octets");
    for lie in [0u16, 1, u16::MAX] {
        let mut frame = honest.clone();
        frame[5..7].copy_from_slice(&lie.to_le_bytes());
        assert!(read_source(Dialect::Native, &frame).is_err());
    }
    // A single segment of 512 MiB would have to be held at once.
    let head = [&honest[..4], &[0xa0], &(512u32 << 20).to_le_bytes()].concat();
    let refused = Err(Some(Malformed::Compression(*b"DOTI")));
    assert_eq!(read_source(Dialect::Native, &[&head, &honest[7..]].concat()), refused);
}

#[test]
fn requests_of_pump_mode_are_read_to_their_end_and_thrown_away() {
    let files =
        [("NAME", 4, &b"/t.c"[..]), ("FILE", 2, b"xy"), ("NAME", 2, b"/i"), ("LINK", 1, b"j")];
    let head = [("DIST", 3, &b""[..]), ("CDIR", 1, b"/"), ("ARGC", 1, b""), ("ARGV", 3, b"gcc")];
    let bytes = [message(&head), message(&[("NFIL", 2, b"")]), message(&files)].concat();
    let mut stream = &bytes[..];
    assert_eq!(request::read(&mut stream).unwrap(), Request::Pump);
    assert!(stream.is_empty());
    for end in 0..bytes.len() {
        assert!(matches!(read_request(&bytes[..end]), Err(WireError::Io(_))), "{end}");
    }
    let half = limits::PUMP_BYTES_MAX as u32 / 2 + 1;
    let mut zeros = [message(&head), message(&[("NFIL", 1, b""), ("NAME", half, b"")])].concat();
    zeros.resize(zeros.len() + half as usize, 0);
    zeros.extend_from_slice(&message(&[("FILE", half, b"")]));
    let wanted = Malformed::TooLong { token: *b"FILE", length: half as usize };
    assert_eq!(malformed(read_request(&zeros)), Some(wanted));
}

#[test]
fn a_refusal_of_pump_mode_reads_as_distcc_has_it() {
    let bytes = response::encode_pump_refusal(b"no pump mode here\n");
    let packed = crate::lzo::compress(b"no pump mode here\n");
    let length = packed.len() as u32;
    let head = [("DONE", 3, &b""[..]), ("STAT", 0x6f00, b""), ("SERR", length, &packed)];
    assert_eq!(bytes, [message(&head), message(&[("SOUT", 0, b""), ("DOTO", 0, b"")])].concat());
}

#[test]
fn digests_are_64_digits_in_lower_case() {
    let upper = COMPILER.to_uppercase();
    for digest in [&upper, &COMPILER[1..], &format!("{COMPILER}0"), "", &COMPILER.replace('0', "g")]
    {
        let (bytes, _) = request::encode(Dialect::Native, &job(), digest);
        assert!(malformed(read_request(&bytes)).is_some(), "{digest}");
    }
}
