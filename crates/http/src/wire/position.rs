//! Positions.

use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::market::Market;
use bellwether_domain::money::Credits;
use bellwether_domain::position::Position;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::decimal::Shown;

/// A user's position in a market.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PositionWire<'a> {
    market_id: Shown<MarketId>,
    user_id: Shown<UserId>,
    market_status: &'static str,
    holdings: Vec<HoldingWire<'a>>,
    spent: Shown<Credits>,
    received: Shown<Credits>,
    value: Option<Shown<Credits>>,
    profit: Option<Shown<Credits>>,
    settled_at: Option<Timestamp>,
}

/// Shares of one outcome.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct HoldingWire<'a> {
    market_id: Shown<MarketId>,
    outcome: &'a str,
    quantity: i64,
    held: i64,
    value: Option<Shown<Credits>>,
}

impl<'a> PositionWire<'a> {
    /// A position valued at the market's prices, or at what it pays once that is decided. What was
    /// paid already counts as received, so it adds nothing to the profit a second time.
    pub(crate) fn of(position: &Position, market: &'a Market) -> Self {
        let prices: Vec<Option<u16>> = match &market.resolution {
            Some(resolution) => resolution.weights.as_slice().iter().copied().map(Some).collect(),
            None => market.prices(),
        };
        let worth = |quantity: i64, price: Option<u16>| {
            quantity.checked_mul(i64::from(price.unwrap_or(0))).map(Credits::from_mills).map(Shown)
        };
        let holdings =
            market.outcomes.iter().zip(&position.holdings).enumerate().map(|(index, (outcome, holding))| HoldingWire {
                market_id: Shown(market.id),
                outcome: &outcome.name,
                quantity: holding.quantity.count(),
                held: holding.held.count(),
                value: worth(holding.quantity.count(), prices.get(index).copied().flatten()),
            });
        let value = position.value(&prices);
        let profit = match position.settled_at {
            Some(_) => position.received.minus(position.spent),
            None => position.profit(&prices),
        };
        Self {
            market_id: Shown(market.id),
            user_id: Shown(position.user),
            market_status: market.status.as_str(),
            holdings: holdings.collect(),
            spent: Shown(position.spent),
            received: Shown(position.received),
            value: value.ok().map(Shown),
            profit: profit.ok().map(Shown),
            settled_at: position.settled_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use bellwether_domain::market::{OutcomeId, Resolution, Weights};
    use bellwether_domain::money::{Price, Shares};
    use serde_json::json;

    use super::*;
    use crate::wire::market::tests::sample;

    #[test]
    fn counts_a_payout_once() {
        let mut market = sample(&["YES", "NO"]);
        market.outcomes[0].last_price = Price::from_mills(400);
        let mut position = Position::empty(market.creator, market.id, 2);
        position.holdings[0].quantity = Shares::new(10);
        position.spent = Credits::from_mills(3_000);
        let shown = |position: &Position, market: &Market| {
            let wire = serde_json::to_value(PositionWire::of(position, market)).unwrap();
            (wire["value"].clone(), wire["profit"].clone())
        };
        assert_eq!(shown(&position, &market), (json!("4.000"), json!("1.000")));
        let weights = Weights::winner(OutcomeId::FIRST, 2);
        market.resolution =
            Some(Resolution { weights, decided_by: None, decided_at: Timestamp::UNIX_EPOCH, reason: None });
        assert_eq!(shown(&position, &market), (json!("10.000"), json!("7.000")));
        position.received = Credits::from_mills(10_000);
        position.settled_at = Some(Timestamp::UNIX_EPOCH);
        assert_eq!(shown(&position, &market), (json!("10.000"), json!("7.000")));
    }
}
