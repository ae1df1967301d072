//! Who is told of what happened: of what everybody may know, whoever wants it; of the rest, whom it concerns.

use std::collections::BTreeMap;

use bellwether_domain::event::Recorded;
use bellwether_domain::ids::{DeliveryId, FreshIds, UserId, WebhookId};
use bellwether_domain::webhook::{Delivery, Webhook};
use jiff::Timestamp;
use serde_json::json;

use crate::view::data_for;

/// What is sent of an event to each webhook that wants it and whose owner may know of it.
#[must_use]
pub(super) fn fan_out(webhooks: &[Webhook], told: &Recorded, ids: &mut FreshIds, now: Timestamp) -> Vec<Delivery> {
    let event = &told.event;
    let (kind, market, users) = (event.kind(), event.market(), event.users());
    let mut deliveries = Vec::new();
    let mut bodies: BTreeMap<Option<UserId>, String> = BTreeMap::new();
    for webhook in webhooks.iter().filter(|webhook| webhook.created_at <= told.at && webhook.wants(kind, market)) {
        let concerned = Some(webhook.owner).filter(|owner| users.contains(&Some(*owner)));
        if !event.is_public() && concerned.is_none() {
            continue;
        }
        // Whom it does not concern are all told the same.
        let body = bodies.entry(concerned).or_insert_with(|| body(told, concerned)).clone();
        let id = DeliveryId(ids.next_uuid());
        let delivery = Delivery::new(id, webhook.id, kind.to_owned(), body, now);
        deliveries.push(Delivery { sequence: told.sequence, market, ..delivery });
    }
    deliveries
}

fn body(told: &Recorded, reader: Option<UserId>) -> String {
    json!({
        "type": told.event.kind(),
        "timestamp": told.at,
        "sequence": told.sequence.to_string(),
        "version": told.event.version(),
        "data": data_for(&told.event, reader),
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
    use bellwether_domain::event::{BalanceData, Event};
    use bellwether_domain::money::Credits;
    use bellwether_domain::webhook::WebhookState;
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::view::tests::a_trade;

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

    fn told_of(event: Event, when: Timestamp) -> Vec<(u128, Value)> {
        let webhooks = [webhook(1, user(1)), webhook(2, user(2)), webhook(3, user(3)), webhook(4, user(3))];
        let recorded = Recorded { sequence: 9, at: when, event };
        let sent = fan_out(&webhooks, &recorded, &mut FreshIds::seeded(at(6), 1), at(6));
        let read = |delivery: &Delivery| {
            let body: Value = serde_json::from_str(&delivery.body).unwrap();
            let kind = recorded.event.kind();
            assert_eq!((&body["sequence"], delivery.sequence, &body["type"]), (&json!("9"), 9, &json!(kind)));
            (delivery.webhook.0.as_u128(), body["data"].clone())
        };
        sent.iter().map(read).collect()
    }

    /// Threat 13.
    #[test]
    fn of_a_trade_each_is_told_what_it_may_know() {
        let event = Event::TradeExecuted(Box::new(a_trade()));
        let seen = |reader| data_for(&event, reader);
        let stranger = seen(None);
        let expected = [(1, seen(Some(user(1)))), (2, seen(Some(user(2)))), (3, stranger.clone()), (4, stranger)];
        assert_eq!(told_of(event.clone(), at(5)), expected);
    }

    /// Threat 13.
    #[test]
    fn what_is_not_public_is_told_to_whom_it_concerns_alone_and_whole() {
        let zero = Credits::ZERO;
        let data = BalanceData { user_id: user(2), balance: zero, held: zero, available: zero };
        assert_eq!(told_of(Event::BalanceChanged(Box::new(data.clone())), at(5)), [(2, json!(data))]);
    }

    #[test]
    fn nobody_is_told_of_what_was_before_the_webhook() {
        assert!(told_of(Event::TradeExecuted(Box::new(a_trade())), at(4)).is_empty());
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
