//! What workers say of themselves.

use super::*;
use crate::protocol::identity::CompilerIdentity;

fn identity() -> Identity {
    let files = vec![("cc1 plus".to_owned(), "ab".to_owned()), ("as".to_owned(), "cd".to_owned())];
    let banner = "gcc (Debian) 12.2.0 — é".to_owned();
    let compiler = Ok(CompilerIdentity { digest: COMPILER.to_owned(), banner, files });
    Identity { worker: "0.1.0".to_owned(), slots: 16, compiler }
}

#[test]
fn identities_survive_the_wire() {
    let arguments = vec![b"g++".to_vec(), b"-m32".to_vec()];
    let wanted = Request::Identify { arguments: arguments.clone() };
    assert_eq!(read_request(&request::encode_identify(&arguments)).unwrap(), wanted);
    let error = Identity { compiler: Err("there is no g++".to_owned()), ..identity() };
    let bare = CompilerIdentity { digest: "ab".to_owned(), ..Default::default() };
    let bare = Identity { compiler: Ok(bare), ..identity() };
    for identity in [identity(), error, bare] {
        let bytes = response::encode_identity(&identity);
        assert_eq!(response::read_identity(&mut &bytes[..]).unwrap(), identity);
        for end in 0..bytes.len() {
            assert!(response::read_identity(&mut &bytes[..end]).is_err(), "{end}");
        }
    }
}

#[test]
fn no_identity_moves_the_cursor() {
    let evil = "evil\n\r\x1b[2J".to_owned();
    let said = Identity { compiler: Err(evil), ..identity() };
    let heard = Identity::decode(&said.encode()).unwrap();
    assert_eq!(heard.compiler, Err("evil   [2J".to_owned()));
    assert_eq!(Identity::decode(b"rcache-worker \x1b[2J\nslots 1\nerror x\n"), None);
    assert_eq!(Identity::decode("rcache-worker \u{9b}2J\nslots 1\nerror x\n".as_bytes()), None);
}

#[test]
fn what_is_no_identity_is_refused() {
    let texts = [
        "",
        "\n",
        "rcache-worker 1\n",
        "rcache-worker 1\nslots 1\n",
        "rcache-worker 1\nslots -1\nerror x\n",
        "rcache-worker 1\nslots 4294967296\nerror x\n",
        "rcache-worker 1\nslots 1\nerror x\nmore\n",
        "rcache-worker 1\nslots 1\nerror x",
        "rcache-worker 1\nslots 1\ncompiler ab\n",
        "rcache-worker 1\nslots 1\ncompiler ab\nbanner b\nfile ab\n",
        "rcache-worker 1\nslots 1\ncompiler ab\nbanner b\nmore\n",
    ];
    for text in texts {
        assert_eq!(Identity::decode(text.as_bytes()), None, "{text:?}");
        let length = text.len() as u32;
        let head = ("DONE", Dialect::Native.version(), &b""[..]);
        let bytes = message(&[head, ("IDEN", length, text.as_bytes())]);
        assert_eq!(malformed(response::read_identity(&mut &bytes[..])), Some(Malformed::Identity));
    }
    let asked = [start(0x7263_0001), message(&[("IDEN", 1, b"x")])].concat();
    assert!(malformed(read_request(&asked)).is_some());
}

proptest! {
    #[test]
    fn any_identity_round_trips(
        names in proptest::collection::vec(("[!-~]{1,8}", "[ -~]{0,20}"), 0..5),
        text in "\\PC{0,40}",
        slots in any::<u32>(),
    ) {
        let files = names.into_iter().map(|(digest, name)| (name, digest)).collect();
        let compiler = Ok(CompilerIdentity { digest: text.clone(), banner: text.clone(), files });
        for compiler in [compiler, Err(text.clone())] {
            let identity = Identity { worker: text.clone(), slots, compiler };
            prop_assert_eq!(Identity::decode(&identity.encode()), Some(identity));
        }
    }
}
