//! The outbox, as an administrator reads it: followed while processes are killed, and read whole at the end.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::kill::api::{Api, User};

/// The pause after everything was read, or nothing could be.
const PAUSE: Duration = Duration::from_millis(20);
/// The category of the markets that `bellwether replay` opens.
const REPLAYED: &str = "replay";

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) sequence: i64,
    pub(super) kind: String,
    /// All of it.
    pub(super) json: Value,
}

impl Event {
    pub(super) fn of(json: Value) -> anyhow::Result<Self> {
        let sequence = json.get("sequence").and_then(Value::as_i64).context("an event without a sequence")?;
        let kind = json.get("type").and_then(Value::as_str).context("an event without a type")?.to_owned();
        Ok(Self { sequence, kind, json })
    }

    pub(super) fn data(&self) -> &Value {
        self.json.get("data").unwrap_or(&Value::Null)
    }

    /// A text of its data.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.data().get(field)?.as_str()
    }

    pub(super) fn market(&self) -> Option<&str> {
        self.text("marketId")
    }

    /// Whether it is about a market that a replay opened, when it is opened.
    pub(super) fn opens_replayed(&self) -> bool {
        self.kind == "market.opened" && self.text("category") == Some(REPLAYED)
    }

    /// Whether everybody may know of it.
    pub(super) fn is_public(&self) -> bool {
        self.kind.starts_with("market.") || matches!(self.kind.as_str(), "trade.executed" | "book.changed")
    }

    /// Whether it is told to that user as a concern of its own.
    pub(super) fn concerns(&self, user: &str) -> bool {
        let fields: &[&str] = match self.kind.split('.').next() {
            Some("user") => &["userId", "ownerId"],
            Some("trade") => &["takerId", "makerId"],
            // A user's account has the user's id.
            Some("transfer") => &["fromAccountId", "toAccountId"],
            Some("market" | "book") => &[],
            _ => &["userId"],
        };
        fields.iter().any(|field| self.text(field) == Some(user))
    }
}

/// Follows the outbox. It ends when it is dropped.
pub(super) struct Tail {
    state: Arc<Mutex<State>>,
    following: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    replayed: HashSet<String>,
    trades: u64,
    faults: Vec<String>,
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Tail {
    /// Begins to follow from the very first event.
    pub(super) fn start(api: Api, mut admin: User) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let following = Arc::clone(&state);
        let following = tokio::spawn(async move {
            let mut after = 0;
            loop {
                // Where the server does not answer it is asked again.
                let page = api.events(&mut admin, after).await;
                let has_more = page.as_ref().is_ok_and(|(_, has_more)| *has_more);
                if let Ok((events, _)) = page {
                    after = lock(&following).add(after, events);
                }
                if !has_more {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
        Self { state, following }
    }

    /// How many trades of replays there were.
    pub(super) fn trades(&self) -> u64 {
        lock(&self.state).trades
    }

    /// How many events there were, and the sequence of the last.
    pub(super) fn reached(&self) -> (usize, i64) {
        let state = lock(&self.state);
        (state.events.len(), state.events.last().map_or(0, |event| event.sequence))
    }

    /// What opened markets of replays, after so many events.
    pub(super) fn opened_after(&self, skipped: usize) -> Vec<Event> {
        let state = lock(&self.state);
        state.events.iter().skip(skipped).filter(|event| event.opens_replayed()).cloned().collect()
    }

    /// All events that were read, and what was wrong with them.
    pub(super) fn events(&self) -> (Vec<Event>, Vec<String>) {
        let state = lock(&self.state);
        (state.events.clone(), state.faults.clone())
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Adds what came after that sequence; the last one's.
    fn add(&mut self, mut after: i64, events: Vec<Value>) -> i64 {
        for event in events {
            let event = match Event::of(event) {
                Ok(event) => event,
                Err(error) => {
                    self.faults.push(format!("GET /events: {error:#}"));
                    continue;
                }
            };
            if event.sequence <= after {
                self.faults.push(format!("GET /events: {} came after {after}", event.sequence));
            }
            after = event.sequence;
            if event.opens_replayed() {
                self.replayed.extend(event.market().map(str::to_owned));
            }
            let is_replayed = event.market().is_some_and(|market| self.replayed.contains(market));
            self.trades += u64::from(event.kind == "trade.executed" && is_replayed);
            self.events.push(event);
        }
        after
    }
}

/// Reads the outbox whole.
pub(super) async fn read(api: &Api, admin: &mut User) -> anyhow::Result<Vec<Event>> {
    let mut all: Vec<Event> = Vec::new();
    loop {
        let after = all.last().map_or(0, |event| event.sequence);
        let (events, has_more) = api.events(admin, after).await?;
        for event in events {
            all.push(Event::of(event)?);
        }
        if !has_more {
            return Ok(all);
        }
    }
}
