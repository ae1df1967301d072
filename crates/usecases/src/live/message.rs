//! What is sent to those who follow.

use std::sync::Arc;

use bellwether_domain::event::{BookData, Event, LevelData, Recorded};
use bellwether_domain::ids::{MarketId, UserId};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::view::TradeView;

/// A message: JSON, made once for all who get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The event that it tells of; who has had it has had everything before it. None for what is no event.
    pub sequence: Option<i64>,
    /// Its kind: that of the event, or `hello`, `gap`, `book.snapshot`, `subscribed` and the like.
    pub kind: &'static str,
    /// All of it.
    pub json: String,
}

/// The form that all messages have.
#[derive(Serialize)]
struct Envelope<D> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<i64>,
    #[serde(rename = "type")]
    kind: &'static str,
    /// What is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Value>,
    version: u16,
    at: Timestamp,
    data: D,
}

/// A change of a market's books, with what one may check it by.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LiveBook<'a> {
    #[serde(flatten)]
    change: &'a BookData,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    checksums: &'a [BookChecksum],
}

/// The checksum of a book after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BookChecksum {
    /// The place of the book's outcome, from 0.
    pub book: u8,
    /// CRC-32 over the best ten prices of each side.
    pub checksum: u32,
}

/// What cannot be told.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Gap {
    /// After which event the client wanted to go on.
    pub(super) asked: i64,
    /// The paths to be read anew.
    pub(super) reload: Vec<String>,
}

/// Nothing beside the message itself.
#[derive(Serialize, JsonSchema)]
pub(super) struct Nothing {}

/// The kind of the message that has all books of a market. It is no event, so it has no place among them.
pub(super) const SNAPSHOT: &str = "book.snapshot";

/// All of a market's books.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Snapshot {
    pub(super) market_id: MarketId,
    pub(super) books: Vec<BookSnapshot>,
}

/// One of them. Its levels are those of a `book.changed` that makes it out of an empty book.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BookSnapshot {
    pub(super) book: u8,
    pub(super) sequence: i64,
    pub(super) levels: Vec<LevelData>,
    pub(super) checksum: u32,
}

impl Message {
    fn of(sequence: Option<i64>, kind: &'static str, version: u16, at: Timestamp, data: impl Serialize) -> Arc<Self> {
        // Nothing in a message can fail to become JSON: no map has a key that is no text.
        let json = serde_json::to_string(&Envelope { sequence, kind, id: None, version, at, data }).unwrap_or_default();
        Arc::new(Self { sequence, kind, json })
    }

    /// What is answered to somebody, and where it stands then.
    pub(super) fn answer(
        kind: &'static str,
        sequence: i64,
        at: Timestamp,
        id: Option<Value>,
        data: impl Serialize,
    ) -> Arc<Self> {
        let sequence = Some(sequence);
        let json = serde_json::to_string(&Envelope { sequence, kind, id, version: 1, at, data }).unwrap_or_default();
        Arc::new(Self { sequence, kind, json })
    }

    /// What is no event.
    pub(super) fn notice(kind: &'static str, at: Timestamp, data: impl Serialize) -> Arc<Self> {
        Self::of(None, kind, 1, at, data)
    }

    /// Where one stands who is told this: everything up to there is known, or must be loaded.
    pub(super) fn standing(kind: &'static str, sequence: i64, at: Timestamp, data: impl Serialize) -> Arc<Self> {
        Self::of(Some(sequence), kind, 1, at, data)
    }

    /// An event as everybody may see it.
    pub(super) fn public(recorded: &Recorded, checksums: &[BookChecksum]) -> Arc<Self> {
        match &recorded.event {
            Event::TradeExecuted(trade) => Self::told(recorded, TradeView::of(trade, None)),
            Event::BookChanged(change) => Self::told(recorded, LiveBook { change, checksums }),
            _ => Self::whole(recorded),
        }
    }

    /// An event as one may see it whom it concerns.
    pub(super) fn own(recorded: &Recorded, user: UserId) -> Arc<Self> {
        match &recorded.event {
            Event::TradeExecuted(trade) => Self::told(recorded, TradeView::of(trade, Some(user))),
            _ => Self::whole(recorded),
        }
    }

    fn told(recorded: &Recorded, data: impl Serialize) -> Arc<Self> {
        let event = &recorded.event;
        Self::of(Some(recorded.sequence), event.kind(), event.version(), recorded.at, data)
    }

    fn whole(recorded: &Recorded) -> Arc<Self> {
        let json = serde_json::to_string(recorded).unwrap_or_default();
        Arc::new(Self { sequence: Some(recorded.sequence), kind: recorded.event.kind(), json })
    }
}
