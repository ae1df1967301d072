//! Refresh tokens: 256 random bits, and their successors by HMAC-SHA256.

use aws_lc_rs::{digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bellwether_domain::ports::{NoRandomness, OpaqueToken, OpaqueTokens};

use crate::keys::{KeyError, MasterKey};

/// What refresh tokens begin with, so that people and scanners for secrets know one when they see it.
const PREFIX: &str = "bw_refresh_";

/// Draws from the system's randomness; successors follow by a key that is derived from the server's
/// secret. So the answer to a refresh can be given again without being kept, and neither who reads
/// the database nor who knows the key alone can make one.
#[derive(Debug)]
pub struct RandomTokens(hmac::Key);

impl RandomTokens {
    /// The tokens of this server.
    pub fn new(master: &MasterKey) -> Result<Self, KeyError> {
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &master.derive(b"bellwether/refresh/v1")?)))
    }
}

impl OpaqueTokens for RandomTokens {
    fn draw(&self) -> Result<OpaqueToken, NoRandomness> {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(written(&bytes))
    }

    fn successor(&self, token: &OpaqueToken) -> OpaqueToken {
        written(hmac::sign(&self.0, token.expose().as_bytes()).as_ref())
    }

    fn hash(&self, token: &OpaqueToken) -> [u8; 32] {
        sha256(token.expose().as_bytes())
    }
}

fn written(bytes: &[u8]) -> OpaqueToken {
    OpaqueToken::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    // It is 32 bytes always.
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SECRET: &str = "f3b1c8a97e5d42460b9f8e7d6c5a4b3c2d1e0f9a8b7c6d5e";

    fn tokens(secret: &str) -> RandomTokens {
        RandomTokens::new(&MasterKey::from_secret(secret).unwrap()).unwrap()
    }

    #[test]
    fn tokens_have_256_bits_and_never_repeat() {
        let drawn: HashSet<String> = (0..1000).map(|_| tokens(SECRET).draw().unwrap().expose().to_owned()).collect();
        assert_eq!(drawn.len(), 1000);
        for token in drawn {
            assert_eq!(URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX).unwrap()).unwrap().len(), 32);
        }
    }

    /// Threat 8: the successor must be the same after a restart, and a matter of the key.
    #[test]
    fn a_successor_follows_from_the_token_and_the_servers_secret() {
        let token = tokens(SECRET).draw().unwrap();
        let next = tokens(SECRET).successor(&token);
        assert_eq!(next, tokens(SECRET).successor(&token));
        assert_ne!(next, tokens("00112233445566778899aabbccddeeff-another-one").successor(&token));
        assert_ne!(next, tokens(SECRET).successor(&next));
        assert_ne!(tokens(SECRET).hash(&token), tokens(SECRET).hash(&next));
    }

    /// Threat 71.
    #[test]
    fn debug_shows_no_token() {
        let token = tokens(SECRET).draw().unwrap();
        assert_eq!(format!("{token:?}"), "OpaqueToken(..)");
        assert!(!format!("{:?}", tokens(SECRET)).contains(token.expose()));
    }
}
