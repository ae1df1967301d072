//! Signatures of what webhooks are sent.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bellwether_domain::ids::WebhookId;
use bellwether_domain::ports::WebhookSigner;

use crate::keys::{KeyError, MasterKey};

/// Signs with secrets that are derived from the server's.
#[derive(Debug)]
pub struct DerivedSigner(hmac::Key);

impl DerivedSigner {
    /// The signer of this server.
    ///
    /// # Errors
    /// Where no key can be derived.
    pub fn new(master: &MasterKey) -> Result<Self, KeyError> {
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &master.derive(b"bellwether/webhooks/v1")?)))
    }

    fn derive(&self, purpose: &[u8], webhook: WebhookId, number: u32) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose);
        context.update(webhook.0.as_bytes());
        context.update(&number.to_be_bytes());
        // SHA-256 is 32 bytes; any other length would never verify.
        context.sign().as_ref().try_into().unwrap_or_default()
    }

    fn hmac_secret(&self, webhook: WebhookId, number: u32) -> [u8; 32] {
        self.derive(b"hmac", webhook, number)
    }

    /// None only where the library refuses any 32 bytes, which it does not.
    fn key_pair(&self, webhook: WebhookId, number: u32) -> Option<Ed25519KeyPair> {
        Ed25519KeyPair::from_seed_unchecked(&self.derive(b"ed25519", webhook, number)).ok()
    }
}

impl WebhookSigner for DerivedSigner {
    fn secret(&self, webhook: WebhookId, number: u32) -> String {
        format!("whsec_{}", STANDARD.encode(self.hmac_secret(webhook, number)))
    }

    fn public_key(&self, webhook: WebhookId, number: u32) -> String {
        let key = self.key_pair(webhook, number);
        format!("whpk_{}", key.map(|key| STANDARD.encode(key.public_key().as_ref())).unwrap_or_default())
    }

    fn sign(&self, webhook: WebhookId, numbers: &[u32], id: &str, second: i64, body: &str) -> String {
        let message = format!("{id}.{second}.{body}");
        let mut signatures = Vec::new();
        for number in numbers {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &self.hmac_secret(webhook, *number));
            signatures.push(format!("v1,{}", STANDARD.encode(hmac::sign(&key, message.as_bytes()))));
            if let Some(key) = self.key_pair(webhook, *number) {
                signatures.push(format!("v1a,{}", STANDARD.encode(key.sign(message.as_bytes()))));
            }
        }
        signatures.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use uuid::Uuid;

    use super::*;

    fn signer() -> DerivedSigner {
        DerivedSigner::new(&MasterKey::from_secret("f3b1c8a97e5d42460b9f8e7d6c5a4b3c2d1e0f9a8b7c6d5e").unwrap())
            .unwrap()
    }

    /// Threat 52.
    #[test]
    fn both_signatures_are_over_the_id_the_second_and_the_body() {
        let (signer, webhook) = (signer(), WebhookId(Uuid::from_u128(1)));
        let signed = signer.sign(webhook, &[3], "msg_1", 1_800_000_000, "{}");
        let [v1, v1a] = <[&str; 2]>::try_from(signed.split(' ').collect::<Vec<_>>()).unwrap();
        let message = b"msg_1.1800000000.{}";
        let secret = STANDARD.decode(signer.secret(webhook, 3).strip_prefix("whsec_").unwrap()).unwrap();
        let code = STANDARD.decode(v1.strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message, &code).unwrap();
        let public = STANDARD.decode(signer.public_key(webhook, 3).strip_prefix("whpk_").unwrap()).unwrap();
        let signature = STANDARD.decode(v1a.strip_prefix("v1a,").unwrap()).unwrap();
        UnparsedPublicKey::new(&ED25519, public).verify(message, &signature).unwrap();
    }

    /// Threat 52.
    #[test]
    fn each_webhook_and_number_has_secrets_of_its_own_and_two_sign_while_they_overlap() {
        let (signer, webhook, other) = (signer(), WebhookId(Uuid::from_u128(1)), WebhookId(Uuid::from_u128(2)));
        let mut secrets = vec![signer.secret(webhook, 0), signer.secret(webhook, 1), signer.secret(other, 0)];
        secrets.dedup();
        assert_eq!(secrets.len(), 3);
        assert_ne!(signer.public_key(webhook, 0), signer.public_key(webhook, 1));
        let both = signer.sign(webhook, &[1, 0], "m", 1, "");
        let each = [signer.sign(webhook, &[1], "m", 1, ""), signer.sign(webhook, &[0], "m", 1, "")].join(" ");
        assert_eq!(both, each);
        assert!(!format!("{signer:?}").contains("whsec"));
    }
}
