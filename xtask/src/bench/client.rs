//! A client: sends a flow of requests over one connection and keeps count of the answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::bench::connection::Connection;
use crate::bench::latency::Latency;
use crate::bench::load::{Flow, Kind, Load, Step};
use crate::bench::world::World;

/// What came of requests.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The latencies of what was done.
    pub(super) latencies: BTreeMap<Kind, Vec<Duration>>,
    /// Cancels that found their order filled already: an answer, and no failure.
    pub(super) late_cancels: usize,
    /// How many failed, for each reason.
    pub(super) failed: BTreeMap<String, u64>,
}

impl Tally {
    /// How many requests of a kind were done.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.latencies.get(&kind).map_or(0, Vec::len)
    }

    /// How long requests of a kind took.
    pub(super) fn latency(&mut self, kind: Kind) -> Latency {
        Latency::of(self.latencies.entry(kind).or_default())
    }

    /// How many requests were answered without a failure.
    pub(super) fn answered(&self) -> usize {
        self.latencies.values().map(Vec::len).sum::<usize>() + self.late_cancels
    }

    /// Takes what another client counted.
    pub(super) fn add(&mut self, other: Self) {
        for (kind, latencies) in other.latencies {
            self.latencies.entry(kind).or_default().extend(latencies);
        }
        self.late_cancels += other.late_cancels;
        for (reason, count) in other.failed {
            *self.failed.entry(reason).or_default() += count;
        }
    }

    fn fail(&mut self, kind: Kind, reason: &str) {
        *self.failed.entry(format!("{kind:?}: {reason}")).or_default() += 1;
    }
}

/// One client with its connection.
pub(super) struct Client {
    world: Arc<World>,
    flow: Flow,
    connection: Connection,
    tally: Tally,
}

impl Client {
    /// Connects a client that sends this load.
    pub(super) async fn connect(world: Arc<World>, load: Load) -> anyhow::Result<Self> {
        let flow = Flow::new(&world, load)?;
        let connection = Connection::open(world.address_of(flow.number())).await?;
        Ok(Self { world, flow, connection, tally: Tally::default() })
    }

    /// Sends the next request and waits for its answer. Its latency counts from `since` on.
    pub(super) async fn step(&mut self, since: Instant) {
        let step = self.flow.next(&self.world);
        let request = step.request(&self.world);
        match self.connection.send(&request).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                self.tally.latencies.entry(step.kind).or_default().push(since.elapsed());
                let order = step.is_remembered.then(|| resting_order(answer.body)).flatten();
                if let (Some(owner), Some(order)) = (step.trader, order) {
                    self.flow.remember(owner, order);
                }
            }
            Ok(answer) => {
                let (status, code) = (answer.status, error_code(answer.body));
                self.refused(&step, status, &code);
            }
            Err(error) => self.tally.fail(step.kind, &format!("{error:#}")),
        }
    }

    fn refused(&mut self, step: &Step, status: u16, code: &str) {
        if step.kind == Kind::Cancel && code == "ORDER_NOT_OPEN" {
            self.tally.late_cancels += 1;
        } else {
            self.tally.fail(step.kind, &format!("{status} {code}"));
        }
    }

    /// What came of it all.
    pub(super) fn into_tally(self) -> Tally {
        self.tally
    }
}

#[derive(Deserialize)]
struct Placed {
    data: PlacedData,
}

#[derive(Deserialize)]
struct PlacedData {
    order: PlacedOrder,
}

#[derive(Deserialize)]
struct PlacedOrder {
    id: String,
    status: String,
}

/// The id of the order that an answer is about, if it rests now.
fn resting_order(body: &[u8]) -> Option<String> {
    let PlacedOrder { id, status } = serde_json::from_slice::<Placed>(body).ok()?.data.order;
    (status == "open").then_some(id)
}

#[derive(Deserialize)]
struct Refused {
    error: RefusedError,
}

#[derive(Deserialize)]
struct RefusedError {
    code: String,
}

/// The code of a refusal.
pub(super) fn error_code(body: &[u8]) -> String {
    serde_json::from_slice::<Refused>(body).map_or_else(|_| "without a code".to_owned(), |refused| refused.error.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_open_order_can_be_cancelled_later() {
        let answer = |status: &str| {
            format!(r#"{{"success":true,"data":{{"order":{{"id":"x","status":"{status}","filled":0}},"fills":[]}}}}"#)
        };
        assert_eq!(resting_order(answer("open").as_bytes()), Some("x".to_owned()));
        assert_eq!(resting_order(answer("filled").as_bytes()), None);
        assert_eq!(resting_order(b"no JSON"), None);
    }

    #[test]
    fn a_refusal_is_known_by_its_code() {
        let body = br#"{"success":false,"error":{"code":"INSUFFICIENT_FUNDS","message":"no"}}"#;
        assert_eq!(error_code(body), "INSUFFICIENT_FUNDS");
        assert_eq!(error_code(b"<html>"), "without a code");
    }

    #[test]
    fn tallies_add_up() {
        let mut all = Tally::default();
        for _ in 0..2 {
            let mut tally = Tally { late_cancels: 1, ..Tally::default() };
            tally.latencies.insert(Kind::Order, vec![Duration::from_millis(1)]);
            tally.fail(Kind::Read, "404 MARKET_NOT_FOUND");
            all.add(tally);
        }
        assert_eq!((all.count(Kind::Order), all.count(Kind::Read), all.late_cancels), (2, 0, 2));
        assert_eq!(all.failed.get("Read: 404 MARKET_NOT_FOUND"), Some(&2));
    }
}
