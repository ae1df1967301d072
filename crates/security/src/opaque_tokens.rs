//! Refresh tokens, those in mails, and API keys: 256 random bits, and their successors by HMAC-SHA256.

use aws_lc_rs::{digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bellwether_domain::ports::{NoRandomness, OpaqueToken, OpaqueTokens};

use crate::keys::{KeyError, MasterKey};

/// What tokens begin with, so that people and scanners for secrets know one when they see it.
const REFRESH: &str = "bw_refresh_";
const MAIL: &str = "bw_mail_";
const API_KEY: &str = "bw_live_";

/// Draws from the system's randomness; successors follow by a key that is derived from the server's
/// secret. So the answer to a refresh can be given again without being kept, and neither who reads
/// the database nor who knows the key alone can make one. In the same way a mail can be put aside without
/// the token in it, which follows from what is put aside when the mail is sent.
#[derive(Debug)]
pub struct RandomTokens {
    prefix: &'static str,
    key: hmac::Key,
}

impl RandomTokens {
    /// The refresh tokens of this server.
    pub fn of_sessions(master: &MasterKey) -> Result<Self, KeyError> {
        Ok(Self::new(REFRESH, &master.derive(b"bellwether/refresh/v1")?))
    }

    /// The tokens in this server's mails.
    pub fn of_mails(master: &MasterKey) -> Result<Self, KeyError> {
        Ok(Self::new(MAIL, &master.derive(b"bellwether/mail/v1")?))
    }

    /// The API keys of this server.
    pub fn of_api_keys(master: &MasterKey) -> Result<Self, KeyError> {
        Ok(Self::new(API_KEY, &master.derive(b"bellwether/api-key/v1")?))
    }

    fn new(prefix: &'static str, key: &[u8; 32]) -> Self {
        Self { prefix, key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    fn written(&self, bytes: &[u8]) -> OpaqueToken {
        OpaqueToken::new(format!("{}{}", self.prefix, URL_SAFE_NO_PAD.encode(bytes)))
    }
}

impl OpaqueTokens for RandomTokens {
    fn draw(&self) -> Result<OpaqueToken, NoRandomness> {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(self.written(&bytes))
    }

    fn successor(&self, token: &OpaqueToken) -> OpaqueToken {
        self.written(hmac::sign(&self.key, token.expose().as_bytes()).as_ref())
    }

    fn hash(&self, token: &OpaqueToken) -> [u8; 32] {
        sha256(token.expose().as_bytes())
    }
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
        RandomTokens::of_sessions(&MasterKey::from_secret(secret).unwrap()).unwrap()
    }

    #[test]
    fn tokens_have_256_bits_and_never_repeat() {
        let drawn: HashSet<String> = (0..1000).map(|_| tokens(SECRET).draw().unwrap().expose().to_owned()).collect();
        assert_eq!(drawn.len(), 1000);
        for token in drawn {
            assert_eq!(URL_SAFE_NO_PAD.decode(token.strip_prefix(REFRESH).unwrap()).unwrap().len(), 32);
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

    #[test]
    fn tokens_in_mails_are_of_another_kind_and_key() {
        let mails = RandomTokens::of_mails(&MasterKey::from_secret(SECRET).unwrap()).unwrap();
        let seed = mails.draw().unwrap();
        let token = mails.successor(&seed);
        assert!(token.expose().starts_with("bw_mail_") && token.expose().len() == 51, "{}", token.expose());
        let of_sessions = tokens(SECRET).successor(&seed);
        assert_ne!(token.expose().strip_prefix(MAIL), of_sessions.expose().strip_prefix(REFRESH));
    }

    #[test]
    fn api_keys_say_what_they_are() {
        let keys = RandomTokens::of_api_keys(&MasterKey::from_secret(SECRET).unwrap()).unwrap();
        let key = keys.draw().unwrap();
        assert!(key.expose().starts_with("bw_live_") && key.expose().len() == 51, "{}", key.expose());
    }

    /// Threat 71.
    #[test]
    fn debug_shows_no_token() {
        let token = tokens(SECRET).draw().unwrap();
        assert_eq!(format!("{token:?}"), "OpaqueToken(..)");
        assert!(!format!("{:?}", tokens(SECRET)).contains(token.expose()));
    }
}
