//! Who asks: the bearer token of a request.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use bellwether_domain::ports::OpaqueToken;

use crate::faults::Fault;

/// No token of ours is longer.
const LONGEST: usize = 4096;
/// What API keys begin with, as no access token does.
const API_KEY: &str = "bw_live_";

/// The API key that a token is; none for an access token.
pub(crate) fn api_key(token: &str) -> Option<OpaqueToken> {
    token.starts_with(API_KEY).then(|| OpaqueToken::new(token.to_owned()))
}

/// The token of `Authorization: Bearer …`.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Fault> {
    let mut given = headers.get_all(AUTHORIZATION);
    let Some(first) = given.next() else {
        return Err(Fault::unauthenticated(
            "sign in and send the access token as Authorization: Bearer <token>",
            "Bearer",
        ));
    };
    let token = first.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    token
        .filter(|t| {
            given.next().is_none() && (1..=LONGEST).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_graphic())
        })
        .ok_or_else(invalid_token)
}

/// 401 for a token that is forged, expired, or of somebody who may no longer act.
pub(crate) fn invalid_token() -> Fault {
    Fault::unauthenticated(
        "the access token is not valid or has expired; sign in again",
        "Bearer error=\"invalid_token\"",
    )
}

/// 401 for an API key that is unknown, revoked or expired, or of somebody who may no longer act.
pub(crate) fn invalid_key() -> Fault {
    Fault::unauthenticated("the API key is not valid, has expired or was revoked", "Bearer error=\"invalid_token\"")
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn token(values: &[&str]) -> Result<String, u16> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        bearer(&headers).map(str::to_owned).map_err(|fault| fault.status().as_u16())
    }

    #[test]
    fn takes_one_bearer_token() {
        assert_eq!(token(&["Bearer a.b.c"]), Ok("a.b.c".to_owned()));
        assert_eq!(token(&["bearer a"]), Ok("a".to_owned()));
        let long = format!("Bearer {}", "a".repeat(5000));
        for bad in [
            &["Basic a"][..],
            &["Bearer"],
            &["Bearer "],
            &["Bearer a b"],
            &["a"],
            &["Bearer a", "Bearer b"],
            &[],
            &[&long],
        ] {
            assert_eq!(token(bad), Err(401), "{bad:?}");
        }
    }
}
