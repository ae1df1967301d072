//! Trades: the fills, as they are kept for ever.

use jiff::Timestamp;

use crate::ids::{MarketId, OrderId, TradeId, UserId};
use crate::market::OutcomeId;
use crate::money::{Credits, Price, Shares};
use crate::order::Side;

/// Which of the four ways a match settled; the names in the API are `transfer`, `mint`, `redeem`, `rest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// Cash against shares: the shares change hands.
    Transfer,
    /// Cash against cash: a new set is paid for by both and split between them.
    Mint,
    /// The rest of a set against shares: the set is destroyed and its credit split.
    Redeem,
    /// The rest of a set against cash: the rest changes hands.
    Rest,
}

impl Settlement {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Transfer, Self::Mint, Self::Redeem, Self::Rest];

    /// The name in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Mint => "mint",
            Self::Redeem => "redeem",
            Self::Rest => "rest",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

/// One fill. Price, cost and side are those of the book's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trade {
    /// Its id.
    pub id: TradeId,
    /// The market.
    pub market: MarketId,
    /// Its place among the events of its market.
    pub sequence: i64,
    /// The book's outcome.
    pub outcome: OutcomeId,
    /// The price; against the market maker, the average, rounded to the nearest mill.
    pub price: Price,
    /// How many shares, above zero.
    pub quantity: Shares,
    /// Exactly what they cost in mills: `price x quantity` against a resting order.
    pub cost: Credits,
    /// The side that took.
    pub taker_side: Side,
    /// How it settled.
    pub settlement: Settlement,
    /// The order that took. (A resting order that the market maker's price came to fills as its taker, without a fee.)
    pub taker_order: OrderId,
    /// Whose that is.
    pub taker: UserId,
    /// The order that rested; none where the market maker was the other side.
    pub maker_order: Option<OrderId>,
    /// Whose that is.
    pub maker: Option<UserId>,
    /// The taker's fee, in mills.
    pub fee: Credits,
    /// When.
    pub created_at: Timestamp,
}
