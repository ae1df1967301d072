//! Seals: HMAC-SHA256 over what clients bring back.

use aws_lc_rs::hmac;
use bellwether_domain::ports::Sealer;

use crate::keys::{KeyError, MasterKey};

/// Seals with a key derived from the server's secret.
#[derive(Debug)]
pub struct HmacSealer(hmac::Key);

impl HmacSealer {
    /// The sealer of this server.
    pub fn new(master: &MasterKey) -> Result<Self, KeyError> {
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &master.derive(b"bellwether/hmac/v1")?)))
    }
}

impl Sealer for HmacSealer {
    fn seal(&self, message: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&self.0, message);
        // SHA-256 is 32 bytes; any other length would never verify.
        tag.as_ref().try_into().unwrap_or_default()
    }

    fn is_sealed(&self, message: &[u8], code: &[u8]) -> bool {
        hmac::verify(&self.0, message, code).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_fits_its_message_and_no_other() {
        let master = MasterKey::from_secret("f3b1c8a97e5d42460b9f8e7d6c5a4b3c2d1e0f9a8b7c6d5e").unwrap();
        let sealer = HmacSealer::new(&master).unwrap();
        let mut code = sealer.seal(b"message");
        assert!(sealer.is_sealed(b"message", &code));
        assert!(!sealer.is_sealed(b"other", &code) && !sealer.is_sealed(b"message", &code[..31]));
        code[0] ^= 1;
        assert!(!sealer.is_sealed(b"message", &code));
    }
}
