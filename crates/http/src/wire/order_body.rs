//! Bodies about orders, read into commands. Faults of one field are named by it; a combination
//! that means nothing is named by the field that does not belong.

use bellwether_domain::cancel_switch::Sender;
use bellwether_domain::ids::{MarketId, OrderGroupId, OrderId, UserId};
use bellwether_domain::market::OUTCOME_NAME;
use bellwether_domain::money::{Credits, Price, Shares};
use bellwether_domain::order::{
    AmendOrder, Backing, Life, MarketBound, OrderType, OutcomeSpec, PlaceOrder, SelfTradePrevention, Side, Terms,
    TimeInForce,
};
use bellwether_domain::text::Lines;
use bellwether_usecases::markets::OpeningOrder;
use jiff::Timestamp;

use crate::fields::{Fields, Node};

/// The most orders of a batch.
pub(crate) const BATCH: usize = 50;
const CLIENT_ORDER_ID: usize = 64;

/// Reads an order that somebody sends.
pub(crate) fn place_order(fields: &Fields<'_>, sender: Sender) -> Option<PlaceOrder> {
    let market = fields.required("marketId", Node::id).map(MarketId);
    let valid_until = fields.optional("validUntil", Node::time);
    let reduce_only = fields.or("reduceOnly", false, Node::boolean);
    let group = fields.optional("orderGroupId", Node::id);
    let OpeningOrder { outcome, side, terms, backing, self_trade_prevention, client_order_id } = opening_order(fields)?;
    Some(PlaceOrder {
        market: market?,
        user: sender.user,
        outcome: OutcomeSpec::Name(outcome),
        side,
        terms,
        backing,
        self_trade_prevention,
        client_order_id,
        valid_until: valid_until?,
        reduce_only: reduce_only?,
        placed_by: sender.key,
        group: group?.map(OrderGroupId),
    })
}

/// Reads `orders`.
pub(crate) fn batch(fields: &Fields<'_>, sender: Sender) -> Option<Vec<PlaceOrder>> {
    fields.required("orders", |n| n.list(1, BATCH, |item| item.object(|order| place_order(order, sender))))
}

/// Reads an order of a market that is known already.
pub(crate) fn opening_order(fields: &Fields<'_>) -> Option<OpeningOrder> {
    let outcome = fields.required("outcome", |n| n.text(Lines::One, 1, OUTCOME_NAME));
    let side = fields.required("side", |n| n.one_of(Side::ALL, Side::as_str));
    let terms = terms(fields);
    let backing = fields.optional("backing", |n| n.one_of(Backing::ALL, Backing::as_str));
    let self_trade_prevention = fields.or("selfTradePrevention", SelfTradePrevention::CancelNewest, |n| {
        n.one_of(SelfTradePrevention::ALL, SelfTradePrevention::as_str)
    });
    let client_order_id = fields.optional("clientOrderId", client_order_id);
    Some(OpeningOrder {
        outcome: outcome?,
        side: side?,
        terms: terms?,
        backing: backing?,
        self_trade_prevention: self_trade_prevention?,
        client_order_id: client_order_id?,
    })
}

/// The owner's own id of an order.
pub(crate) fn client_order_id(node: &Node<'_>) -> Option<String> {
    let text = node.string()?;
    let is_good = (1..=CLIENT_ORDER_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if is_good {
        Some(text.to_owned())
    } else {
        node.fail("invalid", "must be 1 to 64 printable ASCII characters without blanks")
    }
}

/// What is said about price, quantity and life: `None` where it could not be read, and that is
/// noted; `Some(None)` where nothing is said.
struct Said {
    price: Option<Option<Price>>,
    quantity: Option<Option<Shares>>,
    max_spend: Option<Option<Credits>>,
    time_in_force: Option<Option<TimeInForce>>,
    expires_at: Option<Option<Timestamp>>,
    post_only: Option<Option<bool>>,
}

/// Whether something is said, readable or not.
const fn is_said<T>(said: &Option<Option<T>>) -> bool {
    !matches!(said, Some(None))
}

fn terms(fields: &Fields<'_>) -> Option<Terms> {
    let order_type = fields.required("type", |n| n.one_of(OrderType::ALL, OrderType::as_str));
    let said = Said {
        price: fields.optional("price", Node::price),
        quantity: fields.optional("quantity", Node::shares),
        max_spend: fields.optional("maxSpend", Node::amount),
        time_in_force: fields.optional("timeInForce", |n| n.one_of(TimeInForce::ALL, TimeInForce::as_str)),
        expires_at: fields.optional("expiresAt", Node::time),
        post_only: fields.optional("postOnly", Node::boolean),
    };
    match order_type? {
        OrderType::Limit => limit(fields, &said),
        OrderType::Market => market(fields, &said),
    }
}

/// A value that an order of this sort must have.
fn needed<T>(fields: &Fields<'_>, name: &str, said: Option<Option<T>>, hint: &str) -> Option<T> {
    said?.or_else(|| fields.fail(name, "required", hint))
}

fn limit(fields: &Fields<'_>, said: &Said) -> Option<Terms> {
    let price = needed(fields, "price", said.price, "is required for a limit order");
    let quantity = needed(fields, "quantity", said.quantity, "is required for a limit order");
    if is_said(&said.max_spend) {
        fields.fail::<()>(
            "maxSpend",
            "conflict",
            "is for market orders; a limit order spends at most price x quantity",
        );
    }
    let life = life(fields, said);
    if said.post_only == Some(Some(true)) && matches!(life, Some(Life::ImmediateOrCancel | Life::FillOrKill)) {
        fields.fail::<()>("postOnly", "conflict", "is for orders that may rest: gtc or gtd");
    }
    Some(Terms::Limit { price: price?, quantity: quantity?, life: life?, post_only: said.post_only?.unwrap_or(false) })
}

fn life(fields: &Fields<'_>, said: &Said) -> Option<Life> {
    let time_in_force = said.time_in_force?.unwrap_or(TimeInForce::Gtc);
    if time_in_force == TimeInForce::Gtd {
        return needed(fields, "expiresAt", said.expires_at, "is required for gtd").map(Life::Until);
    }
    if is_said(&said.expires_at) {
        return fields.fail("expiresAt", "conflict", "is for gtd orders");
    }
    Some(match time_in_force {
        TimeInForce::Ioc => Life::ImmediateOrCancel,
        TimeInForce::Fok => Life::FillOrKill,
        TimeInForce::Gtc | TimeInForce::Gtd => Life::UntilCancelled,
    })
}

fn market(fields: &Fields<'_>, said: &Said) -> Option<Terms> {
    const NEVER_RESTS: &str = "is for limit orders; a market order never rests";
    if is_said(&said.expires_at) {
        fields.fail::<()>("expiresAt", "conflict", NEVER_RESTS);
    }
    if said.post_only == Some(Some(true)) {
        fields.fail::<()>("postOnly", "conflict", NEVER_RESTS);
    }
    let fill_or_kill = said.time_in_force.and_then(|time_in_force| match time_in_force.unwrap_or(TimeInForce::Ioc) {
        TimeInForce::Ioc => Some(false),
        TimeInForce::Fok => Some(true),
        _ => fields.fail("timeInForce", "conflict", "must be ioc or fok for a market order, which never rests"),
    });
    let bound = market_bound(fields, said);
    said.post_only?;
    Some(Terms::Market { bound: bound?, fill_or_kill: fill_or_kill? })
}

fn market_bound(fields: &Fields<'_>, said: &Said) -> Option<MarketBound> {
    if let Some(max_spend) = said.max_spend? {
        return Some(MarketBound::Spend { max_spend, quantity: said.quantity?, price: said.price? });
    }
    let hint = "is required for a market order without maxSpend";
    let price = needed(fields, "price", said.price, hint);
    let quantity = needed(fields, "quantity", said.quantity, hint);
    Some(MarketBound::Worst { quantity: quantity?, price: price? })
}

/// Reads a change of an order.
pub(crate) fn amend_order(fields: &Fields<'_>, order: OrderId, user: UserId) -> Option<AmendOrder> {
    let price = fields.kept("price", Node::price);
    let quantity = fields.kept("quantity", Node::shares);
    let expires_at = fields.kept("expiresAt", Node::time);
    let (price, quantity, expires_at) = (price?, quantity?, expires_at?);
    if price.is_none() && quantity.is_none() && expires_at.is_none() {
        return fields.fail("price", "required", "or quantity or expiresAt is required: nothing would change");
    }
    Some(AmendOrder { order, user, price, quantity, expires_at })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::faults::Fault;
    use crate::fields::{Place, read};
    use crate::json::parse;

    const USER: UserId = UserId(Uuid::nil());
    const SENDER: Sender = Sender { user: USER, key: None };

    fn order(rest: &str) -> Result<PlaceOrder, Fault> {
        let text =
            format!(r#"{{"marketId":"0193a5e0-0000-7000-8000-000000000000","outcome":"YES","side":"buy",{rest}}}"#);
        read(&parse(text.as_bytes()).unwrap(), Place::Body, |f| place_order(f, SENDER))
    }

    fn faults<T: std::fmt::Debug>(result: Result<T, Fault>) -> Vec<String> {
        result.unwrap_err().details().iter().filter_map(|d| d.field.clone()).collect()
    }

    fn price(mills: i64) -> Price {
        Price::from_mills(mills).unwrap()
    }

    #[test]
    fn reads_limit_orders_of_every_life() {
        let limit = |rest: &str| order(&format!(r#""type":"limit","price":"0.5","quantity":10{rest}"#)).unwrap().terms;
        let terms = |life, post_only| Terms::Limit { price: price(500), quantity: Shares::new(10), life, post_only };
        assert_eq!(limit(""), terms(Life::UntilCancelled, false));
        assert_eq!(limit(r#","timeInForce":"gtc","postOnly":true"#), terms(Life::UntilCancelled, true));
        assert_eq!(limit(r#","timeInForce":"ioc""#), terms(Life::ImmediateOrCancel, false));
        assert_eq!(limit(r#","timeInForce":"fok","postOnly":false"#), terms(Life::FillOrKill, false));
        let until = "2030-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(
            limit(r#","timeInForce":"gtd","expiresAt":"2030-01-01T00:00:00Z""#),
            terms(Life::Until(until), false)
        );
    }

    #[test]
    fn reads_market_orders_of_every_bound() {
        let market = |rest: &str| order(&format!(r#""type":"market",{rest}"#)).unwrap().terms;
        let worst = MarketBound::Worst { quantity: Shares::new(5), price: price(700) };
        assert_eq!(market(r#""price":0.7,"quantity":"5""#), Terms::Market { bound: worst, fill_or_kill: false });
        let max_spend = Credits::from_mills(20_000);
        let spend = MarketBound::Spend { max_spend, quantity: None, price: Some(price(700)) };
        assert_eq!(
            market(r#""maxSpend":20,"price":"0.7","timeInForce":"fok""#),
            Terms::Market { bound: spend, fill_or_kill: true }
        );
    }

    #[test]
    fn names_every_fault_of_an_order() {
        let table: [(&str, &[&str]); 12] = [
            (r#""type":"limit""#, &["price", "quantity"]),
            (r#""type":"limit","price":"1","quantity":0"#, &["price", "quantity"]),
            (r#""type":"limit","price":"0.5","quantity":1000000001"#, &["quantity"]),
            (r#""type":"limit","price":"0.5","quantity":1,"maxSpend":"5""#, &["maxSpend"]),
            (r#""type":"limit","price":"0.5","quantity":1,"timeInForce":"gtd""#, &["expiresAt"]),
            (r#""type":"limit","price":"0.5","quantity":1,"expiresAt":"2030-01-01T00:00:00Z""#, &["expiresAt"]),
            (r#""type":"limit","price":"0.5","quantity":1,"timeInForce":"ioc","postOnly":true"#, &["postOnly"]),
            (r#""type":"market""#, &["price", "quantity"]),
            (r#""type":"market","price":"0.5""#, &["quantity"]),
            (
                r#""type":"market","maxSpend":"0","timeInForce":"gtc","postOnly":true"#,
                &["maxSpend", "postOnly", "timeInForce"],
            ),
            (
                r#""type":"stop","price":"x","quantity":"y","clientOrderId":"a b""#,
                &["type", "price", "quantity", "clientOrderId"],
            ),
            (r#""type":"limit","price":"0.0005","quantity":1.5,"backing":"gold""#, &["price", "quantity", "backing"]),
        ];
        for (rest, expected) in table {
            assert_eq!(faults(order(rest)), expected, "{rest}");
        }
    }

    #[test]
    fn names_the_item_of_a_batch() {
        let text = r#"{"orders":[{"marketId":"x","outcome":"YES","side":"buy","type":"market","maxSpend":1},{}]}"#;
        let result = read(&parse(text.as_bytes()).unwrap(), Place::Body, |f| batch(f, SENDER));
        let named = faults(result);
        assert_eq!(
            named,
            ["orders[0].marketId", "orders[1].marketId", "orders[1].outcome", "orders[1].side", "orders[1].type"]
        );
    }

    #[test]
    fn amends_something_or_says_that_nothing_would_change() {
        let id = OrderId(Uuid::nil());
        let amend = |text: &str| read(&parse(text.as_bytes()).unwrap(), Place::Body, |f| amend_order(f, id, USER));
        assert_eq!(amend(r#"{"quantity":3}"#).unwrap().quantity, Some(Shares::new(3)));
        assert_eq!(faults(amend("{}")), ["price"]);
        assert_eq!(faults(amend(r#"{"quantity":0,"price":"2"}"#)), ["price", "quantity"]);
    }
}
