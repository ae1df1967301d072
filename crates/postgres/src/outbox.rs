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
/// With the oldest transaction that was running, whether all that was committed is on the disk, and a place in the log
/// behind the commits of all that is found.
const AFTER: &str = "SELECT position, created_at, payload, \
                     (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint), \
                     (SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()), \
                     (SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint) \
                     FROM event_batches WHERE position > ? ORDER BY position LIMIT ?";
/// The same without what they say.
const POSITIONS: &str = "SELECT position, \
                         (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint), \
                         (SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()) \
                         FROM event_batches WHERE position > ? ORDER BY position LIMIT ?";
/// A transaction id above all that were drawn before. Its commit brings the log to the disk, with
/// everything that was seen before: commits are seen a moment before they are there.
const MARK: &str = "SELECT pg_current_xact_id()::text::bigint, pg_logical_emit_message(true, 'bellwether', '') IS NULL";
const WAITING_SINCE: &str = "SELECT created_at FROM event_batches WHERE position > ? ORDER BY position LIMIT 1";
/// How far the consumers are: what one of them has acted on was given, so nothing comes before it any more.
const ACTED_ON: &str = "SELECT coalesce(max(position), 0) FROM event_cursors";
const ENDS: &str = "SELECT (SELECT position FROM event_batches ORDER BY position LIMIT 1), \
                    (SELECT position FROM event_batches ORDER BY position DESC LIMIT 1)";
const FORGET: &str = "DELETE FROM event_batches WHERE position = ANY (ARRAY( \
                      SELECT position FROM (SELECT position, created_at FROM event_batches ORDER BY position LIMIT ?) AS oldest \
                      WHERE created_at < ? AND position < (SELECT max(position) FROM event_batches) \
                      AND position <= (SELECT coalesce(min(position), 9223372036854775807) FROM event_cursors)))";
const CURSORS: &str = "SELECT consumer, position FROM event_cursors ORDER BY consumer";
const CURSOR: &str = "SELECT position FROM event_cursors WHERE consumer = ? FOR NO KEY UPDATE SKIP LOCKED";
const NEW_CURSOR: &str =
    "INSERT INTO event_cursors (consumer, position) VALUES (?, ?) ON CONFLICT (consumer) DO NOTHING RETURNING position";
const ADVANCE: &str = "UPDATE event_cursors SET position = ? WHERE consumer = ?";

/// How long [`Outbox::span`] waits for transactions that may have drawn a position, where it knows of none that is settled.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);
/// The same where it knows of some: most that are under way end at once.
const BRIEF: Duration = Duration::from_millis(300);
/// So many positions are looked at together.
const AT_ONCE: u32 = 10_000;

/// The statement that writes the batch that changes come to.
pub(crate) fn append(changes: &Changes) -> Result<Option<Step>, StoreError> {
    let batch = event::batch(changes).map_err(|e| StoreError::Corrupt(format!("events that are no JSON: {e}")))?;
    let Some(NewBatch { at, payloads }) = batch else { return Ok(None) };
    let rows = payloads.len();
    let sql = Sql::new(APPEND).bind(at).texts(payloads);
    // In one statement with others it is still the last to run.
    Ok(Some(Step::of_rows(sql, "event_batches", rows).independent(true)))
}

/// A position, the oldest transaction that was running, and whether all that was committed is on the disk.
type Seen = (i64, i64, bool);
/// A batch, and a place in the log behind its commit.
type Placed = (EventBatch, i64);

/// What a statement found above a position, in order and without omission, and what it says besides.
struct Found {
    positions: Vec<i64>,
    oldest_running: i64,
    is_on_disk: bool,
}

impl Found {
    /// Of rows, of which each says the same besides its position.
    fn of(rows: &[Seen]) -> Option<Self> {
        let (_, oldest_running, is_on_disk) = *rows.first()?;
        Some(Self { positions: rows.iter().map(|(position, ..)| *position).collect(), oldest_running, is_on_disk })
    }
}

fn read(row: &mut Row) -> Result<(Placed, Seen), StoreError> {
    let batch = EventBatch { position: row.int()?, at: row.time()?, payload: row.text()? };
    let seen = (batch.position, row.int()?, row.flag()?);
    Ok(((batch, row.int()?), seen))
}

fn read_position(row: &mut Row) -> Result<Seen, StoreError> {
    Ok((row.int()?, row.int()?, row.flag()?))
}

async fn draw_mark(connection: &mut Connection) -> Result<i64, StoreError> {
    let mark = connection.read("a transaction id", Sql::new(MARK), Row::int).await?.pop();
    mark.ok_or_else(|| StoreError::Corrupt("no transaction id was drawn".to_owned()))
}

impl PgStore {
    fn with_horizon<T>(&self, ask: impl FnOnce(&mut Horizon) -> T) -> T {
        ask(&mut self.horizon.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Up to where everything is settled, as far as this process and the consumers know.
    async fn settled(&self, connection: &mut Connection) -> Result<i64, StoreError> {
        let acted_on = connection.read("a cursor", Sql::new(ACTED_ON), Row::int).await?.pop().unwrap_or_default();
        Ok(self.with_horizon(|horizon| {
            horizon.settle(acted_on);
            horizon.settled()
        }))
    }

    /// How many of these may be given, which were found above `after`; `settled` was asked before.
    async fn give(
        &self,
        connection: &mut Connection,
        settled: i64,
        after: i64,
        found: &Found,
    ) -> Result<usize, StoreError> {
        let Some(last) = found.positions.last().copied() else { return Ok(0) };
        // Before anything is known to be settled: a crash that took what was seen would give its positions again.
        let mut mark = if found.is_on_disk { None } else { Some(draw_mark(connection).await?) };
        let (given, wants_mark) = self.with_horizon(|horizon| {
            let given = horizon.give(settled, after, &found.positions, found.oldest_running);
            (given, given < found.positions.len() && horizon.wants_mark())
        });
        if wants_mark {
            if mark.is_none() {
                mark = Some(draw_mark(connection).await?);
            }
            self.with_horizon(|horizon| mark.map(|mark| horizon.mark(last, mark)));
        }
        Ok(given)
    }

    /// Reads once. None where everything that was found may still have something before it.
    async fn read_after(&self, after: i64, limit: u32) -> Result<Option<Vec<EventBatch>>, StoreError> {
        let mut connection = self.connection().await?;
        let settled = match self.with_horizon(|horizon| horizon.settled()) {
            0 => self.settled(&mut connection).await?,
            settled => settled,
        };
        let rows = connection.read("a batch of events", Sql::new(AFTER).bind(after).bind(limit), read).await?;
        let (batches, seen): (Vec<Placed>, Vec<Seen>) = rows.into_iter().unzip();
        let Some(found) = Found::of(&seen) else { return Ok(Some(Vec::new())) };
        let given = self.give(&mut connection, settled, after, &found).await?;
        let (batches, places): (Vec<EventBatch>, Vec<i64>) = batches.into_iter().take(given).unzip();
        if let (Some(recent), Some(place)) = (self.recent(), places.first()) {
            recent.told(after, &batches, *place);
        }
        Ok(Some(batches).filter(|batches| !batches.is_empty()))
    }

    /// The last of the positions above a settled one that are settled too; that one itself where there is none.
    async fn settled_after(&self, connection: &mut Connection, settled: i64) -> Result<i64, StoreError> {
        let sql = Sql::new(POSITIONS).bind(settled).bind(AT_ONCE);
        let rows = connection.read("a position", sql, read_position).await?;
        let Some(found) = Found::of(&rows) else { return Ok(settled) };
        let given = self.give(connection, settled, settled, &found).await?;
        Ok(found.positions.into_iter().take(given).next_back().unwrap_or(settled))
    }

    /// The oldest that is there, and the newest before which nothing can come any more.
    async fn settled_ends(&self) -> Result<Option<Span>, StoreError> {
        let mut connection = self.connection().await?;
        let began = Instant::now();
        let read = |row: &mut Row| Ok(row.opt_int()?.zip(row.opt_int()?));
        let ends = connection.read("the outbox", Sql::new(ENDS), read).await?.pop().flatten();
        let Some((oldest, newest)) = ends else { return Ok(None) };
        let mut settled = self.settled(&mut connection).await?;
        let mut was_at_gap = false;
        while settled < newest {
            let further = self.settled_after(&mut connection, settled).await?;
            if further > settled {
                (settled, was_at_gap) = (further, false);
                continue;
            }
            // At a gap, once more: where nobody is under way, the first look has shown that it will not be filled.
            if was_at_gap {
                if settled > 0 && began.elapsed() > BRIEF {
                    break;
                }
                if began.elapsed() > PATIENCE {
                    let why = "a transaction that has been running for seconds may still change the order of events";
                    return Err(StoreError::Unavailable(why.into()));
                }
                tokio::time::sleep(PAUSE).await;
            }
            was_at_gap = true;
        }
        Ok(Some(Span { oldest, newest: settled }))
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

    async fn waiting_since(&self, position: i64) -> Result<Option<Timestamp>, StoreError> {
        let sql = Sql::new(WAITING_SINCE).bind(position);
        Ok(self.connection().await?.read("a batch of events", sql, Row::time).await?.pop())
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
