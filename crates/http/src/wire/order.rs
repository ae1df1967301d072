//! Orders as they are answered.

use bellwether_domain::ids::{MarketId, OrderGroupId, OrderId, UserId};
use bellwether_domain::market::Market;
use bellwether_domain::money::{Credits, Price};
use bellwether_domain::order::{EndReason, Order, OrderStatus, OrderType, Side};
use bellwether_usecases::Rendered;
use bellwether_usecases::trading::{Outcome, Placed, Quote};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::decimal::{Shown, mills};
use crate::envelope::error_object;
use crate::faults::Fault;
use crate::wire::position::PositionWire;
use crate::wire::trade::{FillWire, average_price};

/// The fields of an order, for `fields=`.
pub(crate) const FIELDS: &[&str] = &[
    "id",
    "marketId",
    "userId",
    "outcome",
    "side",
    "type",
    "price",
    "maxSpend",
    "backing",
    "quantity",
    "filled",
    "remaining",
    "averagePrice",
    "reserved",
    "fee",
    "timeInForce",
    "expiresAt",
    "postOnly",
    "selfTradePrevention",
    "clientOrderId",
    "orderGroupId",
    "status",
    "endReason",
    "createdAt",
    "updatedAt",
];

/// An order.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderWire<'a> {
    id: Shown<OrderId>,
    market_id: Shown<MarketId>,
    user_id: Shown<UserId>,
    outcome: Option<&'a str>,
    #[schemars(with = "Side")]
    side: &'static str,
    #[serde(rename = "type")]
    #[schemars(with = "OrderType")]
    order_type: &'static str,
    price: Option<Shown<Price>>,
    max_spend: Option<Shown<Credits>>,
    backing: &'static str,
    quantity: i64,
    filled: i64,
    remaining: i64,
    average_price: Option<String>,
    reserved: Shown<Credits>,
    fee: Shown<Credits>,
    time_in_force: &'static str,
    expires_at: Option<Timestamp>,
    post_only: bool,
    self_trade_prevention: &'static str,
    client_order_id: Option<&'a str>,
    order_group_id: Option<Shown<OrderGroupId>>,
    #[schemars(with = "OrderStatus")]
    status: &'static str,
    #[schemars(with = "Option<EndReason>")]
    end_reason: Option<&'static str>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl<'a> OrderWire<'a> {
    /// An order and the name of its outcome.
    pub(crate) fn of(order: &'a Order, outcome: Option<&'a str>) -> Self {
        Self {
            id: Shown(order.id),
            market_id: Shown(order.market),
            user_id: Shown(order.user),
            outcome,
            side: order.side.as_str(),
            order_type: order.order_type.as_str(),
            price: order.price.map(Shown),
            max_spend: order.max_spend.map(Shown),
            backing: order.backing.as_str(),
            quantity: order.quantity.count(),
            filled: order.filled.count(),
            remaining: order.remaining.count(),
            average_price: average_price(order.cost, order.filled),
            reserved: Shown(order.reserved),
            fee: Shown(order.fee),
            time_in_force: order.time_in_force.as_str(),
            expires_at: order.expires_at,
            post_only: order.post_only,
            self_trade_prevention: order.self_trade_prevention.as_str(),
            client_order_id: order.client_order_id.as_deref(),
            order_group_id: order.group.map(Shown),
            status: order.status.as_str(),
            end_reason: order.end_reason.map(|reason| reason.as_str()),
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }

    /// An order whose market was looked up.
    pub(crate) fn in_market(order: &'a Order, market: Option<&'a Market>) -> Self {
        let outcome = market.and_then(|m| m.outcomes.get(order.outcome.index()));
        Self::of(order, outcome.map(|o| o.name.as_str()))
    }

    /// An order that a command left behind.
    pub(crate) fn placed(placed: &'a Placed) -> Self {
        Self::of(&placed.order, Some(&placed.outcome))
    }
}

/// What a command came to: the order and its fills.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PlacedWire<'a> {
    order: OrderWire<'a>,
    fills: Vec<FillWire>,
}

impl<'a> PlacedWire<'a> {
    pub(crate) fn of(placed: &'a Placed) -> Self {
        let fills = placed.fills.iter().map(|fill| FillWire::of(fill, placed.mirrored)).collect();
        Self { order: OrderWire::placed(placed), fills }
    }
}

/// What an order would do.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QuoteWire<'a> {
    #[serde(flatten)]
    placed: PlacedWire<'a>,
    /// What would be available of the account then: its balance without what is held.
    balance_after: Shown<Credits>,
    position_after: PositionWire<'a>,
    price_after: Option<Shown<Credits>>,
}

impl<'a> QuoteWire<'a> {
    pub(crate) fn of(quote: &'a Quote) -> Self {
        Self {
            placed: PlacedWire::of(&quote.placed),
            balance_after: Shown(quote.balance_after),
            position_after: PositionWire::of(&quote.position_after, &quote.market),
            price_after: quote.price_after.map(mills),
        }
    }
}

/// The answer to a single order. Only called where it was accepted.
pub(crate) fn render_placed(outcomes: &[Outcome]) -> Rendered {
    match outcomes.first() {
        Some(Ok(placed)) => super::created(&PlacedWire::of(placed), format!("/api/v1/orders/{}", placed.order.id)),
        _ => Rendered { status: 500, location: None, body: "null".to_owned() },
    }
}

/// One item of a batch's answer: what a request of its own would have been answered.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum BatchItem<'a> {
    Accepted {
        status: u16,
        #[serde(flatten)]
        placed: Box<PlacedWire<'a>>,
    },
    Refused {
        status: u16,
        error: Value,
    },
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct BatchWire<'a> {
    accepted: usize,
    refused: usize,
    results: Vec<BatchItem<'a>>,
}

/// The answer to a batch: 200 with a result for each order, in their order.
pub(crate) fn render_batch(outcomes: &[Outcome]) -> Rendered {
    let results: Vec<BatchItem<'_>> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(placed) => BatchItem::Accepted { status: 201, placed: Box::new(PlacedWire::of(placed)) },
            Err(refusal) => {
                let fault = Fault::from(refusal.clone());
                BatchItem::Refused { status: fault.status().as_u16(), error: error_object(&fault) }
            }
        })
        .collect();
    let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let wire = BatchWire { accepted, refused: outcomes.len() - accepted, results };
    Rendered { status: 200, location: None, ..super::created(&wire, String::new()) }
}

/// The orders that were cancelled at once.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CancelledWire<'a> {
    cancelled: usize,
    orders: Vec<OrderWire<'a>>,
}

impl<'a> CancelledWire<'a> {
    pub(crate) fn of(cancelled: &'a [Placed]) -> Self {
        Self { cancelled: cancelled.len(), orders: cancelled.iter().map(OrderWire::placed).collect() }
    }
}
