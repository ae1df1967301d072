//! What the audit log is told: by every use case in the unit of work of what it tells of, but for failed
//! sign-ins, which it is told of in sums.

use async_trait::async_trait;
use bellwether_domain::audit_log::{Action, Actor, Event, FailedSignIns, FailureKey, Origin, Target, WINDOW};
use bellwether_domain::ids::{EventId, UserId};
use bellwether_domain::ports::{Changes, UnitOfWork};
use bellwether_domain::session::Device;
use bellwether_domain::user::{User, UserStatus};
use serde_json::{Value, json};

use crate::atomically::{Script, Step, atomically};
use crate::{Context, Error};

/// How many sums of failed sign-ins there are at most in a window; what is more is counted as one. So
/// strangers can have at most twice as many entries written in an hour.
const MOST_SUMS: u32 = 250;
/// How many sums one unit of work tells of.
const TOLD_AT_ONCE: u32 = 500;

/// Something that happens now, asked for from where the request came.
pub(crate) fn event(ctx: &Context, actor: Actor, action: Action, target: Option<Target>) -> Event {
    let (id, at, origin) = (EventId(ctx.ids.fresh().next_uuid()), ctx.clock.now(), ctx.origin.clone());
    Event { id, at, actor, action, target, origin, before: None, after: None }
}

/// The same, and what was before and is now.
pub(crate) fn change(
    ctx: &Context,
    actor: Actor,
    action: Action,
    target: Target,
    before: &Value,
    after: &Value,
) -> Event {
    Event {
        before: Some(before.to_string()),
        after: Some(after.to_string()),
        ..event(ctx, actor, action, Some(target))
    }
}

/// The same, and what else there is to know.
pub(crate) fn with(ctx: &Context, actor: Actor, action: Action, target: Target, after: &Value) -> Event {
    Event { after: Some(after.to_string()), ..event(ctx, actor, action, Some(target)) }
}

/// What somebody has changed about a user. What is said of a user can never be taken back, so names,
/// addresses and hashes are not.
pub(crate) fn changes_of_user(
    ctx: &Context,
    actor: Actor,
    before: &User,
    after: &User,
    reason: Option<&str>,
) -> Vec<Event> {
    let target = Target::User(after.id);
    if after.status == UserStatus::Deactivated {
        return vec![event(ctx, actor, Action::Deactivated, Some(target))];
    }
    let mut events = Vec::new();
    if before.role != after.role {
        let role = |user: &User| json!({ "role": user.role.as_str() });
        events.push(change(ctx, actor, Action::RoleChanged, target, &role(before), &role(after)));
    }
    if before.status != after.status {
        let is_suspended = after.status == UserStatus::Suspended;
        let action = if is_suspended { Action::Suspended } else { Action::Reactivated };
        let now = json!({ "status": after.status.as_str(), "reason": reason });
        events.push(change(ctx, actor, action, target, &json!({ "status": before.status.as_str() }), &now));
    }
    if before.password_hash != after.password_hash {
        events.push(event(ctx, actor, Action::PasswordChanged, Some(target)));
    }
    if before.email != after.email {
        events.push(event(ctx, actor, Action::EmailChanged, Some(target)));
    }
    if before.display_name != after.display_name && actor != Actor::User(after.id) {
        events.push(event(ctx, actor, Action::Edited, Some(target)));
    }
    events
}

/// Tells that the keys that sign access tokens were rotated, by the command line.
pub async fn keys_rotated(ctx: &Context, compromised: bool) -> Result<(), Error> {
    atomically(ctx, KeysRotated { compromised }).await
}

/// Tells that every invariant was checked, and how many breaches were found.
pub(crate) async fn audited(ctx: &Context, violations: usize) -> Result<(), Error> {
    atomically(ctx, Audited { violations }).await
}

/// Counts that somebody did not know the password of a user, or of an address that nobody has. The first
/// of its kind is told at once, how many there were when their window is over.
pub(crate) async fn sign_in_failed(ctx: &Context, user: Option<UserId>) -> Result<(), Error> {
    let key = FailureKey::new(user, ctx.origin.device.address.as_deref(), ctx.clock.now());
    atomically(ctx, CountFailure { key }).await
}

/// Tells how many sign-ins failed in windows that are over, a bounded number in each unit of work.
pub async fn tell_of_failures(ctx: &Context) -> Result<(), Error> {
    while atomically(ctx, TellOfFailures).await? {}
    Ok(())
}

struct KeysRotated {
    compromised: bool,
}

#[async_trait]
impl Script for KeysRotated {
    type Output = ();

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<()>, Error> {
        let after = Some(json!({ "compromised": self.compromised }).to_string());
        let rotated = Event { after, ..event(ctx, Actor::System, Action::KeysRotated, None) };
        unit.write(&Changes { events: vec![rotated], ..Changes::default() }).await?;
        Ok(Step::Commit(()))
    }
}

struct Audited {
    violations: usize,
}

#[async_trait]
impl Script for Audited {
    type Output = ();

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<()>, Error> {
        let after = Some(json!({ "violations": self.violations }).to_string());
        let audited = Event { after, ..event(ctx, Actor::System, Action::Audited, None) };
        unit.write(&Changes { events: vec![audited], ..Changes::default() }).await?;
        Ok(Step::Commit(()))
    }
}

struct CountFailure {
    key: FailureKey,
}

#[async_trait]
impl Script for CountFailure {
    type Output = ();

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<()>, Error> {
        let sum = unit.failures().count(&self.key, ctx.clock.now(), MOST_SUMS).await?;
        if sum.count == 1 {
            unit.write(&Changes { events: vec![failures(ctx, &sum)], ..Changes::default() }).await?;
        }
        Ok(Step::Commit(()))
    }
}

struct TellOfFailures;

#[async_trait]
impl Script for TellOfFailures {
    /// Whether there may be more.
    type Output = bool;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<bool>, Error> {
        let Ok(before) = ctx.clock.now().checked_sub(WINDOW) else { return Ok(Step::Discard(false)) };
        let mut sums = unit.failures().take_before(before, TOLD_AT_ONCE).await?;
        if sums.is_empty() {
            return Ok(Step::Discard(false));
        }
        let may_be_more = u32::try_from(sums.len()).is_ok_and(|taken| taken >= TOLD_AT_ONCE);
        // Of those that were alone all is said.
        sums.retain(|sum| sum.count > 1);
        let events = sums.iter().map(|sum| {
            let address = Some(sum.key.place.clone()).filter(|place| !place.is_empty());
            let origin = Origin { device: Device { address, agent: None }, request_id: None };
            Event { origin, ..failures(ctx, sum) }
        });
        unit.write(&Changes { events: events.collect(), ..Changes::default() }).await?;
        Ok(Step::Commit(may_be_more))
    }
}

fn failures(ctx: &Context, sum: &FailedSignIns) -> Event {
    let after = json!({ "count": sum.count, "since": sum.key.since.to_string(), "last": sum.last_at.to_string() });
    let target = sum.key.user.map(Target::User);
    Event { after: Some(after.to_string()), ..event(ctx, Actor::Stranger, Action::SignInFailed, target) }
}
