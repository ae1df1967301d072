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
    Changes, Direction, OrderFilter, OrderSort, PageRequest, Start, StoreError, UnitOfWork,
};
use bellwether_domain::position::Position;
use bellwether_domain::refusal::Refusal;
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
    let mut count = |result: Result<bool, Error>, counter: &mut usize| match result {
        Ok(done) => *counter += usize::from(done),
        Err(error) => {
            failure.get_or_insert(error);
        }
    };
    for id in &due.markets_to_close {
        count(atomically(ctx, TimedChange { id: *id, change: Timed::Close }).await, &mut ticked.closed);
    }
    for id in &due.orders_to_expire {
        count(atomically(ctx, EndOne { id: *id, reason: EndReason::Expired }).await, &mut ticked.ended_orders);
    }
    for id in &due.orders_of_deactivated {
        count(atomically(ctx, EndOne { id: *id, reason: EndReason::UserDeactivated }).await, &mut ticked.ended_orders);
    }
    for id in &due.proposals_to_decide {
        count(atomically(ctx, TimedChange { id: *id, change: Timed::Decide }).await, &mut ticked.decided);
    }
    let mut unfinished = false;
    for id in due.markets_to_settle.iter().chain(&due.markets_to_close).chain(&due.proposals_to_decide) {
        let done = settle_some(ctx, *id).await;
        unfinished |= matches!(done, Ok(false));
        count(done, &mut ticked.settled);
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

/// Ends the open orders of a user that was deactivated.
pub(crate) async fn end_orders_of_deactivated(ctx: &Context, user: UserId) -> Result<(), Error> {
    let filter = OrderFilter { user: Some(user), status: Some(OrderStatus::Open), ..OrderFilter::default() };
    let page =
        PageRequest { sort: vec![(OrderSort::CreatedAt, Direction::Ascending)], start: Start::First, limit: 100 };
    loop {
        let open = ctx.queries.orders(&filter, &page).await?.items;
        if open.is_empty() {
            return Ok(());
        }
        for order in open {
            atomically(ctx, EndOne { id: order.id, reason: EndReason::UserDeactivated }).await?;
        }
    }
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

/// Ends one order that time or its owner's departure has made due.
struct EndOne {
    id: OrderId,
    reason: EndReason,
}

#[async_trait]
impl Script for EndOne {
    type Output = bool;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<bool>, Error> {
        let now = ctx.clock.now();
        let Some(order) = unit.orders().load(&[self.id]).await?.into_iter().next() else {
            return Ok(Step::Discard(false));
        };
        let markets = unit.markets().lock(&[order.market]).await?;
        // It may have been filled or cancelled until its market was locked.
        let order = unit.orders().load(&[self.id]).await?.into_iter().next().ok_or(Refusal::OrderNotFound)?;
        let is_due = self.reason != EndReason::Expired || order.is_past_its_date(now);
        if !order.is_open() || !is_due {
            return Ok(Step::Discard(false));
        }
        let status = if self.reason == EndReason::Expired { OrderStatus::Expired } else { OrderStatus::Cancelled };
        let changes = end_orders(unit, markets, vec![order], status, self.reason, now).await?;
        unit.write(&changes).await?;
        Ok(Step::Commit(true))
    }
}
