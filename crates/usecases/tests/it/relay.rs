//! The log beside the store: it gets each event once and in order, and is filled again where it lost some.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bellwether_domain::event::{EventBatch, Recorded};
use bellwether_domain::ports::{EventLog, EventLogUnreachable, MockOutbox, MockStore};
use bellwether_usecases::Context;
use bellwether_usecases::relay::{Relay, RelayError};

use crate::mocks::{context, now, user_id};

/// A log that keeps its promise, in memory.
#[derive(Default)]
struct Log {
    kept: Mutex<Vec<i64>>,
    is_away: Mutex<bool>,
}

impl Log {
    fn kept(&self) -> Vec<i64> {
        self.kept.lock().unwrap().clone()
    }
}

#[async_trait]
impl EventLog for Log {
    async fn append(&self, after: i64, events: &[Recorded]) -> Result<i64, EventLogUnreachable> {
        if *self.is_away.lock().unwrap() {
            return Err(EventLogUnreachable);
        }
        let mut kept = self.kept.lock().unwrap();
        let newest = kept.last().copied().unwrap_or(0);
        if newest >= after {
            kept.extend(events.iter().map(|recorded| recorded.sequence).filter(|sequence| *sequence > newest));
        }
        Ok(kept.last().copied().unwrap_or(0))
    }
}

/// A batch of two events.
fn batch(position: i64) -> EventBatch {
    let data = format!(r#"{{"userId":"{}","balance":"1.000","held":"0.000","available":"1.000"}}"#, user_id(1));
    let event = format!(r#"{{"type":"balance.changed","data":{data}}}"#);
    EventBatch { position, at: now(), payload: format!("[{event},{event}]") }
}

/// A store in which these batches were committed.
fn with_batches(positions: &'static [i64]) -> Context {
    let mut outbox = MockOutbox::new();
    outbox
        .expect_after()
        .returning(move |after, _| Ok(positions.iter().filter(|p| **p > after).map(|p| batch(*p)).collect()));
    Context { outbox: Arc::new(outbox), ..context(MockStore::new()) }
}

fn sequences(positions: &[i64]) -> Vec<i64> {
    positions
        .iter()
        .flat_map(|position| [batch(*position).first_sequence(), batch(*position).first_sequence() + 1])
        .collect()
}

#[tokio::test]
async fn all_events_are_handed_on_once_and_in_order() {
    let log = Arc::new(Log::default());
    let mut relay = Relay::new(log.clone());
    assert!(relay.hand_on(&with_batches(&[3, 5])).await.unwrap());
    assert!(!relay.hand_on(&with_batches(&[3, 5])).await.unwrap());
    assert!(relay.hand_on(&with_batches(&[3, 5, 8])).await.unwrap());
    assert_eq!(log.kept(), sequences(&[3, 5, 8]));
}

#[tokio::test]
async fn a_server_that_starts_goes_on_where_the_log_is_also_within_a_batch() {
    let log = Arc::new(Log::default());
    log.kept.lock().unwrap().push(batch(3).first_sequence());
    assert!(Relay::new(log.clone()).hand_on(&with_batches(&[2, 3, 5])).await.unwrap());
    assert_eq!(log.kept(), sequences(&[3, 5]));
}

#[tokio::test]
async fn two_servers_may_be_at_it() {
    let log = Arc::new(Log::default());
    let (mut one, mut other) = (Relay::new(log.clone()), Relay::new(log.clone()));
    one.hand_on(&with_batches(&[3])).await.unwrap();
    other.hand_on(&with_batches(&[3, 5])).await.unwrap();
    one.hand_on(&with_batches(&[3, 5, 8])).await.unwrap();
    other.hand_on(&with_batches(&[3, 5, 8])).await.unwrap();
    assert_eq!(log.kept(), sequences(&[3, 5, 8]));
}

#[tokio::test]
async fn a_log_that_was_emptied_is_filled_again() {
    let log = Arc::new(Log::default());
    let mut relay = Relay::new(log.clone());
    relay.hand_on(&with_batches(&[3, 5])).await.unwrap();
    log.kept.lock().unwrap().clear();
    while relay.hand_on(&with_batches(&[3, 5, 8])).await.unwrap() {}
    assert_eq!(log.kept(), sequences(&[3, 5, 8]));
}

#[tokio::test]
async fn what_happened_while_the_log_was_away_is_handed_on_when_it_is_back() {
    let log = Arc::new(Log::default());
    let mut relay = Relay::new(log.clone());
    relay.hand_on(&with_batches(&[3])).await.unwrap();
    *log.is_away.lock().unwrap() = true;
    let failed = relay.hand_on(&with_batches(&[3, 5])).await;
    assert!(matches!(failed, Err(RelayError::Log(EventLogUnreachable))));
    *log.is_away.lock().unwrap() = false;
    relay.hand_on(&with_batches(&[3, 5, 8])).await.unwrap();
    assert_eq!(log.kept(), sequences(&[3, 5, 8]));
}
