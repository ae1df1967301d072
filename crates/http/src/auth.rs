//! Who asks: the bearer token of a request.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use bellwether_domain::ids::SessionId;
use bellwether_domain::ports::OpaqueToken;
use bellwether_usecases::sessions::{self, Identity};
use bellwether_usecases::{Caller, api_keys};

use crate::app::App;
use crate::faults::Fault;

/// No token of ours is longer.
const LONGEST: usize = 4096;
/// What API keys begin with, as no access token does.
const API_KEY: &str = "bw_live_";

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

/// Whom a token speaks for, and in which session; in none for an API key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    pub(crate) caller: Caller,
    pub(crate) session: Option<SessionId>,
}

impl From<Identity> for Who {
    fn from(Identity { caller, session }: Identity) -> Self {
        Self { caller, session: Some(session) }
    }
}

/// Who the token of a request speaks for, if anybody; in its extensions from when it was counted, unless
/// the store failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known(pub(crate) Option<Who>);

/// Who a token speaks for; none where it speaks for nobody.
pub(crate) async fn identify(app: &App, token: &str) -> Result<Option<Who>, Fault> {
    if token.starts_with(API_KEY) {
        let caller = identify_key(app, OpaqueToken::new(token.to_owned())).await?;
        return Ok(caller.map(|caller| Who { caller, session: None }));
    }
    if let Some(known) = sessions::recall(app.ctx(), token).await {
        return Ok(known.map(Who::from));
    }
    let (ctx, token) = (app.ctx().clone(), token.to_owned());
    let found = app.run(async move { sessions::authenticate(&ctx, &token).await }).await?;
    Ok(found.map(Who::from))
}

async fn identify_key(app: &App, key: OpaqueToken) -> Result<Option<Caller>, Fault> {
    if let Some(known) = api_keys::recall(app.ctx(), &key).await {
        return Ok(known);
    }
    let ctx = app.ctx().clone();
    app.run(async move { api_keys::authenticate(&ctx, &key).await }).await
}

/// 401 for a token that speaks for nobody.
pub(crate) fn invalid(token: &str) -> Fault {
    if token.starts_with(API_KEY) { invalid_key() } else { invalid_token() }
}

/// 401 for a token that is forged, expired, or of somebody who may no longer act.
fn invalid_token() -> Fault {
    Fault::unauthenticated(
        "the access token is not valid or has expired; sign in again",
        "Bearer error=\"invalid_token\"",
    )
}

/// 401 for an API key that is unknown, revoked or expired, or of somebody who may no longer act.
fn invalid_key() -> Fault {
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
