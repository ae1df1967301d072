//! The beginning of a session.

use std::cmp::Reverse;

use async_trait::async_trait;
use bellwether_domain::audit_log::{Action, Actor, Target};
use bellwether_domain::ids::SessionId;
use bellwether_domain::ports::{Changes, UnitOfWork};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::session::{Device, EndReason, Lifetime, RefreshToken, Session};
use bellwether_domain::user::{User, UserStatus};

use super::{SignedIn, ids, issue, lifetime};
use crate::atomically::{Script, Step, atomically};
use crate::{Context, Error, audit_log};

/// Begins a session of a user whose password was just checked. Where the user has too many
/// already, those that were not seen for longest end.
pub(crate) async fn begin(ctx: &Context, user: User, device: Device) -> Result<SignedIn, Error> {
    let token = ctx.opaque_tokens.draw()?;
    let hash = ctx.opaque_tokens.hash(&token);
    let begun = atomically(ctx, BeginSession { checked: user, device, hash }).await?;
    ctx.session_memory.end(&begun.ended).await;
    let lifetime = Lifetime { from: begun.session.created_at, until: begun.session.expires_at };
    issue(ctx, begun.user, begun.session.id, token, lifetime)
}

struct BeginSession {
    /// The user as it was when the password was checked.
    checked: User,
    device: Device,
    hash: [u8; 32],
}

struct Begun {
    user: User,
    session: Session,
    ended: Vec<SessionId>,
}

#[async_trait]
impl Script for BeginSession {
    type Output = Begun;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Begun>, Error> {
        let now = ctx.clock.now();
        let user = unit.users().lock(&[self.checked.id]).await?.into_iter().next().ok_or(Refusal::BadCredentials)?;
        // Checking a password takes long. One that was changed meanwhile, with all sessions ended,
        // must not begin another.
        if user.password_hash != self.checked.password_hash || user.status != UserStatus::Active {
            return Err(Refusal::BadCredentials.into());
        }
        let mut surplus = unit.sessions().lock_of_user(user.id).await?;
        surplus.retain(|session| session.is_live(now));
        surplus.sort_by_key(|session| Reverse((session.last_seen_at, session.id)));
        let kept = ctx.policy.max_sessions.saturating_sub(1).min(surplus.len());
        surplus.drain(..kept);
        surplus.iter_mut().for_each(|session| session.end(EndReason::TooMany, now));

        let id = SessionId(ctx.ids.fresh().next_uuid());
        let session = Session::begin(id, user.id, self.device.clone(), lifetime(ctx, now)?);
        let token = RefreshToken::fresh(self.hash, id, lifetime(ctx, now)?);
        let ended = ids(&surplus);
        let changes = Changes {
            new_sessions: vec![session.clone()],
            new_refresh_tokens: vec![token],
            sessions: surplus,
            events: vec![audit_log::event(ctx, Actor::User(user.id), Action::SignedIn, Some(Target::Session(id)))],
            ..Changes::default()
        };
        unit.write(&changes).await?;
        Ok(Step::Commit(Begun { user, session, ended }))
    }
}
