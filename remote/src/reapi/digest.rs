//! Names of blobs: the two digest functions that rcache knows, and the names of blobs as resources.

use super::proto;
use sha2::Digest as _;
use std::io::{self, Read};

/// Digits of a hash; both functions make 32 bytes.
pub const HASH_DIGITS: usize = 64;

/// How blobs are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Function {
    /// Every server has it.
    Sha256,
    /// Faster, and that of rcache's own workers.
    Blake3,
}

/// What a hash is made with.
pub enum Hasher {
    /// SHA-256.
    Sha256(Box<sha2::Sha256>),
    /// BLAKE3.
    Blake3(Box<blake3::Hasher>),
}

/// A blob's name, checked: 32 bytes and a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobName {
    /// Which function made the hash.
    pub function: Function,
    /// The hash.
    pub hash: [u8; 32],
    /// The blob's length.
    pub bytes: u64,
}

impl Function {
    /// All of them, the preferred one first.
    pub const ALL: [Function; 2] = [Function::Blake3, Function::Sha256];

    /// As it is in messages.
    pub fn proto(self) -> proto::DigestFunction {
        match self {
            Function::Sha256 => proto::DigestFunction::Sha256,
            Function::Blake3 => proto::DigestFunction::Blake3,
        }
    }

    /// That of a message: where none is said, a hash of this length is SHA-256. `None` for one that is not
    /// known here.
    pub fn of_message(number: i32) -> Option<Function> {
        match proto::DigestFunction::try_from(number) {
            Ok(proto::DigestFunction::Unknown | proto::DigestFunction::Sha256) => {
                Some(Function::Sha256)
            }
            Ok(proto::DigestFunction::Blake3) => Some(Function::Blake3),
            _ => None,
        }
    }

    /// A hasher that has seen nothing.
    pub fn hasher(self) -> Hasher {
        match self {
            Function::Sha256 => Hasher::Sha256(Box::default()),
            Function::Blake3 => Hasher::Blake3(Box::default()),
        }
    }

    /// The name of these bytes.
    pub fn name(self, content: &[u8]) -> BlobName {
        let mut hasher = self.hasher();
        hasher.update(content);
        hasher.finish(content.len() as u64)
    }

    /// The name of what can be read.
    ///
    /// # Errors
    /// It cannot be read to its end.
    pub fn name_of(self, content: &mut impl Read) -> io::Result<BlobName> {
        let mut hasher = self.hasher();
        let mut piece = vec![0; READ_BYTES];
        let mut bytes = 0;
        loop {
            match content.read(&mut piece) {
                Ok(0) => return Ok(hasher.finish(bytes)),
                Ok(count) => {
                    hasher.update(&piece[..count]);
                    bytes += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The part of a resource's name that says which function it is, where one has to.
    fn segment(self) -> &'static str {
        match self {
            Function::Sha256 => "",
            Function::Blake3 => "blake3/",
        }
    }
}

/// What is read at a time.
const READ_BYTES: usize = 64 << 10;

impl Hasher {
    /// What follows.
    pub fn update(&mut self, content: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(content),
            Hasher::Blake3(hasher) => {
                hasher.update(content);
            }
        }
    }

    /// The name of all that came, which was so long.
    pub fn finish(self, bytes: u64) -> BlobName {
        match self {
            Hasher::Sha256(hasher) => {
                let hash = hasher.finalize().into();
                BlobName { function: Function::Sha256, hash, bytes }
            }
            Hasher::Blake3(hasher) => {
                let hash = *hasher.finalize().as_bytes();
                BlobName { function: Function::Blake3, hash, bytes }
            }
        }
    }
}

impl BlobName {
    /// That of a message, where it is well made.
    pub fn of_message(function: Function, digest: &proto::Digest) -> Option<BlobName> {
        let bytes = u64::try_from(digest.size_bytes).ok()?;
        Some(BlobName { function, hash: hash_of_digits(digest.hash.as_bytes())?, bytes })
    }

    /// As it is in messages.
    pub fn message(&self) -> proto::Digest {
        proto::Digest { hash: self.digits(), size_bytes: self.bytes as i64 }
    }

    /// The hash in small hexadecimal digits.
    pub fn digits(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(HASH_DIGITS);
        for byte in self.hash {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }

    /// `blobs/…`: what a violation is about, and what follows an instance's name where a blob is read.
    pub fn resource(&self) -> String {
        format!("blobs/{}{}/{}", self.function.segment(), self.digits(), self.bytes)
    }

    /// `compressed-blobs/zstd/…`.
    pub fn packed_resource(&self) -> String {
        let segment = self.function.segment();
        format!("compressed-blobs/zstd/{segment}{}/{}", self.digits(), self.bytes)
    }
}

/// The bytes of 64 small hexadecimal digits.
pub fn hash_of_digits(digits: &[u8]) -> Option<[u8; 32]> {
    if digits.len() != HASH_DIGITS {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_world_knows() {
        let empty = Function::Sha256.name(b"");
        let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty.digits(), known);
        assert_eq!(empty.resource(), format!("blobs/{known}/0"));
        let blake = Function::Blake3.name(b"");
        let known = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(blake.packed_resource(), format!("compressed-blobs/zstd/blake3/{known}/0"));
        for function in Function::ALL {
            let content = vec![7; 3 * READ_BYTES + 1];
            let name = function.name(&content);
            assert_eq!(function.name_of(&mut &content[..]).unwrap(), name);
            assert_eq!(BlobName::of_message(function, &name.message()), Some(name));
            assert_eq!(Function::of_message(function.proto() as i32), Some(function));
        }
    }

    #[test]
    fn a_name_that_is_not_well_made_is_none() {
        let good = Function::Sha256.name(b"x").message();
        let with = |hash: &str, size_bytes| proto::Digest { hash: hash.to_owned(), size_bytes };
        let is_good = |digest| BlobName::of_message(Function::Sha256, &digest).is_some();
        assert!(is_good(good.clone()));
        assert!(!is_good(with(&good.hash, -1)));
        assert!(!is_good(with(&good.hash.to_uppercase(), 1)));
        assert!(!is_good(with(&good.hash[1..], 1)));
        assert!(!is_good(with(&good.hash.replace(|_| true, "/"), 1)));
        assert_eq!(Function::of_message(3), None);
    }
}
