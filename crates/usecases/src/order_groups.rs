//! Order groups: orders of one trader in one market that may together be filled only so far.
//!
//! Matching counts and caps ([`bellwether_domain::order_group`]); here groups are made, looked at, reset and deleted, under
//! the lock of their market.

use async_trait::async_trait;
use bellwether_domain::ids::{MarketId, OrderGroupId, UserId};
use bellwether_domain::money::Shares;
use bellwether_domain::order::{EndReason, OrderStatus};
use bellwether_domain::order_group::{MOST_GROUPS, OrderGroup};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{Changes, UnitOfWork};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::UserStatus;

use crate::atomically::{Script, Step, atomically};
use crate::idempotency::{answered_before, find_answer};
use crate::settling::end_orders;
use crate::{Answered, Caller, Context, Error, Keyed, users};

/// A group to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewGroup {
    /// The market that its orders are in.
    pub market: MarketId,
    /// So many shares may be filled.
    pub fill_cap: Shares,
    /// Within so many seconds; none for until it is reset.
    pub window_s: Option<i64>,
}

/// Makes a group of the caller's. Refused: [`TooManyOrderGroups`](Refusal::TooManyOrderGroups),
/// [`MarketNotFound`](Refusal::MarketNotFound), [`KeyNotForMarket`](Refusal::KeyNotForMarket).
pub async fn create(
    ctx: &Context,
    caller: Caller,
    wanted: NewGroup,
    keyed: Option<Keyed<OrderGroup>>,
) -> Result<Answered<OrderGroup>, Error> {
    caller.require(Permission::ChangeOrder, true)?;
    if let Some(kept) = answered_before(ctx, keyed.as_ref()).await? {
        return Ok(Answered::Replayed(kept));
    }
    check_key(ctx, caller, wanted.market).await?;
    atomically(ctx, Make { user: caller.user, wanted, keyed }).await
}

/// Refuses a key that is kept to other markets.
async fn check_key(ctx: &Context, caller: Caller, market: MarketId) -> Result<(), Error> {
    let Some(id) = caller.limited_key() else { return Ok(()) };
    let keys = ctx.queries.api_keys_of(caller.user).await?;
    let markets = keys.into_iter().find(|key| key.id == id).ok_or(Refusal::KeyInactive)?.limits.markets;
    if markets.is_empty() || markets.contains(&market) { Ok(()) } else { Err(Refusal::KeyNotForMarket.into()) }
}

struct Make {
    user: UserId,
    wanted: NewGroup,
    keyed: Option<Keyed<OrderGroup>>,
}

#[async_trait]
impl Script for Make {
    type Output = Answered<OrderGroup>;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Answered<OrderGroup>>, Error> {
        if let Some(kept) = find_answer(unit, self.keyed.as_ref()).await? {
            return Ok(Step::Commit(Answered::Replayed(kept)));
        }
        let NewGroup { market, fill_cap, window_s } = self.wanted;
        unit.markets().lock(&[market]).await?.pop().ok_or(Refusal::MarketNotFound)?;
        let user = unit.users().lock(&[self.user]).await?.pop();
        user.filter(|user| user.status == UserStatus::Active).ok_or(Refusal::UserInactive)?;
        if unit.order_groups().count_of(self.user).await? >= u64::try_from(MOST_GROUPS).unwrap_or(u64::MAX) {
            return Err(Refusal::TooManyOrderGroups { limit: MOST_GROUPS }.into());
        }
        let now = ctx.clock.now();
        let group = OrderGroup {
            id: OrderGroupId(ctx.ids.fresh().next_uuid()),
            user: self.user,
            market,
            fill_cap,
            window_s,
            filled: Shares::ZERO,
            recent: Vec::new(),
            full_at: None,
            created_at: now,
            updated_at: now,
        };
        let answers = self.keyed.iter().map(|keyed| keyed.keep(&group, now)).collect();
        unit.write(&Changes { new_order_groups: vec![group.clone()], answers, ..Changes::default() }).await?;
        Ok(Step::Commit(Answered::Fresh(group)))
    }
}

/// The caller's groups, the oldest first.
pub async fn list(ctx: &Context, caller: Caller) -> Result<Vec<OrderGroup>, Error> {
    caller.require(Permission::ReadOrders, true)?;
    Ok(ctx.queries.order_groups_of(caller.user).await?)
}

/// A group, for whoever may see its owner's orders; to others it does not exist.
pub async fn show(ctx: &Context, caller: Caller, id: OrderGroupId) -> Result<OrderGroup, Error> {
    let group = ctx.queries.order_group(id).await?.ok_or(Refusal::OrderGroupNotFound)?;
    if !users::may_over(ctx, caller, Permission::ReadOrders, group.user).await? {
        return Err(Refusal::OrderGroupNotFound.into());
    }
    Ok(group)
}

async fn own(ctx: &Context, caller: Caller, id: OrderGroupId) -> Result<OrderGroup, Error> {
    let group = ctx.queries.order_group(id).await?.filter(|group| group.user == caller.user);
    Ok(group.ok_or(Refusal::OrderGroupNotFound)?)
}

/// Has a group count anew: all of its cap is left, and it takes orders again.
pub async fn reset(ctx: &Context, caller: Caller, id: OrderGroupId) -> Result<OrderGroup, Error> {
    caller.require(Permission::ChangeOrder, true)?;
    let group = own(ctx, caller, id).await?;
    check_key(ctx, caller, group.market).await?;
    atomically(ctx, Reset { id, market: group.market }).await
}

struct Reset {
    id: OrderGroupId,
    market: MarketId,
}

#[async_trait]
impl Script for Reset {
    type Output = OrderGroup;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<OrderGroup>, Error> {
        unit.markets().lock(&[self.market]).await?;
        let mut group = unit.order_groups().load(&[self.id]).await?.pop().ok_or(Refusal::OrderGroupNotFound)?;
        group.reset(ctx.clock.now());
        unit.write(&Changes { order_groups: vec![group.clone()], ..Changes::default() }).await?;
        Ok(Step::Commit(group))
    }
}

/// Cancels the open orders of a group and deletes it.
pub async fn delete(ctx: &Context, caller: Caller, id: OrderGroupId) -> Result<(), Error> {
    caller.require(Permission::ChangeOrder, true)?;
    let group = own(ctx, caller, id).await?;
    check_key(ctx, caller, group.market).await?;
    atomically(ctx, Delete { id, market: group.market }).await
}

struct Delete {
    id: OrderGroupId,
    market: MarketId,
}

#[async_trait]
impl Script for Delete {
    type Output = ();

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<()>, Error> {
        let markets = unit.markets().lock(&[self.market]).await?;
        unit.order_groups().load(&[self.id]).await?.pop().ok_or(Refusal::OrderGroupNotFound)?;
        let open = unit.order_groups().open_orders(&[self.id]).await?;
        let now = ctx.clock.now();
        let mut changes = if open.is_empty() {
            Changes::default()
        } else {
            end_orders(unit, markets, open, OrderStatus::Cancelled, EndReason::Requested, now).await?
        };
        changes.deleted_order_groups.push(self.id);
        unit.write(&changes).await?;
        Ok(Step::Commit(()))
    }
}
