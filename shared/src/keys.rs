//! Keys that sign shared entries: how they are written down, and the list of those that are trusted.

use crate::name::{from_hex, hex};
use ed25519_dalek::{Signer, VerifyingKey};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a public key begins with in texts.
const PUBLIC: &str = "ed25519:";
/// What a secret key begins with.
const SECRET: &str = "ed25519-secret:";
/// A file of keys is not longer.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Permissions that let others read a file.
const OTHERS: u32 = 0o077;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others could read the secret.
    #[error("{}: others can read this secret; run chmod 600 on it", .0.display())]
    Open(PathBuf),
    /// The text is no key.
    #[error("{0:?} is no key; a public key is ed25519: and 64 hexadecimal digits")]
    Text(String),
    /// The file holds no secret key.
    #[error("{}: no secret key is in it; rcache keys new makes one", .0.display())]
    NoSecret(PathBuf),
}

/// What everybody may know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; PublicKey::LEN]);

impl PublicKey {
    /// Its length.
    pub const LEN: usize = 32;

    /// The key of these bytes.
    pub fn from_bytes(bytes: [u8; PublicKey::LEN]) -> PublicKey {
        PublicKey(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; PublicKey::LEN] {
        &self.0
    }

    /// Whether it stands for an entry without a signature.
    pub fn is_nobody(&self) -> bool {
        self.0 == [0; PublicKey::LEN]
    }

    /// Reads `ed25519:…`.
    pub fn parse(text: &str) -> Result<PublicKey, KeyError> {
        let digits = text.strip_prefix(PUBLIC).and_then(from_hex);
        let key = digits.and_then(|bytes| bytes.try_into().ok()).map(PublicKey);
        // A weak key would let anybody sign: `has_signed` refuses it as well.
        let is_usable = |key: &PublicKey| {
            VerifyingKey::from_bytes(&key.0).is_ok_and(|key| !key.is_weak()) && !key.is_nobody()
        };
        key.filter(is_usable).ok_or_else(|| KeyError::Text(text.to_owned()))
    }

    /// Whether a signature is this key's.
    pub fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What makes signatures; never shown.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey of {}", self.public())
    }
}

impl SigningKey {
    /// The key of 32 secret bytes.
    pub fn from_seed(seed: [u8; 32]) -> SigningKey {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// A new one, from the kernel's random numbers.
    pub fn generate() -> io::Result<SigningKey> {
        let mut seed = [0; 32];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
        Ok(SigningKey::from_seed(seed))
    }

    /// What others need to trust it.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// A signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Writes it to a new file that nobody else can read.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        writeln!(file, "{SECRET}{}", hex(&self.0.to_bytes())).map_err(failed)
    }

    /// Reads it from its file, which nobody else may read.
    pub fn read(path: &Path) -> Result<SigningKey, KeyError> {
        let (text, mode) = read_file(path)?;
        if mode & OTHERS != 0 {
            return Err(KeyError::Open(path.to_owned()));
        }
        let secret = text.lines().find_map(|line| line.trim().strip_prefix(SECRET));
        let seed = secret.and_then(from_hex).and_then(|seed| seed.try_into().ok());
        seed.map(SigningKey::from_seed).ok_or_else(|| KeyError::NoSecret(path.to_owned()))
    }
}

/// The text of a file and its permissions.
fn read_file(path: &Path) -> Result<(String, u32), KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode();
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok((text, mode))
}

/// Whose entries count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    keys: BTreeMap<PublicKey, String>,
    /// Entries that nobody has signed count, too.
    pub unsigned: bool,
}

impl Trusted {
    /// These keys.
    pub fn of(keys: impl IntoIterator<Item = PublicKey>) -> Trusted {
        let keys = keys.into_iter().map(|key| (key, String::new())).collect();
        Trusted { keys, unsigned: false }
    }

    /// The same, and whether what nobody has signed counts as well.
    pub fn with_unsigned(self, unsigned: bool) -> Trusted {
        Trusted { unsigned, ..self }
    }

    /// Whether a key is on the list.
    pub fn holds(&self, key: &PublicKey) -> bool {
        self.keys.contains_key(key)
    }

    /// Adds a key under a name for people.
    pub fn add(&mut self, key: PublicKey, name: &str) {
        self.keys.insert(key, name.to_owned());
    }

    /// Each key with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&PublicKey, &str)> {
        self.keys.iter().map(|(key, name)| (key, name.as_str()))
    }

    /// Whether nothing at all counts.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.unsigned
    }

    /// Adds what a list says: a key and a name on each line, `#` begins a comment.
    pub fn add_list(&mut self, text: &str) -> Result<(), KeyError> {
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let (key, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            self.add(PublicKey::parse(key)?, name.trim());
        }
        Ok(())
    }

    /// The same of a file; one that is not there says nothing.
    pub fn add_file(&mut self, path: &Path) -> Result<(), KeyError> {
        match read_file(path) {
            Ok((text, _)) => self.add_list(&text),
            Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_survive_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = SigningKey::generate().unwrap();
        key.write(&path).unwrap();
        assert_eq!(SigningKey::read(&path).unwrap().public(), key.public());
        assert!(key.write(&path).is_err(), "an old key is never written over");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(SigningKey::read(&path), Err(KeyError::Open(_))));
        let shown = format!("{key:?}");
        let secret = std::fs::read_to_string(&path).unwrap();
        assert!(!shown.contains(secret.trim().strip_prefix(SECRET).unwrap()));
    }

    #[test]
    fn lists_are_read() {
        let key = SigningKey::from_seed([7; 32]).public();
        let mut trusted = Trusted::default();
        trusted.add_list(&format!("# CI\n\n{key} the build farm # since May\n")).unwrap();
        assert_eq!(trusted.iter().collect::<Vec<_>>(), [(&key, "the build farm")]);
        for wrong in ["ed25519:12", "rsa:aa", &format!("ed25519:{}", "00".repeat(32))] {
            assert!(trusted.add_list(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_signature_is_of_one_key_and_one_message() {
        let (one, two) = (SigningKey::from_seed([1; 32]), SigningKey::from_seed([2; 32]));
        let signature = one.sign(b"message");
        assert!(one.public().has_signed(b"message", &signature));
        assert!(!one.public().has_signed(b"Message", &signature));
        assert!(!two.public().has_signed(b"message", &signature));
    }
}
