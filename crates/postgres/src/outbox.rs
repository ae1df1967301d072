//! The outbox. Units of work commit side by side: see [`Horizon`](crate::horizon::Horizon).

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bellwether_domain::event::{self, EventBatch, NewBatch};
use bellwether_domain::ports::{Changes, EventCursors, Outbox, Span, StoreError};
use jiff::Timestamp;

use crate::connection::Connection;
use crate::horizon::Horizon;
use crate::sql::{Row, Sql};
use crate::steps::Step;
use crate::store::PgStore;
use crate::unit::PgUnitOfWork;

/// The condition gives the transaction its id before a position is drawn.
const APPEND: &str = "INSERT INTO event_batches (position, created_at, payload) \
                      SELECT nextval('event_positions'), ?, payload FROM unnest(?) AS payload \
                      WHERE pg_current_xact_id() IS NOT NULL";
/// With the oldest transaction that was running, and whether all that was committed is on the disk.
const AFTER: &str = "SELECT position, created_at, payload, \
                     (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint), \
                     (SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()) \
                     FROM event_batches WHERE position > ? ORDER BY position LIMIT ?";
/// A transaction id above all that were drawn before. Its commit brings the log to the disk, with
/// everything that was seen before: commits are seen a moment before they are there.
const MARK: &str = "SELECT pg_current_xact_id()::text::bigint, pg_logical_emit_message(true, 'bellwether', '') IS NULL";
const ENDS: &str = "SELECT (SELECT position FROM event_batches ORDER BY position LIMIT 1), \
                    (SELECT position FROM event_batches ORDER BY position DESC LIMIT 1), \
                    pg_snapshot_xmin(pg_current_snapshot())::text::bigint";
const FORGET: &str = "DELETE FROM event_batches WHERE position = ANY (ARRAY( \
                      SELECT position FROM (SELECT position, created_at FROM event_batches ORDER BY position LIMIT ?) AS oldest \
                      WHERE created_at < ? AND position < (SELECT max(position) FROM event_batches) \
                      AND position <= (SELECT coalesce(min(position), 9223372036854775807) FROM event_cursors)))";
const CURSORS: &str = "SELECT consumer, position FROM event_cursors ORDER BY consumer";
const CURSOR: &str = "SELECT position FROM event_cursors WHERE consumer = ? FOR NO KEY UPDATE SKIP LOCKED";
const NEW_CURSOR: &str =
    "INSERT INTO event_cursors (consumer, position) VALUES (?, ?) ON CONFLICT (consumer) DO NOTHING RETURNING position";
const ADVANCE: &str = "UPDATE event_cursors SET position = ? WHERE consumer = ?";

/// How long [`Outbox::span`] waits for transactions that may have drawn a position.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// The statement that writes the batch that changes come to.
pub(crate) fn append(changes: &Changes) -> Result<Option<Step>, StoreError> {
    let batch = event::batch(changes).map_err(|e| StoreError::Corrupt(format!("events that are no JSON: {e}")))?;
    let Some(NewBatch { at, payloads }) = batch else { return Ok(None) };
    let rows = payloads.len();
    let sql = Sql::new(APPEND).bind(at).texts(payloads);
    // In one statement with others it is still the last to run.
    Ok(Some(Step::of_rows(sql, "event_batches", rows).independent(true)))
}

/// A batch that was found, and what the statement says besides.
struct Seen {
    batch: EventBatch,
    oldest_running: i64,
    is_on_disk: bool,
}

fn read(row: &mut Row) -> Result<Seen, StoreError> {
    let batch = EventBatch { position: row.int()?, at: row.time()?, payload: row.text()? };
    Ok(Seen { batch, oldest_running: row.int()?, is_on_disk: row.flag()? })
}

async fn draw_mark(connection: &mut Connection) -> Result<i64, StoreError> {
    let mark = connection.read("a transaction id", Sql::new(MARK), Row::int).await?.pop();
    mark.ok_or_else(|| StoreError::Corrupt("no transaction id was drawn".to_owned()))
}

impl PgStore {
    fn with_horizon<T>(&self, ask: impl FnOnce(&mut Horizon) -> T) -> T {
        ask(&mut self.horizon.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads once. None where everything that was found may still have something before it.
    async fn read_after(&self, after: i64, limit: u32) -> Result<Option<Vec<EventBatch>>, StoreError> {
        let settled = self.with_horizon(|horizon| horizon.settled());
        let mut connection = self.connection().await?;
        let seen = connection.read("a batch of events", Sql::new(AFTER).bind(after).bind(limit), read).await?;
        let (Some(first), Some(last)) = (seen.first(), seen.last()) else { return Ok(Some(Vec::new())) };
        let (oldest_running, is_on_disk) = (first.oldest_running, first.is_on_disk);
        let last = last.batch.position;
        let positions: Vec<i64> = seen.iter().map(|seen| seen.batch.position).collect();
        // Before anything is known to be settled: a crash that took what was seen would give its positions again.
        let mut mark = if is_on_disk { None } else { Some(draw_mark(&mut connection).await?) };
        let (given, wants_mark) = self.with_horizon(|horizon| {
            let given = horizon.give(settled, after, &positions, oldest_running);
            (given, given < positions.len() && horizon.wants_mark())
        });
        if wants_mark {
            if mark.is_none() {
                mark = Some(draw_mark(&mut connection).await?);
            }
            self.with_horizon(|horizon| mark.map(|mark| horizon.mark(last, mark)));
        }
        let batches: Vec<EventBatch> = seen.into_iter().take(given).map(|seen| seen.batch).collect();
        Ok(Some(batches).filter(|batches| !batches.is_empty()))
    }

    /// The ends of what is there, and a moment when nothing before the newest can come any more.
    async fn settled_ends(&self) -> Result<Option<Span>, StoreError> {
        let mut connection = self.connection().await?;
        let began = Instant::now();
        let read = |row: &mut Row| Ok((row.opt_int()?.zip(row.opt_int()?), row.int()?));
        let Some((Some((oldest, newest)), _)) = connection.read("the outbox", Sql::new(ENDS), read).await?.pop() else {
            return Ok(None);
        };
        if newest <= self.with_horizon(|horizon| horizon.settled()) {
            return Ok(Some(Span { oldest, newest }));
        }
        let mark = draw_mark(&mut connection).await?;
        loop {
            let now = connection.read("the outbox", Sql::new(ENDS), read).await?.pop();
            if now.is_some_and(|(_, oldest_running)| oldest_running >= mark) {
                self.with_horizon(|horizon| horizon.settle(newest));
                return Ok(Some(Span { oldest, newest }));
            }
            if began.elapsed() > PATIENCE {
                let why = "a transaction that has been running for seconds may still change the order of events";
                return Err(StoreError::Unavailable(why.into()));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[async_trait]
impl Outbox for PgStore {
    async fn after(&self, position: i64, limit: u32) -> Result<Vec<EventBatch>, StoreError> {
        // At a gap, once more: where nobody is under way, the first attempt has shown that it will not be filled.
        for _ in 0..2 {
            if let Some(batches) = self.read_after(position, limit).await? {
                return Ok(batches);
            }
        }
        Ok(Vec::new())
    }

    async fn span(&self) -> Result<Option<Span>, StoreError> {
        self.settled_ends().await
    }

    async fn cursors(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let read = |row: &mut Row| Ok((row.text()?, row.int()?));
        self.connection().await?.read("a cursor", Sql::new(CURSORS), read).await
    }

    async fn forget_before(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let rows = self.connection().await?.run(Sql::new(FORGET).bind(limit).bind(before)).await?;
        Ok(u64::try_from(rows).unwrap_or(u64::MAX))
    }
}

#[async_trait]
impl EventCursors for PgUnitOfWork {
    async fn lock(&mut self, consumer: &str, start: i64) -> Result<Option<i64>, StoreError> {
        let found = self.connection.read("a cursor", Sql::new(CURSOR).bind(consumer), Row::int).await?.pop();
        if found.is_some() {
            return Ok(found);
        }
        // It is new, or somebody else holds it: then this does nothing.
        let sql = Sql::new(NEW_CURSOR).bind(consumer).bind(start);
        Ok(self.connection.read("a cursor", sql, Row::int).await?.pop())
    }

    async fn advance(&mut self, consumer: &str, position: i64) -> Result<(), StoreError> {
        self.connection.run(Sql::new(ADVANCE).bind(position).bind(consumer)).await.map(drop)
    }
}
