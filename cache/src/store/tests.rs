//! The store on a real folder: what it keeps, in which order it forgets, and what it survives.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::UNIX_EPOCH;

use super::*;
use crate::entry::PartKind;

mod model;

const RESULT: SaveOptions = SaveOptions {
    compression: Some(1),
    compile_time: Duration::from_millis(250),
    kind: EntryKind::Result,
};
const MANIFEST: SaveOptions = SaveOptions { kind: EntryKind::Manifest, ..RESULT };

fn key(number: u64) -> Digest {
    Digest::of(&number.to_le_bytes())
}

fn entry(number: u64) -> Entry {
    let mut entry = Entry::default();
    entry.push(PartKind::Object, format!("object {number} ").into_bytes().repeat(20));
    entry.push(PartKind::Facts, number.to_le_bytes().to_vec());
    entry
}

fn manifest(number: u64) -> Entry {
    let mut manifest = Entry::default();
    manifest.push(PartKind::Manifest, number.to_le_bytes().to_vec());
    manifest
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn sweep_all(store: &Store) {
    while store.sweep() {}
}

/// The end of a process lets go of its locks, and of nothing else.
fn crash(store: &mut Store) {
    store.leave();
    store.users = None;
}

/// A folder with a store, whose process can be killed and started again.
struct Scene {
    folder: tempfile::TempDir,
    store: Option<Store>,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let store = Some(Store::open(&folder.path().join("cache")).unwrap());
        Scene { folder, store }
    }

    /// With entries `0..count`, flushed.
    fn with_entries(count: u64) -> Scene {
        let scene = Scene::new();
        for number in 0..count {
            scene.save(number);
        }
        scene.flush(at(100));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("cache").join(name)
    }

    fn blob(&self, number: u64) -> PathBuf {
        self.blobs.path(key(number))
    }

    fn save(&self, number: u64) {
        Store::save(self, key(number), &entry(number), RESULT).unwrap();
    }

    fn flush(&self, now: SystemTime) {
        Store::flush(self, now).unwrap();
    }

    /// The numbers below `count` whose entries answer.
    fn present(&self, count: u64) -> Vec<u64> {
        let is_present = |number: &u64| {
            let loaded = self.load(key(*number));
            assert!(loaded.is_none() || loaded == Some(entry(*number)));
            loaded.is_some()
        };
        (0..count).filter(is_present).collect()
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(Store::open(&self.path("")).unwrap());
    }

    /// As `kill -9` would: nothing that waits in memory is written.
    fn kill(&mut self) {
        if let Some(mut store) = self.store.take() {
            crash(&mut store);
            std::mem::forget(store);
        }
        self.store = Some(Store::open(&self.path("")).unwrap());
    }

    /// That totals are those of the blobs which are really there.
    fn assert_totals_match_files(&self) {
        let (mut bytes, mut files) = (0, 0);
        self.for_each_key(|key| {
            bytes += blobs::room(fs::metadata(self.blobs.path(key)).unwrap().len());
            let entry = self.load(key).unwrap();
            files += u64::from(entry.part(PartKind::Manifest).is_none());
        });
        let totals = self.totals();
        assert_eq!((totals.bytes, totals.files), (bytes, files));
    }
}

impl std::ops::Deref for Scene {
    type Target = Store;

    fn deref(&self) -> &Store {
        self.store.as_ref().unwrap()
    }
}

#[test]
fn what_was_saved_is_found_until_it_is_replaced() {
    let mut scene = Scene::new();
    assert_eq!(scene.load(key(1)), None);
    assert!(!scene.contains(key(1)));
    scene.save(1);
    assert!(scene.contains(key(1)));
    assert_eq!(scene.load(key(1)), Some(entry(1)));
    scene.reopen();
    assert_eq!(scene.load(key(1)), Some(entry(1)));
    Store::save(&scene, key(1), &entry(2), RESULT).unwrap();
    assert_eq!(scene.load(key(1)), Some(entry(2)));
    assert_eq!(fs::read_dir(scene.path("tmp")).unwrap().count(), 0);
}

#[test]
fn totals_are_exact_before_and_after_a_flush_and_a_restart() {
    let mut scene = Scene::new();
    for round in 0..3 {
        for number in 0..10 {
            scene.save(number);
            Store::save(&scene, key(100 + number), &manifest(round), MANIFEST).unwrap();
        }
        assert_eq!(scene.totals().files, 10);
        scene.assert_totals_match_files();
        scene.flush(at(round));
        scene.assert_totals_match_files();
        scene.reopen();
        scene.assert_totals_match_files();
    }
    Store::save(&scene, key(1), &Entry::default(), RESULT).unwrap();
    scene.assert_totals_match_files();
}

#[test]
fn the_least_recently_used_go_first_exactly() {
    const COUNT: u64 = 20_000;
    let scene = Scene::new();
    for number in 0..COUNT {
        scene.save(number);
        if number % 5_000 == 0 {
            scene.flush(at(number / 1_000));
        }
    }
    // Every seventh is used again, from the last to the first.
    for number in (0..COUNT).rev().filter(|number| number % 7 == 0) {
        scene.load(key(number)).unwrap();
    }
    let limits = Limits { max_files: 3_000, max_size_bytes: 0 };
    let evicted = scene.evict(limits, at(50)).unwrap();
    let mut order: Vec<u64> = (0..COUNT).filter(|number| number % 7 != 0).collect();
    order.extend((0..COUNT).rev().filter(|number| number % 7 == 0));
    let mut expected = order.split_off(order.len() - 2_700);
    expected.sort_unstable();
    assert_eq!(scene.present(COUNT), expected);
    assert_eq!(evicted.entries, COUNT - 2_700);
    assert_eq!(scene.totals().evicted, COUNT - 2_700);
    assert_eq!(scene.totals().files, 2_700);
    scene.assert_totals_match_files();
}

#[test]
fn eviction_waits_for_a_limit_and_stops_at_low_water() {
    let scene = Scene::with_entries(100);
    let bytes = scene.totals().bytes;
    let limit = |max_size_bytes| Limits { max_size_bytes, max_files: 0 };
    assert_eq!(scene.evict(limit(0), at(200)).unwrap().entries, 0);
    assert_eq!(scene.evict(limit(bytes), at(200)).unwrap().entries, 0);
    let evicted = scene.evict(limit(bytes - 1), at(200)).unwrap();
    assert!((10..=11).contains(&evicted.entries), "{evicted:?}");
    let left = scene.totals().bytes;
    assert_eq!(left, bytes - evicted.bytes);
    assert!(left <= bytes * LOW_WATER_PERCENT / 100);
    assert_eq!(scene.present(100), (evicted.entries..100).collect::<Vec<_>>());
}

#[test]
fn only_results_count_as_files() {
    let scene = Scene::with_entries(10);
    for number in 0..50 {
        Store::save(&scene, key(1_000 + number), &manifest(number), MANIFEST).unwrap();
    }
    let limits = Limits { max_files: 10, max_size_bytes: 0 };
    assert_eq!(scene.evict(limits, at(200)).unwrap(), Evicted::default());
    scene.save(10);
    assert_eq!(scene.evict(limits, at(201)).unwrap().entries, 2);
    assert_eq!(scene.present(11), (2..11).collect::<Vec<_>>());
}

#[test]
fn trim_goes_by_size_and_by_age() {
    let scene = Scene::new();
    for number in 0..10 {
        scene.save(number);
        scene.flush(at(100 * number));
    }
    let age = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(scene.trim(None, None, at(1_000)).unwrap().entries, 0);
    assert_eq!(scene.trim(None, age(800), at(1_000)).unwrap().entries, 2);
    assert_eq!(scene.present(10), (2..10).collect::<Vec<_>>());
    scene.flush(at(1_001));
    let half = scene.totals().bytes / 2;
    assert_eq!(scene.trim(Some(half), None, at(1_002)).unwrap().entries, 4);
    assert_eq!(scene.present(10), (6..10).collect::<Vec<_>>());
    assert_eq!(scene.totals().evicted, 0);
    scene.trim(Some(0), None, at(1_003)).unwrap();
    assert_eq!(scene.totals(), Totals::default());
}

#[test]
fn the_order_survives_a_clock_that_goes_back() {
    let mut scene = Scene::new();
    for number in 0..10 {
        scene.save(number);
        scene.flush(at(1_000 - number));
        scene.reopen();
    }
    scene.trim(Some(scene.totals().bytes / 2), None, at(10)).unwrap();
    assert_eq!(scene.present(10), (5..10).collect::<Vec<_>>());
}

#[test]
fn clear_removes_everything_but_the_counters() {
    let mut scene = Scene::with_entries(50);
    scene.add_counters(&[("cache_miss", 50)]);
    scene.save(50);
    scene.clear().unwrap();
    assert_eq!(scene.totals(), Totals::default());
    assert_eq!(scene.present(51), [0; 0]);
    scene.save(3);
    scene.add_counters(&[("cache_miss", 1)]);
    scene.flush(at(101));
    sweep_all(&scene);
    assert_eq!(fs::read_dir(scene.path("trash")).unwrap().count(), 0);
    scene.reopen();
    assert_eq!(scene.present(51), [3]);
    assert_eq!(scene.counters(), [("cache_miss".to_owned(), 51)]);
    scene.assert_totals_match_files();
}

#[test]
fn counters_survive_everything_but_zero() {
    let mut scene = Scene::new();
    assert_eq!(scene.counters(), []);
    assert_eq!(scene.zeroed_at(), None);
    scene.add_counters(&[("b", 2), ("a", 1)]);
    scene.flush(at(1));
    scene.add_counters(&[("a", 1)]);
    assert_eq!(scene.counters(), [("a".to_owned(), 2), ("b".to_owned(), 2)]);
    scene.reopen();
    assert_eq!(scene.counters(), [("a".to_owned(), 2), ("b".to_owned(), 2)]);
    scene.zero_counters(at(77));
    scene.add_counters(&[("b", 5)]);
    assert_eq!(scene.zeroed_at(), Some(at(77)));
    assert_eq!(scene.counters(), [("b".to_owned(), 5)]);
    scene.reopen();
    assert_eq!(scene.counters(), [("b".to_owned(), 5)]);
    assert_eq!(scene.zeroed_at(), Some(at(77)));
}

#[test]
fn zero_also_zeroes_the_evicted() {
    let mut scene = Scene::with_entries(10);
    scene.evict(Limits { max_files: 5, max_size_bytes: 0 }, at(200)).unwrap();
    assert_eq!(scene.totals().evicted, 5);
    scene.reopen();
    assert_eq!(scene.totals().evicted, 5);
    scene.zero_counters(at(201));
    assert_eq!(scene.totals().evicted, 0);
    scene.reopen();
    assert_eq!(scene.totals().evicted, 0);
}

#[test]
fn manifests_of_a_source_are_newest_first() {
    let mut scene = Scene::new();
    let source = Digest::of(b"source");
    assert_eq!(scene.manifests_of_source(source), []);
    for number in 0..20 {
        scene.remember_source(source, key(number));
        scene.remember_source(Digest::of(b"other"), key(number));
        if number % 3 == 0 {
            scene.flush(at(number));
        }
    }
    scene.remember_source(source, key(5));
    let mut expected = vec![key(5)];
    expected.extend((4..20).rev().filter(|&number| number != 5).map(key));
    assert_eq!(scene.manifests_of_source(source), expected[..MANIFESTS_OF_SOURCE_MAX]);
    scene.reopen();
    assert_eq!(scene.manifests_of_source(source), expected[..MANIFESTS_OF_SOURCE_MAX]);
}

#[test]
fn a_damaged_blob_is_a_miss_and_goes() {
    let damage: [fn(&Path); 4] = [
        |path| {
            let mut bytes = fs::read(path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(path, bytes).unwrap();
        },
        |path| File::options().write(true).open(path).unwrap().set_len(100).unwrap(),
        |path| fs::write(path, "").unwrap(),
        |path| fs::write(path, "x".repeat(10_000)).unwrap(),
    ];
    let scene = Scene::with_entries(damage.len() as u64 + 1);
    for (number, damage) in (0..).zip(damage) {
        let path = scene.blob(number);
        damage(&path);
        assert_eq!(scene.load(key(number)), None, "damage {number}");
        assert!(!path.exists());
        assert!(!scene.contains(key(number)));
        assert_eq!(scene.totals().damaged, number + 1);
    }
    scene.flush(at(101));
    scene.assert_totals_match_files();
    scene.save(0);
    assert_eq!(scene.present(5), [0, 4]);
}

#[test]
fn a_blob_under_another_name_is_a_miss() {
    let scene = Scene::with_entries(2);
    fs::copy(scene.blob(0), scene.blob(1)).unwrap();
    assert_eq!(scene.load(key(1)), None);
    assert_eq!(scene.load(key(0)), Some(entry(0)));
}

#[test]
fn what_is_no_readable_file_is_a_miss() {
    let scene = Scene::with_entries(5);
    fs::remove_file(scene.blob(0)).unwrap();
    fs::remove_file(scene.blob(1)).unwrap();
    fs::create_dir(scene.blob(1)).unwrap();
    fs::remove_file(scene.blob(2)).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scene.blob(2),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    fs::remove_file(scene.blob(3)).unwrap();
    symlink("/dev/zero", scene.blob(3)).unwrap();
    assert_eq!(scene.present(5), [4]);
    // Root may read it even so; anyone else must miss.
    fs::set_permissions(scene.blob(4), fs::Permissions::from_mode(0o000)).unwrap();
    let expected = if rustix::process::geteuid().is_root() { vec![4] } else { vec![] };
    assert_eq!(scene.present(5), expected);
}

#[test]
fn eviction_goes_on_around_what_it_cannot_remove() {
    let scene = Scene::with_entries(10);
    fs::remove_file(scene.blob(0)).unwrap();
    fs::create_dir(scene.blob(0)).unwrap();
    scene.trim(Some(0), None, at(200)).unwrap();
    assert_eq!(scene.present(10), [0; 0]);
    assert_eq!(scene.totals().files, 1);
}

#[test]
fn eviction_spares_what_is_used_or_saved_meanwhile() {
    let scene = Scene::with_entries(4);
    let rows = scene.with_index(|index| index.oldest(i64::MAX, 10)).unwrap();
    assert_eq!(rows.len(), 4);
    scene.load(key(1)).unwrap();
    scene.save(2);
    let step = scene.remove_blobs(&rows);
    assert_eq!(step.removed, [key(0), key(3)]);
    assert_eq!(step.kept, [key(1), key(2)]);
    assert_eq!(scene.present(4), [1, 2]);
}

#[test]
fn a_disk_that_cannot_be_written_leaves_the_store_as_it_was() {
    let mut scene = Scene::with_entries(3);
    let before = scene.totals();
    scene.store.as_mut().unwrap().blobs.write_bytes = |file, bytes| {
        file.write_all(&bytes[..bytes.len() / 2])?;
        Err(ErrorKind::BrokenPipe.into())
    };
    let error = Store::save(&scene, key(1), &entry(9), RESULT).unwrap_err();
    assert!(matches!(&error, StoreError::File { path, source }
        if source.kind() == ErrorKind::BrokenPipe && path.ends_with("tmp")));
    assert!(error.to_string().contains("tmp"));
    assert_eq!(fs::read_dir(scene.path("tmp")).unwrap().count(), 0);
    assert_eq!(scene.present(4), [0, 1, 2]);
    assert_eq!(scene.totals(), before);
    scene.assert_totals_match_files();
}

#[test]
fn what_has_no_room_when_it_is_closed_is_not_stored() {
    let mut scene = Scene::with_entries(3);
    scene.store.as_mut().unwrap().blobs.close = |_| Err(ErrorKind::BrokenPipe.into());
    assert!(Store::save(&scene, key(1), &entry(9), RESULT).is_err());
    assert_eq!(scene.load(key(1)), Some(entry(1)));
    assert_eq!(fs::read_dir(scene.path("tmp")).unwrap().count(), 0);
}

#[test]
fn a_full_disk_loses_the_oldest_entries() {
    use std::sync::atomic::AtomicUsize;
    static REFUSALS: AtomicUsize = AtomicUsize::new(1);
    // Those of the index first, then those that it does not know yet.
    for flushed in [true, false] {
        let mut scene = match flushed {
            true => Scene::with_entries(100),
            false => Scene::new(),
        };
        if !flushed {
            (0..100).for_each(|number| scene.save(number));
        }
        REFUSALS.store(1, Ordering::Relaxed);
        scene.store.as_mut().unwrap().blobs.write_bytes =
            |file, bytes| match REFUSALS
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
            {
                Ok(_) => Err(ErrorKind::StorageFull.into()),
                Err(_) => file.write_all(bytes),
            };
        Store::save(&scene, key(200), &entry(200), RESULT).unwrap();
        assert_eq!(scene.load(key(200)), Some(entry(200)));
        let left = scene.present(100);
        assert!(left.len() < 100 && left.len() > 50, "{left:?}");
        assert_eq!(left.last(), Some(&99));
        assert_eq!(left[0] as usize, 100 - left.len(), "the oldest are gone: {left:?}");
        scene.assert_totals_match_files();
        // Where nothing helps, it is an error, and no more than that.
        REFUSALS.store(usize::MAX, Ordering::Relaxed);
        assert!(Store::save(&scene, key(201), &entry(201), RESULT).is_err());
        assert_eq!(fs::read_dir(scene.path("tmp")).unwrap().count(), 0);
    }
}

#[test]
fn a_folder_that_cannot_be_written_still_answers() {
    let mut scene = Scene::with_entries(3);
    scene.store = None;
    // Also root cannot write into files that stand where folders should be.
    for name in ["index.sqlite-wal", "index.sqlite-shm"] {
        let _ = fs::remove_file(scene.path(name));
    }
    fs::remove_file(scene.path("index.sqlite")).unwrap();
    fs::create_dir(scene.path("index.sqlite")).unwrap();
    fs::remove_dir(scene.path("tmp")).unwrap();
    fs::write(scene.path("tmp"), "").unwrap();
    scene.store = Some(Store::open(&scene.path("")).unwrap());
    assert_eq!(scene.present(3), [0, 1, 2]);
    assert!(Store::save(&scene, key(4), &entry(4), RESULT).is_err());
    scene.add_counters(&[("cache_miss", 1)]);
    assert!(matches!(Store::flush(&scene, at(1)), Err(StoreError::Index { .. })));
    assert_eq!(scene.counters(), [("cache_miss".to_owned(), 1)]);
    sweep_all(&scene);
    // It recovers by itself.
    fs::remove_dir(scene.path("index.sqlite")).unwrap();
    fs::remove_file(scene.path("tmp")).unwrap();
    scene.save(4);
    scene.flush(at(2));
    sweep_all(&scene);
    scene.assert_totals_match_files();
    assert_eq!(scene.totals().files, 4);
    assert_eq!(scene.counters(), [("cache_miss".to_owned(), 1)]);
}

#[test]
fn open_names_the_folder_it_cannot_make() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let Err(error) = Store::open(&file.join("cache")) else {
        panic!("opened below a file");
    };
    assert!(error.to_string().contains("file/cache"), "{error}");
}

#[test]
fn the_folder_may_be_removed_under_a_running_store() {
    let scene = Scene::with_entries(5);
    scene.save(5);
    fs::remove_dir_all(scene.path("")).unwrap();
    assert_eq!(scene.present(6), [0; 0]);
    assert_eq!(scene.standing(), Standing::Gone);
    assert!(Store::save(&scene, key(6), &entry(6), RESULT).is_err(), "nothing brings it back");
    scene.make_folder().unwrap();
    scene.save(7);
    assert_eq!(scene.present(8), [7]);
    scene.flush(at(200));
    sweep_all(&scene);
    assert_eq!(scene.totals().files, 1);
    scene.assert_totals_match_files();
    fs::remove_dir_all(scene.path("")).unwrap();
    scene.add_counters(&[("cache_miss", 1)]);
    assert!(Store::flush(&scene, at(201)).is_err());
    sweep_all(&scene);
    assert!(!scene.path("").exists(), "what goes on in the background makes no folders");
    scene.clear().unwrap();
    assert_eq!(scene.totals().files, 0);
    scene.flush(at(202));
}

#[test]
fn what_others_could_have_written_is_no_answer() {
    let scene = Scene::with_entries(3);
    fs::set_permissions(scene.blob(1), fs::Permissions::from_mode(0o666)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(scene.blob(2), Some(12_345), None).unwrap();
        assert_eq!(scene.present(3), [0]);
    }
    assert!(!scene.present(3).contains(&1));
    fs::set_permissions(scene.blob(1), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(scene.present(3).contains(&1));
}

#[test]
fn two_stores_of_one_folder_agree() {
    let scene = Scene::with_entries(10);
    let other = Store::open(&scene.path("")).unwrap();
    other.save(key(10), &entry(10), RESULT).unwrap();
    other.add_counters(&[("cache_miss", 2)]);
    scene.add_counters(&[("cache_miss", 3)]);
    other.flush(at(300)).unwrap();
    scene.flush(at(301));
    other.flush(at(302)).unwrap();
    for store in [&*scene, &other] {
        assert_eq!(store.totals().files, 11);
        assert_eq!(store.counters(), [("cache_miss".to_owned(), 5)]);
    }
    // Both evict at the same time: together they remove what one would have.
    let limits = Limits { max_files: 8, ..Limits::default() };
    std::thread::scope(|scope| {
        for store in [&*scene, &other] {
            scope.spawn(|| store.evict(limits, at(400)).unwrap());
        }
    });
    scene.flush(at(401));
    other.flush(at(402)).unwrap();
    assert_eq!(scene.totals(), Totals { evicted: scene.totals().evicted, ..other.totals() });
    assert!((1..=8).contains(&scene.totals().files), "{:?}", scene.totals());
    scene.assert_totals_match_files();
}

#[test]
fn a_damaged_index_is_made_anew() {
    let damage: [fn(&Path); 4] = [
        |index| fs::write(index, "this is no database".repeat(1_000)).unwrap(),
        |index| {
            let length = fs::metadata(index).unwrap().len();
            File::options().write(true).open(index).unwrap().set_len(length / 2).unwrap();
        },
        |index| {
            let newer = rusqlite::Connection::open(index).unwrap();
            newer.execute_batch("PRAGMA user_version = 99").unwrap();
        },
        |index| fs::remove_file(index).unwrap(),
    ];
    for (number, damage) in damage.into_iter().enumerate() {
        let mut scene = Scene::with_entries(50);
        sweep_all(&scene);
        scene.store = None;
        // Everything into the file that is to be damaged.
        let whole = rusqlite::Connection::open(scene.path("index.sqlite")).unwrap();
        whole.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(whole);
        damage(&scene.path("index.sqlite"));
        scene.store = Some(Store::open(&scene.path("")).unwrap());
        scene.save(50);
        scene.flush(at(200));
        sweep_all(&scene);
        assert_eq!(scene.totals().files, 51, "damage {number}");
        assert_eq!(scene.present(51).len(), 51);
        scene.assert_totals_match_files();
    }
}

#[test]
fn an_index_that_is_damaged_while_open_loses_nothing_that_counts() {
    let scene = Scene::with_entries(50);
    scene.add_counters(&[("cache_miss", 50)]);
    scene.flush(at(150));
    for name in ["index.sqlite", "index.sqlite-wal"] {
        let mut file = File::options().write(true).open(scene.path(name)).unwrap();
        file.write_all(&[0xff; 100_000]).unwrap();
    }
    let _ = fs::remove_file(scene.path("index.sqlite-shm"));
    scene.save(50);
    for seconds in 200..210 {
        let _ = Store::flush(&scene, at(seconds));
    }
    assert_eq!(scene.present(51).len(), 51);
    let mut scene = scene;
    scene.reopen();
    sweep_all(&scene);
    assert_eq!(scene.present(51).len(), 51);
    scene.assert_totals_match_files();
}

#[test]
fn killed_before_the_index_was_written() {
    let mut scene = Scene::with_entries(3);
    scene.save(3);
    Store::save(&scene, key(100), &manifest(1), MANIFEST).unwrap();
    scene.flush(at(101));
    scene.save(4);
    let longer = Entry { parts: [entry(2).parts, manifest(2).parts].concat() };
    Store::save(&scene, key(100), &longer, MANIFEST).unwrap();
    scene.kill();
    assert_eq!(scene.present(5), [0, 1, 2, 3, 4]);
    sweep_all(&scene);
    assert_eq!(scene.totals().files, 5);
    scene.assert_totals_match_files();
}

#[test]
fn two_processes_share_a_store() {
    let mut scene = Scene::with_entries(2);
    sweep_all(&scene);
    let mut other = Store::open(&scene.path("")).unwrap();
    assert!(!other.sweep(), "nothing points to a crash");
    other.save(key(7), &entry(7), RESULT).unwrap();
    other.add_counters(&[("hit", 3)]);
    scene.add_counters(&[("hit", 2)]);
    scene.flush(at(101));
    other.flush(at(102)).unwrap();
    // This one has nothing to write, and sees what the other wrote.
    scene.flush(at(103));
    for store in [&scene, &other] {
        assert_eq!(store.counters(), [("hit".to_owned(), 5)]);
        assert_eq!(store.totals().files, 3);
        assert!(store.load(key(0)).is_some() && store.load(key(7)).is_some());
    }
    // Both keep to the limit together.
    let limits = Limits { max_files: 3, ..Limits::default() };
    scene.save(8);
    scene.flush(at(104));
    assert!(scene.evict(limits, at(105)).unwrap().entries > 0);
    other.flush(at(106)).unwrap();
    assert!(other.totals().files <= 3);
    assert_eq!(other.evict(limits, at(107)).unwrap(), Evicted::default());
    scene.assert_totals_match_files();
    // The end of one says nothing of what the other has in memory.
    scene.store = None;
    other.save(key(9), &entry(9), RESULT).unwrap();
    crash(&mut other);
    std::mem::forget(other);
    scene.store = Some(Store::open(&scene.path("")).unwrap());
    sweep_all(&scene);
    scene.assert_totals_match_files();
}

#[test]
fn killed_while_a_blob_was_written() {
    let mut scene = Scene::with_entries(1);
    let whole = entry(7).encode(key(7), None).unwrap();
    let (old, fresh) = (scene.path("tmp/1-1-1"), scene.path("tmp/1-1-2"));
    for path in [&old, &fresh] {
        fs::write(path, &whole[..whole.len() / 2]).unwrap();
    }
    let long_ago = SystemTime::now() - 2 * blobs::TEMP_AGE_MAX;
    File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    // A power cut may leave a name without its content.
    fs::create_dir_all(scene.blob(7).parent().unwrap()).unwrap();
    fs::write(scene.blob(7), &whole[..whole.len() / 2]).unwrap();
    scene.kill();
    sweep_all(&scene);
    assert!(!old.exists());
    assert!(fresh.exists());
    assert!(!scene.blob(7).exists());
    assert_eq!(scene.present(8), [0]);
    scene.assert_totals_match_files();
}

#[test]
fn killed_while_it_evicted_or_cleared() {
    let mut scene = Scene::with_entries(10);
    // Blobs went, rows did not.
    for number in 0..4 {
        fs::remove_file(scene.blob(number)).unwrap();
    }
    scene.kill();
    sweep_all(&scene);
    assert_eq!(scene.totals().files, 6);
    scene.assert_totals_match_files();
    // The folder went into the trash, the index did not follow.
    scene.blobs.discard().unwrap();
    scene.kill();
    sweep_all(&scene);
    assert_eq!(scene.totals(), Totals::default());
    assert_eq!(fs::read_dir(scene.path("trash")).unwrap().count(), 0);
    // The index went, its log did not.
    scene.save(1);
    scene.flush(at(300));
    scene.blobs.set_aside(&scene.path("index.sqlite")).unwrap();
    scene.kill();
    sweep_all(&scene);
    assert_eq!(scene.totals().files, 1);
    scene.assert_totals_match_files();
}

#[test]
fn a_store_that_ended_in_order_is_not_walked() {
    let mut scene = Scene::with_entries(3);
    assert!(scene.sweep());
    sweep_all(&scene);
    scene.reopen();
    assert!(!scene.sweep());
    scene.kill();
    assert!(scene.sweep());
}

#[test]
fn two_processes_share_a_folder() {
    let scene = Scene::with_entries(5);
    let other = Store::open(&scene.path("")).unwrap();
    other.save(key(5), &entry(5), RESULT).unwrap();
    scene.add_counters(&[("cache_miss", 1)]);
    other.add_counters(&[("cache_miss", 2)]);
    other.flush(at(200)).unwrap();
    scene.flush(at(200));
    assert_eq!(scene.present(6).len(), 6);
    assert_eq!(scene.totals().files, 6);
    assert_eq!(scene.counters(), [("cache_miss".to_owned(), 3)]);
    scene.clear().unwrap();
    assert_eq!(other.load(key(5)), None);
    other.save(key(6), &entry(6), RESULT).unwrap();
    other.flush(at(201)).unwrap();
    drop(other);
    scene.save(7);
    scene.flush(at(202));
    sweep_all(&scene);
    assert_eq!(scene.totals().files, 2);
    scene.assert_totals_match_files();
}

#[test]
fn a_check_finds_what_is_damaged() {
    let scene = Scene::with_entries(20);
    let whole = fs::read(scene.blob(3)).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    fs::write(scene.blob(3), flipped).unwrap();
    fs::write(scene.blob(8), &whole[..whole.len() - 1]).unwrap();
    fs::write(scene.blob(9), "damaged").unwrap();
    let mut other = fs::read(scene.blob(10)).unwrap();
    other[8] = 99;
    fs::write(scene.blob(10), other).unwrap();
    fs::remove_file(scene.blob(11)).unwrap();

    let checker = Checker::new(&scene.path(""));
    let keys = checker.keys();
    assert!(keys.is_sorted());
    assert_eq!(keys.len(), 19);
    let bad: Vec<(Digest, Blob)> = keys
        .iter()
        .map(|&key| (key, checker.check(key)))
        .filter(|(_, blob)| !matches!(blob, Blob::Sound { .. }))
        .collect();
    assert_eq!(bad.len(), 4, "{bad:?}");
    assert!(bad.iter().any(|(at, blob)| *at == key(10) && matches!(blob, Blob::Outdated { .. })));
    assert_eq!(checker.check(key(11)), Blob::Gone);
    assert_eq!(checker.keys().len(), 19, "looking changes nothing");

    // Another entry has taken the place of one that was found damaged.
    scene.save(3);
    assert!(matches!(scene.recheck(key(3)), (Blob::Sound { .. }, false)));
    for (at, blob) in bad.into_iter().filter(|(at, _)| *at != key(3)) {
        assert_eq!(scene.recheck(at), (blob, true));
        assert_eq!(scene.recheck(at), (Blob::Gone, false));
    }
    scene.flush(at(200));
    (0..Store::SHARDS).for_each(|shard| scene.find_lost(shard as u8).unwrap());
    assert_eq!((scene.take_lost(), scene.take_lost()), (1, 0));
    assert_eq!(scene.totals().files, 16);
    scene.assert_totals_match_files();
}

#[test]
fn a_manifest_that_says_nothing_is_damaged() {
    let scene = Scene::new();
    let saved = |number: u64, bytes: &[u8]| {
        let mut entry = Entry::default();
        entry.push(PartKind::Manifest, bytes.to_vec());
        Store::save(&scene, key(number), &entry, MANIFEST).unwrap();
        scene.recheck(key(number)).0
    };
    let sound = crate::manifest::Manifest::encode(&[]);
    assert!(matches!(saved(1, &sound), Blob::Sound { .. }));
    assert!(matches!(saved(2, &sound[..2]), Blob::Damaged { .. }));
    assert!(matches!(saved(3, &[99, 1, 2]), Blob::Outdated { .. }));
}

#[test]
fn one_entry_is_removed_and_not_the_one_that_took_its_place() {
    let scene = Scene::with_entries(3);
    assert!(!scene.remove(key(1), &entry(2)));
    assert!(scene.remove(key(1), &entry(1)));
    assert!(!scene.remove(key(1), &entry(1)));
    scene.flush(at(200));
    assert_eq!(scene.totals().files, 2);
    scene.assert_totals_match_files();
}

#[test]
fn a_scratch_folder_goes_with_its_owner() {
    let scene = Scene::new();
    let scratch = scene.scratch().unwrap();
    fs::write(scratch.path().join("a.o"), "x").unwrap();
    let path = scratch.path().to_owned();
    assert!(path.starts_with(scene.path("tmp")));
    drop(scratch);
    assert!(!path.exists());
}

#[test]
fn threads_may_do_everything_at_once() {
    const KEYS: u64 = 40;
    let scene = Scene::new();
    let store: &Store = &scene;
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            scope.spawn(move || {
                for round in 0..300 {
                    let number = (round * 7 + thread * 11) % KEYS;
                    match round % 3 {
                        0 => store.save(key(number), &entry(number), RESULT).unwrap(),
                        _ => {
                            let loaded = store.load(key(number));
                            assert!(loaded.is_none() || loaded == Some(entry(number)));
                        }
                    }
                }
            });
        }
        scope.spawn(move || {
            for round in 0..60 {
                store.flush(at(round)).unwrap();
                store.evict(Limits { max_files: 20, max_size_bytes: 0 }, at(round)).unwrap();
                store.sweep();
                if round % 20 == 19 {
                    store.clear().unwrap();
                }
            }
        });
    });
    scene.flush(at(1_000));
    sweep_all(&scene);
    scene.assert_totals_match_files();
    assert_eq!(scene.totals().damaged, 0);
}
