//! Who may use the worker over REAPI: keys for TLS, and tokens.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

/// A file with a key, a certificate or a token.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A token that is shorter can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// Where the keys are.
#[derive(Clone, Debug, Default)]
pub struct KeyFiles {
    /// The worker's certificate, with those that lead to its authority.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// Whose certificates clients must have.
    pub client_authority: Option<PathBuf>,
    /// Tokens of which clients must have one, a line each.
    pub tokens: Option<PathBuf>,
}

/// Keys as they were read.
pub struct Keys {
    tls: Option<ServerTlsConfig>,
    knows_clients: bool,
    tokens: Vec<Vec<u8>>,
    /// Whether nothing of this is asked for, by choice.
    insecure: bool,
}

/// How a request came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// From where.
    pub address: IpAddr,
    /// Whether over TLS.
    pub encrypted: bool,
}

impl Keys {
    /// Reads the files.
    ///
    /// # Errors
    /// One is not there, or is no such file.
    pub fn read(files: &KeyFiles, insecure: bool) -> io::Result<Keys> {
        let tls = match (&files.certificate, &files.key) {
            (Some(certificate), Some(key)) => {
                let identity = Identity::from_pem(read(certificate)?, read(key)?);
                let mut tls = ServerTlsConfig::new().identity(identity);
                if let Some(authority) = &files.client_authority {
                    tls = tls.client_ca_root(Certificate::from_pem(read(authority)?));
                }
                Some(tls)
            }
            (None, None) => None,
            _ => return Err(io::Error::other("--tls-cert and --tls-key belong together")),
        };
        if tls.is_none() && files.client_authority.is_some() {
            return Err(io::Error::other("--client-ca needs --tls-cert and --tls-key"));
        }
        let mut tokens = Vec::new();
        if let Some(path) = &files.tokens {
            tokens = read(path)?
                .split(|byte| *byte == b'\n')
                .map(|line| line.trim_ascii().to_vec())
                .filter(|line| !line.is_empty())
                .collect();
            if tokens.is_empty() || tokens.iter().any(|token| token.len() < TOKEN_BYTES_MIN) {
                let text = format!(
                    "{}: each line must be a token of {TOKEN_BYTES_MIN} bytes or more",
                    path.display()
                );
                return Err(io::Error::other(text));
            }
        }
        Ok(Keys { tls, knows_clients: files.client_authority.is_some(), tokens, insecure })
    }

    /// What a server of TLS needs; `None` where there are no keys for it.
    pub fn tls(&self) -> Option<ServerTlsConfig> {
        self.tls.clone()
    }

    /// Whether clients have to say who they are.
    pub fn authenticate(&self) -> bool {
        self.knows_clients || !self.tokens.is_empty()
    }

    /// Whether a request may be answered; `authorization` is its header. The error is for the client.
    pub fn admit(
        &self,
        arrival: Arrival,
        authorization: Option<&[u8]>,
    ) -> Result<(), &'static str> {
        let near = arrival.address.to_canonical().is_loopback();
        if !self.insecure && !near {
            if self.tls.is_none() {
                return Err("this worker has no keys for REAPI (`rcache keys worker`, \
                            --tls-cert, --tls-key, --client-ca or --token-file; --insecure-reapi \
                            does without)");
            }
            if !self.authenticate() {
                return Err("this worker asks nobody who he is: it needs --client-ca or \
                            --token-file (--insecure-reapi does without)");
            }
        }
        if self.tls.is_some() && !arrival.encrypted && !near && !self.insecure {
            return Err("this worker wants TLS (grpcs://)");
        }
        if self.knows_clients && !arrival.encrypted {
            return Err("this worker wants a client certificate (grpcs://)");
        }
        if self.tokens.is_empty() {
            return Ok(());
        }
        let token = authorization.and_then(|value| {
            let (scheme, token) = value.split_at_checked(BEARER.len())?;
            scheme.eq_ignore_ascii_case(BEARER).then(|| token.trim_ascii())
        });
        let Some(token) = token else { return Err("this worker wants a bearer token") };
        match self.tokens.iter().any(|known| is_same(known, token)) {
            true => Ok(()),
            false => Err("the bearer token is not one of this worker's"),
        }
    }
}

const BEARER: &[u8] = b"Bearer ";

/// In a time that says nothing about the content.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    // Of equal length, whatever came.
    blake3::hash(one) == blake3::hash(other)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if fs::metadata(path).map_err(named)?.len() > FILE_BYTES_MAX {
        return Err(named(io::ErrorKind::FileTooLarge.into()));
    }
    fs::read(path).map_err(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: Arrival =
        Arrival { address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), encrypted: false };
    const FAR: Arrival =
        Arrival { address: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), encrypted: false };

    fn keys(tls: bool, knows_clients: bool, token: bool, insecure: bool) -> Keys {
        let tokens = if token { vec![b"0123456789abcdef".to_vec()] } else { Vec::new() };
        Keys { tls: tls.then(ServerTlsConfig::new), knows_clients, tokens, insecure }
    }

    #[test]
    fn without_keys_only_this_machine_comes_in() {
        let none = keys(false, false, false, false);
        none.admit(NEAR, None).unwrap();
        assert!(none.admit(FAR, None).unwrap_err().contains("rcache keys worker"));
        keys(false, false, false, true).admit(FAR, None).unwrap();
        let anybody = keys(true, false, false, false);
        let encrypted = Arrival { encrypted: true, ..FAR };
        assert!(anybody.admit(encrypted, None).unwrap_err().contains("--client-ca"));
    }

    #[test]
    fn every_key_that_there_is_is_asked_for() {
        let encrypted = Arrival { encrypted: true, ..FAR };
        let good = Some(&b"bearer 0123456789abcdef"[..]);
        let both = keys(true, true, true, false);
        both.admit(encrypted, good).unwrap();
        for (arrival, authorization) in [
            (FAR, good),
            (NEAR, good),
            (encrypted, None),
            (encrypted, Some(&b"Bearer 0123456789abcdeX"[..])),
            (encrypted, Some(&b"Bearer 0123456789abcde"[..])),
            (encrypted, Some(&b"0123456789abcdef"[..])),
            (encrypted, Some(&b""[..])),
        ] {
            assert!(both.admit(arrival, authorization).is_err(), "{arrival:?} {authorization:?}");
        }
        let token = keys(true, false, true, false);
        token.admit(encrypted, good).unwrap();
        token.admit(NEAR, good).unwrap();
        assert!(token.admit(NEAR, None).is_err() && token.admit(FAR, good).is_err());
        // By choice a token may be seen by others.
        keys(false, false, true, true).admit(FAR, good).unwrap();
    }

    #[test]
    fn files_that_are_none_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            Some(path)
        };
        let tokens = |text: &str| {
            let files = KeyFiles { tokens: at("tokens", text), ..KeyFiles::default() };
            Keys::read(&files, false)
        };
        assert!(tokens("0123456789abcdef\n\nfedcba9876543210\n").unwrap().authenticate());
        assert!(tokens("short\n").is_err() && tokens("\n").is_err());
        let alone = KeyFiles { certificate: at("cert", "x"), ..KeyFiles::default() };
        assert!(Keys::read(&alone, false).is_err());
        let authority = KeyFiles { client_authority: at("ca", "x"), ..KeyFiles::default() };
        assert!(Keys::read(&authority, false).is_err());
        let absent = Some(folder.path().join("absent"));
        let absent = KeyFiles { tokens: absent, ..KeyFiles::default() };
        assert!(Keys::read(&absent, false).err().unwrap().to_string().contains("absent"));
    }
}
