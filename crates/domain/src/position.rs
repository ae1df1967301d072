//! Positions: what a user holds in a market, and what went in and came out.

use jiff::Timestamp;

use crate::ids::{MarketId, UserId};
use crate::market::OutcomeId;
use crate::money::{Credits, Overflow, Shares};

/// Shares of one outcome.
///
/// Invariant: `0 <= held <= quantity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holding {
    /// All shares, held or not.
    pub quantity: Shares,
    /// The part that open orders reserve.
    pub held: Shares,
}

impl Holding {
    /// What can be sold: `quantity - held`.
    #[must_use]
    pub fn available(&self) -> Shares {
        self.quantity.minus(self.held).unwrap_or(Shares::ZERO)
    }
}

/// A user's position in a market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Whose.
    pub user: UserId,
    /// Where.
    pub market: MarketId,
    /// One for each outcome, in order.
    pub holdings: Vec<Holding>,
    /// Everything paid for shares, fees included, in mills.
    pub spent: Credits,
    /// Everything got for shares, the payout included, in mills.
    pub received: Credits,
    /// When it was paid after the resolution; never more than once.
    pub settled_at: Option<Timestamp>,
}

impl Position {
    /// No shares, nothing spent.
    #[must_use]
    pub fn empty(user: UserId, market: MarketId, outcomes: usize) -> Self {
        Self {
            user,
            market,
            holdings: vec![Holding::default(); outcomes],
            spent: Credits::ZERO,
            received: Credits::ZERO,
            settled_at: None,
        }
    }

    /// The holding of an outcome; none where the market has no such outcome.
    #[must_use]
    pub fn holding(&self, outcome: OutcomeId) -> Holding {
        self.holdings.get(outcome.index()).copied().unwrap_or_default()
    }

    /// What the holdings are worth at these prices (mills for each outcome; none counts as 0).
    pub fn value(&self, prices: &[Option<u16>]) -> Result<Credits, Overflow> {
        let mut sum = Credits::ZERO;
        for (holding, price) in self.holdings.iter().zip(prices) {
            let worth = holding.quantity.count().checked_mul(i64::from(price.unwrap_or(0))).ok_or(Overflow)?;
            sum = sum.plus(Credits::from_mills(worth))?;
        }
        Ok(sum)
    }

    /// `received + value - spent`, in mills.
    pub fn profit(&self, prices: &[Option<u16>]) -> Result<Credits, Overflow> {
        self.received.plus(self.value(prices)?)?.minus(self.spent)
    }
}
