//! Access tokens as an attacker would make them, with the server's own key or without.

use std::path::Path;

use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// A part of a token: the header (0) or the claims (1).
///
/// # Panics
/// When it is no token.
#[must_use]
pub fn part(token: &str, index: usize) -> Value {
    let text = token.split('.').nth(index).expect("a token has parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).expect("a part is base64url")).expect("a part is JSON")
}

/// Bytes as tokens have them.
#[must_use]
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Signs whatever it is given.
#[derive(Debug)]
pub struct Forger(Ed25519KeyPair);

impl Forger {
    /// With the key of a server, read from its data folder.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn with_key_of(data_dir: &Path) -> Self {
        let text = std::fs::read_to_string(data_dir.join("signing-keys.json")).expect("the keys can be read");
        let keys: Value = serde_json::from_str(&text).expect("the keys are JSON");
        let seed = keys["keys"][0]["seed"].as_str().expect("a key has a seed");
        let digits: Vec<char> = seed.chars().collect();
        let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16));
        Self::with_seed(&pairs.collect::<Result<Vec<u8>, _>>().expect("a seed is hexadecimal"))
    }

    /// With a key of its own.
    ///
    /// # Panics
    /// When these are not 32 bytes.
    #[must_use]
    pub fn with_seed(seed: &[u8]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed has 32 bytes"))
    }

    /// A token of these parts, in which nothing is checked.
    #[must_use]
    pub fn sign(&self, head: &str, claims: &str) -> String {
        self.sign_parts(&base64url(head), &base64url(claims))
    }

    /// A token of these parts as they are.
    #[must_use]
    pub fn sign_parts(&self, head: &str, claims: &str) -> String {
        let message = format!("{head}.{claims}");
        format!("{message}.{}", base64url(self.0.sign(message.as_bytes())))
    }
}

/// A token with a keyed hash for its signature, as one who knows the public key only can make it.
#[must_use]
pub fn hmac_sign(key: &[u8], head: &str, claims: &str) -> String {
    let message = format!("{}.{}", base64url(head), base64url(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    format!("{message}.{}", base64url(hmac::sign(&key, message.as_bytes())))
}

/// SHA-256 of bytes, for a "signature" that is none.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}
