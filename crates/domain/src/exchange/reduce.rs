//! Orders that may only make a position smaller.

use super::Stop;
use super::state::State;
use super::terms::find_outcome;
use crate::market::Market;
use crate::money::Shares;
use crate::order::{Backing, MarketBound, PlaceOrder, Side, Terms, book_side};
use crate::refusal::Refusal;

impl State {
    /// The order as it may be placed: it gives shares, and no more of them than its owner has free. What it then
    /// leaves in the book holds these shares, so it can never do anything but give them.
    pub(super) fn reduced(&self, command: &PlaceOrder, market: &Market) -> Result<PlaceOrder, Stop> {
        if command.backing == Some(Backing::Cash) {
            return Err(Refusal::ReduceOnlyPaysCash.into());
        }
        let outcome = find_outcome(&command.outcome, market)?;
        let (book, side) = book_side(outcome, command.side, market.is_binary());
        let position = self.position(command.user, market.id).ok_or(Stop::NotLoaded("position"))?;
        let given =
            position.holdings.iter().enumerate().filter(|(index, _)| (*index == book.index()) == (side == Side::Sell));
        let most = given.map(|(_, holding)| holding.available()).min().unwrap_or(Shares::ZERO);
        if !most.is_positive() {
            return Err(Refusal::NothingToReduce.into());
        }
        let mut terms = command.terms;
        match &mut terms {
            Terms::Limit { quantity, .. } | Terms::Market { bound: MarketBound::Worst { quantity, .. }, .. } => {
                *quantity = most.min(*quantity);
            }
            Terms::Market { bound: MarketBound::Spend { .. }, .. } => return Err(Refusal::SpendWithoutCash.into()),
        }
        Ok(PlaceOrder { terms, backing: Some(Backing::Shares), ..command.clone() })
    }
}
