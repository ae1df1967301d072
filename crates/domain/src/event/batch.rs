//! Batches: the events of one unit of work, in one row.

use jiff::Timestamp;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::{BalanceData, Event, KeyData, MarketData, PositionData, SessionData, TransferData, UserData};
use crate::ports::Changes;

/// So many events are in one batch at most. A unit of work with more writes several.
pub const EVENTS_PER_BATCH: i64 = 1024;

/// The events of one unit of work, before they have their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBatch {
    /// When they happened.
    pub at: Timestamp,
    /// The events, as JSON: a list for each row of the outbox.
    pub payloads: Vec<String>,
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBatch {
    /// Its place: above that of every batch before it. There are gaps.
    pub position: i64,
    /// When its events happened.
    pub at: Timestamp,
    /// Its events as JSON: a list.
    pub payload: String,
}

/// An event and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place among all events: `position of its batch x 1024 + place in it`. Its id.
    pub sequence: i64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// As it is sent: with its version.
impl Serialize for Recorded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut event = serializer.serialize_struct("Recorded", 5)?;
        event.serialize_field("sequence", &self.sequence)?;
        event.serialize_field("type", self.event.kind())?;
        event.serialize_field("version", &self.event.version())?;
        event.serialize_field("at", &self.at)?;
        self.event.serialize_data(&mut event)?;
        event.end()
    }
}

impl EventBatch {
    /// Its events, in their order. An error where the payload is none that this version can read.
    pub fn events(&self) -> Result<Vec<Recorded>, serde_json::Error> {
        let events: Vec<Event> = serde_json::from_str(&self.payload)?;
        let recorded =
            (self.first_sequence()..).zip(events).map(|(sequence, event)| Recorded { sequence, at: self.at, event });
        Ok(recorded.collect())
    }

    /// The sequence of its first event.
    #[must_use]
    pub const fn first_sequence(&self) -> i64 {
        self.position.saturating_mul(EVENTS_PER_BATCH)
    }

    /// The last sequence that an event of the batch at that position can have.
    #[must_use]
    pub const fn last_sequence_of(position: i64) -> i64 {
        position.saturating_mul(EVENTS_PER_BATCH).saturating_add(EVENTS_PER_BATCH - 1)
    }

    /// The position of the batch that the event of that sequence is in.
    #[must_use]
    pub const fn position_of(sequence: i64) -> i64 {
        sequence.div_euclid(EVENTS_PER_BATCH)
    }
}

/// The events that changes come to; none where nothing happened that anybody is told of.
///
/// What rows say by themselves is read off them: who signed up, who was paid, what somebody has now.
/// What only the decision knows stands among the [news](Changes::news).
pub fn batch(changes: &Changes) -> Result<Option<NewBatch>, serde_json::Error> {
    let Some(at) = changes.at.or_else(|| moment(changes)) else { return Ok(None) };
    let derived = derived(changes);
    let count = changes.news.len().saturating_add(derived.len());
    if count == 0 {
        return Ok(None);
    }
    let (before, after): (Vec<_>, Vec<_>) = derived.into_iter().partition(comes_first);
    let all: Vec<&Event> = before.iter().chain(&changes.news).chain(&after).collect();
    let most = usize::try_from(EVENTS_PER_BATCH).unwrap_or(usize::MAX);
    let payloads = all.chunks(most).map(serde_json::to_string).collect::<Result<_, _>>()?;
    Ok(Some(NewBatch { at, payloads }))
}

/// Who and what came to be is told before what was done with it.
const fn comes_first(event: &Event) -> bool {
    matches!(event, Event::UserCreated(_) | Event::MarketOpened(_))
}

fn derived(changes: &Changes) -> Vec<Event> {
    let mut events = Vec::new();
    events.extend(changes.new_users.iter().map(|user| Event::UserCreated(UserData::of(user))));
    events.extend(changes.new_markets.iter().map(|market| Event::MarketOpened(MarketData::of(market))));
    let ended = changes.sessions.iter().filter(|session| session.end.is_some());
    let ended = ended.map(|session| SessionData { session_id: session.id, user_id: session.user });
    events.extend(ended.map(|data| Event::SessionEnded(Box::new(data))));
    let revoked = changes.api_keys.iter().filter(|key| key.revoked_at.is_some());
    let revoked = revoked.map(|key| KeyData { key_id: key.id, user_id: key.user });
    events.extend(revoked.map(|data| Event::KeyRevoked(Box::new(data))));
    // Those of trades are part of the trade.
    let transfers = changes.transfers.iter().filter(|transfer| transfer.reference.trade.is_none());
    events.extend(transfers.map(|transfer| Event::TransferExecuted(TransferData::of(transfer))));
    let accounts = changes.new_accounts.iter().chain(&changes.accounts);
    events.extend(accounts.filter_map(BalanceData::of).map(Event::BalanceChanged));
    events.extend(changes.positions.iter().map(|position| Event::PositionChanged(PositionData::of(position))));
    events
}

/// When the unit of work ran: the newest moment on what it wrote.
fn moment(changes: &Changes) -> Option<Timestamp> {
    let users = changes.new_users.iter().chain(&changes.users).map(|user| user.updated_at);
    let accounts = changes.new_accounts.iter().map(|account| account.created_at);
    let markets = changes.new_markets.iter().chain(&changes.markets).map(|market| market.updated_at);
    let orders = changes.new_orders.iter().chain(&changes.orders).map(|order| order.updated_at);
    let trades = changes.trades.iter().map(|trade| trade.created_at);
    let transfers = changes.transfers.iter().map(|transfer| transfer.created_at);
    let settled = changes.positions.iter().filter_map(|position| position.settled_at);
    let ended = changes.sessions.iter().filter_map(|session| session.end.as_ref()).map(|end| end.at);
    let revoked = changes.api_keys.iter().filter_map(|key| key.revoked_at);
    let audited = changes.events.iter().map(|event| event.at);
    users
        .chain(accounts)
        .chain(markets)
        .chain(orders)
        .chain(trades)
        .chain(transfers)
        .chain(settled)
        .chain(ended)
        .chain(revoked)
        .chain(audited)
        .max()
}
