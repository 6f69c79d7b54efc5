//! One signed piece of a shared object: what it is, under which name, who vouches for it, and its bytes.
//!
//! ```text
//! envelope  = magic:8 version:u8 kind:u8 name:32 subject:32 length:u32 digest:32 signer:32 signature:64 body
//! subject   = for what leads to a result: the result's name; else zeros
//! digest    = BLAKE3 of the body
//! signature = ed25519 over CONTEXT and all before `signer`; zeros, as `signer`, where nobody has signed
//! ```
//! The signature is looked at before the body is: who is not trusted makes nobody hash.

use crate::keys::{PublicKey, SigningKey, Trusted};
use crate::name::{Kind, Name};
use std::fmt;

const MAGIC: [u8; 8] = *b"\x89rcteam\n";
/// Raised whenever layout or meaning change; another version is no answer.
const VERSION: u8 = 1;
/// Keeps these signatures apart from any others that the same key may make.
const CONTEXT: &[u8] = b"rcache shared entry 1\0";
const SIGNED_BYTES: usize = 8 + 1 + 1 + Name::LEN + Name::LEN + 4 + blake3::OUT_LEN;
/// What is before the body.
pub const HEADER_BYTES: usize = SIGNED_BYTES + PublicKey::LEN + SIGNATURE_BYTES;
const SIGNATURE_BYTES: usize = 64;
/// The longest body; a longer result is not shared.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes are not an envelope of this version.
    #[error("it is no entry of this version")]
    Foreign,
    /// They end too early, or go on after the end, or are too many.
    #[error("its length is wrong")]
    Length,
    /// It belongs under another name.
    #[error("it belongs under another name")]
    Name,
    /// Nobody has signed it.
    #[error("nobody has signed it")]
    Unsigned,
    /// The key that signed it is on no list.
    #[error("it is signed by a key that is not trusted")]
    Stranger,
    /// The signature is not that key's.
    #[error("its signature is wrong")]
    Signature,
    /// The body is not the one that was signed.
    #[error("its bytes are not those that were written")]
    Digest,
}

/// An envelope, taken apart; nothing of it is believed yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// All of its bytes.
    pub bytes: &'a [u8],
}

impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({} bytes)", self.bytes.len())
    }
}

/// Makes an envelope; unsigned without a key.
pub fn seal(name: Name, subject: Option<Name>, body: &[u8], key: Option<&SigningKey>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend(MAGIC);
    bytes.extend([VERSION, name.kind as u8]);
    bytes.extend(name.digest);
    bytes.extend(subject.map_or([0; Name::LEN], |subject| subject.digest));
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(blake3::hash(body).as_bytes());
    match key {
        Some(key) => {
            let signature = key.sign(&[CONTEXT, &bytes].concat());
            bytes.extend(key.public().bytes());
            bytes.extend(signature);
        }
        None => bytes.extend([0; PublicKey::LEN + SIGNATURE_BYTES]),
    }
    bytes.extend(body);
    bytes
}

impl<'a> Envelope<'a> {
    /// The envelope at the start of some bytes, and what follows it.
    pub fn split(bytes: &'a [u8]) -> Result<(Envelope<'a>, &'a [u8]), Fault> {
        let header = bytes.get(..HEADER_BYTES).ok_or(Fault::Length)?;
        if header[..8] != MAGIC || header[8] != VERSION || Kind::from_byte(header[9]).is_none() {
            return Err(Fault::Foreign);
        }
        let length = Envelope { bytes: header }.body_length();
        if length > BODY_BYTES_MAX {
            return Err(Fault::Length);
        }
        let (own, rest) = bytes.split_at_checked(HEADER_BYTES + length).ok_or(Fault::Length)?;
        Ok((Envelope { bytes: own }, rest))
    }

    /// The envelope that some bytes are.
    pub fn parse(bytes: &'a [u8]) -> Result<Envelope<'a>, Fault> {
        match Envelope::split(bytes)? {
            (envelope, []) => Ok(envelope),
            _ => Err(Fault::Length),
        }
    }

    fn body_length(&self) -> usize {
        u32::from_le_bytes(self.field(10 + 2 * Name::LEN)) as usize
    }

    /// The bytes from `at` on; the header is known to be there.
    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[at..at + N]);
        field
    }

    /// The name that it says to belong under; `split` has looked at the kind.
    pub fn name(&self) -> Name {
        let kind = Kind::from_byte(self.bytes[9]).unwrap_or(Kind::Unit);
        Name { kind, digest: self.field(10) }
    }

    /// The digest of the result to which it leads.
    pub fn subject(&self) -> [u8; Name::LEN] {
        self.field(10 + Name::LEN)
    }

    /// What is in it, once it is known to be of this name and of somebody who is trusted.
    pub fn open(&self, name: Name, trusted: &Trusted) -> Result<&'a [u8], Fault> {
        if self.name() != name {
            return Err(Fault::Name);
        }
        let signed = &self.bytes[..SIGNED_BYTES];
        let signer = PublicKey::from_bytes(self.field(SIGNED_BYTES));
        let signature: [u8; SIGNATURE_BYTES] = self.field(SIGNED_BYTES + PublicKey::LEN);
        if signer.is_nobody() {
            if !trusted.unsigned || signature != [0; SIGNATURE_BYTES] {
                return Err(Fault::Unsigned);
            }
        } else if !trusted.holds(&signer) {
            return Err(Fault::Stranger);
        } else if !signer.has_signed(&[CONTEXT, signed].concat(), &signature) {
            return Err(Fault::Signature);
        }
        let body = &self.bytes[HEADER_BYTES..];
        let digest: [u8; blake3::OUT_LEN] = self.field(SIGNED_BYTES - blake3::OUT_LEN);
        match *blake3::hash(body).as_bytes() == digest {
            true => Ok(body),
            false => Err(Fault::Digest),
        }
    }
}

#[cfg(test)]
mod tests;
