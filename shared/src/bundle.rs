//! All that is known under one source key, in one object: which results there are, and the newest itself.
//!
//! ```text
//! bundle = magic:8 version:u8 check:16 count:u8 record* has_newest:u8 result?
//! check  = the first octets of BLAKE3 over all that follows
//! record = an envelope that names the unit, with what its result read; its subject is the result
//! result = an envelope that names a result: the newest, where it is small
//! ```
//! So a hit takes one request. Each part is signed by whoever wrote it, and is kept as it is when others add
//! theirs; the bundle itself says nothing. A result that is no longer the newest moves to an object of its own
//! before a new one takes its place.

use crate::envelope::{Envelope, Fault};
use crate::keys::Trusted;
use crate::name::{Kind, Name};

const MAGIC: [u8; 8] = *b"\x89rcunit\n";
const VERSION: u8 = 1;
/// The length of `check`: enough to tell one state of an object from another.
pub const CHECK_BYTES: usize = 16;
/// Where `check` begins.
pub const CHECK_AT: usize = 9;
const PREFIX_BYTES: usize = CHECK_AT + CHECK_BYTES;
/// Results of one unit; the oldest fall off the end. A header that flips between branches keeps them all.
pub const RECORDS_MAX: usize = 16;
/// A larger result has an object of its own: who does not want it should not have to fetch it.
pub const NEWEST_BYTES_MAX: usize = 1 << 20;
/// What all records of a bundle may take.
const RECORDS_BYTES_MAX: usize = 4 << 20;
/// The longest bundle.
pub const BUNDLE_BYTES_MAX: usize = RECORDS_BYTES_MAX + NEWEST_BYTES_MAX + (64 << 10);

/// A bundle, taken apart; its parts are not believed yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle<'a> {
    /// What leads to results, the newest first.
    pub records: Vec<Envelope<'a>>,
    /// The newest result, where it is small.
    pub newest: Option<Envelope<'a>>,
}

impl<'a> Bundle<'a> {
    /// What [`Bundle::encode`] wrote.
    pub fn decode(bytes: &'a [u8]) -> Result<Bundle<'a>, Fault> {
        let (prefix, rest) = bytes.split_at_checked(PREFIX_BYTES).ok_or(Fault::Length)?;
        if prefix[..8] != MAGIC || prefix[8] != VERSION {
            return Err(Fault::Foreign);
        }
        if bytes.len() > BUNDLE_BYTES_MAX {
            return Err(Fault::Length);
        }
        if prefix[CHECK_AT..] != check(rest) {
            return Err(Fault::Digest);
        }
        let (count, mut rest) = rest.split_first().ok_or(Fault::Length)?;
        if usize::from(*count) > RECORDS_MAX {
            return Err(Fault::Length);
        }
        let mut bundle = Bundle::default();
        for _ in 0..*count {
            let (record, after) = Envelope::split(rest)?;
            bundle.records.push(record);
            rest = after;
        }
        match rest.split_first() {
            Some((0, [])) => Ok(bundle),
            Some((1, rest)) => {
                bundle.newest = Some(Envelope::parse(rest)?);
                Ok(bundle)
            }
            _ => Err(Fault::Length),
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &[VERSION], &[0; CHECK_BYTES]].concat();
        bytes.push(self.records.len() as u8);
        for record in &self.records {
            bytes.extend(record.bytes);
        }
        bytes.push(u8::from(self.newest.is_some()));
        bytes.extend(self.newest.iter().flat_map(|newest| newest.bytes));
        let check = check(&bytes[PREFIX_BYTES..]);
        bytes[CHECK_AT..PREFIX_BYTES].copy_from_slice(&check);
        bytes
    }

    /// What leads to results, newest first: the result's digest and what was recorded, or why that does not
    /// count.
    pub fn open<'b>(
        &'b self,
        unit: Name,
        trusted: &'b Trusted,
    ) -> impl Iterator<Item = Result<([u8; Name::LEN], &'a [u8]), Fault>> + 'b {
        let open = move |record: &Envelope<'a>| {
            record.open(unit, trusted).map(|body| (record.subject(), body))
        };
        self.records.iter().map(open)
    }
}

/// The state of a bundle that is stored; `None` where it is no bundle.
pub fn state(bytes: &[u8]) -> Option<[u8; CHECK_BYTES]> {
    let check = bytes.get(CHECK_AT..PREFIX_BYTES)?;
    bytes.starts_with(&MAGIC).then(|| check.try_into().ok())?
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECK_BYTES]);
    check
}

/// What one compile adds.
#[derive(Clone, Copy, Debug)]
pub struct Addition<'a> {
    /// What leads to its result.
    pub record: Envelope<'a>,
    /// The result, where it is to be in the bundle.
    pub newest: Option<Envelope<'a>>,
}

/// A bundle with the addition in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged<'a> {
    /// What is to be written.
    pub bundle: Bundle<'a>,
    /// What has to be written before, as an object of its own: the result that was the newest.
    pub moved: Option<(Name, Envelope<'a>)>,
}

/// Adds what one compile found to what others did. What its writer does not trust is left out, so that
/// nobody can fill a bundle with what nobody wants.
pub fn merge<'a>(
    old: Bundle<'a>,
    addition: Addition<'a>,
    unit: Name,
    trusted: &Trusted,
    bytes_max: usize,
) -> Merged<'a> {
    let own = addition.record;
    let mut records = vec![own];
    let is_kept =
        |record: &Envelope| record.subject() != own.subject() && record.open(unit, trusted).is_ok();
    records.extend(old.records.into_iter().filter(is_kept));
    records.truncate(RECORDS_MAX);
    let newest_before = old.newest.filter(|newest| {
        let name = newest.name();
        name.kind == Kind::Result && newest.open(name, trusted).is_ok()
    });
    let (newest, moved) = match (addition.newest, newest_before) {
        (Some(own), Some(before)) if own.name() != before.name() => {
            (Some(own), Some((before.name(), before)))
        }
        (Some(own), _) => (Some(own), None),
        (None, before) => (before, None),
    };
    let records_max = bytes_max.min(RECORDS_BYTES_MAX);
    let mut size = 0;
    records.retain(|record| {
        size += record.bytes.len();
        size <= records_max
    });
    let mut bundle = Bundle { records, newest };
    let is_too_large = |bundle: &Bundle| bundle.encode().len() > bytes_max.min(BUNDLE_BYTES_MAX);
    while is_too_large(&bundle) && bundle.records.len() > 1 {
        bundle.records.pop();
    }
    Merged { bundle, moved }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::seal;
    use crate::keys::SigningKey;
    use proptest::prelude::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed([seed; 32])
    }

    fn unit() -> Name {
        Name::of(Kind::Unit, b"", b"unit")
    }

    fn result(what: u32) -> Name {
        Name::of(Kind::Result, b"", &what.to_le_bytes())
    }

    fn record(what: u32, by: u8) -> Vec<u8> {
        seal(unit(), Some(result(what)), b"inputs", Some(&key(by)))
    }

    fn subjects(bundle: &Bundle, trusted: &Trusted) -> Vec<[u8; 32]> {
        bundle.open(unit(), trusted).flatten().map(|(subject, _)| subject).collect()
    }

    #[test]
    fn two_writers_do_not_erase_each_other() {
        let trusted = Trusted::of([key(1).public(), key(2).public()]);
        let (first, second) = (record(1, 1), record(2, 2));
        let one = seal(result(1), None, b"object 1", Some(&key(1)));
        let two = seal(result(2), None, b"object 2", Some(&key(2)));
        let add = |record, newest| Addition {
            record: Envelope::parse(record).unwrap(),
            newest: Some(Envelope::parse(newest).unwrap()),
        };
        let empty = Bundle::default();
        let merged = merge(empty, add(&first, &one), unit(), &trusted, BUNDLE_BYTES_MAX);
        assert_eq!(merged.moved, None);
        let bytes = merged.bundle.encode();
        let old = Bundle::decode(&bytes).unwrap();
        let merged = merge(old, add(&second, &two), unit(), &trusted, BUNDLE_BYTES_MAX);
        let (name, moved) = merged.moved.unwrap();
        assert_eq!((name, moved.bytes), (result(1), &one[..]));
        let bytes = merged.bundle.encode();
        let bundle = Bundle::decode(&bytes).unwrap();
        assert_eq!(subjects(&bundle, &trusted), [result(2).digest, result(1).digest]);
        assert_eq!(bundle.newest.unwrap().bytes, two);
        // The same result again changes its place only.
        let merged = merge(bundle, add(&first, &one), unit(), &trusted, BUNDLE_BYTES_MAX);
        assert_eq!(subjects(&merged.bundle, &trusted), [result(1).digest, result(2).digest]);
    }

    #[test]
    fn strangers_take_no_room() {
        let trusted = Trusted::of([key(1).public()]);
        let strange: Vec<Vec<u8>> = (0..20).map(|what| record(what, 9)).collect();
        let records = strange.iter().take(RECORDS_MAX).map(|bytes| Envelope::parse(bytes).unwrap());
        let old = Bundle { records: records.collect(), newest: None };
        let own = record(1, 1);
        let own = Addition { record: Envelope::parse(&own).unwrap(), newest: None };
        let merged = merge(old, own, unit(), &trusted, BUNDLE_BYTES_MAX);
        assert_eq!(merged.bundle.records.len(), 1);
    }

    #[test]
    fn the_oldest_make_way() {
        let trusted = Trusted::of([key(1).public()]);
        let mut bytes = Bundle::default().encode();
        for what in 0..40 {
            let own = record(what, 1);
            let own = Addition { record: Envelope::parse(&own).unwrap(), newest: None };
            let old = Bundle::decode(&bytes).unwrap();
            let merged = merge(old, own, unit(), &trusted, BUNDLE_BYTES_MAX);
            let next = merged.bundle.encode();
            bytes = next;
        }
        let found = subjects(&Bundle::decode(&bytes).unwrap(), &trusted);
        assert_eq!(found.len(), RECORDS_MAX);
        assert_eq!(found[0], result(39).digest);
        // An engine that holds little gets fewer.
        let own = record(40, 1);
        let own = Addition { record: Envelope::parse(&own).unwrap(), newest: None };
        let old = Bundle::decode(&bytes).unwrap();
        let merged = merge(old, own, unit(), &trusted, 1_000);
        assert!(merged.bundle.encode().len() <= 1_000 && !merged.bundle.records.is_empty());
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Bundle::decode(&bytes);
            let mut near = [&MAGIC[..], &[VERSION], &[0; CHECK_BYTES], &bytes].concat();
            let right = check(&bytes);
            near[CHECK_AT..PREFIX_BYTES].copy_from_slice(&right);
            let _ = Bundle::decode(&near);
        }

        #[test]
        fn a_flipped_bit_is_found(at: prop::sample::Index, bit in 0..8_u32) {
            let record = record(1, 1);
            let newest = seal(result(1), None, b"object", Some(&key(1)));
            let bundle = Bundle {
                records: vec![Envelope::parse(&record).unwrap()],
                newest: Some(Envelope::parse(&newest).unwrap()),
            };
            let mut bytes = bundle.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(Bundle::decode(&bytes).is_err());
        }
    }
}
