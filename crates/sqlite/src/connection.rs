//! One SQLite connection: how it is set up, and how statements run on it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bellwether_domain::ports::StoreError;
use diesel::connection::{CacheSize, SimpleConnection};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, RunQueryDsl};

use crate::error::{Fault, Trouble, fault, store_error};
use crate::sql::{Bound, Row, Sql, Values};

/// So many bytes of the file are mapped into memory for those who read, which is all of it: a page is then where the
/// system has it already, and need not be copied for each reader, who forgets his pages at each commit. Where a file
/// cannot be mapped, SQLite reads it as ever. The disk's errors end the process then (SIGBUS), as they do already for
/// the index of the log, which is always mapped; what was acknowledged is on the disk.
const MOST_MAPPED: i64 = 1 << 40;

/// How many bytes of the log's file stay when it begins anew. What is beyond is given back to the system, and asked for
/// again, which each commit that does so waits for.
pub(crate) const MOST_KEPT: i64 = 256 * 1024 * 1024;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The one that writes.
    Write,
    /// One of those that only read.
    Read,
    /// The one that copies the write-ahead log into the file.
    Copy,
}

impl Purpose {
    /// What SQLite syncs by itself: NORMAL, or FULL. Where it writes, [`flushes`](crate::flushes) syncs what is committed.
    const fn synchronous(self) -> i64 {
        match self {
            Self::Write => 1,
            Self::Read | Self::Copy => 2,
        }
    }
}

/// An open connection.
pub(crate) struct Connection {
    inner: SqliteConnection,
    /// How many statements have run. One that runs for each row of a batch is one.
    counter: Arc<AtomicU64>,
    /// The message of an error after which nothing on this connection can be relied on.
    damage: Option<String>,
    /// Whether what reads see is one state already. On the writing connection it always is, since
    /// the writer has begun a transaction before anything runs.
    in_snapshot: bool,
}

impl Connection {
    /// Opens a connection to a file that exists and sets it up.
    pub(crate) fn open(
        path: &Path,
        purpose: Purpose,
        busy_timeout: Duration,
        counter: &Arc<AtomicU64>,
    ) -> Result<Self, StoreError> {
        let trouble = |reason: String| Trouble::Open { path: path.display().to_string(), reason };
        // An absolute path is never taken for a URI or for a name such as `:memory:`.
        let absolute = std::path::absolute(path).map_err(|e| trouble(e.to_string()))?;
        let url = absolute.to_str().ok_or_else(|| trouble("its path is not UTF-8".to_owned()))?;
        let mut inner = SqliteConnection::establish(url).map_err(|e| trouble(e.to_string()))?;
        inner.set_prepared_statement_cache_size(CacheSize::Unbounded);
        let counter = Arc::clone(counter);
        let mut connection = Self { inner, counter, damage: None, in_snapshot: purpose == Purpose::Write };
        connection.set_up(purpose, busy_timeout)?;
        Ok(connection)
    }

    /// The busy timeout comes first, so that what follows waits for a lock rather than fails.
    fn set_up(&mut self, purpose: Purpose, busy_timeout: Duration) -> Result<(), StoreError> {
        self.batch(&format!("PRAGMA busy_timeout = {}", busy_timeout.as_millis()))?;
        if purpose == Purpose::Write {
            self.batch("PRAGMA journal_mode = WAL")?;
        }
        for pragma in [
            &format!("PRAGMA synchronous = {}", purpose.synchronous()),
            "PRAGMA foreign_keys = ON",
            "PRAGMA trusted_schema = OFF",
            "PRAGMA temp_store = MEMORY",
            &format!("PRAGMA journal_size_limit = {MOST_KEPT}"),
            // No commit waits for the log to be copied: see `checkpoints`.
            "PRAGMA wal_autocheckpoint = 0",
        ] {
            self.batch(pragma)?;
        }
        // In KiB, at most. What an order touches of the indexes of a large store should be at hand. A reader takes most
        // pages from where the system has them, and keeps only those that are in the log still.
        let cache = if purpose == Purpose::Write { 65_536 } else { 8192 };
        self.batch(&format!("PRAGMA cache_size = -{cache}"))?;
        if purpose == Purpose::Read {
            self.batch("PRAGMA query_only = ON")?;
            self.batch(&format!("PRAGMA mmap_size = {MOST_MAPPED}"))?;
        }
        self.assert_durable(purpose)
    }

    /// Refuses a connection that would acknowledge what a loss of power undoes.
    fn assert_durable(&mut self, purpose: Purpose) -> Result<(), StoreError> {
        let wanted = purpose.synchronous();
        let synchronous = self.one(Sql::new("PRAGMA synchronous"))?.map(|mut row| row.int()).transpose()?;
        let journal = self.one(Sql::new("PRAGMA journal_mode"))?.map(|mut row| row.text()).transpose()?;
        match (synchronous, journal.as_deref()) {
            (Some(found), Some("wal")) if found == wanted => Ok(()),
            found => Err(StoreError::Corrupt(format!(
                "SQLite must run with synchronous = {wanted} and journal_mode = wal, but has {found:?}; \
                 is the database on a file system that cannot share memory?"
            ))),
        }
    }

    /// Runs fixed statements that are not worth keeping.
    pub(crate) fn batch(&mut self, text: &str) -> Result<(), StoreError> {
        self.inner.batch_execute(text).map_err(|e| self.note(e))
    }

    /// Runs a statement; how many rows it changed.
    pub(crate) fn run(&mut self, sql: Sql) -> Result<usize, StoreError> {
        sql.values.check()?;
        self.try_run(sql).map_err(|e| self.note(e))
    }

    /// Runs a statement and keeps diesel's error, for those who must tell faults apart.
    pub(crate) fn try_run(&mut self, sql: Sql) -> Result<usize, diesel::result::Error> {
        self.count(sql.bound().text);
        sql.bound().execute(&mut self.inner)
    }

    /// Runs one statement for each of these rows of values; how many rows it changed in all.
    pub(crate) fn run_each(&mut self, text: &str, rows: &[Values]) -> Result<usize, StoreError> {
        self.count(text);
        let mut changed = 0_usize;
        for values in rows {
            values.check()?;
            let run = Bound { text, values }.execute(&mut self.inner);
            changed = changed.saturating_add(run.map_err(|e| self.note(e))?);
        }
        Ok(changed)
    }

    /// Runs a query.
    pub(crate) fn rows(&mut self, sql: Sql) -> Result<Vec<Row>, StoreError> {
        sql.values.check()?;
        self.count(sql.bound().text);
        sql.bound().load(&mut self.inner).map_err(|e| self.note(e))
    }

    /// Runs one query for each of these rows of values; what each found.
    pub(crate) fn rows_each<T>(
        &mut self,
        text: &str,
        things: impl IntoIterator<Item = T>,
        bind: impl Fn(T, &mut Values),
    ) -> Result<Vec<Vec<Row>>, StoreError> {
        self.count(text);
        let mut found = Vec::new();
        for thing in things {
            let mut values = Values::default();
            bind(thing, &mut values);
            values.check()?;
            found.push(Bound { text, values: &values }.load(&mut self.inner).map_err(|e| self.note(e))?);
        }
        Ok(found)
    }

    /// Runs one query for each of these rows of values and reads what all of them found.
    pub(crate) fn read_each<T, R>(
        &mut self,
        what: &str,
        text: &str,
        things: impl IntoIterator<Item = T>,
        bind: impl Fn(T, &mut Values),
        read: impl Fn(&mut Row) -> Result<R, StoreError>,
    ) -> Result<Vec<R>, StoreError> {
        let rows = self.rows_each(text, things, bind)?;
        rows.into_iter().flatten().map(|mut row| read(&mut row).map_err(|e| in_table(what, e))).collect()
    }

    /// Counts a statement, and tells of it by its text alone: its values are nobody's business.
    fn count(&self, statement: &str) {
        self.counter.fetch_add(1, Ordering::Relaxed);
        tracing::trace!(target: "bellwether::statements", statement);
    }

    /// Runs a query and reads each row; a row that cannot be read is told with what it is of.
    pub(crate) fn read<T>(
        &mut self,
        what: &str,
        sql: Sql,
        read: impl Fn(&mut Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.rows(sql)?;
        rows.into_iter().map(|mut row| read(&mut row).map_err(|e| in_table(what, e))).collect()
    }

    /// The first row of a query.
    pub(crate) fn one(&mut self, sql: Sql) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql)?.into_iter().next())
    }

    /// Runs several queries that see one state of the database: that of the snapshot around it, if there is one.
    pub(crate) fn snapshot<T>(
        &mut self,
        reads: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.in_snapshot {
            return reads(self);
        }
        self.run(Sql::new("BEGIN"))?;
        self.in_snapshot = true;
        let result = reads(self);
        self.in_snapshot = false;
        let ended = self.run(Sql::new("COMMIT"));
        if ended.is_err() {
            self.damage.get_or_insert_with(|| "a read transaction did not end".to_owned());
        }
        result
    }

    /// How many rows have been changed on this connection in all.
    pub(crate) fn changes(&mut self) -> Result<i64, StoreError> {
        self.one(Sql::new("SELECT total_changes()"))?.map_or(Ok(0), |mut row| row.int())
    }

    /// The connection itself, for migrations.
    pub(crate) const fn diesel(&mut self) -> &mut SqliteConnection {
        &mut self.inner
    }

    /// Why nothing on this connection can be relied on any more, if so.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    fn note(&mut self, error: diesel::result::Error) -> StoreError {
        if fault(&error) == Fault::Damaged {
            self.damage = Some(error.to_string());
        }
        store_error(error)
    }
}

/// Says what an unreadable row is of.
fn in_table(what: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Corrupt(message) => StoreError::Corrupt(format!("{what}: {message}")),
        other => other,
    }
}
