//! Clearing: what each fill moves between accounts and positions.
//!
//! Each side of a fill is backed by cash or by shares, which makes the four settlements of
//! [`Settlement`]. Against the market maker, the maker's own minting and redeeming of complete sets
//! is part of the fill.

use jiff::Timestamp;

use super::Stop;
use super::draft::Draft;
use super::plan::MakerDeal;
use super::state::State;
use crate::ids::{AccountId, FreshIds, OrderGroupId, OrderId, TradeId, TransferId, UserId};
use crate::ledger::{self, Posting, Reference, TransferKind};
use crate::market::{Market, OutcomeId};
use crate::money::{Credits, Price, Shares};
use crate::order::{Backing, EndReason, Order, OrderStatus, Side, unit_cost};
use crate::position::Position;
use crate::trade::{Settlement, Trade};

/// Clears the steps of one command on its draft.
pub(super) struct Clearing<'a> {
    pub(super) state: &'a State,
    pub(super) market: &'a Market,
    pub(super) draft: &'a mut Draft,
    pub(super) ids: &'a mut FreshIds,
    pub(super) now: Timestamp,
}

/// One side of a fill.
#[derive(Clone, Copy)]
struct Party {
    user: UserId,
    backing: Backing,
}

impl Clearing<'_> {
    /// The taker `order` fills against the resting order `maker`, at the resting order's price.
    pub(super) fn fill(&mut self, order: OrderId, maker: OrderId, quantity: Shares, price: Price) -> Result<(), Stop> {
        self.fill_resting(maker, quantity, price.cost(quantity)?)?;
        let taker_row = self.draft.order(self.state, order)?;
        let (book, side) = (taker_row.book, taker_row.book_side);
        let taker = Party { user: taker_row.user, backing: taker_row.backing };
        let maker_row = self.draft.order(self.state, maker)?;
        let resting = Party { user: maker_row.user, backing: maker_row.backing };
        let (bid, ask) = match side {
            Side::Buy => (taker, resting),
            Side::Sell => (resting, taker),
        };
        let trade = TradeId(self.ids.next_uuid());
        let settlement = self.settle(bid, ask, book, quantity, price, trade)?;
        let cost = price.cost(quantity)?;
        let fee = self.charge_fee(order, quantity, cost, trade)?;
        self.fill_taker(order, quantity, cost, fee)?;
        self.draft.trade(Trade {
            id: trade,
            market: self.market.id,
            sequence: 0,
            outcome: book,
            price,
            quantity,
            cost,
            taker_side: side,
            settlement,
            taker_order: order,
            taker: taker.user,
            maker_order: Some(maker),
            maker: Some(resting.user),
            fee,
            created_at: self.now,
        })?;
        Ok(())
    }

    /// The taker `order` fills against the market maker.
    pub(super) fn deal(&mut self, order: OrderId, deal: MakerDeal) -> Result<(), Stop> {
        let trade = TradeId(self.ids.next_uuid());
        let user = self.draft.order(self.state, order)?.user;
        self.settle_with_maker(user, deal, trade)?;
        let fee = self.charge_fee(order, deal.quantity, deal.cost, trade)?;
        self.fill_taker(order, deal.quantity, deal.cost, fee)?;
        self.record_deal(order, user, deal, fee, trade)
    }

    /// A resting order fills against the market maker, without a fee.
    pub(super) fn sweep(&mut self, order: OrderId, deal: MakerDeal) -> Result<(), Stop> {
        let trade = TradeId(self.ids.next_uuid());
        self.fill_resting(order, deal.quantity, deal.cost)?;
        let user = self.draft.order(self.state, order)?.user;
        self.settle_with_maker(user, deal, trade)?;
        self.record_deal(order, user, deal, Credits::ZERO, trade)
    }

    /// Ends a resting order and frees what it held.
    pub(super) fn end(&mut self, order: OrderId, status: OrderStatus, reason: EndReason) -> Result<(), Stop> {
        let remaining = self.draft.order(self.state, order)?.remaining;
        self.free(order, remaining)?;
        let now = self.now;
        self.draft.order(self.state, order)?.end(status, Some(reason), now);
        Ok(())
    }

    /// Takes `quantity` off a resting order without a trade; ends it when nothing remains.
    pub(super) fn decrement(&mut self, order: OrderId, quantity: Shares) -> Result<(), Stop> {
        self.free(order, quantity)?;
        let now = self.now;
        let row = self.draft.order(self.state, order)?;
        row.updated_at = now;
        if !row.remaining.is_positive() {
            row.end(OrderStatus::Cancelled, Some(EndReason::SelfTrade), now);
        }
        Ok(())
    }

    /// Leaves `shares` of an order resting, and reserves what it holds for them.
    pub(super) fn rest(&mut self, order: OrderId, shares: Shares) -> Result<(), Stop> {
        let row = self.draft.order(self.state, order)?;
        let amount = row.reserve_for(shares)?;
        row.remaining = shares;
        row.reserved = amount;
        let (user, backing, book, side) = (row.user, row.backing, row.book, row.book_side);
        match backing {
            Backing::Cash => Ok(self.draft.account(self.state, AccountId::of_user(user))?.hold(amount)?),
            Backing::Shares => self.change_held(user, book, side, shares.count()),
        }
    }

    /// Frees what `shares` of a resting order hold and takes them off what remains.
    pub(super) fn free(&mut self, order: OrderId, shares: Shares) -> Result<(), Stop> {
        let row = self.draft.order(self.state, order)?;
        let amount = row.reserve_for(shares)?;
        row.remaining = row.remaining.minus(shares)?;
        row.reserved = row.reserved.minus(amount)?;
        let (user, backing, book, side) = (row.user, row.backing, row.book, row.book_side);
        match backing {
            Backing::Cash => self.draft.account(self.state, AccountId::of_user(user))?.release(amount)?,
            Backing::Shares => self.change_held(user, book, side, -shares.count())?,
        }
        Ok(())
    }

    /// What an order that is backed by shares holds: the outcome itself for an ask, every other
    /// outcome for a bid.
    fn change_held(&mut self, user: UserId, book: OutcomeId, side: Side, change: i64) -> Result<(), Stop> {
        let position = self.draft.position(self.state, user)?;
        for (index, holding) in position.holdings.iter_mut().enumerate() {
            if (index == book.index()) == (side == Side::Sell) {
                let held = holding.held.plus(Shares::new(change))?;
                if held < Shares::ZERO || held > holding.quantity {
                    return Err(Stop::NotLoaded("held shares within the holding"));
                }
                holding.held = held;
            }
        }
        Ok(())
    }

    fn fill_resting(&mut self, order: OrderId, quantity: Shares, cost: Credits) -> Result<(), Stop> {
        self.free(order, quantity)?;
        let now = self.now;
        let row = self.draft.order(self.state, order)?;
        row.filled = row.filled.plus(quantity)?;
        row.updated_at = now;
        add_own_cost(row, quantity, cost)?;
        let group = row.group;
        if !row.remaining.is_positive() {
            let done = row.filled == row.quantity;
            let (status, reason) =
                if done { (OrderStatus::Filled, None) } else { (OrderStatus::Cancelled, Some(EndReason::SelfTrade)) };
            row.end(status, reason, now);
        }
        self.fill_group(group, quantity)
    }

    /// Counts a fill of an order for its group.
    fn fill_group(&mut self, group: Option<OrderGroupId>, quantity: Shares) -> Result<(), Stop> {
        match group {
            Some(group) => Ok(self.draft.group(self.state, group)?.fill(quantity, self.now)?),
            None => Ok(()),
        }
    }

    fn fill_taker(&mut self, order: OrderId, quantity: Shares, cost: Credits, fee: Credits) -> Result<(), Stop> {
        let row = self.draft.order(self.state, order)?;
        row.filled = row.filled.plus(quantity)?;
        row.fee = row.fee.plus(fee)?;
        add_own_cost(row, quantity, cost)?;
        let group = row.group;
        self.fill_group(group, quantity)
    }

    /// Moves cash and shares between the two sides of a fill.
    fn settle(
        &mut self,
        bid: Party,
        ask: Party,
        book: OutcomeId,
        quantity: Shares,
        price: Price,
        trade: TradeId,
    ) -> Result<Settlement, Stop> {
        let for_book = price.cost(quantity)?;
        let for_rest = price.complement().cost(quantity)?;
        let (bidder, asker) = (AccountId::of_user(bid.user), AccountId::of_user(ask.user));
        let collateral = self.market.collateral();
        let settlement = match (bid.backing, ask.backing) {
            (Backing::Cash, Backing::Shares) => {
                self.pay(bidder, asker, for_book, TransferKind::Trade, trade)?;
                Settlement::Transfer
            }
            (Backing::Cash, Backing::Cash) => {
                self.pay(bidder, collateral, for_book, TransferKind::Mint, trade)?;
                self.pay(asker, collateral, for_rest, TransferKind::Mint, trade)?;
                Settlement::Mint
            }
            (Backing::Shares, Backing::Shares) => {
                self.pay(collateral, asker, for_book, TransferKind::Redeem, trade)?;
                self.pay(collateral, bidder, for_rest, TransferKind::Redeem, trade)?;
                Settlement::Redeem
            }
            (Backing::Shares, Backing::Cash) => {
                self.pay(asker, bidder, for_rest, TransferKind::Trade, trade)?;
                Settlement::Rest
            }
        };
        self.exchange_for(bid, book, Side::Buy, quantity, for_book, for_rest)?;
        self.exchange_for(ask, book, Side::Sell, quantity, for_book, for_rest)?;
        Ok(settlement)
    }

    /// One side's shares and flows.
    fn exchange_for(
        &mut self,
        party: Party,
        book: OutcomeId,
        side: Side,
        quantity: Shares,
        for_book: Credits,
        for_rest: Credits,
    ) -> Result<(), Stop> {
        let price = match (side, party.backing) {
            (Side::Buy, Backing::Cash) | (Side::Sell, Backing::Shares) => for_book,
            (Side::Sell, Backing::Cash) | (Side::Buy, Backing::Shares) => for_rest,
        };
        let position = self.draft.position(self.state, party.user)?;
        let gains = party.backing == Backing::Cash;
        if gains {
            position.spent = position.spent.plus(price)?;
        } else {
            position.received = position.received.plus(price)?;
        }
        // A bid gains the book's outcome or gives the others; an ask gives it or gains the others.
        let concerns_book = gains == (side == Side::Buy);
        let change = if gains { quantity.count() } else { -quantity.count() };
        let outcomes = position.holdings.len();
        let deltas =
            (0..outcomes).filter(|index| (*index == book.index()) == concerns_book).map(|index| (index, change));
        change_holdings(position, deltas)
    }

    /// Moves cash and shares between a user and the market maker, which mints complete sets as it
    /// runs out of shares and redeems them as it gets them back: its holding of outcome `i` is
    /// always `max(sold) - sold[i]`, so that at least one is zero.
    fn settle_with_maker(&mut self, user: UserId, deal: MakerDeal, trade: TradeId) -> Result<(), Stop> {
        let outcomes = self.market.outcomes.len();
        let collateral = self.market.collateral();
        let maker = self.market.maker.as_ref().ok_or(Stop::NotLoaded("market maker"))?;
        let maker_account = maker.account;
        let lmsr = self.draft.lmsr.get_or_insert_with(|| maker.lmsr.clone());
        let before = lmsr.sets();
        deal.apply_to(lmsr)?;
        let minted = Shares::new(lmsr.sets()).minus(Shares::new(before))?.set_value()?;

        let cash = AccountId::of_user(user);
        let pays = deal.backing == Backing::Cash;
        // What comes in comes first, so that the maker can pay for the sets it needs.
        if pays && deal.cash.is_positive() {
            self.pay(cash, maker_account, deal.cash, TransferKind::Trade, trade)?;
        }
        if minted.is_positive() {
            self.pay(maker_account, collateral, minted, TransferKind::Mint, trade)?;
        } else if minted < Credits::ZERO {
            let redeemed = Credits::ZERO.minus(minted)?;
            self.pay(collateral, maker_account, redeemed, TransferKind::Redeem, trade)?;
        }
        if !pays && deal.cash.is_positive() {
            self.pay(maker_account, cash, deal.cash, TransferKind::Trade, trade)?;
        }
        let position = self.draft.position(self.state, user)?;
        if pays {
            position.spent = position.spent.plus(deal.cash)?;
        } else {
            position.received = position.received.plus(deal.cash)?;
        }
        change_holdings(position, deal.deltas(outcomes))
    }

    /// Charges the taker's fee. Nobody pays a fee to himself.
    fn charge_fee(&mut self, order: OrderId, quantity: Shares, cost: Credits, trade: TradeId) -> Result<Credits, Stop> {
        let fee = self.market.fee_rate.fee(quantity, cost)?;
        let user = self.draft.order(self.state, order)?.user;
        let (from, to) = (AccountId::of_user(user), self.market.fee_account());
        if !fee.is_positive() || from == to {
            return Ok(Credits::ZERO);
        }
        self.pay(from, to, fee, TransferKind::Fee, trade)?;
        let position = self.draft.position(self.state, user)?;
        position.spent = position.spent.plus(fee)?;
        Ok(fee)
    }

    fn pay(
        &mut self,
        from: AccountId,
        to: AccountId,
        amount: Credits,
        kind: TransferKind,
        trade: TradeId,
    ) -> Result<(), Stop> {
        let id = TransferId(self.ids.next_uuid());
        let reference = Reference { market: Some(self.market.id), trade: Some(trade) };
        let posting = Posting { id, amount, kind, reference, memo: None };
        let (payer, payee) = self.draft.payer_and_payee(self.state, from, to)?;
        let made = ledger::transfer(payer, payee, posting, self.now)?;
        self.draft.transfers.push(made);
        Ok(())
    }

    fn record_deal(
        &mut self,
        order: OrderId,
        user: UserId,
        deal: MakerDeal,
        fee: Credits,
        trade: TradeId,
    ) -> Result<(), Stop> {
        let settlement = match (deal.side, deal.backing) {
            (Side::Buy, Backing::Cash) | (Side::Sell, Backing::Shares) => Settlement::Transfer,
            (Side::Sell, Backing::Cash) | (Side::Buy, Backing::Shares) => Settlement::Rest,
        };
        self.draft.trade(Trade {
            id: trade,
            market: self.market.id,
            sequence: 0,
            outcome: deal.book,
            price: average_price(deal.cost, deal.quantity),
            quantity: deal.quantity,
            cost: deal.cost,
            taker_side: deal.side,
            settlement,
            taker_order: order,
            taker: user,
            maker_order: None,
            maker: None,
            fee,
            created_at: self.now,
        })?;
        Ok(())
    }
}

fn change_holdings(position: &mut Position, deltas: impl IntoIterator<Item = (usize, i64)>) -> Result<(), Stop> {
    for (index, change) in deltas {
        let Some(holding) = position.holdings.get_mut(index) else { continue };
        holding.quantity = holding.quantity.plus(Shares::new(change))?;
        if holding.quantity < holding.held {
            return Err(Stop::NotLoaded("shares that are given"));
        }
    }
    Ok(())
}

/// Adds a fill's cost to an order, at prices of the outcome as its owner named it.
fn add_own_cost(order: &mut Order, quantity: Shares, cost: Credits) -> Result<(), crate::money::Overflow> {
    let is_mirrored = order.book != order.outcome;
    let own = if is_mirrored { quantity.set_value()?.minus(cost)? } else { cost };
    order.cost = order.cost.plus(own)?;
    Ok(())
}

/// The average price of a fill, rounded to the nearest mill and kept within a price's range.
fn average_price(cost: Credits, quantity: Shares) -> Price {
    let (cost, quantity) = (cost.mills(), quantity.count().max(1));
    let rounded = (cost / quantity) + i64::from((cost % quantity) >= quantity - quantity / 2);
    Price::from_mills(rounded.clamp(1, 999)).unwrap_or(Price::MIN)
}

/// The most that `quantity` shares can cost an order of this backing and place, in mills.
pub(super) fn worst_cost(
    backing: Backing,
    side: Side,
    limit: Price,
    quantity: Shares,
) -> Result<Credits, crate::money::Overflow> {
    match backing {
        Backing::Cash => {
            quantity.count().checked_mul(unit_cost(side, limit)).map(Credits::from_mills).ok_or(crate::money::Overflow)
        }
        Backing::Shares => Ok(Credits::ZERO),
    }
}
