//! Round trips over every shape that the format tells apart, and bytes that are no stream.

use super::*;
use proptest::prelude::*;

const LIMIT: usize = 1 << 20;

/// Octets in which nothing repeats; the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn round_trip(plain: &[u8]) -> Vec<u8> {
    let packed = compress(plain);
    assert!(packed.len() <= plain.len() + plain.len() / 255 + 16, "of {}", plain.len());
    assert_eq!(decompress(&packed, plain.len()).as_deref(), Ok(plain), "of {}", plain.len());
    packed
}

#[test]
fn nothing_is_the_end_marker() {
    assert_eq!(compress(b""), END);
    assert_eq!(decompress(&END, 0), Ok(Vec::new()));
    assert_eq!(decompress(b"", LIMIT), Err(Broken));
}

#[test]
fn literal_runs_of_every_length_round_trip() {
    for length in (1..700).chain([65_535, 65_536, 100_000]) {
        round_trip(&noise(length as u64, length));
    }
}

#[test]
fn runs_between_matches_of_every_length_round_trip() {
    let word = noise(1, 12);
    for length in 0..600 {
        let between = noise(length as u64 + 2, length);
        round_trip(&[&word[..], b"x", &between, &word, b"y", &between, &word].concat());
    }
}

#[test]
fn matches_of_every_length_and_distance_class_round_trip() {
    let distances = [1, 2, 3, 7, 8, 9, 2047, 2048, 2049, 16_383, 16_384, 16_385, 16_386];
    let far = [32_767, 32_768, 32_769, 49_150, 49_151, 49_152, 49_153, 65_535, 65_536];
    for distance in distances.into_iter().chain(far) {
        for length in (3..12).chain(30..40).chain([264, 265, 287, 288, 289, 543, 5000]) {
            let mut plain = noise(distance as u64, distance);
            (0..length).for_each(|_| plain.push(plain[plain.len() - distance]));
            plain.extend_from_slice(b"the end");
            round_trip(&plain);
        }
    }
}

#[test]
fn repeated_octets_shrink() {
    for length in [4, 5, 40, 300, 70_000, LIMIT] {
        let packed = round_trip(&vec![b'a'; length]);
        assert!(packed.len() < 16 + length / 200, "{length} became {}", packed.len());
    }
}

#[test]
fn text_after_long_noise_still_shrinks() {
    let noise = noise(5, 400_000);
    let text = b"static inline int add(int left, int right) { return left + right; }\n".repeat(100);
    let packed = round_trip(&[&noise[..], &text].concat());
    assert!(packed.len() < noise.len() + noise.len() / 255 + 1500);
}

#[test]
fn more_than_the_limit_is_refused() {
    let packed = compress(&[0; 10_000]);
    assert_eq!(decompress(&packed, 9_999), Err(Broken));
    assert_eq!(decompress(&packed, 0), Err(Broken));
    assert_eq!(decompress(&packed, 10_000).map(|plain| plain.len()), Ok(10_000));
    assert_eq!(decompress(&packed, usize::MAX).map(|plain| plain.len()), Ok(10_000));
}

#[test]
fn memory_follows_the_content_and_not_the_limit() {
    let packed = compress(b"int main() { return 0; }");
    assert!(decompress(&packed, usize::MAX).unwrap().capacity() < 100);
    // A run of which only the length is there, as long as octets can claim it.
    let claim = [&[0; 60][..], &[255]].concat();
    assert_eq!(decompress(&claim, usize::MAX), Err(Broken));
}

#[test]
fn the_densest_stream_is_unpacked() {
    let zeros = compress(&vec![0; LIMIT]);
    assert!(zeros.len() * 250 < LIMIT);
    assert_eq!(decompress(&zeros, LIMIT), Ok(vec![0; LIMIT]));
}

#[test]
fn octets_after_the_end_are_refused() {
    for tail in [&b"\0"[..], b"\x11\0\0", b"x"] {
        assert_eq!(decompress(&[&END[..], tail].concat(), LIMIT), Err(Broken));
        assert_eq!(decompress(&[&compress(b"abcdefg")[..], tail].concat(), LIMIT), Err(Broken));
    }
}

#[test]
fn every_truncation_is_noticed() {
    let packed = compress(&text());
    for end in 0..packed.len() {
        assert_eq!(decompress(&packed[..end], LIMIT), Err(Broken), "{end}");
    }
}

#[test]
fn a_match_before_the_start_is_refused() {
    assert_eq!(decompress(&[18, b'a', 0b0100_0100, 0, 0x11, 0, 0], LIMIT), Err(Broken));
    assert_eq!(decompress(&[0x20, 1, 0, 0, 0x11, 0, 0], LIMIT), Err(Broken));
}

/// What miniLZO makes of a text, as in the captures: near, far and short matches.
#[test]
fn matches_of_two_and_three_octets_are_understood() {
    // Four literals, three octets from distance 2049, then two from distance 1.
    let start = noise(9, 2050);
    let mut packed = vec![0];
    packed.extend_from_slice(&[0; 7]);
    packed.push((start.len() - RUN_MAX - 7 * 255) as u8);
    packed.extend_from_slice(&start);
    packed.extend_from_slice(&[0b0000_0001, 0, b'z']);
    packed.extend_from_slice(&[0b0000_0000, 0]);
    packed.extend_from_slice(&END);
    let wanted = [&start[..], &start[1..4], b"zzz"].concat();
    assert_eq!(decompress(&packed, LIMIT), Ok(wanted));
}

fn text() -> Vec<u8> {
    let line = |number| format!("extern int function_{number}(const char *name, int {number});\n");
    (0..60).map(line).collect::<String>().into_bytes()
}

/// Pieces of which later ones often repeat earlier ones at some distance.
fn shapes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (any::<u64>(), 0..300usize).prop_map(|(seed, length)| noise(seed, length)),
        (any::<u64>(), 0..20usize).prop_map(|(seed, length)| noise(seed, length)),
        (any::<u8>(), 0..2000usize).prop_map(|(octet, length)| vec![octet; length]),
        (0..9u64, 0..60_000usize).prop_map(|(seed, length)| noise(seed, length)),
        "[a-c ]{0,200}".prop_map(String::into_bytes),
        Just(text()),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_shape_round_trips(plain in shapes()) {
        prop_assert_eq!(decompress(&compress(&plain), plain.len()), Ok(plain));
    }

    #[test]
    fn any_octets_round_trip(plain in proptest::collection::vec(0..4u8, 0..2000)) {
        prop_assert_eq!(decompress(&compress(&plain), plain.len()), Ok(plain));
    }

    #[test]
    fn damage_never_panics_nor_passes_the_limit(
        plain in shapes(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..4),
        end in any::<prop::sample::Index>(),
    ) {
        let mut packed = compress(&plain);
        for (at, flip) in flips {
            let at = at.index(packed.len());
            packed[at] ^= flip;
        }
        let limit = plain.len() + 1;
        for stream in [&packed[..], &packed[..end.index(packed.len())]] {
            prop_assert!(decompress(stream, limit).is_ok_and(|plain| plain.len() > limit).eq(&false));
        }
    }

    #[test]
    fn random_octets_never_panic(packed in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decompress(&packed, LIMIT).is_ok_and(|plain| plain.len() > LIMIT).eq(&false));
    }
}
