//! Signed-in sessions: they begin with a sign-in, go on by refreshing, and end.
//!
//! An access token is good while its signature and its times are and its session lasts; the latter
//! is looked up at each request, in the [`SessionMemory`].

mod begin;
mod memory;
mod refresh;

use async_trait::async_trait;
use bellwether_domain::audit_log::{Action, Actor, Event, Target};
use bellwether_domain::ids::{SessionId, UserId};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{AccessClaims, Changes, OpaqueToken, UnitOfWork};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::session::{EndReason, Lifetime, Session};
use bellwether_domain::user::User;
use jiff::Timestamp;
use serde_json::json;

use crate::atomically::{Script, Step, atomically};
use crate::forgetting::{self, Old, OldInUnits};
use crate::{Caller, Context, Error, audit_log};

pub(crate) use begin::begin;
use memory::LiveSession;
pub use memory::SessionMemory;
pub use refresh::refresh;

/// The most sessions of a user that are listed; no policy allows more.
pub(crate) const MOST_LISTED: u32 = 100;

/// What a client gets when it signs in or refreshes.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// The bearer token.
    pub access_token: String,
    /// For how many seconds it is valid.
    pub expires_in_s: i64,
    /// The token to get the next one with. Used once.
    pub refresh_token: OpaqueToken,
    /// For how many seconds that is good.
    pub refresh_expires_in_s: i64,
    /// Who signed in.
    pub user: User,
}

/// Who an access token speaks for, and the session it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Who is asking.
    pub caller: Caller,
    /// In which session.
    pub session: SessionId,
}

/// Who a token speaks for, as of now: none where it is invalid, its session is over or its user may
/// no longer act.
pub async fn authenticate(ctx: &Context, token: &str) -> Result<Option<Identity>, Error> {
    let now = ctx.clock.now();
    let Ok(claims) = ctx.signer.verify(token, now) else { return Ok(None) };
    let session = ctx.session_memory.get(&*ctx.queries, claims.session).await?;
    Ok(identity(&claims, session, now))
}

/// The same by what is remembered alone, without asking the store; none where it must be asked.
pub async fn recall(ctx: &Context, token: &str) -> Option<Option<Identity>> {
    let now = ctx.clock.now();
    let Ok(claims) = ctx.signer.verify(token, now) else { return Some(None) };
    let session = ctx.session_memory.recall(claims.session).await?;
    Some(identity(&claims, session, now))
}

/// The role is the user's of now, not the one in the token.
fn identity(claims: &AccessClaims, session: Option<LiveSession>, now: Timestamp) -> Option<Identity> {
    let session = session.filter(|session| session.user == claims.user && now < session.expires_at)?;
    let caller = Caller::signed_in(session.user, session.role);
    Some(Identity { caller, session: claims.session })
}

/// The live sessions of a user, the one seen last first: one's own, or anybody's for an administrator.
pub async fn list(ctx: &Context, caller: Caller, user: UserId) -> Result<Vec<Session>, Error> {
    if !caller.may(Permission::ReadSessions, caller.user == user) {
        return Err(Refusal::UserNotFound.into());
    }
    Ok(ctx.queries.sessions_of(user, ctx.clock.now(), MOST_LISTED).await?)
}

/// Ends a session of a user: one's own, or anybody's for an administrator.
pub async fn revoke(ctx: &Context, caller: Caller, user: UserId, session: SessionId) -> Result<(), Error> {
    if !caller.may(Permission::EndSessions, caller.user == user) {
        return Err(Refusal::UserNotFound.into());
    }
    let ended = end(ctx, Some(caller), Which::One(user, session), EndReason::Revoked).await?;
    if ended == 0 { Err(Refusal::SessionNotFound.into()) } else { Ok(()) }
}

/// Ends all sessions of a user: one's own, or anybody's for an administrator.
pub async fn revoke_all(ctx: &Context, caller: Caller, user: UserId) -> Result<(), Error> {
    if !caller.may(Permission::EndSessions, caller.user == user) {
        return Err(Refusal::UserNotFound.into());
    }
    ctx.queries.user(user).await?.ok_or(Refusal::UserNotFound)?;
    end(ctx, Some(caller), Which::OfUser(user), EndReason::Revoked).await.map(drop)
}

/// Signs out of one session.
pub async fn log_out(ctx: &Context, who: Identity) -> Result<(), Error> {
    end(ctx, Some(who.caller), Which::One(who.caller.user, who.session), EndReason::LoggedOut).await.map(drop)
}

/// Signs out of the session of a refresh token, whatever has become of the token. A token that
/// nobody has is no error: there is nothing left to sign out of.
pub async fn log_out_by_token(ctx: &Context, token: &OpaqueToken) -> Result<(), Error> {
    end(ctx, None, Which::OfToken(ctx.opaque_tokens.hash(token)), EndReason::LoggedOut).await.map(drop)
}

/// Signs out of every session.
pub async fn log_out_everywhere(ctx: &Context, caller: Caller) -> Result<(), Error> {
    end(ctx, Some(caller), Which::OfUser(caller.user), EndReason::LoggedOut).await.map(drop)
}

/// Forgets sessions that are over and refresh tokens that have expired, a bounded number in each
/// unit of work. Returns how many.
pub async fn forget_old_sessions(ctx: &Context) -> Result<u64, Error> {
    forgetting::forget(ctx, Old::InUnits(OldInUnits::Sessions)).await
}

/// Within a unit of work that holds the user's lock: ends its sessions, for the unit to write, and
/// for [`SessionMemory::end`] when it was committed.
pub(crate) async fn end_of_user(
    unit: &mut dyn UnitOfWork,
    user: UserId,
    reason: EndReason,
    now: Timestamp,
) -> Result<Vec<Session>, Error> {
    let mut sessions = unit.sessions().lock_of_user(user).await?;
    sessions.iter_mut().for_each(|session| session.end(reason, now));
    Ok(sessions)
}

/// The ids of sessions.
pub(crate) fn ids(sessions: &[Session]) -> Vec<SessionId> {
    sessions.iter().map(|session| session.id).collect()
}

/// From now, for as long as refresh tokens are good.
fn lifetime(ctx: &Context, now: Timestamp) -> Result<Lifetime, Error> {
    let until = now.checked_add(ctx.policy.refresh_token_ttl).map_err(|_| Error::Signing)?;
    Ok(Lifetime { from: now, until })
}

/// Signs an access token as of the moment that `rest` begins, and puts everything together that a
/// client gets; `rest` is how long the refresh token is good from now on.
fn issue(
    ctx: &Context,
    user: User,
    session: SessionId,
    refresh_token: OpaqueToken,
    rest: Lifetime,
) -> Result<SignedIn, Error> {
    let (now, ttl) = (rest.from, ctx.policy.access_token_ttl);
    let expires_at = now.checked_add(ttl).map_err(|_| Error::Signing)?;
    let claims = AccessClaims { id: ctx.ids.fresh().next_uuid(), user: user.id, role: user.role, session, expires_at };
    let access_token = ctx.signer.sign(&claims, now).map_err(|_| Error::Signing)?;
    let refresh_expires_in_s = rest.until.duration_since(now).as_secs();
    Ok(SignedIn { access_token, expires_in_s: ttl.as_secs(), refresh_token, refresh_expires_in_s, user })
}

/// Which sessions are to end.
enum Which {
    One(UserId, SessionId),
    OfToken([u8; 32]),
    OfUser(UserId),
}

/// Ends sessions; how many were still live. Who has nothing but a token of a session is its user.
async fn end(ctx: &Context, by: Option<Caller>, which: Which, reason: EndReason) -> Result<usize, Error> {
    let ended = atomically(ctx, EndSessions { by, which, reason }).await?;
    ctx.session_memory.end(&ended).await;
    Ok(ended.len())
}

struct EndSessions {
    by: Option<Caller>,
    which: Which,
    reason: EndReason,
}

#[async_trait]
impl Script for EndSessions {
    type Output = Vec<SessionId>;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Vec<SessionId>>, Error> {
        let now = ctx.clock.now();
        let mut sessions = match self.which {
            Which::One(_, session) => unit.sessions().lock(&[session]).await?,
            Which::OfToken(hash) => unit.sessions().lock_by_token(hash).await?.into_iter().collect(),
            Which::OfUser(user) => unit.sessions().lock_of_user(user).await?,
        };
        if let Which::One(user, _) = self.which {
            sessions.retain(|session| session.user == user);
        }
        sessions.retain(|session| session.is_live(now));
        if sessions.is_empty() {
            return Ok(Step::Discard(Vec::new()));
        }
        sessions.iter_mut().for_each(|session| session.end(self.reason, now));
        let (ended, events) = (ids(&sessions), self.event(ctx, &sessions).into_iter().collect());
        unit.write(&Changes { sessions, events, ..Changes::default() }).await?;
        Ok(Step::Commit(ended))
    }
}

impl EndSessions {
    /// All that end at once are of one user.
    fn event(&self, ctx: &Context, ended: &[Session]) -> Option<Event> {
        let first = ended.first()?;
        let by = Actor::User(self.by.map_or(first.user, |caller| caller.user));
        let event = match self.which {
            Which::One(..) | Which::OfToken(_) => {
                let is_own = self.reason == EndReason::LoggedOut;
                let action = if is_own { Action::SignedOut } else { Action::SessionRevoked };
                let of = json!({ "userId": first.user.to_string() });
                audit_log::with(ctx, by, action, Target::Session(first.id), &of)
            }
            Which::OfUser(user) => {
                let count = json!({ "sessions": ended.len() });
                audit_log::with(ctx, by, Action::SessionsEnded, Target::User(user), &count)
            }
        };
        Some(event)
    }
}
