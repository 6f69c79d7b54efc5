//! No byte of an entry can be changed, and none can stand for another.

use super::*;
use proptest::prelude::*;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

fn trusted(key: &SigningKey) -> Trusted {
    Trusted::of([key.public()])
}

fn lax() -> Trusted {
    Trusted::default().with_unsigned(true)
}

fn name(what: &[u8]) -> Name {
    Name::of(Kind::Result, b"", what)
}

#[test]
fn what_was_signed_is_opened() {
    let bytes = seal(name(b"a"), None, b"body", Some(&key(1)));
    let envelope = Envelope::parse(&bytes).unwrap();
    assert_eq!(envelope.open(name(b"a"), &trusted(&key(1))), Ok(&b"body"[..]));
    assert_eq!(envelope.open(name(b"b"), &trusted(&key(1))), Err(Fault::Name));
    assert_eq!(envelope.open(name(b"a"), &trusted(&key(2))), Err(Fault::Stranger));
    let lax = lax();
    assert_eq!(envelope.open(name(b"a"), &lax), Err(Fault::Stranger));
}

#[test]
fn unsigned_entries_must_be_asked_for() {
    let bytes = seal(name(b"a"), None, b"body", None);
    let envelope = Envelope::parse(&bytes).unwrap();
    assert_eq!(envelope.open(name(b"a"), &trusted(&key(1))), Err(Fault::Unsigned));
    let lax = lax();
    assert_eq!(envelope.open(name(b"a"), &lax), Ok(&b"body"[..]));
}

#[test]
fn a_length_is_looked_at_before_anything_is_allocated() {
    let mut bytes = seal(name(b"a"), None, b"body", None);
    let at = 10 + 2 * Name::LEN;
    bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Envelope::parse(&bytes), Err(Fault::Length));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_flipped_bit_is_found(body in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, bit in 0..8_u32) {
        let mut bytes = seal(name(b"a"), Some(name(b"s")), &body, Some(&key(1)));
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        let opened = Envelope::parse(&bytes)
            .and_then(|envelope| envelope.open(name(b"a"), &trusted(&key(1))).map(<[u8]>::to_vec));
        prop_assert!(opened.is_err());
    }

    #[test]
    fn what_is_cut_or_longer_is_found(body in prop::collection::vec(any::<u8>(), 0..200), cut: prop::sample::Index, more in prop::collection::vec(any::<u8>(), 1..50)) {
        let bytes = seal(name(b"a"), None, &body, Some(&key(1)));
        prop_assert!(Envelope::parse(&bytes[..cut.index(bytes.len())]).is_err());
        let longer = [bytes, more].concat();
        prop_assert_eq!(Envelope::parse(&longer), Err(Fault::Length));
    }

    #[test]
    fn parts_of_two_do_not_make_a_third(left in prop::collection::vec(any::<u8>(), 1..60), right in prop::collection::vec(any::<u8>(), 1..60), from: prop::sample::Index, to: prop::sample::Index) {
        prop_assume!(left != right);
        let one = seal(name(b"a"), None, &left, Some(&key(1)));
        let mut two = seal(name(b"b"), None, &right, Some(&key(1)));
        let length = one.len().min(two.len());
        let (from, to) = (from.index(length), to.index(length));
        let (from, to) = (from.min(to), from.max(to));
        two[from..=to].copy_from_slice(&one[from..=to]);
        for (wanted, whole) in [(b"a", &left), (b"b", &right)] {
            let opened = Envelope::parse(&two)
                .and_then(|envelope| envelope.open(name(wanted), &trusted(&key(1))).map(<[u8]>::to_vec));
            // All of one or all of the other is what was written, and nothing between.
            prop_assert!(opened.is_err() || opened.as_ref() == Ok(whole));
        }
    }

    #[test]
    fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Envelope::parse(&bytes);
        let _ = Envelope::parse(&[&MAGIC[..], &[VERSION, 1], &bytes].concat());
    }
}
