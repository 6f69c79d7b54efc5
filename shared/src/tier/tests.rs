//! A tier on a folder: what one writes another reads, and nothing else is read.

use super::*;
use crate::envelope::seal;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap());

const LONG: Duration = Duration::from_secs(60);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

fn tier(folder: &Path, attributes: &str, signer: Option<SigningKey>, trusts: &[u8]) -> Tier {
    let text = format!("file://{}{attributes}", folder.display());
    let location = Location::parse(&text, &|_| None).unwrap();
    let settings = Settings {
        locations: vec![location],
        trusted: Trusted::of(trusts.iter().map(|seed| key(*seed).public())),
        signer,
        may_write: true,
    };
    Tier::new(settings, RUNTIME.handle().clone())
}

/// Counts of each event.
#[derive(Default)]
struct Told([AtomicUsize; 6]);

impl Told {
    fn count(self: &Arc<Told>) -> Count {
        let told = Arc::clone(self);
        Arc::new(move |event| {
            told.0[event as usize].fetch_add(1, Ordering::SeqCst);
        })
    }

    fn of(&self, event: Event) -> usize {
        self.0[event as usize].load(Ordering::SeqCst)
    }
}

fn unit() -> Name {
    Name::of(Kind::Unit, b"", b"unit")
}

fn result(what: &[u8]) -> Name {
    Name::of(Kind::Result, b"", what)
}

fn offer(what: &'static [u8], bytes: usize, count: &Count) -> Offer {
    Offer {
        unit: unit(),
        record: what.to_vec(),
        result: result(what),
        outputs: result(what),
        bytes: bytes as u64,
        read: Arc::new(move || Some(what.repeat(bytes))),
        count: Arc::clone(count),
    }
}

fn found(tier: &Tier, count: &Count) -> Option<Opened> {
    // A folder answers at once, but this machine may be busy: until it did, it is asked again.
    let deadline = Instant::now() + LONG;
    loop {
        match tier.ask(unit(), count).wait() {
            Answer::Found(found) => return Some(tier.open(&found, unit(), count)),
            Answer::Missing => return None,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_one_writes_another_reads() {
    let folder = tempfile::tempdir().unwrap();
    let told = Arc::new(Told::default());
    let count = told.count();
    let writer = tier(folder.path(), "", Some(key(1)), &[]);
    let reader = tier(folder.path(), "|read-only", None, &[1]);
    assert_eq!(found(&writer, &count), None);
    writer.offer(offer(b"a", 3, &count));
    assert_eq!(writer.flush(LONG), 0);
    let opened = found(&reader, &count).unwrap();
    assert_eq!(opened.records, [(result(b"a").digest, b"a".to_vec())]);
    assert_eq!(opened.newest, Some((result(b"a"), b"aaa".to_vec())));
    // Its own upload is known at once, though it was missing a moment ago.
    assert!(found(&writer, &count).is_some());
    assert_eq!(told.of(Event::Write), 1);
    // The same again is not written again; another joins it, and the first stays to be had.
    writer.offer(offer(b"a", 3, &count));
    assert_eq!(writer.flush(LONG), 0);
    assert_eq!(told.of(Event::Write), 1);
    writer.offer(offer(b"b", 3, &count));
    assert_eq!(writer.flush(LONG), 0);
    let opened = found(&reader, &count).unwrap();
    assert_eq!(opened.records.len(), 2);
    assert_eq!(opened.newest, Some((result(b"b"), b"bbb".to_vec())));
    assert_eq!(reader.fetch(result(b"a"), &count).as_deref(), Some(&b"aaa"[..]));
    assert_eq!(reader.fetch(result(b"c"), &count), None);
    // Who may only read writes nothing.
    reader.offer(offer(b"c", 3, &count));
    assert_eq!((reader.flush(LONG), reader.writes()), (0, false));
    assert_eq!(told.of(Event::Untrusted), 0);
}

#[test]
fn a_large_result_has_an_object_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let count = Arc::new(Told::default()).count();
    let writer = tier(folder.path(), "", Some(key(1)), &[]);
    let bytes = crate::bundle::NEWEST_BYTES_MAX + 1;
    writer.offer(offer(b"a", bytes, &count));
    assert_eq!(writer.flush(LONG), 0);
    let opened = found(&writer, &count).unwrap();
    assert_eq!((opened.records.len(), opened.newest), (1, None));
    assert_eq!(writer.fetch(result(b"a"), &count).unwrap().len(), bytes);
}

#[test]
fn what_nobody_trusted_has_signed_is_counted_and_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let told = Arc::new(Told::default());
    let count = told.count();
    let stranger = tier(folder.path(), "", Some(key(9)), &[]);
    stranger.offer(offer(b"a", 3, &count));
    assert_eq!(stranger.flush(LONG), 0);
    let reader = tier(folder.path(), "", None, &[1]);
    let opened = found(&reader, &count).unwrap();
    assert_eq!(opened, Opened::default());
    assert_eq!(told.of(Event::Untrusted), 2);
    // Without a key there is nothing to sign with, and nothing is written.
    assert!(!reader.writes());
    // Unsigned entries are written and read where both ask for it, and only there.
    let lax = tier(folder.path(), "|unsigned", None, &[]);
    lax.offer(offer(b"b", 3, &count));
    assert_eq!(lax.flush(LONG), 0);
    assert_eq!(found(&lax, &count).unwrap().records.len(), 1);
    assert_eq!(found(&reader, &count).unwrap(), Opened::default());
}

#[test]
fn an_entry_in_another_entrys_place_is_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let told = Arc::new(Told::default());
    let count = told.count();
    let tier = tier(folder.path(), "", Some(key(1)), &[]);
    let path = folder.path().join(result(b"a").path());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    for bytes in [
        seal(result(b"b"), None, b"other", Some(&key(1))),
        seal(unit(), Some(result(b"a")), b"other", Some(&key(1))),
        b"nonsense".to_vec(),
        Vec::new(),
    ] {
        let before = told.of(Event::Untrusted);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(tier.fetch(result(b"a"), &count), None);
        assert_eq!(told.of(Event::Untrusted), before + 1);
    }
}

#[test]
fn upkeep_finds_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let count = Arc::new(Told::default()).count();
    let tier = tier(folder.path(), "", Some(key(1)), &[]);
    for what in [&b"a"[..], b"b"] {
        tier.offer(offer(what, 3, &count));
        assert_eq!(tier.flush(LONG), 0);
    }
    let contents = tier.contents().remove(0).1.unwrap();
    assert_eq!((contents.units, contents.results), (1, 1));
    assert!(contents.bytes > 0);
    let verified = |remove| tier.verify(remove).remove(0).1.unwrap();
    assert_eq!(verified(false), Verified { sound: 2, ..Verified::default() });
    std::fs::write(folder.path().join(result(b"a").path()), b"nonsense").unwrap();
    assert_eq!(verified(false).untrusted, 1);
    assert_eq!(verified(true).removed, 1);
    assert_eq!(verified(false), Verified { sound: 1, ..Verified::default() });
    let trimmed = tier.trim(Some(0), None).remove(0).1.unwrap();
    assert_eq!((trimmed.objects, trimmed.left_bytes), (1, 0));
    assert_eq!(tier.contents().remove(0).1, Ok(Contents::default()));
}
