//! Who is told of what happened: of what everybody may know, whoever wants it; of the rest, whom it concerns.

use std::collections::BTreeMap;

use bellwether_domain::ids::{DeliveryId, FreshIds, MarketId, UserId, WebhookId};
use bellwether_domain::webhook::{Delivery, Webhook};
use jiff::Timestamp;
use serde_json::{Value, json};

/// What is told of a trade to its parties alone: who, and by which order.
const OF_PARTIES: [(&str, &str); 2] = [("takerId", "takerOrderId"), ("makerId", "makerOrderId")];

/// Something that happened, as far as webhooks are concerned.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Followed {
    /// Its place among all events.
    pub(super) sequence: i64,
    /// When it happened.
    pub(super) at: Timestamp,
    /// Its kind, such as `trade.executed`.
    pub(super) kind: &'static str,
    /// The version of the kind's format.
    pub(super) version: u16,
    /// The market that it happened in.
    pub(super) market: Option<MarketId>,
    /// Whether everybody may know of it.
    pub(super) is_public: bool,
    /// Whom it concerns.
    pub(super) users: Vec<UserId>,
    /// What happened.
    pub(super) data: Value,
}

/// What is sent of an event to each webhook that wants it and whose owner may know of it.
#[must_use]
pub(super) fn fan_out(webhooks: &[Webhook], event: &Followed, ids: &mut FreshIds, now: Timestamp) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    let mut bodies: BTreeMap<Option<UserId>, String> = BTreeMap::new();
    for webhook in
        webhooks.iter().filter(|webhook| webhook.created_at <= event.at && webhook.wants(event.kind, event.market))
    {
        let concerned = Some(webhook.owner).filter(|owner| event.users.contains(owner));
        if !event.is_public && concerned.is_none() {
            continue;
        }
        // Whom it does not concern are all told the same.
        let body = bodies.entry(concerned).or_insert_with(|| body(event, concerned)).clone();
        let id = DeliveryId(ids.next_uuid());
        let delivery = Delivery::new(id, webhook.id, event.kind.to_owned(), body, now);
        deliveries.push(Delivery { sequence: event.sequence, market: event.market, ..delivery });
    }
    deliveries
}

fn body(event: &Followed, reader: Option<UserId>) -> String {
    let mut data = event.data.clone();
    if let Some(fields) = data.as_object_mut().filter(|_| event.is_public) {
        let reader = reader.map(|reader| reader.to_string());
        for (who, order) in OF_PARTIES {
            if fields.get(who).and_then(Value::as_str) != reader.as_deref() {
                fields.remove(who);
                fields.remove(order);
            }
        }
    }
    json!({
        "type": event.kind,
        "timestamp": event.at,
        "sequence": event.sequence.to_string(),
        "version": event.version,
        "data": data,
    })
    .to_string()
}

/// The webhooks that there is something for, each once, in id order.
pub(super) fn told(deliveries: &[Delivery]) -> Vec<WebhookId> {
    let mut told: Vec<WebhookId> = deliveries.iter().map(|delivery| delivery.webhook).collect();
    told.sort_unstable();
    told.dedup();
    told
}

#[cfg(test)]
mod tests {
    use bellwether_domain::webhook::WebhookState;
    use uuid::Uuid;

    use super::*;

    fn user(n: u128) -> UserId {
        UserId(Uuid::from_u128(n))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn webhook(n: u128, owner: UserId) -> Webhook {
        Webhook {
            id: WebhookId(Uuid::from_u128(n)),
            owner,
            url: String::new(),
            description: None,
            events: Vec::new(),
            markets: Vec::new(),
            state: WebhookState::Enabled,
            secret_number: 0,
            overlap_until: None,
            failing_since: None,
            created_at: at(5),
            updated_at: at(5),
            version: 1,
        }
    }

    fn event(kind: &'static str, is_public: bool, data: Value) -> Followed {
        let users = vec![user(1), user(2)];
        Followed { sequence: 9, at: at(5), kind, version: 1, market: None, is_public, users, data }
    }

    fn told_of(event: &Followed) -> Vec<(u128, Value)> {
        let webhooks = [webhook(1, user(1)), webhook(2, user(2)), webhook(3, user(3)), webhook(4, user(3))];
        let sent = fan_out(&webhooks, event, &mut FreshIds::seeded(at(6), 1), at(6));
        let read = |delivery: &Delivery| {
            let body: Value = serde_json::from_str(&delivery.body).unwrap();
            assert_eq!((&body["sequence"], delivery.sequence, &body["type"]), (&json!("9"), 9, &json!(event.kind)));
            (delivery.webhook.0.as_u128(), body["data"].clone())
        };
        sent.iter().map(read).collect()
    }

    /// Threat 13.
    #[test]
    fn of_a_trade_each_is_told_its_own_part_and_strangers_neither() {
        let (ann, ben) = (user(1).to_string(), user(2).to_string());
        let data = json!({ "price": "0.5", "takerId": ann, "takerOrderId": "t", "makerId": ben, "makerOrderId": "m" });
        let stranger = json!({ "price": "0.5" });
        let told = told_of(&event("trade.executed", true, data));
        assert_eq!(told[0], (1, json!({ "price": "0.5", "takerId": ann, "takerOrderId": "t" })));
        assert_eq!(told[1], (2, json!({ "price": "0.5", "makerId": ben, "makerOrderId": "m" })));
        assert_eq!(told[2..], [(3, stranger.clone()), (4, stranger)]);
    }

    /// Threat 13.
    #[test]
    fn what_is_not_public_is_told_to_whom_it_concerns_alone_and_whole() {
        let data = json!({ "amount": "1", "makerId": "x" });
        let told = told_of(&event("transfer.executed", false, data.clone()));
        assert_eq!(told, [(1, data.clone()), (2, data)]);
    }

    #[test]
    fn nobody_is_told_of_what_was_before_the_webhook() {
        let before = Followed { at: at(4), ..event("market.paid", true, json!({})) };
        assert!(told_of(&before).is_empty());
    }

    #[test]
    fn each_webhook_has_one_job() {
        let sent = |n| {
            Delivery::new(DeliveryId(Uuid::nil()), WebhookId(Uuid::from_u128(n)), String::new(), String::new(), at(0))
        };
        let ids: Vec<u128> = told(&[sent(2), sent(1), sent(2)]).iter().map(|id| id.0.as_u128()).collect();
        assert_eq!(ids, [1, 2]);
    }
}
