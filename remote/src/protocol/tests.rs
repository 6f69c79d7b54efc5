//! Both directions of every dialect: round trips, and what a hostile peer may send.

mod captures;
mod hostile;
mod identities;

use super::identity::Identity;
use super::request::Request;
use super::*;
use proptest::prelude::*;

const DIALECTS: [Dialect; 3] = [Dialect::Plain, Dialect::Lzo, Dialect::Native];
const COMPILER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn job() -> Job {
    let words = ["gcc", "-O2", "-c", "t.c", "-o", "t.o", ""];
    let arguments = words.map(|word| word.as_bytes().to_vec()).to_vec();
    Job { arguments, source: b"int add(int a, int b) { return a + b; }\n".repeat(9) }
}

fn reply() -> Reply {
    let stderr = "t.c:1:1: warning: “x”\n".into();
    Reply { status: 0, stderr, stdout: Vec::new(), output: b"\x7fELF\0\0".repeat(50) }
}

fn read_request(mut bytes: &[u8]) -> Result<Request, WireError> {
    request::read(&mut bytes)
}

fn read_reply(dialect: Dialect, mut bytes: &[u8], sum: &Checksum) -> Result<Reply, WireError> {
    response::read(&mut bytes, dialect, sum)
}

fn malformed<T>(result: Result<T, WireError>) -> Option<Malformed> {
    match result {
        Err(WireError::Malformed(malformed)) => Some(malformed),
        _ => None,
    }
}

/// A message from tokens, each with the parameter and body that are given.
fn message(packets: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let packet = |&(token, parameter, body): &(&str, u32, &[u8])| {
        [format!("{token}{parameter:08x}").as_bytes(), body].concat()
    };
    packets.iter().flat_map(packet).collect()
}

/// A request of version 1 up to its source.
fn start(version: u32) -> Vec<u8> {
    message(&[("DIST", version, b""), ("ARGC", 1, b""), ("ARGV", 3, b"gcc")])
}

#[test]
fn requests_survive_the_wire() {
    for dialect in DIALECTS {
        for source in [job().source, Vec::new(), vec![0; 1 << 20]] {
            let job = Job { source, ..job() };
            let (bytes, sum) = request::encode(dialect, &job, COMPILER);
            let compiler = (dialect == Dialect::Native).then(|| COMPILER.to_owned());
            let wanted = Request::Compile { dialect, job, compiler, checksum: sum };
            assert_eq!(read_request(&bytes).unwrap(), wanted);
        }
    }
}

#[test]
fn replies_survive_the_wire() {
    let failed = Reply { status: 1 << 8, output: Vec::new(), ..reply() };
    let killed = Reply { status: 139, ..failed.clone() };
    let empty = Reply { output: Vec::new(), ..reply() };
    for dialect in DIALECTS {
        let (_, sum) = request::encode(dialect, &job(), COMPILER);
        for reply in [&reply(), &failed, &killed, &empty] {
            assert_eq!(response::check(reply), Ok(()));
            let bytes = response::encode(dialect, reply, &sum);
            assert_eq!(&read_reply(dialect, &bytes, &sum).unwrap(), reply);
        }
    }
}

#[test]
fn every_truncation_is_a_closed_connection() {
    for dialect in DIALECTS {
        let (bytes, sum) = request::encode(dialect, &job(), COMPILER);
        for end in 0..bytes.len() {
            let error = read_request(&bytes[..end]).unwrap_err();
            assert_eq!(error.to_string(), "the connection was closed", "{dialect:?} {end}");
        }
        let bytes = response::encode(dialect, &reply(), &sum);
        for end in 0..bytes.len() {
            let error = read_reply(dialect, &bytes[..end], &sum).unwrap_err();
            assert_eq!(error.to_string(), "the connection was closed", "{dialect:?} {end}");
        }
    }
}

#[test]
fn no_changed_octet_between_rcaches_changes_what_is_said() {
    let (bytes, sum) = request::encode(Dialect::Native, &job(), COMPILER);
    let answer = response::encode(Dialect::Native, &reply(), &sum);
    let wanted = read_request(&bytes).unwrap();
    let mut passed = 0;
    for flip in [0x01, 0x02, 0x10, 0x20, 0x80, 0xff] {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            if let Ok(request) = read_request(&changed) {
                assert_eq!(request, wanted, "octet {at} ^ {flip}");
                passed += 1;
            }
        }
        for at in 0..answer.len() {
            let mut changed = answer.clone();
            changed[at] ^= flip;
            if let Ok(found) = read_reply(Dialect::Native, &changed, &sum) {
                assert_eq!(found, reply(), "octet {at} ^ {flip}");
                passed += 1;
            }
        }
    }
    // Hex digits in upper case, and bits of a frame that mean nothing.
    assert!(passed < 20, "{passed} changes went unnoticed");
}

#[test]
fn an_answer_to_another_request_is_refused() {
    let (_, sum) = request::encode(Dialect::Native, &job(), COMPILER);
    let other = Job { source: b"int other;".to_vec(), ..job() };
    let (_, other) = request::encode(Dialect::Native, &other, COMPILER);
    let bytes = response::encode(Dialect::Native, &reply(), &other);
    let result = read_reply(Dialect::Native, &bytes, &sum);
    assert_eq!(malformed(result), Some(Malformed::Checksum));
}

#[test]
fn signs_of_life_come_before_answers_of_rcaches_own_workers_only() {
    for dialect in DIALECTS {
        let (_, sum) = request::encode(dialect, &job(), COMPILER);
        let answer = response::encode(dialect, &reply(), &sum);
        let bytes = [&response::ALIVE.repeat(9), &answer[..]].concat();
        let result = read_reply(dialect, &bytes, &sum);
        match dialect {
            Dialect::Native => assert_eq!(result.unwrap(), reply()),
            _ => assert!(matches!(malformed(result), Some(Malformed::Token { .. }))),
        }
        let late = [&answer[..12], response::ALIVE, &answer[12..]].concat();
        assert!(malformed(read_reply(dialect, &late, &sum)).is_some());
    }
    let (_, sum) = request::encode(Dialect::Native, &job(), COMPILER);
    let result = read_reply(Dialect::Native, b"ALIV00000001", &sum);
    assert!(matches!(malformed(result), Some(Malformed::Token { .. })));
}

#[test]
fn an_answer_in_another_dialect_is_refused() {
    let (_, sum) = request::encode(Dialect::Plain, &job(), "");
    let bytes = response::encode(Dialect::Lzo, &reply(), &sum);
    assert_eq!(malformed(read_reply(Dialect::Plain, &bytes, &sum)), Some(Malformed::Version(2)));
}

fn octets(length_max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..length_max)
}

fn jobs() -> impl Strategy<Value = Job> {
    let argument = proptest::collection::vec(1..=255u8, 0..40);
    let arguments = proptest::collection::vec(argument, 1..12);
    (arguments, octets(3000)).prop_map(|(arguments, source)| Job { arguments, source })
}

fn replies() -> impl Strategy<Value = Reply> {
    let bodies = (octets(300), octets(300), octets(3000));
    (any::<i32>(), bodies).prop_map(|(status, (stderr, stdout, output))| {
        let status = if output.len() % 2 == 0 { 0 } else { status };
        let output = if status == 0 { output } else { Vec::new() };
        Reply { status, stderr, stdout, output }
    })
}

/// Packets in some order, with parameters that fit their bodies or do not.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let tokens = [
        "DIST", "ARGC", "ARGV", "DOTI", "WANT", "CSUM", "IDEN", "CDIR", "NFIL", "NAME", "FILE",
        "LINK", "DONE", "STAT", "SERR", "SOUT", "DOTO", "XXXX",
    ];
    let parameter = prop_oneof![
        4 => Just(None),
        2 => (0..4u32).prop_map(Some),
        1 => Just(Some(0x7263_0001)),
        1 => any::<u32>().prop_map(Some)
    ];
    let packet = (prop::sample::select(tokens.to_vec()), parameter, octets(80));
    proptest::collection::vec(packet, 0..12).prop_map(|packets| {
        let packet = |(token, parameter, body): &(&'static str, Option<u32>, Vec<u8>)| {
            message(&[(token, parameter.unwrap_or(body.len() as u32), body)])
        };
        packets.iter().flat_map(packet).collect()
    })
}

/// Nothing that is read holds more than what came, unpacked.
fn read_everything(bytes: &[u8]) {
    if let Ok(Request::Compile { job, .. }) = read_request(bytes) {
        assert!(job.source.len() <= bytes.len() * 255 * 32);
        assert_eq!(request::check(&job), Ok(()));
    }
    let (_, sum) = request::encode(Dialect::Plain, &job(), "");
    for dialect in DIALECTS {
        if let Ok(reply) = read_reply(dialect, bytes, &sum) {
            assert_eq!(response::check(&reply), Ok(()));
        }
    }
    if let Ok(identity) = response::read_identity(&mut &bytes[..]) {
        assert_eq!(Identity::decode(&identity.encode()), Some(identity));
    }
}

proptest! {
    #[test]
    fn any_request_round_trips(job in jobs(), dialect in prop::sample::select(DIALECTS.to_vec())) {
        let (bytes, sum) = request::encode(dialect, &job, COMPILER);
        let compiler = (dialect == Dialect::Native).then(|| COMPILER.to_owned());
        let wanted = Request::Compile { dialect, job, compiler, checksum: sum };
        prop_assert_eq!(read_request(&bytes).unwrap(), wanted);
    }

    #[test]
    fn any_reply_round_trips(reply in replies(), dialect in prop::sample::select(DIALECTS.to_vec())) {
        let (_, sum) = request::encode(dialect, &job(), COMPILER);
        let bytes = response::encode(dialect, &reply, &sum);
        prop_assert_eq!(read_reply(dialect, &bytes, &sum).unwrap(), reply);
    }

    #[test]
    fn random_octets_never_panic(bytes in octets(300), packets in packets(), version in 1..4u32) {
        read_everything(&bytes);
        read_everything(&packets);
        read_everything(&[start(version), packets].concat());
    }

    #[test]
    fn damage_never_panics(
        job in jobs(),
        dialect in prop::sample::select(DIALECTS.to_vec()),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..5),
    ) {
        let (mut bytes, _) = request::encode(dialect, &job, COMPILER);
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        read_everything(&bytes);
    }
}

/// A worker takes the text into a file and unpacks it into another: the same text and checksum as in
/// memory come of it.
fn received(bytes: &[u8]) -> Result<(Job, Checksum), WireError> {
    let mut stream = bytes;
    let request::Head::Compile(order) = request::read_head(&mut stream)? else { panic!("no job") };
    let mut taken = 0;
    let packed = order.receive(&mut stream, tempfile(), |count| {
        taken += count;
        Ok(())
    })?;
    assert!(stream.is_empty() && taken <= bytes.len());
    let mut plain = tempfile();
    let claimed = packed.claimed_checksum();
    let checksum = order.unpack(packed, &mut plain)?;
    assert_eq!(claimed, checksum);
    let mut source = Vec::new();
    std::io::Seek::rewind(&mut plain)?;
    plain.read_to_end(&mut source)?;
    Ok((Job { arguments: order.arguments, source }, checksum))
}

/// A file that nobody else has.
fn tempfile() -> std::fs::File {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("rcache-wire-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let file =
        std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

#[test]
fn a_request_through_files_says_the_same() {
    let digest = "a".repeat(64);
    for dialect in [Dialect::Plain, Dialect::Lzo, Dialect::Native] {
        for length in [0, 1, 70_000, 1_000_000] {
            let source = (0..length).map(|at: usize| b"int x;\n"[at * at % 7]).collect();
            let job = Job { arguments: vec![b"gcc".to_vec(), b"-c".to_vec()], source };
            let (bytes, checksum) = request::encode(dialect, &job, &digest);
            let (received, own) = received(&bytes).unwrap();
            assert!(received == job && own == checksum, "{dialect:?} {length}");
        }
    }
}

#[test]
fn a_request_through_files_is_as_strict() {
    let job = Job { arguments: vec![b"gcc".to_vec()], source: vec![b' '; 5_000] };
    let (bytes, _) = request::encode(Dialect::Native, &job, &"a".repeat(64));
    // The last digit of the checksum; the frame; an early end.
    let mut wrong = bytes.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let wrong = received_error(&wrong);
    assert!(matches!(wrong, WireError::Malformed(_)), "{wrong:?}");
    let at = bytes.windows(4).position(|four| four == b"DOTI").unwrap();
    let mut broken = bytes.clone();
    broken[at + 14] ^= 0xff;
    let broken = received_error(&broken);
    assert!(matches!(broken, WireError::Malformed(Malformed::Compression(_))), "{broken:?}");
    for end in [at + 4, at + 12, at + 20, bytes.len() - 1] {
        assert!(matches!(received_error(&bytes[..end]), WireError::Io(_)), "{end}");
    }
    // More than a text may have, in few bytes.
    let source = vec![0; limits::SOURCE_BYTES_MAX + 1];
    let bomb = Job { arguments: vec![b"gcc".to_vec()], source };
    for dialect in [Dialect::Lzo, Dialect::Native] {
        let (bytes, _) = request::encode(dialect, &bomb, &"a".repeat(64));
        let error = received_error(&bytes);
        assert!(matches!(error, WireError::Malformed(Malformed::Compression(_))), "{error:?}");
    }
}

fn received_error(bytes: &[u8]) -> WireError {
    let mut stream = bytes;
    let head = request::read_head(&mut stream);
    let order = match head {
        Ok(request::Head::Compile(order)) => order,
        Ok(other) => panic!("{other:?}"),
        Err(error) => return error,
    };
    match order.receive(&mut stream, tempfile(), |_| Ok(())) {
        Ok(packed) => order.unpack(packed, &mut tempfile()).unwrap_err(),
        Err(error) => error,
    }
}
