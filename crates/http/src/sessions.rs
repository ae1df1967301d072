//! Signing in, refreshing, signing out, and where one is signed in.

use bellwether_domain::ids::SessionId;
use bellwether_domain::ports::OpaqueToken;
use bellwether_domain::session::Session;
use bellwether_usecases::limits;
use bellwether_usecases::sessions::{self, SignedIn};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::call::Call;
use crate::decimal::Shown;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::{Fields, Node};
use crate::wire::user::UserWire;
use crate::wire::user_body;

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SignedInWire<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: i64,
    refresh_token: &'a str,
    refresh_expires_in: i64,
    user: UserWire<'a>,
}

fn signed_in(answer: &SignedIn) -> Result<Reply, Fault> {
    Reply::ok(&SignedInWire {
        access_token: &answer.access_token,
        token_type: "Bearer",
        expires_in: answer.expires_in_s,
        refresh_token: answer.refresh_token.expose(),
        refresh_expires_in: answer.refresh_expires_in_s,
        user: UserWire::private(&answer.user),
    })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionWire<'a> {
    id: Shown<SessionId>,
    /// Whether it is the one that asks.
    current: bool,
    address: Option<&'a str>,
    agent: Option<&'a str>,
    created_at: Timestamp,
    last_seen_at: Timestamp,
    expires_at: Timestamp,
}

impl<'a> SessionWire<'a> {
    fn of(session: &'a Session, current: SessionId) -> Self {
        Self {
            id: Shown(session.id),
            current: session.id == current,
            address: session.device.address.as_deref(),
            agent: session.device.agent.as_deref(),
            created_at: session.created_at,
            last_seen_at: session.last_seen_at,
            expires_at: session.expires_at,
        }
    }
}

/// `POST /auth/login`.
pub(crate) async fn log_in(mut call: Call) -> Result<Reply, Fault> {
    let (email, password) = call.command(user_body::log_in).await?;
    let (ctx, from, device) = (call.ctx(), call.from(), call.device());
    signed_in(&call.app().run(async move { limits::log_in(&ctx, from, &email, &password, device).await }).await?)
}

fn opaque_token(node: &Node<'_>) -> Option<OpaqueToken> {
    node.string().map(|text| OpaqueToken::new(text.to_owned()))
}

/// Reads a refresh token.
pub(crate) fn refresh_token(fields: &Fields<'_>) -> Option<OpaqueToken> {
    fields.required("refreshToken", opaque_token)
}

/// Reads a refresh token that may be missing.
pub(crate) fn refresh_token_if_any(fields: &Fields<'_>) -> Option<Option<OpaqueToken>> {
    fields.optional("refreshToken", opaque_token)
}

/// `POST /auth/refresh`.
pub(crate) async fn refresh(mut call: Call) -> Result<Reply, Fault> {
    let token = call.command(refresh_token).await?;
    let (ctx, from, device) = (call.ctx(), call.from(), call.device());
    signed_in(&call.app().run(async move { limits::refresh(&ctx, from, &token, device).await }).await?)
}

/// `POST /auth/logout`: of the session of a refresh token, whoever sends it, or else of the access token.
pub(crate) async fn log_out(mut call: Call) -> Result<Reply, Fault> {
    let token = call.command_or_nothing(refresh_token_if_any).await?;
    let ctx = call.ctx();
    match token {
        Some(token) => call.app().run(async move { sessions::log_out_by_token(&ctx, &token).await }).await?,
        None => {
            let who = call.identity().await?;
            call.app().run(async move { sessions::log_out(&ctx, who).await }).await?;
        }
    }
    Ok(Reply::no_content())
}

/// `POST /auth/logout-all`.
pub(crate) async fn log_out_everywhere(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    call.no_body().await?;
    let ctx = call.ctx();
    call.app().run(async move { sessions::log_out_everywhere(&ctx, caller).await }).await?;
    Ok(Reply::no_content())
}

/// `GET /users/{id}/sessions`. As many as a user may have fit one answer, so there are no pages.
pub(crate) async fn list(call: Call) -> Result<Reply, Fault> {
    let who = call.identity().await?;
    call.no_query()?;
    let (ctx, user) = (call.ctx(), call.user_id(who.caller)?);
    let found = call.app().run(async move { sessions::list(&ctx, who.caller, user).await }).await?;
    Reply::ok(&found.iter().map(|session| SessionWire::of(session, who.session)).collect::<Vec<_>>())
}

/// `DELETE /users/{id}/sessions`.
pub(crate) async fn revoke_all(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let user = call.user_id(caller)?;
    call.no_body().await?;
    let ctx = call.ctx();
    call.app().run(async move { sessions::revoke_all(&ctx, caller, user).await }).await?;
    Ok(Reply::no_content())
}

/// `DELETE /users/{id}/sessions/{session}`.
pub(crate) async fn revoke(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let (user, session) = (call.user_id(caller)?, SessionId(call.id_at("session")?));
    call.no_body().await?;
    let ctx = call.ctx();
    call.app().run(async move { sessions::revoke(&ctx, caller, user, session).await }).await?;
    Ok(Reply::no_content())
}
