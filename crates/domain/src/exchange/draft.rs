//! The changes of one command, made on copies: adopted whole, or dropped without a trace.

use super::Stop;
use super::rows::Copies;
use super::state::State;
use crate::ids::{AccountId, MarketId, OrderGroupId, OrderId, UserId};
use crate::ledger::{Account, LedgerError, Transfer};
use crate::lmsr::Lmsr;
use crate::market::Market;
use crate::money::{Credits, Overflow};
use crate::order::Order;
use crate::order_group::OrderGroup;
use crate::position::Position;
use crate::trade::Trade;

/// What one command changes. Rows are copied when they are first asked for; of the market, only what trading
/// changes of it.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) market: MarketId,
    sequence: i64,
    volume: Credits,
    /// The market maker, where the command trades with it.
    pub(super) lmsr: Option<Lmsr>,
    pub(super) accounts: Copies<AccountId, Account>,
    pub(super) orders: Copies<OrderId, Order>,
    /// The order that is new in its book: a new one, or one that lost its place by an amendment.
    pub(super) new_order: Option<OrderId>,
    /// The amended order as it stood before, to be taken out of its old place.
    pub(super) requeued: Option<Order>,
    pub(super) positions: Copies<UserId, Position>,
    pub(super) groups: Copies<OrderGroupId, OrderGroup>,
    pub(super) trades: Vec<Trade>,
    pub(super) transfers: Vec<Transfer>,
}

impl Draft {
    /// A draft for a command in that market: in the memory of an earlier one, where there is any.
    pub(super) fn new(market: &Market, spare: Option<Box<Self>>) -> Box<Self> {
        let (sequence, volume) = (market.sequence, market.volume);
        match spare {
            Some(mut emptied) => {
                (emptied.market, emptied.sequence, emptied.volume) = (market.id, sequence, volume);
                emptied
            }
            None => Box::new(Self {
                market: market.id,
                sequence,
                volume,
                lmsr: None,
                accounts: Copies::default(),
                orders: Copies::default(),
                new_order: None,
                requeued: None,
                positions: Copies::default(),
                groups: Copies::default(),
                trades: Vec::new(),
                transfers: Vec::new(),
            }),
        }
    }

    /// Takes the next place in the market's order of events.
    pub(super) const fn next_sequence(&mut self) -> i64 {
        self.sequence += 1;
        self.sequence
    }

    /// A copy of an account, to be changed.
    pub(super) fn account<'a>(&'a mut self, state: &State, id: AccountId) -> Result<&'a mut Account, Stop> {
        self.accounts.of(id, || state.accounts.get(id).cloned()).ok_or(Stop::NotLoaded("account"))
    }

    /// Copies of two accounts, to be changed.
    pub(super) fn payer_and_payee(
        &mut self,
        state: &State,
        payer: AccountId,
        payee: AccountId,
    ) -> Result<(&mut Account, &mut Account), Stop> {
        self.account(state, payer)?;
        self.account(state, payee)?;
        self.accounts.pair(payer, payee).ok_or_else(|| LedgerError::SameAccount.into())
    }

    /// A copy of a group, to be changed.
    pub(super) fn group<'a>(&'a mut self, state: &State, id: OrderGroupId) -> Result<&'a mut OrderGroup, Stop> {
        self.groups.of(id, || state.groups.get(id).cloned()).ok_or(Stop::NotLoaded("order group"))
    }

    /// A copy of an order, to be changed.
    pub(super) fn order<'a>(&'a mut self, state: &State, id: OrderId) -> Result<&'a mut Order, Stop> {
        self.orders.of(id, || state.orders.get(id).cloned()).ok_or(Stop::NotLoaded("order"))
    }

    /// A copy of a user's position in the market, to be changed.
    pub(super) fn position<'a>(&'a mut self, state: &State, user: UserId) -> Result<&'a mut Position, Stop> {
        let market = self.market;
        self.positions.of(user, || state.positions.get((market, user)).cloned()).ok_or(Stop::NotLoaded("position"))
    }

    /// Adds a trade, which gets its place.
    pub(super) fn trade(&mut self, mut trade: Trade) -> Result<(), Overflow> {
        trade.sequence = self.next_sequence();
        self.volume = self.volume.plus(trade.cost)?;
        self.trades.push(trade);
        Ok(())
    }

    /// Makes of the market what the command leaves of it.
    pub(super) fn apply_to(&self, market: &mut Market) {
        market.sequence = self.sequence;
        market.volume = self.volume;
        for trade in &self.trades {
            market.trade_count += 1;
            market.set_last_price(trade.outcome, trade.price);
        }
        if let (Some(maker), Some(lmsr)) = (&mut market.maker, &self.lmsr) {
            maker.lmsr.clone_from(lmsr);
        }
    }
}
