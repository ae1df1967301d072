//! What is told of an event to whom: to those who follow it live, and to their webhooks; and of a trade to who traded.

use bellwether_domain::event::{Event, TradeData};
use bellwether_domain::ids::{MarketId, OrderId, TradeId, UserId};
use bellwether_domain::money::{Credits, Price, Shares};
use bellwether_domain::order::Side;
use bellwether_domain::trade::{Settlement, Trade};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

/// A trade as one reader sees it: everybody what was traded; who traded, its own part in it besides, and nothing of
/// the other's.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TradeView<'a> {
    trade_id: TradeId,
    market_id: MarketId,
    sequence: i64,
    outcome: &'a str,
    price: Price,
    quantity: Shares,
    cost: Credits,
    taker_side: Side,
    settlement: Settlement,
    #[serde(flatten)]
    part: Option<TradePart>,
}

/// A reader's part in a trade. Who was on both sides of it is told of the taker's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Part")]
pub struct TradePart {
    role: Role,
    /// Its order.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<OrderId>,
    /// What it paid for trading. Takers do.
    #[serde(skip_serializing_if = "Option::is_none")]
    fee: Option<Credits>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "TradeRole")]
enum Role {
    Taker,
    Maker,
}

impl<'a> TradeView<'a> {
    /// As that reader sees it; none for everybody.
    pub(crate) fn of(trade: &'a TradeData, reader: Option<UserId>) -> Self {
        let part = reader.and_then(|reader| TradePart::told(trade, reader));
        Self {
            trade_id: trade.trade_id,
            market_id: trade.market_id,
            sequence: trade.sequence,
            outcome: &trade.outcome,
            price: trade.price,
            quantity: trade.quantity,
            cost: trade.cost,
            taker_side: trade.taker_side,
            settlement: trade.settlement,
            part,
        }
    }
}

impl TradePart {
    /// The reader's part in a trade, if it was in it.
    #[must_use]
    pub fn of(trade: &Trade, reader: UserId) -> Option<Self> {
        if trade.taker == reader {
            return Some(Self::taken(trade.taker_order, trade.fee));
        }
        (trade.maker == Some(reader)).then_some(Self::made(trade.maker_order))
    }

    /// The same of a trade as it is told.
    fn told(trade: &TradeData, reader: UserId) -> Option<Self> {
        if trade.taker_id == reader {
            return Some(Self::taken(trade.taker_order_id, trade.fee));
        }
        (trade.maker_id == Some(reader)).then_some(Self::made(trade.maker_order_id))
    }

    const fn taken(order: OrderId, fee: Credits) -> Self {
        Self { role: Role::Taker, order_id: Some(order), fee: Some(fee) }
    }

    const fn made(order: Option<OrderId>) -> Self {
        Self { role: Role::Maker, order_id: order, fee: None }
    }
}

/// The data of an event as that reader sees them; none for everybody. Whether it may see the event at all is asked
/// before.
pub(crate) fn data_for(event: &Event, reader: Option<UserId>) -> Value {
    if let Event::TradeExecuted(trade) = event {
        return json!(TradeView::of(trade, reader));
    }
    // As it is kept it is `{"type": ..., "data": ...}`.
    let mut whole = json!(event);
    whole.get_mut("data").map(Value::take).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use uuid::Uuid;

    use super::*;

    /// The first user takes what the second one's order gives, for a fee.
    pub(crate) fn a_trade() -> TradeData {
        let uuid = Uuid::from_u128;
        TradeData {
            trade_id: TradeId(uuid(10)),
            market_id: MarketId(uuid(11)),
            sequence: 7,
            outcome: "YES".to_owned(),
            price: Price::from_mills(500).unwrap(),
            quantity: Shares::new(2),
            cost: Credits::from_mills(1000),
            fee: Credits::from_mills(9),
            taker_side: Side::Buy,
            settlement: Settlement::Transfer,
            taker_order_id: OrderId(uuid(21)),
            taker_id: UserId(uuid(1)),
            maker_order_id: Some(OrderId(uuid(22))),
            maker_id: Some(UserId(uuid(2))),
        }
    }

    /// Threat 13.
    #[test]
    fn of_a_trade_each_is_told_its_own_part_and_strangers_neither_it_nor_the_fee() {
        let event = Event::TradeExecuted(Box::new(a_trade()));
        let told = |n| data_for(&event, Some(UserId(Uuid::from_u128(n))));
        let stranger = data_for(&event, None);
        assert_eq!(
            stranger,
            json!({
                "tradeId": TradeId(Uuid::from_u128(10)), "marketId": MarketId(Uuid::from_u128(11)), "sequence": 7,
                "outcome": "YES", "price": "0.500", "quantity": 2, "cost": "1.000", "takerSide": "buy",
                "settlement": "transfer",
            })
        );
        assert_eq!(told(3), stranger);
        let with = |part: Value| {
            let mut whole = stranger.clone();
            whole.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
            whole
        };
        let (taken, rested) = (OrderId(Uuid::from_u128(21)), OrderId(Uuid::from_u128(22)));
        assert_eq!(told(1), with(json!({ "role": "taker", "orderId": taken, "fee": "0.009" })));
        assert_eq!(told(2), with(json!({ "role": "maker", "orderId": rested })));
    }
}
