//! How well users have traded: sums that are kept of the markets that have paid, so that nobody has to add up
//! every trade again.
//!
//! A market is counted once it has paid everybody, when nothing of it changes any more: first its trades, a
//! bounded number at a time, into figures for each of its users; then its positions, user by user, each of which
//! adds its profit and those figures to what is kept of its user. [`Counting`] says how far that is, and is
//! written with what was added: so whatever is interrupted goes on where it was, and nothing counts twice.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::ids::{MarketId, TradeId, UserId};
use crate::market::{Market, MarketStatus};
use crate::money::{Credits, Overflow};
use crate::text::DisplayName;
use crate::trade::Trade;

/// Who has taken shares in fewer markets that were resolved is not ranked by them: one lucky share is no forecast.
pub const LEAST_JUDGED: i64 = 5;

/// Sums over trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Fills; one with oneself is one.
    pub trades: i64,
    /// What their shares cost, in mills.
    pub volume: Credits,
    /// How many shares were taken in markets that were resolved, not voided.
    pub judged_shares: i64,
    /// The sum over these of (price − weight)², both in mills.
    pub missed: i64,
}

impl Figures {
    /// Both together.
    pub fn plus(self, other: Self) -> Result<Self, Overflow> {
        Ok(Self {
            trades: self.trades.checked_add(other.trades).ok_or(Overflow)?,
            volume: self.volume.plus(other.volume)?,
            judged_shares: self.judged_shares.checked_add(other.judged_shares).ok_or(Overflow)?,
            missed: self.missed.checked_add(other.missed).ok_or(Overflow)?,
        })
    }
}

/// Sums over trades of a user in a market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarketScore {
    /// The market.
    pub market: MarketId,
    /// The user.
    pub user: UserId,
    /// The sums.
    pub figures: Figures,
}

/// Sums over the markets of a user that have paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// The user.
    pub user: UserId,
    /// Over its trades in them.
    pub figures: Figures,
    /// What it received less what it spent, in mills.
    pub profit: Credits,
    /// How many markets.
    pub markets: i64,
    /// In how many of them, resolved and not voided, it took shares.
    pub judged_markets: i64,
}

/// What a position in a market that has paid came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaidPosition {
    /// Whose it is.
    pub user: UserId,
    /// Everything paid for shares, in mills.
    pub spent: Credits,
    /// Everything got for shares, the payout included, in mills.
    pub received: Credits,
    /// What is kept of its user's trades in the market.
    pub figures: Figures,
}

impl PaidPosition {
    /// What it adds to the score of its user.
    pub fn score(&self) -> Result<Score, Overflow> {
        Ok(Score {
            user: self.user,
            figures: self.figures,
            profit: self.received.minus(self.spent)?,
            markets: 1,
            judged_markets: i64::from(self.figures.judged_shares > 0),
        })
    }
}

/// How far the counting of a market is that has paid everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counting {
    /// The market.
    pub market: MarketId,
    /// Its trades up to this one are counted, in the order of time and id; none before the first.
    pub last_trade: Option<(Timestamp, TradeId)>,
    /// The positions of users up to this id are counted; nil before the first.
    pub users_through: UserId,
    /// Whether everything is.
    pub is_done: bool,
}

impl Counting {
    /// Nothing is counted yet.
    #[must_use]
    pub const fn of(market: MarketId) -> Self {
        Self { market, last_trade: None, users_through: UserId(uuid::Uuid::nil()), is_done: false }
    }
}

/// What some trades of a decided market add to the figures of their users, by user.
pub fn of_trades(market: &Market, trades: &[Trade]) -> Result<Vec<MarketScore>, Overflow> {
    let mut sums: BTreeMap<UserId, Figures> = BTreeMap::new();
    for trade in trades {
        let both = Figures { trades: 1, volume: trade.cost, ..Figures::default() };
        let taken = judged(market, trade)?;
        let of_taker = Figures { judged_shares: taken.judged_shares, missed: taken.missed, ..both };
        let sum = sums.entry(trade.taker).or_default();
        *sum = sum.plus(of_taker)?;
        if let Some(maker) = trade.maker.filter(|maker| *maker != trade.taker) {
            let sum = sums.entry(maker).or_default();
            *sum = sum.plus(both)?;
        }
    }
    Ok(sums.into_iter().map(|(user, figures)| MarketScore { market: market.id, user, figures }).collect())
}

/// How far the price was from what came of it, for each of the shares of a trade.
fn judged(market: &Market, trade: &Trade) -> Result<Figures, Overflow> {
    let resolution = market.resolution.as_ref().filter(|_| market.status == MarketStatus::Resolved);
    let weight = resolution.and_then(|resolution| resolution.weights.as_slice().get(trade.outcome.index()));
    let Some(weight) = weight else { return Ok(Figures::default()) };
    let (shares, miss) = (trade.quantity.count(), trade.price.mills() - i64::from(*weight));
    let missed = shares.checked_mul(miss * miss).ok_or(Overflow)?;
    Ok(Figures { judged_shares: shares, missed, ..Figures::default() })
}

/// A place on a leaderboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The name that others see.
    pub display_name: DisplayName,
    /// The sums.
    pub score: Score,
    /// The mean of (price − weight)² over the shares that were judged, in millionths, rounded; none where there are none.
    pub brier: Option<i64>,
}
