//! The server's one secret, and the keys that are derived from it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::hkdf;
use aws_lc_rs::rand;
use thiserror::Error;

/// The fewest different bytes of a configured secret, and its least length.
const MIN_DISTINCT: usize = 12;
const MIN_LENGTH: usize = 32;

/// Why there is no secret to work with. Every message says what to do.
#[derive(Debug, Error)]
pub enum KeyError {
    /// Too short, too uniform, or one that everybody knows.
    #[error("the secret key is weak: {0}; make one with: openssl rand -hex 32")]
    Weak(&'static str),
    /// Others than its owner may read the key file.
    #[error("{path} can be read by others than its owner; fix: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a key file.
    #[error("{path} does not hold a key of 64 hexadecimal digits; restore it, or move it away to have a new one made (which signs everybody out)")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or made.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system gives no random numbers, or a key could not be derived.
    #[error("the system's cryptography failed")]
    Crypto,
}

/// 32 secret bytes, from which every other key is derived. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

impl MasterKey {
    /// Reads the key file, or makes it: readable by its owner alone, and on disk before this returns.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        match OpenOptions::new().read(true).open(path) {
            Ok(file) => Self::read(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match Self::create(path) {
                // Another process made it in between.
                Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                    Self::read(File::open(path).map_err(io)?, path)
                }
                made => made,
            },
            Err(error) => Err(io(error)),
        }
    }

    /// Takes a configured secret: at least 32 bytes, not one that can be guessed.
    pub fn from_secret(secret: &str) -> Result<Self, KeyError> {
        let lower = secret.to_lowercase();
        let known = ["changeme", "change-me", "change_me", "secret", "password", "default", "example", "bellwether"];
        let mut distinct: Vec<u8> = secret.bytes().collect();
        distinct.sort_unstable();
        distinct.dedup();
        if secret.len() < MIN_LENGTH {
            return Err(KeyError::Weak("it has fewer than 32 characters"));
        }
        if distinct.len() < MIN_DISTINCT {
            return Err(KeyError::Weak("it consists of too few different characters"));
        }
        if known.iter().any(|word| lower.contains(word)) {
            return Err(KeyError::Weak("it contains a word that is known from examples"));
        }
        derive(secret.as_bytes(), b"bellwether/master/v1").map(Self)
    }

    /// A key for one purpose, told apart by its label.
    pub fn derive(&self, label: &[u8]) -> Result<[u8; 32], KeyError> {
        derive(&self.0, label)
    }

    fn read(mut file: File, path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        if file.metadata().map_err(io)?.permissions().mode() & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned() });
        }
        let mut text = String::new();
        Read::by_ref(&mut file).take(1024).read_to_string(&mut text).map_err(io)?;
        let malformed = || KeyError::Malformed { path: path.to_owned() };
        from_hex(text.trim()).map(Self).ok_or_else(malformed)
    }

    fn create(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).map_err(|_| KeyError::Crypto)?;
        let text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        writeln!(file, "{text}").and_then(|()| file.sync_all()).map_err(io)?;
        if let Some(folder) = path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        }
        Ok(Self(bytes))
    }
}

/// Whether the file exists and only its owner can read it; for checks of the set-up.
impl MasterKey {
    /// Checks the key file without keeping it.
    pub fn check(path: &Path) -> Result<(), KeyError> {
        let file = File::open(path).map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
        fs::metadata(path).map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
        Self::read(file, path).map(drop)
    }
}

struct Length32;

impl hkdf::KeyType for Length32 {
    fn len(&self) -> usize {
        32
    }
}

/// HKDF-SHA256 (RFC 5869) without a salt.
fn derive(secret: &[u8], label: &[u8]) -> Result<[u8; 32], KeyError> {
    let mut key = [0; 32];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(secret);
    let info = [label];
    let okm = prk.expand(&info, Length32).map_err(|_| KeyError::Crypto)?;
    okm.fill(&mut key).map_err(|_| KeyError::Crypto)?;
    Ok(key)
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_file_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let first = MasterKey::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(MasterKey::load_or_create(&path).unwrap().0, first.0);
        MasterKey::check(&path).unwrap();
    }

    /// Threat 72.
    #[test]
    fn an_exposed_or_broken_key_file_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        MasterKey::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = MasterKey::load_or_create(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        fs::write(&path, "not a key").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(MasterKey::load_or_create(&path), Err(KeyError::Malformed { .. })));
    }

    /// Threat 72.
    #[test]
    fn weak_secrets_are_refused() {
        let repeated = "ab".repeat(32);
        for weak in ["", "short", &repeated, "changeme-changeme-changeme-0123456789", "my-secret-is-long-enough-0123456789abc"] {
            assert!(matches!(MasterKey::from_secret(weak), Err(KeyError::Weak(_))), "{weak}");
        }
        MasterKey::from_secret("f3b1c8a97e5d42460b9f8e7d6c5a4b3c2d1e0f9a8b7c6d5e").unwrap();
    }

    #[test]
    fn keys_for_different_purposes_differ_and_debug_shows_none() {
        let key = MasterKey::from_secret("f3b1c8a97e5d42460b9f8e7d6c5a4b3c2d1e0f9a8b7c6d5e").unwrap();
        assert_ne!(key.derive(b"one").unwrap(), key.derive(b"two").unwrap());
        assert_eq!(format!("{key:?}"), "MasterKey(..)");
    }
}
