//! Was everybody told what the outbox has: each webhook at least once and in order per market, each live client
//! exactly once and in order?

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::kill::follower::{Follower, Heard, Wish};
use crate::kill::outbox::Event;
use crate::kill::receiver::Arrival;

/// What a live stream adds to an event's data, for whom it concerns or for who keeps a book.
const ADDED: [&str; 3] = ["checksums", "role", "orderId"];

/// A webhook, as its owner made it.
pub(super) struct Hook {
    pub(super) name: &'static str,
    pub(super) owner: String,
    /// The kinds that it wants; empty for all but those of books.
    pub(super) kinds: &'static [&'static str],
    /// It was made after the event of that sequence, and before the next.
    pub(super) after: i64,
}

impl Hook {
    fn wants(&self, event: &Event) -> bool {
        let kind = event.kind.as_str();
        let is_wanted = if self.kinds.is_empty() { kind != "book.changed" } else { self.kinds.contains(&kind) };
        is_wanted && event.sequence > self.after && (event.is_public() || event.concerns(&self.owner))
    }

    /// How many of the events have not been taken yet.
    pub(super) fn missing(&self, events: &[Event], arrivals: &[Arrival]) -> usize {
        let taken: BTreeSet<i64> = arrivals.iter().filter(|a| a.is_taken).map(|arrival| arrival.sequence).collect();
        events.iter().filter(|event| self.wants(event) && !taken.contains(&event.sequence)).count()
    }

    /// What is wrong with what came.
    pub(super) fn breaches(&self, events: &[Event], arrivals: &[Arrival]) -> Vec<String> {
        let mut breaches = Vec::new();
        let wanted: BTreeMap<i64, &Event> =
            events.iter().filter(|event| self.wants(event)).map(|event| (event.sequence, event)).collect();
        let missing = self.missing(events, arrivals);
        if missing > 0 {
            breaches.push(format!("{missing} of {} events were never taken", wanted.len()));
        }
        let mut newest: HashMap<Option<&str>, i64> = HashMap::new();
        let (mut by_id, mut by_sequence) = (HashMap::new(), HashMap::new());
        for arrival in arrivals {
            let Arrival { id, body, sequence, market, .. } = arrival;
            if !wanted.contains_key(sequence) {
                breaches.push(format!("{sequence} was not for it: {body}"));
            }
            let before = newest.entry(market.as_deref()).or_insert(*sequence);
            if *sequence < *before {
                breaches.push(format!("{sequence} came after {before}, in the market {market:?}"));
            }
            *before = *sequence;
            let is_same = *by_id.entry(id).or_insert((sequence, body)) == (sequence, body)
                && *by_sequence.entry(sequence).or_insert(id) == id;
            if !is_same {
                breaches.push(format!("{sequence} came as two messages, or {id} is of two events"));
            }
        }
        breaches.into_iter().map(|breach| format!("webhook {}: {breach}", self.name)).collect()
    }
}

/// Whether a client that has this wish is told of an event.
fn is_told(wish: &Wish, event: &Event) -> bool {
    let is_end = event.kind.starts_with("session.") || event.kind.starts_with("key.");
    let is_own = wish.user.as_ref().is_some_and(|user| event.concerns(&user.id)) && !is_end;
    let is_followed = event.market().is_some_and(|market| wish.markets.iter().any(|followed| followed == market));
    let is_of_markets = wish.all_markets && event.kind.starts_with("market.");
    is_own || (event.is_public() && (is_followed || is_of_markets))
}

/// How many events a client has not been told of yet.
pub(super) fn missing(follower: &Follower, events: &[Event]) -> usize {
    let heard = follower.heard();
    let (Some(from), Some(last)) = (heard.from, heard.last) else { return events.len() };
    events.iter().filter(|event| event.sequence > from.max(last) && is_told(&follower.wish, event)).count()
}

/// What is wrong with what a client was told.
pub(super) fn breaches(follower: &Follower, events: &[Event]) -> Vec<String> {
    let heard = follower.heard();
    let mut breaches = heard.faults.clone();
    breaches.extend(differences(&follower.wish, &heard, events));
    breaches.into_iter().map(|breach| format!("{}: {breach}", follower.wish.name())).collect()
}

fn differences(wish: &Wish, heard: &Heard, events: &[Event]) -> Vec<String> {
    let Some(from) = heard.from else { return vec!["it never began".to_owned()] };
    let wanted: Vec<&Event> = events.iter().filter(|event| event.sequence > from && is_told(wish, event)).collect();
    let sequences = |value: &Value| value.get("sequence").and_then(Value::as_i64).unwrap_or_default();
    let told: Vec<i64> = heard.events.iter().map(sequences).collect();
    let due: Vec<i64> = wanted.iter().map(|event| event.sequence).collect();
    if told != due {
        let count = told.len();
        let (told, due): (BTreeSet<i64>, BTreeSet<i64>) = (told.into_iter().collect(), due.into_iter().collect());
        let lost: Vec<_> = due.difference(&told).take(5).collect();
        let strange: Vec<_> = told.difference(&due).take(5).collect();
        return vec![format!(
            "it was told {} times of an event where the outbox has {}; lost {lost:?}, not for it {strange:?}",
            count,
            due.len()
        )];
    }
    let pairs = heard.events.iter().zip(wanted);
    pairs
        .filter(|(told, event)| !is_same(told, event))
        .map(|(told, event)| format!("it was told {told}, and the outbox has {}", event.json))
        .collect()
}

/// Whether what was told is what the outbox has, or the part of it that is for everybody.
fn is_same(told: &Value, event: &Event) -> bool {
    let is_head = ["sequence", "type", "version", "at"].iter().all(|field| told.get(field) == event.json.get(field));
    let Some(Value::Object(data)) = told.get("data") else { return false };
    let is_added = |field: &str| ADDED.contains(&field) && event.data().get(field).is_none();
    is_head && data.iter().all(|(field, value)| is_added(field) || event.data().get(field) == Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Hook;
    use crate::kill::outbox::Event;
    use crate::kill::receiver::Arrival;

    fn event(sequence: i64, kind: &str, market: &str) -> Event {
        Event::of(json!({ "sequence": sequence, "type": kind, "data": { "marketId": market, "userId": "u" } })).unwrap()
    }

    fn arrival(sequence: i64, market: &str, is_taken: bool) -> Arrival {
        let market = Some(market.to_owned());
        Arrival { id: format!("m{sequence}"), body: String::new(), sequence, market, is_taken }
    }

    #[test]
    fn sees_what_a_webhook_was_not_told_and_what_came_in_the_wrong_order() {
        let hook = Hook { name: "a", owner: "u".to_owned(), kinds: &[], after: 1 };
        let events = [
            event(1, "trade.executed", "x"),
            event(2, "trade.executed", "x"),
            event(3, "order.filled", "x"),
            event(4, "trade.executed", "y"),
            event(5, "book.changed", "x"),
        ];
        let well = [
            arrival(4, "y", true),
            arrival(2, "x", false),
            arrival(2, "x", true),
            arrival(2, "x", true),
            arrival(3, "x", true),
        ];
        assert_eq!(hook.breaches(&events, &well), Vec::<String>::new());
        assert_eq!(hook.breaches(&events, &well[..4]).len(), 1);
        assert_eq!(hook.missing(&events, &well[..2]), 2);
        let stranger = Event { kind: "order.filled".to_owned(), ..event(6, "order.filled", "x") };
        let other = Hook { owner: "v".to_owned(), ..hook };
        assert_eq!(other.missing(&[stranger], &[]), 0);
        let late = [well.as_slice(), &[arrival(2, "x", true)]].concat();
        assert_eq!(other.breaches(&events[..2], &late[4..]).len(), 2);
    }
}
