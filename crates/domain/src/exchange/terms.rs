//! What the terms of an order and of an amendment come to.

use jiff::Timestamp;

use super::plan::Incoming;
use crate::ids::{AccountId, OrderId};
use crate::market::{Market, OutcomeId};
use crate::money::{Credits, FeeRate, Price, Shares};
use crate::order::{
    AmendOrder, Backing, Life, MarketBound, Order, OrderStatus, OrderType, OutcomeSpec, PlaceOrder, Side, Terms,
    TimeInForce, book_price, book_side,
};
use crate::refusal::Refusal;

/// The order's row before anything is filled, and what matching needs of it.
pub(super) fn new_order(
    command: &PlaceOrder,
    market: &Market,
    id: OrderId,
    sequence: i64,
    now: Timestamp,
) -> Result<(Order, Incoming), Refusal> {
    let outcome = find_outcome(&command.outcome, market)?;
    let is_binary = market.is_binary();
    let (book, side) = book_side(outcome, command.side, is_binary);
    let backing = command.backing.unwrap_or(match command.side {
        Side::Buy => Backing::Cash,
        Side::Sell => Backing::Shares,
    });
    let parts = TermParts::of(command.terms, now)?;
    if parts.max_spend.is_some() && backing == Backing::Shares {
        return Err(Refusal::SpendWithoutCash);
    }
    let anything = match command.side {
        Side::Buy => Price::MAX,
        Side::Sell => Price::MIN,
    };
    let quantity = parts.quantity.unwrap_or(Shares::MAX_ORDER);
    let order = Order {
        id,
        market: market.id,
        user: command.user,
        outcome,
        side: command.side,
        order_type: parts.order_type,
        price: parts.price,
        max_spend: parts.max_spend,
        backing,
        quantity,
        filled: Shares::ZERO,
        remaining: Shares::ZERO,
        reserved: Credits::ZERO,
        cost: Credits::ZERO,
        fee: Credits::ZERO,
        time_in_force: parts.time_in_force,
        expires_at: parts.expires_at,
        post_only: parts.post_only,
        self_trade_prevention: command.self_trade_prevention,
        client_order_id: command.client_order_id.clone(),
        counted_by: None,
        status: OrderStatus::Open,
        end_reason: None,
        book,
        book_side: side,
        book_price: parts.price.map(|p| book_price(outcome, p, is_binary)),
        sequence,
        created_at: now,
        updated_at: now,
        placed_by: command.placed_by,
        group: command.group,
    };
    // Nobody pays a fee to himself, so none need be left of the budget for it.
    let pays_himself = market.fee_account() == AccountId::of_user(command.user);
    let incoming = Incoming {
        user: command.user,
        book,
        side,
        backing,
        limit: book_price(outcome, parts.price.unwrap_or(anything), is_binary),
        quantity,
        budget: parts.max_spend,
        self_trade_prevention: command.self_trade_prevention,
        fee_rate: if pays_himself { FeeRate::ZERO } else { market.fee_rate },
        group: command.group,
    };
    Ok((order, incoming))
}

pub(super) fn find_outcome(spec: &OutcomeSpec, market: &Market) -> Result<OutcomeId, Refusal> {
    let found = match spec {
        OutcomeSpec::Name(name) => market.outcome_named(name),
        OutcomeSpec::Id(id) => Some(*id).filter(|id| id.index() < market.outcomes.len()),
    };
    found.ok_or_else(|| {
        let name = match spec {
            OutcomeSpec::Name(name) => name.clone(),
            OutcomeSpec::Id(id) => id.index().to_string(),
        };
        let known: Vec<&str> = market.outcomes.iter().map(|o| o.name.as_str()).collect();
        Refusal::OutcomeNotFound { name, known: known.join(", ") }
    })
}

/// The columns that an order's terms come to.
struct TermParts {
    order_type: OrderType,
    price: Option<Price>,
    quantity: Option<Shares>,
    max_spend: Option<Credits>,
    time_in_force: TimeInForce,
    expires_at: Option<Timestamp>,
    post_only: bool,
}

impl TermParts {
    fn of(terms: Terms, now: Timestamp) -> Result<Self, Refusal> {
        match terms {
            Terms::Limit { price, quantity, life, post_only } => {
                let (time_in_force, expires_at) = match life {
                    Life::UntilCancelled => (TimeInForce::Gtc, None),
                    Life::Until(at) if at <= now => return Err(Refusal::ExpiryInThePast),
                    Life::Until(at) => (TimeInForce::Gtd, Some(at)),
                    Life::ImmediateOrCancel => (TimeInForce::Ioc, None),
                    Life::FillOrKill => (TimeInForce::Fok, None),
                };
                let (order_type, price, quantity) = (OrderType::Limit, Some(price), Some(quantity));
                Ok(Self { order_type, price, quantity, max_spend: None, time_in_force, expires_at, post_only })
            }
            Terms::Market { bound, fill_or_kill } => {
                let time_in_force = if fill_or_kill { TimeInForce::Fok } else { TimeInForce::Ioc };
                let (price, quantity, max_spend) = match bound {
                    MarketBound::Worst { quantity, price } => (Some(price), Some(quantity), None),
                    MarketBound::Spend { max_spend, quantity, price } => (price, quantity, Some(max_spend)),
                };
                let order_type = OrderType::Market;
                Ok(Self { order_type, price, quantity, max_spend, time_in_force, expires_at: None, post_only: false })
            }
        }
    }
}

/// What an amendment comes to.
pub(super) struct Amended {
    pub(super) price: Price,
    pub(super) quantity: Shares,
    pub(super) expires_at: Option<Timestamp>,
    /// Whether only the quantity shrinks (or the date moves), so that priority is kept.
    pub(super) keeps_its_place: bool,
    /// How many resting shares are taken off then.
    pub(super) taken_off: Shares,
}

impl Amended {
    pub(super) fn of(old: &Order, command: &AmendOrder, now: Timestamp) -> Result<Self, Refusal> {
        let old_price = old.price.ok_or(Refusal::BadAmendment("only limit orders can be amended"))?;
        let (price, quantity) =
            (command.price.unwrap_or(old_price), command.quantity.unwrap_or(old.filled.plus(old.remaining)?));
        if command.price.is_none() && command.quantity.is_none() && command.expires_at.is_none() {
            return Err(Refusal::BadAmendment("the amendment names neither price, quantity nor expiresAt"));
        }
        if command.expires_at.is_some() && old.time_in_force != TimeInForce::Gtd {
            return Err(Refusal::BadAmendment("only a good-till-date order has an expiry to amend"));
        }
        if command.expires_at.is_some_and(|at| at <= now) {
            return Err(Refusal::ExpiryInThePast);
        }
        if quantity <= old.filled {
            return Err(Refusal::QuantityBelowFilled { filled: old.filled });
        }
        let resting = old.filled.plus(old.remaining)?;
        let keeps_its_place = price == old_price && quantity <= resting;
        let taken_off = if keeps_its_place { resting.minus(quantity)? } else { Shares::ZERO };
        Ok(Self { price, quantity, expires_at: command.expires_at.or(old.expires_at), keeps_its_place, taken_off })
    }
}
