//! Does the outbox have each thing that happened once, and does what it tells come to what the store has?

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Context as _;
use serde_json::Value;

use crate::kill::api::{Api, Kind, User};
use crate::kill::journal::Outcome;
use crate::kill::load::Record;
use crate::kill::outbox::Event;

/// What is wrong with the events themselves.
pub(super) fn of_themselves(events: &[Event]) -> Vec<String> {
    let mut breaches = Vec::new();
    for pair in events.windows(2) {
        if let [before, after] = pair
            && before.sequence >= after.sequence
        {
            breaches.push(format!("the outbox has {} after {}", after.sequence, before.sequence));
        }
    }
    let mut once: BTreeSet<(&str, Vec<Option<&str>>)> = BTreeSet::new();
    let mut trades: HashMap<&str, i64> = HashMap::new();
    for event in events {
        let identity: &[&str] = match event.kind.as_str() {
            "user.created" => &["userId"],
            "market.opened" | "market.closed" | "market.resolved" | "market.voided" | "market.paid" => &["marketId"],
            "order.accepted" | "order.cancelled" | "order.expired" => &["orderId"],
            "trade.executed" => &["tradeId"],
            "transfer.executed" if event.text("kind") == Some("payout") => &["marketId", "toAccountId"],
            "transfer.executed" => &["transferId"],
            _ => &[],
        };
        if !identity.is_empty() && !once.insert((&event.kind, identity.iter().map(|field| event.text(field)).collect()))
        {
            breaches.push(format!("it happened twice: {}", event.json));
        }
        if event.kind == "trade.executed"
            && let Some(market) = event.market()
        {
            let before = trades.entry(market).or_default();
            let place = event.data().get("sequence").and_then(Value::as_i64).unwrap_or_default();
            if place <= *before {
                breaches.push(format!("market {market}: the trade {place} follows the trade {before}"));
            }
            *before = place;
        }
    }
    let decided = |event: &&Event| matches!(event.kind.as_str(), "market.resolved" | "market.voided");
    for event in events.iter().filter(decided) {
        if !once.contains(&("market.paid", vec![event.market()])) {
            breaches.push(format!("it was never paid: {}", event.json));
        }
    }
    breaches
}

/// Whether each command of these clients is told of once if it was acknowledged, and never if it was refused.
pub(super) fn of_commands(events: &[Event], records: &[Record]) -> Vec<String> {
    let mut told: HashMap<(&str, &str), usize> = HashMap::new();
    for event in events {
        let key = match event.kind.as_str() {
            "order.accepted" => event.text("clientOrderId"),
            "transfer.executed" => event.text("memo"),
            _ => None,
        };
        if let Some(key) = key {
            *told.entry((&event.kind, key)).or_default() += 1;
        }
    }
    let mut breaches = Vec::new();
    for entry in records.iter().flat_map(|record| &record.entries) {
        let kind = match entry.command.kind {
            Kind::Order => "order.accepted",
            Kind::Transfer => "transfer.executed",
        };
        let count = told.get(&(kind, entry.command.key.as_str())).copied().unwrap_or(0);
        let wanted = usize::from(matches!(entry.outcome, Outcome::Acknowledged(_)));
        if count != wanted {
            breaches.push(format!("{kind} of {}: told {count} times, not {wanted}", entry.command.key));
        }
    }
    breaches
}

/// How many orders and trades the events have of markets that replays opened.
pub(super) fn of_replays(events: &[Event]) -> (u64, u64) {
    let replayed: BTreeSet<&str> =
        events.iter().filter(|event| event.opens_replayed()).filter_map(Event::market).collect();
    let count = |kind: &str| {
        let of_kind = events.iter().filter(|event| event.kind == kind);
        let of_kind = of_kind.filter(|event| event.market().is_some_and(|market| replayed.contains(market)));
        u64::try_from(of_kind.count()).unwrap_or(u64::MAX)
    };
    (count("order.accepted"), count("trade.executed"))
}

/// Whether what the events last said of each balance, position, market and order is what the server shows.
pub(super) async fn of_the_store(api: &Api, admin: &mut User, events: &[Event]) -> anyhow::Result<Vec<String>> {
    let mut breaches = balances(api, admin, events).await?;
    breaches.extend(positions(api, admin, events).await?);
    breaches.extend(trades(api, events).await?);
    Ok(breaches)
}

/// The last event of that kind for each value of these fields.
fn last_of<'a, const N: usize>(
    events: &'a [Event],
    kind: &str,
    fields: [&str; N],
) -> BTreeMap<[Option<&'a str>; N], &'a Value> {
    let of_kind = events.iter().filter(|event| event.kind == kind);
    of_kind.map(|event| (fields.map(|field| event.text(field)), event.data())).collect()
}

async fn balances(api: &Api, admin: &mut User, events: &[Event]) -> anyhow::Result<Vec<String>> {
    let mut breaches = Vec::new();
    for ([user], told) in last_of(events, "balance.changed", ["userId"]) {
        let user = user.context("a balance of nobody")?;
        let shown = api.get(&format!("/accounts/{user}"), admin).await?;
        if ["balance", "held", "available"].iter().any(|field| told.get(field) != shown.get(field)) {
            breaches.push(format!("the events end with {told}, and the account is {shown}"));
        }
    }
    Ok(breaches)
}

async fn positions(api: &Api, admin: &mut User, events: &[Event]) -> anyhow::Result<Vec<String>> {
    let mut breaches = Vec::new();
    let mut by_market: BTreeMap<&str, BTreeMap<&str, &Value>> = BTreeMap::new();
    for ([market, user], told) in last_of(events, "position.changed", ["marketId", "userId"]) {
        let (market, user) = market.zip(user).context("a position of nobody")?;
        by_market.entry(market).or_default().insert(user, told);
    }
    for (market, mut told) in by_market {
        // The token may have expired since it was last used.
        api.get("/users/me", admin).await?;
        for shown in api.all(&format!("/markets/{market}/positions"), Some(admin)).await? {
            let user = shown.get("userId").and_then(Value::as_str).unwrap_or_default();
            let is_told = told.remove(user).is_some_and(|told| is_same_position(told, &shown));
            if !is_told {
                breaches.push(format!("the events do not end with {shown}"));
            }
        }
        let has_nothing = |told: &&Value| holdings(told).iter().all(|held| *held == (Some(0), Some(0)));
        let lost = told.values().filter(|told| !has_nothing(told));
        breaches.extend(lost.map(|told| format!("the events end with {told}, and there is no such position")));
    }
    Ok(breaches)
}

fn is_same_position(told: &Value, shown: &Value) -> bool {
    ["spent", "received"].iter().all(|field| told.get(field) == shown.get(field)) && holdings(told) == holdings(shown)
}

/// Quantity and what is held of it, of each outcome.
fn holdings(position: &Value) -> Vec<(Option<i64>, Option<i64>)> {
    let number = |holding: &Value, field: &str| holding.get(field).and_then(Value::as_i64);
    let holdings = position.get("holdings").and_then(Value::as_array);
    holdings.into_iter().flatten().map(|one| (number(one, "quantity"), number(one, "held"))).collect()
}

async fn trades(api: &Api, events: &[Event]) -> anyhow::Result<Vec<String>> {
    let mut told: HashMap<&str, u64> = HashMap::new();
    for event in events.iter().filter(|event| event.kind == "trade.executed") {
        *told.entry(event.market().unwrap_or_default()).or_default() += 1;
    }
    let mut breaches = Vec::new();
    for market in api.all("/markets", None).await? {
        let id = market.get("id").and_then(Value::as_str).unwrap_or_default();
        let (count, told) = (market.get("tradeCount").and_then(Value::as_u64), told.remove(id).unwrap_or(0));
        if count != Some(told) {
            breaches.push(format!("market {id} has {count:?} trades, and the events tell of {told}"));
        }
    }
    breaches.extend(told.keys().map(|market| format!("the events tell of the market {market}, which is not there")));
    Ok(breaches)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::of_themselves;
    use crate::kill::outbox::Event;

    fn event(sequence: i64, kind: &str, data: Value) -> Event {
        Event::of(json!({ "sequence": sequence, "type": kind, "data": data })).unwrap()
    }

    #[test]
    fn sees_what_was_paid_twice_or_never_and_trades_out_of_order() {
        let payout = |sequence, transfer: &str| {
            let data = json!({ "kind": "payout", "marketId": "m", "toAccountId": "a", "transferId": transfer });
            event(sequence, "transfer.executed", data)
        };
        let paid = event(9, "market.paid", json!({ "marketId": "m" }));
        let resolved = event(1, "market.resolved", json!({ "marketId": "m" }));
        assert!(of_themselves(&[resolved.clone(), payout(2, "x"), paid.clone()]).is_empty());
        assert_eq!(of_themselves(&[resolved.clone(), payout(2, "x"), payout(3, "y"), paid]).len(), 1);
        assert_eq!(of_themselves(&[resolved]).len(), 1);
        let trade = |sequence, place: i64| {
            event(
                sequence,
                "trade.executed",
                json!({ "marketId": "m", "sequence": place, "tradeId": place.to_string() }),
            )
        };
        assert!(of_themselves(&[trade(1, 1), trade(2, 2)]).is_empty());
        assert_eq!(of_themselves(&[trade(1, 2), trade(2, 1)]).len(), 1);
    }
}
