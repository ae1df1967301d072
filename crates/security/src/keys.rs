//! The server's one secret, and the keys that are derived from it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::hkdf;
use aws_lc_rs::rand;
use jiff::Timestamp;
use thiserror::Error;

use crate::private_files::{self, from_hex, to_hex};

/// The least length of a configured secret in bytes.
const MIN_LENGTH: usize = 32;
/// The fewest different bytes in it. No more, because a good secret of hexadecimal digits has but 16.
const MIN_DISTINCT: usize = 12;
/// Words of which secrets in examples and templates are made.
const KNOWN: [&str; 12] = [
    "changeme",
    "change-me",
    "change_me",
    "secret",
    "password",
    "passphrase",
    "default",
    "example",
    "bellwether",
    "replace",
    "placeholder",
    "qwerty",
];

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
    #[error(
        "{path} does not hold a key of 64 hexadecimal digits; restore it, or move it away to have a new one made (which signs everybody out)"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a file of signing keys.
    #[error(
        "{path} does not hold signing keys; restore it, or move it away to begin with the first key again (clients then have to refresh their access tokens)"
    )]
    MalformedSigningKeys {
        /// The file.
        path: PathBuf,
    },
    /// Access tokens of the key before the present one may still be valid, and no more than two keys live at a time.
    #[error(
        "the keys were rotated a moment ago and tokens of the old key are valid until {until}; rotate after that, or at once with --compromised, which has clients refresh their access tokens"
    )]
    TooSoon {
        /// Until when.
        until: Timestamp,
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

    /// A random key that is kept nowhere: for a process whose signatures need not outlive it.
    pub fn ephemeral() -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).map_err(|_| KeyError::Crypto)?;
        Ok(Self(bytes))
    }

    /// Takes a configured secret: at least 32 bytes, not one that can be guessed.
    pub fn from_secret(secret: &str) -> Result<Self, KeyError> {
        match weakness(secret) {
            Some(why) => Err(KeyError::Weak(why)),
            None => derive(secret.as_bytes(), b"bellwether/master/v1").map(Self),
        }
    }

    /// Checks a key file without keeping what it holds.
    pub fn check(path: &Path) -> Result<(), KeyError> {
        let file = File::open(path).map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
        Self::read(file, path).map(drop)
    }

    /// A key for one purpose, told apart by its label.
    pub fn derive(&self, label: &[u8]) -> Result<[u8; 32], KeyError> {
        derive(&self.0, label)
    }

    fn read(file: File, path: &Path) -> Result<Self, KeyError> {
        let text = private_files::read(file, path)?;
        let malformed = || KeyError::Malformed { path: path.to_owned() };
        from_hex(text.trim()).map(Self).ok_or_else(malformed)
    }

    fn create(path: &Path) -> Result<Self, KeyError> {
        let key = Self::ephemeral()?;
        private_files::create(path, &to_hex(&key.0))
            .map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
        Ok(key)
    }
}

/// What makes a configured secret one that can be guessed, if anything does.
fn weakness(secret: &str) -> Option<&'static str> {
    let bytes = secret.as_bytes();
    let mut distinct = bytes.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let lower = secret.to_lowercase();
    let repeats = (1..=bytes.len() / 2).any(|period| bytes.iter().zip(bytes.iter().skip(period)).all(|(a, b)| a == b));
    let steps = bytes.iter().zip(bytes.iter().skip(1)).filter(|(a, b)| a.abs_diff(**b) == 1).count();
    if bytes.len() < MIN_LENGTH {
        Some("it has fewer than 32 characters")
    } else if distinct.len() < MIN_DISTINCT {
        Some("it consists of too few different characters")
    } else if repeats {
        Some("it repeats itself")
    } else if steps > bytes.len() / 2 {
        Some("it counts up or down")
    } else if KNOWN.iter().any(|word| lower.contains(word)) {
        Some("it contains a word that is known from examples")
    } else {
        None
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

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
        for weak in [
            "",
            "short",
            &"x".repeat(64),
            &"ab".repeat(32),
            &"0123456789abcdef".repeat(4),
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "changeme-changeme-changeme-0123456789",
            "my-SECRET-is-long-enough-0123456789abc",
            "97e5d42460b9f8e7d6c5a4b3c2d1e0f",
        ] {
            assert!(matches!(MasterKey::from_secret(weak), Err(KeyError::Weak(_))), "{weak}");
        }
    }

    #[test]
    fn secrets_as_tools_make_them_are_taken() {
        for (bytes, is_hex) in [(32, true), (24, true), (32, false)] {
            for _ in 0..200 {
                let mut random = vec![0; bytes];
                rand::fill(&mut random).unwrap();
                let hex = || to_hex(&random);
                let base64 = || base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &random);
                let secret: String = if is_hex { hex() } else { base64() };
                assert!(weakness(&secret).is_none(), "{secret}: {:?}", weakness(&secret));
            }
        }
    }

    #[test]
    fn of_processes_that_start_together_one_makes_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        private_files::create(&path, &"ab".repeat(32)).unwrap();
        assert_eq!(private_files::create(&path, &"cd".repeat(32)).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(MasterKey::load_or_create(&path).unwrap().0, [0xab; 32]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn keys_for_different_purposes_differ_and_debug_shows_none() {
        let key = MasterKey::from_secret("f3b1c8a97e5d42460b9f8e7d6c5a4b3c2d1e0f9a8b7c6d5e").unwrap();
        assert_ne!(key.derive(b"one").unwrap(), key.derive(b"two").unwrap());
        assert_eq!(format!("{key:?}"), "MasterKey(..)");
    }
}
