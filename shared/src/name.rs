//! Names of shared objects: a digest of what is asked for and of the settings under which it was made.

use std::fmt;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// All that is known under a source key: see [`crate::bundle`].
    Unit = 1,
    /// The outputs of one compile.
    Result = 2,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 2] = [Kind::Unit, Kind::Result];

    /// The kind of a byte in an envelope.
    pub fn from_byte(byte: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// What its names begin with.
    pub fn letter(self) -> char {
        match self {
            Kind::Unit => 'u',
            Kind::Result => 'r',
        }
    }
}

/// The name of a shared object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// What it is.
    pub kind: Kind,
    /// What tells it from all others.
    pub digest: [u8; Name::LEN],
}

impl Name {
    /// The length of a digest.
    pub const LEN: usize = blake3::OUT_LEN;

    /// The name of what a key of the local cache stands for. `domain` keeps apart what was made under
    /// settings that overlook different things.
    pub fn of(kind: Kind, domain: &[u8], key: &[u8]) -> Name {
        let mut hasher = blake3::Hasher::new_derive_key("rcache shared name 1");
        hasher.update(&[kind as u8]);
        hasher.update(&(domain.len() as u64).to_le_bytes());
        hasher.update(domain);
        hasher.update(key);
        Name { kind, digest: *hasher.finalize().as_bytes() }
    }

    /// The digest in hexadecimal digits.
    pub fn hex(&self) -> String {
        hex(&self.digest)
    }

    /// Where it is below the root of an object store: 256 folders for each kind.
    pub fn path(&self) -> String {
        let hex = self.hex();
        format!("{}/{}/{}", self.kind.letter(), &hex[..2], &hex[2..])
    }

    /// The name that [`Name::path`] was made of.
    pub fn from_path(path: &str) -> Option<Name> {
        let mut parts = path.trim_matches('/').rsplit('/');
        let (rest, head, letter) = (parts.next()?, parts.next()?, parts.next()?);
        let kind = Kind::ALL.into_iter().find(|kind| letter == kind.letter().to_string())?;
        let digest = from_hex(&format!("{head}{rest}"))?;
        Some(Name { kind, digest: digest.try_into().ok()? })
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.letter(), self.hex())
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of hexadecimal digits.
pub(crate) fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let is_even = digits.len().is_multiple_of(2);
    if !is_even || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_by_all_that_they_are_made_of() {
        let name = Name::of(Kind::Unit, b"ab", b"c");
        for other in [
            Name::of(Kind::Result, b"ab", b"c"),
            Name::of(Kind::Unit, b"a", b"bc"),
            Name::of(Kind::Unit, b"ab", b"d"),
        ] {
            assert_ne!(name.digest, other.digest);
        }
        assert_eq!(name, Name::of(Kind::Unit, b"ab", b"c"));
        assert_eq!(Name::from_path(&name.path()), Some(name));
        assert_eq!(Name::from_path("u/zz/00"), None);
        assert_eq!(Name::from_path(""), None);
    }
}
