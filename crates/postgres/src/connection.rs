//! One connection of the pool, and how statements run on it.

use std::time::Duration;

use bellwether_domain::ports::StoreError;
use deadpool::managed::Object;
use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::join_all;
use tokio::task::unconstrained;
use tokio::time::timeout;

use crate::error::{Trouble, store_error};
use crate::sql::{Row, Sql};

/// A connection out of the pool.
pub(crate) type Pooled = Object<AsyncDieselConnectionManager<AsyncPgConnection>>;

/// Why a call has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server, or the way to it, says no.
    Server(Error),
    /// Nothing came within so many milliseconds.
    TimedOut(u128),
    /// The connection was given up before.
    Gone,
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Server(error) => store_error(error),
            Failure::TimedOut(limit_ms) => Trouble::TimedOut(limit_ms).into(),
            Failure::Gone => Trouble::UnitSpoilt.into(),
        }
    }
}

/// A connection in use. It goes back to the pool only when the server is known to wait for the next
/// statement outside of any transaction. Otherwise (a call was abandoned half way, timed out, lost
/// its connection; a transaction was not ended) it is taken out of the pool and closed, whereupon
/// the server undoes what was begun and frees its locks.
pub(crate) struct Connection {
    pooled: Option<Pooled>,
    io_timeout: Duration,
    /// A call is under way, or nobody knows how the last one ended.
    is_busy: bool,
    in_transaction: bool,
}

impl Connection {
    pub(crate) const fn new(pooled: Pooled, io_timeout: Duration) -> Self {
        Self { pooled: Some(pooled), io_timeout, is_busy: false, in_transaction: false }
    }

    /// Begins a transaction with these words.
    pub(crate) async fn begin(&mut self, words: &'static str) -> Result<(), Failure> {
        self.in_transaction = true;
        self.batch(words).await
    }

    /// Ends the transaction with these words.
    pub(crate) async fn end(&mut self, words: &'static str) -> Result<(), Failure> {
        self.batch(words).await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Lets statements take as long as they need: for checks of everything, on a connection whose
    /// server-side limits were lifted too.
    pub(crate) const fn lift_time_limit(&mut self) {
        self.io_timeout = Duration::from_secs(24 * 60 * 60);
    }

    async fn batch(&mut self, words: &'static str) -> Result<(), Failure> {
        let (connection, limit) = self.start()?;
        let answer = timeout(limit, connection.batch_execute(words)).await;
        self.finish(answer)
    }

    /// Runs a statement; how many rows it changed.
    pub(crate) async fn run(&mut self, sql: Sql) -> Result<usize, StoreError> {
        sql.check()?;
        let (connection, limit) = self.start()?;
        let answer = timeout(limit, sql.execute(connection)).await;
        Ok(self.finish(answer)?)
    }

    /// Runs statements that wait for nothing of each other, in their order, without waiting for the
    /// answer to one before the next is sent; how many rows each changed. The error is that of the first
    /// that failed.
    pub(crate) async fn run_all(&mut self, statements: Vec<Sql>) -> Result<Vec<usize>, StoreError> {
        for sql in &statements {
            sql.check()?;
        }
        let (connection, limit) = self.start()?;
        let connection: &AsyncPgConnection = connection;
        let running = statements.into_iter().map(|sql| async move {
            let mut shared = connection;
            sql.execute(&mut shared).await
        });
        // In their order: each is sent while it holds the lock of the prepared statements, which is
        // given in the order of asking. `unconstrained`, so that none is asked to wait half way.
        let answers = timeout(limit, unconstrained(join_all(running))).await;
        Ok(self.finish(answers.map(|answers| answers.into_iter().collect()))?)
    }

    /// Runs a query.
    pub(crate) async fn rows(&mut self, sql: Sql) -> Result<Vec<Row>, StoreError> {
        sql.check()?;
        let (connection, limit) = self.start()?;
        let answer = timeout(limit, sql.load::<Row>(connection)).await;
        Ok(self.finish(answer)?)
    }

    /// Runs a query and reads each row; a row that cannot be read is told with what it is of.
    pub(crate) async fn read<T>(
        &mut self,
        what: &str,
        sql: Sql,
        read: impl Fn(&mut Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.rows(sql).await?;
        rows.into_iter().map(|mut row| read(&mut row).map_err(|e| in_table(what, e))).collect()
    }

    /// The first row of a query.
    pub(crate) async fn one(&mut self, sql: Sql) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql).await?.into_iter().next())
    }

    fn start(&mut self) -> Result<(&mut AsyncPgConnection, Duration), Failure> {
        if self.is_busy {
            return Err(Failure::Gone);
        }
        let pooled = self.pooled.as_mut().ok_or(Failure::Gone)?;
        self.is_busy = true;
        Ok((pooled, self.io_timeout))
    }

    fn finish<T>(&mut self, answer: Result<Result<T, Error>, tokio::time::error::Elapsed>) -> Result<T, Failure> {
        let answer = answer.map_err(|_| Failure::TimedOut(self.io_timeout.as_millis()))?.map_err(Failure::Server);
        self.is_busy = match &answer {
            Ok(_) => false,
            Err(Failure::Server(error)) => is_lost(error),
            Err(_) => true,
        };
        answer
    }
}

/// Whether the connection can no longer be used.
fn is_lost(error: &Error) -> bool {
    let lost = [DatabaseErrorKind::ClosedConnection, DatabaseErrorKind::UnableToSendCommand];
    match error {
        Error::DatabaseError(kind, information) => {
            lost.iter().any(|k| std::mem::discriminant(k) == std::mem::discriminant(kind))
                || information.message().contains("terminating connection")
                || information.message().contains("connection closed")
        }
        _ => false,
    }
}

fn in_table(what: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Corrupt(message) => StoreError::Corrupt(format!("{what}: {message}")),
        other => other,
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(pooled) = self.pooled.take().filter(|_| self.is_busy || self.in_transaction) {
            drop(Object::take(pooled));
        }
    }
}
