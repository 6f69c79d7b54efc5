//! Names that are absent from a folder: read only where the folder's stamp does not prove it.

use super::bytes::{Reader, put_u32};
use std::path::Path;
use std::sync::Arc;

/// Some plain names.
#[derive(Clone, Debug)]
pub enum Names<'a> {
    /// In order.
    Listed(Vec<&'a Path>),
    /// As a manifest has them: the table of its names, and which of them.
    Stored(Arc<[&'a Path]>, StoredNames<'a>),
}

/// Which names of a table.
#[derive(Clone, Copy, Debug)]
pub enum StoredNames<'a> {
    /// Little-endian indexes, four bytes each.
    Indexes(&'a [u8]),
    /// A bit for each.
    Bits(&'a [u8]),
}

const INDEXES: u8 = 0;
const BITS: u8 = 1;

/// Few of many names are listed, many are marked.
pub(super) fn write_names(indexes: &[u32], of: usize, bytes: &mut Vec<u8>) {
    let bits = of.div_ceil(8);
    if indexes.len() * 4 <= bits {
        bytes.push(INDEXES);
        put_u32(bytes, indexes.len() as u32);
        indexes.iter().for_each(|index| put_u32(bytes, *index));
        return;
    }
    bytes.push(BITS);
    let start = bytes.len();
    bytes.resize(start + bits, 0);
    for index in indexes {
        bytes[start + *index as usize / 8] |= 1 << (index % 8);
    }
}

impl<'a> StoredNames<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, of: usize) -> Option<StoredNames<'a>> {
        match reader.take(1)? {
            [INDEXES] => {
                let count = reader.count(4)?;
                reader.take(4 * count).map(StoredNames::Indexes)
            }
            [BITS] => reader.take(of.div_ceil(8)).map(StoredNames::Bits),
            _ => None,
        }
    }

    fn indexes(self) -> Box<dyn Iterator<Item = usize> + 'a> {
        match self {
            StoredNames::Indexes(bytes) => {
                let (indexes, _) = bytes.as_chunks::<4>();
                Box::new(indexes.iter().map(|index| u32::from_le_bytes(*index) as usize))
            }
            StoredNames::Bits(bytes) => Box::new((0..bytes.len() * 8).filter(|index| {
                let byte = bytes.get(index / 8).copied().unwrap_or_default();
                byte & (1 << (index % 8)) != 0
            })),
        }
    }

    /// Whether there is a name for each index.
    pub(super) fn are_below(self, count: usize) -> bool {
        self.indexes().all(|index| index < count)
    }
}

impl<'a> Names<'a> {
    /// Each name. An index without a name gives the folder itself, which is there.
    pub fn iter(&self) -> Box<dyn Iterator<Item = &'a Path> + '_> {
        match self {
            Names::Listed(names) => Box::new(names.iter().copied()),
            Names::Stored(table, stored) => Box::new(
                stored.indexes().map(|index| table.get(index).copied().unwrap_or(Path::new("."))),
            ),
        }
    }
}

impl PartialEq for Names<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Names<'_> {}
