//! The blob format: round trips, every kind of damage, and lies under a right checksum.

use super::*;
use proptest::prelude::*;
use std::os::unix::fs::FileExt;

fn key() -> Digest {
    Digest::of(b"key")
}

fn entry() -> Entry {
    let mut entry = Entry::default();
    entry.push(PartKind::Object, b"\x7fELF".repeat(2000));
    entry.push(PartKind::Stderr, b"warning: x".to_vec());
    entry.push(PartKind::Stdout, Vec::new());
    entry
}

/// Puts the right checksum on bytes that no encoder made.
fn sealed(mut covered: Vec<u8>) -> Vec<u8> {
    let checksum = blake3::hash(&covered);
    covered.extend_from_slice(checksum.as_bytes());
    covered
}

fn without_checksum(blob: &[u8]) -> Vec<u8> {
    blob[..blob.len() - CHECKSUM_SIZE_BYTES].to_vec()
}

#[test]
fn empty_entry_round_trips() {
    let blob = Entry::default().encode(key(), Some(1)).unwrap();
    assert_eq!(blob.len(), PREFIX_SIZE_BYTES + CHECKSUM_SIZE_BYTES);
    assert_eq!(Entry::decode(key(), &blob), Ok(Entry::default()));
}

#[test]
fn every_level_round_trips() {
    for level in frames::COMPRESSION_LEVELS.map(Some).chain([None, Some(i32::MIN), Some(i32::MAX)])
    {
        let blob = entry().encode(key(), level).unwrap();
        assert_eq!(Entry::decode(key(), &blob), Ok(entry()), "level {level:?}");
    }
}

#[test]
fn only_large_parts_are_compressed() {
    let blob = entry().encode(key(), Some(1)).unwrap();
    let parts = Entry::decode_parts(key(), &blob).unwrap();
    assert_eq!(parts[0].plain(), None);
    assert_eq!(parts[0].length(), 8000);
    assert_eq!(parts[1].plain(), Some(&b"warning: x"[..]));
    let is_plain = |entry: &Entry, level| {
        let blob = entry.encode(key(), level).unwrap();
        Entry::decode_parts(key(), &blob).unwrap().iter().all(|part| part.plain().is_some())
    };
    assert!(is_plain(&entry(), None));
    // What takes one block in any case.
    let mut small = Entry::default();
    small.push(PartKind::Object, b"\x7fELF".repeat(900));
    assert!(is_plain(&small, Some(1)));
    small.push(PartKind::Depfile, b"a.o: a.c\n".repeat(60));
    assert!(!is_plain(&small, Some(1)));
}

#[test]
fn the_most_compressible_content_round_trips() {
    let mut zeros = Entry::default();
    zeros.push(PartKind::Object, vec![0; 8 << 20]);
    let blob = zeros.encode(key(), Some(19)).unwrap();
    assert!(blob.len() < 10_000);
    assert_eq!(Entry::decode(key(), &blob), Ok(zeros));
}

#[test]
fn a_large_part_is_stored_in_pieces() {
    let bytes: Vec<u8> = (0..600_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    let mut large = Entry::default();
    large.push(PartKind::Object, bytes.clone());
    large.push(PartKind::Stderr, b"plain".to_vec());
    let stored = Stored::open(key(), large.encode(key(), Some(1)).unwrap()).unwrap();
    let part = stored.part(PartKind::Object).unwrap();
    let pieces = part.pieces().unwrap();
    assert_eq!(pieces.len(), bytes.len().div_ceil(256 << 10));
    let mut unpacker = Unpacker::take().unwrap();
    // In any order.
    for piece in pieces.iter().rev() {
        let content = part.unpack(piece, &mut unpacker).unwrap();
        assert_eq!(content, &bytes[piece.offset as usize..][..content.len()]);
    }
    assert_eq!(part.content(), Ok(bytes));
    let plain = stored.part(PartKind::Stderr).unwrap();
    assert_eq!(plain.pieces().unwrap(), [Piece::plain(5)]);
    assert_eq!(plain.unpack(&Piece::plain(5), &mut unpacker), Ok(&b"plain"[..]));
    assert!(stored.part(PartKind::Dwo).is_none());
}

#[test]
fn every_bit_flip_is_found() {
    let blob = entry().encode(key(), Some(1)).unwrap();
    for bit in 0..blob.len() * 8 {
        let mut flipped = blob.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Entry::decode(key(), &flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn every_truncation_is_found() {
    let blob = entry().encode(key(), Some(1)).unwrap();
    for length in 0..blob.len() {
        assert_eq!(Entry::decode(key(), &blob[..length]), Err(Damage::Length), "{length} bytes");
    }
    let longer = [blob.as_slice(), b"x"].concat();
    assert_eq!(Entry::decode(key(), &longer), Err(Damage::Length));
}

#[test]
fn damage_has_a_name() {
    let blob = entry().encode(key(), None).unwrap();
    assert_eq!(Entry::decode(Digest::of(b"other"), &blob), Err(Damage::Key));
    assert_eq!(Entry::decode(key(), b"\x7fELF"), Err(Damage::NotAnEntry));
    let mut newer = blob.clone();
    newer[8] = 2;
    assert_eq!(Entry::decode(key(), &newer), Err(Damage::Version(2)));
    let mut changed = blob.clone();
    changed[PREFIX_SIZE_BYTES + 3 * PART_SIZE_BYTES] ^= 1;
    assert_eq!(Entry::decode(key(), &changed), Err(Damage::Checksum));
}

#[test]
fn lies_under_a_right_checksum_are_found() {
    let honest = without_checksum(&entry().encode(key(), Some(1)).unwrap());
    let lie = |at: usize, bytes: &[u8]| {
        let mut covered = honest.clone();
        covered[at..at + bytes.len()].copy_from_slice(bytes);
        Entry::decode(key(), &sealed(covered)).unwrap_err()
    };
    let part = PREFIX_SIZE_BYTES;
    assert_eq!(lie(part - 2, &[33, 0]), Damage::TooLarge);
    assert_eq!(lie(part, &[99]), Damage::Malformed("kind of part"));
    assert_eq!(lie(part, &[PartKind::Stderr as u8]), Damage::Malformed("list of parts"));
    assert_eq!(lie(part + 1, &[2]), Damage::Malformed("way of storing"));
    assert_eq!(lie(part + 1, &[0]), Damage::Malformed("length of a part"));
    assert_eq!(lie(part + 2, &8001u32.to_le_bytes()), Damage::Frame);
    assert_eq!(lie(part + 2, &u32::MAX.to_le_bytes()), Damage::TooLarge);
    assert_eq!(lie(part + 6, &u32::MAX.to_le_bytes()), Damage::Length);
    let second = part + PART_SIZE_BYTES;
    assert_eq!(lie(second + 1, &[1]), Damage::Frame);
}

fn entries() -> impl Strategy<Value = Entry> {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..400),
        (any::<u8>(), 0..4000usize).prop_map(|(byte, length)| vec![byte; length]),
    ];
    let kinds = Just(PartKind::ALL.to_vec()).prop_shuffle();
    (kinds, proptest::collection::vec(bytes, 0..=PartKind::ALL.len())).prop_map(|(kinds, bytes)| {
        let parts = kinds.into_iter().zip(bytes);
        Entry { parts: parts.map(|(kind, bytes)| Part { kind, bytes }).collect() }
    })
}

proptest! {
    #[test]
    fn any_entry_round_trips(entry in entries(), level in proptest::option::of(-5..=19)) {
        let blob = entry.encode(key(), level).unwrap();
        prop_assert_eq!(Entry::decode(key(), &blob), Ok(entry));
    }

    #[test]
    fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Entry::decode(key(), &bytes);
        let mut blob = without_checksum(&Entry::default().encode(key(), None).unwrap());
        blob.truncate(PREFIX_SIZE_BYTES - 2);
        blob.extend_from_slice(&bytes);
        let _ = Entry::decode(key(), &sealed(blob));
    }

    #[test]
    fn any_change_under_a_right_checksum_is_safe(
        entry in entries(), at in any::<proptest::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut covered = without_checksum(&entry.encode(key(), Some(1)).unwrap());
        let at = at.index(covered.len());
        covered[at] = byte;
        let _ = Entry::decode(key(), &sealed(covered));
    }
}

#[test]
fn a_large_blob_goes_from_file_to_file() {
    let pieces = 5 * (256 << 10) + 17;
    let flat: Vec<u8> = (0..pieces as u32).map(|n| (n / 1000) as u8).collect();
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(pieces)
    .collect();
    for (content, compression) in [(&flat, Some(1)), (&noise, Some(1)), (&flat, None)] {
        let spool = tempfile::tempfile().unwrap();
        spool.write_all_at(content, 0).unwrap();
        let length = content.len() as u64;
        let large = [Spooled { kind: PartKind::Object, file: spool, length }];
        let mut small = Entry::default();
        small.push(PartKind::Stderr, b"warning: x".repeat(100));
        let file = tempfile::tempfile().unwrap();
        let written = write_blob(&file, key(), &small, &large, compression).unwrap();
        let mut blob = vec![0; written as usize];
        file.read_exact_at(&mut blob, 0).unwrap();
        assert_eq!(file.metadata().unwrap().len(), written);
        let whole = Entry::decode(key(), &blob).unwrap();
        assert_eq!(whole.part(PartKind::Object), Some(content.as_slice()));
        let stored = Stored::open_file(key(), file.try_clone().unwrap()).unwrap();
        assert_eq!(stored.entry(), Ok(whole));
        let part = stored.part(PartKind::Object).unwrap();
        let mut unpacker = Unpacker::take().unwrap();
        for piece in part.pieces().unwrap().iter().rev() {
            let found = part.unpack(piece, &mut unpacker).unwrap();
            assert_eq!(found, &content[piece.offset as usize..][..found.len()]);
            assert!(found.len() <= 256 << 10);
        }
        for at in [0, 40, written / 2, written - 1] {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
            assert!(Stored::open_file(key(), file.try_clone().unwrap()).is_err(), "{at}");
            file.write_all_at(&byte, at).unwrap();
        }
        file.set_len(written - 1).unwrap();
        assert!(Stored::open_file(key(), file).is_err());
    }
}
