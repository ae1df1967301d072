//! `Idempotency-Key`: a repeated request is answered with the answer of the first.

use actix_web::http::header::HeaderMap;
use bellwether_domain::ids::UserId;
use bellwether_domain::ports::{AnswerKey, Sealer};
use bellwether_usecases::{Answered, Keyed, Rendered};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::app::{App, RunningKey};
use crate::envelope::Reply;
use crate::faults::{Fault, in_progress};

/// Whether a request must bear a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
}

/// The key of a request, if it has one: 1 to 255 visible ASCII characters.
pub(crate) fn key_of(headers: &HeaderMap, need: Need) -> Result<Option<String>, Fault> {
    let mut given = headers.get_all("idempotency-key");
    let Some(first) = given.next() else {
        return match need {
            Need::Optional => Ok(None),
            Need::Required => Err(Fault::malformed(
                "IDEMPOTENCY_KEY_REQUIRED",
                "send an Idempotency-Key header: a fresh random value for each new request, the same one to repeat it safely",
            )),
        };
    };
    let key = first.to_str().ok().filter(|k| given.next().is_none() && (1..=255).contains(&k.len()));
    let key = key.filter(|k| k.bytes().all(|b| b.is_ascii_graphic()));
    key.map(|k| Some(k.to_owned())).ok_or_else(|| {
        Fault::malformed(
            "BAD_IDEMPOTENCY_KEY",
            "Idempotency-Key must be given once, as 1 to 255 visible ASCII characters",
        )
    })
}

/// SHA-256 of what is asked: the method, the path and the body byte for byte.
pub(crate) fn fingerprint(method: &str, path: &str, body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(format!("{method} {path}\n")).chain_update(body).finalize().into()
}

/// The same for a body with a password, which must not be guessable from what is stored.
pub(crate) fn sealed_fingerprint(fingerprint: [u8; 32], sealer: &dyn Sealer) -> [u8; 32] {
    sealer.seal(&[b"fingerprint\n".as_slice(), &fingerprint].concat())
}

/// A key that is being worked on. Give [`Guarded::guard`] to the work itself, so that the key stays
/// taken even where the client hangs up.
pub(crate) struct Guarded<T: ?Sized> {
    pub(crate) keyed: Option<Keyed<T>>,
    pub(crate) guard: Option<RunningKey>,
}

/// Takes the key for a request of `user` (none for callers without an account), unless a request
/// with the same key is running in this process.
pub(crate) fn guard<T: ?Sized>(
    app: &App,
    key: Option<String>,
    user: Option<UserId>,
    route: String,
    fingerprint: [u8; 32],
    render: fn(&T) -> Rendered,
) -> Result<Guarded<T>, Fault> {
    let Some(key) = key else { return Ok(Guarded { keyed: None, guard: None }) };
    let key = AnswerKey { user: user.unwrap_or(UserId(Uuid::nil())), route, key };
    let guard = app.begin_key(&key).ok_or_else(in_progress)?;
    Ok(Guarded { keyed: Some(Keyed { key, fingerprint, render }), guard: Some(guard) })
}

/// The answer, now or again. Both are written by the same function, so they are the same.
pub(crate) fn reply<T>(answered: Answered<T>, render: impl FnOnce(&T) -> Rendered) -> Result<Reply, Fault> {
    match answered {
        Answered::Fresh(value) => Reply::rendered(render(&value)),
        Answered::Replayed(kept) => Reply::replayed(kept),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn key(values: &[&[u8]], need: Need) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HeaderName::from_static("idempotency-key"), HeaderValue::from_bytes(value).unwrap());
        }
        key_of(&headers, need).map_err(|fault| fault.code())
    }

    /// Threat 31.
    #[test]
    fn asks_for_a_key_where_one_is_needed() {
        assert_eq!(key(&[], Need::Optional), Ok(None));
        assert_eq!(key(&[], Need::Required), Err("IDEMPOTENCY_KEY_REQUIRED"));
        assert_eq!(key(&[b"abc-123_~!"], Need::Required), Ok(Some("abc-123_~!".to_owned())));
        for bad in [&[&b""[..]][..], &[b"a b"], &[b"\xc3\xa9"], &[&[b'a'; 256]], &[b"a", b"a"]] {
            assert_eq!(key(bad, Need::Optional), Err("BAD_IDEMPOTENCY_KEY"), "{bad:?}");
        }
        assert!(key(&[&[b'a'; 255]], Need::Required).is_ok());
    }

    #[test]
    fn tells_requests_apart_by_method_path_and_body() {
        let of = fingerprint("POST", "/api/v1/orders", b"{}");
        assert_eq!(of, fingerprint("POST", "/api/v1/orders", b"{}"));
        assert_ne!(of, fingerprint("POST", "/api/v1/orders", b"{ }"));
        assert_ne!(of, fingerprint("POST", "/api/v1/transfers", b"{}"));
        assert_ne!(of, fingerprint("PUT", "/api/v1/orders", b"{}"));
    }
}
