//! Matching: which fills an incoming order makes. Reads the books and changes nothing.
//!
//! Routing: the taker always gets the better of the book's next price and the market maker's
//! marginal price. In slices: from the maker until its price meets the next order of the book or
//! the limit, then that order, and so on.
//!
//! In a market with more than two outcomes, buying one outcome from the maker makes all others
//! cheaper, so that resting bids on them may now cross the maker's price. They are filled by the
//! maker at once ([`Step::Sweep`]); so no open order crosses the maker's price at rest.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::rows::Rows;
use super::state::{MarketState, State};
use super::{Moment, Stop};
use crate::book::{Rank, Resting};
use crate::ids::{MarketId, OrderGroupId, OrderId, UserId};
use crate::lmsr::Lmsr;
use crate::market::OutcomeId;
use crate::money::{Credits, FeeRate, Overflow, Price, Shares};
use crate::order::{Backing, SelfTradePrevention, Side, unit_cost};
use crate::order_group::OrderGroup;
use crate::refusal::Refusal;

/// What matching needs to know of an incoming order. Outcome, side and limit are the book's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming {
    pub(super) user: UserId,
    pub(super) book: OutcomeId,
    pub(super) side: Side,
    pub(super) backing: Backing,
    pub(super) limit: Price,
    pub(super) quantity: Shares,
    /// Cash that cost and fees together must not exceed.
    pub(super) budget: Option<Credits>,
    pub(super) self_trade_prevention: SelfTradePrevention,
    pub(super) fee_rate: FeeRate,
    /// The group that it is in.
    pub(super) group: Option<OrderGroupId>,
}

/// One step of a plan, in the order in which they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The taker fills against a resting order, at its price.
    Fill { order: OrderId, quantity: Shares, price: Price },
    /// The taker fills against the market maker.
    Maker { deal: MakerDeal },
    /// A resting order fills against the market maker, whose price came to it.
    Sweep { order: OrderId, deal: MakerDeal },
    /// The taker's own resting order is cancelled.
    CancelOwn { order: OrderId },
    /// The taker's own resting order shrinks, as the taker does.
    DecrementOwn { order: OrderId, quantity: Shares },
    /// A resting order turns out to be past its date.
    Expire { order: OrderId },
}

/// A fill against the market maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MakerDeal {
    pub(super) book: OutcomeId,
    pub(super) side: Side,
    pub(super) backing: Backing,
    pub(super) quantity: Shares,
    /// What the trader pays (cash) or gets (shares).
    pub(super) cash: Credits,
    /// The cost at the price of the book's outcome: what `quantity` of it come to.
    pub(super) cost: Credits,
}

impl MakerDeal {
    /// A deal that leaves the marginal price within `until`. Its average is then within `until` too,
    /// which rounding must not undo: who reserved `until x quantity` can always pay.
    fn new(
        lmsr: &Lmsr,
        book: OutcomeId,
        side: Side,
        backing: Backing,
        quantity: Shares,
        until: Price,
    ) -> Result<Self, Stop> {
        let (index, shares) = (book.index(), quantity.count());
        let full = quantity.set_value()?;
        let at_limit = Credits::from_mills(shares.checked_mul(unit_cost(side, until)).ok_or(Overflow)?);
        let cash = match (side, backing) {
            (Side::Buy, Backing::Cash) => lmsr.buy_cost(index, shares)?.min(at_limit),
            (Side::Sell, Backing::Cash) => lmsr.buy_rest_cost(index, shares)?.min(at_limit),
            (Side::Sell, Backing::Shares) => lmsr.sell_proceeds(index, shares)?.max(full.minus(at_limit)?),
            (Side::Buy, Backing::Shares) => lmsr.sell_rest_proceeds(index, shares)?.max(full.minus(at_limit)?),
        };
        // The cash is the price of the book's outcome, or of the rest of the set.
        let is_of_book = (side == Side::Buy) == (backing == Backing::Cash);
        let cost = if is_of_book { cash } else { full.minus(cash)? };
        Ok(Self { book, side, backing, quantity, cash, cost })
    }

    /// Which outcomes the trader gets (positive) or gives (negative), for each outcome of the market.
    pub(super) fn deltas(&self, outcomes: usize) -> impl Iterator<Item = (usize, i64)> + use<> {
        let (book, shares) = (self.book.index(), self.quantity.count());
        let (side, backing) = (self.side, self.backing);
        (0..outcomes).filter_map(move |outcome| match (side, backing) {
            (Side::Buy, Backing::Cash) => (outcome == book).then_some((outcome, shares)),
            (Side::Sell, Backing::Shares) => (outcome == book).then_some((outcome, -shares)),
            (Side::Sell, Backing::Cash) => (outcome != book).then_some((outcome, shares)),
            (Side::Buy, Backing::Shares) => (outcome != book).then_some((outcome, -shares)),
        })
    }

    /// Counts the deal in the maker's state.
    pub(super) fn apply_to(&self, lmsr: &mut Lmsr) -> Result<(), Stop> {
        let outcomes = lmsr.outcomes();
        for (outcome, delta) in self.deltas(outcomes) {
            lmsr.trade(outcome, delta)?;
        }
        Ok(())
    }
}

/// What an incoming order does.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// How much of the order is left, neither filled nor taken off by self-trade prevention.
    pub(super) remaining: Shares,
    /// Whether it met its owner's order and is to be cancelled for it.
    pub(super) stopped_by_self_trade: bool,
    /// Whether what is left of its budget, if it has one, would buy another share at the price that it came to. Then it
    /// was not for want of money that it stopped, but of offers within its limit, or because its group is full.
    pub(super) is_money_left: bool,
    /// The market maker after all steps, where any is with it.
    pub(super) lmsr: Option<Lmsr>,
}

impl Plan {
    /// Whether the order would take anything, or meet its owner's own.
    pub(super) fn takes(&self) -> bool {
        self.stopped_by_self_trade || self.steps.iter().any(|s| !matches!(s, Step::Expire { .. } | Step::Sweep { .. }))
    }
}

impl Plan {
    /// How much of the order is filled.
    pub(super) fn filled(&self) -> Result<Shares, Overflow> {
        let filled = self.steps.iter().map(|step| match step {
            Step::Fill { quantity, .. } => *quantity,
            Step::Maker { deal } => deal.quantity,
            Step::Sweep { .. } | Step::CancelOwn { .. } | Step::DecrementOwn { .. } | Step::Expire { .. } => {
                Shares::ZERO
            }
        });
        filled.into_iter().try_fold(Shares::ZERO, Shares::plus)
    }
}

/// Plans an incoming order.
pub(super) fn plan(state: &State, incoming: &Incoming, market: MarketId, moment: Moment) -> Result<Plan, Stop> {
    let (now, max_fills) = (moment.now, moment.limits.max_fills);
    let mut planner = Planner {
        state: state.markets.get(&market).ok_or(Stop::NotLoaded("market"))?,
        groups: Groups { known: &state.groups, left: BTreeMap::new(), now },
        incoming,
        now,
        max_fills,
        walks: Vec::new(),
        lmsr: None,
        steps: Vec::new(),
        remaining: incoming.quantity,
        budget: incoming.budget,
        came_to: None,
        stopped: false,
    };
    planner.lmsr = planner.state.market.maker.as_ref().map(|maker| Cow::Borrowed(&maker.lmsr));
    loop {
        planner.take()?;
        // A sweep moves the maker's price back towards the taker, who may then take more.
        if !planner.sweep_all()? || planner.is_done()? {
            break;
        }
    }
    Ok(Plan {
        stopped_by_self_trade: planner.is_stopped_by_self_trade(),
        is_money_left: planner.is_money_left()?,
        steps: planner.steps,
        remaining: planner.remaining,
        lmsr: planner.lmsr.and_then(|lmsr| match lmsr {
            Cow::Owned(after) => Some(after),
            Cow::Borrowed(_) => None,
        }),
    })
}

/// How far a walk along one side has come: past `after`, with `taken` off the next order.
#[derive(Debug, Clone, Copy, Default)]
struct Walk {
    after: Option<Rank>,
    taken: i64,
}

/// How much of each group's cap is left in this plan.
struct Groups<'a> {
    known: &'a Rows<OrderGroupId, OrderGroup>,
    left: BTreeMap<OrderGroupId, Shares>,
    now: Timestamp,
}

impl Groups<'_> {
    /// How much of so many shares of an order may be filled.
    fn within(&mut self, group: Option<OrderGroupId>, quantity: Shares) -> Result<Shares, Stop> {
        let Some(id) = group else { return Ok(quantity) };
        let left = match self.left.get(&id) {
            Some(left) => *left,
            None => self.known.get(id).ok_or(Stop::NotLoaded("order group"))?.left(self.now),
        };
        Ok(quantity.min(left))
    }

    /// Whether nothing of a group may be filled any more.
    fn is_full(&mut self, group: Option<OrderGroupId>) -> Result<bool, Stop> {
        Ok(!self.within(group, Shares::new(1))?.is_positive())
    }

    /// Counts a fill.
    fn fill(&mut self, group: Option<OrderGroupId>, quantity: Shares) -> Result<(), Stop> {
        let Some(id) = group else { return Ok(()) };
        let left = self.within(group, Shares::new(i64::MAX))?.minus(quantity)?;
        self.left.insert(id, left);
        Ok(())
    }
}

struct Planner<'a> {
    state: &'a MarketState,
    groups: Groups<'a>,
    incoming: &'a Incoming,
    now: Timestamp,
    max_fills: u32,
    /// One for each side that it has come to.
    walks: Vec<((OutcomeId, Side), Walk)>,
    /// The market maker as the plan leaves it.
    lmsr: Option<Cow<'a, Lmsr>>,
    steps: Vec<Step>,
    remaining: Shares,
    budget: Option<Credits>,
    /// The price at which a share was offered to it last, whether or not it could pay: of the market maker, the one up
    /// to which it was asked.
    came_to: Option<Price>,
    stopped: bool,
}

impl Planner<'_> {
    fn is_done(&mut self) -> Result<bool, Stop> {
        let is_out = !self.remaining.is_positive() || self.budget.is_some_and(|b| !b.is_positive());
        Ok(self.stopped || is_out || self.groups.is_full(self.incoming.group)?)
    }

    /// Whether the order is cancelled for having met its owner's: there and then, or since shares were taken off it and
    /// all others are filled.
    fn is_stopped_by_self_trade(&self) -> bool {
        let takes_off = |step: &Step| matches!(step, Step::DecrementOwn { .. });
        self.stopped || (!self.remaining.is_positive() && self.steps.iter().any(takes_off))
    }

    /// Whether what is left of the budget would buy another share at the price that the order came to; any money would
    /// where nothing was offered.
    fn is_money_left(&self) -> Result<bool, Stop> {
        match (self.budget, self.came_to) {
            (None, _) => Ok(false),
            (Some(budget), None) => Ok(budget.is_positive()),
            (Some(budget), Some(price)) => Ok(self.affordable_at(price, budget)?.is_positive()),
        }
    }

    fn push(&mut self, step: Step) -> Result<(), Stop> {
        if u32::try_from(self.steps.len()).unwrap_or(u32::MAX) >= self.max_fills {
            return Err(Refusal::TooManyFills { limit: self.max_fills }.into());
        }
        self.steps.push(step);
        Ok(())
    }

    /// The best order of a side that is still there in this plan, within `limit`.
    fn peek(&mut self, book: OutcomeId, side: Side, limit: Price) -> Result<Option<(Rank, Resting)>, Stop> {
        loop {
            let walk = self.walk(book, side);
            let beyond = |_| Stop::NeedsDepth { market: self.state.market.id, book, side };
            let Some((rank, mut resting)) = self.state.side(book, side).next(walk.after, limit).map_err(beyond)? else {
                return Ok(None);
            };
            if resting.expires_at.is_some_and(|at| at <= self.now) {
                self.push(Step::Expire { order: resting.id })?;
                self.pass(book, side, rank);
                continue;
            }
            // What else of it is open is cancelled when this plan is cleared.
            if self.groups.is_full(resting.group)? {
                self.pass(book, side, rank);
                continue;
            }
            resting.remaining = resting.remaining.minus(Shares::new(walk.taken))?;
            return Ok(Some((rank, resting)));
        }
    }

    /// How far the walk along a side has come.
    fn walk(&self, book: OutcomeId, side: Side) -> Walk {
        self.walks.iter().find(|(known, _)| *known == (book, side)).map(|(_, walk)| *walk).unwrap_or_default()
    }

    fn set_walk(&mut self, book: OutcomeId, side: Side, walk: Walk) {
        match self.walks.iter_mut().find(|(known, _)| *known == (book, side)) {
            Some((_, known)) => *known = walk,
            None => self.walks.push(((book, side), walk)),
        }
    }

    /// Steps past an order.
    fn pass(&mut self, book: OutcomeId, side: Side, rank: Rank) {
        self.set_walk(book, side, Walk { after: Some(rank), taken: 0 });
    }

    /// Takes `quantity` off the next order of a side, and steps past it when nothing remains.
    fn consume(&mut self, book: OutcomeId, side: Side, (rank, resting): (Rank, Resting), quantity: Shares) {
        if quantity >= resting.remaining {
            self.pass(book, side, rank);
        } else {
            let walk = self.walk(book, side);
            self.set_walk(book, side, Walk { taken: walk.taken + quantity.count(), ..walk });
        }
    }

    /// The taker takes what it can within its limits.
    fn take(&mut self) -> Result<(), Stop> {
        let Incoming { book, side, limit, .. } = *self.incoming;
        while !self.is_done()? {
            let best = self.peek(book, side.opposite(), limit)?;
            if self.take_from_maker(best.map_or(limit, |(_, resting)| resting.price))? {
                self.sweep_others()?;
                continue;
            }
            let Some(best) = best else { break };
            if !self.take_from_order(best)? {
                break;
            }
        }
        Ok(())
    }

    /// Takes from the market maker until its price meets `until`. Whether anything was taken.
    fn take_from_maker(&mut self, until: Price) -> Result<bool, Stop> {
        let Incoming { book, side, backing, .. } = *self.incoming;
        let Some(lmsr) = &self.lmsr else { return Ok(false) };
        let most = self.groups.within(self.incoming.group, self.remaining)?;
        let mut quantity = within_reach(lmsr, book, side, until).min(most.count());
        if quantity < 1 {
            return Ok(false);
        }
        self.came_to = Some(until);
        if let Some(budget) = self.budget {
            quantity = self.affordable(lmsr, quantity, budget, until)?;
        }
        if quantity < 1 {
            return Ok(false);
        }
        let quantity = Shares::new(quantity);
        let deal = MakerDeal::new(lmsr, book, side, backing, quantity, until)?;
        self.spend(quantity, deal.cost, deal.cash)?;
        self.make_deal(deal, None)?;
        self.groups.fill(self.incoming.group, quantity)?;
        self.remaining = self.remaining.minus(quantity)?;
        Ok(true)
    }

    /// The largest quantity up to `most` whose cost and fee stay within the budget.
    fn affordable(&self, lmsr: &Lmsr, most: i64, budget: Credits, until: Price) -> Result<i64, Stop> {
        let Incoming { book, side, fee_rate, .. } = *self.incoming;
        let without_fee = match side {
            Side::Buy => lmsr.shares_for_budget(book.index(), budget),
            Side::Sell => lmsr.rest_shares_for_budget(book.index(), budget),
        };
        // The total grows with the quantity, so the boundary is found by halving.
        let (mut fits, mut too_many) = (0, most.min(without_fee).saturating_add(1));
        while fits + 1 < too_many {
            let middle = fits + (too_many - fits) / 2;
            let deal = MakerDeal::new(lmsr, book, side, Backing::Cash, Shares::new(middle), until)?;
            let total = deal.cash.plus(fee_rate.fee(deal.quantity, deal.cost)?)?;
            if total <= budget { fits = middle } else { too_many = middle }
        }
        Ok(fits)
    }

    /// Takes from the best resting order. Whether the walk goes on.
    fn take_from_order(&mut self, best: (Rank, Resting)) -> Result<bool, Stop> {
        let Incoming { user, book, side, .. } = *self.incoming;
        let (_, resting) = best;
        if resting.user == user {
            return self.meet_own(best);
        }
        self.came_to = Some(resting.price);
        let mut quantity = self.groups.within(resting.group, self.remaining.min(resting.remaining))?;
        quantity = self.groups.within(self.incoming.group, quantity)?;
        if let Some(budget) = self.budget {
            quantity = quantity.min(self.affordable_at(resting.price, budget)?);
        }
        if !quantity.is_positive() {
            return Ok(false);
        }
        let paid = Credits::from_mills(quantity.count().checked_mul(unit_cost(side, resting.price)).ok_or(Overflow)?);
        self.spend(quantity, resting.price.cost(quantity)?, paid)?;
        self.push(Step::Fill { order: resting.id, quantity, price: resting.price })?;
        self.groups.fill(resting.group, quantity)?;
        self.groups.fill(self.incoming.group, quantity)?;
        self.consume(book, side.opposite(), best, quantity);
        self.remaining = self.remaining.minus(quantity)?;
        Ok(true)
    }

    /// How many shares the budget buys at `price`, the fee included:
    /// `floor(budget / (unit + rate x price x (1 - price)))`, exactly.
    fn affordable_at(&self, price: Price, budget: Credits) -> Result<Shares, Stop> {
        const SCALE: i128 = 10_000 * 1000;
        let unit = i128::from(unit_cost(self.incoming.side, price)) * SCALE;
        let fee = i128::from(self.incoming.fee_rate.bps()) * i128::from(price.mills() * price.complement().mills());
        let shares = i128::from(budget.mills()) * SCALE / (unit + fee);
        Ok(Shares::new(i64::try_from(shares).map_err(|_| Overflow)?))
    }

    fn spend(&mut self, quantity: Shares, cost: Credits, paid: Credits) -> Result<(), Stop> {
        if let Some(budget) = self.budget {
            let fee = self.incoming.fee_rate.fee(quantity, cost)?;
            self.budget = Some(budget.minus(paid)?.minus(fee)?);
        }
        Ok(())
    }

    /// Self-trade prevention. Whether the walk goes on.
    fn meet_own(&mut self, best: (Rank, Resting)) -> Result<bool, Stop> {
        let (rank, resting) = best;
        let (book, side) = (self.incoming.book, self.incoming.side.opposite());
        match self.incoming.self_trade_prevention {
            SelfTradePrevention::CancelNewest => {
                self.stopped = true;
                Ok(false)
            }
            SelfTradePrevention::CancelOldest => {
                self.push(Step::CancelOwn { order: resting.id })?;
                self.pass(book, side, rank);
                Ok(true)
            }
            SelfTradePrevention::Decrement => {
                let quantity = self.remaining.min(resting.remaining);
                self.push(Step::DecrementOwn { order: resting.id, quantity })?;
                self.consume(book, side, best, quantity);
                self.remaining = self.remaining.minus(quantity)?;
                Ok(true)
            }
        }
    }

    fn make_deal(&mut self, deal: MakerDeal, swept: Option<OrderId>) -> Result<(), Stop> {
        self.push(swept.map_or(Step::Maker { deal }, |order| Step::Sweep { order, deal }))?;
        if let Some(lmsr) = &mut self.lmsr {
            deal.apply_to(lmsr.to_mut())?;
        }
        Ok(())
    }

    /// Sweeps the books of the other outcomes, while the taker is still at work on its own.
    fn sweep_others(&mut self) -> Result<bool, Stop> {
        self.sweep(Some(self.incoming.book))
    }

    /// Sweeps every book once the taker has done what it can.
    fn sweep_all(&mut self) -> Result<bool, Stop> {
        let took_from_maker = self.steps.iter().any(|s| matches!(s, Step::Maker { .. } | Step::Sweep { .. }));
        if took_from_maker { self.sweep(None) } else { Ok(false) }
    }

    /// Fills resting orders on the taker's side of other books that the maker's price has come to,
    /// until none is left. Whether any was. With two outcomes there is but one book, where routing
    /// alone keeps the orders and the maker apart.
    fn sweep(&mut self, except: Option<OutcomeId>) -> Result<bool, Stop> {
        if self.state.market.is_binary() || self.lmsr.is_none() {
            return Ok(false);
        }
        let mut swept = false;
        loop {
            let mut moved = false;
            for index in 0..self.state.market.outcomes.len() {
                let Some(book) = OutcomeId::new(index).filter(|b| Some(*b) != except) else { continue };
                moved |= self.sweep_best(book)?;
            }
            if !moved {
                return Ok(swept);
            }
            swept = true;
        }
    }

    /// Fills the best order of the taker's side of a book against the maker, as far as their prices cross.
    fn sweep_best(&mut self, book: OutcomeId) -> Result<bool, Stop> {
        let side = self.incoming.side;
        let Some(lmsr) = &self.lmsr else { return Ok(false) };
        // Only orders better than the maker's price matter: that bounds what must be loaded.
        let Some(bound) = first_crossing_price(lmsr, book, side) else { return Ok(false) };
        let Some(best) = self.peek(book, side, bound)? else { return Ok(false) };
        let (_, resting) = best;
        let Some(lmsr) = &self.lmsr else { return Ok(false) };
        let reach = within_reach(lmsr, book, side, resting.price);
        let quantity = self.groups.within(resting.group, resting.remaining.min(Shares::new(reach)))?;
        if !quantity.is_positive() {
            return Ok(false);
        }
        let deal = MakerDeal::new(lmsr, book, side, resting.backing, quantity, resting.price)?;
        self.make_deal(deal, Some(resting.id))?;
        self.groups.fill(resting.group, quantity)?;
        self.consume(book, side, best, quantity);
        Ok(true)
    }
}

/// How many shares the maker sells (to buyers) or buys (from sellers) until its price meets `until`.
pub(super) fn within_reach(lmsr: &Lmsr, book: OutcomeId, side: Side, until: Price) -> i64 {
    match side {
        Side::Buy => lmsr.shares_until_price_rises_to(book.index(), until),
        Side::Sell => lmsr.shares_until_price_falls_to(book.index(), until),
    }
}

/// The price nearest to the maker's at which an order of that side crosses it: a bid at or above
/// the marginal price, an ask at or below. None where no price does.
fn first_crossing_price(lmsr: &Lmsr, book: OutcomeId, side: Side) -> Option<Price> {
    let mills = lmsr.price(book.index())? * 1000.0;
    let rounded = match side {
        Side::Buy => mills.ceil(),
        Side::Sell => mills.floor(),
    };
    (1..=999)
        .find(|m| f64::from(*m) >= rounded)
        .and_then(|m: i32| Price::from_mills(i64::from(m)))
        .filter(|p| side == Side::Buy || rounded >= f64::from(i32::try_from(p.mills()).unwrap_or(0)))
}
