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
    Changes, Direction, OrderFilter, OrderSort, PageRequest, SortValue, Start, StoreError, UnitOfWork,
};
use bellwether_domain::position::Position;
use bellwether_domain::score::Counting;
use bellwether_domain::settlement::{self, Accounts};
use jiff::Timestamp;

use crate::atomically::{Script, Step, atomically};
use crate::markets::decide;
use crate::{Context, Error, scoring};

/// How many rows one unit of work ends or pays.
pub(crate) const BATCH: u32 = 500;
/// How many batches a request does itself before it leaves the rest to the ticks.
const SOON: u32 = 4;
/// How many orders of a user are listed at a time.
const PAGE: u32 = 100;
/// How many things of each sort one tick does.
const PER_TICK: u32 = 100;

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

/// Does what is due now, a bounded amount at a time. Each step is a unit of work of its own, so a
/// crash anywhere loses nothing and pays nobody twice; several instances may tick at once. One
/// thing that fails does not keep the others from being done: the first error is returned at the end.
pub async fn tick(ctx: &Context) -> Result<Ticked, Error> {
    let due = ctx.queries.due_work(ctx.clock.now(), PER_TICK).await?;
    let mut ticked = Ticked::default();
    let mut failure = None;
    let mut count = |result: Result<usize, Error>, counter: &mut usize| match result {
        Ok(done) => *counter += done,
        Err(error) => {
            failure.get_or_insert(error);
        }
    };
    for id in &due.markets_to_close {
        count(
            atomically(ctx, TimedChange { id: *id, change: Timed::Close }).await.map(usize::from),
            &mut ticked.closed,
        );
    }
    for (orders, reason) in
        [(&due.orders_to_expire, EndReason::Expired), (&due.orders_of_deactivated, EndReason::UserDeactivated)]
    {
        for ends in by_market(orders, reason) {
            count(atomically(ctx, ends).await, &mut ticked.ended_orders);
        }
    }
    for id in &due.proposals_to_decide {
        count(
            atomically(ctx, TimedChange { id: *id, change: Timed::Decide }).await.map(usize::from),
            &mut ticked.decided,
        );
    }
    let mut unfinished = false;
    for id in due.markets_to_settle.iter().chain(&due.markets_to_close).chain(&due.proposals_to_decide) {
        let done = settle_some(ctx, *id).await;
        unfinished |= matches!(done, Ok(false));
        count(done.map(usize::from), &mut ticked.settled);
    }
    let is_full = |length: usize| u32::try_from(length).is_ok_and(|l| l >= PER_TICK);
    ticked.more = unfinished
        || is_full(due.markets_to_close.len())
        || is_full(due.orders_to_expire.len())
        || is_full(due.orders_of_deactivated.len())
        || is_full(due.proposals_to_decide.len())
        || is_full(due.markets_to_settle.len());
    failure.map_or(Ok(ticked), Err)
}

/// Works a market that no longer trades to its end: cancels what is open, and, once decided, pays
/// every position once, empties the collateral and refunds the maker's funder. In batches; returns
/// whether it is done. May be run again after any interruption.
pub async fn settle_market(ctx: &Context, market: MarketId) -> Result<bool, Error> {
    while !settle_some(ctx, market).await? {}
    Ok(true)
}

/// A few batches of [`settle_market`], right after the request that made them due. A failure is
/// logged and left to the next tick: the request itself was carried out.
pub(crate) async fn settle_soon(ctx: &Context, market: MarketId) {
    if let Err(error) = settle_some(ctx, market).await {
        tracing::warn!(%error, %market, "settling is left to the next tick");
    }
}

async fn settle_some(ctx: &Context, market: MarketId) -> Result<bool, Error> {
    for _ in 0..SOON {
        if atomically(ctx, SettleStep { market }).await? {
            ctx.job_bell.ring(JobKind::Statistics);
            return Ok(true);
        }
    }
    Ok(false)
}

/// Ends open orders of a user that was deactivated: a few pages of them, the oldest first. A market that fails
/// is logged and left to the next tick, as is what lies beyond.
pub(crate) async fn end_orders_soon(ctx: &Context, user: UserId) -> Result<(), Error> {
    let filter = OrderFilter { user: Some(user), status: Some(OrderStatus::Open), ..OrderFilter::default() };
    let sort = vec![(OrderSort::CreatedAt, Direction::Ascending)];
    let mut start = Start::First;
    for _ in 0..SOON {
        let page = ctx.queries.orders(&filter, &PageRequest { sort: sort.clone(), start, limit: PAGE }).await?;
        let open: Vec<(MarketId, OrderId)> = page.items.iter().map(|order| (order.market, order.id)).collect();
        for ends in by_market(&open, EndReason::UserDeactivated) {
            let market = ends.market;
            if let Err(error) = atomically(ctx, ends).await {
                tracing::warn!(%error, %user, %market, "open orders of a deactivated user are left to the next tick");
            }
        }
        match page.items.last().filter(|_| page.has_more) {
            Some(last) => start = Start::After(vec![SortValue::Int(last.created_at.as_microsecond())], last.id.0),
            None => break,
        }
    }
    Ok(())
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

/// One batch of a market's settlement. Whether nothing is left to do.
struct SettleStep {
    market: MarketId,
}

#[async_trait]
impl Script for SettleStep {
    type Output = bool;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<bool>, Error> {
        let Some(market) = unit.markets().lock(&[self.market]).await?.into_iter().next() else {
            return Ok(Step::Discard(true));
        };
        if market.status.has_live_orders() || market.settled_at.is_some() {
            return Ok(Step::Discard(true));
        }
        let now = ctx.clock.now();
        let open = unit.orders().open_in_market(market.id, BATCH).await?;
        if !open.is_empty() {
            let changes =
                end_orders(unit, vec![market], open, OrderStatus::Cancelled, EndReason::MarketClosed, now).await?;
            unit.write(&changes).await?;
            return Ok(Step::Commit(false));
        }
        if !market.status.is_decided() {
            return Ok(Step::Discard(true));
        }
        let unpaid = unit.positions().unsettled(market.id, BATCH).await?;
        if unpaid.is_empty() {
            return finish(ctx, unit, market).await;
        }
        pay(ctx, unit, &market, unpaid).await
    }
}

async fn pay(
    ctx: &Context,
    unit: &mut dyn UnitOfWork,
    market: &Market,
    mut unpaid: Vec<Position>,
) -> Result<Step<bool>, Error> {
    let payees = unpaid.iter().map(|p| AccountId::of_user(p.user)).chain([market.collateral()]);
    let mut accounts = lock(unit, payees.collect()).await?;
    let before = accounts.clone();
    let transfers = settlement::pay_batch(market, &mut unpaid, &mut accounts, &mut ctx.ids.fresh(), ctx.clock.now())
        .map_err(broken)?;
    let accounts = changed(&before, accounts);
    unit.write(&Changes { accounts, positions: unpaid, transfers, ..Changes::default() }).await?;
    Ok(Step::Commit(false))
}

async fn finish(ctx: &Context, unit: &mut dyn UnitOfWork, mut market: Market) -> Result<Step<bool>, Error> {
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
    Ok(Step::Commit(true))
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
