//! Trades, candles and fills, as one outcome sees them: for the second of two outcomes everything
//! stands mirrored.

use bellwether_domain::ids::{MarketId, TradeId, UserId};
use bellwether_domain::market::Market;
use bellwether_domain::money::{Credits, Price, Shares};
use bellwether_domain::ports::Candle;
use bellwether_domain::trade::Trade;
use bellwether_usecases::TradePart;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::decimal::Shown;

/// A price as the outcome sees it.
pub(crate) const fn seen(price: Price, mirrored: bool) -> Price {
    if mirrored { price.complement() } else { price }
}

/// What the outcome's shares cost: the rest of the sets where it stands mirrored.
fn cost_seen(trade: &Trade, mirrored: bool) -> Credits {
    let rest = || trade.quantity.set_value().and_then(|sets| sets.minus(trade.cost));
    if mirrored { rest().unwrap_or(trade.cost) } else { trade.cost }
}

/// A trade, as everybody sees it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TradeWire<'a> {
    id: Shown<TradeId>,
    market_id: Shown<MarketId>,
    /// Its place in its market, as in the events of it.
    sequence: i64,
    outcome: Option<&'a str>,
    price: Shown<Price>,
    quantity: i64,
    cost: Shown<Credits>,
    taker_side: &'static str,
    settlement: &'static str,
    created_at: Timestamp,
}

impl<'a> TradeWire<'a> {
    /// A trade as its book's outcome sees it; the market where it is known.
    pub(crate) fn of(trade: &Trade, market: Option<&'a Market>) -> Self {
        let outcome = market.and_then(|m| m.outcomes.get(trade.outcome.index()));
        Self {
            id: Shown(trade.id),
            market_id: Shown(trade.market),
            sequence: trade.sequence,
            outcome: outcome.map(|o| o.name.as_str()),
            price: Shown(trade.price),
            quantity: trade.quantity.count(),
            cost: Shown(trade.cost),
            taker_side: trade.taker_side.as_str(),
            settlement: trade.settlement.as_str(),
            created_at: trade.created_at,
        }
    }
}

/// A trade, as who was in it sees it: with its own part, as the events tell it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct OwnTradeWire<'a> {
    #[serde(flatten)]
    trade: TradeWire<'a>,
    #[serde(flatten)]
    part: TradePart,
}

impl<'a> OwnTradeWire<'a> {
    /// A trade as that user sees it; none where it was not in it.
    pub(crate) fn of(trade: &Trade, market: Option<&'a Market>, user: UserId) -> Option<Self> {
        Some(Self { trade: TradeWire::of(trade, market), part: TradePart::of(trade, user)? })
    }
}

/// A fill of an order, as the order's outcome sees it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FillWire {
    trade_id: Shown<TradeId>,
    price: Shown<Price>,
    quantity: i64,
    cost: Shown<Credits>,
    fee: Shown<Credits>,
    counterparty: &'static str,
    settlement: &'static str,
}

impl FillWire {
    pub(crate) fn of(trade: &Trade, mirrored: bool) -> Self {
        Self {
            trade_id: Shown(trade.id),
            price: Shown(seen(trade.price, mirrored)),
            quantity: trade.quantity.count(),
            cost: Shown(cost_seen(trade, mirrored)),
            fee: Shown(trade.fee),
            counterparty: if trade.maker_order.is_some() { "book" } else { "marketMaker" },
            settlement: trade.settlement.as_str(),
        }
    }
}

/// A candle. Mirrored, the lowest price is the complement of the highest; the volume is the market's
/// either way.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct CandleWire {
    start: Timestamp,
    open: String,
    high: String,
    low: String,
    close: String,
    volume: String,
    trades: u64,
}

impl CandleWire {
    pub(crate) fn of(candle: &Candle, mirrored: bool) -> Self {
        let (high, low) = if mirrored { (candle.low, candle.high) } else { (candle.high, candle.low) };
        let shown = |price| seen(price, mirrored).to_string();
        Self {
            start: candle.start,
            open: shown(candle.open),
            high: shown(high),
            low: shown(low),
            close: shown(candle.close),
            volume: candle.volume.to_string(),
            trades: candle.trades,
        }
    }
}

/// `cost / filled` with up to six decimals, rounded half up; none where nothing was filled.
pub(crate) fn average_price(cost: Credits, filled: Shares) -> Option<String> {
    if !filled.is_positive() {
        return None;
    }
    let (cost, shares) = (i128::from(cost.mills()), i128::from(filled.count()));
    let millionths = (cost * 2000 + shares) / (shares * 2);
    let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
    let trimmed = text.trim_end_matches('0');
    // Prices have three decimals at least.
    let least = text.len() - 3;
    text.get(..trimmed.len().max(least)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use bellwether_domain::ids::OrderId;
    use bellwether_domain::market::OutcomeId;
    use bellwether_domain::order::Side;
    use bellwether_domain::trade::Settlement;
    use serde_json::{Value, json};

    use super::*;

    fn price(mills: i64) -> Price {
        Price::from_mills(mills).unwrap()
    }

    #[test]
    fn a_trade_shows_its_own_part_to_each_and_to_strangers_nothing() {
        let uuid = uuid::Uuid::from_u128;
        let trade = Trade {
            id: TradeId(uuid(10)),
            market: MarketId(uuid(11)),
            sequence: 7,
            outcome: OutcomeId::FIRST,
            price: price(500),
            quantity: Shares::new(2),
            cost: Credits::from_mills(1000),
            taker_side: Side::Buy,
            settlement: Settlement::Transfer,
            taker_order: OrderId(uuid(21)),
            taker: UserId(uuid(1)),
            maker_order: Some(OrderId(uuid(22))),
            maker: Some(UserId(uuid(2))),
            fee: Credits::from_mills(9),
            created_at: Timestamp::UNIX_EPOCH,
        };
        let public = serde_json::to_value(TradeWire::of(&trade, None)).unwrap();
        let shown = |user| OwnTradeWire::of(&trade, None, UserId(uuid(user))).map(|own| json!(own));
        let with = |part: Value| {
            let mut whole = public.clone();
            whole.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
            Some(whole)
        };
        let (taken, rested) = (OrderId(uuid(21)), OrderId(uuid(22)));
        assert_eq!(shown(1), with(json!({ "role": "taker", "orderId": taken, "fee": "0.009" })));
        assert_eq!(shown(2), with(json!({ "role": "maker", "orderId": rested })));
        assert_eq!(shown(3), None);
        assert!(["role", "orderId", "fee"].iter().all(|name| public.get(name).is_none()), "{public}");
    }

    #[test]
    fn averages_exactly_with_three_to_six_decimals() {
        let average = |cost, filled| average_price(Credits::from_mills(cost), Shares::new(filled));
        assert_eq!(average(0, 0), None);
        assert_eq!(average(500, 1).as_deref(), Some("0.500"));
        assert_eq!(average(1000, 3).as_deref(), Some("0.333333"));
        assert_eq!(average(2000, 3).as_deref(), Some("0.666667"));
        assert_eq!(average(6235, 10).as_deref(), Some("0.6235"));
        assert_eq!(average(i64::MAX, 1).as_deref(), Some("9223372036854775.807"));
    }

    #[test]
    fn mirrors_a_candle() {
        let start = Timestamp::UNIX_EPOCH;
        let volume = Credits::from_mills(5);
        let candle =
            Candle { start, open: price(300), high: price(400), low: price(200), close: price(350), volume, trades: 2 };
        let seen = CandleWire::of(&candle, true);
        assert_eq!([&seen.open, &seen.high, &seen.low, &seen.close], ["0.700", "0.800", "0.600", "0.650"]);
        let plain = CandleWire::of(&candle, false);
        assert_eq!([&plain.open, &plain.high, &plain.low, &plain.close], ["0.300", "0.400", "0.200", "0.350"]);
    }
}
