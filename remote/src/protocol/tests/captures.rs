//! Exchanges between distcc and distccd 3.4, as they went over the wire.

use super::*;

/// One exchange: `distcc gcc …` on one file, in versions 1 and 2.
struct Exchange {
    plain: [&'static [u8]; 2],
    packed: [&'static [u8]; 2],
    arguments: [&'static str; 6],
    source_end: &'static str,
    status: i32,
    stderr: &'static str,
    output_bytes: usize,
}

macro_rules! capture {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/captures/", $name, ".bin"))
    };
}

const GCC: &str = "x86_64-linux-gnu-gcc";

fn exchanges() -> [Exchange; 3] {
    [
        Exchange {
            plain: [capture!("v1-request"), capture!("v1-response")],
            packed: [capture!("v2-request"), capture!("v2-response")],
            arguments: [GCC, "-O2", "-c", "t.c", "-o", "t.o"],
            source_end: "# 2 \"t.c\" 2\nint f(int x) { return add(x, 7); }\n",
            status: 0,
            stderr: "",
            output_bytes: 1080,
        },
        Exchange {
            plain: [capture!("v1-warn-request"), capture!("v1-warn-response")],
            packed: [capture!("v2-warn-request"), capture!("v2-warn-response")],
            arguments: [GCC, "-Wall", "-c", "warn.c", "-o", "warn.o"],
            source_end: "int g(void){ int unused; return 1; }\n",
            status: 0,
            stderr: "warn.c: In function ‘g’:\n\
                     warn.c:1:18: warning: unused variable ‘unused’ [-Wunused-variable]\n",
            output_bytes: 1104,
        },
        Exchange {
            plain: [capture!("v1-fail-request"), capture!("v1-fail-response")],
            packed: [capture!("v2-fail-request"), capture!("v2-fail-response")],
            arguments: [GCC, "-Wall", "-c", "bad.c", "-o", "bad.o"],
            source_end: "int g(void){ int unused; return undeclared_x; }\n",
            status: 1 << 8,
            stderr: "bad.c: In function ‘g’:\n\
                     bad.c:1:33: error: ‘undeclared_x’ undeclared (first use in this function)\n\
                     bad.c:1:33: note: each undeclared identifier is reported only once for each \
                     function it appears in\n\
                     bad.c:1:18: warning: unused variable ‘unused’ [-Wunused-variable]\n\
                     bad.c:1:47: warning: control reaches end of non-void function [-Wreturn-type]\n",
            output_bytes: 0,
        },
    ]
}

fn decode(dialect: Dialect, [request, response]: [&[u8]; 2]) -> (Job, Reply) {
    let mut stream = request;
    let Request::Compile { dialect: spoken, job, compiler, checksum } =
        request::read(&mut stream).unwrap()
    else {
        panic!("not a request to compile");
    };
    assert_eq!((spoken, compiler), (dialect, None));
    assert!(stream.is_empty());
    let mut stream = response;
    let reply = response::read(&mut stream, dialect, &checksum).unwrap();
    assert!(stream.is_empty());
    (job, reply)
}

#[test]
fn captures_say_what_was_compiled() {
    for exchange in exchanges() {
        let (job, reply) = decode(Dialect::Plain, exchange.plain);
        assert_eq!(job.arguments, exchange.arguments.map(|word| word.as_bytes().to_vec()));
        assert!(job.source.ends_with(exchange.source_end.as_bytes()));
        assert_eq!(reply.status, exchange.status);
        assert_eq!(String::from_utf8(reply.stderr).unwrap(), exchange.stderr);
        assert_eq!(reply.stdout, b"");
        assert_eq!(reply.output.len(), exchange.output_bytes);
        assert_eq!(reply.output.starts_with(b"\x7fELF"), exchange.status == 0);
    }
}

#[test]
fn captures_of_both_versions_say_the_same() {
    for exchange in exchanges() {
        let plain = decode(Dialect::Plain, exchange.plain);
        assert_eq!(decode(Dialect::Lzo, exchange.packed), plain);
    }
}

#[test]
fn captures_of_version_1_are_written_to_the_byte() {
    for exchange in exchanges() {
        let (job, reply) = decode(Dialect::Plain, exchange.plain);
        let (bytes, sum) = request::encode(Dialect::Plain, &job, "");
        assert_eq!(bytes, exchange.plain[0]);
        assert_eq!(response::encode(Dialect::Plain, &reply, &sum), exchange.plain[1]);
    }
}

/// Where compressors differ, the rest is the same.
#[test]
fn captures_of_version_2_are_written_to_the_byte_but_for_what_is_packed() {
    for exchange in exchanges() {
        let (job, reply) = decode(Dialect::Lzo, exchange.packed);
        let (bytes, sum) = request::encode(Dialect::Lzo, &job, "");
        let head = bytes.windows(4).position(|token| token == b"DOTI").unwrap() + 4;
        assert_eq!(bytes[..head], exchange.packed[0][..head]);
        assert!(bytes.ends_with(b"\x11\0\0"));
        let bytes = response::encode(Dialect::Lzo, &reply, &sum);
        assert_eq!(bytes[..28], exchange.packed[1][..28]);
        assert_eq!(decode(Dialect::Lzo, [exchange.packed[0], &bytes]), (job, reply));
    }
}
