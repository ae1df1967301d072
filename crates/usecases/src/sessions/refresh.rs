//! Refreshing: a token is spent, and its successor issued.
//!
//! The successor follows from the spent token by a key of the server's. So it can be given once more
//! to a client that lost the answer, though nobody kept it; and however many clients use one token
//! at the same time, all get the same successor, and the session has one live branch.

use async_trait::async_trait;
use bellwether_domain::audit_log::{Action, Actor, Target};
use bellwether_domain::ids::{SessionId, UserId};
use bellwether_domain::ports::{Changes, OpaqueToken, UnitOfWork};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::session::{Device, EndReason, Lifetime, Presented, RefreshToken, Session};
use bellwether_domain::user::{User, UserStatus};
use jiff::Timestamp;
use serde_json::json;

use super::{SignedIn, issue, lifetime};
use crate::atomically::{Script, Step, atomically};
use crate::{Context, Error, audit_log};

/// Spends a refresh token. Refused with [`BadRefreshToken`](Refusal::BadRefreshToken); one that was
/// spent before ends its session.
pub async fn refresh(ctx: &Context, token: &OpaqueToken, device: Device) -> Result<SignedIn, Error> {
    let successor = ctx.opaque_tokens.successor(token);
    let script = Refresh { hash: ctx.opaque_tokens.hash(token), successor: ctx.opaque_tokens.hash(&successor), device };
    match atomically(ctx, script).await? {
        Refreshed::Issued { user, session, rest } => issue(ctx, user, session, successor, rest),
        Refreshed::Replayed { user, session } => {
            ctx.session_memory.end(&[session]).await;
            tracing::warn!(%user, %session, "a spent refresh token was used again; its session was ended");
            Err(Refusal::BadRefreshToken.into())
        }
    }
}

struct Refresh {
    hash: [u8; 32],
    successor: [u8; 32],
    device: Device,
}

enum Refreshed {
    Issued { user: User, session: SessionId, rest: Lifetime },
    Replayed { user: UserId, session: SessionId },
}

#[async_trait]
impl Script for Refresh {
    type Output = Refreshed;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Refreshed>, Error> {
        let now = ctx.clock.now();
        let session = unit.sessions().lock_by_token(self.hash).await?.ok_or(Refusal::BadRefreshToken)?;
        let tokens = unit.sessions().refresh_tokens(&[self.hash, self.successor]).await?;
        let user = unit.users().load(&[session.user]).await?.pop();
        let user = user.filter(|user| user.status == UserStatus::Active).ok_or(Refusal::BadRefreshToken)?;
        if !session.is_live(now) {
            return Err(Refusal::BadRefreshToken.into());
        }
        let find = |hash| tokens.iter().find(|token| token.hash == hash);
        let (token, successor) = (find(self.hash).ok_or(Refusal::BadRefreshToken)?, find(self.successor));
        match (token.presented(successor, now), successor) {
            (Presented::First, _) => self.spend(ctx, unit, token.clone(), session, user, now).await,
            (Presented::Again, Some(next)) => {
                let rest = Lifetime { from: now, until: next.lifetime.until };
                Ok(Step::Commit(Refreshed::Issued { user, session: session.id, rest }))
            }
            (Presented::Expired, _) => Err(Refusal::BadRefreshToken.into()),
            (Presented::Replay | Presented::Again, _) => end(ctx, unit, session, now).await,
        }
    }
}

impl Refresh {
    async fn spend(
        &self,
        ctx: &Context,
        unit: &mut dyn UnitOfWork,
        mut token: RefreshToken,
        mut session: Session,
        user: User,
        now: Timestamp,
    ) -> Result<Step<Refreshed>, Error> {
        let lifetime = lifetime(ctx, now)?;
        token.spent_at = Some(now);
        session.renew(self.device.clone(), lifetime);
        let issued = Refreshed::Issued { user, session: session.id, rest: lifetime };
        let changes = Changes {
            new_refresh_tokens: vec![RefreshToken::fresh(self.successor, session.id, lifetime)],
            refresh_tokens: vec![token],
            sessions: vec![session],
            ..Changes::default()
        };
        unit.write(&changes).await?;
        Ok(Step::Commit(issued))
    }
}

/// Somebody has a copy of a token; nobody knows which of the two is the thief.
async fn end(
    ctx: &Context,
    unit: &mut dyn UnitOfWork,
    mut session: Session,
    now: Timestamp,
) -> Result<Step<Refreshed>, Error> {
    let replayed = Refreshed::Replayed { user: session.user, session: session.id };
    session.end(EndReason::Replayed, now);
    let (target, of) = (Target::Session(session.id), json!({ "userId": session.user.to_string() }));
    let events = vec![audit_log::with(ctx, Actor::Stranger, Action::SessionReused, target, &of)];
    unit.write(&Changes { sessions: vec![session], events, ..Changes::default() }).await?;
    Ok(Step::Commit(replayed))
}
