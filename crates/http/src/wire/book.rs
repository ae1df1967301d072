//! A book, as one outcome sees it.

use bellwether_domain::ids::MarketId;
use bellwether_domain::order::Side;
use bellwether_domain::ports::BookLevel;
use schemars::JsonSchema;
use serde::Serialize;

use crate::decimal::Shown;
use crate::wire::trade::seen;

/// One price of one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct LevelWire {
    price: String,
    quantity: i64,
    orders: u64,
}

/// A book. Both sides begin with their best price.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BookWire<'a> {
    market_id: Shown<MarketId>,
    outcome: &'a str,
    bids: Vec<LevelWire>,
    asks: Vec<LevelWire>,
    sequence: i64,
    checksum: u32,
}

impl<'a> BookWire<'a> {
    pub(crate) fn of(market: MarketId, outcome: &'a str, levels: &[BookLevel], mirrored: bool, sequence: i64) -> Self {
        let side_of = |level: &BookLevel| if mirrored { level.side.opposite() } else { level.side };
        let side = |side: Side| -> Vec<LevelWire> {
            let shown = levels.iter().filter(|level| side_of(level) == side);
            shown
                .map(|l| LevelWire {
                    price: seen(l.price, mirrored).to_string(),
                    quantity: l.quantity.count(),
                    orders: l.orders,
                })
                .collect()
        };
        let (bids, asks) = (side(Side::Buy), side(Side::Sell));
        let checksum = checksum(&bids, &asks);
        Self { market_id: Shown(market), outcome, bids, asks, sequence, checksum }
    }
}

/// CRC-32 (IEEE) over the levels in the order in which they are answered, bids first, each as
/// `side:price:quantity;` with the side `bid` or `ask` and the price as it is answered.
fn checksum(bids: &[LevelWire], asks: &[LevelWire]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for (side, levels) in [("bid", bids), ("ask", asks)] {
        for level in levels {
            hasher.update(format!("{side}:{}:{};", level.price, level.quantity).as_bytes());
        }
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use bellwether_domain::market::OutcomeId;
    use bellwether_domain::money::{Price, Shares};
    use uuid::Uuid;

    use super::*;

    fn level(side: Side, mills: i64, quantity: i64) -> BookLevel {
        let price = Price::from_mills(mills).unwrap();
        BookLevel { book: OutcomeId::FIRST, side, price, quantity: Shares::new(quantity), orders: 1 }
    }

    #[test]
    fn mirrors_the_book_of_the_second_outcome() {
        let levels = [level(Side::Buy, 400, 5), level(Side::Buy, 300, 6), level(Side::Sell, 450, 7)];
        let id = MarketId(Uuid::nil());
        let prices = |levels: &[LevelWire]| levels.iter().map(|l| (l.price.clone(), l.quantity)).collect::<Vec<_>>();
        let yes = BookWire::of(id, "YES", &levels, false, 9);
        assert_eq!(prices(&yes.bids), [("0.400".into(), 5), ("0.300".into(), 6)]);
        assert_eq!(prices(&yes.asks), [("0.450".into(), 7)]);
        let no = BookWire::of(id, "NO", &levels, true, 9);
        assert_eq!(prices(&no.bids), [("0.550".into(), 7)]);
        assert_eq!(prices(&no.asks), [("0.600".into(), 5), ("0.700".into(), 6)]);
        assert_ne!(yes.checksum, no.checksum);
    }

    #[test]
    fn sums_the_levels_as_documented() {
        let book = BookWire::of(
            MarketId(Uuid::nil()),
            "YES",
            &[level(Side::Buy, 400, 5), level(Side::Sell, 450, 7)],
            false,
            1,
        );
        assert_eq!(book.checksum, crc32fast::hash(b"bid:0.400:5;ask:0.450:7;"));
    }
}
