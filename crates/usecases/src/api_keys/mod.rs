//! API keys: made, listed and revoked by their users, and what programs sign in with.

mod memory;

use async_trait::async_trait;
use bellwether_domain::api_key::{ApiKey, KeyLimits, KeyName, MOST_KEYS, Scope, Scopes};
use bellwether_domain::audit_log::{Action, Actor, Event, Target};
use bellwether_domain::ids::{ApiKeyId, UserId};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{Changes, OpaqueToken, UnitOfWork};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::{Role, UserStatus};
use jiff::Timestamp;
use serde_json::json;

use crate::atomically::{Script, Step, atomically};
use crate::context::CallerKey;
use crate::markets::all_of;
use crate::{Caller, Context, Error, audit_log, users};

pub use memory::KeyMemory;
use memory::LiveKey;

/// A key that is wanted.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The bot that it shall speak for; else its owner.
    pub owner: Option<UserId>,
    /// What its owner calls it.
    pub name: KeyName,
    /// For what it shall be good.
    pub scopes: Scopes,
    /// How far.
    pub limits: KeyLimits,
    /// Until when; for ever where nothing is said.
    pub expires_at: Option<Timestamp>,
}

/// Makes a key of the caller's, or of one of its bots. The token is told this once, and only its hash is kept. Refused:
/// [`TooManyKeys`](Refusal::TooManyKeys), [`ExpiryInThePast`](Refusal::ExpiryInThePast),
/// [`MarketNotFound`](Refusal::MarketNotFound) where it shall be kept to a market that there is not,
/// [`UserNotFound`](Refusal::UserNotFound) where it shall speak for who is no bot of the caller's.
pub async fn create(ctx: &Context, caller: Caller, mut wanted: NewKey) -> Result<(ApiKey, OpaqueToken), Error> {
    caller.require(Permission::MakeKey, true)?;
    wanted.limits.markets.sort_unstable();
    wanted.limits.markets.dedup();
    if wanted.expires_at.is_some_and(|at| at <= ctx.clock.now()) {
        return Err(Refusal::ExpiryInThePast.into());
    }
    all_of(ctx, &wanted.limits.markets).await?;
    let token = ctx.api_key_tokens.draw()?;
    let hash = ctx.api_key_tokens.hash(&token);
    let key = atomically(ctx, MakeKey { caller: caller.user, hash, wanted }).await?;
    Ok((key, token))
}

struct MakeKey {
    caller: UserId,
    hash: [u8; 32],
    wanted: NewKey,
}

#[async_trait]
impl Script for MakeKey {
    type Output = ApiKey;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<ApiKey>, Error> {
        let NewKey { owner, name, scopes, limits, expires_at } = self.wanted.clone();
        let user = unit.users().lock(&[owner.unwrap_or(self.caller)]).await?.pop();
        let user = user.filter(|user| user.belongs_to(self.caller)).ok_or(Refusal::UserNotFound)?;
        if user.status != UserStatus::Active {
            return Err(Refusal::UserInactive.into());
        }
        if unit.api_keys().of_user(user.id).await?.len() >= MOST_KEYS {
            return Err(Refusal::TooManyKeys { limit: MOST_KEYS }.into());
        }
        let key = ApiKey {
            id: ApiKeyId(ctx.ids.fresh().next_uuid()),
            user: user.id,
            name,
            hash: self.hash,
            scopes,
            limits,
            created_at: ctx.clock.now(),
            expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        let scopes: Vec<&str> = key.scopes.iter().map(Scope::as_str).collect();
        // The owner of a bot makes its keys.
        let (by, target) = (Actor::User(self.caller), Target::ApiKey(key.id));
        let events = vec![audit_log::with(ctx, by, Action::KeyMade, target, &json!({ "scopes": scopes }))];
        unit.write(&Changes { new_api_keys: vec![key.clone()], events, ..Changes::default() }).await?;
        Ok(Step::Commit(key))
    }
}

/// The keys of the caller or of one of its bots that were not revoked, the newest first.
pub async fn list(ctx: &Context, caller: Caller, owner: UserId) -> Result<Vec<ApiKey>, Error> {
    if !users::may_over(ctx, caller, Permission::ReadKeys, owner).await? {
        return Err(Refusal::UserNotFound.into());
    }
    Ok(ctx.queries.api_keys_of(owner).await?)
}

/// Revokes a key: one's own or a bot's, or anybody's for an administrator; else not found. Here it is good for nothing
/// from now on, and on other servers as soon as they hear of it, within a second at the latest.
pub async fn revoke(ctx: &Context, caller: Caller, id: ApiKeyId) -> Result<(), Error> {
    let key = atomically(ctx, RevokeKey { caller, id }).await?;
    ctx.key_memory.end(key.hash).await;
    Ok(())
}

struct RevokeKey {
    caller: Caller,
    id: ApiKeyId,
}

#[async_trait]
impl Script for RevokeKey {
    type Output = ApiKey;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<ApiKey>, Error> {
        let key = unit.api_keys().lock(self.id).await?.filter(|key| key.revoked_at.is_none());
        let mut key = key.ok_or(Refusal::ApiKeyNotFound)?;
        let is_own = key.user == self.caller.user
            || unit.users().load(&[key.user]).await?.iter().any(|user| user.belongs_to(self.caller.user));
        if !self.caller.may(Permission::RevokeKey, is_own) {
            return Err(Refusal::ApiKeyNotFound.into());
        }
        let events = vec![revoke_now(ctx, Actor::User(self.caller.user), &mut key)];
        unit.write(&Changes { api_keys: vec![key.clone()], events, ..Changes::default() }).await?;
        Ok(Step::Commit(key))
    }
}

/// Revokes a key, for a unit of work to write, and says so for the audit log.
pub(crate) fn revoke_now(ctx: &Context, by: Actor, key: &mut ApiKey) -> Event {
    key.revoked_at = Some(ctx.clock.now());
    let of = json!({ "userId": key.user.to_string() });
    audit_log::with(ctx, by, Action::KeyRevoked, Target::ApiKey(key.id), &of)
}

/// For whom a key speaks, as of now: none where it is unknown, revoked or expired, or its user may no
/// longer act.
pub async fn authenticate(ctx: &Context, token: &OpaqueToken) -> Result<Option<Caller>, Error> {
    let key = ctx.key_memory.get(&*ctx.queries, ctx.api_key_tokens.hash(token)).await?;
    Ok(caller(ctx, key))
}

/// The same by what is remembered alone, without asking the store; none where it must be asked.
pub async fn recall(ctx: &Context, token: &OpaqueToken) -> Option<Option<Caller>> {
    let key = ctx.key_memory.recall(ctx.api_key_tokens.hash(token)).await?;
    Some(caller(ctx, key))
}

/// Whether a key was good when it was last looked up, if that is not long ago.
#[must_use]
pub fn was_good(ctx: &Context, token: &OpaqueToken) -> bool {
    ctx.key_memory.was_good(&ctx.api_key_tokens.hash(token))
}

/// Without the scope `admin`, a key of a moderator or an administrator is that of any user.
fn caller(ctx: &Context, key: Option<LiveKey>) -> Option<Caller> {
    let now = ctx.clock.now();
    let key = key.filter(|key| key.expires_at.is_none_or(|at| now < at))?;
    ctx.key_memory.note_use(key.id, now);
    let role = if key.scopes.contains(Scope::Admin) { key.role } else { Role::User };
    let with = CallerKey { id: key.id, owner: key.owner, scopes: key.scopes, is_limited: key.is_limited };
    Some(Caller { user: key.user, role, key: Some(with) })
}

/// Writes when keys were last used, each at most once a minute. What cannot be written is lost: it is
/// only for people to look at.
pub async fn write_last_uses(ctx: &Context) -> Result<(), Error> {
    let uses = ctx.key_memory.take_uses(|| ctx.clock.now());
    if uses.is_empty() { Ok(()) } else { atomically(ctx, WriteUses { uses }).await }
}

struct WriteUses {
    uses: Vec<(ApiKeyId, Timestamp)>,
}

#[async_trait]
impl Script for WriteUses {
    type Output = ();

    async fn run(&mut self, _: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<()>, Error> {
        unit.write(&Changes { api_key_uses: self.uses.clone(), ..Changes::default() }).await?;
        Ok(Step::Commit(()))
    }
}
