//! What is going to be sent, and what must come of it: worked out before the first request.
//!
//! A plan knows every fill, every holding and every credit that will have moved, so that what the
//! server says at the end can be compared to the mill.

use std::collections::BTreeMap;

/// A trader of the plan, by its place in [`Plan::traders`].
pub(super) type TraderIndex = usize;

/// Everything that a replay sends.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The traders' names: pseudonyms of the file, or made up.
    pub(super) traders: Vec<String>,
    /// The markets.
    pub(super) markets: Vec<MarketPlan>,
    /// What was changed on the way from the file to the plan, or left out, and how often.
    pub(super) notes: BTreeMap<String, u64>,
}

impl Plan {
    /// Counts something that was changed or left out.
    pub(super) fn note(&mut self, what: impl Into<String>) {
        *self.notes.entry(what.into()).or_default() += 1;
    }

    /// How many orders there are.
    pub(super) fn orders(&self) -> usize {
        self.markets.iter().map(|market| market.orders.len()).sum()
    }

    /// The most credits, in mills, that each trader pays and reserves if it never gets any back.
    pub(super) fn funds_needed(&self) -> Vec<i64> {
        let mut needed = vec![0; self.traders.len()];
        for order in self.markets.iter().flat_map(|market| &market.orders) {
            if let Some(sum) = needed.get_mut(order.trader) {
                *sum += order.cash_needed();
            }
        }
        needed
    }
}

/// A market to open, its orders in their order, and how it ends.
#[derive(Debug, Clone)]
pub(super) struct MarketPlan {
    /// The question.
    pub(super) question: String,
    /// What its source calls it; becomes a tag-free part of the description.
    pub(super) source: String,
    /// The two outcomes; the book is the first one's.
    pub(super) outcomes: [String; 2],
    /// The orders, each sent after the answer to the one before.
    pub(super) orders: Vec<PlannedOrder>,
    /// How it ends.
    pub(super) ending: Ending,
    /// What must have come of it.
    pub(super) expected: Expected,
}

/// How a market ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The outcome of that place wins.
    Wins(usize),
    /// The file does not say: called off at the last price.
    Void,
}

/// Which of the two outcomes, by place.
pub(super) type OutcomeIndex = usize;

/// What an order gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gives {
    /// Credits.
    Cash,
    /// Shares.
    Shares,
}

/// A limit order to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedOrder {
    /// Whose.
    pub(super) trader: TraderIndex,
    /// Of which outcome.
    pub(super) outcome: OutcomeIndex,
    /// Buys or sells.
    pub(super) buys: bool,
    /// The limit of that outcome, in mills.
    pub(super) price: i64,
    /// How many shares.
    pub(super) quantity: i64,
    /// What it pays with.
    pub(super) gives: Gives,
    /// Whether it may rest; else what does not fill at once is cancelled.
    pub(super) rests: bool,
    /// The fills it must be answered with: prices of the order's own outcome, and quantities.
    pub(super) fills: Vec<(i64, i64)>,
}

impl PlannedOrder {
    /// The credits that it reserves, in mills.
    pub(super) fn cash_needed(&self) -> i64 {
        match (self.gives, self.buys) {
            (Gives::Shares, _) => 0,
            (Gives::Cash, true) => self.price * self.quantity,
            (Gives::Cash, false) => (1000 - self.price) * self.quantity,
        }
    }
}

/// What a market must have come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// The sum of `price x quantity` of the first outcome, in mills.
    pub(super) volume: i64,
    /// The number of fills.
    pub(super) trades: i64,
    /// The last price of the first outcome, in mills.
    pub(super) last_price: Option<i64>,
    /// What each trader holds before the payout, and what went in and out until then.
    pub(super) stakes: BTreeMap<TraderIndex, Stake>,
}

/// A trader's part in a market.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stake {
    /// Shares of each outcome.
    pub(super) shares: [i64; 2],
    /// Credits received less credits paid, in mills.
    pub(super) net: i64,
}

impl Stake {
    /// What its shares pay, in mills.
    pub(super) fn payout(&self, weights: [i64; 2]) -> i64 {
        let [first, second] = self.shares;
        first * weights[0] + second * weights[1]
    }
}

/// One side of a fill.
#[derive(Debug, Clone, Copy)]
pub(super) struct Party {
    /// Who.
    pub(super) trader: TraderIndex,
    /// With what.
    pub(super) gives: Gives,
}

impl Expected {
    /// What the market pays each share of the two outcomes, in mills.
    pub(super) fn weights(&self, ending: Ending) -> [i64; 2] {
        match (ending, self.last_price) {
            (Ending::Wins(0), _) => [1000, 0],
            (Ending::Wins(_), _) => [0, 1000],
            (Ending::Void, Some(price)) => [price, 1000 - price],
            (Ending::Void, None) => [500, 500],
        }
    }

    /// Counts a fill at a price of the first outcome, in mills.
    pub(super) fn fill(&mut self, price: i64, quantity: i64, bid: Party, ask: Party) {
        self.volume += price * quantity;
        self.trades += 1;
        self.last_price = Some(price);
        let bidder = self.stakes.entry(bid.trader).or_default();
        match bid.gives {
            Gives::Cash => {
                bidder.shares[0] += quantity;
                bidder.net -= price * quantity;
            }
            Gives::Shares => {
                bidder.shares[1] -= quantity;
                bidder.net += (1000 - price) * quantity;
            }
        }
        let asker = self.stakes.entry(ask.trader).or_default();
        match ask.gives {
            Gives::Cash => {
                asker.shares[1] += quantity;
                asker.net -= (1000 - price) * quantity;
            }
            Gives::Shares => {
                asker.shares[0] -= quantity;
                asker.net += price * quantity;
            }
        }
    }

    /// What the trader holds of an outcome.
    pub(super) fn shares(&self, trader: TraderIndex, outcome: OutcomeIndex) -> i64 {
        self.stakes.get(&trader).and_then(|stake| stake.shares.get(outcome)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_credits_and_shares_as_each_of_the_four_settlements_does() {
        let party = |trader, gives| Party { trader, gives };
        let mut expected = Expected::default();
        // A set is minted, its YES changes hands, its NO changes hands, and it is redeemed.
        expected.fill(600, 10, party(0, Gives::Cash), party(1, Gives::Cash));
        expected.fill(700, 10, party(2, Gives::Cash), party(0, Gives::Shares));
        expected.fill(750, 10, party(1, Gives::Shares), party(3, Gives::Cash));
        expected.fill(800, 10, party(3, Gives::Shares), party(2, Gives::Shares));
        let stakes: Vec<Stake> = expected.stakes.values().copied().collect();
        assert!(stakes.iter().all(|stake| stake.shares == [0, 0]));
        let net: Vec<i64> = stakes.iter().map(|stake| stake.net).collect();
        assert_eq!(net, [1000, -1500, 1000, -500]);
        assert_eq!(net.iter().sum::<i64>(), 0);
        assert_eq!((expected.volume, expected.trades, expected.last_price), (28_500, 4, Some(800)));
    }

    #[test]
    fn pays_the_winner_or_the_last_price() {
        let stake = Stake { shares: [10, 3], net: 0 };
        let expected = Expected { last_price: Some(250), ..Expected::default() };
        assert_eq!(stake.payout(expected.weights(Ending::Wins(0))), 10_000);
        assert_eq!(stake.payout(expected.weights(Ending::Wins(1))), 3_000);
        assert_eq!(stake.payout(expected.weights(Ending::Void)), 4_750);
        assert_eq!(Expected::default().weights(Ending::Void), [500, 500]);
    }
}
