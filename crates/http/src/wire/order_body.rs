//! Bodies about orders, read into commands. Faults of one field are named by it; a combination
//! that means nothing is named by the field that does not belong.

use bellwether_domain::ids::{MarketId, OrderId, UserId};
use bellwether_domain::money::{Credits, Price, Shares};
use bellwether_domain::order::{
    AmendOrder, Backing, Life, MarketBound, OrderType, OutcomeSpec, PlaceOrder, SelfTradePrevention, Side, Terms, TimeInForce,
};
use bellwether_domain::text::Lines;
use bellwether_usecases::markets::OpeningOrder;
use jiff::Timestamp;

use crate::fields::{Fields, Node};

/// The most orders of a batch.
pub(crate) const BATCH: usize = 50;
const OUTCOME: usize = 60;
const CLIENT_ORDER_ID: usize = 64;

/// Reads an order of `user`.
pub(crate) fn place_order(fields: &Fields<'_>, user: UserId) -> Option<PlaceOrder> {
    let market = fields.required("marketId").and_then(|n| n.id()).map(MarketId);
    let OpeningOrder { outcome, side, terms, backing, self_trade_prevention, client_order_id } = opening_order(fields)?;
    let outcome = OutcomeSpec::Name(outcome);
    Some(PlaceOrder { market: market?, user, outcome, side, terms, backing, self_trade_prevention, client_order_id })
}

/// Reads `orders`.
pub(crate) fn batch(fields: &Fields<'_>, user: UserId) -> Option<Vec<PlaceOrder>> {
    fields.required("orders").and_then(|n| n.list(1, BATCH, |item| item.object(|order| place_order(order, user))))
}

/// Reads an order of a market that is known already.
pub(crate) fn opening_order(fields: &Fields<'_>) -> Option<OpeningOrder> {
    let outcome = fields.required("outcome").and_then(|n| n.text(Lines::One, 1, OUTCOME));
    let side = fields.required("side").and_then(|n| n.one_of(Side::ALL, Side::as_str));
    let terms = terms(fields);
    let backing = fields.optional("backing").map_or(Some(None), |n| n.one_of(Backing::ALL, Backing::as_str).map(Some));
    let self_trade_prevention = fields
        .optional("selfTradePrevention")
        .map_or(Some(SelfTradePrevention::CancelNewest), |n| n.one_of(SelfTradePrevention::ALL, SelfTradePrevention::as_str));
    let client_order_id = fields.optional("clientOrderId").map_or(Some(None), |n| client_order_id(&n).map(Some));
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
    if is_good { Some(text.to_owned()) } else { node.fail("invalid", "must be 1 to 64 printable ASCII characters without blanks") }
}

/// What is said about price, quantity and life. The outer `Option` tells whether it was said, the
/// inner whether it could be read.
struct Said {
    price: Option<Option<Price>>,
    quantity: Option<Option<Shares>>,
    max_spend: Option<Option<Credits>>,
    time_in_force: Option<Option<TimeInForce>>,
    expires_at: Option<Option<Timestamp>>,
    post_only: Option<Option<bool>>,
}

fn terms(fields: &Fields<'_>) -> Option<Terms> {
    let order_type = fields.required("type").and_then(|n| n.one_of(OrderType::ALL, OrderType::as_str));
    let said = Said {
        price: fields.optional("price").map(|n| n.price()),
        quantity: fields.optional("quantity").map(|n| n.shares()),
        max_spend: fields.optional("maxSpend").map(|n| n.amount()),
        time_in_force: fields.optional("timeInForce").map(|n| n.one_of(TimeInForce::ALL, TimeInForce::as_str)),
        expires_at: fields.optional("expiresAt").map(|n| n.time()),
        post_only: fields.optional("postOnly").map(|n| n.boolean()),
    };
    match order_type? {
        OrderType::Limit => limit(fields, &said),
        OrderType::Market => market(fields, &said),
    }
}

fn limit(fields: &Fields<'_>, said: &Said) -> Option<Terms> {
    let price = said.price.unwrap_or_else(|| fields.fail("price", "required", "is required for a limit order"));
    let quantity = said.quantity.unwrap_or_else(|| fields.fail("quantity", "required", "is required for a limit order"));
    if said.max_spend.is_some() {
        fields.fail::<()>("maxSpend", "conflict", "is for market orders; a limit order spends at most price x quantity");
    }
    let life = life(fields, said);
    let post_only = said.post_only.unwrap_or(Some(false));
    let rests = matches!(life, Some(Life::UntilCancelled | Life::Until(_)) | None);
    if post_only == Some(true) && !rests {
        fields.fail::<()>("postOnly", "conflict", "is for orders that may rest: gtc or gtd");
    }
    Some(Terms::Limit { price: price?, quantity: quantity?, life: life?, post_only: post_only? })
}

fn life(fields: &Fields<'_>, said: &Said) -> Option<Life> {
    let time_in_force = said.time_in_force.unwrap_or(Some(TimeInForce::Gtc))?;
    match (time_in_force, said.expires_at) {
        (TimeInForce::Gtd, Some(expires_at)) => expires_at.map(Life::Until),
        (TimeInForce::Gtd, None) => fields.fail("expiresAt", "required", "is required for gtd"),
        (_, Some(_)) => fields.fail("expiresAt", "conflict", "is for gtd orders"),
        (TimeInForce::Gtc, None) => Some(Life::UntilCancelled),
        (TimeInForce::Ioc, None) => Some(Life::ImmediateOrCancel),
        (TimeInForce::Fok, None) => Some(Life::FillOrKill),
    }
}

fn market(fields: &Fields<'_>, said: &Said) -> Option<Terms> {
    if said.expires_at.is_some() {
        fields.fail::<()>("expiresAt", "conflict", "is for limit orders; a market order never rests");
    }
    if said.post_only == Some(Some(true)) {
        fields.fail::<()>("postOnly", "conflict", "is for limit orders; a market order never rests");
    }
    let fill_or_kill = match said.time_in_force.unwrap_or(Some(TimeInForce::Ioc)) {
        Some(TimeInForce::Ioc) => Some(false),
        Some(TimeInForce::Fok) => Some(true),
        Some(_) => fields.fail("timeInForce", "conflict", "must be ioc or fok for a market order, which never rests"),
        None => None,
    };
    let bound = match said.max_spend {
        Some(max_spend) => spend(said, max_spend),
        None => {
            let hint = "is required for a market order without maxSpend";
            let price = said.price.unwrap_or_else(|| fields.fail("price", "required", hint));
            let quantity = said.quantity.unwrap_or_else(|| fields.fail("quantity", "required", hint));
            price.zip(quantity).map(|(price, quantity)| MarketBound::Worst { quantity, price })
        }
    };
    Some(Terms::Market { bound: bound?, fill_or_kill: fill_or_kill? })
}

fn spend(said: &Said, max_spend: Option<Credits>) -> Option<MarketBound> {
    let quantity = said.quantity.map_or(Some(None), |quantity| quantity.map(Some));
    let price = said.price.map_or(Some(None), |price| price.map(Some));
    Some(MarketBound::Spend { max_spend: max_spend?, quantity: quantity?, price: price? })
}

/// Reads a change of an order.
pub(crate) fn amend_order(fields: &Fields<'_>, order: OrderId, user: UserId) -> Option<AmendOrder> {
    let price = fields.unless_absent("price").map(|n| n.price());
    let quantity = fields.unless_absent("quantity").map(|n| n.shares());
    let expires_at = fields.unless_absent("expiresAt").map(|n| n.time());
    if price.is_none() && quantity.is_none() && expires_at.is_none() {
        return fields.fail("price", "required", "or quantity or expiresAt is required: nothing would change");
    }
    let (price, quantity) = (price.map_or(Some(None), |p| p.map(Some)), quantity.map_or(Some(None), |q| q.map(Some)));
    let expires_at = expires_at.map_or(Some(None), |at| at.map(Some));
    Some(AmendOrder { order, user, price: price?, quantity: quantity?, expires_at: expires_at? })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::faults::Fault;
    use crate::fields::{Place, read};
    use crate::json::parse;

    const USER: UserId = UserId(Uuid::nil());

    fn order(rest: &str) -> Result<PlaceOrder, Fault> {
        let text = format!(r#"{{"marketId":"0193a5e0-0000-7000-8000-000000000000","outcome":"YES","side":"buy",{rest}}}"#);
        read(&parse(text.as_bytes()).unwrap(), Place::Body, |f| place_order(f, USER))
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
        assert_eq!(limit(r#","timeInForce":"gtd","expiresAt":"2030-01-01T00:00:00Z""#), terms(Life::Until(until), false));
    }

    #[test]
    fn reads_market_orders_of_every_bound() {
        let market = |rest: &str| order(&format!(r#""type":"market",{rest}"#)).unwrap().terms;
        let worst = MarketBound::Worst { quantity: Shares::new(5), price: price(700) };
        assert_eq!(market(r#""price":0.7,"quantity":"5""#), Terms::Market { bound: worst, fill_or_kill: false });
        let max_spend = Credits::from_mills(20_000);
        let spend = MarketBound::Spend { max_spend, quantity: None, price: Some(price(700)) };
        assert_eq!(market(r#""maxSpend":20,"price":"0.7","timeInForce":"fok""#), Terms::Market { bound: spend, fill_or_kill: true });
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
            (r#""type":"market","maxSpend":"0","timeInForce":"gtc","postOnly":true"#, &["maxSpend", "postOnly", "timeInForce"]),
            (r#""type":"stop","price":"x","quantity":"y","clientOrderId":"a b""#, &["type", "price", "quantity", "clientOrderId"]),
            (r#""type":"limit","price":"0.0005","quantity":1.5,"backing":"gold""#, &["price", "quantity", "backing"]),
        ];
        for (rest, expected) in table {
            assert_eq!(faults(order(rest)), expected, "{rest}");
        }
    }

    #[test]
    fn names_the_item_of_a_batch() {
        let text = r#"{"orders":[{"marketId":"x","outcome":"YES","side":"buy","type":"market","maxSpend":1},{}]}"#;
        let result = read(&parse(text.as_bytes()).unwrap(), Place::Body, |f| batch(f, USER));
        let named = faults(result);
        assert_eq!(named, ["orders[0].marketId", "orders[1].marketId", "orders[1].outcome", "orders[1].side", "orders[1].type"]);
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
