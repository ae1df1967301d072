//! The exchange: executes traders' commands on loaded state. Pure: no clock, no randomness, no I/O.
//!
//! A command is planned on the books (`plan`), cleared on copies of the rows it touches
//! (`clearing`), checked, and only then adopted by the [`State`]. So a refused command changes
//! nothing, a quote is a command whose draft is dropped, and many commands can run in one unit of
//! work: [`State::into_changes`] gives everything that they changed, each row once.

mod clearing;
mod draft;
mod groups;
mod keys;
mod plan;
mod reduce;
mod rows;
mod sets;
mod state;
mod terms;

use jiff::Timestamp;
use thiserror::Error;

pub use sets::{ExchangeSets, SetsExchanged, SetsWay};
pub use state::{MarketState, State};

use crate::ids::{AccountId, ApiKeyId, FreshIds, MarketId, OrderId, UserId};
use crate::ledger::LedgerError;
use crate::lmsr::{Lmsr, LmsrError};
use crate::market::{Market, MarketStatus, OutcomeId};
use crate::money::{Credits, Overflow, Price, Shares};
use crate::order::{
    AmendOrder, Backing, EndReason, Order, OrderStatus, OrderType, PlaceOrder, Side, TimeInForce, book_price,
};
use crate::order_group::OrderGroup;
use crate::position::Position;
use crate::refusal::Refusal;
use crate::trade::Trade;

use clearing::{Clearing, worst_cost};
use draft::Draft;
use plan::{Incoming, Plan, Step};
use terms::{Amended, new_order};

/// Why a command was not executed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Stop {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// More of a book must be loaded; nothing was changed.
    #[error("more of a book must be loaded")]
    NeedsDepth {
        /// The market.
        market: MarketId,
        /// The book's outcome.
        book: OutcomeId,
        /// The side.
        side: Side,
    },
    /// Something that the command needs was not loaded: a fault of the caller or of the stored data.
    #[error("the state lacks what the command needs: {0}")]
    NotLoaded(&'static str),
}

impl From<Overflow> for Stop {
    fn from(error: Overflow) -> Self {
        Self::Refused(error.into())
    }
}

impl From<LedgerError> for Stop {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::ReleaseBeyondHeld { .. } => Self::NotLoaded("held money that is freed"),
            other => Self::Refused(other.into()),
        }
    }
}

impl From<LmsrError> for Stop {
    fn from(_: LmsrError) -> Self {
        Self::Refused(Refusal::OutOfRange)
    }
}

/// The limits within which commands run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most open orders that a user may have in one market.
    pub max_open_orders: u32,
    /// The most fills that one command may make.
    pub max_fills: u32,
    /// The API key whose own limits count too, if it has any.
    pub key: Option<ApiKeyId>,
}

/// When a command runs, and within which limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The time.
    pub now: Timestamp,
    /// The limits.
    pub limits: Limits,
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// The order, as it stands now.
    pub order: Order,
    /// The name of its outcome.
    pub outcome: String,
    /// Its own fills on arrival.
    pub fills: Vec<Trade>,
}

/// What a command would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// The order and its fills.
    pub executed: Executed,
    /// What the trader would have available.
    pub available: Credits,
    /// The trader's position.
    pub position: Position,
    /// The market.
    pub market: Market,
}

impl State {
    /// Places an order: it fills what it can, and rests, is cancelled or refused by its terms.
    pub fn place(&mut self, command: &PlaceOrder, ids: &mut FreshIds, moment: Moment) -> Result<Executed, Stop> {
        let spare = self.spare.take();
        let (draft, id) = self.draft_place(spare, command, ids, moment)?;
        self.finish(draft, id, moment.limits.key)
    }

    /// What [`place`](Self::place) would do. Changes nothing.
    pub fn preview(&self, command: &PlaceOrder, ids: &mut FreshIds, moment: Moment) -> Result<Preview, Stop> {
        let (mut draft, id) = self.draft_place(None, command, ids, moment)?;
        let available = draft.account(self, AccountId::of_user(command.user))?.available();
        let position = draft.position(self, command.user)?.clone();
        let mut market = self.market_of(draft.market)?.clone();
        draft.apply_to(&mut market);
        let executed = executed(draft.orders.get(id), &draft.trades, &market)?;
        Ok(Preview { executed, available, position, market })
    }

    /// Cancels an open order of `user` and frees what it held.
    pub fn cancel(&mut self, order: OrderId, user: UserId, now: Timestamp) -> Result<Executed, Stop> {
        self.end_order(order, Some(user), OrderStatus::Cancelled, EndReason::Requested, now)
    }

    /// Ends an open order for any reason but a fill, whoever's it is (`user` for one who must own it).
    pub fn end_order(
        &mut self,
        order: OrderId,
        user: Option<UserId>,
        status: OrderStatus,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Executed, Stop> {
        let id = self.open_order(order, user)?.market;
        let spare = self.spare.take();
        let market = self.market_of(id)?;
        let mut draft = Draft::new(market, spare);
        draft.next_sequence();
        let mut ids = FreshIds::starting_at(uuid::Uuid::nil());
        Clearing { state: self, market, draft: &mut draft, ids: &mut ids, now }.end(order, status, reason)?;
        self.finish(draft, order, None)
    }

    /// Amends an open order: see [`AmendOrder`].
    pub fn amend(&mut self, command: &AmendOrder, ids: &mut FreshIds, moment: Moment) -> Result<Executed, Stop> {
        let old = self.open_order(command.order, Some(command.user))?.clone();
        if old.is_past_its_date(moment.now) {
            return Err(Refusal::OrderNotOpen(OrderStatus::Expired).into());
        }
        let spare = self.spare.take();
        let market = self.tradable(old.market, moment.now)?;
        let amended = Amended::of(&old, command, moment.now)?;
        let mut draft = Draft::new(market, spare);
        let sequence = draft.next_sequence();
        let mut clearing = Clearing { state: self, market, draft: &mut draft, ids, now: moment.now };
        clearing.free(old.id, if amended.keeps_its_place { amended.taken_off } else { old.remaining })?;
        let row = clearing.draft.order(self, old.id)?;
        row.quantity = amended.quantity;
        row.expires_at = amended.expires_at;
        row.updated_at = moment.now;
        row.counted_by = moment.limits.key;
        if !amended.keeps_its_place {
            row.sequence = sequence;
            row.price = Some(amended.price);
            row.book_price = Some(book_price(row.outcome, amended.price, market.is_binary()));
            draft.new_order = Some(old.id);
            draft.requeued = Some(old.clone());
            let incoming = Incoming {
                user: old.user,
                book: old.book,
                side: old.book_side,
                backing: old.backing,
                limit: book_price(old.outcome, amended.price, market.is_binary()),
                quantity: amended.quantity.minus(old.filled)?,
                budget: None,
                self_trade_prevention: old.self_trade_prevention,
                fee_rate: market.fee_rate,
                group: old.group,
            };
            self.execute(&mut draft, market, old.id, &incoming, ids, moment)?;
        }
        self.finish(draft, old.id, moment.limits.key)
    }

    fn draft_place(
        &self,
        spare: Option<Box<Draft>>,
        command: &PlaceOrder,
        ids: &mut FreshIds,
        moment: Moment,
    ) -> Result<(Box<Draft>, OrderId), Stop> {
        let market = self.tradable(command.market, moment.now)?;
        if let Some(until) = command.valid_until.filter(|until| moment.now > *until) {
            return Err(Refusal::OrderTooLate { until }.into());
        }
        let reduced = if command.reduce_only { Some(self.reduced(command, market)?) } else { None };
        let command = reduced.as_ref().unwrap_or(command);
        let mut draft = Draft::new(market, spare);
        let sequence = draft.next_sequence();
        let (mut order, incoming) = new_order(command, market, OrderId(ids.next_uuid()), sequence, moment.now)?;
        self.check_client_id(&order)?;
        self.check_group(command, moment.now)?;
        order.counted_by = moment.limits.key;
        let id = order.id;
        draft.orders.insert(id, order);
        draft.new_order = Some(id);
        self.execute(&mut draft, market, id, &incoming, ids, moment)?;
        Ok((draft, id))
    }

    /// Plans and clears an incoming order that stands in the draft with nothing reserved; then
    /// rests it, ends it, or refuses by its terms.
    fn execute(
        &self,
        draft: &mut Draft,
        market: &Market,
        id: OrderId,
        incoming: &Incoming,
        ids: &mut FreshIds,
        moment: Moment,
    ) -> Result<(), Stop> {
        self.check_means(draft, market, incoming)?;
        let plan = plan::plan(self, incoming, market.id, moment)?;
        check_terms(draft.order(self, id)?, &plan, incoming)?;
        let before = draft.account(self, AccountId::of_user(incoming.user))?.available();
        let mut clearing = Clearing { state: self, market, draft, ids, now: moment.now };
        for step in &plan.steps {
            clear_step(&mut clearing, id, *step).map_err(|stop| name_shortfall(stop, before))?;
        }
        self.rest_or_end(&mut clearing, id, &plan, moment).map_err(|stop| name_shortfall(stop, before))?;
        self.end_full_groups(&mut clearing)?;
        debug_assert_eq!(draft.lmsr, plan.lmsr, "clearing follows the plan");
        Ok(())
    }

    /// The order's whole cost at its limit, or all its shares, must be available from the start.
    fn check_means(&self, draft: &mut Draft, market: &Market, incoming: &Incoming) -> Result<(), Stop> {
        let Incoming { user, book, side, backing, limit, quantity, budget, .. } = *incoming;
        if backing == Backing::Shares {
            let position = draft.position(self, user)?;
            for (index, (holding, outcome)) in position.holdings.iter().zip(&market.outcomes).enumerate() {
                let gives = (index == book.index()) == (side == Side::Sell);
                let (required, available) = (quantity, holding.available());
                if gives && available < required {
                    let outcome = outcome.name.clone();
                    return Err(Refusal::InsufficientShares { outcome, required, available }.into());
                }
            }
            return Ok(());
        }
        let required = budget.map_or_else(|| worst_cost(backing, side, limit, quantity), Ok)?;
        let available = draft.account(self, AccountId::of_user(user))?.available();
        if required > available {
            return Err(Refusal::InsufficientFunds { required, available }.into());
        }
        Ok(())
    }

    fn rest_or_end(&self, clearing: &mut Clearing<'_>, id: OrderId, plan: &Plan, moment: Moment) -> Result<(), Stop> {
        let order = clearing.draft.order(self, id)?;
        let may_rest =
            order.order_type == OrderType::Limit && matches!(order.time_in_force, TimeInForce::Gtc | TimeInForce::Gtd);
        let group = order.group;
        let is_group_full = group.and_then(|id| clearing.draft.groups.get(id)).is_some_and(OrderGroup::is_full);
        if may_rest && plan.remaining.is_positive() && !plan.stopped_by_self_trade && !is_group_full {
            self.check_open_count(clearing.draft, id, moment)?;
            return clearing.rest(id, plan.remaining);
        }
        let row = clearing.draft.order(self, id)?;
        if is_bounded_by_spend_alone(row) {
            if !row.filled.is_positive() {
                return Err(Refusal::NothingToFill.into());
            }
            row.quantity = row.filled;
        }
        if row.filled == row.quantity {
            row.end(OrderStatus::Filled, None, moment.now);
        } else {
            let reason = match (plan.stopped_by_self_trade, is_group_full) {
                (true, _) => EndReason::SelfTrade,
                (false, true) => EndReason::GroupFull,
                (false, false) => EndReason::TimeInForce,
            };
            row.end(OrderStatus::Cancelled, Some(reason), moment.now);
        }
        Ok(())
    }

    fn check_open_count(&self, draft: &Draft, id: OrderId, moment: Moment) -> Result<(), Stop> {
        let order = draft.orders.get(id).ok_or(Stop::NotLoaded("order"))?;
        let was_open = |id| self.order(id).is_some_and(Order::is_open);
        let open = self
            .open_counts
            .get(&(order.market, order.user))
            .copied()
            .ok_or(Stop::NotLoaded("number of open orders"))?;
        let limit = moment.limits.max_open_orders;
        if was_open(id) || open < u64::from(limit) {
            return Ok(());
        }
        // Those of the user's orders that the command itself has ended count no more.
        let is_ended = |other: &Order| other.user == order.user && !other.is_open() && was_open(other.id);
        let ended = draft.orders.iter().filter(|(_, other)| is_ended(other)).count();
        if open.saturating_sub(u64::try_from(ended).unwrap_or(u64::MAX)) >= u64::from(limit) {
            return Err(Refusal::TooManyOpenOrders { limit }.into());
        }
        Ok(())
    }

    fn check_client_id(&self, order: &Order) -> Result<(), Stop> {
        let Some(client_id) = &order.client_order_id else { return Ok(()) };
        match self.client_ids.get(&(order.user, client_id.clone())) {
            Some(existing) => Err(Refusal::DuplicateClientOrderId { order: *existing }.into()),
            None => Ok(()),
        }
    }

    fn market_of(&self, id: MarketId) -> Result<&Market, Stop> {
        self.market(id).ok_or(Stop::Refused(Refusal::MarketNotFound))
    }

    /// The market, if it takes orders at that moment.
    fn tradable(&self, id: MarketId, now: Timestamp) -> Result<&Market, Stop> {
        let market = self.market_of(id)?;
        match market.status {
            MarketStatus::Open if market.closes_at > now => Ok(market),
            MarketStatus::Open => Err(Refusal::MarketNotOpen(MarketStatus::Closed).into()),
            other => Err(Refusal::MarketNotOpen(other).into()),
        }
    }

    fn open_order(&self, id: OrderId, user: Option<UserId>) -> Result<&Order, Stop> {
        let order = self.order(id).filter(|o| user.is_none_or(|u| u == o.user)).ok_or(Refusal::OrderNotFound)?;
        if order.is_open() { Ok(order) } else { Err(Refusal::OrderNotOpen(order.status).into()) }
    }

    /// Makes the draft part of the state, unless it goes beyond what the key allows.
    fn finish(&mut self, draft: Box<Draft>, id: OrderId, key: Option<ApiKeyId>) -> Result<Executed, Stop> {
        let usages = self.usages_after(&draft)?;
        if let Some(key) = key {
            self.check_key(&usages, key)?;
        }
        let (market, trades) = (draft.market, self.trades.len());
        self.adopt(draft, usages);
        let fills = self.trades.get(trades..).unwrap_or_default();
        executed(self.order(id), fills, self.market_of(market)?)
    }
}

/// What came of an order, by the trades that were made.
fn executed(order: Option<&Order>, trades: &[Trade], market: &Market) -> Result<Executed, Stop> {
    let order = order.ok_or(Stop::NotLoaded("order"))?;
    let outcome = market.outcomes.get(order.outcome.index()).map(|o| o.name.clone()).unwrap_or_default();
    let mut fills = Vec::with_capacity(trades.len());
    fills.extend(trades.iter().filter(|trade| trade.taker_order == order.id).cloned());
    Ok(Executed { order: order.clone(), outcome, fills })
}

fn clear_step(clearing: &mut Clearing<'_>, taker: OrderId, step: Step) -> Result<(), Stop> {
    match step {
        Step::Fill { order, quantity, price } => clearing.fill(taker, order, quantity, price),
        Step::Maker { deal } => clearing.deal(taker, deal),
        Step::Sweep { order, deal } => clearing.sweep(order, deal),
        Step::CancelOwn { order } => clearing.end(order, OrderStatus::Cancelled, EndReason::SelfTrade),
        Step::DecrementOwn { order, quantity } => clearing.decrement(order, quantity),
        Step::Expire { order } => clearing.end(order, OrderStatus::Expired, EndReason::Expired),
    }
}

/// A shortfall in the middle of clearing is told against what the trader had before.
fn name_shortfall(stop: Stop, before: Credits) -> Stop {
    match stop {
        Stop::Refused(Refusal::InsufficientFunds { required, available }) => {
            let spent = before.minus(available).unwrap_or(Credits::ZERO);
            let required = required.plus(spent).unwrap_or(Credits::MAX);
            Stop::Refused(Refusal::InsufficientFunds { required, available: before })
        }
        other => other,
    }
}

/// Whether the order buys what its money buys, and has no quantity to fall short of.
fn is_bounded_by_spend_alone(order: &Order) -> bool {
    order.max_spend.is_some() && order.quantity == Shares::MAX_ORDER
}

/// Refuses by the order's own terms.
fn check_terms(order: &Order, plan: &Plan, incoming: &Incoming) -> Result<(), Stop> {
    if order.post_only && plan.takes() {
        return Err(Refusal::PostOnlyWouldTake.into());
    }
    let must_fill = order.time_in_force == TimeInForce::Fok;
    let falls_short = plan.filled()? < incoming.quantity && (plan.is_money_left || !is_bounded_by_spend_alone(order));
    let is_short = plan.stopped_by_self_trade || falls_short;
    if must_fill && is_short {
        return Err(Refusal::FillOrKill { fillable: plan.filled()? }.into());
    }
    Ok(())
}

/// Whether an order resting at that price crosses the market maker: whether the maker would fill at
/// least one share of it. For the check of invariant 7.
#[must_use]
pub fn crosses_maker(lmsr: &Lmsr, book: OutcomeId, side: Side, price: Price) -> bool {
    plan::within_reach(lmsr, book, side, price) > 0
}
