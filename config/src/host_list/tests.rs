//! Host lists as people write them, and what they are told when something is wrong.

use super::*;
use proptest::prelude::*;

fn tcp(name: &str, port: u16, slots: usize) -> Host {
    Host::Tcp { name: name.to_owned(), port, slots, lzo: false, down: false }
}

fn hosts(text: &str) -> Vec<Host> {
    HostList::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}")).hosts
}

fn error(text: &str) -> String {
    match HostList::parse(text) {
        Ok(list) => panic!("{text:?} gives {list:?}"),
        Err(error) => error.what,
    }
}

#[test]
fn every_form_of_a_host() {
    for (word, expected) in [
        ("k8vm0", tcp("k8vm0", 3632, 4)),
        ("k8vm0/16", tcp("k8vm0", 3632, 16)),
        ("k8vm0:4000", tcp("k8vm0", 4000, 4)),
        ("k8vm0/16:4000", tcp("k8vm0", 4000, 16)),
        ("k8vm0:4000/16", tcp("k8vm0", 4000, 16)),
        ("a/2:4000/3", tcp("a", 4000, 3)),
        ("a_b.c-d.example.", tcp("a_b.c-d.example.", 3632, 4)),
        ("192.0.2.7/8", tcp("192.0.2.7", 3632, 8)),
        ("[::1]", tcp("::1", 3632, 4)),
        ("[2001:db8::7]/3:1", tcp("2001:db8::7", 1, 3)),
        ("[fe80::1%eth0]:65535/3", tcp("fe80::1%eth0", 65535, 3)),
        ("localhost", Host::Local { slots: 2 }),
        ("localhost/7", Host::Local { slots: 7 }),
        ("localhost:3632", tcp("localhost", 3632, 4)),
        ("localhostx", tcp("localhostx", 3632, 4)),
    ] {
        assert_eq!(hosts(word), [expected], "{word}");
    }
    let packed = |down| Host::Tcp { name: "a".into(), port: 3632, slots: 5, lzo: true, down };
    assert_eq!(hosts("a/5,lzo"), [packed(false)]);
    assert_eq!(hosts("a/5,lzo,down a/5,down,lzo"), [packed(true), packed(true)]);
}

#[test]
fn blanks_comments_and_options() {
    let list = HostList::parse(
        "# first\n--randomize\ta/1\r\n\x0c b/2#glued c\n\n--localslots=3 --localslots_cpp/9 # x @\x0bd",
    )
    .unwrap();
    assert_eq!(list.hosts, [tcp("a", 3632, 1), tcp("b", 3632, 2)]);
    assert!(list.randomize);
    assert_eq!((list.local_slots, list.local_slots_cpp), (Some(3), Some(9)));
    for empty in ["", " \t\r\n\x0c\x0b", "#", "# a\n#b"] {
        assert!(HostList::parse(empty).unwrap().is_empty(), "{empty:?}");
    }
    assert!(!HostList::parse("--localslots=1").unwrap().is_empty());
}

#[test]
fn what_is_not_supported_is_named() {
    for (word, named) in [
        ("me@host/4", "ssh"),
        ("@host", "ssh"),
        ("+zeroconf", "+zeroconf"),
        ("a,lzo,cpp", "pump"),
        ("a,cpp", "pump"),
        ("a,auth", "authentication"),
        ("a,auth=name", "authentication"),
    ] {
        let error = error(&format!("ok/1 {word}"));
        assert!(error.contains(named) && error.contains("not supported"), "{error}");
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn mistakes_are_named() {
    for (word, named) in [
        ("a/0", "not a number of slots"),
        ("a/", "not a number of slots"),
        ("a/+1", "not a number of slots"),
        ("a/10001", "not a number of slots"),
        ("a/99999999999999999999999", "not a number of slots"),
        ("localhost/0", "not a number of slots"),
        ("localhost/2,lzo", "a number of slots only"),
        ("localhost/2:3632", "a number of slots only"),
        ("--localslots=0", "not a number of slots"),
        ("--localslots", "needs a number"),
        ("--localslot=4", "did you mean --localslots?"),
        ("--randomize=1", "takes no value"),
        ("--verbose", "no option"),
        ("-x", "no option"),
        ("a:0", "not a port"),
        ("a:65536", "not a port"),
        ("a:", "not a port"),
        ("a:distcc", "not a port"),
        ("a/2:1/2:3", "brackets"),
        ("[::1]:1/2:3", "two ports"),
        ("::1", "brackets"),
        ("[::1", "without its ]"),
        ("[::1]x", "can follow"),
        ("[::1]é", "can follow"),
        ("[host]", "not an IPv6 address"),
        ("[::1%]", "not an IPv6 address"),
        ("[]", "not an IPv6 address"),
        ("/4", "no name"),
        (":3632", "no name"),
        (",lzo", "no name"),
        ("a,", "no option"),
        ("a,lzop", "did you mean lzo?"),
        ("a,LZO2=1", "no option"),
        ("a;b", "letters, digits"),
        ("ä/4", "letters, digits"),
        ("a\u{a0}b", "letters, digits"),
        ("a\0", "letters, digits"),
        ("+a", "letters, digits"),
    ] {
        let error = error(word);
        assert!(error.contains(named), "{word:?}: {error}");
    }
}

#[test]
fn a_mistake_has_a_place() {
    let error = HostList::parse("a/1 # fine\n\n é# \n").unwrap_err();
    assert_eq!((error.line, error.column), (3, 2));
    let error = HostList::parse("a\tb  c/0").unwrap_err();
    assert_eq!((error.line, error.column), (1, 6));
}

#[test]
fn limits_hold() {
    let list = |count: usize| "a ".repeat(count);
    assert_eq!(hosts(&list(HOSTS_MAX)).len(), HOSTS_MAX);
    assert!(error(&list(HOSTS_MAX + 1)).contains("more than 1000 hosts"));
    assert_eq!(hosts(&"a".repeat(NAME_BYTES_MAX)).len(), 1);
    assert!(error(&"a".repeat(NAME_BYTES_MAX + 1)).contains("letters, digits"));
    assert_eq!(hosts("a/10000")[0].slots(), SLOTS_MAX);
}

#[test]
fn hosts_are_written() {
    for (word, canonical, shown) in [
        ("a", "a", "a:3632"),
        ("a/4:3632", "a", "a:3632"),
        ("a/5:1,down,lzo", "a:1/5,lzo,down", "a:1"),
        ("[::1]/5", "[::1]/5", "[::1]:3632"),
        ("[::1]:7", "[::1]:7", "[::1]:7"),
        ("localhost/2", "localhost", "localhost"),
        ("localhost:3632", "localhost:3632", "localhost:3632"),
    ] {
        let host = &hosts(word)[0];
        assert_eq!((host.word().as_str(), host.to_string().as_str()), (canonical, shown));
    }
    let list = HostList::parse("b --localslots_cpp=2 a --localslots/1 --randomize").unwrap();
    assert_eq!(list.to_string(), "--randomize --localslots=1 --localslots_cpp=2 b a");
}

fn any_host() -> impl Strategy<Value = Host> {
    let name = prop_oneof![
        "[a-z0-9_.][a-z0-9_.-]{0,9}",
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).to_string()),
        Just("localhost".to_owned()),
    ];
    let remote = (name, 1..=u16::MAX, 1..=SLOTS_MAX, any::<bool>(), any::<bool>());
    prop_oneof![
        (1..=SLOTS_MAX).prop_map(|slots| Host::Local { slots }),
        remote.prop_map(|(name, port, slots, lzo, down)| Host::Tcp {
            name,
            port,
            slots,
            lzo,
            down
        }),
    ]
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,40}|[a-z0-9@:/,\\[\\]%#+= \n\t-]{0,40}|(?s:.{0,20})") {
        if let Err(error) = HostList::parse(&text) {
            prop_assert!(error.line >= 1 && error.column >= 1 && !error.what.is_empty());
        }
    }

    #[test]
    fn what_is_read_is_read_again(words in proptest::collection::vec(
        "(a|b\\.c|\\[::1\\]|localhost)(/[1-9]{1,2})?(:[1-9]{1,4})?(,lzo|,down)?|--randomize|--localslots[=/]3", 0..5,
    )) {
        if let Ok(list) = HostList::parse(&words.join(" ")) {
            prop_assert_eq!(HostList::parse(&list.to_string()), Ok(list));
        }
    }

    #[test]
    fn written_lists_are_read_again(
        hosts in proptest::collection::vec(any_host(), 0..6),
        randomize in any::<bool>(),
        local_slots in proptest::option::of(1..=SLOTS_MAX),
        local_slots_cpp in proptest::option::of(1..=SLOTS_MAX),
    ) {
        let list = HostList { hosts, randomize, local_slots, local_slots_cpp };
        prop_assert_eq!(HostList::parse(&list.to_string()), Ok(list));
    }
}
