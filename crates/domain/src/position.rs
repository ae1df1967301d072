//! Positions: what a user holds in a market, and what went in and came out.

use jiff::Timestamp;

use crate::ids::{MarketId, UserId};
use crate::market::{OutcomeId, even_share};
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

    /// The shares of each outcome that are free, and those that are held, as stores keep them. Less than none are free where a
    /// holding breaks its invariant, which stores then refuse.
    #[must_use]
    pub fn free_and_held(&self) -> (Vec<i64>, Vec<i64>) {
        let free = |holding: &Holding| holding.quantity.count().saturating_sub(holding.held.count());
        self.holdings.iter().map(|holding| (free(holding), holding.held.count())).unzip()
    }

    /// The holdings of which so many shares are free and so many held, by outcome; none where they are more than can be
    /// counted.
    #[must_use]
    pub fn holdings_of(free: &[i64], held: &[i64]) -> Option<Vec<Holding>> {
        let holding = |(free, held): (&i64, &i64)| {
            Some(Holding { quantity: Shares::new(free.checked_add(*held)?), held: Shares::new(*held) })
        };
        free.iter().zip(held).map(holding).collect()
    }

    /// The holding of an outcome; none where the market has no such outcome.
    #[must_use]
    pub fn holding(&self, outcome: OutcomeId) -> Holding {
        self.holdings.get(outcome.index()).copied().unwrap_or_default()
    }

    /// What the holdings pay at these weights (mills for each outcome).
    pub fn payout(&self, weights: &[u16]) -> Result<Credits, Overflow> {
        let mut sum = Credits::ZERO;
        for (holding, weight) in self.holdings.iter().zip(weights) {
            sum = sum.plus(worth(holding.quantity.count(), *weight)?)?;
        }
        Ok(sum)
    }

    /// What the holdings are worth at these prices (mills for each outcome that has one). Complete sets are worth one
    /// credit each, whatever the prices. Each other share is worth its outcome's price, or where that has none an even
    /// part of what the prices of the others leave of one credit.
    pub fn value(&self, prices: &[Option<u16>]) -> Result<Credits, Overflow> {
        let sets = self.holdings.iter().map(|holding| holding.quantity).min().unwrap_or(Shares::ZERO);
        let share = even_share(prices);
        let mut sum = sets.set_value()?;
        for (holding, price) in self.holdings.iter().zip(prices) {
            let beyond = holding.quantity.minus(sets)?;
            sum = sum.plus(worth(beyond.count(), price.unwrap_or(share))?)?;
        }
        Ok(sum)
    }

    /// `received + value - spent`, in mills.
    pub fn profit(&self, prices: &[Option<u16>]) -> Result<Credits, Overflow> {
        self.received.plus(self.value(prices)?)?.minus(self.spent)
    }
}

fn worth(shares: i64, mills: u16) -> Result<Credits, Overflow> {
    shares.checked_mul(i64::from(mills)).map(Credits::from_mills).ok_or(Overflow)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn with(shares: &[i64]) -> Position {
        let mut position = Position::empty(UserId(Uuid::nil()), MarketId(Uuid::nil()), shares.len());
        for (holding, shares) in position.holdings.iter_mut().zip(shares) {
            holding.quantity = Shares::new(*shares);
        }
        position
    }

    #[test]
    fn complete_sets_are_worth_a_credit_each_whatever_the_prices() {
        for prices in [vec![None; 3], vec![Some(200), None, None], vec![Some(500), Some(400), Some(300)]] {
            assert_eq!(with(&[50, 50, 50]).value(&prices), Ok(Credits::from_mills(50_000)), "{prices:?}");
        }
        let mut position = with(&[50, 50]);
        position.spent = Credits::from_mills(50_000);
        assert_eq!(position.profit(&[None, None]), Ok(Credits::ZERO));
    }

    #[test]
    fn shares_beyond_sets_are_worth_their_price_or_an_even_part_of_what_prices_leave() {
        let worth = |shares: &[i64], prices: &[Option<u16>]| with(shares).value(prices).unwrap().mills();
        assert_eq!(worth(&[10, 0], &[None, None]), 5_000);
        assert_eq!(worth(&[10, 4], &[Some(600), Some(400)]), 7_600);
        assert_eq!(worth(&[10, 0, 0], &[None, Some(200), None]), 4_000);
        assert_eq!(worth(&[3, 1, 1], &[None, None, None]), 1_666);
        assert_eq!(worth(&[0, 7, 0], &[Some(700), None, Some(400)]), 0);
    }

    #[test]
    fn what_weights_pay_is_what_they_make_it_worth() {
        let position = with(&[10, 4]);
        assert_eq!(position.payout(&[250, 750]), Ok(Credits::from_mills(5_500)));
        assert_eq!(position.value(&[Some(250), Some(750)]), position.payout(&[250, 750]));
        assert_eq!(position.payout(&[]), Ok(Credits::ZERO));
    }
}
