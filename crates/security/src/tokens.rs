//! Access tokens: JWTs signed with Ed25519 (RFC 8037), verified as RFC 8725 asks.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bellwether_domain::ids::{SessionId, UserId};
use bellwether_domain::ports::{AccessClaims, InvalidToken, PublicKey, TokenSigner};
use bellwether_domain::user::Role;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use moka::Expiry;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::keys::{KeyError, MasterKey};
use crate::opaque_tokens::sha256;
use crate::signing_keys::{KeyFile, SigningKey, SigningKeys, Stamp};

/// By how many seconds clocks may differ.
pub(crate) const LEEWAY_S: i64 = 30;
/// No access token is longer; longer ones are not even parsed.
const MAX_LENGTH: usize = 2048;
/// So many tokens that were verified are remembered, some 200 bytes each.
const REMEMBERED: u64 = 50_000;
const NAME: &str = "bellwether";
const TYPE: &str = "access";

/// A token's header. Nothing else may stand in it: no key that the token brings along (`jwk`,
/// `jku`, `x5u`, `x5c`), nothing that must be understood (`crit`), no compression (`zip`).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    typ: String,
    alg: String,
    kid: String,
}

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

/// A signing key, ready for use.
struct Key {
    source: SigningKey,
    signing: EncodingKey,
    verifying: DecodingKey,
}

/// All keys that live, as one value that is replaced whole.
struct Ring {
    keys: SigningKeys,
    ready: Vec<Key>,
    stamp: Option<Stamp>,
}

impl Ring {
    fn of(keys: SigningKeys, stamp: Option<Stamp>) -> Result<Self, KeyError> {
        let ready = keys.0.iter().map(|source| {
            let (private, verifying) = (source.private()?, DecodingKey::from_ed_der(&source.public.bytes));
            Ok(Key { source: source.clone(), signing: EncodingKey::from_ed_der(&private), verifying })
        });
        let ready = ready.collect::<Result<_, KeyError>>()?;
        Ok(Self { keys, ready, stamp })
    }

    fn key(&self, id: &str) -> Option<&Key> {
        self.ready.iter().find(|key| key.source.public.id == id)
    }

    /// The key of that name, if it verifies at `now`.
    fn verifier(&self, id: &str, now: Timestamp) -> Result<&Key, InvalidToken> {
        self.key(id).filter(|key| key.source.verifies(now)).ok_or(InvalidToken)
    }
}

/// A token that was verified.
#[derive(Clone)]
struct Verified {
    claims: AccessClaims,
    key: Arc<str>,
    /// The first and the last second at which it is valid, leeway included.
    seconds: (i64, i64),
    remembered_for: Duration,
}

impl Verified {
    fn at(&self, ring: &Ring, now: Timestamp) -> Result<AccessClaims, InvalidToken> {
        let (first, last) = self.seconds;
        ring.verifier(&self.key, now)?;
        if (first..=last).contains(&now.as_second()) { Ok(self.claims) } else { Err(InvalidToken) }
    }
}

/// What is remembered is forgotten when the token expires.
struct UntilExpiry;

impl Expiry<[u8; 32], Verified> for UntilExpiry {
    fn expire_after_create(&self, _: &[u8; 32], token: &Verified, _: Instant) -> Option<Duration> {
        Some(token.remembered_for)
    }
}

/// Signs with the newest key and verifies with two.
///
/// A token that was verified is remembered by its SHA-256 until it expires, so that its signature is
/// not checked at each request. Its times, and that its key still lives, are.
pub struct Ed25519Signer {
    file: Option<KeyFile>,
    ring: RwLock<Arc<Ring>>,
    validation: Validation,
    verified: Cache<[u8; 32], Verified>,
}

impl std::fmt::Debug for Ed25519Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ed25519Signer(..)")
    }
}

impl Ed25519Signer {
    /// The signer of a server, with the keys of a file, which is made where there is none.
    pub fn open(file: KeyFile, master: &MasterKey) -> Result<Self, KeyError> {
        let keys = file.load_or_create(master)?;
        // Without a stamp, so that the first look reads the file again: it may have changed since.
        Ok(Self::with(Some(file), Ring::of(keys, None)?))
    }

    /// A signer with the one key that follows from the secret.
    pub fn of_secret(master: &MasterKey) -> Result<Self, KeyError> {
        Ok(Self::with(None, Ring::of(SigningKeys::first(master)?, None)?))
    }

    fn with(file: Option<KeyFile>, ring: Ring) -> Self {
        // The algorithm is pinned. Times are checked here against the time that is given, so the
        // library's own checks, which read the clock, are off.
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.required_spec_claims =
            ["exp", "nbf", "aud", "iss", "sub"].map(str::to_owned).into_iter().collect::<HashSet<_>>();
        validation.set_audience(&[NAME]);
        validation.set_issuer(&[NAME]);
        let verified = Cache::builder()
            .max_capacity(REMEMBERED)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(UntilExpiry)
            .build();
        Self { file, ring: RwLock::new(Arc::new(ring)), validation, verified }
    }

    /// Looks whether the file of keys has changed, and takes what it holds now; whether it had.
    /// Reads files: not for the path of a request. After an error the keys from before stay.
    pub fn refresh(&self) -> Result<bool, KeyError> {
        let Some(file) = &self.file else { return Ok(false) };
        let stamp = file.stamp()?;
        if self.ring().stamp == Some(stamp) {
            return Ok(false);
        }
        let ring = Arc::new(Ring::of(file.load()?, Some(stamp))?);
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
        Ok(true)
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn check(&self, token: &str, ring: &Ring, now: Timestamp) -> Result<Verified, InvalidToken> {
        let head = head(token).ok_or(InvalidToken)?;
        if head.typ != "JWT" || head.alg != "EdDSA" {
            return Err(InvalidToken);
        }
        let key = ring.verifier(&head.kid, now)?;
        let data = jsonwebtoken::decode::<Claims>(token, &key.verifying, &self.validation).map_err(|_| InvalidToken)?;
        let Claims { sub, jti, iat, nbf, exp, kind, role, sid, .. } = data.claims;
        let expires_at = Timestamp::from_second(exp).map_err(|_| InvalidToken)?;
        let role = Role::from_name(&role).ok_or(InvalidToken)?;
        if kind != TYPE {
            return Err(InvalidToken);
        }
        let first = nbf.max(iat).saturating_sub(LEEWAY_S);
        let last = exp.saturating_add(LEEWAY_S).saturating_sub(1);
        let left = last.saturating_sub(now.as_second()).saturating_add(1);
        let claims = AccessClaims { id: jti, user: UserId(sub), role, session: SessionId(sid), expires_at };
        let verified = Verified {
            claims,
            key: head.kid.into(),
            seconds: (first, last),
            remembered_for: Duration::from_secs(u64::try_from(left).unwrap_or(0)),
        };
        verified.at(ring, now)?;
        Ok(verified)
    }
}

fn head(token: &str) -> Option<Head> {
    let (head, _) = token.split_once('.')?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).ok()?).ok()
}

impl TokenSigner for Ed25519Signer {
    fn sign(&self, claims: &AccessClaims, now: Timestamp) -> Result<String, InvalidToken> {
        let written = Claims {
            iss: NAME.to_owned(),
            aud: NAME.to_owned(),
            sub: claims.user.0,
            jti: claims.id,
            iat: now.as_second(),
            nbf: now.as_second(),
            exp: claims.expires_at.as_second(),
            kind: TYPE.to_owned(),
            role: claims.role.as_str().to_owned(),
            sid: claims.session.0,
        };
        let ring = self.ring();
        let key = ring.keys.signer(now).and_then(|key| ring.key(&key.public.id)).ok_or(InvalidToken)?;
        let header = Header { kid: Some(key.source.public.id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &written, &key.signing).map_err(|_| InvalidToken)
    }

    fn verify(&self, token: &str, now: Timestamp) -> Result<AccessClaims, InvalidToken> {
        if token.len() > MAX_LENGTH {
            return Err(InvalidToken);
        }
        let (ring, hash) = (self.ring(), sha256(token.as_bytes()));
        if let Some(verified) = self.verified.get(&hash) {
            return verified.at(&ring, now);
        }
        let verified = self.check(token, &ring, now)?;
        let claims = verified.claims;
        self.verified.insert(hash, verified);
        Ok(claims)
    }

    fn public_keys(&self, now: Timestamp) -> Vec<PublicKey> {
        let ring = self.ring();
        ring.keys.0.iter().filter(|key| key.verifies(now)).map(|key| key.public.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const SECRET: &str = "f3b1c8a97e5d42460b9f8e7d6c5a4b3c2d1e0f9a8b7c6d5e";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn signer(secret: &str) -> Ed25519Signer {
        Ed25519Signer::of_secret(&MasterKey::from_secret(secret).unwrap()).unwrap()
    }

    fn ours() -> Ed25519Signer {
        signer(SECRET)
    }

    fn claims() -> AccessClaims {
        let (user, session) = (UserId(Uuid::from_u128(1)), SessionId(Uuid::from_u128(2)));
        AccessClaims { id: Uuid::from_u128(3), user, role: Role::Moderator, session, expires_at: at(NOW + 900) }
    }

    fn our_kid() -> String {
        ours().public_keys(at(NOW))[0].id.clone()
    }

    fn good_head() -> Value {
        json!({"typ": "JWT", "alg": "EdDSA", "kid": our_kid()})
    }

    fn good() -> Value {
        let id = Uuid::from_u128(1);
        json!({"iss": NAME, "aud": NAME, "sub": id, "jti": id, "iat": NOW, "nbf": NOW, "exp": NOW + 900, "type": TYPE, "role": "user", "sid": id})
    }

    /// Signs whatever header and claims with our own key.
    fn forge(head: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
        let ours = ours();
        let key = &ours.ring().ready[0].signing;
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, Algorithm::EdDSA).unwrap();
        format!("{message}.{signature}")
    }

    fn is_taken(head: &str, claims: &str) -> bool {
        ours().verify(&forge(head, claims), at(NOW)).is_ok()
    }

    #[test]
    fn a_token_says_what_was_signed_and_expires_to_the_second() {
        // Afresh each time, and from memory each time.
        let memory = ours();
        let token = memory.sign(&claims(), at(NOW)).unwrap();
        for (second, is_valid) in [
            (NOW, true),
            (NOW + 900 + LEEWAY_S - 1, true),
            (NOW + 900 + LEEWAY_S, false),
            (NOW - LEEWAY_S, true),
            (NOW - LEEWAY_S - 1, false),
        ] {
            let expected = if is_valid { Ok(claims()) } else { Err(InvalidToken) };
            assert_eq!((ours().verify(&token, at(second)), memory.verify(&token, at(second))), (expected, expected));
        }
    }

    /// Threat 4.
    #[test]
    fn unsigned_foreign_and_confused_tokens_are_refused() {
        let signer = ours();
        let token = signer.sign(&claims(), at(NOW)).unwrap();
        assert!(signer.verify(&token, at(NOW)).is_ok());
        let parts: Vec<&str> = token.split('.').collect();
        let encoded = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let foreign = self::signer("00112233445566778899aabbccddeeff-another-one");
        // Signed with another key, under our key's name.
        let stolen_name = {
            let key = &foreign.ring().ready[0].signing;
            let message = format!("{}.{}", encoded(&good_head().to_string()), encoded(&good().to_string()));
            let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, Algorithm::EdDSA).unwrap();
            format!("{message}.{signature}")
        };
        // The public key as if it were a shared secret.
        let secret = EncodingKey::from_secret(&signer.public_keys(at(NOW))[0].bytes);
        let header = |alg| Header { kid: Some(our_kid()), ..Header::new(alg) };
        let hmac = jsonwebtoken::encode(&header(Algorithm::HS256), &good(), &secret).unwrap();
        let hmac_as_eddsa = format!("{}.{}", parts[0], hmac.split_once('.').unwrap().1);
        let mut flipped = token.clone().into_bytes();
        let middle = parts[0].len() + 5;
        flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
        let none = format!(r#"{{"typ":"JWT","alg":"none","kid":"{}"}}"#, our_kid());
        for bad in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            "a.b.c".to_owned(),
            format!("{}.{}.", encoded(&none), parts[1]),
            format!("{}.{}.{}", encoded(&none), parts[1], parts[2]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}.{}x", parts[0], parts[1], parts[2]),
            format!("{token}.{}", parts[2]),
            format!("{token}="),
            format!(" {token}"),
            String::from_utf8(flipped).unwrap(),
            foreign.sign(&claims(), at(NOW)).unwrap(),
            stolen_name,
            hmac,
            hmac_as_eddsa,
            "x".repeat(MAX_LENGTH + 1),
            "x".repeat(1_000_000),
        ] {
            assert!(signer.verify(&bad, at(NOW)).is_err(), "{bad}");
        }
        let long = forge(&good_head().to_string(), &format!("{}{}", good(), " ".repeat(MAX_LENGTH)));
        assert!(long.len() > MAX_LENGTH && signer.verify(&long, at(NOW)).is_err());
    }

    /// Threat 4: a header says the type, the algorithm and the key's name, and nothing else.
    #[test]
    fn a_header_that_says_anything_else_is_refused() {
        assert!(is_taken(&good_head().to_string(), &good().to_string()));
        for name in ["typ", "alg", "kid"] {
            let mut without = good_head();
            without.as_object_mut().unwrap().remove(name);
            assert!(!is_taken(&without.to_string(), &good().to_string()), "without {name}");
        }
        let url = "http://127.0.0.1:1/keys";
        for (name, value) in [
            ("kid", json!("../../../../dev/null")),
            ("kid", json!("' OR 1=1 --")),
            ("kid", json!("")),
            ("kid", json!(7)),
            ("alg", json!("HS256")),
            ("alg", json!("ES256")),
            ("alg", json!("eddsa")),
            ("alg", json!("none")),
            ("typ", json!("JWE")),
            ("typ", json!("at+jwt")),
            ("jku", json!(url)),
            ("x5u", json!(url)),
            ("x5c", json!([])),
            ("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})),
            ("crit", json!(["exp"])),
            ("zip", json!("DEF")),
            ("cty", json!("JWT")),
        ] {
            let mut changed = good_head();
            changed[name] = value.clone();
            assert!(!is_taken(&changed.to_string(), &good().to_string()), "{name}: {value}");
        }
        let twice = format!(r#"{{"alg":"EdDSA",{}"#, &good_head().to_string()[1..]);
        assert!(!is_taken(&twice, &good().to_string()), "{twice}");
    }

    /// Threats 5 and 6.
    #[test]
    fn every_claim_must_be_there_and_right() {
        let taken = |claims: &Value| is_taken(&good_head().to_string(), &claims.to_string());
        assert!(taken(&good()));
        for name in ["iss", "aud", "sub", "jti", "iat", "nbf", "exp", "type", "role", "sid"] {
            let mut without = good();
            without.as_object_mut().unwrap().remove(name);
            assert!(!taken(&without), "without {name}");
        }
        for (name, value) in [
            ("iss", json!("other")),
            ("iss", json!(["other", NAME])),
            ("aud", json!("other")),
            ("aud", json!(["other", NAME])),
            ("sub", json!("not an id")),
            ("jti", json!(1)),
            ("sid", json!(null)),
            ("type", json!("refresh")),
            ("type", json!("")),
            ("role", json!("root")),
            ("role", json!("Admin")),
            ("nbf", json!(NOW + LEEWAY_S + 1)),
            ("iat", json!(NOW + LEEWAY_S + 1)),
            ("exp", json!(NOW - LEEWAY_S)),
            ("exp", json!((NOW + 900).to_string())),
            ("exp", json!(1.9e9)),
            ("exp", json!(-1)),
            ("exp", json!(null)),
            ("exp", json!(i64::MAX)),
            ("exp", json!(9_223_372_036_854_775_808_u64)),
            ("exp", json!(u64::MAX)),
            ("extra", json!(1)),
        ] {
            let mut changed = good();
            changed[name] = value.clone();
            assert!(!taken(&changed), "{name}: {value}");
        }
        for (name, value) in [("nbf", NOW + LEEWAY_S), ("iat", NOW + LEEWAY_S), ("exp", NOW - LEEWAY_S + 1)] {
            let mut changed = good();
            changed[name] = json!(value);
            assert!(taken(&changed), "{name}: {value}");
        }
        let twice = format!(r#"{{"exp":{},{}"#, NOW + 9000, &good().to_string()[1..]);
        assert!(!is_taken(&good_head().to_string(), &twice), "{twice}");
    }

    fn with_file() -> (tempfile::TempDir, KeyFile, Ed25519Signer) {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::at(folder.path().join("signing-keys.json"));
        let signer = Ed25519Signer::open(file.clone(), &MasterKey::from_secret(SECRET).unwrap()).unwrap();
        (folder, file, signer)
    }

    /// Threat 10: the old key verifies during the overlap and no longer, remembered tokens included.
    #[test]
    fn a_rotation_is_picked_up_and_the_old_key_verifies_during_the_overlap_only() {
        const TTL: i64 = 900;
        let (_folder, file, signer) = with_file();
        assert!(signer.refresh().unwrap(), "the first look reads the file");
        assert!(!signer.refresh().unwrap(), "nothing has changed since");
        let old_kid = signer.public_keys(at(NOW))[0].id.clone();
        file.rotate(at(NOW), SignedDuration::from_secs(TTL), false).unwrap();
        assert!(signer.refresh().unwrap());
        assert_eq!(signer.public_keys(at(NOW)).len(), 2, "the new key is published before it signs");
        // A token that the old key signed in its last second, long enough to outlive the overlap.
        let late = AccessClaims { expires_at: at(NOW + 3600), ..claims() };
        let token = signer.sign(&late, at(NOW + 1)).unwrap();
        assert_eq!(head(&token).unwrap().kid, old_kid);
        let new = signer.sign(&late, at(NOW + 2)).unwrap();
        assert_ne!(head(&new).unwrap().kid, old_kid);

        let end = NOW + 2 + TTL + LEEWAY_S;
        assert!(signer.verify(&token, at(end - 1)).is_ok());
        assert!(signer.verify(&token, at(end)).is_err(), "the overlap is over");
        assert!(signer.verify(&new, at(end)).is_ok());
        assert_eq!(signer.public_keys(at(end)).len(), 1);
    }

    /// Threat 10.
    #[test]
    fn a_compromised_key_verifies_nothing_any_more() {
        let (_folder, file, signer) = with_file();
        let token = signer.sign(&claims(), at(NOW)).unwrap();
        assert!(signer.verify(&token, at(NOW)).is_ok());
        file.rotate(at(NOW), SignedDuration::from_secs(900), true).unwrap();
        assert!(signer.refresh().unwrap());
        assert!(signer.verify(&token, at(NOW)).is_err(), "it was remembered");
        let new = signer.sign(&claims(), at(NOW)).unwrap();
        assert!(signer.verify(&new, at(NOW)).is_ok());
    }

    #[test]
    fn a_file_that_is_lost_or_broken_leaves_the_keys_as_they_were() {
        let (_folder, file, signer) = with_file();
        let token = signer.sign(&claims(), at(NOW)).unwrap();
        std::fs::write(file.path(), "{").unwrap();
        assert!(matches!(signer.refresh(), Err(KeyError::MalformedSigningKeys { .. })));
        std::fs::remove_file(file.path()).unwrap();
        assert!(matches!(signer.refresh(), Err(KeyError::Io { .. })));
        assert!(signer.verify(&token, at(NOW)).is_ok() && signer.sign(&claims(), at(NOW)).is_ok());
    }

    #[test]
    fn servers_that_share_the_secret_understand_each_other_without_a_rotation() {
        let token = ours().sign(&claims(), at(NOW)).unwrap();
        let (_folder, _file, signer) = with_file();
        assert_eq!(signer.verify(&token, at(NOW)), Ok(claims()));
    }
}
