//! What time makes due: closing, expiry, decisions, and payouts in batches that can be interrupted anywhere.
//!
//! There is no list of work to lose: what is due is read from the rows themselves, and each step
//! is a unit of work that checks again under lock whether it still is.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bellwether_domain::event::{Event, MarketData};
use bellwether_domain::exchange::{State, Stop};
use bellwether_domain::ids::{AccountId, MarketId, OrderId, UserId};
use bellwether_domain::job::JobKind;
use bellwether_domain::market::{Market, MarketStatus};
use bellwether_domain::order::{EndReason, Order, OrderStatus};
use bellwether_domain::ports::{
    Changes, Direction, Look, OrderFilter, OrderSort, PageRequest, SortValue, Start, StoreError, UnitOfWork,
};
use bellwether_domain::position::Position;
use bellwether_domain::score::Counting;
use bellwether_domain::settlement::{self, Accounts};
use jiff::Timestamp;
use uuid::Uuid;

use crate::atomically::{Script, Step, atomically};
use crate::markets::decide;
use crate::{Context, Error, scoring};

/// Before all users.
const NOBODY: UserId = UserId(Uuid::nil());
/// How many rows one unit of work ends or pays.
pub(crate) const BATCH: u32 = 500;
/// How many batches a request does itself before it leaves the rest to the ticks.
const SOON: u32 = 4;
/// How many orders of a user are listed at a time.
const PAGE: u32 = 100;
/// How many things of each sort one tick does, but for orders, of which it ends a batch.
const PER_TICK: u32 = 100;
/// How many of those that a look found one tick goes on with.
const FOUND: usize = 100;
/// How many markets that no longer trade, and how many users that are gone, one tick looks at.
const LOOKED_AT: u32 = 1000;

/// What one tick did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Markets closed at their time.
    pub closed: usize,
    /// Orders that expired or whose owner is gone.
    pub ended_orders: usize,
    /// Proposals decided because nobody challenged them.
    pub decided: usize,
    /// Markets settled to the end.
    pub settled: usize,
    /// Whether there is more to do right away.
    pub more: bool,
}

/// What the ticks of a process know of each other: where the next looks go on, and what was not finished. Nothing is lost
/// with it, since a look that begins anew comes to everything in time.
#[derive(Debug, Default)]
pub struct Turns {
    markets: Turn<MarketId>,
    /// Through which user the positions of markets are paid that were left in the midst of it.
    paid: BTreeMap<MarketId, UserId>,
    users: Turn<UserId>,
}

/// Things of which most have nothing to be done, looked at by turns.
#[derive(Debug)]
struct Turn<T> {
    after: Option<T>,
    unfinished: BTreeSet<T>,
}

impl<T> Default for Turn<T> {
    fn default() -> Self {
        Self { after: None, unfinished: BTreeSet::new() }
    }
}

impl<T: Copy + Ord> Turn<T> {
    /// What is to be done: what was not finished, and what a look found, of which some may be left to the next.
    fn take(&mut self, look: Option<Look<T>>) -> BTreeSet<T> {
        let mut due = std::mem::take(&mut self.unfinished);
        if let Some(Look { mut found, next }) = look {
            let is_too_much = found.len() > FOUND;
            found.truncate(FOUND);
            self.after = if is_too_much { found.last().copied() } else { next };
            due.extend(found);
        }
        due
    }
}

/// Does what is due now, a bounded amount at a time. Each step is a unit of work of its own, so a
/// crash anywhere loses nothing and pays nobody twice; several instances may tick at once. One
/// thing that fails does not keep the others from being done, nor does a question that fails keep those from being asked
/// that are left: the first error is returned at the end.
///
/// Closed markets and users that are gone have open orders only where something was left, and there may be any number of
/// them: each tick looks at some, after those that the one before it looked at.
pub async fn tick(ctx: &Context, turns: &mut Turns) -> Result<Ticked, Error> {
    let mut tick = Tick { ctx, ticked: Ticked::default(), failure: None };
    let now = ctx.clock.now();
    let closed = tick.close(now).await;
    tick.expire(now).await;
    let decided = tick.decide(now).await;
    tick.settle(turns, closed.into_iter().chain(decided)).await;
    tick.end_orders_of_deactivated(&mut turns.users).await;
    tick.failure.map_or(Ok(tick.ticked), Err)
}

/// A tick: what it did so far, and the first thing that failed.
struct Tick<'a> {
    ctx: &'a Context,
    ticked: Ticked,
    failure: Option<Error>,
}

impl Tick<'_> {
    /// What came of a step; none where it failed.
    fn done<T>(&mut self, result: Result<T, impl Into<Error>>) -> Option<T> {
        result.map_err(|error| self.failure.get_or_insert(error.into())).ok()
    }

    /// What is due, at most so much; nothing where the question failed.
    fn due<T>(&mut self, found: Result<Vec<T>, StoreError>, limit: u32) -> Vec<T> {
        let found = self.done(found).unwrap_or_default();
        self.ticked.more |= u32::try_from(found.len()).is_ok_and(|length| length >= limit);
        found
    }

    async fn close(&mut self, now: Timestamp) -> Vec<MarketId> {
        let due = self.ctx.queries.markets_to_close(now, PER_TICK).await;
        let due = self.due(due, PER_TICK);
        for id in &due {
            let closed = atomically(self.ctx, TimedChange { id: *id, change: Timed::Close }).await;
            self.ticked.closed += usize::from(self.done(closed).unwrap_or_default());
        }
        due
    }

    async fn expire(&mut self, now: Timestamp) {
        let due = self.ctx.queries.orders_to_expire(now, BATCH).await;
        for ends in by_market(&self.due(due, BATCH), EndReason::Expired) {
            let ended = atomically(self.ctx, ends).await;
            self.ticked.ended_orders += self.done(ended).unwrap_or_default();
        }
    }

    async fn decide(&mut self, now: Timestamp) -> Vec<MarketId> {
        let due = self.ctx.queries.proposals_to_decide(now, PER_TICK).await;
        let due = self.due(due, PER_TICK);
        for id in &due {
            let decided = atomically(self.ctx, TimedChange { id: *id, change: Timed::Decide }).await;
            self.ticked.decided += usize::from(self.done(decided).unwrap_or_default());
        }
        due
    }

    /// Goes on with the markets that are decided, that have just changed, and that were left with open orders.
    /// A market that fails is begun anew.
    async fn settle(&mut self, turns: &mut Turns, changed: impl Iterator<Item = MarketId>) {
        let to_pay = self.ctx.queries.markets_to_pay(PER_TICK).await;
        let to_pay = self.due(to_pay, PER_TICK);
        let look = self.ctx.queries.closed_with_orders(turns.markets.after, LOOKED_AT).await;
        let mut due = turns.markets.take(self.done(look));
        due.extend(changed.chain(to_pay));
        for id in due {
            let mut paid = turns.paid.remove(&id).unwrap_or(NOBODY);
            let settled = settle_some(self.ctx, id, &mut paid).await;
            let settled = self.done(settled);
            if settled == Some(false) {
                turns.markets.unfinished.insert(id);
                turns.paid.insert(id, paid);
                self.ticked.more = true;
            }
            self.ticked.settled += usize::from(settled.unwrap_or_default());
        }
    }

    async fn end_orders_of_deactivated(&mut self, turn: &mut Turn<UserId>) {
        let look = self.ctx.queries.deactivated_with_orders(turn.after, LOOKED_AT).await;
        for id in turn.take(self.done(look)) {
            let ended = end_some_orders(self.ctx, id).await;
            let Some((count, is_all)) = self.done(ended) else { continue };
            if !is_all {
                turn.unfinished.insert(id);
                self.ticked.more = true;
            }
            self.ticked.ended_orders += count;
        }
    }
}

/// Works a market that no longer trades to its end: cancels what is open, and, once decided, pays
/// every position once, empties the collateral and refunds the maker's funder. In batches; returns
/// whether it is done. May be run again after any interruption.
pub async fn settle_market(ctx: &Context, market: MarketId) -> Result<bool, Error> {
    let mut paid = NOBODY;
    while !settle_some(ctx, market, &mut paid).await? {}
    Ok(true)
}

/// A few batches of [`settle_market`], right after the request that made them due. A failure is
/// logged and left to the next tick: the request itself was carried out.
pub(crate) async fn settle_soon(ctx: &Context, market: MarketId) {
    if let Err(error) = settle_some(ctx, market, &mut { NOBODY }).await {
        tracing::warn!(%error, %market, "settling is left to the next tick");
    }
}

/// A few batches: whether that was all. Positions are paid that are after those of `paid`, which is moved on as they are.
async fn settle_some(ctx: &Context, market: MarketId, paid: &mut UserId) -> Result<bool, Error> {
    for _ in 0..SOON {
        let Some(through) = atomically(ctx, SettleStep { market, paid: *paid }).await? else {
            ctx.job_bell.ring(JobKind::Statistics);
            return Ok(true);
        };
        *paid = through;
    }
    Ok(false)
}

/// A few pages of the open orders of a user, right after the request that deactivated it. A failure is logged and left to
/// the ticks: the request itself was carried out.
pub(crate) async fn end_orders_soon(ctx: &Context, user: UserId) {
    if let Err(error) = end_some_orders(ctx, user).await {
        tracing::warn!(%error, %user, "open orders of a deactivated user are left to the next ticks");
    }
}

/// Ends open orders of a user that was deactivated, a few pages of them, the oldest first: how many, and whether that was
/// all. A market that fails keeps no other: the first error is returned at the end.
async fn end_some_orders(ctx: &Context, user: UserId) -> Result<(usize, bool), Error> {
    let filter = OrderFilter { user: Some(user), status: Some(OrderStatus::Open), ..OrderFilter::default() };
    let sort = vec![(OrderSort::CreatedAt, Direction::Ascending)];
    let (mut start, mut ended, mut failure, mut is_all) = (Start::First, 0, None, false);
    for _ in 0..SOON {
        let page = ctx.queries.orders(&filter, &PageRequest { sort: sort.clone(), start, limit: PAGE }).await?;
        let open: Vec<(MarketId, OrderId)> = page.items.iter().map(|order| (order.market, order.id)).collect();
        for ends in by_market(&open, EndReason::UserDeactivated) {
            match atomically(ctx, ends).await {
                Ok(count) => ended += count,
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        let Some(last) = page.items.last().filter(|_| page.has_more) else {
            is_all = true;
            break;
        };
        start = Start::After(vec![SortValue::Int(last.created_at.as_microsecond())], last.id.0);
    }
    failure.map_or(Ok((ended, is_all)), Err)
}

/// Ends open orders of locked markets and frees what they hold: what to write.
pub(crate) async fn end_orders(
    unit: &mut dyn UnitOfWork,
    markets: Vec<Market>,
    orders: Vec<Order>,
    status: OrderStatus,
    reason: EndReason,
    now: Timestamp,
) -> Result<Changes, Error> {
    let pairs: BTreeSet<(UserId, MarketId)> = orders.iter().map(|o| (o.user, o.market)).collect();
    let accounts: BTreeSet<AccountId> = orders.iter().map(|o| AccountId::of_user(o.user)).collect();
    let mut state = State::default();
    for account in unit.accounts().lock(&accounts.into_iter().collect::<Vec<_>>()).await? {
        state.add_account(account);
    }
    for (user, market) in &pairs {
        let outcomes = markets.iter().find(|m| m.id == *market).map_or(0, |m| m.outcomes.len());
        state.add_position(Position::empty(*user, *market, outcomes));
    }
    for position in unit.positions().load(&pairs.into_iter().collect::<Vec<_>>()).await? {
        state.add_position(position);
    }
    for market in markets {
        state.add_market(market);
    }
    let ids: Vec<OrderId> = orders.iter().map(|o| o.id).collect();
    for order in orders {
        state.add_order(order);
    }
    for id in ids {
        state.end_order(id, None, status, reason, now).map_err(broken)?;
    }
    Ok(state.into_changes())
}

fn broken(stop: Stop) -> Error {
    match stop {
        Stop::Refused(refusal) => refusal.into(),
        other => StoreError::Corrupt(other.to_string()).into(),
    }
}

/// One batch of a market's settlement. Through which user all are paid then; none where nothing is left to do.
///
/// What is paid stays so, and nobody gets a position in a market that is decided: whoever was paid through once need not
/// be looked at again, but for one look at all before the market is settled.
struct SettleStep {
    market: MarketId,
    /// All of this user's and before are paid.
    paid: UserId,
}

#[async_trait]
impl Script for SettleStep {
    type Output = Option<UserId>;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Option<UserId>>, Error> {
        let Some(market) = unit.markets().lock(&[self.market]).await?.into_iter().next() else {
            return Ok(Step::Discard(None));
        };
        if market.status.has_live_orders() || market.settled_at.is_some() {
            return Ok(Step::Discard(None));
        }
        let now = ctx.clock.now();
        let open = unit.orders().open_in_market(market.id, BATCH).await?;
        if !open.is_empty() {
            let changes =
                end_orders(unit, vec![market], open, OrderStatus::Cancelled, EndReason::MarketClosed, now).await?;
            unit.write(&changes).await?;
            return Ok(Step::Commit(Some(self.paid)));
        }
        if !market.status.is_decided() {
            return Ok(Step::Discard(None));
        }
        let mut unpaid = unit.positions().unsettled(market.id, self.paid, BATCH).await?;
        if unpaid.is_empty() && self.paid != NOBODY {
            unpaid = unit.positions().unsettled(market.id, NOBODY, BATCH).await?;
        }
        let Some(last) = unpaid.last() else {
            finish(ctx, unit, market).await?;
            return Ok(Step::Commit(None));
        };
        let through = last.user;
        pay(ctx, unit, &market, unpaid).await?;
        Ok(Step::Commit(Some(through)))
    }
}

async fn pay(
    ctx: &Context,
    unit: &mut dyn UnitOfWork,
    market: &Market,
    mut unpaid: Vec<Position>,
) -> Result<(), Error> {
    let payees = unpaid.iter().map(|p| AccountId::of_user(p.user)).chain([market.collateral()]);
    let mut accounts = lock(unit, payees.collect()).await?;
    let before = accounts.clone();
    let transfers = settlement::pay_batch(market, &mut unpaid, &mut accounts, &mut ctx.ids.fresh(), ctx.clock.now())
        .map_err(broken)?;
    let accounts = changed(&before, accounts);
    unit.write(&Changes { accounts, positions: unpaid, transfers, ..Changes::default() }).await?;
    Ok(())
}

async fn finish(ctx: &Context, unit: &mut dyn UnitOfWork, mut market: Market) -> Result<(), Error> {
    let of_maker = market.maker.as_ref().map(|m| [m.account, AccountId::of_user(m.funder)]).into_iter().flatten();
    let mut accounts = lock(unit, of_maker.chain([market.collateral()]).collect()).await?;
    let before = accounts.clone();
    let transfers =
        settlement::finish(&mut market, &mut accounts, &mut ctx.ids.fresh(), ctx.clock.now()).map_err(broken)?;
    let accounts = changed(&before, accounts);
    let news = vec![Event::MarketPaid(MarketData::of(&market))];
    let at = market.settled_at;
    // What everybody did there is counted from here on.
    let countings = vec![Counting::of(market.id)];
    let new_jobs = vec![scoring::job(ctx, ctx.clock.now())];
    let markets = vec![market];
    unit.write(&Changes { accounts, markets, transfers, news, at, countings, new_jobs, ..Changes::default() }).await?;
    Ok(())
}

async fn lock(unit: &mut dyn UnitOfWork, ids: BTreeSet<AccountId>) -> Result<Accounts, StoreError> {
    let accounts = unit.accounts().lock(&ids.into_iter().collect::<Vec<_>>()).await?;
    Ok(accounts.into_iter().map(|a| (a.id, a)).collect::<BTreeMap<_, _>>())
}

fn changed(before: &Accounts, after: Accounts) -> Vec<bellwether_domain::ledger::Account> {
    after.into_values().filter(|account| before.get(&account.id) != Some(account)).collect()
}

/// What time alone changes about a market.
enum Timed {
    Close,
    Decide,
}

struct TimedChange {
    id: MarketId,
    change: Timed,
}

#[async_trait]
impl Script for TimedChange {
    type Output = bool;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<bool>, Error> {
        let now = ctx.clock.now();
        let Some(mut market) = unit.markets().lock(&[self.id]).await?.into_iter().next() else {
            return Ok(Step::Discard(false));
        };
        let tell = match self.change {
            Timed::Close if market.status.has_live_orders() && market.closes_at <= now => {
                market.become_status(MarketStatus::Closed, now)?;
                Event::MarketClosed
            }
            Timed::Decide if market.status == MarketStatus::Proposed => {
                let ready = market.proposal.as_ref().filter(|p| p.challenge_until <= now);
                let Some(weights) = ready.map(|p| p.weights.clone()) else { return Ok(Step::Discard(false)) };
                decide(&mut market, weights, None, None, MarketStatus::Resolved, now)?;
                Event::MarketResolved
            }
            _ => return Ok(Step::Discard(false)),
        };
        let news = vec![tell(MarketData::of(&market))];
        unit.write(&Changes { markets: vec![market], news, ..Changes::default() }).await?;
        Ok(Step::Commit(true))
    }
}

/// Ends open orders of one market that time or their owner's departure has made due. How many still were.
struct EndDue {
    market: MarketId,
    orders: Vec<OrderId>,
    reason: EndReason,
}

/// The ends of due orders: those of one market in one unit of work, so that one that fails stops no other.
fn by_market(due: &[(MarketId, OrderId)], reason: EndReason) -> impl Iterator<Item = EndDue> + use<> {
    let mut of_markets: BTreeMap<MarketId, Vec<OrderId>> = BTreeMap::new();
    for (market, order) in due {
        of_markets.entry(*market).or_default().push(*order);
    }
    of_markets.into_iter().map(move |(market, orders)| EndDue { market, orders, reason })
}

#[async_trait]
impl Script for EndDue {
    type Output = usize;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<usize>, Error> {
        let markets = unit.markets().lock(&[self.market]).await?;
        // They may have been filled, cancelled or given another date until their market was locked.
        let mut orders = unit.orders().load(&self.orders).await?;
        let now = ctx.clock.now();
        orders.retain(|order| order.is_open() && (self.reason != EndReason::Expired || order.is_past_its_date(now)));
        let count = orders.len();
        if count == 0 {
            return Ok(Step::Discard(0));
        }
        let status = if self.reason == EndReason::Expired { OrderStatus::Expired } else { OrderStatus::Cancelled };
        let changes = end_orders(unit, markets, orders, status, self.reason, now).await?;
        unit.write(&changes).await?;
        Ok(Step::Commit(count))
    }
}
