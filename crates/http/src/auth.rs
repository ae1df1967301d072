//! Who asks: the bearer token of a request.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use bellwether_domain::ports::OpaqueToken;
use bellwether_usecases::sessions::{self, Identity};
use bellwether_usecases::{Caller, api_keys};
use uuid::Uuid;

use crate::app::App;
use crate::faults::Fault;

/// No token of ours is longer.
const LONGEST: usize = 4096;
/// What API keys begin with, as no access token does.
const API_KEY: &str = "bw_live_";

/// The token of `Authorization: Bearer …`; 401 where there is none.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Fault> {
    bearer_if_any(headers).unwrap_or_else(|| {
        let message = "sign in and send the access token as Authorization: Bearer <token>";
        Err(Fault::unauthenticated(message, "Bearer"))
    })
}

/// The same where there may be none.
pub(crate) fn bearer_if_any(headers: &HeaderMap) -> Option<Result<&str, Fault>> {
    let mut given = headers.get_all(AUTHORIZATION);
    let first = given.next()?;
    let token = first.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let token = token.filter(|t| {
        given.next().is_none() && (1..=LONGEST).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_graphic())
    });
    Some(token.ok_or_else(invalid_token))
}

/// Who a token speaks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bearer {
    /// Somebody who is signed in.
    Session(Identity),
    /// A user with an API key, which is always there.
    Key(Caller),
}

impl Bearer {
    /// Who asks.
    pub(crate) const fn caller(self) -> Caller {
        match self {
            Self::Session(who) => who.caller,
            Self::Key(caller) => caller,
        }
    }
}

/// Whose requests are counted together: those of a user who is signed in, wherever; each API key's by themselves.
pub(crate) fn counted_as(caller: Caller) -> Uuid {
    caller.key.map_or(caller.user.0, |key| key.id.0)
}

/// Who the token of a request speaks for, if anybody; in its extensions from when it was counted, unless
/// the store failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known(pub(crate) Option<Bearer>);

/// Who a token speaks for; none where it speaks for nobody.
pub(crate) async fn identify(app: &App, token: &str) -> Result<Option<Bearer>, Fault> {
    match recall(app, token).await {
        Some(known) => Ok(known),
        None => look_up(app, token).await,
    }
}

/// The same by what is remembered alone; none where the store must be asked.
pub(crate) async fn recall(app: &App, token: &str) -> Option<Option<Bearer>> {
    if is_api_key(token) {
        let known = api_keys::recall(app.ctx(), &OpaqueToken::new(token.to_owned())).await?;
        return Some(known.map(Bearer::Key));
    }
    Some(sessions::recall(app.ctx(), token).await?.map(Bearer::Session))
}

/// The same where the store must be asked.
pub(crate) async fn look_up(app: &App, token: &str) -> Result<Option<Bearer>, Fault> {
    let (ctx, token) = (app.ctx().clone(), token.to_owned());
    if is_api_key(&token) {
        let key = OpaqueToken::new(token);
        let caller = app.run(async move { api_keys::authenticate(&ctx, &key).await }).await?;
        return Ok(caller.map(Bearer::Key));
    }
    let who = app.run(async move { sessions::authenticate(&ctx, &token).await }).await?;
    Ok(who.map(Bearer::Session))
}

/// Whether a token is meant to be an API key, and anybody may have made it up: it was not good when it was last looked up.
pub(crate) fn may_be_made_up(app: &App, token: &str) -> bool {
    is_api_key(token) && !api_keys::was_good(app.ctx(), &OpaqueToken::new(token.to_owned()))
}

fn is_api_key(token: &str) -> bool {
    token.starts_with(API_KEY)
}

/// 401 for a token that is good for nothing: forged, expired, revoked, or of somebody who may no longer act.
pub(crate) fn invalid(token: &str) -> Fault {
    if is_api_key(token) {
        let message = "the API key is not valid, has expired or was revoked";
        return Fault::unauthenticated(message, "Bearer error=\"invalid_token\"");
    }
    invalid_token()
}

/// The same for an access token.
pub(crate) fn invalid_token() -> Fault {
    Fault::unauthenticated(
        "the access token is not valid or has expired; sign in again",
        "Bearer error=\"invalid_token\"",
    )
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
