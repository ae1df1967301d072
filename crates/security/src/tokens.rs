//! Access tokens: JWTs signed with Ed25519 (RFC 8037), verified as RFC 8725 asks.

use std::collections::HashSet;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bellwether_domain::ids::{SessionId, UserId};
use bellwether_domain::ports::{AccessClaims, InvalidToken, TokenSigner};
use bellwether_domain::user::Role;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::keys::{KeyError, MasterKey};

/// By how many seconds clocks may differ.
const LEEWAY_S: i64 = 30;
/// No access token is longer; longer ones are not even parsed.
const MAX_LENGTH: usize = 2048;
const NAME: &str = "bellwether";
const TYPE: &str = "access";

/// What a token says, as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    jti: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
    #[serde(rename = "type")]
    kind: String,
    role: String,
    sid: Uuid,
}

/// Signs and verifies with a key derived from the server's secret.
pub struct Ed25519Signer {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for Ed25519Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ed25519Signer(..)")
    }
}

impl Ed25519Signer {
    /// The signer of this server.
    pub fn new(master: &MasterKey) -> Result<Self, KeyError> {
        let seed = master.derive(b"bellwether/ed25519/v1")?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::Crypto)?;
        let private = pair.to_pkcs8v1().map_err(|_| KeyError::Crypto)?;
        // The algorithm is pinned. Times are checked here against the time that is given, so the
        // library's own checks, which read the clock, are off.
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.required_spec_claims =
            ["exp", "nbf", "aud", "iss", "sub"].map(str::to_owned).into_iter().collect::<HashSet<_>>();
        validation.set_audience(&[NAME]);
        validation.set_issuer(&[NAME]);
        Ok(Self {
            signing: EncodingKey::from_ed_der(private.as_ref()),
            verifying: DecodingKey::from_ed_der(pair.public_key().as_ref()),
            validation,
        })
    }
}

impl TokenSigner for Ed25519Signer {
    fn sign(&self, claims: &AccessClaims, now: Timestamp) -> Result<String, InvalidToken> {
        let claims = Claims {
            iss: NAME.to_owned(),
            aud: NAME.to_owned(),
            sub: claims.user.0,
            // One token is signed for each sign-in, so the session tells tokens apart.
            jti: claims.session.0,
            iat: now.as_second(),
            nbf: now.as_second(),
            exp: claims.expires_at.as_second(),
            kind: TYPE.to_owned(),
            role: claims.role.as_str().to_owned(),
            sid: claims.session.0,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.signing).map_err(|_| InvalidToken)
    }

    fn verify(&self, token: &str, now: Timestamp) -> Result<AccessClaims, InvalidToken> {
        if token.len() > MAX_LENGTH {
            return Err(InvalidToken);
        }
        let data =
            jsonwebtoken::decode::<Claims>(token, &self.verifying, &self.validation).map_err(|_| InvalidToken)?;
        let Claims { sub, iat, nbf, exp, kind, role, sid, .. } = data.claims;
        let (now, expires_at) = (now.as_second(), Timestamp::from_second(exp).map_err(|_| InvalidToken)?);
        let is_current = exp > now.saturating_sub(LEEWAY_S)
            && nbf <= now.saturating_add(LEEWAY_S)
            && iat <= now.saturating_add(LEEWAY_S);
        if !is_current || kind != TYPE {
            return Err(InvalidToken);
        }
        let role = Role::from_name(&role).ok_or(InvalidToken)?;
        Ok(AccessClaims { user: UserId(sub), role, session: SessionId(sid), expires_at })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn signer(secret: &str) -> Ed25519Signer {
        Ed25519Signer::new(&MasterKey::from_secret(secret).unwrap()).unwrap()
    }

    fn ours() -> Ed25519Signer {
        signer("f3b1c8a97e5d42460b9f8e7d6c5a4b3c2d1e0f9a8b7c6d5e")
    }

    fn claims() -> AccessClaims {
        let (user, session) = (UserId(Uuid::from_u128(1)), SessionId(Uuid::from_u128(2)));
        AccessClaims { user, role: Role::Moderator, session, expires_at: at(NOW + 900) }
    }

    /// Signs whatever claims, with our own key.
    fn forge(json: &serde_json::Value) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), json, &ours().signing).unwrap()
    }

    fn good() -> serde_json::Value {
        let id = Uuid::from_u128(1);
        serde_json::json!({"iss": NAME, "aud": NAME, "sub": id, "jti": id, "iat": NOW, "nbf": NOW, "exp": NOW + 900, "type": TYPE, "role": "user", "sid": id})
    }

    #[test]
    fn a_token_says_what_was_signed_and_expires_to_the_second() {
        let signer = ours();
        let token = signer.sign(&claims(), at(NOW)).unwrap();
        assert_eq!(signer.verify(&token, at(NOW)), Ok(claims()));
        assert!(signer.verify(&token, at(NOW + 900 + LEEWAY_S - 1)).is_ok());
        assert!(signer.verify(&token, at(NOW + 900 + LEEWAY_S)).is_err());
        assert!(signer.verify(&token, at(NOW - LEEWAY_S)).is_ok());
        assert!(signer.verify(&token, at(NOW - LEEWAY_S - 1)).is_err());
    }

    /// Threat 4.
    #[test]
    fn unsigned_foreign_and_confused_tokens_are_refused() {
        let signer = ours();
        let token = signer.sign(&claims(), at(NOW)).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let header = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let foreign = self::signer("00112233445566778899aabbccddeeff-another-one").sign(&claims(), at(NOW)).unwrap();
        // The public key as if it were a shared secret.
        let public = EncodingKey::from_secret(signer.verifying.try_get_as_bytes().unwrap());
        let hmac = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &good(), &public).unwrap();
        for bad in [
            String::new(),
            "a.b.c".to_owned(),
            format!("{}.{}.", header(r#"{"alg":"none"}"#), parts[1]),
            format!("{}.{}.{}", header(r#"{"alg":"none"}"#), parts[1], parts[2]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{}.{}.{}x", parts[0], parts[1], parts[2]),
            foreign,
            hmac,
            "x".repeat(MAX_LENGTH + 1),
        ] {
            assert!(signer.verify(&bad, at(NOW)).is_err(), "{bad}");
        }
    }

    /// Threats 5 and 6.
    #[test]
    fn every_claim_must_be_there_and_right() {
        let signer = ours();
        assert!(signer.verify(&forge(&good()), at(NOW)).is_ok());
        for name in ["iss", "aud", "sub", "jti", "iat", "nbf", "exp", "type", "role", "sid"] {
            let mut without = good();
            without.as_object_mut().unwrap().remove(name);
            assert!(signer.verify(&forge(&without), at(NOW)).is_err(), "without {name}");
        }
        for (name, value) in [
            ("iss", serde_json::json!("other")),
            ("aud", serde_json::json!("other")),
            ("type", serde_json::json!("refresh")),
            ("role", serde_json::json!("root")),
            ("nbf", serde_json::json!(NOW + 3600)),
            ("iat", serde_json::json!(NOW + 3600)),
            ("exp", serde_json::json!("1900000000")),
            ("exp", serde_json::json!(1.9e9)),
            ("exp", serde_json::json!(-1)),
            ("exp", serde_json::json!(9_223_372_036_854_775_808_u64)),
            ("extra", serde_json::json!(1)),
        ] {
            let mut changed = good();
            changed[name] = value.clone();
            assert!(signer.verify(&forge(&changed), at(NOW)).is_err(), "{name}: {value}");
        }
    }
}
