//! Complete sets by hand: one share of every outcome for one credit, and back.
//!
//! The credits go into the collateral, or come out of it, so that it is still exactly as many credits as there
//! are complete sets. No book changes, no price moves, and nobody else is concerned.

use jiff::Timestamp;

use super::draft::Draft;
use super::state::State;
use super::{Moment, Stop};
use crate::api_key::KeyUsage;
use crate::ids::{AccountId, FreshIds, MarketId, TransferId, UserId};
use crate::ledger::{self, Posting, Reference, Transfer, TransferKind};
use crate::market::Market;
use crate::money::{Credits, Shares};
use crate::position::Position;
use crate::refusal::Refusal;

/// Which way complete sets are exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetsWay {
    /// Credits become complete sets.
    Split,
    /// Complete sets become credits.
    Merge,
}

/// Complete sets to be made or given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangeSets {
    /// The market, which must take orders.
    pub market: MarketId,
    /// Whose credits and shares.
    pub user: UserId,
    /// How many sets, 1 to 1,000,000,000.
    pub quantity: Shares,
    /// Which way.
    pub way: SetsWay,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetsExchanged {
    /// The payment.
    pub transfer: Transfer,
    /// The position afterwards.
    pub position: Position,
    /// What the user has available afterwards.
    pub available: Credits,
}

impl State {
    /// Makes complete sets for credits, or credits of complete sets. Refused: where the market takes no orders,
    /// for want of credits or of shares that no open order holds, and beyond what the API key may spend.
    pub fn exchange_sets(
        &mut self,
        command: &ExchangeSets,
        ids: &mut FreshIds,
        moment: Moment,
    ) -> Result<SetsExchanged, Stop> {
        let market = self.tradable(command.market, moment.now)?;
        let amount = command.quantity.set_value()?;
        let mut draft = Draft::new(market, None);
        let (own, collateral) = (AccountId::of_user(command.user), market.collateral());
        let (from, to, kind) = match command.way {
            SetsWay::Split => (own, collateral, TransferKind::Mint),
            SetsWay::Merge => (collateral, own, TransferKind::Redeem),
        };
        self.change_position(&mut draft, market, command, amount)?;
        let reference = Reference { market: Some(command.market), trade: None };
        let posting = Posting { id: TransferId(ids.next_uuid()), amount, kind, reference, memo: None };
        let transfer = self.move_credits(&mut draft, from, to, posting, moment.now)?;
        let done = SetsExchanged {
            transfer,
            position: draft.position(self, command.user)?.clone(),
            available: draft.account(self, own)?.available(),
        };
        let usages = self.usage_of_sets(command, amount, moment)?;
        self.adopt(draft, usages);
        Ok(done)
    }

    fn change_position(
        &self,
        draft: &mut Draft,
        market: &Market,
        command: &ExchangeSets,
        amount: Credits,
    ) -> Result<(), Stop> {
        let position = draft.position(self, command.user)?;
        for (holding, outcome) in position.holdings.iter_mut().zip(&market.outcomes) {
            match command.way {
                SetsWay::Split => holding.quantity = holding.quantity.plus(command.quantity)?,
                SetsWay::Merge if holding.available() < command.quantity => {
                    let (required, available) = (command.quantity, holding.available());
                    let outcome = outcome.name.clone();
                    return Err(Refusal::InsufficientShares { outcome, required, available }.into());
                }
                SetsWay::Merge => holding.quantity = holding.quantity.minus(command.quantity)?,
            }
        }
        match command.way {
            SetsWay::Split => position.spent = position.spent.plus(amount)?,
            SetsWay::Merge => position.received = position.received.plus(amount)?,
        }
        Ok(())
    }

    fn move_credits(
        &self,
        draft: &mut Draft,
        from: AccountId,
        to: AccountId,
        posting: Posting,
        now: Timestamp,
    ) -> Result<Transfer, Stop> {
        let (payer, payee) = draft.payer_and_payee(self, from, to)?;
        let made = ledger::transfer(payer, payee, posting, now)?;
        draft.transfers.push(made.clone());
        Ok(made)
    }

    /// How the API key that sent it is used afterwards: what leaves the account counts.
    fn usage_of_sets(&self, command: &ExchangeSets, amount: Credits, moment: Moment) -> Result<Vec<KeyUsage>, Stop> {
        let Some(key) = moment.limits.key.filter(|_| command.way == SetsWay::Split) else { return Ok(Vec::new()) };
        let before = self.keys.get(&key).ok_or(Stop::NotLoaded("API key"))?;
        let mut after = before.clone();
        after.spend(amount)?;
        after.check_limits(before)?;
        Ok(vec![after])
    }
}
