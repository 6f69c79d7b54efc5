//! The bytes of a manifest: tables of what results share, written and read.

use super::Recorded;
use super::names::write_names;
use compiler::hasher::Digest;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::hash::Hash;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(super) fn put_u32(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

/// Numbers things in the order of their first use.
pub(super) struct Table<T> {
    items: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Copy + Eq + Hash> Table<T> {
    fn new() -> Table<T> {
        Table { items: Vec::new(), numbers: HashMap::new() }
    }

    fn add(&mut self, item: T) -> u32 {
        *self.numbers.entry(item).or_insert_with(|| {
            self.items.push(item);
            self.items.len() as u32 - 1
        })
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }
}

/// What the results of a manifest share.
pub(super) struct Tables<'a> {
    paths: Table<&'a Path>,
    names: Table<&'a Path>,
    inputs: Table<(u32, Digest)>,
    /// By the digest of folder and names: where they are first used.
    absents: HashMap<Digest, u32>,
    /// Each with its folder and the numbers of its names.
    absent_lists: Vec<(u32, Digest, Vec<u32>)>,
}

impl<'a> Tables<'a> {
    pub(super) fn of(results: &[Recorded<'a>]) -> Tables<'a> {
        let mut tables = Tables {
            paths: Table::new(),
            names: Table::new(),
            inputs: Table::new(),
            absents: HashMap::new(),
            absent_lists: Vec::new(),
        };
        for result in results {
            for (path, digest) in result.files.iter().chain(&result.states) {
                let path = tables.paths.add(path);
                tables.inputs.add((path, *digest));
            }
            let pairs = result.same_folders.iter().flat_map(|(left, right)| [left, right]);
            let folders = result.search_folders.iter().map(|(folder, _)| folder);
            for path in pairs.chain(folders).chain(&result.present).chain(&result.directories) {
                tables.paths.add(path);
            }
            for absent in &result.absent {
                if tables.absents.contains_key(&absent.set) {
                    continue;
                }
                let folder = tables.paths.add(absent.folder);
                let names = absent.names.iter().map(|name| tables.names.add(name)).collect();
                tables.absents.insert(absent.set, tables.absent_lists.len() as u32);
                tables.absent_lists.push((folder, absent.set, names));
            }
        }
        tables
    }

    pub(super) fn write(&mut self, results: &[Recorded<'a>], bytes: &mut Vec<u8>) {
        for table in [&self.paths, &self.names] {
            put_u32(bytes, table.len() as u32);
            for path in &table.items {
                bytes.extend_from_slice(&(path.as_os_str().len() as u16).to_le_bytes());
                bytes.extend_from_slice(path.as_os_str().as_bytes());
            }
        }
        put_u32(bytes, self.inputs.len() as u32);
        for (path, digest) in &self.inputs.items {
            put_u32(bytes, *path);
            bytes.extend_from_slice(&digest.0);
        }
        put_u32(bytes, self.absent_lists.len() as u32);
        for (folder, set, names) in &self.absent_lists {
            put_u32(bytes, *folder);
            bytes.extend_from_slice(&set.0);
            write_names(names, self.names.len(), bytes);
        }
        for result in results {
            let body = self.result(result);
            put_u32(bytes, body.len() as u32);
            bytes.extend_from_slice(&body);
        }
    }

    /// All that it names is in the tables: adding it only finds its number.
    fn result(&mut self, result: &Recorded<'a>) -> Vec<u8> {
        let mut body = result.key.0.to_vec();
        self.put_inputs(&result.files, &mut body);
        for list in [&result.present, &result.directories] {
            put_u32(&mut body, list.len() as u32);
            for path in list {
                put_u32(&mut body, self.paths.add(path));
            }
        }
        put_u32(&mut body, result.same_folders.len() as u32);
        for (left, right) in &result.same_folders {
            put_u32(&mut body, self.paths.add(left));
            put_u32(&mut body, self.paths.add(right));
        }
        put_u32(&mut body, result.search_folders.len() as u32);
        for (folder, first) in &result.search_folders {
            put_u32(&mut body, self.paths.add(folder));
            put_u32(&mut body, *first);
        }
        put_u32(&mut body, result.absent.len() as u32);
        for absent in &result.absent {
            put_u32(&mut body, self.absents.get(&absent.set).copied().unwrap_or(u32::MAX));
        }
        self.put_inputs(&result.states, &mut body);
        body.push(u8::from(result.day.is_some()));
        body.extend(result.day.iter().flatten());
        body.push(u8::from(result.names.is_some()));
        body.extend(result.names.iter().flat_map(|names| names.0));
        body
    }

    fn put_inputs(&mut self, inputs: &[(&'a Path, Digest)], body: &mut Vec<u8>) {
        put_u32(body, inputs.len() as u32);
        for (path, digest) in inputs {
            let path = self.paths.add(path);
            put_u32(body, self.inputs.add((path, *digest)));
        }
    }
}

/// A cursor over the bytes.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A count of items that take at least `item_bytes` each: what is left bounds it.
    pub(super) fn count(&mut self, item_bytes: usize) -> Option<usize> {
        let count = self.u32()? as usize;
        (count <= self.0.len() / item_bytes).then_some(count)
    }

    pub(super) fn digest(&mut self) -> Option<Digest> {
        Some(Digest(self.take(Digest::LEN)?.try_into().ok()?))
    }

    pub(super) fn path(&mut self, paths: &[&'a Path]) -> Option<&'a Path> {
        paths.get(self.u32()? as usize).copied()
    }

    pub(super) fn path_table(&mut self) -> Option<Vec<&'a Path>> {
        let paths = (0..self.count(2)?).map(|_| {
            let length = u16::from_le_bytes(self.take(2)?.try_into().ok()?);
            Some(Path::new(OsStr::from_bytes(self.take(length.into())?)))
        });
        paths.collect()
    }

    /// A list of indexes, by what each stands for.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(usize) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count(4)?;
        (0..count).map(|_| item(self.u32()? as usize)).collect()
    }
}
