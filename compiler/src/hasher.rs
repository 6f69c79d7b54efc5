//! Digests: BLAKE3 with a label before each field, so that fields cannot run together.

use std::fmt;

/// The first 160 bits of a BLAKE3 hash: the name of a content, a manifest or a result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; Digest::LEN]);

impl Digest {
    /// Length in bytes.
    pub const LEN: usize = 20;

    /// The digest of a content, without any label.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::truncate(blake3::hash(bytes))
    }

    /// The digest of all that a reader gives.
    pub fn of_reader(reader: impl std::io::Read) -> std::io::Result<Digest> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(reader)?;
        Ok(Digest::truncate(hasher.finalize()))
    }

    /// Parses what `Display` printed.
    pub fn from_hex(text: &str) -> Option<Digest> {
        let text = text.as_bytes();
        if text.len() != 2 * Digest::LEN {
            return None;
        }
        let mut digest = [0; Digest::LEN];
        for (byte, pair) in digest.iter_mut().zip(text.chunks(2)) {
            let high = (pair[0] as char).to_digit(16)?;
            let low = (pair[1] as char).to_digit(16)?;
            *byte = (high * 16 + low) as u8;
        }
        Some(Digest(digest))
    }

    fn truncate(hash: blake3::Hash) -> Digest {
        let mut digest = [0; Digest::LEN];
        digest.copy_from_slice(&hash.as_bytes()[..Digest::LEN]);
        Digest(digest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each hit names files by several: going through the formatter for each byte would show.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 2 * Digest::LEN];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Takes the labelled fields of a key, in order.
pub trait KeySink {
    /// Adds one field. `label` is a fixed word, `value` may be any bytes.
    fn field(&mut self, label: &'static str, value: &[u8]);
}

/// Turns labelled fields into a [`Digest`].
#[derive(Clone)]
pub struct KeyHasher(blake3::Hasher);

impl KeyHasher {
    /// A hasher for one kind of key; `domain` keeps the kinds apart and carries their version.
    pub fn new(domain: &'static str) -> KeyHasher {
        let mut hasher = KeyHasher(blake3::Hasher::new());
        hasher.field("domain", domain.as_bytes());
        hasher
    }

    /// The key.
    pub fn finish(&self) -> Digest {
        Digest::truncate(self.0.finalize())
    }
}

impl KeySink for KeyHasher {
    fn field(&mut self, label: &'static str, value: &[u8]) {
        self.0.update(&(label.len() as u32).to_le_bytes());
        self.0.update(label.as_bytes());
        self.0.update(&(value.len() as u64).to_le_bytes());
        self.0.update(value);
    }
}

/// Keeps the fields readable, for `rcache explain`.
#[derive(Default, Clone, Debug, PartialEq, Eq)]
pub struct KeyRecorder(pub Vec<(String, String)>);

impl KeySink for KeyRecorder {
    fn field(&mut self, label: &'static str, value: &[u8]) {
        self.0.push((label.to_owned(), String::from_utf8_lossy(value).into_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fields: &[(&'static str, &str)]) -> Digest {
        let mut hasher = KeyHasher::new("test");
        for (label, value) in fields {
            hasher.field(label, value.as_bytes());
        }
        hasher.finish()
    }

    #[test]
    fn fields_cannot_run_together() {
        assert_ne!(key(&[("a", "bc")]), key(&[("ab", "c")]));
        assert_ne!(key(&[("a", "b"), ("a", "c")]), key(&[("a", "bc")]));
        assert_ne!(key(&[("a", "b"), ("c", "")]), key(&[("a", "b")]));
    }

    #[test]
    fn hex_goes_both_ways() {
        let digest = Digest::of(b"x");
        assert_eq!(Digest::from_hex(&digest.to_string()), Some(digest));
        assert_eq!(Digest::from_hex("12"), None);
        assert_eq!(Digest::from_hex(&"g".repeat(40)), None);
    }
}
