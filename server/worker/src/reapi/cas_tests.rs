//! The store under caps, crashes and lies.

use super::*;

const ROOM: u64 = 1 << 20;

fn cas(folder: &Path, bytes_max: u64) -> Arc<Cas> {
    Arc::new(Cas::open(folder, bytes_max).unwrap())
}

fn stored(cas: &Arc<Cas>, content: &[u8]) -> BlobName {
    let name = Function::Sha256.name(content);
    cas.put(&name, content).unwrap();
    name
}

#[test]
fn what_is_put_is_got_also_by_the_next_worker() {
    let folder = tempfile::tempdir().unwrap();
    let first = cas(folder.path(), ROOM);
    let name = stored(&first, b"content");
    let action = Function::Blake3.name(b"action");
    first.put_result(&action, b"result").unwrap();
    assert_eq!(first.get(&name).unwrap(), "content");
    assert_eq!(first.result(&action).unwrap(), b"result");
    assert!(!first.has(Kind::Result, &name) && first.get(&action).is_none());
    assert!(Cas::open(folder.path(), ROOM).is_err(), "two use one folder");
    let load = first.load();
    drop(first);
    std::fs::write(folder.path().join("incoming/7"), "left behind").unwrap();
    let second = cas(folder.path(), ROOM);
    assert_eq!((second.load().bytes, second.load().files), (load.bytes, 2));
    assert_eq!(second.get(&name).unwrap(), "content");
    assert!(!folder.path().join("incoming/7").exists());
}

#[test]
fn the_empty_blob_is_always_there() {
    let folder = tempfile::tempdir().unwrap();
    let cas = cas(folder.path(), ROOM);
    for function in Function::ALL {
        let name = function.name(b"");
        assert!(cas.has(Kind::Blob, &name));
        assert_eq!(cas.get(&name).unwrap(), "");
        assert!(!cas.has(Kind::Result, &name));
    }
}

#[test]
fn who_was_not_used_for_longest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = 1_000;
    let cas = cas(folder.path(), 3 * (bytes as u64 + FILE_COST_BYTES));
    let names: Vec<_> = (0..3).map(|number| stored(&cas, &vec![number; bytes])).collect();
    assert!(cas.has(Kind::Blob, &names[0]));
    let last = stored(&cas, &vec![9; bytes]);
    let there = [&names[0], &names[1], &names[2], &last].map(|name| cas.get(name).is_some());
    assert_eq!(there, [true, false, true, true]);
    assert_eq!((cas.load().evicted, cas.load().files), (1, 3));
    assert!(!cas.path(&(Kind::Blob, names[1])).exists());
    // What is on its way takes room, and gives it back.
    let incoming = cas.begin(3 * bytes as u64).unwrap();
    assert!(matches!(cas.begin(3 * bytes as u64), Err(NotStored::NoRoom)));
    drop(incoming);
    assert_eq!((cas.load().bytes, cas.load().files), (0, 0));
    assert!(matches!(cas.begin(ROOM), Err(NotStored::TooLarge(_))));
}

#[test]
fn what_is_not_what_its_name_says_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let cas = cas(folder.path(), ROOM);
    let name = Function::Sha256.name(b"right");
    assert!(matches!(cas.put(&name, b"wrong"), Err(NotStored::Wrong)));
    let begin = || cas.begin(name.bytes).unwrap().expect(name.function);
    let mut short = begin();
    short.write_all(b"righ").unwrap();
    assert!(matches!(short.finish(&name), Err(NotStored::Wrong)));
    let mut wrong = begin();
    wrong.write_all(b"wrong").unwrap();
    assert!(matches!(wrong.finish(&name), Err(NotStored::Wrong)));
    assert!(begin().write_all(b"right and more").is_err());
    assert!(!cas.has(Kind::Blob, &name) && cas.load().bytes == 0);
    let mut right = begin();
    right.write_all(b"ri").unwrap();
    right.write_all(b"ght").unwrap();
    right.finish(&name).unwrap();
    assert_eq!(cas.get(&name).unwrap(), "right");
}

#[test]
fn a_damaged_disk_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let cas = cas(folder.path(), ROOM);
    let (name, action) = (stored(&cas, b"content"), Function::Sha256.name(b"action"));
    cas.put_result(&action, b"result").unwrap();
    for key in [(Kind::Blob, name), (Kind::Result, action)] {
        std::fs::remove_file(cas.path(&key)).unwrap();
        std::fs::write(cas.path(&key), vec![0; 40]).unwrap();
    }
    assert!(cas.get(&name).is_none() && cas.result(&action).is_none());
    // From then on it is just missing.
    assert!(!cas.has(Kind::Blob, &name) && !cas.has(Kind::Result, &action));
    let gone = stored(&cas, b"gone");
    std::fs::remove_file(cas.path(&(Kind::Blob, gone))).unwrap();
    assert!(cas.get(&gone).is_none() && !cas.has(Kind::Blob, &gone));
    assert_eq!(cas.load().files, 0);
}

#[test]
fn many_at_once_keep_the_cap() {
    let folder = tempfile::tempdir().unwrap();
    let cas = cas(folder.path(), 40 * FILE_COST_BYTES);
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let cas = &cas;
            scope.spawn(move || {
                for number in 0..100_u32 {
                    // Half of them are the same in all threads.
                    let content = [number, if number % 2 == 0 { thread } else { 9 }];
                    let content = content.map(u32::to_le_bytes).concat();
                    let name = Function::Blake3.name(&content);
                    cas.put(&name, &content).unwrap();
                    if let Some(found) = cas.get(&name) {
                        assert_eq!(found, content);
                    }
                }
            });
        }
    });
    let load = cas.load();
    assert!(load.bytes <= load.bytes_max && load.files < 40);
    let on_disk = found(folder.path()).unwrap();
    assert_eq!(on_disk.len(), load.files);
    assert_eq!(on_disk.iter().map(|(_, cost, _)| cost).sum::<u64>(), load.bytes);
}
