//! One connection of the pool, and how statements run on it.

use std::time::Duration;

use bellwether_domain::ports::{Decided, StoreError};
use deadpool::managed::Object;
use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::{BoxFuture, FutureExt, TryFutureExt, join, join_all};
use tokio::task::unconstrained;
use tokio::time::timeout;

use crate::error::{Trouble, store_error};
use crate::rows::TypeNumbers;
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

/// Why a commit is not acknowledged.
#[derive(Debug)]
pub(crate) enum Commit {
    /// It failed before, or as, it was decided.
    Undecided(Failure),
    /// It may have been decided, and may not be on the disk.
    Unflushed(Failure),
}

/// Commits without waiting for the disk.
const DECIDE: &str = "SET LOCAL synchronous_commit = off; COMMIT";
/// A record of its own in the log, committed as the server's settings say: it is on the disk only
/// when all that was logged before it is.
const FLUSH: &str = "SELECT pg_logical_emit_message(true, 'bellwether', '')";
/// The same, and where in the log the record is: a replica that has passed it has all that was committed before.
const FLUSH_AND_TELL: &str = "SELECT (pg_logical_emit_message(true, 'bellwether', '') - '0/0')::bigint";

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
    /// A statement of the transaction failed. The server would answer COMMIT with ROLLBACK and no error then.
    has_failed: bool,
    /// The words that begin a transaction; they are sent along with the first statement in it.
    to_begin: Option<&'static str>,
    type_numbers: TypeNumbers,
}

impl Connection {
    pub(crate) const fn new(pooled: Pooled, io_timeout: Duration, type_numbers: TypeNumbers) -> Self {
        Self {
            pooled: Some(pooled),
            io_timeout,
            is_busy: false,
            in_transaction: false,
            has_failed: false,
            to_begin: None,
            type_numbers,
        }
    }

    /// Begins a transaction with these words, sent along with the first statement in it.
    pub(crate) const fn begin(&mut self, words: &'static str) {
        self.to_begin = Some(words);
    }

    /// Ends the transaction with these words. One in which nothing was done ends by itself.
    pub(crate) async fn end(&mut self, words: &'static str) -> Result<(), Failure> {
        if self.to_begin.take().is_some() {
            return Ok(());
        }
        let (connection, limit) = self.start()?;
        let answer = timeout(limit, connection.batch_execute(words)).await;
        self.finish(answer)?;
        self.in_transaction = false;
        Ok(())
    }

    /// Commits the transaction. One in which nothing was done ends by itself.
    ///
    /// Its locks are given up as soon as it is decided, rather than when it is on the disk, so that
    /// whoever waits for them does not wait for the disk too. Then everything that was decided until
    /// now is brought to the disk, this transaction among it, and what it read from others as well:
    /// only after that is it acknowledged. Where it is asked for, the place in the log is told behind which all of
    /// it is.
    pub(crate) async fn commit(&mut self, decided: Decided, tells_place: bool) -> Result<Option<i64>, Commit> {
        if self.to_begin.take().is_some() {
            decided();
            return Ok(None);
        }
        if self.has_failed {
            return Err(Commit::Undecided(Failure::Gone));
        }
        let (connection, limit) = self.start().map_err(Commit::Undecided)?;
        let connection: &AsyncPgConnection = connection;
        let send = |words: &'static str| async move {
            let mut connection = connection;
            connection.batch_execute(words).await
        };
        let decide = send(DECIDE).inspect_ok(|()| decided());
        let flush = async {
            let mut connection = connection;
            if !tells_place {
                return Sql::new(FLUSH).execute(&mut connection).await.map(|_| None);
            }
            Ok(Sql::new(FLUSH_AND_TELL).load::<Row>(&mut connection).await?.pop())
        };
        let answers = timeout(limit, unconstrained(join(decide, flush))).await;
        let flushed = match answers {
            Err(elapsed) => self.finish(Err(elapsed)),
            Ok((Err(error), _)) => return self.finish(Ok(Err(error))).map_err(Commit::Undecided),
            Ok((Ok(()), flushed)) => self.finish(Ok(flushed)),
        };
        let told = flushed.map_err(Commit::Unflushed)?;
        self.in_transaction = false;
        Ok(told.and_then(|mut row| row.int().ok()))
    }

    /// Whether the transaction has failed, or nobody knows what became of it: then it can do nothing any more.
    pub(crate) const fn is_spoilt(&self) -> bool {
        self.is_busy || self.has_failed
    }

    /// Lets statements take as long as they need: for checks of everything, on a connection whose
    /// server-side limits were lifted too.
    pub(crate) const fn lift_time_limit(&mut self) {
        self.io_timeout = Duration::from_secs(24 * 60 * 60);
    }

    /// Runs a statement; how many rows it changed.
    pub(crate) async fn run(&mut self, sql: Sql) -> Result<usize, StoreError> {
        Ok(self.run_all(vec![Statement::Plain(sql)]).await?.into_iter().next().unwrap_or(0))
    }

    /// Runs statements in their order, without waiting for the answer to one before the next is
    /// sent; how many rows each changed, in that order. The error is that of the first that failed.
    pub(crate) async fn run_all(&mut self, statements: Vec<Statement>) -> Result<Vec<usize>, StoreError> {
        Ok(self.all(statements, changed_by).await?.concat())
    }

    /// Runs a query.
    pub(crate) async fn rows(&mut self, sql: Sql) -> Result<Vec<Row>, StoreError> {
        Ok(self.rows_all(vec![sql]).await?.into_iter().next().unwrap_or_default())
    }

    /// Runs queries as [`run_all`](Self::run_all) does statements; the rows of each.
    pub(crate) async fn rows_all(&mut self, queries: Vec<Sql>) -> Result<Vec<Vec<Row>>, StoreError> {
        self.all(queries, |sql, mut connection| async move { sql.load::<Row>(&mut connection).await }.boxed()).await
    }

    /// Sends all at once, the words that begin the transaction before them where it has not begun.
    ///
    /// They arrive in their order: each is sent while it holds the lock of the prepared statements,
    /// which is given in the order of asking; `unconstrained`, so that none is told to wait half way.
    async fn all<S: AsMut<Sql>, T: Send>(
        &mut self,
        mut statements: Vec<S>,
        run: for<'c> fn(S, &'c AsyncPgConnection) -> BoxFuture<'c, Result<T, Error>>,
    ) -> Result<Vec<T>, StoreError> {
        for statement in &mut statements {
            let sql = statement.as_mut();
            sql.check()?;
            for batch in sql.batches() {
                batch.resolve(self.type_number(batch.row_type.name).await?);
            }
        }
        let to_begin = self.to_begin.take();
        self.in_transaction |= to_begin.is_some();
        let (connection, limit) = self.start()?;
        let connection: &AsyncPgConnection = connection;
        let begun = async move {
            let mut connection = connection;
            match to_begin {
                Some(words) => connection.batch_execute(words).await,
                None => Ok(()),
            }
        };
        let ran = join_all(statements.into_iter().map(|sql| run(sql, connection)));
        let answers = timeout(limit, unconstrained(join(begun, ran))).await;
        let answers = answers.map(|(begun, ran)| begun.and_then(|()| ran.into_iter().collect()));
        let answers = self.finish(answers);
        self.has_failed |= answers.is_err();
        Ok(answers?)
    }

    /// Runs a query and reads each row; a row that cannot be read is told with what it is of.
    pub(crate) async fn read<T>(
        &mut self,
        what: &str,
        sql: Sql,
        read: impl Fn(&mut Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        read_rows(what, self.rows(sql).await?, read)
    }

    /// The first row of a query.
    pub(crate) async fn one(&mut self, sql: Sql) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql).await?.into_iter().next())
    }

    /// The number that a type has in this database.
    async fn type_number(&mut self, name: &'static str) -> Result<u32, StoreError> {
        if let Some(number) = self.type_numbers.get(name) {
            return Ok(number);
        }
        let (connection, limit) = self.start()?;
        let sql = Sql::new("SELECT ?::text::regtype::oid::bigint").bind(name);
        let answer = timeout(limit, sql.load::<Row>(connection)).await;
        let row = self.finish(answer)?.into_iter().next();
        let number = row.map(|mut row| row.int_as("a type's number", |number| u32::try_from(number).ok()));
        let number = number.unwrap_or_else(|| Err(StoreError::Corrupt(format!("there is no type {name}"))))?;
        self.type_numbers.set(name, number);
        Ok(number)
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

/// A statement that changes rows.
#[derive(Debug)]
pub(crate) enum Statement {
    /// The server says how many it changed.
    Plain(Sql),
    /// Several in one, whose one row has the number of each.
    Telling(Sql),
}

impl AsMut<Sql> for Statement {
    fn as_mut(&mut self) -> &mut Sql {
        match self {
            Self::Plain(sql) | Self::Telling(sql) => sql,
        }
    }
}

impl AsMut<Self> for Sql {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

/// Runs a statement; how many rows it changed, or each of several in one.
fn changed_by(statement: Statement, mut connection: &AsyncPgConnection) -> BoxFuture<'_, Result<Vec<usize>, Error>> {
    async move {
        match statement {
            Statement::Plain(sql) => Ok(vec![sql.execute(&mut connection).await?]),
            Statement::Telling(sql) => {
                let rows = sql.load::<Row>(&mut connection).await?;
                Ok(rows.into_iter().flat_map(Row::counts).collect())
            }
        }
    }
    .boxed()
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

/// Reads each row; a row that cannot be read is told with what it is of.
pub(crate) fn read_rows<T>(
    what: &str,
    rows: Vec<Row>,
    read: impl Fn(&mut Row) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    rows.into_iter().map(|mut row| read(&mut row).map_err(|e| in_table(what, e))).collect()
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
