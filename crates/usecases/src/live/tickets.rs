//! Tickets: for browsers, which cannot send a header with what they follow. A ticket stands for a session
//! once, within half a minute, so it is of no use to whoever reads it in a log.

use async_trait::async_trait;
use bellwether_domain::ids::{SessionId, UserId};
use bellwether_domain::ports::{AnswerKey, Changes, KeptAnswer, Sealer, UnitOfWork};
use bellwether_domain::refusal::Refusal;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::Follower;
use crate::atomically::{Script, Step, atomically};
use crate::sessions::Identity;
use crate::{Caller, Context, Error};

/// How long a ticket is good.
const GOOD_FOR: SignedDuration = SignedDuration::from_secs(30);
/// What is sealed is a ticket and nothing else.
const PURPOSE: &str = "stream ticket";
/// Under which "route" it is remembered that a ticket was used.
const ROUTE: &str = "TICKET /api/v1/stream";

/// A ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// What is shown: the ids of user and session, the end of its time, a number, and the seal of all that.
    pub text: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// What a ticket says.
struct Claims {
    user: UserId,
    session: SessionId,
    expires_at: Timestamp,
    number: Uuid,
}

impl Claims {
    fn text(&self) -> String {
        let Self { user, session, expires_at, number } = self;
        let (user, session, number) = (user.0.simple(), session.0.simple(), number.simple());
        format!("{user}.{session}.{}.{number}", expires_at.as_microsecond())
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut id = || Uuid::try_parse(parts.next()?).ok();
        let (user, session) = (UserId(id()?), SessionId(id()?));
        let expires_at = Timestamp::from_microsecond(parts.next()?.parse().ok()?).ok()?;
        let number = Uuid::try_parse(parts.next()?).ok()?;
        parts.next().is_none().then_some(Self { user, session, expires_at, number })
    }
}

fn message(text: &str) -> Vec<u8> {
    format!("{PURPOSE}\n{text}").into_bytes()
}

/// A ticket for a session.
#[must_use]
pub fn issue_ticket(ctx: &Context, sealer: &dyn Sealer, who: Identity) -> Ticket {
    let expires_at = ctx.clock.now().saturating_add(GOOD_FOR).unwrap_or(Timestamp::MAX);
    let claims =
        Claims { user: who.caller.user, session: who.session, expires_at, number: ctx.ids.fresh().next_uuid() };
    let text = claims.text();
    let seal: String = sealer.seal(&message(&text)).iter().map(|byte| format!("{byte:02x}")).collect();
    Ticket { text: format!("{text}.{seal}"), expires_at }
}

/// Who a ticket stands for. Refused with [`BadTicket`](Refusal::BadTicket) where it is none, is too old, was
/// used before, or its session is over.
pub async fn redeem_ticket(ctx: &Context, sealer: &dyn Sealer, ticket: &str) -> Result<(Follower, Caller), Error> {
    let (text, seal) = ticket.rsplit_once('.').ok_or(Refusal::BadTicket)?;
    let seal = bytes_of(seal).ok_or(Refusal::BadTicket)?;
    if !sealer.is_sealed(&message(text), &seal) {
        return Err(Refusal::BadTicket.into());
    }
    let claims = Claims::read(text).ok_or(Refusal::BadTicket)?;
    let now = ctx.clock.now();
    if claims.expires_at <= now {
        return Err(Refusal::BadTicket.into());
    }
    let (user, session) = (claims.user, claims.session);
    let live = ctx.session_memory.get(&*ctx.queries, session).await?;
    let live = live.filter(|live| live.user == user && live.expires_at > now).ok_or(Refusal::BadTicket)?;
    atomically(ctx, Use { claims, now }).await?;
    let follower = Follower { user: Some(user), session: Some(session), ..Follower::default() };
    Ok((follower, Caller::signed_in(user, live.role)))
}

/// Notes that a ticket was used, among what is kept so that nothing is done twice.
struct Use {
    claims: Claims,
    now: Timestamp,
}

#[async_trait]
impl Script for Use {
    type Output = ();

    async fn run(&mut self, _: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<()>, Error> {
        let key =
            AnswerKey { user: self.claims.user, route: ROUTE.to_owned(), key: self.claims.number.simple().to_string() };
        if !unit.answers().find(std::slice::from_ref(&key)).await?.is_empty() {
            return Err(Refusal::BadTicket.into());
        }
        let used = KeptAnswer {
            key,
            fingerprint: [0; 32],
            status: 200,
            location: None,
            body: "null".to_owned(),
            created_at: self.now,
        };
        unit.write(&Changes { answers: vec![used], ..Changes::default() }).await?;
        Ok(Step::Commit(()))
    }
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    (digits.len() == 64).then(|| digits.chunks(2).map(pair).collect()).flatten()
}
