//! The outbox. There is one writer, so positions follow each other as commits do. What is given is on the disk: a crash that
//! took it would give its positions again.

use async_trait::async_trait;
use bellwether_domain::event::{self, EventBatch, NewBatch};
use bellwether_domain::ports::{Changes, EventCursors, Outbox, Span, StoreError};
use jiff::Timestamp;

use crate::connection::Connection;
use crate::sql::{Row, Sql, Values};
use crate::store::SqliteStore;
use crate::unit::SqliteUnitOfWork;

const APPEND: &str = "INSERT INTO event_batches (created_at, payload) VALUES (?, ?)";
const AFTER: &str =
    "SELECT position, created_at, payload FROM event_batches WHERE position > ? ORDER BY position LIMIT ? + 0";
/// Each end by itself: asked for both at once, the whole table is read.
const SPAN: &str = "SELECT oldest, newest FROM (SELECT (SELECT min(position) FROM event_batches) AS oldest, \
                    (SELECT max(position) FROM event_batches) AS newest) WHERE newest IS NOT NULL";
const WAITING_SINCE: &str = "SELECT created_at FROM event_batches WHERE position > ? ORDER BY position LIMIT 1";
const FORGET: &str = "DELETE FROM event_batches WHERE position IN ( \
                      SELECT position FROM (SELECT position, created_at FROM event_batches WHERE position > 0 ORDER BY position LIMIT ? + 0) AS oldest \
                      WHERE created_at < ? AND position < (SELECT max(position) FROM event_batches) \
                      AND position <= (SELECT coalesce(min(position), 9223372036854775807) FROM event_cursors))";
const CURSORS: &str = "SELECT consumer, position FROM event_cursors ORDER BY consumer";
const CURSOR: &str = "INSERT INTO event_cursors (consumer, position) VALUES (?, ?) \
                      ON CONFLICT (consumer) DO UPDATE SET position = event_cursors.position RETURNING position";
const ADVANCE: &str = "UPDATE event_cursors SET position = ? WHERE consumer = ?";

/// The batch that changes come to.
pub(crate) fn batch(changes: &Changes) -> Result<Option<NewBatch>, StoreError> {
    event::batch(changes).map_err(|e| StoreError::Corrupt(format!("events that are no JSON: {e}")))
}

/// Writes a batch to the end.
pub(crate) fn append(connection: &mut Connection, batch: Option<NewBatch>) -> Result<(), StoreError> {
    let Some(NewBatch { at, payloads }) = batch else { return Ok(()) };
    let rows: Vec<Values> = payloads
        .into_iter()
        .map(|payload| {
            let mut row = Values::default();
            row.add(at).add(payload);
            row
        })
        .collect();
    connection.run_each(APPEND, &rows).map(drop)
}

fn read(row: &mut Row) -> Result<EventBatch, StoreError> {
    Ok(EventBatch { position: row.int()?, at: row.time()?, payload: row.text()? })
}

#[async_trait]
impl Outbox for SqliteStore {
    async fn after(&self, position: i64, limit: u32) -> Result<Vec<EventBatch>, StoreError> {
        let sql = Sql::new(AFTER).bind(position).bind(limit);
        let found = self.readers.read(move |connection| connection.read("a batch of events", sql, read)).await?;
        if !found.is_empty() {
            self.writer.flushed().await?;
        }
        Ok(found)
    }

    async fn span(&self) -> Result<Option<Span>, StoreError> {
        let read = |row: &mut Row| Ok(Span { oldest: row.int()?, newest: row.int()? });
        let span = self.readers.read(move |connection| Ok(connection.read("the outbox", Sql::new(SPAN), read)?.pop()));
        let span = span.await?;
        self.writer.flushed().await?;
        Ok(span)
    }

    async fn waiting_since(&self, position: i64) -> Result<Option<Timestamp>, StoreError> {
        let sql = Sql::new(WAITING_SINCE).bind(position);
        self.readers.read(move |connection| Ok(connection.read("a batch of events", sql, Row::time)?.pop())).await
    }

    async fn cursors(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let read = |row: &mut Row| Ok((row.text()?, row.int()?));
        self.readers.read(move |connection| connection.read("a cursor", Sql::new(CURSORS), read)).await
    }

    async fn forget_before(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let sql = Sql::new(FORGET).bind(limit).bind(before);
        let rows = self.write_alone(move |connection| connection.run(sql)).await?;
        Ok(u64::try_from(rows).unwrap_or(u64::MAX))
    }
}

#[async_trait]
impl EventCursors for SqliteUnitOfWork {
    async fn lock(&mut self, consumer: &str, start: i64) -> Result<Option<i64>, StoreError> {
        let sql = Sql::new(CURSOR).bind(consumer).bind(start);
        self.call(move |connection| Ok(connection.read("a cursor", sql, Row::int)?.pop())).await
    }

    async fn advance(&mut self, consumer: &str, position: i64) -> Result<(), StoreError> {
        let sql = Sql::new(ADVANCE).bind(position).bind(consumer);
        self.call(move |connection| connection.run(sql).map(drop)).await
    }
}
